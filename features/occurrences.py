"""Where words and terms stand in a row's text, and in which column's part of it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.columns import Columns
from features.text import Part

Ints = npt.NDArray[np.int64]

_WORD = re.compile(r"\w+")
_TERM_WORD = re.compile(r"\b\w\w+\b")
_CHUNK = re.compile(r"\S+")


class Word(NamedTuple):
    """A word in lower case, and its characters [start, end) in the text."""

    start: int
    end: int
    name: str


class Occurrence(NamedTuple):
    """A term of a vocabulary in a text: it covers the words [first, after)."""

    term: str
    first: int
    after: int


@dataclass(frozen=True)
class Written:
    """The text of one row and the columns its parts were written from.

    Part i begins at character `starts[i]` and comes from column `fields[i]`; words of a template
    and separators count as a part of what follows them. `quotes[i]` says whether the part is the
    cell of a text column as it is, so that places in it are places in the cell.
    """

    text: str
    starts: tuple[int, ...]
    fields: tuple[str, ...]
    quotes: tuple[bool, ...]

    def part(self, character: int) -> int:
        """Number of the part that a character stands in."""
        return max(0, bisect_right(self.starts, character) - 1)


def written(
    rows: Iterable[Sequence[Part]],
    frame: pd.DataFrame,
    columns: Columns,
    max_characters: int | None = None,
) -> list[Written]:
    """The texts of the rows of `frame` with their parts, as `features.text.text_parts` gives them.

    `columns.text` are the text columns; each text is cut to `max_characters`.
    """
    cells = {name: frame[name].tolist() for name in columns.text}
    return [
        _written(row, {name: cells[name][number] for name in cells}, max_characters)
        for number, row in enumerate(rows)
    ]


def _written(parts: Sequence[Part], cells: Mapping[str, str], most: int | None) -> Written:
    fields = [part.field for part in parts]
    known = [field for field in fields if field is not None]
    following = known[-1] if known else ""
    for number in range(len(fields) - 1, -1, -1):
        following = following if fields[number] is None else str(fields[number])
        fields[number] = following
    starts = np.cumsum([0, *(len(part.text) for part in parts)])[:-1]
    return Written(
        text="".join(part.text for part in parts)[:most],
        starts=tuple(starts.tolist()),
        fields=tuple(map(str, fields)),
        quotes=tuple(p.field is not None and p.text == cells.get(p.field) for p in parts),
    )


def words(text: str) -> list[Word]:
    """All words of a text: runs of letters, digits and `_`."""
    return _found(_WORD, text)


def terms(
    text: str, analyzer: Literal["word", "char_wb"], lengths: tuple[int, int]
) -> tuple[list[Word], Iterator[Occurrence]]:
    """The words of a text and the n-grams in it of the shortest to the longest of `lengths`.

    As scikit-learn's vectorizers with that analyzer count them, in lower case: `word` has words of
    two characters or more, `char_wb` characters within what stands between blanks, padded with a
    blank at both ends.
    """
    if analyzer == "word":
        found = _found(_TERM_WORD, text)
        return found, _word_terms([word.name for word in found], *lengths)
    found = _found(_CHUNK, text)
    return found, _character_terms([word.name for word in found], *lengths)


def _found(pattern: re.Pattern[str], text: str) -> list[Word]:
    return [Word(hit.start(), hit.end(), hit.group().lower()) for hit in pattern.finditer(text)]


def _word_terms(names: Sequence[str], shortest: int, longest: int) -> Iterator[Occurrence]:
    for length in range(shortest, longest + 1):
        for first in range(len(names) - length + 1):
            yield Occurrence(" ".join(names[first : first + length]), first, first + length)


def _character_terms(names: Sequence[str], shortest: int, longest: int) -> Iterator[Occurrence]:
    for number, name in enumerate(names):
        padded = f" {name} "
        for length in range(shortest, longest + 1):
            for start in range(max(1, len(padded) - length + 1)):
                yield Occurrence(padded[start : start + length], number, number + 1)
            if length >= len(padded):  # a short word counts once, whatever the length
                break
