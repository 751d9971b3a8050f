"""Records of nested formats -> `Raw`: strings in Arrow chunks, so that a dump fits in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from benchmark.readers import archives, strings
from benchmark.readers.canonical import ID, STATUS
from benchmark.readers.files import LEFT_OUT, Raw, Rejection
from features.errors import InputError

_CHUNK = 4096


class SourceOptions(BaseModel):
    """`path`: a file, a folder or an archive, which may expand to `max_expanded_gb` (10^9)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    max_expanded_gb: float = 64.0

    def streams(
        self, wanted: Callable[[str], bool] | None = None
    ) -> Iterator[tuple[str, io.BufferedReader]]:
        """Name and content of every file, see `archives.streams`."""
        limits = archives.Limits(total=int(self.max_expanded_gb * 1e9))
        return archives.streams(self.path, limits, wanted=wanted)


class Chunk(NamedTuple):
    """Some records: their places in the source (1 = first) and their cells, "" or null: missing."""

    places: Sequence[int]
    table: pa.Table


def rejection(place: int, reason: str, id_: str = "") -> Rejection:
    """A record that is left out."""
    return Rejection(place, id_, LEFT_OUT + reason)


def chunked(
    records: Iterable[tuple[int, Mapping[str, str]] | Rejection], names: Sequence[str]
) -> Iterator[Chunk | Rejection]:
    """Records in chunks; `names` are the keys a record may have."""
    places: list[int] = []
    rows: list[Mapping[str, str]] = []
    for entry in records:
        if isinstance(entry, Rejection):
            yield entry
            continue
        places.append(entry[0])
        rows.append(entry[1])
        if len(rows) == _CHUNK:
            yield _chunk(places, rows, names)
            places, rows = [], []
    if rows:
        yield _chunk(places, rows, names)


def _chunk(places: Sequence[int], rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> Chunk:
    columns = {name: pa.array([row.get(name) for row in rows], pa.large_string()) for name in names}
    return Chunk(places, pa.table(columns))


def gathered(path: Path, entries: Iterable[Chunk | Rejection], what: str) -> Raw:
    """All records; columns that hold nothing in any of them are dropped (but id and status).

    Records with NUL bytes are left out. Raises `InputError` if there is no record, or more than
    half of them are rejected.
    """
    places: list[Sequence[int]] = []
    tables: list[pa.Table] = []
    rejected: list[Rejection] = []
    for entry in entries:
        if isinstance(entry, Rejection):
            rejected.append(entry)
        else:
            places.append(entry.places)
            tables.append(entry.table)
    if not tables and not rejected:
        raise InputError(f"{path.name} holds no {what}", "at least one", "check the download")
    index = pd.Index([place for part in places for place in part], dtype="int64")
    columns = strings.concatenated(tables) if tables else {}
    kept = {
        name: strings.as_series(column, index)
        for name, column in columns.items()
        if name in (ID, STATUS) or strings.holds_any(column)
    }
    raw = Raw(path, pd.DataFrame(kept, index=index), tuple(rejected))
    nul = {int(index[row]) for column in columns.values() for row in strings.rows_with(column, 0)}
    raw = raw.leave_out(dict.fromkeys(sorted(nul), "it holds NUL bytes"))
    raw.check_share()
    return raw
