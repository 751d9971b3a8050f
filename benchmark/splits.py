"""Splits: the same three sets of ids for every model, proven by their hash."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmark.dataset import Dataset
from benchmark.duplicates import near_duplicate_groups
from benchmark.maturity import Maturity, last_mature
from benchmark.stratify import dealt, drawn
from features.columns import Columns
from features.errors import InputError, unknown_name
from models.base import Ints

Ids = npt.NDArray[np.object_]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
Part = Literal["train", "valid", "test"]
Kind = Literal["stratified", "temporal", "group"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")
_ONLY_FOR = {
    "by": ("group",),
    "folds": ("stratified-kfold", "rolling"),
    "maturity": ("temporal", "rolling"),
}
GROUPED = ("group", "near-duplicate")
"""Splits whose parts share no group; intervals draw whole groups there."""


class SplitOptions(BaseModel):
    """Shares of a split: `test` of all rows, then `valid` of the rest (64/16/20 by default).

    `by` names the column whose values a group split keeps together (None: the reader's choice).
    `folds` is the number of splits that one entry stands for: 5 by default for a k-fold, 3 for a
    rolling origin. `of` names the split whose twin is drawn; the other keys are then that split's.
    `maturity` leaves out rows that start after a date, or after the last cohort whose outcomes are
    nearly all known (`auto`, see `benchmark.maturity`). `seeds` overrides those of the run: a
    temporal split has the same rows for every seed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    test: float = Field(default=0.2, gt=0, lt=1)
    valid: float = Field(default=0.2, gt=0, lt=1)
    by: str | None = None
    folds: int | None = Field(default=None, ge=2, le=20)
    of: str | None = None
    maturity: Maturity = "off"
    seeds: list[Seed] | None = Field(default=None, min_length=1)

    @property
    def shown(self) -> str:
        """The name in tables: `temporal`, `temporal-mature`, `temporal-mature-twin`."""
        base = self.name if self.of is None else self.of
        ripe = base if self.maturity == "off" else f"{base}-mature"
        return ripe if self.of is None else f"{ripe}-twin"

    @property
    def origin(self) -> SplitOptions:
        """The options of the split whose twin this is."""
        return self.model_copy(update={"name": self.of, "of": None})

    @model_validator(mode="after")
    def _keys_of_this_split(self) -> Self:
        if (self.of is None) == (self.name == "twin"):
            came = "twin without `of`" if self.name == "twin" else f"{self.name} with of: {self.of}"
            change = "name the split, as in {name: twin, of: temporal}"
            raise InputError(f"split {came}", "`of` for the split twin alone", change)
        base = self.name if self.of is None else self.of
        for key, names in _ONLY_FOR.items():
            if key in self.model_fields_set and base not in names:
                raise InputError(
                    f"split {base} with {key}: {getattr(self, key)}",
                    f"`{key}` for the split {' or '.join(names)} alone",
                    "drop it",
                )
        if base == "stratified-kfold" and "test" in self.model_fields_set:
            raise InputError(
                f"split stratified-kfold with test: {self.test}", "1 / folds of the rows", "drop it"
            )
        return self


@dataclass(frozen=True)
class Split:
    """Ids of the three parts. Raises `InputError` if an id is in two parts or a part is empty.

    `seed` is None where the rule is deterministic; `excluded` counts labelled rows in no part
    (no date or no group, for a split that needs it). `kind` says what tells its parts apart, which
    is what inner folds are made of too; a split by group keeps the `groups` of its rows.
    """

    name: str
    train: Ids
    valid: Ids
    test: Ids
    seed: int | None = None
    excluded: int = 0
    groups: pd.Series | None = None
    kind: Kind = "stratified"

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
        _check_smallest(data, options.name, len(PARTS))
    try:
        rest, test = drawn(data.y, options.test, seed)
        train, valid = drawn(data.y[rest], options.valid, seed)
    except ValueError as error:
        raise InputError(
            f"split stratified: {error}", "rows of every class in every part", "use more rows"
        ) from None
    ids = data.X.index.to_numpy(object)
    return Split("stratified", ids[rest[train]], ids[rest[valid]], ids[test], seed=seed)


def _check_smallest(data: Dataset, split: str, least: int) -> None:
    """Raise `InputError` for a class that cannot be in every part."""
    counts = np.bincount(data.y)
    if counts.min() < least:
        raise InputError(
            f"split {split}: class {data.target.classes[int(counts.argmin())]!r} has "
            f"{counts.min()} rows",
            f"at least {least}, one for each of the parts or folds",
            "widen the query, or use a task with fewer classes",
        )


def stratified_kfold(data: Dataset, options: SplitOptions, seed: int) -> list[Split]:
    """Splits by number of folds: each row is tested on once, class shares are those of the whole.

    The test parts are the folds of scikit-learn's shuffled `StratifiedKFold` with this seed (for
    several labels see `stratify.dealt`); valid is drawn from the rest as in `stratified`. Raises
    `InputError` when a class has fewer rows than folds.
    """
    folds = 5 if options.folds is None else options.folds
    if data.target.kind != "multilabel":
        _check_smallest(data, options.name, max(folds, len(PARTS)))
    ids = data.X.index.to_numpy(object)
    found = []
    try:
        number = dealt(data.y, folds, seed)
        for fold in range(folds):
            rest, test = np.flatnonzero(number != fold), np.flatnonzero(number == fold)
            train, valid = drawn(data.y[rest], options.valid, seed)
            name = f"{options.shown}/{fold + 1}"
            found.append(Split(name, ids[rest[train]], ids[rest[valid]], ids[test], seed=seed))
    except ValueError as error:
        raise InputError(
            f"split {options.name}: {error}", "rows of every class in every part", "use more rows"
        ) from None
    return found


def temporal(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """The latest rows are the test part, the latest of the rest the valid part; `seed` is unused.

    No date stands in two parts: each cut lies between two dates, where the share comes nearest to
    the one asked for. Rows without a date are in no part, nor are those that `options.maturity`
    leaves out.
    """
    dates = _dated(data, options)
    rest, test = _latest(dates, options.test)
    return _by_time(data, rest, test, options=options, name=options.shown)


def rolling(data: Dataset, options: SplitOptions, seed: int) -> list[Split]:
    """Temporal splits with several origins: each tests on the next rows, trains on all before.

    There are `options.folds` of them (3 by default). Each tests on `options.test` of the rows, so
    the last is the temporal split; its valid part is the latest of the rows before. `seed` is
    unused.
    """
    folds = 3 if options.folds is None else options.folds
    dates = _dated(data, options)
    starts = [1 - (folds - fold) * options.test for fold in range(folds)]
    if starts[0] <= 1e-9:
        raise InputError(
            f"split rolling: {folds} folds of {options.test:g} of the rows leave none before them",
            "folds x test below 1",
            "use fewer folds or a smaller `test`",
        )
    return [
        _by_time(data, before, test, options=options, name=f"{options.shown}/{fold}")
        for fold, (before, test) in enumerate(blocks(dates, starts), 1)
    ]


def _by_time(
    data: Dataset, rest: pd.Series, test: pd.Series, *, options: SplitOptions, name: str
) -> Split:
    """A split from the dates of the test rows and of those before, less a latest part for valid."""
    train, valid = _latest(rest, options.valid)
    parts = [ids_of(part) for part in (train, valid, test)]
    _check_one_class(data, parts, name)
    excluded = len(data.y) - sum(map(len, parts))
    return Split(name, parts[0], parts[1], parts[2], excluded=excluded, kind="temporal")


def _dated(data: Dataset, options: SplitOptions) -> pd.Series:
    """The dates of the rows that have one, in their order; no later ones than maturity allows."""
    if data.dates is None:
        raise InputError(
            f"split {options.name}: the rows have no date",
            "a start date, or `time:` for a table",
            "use another split",
        )
    dates = data.dates.dropna().sort_values(kind="stable")
    last = last_mature(data, options.maturity)
    return dates if last is None else dates[dates <= last]


def _latest(dates: pd.Series, share: float) -> tuple[pd.Series, pd.Series]:
    """Sorted `dates` cut in two where the later piece's share is nearest to `share`."""
    return blocks(dates, [1 - share])[0]


def blocks(dates: pd.Series, starts: Sequence[float]) -> list[tuple[pd.Series, pd.Series]]:
    """(all before, block) for blocks of sorted `dates` that start at these shares of the rows.

    Each block ends where the next starts, the last at the end. No date is in two blocks: a start
    is moved to the nearest place between two dates, and blocks that meet there become one.
    """
    values = dates.to_numpy()
    cuts = np.flatnonzero(values[1:] != values[:-1]) + 1
    if not len(cuts):
        raise InputError(
            f"split temporal: {len(dates)} dated rows share {dates.nunique()} date(s)",
            "at least three different dates",
            "use another split",
        )
    near = {int(cuts[np.abs(cuts - share * len(values)).argmin()]) for share in starts}
    edges = [*sorted(near), len(values)]
    return [(dates.iloc[:a], dates.iloc[a:b]) for a, b in pairwise(edges)]


def ids_of(rows: pd.Series) -> Ids:
    """The index as an array of objects."""
    return rows.index.to_numpy(object)


def group(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """Whole groups (sponsors, sources) are held out for test, and others for valid.

    In random order each group goes to the part if its share of the rows comes nearer to the one
    asked for by that. So a share is off by half of the largest group at most, which is much where
    a few groups hold most rows. Rows without a group are in no part.
    """
    return _by_group(data, _groups(data, options.by).dropna(), options, seed)


def near_duplicate(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """Rows with nearly the same text stay together: sister trials, copies, new versions.

    Groups are those of `duplicates.near_duplicate_groups` over all text known at registration;
    they are held out as in `group`. A row without text is a group of its own.
    """
    names = Columns.of(data.columns).text
    if not names:
        raise InputError(
            "split near-duplicate: the rows have no text",
            "a text column known at registration",
            "use another split",
        )
    rows = zip(*(data.X[name] for name in names), strict=True)
    numbers = near_duplicate_groups([" ".join(row) for row in rows])
    groups = pd.Series(numbers, index=data.X.index, name="near-duplicate").astype("str")
    return _by_group(data, groups, options, seed)


def _by_group(data: Dataset, groups: pd.Series, options: SplitOptions, seed: int) -> Split:
    rng = np.random.default_rng([seed, zlib.crc32(b"group split")])
    rest, test = _held_out(groups, options.test, rng)
    train, valid = _held_out(rest, options.valid, rng)
    for part, rows in (("test", test), ("train", rest), ("valid", valid), ("train", train)):
        if rows.empty:
            raise InputError(
                f"split {options.name}: no group is left for {part}; {groups.name} has "
                f"{groups.nunique()} groups, the largest with {groups.value_counts().max()} of "
                f"{len(groups)} rows",
                "at least three groups, of a size that fits the shares",
                "use another split or seed, or name another column in `by`",
            )
    parts = [ids_of(part) for part in (train, valid, test)]
    _check_one_class(data, parts, options.name)
    return Split(
        options.name,
        parts[0],
        parts[1],
        parts[2],
        seed=seed,
        excluded=len(data.y) - len(groups),
        groups=groups.astype(str),
        kind="group",
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


def twin(data: Dataset, options: SplitOptions, seed: int) -> list[Split]:
    """The random twin of another split (`of`): the same rows, sizes and class rates in every part.

    The rows of the split `of` change parts at random, each with one of its own class (or with the
    same labels), so that nothing but the rule tells the two apart: what a model scores better on
    the twin is the optimism of a random split. A row whose labels nobody shares keeps its part.
    """
    known = [name for name in SPLITS if name not in ("stratified", "stratified-kfold", "twin")]
    if options.of not in known:
        raise unknown_name("split to draw a twin of", options.of, known)
    found = []
    for origin in make_splits(data, options.origin, seed):
        fold = origin.name.partition("/")[2]
        name = f"{options.shown}/{fold}" if fold else options.shown
        ids = np.concatenate([getattr(origin, part) for part in PARTS])
        sizes = [len(getattr(origin, part)) for part in PARTS]
        part = _exchanged(np.repeat(np.arange(len(PARTS)), sizes), data.take(ids)[1], seed)
        train, valid, test = (ids[part == number] for number in range(len(PARTS)))
        found.append(Split(name, train, valid, test, seed=seed, excluded=origin.excluded))
    return found


def _exchanged(part: Ints, y: Ints, seed: int) -> Ints:
    """The part numbers, (n,), shuffled among the rows of each class or set of labels."""
    rng = np.random.default_rng([seed, zlib.crc32(b"split twin")])
    alike = np.unique(y, axis=0, return_inverse=True)[1].ravel()
    shuffled = part.copy()
    for number in range(int(alike.max()) + 1):
        rows = np.flatnonzero(alike == number)
        shuffled[rows] = rng.permutation(part[rows])
    return shuffled


Rule = Callable[[Dataset, SplitOptions, int], "Split | list[Split]"]
SPLITS: dict[str, Rule] = {
    "stratified": stratified,
    "stratified-kfold": stratified_kfold,
    "temporal": temporal,
    "rolling": rolling,
    "group": group,
    "near-duplicate": near_duplicate,
    "official": official,
    "twin": twin,
}


def make_splits(data: Dataset, options: SplitOptions, seed: int) -> list[Split]:
    """The splits that one entry stands for, over the labelled rows of `data`.

    One, but for the folds of a k-fold or a rolling origin, which are named `rolling/1` and so on.
    """
    if options.name not in SPLITS:
        raise unknown_name("split", options.name, SPLITS)
    found = SPLITS[options.name](data, options, seed)
    return found if isinstance(found, list) else [found]


def make_split(data: Dataset, options: SplitOptions, seed: int) -> Split:
    """The first of `make_splits`."""
    return make_splits(data, options, seed)[0]


def family(split: str) -> str:
    """The name of the entry that a split belongs to: `rolling` for `rolling/2`."""
    return split.partition("/")[0]
