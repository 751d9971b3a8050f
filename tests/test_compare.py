from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from stored import store_binary, store_plan

from benchmark.compare import compare
from benchmark.render import difference_tables, write
from benchmark.significance import area, delong_p
from features.errors import InputError

# Ten test rows, five of each class.
TRUTH = [1] * 5 + [0] * 5
PERFECT = [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2, 0.1, 0.05]
REVERSED = [1 - p for p in PERFECT]
# the two in the middle change places: one pair of 25 in the wrong order, both decisions wrong
NEARLY = [0.9, 0.8, 0.7, 0.6, 0.45, 0.51, 0.3, 0.2, 0.1, 0.05]


def put(root: Path, model: str, scores: list[float], **more: Any) -> dict[str, Any]:
    return store_binary(root, model, scores, TRUTH, **more)


def compared(root: Path, cells: list[dict[str, Any]], *models: str, metric: str = "roc_auc") -> Any:
    return compare(store_plan(root, *cells, metrics=[metric]), *models)


def test_two_models_are_compared_by_every_test(tmp_path: Path) -> None:
    cells = [put(tmp_path, "good", PERFECT), put(tmp_path, "nearly", NEARLY)]
    row = compared(tmp_path, cells, "good", "nearly").iloc[0]
    assert (row["a"], row["b"]) == ("good/text", "nearly/text")
    assert row["difference"] == pytest.approx(0.04)
    assert row["low"] <= 0.04 <= row["high"]
    # one row of the completed has placement .8, one of the stopped too; the others have 1
    variance = 2 * np.var([1, 1, 1, 1, 0.8], ddof=1) / 5
    assert row["p_delong"] == pytest.approx(2 * stats.norm.sf(0.04 / math.sqrt(variance)))
    # two rows that only the first has right: twice (1 / 4) / 2
    assert row["p_mcnemar"] == pytest.approx(0.25)
    # one comparison needs no adjustment
    assert row["p_holm"] == row["p"]
    # 2.8 standard errors, within what ten rows leave of DeLong's large-sample error
    assert row["mde"] == pytest.approx(2.8 * math.sqrt(variance), rel=0.2)


def test_a_threshold_chosen_on_valid_decides_for_its_metrics(tmp_path: Path) -> None:
    low = [p / 2 for p in PERFECT]  # every decision at .5 is "stopped", at valid's all are right
    cells = [put(tmp_path, "good", PERFECT), put(tmp_path, "low", low)]
    at_half = compared(tmp_path, cells, "good", "low", metric="f1_macro").iloc[0]
    assert at_half["p_mcnemar"] == pytest.approx(1 / 32)
    tuned = compared(tmp_path, cells, "good", "low", metric="f1_macro@valid").iloc[0]
    assert (tuned["difference"], tuned["p_mcnemar"]) == (0, 1)
    assert math.isnan(tuned["p_delong"])


def test_a_row_that_two_seeds_test_counts_once(tmp_path: Path) -> None:
    cells = [
        put(tmp_path, name, scores, seed=seed)
        for name, scores in (("good", PERFECT), ("nearly", NEARLY), ("bad", REVERSED))
        for seed in (1, 2)
    ]
    nearly = compared(tmp_path, cells, "good", "nearly").iloc[0]
    alone = compared(tmp_path, [c for c in cells if c["seed"] == 1], "good", "nearly").iloc[0]
    assert nearly["p_delong"] == pytest.approx(alone["p_delong"])
    assert nearly["mde"] == pytest.approx(alone["mde"])
    # ten rows, each twice wrong: (10 * 2)^2 / (10 * 4)
    bad = compared(tmp_path, cells, "good", "bad").iloc[0]
    assert bad["p_mcnemar"] == pytest.approx(stats.chi2.sf(10, 1))


