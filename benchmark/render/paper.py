"""Tables in the shapes that papers print, of the same values and words as the leaderboard's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pandas as pd

from benchmark.ablation import FULL, ablation
from benchmark.contenders import STOPPED
from benchmark.leaderboard import GROUP, Board, check_comparable, leaderboard
from benchmark.metrics import metric_of
from benchmark.render.costs import cost_tables
from benchmark.render.layout import (
    PLAIN,
    Sheet,
    Style,
    difference,
    exploration_notes,
    fit_notes,
    has_stopped,
    metric_title,
    model_name,
    number,
    p_value,
    records,
    row_style,
)
from benchmark.store import Store
from features.errors import InputError, unknown_name

WIDEST = 6
"""Columns of values that fit a page; more make another table."""
Key = tuple[str, str]
_PARTIAL = "†"


def lay_out(store: Store, layout: str, metric: str | None = None) -> list[Sheet]:
    """The tables of a results folder in one of `LAYOUTS`."""
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    return LAYOUTS[layout](store, metric)


def split_tables(board: Board) -> list[Sheet]:
    """One metric, the board's first: models by tasks, splits and as-of levels.

    Bold is the best tie group of each column, as far as it beats the best floor there.
    """
    check_comparable(board.rows)
    metric = board.metrics[0]
    lead = board.rows[board.rows["metric"] == metric]
    tables = [rows for _, rows in lead.groupby(list(GROUP), sort=False)]
    shared, heads = _heads(tables)
    order = _order(tables)
    lacking = {str(task) for task in board.rows["task"]} - {str(task) for task in lead["task"]}
    sheets = []
    for page in _pages(len(tables)):
        columns = [(heads[place], tables[place]) for place in page]
        sheets.append(
            _sheet(
                title=" · ".join([f"{metric_title(metric)} of models by split", *shared]),
                columns=columns,
                order=order,
                about=tuple(_about(head.replace("\n", " "), rows) for head, rows in columns),
                notes=_notes(board, [metric]),
            )
        )
    if lacking:
        last = f"{metric_title(metric)} is not for: {', '.join(sorted(lacking))}."
        sheets[-1] = _with_note(sheets[-1], last)
    return sheets


def metric_tables(board: Board) -> list[Sheet]:
    """Models by metrics, a table for each task, split and as-of level."""
    check_comparable(board.rows)
    sheets = []
    for key, rows in board.rows.groupby(list(GROUP), sort=False):
        metrics = [name for name in board.metrics if name in set(rows["metric"])]
        by_metric = [rows[rows["metric"] == name] for name in metrics]
        place = f"{key[0]} · {key[1]} split · as of {key[2]}"
        for page in _pages(len(metrics)):
            columns = [(_broken(metrics[i], rows), by_metric[i]) for i in page]
            sheets.append(
                _sheet(
                    title=f"Models by metric · {place}",
                    columns=columns,
                    order=_order(by_metric[:1]),
                    about=(_about("", by_metric[0]),),
                    notes=_notes(board, [metrics[i] for i in page]),
                )
            )
    return sheets


def ablation_tables(store: Store, metric: str | None = None) -> list[Sheet]:
    """Inputs of each model as rows, with the difference to the model that has all of them."""
    found = ablation(store, metric)
    board = leaderboard(store, metric)
    sheets = []
    for key, rows in found.groupby(list(GROUP), sort=False):
        of_place = (board.rows[list(GROUP)] == list(key)).all(axis=1)
        shown = board.rows[of_place & (board.rows["metric"] == rows["metric"].iloc[0])]
        sheets.append(_ablation_sheet(rows, shown))
    notes = (
        f"{_interval_note()} Difference: to the same model with inputs {FULL}, paired draws over "
        "the same test rows; p: two-sided, not adjusted.",
        *fit_notes(board.rows),
        *exploration_notes(board.rows),
    )
    return [_with_note(sheet, *notes) for sheet in sheets]


LAYOUTS: dict[str, Callable[[Store, str | None], list[Sheet]]] = {
    "splits": lambda store, metric: split_tables(leaderboard(store, metric)),
    "metrics": lambda store, metric: metric_tables(leaderboard(store, metric)),
    "ablation": ablation_tables,
    "cost": lambda store, metric: cost_tables(leaderboard(store, metric)),
}


def _sheet(
    *,
    title: str,
    columns: Sequence[tuple[str, pd.DataFrame]],
    order: Sequence[Key],
    about: tuple[str, ...],
    notes: tuple[str, ...],
) -> Sheet:
    """Models in `order`, and by column (head, rows of one table and metric) their estimates."""
    by_key = [{(r["model"], r["inputs"]): r for r in records(rows)} for _, rows in columns]
    present = [key for key in order if any(key in rows for rows in by_key)]
    firsts = [next(rows[key] for rows in by_key if key in rows) for key in present]
    bold = {
        (line, 2 + place)
        for place, (_, rows) in enumerate(columns)
        for line, key in enumerate(present)
        if key in _best(rows)
    }
    return Sheet(
        title=title,
        header=("model", "inputs", *(head for head, _ in columns)),
        numeric=(False, False, *[True] * len(columns)),
        rows=tuple(
            (_shown(first), first["inputs"], *(_estimate(rows.get(key)) for rows in by_key))
            for key, first in zip(present, firsts, strict=True)
        ),
        styles=tuple(_style(first) for first in firsts),
        notes=notes,
        about=about,
        bold=frozenset(bold),
    )


def _best(rows: pd.DataFrame) -> set[Key]:
    """The best tie group of one column, less floors and what does not beat the best of these."""
    sign = 1 if metric_of(rows["metric"].iloc[0]).higher_is_better else -1
    floors = sign * rows.loc[rows["is_floor"] & rows["value"].notna(), "value"]
    tied = rows[(rows["tie_group"] == 1) & ~rows["is_floor"]]
    if len(floors):
        tied = tied[sign * tied["value"] > floors.max()]
    return {(row["model"], row["inputs"]) for row in records(tied)}


def _order(tables: Sequence[pd.DataFrame]) -> list[Key]:
    """The ceiling, then models by their mean rank, a table that lacks one counting as last."""
    ranks: dict[Key, list[float]] = {}
    for place, rows in enumerate(tables):
        for row in records(rows):
            own = ranks.setdefault((row["model"], row["inputs"]), [float("inf")] * len(tables))
            last = float(len(rows))
            own[place] = -1.0 if row["is_ceiling"] else last if row["rank"] is None else row["rank"]
    longest = float(max(map(len, tables)))

    def mean(key: Key) -> float:
        return sum(min(value, longest) for value in ranks[key]) / len(tables)

    return sorted(ranks, key=mean)


def _heads(tables: Sequence[pd.DataFrame]) -> tuple[list[str], list[str]]:
    """What all tables share, and each one's head: what tells it from the others."""
    words = {"task": "{}", "split": "{} split", "as_of": "as of {}"}
    values = {name: [str(rows[name].iloc[0]) for rows in tables] for name in GROUP}
    several = {name: len(set(found)) > 1 for name, found in values.items()}
    if not any(several.values()):
        several["split"] = True
    shared = [words[name].format(values[name][0]) for name in GROUP if not several[name]]
    heads = [
        "\n".join(
            values[name][place] if name != "as_of" else words[name].format(values[name][place])
            for name in GROUP
            if several[name]
        )
        for place in range(len(tables))
    ]
    return shared, heads


