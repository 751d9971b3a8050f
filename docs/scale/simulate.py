"""What 10,000 cells over 550,000 studies take on 1 to 64 nodes: `python docs/scale/simulate.py`.

Fits the cost model to measured cells (results/reference, measured.json, and `--growth FILE` of
tests/perf/scale.py), prints its laws, then simulates the matrix on clusters with and without
graphics cards, with each of trialmark's measures left out, and the small matrix whose wall time was
measured. `--write` puts the tables into docs/scale.md and the plot beside this file. What could not
be measured here is listed as assumed; `--set NAME=VALUE` changes it.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cost
import numpy as np
from cluster import FILLING, Cluster, Job, Outcome, simulate
from cost import KINDS, Costs, Values

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE, PICTURE = HERE.parent / "scale.md", HERE / "scale.svg"
GROWTH = ROOT / "results" / "reference" / "perf" / "scale.json"
NODES = (1, 2, 4, 8, 16, 32, 64)
SEEDS = (1, 2, 3, 4, 5)
PLACES = 500
"""5 tasks x 4 splits x 25 seeds."""
PER_PLACE = (
    ("floor", 0, 2), ("tfidf", 0, 3), ("tfidf", 30, 2), ("trees", 0, 2), ("trees", 30, 2),
    ("lsa", 0, 2), ("lsa", 30, 1), ("embedded", 0, 2), ("embedded", 30, 1), ("encoder", 0, 2),
    ("blend", 0, 1),
)  # fmt: skip
"""Kind, Optuna trials and number of the 20 cells of a task, split and seed."""
KEPT = 8_000
"""Test rows up to which workers score their cells ahead of the board, `benchmark.ahead`."""
SHARD = 512
"""Texts of one file of the embedding cache, `features.embed.SHARD`."""
TEXTS = ("brief_title", "brief_summary", "eligibility_criteria")
EMBEDDING, BOARD = "embedding", "board"
NAMES = {**KINDS, EMBEDDING: "embedding", FILLING: "embedding", BOARD: "the board"}
ASSUMED: dict[str, tuple[float, str]] = {
    "cores": (16, "cores of a node, each as fast as the one measured"),
    "memory": (64, "GB of a node"),
    "cpu_price": (0.8, "$ per hour of a node without a GPU; no source, put in your own"),
    "gpu_price": (2.5, "$ per hour of a node with one GPU; no source, put in your own"),
    "gpu_train": (476, "rows/s in training: a public log of DistilBERT, 128 tokens, GPU not named"),
    "gpu_predict": (1858, "rows/s in prediction, same log; 256 tokens take twice as long"),
    "encoder_cores": (8, "cores of a fine-tuning without a GPU; no loss in sharing assumed"),
    "encoder_memory": (2.0, "GB of an encoder beside the rows; reference runs: 1.8 to 2.5 in all"),
    "epochs": (3, "epochs of a fine-tuning at 128 tokens, trialmark's default"),
    "bandwidth": (1.0, "GB/s of the shared store, all nodes together"),
    "link": (0.5, "GB/s of one transfer"),
    "commit": (0.3, "s until an object store has a cell's files"),
    "driver": (0.01, "s of the driver for each cell that it sends out and takes back"),
    "listing": (0.1, "s for one page of 1,000 names of an object store"),
    "startup": (60, "s until a node has started and imported"),
    "spread": (0.3, "standard deviation of the log of a cell's slowness (stragglers)"),
    "between_losses": (200, "hours between two losses of one node"),
    "repair": (300, "s until a lost node is replaced"),
}  # fmt: skip
Assumed = Mapping[str, float]
Runs = Mapping[tuple[bool, "Ways"], Mapping[int, Outcome]]


def main() -> None:
    """Print all tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--records", type=Path, default=ROOT / "results" / "reference")
    parser.add_argument("--growth", type=Path, default=GROWTH if GROWTH.is_file() else None)
    parser.add_argument("--studies", type=int, default=550_000)
    parser.add_argument("--nodes", type=int, nargs="+", default=list(NODES))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--write", action="store_true", help="update docs/scale.md and the plot")
    args = parser.parse_args()
    measured = Measured.of(args.records, args.growth)
    world = World(measured, assumed(args.set), args.studies)
    runs = {
        (gpu, ways): {n: world.run(n, gpu=gpu, ways=ways) for n in args.nodes}
        for gpu in (False, True)
        for ways in (AS_IT_IS, BEST)
    }
    tables = {
        "assumed": assumed_table(world.assumed),
        "laws": laws_table(world),
        "matrix": matrix_table(world),
        "nodes": nodes_table(world, runs),
        "ways": ways_table(world, max(args.nodes), runs),
        "check": check_table(measured),
    }
    if args.write:
        write_page(tables)
        picture(world, runs)
    for name, table in tables.items():
        sys.stdout.write(f"\n{name}\n{table}")


