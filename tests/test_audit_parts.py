"""Checks of splits and dates: A11 to A16."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from audited import audited, findings, reason, registry, rows_of, table_rows

from benchmark.splits import Split
from features.columns import Column

N = 400


def days(*starts: tuple[str, int]) -> pd.Series:
    """Dates: each start day, and as many following days as said."""
    parts = [pd.date_range(start, periods=n, freq="D") for start, n in starts]
    return pd.Series(pd.DatetimeIndex(np.concatenate(parts)).as_unit("s"))


# Groups


def test_sponsors_on_both_sides_are_a_note_with_their_share() -> None:
    sponsors = [f"s{row}" for row in range(N)]
    sponsors[320:340] = ["s0"] * 20  # 20 of 80 test rows
    (found,) = findings(audited(rows_of(registry(lead_sponsor=sponsors))), "A11")
    assert found.severity == "note"
    assert found.numbers == {"share": 0.25, "group": "lead_sponsor", "test_groups": 61}


def test_sponsors_held_out_by_the_split_may_not_be_on_both_sides() -> None:
    sponsors = pd.Series(["s0"] * N, index=registry().index, name="lead_sponsor")
    rows = rows_of(registry(lead_sponsor=sponsors))
    ids = rows.frame.index.to_numpy(object)
    split = Split("group", ids[:240], ids[240:320], ids[320:], groups=sponsors)
    report = audited(rows, splits={"trial-outcome": [split]})
    assert [f.severity for f in findings(report, "A11")] == ["serious"]


def test_own_sponsors_on_each_side_are_fine_and_none_does_not_apply() -> None:
    assert ("A11", "trial-outcome") in audited(rows_of(registry())).passed
    assert "no sponsor" in reason(audited(rows_of(registry(), group=None)), "A11")


# Dates


def test_temporal_split_counts_train_rows_that_ended_after_the_cut() -> None:
    frame = registry()  # one trial a week; the test part begins with row 320
    ends = frame["start_date"] + pd.Timedelta(days=70)
    # rows 310 to 319 stand in valid; in train none ends so late, until three are made to
    frame["completion_date"] = ends.astype("datetime64[s]")
    frame.loc[["T0000", "T0001", "T0002"], "completion_date"] = frame["start_date"].iloc[320]
    (found,) = findings(audited(rows_of(frame), split="temporal"), "A12")
    assert (found.severity, found.where) == ("warning", "temporal")
    assert found.numbers == {"straddling": 3, "train": 240, "share": 0.0125}
    assert [e.id for e in found.evidence] == ["T0000", "T0001", "T0002"]


def test_temporal_split_without_immature_rows_is_asked_too() -> None:
    frame = registry()
    frame["completion_date"] = frame["start_date"].iloc[399]  # nothing ended before the last start
    (found,) = findings(audited(rows_of(frame), split="temporal-mature"), "A12")
    assert found.numbers == {"straddling": 240, "train": 240, "share": 1.0}


def test_published_split_by_another_date_has_dates_that_straddle() -> None:
    frame = registry()
    swapped = frame["start_date"].to_numpy().copy()
    swapped[[0, 399]] = swapped[[399, 0]]  # the first train row is the latest of all
    frame["start_date"] = swapped
    (found,) = findings(audited(rows_of(frame), split="official"), "A12")
    assert found.severity == "warning"
    # test begins with the date of row 0, so that every train and valid row is as late or later
    assert found.numbers == {"straddling": 320, "train": 320, "test_inside": 80, "test": 80}


def test_true_temporal_split_passes_and_a_random_one_is_not_asked() -> None:
    assert ("A12", "trial-outcome") in audited(rows_of(registry()), split="temporal").passed
    assert "no split of this run" in reason(audited(rows_of(registry())), "A12")
    assert reason(audited(rows_of(registry(), date=None)), "A12") == "the rows have no date"


def censored(open_share: float) -> pd.DataFrame:
    """100 trials in each of eight years; of the last two years this share has no outcome yet."""
    frame = registry(800, start_date=days(*((f"{year}-01-01", 100) for year in range(2010, 2018))))
    last = np.arange(800) >= 600
    open_ = last & (np.arange(800) % 2 == 0) & (np.arange(800) % 100 < 200 * open_share)
    frame["overall_status"] = frame["overall_status"].mask(open_, "RECRUITING")
    return frame


def test_recent_years_without_outcomes_are_serious() -> None:
    report = audited(rows_of(censored(0.3)), split="temporal")
    (found,) = findings(report, "A13")
    assert found.severity == "serious"
    assert found.numbers["since"] == 2016
    # of 100 trials of 2017, 30 of the 50 completed ones are open: 50 of 70 labelled are stopped
    assert found.numbers["years"][2017] == {"rows": 100, "labelled": 70, "stopped": 50}
    assert "30 % have no outcome yet, against 0 % before" in found.found
    assert "to: 2015-12-31" in found.advice


def test_few_open_trials_in_every_year_are_fine() -> None:
    assert ("A13", "trial-outcome") in audited(rows_of(censored(0.0)), split="temporal").passed


def test_years_that_thin_out_as_their_rates_move_look_censored() -> None:
    sizes = dict(zip(range(2010, 2018), (100, 100, 100, 100, 100, 60, 30, 10), strict=True))
    frame = registry(600, start_date=days(*((f"{y}-01-01", n) for y, n in sizes.items())))
    assert findings(audited(rows_of(frame)), "A13") == []  # fewer rows, the same rates
    late = (frame["start_date"] >= "2015-01-01") & (np.arange(600) % 5 > 0)
    frame["overall_status"] = frame["overall_status"].mask(late, "TERMINATED")
    (found,) = findings(audited(rows_of(frame)), "A13")
    assert found.severity == "warning"  # inferred, not seen
    assert found.numbers["since"] == 2015


def test_censoring_needs_years_of_something_that_ends_later() -> None:
    assert reason(audited(rows_of(registry(), date=None)), "A13") == "the rows have no date"
    short = registry(start_date=days(("2010-01-01", N)))
    assert "fewer than five" in reason(audited(rows_of(short)), "A13")
    frame = short.assign(y=["yes", "no"] * 200).rename(columns={"start_date": "seen"})
    rows = table_rows(frame, [Column("brief_summary", "text")], date="seen")
    assert "seen is not the start" in reason(audited(rows, task="table-target"), "A13")


def test_rates_that_rise_with_the_date_are_drift() -> None:
    status = np.where(np.arange(N) % 10 < 1 + 8 * (np.arange(N) > 200), "TERMINATED", "COMPLETED")
    (found,) = findings(audited(rows_of(registry(overall_status=status))), "A14")
    assert found.severity == "warning"
    assert found.numbers["late"] == 0.9
    assert "and 90.0 % of 80 after" in found.found


def test_even_rates_are_no_drift_and_undated_rows_have_none() -> None:
    assert ("A14", "trial-outcome") in audited(rows_of(registry())).passed
    assert reason(audited(rows_of(registry(), date=None)), "A14") == "the rows have no date"
    assert "fewer than 100" in reason(audited(rows_of(registry(60))), "A14")


# Classes


def test_class_that_a_part_lacks_is_serious_but_a_warning_in_valid() -> None:
    status = ["COMPLETED", "TERMINATED"] * 200
    status[:30] = ["WITHDRAWN"] * 30  # in train alone
    report = audited(rows_of(registry(overall_status=status)), task="trial-status")
    found = {f.numbers["part"]: f for f in findings(report, "A15")}
    assert {part: f.severity for part, f in found.items()} == {
        "valid": "warning",
        "test": "serious",
    }
    assert "no 'withdrawn' among 80 test rows" in found["test"].found


@pytest.mark.parametrize(("few", "severity"), [(4, "serious"), (5, "warning"), (29, "warning")])
def test_tiny_class_is_measured_in_test(few: int, severity: str) -> None:
    status = ["COMPLETED", "TERMINATED"] * 160 + ["TERMINATED"] * few + ["COMPLETED"] * (80 - few)
    (found,) = findings(audited(rows_of(registry(overall_status=status))), "A16")
    assert found.severity == severity
    assert found.numbers["test"] == {"stopped": few}


def test_thirty_rows_of_each_class_are_enough() -> None:
    report = audited(rows_of(registry()))
    assert {("A15", "trial-outcome"), ("A16", "trial-outcome")} <= set(report.passed)
