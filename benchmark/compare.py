"""Paired differences of models: of one to another or to all others, each test beside the others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from benchmark.bootstrap import DRAWS, paired_difference, standard_error
from benchmark.contenders import (
    Contender,
    Repeat,
    Table,
    Wanted,
    contenders,
    entries_of,
    repeat,
    shown_metrics,
    tables,
)
from benchmark.metrics import Scored, label_of
from benchmark.significance import Area, area, decisions_p, delong_p, detectable, holm, mean_area
from benchmark.store import Store
from features.errors import InputError
from models.base import Target

_DRAWS_A_TEST = 100
"""So that the smallest p, 2 / draws, stays small after Holm's correction."""


def compare(store: Store, a: str, b: str | None = None, metric: str | None = None) -> pd.DataFrame:
    """Paired difference a - b on the seeds that both have, a row for each task, split and level.

    Without `b`, a against every other model of the table but the ceiling. `p` is the bootstrap's,
    `p_holm` that one adjusted for the number of models a table compares with a, `p_delong` is for
    ROC-AUC alone, `p_mcnemar` for the decisions at 0.5 (for a metric `@valid`, at that threshold),
    whatever the metric: it compares how many are right. `mde` is `significance.detectable`. Several
    seeds: see `mean_area` and `decisions_p`. Raises `InputError` where no table has both.
    """
    plan = store.plan()

    def wanted(target: Target) -> list[str]:
        shown = shown_metrics(target, plan["metrics"], metric)[:1]
        return [name for name in shown if metric in (None, name)]

    rows = []
    for table in tables(plan["cells"]):
        found = [
            _difference(table, *pair, name)
            for pair in _pairs(store, table, a, b, wanted)
            for name in pair[0].values
        ]
        adjusted = holm([row["p"] for row in found])
        rows += [{**row, "p_holm": p} for row, p in zip(found, adjusted, strict=True)]
    if not rows:
        what = "a metric" if metric is None else metric
        other = "another model" if b is None else b
        raise InputError(
            f"no table holds {what} of both {a} and {other}", "a common seed that is done"
        )
    return pd.DataFrame(rows)


def _pairs(
    store: Store, table: Table, a: str, b: str | None, wanted: Wanted
) -> list[tuple[Contender, Contender]]:
    """The model a with each that it is compared with, both on their common seeds."""
    first = entries_of(table, a)
    name = f"{first[0]['model']}/{first[0]['inputs']}"
    names = dict.fromkeys(f"{e['model']}/{e['inputs']}" for e in table.entries)
    others = [other for other in names if other != name] if b is None else [b]
    by_seeds: dict[tuple[Repeat, ...], list[Any]] = {}
    for other in others:
        second = entries_of(table, other)
        seeds = [
            {repeat(e) for e in found if store.state(e["path"]) == "done"}
            for found in (first, second)
        ]
        by_seeds.setdefault(tuple(sorted(seeds[0] & seeds[1], key=str)), []).extend(second)
    draws = max(DRAWS, _DRAWS_A_TEST * len(others))
    pairs = []
    for common, entries in by_seeds.items():
        both = {e["path"]: e for e in [*first, *entries] if repeat(e) in common}
        narrowed = Table(table.task, table.split, table.as_of, tuple(both.values()))
        found = {c.name: c for c in contenders(store, [narrowed], wanted, draws=draws)[0]}
        rivals = [c for n, c in found.items() if n != name or len(found) == 1]
        pairs += [(found[name], c) for c in rivals if b is not None or not c.first["is_ceiling"]]
    return pairs


def _difference(table: Table, a: Contender, b: Contender, metric: str) -> dict[str, Any]:
    low, high, p = paired_difference(a.draws[metric], b.draws[metric])
    return {
        **table.place,
        "metric": metric,
        "a": a.name,
        "b": b.name,
        "value_a": a.values[metric],
        "value_b": b.values[metric],
        "difference": a.values[metric] - b.values[metric],
        "low": low,
        "high": high,
        "p": p,
        "p_holm": p,
        "p_delong": _delong(a, b, metric),
        "p_mcnemar": _mcnemar(a, b, tuned=metric.endswith("@valid")),
        "mde": detectable(standard_error(a.draws[metric] - b.draws[metric])),
        "seeds": list(a.records),
        "n_planned": len({repeat(entry) for entry in table.entries}),
        "n_test": a.first["rows"]["test"],
    }


def _delong(a: Contender, b: Contender, metric: str) -> float:
    """p of equal ROC-AUC, NaN for another metric."""
    if metric.partition("[")[0] != "roc_auc":
        return math.nan
    return delong_p(*(_area(each, label_of(metric)) for each in (a, b)))


def _area(found: Contender, label: str | None) -> Area:
    """Mean over seeds; macro over the classes or labels of a target that has several."""
    areas = []
    for tested in found.tested.values():
        each = [
            area(one.y, one.proba[:, 1], tested.unit, units=found.units)
            for one in _binary(tested.scored, label)
        ]
        areas.append(mean_area(each))
    return mean_area(areas)


def _binary(scored: Scored, label: str | None) -> list[Scored]:
    """What ROC-AUC is the mean of: the binary targets with rows of both classes."""
    if scored.target.kind == "binary":
        return [scored]
    if label is not None:
        return [scored.labels[scored.target.classes.index(label)]]
    return [one for one in scored.labels if 0 < one.y.sum() < one.n]


def _mcnemar(a: Contender, b: Contender, *, tuned: bool) -> float:
    """p of equally many right decisions: of rows, or of labels where a row has several."""
    difference = np.zeros(a.units)
    for seed, tested in a.tested.items():
        first, second = (
            each.tested[seed].scored.at_valid if tuned else each.tested[seed].scored
            for each in (a, b)
        )
        right = (first.decisions == first.y).astype(int) - (second.decisions == second.y)
        np.add.at(difference, tested.unit, right if right.ndim == 1 else right.sum(axis=1))
    return decisions_p(difference)
