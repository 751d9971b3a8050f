"""What 10,000 to 550,000 studies cost from the file to the board: `python tests/perf/scale.py`.

For each size a Parquet file of so many studies is made of the real ones: the first 116,000 are a
seeded sample of them, the others copies with new ids in which a tenth of the words of every text is
dropped or exchanged for words of other texts, so that the vocabulary goes on growing about as it
does in real texts. Statuses, dates, sponsors and missing cells stay as they are: about half of the
studies are labelled, and many have no text but a title. With `--finished` only real studies with a
summary and an outcome are copied, so that every study is fitted or scored, and texts are longer:
that is harder than any registry. Then a fresh process does what a user does, `trialmark run` and
`trialmark leaderboard`, with the config below, on two cores: read, two splits, audit, eight fits
and their explanations, board.

Seconds are those of the innermost phase: what a model takes to turn columns into numbers is
`features`, in fitting and in predicting. `read` is the file and the cleaning of its texts, `parse`
the other columns, `hash` fingerprints and split hashes, `store` what is written, `rest` imports and
all else. Memory is the resident set of the process and its children, looked at every 50 ms; how
much features are kept for the next fit depends on the memory that is free (see `models.base.Memo`).
Each size is written to `--growth FILE` as it ends; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REGISTRY = ROOT.parent / "shared" / "data" / "trials" / "registry_120k.parquet"
SIZES = (10_000, 30_000, 100_000)
CHANGED = 0.1
"""Share of a copy's words that are dropped or exchanged."""
CONFIG: dict[str, Any] = {
    "name": "scale",
    "data": {"reader": "trials"},
    "task": "trial-outcome",
    "splits": ["stratified", "temporal"],
    "seeds": [1],
    "device": "cpu",
    "threads": 2,
    "models": [
        "prior",
        {"name": "tfidf-logreg", "inputs": ["text", "both"]},
        {"name": "lightgbm", "inputs": ["tabular", "both"], "params": {"text": "lsa"}},
    ],
}
PHASES = (
    "read", "parse", "split", "audit", "hash", "features", "fit", "predict", "explain", "store",
    "board", "rest",
)  # fmt: skip
WRAPPED = {
    "benchmark.readers.trials:read_raw": "read",
    "benchmark.readers.trials:assemble": "parse",
    "benchmark.matrix:make_splits": "split",
    "benchmark.matrix:run_audit": "audit",
    "benchmark.dataset:_update": "hash",
    "benchmark.cells:make_cell": "hash",
    "benchmark.matrix:_write_run": "store",
    "benchmark.store:Store.write": "store",
    "benchmark.ahead:keep": "board",
    "benchmark.leaderboard:leaderboard": "board",
}
"""Functions whose time is a phase."""
TIMED = {"features": "features", "whole fit": "fit", "predict": "predict", "explain": "explain"}
"""Phases of `models.base.Timer`, and ours."""
Found = dict[str, Any]
FOUND = "found.json"


def main() -> None:
    """Measure every size, or one for the parent process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--registry", type=Path, default=REGISTRY)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=1, help="runs of each size; medians are told")
    parser.add_argument("--growth", type=Path, help="JSON file that keeps what was measured")
    parser.add_argument("--finished", action="store_true", help="copy studies with an outcome only")
    parser.add_argument("--folder", type=Path, help="keeps the made studies (default: they go)")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        Path(args.job, FOUND).write_text(json.dumps(job(args.job)))
        return
    growth = Growth(args.growth, {"config": CONFIG, "finished": args.finished})
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(passing) if args.folder is None else args.folder
        folder.mkdir(parents=True, exist_ok=True)
        for size in sorted(args.sizes):
            file = folder / f"{size}{'-finished' if args.finished else ''}.parquet"
            while len(growth.of(size)) < args.rounds:
                if not file.is_file():
                    write_studies(args.registry, size, file, finished=args.finished)
                growth.add(measured(file, size))
    report([median(growth.of(size)) for size in sorted(args.sizes)])


class Growth:
    """What was measured so far, in a file or in memory alone."""

    def __init__(self, file: Path | None, settings: Found) -> None:
        self.file, self.settings, self.runs = file, settings, list[Found]()
        if file is not None and file.is_file():
            found = json.loads(file.read_bytes())
            self.runs = found.pop("runs")
            if found != settings:
                raise SystemExit(f"{file} is of another config: name a new file")

    def of(self, size: int) -> list[Found]:
        """The runs of one size."""
        return [run for run in self.runs if run["studies"] == size]

    def add(self, run: Found) -> None:
        """Keep a run."""
        self.runs.append(run)
        if self.file is not None:
            aside = self.file.with_suffix(".aside")
            aside.write_text(json.dumps({**self.settings, "runs": self.runs}, indent=1) + "\n")
            aside.replace(self.file)


def measured(studies: Path, size: int) -> Found:
    """One run in a fresh process: seconds and memory by phase, bytes, the cells' own records."""
    with tempfile.TemporaryDirectory(dir=studies.parent) as folder:
        config = {**CONFIG, "data": {**CONFIG["data"], "path": str(studies.resolve())}}
        Path(folder, "config.yaml").write_text(json.dumps(config))  # JSON is YAML
        sampled = watched([sys.executable, __file__, "--job", folder])
        found = json.loads(Path(folder, FOUND).read_bytes())
    entered = found.pop("entered")
    moments = [moment for moment, _ in entered]
    peaks: dict[str, float] = defaultdict(float)
    for moment, memory in sampled:
        phase = entered[max(bisect_right(moments, moment) - 1, 0)][1]
        peaks[phase] = max(peaks[phase], memory)
    return {
        "studies": size,
        "text_mb": round(characters(studies) / 1e6, 1),
        **found,
        "peak_mb": round(max(peaks.values()), 1),
        "peak_mb_by_phase": {phase: round(peaks[phase], 1) for phase in PHASES if phase in peaks},
    }


