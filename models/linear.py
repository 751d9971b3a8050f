"""Exact attributions of a linear model over a table and over terms of texts.

The share of a column is its coefficient times its value less its mean in train: the Shapley value
where absent means "as in an average training row" (`shap.LinearExplainer`, interventional). Terms
that are not in a row's text have a share too, for the average row has a little of each; a row has
one such number a column, `attribution.ABSENT`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.occurrences import Occurrence, Word, Written, terms
from models.attribution import (
    ABSENT,
    PUNCTUATION,
    Attribution,
    Block,
    Feature,
    Spans,
    Tally,
    normal_form,
    pooled,
    side_by_side,
    together,
)
from models.base import Floats, Ints, Target

_EDGES = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True)
class Weights:
    """Coefficients (m, k) of the columns of a matrix, and the columns' means (m,) in train."""

    coefficients: Floats
    means: Floats

    def of(self, columns: slice) -> Weights:
        """Those of some columns."""
        return Weights(self.coefficients[columns], self.means[columns])


@dataclass(frozen=True)
class TextBlock:
    """Columns of a matrix that were counted in texts, and the texts of the explained rows.

    `home` is the column that has what stands in no text.
    """

    vectorizer: Any
    texts: Sequence[Written]
    home: str

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.vectorizer.vocabulary_)


def explain(
    regressions: Mapping[int, Any],
    matrix: Any,
    means: Floats,
    *,
    target: Target,
    blocks: Sequence[TextBlock],
    text_columns: Sequence[str],
    table: Sequence[Feature],
) -> Attribution | None:
    """Shares of words and of table columns in a log-odds; None where there is no regression.

    `regressions` are scikit-learn's, one for all classes or one a label, by the label's number.
    `matrix` is what they see of the rows, CSR (n, m): the `blocks`, then the `table`; `means`
    (m,) are those of train.
    """
    if not regressions:
        return None
    weights = Weights(np.concatenate([one.coef_ for one in regressions.values()]).T, means)
    intercept = np.concatenate([one.intercept_ for one in regressions.values()])
    found, spans, at = [], [], 0
    for block in blocks:
        inside = slice(at, at := at + block.width)
        shares, places = of_terms(matrix[:, inside], weights.of(inside), block, set(text_columns))
        found.append(shares)
        spans.append(places)
    if table:
        found.append(of_columns(matrix[:, at:], weights.of(slice(at, None)), table))
    one_fit = target.kind != "multilabel"
    return normal_form(
        "linear",
        side_by_side(found),
        base=means @ weights.coefficients + intercept,
        output=matrix @ weights.coefficients + intercept,
        target=target,
        fitted=next(iter(regressions.values())).classes_ if one_fit else tuple(regressions),
        spans=[together(row) for row in zip(*spans, strict=True)],
    )


def of_columns(matrix: Any, weights: Weights, features: Sequence[Feature]) -> Block:
    """Shares of each column of a CSR matrix (n, m), those of the same feature added up."""
    values = (matrix.toarray() - weights.means)[:, :, None] * weights.coefficients
    return pooled(values, features)


def of_terms(
    matrix: Any, weights: Weights, block: TextBlock, text_columns: Set[str]
) -> tuple[Block, list[Spans]]:
    """Shares of the terms in each row's text, and the pieces of text that they come from.

    `matrix` is CSR, (n, vocabulary). A term's share in a row is divided evenly over the places
    where it stands, each of which belongs to one column, and there over the words it covers.
    """
    tally = Tally(weights.coefficients.shape[1])
    fields = _Fields(len(weights.means), block.home)
    spans = []
    for row, text in enumerate(block.texts):
        inside = slice(matrix.indptr[row], matrix.indptr[row + 1])
        columns = matrix.indices[inside]
        shares = (matrix.data[inside] - weights.means[columns])[:, None]
        shares = shares * weights.coefficients[columns]
        found = _Row.of(text, block, columns, text_columns=text_columns)
        spans.append(found.share_out(shares, columns, tally=tally, fields=fields))
    present = tally.block()
    absent = fields.absent(matrix, weights)
    both = np.concatenate([present.values, absent.values], axis=1)
    return Block(both, present.features + absent.features), spans


