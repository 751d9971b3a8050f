"""How fast a leaderboard of many records is, and in how much memory: `python tests/perf/board.py`.

One matrix is really run: 2 splits x 5 seeds x 10 models on 10,000 made-up trials, 2,000 test rows
a cell. Its cells are then multiplied to 50 tasks and 20 models by stirring their probabilities:
each is a sealed record with a key of its own and a file of predictions, in a folder that `trialmark
verify` proves. `trialmark leaderboard --format json` is timed in fresh interpreters (imports
included) on 100, 1,000 and 10,000 of them: `cold` has nothing kept in the folder and keeps what it
draws, `warm` reads that. The aim is 10,000 records in 10 s and 1 GiB. All boards of one size must
be the same, byte for byte. The last line is what a run pays a cell to have its board warm.

About six minutes, nearly all of it for the cold board of 10,000; `--sizes 100 1000` takes one.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmark import ahead, run  # noqa: E402
from benchmark.cells import CEILING, Cell  # noqa: E402
from benchmark.receipts import sealed, sha256  # noqa: E402
from benchmark.store import SCORES, Store, folder_of, parquet_bytes  # noqa: E402

SIZES = (100, 1_000, 10_000)
TASKS, SEEDS, VERSIONS = 50, 5, 2
CONFIG: dict[str, Any] = {
    "name": "board",
    "data": {"reader": "synthetic", "rows": 10_000},
    "splits": ["stratified", "temporal"],
    "seeds": list(range(1, SEEDS + 1)),
    "explain": False,
    "models": [
        "prior",
        *(
            {
                "name": "tfidf-logreg",
                "label": f"linear {C}",
                "inputs": "tabular",
                "params": {"C": C},
            }
            for C in (0.001, 0.01, 0.1, 1.0, 10.0)
        ),
        *(
            {
                "name": "lightgbm",
                "label": f"trees {leaves}",
                "inputs": "tabular",
                "params": {"num_leaves": leaves, "n_estimators": 30},
            }
            for leaves in (4, 8, 16, 32)
        ),
    ],
}


def main() -> None:
    """Build the folders and print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--keep", type=Path, help="Folder to build in, and to leave there.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) if args.keep is None else args.keep
        base = folder / "run"
        if not base.is_dir():
            run(CONFIG, out=base)
        say = sys.stdout.write
        say(f"{'records':>8}{'rows':>7}{'':>7}{'wall s':>8}{'spread':>12}{'cpu s':>8}")
        say(f"{'peak MiB':>10}{'folder MB':>11}{'kept MB':>9}\n")
        for size in args.sizes:
            report(multiplied(base, folder / str(size), size), size, args.rounds)
        say(f"{kept_a_cell(folder / str(min(args.sizes))):.1f} ms CPU a cell to keep its draws\n")


def report(store: Store, size: int, rounds: int) -> None:
    """Print a cold and a warm line; stops where two boards of the folder are not the same."""
    say = sys.stdout.write
    shutil.rmtree(store.root / SCORES, ignore_errors=True)
    runs = {"cold": [board(store.root)]}
    runs["warm"] = [board(store.root) for _ in range(rounds)]
    outs = {one["out"] for found in runs.values() for one in found}
    if len(outs) > 1:
        raise SystemExit(f"{store.root}: boards with and without kept draws differ")
    rows = len(json.loads(outs.pop()))
    mb = {name: megabytes(store.root / name) for name in (".", SCORES)}
    for name, found in runs.items():
        walls = sorted(one["wall"] for one in found)
        spread = f"{walls[0]:.2f}-{walls[-1]:.2f}"
        say(f"{size:8}{rows:7}{name:>7}{median(walls):8.2f}{spread:>12}")
        say(f"{median(one['cpu'] for one in found):8.2f}{max(one['peak'] for one in found):10.0f}")
        say(f"{mb['.'] - mb[SCORES]:11.0f}{mb[SCORES]:9.0f}\n")
        sys.stdout.flush()


CALL = """
import resource, sys
from benchmark.cli import main
from benchmark.receipts import peak_memory_mb
try:
    main()
except SystemExit as stop:
    used = resource.getrusage(resource.RUSAGE_SELF)
    sys.stderr.write(f"{stop.code or 0} {used.ru_utime + used.ru_stime} {peak_memory_mb()}")
"""


