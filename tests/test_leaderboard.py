from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored import store_cell, store_plan

from benchmark.leaderboard import leaderboard
from benchmark.render import render
from benchmark.store import Store
from features.errors import InputError

# Ten test rows, five of each class; a model is the list of its scores for the positive class.
TRUTH = [1] * 5 + [0] * 5
PERFECT = [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2, 0.1, 0.05]
REVERSED = [1 - p for p in PERFECT]
CONSTANT = [0.5] * 10


def put(
    root: Path,
    model: str,
    scores: list[float],
    *,
    seed: int = 1,
    ids: str = "abcdefghij",
    **more: Any,
) -> dict[str, Any]:
    """Store one finished cell by hand and return its entry of the plan."""
    path = f"t/s/{model}/{seed}"
    p = np.array(scores)
    part = pd.DataFrame({"id": list(ids), "y": TRUTH, "p_stopped": 1 - p, "p_completed": p})
    frame = pd.concat([part.assign(part="valid"), part.assign(part="test")])
    record = {
        "key": f"{model}-{seed}",
        "target": {"kind": "binary", "classes": ["stopped", "completed"]},
        "is_floor": model == "floor",
        "is_ceiling": model == "ceiling",
        "rows": {
            "excluded": 0,
            "train": 30,
            "valid": 10,
            "test": 10,
            "test_classes": {"stopped": 5, "completed": 5},
        },
        **more,
    }
    store_cell(root, path, record, frame)
    names = {"task": "t", "split": "s", "as_of": "registration", "inputs": "text"}
    return {
        **names,
        "model": model,
        "seed": seed,
        "path": path,
        "key": record["key"],
        "split_hash": "h",
    }


def board_of(root: Path, *cells: dict[str, Any], metrics: tuple[str, ...] = ("roc_auc",)) -> Any:
    return leaderboard(store_plan(root, *cells, metrics=list(metrics)))


def by_model(board: Any, metric: str = "roc_auc") -> pd.DataFrame:
    return board.rows[board.rows["metric"] == metric].set_index("model")


def test_rows_are_ranked_by_value_with_the_intervals_of_their_predictions(tmp_path: Path) -> None:
    cells = [put(tmp_path, "bad", REVERSED), put(tmp_path, "good", PERFECT)]
    rows = by_model(board_of(tmp_path, *cells))
    assert rows["value"].to_dict() == {"good": 1.0, "bad": 0.0}
    assert rows["rank"].to_dict() == {"good": 1, "bad": 2}
    assert rows["tie_group"].to_dict() == {"good": 1, "bad": 2}
    assert rows.loc["good", ["low", "high"]].tolist() == [1.0, 1.0]
    assert rows.loc["good", "prevalence"] == 0.5
    assert rows.loc["good", "fit_seconds"] == 3.0
    assert rows.loc["good", "predict_seconds"] == 0.5
    assert rows.loc["good", "seeds"] == [1]


def test_models_that_the_rows_cannot_tell_apart_share_a_tie_group(tmp_path: Path) -> None:
    nearly = [0.9, 0.8, 0.7, 0.6, 0.35, 0.4, 0.3, 0.2, 0.1, 0.05]  # one pair the wrong way: .96
    cells = [put(tmp_path, "good", PERFECT), put(tmp_path, "nearly", nearly)]
    rows = by_model(board_of(tmp_path, *cells))
    assert rows["value"].to_dict() == pytest.approx({"good": 1.0, "nearly": 0.96})
    assert rows["rank"].to_dict() == {"good": 1, "nearly": 2}
    assert rows["tie_group"].to_dict() == {"good": 1, "nearly": 1}


def test_a_value_is_the_mean_over_seeds(tmp_path: Path) -> None:
    cells = [put(tmp_path, "m", PERFECT, seed=1), put(tmp_path, "m", CONSTANT, seed=2)]
    rows = by_model(board_of(tmp_path, *cells))
    assert rows.loc["m", "value"] == pytest.approx(0.75)
    assert rows.loc["m", "seeds"] == [1, 2]


def test_a_model_that_lacks_a_seed_stands_without_rank(tmp_path: Path) -> None:
    cells = [put(tmp_path, "all", CONSTANT, seed=s) for s in (1, 2)]
    cells.append(put(tmp_path, "half", PERFECT, seed=1))
    missing = {**cells[-1], "seed": 2, "path": "t/s/half/2", "key": "half-2"}
    board = board_of(tmp_path, *cells, missing)
    rows = by_model(board)
    assert rows.loc["all", "rank"] == 1
    assert pd.isna(rows.loc["half", "rank"])
    assert board.gaps == ("t s seed 2 half text: missing",)
    assert "half (seeds 1 only)" in render(board, "markdown")


