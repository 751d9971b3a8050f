"""The paired bootstrap: one weight matrix for all models, so that differences are paired.

A draw takes as many rows as there are, with replacement (Efron & Tibshirani 1993), and is kept as
counts; a metric weighted by them is the metric of the drawn rows.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

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
    """Counts of draws over all rows that any seed tests: (draws, ids), ids sorted and unique.

    `unit`, (ids,), numbers what is drawn: the rows, or their groups.
    """

    ids: pd.Index
    counts: Counts
    unit: Ints

    @property
    def units(self) -> int:
        """How many rows or groups there are to draw."""
        return int(self.unit.max()) + 1

    def of(self, ids: Sequence[str] | pd.Index) -> Counts:
        """The columns of `ids` in their order, (draws, len(ids)); `InputError` for a strange id."""
        return self.counts[:, self._places(ids)]

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
    table = pd.concat(
        [_rows(ids[i], None if groups is None else groups[i]) for i in range(len(ids))]
    )
    table = table.drop_duplicates().sort_values("id", kind="stable")
    if table["id"].duplicated().any():
        clash = table["id"][table["id"].duplicated()].iloc[0]
        raise InputError(f"row {clash!r} in two groups", "one group a row")
    # Numbered over sorted ids: the same rows in another order give the same draws.
    unit = np.asarray(pd.factorize(table["group"])[0], np.int64)
    counts = _counts(int(unit.max()) + 1, draws=draws, seed_text=seed_text)
    return UnionWeights(pd.Index(table["id"]), counts[:, unit], unit)


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


def _rows(
    ids: Sequence[str] | pd.Index, groups: Sequence[str | None] | pd.Series | None
) -> pd.DataFrame:
    """One seed's ids and groups; a row without a group is put in one that only it has."""
    table = pd.DataFrame({"id": pd.Index(ids)})
    twice = table["id"].duplicated()
    if len(table) == 0 or twice.any():
        came = f"id {table['id'][twice].iloc[0]!r} twice" if len(table) else "no ids"
        raise InputError(f"{came} in one set of test rows", "unique ids")
    own = "row " + table["id"]
    if groups is None:
        return table.assign(group=own)
    named = pd.Series(list(groups), dtype="str")
    if len(named) != len(table):
        raise InputError(f"{len(named)} groups for {len(table)} ids", "one group a row")
    return table.assign(group=("group " + named).fillna(own))


def _counts(units: int, *, draws: int, seed_text: str) -> Counts:
    """Multinomial counts, (draws, units): each row sums to `units`."""
    digest = int.from_bytes(hashlib.sha256(seed_text.encode()).digest()[:8], "big")
    rng = np.random.default_rng([digest, zlib.crc32(b"bootstrap")])
    counts = np.empty((draws, units), np.uint16)
    for draw in counts:
        draw[:] = np.bincount(rng.integers(0, units, units), minlength=units)
    return counts
