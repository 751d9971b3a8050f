"""The paired bootstrap: one weight matrix for all models, so that differences are paired.

A draw takes as many rows as there are, with replacement (Efron & Tibshirani 1993), and is kept as
counts; a metric weighted by them is the metric of the drawn rows.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.errors import InputError
from models.base import Floats, Ints

Counts = npt.NDArray[np.uint16]
DRAWS = 1000
"""Draws of a board; more where many p values are adjusted for their number."""


@dataclass(frozen=True)
class UnionWeights:
    """Counts of draws over all rows that any seed tests; `ids` are sorted and unique.

    `unit`, (ids,), numbers what is drawn: the rows, or their groups. Nothing is drawn before the
    counts are asked for.
    """

    ids: pd.Index
    unit: Ints
    seed_text: str
    draws: int

    @cached_property
    def counts(self) -> Counts:
        """How often each draw takes each row, (draws, ids); a row's draws lie side by side."""
        drawn = _counts(self.units, draws=self.draws, seed_text=self.seed_text)
        return drawn.T[self.unit].T

    @cached_property
    def digest(self) -> str:
        """The sha256 of all that decides the counts."""
        decides = [self.draws, self.seed_text, self.ids.tolist(), self.unit.tolist()]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()

    @property
    def units(self) -> int:
        """How many rows or groups there are to draw."""
        return int(self.unit.max()) + 1

    def of(self, ids: Sequence[str] | pd.Index) -> Counts:
        """The columns of `ids` in their order, (draws, len(ids)); `InputError` for a strange id."""
        return self.counts.T[self._places(ids)].T

    def unit_of(self, ids: Sequence[str] | pd.Index) -> Ints:
        """The unit of each id, (len(ids),); `InputError` for a strange id."""
        return self.unit[self._places(ids)]

    def _places(self, ids: Sequence[str] | pd.Index) -> Ints:
        wanted = pd.Index(ids)
        places = self.ids.get_indexer(wanted)
        if (places < 0).any():
            strange = wanted[places < 0][0]
            raise InputError(f"id {strange!r}", "an id of the union the weights were drawn for")
        return np.asarray(places, np.int64)


def union_weights(
    ids: Sequence[Sequence[str] | pd.Index],
    *,
    seed_text: str,
    draws: int = DRAWS,
    groups: Sequence[Sequence[str | None] | pd.Series] | None = None,
) -> UnionWeights:
    """Draws over the union of several seeds' test rows.

    `ids` holds one sequence a seed; `groups`, in the same shape, makes a draw take whole groups (a
    sponsor's trials share their count; a row without a group is one of its own). The counts depend
    on the set of rows, the groups and `seed_text` (a split hash, say), not on any order: models
    that are to be paired must be given the same union. Raises `InputError` where one seed has an id
    twice or a row changes its group.
    """
    if groups is None:
        listed = [pd.Index(one).tolist() for one in ids]  # sets of Python strings are the fastest
        for one in listed:
            if len(set(one)) < len(one) or not one:
                _check_ids(pd.Index(one))
        names = sorted(set(itertools.chain.from_iterable(listed)))
        return UnionWeights(pd.Index(names), np.arange(len(names)), seed_text, draws)
    table = pd.concat([_rows(one, of) for one, of in zip(ids, groups, strict=True)])
    table = table.drop_duplicates().sort_values("id", kind="stable")
    if table["id"].duplicated().any():
        clash = table["id"][table["id"].duplicated()].iloc[0]
        raise InputError(f"row {clash!r} in two groups", "one group a row")
    # Numbered over sorted ids: the same rows in another order give the same draws.
    unit = np.asarray(pd.factorize(table["group"])[0], np.int64)
    return UnionWeights(pd.Index(table["id"]), unit, seed_text, draws)


