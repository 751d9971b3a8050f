from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored import store_binary, store_plan

from benchmark.leaderboard import gains, leaderboard
from benchmark.render import render
from benchmark.store import Store
from features.errors import InputError

# Ten test rows, five of each class; a model is the list of its scores for the positive class.
TRUTH = [1] * 5 + [0] * 5
PERFECT = [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2, 0.1, 0.05]
REVERSED = [1 - p for p in PERFECT]
CONSTANT = [0.5] * 10


def put(root: Path, model: str, scores: list[float], **more: Any) -> dict[str, Any]:
    """Store one finished cell by hand and return its entry of the plan."""
    return store_binary(root, model, scores, TRUTH, **more)


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
    missing = {**cells[-1], "seed": 2, "path": "t/registration/half/2", "key": "half-2"}
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
    with pytest.raises(InputError, match="t/registration/n/1: its test rows differ"):
        board_of(tmp_path, *cells)


def cell_of(*, data: str = "f", split: str = "h") -> dict[str, str]:
    return {"split_hash": split, "dataset_fingerprint": data}


def test_models_of_two_data_sets_or_splits_cannot_share_a_table(tmp_path: Path) -> None:
    cell = put(tmp_path, "m", PERFECT)
    other = put(tmp_path, "n", PERFECT, cell=cell_of(data="g"))
    with pytest.raises(InputError, match="n/1: data fingerprint g; expected f as t/registration/m"):
        board_of(tmp_path, cell, other)
    other = put(tmp_path, "o", PERFECT, cell=cell_of(split="i"))
    with pytest.raises(InputError, match="o/1: split hash i; expected h as t/registration/m/1 has"):
        board_of(tmp_path, cell, other)
    # another seed has another split
    second = put(tmp_path, "m", PERFECT, seed=2, cell=cell_of(split="i"))
    assert len(board_of(tmp_path, cell, second).rows) == 2


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("dataset_fingerprint", "g", "t s registration: data fingerprints f .m. and g .n."),
        ("split_hash", "i", "split hashes h .m. and i .n."),
        ("scoring", 99, "scoring versions 1 .m. and 99 .n.; expected one"),
    ],
)
@pytest.mark.parametrize("format", ["terminal", "markdown", "csv", "json"])
def test_boards_put_together_are_refused_where_their_tables_do_not_match(
    tmp_path: Path, column: str, value: Any, text: str, format: str
) -> None:
    board = board_of(tmp_path, put(tmp_path, "m", PERFECT))
    other = board.rows.assign(**{"model": "n", column: value})
    with pytest.raises(InputError, match=text):
        render(dataclasses.replace(board, rows=pd.concat([board.rows, other])), format)


def test_a_model_that_lacks_a_seed_has_another_split_hash_and_may_stand(tmp_path: Path) -> None:
    cells = [put(tmp_path, "m", PERFECT, seed=s, cell=cell_of(split=str(s))) for s in (1, 2)]
    cells.append(put(tmp_path, "n", PERFECT, seed=1, cell=cell_of(split="1")))
    board = board_of(tmp_path, *cells)
    assert board.rows["split_hash"].nunique() == 2
    assert "n (seeds 1 only)" in " ".join(render(board, "markdown").split())


# Scores of 0 and 1, one of five on the wrong side: a Brier score of .2, and .2 (1 - .2) / 10 its
# variance over test sets of ten rows.
SURE = [1.0] * 5 + [0.0] * 5
ERRING = [1.0] * 4 + [0.0] + [0.0] * 4 + [1.0]
ERROR = (0.2 * 0.8 / 10) ** 0.5


def test_the_detectable_difference_is_2_8_standard_errors_of_a_pair(tmp_path: Path) -> None:
    cells = [put(tmp_path, "good", SURE), put(tmp_path, "bad", ERRING)]
    rows = by_model(board_of(tmp_path, *cells, metrics=("brier",)), "brier")
    # 1.960 for the test at .05, .842 for a chance of 80 %
    assert rows["mde"].tolist() == pytest.approx([2.802 * ERROR] * 2, rel=0.1)
    assert rows["sample_sd"].to_dict() == pytest.approx({"good": 0, "bad": ERROR}, rel=0.1)
    assert rows["seed_sd"].isna().all()


def test_floors_do_not_widen_the_detectable_difference(tmp_path: Path) -> None:
    cells = [put(tmp_path, name, SURE) for name in ("one", "two")]
    cells.append(put(tmp_path, "floor", ERRING))
    board = board_of(tmp_path, *cells, metrics=("brier",))
    assert by_model(board, "brier")["mde"].tolist() == [0, 0, 0]
    assert "to be told apart" not in render(board, "markdown")


def test_the_note_says_what_the_rows_can_tell_apart(tmp_path: Path) -> None:
    cells = [put(tmp_path, "good", SURE), put(tmp_path, "bad", ERRING)]
    board = board_of(tmp_path, *cells, metrics=("brier",))
    mde = by_model(board, "brier")["mde"].iloc[0]
    text = render(board, "markdown")
    shown = f"{mde:.3f}".removeprefix("0")
    assert f"Two models must differ by {shown} in Brier to be told apart on these 10 test" in text


