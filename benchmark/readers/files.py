"""Opening tables: a CSV or Parquet file -> records as strings, nothing lost on the way."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from benchmark.readers import strings
from features.errors import InputError, closest, one_line

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_STRINGS = (pa.string(), pa.large_string())
LEFT_OUT, EMPTIED = "row left out: ", "cell left empty: "
"""How a reason in `Rows.rejected` starts: the row is gone, or it stays with a cell less."""

_MOST_COLUMNS = 10_000
_PIECE, _FEWEST, _MOST = 1 << 20, 1 << 10, 1 << 17
"""A column of texts is read in pieces of so many bytes, and of this many rows."""
_DELIMITERS = {",": "','", ";": "';'", "\t": r"'\t'", "|": "'|'"}
_MAGIC = {
    b"%PDF": ("a PDF", "export the table as CSV"),
    b"PK\x03\x04": ("a zip archive or an Excel workbook", "unpack it, or save it as CSV"),
    b"\x1f\x8b": ("a gzip archive", "unpack it with gunzip"),
    b"SQLite": ("a SQLite database", "export the table as CSV"),
    b"<": ("HTML or XML", "download the CSV instead"),
    b"{": ("JSON", "download the CSV instead"),
    b"[": ("JSON", "download the CSV instead"),
}
_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8",
}


class FileOptions(BaseModel):
    """Where a table stands and how it is written; `delimiter` and `encoding` are for CSV."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    delimiter: str = ","
    encoding: str = "utf-8"


class Rejection(NamedTuple):
    """One entry of `Rows.rejected`; `row` 1 is the first record, `id` "" where none is known."""

    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class Raw:
    """Records as a file holds them.

    `frame` has strings only, "" for missing, and is indexed by place (1 = first record); a reader
    may ask for coded columns of strings, see `strings.stored`, and for texts that are `cleaned`:
    the columns whose cells are what `cells.text` gives. Records that could not be cut into cells
    are in `rejected`, not in `frame`.
    """

    path: Path
    frame: pd.DataFrame
    rejected: tuple[Rejection, ...] = ()
    cleaned: frozenset[str] = frozenset()

    def leave_out(self, reasons: dict[int, str], ids: pd.Series | None = None) -> Raw:
        """Without the records at these places; each is listed with its reason (and id)."""
        if not reasons:
            return self
        known = {} if ids is None else {row: str(ids[row]) for row in reasons}
        new = tuple(
            Rejection(row, known.get(row, ""), LEFT_OUT + one_line(reason))
            for row, reason in reasons.items()
        )
        return replace(
            self, frame=self.frame.drop(index=list(reasons)), rejected=self.rejected + new
        )

    def check_share(self) -> None:
        """Raise `InputError` if more than half of all records have been left out so far."""
        bad, total = len(self.rejected), len(self.rejected) + len(self.frame)
        if 2 * bad > total:
            first = min(self.rejected)
            raise InputError(
                f"{self.path.name}: {bad} of {total} rows cannot be used (first: row {first.row}: "
                f"{one_line(first.reason.removeprefix(LEFT_OUT), 200)})",
                "at least half of them to be sound",
                "check the delimiter and the quotes, or export the file again",
            )


def read_raw(options: FileOptions, *, coded: Sequence[str] = (), texts: Sequence[str] = ()) -> Raw:
    """All records of a CSV or Parquet file.

    A record with the wrong number of cells, broken quotes or NUL bytes is left out and listed;
    blank lines are no records. Out of Parquet, the columns that `coded` names, and with any such
    name numbers and flags, may come as coded columns (see `strings`), and those that `texts` names
    cleaned. Raises `InputError` for
    everything that is no table.
    """
    data = read_bytes(options.path)
    if data.startswith(b"PAR1") or options.path.suffix.lower() in {".parquet", ".pq"}:
        raw = _parquet(options.path, data, coded, texts)
    else:
        raw = _csv(options.path, _decode(data, options), options.delimiter)
    if not len(raw.frame) and not raw.rejected:
        raise InputError(
            f"{options.path.name}: a header and no rows", "at least one row", "check the export"
        )
    raw.check_share()
    return raw


