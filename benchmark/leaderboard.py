"""Stored predictions -> ranked rows with paired intervals: a pure function of a results folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from benchmark.bootstrap import (
    UnionWeights,
    interval,
    mean_over_seeds,
    paired_difference,
    union_weights,
)
from benchmark.compare import rank
from benchmark.metrics import (
    DEFAULTS,
    Scored,
    label_metrics,
    label_of,
    metric_names,
    metric_of,
    scores,
)
from benchmark.receipts import sha256
from benchmark.store import Store
from features.errors import InputError, unknown_name
from models.base import Floats, Ints, Target

STOPPED = "average_precision_negative"
GROUP = ("task", "split", "as_of")


@dataclass(frozen=True)
class Board:
    """A leaderboard.

    `rows` holds one row for each task, split, as-of level, model, inputs and metric: value with
    its 95 % interval, rank, tie group, rows, cost and hashes. `metrics` are those that its tables
    show as columns; the first one that a table has ranks it. Besides them, `rows` holds
    `label_metrics` of a task of several classes or labels. `gaps` says which planned cells are not
    in it, and why; `read` counts the rows read, filtered out, incomplete, used and rejected.
    """

    name: str
    rows: pd.DataFrame
    metrics: tuple[str, ...]
    gaps: tuple[str, ...]
    read: Mapping[str, int]


@dataclass(frozen=True)
class Contender:
    """One model with one kind of inputs in one table: its records by seed, values and draws.

    `values` is the mean over seeds by metric, `draws` the same inside each bootstrap draw.
    `n_groups` counts the groups of its test rows where draws take whole groups.
    """

    label: str
    inputs: str
    records: Mapping[int, Mapping[str, Any]]
    values: Mapping[str, float]
    draws: Mapping[str, Floats]
    n_groups: int | None = None

    @property
    def first(self) -> Mapping[str, Any]:
        """The record of its first seed, for what all seeds share."""
        return next(iter(self.records.values()))

    @property
    def name(self) -> str:
        """`label/inputs`."""
        return f"{self.label}/{self.inputs}"


@dataclass(frozen=True)
class Table:
    """What may be compared: the planned cells of one task, split and as-of level."""

    task: str
    split: str
    as_of: str
    seeds: tuple[int, ...]
    entries: tuple[Mapping[str, Any], ...]


def leaderboard(store: Store, metric: str | None = None) -> Board:
    """The board of a results folder, ranked by `metric` (default: the first of its config).

    Metrics that are not for a task's kind of target are left out of its tables. Models that lack a
    seed (failed, or not run yet) stand without rank. Raises `InputError` where nothing is done, or
    where records of one table do not share rows.
    """
    plan = store.plan()
    rows: list[dict[str, Any]] = []
    gaps: list[str] = []
    columns: dict[str, None] = {}

    def wanted(target: Target) -> list[str]:
        shown = _wanted(target, plan["metrics"], metric)
        columns.update(dict.fromkeys(shown))
        return list(dict.fromkeys([*shown, *label_metrics(target)]))

    for table in _tables(plan["cells"]):
        rows += _rows(table, _contenders(store, table, wanted))
        gaps += _gaps(store, table)
    if not rows:
        raise InputError(
            f"{store.root} has no finished cell",
            "at least one",
            f"see `trialmark status {store.root}`",
        )
    frame = pd.DataFrame(rows).astype({"rank": "Int64", "tie_group": "Int64"})
    if metric is not None and metric not in columns:
        raise InputError(f"metric {metric!r} fits none of the tasks here", ", ".join(columns))
    configured = [] if plan["metrics"] is None else plan["metrics"]
    order = dict.fromkeys([metric, *configured, *columns])
    shown = tuple(name for name in order if name in columns)
    return Board(plan["name"], frame, shown, tuple(gaps), plan.get("rows", {}))


def compare(store: Store, a: str, b: str, metric: str | None = None) -> pd.DataFrame:
    """Paired difference a - b on the seeds that both have, a row for each task, split and level."""
    plan = store.plan()

    def wanted(target: Target) -> list[str]:
        return [
            name for name in _wanted(target, plan["metrics"], metric)[:1] if metric in (None, name)
        ]

    rows = []
    for table in _tables(plan["cells"]):
        entries = [_entry_names(table, model) for model in (a, b)]
        seeds = [
            {e["seed"] for e in found if store.state(e["path"]) == "done"} for found in entries
        ]
        common = seeds[0] & seeds[1]
        if not common:
            continue
        both = tuple(e for found in entries for e in found if e["seed"] in common)
        narrowed = Table(table.task, table.split, table.as_of, tuple(sorted(common)), both)
        contenders = {c.name: c for c in _contenders(store, narrowed, wanted)}
        first, second = (contenders[f"{f[0]['model']}/{f[0]['inputs']}"] for f in entries)
        rows += [_difference(narrowed, first, second, name) for name in first.values]
    if not rows:
        what = "a metric" if metric is None else metric
        raise InputError(f"no table holds {what} of both {a} and {b}", "a common seed that is done")
    return pd.DataFrame(rows)


def _difference(table: Table, a: Contender, b: Contender, metric: str) -> dict[str, Any]:
    low, high, p = paired_difference(a.draws[metric], b.draws[metric])
    return {
        "task": table.task,
        "split": table.split,
        "as_of": table.as_of,
        "metric": metric,
        "a": a.name,
        "b": b.name,
        "value_a": a.values[metric],
        "value_b": b.values[metric],
        "difference": a.values[metric] - b.values[metric],
        "low": low,
        "high": high,
        "p": p,
        "seeds": list(table.seeds),
        "n_test": a.first["rows"]["test"],
    }


def _wanted(target: Target, configured: Sequence[str] | None, metric: str | None) -> list[str]:
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


def _tables(entries: Iterable[Mapping[str, Any]]) -> list[Table]:
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for entry in entries:
        groups.setdefault(tuple(entry[name] for name in GROUP), []).append(entry)
    return [
        Table(task, split, as_of, tuple(dict.fromkeys(e["seed"] for e in members)), tuple(members))
        for (task, split, as_of), members in groups.items()
    ]


def _entry_names(table: Table, model: str) -> list[Mapping[str, Any]]:
    """The entries of one model, named by label or by `label/inputs`."""
    found = [e for e in table.entries if model in (e["model"], f"{e['model']}/{e['inputs']}")]
    names = dict.fromkeys(f"{e['model']}/{e['inputs']}" for e in found)
    if not found:
        known = dict.fromkeys(f"{e['model']}/{e['inputs']}" for e in table.entries)
        raise unknown_name("model", model, known)
    if len(names) > 1:
        raise InputError(f"model {model!r} ran with several inputs", "one of " + ", ".join(names))
    return found


def _gaps(store: Store, table: Table) -> list[str]:
    lines = []
    for entry in table.entries:
        state = store.state(entry["path"])
        if state != "done":
            lines.append(
                f"{table.task} {table.split} seed {entry['seed']} {entry['model']} "
                f"{entry['inputs']}: {state}"
            )
    return lines


def _contenders(
    store: Store, table: Table, wanted: Callable[[Target], Sequence[str]]
) -> list[Contender]:
    """All models of a table that have a finished cell, with their values and draws."""
    done: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    tests: dict[int, pd.DataFrame] = {}
    scored: dict[tuple[str, str], dict[int, Scored]] = {}
    for entry in table.entries:
        record = store.record(entry["path"])
        if record is None or record["status"] != "done":
            continue
        _check_belongs(record, entry)
        frame = store.predictions(entry["path"])
        test = frame[frame["part"] == "test"]
        _check_same_rows(tests.setdefault(entry["seed"], test), test, entry)
        name = (entry["model"], entry["inputs"])
        done.setdefault(name, {})[entry["seed"]] = record
        scored.setdefault(name, {})[entry["seed"]] = _scored(frame, target_of(record))
    if not done:
        return []
    # from the plan, so that the draws stay the same while cells are still missing
    hashes = sorted({str(entry["split_hash"]) for entry in table.entries})
    groups = _groups(store, table, tests)
    weights = union_weights(
        [pd.Index(test["id"]) for test in tests.values()],
        seed_text="".join(hashes),
        groups=None if groups is None else list(groups.values()),
    )
    by_seed = {seed: _columns(weights, test) for seed, test in tests.items()}
    metrics = wanted(target_of(next(iter(next(iter(done.values())).values()))))
    return [
        replace(
            _contender(name, done[name], scored[name], weights=by_seed, metrics=metrics),
            n_groups=None if groups is None else pd.concat(list(groups.values())).nunique(),
        )
        for name in done
    ]


def _groups(
    store: Store, table: Table, tests: Mapping[int, pd.DataFrame]
) -> dict[int, pd.Series] | None:
    """The group of every test row by seed, where the split holds out groups; else None."""
    if table.split != "group":
        return None
    hashes = {entry["seed"]: str(entry["split_hash"]) for entry in table.entries}
    return {
        seed: store.groups(hashes[seed])[test["id"]].reset_index(drop=True)
        for seed, test in tests.items()
    }


def _columns(weights: UnionWeights, test: pd.DataFrame) -> np.ndarray:
    return weights.of(pd.Index(test["id"]))


def _check_belongs(record: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    if record["key"] != entry["key"]:
        raise InputError(
            f"{entry['path']}: the record has another key than the plan",
            f"key {entry['key'][:16]}",
            "delete the folder and run again",
        )


def _check_same_rows(first: pd.DataFrame, other: pd.DataFrame, entry: Mapping[str, Any]) -> None:
    if first["id"].tolist() != other["id"].tolist():
        raise InputError(
            f"{entry['path']}: its test rows differ from the other models'",
            "the same ids in the same order",
            "models on different rows can't share a table",
        )


def target_of(record: Mapping[str, Any]) -> Target:
    """The target that a record's predictions are of."""
    return Target(record["target"]["kind"], tuple(record["target"]["classes"]))


