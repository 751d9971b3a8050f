"""The canonical frame of articles: its columns, their types, and what is no input.

Publication types and MeSH headings are what the study-design labels are made from, so they stay in
the frame as strings (`a|b`) and are never offered to a model; nor are keywords that an indexer and
not the author gave. All other columns are known when the article appears, which is what
`registration` means here. `pub_date` is the date of the journal issue: a month counts as its first
day, a year or a season as January 1.
"""

from __future__ import annotations

import re
from datetime import date

from benchmark.readers import cells
from features.columns import Column

ID, DATE, SOURCE, JOURNAL = "pmid", "pub_date", "source", "journal"
TYPES, HEADINGS, LABELS = "publication_types", "mesh_headings", "labels"
VERSION, REVISED = "version", "revised"
"""Which of two records of one article is the later: PubMed's version, then the day of revision."""

COLUMNS = (
    Column("title", "text"),
    Column("abstract", "text"),
    Column("keywords", "text"),
    Column(JOURNAL, "categorical"),
    Column("language", "categorical"),
    Column("n_authors", "numeric"),
    Column(DATE, "date"),
)
EXTRAS = (TYPES, HEADINGS, "status", SOURCE)
"""Columns kept as strings that are no inputs; `labels`, `has_abstract`, `has_mesh` are made."""

_ISSUE = re.compile(
    r"(?:(?:winter|spring|summer|autumn|fall)\s+)?(\d{4})"
    r"(?:\s+([a-z]{3,9})\.?(?:\s+(\d{1,2})\b)?(?:[\s/-][\w\s/.-]*)?"
    r"|(?:-\d{4}|[\s/])[\w\s/.-]*)?",
    re.ASCII,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def published(cell: str) -> date | None:
    """The day of `2001`, `2001 Jan-Feb`, `2001 Jan 5`, `1998 Dec-1999 Jan`, `2000 Spring`.

    All that `cells.day` reads is read too. Raises `ValueError` for what is no date.
    """
    try:
        return cells.day(cell)
    except ValueError:
        found = _ISSUE.fullmatch(cell.strip().lower())
        if found is None:
            raise
    month = (found[2] or "")[:3]
    if month not in _MONTHS:
        return cells.day(found[1])
    number = _MONTHS.index(month) + 1
    return cells.day(f"{found[1]}-{number}-{found[3] or 1}")
