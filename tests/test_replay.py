from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark import receipts
from benchmark.bootstrap import weights
from benchmark.metrics import Scored
from benchmark.published import Claim, load_claim, printed
from benchmark.replay import floor, match, rescore
from benchmark.variants import Estimate, Kind, Variant, estimate, estimates, variant, variants
from features.errors import InputError
from models import MODELS
from models.base import Target

TARGET = Target("binary", ("failure", "success"))
TRUTH, SCORES = [1, 0, 1, 0], [0.9, 0.8, 0.6, 0.2]
"""At 0.5 three rows are positive: two hits, one false alarm, one true negative."""


def scored(truth: list[int], scores: list[float]) -> Scored:
    p = np.array(scores)
    return Scored.of(TARGET, np.array(truth), proba=np.stack([1 - p, p], axis=1))


def value(kind: Kind, key: str, rows: Scored, **more: Any) -> float:
    return estimate(variant(kind, key), rows, np.ones((1, rows.n)), **more).value


@pytest.mark.parametrize(
    ("kind", "key", "expected"),
    [
        ("pr_auc", "average_precision", (1 + 2 / 3) / 2),
        ("pr_auc", "average_precision[0/1]@0.5", 2 / 3),
        # recall 0 to 1/2 at precision 1, then from 1/2 up to 2/3
        ("pr_auc", "pr_trapezoid", 1 / 2 + (1 / 2 + 2 / 3) / 2 / 2),
        ("pr_auc", "pr_trapezoid[0/1]@0.5", (1 + 2 / 3) / 2),
        # the negatives, from the lowest score up: a hit, a miss, a hit
        ("pr_auc", "average_precision_negative", (1 + 2 / 3) / 2),
        ("pr_auc", "average_precision_negative[0/1]@0.5", (1 + 2 / 4) / 2),
        ("roc_auc", "roc_auc", 3 / 4),
        ("roc_auc", "roc_auc[0/1]@0.5", (1 + 1 / 2) / 2),
        ("f1", "f1_positive@0.5", 0.8),
        ("f1", "f1_negative@0.5", 2 / 3),
        ("f1", "f1_macro@0.5", (0.8 + 2 / 3) / 2),
        # mean precision (2/3 + 1) / 2 = 5/6, mean recall (1 + 1/2) / 2 = 3/4
        ("f1_macro", "f1_of_means@0.5", 2 * (5 / 6) * (3 / 4) / (5 / 6 + 3 / 4)),
        ("f1", "f1_micro@0.5", 3 / 4),
        ("precision_macro", "precision_weighted@0.5", (2 / 3 + 1) / 2),
        ("accuracy", "balanced_accuracy@0.5", 3 / 4),
    ],
)
def test_each_variant_by_hand(kind: Kind, key: str, expected: float) -> None:
    assert value(kind, key, scored(TRUTH, SCORES)) == pytest.approx(expected)


def test_thresholds_come_from_test_or_from_valid() -> None:
    # at 0.5 no row is positive; the best cut takes the three highest: 2 hits of 3
    rows = scored([1, 0, 1, 0], [0.4, 0.3, 0.2, 0.1])
    assert value("f1", "f1_positive@0.5", rows) == 0
    assert value("f1", "f1_positive@test", rows) == pytest.approx(0.8)
    # valid says: positive from 0.35 on, which takes the first row alone
    valid = (np.array([0, 1]), np.array([[0.7, 0.3], [0.6, 0.4]]))
    assert value("f1", "f1_positive@valid", rows, valid=valid) == pytest.approx(2 / 3)
    with pytest.raises(InputError, match="F1 at valid's best without valid rows"):
        value("f1", "f1_positive@valid", rows)


def test_the_grid_leaves_out_valid_where_there_are_no_valid_rows() -> None:
    rows = scored(TRUTH, SCORES)
    found = estimates("f1", rows, np.ones((1, 4)))
    assert {e.variant.rule for e in found} == {"0.5", "test"}
    assert len(variants("f1")) * 2 == len(found) * 3


def test_areas_of_weighted_draws_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import auc, precision_recall_curve

    rng = np.random.default_rng(3)
    y, p = rng.integers(0, 2, 60), rng.integers(0, 9, 60) / 8
    drawn = weights([str(i) for i in range(60)], seed_text="areas", draws=5)
    rows = scored(y.tolist(), p.tolist())
    for key, truth, score in (
        ("pr_trapezoid", y, p),
        ("pr_trapezoid_negative", 1 - y, 1 - p),
    ):
        found = estimate(variant("pr_auc", key), rows, drawn)
        for draw, counts in zip(found.draws, drawn, strict=True):
            precision, recall, _ = precision_recall_curve(truth, score, sample_weight=counts)
            assert draw == pytest.approx(auc(recall, precision))


