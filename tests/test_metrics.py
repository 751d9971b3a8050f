from __future__ import annotations

import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.metrics import (
    DEFAULTS,
    METRICS,
    Scored,
    choose_thresholds,
    decide,
    label_metrics,
    label_of,
    metric_names,
    metric_of,
    score,
    scores,
)
from features.errors import InputError
from models.base import Target

BINARY = Target("binary", ("stopped", "completed"))
STATUS = Target("multiclass", ("completed", "terminated", "withdrawn"))
LABELS = Target("multilabel", ("RCT", "Cohort"))


def binary(y, p, **options):
    p = np.asarray(p, float)
    return Scored.of(BINARY, np.asarray(y), proba=np.stack([1 - p, p], axis=1), **options)


def multilabel(y, p, **options):
    target = Target("multilabel", tuple("abcdefgh"[: len(y[0])]))
    return Scored.of(target, np.asarray(y), proba=np.asarray(p, float), **options)


def value(name, scored, weights=None):
    found = score(name, scored, weights=None if weights is None else np.asarray([weights]))
    assert found.shape == (1,)
    return found[0]


# --- by hand: ranking ---


def test_roc_auc_is_the_share_of_pairs_in_the_right_order():
    # Pairs (positive, negative): .35>.1, .35<.4, .8>.1, .8>.4: 3 of 4.
    assert value("roc_auc", binary([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])) == 0.75


def test_roc_auc_counts_a_tied_pair_half():
    assert value("roc_auc", binary([0, 1, 0, 1], [0.5, 0.5, 0.2, 0.9])) == 3.5 / 4
    assert value("roc_auc", binary([0, 1, 1], [0.3, 0.3, 0.3])) == 0.5


def test_average_precision_sums_precision_over_the_positives_found():
    # From the top: hit (1/1), miss, hit (2/3), miss.
    found = value("average_precision", binary([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    assert found == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_takes_tied_scores_in_one_step():
    # .9: one hit of one; the tie of three rows holds the other hit: 2 of 4.
    found = value("average_precision", binary([1, 1, 0, 0], [0.9, 0.4, 0.4, 0.4]))
    assert found == pytest.approx((1 + 2 / 4) / 2)


def test_average_precision_of_a_constant_score_is_the_prevalence():
    scored = binary([0, 0, 0, 1], [0.5] * 4)
    assert value("average_precision", scored) == 0.25
    assert value("average_precision_negative", scored) == 0.75


def test_average_precision_negative_ranks_the_stopped_class_by_low_scores():
    # Lowest first: stopped (1/1), completed, completed, stopped (2/4).
    scored = binary([0, 1, 1, 0], [0.1, 0.2, 0.3, 0.4])
    assert value("average_precision_negative", scored) == pytest.approx((1 + 2 / 4) / 2)


# --- by hand: decisions ---


# One false alarm: decisions 1 0 0 0 1 1.
ONE_FALSE_ALARM = binary([0, 0, 0, 0, 1, 1], [0.9, 0.2, 0.1, 0.3, 0.8, 0.6])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("f1_positive", 4 / 5),
        ("f1_macro", (4 / 5 + 6 / 7) / 2),
        ("f1_micro", 5 / 6),
        ("f1_weighted", (2 * 4 / 5 + 4 * 6 / 7) / 6),
        ("precision_macro", (2 / 3 + 1) / 2),
        ("precision_micro", 5 / 6),
        ("recall_micro", 5 / 6),
        ("recall_macro", (1 + 3 / 4) / 2),
        ("balanced_accuracy", (1 + 3 / 4) / 2),
        ("mcc", (2 * 3 - 1 * 0) / (3 * 2 * 4 * 3) ** 0.5),
    ],
)
def test_thresholded_metrics_of_six_rows_with_one_false_alarm(name, expected):
    assert value(name, ONE_FALSE_ALARM) == pytest.approx(expected)


def test_f1_macro_is_not_the_f1_of_mean_precision_and_mean_recall():
    precision, recall = (2 / 3 + 1) / 2, (1 + 3 / 4) / 2
    other = 2 * precision * recall / (precision + recall)
    assert abs(value("f1_macro", ONE_FALSE_ALARM) - other) > 0.02


def test_a_score_of_one_half_is_decided_positive():
    assert binary([0, 1], [0.5, 0.49]).decisions.tolist() == [1, 0]


def test_multiclass_decides_for_the_largest_and_scores_from_three_classes():
    proba = [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.5, 0.4], [0.5, 0.2, 0.3]]
    scored = Scored.of(STATUS, np.array([0, 1, 2, 0]), proba=np.array(proba))
    assert scored.decisions.tolist() == [0, 1, 1, 0]
    assert value("f1_micro", scored) == 3 / 4
    assert value("f1_macro", scored) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert value("f1[terminated]", scored) == pytest.approx(2 / 3)
    assert value("recall[withdrawn]", scored) == 0
    # R_K: (3*4 - (2*2 + 2*1 + 0*1)) / sqrt((16 - 8) (16 - 6)).
    assert value("mcc", scored) == pytest.approx(6 / 80**0.5)


