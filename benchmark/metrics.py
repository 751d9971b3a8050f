"""Metrics of stored predictions, for many bootstrap draws at once.

Every metric is one function of the scored rows under a weight matrix (draws x rows) and gives one
value a draw; the point value is the same call with one row of ones. Weights are counts or any
non-negative numbers: k copies of a row and weight k are the same. A value that a draw leaves
undefined (ROC-AUC where only one class was drawn) is NaN. Only numpy: a report stays quick to load.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import InputError, unknown_name
from models.base import Floats, Ints, Target

SCORING = 1
"""Version of the metrics' definitions; a number counted by another one isn't comparable."""
BINS = 15
COMPLETED = "completed"
# A block of draws is kept near the size of the processor's cache.
_BLOCK = 2**17
_TOGETHER = 32
"""Draws of a block at least: from here on whole rows are added faster than number after number."""
_SUM_TOLERANCE = 1e-3
_ROUNDING = 1e-9
_TIE_TOLERANCE = 1e-12
_NAME = re.compile(r"(?P<base>[^\[\]@]+)(?:\[(?P<label>.*)\])?(?P<tuned>@valid)?", re.DOTALL)

Weights = npt.NDArray[Any]


@dataclass(frozen=True)
class Scored:
    """Rows with their truth and the predictions of one model; raises `InputError` on bad shapes.

    `y` and `decisions` are (n,) class numbers, or (n, k) of 0 and 1 for a multi-label target;
    `proba` is (n, k). `tuned` holds the decisions at thresholds chosen on valid, None without.
    """

    target: Target
    y: Ints
    proba: Floats
    decisions: Ints
    tuned: Ints | None = None

    @classmethod
    def of(
        cls, target: Target, y: Ints, *, proba: Floats, valid: tuple[Ints, Floats] | None = None
    ) -> Scored:
        """Predictions of test rows; `valid`, truth and probabilities of valid rows, tunes.

        Decisions are made at 0.5, or by the largest probability of a multi-class target (the
        first of equal ones), and once more at `choose_thresholds(*valid)` where there is one.
        """
        truth, scores = np.asarray(y, np.int64), np.asarray(proba, np.float64)
        _check(target, truth, scores)
        tuned = None
        if valid is not None and target.kind != "multiclass":
            y_valid, p_valid = np.asarray(valid[0], np.int64), np.asarray(valid[1], np.float64)
            _check(target, y_valid, p_valid)
            tuned = decide(scores, target.kind, choose_thresholds(y_valid, p_valid, target.kind))
        return cls(target, truth, scores, decide(scores, target.kind), tuned)

    def __post_init__(self) -> None:
        _check(self.target, self.y, self.proba)

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.y)

    @cached_property
    def truth(self) -> Floats:
        """(n, k) of 0 and 1."""
        return _indicator(self.y, len(self.target.classes))

    @cached_property
    def at_valid(self) -> Scored:
        """The same rows with the decisions tuned on valid."""
        if self.tuned is None:
            raise InputError(
                "a metric '@valid' of predictions without a threshold chosen on valid",
                "valid predictions of a binary or multi-label target",
                "use the metric without '@valid'",
            )
        return replace(self, decisions=self.tuned, tuned=None)

    @cached_property
    def labels(self) -> tuple[Scored, ...]:
        """Each class or label against the rest, as a binary target."""
        decided = _indicator(self.decisions, len(self.target.classes)).astype(np.int64)
        return tuple(
            Scored(
                Target("binary", (f"not {name}", name)),
                self.truth[:, i].astype(np.int64),
                np.stack([1 - self.proba[:, i], self.proba[:, i]], axis=1),
                decided[:, i],
            )
            for i, name in enumerate(self.target.classes)
        )

    @cached_property
    def ranking(self) -> tuple[Ints, Ints]:
        """Rows of a binary target from the highest score down, and where each tie group ends."""
        order = np.argsort(-self.proba[:, 1], kind="stable")
        score = self.proba[order, 1]
        return order, np.append(np.flatnonzero(score[1:] < score[:-1]), self.n - 1)

    @cached_property
    def by_class(self) -> tuple[Ints, Ints]:
        """Rows of a binary target's negatives and of its positives, from the highest score down."""
        order = self.ranking[0]
        positive = self.y[order] == 1
        return order[~positive], order[positive]

    @cached_property
    def above(self) -> tuple[Ints, Ints]:
        """How many negatives and positives of a binary target stand at or above each distinct
        score, (1 + distinct scores,) each, from 0 on."""
        order, ends = self.ranking
        hits = np.append(0, np.cumsum(self.y[order])[ends])
        return np.append(0, ends + 1) - hits, hits

    def steps(self, of: int) -> Ints:
        """Numbers of the distinct scores that some row of class `of` has."""
        return np.flatnonzero(np.diff(self.above[of]))


