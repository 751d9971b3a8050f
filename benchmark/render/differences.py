"""Tables of comparisons: of two models or of one with all others, under label noise, over tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from benchmark.across import Across
from benchmark.metrics import metric_of
from benchmark.render.layout import PLAIN, Sheet, difference, metric_title, number, p_value

_TESTS = {"p": "p", "p_delong": "p\nDeLong", "p_mcnemar": "p\nMcNemar", "p_holm": "p\nHolm"}


def difference_tables(frame: pd.DataFrame) -> list[Sheet]:
    """The tables of `Run.compare`: two models in all tables of one metric, or one model with all
    others, a table each.
    """
    if frame["b"].nunique() > 1:
        parts = frame.groupby(["task", "split", "as_of", "metric"], sort=False)
        sheets = [_others_sheet(rows) for _, rows in parts]
    else:
        sheets = [_pair_sheet(rows) for _, rows in frame.groupby("metric", sort=False)]
    return [*sheets[:-1], replace(sheets[-1], notes=_difference_notes(frame))]


def _pair_sheet(frame: pd.DataFrame) -> Sheet:
    first = frame.iloc[0]
    tests = {name: text for name, text in _tests(frame).items() if name != "p_holm"}
    models = (name.replace("/", "\n") for name in (first["a"], first["b"]))
    return Sheet(
        title=f"{metric_title(first['metric'])}: {first['a']} - {first['b']}",
        header=(
            *("task", "split", "as of"),
            *models,
            "difference [95 %]",
            *tests.values(),
            "test\nrows",
        ),
        numeric=(False, False, False, *[True] * (4 + len(tests))),
        rows=tuple(
            (
                *(row["task"], row["split"], row["as_of"]),
                *(number(row["value_a"]), number(row["value_b"])),
                difference(row["difference"], row["low"], row["high"]),
                *(p_value(row[name]) for name in tests),
                f"{row['n_test']:,}",
            )
            for row in frame.to_dict("records")
        ),
        styles=PLAIN * len(frame),
    )


def _others_sheet(frame: pd.DataFrame) -> Sheet:
    """One table's other models, the best first."""
    tests = _tests(frame)
    first = frame.iloc[int(frame["seeds"].str.len().argmax())]
    metric = first["metric"]
    order = frame.sort_values("value_b", ascending=not metric_of(metric).higher_is_better)
    return Sheet(
        title=f"{first['task']} · {first['split']} split · as of {first['as_of']} · "
        f"{first['n_test']:,} test rows · {metric_title(metric)}: {first['a']} "
        f"({number(first['value_a'])}) - each other model",
        header=("other model", "value", "difference [95 %]", *tests.values()),
        numeric=(False, *[True] * (2 + len(tests))),
        rows=tuple(
            (
                row["b"],
                number(row["value_b"]),
                difference(row["difference"], row["low"], row["high"]),
                *(p_value(row[name]) for name in tests),
            )
            for row in order.to_dict("records")
        ),
        styles=PLAIN * len(frame),
    )


def _tests(frame: pd.DataFrame) -> dict[str, str]:
    """The p values that a table has, by column, with their titles."""
    return {name: title for name, title in _TESTS.items() if frame[name].notna().any()}


def _difference_notes(frame: pd.DataFrame) -> tuple[str, ...]:
    """What the p values are, those that the tables show."""
    notes = [
        "Difference and p: paired bootstrap over the test rows; p is two-sided and counts one draw "
        "more in each tail, so at the edge the interval decides."
    ]
    fewer = frame[frame["seeds"].str.len() < frame["n_planned"]]
    if len(fewer):
        pairs = dict.fromkeys(
            f"{row['split']} split, {row['b']}: {len(row['seeds'])} of {row['n_planned']}"
            for row in fewer.to_dict("records")
        )
        notes.append(
            "Values and differences are of the seeds or folds that both models have, which are "
            f"not all that were planned ({'; '.join(pairs)}); a board's values may be of others."
        )
    if frame["p_delong"].notna().any():
        notes.append("DeLong: equal ROC-AUC; a row that several seeds test counts once.")
    notes.append(
        "McNemar (mid-p), whatever the metric: as many right decisions at 0.5, for a metric @valid "
        "at the threshold of valid."
    )
    if frame["b"].nunique() > 1:
        notes.append("Holm: the first p, adjusted for the number of models in the table.")
    else:
        notes.append("No p is adjusted. Leave out B to compare with all models by Holm's rule.")
    return tuple(notes)


def stress_tables(frame: pd.DataFrame) -> list[Sheet]:
    """The tables of `benchmark.noise`: how often the order of two models turns around."""
    keys = ["task", "split", "as_of", "metric"]
    sheets = [
        _stress_sheet(dict(zip(keys, key, strict=True)), rows)
        for key, rows in frame.groupby(keys, sort=False)
    ]
    note = (
        "then: the mean by the other labels. Numbered columns: the share of draws in which the "
        "model of that number comes before the row's, which it follows by the stored labels."
    )
    return [*sheets[:-1], replace(sheets[-1], notes=(note,))]


def _stress_sheet(place: Mapping[str, Any], rows: pd.DataFrame) -> Sheet:
    """Models by their stored order, and above the diagonal the share of draws that turns it."""
    names = list(dict.fromkeys([*rows["a"], *rows["b"]]))
    flips = rows.set_index(["a", "b"])["flips"]
    values = {
        row[side]: (row[f"value_{side}"], row[f"other_{side}"])
        for row in rows.to_dict("records")
        for side in ("a", "b")
    }
    cells = tuple(
        (
            str(i + 1),
            name,
            *map(number, values[name]),
            *("" if j <= i else _share(flips[name, other]) for j, other in enumerate(names[1:], 1)),
        )
        for i, name in enumerate(names)
    )
    first = rows.iloc[0]
    return Sheet(
        title=f"{place['task']} · {place['split']} split · as of {place['as_of']} · "
        f"{metric_title(place['metric'])} with {first['changed']:.1%} of the labels replaced, "
        f"{first['n_test']:,} test rows",
        header=("", "model", "stored", "then", *(f"{i + 1}" for i in range(1, len(names)))),
        numeric=(True, False, *[True] * (len(names) + 1)),
        rows=cells,
        styles=PLAIN * len(names),
    )


def _share(value: float) -> str:
    return "—" if pd.isna(value) else f"{value:.0%}"


def across_table(found: Across) -> Sheet:
    """Mean ranks and values by task."""
    rows = tuple(
        (str(name), f"{rank:.2f}", *(number(value) for value in found.values[name]))
        for name, rank in found.mean_ranks.items()
    )
    notes = ["A task's value is the mean of its tables (splits, as-of levels)."]
    if found.p is None or found.critical is None:
        notes.append(f"No test: {found.why}.")
    else:
        notes.append(
            f"Friedman: p {p_value(found.p)}. Nemenyi: mean ranks that differ by less than "
            f"{found.critical:.2f} can't be told apart at .05."
        )
    return Sheet(
        title=f"{metric_title(found.metric)} over {len(found.values)} tasks",
        header=("model", "mean rank", *found.values.index),
        numeric=(False, *[True] * (1 + len(found.values))),
        rows=rows,
        styles=PLAIN * len(rows),
        notes=tuple(notes),
    )