@dataclass(frozen=True)
class Measured:
    """What was measured, and the laws fitted to it.

    `before` and `board` are what `before_size` and `board_size` are multiplied with; `labelled` is
    the share of studies that have a label, `per_token` characters; `small` is measured.json.
    """

    costs: Costs
    before: tuple[float, ...]
    board: tuple[float, ...]
    labelled: float
    tokens: float
    per_token: float
    small: Mapping[str, Any]

    @classmethod
    def of(cls, records: Path, growth: Path | None) -> Measured:
        small = json.loads((HERE / "measured.json").read_text(encoding="utf-8"))
        counts = [c for columns in small["texts"].values() for c in columns.values()]
        per_token = sum(c[1] for c in counts) / sum(c[0] for c in counts)
        own = [*small["growth"], *small.get("large", [])]
        told = {"runs": []} if growth is None else json.loads(growth.read_text(encoding="utf-8"))
        large, copied = told["runs"], "finished" if told.get("finished") else "growth"
        read = sum(c[0] for c in small["texts"][copied].values())
        columns = next(cell["columns"] for run in own for cell in run["cells"]
                       if cell["cell"]["inputs"] == "tabular")  # fmt: skip
        samples = [
            *cost.of_records(records, small["texts"]),
            *cost.of_measured(own, per_token),
            *cost.of_growth(large, tokens=read, columns=columns),
        ]
        rows = [sum(run["cells"][0]["rows"][p] for p in ("train", "valid", "test"))
                for run in own]  # fmt: skip
        share = sum(rows) / sum(run["studies"] for run in own)
        tokens = sum(small["texts"]["trials-core"][name][0] for name in TEXTS)
        return cls(
            costs=cost.fit_costs(samples),
            before=_before([*own, *small.get("places", [])], large, per_token, read),
            board=_board(small, own, large),
            labelled=share,
            tokens=tokens,
            per_token=per_token,
            small=small,
        )


def _before(own: Any, large: Any, per_token: float, read: float) -> tuple[float, ...]:
    """Seconds before the first cell: a constant, per 1,000 studies, per million tokens, per split.

    Per split and seed they are for a million labelled rows.
    """
    rows, found = [], []
    for run in own:
        labelled = sum(run["cells"][0]["rows"].values())
        tokens = labelled * run["characters"] / per_token
        rows.append(before_size(run["studies"], labelled, tokens, 2 * len(run["seeds"])))
        found.append(run["before"])
    for run in large:
        labelled = run["labelled"]
        rows.append(before_size(run["studies"], labelled, labelled * read, 2))
        found.append(sum(run["cpu"][n] for n in ("read", "parse", "split", "audit", "hash")))
    return _positive(rows, found)


def before_size(studies: float, labelled: float, tokens: float, splits: int) -> list[float]:
    """What the seconds before the first cell are multiplied with."""
    return [1.0, studies / 1e3, tokens / 1e6, splits * labelled / 1e6]


