from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from stored import FITTED

from benchmark import receipts, store
from benchmark.cells import Cell, Result
from benchmark.store import Store, folder_of, slug, study_of
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
DONE = Result(FITTED, pd.DataFrame({"id": ["a"], "p": [0.5]}))
FAILED = Result({**FITTED, "status": "failed"}, None)


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


@pytest.mark.parametrize(
    ("tail", "lines"),
    [(b"", 2), (b'{"op_code":', 2), (b'{"op_code": 1}', 2), (b'{"op\n{"op_code": 3}\n', 2)],
)
def test_a_study_is_cut_to_its_whole_lines_and_freed_of_a_dead_lock(
    tmp_path: Path, tail: bytes, lines: int
) -> None:
    kept = Store(tmp_path)
    file = tmp_path / ".studies" / f"{study_of(folder_of(cell()))}.jsonl"
    file.parent.mkdir()
    whole = b'{"op_code": 0}\n{"op_code": 4}\n'
    file.write_bytes(whole + tail)
    lock = file.with_name(f"{file.name}.lock")
    lock.symlink_to(file.name)
    assert kept.journal(cell()) == file
    assert file.read_bytes().count(b"\n") == lines
    assert file.read_bytes() == whole
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_study_cut_in_the_middle_goes_on_in_optuna(tmp_path: Path) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    def study() -> Any:
        storage = JournalStorage(JournalFileBackend(str(Store(tmp_path).journal(cell()))))
        return optuna.create_study(storage=storage, study_name="cell", load_if_exists=True)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    (tmp_path / ".studies").mkdir()
    first = study()
    for value in (1.0, 2.0):
        first.tell(first.ask(), value)
    file = Store(tmp_path).journal(cell())
    os.truncate(file, file.stat().st_size - 5)  # in the last line, which ends the second trial
    file.with_name(f"{file.name}.lock").symlink_to(file.name)
    again = study()
    states = [trial.state.name for trial in again.get_trials()]
    assert states == ["COMPLETE", "RUNNING"]
    again.tell(again.ask(), 3.0)
    assert [trial.value for trial in study().get_trials()] == [1.0, None, 3.0]


def test_what_a_kill_before_the_first_plan_left_is_no_other_file(tmp_path: Path) -> None:
    for name in (".plan.json-999999999", ".lock", ".owner.json", ".studies"):
        (tmp_path / name).touch()
    Store(tmp_path).check_ours()
    (tmp_path / ".notes").touch()
    with pytest.raises(InputError, match="holds other files"):
        Store(tmp_path).check_ours()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../../etc"}, "cells.0.path: '../../etc' leads out of the folder"),
        ({"path": "/etc"}, "cells.0.path: '/etc' leads out"),
        ({"path": "a//b"}, "leads out"),
        ({"path": "C:\\a"}, "leads out"),
        ({"split_hash": "../x"}, "cells.0.split_hash: '../x' leads out"),
        ({"path": None}, "cells.0.path: Input should be a valid string"),
        ({"task": 3}, "cells.0.task: Input should be a valid string"),
        ({"model": "\x1b[31mred"}, "cells.0.model: control characters"),
        ({"model": "a\u202eb"}, "cells.0.model: control characters"),
    ],
)
def test_a_plan_that_leads_out_of_its_folder_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    names = ("key", "path", "task", "split", "model", "inputs", "as_of", "split_hash")
    entry = {**dict.fromkeys(names, "x"), "seed": 1, **change}
    plan = {"schema": 1, "name": "n", "metrics": None, "cells": [entry]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match=re.escape(message)):
        Store(tmp_path).plan()


def test_a_full_disk_takes_the_half_written_cell_away_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_write_synced", full)
    with pytest.raises(OSError, match="No space left"):
        Store(tmp_path).write(cell(), DONE)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


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


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": 1', "\x00", "[" * 100_000])
def test_a_damaged_record_is_a_missing_cell(tmp_path: Path, content: str) -> None:
    kept = Store(tmp_path)
    kept.write(cell(), DONE)
    (kept.folder(cell()) / "record.json").write_text(content)
    assert kept.state(kept.folder(cell())) == "missing"
    kept.write(cell(), DONE)
    assert kept.state(kept.folder(cell())) == "done"


@pytest.mark.parametrize(
    "change",
    [
        {"rows": {"train": 1}},
        {"seconds": {"fit": "long"}},
        {"seconds": {"fit": float("inf")}},
        {"target": {"kind": "binary", "classes": ["no", "\x1b[31mred"]}},
        {"cell": {"split_hash": "../x", "dataset_fingerprint": "f"}},
        {"status": "perhaps"},
        {"tuning": {}},
        {"notes": []},
    ],
)
def test_a_record_with_what_no_record_has_is_a_missing_cell(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    kept = Store(tmp_path)
    kept.write(cell(), DONE)
    assert kept.state(kept.folder(cell())) == "done"
    (kept.folder(cell()) / "record.json").write_text(json.dumps({**FITTED, **change}))
    assert kept.state(kept.folder(cell())) == "missing"
    assert kept.record(kept.folder(cell())) is None


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


def test_long_labels_make_names_that_a_file_system_takes_and_that_differ() -> None:
    one, other = slug("x" * 5000), slug("x" * 4999 + "y")
    assert len(one) == len(other) == 109
    assert one != other
    assert slug("x" * 100) == "x" * 100
    assert slug("\ud800") == slug("\ud800") != ""
