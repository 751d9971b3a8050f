from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tunable import Tunable

import benchmark
from benchmark.cells import ModelChoice, make_cell
from benchmark.dataset import Dataset
from benchmark.fitting import run_cell
from benchmark.splits import SplitOptions, make_split
from features.columns import Column
from features.errors import InputError
from models import MODELS, check_params
from models.base import Context, Target

KEY = ["task", "split", "seed", "model", "inputs", "part", "id"]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tunable", "tunable:Tunable")
    monkeypatch.setitem(MODELS, "faulty", "faulty:Faulty")
    Tunable.fitted.clear()


def table(folder: Path, *models: Any, **keys: Any) -> dict[str, Any]:
    """A config over 200 rows of a table whose column `signal` is the truth."""
    rng = np.random.default_rng(0)
    y = np.arange(200) % 4 > 0
    frame = pd.DataFrame({"id": [f"T{i}" for i in range(200)], "signal": y * 1.0})
    frame["noise"] = rng.random(200)
    frame["outcome"] = np.where(y, "completed", "stopped")
    frame.to_csv(folder / "rows.csv", index=False)
    data = {"reader": "table", "path": str(folder / "rows.csv"), "id": "id", "target": "outcome"}
    return {
        "name": "fit",
        "data": {**data, "numeric": ["signal", "noise"], "positive": "completed"},
        "task": "table-target",
        "splits": ["stratified"],
        "explain": False,
        "models": list(models),
        **keys,
    }


def record(run: benchmark.Run, model: str) -> dict[str, Any]:
    status = run.status().set_index("model")
    found: dict[str, Any] = json.loads(
        (run.folder / status.loc[model, "path"] / "record.json").read_text()
    )
    return found


def test_without_refit_the_test_rows_are_predicted_by_the_model_of_train(tmp_path: Path) -> None:
    benchmark.run(table(tmp_path, "tunable"), out=tmp_path / "run")
    assert Tunable.fitted == [(0.1, 128)]


def test_a_refit_learns_from_train_and_valid_and_is_recorded(tmp_path: Path) -> None:
    run = benchmark.run(table(tmp_path, "tunable", "prior", refit=True), out=tmp_path / "run")
    assert Tunable.fitted == [(0.1, 128), (0.1, 160)]
    assert record(run, "tunable")["notes"]["refit"] == {}
    assert record(run, "tunable")["cell"]["refit"] is True
    assert record(run, "prior")["cell"]["refit"] is False  # a floor learns nothing


def test_a_model_may_differ_from_the_run_in_tuning_and_refit(tmp_path: Path) -> None:
    plain = {"name": "tunable", "label": "plain", "tune": False, "refit": False}
    config = table(tmp_path, "tunable", plain, tune={"trials": 3, "folds": 2}, refit=True)
    run = benchmark.run(config, out=tmp_path / "run")
    tuned = record(run, "tunable")
    assert len(tuned["tuning"]["trials"]) == 3
    assert tuned["tuning"]["params"]["x"] == tuned["tuning"]["trials"][tuned["tuning"]["chosen"]][
        "params"
    ].get("x")
    assert tuned["seconds"]["tune"] > 0
    assert "tuning" not in record(run, "plain")
    board = run.leaderboard().set_index("model")["tune_seconds"]
    assert (board["tunable"] > 0).all()
    assert (board["plain"] == 0).all()


def test_parameters_in_the_config_are_not_searched(tmp_path: Path) -> None:
    stated = {"name": "tunable", "params": {"x": 0.3}}
    run = benchmark.run(
        table(tmp_path, stated, tune={"trials": 3, "folds": 2}), out=tmp_path / "run"
    )
    assert record(run, "tunable")["tuning"]["searched"] == ["still"]
    assert {x for x, _ in Tunable.fitted} == {0.3}


def test_an_unknown_objective_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    config = table(tmp_path, "tunable", tune={"trials": 3, "objective": "roc_acu"})
    with pytest.raises(InputError, match=r"roc_acu.*did you mean 'roc_auc'"):
        benchmark.run(config, out=tmp_path / "run")
    assert Tunable.fitted == []


@pytest.mark.parametrize("model", ["lightgbm", "tfidf-logreg"])
def test_test_rows_reach_neither_tuning_nor_calibration_nor_the_valid_predictions(
    model: str,
) -> None:
    """Their cells are garbled and their outcomes turned over."""
    rng = np.random.default_rng(0)
    y = np.arange(160) % 2
    X = pd.DataFrame({"a": y + rng.normal(size=160)}, index=[f"T{i:03}" for i in range(160)])
    target = Target("binary", ("stopped", "completed"))
    data = Dataset("made-up", target, X, y, (Column("a", "numeric"),))
    parts = make_split(data, SplitOptions(name="stratified"), 0)
    tests = X.index.isin(parts.test)
    garbled = replace(data, X=X.where(~tests[:, None], 1e6), y=np.where(tests, 1 - y, y))
    params = check_params(model, {}).model_dump()
    budget = {"trials": 3, "seconds": 60.0, "objective": None, "folds": 3}
    choice = ModelChoice(
        model, model, "tabular", params, tune=budget, refit=True, calibrate="isotonic"
    )

    def fitted(data: Dataset) -> tuple[Any, ...]:
        cell = make_cell(
            data, parts, seed=0, as_of="registration", choice=choice, context=Context()
        )
        result = run_cell(cell, data, split=parts, context=Context())
        assert result.predictions is not None
        valid = result.predictions[result.predictions["part"] == "valid"].to_numpy().tolist()
        trials = [(one["params"], one["scores"]) for one in result.record["tuning"]["trials"]]
        return trials, result.record["tuning"]["chosen"], result.record["notes"], valid

    assert fitted(garbled) == fitted(data)


