"""Reader `aero`: the Kaggle CSV that the trial-outcome notebook uses (AERO-BirdsEye-Data).

Its columns are `index, NCT, Sponsor, Title, Summary, Start_Year, Start_Month, Phase, Enrollment,
Status, Condition`; copies without `Title` and `Summary` are read too. `index` is dropped.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from benchmark.dataset import Rows
from benchmark.readers import cells
from benchmark.readers.assembly import assemble, missing_column, rename
from benchmark.readers.canonical import DATE, ID, STATUS
from benchmark.readers.files import FileOptions, read_raw

NAMES = {
    "nct": ID,
    "sponsor": "lead_sponsor",
    "title": "brief_title",
    "summary": "brief_summary",
    "start_year": "start_year",
    "start_month": "start_month",
    "phase": "phases",
    "enrollment": "enrollment",
    "status": STATUS,
    "condition": "conditions",
}
DAMAGE = {"#NAME?", "#VALUE!", "#REF!", "#N/A", "#DIV/0!", "#NUM!", "#NULL!"}
"""What a spreadsheet leaves of a text that it took for a formula, such as one starting with `-`."""


class Options(FileOptions):
    """`path` of the CSV; a copy saved on Windows may need `encoding: cp1252`."""


def read(options: Options) -> Rows:
    """All trials, in the order of the file.

    The start date is the first day of `Start_Year` and `Start_Month`; the enrollment is the
    registry's count of today, so it is known after the trial only. A text that a spreadsheet has
    damaged (`#NAME?`) is missing and listed; of the rows with one NCT number the first is kept and
    the others are listed with what differs. Raises `InputError` if the file is no such table.
    """
    raw = read_raw(options)
    renamed = rename(raw, NAMES)
    for name, spelled in ((ID, "NCT"), (STATUS, "Status")):
        if name not in renamed.frame:
            raise missing_column(raw, spelled)
    return assemble(
        replace(renamed, frame=with_start(renamed.frame)),
        id_pattern=r"NCT\d{8}",
        own={"brief_title": undamaged, "brief_summary": undamaged},
    )


def with_start(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with `start_date` as `1997-7` out of its year and month, or its year alone."""
    if "start_year" not in frame:
        return frame
    years = [_whole(cell) for cell in frame["start_year"]]
    months = [""] * len(years)
    if "start_month" in frame:
        months = [_whole(cell) for cell in frame["start_month"]]
    dates = ["-".join(filter(None, pair)) for pair in zip(years, months, strict=True)]
    return frame.assign(**{DATE: pd.Series(dates, index=frame.index, dtype="str")})


def _whole(cell: str) -> str:
    """`7` from `7.0`, as pandas writes a column of numbers in which one is missing."""
    return cell.strip().removesuffix(".0")


def undamaged(cell: str) -> str:
    """The text. Raises `ValueError` where a spreadsheet has left an error value of it."""
    found = cells.text(cell)
    if found in DAMAGE:
        raise ValueError("what a spreadsheet leaves of a damaged text")
    return found
