from __future__ import annotations

import numpy as np

from benchmark.ranks import rank, rank_intervals

NOISE = np.random.default_rng(0).normal(0, 0.02, 1000)
OTHER = np.random.default_rng(1).normal(0, 0.02, 1000)


def ranked(values, draws, **options):
    ranks, groups = rank(np.array(values), np.array(draws), **options)
    return ranks.tolist(), groups.tolist()


def test_models_come_back_in_their_own_order():
    draws = [NOISE + 0.7, NOISE + 0.9, NOISE + 0.8]
    assert ranked([0.7, 0.9, 0.8], draws) == ([3, 1, 2], [3, 1, 2])


def test_a_lower_loss_ranks_first():
    draws = [NOISE + 0.3, NOISE + 0.1]
    assert ranked([0.3, 0.1], draws, higher_is_better=False) == ([2, 1], [2, 1])


def test_models_whose_difference_may_be_zero_share_a_group():
    # The difference has standard deviation 0.028; 0.01 is well inside its interval.
    assert ranked([0.80, 0.79], [NOISE + 0.80, OTHER + 0.79]) == ([1, 2], [1, 1])


def test_a_small_difference_that_every_draw_shows_parts_two_models():
    # Each interval alone is 0.08 wide; paired, the difference is 0.01 in every draw.
    assert ranked([0.80, 0.79], [NOISE + 0.80, NOISE + 0.79]) == ([1, 2], [1, 2])


def test_a_group_is_held_against_its_leader_not_against_its_last_member():
    # Steps of 0.04 with a spread of 0.028: neighbours are tied, first and third are not.
    draws = [NOISE + 0.84, OTHER + 0.80, NOISE + 0.76]
    assert ranked([0.84, 0.80, 0.76], draws) == ([1, 2, 3], [1, 1, 2])


def test_the_next_group_has_a_leader_of_its_own():
    draws = [NOISE + 0.9, NOISE + 0.8, OTHER + 0.79, OTHER + 0.5]
    assert ranked([0.9, 0.8, 0.79, 0.5], draws) == ([1, 2, 3, 4], [1, 2, 2, 3])


def test_equal_values_share_a_rank_and_the_next_is_skipped():
    same = NOISE + 0.8
    assert ranked([0.8, 0.7, 0.8], [same, NOISE + 0.7, same]) == ([1, 3, 1], [1, 2, 1])


def test_models_without_a_value_come_last_in_a_group_of_their_own():
    nothing = np.full(1000, np.nan)
    draws = [nothing, NOISE + 0.6, nothing]
    assert ranked([np.nan, 0.6, np.nan], draws) == ([2, 1, 2], [2, 1, 2])
    assert ranked([np.nan], [nothing]) == ([1], [1])


def test_no_draw_in_common_is_no_evidence_of_a_difference():
    half = np.where(np.arange(1000) < 500, np.nan, 0.9)
    rest = np.where(np.arange(1000) < 500, 0.1, np.nan)
    assert ranked([0.9, 0.1], [half, rest]) == ([1, 2], [1, 1])


def test_one_model_and_no_model():
    assert ranked([0.5], [NOISE]) == ([1], [1])
    ranks, groups = rank(np.empty(0), np.empty((0, 10)))
    assert (ranks.tolist(), groups.tolist()) == ([], [])


def ranges(values, draws, **options):
    low, high = rank_intervals(np.array(values), np.array(draws), **options)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def test_models_far_apart_have_one_rank_each():
    draws = [NOISE + 0.7, OTHER + 0.9]
    assert ranges([0.7, 0.9], draws) == [(2, 2), (1, 1)]
    assert ranges([0.7, 0.9], draws, higher_is_better=False) == [(1, 1), (2, 2)]


def test_models_that_may_change_places_share_their_ranks():
    draws = [NOISE + 0.8, OTHER + 0.79, NOISE + 0.5]
    assert ranges([0.8, 0.79, 0.5], draws) == [(1, 2), (1, 2), (3, 3)]


def test_a_small_paired_difference_fixes_the_ranks():
    assert ranges([0.80, 0.79], [NOISE + 0.80, NOISE + 0.79]) == [(1, 1), (2, 2)]


def test_the_same_model_twice_may_be_either():
    assert ranges([0.8, 0.8], [NOISE + 0.8, NOISE + 0.8]) == [(1, 2), (1, 2)]


def test_models_without_a_value_take_the_last_ranks():
    nothing = np.full(1000, np.nan)
    draws = [nothing, NOISE + 0.6, nothing]
    assert ranges([np.nan, 0.6, np.nan], draws) == [(2, 3), (1, 1), (2, 3)]
    assert ranges([0.5], [NOISE]) == [(1, 1)]
    half = np.where(np.arange(1000) < 500, np.nan, 0.9)
    rest = np.where(np.arange(1000) < 500, 0.1, np.nan)
    assert ranges([0.9, 0.1], [half, rest]) == [(1, 2), (1, 2)]


def test_the_ranks_of_equal_models_are_held_95_percent_of_the_time():
    # Ten equal models: none is better than the first, so that its interval must begin at 1. Its
    # rank in the draws would seldom do so.
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        values = rng.normal(size=10)
        low, _ = rank_intervals(values, values[:, None] + rng.normal(size=(10, 300)))
        held += low[0] == 1
    assert 0.92 < held / 300 <= 1