@dataclass(frozen=True)
class Weighted:
    """Scored rows under a block of draws; `weights` is (draws, n). What metrics share is kept."""

    scored: Scored
    weights: Floats

    @cached_property
    def total(self) -> Floats:
        """Weight of all rows, (draws,)."""
        return np.asarray(self.weights.sum(axis=1))

    @cached_property
    def counts(self) -> tuple[Floats, Floats, Floats]:
        """Weight of true positives, predicted rows and true rows by class, (draws, k) each."""
        truth = self.scored.truth
        k = truth.shape[1]
        decided = _indicator(self.scored.decisions, k)
        both = self.weights @ np.concatenate([truth * decided, decided, truth], axis=1)
        return both[:, :k], both[:, k : 2 * k], both[:, 2 * k :]

    @cached_property
    def running(self) -> tuple[Floats, Floats]:
        """Weight of the first rows of each class from the highest score down; binary targets only.

        (1 + positives, draws) and (1 + negatives, draws), both from 0 on.
        """
        rows = self.scored.by_class
        return _running(self.weights.T[rows[1]]), _running(self.weights.T[rows[0]])

    @cached_property
    def curve(self) -> tuple[Floats, Floats]:
        """Weight of the positives and of all rows at or above each distinct score, highest first.

        Both are (draws, 1 + distinct scores) and start with 0; binary targets only.
        """
        hits, misses = self.running
        above = self.scored.above
        found = hits[above[1]]
        return found.T, (found + misses[above[0]]).T

    @cached_property
    def labels(self) -> tuple[Weighted, ...]:
        """Each class or label against the rest."""
        return tuple(Weighted(label, self.weights) for label in self.scored.labels)


def decide(proba: Floats, kind: str, thresholds: Floats | None = None) -> Ints:
    """Decisions from probabilities: positive at or above the threshold (0.5 where none is given).

    `thresholds` is what `choose_thresholds` gives; a multi-class target takes the largest.
    """
    if kind == "multiclass":
        return np.asarray(np.argmax(proba, axis=1), np.int64)
    cut = 0.5 if thresholds is None else thresholds
    above = (proba[:, 1:] if kind == "binary" else proba) >= cut
    return np.asarray(above[:, 0] if kind == "binary" else above, np.int64)


def choose_thresholds(y_valid: Ints, proba_valid: Floats, kind: str) -> Floats:
    """Thresholds chosen on valid rows, never on test.

    Binary: one, (1,), for the score of `classes[1]`, the best for macro-F1. Multi-label: one a
    label, (k,), the best for that label's F1. Multi-class: none, (0,). Candidates are the midpoints
    between neighbouring distinct scores, 0 (all positive, which is what the F1 of useless scores
    asks for) and just above the highest (none). Of equally good ones the nearest to 0.5 is taken
    (of two as near, the lower). 0.5 stays where valid holds one class only.
    """
    if kind == "multiclass":
        return np.empty(0)
    if kind == "binary":
        return np.array([_best_cut(y_valid, proba_valid[:, 1], macro=True)])
    columns = range(y_valid.shape[1])
    return np.array([_best_cut(y_valid[:, i], proba_valid[:, i], macro=False) for i in columns])


