"""Tuning inside a cell: one Optuna study on inner folds of train and valid, never on test.

The study is sequential and each trial has a sampler seeded by its number, so that what it finds
depends neither on `--jobs` nor on being killed and resumed; only a study that runs out of seconds
depends on the machine's speed, and says so. One that the config spreads over workers depends on
which trials end first; its record says that too.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from benchmark.bootstrap import interval
from benchmark.dataset import Dataset
from benchmark.folds import inner_folds
from benchmark.metrics import Scored, metric_of, score
from benchmark.splits import Split
from features.columns import Columns
from features.errors import one_line
from models import build, check_params, model_class
from models.base import Context, Floats, Ints, Target, Timer

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution

MANY = 1000
"""Rows of its rarest class that make a valid part large enough to tune on alone."""
FOLDS = 5
UNPRUNED = 5
DRAWS = 1000
"""Trials that run to their end before any is pruned."""


@dataclass(frozen=True)
class Tuned:
    """The parameters to fit with, and the study as JSON values: its trials, budget and choice."""

    params: dict[str, Any]
    report: dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """What is tuned, on which rows.

    `params` are the model's parameters to begin with, `free` the names of those that may be
    searched, `options` the budget: trials, seconds, objective and folds (None: chosen here).
    """

    model: str
    params: Mapping[str, Any]
    free: Sequence[str]
    columns: Columns
    options: Mapping[str, Any]


def tune(
    setting: Setting, data: Dataset, *, split: Split, context: Context, journal: Path | None
) -> Tuned:
    """The best parameters of a study on inner folds.

    Trial 0 has the parameters to begin with. The best of the others replaces it only if the 95 %
    interval of its gain leaves out 0: the gain is the mean over the folds, its draws are of their
    rows and paired. The best of many trials on a few hundred rows of a class is mostly luck; spread
    over the folds would not show that, as two fits err on the same rows in each of them.
    `journal` is a file that a killed study resumes from. The valid rows may stand in inner folds;
    so thresholds and calibration, chosen on them later, have seen them once.
    """
    inner = _Inner.of(setting, data, split=split, context=context)
    with _quiet():
        study = _study(journal)
        space = searched(setting, data.target)
        stopped_by = _run(study, inner, space)
        best = _best(study)
        begin, found = ({**setting.params, **_params(study, trial)} for trial in (0, best))
        gain = None
        if best:
            pairs = [
                (valid[1], inner.predict(found, fold), inner.predict(begin, fold))
                for fold, (_, valid) in enumerate(inner.rows)
            ]
            gain = _gain(inner.objective, data.target, pairs, seed=context.seed)
        chosen = best if gain is not None and gain["low"] > 0 else 0
        report = {
            "objective": inner.objective,
            "folds": len(inner.rows),
            "budget": {name: setting.options[name] for name in ("trials", "seconds")},
            "stopped_by": stopped_by,
            **_spread(setting),
            "searched": sorted(space),
            "best": best,
            "gain": gain,
            "chosen": chosen,
            "trials": [_trial_json(trial) for trial in _ended(study)],
        }
    return Tuned(found if chosen else begin, report)


def explore(
    setting: Setting,
    data: Dataset,
    *,
    split: Split,
    context: Context,
    journal: Path,
    worker: int | None,
) -> None:
    """Work on a study that is spread over processes; `tune` ends it.

    Without `worker` it is trial 0 alone, before all others. Then each worker runs trials until the
    budget is spent. Which settings are asked for depends on what has ended by then.
    """
    inner = _Inner.of(setting, data, split=split, context=context)
    with _quiet():
        study = _study(journal)
        space = searched(setting, data.target)
        if worker is not None:
            _share(study, inner, space, worker)
            return
        first = replace(setting, options={**setting.options, "trials": 1})
        _run(study, replace(inner, setting=first), space)


def _spread(setting: Setting) -> dict[str, Any]:
    """The note that a study was spread over workers, so that its order can't be had again."""
    workers = setting.options.get("workers")
    return {} if workers is None else {"workers": workers, "reproducible": False}


