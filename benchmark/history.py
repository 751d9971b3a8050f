"""What was known of a sponsor's or a condition's earlier trials on the day a trial started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.dataset import Dataset, Rows
from benchmark.readers.canonical import ONGOING, OUTCOMES, STATUS
from benchmark.splits import Split
from features.columns import Column
from features.errors import InputError, unknown_name
from models.base import Floats, Ints

ENDS = ("completion_date", "primary_completion_date")
"""When a trial ended: the first of these that it has."""
FIGURES = ("earlier", "known_stopped", "known_completed", "stop_rate")
_PRIOR_TRIALS = 10.0
_NEVER = np.iinfo(np.int64).max

Days = Ints
Flags = npt.NDArray[np.bool_]


def asked(rows: Rows, names: Sequence[str]) -> Rows:
    """`rows` that say of which columns the history is wanted.

    Raises `InputError` for a column that isn't one of words known at registration, and for rows
    without what a history is made of: a start date, an end date and a status.
    """
    if not names:
        return rows
    offered = {
        column.name
        for column in rows.columns
        if column.kind in ("categorical", "text") and column.known_at == "registration"
    }
    for name in names:
        if name not in offered:
            raise unknown_name("column in `data.history`", name, offered)
    if rows.date is None or STATUS not in rows.frame or not set(ENDS) & set(rows.frame):
        raise InputError(
            "`data.history`: the rows lack a start date, an end date or a status",
            f"a registry's records with {STATUS} and {' or '.join(ENDS)}",
            "drop `history`",
        )
    return replace(rows, history=tuple(names))


def register(rows: Rows, labelled: Flags) -> pd.DataFrame | None:
    """Every row read, labelled or not, indexed by id; None where the rows have no date.

    Columns: date (start), ended (NaT where not known), labelled (by the task), awaited (not
    labelled yet: the trial goes on, or, where rows have no status, just not labelled); for a
    history also stopped (1, 0, or NaN without an outcome) and the columns whose history is wanted.
    """
    if rows.date is None:
        return None
    frame = rows.frame
    awaited = ~labelled & (frame[STATUS].isin(ONGOING) if STATUS in frame else True)
    table = pd.DataFrame(
        {"date": frame[rows.date], "ended": pd.NaT, "labelled": labelled, "awaited": awaited},
        index=frame.index,
    )
    ends = [frame[name] for name in ENDS if name in frame]
    if ends:
        table["ended"] = ends[0] if len(ends) == 1 else ends[0].fillna(ends[1])
    if rows.history:
        table["stopped"] = 1.0 - frame[STATUS].map(OUTCOMES).astype(np.float64)
        table = table.join(frame[list(rows.history)])
    return table


def history_columns(names: Sequence[str]) -> tuple[Column, ...]:
    """The columns that `with_history` appends for these, numeric and known at registration."""
    return tuple(Column(f"{name}_{figure}", "numeric") for name in names for figure in FIGURES)


def with_history(data: Dataset, split: Split) -> Dataset:
    """`data` with four numbers a row for each column in `data.history`, as of the row's start.

    `earlier`: trials with the same value that started before, finished or not. `known_stopped` and
    `known_completed`: those of them that had ended before. `stop_rate`: stopped among the known,
    drawn towards the rate of all trials known by then with the weight of 10 trials (the m-estimate
    of Micci-Barreca 2001; before the first known trial: one half). Days count whole: what happens
    on the day itself is not before. An end on the first of a month, which may stand for the month,
    is taken for its last day. Cells are split at "|", and figures summed over their values: a trial
    that shares two conditions counts twice. All four are NaN for a row without a start or a value.

    Outcomes are those of train and valid rows, never of others; `data` is given back as it is where
    it asks for no history.
    """
    if not data.history:
        return data
    assert data.register is not None
    past = data.register
    told = past["stopped"].where(past.index.isin(np.concatenate([split.train, split.valid])))
    start, known = _days(past["date"]), _known(past)
    stopped, completed = (told == 1).to_numpy(), (told == 0).to_numpy()
    everyone = np.zeros(len(past), np.int64), np.arange(len(past))
    n_stopped = _before(*everyone, days=known, which=stopped, asof=start)
    n_known = n_stopped + _before(*everyone, days=known, which=completed, asof=start)
    prior = (n_stopped + 1) / (n_known + 2)
    places = past.index.get_indexer(data.X.index)
    added: dict[str, Floats] = {}
    for name in data.history:
        codes, rows = _values(past[name])
        earlier = _before(codes, rows, days=start, which=start != _NEVER, asof=start)
        bad = _before(codes, rows, days=known, which=stopped, asof=start)
        good = _before(codes, rows, days=known, which=completed, asof=start)
        rate = (bad + _PRIOR_TRIALS * prior) / (bad + good + _PRIOR_TRIALS)
        for figure, values in zip(FIGURES, (earlier, bad, good, rate), strict=True):
            added[f"{name}_{figure}"] = values[places]
    return replace(
        data, X=data.X.assign(**added), columns=data.columns + history_columns(data.history)
    )


def _days(dates: pd.Series) -> Days:
    """Days since 1970; a missing date is after all others."""
    days = dates.to_numpy("datetime64[D]").astype(np.int64)
    return np.where(dates.isna().to_numpy(), _NEVER, days)


def _known(past: pd.DataFrame) -> Days:
    """The day on which each outcome was known: its end, or its start should that be later."""
    ended = past["ended"].astype("datetime64[s]")
    by_month = (ended + pd.offsets.MonthEnd(0)).where(ended.dt.day == 1, ended)
    return np.maximum(_days(by_month), _days(past["date"]))


def _values(column: pd.Series) -> tuple[Ints, Ints]:
    """(value codes, row numbers) of every different value in each cell, case aside."""
    cells = pd.Series(column.astype("str").to_numpy(), dtype="str").str.casefold().str.split("|")
    each = cells.explode().astype("str").str.strip()
    each = each[each.notna() & (each != "")]
    pairs = pd.DataFrame({"code": pd.factorize(each)[0], "row": each.index}).drop_duplicates()
    return pairs["code"].to_numpy(np.int64), pairs["row"].to_numpy(np.int64)


def _before(codes: Ints, rows: Ints, *, days: Days, which: Flags, asof: Days) -> Floats:
    """For each row: rows of `which` that share a value and whose `days` come before its `asof`.

    Summed over the row's values; NaN for a row without a value or an `asof`.
    """
    counted = which[rows] & (days[rows] != _NEVER)
    asking = asof[rows] != _NEVER
    first = min(days[rows][counted].min(initial=0), asof[rows][asking].min(initial=0))
    last = max(days[rows][counted].max(initial=0), asof[rows][asking].max(initial=0))
    width = last - first + 1
    events = np.sort(codes[counted] * width + days[rows][counted] - first)
    block = codes[asking] * width
    found = np.searchsorted(events, block + asof[rows][asking] - first)
    found -= np.searchsorted(events, block)
    asked_rows = rows[asking]
    sums = np.bincount(asked_rows, weights=found, minlength=len(asof))
    return np.where(np.bincount(asked_rows, minlength=len(asof)) > 0, sums, np.nan)
