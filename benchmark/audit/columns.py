"""Checks of single columns: what each alone says about the label."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from benchmark.audit.findings import Evidence, Found, NotApplicable, Severity
from benchmark.audit.probes import LEAST, best, scores, within
from benchmark.audit.subject import Subject
from features.columns import Column

SERIOUS_AUC, WARNING_AUC = 0.80, 0.70
"""Ends of a lower interval above which a column that models see is serious, or a warning.

Registration fields of trial registries stay below .70; the actual enrollment reaches .68 to .91.
"""
BATCH_SERIOUS, BATCH_WARNING = 0.65, 0.55
PURE, BASE = 0.95, 0.5
"""A value gives a class away that at least this share of its rows has, and at most that of all."""
HEAVY = 0.05
"""Share of the rows with such values, from which a column that models see is serious."""
MOST_LEVELS = 200
UNSEEN = "; no model of this run sees it"

BATCHES = (
    "source", "batch", "registry_batch", "origin", "dataset", "data_source", "provider", "lab",
    "laboratory", "scanner", "center", "centre", "site", "file", "file_name", "snapshot",
)  # fmt: skip
"""Names of columns that say where a row came from; a column that says so is seldom called else."""


def one_column(subject: Subject) -> list[Found]:
    """Columns of which each alone nearly predicts the label, out of fold."""
    if not subject.probes:
        raise NotApplicable(f"no class has {LEAST} rows in it and out of it")
    batches = _batches(subject)
    return [
        _probed(subject, name)
        for name, probe in subject.probes.items()
        if probe.low >= WARNING_AUC and name not in batches
    ]


def _probed(subject: Subject, name: str) -> Found:
    probe = subject.probes[name]
    used = name in subject.in_use
    severity: Severity = "note"
    if used:
        severity = "serious" if probe.low >= SERIOUS_AUC else "warning"
        if name not in subject.early and severity == "serious" and "registration" in subject.used:
            severity = "warning"  # a late field beside a run without it: the leak dividend
    return Found(
        severity,
        name,
        f"ROC-AUC {probe.auc:.3f} alone (at least {probe.low:.3f}) for {probe.of!r}"
        + ("" if used else UNSEEN),
        "check that its value was known before the outcome; else drop it or give it a later clock"
        if used
        else "leave it out of the inputs",
        numbers={"roc_auc": round(probe.auc, 4), "low": round(probe.low, 4), "class": probe.of},
    )


def gives_away(subject: Subject) -> list[Found]:
    """Columns that are made from the label or its source, wholly or in one of their values."""
    if subject.data.target.kind == "multilabel":
        raise NotApplicable("several labels at once have no single source")
    classes = [str(subject.data.target.classes[code]) for code in subject.data.y]
    outcome = pd.Series(classes, index=subject.data.X.index)
    found = []
    for column in subject.columns:
        entry = _given_away(subject, column, outcome)
        if entry is not None:
            found.append(entry)
    return found


def _given_away(subject: Subject, column: Column, outcome: pd.Series) -> Found | None:
    values = _levels(subject.data.X[column.name], column)
    counts = pd.crosstab(values, outcome)
    counts = counts[counts.sum(axis=1) >= LEAST]
    if counts.empty:
        return None
    n = counts.sum(axis=1)
    share, of = counts.max(axis=1) / n, counts.idxmax(axis=1)
    base = outcome.value_counts(normalize=True)
    covered = int(n.sum()) / len(outcome)
    tells = bool((share == 1).all() and of.nunique() > 1 and covered > 0.9)
    usual = of.map(base)
    pure = (share >= PURE) & (usual <= BASE) & (usual < share - 0.3)
    if not tells and not pure.any():
        return None
    place = int((n.where(pure, 0) if pure.any() else n).to_numpy().argmax())
    value, hits, purity = str(n.index[place]), int(n.iloc[place]), float(share.iloc[place])
    used = column.name in subject.in_use
    whole = f"each of its {len(n)} values has one class: the label is made from it, or it from it"
    told = (
        f"{_value(column, value)} in {hits:,} rows, {100 * purity:.1f} % of them "
        f"{of.iloc[place]!r} against {100 * usual.iloc[place]:.1f} % of all"
    )
    severity: Severity = "note"
    if used:
        severity = "serious" if tells or n[pure].sum() >= HEAVY * len(outcome) else "warning"
        if column.name not in subject.early and "registration" in subject.used:
            severity = "warning"
    return Found(
        severity,
        column.name,
        (f"{whole} ({told})" if tells else told) + ("" if used else UNSEEN),
        "drop it from the inputs" if used else "leave it out of the inputs",
        tuple(Evidence(str(id_), column.name) for id_ in values.index[values == value][:10]),
        {"deterministic": tells, "value_rows": hits, "share": round(purity, 4)},
    )


def _levels(values: pd.Series, column: Column) -> pd.Series:
    """Values as strings; of a text, and of a date, only whether there is one."""
    if column.kind in ("text", "date"):
        there = values.notna() & (values.astype(str) != "")
        return there.map({True: "filled", False: "empty"})
    return values.astype(str).where(values.notna(), "empty")


def _value(column: Column, value: object) -> str:
    if value in ("empty", "filled"):
        return str(value)
    return f"the value {value}" if column.kind == "numeric" else f"the value {str(value)[:40]!r}"


def batch_effect(subject: Subject) -> list[Found]:
    """Columns that say where a row came from and tell the label."""
    names = _batches(subject)
    if not names:
        raise NotApplicable("no column says where a row came from: " + ", ".join(BATCHES[:4]))
    if not subject.probes:
        raise NotApplicable(f"no class has {LEAST} rows in it and out of it")
    return [_batch(subject, name) for name in names if subject.probes[name].low > BATCH_WARNING]


def _batches(subject: Subject) -> list[str]:
    """Columns that say where a row came from; one of too many values is judged as any other."""
    return [
        column.name
        for column in subject.columns
        if column.name.lower() in BATCHES
        and 2 <= subject.data.X[column.name].nunique(dropna=False) <= MOST_LEVELS
    ]


def _batch(subject: Subject, name: str) -> Found:
    probe, batches = subject.probes[name], subject.data.X[name]
    severity: Severity = "serious" if probe.low > BATCH_SERIOUS else "warning"
    if name in subject.in_use:
        severity = "serious"
    count, pairs = int(batches.nunique(dropna=False)), _within(subject, name)
    inner = "; ".join(
        f"{column} has {every:.3f} over all rows and {inside:.3f} within batches"
        for column, (every, inside) in pairs.items()
    )
    return Found(
        severity,
        name,
        f"{count} batches; which one a row is from tells {probe.of!r} with ROC-AUC "
        f"{probe.auc:.3f} (at least {probe.low:.3f}){'; ' if inner else ''}{inner}"
        + ("; models see it" if name in subject.in_use else ""),
        f"never use it as an input; add `splits: [{{name: group, by: {name}}}]`, which holds whole "
        "batches out, and look at scores within batches",
        numbers={
            "roc_auc": round(probe.auc, 4),
            "low": round(probe.low, 4),
            "class": probe.of,
            "batches": count,
            "within": pairs,
        },
    )


def _within(subject: Subject, name: str) -> dict[str, tuple[float, float]]:
    """ROC-AUC over all rows and within batches of the three best table columns in use.

    Columns that no batch can score, as each is of one class alone, are left out.
    """
    tables = {c.name for c in subject.columns if c.kind != "text"} & subject.in_use - {name}
    probes = {key: p for key, p in subject.probes.items() if key in tables}
    chosen = sorted(probes, key=lambda key: -probes[key].auc)[:3]
    classes = list(subject.data.target.classes)
    X, batches = subject.data.X.iloc[subject.sample], subject.data.X[name].iloc[subject.sample]
    found = {}
    for column in [column for column in subject.columns if column.name in chosen]:
        place = classes.index(probes[column.name].of)
        truth = subject.labels[subject.sample][:, [place]]
        score = scores(X[column.name], column, truth, subject.folds)
        pooled = best(score, truth, [classes[place]]).auc
        # fold by fold: a fold with more positives was scored by rates from fewer
        strata = batches.astype("str").fillna("") + [f"|{fold}" for fold in subject.folds]
        inner = within(truth[:, 0], score[:, 0], np.asarray(strata))
        if not math.isnan(inner):
            found[column.name] = (round(pooled, 4), round(inner, 4))
    return found
