"""What stands in a table: each model's stored predictions, scored, with paired bootstrap draws."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark import splits
from benchmark.bootstrap import DRAWS, UnionWeights, mean_over_seeds, union_weights
from benchmark.cells import REDACTED
from benchmark.metrics import DEFAULTS, Scored, metric_names, metric_of, scores
from benchmark.store import Store
from features.columns import KNOWN_AT
from features.errors import InputError, unknown_name
from models.base import Floats, Ints, Target

STOPPED = "average_precision_negative"
Wanted = Callable[[Target], Sequence[str]]
"""The metrics to score for a kind of target."""
Repeat = int | str
"""A seed, or `seed/fold`."""
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

    Records and scored test rows by seed; `points` holds (seeds,) and `resampled` (seeds, draws)
    values by metric. `units` counts the rows, or groups of rows, that draws take; `grouped` says
    which.
    """

    label: str
    inputs: str
    records: Mapping[Repeat, Mapping[str, Any]]
    tested: Mapping[Repeat, Tested]
    points: Mapping[str, Floats]
    resampled: Mapping[str, Floats]
    units: int
    grouped: bool

    @property
    def first(self) -> Mapping[str, Any]:
        """The record of its first seed, for what all seeds share."""
        return next(iter(self.records.values()))

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
) -> list[list[Contender]]:
    """For each table the models that have a finished cell, with their values and draws.

    The tables share their draws, so that models of two levels are paired too; the same draw takes
    the same rows of every seed. Raises `InputError` where records do not belong to the plan, or
    not to the same data, split or rows.
    """
    done = [_read(store, table, edit) for table in family]
    cells = [cell for table in done for of_model in table.values() for cell in of_model]
    if not cells:
        return [[] for _ in family]
    _check_same_data(cells)
    tests = {cell.seed: cell.test for cell in reversed(cells)}
    groups = _groups(store, cells, tests)
    weights = union_weights(
        [pd.Index(test["id"]) for test in tests.values()],
        # from the plan, so that the draws stay the same while cells are still missing
        seed_text="".join(sorted({str(e["split_hash"]) for t in family for e in t.entries})),
        draws=draws,
        groups=None if groups is None else [groups[seed] for seed in tests],
    )
    metrics = wanted(target_of(cells[0].record))
    return [
        [_contender(of_model, weights, metrics, grouped=groups is not None) for of_model in table]
        for table in (list(found.values()) for found in done)
    ]


def target_of(record: Mapping[str, Any]) -> Target:
    """The target that a record's predictions are of."""
    return Target(record["target"]["kind"], tuple(record["target"]["classes"]))


def arrays(frame: pd.DataFrame, target: Target) -> tuple[Ints, Floats]:
    """Truth, (n,) or (n, labels), and probabilities, (n, k), of stored predictions."""
    names = [f"y_{name}" for name in target.classes] if target.kind == "multilabel" else "y"
    proba = frame[[f"p_{name}" for name in target.classes]].to_numpy(np.float64)
    return frame[names].to_numpy(np.int64), proba


@dataclass(frozen=True)
class _Done:
    """A finished cell as stored: its entry of the plan, record and predictions."""

    entry: Mapping[str, Any]
    record: Mapping[str, Any]
    frame: pd.DataFrame

    @property
    def seed(self) -> Repeat:
        return repeat(self.entry)

    @property
    def test(self) -> pd.DataFrame:
        return self.frame[self.frame["part"] == "test"]

    def tested(self, weights: UnionWeights) -> Tested:
        target = target_of(self.record)
        y, proba = arrays(self.test, target)
        valid = arrays(self.frame[self.frame["part"] == "valid"], target)
        ids = pd.Index(self.test["id"])
        return Tested(Scored.of(target, y, proba=proba, valid=valid), ids, weights.unit_of(ids))


def _read(store: Store, table: Table, edit: Edit | None) -> dict[tuple[str, str], list[_Done]]:
    """The finished cells of a table by model and inputs."""
    done: dict[tuple[str, str], list[_Done]] = {}
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
        frame = store.predictions(entry["path"])
        frame = frame if edit is None else edit(frame, target_of(record))
        name = (entry["model"], entry["inputs"])
        done.setdefault(name, []).append(_Done(entry, record, frame))
    return done


def _check_same_data(cells: Sequence[_Done]) -> None:
    """Raise `InputError` unless the cells of a table are of one data set, those of a seed of one
    split. The rows of a table with redacted texts have another fingerprint than those without.
    """
    by_seed: dict[Repeat, _Done] = {}
    by_level: dict[str, _Done] = {}
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
        if cell.test["id"].tolist() != peer.test["id"].tolist():
            raise InputError(
                f"{cell.entry['path']}: its test rows differ from the other models'",
                "the same ids in the same order",
                "models on different rows can't share a table",
            )


def _groups(
    store: Store, cells: Sequence[_Done], tests: Mapping[Repeat, pd.DataFrame]
) -> dict[Repeat, pd.Series] | None:
    """The group of every test row by seed, where the split holds out groups; else None."""
    hashes = {cell.seed: str(cell.record["cell"]["split_hash"]) for cell in cells}
    held = {seed: store.groups(name) for seed, name in hashes.items()}
    if any(groups is None for groups in held.values()):
        if cells[0].entry["split"] in splits.GROUPED:
            raise InputError(
                f"{store.root}: a split by group without its groups",
                "splits/<hash>.parquet with a column group",
                "run again",
            )
        return None
    return {
        seed: groups[tests[seed]["id"]].reset_index(drop=True)
        for seed, groups in held.items()
        if groups is not None
    }


def _contender(
    cells: Sequence[_Done], weights: UnionWeights, metrics: Sequence[str], *, grouped: bool
) -> Contender:
    from threadpoolctl import threadpool_limits

    tested = {cell.seed: cell.tested(weights) for cell in cells}
    with threadpool_limits(limits=1):  # products so small that threads mostly wait for each other
        points = [scores(metrics, rows.scored) for rows in tested.values()]
        draws = [scores(metrics, r.scored, weights=weights.of(r.ids)) for r in tested.values()]
    return Contender(
        cells[0].entry["model"],
        cells[0].entry["inputs"],
        records={cell.seed: cell.record for cell in cells},
        tested=tested,
        points={m: np.concatenate([values[m] for values in points]) for m in metrics},
        resampled={m: np.stack([values[m] for values in draws]) for m in metrics},
        units=weights.units,
        grouped=grouped,
    )


def is_ranked(contender: Contender, table: Table) -> bool:
    """Whether it has every planned seed and is no ceiling."""
    return not contender.first["is_ceiling"] and set(contender.records) == set(table.seeds)


def pairs(found: Sequence[Contender]) -> list[tuple[Contender, Contender]]:
    """Every two models, in their order."""
    return list(itertools.combinations(found, 2))
