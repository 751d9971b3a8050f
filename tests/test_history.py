"""Histories: counted by hand, and blind to whatever came after a trial's start."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.config import load
from benchmark.dataset import Dataset, Rows
from benchmark.history import asked, history_columns, with_history
from benchmark.matrix import read_rows
from benchmark.splits import Split, SplitOptions, make_split
from benchmark.tasks import labelled
from features.columns import Column
from features.errors import InputError

COLUMNS = (
    Column("lead_sponsor", "categorical"),
    Column("conditions", "text"),
    Column("start_date", "date"),
    Column("completion_date", "date", "after"),
    Column("primary_completion_date", "date", "after"),
)
# id, sponsor, conditions, start, end, status
TRIALS = [
    ("a", "Alba", "Gout", "2001-01-10", "2002-03-20", "COMPLETED"),
    ("b", "Alba", "Gout|Pain", "2001-05-05", "2003-06-15", "TERMINATED"),
    ("c", "Borealis", "Pain", "2002-02-02", "2004-04-14", "COMPLETED"),
    ("d", "alba ", "Pain|Gout", "2003-07-07", "2005-05-25", "WITHDRAWN"),
    ("e", "Alba", "Fever", "2003-09-09", None, "RECRUITING"),
    ("f", "Alba", "Gout", "2006-01-06", "2008-08-18", "COMPLETED"),
    ("g", "Borealis", "", "2006-01-06", "2009-09-19", "SUSPENDED"),
    ("h", None, "Fever", "2007-01-07", "2007-10-17", "COMPLETED"),
]


def rows(
    trials: list[tuple[str | None, ...]], history: tuple[str, ...] = ("lead_sponsor",)
) -> Rows:
    table = pd.DataFrame(
        trials,
        columns=["id", "lead_sponsor", "conditions", "start_date", "completion_date", "status"],
    ).set_index("id")
    frame = table.rename(columns={"status": "overall_status"})
    for name in ("start_date", "completion_date"):
        frame[name] = pd.to_datetime(frame[name])
    frame["primary_completion_date"] = pd.NaT
    for name in ("lead_sponsor", "overall_status", "conditions"):
        frame[name] = frame[name].astype("str")
    return asked(Rows(frame, COLUMNS, date="start_date"), history)


def split(train: str, valid: str, test: str) -> Split:
    return Split("s", *(np.array(list(part), object) for part in (train, valid, test)))


def figures(data: Dataset, parts: Split, name: str = "lead_sponsor") -> dict[str, list[float]]:
    X = with_history(data, parts).X
    names = [column.name for column in history_columns([name])]
    return {id_: X.loc[id_, names].tolist() for id_ in X.index}


def test_the_figures_of_a_sponsor_are_those_counted_by_hand() -> None:
    found = figures(labelled(rows(TRIALS), "trial-outcome"), split("abcd", "f", "gh"))
    # d, on 2003-07-07: a (completed 2002) and b (stopped 2003-06) are over, so one half of all too
    assert found["d"] == [2, 1, 1, pytest.approx((1 + 10 * (1 + 1) / (2 + 2)) / (2 + 10))]
    # f, on 2006-01-06: a, b, d and the ongoing e began before; of all 2 stopped, 2 completed
    assert found["f"] == [4, 2, 1, pytest.approx((2 + 10 * 3 / 6) / (3 + 10))]
    # the first of its sponsor, with nothing known anywhere
    assert found["a"] == [0, 0, 0, 0.5]
    assert found["g"][:3] == [1, 0, 1]
    assert np.isnan(found["h"]).all()  # no sponsor


def test_figures_of_conditions_are_summed_over_the_shared_ones() -> None:
    data = labelled(rows(TRIALS, ("conditions",)), "trial-outcome")
    found = figures(data, split("abcd", "f", "gh"), "conditions")
    # d shares gout with a, both conditions with b, pain with c, which isn't over
    assert found["d"][:3] == [4, 2, 1]
    # f shares gout with a, b and d
    assert found["f"][:3] == [3, 2, 1]
    assert found["h"][:3] == [1, 0, 0]  # e, which goes on
    assert np.isnan(found["g"]).all()  # no condition


def test_outcomes_of_test_rows_are_not_counted_but_their_starts_are() -> None:
    data = labelled(rows(TRIALS), "trial-outcome")
    assert figures(data, split("acd", "f", "bgh"))["d"][:3] == [2, 0, 1]


def test_a_trial_of_the_same_day_is_not_earlier_and_an_end_on_the_day_is_not_known() -> None:
    trials: list[tuple[str | None, ...]] = [
        ("a", "Alba", "", "2001-01-10", "2002-05-20", "COMPLETED"),
        ("b", "Alba", "", "2002-05-20", "2003-03-13", "TERMINATED"),
        ("c", "Alba", "", "2002-05-20", "2003-03-13", "TERMINATED"),
        ("d", "Alba", "", "2002-05-21", "2003-03-13", "COMPLETED"),
    ]
    found = figures(labelled(rows(trials), "trial-outcome"), split("ab", "c", "d"))
    assert found["b"][:3] == found["c"][:3] == [1, 0, 0]
    assert found["d"][:3] == [3, 0, 1]


def test_an_end_on_the_first_of_a_month_is_known_when_the_month_is_over() -> None:
    trials: list[tuple[str | None, ...]] = [
        ("a", "Alba", "", "2001-01-10", "2002-02-01", "COMPLETED"),
        ("b", "Alba", "", "2002-02-28", "2003-03-13", "TERMINATED"),
        ("c", "Alba", "", "2002-03-01", "2003-03-13", "TERMINATED"),
    ]
    found = figures(labelled(rows(trials), "trial-outcome"), split("a", "b", "c"))
    assert found["b"][:3] == [1, 0, 0]
    assert found["c"][:3] == [2, 0, 1]


def test_an_end_before_the_start_is_not_known_before_the_start() -> None:
    trials: list[tuple[str | None, ...]] = [
        ("a", "Alba", "", "2004-04-04", "2001-01-11", "TERMINATED"),
        ("b", "Alba", "", "2003-03-03", "2005-05-05", "COMPLETED"),
        ("c", "Alba", "", "2004-04-05", "2005-05-05", "COMPLETED"),
    ]
    found = figures(labelled(rows(trials), "trial-outcome"), split("a", "b", "c"))
    assert found["b"][:3] == [0, 0, 0]
    assert found["c"][:3] == [2, 1, 0]


def test_the_primary_completion_stands_in_for_a_missing_end() -> None:
    table = rows(TRIALS)
    table.frame.loc["b", "completion_date"] = pd.NaT
    data = labelled(table, "trial-outcome")
    assert figures(data, split("abcd", "f", "gh"))["f"][:3] == [4, 1, 1]
    table.frame.loc["b", "primary_completion_date"] = pd.Timestamp("2003-06-15")
    data = labelled(table, "trial-outcome")
    assert figures(data, split("abcd", "f", "gh"))["f"][:3] == [4, 2, 1]


N = 60
STATUSES = ["COMPLETED", "TERMINATED", "WITHDRAWN", "SUSPENDED", "RECRUITING"]


def registry(seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 3000, N)
    end = start + rng.integers(1, 1500, N)
    day = pd.Timestamp("2001-01-15")
    trials: list[tuple[str | None, ...]] = [
        (
            f"t{i}",
            f"s{rng.integers(4)}",
            f"c{rng.integers(5)}|c{rng.integers(5)}",
            str((day + pd.Timedelta(days=int(start[i]))).date()),
            None if rng.random() < 0.1 else str((day + pd.Timedelta(days=int(end[i]))).date()),
            STATUSES[rng.choice(5, p=[0.5, 0.15, 0.1, 0.05, 0.2])],
        )
        for i in range(N)
    ]
    return rows(trials, ("lead_sponsor", "conditions"))


def numbers(table: Rows, parts: Split) -> pd.DataFrame:
    X = with_history(labelled(table, "trial-outcome"), parts).X
    return X[[column.name for column in history_columns(table.history)]]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), flipped=st.integers(0, N - 1), days=st.integers(0, 4000))
def test_what_comes_after_a_start_changes_nothing(seed: int, flipped: int, days: int) -> None:
    """One trial's outcome is turned over and its end put off: rows begun by its end don't move."""
    table = registry(seed)
    data = labelled(table, "trial-outcome")
    parts = make_split(data, SplitOptions(name="stratified"), seed)
    id_ = table.frame.index[flipped]
    if id_ not in data.X.index:
        return
    end = table.frame.loc[id_, "completion_date"]
    frame = table.frame.copy()
    was = frame.loc[id_, "overall_status"]
    frame.loc[id_, "overall_status"] = "TERMINATED" if was == "COMPLETED" else "COMPLETED"
    frame.loc[id_, "completion_date"] = end + pd.Timedelta(days=days)
    before = numbers(table, parts)
    after = numbers(dataclasses.replace(table, frame=frame), parts)
    begun = data.X["start_date"] <= end
    blind = begun | pd.isna(end) | (id_ in parts.test)
    pd.testing.assert_frame_equal(before[blind], after[blind])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_outcomes_of_all_test_rows_turned_over_change_nothing(seed: int) -> None:
    table = registry(seed)
    parts = make_split(labelled(table, "trial-outcome"), SplitOptions(name="stratified"), seed)
    frame = table.frame.copy()
    stopped = frame.loc[parts.test, "overall_status"] != "COMPLETED"
    frame.loc[parts.test, "overall_status"] = np.where(stopped, "COMPLETED", "TERMINATED")
    after = numbers(dataclasses.replace(table, frame=frame), parts)
    pd.testing.assert_frame_equal(numbers(table, parts), after)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_the_figures_are_those_of_a_loop_over_all_pairs(seed: int) -> None:
    table = registry(seed)
    data = labelled(table, "trial-outcome")
    parts = make_split(data, SplitOptions(name="stratified"), seed)
    told = {*parts.train, *parts.valid}
    found = numbers(table, parts)
    for id_ in data.X.index[:10]:
        own = table.frame.loc[id_]
        counts = np.zeros(3)
        for other, row in table.frame.iterrows():
            shared = len(set(own["conditions"].split("|")) & set(row["conditions"].split("|")))
            end = row["completion_date"]
            if not pd.isna(end) and end.day == 1:
                end += pd.offsets.MonthEnd(0)
            known = other in told and not pd.isna(end) and end < own["start_date"]
            counts += shared * np.array(
                [
                    row["start_date"] < own["start_date"],
                    known and row["overall_status"] in ("TERMINATED", "WITHDRAWN", "SUSPENDED"),
                    known and row["overall_status"] == "COMPLETED",
                ]
            )
        assert found.loc[id_].iloc[4:7].tolist() == counts.tolist()


def test_columns_are_declared_as_known_at_registration_and_the_fingerprint_knows_the_past() -> None:
    plain = labelled(rows(TRIALS, ()), "trial-outcome")
    parts = split("abcd", "f", "gh")
    assert with_history(plain, parts) is plain
    data = labelled(rows(TRIALS), "trial-outcome")
    assert with_history(data, parts).inputs("tabular", "registration").numeric == (
        "lead_sponsor_earlier",
        "lead_sponsor_known_stopped",
        "lead_sponsor_known_completed",
        "lead_sponsor_stop_rate",
    )
    later = [*TRIALS[:4], ("e", "Alba", "Fever", "2003-09-10", None, "RECRUITING"), *TRIALS[5:]]
    changed = labelled(rows(later), "trial-outcome")  # an unlabelled row of another start
    hashes = {plain.fingerprint, data.fingerprint, changed.fingerprint}
    assert len(hashes) == 3
    assert plain.fingerprint == labelled(rows(later, ()), "trial-outcome").fingerprint


def test_a_config_asks_for_a_history_and_is_told_what_it_can_ask_for() -> None:
    config = {
        "data": {"reader": "synthetic", "rows": 200, "history": ["lead_sponsor"]},
        "splits": ["stratified"],
        "models": ["prior"],
    }
    with pytest.raises(InputError, match="lack a start date, an end date or a status"):
        read_rows(load(config))
    with pytest.raises(
        InputError, match=r"unknown column in `data\.history` .*did you mean 'lead_sponsor'"
    ):
        asked(rows(TRIALS, ()), ["lead_sponser"])
    with pytest.raises(InputError, match=r"`data\.history` 'completion_date'"):
        asked(rows(TRIALS, ()), ["completion_date"])


def test_a_hundred_thousand_trials_take_seconds() -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    frame = pd.DataFrame(
        {
            "lead_sponsor": (rng.zipf(1.3, n) % 20_000).astype(str),
            "start_date": pd.Timestamp("2000-01-01")
            + pd.to_timedelta(rng.integers(0, 9000, n), "D"),
            "overall_status": rng.choice(["COMPLETED", "TERMINATED", "RECRUITING"], n),
        },
        index=pd.Index([f"t{i}" for i in range(n)]),
    )
    frame["completion_date"] = frame["start_date"] + pd.Timedelta(days=500)
    table = asked(Rows(frame, COLUMNS, date="start_date"), ["lead_sponsor"])
    data = labelled(table, "trial-outcome")
    ids = data.X.index.to_numpy(object)
    began = time.process_time()
    with_history(data, Split("s", ids[:50_000], ids[50_000:60_000], ids[60_000:]))
    assert time.process_time() - began < 5
