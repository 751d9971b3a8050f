"""Tables for a terminal."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Sequence

from benchmark.render.layout import Sheet, Style

_STYLES: dict[Style, str] = {
    "plain": "",
    "floor": "dim",
    "ceiling": "italic cyan",
    "unranked": "yellow",
}
_WIDTH = 120


def terminal(sheets: Sequence[Sheet]) -> str:
    """Tables as wide as the terminal (120 columns where there is none), with colour codes."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    width = shutil.get_terminal_size((_WIDTH, 24)).columns
    console = Console(file=io.StringIO(), width=width, force_terminal=True, highlight=False)
    for number, sheet in enumerate(sheets):
        if number and (sheets[number - 1].about or sheets[number - 1].notes):
            console.print()
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
        for name, right in zip(map(_header, sheet.header), sheet.numeric, strict=True):
            # a cut name would be a wrong name; numbers must stay on one line
            table.add_column(
                Text(name),
                justify="right" if right else "left",
                no_wrap=right or name == "label",
                overflow="fold",
            )
        shown = _stacked if _width(sheet) > width else str
        for line, (row, style) in enumerate(zip(sheet.rows, sheet.styles, strict=True)):
            bold = ("bold" if (line, place) in sheet.bold else "" for place in range(len(row)))
            table.add_row(*map(Text, map(shown, row), bold), style=_STYLES[style])
        console.print(Text(sheet.title, style="bold"))
        console.print(table)
        for note in (*sheet.about, *sheet.notes):
            console.print(Text(note, style="dim"))
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue().rstrip("\n")


def _header(name: str) -> str:
    """A column's title over several lines: what would widen the column goes below."""
    return re.sub(r"(?<=AP) (?=\w)| (?=\[)|(?<!\n)(?=@)", "\n", name)


def _width(sheet: Sheet) -> int:
    """Characters that the table takes with whole names and numbers."""
    heads = [_header(name).split("\n") for name in sheet.header]
    columns = zip(*sheet.rows, strict=True) if sheet.rows else [()] * len(heads)
    pairs = zip(heads, columns, strict=True)
    return sum(max(map(len, (*head, *cells))) + 2 for head, cells in pairs)


def _stacked(cell: str) -> str:
    """An interval below its value."""
    return cell.replace(" [", "\n[")
