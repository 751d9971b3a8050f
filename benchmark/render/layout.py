"""Tables as a reader sees them, before any format: title, header, cells, notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from benchmark.leaderboard import GROUP, STOPPED, Board
from benchmark.metrics import metric_of

Style = Literal["plain", "floor", "ceiling", "unranked"]

SHORT = {
    "roc_auc": "ROC-AUC",
    "average_precision": "AP",
    STOPPED: "AP stopped",
    "f1_macro": "F1-macro",
    "f1_micro": "F1-micro",
    "f1_weighted": "F1-weighted",
    "f1_positive": "F1",
    "precision_macro": "precision",
    "recall_macro": "recall",
    "balanced_accuracy": "bal. acc.",
    "mcc": "MCC",
    "brier": "Brier",
    "log_loss": "log loss",
    "ece": "ECE",
    "subset_accuracy": "subset acc.",
    "lrap": "LRAP",
}


@dataclass(frozen=True)
class Sheet:
    """One table: cells are strings, `numeric` marks the columns to align right."""

    title: str
    header: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    styles: tuple[Style, ...]
    notes: tuple[str, ...] = ()


def metric_title(name: str) -> str:
    """A metric as a column header: `F1-macro@valid`, `F1[RCT]`; ↓ where lower is better."""
    base, at, rule = name.partition("@")
    key, bracket, label = base.partition("[")
    arrow = "" if metric_of(name).higher_is_better else " ↓"
    return SHORT.get(key, key) + bracket + label + at + rule + arrow


def board_tables(board: Board) -> list[Sheet]:
    """One table for each task, split and as-of level; the last one carries the notes."""
    groups = list(board.rows.groupby(list(GROUP), sort=False))
    return [
        _sheet(board, dict(zip(GROUP, key, strict=True)), rows, last=i == len(groups) - 1)
        for i, (key, rows) in enumerate(groups)
    ]


def _sheet(board: Board, group: Mapping[str, Any], rows: pd.DataFrame, *, last: bool) -> Sheet:
    metrics = [name for name in board.metrics if name in set(rows["metric"])]
    lead = rows[rows["metric"] == metrics[0]]
    values = {name: rows[rows["metric"] == name].set_index(["model", "inputs"]) for name in metrics}
    titles = [metric_title(name) for name in metrics]
    header = ("rank", "tie", "model", "inputs", f"{titles[0]} [95 %]", *titles[1:], "fit s")
    cells: list[tuple[str, ...]] = []
    styles: list[Style] = []
    for row in _ordered(lead):
        others = [values[name].loc[(row["model"], row["inputs"])]["value"] for name in metrics[1:]]
        cells.append(
            (
                "" if row["rank"] is None else str(row["rank"]),
                "" if row["tie_group"] is None else _letter(row["tie_group"]),
                _model(row),
                row["inputs"],
                f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]",
                *(number(value) for value in others),
                amount(row["fit_seconds"]),
            )
        )
        styles.append(_style(row))
    return Sheet(
        title=_title(group, lead),
        header=header,
        numeric=tuple(name not in ("tie", "model", "inputs") for name in header),
        rows=tuple(cells),
        styles=tuple(styles),
        notes=_notes(board, metrics) if last else (),
    )


def _ordered(lead: pd.DataFrame) -> list[dict[str, Any]]:
    """The ceiling first, then by rank, what has none last."""
    rows = records(lead)
    return sorted(rows, key=lambda row: (not row["is_ceiling"], row["rank"] is None, row["rank"]))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One mapping a row, None for missing."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def _model(row: Mapping[str, Any]) -> str:
    name = row["model"] if row["checkpoint"] is None else f"{row['model']} ({row['checkpoint']})"
    if row["is_floor"]:
        return f"{name} (floor)"
    if row["rank"] is None and not row["is_ceiling"]:
        return f"{name} (seeds {', '.join(map(str, row['seeds']))} only)"
    return str(name)


def _style(row: Mapping[str, Any]) -> Style:
    if row["is_ceiling"]:
        return "ceiling"
    if row["rank"] is None:
        return "unranked"
    return "floor" if row["is_floor"] else "plain"


def _title(group: Mapping[str, Any], lead: pd.DataFrame) -> str:
    first = lead.iloc[0]
    share = (
        "" if pd.isna(first["prevalence"]) else f", {first['prevalence']:.1%} {first['positive']}"
    )
    seeds = sorted({seed for seeds in lead["seeds"] for seed in seeds})
    return (
        f"{group['task']} · {group['split']} split · {first['n_train']:,} train and "
        f"{first['n_test']:,} test rows{share} · as of {group['as_of']} · "
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    )


def _notes(board: Board, metrics: Sequence[str]) -> tuple[str, ...]:
    notes = [
        f"Ranked by {metric_title(metrics[0])}; [..] is its 95 % interval (1,000 paired bootstrap "
        "draws of the test rows, the same draws for every model). tie: models with one letter "
        "can't be told from the letter's first model on these rows.",
    ]
    if any("@valid" in name for name in metrics):
        notes.append(
            "Decisions at threshold 0.5; with @valid at the threshold that is best for F1-macro "
            "(multi-label: F1, a threshold a label) on the valid rows. ↓: lower is better."
        )
    if STOPPED in metrics:
        notes.append("AP: average precision of the scores; AP stopped: of the trials that stopped.")
    flags = board.rows
    if flags["is_floor"].any():
        notes.append(
            "floor: what needs no learning; a model that does not beat it has learnt nothing."
        )
    if flags["is_ceiling"].any():
        notes.append(
            "ceiling: the true probabilities that generated the rows; no model can do better "
            "but by luck."
        )
    notes.append(
        "fit s: seconds for features and fit, embeddings from the cache at their first cost."
    )
    if board.gaps:
        notes.append("Not in the table: " + "; ".join(board.gaps))
    return tuple(notes)


def difference_table(frame: pd.DataFrame) -> Sheet:
    """The table of `Run.compare`."""
    first = frame.iloc[0]
    header = (
        "task",
        "split",
        "as of",
        first["a"],
        first["b"],
        "difference [95 %]",
        "p",
        "test rows",
    )
    rows = tuple(
        (
            row["task"],
            row["split"],
            row["as_of"],
            number(row["value_a"]),
            number(row["value_b"]),
            f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            f"{row['p']:.3f}",
            f"{row['n_test']:,}",
        )
        for row in frame.to_dict("records")
    )
    return Sheet(
        title=f"{metric_title(first['metric'])}: {first['a']} - {first['b']}",
        header=header,
        numeric=(False, False, False, *[True] * 5),
        rows=rows,
        styles=tuple("plain" for _ in rows),
        notes=("Paired bootstrap over the test rows, 1,000 draws; p is two-sided and unadjusted.",),
    )


def number(value: float | None) -> str:
    """Three digits without the leading zero, as tables of the field print scores."""
    if value is None or pd.isna(value):
        return "—"
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def amount(value: float | None) -> str:
    """Seconds or MiB with two digits that matter."""
    if value is None or pd.isna(value):
        return "—"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _letter(group: int) -> str:
    """1 -> a, 26 -> z, 27 -> aa."""
    letters = ""
    while group:
        group, rest = divmod(group - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
