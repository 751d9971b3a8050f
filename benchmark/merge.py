"""Joining results folders: parts of one matrix that several machines, or several configs, ran."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from benchmark.lock import said
from benchmark.places import here, store_at
from benchmark.receipts import sha256
from benchmark.slices import SLICES
from benchmark.store import AUDIT, CONFIG, Store, check_new, parquet_bytes
from features.errors import InputError

PLACE = ("task", "split", "seed", "as_of", "model", "inputs")
"""What tells the cells of a run apart: of the same place there is one in a leaderboard."""


@dataclass(frozen=True)
class Merged:
    """What came together: planned and finished cells, and how many were finished in several runs.

    `moved` holds, for those of the latter whose predictions differ (which floats of two machines
    may), the path and the largest difference of a probability; the first run's are kept.
    """

    planned: int
    done: int
    shared: int
    moved: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Source:
    store: Store
    plan: Mapping[str, Any]

    def state(self, entry: Mapping[str, Any]) -> str:
        return self.store.state(entry["path"])


def merge(folders: Sequence[str | Path], out: str | Path) -> Merged:
    """Copy the cells of several results folders or URLs into a new one, `out`, under one plan.

    Every cell keeps its record and files, byte for byte. `out` appears whole or not at all: at a
    URL, where the plan comes last, there is no run before it. Raises `InputError` where the runs
    are of other rows or splits, where a cell was finished twice with other settings, or where a
    file is not the one that its record describes.
    """
    sources = [here(folder) for folder in folders]
    into = store_at(out)
    if into.bucket is None:
        return _merged(sources, into.root)
    check_new(into.bucket)
    with TemporaryDirectory() as scratch:
        found = _merged(sources, Path(scratch, "run"))
        Store(Path(scratch, "run")).publish(into.bucket)
    return found


def _merged(folders: Sequence[Path], out: Path) -> Merged:
    sources = [_Source(Store(folder), Store(folder).plan()) for folder in folders]
    _check_same_data(sources)
    chosen = _chosen(sources)
    moved = tuple(_moved(sources, chosen))
    with said(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise InputError(f"{out} exists", "a new folder", "set --out")
        aside = out.with_name(f".{out.name}-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            _write(sources, chosen, Store(aside))
            aside.replace(out)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    states = [source.state(entry) for source, entry in chosen]
    shared = sum(len(_finished(sources, entry)) > 1 for _, entry in chosen)
    return Merged(len(chosen), states.count("done"), shared, moved)


def _check_same_data(sources: Sequence[_Source]) -> None:
    """Raise `InputError` unless all runs read the same rows, and split them in the same way."""
    first = sources[0]
    seen: dict[tuple[Any, ...], tuple[Any, _Source]] = {}
    for source in sources:
        for what in ("reader", "rows"):
            if source.plan.get(what) != first.plan.get(what):
                raise InputError(
                    f"{source.store.root}: {what} {source.plan.get(what)}",
                    f"{first.plan.get(what)} as {first.store.root} has",
                    "merge runs on the same data",
                )
        for fact, value in _facts(source.plan):
            known, holder = seen.setdefault(fact, (value, source))
            if value != known:
                raise InputError(
                    f"{source.store.root}: {' '.join(map(str, fact))} {str(value)[:16]}",
                    f"{str(known)[:16]} as {holder.store.root} has",
                    "runs on other rows or splits cannot share a table",
                )


def _facts(plan: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """What must be the same wherever two runs both say it."""
    for task, data in plan.get("datasets", {}).items():
        for name in ("fingerprint", "redacted_fingerprint"):
            if name in data:
                yield (task, name), data[name]
    for entry in plan["cells"]:
        place = (entry["task"], entry["split"], "seed", entry["seed"], "split hash")
        yield place, entry["split_hash"]


def _chosen(sources: Sequence[_Source]) -> list[tuple[_Source, Mapping[str, Any]]]:
    """One entry a place, from a run that finished it where there is one."""
    found: dict[tuple[Any, ...], tuple[_Source, Mapping[str, Any]]] = {}
    for source in sources:
        for entry in source.plan["cells"]:
            place = tuple(entry[name] for name in PLACE)
            if place not in found:
                found[place] = source, entry
                continue
            holder, other = found[place]
            states = holder.state(other), source.state(entry)
            if states == ("done", "done") and other["key"] != entry["key"]:
                raise _settings_differ(holder, other, source, entry)
            if _BETTER.index(states[1]) > _BETTER.index(states[0]):
                found[place] = source, entry
    return list(found.values())


_BETTER = ("missing", "failed", "done")


def _settings_differ(
    a: _Source, of_a: Mapping[str, Any], b: _Source, of_b: Mapping[str, Any]
) -> InputError:
    """The error for one place with two finished cells that are not the same."""
    one, other = ((s.store.record(e["path"]) or {}) for s, e in ((a, of_a), (b, of_b)))
    cells = one.get("cell", {}), other.get("cell", {})
    names = [name for name in cells[0] if cells[0][name] != cells[1].get(name)]
    what = " ".join(str(of_a[name]) for name in PLACE)
    return InputError(
        f"{what} is finished in {a.store.root} and {b.store.root} with another "
        + (", ".join(names) if names else "key"),
        "one cell of that name",
        "give one of the models another `label`, or leave one run out",
    )


def _finished(sources: Sequence[_Source], entry: Mapping[str, Any]) -> list[_Source]:
    """The runs that planned and finished this very cell."""
    return [
        source
        for source in sources
        if any(one["key"] == entry["key"] for one in source.plan["cells"])
        and source.state(entry) == "done"
    ]


def _moved(
    sources: Sequence[_Source], chosen: Sequence[tuple[_Source, Mapping[str, Any]]]
) -> Iterator[tuple[str, float]]:
    """Cells whose predictions differ between runs, and by how much."""
    for source, entry in chosen:
        for other in _finished(sources, entry):
            if other is not source:
                a, b = (each.store.predictions(entry["path"]) for each in (source, other))
                difference = largest_difference(a, b)
                if difference > 0:
                    yield entry["path"], difference


def largest_difference(a: pd.DataFrame, b: pd.DataFrame) -> float:
    """The largest difference of a probability of two frames of predictions; inf for other rows."""
    names = [name for name in a.columns if str(name).startswith("p_")]
    rows = ["id", "part"]
    if list(a) != list(b) or not a[rows].equals(b[rows]):
        return float("inf")
    return float((a[names] - b[names]).abs().to_numpy().max(initial=0.0))


def _write(
    sources: Sequence[_Source], chosen: Sequence[tuple[_Source, Mapping[str, Any]]], into: Store
) -> None:
    """Cells, then the run's own files and the plan."""
    into.root.mkdir(parents=True)
    for source, entry in chosen:
        folder = source.store.root / entry["path"]
        state = source.state(entry)
        if state == "done":
            source.store.predictions(entry["path"])  # refuses those that were changed
        if state != "missing":
            _copy(folder, into.root / entry["path"])
    first = sources[0].plan
    metrics = [s.plan["metrics"] for s in sources if s.plan["metrics"] is not None]
    datasets: dict[str, Any] = {}
    for source in reversed(sources):
        datasets |= source.plan.get("datasets", {})
    rules = [s.plan["exploration"] for s in sources if "exploration" in s.plan]
    plan = {
        **{name: first[name] for name in ("name", "reader", "rows") if name in first},
        **({"exploration": rules[0]} if rules else {}),
        "metrics": metrics[0] if metrics else None,
        "datasets": datasets,
        "cells": [dict(entry) for _, entry in chosen],
    }
    into.write_run(plan, _files(sources))