def test_a_match_is_by_digits_by_the_mean_or_by_the_chance_of_a_mean_of_few_draws() -> None:
    # draws of .4 and .6: mean .5, standard deviation near .1; 1.96 * .1 / sqrt(25) = .0392
    draws = np.tile([0.4, 0.6], 500)
    found = Estimate(Variant("roc_auc"), 0.52, draws)
    assert match(printed("0.52"), found, None) == "digits"
    assert match(printed("0.524"), found, None) is None
    assert match(printed("0.50"), found, None) == "mean"
    assert match(printed("0.539"), found, 25) == "chance"
    assert match(printed("0.541"), found, 25) is None
    assert match(printed("0.539"), found, None) is None
    assert match(printed("> 0.51"), found, None) == "digits"
    assert match(printed("> 0.53"), found, None) is None


def test_the_floor_is_the_best_constant_by_the_plain_reading() -> None:
    rows = scored([1, 1, 1, 0], SCORES)
    name, reached = floor("f1", rows)
    assert (name, reached) == ("all positive", pytest.approx(6 / 7))
    rare = scored([1, 0, 0, 0], SCORES)
    assert floor("accuracy", rare) == ("all negative", 0.75)
    name, reached = floor("log_loss", rows)
    assert name == "class rate"
    assert reached == pytest.approx(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))


def claim_of(folder: Path, values: dict[str, str], **more: Any) -> Claim:
    """A claim of one row, or of one more that is unverified."""
    kinds = {"PR-AUC": "pr_auc", "F1": "f1", "AUC": "roc_auc"}
    row = {"model": "theirs", "source": "paper", "values": values, "reference": True}
    memory = {"model": "older", "source": "paper", "read": "memory", "verified": False}
    claim = {
        "title": "by hand",
        "task": "trial-outcome",
        "split": None,
        "needs": "a file with labels",
        "metrics": {name: {"kind": kind} for name, kind in kinds.items()},
        "sources": {"paper": {"title": "A paper", "read": "page", "verified": True}},
        "rows": [row, {**memory, "values": values}],
        **more,
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(claim, sort_keys=False))
    return load_claim(str(path))


def predictions(
    folder: Path, truth: list[int], scores: list[float], header: str = "id,label,prediction"
) -> Path:
    lines = [f"r{i},{y},{p}" for i, (y, p) in enumerate(zip(truth, scores, strict=True))]
    path = folder / "predictions.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_a_threshold_that_fits_the_whole_row_is_preferred(tmp_path: Path) -> None:
    # At 0.5 rows 0 and 1 are positive, one of them rightly: AP of 0/1 is 1/2 * 1/2 + 1/2 * 1/2.
    # Test's best for F1 takes the first three, 2 of 3 right: AP of 0/1 2/3, F1 .8.
    truth, scores = [1, 0, 1, 0], [0.9, 0.8, 0.4, 0.2]
    file = predictions(tmp_path, truth, scores)
    apart = rescore(claim_of(tmp_path, {"PR-AUC": "0.667", "F1": "0.80"}), file).verdicts
    assert [e.variant.key for e in apart[0].likely] == ["average_precision[0/1]@test"]
    assert [e.variant.key for e in apart[1].likely] == ["f1_positive@test"]
    at_half = rescore(claim_of(tmp_path, {"PR-AUC": "0.500", "F1": "0.50"}), file).verdicts
    assert {e.variant.rule for v in at_half for e in v.likely} == {"0.5"}


def test_several_matches_are_all_named_the_plain_one_first(tmp_path: Path) -> None:
    # perfect scores: nearly every variant gives 1, and nothing tells them apart
    file = predictions(tmp_path, [1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1])
    (verdict,) = rescore(claim_of(tmp_path, {"PR-AUC": "1.000"}), file).verdicts
    keys = [e.variant.key for e in verdict.likely]
    assert keys[0] == "average_precision"
    assert "average_precision[0/1]@0.5" in keys
    assert "pr_trapezoid" in keys


def test_the_nearest_variant_is_named_where_none_matches(tmp_path: Path, call: Any) -> None:
    file = predictions(tmp_path, TRUTH * 5, SCORES * 5)
    claim = claim_of(tmp_path, {"AUC": "0.93"})
    (verdict,) = rescore(claim, file).verdicts
    assert (verdict.matches, verdict.nearest.variant.key) == ({}, "roc_auc")
    out = call("replay", tmp_path / "mine.yaml", "--predictions", file)[1]
    assert "No variant reproduces it" in " ".join(out.split())