def test_multiclass_negative_precision_scores_all_stopped_rows_by_one_minus_completed():
    proba = np.array([[0.9, 0.1, 0], [0.4, 0.6, 0], [0.5, 0, 0.5], [0.45, 0.55, 0]])
    scored = Scored.of(STATUS, np.array([0, 0, 2, 1]), proba=proba)
    # By rising p(completed): .4 completed, .45 stopped (1/2), .5 stopped (2/3), .9 completed.
    expected = (1 / 2 + 2 / 3) / 2
    assert value("average_precision_negative", scored) == pytest.approx(expected)
    phases = Target("multiclass", ("I", "II", "III"))
    assert "average_precision_negative" in metric_names(STATUS, tuned=False)
    assert "average_precision_negative" not in metric_names(phases, tuned=False)


def test_multilabel_scores_by_hand():
    scored = multilabel([[1, 0], [1, 1], [0, 0]], [[0.9, 0.6], [0.4, 0.7], [0.1, 0.2]])
    # Decisions: 1 1 / 0 1 / 0 0.
    assert value("subset_accuracy", scored) == pytest.approx(1 / 3)
    assert value("f1[a]", scored) == pytest.approx(2 / 3)
    assert value("f1[b]", scored) == pytest.approx(2 / 3)
    assert value("precision[b]", scored) == 0.5
    assert value("recall[a]", scored) == 0.5
    assert value("f1_micro", scored) == pytest.approx(2 * 2 / (3 + 3))
    assert value("precision_micro", scored) == 2 / 3
    assert value("recall_micro", scored) == 2 / 3
    assert value("roc_auc[b]", scored) == 1.0
    assert value("brier", scored) == pytest.approx((0.01 + 0.36 + 0.36 + 0.09 + 0.01 + 0.04) / 6)


def test_lrap_of_two_rows():
    # Rank 2 for the only true label of the first row, 3 for that of the second.
    scored = multilabel([[1, 0, 0], [0, 0, 1]], [[0.75, 0.5, 1], [1, 0.2, 0.1]])
    assert value("lrap", scored) == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_lrap_of_a_row_with_no_label_or_all_is_one():
    assert value("lrap", multilabel([[0, 0], [1, 1]], [[0.1, 0.9], [0.2, 0.2]])) == 1


# --- by hand: probabilities ---


def test_brier_of_two_classes_is_half_the_sum_over_both():
    scored = binary([1, 0], [0.9, 0.4])
    assert value("brier", scored) == pytest.approx((0.01 + 0.16) / 2)
    twice = Scored.of(Target("multiclass", ("a", "b")), scored.y, proba=scored.proba)
    assert value("brier", twice) == pytest.approx(0.01 + 0.16)