class _Fields:
    """In which columns each term stands, over all rows."""

    def __init__(self, vocabulary: int, home: str) -> None:
        self._numbers = {home: 0}
        self._vocabulary = vocabulary
        self._seen: list[tuple[Ints, Ints]] = []

    def number(self, field: str) -> int:
        return self._numbers.setdefault(field, len(self._numbers))

    def add(self, columns: Ints, fields: Ints) -> None:
        self._seen.append((columns, fields))

    def absent(self, matrix: Any, weights: Weights) -> Block:
        """For each field, the shares of all terms that a row does not have.

        A term is divided over fields as its places in the explained rows are, one that is in none
        of them as all terms together.
        """
        from scipy import sparse

        counts = np.zeros((self._vocabulary, len(self._numbers)))
        for columns, fields in self._seen:
            np.add.at(counts, (columns, fields), 1.0)
        overall = counts.sum(axis=0)
        overall = overall / overall.sum() if overall.any() else np.eye(len(overall))[0]
        seen = counts.sum(axis=1, keepdims=True)
        counts = np.where(seen > 0, counts / np.where(seen > 0, seen, 1), overall)
        there = sparse.csr_matrix(
            (np.ones(len(matrix.indices)), matrix.indices, matrix.indptr), matrix.shape
        )
        average = weights.means[:, None] * weights.coefficients
        shares = []
        for number in self._numbers.values():
            own = counts[:, [number]] * average
            shares.append(there @ own - own.sum(axis=0))
        features = tuple(Feature(field, ABSENT) for field in self._numbers)
        return Block(np.stack(shares, axis=1), features)


@dataclass(frozen=True)
class _Row:
    """The places of one row's terms: number of the term among the row's, first word, word after."""

    text: Written
    block: TextBlock
    text_columns: Set[str]
    words: list[Word]
    occurrences: list[Occurrence]
    places: Ints

    @classmethod
    def of(cls, text: Written, block: TextBlock, columns: Ints, *, text_columns: Set[str]) -> _Row:
        """Find the terms of the columns in which the row is not 0."""
        how = block.vectorizer
        number = {int(column): place for place, column in enumerate(columns)}
        words, found = terms(text.text, how.analyzer, how.ngram_range)
        occurrences, places = [], []
        for one in found:
            place = number.get(how.vocabulary_.get(one.term, -1))
            if place is not None:
                occurrences.append(one)
                places.append(place)
        return cls(text, block, text_columns, words, occurrences, np.array(places, dtype=np.int64))

    def share_out(self, shares: Floats, columns: Ints, *, tally: Tally, fields: _Fields) -> Spans:
        """Enter the shares (terms, k) of this row, and give the weights of its words."""
        counts = np.bincount(self.places, minlength=len(columns))
        weights = shares[self.places] / counts[self.places, None]
        part = [self.text.part(word.start) for word in self.words]
        parts = [part[one.first] for one in self.occurrences]
        names = [self.text.fields[number] for number in parts]
        fields.add(
            columns[self.places],
            np.array([fields.number(name) for name in names], dtype=np.int64),
        )
        numbers = [
            tally.number(self._feature(one, name))
            for one, name in zip(self.occurrences, names, strict=True)
        ]
        # a term that lower case made, such as one of a dotted capital I, is found nowhere
        lost = np.flatnonzero(counts == 0)
        home = Feature(self.block.home, self.block.home)
        numbers += [tally.number(home) for _ in lost]
        tally.add_row(numbers, np.concatenate([weights, shares[lost]]))
        return self._spans(weights, part)

    def _feature(self, one: Occurrence, field: str) -> Feature:
        if field not in self.text_columns:
            return Feature(field, field)
        if self.block.vectorizer.analyzer == "word":
            return Feature(field, one.term, is_word=True)
        name = _EDGES.sub("", self.words[one.first].name)
        return Feature(field, name, is_word=True) if name else Feature(field, PUNCTUATION)

    def _spans(self, weights: Floats, part: Sequence[int]) -> Spans:
        """The words of text columns with their weights (words, k)."""
        on_words = np.zeros((len(self.words), weights.shape[1]))
        first = np.array([one.first for one in self.occurrences], dtype=np.int64)
        length = np.array([one.after - one.first for one in self.occurrences], dtype=np.int64)
        for step in range(int(length.max(initial=0))):
            here = length > step
            np.add.at(on_words, first[here] + step, weights[here] / length[here, None])
        kept = [
            number
            for number, place in enumerate(part)
            if self.text.quotes[place] and on_words[number].any()
        ]
        begins = [self.text.starts[part[number]] for number in kept]
        bounds = [
            (self.words[number].start - begin, self.words[number].end - begin)
            for number, begin in zip(kept, begins, strict=True)
        ]
        return Spans(
            tuple(self.text.fields[part[number]] for number in kept),
            np.array(bounds, dtype=np.int64).reshape(-1, 2),
            on_words[kept],
        )
