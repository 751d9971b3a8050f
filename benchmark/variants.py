"""The ways in which papers compute what they call PR-AUC, F1 or AUC, as one grid a metric.

A variant is a measure, what it is computed on (the scores, or the 0/1 predictions put in their
place), and the threshold of these predictions. The first of a kind is the plain reading; the rest
stands from ordinary to odd. Binary targets; others know the plain one alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from benchmark import metrics
from benchmark.bootstrap import interval, standard_error
from benchmark.metrics import Scored, Weighted
from features.errors import InputError
from models.base import Floats, Ints

Rule = Literal["0.5", "valid", "test"]
"""The threshold: 0.5, or the best for F1 on valid or (a leak) on test."""
Side = Literal["positive", "negative"]
Kind = Literal[
    "pr_auc", "f1", "f1_macro", "f1_micro", "roc_auc", "precision_macro", "recall_macro",
    "accuracy", "balanced_accuracy", "log_loss",
]  # fmt: skip

RULES: dict[Rule, str] = {"0.5": "at 0.5", "valid": "at valid's best", "test": "at test's best"}
_BLOCK = 2**20
"""Weights of draws held at a time."""


@dataclass(frozen=True)
class Measure:
    """A function of scored rows under draws, and its name in words.

    `macro` measures are given the threshold that is best for macro-F1, others the best for F1.
    """

    function: Callable[[Weighted], Floats]
    words: str
    macro: bool = False


def pr_trapezoid(at: Weighted) -> Floats:
    """Area under the precision-recall curve by the trapezoidal rule, from precision 1 at recall 0.

    As scikit-learn's `auc` of its `precision_recall_curve`. It is too kind: between two points
    precision does not fall on a line (Davis & Goadrich 2006).
    """
    hits, seen = at.curve
    return _trapezoid(hits, seen)


def pr_trapezoid_negative(at: Weighted) -> Floats:
    """`pr_trapezoid` of `classes[0]`, scored by 1 - p(`classes[1]`)."""
    hits, seen = at.curve
    misses = seen - hits
    return _trapezoid((misses[:, -1:] - misses)[:, ::-1], (seen[:, -1:] - seen)[:, ::-1])


def f1_of_means(at: Weighted) -> Floats:
    """F1 of mean precision and mean recall of the classes.

    The other formula that is called macro-F1; never below the mean of the F1s (Opitz & Burst 2019).
    """
    precision, recall = metrics.precision_macro(at), metrics.recall_macro(at)
    return _ratio(2 * precision * recall, precision + recall)


def f1_negative(at: Weighted) -> Floats:
    """F1 of `classes[0]`."""
    return metrics.f1_positive(at.labels[0])


def _precision_weighted(at: Weighted) -> Floats:
    shares = [metrics.precision_positive(label) for label in at.labels]
    true = at.counts[2]
    return _ratio((np.stack(shares, axis=1) * true).sum(axis=1), true.sum(axis=1))


MEASURES = {
    "average_precision": Measure(metrics.average_precision, "average precision"),
    "average_precision_negative": Measure(
        metrics.average_precision_negative, "average precision of the negative class"
    ),
    "pr_trapezoid": Measure(pr_trapezoid, "PR area by trapezoid"),
    "pr_trapezoid_negative": Measure(
        pr_trapezoid_negative, "PR area by trapezoid of the negative class"
    ),
    "roc_auc": Measure(metrics.roc_auc, "ROC-AUC"),
    "log_loss": Measure(metrics.log_loss, "log loss"),
    "f1_positive": Measure(metrics.f1_positive, "F1"),
    "f1_macro": Measure(metrics.f1_macro, "macro-F1 (mean of F1s)", macro=True),
    "f1_of_means": Measure(f1_of_means, "macro-F1 (F1 of means)", macro=True),
    "f1_weighted": Measure(metrics.f1_weighted, "weighted F1", macro=True),
    "f1_micro": Measure(metrics.f1_micro, "micro-F1 (accuracy)", macro=True),
    "f1_negative": Measure(f1_negative, "F1 of the negative class", macro=True),
    "precision_macro": Measure(metrics.precision_macro, "macro-precision", macro=True),
    "precision_positive": Measure(metrics.precision_positive, "precision"),
    "precision_weighted": Measure(_precision_weighted, "weighted precision", macro=True),
    "recall_macro": Measure(metrics.recall_macro, "macro-recall", macro=True),
    "recall_positive": Measure(metrics.recall_positive, "recall"),
    "accuracy": Measure(metrics.f1_micro, "accuracy (weighted recall)", macro=True),
    "balanced_accuracy": Measure(metrics.balanced_accuracy, "balanced accuracy", macro=True),
}


@dataclass(frozen=True)
class Setting:
    """What all numbers of a table made by one program share: threshold and class of interest."""

    rule: Rule
    side: Side


SIDES: tuple[Side, ...] = get_args(Side)
SETTINGS = tuple(Setting(rule, side) for rule in RULES for side in SIDES)


@dataclass(frozen=True)
class Variant:
    """One way to compute a metric.

    Without a `rule` no threshold is used; `hard` puts the 0/1 predictions in the scores' place.
    """

    measure: str
    rule: Rule | None = None
    hard: bool = False

    @property
    def key(self) -> str:
        """`average_precision`, `average_precision[0/1]@0.5`, `f1_macro@valid`."""
        return self.measure + "[0/1]" * self.hard + ("" if self.rule is None else f"@{self.rule}")

    @property
    def side(self) -> Side | None:
        """The class that it is of, None where it is of both."""
        if self.measure.endswith("_negative"):
            return "negative"
        one_sided = self.measure in ("average_precision", "pr_trapezoid")
        return "positive" if one_sided or self.measure.endswith("_positive") else None

    def fits(self, setting: Setting) -> bool:
        """Whether it can stem from a program of this setting."""
        return self.rule in (None, setting.rule) and self.side in (None, setting.side)

    @property
    def words(self) -> str:
        """What it is, for people."""
        about = MEASURES[self.measure].words + " of 0/1" * self.hard
        return about if self.rule is None else f"{about} {RULES[self.rule]}"


def _on_scores_or_hard(*names: str) -> tuple[Variant, ...]:
    return tuple(
        Variant(name, rule, hard=rule is not None) for name in names for rule in (None, *RULES)
    )


def _at_thresholds(*names: str) -> tuple[Variant, ...]:
    return tuple(Variant(name, rule) for name in names for rule in RULES)


_F1 = ("f1_positive", "f1_macro", "f1_of_means", "f1_weighted", "f1_micro", "f1_negative")
_RIGHT = ("accuracy", "balanced_accuracy")
_GRID: dict[Kind, tuple[Variant, ...]] = {
    "pr_auc": _on_scores_or_hard(
        "average_precision", "pr_trapezoid", "average_precision_negative", "pr_trapezoid_negative"
    ),
    "roc_auc": _on_scores_or_hard("roc_auc"),
    "f1": _at_thresholds(*_F1),
    "f1_macro": _at_thresholds(*dict.fromkeys(("f1_macro", "f1_of_means", *_F1))),
    "f1_micro": _at_thresholds(*dict.fromkeys(("f1_micro", *_F1))),
    "precision_macro": _at_thresholds(
        "precision_macro", "precision_weighted", "precision_positive"
    ),
    "recall_macro": _at_thresholds("recall_macro", "accuracy", "recall_positive"),
    "accuracy": _at_thresholds(*_RIGHT),
    "balanced_accuracy": _at_thresholds(*reversed(_RIGHT)),
    "log_loss": (Variant("log_loss"),),
}


def variants(kind: Kind) -> tuple[Variant, ...]:
    """The grid of a metric, the plain reading first."""
    return _GRID[kind]


def variant(kind: Kind, key: str) -> Variant:
    """The variant of this key, which the grid must hold."""
    return next(found for found in variants(kind) if found.key == key)


@dataclass(frozen=True)
class Estimate:
    """A variant's value on the rows, and its values on the bootstrap draws, (draws,)."""

    variant: Variant
    value: float
    draws: Floats

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 %."""
        return interval(self.draws)

    @cached_property
    def mean(self) -> float:
        """What a mean of very many draws would print."""
        defined = self.draws[~np.isnan(self.draws)]
        return float(defined.mean()) if len(defined) else math.nan

    def chance(self, draws: int) -> float:
        """Half the 95 % range of a mean of so few draws around `mean`: 1.96 sd / sqrt(draws)."""
        return 1.96 * standard_error(self.draws) / math.sqrt(draws)


def estimate(
    found: Variant,
    scored: Scored,
    weights: npt.NDArray[Any],
    *,
    valid: tuple[Ints, Floats] | None = None,
) -> Estimate:
    """A variant on scored rows. `weights` is (draws, n), `valid` truth and probabilities.

    Raises `InputError` for a threshold from valid without `valid` rows, and for anything but the
    plain forms of a target that is not binary.
    """
    rows = _applied(found, scored, valid)
    function = MEASURES[found.measure].function
    parts = [function(Weighted(rows, block)) for block in _blocks(weights)]
    point = float(function(Weighted(rows, np.ones((1, rows.n))))[0])
    return Estimate(found, point, np.concatenate(parts))


def estimates(
    kind: Kind,
    scored: Scored,
    weights: npt.NDArray[Any],
    *,
    valid: tuple[Ints, Floats] | None = None,
) -> tuple[Estimate, ...]:
    """The whole grid of a metric; without `valid` rows, less the thresholds from there."""
    grid = [found for found in variants(kind) if found.rule != "valid" or valid is not None]
    return tuple(estimate(found, scored, weights, valid=valid) for found in grid)


def constant(scored: Scored, p: float) -> Scored:
    """The same rows with one probability of the positive class for all."""
    proba = np.tile([1 - p, p], (scored.n, 1))
    return Scored.of(scored.target, scored.y, proba=proba)


def _applied(found: Variant, scored: Scored, valid: tuple[Ints, Floats] | None) -> Scored:
    if scored.target.kind != "binary":
        if found.hard or found.rule not in (None, "0.5"):
            raise InputError(f"{found.words} of a {scored.target.kind} target", "a binary target")
        return scored
    if found.rule is None:
        return scored
    decisions = metrics.decide(scored.proba, "binary", _threshold(found, scored, valid))
    hard = np.stack([1 - decisions, decisions], axis=1).astype(np.float64)
    return replace(scored, decisions=decisions, proba=hard if found.hard else scored.proba)


def _threshold(found: Variant, scored: Scored, valid: tuple[Ints, Floats] | None) -> Floats:
    """(1,): 0.5, or the cut with the best F1 (macro-F1) on the rows that the rule names."""
    if found.rule == "0.5":
        return np.array([0.5])
    rows = (scored.y, scored.proba) if found.rule == "test" else valid
    if rows is None:
        raise InputError(f"{found.words} without valid rows", "predictions of valid rows")
    y, proba = rows
    if MEASURES[found.measure].macro:
        return metrics.choose_thresholds(y, proba, "binary")
    return metrics.choose_thresholds(y[:, None], proba[:, 1:], "multilabel")


def _blocks(weights: npt.NDArray[Any]) -> Iterator[Floats]:
    step = max(1, _BLOCK // weights.shape[1])
    for start in range(0, len(weights), step):
        yield weights[start : start + step].astype(np.float64)


def _trapezoid(hits: Floats, seen: Floats) -> Floats:
    """Area under precision over recall, both running from the highest score down, first 0."""
    precision = np.where(seen > 0, _ratio(hits, seen), 1.0)
    recall = _ratio(hits, hits[:, -1:] + np.zeros_like(hits))
    area = (recall[:, 1:] - recall[:, :-1]) * (precision[:, 1:] + precision[:, :-1]) / 2
    both = (hits[:, -1] > 0) & (hits[:, -1] < seen[:, -1])
    return np.where(both, area.sum(axis=1), np.nan)


def _ratio(top: Floats, bottom: Floats) -> Floats:
    out: Floats = np.zeros(np.broadcast(top, bottom).shape)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out
