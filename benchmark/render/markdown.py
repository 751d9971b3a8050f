"""Tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from benchmark.render.layout import Sheet, Style

_MARKS: dict[Style, str] = {"plain": "", "floor": "*", "ceiling": "*", "unranked": ""}


def markdown(sheets: Sequence[Sheet]) -> str:
    """GitHub's pipe tables, each under its title, with the notes below; untrusted text escaped."""
    return "\n\n".join(_table(sheet) for sheet in sheets)


def _table(sheet: Sheet) -> str:
    rule = ("---:" if right else "---" for right in sheet.numeric)
    lines = [_line(escape(name.replace("\n", " ")) for name in sheet.header), _line(rule)]
    for line, (row, style) in enumerate(zip(sheet.rows, sheet.styles, strict=True)):
        marks = (
            "**" if (line, place) in sheet.bold else _MARKS[style] for place in range(len(row))
        )
        cells = zip(marks, row, strict=True)
        lines.append(_line(f"{mark}{escape(cell)}{mark}" if cell else "" for mark, cell in cells))
    notes = "".join(f"\n{escape(note)}\n" for note in (*sheet.about, *sheet.notes))
    return f"**{escape(sheet.title)}**\n\n" + "\n".join(lines) + (f"\n{notes}".rstrip())


def _line(cells: Sequence[str] | object) -> str:
    return "| " + " | ".join(cells) + " |"  # type: ignore[arg-type]


def escape(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", text)
