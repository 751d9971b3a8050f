"""Many small cells with one worker and with two: `python tests/perf/jobs.py`.

40 cells (`tfidf-logreg` on table and text, `lightgbm` on the table, two splits, ten seeds) of
studies of the synthetic registry, each run in a process of its own and the two numbers of a round
in turn. With two workers every worker gets half of the cores, and cells of one split go to one
worker. The predictions of all runs are compared. On two free cores the aim is a ratio of wall times
near 2; where the machine has other work, processor time tells what the second worker costs: another
import of the libraries, and no waiting of threads for each other.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORKERS = (1, 2)
CONFIG = {
    "name": "jobs",
    "data": {"reader": "synthetic"},
    "splits": ["stratified", "temporal"],
    "seeds": list(range(10)),
    "models": [
        {"name": "tfidf-logreg", "inputs": "both"},
        {"name": "lightgbm", "inputs": "tabular", "params": {"n_estimators": 200}},
    ],
    "device": "cpu",
}
RUN = """
import json, sys
from benchmark.matrix import run
if __name__ == "__main__":
    run(json.loads(sys.argv[1]), out=sys.argv[2], jobs=int(sys.argv[3]))
"""


def main() -> None:
    """Time all runs and print a line for each round."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(Path(folder), rounds=args.rounds, rows=args.rows)


def report(place: Path, *, rounds: int, rows: int) -> None:
    """Print wall and processor seconds with one worker and with two, their ratio, the spread."""
    say = sys.stdout.write
    say(f"{'round':8}{'1 job wall s':>14}{'cpu s':>8}{'2 jobs wall s':>15}{'cpu s':>8}")
    say(f"{'wall ratio':>12}{'equal':>7}\n")
    ratios = []
    for number in range(rounds):
        # who goes first changes from round to round
        order = WORKERS if number % 2 == 0 else WORKERS[::-1]
        found = {jobs: timed(place / f"{number}-{jobs}", jobs, rows) for jobs in order}
        (wall, cpu), (wall_2, cpu_2) = found[1], found[2]
        same = hashes(place / f"{number}-1") == hashes(place / f"{number}-2")
        ratios.append(wall / wall_2)
        say(f"{number + 1:<8}{wall:14.1f}{cpu:8.1f}{wall_2:15.1f}{cpu_2:8.1f}")
        say(f"{ratios[-1]:12.2f}{'yes' if same else 'NO':>7}\n")
    say(f"wall ratio: median {statistics.median(ratios):.2f}")
    say(f" ({min(ratios):.2f} to {max(ratios):.2f})\n")


def timed(out: Path, jobs: int, rows: int) -> tuple[float, float]:
    """Wall and processor seconds of one run in a fresh process, its workers included."""
    script = out.with_suffix(".py")  # a worker imports it again, so it must be a file
    script.write_text(RUN)
    config = {**CONFIG, "data": {"reader": "synthetic", "rows": rows}}
    command = [sys.executable, str(script), json.dumps(config), str(out), str(jobs)]
    start, before = time.perf_counter(), processor()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, processor() - before


def processor() -> float:
    """Processor seconds of all processes that ended, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def hashes(out: Path) -> dict[str, str]:
    """The sha256 of each cell's predictions, by its folder."""
    records = sorted(out.rglob("record.json"))
    return {
        str(path.parent.relative_to(out)): json.loads(path.read_text())["predictions_sha256"]
        for path in records
    }


if __name__ == "__main__":
    main()
