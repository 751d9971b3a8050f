"""What fine-tuning makes small: losses of the network's outputs (logits), one value a row."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from features.errors import InputError
from models.base import Floats, Ints, Params, Target
from models.targets import balanced

if TYPE_CHECKING:
    import torch

Objective = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""Outputs (rows, k) and truth, (rows,) or (rows, k), to a loss for each row, (rows,)."""

LARGEST_WEIGHT = 20.0
"""Bound of a label's weight, or of 1 by it: a label of three rows must not drown the others."""

FITTING = {
    "multilabel": ("bce", "focal", "asymmetric"),
    "binary": ("cross_entropy", "focal"),
    "multiclass": ("cross_entropy", "focal"),
}
"""The losses for each kind of target; `auto` is the first."""


class LossParams(Params):
    """The loss, and the weights of classes or labels in it.

    `loss`: `auto` is `cross_entropy`, and `bce` for several labels (a mean over them). `focal` has
    `gamma` (see `cross_entropy`), `asymmetric` is for several labels only and has `gamma_neg`,
    `gamma_pos` and `clip` (see `binary`). `class_weight: balanced` weighs a class by n / (k *
    count), so that all classes weigh the same, and the positives of a label by its negatives /
    positives in train (within 1/20 to 20). All but plain `auto` bend the probabilities.
    """

    loss: Literal["auto", "cross_entropy", "bce", "focal", "asymmetric"] = "auto"
    gamma: float = Field(2.0, ge=0)
    gamma_neg: float = Field(4.0, ge=0)
    gamma_pos: float = Field(0.0, ge=0)
    clip: float = Field(0.05, ge=0, lt=1)
    class_weight: Literal["balanced"] | None = None


def pick(loss: str, kind: str) -> str:
    """The loss that `loss` means for a kind of target; `InputError` where it isn't for it."""
    fitting = FITTING[kind]
    if loss == "auto":
        return fitting[0]
    if loss not in fitting:
        raise InputError(
            f"loss {loss} for a {kind} target", " or ".join(fitting), f"set loss: {fitting[0]}"
        )
    return loss


def objective(params: LossParams, target: Target, y: Ints) -> Objective:
    """The loss that `params` ask for; `y`, the targets of train, decides the weights."""
    name, k = pick(params.loss, target.kind), len(target.classes)
    weighted = params.class_weight is not None
    if target.kind != "multilabel":
        gamma = params.gamma if name == "focal" else 0.0
        return partial(cross_entropy, gamma=gamma, weights=balanced(y, k) if weighted else None)
    gamma_neg, gamma_pos, clip = {
        "bce": (0.0, 0.0, 0.0),
        "focal": (params.gamma, params.gamma, 0.0),
        "asymmetric": (params.gamma_neg, params.gamma_pos, params.clip),
    }[name]
    weights = positive_weights(y) if weighted else None
    return partial(binary, gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip, weights=weights)


def positive_weights(y: Ints) -> Floats:
    """Negatives / positives of each label, (k,), within 1/20 and 20."""
    positives = y.sum(axis=0)
    ratio = (len(y) - positives) / np.maximum(positives, 1)
    return np.asarray(np.clip(ratio, 1 / LARGEST_WEIGHT, LARGEST_WEIGHT), np.float64)


def cross_entropy(
    out: torch.Tensor, truth: torch.Tensor, *, gamma: float = 0.0, weights: Floats | None = None
) -> torch.Tensor:
    """w_t (1 - p_t)^gamma (-log p_t) for the true class t and p = softmax(out), (rows,).

    The focal loss of Lin et al. 2017 ("Focal Loss for Dense Object Detection", eq. 5) for several
    classes; with gamma 0 the cross-entropy. `weights` (k,) has no say in the mean over rows.
    """
    import torch

    truth = truth.long()[:, None]
    log_p = out.log_softmax(dim=1)
    loss = -log_p.gather(1, truth)[:, 0]
    if gamma:
        # log of the others' sum: 1 - p_t would be 0, and its slope infinite, near p_t = 1
        others = log_p.scatter(1, truth, -torch.inf).logsumexp(dim=1)
        loss = (gamma * others).exp() * loss
    if weights is not None:
        loss = torch.as_tensor(weights, dtype=out.dtype, device=out.device)[truth[:, 0]] * loss
    return loss


def binary(
    out: torch.Tensor,
    truth: torch.Tensor,
    *,
    gamma_neg: float = 0.0,
    gamma_pos: float = 0.0,
    clip: float = 0.0,
    weights: Floats | None = None,
) -> torch.Tensor:
    """Mean over the labels of a row, (rows,), with p = sigmoid(out) and p_m = max(p - clip, 0).

    Positive: w (1 - p)^gamma_pos (-log p). Negative: p_m^gamma_neg (-log(1 - p_m)). That is the
    asymmetric loss of Ridnik et al. 2021 ("Asymmetric Loss For Multi-Label Classification", eq. 7;
    also known as Ben-Baruch et al. 2020). With equal gammas and clip 0 it is the focal loss of Lin
    et al. 2017 (eq. 4) for each label, with all three 0 binary cross-entropy. `weights` (k,).
    """
    import torch
    from torch.nn.functional import logsigmoid

    log_p, log_not = logsigmoid(out), logsigmoid(-out)
    positive = -log_p
    if gamma_pos:
        positive = (gamma_pos * log_not).exp() * positive
    if weights is not None:
        positive = torch.as_tensor(weights, dtype=out.dtype, device=out.device) * positive
    log_pm = log_p
    if clip:
        tiny = torch.finfo(out.dtype).tiny
        log_pm = (log_p.exp() - clip).clamp(min=tiny).log()
        shift = torch.full_like(out, clip).log()
        log_not = torch.logaddexp(log_not, shift).clamp(max=0.0)
    negative = -log_not
    if gamma_neg:
        negative = (gamma_neg * log_pm).exp() * negative
    return torch.where(truth > 0, positive, negative).mean(dim=1)