def _board(small: Any, own: Any, large: Any) -> tuple[float, ...]:
    """Seconds of a board: per cell, per million of cell x test rows.

    Of runs with so many test rows that it draws for itself, where there are any.
    """
    priors = small["store"]["priors"]
    points = [([float(priors), priors * 60 / 1e6], small["store"]["board"])]
    runs = [(run, [cell["rows"]["test"] for cell in run["cells"]], run["board"]) for run in own]
    runs += [(run, [cell["test"] for cell in run["cells"]], run["cpu"]["board"]) for run in large]
    drawn = [found for found in runs if max(found[1]) > KEPT]
    for _, tests, seconds in drawn if drawn else runs:
        points.append(([float(len(tests)), sum(tests) / 1e6], seconds))
    return _positive([row for row, _ in points], [found for _, found in points])


def _positive(rows: list[list[float]], found: list[float]) -> tuple[float, ...]:
    """Least squares with no negative coefficient, each point by its relative error."""
    from scipy.optimize import nnls

    weights = 1 / np.array(found)
    return tuple(map(float, nnls(np.array(rows) * weights[:, None], np.ones(len(found)))[0]))


def assumed(words: Sequence[str]) -> dict[str, float]:
    """The assumptions, with those given as NAME=VALUE in place of the defaults."""
    found = {name: value for name, (value, _) in ASSUMED.items()}
    for word in words:
        name, _, value = word.partition("=")
        if name not in found:
            raise SystemExit(f"--set {word}: expected one of {', '.join(found)}")
        found[name] = float(value)
    return found


@dataclass(frozen=True)
class Ways:
    """How the matrix is worked off; the defaults are what trialmark does.

    Worse: `listing` the folder for every cell, `reread` the rows for every cell, embeddings kept
    `apart` by each node, a lost study that `forgets` its trials. Better: the `longest` cells first,
    texts embedded before all else in `shards`, a fine-tuning `wide` over several cores, memory
    asked `by_kind` of cell, a `card` for fine-tuning alone. `calm`: no node is lost and none slow.
    """

    listing: bool = False
    reread: bool = False
    apart: bool = False
    forgets: bool = False
    longest: bool = False
    shards: bool = False
    wide: bool = False
    by_kind: bool = False
    card: bool = False
    calm: bool = False


AS_IT_IS = Ways()
BEST = Ways(longest=True, shards=True, wide=True, by_kind=True, card=True)
TITLES = {AS_IT_IS: "trialmark as it is", BEST: "with all that is marked + below"}
WAYS = {
    "trialmark as it is": AS_IT_IS,
    "- the folder listed for every cell": Ways(listing=True),
    "- rows read for every cell": Ways(reread=True),
    "- a cache of embeddings for each node": Ways(apart=True),
    "- a lost study starts over": Ways(forgets=True),
    "+ cells for a GPU, then longest, first": Ways(longest=True),
    "+ texts embedded first, in shards": Ways(shards=True),
    "+ that, and GPUs for fine-tuning alone": Ways(shards=True, card=True),
    "+ 8 cores for a fine-tuning": Ways(wide=True),
    "+ memory asked by kind of cell": Ways(by_kind=True),
    "all that is marked +": BEST,
    "all that, nothing lost or slow": replace(BEST, calm=True),
}


