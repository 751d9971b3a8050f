"""A finished cell and a plan written by hand, as a run would have left them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.receipts import json_bytes, sha256
from benchmark.store import Store, parquet_bytes

FITTED: dict[str, Any] = {
    "schema": 1,
    "key": "k",
    "cell": {"split_hash": "h", "dataset_fingerprint": "f"},
    "status": "done",
    "target": {"kind": "binary", "classes": ["no", "yes"]},
    "rows": {"train": 1, "valid": 1, "test": 1, "excluded": 0, "test_classes": {"no": 1, "yes": 0}},
    "seconds": {"fit": 0.5},
    "is_floor": True,
    "is_ceiling": False,
    "notes": {},
    "peak_memory_mb": 1.0,
    "device_name": "a processor",
}
"""The least that the record of a finished cell holds."""


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


def store_binary(
    root: Path,
    model: str,
    scores: Sequence[float],
    truth: Sequence[int],
    *,
    seed: int = 1,
    ids: Sequence[str] = "abcdefghij",
    task: str = "t",
    as_of: str = "registration",
    **more: Any,
) -> dict[str, Any]:
    """Store a finished cell of a yes/no task by hand and return its entry of the plan.

    `scores` are for the positive class; the valid rows are the test rows. `more` goes into the
    record.
    """
    path = f"{task}/{as_of}/{model}/{seed}"
    p, y = np.array(scores), np.array(truth)
    part = pd.DataFrame({"id": list(ids), "y": y, "p_stopped": 1 - p, "p_completed": p})
    frame = pd.concat([part.assign(part="valid"), part.assign(part="test")])
    counts = {"stopped": int((y == 0).sum()), "completed": int((y == 1).sum())}
    rows = {"excluded": 0, "train": 30, "valid": len(y), "test": len(y), "test_classes": counts}
    record = {
        "key": path,
        "target": {"kind": "binary", "classes": ["stopped", "completed"]},
        "is_floor": model == "floor",
        "is_ceiling": model == "ceiling",
        "rows": rows,
        **more,
    }
    store_cell(root, path, record, frame)
    names = {"task": task, "split": "s", "as_of": as_of, "inputs": "text", "model": model}
    return {**names, "seed": seed, "path": path, "key": path, "split_hash": "h"}


def store_plan(root: Path, *cells: dict[str, Any], metrics: list[str] | None) -> Store:
    """Write the plan of these cells."""
    plan = {"schema": 1, "name": "by hand", "metrics": metrics, "cells": list(cells)}
    (root / "plan.json").write_bytes(json_bytes(plan))
    return Store(root)
