"""What a plan and a record must hold, before anything is believed of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def _shown(text: str) -> str:
    """A text that may stand in a terminal: without control characters and changes of direction."""
    if _UNSHOWN.search(text):
        raise ValueError("control characters")
    return text


def _below(path: str) -> str:
    """A relative path that stays below where it starts, on any system."""
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in path.split("/")):
        raise ValueError(f"{path!r} leads out of the folder")
    return path


Text = Annotated[str, AfterValidator(_shown)]
Place = Annotated[str, AfterValidator(_shown), AfterValidator(_below)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]  # sums stay numbers


class _Shape(BaseModel):
    """Entries of the right kind; others may stand beside them."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class _Dropped(_Shape):
    after: Count
    by: Text
    score: float | None = None
    needed: float | None = None


class _Entry(_Shape):
    key: Text
    path: Place
    task: Text
    split: Text
    seed: int
    model: Text
    inputs: Text
    as_of: Text
    split_hash: Place
    dropped: _Dropped | None = None


class _Exploration(_Shape):
    keep: float
    by: Text | None = None


class _Data(_Shape):
    fingerprint: Text | None = None
    redacted_fingerprint: Text | None = None
    rows: Count | None = None
    classes: dict[Text, Count] = Field(default_factory=dict)
    columns: dict[Text, Text] = Field(default_factory=dict)


class PlanShape(_Shape):
    """A plan of any schema so far."""

    name: Text
    metrics: list[Text] | None
    cells: list[_Entry]
    reader: Text | None = None
    rows: dict[Text, Count] = Field(default_factory=dict)
    datasets: dict[Text, _Data] = Field(default_factory=dict)
    files: dict[Place, Text] = Field(default_factory=dict)
    exploration: _Exploration | None = None


class _Target(_Shape):
    kind: Literal["binary", "multiclass", "multilabel"]
    classes: Annotated[list[Text], Field(min_length=2)]


class _RowCounts(_Shape):
    train: Count
    valid: Count
    test: Count
    excluded: Count
    test_classes: dict[Text, Count]


class _Cell(_Shape):
    split_hash: Place
    dataset_fingerprint: Text
    members: dict[Text, Place] = Field(default_factory=dict)
    columns: list[Text] = Field(default_factory=list)
    params: dict[str, Any] = Field(default_factory=dict)


class _Trial(_Shape):
    params: dict[str, Any]
    scores: list[float]
    state: Text
    seconds: Amount


class _Budget(_Shape):
    trials: Count
    seconds: Amount


class _Tuning(_Shape):
    objective: Text
    folds: Count
    budget: _Budget
    chosen: Count
    trials: list[_Trial]


class _Environment(_Shape):
    python: Text | None = None
    processor: Text | None = None
    versions: dict[Text, Text | None] = Field(default_factory=dict)


class _Git(_Shape):
    commit: Text | None = None
    dirty: bool | None = None


class _Checkpoint(_Shape):
    label: Text | None = None


class _Notes(_Shape):
    checkpoint: _Checkpoint = Field(default_factory=_Checkpoint)


class _Latency(_Shape):
    ms: Amount | None = None


class _Energy(_Shape):
    kwh: Amount
    grams_co2e: Amount
    method: Text


class _Done(_Shape):
    cell: _Cell
    target: _Target
    rows: _RowCounts
    seconds: dict[Text, Amount]
    is_floor: bool
    is_ceiling: bool
    notes: _Notes
    peak_memory_mb: Amount
    device_name: Text | None
    threads: int | None = None
    tuning: _Tuning | None = None
    latency: _Latency | None = None
    energy: _Energy | None = None
    environment: _Environment = Field(default_factory=_Environment)
    git: _Git = Field(default_factory=_Git)


class _Error(_Shape):
    message: str
    traceback: str = ""


class _Failed(_Shape):
    cell: _Cell
    error: _Error | None = None
    target: _Target | None = None


def flaw(shape: type[BaseModel], found: Any) -> str | None:
    """The first thing that `found` has not as `shape` says, None where all is well."""
    try:
        shape.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg'].removeprefix('Value error, ')}"
    return None


def is_record(found: dict[str, Any]) -> bool:
    """Whether it is the record of a cell, done or failed."""
    if not isinstance(found.get("key"), str) or found.get("status") not in ("done", "failed"):
        return False
    return flaw(_Done if found["status"] == "done" else _Failed, found) is None