def test_valid_rows_in_the_file_bring_their_threshold(tmp_path: Path) -> None:
    rows = ["a,1,0.4,test", "b,0,0.3,test", "c,0,0.3,valid", "d,1,0.4,valid"]
    path = tmp_path / "parts.csv"
    path.write_text("\n".join(["id,y,score,part", *rows]) + "\n")
    (verdict,) = rescore(claim_of(tmp_path, {"F1": "1.00"}), path).verdicts
    assert "f1_positive@valid" in verdict.matches
    assert "f1_positive@0.5" not in verdict.matches


@pytest.mark.parametrize(
    ("header", "scores", "said"),
    [
        ("key,label,prediction", SCORES, "no column of ids among key, label, prediction"),
        ("id,label,prediction", [2.0, 1, 1, 1], "row 1: prediction is '2.0'; expected a proba"),
        ("id,label,prediction", [0.5, float("nan"), 1, 1], "row 2: prediction is 'nan'"),
        ("id,prediction,label", SCORES, "row 1: label is '0.9'; expected 0 or 1"),
    ],
)
def test_a_file_that_cannot_be_scored_says_why(
    tmp_path: Path, header: str, scores: list[float], said: str
) -> None:
    claim = claim_of(tmp_path, {"F1": "0.80"})
    with pytest.raises(InputError, match=said):
        rescore(claim, predictions(tmp_path, TRUTH, scores, header))


def test_an_id_that_stands_twice_and_a_single_class_are_refused(tmp_path: Path) -> None:
    claim = claim_of(tmp_path, {"F1": "0.80"})
    path = predictions(tmp_path, TRUTH, SCORES)
    path.write_text(path.read_text() + "r0,1,0.4\n")
    with pytest.raises(InputError, match="id 'r0' stands twice"):
        rescore(claim, path)
    with pytest.raises(InputError, match="all 4 test rows are of one class"):
        rescore(claim, predictions(tmp_path, [1, 1, 1, 1], SCORES))


