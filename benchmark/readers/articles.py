"""Reader `articles`: a Parquet or CSV table of articles whose columns have the canonical names.

The names are those of `canonical_articles` (`pmid`, `title`, `abstract`, `journal`, `pub_date`,
`publication_types`, `mesh_headings`, …), with `year` and `mesh` as other words for `pub_date` and
`mesh_headings`; lists are lists, or cells parted by `|`. Other columns are dropped. Labels are made
from publication types and headings; a table that lacks these may have a column `labels`
(`Human|RCT`, empty where unknown).
"""

from __future__ import annotations

from pathlib import Path

from benchmark.dataset import Rows
from benchmark.readers.article_assembly import FIELDS, assemble_articles
from benchmark.readers.assembly import missing_column, rename
from benchmark.readers.canonical_articles import DATE, HEADINGS, ID, LABELS, TYPES
from benchmark.readers.files import FileOptions, read_raw
from benchmark.readers.study_design import load_rules

NAMES = {name: name for name in (*FIELDS, LABELS)} | {
    "year": DATE,
    "pub_year": DATE,
    "mesh": HEADINGS,
    "mesh_terms": HEADINGS,
    "publication_type": TYPES,
}


class Options(FileOptions):
    """`path` of the table; `rules` of another table than `study_design_rules.yaml`."""

    rules: Path | None = None


def read(options: Options) -> Rows:
    """All articles with a PMID; see `assemble_articles` for what is left out.

    Raises `InputError` if the file is no table, or has no column `pmid` or `title`.
    """
    rules = load_rules(options.rules)
    raw = read_raw(options)
    renamed = rename(raw, NAMES)
    for name in (ID, "title"):
        if name not in renamed.frame:
            raise missing_column(raw, name)
    return assemble_articles(renamed, rules)
