"""What scores are cut by after a run: the year of a row, a trial's phase and sponsor class."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pandas as pd

from benchmark.dataset import Rows
from benchmark.store import Store

SLICES = "slices.parquet"
SLICED_BY = {"phase": "phases", "sponsor_class": "sponsor_class"}
"""Columns of the file besides id and year, and the columns of a reader's frame behind them."""


def slices_of(rows: Rows, ids: Iterable[str]) -> pd.DataFrame:
    """Columns id, year (of the date that orders temporal splits), phase and sponsor_class.

    One row an id, sorted; a column that the rows have nothing for is left out, a missing value is
    <NA>. Nothing else of the data is in it, so that it may be published with the predictions.
    """
    frame = rows.frame.loc[sorted(set(ids))]
    found = pd.DataFrame({"id": pd.Series(frame.index, dtype="str")})
    if rows.date is not None:
        found["year"] = frame[rows.date].dt.year.astype("Int16").to_numpy()
    for name, column in SLICED_BY.items():
        if column in frame:
            found[name] = frame[column].astype("str").to_numpy()
    kept = [name for name in found if name == "id" or found[name].notna().any()]
    return found[kept]


def read_slices(store: Store) -> pd.DataFrame | None:
    """The slices of a results folder by id; None for a run that stored none."""
    file = store.root / SLICES
    if not file.is_file():
        return None
    return pd.read_parquet(io.BytesIO(file.read_bytes())).set_index("id")
