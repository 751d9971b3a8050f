"""Reader `auto`: recognises the format of a file, folder or archive, and reads it.

The content decides: first bytes, root element, column names. File names count for folders of
several tables alone (AACT, TOP, TrialBench).
"""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from benchmark.dataset import Rows
from benchmark.readers import READERS, archives
from features.errors import InputError, one_line, unknown_name

ROOTS = {
    "clinical_study": "ctgov-xml",
    "search_results": "ctgov-xml",
    "PubmedArticleSet": "pubmed-xml",
    "PubmedArticle": "pubmed-xml",
    "PubmedBookArticleSet": "pubmed-xml",
    "MedlineCitationSet": "pubmed-xml",
    "MedlineCitation": "pubmed-xml",
}
"""Root elements of XML."""
COLUMNS: dict[str, tuple[frozenset[str], ...]] = {
    "trials": (frozenset({"nct_id", "overall_status"}),),
    "ctgov-csv": (
        frozenset({"nct number", "study status"}),
        frozenset({"nct number", "status"}),
        frozenset({"nct number", "recruitment"}),
    ),
    "aero": (frozenset({"nct", "sponsor", "start_year", "start_month", "status", "condition"}),),
    "top": (frozenset({"nctid", "label", "phase", "criteria"}),),
    "trialbench": (
        frozenset({"", "outcome"}),
        frozenset({"", "failure_reason"}),
        frozenset({"", "experimental arm number"}),
    ),
    "articles": (frozenset({"pmid", "title"}), frozenset({"pmid", "abstract"})),
}
"""Column names, in lower case, that tell the tables apart; any of the sets is enough."""
NAMES = (
    (re.compile(r"(.*/)?studies\.txt(\.gz)?"), "aact"),
    (re.compile(r"(.*/)?phase_(i+|[1-3])_(train|valid|test)\.csv"), "top"),
    (re.compile(r"(.*/)?(train|valid|test)_[xy]\.csv"), "trialbench"),
)
"""Files whose presence tells what a folder or an archive is."""

_RECORDS = re.compile(r"(?<!\.manifest)\.(json|jsonl|ndjson|xml|txt|nbib|gz)$")
_DELIMITERS = ",;\t|"
_LOOKED_AT = 200
_PROLOGUE = re.compile(rb"\s*(<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(\[.*?\]\s*)?>)", re.DOTALL)


class Options(BaseModel):
    """`path` of anything that another reader reads; `delimiter` and `encoding` are for CSV."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    delimiter: str | None = None
    encoding: str | None = None


def read(options: Options) -> Rows:
    """All rows, by the reader that `recognise` names. Raises `InputError` as both do."""
    name = recognise(options.path)
    if name not in READERS:
        raise unknown_name("reader", name, READERS)
    module = importlib.import_module(READERS[name])
    given: dict[str, Any] = options.model_dump(exclude_none=True)
    if options.delimiter is None and not options.path.is_dir():
        given["delimiter"] = _first_line(archives.head(options.path)[1])[1]
    known = {key: value for key, value in given.items() if key in module.Options.model_fields}
    rows: Rows = module.read(module.Options.model_validate(known))
    return rows


def recognise(path: Path) -> str:
    """The name of the reader for what is at `path`.

    Raises `InputError`, which says what was seen, where none fits or a folder holds several kinds.
    """
    archives.existing(path)
    if not path.is_dir():
        start = archives.magic(path)
        if start == b"PAR1":
            return _by_columns(path.name, _parquet_columns(path))
        if start not in archives.ZIP:
            return _of_file(path)
    return _of_many(path)


def _of_many(path: Path) -> str:
    """The reader for a folder or a zip, by the first files in it."""
    names = [name for name, _ in islice(archives.streams(path), _LOOKED_AT)]
    for pattern, reader in NAMES:
        if any(pattern.fullmatch(name.lower()) for name in names):
            return reader
    found: set[str] = set()
    for name, stream in islice(archives.streams(path), _LOOKED_AT):
        if len(found) < 2 and _RECORDS.search(name.lower()):
            found.add(by_content(name, stream.read(1 << 16)))
    if len(found) == 1:
        return found.pop()
    seen = ", ".join(sorted(found)) if found else ", ".join(names[:5]) or "nothing"
    raise InputError(
        f"{path.name} holds {'several formats: ' if found else ''}{one_line(seen, 200)}",
        "files of one format that trialmark reads",
        "name a single file or a folder of one kind",
    )


def _of_file(path: Path) -> str:
    """The reader for one file, plain or gzip."""
    name, start = archives.head(path)
    if re.fullmatch(r"studies\.txt", path.name.lower()) and b"|" in start.partition(b"\n")[0]:
        return "aact"
    return by_content(name, start)


def by_content(name: str, start: bytes) -> str:
    """The reader for a file that starts with these bytes (64 KiB are enough)."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise InputError(f"{name} is empty", "records", "check the download")
    if text.startswith(b"<") or start.startswith((b"\xff\xfe<", b"\xfe\xff\x00<")):
        return _by_root(name, text)
    if text.startswith((b"{", b"[")):
        if b'"protocolSection"' in text or re.match(rb'\{\s*"(studies|totalCount)"', text):
            return "ctgov-json"
        keys = re.findall(rb'"([^"]{1,40})"\s*:', text)[:5]
        raise InputError(
            f"{name} is JSON with the keys {one_line(b', '.join(keys).decode('utf-8', 'replace'))}",
            "studies of ClinicalTrials.gov's API v2",
            "name the reader and convert the file for it",
        )
    if re.match(rb"PMID *- ?\d", text):
        return "medline"
    return _by_columns(name, _header(start))


def _by_root(name: str, text: bytes) -> str:
    text = text.replace(b"\0", b"").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    while prologue := _PROLOGUE.match(text):
        text = text[prologue.end() :]
    found = re.match(rb"\s*<([A-Za-z_][\w.:-]*)", text)
    root = found[1].decode() if found else ""
    if root not in ROOTS:
        raise InputError(
            f"{name} is HTML" if root.lower() == "html" else f"{name} is XML of <{root or '?'}>",
            "one of " + ", ".join(f"<{known}>" for known in ROOTS),
            "download the records again",
        )
    return ROOTS[root]


def _by_columns(name: str, header: Sequence[str]) -> str:
    names = {" ".join(column.lower().split()) for column in header}
    for reader, choices in COLUMNS.items():
        if any(choice <= names for choice in choices):
            return reader
    shown = ", ".join(repr(one_line(column, 40)) for column in list(header)[:8])
    raise InputError(
        f"{name} has the columns {shown}",
        "those of a format that trialmark recognises",
        "use `reader: table` and declare its columns",
    )


def _first_line(start: bytes) -> tuple[str, str]:
    """The first line and the delimiter that stands in it most often."""
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    line = next(iter(start.decode(encoding, "replace").splitlines()), "").replace("\0", "")
    return line, max(_DELIMITERS, key=line.count)


def _header(start: bytes) -> list[str]:
    line, delimiter = _first_line(start)
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a cell of more than 128 KiB, say
        return []


def _parquet_columns(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(path).names)
    except Exception as error:  # a foreign decoder on unknown bytes raises all kinds
        text = one_line(str(error).partition("\n")[0], 160)
        raise InputError(
            f"{path.name} is not readable as Parquet: {text}", "a Parquet file", "write it again"
        ) from None
