from __future__ import annotations

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import benchmark
from benchmark import executor, matrix
from benchmark.bootstrap import interval, weights
from benchmark.cells import Cell
from benchmark.config import RunConfig
from benchmark.dataset import Rows
from benchmark.metrics import Scored, score
from benchmark.render import render
from benchmark.splits import PARTS
from benchmark.store import study_of
from features.errors import InputError
from models import MODELS
from models.base import Target


def deadly_start(work: Any) -> None:
    """Begin a worker that is killed when it is given a linear model."""
    from benchmark import executor as here
    from benchmark import fitting

    whole = fitting.run_cell

    def run_cell(cell: Cell, *rest: Any, **more: Any) -> Any:
        if cell.model == "tfidf-logreg":
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(cell, *rest, **more)

    here.run_cell = run_cell
    here._begin(work)


def deadly_end(work: Any) -> None:
    """Begin a worker that is killed after it has stored a linear model, before it says so."""
    from benchmark import executor as here

    whole = here.do

    def do(cell: Cell, work: Any) -> str:
        status = whole(cell, work)
        if cell.model == "tfidf-logreg":
            os.kill(os.getpid(), signal.SIGKILL)
        return status

    here.do = do
    here._begin(work)


class Log:
    """A watcher that remembers which cells were fitted and how each ended."""

    def __init__(self) -> None:
        self.total = 0
        self.fitted: list[str] = []
        self.ends: list[str] = []
        self.audits: list[str] = []

    def audited(self, report: Any) -> None:
        self.audits.append(report.summary())

    def planned(self, total: int) -> None:
        self.total = total

    def started(self, cell: Cell) -> None:
        self.fitted.append(cell.name)

    def finished(self, cell: Cell, status: str) -> None:
        self.ends.append(status)


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """All records of a results folder by the cell's place in it."""
    found = {}
    for path in sorted(folder.rglob("record.json")):
        found[path.parent.relative_to(folder).as_posix()] = json.loads(path.read_text())
    return found


def finished(folder: Path) -> list[Path]:
    """Records in place; one in a hidden folder is still being written."""
    found = []
    for root, _, files in os.walk(folder):  # which does not mind folders that vanish meanwhile
        if "record.json" in files and not Path(root).name.startswith("."):
            found.append(Path(root) / "record.json")
    return found


def hashes(folder: Path) -> dict[str, str]:
    return {place: record["predictions_sha256"] for place, record in records(folder).items()}


def test_a_run_holds_every_cell_of_the_matrix(small: dict[str, Any], tmp_path: Path) -> None:
    small["seeds"] = [1, 2]
    log = Log()
    done = benchmark.run(small, out=tmp_path / "out", watcher=log)
    assert log.total == 12  # 2 splits x 2 seeds x (ceiling, prior, tfidf-logreg)
    assert log.ends == ["done"] * 12
    frame = done.status()
    assert set(frame["state"]) == {"done"}
    assert frame.groupby(["split", "seed", "model"]).ngroups == 12


def test_every_model_of_a_table_stands_on_the_same_stored_split(
    small: dict[str, Any], tmp_path: Path
) -> None:
    benchmark.run(small, out=tmp_path)
    seen: dict[str, set[str]] = {}
    for record in records(tmp_path).values():
        seen.setdefault(record["cell"]["split"], set()).add(record["cell"]["split_hash"])
    assert {name: len(found) for name, found in seen.items()} == {"stratified": 1, "temporal": 1}
    for found in seen.values():
        stored = pd.read_parquet(tmp_path / "splits" / f"{found.pop()}.parquet")
        assert set(stored["part"]) == set(PARTS)
        assert stored["id"].is_unique


def test_predictions_hold_ids_truth_and_probabilities_of_valid_and_test(
    small: dict[str, Any], tmp_path: Path
) -> None:
    frame = benchmark.run(small, out=tmp_path).predictions()
    expected = ["task", "split", "seed", "model", "inputs", "as_of", "id", "part", "y"]
    expected += ["p_stopped", "p_completed"]
    assert frame.columns.tolist() == expected
    assert set(frame["part"]) == {"valid", "test"}
    assert (frame["p_stopped"] + frame["p_completed"]).tolist() == pytest.approx([1] * len(frame))
    prior = frame[(frame["model"] == "prior") & (frame["split"] == "stratified")]
    assert prior["p_completed"].nunique() == 1


