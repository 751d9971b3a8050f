from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from benchmark.significance import (
    area,
    decisions_p,
    delong_interval,
    delong_p,
    detectable,
    holm,
    mcnemar_exact,
    mcnemar_mid,
    mean_area,
    seed_spread,
)

# Two completed, two stopped: three of the four pairs are in order.
Y = np.array([1, 1, 0, 0])
SCORE = np.array([0.9, 0.4, 0.5, 0.1])


def rows(y: np.ndarray, score: np.ndarray):
    return area(y, score, np.arange(len(y)), units=len(y))


def test_the_variance_of_an_area_is_that_of_its_placements() -> None:
    # The completed are above 2 and 1 of 2 stopped: 1 and .5, variance .125; so are the stopped.
    found = rows(Y, SCORE)
    assert found.value == 0.75
    assert found.error**2 == pytest.approx(0.125 / 2 + 0.125 / 2)


def by_pairs(y: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and their covariance by DeLong's formulas over all pairs; scores is (models, n)."""
    first, second = scores[:, y == 1, None], scores[:, None, y == 0]
    wins = (first > second) + 0.5 * (first == second)
    m, n = wins.shape[1:]
    covariance = np.cov(wins.mean(axis=2)) / m + np.cov(wins.mean(axis=1)) / n
    return wins.mean(axis=(1, 2)), covariance


def test_midranks_give_what_all_pairs_give() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(200) < 0.3).astype(int)
    # one digit: many ties
    scores = np.round(rng.random((2, 200)) + np.outer([0.3, 0.2], y), 1)
    values, covariance = by_pairs(y, scores)
    a, b = (rows(y, score) for score in scores)
    assert a.value == pytest.approx(roc_auc_score(y, scores[0]))
    assert [a.value, b.value] == pytest.approx(values)
    assert [a.error**2, b.error**2] == pytest.approx(np.diag(covariance))
    assert float(a.influence @ b.influence) == pytest.approx(covariance[0, 1])
    z = (values[0] - values[1]) / math.sqrt(
        covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    )
    assert delong_p(a, b) == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_the_interval_is_symmetric_in_the_log_odds() -> None:
    # log odds of .75 are log 3, their error .3536 / (.75 * .25): log 3 +- 1.96 * 1.886
    low, high = delong_interval(rows(Y, SCORE))
    assert low == pytest.approx(1 / (1 + math.exp(-(math.log(3) - 1.95996 * 1.885618))), abs=1e-5)
    assert math.log(low / (1 - low)) + math.log(high / (1 - high)) == pytest.approx(2 * math.log(3))


def test_a_perfect_order_has_no_spread() -> None:
    found = rows(Y, np.array([0.9, 0.8, 0.2, 0.1]))
    assert delong_interval(found) == (1, 1)
    assert delong_p(found, found) == 1
    assert delong_p(found, rows(Y, -np.array([0.9, 0.8, 0.2, 0.1]))) == 0


def test_one_row_of_a_class_tells_nothing_about_the_error() -> None:
    found = rows(np.array([1, 0, 0]), np.array([0.9, 0.5, 0.1]))
    assert math.isnan(found.value)
    assert math.isnan(delong_p(found, found))
    assert all(math.isnan(end) for end in delong_interval(found))


def test_rows_of_a_group_count_as_one() -> None:
    # every row twice, in one group with its copy: no more is known than before
    twice = area(np.repeat(Y, 2), np.repeat(SCORE, 2), np.repeat(np.arange(4), 2), units=4)
    assert twice.value == 0.75
    assert twice.error == pytest.approx(rows(Y, SCORE).error)
    # as rows of their own they would halve the variance, but for the divisor 4 - 1
    apart = rows(np.repeat(Y, 2), np.repeat(SCORE, 2))
    assert apart.error**2 == pytest.approx(0.125 / 2 * 2 / 3)


def test_seeds_on_the_same_rows_know_no_more_and_on_other_rows_twice_as_much() -> None:
    same = mean_area([rows(Y, SCORE), rows(Y, SCORE)])
    assert (same.value, same.error) == pytest.approx((0.75, rows(Y, SCORE).error))
    units = np.arange(8)
    other = mean_area([area(Y, SCORE, half, units=8) for half in (units[:4], units[4:])])
    assert other.error**2 == pytest.approx(rows(Y, SCORE).error ** 2 / 2)
    assert math.isnan(mean_area([]).value)


def test_mcnemar_counts_the_rows_that_one_model_alone_has_right() -> None:
    # 1 against 9 of ten: twice (1 + 10) / 1024; the mid-p takes half of the ten
    assert mcnemar_exact(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar_mid(9, 1) == pytest.approx(12 / 1024)
    assert mcnemar_exact(1, 9) == pytest.approx(mcnemar([[5, 1], [9, 5]], exact=True).pvalue)
    assert (mcnemar_exact(4, 4), mcnemar_mid(4, 4), mcnemar_mid(0, 0)) == (1, 1, 1)


def test_decisions_that_come_in_groups_are_tested_by_group() -> None:
    assert decisions_p(np.array([1, 1, 1, -1, 0, 0])) == pytest.approx(mcnemar_mid(3, 1))
    # (2 + 2 - 1)^2 / (4 + 4 + 1) = 1
    assert decisions_p(np.array([2, 2, -1, 0])) == pytest.approx(stats.chi2.sf(1, 1))
    assert decisions_p(np.zeros(5)) == 1


def test_holm_multiplies_by_the_number_of_those_not_yet_rejected() -> None:
    # .01 * 3, .03 * 2, and .04 * 1 no less than the one before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []
    p = np.random.default_rng(0).random(20) ** 3
    assert holm(list(p)) == pytest.approx(multipletests(p, method="holm")[1])


def test_what_is_not_defined_is_not_counted_by_holm() -> None:
    found = holm([math.nan, 0.01, 0.2])
    assert math.isnan(found[0])
    assert found[1:] == pytest.approx([0.02, 0.2])


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    difference = detectable(0.01)
    assert difference == pytest.approx(0.02802, abs=1e-5)
    # a difference of that size, estimated with this error, is over 1.96 errors
    found = stats.norm.sf(stats.norm.isf(0.025), loc=difference / 0.01)
    assert found == pytest.approx(0.8, abs=1e-4)


def test_the_spread_of_seeds_leaves_out_what_the_rows_make_of_it() -> None:
    # Two seeds .1 apart, variance .005. Draws that keep them there: all of it is the seeds'.
    values = np.array([0.7, 0.8])
    assert seed_spread(values, np.tile(values[:, None], 3)) == pytest.approx(0.005**0.5)
    # Draws in which they are .1 * sqrt 2 apart, variance .01, twice as much: all is the rows'.
    apart = 0.1 * 2**0.5
    assert seed_spread(values, np.array([[0.7] * 3, [0.7 + apart] * 3])) == pytest.approx(
        0, abs=1e-8
    )
    assert math.isnan(seed_spread(values[:1], np.ones((1, 3))))


def test_seed_and_sample_variance_are_told_apart() -> None:
    # 4,000 seeds with a spread of .03 on rows of their own, which add .05
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.03, 4000) + rng.normal(0, 0.05, 4000)
    draws = values[:, None] + rng.normal(0, 0.05, (4000, 50))
    assert seed_spread(values, draws) == pytest.approx(0.03, abs=0.003)
