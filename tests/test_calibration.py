"""Calibration: maps that can be worked out by hand, and what they must leave alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import minimize

from models import calibration
from models.base import Floats, Ints, Target
from models.calibration import Isotonic, Platt, isotonic, platt

BINARY = Target("binary", ("completed", "stopped"))
THREE = Target("multiclass", ("a", "b", "c"))
LABELS = Target("multilabel", ("a", "b"))


def two(p: Floats) -> Floats:
    return np.column_stack([1 - p, p])


def overconfident(n: int = 4000) -> tuple[Ints, Floats]:
    """Rows whose true logit is half of the said one, minus 1."""
    random = np.random.default_rng(1)
    said = random.normal(0, 3, n)
    truth = random.random(n) < 1 / (1 + np.exp(-(said / 2 - 1)))
    return truth.astype(np.int64), 1 / (1 + np.exp(-said))


def test_platt_finds_the_slope_and_the_shift_that_were_planted() -> None:
    found = platt(*overconfident())
    assert found is not None
    assert found.slope == pytest.approx(0.5, abs=0.05)
    assert found.intercept == pytest.approx(-1, abs=0.1)


def test_platt_is_the_minimum_of_the_cross_entropy_with_smoothed_targets() -> None:
    y, p = np.array([0, 0, 1, 0, 1]), np.array([0.1, 0.3, 0.4, 0.6, 0.9])
    wanted = np.where(y == 1, 3 / 4, 1 / 5)  # (2 + 1) / (2 + 2) and 1 / (3 + 2)
    logit = np.log(p / (1 - p))

    def loss(at: Floats) -> float:
        value = at[0] * logit + at[1]
        return float((np.logaddexp(0, value) - wanted * value).sum())

    found = platt(y, p)
    assert found is not None
    best = minimize(loss, [1, 0], tol=1e-12).x
    assert (found.slope, found.intercept) == pytest.approx(tuple(best), abs=1e-4)


def test_smoothing_keeps_two_well_told_rows_from_certainty() -> None:
    # Targets 1/3 and 2/3 at the logits -ln 9 and ln 9: the slope is ln 2 / ln 9.
    found = platt(np.array([0, 1]), np.array([0.1, 0.9]))
    assert found is not None
    assert found.slope == pytest.approx(np.log(2) / np.log(9), rel=1e-4)
    assert found(np.array([0.1, 0.5, 0.9])) == pytest.approx([1 / 3, 1 / 2, 2 / 3], abs=1e-4)


def test_platt_takes_probabilities_of_0_and_1() -> None:
    found = platt(np.array([0, 0, 1, 1]), np.array([0.0, 0.0, 1.0, 0.0]))
    assert found is not None
    mended = found(np.array([0.0, 1.0]))
    assert 0 < mended[0] < mended[1] < 1


def test_isotonic_pools_neighbours_that_break_the_order() -> None:
    # Of eight rows, lowest first: 0 | 1 0 pooled to a half | 1.
    y = np.array([0, 0, 1, 0, 1, 0, 1, 1])
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    found = isotonic(y, p)
    assert found is not None
    # 0 and 1 are drawn in to 1 / (8 + 2).
    assert found(p) == pytest.approx([0.1, 0.1, 0.5, 0.5, 0.5, 0.5, 0.9, 0.9])
    assert found(np.array([0.0, 1.0])) == pytest.approx([0.1, 0.9])  # flat outside
    assert found(np.array([0.25])) == pytest.approx([0.3])  # a line between .1 and .5


def log_loss(y: Ints, p: Floats) -> float:
    return float(-np.log(np.where(y == 1, p, 1 - p)).mean())


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_new_rows_of_an_overconfident_model_are_scored_better(method: calibration.Method) -> None:
    y, p = overconfident()
    fitted = calibration.fit(y[:2000], two(p[:2000]), target=BINARY, method=method)
    mended = fitted.apply(two(p[2000:]))
    assert mended.sum(axis=1) == pytest.approx(np.ones(2000))
    assert log_loss(y[2000:], mended[:, 1]) < log_loss(y[2000:], p[2000:]) - 0.1
    order = np.argsort(p[2000:])
    assert (np.diff(mended[order, 1]) >= 0).all()
    assert fitted.notes == {"method": method, "rows": 2000, "left": {}, "few": {}}


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_an_order_turned_round_is_left_as_it_is(method: calibration.Method) -> None:
    y, p = overconfident(200)
    proba = two(1 - p)
    fitted = calibration.fit(y, proba, target=BINARY, method=method)
    assert (fitted.apply(proba) == proba).all()
    assert fitted.notes["left"] == {"stopped": "its rate doesn't rise with its probability"}


@pytest.mark.parametrize("method", ["platt", "isotonic"])
@pytest.mark.parametrize("y", [[1, 1, 1], [0, 0, 0], []])
def test_valid_rows_of_one_kind_teach_nothing(y: list[int], method: calibration.Method) -> None:
    proba = two(np.array([0.2, 0.4, 0.9]))
    truth = np.array(y, dtype=np.int64)
    fitted = calibration.fit(truth, proba[: len(y)], target=BINARY, method=method)
    assert (fitted.apply(proba) == proba).all()
    assert fitted.notes["left"] == {"stopped": "valid rows hold one value only"}


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_constant_model_is_left_as_it_is(method: calibration.Method) -> None:
    proba = two(np.full(4, 0.2))
    fitted = calibration.fit(np.array([0, 1, 1, 1]), proba, target=BINARY, method=method)
    assert (fitted.apply(proba) == proba).all()


def test_isotonic_warns_of_few_rows_of_the_rarer_kind() -> None:
    y, p = overconfident()
    positives, negatives = np.flatnonzero(y == 1), np.flatnonzero(y == 0)

    def few(n: int, method: calibration.Method) -> dict[str, str]:
        rows = np.concatenate([positives[:n], negatives])
        notes = calibration.fit(y[rows], two(p[rows]), target=BINARY, method=method).notes
        json.dumps(notes)
        return dict(notes["few"])

    assert few(199, "isotonic")["stopped"].startswith("199 rows")
    assert few(200, "isotonic") == few(199, "platt") == {}


def test_each_label_has_a_map_of_its_own() -> None:
    y, p = overconfident(2000)
    truth = np.column_stack([y, np.ones_like(y)])
    proba = np.column_stack([p, p])
    fitted = calibration.fit(truth, proba, target=LABELS, method="platt")
    mended = fitted.apply(proba)
    assert isinstance(fitted.maps[0], Platt)
    assert mended[:, 0] == pytest.approx(fitted.maps[0](p))
    assert (mended[:, 1] == p).all()  # all valid rows have it
    assert list(fitted.notes["left"]) == ["b"]


def test_several_classes_are_mended_against_the_rest_and_scaled_to_1() -> None:
    y = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0])
    proba = np.full((10, 3), 0.2)
    proba[np.arange(10), y] = 0.6
    fitted = calibration.fit(y, proba, target=THREE, method="isotonic")
    assert all(isinstance(one, Isotonic) for one in fitted.maps)
    # Each class is told apart without an error: 11/12 for it, 1/12 for the two others.
    mended = fitted.apply(proba[:1])
    assert mended[0] == pytest.approx([11 / 13, 1 / 13, 1 / 13])


def test_a_class_that_valid_lacks_keeps_its_share() -> None:
    y = np.array([0, 0, 1, 1])
    proba = np.array([[0.7, 0.3, 0], [0.8, 0.2, 0], [0.3, 0.7, 0], [0.2, 0.8, 0]])
    fitted = calibration.fit(y, proba, target=THREE, method="platt")
    mended = fitted.apply(proba)
    assert list(fitted.notes["left"]) == ["c"]
    assert (mended[:, 2] == 0).all()
    assert mended.sum(axis=1) == pytest.approx(np.ones(4))
    assert (mended.argmax(axis=1) == y).all()
