"""Points of ROC, precision-recall and reliability curves, whole and thinned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import GOOD, cell, predictions, record_of, write_run

from benchmark.cells import Result
from benchmark.curves import (
    Points,
    pr_points,
    reliability,
    reliability_bins,
    roc_points,
    thinned,
)
from benchmark.metrics import Scored, score
from models.base import Floats, Ints, Target

BINARY = Target("binary", ("no", "yes"))


def drawn(n: int, seed: int, levels: int | None = None) -> tuple[Ints, Floats]:
    """Truth with both classes and scores that tell a little of it; `levels` make ties."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.3).astype(np.int64)
    y[:2] = 0, 1
    p = np.clip(0.4 * rng.random(n) + 0.3 * y * rng.random(n) + 0.1, 0, 1)
    return y, p if levels is None else (p * levels).round() / levels


def value(metric: str, y: Ints, p: Floats) -> float:
    return float(score(metric, Scored.of(BINARY, y, proba=np.stack([1 - p, p], axis=1)))[0])


def area(points: Points) -> float:
    return float(np.trapezoid(points.y, points.x))


def as_steps(points: Points) -> float:
    return float((np.diff(points.x) * points.y[1:]).sum())


def test_roc_points_of_four_rows_by_hand() -> None:
    found = roc_points(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    assert found.x.tolist() == [0, 0, 0.5, 0.5, 1]
    assert found.y.tolist() == [0, 0.5, 0.5, 1, 1]
    assert found.threshold.tolist() == [np.inf, 0.8, 0.4, 0.35, 0.1]


def test_precision_and_recall_of_four_rows_by_hand() -> None:
    found = pr_points(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    assert found.x.tolist() == [0, 0.5, 0.5, 1, 1]
    assert found.y == pytest.approx([1, 1, 1 / 2, 2 / 3, 2 / 4])
    assert found.threshold.tolist() == [np.inf, 0.8, 0.4, 0.35, 0.1]


def test_tied_scores_are_one_point() -> None:
    y, p = np.array([1, 0, 0, 1]), np.array([0.5, 0.5, 0.5, 0.9])
    assert roc_points(y, p).x.tolist() == [0, 0, 1]
    assert pr_points(y, p).y.tolist() == [1, 1, 0.5]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([None, 3, 20]))
def test_areas_of_whole_curves_are_the_metrics(seed: int, levels: int | None) -> None:
    y, p = drawn(40, seed, levels)
    assert area(roc_points(y, p)) == pytest.approx(value("roc_auc", y, p), abs=1e-12)
    assert as_steps(pr_points(y, p)) == pytest.approx(value("average_precision", y, p), abs=1e-12)


def test_points_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_curve, roc_curve

    y, p = drawn(200, 0, levels=30)
    roc, pr = roc_points(y, p), pr_points(y, p)
    for ours, theirs in zip(roc, roc_curve(y, p, drop_intermediate=False), strict=True):
        assert ours == pytest.approx(theirs)
    precision, recall, threshold = precision_recall_curve(y, p)
    assert pr.x == pytest.approx(recall[::-1])
    assert pr.y == pytest.approx(precision[::-1])
    assert pr.threshold[1:] == pytest.approx(threshold[::-1])


def test_thinning_keeps_ends_and_corners_and_drops_what_lies_on_a_line() -> None:
    x = np.array([0, 0, 0, 0.25, 0.5, 0.5, 1])
    y = np.array([0, 0.3, 0.6, 0.6, 0.6, 1, 1])
    found = thinned(Points(x, y, np.arange(7.0)))
    assert found.threshold.tolist() == [0, 2, 4, 5, 6]
    assert thinned(Points(x, y, np.arange(7.0)), 2).threshold.tolist() == [0, 6]
    # .6 above the diagonal at place 2, .5 at place 5 and .1 at place 4
    assert thinned(Points(x, y, np.arange(7.0)), 3).threshold.tolist() == [0, 2, 6]


@pytest.mark.parametrize("find", [roc_points, pr_points])
def test_a_curve_of_two_hundred_points_looks_like_the_whole_one(find: object) -> None:
    y, p = drawn(5000, 1)
    assert callable(find)
    whole = find(y, p)
    found = thinned(whole, 200)
    assert len(whole.x) == 5001
    assert len(found.x) == 200
    assert (found.x[0], found.x[-1]) == (whole.x[0], whole.x[-1])
    assert (np.diff(found.threshold) < 0).all()
    # recall rises strictly where a row is a hit: compare there, away from the first few points
    places = np.linspace(0.01, 1, 500)
    ours, theirs = (np.interp(places, *last_of_each(points)) for points in (found, whole))
    assert np.abs(ours - theirs).max() < 0.02


def last_of_each(points: Points) -> tuple[Floats, Floats]:
    """x without repetition and the last y at each."""
    last = np.append(np.diff(points.x) > 0, True)
    return points.x[last], points.y[last]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_unbounded_thinning_keeps_the_areas(seed: int) -> None:
    y, p = drawn(60, seed)
    whole = roc_points(y, p)
    assert area(thinned(whole, 1000)) == pytest.approx(area(whole), abs=1e-12)
    assert len(thinned(whole, 10).x) <= 10


def test_reliability_bins_of_four_rows_by_hand() -> None:
    found = reliability_bins(np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.7, 0.9]), bins=2)
    assert found.said.tolist() == pytest.approx([0.2, 0.8])
    assert found.happened.tolist() == [0.5, 1.0]
    assert found.rows.tolist() == [2, 2]
    # Wilson for 2 of 2: from n / (n + z^2), with z = 1.959964
    assert found.low[1] == pytest.approx(2 / (2 + 1.959964**2))
    assert found.high[1] == 1.0
    assert found.low[0] + found.high[0] == pytest.approx(1.0)  # symmetric about a half


def test_rows_of_equal_score_share_a_bin() -> None:
    found = reliability_bins(np.array([0, 1, 1, 0, 1]), np.array([0.5, 0.5, 0.5, 0.5, 0.9]))
    assert found.said.tolist() == pytest.approx([0.5, 0.9])
    assert found.rows.tolist() == [4, 1]
    assert found.happened.tolist() == [0.5, 1.0]


def test_bins_of_distinct_scores_hold_as_many_rows_each() -> None:
    y, p = drawn(1000, 3)
    found = reliability_bins(y, p)
    assert found.rows.tolist() == [100] * 10
    assert (np.diff(found.said) > 0).all()
    assert (found.low <= found.happened).all()
    assert (found.happened <= found.high).all()


def test_reliability_is_told_before_and_after_calibration(tmp_path: Path) -> None:
    one = cell()
    store = write_run(tmp_path, one)
    frame = predictions(GOOD).assign(raw_no=0.0, raw_yes=1.0)
    store.write(one, Result(record_of(one), frame))
    found = reliability(store)
    yes = found[found["label"] == "yes"]
    raw, mended = yes[~yes["calibrated"]], yes[yes["calibrated"]]
    assert (raw["said"].tolist(), raw["happened"].tolist(), raw["rows"].tolist()) == (
        [1.0],
        [0.5],
        [4],
    )
    assert mended["said"].tolist() == pytest.approx([0.1, 0.35, 0.4, 0.8])
    assert mended["happened"].tolist() == [0, 1, 0, 1]