def read_bytes(path: Path) -> bytes:
    """The whole file. Raises `InputError` if there is none, or nothing in it."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder", "a file", "name one file in it")
        if not path.exists():
            near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
            change = closest(path.name, near) or "check the path"
            raise InputError(f"there is no file {path}", "a table", change)
        if not path.is_file():
            raise InputError(f"{path} is a pipe or a device", "a regular file", "save it first")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", "a readable file") from None
    if not data.strip():
        raise InputError(f"{path.name} is empty", "a header and rows", "check the download")
    return data


def unique_header(path: Path, header: Sequence[str]) -> list[str]:
    """Column names without blanks around them; a nameless column is called `column 3`.

    Raises `InputError` if a name stands twice, or for more columns than a table has.
    """
    if len(header) > _MOST_COLUMNS:
        raise InputError(
            f"{path.name}: {len(header):,} columns",
            f"at most {_MOST_COLUMNS:,}",
            "check the delimiter, or keep fewer columns",
        )
    names = [one_line(name.strip(), 200) or f"column {n}" for n, name in enumerate(header, 1)]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(
            f"{path.name}: column {twice[0]!r} stands twice in the header",
            "every name once",
            "rename or drop one of them",
        )
    return names


def _decode(data: bytes, options: FileOptions) -> str:
    """The text of a CSV file without its byte order mark."""
    name, encoding = options.path.name, options.encoding
    mark = next((known for start, known in _MARKS.items() if data.startswith(start)), None)
    plain = encoding.lower().replace("_", "").replace("-", "")
    if mark not in (None, "utf-8") and not plain.startswith(mark.replace("-", "")):
        raise InputError(
            f"{name} starts with the byte order mark of {mark}",
            encoding,
            f"set `encoding: {mark}`",
        )
    head = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    kind = next((known for start, known in _MAGIC.items() if head.startswith(start)), None)
    if kind is not None:
        raise InputError(f"{name} is {kind[0]}", "a CSV or Parquet table", kind[1])
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise InputError(
            f"unknown encoding {one_line(encoding, 40)!r}",
            "a text encoding that Python knows",
            "use utf-8, cp1252, latin-1 or utf-16",
        ) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{name}: byte {data[error.start : error.start + 1].hex()} at offset {error.start} "
            f"(line {line}) is not {encoding}",
            f"{encoding} text",
            "set `encoding: cp1252` (or what it was saved in)",
        ) from None
    except UnicodeError as error:  # raised by a few codecs that state no place
        raise InputError(f"{name} is not {encoding}: {error}", "text") from None


class _Record(NamedTuple):
    """One record of a CSV file: the lines it covers (1 = first) and its cells or its flaw."""

    first: int
    last: int
    cells: list[str]
    flaw: str = ""


def _records(text: str, delimiter: str) -> Iterator[_Record]:
    """Every record, in order.

    After a record with broken quotes, reading goes on with the line below the one it starts on,
    so that a stray quote costs one line and does not swallow those down to the next quote.
    """
    lines = list(io.StringIO(text, newline=""))
    start = broken = 0
    while start < len(lines):
        reader = csv.reader(
            map(lines.__getitem__, range(start, len(lines))), delimiter=delimiter, strict=True
        )
        done = 0
        try:
            for cells in reader:
                if cells:
                    yield _Record(start + done + 1, start + reader.line_num, cells)
                done = reader.line_num
            return
        except csv.Error as error:
            first, last = start + done + 1, start + reader.line_num
            flaw = f"a quote opened here is not closed soundly up to line {last} ({error})"
            yield _Record(first, first, [], flaw)
            start, broken = first, broken + 1
            if broken > 1000 and 2 * broken > len(lines):
                return  # hopeless, and each retry may scan far ahead


def _csv(path: Path, text: str, delimiter: str) -> Raw:
    """Cut the text into records and tell sound ones from broken ones."""
    if len(delimiter) != 1 or delimiter in '"\r\n \0':
        raise InputError(
            f"delimiter {one_line(delimiter, 20)!r}",
            "one character",
            f"use one of {', '.join(_DELIMITERS.values())}",
        )
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        records = _records(text, delimiter)
        names = _header(path, next(records, None), delimiter)
        rows, places, rejected = [], [], []
        for place, record in enumerate(records, 1):
            flaw = record.flaw or _flaw(record.cells, len(names))
            if flaw:
                where = f"line {record.first}"
                if record.last > record.first:
                    where = f"lines {record.first} to {record.last}"
                rejected.append(Rejection(place, "", f"{LEFT_OUT}{where}: {flaw}"))
            else:
                rows.append(record.cells)
                places.append(place)
    finally:
        csv.field_size_limit(before)
    columns: Sequence[Sequence[str]] = list(zip(*rows, strict=True)) or [[] for _ in names]
    frame = pd.DataFrame(
        {name: pd.Series(cells, dtype="str") for name, cells in zip(names, columns, strict=True)}
    )
    return Raw(path, frame.set_axis(pd.Index(places, dtype="int64")), tuple(rejected))


def _header(path: Path, record: _Record | None, delimiter: str) -> list[str]:
    """The column names in the first record."""
    if record is None or record.flaw or "\0" in "".join(record.cells):
        raise InputError(
            f"{path.name}: line {record.first if record else 1} is no header",
            "column names, parted by the delimiter",
            "check that the file is a CSV table",
        )
    if len(record.cells) == 1:
        counts = {other: record.cells[0].count(other) for other in _DELIMITERS}
        best = max(counts, key=lambda other: counts[other])
        if counts[best]:
            raise InputError(
                f"{path.name}: the header is one cell that holds {_DELIMITERS[best]}",
                f"columns parted by {_DELIMITERS.get(delimiter, repr(delimiter))}",
                f"set `delimiter: {_DELIMITERS[best]}`".replace("'", '"'),
            )
    return unique_header(path, record.cells)


def _flaw(cells: list[str], expected: int) -> str:
    """What is wrong with the cells of one record; "" if nothing."""
    if any("\0" in cell for cell in cells):
        return "it holds NUL bytes"
    if len(cells) == expected:
        return ""
    starts = f", starting with '{one_line(cells[0], 40)}'" if cells[0] else ""
    count = f"{len(cells)} cell" + ("s" if len(cells) > 1 else "")
    return f"{count} where the header has {expected}{starts}"


def _parquet(path: Path, data: bytes, coded: Sequence[str], texts: Sequence[str]) -> Raw:
    """All columns as strings."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        names = unique_header(path, file.schema_arrow.names)
        clean = [
            field.name
            for field in file.schema_arrow
            if field.name in texts and field.type in _STRINGS
        ]
        found = _columns(data, file, coded, clean)
        index = pd.RangeIndex(1, file.metadata.num_rows + 1)
        columns = {
            new: strings.as_series(found[old].cells, index)
            for old, new in zip(file.schema_arrow.names, names, strict=True)
        }
        frame = pd.DataFrame(columns, index=index)
    except InputError:
        raise
    except Exception as error:  # a foreign decoder on unknown bytes raises all kinds
        text = one_line(str(error).partition("\n")[0], 160)
        raise InputError(
            f"{path.name} is not readable as Parquet: {text}",
            "a Parquet file",
            "write it again, or give a CSV file a name that ends in .csv",
        ) from None
    nul = {place + 1 for column in found.values() for place in column.nul}
    raw = Raw(path, frame, cleaned=frozenset(clean))
    return raw.leave_out(dict.fromkeys(sorted(nul), "it holds NUL bytes"))


