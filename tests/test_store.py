from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark import receipts, store
from benchmark.cells import Cell, Result
from benchmark.store import Store, slug


def cell(**changes: Any) -> Cell:
    fields: dict[str, Any] = {
        "task": "t", "split": "s", "seed": 1, "model": "prior", "label": "prior", "inputs": "none",
        "as_of": "registration", "params": {}, "columns": (), "split_hash": "h",
        "dataset_fingerprint": "f", "weights": None, "libraries": {}, "code": "c",
    }  # fmt: skip
    return Cell(**{**fields, **changes})


DONE = Result({"schema": 1, "status": "done"}, pd.DataFrame({"id": ["a"], "p": [0.5]}))
FAILED = Result({"schema": 1, "status": "failed"}, None)


def test_a_cell_is_written_with_the_hash_of_its_predictions(tmp_path: Path) -> None:
    Store(tmp_path).write(cell(), DONE)
    folder = Store(tmp_path).folder(cell())
    assert folder == tmp_path / "t" / "s" / "prior" / cell().key[:16]
    record = json.loads((folder / "record.json").read_text())
    data = (folder / "predictions.parquet").read_bytes()
    assert record["predictions_sha256"] == receipts.sha256(data)
    assert sorted(path.name for path in folder.iterdir()) == ["predictions.parquet", "record.json"]


def test_a_later_success_replaces_a_failure(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    assert kept.state(kept.folder(cell())) == "missing"
    kept.write(cell(), FAILED)
    assert kept.state(kept.folder(cell())) == "failed"
    kept.write(cell(), DONE)
    assert kept.state(kept.folder(cell())) == "done"


def test_a_crash_while_writing_leaves_no_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_write_synced", full)
    with pytest.raises(OSError, match="No space left"):
        Store(tmp_path).write(cell(), DONE)
    assert Store(tmp_path).state(Store(tmp_path).folder(cell())) == "missing"


def test_sweep_removes_what_dead_processes_left_and_nothing_else(tmp_path: Path) -> None:
    dead, alive = tmp_path / "t" / ".cell-999999999", tmp_path / "t" / f".cell-{os.getpid()}"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
    (tmp_path / ".plan.json-999999999").touch()
    (tmp_path / ".gitignore-mine").touch()
    Store(tmp_path).write(cell(), DONE)
    Store(tmp_path).sweep()
    assert not dead.exists()
    assert not (tmp_path / ".plan.json-999999999").exists()
    assert alive.exists()
    assert (tmp_path / ".gitignore-mine").exists()
    assert Store(tmp_path).state(Store(tmp_path).folder(cell())) == "done"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"label": "other"}, True),
        ({"seed": 2}, False),
        ({"params": {"C": 1.0}}, False),
        ({"columns": ("a",)}, False),
        ({"split_hash": "other"}, False),
        ({"dataset_fingerprint": "other"}, False),
        ({"weights": "other"}, False),
        ({"libraries": {"numpy": "1"}}, False),
        ({"code": "other"}, False),
        ({"as_of": "after"}, False),
    ],
)
def test_the_key_holds_everything_that_changes_the_result(
    change: dict[str, Any], same: bool
) -> None:
    assert (cell(**change).key == cell().key) is same


def test_the_key_does_not_depend_on_the_order_of_parameters_or_the_place_of_weights() -> None:
    assert cell(params={"a": 1, "b": 2}).key == cell(params={"b": 2, "a": 1}).key
    here, there = ({"checkpoint": place, "lr": 1.0} for place in ("/a/model", "/b/model"))
    assert cell(params=here, weights="w").key == cell(params=there, weights="w").key
    assert cell(params=here, weights="w").key != cell(params=there, weights="v").key


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("lightgbm", "lightgbm"),
        ("my model/2", "my-model-2"),
        ("../../etc", "etc"),
        ("a..b", "a..b"),
    ],
)
def test_a_label_makes_a_safe_folder_name(name: str, folder: str) -> None:
    assert slug(name) == folder


def test_a_label_without_a_usable_letter_still_makes_a_folder_name() -> None:
    assert slug("..") not in ("", ".", "..")
    assert slug("模型") != slug("模")
