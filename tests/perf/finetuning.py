"""How fast an encoder is fine-tuned on a CPU: `python tests/perf/finetuning.py`.

The recipe that the trial notebook followed, as a plain loop over `transformers` and `torch` (every
text padded to 128 tokens, batches of 16, a step of the optimiser every second batch), against
`models.encoder` with the same checkpoint, head, texts, rates and number of examples. trialmark's
batches hold texts of similar length and are padded no further than their longest. Titles with
summaries, cut at 128 tokens (aim: 1.15 times the samples a second), and titles alone (aim: 3
times). Each job runs in a process of its own, the jobs of a round in turn; what is timed is
tokenising and training. The scores are those of the valid rows after a longer training, once each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
TRIALS = ROOT.parent / "shared" / "data" / "trials" / "trials_core.parquet"
SETS = {"titles and summaries": ["title", "summary"], "titles": ["title"]}
JOBS = ("notebook", "trialmark")
TIMED, SCORED, VALID = 160, 256, 400
"""Rows to train on when timed and when scored (twice each), and rows that are scored."""

LENGTH, BATCH, ACCUMULATION, LR, WARMUP, DECAY = 128, 16, 2, 1e-4, 0.1, 0.01

Part = tuple[Any, Any]
"""Rows as a frame with the columns title and summary, and the outcome of each."""


def main() -> None:
    """Time all jobs, or one of them for the parent process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parquet", type=Path, default=TRIALS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", nargs=2, metavar=("NAME", "ROWS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        found = job(args.job[0], *rows_of(args.parquet, int(args.job[1])))
        sys.stdout.write(json.dumps(found) + "\n")
        return
    report(args.parquet, args.rounds)


def report(parquet: Path, rounds: int) -> None:
    """Print one line a job and set of texts: speed, ratios of the pairs, and the valid scores."""
    say = sys.stdout.write
    say(f"{rounds} rounds of {TIMED} rows, batches of {BATCH}; ratios: median [lowest, highest]\n")
    say(f"{'texts':22}{'job':11}{'per CPU s':>10}{'per s':>8}{'ratio (CPU)':>20}")
    say(f"{'ratio (wall)':>20}{'valid loss':>12}{'ROC-AUC':>9}\n")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in JOBS}
    for _ in range(rounds):
        for name in JOBS:
            runs[name].append(in_a_process(name, parquet, TIMED))
    scored = {name: in_a_process(name, parquet, SCORED) for name in JOBS}
    for what in SETS:
        for name in JOBS:
            mine, plain = ([run[what] for run in runs[job]] for job in (name, "notebook"))
            cpu, wall = ([run[kind] for run in mine] for kind in ("cpu", "wall"))
            say(f"{what:22}{name:11}{TIMED / np.median(cpu):10.1f}{TIMED / np.median(wall):8.1f}")
            for kind in ("cpu", "wall"):
                pairs = zip(plain, mine, strict=True)
                say(f"{spread([theirs[kind] / ours[kind] for theirs, ours in pairs]):>20}")
            say(f"{scored[name][what]['loss']:12.4f}{scored[name][what]['auc']:9.3f}\n")
    say("GPU: not run here (`python -m benchmark.gpu_check --speed` measures it on one)\n")


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{np.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def in_a_process(name: str, parquet: Path, rows: int) -> dict[str, Any]:
    """One job in a fresh interpreter."""
    command = [sys.executable, __file__, "--parquet", str(parquet), "--job", name, str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows_of(parquet: Path, train: int) -> tuple[Part, Part]:
    """Real trials to train on and to score; 1 is a trial that was completed."""
    import pandas as pd

    status = ["COMPLETED", "TERMINATED", "WITHDRAWN", "SUSPENDED"]
    rows = pd.read_parquet(parquet, columns=["brief_title", "brief_summary", "overall_status"])
    rows = rows[rows["overall_status"].isin(status)].dropna().sample(frac=1, random_state=0)
    rows = rows.rename(columns={"brief_title": "title", "brief_summary": "summary"})
    y = (rows["overall_status"] == "COMPLETED").to_numpy(np.int64)
    X = rows[["title", "summary"]]
    last = VALID + train
    return (X.iloc[VALID:last], y[VALID:last]), (X.iloc[:VALID], y[:VALID])


def job(name: str, train: Part, valid: Part) -> dict[str, Any]:
    """Train on both sets; score the valid rows where more is trained than for timing.

    The timed training is one epoch, after a batch to be warm; the scored one is two.
    """
    from sklearn.metrics import log_loss, roc_auc_score

    sys.path.insert(0, str(ROOT))
    fit = {"notebook": with_a_plain_loop, "trialmark": with_trialmark}[name]
    scored = len(train[1]) > TIMED
    fit(SETS["titles"], (train[0].iloc[:BATCH], train[1][:BATCH]), epochs=1)
    found: dict[str, Any] = {}
    for what, columns in SETS.items():
        wall, cpu = time.perf_counter(), time.process_time()
        predict = fit(columns, train, epochs=2 if scored else 1)
        found[what] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        if scored:
            p = predict(valid[0])
            auc = roc_auc_score(valid[1], p[:, 1])
            found[what] |= {"loss": log_loss(valid[1], p), "auc": auc}
    return found


def with_a_plain_loop(columns: list[str], train: Part, *, epochs: int) -> Any:
    """The notebook's recipe; gives what predicts probabilities."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        get_cosine_schedule_with_warmup,
    )

    from features.checkpoints import resolve

    torch.manual_seed(0)
    folder = str(resolve("bundled:minilm").folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)

    def padded(X: Any) -> Any:
        lines = [" ".join(row) for row in X[columns].itertuples(index=False)]
        how = {"padding": "max_length", "truncation": True, "max_length": LENGTH}
        return tokenizer(lines, return_tensors="pt", **how)

    tokens, y = padded(train[0]), torch.as_tensor(train[1])
    steps = epochs * -(-len(y) // (BATCH * ACCUMULATION))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
    model.train()
    for number, rows, last in batches(len(y), epochs):
        words = {name: part[rows] for name, part in tokens.items()}
        loss = model(**words, labels=y[rows]).loss / ACCUMULATION
        loss.backward()
        if last or (number + 1) % ACCUMULATION == 0:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    def predict(X: Any) -> Any:
        model.eval()
        tokens = padded(X)
        with torch.inference_mode():
            parts = [
                model(**{name: part[at : at + 64] for name, part in tokens.items()}).logits
                for at in range(0, len(X), 64)
            ]
        return torch.softmax(torch.cat(parts).double(), dim=1).numpy()

    return predict


def batches(n: int, epochs: int) -> Iterator[tuple[int, Any, bool]]:
    """Number and rows of each batch, shuffled anew each epoch, and whether the epoch ends."""
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        rows = rng.permutation(n)
        for number, at in enumerate(range(0, n, BATCH)):
            yield number, rows[at : at + BATCH], at + BATCH >= n


def with_trialmark(columns: list[str], train: Part, *, epochs: int) -> Any:
    """`models.encoder` with the notebook's numbers; gives what predicts probabilities."""
    import torch

    from features.columns import Columns
    from models import build, check_params
    from models.base import Context, Target

    asked = {
        "checkpoint": "bundled:minilm",
        "pooling": "head",
        "head_factor": 1,
        "max_length": LENGTH,
        "batch_size": BATCH,
        "accumulation": ACCUMULATION,
        "epochs": epochs,
        "lr": LR,
        "warmup": WARMUP,
        "schedule": "cosine",
        "weight_decay": DECAY,
    }
    model = build(
        "encoder",
        check_params("encoder", asked),
        columns=Columns(text=tuple(columns)),
        target=Target("binary", ("stopped", "completed")),
        context=Context(threads=torch.get_num_threads()),
    )
    return model.fit(*train, None).predict_proba


if __name__ == "__main__":
    main()