class _Column(NamedTuple):
    """The cells of a column, and the places of those that had NUL bytes."""

    cells: pa.Array
    nul: list[int]


def _columns(
    data: bytes, file: ParquetFile, coded: Sequence[str], clean: Sequence[str]
) -> dict[str, _Column]:
    """Every column by its name in the file; those that `clean` names are cleaned."""
    import pyarrow.parquet as pq

    names = file.schema_arrow.names
    others = [name for name in names if name not in clean]
    table = pq.read_table(pa.BufferReader(data), columns=others, read_dictionary=list(coded))
    sizes = _sizes(file)

    def column(name: str) -> _Column:
        if name in clean:
            return _text(data, name, sizes[name])
        array = _strings(table[name])
        if coded and pa.types.is_dictionary(array.type):
            return _Column(array, [])
        array = strings.as_arrow(array)
        return _Column(array, strings.rows_with(array, 0).tolist())

    # the largest first: the last to end shall be a short one
    order = sorted(names, key=lambda name: sizes[name], reverse=True)
    return dict(zip(order, strings.each(column, order), strict=True))


def _sizes(file: ParquetFile) -> Counter[str]:
    """Bytes of every column that is no list or structure, unpacked."""
    sizes: Counter[str] = Counter()
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        for part in map(group.column, range(group.num_columns)):
            sizes[part.path_in_schema] += part.total_uncompressed_size
    return sizes


def _text(data: bytes, name: str, size: int) -> _Column:
    """A column of about `size` bytes, cleaned piece by piece while it is read.

    So the memory of a piece is used again for the next, and mostly stays in the processor's cache.
    """
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(data))
    rows, nul = file.metadata.num_rows, list[int]()
    pieces = file.iter_batches(
        min(max(rows * _PIECE // max(size, 1), _FEWEST), _MOST), columns=[name], use_threads=False
    )

    def cleaned() -> Iterator[pa.Array]:
        start = 0
        for piece in pieces:
            piece.column(name).validate(full=True)
            array = strings.as_arrow(piece.column(name))
            nul.extend((strings.rows_with(array, 0) + start).tolist())
            start += len(array)
            yield strings.cleaned(array)

    return _Column(strings.gathered(cleaned(), rows=rows, room=size), nul)


def _strings(column: pa.ChunkedArray) -> pa.Array:
    """Typed values as the texts of cells, see `as_cell`; some of them coded."""
    if column.type in _STRINGS:
        column.validate(full=True)
        return strings.as_arrow(column)
    if pa.types.is_dictionary(column.type) and column.type.value_type in _STRINGS:
        column.validate(full=True)
        array = strings.coded(column)
        return strings.as_arrow(array) if strings.holds(array.dictionary, 0) else array
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return strings.coded(column.dictionary_encode())
    return pa.array([as_cell(value) for value in column.to_pylist()], pa.large_string())


def as_cell(value: object) -> str:
    """A typed value as the text of a cell: `true`, `12` (also for 12.0), `2013-05-01`, `a|b`.

    None, NaN and NaT give ""; a list is parted by `|`, a mapping is written as JSON. The time of
    day is cut off. Raises `UnicodeDecodeError` for bytes that are not UTF-8.
    """
    if value is None or value is pd.NaT or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal):
        whole = math.isfinite(value) and abs(float(value)) < 1e15 and value == int(value)
        return str(int(value)) if whole else str(value)
    if isinstance(value, datetime | date):
        return f"{value.year:04d}-{value.month:02d}-{value.day:02d}"
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return "|".join(as_cell(part) for part in value)
    if isinstance(value, dict):
        return json.dumps(value, default=str, sort_keys=True)
    return str(value)
