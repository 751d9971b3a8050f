"""The optimism of a random split: what a model scores better on it than on the split it is twin of.

A twin has the rows, sizes and class rates of the other split (see `splits.twin`), so that neither
less training data nor another prevalence is taken for optimism.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from benchmark.bootstrap import paired_difference
from benchmark.contenders import Contender, Table, contenders, shown_metrics, tables
from benchmark.metrics import metric_of
from benchmark.store import Store
from features.errors import InputError
from models.base import Target

TWIN = "-twin"


def optimism(store: Store, metric: str | None = None) -> pd.DataFrame:
    """How much better each model looks on a random split than on one by time or by group.

    One row for each task, as-of level, split with a twin, model, inputs and metric (default: the
    first of the config that the task has): its `value` on the split, on the `twin`, and `optimism`,
    the difference, signed so that above 0 the random split flatters. `low` to `high` is its 95 %
    interval and `p` its two-sided p value, both unpaired: the test rows differ, so the draws of the
    two are independent (Efron & Tibshirani 1993, 8.4). Rows that both test make the interval wide
    rather than narrow. Raises `InputError` where no model is done on a split and on its twin.
    """
    plan = store.plan()

    def wanted(target: Target) -> list[str]:
        shown = shown_metrics(target, plan["metrics"], metric)[:1]
        return [name for name in shown if metric in (None, name)]

    known = {(table.task, table.split, table.as_of): table for table in tables(plan["cells"])}
    rows = []
    for (task, split, as_of), table in known.items():
        origin = known.get((task, split.removesuffix(TWIN), as_of))
        if split.endswith(TWIN) and origin is not None:
            honest, flattered = (contenders(store, [each], wanted)[0] for each in (origin, table))
            of_name = {contender.name: contender for contender in flattered}
            rows += [
                _row(origin, contender, of_name[contender.name], name)
                for contender in honest
                if contender.name in of_name
                for name in contender.values
            ]
    if not rows:
        raise InputError(
            f"{store.root}: no model is done on a split and on its twin",
            "both",
            "add a twin to the splits, as in {name: twin, of: temporal}",
        )
    return pd.DataFrame(rows)


def _row(origin: Table, honest: Contender, twin: Contender, metric: str) -> dict[str, Any]:
    sign = 1.0 if metric_of(metric).higher_is_better else -1.0
    low, high, p = paired_difference(sign * twin.draws[metric], sign * honest.draws[metric])
    return {
        **origin.place,
        "model": honest.label,
        "inputs": honest.inputs,
        "metric": metric,
        "value": honest.values[metric],
        "twin": twin.values[metric],
        "optimism": sign * (twin.values[metric] - honest.values[metric]),
        "low": low,
        "high": high,
        "p": p,
        "seeds": list(twin.records),
        "n_train": twin.first["rows"]["train"],
        "n_test": twin.first["rows"]["test"],
    }


def in_words(row: Mapping[str, Any]) -> str:
    """One row of `optimism` as a sentence."""
    return (
        f"{row['model']}/{row['inputs']}: {row['metric']} {row['value']:.3f} on {row['split']}, "
        f"{row['twin']:.3f} on its random twin (same sizes and class rates): optimism "
        f"{row['optimism']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}], p = {row['p']:.3g}"
    )