@dataclass(frozen=True)
class World:
    """The matrix and the rows it stands on, on any cluster."""

    measured: Measured
    assumed: Assumed
    studies: int

    @property
    def rows(self) -> float:
        """Labelled studies."""
        return self.studies * self.measured.labelled

    def values(self, trials: int = 0) -> dict[str, float]:
        """What the cost of a cell grows with."""
        train, tested = 0.64 * self.rows, 0.36 * self.rows
        tokens = self.measured.tokens
        return {
            "rows": self.rows, "train": train, "predicted": tested, "tested": tested,
            "tokens": tokens, "all_tokens": tokens, "columns": 24, "trials": trials, "threads": 1,
            "busy": 1, "length": 128, "trained": self.assumed["epochs"] * train, "texts": self.rows,
        }  # fmt: skip

    def cell(self, kind: str, trials: int, *, gpu: bool, ways: Ways) -> Job:
        """A cell of the matrix as a job, which takes one core unless said otherwise."""
        seconds = self.measured.costs.seconds(kind, self.values(trials))
        written = self.predictions_gb()
        job = Job(kind, sum(seconds.values()), memory=self.gigabytes(kind), writes=written)
        if trials and not ways.forgets:
            job = replace(job, step=seconds["tune"] / trials)
        if kind == "embedded":
            job = replace(job, reads=self.rows * 384 * 4 / 1e9, gpu=gpu and not ways.card)
            if ways.shards:
                job = replace(job, after=EMBEDDING)
            else:
                job = replace(job, first=self.shard(self.rows, gpu=job.gpu).seconds)
        if kind == "blend":
            job = replace(job, reads=17 * written, wave=1)
        if kind == "encoder":
            if gpu:
                return replace(job, seconds=self.on_a_card(seconds["explain"]), gpu=True)
            if ways.wide:
                cores = int(self.assumed["encoder_cores"])
                return replace(job, seconds=job.seconds / cores, cores=cores)
        return job

    def gigabytes(self, kind: str) -> float:
        """Memory of a worker with such a cell."""
        held = self.measured.costs.megabytes(kind, self.values()) / 1024
        return held + (self.assumed["encoder_memory"] if kind == "encoder" else 0.0)

    def on_a_card(self, explain: float) -> float:
        """Seconds of a fine-tuning on a GPU; its explanation stays on the processor."""
        values = self.values()
        trained = values["trained"] / self.assumed["gpu_train"]
        return trained + values["predicted"] / self.assumed["gpu_predict"] + explain

    def shard(self, texts: float, *, gpu: bool) -> Job:
        """So many texts to embed."""
        if gpu:
            return Job(EMBEDDING, 2 * texts / self.assumed["gpu_predict"], gpu=True, memory=2)
        law = self.measured.costs.laws[EMBEDDING, "texts"]
        return Job(EMBEDDING, law.at({"texts": texts, "threads": 1}), memory=2)

    def predictions_gb(self) -> float:
        """GB of one cell's predictions."""
        return self.measured.costs.bytes_per_row * self.values()["predicted"] / 1e9

    def jobs(self, *, gpu: bool, ways: Ways) -> list[Job]:
        """The matrix in the order of its plan."""
        place = [self.cell(kind, trials, gpu=gpu, ways=ways) for kind, trials, n in PER_PLACE
                 for _ in range(n)]  # fmt: skip
        if not ways.by_kind:  # `memory:` of a config is one number, for all cells
            most = max(job.memory for job in place)
            place = [replace(job, memory=most) for job in place]
        if ways.reread:
            place = [replace(job, reads=job.reads + self.rows_gb()) for job in place]
        cells = [job for _ in range(PLACES) for job in place]
        seconds = float(np.dot(self.measured.board, self.board_size(len(cells))))
        board = Job(BOARD, seconds, reads=len(cells) * self.predictions_gb(), wave=2)
        shards = math.ceil(self.rows / SHARD) if ways.shards else 0
        return [*cells, board, *[self.shard(SHARD, gpu=gpu)] * shards]

    def rows_gb(self) -> float:
        """GB of the rows in use, as they go to a node."""
        return 5 * self.rows * self.measured.tokens / 1e9

    def board_size(self, cells: int) -> list[float]:
        """What a board's seconds are multiplied with."""
        return [cells, cells * 0.2 * self.rows / 1e6]

    def cluster(self, nodes: int, *, gpu: bool, ways: Ways) -> Cluster:
        """So many nodes, as assumed."""
        a = self.assumed
        size = before_size(self.studies, self.rows, self.rows * self.measured.tokens, PLACES)
        pages = math.ceil(4 * PLACES * 20 / 1000) if ways.listing else 0
        found = Cluster(
            nodes, cores=int(a["cores"]), memory=a["memory"], gpus=int(gpu),
            bandwidth=a["bandwidth"], link=a["link"], rows=self.rows_gb(), startup=a["startup"],
            serial=float(np.dot(self.measured.before, size)),
            commit=a["commit"], driver=a["driver"] + pages * a["listing"], spread=a["spread"],
            between_losses=3600 * a["between_losses"], repair=a["repair"],
            longest_first=ways.longest, own_caches=ways.apart,
        )  # fmt: skip
        return replace(found, spread=0.0, between_losses=math.inf) if ways.calm else found

    def run(self, nodes: int, *, gpu: bool, ways: Ways) -> Outcome:
        """The matrix on so many nodes: the mean of some seeds."""
        jobs, cluster = self.jobs(gpu=gpu, ways=ways), self.cluster(nodes, gpu=gpu, ways=ways)
        found = [simulate(jobs, replace(cluster, seed=seed)) for seed in SEEDS]
        names = sorted({part for one in found for part in one.parts})
        walls = np.array([one.wall for one in found])
        return Outcome(
            float(walls.mean()),
            {part: float(np.mean([one.parts.get(part, 0.0) for one in found])) for part in names},
            round(np.mean([one.lost for one in found])),
            round(np.mean([one.tries for one in found])),
            float(walls.std(ddof=1)) / math.sqrt(len(walls)),
        )


