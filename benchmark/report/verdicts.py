"""What a table says in one minute: who leads, whether really, what it cost, what it looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from benchmark.explanations import Page
from benchmark.report.tables import Group, Line
from benchmark.splits import family

_FIELDS, _WORDS = 4, 6
Answer = Literal["yes", "no", "alone"]


@dataclass(frozen=True)
class Looked:
    """The strongest fields of a model with their share of all attribution, and words.

    `model` is the best one that has an explanation, and `is_best` says whether it is the table's.
    `text` is the share of the text columns together.
    """

    model: str
    is_best: bool
    fields: tuple[tuple[str, float], ...]
    text: float
    words: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """A table in short; `best` has rank 1.

    `answer` says whether it is really better than the next: `yes` where the paired interval of
    their difference leaves out 0, `alone` where there is no other. `tied` are the others of its
    tie group, `thrifty` the one of the group (the best included) that is fitted fastest.
    """

    group: Group
    best: Line
    next: Line | None
    answer: Answer
    tied: tuple[Line, ...]
    floor: Line | None
    thrifty: Line
    looked: Looked | None
    alarms: tuple[str, ...]


def verdicts(found: Sequence[Group], pages: Sequence[Page]) -> list[Verdict]:
    """A verdict for each task and split, at its earliest as-of level, that has a ranked model."""
    by_place = {(page["task"], page["split"], page["as_of"]): page for page in pages}
    told: dict[tuple[str, str], Verdict] = {}
    for group in found:
        table = group.table
        if group.lead.ranked and (table.task, table.split) not in told:
            page = _page(by_place, group)
            told[(table.task, table.split)] = _verdict(group, page)
    return sorted(told.values(), key=lambda one: _order(one.group))


def _order(group: Group) -> tuple[str, bool]:
    """By task, splits that test later rows first; others as in the plan."""
    return group.table.task, not group.tests_later_rows


def _page(by_place: Mapping[tuple[str, str, str], Page], group: Group) -> Page | None:
    """The explanations of a table; of a split with folds, those of the first one."""
    table = group.table
    for (task, split, as_of), page in by_place.items():
        if (task, family(split), as_of) == (table.task, table.split, table.as_of):
            return page
    return None


def _verdict(group: Group, page: Page | None) -> Verdict:
    best, *others = group.lead.ranked
    rival = others[0] if others else None
    tied = tuple(o for o in others if o.row["tie_group"] == best.row["tie_group"])
    learnt = [line for line in (best, *tied) if not line.row["is_floor"]] or [best]
    floor = next((o for o in others if o.row["is_floor"]), None)
    answer: Answer = "alone"
    if rival is not None:
        answer = "yes" if rival.gap is not None and rival.gap.apart else "no"
    return Verdict(
        group,
        best,
        rival,
        answer,
        tied,
        floor,
        min(learnt, key=_seconds),
        None if page is None else _looked(page, [line.name for line in (best, *others)]),
        () if page is None else tuple(alarm["text"] for alarm in page["alarms"]),
    )


def _seconds(line: Line) -> float:
    seconds = line.row["fit_seconds"]
    return float("inf") if seconds is None else float(seconds)


def _looked(page: Page, by_rank: Sequence[str]) -> Looked | None:
    models = {f"{one['model']}/{one['inputs']}": one for one in page["models"]}
    name = next((name for name in by_rank if name in models), None)
    if name is None:
        return None
    one = models[name]
    shares = [(row["field"], fmean(row["share"])) for row in one["fields"]]
    texts = {*one["text_columns"], "text"}
    return Looked(
        name,
        name == by_rank[0],
        tuple(shares[:_FIELDS]),
        sum(share for field, share in shares if field in texts),
        _words(one),
    )


def _words(one: Mapping[str, Any]) -> tuple[str, ...]:
    """The strongest words of all classes together."""
    size: dict[str, float] = {}
    for rows in one["features"].values():
        for row in rows:
            if row["word"]:
                size[row["name"]] = max(size.get(row["name"], 0.0), row["size"])
    return tuple(sorted(size, key=lambda word: -size[word])[:_WORDS])
