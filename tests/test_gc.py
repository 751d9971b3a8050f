"""Cleaning removes what neither the plan nor a record that it needs refers to, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from recorded import GOOD, SPLIT, cell, write_cell, write_run

import benchmark
from benchmark.gc import collect, garbage
from benchmark.lock import only_writer
from benchmark.store import Store, folder_of, study_of
from benchmark.verify import verify
from features.errors import InputError

MEMBER, STALE = cell(label="member", seed=5), cell(label="stale", seed=6)
BLEND = cell(
    model="blend", label="blend", params={}, members={"member/text": folder_of(MEMBER)}, columns=()
)
PLANNED, UNDONE = cell(), cell(label="undone", seed=7)


@pytest.fixture
def run(tmp_path: Path) -> Store:
    """A plan of three cells; beside them a blend's member, a stale cell and leftovers."""
    store = write_run(tmp_path / "run", PLANNED, BLEND, UNDONE)
    for one in (PLANNED, BLEND, MEMBER, STALE):
        write_cell(store, one, GOOD)
    (store.root / "splits" / f"{'a' * 64}.parquet").write_bytes(b"x" * 100)
    (store.root / ".studies").mkdir()
    for one in (PLANNED, UNDONE, STALE):
        (store.root / ".studies" / f"{study_of(folder_of(one))}.jsonl").write_text("{}\n")
    (store.root / "t" / "stratified" / "m" / f".{'b' * 16}-999999999").mkdir()
    return store


def paths(store: Store) -> set[str]:
    return {item.path for item in garbage(store)}


def stale(store: Store) -> set[str]:
    studies = {f".studies/{study_of(folder_of(one))}.jsonl" for one in (PLANNED, STALE)}
    half = f"t/stratified/m/.{'b' * 16}-999999999"
    return {folder_of(STALE), f"splits/{'a' * 64}.parquet", half, *studies}


def test_what_is_not_needed_is_listed_with_its_size_and_stays(run: Store) -> None:
    before = sorted(run.root.rglob("*"))
    assert paths(run) == stale(run)
    sizes = {item.path: item.bytes for item in garbage(run)}
    assert sizes[f"splits/{'a' * 64}.parquet"] == 100
    held = (run.root / folder_of(STALE)).iterdir()
    assert sizes[folder_of(STALE)] == sum(file.stat().st_size for file in held)
    assert sorted(run.root.rglob("*")) == before


def test_what_the_plan_or_a_blend_needs_stays(run: Store) -> None:
    board = benchmark.read(run.root).leaderboard()
    assert {item.path for item in collect(run)} == stale(run)
    assert garbage(run) == []
    for one in (PLANNED, BLEND, MEMBER):
        assert run.state(folder_of(one)) == "done"
    assert not (run.root / "t" / "stratified" / "stale").exists()
    assert (run.root / "splits" / f"{SPLIT.hash}.parquet").exists()
    assert (run.root / ".studies" / f"{study_of(folder_of(UNDONE))}.jsonl").exists()
    assert benchmark.read(run.root).leaderboard().equals(board)
    assert verify(run).mismatches == []


def test_files_of_other_people_and_what_a_link_leads_to_stay(run: Store, tmp_path: Path) -> None:
    collect(run)
    foreign = tmp_path / "foreign"
    write_cell(Store(foreign), STALE, GOOD)
    (run.root / "t" / "linked").symlink_to(foreign / "t" / "stratified")
    (run.root / "linked").symlink_to(foreign / "t")
    mixed = run.root / "t" / "s" / "m" / ("c" * 16)
    mixed.mkdir(parents=True)
    (mixed / "record.json").write_text("{}")
    (mixed / "thesis.docx").touch()
    (run.root / "notes.md").touch()
    (run.root / "splits" / "mine.parquet").touch()
    assert garbage(run) == []


def test_a_writer_at_work_is_left_alone(run: Store) -> None:
    writing = run.root / "t" / "stratified" / "m" / f".{'d' * 16}-{os.getpid()}"
    writing.mkdir()
    assert writing.relative_to(run.root).as_posix() not in paths(run)
    with only_writer(run.root), pytest.raises(InputError, match="is in use by process"):
        collect(run)
    assert paths(run) == stale(run)


def test_the_command_shows_first_and_removes_on_demand(run: Store, call: Any) -> None:
    code, out, _ = call("gc", run.root)
    assert code == 0
    assert f"{folder_of(STALE)}  of other settings or earlier code" in out
    assert "5 items of 0." in out
    assert "to remove with --yes" in out
    assert (run.root / folder_of(STALE)).exists()
    assert call("gc", run.root, "--yes")[1].endswith("MiB removed\n")
    assert call("gc", run.root)[1] == "nothing to remove\n"


def test_a_folder_without_a_run_is_refused(tmp_path: Path, call: Any) -> None:
    (tmp_path / "thing").touch()
    code, _, err = call("gc", tmp_path, "--yes")
    assert code == 2
    assert "holds no run" in err
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]