def board(folder: Path) -> dict[str, Any]:
    """`trialmark leaderboard` in a process of its own: wall and processor time, peak, output."""
    command = [sys.executable, "-c", CALL, "leaderboard", str(folder), "--format", "json"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    wall = time.perf_counter() - start
    code, cpu, peak = done.stderr.split()[-3:]
    if int(code):
        raise SystemExit(done.stderr.decode())
    return {"wall": wall, "cpu": float(cpu), "peak": float(peak), "out": done.stdout}


def kept_a_cell(folder: Path) -> float:
    """Processor milliseconds to keep the draws of a cell at its end; the best of three."""
    store = Store(folder)
    paths = [entry["path"] for entry in store.plan()["cells"]][:50]
    found = []
    for _ in range(3):
        shutil.rmtree(folder / SCORES, ignore_errors=True)
        start = time.process_time()
        for path in paths:
            ahead.keep(store, path)
        found.append((time.process_time() - start) / len(paths) * 1000)
    return min(found)


def multiplied(base: Path, into: Path, size: int) -> Store:
    """A folder of `size` finished cells made of those of a run."""
    store = Store(into)
    if into.is_dir():
        return store
    plan = Store(base).plan()
    into.mkdir()
    shutil.copytree(base / "splits", into / "splits")
    entries, names = [], set[str]()
    for entry, record, frame in copies(Store(base), plan["cells"]):
        if len(entries) == size:
            break
        path = into / entry["path"]
        path.mkdir(parents=True)
        data = parquet_bytes(frame)
        (path / "predictions.parquet").write_bytes(data)
        (path / "record.json").write_bytes(sealed({**record, "predictions_sha256": sha256(data)}))
        entries.append(entry)
        names.add(entry["task"])
    datasets = dict.fromkeys(sorted(names), next(iter(plan["datasets"].values())))
    sums = {f"splits/{f.name}": sha256(f.read_bytes()) for f in (into / "splits").iterdir()}
    whole = {**plan, "datasets": datasets, "cells": entries, "files": sums}
    whole.pop("seal", None)
    (into / "plan.json").write_bytes(sealed(whole))
    return store


def copies(
    base: Store, cells: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[dict[str, Any], dict[str, Any], pd.DataFrame]]:
    """Entry, record and predictions of each made cell, whole tables of 100 one after the other."""
    cells = [entry for entry in cells if entry["model"] != CEILING]
    read = {e["path"]: (base.record(e["path"]), base.predictions(e["path"])) for e in cells}
    splits = dict.fromkeys(entry["split"] for entry in cells)
    for task in range(TASKS):
        for split in splits:
            for entry in (entry for entry in cells if entry["split"] == split):
                record, frame = read[entry["path"]]
                for version in range(VERSIONS):
                    changes = {
                        "task": f"task-{task:02}",
                        "label": f"{entry['model']} v{version}",
                        "params": {**record["cell"]["params"], "version": version},
                    }
                    cell = Cell(**{**record["cell"], **changes})
                    said = {**record, "key": cell.key, "cell": asdict(cell)}
                    said.pop("seal")
                    named = {"task": cell.task, "model": cell.label, "key": cell.key}
                    rng = np.random.default_rng([int(cell.key[:8], 16), int(cell.key[8:16], 16)])
                    yield {**entry, **named, "path": folder_of(cell)}, said, stirred(frame, rng)


def stirred(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Predictions with a little noise on the logits, so that no two cells score alike."""
    no, yes = (name for name in frame if str(name).startswith("p_"))
    p = np.clip(frame[yes].to_numpy(), 1e-6, 1 - 1e-6)
    moved = np.log(p / (1 - p)) + rng.normal(scale=rng.uniform(0.05, 0.8), size=len(p))
    chance = 1 / (1 + np.exp(-moved))
    return frame.assign(**{no: 1 - chance, yes: chance})


def megabytes(folder: Path) -> float:
    """Size of a folder's files."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


if __name__ == "__main__":
    main()
