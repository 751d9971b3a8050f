"""Doing something to a hostile input, and what may not come of it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.receipts import peak_memory_mb, reset_peak_memory
from features.errors import InputError

SECONDS, WAITING = 10, 60
"""Of processor time, and by the clock: other work on the machine is not the input's."""
MEBIBYTES = 2048.0
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link"}
_NEVER = {
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
    "pickle.find_class",
}


@dataclass(frozen=True)
class Finding:
    """What went wrong with one input."""

    name: str
    what: str


@dataclass
class Seen:
    """How much was done to all inputs, the slowest and the largest of them, and what was found."""

    inputs: int = 0
    steps: int = 0
    refused: int = 0
    seconds: float = 0.0
    mebibytes: float = 0.0


class Hung(BaseException):
    """No `Exception`, so that nothing inside catches it."""


class Watch:
    """Calls things on hostile inputs; files may be written below `scratch` only."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.on = str(scratch), False
        self.seen, self.findings = Seen(), list[Finding]()
        self.events: list[str] = []
        sys.addaudithook(self._audit)
        for alarm in (signal.SIGALRM, signal.SIGPROF):
            signal.signal(alarm, self._hung)

    def __call__(self, name: str, step: Callable[[], Any]) -> Any:
        """What `step` returns, None where it refuses the input, or fails it (a finding)."""
        self.seen.steps += 1
        self.events = []
        reset_peak_memory()
        began, found = time.process_time(), None
        try:
            with self._watching():
                found = step()
        except InputError as error:
            self.seen.refused += 1
            if not str(error).isprintable():
                self._find(name, f"an error of several lines or with codes: {str(error)[:200]!r}")
        except Hung:
            self._find(name, f"still at it after {SECONDS} s")
        except SystemExit as stop:
            self._find(name, f"it ended the process: {stop}")
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            own = [
                f for f in traceback.extract_tb(error.__traceback__) if "benchmark" in f.filename
            ]
            place = own[-1] if own else last
            where = f"{Path(place.filename).name}:{place.lineno}"
            self._find(name, f"{type(error).__name__} at {where}: {str(error)[:200]!r}")
        self._measure(name, time.process_time() - began)
        for event in self.events:
            self._find(name, event)
        return found

    def _measure(self, name: str, seconds: float) -> None:
        mebibytes = peak_memory_mb()
        self.seen.seconds = max(self.seen.seconds, seconds)
        self.seen.mebibytes = max(self.seen.mebibytes, mebibytes)
        if mebibytes > MEBIBYTES:
            self._find(name, f"{mebibytes:.0f} MiB")

    def _find(self, name: str, what: str) -> None:
        self.findings.append(Finding(name, what))

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self.on = True
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(WAITING)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            self.on = False

    def _hung(self, *_: Any) -> None:
        raise Hung

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _NEVER:
            self.events.append(f"{event} {args!r}"[:200])
        changes = event in _CHANGES
        if event == "open":
            changes = isinstance(args[2], int) and bool(args[2] & _WRITES)
        if changes:
            places = [str(arg) for arg in args[:2] if isinstance(arg, str | Path)]
            if any(not self._inside(place) for place in places[: 1 if event == "open" else 2]):
                self.events.append(f"{event} {places}"[:200])

    def _inside(self, place: str) -> bool:
        whole = os.path.abspath(place)  # noqa: PTH100 - it resolves no link, and audits itself
        return whole.startswith(self.scratch) or whole in ("/dev/null", "/dev/tty")
