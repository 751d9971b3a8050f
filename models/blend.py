"""Weighted means of models' probabilities, the weights chosen on valid rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field

from features.columns import Columns, Inputs
from features.errors import InputError
from models import base
from models.base import Floats, Ints, Target

Score = Callable[[Ints, Floats], float]
"""Truth and probabilities (n, k) to a number, higher is better."""

_TIE = 1e-12


class BlendParams(base.Params):
    """`members` are labels of other models, or label/inputs (None: all that learn).

    For `rounds` and `bags` see `select`.
    """

    members: list[str] | None = None
    rounds: int = Field(default=50, ge=1)
    bags: int = Field(default=20, ge=1)


class Blend:
    """A weighted mean of the other models' predictions, the weights chosen on valid; no refit.

    It is no `models.base.Model`: it learns from stored probabilities instead of rows.
    """

    Params: ClassVar[type[base.Params]] = BlendParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("both",)
    libraries: ClassVar[tuple[str, ...]] = ("numpy",)
    is_floor: ClassVar[bool] = False

    def __init__(self, params: BlendParams, target: Target, *, seed: int = 0) -> None:
        self.params, self.target, self.seed = params, target, seed
        self.weights: dict[str, float] = {}

    @classmethod
    def preflight(cls, params: BlendParams) -> None:
        """Nothing is needed."""

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, Any]:
        """Nothing to tune."""
        return {}

    def fit(self, probabilities: Mapping[str, Floats], y: Ints) -> Self:
        """Choose the weights on the valid rows, (n, k) a member."""
        self.weights = select(
            probabilities,
            y,
            target=self.target,
            rounds=self.params.rounds,
            bags=self.params.bags,
            seed=self.seed,
        )
        return self

    def predict_proba(self, probabilities: Mapping[str, Floats]) -> Floats:
        """The mixture, (n, k), of the members' probabilities for the same rows."""
        return mix(probabilities, self.weights)


def select(
    probabilities: Mapping[str, Floats],
    y: Ints,
    *,
    target: Target,
    rounds: int = 50,
    bags: int = 20,
    seed: int = 0,
) -> dict[str, float]:
    """The weight of each model in the blend, by name; they sum to 1 and some are 0.

    `probabilities` are those of the valid rows, (n, k), the same rows for all. Ensemble selection
    (Caruana et al. 2004, "Ensemble Selection from Libraries of Models"): begin with the best few
    models (sorted initialisation), then add, with replacement, the one that helps most, for
    `rounds` rounds; the best state on the way counts. Few valid rows mislead it. So it's done on
    `bags` bootstrap samples of them, and the weights are averaged (the paper's bags are of models,
    which here are too few); and if the blend isn't better on all rows than the best model alone,
    that one has all the weight. What counts is the log loss (`log_score`): where ranks matter more,
    calibrate the members. Equally good models are taken in the order of their names. Raises
    `InputError` without models or rows.
    """
    if not probabilities or not len(y):
        raise InputError(
            f"a blend of {len(probabilities)} models on {len(y)} valid rows",
            "at least one of each",
            "name its members, or give the split a valid part",
        )
    names = sorted(probabilities)
    stacked = np.stack([probabilities[name] for name in names])
    worth = log_score(target)
    alone = _scores(stacked, y, worth)
    weights = np.eye(len(names))[_first_best(alone)]
    bagged = _bagged(stacked, y, worth, rounds=rounds, bags=bags, seed=seed)
    if worth(y, _mean(stacked, bagged)) > alone.max() + _TIE:
        weights = bagged
    return dict(zip(names, weights.tolist(), strict=True))


def mix(probabilities: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """The weighted mean, (n, k), of probabilities for the same rows; every member has a weight."""
    if set(probabilities) != set(weights):
        raise ValueError(f"members {sorted(probabilities)} with weights of {sorted(weights)}")
    names = sorted(weights)
    return _mean(
        np.stack([probabilities[name] for name in names]),
        np.array([weights[name] for name in names]),
    )


def log_score(target: Target) -> Score:
    """Minus the mean log loss in nats; of several labels, minus the mean over them.

    Probabilities are kept 1e-6 away from 0 and 1: one row that is sure and wrong must not decide.
    """
    edge = 1e-6

    def single(y: Ints, proba: Floats) -> float:
        return float(np.log(np.clip(proba[np.arange(len(y)), y], edge, 1)).mean())

    def several(y: Ints, proba: Floats) -> float:
        right = np.where(y == 1, proba, 1 - proba)
        return float(np.log(np.clip(right, edge, 1)).mean())

    return several if target.kind == "multilabel" else single


def _mean(stacked: Floats, weights: Floats) -> Floats:
    return np.asarray(np.tensordot(weights, stacked, axes=1))


def _bagged(stacked: Floats, y: Ints, worth: Score, *, rounds: int, bags: int, seed: int) -> Floats:
    """Mean weights, (m,), over bootstrap samples of the rows."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(bags):
        rows = random.integers(0, len(y), len(y))
        counts = _greedy(stacked[:, rows], y[rows], worth, rounds)
        found.append(counts / counts.sum())
    return np.asarray(np.mean(found, axis=0))


def _greedy(stacked: Floats, y: Ints, worth: Score, rounds: int) -> Floats:
    """How often each model (m, n, k) is taken.

    The best state is the earliest of equally good ones, so it's also the smallest.
    """
    alone = _scores(stacked, y, worth)
    counts = _sorted_start(stacked, y, alone, worth)
    total = np.tensordot(counts, stacked, axes=1)
    best = worth(y, total / counts.sum())
    found = counts.copy()
    for _ in range(rounds - int(counts.sum())):
        scores = _scores((total + stacked) / (counts.sum() + 1), y, worth)
        taken = _first_best(scores)
        counts[taken] += 1
        total = total + stacked[taken]
        if scores[taken] > best + _TIE:
            best, found = scores[taken], counts.copy()
    return found


def _sorted_start(stacked: Floats, y: Ints, alone: Floats, worth: Score) -> Floats:
    """Counts of 1 for the best models: as many of them as together score best."""
    order = np.argsort(-alone, kind="stable")
    sums = np.cumsum(stacked[order], axis=0)
    sizes = np.arange(1, len(order) + 1)
    means = sums / sizes.reshape(-1, *[1] * (sums.ndim - 1))
    counts = np.zeros(len(order))
    counts[order[: _first_best(_scores(means, y, worth)) + 1]] = 1
    return counts


def _scores(candidates: Sequence[Floats] | Floats, y: Ints, worth: Score) -> Floats:
    return np.array([worth(y, one) for one in candidates])


def _first_best(scores: Floats) -> int:
    """The place of the highest score, of equally good ones the first."""
    return int(np.argmax(scores >= scores.max() - _TIE))
