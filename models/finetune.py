"""The recipe of `models.encoder`: parameters, batches, steps, scores on valid, best weights.

A loop of its own rather than transformers' `Trainer`, which seeds Python, NumPy and torch for the
whole process, keeps process-wide state in accelerate, scores under reduced precision, needs an
output folder, spreads over all GPUs it sees, and (5.23) does not divide the loss of a
classification head by the accumulation steps. Optimiser, schedule, precision and loss scaling are
torch's and transformers'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, Self
from zlib import crc32

import numpy as np
from pydantic import Field, model_validator

from features.errors import InputError
from models.base import Context, Floats, Ints, Target
from models.losses import LossParams, Objective, objective, pick
from models.network import Long, Network, Pooling, groups, hold, n_layers
from models.tokens import (
    Batch,
    Encoded,
    Rows,
    batch_of,
    in_fixed_order,
    length_grouped,
    moved,
    pieces,
)

if TYPE_CHECKING:
    import torch


class EncoderParams(LossParams):
    """Parameters of the fine-tuned encoder.

    `checkpoint` and `revision` are those of `features.checkpoints.resolve`. `template` is that of
    `features.text.join_text`; the text it gives is cut to `max_characters`, and then read in a
    window of `max_length` tokens. With `long` `max` or `mean` a longer text is read in up to
    `max_windows` windows and the maximum or mean over them is taken; `cut` reads the first alone.
    `pooling` makes one vector of a text: that of the first token (`cls`), the `mean` over tokens,
    or what the checkpoint's own `head` makes of it. With `table: head` the table's columns go, as
    numbers, into the head, beside the pooled text (`cls` or `mean`); `verbalised` writes them into
    the text. `dropout` is that of the head; None is what the checkpoint says of its own, or 0.1.

    `max_steps` bounds the optimiser steps that `epochs` asks for; one step takes
    `batch_size * accumulation` rows. `warmup` is the share of the steps during which the learning
    rate `lr` rises from 0; then it falls to 0 by `schedule`. Each layer has `layer_decay` times
    the rate of the one above, the head `head_factor` times that of the last layer. The first
    `head_steps` steps train the head alone; the first `frozen_layers` layers, and then the
    embeddings too, are never trained. `stop_after` ends the training before the schedule does.

    The valid rows are scored every `eval_every_steps` steps (None: once an epoch) and after the
    last step; training ends early after `patience` scores in a row that bring no better `monitor`
    (None: never), and the weights of the best score are kept. To monitor `loss` is to monitor the
    loss that is trained, with its class weights; F1 is taken at the most likely class, or at 0.5
    for each label. For the loss's own parameters see `models.losses.LossParams`. `precision`
    `auto` trains in bfloat16 on a GPU that has it, else in float16 with loss scaling, and in
    float32 elsewhere; scores and predictions are always computed in float32.
    """

    checkpoint: str = "distilbert-base-uncased"
    revision: str | None = None
    max_length: int = Field(128, ge=8)
    long: Long = "cut"
    max_windows: int = Field(4, ge=2)
    template: str | None = None
    max_characters: int | None = Field(None, ge=1)
    pooling: Pooling = "mean"
    table: Literal["verbalised", "head"] = "verbalised"
    dropout: float | None = Field(None, ge=0, lt=1)
    epochs: int = Field(3, ge=1)
    max_steps: int | None = Field(None, ge=1)
    stop_after: int | None = Field(None, ge=1)
    batch_size: int = Field(16, ge=1)
    accumulation: int = Field(1, ge=1)
    lr: float = Field(2e-5, gt=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    head_factor: float = Field(10.0, gt=0)
    head_steps: int = Field(0, ge=0)
    frozen_layers: int = Field(0, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    schedule: Literal["linear", "cosine"] = "linear"
    patience: int | None = Field(2, ge=1)
    monitor: Literal["loss", "f1_macro", "f1_micro"] = "loss"
    eval_every_steps: int | None = Field(None, ge=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"

    @model_validator(mode="after")
    def _vector_beside_the_table(self) -> Self:
        if self.table == "head" and self.pooling == "head":
            raise InputError(
                "table: head with pooling: head",
                "pooling mean or cls, which give a vector to put beside the table",
                "set pooling: mean",
            )
        return self


def probabilities(logits: Floats, *, multilabel: bool) -> Floats:
    """Softmax over classes, or a sigmoid for each label."""
    if multilabel:
        return np.exp(-np.logaddexp(0, -logits))
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def logits(network: Network, rows: Encoded, *, most: int) -> Floats:
    """Outputs for each row, (n, k), in float32 and without dropout, `most` windows at a time.

    They do not depend on the order of the rows.
    """
    import torch

    out = np.zeros((len(rows.ids), network.encoder.config.num_labels))
    training = network.parts.training
    network.parts.eval()
    found = pieces(rows.windows, in_fixed_order(rows), most)
    with torch.inference_mode():
        # fetched at the end: a GPU would stand idle while each piece is waited for
        parts = [network(batch_of(rows, piece, network.device)) for piece in found]
        for piece, part in zip(found, parts, strict=True):
            out[piece] = part.cpu().numpy()
    network.parts.train(training)
    return out


def train(
    network: Network,
    rows: tuple[Encoded, Ints],
    *,
    valid: tuple[Encoded, Ints] | None,
    params: EncoderParams,
    target: Target,
    context: Context,
) -> dict[str, Any]:
    """Fine-tune `network` in place, leave it with its best weights, and tell the course.

    Its `curve` has the loss and F1 of the valid rows, and of the train rows as they were met since
    the last score: with dropout, and before the step they led to. Without valid rows the last
    weights are the ones kept. `planned_steps` is the length of the schedule. Raises `InputError`
    where the outputs are no longer numbers, or the loss is not for this kind of target.
    """
    loss = objective(params, target, rows[1])
    plan = _plan(params, len(rows[1]))
    curve: list[dict[str, float]] = []
    best: dict[str, float] = {}
    weights: dict[str, torch.Tensor] = {}
    for point in _course(network, rows, params=params, plan=plan, loss=loss, context=context):
        curve.append(point)
        if valid is None:
            best = point
            continue
        found = _checked(logits(network, valid[0], most=4 * params.batch_size))
        point |= _scores("valid", found, valid[1], loss=loss)
        if not best or _gain(point, best, params.monitor) > 0:
            best, weights = point, _copied(network)
        elif params.patience is not None and _stale(curve, best) >= params.patience:
            break
    if valid is not None:
        network.parts.load_state_dict(weights)
    return {
        "steps": int(curve[-1]["step"]),
        "epochs": curve[-1]["epoch"],
        "planned_steps": plan.planned,
        "scored_step": int(best["step"]),
        "scored_epoch": best["epoch"],
        "monitor": None if valid is None else params.monitor,
        "loss": pick(params.loss, target.kind),
        "curve": curve,
        "precision": pick_precision(params.precision, context.device),
    }


@dataclass(frozen=True)
class _Plan:
    """Optimiser steps: of an epoch, of the whole schedule, to be taken, and between scores."""

    epoch: int
    planned: int
    taken: int
    every: int


def _plan(params: EncoderParams, n: int) -> _Plan:
    epoch = -(-n // (params.batch_size * params.accumulation))
    whole = params.epochs * epoch
    planned = whole if params.max_steps is None else min(whole, params.max_steps)
    taken = planned if params.stop_after is None else min(planned, params.stop_after)
    every = epoch if params.eval_every_steps is None else params.eval_every_steps
    return _Plan(epoch, planned, taken, every)


def _course(
    network: Network,
    rows: tuple[Encoded, Ints],
    *,
    params: EncoderParams,
    plan: _Plan,
    loss: Objective,
    context: Context,
) -> Iterator[dict[str, float]]:
    """Train, and stop at each step that is to be scored with the scores of the rows met so far."""
    encoded, y = rows
    precision = pick_precision(params.precision, context.device)
    update = _updater(network, params, steps=plan.planned, loss=loss, precision=precision)
    rng = np.random.default_rng([context.seed, crc32(b"encoder batches")])
    held = _held(network, params)
    met: list[tuple[torch.Tensor, Ints]] = []
    for step, batches in enumerate(islice(_updates(encoded, params, rng), plan.taken), start=1):
        if step in (1, params.head_steps + 1):
            hold(network, held if step > params.head_steps else n_layers(network))
        with context.timer("steps"):
            met += update([(batch_of(encoded, b, network.device), y[b]) for b in batches])
            if step % plan.every == 0 or step == plan.taken:
                _finish(network.device)
        if step % plan.every == 0 or step == plan.taken:
            out = np.concatenate([part.cpu().numpy().astype(np.float64) for part, _ in met])
            truth = np.concatenate([part for _, part in met])
            scores = _scores("train", out, truth, loss=loss)
            yield {"step": step, "epoch": step / plan.epoch, **scores}
            met = []


def _finish(device: Any) -> None:
    """Wait until all that was asked of a GPU is done, so that its time is counted where it went."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def _held(network: Network, params: EncoderParams) -> int:
    """The depth up to which nothing is ever trained, -1 for none."""
    if params.frozen_layers > n_layers(network):
        raise InputError(
            f"frozen_layers {params.frozen_layers}",
            f"at most {n_layers(network)}, the layers of checkpoint {params.checkpoint!r}",
            "freeze fewer",
        )
    return params.frozen_layers if params.frozen_layers else -1


