"""What every model is: a class that fits on a frame and gives probabilities."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import psutil
from pydantic import BaseModel, ConfigDict

from features.columns import Columns, Inputs

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from models.attribution import Attribution

T = TypeVar("T")
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
    """Seconds of wall time spent by phase; a phase must not stand inside itself.

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


class Memo:
    """What several fits of one cell share: a fitted vocabulary, a table cut into bins.

    It keeps what was used last, of about `most` bytes in arrays, tables and texts (None: a quarter
    of the memory that is free now). A key must hold all that decides the thing, the rows too
    (`rows_key`).
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = psutil.virtual_memory().available // 4 if most is None else most
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave for this key before, or gives now."""
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            thing = make()
            self._kept[key] = thing, _size(thing)
            while sum(size for _, size in self._kept.values()) > self._most and len(self._kept) > 1:
                self._kept.popitem(last=False)
        found: T = self._kept[key][0]
        return found


def _size(thing: Any) -> int:
    """Bytes of the arrays, tables and texts in a thing, through tuples, lists and dataclasses."""
    if isinstance(thing, str):
        return len(thing)
    if isinstance(thing, pd.DataFrame):
        return int(thing.memory_usage(index=False).sum())
    if isinstance(thing, Mapping):
        return sum(map(_size, thing.values()))
    if isinstance(thing, list | tuple):
        return sum(map(_size, thing))
    parts = [getattr(thing, name, None) for name in ("data", "indices", "indptr")]
    if all(isinstance(part, np.ndarray) for part in parts):  # a sparse matrix
        return sum(part.nbytes for part in parts if part is not None)
    if is_dataclass(thing):
        return sum(_size(getattr(thing, part.name)) for part in fields(thing))
    return int(getattr(thing, "nbytes", 0))


def rows_key(X: pd.DataFrame) -> str:
    """sha256 of the ids of the rows and of all they hold, in their order.

    Not of the ids alone: a row with its text redacted is another row to a model. About 10 ms for
    1,000 rows of 3,000 characters.
    """
    cells = pd.util.hash_pandas_object(X, index=True).to_numpy()
    return hashlib.sha256("\0".join(map(str, X.columns)).encode() + cells.tobytes()).hexdigest()


@dataclass(frozen=True)
class Context:
    """What a model may use besides its data.

    `cache` is a folder for things that are dear to compute again (None: keep nothing), `device`
    is `cpu`, `cuda` or `mps`, `threads` bounds every library's pool. Work that turns columns into
    numbers is done under `with context.timer("features")`, so that it is told apart from fitting.
    `memo` is shared by all fits of one cell: tuning fits many models on the same rows.
    """

    seed: int = 0
    cache: Path | None = None
    device: str = "cpu"
    threads: int = 1
    timer: Timer = field(default_factory=Timer)
    memo: Memo = field(default_factory=Memo)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """`memo.once`; where the thing is there already, the seconds it took count as `spared`."""
        made = False

        def timed() -> tuple[T, float]:
            nonlocal made
            made, before, start = True, self.timer.seconds.get("spared", 0.0), time.perf_counter()
            value = make()
            spared = self.timer.seconds.get("spared", 0.0) - before
            return value, time.perf_counter() - start + spared

        value, seconds = self.memo.once(key, timed)
        if not made:
            self.timer.seconds["spared"] += seconds
        return value


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
    explains_slowly: ClassVar[bool]
    """Whether an explained row takes many passes: then fewer rows are explained."""
    notes: dict[str, Any]

    def __init__(
        self, params: Any, *, columns: Columns, target: Target, context: Context
    ) -> None: ...

    @classmethod
    def preflight(cls, params: Any) -> None:
        """Raise `InputError` if something the model needs cannot be had (a checkpoint, say)."""

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, BaseDistribution]:
        """What tuning searches, by parameter, for these inputs; {} where there is nothing to tune.

        Each default lies inside, since tuning begins with the defaults.
        """

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints] | None) -> Self:
        """Learn from the rows `X` (n) with targets `y`; `valid` is for early stopping only.

        Without `valid` training goes on to the end that the parameters set.
        """

    def settled(self) -> dict[str, Any]:
        """Parameters that repeat this fit without valid rows: the rounds or steps it stopped at."""

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k): rows sum to 1, except for a multi-label target."""

    def explain(self, X: pd.DataFrame) -> Attribution | None:
        """What each prediction for `X` is made of; None for a model without inputs to show."""
