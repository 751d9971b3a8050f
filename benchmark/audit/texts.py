"""Checks of texts: statements of the outcome, and duplicates across parts and labels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd

from benchmark.audit.findings import MOST_EVIDENCE, Evidence, Found, NotApplicable, Severity
from benchmark.audit.phrases import Match, find
from benchmark.audit.subject import Subject
from benchmark.splits import Split
from models.base import Ints

TOLD_SERIOUS = 0.01
"""Share of a class's rows whose text states the outcome, from which that is serious."""
LEAST_TOLD = 5
DUPLICATE_SERIOUS = 0.01
"""Share of the test rows with a duplicate in train or valid, from which that is serious."""


def outcome_text(subject: Subject) -> list[Found]:
    """Texts that models see and that state how the study ended."""
    if subject.data.target.kind == "multilabel":
        raise NotApplicable("several labels at once say what a study is, not how it ended")
    texts = [c.name for c in subject.data.columns if c.kind == "text" and c.name in subject.in_use]
    if not texts:
        raise NotApplicable("no model of this run sees a text")
    found = (_told(subject, name, find(subject.data.X[name].tolist())) for name in texts)
    return [entry for entry in found if entry is not None]


def _told(subject: Subject, name: str, matches: list[Match]) -> Found | None:
    """What the matches in one column say about the classes."""
    if not matches:
        return None
    told = np.zeros(len(subject.labels), bool)
    told[[match.place for match in matches]] = True
    classes = subject.data.target.classes
    sizes, hits = subject.labels.sum(axis=0), subject.labels[told].sum(axis=0)
    share = hits / np.maximum(sizes, 1)
    rest = (told.sum() - hits) / np.maximum(len(told) - sizes, 1)
    top = int(np.argmax(share - rest))
    # half a row is added so that no share of zero is divided by
    lift = float(share[top] / max(rest[top], 0.5 / max(len(told) - sizes[top], 1)))
    kinds = pd.Series([match.kind for match in matches]).value_counts()
    listed = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    early = name in subject.early
    severity: Severity = "warning" if hits[top] >= LEAST_TOLD and lift > 2 else "note"
    if severity == "warning" and share[top] >= TOLD_SERIOUS and (early or not subject.early):
        severity = "serious"
    return Found(
        severity,
        name,
        f"{_statements(len(matches))} in {int(told.sum())} of {len(told):,} texts "
        f"({listed}): in {100 * share[top]:.2f} % of {classes[top]!r} and {100 * rest[top]:.2f} % "
        f"of the others, {lift:.1f} times as many",
        "run with `redact: [false, true]` and report the difference",
        tuple(
            Evidence(str(subject.data.X.index[match.place]), name, (match.start, match.end))
            for match in matches[:MOST_EVIDENCE]
        ),
        {
            "matches": len(matches),
            "rows": int(told.sum()),
            "by_kind": {str(kind): int(count) for kind, count in kinds.items()},
            "by_class": {c: int(n) for c, n in zip(classes, hits, strict=True)},
            "class_rows": {c: int(n) for c, n in zip(classes, sizes, strict=True)},
            "lift": round(lift, 3),
        },
    )


def _statements(number: int) -> str:
    return f"{number} statement{'' if number == 1 else 's'} of an outcome"


def duplicates(subject: Subject) -> list[Found]:
    """Test rows with the same or nearly the same text in train or valid."""
    _check_texts(subject)
    found = (_across(subject, split) for split in subject.splits)
    return [entry for entry in found if entry is not None]


def _check_texts(subject: Subject) -> None:
    if not subject.texts:
        raise NotApplicable("no text column that is known at registration")


