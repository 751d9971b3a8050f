"""The results folder: one folder a cell, written whole or not at all.

<run>/config.yaml   plan.json   rejected.csv   audit.json   slices.parquet   splits/<hash>.parquet
<run>/<task>/<split>/<model>/<key>/{record.json, predictions.parquet, explanation.json,
texts.parquet}   .studies/<sha256 of the cell's folder>.jsonl (while it is tuned)
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import psutil

from benchmark.cells import SCHEMA, Cell, Result
from benchmark.lock import LOCK, OWNER
from benchmark.receipts import json_bytes, sealed, sha256
from benchmark.shapes import PlanShape, flaw, is_record
from features.errors import InputError

_ASIDE = re.compile(r"\.([0-9a-f]{16}|[A-Za-z0-9]+\.(json|jsonl|yaml|csv|parquet))-(?P<pid>\d+)")
PLAN, RECORD, PREDICTIONS = "plan.json", "record.json", "predictions.parquet"
CONFIG = "config.yaml"
EXPLANATION, AUDIT = "explanation.json", "audit.json"
STUDIES = ".studies"
TEXTS = "texts.parquet"
"""Texts of the data that an explanation quotes: it can be read without them."""
_LONGEST = 100
"""Characters of a folder's name; file systems take 255 bytes."""
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
        try:
            _write_files(aside, result)
        except OSError:  # a full disk: what is half there takes room
            shutil.rmtree(aside, ignore_errors=True)
            raise
        self.put(aside, final)

    def put(self, aside: Path, final: Path) -> None:
        """Put a cell's whole folder `aside` in its place, unless it is done there already."""
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
        """Where the tuning study of a cell is kept until the cell is done; ready to go on with.

        A killed process, or a full disk, may have left half a line, which Optuna would refuse ever
        after, and Optuna's lock, which it would wait for. The file is cut to its whole lines, an
        earlier state of the study. No other process may be tuning this cell.
        """
        file = self._study(cell)
        self._unlock(file)
        if file.is_file():
            data = file.read_bytes()
            whole = _whole_lines(data)
            if whole != data:
                self.write_file(f"{STUDIES}/{file.name}", whole)
        return file

    def forget_journal(self, cell: Cell) -> None:
        """Remove the study of a cell that is done; its trials stand in the record."""
        file = self._study(cell)
        if file.is_file():
            self._unlock(file)
            file.unlink()
            with contextlib.suppress(OSError):  # others are being tuned
                file.parent.rmdir()

    def _study(self, cell: Cell) -> Path:
        return self.root / STUDIES / f"{study_of(folder_of(cell))}.jsonl"

    def _unlock(self, file: Path) -> None:
        for lock in file.parent.glob(f"{file.name}.lock*"):
            lock.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what processes that no longer run left half-written, and nothing else."""
        for path in self.leftovers():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def leftovers(self) -> list[Path]:
        """What processes that no longer run left half-written."""
        found = []
        for places in (".*-*", "splits/.*-*", f"{STUDIES}/.*-*", "*/*/*/.*-*"):
            for path in self.root.glob(places):
                named = _ASIDE.fullmatch(path.name)
                if named and not psutil.pid_exists(int(named["pid"])):
                    found.append(path)
        return found

    def check_ours(self) -> None:
        """Raise `InputError` for a folder with files in it that no run made."""
        if not self.root.is_dir() or (self.root / PLAN).is_file():
            return
        ours = (LOCK, OWNER, STUDIES)
        if any(p.name not in ours and not _ASIDE.fullmatch(p.name) for p in self.root.iterdir()):
            raise InputError(
                f"{self.root} holds other files",
                "a new folder, an empty one, or one of an earlier run",
                "set --out",
            )

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
        check_schema(record, self.root / path / RECORD)
        return record if is_record(record) else None

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
        frame = pd.read_parquet(io.BytesIO(data))
        check_predictions(frame, record, file)
        return frame

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
        check_schema(plan, file)
        wrong = flaw(PlanShape, plan)
        if wrong is not None:
            raise InputError(f"{file} is damaged: {wrong}", "a plan", "run the config again")
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
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def check_schema(found: Mapping[str, Any], file: Path) -> None:
    """Raise `InputError` for what a later trialmark wrote."""
    schema = found.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputError(f"{file} has schema {schema}", f"at most {SCHEMA}", "update trialmark")


def check_predictions(frame: pd.DataFrame, record: Mapping[str, Any], file: Path) -> None:
    """Raise `InputError` unless it holds ids, parts, truth and probabilities of the classes."""
    classes = record["target"]["classes"]
    several = record["target"]["kind"] == "multilabel"
    truth = [f"y_{name}" for name in classes] if several else ["y"]
    chances = [f"p_{name}" for name in classes]
    wanted = ["id", "part", *truth, *chances]
    kinds = {"id": "str", "part": "str", **dict.fromkeys(truth, "int64")}
    flawed = [
        name
        for name in wanted
        if name not in frame or frame[name].dtype != kinds.get(name, "float64")
    ]
    if not flawed:
        most = 1 if several else len(classes) - 1
        y, p = frame[truth].to_numpy(), frame[chances].to_numpy()
        flawed = truth if len(y) and (y.min() < 0 or y.max() > most) else []
        flawed += chances if not ((p >= 0) & (p <= 1 + 1e-9)).all() else []
    if flawed:
        raise InputError(
            f"{file}: column {flawed[0]!r} is missing or not what predictions hold",
            "ids, parts, classes and probabilities",
            "delete its folder and run again",
        )


def folder_of(cell: Cell) -> str:
    """The folder of a cell's files within a results folder."""
    return "/".join([*map(slug, (cell.task, cell.split, cell.label)), cell.key[:16]])


def study_of(path: str) -> str:
    """The name of a cell's study by the cell's folder: two labels of one key are two cells."""
    return sha256(path.encode())[:16]


def slug(name: str) -> str:
    """`name` as a folder's name: letters, digits, `.`, `_` and `-` only, never `.` or `..`.

    Of a long one the end gives way to its hash.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")
    tag = sha256(name.encode("utf-8", "surrogatepass"))[:8]
    if len(safe) > _LONGEST:
        return f"{safe[:_LONGEST]}-{tag}"
    return safe if safe else tag


def parquet_bytes(frame: pd.DataFrame) -> bytes:
    """A frame as Parquet; equal frames give equal bytes with one version of pyarrow."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _write_files(aside: Path, result: Result) -> None:
    """The files of a cell, each with its sha256 in the record, which comes last."""
    aside.mkdir(parents=True)
    record = dict(result.record)
    for name, entry, data in (
        (PREDICTIONS, "predictions_sha256", _if(result.predictions, parquet_bytes)),
        (EXPLANATION, "explanation_sha256", _if(result.explanation, json_bytes)),
        (TEXTS, "texts_sha256", _if(result.texts, parquet_bytes)),
    ):
        if data is not None:
            record[entry] = sha256(data)
            _write_synced(aside / name, data)
    _write_synced(aside / RECORD, sealed(record))
    _sync_folder(aside)


def _if(value: Any, write: Callable[[Any], bytes]) -> bytes | None:
    return None if value is None else write(value)


def _whole_lines(data: bytes) -> bytes:
    """The lines of JSON up to the first that is none, or has no end."""
    end = 0
    for line in data.splitlines(keepends=True):
        try:
            json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        end += len(line)
    return data[:end]


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
