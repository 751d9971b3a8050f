"""What a prediction is made of: one normal form for trees, linear models and encoders.

The explained output is a log-odds: of the positive class (binary, one column), of each label
(multi-label), or of each class against their geometric mean (several classes: log p less the mean
of log p, since what moves all classes alike changes no probability). It is the model's own output,
before any calibration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from models.base import Floats, Ints, Target

ABSENT = "(words not in the text)"
OTHER = "(other words)"
PUNCTUATION = "(punctuation)"
LENGTH = "(length)"

MOST_VALUES = 10_000_000
"""Numbers in the shares of the words of one attribution: 80 MB."""

Array = TypeVar("Array")


class Feature(NamedTuple):
    """What a share of the output is laid to: an input column, or a word (`is_word`) of one."""

    field: str
    name: str
    is_word: bool = False


@dataclass(frozen=True)
class Spans:
    """Pieces of one row's text columns: characters [start, end) of `fields[i]`, with weights.

    `bounds` is (pieces, 2), `weights` (pieces, k).
    """

    fields: tuple[str, ...]
    bounds: Ints
    weights: Floats


@dataclass(frozen=True)
class Attribution:
    """Shares (n rows, m features, k classes) of an output (n, k), and what it would be without.

    `output` is `base` plus the sum of a row's `values`, exactly for trees and linear models, nearly
    for integrated gradients; `gap` is what is lacking. `base` (n, k) is the output that an average
    training row (trees, linear models) or a text without words (encoders) has. `classes` names the
    k columns: one for a binary target, the positive class. A class or label without a model of its
    own (all or none of the training rows have it) has no column.

    `spans`, one a row or none at all, tell where in the texts the shares of words come from.
    `attention`, likewise, is where an encoder looked, weights of sum 1 in one column: that is no
    attribution, for a token may be looked at and not used (Jain & Wallace 2019, "Attention is not
    Explanation").
    """

    method: str
    values: Floats
    base: Floats
    output: Floats
    features: tuple[Feature, ...]
    classes: tuple[str, ...]
    spans: tuple[Spans, ...] = ()
    attention: tuple[Spans, ...] = ()

    def __post_init__(self) -> None:
        n, k = self.output.shape
        if self.values.shape != (n, len(self.features), k) or self.base.shape != (n, k):
            raise ValueError(f"values {self.values.shape}, base {self.base.shape}, output {n, k}")
        if len(self.classes) != k or any(s and len(s) != n for s in (self.spans, self.attention)):
            raise ValueError(f"{len(self.classes)} classes, {len(self.spans)} spans")

    @property
    def gap(self) -> Floats:
        """What base and values lack of the output, (n, k)."""
        return np.asarray(self.output - self.base - self.values.sum(axis=1))


@dataclass(frozen=True)
class Block:
    """The values (n, m, k) of some features; a row's features add up over blocks."""

    values: Floats
    features: tuple[Feature, ...]


def explained_classes(target: Target) -> tuple[str, ...]:
    """Names of the columns of an attribution where every class has a model."""
    return target.classes[1:] if target.kind == "binary" else target.classes


def contrast(scores: Array, target: Target) -> Array:
    """The explained output of a network's logits (n, k), NumPy's or torch's: see the module."""
    found: Any = scores
    if target.kind == "binary":
        found = found[:, 1:] - found[:, :1]
    elif target.kind == "multiclass":
        found = found - found.mean(axis=1)[:, None]
    return found  # type: ignore[no-any-return]


def normal_form(
    method: str,
    block: Block,
    *,
    base: Floats,
    output: Floats,
    target: Target,
    fitted: Sequence[int],
    spans: Sequence[Spans] = (),
) -> Attribution:
    """An attribution from shares of raw scores on a log scale.

    `base` is (k,), `output` (n, k). `fitted` numbers the classes or labels that have a score; of
    two classes out of several there may be one score, that of the second against the first.
    """

    def explained(scores: Floats) -> Floats:
        if target.kind != "multiclass":
            return scores
        if scores.shape[-1] == 1:
            return np.concatenate([-scores / 2, scores / 2], axis=-1)
        return np.asarray(scores - scores.mean(axis=-1, keepdims=True))

    names = tuple(target.classes[number] for number in fitted)
    found = explained(output)
    return Attribution(
        method=method,
        values=explained(block.values),
        base=np.broadcast_to(explained(base), found.shape),
        output=found,
        features=block.features,
        classes=explained_classes(target) if target.kind == "binary" else names,
        spans=tuple(Spans(s.fields, s.bounds, explained(s.weights)) for s in spans),
    )


def of_table(fields: Sequence[str], text_columns: Sequence[str]) -> list[Feature]:
    """What the columns of an encoded table stand for: the column that they were made from.

    Levels and dates are put together that way. What was counted in a text is its length: its words
    may stand beside it, and the counts go along with each other, so that their shares cancel out.
    """
    return [
        Feature(field, f"{field} {LENGTH}" if field in text_columns else field) for field in fields
    ]


def together(spans: Sequence[Spans]) -> Spans:
    """The pieces of all spans of one row, which may overlap then."""
    return Spans(
        tuple(field for one in spans for field in one.fields),
        np.concatenate([one.bounds for one in spans]),
        np.concatenate([one.weights for one in spans]),
    )


def pooled(values: Floats, features: Sequence[Feature]) -> Block:
    """Shares (n, m, k) of columns, those of the same feature added up."""
    numbers = {feature: number for number, feature in enumerate(dict.fromkeys(features))}
    n, _, k = values.shape
    summed = np.zeros((n, len(numbers), k))
    for column, feature in enumerate(features):
        summed[:, numbers[feature]] += values[:, column]
    return Block(summed, tuple(numbers))


def side_by_side(blocks: Iterable[Block]) -> Block:
    """The features of all blocks, those of the same feature added up."""
    found = list(blocks)
    features = [feature for block in found for feature in block.features]
    return pooled(np.concatenate([block.values for block in found], axis=1), features)


class Tally:
    """Shares collected row by row, where each row has few of all features."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._numbers: dict[Feature, int] = {}
        self._rows: list[tuple[Ints, Floats]] = []

    def number(self, feature: Feature) -> int:
        """A feature's number, the next one if it is new."""
        return self._numbers.setdefault(feature, len(self._numbers))

    def add_row(self, numbers: Sequence[int], weights: Floats) -> None:
        """One more row: feature numbers (e), which may repeat, and weights (e, k)."""
        unique, place = np.unique(np.asarray(numbers, dtype=np.int64), return_inverse=True)
        summed = np.zeros((len(unique), self._k))
        np.add.at(summed, place, weights)
        self._rows.append((unique, summed))

    def block(self) -> Block:
        """All rows, with the features that any of them has a share of.

        Where the values would be more than `MOST_VALUES`, words that are weak in every row are
        added up as `OTHER` of their field.
        """
        features = list(self._numbers)
        strongest = np.zeros(len(features))
        for numbers, weights in self._rows:
            strongest[numbers] = np.maximum(strongest[numbers], np.abs(weights).max(axis=1))
        order = [n for n in np.argsort(-strongest, kind="stable").tolist() if strongest[n] > 0]
        most = MOST_VALUES // (max(1, len(self._rows)) * self._k)
        shown = {n: features[n] for n in sorted(order[:most])}
        shown |= {n: Feature(features[n].field, OTHER) for n in order[most:]}
        place = {feature: column for column, feature in enumerate(dict.fromkeys(shown.values()))}
        values = np.zeros((len(self._rows), len(place), self._k))
        for row, (numbers, weights) in enumerate(self._rows):
            kept = np.array([number in shown for number in numbers.tolist()], dtype=bool)
            columns = [place[shown[number]] for number in numbers[kept].tolist()]
            np.add.at(values[row], columns, weights[kept])
        return Block(values, tuple(place))
