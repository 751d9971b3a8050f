"""Stored predictions -> ranked rows with paired intervals: a pure function of a results folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmark.bootstrap import intervals, pair_errors, paired_difference, standard_error
from benchmark.cells import REDACTED
from benchmark.contenders import (
    Contender,
    Table,
    contenders,
    families,
    is_ranked,
    scored_metrics,
    shown_metrics,
    target_of,
)
from benchmark.metrics import SCORING, label_of, metric_of
from benchmark.ranks import rank, rank_intervals
from benchmark.receipts import sha256
from benchmark.significance import detectable, seed_spread
from benchmark.store import Store
from features.errors import InputError
from models.base import Target

GROUP = ("task", "split", "as_of")
TWIN = "-twin"
"""What the name of a split's random twin ends with."""

_PLACE = ("rank", "rank_low", "rank_high", "tie_group")
GAINS = {
    "leak": ("leak_dividend", "leak_low", "leak_high", "leak_p"),
    "redaction": ("redaction_change", "redaction_low", "redaction_high", "redaction_p"),
    "optimism": ("optimism", "optimism_low", "optimism_high", "optimism_p"),
}
"""Columns of what the same model has more than in another table."""
_ASKED_BY = {
    "leak": "as_of: [registration, after]",
    "redaction": "redact: [false, true]",
    "optimism": "splits: [temporal, {name: twin, of: temporal}]",
}
_ROWS = ("seeds", "n_test")
DECIMALS = 9
"""Of a board's numbers in JSON and CSV: `verify` computes these digits again on any processor,
though processors add in different orders."""


@dataclass(frozen=True)
class Board:
    """A leaderboard.

    `rows` holds one row for each task, split, as-of level, model, inputs and metric:

    - value with its 95 % interval, rank with its own (`rank_low`, `rank_high`), tie group;
    - `mde`: the difference of two models that these rows show with a chance of 80 %, see
      `significance.detectable`; the median over the pairs of the table's models, without floors;
    - `sample_sd`: standard deviation of the value over draws of test rows; `seed_sd`: between
      seeds, beyond what their test rows make of it (`significance.seed_spread`);
    - `leak_dividend` with its interval and p at later as-of levels: by how much the value is higher
      than the same model's at the earliest level, on the same rows; `redaction_change` likewise on
      redacted texts: by how much it is higher than on the texts as they are; `optimism` on the
      random twin of a split: by how much it is higher than on the split itself, whose rows differ,
      so that the draws of the two are independent (Efron & Tibshirani 1993, 8.4);
    - how it was fitted: `tuned` (its study's budget, None without), `refit` on train and valid,
      `calibrate`, and the `members` that a blend mixes;
    - rows, cost, hashes, and `scoring`, the version of the metrics' definitions.

    `metrics` are those that its tables show as columns; the first one that a table has ranks it.
    Besides them, `rows` holds `label_metrics` of a task of several classes or labels. `gaps` says
    which planned cells are not in it, and why; `read` counts the rows read, filtered out,
    incomplete, used and rejected.
    """

    name: str
    rows: pd.DataFrame
    metrics: tuple[str, ...]
    gaps: tuple[str, ...]
    read: Mapping[str, int]


def leaderboard(store: Store, metric: str | None = None, *, kept: bool = True) -> Board:
    """The board of a results folder, ranked by `metric` (default: the first of its config).

    Metrics that are not for a task's kind of target are left out of its tables. Models that lack a
    seed (failed, or not run yet) stand without rank. The numbers are the same without `kept`, which
    takes draws from the folder and keeps them there, only later. Raises `InputError` where nothing
    is done, or where records of one table do not share data, split and rows.
    """
    plan = store.plan()
    rows: list[dict[str, Any]] = []
    gaps: list[str] = []
    columns: dict[str, None] = {}
    for family, found, origin in _scored(store, plan, metric, kept=kept):
        by_level = dict(zip((table.as_of for table in family), found, strict=True))
        for table in family:
            rows += _rows(table, by_level, origin)
            gaps += _gaps(store, table, by_level[table.as_of])
        targets = [target_of(c.first) for contending in found for c in contending][:1]
        for target in targets:
            columns.update(dict.fromkeys(shown_metrics(target, plan["metrics"], metric)))
    if not rows:
        raise InputError(
            f"{store.root} has no finished cell",
            "at least one",
            f"see `trialmark status {store.root}`",
        )
    floats = [column for columns in GAINS.values() for column in columns] + [*COSTS]
    types = {
        **dict.fromkeys((*_PLACE, "dropped_after"), "Int64"),
        **dict.fromkeys(floats, "float64"),
    }
    frame = pd.DataFrame(rows).astype(types)
    frame["exploration"] = "exploration" in plan
    if metric is not None and metric not in columns:
        raise InputError(f"metric {metric!r} fits none of the tasks here", ", ".join(columns))
    configured = [] if plan["metrics"] is None else plan["metrics"]
    order = dict.fromkeys([metric, *configured, *columns])
    shown = tuple(name for name in order if name in columns)
    return Board(plan["name"], frame, shown, tuple(gaps), plan.get("rows", {}))