def pick_precision(asked: str, device: str) -> str:
    """`fp32`, `bf16` or `fp16`: what `auto` means on `device`."""
    import torch

    kind = torch.device(device).type
    if asked == "auto":
        if kind != "cuda":
            return "fp32"
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if asked == "fp16" and kind != "cuda":
        raise InputError(f"precision fp16 on {kind}", "fp16 on a GPU only", "set precision: auto")
    return asked


def _updates(
    rows: Encoded, params: EncoderParams, rng: np.random.Generator
) -> Iterator[list[Rows]]:
    """The batches of one optimiser step after the other, without end.

    A batch of texts of several windows comes in pieces, so that it fits in the memory of one of
    texts of one window.
    """
    windows = rows.windows
    while True:
        batches = length_grouped(rows.lengths, params.batch_size, rng)
        for start in range(0, len(batches), params.accumulation):
            part = batches[start : start + params.accumulation]
            yield [p for batch in part for p in pieces(windows, batch, params.batch_size)]


def _updater(
    network: Network, params: EncoderParams, *, steps: int, loss: Objective, precision: str
) -> Callable[[Sequence[tuple[Batch, Ints]]], list[tuple[torch.Tensor, Ints]]]:
    """A function that takes one optimiser step on batches and gives their outputs and truth.

    In bfloat16 and float32 it waits for nothing on a GPU: the next batch is padded while this one
    is computed. In float16 it waits once, to know whether the step overflowed.
    """
    import torch
    from transformers import get_scheduler

    parts = groups(
        network,
        lr=params.lr,
        layer_decay=params.layer_decay,
        head_factor=params.head_factor,
        weight_decay=params.weight_decay,
    )
    optimizer = torch.optim.AdamW(list(parts), lr=params.lr, fused=True)
    schedule = get_scheduler(
        params.schedule,
        optimizer,
        num_warmup_steps=round(params.warmup * steps),
        num_training_steps=steps,
    )
    device = network.device.type
    scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
    reduced = torch.bfloat16 if precision == "bf16" else torch.float16
    autocast = torch.autocast(device, dtype=reduced, enabled=precision != "fp32")

    def update(batches: Sequence[tuple[Batch, Ints]]) -> list[tuple[torch.Tensor, Ints]]:
        network.parts.train()
        rows = sum(len(y) for _, y in batches)
        met = []
        for batch, y in batches:
            with autocast:
                out = network(batch).float()
            mean = loss(out, moved(y, out.device)).sum() / rows
            torch.autograd.backward(scaler.scale(mean))
            met.append((out.detach(), y))
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(network.parts.parameters(), 1.0)
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() >= scale:  # else the step overflowed and was left out
            schedule.step()
        optimizer.zero_grad()
        return met

    return update


