"""How figures look and are written: the same bytes for the same numbers, readable in grey."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".pdf", ".svg", ".png")
GREY = "#767676"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito (2008) without yellow, which white paper swallows."""
_LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1.2)))
_MARKERS = "osD^vPX*<>"
_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 6.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.framealpha": 0.8,
    "legend.edgecolor": "none",
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "svg.hashsalt": "trialmark",  # else ids are drawn at random
}
_METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
    ".png": {},
}


@dataclass(frozen=True)
class Look:
    """Colour, line and marker of a model: any two of the first 28 differ in colour or line."""

    colour: str
    line: Any
    marker: str


def looks(names: Iterable[str], *, quiet: Iterable[str] = ()) -> dict[str, Look]:
    """A look for each name, in their order; those of `quiet` (floors) are grey."""
    grey = set(quiet)
    loud = [name for name in dict.fromkeys(names) if name not in grey]
    found = {
        name: Look(
            _COLOURS[place % len(_COLOURS)],
            _LINES[place % len(_LINES)],
            _MARKERS[place % len(_MARKERS)],
        )
        for place, name in enumerate(loud)
    }
    faint = {
        name: Look(GREY, _LINES[(1 + place) % len(_LINES)], "|x_+"[place % 4])
        for place, name in enumerate(sorted(grey))
    }
    return found | faint


@contextmanager
def styled() -> Iterator[None]:
    """Figures drawn and saved inside have trialmark's style."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        yield


def panels(count: int, *, columns: int = 2, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes of `size` (inches), `columns` beside each other."""
    from matplotlib.figure import Figure

    across = min(columns, count)
    down = -(-count // across)
    figure = Figure(figsize=(size[0] * across, size[1] * down), layout="constrained")
    found = figure.subplots(down, across, squeeze=False).ravel()
    for unused in found[count:]:
        unused.set_visible(False)
    return figure, list(found[:count])


def plain(text: str) -> str:
    """Text that matplotlib does not read as a formula."""
    return text.replace("$", r"\$")


def check_suffix(file: Path) -> None:
    """Raise `InputError` for a file that is no figure by its name."""
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"a figure {file.name}", f"a name that ends in {', '.join(SUFFIXES)}")


def save(figure: Figure, file: Path) -> None:
    """Write a figure as its suffix says; without dates, so that equal figures are equal files."""
    check_suffix(file)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # shown as boxes
            figure.savefig(file, dpi=200, metadata=_METADATA[file.suffix.lower()])
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}", "a writable file") from None


def legend(axes: Axes, labels: Sequence[str], **where: Any) -> None:
    """A legend of what is drawn, if it is anything."""
    if labels:
        axes.legend(handlelength=2.6, borderaxespad=0.3, labelspacing=0.3, **where)
