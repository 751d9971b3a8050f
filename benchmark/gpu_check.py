"""Does training on this machine's GPU give what the CPU gives? `python -m benchmark.gpu_check`

It fine-tunes DistilBERT (66 M weights) with the hybrid head on the synthetic registry: in bfloat16
and in float32 on the device, a few steps on the CPU too, and once more as a cell of a run. Without
DistilBERT in the local cache the network is of its size and shape with weights at random, and the
report says so. Dropout is off, as no two devices drop the same. `--speed` measures instead how fast
the device embeds and trains, see `benchmark.gpu_speed`. Exit status: 0 where all agree, 1 where
something does not, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark import gpu_speed, receipts
from features.columns import Columns
from features.embed import quiet
from features.errors import InputError
from models import build, check_params
from models.base import Context, Floats, Ints, Target

DISTILBERT = "distilbert-base-uncased"
TASK = "trial-outcome"


@dataclass(frozen=True)
class Check:
    """One comparison: what is compared, the number found, and the most it may be."""

    name: str
    found: float
    most: float

    @property
    def passed(self) -> bool:
        """Whether the number is within its bound; no number is not."""
        return self.found <= self.most


@dataclass(frozen=True)
class Size:
    """How much is trained: rows of the registry, optimiser steps on the device and on the CPU."""

    rows: int
    steps: int
    cpu_steps: int
    batch_size: int
    max_length: int
    lr: float
    epochs: int = 3
    """Over all rows, where speed is measured."""
    matrix: int = 8192
    """Rows and columns of the matrices whose products are measured."""
    threads: int | None = None
    """On the CPU; None for all cores."""


FULL = Size(rows=2000, steps=100, cpu_steps=5, batch_size=16, max_length=128, lr=5e-5)
TINY = Size(
    rows=200,
    steps=20,
    cpu_steps=3,
    batch_size=8,
    max_length=16,
    lr=5e-4,
    epochs=1,
    matrix=64,
    threads=1,
)
SPEED = dataclasses.replace(FULL, rows=12_000)


@dataclass(frozen=True)
class Bench:
    """What is trained on: a checkpoint without dropout, the registry's rows, and the size."""

    checkpoint: Path
    size: Size
    device: str

    @cached_property
    def data(self) -> tuple[Columns, Target, list[tuple[pd.DataFrame, Ints]]]:
        """Columns, target and the train, valid and test rows of the synthetic registry."""
        from benchmark.config import load
        from benchmark.matrix import read_rows
        from benchmark.splits import SplitOptions, make_split
        from benchmark.tasks import labelled

        data = labelled(read_rows(load(self.config)), TASK)
        split = make_split(data, SplitOptions(name="stratified"), 0)
        columns = data.inputs("both", "registration")
        parts = [data.take(ids) for ids in (split.train, split.valid, split.test)]
        return columns, data.target, [(X[list(columns.names)], y) for X, y in parts]

    @property
    def threads(self) -> int:
        """Threads of every fit, on the CPU or beside the GPU."""
        return receipts.available_cores() if self.size.threads is None else self.size.threads

    @property
    def config(self) -> dict[str, Any]:
        """A run of one cell: the encoder as it is trained on this device by default."""
        return {
            "name": "gpu-check",
            "data": {"reader": "synthetic", "rows": self.size.rows},
            "task": TASK,
            "splits": ["stratified"],
            "seeds": [0],
            "device": self.device,
            "threads": self.threads,
            "models": [
                {"name": "encoder", "inputs": "both", "params": self.params(self.size.steps)}
            ],
        }

    def params(self, steps: int, precision: str = "auto") -> dict[str, Any]:
        """Parameters of the encoder for so many steps."""
        return {
            "checkpoint": str(self.checkpoint),
            "table": "head",
            "dropout": 0.0,
            "max_length": self.size.max_length,
            "batch_size": self.size.batch_size,
            "epochs": self.size.steps,
            "max_steps": steps,
            "lr": self.size.lr,
            "precision": precision,
        }


@dataclass(frozen=True)
class Fit:
    """A fitted encoder, its probabilities for the test rows, and its speed and score."""

    model: Any
    p: Floats
    rows_per_second: float
    valid_loss: float
    roc_auc: float


def fitted(bench: Bench, *, steps: int, device: str, precision: str) -> Fit:
    """Train on `device` and predict the test rows."""
    from sklearn.metrics import roc_auc_score

    columns, target, (train, valid, test) = bench.data
    context = Context(device=device, threads=bench.threads)
    params = check_params("encoder", bench.params(steps, precision))
    model: Any = build("encoder", params, columns=columns, target=target, context=context)
    model.fit(*train, valid)
    p = model.predict_proba(test[0])
    return Fit(
        model=model,
        p=p,
        rows_per_second=steps * bench.size.batch_size / context.timer.seconds["steps"],
        valid_loss=model.notes["curve"][-1]["valid_loss"],
        roc_auc=float(roc_auc_score(test[1], p[:, 1])),
    )


