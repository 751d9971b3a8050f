"""Exact attributions of boosted trees: LightGBM's own TreeSHAP.

Lundberg et al. 2020, "From local explanations to global understanding with explainable AI for
trees", path-dependent: what an absent feature would have been is what the training rows that came
to a node were. `shap.TreeExplainer` gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from models.attribution import Attribution, Feature, normal_form, pooled
from models.base import Floats, Target


def explain(
    boosters: Sequence[Any],
    matrix: pd.DataFrame,
    *,
    features: Sequence[Feature],
    target: Target,
    fitted: Sequence[int],
    threads: int,
) -> Attribution:
    """Shares of the raw score of one booster for all classes, or of one booster a label.

    `features` are those of the columns of `matrix`, `fitted` numbers the classes or labels that the
    boosters know.
    """
    found = [_contributions(booster, matrix, threads) for booster in boosters]
    shares = np.concatenate(found, axis=2)
    raw = [booster.predict(matrix, raw_score=True, num_threads=threads) for booster in boosters]
    return normal_form(
        "TreeSHAP",
        pooled(shares[:, :-1], features),
        base=shares[0, -1],
        output=np.concatenate([scores.reshape(len(matrix), -1) for scores in raw], axis=1),
        target=target,
        fitted=fitted,
    )


def _contributions(booster: Any, matrix: pd.DataFrame, threads: int) -> Floats:
    """Shares (n, m + 1, k) of the raw scores; the last of the m + 1 is what an average row has."""
    found = booster.predict(matrix, pred_contrib=True, num_threads=threads)
    by_class = np.asarray(found, np.float64).reshape(len(matrix), -1, matrix.shape[1] + 1)
    return by_class.transpose(0, 2, 1)
