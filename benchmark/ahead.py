"""Scoring a cell as soon as it is done, ahead of the first board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.bootstrap import UnionWeights, union_weights
from benchmark.contenders import (
    Done,
    Rows,
    Scoring,
    Table,
    families,
    scored_metrics,
    seed_text,
    target_of,
)
from benchmark.kept import Kept
from benchmark.store import PLAN, Store
from features.errors import InputError

_ROOM = 8_000_000
"""Counts, of 2 bytes each, that a worker holds beside what fits models: 8,000 test rows."""


def keep(store: Store, path: str) -> None:
    """Keep the values and draws of the cell in `path`, as the board of the whole run will ask.

    That board takes as long as its cells otherwise. Draws are those of all planned seeds; where
    there is no room for them, or no plan, or a seed is never done, the board draws for itself.
    """
    with suppress(OSError, ValueError, InputError):  # ValueError: a damaged split
        stamp = (store.root / PLAN).stat()
        planned = _planned(store.root, (stamp.st_mtime_ns, stamp.st_size))
        record = store.record(path)
        weights = planned.weights(path) if record is not None else None
        if record is None or record["status"] != "done" or weights is None:
            return
        cell = Done(store, planned.entries[path], record, None)
        scoring = Scoring(
            scored_metrics(target_of(record), planned.metrics),
            weights,
            {cell.seed: Rows(cell.test_ids())},
            grouped=False,
            kept=Kept(store.root, weights),
            keeps=True,
        )
        scoring.values(cell)


class _Planned:
    """A run's plan, and the draws of the family that a cell was last of."""

    def __init__(self, store: Store) -> None:
        plan = store.plan()
        self.store = store
        self.metrics: Sequence[str] | None = plan["metrics"]
        self.entries: Mapping[str, Mapping[str, Any]] = {e["path"]: e for e in plan["cells"]}
        self._drawn: tuple[int, UnionWeights | None] = (-1, None)

    @cached_property
    def _families(self) -> list[list[Table]]:
        return families(self.entries.values())

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Number of the family by path."""
        return {
            entry["path"]: number
            for number, family in enumerate(self._families)
            for table in family
            for entry in table.entries
        }

    def weights(self, path: str) -> UnionWeights | None:
        """The draws of a cell's family, None for a cell without one or too many draws."""
        if path not in self._numbers:
            return None
        number = self._numbers[path]
        if self._drawn[0] != number:
            self._drawn = (number, self._weights(self._families[number]))
        return self._drawn[1]

    def _weights(self, family: Sequence[Table]) -> UnionWeights | None:
        hashes = dict.fromkeys(str(e["split_hash"]) for table in family for e in table.entries)
        frames = [pd.read_parquet(self.store.root / "splits" / f"{h}.parquet") for h in hashes]
        tests = [frame[frame["part"] == "test"] for frame in frames]
        grouped = all("group" in frame for frame in frames)
        found = union_weights(
            [pd.Index(test["id"]) for test in tests],
            seed_text=seed_text(family),
            groups=[test["group"].reset_index(drop=True) for test in tests] if grouped else None,
        )
        return found if found.draws * len(found.ids) <= _ROOM else None


@lru_cache(maxsize=1)
def _planned(root: Path, stamp: tuple[int, int]) -> _Planned:
    """The plan in a folder; `stamp` tells it from the next one there."""
    return _Planned(Store(root))