def _scored(frame: pd.DataFrame, target: Target) -> Scored:
    test, valid = (arrays(frame[frame["part"] == part], target) for part in ("test", "valid"))
    return Scored.of(target, test[0], proba=test[1], valid=valid)


def arrays(frame: pd.DataFrame, target: Target) -> tuple[Ints, Floats]:
    """Truth, (n,) or (n, labels), and probabilities, (n, k), of stored predictions."""
    names = [f"y_{name}" for name in target.classes] if target.kind == "multilabel" else "y"
    proba = frame[[f"p_{name}" for name in target.classes]].to_numpy(np.float64)
    return frame[names].to_numpy(np.int64), proba


def _contender(
    name: tuple[str, str],
    records: Mapping[int, Mapping[str, Any]],
    scored: Mapping[int, Scored],
    *,
    weights: Mapping[int, np.ndarray],
    metrics: Sequence[str],
) -> Contender:
    point = [scores(metrics, rows) for rows in scored.values()]
    draws = [scores(metrics, rows, weights=weights[seed]) for seed, rows in scored.items()]
    return Contender(
        *name,
        records=records,
        values={m: float(mean_over_seeds([values[m] for values in point])[0]) for m in metrics},
        draws={m: mean_over_seeds([values[m] for values in draws]) for m in metrics},
    )


