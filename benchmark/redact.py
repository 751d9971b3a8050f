"""The outcome-text redactor: takes statements of the outcome out of texts, and counts them.

A model that scores less on redacted texts had read the ending. The whole sentence goes, and no mark
stays: a token such as [REDACTED] would stand in stopped studies alone and tell the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from benchmark.audit.phrases import find
from benchmark.dataset import Dataset, Rows
from features.errors import unknown_name

REACH = 300
"""Characters on each side of a statement in which its sentence must begin and end, else it's cut
there."""

_START = re.compile(r"(?:[.!?;]\s+|[\n\r]|[\[(*•]\s*)(?=[^.!?;\n\r]*$)")
_END = re.compile(r"[.!?;](?=\s|$|[\])])|[\n\r]")


@dataclass(frozen=True)
class Redaction:
    """What was taken out of one column: in how many rows, how many sentences and characters."""

    column: str
    rows: int
    sentences: int
    characters: int


def redacted(rows: Rows, columns: Sequence[str]) -> tuple[Rows, tuple[Redaction, ...]]:
    """`rows` with the statements of an outcome taken out of these text columns, and the counts.

    Ids, labels and every other column stay as they are. Raises `InputError` for a column that is
    no text of these rows.
    """
    known = [column.name for column in rows.columns if column.kind == "text"]
    for name in columns:
        if name not in known:
            raise unknown_name("text column to redact", name, known)
    frame, counts = _redacted(rows.frame, columns)
    return replace(rows, frame=frame), counts


def redacted_dataset(data: Dataset) -> tuple[Dataset, tuple[Redaction, ...]]:
    """The same labelled rows with every text column redacted; splits of `data` fit it."""
    texts = [column.name for column in data.columns if column.kind == "text"]
    X, counts = _redacted(data.X, texts)
    return replace(data, X=X), counts


def _redacted(
    frame: pd.DataFrame, columns: Sequence[str]
) -> tuple[pd.DataFrame, tuple[Redaction, ...]]:
    frame = frame.copy(deep=False)
    counts = []
    for name in columns:
        texts, sentences = redact(frame[name].tolist())
        new = pd.Series(texts, index=frame.index, dtype=frame[name].dtype, name=name)
        removed = frame[name].str.len() - new.str.len()
        touched = int((np.array(sentences) > 0).sum())
        counts.append(Redaction(name, touched, sum(sentences), int(removed.sum())))
        frame[name] = new
    return frame, tuple(counts)


def redact(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """The texts without the sentences that state an outcome, and how many were taken out of each.

    A text of such sentences alone becomes "".
    """
    spans: dict[int, list[tuple[int, int]]] = {}
    for match in find(texts):
        whole = sentence(texts[match.place], match.start, match.end)
        spans.setdefault(match.place, []).append(whole)
    done, counts = list(texts), [0] * len(texts)
    for place, found in spans.items():
        merged = _merged(found)
        counts[place] = len(merged)
        for start, end in reversed(merged):
            done[place] = _without(done[place], start, end)
    return done, counts


def sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of the sentence or line around the characters from `start` to before `end`.

    It ends with its full stop, or before the line break or the closing bracket.
    """
    begin = max(0, start - REACH)
    before = _START.search(text[begin:start])
    first = begin if before is None else begin + before.end()
    after = _END.search(text, end, end + REACH)
    if after is None:
        return first, min(len(text), end + REACH)
    return first, after.start() if after[0] in "\n\r" else after.end()


def _merged(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that overlap as one."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _without(text: str, start: int, end: int) -> str:
    """The text less a span, with one blank where it was."""
    before, after = text[:start].rstrip(" "), text[end:].lstrip(" ")
    gap = " " if before and after and before[-1] not in "\n\r" and after[0] not in "\n\r" else ""
    return before + gap + after
