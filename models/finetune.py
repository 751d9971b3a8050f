"""The recipe of `models.encoder`: parameters, batches, steps, scores on valid, best weights.

A loop of its own rather than transformers' `Trainer`, which seeds Python, NumPy and torch for the
whole process, keeps process-wide state in accelerate, scores under reduced precision, needs an
output folder, spreads over all GPUs it sees, and (5.23) does not divide the loss of a
classification head by the accumulation steps. Optimiser, schedule, precision and loss scaling are
torch's and transformers'.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal
from zlib import crc32

import numpy as np
import numpy.typing as npt
from pydantic import Field

from features.errors import InputError
from models.base import Context, Floats, Ints, Target
from models.losses import LossParams, Objective, objective, pick

if TYPE_CHECKING:
    import torch

Batch = npt.NDArray[np.int64]
"""Numbers of the rows of one batch."""


class EncoderParams(LossParams):
    """Parameters of the fine-tuned encoder.

    `checkpoint` and `revision` are those of `features.checkpoints.resolve`. Texts are cut to
    `max_length` tokens. `template` is that of `features.text.join_text`; the text
    it gives is cut to `max_characters` before that. `max_steps` bounds the
    optimiser steps that `epochs` asks for; one step takes `batch_size * accumulation` rows.
    `warmup` is the share of the steps during which the learning rate `lr` rises from 0; then it
    falls to 0 by `schedule`. The valid rows are scored every `eval_every_steps` steps (None: once
    an epoch) and after the last step; training ends early after `patience` scores in a row that
    bring no better `monitor` (None: never), and the weights of the best score are kept. To monitor
    `loss` is to monitor the loss that is trained, with its class weights; F1 is taken at the most
    likely class, or at 0.5 for each label. For the loss's own parameters see
    `models.losses.LossParams`. `precision` `auto` trains in bfloat16 on a GPU that has it, else in
    float16 with loss scaling, and in float32 elsewhere; scores and predictions are always computed
    in float32.
    """

    checkpoint: str = "distilbert-base-uncased"
    revision: str | None = None
    max_length: int = Field(128, ge=8)
    template: str | None = None
    max_characters: int | None = Field(None, ge=1)
    epochs: int = Field(3, ge=1)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(16, ge=1)
    accumulation: int = Field(1, ge=1)
    lr: float = Field(2e-5, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    schedule: Literal["linear", "cosine"] = "linear"
    patience: int | None = Field(2, ge=1)
    monitor: Literal["loss", "f1_macro", "f1_micro"] = "loss"
    eval_every_steps: int | None = Field(None, ge=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"


@dataclass(frozen=True)
class Encoded:
    """Texts as tokens: ids cut to the limit, and each text's length before the cut."""

    ids: list[npt.NDArray[np.int32]]
    full_length: Ints
    pad_id: int

    @property
    def lengths(self) -> Ints:
        """Tokens of each text after the cut."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)


def encode(texts: list[str], tokenizer: Any, max_length: int, *, threads: int = 1) -> Encoded:
    """Tokenise `texts`, each cut at its end to `max_length` tokens (special tokens included)."""
    pad_id = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
    if not texts:
        return Encoded([], np.zeros(0, dtype=np.int64), pad_id)
    with _tokenizer_threads(threads):
        found = tokenizer(texts, truncation=True, max_length=max_length).encodings
    special = tokenizer.num_special_tokens_to_add()
    # what was cut off comes in pieces, each with special tokens of its own
    full = [
        len(row.ids) + sum(len(piece.ids) - special for piece in row.overflowing) for row in found
    ]
    return Encoded([np.array(row.ids, dtype=np.int32) for row in found], np.array(full), pad_id)


def length_grouped(lengths: Ints, batch_size: int, rng: np.random.Generator) -> list[Batch]:
    """All rows once, in batches of similar length, shuffled.

    As transformers' `LengthGroupedSampler`: rows are shuffled, sorted by length within windows of
    50 batches (fewer for few rows, so that batches differ between epochs), and the batches are
    shuffled again.
    """
    rows = rng.permutation(len(lengths))
    window = batch_size * max(1, min(len(lengths) // (4 * batch_size), 50))
    batches = []
    for start in range(0, len(rows), window):
        part = rows[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


def probabilities(logits: Floats, *, multilabel: bool) -> Floats:
    """Softmax over classes, or a sigmoid for each label."""
    if multilabel:
        return np.exp(-np.logaddexp(0, -logits))
    return np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))


def logits(network: Any, rows: Encoded, *, batch_size: int) -> Floats:
    """Outputs of the network for each row, (n, k), in float32 and without dropout.

    Rows are batched by length and then by content, so that a row's batch, and with it the last
    bits of its value, do not depend on the order of the rows.
    """
    import torch

    order = sorted(
        range(len(rows.ids)), key=lambda row: (len(rows.ids[row]), rows.ids[row].tobytes())
    )
    out = np.zeros((len(order), network.config.num_labels))
    training = network.training
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = np.array(order[start : start + batch_size])
            out[batch] = network(**_padded(rows, batch, network.device)).logits.cpu().numpy()
    network.train(training)
    return out


def train(
    network: Any,
    rows: tuple[Encoded, Ints],
    *,
    valid: tuple[Encoded, Ints],
    params: EncoderParams,
    target: Target,
    context: Context,
) -> dict[str, Any]:
    """Fine-tune `network` in place, leave it with its best weights, and tell the course.

    Its `curve` has the loss and F1 of the valid rows, and of the train rows as they were met since
    the last score: with dropout, and before the step they led to. Raises `InputError` where the
    outputs on valid are no longer numbers, or the loss is not for this kind of target.
    """
    encoded, y = rows
    loss = objective(params, target, y)
    steps_per_epoch = -(-len(y) // (params.batch_size * params.accumulation))
    steps = params.epochs * steps_per_epoch
    steps = steps if params.max_steps is None else min(steps, params.max_steps)
    every = steps_per_epoch if params.eval_every_steps is None else params.eval_every_steps
    precision = pick_precision(params.precision, context.device)
    update = _updater(network, params, steps=steps, loss=loss, precision=precision)
    rng = np.random.default_rng([context.seed, crc32(b"encoder batches")])

    curve: list[dict[str, float]] = []
    best: dict[str, float] = {}
    weights: dict[str, torch.Tensor] = {}
    met: list[tuple[Floats, Ints]] = []
    for step, batches in enumerate(islice(_updates(encoded, params, rng), steps), start=1):
        met += update([(_padded(encoded, b, network.device), y[b]) for b in batches])
        if step % every and step != steps:
            continue
        found = _checked(logits(network, valid[0], batch_size=4 * params.batch_size))
        train_out, train_y = (np.concatenate(part) for part in zip(*met, strict=True))
        point = {"step": step, "epoch": step / steps_per_epoch}
        point |= _scores("train", train_out, train_y, loss=loss)
        curve.append({**point, **_scores("valid", found, valid[1], loss=loss)})
        met = []
        if not best or _gain(curve[-1], best, params.monitor) > 0:
            best, weights = curve[-1], _copied(network)
        elif params.patience is not None and _stale(curve, best) >= params.patience:
            break
    network.load_state_dict(weights)
    return {
        "steps": int(curve[-1]["step"]),
        "epochs": curve[-1]["epoch"],
        "scored_step": int(best["step"]),
        "scored_epoch": best["epoch"],
        "monitor": params.monitor,
        "loss": pick(params.loss, target.kind),
        "curve": curve,
        "precision": precision,
    }


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
) -> Iterator[list[Batch]]:
    """The batches of one optimiser step after the other, without end."""
    while True:
        batches = length_grouped(rows.lengths, params.batch_size, rng)
        for start in range(0, len(batches), params.accumulation):
            yield batches[start : start + params.accumulation]


def _updater(
    network: Any, params: EncoderParams, *, steps: int, loss: Objective, precision: str
) -> Callable[[Sequence[tuple[dict[str, Any], Ints]]], list[tuple[Floats, Ints]]]:
    """A function that takes one optimiser step on batches and gives their outputs and truth."""
    import torch
    from transformers import get_scheduler

    # biases and layer norms, the vectors among the weights, are not decayed
    matrices = [part for part in network.parameters() if part.ndim >= 2]
    vectors = [part for part in network.parameters() if part.ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": params.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=params.lr,
        fused=True,
    )
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

    def update(batches: Sequence[tuple[dict[str, Any], Ints]]) -> list[tuple[Floats, Ints]]:
        network.train()
        rows = sum(len(y) for _, y in batches)
        met = []
        for inputs, y in batches:
            with autocast:
                out = network(**inputs).logits.float()
            mean = loss(out, torch.as_tensor(y, device=out.device)).sum() / rows
            torch.autograd.backward(scaler.scale(mean))
            met.append((out.detach().cpu().numpy().astype(np.float64), y))
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() >= scale:  # else the step overflowed and was left out
            schedule.step()
        optimizer.zero_grad()
        return met

    return update


def _padded(rows: Encoded, batch: Batch, device: Any) -> dict[str, torch.Tensor]:
    """Rows of a batch as (rows, tokens of the longest), with their mask."""
    import torch

    lengths = np.array([len(rows.ids[row]) for row in batch])
    ids = np.full((len(batch), lengths.max()), rows.pad_id, dtype=np.int64)
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids[mask] = np.concatenate([rows.ids[row] for row in batch])
    return {
        "input_ids": torch.as_tensor(ids, device=device),
        "attention_mask": torch.as_tensor(mask.astype(np.int64), device=device),
    }


def _checked(out: Floats) -> Floats:
    if not np.isfinite(out).all():
        raise InputError(
            "training diverged: the network's outputs are no longer numbers",
            "finite outputs on the valid rows",
            "set a smaller lr",
        )
    return out


def _scores(part: str, out: Floats, y: Ints, *, loss: Objective) -> dict[str, float]:
    """Mean loss a row and both F1 of one part's outputs, (n, k)."""
    import torch
    from sklearn.metrics import f1_score

    kept = np.isfinite(out).all(axis=1)  # a step that overflows in float16 is left out
    out, y = out[kept], y[kept]
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


def _copied(network: Any) -> dict[str, torch.Tensor]:
    return {name: part.detach().to("cpu", copy=True) for name, part in network.state_dict().items()}


@contextmanager
def _tokenizer_threads(threads: int) -> Iterator[None]:
    """Keep the tokenizer off its own pool of threads where one thread is allowed."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "true" if threads > 1 else "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