def assumed_table(assumed: Assumed) -> str:
    """What was not measured."""
    lines = [f"{name:16}{assumed[name]:>8g}  {what}" for name, (_, what) in ASSUMED.items()]
    return "\n".join(lines) + "\n"


def laws_table(world: World) -> str:
    """The laws: exponents with 95 % intervals, what they leave open, one cell at full size."""
    head = (f"{'seconds of':22}{'cells':>6}  {'grows with (exponent, 95 % interval)':50}"
            f"{'open':>6}{'here: s':>10}  {'95 % interval':18}{'beyond':>7}\n")  # fmt: skip
    lines = []
    for (kind, phase), law in world.measured.costs.laws.items():
        values = {**world.values(30), "once": 1.0}
        if phase == "texts":
            values["texts"] = world.rows
        low, high = law.interval(values)
        far = law.beyond(values)
        here = f"{law.at(values):>10,.3g}  {f'[{low:,.3g}, {high:,.3g}]':18}"
        if phase == "tune":  # a multiple of one fit, not seconds
            here = f"{law.at({**values, 'trials': 1}):>9,.3g}x  {'of a fit, a trial':18}"
        lines.append(f"{kind + ' ' + phase:22}{law.n:6}  {_grows(law):50}"
                     f"{f'x{math.exp(law.spread):.2f}':>6}{here}{f'x{far:,.0f}':>7}")  # fmt: skip
    return head + "\n".join(lines) + "\n" + _rest(world)


def _grows(law: cost.Law) -> str:
    """Each regressor with its exponent; without an interval where it was not fitted."""
    parts = []
    for name, b, low, high in law.slopes():
        if name == "busy":
            parts.append(f"busy x{math.exp(b):.1f}")
        else:
            parts.append(name if law.fixed else f"{name} {b:.2f} [{low:.2f}, {high:.2f}]")
    return ", ".join(parts) if parts else "a constant"


def _rest(world: World) -> str:
    """Memory, bytes, the time before the cells and the board."""
    measured = world.measured
    memory = ", ".join(f"{k} {base:,.0f} + {slope:,.1f}" for k, (base, slope)
                       in measured.costs.memory.items())  # fmt: skip
    before, board = measured.before, measured.board
    held = [s.values["rows"] * s.values["all_tokens"] / 1e6
            for s in measured.costs.samples if "all_tokens" in s.values]  # fmt: skip
    here = world.rows * measured.tokens / 1e6
    return (
        f"MB of a worker + MB per million tokens of its rows: {memory}"
        f" (up to {max(held):.1f} million measured, here {here:.0f})\n"
        f"bytes of predictions: {measured.costs.bytes_per_row:.0f} a valid or test row\n"
        f"s before the cells: {before[0]:.1f} + {before[1]:.4f} a thousand studies"
        f" + {before[2]:.3f} a million tokens"
        f" + {before[3]:.2f} a split for a million labelled rows\n"
        f"s of a board: {board[0]:.4f} a cell + {board[1]:.1f} a million of cell x test rows\n"
    )