def test_log_loss_is_in_nats_and_finite_for_a_certain_mistake():
    assert value("log_loss", binary([1, 0], [0.5, 0.5])) == pytest.approx(np.log(2))
    assert value("log_loss", binary([1], [0.0])) == pytest.approx(52 * np.log(2))
    assert value("log_loss", multilabel([[1, 0]], [[0.25, 0.5]])) == pytest.approx(1.5 * np.log(2))


def test_ece_weighs_each_bins_gap_by_its_rows():
    # Bin of .1: says .1, is .5; bin of .9: says .9, is 1.
    scored = binary([0, 1, 1, 1], [0.1, 0.1, 0.9, 0.9])
    assert value("ece", scored) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)


def test_ece_bins_are_closed_on_the_right():
    # .15 and .2 = 3/15 share the third bin, .21 opens the fourth.
    assert value("ece", binary([0, 1], [0.15, 0.2])) == pytest.approx(abs(0.35 - 1) / 2)
    assert value("ece", binary([0, 1], [0.15, 0.21])) == pytest.approx((0.15 + 0.79) / 2)
    assert value("ece", binary([0, 1], [0.0, 1.0])) == 0


def test_ece_of_several_classes_looks_at_the_largest_probability():
    proba = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    scored = Scored.of(STATUS, np.array([0, 2]), proba=proba)
    assert value("ece", scored) == pytest.approx(0.8 - 0.5)


def test_ece_of_labels_is_the_mean_over_them():
    assert value("ece", multilabel([[1, 0]], [[0.6, 0.1]])) == pytest.approx((0.4 + 0.1) / 2)


# --- undefined values ---


def test_a_draw_of_one_class_is_undefined_and_others_are_not():
    scored = binary([0, 1, 1], [0.2, 0.7, 0.4])
    draws = np.array([[1, 1, 1], [0, 2, 1], [3, 0, 0], [1, 2, 0]], np.uint16)
    for name in ("roc_auc", "average_precision", "average_precision_negative"):
        assert np.isnan(score(name, scored, weights=draws)).tolist() == [False, True, True, False]
    for name in ("mcc", "balanced_accuracy"):
        assert np.isnan(score(name, scored, weights=draws)).tolist() == [False, True, True, False]
    assert score("f1_micro", scored, weights=draws) == pytest.approx([2 / 3, 2 / 3, 1, 1])
    assert score("f1_positive", scored, weights=draws)[2] == 0


def test_constant_decisions_have_correlation_zero_not_undefined():
    assert value("mcc", binary([0, 1, 1], [0.9, 0.9, 0.9])) == 0
    assert value("balanced_accuracy", binary([0, 1, 1], [0.9, 0.9, 0.9])) == 0.5


def test_macro_leaves_out_labels_of_one_class_only():
    scored = multilabel([[1, 0], [0, 0]], [[0.9, 0.3], [0.2, 0.4]])
    assert value("roc_auc", scored) == 1
    assert np.isnan(value("roc_auc[b]", scored))
    assert np.isnan(value("roc_auc", scored, [1, 0]))


def test_a_class_without_rows_is_left_out_of_balanced_accuracy():
    proba = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    scored = Scored.of(STATUS, np.array([0, 1, 1]), proba=proba)
    assert value("balanced_accuracy", scored) == pytest.approx((1 + 1 / 2) / 2)
    assert value("recall_macro", scored) == pytest.approx((1 + 1 / 2 + 0) / 3)


# --- against scikit-learn, with ties and weights ---

GRID = st.integers(0, 10).map(lambda tenth: tenth / 10)


@st.composite
def weighted_binary(draw):
    n = draw(st.integers(4, 30))
    rows = st.lists(st.tuples(st.integers(0, 1), GRID, st.integers(0, 3)), min_size=n, max_size=n)
    y, p, w = (np.array(part) for part in zip(*draw(rows), strict=True))
    y[:2], w[:2] = (0, 1), (1, 2)
    return y, p, w


