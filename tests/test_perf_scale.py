"""The script that measures growth: what it makes, what its clock counts, what its slopes say."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

import pandas as pd
import pytest
from perf.scale import (
    PHASES,
    WRAPPED,
    Clock,
    Growth,
    characters,
    median,
    owner_of,
    perturbed,
    slope,
    write_studies,
)

WORDS = " ".join(f"w{i}" for i in range(40))


def studies(n: int) -> pd.DataFrame:
    """`n` studies of 40 words and no detailed description; every second one has an outcome."""
    return pd.DataFrame(
        {
            "nct_id": [f"NCT{i:08d}" for i in range(n)],
            "brief_summary": [f"{WORDS} n{i}" for i in range(n)],
            "detailed_description": pd.Series([None] * n, dtype="str"),
            "overall_status": ["COMPLETED", "RECRUITING"] * (n // 2),
            "has_summary_and_final_status": [True, False] * (n // 2),
        }
    )


def test_a_tenth_of_the_words_is_dropped_or_exchanged() -> None:
    words = set(WORDS.split())
    changed = perturbed(WORDS, random.Random(3), ["other"]).split()
    assert changed != WORDS.split()
    assert set(changed) <= words | {"other"}
    assert 40 - 4 <= len(changed) <= 40  # four changes at most, some of them drops
    assert len(words & set(changed)) >= 36


def test_copies_have_new_ids_and_texts_and_the_statuses_of_the_real_ones(tmp_path: Path) -> None:
    real, made = tmp_path / "real.parquet", tmp_path / "made.parquet"
    studies(100).to_parquet(real)
    write_studies(real, 250, made, finished=False)
    found = pd.read_parquet(made)
    assert len(found) == 250
    assert found["nct_id"].is_unique
    assert found["brief_summary"].is_unique
    assert found["detailed_description"].isna().all()
    assert found["overall_status"].iloc[100:200].value_counts().to_dict() == {
        "COMPLETED": 50,
        "RECRUITING": 50,
    }
    assert characters(made) == found["brief_summary"].str.len().sum()


def test_finished_studies_alone_are_copied_when_asked_for(tmp_path: Path) -> None:
    real, made = tmp_path / "real.parquet", tmp_path / "made.parquet"
    studies(100).to_parquet(real)
    write_studies(real, 120, made, finished=True)
    assert set(pd.read_parquet(made)["overall_status"]) == {"COMPLETED"}


def test_seconds_count_for_the_innermost_phase_alone() -> None:
    clock = Clock()
    with clock("fit"):
        time.sleep(0.02)
        with clock("features"):
            time.sleep(0.05)
    clock.close()
    whole = clock.since[0] - clock.entered[0][0]
    assert sum(clock.wall.values()) == pytest.approx(whole)
    assert clock.wall["features"] >= 0.05
    assert 0.02 <= clock.wall["fit"] <= whole - 0.05
    assert [phase for _, phase in clock.entered] == ["rest", "fit", "features", "fit", "rest"]


@pytest.mark.parametrize("place", WRAPPED)
def test_what_is_put_on_the_clock_is_a_function_of_trialmark(place: str) -> None:
    owner, name = owner_of(place)
    assert callable(getattr(owner, name))


def test_a_slope_of_one_is_linear_and_too_little_has_none() -> None:
    assert slope(2.0, 20.0, math.log(10)) == pytest.approx(1)
    assert slope(2.0, 200.0, math.log(10)) == pytest.approx(2)
    assert math.isnan(slope(0.01, 0.1, math.log(10)))


def test_what_was_measured_is_kept_and_another_config_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "growth.json"
    run = {
        "studies": 10,
        "wall": dict.fromkeys(PHASES, 1.0),
        "cpu": dict.fromkeys(PHASES, 2.0),
        "peak_mb_by_phase": {"fit": 7.0},
        "peak_mb": 7.0,
    }
    Growth(file, {"finished": False}).add(run)
    again = Growth(file, {"finished": False})
    assert again.of(10) == [run]
    assert again.of(20) == []
    assert median([run, {**run, "peak_mb": 9.0}, run])["peak_mb"] == 7.0
    with pytest.raises(SystemExit, match="another config"):
        Growth(file, {"finished": True})
