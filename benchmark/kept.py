"""Values and bootstrap draws of finished cells, kept in the results folder: never needed.

<run>/.scores/<sha256 of the cell's folder>: the sha256 of the rest, a line of JSON (what they were
drawn from, names of the metrics), then the numbers. A file that is missing, damaged or drawn from
anything else counts as none, and the numbers are computed again: the same ones, bit for bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.bootstrap import UnionWeights
from benchmark.receipts import ROOT, canonical_json, sha256
from benchmark.store import SCORES, study_of
from models.base import Floats

_SOURCES = ("metrics.py", "bootstrap.py", "contenders.py", "kept.py")


@dataclass(frozen=True)
class Kept:
    """The kept numbers of one results folder's cells under one set of draws."""

    root: Path
    weights: UnionWeights

    def read(self, path: str, record: Mapping[str, Any], rows: str) -> dict[str, Floats]:
        """What is kept of the cell in the folder `path`: (1 + draws,) by metric, the value first.

        `rows` is the sha256 of the ids that it must have tested. Empty where nothing is kept that
        was drawn from the same predictions, rows, groups, draws and sources.
        """
        try:
            content = self._content(path)
            if content is None:
                return {}
            line, _, numbers = content.partition(b"\n")
            head = json.loads(line)
            if head["of"] != self._of(record, rows):
                return {}
            shape = len(head["metrics"]), 1 + self.weights.draws
            values = np.frombuffer(numbers, "<f8").reshape(shape)
            return dict(zip(head["metrics"], values, strict=True))
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def sound(self, path: str) -> bool | None:
        """Whether the file kept of a cell is as it was written; None where there is none."""
        try:
            return self._content(path) is not None
        except OSError:
            return None

    def name(self, path: str) -> str:
        """The file kept of a cell, within the results folder."""
        return f"{SCORES}/{study_of(path)}"

    def write(
        self, path: str, record: Mapping[str, Any], rows: str, values: Mapping[str, Floats]
    ) -> None:
        """Keep values for `read`; where the folder cannot be written to, nothing is kept."""
        head = canonical_json({"of": self._of(record, rows), "metrics": list(values)}).encode()
        content = head + b"\n" + np.stack(list(values.values())).astype("<f8").tobytes()
        file = self.root / self.name(path)
        aside = file.with_name(f".{file.name}-{os.getpid()}")
        with suppress(OSError):  # a read-only folder, or a full disk
            file.parent.mkdir(exist_ok=True)
            try:
                # not synced: after a crash its sum does not hold
                aside.write_bytes(sha256(content).encode() + b"\n" + content)
                aside.replace(file)
            finally:
                aside.unlink(missing_ok=True)

    def _content(self, path: str) -> bytes | None:
        """What the sum in a file is of, None where it does not hold."""
        wanted, _, content = (self.root / self.name(path)).read_bytes().partition(b"\n")
        return content if wanted == sha256(content).encode() else None

    def _of(self, record: Mapping[str, Any], rows: str) -> str:
        """The sha256 of all that decides the numbers."""
        target = record["target"]
        return sha256(
            canonical_json(
                [
                    record["predictions_sha256"], target["kind"], target["classes"],
                    rows, self.weights.digest, _sources(),
                ]
            ).encode()
        )  # fmt: skip


@cache
def _sources() -> str:
    """The sha256 of the sources that score, and of what they compute with."""
    texts = [(ROOT / "benchmark" / name).read_bytes() for name in _SOURCES]
    return sha256(b"\0".join([np.__version__.encode(), *texts]))
