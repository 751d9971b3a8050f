"""Cells over their time or memory fail, say what to do, and take nothing down with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import greedy
import psutil
import pytest

import benchmark
from benchmark import executor
from benchmark.config import load
from benchmark.limits import GIB, UNBOUND, Limits, explained, kill, resident
from features.errors import InputError
from models import MODELS


@pytest.fixture
def matrix(small: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A config with a floor; workers know the greedy model too."""
    monkeypatch.setitem(MODELS, greedy.NAME, greedy.PLACE)
    real = executor.ProcessPoolExecutor

    def pool(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **{**kwargs, "initializer": greedy.begin})

    monkeypatch.setattr(executor, "ProcessPoolExecutor", pool)
    return {**small, "splits": ["stratified"], "models": ["prior"]}


def greedy_model(**params: float) -> dict[str, Any]:
    return {"name": greedy.NAME, "params": params}


@pytest.mark.parametrize(
    ("seconds", "memory", "name"),
    [
        (9.9, 2 * GIB, None),
        (10.1, 2 * GIB, "TimedOut"),
        (9.9, 2 * GIB + 1, "OutOfMemory"),
    ],
)
def test_limits_are_what_a_cell_may_not_go_beyond(
    seconds: float, memory: int, name: str | None
) -> None:
    found = Limits(seconds=10, memory=2 * GIB).exceeded(seconds, memory)
    assert (None if found is None else found["class"]) == name
    assert UNBOUND.exceeded(1e9, 10**15) is None


def test_the_limits_of_a_config_are_seconds_and_bytes_with_a_unit() -> None:
    def limits(**more: Any) -> tuple[Any, Any]:
        config = load({"splits": "stratified", "models": "prior", **more})
        return config.timeout, config.memory

    assert limits() == (None, None)
    assert limits(timeout=90, memory="8GiB") == (90, 8 * 2**30)
    assert limits(memory="500MB") == (None, 500_000_000)
    for wrong in ({"timeout": 0}, {"timeout": float("inf")}, {"memory": "much"}, {"memory": -1}):
        with pytest.raises(InputError, match=f"config: {next(iter(wrong))}"):
            limits(**wrong)


def test_spent_memory_has_one_name_and_advice_whoever_tells_of_it() -> None:
    for name, message in (
        ("MemoryError", ""),
        ("_ArrayMemoryError", "Unable to allocate 9 GiB"),
        ("OutOfMemoryError", "CUDA out of memory"),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory"),
    ):
        found = explained({"class": name, "message": message, "traceback": "where"})
        assert found["class"] == "OutOfMemory"
        assert found["message"].startswith(f"{name}: {message}" if message else f"{name};")
        assert "batch_size" in found["message"]
        assert found["traceback"] == "where"
    other = {"class": "ValueError", "message": "no", "traceback": ""}
    assert explained(other) == other


def test_a_cell_over_its_time_fails_and_the_others_go_on(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    matrix |= {"models": [greedy_model(seconds=60), "prior"], "timeout": 0.5}
    states = benchmark.run(matrix, out=tmp_path).status().set_index("model")
    assert states.loc["greedy", "error"].startswith("TimedOut: still running after 0.5 s")
    assert "`timeout`" in states.loc["greedy", "error"]
    assert states.loc["prior", "state"] == "done"
    matrix["models"] = [greedy_model(seconds=0.0), "prior"]
    assert set(benchmark.run(matrix, out=tmp_path).status()["state"]) == {"done"}


def test_a_cell_over_its_memory_fails_and_the_others_go_on(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    matrix |= {
        "models": [greedy_model(mebibytes=3000, seconds=60), "prior"],
        "memory": "2GiB",
    }
    states = benchmark.run(matrix, out=tmp_path, jobs=2).status().set_index("model")
    assert states.loc["greedy", "error"].startswith("OutOfMemory: its process held ")
    assert "more than 2.00 GiB (`memory`)" in states.loc["greedy", "error"]
    assert states.loc["prior", "state"] == "done"


def test_limits_are_no_part_of_a_key(small: dict[str, Any], tmp_path: Path) -> None:
    before = benchmark.run(small, out=tmp_path).status()["path"].tolist()
    small |= {"timeout": 3600, "memory": "100GiB"}
    assert benchmark.run(small, out=tmp_path).status()["path"].tolist() == before


def test_a_process_is_measured_and_ended_with_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as parent:
        family = psutil.Process(parent.pid)
        while not family.children():
            assert parent.poll() is None
        (child,) = family.children()
        both = resident(parent.pid)
        assert both > resident(child.pid) > 0
        kill(parent.pid)
        assert parent.wait() < 0
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert resident(parent.pid) == 0
    kill(parent.pid)  # long gone
