"""Python list literals in cells, `['asthma', "crohn's disease"]`, as pandas writes lists to CSV."""

from __future__ import annotations

import ast
import re
import threading

from benchmark.readers import cells

LONGEST = 200_000
"""Characters of the longest list that is parsed; the longest of TOP has under 10,000."""

_ESCAPE = r"\\(?:[\\'\"abfnrtv]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
_STRING = rf"(?:'(?:[^'\\\n\r]|{_ESCAPE})*+'|\"(?:[^\"\\\n\r]|{_ESCAPE})*+\")"
_ITEM = rf"(?:{_STRING}|None|nan)"
_LIST = re.compile(rf"\[\s*+(?:{_ITEM}\s*+(?:,\s*+{_ITEM}\s*+)*+(?:,\s*+)?)?\]")
"""A flat list of strings: no nesting, no numbers, so that parsing needs no stack and no time."""

_ALONE = threading.Lock()
"""Python 3.11 counts the depth of all threads' syntax trees as one ("recursion depth mismatch")."""


def strings(cell: str) -> list[str]:
    """The strings of a list literal without the empty ones; [] for an empty cell.

    Raises `ValueError` for anything but a flat list of strings (None and nan are left out).
    """
    text = cell.strip()
    if not text:
        return []
    if len(text) > LONGEST:
        raise ValueError(f"longer than the {LONGEST} characters of a credible list")
    if not _LIST.fullmatch(text):
        raise ValueError("not a list such as ['a', 'b']")
    try:
        with _ALONE:
            items = ast.literal_eval(re.sub(rf"({_STRING})|\bnan\b", _without_nan, text))
    except (ValueError, SyntaxError):  # a character code that no character has
        raise ValueError("not a list such as ['a', 'b']") from None
    found = [cells.label(item) for item in items if item is not None]
    return [item for item in found if item is not None]


def _without_nan(found: re.Match[str]) -> str:
    return found[1] if found[1] is not None else "None"


def joined(cell: str) -> str:
    """The strings of a list literal parted by `|`, each once, in their order."""
    return "|".join(dict.fromkeys(strings(cell)))


def joined_or_plain(cell: str) -> str:
    """As `joined`; a cell that is no list literal (`Asthma`, `[18F]FDG`) is kept as it is."""
    try:
        return joined(cell)
    except ValueError:
        return cells.text(cell)