def _broken(metric: str, rows: pd.DataFrame) -> str:
    """A metric's title in short lines."""
    if metric == STOPPED and not has_stopped(rows):
        return "AP\nnegative"
    return metric_title(metric).replace("AP stopped", "AP\nstopped").replace("@", "\n@")


def _pages(columns: int) -> Iterator[range]:
    """Numbers of columns, as evenly over tables as it goes."""
    pages = -(-columns // WIDEST)
    bounds = [columns * page // pages for page in range(pages + 1)]
    return (range(a, b) for a, b in pairwise(bounds))


def _about(head: str, rows: pd.DataFrame) -> str:
    """Rows, prevalence, seeds and the minimum detectable difference of one table."""
    first = rows.iloc[0]
    seeds = sorted({seed for found in rows["seeds"] for seed in found}, key=str)
    parts = [f"{first['n_train']:,} train and {first['n_test']:,} test rows"]
    if pd.notna(first["n_groups"]):
        parts[0] += f" in {first['n_groups']:.0f} groups"
    if pd.notna(first["prevalence"]):
        parts.append(f"{first['prevalence']:.1%} {first['positive']}")
    if first["n_excluded"]:
        parts.append(f"{first['n_excluded']:,} rows in no part")
    parts.append(f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}")
    if pd.notna(first["mde"]):
        what = "" if head else f" in {metric_title(first['metric']).removesuffix(' ↓')}"
        parts.append(f"minimum detectable difference {number(first['mde'])}{what}")
    return (f"{head}: " if head else "") + ", ".join(parts) + "."


def _notes(board: Board, metrics: Sequence[str]) -> tuple[str, ...]:
    rows = board.rows[board.rows["metric"].isin(metrics)]
    bold = "Bold: the best model, and those that can't be told from it on these rows"
    if rows["is_floor"].any():
        bold += ", as far as they beat the best floor; floor: what needs no learning"
    notes = [
        f"{_interval_note()} {bold}.",
        "Minimum detectable difference: 80 % power at the .05 level, the median pair of models.",
    ]
    if any(not metric_of(name).higher_is_better for name in metrics):
        notes.append("↓: lower is better.")
    if any(name.endswith("@valid") for name in metrics):
        notes.append("@valid: decisions at the threshold that is best on the valid rows.")
    if rows["is_ceiling"].any():
        notes.append("ceiling: the true probabilities that generated the rows.")
    if (_partial(rows)).any():
        dropped = " or `halving` dropped it" if rows["exploration"].any() else ""
        notes.append(f"{_PARTIAL}: not all seeds are done{dropped}; no rank.")
    if board.gaps:
        notes.append(f"{len(board.gaps)} planned results are missing.")
    return (*notes, *fit_notes(rows), *exploration_notes(rows))


def _interval_note() -> str:
    return "[..]: 95 % interval of 1,000 paired bootstrap draws of the test rows."


def _partial(rows: pd.DataFrame) -> pd.Series:
    return rows["rank"].isna() & ~rows["is_ceiling"]


def _estimate(row: Mapping[str, Any] | None) -> str:
    if row is None or row["value"] is None:
        return "—"
    mark = _PARTIAL if row["rank"] is None and not row["is_ceiling"] else ""
    interval = f"[{number(row['low'])}, {number(row['high'])}]"
    return f"{number(row['value'])}{mark} {interval}"


def _shown(row: Mapping[str, Any]) -> str:
    """The model's name; that a seed is missing stands at its value."""
    return model_name({**row, "rank": 1})


def _style(row: Mapping[str, Any]) -> Style:
    return row_style({**row, "rank": 1})


def _ablation_sheet(rows: pd.DataFrame, shown: pd.DataFrame) -> Sheet:
    first = rows.iloc[0]
    by_key = {(row["model"], row["inputs"]): row for row in records(shown)}
    cells, before = [], None
    for row in records(rows):
        own = by_key[row["model"], row["inputs"]]
        gap = row["difference"]
        cells.append(
            (
                "" if row["model"] == before else _shown(own),
                row["inputs"],
                _estimate(own),
                "" if gap is None else difference(gap, row["low"], row["high"]),
                "" if gap is None else p_value(row["p"]),
            )
        )
        before = row["model"]
    return Sheet(
        title=f"Ablation of inputs · {first['task']} · {first['split']} split · as of "
        f"{first['as_of']}",
        header=("model", "inputs", metric_title(first["metric"]), "difference", "p"),
        numeric=(False, False, True, True, True),
        rows=tuple(cells),
        styles=PLAIN * len(cells),
        about=(_about("", shown),),
    )


def _with_note(sheet: Sheet, *notes: str) -> Sheet:
    return replace(sheet, notes=(*sheet.notes, *notes))


def check_format(layout: str, format: str) -> None:
    """Raise `InputError` for a format that has no layouts."""
    if format in ("json", "html"):
        raise InputError(
            f"--layout {layout} with --format {format}",
            "terminal, markdown, latex or csv",
            "leave out --layout: this format holds everything",
        )