@settings(deadline=None, max_examples=150)
@given(weighted_binary())
def test_binary_metrics_agree_with_scikit_learn(rows):
    from sklearn import metrics as sk

    y, p, w = rows
    d = (p >= 0.5).astype(int)
    both = {"labels": [0, 1], "zero_division": 0, "sample_weight": w}
    expected = {
        "roc_auc": sk.roc_auc_score(y, p, sample_weight=w),
        "average_precision": sk.average_precision_score(y, p, sample_weight=w),
        "average_precision_negative": sk.average_precision_score(1 - y, -p, sample_weight=w),
        "f1_macro": sk.f1_score(y, d, average="macro", **both),
        "f1_micro": sk.accuracy_score(y, d, sample_weight=w),
        "f1_weighted": sk.f1_score(y, d, average="weighted", **both),
        "f1_positive": sk.f1_score(y, d, sample_weight=w, zero_division=0),
        "precision_macro": sk.precision_score(y, d, average="macro", **both),
        "recall_macro": sk.recall_score(y, d, average="macro", **both),
        "balanced_accuracy": sk.balanced_accuracy_score(y, d, sample_weight=w),
        "mcc": sk.matthews_corrcoef(y, d, sample_weight=w),
        "brier": sk.brier_score_loss(y, p, sample_weight=w),
        "log_loss": sk.log_loss(y, np.stack([1 - p, p], axis=1), sample_weight=w),
    }
    found = scores(expected, binary(y, p), weights=w[None, :])
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_multiclass_metrics_agree_with_scikit_learn(seed):
    from sklearn import metrics as sk

    rng = np.random.default_rng(seed)
    y, w = np.append([0, 1, 2], rng.integers(0, 3, 20)), rng.integers(1, 4, 23)
    proba = rng.integers(1, 6, (23, 3)).astype(float)
    proba /= proba.sum(axis=1, keepdims=True)
    d = proba.argmax(axis=1)
    both = {"labels": [0, 1, 2], "zero_division": 0, "sample_weight": w}
    ovr = [sk.average_precision_score(y == i, proba[:, i], sample_weight=w) for i in range(3)]
    expected = {
        "roc_auc": sk.roc_auc_score(y, proba, multi_class="ovr", sample_weight=w),
        "average_precision": np.mean(ovr),
        "average_precision[withdrawn]": ovr[2],
        "f1_macro": sk.f1_score(y, d, average="macro", **both),
        "f1_weighted": sk.f1_score(y, d, average="weighted", **both),
        "precision_macro": sk.precision_score(y, d, average="macro", **both),
        "recall_macro": sk.recall_score(y, d, average="macro", **both),
        "balanced_accuracy": sk.balanced_accuracy_score(y, d, sample_weight=w),
        "mcc": sk.matthews_corrcoef(y, d, sample_weight=w),
        "brier": sk.brier_score_loss(y, proba, sample_weight=w),
        "log_loss": sk.log_loss(y, proba, sample_weight=w),
    }
    found = scores(expected, Scored.of(STATUS, y, proba=proba), weights=w[None, :])
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_multilabel_metrics_agree_with_scikit_learn(seed):
    from sklearn import metrics as sk

    rng = np.random.default_rng(seed)
    y = np.concatenate([[[0, 1, 0], [1, 0, 1]], rng.integers(0, 2, (15, 3))])
    p, w = rng.integers(0, 11, (17, 3)) / 10, rng.integers(1, 4, 17)
    d = (p >= 0.5).astype(int)
    known = {"sample_weight": w, "zero_division": 0}
    expected = {
        "roc_auc": sk.roc_auc_score(y, p, average="macro", sample_weight=w),
        "average_precision": sk.average_precision_score(y, p, average="macro", sample_weight=w),
        "f1_macro": sk.f1_score(y, d, average="macro", **known),
        "f1_micro": sk.f1_score(y, d, average="micro", **known),
        "f1_weighted": sk.f1_score(y, d, average="weighted", **known),
        "f1[b]": sk.f1_score(y[:, 1], d[:, 1], **known),
        "precision[c]": sk.precision_score(y[:, 2], d[:, 2], **known),
        "precision_macro": sk.precision_score(y, d, average="macro", **known),
        "precision_micro": sk.precision_score(y, d, average="micro", **known),
        "recall_macro": sk.recall_score(y, d, average="macro", **known),
        "recall_micro": sk.recall_score(y, d, average="micro", **known),
        "subset_accuracy": sk.accuracy_score(y, d, sample_weight=w),
        "lrap": sk.label_ranking_average_precision_score(y, p, sample_weight=w),
        "log_loss": np.mean([sk.log_loss(y[:, i], p[:, i], sample_weight=w) for i in range(3)]),
    }
    found = scores(expected, multilabel(y, p), weights=w[None, :])
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected, abs=1e-9)


