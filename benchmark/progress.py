"""Progress of a run on a terminal; silence elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmark.audit import Report
from benchmark.cells import Cell
from benchmark.executor import Silent, Watcher


class Bar:
    """A watcher that keeps one line: cells done, running and failed, and what is being fitted."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self.progress = Progress(
            SpinnerColumn(),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(file=sys.stderr),
            transient=True,
        )
        self.task = self.progress.add_task("reading", total=None)
        self.running: dict[str, str] = {}
        self.failed = 0

    def audited(self, report: Report) -> None:
        """Say in one line what the audit found."""
        self.progress.console.print(report.summary(), markup=False, highlight=False)

    def planned(self, total: int) -> None:
        """The number of cells is known."""
        self.progress.update(self.task, total=total)

    def started(self, cell: Cell) -> None:
        """A cell is being fitted."""
        self.running[cell.key] = cell.name
        self._show()

    def finished(self, cell: Cell, status: str) -> None:
        """A cell is done, failed or kept from an earlier run."""
        self.running.pop(cell.key, None)
        self.failed += status == "failed"
        self.progress.advance(self.task)
        self._show()

    def _show(self) -> None:
        words = [f"{self.failed} failed"] if self.failed else []
        self.progress.update(self.task, description=" · ".join([*words, *self.running.values()]))


class Lines(Silent):
    """A watcher for a log: the audit's line alone."""

    def audited(self, report: Report) -> None:
        """Say in one line what the audit found."""
        sys.stderr.write(f"{report.summary()}\n")


@contextmanager
def watching() -> Iterator[Watcher]:
    """A watcher for this process: a bar where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    bar = Bar()
    with bar.progress:
        yield bar
