"""Floors: models that a useful model has to beat."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from features.columns import Columns, Inputs
from features.errors import InputError
from models import base
from models.base import Context, Floats, Ints, Target


class Prior:
    """Each row gets the class rates of train; for several labels, the rate of each label.

    A class or label that train doesn't hold gets 0.
    """

    Params: ClassVar[type[base.Params]] = base.Params
    inputs: ClassVar[tuple[Inputs, ...]] = ("none",)
    libraries: ClassVar[tuple[str, ...]] = ()
    is_floor: ClassVar[bool] = True
    explains_slowly: ClassVar[bool] = False

    def __init__(
        self, params: base.Params, *, columns: Columns, target: Target, context: Context
    ) -> None:
        self.target = target
        self.notes: dict[str, Any] = {}
        self._rates: Floats | None = None

    @classmethod
    def preflight(cls, params: base.Params) -> None:
        """Nothing is needed."""

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, Any]:
        """Nothing to tune."""
        return {}

    def settled(self) -> dict[str, Any]:
        """Valid rows change nothing."""
        return {}

    def explain(self, X: pd.DataFrame) -> None:
        """Nothing to show."""

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints] | None) -> Self:
        """Count; `valid` is not used."""
        if self.target.kind == "multilabel":
            self._rates = y.mean(axis=0)
        else:
            self._rates = np.bincount(y, minlength=len(self.target.classes)) / len(y)
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """The same k numbers for each of the n rows."""
        if self._rates is None:
            raise RuntimeError("predict_proba before fit")
        return np.tile(self._rates, (len(X), 1))


class AlwaysPositive:
    """Each row is surely positive; of several labels, each is sure. Multi-class has no positive.

    What F1 and average precision of the positive class are worth is told by what this reaches: F1
    of 2p / (1 + p) and average precision of p at a prevalence p.
    """

    Params: ClassVar[type[base.Params]] = base.Params
    inputs: ClassVar[tuple[Inputs, ...]] = ("none",)
    libraries: ClassVar[tuple[str, ...]] = ()
    is_floor: ClassVar[bool] = True
    explains_slowly: ClassVar[bool] = False

    def __init__(
        self, params: base.Params, *, columns: Columns, target: Target, context: Context
    ) -> None:
        if target.kind == "multiclass":
            raise InputError(
                f"always-positive with the classes {', '.join(target.classes)}",
                "two classes, the second of them positive, or labels",
                "use prior",
            )
        self.target = target
        self.notes: dict[str, Any] = {}

    @classmethod
    def preflight(cls, params: base.Params) -> None:
        """Nothing is needed."""

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, Any]:
        """Nothing to tune."""
        return {}

    def settled(self) -> dict[str, Any]:
        """Valid rows change nothing."""
        return {}

    def explain(self, X: pd.DataFrame) -> None:
        """Nothing to show."""

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints] | None) -> Self:
        """Nothing is learned."""
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """(n, 2) rows of 0 and 1; for k labels (n, k) ones."""
        row = np.ones(len(self.target.classes))
        if self.target.kind == "binary":
            row[0] = 0
        return np.tile(row, (len(X), 1))
