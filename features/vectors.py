"""Vectors kept on disk: one folder an encoder, files that are only ever added.

A file appears whole or not at all, under a name of its own, so that several processes can write
to one folder and a run that is killed loses its last file only.
"""

from __future__ import annotations

import os
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

_BROKEN = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, RuntimeError)


class Embedded(NamedTuple):
    """The vector (d,) of one text, the seconds it took, and its tokens before any cut."""

    vector: Vector
    seconds: float
    tokens: int


def read(folder: Path, wanted: Iterable[bytes]) -> dict[bytes, Embedded]:
    """What `folder` holds of the texts whose sha256 is wanted; an absent folder holds nothing.

    The oldest file wins where two hold the same text, so that a vector once seen stays the same.
    A file that can't be read back is removed: its texts are computed again.
    """
    missing = set(wanted)
    found: dict[bytes, Embedded] = {}
    for path in sorted(folder.glob("*.npz")) if missing else ():
        try:
            keys, vectors, seconds, tokens = _load(path)
        except FileNotFoundError:  # another process removed it
            continue
        except _BROKEN:
            with suppress(OSError):
                path.unlink()
            continue
        for row, key in enumerate(keys):
            if key in missing:
                missing.discard(key)
                found[key] = Embedded(vectors[row], float(seconds[row]), int(tokens[row]))
        if not missing:
            break
    return found


def write(folder: Path, rows: Mapping[bytes, Embedded]) -> Path:
    """Add one file with `rows` (at least one; keys are sha256 digests)."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
    aside, path = folder / f".{name}.tmp", folder / f"{name}.npz"
    try:
        with aside.open("xb") as file:
            np.savez(
                file,
                keys=np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), 32),
                vectors=np.stack([row.vector for row in rows.values()]),
                seconds=np.array([row.seconds for row in rows.values()], dtype=np.float32),
                tokens=np.array([row.tokens for row in rows.values()], dtype=np.int32),
            )
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
    finally:
        aside.unlink(missing_ok=True)
    return path


def _load(
    path: Path,
) -> tuple[list[bytes], Vector, npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        keys, vectors = arrays["keys"], arrays["vectors"]
        seconds, tokens = arrays["seconds"], arrays["tokens"]
    n = len(keys)
    if keys.dtype != np.uint8 or keys.shape != (n, 32) or vectors.dtype != np.float32:
        raise ValueError("not a file of vectors")
    if vectors.ndim != 2 or not len(vectors) == len(seconds) == len(tokens) == n:
        raise ValueError("columns of different lengths")
    return [key.tobytes() for key in keys], vectors, seconds, tokens
