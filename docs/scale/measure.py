"""Small measurements behind the cost model: `python docs/scale/measure.py PART...`.

Each part replaces its entry of measured.json beside this file.
`texts`: word pieces and characters per row of the reference runs, and of the labelled rows that
tests/perf/scale.py copies, with and without `--finished`.
`growth`, `large`: cells of 3,000 to 110,000 registry studies, each size and choice of texts in a
run of its own, whose cells run in a worker as they do on a cluster.
`store`: what a cell costs besides its work, by a matrix of priors.
`places`: what a split and seed more costs before the first cell.
`check`: the wall time of one small matrix with one job and with two, which the simulator predicts
and to which the cost model is not fitted.
All but `store` need the real data (TRIALMARK_DATA). Seconds of cells are those of their records, in
wall time; those before the cells and of the board are processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FILE = HERE / "measured.json"
DATA = Path(os.environ.get("TRIALMARK_DATA", ROOT.parent / "shared" / "data"))
SHORT = ["brief_title", "brief_summary"]
LONG = [*SHORT, "eligibility_criteria", "detailed_description", "conditions", "interventions"]
MODELS: list[Any] = [
    "prior",
    {"name": "tfidf-logreg", "inputs": ["text", "both"]},
    {"name": "lightgbm", "inputs": "tabular"},
    {"name": "lightgbm", "label": "lsa", "inputs": "both", "params": {"text": "lsa"}},
]
SIZES = ((3_000, SHORT), (6_000, SHORT), (12_000, SHORT), (24_000, SHORT),
         (3_000, LONG), (6_000, LONG), (12_000, LONG))  # fmt: skip
LARGE = ((40_000, LONG), (110_000, LONG))
CHECK, PLACES, PRIORS = 9_000, 24_000, 150
Found = dict[str, Any]


def main() -> None:
    """Measure the named parts, or do one run for the parent process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        sys.stdout.write(json.dumps(job(args.job)) + "\n")
        return
    for part in args.parts if args.parts else PARTS:
        found = PARTS[part]()
        whole = json.loads(FILE.read_text()) if FILE.is_file() else {}
        whole[part] = found
        FILE.write_text(json.dumps(dict(sorted(whole.items())), indent=1) + "\n", encoding="utf-8")


def texts() -> Found:
    """Mean word pieces and characters of each text column of the reference runs."""
    sys.path.insert(0, str(ROOT))
    from tokenizers import Tokenizer

    from benchmark.config import load
    from benchmark.matrix import read_rows
    from benchmark.tasks import labelled
    from features.checkpoints import resolve

    os.environ["TRIALMARK_DATA"] = str(DATA)
    folder = resolve("bundled:minilm", None).folder
    pieces = Tokenizer.from_file(str(folder / "tokenizer.json"))  # type: ignore[operator]
    pieces.no_truncation()
    pieces.no_padding()

    def counts(frame: Any, names: list[str]) -> Found:
        found = {}
        for name in names:
            sample = frame[name].sample(min(500, len(frame)), random_state=1).fillna("")
            read = pieces.encode_batch(sample.tolist(), add_special_tokens=False)
            tokens = sum(len(one.ids) for one in read) / len(sample)
            found[name] = [round(tokens, 1), round(float(sample.str.len().mean()), 1)]
        return found

    def text_columns(rows: Any) -> list[str]:
        return [column.name for column in rows.columns if column.kind == "text"]

    runs = {file.parent.name: load(file)
            for file in sorted((ROOT / "results" / "reference").glob("*/config.yaml"))}  # fmt: skip
    read = {name: read_rows(config) for name, config in runs.items()}
    found = {name: counts(rows.frame, text_columns(rows)) for name, rows in read.items()}
    path = str(DATA / "trials" / "registry_120k.parquet")
    data: Found = {"reader": "trials", "path": path}
    for name, more in (("growth", {}), ("finished", {"require": ["brief_summary"]})):
        config = {"name": name, "data": {**data, **more}, "task": "trial-outcome"}
        rows = read_rows(load({**config, "splits": ["stratified"], "models": ["prior"]}))
        found[name] = counts(labelled(rows, "trial-outcome").X, text_columns(rows))
    return found


def growth() -> list[Found]:
    """Records' essence of every size, each in a process of its own, threads 1."""
    return of_sizes(SIZES)


def large() -> list[Found]:
    """The same of more studies: minutes."""
    return of_sizes(LARGE)


def of_sizes(sizes: Sequence[tuple[int, list[str]]]) -> list[Found]:
    """What the cells of each size took."""
    asked = {"seeds": [1], "jobs": 1, "executor": "process"}
    return [quietest({"studies": size, "texts": columns, **asked}) for size, columns in sizes]


def store() -> Found:
    """A matrix of priors on 300 made-up rows: what a cell and a board cost beside fits."""
    one = quietest({"priors": PRIORS, "jobs": 1})
    del one["cells"]
    return one


