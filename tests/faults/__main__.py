"""Does every fault to a small matrix and prints what became of its cells.

    PYTHONPATH=tests python -m faults

`--quick` does a few of them, `--scratch` is where (default: a temporary folder).
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}

from tiny import checkpoint

from .faults import FAULTS
from .rig import Rig, Tally, whole

COLUMNS = ("injected", "finished", "lost", "corrupt", "resumed", "equal")
LOADED = ("lightgbm", "optuna", "sentence_transformers", "sklearn.linear_model", "benchmark.audit")


def main() -> int:
    """Exit code 0 where nothing was lost, nothing corrupt, and every resumed run equal."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--quick", action="store_true")
    words.add_argument("--only", nargs="*", metavar="FAULT", help="its function's name")
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--scratch", type=Path)
    chosen = words.parse_args()
    for name in LOADED:  # once, for all the forks
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        it = Rig(Path(scratch), chosen.seed)
        whole(lambda: checkpoint(it.scratch / "encoder"), it.scratch / "log")
        whole(it.into(it.scratch / "whole"), it.scratch / "log")
        tallies = []
        say(f"{'fault':<42}" + "".join(f"{name:>10}" for name in COLUMNS))
        for fault, times, quick in FAULTS:
            wanted = quick if chosen.quick else times
            if wanted and (chosen.only is None or fault.__name__ in chosen.only):
                tallies.append(fault(it, wanted))
                say(line(tallies[-1]))
    say("\n".join(remark for tally in tallies for remark in tally.remarks))
    return 0 if all(tally.holds for tally in tallies) else 1


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def line(tally: Tally) -> str:
    """A row of the table."""
    numbers = (
        tally.injected,
        tally.finished,
        tally.lost,
        tally.corrupted,
        tally.compared,
        tally.equal,
    )
    return f"{tally.fault:<42}" + "".join(f"{number:>10}" for number in numbers)


if __name__ == "__main__":
    sys.exit(main())
