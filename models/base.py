"""What every model is: a class that fits on a frame and gives probabilities."""

from __future__ import annotations

import hashlib
import time
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
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


@dataclass(frozen=True)
class Cost:
    """What work took when it was done, piece by piece: (m,) hashes of pieces, (m,) seconds."""

    pieces: npt.NDArray[np.uint64]
    seconds: Floats

    @classmethod
    def of(cls, piece: Hashable, seconds: float) -> Self:
        """The cost of one piece."""
        return cls(np.array([hash(piece) % 2**64], np.uint64), np.array([seconds]))

    @classmethod
    def joined(cls, costs: Sequence[Self]) -> Self:
        """All pieces of several costs, at least one."""
        return cls(
            np.concatenate([cost.pieces for cost in costs]),
            np.concatenate([cost.seconds for cost in costs]),
        )


class Timer:
    """Seconds of wall time spent by phase; a phase must not stand inside itself.

    The phase `spared` holds what was there already: each piece of work counts once, with the
    seconds that it took when it was done, so that a cost does not depend on who ran before.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.waited = 0.0
        self._counted = np.empty(0, np.uint64)
        self._inside: list[tuple[list[Cost], list[float]]] = []

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        start = self.now()
        try:
            yield
        finally:
            self.seconds[phase] += self.now() - start

    def now(self) -> float:
        """The clock of this timer: it stands still while others are waited for."""
        return time.perf_counter() - self.waited

    def wait(self, seconds: float) -> None:
        """So long another process was waited for, which did this one's work."""
        self.waited += seconds

    def charge(self, cost: Cost, spent: float | None = None) -> None:
        """Count work that was needed: `spent` seconds of now went into it (None: it was spared)."""
        if spent is None:
            pieces, first = np.unique(cost.pieces, return_index=True)
            new = ~np.isin(pieces, self._counted)
            self.seconds["spared"] += float(cost.seconds[first][new].sum())
        self._counted = np.union1d(self._counted, cost.pieces)
        if self._inside:
            costs, seconds = self._inside[-1]
            costs.append(cost)
            seconds.append(0.0 if spent is None else spent)

    def costed(self, piece: Hashable, make: Callable[[], T]) -> tuple[T, Cost, float]:
        """What `make` gives, its cost with that of all that is charged meanwhile, and seconds."""
        self._inside.append(([], []))
        start = self.now()
        try:
            value = make()
        finally:
            spent = self.now() - start
            costs, seconds = self._inside.pop()
        return value, Cost.joined([Cost.of(piece, spent - sum(seconds)), *costs]), spent


class Memo:
    """What fits in one process share: a fitted vocabulary, a table cut into bins.

    It keeps what was used last, of about `most` bytes in arrays, tables and texts (None: a quarter
    of the memory that is free now). A key must hold all that decides the thing, the rows too
    (`rows_key`). What is kept must not be changed by who gets it. A copy in another process is
    empty.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = psutil.virtual_memory().available // 4 if most is None else most
        self.uses = 0
        self.is_open = True
        """Whether things are kept; also whether a cache on disk may be used."""
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._used: dict[Hashable, int] = {}
        self._rows: dict[int, tuple[weakref.ref[pd.DataFrame], dict[tuple[str, ...], str]]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Memo, (self.most,)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave for this key before, or gives now."""
        if not self.is_open:
            return make()
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            thing = make()
            self._kept[key] = thing, _size(thing)
            while sum(size for _, size in self._kept.values()) > self.most and len(self._kept) > 1:
                gone, _ = self._kept.popitem(last=False)
                self._used.pop(gone, None)
        self.uses += 1
        self._used[key] = self.uses
        found: T = self._kept[key][0]
        return found

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Inside, nothing that was kept is found and nothing is kept: to time work by itself."""
        self.is_open = False
        try:
            yield
        finally:
            self.is_open = True

    def idle(self, since: int) -> int:
        """Bytes of the things that were not asked for since `uses` had this value."""
        return sum(size for key, (_, size) in self._kept.items() if self._used[key] <= since)

    def rows_key(self, X: pd.DataFrame, names: Sequence[str] | None = None) -> str:
        """`rows_key` of these columns (None: all), worked out once for one and the same frame.

        A frame must not be changed in place between two calls.
        """
        known = self._rows.get(id(X))
        if known is None or known[0]() is not X:
            place, rows = id(X), self._rows
            known = rows[place] = weakref.ref(X, lambda _: rows.pop(place, None)), {}
        wanted = tuple(X.columns if names is None else names)
        if wanted not in known[1]:
            known[1][wanted] = rows_key(X[list(wanted)])
        return known[1][wanted]


def _size(thing: Any) -> int:
    """Bytes of the arrays, tables and texts in a thing, through tuples, lists and dataclasses.

    A thing that has `nbytes` knows better.
    """
    if isinstance(thing, str):
        return len(thing)
    if isinstance(nbytes := getattr(thing, "nbytes", None), int):
        return nbytes
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
    return 0


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
    is `cpu`, `cuda` or `mps`. `threads` bounds torch's pool, which rounds differently by its size;
    `pool` those of all libraries that don't: `cores` where other cells run beside this one (None:
    as many as `threads`). Work that turns columns into numbers is done under
    `with context.timer("features")`, so that it is told apart from fitting. `memo` is shared by all
    fits in a process: models of one split, and the many fits of a tuning study, see the same rows.
    """

    seed: int = 0
    cache: Path | None = None
    device: str = "cpu"
    threads: int = 1
    cores: int | None = None
    timer: Timer = field(default_factory=Timer)
    memo: Memo = field(default_factory=Memo)

    @property
    def pool(self) -> int:
        """Threads of a library whose results do not depend on their number."""
        return self.threads if self.cores is None else min(self.threads, self.cores)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """`memo.once`; where the thing is there already, the seconds it took count as `spared`."""
        spent: float | None = None

        def made() -> tuple[T, Cost]:
            nonlocal spent
            value, cost, spent = self.timer.costed(key, make)
            return value, cost

        value, cost = self.memo.once(key, made)
        self.timer.charge(cost, spent)
        return value

    def rows_key(self, X: pd.DataFrame, names: Sequence[str] | None = None) -> str:
        """`memo.rows_key`; "" where nothing is kept by it."""
        return self.memo.rows_key(X, names) if self.memo.is_open else ""


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
