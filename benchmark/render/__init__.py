"""One board, several forms: the tables are laid out once and written as text or Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pandas as pd

from benchmark.leaderboard import DECIMALS, Board, check_comparable
from benchmark.render.csv_table import csv_table
from benchmark.render.differences import across_table, difference_tables, stress_tables
from benchmark.render.latex import latex
from benchmark.render.layout import Sheet, board_tables, records
from benchmark.render.markdown import markdown
from benchmark.render.paper import LAYOUTS, lay_out, split_tables
from benchmark.render.terminal import terminal
from features.errors import unknown_name

__all__ = [
    "FORMATS",
    "LAYOUTS",
    "across_table",
    "difference_tables",
    "frame_json",
    "lay_out",
    "render",
    "stress_tables",
    "write",
]


def _csv(board: Board) -> str:
    check_comparable(board.rows)
    frame = board.rows.round(DECIMALS)
    for name in frame.columns[frame.dtypes == "str"]:  # no formula for a spreadsheet
        frame[name] = frame[name].str.replace(r"^([=+\-@\t\r])", r"'\1", regex=True)
    frame["seeds"] = frame["seeds"].map(lambda seeds: " ".join(map(str, seeds)))
    return str(frame.to_csv(index=False)).rstrip("\n")


def _json(board: Board) -> str:
    check_comparable(board.rows)
    return frame_json(board.rows.round(DECIMALS))


def frame_json(frame: pd.DataFrame) -> str:
    """A list of objects, one a row, null for missing."""
    return json.dumps(records(frame), indent=1, allow_nan=False)


WRITERS: dict[str, Callable[[Sequence[Sheet]], str]] = {
    "terminal": terminal,
    "markdown": markdown,
    "latex": latex,
    "csv": csv_table,
}

FORMATS: dict[str, Callable[[Board], str]] = {
    "terminal": lambda board: terminal(board_tables(board)),
    "markdown": lambda board: markdown(board_tables(board)),
    "latex": lambda board: latex(split_tables(board)),
    "csv": _csv,
    "json": _json,
}


def render(board: Board, format: str) -> str:
    """A board as text in one of `FORMATS`."""
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    return FORMATS[format](board)


def write(sheets: Sequence[Sheet], format: str) -> str:
    """Laid-out tables as text in one of `WRITERS`."""
    return WRITERS[format](sheets)