@dataclass(frozen=True)
class _Inner:
    """The inner folds of a cell: (train rows, valid rows) each; fits on them, and their scores."""

    setting: Setting
    target: Target
    context: Context
    objective: str
    rows: list[tuple[tuple[pd.DataFrame, Ints], tuple[pd.DataFrame, Ints]]]
    timer: Timer = field(default_factory=Timer)
    known: dict[tuple[str, int], Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, setting: Setting, data: Dataset, *, split: Split, context: Context) -> Self:
        """The folds of a dataset, made by the same rule as the split outside."""
        objective = objective_of(setting.options.get("objective"), data, split)
        number = _folds(setting.options.get("folds"), data, split)
        folds = inner_folds(data, split, folds=number, seed=context.seed)
        names = list(setting.columns.names)
        rows = []
        for (X, y), (V, v) in [(data.take(train), data.take(valid)) for train, valid in folds]:
            rows.append(((X[names], y), (V[names], v)))
        return cls(setting, data.target, context, objective, rows)

    def clock(self) -> float:
        """Seconds, those that other cells' work spared this study among them."""
        return self.timer.now() + self.timer.seconds["spared"]

    def predict(self, params: Mapping[str, Any], fold: int) -> Floats:
        """Probabilities of a fold's valid rows, fitted once."""
        place = (repr(sorted(params.items())), fold)
        if place not in self.known:  # after the study, those of two trials are asked for again
            self.known[place] = self._fitted_on(params, fold)
        return self.known[place]

    def _fitted_on(self, params: Mapping[str, Any], fold: int) -> Floats:
        (X, y), valid = self.rows[fold]
        model = build(
            self.setting.model,
            check_params(self.setting.model, params),
            columns=self.setting.columns,
            target=self.target,
            context=replace(self.context, timer=self.timer),
        )
        return model.fit(X, y, valid).predict_proba(valid[0])

    def score(self, params: Mapping[str, Any], fold: int) -> float:
        """The objective on a fold's valid rows."""
        y, proba = self.rows[fold][1][1], self.predict(params, fold)
        return float(_worth(self.objective, self.target, y, proba)[0])


def searched(setting: Setting, target: Target) -> dict[str, BaseDistribution]:
    """The model's search space, less the parameters that the config states."""
    space = model_class(setting.model).space(setting.columns, target)
    return {name: space[name] for name in sorted(space) if name in setting.free}


def objective_of(name: str | None, data: Dataset, split: Split) -> str:
    """The metric to tune for; unless the config names one, that of the kind of target.

    Binary: average precision of the class that is rarer in train (of trials: the stopped).
    Multi-label: macro-F1 at thresholds tuned on the fold itself. Multi-class: macro average
    precision.
    """
    if name is not None:
        metric_of(name, data.target)
        return name
    if data.target.kind == "multilabel":
        return "f1_macro@valid"
    if data.target.kind == "multiclass":
        return "average_precision"
    positive = data.take(split.train)[1].mean()
    return "average_precision_negative" if positive > 0.5 else "average_precision"


def _folds(asked: int | None, data: Dataset, split: Split) -> int:
    """Inner folds: one, valid itself, where that is large; one small part overfits."""
    if asked is not None:
        return asked
    _, y = data.take(split.valid)
    counts = y.sum(axis=0) if y.ndim == 2 else np.bincount(y, minlength=len(data.target.classes))
    return 1 if counts.min() >= MANY else FOLDS


def _worth(
    objective: str, target: Target, y: Ints, proba: Floats, weights: Floats | None = None
) -> Floats:
    """The objective's values, (draws,), turned round where lower is better."""
    tuned = (y, proba) if objective.endswith("@valid") else None
    values = score(objective, Scored.of(target, y, proba=proba, valid=tuned), weights=weights)
    return values if metric_of(objective).higher_is_better else -values


def _gain(
    objective: str, target: Target, folds: Sequence[tuple[Ints, Floats, Floats]], *, seed: int
) -> dict[str, float]:
    """By how much the first probabilities of each fold score higher than the second ones.

    The mean over folds, and its 95 % interval from paired bootstrap draws of each fold's rows.
    """
    rng = np.random.default_rng([seed, zlib.crc32(b"gain by tuning")])
    value, draws = 0.0, np.zeros(DRAWS)
    for y, after, before in folds:
        counts = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=DRAWS).astype(float)
        for proba, share in ((after, 1 / len(folds)), (before, -1 / len(folds))):
            value += share * float(_worth(objective, target, y, proba)[0])
            draws += share * _worth(objective, target, y, proba, counts)
    low, high = interval(draws)
    return {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6)}


def _study(journal: Path | None) -> Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = None
    if journal is not None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(journal)))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED)
    return optuna.create_study(
        storage=storage,
        study_name="cell",
        direction="maximize",
        pruner=pruner,
        load_if_exists=True,
    )


