"""Checks of single columns: A05 to A07."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from audited import audited, findings, reason, registry, rows_of
from sklearn.metrics import roc_auc_score

from benchmark.audit.probes import folds_of, interval, probe_columns, roc_auc, within
from benchmark.dataset import Rows
from features.columns import Column

N = 400
STOPPED = np.arange(N) % 2  # every second trial of `registry`


def right(share: float) -> np.ndarray:
    """0 and 1 that agree with the label in this share of the rows of either class (of 50 rows)."""
    return np.where(np.arange(N) // 2 % 50 < 50 * share, STOPPED, 1 - STOPPED)


def test_number_that_tells_the_label_is_serious_in_use_and_a_note_if_withheld() -> None:
    rows = rows_of(registry(min_age=STOPPED * 10 + np.arange(N) % 7, enrollment=STOPPED))
    report = audited(rows)
    (used,) = findings(report, "A05", "min_age")
    assert used.severity == "serious"
    assert used.numbers["roc_auc"] == 1
    (withheld,) = findings(report, "A05", "enrollment")
    assert withheld.severity == "note"
    assert withheld.found.endswith("no model of this run sees it")


def test_date_and_category_that_tell_the_label_are_found() -> None:
    posted = pd.Series(pd.to_datetime(np.where(STOPPED, "2001-05-01", "2010-05-01")))
    rows = rows_of(registry(first_posted=posted, masking=np.where(STOPPED, "NONE", "DOUBLE")))
    found = {f.where: f.severity for f in findings(audited(rows), "A05") if f.severity != "note"}
    assert found == {"first_posted": "serious", "masking": "serious"}


def test_weaker_column_is_a_warning_and_noise_is_nothing() -> None:
    rows = rows_of(registry(masking=right(0.8).astype(str), sex=right(0.5).astype(str)))
    report = audited(rows)
    assert [f.severity for f in findings(report, "A05", "masking")] == ["warning"]
    assert findings(report, "A05", "sex") == []
    assert findings(report, "A05", "lead_sponsor") == []  # one row a sponsor: nothing out of fold


def test_one_column_probes_need_twenty_rows_of_two_classes() -> None:
    report = audited(rows_of(registry(30)))
    assert reason(report, "A05") == "no class has 20 rows in it and out of it"
    assert "20 rows" in reason(report, "A07") or "no column" in reason(report, "A07")


def test_status_that_the_label_is_made_from_is_found_as_its_source() -> None:
    (found,) = findings(audited(rows_of(registry())), "A06", "overall_status")
    assert found.severity == "note"
    assert found.numbers["deterministic"] is True
    rows = rows_of(registry(masking=np.where(STOPPED, "NONE", "DOUBLE")))
    (used,) = findings(audited(rows), "A06", "masking")
    assert used.severity == "serious"


def test_value_that_gives_a_class_away_is_found_with_its_rows() -> None:
    # 40 of 200 stopped trials and no completed one have three arms
    arms = np.where((np.arange(N) < 80) & (STOPPED == 1), 3.0, 2.0)
    frame = registry(number_of_arms=arms, overall_status=["COMPLETED", "TERMINATED"] * 200)
    (found,) = findings(audited(rows_of(frame)), "A06", "number_of_arms")
    assert found.severity == "serious"
    assert (
        "the value 3.0 in 40 rows, 100.0 % of them 'stopped' against 50.0 % of all" in found.found
    )
    assert found.evidence[0].id == "T0001"


def test_text_that_is_there_for_stopped_trials_alone_gives_them_away() -> None:
    why = pd.Series(np.where(STOPPED, "no funds", ""), dtype="str")
    (found,) = findings(audited(rows_of(registry(why_stopped=why))), "A06", "why_stopped")
    assert found.severity == "note"
    assert found.numbers["value_rows"] == 200


def test_several_labels_have_no_source_to_look_for() -> None:
    frame = pd.DataFrame(
        {"a": [0, 1] * 100, "b": [0, 0, 1, 1] * 50, "size": np.arange(200.0)},
        index=pd.Index([f"r{row}" for row in range(200)], dtype="str"),
    )
    rows = Rows(frame, (Column("size", "numeric"),), target=("a", "b"))
    report = audited(rows, task="table-target")
    assert "no single source" in reason(report, "A06")


def test_batch_that_tells_the_label_is_found_with_scores_within_batches() -> None:
    # masking follows the source, and inside a source it tells nothing
    source = np.where(right(0.76), "north", "south")
    rows = rows_of(registry(source=source, masking=np.where(source == "north", "NONE", "DOUBLE")))
    (found,) = findings(audited(rows), "A07")
    assert found.where == "source"
    assert found.severity == "serious"
    assert 0.7 < found.numbers["roc_auc"] < 0.8
    pooled, inside = found.numbers["within"]["masking"]
    assert pooled > 0.7
    assert inside == 0.5
    assert "by: source" in found.advice


def test_batches_of_one_class_each_have_no_score_within() -> None:
    report = audited(rows_of(registry(source=np.where(STOPPED, "north", "south"), masking="NONE")))
    (found,) = findings(report, "A07")
    assert found.numbers["within"] == {}
    json.dumps(report.to_json(), allow_nan=False)  # the results folder keeps it


def test_numbered_batches_may_be_missing() -> None:
    batch = pd.Series(np.where(right(0.76), 1.0, 2.0)).where(np.arange(N) >= 10)
    (found,) = findings(audited(rows_of(registry(Site=batch, masking=["NONE"] * N))), "A07")
    assert (found.where, found.numbers["batches"]) == ("Site", 3)
    assert found.numbers["within"]["masking"][1] == 0.5


def test_batch_column_of_too_many_values_is_probed_as_any_other() -> None:
    # 201 sites, all trials of a site ended alike: two trials a site
    site = [f"{STOPPED[row]} {row // 4}" for row in range(N)]
    site[0] = "alone"
    report = audited(rows_of(registry(site=site)))
    assert findings(report, "A07") == []
    (found,) = findings(report, "A05", "site")
    assert found.numbers["roc_auc"] > 0.7


def test_batches_of_equal_rates_are_fine_and_no_batch_column_does_not_apply() -> None:
    even = np.where(np.arange(N) % 4 < 2, "north", "south")
    report = audited(rows_of(registry(source=even)))
    assert findings(report, "A07") == []
    assert ("A07", "trial-outcome") in report.passed
    assert "says where a row came from" in reason(audited(rows_of(registry())), "A07")


def test_batch_column_that_models_see_is_serious_however_weak() -> None:
    batch = np.where(right(0.62), "a", "b")
    frame = registry(source=batch)
    rows = rows_of(frame)
    offered = replace(rows, columns=(*rows.columns, Column("source", "categorical")))
    assert [f.severity for f in findings(audited(rows), "A07")] == ["warning"]
    assert [f.severity for f in findings(audited(offered), "A07")] == ["serious"]


def test_ranks_give_scikit_learns_roc_auc() -> None:
    truth = np.array([0, 0, 1, 1, 0, 1, 1, 0])
    score = np.array([0.1, 0.4, 0.4, 0.8, 0.4, 0.3, 0.9, 0.2])
    assert roc_auc(truth, score) == pytest.approx(roc_auc_score(truth, score))


def test_score_within_batches_counts_pairs_of_one_batch_alone() -> None:
    truth = np.array([1, 0, 1, 0, 0])
    score = np.array([0.9, 0.1, 0.2, 0.8, 0.1])
    # a: 1 pair, right; b: 2 pairs, one of them right -> 2 of 3
    assert within(truth, score, ["a", "a", "b", "b", "b"]) == pytest.approx(2 / 3)
    assert np.isnan(within(truth, score, ["a", "b", "c", "d", "e"]))


def test_interval_is_that_of_hanley_and_mcneil() -> None:
    # their formula by hand at A = .8, 50 of 100: Q1 = .8/1.2 = .6667, Q2 = 1.28/1.8 = .7111,
    # (.16 + 49 * (.026667 + .071111)) / 2500 = .0019804 -> standard error .044502
    probe = interval(0.8, 50, 100, "x")
    assert probe.low == pytest.approx(0.8 - 2 * 0.044502, abs=1e-5)


def test_probe_of_unique_categories_is_at_chance() -> None:
    labels = np.column_stack([STOPPED, 1 - STOPPED])
    X = pd.DataFrame({"id": [f"x{row}" for row in range(N)]}, dtype="str")
    probes = probe_columns(
        X,
        [Column("id", "categorical")],
        labels=labels,
        folds=folds_of(labels),
        classes=["a", "b"],
    )
    assert probes["id"].auc == pytest.approx(0.5, abs=0.05)
