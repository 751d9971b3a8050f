"""What stands in a table: each model's stored predictions, scored, with paired bootstrap draws."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark import splits
from benchmark.bootstrap import DRAWS, UnionWeights, mean_over_seeds, union_weights
from benchmark.cells import REDACTED
from benchmark.kept import Kept
from benchmark.metrics import (
    DEFAULTS,
    Scored,
    label_metrics,
    metric_names,
    metric_of,
    scores,
)
from benchmark.store import Store
from features.columns import KNOWN_AT
from features.errors import InputError, unknown_name
from models.base import Floats, Ints, Target

STOPPED = "average_precision_negative"
Wanted = Callable[[Target], Sequence[str]]
"""The metrics to score for a kind of target."""
Repeat = int | str
"""A seed, or `seed/fold`."""
_DIGITS = 1e-10
"""Below the last digit of a board; processors add in different orders."""
Edit = Callable[[pd.DataFrame, Target], pd.DataFrame]
"""Stored predictions as they are to be scored: with other labels, say, or fewer test rows."""


@dataclass(frozen=True)
class Table:
    """What may be compared: the planned cells of one task, split and as-of level."""

    task: str
    split: str
    as_of: str
    entries: tuple[Mapping[str, Any], ...]

    @property
    def seeds(self) -> tuple[Repeat, ...]:
        """The planned seeds; with several splits to one entry, their folds."""
        return tuple(dict.fromkeys(repeat(entry) for entry in self.entries))

    @property
    def place(self) -> dict[str, str]:
        """Task, split and as-of level by name."""
        return {"task": self.task, "split": self.split, "as_of": self.as_of}


@dataclass(frozen=True)
class Tested:
    """A model's scored test rows of one seed, their ids, and the unit that each is drawn with.

    `unit` numbers the rows of all seeds, or their groups where draws take whole groups.
    """

    scored: Scored
    ids: pd.Index
    unit: Ints


@dataclass(frozen=True)
class Contender:
    """One model with one kind of inputs in one table.

    `cells` and records by seed; `points` holds (seeds,) and `resampled` (seeds, draws) values by
    metric, drawn with `weights`. `grouped` says whether draws take groups of rows.
    """

    label: str
    inputs: str
    cells: Mapping[Repeat, Done]
    points: Mapping[str, Floats]
    resampled: Mapping[str, Floats]
    weights: UnionWeights
    grouped: bool

    @property
    def records(self) -> dict[Repeat, Mapping[str, Any]]:
        """The records of its cells."""
        return {seed: cell.record for seed, cell in self.cells.items()}

    @cached_property
    def tested(self) -> dict[Repeat, Tested]:
        """Its scored test rows by seed, read again where they are asked for."""
        each = {seed: cell.scored() for seed, cell in self.cells.items()}
        return {
            seed: Tested(scored, ids, self.weights.unit_of(ids))
            for seed, (scored, ids) in each.items()
        }

    @property
    def units(self) -> int:
        """How many rows, or groups of rows, draws take."""
        return self.weights.units

    @property
    def first(self) -> Mapping[str, Any]:
        """The record of its first seed, for what all seeds share."""
        return next(iter(self.cells.values())).record

    @property
    def name(self) -> str:
        """`label/inputs`."""
        return f"{self.label}/{self.inputs}"

    @cached_property
    def values(self) -> dict[str, float]:
        """Mean over seeds by metric."""
        return {metric: float(points.mean()) for metric, points in self.points.items()}

    @cached_property
    def draws(self) -> dict[str, Floats]:
        """Mean over seeds inside each draw, (draws,), by metric."""
        return {metric: mean_over_seeds(list(each)) for metric, each in self.resampled.items()}


def repeat(entry: Mapping[str, Any]) -> Repeat:
    """What tells a cell from the others of one model in a table: its seed, or `seed/fold`."""
    fold = str(entry["split"]).partition("/")[2]
    return f"{entry['seed']}/{fold}" if fold else int(entry["seed"])


def tables(entries: Iterable[Mapping[str, Any]]) -> list[Table]:
    """The tables of a plan's cells, in the plan's order; all folds of a split stand in one."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for entry in entries:
        name = (entry["task"], splits.family(entry["split"]), entry["as_of"])
        groups.setdefault(name, []).append(entry)
    return [Table(*key, tuple(members)) for key, members in groups.items()]


