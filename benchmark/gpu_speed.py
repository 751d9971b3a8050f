"""How fast a device trains and embeds, beside the plain recipes and the rate of its products.

Part of `python -m benchmark.gpu_check --speed`. The plain recipes are those that people run today:
sentence-transformers' `encode` as it comes, in float32; and a loop that pads every text to the
longest length allowed, in float16 with batches of 16 and a step every second batch, and reads the
loss at each. Ours train with larger batches at a rate that grows with the root of the batch, as
suits Adam (Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient Algorithms").
The share of the device's rate counts the products with weights alone, two operations for each
weight and token that is not padding, three times as many in training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from features.embed import Encoder, embed
from features.text import join_text
from models import build, check_params
from models.base import Context, Floats, Ints, Target

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.gpu_check import Bench

MEASURED = (
    "matrix products: TFLOP/s of the device in bfloat16",
    "embedding: texts a second of encode (fp32) and of trialmark, smallest cosine",
    "embedding: share of the device's rate",
    "fine-tuning: samples a second of the plain recipe and of trialmark, loss on valid",
    "fine-tuning: share of the device's rate",
)
"""What the report tells, in its order."""

_PLAIN_BATCH, _ACCUMULATION, _LARGER = 16, 2, 4
"""Rows of a plain batch, batches of its step, and by how much a step of ours is larger."""


@dataclass(frozen=True)
class Speed:
    """One side of a comparison.

    Texts or samples a second, tokens of theirs (padding not counted) a second, and what came of it:
    vectors, or probabilities for the valid rows.
    """

    rate: float
    tokens: float
    found: Any


def report(bench: Bench) -> Iterator[str]:
    """The lines of the report, one for each of `MEASURED`."""
    ceiling = product_rate(bench.device, size=bench.size.matrix)
    yield f"{MEASURED[0]}: {ceiling / 1e12:,.1f}"
    plain, ours = (side(bench) for side in (encode, trialmark))
    near = (plain.found * ours.found).sum(axis=1).min()
    yield (
        f"{MEASURED[1]}: {plain.rate:,.0f} and {ours.rate:,.0f} "
        f"({ours.rate / plain.rate:.2f} times), {near:.5f}"
    )
    yield f"{MEASURED[2]}: {2 * minilm_weights() * ours.tokens / ceiling:.1%}"
    plain, ours = padded(bench), grouped(bench)
    losses = [_loss(side.found, bench.data[2][1][1]) for side in (plain, ours)]
    yield (
        f"{MEASURED[3]}: {plain.rate:,.0f} and {ours.rate:,.0f} "
        f"({ours.rate / plain.rate:.2f} times), {losses[0]:.4f} and {losses[1]:.4f}"
    )
    share = 6 * _checkpoint_weights(bench) * ours.tokens / ceiling
    yield f"{MEASURED[4]}: {share:.1%}"


def product_rate(device: str, *, size: int, times: int = 20) -> float:
    """Operations a second of products of square bfloat16 matrices, after two to be warm."""
    import torch

    with torch.inference_mode():
        a, b = (torch.ones(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))

        def multiply(n: int) -> None:
            for _ in range(n):
                torch.matmul(a, b)
            wait(device)

        multiply(2)
        return 2 * size**3 * times / _seconds(lambda: multiply(times))


def wait(device: str) -> None:
    """Until the device has done all that it was asked."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


def encode(bench: Bench) -> Speed:
    """sentence-transformers' `encode` as it comes, its model loaded before."""
    from sentence_transformers import SentenceTransformer

    texts = _texts(bench)
    model: Any = SentenceTransformer(_minilm(), device=bench.device)
    model.encode(texts[:64], show_progress_bar=False)
    found: list[Any] = []
    seconds = _seconds(lambda: found.append(model.encode(texts, show_progress_bar=False)))
    return Speed(len(texts) / seconds, 0.0, found[0])


def trialmark(bench: Bench) -> Speed:
    """`features.embed.embed` in the precision of the device; loading is not counted."""
    texts = _texts(bench)
    embed(texts[:64], Encoder(), device=bench.device)
    found, told = embed(texts, Encoder(), device=bench.device)
    tokens = sum(_token_counts(texts, _minilm(), most=256))
    return Speed(len(texts) / told.seconds, tokens / told.seconds, found)


def minilm_weights() -> int:
    """Weights of the bundled encoder that each token is multiplied with."""
    from transformers import AutoModel

    return layer_weights(AutoModel.from_pretrained(_minilm(), local_files_only=True))


def layer_weights(network: Any) -> int:
    """Weights of a network's linear layers, but for BERT's pooler, which reads one token."""
    import torch

    return sum(
        part.weight.numel()
        for name, part in network.named_modules()
        if isinstance(part, torch.nn.Linear) and "pooler" not in name
    )


