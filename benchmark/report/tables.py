"""The report's leaderboards: a board's rows by table and metric, each paired with the best one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.bootstrap import paired_difference
from benchmark.contenders import Contender, Table, contenders, families, shown_metrics
from benchmark.leaderboard import GROUP, Board
from benchmark.metrics import label_of, metric_of
from benchmark.render.layout import metric_title, ordered, records
from benchmark.store import Store
from models.base import Target

_LABELLED = ("f1", "average_precision", "roc_auc")
"""Metrics of one class or label that are shown for all of them."""


@dataclass(frozen=True)
class Gap:
    """How far a model is from the best of its table: model - best, with 95 % interval and p.

    `apart` says that the interval leaves out 0.
    """

    value: float
    low: float
    high: float
    p: float
    apart: bool


@dataclass(frozen=True)
class Line:
    """A model in a table: the board's `row`, its name, and its gap (None for the best itself)."""

    name: str
    row: Mapping[str, Any]
    gap: Gap | None

    @property
    def ranked(self) -> bool:
        """Whether it has a rank: a ceiling and a model that lacks a seed have none."""
        return self.row["rank"] is not None

    @property
    def milliseconds(self) -> float | None:
        """To predict a row, features included."""
        seconds = self.row["predict_seconds"]
        return None if seconds is None else 1000 * float(seconds) / int(self.row["n_test"])


@dataclass(frozen=True)
class Leaderboard:
    """The models of a group by one metric, the ceiling first, then by rank."""

    metric: str
    lines: tuple[Line, ...]

    @property
    def title(self) -> str:
        """The metric as a column header."""
        return metric_title(self.metric)

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value of the metric is the better one."""
        return metric_of(self.metric).higher_is_better

    @property
    def ranked(self) -> tuple[Line, ...]:
        """The lines that have a rank, the best first."""
        return tuple(line for line in self.lines if line.ranked)

    @property
    def floor(self) -> Line | None:
        """The best floor."""
        return next((line for line in self.ranked if line.row["is_floor"]), None)

    @property
    def ceiling(self) -> Line | None:
        """The true probabilities' line, where the generator knows them."""
        return next((line for line in self.lines if line.row["is_ceiling"]), None)

    @property
    def range(self) -> tuple[float, float]:
        """The values that all intervals lie between."""
        ends = [line.row[e] for line in self.lines for e in ("low", "high", "value")]
        known = [float(end) for end in ends if end is not None]
        return (min(known), max(known)) if known else (0.0, 1.0)


@dataclass(frozen=True)
class LabelTable:
    """Values of one metric by class or label (rows: label, share, values) and model."""

    title: str
    models: tuple[str, ...]
    rows: tuple[tuple[str, float, tuple[float | None, ...]], ...]


@dataclass(frozen=True)
class Group:
    """A table of the run (task, split, as-of level) with its leaderboards and scored models.

    `number` is its place in the report; the models stand as in the first leaderboard.
    """

    number: int
    table: Table
    contenders: tuple[Contender, ...]
    boards: tuple[Leaderboard, ...]
    labels: tuple[LabelTable, ...]

    @property
    def title(self) -> str:
        """Task, split and level."""
        table = self.table
        return f"{table.task}, {table.split} split, as of {table.as_of}"

    @property
    def tests_later_rows(self) -> bool:
        """Whether its test rows are later than those it trains on: what a model is for.

        A twin of such a split has as many rows of each part, drawn at random.
        """
        name = self.table.split
        return name.startswith(("temporal", "rolling")) and not name.endswith("-twin")

    @property
    def lead(self) -> Leaderboard:
        """The leaderboard of the metric that ranks the table."""
        return self.boards[0]


def groups(store: Store, board: Board, metric: str | None = None) -> list[Group]:
    """The tables that have a finished cell, those of one task and split in a row."""
    plan = store.plan()
    rows = dict(list(board.rows.groupby(list(GROUP), sort=False)))

    def wanted(target: Target) -> list[str]:
        return shown_metrics(target, plan["metrics"], metric)

    found: list[Group] = []
    for family in families(plan["cells"]):
        found_here = contenders(store, family, wanted, kept=True)
        for table, models in zip(family, found_here, strict=True):
            if models:
                part = rows[(table.task, table.split, table.as_of)]
                found.append(_group(len(found), table, models, part, board.metrics))
    return found


def _group(
    number: int,
    table: Table,
    models: Sequence[Contender],
    rows: pd.DataFrame,
    metrics: Sequence[str],
) -> Group:
    by_metric = {str(name): part for name, part in rows.groupby("metric", sort=False)}
    boards = [_leaderboard(name, by_metric[name], models) for name in metrics if name in by_metric]
    names = [line.name for line in boards[0].lines]
    models = sorted(models, key=lambda one: names.index(one.name))
    labels = [found for base in _LABELLED if (found := _labels(base, by_metric, names)) is not None]
    return Group(number, table, tuple(models), tuple(boards), tuple(labels))


def _leaderboard(metric: str, rows: pd.DataFrame, models: Sequence[Contender]) -> Leaderboard:
    draws = {one.name: one.draws[metric] for one in models}
    listed = ordered(rows)
    best = next((row for row in listed if row["rank"] is not None), None)
    lines = []
    for row in listed:
        gap = None
        if best is not None and row is not best:
            low, high, p = paired_difference(draws[_name(row)], draws[_name(best)])
            if row["value"] is not None and best["value"] is not None:
                gap = Gap(row["value"] - best["value"], low, high, p, apart=low > 0 or high < 0)
        lines.append(Line(_name(row), row, gap))
    return Leaderboard(metric, tuple(lines))


def _labels(
    base: str, by_metric: Mapping[str, pd.DataFrame], names: Sequence[str]
) -> LabelTable | None:
    """One metric of every class or label, at thresholds chosen on valid where there are some."""
    chosen: dict[str, str] = {}
    for metric in by_metric:
        label = label_of(metric)
        if label is not None and metric.startswith(f"{base}["):
            chosen[label] = max(metric, chosen.get(label, ""), key=len)
    if not chosen:
        return None
    rows = []
    for label, metric in chosen.items():
        values = {_name(row): row["value"] for row in records(by_metric[metric])}
        share = float(by_metric[metric]["prevalence"].iloc[0])
        rows.append((label, share, tuple(values.get(name) for name in names)))
    first_label, first = next(iter(chosen.items()))
    title = metric_title(first).replace(f"[{first_label}]", "")
    return LabelTable(title, tuple(names), tuple(rows))


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['model']}/{row['inputs']}"