def families(entries: Iterable[Mapping[str, Any]]) -> list[list[Table]]:
    """The tables that share their test rows: one task and split, by level from the earliest.

    Tables of redacted texts come last.
    """
    found: dict[tuple[str, str], list[Table]] = {}
    for table in tables(entries):
        found.setdefault((table.task, table.split), []).append(table)
    levels: tuple[str, ...] = (*KNOWN_AT, *(level + REDACTED for level in KNOWN_AT))
    return [sorted(family, key=lambda t: levels.index(t.as_of)) for family in found.values()]


def scored_metrics(
    target: Target, configured: Sequence[str] | None, metric: str | None = None
) -> list[str]:
    """What a board scores: `shown_metrics`, and each class or label by itself."""
    shown = shown_metrics(target, configured, metric)
    return list(dict.fromkeys([*shown, *label_metrics(target)]))


def shown_metrics(
    target: Target, configured: Sequence[str] | None, metric: str | None
) -> list[str]:
    """A table's columns, the ranking metric first; the stopped class is always among them.

    Without `configured` metrics, or where none of them is for this kind of target, `DEFAULTS`.
    """
    if metric is not None:
        metric_of(metric)
    known = set(metric_names(target, tuned=True))
    chosen = [name for name in configured if name in known] if configured is not None else []
    chosen = chosen if chosen else list(DEFAULTS[target.kind])
    names = [*([] if metric is None else [metric]), *chosen, STOPPED]
    return [name for name in dict.fromkeys(names) if name in known]


def entries_of(table: Table, model: str) -> list[Mapping[str, Any]]:
    """The entries of one model, named by label or by `label/inputs`."""
    found = [e for e in table.entries if model in (e["model"], f"{e['model']}/{e['inputs']}")]
    names = dict.fromkeys(f"{e['model']}/{e['inputs']}" for e in found)
    if not found:
        known = dict.fromkeys(f"{e['model']}/{e['inputs']}" for e in table.entries)
        raise unknown_name("model", model, known)
    if len(names) > 1:
        raise InputError(f"model {model!r} ran with several inputs", "one of " + ", ".join(names))
    return found


def contenders(
    store: Store,
    family: Sequence[Table],
    wanted: Wanted,
    *,
    draws: int = DRAWS,
    edit: Edit | None = None,
    kept: bool = False,
) -> list[list[Contender]]:
    """For each table the models that have a finished cell, with their values and draws.

    The tables share their draws, so that models of two levels are paired too; the same draw takes
    the same rows of every seed. `kept` takes values and draws from the folder where it keeps them
    (see `benchmark.kept`) and, once every planned seed is done, keeps those computed. Raises
    `InputError` where records do not belong to the plan, or not to the same data, split or rows.
    """
    done = [_read(store, table, edit) for table in family]
    cells = [cell for table in done for of_model in table.values() for cell in of_model]
    if not cells:
        return [[] for _ in family]
    _check_same_data(cells)
    scoring = _scoring(family, cells, wanted(target_of(cells[0].record)), draws=draws, kept=kept)
    return [[scoring.contender(of_model) for of_model in found.values()] for found in done]


def kept_again(store: Store, family: Sequence[Table]) -> Iterator[tuple[str, bool | None]]:
    """The files of numbers that the folder keeps of a family's cells, and whether the predictions
    give the same: to the digits of a board, whatever the processor. None for numbers that no board
    would take. Raises `InputError` as `contenders` does.
    """
    found = [_read(store, table, None) for table in family]
    cells = [cell for table in found for of_model in table.values() for cell in of_model]
    if not cells:
        return
    scoring = _scoring(family, cells, [], draws=DRAWS, kept=True)
    kept = Kept(store.root, scoring.weights)
    for cell in cells:
        sound = kept.sound(cell.path)
        if sound is not None:
            rows = scoring.rows[cell.seed]
            values = kept.read(cell.path, cell.record, rows.digest)
            same = _same(values, scoring.computed(cell, list(values))) if values else None
            yield kept.name(cell.path), same if sound else False


def _same(a: Mapping[str, Floats], b: Mapping[str, Floats]) -> bool:
    close = [np.allclose(a[m], b[m], rtol=0, atol=_DIGITS, equal_nan=True) for m in b]
    return all(close)


def target_of(record: Mapping[str, Any]) -> Target:
    """The target that a record's predictions are of."""
    return Target(record["target"]["kind"], tuple(record["target"]["classes"]))


