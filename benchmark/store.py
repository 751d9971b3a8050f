"""The results folder: one folder a cell, written whole or not at all.

<run>/config.yaml   plan.json   rejected.csv   audit.json   slices.parquet   splits/<hash>.parquet
<run>/<task>/<split>/<model>/<key>/{record.json, predictions.parquet, explanation.json,
texts.parquet}   .studies/<key>.jsonl (while a cell is tuned)
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import psutil

from benchmark.cells import SCHEMA, Cell, Result
from benchmark.receipts import json_bytes, sealed, sha256
from features.errors import InputError

_ASIDE = re.compile(
    r"\.([0-9a-f]{16}|([0-9a-f]{64}|slices)\.parquet|(plan|audit)\.json|config\.yaml|rejected\.csv)"
    r"-(?P<pid>\d+)"
)
PLAN, RECORD, PREDICTIONS = "plan.json", "record.json", "predictions.parquet"
EXPLANATION, AUDIT = "explanation.json", "audit.json"
TEXTS = "texts.parquet"
"""Texts of the data that an explanation quotes: it can be read without them."""
State = Literal["done", "failed", "missing"]


@dataclass(frozen=True)
class Store:
    """A results folder; nothing is created before the first write."""

    root: Path

    def folder(self, cell: Cell) -> Path:
        """Where a cell's files stand."""
        return self.root / folder_of(cell)

    def write(self, cell: Cell, result: Result) -> None:
        """Put a finished or failed cell in place in one step."""
        final = self.folder(cell)
        aside = final.with_name(f".{final.name}-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        record = dict(result.record)
        if result.predictions is not None:
            data = parquet_bytes(result.predictions)
            record["predictions_sha256"] = sha256(data)
            _write_synced(aside / PREDICTIONS, data)
        if result.explanation is not None:
            data = json_bytes(result.explanation)
            record["explanation_sha256"] = sha256(data)
            _write_synced(aside / EXPLANATION, data)
        if result.texts is not None:
            data = parquet_bytes(result.texts)
            record["texts_sha256"] = sha256(data)
            _write_synced(aside / TEXTS, data)
        _write_synced(aside / RECORD, sealed(record))
        if self.state(final) != "done":  # an earlier failure, or damaged
            shutil.rmtree(final, ignore_errors=True)
        try:
            aside.rename(final)
        except OSError:
            # another run into this folder was first; equal keys, equal results
            if self.state(final) != "done":
                raise
            shutil.rmtree(aside)
        _sync_folder(final.parent)

    def journal(self, cell: Cell) -> Path:
        """Where the tuning study of a cell is kept until the cell is done."""
        return self.root / ".studies" / f"{cell.key[:16]}.jsonl"

    def forget_journal(self, cell: Cell) -> None:
        """Remove the study of a cell that is done; its trials stand in the record."""
        file = self.journal(cell)
        if file.is_file():
            file.unlink()
            with contextlib.suppress(OSError):  # others are being tuned
                file.parent.rmdir()

    def sweep(self) -> None:
        """Remove what processes that no longer run left half-written, and nothing else."""
        for places in (".*-*", "splits/.*-*", "*/*/*/.*-*"):
            for path in self.root.glob(places):
                found = _ASIDE.fullmatch(path.name)
                if found and not psutil.pid_exists(int(found["pid"])):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def write_run(self, plan: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Put the run's own files in place; the plan holds the sha256 of the others.

        The plan comes first, as it marks the folder as one of ours. Files of an earlier plan go
        before it: after a crash some may be missing, none is another than the plan says.
        """
        sums = {name: sha256(data) for name, data in files.items()}
        for name, wanted in sums.items():
            path = self.root / name
            if path.is_file() and sha256(path.read_bytes()) != wanted:
                path.unlink()
        self.write_file(PLAN, sealed({**plan, "schema": SCHEMA, "files": sums}))
        for name, data in files.items():
            if not (self.root / name).is_file():
                self.write_file(name, data)

    def write_file(self, name: str, data: bytes) -> None:
        """Put one file of the run in place in one step."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}-{os.getpid()}")
        _write_synced(aside, data)
        aside.replace(path)

    def groups(self, split_hash: str) -> pd.Series | None:
        """The group of each id of a stored split that holds out groups; None for any other."""
        file = self.root / "splits" / f"{split_hash}.parquet"
        if not file.is_file():
            return None
        frame = pd.read_parquet(file)
        return frame.set_index("id")["group"] if "group" in frame else None

    def record(self, path: str | Path) -> dict[str, Any] | None:
        """The record in a cell's folder, None where there is none or it is damaged.

        Raises `InputError` for a record of a later trialmark.
        """
        record = _object(self.root / path / RECORD)
        if record is None or not {"status", "key", "cell"} <= set(record):
            return None
        _check_schema(record, self.root / path / RECORD)
        return record

    def predictions(self, path: str | Path) -> pd.DataFrame:
        """The predictions in a cell's folder. Raises `InputError` if they are not those written."""
        file = self.root / path / PREDICTIONS
        record = self.record(path)
        data = file.read_bytes() if file.is_file() else b""
        if record is None or sha256(data) != record.get("predictions_sha256"):
            raise InputError(
                f"{file} is not the file that its record describes",
                "the predictions as they were written",
                "delete its folder and run again",
            )
        return pd.read_parquet(io.BytesIO(data))

    def plan(self) -> dict[str, Any]:
        """What the last `run` into this folder set out to do."""
        file = self.root / PLAN
        if not file.is_file():
            raise InputError(
                f"{self.root} holds no run", f"a folder with {PLAN}", "run `trialmark run` first"
            )
        plan = _object(file)
        if plan is None or not {"name", "metrics", "cells"} <= set(plan):
            raise InputError(f"{file} is damaged", "a plan", "run the config again")
        _check_schema(plan, file)
        return plan

    def state(self, path: str | Path) -> State:
        """Whether a cell is done, failed or missing; without its predictions it is missing."""
        record = self.record(path)
        if record is None:
            return "missing"
        if record["status"] != "done":
            return "failed"
        return "done" if (self.root / path / PREDICTIONS).is_file() else "missing"


def _object(file: Path) -> dict[str, Any] | None:
    """The JSON object in a file, None where there is no file or no such object in it."""
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _check_schema(found: Mapping[str, Any], file: Path) -> None:
    schema = found.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputError(f"{file} has schema {schema}", f"at most {SCHEMA}", "update trialmark")


def folder_of(cell: Cell) -> str:
    """The folder of a cell's files within a results folder."""
    return "/".join([*map(slug, (cell.task, cell.split, cell.label)), cell.key[:16]])


def slug(name: str) -> str:
    """`name` as a folder's name: letters, digits, `.`, `_` and `-` only, never `.` or `..`."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")
    return safe if safe else sha256(name.encode())[:8]


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """A frame as Parquet; equal frames give equal bytes with one version of pyarrow."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
