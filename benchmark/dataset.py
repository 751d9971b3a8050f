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
from features.errors import InputError
from models.base import Floats, Ints, Target

REJECTED = ["row", "id", "reason"]


@dataclass(frozen=True)
class Rows:
    """What a reader returns.

    `frame` is indexed by unique string ids and holds the declared `columns` in the types that
    `features.columns.Column` states, besides columns that are no inputs (status, source).
    `rejected` lists the rows left out: their place in the file (1 = first record), id and reason.
    `target` names the column a table declares as its target. `oracle` holds the true class
    probabilities by as-of level and task, where the generator knows them: (n, k) in frame order.
    """

    frame: pd.DataFrame
    columns: tuple[Column, ...]
    rejected: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=REJECTED))
    group: str | None = None
    date: str | None = None
    target: str | None = None
    positive: str | None = None
    oracle: Mapping[tuple[KnownAt, str], Floats] = field(default_factory=dict)
