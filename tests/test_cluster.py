"""Cells on a Ray cluster end as they do without one; only lost workers are tried again."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from mortal import mortal_model, pids
from test_matrix import Log, hashes

import benchmark
from benchmark import cluster, receipts
from benchmark.cells import Cell
from benchmark.cluster import TRIES, Needs, on_ray
from benchmark.config import load
from benchmark.limits import GIB
from benchmark.matrix import prepare, read_rows
from benchmark.places import store_at
from features.errors import InputError

ray = pytest.importorskip("ray", reason="trialmark[ray] is not installed")
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of two nodes of one core each, whose workers find these tests."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        path = [str(HERE.parent), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(path))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        head = {"num_cpus": 1, "include_dashboard": False}
        nodes = Cluster(initialize_head=True, head_node_args=head)
        try:
            nodes.add_node(num_cpus=1)
            yield nodes.address
        finally:
            ray.shutdown()
            nodes.shutdown()


@pytest.fixture
def linked(address: str) -> None:
    """A connection that runs find and keep, and with it workers that are up."""
    if not ray.is_initialized():
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)


@pytest.fixture
def apart() -> None:
    """No connection, as where a run begins on the command line."""
    ray.shutdown()


@pytest.fixture
def matrix(small: dict[str, Any], address: str) -> dict[str, Any]:
    """A config for the cluster: a floor on one split, a core a cell."""
    there = {"executor": "ray", "address": address, "threads": 1, "explain": False}
    return {**small, **there, "splits": ["stratified"], "models": ["prior"]}


class Interrupted(Log):
    """A watcher during which Ctrl-C comes once a file is there."""

    def __init__(self, trace: Path) -> None:
        super().__init__()
        self.trace = trace

    def finished(self, cell: Cell, status: str) -> None:
        super().finished(cell, status)
        while not pids(self.trace):
            time.sleep(0.02)
        raise KeyboardInterrupt


def test_a_node_holds_as_many_cells_as_its_scarcest_resource_allows() -> None:
    node = {"CPU": 16.0, "GPU": 2.0, "memory": 64.0 * GIB}
    assert Needs(4, 0, 0).fit(node) == 4
    assert Needs(4, 1, 0).fit(node) == 2
    assert Needs(1, 0, 20 * GIB).fit(node) == 3
    assert Needs(17, 0, 0).fit(node) == 0
    assert Needs(1, 1, 0).fit({"CPU": 16.0}) == 0


def test_cells_are_sent_while_there_is_room_for_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, on_card = Needs(2, 0, 0), Needs(2, 1, 0)
    rooms = {plain: 4, on_card: 1}
    monkeypatch.setattr(cluster, "_room", rooms.__getitem__)

    def sent(running: list[Needs], jobs: int | None) -> Counter[Needs]:
        waiting: Any = {kind: deque([kind] * 9) for kind in (on_card, plain)}
        return Counter(cluster._next(waiting, running, jobs))

    assert sent([], None) == {on_card: 1, plain: 4}
    assert sent([on_card, plain, plain], None) == {plain: 2}
    assert sent([plain], 3) == {on_card: 1, plain: 1}
    assert sent([plain, plain, plain], 3) == {}


def test_an_address_belongs_to_ray(small: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="address h:1 without Ray"):
        benchmark.run(small, out=tmp_path, address="h:1")
    with pytest.raises(InputError, match="config: address: an address without Ray"):
        load({**small, "address": "h:1"})
    with pytest.raises(InputError, match=r"executor = 'rai'.*did you mean 'ray'"):
        load({**small, "executor": "rai"})


@pytest.mark.usefixtures("apart")
def test_a_cluster_that_does_not_answer_is_refused_at_once(
    small: dict[str, Any], tmp_path: Path
) -> None:
    began = time.monotonic()
    for where, why in (("127.0.0.1:1", "refused"), ("nowhere", "invalid")):
        with pytest.raises(InputError, match=f"no Ray cluster at {where}: .*{why}"):
            benchmark.run(small, out=tmp_path, executor="ray", address=where)
    assert time.monotonic() - began < 15


@pytest.mark.usefixtures("apart")
def test_a_matrix_ends_as_it_does_without_a_cluster(
    matrix: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    matrix |= {
        "splits": ["stratified", "temporal"],
        "models": [
            "prior",
            {"name": "tfidf-logreg", "inputs": ["text", "both"]},
            {"name": "lightgbm", "inputs": "tabular"},
            "blend",
        ],
        "tune": {"trials": 2, "folds": 2},
        "explain": True,
    }
    benchmark.run(matrix, out=tmp_path / "serial", executor="serial")
    capfd.readouterr()
    monkeypatch.chdir(tmp_path)  # a relative folder is the same one for every worker
    log = Log()
    done = benchmark.run(matrix, out="ray", watcher=log)
    assert Counter(log.ends) == {"done": 12}
    assert len(log.fitted) == 12
    assert all("blend" in name for name in log.fitted[-2:])
    assert len(hashes(tmp_path / "ray")) == 12
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "serial")
    assert not list((tmp_path / "ray").glob("*/*/*/.*"))
    assert capfd.readouterr().out == ""
    again = Log()
    benchmark.run(matrix, out=done.folder, watcher=again)
    assert again.ends == ["kept"] * 12


class Looking(threading.Thread):
    """Looks, while it lives, who writes to the studies below a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.writers, self.over = folder, set[str](), threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            for file in self.folder.glob(".studies/*.jsonl"):
                with suppress(OSError, psutil.Error):  # it, or a process, is gone
                    self.look(file.read_text())

    def look(self, journal: str) -> None:
        self.writers |= set(re.findall(r'"worker_id": ?"([^"]+)"', journal))


