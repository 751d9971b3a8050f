"""Reader `trials`: a Parquet or CSV file whose columns have the canonical names.

The names are those of `canonical.COLUMNS` with `nct_id` and `overall_status`; other columns are
dropped. Ids may be any text, since synthetic trials have no NCT number. The labels of a published
benchmark (columns called like its tasks, and `official_part`) are kept where a file has them, as
`trialmark data import` writes them.
"""

from __future__ import annotations

from dataclasses import replace

from benchmark.dataset import Rows
from benchmark.readers import cells, top, trialbench
from benchmark.readers.assembly import EXTRAS, assemble, missing_column, rename
from benchmark.readers.canonical import COLUMNS, ID, OFFICIAL, STATUS
from benchmark.readers.files import FileOptions, read_raw

PUBLISHED = (*top.TASKS.values(), *(target.task for target in trialbench.TARGETS.values()))
"""Columns that hold the labels of a published benchmark."""

CODED = (*EXTRAS, *(column.name for column in COLUMNS if column.kind != "text"))
"""Columns whose different cells are parsed once each."""

TEXTS = tuple(column.name for column in COLUMNS if column.kind == "text")
"""Columns that are cleaned while they are read."""


class Options(FileOptions):
    """`path` of a Parquet or CSV file; `delimiter` and `encoding` are for CSV."""


def read(options: Options) -> Rows:
    """All rows with an id; see `assembly.assemble` for what is left out and what is left empty.

    Raises `InputError` if the file is no table, or has no column `nct_id`, or neither
    `overall_status` nor the labels of a published benchmark.
    """
    raw = read_raw(options, coded=CODED, texts=TEXTS)
    names = [ID, *EXTRAS, *(column.name for column in COLUMNS), OFFICIAL, *PUBLISHED]
    renamed = rename(raw, {name: name for name in names})
    required = (ID,) if set(PUBLISHED) & set(renamed.frame) else (ID, STATUS)
    for name in required:
        if name not in renamed.frame:
            raise missing_column(
                raw, name, "a ClinicalTrials.gov download needs the reader ctgov-csv"
            )
    rows = assemble(
        renamed, required=required, own=dict.fromkeys((OFFICIAL, *PUBLISHED), cells.label)
    )
    if OFFICIAL not in rows.frame:
        return rows
    date = top.DATE if rows.date is None and top.DATE in rows.frame else rows.date
    return replace(rows, official=OFFICIAL, date=date)