def _checked(out: Floats) -> Floats:
    if not np.isfinite(out).all():
        raise InputError(
            "training diverged: the network's outputs are no longer numbers",
            "finite outputs",
            "set a smaller lr",
        )
    return out


def _scores(part: str, out: Floats, y: Ints, *, loss: Objective) -> dict[str, float]:
    """Mean loss a row and both F1 of one part's outputs, (n, k)."""
    import torch
    from sklearn.metrics import f1_score

    kept = np.isfinite(out).all(axis=1)  # a step that overflows in float16 is left out
    out, y = (out[kept], y[kept]) if kept.any() else (_checked(out), y)
    guess = (out >= 0).astype(int) if y.ndim == 2 else out.argmax(axis=1)
    f1 = {
        f"{part}_f1_{average}": float(f1_score(y, guess, average=average, zero_division=0))
        for average in ("macro", "micro")
    }
    return {f"{part}_loss": float(loss(torch.as_tensor(out), torch.as_tensor(y)).mean()), **f1}


def _gain(point: dict[str, float], best: dict[str, float], monitor: str) -> float:
    """By how much `point` is better than `best`."""
    name = f"valid_{monitor}"
    return best[name] - point[name] if monitor == "loss" else point[name] - best[name]


def _stale(curve: list[dict[str, float]], best: dict[str, float]) -> int:
    """Scores since the best one."""
    return sum(point["step"] > best["step"] for point in curve)


def _copied(network: Network) -> dict[str, torch.Tensor]:
    weights = network.parts.state_dict()
    return {name: part.detach().to("cpu", copy=True) for name, part in weights.items()}
