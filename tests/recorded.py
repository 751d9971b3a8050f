"""A small run written by the store itself, with probabilities chosen by hand."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.cells import SCHEMA, Cell, Result
from benchmark.splits import Split
from benchmark.store import Store, folder_of, parquet_bytes

SPLIT = Split(
    "stratified",
    *(np.array(ids, dtype=object) for ids in (["a", "b"], ["c", "d"], ["e", "f", "g", "h"])),
)
TRUTH = {"c": 0, "d": 1, "e": 0, "f": 0, "g": 1, "h": 1}
GOOD = {"c": 0.1, "d": 0.9, "e": 0.1, "f": 0.4, "g": 0.35, "h": 0.8}
"""ROC-AUC .75 on e to h: of the four pairs of a positive and a negative, g < f is wrong."""
PERFECT = {**GOOD, "g": 0.7}


def cell(**changes: Any) -> Cell:
    """A cell of the split `SPLIT`."""
    fields: dict[str, Any] = {
        "task": "t", "split": "stratified", "seed": 1, "model": "m", "label": "m", "inputs": "text",
        "as_of": "registration", "params": {"C": 1.0}, "columns": ("title", "summary"),
        "split_hash": SPLIT.hash, "dataset_fingerprint": "f" * 64, "weights": None, "device": None,
        "threads": None, "libraries": {"numpy": "2.4.6"}, "code": "c" * 64, "tune": None,
        "refit": False, "calibrate": None, "explain": None, "members": {},
    }  # fmt: skip
    return Cell(**{**fields, **changes})


def record_of(one: Cell, **more: Any) -> dict[str, Any]:
    """What a run would record of a finished cell."""
    return {
        "schema": SCHEMA,
        "key": one.key,
        "cell": asdict(one),
        "status": "done",
        "target": {"kind": "binary", "classes": ["no", "yes"]},
        "is_floor": False,
        "is_ceiling": False,
        "rows": {
            "train": 2, "valid": 2, "test": 4, "excluded": 0, "test_classes": {"no": 2, "yes": 2},
        },
        "seconds": {"read": 9.0, "features": 1.0, "fit": 2.0, "predict": 0.5},
        "peak_memory_mb": 100.0,
        "device": "cpu",
        "device_name": "a processor",
        "threads": 2,
        "environment": {"python": "3.11", "processor": "a processor", "versions": {"numpy": "2"}},
        "notes": {},
        **more,
    }  # fmt: skip


def predictions(chances: dict[str, float]) -> pd.DataFrame:
    """The stored form of chances of `yes` by id."""
    ids = list(chances)
    p = np.array(list(chances.values()))
    return pd.DataFrame(
        {
            "id": ids,
            "part": ["valid" if one in "cd" else "test" for one in ids],
            "y": [TRUTH[one] for one in ids],
            "p_no": 1 - p,
            "p_yes": p,
        }
    )


def write_run(root: Path, *cells: Cell) -> Store:
    """The plan of these cells and what goes with it, without results."""
    store = Store(root)
    plan = {
        "name": "by hand",
        "metrics": ["roc_auc"],
        "datasets": {"t": {"fingerprint": cells[0].dataset_fingerprint}},
        "cells": [
            {
                "key": one.key, "path": folder_of(one), "task": one.task, "split": one.split,
                "seed": one.seed, "model": one.label, "inputs": one.inputs, "as_of": one.as_of,
                "split_hash": one.split_hash,
            }
            for one in cells
        ],
    }  # fmt: skip
    files = {
        "config.yaml": b"name: by hand\n",
        "rejected.csv": b"row,id,reason\n",
        f"splits/{SPLIT.hash}.parquet": parquet_bytes(SPLIT.frame()),
    }
    store.write_run(plan, files)
    return store


def write_cell(store: Store, one: Cell, chances: dict[str, float], **more: Any) -> None:
    """A finished cell with these chances of `yes`."""
    store.write(one, Result(record_of(one, **more), predictions(chances)))