def weights(
    ids: Sequence[str] | pd.Index,
    *,
    seed_text: str,
    draws: int = DRAWS,
    groups: Sequence[str | None] | pd.Series | None = None,
) -> Counts:
    """Counts of one set of rows, (draws, len(ids)), in the order of `ids`; see `union_weights`."""
    found = union_weights(
        [ids], seed_text=seed_text, draws=draws, groups=None if groups is None else [groups]
    )
    return found.of(ids)


def interval(values: Floats, *, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of one metric's draws; undefined draws (NaN) are left out.

    NaN twice where no draw is defined.
    """
    defined = values[~np.isnan(values)]
    if len(defined) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def intervals(draws: Floats, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """`interval` of each row of (models, draws): low and high, (models,) each."""
    if np.isnan(draws).any():
        each = np.array([interval(values, level=level) for values in draws])
        return each[:, 0], each[:, 1]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return low, high


def pair_errors(draws: Floats) -> Floats:
    """`standard_error` of the difference of every two rows of (models, draws), (pairs,).

    Pairs in the order of `itertools.combinations`.
    """
    found = []
    for place in range(len(draws) - 1):
        differences = draws[place + 1 :] - draws[place]
        if np.isnan(differences).any():
            found.append(np.array([standard_error(each) for each in differences]))
        else:
            found.append(differences.std(axis=1, ddof=1))
    return np.concatenate(found) if found else np.empty(0)


def standard_error(values: Floats) -> float:
    """Standard deviation of the draws, undefined ones left out; NaN for fewer than two."""
    defined = values[~np.isnan(values)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else float("nan")


def paired_difference(a: Floats, b: Floats, *, level: float = 0.95) -> tuple[float, float, float]:
    """Interval of `a - b` over the same draws, and a two-sided p value: (low, high, p).

    p inverts the percentile interval, 2 min(P(d <= 0), P(d >= 0)) at most 1, with one added to both
    count and draws so that it's never 0 (Davison & Hinkley 1997, 4.2). Draws undefined for one of
    the two are left out; all three are NaN where none is left.
    """
    difference = a - b
    difference = difference[~np.isnan(difference)]
    if len(difference) == 0:
        return float("nan"), float("nan"), float("nan")
    tail = min(int((difference <= 0).sum()), int((difference >= 0).sum()))
    low, high = interval(difference, level=level)
    return low, high, min(1.0, 2 * (tail + 1) / (len(difference) + 1))


def mean_over_seeds(values: Sequence[Floats]) -> Floats:
    """Mean over seeds inside each draw, (draws,); undefined where it is for any seed."""
    return np.asarray(np.mean(np.stack(values), axis=0))


def _rows(ids: Sequence[str] | pd.Index, groups: Sequence[str | None] | pd.Series) -> pd.DataFrame:
    """One seed's ids and groups; a row without a group is put in one that only it has."""
    table = pd.DataFrame({"id": pd.Index(ids)})
    _check_ids(pd.Index(table["id"]))
    named = pd.Series(list(groups), dtype="str")
    if len(named) != len(table):
        raise InputError(f"{len(named)} groups for {len(table)} ids", "one group a row")
    return table.assign(group=("group " + named).fillna("row " + table["id"]))


def _check_ids(ids: pd.Index) -> None:
    """Raise `InputError` unless there are some, each once."""
    twice = ids.duplicated()
    if len(ids) == 0 or twice.any():
        came = f"id {ids[twice][0]!r} twice" if len(ids) else "no ids"
        raise InputError(f"{came} in one set of test rows", "unique ids")


def _counts(units: int, *, draws: int, seed_text: str) -> Counts:
    """Multinomial counts, (draws, units): each row sums to `units`."""
    digest = int.from_bytes(hashlib.sha256(seed_text.encode()).digest()[:8], "big")
    rng = np.random.default_rng([digest, zlib.crc32(b"bootstrap")])
    counts = np.empty((draws, units), np.uint16)
    for draw in counts:
        draw[:] = np.bincount(rng.integers(0, units, units), minlength=units)
    return counts
