"""Carrying out cells one after the other, or in several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from benchmark.cells import Cell, run_cell
from benchmark.dataset import Dataset
from benchmark.splits import Split
from benchmark.store import Store
from models.base import Context

Executor = Literal["serial", "process"]


@dataclass(frozen=True)
class Workload:
    """What every worker needs: datasets by task, splits by hash, where results go."""

    datasets: dict[str, Dataset]
    splits: dict[str, Split]
    store: Store
    context: Context
    read_seconds: float = 0.0


class Watcher(Protocol):
    """Told of the number of cells, and of each as it starts and ends (done, failed or kept)."""

    def planned(self, total: int) -> None: ...

    def started(self, cell: Cell) -> None: ...

    def finished(self, cell: Cell, status: str) -> None: ...


class Silent:
    """A watcher that says nothing."""

    def planned(self, total: int) -> None:
        """Nothing."""

    def started(self, cell: Cell) -> None:
        """Nothing."""

    def finished(self, cell: Cell, status: str) -> None:
        """Nothing."""


def do(cell: Cell, work: Workload) -> str:
    """Run one cell and store what came of it; returns its status."""
    data, split = work.datasets[cell.task], work.splits[cell.split_hash]
    result = run_cell(cell, data, split, work.context)
    if result.predictions is not None:
        result.record["seconds"] = {"read": work.read_seconds, **result.record["seconds"]}
    work.store.write(cell, result)
    return str(result.record["status"])


def serial(cells: Sequence[Cell], work: Workload, *, jobs: int, watcher: Watcher) -> None:
    """One cell after the other in this process; `jobs` must be 1."""
    for cell in cells:
        watcher.started(cell)
        watcher.finished(cell, do(cell, work))


_work: Workload | None = None  # a worker process keeps its workload here


def _begin(work: Workload) -> None:
    global _work
    _work = work


def _do_here(cell: Cell) -> str:
    if _work is None:
        raise RuntimeError("the worker was not set up")
    return do(cell, _work)


def process(cells: Sequence[Cell], work: Workload, *, jobs: int, watcher: Watcher) -> None:
    """`jobs` worker processes, each with its share of the threads.

    A worker that dies (killed, out of memory) ends the run with an error after the other running
    cells; what was stored stays, and the same command goes on from there.
    """
    shared = replace(
        work, context=replace(work.context, threads=max(1, work.context.threads // jobs))
    )
    # torch and OpenMP do not survive fork
    spawn = multiprocessing.get_context("spawn")
    waiting, running = list(reversed(cells)), dict[Future[str], Cell]()
    with ProcessPoolExecutor(jobs, spawn, initializer=_begin, initargs=(shared,)) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    cell = waiting.pop()
                    watcher.started(cell)
                    running[pool.submit(_do_here, cell)] = cell
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    watcher.finished(running.pop(future), future.result())
        except BaseException:
            for worker in list((pool._processes or {}).values()):
                worker.kill()
            raise


EXECUTORS: dict[str, Callable[..., Any]] = {"serial": serial, "process": process}