def matrix_table(world: World) -> str:
    """What the matrix is made of."""
    head = (f"{world.studies:,} studies, {world.rows:,.0f} labelled, {world.measured.tokens:.0f}"
            f" tokens each\n{'':30}{'trials':>7}{'cells':>8}{'core-s each':>13}{'GB each':>9}"
            f"{'core-hours':>12}\n")  # fmt: skip
    lines = []
    for kind, trials, n in PER_PLACE:
        job = world.cell(kind, trials, gpu=False, ways=AS_IT_IS)
        each, count = job.seconds * job.cores, n * PLACES
        lines.append(f"{KINDS[kind]:30}{trials:7}{count:8,}{each:13,.1f}{job.memory:9.1f}"
                     f"{each * count / 3600:12,.0f}")  # fmt: skip
    shards = math.ceil(world.rows / SHARD)
    shard = world.shard(SHARD, gpu=False)
    lines.append(f"{'embedding, in shards of 512':30}{0:7}{shards:8,}{shard.seconds:13,.1f}"
                 f"{shard.memory:9.1f}{shard.seconds * shards / 3600:12,.0f}")  # fmt: skip
    card = world.cell("encoder", 0, gpu=True, ways=AS_IT_IS)
    text = f"with a GPU: {card.seconds:,.0f} s a fine-tuning, {1000 * card.seconds / 3600:,.0f} h\n"
    stored = PLACES * 20 * world.predictions_gb()
    return head + "\n".join(lines) + f"\n{text}predictions stored: {stored:,.0f} GB\n"


def nodes_table(world: World, runs: Runs) -> str:
    """Wall time, cost and bottleneck by number of nodes."""
    lines = []
    for (gpu, ways), outcomes in runs.items():
        price = world.assumed["gpu_price" if gpu else "cpu_price"]
        lines.append(f"{'one GPU a node' if gpu else 'no GPU'}, {TITLES[ways]}")
        lines.append("nodes   wall h  node-hours    cost $   busy  lost  largest parts of the time")
        for nodes, found in outcomes.items():
            wall = found.wall / 3600
            total = wall * nodes
            parts = "; ".join(f"{part} {share:.0%}" for part, share in largest(found))
            lines.append(f"{nodes:5}{wall:9,.1f}{total:12,.0f}{total * price:10,.0f}"
                         f"{busy(found):7.0%}{found.lost:6}  {parts}")  # fmt: skip
    return "\n".join(lines) + "\n"


def largest(found: Outcome, n: int = 2) -> list[tuple[str, float]]:
    """The largest parts of the account with their shares."""
    shares = {NAMES.get(part, part): found.share(part) for part in found.parts}
    return sorted(shares.items(), key=lambda item: -item[1])[:n]


def busy(found: Outcome) -> float:
    """The share of core time in which cells, shards and the board compute."""
    return sum(found.share(part) for part in found.parts if part in NAMES)


def ways_table(world: World, nodes: int, runs: Runs) -> str:
    """What each way of working is worth on the largest cluster."""
    lines = []
    for gpu in (False, True):
        where = f"{nodes} nodes, {'one GPU each' if gpu else 'no GPU'}"
        lines.append(f"{where:38}{'wall h':>9}{'error':>7}{'ratio':>7}  largest part of the time")
        for name, ways in WAYS.items():
            if ways == (Ways(wide=True) if gpu else Ways(shards=True, card=True)):
                continue
            known = runs.get((gpu, ways))
            found = world.run(nodes, gpu=gpu, ways=ways) if known is None else known[nodes]
            ratio = found.wall / runs[gpu, AS_IT_IS][nodes].wall
            part, share = largest(found)[0]
            lines.append(f"{name:38}{found.wall / 3600:9,.1f}{found.error / 3600:7.1f}{ratio:7.2f}"
                         f"  {part} {share:.0%}")  # fmt: skip
    return "\n".join(lines) + "\n"


def check_table(measured: Measured) -> str:
    """The simulator's wall time of a small real matrix beside the measured one."""
    head = f"{'jobs':>4}{'cells':>7}{'predicted s':>13}{'measured s':>12}{'ratio':>8}\n"
    lines = []
    for run in measured.small["check"]:
        found = predicted(measured, run)
        lines.append(f"{run['jobs']:4}{len(run['cells']):7}{found:13.2f}{run['wall']:12.2f}"
                     f"{found / run['wall']:8.2f}")  # fmt: skip
    return head + "\n".join(lines) + "\n"


