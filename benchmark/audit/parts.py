"""Checks of a split's parts: who stands on both sides, which class is missing or tiny."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from benchmark.audit.findings import Found, NotApplicable, Severity
from benchmark.audit.subject import Subject, at
from benchmark.splits import PARTS, Split
from models.base import Ints

FEW, TINY = 30, 5
"""Rows of a class in test below which its scores are vague (the standard error of a ROC-AUC of .7
is about .05 at 30 positives), and below which they say nothing."""
FEW_TRAIN = 10


def shared_groups(subject: Subject) -> list[Found]:
    """Sponsors (or other groups) on both sides of a split."""
    groups = subject.data.groups
    if groups is None:
        raise NotApplicable("the rows have no sponsor or other group")
    if groups.notna().sum() == 0:
        raise NotApplicable(f"{groups.name} is empty everywhere")
    found = (_shared(subject, split, groups) for split in subject.splits)
    return [entry for entry in found if entry is not None]


def _shared(subject: Subject, split: Split, groups: pd.Series) -> Found | None:
    seen = set(at(groups, split.train, split.valid).dropna())
    test = at(groups, split.test)
    share = float(test.isin(seen).mean())
    if not share:
        return None
    name = str(groups.name)
    held_out = split.groups is not None and split.groups.name == name
    probe = subject.probes.get(name)
    alone = f"; {name} alone has ROC-AUC {probe.auc:.3f}" if probe is not None else ""
    return Found(
        "serious" if held_out else "note",
        split.name,
        f"{100 * share:.1f} % of {len(test):,} test rows are of a {name} that train or valid holds "
        f"too ({test.nunique():,} in test){alone}",
        f"scores of this split are for known values of {name}; `splits: [group]` tells what "
        "unknown ones are worth",
        numbers={"share": round(share, 4), "group": name, "test_groups": int(test.nunique())},
    )


def missing_class(subject: Subject) -> list[Found]:
    """Classes or labels of which a part has no row."""
    found = []
    for split in subject.splits:
        counts = _counts(subject, split)
        for part in PARTS:
            lacking = [c for c, n in _named(subject, counts[part]).items() if not n]
            if lacking:
                found.append(
                    Found(
                        "warning" if part == "valid" else "serious",
                        split.name,
                        f"no {' and no '.join(map(repr, lacking))} among {int(counts[part].sum())} "
                        f"{part} rows",
                        "use more rows, other shares, or another split",
                        numbers={"part": part, "classes": lacking},
                    )
                )
    return found


def tiny_class(subject: Subject) -> list[Found]:
    """Classes with too few rows in test to be scored, or in train to be learned."""
    found = []
    for split in subject.splits:
        counts = _counts(subject, split)
        test, train = (_named(subject, counts[part]) for part in ("test", "train"))
        small = {c: n for c, n in test.items() if 0 < n < FEW}
        small_train = {c: n for c, n in train.items() if 0 < n < FEW_TRAIN}
        if not small and not small_train:
            continue
        severity: Severity = "serious" if any(n < TINY for n in small.values()) else "warning"
        told = [f"{n} {c!r} in test" for c, n in small.items()]
        told += [f"{n} {c!r} in train" for c, n in small_train.items()]
        found.append(
            Found(
                severity,
                split.name,
                f"{', '.join(told)}: intervals are wide (below {FEW} rows) or say nothing (below "
                f"{TINY})",
                "use more rows, merge classes, or don't rank models by this class",
                numbers={"test": small, "train": small_train},
            )
        )
    return found


def _counts(subject: Subject, split: Split) -> dict[str, Ints]:
    index = subject.data.X.index
    places = {part: index.get_indexer(pd.Index(getattr(split, part))) for part in PARTS}
    return {part: np.asarray(subject.labels[rows].sum(axis=0)) for part, rows in places.items()}


def _named(subject: Subject, counts: Ints) -> Mapping[str, int]:
    return dict(zip(subject.data.target.classes, counts.tolist(), strict=True))