def arrays(frame: pd.DataFrame, target: Target) -> tuple[Ints, Floats]:
    """Truth, (n,) or (n, labels), and probabilities, (n, k), of stored predictions."""
    names = [f"y_{name}" for name in target.classes] if target.kind == "multilabel" else "y"
    proba = frame[[f"p_{name}" for name in target.classes]].to_numpy(np.float64)
    return frame[names].to_numpy(np.int64), proba


@dataclass(frozen=True)
class Done:
    """A finished cell as stored: its entry of the plan and its record; predictions on demand."""

    store: Store
    entry: Mapping[str, Any]
    record: Mapping[str, Any]
    edit: Edit | None

    @property
    def path(self) -> str:
        """The folder of its files."""
        return str(self.entry["path"])

    @property
    def seed(self) -> Repeat:
        """What tells it from the others of its model."""
        return repeat(self.entry)

    def frame(self) -> pd.DataFrame:
        """Its predictions, edited. Raises `InputError` where they are not those written."""
        frame = self.store.predictions(self.path, self.record)
        return frame if self.edit is None else self.edit(frame, target_of(self.record))

    def test_ids(self) -> pd.Index:
        """The ids of its test rows. Raises `InputError` as `frame` does."""
        frame = self.frame() if self.edit is not None else self._ids()
        ids: pd.Index = pd.Index(frame["id"][frame["part"] == "test"])
        return ids

    def _ids(self) -> pd.DataFrame:
        """Id and part of its predictions."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        data = self.store.predictions_bytes(self.path, self.record)
        file = pq.ParquetFile(io.BytesIO(data))
        kinds = {field.name: field.type for field in file.schema_arrow}
        if any(kinds.get(name) not in (pa.string(), pa.large_string()) for name in ("id", "part")):
            return self.frame()  # which says what is wrong with it
        found: pd.DataFrame = file.read(columns=["id", "part"]).to_pandas()
        return found

    def scored(self) -> tuple[Scored, pd.Index]:
        """Its scored test rows and their ids."""
        frame, target = self.frame(), target_of(self.record)
        test = frame[frame["part"] == "test"]
        y, proba = arrays(test, target)
        valid = arrays(frame[frame["part"] == "valid"], target)
        return Scored.of(target, y, proba=proba, valid=valid), pd.Index(test["id"])


@dataclass(frozen=True)
class Rows:
    """The test rows that all cells of a seed must have, in this order."""

    ids: pd.Index

    @cached_property
    def digest(self) -> str:
        """The sha256 of the ids in their order."""
        return hashlib.sha256(json.dumps(self.ids.tolist()).encode()).hexdigest()


@dataclass(frozen=True)
class Scoring:
    """How the cells of a family are scored: `rows` by seed, and where numbers are `kept`.

    `keeps` says whether those computed are to be kept too.
    """

    metrics: Sequence[str]
    weights: UnionWeights
    rows: Mapping[Repeat, Rows]
    grouped: bool
    kept: Kept | None
    keeps: bool

    def contender(self, cells: Sequence[Done]) -> Contender:
        """The cells of one model."""
        each = [self.values(cell) for cell in cells]
        return Contender(
            cells[0].entry["model"],
            cells[0].entry["inputs"],
            cells={cell.seed: cell for cell in cells},
            points={m: np.array([values[m][0] for values in each]) for m in self.metrics},
            resampled={m: np.stack([values[m][1:] for values in each]) for m in self.metrics},
            weights=self.weights,
            grouped=self.grouped,
        )

    def values(self, cell: Done) -> dict[str, Floats]:
        """(1 + draws,) by metric, the value first: kept ones, computed where there are none."""
        if self.kept is None:
            return self.computed(cell, self.metrics)
        rows = self.rows[cell.seed].digest
        found = self.kept.read(cell.path, cell.record, rows)
        lacking = [metric for metric in self.metrics if metric not in found]
        if not lacking:
            cell.store.predictions_bytes(cell.path, cell.record)  # they are still the same
            return found
        found = {**found, **self.computed(cell, lacking)}
        if self.keeps:
            self.kept.write(cell.path, cell.record, rows, found)
        return found

    def computed(self, cell: Done, metrics: Sequence[str]) -> dict[str, Floats]:
        """(1 + draws,) by metric, the value first. Raises `InputError` for other test rows."""
        from threadpoolctl import threadpool_limits

        scored, ids = cell.scored()
        if not ids.equals(self.rows[cell.seed].ids):
            raise InputError(
                f"{cell.path}: its test rows differ from the other models'",
                "the same ids in the same order",
                "models on different rows can't share a table",
            )
        with threadpool_limits(limits=1):  # products so small that threads mostly wait
            points = scores(metrics, scored)
            draws = scores(metrics, scored, weights=self.weights.of(ids))
        return {name: np.concatenate([points[name], draws[name]]) for name in metrics}


def _scoring(
    family: Sequence[Table],
    cells: Sequence[Done],
    metrics: Sequence[str],
    *,
    draws: int,
    kept: bool,
) -> Scoring:
    """How the finished cells of a family are scored, all on the rows that any seed tests."""
    store = cells[0].store
    firsts = {cell.seed: cell for cell in reversed(cells)}
    tests = {seed: cell.test_ids() for seed, cell in firsts.items()}
    groups = _groups(store, cells, tests)
    weights = union_weights(
        list(tests.values()),
        seed_text=seed_text(family),
        draws=draws,
        groups=None if groups is None else [groups[seed] for seed in tests],
    )
    return Scoring(
        metrics,
        weights,
        {seed: Rows(ids) for seed, ids in tests.items()},
        grouped=groups is not None,
        kept=Kept(store.root, weights) if kept and cells[0].edit is None else None,
        # draws of fewer seeds are soon of no use
        keeps=set(tests) == {seed for table in family for seed in table.seeds},
    )


def _read(store: Store, table: Table, edit: Edit | None) -> dict[tuple[str, str], list[Done]]:
    """The finished cells of a table by model and inputs."""
    done: dict[tuple[str, str], list[Done]] = {}
    for entry in table.entries:
        record = store.record(entry["path"])
        if record is None or record["status"] != "done":
            continue
        if record["key"] != entry["key"]:
            raise InputError(
                f"{entry['path']}: the record has another key than the plan",
                f"key {entry['key'][:16]}",
                "delete the folder and run again",
            )
        name = (entry["model"], entry["inputs"])
        done.setdefault(name, []).append(Done(store, entry, record, edit))
    return done


def _check_same_data(cells: Sequence[Done]) -> None:
    """Raise `InputError` unless the cells of a table are of one data set, those of a seed of one
    split. The rows of a table with redacted texts have another fingerprint than those without.
    """
    by_seed: dict[Repeat, Done] = {}
    by_level: dict[str, Done] = {}
    for cell in cells:
        peer = by_seed.setdefault(cell.seed, cell)
        first = by_level.setdefault(cell.entry["as_of"], cell)
        for what, name, other in (
            ("data fingerprint", "dataset_fingerprint", first),
            ("split hash", "split_hash", peer),
        ):
            came, expected = (str(each.record["cell"][name]) for each in (cell, other))
            if came != expected:
                raise InputError(
                    f"{cell.entry['path']}: {what} {came[:16]}",
                    f"{expected[:16]} as {other.entry['path']} has",
                    f"models of two {what}s can't share a table",
                )


def _groups(
    store: Store, cells: Sequence[Done], tests: Mapping[Repeat, pd.Index]
) -> dict[Repeat, pd.Series] | None:
    """The group of every test row by seed, where the split holds out groups; else None."""
    hashes = {cell.seed: str(cell.record["cell"]["split_hash"]) for cell in cells}
    by_hash = {name: store.groups(name) for name in dict.fromkeys(hashes.values())}
    held = {seed: by_hash[name] for seed, name in hashes.items()}
    if any(groups is None for groups in held.values()):
        if cells[0].entry["split"] in splits.GROUPED:
            raise InputError(
                f"{store.root}: a split by group without its groups",
                "splits/<hash>.parquet with a column group",
                "run again",
            )
        return None
    return {
        seed: groups[tests[seed]].reset_index(drop=True)
        for seed, groups in held.items()
        if groups is not None
    }


def seed_text(family: Iterable[Table]) -> str:
    """What the draws of a family come from.

    Its plan, so that they stay the same while cells are still missing.
    """
    return "".join(sorted({str(e["split_hash"]) for table in family for e in table.entries}))


def is_ranked(contender: Contender, table: Table) -> bool:
    """Whether it has every planned seed and is no ceiling."""
    return not contender.first["is_ceiling"] and set(contender.records) == set(table.seeds)


def pairs(found: Sequence[Contender]) -> list[tuple[Contender, Contender]]:
    """Every two models, in their order."""
    return list(itertools.combinations(found, 2))
