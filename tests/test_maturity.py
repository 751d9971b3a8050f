"""Which start cohorts are mature, what a cut-off leaves out, and what that does to ranks."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark.config import load
from benchmark.dataset import Dataset, Rows
from benchmark.history import register
from benchmark.matrix import read_rows
from benchmark.maturity import cohorts, cutoff, last_mature, rank_changes
from benchmark.render import render
from benchmark.splits import SplitOptions, make_split
from benchmark.tasks import labelled
from features.errors import InputError

SHARES = {
    2010: (40, 0, 10),
    2011: (36, 4, 10),
    2012: (37, 3, 0),
    2013: (30, 10, 0),
    2014: (4, 36, 0),
}
"""Trials with an outcome, ongoing, and of unknown status, by start year."""


def rows(shares: dict[int, tuple[int, int, int]] = SHARES) -> Rows:
    start, status = [], []
    for year, (known, ongoing, lost) in shares.items():
        n = known + ongoing + lost
        start += [f"{year}-{1 + 12 * i // n:02d}-{1 + i % 28:02d}" for i in range(n)]
        outcomes = ["COMPLETED", "TERMINATED"] * known
        status += outcomes[:known] + ["RECRUITING"] * ongoing + ["UNKNOWN"] * lost
    frame = pd.DataFrame(
        {"start_date": pd.to_datetime(start), "overall_status": pd.array(status, "str")},
        index=pd.Index([f"t{i:03d}" for i in range(len(start))], name="id"),
    )
    return Rows(frame, (), date="start_date")


def dataset(shares: dict[int, tuple[int, int, int]] = SHARES) -> Dataset:
    return labelled(rows(shares), "trial-outcome")


def test_a_cohort_counts_those_with_an_outcome_and_those_still_going_on() -> None:
    found = cohorts(dataset(), every="year")
    assert found.index.astype(str).tolist() == ["2010", "2011", "2012", "2013", "2014"]
    assert found["rows"].tolist() == [40] * 5  # trials of unknown status are not awaited
    assert found["known"].tolist() == [40, 36, 37, 30, 4]
    assert found["share"].tolist() == pytest.approx([1, 0.9, 0.925, 0.75, 0.1])


def test_cohorts_are_quarters_where_these_are_large_and_years_otherwise() -> None:
    assert cohorts(dataset()).index.freqstr.startswith("Y")
    large = {year: (10 * known, 10 * ongoing, 0) for year, (known, ongoing, _) in SHARES.items()}
    found = cohorts(dataset(large))
    assert found.index.freqstr.startswith("Q")
    assert found["rows"].sum() == 2000


def test_the_cut_off_is_the_last_day_of_the_last_mature_cohort() -> None:
    assert cutoff(dataset()) == pd.Timestamp("2012-12-31")
    assert cutoff(dataset(), least=0.95) == pd.Timestamp("2010-12-31")
    assert cutoff(dataset(), least=0.7) == pd.Timestamp("2013-12-31")


def test_a_small_late_cohort_says_nothing() -> None:
    assert cutoff(dataset({**SHARES, 2015: (5, 0, 0)})) == pd.Timestamp("2012-12-31")


def test_without_ongoing_trials_or_a_mature_cohort_a_date_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"no row awaits its outcome.*give a date as in"):
        cutoff(dataset({2010: (40, 0, 5), 2011: (40, 0, 5)}))
    with pytest.raises(InputError, match=r"of 2 start cohorts .* none is mature, at best 50% of"):
        cutoff(dataset({2010: (20, 20, 0), 2011: (10, 30, 0)}))
    data = dataset()
    with pytest.raises(InputError, match="maturity: the rows have no date"):
        cohorts(Dataset("t", data.target, data.X, data.y, columns=()))


def test_rows_without_status_await_what_their_task_does_not_label() -> None:
    frame = rows().frame.rename(columns={"overall_status": "top-phase-1"})
    frame["top-phase-1"] = np.where(frame["top-phase-1"] == "RECRUITING", None, "success")
    known = frame["top-phase-1"].notna().to_numpy()
    table = register(Rows(frame, (), date="start_date"), known)
    assert table is not None
    assert table["awaited"].sum() == 53
    assert table["labelled"].sum() == len(frame) - 53


def test_a_temporal_split_leaves_immature_rows_out_of_every_part_and_counts_them() -> None:
    data = dataset()
    found = make_split(data, SplitOptions(name="temporal", maturity="auto"), 1)
    assert found.name == "temporal-mature"
    assert found.excluded == 34  # the outcomes of 2013 and 2014
    assert data.dates is not None
    ids = np.concatenate([found.train, found.valid, found.test])
    assert len(ids) == 113
    assert data.dates[ids].max() <= pd.Timestamp("2012-12-31")
    whole = make_split(data, SplitOptions(name="temporal"), 1)
    assert (whole.name, whole.excluded) == ("temporal", 0)


def test_maturity_is_read_from_yaml_as_auto_off_or_a_date(tmp_path: Path) -> None:
    for written, found in (("auto", "auto"), ("off", "off"), ("2012-06-30", date(2012, 6, 30))):
        path = tmp_path / "c.yaml"
        path.write_text(f"splits: [{{name: temporal, maturity: {written}}}]\nmodels: prior\n")
        assert load(path).splits[0].maturity == found
    path.write_text("splits: [{name: temporal, maturity: soon}]\nmodels: prior\n")
    with pytest.raises(InputError, match="maturity"):
        load(path)
    assert last_mature(dataset(), date(2012, 6, 30)) == pd.Timestamp("2012-06-30")
    assert last_mature(dataset(), "off") is None


def board(**ranks: tuple[float, int]) -> list[dict[str, Any]]:
    return [
        {
            "task": "t", "as_of": "registration", "metric": metric, "inputs": "text",
            "model": name, "value": value, "rank": rank,
        }
        for name, (value, rank) in ranks.items()
        for metric in ("roc_auc", "brier")
    ]  # fmt: skip


def test_rank_changes_say_who_rises_without_the_immature_rows() -> None:
    whole = [{**row, "split": "temporal"} for row in board(a=(0.7, 1), b=(0.6, 2), c=(0.5, 3))]
    mature = board(a=(0.6, 2), b=(0.65, 1), d=(0.4, 3))
    late = [{**row, "split": "temporal-mature"} for row in mature]
    other = [{**row, "split": "stratified"} for row in board(a=(0.9, 1))]
    rows = pd.DataFrame(whole + late + other).astype({"rank": "Int64"})
    found = rank_changes(rows, ["roc_auc"])
    assert found["model"].tolist() == ["a", "b"]
    assert found["split"].tolist() == ["temporal", "temporal"]
    assert found["change"].tolist() == [-1, 1]
    assert found["value_all"].tolist() == [0.7, 0.6]
    assert found["value_mature"].tolist() == [0.6, 0.65]


def test_both_splits_stand_in_one_board_of_a_censored_registry(tmp_path: Path) -> None:
    config = {
        "data": {"reader": "synthetic", "rows": 1500, "censoring": 0.9},
        "splits": ["temporal", {"name": "temporal", "maturity": "auto"}],
        "models": ["prior", {"name": "tfidf-logreg", "inputs": "text"}],
        "explain": False,
    }
    run = benchmark.run(config, out=tmp_path / "run")
    rows = run.leaderboard("roc_auc")
    excluded = rows.groupby("split")["n_excluded"].first()
    assert excluded["temporal"] == 0
    assert excluded["temporal-mature"] > 0
    splits = pd.concat(
        [
            pd.read_parquet(run.folder / "splits" / f"{name}.parquet").assign(hash=name)
            for name in rows.loc[rows["split"] == "temporal-mature", "split_hash"].unique()
        ]
    )
    started = labelled(read_rows(load(config)), "trial-outcome").dates
    assert started is not None
    assert started[splits["id"]].max().year == 2020  # censoring begins with 2021
    changes = rank_changes(rows, ["roc_auc"])
    text = render(run.board(), "terminal")
    assert "ROC-AUC with and without rows too young to have an outcome" in text
    assert set(changes["model"]) >= {"prior", "tfidf-logreg"}