Scored = tuple[Sequence[Table], Sequence[Sequence[Contender]]]
"""The tables of one task and split, and the contenders of each."""


def _scored(
    store: Store, plan: Mapping[str, Any], metric: str | None, *, kept: bool
) -> Iterator[tuple[Sequence[Table], Sequence[Sequence[Contender]], Scored | None]]:
    """Each family of tables, its contenders, and those of the split that it is the twin of.

    One at a time: the draws of 10,000 cells would not fit.
    """

    def wanted(target: Target) -> list[str]:
        return scored_metrics(target, plan["metrics"], metric)

    by_place = {(f[0].task, f[0].split): f for f in families(plan["cells"])}
    origins = {
        (task, split.removesuffix(TWIN)) for task, split in by_place if split.endswith(TWIN)
    } & set(by_place)
    held: dict[tuple[str, str], Scored] = {}

    def scored(place: tuple[str, str]) -> Scored:
        if place in held:
            return held[place]
        found = by_place[place], contenders(store, by_place[place], wanted, kept=kept)
        if place in origins:
            held[place] = found
        return found

    for task, split in by_place:
        origin = (task, split.removesuffix(TWIN))
        is_twin = split.endswith(TWIN) and origin in by_place
        yield *scored((task, split)), scored(origin) if is_twin else None


def gains(board: Board, kind: str, metric: str | None = None) -> pd.DataFrame:
    """What each model gains by columns that were not known yet at the earliest as-of level
    (`leak`), by redacted texts (`redaction`), or by a split's random twin (`optimism`).

    One row for each task, split, level, model and inputs, with the columns of `GAINS`; `metric` is
    the first that the table has; floors are left out. Raises `InputError` for a board without two
    such tables.
    """
    columns = GAINS[kind]
    leads = []
    for _, table in gained(board, kind).groupby(list(GROUP), sort=False):
        names = board.metrics if metric is None else (metric,)
        has = [name for name in names if name in set(table["metric"])]
        leads.append(table[table["metric"].isin(has[:1])])
    if sum(map(len, leads)) == 0:
        raise InputError(
            f"{board.name}: no model scored in both tables that the {kind} compares",
            "the same seeds done in both",
            f"set {_ASKED_BY[kind]}",
        )
    return pd.concat(leads)[[*GROUP, "model", "inputs", "metric", "value", *columns, *_ROWS]]


def gained(board: Board, kind: str) -> pd.DataFrame:
    """The board's rows with a gain of this kind, those of floors left out."""
    return board.rows[board.rows[GAINS[kind][0]].notna() & ~board.rows["is_floor"]]


def check_comparable(rows: pd.DataFrame) -> None:
    """Raise `InputError` where rows of one table are of two data sets, splits or scoring versions.

    A board's own never are; those of several boards, put together, may be.
    """
    for key, group in rows.groupby([*GROUP, "metric"], sort=False):
        seeds = group["seeds"].map(str)
        for name, what, alike in (
            ("dataset_fingerprint", "data fingerprints", group),
            ("split_hash", "split hashes", group[seeds == seeds.iloc[0]]),
            ("scoring", "scoring versions", group),
        ):
            found = alike[name].drop_duplicates()
            if len(found) > 1:
                models = alike.loc[found.index, "model"]
                pair = [f"{str(found.iloc[i])[:16]} ({models.iloc[i]})" for i in (0, 1)]
                place = " ".join(map(str, key[:3]))
                raise InputError(
                    f"{place}: {what} {pair[0]} and {pair[1]}", "one", "show them in two tables"
                )


