"""Carrying out a cell: tune, fit, predict, calibrate and explain, each timed."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark import receipts
from benchmark.cells import BLEND, CEILING, SCHEMA, Cell, Result
from benchmark.dataset import Dataset
from benchmark.energy import estimated
from benchmark.history import with_history
from benchmark.latency import latency
from benchmark.splits import Split
from benchmark.tasks import class_counts
from benchmark.tune import Setting, Tuned, explore, tune
from features.columns import Columns
from features.errors import InputError
from models import build, calibration, check_params, model_class
from models.base import Context, Floats, Ints, Model, Timer
from models.blend import Blend, BlendParams


@dataclass(frozen=True)
class Material:
    """What a cell needs besides its rows.

    `members` holds the record and the predictions of each cell that a blend mixes, by name;
    `journal` is the file that keeps a tuning study until the cell is stored; `country` is whose
    electricity is used, where its amount is to be estimated.
    """

    members: Mapping[str, tuple[Mapping[str, Any], pd.DataFrame]] = field(default_factory=dict)
    journal: Path | None = None
    country: str | None = None


@dataclass(frozen=True)
class _Made:
    """Probabilities by part, seconds by phase and notes; the fitted model for its explanation."""

    probabilities: Mapping[str, Floats]
    seconds: dict[str, float]
    notes: dict[str, Any]
    tuning: dict[str, Any] | None = None
    model: Model | None = None
    columns: Columns = field(default_factory=Columns)


def run_cell(
    cell: Cell, data: Dataset, *, split: Split, context: Context, material: Material | None = None
) -> Result:
    """Fit and predict one cell. An error inside becomes a record with status `failed`."""
    receipts.reset_peak_memory()
    before = context.memo.uses
    material = Material() if material is None else material
    started = datetime.now(UTC)
    record: dict[str, Any] = {"schema": SCHEMA, "key": cell.key, "cell": asdict(cell)}
    result = Result(record, None)
    try:
        record |= _opening(cell, data, split, context)
        with estimated(material.country) as energy:
            found = _carried_out(cell, data, split=split, context=context, material=material)
        if energy:
            found.record["energy"] = _with_members(energy, material)
        receipts.canonical_json(found.record)  # a note that is no JSON is the model's fault
        result = replace(found, record=record | found.record)
    except Exception as error:  # a failing model must not stop the others
        result = Result(record | {"status": "failed", "error": _described(error)}, None)
    result.record.setdefault("peak_memory_mb", _peak(context, before))
    result.record["started"] = started.isoformat(timespec="seconds")
    result.record["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    return result


def _with_members(energy: dict[str, Any], material: Material) -> dict[str, Any]:
    """What a cell took and what the members of a blend took before it."""
    taken = [energy, *(record.get("energy") or {} for record, _ in material.members.values())]
    sums = {name: sum(one.get(name, 0.0) for one in taken) for name in ("kwh", "grams_co2e")}
    return {**energy, **sums}


def _peak(context: Context, before: int) -> float:
    """MiB at most, less what earlier cells left in the memo and none used since `before`."""
    others = context.memo.idle(before) / 2**20
    return round(max(0.0, receipts.peak_memory_mb() - others), 1)


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
        "threads": context.threads if cell.threads is not None else context.pool,
        "environment": receipts.environment(),
        "git": receipts.git_state(),
    }


def _carried_out(
    cell: Cell, data: Dataset, *, split: Split, context: Context, material: Material
) -> Result:
    """A finished cell, without what `run_cell` adds to its record.

    Calibration is learnt on the valid rows, from the model that was not fitted on them, and applied
    to the refitted one too.
    """
    from threadpoolctl import threadpool_limits

    context, before = replace(context, seed=cell.seed, timer=Timer()), context.memo.uses
    if cell.model == CEILING:
        made = _Made(_true_probabilities(cell, data, split), {}, {})
    elif cell.model == BLEND:
        made = _blended(cell, data, split, material.members)
    else:
        data = with_history(data, split)
        made = _learnt(cell, data, split=split, context=context, journal=material.journal)
    probabilities, raw, notes = made.probabilities, None, made.notes
    if cell.calibrate is not None:
        _, y = data.take(split.valid)
        fitted = calibration.fit(
            y, probabilities["valid"], target=data.target, method=cell.calibrate
        )
        raw = probabilities
        probabilities = {part: fitted.apply(p) for part, p in raw.items()}
        notes = {**notes, "calibration": fitted.notes}
    record = {"status": "done", "seconds": made.seconds, "notes": notes}
    if made.tuning is not None:
        record["tuning"] = made.tuning
    predictions = predictions_frame(data, split, probabilities, raw=raw)
    done = _explained(cell, data, split=split, made=made, done=Result(record, predictions))
    if made.model is not None:
        done.record["peak_memory_mb"] = _peak(context, before)  # without what timing a row takes
        X = data.take(split.test)[0][list(made.columns.names)]
        with threadpool_limits(limits=context.pool):
            done.record["latency"] = latency(made.model, X, context)
    elif cell.model == BLEND:
        done.record["latency"] = _latency_of(material.members)
    return done


def _latency_of(members: Mapping[str, tuple[Mapping[str, Any], pd.DataFrame]]) -> Any:
    """The sum of the members', None where one has none."""
    each = [record.get("latency") or {} for record, _ in members.values()]
    if not all("ms" in one for one in each):
        return None
    total = sum(one["ms"] for one in each)
    return {"ms": round(total, 3), "rows": min(one["rows"] for one in each)}