def test_seeds_on_other_rows_are_more_rows(tmp_path: Path) -> None:
    cells = [
        put(tmp_path, name, scores, seed=seed, ids=ids, cell=cell)
        for name, scores in (("good", PERFECT), ("nearly", NEARLY))
        for seed, ids in ((1, "abcdefghij"), (2, "klmnopqrst"))
        for cell in ({"split_hash": str(seed), "dataset_fingerprint": "f"},)
    ]
    row = compared(tmp_path, cells, "good", "nearly").iloc[0]
    assert row["p_mcnemar"] == pytest.approx(2 / 2**4 / 2)  # four rows, none the other way
    y, unit = np.array(TRUTH), np.arange(10)
    one = [area(y, np.array(s), unit, units=10) for s in (PERFECT, NEARLY)]
    z = stats.norm.isf(delong_p(*one) / 2)
    assert row["p_delong"] == pytest.approx(2 * stats.norm.sf(z * math.sqrt(2)))


def test_one_model_against_all_others_is_adjusted_by_holm(tmp_path: Path) -> None:
    cells = [put(tmp_path, "good", PERFECT), put(tmp_path, "nearly", NEARLY)]
    cells += [put(tmp_path, "bad", REVERSED), put(tmp_path, "ceiling", PERFECT)]
    # every draw has a Brier score, not every one a ROC-AUC
    found = compared(tmp_path, cells, "good", metric="brier").set_index("b")
    assert list(found.index) == ["nearly/text", "bad/text"]  # the ceiling is no rival
    assert found.loc["bad/text", "p"] == pytest.approx(2 / 1001)
    assert found.loc["bad/text", "p_holm"] == pytest.approx(2 * 2 / 1001)
    assert found.loc["nearly/text", "p_holm"] == found.loc["nearly/text", "p"]


def test_more_models_take_more_draws_so_that_p_can_stay_small(tmp_path: Path) -> None:
    cells = [put(tmp_path, "good", PERFECT)]
    cells += [put(tmp_path, f"bad{i}", REVERSED) for i in range(20)]
    found = compared(tmp_path, cells, "good", metric="brier")
    # 100 draws a comparison
    assert found["p"].to_numpy() == pytest.approx(2 / 2001)
    assert found["p_holm"].to_numpy() == pytest.approx(20 * 2 / 2001)


def test_only_seeds_that_both_have_are_compared(tmp_path: Path) -> None:
    cells = [put(tmp_path, "good", PERFECT, seed=seed) for seed in (1, 2)]
    cells += [put(tmp_path, "bad", REVERSED, seed=1), put(tmp_path, "worse", REVERSED, seed=2)]
    found = compared(tmp_path, cells, "good").set_index("b")
    assert found["seeds"].to_dict() == {"bad/text": [1], "worse/text": [2]}
    with pytest.raises(InputError, match="no table holds a metric of both bad and worse"):
        compared(tmp_path, cells, "bad", "worse")
    alone = put(tmp_path / "alone", "good", PERFECT)
    with pytest.raises(InputError, match="of both good and another model; expected a common seed"):
        compared(tmp_path / "alone", [alone], "good")


def test_a_pair_is_one_table_and_all_others_a_table_each(tmp_path: Path) -> None:
    cells = [
        put(tmp_path, name, scores, task=task)
        for task in ("t", "u")
        for name, scores in (("good", PERFECT), ("nearly", NEARLY), ("bad", REVERSED))
    ]
    pair = difference_tables(compared(tmp_path, cells, "good", "bad"))
    assert [sheet.title for sheet in pair] == ["ROC-AUC: good/text - bad/text"]
    assert [row[:6] for row in pair[0].rows] == [
        (task, "s", "registration", "1.000", ".000", "+1.000 [+1.000, +1.000]")
        for task in ("t", "u")
    ]
    assert pair[0].rows[0][6:] == (".002", "<.001", "<.001", "10")
    sheets = difference_tables(compared(tmp_path, cells, "bad"))
    assert sheets[1].title == (
        "u · s split · as of registration · 10 test rows · ROC-AUC: bad/text (.000) - each other "
        "model"
    )
    # the best first
    assert [row[:2] for row in sheets[0].rows] == [("good/text", "1.000"), ("nearly/text", ".960")]
    assert "Holm: the first p, adjusted for the number of models" in write(sheets, "markdown")