def test_rank_intervals_say_which_ranks_a_model_may_have(tmp_path: Path) -> None:
    nearly = [0.9, 0.8, 0.7, 0.6, 0.35, 0.4, 0.3, 0.2, 0.1, 0.05]
    cells = [put(tmp_path, "good", PERFECT), put(tmp_path, "nearly", nearly)]
    cells.append(put(tmp_path, "bad", REVERSED))
    rows = by_model(board_of(tmp_path, *cells))
    assert rows["rank_low"].to_dict() == {"good": 1, "nearly": 1, "bad": 3}
    assert rows["rank_high"].to_dict() == {"good": 2, "nearly": 2, "bad": 3}


def test_seeds_that_agree_have_no_spread_of_their_own(tmp_path: Path) -> None:
    cells = [put(tmp_path, "m", ERRING, seed=seed) for seed in (1, 2)]
    row = by_model(board_of(tmp_path, *cells, metrics=("brier",)), "brier").loc["m"]
    assert row["seed_sd"] == 0
    # the same rows twice are no more rows
    assert row["sample_sd"] == pytest.approx(ERROR, rel=0.1)


def test_seeds_that_differ_on_the_same_rows_have_one(tmp_path: Path) -> None:
    # Brier .04 and .36 on every row: no draw of rows changes that, so all of it is the seeds'
    scores = [[0.8] * 5 + [0.2] * 5, [0.4] * 5 + [0.6] * 5]
    cells = [put(tmp_path, "m", s, seed=seed) for seed, s in enumerate(scores)]
    row = by_model(board_of(tmp_path, *cells, metrics=("brier",)), "brier").loc["m"]
    assert row["seed_sd"] == pytest.approx(0.32 / 2**0.5)
    assert row["sample_sd"] == pytest.approx(0)


def test_the_leak_dividend_is_the_paired_gain_over_the_earliest_level(tmp_path: Path) -> None:
    levels = {"after": SURE, "registration": ERRING}  # later first
    cells = [put(tmp_path, "m", scores, as_of=level) for level, scores in levels.items()]
    board = board_of(tmp_path, *cells, metrics=("brier",))
    rows = by_model(board, "brier").set_index("as_of")
    assert rows["leak_dividend"].to_dict() == pytest.approx(
        {"registration": np.nan, "after": -0.2}, nan_ok=True
    )
    low, high = rows.loc["after", ["leak_low", "leak_high"]]
    assert low == pytest.approx(-0.2 - 1.96 * ERROR, abs=0.1)
    assert high <= 0
    # not paired, the interval would be that of SURE's .0 and of ERRING's .2 alone: the same rows
    assert (low, high) == pytest.approx(
        tuple(-rows.loc["registration", ["high", "low"]].to_numpy(float))
    )
    gained = gains(board, "leak")
    assert gained[["model", "as_of", "metric"]].to_numpy().tolist() == [["m", "after", "brier"]]
    text = render(board, "markdown")
    assert "t · s split · leak dividend: Brier ↓ above the same model's as of registration" in text
    assert "| after | m | text | .200 | .000 | -.200" in text.replace("-0.200", "-.200")
    assert json.loads(render(board, "json"))[0]["leak_p"] is None


def test_floors_alone_gain_nothing_and_are_printed(tmp_path: Path) -> None:
    cells = [put(tmp_path, "floor", SURE, as_of=level) for level in ("registration", "after")]
    board = board_of(tmp_path, *cells, metrics=("brier",))
    assert "leak dividend" not in render(board, "markdown")


def test_a_level_that_lacks_a_seed_has_no_leak_dividend(tmp_path: Path) -> None:
    cells = [put(tmp_path, "m", SURE, seed=seed) for seed in (1, 2)]
    cells.append(put(tmp_path, "m", SURE, as_of="after"))
    with pytest.raises(InputError, match="no model scored in both tables that the leak"):
        gains(board_of(tmp_path, *cells), "leak")


def test_redacted_texts_alone_have_their_leak_dividend(tmp_path: Path) -> None:
    levels = {"registration, redacted": ERRING, "after, redacted": SURE}
    cells = [put(tmp_path, "m", scores, as_of=level) for level, scores in levels.items()]
    found = gains(board_of(tmp_path, *cells, metrics=("brier",)), "leak").iloc[0]
    assert (found["as_of"], found["leak_dividend"]) == ("after, redacted", pytest.approx(-0.2))


def test_a_redacted_table_is_held_against_the_texts_as_they_are(tmp_path: Path) -> None:
    level = "registration, redacted"
    cells = [put(tmp_path, "m", SURE), put(tmp_path, "n", SURE)]
    # redacted texts have a fingerprint of their own
    cells.append(put(tmp_path, "m", ERRING, as_of=level, cell=cell_of(data="r")))
    board = board_of(tmp_path, *cells, metrics=("brier",))
    found = gains(board, "redaction").iloc[0]
    assert (found["as_of"], found["model"]) == (level, "m")
    assert found["redaction_change"] == pytest.approx(0.2)
    assert found["redaction_low"] >= 0
    assert board.rows["leak_dividend"].isna().all()
    text = render(board, "terminal")
    assert "Brier ↓ on redacted texts above the same model's on the texts as they are" in text
    expected = r"no model .* the leak compares; .* set as_of: \[registration"
    with pytest.raises(InputError, match=expected):
        gains(board, "leak")


def test_a_record_that_is_not_the_planned_one_is_refused(tmp_path: Path) -> None:
    cell = put(tmp_path, "m", PERFECT)
    with pytest.raises(InputError, match="another key than the plan"):
        board_of(tmp_path, {**cell, "key": "other"})


def test_a_record_of_a_later_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has schema 99; expected at most 2; update trialmark"):
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
