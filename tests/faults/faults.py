"""The faults: each is done to the small matrix many times, and its tally kept."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.lock import OWNER

from . import rig
from .rig import REFUSED, Rig, Tally, cache_of, changes_of, check, compare, done, ended, forked

Fault = Callable[[Rig, int], Tally]


def killed_at_a_change(it: Rig, times: int) -> Tally:
    """kill -9 right before a random change of a file: cells, studies, cache, plan, lock."""
    of_all = changes_of(it.into(it.scratch / "counted"), it.scratch / "log")
    tally = _killed(it, times, "kill -9 before a random change of a file", of_all)
    tally.remarks.append(f"a whole run makes {of_all} changes of files")
    return tally


def killed_at_a_time(it: Rig, times: int) -> Tally:
    """kill -9 at a random time."""
    return _killed(it, times, "kill -9 at a random time", None)


def _killed(it: Rig, times: int, name: str, changes: int | None) -> Tally:
    """Kill a run, and what goes on from it, until it is through; `times` kills in all."""
    tally, chance = Tally(name), random.Random(f"{it.seed} {name}")
    log, whole, seconds = it.scratch / "log", it.scratch / "whole", 0.0
    if changes is None:
        pid = forked(it.into(it.scratch / "timed"), log)
        began = _at_work(it.scratch / "timed", pid)
        ended(pid)
        seconds = time.monotonic() - began
    for folder in _folders(it.scratch, f"killed-{bool(changes)}"):
        if tally.injected >= times:
            break
        before: dict[str, tuple[str, str]] = {}
        while True:
            last = tally.injected >= times
            at = None if changes is None or last else chance.randint(1, changes)
            pid = forked(it.into(folder), log, killed_at=at)
            if changes is None and not last:
                _at_work(folder, pid)
                time.sleep(chance.uniform(0, seconds))
                os.kill(pid, signal.SIGKILL)
            status = ended(pid)
            if status == 0:
                break
            if status != -signal.SIGKILL:
                raise RuntimeError(f"went on with {status}: {log.read_text()[-2000:]}")
            tally.injected += 1
            check(folder, before, whole, tally)
            before = done(folder)
            tally.finished += len(before)
        check(folder, before, whole, tally)
        compare(folder, whole, tally)
        _forget(folder)
    return tally


def _at_work(folder: Path, pid: int) -> float:
    """Wait until a forked run holds its folder, or has ended; returns the time."""
    over = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while str(pid) not in _text(folder / OWNER) and os.waitid(os.P_PID, pid, over) is None:
        time.sleep(0.002)
    return time.monotonic()


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _folders(scratch: Path, name: str) -> Iterator[Path]:
    number = 0
    while True:
        number += 1
        yield scratch / f"{name}-{number}"


def _forget(folder: Path) -> None:
    for path in (folder, cache_of(folder)):
        shutil.rmtree(path, ignore_errors=True)


def killed_with_workers(it: Rig, times: int) -> Tally:
    """kill -9 of a run with two worker processes; it goes on at once, with two again."""
    tally, chance = Tally("kill -9 of a run with --jobs 2"), random.Random(it.seed)
    whole = it.scratch / "whole"
    for number in range(times):
        folder = it.scratch / f"jobs-{number}"
        victim = _command(it, folder, "--jobs", "2")
        wanted, until = chance.randint(0, 5), time.monotonic() + 120
        while len(done(folder)) < wanted and victim.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.5))
        victim.kill()
        victim.wait()
        before = done(folder)
        tally.injected += 1
        tally.finished += len(before)
        again = _command(it, folder, "--jobs", "2")
        again.wait(timeout=300)
        check(folder, before, whole, tally)
        compare(folder, whole, tally)
        _forget(folder)
    return tally


def _command(it: Rig, folder: Path, *words: str) -> subprocess.Popen[str]:
    """`trialmark run` on the small matrix, in a process of its own."""
    import json

    config = it.scratch / "faults.yaml"
    config.write_text(json.dumps(it.config))
    command = [sys.executable, "-m", "benchmark.cli", "run", str(config), "--out", str(folder)]
    env = {**os.environ, "TRIALMARK_CACHE": str(cache_of(folder))}
    return subprocess.Popen(
        [*command, *words], env=env, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


@contextmanager
def _tmpfs(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A file system of this size; raises `OSError` where one may not be mounted."""
    folder.mkdir(parents=True)
    options = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(options, capture_output=True, check=False).returncode:
        raise OSError("no file system may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def full_disk(it: Rig, times: int) -> Tally:
    """A file system that is full at some point of the run, then grows."""
    tally, whole, log = Tally("disk full (tmpfs)"), it.scratch / "whole", it.scratch / "log"
    needs = _kilobytes(it.scratch / "whole") + _kilobytes(cache_of(it.scratch / "whole"))
    for number in range(times):
        size = 4 + needs * number // times // 4 * 4
        with _tmpfs(it.scratch / f"full-{number}", size) as disk:
            folder = disk / "run"
            status = ended(forked(it.into(folder), log))
            if status == rig.BROKEN or (
                status == REFUSED and "cannot write" not in log.read_text()
            ):
                tally.remarks.append(f"{size} KiB: {log.read_text()[-300:]}")
            before = done(folder) if folder.exists() else {}
            tally.injected += 1
            tally.finished += len(before)
            _remount(disk, "size=100m")
            rig.whole(it.into(folder), log)
            check(folder, before, whole, tally)
            compare(folder, whole, tally)
    return tally


def _kilobytes(folder: Path) -> int:
    """What a folder takes of a file system of 4 KiB blocks."""
    return sum(4 + path.stat().st_size // 4096 * 4 for path in folder.rglob("*"))


def read_only(it: Rig, times: int) -> Tally:
    """A file system that turns read-only while a run is at work, and is turned back."""
    tally, whole, log = Tally("folder turns read-only"), it.scratch / "whole", it.scratch / "log"
    chance = random.Random(it.seed)
    for number in range(times):
        with _tmpfs(it.scratch / f"read-only-{number}", 100_000) as disk:
            folder = disk / "run"
            pid = forked(it.into(folder), log)
            time.sleep(chance.uniform(0, 2.5))
            for _ in range(1000):  # it is refused while a file is open for writing
                if (
                    subprocess.run(
                        ["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=False
                    ).returncode
                    == 0
                ):
                    break
                time.sleep(0.002)
            status = ended(pid)
            if status == rig.BROKEN or (
                status == REFUSED and "cannot write" not in log.read_text()
            ):
                tally.remarks.append(log.read_text()[-300:])
            before = done(folder) if folder.exists() else {}
            tally.injected += 1
            tally.finished += len(before)
            _remount(disk, "rw")
            rig.whole(it.into(folder), log)
            check(folder, before, whole, tally)
            compare(folder, whole, tally)
    return tally


def two_at_once(it: Rig, times: int) -> Tally:
    """A second run into the folder of one at work, of the same config or another."""
    tally, whole, log = Tally("two runs in one folder"), it.scratch / "whole", it.scratch / "log"
    for number in range(times):
        folder = it.scratch / f"two-{number}"
        first = forked(it.into(folder), log)
        while len(done(folder)) < 1 + number % 3:
            time.sleep(0.01)
        more: dict[str, Any] = {"config": {"seeds": [7]}} if number % 2 else {}
        second = forked(it.into(folder, **more), it.scratch / "second")
        tally.finished += len(done(folder))
        status, said = ended(second), (it.scratch / "second").read_text()
        tally.injected += 1
        if status != REFUSED or f"in use by process {first} on" not in said:
            tally.remarks.append(f"the second ended with {status}: {said[-300:]}")
        if ended(first):
            tally.remarks.append(f"the first ended badly: {log.read_text()[-300:]}")
        check(folder, {}, whole, tally)
        compare(folder, whole, tally)
        _forget(folder)
    return tally


def clock_jumps(it: Rig, times: int) -> Tally:
    """The wall clock jumps by days, back and forth, at every look, and once more on resuming."""
    tally, whole, log = Tally("clock jumps"), it.scratch / "whole", it.scratch / "log"
    for number in range(times):
        folder, chance = it.scratch / f"clock-{number}", random.Random(f"{it.seed} {number}")

        def begin(folder: Path = folder, chance: random.Random = chance) -> None:
            real, real_ns = time.time, time.time_ns
            time.time = lambda: real() + chance.uniform(-9e5, 9e5)
            time.time_ns = lambda: real_ns() + chance.randint(-(10**15), 10**15)
            it.into(folder)()

        pid = forked(begin, log)
        while len(done(folder)) < 2 + number % 4:
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        before = done(folder)
        tally.injected += 1
        tally.finished += len(before)
        rig.whole(begin, log)
        check(folder, before, whole, tally)
        compare(folder, whole, tally)
        _forget(folder)
    return tally


def damaged_cache(it: Rig, times: int) -> Tally:
    """A file of the embedding cache is cut, or some of its bytes are others."""
    tally, chance = Tally("embedding cache damaged"), random.Random(it.seed)
    whole, log = it.scratch / "whole", it.scratch / "log"
    for number in range(times):
        folder = it.scratch / f"cache-{number}"
        shutil.copytree(cache_of(whole), cache_of(folder))
        for file in cache_of(folder).rglob("*.npz"):
            data = bytearray(file.read_bytes())
            if number % 2:
                del data[chance.randrange(len(data)) :]
            else:
                for _ in range(3):
                    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            file.write_bytes(data)
        tally.injected += 1
        rig.whole(it.into(folder), log)
        check(folder, {}, whole, tally)
        compare(folder, whole, tally)
        _forget(folder)
    return tally


def cut_studies(it: Rig, times: int) -> Tally:
    """A killed run's study is cut in the middle of a line, and Optuna's lock is left on it."""
    tally, chance = Tally("study cut, its lock left"), random.Random(it.seed)
    whole, log = it.scratch / "whole", it.scratch / "log"
    for number in range(times):
        folder = it.scratch / f"study-{number}"
        pid = forked(it.into(folder), log)
        while not [f for f in folder.glob(".studies/*.jsonl") if f.stat().st_size > 2000]:
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        before = done(folder)
        for file in folder.glob(".studies/*.jsonl"):
            os.truncate(file, chance.randrange(file.stat().st_size))
            lock = Path(f"{file}.lock")
            lock.unlink(missing_ok=True)
            lock.symlink_to(file.name)
        tally.injected += 1
        tally.finished += len(before)
        rig.whole(it.into(folder), log)
        check(folder, before, whole, tally)
        compare(folder, whole, tally)
        _forget(folder)
    return tally


def killed_workers(it: Rig, times: int) -> Tally:
    """A worker is killed as the kernel does when memory is spent; the run goes on around it."""
    tally, whole = Tally("a worker is killed"), it.scratch / "whole"
    for number in range(times):
        folder = it.scratch / f"worker-{number}"
        running = _command(it, folder, "--jobs", "2")
        while len(done(folder)) < 1 + number and running.poll() is None:
            time.sleep(0.02)
        before = done(folder)
        import psutil

        workers = [
            child
            for child in psutil.Process(running.pid).children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
        workers[number % len(workers)].kill()
        tally.injected += 1
        tally.finished += len(before)
        running.wait(timeout=300)
        _command(it, folder, "--jobs", "2", "--only-failed").wait(timeout=300)
        check(folder, before, whole, tally)
        compare(folder, whole, tally)
        _forget(folder)
    return tally


def lost_node(it: Rig, times: int) -> Tally:
    """One of three nodes of a Ray cluster is killed midway through 60 cells; the run goes on.

    Nothing is run again by hand but what sweeps: the run itself has to finish every cell.
    """
    tally, log = Tally("a Ray node of 3 is killed (60 cells)"), it.scratch / "log"
    whole, large = it.scratch / "whole-60", it.larger()
    rig.whole(large.into(whole), log)
    for number in range(times):
        folder = it.scratch / f"node-{number}"
        with _three_nodes() as (address, nodes):
            running = _command(large, folder, "--executor", "ray", "--address", address)
            while len(done(folder)) < 20 + 10 * number and running.poll() is None:
                time.sleep(0.02)
            before = done(folder)
            nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
            tally.injected += 1
            tally.finished += len(before)
            _, said = running.communicate(timeout=300)
        if running.returncode or len(done(folder)) != 60:
            tally.remarks.append(f"ended with {running.returncode}: {said[-300:]}")
            tally.lost += 60 - len(done(folder))
        rig.whole(large.into(folder), log)
        check(folder, before, whole, tally)
        compare(folder, whole, tally)
        _forget(folder)
    return tally


@contextmanager
def _three_nodes() -> Iterator[tuple[str, Any]]:
    """A cluster of three nodes with a core each, and its address; the last one can be removed."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        for _ in range(2):
            nodes.add_node(num_cpus=1)
        yield nodes.address, nodes
    finally:
        nodes.shutdown()


FAULTS: tuple[tuple[Fault, int, int], ...] = (
    (killed_at_a_change, 40, 3),
    (killed_at_a_time, 20, 0),
    (killed_with_workers, 3, 0),
    (killed_workers, 3, 0),
    (full_disk, 12, 0),
    (read_only, 5, 0),
    (two_at_once, 4, 1),
    (clock_jumps, 4, 0),
    (damaged_cache, 10, 0),
    (cut_studies, 10, 1),
    (lost_node, 2, 0),
)
"""Each fault, and how many times it is done: in the whole suite, and in the part that is a test."""