def test_finished_cells_are_kept_and_only_new_ones_fitted(
    small: dict[str, Any], tmp_path: Path
) -> None:
    benchmark.run(small, out=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("record.json")}
    log = Log()
    small["models"].append({"name": "tfidf-logreg", "inputs": "both", "label": "linear"})
    benchmark.run(small, out=tmp_path, watcher=log)
    assert [name.split()[-2:] for name in log.fitted] == [["linear", "both"]] * 2
    assert log.ends.count("kept") == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seeds", [7]),
        ("data", {"reader": "synthetic", "rows": 301}),
        ("splits", [{"name": "stratified", "test": 0.25}, {"name": "temporal", "test": 0.25}]),
        ("models", ["prior", {"name": "tfidf-logreg", "params": {"C": 2}}]),
    ],
)
def test_what_changes_a_result_changes_its_key(
    small: dict[str, Any], tmp_path: Path, key: str, value: Any
) -> None:
    benchmark.run(small, out=tmp_path)
    log = Log()
    benchmark.run({**small, key: value}, out=tmp_path, watcher=log)
    fitted = [name for name in log.fitted if "tfidf" in name]
    assert len(fitted) == 2


def test_a_label_is_no_part_of_the_key(small: dict[str, Any], tmp_path: Path) -> None:
    def keys(label: str) -> set[str]:
        small["models"] = [{"name": "prior", "label": label}]
        found = records(benchmark.run(small, out=tmp_path / label).folder).values()
        return {record["key"] for record in found}

    assert keys("one") == keys("two")


def test_a_failing_cell_is_a_record_and_the_others_go_on(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "faulty", "faulty:Faulty")
    trap = tmp_path / "trap"
    trap.touch()
    small["models"] = [{"name": "faulty", "params": {"trap": str(trap)}}, "prior"]
    out = tmp_path / "out"
    done = benchmark.run(small, out=out)
    frame = done.status().set_index(["split", "model"])
    assert frame.loc[("stratified", "faulty"), "state"] == "failed"
    assert frame.loc[("stratified", "faulty"), "error"] == "ArithmeticError: the trap is set"
    assert frame.loc[("stratified", "prior"), "state"] == "done"
    error = records(out)[frame.loc[("temporal", "faulty"), "path"]]["error"]
    assert error["class"] == "ArithmeticError"
    assert "faulty.py" in error["traceback"]
    assert "faulty" not in set(done.leaderboard()["model"])

    trap.unlink()
    log = Log()
    again = benchmark.run(small, out=out, watcher=log)
    assert {name.split()[-2] for name in log.fitted} == {"faulty"}
    assert set(again.status()["state"]) == {"done"}
    assert "faulty" in set(again.leaderboard()["model"])


def test_only_failed_leaves_missing_cells_alone(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "faulty", "faulty:Faulty")
    trap = tmp_path / "trap"
    trap.touch()
    small["models"] = [{"name": "faulty", "params": {"trap": str(trap)}}]
    out = tmp_path / "out"
    benchmark.run(small, out=out)
    trap.unlink()
    small["models"].append("prior")
    states = benchmark.run(small, out=out, only_failed=True).status()
    assert dict(zip(states["model"], states["state"], strict=True)) == {
        "ceiling": "done",
        "faulty": "done",
        "prior": "missing",
    }


