from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from benchmark.across import across, critical_difference, draw
from benchmark.leaderboard import Board
from benchmark.render import across_table
from features.errors import InputError


def board(tasks: list[dict[str, float]], metric: str = "roc_auc", **more: Any) -> Board:
    """A board of these values by model, one mapping a task."""
    rows = [
        {
            "task": f"task{i}", "split": "s", "as_of": "registration", "model": model,
            "inputs": "text", "metric": metric, "value": value, "rank": 1, "scoring": 1,
            "dataset_fingerprint": "f", **more,
        }
        for i, values in enumerate(tasks)
        for model, value in values.items()
    ]  # fmt: skip
    return Board("run", pd.DataFrame(rows).astype({"rank": "Int64"}), (metric,), (), {})


ORDERED = [{"a": 0.9 - i / 100, "b": 0.7, "c": 0.6} for i in range(4)]


def test_three_models_in_the_same_order_in_four_tasks() -> None:
    found = across([board(ORDERED)], "roc_auc")
    assert found.mean_ranks.to_dict() == {"a/text": 1, "b/text": 2, "c/text": 3}
    # chi-squared 12 * 4 / (3 * 4) * (1 + 4 + 9 - 3 * 16 / 4) = 8 with 2 degrees: exp(-4)
    assert found.p == pytest.approx(math.exp(-4))
    # first and third differ by 2 ranks: 2 / sqrt(3 * 4 / (6 * 4)) of the studentised range
    assert found.nemenyi is not None
    q = 2 / math.sqrt(3 * 4 / (6 * 4)) * math.sqrt(2)
    p = stats.studentized_range.sf(q, 3, math.inf)
    assert found.nemenyi.loc["a/text", "c/text"] == pytest.approx(p, abs=1e-4)
    assert found.nemenyi.loc["b/text", "a/text"] > 0.05 > p


def test_the_critical_difference_is_that_of_demsars_table() -> None:
    # q of 4 models at .05 is 2.569, and 14 data sets: 2.569 * sqrt(4 * 5 / (6 * 14)) = 1.25
    assert critical_difference(14, 4) == pytest.approx(1.2536, abs=1e-3)
    # two models: the normal's 1.960
    assert critical_difference(10, 2) == pytest.approx(1.960 * math.sqrt(2 * 3 / 60), abs=1e-3)


def test_a_lower_loss_has_the_better_rank_and_equal_ones_share_it() -> None:
    tasks = [{"a": 0.3, "b": 0.1, "c": 0.1}] * 3
    found = across([board(tasks, "brier")], "brier")
    assert found.mean_ranks.to_dict() == {"b/text": 1.5, "c/text": 1.5, "a/text": 3}


def test_fewer_than_three_tasks_are_ranked_and_not_tested() -> None:
    found = across([board(ORDERED[:2])], "roc_auc")
    assert found.mean_ranks["a/text"] == 1
    assert (found.p, found.nemenyi, found.critical) == (None, None, None)
    assert found.why == "2 tasks, and a test over tasks needs 3 or more"
    assert across_table(found).notes[1] == f"No test: {found.why}."
    with pytest.raises(InputError, match="no critical difference diagram: 2 tasks"):
        draw(found, Path("nowhere.png"))


def test_two_models_or_equal_ones_are_not_tested() -> None:
    two = across([board([{"a": 0.9, "b": 0.8}] * 3)], "roc_auc")
    assert two.why.startswith("2 models in every table")
    same = across([board([dict.fromkeys("abc", 0.5)] * 3)], "roc_auc")
    assert (same.p, same.why) == (None, "all models have the same value in every task")


def test_splits_of_a_task_are_one_task() -> None:
    one, other = ORDERED[:1], [{"a": 0.1, "b": 0.7, "c": 0.6}]
    boards = [board(one), board(other, split="temporal")]
    found = across(boards, "roc_auc")
    # .9 and .1, .7 twice, .6 twice
    assert found.values.to_numpy().tolist() == [[pytest.approx(0.5), 0.7, 0.6]]
    assert found.values.index.tolist() == ["task0 (run)"]
    # once more on redacted texts
    redacted = board(other, as_of="registration, redacted", dataset_fingerprint="r")
    assert across([board(one), redacted], "roc_auc").values.shape == (1, 3)
    # the same name over other data is another task
    assert len(across([board(one), board(other, dataset_fingerprint="g")], "roc_auc").values) == 2


def test_only_models_of_every_table_are_compared() -> None:
    tasks = [*ORDERED, {"a": 0.9, "b": 0.8, "d": 0.1}]
    assert list(across([board(tasks)], "roc_auc").mean_ranks.index) == ["a/text", "b/text"]
    with pytest.raises(InputError, match="no model has roc_auc in every table"):
        across([board([{"a": 0.9}, {"b": 0.9}])], "roc_auc")


def test_a_table_in_two_boards_counts_once() -> None:
    # d stands twice in one of four tables, which is not in every table
    again = board([{**ORDERED[0], "d": 0.1}])
    found = across([board(ORDERED), again, again], "roc_auc")
    assert found.mean_ranks.to_dict() == {"a/text": 1, "b/text": 2, "c/text": 3}
    assert found.values.shape == (4, 3)


def test_boards_of_two_scoring_versions_are_refused() -> None:
    with pytest.raises(InputError, match="boards of scoring versions 1, 2; expected one"):
        across([board(ORDERED), board(ORDERED, scoring=2, split="t")], "roc_auc")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_diagram_names_every_model(tmp_path: Path, suffix: str) -> None:
    tasks = [{"a": 0.9, "b$1$": 0.8, "c": 0.7}] * 5
    file = tmp_path / f"diagram{suffix}"
    draw(across([board(tasks)], "roc_auc"), file)
    data = file.read_bytes()
    assert data.startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    if suffix == ".svg":
        for name in (b"a/text (1)", b"b$1$/text", b"critical difference 1.48"):
            assert name in data
    with pytest.raises(InputError, match=r"a figure diagram\.text; expected"):
        draw(across([board(tasks)], "roc_auc"), tmp_path / "diagram.text")
