"""Fitting again gives the same predictions, whatever the number of threads and jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from recorded import cell

import benchmark
from benchmark.determinism import Refit, refit
from benchmark.receipts import json_bytes, sha256
from benchmark.store import parquet_bytes


@pytest.fixture
def matrix(small: dict[str, Any]) -> dict[str, Any]:
    """Two learners whose cells are tuned, and a blend of them."""
    models = [
        {"name": "tfidf-logreg", "inputs": "text"},
        {"name": "lightgbm", "inputs": "tabular"},
        "blend",
    ]
    tune = {"trials": 2, "folds": 2}
    return {**small, "splits": ["stratified"], "models": models, "tune": tune, "explain": False}


def hashes(folder: Path) -> dict[str, str]:
    """Predictions by model, whatever folder their key names."""
    found = {}
    for file in folder.rglob("record.json"):
        record = json.loads(file.read_text())
        found[record["cell"]["label"]] = record["predictions_sha256"]
    return found


def test_the_number_of_threads_and_jobs_changes_no_prediction(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    for name, threads, jobs in (("one", 1, 1), ("two", 2, 1), ("jobs", 1, 2)):
        benchmark.run({**matrix, "threads": threads}, out=tmp_path / name, jobs=jobs)
    assert set(hashes(tmp_path / "one")) == {"tfidf-logreg", "lightgbm", "blend", "ceiling"}
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two") == hashes(tmp_path / "jobs")


def test_one_cell_of_each_model_is_fitted_again_and_is_the_same(
    matrix: dict[str, Any], tmp_path: Path
) -> None:
    matrix["seeds"] = [1, 2]
    benchmark.run(matrix, out=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = list(refit(matrix, tmp_path))
    assert [each.cell.label for each in again] == ["tfidf-logreg", "lightgbm", "blend"]
    assert {each.cell.seed for each in again} == {1}
    assert all(each.same and each.passes and each.largest == 0 for each in again)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def doctored(folder: Path, label: str) -> None:
    """Stored predictions of a model as another fit might leave them: one is .25 nearer to .5."""
    (file,) = (f for f in folder.rglob("record.json") if f.parts[-3] == label)
    frame = pd.read_parquet(file.with_name("predictions.parquet"))
    moved = frame.loc[0, "p_completed"] + (0.25 if frame.loc[0, "p_completed"] < 0.5 else -0.25)
    frame.loc[0, ["p_stopped", "p_completed"]] = [1 - moved, moved]
    data = parquet_bytes(frame)
    file.with_name("predictions.parquet").write_bytes(data)
    record = {**json.loads(file.read_text()), "predictions_sha256": sha256(data)}
    file.write_bytes(json_bytes(record))


def test_the_command_says_how_much_a_model_differs_and_fails(
    matrix: dict[str, Any], tmp_path: Path, call: Any
) -> None:
    matrix |= {"models": matrix["models"][:2], "tune": None}
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(matrix))
    words = ("run", config, "--out", tmp_path / "out", "--check-determinism")
    code, out, _ = call(*words)
    assert code == 0
    assert out.count("fitted again: trial-outcome stratified") == 2
    assert out.count(": the same predictions\n") == 2
    doctored(tmp_path / "out", "lightgbm")
    code, out, err = call(*words)
    assert code == 1, err
    assert "lightgbm tabular: predictions differ by up to 0.25\n" in out
    assert out.count(": the same predictions\n") == 1


@pytest.mark.parametrize(
    ("device", "largest", "passes"),
    [("cpu", 1e-9, False), (None, 1e-9, False), ("cuda", 0.04, True), ("cuda", 0.06, False)],
)
def test_only_a_gpu_is_given_a_tolerance(device: str | None, largest: float, passes: bool) -> None:
    assert Refit(cell(device=device), False, largest).passes is passes
