"""Reader `medline`: MEDLINE text (`.nbib`, `pubmed_result.txt`), a file or a folder of files.

Biopython's `Bio.Medline` reads a record. The file is cut into records here, since its parser takes
two records without a blank line between them for one, stops at the first damaged line, and parts a
keyword that goes on in a second line.
"""

from __future__ import annotations

import codecs
import importlib
import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

from pydantic import field_validator

from benchmark.dataset import Rows
from benchmark.readers.article_assembly import ArticleOptions, Gathered, assemble_articles
from benchmark.readers.study_design import load_rules
from features.errors import InputError, one_line

ENDINGS = (".nbib", ".txt", ".medline", ".nbib.gz", ".txt.gz", ".medline.gz")
_FIELD = re.compile(rb"[A-Z][A-Z0-9]{1,3} *-(?: |$)")
_START = b"PMID-"
_AUTHORS = "NOTNLM"
_LARGEST = 2**20
"""No field is as long; a longer one, or a longer line, is damage."""


class Options(ArticleOptions):
    """`path` of a file, a folder or a zip; `encoding` is one that extends ASCII."""

    encoding: str = "utf-8"

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str) -> str:
        try:
            known = "-".encode(encoding) == b"-" and bool(codecs.lookup(encoding))
        except (LookupError, UnicodeError, TypeError):
            known = False
        if not known:
            raise InputError(
                f"encoding {one_line(encoding, 40)!r}",
                "one that extends ASCII and that Python knows",
                "use utf-8, cp1252 or latin-1; save UTF-16 text as UTF-8",
            )
        return encoding


class Block(NamedTuple):
    """The lines of one record, unwrapped; `line` is the first one's number, `flaw` "" if sound."""

    line: int
    lines: list[bytes]
    flaw: str = ""


def read(options: Options) -> Rows:
    """All articles, the latest of each.

    A record without a PMID, with a line that is no field, or with bytes that are not of the
    encoding is left out and listed; so is a last record without the closing field SO if all others
    have it, as the file is cut off inside it. Raises `InputError` for a file without any record.
    """
    rules = load_rules(options.rules)
    gathered = Gathered(options.path)
    for name, stream in options.files(ENDINGS):
        lines = iter(partial(stream.readline, _LARGEST), b"")
        _gather(name, blocks(lines), options.encoding, gathered)
    return assemble_articles(gathered.raw(), rules)


def _gather(name: str, found: Iterable[Block], encoding: str, gathered: Gathered) -> None:
    """All records of the file `name`; the last one is looked at more closely."""
    before, closed = gathered.seen, True
    held: Block | None = None
    for block in found:
        if held is not None:
            _add(held, name, encoding, gathered)
            closed = closed and _closes(held)
        held = block
    if held is None:
        raise InputError(f"{name} holds no MEDLINE record", "lines such as `PMID- 12345678`")
    if closed and gathered.seen > before and not _closes(held) and not held.flaw:
        held = held._replace(flaw="the file is cut off inside this record")
    _add(held, name, encoding, gathered)


def _closes(block: Block) -> bool:
    return any(line.startswith(b"SO  -") for line in block.lines)


def blocks(lines: Iterable[bytes]) -> Iterator[Block]:
    """The records: they start at a PMID, or after a blank line."""
    block = Block(1, [])
    for number, raw in enumerate(lines, 1):
        line = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
        line = line.rstrip(b"\r\n")
        blank = not line.strip()
        if block.lines and (blank or line.startswith(_START)):
            yield block
            block = Block(number, [])
        if blank:
            continue
        if not block.lines:
            block = Block(number, [])
        block = _with(block, line, number)
    if block.lines:
        yield block


def _with(block: Block, line: bytes, number: int) -> Block:
    """The block with one more line; a line that goes on is joined to the one before."""
    if block.flaw and block.lines:
        return block
    if line.startswith(b"      ") and block.lines:
        if len(block.lines[-1]) + len(line) > _LARGEST:
            return block._replace(flaw=f"line {number}: the field is too long")
        block.lines[-1] = block.lines[-1].rstrip() + b" " + line.strip()
        return block
    block.lines.append(line)
    if not _FIELD.match(line):
        shown = one_line(line[:40].decode("latin-1"))
        return block._replace(flaw=f"line {number} is no field of MEDLINE text: '{shown}'")
    return block


def _add(block: Block, source: str, encoding: str, gathered: Gathered) -> None:
    medline: Any = importlib.import_module("Bio.Medline")  # untyped
    first = next((line for line in block.lines if line.startswith(_START)), b"")
    id_ = first[len(_START) :].decode("latin-1").strip()
    if block.flaw or not id_:
        flaw = block.flaw or "no PMID"
        gathered.reject(id_, f"{source}: record at line {block.line}: {flaw}")
        return
    try:
        lines = [line.decode(encoding) for line in block.lines]
    except UnicodeError as error:
        gathered.reject(id_, f"{source}: record at line {block.line} is not {encoding}: {error}")
        return
    gathered.add(_article(medline.read(lines)) | {"source": source})


def _article(record: dict[str, Any]) -> dict[str, str]:
    """The canonical cells of one of Biopython's records."""
    authors = len(record.get("AU", ())) + len(record.get("CN", ()))
    own = set(record.get("OTO", [_AUTHORS])) == {_AUTHORS}
    words = [word.lstrip("*") for word in record.get("OT", ())] if own else []
    return {
        "pmid": record["PMID"],
        "revised": record.get("LR", ""),
        "title": _first(record, "TI", "TT"),
        "abstract": record.get("AB", ""),
        "keywords": "; ".join(words),
        "journal": _first(record, "JT", "TA"),
        "language": "|".join(record.get("LA", ())),
        "n_authors": str(authors) if authors else "",
        "pub_date": record.get("DP", ""),
        "publication_types": "|".join(record.get("PT", ())),
        "mesh_headings": "|".join(_heading(term) for term in record.get("MH", ())),
        "status": record.get("STAT", ""),
    }


def _first(record: dict[str, Any], *keys: str) -> str:
    return next((str(record[key]) for key in keys if record.get(key)), "")


def _heading(term: str) -> str:
    """The descriptor of `Sequence Analysis/*methods`."""
    return term.partition("/")[0].replace("*", "").strip()
