"""Cleaning a results folder: what neither its plan nor a record that it needs refers to."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmark.lock import only_writer, said
from benchmark.store import (
    EXPLANATION,
    PREDICTIONS,
    RECORD,
    SCORES,
    STUDIES,
    TEXTS,
    Store,
    study_of,
)

_OF_A_CELL = {RECORD, PREDICTIONS, EXPLANATION, TEXTS}
_HEX = "[0-9a-f]"


@dataclass(frozen=True)
class Garbage:
    """A file or folder (relative to the results folder), why nothing needs it, and its bytes."""

    path: str
    why: str
    bytes: int


def garbage(store: Store) -> list[Garbage]:
    """What can go: cells outside the plan, splits, studies and draws of none, and half-written
    files.

    A cell that a planned blend mixes stays. Only what a run writes is ever named, whatever else is
    in the folder. Raises `InputError` where the folder holds no run.
    """
    planned = [entry["path"] for entry in store.plan()["cells"]]
    needed = _needed(store, planned)
    found = [
        *_cells(store, needed),
        *_splits(store, needed),
        *_studies(store, planned),
        *_kept(store, planned),
    ]
    halves = [(path, "left half-written by a process that ended") for path in store.leftovers()]
    return [
        Garbage(path.relative_to(store.root).as_posix(), why, _size(path))
        for path, why in [*found, *halves]
    ]


def collect(store: Store) -> list[Garbage]:
    """Remove what `garbage` finds; returns it. Raises `InputError` where a run is at work."""
    store.plan()
    with only_writer(store.root), said(store.root):
        found = garbage(store)
        for item in found:
            path = store.root / item.path
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            _remove_empty(path.parent, store.root)
    return found


def _needed(store: Store, planned: Iterable[str]) -> set[str]:
    """Folders of the planned cells and of those that they mix."""
    needed, waiting = set[str](), list(planned)
    while waiting:
        path = waiting.pop()
        if path not in needed:
            needed.add(path)
            record = store.record(path)
            members = (record or {}).get("cell", {}).get("members")
            waiting += [str(p) for p in members.values()] if isinstance(members, dict) else []
    return needed


def _cells(store: Store, needed: set[str]) -> Iterator[tuple[Path, str]]:
    for path in sorted(store.root.glob(f"*/*/*/{_HEX * 16}")):
        name = path.relative_to(store.root).as_posix()
        if name not in needed and _is_ours(path, store.root):
            files = list(path.iterdir())
            if {file.name for file in files} <= _OF_A_CELL and all(f.is_file() for f in files):
                yield path, "of other settings or earlier code: not in the plan"


def _splits(store: Store, needed: set[str]) -> Iterator[tuple[Path, str]]:
    used = {entry["split_hash"] for entry in store.plan()["cells"]}
    used |= {(store.record(path) or {}).get("cell", {}).get("split_hash") for path in needed}
    for path in sorted(store.root.glob("splits/*.parquet")):
        named = len(path.stem) == 64 and set(path.stem) <= set("0123456789abcdef")
        if named and path.stem not in used and _is_ours(path, store.root):
            yield path, "a split of no planned cell"


def _studies(store: Store, planned: Iterable[str]) -> Iterator[tuple[Path, str]]:
    going_on = {study_of(path) for path in planned if store.state(path) != "done"}
    for path in sorted(store.root.glob(f"{STUDIES}/{_HEX * 16}.jsonl*")):
        if path.name[:16] not in going_on:
            yield path, "a study of a cell that is done or not in the plan"


def _kept(store: Store, planned: Iterable[str]) -> Iterator[tuple[Path, str]]:
    done = {study_of(path) for path in planned if store.state(path) == "done"}
    for path in sorted(store.root.glob(f"{SCORES}/{_HEX * 16}")):
        if path.name not in done:
            yield path, "draws of a cell that is not done or not in the plan"


def _is_ours(path: Path, root: Path) -> bool:
    """Whether it stands in the folder itself, reached by no link."""
    return path.resolve() == root.resolve() / path.relative_to(root)


def _size(path: Path) -> int:
    files = [path] if path.is_file() or path.is_symlink() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