def _rows(
    table: Table, by_level: Mapping[str, Sequence[Contender]], origin: Scored | None
) -> list[dict[str, Any]]:
    """Rows of a table; `by_level` holds the contenders of its task and split, earliest first.

    `origin` is what was scored on the split whose twin this table's split is.
    """
    rows = []
    found = by_level[table.as_of]
    before = {
        kind: {c.name: c for c in by_level.get(level, ())}
        for kind, level in _compared_with(table.as_of, list(by_level)).items()
    }
    for other, contending in zip(*origin, strict=True) if origin is not None else ():
        if other.as_of == table.as_of:
            before["optimism"] = {c.name: c for c in contending}
    ranked = [c for c in found if is_ranked(c, table)]
    done = {cell.path for c in found for cell in c.cells.values()}
    dropped = {
        (e["model"], e["inputs"]): e["dropped"]
        for e in table.entries
        if "dropped" in e and e["path"] not in done  # which a run without halving may have fitted
    }
    for metric in dict.fromkeys(m for c in found for m in c.points):
        places, mde = _places(ranked, metric), _detectable(ranked, metric)
        low, high = intervals(np.stack([c.draws[metric] for c in found]))
        of_metric = [
            {
                **_row(table, c, metric),
                "low": _known(float(low[place])),
                "high": _known(float(high[place])),
                **places.get(c.name, {}),
                "mde": mde,
                "dropped_after": _seeds_before(c, dropped),
                **_gain("leak", c, before, metric),
                **_gain("redaction", c, before, metric),
                **_gain("optimism", c, before, metric),
            }
            for place, c in enumerate(found)
        ]
        rows += sorted(of_metric, key=lambda row: (row["rank"] is None, row["rank"], row["model"]))
    return rows


def _seeds_before(
    contender: Contender, dropped: Mapping[tuple[str, str], Mapping[str, Any]]
) -> int | None:
    """The number of seeds after which halving dropped it, None where it did not."""
    found = dropped.get((contender.label, contender.inputs))
    return None if found is None else int(found["after"])


def _places(ranked: Sequence[Contender], metric: str) -> dict[str, dict[str, int]]:
    """`_PLACE` by name."""
    if not ranked:
        return {}
    values = np.array([c.values[metric] for c in ranked])
    draws = np.stack([c.draws[metric] for c in ranked])
    better = metric_of(metric).higher_is_better
    ranks, groups = rank(values, draws, higher_is_better=better)
    low, high = rank_intervals(values, draws, higher_is_better=better)
    places = np.stack([ranks, low, high, groups], axis=1).tolist()
    return {c.name: dict(zip(_PLACE, p, strict=True)) for c, p in zip(ranked, places, strict=True)}


def _detectable(ranked: Sequence[Contender], metric: str) -> float | None:
    """The median of what a pair of the table's models would have to differ by."""
    learnt = [c for c in ranked if not c.first["is_floor"]]
    shown = learnt if len(learnt) > 1 else ranked
    if len(shown) < 2:
        return None
    errors = pair_errors(np.stack([c.draws[metric] for c in shown]))
    defined = errors[~np.isnan(errors)]
    return detectable(float(np.median(defined))) if len(defined) else None


def _compared_with(level: str, levels: Sequence[str]) -> dict[str, str]:
    """The level that a level's values are compared with, by kind of gain; `levels` in order."""
    plain = level.removesuffix(REDACTED)
    if plain != level and plain in levels:
        return {"redaction": plain}
    return {} if level == levels[0] else {"leak": levels[0]}


def _gain(
    kind: str, now: Contender, before: Mapping[str, Mapping[str, Contender]], metric: str
) -> dict[str, float | None]:
    """The difference to the same model in the other table, None where there is none.

    Paired where the tables share rows, as their draws are the same then.
    """
    other = before.get(kind, {}).get(now.name)
    if other is None or set(now.records) != set(other.records):
        return dict.fromkeys(GAINS[kind])
    low, high, p = paired_difference(now.draws[metric], other.draws[metric])
    found = (now.values[metric] - other.values[metric], low, high, p)
    return {name: _known(value) for name, value in zip(GAINS[kind], found, strict=True)}


