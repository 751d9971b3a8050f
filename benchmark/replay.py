"""Replaying a claim: its numbers recomputed from predictions, or a run of ours put beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmark.bootstrap import mean_over_seeds, union_weights, weights
from benchmark.contenders import Contender, Table, contenders, tables
from benchmark.executor import Watcher
from benchmark.matrix import run
from benchmark.metrics import Scored
from benchmark.predicted import Names, Predicted, read_predictions
from benchmark.published import Claim, Printed, Row
from benchmark.store import Store
from benchmark.variants import (
    SETTINGS,
    Estimate,
    Kind,
    Setting,
    Variant,
    constant,
    estimate,
    estimates,
    variant,
    variants,
)
from features.errors import InputError

Match = Literal["digits", "mean", "chance"]
"""Equal in the printed digits; the mean of our draws is; within the chance of a mean of few draws.
"""


@dataclass(frozen=True)
class Verdict:
    """One published number beside the grid of its variants on the same rows.

    `tried` is the grid, the plain reading first; `agreed` are the settings in which all numbers of
    the row that have a match at all have one, empty where there is none. `floor` is what the best
    constant reaches by the plain reading, with its name. `computed` is what the published code was
    read to compute, None where it was not.
    """

    row: Row
    metric: str
    kind: Kind
    tried: tuple[Estimate, ...]
    draws: int | None
    floor: tuple[str, float]
    computed: str | None = None
    agreed: tuple[Setting, ...] = ()

    @property
    def printed(self) -> Printed:
        """The published number."""
        return self.row.values[self.metric]

    @property
    def plain(self) -> Estimate:
        """The plain reading."""
        return self.tried[0]

    @property
    def inside(self) -> bool:
        """Whether the published number is in the 95 % interval of the plain reading."""
        return is_inside(self.printed, self.plain)

    @cached_property
    def matches(self) -> dict[str, Match]:
        """Variants that give the published number, by key, the plainest first."""
        found = {e.variant.key: match(self.printed, e, self.draws) for e in self.tried}
        return {key: how for key, how in found.items() if how is not None}

    @property
    def likely(self) -> list[Estimate]:
        """The matches; where the row's numbers agree on a threshold and a class, those alone."""
        found = [e for e in self.tried if e.variant.key in self.matches]
        fitting = [e for e in found if any(map(e.variant.fits, self.agreed))]
        return fitting if fitting else found

    @property
    def nearest(self) -> Estimate:
        """The variant whose value comes nearest; the plainest of equals."""
        return min(self.tried, key=lambda e: distance(self.printed, e))


@dataclass(frozen=True)
class Beside:
    """A model of ours beside the main published row, by one metric.

    `plain` is computed by the plain reading, `theirs` as the published code does (None where that
    is the same, or not known).
    """

    model: str
    inputs: str
    is_floor: bool
    repeats: bool
    metric: str
    plain: Estimate
    theirs: Estimate | None


@dataclass(frozen=True)
class Replay:
    """What was found: `verdicts` for a file of predictions, `beside` for a run; or `missing` says
    why there is neither. `not_done` names models of the run that failed or were not fitted. `rows`
    counts test rows, `share` is the positive class's among them.
    """

    claim: Claim
    verdicts: tuple[Verdict, ...] = ()
    beside: tuple[Beside, ...] = ()
    notes: tuple[str, ...] = ()
    missing: str | None = None
    not_done: tuple[str, ...] = ()
    source: str = ""
    rows: int = 0
    share: float | None = None


def match(printed: Printed, found: Estimate, draws: int | None) -> Match | None:
    """Whether an estimate gives a published number, and how; a lower bound wants to be reached.

    `draws` is the number of bootstrap draws that the published number is the mean of, None for a
    plain value. Two means of as few draws differ by chance, which is 95 % of the time less than
    `Estimate.chance`.
    """
    edge = printed.half_unit + 1e-9
    if printed.at_least:
        return "digits" if found.value >= printed.value - 1e-9 else None
    if abs(found.value - printed.value) <= edge:
        return "digits"
    if abs(found.mean - printed.value) <= edge:
        return "mean"
    if draws is not None and abs(found.mean - printed.value) <= found.chance(draws) + edge:
        return "chance"
    return None


