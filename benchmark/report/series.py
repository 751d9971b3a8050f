"""What the report's charts draw, as JSON values: curves, costs, courses of learning, slices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark import splits
from benchmark.across import FEWEST, across
from benchmark.bootstrap import Counts, interval, mean_over_seeds, union_weights
from benchmark.contenders import Contender, Repeat, Tested, repeat
from benchmark.curves import curves, reliability
from benchmark.leaderboard import Board
from benchmark.metrics import scores
from benchmark.report.tables import Group
from benchmark.store import Store
from features.errors import InputError

POINTS = 60_000
"""Points of all ROC and precision-recall curves together, so that the file stays small."""
_FEWEST_POINTS, _MOST_POINTS = 25, 150
FEWEST_ROWS, FEWEST_OF_A_CLASS = 30, 5
"""Test rows that a slice needs, of all classes and of each one of a single-label target."""
_MOST_SLICES = 12
_DRAWS = 300

Series = dict[str, Any]


def short(value: float | None, digits: int = 4) -> float | None:
    """A number with few digits, None for one that is not known."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def curve_series(store: Store, found: Sequence[Group]) -> dict[int, list[Series]]:
    """ROC and precision-recall curves by number of the group."""
    drawn = sum(2 * len(one.first["target"]["classes"]) * len(one.records)
                for group in found for one in group.contenders)  # fmt: skip
    points = min(_MOST_POINTS, max(_FEWEST_POINTS, POINTS // max(1, drawn)))
    frame = curves(store, points=points)
    names = ["model", "inputs", "seed", "split", "label", "kind"]
    by_group: dict[int, list[Series]] = {}
    for number, rows in _by_group(frame, found):
        by_group[number] = [
            {
                **_named(key),
                "x": [short(x) for x in part["x"].tolist()],
                "y": [short(y) for y in part["y"].tolist()],
            }
            for key, part in _parts(rows, names)
        ]
    return by_group


def reliability_series(store: Store, found: Sequence[Group]) -> dict[int, list[Series]]:
    """Reliability curves by number of the group."""
    names = ["model", "inputs", "seed", "split", "label", "calibrated"]
    columns = ["said", "happened", "low", "high"]
    by_group: dict[int, list[Series]] = {}
    for number, rows in _by_group(reliability(store), found):
        by_group[number] = [
            {
                **_named(key),
                **{name: [short(v, 3) for v in part[name].tolist()] for name in columns},
                "rows": part["rows"].tolist(),
            }
            for key, part in _parts(rows, names)
        ]
    return by_group


def _by_group(frame: pd.DataFrame, found: Sequence[Group]) -> Iterator[tuple[int, pd.DataFrame]]:
    family = frame["split"].map(splits.family)
    for group in found:
        table = group.table
        of_table = (frame["task"] == table.task) & (family == table.split)
        yield group.number, frame[of_table & (frame["as_of"] == table.as_of)]


def _parts(rows: pd.DataFrame, names: list[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    for key, part in rows.groupby(names, sort=False):
        yield dict(zip(names, key, strict=True)), part


def _named(key: Mapping[str, Any]) -> Series:
    """The model's name and repeat instead of their parts."""
    left = {n: v for n, v in key.items() if n not in ("model", "inputs", "seed", "split")}
    plain = {n: bool(v) if isinstance(v, np.bool_) else v for n, v in left.items()}
    return {"model": f"{key['model']}/{key['inputs']}", "repeat": str(repeat(key)), **plain}


def course_series(group: Group) -> list[Series]:
    """Learning curves: what an encoder noted while it was trained, a series a model and repeat."""
    return [
        {"model": one.name, "repeat": str(name), "points": record["notes"]["curve"]}
        for one in group.contenders
        for name, record in one.records.items()
        if record["notes"].get("curve")
    ]


def tuning_series(group: Group) -> list[Series]:
    """Tuning curves: the mean score over inner folds of each trial, None for a failed one."""
    return [
        {
            "model": one.name,
            "repeat": str(name),
            "objective": record["tuning"]["objective"],
            "chosen": record["tuning"]["chosen"],
            "trials": [_trial(trial) for trial in record["tuning"]["trials"]],
        }
        for one in group.contenders
        for name, record in one.records.items()
        if record.get("tuning")
    ]


def _trial(trial: Mapping[str, Any]) -> Series:
    given = trial["scores"]
    return {
        "score": short(sum(given) / len(given)) if given else None,
        "state": trial["state"],
        "params": ", ".join(f"{name} {_plain(v)}" for name, v in trial["params"].items()),
    }


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def slice_series(group: Group, slices: pd.DataFrame) -> list[Series]:
    """Values of the leading metric on parts of the test rows: by year, phase and sponsor class.

    `slices` is indexed by id. A series has the kind of slice (`by`), its value, rows, the share of
    the positive class where there is one, and by model the value and its 95 % bootstrap interval.
    Slices of too few rows, or of too few of a class, are left out.
    """
    found = []
    for by in slices.columns:
        of_row = slices[by].dropna().astype("str")
        for value in _values(by, of_row, group.contenders):
            ids = of_row.index[of_row == value]
            one = _slice(group, ids, seed_text=f"{by} {value}")
            if one is not None:
                found.append({"by": by, "value": value, **one})
    return found


def _values(by: str, of_row: pd.Series, models: Iterable[Contender]) -> list[str]:
    """The values to cut by: all years in order, else the most frequent among the test rows."""
    tested = {name: each for one in models for name, each in one.tested.items()}
    ids = {name for each in tested.values() for name in each.ids}
    counts = of_row[of_row.index.isin(ids)].value_counts()
    counts = counts[counts >= FEWEST_ROWS]
    if by == "year":
        return sorted(map(str, counts.index))
    return [str(value) for value in counts.index[:_MOST_SLICES]]


def _slice(group: Group, ids: pd.Index, *, seed_text: str) -> Series | None:
    """Rows, share and values by model; on those repeats whose test rows hold enough of them."""
    whole = {name: tested for one in group.contenders for name, tested in one.tested.items()}
    kept = {name: tested.ids.isin(ids) for name, tested in whole.items()}
    tests = {name: part for name in whole if (part := _cut(whole[name], kept[name]))}
    if not tests:
        return None
    weights = union_weights(
        [part.ids for part in tests.values()],
        seed_text=seed_text,
        draws=_DRAWS,
        groups=[[str(unit) for unit in part.unit] for part in tests.values()],
    )
    # the models of a table have the same test rows
    drawn = {name: (kept[name], weights.of(part.ids)) for name, part in tests.items()}
    models = [
        {"model": one.name, **_value(one, drawn, group.lead.metric)}
        for one in group.contenders
        if tests.keys() <= one.tested.keys()
    ]
    if all(model["value"] is None for model in models):
        return None
    rows = round(float(np.mean([len(part.ids) for part in tests.values()])))
    return {"rows": rows, "share": _share(tests), "models": models}


def _value(
    one: Contender, drawn: Mapping[Repeat, tuple[npt.NDArray[np.bool_], Counts]], metric: str
) -> Series:
    """The metric's mean over repeats with its interval; `drawn` says on which rows of each, and
    how often a draw takes them."""
    points, draws = [], []
    for name, (kept, counts) in drawn.items():
        rows = _only(one.tested[name], kept).scored
        points.append(scores([metric], rows)[metric])
        draws.append(scores([metric], rows, weights=counts)[metric])
    low, high = interval(mean_over_seeds(draws))
    return {"value": short(float(np.mean(points))), "low": short(low), "high": short(high)}


def _cut(tested: Tested, kept: npt.NDArray[np.bool_]) -> Tested | None:
    """These rows, None where they are too few."""
    target = tested.scored.target
    if kept.sum() < FEWEST_ROWS:
        return None
    if target.kind != "multilabel":
        counts = np.bincount(tested.scored.y[kept], minlength=len(target.classes))
        if counts.min() < FEWEST_OF_A_CLASS:
            return None
    return _only(tested, kept)


def _only(tested: Tested, kept: npt.NDArray[np.bool_]) -> Tested:
    whole = tested.scored
    part = replace(
        whole,
        y=whole.y[kept],
        proba=whole.proba[kept],
        decisions=whole.decisions[kept],
        tuned=None if whole.tuned is None else whole.tuned[kept],
    )
    return Tested(part, tested.ids[kept], tested.unit[kept])


def _share(tests: Mapping[Repeat, Tested]) -> float | None:
    """Mean share of the positive class of a binary target."""
    shares = [p.scored.y.mean() for p in tests.values() if p.scored.target.kind == "binary"]
    return short(float(np.mean(shares))) if shares else None


def across_series(board: Board, found: Sequence[Group]) -> Series | None:
    """Mean ranks over tasks with the critical difference, None where no test can be made."""
    if len({group.table.task for group in found}) < FEWEST:
        return None
    try:
        over = across([board], found[0].lead.metric)
    except InputError:
        return None
    if over.critical is None:
        return None
    return {
        "metric": over.metric,
        "tasks": len(over.values),
        "p": short(over.p),
        "critical": short(over.critical),
        "models": [{"model": str(n), "rank": short(r)} for n, r in over.mean_ranks.items()],
    }
