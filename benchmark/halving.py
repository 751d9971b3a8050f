"""Successive halving over seeds and folds: what lags behind on the first is not run on the rest.

For exploration (Jamieson & Talwalkar 2016, of settings and their budgets). All models run on the
first seed of a table; then the better share of them goes on to the next, and so on. Scores are of
the valid rows, never of test rows. Still the models that are left were chosen by what they reached
on the seeds that their values are of, so that the best one's is too high by some luck.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from benchmark.cells import BLEND, CEILING, Cell
from benchmark.contenders import (
    Repeat,
    Table,
    arrays,
    repeat,
    shown_metrics,
    tables,
    target_of,
)
from benchmark.metrics import Scored, metric_of, score
from benchmark.store import Store
from features.errors import InputError
from models import model_class

FEWEST = 2
"""Models that go on, whatever share they are: one alone could be compared with nothing."""
Name = tuple[str, str]
"""Label and inputs."""


@dataclass(frozen=True)
class Rule:
    """The share of the models that goes on, and the metric it is chosen by.

    `by` None is the metric that ranks the table, the first of the config's `metrics` that fits it.
    """

    keep: float
    by: str | None
    metrics: Sequence[str] | None


@dataclass(frozen=True)
class Dropped:
    """Why a planned cell is not run.

    `after` seeds (or folds) its model was dropped: the mean of its scores `by` a metric was `score`
    where `needed` would have been enough; None where a fit had failed, or the model is a blend one
    of whose members was dropped.
    """

    after: int
    by: str
    score: float | None
    needed: float | None


@dataclass(frozen=True)
class Round:
    """The cells of the seed of a table that has this number in their order, from 0."""

    table: Table
    number: int
    cells: tuple[Cell, ...]


def check_rounds(entries: Sequence[Mapping[str, Any]]) -> None:
    """Raise `InputError` unless some table has a second seed or fold to go on to."""
    if all(len(table.seeds) < 2 for table in tables(entries)):
        raise InputError(
            "halving with one seed", "two seeds or more, or folds", "add to `seeds`, or remove it"
        )


def rounds(
    cells: Sequence[Cell], entries: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Round, ...]]:
    """The cells by the place of their seed in their table; `entries` are theirs in the plan."""
    by_path = {entry["path"]: cell for entry, cell in zip(entries, cells, strict=True)}
    found = tables(entries)
    for number in range(max(len(table.seeds) for table in found)):
        yield tuple(
            Round(
                table,
                number,
                tuple(
                    by_path[entry["path"]]
                    for entry in table.entries
                    if repeat(entry) == table.seeds[number]
                ),
            )
            for table in found
            if number < len(table.seeds)
        )


def decided(
    one: Round, store: Store, dropped: Mapping[str, Dropped], rule: Rule
) -> dict[str, Dropped]:
    """The later cells of the models that go no further after this round, by path.

    The better share of those that are left goes on, ties among them, and not fewer than `FEWEST`;
    floors and ceilings always do, a blend as long as all of its members. A model whose fit failed
    goes no further. Nothing is decided while cells of the round are missing; where no valid rows so
    far define the metric (they lack a class), only failed fits are dropped. It depends on the
    folder alone: a run that was interrupted decides the same again.
    """
    table, seeds = one.table, one.table.seeds[: one.number + 1]
    left = {_name(e): e for e in _of(table, seeds[-1:]) if e["path"] not in dropped}
    competing = [name for name in map(_label, filter(_competes, one.cells)) if name in left]
    if any(store.state(left[name]["path"]) == "missing" for name in competing):
        return {}
    metric = _metric(store, competing, left, rule)
    found = {name: _score(store, table, name, seeds, metric) for name in competing}
    scores = {name: score for name, score in found.items() if score is not None}
    defined = [score for score in scores.values() if not math.isnan(score)]
    better = sorted(defined, reverse=metric_of(metric).higher_is_better)
    share = math.ceil(round(rule.keep * len(competing), 9))  # 0.28 of 25 are 7, not 7.000000000001
    going_on = min(len(better), max(FEWEST, share))
    needed = better[going_on - 1] if going_on else None
    out = {
        name: Dropped(len(seeds), metric, score, needed)
        for name, score in found.items()
        if score is None or (better and score not in better[:going_on])
    }
    members = {left[name]["path"] for name in out}
    for cell in one.cells:
        mixes = cell.model == BLEND and _label(cell) in left
        if mixes and members & set(cell.members.values()):
            out[_label(cell)] = Dropped(len(seeds), metric, None, None)
    later = _of(table, table.seeds[len(seeds) :])
    return {e["path"]: out[_name(e)] for e in later if _name(e) in out}


def _of(table: Table, seeds: Sequence[Repeat]) -> list[Mapping[str, Any]]:
    return [entry for entry in table.entries if repeat(entry) in seeds]


def _name(entry: Mapping[str, Any]) -> Name:
    return entry["model"], entry["inputs"]


def _label(cell: Cell) -> Name:
    return cell.label, cell.inputs


def _competes(cell: Cell) -> bool:
    return cell.model not in (CEILING, BLEND) and not model_class(cell.model).is_floor


def _metric(
    store: Store, competing: Sequence[Name], left: Mapping[Name, Mapping[str, Any]], rule: Rule
) -> str:
    """What the models of a table are chosen by; any where none of them was fitted."""
    for record in (store.record(left[name]["path"]) for name in competing):
        if rule.by is None and record is not None and record["status"] == "done":
            return shown_metrics(target_of(record), rule.metrics, None)[0]
    return "log_loss" if rule.by is None else rule.by


def _score(
    store: Store, table: Table, name: Name, seeds: Sequence[Repeat], metric: str
) -> float | None:
    """A model's mean score on the valid rows of these seeds, where they define one (NaN: nowhere);
    None where a fit failed.
    """
    values = []
    for entry in _of(table, seeds):
        if _name(entry) != name:
            continue
        record = store.record(entry["path"])
        if record is None or record["status"] != "done":
            return None
        target, frame = target_of(record), store.predictions(entry["path"])
        y, proba = arrays(frame[frame["part"] == "valid"], target)
        scored = Scored.of(target, y, proba=proba, valid=(y, proba))
        values.append(float(score(metric, scored)[0]))
    defined = [value for value in values if not math.isnan(value)]
    return fmean(defined) if defined else math.nan


def reason(dropped: Mapping[str, Any]) -> str:
    """Why a cell of a plan is not run, in a line."""
    what = f"dropped after {dropped['after']} seed{'s' * (dropped['after'] > 1)}"
    if dropped["score"] is None:
        return f"{what}: its fit failed, or a member of the blend was dropped"
    return (
        f"{what}: {dropped['by']} {dropped['score']:.3f} on the valid rows; "
        f"{dropped['needed']:.3f} was needed"
    )
