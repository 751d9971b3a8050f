"""The main job: config -> rows -> splits -> cells -> results folder."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from benchmark import receipts
from benchmark.audit import Report, run_audit
from benchmark.cells import BLEND, CEILING, Cell, ModelChoice, make_cell
from benchmark.cluster import check_ray, connected, on_ray
from benchmark.compare import compare
from benchmark.config import ColumnChoice, RunConfig, TuneConfig, load
from benchmark.curves import curves
from benchmark.dataset import Dataset, Rows
from benchmark.executor import Silent, Watcher, Workload, process, serial
from benchmark.halving import Dropped, Rule, check_rounds, decided, rounds
from benchmark.halving import reason as why_dropped
from benchmark.history import asked
from benchmark.leaderboard import Board, gains, leaderboard
from benchmark.limits import Limits
from benchmark.lock import only_writer, said
from benchmark.metrics import metric_names, metric_of
from benchmark.noise import RATE, stress
from benchmark.places import cache_folder, here, store_at
from benchmark.readers import READERS
from benchmark.receipts import json_bytes
from benchmark.redact import redacted_dataset
from benchmark.slices import SLICES, slices_of
from benchmark.splits import Split, make_splits
from benchmark.store import AUDIT, Store, folder_of, parquet_bytes
from benchmark.tasks import class_counts, labelled, narrowed
from features.columns import Column, KnownAt
from features.errors import InputError, unknown_name
from models import model_class
from models.base import Context

TO_FIT = ("failed", "missing")
EXECUTORS: dict[str, Callable[..., None]] = {"serial": serial, "process": process, "ray": on_ray}


@dataclass(frozen=True)
class Run:
    """A results folder, finished or not. `benchmark.run` and `benchmark.read` give one."""

    folder: Path

    def status(self) -> pd.DataFrame:
        """One row a planned cell: what it is, its state and its error.

        It is done, failed, missing, or dropped by `halving`: then `error` says why.
        """
        store = Store(self.folder)
        return pd.DataFrame([_status_row(store, entry) for entry in store.plan()["cells"]])

    def board(self, metric: str | None = None) -> Board:
        """The leaderboard with its footnotes, ranked by `metric` (default: the config's first)."""
        return leaderboard(Store(self.folder), metric)

    def leaderboard(self, metric: str | None = None) -> pd.DataFrame:
        """One row for each task, split, as-of level, model, inputs and metric, best first."""
        return self.board(metric).rows

    def predictions(self) -> pd.DataFrame:
        """All stored predictions: what cell, id, part (valid, test), truth and probabilities."""
        store = Store(self.folder)
        frames = []
        for entry in store.plan()["cells"]:
            if store.state(entry["path"]) == "done":
                frame = store.predictions(entry["path"])
                names = ("task", "split", "seed", "model", "inputs", "as_of")
                for place, name in enumerate(names):
                    frame.insert(place, name, entry[name])
                frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def curves(self) -> pd.DataFrame:
        """ROC and precision-recall curves of the test rows by model and class or label, to plot.

        One row a point; see `benchmark.curves.curves`.
        """
        return curves(Store(self.folder))

    def compare(self, a: str, b: str | None = None, metric: str | None = None) -> pd.DataFrame:
        """Paired difference a - b in every task and split, with 95 % interval and p values.

        A model is named by its label, or `label/inputs` where it ran with several inputs; without
        `b` it is compared with every other model, by Holm's rule. See `benchmark.compare.compare`.
        """
        return compare(Store(self.folder), a, b, metric)

    def leak_dividend(self, metric: str | None = None) -> pd.DataFrame:
        """What each model gains at later as-of levels, with interval and p.

        One row for each task, split, later level, model and inputs. Raises `InputError` for a run
        of one level.
        """
        return gains(self.board(metric), "leak", metric)

    def redaction(self, metric: str | None = None) -> pd.DataFrame:
        """What each model gains or loses by redacted texts, with interval and p.

        One row for each task, split, level, model and inputs. Raises `InputError` for a run that
        is not of both.
        """
        return gains(self.board(metric), "redaction", metric)

    def optimism(self, metric: str | None = None) -> pd.DataFrame:
        """What each model scores more on a split's random twin than on the split, with interval.

        One row for each task, twin, level, model and inputs. Raises `InputError` for a run without
        a twin beside its split.
        """
        return gains(self.board(metric), "optimism", metric)

    def stress(
        self, rate: float | Mapping[str, float] = RATE, metric: str | None = None
    ) -> pd.DataFrame:
        """How label noise of this rate (or rates by class) moves each pair of models.

        See `benchmark.noise.stress`; `benchmark.noise.relabel` scores by other labels.
        """
        return stress(Store(self.folder), rate, metric)


def _status_row(store: Store, entry: Mapping[str, Any]) -> dict[str, Any]:
    record = store.record(entry["path"]) or {}
    error = record.get("error", {})
    shown = {k: entry[k] for k in ("task", "split", "seed", "model", "inputs", "as_of", "path")}
    reason = f"{error['class']}: {error['message']}" if error else ""
    state = store.state(entry["path"])
    if "dropped" in entry and state != "done":
        return {**shown, "state": "dropped", "error": why_dropped(entry["dropped"])}
    return {**shown, "state": state, "error": reason}


def read(folder: str | Path) -> Run:
    """A results folder, or URL, that `run` wrote. Raises `InputError` where it holds no run.

    Of a URL it is a copy as of now; see `benchmark.places.here`.
    """
    found = here(folder)
    Store(found).plan()
    return Run(found)


def run(
    config: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    executor: str | None = None,
    address: str | None = None,
    only_failed: bool = False,
    strict: bool = False,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> Run:
    """Run a benchmark matrix, or what is missing of it.

    `config` is a YAML file or a mapping of the same shape, `overrides` are `a.b=value` strings,
    `out` is the results folder (default: results/<name>) or a URL such as s3://bucket/run. Cells
    that are done there already are not fitted again; `only_failed` fits those alone whose last try
    failed. The audit's findings go to the folder's audit.json; `strict` stops at serious ones.
    `jobs` cells are fitted at the same time (None: one, or on Ray as many as there is room for);
    `executor` and `address` (see `RunConfig`) come before those of the config.
    Raises `InputError` before anything is written when the config or the data cannot be used; a
    cell that fails becomes a record.
    """
    checked = _placed(load(config, overrides), executor, address)
    execute = _executor(checked, jobs)
    store = store_at(out if out is not None else default_out(checked))
    if checked.tune is not None and checked.tune.workers is not None:
        _check_spread(checked, store)
    start = time.perf_counter()
    rows = read_rows(checked)
    read_seconds = round(time.perf_counter() - start, 4)
    work, cells, splits = prepare(checked, rows, store)
    limits = Limits(checked.timeout, checked.memory)
    work = replace(work, read_seconds=read_seconds, limits=limits)
    if checked.halving is not None:
        check_rounds(entries(cells))
        work = replace(work, exploration=checked.halving.model_dump())
    if checked.energy is not None:
        work = replace(work, country=checked.energy.country)
    watch = watcher if watcher is not None else Silent()
    report = _audited(checked, rows, work, splits)
    if strict:
        report.check()
    watch.audited(report)
    store.check_ours()
    own = _own(checked, rows, work, report)
    del rows  # of a registry half are unlabelled; fits can use the room
    with only_writer(store.root):
        write = partial(_write_run, checked, own, work, cells)
        write({})
        watch.planned(len(cells))
        store.settle([folder_of(cell) for cell in cells])
        with ExitStack() as cluster:
            for wave in _waves(checked, work, cells, write=write, watcher=watch):
                todo = _to_do(wave, store, watch, only_failed=only_failed)
                if not todo:
                    continue
                if checked.executor == "ray":
                    cluster.enter_context(connected(checked.address))  # later ones share the first
                execute(todo, work, watcher=watch)
                # what workers of other machines have finished
                store.settle([folder_of(cell) for cell in wave])
    return Run(work.store.root)


def _waves(
    config: RunConfig,
    work: Workload,
    cells: Sequence[Cell],
    *,
    write: Callable[[Mapping[str, Dropped]], None],
    watcher: Watcher,
) -> Iterator[Sequence[Cell]]:
    """All cells; with `halving` those of one seed after the other, less the models that lag behind.

    `write` puts every decision into the plan.
    """
    if config.halving is None:
        yield cells
        return
    rule = Rule(config.halving.keep, config.halving.by, config.metrics)
    dropped: dict[str, Dropped] = {}
    for number in rounds(cells, entries(cells)):
        going_on = []
        for cell in (cell for one in number for cell in one.cells):
            if folder_of(cell) in dropped:
                watcher.finished(cell, "dropped")
            else:
                going_on.append(cell)
        yield going_on
        for one in number:
            dropped |= decided(one, work.store, dropped, rule)
        write(dropped)


def _to_do(
    cells: Sequence[Cell], store: Store, watcher: Watcher, *, only_failed: bool
) -> list[Cell]:
    """The cells that are not done, or failed; the watcher is told of those that are kept."""
    todo = []
    for cell in cells:
        state = store.state(folder_of(cell))
        if state in (("failed",) if only_failed else TO_FIT):
            todo.append(cell)
            continue
        if state == "done":
            store.forget_journal(cell)  # which a kill may have left
        watcher.finished(cell, "kept")
    return todo


def default_out(config: RunConfig) -> Path:
    """Where a run goes when nobody says where."""
    return Path("results") / config.name


def _placed(config: RunConfig, executor: str | None, address: str | None) -> RunConfig:
    """The config with another executor; its address belongs to its own."""
    if executor is not None:
        if executor not in EXECUTORS:
            raise unknown_name("executor", executor, EXECUTORS)
        kept = config.address if executor == "ray" else None
        config = config.model_copy(update={"executor": executor, "address": kept})
    if address is None:
        return config
    if config.executor != "ray":
        raise InputError(f"address {address} without Ray", "executor ray", "add --executor ray")
    return config.model_copy(update={"address": address})


def _executor(config: RunConfig, jobs: int | None) -> Callable[..., None]:
    """The executor of a config, which may be the default: by the number of jobs."""
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs = {jobs}", "1 or more")
    if config.executor == "ray":
        check_ray()
        return partial(on_ray, jobs=jobs)
    jobs = 1 if jobs is None else jobs
    if config.executor == "serial" and jobs > 1:
        raise InputError(f"executor serial with {jobs} jobs", "1 job", "use --executor process")
    default = "serial" if jobs == 1 else "process"
    chosen = default if config.executor is None else config.executor
    return partial(EXECUTORS[chosen], jobs=jobs)


def _check_spread(config: RunConfig, store: Store) -> None:
    """Raise `InputError` where a study can't be spread over workers."""
    limits = [name for name in ("timeout", "memory") if getattr(config, name) is not None]
    if config.executor != "ray":
        raise InputError("tune.workers without Ray", "executor ray", "remove `workers`")
    if limits:  # they bound a cell, which then is several processes
        raise InputError(f"tune.workers with {limits[0]}", "one of them", "remove the other")
    if store.bucket is not None:
        raise InputError(
            f"tune.workers with results at {store.bucket.url}",
            "a folder that all nodes share",
            "workers of a study meet in a file there: set --out, or remove `workers`",
        )


def read_rows(config: RunConfig) -> Rows:
    """The rows of a config: read, filtered, with the chosen columns only."""
    module = importlib.import_module(READERS[config.data.reader])
    rows: Rows = module.read(module.Options.model_validate(config.data.options))
    kept = _kept(rows.frame, config.data.where)
    rows = replace(narrowed(rows, kept), filtered=int((~kept).sum()))
    lacking = _lacking(rows.frame, config.data.require)
    rows = replace(
        narrowed(rows, lacking == ""),
        incomplete=int((lacking != "").sum()),
        rejected=pd.concat([rows.rejected, _listed(lacking)], ignore_index=True),
    )
    rows = asked(rows, config.data.history)
    return replace(rows, columns=_chosen(rows.columns, config.data.columns))


def _kept(frame: pd.DataFrame, where: Mapping[str, Any]) -> pd.Series:
    """Rows that meet every condition: a value, a list of values, or {from:, to:} (inclusive)."""
    keep = pd.Series(True, index=frame.index)
    for name, wanted in where.items():
        if name not in frame:
            raise unknown_name("column in `where`", name, frame.columns)
        column = frame[name]
        if isinstance(wanted, Mapping):
            keep &= _in_range(column, wanted)
        else:
            values = wanted if isinstance(wanted, list) else [wanted]
            keep &= column.isin([_like(column, value) for value in values])
    if not keep.any():
        raise InputError(
            f"`where` leaves none of {len(frame)} rows", "some rows", "widen the filter"
        )
    return keep


def _lacking(frame: pd.DataFrame, required: Sequence[str]) -> pd.Series:
    """The first required column in which a row has no value (for a text: is ""), or ""."""
    lacking = pd.Series("", index=frame.index, dtype="str")
    for name in reversed(required):
        if name not in frame:
            raise unknown_name("column in `require`", name, frame.columns)
        lacking = lacking.mask(frame[name].isna() | (frame[name] == ""), name)
    if len(frame) and (lacking != "").all():
        raise InputError(
            f"`require` leaves none of {len(frame)} rows", "some rows", "require fewer columns"
        )
    return lacking


def _listed(lacking: pd.Series) -> pd.DataFrame:
    """Rows dropped for want of a value, as entries of `rejected`; their place is not known (0)."""
    gone = lacking[lacking != ""]
    reasons = "row left out: no " + gone + ", which `data.require` asks for"
    return pd.DataFrame({"row": 0, "id": gone.index, "reason": reasons.to_numpy()})


def _like(column: pd.Series, value: Any) -> Any:
    """A value of the config in the column's type: 2010 is a year for dates, "2" for strings."""
    if pd.api.types.is_datetime64_any_dtype(column):
        try:
            return pd.Timestamp(str(value))
        except ValueError:
            raise InputError(
                f"`where` {column.name}: {value!r}", "a date such as 2010-01-31", "correct it"
            ) from None
    if pd.api.types.is_numeric_dtype(column):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _in_range(column: pd.Series, bounds: Mapping[str, Any]) -> pd.Series:
    if set(bounds) - {"from", "to"}:
        raise unknown_name("bound in `where`", (set(bounds) - {"from", "to"}).pop(), ("from", "to"))
    keep = column.notna()
    try:
        limits = {key: _like(column, value) for key, value in bounds.items()}
        if "from" in limits:
            keep &= column >= limits["from"]
        if "to" in limits:
            keep &= column <= limits["to"]
    except (TypeError, ValueError):
        raise InputError(
            f"`where` {column.name}: {dict(bounds)}", "bounds of the column's own type"
        ) from None
    return keep


def _chosen(columns: Sequence[Column], choice: ColumnChoice) -> tuple[Column, ...]:
    """The offered columns that the config keeps, in the order it names them."""
    by_kind = choice.model_dump()
    offered = {column.name: column for column in columns}
    chosen: list[Column] = []
    for kind, names in by_kind.items():
        of_kind = {name: column for name, column in offered.items() if column.kind == kind}
        for name in of_kind if names is None else names:
            if name not in of_kind:
                raise unknown_name(f"{kind} column in `data.columns`", name, of_kind)
            chosen.append(of_kind[name])
    return tuple(chosen)


def prepare(
    config: RunConfig, rows: Rows, store: Store
) -> tuple[Workload, list[Cell], Mapping[str, Sequence[Split]]]:
    """Datasets, splits and cells, all checked before anything is written; the splits by task."""
    datasets = [labelled(rows, task) for task in config.task]
    _check_metrics(config, datasets)
    for data in datasets:
        if config.halving is not None and config.halving.by is not None:
            metric_of(config.halving.by, data.target)
    context = Context(
        cache=cache_folder(),
        # looking for a card loads torch, which a matrix of linear models can do without
        device=_device(config) if _uses_torch(config) else "cpu",
        threads=receipts.available_cores() if config.threads is None else config.threads,
    )
    splits: dict[str, list[Split]] = {}
    cells: list[Cell] = []
    seen: dict[str, Dataset] = {}
    for plain in datasets:
        versions = {
            redact: redacted_dataset(plain)[0] if redact else plain for redact in config.redact
        }
        seen |= {data.fingerprint: data for data in versions.values()}
        made = [
            (seed, split)
            for options in config.splits
            for seed in (config.seeds if options.seeds is None else options.seeds)
            for split in make_splits(plain, options, seed)
        ]
        splits[plain.task] = [split for _, split in made]
        for (seed, split), as_of, redact in product(made, config.as_of, config.redact):
            place = _Place(versions[redact], split, seed, as_of, redact)
            cells += _cells(config, place, context)
    by_hash = {split.hash: split for of_task in splits.values() for split in of_task}
    return Workload(seen, by_hash, store, context), cells, splits


@dataclass(frozen=True)
class _Place:
    """Where in the matrix a table's cells stand."""

    data: Dataset
    split: Split
    seed: int
    as_of: KnownAt
    redact: bool


def _cells(config: RunConfig, place: _Place, context: Context) -> list[Cell]:
    """The cells of one split and level, those that mix others after the others."""

    def cell(choice: ModelChoice) -> Cell:
        return make_cell(
            place.data,
            place.split,
            seed=place.seed,
            as_of=place.as_of,
            redact=place.redact,
            choice=choice,
            context=context,
        )

    choices = list(_choices(config, place.data, place.as_of))
    found = [cell(choice) for choice in choices if choice.model != BLEND]
    blends = [
        cell(replace(choice, members=members(choice.params["members"], found)))
        for choice in choices
        if choice.model == BLEND
    ]
    return found + blends


def members(wanted: Sequence[str] | None, cells: Sequence[Cell]) -> dict[str, str]:
    """Name and folder of the cells that a blend mixes: those named, or all that learn.

    A name is a label, or label/inputs. Raises `InputError` for one that no cell has, and where
    fewer than two cells are left.
    """
    learnt = {f"{cell.label}/{cell.inputs}": cell for cell in cells if _learns(cell)}
    chosen = dict(learnt)
    if wanted is not None:
        known = [*(cell.label for cell in learnt.values()), *learnt]
        for name in wanted:
            if name not in known:
                raise unknown_name("member of the blend", name, known)
        chosen = {k: cell for k, cell in learnt.items() if {k, cell.label} & set(wanted)}
    if len(chosen) < 2:
        raise InputError(
            f"a blend of {len(chosen)} models", "two or more besides the floors", "add models"
        )
    return {name: folder_of(cell) for name, cell in chosen.items()}


def _learns(cell: Cell) -> bool:
    return cell.model not in (CEILING, BLEND) and not model_class(cell.model).is_floor


def _device(config: RunConfig) -> str:
    """The device of the cells; a cluster's nodes may have one that this machine has not."""
    if config.executor == "ray" and config.device != "auto":
        return config.device
    return receipts.pick_device(config.device)


def _uses_torch(config: RunConfig) -> bool:
    return any(
        "torch" in model_class(model.name).libraries and {"text", "both"} & set(model.inputs)
        for model in config.models
    )


def _check_metrics(config: RunConfig, datasets: Iterable[Dataset]) -> None:
    """Raise `InputError` for a configured metric that fits none of the tasks."""
    known = {name for data in datasets for name in metric_names(data.target, tuned=True)}
    for name in config.metrics if config.metrics is not None else ():
        if name not in known:
            raise unknown_name("metric of these tasks", name, known)


def _choices(config: RunConfig, data: Dataset, as_of: KnownAt) -> Iterator[ModelChoice]:
    """Every model with each kind of inputs, the ceiling first."""
    if as_of in data.oracle:
        yield ModelChoice(CEILING, CEILING, "both", {})
    explain = None if config.explain is None else config.explain.model_dump()
    for model in config.models:
        budget = config.tune if model.tune else None
        for inputs in model.inputs:
            yield ModelChoice(
                model.name,
                model.shown,
                inputs,
                model.params,
                given=model.given,
                tune=None if budget is None else _budget(budget),
                refit=config.refit if model.refit is None else model.refit,
                calibrate=model.calibrate,
                explain=explain,
            )


def _budget(tune: TuneConfig) -> dict[str, Any]:
    """What a cell's key holds of the budget; `workers` only where there are some."""
    return tune.model_dump(exclude={"workers"} if tune.workers is None else None)


def _audited(
    config: RunConfig, rows: Rows, work: Workload, splits: Mapping[str, Sequence[Split]]
) -> Report:
    """The findings on the rows as the models will see them: redacted, where nothing else is run."""
    datasets = {data.task: data for data in reversed(list(work.datasets.values()))}
    return run_audit(config, rows, datasets=datasets, splits=splits)


@dataclass(frozen=True)
class _Own:
    """What a run's own files hold of its rows: whole files by name, and the counts of the plan."""

    files: Mapping[str, bytes]
    counts: Mapping[str, int]


def _own(config: RunConfig, rows: Rows, work: Workload, report: Report) -> _Own:
    """The run's own files but for the plan: config, splits, rejected rows, slices and the audit."""
    labelled_ids = {str(name) for data in work.datasets.values() for name in data.X.index}
    files = {
        "config.yaml": yaml.safe_dump(config.written, sort_keys=False, allow_unicode=True).encode(),
        "rejected.csv": rows.rejected.to_csv(index=False).encode(),
        AUDIT: json_bytes(report.to_json()),
        SLICES: parquet_bytes(slices_of(rows, labelled_ids)),
        **{
            f"splits/{split.hash}.parquet": parquet_bytes(split.frame())
            for split in work.splits.values()
        },
    }
    counts = {
        "read": len(rows.frame) + rows.filtered + rows.incomplete,
        "filtered": rows.filtered,
        "incomplete": rows.incomplete,
        "used": len(rows.frame),
        "rejected": len(rows.rejected) - rows.incomplete,
    }
    return _Own(files, counts)


def _write_run(
    config: RunConfig,
    own: _Own,
    work: Workload,
    cells: Sequence[Cell],
    dropped: Mapping[str, Dropped],
) -> None:
    """The run's own files and the plan; `dropped` tells of the cells that halving leaves out."""
    plan = {
        "name": config.name,
        "reader": config.data.reader,
        "metrics": config.metrics,
        "rows": own.counts,
        "datasets": _datasets_json(work, cells),
        **({} if work.exploration is None else {"exploration": work.exploration}),
        "cells": [
            entry
            | ({"dropped": asdict(dropped[entry["path"]])} if entry["path"] in dropped else {})
            for entry in entries(cells)
        ],
    }
    with said(work.store.root):
        work.store.sweep()
        work.store.write_run(plan, own.files)


def entries(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """What a plan says of its cells, whatever came of them."""
    return [
        {
            "key": cell.key,
            "path": folder_of(cell),
            "task": cell.task,
            "split": cell.split,
            "seed": cell.seed,
            "model": cell.label,
            "inputs": cell.inputs,
            "as_of": cell.level,
            "split_hash": cell.split_hash,
        }
        for cell in cells
    ]


def _datasets_json(work: Workload, cells: Sequence[Cell]) -> dict[str, Any]:
    """What the plan says of each task's rows, and the fingerprint of each version of them."""
    prints: dict[str, dict[str, str]] = {}
    for cell in cells:
        version = "redacted_fingerprint" if cell.redact else "fingerprint"
        prints.setdefault(cell.task, {})[version] = cell.dataset_fingerprint
    found = {}
    for task, versions in prints.items():
        data = work.datasets[next(iter(versions.values()))]
        found[task] = {
            **versions,
            "rows": len(data.y),
            "classes": class_counts(data.target, data.y),
            "columns": {column.name: column.known_at for column in data.columns},
        }
    return found