def roc_auc(at: Weighted) -> Floats:
    """Area under the ROC curve, ties counted half; macro one-vs-rest for more than two classes.

    Classes or labels of which a draw holds no row, or nothing else, are left out of its mean.
    """
    if at.scored.target.kind != "binary":
        return _macro(roc_auc, at)
    few, many = _few_and_many(at)
    gain = few.after - few.before
    beside = 2 * many.total - many.before - many.after
    area = _product_sum(gain, beside) / 2
    if few.of == 0:  # the area above the curve of the negatives
        area = few.total * many.total - area
    return _ratio(area, few.total * many.total, np.nan)


def average_precision(at: Weighted) -> Floats:
    """Step-wise sum of precision times the gain in recall, one step a distinct score.

    As scikit-learn's, without interpolation; of `classes[1]`, else macro as in `roc_auc`.
    """
    if at.scored.target.kind != "binary":
        return _macro(average_precision, at)
    hits, misses = (_steps(at, of, where=1) for of in (1, 0))
    return _precision_steps(hits.after - hits.before, hits.after, misses.after, (hits, misses))


def average_precision_negative(at: Weighted) -> Floats:
    """Average precision of `classes[0]`, the stopped trials, scored by 1 - p(`classes[1]`).

    Multi-class: of all rows that are not `completed`, scored by 1 - p(completed).
    """
    if at.scored.target.kind == "multiclass":
        return average_precision_negative(at.labels[_completed(at.scored.target)])
    hits, misses = (_steps(at, of, where=0) for of in (1, 0))
    tail, left = misses.total - misses.before, hits.total - hits.before
    return _precision_steps(misses.after - misses.before, tail, left, (misses, hits))


def f1_macro(at: Weighted) -> Floats:
    """Mean of the F1 of all classes (a binary target has two) or labels.

    Opitz & Burst 2019 ("Macro F1 and Macro F1") name two formulas; this is the mean of the F1s, not
    the F1 of mean precision and mean recall. A class neither true nor predicted counts 0.
    """
    return np.asarray(_f1(at).mean(axis=1))


def f1_micro(at: Weighted) -> Floats:
    """F1 of all classes' or labels' counts together; for single-label targets, the accuracy."""
    hit, decided, true = at.counts
    return _ratio(2 * hit.sum(axis=1), decided.sum(axis=1) + true.sum(axis=1), 0.0)


def f1_weighted(at: Weighted) -> Floats:
    """Mean of the F1 of all classes or labels, each weighted by its true rows."""
    true = at.counts[2]
    return _ratio((_f1(at) * true).sum(axis=1), true.sum(axis=1), 0.0)


def f1_positive(at: Weighted) -> Floats:
    """F1 of `classes[1]`; 0 if it's neither true nor predicted."""
    return np.asarray(_f1(at)[:, 1])


def precision_macro(at: Weighted) -> Floats:
    """Mean precision of all classes or labels; one that is never predicted counts 0."""
    return np.asarray(_precision(at).mean(axis=1))


def precision_micro(at: Weighted) -> Floats:
    """Precision of all classes' or labels' counts together; 0 if nothing is predicted."""
    hit, decided, _ = at.counts
    return _ratio(hit.sum(axis=1), decided.sum(axis=1), 0.0)


def precision_positive(at: Weighted) -> Floats:
    """Precision of `classes[1]`; 0 if it's never predicted."""
    return np.asarray(_precision(at)[:, 1])


def recall_macro(at: Weighted) -> Floats:
    """Mean recall of all classes or labels; one without a true row counts 0."""
    return np.asarray(_recall(at, 0.0).mean(axis=1))


def recall_micro(at: Weighted) -> Floats:
    """Recall of all classes' or labels' counts together; 0 without a true label."""
    hit, _, true = at.counts
    return _ratio(hit.sum(axis=1), true.sum(axis=1), 0.0)