def characters(studies: Path) -> int:
    """Characters in the texts that models may see of all studies, labelled or not."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    sys.path.insert(0, str(ROOT))
    from benchmark.readers.canonical import COLUMNS

    file = pq.ParquetFile(studies)
    names = {c.name for c in COLUMNS if c.kind == "text" and c.known_at == "registration"}
    return sum(
        pc.sum(pc.utf8_length(file.read([name])[name]), min_count=0).as_py()
        for name in sorted(names & set(file.schema.names))
    )


def watched(command: list[str]) -> list[tuple[float, float]]:
    """(moment, MiB resident) of a process and its children every 50 ms, until it has ended."""
    import psutil

    samples = []
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TERM": "dumb"}
    with subprocess.Popen(command, cwd=ROOT, env=environment) as running:
        tree = psutil.Process(running.pid)
        while running.poll() is None:
            samples.append((time.monotonic(), resident(tree) / 2**20))
            time.sleep(0.05)
    if running.returncode:
        raise SystemExit(f"the job ended with {running.returncode}")
    return samples


def resident(tree: Any) -> int:
    """Bytes resident in a process and its children."""
    import psutil

    total = 0
    try:
        for process in (tree, *tree.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def job(folder: Path) -> Found:
    """`trialmark run` and `trialmark leaderboard`, each phase on the clock."""
    sys.path.insert(0, str(ROOT))
    clock = Clock()
    wrap(clock)
    out, board = folder / "out", folder / "board.json"
    command("run", str(folder / "config.yaml"), "--out", str(out))
    command("leaderboard", str(out), "--format", "json", "--output", str(board))
    clock.close()
    records = [json.loads(file.read_bytes()) for file in sorted(out.glob("*/*/*/*/record.json"))]
    failed = [record["error"] for record in records if record["status"] != "done"]
    if failed:
        raise SystemExit(failed[0]["traceback"])
    plan = json.loads((out / "plan.json").read_bytes())
    return {
        "labelled": plan["datasets"]["trial-outcome"]["rows"],
        "wall": {name: round(clock.wall[name], 3) for name in PHASES},
        "cpu": {name: round(clock.cpu[name], 3) for name in PHASES},
        "entered": clock.entered,
        "stored_mb": round(sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e6, 2),
        "cells": [
            {
                **{name: record["cell"][name] for name in ("split", "model", "inputs")},
                **{name: record["rows"][name] for name in ("train", "valid", "test")},
                "seconds": record["seconds"],
                "peak_memory_mb": record["peak_memory_mb"],
                "notes": record["notes"],
            }
            for record in records
        ],
        "values": {
            f"{row['split']} {row['model']}/{row['inputs']}": row["value"]
            for row in json.loads(board.read_bytes())
            if row["metric"] == "roc_auc"
        },
    }


def command(*words: str) -> None:
    """A command of trialmark in this process; what it prints is not wanted."""
    from contextlib import redirect_stdout

    from benchmark.cli import main as trialmark

    sys.argv = ["trialmark", *words]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        try:
            trialmark()
        except SystemExit as stop:
            if stop.code == 2:  # a usage error; 1 is a failed cell, which `job` tells
                raise


class Clock:
    """Wall and processor seconds of the innermost phase, and when each phase was entered."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self.entered: list[tuple[float, str]] = []
        self.inside = ["rest"]
        self.since = time.monotonic(), time.process_time()
        self.entered.append((self.since[0], "rest"))

    def close(self) -> None:
        """Give the time since the last change to the phase that goes on."""
        now = time.monotonic(), time.process_time()
        self.wall[self.inside[-1]] += now[0] - self.since[0]
        self.cpu[self.inside[-1]] += now[1] - self.since[1]
        self.since = now

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """A phase inside the present one."""
        self.close()
        self.inside.append(phase)
        self.entered.append((self.since[0], phase))
        try:
            yield
        finally:
            self.close()
            self.inside.pop()
            self.entered.append((self.since[0], self.inside[-1]))


def owner_of(place: str) -> tuple[Any, str]:
    """The module or class that holds a function of `WRAPPED`, and the function's name."""
    module, _, name = place.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = name.split(".")
    for step in outer:
        owner = getattr(owner, step)
    return owner, last


