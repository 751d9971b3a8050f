"""The main job: config -> rows -> splits -> cells -> results folder."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmark import receipts
from benchmark.cells import CEILING, Cell, ModelChoice, make_cell
from benchmark.config import ColumnChoice, RunConfig, load
from benchmark.curves import curves
from benchmark.dataset import Dataset, Rows
from benchmark.executor import EXECUTORS, Silent, Watcher, Workload
from benchmark.leaderboard import Board, compare, leaderboard
from benchmark.readers import READERS
from benchmark.splits import Split, make_split
from benchmark.store import PLAN, Store, json_bytes
from benchmark.tasks import class_counts, labelled, narrowed
from features.columns import Column
from features.errors import InputError, unknown_name
from models.base import Context


@dataclass(frozen=True)
class Run:
    """A results folder, finished or not. `benchmark.run` and `benchmark.read` give one."""

    folder: Path

    def status(self) -> pd.DataFrame:
        """One row a planned cell: what it is, its state (done, failed, missing) and its error."""
        store = Store(self.folder)
        return pd.DataFrame([_status_row(store, entry) for entry in store.plan()["cells"]])

    def board(self, metric: str | None = None) -> Board:
        """The leaderboard with its footnotes, ranked by `metric` (default: the config's first)."""
        return leaderboard(Store(self.folder), metric)

    def leaderboard(self, metric: str | None = None) -> pd.DataFrame:
        """One row for each task, split, as-of level, model, inputs and metric, best first."""
        return self.board(metric).rows

    def predictions(self) -> pd.DataFrame:
        """All stored predictions: what cell, id, part (valid, test), truth and probabilities."""
        store = Store(self.folder)
        frames = []
        for entry in store.plan()["cells"]:
            if store.state(entry["path"]) == "done":
                frame = store.predictions(entry["path"])
                names = ("task", "split", "seed", "model", "inputs", "as_of")
                for place, name in enumerate(names):
                    frame.insert(place, name, entry[name])
                frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def curves(self) -> pd.DataFrame:
        """ROC and precision-recall curves of the test rows by model and class or label, to plot.

        One row a point; see `benchmark.curves.curves`.
        """
        return curves(Store(self.folder))

    def compare(self, a: str, b: str, metric: str | None = None) -> pd.DataFrame:
        """Paired difference a - b in every task and split, with 95 % interval and p value.

        A model is named by its label, or `label/inputs` where it ran with several inputs.
        """
        return compare(Store(self.folder), a, b, metric)


def _status_row(store: Store, entry: Mapping[str, Any]) -> dict[str, Any]:
    record = store.record(entry["path"]) or {}
    error = record.get("error", {})
    shown = {k: entry[k] for k in ("task", "split", "seed", "model", "inputs", "as_of", "path")}
    reason = f"{error['class']}: {error['message']}" if error else ""
    return {**shown, "state": store.state(entry["path"]), "error": reason}


def read(folder: str | Path) -> Run:
    """A results folder that `run` wrote. Raises `InputError` where it holds no run."""
    Store(Path(folder)).plan()
    return Run(Path(folder))


def run(
    config: str | Path | Mapping[str, Any] | RunConfig,
    *,
    out: str | Path | None = None,
    jobs: int = 1,
    executor: str | None = None,
    only_failed: bool = False,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> Run:
    """Run a benchmark matrix, or what is missing of it.

    `config` is a YAML file, a mapping of the same shape, or a loaded config; `out` is the results
    folder (default: results/<name>). Cells that are done there already are not fitted again;
    `only_failed` fits those alone whose last try failed. Raises `InputError` before anything is
    written when the config or the data cannot be used; a cell that fails becomes a record.
    """
    checked = config if isinstance(config, RunConfig) else load(config, overrides)
    jobs, execute = _executor(jobs, executor)
    start = time.perf_counter()
    rows = read_rows(checked)
    read_seconds = round(time.perf_counter() - start, 4)
    store = Store(Path(out) if out is not None else default_out(checked))
    work, cells = prepare(checked, rows, store)
    work = replace(work, read_seconds=read_seconds)
    _write_run(checked, rows, work, cells)
    states = {cell.key: work.store.state(_path(work.store, cell)) for cell in cells}
    wanted = ("failed",) if only_failed else ("failed", "missing")
    todo = [cell for cell in cells if states[cell.key] in wanted]
    watch = watcher if watcher is not None else Silent()
    watch.planned(len(cells))
    for cell in cells:
        if cell not in todo:
            watch.finished(cell, "kept")
    execute(todo, work, jobs=jobs, watcher=watch)
    return Run(work.store.root)


def default_out(config: RunConfig) -> Path:
    """Where a run goes when nobody says where."""
    return Path("results") / config.name


def _executor(jobs: int, name: str | None) -> tuple[int, Any]:
    if jobs < 1:
        raise InputError(f"jobs = {jobs}", "1 or more")
    chosen = name if name is not None else ("serial" if jobs == 1 else "process")
    if chosen not in EXECUTORS:
        raise unknown_name("executor", chosen, EXECUTORS)
    if chosen == "serial" and jobs > 1:
        raise InputError(f"executor serial with {jobs} jobs", "1 job", "use --executor process")
    return jobs, EXECUTORS[chosen]


def read_rows(config: RunConfig) -> Rows:
    """The rows of a config: read, filtered, with the chosen columns only."""
    module = importlib.import_module(READERS[config.data.reader])
    rows: Rows = module.read(module.Options.model_validate(config.data.options))
    rows = narrowed(rows, _kept(rows.frame, config.data.where))
    complete = _complete(rows.frame, config.data.require)
    rows = replace(narrowed(rows, complete), incomplete=int((~complete).sum()))
    return replace(rows, columns=_chosen(rows.columns, config.data.columns))


def _kept(frame: pd.DataFrame, where: Mapping[str, Any]) -> pd.Series:
    """Rows that meet every condition: a value, a list of values, or {from:, to:} (inclusive)."""
    keep = pd.Series(True, index=frame.index)
    for name, wanted in where.items():
        if name not in frame:
            raise unknown_name("column in `where`", name, frame.columns)
        column = frame[name]
        if isinstance(wanted, Mapping):
            keep &= _in_range(column, wanted)
        else:
            values = wanted if isinstance(wanted, list) else [wanted]
            keep &= column.isin(values)
    if not keep.any():
        raise InputError(
            f"`where` leaves none of {len(frame)} rows", "some rows", "widen the filter"
        )
    return keep


def _complete(frame: pd.DataFrame, required: Sequence[str]) -> pd.Series:
    """Rows that have a value, and for a text more than "", in every required column."""
    keep = pd.Series(True, index=frame.index)
    for name in required:
        if name not in frame:
            raise unknown_name("column in `require`", name, frame.columns)
        keep &= frame[name].notna() & (frame[name] != "")
    if not keep.any():
        raise InputError(
            f"`require` leaves none of {len(frame)} rows", "some rows", "require fewer columns"
        )
    return keep


def _in_range(column: pd.Series, bounds: Mapping[str, Any]) -> pd.Series:
    if set(bounds) - {"from", "to"}:
        raise unknown_name("bound in `where`", (set(bounds) - {"from", "to"}).pop(), ("from", "to"))
    keep = column.notna()
    is_date = pd.api.types.is_datetime64_any_dtype(column)
    try:
        limits = {k: pd.Timestamp(v) if is_date else v for k, v in bounds.items()}
        if "from" in limits:
            keep &= column >= limits["from"]
        if "to" in limits:
            keep &= column <= limits["to"]
    except (TypeError, ValueError):
        raise InputError(
            f"`where` {column.name}: {dict(bounds)}", "bounds of the column's own type"
        ) from None
    return keep


def _chosen(columns: Sequence[Column], choice: ColumnChoice) -> tuple[Column, ...]:
    """The offered columns that the config keeps, in the order it names them."""
    by_kind = choice.model_dump()
    offered = {column.name: column for column in columns}
    chosen: list[Column] = []
    for kind, names in by_kind.items():
        of_kind = {name: column for name, column in offered.items() if column.kind == kind}
        for name in of_kind if names is None else names:
            if name not in of_kind:
                raise unknown_name(f"{kind} column in `data.columns`", name, of_kind)
            chosen.append(of_kind[name])
    return tuple(chosen)


def prepare(config: RunConfig, rows: Rows, store: Store) -> tuple[Workload, list[Cell]]:
    """Datasets, splits and cells, all checked before anything is written."""
    datasets = {task: labelled(rows, task) for task in config.task}
    splits: dict[str, Split] = {}
    cells: list[Cell] = []
    for data in datasets.values():
        for options in config.splits:
            for seed in config.seeds:
                split = make_split(data, options, seed)
                splits[split.hash] = split
                cells += _cells(config, data, split, seed)
    context = Context(
        cache=cache_folder(),
        # looking for a card loads torch, which a matrix of linear models can do without
        device=receipts.pick_device(config.device) if _uses_torch(cells) else "cpu",
        threads=receipts.available_cores(),
    )
    return Workload(datasets, splits, store, context), cells


def _uses_torch(cells: Sequence[Cell]) -> bool:
    return any("torch" in cell.libraries for cell in cells)


def _cells(config: RunConfig, data: Dataset, split: Split, seed: int) -> Iterator[Cell]:
    for as_of in config.as_of:
        if as_of in data.oracle:
            choice = ModelChoice(CEILING, CEILING, "both", {})
            yield make_cell(data, split, seed=seed, as_of=as_of, choice=choice)
        for model in config.models:
            for inputs in model.inputs:
                choice = ModelChoice(model.name, model.shown, inputs, model.params)
                yield make_cell(data, split, seed=seed, as_of=as_of, choice=choice)


def _path(store: Store, cell: Cell) -> str:
    return store.folder(cell).relative_to(store.root).as_posix()


def _write_run(config: RunConfig, rows: Rows, work: Workload, cells: Sequence[Cell]) -> None:
    """The run's own files: config, splits, rejected rows and the plan."""
    store = work.store
    try:
        store.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot write to {store.root}: {error.strerror}",
            "a folder one may write to",
            "set --out",
        ) from None
    store.sweep()
    text = yaml.safe_dump(config.written, sort_keys=False, allow_unicode=True)
    store.write_file("config.yaml", text.encode())
    for split in work.splits.values():
        store.write_split(split)
    store.write_file("rejected.csv", rows.rejected.to_csv(index=False).encode())
    store.write_file(PLAN, json_bytes(_plan_json(config, rows, work, cells)))


def _plan_json(
    config: RunConfig, rows: Rows, work: Workload, cells: Sequence[Cell]
) -> dict[str, Any]:
    return {
        "schema": 1,
        "name": config.name,
        "reader": config.data.reader,
        "metrics": config.metrics,
        "rows": {
            "read": len(rows.frame),
            "rejected": len(rows.rejected),
            "incomplete": rows.incomplete,
        },
        "datasets": {
            task: {
                "fingerprint": data.fingerprint,
                "rows": len(data.y),
                "classes": class_counts(data.target, data.y),
                "columns": {column.name: column.known_at for column in data.columns},
            }
            for task, data in work.datasets.items()
        },
        "cells": [
            {
                "key": cell.key,
                "path": _path(work.store, cell),
                "task": cell.task,
                "split": cell.split,
                "seed": cell.seed,
                "model": cell.label,
                "inputs": cell.inputs,
                "as_of": cell.as_of,
                "split_hash": cell.split_hash,
            }
            for cell in cells
        ],
    }


def cache_folder() -> Path:
    """Where embeddings are kept: `$TRIALMARK_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("TRIALMARK_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trialmark"
