"""A finished cell and a plan written by hand, as a run would have left them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.receipts import json_bytes, sha256
from benchmark.store import Store, parquet_bytes


def store_cell(root: Path, path: str, record: dict[str, Any], frame: pd.DataFrame) -> None:
    """Write a record of a done cell, completed with what every record has, and its predictions."""
    data = parquet_bytes(frame)
    whole = {
        "schema": 1,
        "status": "done",
        "cell": {"split_hash": "h", "dataset_fingerprint": "f"},
        "seconds": {"read": 9.0, "features": 1.0, "fit": 2.0, "predict": 0.5},
        "peak_memory_mb": 100.0,
        "device_name": "a processor",
        "notes": {},
        **record,
        "predictions_sha256": sha256(data),
    }
    (root / path).mkdir(parents=True)
    (root / path / "record.json").write_bytes(json_bytes(whole))
    (root / path / "predictions.parquet").write_bytes(data)


def store_plan(root: Path, *cells: dict[str, Any], metrics: list[str] | None) -> Store:
    """Write the plan of these cells."""
    plan = {"schema": 1, "name": "by hand", "metrics": metrics, "cells": list(cells)}
    (root / "plan.json").write_bytes(json_bytes(plan))
    return Store(root)
