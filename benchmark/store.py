"""The results folder: one folder a cell, written whole or not at all.

<run>/config.yaml   plan.json   rejected.csv   splits/<hash>.parquet
<run>/<task>/<split>/<model>/<key>/{record.json, predictions.parquet}
"""

from __future__ import annotations

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
from benchmark.receipts import sha256
from benchmark.splits import Split
from features.errors import InputError

PLAN, RECORD, PREDICTIONS = "plan.json", "record.json", "predictions.parquet"
State = Literal["done", "failed", "missing"]


@dataclass(frozen=True)
class Store:
    """A results folder; nothing is created before the first write."""

    root: Path

    def folder(self, cell: Cell) -> Path:
        """Where a cell's files stand."""
        parts = [slug(part) for part in (cell.task, cell.split, cell.label)]
        return self.root.joinpath(*parts, cell.key[:16])

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
        _write_synced(aside / RECORD, json_bytes(record))
        shutil.rmtree(final, ignore_errors=True)  # an earlier failure of the same cell
        aside.rename(final)
        _sync_folder(final.parent)

    def sweep(self) -> None:
        """Remove what processes that no longer run left half-written."""
        for path in self.root.rglob(".*-*"):
            pid = path.name.rpartition("-")[2]
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def write_file(self, name: str, data: bytes) -> None:
        """Put one file of the run in place in one step."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}-{os.getpid()}")
        _write_synced(aside, data)
        aside.replace(path)

    def write_split(self, split: Split) -> None:
        """Keep the ids of a split under its hash."""
        name = f"splits/{split.hash}.parquet"
        if not (self.root / name).exists():
            self.write_file(name, parquet_bytes(split.frame()))

    def record(self, path: str | Path) -> dict[str, Any] | None:
        """The record in a cell's folder, None where there is none.

        Raises `InputError` for a record of a later trialmark or a damaged one.
        """
        file = self.root / path / RECORD
        try:
            record: dict[str, Any] = json.loads(file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            raise InputError(
                f"{file} is damaged", "JSON", "delete its folder and run again"
            ) from None
        if record.get("schema", 0) > SCHEMA:
            raise InputError(
                f"{file} has schema {record['schema']}", f"at most {SCHEMA}", "update trialmark"
            )
        return record

    def predictions(self, path: str | Path) -> pd.DataFrame:
        """The predictions in a cell's folder."""
        return pd.read_parquet(self.root / path / PREDICTIONS)

    def plan(self) -> dict[str, Any]:
        """What the last `run` into this folder set out to do."""
        file = self.root / PLAN
        try:
            plan: dict[str, Any] = json.loads(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(
                f"{self.root} holds no run", f"a folder with {PLAN}", "run `trialmark run` first"
            ) from None
        except ValueError:
            raise InputError(f"{file} is damaged", "JSON", "run the config again") from None
        return plan

    def state(self, path: str | Path) -> State:
        """Whether a cell is done, failed or missing."""
        record = self.record(path)
        if record is None:
            return "missing"
        return "done" if record["status"] == "done" else "failed"


def slug(name: str) -> str:
    """`name` as a folder's name: letters, digits, `.`, `_` and `-` only, never `.` or `..`."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")
    return safe if safe else sha256(name.encode())[:8]


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Indented JSON that ends in a newline."""
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


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
