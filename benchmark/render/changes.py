"""The tables of `trialmark diff`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.diff import MATCH, Difference
from benchmark.render.layout import Sheet, Style, metric_title, number


def diff_tables(found: Difference) -> list[Sheet]:
    """What changed, then the scores that moved."""
    changes = [
        (row["aspect"], row["what"], row["a"], row["b"], str(row["models"]))
        for row in found.changes.to_dict("records")
    ]
    moved = found.scores[found.scores["difference"].fillna(0.0) != 0]
    scores = [
        (
            *(row[name] for name in MATCH),
            metric_title(row["metric"]),
            number(row["value_a"]),
            number(row["value_b"]),
            f"{row['difference']:+.4f}",
            row["because"],
        )
        for row in moved.to_dict("records")
    ]
    alone = [
        f"only in {side}: {'; '.join(names)}"
        for side, names in (("A", found.only_a), ("B", found.only_b))
        if names
    ]
    same = f"{len(found.scores) - len(moved)} of {len(found.scores)} scores are equal."
    header = ("task", "split", "as of", "model", "inputs", "metric", "A", "B", "B - A", "changed")
    numeric = (*[False] * 6, True, True, True, False)
    return [
        _sheet("What changed from A to B", ("aspect", "what", "A", "B", "models"), changes),
        _sheet("Scores that moved", header, scores, numeric=numeric, notes=(same, *alone)),
    ]


def _sheet(
    title: str,
    header: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    *,
    numeric: tuple[bool, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> Sheet:
    aligned = numeric if numeric is not None else tuple(False for _ in header)
    styles = tuple[Style, ...]("plain" for _ in rows)
    return Sheet(title, header, aligned, tuple(rows), styles, notes)