class Killing(Looking):
    """Kills the first worker of a cell that it finds once two trials of its study have ended."""

    def __init__(self, folder: Path, cell: str) -> None:
        super().__init__(folder)
        self.cell, self.killed = cell, 0

    def look(self, journal: str) -> None:
        super().look(journal)
        if self.killed or len(re.findall('"op_code": ?6', journal)) < 2:  # a trial's state is set
            return
        for process in psutil.Process().children(recursive=True):
            if f"ray::{self.cell}" in " ".join(process.cmdline()):
                process.suspend()
                if list(self.folder.glob(".studies/*.lock")):  # which others would wait for
                    process.resume()
                    return
                self.killed = process.pid
                process.kill()
                return


@pytest.mark.usefixtures("linked")
def test_a_study_may_be_spread_over_workers_and_says_so(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    matrix |= {
        "models": [{"name": "tfidf-logreg", "inputs": "text"}, "prior"],
        "tune": {"trials": 7, "folds": 2, "workers": 2},
    }
    looking = Looking(tmp_path)
    looking.start()
    done = benchmark.run(matrix, out=tmp_path)
    looking.over.set()
    looking.join()
    states = done.status().set_index("model")
    assert set(states["state"]) == {"done"}
    record = json.loads((tmp_path / states.loc["tfidf-logreg", "path"] / "record.json").read_text())
    tuning = record["tuning"]
    assert (tuning["workers"], tuning["reproducible"]) == (2, False)
    assert len(tuning["trials"]) == 7
    defaults = record["cell"]["params"]
    assert tuning["trials"][0]["params"] == {name: defaults[name] for name in tuning["searched"]}
    assert len(looking.writers) >= 3  # trial 0 by one, the others by two
    assert not list(tmp_path.glob(".studies/*"))


@pytest.mark.usefixtures("linked")
def test_a_spread_study_that_loses_a_worker_goes_on_when_its_others_have_ended(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    matrix |= {
        "models": [{"name": "tfidf-logreg", "inputs": "text"}],
        "tune": {"trials": 30, "folds": 2, "workers": 2},
    }
    log = Log()
    killing = Killing(tmp_path, "trial-outcome stratified as of registration seed 42 tfidf-logreg")
    killing.start()
    states = benchmark.run(matrix, out=tmp_path, watcher=log).status().set_index("model")
    killing.over.set()
    killing.join()
    assert killing.killed
    assert len(log.fitted) == 3  # the ceiling, and the other one twice
    assert log.ends == ["done", "done"]
    record = json.loads((tmp_path / states.loc["tfidf-logreg", "path"] / "record.json").read_text())
    trials = record["tuning"]["trials"]
    assert len(trials) == 30  # the one that was cut off is not among them
    assert {trial["state"] for trial in trials} <= {"complete", "pruned"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"executor": "process", "address": None}, "tune.workers without Ray"),
        ({"timeout": 60}, "tune.workers with timeout"),
    ],
)
def test_a_study_is_spread_only_where_its_workers_can_meet(
    more: dict[str, Any], why: str, small: dict[str, Any], tmp_path: Path
) -> None:
    config = {**small, "executor": "ray", "tune": {"trials": 2, "workers": 2}, **more}
    with pytest.raises(InputError, match=why):
        benchmark.run(config, out=tmp_path)
    config |= {"executor": "ray", "timeout": None}
    with pytest.raises(InputError, match=r"tune.workers with results at memory://run"):
        benchmark.run(config, out="memory://run")


