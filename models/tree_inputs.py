"""What boosted trees see of a row: its table cells, and vectors of its texts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator

from features.columns import Columns
from features.embed import EmbedReport, Encoder, Precision, summed
from features.errors import InputError
from features.lsa import Lsa, Projection
from features.tabular import Native
from features.text import check_by_field, texts_by_field
from features.windows import Long
from models import base
from models.base import Context, Floats
from models.embedded import embedded


class TreeInputsParams(base.Params):
    """How columns become numbers.

    A level in fewer than `rare` rows of train is `(rare)`. The trees see the text as sentence
    `embeddings`, as `lsa` (see `features.lsa`; of `lsa_width` numbers), or as `both`. `template`
    writes the text; without one the text columns follow each other, or with `by_field` each has
    vectors of its own. Texts are cut to `max_characters`; `long_text` says what becomes of one with
    more than `max_tokens`, `precision` how exactly vectors are computed: see `Encoder`. Of
    embeddings the trees see all dimensions or, with `embedding_width`, so many principal
    components. `text_counts` puts the length of the texts in the table.
    """

    rare: int = Field(default=10, ge=1)
    text_counts: bool = False
    text: Literal["embeddings", "lsa", "both"] = "both"
    lsa_width: int = Field(default=100, ge=1)
    embedding_width: int | None = Field(default=50, ge=1)
    encoder: str = "bundled:minilm"
    revision: str | None = None
    max_tokens: int = Field(default=256, ge=8)
    long_text: Long = "cut"
    precision: Precision = "auto"
    by_field: bool = False
    template: str | None = None
    max_characters: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_by_field(self.by_field, self.template)
        return self


@dataclass(frozen=True)
class TextVectors:
    """How one text becomes numbers, learnt from train: `field` is its column, or `text`.

    `key` holds all that decides its LSA.
    """

    field: str
    lsa: Lsa | None
    projection: Projection | None
    key: Hashable


@dataclass(frozen=True)
class Seen:
    """The numbers of some rows, one column for each of `TreeInputs.names`.

    `embedding` tells of the embedding of these rows, None where no text was embedded.
    """

    matrix: pd.DataFrame
    embedding: EmbedReport | None

    @cached_property
    def plain(self) -> Floats:
        """The matrix as LightGBM compares it: levels as their codes, missing ones NaN.

        LightGBM makes the same of a frame, anew for each prediction.
        """
        levels = self.matrix.select_dtypes("category")
        numbers = self.matrix.columns.difference(levels.columns, sort=False)
        found = np.empty(self.matrix.shape)
        found[:, self.matrix.columns.get_indexer(numbers)] = self.matrix[numbers].to_numpy(float)
        for place, name in zip(
            self.matrix.columns.get_indexer(levels.columns), levels, strict=True
        ):
            codes = levels[name].cat.codes.to_numpy(float)
            found[:, place] = np.where(codes < 0, np.nan, codes)
        return found

    @property
    def nbytes(self) -> int:
        """What both forms of it take."""
        return int(self.matrix.memory_usage(index=False).sum()) + 8 * self.matrix.size


@dataclass(frozen=True)
class TreeInputs:
    """The table of `Native`, then for each text its embedding and its LSA.

    `names` are those of the columns, `fields` the input column behind each of them (`text` for the
    vectors of texts that were joined).
    """

    params: TreeInputsParams
    columns: Columns
    table: Native | None
    texts: tuple[TextVectors, ...]
    names: tuple[str, ...]
    fields: tuple[str, ...]

    @classmethod
    def fit(
        cls, X: pd.DataFrame, columns: Columns, *, params: TreeInputsParams, context: Context
    ) -> tuple[Self, Seen]:
        """Learn from train; also gives what the trees see of it.

        Raises `InputError` where nothing is left: texts without words, LSA alone and no table.
        """
        table, parts, names, fields = None, list[pd.DataFrame](), list[str](), list[str]()
        vectors: npt.NDArray[Any]
        if columns.tabular:
            table = Native.fit(X, columns, rare=params.rare, text_counts=params.text_counts)
            parts.append(table.transform(X))
            names += table.names
            fields += table.fields
        texts, reports = list[TextVectors](), list[EmbedReport]()
        for field, rows in _texts(X, columns, params).items():
            lsa = projection = None
            if params.text != "lsa":
                vectors, report = embedded(rows, encoder_of(params), context)
                reports.append(report)
                if params.embedding_width is not None:
                    projection, vectors = Projection.fit(vectors, params.embedding_width)
                parts.append(pd.DataFrame(vectors, index=X.index))
                names += [f"{field} {number}" for number in range(vectors.shape[1])]
                fields += [field] * vectors.shape[1]
            source = _source(X, field, columns, params=params, context=context)
            key = ("lsa", source, params.lsa_width, context.seed)
            if params.text != "embeddings" and (
                found := context.once(key, partial(_analysed, rows, params, context))
            ):
                lsa, vectors = found
                context.once((key, source), partial(lambda made: made, vectors))
                parts.append(pd.DataFrame(vectors, index=X.index))
                names += [f"{field} lsa {number}" for number in range(vectors.shape[1])]
                fields += [field] * vectors.shape[1]
            texts.append(TextVectors(field, lsa, projection, key))
        if not parts:
            raise InputError(
                "no word in the training texts", "text to learn from", "choose other inputs"
            )
        learnt = cls(params, columns, table, tuple(texts), tuple(names), tuple(fields))
        return learnt, _seen(parts, reports)

    def transform(self, X: pd.DataFrame, *, context: Context) -> Seen:
        """What the trees see of `X`."""
        parts, reports = list[pd.DataFrame](), list[EmbedReport]()
        vectors: npt.NDArray[Any]
        if self.table is not None:
            parts.append(self.table.transform(X))
        rows = _texts(X, self.columns, self.params)
        for text in self.texts:
            if self.params.text != "lsa":
                vectors, report = embedded(rows[text.field], encoder_of(self.params), context)
                reports.append(report)
                if text.projection is not None:
                    vectors = text.projection.transform(vectors)
                parts.append(pd.DataFrame(vectors, index=X.index))
            if text.lsa is not None:
                source = _source(X, text.field, self.columns, params=self.params, context=context)
                vectors = context.once(
                    (text.key, source), partial(text.lsa.transform, rows[text.field])
                )
                parts.append(pd.DataFrame(vectors, index=X.index))
        return _seen(parts, reports)


def encoder_of(params: TreeInputsParams) -> Encoder:
    """The sentence encoder that the parameters ask for."""
    return Encoder(
        params.encoder,
        params.revision,
        params.max_tokens,
        long=params.long_text,
        precision=params.precision,
    )


def _texts(X: pd.DataFrame, columns: Columns, params: TreeInputsParams) -> dict[str, list[str]]:
    if not columns.text:
        return {}
    return texts_by_field(
        X,
        columns,
        template=params.template,
        by_field=params.by_field,
        max_characters=params.max_characters,
    )


def _source(
    X: pd.DataFrame, field: str, columns: Columns, *, params: TreeInputsParams, context: Context
) -> Hashable:
    """All that decides the texts of a field, the rows among it."""
    seen = columns.select("text") if params.template is None else columns
    written = (params.template, params.by_field, params.max_characters)
    return (field, context.rows_key(X, seen.names), seen, *written)


def _analysed(
    texts: list[str], params: TreeInputsParams, context: Context
) -> tuple[Lsa, npt.NDArray[Any]] | None:
    """The LSA of `texts` and their vectors; None where they hold no words."""
    try:
        return Lsa.fit(texts, params.lsa_width, seed=context.seed)
    except InputError:
        return None


def _seen(parts: Sequence[pd.DataFrame], reports: Sequence[EmbedReport]) -> Seen:
    """All parts side by side, their columns numbered, as LightGBM refuses some names."""
    joined = pd.concat(parts, axis=1)
    matrix = joined.set_axis([f"f{number}" for number in range(joined.shape[1])], axis=1)
    return Seen(matrix, summed(reports) if reports else None)
