"""A model for tests: like the prior, but it fails while the file named by `trap` exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.base import Params as Base


class Params(Base):
    """`trap` is a file; fitting fails while it exists."""

    trap: str


class Faulty:
    """Fails on demand."""

    Params = Params
    inputs = ("none",)
    libraries = ()
    is_floor = False
    explains_slowly = False

    def __init__(self, params: Params, *, columns: Any, target: Any, context: Any) -> None:
        self.params, self.k, self.notes = params, len(target.classes), {}

    @classmethod
    def preflight(cls, params: Params) -> None:
        """Nothing to check."""

    @classmethod
    def space(cls, columns: Any, target: Any) -> dict[str, Any]:
        """Nothing to tune."""
        return {}

    def settled(self) -> dict[str, Any]:
        """Valid rows change nothing."""
        return {}

    def explain(self, X: Any) -> None:
        """Nothing to show."""

    def fit(self, X: Any, y: Any, valid: Any) -> Faulty:
        """Fail if the trap is set."""
        if Path(self.params.trap).exists():
            raise ArithmeticError("the trap is set")
        return self

    def predict_proba(self, X: Any) -> Any:
        """Equal probabilities."""
        return np.full((len(X), self.k), 1 / self.k)