# --- weights ---


@settings(deadline=None, max_examples=50)
@given(weighted_binary())
def test_replicated_rows_equal_weights(rows):
    y, p, w = rows
    names = metric_names(BINARY, tuned=False)
    weighted = scores(names, binary(y, p), weights=w[None, :])
    replicated = scores(names, binary(np.repeat(y, w), np.repeat(p, w)))
    for name in names:
        assert weighted[name][0] == pytest.approx(replicated[name][0], abs=1e-12), name


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_replicated_rows_equal_weights_for_several_classes(kind):
    rng = np.random.default_rng(3)
    proba, w = rng.dirichlet([1, 1, 1], 40), rng.integers(1, 4, 40)
    y = rng.integers(0, 3, 40) if kind == "multiclass" else rng.integers(0, 2, (40, 3))
    target = Target(kind, STATUS.classes)
    names = metric_names(target, tuned=False)
    weighted = scores(names, Scored.of(target, y, proba=proba), weights=w[None, :])
    copies = Scored.of(target, np.repeat(y, w, axis=0), proba=np.repeat(proba, w, axis=0))
    replicated = scores(names, copies)
    for name in names:
        assert weighted[name] == pytest.approx(replicated[name], abs=1e-12), name


def test_a_common_factor_of_the_weights_changes_nothing():
    rng = np.random.default_rng(5)
    scored = binary(rng.integers(0, 2, 50), rng.random(50).round(1))
    w = rng.integers(0, 3, (4, 50))
    w[-1] *= scored.y
    names = metric_names(BINARY, tuned=False)
    once, scaled = scores(names, scored, weights=w), scores(names, scored, weights=w * 0.3)
    for name in names:
        assert scaled[name] == pytest.approx(once[name], abs=1e-9, nan_ok=True), name
    assert np.isnan(scaled["average_precision"]).tolist() == [False, False, False, True]


def test_many_draws_equal_one_call_a_draw(monkeypatch):
    rng = np.random.default_rng(1)
    scored = binary(rng.integers(0, 2, 30), rng.random(30).round(1))
    draws = rng.integers(0, 3, (7, 30)).astype(np.uint16)
    # Blocks of two draws, so that the last one is short.
    monkeypatch.setattr("benchmark.metrics._BLOCK", 60)
    for name in metric_names(BINARY, tuned=False):
        one_by_one = [score(name, scored, weights=draw[None, :])[0] for draw in draws]
        assert score(name, scored, weights=draws) == pytest.approx(one_by_one), name


def test_a_thousand_draws_of_all_binary_metrics_take_less_than_a_second():
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 2400), rng.random(2400)
    draws = rng.poisson(1, (1000, 2400)).astype(np.uint16)
    scored = binary(y, p)
    start = time.perf_counter()
    scores(metric_names(BINARY, tuned=False), scored, weights=draws)
    assert time.perf_counter() - start < 1