def _run(study: Study, inner: _Inner, space: dict[str, BaseDistribution]) -> str:
    """Run trials until the budget ends; returns what ended it."""
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    setting, seed = inner.setting, inner.context.seed
    for cut in study.get_trials(states=(TrialState.RUNNING,)):  # a killed process left it
        study.tell(cut.number, state=TrialState.FAIL)
    while (number := len(_ended(study))) < setting.options["trials"]:
        if number and _seconds(study) >= setting.options["seconds"]:
            return "seconds"
        if not space and number:
            return "nothing to search"
        study.sampler = TPESampler(seed=zlib.crc32(f"tune {seed} {number}".encode()))
        if number == 0 and not study.get_trials(states=(TrialState.WAITING,)):
            study.enqueue_trial({name: setting.params[name] for name in space})
        _one_trial(study, study.ask(space), inner)
    return "trials"


def _share(study: Study, inner: _Inner, space: dict[str, BaseDistribution], worker: int) -> None:
    """Run trials of a study that others work on too, until its budget is spent.

    A trial is one of the budget if fewer than that came before it, ended or under way; else it is
    given back. Trials of a worker that was lost are under way for ever here; `_run` makes up for
    them.
    """
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    options, seed, number = inner.setting.options, inner.context.seed, 0
    while space and _ended(study) and _seconds(study) < options["seconds"]:
        sampler_seed = zlib.crc32(f"tune {seed} worker {worker} {number}".encode())
        study.sampler = TPESampler(seed=sampler_seed, constant_liar=True)
        trial = study.ask(space)
        under_way = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        before = [t for t in [*_ended(study), *under_way] if t.number < trial.number]
        if len(before) >= options["trials"]:
            study.tell(trial, state=TrialState.FAIL)
            return
        _one_trial(study, trial, inner)
        number += 1


def _one_trial(study: Study, trial: Trial, inner: _Inner) -> None:
    """Score the folds one after the other; a trial that lags behind the median is given up.

    A trial whose fit fails counts as one of the budget, except for the first, whose error is ours.
    """
    from optuna.trial import TrialState

    params, folds = {**inner.setting.params, **trial.params}, len(inner.rows)
    first = not _ended(study)
    found: list[float] = []
    failure = ""
    start = inner.clock()
    try:
        for fold in range(folds):
            found.append(inner.score(params, fold))
            if not np.isfinite(found[-1]):
                raise ValueError(f"the objective is {found[-1]} on inner fold {fold}")
            trial.report(float(np.mean(found)), step=fold)
            if not first and fold + 1 < folds and trial.should_prune():
                break
    except Exception as error:
        if first:
            raise
        failure = one_line(f"{type(error).__name__}: {error}", 200)
    trial.set_user_attr("scores", found)
    trial.set_user_attr("seconds", round(inner.clock() - start, 3))
    if failure:
        trial.set_user_attr("error", failure)
        study.tell(trial, state=TrialState.FAIL)
    elif len(found) < folds:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, float(np.mean(found)))


def _ended(study: Study) -> list[Any]:
    """Trials that ran to an end of their own, in order; not those that a kill cut off."""
    from optuna.trial import TrialState

    own = (TrialState.COMPLETE, TrialState.PRUNED)
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state in own or "error" in trial.user_attrs]


def _seconds(study: Study) -> float:
    """What the search has taken: all trials but the defaults, which pay what all of them share."""
    return sum(float(trial.user_attrs["seconds"]) for trial in _ended(study)[1:])


def _best(study: Study) -> int:
    """Place among the ended trials of the one with the highest mean, of equal ones the first."""
    from optuna.trial import TrialState

    trials = _ended(study)
    whole = [n for n, trial in enumerate(trials) if trial.state == TrialState.COMPLETE]
    return max(whole, key=lambda n: (trials[n].value, -n))


def _params(study: Study, place: int) -> dict[str, Any]:
    params: dict[str, Any] = _ended(study)[place].params
    return params


def _trial_json(trial: Any) -> dict[str, Any]:
    """A trial as JSON values: its parameters, the score of each fold, how it ended."""
    return {
        "params": dict(trial.params),
        "scores": [round(value, 6) for value in trial.user_attrs["scores"]],
        "state": trial.state.name.lower(),
        "seconds": trial.user_attrs["seconds"],
        **({"error": trial.user_attrs["error"]} if "error" in trial.user_attrs else {}),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line a trial, and its warnings on what is new in it."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
