"""Splits: the same three sets of ids for every model, proven by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from benchmark.dataset import Dataset
from features.errors import InputError, unknown_name

Ids = npt.NDArray[np.object_]
Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")


class SplitOptions(BaseModel):
    """Shares of a split: `test` of all rows, then `valid` of the rest (64/16/20 by default)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    test: float = Field(default=0.2, gt=0, lt=1)
    valid: float = Field(default=0.2, gt=0, lt=1)


@dataclass(frozen=True)
class Split:
    """Ids of the three parts. Raises `InputError` when an id stands in two parts or a part is empty.

    `seed` is None where the rule is deterministic; `excluded` counts labelled rows in no part
    (no date, for a temporal split).
    """

    name: str
    train: Ids
    valid: Ids
    test: Ids
    seed: int | None = None
    excluded: int = 0

    def __post_init__(self) -> None:
        for part in PARTS:
            if not len(getattr(self, part)):
                raise InputError(
                    f"split {self.name}: the {part} part is empty",
                    "rows in every part",
                    "use more rows or another split",
                )
        every = pd.Series(np.concatenate([self.train, self.valid, self.test]))
        twice = every[every.duplicated()]
        if len(twice):
            raise InputError(
                f"split {self.name}: id {twice.iloc[0]!r} stands in two parts or twice in one",
                "every id in one part",
                "remove the duplicates",
            )

    @cached_property
    def hash(self) -> str:
        """sha256 of the sorted ids of each part: equal hashes mean equal rows in equal roles."""
        digest = hashlib.sha256()
        for part in PARTS:
            ids = sorted(getattr(self, part))
            digest.update(f"{part}\0{len(ids)}\0".encode())
            digest.update("\0".join(ids).encode())
        return digest.hexdigest()

    def frame(self) -> pd.DataFrame:
        """Columns id and part, one row an id."""
        return pd.DataFrame(
            {
                "id": np.concatenate([getattr(self, part) for part in PARTS]),
                "part": np.repeat(PARTS, [len(getattr(self, part)) for part in PARTS]),
            }
        )


def stratified(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """Random parts with the class shares of the whole, as the notebooks of the field draw them.

    Two calls of scikit-learn's `train_test_split`, test first; so seed 42 with the default shares
    gives the rows that such a notebook would get. Raises `InputError` when a class is too small.
    """
    from sklearn.model_selection import train_test_split

    smallest = np.bincount(data.y).min()
    if smallest < len(PARTS):
        name = data.target.classes[int(np.bincount(data.y).argmin())]
        raise InputError(
            f"split stratified: class {name!r} has {smallest} rows",
            "at least 3, one for each of train, valid and test",
            "widen the query, or use a task with fewer classes",
        )
    rows = np.arange(len(data.y))
    try:
        rest, test = train_test_split(
            rows, test_size=options.test, random_state=seed, stratify=data.y
        )
        train, valid = train_test_split(
            rest, test_size=options.valid, random_state=seed, stratify=data.y[rest]
        )
    except ValueError as error:
        raise InputError(
            f"split stratified: {error}", "rows of every class in every part", "use more rows"
        ) from None
    ids = data.X.index.to_numpy(object)
    return Split("stratified", ids[train], ids[valid], ids[test], seed=seed)


def temporal(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """The latest rows are the test part, the latest of the rest the valid part; `seed` is unused.

    No date stands in two parts: each cut lies between two dates, where the share comes nearest to
    the one asked for. Rows without a date are in no part.
    """
    if data.dates is None:
        raise InputError(
            "split temporal: the rows have no date",
            "a start date, or `time:` for a table",
            "use another split",
        )
    dates = data.dates.dropna().sort_values(kind="stable")
    rest, test = _latest(dates, options.test)
    train, valid = _latest(rest, options.valid)
    parts = [part.index.to_numpy(object) for part in (train, valid, test)]
    _check_one_class(data, parts)
    return Split("temporal", *parts, excluded=len(data.y) - len(dates))


def _latest(dates: pd.Series, share: float) -> tuple[pd.Series, pd.Series]:
    """Sorted `dates` cut in two where the later piece's share is nearest to `share`."""
    values = dates.to_numpy()
    cuts = np.flatnonzero(values[1:] != values[:-1]) + 1
    if not len(cuts):
        raise InputError(
            f"split temporal: {len(dates)} dated rows share {dates.nunique()} date(s)",
            "at least three different dates",
            "use another split",
        )
    cut = cuts[np.abs(len(values) - cuts - share * len(values)).argmin()]
    return dates.iloc[:cut], dates.iloc[cut:]


def _check_one_class(data: Dataset, parts: list[Ids]) -> None:
    for part, ids in zip(PARTS, parts, strict=True):
        codes = np.unique(data.take(ids)[1])
        if len(codes) < 2 and data.target.kind != "multilabel":
            raise InputError(
                f"split temporal: all {len(ids)} {part} rows are {data.target.classes[codes[0]]!r}",
                "two classes in every part",
                "use more rows, other shares, or another split",
            )


SPLITS: dict[str, Callable[[Dataset, SplitOptions, int], Split]] = {
    "stratified": stratified,
    "temporal": temporal,
}


def make_split(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """The split that `options` name, over the labelled rows of `data`."""
    if options.name not in SPLITS:
        raise unknown_name("split", options.name, SPLITS)
    return SPLITS[options.name](data, options, seed)
