"""Rows as a reader gives them, and a dataset: the labelled rows of one task."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from features.columns import Column, Columns, Inputs, KnownAt
from models.base import Floats, Ints, Target

REJECTED = ["row", "id", "reason"]


@dataclass(frozen=True)
class Rows:
    """What a reader returns.

    `frame` is indexed by unique string ids and holds the declared `columns` in the types that
    `features.columns.Column` states, besides columns that are no inputs (status, source).
    `rejected` lists the rows left out and the cells left empty: their place in the file (1 = first
    record, 0 = not known), id and reason. `target` names the column or columns a table declares as
    its target, `official` the one that says in which part of a published split a row stands (train,
    valid, test or missing). `filtered` counts the rows that `data.where` left out, `incomplete`
    those dropped for want of a value that `data.require` asks for. `oracle` holds the true class
    probabilities by as-of level and task, where the generator knows them: (n, k) in frame order.
    `history` names the columns that `data.history` asks for (see `benchmark.history`).
    `undeclared` names the columns of a table for which nobody said when they are known, None where
    the reader knows it.
    """

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    rejected: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=REJECTED))
    group: str | None = None
    date: str | None = None
    target: str | tuple[str, ...] | None = None
    positive: str | None = None
    official: str | None = None
    filtered: int = 0
    incomplete: int = 0
    oracle: Mapping[tuple[KnownAt, str], Floats] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    undeclared: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Dataset:
    """The labelled rows of one task.

    `X` (n rows, indexed by id) holds every offered column; `columns` says which of them are
    inputs; `y` is as `target` states. `dates` orders temporal splits, `groups` names the sponsor
    or the like, `official` the published part (train, valid, test or missing); `oracle` maps an
    as-of level to the true probabilities, (n, k). `history` names columns whose past counts: those
    of the rows that share a value. `register` is what is known of every row read, labelled or not
    (see `history.register`), None where rows have no date.
    """

    task: str
    target: Target
    X: pd.DataFrame
    y: Ints
    columns: tuple[Column, ...]
    dates: pd.Series | None = None
    groups: pd.Series | None = None
    official: pd.Series | None = None
    oracle: Mapping[KnownAt, Floats] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    register: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        if len(self.X) != len(self.y):
            raise ValueError(f"{len(self.X)} rows and {len(self.y)} targets")
        if not self.X.index.is_unique:
            raise ValueError("ids are not unique")

    def inputs(self, inputs: Inputs, as_of: KnownAt) -> Columns:
        """The columns a model with these inputs may see at a level of the field clock."""
        return Columns.of(self.columns, as_of).select(inputs)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of ids, targets, dates, oracle, and what each column is and holds."""
        digest = hashlib.sha256(f"{self.task}|{self.target}".encode())
        _update(digest, pd.Series(self.X.index))
        digest.update(np.ascontiguousarray(self.y).tobytes())
        for column in self.columns:
            digest.update(repr(column).encode())
            _update(digest, self.X[column.name])
        if self.dates is not None:
            _update(digest, self.dates)
        for level in sorted(self.oracle):
            digest.update(level.encode())
            digest.update(np.ascontiguousarray(self.oracle[level]).tobytes())
        if self.history and self.register is not None:
            _update(digest, pd.Series(self.register.index))
            for name in self.register:
                digest.update(f"history of {self.history}: {name}".encode())
                _update(digest, self.register[name])
        return digest.hexdigest()

    def take(self, ids: np.ndarray) -> tuple[pd.DataFrame, Ints]:
        """Rows and targets of the given ids, in their order."""
        rows = self.X.index.get_indexer(pd.Index(ids))
        return self.X.iloc[rows], self.y[rows]


def rows_fingerprint(rows: Rows) -> str:
    """sha256 over ids and every column of the frame, inputs or not, in order of their names."""
    digest = hashlib.sha256()
    _update(digest, pd.Series(rows.frame.index))
    for name in sorted(rows.frame.columns):
        digest.update(name.encode())
        _update(digest, rows.frame[name])
    return digest.hexdigest()


def _update(digest: hashlib._Hash, column: pd.Series) -> None:
    """Feed one column's values and missing marks to a digest, whatever pandas stores it as."""
    missing = column.isna().to_numpy()
    digest.update(np.packbits(missing).tobytes())
    if pd.api.types.is_datetime64_any_dtype(column):
        digest.update(column.astype("datetime64[s]").to_numpy().astype("<i8").tobytes())
    elif pd.api.types.is_numeric_dtype(column):
        digest.update(np.nan_to_num(column.to_numpy("<f8", na_value=np.nan)).tobytes())
    else:
        values = pa.array(column.astype(object).where(~missing, "").tolist(), pa.large_string())
        for buffer in values.buffers()[1:]:
            digest.update(buffer)
