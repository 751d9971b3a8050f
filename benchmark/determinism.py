"""Whether fitting again gives the same predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.cells import CEILING, Cell
from benchmark.config import load
from benchmark.executor import Workload, members_of
from benchmark.fitting import Material, run_cell
from benchmark.matrix import prepare, read_rows
from benchmark.merge import largest_difference
from benchmark.receipts import sha256
from benchmark.store import Store, folder_of, parquet_bytes
from models.base import Memo

TOLERANCE = 0.05
"""Largest difference of a probability that passes off the CPU.

A GPU adds in an order that differs from run to run, and training multiplies the difference. On
a CPU nothing but equality passes.
"""


@dataclass(frozen=True)
class Refit:
    """A cell that was fitted again, and the largest difference of a probability.

    `same` says that the predictions are equal byte for byte; `error` is the refit's, if it failed.
    """

    cell: Cell
    same: bool
    largest: float
    error: str = ""

    @property
    def passes(self) -> bool:
        """Equal, or within the tolerance on a GPU."""
        on_cpu = self.cell.device in (None, "cpu")
        return self.same or (not on_cpu and self.largest <= TOLERANCE)


def refit(
    config: str | Path | Mapping[str, Any], folder: Path, *, overrides: Sequence[str] = ()
) -> Iterator[Refit]:
    """Fit one finished cell of each model and inputs again: that of its first split and seed.

    Nothing is written to the folder, and nothing taken from the embedding cache. A study whose
    seconds ran out before its trials may end elsewhere: it depends on the machine's speed.
    """
    checked = load(config, overrides)
    store = Store(folder)
    work, cells, _ = prepare(checked, read_rows(checked), store)
    with tempfile.TemporaryDirectory() as cache:
        work = replace(work, context=replace(work.context, cache=Path(cache)))
        seen: set[tuple[str, str]] = set()
        for cell in cells:
            name = cell.label, cell.inputs
            done = store.state(folder_of(cell)) == "done"
            if done and cell.model != CEILING and name not in seen:
                seen.add(name)
                yield _again(cell, work)


def _again(cell: Cell, work: Workload) -> Refit:
    data, split = work.datasets[cell.dataset_fingerprint], work.splits[cell.split_hash]
    material = Material(members_of(cell, work.store))
    context = replace(work.context, memo=Memo())  # nothing of the cells before it
    result = run_cell(cell, data, split=split, context=context, material=material)
    if result.predictions is None:
        error = result.record["error"]
        return Refit(cell, False, float("inf"), f"{error['class']}: {error['message']}")
    path = folder_of(cell)
    record = work.store.record(path) or {}
    same = sha256(parquet_bytes(result.predictions)) == record.get("predictions_sha256")
    return Refit(cell, same, largest_difference(work.store.predictions(path), result.predictions))
