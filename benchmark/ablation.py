"""What a model loses without some of its inputs: paired differences to the model that has all."""

from __future__ import annotations

import pandas as pd

from benchmark.bootstrap import paired_difference
from benchmark.contenders import Contender, Table, contenders, shown_metrics, tables
from benchmark.store import Store
from features.errors import InputError
from models.base import Target

FULL = "both"


def ablation(store: Store, metric: str | None = None) -> pd.DataFrame:
    """Each model that ran with all inputs and with fewer: a row for each of its inputs.

    Columns task, split, as_of, metric (default: the first that the table has), model, inputs,
    `value`, its `difference` to the same model with all inputs, `low` to `high` its 95 % interval,
    and `p`, two-sided and not adjusted; the last four are None for the full model, whose row comes
    first. Draws are paired over the same test rows. Raises `InputError` where no model has both.
    """
    plan = store.plan()

    def wanted(target: Target) -> list[str]:
        shown = shown_metrics(target, plan["metrics"], metric)[:1]
        return [name for name in shown if metric in (None, name)]

    rows = []
    for table in tables(plan["cells"]):
        found = contenders(store, [table], wanted)[0]
        for full in (one for one in found if one.inputs == FULL):
            parts = [one for one in found if one.label == full.label and one is not full]
            rows += [_row(table, one, full) for one in (full, *parts) if parts and full.values]
    if not rows:
        raise InputError(
            f"{store.root}: no model ran with all inputs and with fewer",
            "a model with inputs [tabular, text, both]",
            "run one",
        )
    return pd.DataFrame(rows)


def _row(table: Table, one: Contender, full: Contender) -> dict[str, object]:
    metric = next(iter(one.values))
    row = {
        **table.place,
        "metric": metric,
        "model": one.label,
        "inputs": one.inputs,
        "value": one.values[metric],
    }
    if one is full or set(one.records) != set(full.records):
        return {**row, **dict.fromkeys(("difference", "low", "high", "p"))}
    low, high, p = paired_difference(one.draws[metric], full.draws[metric])
    difference = one.values[metric] - full.values[metric]
    return {**row, "difference": difference, "low": low, "high": high, "p": p}