def _row(table: Table, contender: Contender, metric: str) -> dict[str, Any]:
    first = contender.first
    draws = contender.draws[metric]
    units = contender.units if contender.grouped else None
    return {
        "task": table.task,
        "split": table.split,
        "model": contender.label,
        "inputs": contender.inputs,
        "as_of": table.as_of,
        "metric": metric,
        "value": _known(contender.values[metric]),
        **dict.fromkeys(("low", "high", *_PLACE)),
        "sample_sd": _known(standard_error(draws)),
        "seed_sd": _known(seed_spread(contender.points[metric], contender.resampled[metric])),
        "is_floor": first["is_floor"],
        "is_ceiling": first["is_ceiling"],
        "seeds": list(contender.records),
        "n_train": first["rows"]["train"],
        "n_test": first["rows"]["test"],
        "n_excluded": first["rows"]["excluded"],
        "n_groups": units,
        "kind": first["target"]["kind"],
        "prevalence": _prevalence(first, label_of(metric)),
        "positive": _positive(first, label_of(metric)),
        **_fitted(first),
        **_costs(contender),
        "checkpoint": first["notes"].get("checkpoint", {}).get("label"),
        "device": first["device_name"],
        "split_hash": _joined(r["cell"]["split_hash"] for r in contender.records.values()),
        "dataset_fingerprint": first["cell"]["dataset_fingerprint"],
        "scoring": SCORING,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _gaps(store: Store, table: Table, found: Sequence[Contender]) -> list[str]:
    """A line for each planned cell that is not among the contenders'."""
    done = {cell.path for contender in found for cell in contender.cells.values()}
    lines = []
    for entry in table.entries:
        if entry["path"] not in done and "dropped" not in entry:
            lines.append(
                f"{table.task} {entry['split']} seed {entry['seed']} {entry['model']} "
                f"{entry['inputs']}: {store.state(entry['path'])}"
            )
    return lines


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


def _fitted(record: Mapping[str, Any]) -> dict[str, Any]:
    """How a cell came to its parameters and probabilities; records of schema 1 know none of it."""
    cell, tuning = record["cell"], record.get("tuning")
    members = cell.get("members")
    return {
        "tuned": None if tuning is None else _budget(tuning),
        "refit": bool(cell.get("refit", False)),
        "calibrate": cell.get("calibrate"),
        "members": "; ".join(sorted(members)) if members else None,
    }


def _budget(tuning: Mapping[str, Any]) -> str:
    """`30 Optuna trials or 600 s by TPE on 5 inner folds for average_precision`."""
    trials, seconds = (tuning["budget"][name] for name in ("trials", "seconds"))
    folds = "valid" if tuning["folds"] == 1 else f"{tuning['folds']} inner folds"
    objective = tuning["objective"]
    return f"{trials} Optuna trials or {seconds:g} s by TPE on {folds} for {objective}"


def _costs(contender: Contender) -> dict[str, float | str | None]:
    """Means over seeds; None where no record of a seed says it.

    `fit_seconds` holds features and fit, what a cache spared included.
    """
    records = list(contender.records.values())
    if "fit" not in records[0]["seconds"]:  # the ceiling is not fitted
        return dict.fromkeys((*COSTS, "energy_method"))
    methods = dict.fromkeys(r["energy"]["method"] for r in records if r.get("energy"))
    means = {
        name: _mean([of(record) for record in records], 6 if name in _SMALL else 3)
        for name, of in COSTS.items()
    }
    return {**means, "energy_method": "; ".join(methods) if methods else None}


def _seconds(*phases: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda record: sum(record["seconds"].get(phase, 0.0) for phase in phases)


def _within(
    part: str, name: str, times: float = 1.0
) -> Callable[[Mapping[str, Any]], float | None]:
    def found(record: Mapping[str, Any]) -> float | None:
        value = (record.get(part) or {}).get(name)
        return None if value is None else value * times

    return found


COSTS: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "fit_seconds": _seconds("features", "fit"),
    "features_seconds": _seconds("features"),
    "predict_seconds": _seconds("predict"),
    "tune_seconds": _seconds("tune"),
    "explain_seconds": _seconds("explain"),
    "peak_memory_mb": lambda record: record["peak_memory_mb"],
    "latency_ms": _within("latency", "ms"),
    "energy_wh": _within("energy", "kwh", 1000.0),
    "grams_co2e": _within("energy", "grams_co2e"),
}
"""Columns of costs, and what each is in a record."""
_SMALL = ("energy_wh", "grams_co2e")


def _mean(values: Sequence[float | None], digits: int) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), digits) if known else None
