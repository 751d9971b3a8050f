"""What every model is: a class that fits on a frame and gives probabilities."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict

from features.columns import Columns, Inputs

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Target:
    """What is predicted.

    `classes` holds k names. Binary: (negative, positive), y is (n,) of 0 and 1. Multi-class: y is
    (n,) of class numbers. Multi-label: `classes` are the labels and y is (n, k) of 0 and 1.
    """

    kind: Literal["binary", "multiclass", "multilabel"]
    classes: tuple[str, ...]


class Timer:
    """Seconds of wall time spent by phase; phases must not nest.

    The phase `spared` holds what a cache saved: a model adds the seconds that the same work took
    when it was done, so that its cost does not depend on who ran before it.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[phase] += time.perf_counter() - start


@dataclass(frozen=True)
class Context:
    """What a model may use besides its data.

    `cache` is a folder for things that are dear to compute again (None: keep nothing), `device`
    is `cpu`, `cuda` or `mps`, `threads` bounds every library's pool. Work that turns columns into
    numbers is done under `with context.timer("features")`, so that it is told apart from fitting.
    """

    seed: int = 0
    cache: Path | None = None
    device: str = "cpu"
    threads: int = 1
    timer: Timer = field(default_factory=Timer)


class Params(BaseModel):
    """Parameters of a model; every unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Model(Protocol):
    """The contract of a model. `models.build` makes one; each instance is fitted once.

    `notes` holds what a reader of the result should know and the parameters do not say (best
    round, best epoch, the checkpoint really used, rows cut short): JSON values only.
    """

    Params: ClassVar[type[Params]]
    inputs: ClassVar[tuple[Inputs, ...]]
    """Inputs this model can use; the first is its default."""
    libraries: ClassVar[tuple[str, ...]]
    """Distributions whose version changes the predictions; part of a cell's key."""
    is_floor: ClassVar[bool]
    notes: dict[str, Any]

    def __init__(
        self, params: Any, *, columns: Columns, target: Target, context: Context
    ) -> None: ...

    @classmethod
    def preflight(cls, params: Any) -> None:
        """Raise `InputError` if something the model needs cannot be had (a checkpoint, say)."""

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints]) -> Self:
        """Learn from the rows `X` (n) with targets `y`; `valid` is for early stopping only."""

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k): rows sum to 1, except for a multi-label target."""
