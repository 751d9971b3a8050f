"""What a training target lacks: classes no row has, labels that are all or none."""

from __future__ import annotations

import numpy as np

from models.base import Floats, Ints


def smoothed_rate(y: Ints) -> float:
    """Share of ones in `y` (n,), with one row of each kind added (Laplace), so never 0 or 1."""
    return (int(y.sum()) + 1) / (len(y) + 2)


def spread(probabilities: Floats, seen: Ints, k: int) -> Floats:
    """(n, len(seen)) to (n, k): column i goes to place seen[i], classes not seen get 0."""
    full = np.zeros((len(probabilities), k))
    full[:, seen] = probabilities
    return full


def balanced(y: Ints, k: int) -> Floats:
    """Weight of each class number, (k,), that makes the classes in `y` weigh the same.

    n / (classes seen * count), as scikit-learn's: mean 1 a row, and 0 for a class that `y` lacks.
    """
    counts = np.bincount(y, minlength=k)
    seen = counts > 0
    weights = np.zeros(k)
    weights[seen] = len(y) / (seen.sum() * counts[seen])
    return weights
