"""Checks of the field clock: what models see, and when it was known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from benchmark.audit.findings import Evidence, Found, NotApplicable, Severity
from benchmark.audit.subject import Subject, late
from benchmark.readers.canonical import BY_TYPE, COLUMNS, STATUS
from features.columns import KNOWN_AT, Column

_LATE_NAME = re.compile(
    r"status|why_?stop|stop_?reason|complet|results?_|last_?update|terminat|withdraw|end_?date"
    r"|actual|discontinu|dropout|follow_?up_?date"
)
"""Names of fields that registries fill after a study; for columns that are not canonical."""


def late_field(subject: Subject) -> list[Found]:
    """Columns known after registration that a model sees, or that the run rightly withholds."""
    columns = subject.data.columns
    seen = [c for c in columns if late(c) and c.name in subject.in_use]
    withheld = [c for c in columns if late(c) and c.name not in subject.in_use]
    return [
        *(_late(subject, column) for column in seen),
        *_withheld(withheld),
        *_early_by_mistake(subject, [column for column in columns if not late(column)]),
    ]


def _late(subject: Subject, column: Column) -> Found:
    levels = [level for level in KNOWN_AT if column.name in subject.used.get(level, ())]
    alone = "registration" not in subject.used
    severity: Severity = "serious" if alone else "warning"
    beside = "no run at registration stands beside it" if alone else "beside runs at registration"
    return Found(
        severity,
        column.name,
        f"known_at: {column.known_at}, seen by models as of {' and '.join(levels)}; {beside}",
        "predict with as_of: registration, and show other levels beside it as the leak dividend",
        numbers={"known_at": column.known_at, "as_of": levels},
    )


def _withheld(columns: Sequence[Column]) -> Iterator[Found]:
    """One note on all late columns that no model sees."""
    if columns:
        listed = ", ".join(f"{column.name} ({column.known_at})" for column in columns)
        yield Found(
            "note",
            ", ".join(column.name for column in columns),
            f"known late, and seen by no model of this run: {listed}",
            "leave it so",
            numbers={"known_at": {column.name: column.known_at for column in columns}},
        )


def _early_by_mistake(subject: Subject, columns: Iterable[Column]) -> list[Found]:
    """Columns that pass for early ones but are called like late ones."""
    canonical = {column.name: column for column in COLUMNS}
    guesses = subject.rows.undeclared
    found = []
    for column in columns:
        known = canonical.get(column.name)
        if column.name not in subject.early:
            continue
        if late(known) if known is not None else _LATE_NAME.search(column.name.lower()):
            guessed = guesses is not None and column.name in guesses
            when = "nobody declared when it is known" if guessed else "declared as registration"
            what = f"a registry knows it {known.known_at}" if known else "named like a late field"
            found.append(
                Found(
                    "serious" if guessed and known is not None else "warning",
                    column.name,
                    f"seen by models as of registration: {when}, {what}",
                    f"declare known_at: {{{column.name}: after}}, or make sure of the clock",
                    numbers={"known_at": column.known_at, "as_of": ["registration"]},
                )
            )
    return found


def undeclared(subject: Subject) -> list[Found]:
    """Columns of a table whose clock nobody declared; they count as known at registration."""
    if subject.rows.undeclared is None:
        raise NotApplicable("the reader knows when each of its columns is known")
    names = [name for name in subject.rows.undeclared if name in subject.in_use]
    if not names:
        return []
    shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    return [
        Found(
            "warning",
            shown,
            f"{len(names)} of {len(subject.data.columns)} columns do not say when they are known; "
            "registration is assumed",
            "declare each under `data.known_at`, or all at once: known_at: registration",
            numbers={"columns": names},
        )
    ]


def overwritten(subject: Subject) -> list[Found]:
    """Fields whose planned value is overwritten by the actual one when a study ends."""
    frame = subject.data.X
    names = [name for name in BY_TYPE if name in frame and frame[name].notna().any()]
    if not names:
        raise NotApplicable("no column whose plan is overwritten: " + ", ".join(BY_TYPE))
    found = [_typed(subject, name) for name in names if BY_TYPE[name].type in frame]
    if "enrollment" in names and STATUS in frame:
        found.append(_zeros(subject))
    return [entry for entry in found if entry is not None]


def _typed(subject: Subject, name: str) -> Found | None:
    """How many values are the actual ones, as far as the type of the value says."""
    typed = BY_TYPE[name]
    types = subject.data.X[typed.type].fillna("not stated")
    counts = {str(key): int(n) for key, n in types.value_counts().items()}
    actual = counts.get("ACTUAL", 0)
    if not actual:
        return None
    n = len(types)
    stated = ", ".join(f"{count:,} {key}" for key, count in counts.items())
    declared = next((c.known_at for c in subject.data.columns if c.name == name), typed.actual)
    used_early = name in subject.early and declared == "registration"
    severity: Severity = "warning" if used_early and typed.actual == "after" else "note"
    return Found(
        severity,
        name,
        f"{typed.type}: {stated}; an ACTUAL value is known {typed.actual}, an ESTIMATED one "
        f"{typed.estimated} ({100 * actual / n:.0f} % are ACTUAL)",
        f"{name} counts as known {declared}"
        + ("" if declared == typed.actual else f"; where days matter, treat it as {typed.actual}"),
        numbers={"types": counts, "known_at": declared},
    )


def _zeros(subject: Subject) -> Found | None:
    """The enrollment of withdrawn studies is overwritten by 0."""
    frame = subject.data.X
    is_zero = frame["enrollment"] == 0
    by_status = is_zero.groupby(frame[STATUS]).agg(["sum", "size"])
    rows = {str(k): (int(z), int(n)) for k, z, n in by_status.itertuples()}
    zeros, withdrawn = rows.get("WITHDRAWN", (0, 0))
    if not zeros:
        return None
    others = int(is_zero.sum()) - zeros
    used = "enrollment" in subject.in_use
    return Found(
        "serious" if used and "registration" not in subject.used else "warning" if used else "note",
        "enrollment",
        f"0 in {zeros:,} of {withdrawn:,} withdrawn studies ({100 * zeros / withdrawn:.0f} %) and "
        f"in {others:,} of all {len(frame) - withdrawn:,} others: the status overwrote the plan",
        "keep enrollment out of what models see at registration",
        _ids(frame.index[is_zero & (frame[STATUS] == "WITHDRAWN")], "enrollment"),
        {"zero_by_status": {k: {"zero": z, "rows": n} for k, (z, n) in rows.items()}},
    )


def _ids(index: pd.Index[str], column: str) -> tuple[Evidence, ...]:
    return tuple(Evidence(str(id_), column) for id_ in index[:10])


def last_version(subject: Subject) -> list[Found]:
    """Texts of finished studies, of which a registry shows the last version alone."""
    if STATUS not in subject.data.X:
        raise NotApplicable(f"no column {STATUS}: the rows are no registry records")
    texts = [name for name in subject.texts if name in subject.in_use]
    if not texts:
        raise NotApplicable("no model of this run sees a text")
    n = len(subject.data.y)
    return [
        Found(
            "note",
            ", ".join(texts),
            f"{n:,} records of finished studies hold the last version of their texts, not the one "
            "at registration",
            "see what A08 finds, and run with `redact: [false, true]`",
            numbers={"rows": n},
        )
    ]
