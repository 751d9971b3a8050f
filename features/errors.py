"""The one error a user can fix: what came, what was expected, what to change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LIMIT = 600


class InputError(Exception):
    """A mistake in a file, a config or a command that the user can mend.

    Its text is always one line: control characters are escaped and the parts are cut, so that a
    10 MB cell or a terminal escape code cannot reach the screen.
    """

    def __init__(self, came: str, expected: str = "", change: str = "") -> None:
        self.came, self.expected, self.change = came, expected, change
        parts = [came, expected and f"expected {expected}", change]
        super().__init__("; ".join(one_line(part) for part in parts if part))


def one_line(text: object, limit: int = _LIMIT) -> str:
    """`text` without control characters, cut to `limit` characters."""
    shown = str(text)[: limit + 1]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def closest(name: object, known: Iterable[str]) -> str:
    """`did you mean 'x'?` where a known name is near `name`, else an empty string."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> InputError:
    """The error for a name that no registry holds, with its nearest neighbour."""
    names = sorted(known)
    return InputError(
        f"unknown {kind} {one_line(name, 80)!r}",
        "one of " + ", ".join(names),
        closest(name, names),
    )