def _rows(table: Table, contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    rows = []
    for metric in dict.fromkeys(m for c in contenders for m in c.values):
        ranked = [c for c in contenders if _is_ranked(c, table)]
        places: dict[str, tuple[int, int]] = {}
        if ranked:
            ranks, groups = rank(
                np.array([c.values[metric] for c in ranked]),
                np.stack([c.draws[metric] for c in ranked]),
                higher_is_better=metric_of(metric).higher_is_better,
            )
            names = [c.name for c in ranked]
            places = dict(
                zip(names, zip(ranks.tolist(), groups.tolist(), strict=True), strict=True)
            )
        found = [_row(table, c, metric, places.get(c.name)) for c in contenders]
        rows += sorted(found, key=lambda row: (row["rank"] is None, row["rank"], row["model"]))
    return rows


def _is_ranked(contender: Contender, table: Table) -> bool:
    return not contender.first["is_ceiling"] and set(contender.records) == set(table.seeds)


def _row(
    table: Table, contender: Contender, metric: str, place: tuple[int, int] | None
) -> dict[str, Any]:
    first = contender.first
    low, high = interval(contender.draws[metric])
    value = contender.values[metric]
    return {
        "task": table.task,
        "split": table.split,
        "model": contender.label,
        "inputs": contender.inputs,
        "as_of": table.as_of,
        "metric": metric,
        "value": None if math.isnan(value) else value,
        "low": None if math.isnan(low) else low,
        "high": None if math.isnan(high) else high,
        "rank": None if place is None else place[0],
        "tie_group": None if place is None else place[1],
        "is_floor": first["is_floor"],
        "is_ceiling": first["is_ceiling"],
        "seeds": list(contender.records),
        "n_train": first["rows"]["train"],
        "n_test": first["rows"]["test"],
        "n_excluded": first["rows"]["excluded"],
        "n_groups": contender.n_groups,
        "kind": first["target"]["kind"],
        "prevalence": _prevalence(first, label_of(metric)),
        "positive": _positive(first, label_of(metric)),
        **_costs(contender),
        "checkpoint": first["notes"].get("checkpoint", {}).get("label"),
        "device": first["device_name"],
        "split_hash": _joined(r["cell"]["split_hash"] for r in contender.records.values()),
        "dataset_fingerprint": first["cell"]["dataset_fingerprint"],
    }


def _joined(hashes: Iterable[str]) -> str:
    """One hash for all seeds: the hash itself where they share it."""
    distinct = list(dict.fromkeys(hashes))
    return distinct[0] if len(distinct) == 1 else sha256("".join(distinct).encode())


def _prevalence(record: Mapping[str, Any], label: str | None) -> float | None:
    """Share of the positive class in test, mean share of the labels, None for several classes.

    For a metric of one class or label, the share of that one.
    """
    counts, n = record["rows"]["test_classes"], record["rows"]["test"]
    kind, classes = record["target"]["kind"], record["target"]["classes"]
    if label is not None:
        return float(counts[label] / n)
    if kind == "multiclass":
        return None
    if kind == "multilabel":
        return float(sum(counts.values()) / (n * len(classes)))
    return float(counts[classes[1]] / n)


def _positive(record: Mapping[str, Any], label: str | None) -> str | None:
    """What the prevalence is the share of; None for several classes."""
    kind, classes = record["target"]["kind"], record["target"]["classes"]
    if label is not None:
        return label
    if kind == "multiclass":
        return None
    return "of a row's labels" if kind == "multilabel" else str(classes[1])


def _costs(contender: Contender) -> dict[str, float | None]:
    """Means over seeds. `fit_seconds` holds features and fit, what a cache spared included."""
    seconds = [record["seconds"] for record in contender.records.values()]
    if "fit" not in seconds[0]:  # the ceiling is not fitted
        return dict.fromkeys(("fit_seconds", "predict_seconds", "tune_seconds", "peak_memory_mb"))
    memory = [record["peak_memory_mb"] for record in contender.records.values()]
    return {
        "fit_seconds": _mean([s["features"] + s["fit"] for s in seconds]),
        "predict_seconds": _mean([s["predict"] for s in seconds]),
        "tune_seconds": _mean([s.get("tune", 0.0) for s in seconds]),
        "peak_memory_mb": _mean(memory),
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 3)
