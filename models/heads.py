"""Any scikit-learn classifier for any target: one estimator, or one a label."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from features.errors import one_line
from models.base import Floats, Ints, Target
from models.targets import smoothed_rate, spread

_MOST_WARNINGS = 5


@dataclass(frozen=True)
class Heads:
    """Fitted estimators: one, or one against the rest for each label.

    A label that all or no rows of train have is constant at its smoothed rate, a class that train
    lacks gets 0. `seen` holds the class numbers of train, which estimators know as 0, 1, ...
    """

    target: Target
    fitted: tuple[Any, ...]
    seen: tuple[Ints, ...]

    @classmethod
    def fit(cls, make: Callable[[], Any], matrix: Any, y: Ints, *, target: Target) -> Self:
        """Fit what `make` gives, once for each label, on the rows of `matrix`."""
        targets = list(y.T) if target.kind == "multilabel" else [y]
        seen = tuple(np.unique(one) for one in targets)
        fitted = tuple(
            smoothed_rate(one)
            if len(classes) == 1
            else make().fit(matrix, np.searchsorted(classes, one))
            for one, classes in zip(targets, seen, strict=True)
        )
        return cls(target, fitted, seen)

    @property
    def constants(self) -> int:
        """Number of targets that were the same in all rows of train."""
        return sum(isinstance(one, float) for one in self.fitted)

    def predict_proba(self, matrix: Any) -> Floats:
        """Probabilities, (n, k)."""
        if self.target.kind == "multilabel":
            found = [
                np.full(matrix.shape[0], one)
                if isinstance(one, float)
                else _probabilities(one, matrix)[:, 1]
                for one in self.fitted
            ]
            return np.column_stack(found)
        (one,), (seen,) = self.fitted, self.seen
        known = np.ones((matrix.shape[0], 1)) if len(seen) == 1 else _probabilities(one, matrix)
        return spread(known, seen, len(self.target.classes))


def _probabilities(estimator: Any, matrix: Any) -> Floats:
    """(n, classes seen), float64: rows of a float32 estimator sum to 1 as well."""
    found = np.asarray(estimator.predict_proba(matrix), np.float64)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


@contextmanager
def told(notes: dict[str, Any]) -> Iterator[None]:
    """Put the warnings raised inside into the notes, each once, instead of on the screen.

    Not told is that `n_jobs` has no effect: we set it, not the user.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", message=".*n_jobs.*", category=FutureWarning)
        yield
    texts = [f"{one.category.__name__}: {one_line(one.message, 200)}" for one in caught]
    if texts:
        known = notes.get("warnings", [])
        notes["warnings"] = list(dict.fromkeys([*known, *texts]))[:_MOST_WARNINGS]
