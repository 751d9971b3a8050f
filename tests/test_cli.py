from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from features.errors import InputError
from models import MODELS


@pytest.fixture
def config(tmp_path: Path, small: dict[str, Any]) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small))
    return path


def test_run_prints_a_leaderboard_and_the_other_commands_read_its_folder(
    call: Any, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, printed, err = call("run", config, "--out", out)
    assert code == 0
    assert re.fullmatch(r"audit: .*\n", err)
    assert "trial-outcome · temporal split" in printed
    assert "prior (floor)" in printed
    assert call("status", out) == (0, "6 cells: 6 done, 0 failed, 0 missing\n", "")
    code, printed, _ = call("leaderboard", out, "--format", "json", "--metric", "brier")
    rows = json.loads(printed)
    assert code == 0
    assert rows[0]["metric"] == "brier"
    code, printed, _ = call("compare", out, "tfidf-logreg", "prior")
    assert code == 0
    assert "ROC-AUC: tfidf-logreg/text - prior/none" in printed


def test_json_rows_hold_the_keys_that_scripts_rely_on(
    call: Any, config: Path, tmp_path: Path
) -> None:
    call("run", config, "--out", tmp_path / "out")
    rows = json.loads(call("leaderboard", tmp_path / "out", "--format", "json")[1])
    promised = (
        "task split model inputs as_of metric value low high rank tie_group is_floor seeds n_train "
        "n_test prevalence fit_seconds predict_seconds tune_seconds peak_memory_mb device "
        "split_hash dataset_fingerprint"
    )
    for row in rows:
        assert set(promised.split()) <= set(row)
    assert {row["metric"] for row in rows} >= {"roc_auc", "average_precision_negative"}


def test_leaderboard_writes_a_file(call: Any, config: Path, tmp_path: Path) -> None:
    call("run", config, "--out", tmp_path / "out")
    file = tmp_path / "board.csv"
    assert call("leaderboard", tmp_path / "out", "--format", "csv", "--output", file)[1] == ""
    assert file.read_text().startswith("task,split,model,inputs,as_of,metric,value,low,high,rank")
    nowhere = tmp_path / "no" / "board.csv"
    code, _, err = call("leaderboard", tmp_path / "out", "--output", nowhere)
    assert code == 2
    assert err.startswith(f"trialmark: cannot write {nowhere}")


def test_a_failed_cell_makes_exit_code_1_and_status_says_why(
    call: Any, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "faulty", "faulty:Faulty")
    trap = tmp_path / "trap"
    trap.touch()
    small["models"] = ["prior", {"name": "faulty", "params": {"trap": str(trap)}}]
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small))
    code, printed, _ = call("run", path, "--out", tmp_path / "out")
    assert code == 1
    assert "Not in the table: trial-outcome stratified seed 42 faulty none: failed" in printed
    lines = call("status", tmp_path / "out")[1].splitlines()
    assert lines[0] == "6 cells: 4 done, 2 failed, 0 missing"
    assert lines[1] == f"so far: trialmark leaderboard {tmp_path / 'out'}"
    assert lines[2].endswith("as of registration: ArithmeticError: the trap is set")
    trap.unlink()
    assert call("run", path, "--out", tmp_path / "out", "--only-failed")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "no.yaml"], "no config at no.yaml"),
        (["status", "nowhere"], "nowhere holds no run; expected a folder with plan.json"),
        (["leaderboard", "nowhere"], "nowhere holds no run"),
        (["run", "no.yaml", "--jobs", "0"], "no config"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(
    call: Any, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"trialmark: {message}")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_bad_config_leaves_nothing_behind(
    call: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    small["data"] = {"reader": "table", "path": "rows.csv", "text": ["title"], "target": "outcome"}
    (tmp_path / "rows.csv").write_text("title,outcome\na,yes\nb,yes\n")
    small["task"] = "table-target"
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(small))
    code, _, err = call("run", path, "--out", tmp_path / "out")
    assert code == 2
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_debug_shows_the_traceback(call: Any) -> None:
    with pytest.raises(InputError, match=r"no config at no\.yaml"):
        call("run", "no.yaml", "--debug")


def test_usage_errors_exit_with_2(call: Any) -> None:
    assert call("run")[0] == 2
    assert call("leaderboard", "x", "--format", "pdf")[0] == 2


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("models", "tfidf-logreg"),
        ("tasks", "trial-status"),
        ("splits", "temporal"),
        ("metrics", "roc_auc"),
        ("readers", "ctgov-csv"),
    ],
)
def test_list_names_each_thing_with_a_line_about_it(call: Any, what: str, name: str) -> None:
    code, out, _ = call("list", what)
    assert code == 0
    for line in out.splitlines():
        assert len(line.split(maxsplit=1)) == 2, line
    assert any(line.startswith(name) for line in out.splitlines())


def test_init_writes_a_config_that_loads_and_never_overwrites(call: Any, tmp_path: Path) -> None:
    from benchmark.config import load

    path = tmp_path / "mine.yaml"
    assert call("init", path)[0] == 0
    assert [split.name for split in load(path).splits] == ["stratified", "temporal"]
    code, _, err = call("init", path)
    assert code == 2
    assert "exists; expected a new file" in err


def test_the_committed_configs_load(shared: Path) -> None:
    from benchmark.config import load

    configs = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
    assert configs
    for path in configs:
        assert load(path).name == path.stem


def test_the_installed_command_answers() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmark.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "leaderboard" in done.stdout