def test_several_processes_give_the_same_predictions_as_one(
    small: dict[str, Any], tmp_path: Path
) -> None:
    benchmark.run(small, out=tmp_path / "one")
    benchmark.run(small, out=tmp_path / "two", jobs=2)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_executors_are_checked(small: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown executor .proces.*did you mean 'process'"):
        benchmark.run(small, out=tmp_path, executor="proces")
    with pytest.raises(InputError, match="executor serial with 2 jobs"):
        benchmark.run(small, out=tmp_path, executor="serial", jobs=2)
    with pytest.raises(InputError, match="jobs = 0"):
        benchmark.run(small, out=tmp_path, jobs=0)


KILLED = """
import sys, yaml, benchmark
benchmark.run(yaml.safe_load(sys.argv[1]), out=sys.argv[2])
"""


def test_a_killed_run_goes_on_without_refitting_and_ends_as_if_it_had_not_been(
    small: dict[str, Any], tmp_path: Path
) -> None:
    small["models"] = [
        {"name": "tfidf-logreg", "inputs": ["text", "both"]},
        {"name": "lightgbm", "inputs": "tabular"},
        "prior",
    ]
    benchmark.run(small, out=tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, json.dumps(small), str(out)]
    victim = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    deadline = time.monotonic() + 60
    while len(finished(out)) < 3 and time.monotonic() < deadline:
        assert victim.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    survived = {path: path.stat().st_mtime_ns for path in finished(out)}
    assert 3 <= len(survived) < 10
    log = Log()
    benchmark.run(small, out=out, watcher=log)
    assert len(log.fitted) == 10 - len(survived)
    assert {path: path.stat().st_mtime_ns for path in survived} == survived
    assert hashes(out) == hashes(tmp_path / "whole")
    assert {path.name for path in out.rglob(".*")} == {".scores"}


def test_two_labels_of_one_model_are_two_cells(small: dict[str, Any], tmp_path: Path) -> None:
    small["models"] = [{"name": "prior", "label": label} for label in ("one", "two")]
    done = benchmark.run(small, out=tmp_path)
    gone = tmp_path / done.status().query("model == 'one'")["path"].iloc[0]
    shutil.rmtree(gone)
    log = Log()
    again = benchmark.run(small, out=tmp_path, watcher=log)
    assert len(log.fitted) == 1
    assert set(again.status()["state"]) == {"done"}


def test_a_dead_worker_is_a_failed_cell_and_the_others_go_on(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small["models"] = ["prior", {"name": "tfidf-logreg", "inputs": "text"}]
    small["data"] = {"reader": "synthetic", "rows": 200}
    small["splits"] = "stratified"
    real = executor.ProcessPoolExecutor

    def deadly(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **{**kwargs, "initializer": deadly_start})

    monkeypatch.setattr(executor, "ProcessPoolExecutor", deadly)
    done = benchmark.run(small, out=tmp_path, jobs=2)
    states = done.status().set_index("model")
    assert states.loc["tfidf-logreg", "state"] == "failed"
    assert states.loc["tfidf-logreg", "error"].startswith("WorkerDied: the worker process died")
    assert states.loc["prior", "state"] == "done"
    assert states.loc["ceiling", "state"] == "done"


def test_a_worker_that_dies_after_its_last_step_has_finished_its_cell(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small |= {"models": ["prior", "tfidf-logreg"], "splits": "stratified"}
    small["tune"] = {"trials": 1, "folds": 2}
    real = executor.ProcessPoolExecutor

    def deadly(*args: Any, **kwargs: Any) -> Any:
        return real(*args, **{**kwargs, "initializer": deadly_end})

    monkeypatch.setattr(executor, "ProcessPoolExecutor", deadly)
    log = Log()
    done = benchmark.run(small, out=tmp_path, executor="process", watcher=log)
    assert set(done.status()["state"]) == {"done"}
    assert log.ends == ["done"] * 3
    assert len(log.fitted) == 3


def test_a_folder_of_other_files_is_left_alone(small: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        benchmark.run(small, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "mine"


def test_rows_that_are_lost_are_told_under_the_table(small: dict[str, Any], tmp_path: Path) -> None:
    small["data"]["where"] = {"phases": ["PHASE2", "PHASE3"]}
    small["data"]["rows"] = 900
    small["data"]["require"] = ["brief_summary"]
    done = benchmark.run(small, out=tmp_path)
    read = json.loads((tmp_path / "plan.json").read_text())["rows"]
    assert read["read"] == 900
    assert read["filtered"] + read["incomplete"] + read["used"] == 900
    note = render(done.board(), "markdown")
    assert f"Of 900 rows read: {read['filtered']} left out by" in note
    listed = pd.read_csv(tmp_path / "rejected.csv")
    assert len(listed) == read["incomplete"] > 0
    assert listed["reason"].str.startswith("row left out: no brief_summary").all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["roc_auc", "f1[complted]"]}, "unknown metric of these tasks"),
        ({"models": [{"name": "prior", "label": "ceiling"}]}, "'ceiling' is taken"),
        ({"models": [{"name": "tfidf-logreg", "params": {"template": "{titel}"}}]}, "'titel'"),
        ({"models": [{"name": "tfidf-logreg", "params": {"template": "{a"}}]}, "template '{a'"),
        ({"models": ["always-positive"], "task": "trial-status"}, "always-positive with the"),
        ({"device": "cuda", "models": [{"name": "lightgbm", "inputs": "text"}]}, "device cuda"),
        ({"seeds": [-1]}, "seeds.0 = -1"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_written(
    small: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        benchmark.run({**small, **change}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_intervals_of_a_group_split_draw_whole_groups(
    small: dict[str, Any], tmp_path: Path
) -> None:
    small["splits"] = "group"
    small["data"]["rows"] = 600
    done = benchmark.run(small, out=tmp_path)
    board = done.leaderboard().query("metric == 'roc_auc' and model == 'tfidf-logreg'")
    entry = json.loads((tmp_path / "plan.json").read_text())["cells"][0]
    split = pd.read_parquet(tmp_path / "splits" / f"{entry['split_hash']}.parquet")
    test = split[split["part"] == "test"]
    assert board["n_groups"].iloc[0] == test["group"].nunique() < len(test)
    frame = done.predictions().query("model == 'tfidf-logreg' and part == 'test'")
    target = Target("binary", ("stopped", "completed"))
    proba = frame[["p_stopped", "p_completed"]].to_numpy()
    scored = Scored.of(target, frame["y"].to_numpy(), proba=proba)
    groups = test.set_index("id")["group"][frame["id"]].reset_index(drop=True)
    drawn = weights(pd.Index(frame["id"]), seed_text=entry["split_hash"], groups=groups)
    low, high = interval(score("roc_auc", scored, weights=drawn))
    assert (board["low"].iloc[0], board["high"].iloc[0]) == pytest.approx((low, high))


def test_the_oracle_is_part_of_the_fingerprint(small: dict[str, Any], tmp_path: Path) -> None:
    small["data"]["columns"] = {"text": ["brief_title"], "numeric": [], "categorical": []}

    def ceiling(phrases: float) -> float:
        small["data"]["outcome_phrases"] = phrases
        board = benchmark.run(small, out=tmp_path).leaderboard()
        rows = board.query("metric == 'roc_auc' and model == 'ceiling' and split == 'stratified'")
        return float(rows["value"].iloc[0])

    assert ceiling(0.9) > ceiling(0.0)


def test_a_record_says_what_made_the_number(small: dict[str, Any], tmp_path: Path) -> None:
    benchmark.run(small, out=tmp_path)
    record = next(r for r in records(tmp_path).values() if r["cell"]["model"] == "tfidf-logreg")
    assert record["status"] == "done"
    assert record["schema"] == 2
    assert set(record["seconds"]) == {
        "read", "features", "fit", "predict", "spared", "explain",
    }  # fmt: skip
    assert record["peak_memory_mb"] > 50
    assert record["cell"]["columns"] == [
        "brief_title", "brief_summary", "eligibility_criteria", "conditions",
    ]  # fmt: skip
    assert record["cell"]["libraries"]["scikit-learn"]
    assert record["rows"]["train"] + record["rows"]["valid"] + record["rows"]["test"] == 300
    assert set(record["git"]) == {"commit", "dirty", "diff_sha256"}
    assert record["environment"]["versions"]["numpy"]
    assert len(record["predictions_sha256"]) == 64


def test_late_columns_are_seen_only_as_of_after(small: dict[str, Any], tmp_path: Path) -> None:
    small["models"] = [{"name": "tfidf-logreg", "inputs": "tabular"}]
    small["as_of"] = ["registration", "after"]
    done = benchmark.run(small, out=tmp_path)
    seen = {r["cell"]["as_of"]: r["cell"]["columns"] for r in records(tmp_path).values()}
    assert "enrollment" not in seen["registration"]
    assert "enrollment" in seen["after"]
    board = done.leaderboard("roc_auc").query("metric == 'roc_auc' and split == 'stratified'")
    value = board[board["model"] == "tfidf-logreg"].set_index("as_of")["value"]
    assert value["after"] > value["registration"]


def test_where_keeps_rows_by_value_list_and_range(small: dict[str, Any], tmp_path: Path) -> None:
    small["data"]["where"] = {
        "phases": ["PHASE2", "PHASE3"],
        "start_date": {"from": "2008-01-01", "to": "2018-12-31"},
    }
    small["data"]["rows"] = 900
    ids = benchmark.run(small, out=tmp_path).predictions()["id"].unique()
    from benchmark.readers import synthetic

    frame = synthetic.read(synthetic.Options(rows=900)).frame.loc[ids]
    assert set(frame["phases"]) == {"PHASE2", "PHASE3"}
    assert frame["start_date"].between("2008-01-01", "2018-12-31").all()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"phase": "PHASE2"}, "unknown column in `where` 'phase'.*did you mean 'phases'"),
        ({"phases": "PHASE9"}, "`where` leaves none of 300 rows"),
        ({"start_date": {"from": "soon"}}, "a date such as 2010-01-31"),
        ({"start_date": {"form": "2001-01-01"}}, "did you mean 'from'"),
    ],
)
def test_a_filter_that_cannot_be_applied_says_why(
    small: dict[str, Any], tmp_path: Path, where: dict[str, Any], message: str
) -> None:
    small["data"]["where"] = where
    with pytest.raises(InputError, match=message):
        benchmark.run(small, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_that_lack_a_required_value_are_dropped_and_counted(tmp_path: Path) -> None:
    lines = ["id,title,size,note,outcome"]
    lines += [f"r{i},title {i},{i},,{'yes' if i % 2 else 'no'}" for i in range(30)]
    lines += ["r30,,1,,yes", "r31,a title,,,no", "r32,a title,,,yes"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    config: dict[str, Any] = {
        "data": {
            "reader": "table",
            "path": str(tmp_path / "t.csv"),
            "id": "id",
            "text": ["title", "note"],
            "numeric": ["size"],
            "target": "outcome",
            "positive": "yes",
            "require": ["title", "size"],
        },
        "task": "table-target",
        "splits": "stratified",
        "models": "prior",
    }
    done = benchmark.run(config, out=tmp_path / "out")
    plan = json.loads((done.folder / "plan.json").read_text())
    assert plan["rows"]["incomplete"] == 3
    assert plan["datasets"]["table-target"]["rows"] == 30
    assert not {"r30", "r31", "r32"} & set(done.predictions()["id"])
    config["data"]["require"] = ["titel"]
    with pytest.raises(InputError, match=r"unknown column in `require` 'titel'.*mean 'title'"):
        benchmark.run(config, out=tmp_path / "out")
    config["data"]["require"] = ["note"]
    with pytest.raises(InputError, match="`require` leaves none of 33 rows"):
        benchmark.run(config, out=tmp_path / "out")


def test_chosen_columns_are_the_only_ones_seen(small: dict[str, Any], tmp_path: Path) -> None:
    small["data"]["columns"] = {"text": ["brief_title"], "categorical": ["phases"]}
    small["models"] = [{"name": "tfidf-logreg", "inputs": "both"}]
    benchmark.run(small, out=tmp_path)
    record = next(r for r in records(tmp_path).values() if not r["is_ceiling"])
    assert record["cell"]["columns"] == [
        "min_age", "number_of_arms", "enrollment_planned", "record_score", "phases", "start_date",
        "brief_title",
    ]  # fmt: skip
    small["data"]["columns"] = {"text": ["title"]}
    with pytest.raises(InputError, match=r"unknown text column in `data[.]columns` 'title'"):
        benchmark.run(small, out=tmp_path)


def test_a_model_without_any_column_of_its_inputs_is_refused(
    small: dict[str, Any], tmp_path: Path
) -> None:
    small["data"]["columns"] = {"text": []}
    with pytest.raises(InputError, match="tfidf-logreg with inputs 'text': the data has no text"):
        benchmark.run(small, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_named(small: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="cannot write to"):
        benchmark.run(small, out=file / "out")


def test_compare_is_paired_and_antisymmetric(small: dict[str, Any], tmp_path: Path) -> None:
    done = benchmark.run(small, out=tmp_path)
    one, other = done.compare("tfidf-logreg", "prior"), done.compare("prior", "tfidf-logreg/text")
    assert one["split"].tolist() == ["stratified", "temporal"]
    assert one["difference"].tolist() == pytest.approx((-other["difference"]).tolist())
    assert one["low"].tolist() == pytest.approx((-other["high"]).tolist())
    with pytest.raises(InputError, match="did you mean 'prior/none'"):
        done.compare("priors", "tfidf-logreg")


def test_compare_asks_which_inputs_where_there_are_several(
    small: dict[str, Any], tmp_path: Path
) -> None:
    small["models"] = [{"name": "tfidf-logreg", "inputs": ["text", "both"]}, "prior"]
    done = benchmark.run(small, out=tmp_path)
    with pytest.raises(InputError, match="one of tfidf-logreg/text, tfidf-logreg/both"):
        done.compare("tfidf-logreg", "prior")
    assert len(done.compare("tfidf-logreg/both", "prior")) == 2


def test_read_gives_a_finished_run_back(small: dict[str, Any], tmp_path: Path) -> None:
    done = benchmark.run(small, out=tmp_path)
    pd.testing.assert_frame_equal(benchmark.read(tmp_path).leaderboard(), done.leaderboard())
    with pytest.raises(InputError, match="holds no run"):
        benchmark.read(tmp_path / "splits")


def test_two_tasks_share_one_run(small: dict[str, Any], tmp_path: Path) -> None:
    small["task"] = ["trial-outcome", "trial-status"]
    board = benchmark.run(small, out=tmp_path).leaderboard()
    assert set(board["task"]) == {"trial-outcome", "trial-status"}
    status = board[board["task"] == "trial-status"]
    assert "f1_macro@valid" not in set(status["metric"])  # argmax decides among three classes
    assert "average_precision_negative" in set(status["metric"])


def test_two_labels_of_one_tuned_model_have_a_study_each(
    small: dict[str, Any], tmp_path: Path
) -> None:
    small["splits"] = ["stratified"]
    small["tune"] = {"trials": 2, "folds": 2}
    small["models"] = [{"name": "tfidf-logreg", "label": label} for label in ("one", "two")]
    done = benchmark.run(small, out=tmp_path, jobs=2)
    assert set(done.status()["state"]) == {"done"}
    found = [r for r in records(tmp_path).values() if "tuning" in r]
    assert [len(record["tuning"]["trials"]) for record in found] == [2, 2]
    assert len({record["predictions_sha256"] for record in found}) == 1


def test_a_study_that_a_kill_left_beside_its_finished_cell_goes(
    small: dict[str, Any], tmp_path: Path
) -> None:
    small |= {"splits": ["stratified"], "models": ["prior"]}
    done = benchmark.run(small, out=tmp_path)
    for path in done.status()["path"]:
        left = tmp_path / ".studies" / f"{study_of(path)}.jsonl"
        left.parent.mkdir(exist_ok=True)
        left.write_text("{}\n")
    benchmark.run(small, out=tmp_path)
    assert not (tmp_path / ".studies").exists()


def test_the_rows_that_were_read_are_let_go_before_the_first_fit(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, alive = list[weakref.ref[pd.DataFrame]](), list[bool]()
    read_rows = matrix.read_rows

    def watched(config: RunConfig) -> Rows:
        rows = read_rows(config)
        frames.append(weakref.ref(rows.frame))
        return rows

    class Watching(Log):
        def started(self, cell: Cell) -> None:
            gc.collect()
            alive.append(frames[0]() is not None)

    monkeypatch.setattr(matrix, "read_rows", watched)
    benchmark.run(small, out=tmp_path / "out", watcher=Watching())
    assert alive
    assert not any(alive)
