"""Carrying out cells on a Ray cluster, or on one that Ray starts on this machine.

A cell is a task. It asks for `threads` cores, a card if its model runs on one, and the memory it
may take, so that Ray gives a node what it has room for. Rows and splits are put into Ray's shared
memory once and read from there by every worker. Results go through the store, as everywhere; what
comes back is the cell's status alone.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmark import receipts
from benchmark.cells import Cell
from benchmark.executor import Silent, Watcher, Workload, do, fail, in_order, one_of, process
from benchmark.fitting import died, explore_cell
from benchmark.limits import GIB, explained
from benchmark.store import folder_of
from features.errors import InputError, one_line
from models import check_params
from models import libraries as model_libraries
from models.base import Memo

TRIES = 3
"""Workers that a cell may lose before it is a failed record."""
_LOOK = 2.0
"""Seconds between two looks at the nodes while no cell ends."""
_PATIENCE = 600.0
"""Seconds that a run waits for a node with room for the cells that are left."""
_CONNECT = 10.0
_OURS = "trialmark"
"""Namespace of the connections that are made, and closed, by a run."""


@dataclass(frozen=True)
class Needs:
    """What a cell asks of one node: cores, cards, and bytes of memory (0: no bound)."""

    cpus: int
    gpus: int
    memory: int

    def fit(self, node: Mapping[str, float]) -> int:
        """How many such cells a node with these resources holds at once."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}
        return min(int(node.get(name, 0.0) // amount) for name, amount in asked.items() if amount)

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPUs"]
        parts += [f"{self.gpus} GPU"] if self.gpus else []
        parts += [f"{self.memory / GIB:.1f} GiB"] if self.memory else []
        return ", ".join(parts)


def check_ray() -> None:
    """Raise `InputError` where Ray is not installed."""
    if find_spec("ray") is None:
        raise InputError("executor ray without Ray", "it installed", "pip install 'trialmark[ray]'")


def needs_of(cell: Cell, work: Workload) -> Needs:
    """What a cell asks for: the threads of the run, a card for torch on one, the memory limit."""
    memory = work.limits.memory
    on_card = cell.device == "cuda"
    return Needs(work.context.threads, int(on_card), 0 if memory is None else memory)


def on_ray(cells: Sequence[Cell], work: Workload, *, jobs: int | None, watcher: Watcher) -> None:
    """Cells as tasks on the cluster that this process is `connected` to.

    As many at a time as the nodes have room for, at most `jobs`. When a node or a worker is lost,
    its cell is given to another one, unless its record stands already; after `TRIES` losses it is
    a failed record. A fit that fails is one at once. Raises `InputError` for a cluster that has no
    node with room for a cell, and for one whose nodes hold another trialmark.
    """
    import ray

    root = work.store.root.absolute()
    work = replace(work, store=replace(work.store, root=root))
    _check_room({needs_of(cell, work) for cell in cells})
    shared = ray.put(work)
    for wave in in_order(cells):
        _carry_out(wave, work, shared, jobs=jobs, watcher=watcher)


def _carry_out(
    cells: Sequence[Cell], work: Workload, shared: Any, *, jobs: int | None, watcher: Watcher
) -> None:
    """Send cells where there is room, until each is done or failed; on any error `_leave` them."""
    import ray

    waiting: dict[Needs, deque[Cell]] = {}
    for cell in cells:
        waiting.setdefault(needs_of(cell, work), deque()).append(cell)
    flights: dict[Any, Cell] = {}  # by the task that gives the status
    tasks: dict[Any, Any] = {}  # each that has not ended -> the last one of its cell
    losses: Counter[str] = Counter()
    had_room = time.monotonic()
    try:
        while flights or any(waiting.values()):
            running = [needs_of(cell, work) for cell in flights.values()]
            for cell in _next(waiting, running, jobs):
                watcher.started(cell)
                sent = _send(cell, needs_of(cell, work), shared)
                flights[sent[-1]] = cell
                tasks |= dict.fromkeys(sent, sent[-1])
            running = [needs_of(cell, work) for cell in flights.values()]
            had_room = _patient(running, waiting, had_room)
            ended, _ = ray.wait(list(tasks), timeout=_LOOK) if tasks else ([], [])
            for task in ended:
                last = tasks.pop(task)
                if last in tasks.values():  # others of this cell have not ended
                    continue
                cell = flights.pop(last)
                status = _status(last, cell, work, losses)
                if status:
                    watcher.finished(cell, status)
                else:
                    waiting[needs_of(cell, work)].append(cell)
    except BaseException:
        _leave(list(tasks))
        raise


def _next(
    waiting: Mapping[Needs, deque[Cell]], running: Collection[Needs], jobs: int | None
) -> Iterator[Cell]:
    """Take the cells that there is room for out of those that wait."""
    busy = Counter(running)
    for needs, queue in waiting.items():
        room = _room(needs)
        while queue and busy[needs] < room and (jobs is None or busy.total() < jobs):
            busy[needs] += 1
            yield queue.popleft()


def _send(cell: Cell, needs: Needs, shared: Any) -> list[Any]:
    """Make tasks of a cell, the last of which gives its status.

    Those before it, if there are any, work on its tuning study: one alone on trial 0, then as many
    as the config says.
    """
    import ray

    options = {
        "name": cell.name,
        "num_cpus": needs.cpus,
        "num_gpus": needs.gpus,
        "memory": needs.memory if needs.memory else None,
        "max_retries": 0,  # losses are counted here, and a finished cell is not done again
    }
    # within a list Ray hands it on as it is: a worker reads it once, not once a cell
    about = cell, [shared], Path.cwd()
    share = ray.remote(_explore_there).options(**options)
    workers = 0 if cell.tune is None else cell.tune.get("workers", 0)
    first = [share.remote(*about, None)] if workers else []
    shares = [share.remote(*about, number, *first) for number in range(workers)]
    return [*first, *shares, ray.remote(_do_there).options(**options).remote(*about, *shares)]


def _status(ref: Any, cell: Cell, work: Workload, losses: Counter[str]) -> str:
    """How a task ended; "" where its worker was lost and it is to be sent again.

    An error of the task's own ends the run: what goes wrong in a fit is in the cell's record.
    """
    import ray
    from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

    path = folder_of(cell)
    try:
        return str(ray.get(ref))
    except RayError as raised:
        error: Exception = raised
        while isinstance(error, RayTaskError):  # raised by the task, or by one it waited for
            error = error.cause
        if not isinstance(error, RayError):
            raise error from None
        work.store.settle([path])
        if work.store.state(path) == "done":  # lost after its last step
            work.store.forget_journal(cell)
            return "done"
        losses[path] += 1
        if losses[path] < TRIES:
            return ""
        lost = died(cell)["error"]
        if isinstance(error, OutOfMemoryError):
            lost = explained(
                {"class": type(error).__name__, "message": one_line(error, 200), "traceback": ""}
            )
        fail(cell, lost, work)
        return "failed"


def _leave(tasks: Sequence[Any]) -> None:
    """Wait for tasks to end, unless the connection was made for this run.

    Such a one is closed next, and what a closed one leaves behind is killed by Ray. `ray.cancel`
    would be quicker in the other case, but where it meets a task that is just ending, Ray 2.60 ends
    that one twice and aborts this process (ray-project/ray#54798, mended for lost workers only).
    """
    import ray

    if tasks and ray.get_runtime_context().namespace != _OURS:
        ray.wait(list(tasks), num_returns=len(tasks))


def _room(needs: Needs) -> int:
    """How many cells with these needs the cluster holds at once."""
    import ray

    return sum(needs.fit(node["Resources"]) for node in ray.nodes() if node["Alive"])


def _check_room(kinds: Collection[Needs]) -> None:
    """Raise `InputError` for cells that no node has room for: Ray would let them wait for ever."""
    for needs in kinds:
        if not _room(needs):
            raise InputError(
                f"no node of the cluster has {needs} for a cell",
                "a node with that much",
                "set `threads` (and `memory`) to what one has, or start such a node",
            )


def _patient(
    running: Collection[Needs], waiting: Mapping[Needs, deque[Cell]], had_room: float
) -> float:
    """When all that is left last had a node with room; raises where that is too long ago."""
    left = {*running, *(needs for needs, queue in waiting.items() if queue)}
    if all(_room(needs) for needs in left):
        return time.monotonic()
    if time.monotonic() - had_room > _PATIENCE:
        _check_room(left)
    time.sleep(0.1)
    return had_room


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to the cluster at `address` (None: one of this machine, ended afterwards).

    One that this process has already is used, and kept; a run that is interrupted then waits for
    the cells that have begun, which otherwise are killed. What Ray has to say of nodes that are
    lost goes to stderr. Raises `InputError` for a cluster that can't be reached.
    """
    import ray

    with redirect_stdout(sys.stderr):
        if ray.is_initialized():
            yield
            return
        connect = partial(
            ray.init, namespace=_OURS, log_to_driver=False, logging_level=logging.ERROR
        )
        if address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
            connect(address="local", include_dashboard=False)
        else:
            _check_reachable(address)
            try:
                connect(address=address)
            except (OSError, RuntimeError, ValueError) as error:
                raise _unreached(address, error) from None
        try:
            yield
        finally:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise `InputError` where nobody answers: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _unreached(address, error) from None


def _unreached(address: str, error: Exception) -> InputError:
    return InputError(
        f"no Ray cluster at {address}: {one_line(error, 200)}",
        "the HOST:PORT that `ray start --head` printed",
        "run trialmark on a node of the cluster",
    )


# What follows is carried out by workers.

_kept: dict[str, Workload] = {}  # the last workload that this worker read


def _do_there(cell: Cell, shared: Sequence[Any], folder: Path, *_: None) -> str:
    """Run one cell in a worker and store what came of it; returns its status.

    With limits it runs in a process of its own that can be killed. What else comes is waited for.
    """
    work = _work_of(cell, shared[0], folder)
    if not work.limits:
        return do(cell, work)
    process([cell], work, jobs=1, watcher=Silent())
    return work.store.state(folder_of(cell))


def _explore_there(
    cell: Cell, shared: Sequence[Any], folder: Path, worker: int | None, *_: None
) -> None:
    """Work on a cell's study in a worker; the cell itself meets an error of its fits again."""
    work = _work_of(cell, shared[0], folder)
    data, split = work.datasets[cell.dataset_fingerprint], work.splits[cell.split_hash]
    # only the first is alone with it, and may mend it
    journal = work.store.journal(cell) if worker is None else work.store.study(cell)
    with suppress(Exception):
        explore_cell(cell, data, split=split, context=work.context, journal=journal, worker=worker)


def _work_of(cell: Cell, shared: Any, folder: Path) -> Workload:
    """The workload for one cell, on this node as it was meant."""
    work = _workload(shared, folder)
    _check_same(cell)
    device = "cpu" if cell.device is None else cell.device  # this node may have no card
    return replace(work, context=replace(work.context, device=device))


def _workload(shared: Any, folder: Path) -> Workload:
    """The workload, read once; its arrays are those of the node's shared memory.

    Paths of a config may be relative to where the run was started.
    """
    import ray

    name = shared.hex()
    if name not in _kept:
        with suppress(OSError):
            os.chdir(folder)
        _kept.clear()
        work: Workload = ray.get(shared)
        beside = max(1, receipts.available_cores() // work.context.threads)
        context = one_of(beside, replace(work.context, memo=Memo()))  # this node's memory
        _kept[name] = replace(work, context=context)
    return _kept[name]


def _check_same(cell: Cell) -> None:
    """Raise `InputError` where this node would give other predictions than the cell's key says."""
    here: dict[str, str | None] = {}
    if cell.libraries:
        here = model_libraries(cell.model, check_params(cell.model, cell.params))
    here |= receipts.versions({"optuna"} if cell.tune else ())
    differing = [n for n, found in cell.libraries.items() if here.get(n) != found]
    if receipts.code_version(tuned=cell.tune is not None) != cell.code:
        differing.append("trialmark")
    if differing:
        raise InputError(
            f"node {socket.gethostname()} has another {differing[0]} than this machine",
            "one installation on all nodes",
            "install from the same checkout with constraints.txt, restart Ray there, and edit no "
            "sources during a run",
        )