# --- thresholds ---


def two_columns(p):
    return np.stack([1 - np.asarray(p), np.asarray(p)], axis=1)


def test_the_binary_threshold_is_the_midpoint_that_parts_the_classes():
    found = choose_thresholds(np.array([0, 0, 1, 1]), two_columns([0.1, 0.2, 0.3, 0.4]), "binary")
    assert found == pytest.approx([0.25])


def test_of_equally_good_thresholds_the_nearest_to_one_half_is_taken():
    # Cuts at .2 and at .6 both give F1s of 4/5 and 2/3, the cut between gives 1/2.
    y = np.array([0, 1, 0, 1])
    assert choose_thresholds(y, two_columns([0.1, 0.3, 0.5, 0.7]), "binary") == pytest.approx([0.6])
    # .3 and .7 are as near: the lower.
    assert choose_thresholds(y, two_columns([0.2, 0.4, 0.6, 0.8]), "binary") == pytest.approx([0.3])


def test_one_half_stays_where_valid_says_nothing():
    assert choose_thresholds(np.array([1, 1]), two_columns([0.1, 0.2]), "binary") == [0.5]
    labels = choose_thresholds(np.zeros((3, 2), int), np.full((3, 2), [[0.1, 0.2]]), "multilabel")
    assert labels.tolist() == [0.5, 0.5]


def test_useless_scores_of_a_label_are_best_cut_below_all_of_them():
    # one of three rows: all positive has F1 2/4, none has 0
    found = choose_thresholds(np.array([[1], [0], [0]]), np.full((3, 1), 0.3), "multilabel")
    assert found.tolist() == [0.0]


def test_useless_binary_scores_go_with_the_majority():
    y = np.array([0, 0, 1])
    cut = choose_thresholds(y, two_columns([0.3] * 3), "binary")
    assert decide(two_columns([0.3] * 3), "binary", cut).tolist() == [0, 0, 0]


def test_a_multiclass_target_has_no_threshold():
    assert choose_thresholds(np.array([0, 1]), np.eye(2, 3), "multiclass").shape == (0,)
    proba = np.array([[0.2, 0.5, 0.3]])
    scored = Scored.of(STATUS, np.array([1]), proba=proba, valid=(np.array([1]), proba))
    assert scored.tuned is None


def test_a_threshold_between_neighbouring_floats_still_parts_them():
    low = 0.7
    high = np.nextafter(low, 1)
    y, proba = np.array([0, 1]), two_columns([low, high])
    assert decide(proba, "binary", choose_thresholds(y, proba, "binary")).tolist() == [0, 1]


@settings(deadline=None, max_examples=60)
@given(weighted_binary())
def test_the_threshold_is_as_good_as_any_way_to_part_the_rows(rows):
    from sklearn.metrics import f1_score

    y, p, _ = rows
    levels = np.unique(p)
    cuts = [0, *(levels[1:] + levels[:-1]) / 2, 2] if 0 < sum(y) < len(y) else [0.5]
    known = {"zero_division": 0, "labels": [0, 1]}
    macro = [f1_score(y, p >= cut, average="macro", **known) for cut in cuts]
    single = [f1_score(y, p >= cut, zero_division=0) for cut in cuts]
    one = choose_thresholds(y, two_columns(p), "binary")[0]
    label = choose_thresholds(y[:, None], p[:, None], "multilabel")[0]
    assert f1_score(y, p >= one, average="macro", **known) == pytest.approx(max(macro))
    assert f1_score(y, p >= label, zero_division=0) == pytest.approx(max(single))


def test_valid_metrics_use_the_threshold_of_valid_and_plain_ones_do_not():
    valid = (np.array([0, 0, 1, 1]), two_columns([0.1, 0.2, 0.3, 0.4]))
    scored = binary([0, 1, 1], [0.2, 0.3, 0.6], valid=valid)
    assert scored.decisions.tolist() == [0, 0, 1]
    assert scored.tuned.tolist() == [0, 1, 1]
    assert value("f1_micro", scored) == pytest.approx(2 / 3)
    assert value("f1_micro@valid", scored) == 1


