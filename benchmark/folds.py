"""Inner folds: validation inside train and valid, of the same kind as the split outside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from benchmark.dataset import Dataset
from benchmark.splits import Ids, Split, blocks, ids_of
from benchmark.stratify import dealt
from features.errors import InputError
from models.base import Ints


def inner_folds(data: Dataset, split: Split, *, folds: int, seed: int) -> list[tuple[Ids, Ids]]:
    """(train, valid) ids of each inner fold, all of them in the train or valid part of `split`.

    The folds are of the split's own kind: stratified k-fold (for an official split too), k-fold
    over the same groups, or a rolling origin, where each fold validates on the next block of dates
    and the first trains on about half of the rows. One fold is (train, valid) as they are. The only
    row of a class or label is never validated on. Folds with one class alone in train or in valid
    are dropped, so there may be fewer than asked for; raises `InputError` where none is left.
    """
    if folds == 1:
        return [(split.train, split.valid)]
    pool = np.concatenate([split.train, split.valid])
    found = [
        (train, valid)
        for train, valid in _INNER[split.kind](data, split, pool, folds=folds, seed=seed)
        if _varies(data.take(train)[1]) and _varies(data.take(valid)[1])
    ]
    if not found:
        raise InputError(
            f"split {split.name}: none of {folds} inner folds of {len(pool)} rows has two classes "
            "in train and in valid",
            "rows of two classes in at least one fold",
            "use fewer folds or more rows",
        )
    return found


def _stratified_folds(
    data: Dataset, split: Split, pool: Ids, *, folds: int, seed: int
) -> Iterator[tuple[Ids, Ids]]:
    y = data.take(pool)[1]
    try:
        number = dealt(y, folds, seed)
    except ValueError as error:
        raise InputError(
            f"split {split.name}: {folds} inner folds of {len(pool)} rows: {error}",
            "a class with as many rows as folds",
            "use fewer folds or more rows",
        ) from None
    number[_lonely(y)] = -1
    return ((pool[number != fold], pool[number == fold]) for fold in range(folds))


def _lonely(y: Ints) -> npt.NDArray[np.bool_]:
    """Rows that hold the only one of a class or label, (n,)."""
    held = y if y.ndim == 2 else (y[:, None] == np.unique(y)).astype(np.int64)
    return np.asarray((held[:, held.sum(axis=0) == 1] == 1).any(axis=1))


def _group_folds(
    data: Dataset, split: Split, pool: Ids, *, folds: int, seed: int
) -> Iterator[tuple[Ids, Ids]]:
    """Folds of about equal size, whole groups each; `seed` is unused."""
    from sklearn.model_selection import GroupKFold

    assert split.groups is not None
    names = split.groups.reindex(pool).to_numpy()
    splitter = GroupKFold(n_splits=min(folds, len(np.unique(names))))
    return ((pool[train], pool[valid]) for train, valid in splitter.split(pool, groups=names))


def _temporal_folds(
    data: Dataset, split: Split, pool: Ids, *, folds: int, seed: int
) -> Iterator[tuple[Ids, Ids]]:
    assert data.dates is not None
    dates = data.dates.reindex(pool).sort_values(kind="stable")
    found = blocks(dates, [0.5 + 0.5 * fold / folds for fold in range(folds)])
    return ((ids_of(before), ids_of(block)) for before, block in found)


def _varies(y: Ints) -> bool:
    """Whether two classes are there, or a label that some rows have and others have not."""
    return bool(len(y)) and bool((y.min(axis=0) < y.max(axis=0)).any())


_INNER = {"stratified": _stratified_folds, "temporal": _temporal_folds, "group": _group_folds}
