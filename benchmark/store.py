"""The results folder: one folder a cell, written whole or not at all.

<run>/config.yaml   plan.json   rejected.csv   audit.json   slices.parquet   splits/<hash>.parquet
<run>/<task>/<split>/<model>/<key>/{record.json, predictions.parquet, explanation.json,
texts.parquet}   .studies/<sha256 of the cell's folder>.jsonl (while it is tuned)
<run>/.scores/<sha256 of the cell's folder> (see `kept`)
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import psutil
from pandas.api.types import is_float_dtype

from benchmark.bucket import Bucket, Stamp, is_name
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
SCORES = ".scores"
TEXTS = "texts.parquet"
"""Texts of the data that an explanation quotes: it can be read without them."""
SUMS = {
    PREDICTIONS: "predictions_sha256",
    EXPLANATION: "explanation_sha256",
    TEXTS: "texts_sha256",
}
"""Files of a cell -> the entries of its record that hold their sha256."""
_OF_A_CELL = (*SUMS, RECORD)
_LONGEST = 100
"""Characters of a folder's name; file systems take 255 bytes."""
_TRIES = 3
"""Times that a cell is written to a URL where others write it too."""
State = Literal["done", "failed", "missing"]


@dataclass(frozen=True)
class Store:
    """A results folder; nothing is created before the first write.

    With a bucket, `root` is where this machine works: each cell is put in place there and then
    written to the bucket. Reading stays local; `settle` brings what others have written.
    """

    root: Path
    bucket: Bucket | None = None

    def folder(self, cell: Cell) -> Path:
        """Where a cell's files stand."""
        return self.root / folder_of(cell)

    def write(self, cell: Cell, result: Result) -> None:
        """Put a finished or failed cell in place in one step, then at the URL, its record last."""
        final = self.folder(cell)
        aside = final.with_name(f".{final.name}-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            _write_files(aside, result)
        except OSError:  # a full disk: what is half there takes room
            shutil.rmtree(aside, ignore_errors=True)
            raise
        self.put(aside, final)
        if self.bucket is not None:
            self._send(folder_of(cell), self.bucket)

    def settle(self, paths: Sequence[str]) -> None:
        """Bring what of these cells is whole at the URL and not done here, and send the reverse.

        One listing whatever the number of cells. A cell that is not whole at the URL is not
        brought. Without a URL nothing happens.
        """
        if self.bucket is None or not paths:
            return
        there = dict[str, dict[str, Stamp]]()
        for name, stamp in self.bucket.names().items():
            folder, _, file = name.rpartition("/")
            there.setdefault(folder, {})[file] = stamp
        done = {path for path in paths if self.state(path) == "done"}
        wanted = {
            f"{path}/{file}": stamp.size
            for path in paths
            if path not in done and RECORD in there.get(path, {})
            for file, stamp in there[path].items()
            if file in _OF_A_CELL
        }
        for path, files in _by_folder(self.bucket.read(wanted)):
            self._take(path, files)
        for path in done:
            here = {file.name: file.stat().st_size for file in self._files(path)}
            stamps = there.get(path, {})
            if here != {name: stamps[name].size for name in _OF_A_CELL if name in stamps}:
                self._send(path, self.bucket)

    def _take(self, path: str, files: Mapping[str, bytes]) -> None:
        """Put a cell from the URL in place, if it is whole and nothing better is here."""
        record = _whole(path, files)
        if record is None or (record["status"] != "done" and self.state(path) != "missing"):
            return
        final = self.root / path
        aside = final.with_name(f".{final.name}-{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for name, data in files.items():
            if name == RECORD or SUMS[name] in record:
                _write_synced(aside / name, data)
        self.put(aside, final)

    def _send(self, path: str, bucket: Bucket) -> None:
        """Write a cell to the URL, its record last, until a whole one stands there.

        A done one that is there stays. What another writes at the same moment may leave a record
        beside the other's predictions, so what stands there is read again.
        """
        mine = {file.name: file.read_bytes() for file in self._files(path)}
        record = _whole(path, mine)
        if record is None:  # damaged here
            return
        for tries_left in reversed(range(_TRIES + 1)):
            theirs = _standing(path, bucket)
            if theirs is not None and (theirs["status"] == "done" or theirs == record):
                return
            for name, data in mine.items() if tries_left else ():
                bucket.write(f"{path}/{name}", data)
        raise InputError(
            f"{bucket.url}/{path} is another cell whenever it was written",
            "the files that were sent",
            "stop other runs into this URL, and run again",
        )

    def _files(self, path: str) -> list[Path]:
        """The files of a cell that are here, the record last."""
        files = [self.root / path / name for name in _OF_A_CELL]
        return [file for file in files if file.is_file()]

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
        file = self.study(cell)
        self._unlock(file)
        if file.is_file():
            data = file.read_bytes()
            whole = _whole_lines(data)
            if whole != data:
                self.write_file(f"{STUDIES}/{file.name}", whole)
        return file

    def forget_journal(self, cell: Cell) -> None:
        """Remove the study of a cell that is done; its trials stand in the record."""
        file = self.study(cell)
        if file.is_file():
            self._unlock(file)
            file.unlink()
            with contextlib.suppress(OSError):  # others are being tuned
                file.parent.rmdir()

    def study(self, cell: Cell) -> Path:
        """Where the tuning study of a cell is kept, as it is; see `journal`."""
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
        for places in (".*-*", "splits/.*-*", f"{STUDIES}/.*-*", f"{SCORES}/.*-*", "*/*/*/.*-*"):
            for path in self.root.glob(places):
                named = _ASIDE.fullmatch(path.name)
                if named and not psutil.pid_exists(int(named["pid"])):
                    found.append(path)
        return found

    def check_ours(self) -> None:
        """Raise `InputError` for a folder, or a URL, with files in it that no run made."""
        if self.bucket is not None:
            names = self.bucket.names()
            if names and PLAN not in names:
                raise _not_ours(self.bucket.url)
        if not self.root.is_dir() or (self.root / PLAN).is_file():
            return
        ours = (LOCK, OWNER, STUDIES)
        if any(p.name not in ours and not _ASIDE.fullmatch(p.name) for p in self.root.iterdir()):
            raise _not_ours(self.root)

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
        if self.bucket is not None:
            self._send_run(sums, self.bucket)

    def _send_run(self, sums: Mapping[str, str], bucket: Bucket) -> None:
        """The run's own files at the URL, in the same order and for the same reason."""
        there = bucket.names()
        old = _parsed(dict(bucket.read({PLAN: 0})).get(PLAN, b"")) or {}
        known = old.get("files")
        same = set[str]()
        for name in there.keys() & sums.keys():
            as_long = there[name].size == (self.root / name).stat().st_size
            if as_long and isinstance(known, dict) and known.get(name) == sums[name]:
                same.add(name)
            else:
                bucket.remove(name)
        for name in (PLAN, *(name for name in sums if name not in same)):
            bucket.write(name, (self.root / name).read_bytes())

    def publish(self, bucket: Bucket) -> None:
        """Write this finished folder to a new URL: records after their files, the plan at the end.

        Raises `InputError` where files stand there.
        """
        check_new(bucket)
        files = (path for path in self.root.rglob("*") if path.is_file())
        names = {path.relative_to(self.root).as_posix() for path in files}
        names = {name for name in names if is_name(name)}
        for name in sorted(names, key=lambda name: (name == PLAN, name.endswith(RECORD), name)):
            bucket.write(name, (self.root / name).read_bytes())

    def write_file(self, name: str, data: bytes) -> None:
        """Put one file of the run in place in one step."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}-{os.getpid()}")
        _write_synced(aside, data)
        aside.replace(path)

    def groups(self, split_hash: str) -> pd.Series | None:
        """The group of each id of a stored split that holds out groups; None for any other."""
        import pyarrow.parquet as pq

        file = self.root / "splits" / f"{split_hash}.parquet"
        if not file.is_file() or "group" not in pq.read_schema(file).names:
            return None
        return pd.read_parquet(file).set_index("id")["group"]

    def record(self, path: str | Path) -> dict[str, Any] | None:
        """The record in a cell's folder, None where there is none or it is damaged.

        Raises `InputError` for a record of a later trialmark.
        """
        return _as_record(_object(self.root / path / RECORD), self.root / path / RECORD)

    def predictions(
        self, path: str | Path, record: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """The predictions in a cell's folder. Raises `InputError` if they are not those written.

        `record` is the one in the folder, where it has been read already.
        """
        read = self.record(path) if record is None else record
        found = {} if read is None else read
        data = self.predictions_bytes(path, found)
        frame = pd.read_parquet(io.BytesIO(data))
        check_predictions(frame, found, self.root / path / PREDICTIONS)
        return frame

    def predictions_bytes(self, path: str | Path, record: Mapping[str, Any]) -> bytes:
        """The file of predictions. Raises `InputError` unless it is the one that `record` sums."""
        file = self.root / path / PREDICTIONS
        data = file.read_bytes() if file.is_file() else b""
        if sha256(data) != record.get("predictions_sha256"):
            raise InputError(
                f"{file} is not the file that its record describes",
                "the predictions as they were written",
                "delete its folder and run again",
            )
        return data

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
        return _parsed(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _parsed(data: bytes) -> dict[str, Any] | None:
    """The JSON object that `data` is, None where it is none."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _as_record(found: dict[str, Any] | None, file: Path) -> dict[str, Any] | None:
    """What was found in a record's file, None where it is no record."""
    if found is None or not {"status", "key", "cell"} <= set(found):
        return None
    check_schema(found, file)
    return found if is_record(found) else None


def _whole(path: str, files: Mapping[str, bytes]) -> dict[str, Any] | None:
    """The record among the files of a cell, None unless those it describes are here unchanged.

    The texts may be missing: a folder can be read, and given away, without them.
    """
    record = _as_record(_parsed(files.get(RECORD, b"")), Path(path, RECORD))
    if record is None or (record["status"] == "done" and PREDICTIONS not in files):
        return None
    for name, entry in SUMS.items():
        lacking = name not in files
        if entry in record and (name != TEXTS if lacking else sha256(files[name]) != record[entry]):
            return None
    return record


def _standing(path: str, bucket: Bucket) -> dict[str, Any] | None:
    """The record of a cell that is whole at the URL; one request where none is there."""
    record = dict(bucket.read({f"{path}/{RECORD}": 0}))
    described = _parsed(b"".join(record.values())) or {}
    beside = {f"{path}/{name}": 0 for name, entry in SUMS.items() if entry in described}
    files = {**record, **dict(bucket.read(beside))}
    return _whole(path, {name.rpartition("/")[2]: data for name, data in files.items()})


def _by_folder(files: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The files of each folder together; they come in the order of their names."""
    for folder, group in groupby(files, key=lambda file: file[0].rpartition("/")[0]):
        yield folder, {name.rpartition("/")[2]: data for name, data in group}


def check_new(bucket: Bucket) -> None:
    """Raise `InputError` for a URL with files in it."""
    if bucket.names():
        raise InputError(f"{bucket.url} holds files", "a new URL", "set --out, or remove them")


def _not_ours(place: object) -> InputError:
    return InputError(
        f"{place} holds other files",
        "a new folder, an empty one, or one of an earlier run",
        "set --out",
    )


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
    # probabilities hardly ever repeat: without a dictionary, byte by byte, they take a fifth less
    numbers = [name for name in frame if is_float_dtype(frame[name])]
    frame.to_parquet(
        buffer,
        index=False,
        compression="zstd",
        use_dictionary=[name for name in frame if name not in numbers],
        use_byte_stream_split=numbers,
    )
    return buffer.getvalue()


def _write_files(aside: Path, result: Result) -> None:
    """The files of a cell, each with its sha256 in the record, which comes last."""
    aside.mkdir(parents=True)
    record = dict(result.record)
    for name, data in (
        (PREDICTIONS, _if(result.predictions, parquet_bytes)),
        (EXPLANATION, _if(result.explanation, partial(json_bytes, indent=None))),
        (TEXTS, _if(result.texts, parquet_bytes)),
    ):
        if data is not None:
            record[SUMS[name]] = sha256(data)
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