def recall_positive(at: Weighted) -> Floats:
    """Recall of `classes[1]`; NaN without a true row."""
    return np.asarray(_recall(at, np.nan)[:, 1])


def balanced_accuracy(at: Weighted) -> Floats:
    """Mean recall of the classes that the draw holds; NaN if it holds only one."""
    several = (at.counts[2] > 0).sum(axis=1) > 1
    return np.where(several, _mean_defined(_recall(at, np.nan)), np.nan)


def mcc(at: Weighted) -> Floats:
    """Matthews correlation, for several classes R_K of Gorodkin (2004).

    0 if all decisions are the same; NaN if the draw holds one class only.
    """
    hit, decided, true = at.counts
    top = hit.sum(axis=1) * at.total - (decided * true).sum(axis=1)
    spread_decided = at.total**2 - (decided**2).sum(axis=1)
    spread_true = at.total**2 - (true**2).sum(axis=1)
    several = (true > 0).sum(axis=1) > 1
    value = _ratio(top, np.sqrt(np.maximum(spread_decided * spread_true, 0)), 0.0)
    return np.where(several, value, np.nan)


def brier(at: Weighted) -> Floats:
    """Mean squared error of the probabilities (Brier 1950).

    Binary: of the positive class, 0 to 1. Multi-class: summed over the classes, 0 to 2.
    Multi-label: mean over the labels.
    """
    squares = (at.scored.proba - at.scored.truth) ** 2
    if at.scored.target.kind == "binary":
        return _row_mean(at, squares[:, 1])
    multiclass = at.scored.target.kind == "multiclass"
    return _row_mean(at, squares.sum(axis=1) if multiclass else squares.mean(axis=1))


def log_loss(at: Weighted) -> Floats:
    """Mean negative log-likelihood in nats; multi-label: mean over the labels.

    Probabilities are kept one float64 epsilon away from 0 and 1, as scikit-learn does.
    """
    edge = np.finfo(np.float64).eps
    proba, truth = np.clip(at.scored.proba, edge, 1 - edge), at.scored.truth
    loss = -(truth * np.log(proba)).sum(axis=1)
    if at.scored.target.kind == "multilabel":
        loss = (loss - ((1 - truth) * np.log1p(-proba)).sum(axis=1)) / truth.shape[1]
    return _row_mean(at, loss)


def ece(at: Weighted) -> Floats:
    """Expected calibration error in 15 bins of equal width, closed on the right (Guo et al. 2017).

    Binary: of the positive class's probability. Multi-class: of the largest probability against
    whether that class is right, as in the paper. Multi-label: mean over the labels.
    """
    scored = at.scored
    if scored.target.kind == "multilabel":
        return _macro(ece, at)
    if scored.target.kind == "binary":
        said, right = scored.proba[:, 1], scored.truth[:, 1]
    else:
        said = scored.proba.max(axis=1)
        right = (scored.proba.argmax(axis=1) == scored.y).astype(np.float64)
    bins = np.searchsorted(np.arange(1, BINS) / BINS, said, side="left")
    gaps = at.weights @ (_indicator(bins, BINS) * (said - right)[:, None])
    return _ratio(np.abs(gaps).sum(axis=1), at.total, np.nan)


def subset_accuracy(at: Weighted) -> Floats:
    """Share of rows with every label right."""
    return _row_mean(at, (at.scored.y == at.scored.decisions).all(axis=1).astype(np.float64))


def lrap(at: Weighted) -> Floats:
    """Label ranking average precision (Tsoumakas, Katakis & Vlahavas 2010, 7.3).

    Mean over a row's true labels of the share of true ones among the labels scored at least as
    high; 1 for a row with no label or with all.
    """
    scored = at.scored
    above = scored.proba[:, None, :] >= scored.proba[:, :, None]
    share = (above * scored.truth[:, None, :]).sum(axis=2) / above.sum(axis=2)
    true = scored.truth.sum(axis=1)
    mean = _ratio((share * scored.truth).sum(axis=1), true, 1.0)
    return _row_mean(at, np.where(true == scored.truth.shape[1], 1.0, mean))