def test_each_label_has_its_own_threshold():
    p_valid = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    valid = (np.array([[0, 1], [1, 1], [1, 0]]), p_valid)
    assert choose_thresholds(*valid, "multilabel") == pytest.approx([0.15, 0.75])
    scored = multilabel([[1, 0], [0, 1]], [[0.4, 0.7], [0.1, 0.8]], valid=valid)
    assert value("subset_accuracy@valid", scored) == 1
    assert value("subset_accuracy", scored) == 0.5
    assert value("f1[b]@valid", scored) == 1
    assert value("f1[b]", scored) == pytest.approx(2 / 3)


# --- names and errors ---


def test_every_listed_name_can_be_scored():
    y, p = np.array([0, 1, 1, 0]), two_columns([0.2, 0.6, 0.9, 0.7])
    three = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]])
    many = np.array([[0, 1], [1, 0], [1, 1], [0, 0]])
    cases = [(BINARY, y, p), (STATUS, np.array([0, 1, 2, 1]), three), (LABELS, many, p)]
    seen = set()
    for target, truth, proba in cases:
        scored = Scored.of(target, truth, proba=proba, valid=(truth, proba))
        names = metric_names(target, tuned=True)
        found = scores(names, scored)
        assert list(found) == list(names)
        assert all(np.isfinite(values).all() for values in found.values())
        seen.update(names)
    assert {name.split("[")[0].split("@")[0] for name in seen} == {
        key.removesuffix("[label]") for key in METRICS
    }


def test_names_of_a_target_hold_labels_and_thresholds_of_valid():
    names = metric_names(LABELS, tuned=True)
    assert {"f1[RCT]", "f1[Cohort]@valid", "f1_macro@valid", "roc_auc[RCT]", "lrap"} <= set(names)
    assert not {"roc_auc@valid", "mcc", "f1_positive", "f1[label]"} & set(names)
    assert not any(name.endswith("@valid") for name in metric_names(BINARY, tuned=False))
    assert not any(name.endswith("@valid") for name in metric_names(STATUS, tuned=True))


def test_micro_precision_and_recall_of_nothing_are_zero():
    none_predicted = multilabel([[1, 0], [1, 1]], [[0.1, 0.2], [0.3, 0.4]])
    none_true = multilabel([[0, 0], [0, 0]], [[0.9, 0.2], [0.3, 0.4]])
    for scored in (none_predicted, none_true):
        assert value("precision_micro", scored) == value("recall_micro", scored) == 0
    one_of_three = multilabel([[1, 0], [1, 1]], [[0.9, 0.2], [0.3, 0.4]])
    assert value("precision_micro", one_of_three) == 1
    assert value("recall_micro", one_of_three) == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", DEFAULTS)
def test_default_metrics_are_listed_and_rank_by_one_that_every_such_target_has(kind):
    target = {"binary": BINARY, "multiclass": STATUS, "multilabel": LABELS}[kind]
    for name in DEFAULTS[kind]:
        metric_of(name)
    metric_of(DEFAULTS[kind][0], target)


def test_metrics_of_each_label_are_taken_at_the_threshold_the_target_has():
    assert label_metrics(LABELS) == (
        "f1[RCT]@valid", "f1[Cohort]@valid", "average_precision[RCT]", "average_precision[Cohort]",
        "roc_auc[RCT]", "roc_auc[Cohort]",
    )  # fmt: skip
    assert label_metrics(STATUS)[0] == "f1[completed]"
    assert label_metrics(BINARY) == ()
    for target in (LABELS, STATUS):
        assert set(label_metrics(target)) <= set(metric_names(target, tuned=True))
    odd = Target("multilabel", ("{x}", "a@valid"))
    assert set(label_metrics(odd)) <= set(metric_names(odd, tuned=True))
    assert [label_of(name) for name in label_metrics(odd)] == list(odd.classes) * 3
    assert label_of("f1_macro@valid") is None


