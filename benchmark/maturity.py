"""Is it too early to judge? The share of outcomes known by start cohort, and where to stop.

Of the trials that started lately only those that ended early have an outcome, and these were
stopped more often than the rest will be. With a share k of the outcomes of a cohort known, the rate
of stopped trials among the known may be up to 1 / k times that of the cohort (if all others
complete): with the default of .9, at most 11 % too high.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal

import pandas as pd
from pydantic import BeforeValidator

from benchmark.dataset import Dataset
from features.errors import InputError

LEAST_KNOWN = 0.9
"""Share of a cohort's outcomes that must be known for it to be mature."""
_LEAST_ROWS = 20

Every = Literal["quarter", "year"]


def _as_written(value: object) -> object:
    return "off" if value is False else value  # YAML reads a bare `off` as false


Maturity = Annotated[Literal["auto", "off"] | date, BeforeValidator(_as_written)]


def cohorts(data: Dataset, *, every: Every | None = None) -> pd.DataFrame:
    """By start cohort (a period): `rows`, those `known` to have an outcome, and their `share`.

    Rows are those that the task labels and those that still await an outcome; rows that will never
    have one (status unknown, say) are not among them. Without `every`, quarters where half of them
    have 20 rows or more, else years. Raises `InputError` where the rows have no date.
    """
    if data.register is None:
        raise InputError("maturity: the rows have no date", "a start date", "drop `maturity`")
    table = data.register[data.register["date"].notna()]
    table = table[table["labelled"] | table["awaited"]]
    if every is None:
        found = cohorts(data, every="quarter")
        return found if found["rows"].median() >= _LEAST_ROWS else cohorts(data, every="year")
    period = table["date"].dt.to_period("Q" if every == "quarter" else "Y")
    known = table["labelled"].groupby(period)
    found = pd.DataFrame({"rows": known.size(), "known": known.sum(), "share": known.mean()})
    return found.rename_axis("cohort")


def cutoff(data: Dataset, *, least: float = LEAST_KNOWN) -> pd.Timestamp:
    """The last day of the last cohort of which at least this share of outcomes is known.

    Cohorts of fewer than 20 rows say too little and are passed over. Raises `InputError` where no
    row awaits its outcome (then nothing shows which are missing), or no cohort is mature.
    """
    table = cohorts(data)
    if table["known"].sum() == table["rows"].sum():
        raise InputError(
            "maturity auto: no row awaits its outcome, so nothing shows which ones are missing",
            "the rows of ongoing trials too",
            "read them too, or give a date as in `maturity: 2018-12-31`",
        )
    large = table[table["rows"] >= _LEAST_ROWS]
    mature = large[large["share"] >= least]
    if mature.empty:
        best = f", at best {large['share'].max():.0%} of outcomes known" if len(large) else ""
        raise InputError(
            f"maturity auto: of {len(large)} start cohorts with {_LEAST_ROWS} rows or more none is "
            f"mature{best}",
            f"{least:.0%} in one of them",
            "give a date as in `maturity: 2018-12-31`",
        )
    last: pd.Period = mature.index[-1]
    return last.end_time.normalize()


def last_mature(data: Dataset, maturity: Maturity) -> pd.Timestamp | None:
    """The last start date that this option allows; None where it allows all."""
    if maturity == "off":
        return None
    return cutoff(data) if isinstance(maturity, str) else pd.Timestamp(maturity)


def rank_changes(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """What leaving immature rows out does to the order of the models.

    `rows` are a leaderboard's. One row for each task, as-of level, model, inputs and metric that
    stands both in a split (`temporal`) and in the same one without immature rows
    (`temporal-mature`): value and rank in each, and `change`, by how many ranks the model rises.
    """
    keys = ["task", "as_of", "metric", "model", "inputs"]
    shown = rows[rows["metric"].isin(metrics)]
    mature = shown["split"].str.contains("-mature", regex=False)
    left, right = shown[~mature], shown[mature]
    right = right.assign(split=right["split"].str.replace("-mature", "", regex=False))
    found = left[["split", *keys, "value", "rank"]].merge(
        right[["split", *keys, "value", "rank"]], on=["split", *keys], suffixes=("_all", "_mature")
    )
    return found.assign(change=found["rank_all"] - found["rank_mature"])
