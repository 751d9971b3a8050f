"""A results folder proves itself, and says which file does not match."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from recorded import GOOD, PERFECT, SPLIT, cell, predictions, record_of, write_cell, write_run

import benchmark
from benchmark import receipts
from benchmark.cells import Result
from benchmark.store import SCORES, Store, folder_of, parquet_bytes
from benchmark.verify import verify

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path) -> Store:
    """Two finished cells, one of them explained, and a stored leaderboard."""
    one, other = cell(), cell(label="other", params={"C": 2.0})
    store = write_run(tmp_path / "run", one, other)
    write_cell(store, one, GOOD)
    texts = pd.DataFrame({"id": ["e"], "field": ["title"], "text": ["made up"]})
    store.write(other, Result(record_of(other), predictions(PERFECT), {"rows": 1}, texts))
    return store


def stored_board(call: Call, store: Store, *more: str) -> Path:
    file = store.root / "leaderboard.json"
    command = ("leaderboard", store.root, "--format", "json", "--output", file)
    assert call(*command, *more)[0] == 0
    return file


def flaws(store: Store) -> dict[str, str]:
    return {wrong.file: wrong.why for wrong in verify(store).mismatches}


def test_a_sound_run_is_proven_as_a_whole(run: Store, call: Call) -> None:
    stored_board(call, run)
    found = verify(run)
    assert found.mismatches == []
    assert found.unproven == []
    files = {p.relative_to(run.root).as_posix() for p in run.root.rglob("*") if p.is_file()}
    assert set(found.proven) == files
    assert len(files) == 13  # two of them are the draws kept of the cells
    assert found.scores == len(json.loads((run.root / "leaderboard.json").read_text()))
    code, out, _ = call("verify", run.root)
    assert code == 0
    assert out.startswith("13 files match, 0 do not, 0 are unproven; ")


def test_one_byte_changed_in_any_file_is_found_and_named(run: Store, call: Call) -> None:
    stored_board(call, run)
    for file in sorted(path for path in run.root.rglob("*") if path.is_file()):
        whole = file.read_bytes()
        name = file.relative_to(run.root).as_posix()
        for place in sorted({0, len(whole) // 3, len(whole) // 2, len(whole) - 1}):
            for mask in (0x01, 0x80):
                broken = bytearray(whole)
                broken[place] ^= mask
                file.write_bytes(broken)
                assert name in flaws(run), f"byte {place} of {name}"
        code, out, _ = call("verify", run.root)
        assert code == 1
        assert f"mismatch  {name}: " in out
        file.write_bytes(whole)
    assert flaws(run) == {}


def test_a_seal_holds_for_the_very_bytes_only() -> None:
    whole = receipts.sealed({"schema": 2, "name": "é", "value": 0.1, "more": {"a": [1, None]}})
    assert receipts.seal_holds(whole) is True
    for place in range(len(whole)):
        for mask in (0x01, 0x20, 0x80):
            broken = bytearray(whole)
            broken[place] ^= mask
            assert receipts.seal_holds(bytes(broken)) is not True
    assert receipts.seal_holds(receipts.json_bytes({"a": 1})) is None
    assert receipts.seal_holds(b'{"a": ') is False
    assert receipts.seal_holds(json.dumps({"a": float("nan"), "seal": ""}).encode()) is False


def test_a_changed_record_with_a_new_seal_does_not_have_its_key(run: Store) -> None:
    one = cell()
    record = record_of(one)
    record["cell"]["params"] = {"C": 3.0}
    (run.root / folder_of(one) / "record.json").write_bytes(receipts.sealed(record))
    name = f"{folder_of(one)}/record.json"
    assert flaws(run) == {name: "its key is not the hash of its cell"}


def test_a_record_in_the_folder_of_another_cell_is_found(run: Store) -> None:
    one, other = folder_of(cell()), folder_of(cell(label="other", params={"C": 2.0}))
    shutil.copytree(run.root / other, run.root / one, dirs_exist_ok=True)
    found = flaws(run)
    assert found == {f"{one}/record.json": "its key is not the one that its folder is named by"}


def test_a_record_of_another_split_than_planned_is_found(run: Store) -> None:
    plan = json.loads((run.root / "plan.json").read_bytes())
    plan["cells"][0]["split_hash"] = "0" * 64
    del plan["seal"]
    (run.root / "plan.json").write_bytes(receipts.sealed(plan))
    name = f"{folder_of(cell())}/record.json"
    assert flaws(run)[name] == "it is of another cell than plan.json says"


def test_a_record_of_other_data_than_planned_is_found(run: Store) -> None:
    plan = json.loads((run.root / "plan.json").read_bytes())
    plan["datasets"]["t"]["fingerprint"] = "0" * 64
    del plan["seal"]
    (run.root / "plan.json").write_bytes(receipts.sealed(plan))
    assert (
        flaws(run)[f"{folder_of(cell())}/record.json"] == "it is of other data than plan.json says"
    )


def test_predictions_of_other_rows_than_the_split_are_found(tmp_path: Path) -> None:
    store = write_run(tmp_path, cell())
    swapped = predictions(GOOD).replace({"id": {"e": "a"}})  # a is a training row
    store.write(cell(), Result(record_of(cell()), swapped))
    name = f"{folder_of(cell())}/predictions.parquet"
    assert flaws(store) == {name: "its test rows are not those of its split"}


def test_a_split_with_other_ids_is_found_though_its_plan_says_so(run: Store) -> None:
    other = replace(SPLIT, train=SPLIT.train[:1])
    name = f"splits/{SPLIT.hash}.parquet"
    data = parquet_bytes(other.frame())
    (run.root / name).write_bytes(data)
    plan = json.loads((run.root / "plan.json").read_bytes())
    plan["files"][name] = receipts.sha256(data)
    del plan["seal"]
    (run.root / "plan.json").write_bytes(receipts.sealed(plan))
    assert flaws(run) == {name: "its ids do not have the hash in its name"}


def test_what_a_killed_run_left_is_proven_and_missing_cells_are_no_mismatch(
    tmp_path: Path, call: Call
) -> None:
    done, missing = cell(), cell(seed=2)
    store = write_run(tmp_path, done, missing)
    assert flaws(store) == {}
    assert call("verify", tmp_path)[0] == 0
    write_cell(store, done, GOOD)
    (tmp_path / "t" / "stratified" / "m" / ".0123456789abcdef-1").mkdir()  # half-written
    (tmp_path / "t" / "stratified" / "m" / ".0123456789abcdef-1" / "record.json").write_text("{")
    (tmp_path / "rejected.csv").unlink()  # killed before it was written
    found = verify(store)
    assert (found.mismatches, found.unproven) == ([], [])


def test_a_failed_cell_is_proven_too(tmp_path: Path) -> None:
    store = write_run(tmp_path, cell())
    record = record_of(cell(), status="failed", error={"class": "E", "message": "m"})
    store.write(cell(), Result(record, None))
    assert f"{folder_of(cell())}/record.json" in verify(store).proven


def test_a_lost_file_that_a_record_describes_is_a_mismatch_but_texts_may_be_kept_back(
    run: Store,
) -> None:
    folder = folder_of(cell(label="other", params={"C": 2.0}))
    (run.root / folder / "texts.parquet").unlink()
    assert flaws(run) == {}
    (run.root / folder / "explanation.json").unlink()
    (run.root / folder / "predictions.parquet").unlink()
    assert set(flaws(run)) == {f"{folder}/explanation.json", f"{folder}/predictions.parquet"}


def test_a_lost_split_is_a_mismatch(run: Store) -> None:
    (run.root / "splits" / f"{SPLIT.hash}.parquet").unlink()
    assert flaws(run) == {f"splits/{SPLIT.hash}.parquet": "it is not there"}


def test_files_that_nothing_vouches_for_are_listed(run: Store, call: Call) -> None:
    (run.root / "notes.txt").write_text("mine")
    assert verify(run).unproven == ["notes.txt"]
    code, out, _ = call("verify", run.root)
    assert (code, out.splitlines()[0]) == (
        0, "unproven  notes.txt: nothing in the folder vouches for it",
    )  # fmt: skip


def test_a_record_of_an_earlier_schema_without_seal_is_unproven(tmp_path: Path) -> None:
    store = write_run(tmp_path, cell())
    write_cell(store, cell(), GOOD)
    file = tmp_path / folder_of(cell()) / "record.json"
    record: dict[str, Any] = json.loads(file.read_bytes())
    del record["seal"]
    file.write_bytes(receipts.json_bytes(record))
    assert list(flaws(store)) == [f"{folder_of(cell())}/record.json"]  # of this schema all have one
    file.write_bytes(receipts.json_bytes({**record, "schema": 1}))
    found = verify(store)
    assert found.mismatches == []
    assert found.unproven == [f"{folder_of(cell())}/record.json"]


def test_a_stored_score_that_does_not_come_out_of_the_predictions_is_found(
    run: Store, call: Call
) -> None:
    file = stored_board(call, run)
    rows = json.loads(file.read_text())
    row = next(r for r in rows if (r["model"], r["metric"]) == ("m", "roc_auc"))
    assert row["value"] == 0.75
    row["value"] = 0.76
    file.write_text(json.dumps(rows, indent=1) + "\n")
    key = "t stratified registration m text roc_auc"
    assert flaws(run) == {"leaderboard.json": f"{key}: value is 0.76, computed 0.75"}
    row["value"] = 0.750000001  # the last digit that is written
    file.write_text(json.dumps(rows, indent=1) + "\n")
    assert list(flaws(run)) == ["leaderboard.json"]
    row["value"] = 0.75 + 1e-12  # a digit too many
    file.write_text(json.dumps(rows, indent=1) + "\n")
    assert list(flaws(run)) == ["leaderboard.json"]
    row["value"] = 0.75
    file.write_text(json.dumps(rows, indent=1) + "\n")
    assert flaws(run) == {}
    assert any(len(str(each["low"])) == 11 for each in rows)  # as in 0.123456789
    assert all(len(str(each["low"])) <= 12 for each in rows)


def test_a_board_ranked_by_another_metric_comes_out_again(run: Store, call: Call) -> None:
    file = stored_board(call, run, "--metric", "mcc")
    found = verify(run)
    assert found.mismatches == []
    assert found.scores == len(json.loads(file.read_text()))


def test_a_board_that_lacks_a_model_is_found(run: Store, call: Call) -> None:
    file = stored_board(call, run)
    rows = [row for row in json.loads(file.read_text()) if row["model"] == "m"]
    file.write_text(json.dumps(rows, indent=1) + "\n")
    wrong = "its rows are not those of the cells that are done"
    assert flaws(run) == {"leaderboard.json": wrong}


@pytest.mark.parametrize(
    ("name", "form"), [("leaderboard.csv", "csv"), ("leaderboard.md", "markdown")]
)
def test_boards_of_text_are_written_again(run: Store, call: Call, name: str, form: str) -> None:
    file = run.root / name
    call("leaderboard", run.root, "--format", form, "--output", file)
    assert flaws(run) == {}
    text = file.read_text()
    file.write_text(text.replace("75", "76", 1))
    assert flaws(run) == {name: "its scores do not come out of the predictions again"}


def test_a_later_plan_replaces_the_files_of_an_earlier_one(tmp_path: Path) -> None:
    store = write_run(tmp_path, cell())
    store.write_run({"name": "n", "metrics": None, "cells": []}, {"config.yaml": b"name: other\n"})
    assert (tmp_path / "config.yaml").read_bytes() == b"name: other\n"
    assert flaws(store) == {}


def test_a_crash_between_plan_and_files_leaves_them_missing_not_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_run(tmp_path, cell())
    whole = Store.write_file

    def killed(self: Store, name: str, data: bytes) -> None:
        whole(self, name, data)
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "write_file", killed)
    plan = {"name": "n", "metrics": None, "cells": []}
    with pytest.raises(KeyboardInterrupt):
        store.write_run(plan, {"config.yaml": b"name: other\n"})
    assert not (tmp_path / "config.yaml").exists()
    assert flaws(store) == {}


def test_a_folder_without_a_run_is_a_mistake_of_the_user(tmp_path: Path, call: Call) -> None:
    code, _, err = call("verify", tmp_path)
    assert code == 2
    assert "holds no run" in err


def test_a_real_run_is_proven_file_by_file(tmp_path: Path, small: dict[str, Any]) -> None:
    done = benchmark.run(small, out=tmp_path / "run")
    found = verify(Store(done.folder))
    assert (found.mismatches, found.unproven) == ([], [])
    names = {"plan.json", "config.yaml", "rejected.csv"}
    assert names < set(found.proven)
    for name in names:
        file = done.folder / name
        whole = file.read_bytes()
        file.write_bytes(whole + b" ")
        assert list(flaws(Store(done.folder))) == [name]
        file.write_bytes(whole)


def test_a_wrong_board_is_named_beside_another_wrong_file(run: Store, call: Call) -> None:
    file = stored_board(call, run)
    file.write_text(file.read_text().replace("0.75,", "0.76,", 1))
    kept = next((run.root / SCORES).iterdir())
    kept.write_bytes(b"damaged")
    assert set(flaws(run)) == {"leaderboard.json", f"{SCORES}/{kept.name}"}


def test_verify_keeps_no_draws_of_its_own(run: Store, call: Call) -> None:
    stored_board(call, run, "--metric", "mcc")
    shutil.rmtree(run.root / SCORES)
    assert verify(run).mismatches == []
    assert not (run.root / SCORES).exists()
