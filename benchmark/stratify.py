"""Rows drawn so that both parts have the class rates, or the label rates, of the whole."""

from __future__ import annotations

import warnings

import numpy as np

from models.base import Ints


def drawn(y: Ints, share: float, seed: int) -> tuple[Ints, Ints]:
    """Row numbers of `y` in two parts, of which the later has this share of the rows.

    Classes (n,): scikit-learn's `train_test_split`, shares exact to a row. Labels (n, k): iterative
    stratification (Sechidis, Tsoumakas & Vlahavas 2011), which deals out the rows of the rarest
    label first; shares are near the one asked for, and a label of one row is in one part only.
    Raises `ValueError` where classes are too small.
    """
    if y.ndim == 1:
        from sklearn.model_selection import train_test_split

        rest, taken = train_test_split(
            np.arange(len(y)), test_size=share, random_state=seed, stratify=y
        )
        return rest, taken
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    rest, taken = next(splitter.split(y, y))
    return np.sort(rest), np.sort(taken)


def dealt(y: Ints, folds: int, seed: int) -> Ints:
    """A fold number (0 to folds - 1) for each row of `y`, each fold with the rates of the whole.

    Classes (n,): scikit-learn's shuffled `StratifiedKFold`, so that a notebook with this seed gets
    the same folds; a class of fewer rows than folds is missing in some. Labels (n, k): iterative
    stratification as in `drawn`. Raises `ValueError` where every class has fewer rows than folds.
    """
    number = np.empty(len(y), np.int64)
    if y.ndim == 1:
        from sklearn.model_selection import StratifiedKFold as KFold
    else:
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold as KFold
    with warnings.catch_warnings():  # of a small class; callers decide what is too small
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        splitter = KFold(n_splits=folds, shuffle=True, random_state=seed)
        for fold, (_, taken) in enumerate(splitter.split(y, y)):
            number[taken] = fold
    return number
