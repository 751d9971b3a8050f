"""The checks by code, and the function that makes them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.audit import clock, columns, dates, parts, texts
from benchmark.audit.findings import (
    SEVERITIES,
    Finding,
    Found,
    NotApplicable,
    Report,
    Skipped,
)
from benchmark.audit.subject import Subject
from benchmark.config import RunConfig
from benchmark.dataset import Dataset, Rows
from benchmark.splits import Split, family
from features.columns import KnownAt


@dataclass(frozen=True)
class Check:
    """A check's title, and the function that finds or raises `NotApplicable`."""

    title: str
    run: Callable[[Subject], list[Found]]


CHECKS = {
    "A01": Check("late field", clock.late_field),
    "A02": Check("clock not declared", clock.undeclared),
    "A03": Check("plan overwritten by the actual value", clock.overwritten),
    "A04": Check("last version of a text", clock.last_version),
    "A05": Check("one column nearly predicts the label", columns.one_column),
    "A06": Check("a value gives the class away", columns.gives_away),
    "A07": Check("batch effect", columns.batch_effect),
    "A08": Check("text states the outcome", texts.outcome_text),
    "A09": Check("duplicates across parts", texts.duplicates),
    "A10": Check("duplicates with different labels", texts.disagreement),
    "A11": Check("same group on both sides", parts.shared_groups),
    "A12": Check("split is not temporal", dates.untrue_temporal),
    "A13": Check("recent years are right-censored", dates.right_censored),
    "A14": Check("class rates drift", dates.drift),
    "A15": Check("class missing in a part", parts.missing_class),
    "A16": Check("class is tiny", parts.tiny_class),
}
"""By code; docs/audit.md says what each looks for and when it is serious."""


def run_audit(
    config: RunConfig,
    rows: Rows,
    *,
    datasets: Mapping[str, Dataset],
    splits: Mapping[str, Sequence[Split]],
) -> Report:
    """Every check on every task of a run.

    `datasets` and `splits` are by task. Of several splits of one name (seeds, folds) the first is
    looked at. Text never enters the report: evidence is ids and places of characters.
    """
    start = time.perf_counter()
    found: list[Finding] = []
    skipped: list[Skipped] = []
    passed: list[tuple[str, str]] = []
    for task, data in datasets.items():
        subject = Subject(rows, data, _one_each(splits.get(task, ())), _used(config, data))
        for code, check in CHECKS.items():
            try:
                entries = check.run(subject)
            except NotApplicable as reason:
                skipped.append(Skipped(code, check.title, task, str(reason)))
                continue
            found += [_finding(entry, code, check, task) for entry in entries]
            if not entries:
                passed.append((code, task))
    found.sort(key=lambda finding: (SEVERITIES.index(finding.severity), finding.code))
    seconds = round(time.perf_counter() - start, 3)
    return Report(tuple(found), tuple(skipped), tuple(passed), seconds)


def _one_each(splits: Iterable[Split]) -> tuple[Split, ...]:
    """The first split of each name; folds are called `name/number`."""
    first: dict[str, Split] = {}
    for split in splits:
        first.setdefault(family(split.name), split)
    return tuple(first.values())


def _used(config: RunConfig, data: Dataset) -> dict[KnownAt, frozenset[str]]:
    """Columns that some model sees, by as-of level; all inputs count where no model has any."""
    inputs = {name for model in config.models for name in model.inputs}
    chosen = inputs - {"none"} or {"both"}
    return {
        level: frozenset(name for what in chosen for name in data.inputs(what, level).names)
        for level in config.as_of
    }


def _finding(entry: Found, code: str, check: Check, task: str) -> Finding:
    shallow = {name: getattr(entry, name) for name in Found.__dataclass_fields__}
    return Finding(**shallow, code=code, title=check.title, task=task)