def _copy(folder: Path, final: Path) -> None:
    """Copy a cell's files, no links and no folders."""
    final.mkdir(parents=True)
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.is_symlink():
            shutil.copyfile(file, final / file.name)


def _files(sources: Sequence[_Source]) -> dict[str, bytes]:
    """The runs' own files by name.

    Every config is kept, from the second on as config-2.yaml and so on where it is another; the
    slices are those of all rows; an audit that only one of the configs had is left out.
    """
    found: dict[str, bytes] = {}
    for number, source in enumerate(sources, 1):
        for name in _named(source):
            data = (source.store.root / name).read_bytes()
            other = found.setdefault(name, data)
            if other != data and name == CONFIG:
                found[f"config-{number}.yaml"] = data
            elif other != data and name == SLICES:
                found[name] = _joined(other, data)
            elif other != data and name == AUDIT:
                found[name] = b""
            elif other != data:
                raise InputError(
                    f"{source.store.root / name} is another file than that of an earlier run",
                    "runs on the same data",
                )
    return {name: data for name, data in found.items() if data or name != AUDIT}


def _named(source: _Source) -> Iterator[str]:
    """The run's own files that are there: those of its plan, or by name where it lists none."""
    splits = {f"splits/{entry['split_hash']}.parquet" for entry in source.plan["cells"]}
    listed = source.plan.get("files", {})
    for name in sorted({CONFIG, "rejected.csv", *splits, *listed}):
        file = source.store.root / name
        if file.is_file():
            if name in listed and sha256(file.read_bytes()) != listed[name]:
                raise InputError(f"{file} is not the file that its plan describes")
            yield name


def _joined(a: bytes, b: bytes) -> bytes:
    """The rows of two Parquet files, each id once."""
    frames = [pd.read_parquet(io.BytesIO(data)) for data in (a, b)]
    both = pd.concat(frames, ignore_index=True).drop_duplicates("id").sort_values("id")
    return parquet_bytes(both.reset_index(drop=True))
