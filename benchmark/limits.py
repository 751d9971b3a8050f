"""What one cell may take, and what is said of one that took more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psutil

GIB = 2**30
_NO_MEMORY = ("MemoryError", "_ArrayMemoryError", "ArrowMemoryError", "OutOfMemoryError")
"""Names of the errors by which Python, NumPy, Arrow and torch say that memory is spent."""
_NO_MEMORY_TEXTS = ("can't allocate memory", "Cannot allocate memory", "bad allocation")
_ADVICE = "run fewer --jobs, a smaller batch_size or vocabulary, fewer rows or columns"


@dataclass(frozen=True)
class Limits:
    """Seconds a cell may take and bytes its process may hold; None: no bound.

    Memory is looked at a few times a second: it keeps a machine usable, but a burst between two
    looks passes.
    """

    seconds: float | None = None
    memory: int | None = None

    def __bool__(self) -> bool:
        return self.seconds is not None or self.memory is not None

    def exceeded(self, seconds: float, memory: int) -> dict[str, str] | None:
        """The error of a cell that took this much, None where it is within bounds."""
        if self.seconds is not None and seconds > self.seconds:
            return _error(
                "TimedOut",
                f"still running after {self.seconds:g} s (`timeout`); raise it, or ask for less: "
                "fewer trials, epochs or rows. What was tuned so far is kept for the next run",
            )
        if self.memory is not None and memory > self.memory:
            return _error(
                "OutOfMemory",
                f"its process held {memory / GIB:.2f} GiB, more than {self.memory / GIB:.2f} GiB "
                f"(`memory`); raise it, or: {_ADVICE}",
            )
        return None


UNBOUND = Limits()


def explained(error: Mapping[str, str]) -> dict[str, str]:
    """A record's error; one that means spent memory under the name `OutOfMemory`, with advice."""
    text = error["message"]
    if error["class"] in _NO_MEMORY or any(part in text for part in _NO_MEMORY_TEXTS):
        message = f"{error['class']}: {text}" if text else error["class"]
        return {**error, **_error("OutOfMemory", f"{message}; {_ADVICE}", error["traceback"])}
    return dict(error)


def _error(name: str, message: str, traceback: str = "") -> dict[str, str]:
    return {"class": name, "message": message, "traceback": traceback}


def resident(pid: int) -> int:
    """Bytes of memory that a process and its children hold; 0 for one that has ended."""
    total = 0
    for one in _family(pid):
        try:
            total += one.memory_info().rss
        except psutil.Error:
            continue
    return total


def kill(pid: int) -> None:
    """End a process and its children at once."""
    for one in reversed(_family(pid)):
        try:
            one.kill()
        except psutil.Error:
            continue


def _family(pid: int) -> list[psutil.Process]:
    """A process and its children, none for one that has ended."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.Error:
        return []
