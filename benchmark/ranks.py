"""Ranks, how sure they are, and groups of models that the data cannot tell apart."""

from __future__ import annotations

import math

import numpy as np

from benchmark.bootstrap import paired_difference
from models.base import Floats, Ints


def rank(values: Floats, draws: Floats, *, higher_is_better: bool = True) -> tuple[Ints, Ints]:
    """Rank and tie group of each model, (models,) each, in the order of `values`.

    `values` are point values, `draws` is (models, draws) from shared weights. Rank 1 is the best,
    equal values share a rank and the next is skipped; NaN is last. Groups are numbered from 1 along
    that order: a model joins the open group unless the paired 95 % interval of its difference to
    the group's first model, its leader, leaves out 0; then it opens the next. A group says only
    that its models can't be told apart from its leader: neighbours across a border may not differ.
    """
    worth = np.asarray(values, np.float64) * (1 if higher_is_better else -1)
    order = np.argsort(-worth, kind="stable")
    ranks, groups = np.empty(len(worth), np.int64), np.empty(len(worth), np.int64)
    leader, group = -1, 0
    for place, model in enumerate(order):
        before = order[place - 1]
        same = place > 0 and _equal(worth[model], worth[before])
        ranks[model] = ranks[before] if same else place + 1
        if leader < 0 or _apart(worth, draws, (leader, int(model))):
            leader, group = int(model), group + 1
        groups[model] = group
    return ranks, groups


def rank_intervals(
    values: Floats, draws: Floats, *, higher_is_better: bool = True, level: float = 0.95
) -> tuple[Ints, Ints]:
    """Lowest and highest rank that a model may have, (models,) each; arguments as for `rank`.

    A model's rank is 1 and the number of models that are better; those surely better give the
    lowest, those not surely worse the highest. Surely: by the simultaneous interval of its
    differences to all others (largest studentised deviation of the draws), so that each model's
    ranks hold its true one with probability `level` (Mogstad, Romano, Shaikh & Wilhelm 2024). The
    share of draws with a rank would hold it too seldom where models are close. Models without a
    value come after all others, in any order.
    """
    worth = np.asarray(values, np.float64) * (1 if higher_is_better else -1)
    defined = np.flatnonzero(~np.isnan(worth))
    low = np.full(len(worth), len(defined) + 1)
    high = np.full(len(worth), len(worth))
    drawn = draws[defined] * (1 if higher_is_better else -1)
    drawn = drawn[:, ~np.isnan(drawn).any(axis=0)]
    for place, model in enumerate(defined):
        ahead = np.delete(worth[defined] - worth[model], place)
        reach = _simultaneous(np.delete(drawn - drawn[place], place, axis=0), ahead, level)
        low[model] = 1 + (ahead > reach).sum()
        high[model] = len(defined) - (ahead < -reach).sum()
    return low, high


def _simultaneous(drawn: Floats, found: Floats, level: float) -> Floats:
    """Half widths of intervals of `found`, (k,), that hold all at once; `drawn` is (k, draws)."""
    if drawn.shape[1] < 2 or len(found) == 0:  # no draw is defined: nothing is sure
        return np.full(len(found), math.inf)
    error = drawn.std(axis=1, ddof=1)
    far = np.abs(drawn - found[:, None])
    studentised = np.divide(far, error[:, None], out=np.zeros_like(far), where=error[:, None] > 0)
    return np.asarray(np.quantile(studentised.max(axis=0), level) * error)


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _apart(worth: Floats, draws: Floats, pair: tuple[int, int]) -> bool:
    """Whether the interval of the two models' difference leaves out 0."""
    a, b = pair
    if math.isnan(worth[b]):
        return not math.isnan(worth[a])
    low, high, _ = paired_difference(draws[a], draws[b])
    # NaN, no draw to compare, is no evidence of a difference.
    return low > 0 or high < 0
