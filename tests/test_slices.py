"""Years, phases and sponsor classes of a run's rows: enough to cut scores by, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmark import run
from benchmark.dataset import Rows
from benchmark.slices import read_slices, slices_of
from benchmark.store import Store
from benchmark.verify import verify


def rows(**more: Any) -> Rows:
    frame = pd.DataFrame(
        {
            "started": pd.to_datetime(["2019-05-01", None, "2021-12-31"]),
            "phases": ["PHASE1", None, "PHASE2"],
            "brief_title": ["a secret", "b", "c"],
            **more,
        },
        index=["NCT2", "NCT1", "NCT3"],
    )
    return Rows(frame, (), date="started")


def test_year_and_phase_of_the_asked_ids_by_id() -> None:
    found = slices_of(rows(), ["NCT2", "NCT1", "NCT2"])
    assert found["id"].tolist() == ["NCT1", "NCT2"]
    assert found["year"].astype("object").where(found["year"].notna(), None).tolist() == [
        None,
        2019,
    ]
    assert found["phase"].tolist()[1] == "PHASE1"
    assert found["phase"].isna().tolist() == [True, False]


def test_what_the_rows_do_not_have_is_no_column_and_no_text_is_kept() -> None:
    assert list(slices_of(rows(), ["NCT1", "NCT2", "NCT3"])) == ["id", "year", "phase"]
    assert list(slices_of(rows(sponsor_class=None), ["NCT3"])) == ["id", "year", "phase"]
    undated = Rows(rows().frame[["brief_title"]], ())
    assert list(slices_of(undated, ["NCT1"])) == ["id"]


def test_a_run_stores_them_and_verify_proves_the_file(
    small: dict[str, Any], tmp_path: Path
) -> None:
    done = run({**small, "splits": ["temporal"], "models": ["prior"]}, out=tmp_path / "run")
    store = Store(done.folder)
    found = read_slices(store)
    assert found is not None
    assert set(done.predictions()["id"]) <= set(found.index)
    assert set(found) == {"year", "phase", "sponsor_class"}
    assert "slices.parquet" in verify(store).proven
    (done.folder / "slices.parquet").write_bytes(b"another file")
    assert [wrong.file for wrong in verify(store).mismatches] == ["slices.parquet"]


def test_a_folder_without_them_has_none(tmp_path: Path) -> None:
    assert read_slices(Store(tmp_path)) is None
