"""The tasks: which rows are labelled, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from benchmark.dataset import Dataset, Rows
from benchmark.history import register
from benchmark.readers import study_design, top, trialbench
from benchmark.readers.canonical import OUTCOMES, STATUS
from benchmark.readers.canonical_articles import LABELS
from features.errors import InputError, unknown_name
from models.base import Ints, Target

UNLABELLED = -1


@dataclass(frozen=True)
class Task:
    """A task's name, one line about it, and `label`: rows -> target and codes (-1 = unlabelled).

    Codes are (n,) class numbers, or (n, labels) of 0 and 1 with -1 all along an unlabelled row.
    """

    name: str
    about: str
    label: Callable[[Rows], tuple[Target, Ints]]


def _trial_outcome(rows: Rows) -> tuple[Target, Ints]:
    return Target("binary", ("stopped", "completed")), _coded(rows, OUTCOMES)


def _trial_status(rows: Rows) -> tuple[Target, Ints]:
    codes = {"COMPLETED": 0, "TERMINATED": 1, "WITHDRAWN": 2}
    return Target("multiclass", ("completed", "terminated", "withdrawn")), _coded(rows, codes)


def _coded(rows: Rows, codes: Mapping[str, int]) -> Ints:
    if STATUS not in rows.frame:
        raise InputError(
            f"the rows have no column {STATUS}",
            f"a trial registry's records with {STATUS}",
            "for a table of your own use `reader: table` and `task: table-target`",
        )
    return np.asarray(rows.frame[STATUS].map(codes).fillna(UNLABELLED), np.int64)


def _table_target(rows: Rows) -> tuple[Target, Ints]:
    if rows.target is None:
        raise InputError(
            "these rows declare no target column",
            "`reader: table` with `target:`",
            "for registry records use `task: trial-outcome` or `task: trial-status`",
        )
    if isinstance(rows.target, tuple):
        labels = rows.frame[list(rows.target)]
        return Target("multilabel", rows.target), np.array(labels, np.int64)
    values = rows.frame[rows.target].astype(str)
    classes = sorted(values.unique())
    if len(classes) == 2:
        positive = rows.positive if rows.positive is not None else classes[1]
        classes = [name for name in classes if name != positive] + [positive]
    codes = {name: code for code, name in enumerate(classes)}
    kind = Target("binary" if len(classes) <= 2 else "multiclass", tuple(classes))
    return kind, values.map(codes).to_numpy(np.int64)


def _study_design(rows: Rows) -> tuple[Target, Ints]:
    if LABELS not in rows.frame:
        raise InputError(
            f"the rows have no column {LABELS}",
            "articles with publication types and MeSH headings",
            "use a reader of articles (pubmed-xml, medline, articles)",
        )
    target = Target("multilabel", study_design.LABELS)
    names = rows.frame[LABELS]
    found = names.fillna("").str.get_dummies("|").reindex(columns=target.classes, fill_value=0)
    codes = np.array(found, np.int64)
    codes[names.isna().to_numpy()] = UNLABELLED
    return target, codes


def _published(
    name: str, classes: Sequence[str], source: str
) -> Callable[[Rows], tuple[Target, Ints]]:
    """The labels that a published benchmark ships: a column called like the task."""

    def label(rows: Rows) -> tuple[Target, Ints]:
        if name not in rows.frame:
            raise InputError(
                f"the rows have no labels of {name}",
                f"the files of that benchmark ({source})",
                "use another reader or task",
            )
        codes = {shown: code for code, shown in enumerate(classes)}
        kind = Target("binary" if len(classes) == 2 else "multiclass", tuple(classes))
        return kind, np.array(rows.frame[name].map(codes).fillna(UNLABELLED), np.int64)

    return label


TASKS = {
    task.name: task
    for task in (
        Task(
            "trial-outcome",
            "completed vs stopped (terminated, withdrawn or suspended); other statuses unlabelled",
            _trial_outcome,
        ),
        Task(
            "trial-status",
            "completed, terminated or withdrawn; other statuses unlabelled",
            _trial_status,
        ),
        Task(
            "table-target",
            "the declared target column of a table, or its label columns",
            _table_target,
        ),
        Task(
            "study-design",
            "ten labels of an article's design, several at once; without MeSH headings unlabelled",
            _study_design,
        ),
        *(
            Task(
                name,
                f"did the trial pass phase {phase}: the labels of the TOP benchmark",
                _published(name, top.CLASSES, f"`reader: top` with `phase: {phase}`"),
            )
            for phase, name in top.TASKS.items()
        ),
        *(
            Task(
                target.task,
                about,
                _published(target.task, target.order, "`reader: trialbench`"),
            )
            for target, about in (
                (trialbench.APPROVAL, "approved or not: the labels of TrialBench"),
                (
                    trialbench.FAILURE,
                    "why a trial failed (enrollment, safety, efficacy, others): TrialBench",
                ),
            )
        ),
    )
}


def labelled(rows: Rows, task: str) -> Dataset:
    """The rows that `task` labels, as a dataset.

    Raises `InputError` where no row or only one class is labelled, or fewer than two labels vary.
    """
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    target, codes = TASKS[task].label(rows)
    keep = (codes != UNLABELLED).reshape(len(codes), -1).all(axis=1)
    y = codes[keep]
    _check_classes(task, target, y, len(rows.frame))
    X = rows.frame.loc[keep]
    return Dataset(
        task=task,
        target=target,
        X=X,
        y=y,
        columns=rows.columns,
        dates=None if rows.date is None else X[rows.date],
        groups=None if rows.group is None else X[rows.group],
        official=None if rows.official is None else X[rows.official],
        oracle={level: p[keep] for (level, of), p in rows.oracle.items() if of == task},
        history=rows.history,
        register=register(rows, keep),
    )


def _check_classes(task: str, target: Target, y: Ints, n_rows: int) -> None:
    if target.kind == "multilabel":
        varying = np.flatnonzero((y.min(axis=0) < y.max(axis=0)) if len(y) else np.empty(0))
        found = [target.classes[label] for label in varying]
    else:
        found = [target.classes[code] for code in np.unique(y)]
    if target.kind == "multiclass" and 2 <= len(found) < len(target.classes):
        lacking = [name for name in target.classes if name not in found]
        raise InputError(
            f"{task}: none of {len(y)} labelled rows is {lacking[0]!r}",
            "rows of every class (" + ", ".join(target.classes) + ")",
            "widen the query or the `where` filter, or choose another task",
        )
    if len(found) < 2:
        came = f"only {found[0]!r}" if found else "none"
        raise InputError(
            f"{task}: of {n_rows} rows {len(y)} are labelled, {came} of the classes among them",
            "rows of at least two classes (" + ", ".join(target.classes) + ")",
            "widen the query or the `where` filter",
        )


def class_counts(target: Target, y: Ints) -> dict[str, int]:
    """Rows by class, or by label for a multi-label target."""
    if target.kind == "multilabel":
        return dict(zip(target.classes, y.sum(axis=0).tolist(), strict=True))
    counts = np.bincount(y, minlength=len(target.classes))
    return dict(zip(target.classes, counts.tolist(), strict=True))


def narrowed(rows: Rows, keep: pd.Series) -> Rows:
    """The rows where `keep` holds, everything else as it was."""
    mask = keep.to_numpy(bool)
    oracle = {key: p[mask] for key, p in rows.oracle.items()}
    return replace(rows, frame=rows.frame.loc[mask], oracle=oracle)
