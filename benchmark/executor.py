"""Carrying out cells one after the other, or in several processes."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

import pandas as pd

from benchmark.ahead import keep
from benchmark.audit import Report
from benchmark.cells import Cell, Result
from benchmark.dataset import Dataset
from benchmark.fitting import Material, died, run_cell
from benchmark.limits import UNBOUND, Limits, explained, kill, resident
from benchmark.lock import said
from benchmark.receipts import ROOT, available_cores
from benchmark.splits import Split
from benchmark.store import Store, folder_of
from models.base import Context, Memo

_POLL = 0.2
"""Seconds between two looks at what the cells take, where they have limits."""


@dataclass(frozen=True)
class Workload:
    """What every worker needs: datasets by fingerprint, splits by hash, where results go.

    `limits` bound each cell. `exploration` is the rule of a run that drops models on the way (see
    `benchmark.halving`); each record says it. `country` is whose electricity is used, where its
    amount is to be estimated.
    """

    datasets: dict[str, Dataset]
    splits: dict[str, Split]
    store: Store
    context: Context
    read_seconds: float = 0.0
    limits: Limits = UNBOUND
    exploration: Mapping[str, Any] | None = None
    country: str | None = None


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
    journal = None if cell.tune is None else work.store.journal(cell)
    material = Material(members_of(cell, work.store), journal, work.country)
    context = work.context
    if work.limits.memory is not None:  # what other cells left must not count against this one
        context = replace(context, memo=Memo(context.memo.most))
    result = run_cell(cell, data, split=split, context=context, material=material)
    if work.exploration is not None:
        result.record["exploration"] = work.exploration
    if result.predictions is not None:
        result.record["seconds"] = {"read": work.read_seconds, **result.record["seconds"]}
    if "error" in result.record:
        error = result.record["error"] = explained(result.record["error"])
        # a record must not tell where this machine keeps things
        for place in (str(ROOT), sys.prefix):
            error["traceback"] = error["traceback"].replace(f"{place}{os.sep}", "")
    with said(work.store.root):
        work.store.write(cell, result)
    if result.predictions is not None:
        work.store.forget_journal(cell)
        keep(work.store, folder_of(cell))
    return str(result.record["status"])


def members_of(cell: Cell, store: Store) -> dict[str, tuple[dict[str, Any], pd.DataFrame]]:
    """Record and predictions of each finished member of a blend, by name."""
    # another machine may have fitted some
    store.settle([path for path in cell.members.values() if store.state(path) != "done"])
    members = {}
    for name, path in cell.members.items():
        record = store.record(path)
        if record is not None and store.state(path) == "done":
            members[name] = (record, store.predictions(path))
    return members


def serial(cells: Sequence[Cell], work: Workload, *, jobs: int, watcher: Watcher) -> None:
    """One cell after the other in this process, or with limits in one that can be killed.

    `jobs` must be 1.
    """
    if work.limits:
        process(cells, work, jobs=jobs, watcher=watcher)
        return
    for cell in chain.from_iterable(in_order(cells)):
        watcher.started(cell)
        watcher.finished(cell, do(cell, work))


_work: Workload | None = None  # a worker process keeps its workload here


def _begin(work: Workload) -> None:
    global _work
    _work = work
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is gone: a killed run must not leave workers behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do_here(cell: Cell) -> str:
    if _work is None:
        raise RuntimeError("the worker was not set up")
    return do(cell, _work)


def process(cells: Sequence[Cell], work: Workload, *, jobs: int, watcher: Watcher) -> None:
    """`jobs` worker processes, each with one cell at a time.

    When one dies (killed, out of memory), its cell gets another process at the end, alone; if that
    dies too, the cell is a failed record, and the others go on. A cell over its limits is one at
    once.
    """
    for wave in in_order(cells):
        for cell in _in_workers(wave, work, jobs=jobs, watcher=watcher):
            if _in_workers([cell], work, jobs=1, watcher=watcher):
                fail(cell, died(cell)["error"], work)
                watcher.finished(cell, "failed")


class _Worker:
    """A process that works on one cell at a time, from a pool of its own: its death is its own."""

    def __init__(self, work: Workload) -> None:
        # torch and OpenMP do not survive fork
        spawn = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(work,))
        self.pid = self.pool.submit(os.getpid)
        self.cell: Cell | None = None
        self.split = ""
        self.future: Future[str] = Future()
        self.since: float | None = None
        self.over: dict[str, str] | None = None

    def take(self, cell: Cell) -> None:
        """Begin a cell; its clock starts when the process is up."""
        self.cell, self.since, self.split = cell, None, cell.split_hash
        try:
            self.future = self.pool.submit(_do_here, cell)
        except BrokenProcessPool as error:  # it died while it had nothing to do
            self.future = Future()
            self.future.set_exception(error)

    def check(self, limits: Limits) -> None:
        """Kill the process if its cell is over the limits."""
        if self.pid.done() and self.over is None and not self.future.done():
            pid = self.pid.result()
            self.since = time.monotonic() if self.since is None else self.since
            self.over = limits.exceeded(time.monotonic() - self.since, resident(pid))
            if self.over is not None:
                kill(pid)

    def end(self, *, at_once: bool = False) -> None:
        """End the process; `at_once` does not let it finish what it is doing."""
        if at_once:
            for running in list((self.pool._processes or {}).values()):
                running.kill()
        self.pool.shutdown(cancel_futures=at_once)


def _in_workers(
    cells: Sequence[Cell], work: Workload, *, jobs: int, watcher: Watcher
) -> list[Cell]:
    """Carry out cells; returns those whose process died of itself."""
    waiting, lost = list(cells), list[Cell]()
    together = min(jobs, len(cells))
    work = replace(work, context=one_of(together, work.context))
    workers = [_Worker(work) for _ in range(together)]
    whole = False
    try:
        while waiting or any(worker.cell is not None for worker in workers):
            for worker in workers:
                if worker.cell is None and waiting:
                    cell = waiting.pop(_next(waiting, worker, workers))
                    watcher.started(cell)
                    worker.take(cell)
            busy = [worker.future for worker in workers if worker.cell is not None]
            wait(busy, timeout=_POLL if work.limits else None, return_when=FIRST_COMPLETED)
            for at, worker in enumerate(workers):
                if worker.cell is not None and worker.future.done():
                    status = _status(worker, work)
                    watcher.finished(worker.cell, status) if status else lost.append(worker.cell)
                    worker.cell = None
                    if waiting and worker.future.exception() is not None:
                        worker.end()
                        workers[at] = _Worker(work)
                elif worker.cell is not None:
                    worker.check(work.limits)
        whole = True
    finally:
        for worker in workers:
            worker.end(at_once=not whole)
    return lost


def one_of(workers: int, context: Context) -> Context:
    """The context of one of so many workers: its share of the cores and of the memo's memory."""
    return replace(
        context,
        cores=max(1, available_cores() // workers),
        memo=Memo(context.memo.most // workers),
    )


def _next(waiting: Sequence[Cell], worker: _Worker, workers: Sequence[_Worker]) -> int:
    """Place of the cell to go on with: its memo holds what cells of one split share.

    So that is one of the split that the worker knows, else of one that no other is busy with, else
    the first.
    """
    others = {one.split for one in workers if one.cell is not None}
    splits = [cell.split_hash for cell in waiting]
    if worker.split in splits:
        return splits.index(worker.split)
    return next((place for place, split in enumerate(splits) if split not in others), 0)


def _status(worker: _Worker, work: Workload) -> str:
    """How the worker's cell ended; "" where the process died of itself."""
    if worker.cell is None:
        raise RuntimeError("the worker has no cell")
    try:
        return worker.future.result()
    except BrokenProcessPool:
        if work.store.state(folder_of(worker.cell)) == "done":  # killed after its last step
            work.store.forget_journal(worker.cell)
            return "done"
        if worker.over is None:
            return ""
        fail(worker.cell, worker.over, work)
        return "failed"


def fail(cell: Cell, error: Mapping[str, str], work: Workload) -> None:
    """Store the record of a cell that could not write its own."""
    with said(work.store.root):
        work.store.write(cell, Result({**died(cell), "error": dict(error)}, None))


def in_order(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells in waves: those that mix other cells come after all others."""
    waves = [[cell for cell in cells if bool(cell.members) == late] for late in (False, True)]
    return [wave for wave in waves if wave]
