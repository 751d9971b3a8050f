"""`compare`, `stress` and `across` on a run of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import benchmark


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at two as-of levels on made-up records whose late columns tell the outcome."""
    config = {
        "name": "two-levels",
        "data": {"reader": "synthetic", "rows": 400},
        "splits": ["stratified"],
        "as_of": ["after", "registration"],
        "explain": False,
        "models": [
            "prior",
            {"name": "tfidf-logreg", "inputs": "text"},
            {"name": "lightgbm", "inputs": "tabular"},
        ],
    }
    out = tmp_path_factory.mktemp("runs") / "two-levels"
    assert (benchmark.run(config, out=out).status()["state"] == "done").all()
    return out


def test_columns_of_the_outcome_pay_a_leak_dividend(folder: Path) -> None:
    found = benchmark.read(folder).leak_dividend("roc_auc").set_index("model")
    assert set(found["as_of"]) == {"after"}
    assert found.loc["lightgbm", "leak_low"] > 0
    # the texts are the same at both levels
    assert found.loc["tfidf-logreg", ["leak_dividend", "leak_p"]].tolist() == [0, 1]
    assert "prior" not in found.index  # a floor gains nothing


def test_the_leak_dividend_stands_under_the_board(call: Any, folder: Path) -> None:
    code, printed, _ = call("leaderboard", folder)
    assert code == 0
    assert "leak dividend: ROC-AUC above the same model's as of registration" in printed
    rows = json.loads(call("leaderboard", folder, "--format", "json")[1])
    late = [r for r in rows if r["model"] == "lightgbm" and r["metric"] == "roc_auc"]
    assert {r["as_of"]: r["leak_dividend"] is None for r in late} == {
        "registration": True,
        "after": False,
    }
    new = {"rank_low", "rank_high", "mde", "sample_sd", "seed_sd", "scoring", "leak_p"}
    assert new <= set(rows[0])


def test_compare_without_b_takes_all_others(call: Any, folder: Path) -> None:
    code, printed, _ = call("compare", folder, "lightgbm")
    assert code == 0
    assert " ".join(printed.split()).count("each other model") == 2  # a table each level
    assert "tfidf-logreg/text" in printed
    assert "prior/none" in printed
    assert "Holm" in printed
    found = benchmark.read(folder).compare("lightgbm")
    assert (found["p_holm"] >= found["p"]).all()


def test_stress_prints_how_often_two_models_change_places(call: Any, folder: Path) -> None:
    code, printed, _ = call("stress", folder)
    assert code == 0
    assert "lightgbm/tabular" in printed
    rows = json.loads(call("stress", folder, "--rate", "0", "--format", "json")[1])
    assert {row["flips"] for row in rows if row["difference"]} == {0}
    words = ("--rate", "stopped=0.5", "--rate", "completed=0", "--format", "json")
    rows = json.loads(call("stress", folder, *words)[1])
    assert 0 < rows[0]["changed"] < 0.5
    by_verb = benchmark.read(folder).stress({"stopped": 0.5})
    assert by_verb["changed"].iloc[0] == rows[0]["changed"]


def test_stress_takes_other_labels_from_a_file(call: Any, folder: Path, tmp_path: Path) -> None:
    frame = benchmark.read(folder).predictions()
    test = frame[frame["part"] == "test"].drop_duplicates("id")
    other = test["y"].map({0: "completed", 1: "stopped"})  # every label turned around
    file = tmp_path / "labels.csv"
    test[["id"]].assign(review=other).to_csv(file, index=False)
    words = ("--labels", file, "--column", "review", "--format", "json")
    rows = json.loads(call("stress", folder, *words)[1])
    assert all(row["changed"] == 1 for row in rows)
    for row in rows:
        assert row["other_a"] == pytest.approx(1 - row["value_a"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--rate", "much"], "--rate much; expected a number such as 0.31, or CLASS=0.31"),
        (["--rate", "0.1", "--rate", "stopped=0.2"], "expected one number, or CLASS=R for each"),
        (["--rate", "0.1", "--labels", "x.csv"], "--rate and --labels; expected one of them"),
    ],
)
def test_a_rate_that_is_none_is_refused(
    call: Any, folder: Path, words: list[str], text: str
) -> None:
    code, _, err = call("stress", folder, *words)
    assert code == 2
    assert text in err


def test_across_says_why_one_task_is_not_tested(call: Any, folder: Path, tmp_path: Path) -> None:
    code, printed, _ = call("across", folder)
    assert code == 0
    assert "No test: 1 task, and a test over tasks needs 3 or more." in printed
    rows = json.loads(call("across", folder, "--format", "json")[1])
    assert [row["mean_rank"] for row in rows] == [1, 2, 3]
    assert rows[-1]["values"] == {"trial-outcome (two-levels)": 0.5}
    code, _, err = call("across", folder, "--diagram", tmp_path / "cd.png")
    assert code == 2
    assert "no critical difference diagram: 1 task" in err
