from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from benchmark.bootstrap import (
    interval,
    mean_over_seeds,
    paired_difference,
    union_weights,
    weights,
)
from benchmark.metrics import Scored, score
from features.errors import InputError
from models.base import Target

IDS = [f"NCT{i:08d}" for i in range(50)]
BINARY = Target("binary", ("stopped", "completed"))


def test_each_draw_takes_as_many_rows_as_there_are():
    found = weights(IDS, seed_text="hash")
    assert found.shape == (1000, 50)
    assert found.dtype == np.uint16
    assert (found.sum(axis=1) == 50).all()


def test_counts_have_the_moments_of_a_multinomial():
    # Mean 1 and variance 1 - 1/n a row, covariance -1/n of two rows.
    found = weights(IDS[:4], seed_text="hash", draws=20_000).astype(float)
    covariance = np.cov(found, rowvar=False)
    assert found.mean(axis=0) == pytest.approx(np.ones(4), abs=0.04)
    assert covariance == pytest.approx(np.eye(4) - 0.25, abs=0.04)


def test_the_same_text_gives_the_same_draws_and_another_text_others():
    first = weights(IDS, seed_text="hash", draws=20)
    assert (first == weights(IDS, seed_text="hash", draws=20)).all()
    assert (first != weights(IDS, seed_text="other", draws=20)).any()


def test_a_row_keeps_its_count_in_any_order_of_the_rows():
    forward = weights(IDS, seed_text="hash", draws=20)
    backward = weights(IDS[::-1], seed_text="hash", draws=20)
    assert (forward == backward[:, ::-1]).all()


def test_fewer_draws_are_the_first_of_more():
    many = weights(IDS, seed_text="hash", draws=20)
    assert (weights(IDS, seed_text="hash", draws=5) == many[:5]).all()


def test_rows_of_a_group_share_their_count():
    groups = ["Acme", "Beta", "Acme", None, None, "Beta"]
    found = weights(IDS[:6], seed_text="hash", draws=200, groups=groups)
    assert (found[:, 0] == found[:, 2]).all()
    assert (found[:, 1] == found[:, 5]).all()
    # Rows without a group are each their own: 4 units in all, drawn 4 times.
    assert (found[:, 3] != found[:, 4]).any()
    assert (found[:, [0, 1, 3, 4]].sum(axis=1) == 4).all()


def test_a_group_named_like_a_row_stays_apart_from_it():
    found = weights(["a", "b"], seed_text="hash", draws=100, groups=pd.Series([None, "a"]))
    assert (found[:, 0] != found[:, 1]).any()


def test_groups_of_one_row_are_the_plain_bootstrap():
    alone = weights(IDS, seed_text="hash", draws=30, groups=[f"sponsor of {i}" for i in IDS])
    assert (alone == weights(IDS, seed_text="hash", draws=30)).all()


def test_seeds_take_their_columns_of_the_union():
    union = union_weights([IDS[:30], IDS[20:]], seed_text="hash", draws=40)
    assert len(union.ids) == 50
    assert (union.counts.sum(axis=1) == 50).all()
    first, second = union.of(IDS[:30]), union.of(IDS[20:])
    assert first.shape == (40, 30)
    # Rows 20 to 29 stand in both and count the same.
    assert (first[:, 20:] == second[:, :10]).all()
    assert (union.of(IDS[29::-1]) == first[:, ::-1]).all()


def test_the_union_does_not_depend_on_which_seed_comes_first():
    one = union_weights([IDS[:30], IDS[20:]], seed_text="hash", draws=10)
    other = union_weights([IDS[20:], IDS[:30]], seed_text="hash", draws=10)
    assert (one.of(IDS) == other.of(IDS)).all()


def test_groups_hold_across_seeds():
    union = union_weights(
        [["a", "b"], ["b", "c"]], seed_text="hash", groups=[["X", "Y"], ["Y", "X"]], draws=50
    )
    found = union.of(["a", "b", "c"])
    assert (found[:, 0] == found[:, 2]).all()
    assert (found[:, :2].sum(axis=1) == 2).all()


@pytest.mark.parametrize(
    ("ids", "groups", "text"),
    [
        ([["a", "a"]], None, "id 'a' twice in one set of test rows; expected unique ids"),
        ([[]], None, "no ids"),
        ([["a", "b"]], [["X"]], "1 groups for 2 ids"),
        ([["a"], ["a"]], [["X"], ["Y"]], "row 'a' in two groups"),
        ([["a"], ["a"]], [["X"], [None]], "row 'a' in two groups"),
    ],
)
def test_rows_that_do_not_fit_are_refused(ids, groups, text):
    with pytest.raises(InputError, match=text):
        union_weights(ids, seed_text="hash", groups=groups)


def test_an_id_outside_the_union_is_refused():
    with pytest.raises(InputError, match="id 'z'; expected an id of the union"):
        union_weights([["a", "b"]], seed_text="hash").of(["a", "z"])


def test_the_interval_cuts_two_and_a_half_percent_at_each_end():
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(np.arange(1001.0), level=0.9) == pytest.approx((50, 950))


