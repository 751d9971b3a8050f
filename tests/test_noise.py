from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from stored import store_binary, store_cell, store_plan

from benchmark.metrics import Scored
from benchmark.noise import _score_under, read_labels, relabel, stress
from benchmark.render import stress_tables, write
from benchmark.store import Store
from features.errors import InputError
from models.base import Target

# Ten test rows, five of each class, with scores of 0 and 1: the Brier score is the error rate.
IDS = "abcdefghij"
TRUTH = [1] * 5 + [0] * 5
SURE = [1.0] * 5 + [0.0] * 5
ERRING = [1.0] * 4 + [0.0] * 5 + [1.0]  # wrong on e and j


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two models, of which one has two rows of ten wrong."""
    cells = [
        store_binary(tmp_path, model, scores, TRUTH)
        for model, scores in (("bad", ERRING), ("good", SURE), ("ceiling", SURE))
    ]
    return store_plan(tmp_path, *cells, metrics=["brier"])


def test_the_order_flips_as_often_as_the_two_rows_that_make_it(store: Store) -> None:
    # The models differ on two rows. Each changed with chance r: both, and the worse one leads,
    # r^2; one, and they're equal, 2 r (1 - r), counted half. Together r.
    row = stress(store, 0.3, draws=4000).iloc[0]
    assert (row["a"], row["b"]) == ("good/text", "bad/text")
    assert (row["value_a"], row["value_b"]) == pytest.approx((0, 0.2))
    assert row["flips"] == pytest.approx(0.3, abs=0.03)
    # the perfect model is wrong where the label was changed
    assert row["other_a"] == pytest.approx(0.3, abs=0.01)
    assert row["other_a"] == pytest.approx(row["changed"])
    # and the other one too on eight rows, and right on the two where it was wrong
    assert row["other_b"] == pytest.approx(0.8 * 0.3 + 0.2 * 0.7, abs=0.01)
    assert len(stress(store, 0.3)) == 1  # the ceiling is no rival


def test_no_noise_changes_nothing_and_full_noise_turns_all(store: Store) -> None:
    kept, turned = stress(store, 0.0).iloc[0], stress(store, 1.0).iloc[0]
    assert (kept["flips"], kept["changed"]) == (0, 0)
    assert kept["other_difference"] == pytest.approx(kept["difference"])
    assert (turned["flips"], turned["changed"]) == (1, 1)
    assert turned["other_difference"] == pytest.approx(-turned["difference"])


def test_each_class_may_have_a_rate_of_its_own(store: Store) -> None:
    row = stress(store, {"stopped": 0.4}, draws=4000).iloc[0]
    assert row["other_a"] == pytest.approx(0.4 / 2, abs=0.01)
    with pytest.raises(InputError, match=r"unknown class with a noise rate 'stoped'.*'stopped'"):
        stress(store, {"stoped": 0.4})
    with pytest.raises(InputError, match=r"a label noise of 1\.5; expected rates from 0 to 1"):
        stress(store, 1.5)


def test_the_same_call_gives_the_same_numbers(store: Store) -> None:
    pd.testing.assert_frame_equal(stress(store, 0.3), stress(store, 0.3))


def test_models_with_equal_values_have_no_order_to_flip(tmp_path: Path) -> None:
    cells = [store_binary(tmp_path, model, SURE, TRUTH) for model in ("one", "two")]
    row = stress(store_plan(tmp_path, *cells, metrics=["brier"]), 0.3).iloc[0]
    assert math.isnan(row["flips"])
    assert write(stress_tables(pd.DataFrame([row])), "markdown").count("—") == 1


def test_a_row_of_two_seeds_has_one_label(tmp_path: Path) -> None:
    cells = [
        store_binary(tmp_path, model, scores, TRUTH, seed=seed)
        for model, scores in (("good", SURE), ("bad", ERRING))
        for seed in (1, 2)
    ]
    row = stress(store_plan(tmp_path, *cells, metrics=["brier"]), 0.3, draws=4000).iloc[0]
    # labels of their own for each seed would make .3^2-like flips rarer
    assert row["flips"] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("k", [2, 3])
def test_all_draws_at_once_are_what_each_gives_alone(k: int) -> None:
    rng = np.random.default_rng(k)
    target = Target("binary" if k == 2 else "multiclass", tuple("abc"[:k]))
    proba = np.round(rng.dirichlet(np.ones(k), 60), 1) + 1e-3
    proba = proba / proba.sum(axis=1, keepdims=True)
    scored = Scored.of(target, rng.integers(0, k, 60), proba=proba)
    labels = rng.integers(0, k, (5, 60, 1)).astype(np.int8)
    alone = [
        roc_auc_score(y[:, 0], proba[:, 1] if k == 2 else proba, multi_class="ovr") for y in labels
    ]
    assert _score_under(scored, labels, "roc_auc") == pytest.approx(alone)


def labelled_store(root: Path) -> Store:
    """Two models of ten rows with two labels each: one perfect, one that says no to all."""
    truth = np.array([[1, 0]] * 5 + [[0, 1]] * 5)
    cells = []
    for model, proba in (("good", truth.astype(float)), ("none", np.zeros((10, 2)))):
        columns = {f"y_{n}": truth[:, i] for i, n in enumerate("uv")}
        columns |= {f"p_{n}": proba[:, i] for i, n in enumerate("uv")}
        part = pd.DataFrame({"id": list(IDS), **columns})
        frame = pd.concat([part.assign(part="valid"), part.assign(part="test")])
        record = {
            "key": model,
            "target": {"kind": "multilabel", "classes": ["u", "v"]},
            "is_floor": False,
            "is_ceiling": False,
            "rows": {
                **dict.fromkeys(("train", "valid", "test"), 10),
                **{"excluded": 0, "test_classes": {}},
            },
        }
        store_cell(root, model, record, frame)
        place = {"task": "t", "split": "s", "as_of": "registration", "seed": 1, "inputs": "text"}
        cells.append({**place, "model": model, "path": model, "key": model, "split_hash": "h"})
    return store_plan(root, *cells, metrics=["brier"])


def test_each_of_several_labels_is_turned_with_its_own_rate(tmp_path: Path) -> None:
    row = stress(labelled_store(tmp_path), {"u": 0.4}, draws=500).iloc[0]
    # half of the labels are u, of which .4 are turned
    assert row["other_a"] == pytest.approx(0.2, abs=0.02)
    # as many ones as zeros under each label, before and after: no to all is wrong on half
    assert row["other_b"] == pytest.approx(0.5, abs=0.02)


def test_other_labels_rank_the_models_anew(store: Store) -> None:
    # by the other labels e and j are what the worse model says
    labels = pd.Series(["completed"] * 4 + ["stopped"] * 5 + ["completed"], index=list(IDS))
    row = relabel(store, labels).iloc[0]
    assert (row["a"], row["value_a"], row["value_b"]) == ("good/text", 0, pytest.approx(0.2))
    assert (row["other_a"], row["other_b"]) == (pytest.approx(0.2), 0)
    assert row["changed"] == pytest.approx(0.2)
    # the worse one leads in each draw that has e or j, they are equal in a draw without: .8^10
    assert row["flips"] == pytest.approx(1 - 0.8**10 / 2, abs=0.03)


def test_rows_without_another_label_are_left_out(store: Store) -> None:
    labels = pd.Series(["completed", "stopped", None], index=["a", "e", "j"])
    row = relabel(store, labels).iloc[0]
    assert row["n_test"] == 2
    assert (row["value_a"], row["value_b"]) == (0, 0.5)
    assert (row["other_a"], row["other_b"]) == (0.5, 0)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (
            {"a": "done"},
            "unknown class among the labels 'done'; expected one of completed, stopped",
        ),
        ({"z": "stopped"}, "no label for any test row; expected ids of the results folder"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    store: Store, labels: dict[str, str], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        relabel(store, pd.Series(labels))


def test_two_labels_for_a_row_and_labels_for_a_multilabel_task_are_refused(
    store: Store, tmp_path: Path
) -> None:
    twice = pd.Series(["stopped", "completed"], index=["a", "a"])
    with pytest.raises(InputError, match="two labels for row 'a'; expected one a row"):
        relabel(store, twice)
    with pytest.raises(InputError, match="other labels for a multi-label target"):
        relabel(labelled_store(tmp_path / "several"), pd.Series({"a": "u"}))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_labels_are_read_from_a_column(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "reviewed": ["stopped", None]})
    file = tmp_path / f"labels{suffix}"
    frame.to_csv(file, index=False) if suffix == ".csv" else frame.to_parquet(file)
    assert read_labels(file, "reviewed").dropna().to_dict() == {"a": "stopped"}
    with pytest.raises(InputError, match=r"unknown column in .* 'review'.*did you mean 'reviewed'"):
        read_labels(file, "review")
    with pytest.raises(InputError, match="no file"):
        read_labels(tmp_path / "none.csv", "reviewed")


def test_the_table_shows_who_may_overtake_whom(store: Store) -> None:
    sheet = stress_tables(stress(store, 1.0))[0]
    assert sheet.title == (
        "t · s split · as of registration · Brier ↓ with 100.0% of the labels replaced, 10 test "
        "rows"
    )
    assert sheet.header == ("", "model", "stored", "then", "2")
    assert sheet.rows == (
        ("1", "good/text", ".000", "1.000", "100%"), ("2", "bad/text", ".200", ".800", ""),
    )  # fmt: skip
