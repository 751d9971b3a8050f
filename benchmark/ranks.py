"""Ranks, how sure they are, and groups of models that the data cannot tell apart."""

from __future__ import annotations

import math

import numpy as np

from benchmark.bootstrap import intervals
from models.base import Floats, Ints

_AT_ONCE = 32
"""Models compared with a leader at a time."""


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
    for place, model in enumerate(order):
        before = order[place - 1]
        same = place > 0 and _equal(worth[model], worth[before])
        ranks[model] = ranks[before] if same else place + 1
    start, group = 0, 1
    while start < len(order):
        end = start + 1 + _first_apart(worth, draws, order[start:])
        groups[order[start:end]] = group
        start, group = end, group + 1
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
    far, errors = _studentised(worth[defined], drawn)
    reach = np.full(errors.shape, math.inf)  # where no draw is defined: nothing is sure
    if drawn.shape[1] > 1:
        reach = np.quantile(far, level, axis=1)[:, None] * errors
    ahead = worth[defined] - worth[defined][:, None]
    others = ~np.eye(len(defined), dtype=bool)
    low[defined] = 1 + ((ahead > reach) & others).sum(axis=1)
    high[defined] = len(defined) - ((ahead < -reach) & others).sum(axis=1)
    return low, high


def _studentised(found: Floats, drawn: Floats) -> tuple[Floats, Floats]:
    """How far each model's differences to the others stray from those of `found`, (models,).

    `drawn` is (models, draws). First the largest deviation of a draw in standard errors, (models,
    draws), then the standard errors of the differences of every two, (models, models).
    """
    models, draws = drawn.shape
    largest, errors = np.zeros((models, draws)), np.zeros((models, models))
    if draws < 2:
        return largest, errors
    means = drawn.mean(axis=1)
    centred = drawn - means[:, None]
    for place in range(models - 1):  # each two once: b - a strays as far as a - b
        later = slice(place + 1, None)
        differences = centred[later] - centred[place]
        error = np.sqrt(np.einsum("md,md->m", differences, differences) / (draws - 1))
        errors[place, later] = errors[later, place] = error
        off = found - means
        differences -= (off[later] - off[place])[:, None]
        np.abs(differences, out=differences)
        # models that never differ, not even in a draw, are no distance apart
        np.divide(differences, error[:, None], out=differences, where=error[:, None] > 0)
        differences[error == 0] = 0
        np.maximum(largest[later], differences, out=largest[later])
        np.maximum(largest[place], differences.max(axis=0), out=largest[place])
    return largest, errors


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _first_apart(worth: Floats, draws: Floats, order: Ints) -> int:
    """How many models after the first of `order`, a leader, come before one that is apart from it:
    the interval of their difference leaves out 0.
    """
    leader, others = order[0], order[1:]
    for start in range(0, len(others), _AT_ONCE):
        some = others[start : start + _AT_ONCE]
        low, high = intervals(draws[leader] - draws[some])
        # NaN, no draw to compare, is no evidence of a difference; a missing value is one.
        missing = np.isnan(worth[some])
        apart = np.where(missing, not math.isnan(worth[leader]), (low > 0) | (high < 0))
        if apart.any():
            return start + int(np.argmax(apart))
    return len(others)
