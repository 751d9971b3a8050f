from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark import receipts, store
from benchmark.cells import Cell, Result
from benchmark.store import Store, slug
from features.errors import InputError


def cell(**changes: Any) -> Cell:
    fields: dict[str, Any] = {
        "task": "t", "split": "s", "seed": 1, "model": "prior", "label": "prior", "inputs": "none",
        "as_of": "registration", "params": {}, "columns": (), "split_hash": "h",
        "dataset_fingerprint": "f", "weights": None, "device": None, "threads": None,
        "libraries": {}, "code": "c",
    }  # fmt: skip
    return Cell(**{**fields, **changes})


KEY_CHANGES: list[tuple[dict[str, Any], bool]] = [
    ({"label": "other"}, True),
    ({"seed": 2}, False),
    ({"params": {"C": 1.0}}, False),
    ({"columns": ("a",)}, False),
    ({"split_hash": "other"}, False),
    ({"dataset_fingerprint": "other"}, False),
    ({"weights": "other"}, False),
    ({"device": "cuda"}, False),
    ({"threads": 4}, False),
    ({"task": "other"}, False),
    ({"split": "other"}, False),
    ({"model": "other"}, False),
    ({"inputs": "text"}, False),
    ({"libraries": {"numpy": "1"}}, False),
    ({"code": "other"}, False),
    ({"as_of": "after"}, False),
    ({"tune": {"trials": 3}}, False),
    ({"refit": True}, False),
    ({"calibrate": "platt"}, False),
    ({"explain": {"rows": 3}}, False),
    ({"members": {"other/text": "place"}}, False),
    ({"redact": True}, False),
]
OPENING = {"schema": 1, "key": "k", "cell": {}}
DONE = Result({**OPENING, "status": "done"}, pd.DataFrame({"id": ["a"], "p": [0.5]}))
FAILED = Result({**OPENING, "status": "failed"}, None)


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
    cells = tmp_path / "t" / "s" / "m"
    dead, alive = cells / f".{'a' * 16}-999999999", cells / f".{'a' * 16}-{os.getpid()}"
    for folder in (dead, alive):
        folder.mkdir(parents=True)
    (tmp_path / ".plan.json-999999999").touch()
    mine = [tmp_path / ".notes-20240101", cells / ".notes-999999999", tmp_path / "a" / ".b-999999"]
    for file in mine:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    Store(tmp_path).write(cell(), DONE)
    Store(tmp_path).sweep()
    assert not dead.exists()
    assert not (tmp_path / ".plan.json-999999999").exists()
    assert alive.exists()
    assert all(file.exists() for file in mine)
    assert Store(tmp_path).state(Store(tmp_path).folder(cell())) == "done"


def test_a_cell_without_its_predictions_is_missing(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    kept.write(cell(), DONE)
    (kept.folder(cell()) / "predictions.parquet").unlink()
    assert kept.state(kept.folder(cell())) == "missing"


def test_predictions_that_were_changed_are_refused(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    kept.write(cell(), DONE)
    file = kept.folder(cell()) / "predictions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"predictions\.parquet is not the file"):
        kept.predictions(kept.folder(cell()))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 1', "\x00"])
def test_a_damaged_record_is_a_missing_cell(tmp_path: Path, content: str) -> None:
    kept = Store(tmp_path)
    kept.write(cell(), DONE)
    (kept.folder(cell()) / "record.json").write_text(content)
    assert kept.state(kept.folder(cell())) == "missing"
    kept.write(cell(), DONE)
    assert kept.state(kept.folder(cell())) == "done"


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 1}'])
def test_a_damaged_plan_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(InputError, match=r"plan\.json is damaged"):
        Store(tmp_path).plan()


def test_a_second_writer_of_a_finished_cell_leaves_the_first_result(tmp_path: Path) -> None:
    kept = Store(tmp_path)
    kept.write(cell(), DONE)
    before = (kept.folder(cell()) / "record.json").stat().st_mtime_ns
    kept.write(cell(), DONE)
    assert (kept.folder(cell()) / "record.json").stat().st_mtime_ns == before
    assert [path.name for path in kept.folder(cell()).parent.iterdir()] == [cell().key[:16]]


def test_every_field_but_the_label_is_in_the_key_test() -> None:
    covered = {name for change, _ in KEY_CHANGES for name in change}
    assert covered == {field.name for field in dataclasses.fields(Cell)}


@pytest.mark.parametrize(("change", "same"), KEY_CHANGES)
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