SINGLE, ALL = ("binary", "multiclass"), ("binary", "multiclass", "multilabel")
SEVERAL, LABELS = ("multiclass", "multilabel"), ("multilabel",)


@dataclass(frozen=True)
class Metric:
    """One metric: what computes it, the kinds of target it's for, and how to read it."""

    function: Callable[[Weighted], Floats]
    kinds: tuple[str, ...]
    about: str
    higher_is_better: bool = True
    needs_decisions: bool = False


METRICS = {
    "roc_auc": Metric(roc_auc, ALL, "area under the ROC curve"),
    "average_precision": Metric(average_precision, ALL, "average precision of the scores"),
    "average_precision_negative": Metric(
        average_precision_negative, SINGLE, "average precision of the stopped class"
    ),
    "f1_macro": Metric(f1_macro, ALL, "mean F1 of the classes or labels", needs_decisions=True),
    "f1_micro": Metric(f1_micro, ALL, "F1 of the pooled counts", needs_decisions=True),
    "f1_weighted": Metric(f1_weighted, ALL, "mean F1 by true rows", needs_decisions=True),
    "f1_positive": Metric(
        f1_positive, ("binary",), "F1 of the positive class", needs_decisions=True
    ),
    "precision_macro": Metric(
        precision_macro, ALL, "mean precision of the classes or labels", needs_decisions=True
    ),
    "precision_micro": Metric(
        precision_micro, ALL, "precision of the pooled counts", needs_decisions=True
    ),
    "recall_macro": Metric(
        recall_macro, ALL, "mean recall of the classes or labels", needs_decisions=True
    ),
    "recall_micro": Metric(recall_micro, ALL, "recall of the pooled counts", needs_decisions=True),
    "balanced_accuracy": Metric(
        balanced_accuracy, SINGLE, "mean recall of the classes present", needs_decisions=True
    ),
    "mcc": Metric(mcc, SINGLE, "Matthews correlation", needs_decisions=True),
    "subset_accuracy": Metric(
        subset_accuracy, LABELS, "share of rows with every label right", needs_decisions=True
    ),
    "lrap": Metric(lrap, LABELS, "label ranking average precision"),
    "brier": Metric(brier, ALL, "squared error of the probabilities", higher_is_better=False),
    "log_loss": Metric(log_loss, ALL, "negative log-likelihood in nats", higher_is_better=False),
    "ece": Metric(ece, ALL, "expected calibration error, 15 bins", higher_is_better=False),
    # One class or label against the rest, asked for as `f1[RCT]`.
    "roc_auc[label]": Metric(roc_auc, SEVERAL, "ROC-AUC of one class or label"),
    "average_precision[label]": Metric(
        average_precision, SEVERAL, "average precision of one class or label"
    ),
    "f1[label]": Metric(f1_positive, SEVERAL, "F1 of one class or label", needs_decisions=True),
    "precision[label]": Metric(
        precision_positive, SEVERAL, "precision of one class or label", needs_decisions=True
    ),
    "recall[label]": Metric(
        recall_positive, SEVERAL, "recall of one class or label", needs_decisions=True
    ),
}


_SINGLE_DEFAULTS = (
    "roc_auc", "average_precision", "average_precision_negative", "f1_macro", "f1_macro@valid",
    "brier",
)  # fmt: skip
DEFAULTS = {
    "binary": _SINGLE_DEFAULTS,
    "multiclass": _SINGLE_DEFAULTS,
    "multilabel": (
        "f1_macro@valid", "f1_micro@valid", "average_precision", "roc_auc", "subset_accuracy@valid",
        "lrap",
    ),
}  # fmt: skip
"""What a table shows unless the config says otherwise, by kind of target; the first one ranks."""