def _learnt(
    cell: Cell, data: Dataset, *, split: Split, context: Context, journal: Path | None
) -> _Made:
    """Tune (if the cell says so), fit, and predict valid and test."""
    from threadpoolctl import threadpool_limits

    columns = data.inputs(cell.inputs, cell.as_of)
    tuned: Tuned | None = None
    params: Mapping[str, Any] = cell.params
    with threadpool_limits(limits=context.pool):
        if cell.tune is not None:
            tuned = tune(
                _setting(cell, cell.tune, columns),
                data,
                split=split,
                context=context,
                journal=journal,
            )
            params = tuned.params
        fit = _Fit(cell, params, data, split, columns=columns, context=context)
        made = fit.made()
    if tuned is None:
        return made
    seconds = sum(trial["seconds"] for trial in tuned.report["trials"])
    tuning = {**tuned.report, "params": tuned.params}
    return replace(made, seconds={**made.seconds, "tune": round(seconds, 4)}, tuning=tuning)


def _setting(cell: Cell, budget: Mapping[str, Any], columns: Columns) -> Setting:
    return Setting(cell.model, cell.params, budget["free"], columns, budget)


def explore_cell(
    cell: Cell,
    data: Dataset,
    *,
    split: Split,
    context: Context,
    journal: Path,
    worker: int | None,
) -> None:
    """Run a share of a cell's tuning study, kept in `journal`; see `tune.explore`."""
    from threadpoolctl import threadpool_limits

    if cell.tune is None:
        raise ValueError(f"{cell.name} is not tuned")
    context = replace(context, seed=cell.seed, timer=Timer())
    data = with_history(data, split)
    setting = _setting(cell, cell.tune, data.inputs(cell.inputs, cell.as_of))
    with threadpool_limits(limits=context.pool):
        explore(setting, data, split=split, context=context, journal=journal, worker=worker)


@dataclass(frozen=True)
class _Fit:
    """One fit of a cell's model with chosen parameters, and once more with `refit`."""

    cell: Cell
    params: Mapping[str, Any]
    data: Dataset
    split: Split
    columns: Columns
    context: Context

    def made(self) -> _Made:
        """Fit, then predict test and valid; seconds by phase.

        `features` is the part of the fit that turned columns into numbers, `predict` is all it
        takes for the test rows, their features included. Both count what a cache spared at its
        first cost; `spared` says how much of them that is. The valid rows are always predicted by
        a model that was not fitted on them: thresholds and blends rest on that.
        """
        timer = self.context.timer
        X_valid, y_valid = self._rows(self.split.valid)
        with timer("whole fit"):
            model = self._model({}).fit(*self._rows(self.split.train), (X_valid, y_valid))
            last = self._refitted(model) if self.cell.refit else model
        features, spared = timer.seconds["features"], timer.seconds["spared"]
        with timer("predict"):
            test = last.predict_proba(self._rows(self.split.test)[0])
        spared_later = timer.seconds["spared"] - spared
        valid = model.predict_proba(X_valid)
        seconds = {
            "features": features + spared,
            "fit": timer.seconds["whole fit"] - features,
            "predict": timer.seconds["predict"] + spared_later,
            "spared": spared + spared_later,
        }
        notes = {**model.notes, **({"refit": model.settled()} if self.cell.refit else {})}
        return _Made(
            {"valid": valid, "test": test},
            {name: round(value, 4) for name, value in seconds.items()},
            notes,
            model=last,
            columns=self.columns,
        )

    def _refitted(self, model: Model) -> Model:
        """A model of the same parameters on train and valid, to where `model` stopped."""
        rows = np.concatenate([self.split.train, self.split.valid])
        return self._model(model.settled()).fit(*self._rows(rows), None)

    def _model(self, settled: Mapping[str, Any]) -> Model:
        params = check_params(self.cell.model, {**self.params, **settled})
        return build(
            self.cell.model,
            params,
            columns=self.columns,
            target=self.data.target,
            context=self.context,
        )

    def _rows(self, ids: np.ndarray) -> tuple[pd.DataFrame, Ints]:
        X, y = self.data.take(ids)
        return X[list(self.columns.names)], y