def test_a_task_with_several_labels_is_not_scored_from_one_column(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several classes or labels"):
        rescore(load_claim("multitagger-v2"), predictions(tmp_path, TRUTH, SCORES))


def run_claim(folder: Path, small: dict[str, Any]) -> Path:
    """A claim with a config beside it, whose recipe our linear model repeats."""
    (folder / "own.yaml").write_text(yaml.safe_dump({**small, "splits": ["stratified"]}))
    claim_of(
        folder, {"AUC": "0.99", "F1": "0.10"}, split="stratified", config="own.yaml",
        differs=["Made-up rows."], sizes={"test": 1000},
    )  # fmt: skip
    path = folder / "mine.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["rows"][0]["repeated_by"] = "tfidf-logreg"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def test_a_run_puts_our_rows_beside_the_published_ones(
    call: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    path, out = run_claim(tmp_path, small), tmp_path / "results"
    code, printed_text, _ = call("replay", path, "--out", out, "--format", "json")
    assert code == 0
    found = json.loads(printed_text)
    board = json.loads(call("leaderboard", out, "--format", "json")[1])
    auc = {row["model"]: row for row in board if row["metric"] == "roc_auc"}
    rows = {row["model"]: row for row in found["beside"] if row["metric"] == "AUC"}
    assert set(rows) == {"ceiling", "prior", "tfidf-logreg"}
    for model, row in rows.items():
        # the same rows and the same draws as the board's
        for key in ("value", "low", "high"):
            assert row["ours"][key] == pytest.approx(auc[model][key], abs=1e-6)
        assert row["difference"] == pytest.approx(auc[model]["value"] - 0.99, abs=1e-6)
        assert not row["inside"]
    assert rows["prior"]["is_floor"]
    assert rows["tfidf-logreg"]["same_recipe"]
    assert "Made-up rows." in found["notes"]
    assert any(note.startswith("Other rows than published: 1,000 test") for note in found["notes"])


def test_a_run_goes_on_where_it_stopped_and_marks_the_unverified_everywhere(
    call: Any, small: dict[str, Any], tmp_path: Path
) -> None:
    path, out = run_claim(tmp_path, small), tmp_path / "results"
    call("replay", path, "--out", out)
    stamps = {file: file.stat().st_mtime_ns for file in out.rglob("predictions.parquet")}
    assert stamps
    for form in ("terminal", "markdown"):
        text = call("replay", path, "--out", out, "--format", form)[1]
        assert "older (unverified)" in text
        assert "theirs (unverified)" not in text
        assert "tfidf-logreg (same recipe)" in text
    rows = json.loads(call("replay", path, "--out", out, "--format", "json")[1])["published"]
    assert {(row["model"], row["verified"]) for row in rows} == {("theirs", True), ("older", False)}
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps


def test_a_claim_without_data_here_prints_its_table_and_what_is_missing(call: Any) -> None:
    code, out, _ = call("replay", "elkin-zhu-2021")
    said = " ".join(out.split())
    assert code == 1
    assert "> 0.67" in said
    assert "Not replayed: claim elkin-zhu-2021 has no run of its own" in said
    assert "68,999 trials of the registry" in said
    found = json.loads(call("replay", "elkin-zhu-2021", "--format", "json")[1])
    assert (found["beside"], found["rescored"]) == ([], [])
    assert "has no run of its own" in found["missing"]


def test_a_run_without_its_data_says_so_and_a_wrong_override_is_a_mistake(
    call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIALMARK_DATA", str(tmp_path / "nowhere"))
    code, out, _ = call("replay", "top-phase-2", "--out", tmp_path / "out")
    assert code == 1
    assert "phase_II_{train,valid,test}.csv" in "".join(out.split())
    code, _, err = call("replay", "top-phase-2", "--out", tmp_path / "out", "--set", "seeds=x")
    assert code == 2
    assert err.startswith("trialmark: ")


def test_a_model_that_fails_is_named_and_makes_exit_code_1(
    call: Any, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(MODELS, "faulty", "faulty:Faulty")
    (tmp_path / "trap").touch()
    small["models"] = ["prior", {"name": "faulty", "params": {"trap": str(tmp_path / "trap")}}]
    path = run_claim(tmp_path, small)
    code, out, _ = call("replay", path, "--out", tmp_path / "out", "--format", "json")
    assert code == 1
    found = json.loads(out)
    assert found["not_done"] == ["faulty"]
    assert {row["model"] for row in found["beside"]} == {"ceiling", "prior"}
    assert "Not done: faulty" in call("replay", path, "--out", tmp_path / "out")[1]


def test_an_installed_package_says_that_configs_are_in_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(receipts, "ROOT", tmp_path)
    with pytest.raises(InputError, match="an installed package does not hold"):
        load_claim("notebook").config_file()


def test_hints_pr_auc_is_average_precision_of_its_01_predictions(call: Any, shared: Path) -> None:
    file = shared / "top" / "hint_predictions_phase_I_test.csv"
    code, out, err = call("replay", "top-phase-1-hint", "--predictions", file, "--format", "json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["n_test"] == 627
    by_row = {(v["source"], v["metric"]): v for v in found["rescored"]}
    repository = by_row["HINT's repository", "PR-AUC"]
    assert repository["reproduced_by"] == ["average_precision[0/1]@0.5"]
    assert repository["ours"]["value"] == pytest.approx(0.6355, abs=5e-5)
    assert not repository["inside"]
    assert by_row["HINT's paper", "PR-AUC"]["nearest"] == "average_precision[0/1]@0.5"
    f1 = by_row["HINT's repository", "F1"]
    assert f1["floor"] == {"name": "all positive", "value": pytest.approx(0.7125, abs=5e-5)}
    assert f1["floor"]["value"] > f1["value"] == 0.6619
    assert f1["reproduced_by"][0] == "f1_positive@0.5"
    assert not any(v["match"] for v in by_row["HINT's paper", "ROC-AUC"]["variants"])


def test_missing_and_strange_rows_of_a_file_are_counted(shared: Path, tmp_path: Path) -> None:
    lines = (shared / "top" / "hint_predictions_phase_I_test.csv").read_text().splitlines()
    path = tmp_path / "some.csv"
    path.write_text("\n".join([*lines[:-7], "NCT99999999,0.5"]) + "\n")
    found = rescore(load_claim("top-phase-1-hint"), path)
    assert found.rows == 620
    assert "Without a prediction: 7 of 627 test rows." in found.notes
    assert "Left out: 1 predictions of other rows." in found.notes
    path.write_text("id,prediction\nx,0.5\ny,0.4\n")
    with pytest.raises(InputError, match=r"none of the 2 ids of some\.csv is a test row"):
        rescore(load_claim("top-phase-1-hint"), path)