def wrap(clock: Clock) -> None:
    """Put the phases' functions on the clock."""
    from models.base import Timer

    def timed(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        def on_the_clock(*words: Any, **named: Any) -> Any:
            with clock(phase):
                return function(*words, **named)

        return on_the_clock

    for place, phase in WRAPPED.items():
        owner, last = owner_of(place)
        original = getattr(owner, last)
        wrapped = timed(original, phase)
        setattr(owner, last, wrapped)
        for importer in [m for n, m in sys.modules.items() if n.startswith("benchmark")]:
            if getattr(importer, last, None) is original:
                setattr(importer, last, wrapped)

    plain = Timer.__call__

    @contextmanager
    def on_both(self: Timer, phase: str) -> Iterator[None]:
        with clock(TIMED.get(phase, clock.inside[-1])), plain(self, phase):
            yield

    Timer.__call__ = on_both  # type: ignore[method-assign]


def write_studies(registry: Path, size: int, out: Path, *, finished: bool) -> None:
    """Write so many studies made of the real ones; the file appears whole."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    sys.path.insert(0, str(ROOT))
    from benchmark.readers.trials import TEXTS

    real = pd.read_parquet(registry)
    if finished:
        real = real[real["has_summary_and_final_status"]]
    texts = [name for name in TEXTS if name in real]
    pool = [word for text in real["brief_summary"].dropna().iloc[::20] for word in text.split()]
    schema = pa.Table.from_pandas(real.iloc[:0], preserve_index=False).schema
    rng = np.random.default_rng(1)
    aside = out.with_suffix(".aside")
    with pq.ParquetWriter(aside, schema, compression="zstd") as writer:
        for copy, left in enumerate(range(size, 0, -len(real))):
            frame = real.iloc[np.sort(rng.permutation(len(real))[:left])].copy()
            if copy:
                frame["nct_id"] += f".{copy}"
                change = random.Random(copy)
                for name in texts:
                    changed = [
                        perturbed(text, change, pool) if isinstance(text, str) else None
                        for text in frame[name]
                    ]
                    frame[name] = pd.Series(changed, frame.index, dtype="str")
            table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
            writer.write_table(table, row_group_size=50_000)
    aside.replace(out)


def perturbed(text: str, change: random.Random, pool: list[str]) -> str:
    """A text with a tenth of its words, and one at least, dropped or exchanged."""
    words = text.split(" ")
    for _ in range(max(1, round(CHANGED * len(words)))):
        place = int(change.random() * len(words))
        # half of them are dropped
        words[place] = change.choice(pool) if change.random() < 0.5 else ""
    return " ".join([word for word in words if word])


def median(runs: list[Found]) -> Found:
    """The medians of the runs of one size; what is no number is the first's."""
    first = dict(runs[0])
    for name in ("wall", "cpu", "peak_mb_by_phase"):
        first[name] = {
            phase: statistics.median([run[name].get(phase, 0.0) for run in runs])
            for phase in PHASES
        }
    first["peak_mb"] = statistics.median([run["peak_mb"] for run in runs])
    first["total"] = statistics.median([sum(run["wall"].values()) for run in runs])
    first["totals"] = [sum(run["wall"].values()) for run in runs]
    return first


def report(sizes: list[Found]) -> None:
    """Print seconds by phase, memory by phase, and how each grows from size to size."""
    say = sys.stdout.write
    say(f"{'studies':>9} {'labelled':>9} {'text MB':>8} {'what':9}")
    say("".join(f"{name:>9}" for name in PHASES) + f"{'total':>9}\n")
    for size in sizes:
        head = f"{size['studies']:9,} {size['labelled']:9,} {size['text_mb']:8.0f} "
        for what in ("wall", "cpu"):
            line(f"{head}{what + ' s':9}", size[what], sum(size[what].values()))
            head = " " * len(head)
        line(f"{head}{'peak MiB':9}", size["peak_mb_by_phase"], size["peak_mb"], form="9.0f")
        say(f"{head}stored: {size['stored_mb']:.1f} MB; runs: ")
        say(", ".join(f"{total:.1f} s" for total in size["totals"]) + "\n")
    say("\nslope of log seconds, or log MiB, over log studies (1 = linear)\n")
    for small, large in pairwise(sizes):
        factor = math.log(large["studies"] / small["studies"])
        head = f"{small['studies']:9,} to {large['studies']:9,}    "
        for what, total in (("wall", "total"), ("peak_mb_by_phase", "peak_mb")):
            slopes = {n: slope(small[what][n], large[what][n], factor) for n in PHASES}
            unit = "s" if what == "wall" else "MiB"
            line(f"{head}{unit:10}", slopes, slope(small[total], large[total], factor))
            head = " " * len(head)


def slope(small: float, large: float, factor: float) -> float:
    """The exponent of growth; NaN where there is too little to tell."""
    return math.log(large / small) / factor if min(small, large) >= 0.05 else float("nan")


def line(head: str, values: dict[str, float], total: float, *, form: str = "9.2f") -> None:
    """One line of the table."""
    cells = [values.get(name, float("nan")) for name in PHASES]
    sys.stdout.write(head + "".join(f"{cell:{form}}" for cell in (*cells, total)) + "\n")


if __name__ == "__main__":
    main()
