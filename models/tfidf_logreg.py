"""TF-IDF and logistic regression: the plain baseline for text, with the table beside it."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field

from features.columns import Columns, Inputs
from features.errors import InputError
from features.tabular import OneHot
from features.text import check_template, cut, join_text
from features.tfidf import Tfidf
from models import base
from models.base import Context, Floats, Ints, Target
from models.targets import smoothed_rate, spread


class TfidfLogRegParams(base.Params):
    """`C` is the inverse strength of the L2 penalty; see `Tfidf.fit` and `OneHot.fit` for the rest.

    `template` writes the text of a row (`"TITLE: {brief_title}"`); without one the text columns
    follow each other. It is cut to `max_characters`. `class_weight: balanced` gives each class the
    same total weight, which lifts the probabilities of rare classes above their rates.
    """

    ngram_max: int = Field(default=2, ge=1, le=5)
    min_df: int = Field(default=2, ge=1)
    max_features: int | None = Field(default=200_000, ge=1)
    sublinear_tf: bool = True
    C: float = Field(default=1.0, gt=0)
    class_weight: Literal["balanced"] | None = None
    template: str | None = None
    max_characters: int | None = Field(default=None, ge=1)
    rare: int = Field(default=10, ge=1)
    max_iter: int = Field(default=1000, ge=1)


class TfidfLogReg:
    """Logistic regression on TF-IDF, on the one-hot table, or on both side by side.

    With both, the table is scaled so that its rows have in train the mean squared length of 1 that
    TF-IDF rows have; else the penalty, which is the same for all weights, would favour the table.
    Several labels are so many regressions (one against the rest), a label that all or no rows of
    train have is constant at its smoothed rate, and a class that train lacks gets 0.
    """

    Params: ClassVar[type[base.Params]] = TfidfLogRegParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("text", "both", "tabular")
    libraries: ClassVar[tuple[str, ...]] = ("scikit-learn", "scipy", "numpy", "pandas")
    is_floor: ClassVar[bool] = False

    def __init__(
        self, params: TfidfLogRegParams, *, columns: Columns, target: Target, context: Context
    ) -> None:
        check_template(params.template, columns)
        self.params, self.columns = params, columns
        self.target, self.context = target, context
        self.notes: dict[str, Any] = {}
        self.names: tuple[str, ...] = ()
        self.fields: tuple[str, ...] = ()
        """Of each column of the matrix: its name, and the column behind it (`text` for terms)."""
        self.regressions: list[Any] = []
        """One fitted `LogisticRegression`, or one a label; a constant has a float instead."""
        self._tfidf: Tfidf | None = None
        self._table: OneHot | None = None
        self._scale = 1.0

    @classmethod
    def preflight(cls, params: TfidfLogRegParams) -> None:
        """Nothing is needed."""

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints]) -> Self:
        """Learn from train; `valid` is not used. Raises `InputError` where no input is left."""
        with self.context.timer("features"):
            matrix = self._fit_features(X)
        targets = list(y.T) if self.target.kind == "multilabel" else [y]
        self.regressions = [self._fit_one(matrix, one) for one in targets]
        fitted = [one for one in self.regressions if not isinstance(one, float)]
        iterations = [int(one.n_iter_.max()) for one in fitted]
        self.notes |= {
            "vocabulary": 0 if self._tfidf is None else len(self._tfidf.names),
            "table_columns": 0 if self._table is None else len(self._table.names),
            "iterations": max(iterations, default=0),
            "converged": all(n < self.params.max_iter for n in iterations),
            "constant_labels": len(targets) - len(fitted),
        }
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k)."""
        with self.context.timer("features"):
            matrix = self.matrix(X)
        found = [self._predict_one(one, matrix) for one in self.regressions]
        if self.target.kind == "multilabel":
            return np.column_stack([probabilities[:, 1] for probabilities in found])
        return found[0]

    def matrix(self, X: pd.DataFrame) -> Any:
        """What the regression sees of `X`: CSR, (n, len(names))."""
        from scipy import sparse

        blocks = []
        if self._tfidf is not None:
            blocks.append(self._tfidf.transform(self._texts(X)))
        if self._table is not None:
            blocks.append(self._table.transform(X) * self._scale)
        return sparse.csr_matrix(sparse.hstack(blocks))

    def _fit_features(self, X: pd.DataFrame) -> Any:
        if not self.columns.names:
            raise InputError("no input columns", "text or table columns", "choose other inputs")
        terms = None
        if self.columns.text:
            self._tfidf, terms = Tfidf.fit(
                self._texts(X),
                ngram_max=self.params.ngram_max,
                min_df=self.params.min_df,
                max_features=self.params.max_features,
                sublinear=self.params.sublinear_tf,
            )
            self.names += self._tfidf.names
            self.fields += ("text",) * len(self._tfidf.names)
        if self.columns.tabular:
            self._table = OneHot.fit(X, self.columns, rare=self.params.rare)
            self.names += self._table.names
            self.fields += self._table.fields
            if terms is None:
                return self._table.transform(X)
        return self._beside(terms, X)

    def _beside(self, terms: Any, X: pd.DataFrame) -> Any:
        """`terms` and the scaled table of `X`, if there is one."""
        from scipy import sparse

        if self._table is None:
            return terms
        table = self._table.transform(X)
        length = table.multiply(table).sum() / len(X)
        self._scale = 1.0 if length == 0 else float(length**-0.5)
        return sparse.csr_matrix(sparse.hstack([terms, table * self._scale]))

    def _texts(self, X: pd.DataFrame) -> list[str]:
        template = self.params.template
        columns = self.columns.select("text") if template is None else self.columns
        return cut(join_text(X, columns, template), self.params.max_characters)

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
