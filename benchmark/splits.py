"""Splits: the same three sets of ids for every model, proven by their hash."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmark.dataset import Dataset
from benchmark.stratify import drawn
from features.errors import InputError, unknown_name
from models.base import Ints

Ids = npt.NDArray[np.object_]
Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")


class SplitOptions(BaseModel):
    """Shares of a split: `test` of all rows, then `valid` of the rest (64/16/20 by default).

    `by` names the column whose values a group split keeps together (None: the reader's choice).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    test: float = Field(default=0.2, gt=0, lt=1)
    valid: float = Field(default=0.2, gt=0, lt=1)
    by: str | None = None

    @model_validator(mode="after")
    def _only_for_group(self) -> Self:
        if self.by is not None and self.name != "group":
            raise InputError(
                f"split {self.name} with by: {self.by}", "`by` for the split group alone", "drop it"
            )
        return self


@dataclass(frozen=True)
class Split:
    """Ids of the three parts. Raises `InputError` if an id is in two parts or a part is empty.

    `seed` is None where the rule is deterministic; `excluded` counts labelled rows in no part
    (no date or no group, for a split that needs it).
    """

    name: str
    train: Ids
    valid: Ids
    test: Ids
    seed: int | None = None
    excluded: int = 0
    groups: pd.Series | None = None

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
        """Columns id and part, one row an id; with a column group where groups were held out."""
        frame = pd.DataFrame(
            {
                "id": np.concatenate([getattr(self, part) for part in PARTS]),
                "part": np.repeat(PARTS, [len(getattr(self, part)) for part in PARTS]),
            }
        )
        return frame if self.groups is None else frame.assign(group=self.groups[frame["id"]].values)


def stratified(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """Random parts with the class shares of the whole, as the notebooks of the field draw them.

    Two calls of scikit-learn's `train_test_split`, test first; so seed 42 with the default shares
    gives the rows that such a notebook would get. Several labels are stratified iteratively (see
    `stratify.drawn`). Raises `InputError` when a class is too small.
    """
    if data.target.kind != "multilabel":
        _check_smallest(data)
    try:
        rest, test = drawn(data.y, options.test, seed)
        train, valid = drawn(data.y[rest], options.valid, seed)
    except ValueError as error:
        raise InputError(
            f"split stratified: {error}", "rows of every class in every part", "use more rows"
        ) from None
    ids = data.X.index.to_numpy(object)
    return Split("stratified", ids[rest[train]], ids[rest[valid]], ids[test], seed=seed)


def _check_smallest(data: Dataset) -> None:
    """Raise `InputError` for a class that cannot be in every part."""
    counts = np.bincount(data.y)
    if counts.min() < len(PARTS):
        raise InputError(
            f"split stratified: class {data.target.classes[int(counts.argmin())]!r} has "
            f"{counts.min()} rows",
            "at least 3, one for each of train, valid and test",
            "widen the query, or use a task with fewer classes",
        )


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
    _check_one_class(data, parts, "temporal")
    return Split("temporal", parts[0], parts[1], parts[2], excluded=len(data.y) - len(dates))


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


def group(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """Whole groups (sponsors, sources) are held out for test, and others for valid.

    In random order each group goes to the part if its share of the rows comes nearer to the one
    asked for by that. So a share is off by half of the largest group at most, which is much where
    a few groups hold most rows. Rows without a group are in no part.
    """
    groups = _groups(data, options.by).dropna()
    rng = np.random.default_rng([seed, zlib.crc32(b"group split")])
    rest, test = _held_out(groups, options.test, rng)
    train, valid = _held_out(rest, options.valid, rng)
    for part, rows in (("test", test), ("train", rest), ("valid", valid), ("train", train)):
        if rows.empty:
            raise InputError(
                f"split group: no group is left for {part}; {groups.name} has {groups.nunique()} "
                f"groups, the largest with {groups.value_counts().max()} of {len(groups)} rows",
                "at least three groups, of a size that fits the shares",
                "name another column in `by`, or use another split or seed",
            )
    parts = [part.index.to_numpy(object) for part in (train, valid, test)]
    _check_one_class(data, parts, "group")
    return Split(
        "group",
        parts[0],
        parts[1],
        parts[2],
        seed=seed,
        excluded=len(data.y) - len(groups),
        groups=groups.astype(str),
    )


def _groups(data: Dataset, by: str | None) -> pd.Series:
    if by is not None and by not in data.X:
        raise unknown_name("column in `by` of split group", by, data.X.columns)
    found = data.groups if by is None else data.X[by]
    if found is None:
        raise InputError(
            "split group: the rows have no group",
            "a sponsor, a source, or `group:` for a table",
            "name a column in `by`, or use another split",
        )
    return found


def _held_out(
    groups: pd.Series, share: float, rng: np.random.Generator
) -> tuple[pd.Series, pd.Series]:
    """`groups` in two, of which the later holds whole groups of about this share."""
    sizes = groups.value_counts().sort_index()
    wanted, taken, names = share * len(groups), 0, []
    for place in rng.permutation(len(sizes)):
        size = int(sizes.iloc[place])
        if abs(taken + size - wanted) < abs(taken - wanted):
            taken += size
            names.append(sizes.index[place])
    held = groups.isin(names)
    return groups[~held], groups[held]


def official(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """The parts that a published benchmark comes with; rows without a part are in none.

    Where it has no valid part, `options.valid` of train is drawn for it as in `stratified`; only
    then is `seed` used. `options.test` is not.
    """
    if data.official is None:
        raise InputError(
            "split official: the rows have no published parts",
            "a reader of a published benchmark (top, trialbench)",
            "use the split stratified or temporal",
        )
    ids = data.X.index.to_numpy(object)
    parts = {part: np.flatnonzero(data.official == part) for part in PARTS}
    there = [f"{len(rows)} of {part}" for part, rows in parts.items() if len(rows)]
    for part in ("train", "test"):
        if not len(parts[part]):
            raise InputError(
                f"split official: the {part} part is missing ({' and '.join(there) or 'no'} rows)",
                "rows of train and of test",
                f"read the {part} files too, or use the split stratified",
            )
    carved = not len(parts["valid"])
    if carved:
        parts["train"], parts["valid"] = _carve(data, parts["train"], options.valid, seed)
    train, valid, test = (ids[parts[part]] for part in PARTS)
    _check_one_class(data, [train, valid, test], "official")
    excluded = len(ids) - len(train) - len(valid) - len(test)
    return Split("official", train, valid, test, seed=seed if carved else None, excluded=excluded)


def _carve(data: Dataset, rows: Ints, share: float, seed: int) -> tuple[Ints, Ints]:
    """`rows` (numbers) in two, of which the later has this share, with equal class rates."""
    try:
        rest, carved = drawn(data.y[rows], share, seed)
    except ValueError as error:
        raise InputError(
            f"split official: no valid part can be drawn from {len(rows)} rows of train: {error}",
            "two rows of every class in train",
            "use more rows",
        ) from None
    return rows[rest], rows[carved]


def _check_one_class(data: Dataset, parts: list[Ids], split: str) -> None:
    for part, ids in zip(PARTS, parts, strict=True):
        codes = np.unique(data.take(ids)[1])
        if len(codes) < 2 and data.target.kind != "multilabel":
            raise InputError(
                f"split {split}: all {len(ids)} {part} rows are {data.target.classes[codes[0]]!r}",
                "two classes in every part",
                "use more rows, other shares, or another split",
            )


SPLITS: dict[str, Callable[[Dataset, SplitOptions, int], Split]] = {
    "stratified": stratified,
    "temporal": temporal,
    "group": group,
    "official": official,
}


def make_split(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """The split that `options` name, over the labelled rows of `data`."""
    if options.name not in SPLITS:
        raise unknown_name("split", options.name, SPLITS)
    return SPLITS[options.name](data, options, seed)