def places() -> list[Found]:
    """The same rows with 2 and with 16 splits, priors alone."""
    asked = {"studies": PLACES, "texts": SHORT, "jobs": 1, "models": ["prior"]}
    return [quietest({**asked, "seeds": list(range(seeds))}) for seeds in (1, 8)]


def check() -> list[Found]:
    """One matrix of 20 cells with one job and with two."""
    asked = {"studies": CHECK, "texts": SHORT, "seeds": [1, 2]}
    return [quietest({**asked, "jobs": jobs}) for jobs in (1, 2)]


def quietest(asked: Found) -> Found:
    """The quicker of two runs: other work on the machine only ever slows one down."""
    return min((in_a_process(asked) for _ in range(2)), key=lambda found: found["wall"])


def in_a_process(asked: Found) -> Found:
    """What `job` finds in a fresh interpreter, so that memory and imports are its own."""
    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder), asked)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--job", folder],
            check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip
        whole = round(time.perf_counter() - start, 3)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return {**asked, **found, "process_seconds": whole}


def write_config(folder: Path, asked: Found) -> None:
    """The config of a job and its rows: a seeded sample of the registry, or made-up ones."""
    import pandas as pd

    shared: Found = {"task": "trial-outcome", "explain": False, "threads": 1, "device": "cpu"}
    if "priors" in asked:
        seeds = list(range(asked["priors"]))
        data: Found = {"reader": "synthetic", "rows": 300}
        config = {"data": data, "seeds": seeds, "splits": ["stratified"], "models": ["prior"]}
    else:
        real = pd.read_parquet(DATA / "trials" / "registry_120k.parquet")
        sample = real.sample(asked["studies"], random_state=1)
        sample.to_parquet(folder / "studies.parquet", index=False)
        data = {"reader": "trials", "path": "studies.parquet", "columns": {"text": asked["texts"]}}
        config = {"data": data, "seeds": asked["seeds"], "splits": ["stratified", "temporal"]}
        config["models"] = asked.get("models", MODELS)
    how = {name: asked[name] for name in ("jobs", "executor") if name in asked}
    whole = {"name": "measured", **shared, **config, "how": how}
    (folder / "asked.json").write_text(json.dumps(whole))


def job(folder: Path) -> Found:
    """Run the config and make its board."""
    sys.path.insert(0, str(ROOT))
    import benchmark

    config = json.loads((folder / "asked.json").read_text())
    how = config.pop("how")
    if "path" in config["data"]:
        config["data"]["path"] = str(folder / "studies.parquet")
    out = folder / "out"
    begun, spent, watcher = time.perf_counter(), time.process_time(), Clock()
    run = benchmark.run(config, out=out, watcher=watcher, **how)
    ended, finished = time.perf_counter(), time.process_time()
    run.leaderboard()
    boarded = time.process_time()
    files = [file for file in out.rglob("*") if file.is_file()]
    return {
        "characters": 0.0 if "path" not in config["data"] else characters(config, out),
        "before": round(watcher.began - spent, 3),
        "wall": round(ended - begun, 3),
        "cpu": round(finished - spent, 3),
        "board": round(boarded - finished, 3),
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "cells": [essence(file) for file in sorted(out.glob("*/*/*/*/record.json"))],
    }


def characters(config: Found, out: Path) -> float:
    """Mean characters of all texts of a labelled row."""
    import pandas as pd

    texts = pd.read_parquet(config["data"]["path"]).set_index("nct_id")
    ids = pd.read_parquet(next((out / "splits").glob("*.parquet")))["id"]
    used = texts.loc[ids, config["data"]["columns"]["text"]].fillna("")
    return round(float(used.apply(lambda column: column.str.len()).sum(axis=1).mean()), 1)


def essence(file: Path) -> Found:
    """What the cost model takes of a record."""
    record = json.loads(file.read_bytes())
    if record["status"] != "done":
        raise SystemExit(record["error"]["traceback"])
    cell = record["cell"]
    names = ("split", "seed", "model", "label", "inputs")
    return {
        "cell": {name: cell[name] for name in names},
        "columns": len(cell["columns"]),
        "rows": {name: record["rows"][name] for name in ("train", "valid", "test")},
        "seconds": record["seconds"],
        "peak_memory_mb": record["peak_memory_mb"],
        "predictions_bytes": (file.parent / "predictions.parquet").stat().st_size,
    }


class Clock:
    """A watcher that notes when the cells began."""

    def __init__(self) -> None:
        self.began = 0.0

    def audited(self, report: Any) -> None:
        """Nothing."""

    def planned(self, total: int) -> None:
        """The rows are read, split and audited."""
        self.began = time.process_time()

    def started(self, cell: Any) -> None:
        """Nothing."""

    def finished(self, cell: Any, status: str) -> None:
        """Nothing."""


PARTS: dict[str, Callable[[], Any]] = {
    "texts": texts,
    "growth": growth,
    "large": large,
    "store": store,
    "places": places,
    "check": check,
}

if __name__ == "__main__":
    main()