def test_label_names_may_hold_brackets_and_at_signs():
    odd = Target("multilabel", ("meta [any]", "a@valid"))
    scored = Scored.of(odd, np.array([[1, 0], [0, 1]]), proba=np.array([[0.9, 0.1], [0.2, 0.3]]))
    assert value("f1[meta [any]]", scored) == 1
    assert value("f1[a@valid]", scored) == 0


def test_losses_are_the_metrics_where_lower_is_better():
    lower = {name for name, metric in METRICS.items() if not metric.higher_is_better}
    assert lower == {"brier", "log_loss", "ece"}
    assert metric_of("f1[RCT]@valid").needs_decisions


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("roc_auk", "unknown metric 'roc_auk'.*did you mean 'roc_auc'"),
        ("", "unknown metric ''"),
        ("roc_auc@valid", "metric 'roc_auc@valid'.*use 'roc_auc'"),
        ("f1_macro[RCT]", "unknown metric"),
        ("f1_positive", "metric 'f1_positive' for a multilabel target; expected one of"),
        ("f1[RTC]", r"unknown label 'RTC'.*did you mean 'RCT'"),
    ],
)
def test_a_wrong_name_is_told_with_what_would_do(name, text):
    with pytest.raises(InputError, match=text):
        metric_of(name, LABELS)
    scored = Scored.of(LABELS, np.array([[1, 0]]), proba=np.array([[0.5, 0.5]]))
    with pytest.raises(InputError, match=text):
        score(name, scored)


def test_tuned_metrics_without_valid_predictions_are_refused():
    with pytest.raises(InputError, match="without a threshold chosen on valid"):
        score("f1_macro@valid", binary([0, 1], [0.1, 0.9]))
    with pytest.raises(InputError, match="for a multiclass target"):
        metric_of("f1_macro@valid", STATUS)


@pytest.mark.parametrize(
    ("y", "proba", "text"),
    [
        ([0, 1], [[0.5, 0.5]], r"truth of shape \(2,\)"),
        ([], np.empty((0, 2)), "at least one row"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "truth from 0 to 2; expected whole numbers from 0 to 1"),
        ([0], [[0.5, np.nan]], "missing or outside 0 to 1"),
        ([0], [[-0.1, 1.1]], "missing or outside 0 to 1"),
        ([0], [[0.2, 0.2]], "0.6 off a sum of 1"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(y, proba, text):
    with pytest.raises(InputError, match=text):
        Scored.of(BINARY, np.array(y, int), proba=np.array(proba))


def test_a_probability_over_one_by_rounding_is_scored():
    p = np.nextafter(1, 2)
    assert value("brier", binary([1, 0], [p, 0.0])) == pytest.approx(0)
    assert value("log_loss", binary([1, 0], [p, 0.0])) == pytest.approx(0)


def test_weights_of_another_number_of_rows_are_refused():
    with pytest.raises(InputError, match=r"weights of shape \(1, 3\); expected \(draws, 2\)"):
        score("roc_auc", binary([0, 1], [0.1, 0.9]), weights=np.ones((1, 3)))


def test_float32_predictions_are_scored_without_a_warning():
    p = np.array([0.2, 0.9], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = Scored.of(BINARY, np.array([0, 1]), proba=np.stack([1 - p, p], axis=1))
    assert scored.proba.dtype == np.float64
    assert value("roc_auc", scored) == 1


def test_scoring_loads_no_heavy_library():
    code = (
        "import sys, benchmark.metrics, benchmark.bootstrap, benchmark.compare;"
        "print({'sklearn', 'scipy', 'torch', 'lightgbm'} & set(sys.modules) or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"