def metric_of(name: str, target: Target | None = None) -> Metric:
    """The metric behind `f1_macro`, `f1_macro@valid` or `f1[RCT]@valid`.

    Raises `InputError` for an unknown name and, with a target, for one that isn't for it.
    """
    asked = _parse(name)
    if target is not None:
        _label(asked, target)
    return METRICS[asked.key]


def metric_names(target: Target, *, tuned: bool) -> tuple[str, ...]:
    """All metrics of a target, by label too; with `@valid` forms where decisions are `tuned`."""
    names = []
    for key, metric in METRICS.items():
        if not _applies(key, target):
            continue
        base, by_label, _ = key.partition("[label]")
        full = [f"{base}[{label}]" for label in target.classes] if by_label else [key]
        names += full
        if tuned and metric.needs_decisions and target.kind != "multiclass":
            names += [f"{name}@valid" for name in full]
    return tuple(names)


def label_metrics(target: Target) -> tuple[str, ...]:
    """F1 (at the threshold of valid where there is one), AP and ROC-AUC of each class or label.

    Empty for a binary target, whose own metrics say it all.
    """
    if target.kind == "binary":
        return ()
    rule = "@valid" if target.kind == "multilabel" else ""
    forms = (f"f1[{{}}]{rule}", "average_precision[{}]", "roc_auc[{}]")
    return tuple(form.format(label) for form in forms for label in target.classes)


def label_of(name: str) -> str | None:
    """The class or label that a metric is of: `RCT` for `f1[RCT]@valid`; None for all."""
    return _parse(name).label


def scores(
    names: Iterable[str], scored: Scored, *, weights: Weights | None = None
) -> dict[str, Floats]:
    """Values of several metrics, (draws,) each; cheaper than one by one.

    `weights` is (draws, n), None for the point values: one row of ones. Raises `InputError` for a
    name that isn't known or isn't for this target.
    """
    matrix = np.ones((1, scored.n)) if weights is None else weights
    if matrix.ndim != 2 or matrix.shape[1] != scored.n:
        raise InputError(f"weights of shape {matrix.shape}", f"(draws, {scored.n})")
    asked = {name: _parse(name) for name in names}
    labels = {name: _label(asked[name], scored.target) for name in asked}
    needs_valid = any(one.tuned for one in asked.values())
    found: dict[str, list[Floats]] = {name: [] for name in asked}
    for block in _blocks(matrix):
        plain = Weighted(scored, block)
        tuned = Weighted(scored.at_valid, block) if needs_valid else plain
        for name, one in asked.items():
            at, label = tuned if one.tuned else plain, labels[name]
            values = METRICS[one.key].function(at if label is None else at.labels[label])
            found[name].append(values)
    return {name: np.concatenate(parts) for name, parts in found.items()}


def score(name: str, scored: Scored, *, weights: Weights | None = None) -> Floats:
    """Values of one metric, (draws,); see `scores`."""
    return scores([name], scored, weights=weights)[name]


@dataclass(frozen=True)
class _Asked:
    """A metric's name in its parts: `f1[RCT]@valid` is `f1[label]`, `RCT`, tuned on valid."""

    name: str
    key: str
    label: str | None
    tuned: bool


def _parse(name: str) -> _Asked:
    match = _NAME.fullmatch(name)
    label = match["label"] if match else None
    key = name if match is None else match["base"] + ("" if label is None else "[label]")
    if match is None or key not in METRICS:
        raise unknown_name("metric", name, METRICS)
    tuned = match["tuned"] is not None
    if tuned and not METRICS[key].needs_decisions:
        change = f"use {name.removesuffix('@valid')!r}"
        raise InputError(f"metric {name!r}", "no threshold, it scores probabilities", change)
    return _Asked(name, key, label, tuned)


def _label(asked: _Asked, target: Target) -> int | None:
    """Number of the label asked for, None for a metric of all; checked against the target."""
    if not _applies(asked.key, target) or (asked.tuned and target.kind == "multiclass"):
        names = ", ".join(metric_names(target, tuned=True))
        raise InputError(f"metric {asked.name!r} for a {target.kind} target", f"one of {names}")
    if asked.label is None:
        return None
    if asked.label not in target.classes:
        raise unknown_name("label", asked.label, target.classes)
    return target.classes.index(asked.label)