def test_undefined_draws_are_left_out():
    draws = np.append(np.arange(1001.0), [np.nan] * 1001)
    assert interval(draws) == pytest.approx((25, 975))
    assert all(math.isnan(end) for end in interval(np.full(3, np.nan)))


def test_the_paired_difference_looks_at_one_draw_at_a_time():
    b = np.random.default_rng(0).normal(size=1000)
    low, high, p = paired_difference(b + 0.01, b)
    assert (low, high) == pytest.approx((0.01, 0.01))
    # No draw at or below 0: 2 (0 + 1) / (1000 + 1).
    assert p == pytest.approx(2 / 1001)


def test_p_counts_the_smaller_tail_twice_plus_one():
    difference = np.array([-1.0] * 3 + [1.0] * 96)
    assert paired_difference(difference, np.zeros(99))[2] == pytest.approx(2 * 4 / 100)
    assert paired_difference(-difference, np.zeros(99))[2] == pytest.approx(2 * 4 / 100)


def test_a_model_against_itself_has_p_one():
    same = np.arange(10.0)
    assert paired_difference(same, same) == (0.0, 0.0, 1.0)


def test_draws_undefined_for_one_model_leave_the_comparison():
    a, b = np.array([1.0, np.nan, 3.0, 2.0]), np.array([0.0, 1.0, np.nan, 1.0])
    # Two draws are left, both differ by 1: 2 (0 + 1) / (2 + 1).
    assert paired_difference(a, b) == pytest.approx((1.0, 1.0, 2 / 3))
    assert all(math.isnan(x) for x in paired_difference(a, np.full(4, np.nan)))


def test_seeds_are_averaged_inside_each_draw():
    found = mean_over_seeds([np.array([0.0, 0.2, np.nan]), np.array([1.0, 0.4, 0.5])])
    assert found[:2] == pytest.approx([0.5, 0.3])
    assert np.isnan(found[2])


def test_the_interval_of_an_error_rate_is_its_normal_interval():
    # Brier of scores 0 and 1 is the error rate: 80 of 400 rows, 0.2 +- 1.96 * 0.02.
    y, p = np.ones(400, int), np.repeat([0.0, 1.0], [80, 320])
    scored = Scored.of(BINARY, y, proba=np.stack([1 - p, p], axis=1))
    ids = [str(i) for i in range(400)]
    low, high = interval(score("brier", scored, weights=weights(ids, seed_text="x", draws=4000)))
    assert (low, high) == pytest.approx((0.2 - 0.0392, 0.2 + 0.0392), abs=0.005)


def test_whole_groups_widen_the_interval_by_the_root_of_their_size():
    # 100 sponsors of four trials with the same fate: the interval of 100 rows, twice that of 400.
    y, p = np.ones(400, int), np.repeat(np.tile([0.0, 1.0], 50), 4)
    scored = Scored.of(BINARY, y, proba=np.stack([1 - p, p], axis=1))
    ids, sponsors = [str(i) for i in range(400)], [f"s{i // 4}" for i in range(400)]
    by_row = interval(score("brier", scored, weights=weights(ids, seed_text="x")))
    by_group = interval(
        score("brier", scored, weights=weights(ids, seed_text="x", groups=sponsors))
    )
    ratio = (by_group[1] - by_group[0]) / (by_row[1] - by_row[0])
    assert ratio == pytest.approx(2, rel=0.15)


def covered(simulations, draw_sample, name, truth):
    """Share of simulated test sets whose interval holds the true value."""
    inside = 0
    for seed in range(simulations):
        y, p = draw_sample(np.random.default_rng([seed, 7]))
        scored = Scored.of(BINARY, y, proba=np.stack([1 - p, p], axis=1))
        ids = [str(i) for i in range(len(y))]
        draws = weights(ids, seed_text=str(seed), draws=400)
        low, high = interval(score(name, scored, weights=draws))
        inside += low <= truth <= high
    return inside / simulations


def test_intervals_of_roc_auc_cover_the_true_value_95_percent_of_the_time():
    # Scores N(0, 1) and N(1, 1), squeezed into 0 to 1 in order: P(X1 > X0) = Phi(1 / sqrt 2).
    truth = 0.5 * (1 + math.erf(0.5))

    def sample(rng):
        y = np.repeat([0, 1], 100)
        return y, 1 / (1 + np.exp(-rng.normal(y, 1)))

    # 500 simulations: four standard errors are 0.039.
    assert covered(500, sample, "roc_auc", truth) == pytest.approx(0.95, abs=0.039)


def test_intervals_of_a_calibrated_brier_score_cover_the_true_value():
    # p is .1 or .7 with equal chance: E (p - y)^2 = E p (1 - p) = (.09 + .21) / 2.
    def sample(rng):
        p = rng.choice([0.1, 0.7], 200)
        return (rng.random(200) < p).astype(int), p

    assert covered(500, sample, "brier", 0.15) == pytest.approx(0.95, abs=0.039)
