"""A part of the fault suite and of the hostile inputs; see tests/faults and tests/hostile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def suite(*words: str) -> tuple[int, str]:
    """Exit code and output of a suite, in a process of its own: it forks, and limits itself."""
    path = os.pathsep.join([str(HERE.parent), str(HERE), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", *words],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the fault suite forks")
def test_no_fault_loses_a_finished_cell_or_changes_what_a_resumed_run_gives() -> None:
    code, out = suite("faults", "--quick")
    assert code == 0, out
    rows = {line[:42].strip(): line[42:].split() for line in out.splitlines() if line[42:].strip()}
    kills = rows["kill -9 before a random change of a file"]
    assert kills[0] == "3"
    assert kills[2:4] == ["0", "0"]
    assert set(rows) >= {"two runs in one folder", "study cut, its lock left"}


@pytest.mark.slow
def test_a_lost_node_of_a_cluster_costs_no_cell() -> None:
    pytest.importorskip("ray", reason="trialmark[ray] is not installed")
    code, out = suite("faults", "--only", "lost_node")
    assert code == 0, out
    (row,) = [line[42:].split() for line in out.splitlines() if line.startswith("a Ray node")]
    injected, finished, *rest = map(int, row)
    assert injected == 2
    assert finished >= 20 + 30  # when the nodes were killed, of 60 in each run
    assert rest == [0, 0, 2, 2]


@pytest.mark.parametrize(
    "every", [pytest.param(29, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
def test_hostile_inputs_are_refused_in_one_line_and_touch_nothing(every: int) -> None:
    code, out = suite("hostile", "--every", str(every))
    assert code == 0, out
    found = re.search(r"^(\d+) hostile inputs, (\d+) times .* 0 findings", out, re.M)
    assert found is not None, out
    assert int(found[1]) >= 450 // every - 3
    assert int(found[2]) > 5 * int(found[1])