def _applies(key: str, target: Target) -> bool:
    if key == "average_precision_negative" and target.kind == "multiclass":
        return _completed(target) >= 0
    return target.kind in METRICS[key].kinds


def _completed(target: Target) -> int:
    """Number of the class named `completed` in any case, -1 where there is none."""
    names = [name.casefold() for name in target.classes]
    return names.index(COMPLETED) if COMPLETED in names else -1


def _check(target: Target, y: Ints, proba: Floats) -> None:
    """Raise `InputError` unless truth and probabilities fit the target and each other."""
    k = len(target.classes)
    rows = (len(y), k) if target.kind == "multilabel" else (len(y),)
    if len(y) == 0 or proba.shape != (len(y), k) or y.shape != rows:
        raise InputError(
            f"truth of shape {y.shape} and probabilities of shape {proba.shape}",
            f"at least one row and {k} columns of probabilities for a {target.kind} target",
        )
    top = 1 if target.kind == "multilabel" else k - 1
    if y.min() < 0 or y.max() > top:
        raise InputError(f"truth from {y.min()} to {y.max()}", f"whole numbers from 0 to {top}")
    # Written so that NaN fails it too. A mean of models may leave 0 to 1 by a rounding error.
    if not bool(((proba >= -_ROUNDING) & (proba <= 1 + _ROUNDING)).all()):
        raise InputError("a probability that is missing or outside 0 to 1", "numbers from 0 to 1")
    off = 0.0 if target.kind == "multilabel" else np.abs(proba.sum(axis=1) - 1).max()
    if off > _SUM_TOLERANCE:
        raise InputError(f"a row of probabilities {off:.3g} off a sum of 1", "rows that sum to 1")


def _indicator(numbers: Ints, k: int) -> Floats:
    """(n, k) of 0 and 1 from (n,) numbers; what is (n, k) already stays."""
    if numbers.ndim == 2:
        return numbers.astype(np.float64)
    return np.asarray(numbers[:, None] == np.arange(k), np.float64)


def _best_cut(y: Ints, score: Floats, *, macro: bool) -> float:
    """The cut with the best F1 (`macro`: of both classes); see `choose_thresholds`."""
    order = np.argsort(score, kind="stable")
    ranked, n, positives = score[order], len(y), int(y.sum())
    if positives in (0, n):
        return 0.5
    # rows below each cut: none of them, those up to a gap between scores, all
    last = np.flatnonzero(ranked[1:] > ranked[:-1])
    below = np.concatenate([[0], last + 1, [n]])
    missed = np.append(0, np.cumsum(y[order]))[below]
    gain = 2 * (positives - missed) / (n - below + positives)
    if macro:
        gain = gain + 2 * (below - missed) / (below + n - positives)
    low, high = ranked[last], ranked[last + 1]
    middle = low + (high - low) / 2
    # Between neighbouring floats the midpoint rounds to one of them; it must not be the lower.
    middle = np.where(middle > low, middle, high)
    cuts = np.concatenate([[0.0], middle, [np.nextafter(ranked[-1], np.inf)]])
    best = cuts[gain >= gain.max() - _TIE_TOLERANCE]
    # Rounded, or 0.3 and 0.7 would not be equally far from 0.5.
    return float(best[np.argmin(np.abs(best - 0.5).round(12))])


