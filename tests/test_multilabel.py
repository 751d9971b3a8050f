"""A task of several labels from a file to every form of its board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark.matrix import Run
from benchmark.metrics import DEFAULTS, label_metrics
from benchmark.render import FORMATS, render
from benchmark.render.latex import escape
from benchmark.store import Store
from models.base import Target

LABELS = ("randomised", "animal", "survey")
TARGET = Target("multilabel", LABELS)
MODELS = ["prior", "tfidf-logreg", "lightgbm", "encoder"]


def written(folder: Path, n: int = 150) -> Path:
    """A table whose title names each label it has (nine times of ten); `size` tells of a survey."""
    draw = np.random.default_rng(0)
    y = (draw.random((n, 3)) < [0.3, 0.4, 0.2]).astype(int)
    told = y & (draw.random((n, 3)) < 0.9)
    titles = [
        " ".join(["study", str(i), *(name for name, here in zip(LABELS, row, strict=True) if here)])
        for i, row in enumerate(told)
    ]
    columns = {"title": titles, "size": 10 + 90 * y[:, 2] + draw.integers(0, 20, n)}
    frame = pd.DataFrame(columns | {name: y[:, i] for i, name in enumerate(LABELS)})
    frame.to_csv(folder / "studies.csv", index=False)
    return folder / "studies.csv"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("multilabel")
    config: dict[str, Any] = {
        "name": "labels",
        "data": {
            "reader": "table",
            "path": str(written(folder)),
            "text": ["title"],
            "numeric": ["size"],
            "target": list(LABELS),
        },
        "task": "table-target",
        "splits": ["stratified"],
        "device": "cpu",
        "models": [
            "prior",
            {"name": "tfidf-logreg", "inputs": "text", "params": {"class_weight": "balanced"}},
            {"name": "lightgbm", "inputs": "tabular", "params": {"n_estimators": 20}},
            {
                "name": "encoder",
                "params": {
                    "checkpoint": "bundled:minilm",
                    "max_steps": 3,
                    "max_length": 16,
                    "monitor": "f1_micro",
                    "loss": "focal",
                },
            },
        ],
    }
    return benchmark.run(config, out=folder / "out")


def test_every_model_is_done_with_a_probability_a_label(done: Run) -> None:
    assert done.status()["state"].tolist() == ["done"] * 4
    predictions = done.predictions()
    assert set(predictions["model"]) == set(MODELS)
    assert predictions[[f"y_{name}" for name in LABELS]].isin([0, 1]).all(axis=None)
    p = predictions[[f"p_{name}" for name in LABELS]]
    assert ((p >= 0) & (p <= 1)).all(axis=None)


def test_the_board_ranks_what_learnt_above_what_did_not(done: Run) -> None:
    board = done.board()
    assert board.metrics == DEFAULTS["multilabel"]
    rows = board.rows.set_index(["metric", "model"])
    assert set(board.rows["metric"]) == {*DEFAULTS["multilabel"], *label_metrics(TARGET)}
    assert rows.loc[("f1_macro@valid", "tfidf-logreg"), "rank"] == 1
    assert rows.loc[("roc_auc", "prior"), "value"] == 0.5
    assert rows.loc[("average_precision[survey]", "lightgbm"), "value"] > 0.95
    share = rows.loc[("f1[animal]@valid", "prior"), "prevalence"]
    assert rows.loc[("average_precision[animal]", "prior"), "value"] == pytest.approx(share)
    assert rows.loc[("f1[animal]@valid", "prior"), "value"] == pytest.approx(
        2 * share / (1 + share)
    )


@pytest.mark.parametrize("format", FORMATS)
def test_the_board_is_written_in_every_form(done: Run, format: str) -> None:
    board = done.board()
    text = render(board, format)
    for name in (
        MODELS if format == "latex" else (*MODELS, *LABELS)
    ):  # a paper's table has no labels
        assert (escape(name) if format == "latex" else name) in text
    if format == "json":
        assert len(json.loads(text)) == len(board.rows)
    if format == "csv":
        assert len(text.splitlines()) == 1 + len(board.rows)


def test_the_encoders_course_is_kept(done: Run) -> None:
    store = Store(done.folder)
    entry = next(e for e in store.plan()["cells"] if e["model"] == "encoder")
    record = store.record(entry["path"])
    assert record is not None
    notes = record["notes"]
    assert (notes["loss"], notes["monitor"], notes["steps"]) == ("focal", "f1_micro", 3)
    assert {"train_loss", "valid_loss", "train_f1_micro", "valid_f1_micro"} < set(notes["curve"][0])


def test_curves_of_every_model_and_label_enclose_their_metrics(done: Run) -> None:
    frame = done.curves()
    assert set(frame["label"]) == set(LABELS)
    rows = done.leaderboard().set_index(["metric", "model"])["value"]
    for (model, label), points in frame[frame["kind"] == "roc"].groupby(["model", "label"]):
        area = np.trapezoid(points["y"], points["x"])
        assert area == pytest.approx(rows[(f"roc_auc[{label}]", model)])
    pr = frame[(frame["kind"] == "pr") & (frame["model"] == "prior")]
    # one score for all rows: from nothing to everything, at the precision of the share
    for label, points in pr.groupby("label"):
        share = rows[(f"average_precision[{label}]", "prior")]
        assert points["x"].tolist() == [0, 1]
        assert points["y"].tolist() == pytest.approx([1, share])
        assert points["threshold"].iloc[0] == np.inf


def test_curves_of_nothing_have_their_columns(done: Run, tmp_path: Path) -> None:
    plan = Store(done.folder).plan() | {"cells": []}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    empty = Run(tmp_path).curves()
    assert empty.columns.tolist() == done.curves().columns.tolist()
    assert empty.empty


def test_explanations_of_all_families_tell_the_labels_apart(done: Run) -> None:
    from benchmark.explanations import explain
    from benchmark.render.explanation import FORMATS as WAYS
    from benchmark.render.explanation import render as shown

    (page,) = explain(Store(done.folder))
    assert [one["model"] for one in page["models"]] == MODELS[1:]
    assert {tuple(one["classes"]) for one in page["models"]} == {LABELS}
    words = page["models"][0]["features"]
    for label in LABELS:  # a title names the labels it has
        named = [row for row in words[label] if row["name"] in LABELS]
        assert named[0]["name"] == label
        assert named[0]["mean"] > 0
    sizes = page["models"][1]["fields"]
    assert [row["field"] for row in sizes] == ["size"]
    for way in WAYS:
        text = shown([page], way)
        assert all(label in text for label in LABELS)
