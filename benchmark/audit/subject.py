"""What is audited: one task's rows, its splits, what the run lets models see, and shared work."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.audit.probes import MOST_ROWS, Probe, folds_of, probe_columns
from benchmark.dataset import Dataset, Rows
from benchmark.readers.canonical import COLUMNS, OFFICIAL
from benchmark.readers.canonical_articles import LABELS
from benchmark.splits import Ids, Split
from features.columns import KNOWN_AT, Column, Kind, KnownAt
from models.base import Ints

MOST_NEAR = 20_000
"""Rows up to which all near-duplicates are looked for; beyond, those of a sample of test rows."""
SAMPLED = 2000
"""Test rows of a split in that sample: enough for a standard error of .002 at a share of .01."""
_PIECE = 20_000
LEAST_WORDS = 8
"""Texts of fewer words are no evidence of a duplicate."""

_CANONICAL = {column.name: column for column in COLUMNS}


@dataclass(frozen=True)
class Subject:
    """One task of a run.

    `rows` are all rows, labelled or not, `data` the labelled ones. `splits` holds one split of each
    name: seeds differ in nothing that is audited. `used` names the columns that some model of the
    run sees, by as-of level.
    """

    rows: Rows
    data: Dataset
    splits: tuple[Split, ...]
    used: Mapping[KnownAt, frozenset[str]]

    @cached_property
    def in_use(self) -> frozenset[str]:
        """Columns that a model of this run sees at one level or another."""
        return frozenset[str]().union(*self.used.values())

    @cached_property
    def early(self) -> frozenset[str]:
        """Columns that a model sees at the level `registration`."""
        return self.used.get("registration", frozenset())

    @cached_property
    def labels(self) -> Ints:
        """(n, k) of 0 and 1: one column a class, or a label."""
        y = self.data.y
        if self.data.target.kind != "multilabel":
            y = y[:, None] == np.arange(len(self.data.target.classes))
        return np.asarray(y, np.int64)

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Every column of the frame but the target itself: inputs or not, by kind.

        Columns that are no inputs (status, source) take their kind from what they hold.
        """
        offered = {column.name: column for column in self.data.columns}
        target = self.rows.target
        names = () if target is None else ((target,) if isinstance(target, str) else target)
        own = {self.data.task, OFFICIAL, LABELS, self.rows.official, *names}
        found = []
        for name in self.data.X.columns:
            if name in own:
                continue
            known = offered.get(name, _CANONICAL.get(name))
            found.append(
                Column(name, _kind(self.data.X[name]), "after") if known is None else known
            )
        return tuple(found)

    @cached_property
    def sample(self) -> Ints:
        """Row numbers that probes look at, at most `MOST_ROWS`, the same in every audit."""
        n = len(self.data.y)
        if n <= MOST_ROWS:
            return np.arange(n)
        rng = np.random.default_rng([0, zlib.crc32(b"audit sample")])
        return np.sort(rng.choice(n, MOST_ROWS, replace=False))

    @cached_property
    def folds(self) -> Ints:
        """Fold numbers of the rows of `sample`."""
        return folds_of(self.labels[self.sample])

    @cached_property
    def probes(self) -> dict[str, Probe]:
        """How well each column alone tells the label, by name."""
        X, labels = self.data.X.iloc[self.sample], self.labels[self.sample]
        classes = self.data.target.classes
        return probe_columns(X, self.columns, labels=labels, folds=self.folds, classes=classes)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Text columns that models may see at registration."""
        return tuple(
            c.name for c in self.data.columns if c.kind == "text" and c.known_at == "registration"
        )

    @property
    def many(self) -> bool:
        """Whether near-duplicates are looked for in a sample alone."""
        return len(self.data.X) > MOST_NEAR

    @cached_property
    def joined(self) -> pd.Series:
        """All texts of a row as one, in lower case with single blanks, indexed by id."""
        X = self.data.X[list(self.texts)]
        pieces = []
        for start in range(0, max(len(X), 1), _PIECE):  # all at once would take three times as much
            parts = [column.tolist() for _, column in X.iloc[start : start + _PIECE].items()]
            rows = [" ".join(" ".join(row).lower().split()) for row in zip(*parts, strict=True)]
            pieces.append(pd.Series(rows, dtype="str"))
        return pd.concat(pieces).set_axis(X.index)

    @cached_property
    def exact(self) -> Ints:
        """Group numbers (n,): equal for rows with the same text."""
        return self._singled(pd.factorize(self.joined)[0])

    @cached_property
    def near(self) -> Ints:
        """Group numbers (n,): equal for rows with nearly the same text; exact ones included.

        Of `many` rows those of `exact`.
        """
        if self.many:
            return self.exact
        from benchmark.duplicates import near_duplicate_groups  # loads datasketch

        return self._singled(near_duplicate_groups(self.joined.tolist()))

    def near_sample(self, test: Ints, rest: Ints) -> tuple[Ints, Ints]:
        """A sample of the row numbers `test`, and of each the first row of `rest` that is alike.

        -1 where there is none, or too few words. The sample is sorted, of at most `SAMPLED` rows,
        and the same in every audit.
        """
        from benchmark.duplicates import first_alike

        rng = np.random.default_rng([0, zlib.crc32(b"audit duplicates")])
        sample = np.sort(rng.choice(test, min(SAMPLED, len(test)), replace=False))
        worded, others = ~self.short[sample], rest[~self.short[rest]]
        pieces = np.split(others, range(_PIECE, len(others), _PIECE))
        texts = (text for piece in pieces for text in self.joined.iloc[piece].tolist())
        place = first_alike(self.joined.iloc[sample[worded]].tolist(), texts)
        found = np.full(len(sample), -1, np.int64)
        found[worded] = np.where(place < 0, -1, np.append(others, -1)[place])
        return sample, found

    @cached_property
    def short(self) -> npt.NDArray[np.bool_]:
        """Which rows, (n,), have too few words to be a duplicate."""
        return self.joined.str.count(r"\S+").to_numpy() < LEAST_WORDS

    def _singled(self, groups: Ints) -> Ints:
        """Each row with next to no text in a group of its own."""
        groups = np.asarray(groups, np.int64).copy()
        groups[self.short] = groups.max(initial=0) + 1 + np.arange(int(self.short.sum()))
        return groups


def _kind(column: pd.Series) -> Kind:
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date"
    return "numeric" if pd.api.types.is_numeric_dtype(column) else "categorical"


def at(values: pd.Series, *parts: Ids) -> pd.Series:
    """The values of the rows in these parts of a split."""
    return values.loc[[id_ for ids in parts for id_ in ids]]


def late(column: Column) -> bool:
    """Whether a column's value is known after registration only."""
    return KNOWN_AT.index(column.known_at) > 0