def test_a_model_without_anything_to_search_is_not_tuned(tmp_path: Path) -> None:
    run = benchmark.run(table(tmp_path, "prior", tune=True), out=tmp_path / "run")
    assert record(run, "prior")["cell"]["tune"] is None


def test_the_number_of_jobs_changes_no_tuned_prediction(
    small: dict[str, Any], tmp_path: Path
) -> None:
    small |= {"tune": {"trials": 3, "folds": 2}, "explain": False}
    one = benchmark.run(small, out=tmp_path / "one").predictions().sort_values(KEY)
    two = benchmark.run(small, out=tmp_path / "two", jobs=2).predictions().sort_values(KEY)
    pd.testing.assert_frame_equal(one.reset_index(drop=True), two.reset_index(drop=True))


def test_calibrated_predictions_stand_beside_those_before_it(tmp_path: Path) -> None:
    mended = {"name": "tunable", "calibrate": "platt"}
    run = benchmark.run(table(tmp_path, mended), out=tmp_path / "run")
    rows = run.predictions()
    assert {"p_completed", "raw_completed"} <= set(rows)
    # 3 in 4 are completed: Platt scaling makes the mean probability of valid what their rate is
    valid = rows[rows["part"] == "valid"]
    assert valid["p_completed"].mean() == pytest.approx(0.75, abs=0.01)
    assert valid["raw_completed"].mean() != pytest.approx(0.75, abs=0.05)
    # a rising map: the order stays
    test = rows[rows["part"] == "test"]
    assert test["p_completed"].rank().tolist() == test["raw_completed"].rank().tolist()


def test_a_blend_mixes_the_stored_predictions_of_the_models_that_learn(tmp_path: Path) -> None:
    skilled = {"name": "tunable", "label": "skilled", "params": {"x": 0.7}}
    run = benchmark.run(table(tmp_path, "blend", "prior", "tunable", skilled), out=tmp_path / "run")
    weights = record(run, "blend")["notes"]["weights"]
    assert set(weights) == {"tunable/tabular", "skilled/tabular"}
    rows = run.predictions().set_index(["model", "part", "id"])["p_completed"]
    mixed = sum(weight * rows[name.partition("/")[0]]["test"] for name, weight in weights.items())
    pd.testing.assert_series_equal(rows["blend"]["test"], mixed, check_names=False)
    seconds = [record(run, model)["seconds"]["fit"] for model in ("blend", "tunable", "skilled")]
    assert seconds[0] >= seconds[1] + seconds[2]  # what it takes to have it


def test_a_blend_costs_what_its_members_took_without_their_explanations(tmp_path: Path) -> None:
    pair = [{"name": "lightgbm", "label": n, "params": {"n_estimators": 3}} for n in ("a", "b")]
    config = table(tmp_path, *pair, "blend", explain=True)
    run = benchmark.run(config, out=tmp_path / "run")
    assert record(run, "a")["seconds"]["explain"] > 0
    assert "explain" not in record(run, "blend")["seconds"]


def test_a_blend_mixes_the_members_it_names(tmp_path: Path) -> None:
    others = [{"name": "tunable", "label": name} for name in ("a", "b", "c")]
    pair = {"name": "blend", "params": {"members": ["a", "c/tabular"]}}
    run = benchmark.run(table(tmp_path, *others, pair), out=tmp_path / "run")
    assert set(record(run, "blend")["notes"]["weights"]) == {"a/tabular", "c/tabular"}


def test_a_blend_of_unknown_or_too_few_members_is_refused(tmp_path: Path) -> None:
    wrong = {"name": "blend", "params": {"members": ["tunabel"]}}
    with pytest.raises(InputError, match=r"member of the blend 'tunabel'.*did you mean 'tunable'"):
        benchmark.run(table(tmp_path, "tunable", wrong), out=tmp_path / "run")
    with pytest.raises(InputError, match="a blend of 1 models"):
        benchmark.run(table(tmp_path, "tunable", "blend"), out=tmp_path / "run")


def test_a_blend_waits_for_a_member_that_failed(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.touch()
    faulty = {"name": "faulty", "params": {"trap": str(trap)}}
    config = table(tmp_path, "tunable", faulty, "blend")
    run = benchmark.run(config, out=tmp_path / "run")
    states = run.status().set_index("model")
    assert states.loc["blend", "state"] == "failed"
    assert "member faulty/none is not done" in states.loc["blend", "error"]
    trap.unlink()
    again = benchmark.run(config, out=tmp_path / "run", only_failed=True)
    assert set(again.status()["state"]) == {"done"}


def test_a_split_may_have_seeds_of_its_own(tmp_path: Path) -> None:
    config = table(tmp_path, "prior", seeds=[1, 2, 3])
    config["splits"] = ["stratified", {"name": "stratified-kfold", "folds": 2, "seeds": [7]}]
    seeds = benchmark.run(config, out=tmp_path / "run").status().groupby("split")["seed"]
    assert seeds.unique().map(list).to_dict() == {
        "stratified": [1, 2, 3],
        "stratified-kfold/1": [7],
        "stratified-kfold/2": [7],
    }
