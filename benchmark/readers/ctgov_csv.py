"""Reader `ctgov-csv`: the CSV (or TSV) download of ClinicalTrials.gov, any set of its columns.

The download of today (`NCT Number, Study Title, …`) and the one before 2023 (`Rank, NCT Number,
Title, Status, …`) are both known. The older one's `Outcome Measures` mixes primary and other
outcomes and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from benchmark.dataset import Rows
from benchmark.readers import strings
from benchmark.readers.assembly import assemble, missing_column, rename
from benchmark.readers.canonical import ID, STATUS
from benchmark.readers.files import FileOptions, read_raw

NAMES = {
    "nct number": ID,
    "study title": "brief_title",
    "title": "brief_title",
    "acronym": "acronym",
    "study status": STATUS,
    "status": STATUS,
    "recruitment": STATUS,
    "brief summary": "brief_summary",
    "conditions": "conditions",
    "interventions": "interventions",
    "primary outcome measures": "primary_outcomes",
    "sponsor": "lead_sponsor",
    "collaborators": "collaborators",
    "sponsor/collaborators": "sponsors",
    "sex": "sex",
    "gender": "sex",
    "age": "age",
    "age groups": "age",
    "phases": "phases",
    "enrollment": "enrollment",
    "funder type": "sponsor_class",
    "funded bys": "funders",
    "study type": "study_type",
    "study types": "study_type",
    "study design": "design",
    "study designs": "design",
    "start date": "start_date",
    "primary completion date": "primary_completion_date",
    "completion date": "completion_date",
    "first posted": "first_posted",
    "results first posted": "results_first_posted",
    "last update posted": "last_update_posted",
    "locations": "locations",
}
"""Column names of the download in lower case -> canonical names, or those of `DERIVED`."""

_TYPE = re.compile(
    r"(?:^|\|)\s*(behavioral|biological|combination[ _]product|device|diagnostic[ _]test"
    r"|dietary[ _]supplement|drug|genetic|other|procedure|radiation)\s*:",
    re.IGNORECASE,
)
_AGES = re.compile(r"\s*(?P<limits>[^()]*?)\s*\((?P<groups>[^()]*)\)\s*")
_TAILS = {
    "republic of",
    "islamic republic of",
    "the democratic republic of the",
    "the former yugoslav republic of",
    "former yugoslav republic of",
    "federated states of",
    "occupied",
    "province of china",
}
"""Ends of country names that have a comma of their own, `Korea, Republic of`."""


class Options(FileOptions):
    """`path` of the download; `delimiter: "\\t"` for a TSV."""


def read(options: Options) -> Rows:
    """All studies with an NCT number; columns the download lacks are absent.

    Raises `InputError` if the file is no table, or has no `NCT Number` or `Study Status`.
    """
    raw = read_raw(options)
    renamed = rename(raw, NAMES)
    for name, spelled in ((ID, "NCT Number"), (STATUS, "Study Status")):
        if name not in renamed.frame:
            raise missing_column(raw, spelled)
    return assemble(replace(renamed, frame=derive(renamed.frame)), id_pattern=r"NCT\d{8}")


def derive(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the canonical columns that its compound columns hold, without markup."""
    made = {
        name: pd.Series([cut(cell) for cell in frame[source]], index=frame.index, dtype="str")
        for source, parts in DERIVED.items()
        if source in frame
        for name, cut in parts.items()
        if name not in frame
    }
    for name in ("min_age", "max_age"):  # the download of today has age groups alone
        if name in made and not made[name].any():
            del made[name]
    plain = {
        name: strings.as_series(strings.unescaped(strings.as_arrow(frame[name])), frame.index)
        for name in strings.MARKED
        if name in frame
    }
    return frame.assign(**made, **plain)


def intervention_types(cell: str) -> str:
    """`BIOLOGICAL|DRUG` from `DRUG: x|BIOLOGICAL: y|DRUG: z`."""
    return "|".join(sorted({found.upper().replace(" ", "_") for found in _TYPE.findall(cell)}))


def design_part(name: str) -> Callable[[str], str]:
    """A function that takes one part out of `Allocation: NA | Masking: NONE | …`."""

    def cut(cell: str) -> str:
        for part in cell.split("|"):
            key, _, value = part.partition(":")
            if key.strip().lower() == name:
                return value.strip()
        return ""

    return cut


def n_locations(cell: str) -> str:
    """How many places are listed; "" if none is."""
    places = [place for place in cell.split("|") if place.strip()]
    return str(len(places)) if places else ""


def countries(cell: str) -> str:
    """The countries of `site, city, country|…`, sorted and unique."""
    found = set()
    for place in cell.split("|"):
        *before, last = place.split(",")
        name = last.strip()
        if name.lower() in _TAILS and before:
            name = f"{before[-1].strip()}, {name}"
        found.add(name)
    return "|".join(sorted(found - {""}))


def age_groups(cell: str) -> str:
    """`Adult, Older Adult`, alone or out of `18 Years and older   (Adult, Older Adult)`."""
    found = _AGES.fullmatch(cell)
    return found["groups"] if found else cell


def youngest(cell: str) -> str:
    """`18 Years` out of `18 Years to 65 Years   (Adult)` or `18 Years and older   (…)`."""
    limits = _limits(cell)
    return "" if limits.lower().startswith("up to") else re.split(" to | and ", limits)[0]


def oldest(cell: str) -> str:
    """`65 Years` out of `18 Years to 65 Years   (Adult)` or `up to 65 Years   (…)`."""
    limits = re.sub("^up to ", " to ", _limits(cell), flags=re.IGNORECASE)
    return limits.partition(" to ")[2]


def _limits(cell: str) -> str:
    found = _AGES.fullmatch(cell)
    return found["limits"] if found else ""


def first(cell: str) -> str:
    """The lead among names parted by `|`."""
    return cell.partition("|")[0]


def others(cell: str) -> str:
    """All but the lead among names parted by `|`."""
    return cell.partition("|")[2]


DERIVED: dict[str, dict[str, Callable[[str], str]]] = {
    "interventions": {"intervention_types": intervention_types},
    "age": {"age_groups": age_groups, "min_age": youngest, "max_age": oldest},
    "design": {
        name.replace(" ", "_"): design_part(name)
        for name in (
            "allocation", "intervention model", "masking", "primary purpose",
            "observational model", "time perspective",
        )
    },
    "locations": {"n_locations": n_locations, "countries": countries},
    "sponsors": {"lead_sponsor": first, "collaborators": others},
    "funders": {"sponsor_class": first},
}  # fmt: skip
"""Compound columns and what is cut out of them."""
