from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tunable import Tunable

from benchmark.dataset import Dataset
from benchmark.splits import Split, SplitOptions, make_split
from benchmark.tune import Setting, Tuned, objective_of, tune
from features.columns import Column, Columns
from features.errors import InputError
from models import MODELS
from models.base import Context, Target

BINARY = Target("binary", ("stopped", "completed"))


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tunable", "tunable:Tunable")
    Tunable.fitted.clear()
    Tunable.cut_off.clear()


def trials(n: int = 200, *, seed: int = 0) -> Dataset:
    """Rows with the truth and noise as columns; a quarter are stopped."""
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 4 > 0).astype(np.int64)
    X = pd.DataFrame(
        {"signal": y.astype(float), "noise": rng.random(n)}, index=[f"T{i:03}" for i in range(n)]
    )
    columns = (Column("signal", "numeric"), Column("noise", "numeric"))
    return Dataset("made-up", BINARY, X, y, columns)


def run(
    data: Dataset | None = None,
    *,
    params: dict[str, Any] | None = None,
    free: tuple[str, ...] = ("still", "x"),
    journal: Path | None = None,
    **options: Any,
) -> Tuned:
    """Tune on a stratified split; `options` override a budget of 12 trials and 4 folds."""
    data = trials() if data is None else data
    begin = {"x": 0.1, "still": 3, "limit": 2.0} | (params or {})
    budget = {"trials": 12, "seconds": 60.0, "objective": None, "folds": 4} | options
    return tune(
        Setting("tunable", begin, free, Columns(numeric=("signal", "noise")), budget),
        data,
        split=split_of(data),
        context=Context(seed=7),
        journal=journal,
    )


def split_of(data: Dataset) -> Split:
    return make_split(data, SplitOptions(name="stratified"), seed=1)


def timeless(report: dict[str, Any]) -> dict[str, Any]:
    """A report without its seconds, which no two runs share."""
    kept = [{k: v for k, v in trial.items() if k != "seconds"} for trial in report["trials"]]
    return {**report, "trials": kept}


def test_the_first_trial_is_what_one_begins_with_and_a_clearly_better_one_replaces_it() -> None:
    found = run()
    first, chosen = found.report["trials"][0], found.report["trials"][found.report["chosen"]]
    assert first["params"] == {"x": 0.1, "still": 3}
    assert abs(found.params["x"] - 0.7) < 0.6 / 2  # nearer to the best than the default is
    assert found.params == {"limit": 2.0, **chosen["params"]}
    gain = found.report["gain"]
    assert gain["value"] == pytest.approx(np.mean(chosen["scores"]) - np.mean(first["scores"]))
    assert 0 < gain["low"] < gain["value"] < gain["high"]
    assert len(found.report["trials"]) == 12
    assert found.report["stopped_by"] == "trials"


def test_the_default_stays_where_no_trial_is_better_by_more_than_chance() -> None:
    found = run(params={"x": 0.7})  # nothing beats the best
    assert (found.report["chosen"], found.report["best"], found.report["gain"]) == (0, 0, None)
    assert found.params == {"x": 0.7, "still": 3, "limit": 2.0}