def _blocks(weights: Weights) -> Iterator[Floats]:
    """The draws in blocks of a bounded size, as float64, the draws of a row side by side."""
    step = max(_TOGETHER, _BLOCK // weights.shape[1])
    for start in range(0, len(weights), step):
        yield weights[start : start + step].astype(np.float64, order="F")


@dataclass(frozen=True)
class _Steps:
    """Weight of class `of` before and after some of the distinct scores, (steps, draws), and its
    whole weight, (draws,)."""

    of: int
    before: Floats
    after: Floats
    total: Floats


def _steps(at: Weighted, of: int, *, where: int) -> _Steps:
    """Class `of` at the scores that some row of class `where` has: nothing is gained at others."""
    sums, above = at.running[1 - of], at.scored.above[of]
    chosen = at.scored.steps(where)
    before, after = _picked(sums, above[chosen]), _picked(sums, above[chosen + 1])
    return _Steps(of, before, after, sums[-1])


def _few_and_many(at: Weighted) -> tuple[_Steps, _Steps]:
    """Both classes at the scores of the one with fewer rows, this one first."""
    few = int(len(at.scored.by_class[1]) < len(at.scored.by_class[0]))
    return _steps(at, few, where=few), _steps(at, 1 - few, where=few)


def _picked(sums: Floats, places: Ints) -> Floats:
    """Rows of `sums`; no copy of rows that follow each other."""
    if len(places) and (np.diff(places) == 1).all():
        return sums[places[0] : places[-1] + 1]
    return sums[places]


def _running(rows: Floats) -> Floats:
    """Running sums down (rows, draws), after a first 0."""
    sums = np.zeros((len(rows) + 1, rows.shape[1]))
    sums[1:] = rows
    _accumulate(sums)
    return sums


def _accumulate(sums: Floats) -> None:
    """Running sums down (n, draws), in place.

    `np.cumsum` adds one number after the other, each of which waits for the last. Here whole rows
    are added, in stretches of about the root of n: first inside each, all stretches at once, then
    what went before. Counts are whole numbers, whose sums have no rounding to depend on the order.
    """
    n, draws = sums.shape
    if draws < _TOGETHER:
        np.cumsum(sums, axis=0, out=sums)
        return
    length = math.isqrt(n)
    whole = n // length * length
    stretches = sums[:whole].reshape(-1, length, draws)
    for place in range(1, length):
        stretches[:, place] += stretches[:, place - 1]
    for place in range(1, len(stretches)):
        stretches[place] += stretches[place - 1, -1]
    for place in range(whole, n):
        sums[place] += sums[place - 1]


def _precision_steps(
    gain: Floats, hits: Floats, misses: Floats, classes: tuple[_Steps, _Steps]
) -> Floats:
    """Average precision from each step's new and running weight of hits, and that of misses.

    All are (steps, draws); `classes` are those of hits and of misses.
    """
    wanted, other = classes
    # No positive makes 0 / 0; no negative would make a meaningless 1.
    found = np.where(other.total > 0, wanted.total, 0.0)
    seen = np.maximum(hits + misses, np.finfo(np.float64).tiny)  # no hit where nothing is seen
    return _ratio(_product_sum(gain, hits / seen), found, np.nan)


def _f1(at: Weighted) -> Floats:
    hit, decided, true = at.counts
    return _ratio(2 * hit, decided + true, 0.0)


def _precision(at: Weighted) -> Floats:
    return _ratio(at.counts[0], at.counts[1], 0.0)


def _recall(at: Weighted, empty: float) -> Floats:
    return _ratio(at.counts[0], at.counts[2], empty)


def _row_mean(at: Weighted, values: Floats) -> Floats:
    """Weighted mean of one value a row."""
    return _ratio(at.weights @ values, at.total, np.nan)


def _macro(function: Callable[[Weighted], Floats], at: Weighted) -> Floats:
    """Mean of a binary metric over all classes or labels for which a draw defines it."""
    return _mean_defined(np.stack([function(label) for label in at.labels], axis=1))


def _mean_defined(values: Floats) -> Floats:
    """Mean along the rows of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1), np.nan)


def _product_sum(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("nd,nd->d", a, b))


def _ratio(top: Floats, bottom: npt.NDArray[Any], empty: float) -> Floats:
    """`top / bottom`, and `empty` where `bottom` is not above 0."""
    out: Floats = np.full_like(top, empty)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out
