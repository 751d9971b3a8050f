"""What stands beside the bootstrap: DeLong, McNemar, Holm, seed spread, detectable differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from models.base import Floats, Ints

ALPHA, POWER = 0.05, 0.8


@dataclass(frozen=True)
class Area:
    """A ROC-AUC and what each unit (row, or group of rows) adds to its error.

    `influence` is (units,); the sum of its squares is the variance of `value`, that of the
    difference of two areas' influences the variance of theirs.
    """

    value: float
    influence: Floats

    @property
    def error(self) -> float:
        """Standard error."""
        return float(np.sqrt((self.influence**2).sum()))


def area(y: Ints, score: Floats, unit: Ints, *, units: int) -> Area:
    """ROC-AUC of scores for class 1, (n,), with the variance of DeLong, DeLong & Clarke-Pearson
    (1988) by the midranks of Sun & Xu (2014), O(n log n); ties count half.

    `unit` numbers the row or group that each row belongs to, below `units`. Rows of one group are
    added up before they are squared (Obuchowski 1997). NaN where a class has fewer than 2 units.
    """
    from scipy.stats import rankdata

    positive = y == 1
    m, n = int(positive.sum()), int((~positive).sum())
    influence = np.zeros(units)
    clusters = [len(np.unique(unit[rows])) for rows in (positive, ~positive)]
    if min(clusters) < 2:
        return Area(math.nan, np.full(units, math.nan))
    ranks = rankdata(score)
    # share of the other class that a row is on the right side of
    above = (ranks[positive] - rankdata(score[positive])) / n
    below = 1 - (ranks[~positive] - rankdata(score[~positive])) / m
    value = float(above.mean())
    for rows, placed, size, of in ((positive, above, m, 0), (~positive, below, n, 1)):
        scale = math.sqrt(clusters[of] / (clusters[of] - 1)) / size
        np.add.at(influence, unit[rows], (placed - value) * scale)
    return Area(value, influence)


def mean_area(areas: Sequence[Area]) -> Area:
    """Mean of several areas over the same units: seeds, or the labels of a macro average.

    A unit's influences are averaged before they are squared, so that a row tested by several
    seeds counts as one row. NaN for the mean of none.
    """
    if not areas:
        return Area(math.nan, np.array([math.nan]))
    return Area(
        float(np.mean([each.value for each in areas])),
        np.asarray(np.mean([each.influence for each in areas], axis=0)),
    )


def delong_interval(found: Area, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of one area, symmetric on the logit scale (Pepe 2003, 5.2.5), so inside 0 to 1.

    The area itself twice where all rows are on the right or the wrong side.
    """
    value, error = found.value, found.error
    if math.isnan(value) or value in (0.0, 1.0):
        return value, value
    reach = NormalDist().inv_cdf((1 + level) / 2) * error / (value * (1 - value))
    logit = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-(logit + side * reach))) for side in (-1, 1))
    return low, high


def delong_p(a: Area, b: Area) -> float:
    """Two-sided p of equal areas on the same units (DeLong et al. 1988): a normal test."""
    return _normal_p(a.value - b.value, float(((a.influence - b.influence) ** 2).sum()))


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided p of McNemar's exact test: rows that only a, and only b, has right are as many."""
    from scipy.stats import binom

    return float(min(1.0, 2 * binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))


def mcnemar_mid(only_a: int, only_b: int) -> float:
    """The mid-p of the exact test, less cautious and still hardly ever above its level.

    Half of the chance of what was seen is left out of each tail (Fagerland, Lydersen & Laake 2013).
    """
    from scipy.stats import binom

    if only_a == only_b:
        return 1.0
    seen = binom.pmf(only_a, only_a + only_b, 0.5)
    return mcnemar_exact(only_a, only_b) - float(seen)


def decisions_p(difference: Floats) -> float:
    """Two-sided p that two models decide right equally often.

    `difference`, (units,), is by how many decisions a is right more often than b. McNemar's mid-p
    where no unit differs by more than one, else (a row of several seeds or labels, a group) its
    form for clusters, chi-squared (sum d)^2 / sum d^2 with 1 degree of freedom (Durkalski et al.
    2003).
    """
    if np.isin(difference, (-1, 0, 1)).all():
        return mcnemar_mid(int((difference == 1).sum()), int((difference == -1).sum()))
    return _normal_p(float(difference.sum()), float((difference**2).sum()))


def holm(p: Sequence[float]) -> list[float]:
    """p values adjusted for their number by Holm (1979); NaN stays NaN and isn't counted."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]
    steps = np.arange(len(order), 0, -1)
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * steps), 1)
    return [float(value) for value in adjusted]


def detectable(error: float) -> float:
    """The smallest true difference that a test at .05 finds with a chance of 80 %.

    `error` is the standard error of the paired difference; 2.80 of them (Bloom 1995).
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(POWER)) * error


def seed_spread(values: Floats, draws: Floats) -> float:
    """Standard deviation between seeds beyond what the choice of test rows makes of it.

    `values` is (seeds,), `draws` (seeds, draws). Under resampled rows the variance between seeds
    grows by as much as the rows added to the observed one, which is taken off: 2 V - mean V*,
    0 where that is negative. NaN for a single seed.
    """
    if len(values) < 2:
        return math.nan
    observed = float(np.var(values, ddof=1))
    resampled = float(np.nanmean(np.var(draws, axis=0, ddof=1)))
    return math.sqrt(max(0.0, 2 * observed - resampled))


def _normal_p(difference: float, variance: float) -> float:
    """Two-sided p of a normal difference; without variance 1 for none, 0 for any."""
    if math.isnan(difference) or math.isnan(variance):
        return math.nan
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    return math.erfc(abs(difference) / math.sqrt(2 * variance))
