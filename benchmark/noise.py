"""Does the order of the models survive wrong labels? The same predictions under other labels.

A label noise of 31 % is what Jones (2017) found for the status of 405 registered trials: wrong, or
more than a year late.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.bootstrap import DRAWS, interval, mean_over_seeds
from benchmark.contenders import (
    Contender,
    Edit,
    Table,
    contenders,
    is_ranked,
    pairs,
    shown_metrics,
    tables,
)
from benchmark.metrics import Scored, metric_of, score
from benchmark.store import Store
from features.errors import InputError, unknown_name
from models.base import Floats, Target

RATE = 0.31
Labels = npt.NDArray[np.int8]
Rates = float | Mapping[str, float]


@dataclass(frozen=True)
class _Field:
    """The models of one table that have all seeds, scored by one metric."""

    table: Table
    models: tuple[Contender, ...]
    metric: str

    @property
    def target(self) -> Target:
        return next(iter(self.models[0].tested.values())).scored.target


def stress(
    store: Store, rate: Rates, metric: str | None = None, *, draws: int = DRAWS
) -> pd.DataFrame:
    """Every pair of models of every table, scored with sampled label noise on the test rows.

    Each label is replaced with probability `rate` (of its class, where `rate` maps classes; a class
    left out keeps its labels) by another class, each as likely; a label of a multi-label target is
    turned around. A row has the same label for all models and seeds.

    One row a pair, a being the better one on the stored labels: `value_a`, `value_b` and their
    `difference`; `other_a`, `other_b` and `other_difference`, means over the draws, the latter with
    its 95 % range `low` to `high`; `flips`, the share of draws in which b is better (equal: half;
    NaN where the stored labels tell no order); `changed`, the share of labels replaced. Models that
    lack a seed are left out, the ceiling too.
    """
    rows = []
    for field in _fields(store, metric):
        drawn, changed = _noisy(field, rate, draws)
        means = {name: float(np.nanmean(values)) for name, values in drawn.items()}
        rows += _pair_rows(field, means, drawn, changed=changed)
    return _frame(store, rows)


def relabel(store: Store, labels: pd.Series, metric: str | None = None) -> pd.DataFrame:
    """Every pair of models of every table, scored by other labels of the test rows.

    `labels` is indexed by row id and holds names of classes; rows without one are left out of both
    scorings. Thresholds stay those chosen on the stored labels of valid. Columns as of `stress`,
    `other_*` being by the other labels; `low`, `high` and `flips` are over bootstrap draws of the
    rows. Raises `InputError` for a name that is no class, for a multi-label target, and where no
    test row has a label.
    """
    given = labels.dropna()
    if given.index.has_duplicates:
        twice = given.index[given.index.duplicated()][0]
        raise InputError(f"two labels for row {twice!r}", "one a row")

    def kept(frame: pd.DataFrame, target: Target) -> pd.DataFrame:
        _check_labels(given, target)
        found = frame[(frame["part"] != "test") | frame["id"].isin(given.index)]
        if (found["part"] != "test").all():
            raise InputError("no label for any test row", "ids of the results folder")
        return found

    def changed(frame: pd.DataFrame, target: Target) -> pd.DataFrame:
        found = kept(frame, target)
        number = {name: i for i, name in enumerate(target.classes)}
        other = found["id"].map(given).map(number)
        return found.assign(y=found["y"].where(found["part"] != "test", other).astype(np.int64))

    rows = []
    for before, after in zip(
        _fields(store, metric, kept), _fields(store, metric, changed), strict=True
    ):
        name = before.metric
        means = {model.name: model.values[name] for model in after.models}
        drawn = {model.name: model.draws[name] for model in after.models}
        share = float(np.mean(_truth(before) != _truth(after)))
        rows += _pair_rows(before, means, drawn, changed=share)
    return _frame(store, rows)


def read_labels(file: Path, column: str) -> pd.Series:
    """A column of a CSV or Parquet file as strings, indexed by its column `id`.

    Raises `InputError` where the file or a column is missing.
    """
    if not file.is_file():
        raise InputError(f"no file {file}", "a CSV or Parquet file with a column id")
    parquet = file.suffix == ".parquet"
    frame = pd.read_parquet(file) if parquet else pd.read_csv(file, dtype="str")
    for name in ("id", column):
        if name not in frame:
            raise unknown_name(f"column in {file}", name, map(str, frame.columns))
    return frame.set_index(frame["id"].astype("str"))[column].astype("str")


def _fields(store: Store, metric: str | None, edit: Edit | None = None) -> Iterator[_Field]:
    """The tables with two models or more to compare."""
    plan = store.plan()

    def wanted(target: Target) -> list[str]:
        shown = shown_metrics(target, plan["metrics"], metric)[:1]
        return [name for name in shown if metric in (None, name)]

    for table in tables(plan["cells"]):
        found = contenders(store, [table], wanted, edit=edit)[0]
        models = tuple(c for c in found if is_ranked(c, table))
        if len(models) > 1 and models[0].points:
            yield _Field(table, models, next(iter(models[0].points)))


def _noisy(field: _Field, rate: Rates, draws: int) -> tuple[dict[str, Floats], float]:
    """Values of each model under sampled labels, (draws,), and the share of labels replaced."""
    rates = _rates(rate, field.target)
    truth = _truth(field)
    text = "".join(sorted({str(entry["split_hash"]) for entry in field.table.entries}))
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    rng = np.random.default_rng([digest, zlib.crc32(b"label noise")])
    y = truth.to_numpy()
    labels = np.stack([_replaced(y, rates, rng, field.target) for _ in range(draws)])
    found = {}
    for model in field.models:
        by_seed = [
            _score_under(rows.scored, labels[:, truth.index.get_indexer(rows.ids)], field.metric)
            for rows in model.tested.values()
        ]
        found[model.name] = mean_over_seeds(by_seed)
    return found, float((labels != y).mean())


def _rates(rate: Rates, target: Target) -> Floats:
    """The rate of each class or label, (k,)."""
    if isinstance(rate, Mapping):
        for name in rate:
            if name not in target.classes:
                raise unknown_name("class with a noise rate", name, target.classes)
        rates = np.array([rate.get(name, 0.0) for name in target.classes])
    else:
        rates = np.full(len(target.classes), float(rate))
    if not bool(((rates >= 0) & (rates <= 1)).all()):
        raise InputError(f"a label noise of {rate}", "rates from 0 to 1")
    return rates


def _truth(field: _Field) -> pd.DataFrame:
    """Stored labels of all test rows by id: one column, or one a label."""
    found = [
        pd.DataFrame(rows.scored.y.reshape(len(rows.ids), -1), index=rows.ids)
        for rows in field.models[0].tested.values()
    ]
    whole = pd.concat(found)
    return whole[~whole.index.duplicated()]


def _replaced(
    y: npt.NDArray[Any], rates: Floats, rng: np.random.Generator, target: Target
) -> Labels:
    """One draw of labels, shaped like `y`: (n, 1) class numbers, or (n, labels) of 0 and 1."""
    if target.kind == "multilabel":
        return np.asarray(y ^ (rng.random(y.shape) < rates), np.int8)
    k = len(target.classes)
    other = (y + rng.integers(1, k, y.shape)) % k
    return np.where(rng.random(y.shape) < rates[y], other, y).astype(np.int8)


def _score_under(scored: Scored, labels: Labels, metric: str) -> Floats:
    """Values under each draw of labels, (draws,); `labels` is (draws, n, 1) or (draws, n, k)."""
    if scored.target.kind == "multilabel":
        drawn = (replace(scored, y=y.astype(np.int64)) for y in labels)
        return np.concatenate([score(metric, one) for one in drawn])
    # Every row once with each class, and weight 1 where it has it: all draws at once.
    k = len(scored.target.classes)
    whole = replace(
        scored,
        y=np.tile(np.arange(k), scored.n),
        proba=np.repeat(scored.proba, k, axis=0),
        decisions=np.repeat(scored.decisions, k),
        tuned=None if scored.tuned is None else np.repeat(scored.tuned, k),
    )
    return score(metric, whole, weights=(labels == np.arange(k)).reshape(len(labels), -1))


def _pair_rows(
    field: _Field, other: Mapping[str, float], drawn: Mapping[str, Floats], *, changed: float
) -> list[dict[str, Any]]:
    metric = field.metric
    sign = 1 if metric_of(metric).higher_is_better else -1
    ordered = sorted(
        (c for c in field.models if not math.isnan(c.values[metric])),
        key=lambda c: -sign * c.values[metric],
    )
    rows = []
    for a, b in pairs(ordered):
        difference = a.values[metric] - b.values[metric]
        draws = drawn[a.name] - drawn[b.name]
        low, high = interval(draws)
        rows.append(
            {
                **field.table.place,
                "metric": metric,
                "a": a.name,
                "b": b.name,
                "value_a": a.values[metric],
                "value_b": b.values[metric],
                "difference": difference,
                "other_a": other[a.name],
                "other_b": other[b.name],
                "other_difference": other[a.name] - other[b.name],
                "low": low,
                "high": high,
                "flips": _flips(difference, draws),
                "changed": changed,
                "seeds": list(a.records),
                "n_test": len(next(iter(a.tested.values())).ids),
            }
        )
    return rows


def _flips(difference: float, draws: Floats) -> float:
    """Share of draws of the other sign, no difference counted half; NaN for no order to flip."""
    defined = draws[~np.isnan(draws)] * np.sign(difference)
    if difference == 0 or np.isnan(difference) or len(defined) == 0:
        return float("nan")
    return float((defined < 0).mean() + (defined == 0).mean() / 2)


def _check_labels(labels: pd.Series, target: Target) -> None:
    if target.kind == "multilabel":
        raise InputError("other labels for a multi-label target", "a target of one label a row")
    for name in labels.unique():
        if name not in target.classes:
            raise unknown_name("class among the labels", name, target.classes)


def _frame(store: Store, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    if not rows:
        raise InputError(f"{store.root} has no table with two finished models", "at least one")
    return pd.DataFrame(rows)