def _blended(
    cell: Cell,
    data: Dataset,
    split: Split,
    members: Mapping[str, tuple[Mapping[str, Any], pd.DataFrame]],
) -> _Made:
    """The mixture of other cells' stored predictions that scores best on valid.

    Its seconds are its own and those of its members, less the time that reading the rows and
    explanations took: that is what it takes to have it.
    """
    lacking = sorted(set(cell.members) - set(members))
    if lacking:
        raise InputError(
            f"the blend's member {lacking[0]} is not done", "all of its members", "run again"
        )
    timer = Timer()
    params = BlendParams.model_validate(cell.params)
    blend = Blend(params, data.target, seed=cell.seed)
    by_part = {
        part: {
            name: _stored(frame, data, ids=getattr(split, part), part=part)
            for name, (_, frame) in members.items()
        }
        for part in ("valid", "test")
    }
    with timer("fit"):
        blend.fit(by_part["valid"], data.take(split.valid)[1])
    with timer("predict"):
        found = {
            part: blend.predict_proba(probabilities) for part, probabilities in by_part.items()
        }
    seconds = {name: round(value, 4) for name, value in timer.seconds.items()}
    for record, _ in members.values():
        for phase, value in record["seconds"].items():
            if phase not in ("read", "explain"):
                seconds[phase] = round(seconds.get(phase, 0.0) + value, 4)
    return _Made(found, {"features": 0.0, **seconds}, {"weights": blend.weights})


def _stored(frame: pd.DataFrame, data: Dataset, *, ids: np.ndarray, part: str) -> Floats:
    """Stored probabilities of the rows `ids`, (n, k). Raises `InputError` for other rows."""
    rows = frame[frame["part"] == part]
    if not np.array_equal(rows["id"].to_numpy(str), ids.astype(str)):
        raise InputError(f"a member's {part} rows are others", "those of the same split")
    return rows[[f"p_{name}" for name in data.target.classes]].to_numpy(np.float64)


def _explained(cell: Cell, data: Dataset, *, split: Split, made: _Made, done: Result) -> Result:
    """The result with an explanation of the model, where one was asked for and it has one."""
    if cell.explain is None or made.model is None:
        return done
    from benchmark.explain import explanation

    timer = Timer()
    X, y = data.take(split.test)
    with timer("explain"):
        found = explanation(
            made.model,
            X[list(made.columns.names)],
            y=y,
            proba=made.probabilities["test"],
            columns=made.columns,
            target=data.target,
            options=cell.explain,
            seed=cell.seed,
        )
    if found is None:
        return done
    done.record["seconds"]["explain"] = round(timer.seconds["explain"], 4)
    return replace(done, explanation=found[0], texts=found[1])


def _true_probabilities(cell: Cell, data: Dataset, split: Split) -> dict[str, Floats]:
    rows = {part: data.X.index.get_indexer(getattr(split, part)) for part in ("valid", "test")}
    return {part: data.oracle[cell.as_of][index] for part, index in rows.items()}


def predictions_frame(
    data: Dataset,
    split: Split,
    probabilities: Mapping[str, Floats],
    *,
    raw: Mapping[str, Floats] | None = None,
) -> pd.DataFrame:
    """Columns id, part, y (or y_<label> for multi-label) and p_<class>; valid rows, then test.

    Where probabilities were calibrated, those before it follow as raw_<class>.
    """
    parts = []
    for part, p in probabilities.items():
        ids = getattr(split, part)
        _, y = data.take(ids)
        _check_probabilities(p, len(ids), data)
        frame = pd.DataFrame({"id": ids.astype(str), "part": part})
        before = [] if raw is None else [_named(raw[part], "raw", data)]
        parts.append(pd.concat([frame, _truth(data, y), _named(p, "p", data), *before], axis=1))
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