def distance(printed: Printed, found: Estimate) -> float:
    """How far an estimate's value is from a published number, 0 where a lower bound is reached.

    Rounded, so that equal values are equally far; infinite for an undefined value.
    """
    apart = found.value - printed.value
    if math.isnan(apart):
        return math.inf
    return round(max(0.0, -apart) if printed.at_least else abs(apart), 9)


def is_inside(printed: Printed, found: Estimate) -> bool:
    """Whether a published number lies in an estimate's 95 % interval; a bound: not above it."""
    low, high = found.interval
    return printed.value <= high and (printed.at_least or low <= printed.value)


def rescore(
    claim: Claim, path: Path, names: Names | None = None, overrides: Sequence[str] = ()
) -> Replay:
    """Compute the claim's reference rows again from a file of predictions.

    Every variant of every metric is tried, on the same rows and the same bootstrap draws. Raises
    `InputError` where the file or the truth can't be used.
    """
    found = read_predictions(path, claim, Names() if names is None else names, overrides)
    drawn = weights(found.ids, seed_text=f"replay {claim.task}")
    kinds = {claim.metrics[name].kind for row in claim.references for name in row.values}
    with _one_thread():
        grid = {k: estimates(k, found.scored, drawn, valid=found.valid) for k in sorted(kinds)}
    floors = {kind: floor(kind, found.scored) for kind in kinds}
    verdicts: list[Verdict] = []
    for row in claim.references:
        verdicts += _verdicts(claim, row, grid, floors)
    return Replay(
        claim,
        verdicts=tuple(verdicts),
        notes=(*found.notes, *_valid_note(found)),
        source=f"{path.name}; truth: {found.truth}",
        rows=found.scored.n,
        share=float(found.scored.y.mean()),
    )


def _verdicts(
    claim: Claim,
    row: Row,
    grid: Mapping[Kind, tuple[Estimate, ...]],
    floors: Mapping[Kind, tuple[str, float]],
) -> list[Verdict]:
    source = claim.sources[row.source]
    found = [
        Verdict(
            row,
            name,
            kind=claim.metrics[name].kind,
            tried=grid[claim.metrics[name].kind],
            draws=source.draws,
            floor=floors[claim.metrics[name].kind],
            computed=source.computed.get(name),
        )
        for name in row.values
    ]
    agreed = _agreed(found)
    return [replace(verdict, agreed=agreed) for verdict in found]


def _agreed(verdicts: Iterable[Verdict]) -> tuple[Setting, ...]:
    """The settings that every number of a row allows, of those that have a match at all.

    A table is made by one program, so a threshold and a class that fit all of its columns are the
    likelier.
    """
    matched = [[variant(v.kind, key) for key in v.matches] for v in verdicts if v.matches]
    return tuple(
        setting
        for setting in SETTINGS
        if all(any(found.fits(setting) for found in each) for each in matched)
    )


def floor(kind: Kind, scored: Scored) -> tuple[str, float]:
    """The best that a constant reaches on these rows by the plain reading, and its name."""
    share = float(scored.y.mean())
    constants = {"all positive": 1.0, "all negative": 0.0, "class rate": share}
    one = np.ones((1, scored.n))
    values = {
        name: estimate(variants(kind)[0], constant(scored, p), one).value
        for name, p in constants.items()
    }
    best = min if kind == "log_loss" else max
    name = best(values, key=lambda name: round(values[name], 9))
    return name, values[name]


def beside(
    claim: Claim,
    *,
    out: str | Path | None = None,
    jobs: int = 1,
    overrides: Sequence[str] = (),
    watcher: Watcher | None = None,
) -> Replay:
    """Run the claim's own config, or what is missing of it, and put its rows beside the published.

    Results go to `out` (default: results/replay-<claim>). Where the claim has no config, or its
    data is not here, the answer says what is missing. Raises `InputError` for a mistake in
    `overrides`, and where every cell failed.
    """
    folder = Path("results") / f"replay-{claim.name}" if out is None else out
    try:
        done = run(
            claim.config_file(),
            out=folder,
            jobs=jobs,
            overrides=[*claim.overrides, *overrides],
            watcher=watcher,
        )
    except InputError as error:
        if overrides:
            raise
        return Replay(claim, missing=f"{error}. It takes {claim.needs}.")
    return of_run(claim, Store(done.folder))


