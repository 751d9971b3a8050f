"""Carrying out cells one after the other, or in several processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Protocol

from benchmark.audit import Report
from benchmark.cells import Cell, Result
from benchmark.dataset import Dataset
from benchmark.fitting import Material, died, run_cell
from benchmark.receipts import ROOT
from benchmark.splits import Split
from benchmark.store import Store
from features.errors import InputError
from models.base import Context


@dataclass(frozen=True)
class Workload:
    """What every worker needs: datasets by fingerprint, splits by hash, where results go."""

    datasets: dict[str, Dataset]
    splits: dict[str, Split]
    store: Store
    context: Context
    read_seconds: float = 0.0


class Watcher(Protocol):
    """Told of the audit, of the number of cells, and of each as it starts and ends.

    A cell ends done or failed, or is kept from an earlier run.
    """

    def audited(self, report: Report) -> None: ...

    def planned(self, total: int) -> None: ...

    def started(self, cell: Cell) -> None: ...

    def finished(self, cell: Cell, status: str) -> None: ...


class Silent:
    """A watcher that says nothing."""

    def audited(self, report: Report) -> None:
        """Nothing."""

    def planned(self, total: int) -> None:
        """Nothing."""

    def started(self, cell: Cell) -> None:
        """Nothing."""

    def finished(self, cell: Cell, status: str) -> None:
        """Nothing."""


def do(cell: Cell, work: Workload) -> str:
    """Run one cell and store what came of it; returns its status."""
    data, split = work.datasets[cell.dataset_fingerprint], work.splits[cell.split_hash]
    material = _material(cell, work.store)
    result = run_cell(cell, data, split=split, context=work.context, material=material)
    if result.predictions is not None:
        result.record["seconds"] = {"read": work.read_seconds, **result.record["seconds"]}
    if "error" in result.record:  # a record must not tell where this machine keeps things
        error = result.record["error"]
        for place in (str(ROOT), sys.prefix):
            error["traceback"] = error["traceback"].replace(f"{place}{os.sep}", "")
    try:
        work.store.write(cell, result)
    except OSError as error:
        raise InputError(
            f"cannot write to {work.store.root}: {error.strerror}",
            "room and the right to write",
            "mend it and run again: finished cells are kept",
        ) from None
    if result.predictions is not None:
        work.store.forget_journal(cell)
    return str(result.record["status"])


def _material(cell: Cell, store: Store) -> Material:
    """The finished members of a blend, and where a tuning study is kept."""
    members = {}
    for name, path in cell.members.items():
        record = store.record(path)
        if record is not None and store.state(path) == "done":
            members[name] = (record, store.predictions(path))
    return Material(members, None if cell.tune is None else store.journal(cell))


def serial(cells: Sequence[Cell], work: Workload, *, jobs: int, watcher: Watcher) -> None:
    """One cell after the other in this process; `jobs` must be 1."""
    for cell in cells:
        watcher.started(cell)
        watcher.finished(cell, do(cell, work))


_work: Workload | None = None  # a worker process keeps its workload here


def _begin(work: Workload) -> None:
    global _work
    _work = work
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this worker when its parent is gone: a killed run must not leave workers behind."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _do_here(cell: Cell) -> str:
    if _work is None:
        raise RuntimeError("the worker was not set up")
    return do(cell, _work)


def process(cells: Sequence[Cell], work: Workload, *, jobs: int, watcher: Watcher) -> None:
    """`jobs` worker processes.

    When one dies (killed, out of memory), the cells that were running get a process of their own,
    one after the other; the one that dies again is a failed record, and the others go on.
    """
    waiting = list(cells)
    while waiting:
        suspects, waiting = _until_one_dies(waiting, work, jobs=jobs, watcher=watcher)
        for cell in suspects:
            if _until_one_dies([cell], work, jobs=1, watcher=watcher)[0]:
                work.store.write(cell, Result(died(cell), None))
                watcher.finished(cell, "failed")


def _until_one_dies(
    cells: Sequence[Cell], work: Workload, *, jobs: int, watcher: Watcher
) -> tuple[list[Cell], list[Cell]]:
    """The cells that were running when a worker died and those not begun, if one did."""
    # torch and OpenMP do not survive fork
    spawn = multiprocessing.get_context("spawn")
    waiting, running = list(reversed(cells)), dict[Future[str], Cell]()
    with ProcessPoolExecutor(jobs, spawn, initializer=_begin, initargs=(work,)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    cell = waiting.pop()
                    watcher.started(cell)
                    running[pool.submit(_do_here, cell)] = cell
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    watcher.finished(running[future], future.result())
                    del running[future]
        except BrokenProcessPool:
            return list(running.values()), waiting[::-1]
        except BaseException:
            for worker in list((pool._processes or {}).values()):
                worker.kill()
            raise
    return [], []


def in_order(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells in waves: those that mix other cells come after all others."""
    waves = [[cell for cell in cells if bool(cell.members) == late] for late in (False, True)]
    return [wave for wave in waves if wave]


EXECUTORS: dict[str, Callable[..., Any]] = {"serial": serial, "process": process}
