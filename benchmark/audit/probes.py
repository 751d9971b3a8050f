"""One-column probes: how well a single column tells the label, out of fold."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.columns import Column
from models.base import Floats, Ints

MOST_ROWS = 8000
"""Rows that a probe looks at: enough for a standard error near .01 at 10 % positives."""
LEAST = 20
"""Rows that a class must have, and lack, to be probed."""

_FOLDS = 3
_SMOOTHING = 5.0
"""Rows of the class rate that are added to the rate of each category."""
_DEPTH, _LEAF = 3, 20


@dataclass(frozen=True)
class Probe:
    """The ROC-AUC of the class that a column tells best, and the interval's lower end.

    `low` is two of Hanley and McNeil's standard errors (Radiology 1982;143:29-36) below `auc`.
    """

    auc: float
    low: float
    of: str


def probe_columns(
    X: pd.DataFrame,
    columns: Sequence[Column],
    *,
    labels: Ints,
    folds: Ints,
    classes: Sequence[str],
) -> dict[str, Probe]:
    """The probe of each column on rows `X` (n) with labels (n, k) of 0 and 1.

    Scores are out of fold: a shallow tree for numbers and dates, the smoothed class rate of each
    category, and of a text whether there is one at all. Classes with fewer than `LEAST` rows in or
    out of them are left out; {} if none is left.
    """
    counts = labels.sum(axis=0)
    big = np.flatnonzero((counts >= LEAST) & (len(labels) - counts >= LEAST))
    if not len(big):
        return {}
    truth = labels[:, big]
    names = [classes[place] for place in big.tolist()]
    return {c.name: best(scores(X[c.name], c, truth, folds), truth, names) for c in columns}


def folds_of(truth: Ints) -> Ints:
    """A fold number for each row, each combination of labels spread evenly."""
    rng = np.random.default_rng([0, zlib.crc32(b"audit folds")])
    order = rng.permutation(len(truth))
    kinds = pd.factorize(pd.Series([row.tobytes() for row in np.ascontiguousarray(truth)]))[0]
    order = order[np.argsort(kinds[order], kind="stable")]
    folds = np.empty(len(truth), np.int64)
    folds[order] = np.arange(len(truth)) % _FOLDS
    return folds


def scores(column: pd.Series, about: Column, truth: Ints, folds: Ints) -> Floats:
    """Out-of-fold scores (n, k) of one column."""
    if about.kind in ("numeric", "date"):
        return _tree_scores(_as_numbers(column), truth, folds)
    values = (column != "") if about.kind == "text" else column.astype(object).where(column.notna())
    return _rate_scores(pd.factorize(values, use_na_sentinel=False)[0], truth, folds)


def _as_numbers(column: pd.Series) -> Floats:
    """Numbers, dates as days; missing is NaN."""
    if pd.api.types.is_datetime64_any_dtype(column):
        days = column.astype("datetime64[s]").astype("int64").to_numpy(np.float64) / 86_400
        return np.where(column.isna(), np.nan, days)
    return column.to_numpy(np.float64, na_value=np.nan)


def _tree_scores(values: Floats, truth: Ints, folds: Ints) -> Floats:
    from sklearn.tree import DecisionTreeRegressor

    found = np.empty(truth.shape)
    for fold in range(_FOLDS):
        out = folds == fold
        # squared error on 0/1 gives class rates, for several labels at once
        tree = DecisionTreeRegressor(max_depth=_DEPTH, min_samples_leaf=_LEAF, random_state=0)
        tree.fit(values[~out, None], truth[~out])
        found[out] = tree.predict(values[out, None]).reshape(-1, truth.shape[1])
    return found


def _rate_scores(codes: npt.NDArray[np.intp], truth: Ints, folds: Ints) -> Floats:
    found = np.empty(truth.shape)
    for fold in range(_FOLDS):
        out = folds == fold
        base = truth[~out].mean(axis=0)
        n = np.bincount(codes[~out], minlength=codes.max() + 1)[:, None]
        hits = np.column_stack(
            [np.bincount(codes[~out], row, codes.max() + 1) for row in truth[~out].T]
        )
        found[out] = ((hits + _SMOOTHING * base) / (n + _SMOOTHING))[codes[out]]
    return found


def best(found: Floats, truth: Ints, names: Sequence[str]) -> Probe:
    """The class that the scores (n, k) tell best."""
    probes = [
        interval(roc_auc(truth[:, k], found[:, k]), int(truth[:, k].sum()), len(truth), names[k])
        for k in range(len(names))
    ]
    return max(probes, key=lambda probe: probe.low)


def interval(auc: float, positives: int, n: int, of: str) -> Probe:
    """A probe with the lower end of its interval, for `positives` of `n` rows."""
    negatives = n - positives
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    error = float(np.sqrt(max(variance, 0.0) / (positives * negatives)))
    return Probe(float(auc), float(auc) - 2 * error, of)


def roc_auc(truth: Ints, score: Floats) -> float:
    """Share of (positive, negative) pairs in the right order; ties count half."""
    from scipy.stats import rankdata

    positives = int(truth.sum())
    ranks = rankdata(score)[truth == 1].sum()
    pairs = positives * (len(truth) - positives)
    return float((ranks - positives * (positives + 1) / 2) / pairs)


def within(truth: Ints, score: Floats, batches: npt.ArrayLike) -> float:
    """ROC-AUC over the pairs of rows from one batch alone; NaN where no batch has both classes.

    Each batch's AUC weighs by its number of (positive, negative) pairs, so that a score which only
    tells the batches apart gets 0.5.
    """
    codes = pd.factorize(np.asarray(batches))[0]
    total, pairs = 0.0, 0
    for code in np.unique(codes):
        rows = codes == code
        positives = int(truth[rows].sum())
        here = positives * (int(rows.sum()) - positives)
        if here:
            total += here * roc_auc(truth[rows], score[rows])
            pairs += here
    return total / pairs if pairs else float("nan")