def checks(bench: Bench, reduced: Fit) -> Iterator[Check]:
    """Compare `reduced`, trained on the device in bfloat16, with float32 and with the CPU.

    The bounds allow for rounding: bfloat16 has 8 bits, and Adam's first steps turn on the sign of
    slopes however small.
    """
    steps, few = bench.size.steps, bench.size.cpu_steps
    full = fitted(bench, steps=steps, device=bench.device, precision="fp32")
    yield Check("bf16 and fp32: mean difference of probabilities", _apart(reduced, full), 0.05)
    loss = abs(reduced.valid_loss - full.valid_loss)
    yield Check("bf16 and fp32: difference of the loss on valid", loss, 0.05)
    yield Check("bf16 and fp32: difference of ROC-AUC", abs(reduced.roc_auc - full.roc_auc), 0.05)
    short = fitted(bench, steps=few, device=bench.device, precision="fp32")
    cpu = fitted(bench, steps=few, device="cpu", precision="fp32")
    yield Check(f"device and CPU, {few} steps: mean difference", _apart(short, cpu), 0.01)
    moved = _on_cpu(bench, reduced)
    yield Check("same weights on device and CPU: largest difference", moved, 1e-3)


def _apart(first: Fit, second: Fit) -> float:
    return float(np.abs(first.p - second.p).mean())


def _on_cpu(bench: Bench, fit: Fit) -> float:
    """Largest difference between its predictions there and those of its weights on the CPU."""
    _, _, (_, _, (X, _)) = bench.data
    fit.model.network.parts.to("cpu")
    return float(np.abs(fit.model.predict_proba(X) - fit.p).max())


def cell(bench: Bench, out: Path) -> dict[str, Any]:
    """The record of the encoder as a cell of a run, trained in the precision of this device."""
    from benchmark.matrix import run
    from benchmark.store import Store

    done = run(bench.config, out=out)
    store = Store(done.folder)
    record: dict[str, Any] | None = store.record(store.plan()["cells"][0]["path"])
    assert record is not None
    return record


def checkpoint(folder: Path, *, tiny: bool) -> str:
    """Put a DistilBERT without dropout in `folder`, and say which it is.

    The published one where it can be had, else one of its size with weights at random; the
    tokenizer of the bundled MiniLM has the same vocabulary.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer, DistilBertConfig, DistilBertModel

    from features.checkpoints import fetch, resolve

    size: Any = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2} if tiny else {}
    name = f"DistilBERT of {'tiny' if tiny else 'full'} size, weights at random"
    source = str(resolve("bundled:minilm").folder)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network: Any = DistilBertModel(DistilBertConfig(**size))
    if not tiny:
        with suppress(InputError, OSError):
            found = str(fetch(resolve(DISTILBERT)).folder)
            network = AutoModel.from_pretrained(found, local_files_only=True)
            source, name = found, DISTILBERT
    for rate in ("dropout", "attention_dropout", "seq_classif_dropout"):
        setattr(network.config, rate, 0.0)
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(folder)
    return name


def report(bench: Bench, name: str, out: Path) -> bool:
    """Carry out and print all checks; whether they passed."""
    reduced = fitted(bench, steps=bench.size.steps, device=bench.device, precision="bf16")
    weights = reduced.model.notes["checkpoint"]["parameters"]
    _say(f"device           {receipts.device_name(bench.device)} ({bench.device})")
    _say(f"network          {name}: {weights:,} weights with the head")
    _say(f"bf16             {reduced.rows_per_second:,.0f} samples a second in training")
    _say(f"                 {_peak_memory(bench.device):,.0f} MiB at most")
    _say(f"                 ROC-AUC {reduced.roc_auc:.3f} after {bench.size.steps} steps")
    passed = True
    for check in checks(bench, reduced):
        passed &= check.passed
        _say(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.found:.2g} "
             f"(at most {check.most:g})")  # fmt: skip
    record = cell(bench, out)
    done = record["status"] == "done"
    _say(f"{'ok  ' if done else 'FAIL'} a cell of a run: {record['status']}"
         + ("" if done else f", {record['error']['message']}"))  # fmt: skip
    _say(f"                 record: {', '.join(record)}")
    return passed and done


def speed(bench: Bench, name: str) -> None:
    """Print how fast the device is."""
    _say(f"device           {receipts.device_name(bench.device)} ({bench.device})")
    _say(f"network          {name}; embeddings: MiniLM; {bench.size.rows:,} made-up studies")
    with quiet():
        for line in gpu_speed.report(bench):
            _say(line)


def _peak_memory(device: str) -> float:
    """MiB: of the GPU's memory where one is used, else of this process."""
    if device != "cuda":
        return receipts.peak_memory_mb()
    import torch

    return torch.cuda.max_memory_allocated() / 2**20


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: Sequence[str] | None = None) -> int:
    """Exit status of the command line."""
    import torch

    parser = argparse.ArgumentParser(prog="python -m benchmark.gpu_check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a network of two small layers")
    parser.add_argument("--speed", action="store_true", help="measure speed; check nothing")
    asked = parser.parse_args(words)
    if asked.device == "cuda" and not torch.cuda.is_available():
        _say("no GPU that torch can use is here, so nothing was checked (try --device cpu --tiny)")
        for line in gpu_speed.MEASURED if asked.speed else ():
            _say(f"{line}: not run: no GPU")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "distilbert"
        with quiet():
            name = checkpoint(weights, tiny=asked.tiny)
        size = TINY if asked.tiny else SPEED if asked.speed else FULL
        bench = Bench(weights, size, asked.device)
        if asked.speed:
            speed(bench, name)
            return 0
        return 0 if report(bench, name, Path(folder) / "run") else 1


if __name__ == "__main__":
    sys.exit(main())