def test_the_ceiling_is_shown_and_not_ranked(tmp_path: Path) -> None:
    cells = [put(tmp_path, "ceiling", PERFECT, seconds={"read": 1.0}), put(tmp_path, "m", CONSTANT)]
    rows = by_model(board_of(tmp_path, *cells))
    assert pd.isna(rows.loc["ceiling", "rank"])
    assert rows.loc["m", "rank"] == 1
    assert pd.isna(rows.loc["ceiling", "fit_seconds"])


def test_the_stopped_class_is_in_every_table(tmp_path: Path) -> None:
    board = board_of(tmp_path, put(tmp_path, "m", CONSTANT), metrics=("brier",))
    assert board.metrics == ("brier", "average_precision_negative")
    assert by_model(board, "average_precision_negative").loc["m", "value"] == pytest.approx(0.5)


def test_a_lower_brier_score_ranks_first(tmp_path: Path) -> None:
    cells = [put(tmp_path, "bad", REVERSED), put(tmp_path, "good", PERFECT)]
    rows = by_model(board_of(tmp_path, *cells, metrics=("brier",)), "brier")
    assert rows["rank"].to_dict() == {"good": 1, "bad": 2}


def test_the_threshold_from_valid_and_one_half_are_two_metrics(tmp_path: Path) -> None:
    low = [p / 2 for p in PERFECT]  # perfect order, every score below one half
    board = board_of(tmp_path, put(tmp_path, "m", low), metrics=("f1_macro", "f1_macro@valid"))
    assert by_model(board, "f1_macro").loc["m", "value"] == pytest.approx(1 / 3)
    assert by_model(board, "f1_macro@valid").loc["m", "value"] == 1.0


def test_models_on_different_rows_cannot_share_a_table(tmp_path: Path) -> None:
    cells = [put(tmp_path, "m", PERFECT), put(tmp_path, "n", PERFECT, ids="abcdefghiZ")]
    with pytest.raises(InputError, match="t/s/n/1: its test rows differ"):
        board_of(tmp_path, *cells)


def test_a_record_that_is_not_the_planned_one_is_refused(tmp_path: Path) -> None:
    cell = put(tmp_path, "m", PERFECT)
    with pytest.raises(InputError, match="another key than the plan"):
        board_of(tmp_path, {**cell, "key": "other"})


def test_a_record_of_a_later_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has schema 99; expected at most 1; update trialmark"):
        board_of(tmp_path, put(tmp_path, "m", PERFECT, schema=99))


def test_a_folder_with_nothing_finished_says_so(tmp_path: Path) -> None:
    cell = put(tmp_path, "m", PERFECT, status="failed")
    with pytest.raises(InputError, match="has no finished cell"):
        board_of(tmp_path, cell)


def test_a_metric_that_fits_no_task_is_refused(tmp_path: Path) -> None:
    board_of(tmp_path, put(tmp_path, "m", PERFECT))
    with pytest.raises(InputError, match="metric 'lrap' fits none of the tasks"):
        leaderboard(Store(tmp_path), "lrap")
    with pytest.raises(InputError, match="did you mean 'brier'"):
        leaderboard(Store(tmp_path), "brierr")


def test_json_and_csv_hold_one_object_a_row(tmp_path: Path) -> None:
    cells = [put(tmp_path, "m", PERFECT), put(tmp_path, "ceiling", PERFECT, seconds={})]
    board = board_of(tmp_path, *cells)
    rows = json.loads(render(board, "json"))
    assert [row["rank"] for row in rows if row["metric"] == "roc_auc"] == [1, None]
    assert rows[0]["seeds"] == [1]
    lines = render(board, "csv").splitlines()
    assert len(lines) == 1 + len(rows)


def test_markdown_shows_names_as_they_are(tmp_path: Path) -> None:
    board = board_of(tmp_path, put(tmp_path, "a|b_*c*", PERFECT))
    text = render(board, "markdown")
    assert r"a\|b\_\*c\*" in text
    assert text.startswith("**t · s split · 30 train and 10 test rows, 50.0% completed")


def test_the_terminal_table_treats_names_as_text(tmp_path: Path) -> None:
    board = board_of(tmp_path, put(tmp_path, "[red]m[/red]", PERFECT))
    assert "[red]m[/red]" in render(board, "terminal")


def test_an_unknown_format_gets_its_nearest_neighbour(tmp_path: Path) -> None:
    board = board_of(tmp_path, put(tmp_path, "m", PERFECT))
    with pytest.raises(InputError, match="did you mean 'markdown'"):
        render(board, "markdwn")
