"""Boards of tasks with several labels or classes: rows by label, tables by label, their notes."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored import store_cell, store_plan

from benchmark.compare import compare
from benchmark.leaderboard import Board, leaderboard
from benchmark.metrics import DEFAULTS
from benchmark.render import render
from benchmark.render.layout import board_tables
from benchmark.store import Store
from features.errors import InputError

# Eight rows; label a on the first four, b on the first two, c on none.
TRUTH = np.array([[1, 1, 0]] * 2 + [[1, 0, 0]] * 2 + [[0, 0, 0]] * 4)
ORDER = np.linspace(0.9, 0.2, 8)
GOOD = np.stack([ORDER, ORDER, 1 - ORDER], axis=1)  # finds a and b
HALF = np.stack([ORDER, 1 - ORDER, ORDER], axis=1)  # finds a, and b in the wrong order
CLASSES = np.array([0, 0, 0, 0, 1, 1, 2, 2])
SURE = np.eye(3)[CLASSES] * 0.7 + 0.1


def put(
    root: Path,
    model: str,
    proba: Any,
    y: Any = TRUTH,
    *,
    task: str = "t",
    classes: tuple[str, ...] = ("a", "b", "c"),
) -> dict[str, Any]:
    """Store one finished cell by hand and return its entry of the plan."""
    kind = "multilabel" if y.ndim == 2 else ("multiclass" if len(classes) > 2 else "binary")
    truth = {f"y_{name}": y[:, i] for i, name in enumerate(classes)} if y.ndim == 2 else {"y": y}
    scores = {f"p_{name}": proba[:, i] for i, name in enumerate(classes)}
    part = pd.DataFrame({"id": [f"row{i}" for i in range(len(y))], **truth, **scores})
    frame = pd.concat([part.assign(part="valid"), part.assign(part="test")])
    counts = y.sum(axis=0) if y.ndim == 2 else np.bincount(y, minlength=len(classes))
    path = f"{task}/{model}"
    record = {
        "key": path,
        "target": {"kind": kind, "classes": list(classes)},
        "is_floor": model.startswith("floor"),
        "is_ceiling": False,
        "rows": {
            "excluded": 0,
            "train": 30,
            "valid": len(y),
            "test": len(y),
            "test_classes": dict(zip(classes, counts.tolist(), strict=True)),
        },
    }
    store_cell(root, path, record, frame)
    names = {"task": task, "split": "s", "as_of": "registration", "inputs": "text", "seed": 1}
    return {**names, "model": model, "path": path, "key": path, "split_hash": "h"}


def plan(root: Path, *cells: dict[str, Any], metrics: list[str] | None = None) -> Store:
    return store_plan(root, *cells, metrics=metrics)


def values(board: Board, model: str) -> dict[str, float]:
    rows = board.rows[board.rows["model"] == model]
    return dict(zip(rows["metric"], rows["value"], strict=True))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return leaderboard(
        plan(tmp_path, put(tmp_path, "good", GOOD), put(tmp_path, "half and half", HALF))
    )


def test_without_metrics_in_the_config_the_kind_of_target_decides(tmp_path: Path) -> None:
    proba = np.stack([1 - ORDER, ORDER], axis=1)
    labels = put(tmp_path, "m", GOOD)
    outcome = put(tmp_path, "m", proba, CLASSES // 2, task="u", classes=("no", "yes"))
    assert leaderboard(plan(tmp_path, labels)).metrics == DEFAULTS["multilabel"]
    assert leaderboard(plan(tmp_path, outcome)).metrics == DEFAULTS["binary"]


def test_every_label_has_rows_of_its_own_with_intervals_and_share(board: Board) -> None:
    # at the thresholds of valid, 1/2 for a and .7 or below for b
    found = values(board, "good")
    assert found["f1[a]@valid"] == found["f1[b]@valid"] == found["roc_auc[a]"] == 1
    found = values(board, "half and half")
    assert found["f1[a]@valid"] == found["average_precision[a]"] == 1
    assert found["roc_auc[b]"] == 0
    # the two last of eight: precision 1/7 and 2/8, so all rows are the best F1: 2/8 and 2/2
    assert found["average_precision[b]"] == pytest.approx((1 / 7 + 2 / 8) / 2)
    assert found["f1[b]@valid"] == pytest.approx(2 * 2 / (8 + 2))
    rows = board.rows.set_index(["model", "metric"])
    of_b = rows.loc[("half and half", "f1[b]@valid")]
    assert (of_b["prevalence"], of_b["positive"], of_b["kind"]) == (0.25, "b", "multilabel")
    assert 0 <= of_b["low"] < 0.4 < of_b["high"] <= 1
    assert (of_b["rank"], rows.loc[("good", "f1[b]@valid")]["rank"]) == (2, 1)
    of_all = rows.loc[("good", "f1_macro@valid")]
    assert of_all["prevalence"] == pytest.approx(6 / 24)


def test_a_label_that_no_test_row_has_is_undefined_not_an_error(board: Board) -> None:
    found = values(board, "good")
    assert pd.isna(found["roc_auc[c]"])
    assert pd.isna(found["average_precision[c]"])
    assert found["roc_auc"] == 1  # of a and b
    text = render(board, "json")
    undefined = next(row for row in json.loads(text) if row["metric"] == "roc_auc[c]")
    assert undefined["value"] is None


def test_several_classes_have_rows_by_class_at_the_likeliest_class(tmp_path: Path) -> None:
    board = leaderboard(plan(tmp_path, put(tmp_path, "m", SURE, CLASSES)))
    found = values(board, "m")
    assert found["f1[a]"] == found["roc_auc[c]"] == found["average_precision[b]"] == 1
    assert not any("@valid" in name for name in found)
    sheet = board_tables(board)[1]
    assert sheet.rows == (
        ("a", "4", "50.0%", "1.000"), ("b", "2", "25.0%", "1.000"), ("c", "2", "25.0%", "1.000"),
    )  # fmt: skip
    assert "@valid" not in render(board, "markdown")


def test_the_stopped_class_is_not_asked_of_labels(board: Board) -> None:
    assert "average_precision_negative" not in set(board.rows["metric"])
    assert "stopped" not in render(board, "terminal") + render(board, "markdown")


def test_the_negative_class_has_its_name_in_a_task_that_knows_no_completed(tmp_path: Path) -> None:
    proba = np.stack([1 - ORDER, ORDER], axis=1)
    for task, classes in (("t", ("stopped", "completed")), ("u", ("failure", "success"))):
        cell = put(tmp_path, "m", proba, CLASSES // 2, task=task, classes=classes)
        board = leaderboard(plan(tmp_path, cell))
        (sheet,) = board_tables(board)  # and no table by label
        assert ("AP stopped" in sheet.header) == (task == "t")
        assert ("AP negative" in sheet.header) == (task == "u")
        assert ("stopped" in render(board, "markdown")) == (task == "t")


def test_labels_stand_in_a_table_of_their_own_beside_the_models(board: Board) -> None:
    main, by_label = board_tables(board)
    assert main.title.startswith("t · s split · 30 train and 8 test rows, 25.0% of a row's labels")
    assert main.header[4:6] == ("F1-macro@valid [95 %]", "F1-micro@valid")
    assert [note.partition(" by ")[0] for note in main.notes] == ["Two models must differ"]
    assert by_label.title == "t · s split · as of registration · F1@valid by label"
    assert by_label.header == ("label", "in test", "share", "good\ntext", "half\nand\nhalf\ntext")
    assert by_label.rows == (
        ("a", "4", "50.0%", "1.000", "1.000"),
        ("b", "2", "25.0%", "1.000", ".400"),
        ("c", "0", "0.0%", ".000", ".000"),
    )
    assert "@valid: decisions at the threshold of each label that is best for its F1" in (
        " ".join(by_label.notes)
    )
    assert "| label | in test | share | good text | half and half text |" in render(
        board, "markdown"
    )
    printed = re.sub(r"\x1b\[[0-9;]*m", "", render(board, "terminal"))
    assert re.search(r"b +2 +25\.0% +1\.000 +\.400", printed)


@pytest.mark.parametrize(
    ("ranking", "title", "of_b"),
    [
        ("roc_auc", "ROC-AUC", ".000"),
        ("average_precision", "AP", ".196"),
        ("lrap", "F1@valid", ".400"),
    ],
)
def test_labels_are_scored_by_what_ranks_the_models(
    tmp_path: Path, ranking: str, title: str, of_b: str
) -> None:
    store = plan(tmp_path, put(tmp_path, "m", HALF), metrics=[ranking])
    sheet = board_tables(leaderboard(store))[1]
    assert sheet.title.endswith(f"{title} by label")
    assert sheet.rows[1][-1] == of_b


def test_many_models_take_several_tables_of_a_page_each(tmp_path: Path) -> None:
    cells = [put(tmp_path, f"model-number-{i:02}", GOOD) for i in range(9)]
    sheets = board_tables(leaderboard(plan(tmp_path, *cells)))
    assert [sheet.title.rpartition("by label")[2] for sheet in sheets[1:]] == [
        " (1 of 2)",
        " (2 of 2)",
    ]
    # 15 characters and a blank each: five fit into 86
    assert [len(sheet.header) - 3 for sheet in sheets[1:]] == [5, 4]
    assert [bool(sheet.notes) for sheet in sheets] == [False, False, True]


def test_metrics_of_the_config_that_are_not_for_the_task_are_left_out(tmp_path: Path) -> None:
    cells = [put(tmp_path, "m", GOOD), put(tmp_path, "m", SURE, CLASSES, task="u")]
    board = leaderboard(plan(tmp_path, *cells, metrics=["mcc", "lrap", "f1_macro"]))
    assert board.metrics == ("mcc", "lrap", "f1_macro")
    labels, _, classes, _ = board_tables(board)
    assert labels.header[4:-1] == ("LRAP [95 %]", "F1-macro")
    assert classes.header[4:-1] == ("MCC [95 %]", "F1-macro")
    # of metrics none of which fits, the defaults are shown instead
    only = leaderboard(plan(tmp_path, cells[0], metrics=["mcc"]))
    assert only.metrics == DEFAULTS["multilabel"]


def test_a_label_can_rank_and_be_compared(tmp_path: Path) -> None:
    store = plan(tmp_path, put(tmp_path, "good", GOOD), put(tmp_path, "half", HALF))
    board = leaderboard(store, "roc_auc[b]")
    assert board.metrics[0] == "roc_auc[b]"
    assert board_tables(board)[0].title.startswith(
        "t · s split · 30 train and 8 test rows, 25.0% b"
    )
    row = compare(store, "good", "half", "roc_auc[b]").iloc[0]
    assert (row["value_a"], row["value_b"], row["difference"]) == (1, 0, 1)
    # by default the first metric that the task has
    assert compare(store, "good", "half").iloc[0]["metric"] == "f1_macro@valid"
    with pytest.raises(InputError, match="no table holds mcc of both good and half"):
        compare(store, "good", "half", "mcc")


def test_ten_labels_of_two_models_take_few_seconds(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    classes = tuple(f"label{i}" for i in range(10))
    y = (draw.random((1600, 10)) < 0.2).astype(np.int64)
    cells = [put(tmp_path, f"m{i}", draw.random((1600, 10)), y, classes=classes) for i in (0, 1)]
    start = time.process_time()
    board = leaderboard(plan(tmp_path, *cells))
    assert time.process_time() - start < 4
    assert len(board.rows) == 2 * (6 + 3 * 10)