def of_run(claim: Claim, store: Store) -> Replay:
    """The models of a results folder beside the published rows, on the claim's task and split.

    Raises `InputError` where nothing of them is done.
    """
    plan = store.plan()
    found = [t for t in tables(plan["cells"]) if (t.task, t.split) == (claim.task, claim.split)]
    models = contenders(store, found[:1], lambda target: [])[0] if found else []
    if not models:
        raise InputError(
            f"{store.root} holds no finished cell of {claim.task}, {claim.split} split",
            "at least one",
            f"see `trialmark status {store.root}`",
        )
    drawn = _draws(models, found[0])
    rows: list[Beside] = []
    with _one_thread():
        for model in models:
            rows += _beside(claim, model, drawn[model.name])
    first = models[0].first
    return Replay(
        claim,
        beside=tuple(rows),
        notes=tuple(_run_notes(claim, models)),
        not_done=_not_done(store, found[0]),
        source=str(store.root),
        rows=first["rows"]["test"],
        share=_share(first),
    )


def _draws(models: Sequence[Contender], table: Table) -> dict[str, dict[Any, Any]]:
    """Counts of bootstrap draws by model and seed: the same draws for all models, as on a board."""
    most = max(models, key=lambda model: len(model.records))
    tested = most.tested.values()
    drawn = union_weights(
        [each.ids for each in tested],
        seed_text="".join(sorted({str(entry["split_hash"]) for entry in table.entries})),
        groups=[[str(u) for u in each.unit] for each in tested] if most.grouped else None,
    )
    return {m.name: {seed: drawn.of(t.ids) for seed, t in m.tested.items()} for m in models}


def _beside(claim: Claim, model: Contender, drawn: Mapping[Any, Any]) -> list[Beside]:
    main = claim.references[0]
    computed = claim.sources[main.source].computed

    def mean(found: Variant) -> Estimate:
        """Mean over seeds, inside each draw."""
        each = [estimate(found, t.scored, drawn[seed]) for seed, t in model.tested.items()]
        value = sum(e.value for e in each) / len(each)
        return Estimate(found, value, mean_over_seeds([e.draws for e in each]))

    rows = []
    for name in main.values:
        kind = claim.metrics[name].kind
        plain, theirs = variants(kind)[0], _their_way(kind, computed.get(name))
        rows.append(
            Beside(
                model.label,
                model.inputs,
                is_floor=model.first["is_floor"],
                repeats=main.repeated_by in (model.label, model.name),
                metric=name,
                plain=mean(plain),
                theirs=None if theirs is None or theirs == plain else mean(theirs),
            )
        )
    return rows


def _their_way(kind: Kind, key: str | None) -> Variant | None:
    """The variant that the published code computes; stored decisions know no other threshold."""
    found = None if key is None else variant(kind, key)
    return None if found is None or found.rule == "valid" else found


def _run_notes(claim: Claim, models: Sequence[Contender]) -> Iterable[str]:
    """What our run does otherwise: rows, checkpoints, and what the claim says of it."""
    rows = models[0].first["rows"]
    ours = ", ".join(f"{rows[part]:,} {part}" for part in ("train", "valid", "test"))
    published = claim.sizes.model_dump(exclude_none=True)
    if published and any(rows.get(part) != n for part, n in published.items()):
        yield f"Other rows than published: {claim.sizes.text} there, {ours} here."
    labels = [m.first["notes"].get("checkpoint", {}).get("label") for m in models]
    checkpoints = list(dict.fromkeys(label for label in labels if label is not None))
    if checkpoints:
        yield f"Our encoder starts from {', '.join(checkpoints)}."
    yield from claim.differs


def _not_done(store: Store, table: Table) -> tuple[str, ...]:
    lacking = [str(e["model"]) for e in table.entries if store.state(e["path"]) != "done"]
    return tuple(dict.fromkeys(lacking))


def _share(record: Mapping[str, Any]) -> float | None:
    """Share of the positive class in test, None for a target without one."""
    target, rows = record["target"], record["rows"]
    if target["kind"] != "binary":
        return None
    return float(rows["test_classes"][target["classes"][1]] / rows["test"])


def _valid_note(found: Predicted) -> Iterable[str]:
    if found.valid is None:
        yield (
            "Thresholds from valid were not tried: the file holds no valid rows of both classes "
            "(a column `part` with train, valid, test)."
        )


def _one_thread() -> Any:
    """Products so small that threads mostly wait for each other."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)