def predicted(measured: Measured, run: Mapping[str, Any]) -> float:
    """Seconds of a small matrix on one machine, by the laws alone."""
    small = measured.small
    store = small["store"]
    tokens = run["characters"] / measured.per_token
    each = (store["cpu"] - store["before"]) / store["priors"]
    shares = spared_shares(small["growth"])
    jobs = []
    for cell in run["cells"]:
        (sample,) = cost.samples_of({"threads": 1, **cell}, "check", tokens=tokens)
        values: Values = {**sample.values, "tested": sample.values["predicted"], "busy": 1}
        seconds = measured.costs.seconds(sample.kind, values)
        took = sum(found for phase, found in seconds.items() if phase != "explain")
        spared = shares.get((sample.kind, cell["cell"]["inputs"]), 0.0)
        turned = seconds.get("features", 0.0) + seconds["predict"] if spared else 0.0
        jobs.append(Job(sample.kind, took - spared * turned + each))
    labelled = sum(run["cells"][0]["rows"].values())
    size = before_size(run["studies"], labelled, labelled * tokens, 2 * len(run["seeds"]))
    # a worker starts as a run does, but reads nothing
    startup = measured.before[0] if run["jobs"] > 1 else 0.0
    cluster = Cluster(1, cores=run["jobs"], serial=float(np.dot(measured.before, size)))
    return simulate(jobs, replace(cluster, startup=startup, longest_first=False)).wall


def spared_shares(runs: Any) -> dict[tuple[str, str], float]:
    """What a worker's memo spares of `features` in the mean, by kind of cell and inputs."""
    found = defaultdict(list)
    for cell in [cell for run in runs for cell in run["cells"]]:
        seconds = cell["seconds"]
        if seconds["features"] > 0:
            kind = cost.kind_of(cell["cell"], {})
            share = seconds["spared"] / (seconds["features"] + seconds["predict"])
            found[kind, cell["cell"]["inputs"]].append(share)
    return {name: float(np.mean(shares)) for name, shares in found.items()}


def write_page(tables: Mapping[str, str]) -> None:
    """Put the tables into the page's blocks of the same names."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in tables.items():
        block = re.compile(rf"(^```text {name}\n).*?(^```$)", re.MULTILINE | re.DOTALL)
        text = block.sub(lambda found, table=table: found[1] + table + found[2], text)
    PAGE.write_text(text, encoding="utf-8")


def picture(world: World, runs: Runs) -> None:
    """Wall time against nodes, with the straight line of perfect sharing."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "trialmark"
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for (gpu, ways), outcomes in runs.items():
        nodes, hours = list(outcomes), [found.wall / 3600 for found in outcomes.values()]
        colour, best = "tab:green" if gpu else "tab:blue", ways == BEST
        label = f"{'one GPU a node' if gpu else 'no GPU'}, {TITLES[ways].partition(' below')[0]}"
        style = "o-" if best else "s--"
        axes.plot(nodes, hours, style, color=colour, label=label, markersize=4)
        for n, h in zip(nodes, hours, strict=True):
            axes.annotate(f"{h:,.0f}", (n, h), (0, -12 if best else 6), color=colour,
                          textcoords="offset points", ha="center", fontsize=7)  # fmt: skip
        if best:
            axes.plot(nodes, [hours[0] * nodes[0] / n for n in nodes], ":", color=colour, lw=1)
    axes.set(xscale="log", yscale="log", xlabel="nodes", ylabel="wall time, hours",
             title=f"10,000 cells over {world.studies:,} studies")  # fmt: skip
    ticks = list(next(iter(runs.values())))
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.plot([], [], ":", color="grey", label="shared perfectly")
    axes.legend(frameon=False, loc="lower left", fontsize=8)
    low, high = axes.get_ylim()
    axes.set_ylim(low / 2, high * 1.3)
    axes.yaxis.set_major_formatter(lambda hours, _: f"{hours:,.0f}")
    axes.grid(alpha=0.2)
    figure.savefig(PICTURE, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
