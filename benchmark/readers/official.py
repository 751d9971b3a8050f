"""Published benchmarks come in one file a part (train, valid, test): many files -> one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from benchmark.dataset import REJECTED
from benchmark.readers.assembly import normal_id
from benchmark.readers.canonical import ID, OFFICIAL
from benchmark.readers.files import EMPTIED, LEFT_OUT, Raw, Rejection

ORDER = ("test", "valid", "train")
"""Which of several parts keeps a row that stands in all of them."""


@dataclass(frozen=True)
class Piece:
    """The records of one part, with canonical names."""

    part: str
    raw: Raw

    @cached_property
    def size(self) -> int:
        """The place of the last record, sound or not."""
        sound = [int(row) for row in self.raw.frame.index]
        return max([0, *sound, *(entry.row for entry in self.raw.rejected)])


def one_table(pieces: Sequence[Piece], path: Path) -> Raw:
    """All records, each id once, with the part in a column; places run on from file to file.

    A row that stands in two parts is a leak: the test part keeps it (a published score counts its
    rows), else the valid part; within a part the first is kept. The others are left out and
    listed. `path` is the name under which errors speak of the whole.
    """
    frames, rejected, start = [], [], 0
    for piece in pieces:
        frame = piece.raw.frame.assign(**{OFFICIAL: piece.part})
        frames.append(frame.set_axis(frame.index + start))
        rejected += [entry._replace(row=entry.row + start) for entry in piece.raw.rejected]
        start += piece.size
    frame = pd.concat(frames).fillna("").astype("str")
    raw = Raw(path, frame, tuple(rejected))
    ids = frame[ID].map(normal_id)
    return raw.leave_out(_doubles(frame, ids, pieces), ids)


def _doubles(frame: pd.DataFrame, ids: pd.Series, pieces: Sequence[Piece]) -> dict[int, str]:
    """Why each row whose id another row keeps is left out."""
    again = ids[ids.duplicated(keep=False) & (ids != "")]
    rank = frame.loc[again.index, OFFICIAL].map(ORDER.index).sort_values(kind="stable")
    kept: dict[str, int] = {}
    reasons = {}
    for row in rank.index:
        winner = kept.setdefault(again[row], row)
        if winner != row:
            file, place = _place(winner, pieces)
            here, there = frame.loc[row].to_dict(), frame.loc[winner].to_dict()
            differs = [name for name in here if name != OFFICIAL and here[name] != there[name]]
            what = f"it differs in {', '.join(differs)}" if differs else "with the same content"
            reasons[row] = f"{again[row]} stands in {file}, row {place} too, which is kept; {what}"
    return reasons


def _place(row: int, pieces: Sequence[Piece]) -> tuple[str, int]:
    """The file of a row of the whole table, and its place in that file."""
    for piece in pieces:
        if row <= piece.size:
            return piece.raw.path.name, row
        row -= piece.size
    raise ValueError(f"no piece has the row {row}")


def in_files(
    rejected: pd.DataFrame, pieces: Sequence[Piece], more: Sequence[Rejection] = ()
) -> pd.DataFrame:
    """`Rows.rejected` with places in the files instead of the table, and the files' names."""
    entries = []
    for row, id_, reason in rejected.itertuples(index=False):
        file, place = _place(row, pieces)
        kind = LEFT_OUT if reason.startswith(LEFT_OUT) else EMPTIED
        entries.append(Rejection(place, id_, f"{kind}{file}: {reason.removeprefix(kind)}"))
    listed = pd.DataFrame([*entries, *more], columns=REJECTED)
    return listed.astype({"row": "int64", "id": "str", "reason": "str"})
