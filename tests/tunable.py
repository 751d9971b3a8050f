"""A model for tests whose skill is known: best at `x` = 0.7, and worse the farther from it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from models.base import Params as Base


class Params(Base):
    """`x` sets the skill, `still` does nothing; above `limit` fitting fails."""

    x: float = Field(default=0.1, ge=0, le=1)
    still: int = 3
    limit: float = 2.0


class Tunable:
    """Mixes the column `signal`, which is the truth, with the column `noise`."""

    Params = Params
    inputs = ("tabular",)
    libraries = ()
    is_floor = False
    explains_slowly = False
    fitted: ClassVar[list[tuple[float, int]]] = []
    """Of every fit: x and the number of rows."""
    cut_off: ClassVar[list[int]] = []
    """Numbers of the fits at which the process is interrupted."""

    def __init__(self, params: Params, *, columns: Any, target: Any, context: Any) -> None:
        self.params, self.notes = params, {}

    @classmethod
    def preflight(cls, params: Params) -> None:
        """Nothing to check."""

    @classmethod
    def space(cls, columns: Any, target: Any) -> dict[str, Any]:
        """Both parameters that matter to the tests."""
        from optuna.distributions import FloatDistribution, IntDistribution

        return {"x": FloatDistribution(0, 1), "still": IntDistribution(1, 5)}

    def fit(self, X: Any, y: Any, valid: Any) -> Tunable:
        """Remember the call; fail or be interrupted where the test says so."""
        if len(self.fitted) in self.cut_off:
            self.cut_off.remove(len(self.fitted))
            raise KeyboardInterrupt
        self.fitted.append((self.params.x, len(X)))
        if self.params.x > self.params.limit:
            raise ArithmeticError("x is over the limit")
        return self

    def settled(self) -> dict[str, Any]:
        """Nothing was stopped early."""
        return {}

    def predict_proba(self, X: Any) -> Any:
        """A mixture of truth and noise, better the nearer x is to 0.7."""
        skill = 0.6 - 0.6 * abs(self.params.x - 0.7)
        p = skill * X["signal"].to_numpy() + (1 - skill) * X["noise"].to_numpy()
        return np.column_stack([1 - p, p])

    def explain(self, X: Any) -> None:
        """Nothing."""
