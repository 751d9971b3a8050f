"""How fast texts become vectors on a CPU: `python tests/perf/embedding.py`.

sentence-transformers' own `encode`, as it comes (batches of 32, torch's threads), against
`features.embed.embed` on the same real texts: titles with summaries, of which a quarter is cut at
256 tokens, and titles alone. Each job runs in a process of its own, the jobs of a round in turn.
What is timed is the embedding: `encode` has its model loaded before, `embed` loads it again within
its time. The aim is 1.5 times the texts per CPU second at a cosine of at least .999 for every text;
int8, which nobody gets without asking, is shown with its own cosine (aim: .99).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
TRIALS = ROOT.parent / "shared" / "data" / "trials" / "trials_core.parquet"
JOBS = ("encode", "auto", "int8")
SETS = {"titles and summaries": 300, "titles": 900}
"""Texts and how many of them: what a CPU does in 5 to 15 seconds."""

Texts = dict[str, list[str]]


def main() -> None:
    """Time all jobs, or one of them for the parent process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parquet", type=Path, default=TRIALS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        found = job(args.job[0], texts_of(args.parquet), Path(args.job[1]))
        sys.stdout.write(json.dumps(found) + "\n")
        return
    report(args.parquet, args.rounds)


def texts_of(parquet: Path) -> Texts:
    """Real texts, drawn once; no two are equal."""
    import pandas as pd

    rows = pd.read_parquet(parquet, columns=["brief_title", "brief_summary"]).dropna()
    rows = rows.drop_duplicates("brief_title").sample(max(SETS.values()), random_state=0)
    both = rows["brief_title"] + ". " + rows["brief_summary"]
    columns = {"titles and summaries": both, "titles": rows["brief_title"]}
    return {name: list(columns[name].iloc[:n]) for name, n in SETS.items()}


def report(parquet: Path, rounds: int) -> None:
    """Print one line a job and set of texts: speed, ratios of the pairs, least cosine."""
    say = sys.stdout.write
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in JOBS}
    near: dict[str, dict[str, list[float]]] = {name: {what: [] for what in SETS} for name in JOBS}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name in JOBS:
                runs[name].append(in_a_process(name, parquet, Path(folder)))
                for what in SETS:
                    near[name][what].append(cosine(Path(folder), name, what))
    say(f"sentence-transformers {runs['encode'][0]['version']}, {runs['encode'][0]['threads']:.0f}")
    say(f" threads, {rounds} rounds; per second and ratios: median [lowest, highest]\n")
    say(f"{'texts':22}{'job':8}{'per CPU s':>10}{'per s':>8}{'ratio (CPU)':>20}")
    say(f"{'ratio (wall)':>20}{'min cosine':>12}\n")
    for what, n in SETS.items():
        for name in JOBS:
            mine, plain = ([run[what] for run in runs[job]] for job in (name, "encode"))
            cpu, wall = ([run[kind] for run in mine] for kind in ("cpu", "wall"))
            say(f"{what:22}{name:8}{n / np.median(cpu):10.1f}{n / np.median(wall):8.1f}")
            for kind in ("cpu", "wall"):
                pairs = zip(plain, mine, strict=True)
                say(f"{spread([theirs[kind] / ours[kind] for theirs, ours in pairs]):>20}")
            say(f"{min(near[name][what]):12.6f}\n")
    say("GPU: not run here (`python -m benchmark.gpu_check --speed` measures it on one)\n")


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{np.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def cosine(folder: Path, name: str, what: str) -> float:
    """The smallest cosine of a text's vector with that of `encode`."""
    ours, theirs = (np.load(folder / f"{job}-{what}.npy") for job in (name, "encode"))
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return float(((ours * theirs).sum(axis=1) / lengths).min())


def in_a_process(name: str, parquet: Path, folder: Path) -> dict[str, Any]:
    """One job in a fresh interpreter."""
    command = [sys.executable, __file__, "--parquet", str(parquet), "--job", name, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def job(name: str, texts: Texts, folder: Path) -> dict[str, Any]:
    """Embed all sets, once it is warm; the vectors go to `folder`."""
    import sentence_transformers
    import torch

    sys.path.insert(0, str(ROOT))
    embed = with_encode() if name == "encode" else with_trialmark(name, folder)
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    found["version"] = sentence_transformers.__version__
    for what, lines in texts.items():
        embed(lines[:8])
        wall, cpu = time.perf_counter(), time.process_time()
        vectors = embed(lines)
        found[what] = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        np.save(folder / f"{name}-{what}.npy", vectors)
    return found


def with_encode() -> Any:
    """`SentenceTransformer.encode` as it comes."""
    from sentence_transformers import SentenceTransformer

    from features.checkpoints import resolve

    model = SentenceTransformer(str(resolve("bundled:minilm").folder), device="cpu")
    return lambda lines: model.encode(lines, show_progress_bar=False)


def with_trialmark(precision: Any, folder: Path) -> Any:
    """`features.embed.embed`; the cache holds the exported network, but no vector asked for."""
    import shutil

    from features.embed import Encoder, embed

    def run(lines: list[str]) -> Any:
        shutil.rmtree(folder / "embeddings", ignore_errors=True)
        return embed(lines, Encoder(precision=precision), cache=folder)[0]

    return run


if __name__ == "__main__":
    main()
