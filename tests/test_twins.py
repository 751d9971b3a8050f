"""Optimism of the random split: its size, sign and unpaired interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from stored import store_cell, store_plan

import benchmark
from benchmark.leaderboard import gains, leaderboard
from benchmark.store import Store
from features.errors import InputError
from models.base import Floats, Ints

N = 400
Y = np.tile([0, 1], N // 2)


def store(root: Path, cells: dict[tuple[str, str], Floats], y: Ints = Y) -> Store:
    """One cell for each (split, model), with these probabilities of the positive class."""
    entries = []
    for (split, model), p in cells.items():
        path = f"t/{split}/{model}/k"
        frame = pd.DataFrame(
            {
                "id": [f"{split}{i}" for i in range(len(y))] * 2,
                "part": np.repeat(["valid", "test"], len(y)),
                "y": np.tile(y, 2),
                "p_stopped": np.tile(1 - p, 2),
                "p_completed": np.tile(p, 2),
            }
        )
        record = {
            "key": f"{split}-{model}",
            "target": {"kind": "binary", "classes": ["stopped", "completed"]},
            "is_floor": False,
            "is_ceiling": False,
            "rows": {
                **{"train": 900, "valid": len(y), "test": len(y), "excluded": 0},
                "test_classes": {"stopped": int((y == 0).sum()), "completed": int((y == 1).sum())},
            },
            "cell": {"split_hash": split, "dataset_fingerprint": "f"},
        }
        store_cell(root, path, record, frame)
        entries.append(
            {
                "key": f"{split}-{model}", "path": path, "task": "t", "split": split, "seed": 1,
                "model": model, "inputs": "text", "as_of": "registration", "split_hash": split,
            }
        )  # fmt: skip
    return store_plan(root, *entries, metrics=["roc_auc", "brier"])


def optimism(kept: Store, metric: str | None = None) -> pd.DataFrame:
    return gains(leaderboard(kept, metric), "optimism", metric)


def test_a_model_that_knows_all_at_random_and_nothing_later_is_half_optimism(
    tmp_path: Path,
) -> None:
    """ROC-AUC is .5 for a constant and 1 for the truth, in every draw."""
    cells = {("temporal", "m"): np.full(N, 0.5), ("temporal-twin", "m"): Y * 0.8 + 0.1}
    found = optimism(store(tmp_path, cells)).to_dict("records")
    assert len(found) == 1
    row = found[0]
    assert (row["split"], row["model"], row["metric"]) == ("temporal-twin", "m", "roc_auc")
    assert (row["value"], row["optimism"]) == (1.0, 0.5)
    assert (row["optimism_low"], row["optimism_high"]) == (0.5, 0.5)
    assert row["optimism_p"] == pytest.approx(2 / 1001)
    assert row["n_test"] == N


def test_the_interval_is_that_of_two_independent_means(
    tmp_path: Path,
) -> None:
    """The Brier score is a mean of squares, so its standard error is known in closed form."""
    rng = np.random.default_rng(1)
    p, q = rng.uniform(0.2, 0.8, N), np.clip(0.4 * Y + rng.uniform(0.1, 0.6, N), 0, 1)
    row = optimism(
        store(tmp_path, {("temporal-mature", "m"): p, ("temporal-mature-twin", "m"): q}), "brier"
    ).iloc[0]
    honest, twin = (p - Y) ** 2, (q - Y) ** 2
    assert row["optimism"] == pytest.approx(twin.mean() - honest.mean())
    assert row["optimism"] < 0  # of a loss: the twin flatters
    error = np.sqrt(honest.var() / N + twin.var() / N)
    assert row["optimism_high"] - row["optimism_low"] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_models_without_a_twin_and_splits_without_one_are_left_out(tmp_path: Path) -> None:
    half = np.full(N, 0.5)
    cells = {
        ("temporal", "a"): half,
        ("temporal", "b"): half,
        ("temporal-twin", "b"): half,
        ("stratified", "b"): half,
    }
    found = optimism(store(tmp_path, cells))
    assert found["model"].tolist() == ["b"]
    assert found["optimism"].tolist() == [0.0]


def test_a_run_without_twins_is_told_how_to_get_one(tmp_path: Path) -> None:
    folder = store(tmp_path, {("temporal", "a"): np.full(N, 0.5)})
    with pytest.raises(
        InputError, match=r"no model scored in both tables that the optimism compares; .*of: tempo"
    ):
        optimism(folder)


def test_a_registry_that_drifts_flatters_the_random_split(tmp_path: Path) -> None:
    config = {
        "data": {"reader": "synthetic", "rows": 3000, "drift": 2.0, "seed": 3},
        "splits": ["temporal", {"name": "twin", "of": "temporal"}],
        "seeds": [1, 2],
        "models": [{"name": "tfidf-logreg", "inputs": "both"}],
        "explain": False,
    }
    run = benchmark.run(config, out=tmp_path / "run")
    rows = run.leaderboard("roc_auc")
    sizes = rows.groupby("split")[["n_train", "n_test", "prevalence"]].first()
    assert sizes.loc["temporal"].tolist() == sizes.loc["temporal-twin"].tolist()
    found = optimism(Store(run.folder), "roc_auc")
    learnt = found[found["model"] == "tfidf-logreg"].iloc[0]
    assert learnt["optimism"] > 0
    assert learnt["optimism_low"] < learnt["optimism"] < learnt["optimism_high"]
