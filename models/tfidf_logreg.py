"""TF-IDF and logistic regression: the plain baseline for text, with the table beside it."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from features.columns import Columns, Inputs
from features.errors import InputError
from features.occurrences import Written, written
from features.tabular import OneHot
from features.text import Part, check_by_field, check_template, text_parts, texts_by_field
from features.tfidf import Tfidf
from models import base, linear
from models.attribution import Attribution, of_table
from models.base import Context, Floats, Ints, Target
from models.targets import smoothed_rate, spread

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

What = Literal["vocabulary", "levels"]
"""What is learnt of train: of its texts, and of its table."""


class TfidfLogRegParams(base.Params):
    """`C` is the inverse strength of the L2 penalty; see `Tfidf.fit` and `OneHot.fit` for the rest.

    `char_ngrams: [3, 5]` adds pieces of words of 3 to 5 characters to the words. `template` writes
    the text of a row (`"TITLE: {brief_title}"`); without one the text columns follow each other,
    or with `by_field` each has a vocabulary of its own. Texts are cut to `max_characters`.
    `text_counts` puts the length of the texts in the table, `table_scale` is the weight of the
    table beside the text. `class_weight: balanced` gives each class the same total weight, which
    lifts the probabilities of rare classes above their rates.
    """

    ngram_max: int = Field(default=2, ge=1, le=5)
    min_df: int = Field(default=2, ge=1)
    max_features: int | None = Field(default=200_000, ge=1)
    char_ngrams: tuple[int, int] | None = None
    char_min_df: int = Field(default=5, ge=1)
    char_max_features: int | None = Field(default=200_000, ge=1)
    sublinear_tf: bool = True
    by_field: bool = False
    C: float = Field(default=1.0, gt=0)
    class_weight: Literal["balanced"] | None = None
    template: str | None = None
    max_characters: int | None = Field(default=None, ge=1)
    text_counts: bool = True
    table_scale: float = Field(default=1.0, gt=0)
    rare: int = Field(default=10, ge=1)
    max_iter: int = Field(default=1000, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.char_ngrams is not None and not 1 <= self.char_ngrams[0] <= self.char_ngrams[1]:
            raise InputError(
                f"char_ngrams: {list(self.char_ngrams)}", "the least length, then the most: [3, 5]"
            )
        check_by_field(self.by_field, self.template)
        return self


@dataclass(frozen=True)
class Block:
    """One vocabulary, of words or of pieces of words, and the text it was made from.

    `field` is the text column, or `text` for all columns in one.
    """

    field: str
    tfidf: Tfidf


class TfidfLogReg:
    """Logistic regression on TF-IDF, on the one-hot table, or on both side by side.

    The matrix holds the `blocks` of text, then the table. Each of b blocks is divided by sqrt(b),
    so that a row's text has length 1, and the table is scaled so that its rows have in train a mean
    squared length of `table_scale`²; else the penalty, which is the same for all weights, would
    favour the table. Several labels are so many regressions (one against the rest), a label that
    all or no rows of train have is constant at its smoothed rate, and a class that train lacks gets
    0. What is learnt of texts and table is kept in `context.memo`, by the rows and the columns that
    it is made from: all models and tuning trials that see the same texts share one vocabulary.
    """

    Params: ClassVar[type[base.Params]] = TfidfLogRegParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("text", "both", "tabular")
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn", "scipy", "numpy", "pandas")
    is_floor: ClassVar[bool] = False
    explains_slowly: ClassVar[bool] = False

    def __init__(
        self, params: TfidfLogRegParams, *, columns: Columns, target: Target, context: Context
    ) -> None:
        check_template(params.template, columns)
        self.params, self.columns = params, columns
        self.target, self.context = target, context
        self.notes: dict[str, Any] = {}
        self.names: tuple[str, ...] = ()
        self.fields: tuple[str, ...] = ()
        """Of each column of the matrix: its name, and the column behind it (`text` for terms of
        texts that were joined)."""
        self.regressions: list[Any] = []
        """One fitted `LogisticRegression`, or one a label; a constant has a float instead."""
        self.blocks: tuple[Block, ...] = ()
        self._table: OneHot | None = None
        self._scale = 1.0
        self._keys: dict[str, Hashable] = {}
        self._means: Floats = np.zeros(0)

    @classmethod
    def preflight(cls, params: TfidfLogRegParams) -> None:
        """Nothing is needed."""

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, BaseDistribution]:
        """The penalty and the class weights; which terms, and how much the table weighs."""
        from optuna.distributions import CategoricalDistribution as Choice
        from optuna.distributions import FloatDistribution as Float

        space: dict[str, BaseDistribution] = {
            "C": Float(0.01, 100, log=True),
            "class_weight": Choice((None, "balanced")),
        }
        if columns.text:
            space |= {
                "ngram_max": Choice((1, 2)),
                "min_df": Choice((2, 5)),
            }
        if columns.text and columns.tabular:
            space["table_scale"] = Float(0.2, 3, log=True)
        return space

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints] | None) -> Self:
        """Learn from train; `valid` is not used. Raises `InputError` where no input is left."""
        if not self.columns.names:
            raise InputError("no input columns", "text or table columns", "choose other inputs")
        with self.context.timer("features"):
            matrix = self._fit_features(X)
            self._means = np.asarray(matrix.mean(axis=0)).ravel()
        targets = list(y.T) if self.target.kind == "multilabel" else [y]
        self.regressions = [self._fit_one(matrix, one) for one in targets]
        fitted = [one for one in self.regressions if not isinstance(one, float)]
        iterations = [int(one.n_iter_.max()) for one in fitted]
        self.notes |= {
            "vocabulary": sum(len(block.tfidf.names) for block in self.blocks),
            "table_columns": 0 if self._table is None else len(self._table.names),
            "iterations": max(iterations, default=0),
            "converged": all(n < self.params.max_iter for n in iterations),
            "constant_labels": len(targets) - len(fitted),
        }
        return self

    def settled(self) -> dict[str, Any]:
        """Nothing: `valid` has no part in the fit."""
        return {}

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k)."""
        with self.context.timer("features"):
            matrix = self.matrix(X)
        found = [self._predict_one(one, matrix) for one in self.regressions]
        if self.target.kind == "multilabel":
            return np.column_stack([probabilities[:, 1] for probabilities in found])
        return found[0]

    def explain(self, X: pd.DataFrame) -> Attribution | None:
        """Exact shares of words and table columns; None where no regression was fitted."""
        found = {n: one for n, one in enumerate(self.regressions) if not isinstance(one, float)}
        text, table = self.columns.text, self._table
        return linear.explain(
            found,
            self.matrix(X),
            self._means,
            target=self.target,
            blocks=[
                linear.TextBlock(
                    block.tfidf.vectorizer,
                    self._written(X, block),
                    home=block.field if block.field in text else next(iter(text), "text"),
                )
                for block in self.blocks
            ],
            text_columns=text,
            table=[] if table is None else of_table(table.fields, text),
        )

    def _written(self, X: pd.DataFrame, block: Block) -> list[Written]:
        """The texts that a block counts terms in, and which column each part is from."""
        if self.params.by_field:
            parts = [[Part(block.field, cell)] for cell in X[block.field]]
        else:
            template = self.params.template
            columns = self.columns.select("text") if template is None else self.columns
            parts = text_parts(X, columns, template)
        return written(parts, X, self.columns, self.params.max_characters)

    def matrix(self, X: pd.DataFrame) -> Any:
        """What the regression sees of `X`: CSR, (n, len(names))."""
        terms, cells = list[Any](), None
        if self.blocks:
            key = (self._keys["vocabulary"], self._rows("vocabulary", X))
            terms = self.context.once(key, lambda: self._transform_terms(X))
        if (table := self._table) is not None:
            key = (self._keys["levels"], self._rows("levels", X))
            cells = self.context.once(key, lambda: table.transform(X))
        return self._beside(terms, cells)

    def _beside(self, terms: list[Any], cells: Any | None) -> Any:
        from scipy import sparse

        parts = [part * len(terms) ** -0.5 for part in terms]
        if cells is not None:
            parts.append(cells * self._scale)
        return sparse.csr_matrix(sparse.hstack(parts))

    def _fit_features(self, X: pd.DataFrame) -> Any:
        """The matrix of train."""
        terms, cells = list[Any](), None
        if self.columns.text:
            rows, key = self._key("vocabulary", X)
            self.blocks, terms = self.context.once(key, lambda: self._fit_terms(X))
            self.context.once((key, rows), lambda: terms)
            for block in self.blocks:
                self.names += block.tfidf.names
                self.fields += (block.field,) * len(block.tfidf.names)
        if self.columns.tabular:
            rows, key = self._key("levels", X)
            self._table, cells = self.context.once(key, lambda: self._fit_table(X))
            self.context.once((key, rows), lambda: cells)
            self.names += self._table.names
            self.fields += self._table.fields
            if terms:
                length = cells.multiply(cells).sum() / len(X)
                self._scale = 1.0 if length == 0 else self.params.table_scale * float(length**-0.5)
        return self._beside(terms, cells)

    def _made_from(self, what: What) -> Columns:
        """The columns that decide a vocabulary or the one-hot table."""
        if what == "levels":
            return self.columns if self.params.text_counts else self.columns.select("tabular")
        return self.columns.select("text") if self.params.template is None else self.columns

    def _rows(self, what: What, X: pd.DataFrame) -> str:
        return self.context.rows_key(X, self._made_from(what).names)

    def _key(self, what: What, X: pd.DataFrame) -> tuple[str, Hashable]:
        """The key of train's rows, and of what is learnt of them: that with the parameters."""
        names = {
            "vocabulary": (
                "ngram_max", "min_df", "max_features", "char_ngrams", "char_min_df",
                "char_max_features", "sublinear_tf", "by_field", "template", "max_characters",
            ),
            "levels": ("rare", "text_counts"),
        }[what]  # fmt: skip
        values = tuple(getattr(self.params, name) for name in names)
        rows = self._rows(what, X)
        key = self._keys[what] = ("tfidf-logreg", what, rows, self._made_from(what), values)
        return rows, key

    def _fit_terms(self, X: pd.DataFrame) -> tuple[tuple[Block, ...], list[Any]]:
        """The blocks and their CSR matrices; none for a column without words."""
        p = self.params
        kinds: list[dict[str, Any]]
        kinds = [{"ngram_max": p.ngram_max, "min_df": p.min_df, "max_features": p.max_features}]
        if p.char_ngrams is not None:
            pieces = {"min_df": p.char_min_df, "max_features": p.char_max_features}
            kinds.append({"characters": p.char_ngrams, **pieces})
        blocks, found, problem = list[Block](), list[Any](), None
        for field, texts in self._texts(X).items():
            for kind in kinds:
                try:
                    tfidf, matrix = Tfidf.fit(texts, sublinear=p.sublinear_tf, **kind)
                except InputError as error:
                    problem = error
                else:
                    blocks.append(Block(field, tfidf))
                    found.append(matrix)
        if problem is not None and not blocks:
            raise problem
        return tuple(blocks), found

    def _transform_terms(self, X: pd.DataFrame) -> list[Any]:
        """The CSR matrix of each block for `X`."""
        texts = self._texts(X)
        return [block.tfidf.transform(texts[block.field]) for block in self.blocks]

    def _fit_table(self, X: pd.DataFrame) -> tuple[OneHot, Any]:
        """The encoder and its CSR matrix, not scaled yet."""
        params = self.params
        table = OneHot.fit(X, self.columns, rare=params.rare, text_counts=params.text_counts)
        return table, table.transform(X)

    def _texts(self, X: pd.DataFrame) -> dict[str, list[str]]:
        return texts_by_field(
            X,
            self.columns,
            template=self.params.template,
            by_field=self.params.by_field,
            max_characters=self.params.max_characters,
        )

    def _fit_one(self, matrix: Any, y: Ints) -> Any:
        """A regression, or the constant of a target that is the same in all rows."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        if len(np.unique(y)) == 1:
            return smoothed_rate(y) if self.target.kind == "multilabel" else float(y[0])
        regression = LogisticRegression(
            C=self.params.C, class_weight=self.params.class_weight, max_iter=self.params.max_iter
        )
        # Sums over several threads round differently, and sparse data gains nothing by them.
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # told in the notes
            return regression.fit(matrix, y)

    def _predict_one(self, fitted: Any, matrix: Any) -> Floats:
        k = 2 if self.target.kind == "multilabel" else len(self.target.classes)
        if isinstance(fitted, float):
            if self.target.kind == "multilabel":
                return np.tile([1 - fitted, fitted], (matrix.shape[0], 1))
            return spread(np.ones((matrix.shape[0], 1)), np.array([int(fitted)]), k)
        return spread(fitted.predict_proba(matrix), fitted.classes_, k)