@pytest.mark.usefixtures("linked")
def test_a_failing_fit_is_a_failed_record_and_is_not_tried_again(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    matrix["models"].append(mortal_model(trace, fails=True))
    states = benchmark.run(matrix, out=tmp_path / "out").status().set_index("model")
    assert states.loc["mortal", "error"] == "ArithmeticError: told to fail"
    assert states.loc["prior", "state"] == "done"
    assert len(pids(trace)) == 1


@pytest.mark.usefixtures("linked")
def test_a_cell_whose_worker_is_lost_gets_another_one(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    once, ever = tmp_path / "once", tmp_path / "ever"
    matrix["models"] += [
        {**mortal_model(once, deaths=1), "label": "once"},
        {**mortal_model(ever, deaths=TRIES), "label": "ever"},
    ]
    states = benchmark.run(matrix, out=tmp_path / "out").status().set_index("model")
    assert states["state"].drop("ceiling").to_dict() == {
        "prior": "done",
        "once": "done",
        "ever": "failed",
    }
    assert states.loc["ever", "error"].startswith("WorkerDied: ")
    assert [len(set(pids(once))), len(set(pids(ever)))] == [2, TRIES]


@pytest.mark.slow
def test_a_cell_over_its_time_or_memory_fails_and_the_others_go_on(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    slow, large = tmp_path / "slow", tmp_path / "large"
    matrix |= {
        "models": [
            "prior",
            {**mortal_model(slow, seconds=600), "label": "slow"},
            {**mortal_model(large, mebibytes=3000, seconds=600), "label": "large"},
        ],
        "timeout": 6,
        "memory": "2GiB",
    }
    states = benchmark.run(matrix, out=tmp_path / "out").status().set_index("model")
    assert states.loc["slow", "error"].startswith("TimedOut: still running after 6 s")
    assert states.loc["large", "error"].startswith("OutOfMemory: its process held ")
    assert states.loc["prior", "state"] == "done"
    assert [len(pids(slow)), len(pids(large))] == [1, 1]
    assert not [pid for pid in pids(slow) + pids(large) if psutil.pid_exists(pid)]


@pytest.mark.usefixtures("apart")
def test_ctrl_c_leaves_no_task_running(matrix: dict[str, Any], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    matrix["models"].insert(0, mortal_model(trace, seconds=600))
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(matrix, out=tmp_path / "out", watcher=Interrupted(trace))
    (worker,) = pids(trace)
    until = time.monotonic() + 10
    while psutil.pid_exists(worker) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(worker)
    states = benchmark.read(tmp_path / "out").status().set_index("model")["state"]
    assert states["mortal"] == "missing"
    matrix["models"][0] = mortal_model(trace)
    assert set(benchmark.run(matrix, out=tmp_path / "out").status()["state"]) == {"done"}


@pytest.mark.usefixtures("linked")
def test_where_ctrl_c_can_kill_no_task_it_waits_for_those_that_have_begun(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    matrix["models"].insert(0, mortal_model(trace, seconds=1))
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(matrix, out=tmp_path / "out", watcher=Interrupted(trace))
    assert ray.is_initialized()
    states = benchmark.read(tmp_path / "out").status().set_index("model")["state"]
    assert states["mortal"] == "done"
    assert len(pids(trace)) == 1


@pytest.mark.usefixtures("linked")
def test_a_cell_that_no_node_has_room_for_is_refused(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    matrix["threads"] = 64
    with pytest.raises(InputError, match="no node of the cluster has 64 CPUs for a cell"):
        benchmark.run(matrix, out=tmp_path)
    matrix["threads"] = 1
    with pytest.raises(InputError, match=r"has 1 CPUs, 4000.0 GiB for a cell"):
        benchmark.run({**matrix, "memory": "4000GiB"}, out=tmp_path)
    tiny = {"name": "encoder", "inputs": "text", "params": {"checkpoint": "bundled:minilm"}}
    with pytest.raises(InputError, match="has 1 CPUs, 1 GPU for a cell"):
        benchmark.run({**matrix, "device": "cuda", "models": [tiny]}, out=tmp_path)


@pytest.mark.usefixtures("apart")
def test_nodes_with_another_trialmark_are_refused(
    matrix: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "code_version", lambda *, tuned=False: "older")
    with pytest.raises(InputError, match="has another trialmark than this machine"):
        benchmark.run(matrix, out=tmp_path)


def _refuse_together(config: dict[str, Any], out: Path, rounds: int) -> None:
    """Be refused by two nodes at once, again and again."""
    receipts.code_version = lambda *, tuned=False: "older"  # type: ignore[assignment]
    checked = load(config)
    work, cells, _ = prepare(checked, read_rows(checked), store_at(out))
    assert len(cells) == 2  # the ceiling and the floor
    with cluster.connected(config["address"]):
        for _ in range(rounds):
            with pytest.raises(InputError, match="has another trialmark"):
                on_ray(cells, work, jobs=None, watcher=Log())


def test_cells_that_fail_a_run_at_the_same_time_do_not_abort_its_process(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    # where Ray aborts, it takes its process along
    process = multiprocessing.get_context("spawn").Process(
        target=_refuse_together, args=(matrix, tmp_path, 60)
    )
    process.start()
    process.join()
    assert process.exitcode == 0


def test_a_worker_lost_after_its_last_step_has_not_lost_the_cell(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.exceptions import OutOfMemoryError, WorkerCrashedError

    def lost(ref: BaseException) -> None:
        raise ref

    monkeypatch.setattr(ray, "get", lost)
    done = benchmark.run(small, out=tmp_path / "out")
    config = load(small)
    work, cells, _ = prepare(config, read_rows(config), store_at(done.folder))
    losses: Counter[str] = Counter()
    assert cluster._status(WorkerCrashedError(), cells[0], work, losses) == "done"
    assert not losses
    work, cells, _ = prepare(config, read_rows(config), store_at(tmp_path / "new"))
    spent = OutOfMemoryError("the node had 1 GiB left")
    ends = [cluster._status(spent, cells[0], work, losses) for _ in range(TRIES)]
    assert ends == ["", "", "failed"]
    (failed,) = (tmp_path / "new").rglob("record.json")
    record = work.store.record(failed.parent.relative_to(tmp_path / "new"))
    assert record is not None
    assert record["error"]["class"] == "OutOfMemory"
    assert "the node had 1 GiB left" in record["error"]["message"]


def test_without_ray_the_error_says_what_to_install(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "find_spec", {"ray": None}.get)
    with pytest.raises(InputError, match=r"pip install 'trialmark\[ray\]'"):
        benchmark.run(small, out=tmp_path, executor="ray")
