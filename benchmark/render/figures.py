"""Explanations as pictures: fields of a model, and each example with its waterfall and texts."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.drawing import plain, save
from benchmark.explanations import Page
from benchmark.render.explanation import NO_TEXTS, Piece, heading, name_of, pieces, waterfall
from benchmark.store import slug
from features.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FOR, AGAINST, PLAIN = "#c62828", "#1565c0", "#57606a"
_FIELDS, _COLUMNS, _LINES = 15, 100, 60
"""Fields that are drawn, characters of a line of text, and lines of one example."""


def write_figures(pages: Sequence[Page], folder: Path) -> list[Path]:
    """One PNG for the fields of each model and one an example, in `folder`; the files' paths."""
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in _figures(pages):
            written.append(folder / f"{name}.png")
            save(figure, written[-1])
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}", "a writable folder") from None
    return written


def _figures(pages: Sequence[Page]) -> Iterator[tuple[str, Figure]]:
    for page in pages:
        for one in page["models"]:
            parts = (page["task"], page["split"], page["as_of"], one["model"], one["inputs"])
            name = "-".join(map(slug, parts))
            title = f"{heading(page)}: {name_of(one)}"
            yield f"{name}-fields", fields(one, title)
            for number, row in enumerate(one["examples"], start=1):
                yield f"{name}-{number}-{slug(row['id'])}", example(row, title)


def fields(one: Mapping[str, Any], title: str) -> Figure:
    """Modality share as bars, with the standard deviation over seeds where there are several."""
    rows = [(r["field"], _mean(r["share"]), r["sd"]) for r in one["fields"][:_FIELDS]][::-1]
    figure, (axes,) = _drawing([0.3 * len(rows) + 0.4], title)
    spread = [0.0 if None in sd else 100 * _mean(sd) for _, _, sd in rows]
    axes.barh(
        range(len(rows)),
        [100 * share for _, share, _ in rows],
        xerr=spread if any(spread) else None,
        color=PLAIN,
    )
    axes.set_yticks(range(len(rows)), [plain(field) for field, _, _ in rows])
    axes.set_xlabel("% of the attribution")
    return figure


def example(row: Mapping[str, Any], title: str) -> Figure:
    """A waterfall of log-odds, and below it the texts: red speaks for the class, blue against."""
    steps = waterfall(row)
    lines = list(_lines(row))
    heights = [0.28 * len(steps) + 0.5, 0.2 * len(lines) + 0.1]
    about = f"{row['id']}, {row['kind']}: {row['class']} with {row['probability']:.1%}"
    truth = ", ".join(row["truth"]) or "none of the labels"
    figure, axes = _drawing(heights, f"{title}\n{about}; truth: {truth}")
    bars, text = axes
    for place, step in enumerate(reversed(steps)):
        if step.kind == "end":
            bars.plot([step.end], [place], marker="|", markersize=14, color=PLAIN)
            label = f"{step.end:.3g}"
        else:
            colour = FOR if step.weight > 0 else AGAINST
            bars.barh(place, step.end - step.start, left=step.start, color=colour)
            label = f"{step.weight:+.3g}"
        at = max(step.start, step.end)
        bars.annotate(label, (at, place), (4, 0), textcoords="offset points", va="center", size=8)
    names = [s.label if s.value is None else f"{s.label} = {s.value}" for s in steps[::-1]]
    bars.set_yticks(range(len(steps)), [plain(textwrap.shorten(n, 45)) for n in names])
    bars.margins(x=0.1)
    bars.set_xlabel("log-odds")
    if lines:
        _write(text, lines)
    else:
        text.set_axis_off()
    return figure


def _drawing(heights: Sequence[float], title: str) -> tuple[Figure, Sequence[Axes]]:
    """A figure with axes of these heights (inches) one below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, sum(heights) + 1.2), layout="constrained")
    found = figure.subplots(len(heights), height_ratios=heights, squeeze=False)
    figure.suptitle(plain(title), fontsize=10)
    for axes in found[:, 0]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, list(found[:, 0])


def _lines(row: Mapping[str, Any]) -> Iterator[list[Piece]]:
    """The texts in lines of pieces; a line that names the column goes before each of them."""
    if not row["spans"]:
        return
    if not row["texts"]:
        yield from ([Piece(line, 0.0, 0.0)] for line in textwrap.wrap(NO_TEXTS, _COLUMNS))
        return
    left = _LINES
    for field in row["texts"]:
        found = [[Piece(f"{field}:", 0.0, 0.0)], *_wrapped(pieces(row, field))]
        yield from found[:left]
        left -= len(found)
        if left <= 0:
            yield [Piece("… (the rest is in the HTML page)", 0.0, 0.0)]
            return


def _wrapped(found: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces broken at blanks into lines of at most `_COLUMNS` characters; longer words are cut."""
    line: list[Piece] = []
    used = 0
    for piece in found:
        for word in _words(piece.text):
            if word == "\n" or used + len(word) > _COLUMNS:
                yield line
                line, used = [], 0
            if word != "\n":
                line.append(Piece(word, piece.weight, piece.strength))
                used += len(word)
    yield line


def _words(text: str) -> Iterator[str]:
    """Words, blanks and line breaks; a word that fits no line comes in parts."""
    for found in re.findall(r"\n|[^\S\n]|\S+", text):
        yield from (found[at : at + _COLUMNS] for at in range(0, len(found), _COLUMNS))


def _write(axes: Axes, lines: Sequence[Sequence[Piece]]) -> None:
    from matplotlib.patches import Rectangle

    axes.set_axis_off()
    axes.set_xlim(0, _COLUMNS)
    axes.set_ylim(len(lines), 0)
    for place, line in enumerate(lines):
        at = 0
        for piece in line:
            width = len(piece.text)
            if piece.weight:
                colour = FOR if piece.weight > 0 else AGAINST
                box = Rectangle((at, place), width, 1, color=colour, alpha=0.5 * piece.strength)
                axes.add_patch(box)
            for offset, letter in enumerate(piece.text):  # each in its place, whatever the font
                if not letter.isspace():
                    x, y = at + offset + 0.5, place + 0.5
                    axes.text(x, y, plain(letter), size=7.5, family="monospace",
                              ha="center", va="center")  # fmt: skip
            at += width


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