def _across(subject: Subject, split: Split) -> Found | None:
    index = subject.data.X.index
    test = index.get_indexer(pd.Index(split.test))
    rest = index.get_indexer(pd.Index([*split.train, *split.valid]))
    if subject.many:
        return _across_sample(subject, split.name, test, rest)
    near, exact = (np.isin(of[test], of[rest]) for of in (subject.near, subject.exact))
    either = near | exact
    if not either.any():
        return None
    share = float(either.mean())
    groups = np.where(near, subject.near[test], -1 - subject.exact[test])
    others = dict(zip(-1 - subject.exact[rest], index[rest], strict=True))
    others |= dict(zip(subject.near[rest], index[rest], strict=True))
    pairs = [(index[test[k]], others[groups[k]]) for k in np.flatnonzero(either)]
    return Found(
        "serious" if share >= DUPLICATE_SERIOUS else "warning",
        split.name,
        f"{int(either.sum())} of {len(test):,} test rows ({100 * share:.1f} %) have a "
        f"near-duplicate in train or valid, {int(exact.sum())} of them with the very same text",
        "use the split near-duplicate, which keeps such rows together",
        tuple(Evidence(str(a), other=str(b)) for a, b in pairs[:MOST_EVIDENCE]),
        {"rows": int(either.sum()), "exact": int(exact.sum()), "test": len(test), "share": share},
    )


def _across_sample(subject: Subject, name: str, test: Ints, rest: Ints) -> Found | None:
    """Near-duplicates of a sample of the test rows, and exact ones of all of them."""
    index, exact = subject.data.X.index, np.isin(subject.exact[test], subject.exact[rest])
    sample, other = subject.near_sample(test, rest)
    near = other >= 0
    if not near.any() and not exact.any():
        return None
    share = max(float(near.mean()), float(exact.mean()))
    pairs = zip(index[sample[near]], index[other[near]], strict=True)
    return Found(
        "serious" if share >= DUPLICATE_SERIOUS else "warning",
        name,
        f"{int(near.sum()):,} of a sample of {len(sample):,} test rows ({100 * near.mean():.1f} %) "
        f"have a near-duplicate in train or valid; {int(exact.sum()):,} of all {len(test):,} test "
        f"rows ({100 * exact.mean():.1f} %) have one with the very same text",
        "use the split near-duplicate, which keeps such rows together",
        tuple(Evidence(str(a), other=str(b)) for a, b in itertools.islice(pairs, MOST_EVIDENCE)),
        {
            "rows": int(near.sum()),
            "sampled": len(sample),
            "exact": int(exact.sum()),
            "test": len(test),
            "share": share,
        },
    )


def disagreement(subject: Subject) -> list[Found]:
    """Rows with the same or nearly the same text and different labels.

    Of more rows than `subject.MOST_NEAR` those with the very same text alone.
    """
    _check_texts(subject)
    groups = list(_groups(subject.near))
    if not groups:
        how = "the very same text (too many for nearly)" if subject.many else "nearly the same text"
        raise NotApplicable(f"no two of {len(subject.near):,} rows have {how}")
    labels = subject.labels
    differ = [rows for rows in groups if (labels[rows] != labels[rows[0]]).any()]
    inside = sum(len(rows) for rows in groups)
    if not differ:
        return []
    exact = sum(len(set(subject.exact[rows])) == 1 for rows in differ)
    kind = "exact " if subject.many else ""
    index = subject.data.X.index
    return [
        Found(
            "warning" if 2 * len(differ) >= len(groups) or exact else "note",
            "",
            f"{len(differ)} of {len(groups)} groups of {kind}duplicates ({inside} rows) hold "
            f"different labels, {exact} of them with the very same text: no text model can be "
            "right on these",
            "look at the listed pairs: versions of one study, or a label that isn't in the text",
            tuple(
                Evidence(str(index[rows[0]]), other=str(index[rows[-1]]))
                for rows in differ[:MOST_EVIDENCE]
            ),
            {"groups": len(groups), "differ": len(differ), "exact": exact, "rows": inside},
        )
    ]


def _groups(numbers: Ints) -> Iterator[Ints]:
    """Row numbers of each group of two or more."""
    order = np.argsort(numbers, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
        if len(rows) > 1:
            yield rows
