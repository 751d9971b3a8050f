"""Reader `trials`: a Parquet or CSV file whose columns have the canonical names.

The names are those of `canonical.COLUMNS` with `nct_id` and `overall_status`; other columns are
dropped. Ids may be any text, since synthetic trials have no NCT number.
"""

from __future__ import annotations

from benchmark.dataset import Rows
from benchmark.readers.assembly import EXTRAS, assemble, missing_column, rename
from benchmark.readers.canonical import COLUMNS, ID, STATUS
from benchmark.readers.files import FileOptions, read_raw


class Options(FileOptions):
    """`path` of a Parquet or CSV file; `delimiter` and `encoding` are for CSV."""


def read(options: Options) -> Rows:
    """All rows with an id; see `assembly.assemble` for what is left out and what is left empty.

    Raises `InputError` if the file is no table, or has no column `nct_id` or `overall_status`.
    """
    raw = read_raw(options)
    names = [ID, *EXTRAS, *(column.name for column in COLUMNS)]
    renamed = rename(raw, {name: name for name in names})
    for name in (ID, STATUS):
        if name not in renamed.frame:
            raise missing_column(
                raw, name, "a ClinicalTrials.gov download needs the reader ctgov-csv"
            )
    return assemble(renamed)