def padded(bench: Bench) -> Speed:
    """The plain recipe: all texts padded to `max_length`, float16, the loss read at each batch."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    _, target, ((X, y), (V, _), _) = bench.data
    folder, length = str(bench.checkpoint), bench.size.max_length
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]):  # the head's weights; dropout is off
        torch.default_generator.manual_seed(0)
        network: Any = AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=len(target.classes)
        )
    network = network.to(bench.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=bench.size.lr)
    half = bench.device.startswith("cuda")
    scaler = torch.amp.GradScaler(bench.device, enabled=half)
    rng = np.random.default_rng(0)

    def words(lines: Sequence[str]) -> dict[str, Any]:
        made = tokenizer(
            list(lines),
            padding="max_length",
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        return {name: part.to(bench.device) for name, part in made.items()}

    def train(lines: Sequence[str], truth: Ints) -> None:
        order = rng.permutation(len(lines))
        for number, at in enumerate(range(0, len(lines), _PLAIN_BATCH), start=1):
            rows = order[at : at + _PLAIN_BATCH]
            labels = torch.as_tensor(truth[rows], device=bench.device)
            with torch.autocast(bench.device, dtype=torch.float16, enabled=half):
                out = network(**words([lines[row] for row in rows]), labels=labels)
            scaler.scale(out.loss / _ACCUMULATION).backward()
            out.loss.item()
            if number % _ACCUMULATION == 0 or at + _PLAIN_BATCH >= len(lines):
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
        wait(bench.device)

    lines = _joined(bench, X)
    network.train()
    train(lines[: 2 * _PLAIN_BATCH], y[: 2 * _PLAIN_BATCH])

    def train_all() -> None:
        for _ in range(bench.size.epochs):
            train(lines, y)

    seconds = _seconds(train_all)
    network.eval()
    with torch.inference_mode():
        held = _joined(bench, V)
        parts = [network(**words(held[at : at + 64])).logits for at in range(0, len(held), 64)]
    p = torch.softmax(torch.cat(parts).double(), dim=1).cpu().numpy()
    return Speed(bench.size.epochs * len(y) / seconds, 0.0, p)


def grouped(bench: Bench) -> Speed:
    """`models.encoder` on the same texts: the device's own precision, larger batches."""
    columns, target, ((X, y), (V, _), _) = bench.data
    batch = _PLAIN_BATCH * _ACCUMULATION * _LARGER
    asked = {
        "checkpoint": str(bench.checkpoint),
        "pooling": "head",
        "head_factor": 1,
        "max_length": bench.size.max_length,
        "batch_size": batch,
        "epochs": bench.size.epochs,
        "lr": bench.size.lr * _LARGER**0.5,
    }

    def fitted(rows: pd.DataFrame, truth: Ints, **more: Any) -> tuple[Any, Context]:
        context = Context(device=bench.device, threads=bench.threads)
        text, goal = columns.select("text"), Target(target.kind, target.classes)
        params = check_params("encoder", asked | more)
        model: Any = build("encoder", params, columns=text, target=goal, context=context)
        return model.fit(rows, truth, None), context

    fitted(X.iloc[:batch], y[:batch], epochs=1)
    model, context = fitted(X, y)
    seconds = context.timer.seconds["steps"] + context.timer.seconds["features"]
    tokens = bench.size.epochs * int(model.encode(X).lengths.sum())
    return Speed(bench.size.epochs * len(y) / seconds, tokens / seconds, model.predict_proba(V))


def _loss(p: Floats, y: Ints) -> float:
    from sklearn.metrics import log_loss

    return float(log_loss(y, p, labels=list(range(p.shape[1]))))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _minilm() -> str:
    from features.checkpoints import resolve

    return str(resolve("bundled:minilm").folder)


def _checkpoint_weights(bench: Bench) -> int:
    from transformers import AutoModel

    return layer_weights(AutoModel.from_pretrained(str(bench.checkpoint), local_files_only=True))


def _token_counts(texts: Sequence[str], folder: str, *, most: int) -> list[int]:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    found = tokenizer(list(texts), truncation=True, max_length=most)["input_ids"]
    return [len(row) for row in found]


def _joined(bench: Bench, X: pd.DataFrame) -> list[str]:
    """The text columns of each row as `models.encoder` joins them."""
    columns, *_ = bench.data
    return join_text(X, columns.select("text"), None)


def _texts(bench: Bench) -> list[str]:
    """Distinct texts of the train rows."""
    _, _, ((X, _), *_) = bench.data
    return list(dict.fromkeys(_joined(bench, X)))