def test_the_gain_is_the_mean_over_folds_and_its_interval_is_paired() -> None:
    """The Brier score is a mean of squares: its value and standard error are known."""
    from benchmark.tune import _gain

    rng = np.random.default_rng(0)
    folds, losses = [], []
    for n in (400, 100):
        y = rng.integers(0, 2, n)
        before = rng.uniform(0.2, 0.8, n)
        after = before + rng.normal(0, 0.02, n)  # nearly the same: a narrow interval
        folds.append((y, *(np.column_stack([1 - p, p]) for p in (after, before))))
        losses.append((before - y) ** 2 - (after - y) ** 2)
    gain = _gain("brier", BINARY, folds, seed=1)
    assert gain["value"] == pytest.approx(np.mean([one.mean() for one in losses]), abs=1e-6)
    error = np.sqrt(sum(one.var() / len(one) for one in losses)) / 2
    assert gain["high"] - gain["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_a_gain_whose_interval_holds_0_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    gain = {"value": 0.1, "low": -0.01, "high": 0.2}
    monkeypatch.setattr("benchmark.tune._gain", lambda *rest, **more: gain)
    found = run()
    assert found.report["best"] > 0
    assert found.report["gain"] == gain
    assert found.report["chosen"] == 0
    assert found.params == {"x": 0.1, "still": 3, "limit": 2.0}


def test_test_rows_are_never_fitted_and_every_fold_trains_on_train_and_valid() -> None:
    run(trials=1)
    assert [rows for _, rows in Tunable.fitted] == [120] * 4  # 3/4 of the 160 that are not test


def test_one_fold_is_train_and_valid_as_they_are() -> None:
    run(trials=1, folds=1)
    assert [rows for _, rows in Tunable.fitted] == [128]


def test_a_small_valid_part_is_not_tuned_on_alone() -> None:
    assert run(trials=1, folds=None).report["folds"] == 5


def test_parameters_that_the_config_states_are_not_searched() -> None:
    found = run(free=("still",))
    assert found.report["searched"] == ["still"]
    assert {x for x, _ in Tunable.fitted} == {0.1}
    assert found.params["x"] == 0.1


def test_a_study_that_was_cut_off_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole = run(journal=tmp_path / "whole.jsonl")
    Tunable.fitted.clear()
    for at in (2, 17, 30):  # in the first trial, in the middle of later ones
        Tunable.cut_off.append(at)
        with pytest.raises(KeyboardInterrupt):
            run(journal=tmp_path / "cut.jsonl")
    again = run(journal=tmp_path / "cut.jsonl")
    assert timeless(again.report) == timeless(whole.report)
    assert again.params == whole.params


def test_a_finished_study_is_not_fitted_again(tmp_path: Path) -> None:
    whole = run(journal=tmp_path / "study.jsonl")
    fits = len(Tunable.fitted)
    again = run(journal=tmp_path / "study.jsonl")
    assert len(Tunable.fitted) == fits + 2 * 4  # the first and the best, whose gain is drawn anew
    assert again == whole


def test_no_trial_begins_after_the_search_has_taken_its_seconds() -> None:
    found = run(seconds=1e-9)
    assert len(found.report["trials"]) == 2  # the defaults are not a part of the search
    assert found.report["stopped_by"] == "seconds"


def test_a_trial_that_fails_counts_and_is_told() -> None:
    found = run(params={"limit": 0.5}, trials=12)
    failed = [trial for trial in found.report["trials"] if trial["state"] == "fail"]
    assert failed
    assert all(trial["params"]["x"] > 0.5 for trial in failed)
    assert failed[0]["error"] == "ArithmeticError: x is over the limit"
    assert len(found.report["trials"]) == 12
    assert found.params["x"] <= 0.5


def test_the_error_of_the_first_trial_is_the_cells_own() -> None:
    with pytest.raises(ArithmeticError, match="over the limit"):
        run(params={"limit": 0.05})


def test_trials_that_lag_behind_the_median_are_given_up() -> None:
    found = run(trials=25)
    pruned = [trial for trial in found.report["trials"] if trial["state"] == "pruned"]
    assert pruned
    assert all(1 <= len(trial["scores"]) < 4 for trial in pruned)
    whole = [len(t["scores"]) for t in found.report["trials"] if t["state"] == "complete"]
    assert set(whole) == {4}


def test_the_objective_is_the_average_precision_of_the_rarer_class() -> None:
    data = trials()  # three in four are completed, the positive class
    assert objective_of(None, data, split_of(data)) == "average_precision_negative"
    mirrored = Dataset("made-up", BINARY, data.X, 1 - data.y, data.columns)
    assert objective_of(None, mirrored, split_of(data)) == "average_precision"
    assert objective_of("brier", data, split_of(data)) == "brier"
    with pytest.raises(InputError, match="lrap"):
        objective_of("lrap", data, split_of(data))


def test_where_lower_is_better_the_lowest_wins() -> None:
    found = run(objective="brier")
    assert found.report["objective"] == "brier"
    assert abs(found.params["x"] - 0.7) < 0.3
