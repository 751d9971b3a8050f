"""One writer at a time in a results folder."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import benchmark
from benchmark.lock import LOCK, OWNER, only_writer, said, writer
from features.errors import InputError

HOLD = """
import sys, time
from pathlib import Path
from benchmark.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Any:
    """Another process that holds the folder `run`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "held\n"
        yield held
        held.kill()


def test_a_second_writer_is_told_who_holds_the_folder(tmp_path: Path, holder: Any) -> None:
    who = f"process {holder.pid} on {re.escape(platform.node())} since "
    with (
        pytest.raises(InputError, match=f"is in use by {who}.*wait for it.*trialmark merge"),
        only_writer(tmp_path / "run"),
    ):
        pass
    assert re.match(who, str(writer(tmp_path / "run")))


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path, holder: Any) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists()
    assert writer(tmp_path / "run") is None
    with only_writer(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / OWNER).read_text())["pid"] == os.getpid()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_folder_is_free_again_after_an_error_inside(tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError), only_writer(tmp_path):
        raise ArithmeticError
    with only_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", '{"pid": "x"}', "[" * 100_000, "\x00"])
def test_a_damaged_note_of_the_owner_is_nobody_in_particular(tmp_path: Path, content: str) -> None:
    (tmp_path / OWNER).write_text(content)
    assert writer(tmp_path) is None
    with only_writer(tmp_path):
        (tmp_path / OWNER).write_text(content)
        with (
            pytest.raises(InputError, match="in use by another process;"),
            only_writer(tmp_path),
        ):
            pass


def test_a_writer_on_another_host_is_believed(tmp_path: Path) -> None:
    note = {"pid": 1, "host": "elsewhere", "since": "2026-01-01 00:00:00+00:00"}
    (tmp_path / OWNER).write_text(json.dumps(note))
    assert writer(tmp_path) == "process 1 on elsewhere since 2026-01-01 00:00:00+00:00"


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"cannot write to .*: Not a directory"),
        only_writer(tmp_path / "file" / "run"),
    ):
        pass
    with pytest.raises(InputError, match=r"No space left on device.*mend it"), said(tmp_path):
        raise OSError(28, "No space left on device")


def test_a_run_into_a_held_folder_is_refused_and_status_names_the_holder(
    small: dict[str, Any], tmp_path: Path, holder: Any, call: Any
) -> None:
    with pytest.raises(InputError, match="is in use by process"):
        benchmark.run(small, out=tmp_path / "run")
    holder.kill()
    holder.wait()
    benchmark.run(small, out=tmp_path / "run")  # what the killed holder left is no other's file
    with only_writer(tmp_path / "run"):
        printed = call("status", tmp_path / "run")[1]
    assert f"being written by process {os.getpid()} on " in printed
