"""How long the command line takes to answer, and what it loads: `python tests/perf/cli.py`.

Each command in a fresh process, all commands of a round in turn: processor and wall seconds, and
which of the heavy libraries it loaded. The aims: `--help` below half a second of processor time;
`list` and `leaderboard` without torch, sklearn.metrics and shap. `python` is an interpreter that
does nothing, `pandas` one that imports pandas.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch", "transformers", "sentence_transformers", "lightgbm", "sklearn.metrics", "sklearn",
    "shap", "scipy", "matplotlib", "optuna", "ray",
)  # fmt: skip
CODE = """
import sys
from benchmark.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
sys.stderr.write(" ".join(name for name in {heavy!r} if name in sys.modules))
"""
CONFIG = """
data: {reader: synthetic, rows: 300}
splits: [stratified, temporal]
seeds: [1, 2, 3]
models: [prior, {name: tfidf-logreg, inputs: [text, both]}]
"""


def main() -> None:
    """Time every command and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config, out = Path(folder) / "small.yaml", Path(folder) / "out"
        config.write_text(CONFIG)
        answer(["run", str(config), "--out", str(out)])
        report(commands(config, out), args.rounds)


def commands(config: Path, out: Path) -> dict[str, list[str] | str]:
    """What is timed: the words of a command, or plain code beside."""
    return {
        "python": "",
        "pandas": "import pandas",
        "--help": ["--help"],
        "list models": ["list", "models"],
        "list tasks": ["list", "tasks"],
        "list metrics": ["list", "metrics"],
        "status": ["status", str(out)],
        "leaderboard": ["leaderboard", str(out)],
        "run, all done": ["run", str(config), "--out", str(out)],
    }


def report(timed: dict[str, list[str] | str], rounds: int) -> None:
    """Print median and spread of processor time, median wall time and the libraries."""
    say = sys.stdout.write
    say(f"{'command':16}{'cpu s':>8}{'least':>8}{'most':>8}{'wall s':>8}  loads\n")
    runs: dict[str, list[tuple[float, float, str]]] = {name: [] for name in timed}
    for _ in range(rounds):
        for name, what in timed.items():
            runs[name].append(answer(what))
    for name, found in runs.items():
        cpu, wall, loaded = zip(*found, strict=True)
        say(f"{name:16}{statistics.median(cpu):8.2f}{min(cpu):8.2f}{max(cpu):8.2f}")
        say(f"{statistics.median(wall):8.2f}  {loaded[0] or 'none of them'}\n")


def answer(what: list[str] | str) -> tuple[float, float, str]:
    """Processor and wall seconds of one command or piece of code, and what it loaded."""
    code, words = (what, []) if isinstance(what, str) else (CODE.format(heavy=HEAVY), what)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start, before = time.perf_counter(), processor()
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    seconds = time.perf_counter() - start
    return processor() - before, seconds, done.stderr.rpartition("\n")[2]


def processor() -> float:
    """Processor seconds of all processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
