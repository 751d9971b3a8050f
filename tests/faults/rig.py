"""A small matrix, carried out in forked processes that are made to fail, and what is left then."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.matrix import run
from benchmark.receipts import sha256
from benchmark.store import PREDICTIONS, RECORD, SCORES, Store
from benchmark.verify import verify
from features.errors import InputError

REFUSED, BROKEN = 2, 3
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate",
}  # fmt: skip


@dataclass
class Tally:
    """A row of the table: what was done to how many cells, and what became of them."""

    fault: str
    injected: int = 0
    finished: int = 0
    lost: int = 0
    corrupted: int = 0
    compared: int = 0
    equal: int = 0
    remarks: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing corrupt, and every resumed run equal."""
        return self.injected > 0 and not self.lost + self.corrupted and self.equal == self.compared


@dataclass(frozen=True)
class Rig:
    """Where things are: scratch space, the small encoder in it, and the seed of all chance.

    `more` is what the config of the matrix has besides, or instead.
    """

    scratch: Path
    seed: int
    more: dict[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """Floors, tuned linear and boosted models, embeddings and a blend of them."""
        encoder = {"encoder": str(self.scratch / "encoder"), "max_tokens": 32}
        return {
            "name": "faults",
            "data": {"reader": "synthetic", "rows": 200},
            "splits": ["stratified"],
            "models": [
                "prior",
                {"name": "tfidf-logreg", "inputs": ["text", "both"]},
                {"name": "lightgbm", "inputs": "tabular"},
                {"name": "lightgbm", "label": "embedded", "inputs": "text", "params": encoder},
                "blend",
            ],
            "tune": {"trials": 3, "folds": 2},
            "explain": {"rows": 10, "gradient_rows": 1, "examples": 0},
            "threads": 1,
            **self.more,
        }

    def larger(self) -> Rig:
        """The same on two splits with three seeds and no embeddings: 60 cells, 10 a table."""
        models = [
            "prior",
            "always-positive",
            {"name": "tfidf-logreg", "inputs": ["text", "tabular", "both"]},
            {"name": "lightgbm", "inputs": ["tabular", "text", "both"]},
            "blend",
        ]
        several = {"splits": ["stratified", "temporal"], "seeds": [1, 2, 3], "models": models}
        return replace(self, more=several)

    def into(self, folder: Path, **more: Any) -> Callable[[], object]:
        """The run into `folder`, embeddings cached beside it."""
        config = {**self.config, **more.pop("config", {})}

        def begin() -> object:
            os.environ["TRIALMARK_CACHE"] = str(cache_of(folder))
            return run(config, out=folder, **more)

        return begin


def cache_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-cache")


def forked(begin: Callable[[], object], log: Path, *, killed_at: int | None = None) -> int:
    """Start `begin` in a fork of this process; returns its process id.

    `killed_at` kills it, as by kill -9, right before that many changes of a file or folder of its
    own. Its exit status is 0, `REFUSED` for an `InputError`, and `BROKEN` for anything else.
    """
    pid = os.fork()
    if pid:
        return pid
    status = BROKEN
    try:
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if killed_at is not None:
            changes = Counted(log.parent)

            def count(*event: Any) -> None:
                if changes(*event) and changes.found == killed_at:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(count)
        begin()
        status = 0
    except InputError as error:
        os.write(2, f"{error}\n".encode())
        status = REFUSED
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


class Counted:
    """Counts the changes of files under a folder that audit events announce."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.found = str(folder), 0

    def __call__(self, event: str, args: tuple[Any, ...]) -> bool:
        if event == "open":
            changes = isinstance(args[2], int) and bool(args[2] & _WRITES)
        else:
            changes = event in _CHANGES
        ours = changes and any(str(arg).startswith(self.folder) for arg in args[:2])
        self.found += ours
        return ours


def ended(pid: int, *, within: float = 120.0) -> int:
    """Exit status of a forked run; negative: the signal that killed it. It may not hang."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise TimeoutError(f"a run hung for {within} s")


def whole(begin: Callable[[], object], log: Path) -> None:
    """Carry out a run to its end, which has to be a good one."""
    status = ended(forked(begin, log))
    if status:
        raise RuntimeError(f"a run ended with {status}: {log.read_text()[-2000:]}")


def changes_of(begin: Callable[[], object], log: Path) -> int:
    """How many changes of files a whole run makes."""
    beside = log.with_suffix(".changes")

    def count() -> None:
        changes = Counted(log.parent)

        def count_one(*event: Any) -> None:
            changes(*event)

        sys.addaudithook(count_one)
        begin()
        beside.write_text(str(changes.found))

    whole(count, log)
    return int(beside.read_text())


def done(folder: Path) -> dict[str, tuple[str, str]]:
    """sha256 of record and predictions of each finished cell, by its place."""
    store, found = Store(folder), {}
    for file in folder.glob(f"*/*/*/[!.]*/{RECORD}"):
        if store.state(file.parent.relative_to(folder)) == "done":
            both = (file.read_bytes(), (file.parent / PREDICTIONS).read_bytes())
            name = file.parent.relative_to(folder).as_posix()
            found[name] = sha256(both[0]), sha256(both[1])
    return found


def check(folder: Path, before: dict[str, tuple[str, str]], whole: Path, tally: Tally) -> None:
    """Count cells that were finished and are not as they were, and cells that are not sound."""
    now, truth = done(folder), done(whole)
    tally.lost += sum(now.get(name) != files for name, files in before.items())
    tally.corrupted += sum(
        files[1] != truth.get(name, ("", ""))[1] or not Store(folder).record(name)
        for name, files in now.items()
    )


def compare(folder: Path, whole: Path, tally: Tally) -> None:
    """Count whether a run that went on ended as the one that was never disturbed."""
    tally.compared += 1
    now, truth = done(folder), done(whole)
    same = {k: v[1] for k, v in now.items()} == {k: v[1] for k, v in truth.items()}
    studies = all(_study(folder, name) == _study(whole, name) for name in truth) if same else False
    mismatches = verify(Store(folder)).mismatches
    left = [path for path in folder.rglob(".*") if path.name != SCORES]
    tally.corrupted += len(mismatches)
    tally.equal += same and studies and not left
    tally.remarks += [f"{m.file}: {m.why}" for m in mismatches] + [str(path) for path in left]
    if not same:
        tally.remarks.append(f"predictions of {sorted(set(truth) ^ set(now))} differ")
    elif not studies:
        tally.remarks.append("another study")


def _study(folder: Path, name: str) -> Any:
    """The trials of a cell's study without their times."""
    report = (Store(folder).record(name) or {}).get("tuning")
    if report is None:
        return None
    timeless = [{k: v for k, v in trial.items() if k != "seconds"} for trial in report["trials"]]
    return {**report, "trials": timeless}
