"""A registry drawn from a known law: trial-like records whose true outcome probabilities are known.

The status is drawn from a multinomial logit of what a model can see: the cells after some went
missing ("missing" is a level of its own), the sentences, the sponsor, the year. So `Rows.oracle`
holds the Bayes-optimal probabilities, exactly. Every property that audits and explanations look for
(`PLANTED`) has its own knob and its own random streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from benchmark.dataset import Rows
from benchmark.readers import canonical
from benchmark.readers import synthetic_text as text
from benchmark.readers.synthetic_text import Codes, pick, stream, uniforms
from features.columns import KNOWN_AT, Column, KnownAt
from models.base import Floats


class Options(BaseModel):
    """Size, seed and one knob for each planted property; 0 turns a property off.

    Shares: `missing` of the cells; `duplicates` of the rows (sisters of an earlier row: its table
    and text but for a suffix of the title and a start up to 180 days later); `outcome_phrases` of
    the stopped trials with a summary (it then says so); `censoring` of the trials begun in 2021 to
    2023 (not finished yet: only those that stop have a label).

    Strengths: `drift` (from first to last year, 1 moves stopping by two log-odds, the effects of
    the table from half to one and a half times their size, those of the text the other way);
    `sponsor_effects` (standard deviation in log-odds); `leak` (share of rows whose actual
    enrollment depends on the outcome; true is 1); `batch_effects` (log-odds by which a stopped
    trial comes sooner from each next of three sources: the column `source`, which is no input and
    is there only if this is above 0).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(default=2000, ge=1, le=10_000_000)
    seed: int = Field(default=0, ge=0)
    missing: float = Field(default=0.05, ge=0, lt=1)
    duplicates: float = Field(default=0.02, ge=0, lt=1)
    drift: float = Field(default=0.3, ge=0, le=2)
    sponsor_effects: float = Field(default=0.3, ge=0, le=5)
    leak: float = Field(default=1.0, ge=0, le=1)
    outcome_phrases: float = Field(default=0.0, ge=0, le=1)
    censoring: float = Field(default=0.0, ge=0, le=1)
    batch_effects: float = Field(default=0.0, ge=0, le=5)


@dataclass(frozen=True)
class Level:
    """One value of a categorical column: how often it is drawn, its log-odds of stopping.

    `shares` holds one share for each group of the column's parent (see `_draw_table`).
    """

    effect: float
    shares: tuple[float, ...]


TABLE: dict[str, dict[str, Level]] = {
    "study_type": {
        "INTERVENTIONAL": Level(0.1, (0.9,)),
        "OBSERVATIONAL": Level(-0.5, (0.1,)),
    },
    # by sponsor class: industry, others; observational studies have no phase
    "phases": {
        "PHASE1": Level(-0.9, (0.30, 0.08, 0.0)),
        "PHASE1|PHASE2": Level(0.6, (0.08, 0.07, 0.0)),
        "PHASE2": Level(0.8, (0.25, 0.18, 0.0)),
        "PHASE2|PHASE3": Level(0.5, (0.04, 0.05, 0.0)),
        "PHASE3": Level(-0.1, (0.20, 0.12, 0.0)),
        "PHASE4": Level(0.3, (0.08, 0.15, 0.0)),
        "NA": Level(-0.6, (0.05, 0.35, 1.0)),
    },
    # by phase: late, others, observational studies
    "allocation": {
        "RANDOMIZED": Level(-0.3, (0.85, 0.50, 0.0)),
        "NON_RANDOMIZED": Level(0.2, (0.05, 0.15, 0.0)),
        "NA": Level(0.4, (0.10, 0.35, 1.0)),
    },
    # by allocation: randomized, others
    "masking": {
        "NONE": Level(0.2, (0.35, 1.0)),
        "SINGLE": Level(0.0, (0.15, 0.0)),
        "DOUBLE": Level(-0.1, (0.25, 0.0)),
        "TRIPLE": Level(-0.2, (0.10, 0.0)),
        "QUADRUPLE": Level(-0.3, (0.15, 0.0)),
    },
    "primary_purpose": {
        "TREATMENT": Level(0.4, (0.60,)),
        "PREVENTION": Level(-0.9, (0.14,)),
        "SUPPORTIVE_CARE": Level(0.1, (0.10,)),
        "DIAGNOSTIC": Level(0.5, (0.06,)),
        "BASIC_SCIENCE": Level(-0.9, (0.10,)),
    },
    "sex": {"ALL": Level(0.0, (0.8,)), "FEMALE": Level(0.0, (0.12,)), "MALE": Level(0.0, (0.08,))},
    "registry_batch": {f"B{i}": Level(0.0, (1.0,)) for i in range(1, 9)},
    # set by the sponsor, not drawn
    "sponsor_class": {
        "INDUSTRY": Level(0.4, ()),
        "OTHER": Level(0.0, ()),
        "NIH": Level(-0.9, ()),
        "OTHER_GOV": Level(-0.4, ()),
        "NETWORK": Level(-0.6, ()),
    },
}
"""The categorical columns of few levels; parents come before their children."""

MISSING = {
    "sponsor_class": 0.3, "phases": 0.5, "allocation": 0.3, "primary_purpose": 0.4,
    "number_of_arms": 0.2, "enrollment_planned": 0.6, "brief_summary": 0.5,
    "eligibility_criteria": 0.3,
}  # fmt: skip
"""Log-odds of stopping that an empty cell adds; elsewhere 0."""

PLAN, PLAN_WITHDRAWN, ARMS = -0.5, -0.4, 0.25
"""Log-odds for each e-fold of planned enrollment above 90 (on stopping; on WITHDRAWN besides; at
most 2.5 e-folds count) and for each arm above two."""

LATE = ("PHASE2|PHASE3", "PHASE3", "PHASE4")
SOURCES = ("north", "middle", "south")
STATUSES = ("COMPLETED", "TERMINATED", "WITHDRAWN", "SUSPENDED")
_UNFINISHED = ("RECRUITING", "ACTIVE_NOT_RECRUITING")
_BASE = np.array([0.0, -3.0, -3.75, -5.45])
"""Log-odds of each status against COMPLETED where every effect is 0."""

FIRST, LAST = np.datetime64("2005-01-01"), np.datetime64("2023-12-31")
RECENT = 2021
"""First start year of the trials that `censoring` is about."""

_LOG_PLAN = {"PHASE1": 3.6, "PHASE1|PHASE2": 3.9, "PHASE2": 4.3, "PHASE2|PHASE3": 5.2,
             "PHASE3": 5.6, "PHASE4": 4.9, "NA": 4.5}  # fmt: skip
_PLAN_IF_MISSING = 60.0
_REACHED, _CUT_SHORT = (5.2, 0.8), (1.5, 2.0)
"""Beta parameters of the enrolled share of the room: of completed trials, of those cut short."""

_NOISE = (Column("registry_batch", "categorical"), Column("record_score", "numeric"))
_GENERATED = {
    "brief_title", "brief_summary", "eligibility_criteria", "conditions", "lead_sponsor",
    "sponsor_class", "study_type", "phases", "allocation", "masking", "primary_purpose", "sex",
    "min_age", "number_of_arms", "enrollment_planned", "start_date", "enrollment",
}  # fmt: skip
COLUMNS = (*(column for column in canonical.COLUMNS if column.name in _GENERATED), *_NOISE)
_NEVER_MISSING = ("brief_title", "lead_sponsor", "start_date", "enrollment")
_MASKED = tuple(column.name for column in COLUMNS if column.name not in _NEVER_MISSING)


@dataclass(frozen=True)
class Planted:
    """What was planted, so that audits and explanations can be tested against it.

    `columns` bear on the outcome (`lead_sponsor` and `start_date` by the knobs `sponsor_effects`
    and `drift`), `noise_columns` do not, `leaks` are known too late. `phrases` maps each wording
    that bears on the outcome to the log-odds it adds to stopping outside and inside the late phases
    (`LATE`), `topics` each condition and intervention to its log-odds. `fillers` say nothing, but
    stand where no such phrase stands; `noise_phrases` are independent of all else.
    `outcome_phrases` were written afterwards.
    """

    columns: tuple[str, ...]
    noise_columns: tuple[str, ...]
    leaks: tuple[str, ...]
    phrases: Mapping[str, tuple[float, float]]
    fillers: tuple[str, ...]
    noise_phrases: tuple[str, ...]
    topics: Mapping[str, float]
    outcome_phrases: tuple[str, ...]


def _planted() -> Planted:
    topics = (*text.AREAS.values(), *text.INTERVENTIONS.values())
    phrases = [phrase for slot in text.SLOTS.values() for phrase in slot]
    said = {wording: phrase.effects for phrase in phrases for wording in phrase.wordings}
    noise = text.wordings("consent")
    return Planted(
        columns=(
            "lead_sponsor", "sponsor_class", "study_type", "phases", "allocation", "masking",
            "primary_purpose", "number_of_arms", "enrollment_planned", "start_date",
        ),
        noise_columns=("sex", "min_age", *(column.name for column in _NOISE)),
        leaks=("enrollment",),
        phrases={wording: effects for wording, effects in said.items() if any(effects)},
        fillers=tuple(w for w, effects in said.items() if not any(effects) and w not in noise),
        noise_phrases=noise,
        topics={name: topic.effect for topic in topics for name in topic.names},
        outcome_phrases=text.OUTCOME_SENTENCES,
    )  # fmt: skip


PLANTED = _planted()


def read(options: Options) -> Rows:
    """`options.rows` synthetic trials; the same options give the same rows, bit for bit.

    The frame holds, besides the columns and `overall_status`, `sister_of`: the id of the row that
    a duplicate was copied from. Title, sponsor and start date are never missing. The oracle's
    columns are (stopped, completed) for `trial-outcome` and (completed, terminated, withdrawn) for
    `trial-status`; each row is conditional on the trial having a label of that task, so the rows
    of trials without one mean nothing.
    """
    n, seed = options.rows, options.seed
    cells = _draw_cells(options)
    prior = _prior(cells, options)
    status = pick(uniforms(seed, "status", n), prior)
    unfinished = np.where(_year(cells) >= RECENT, options.censoring, 0.0)
    is_open = (status == 0) & (uniforms(seed, "censoring", n) < unfinished)
    told = uniforms(seed, "outcome phrase", n) < options.outcome_phrases
    told &= (status > 0) & cells["has brief_summary"]
    enrollment = _draw_enrollment(cells, status, options)
    # the count of a trial that still runs is its plan
    cells["enrollment"] = np.where(is_open, cells["enrollment_planned"], enrollment)
    shown = np.where(is_open, len(STATUSES) + pick(uniforms(seed, "open", n), (1, 1)), status)
    frame = _frame(cells | _texts(cells, told, seed), shown)
    if options.batch_effects:
        frame["source"] = _strings(SOURCES, _draw_source(status, options))

    # Bayes' rule: the law of the status times how likely each status makes all else that is seen
    seen = prior * _likelihood_of_summary(cells, told, options)
    seen[:, 0] *= 1 - unfinished
    after = seen * _likelihood_of_enrollment(cells, enrollment, options)
    oracle: dict[tuple[KnownAt, str], Floats] = {}
    for as_of in KNOWN_AT:
        weights = after if as_of == "after" else seen
        stopped = np.column_stack([weights[:, 1:].sum(axis=1), weights[:, 0]])
        oracle[as_of, "trial-outcome"] = _normalised(stopped)
        oracle[as_of, "trial-status"] = _normalised(weights[:, :3])
    return Rows(frame, COLUMNS, group=canonical.GROUP, date=canonical.DATE, oracle=oracle)


def _draw_source(status: npt.NDArray[np.int64], options: Options) -> npt.NDArray[np.int64]:
    """Numbers (n,) of `SOURCES`: even shares of completed trials, not of the others."""
    steps = options.batch_effects * np.arange(len(SOURCES)) * (status > 0)[:, None]
    return pick(uniforms(options.seed, "source of the record", options.rows), np.exp(steps))


def _frame(cells: Codes, shown: npt.NDArray[np.int64]) -> pd.DataFrame:
    """The cells in the types that `features.columns.Column` states, and the two extra columns."""
    n = len(shown)
    index = pd.Index([f"SYN{row:08d}" for row in range(1, n + 1)], dtype="str", name=canonical.ID)
    spelled = {name: tuple(levels) for name, levels in TABLE.items()}
    spelled[canonical.GROUP] = tuple(name for name, _ in text.SPONSORS)
    content: dict[str, Any] = {}
    for column in COLUMNS:
        cell: Any = cells[column.name]
        if column.kind == "categorical":
            cell = _strings(spelled[column.name], cell)
        elif column.kind == "text":
            cell = pd.array(cell, dtype="str")
        elif column.kind == "date":
            cell = cell.astype("datetime64[s]")
        content[column.name] = cell
    content[canonical.STATUS] = _strings(STATUSES + _UNFINISHED, shown)
    sister = np.where(cells["source"] == np.arange(n), -1, cells["source"])
    content["sister_of"] = _strings(index, sister)
    return pd.DataFrame(content, index=index)


def _strings(names: Sequence[str] | pd.Index[str], numbers: npt.NDArray[np.int64]) -> Any:
    """The names with these numbers as pandas strings; -1 is missing."""
    return pd.array(np.array([*names, None], dtype=object)[numbers], dtype="str")


def _texts(cells: Codes, told: npt.NDArray[np.bool_], seed: int) -> Codes:
    """The text columns, "" if missing; the summary tells the outcome where `told`."""
    texts: Codes = dict(text.compose(cells))
    texts["brief_title"] += np.array([*text.SISTER_TITLES, ""], dtype=object)[cells["suffix"]]
    sentences = np.array([f" {sentence}" for sentence in text.OUTCOME_SENTENCES], dtype=object)
    which = pick(uniforms(seed, "outcome sentence", len(told)), np.ones(len(sentences)))
    texts["brief_summary"] += np.where(told, sentences[which], "")
    for name in ("brief_summary", "eligibility_criteria", "conditions"):
        texts[name] = np.where(cells[f"has {name}"], texts[name], "")
    return texts


def _draw_cells(options: Options) -> Codes:
    """All cells as a model will see them: numbers of levels and sentences, -1 or NaN if missing.

    Texts are codes whether or not they are missing: `has brief_summary` and so on tell that.
    """
    n, seed = options.rows, options.seed
    cells = text.draw(seed, n) | _draw_table(seed, n)
    for name in _MASKED:
        gone = uniforms(seed, f"missing {name}", n) < options.missing
        if name in cells:
            cells[name] = np.where(gone, -1 if name in TABLE else np.nan, cells[name])
        else:
            cells[f"has {name}"] = ~gone
    source = _sources(options)
    sister = source < np.arange(n)
    cells = {name: values[source] for name, values in cells.items()} | {"source": source}
    later = np.where(sister, np.floor(uniforms(seed, "sister's start", n) * 181), 0)
    cells["start_date"] = np.minimum(cells["start_date"] + later.astype("timedelta64[D]"), LAST)
    suffix = pick(uniforms(seed, "sister's title", n), np.ones(len(text.SISTER_TITLES)))
    return cells | {"suffix": np.where(sister, suffix, -1)}


def _sources(options: Options) -> npt.NDArray[np.int64]:
    """The row (n,) that each row is a copy of: itself, or an earlier one that is no copy."""
    n, seed = options.rows, options.seed
    sister = uniforms(seed, "duplicates", n) < options.duplicates
    sister[0] = False
    originals = np.flatnonzero(~sister)
    earlier = np.cumsum(~sister)
    drawn = originals[np.floor(uniforms(seed, "source", n) * earlier).astype(np.int64)]
    return np.where(sister, drawn, np.arange(n))


def _draw_table(seed: int, n: int) -> Codes:
    """The cells of the table before any goes missing; levels by their number in `TABLE`."""
    sizes = 1 / (np.arange(len(text.SPONSORS)) + 4)
    sponsor = pick(uniforms(seed, "lead_sponsor", n), sizes)
    classes = list(TABLE["sponsor_class"])
    sponsor_class = np.array([classes.index(kind) for _, kind in text.SPONSORS])[sponsor]
    cells: Codes = {"lead_sponsor": sponsor, "sponsor_class": sponsor_class}

    def levels(name: str, parent: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        shares = np.array([level.shares for level in TABLE[name].values()]).T
        return pick(uniforms(seed, name, n), shares[parent])

    for name in ("study_type", "primary_purpose", "sex", "registry_batch"):
        cells[name] = levels(name, np.zeros(n, dtype=np.int64))
    observational = cells["study_type"] == 1
    cells["phases"] = levels("phases", np.where(observational, 2, sponsor_class != 0))
    not_late = _lateness(cells["phases"]) < 1
    cells["allocation"] = levels("allocation", np.where(observational, 2, not_late))
    random = cells["allocation"] == 0
    cells["masking"] = levels("masking", np.where(random, 0, 1))

    arms = pick(uniforms(seed, "number_of_arms", n), (0.7, 0.2, 0.1))
    cells["number_of_arms"] = np.where(random, arms + 2.0, np.minimum(arms, 1) + 1.0)
    spread = 0.8 * stream(seed, "enrollment_planned").standard_normal(n)
    centre = np.array([_LOG_PLAN[level] for level in TABLE["phases"]])[cells["phases"]]
    cells["enrollment_planned"] = np.clip(np.rint(np.exp(centre + spread)), 6, 5000)
    ages = pick(uniforms(seed, "min_age", n), (0.1, 0.1, 0.6, 0.1, 0.1))
    cells["min_age"] = np.array([0.0, 12.0, 18.0, 40.0, 65.0])[ages]
    cells["record_score"] = np.round(100 * uniforms(seed, "record_score", n), 1)
    days = (LAST - FIRST).astype(np.int64) + 1
    # registers grow: the exponent puts more than half of the trials into the later years
    began = np.floor(days * uniforms(seed, "start_date", n) ** 0.75)
    cells["start_date"] = FIRST + began.astype("timedelta64[D]")
    return cells


def _prior(cells: Codes, options: Options) -> Floats:
    """P(status | table and text), (n, 4) in the order of `STATUSES`: a multinomial logit."""
    table = np.zeros(options.rows)
    for name, levels in TABLE.items():
        by_level = [*(level.effect for level in levels.values()), MISSING.get(name, 0.0)]
        table += np.array(by_level)[cells[name]]
    size = np.clip(np.log(cells["enrollment_planned"]) - 4.5, -2.5, 2.5)
    table += np.where(np.isnan(size), MISSING["enrollment_planned"], PLAN * size)
    arms = cells["number_of_arms"] - 2
    table += np.where(np.isnan(arms), MISSING["number_of_arms"], ARMS * arms)

    words, withdrawn = text.topic_effect(cells), PLAN_WITHDRAWN * np.nan_to_num(size)
    late = _lateness(cells["phases"])
    for column, slots in text.TEXTS.items():
        there = cells[f"has {column}"]
        words += np.where(there, 0.0, MISSING[column])
        for slot in slots:
            early_effect, late_effect, on_withdrawn = text.phrase_effect(cells, slot).T * there
            words += early_effect * (1 - late) + late_effect * late
            withdrawn += on_withdrawn

    moved = options.drift * (_year(cells) - 2014) / 18
    own = stream(options.seed, "sponsor effects").standard_normal(len(text.SPONSORS))
    score = table * (1 + moved) + words * (1 - moved) + 2 * moved
    score += options.sponsor_effects * own[cells["lead_sponsor"]]
    logits = np.repeat(_BASE[None, :], options.rows, axis=0)
    logits[:, 1:] += score[:, None]
    logits[:, 2] += withdrawn
    return _normalised(np.exp(logits))


def _lateness(phases: npt.NDArray[Any]) -> Floats:
    """1 in a late phase, 0 in another, 0.5 where the phase is missing; (n,)."""
    by_level = np.array([*(float(name in LATE) for name in TABLE["phases"]), 0.5])
    return np.asarray(by_level[phases], dtype=np.float64)


def _year(cells: Codes) -> npt.NDArray[np.int64]:
    return np.asarray(cells["start_date"].astype("datetime64[Y]"), dtype=np.int64) + 1970


def _likelihood_of_summary(cells: Codes, told: npt.NDArray[np.bool_], options: Options) -> Floats:
    """P(outcome sentence there or not | status), (n, 4); 1 where there is no summary."""
    share = np.array([0.0, *[options.outcome_phrases] * 3])
    likelihood = np.where(told[:, None], share, 1 - share)
    return np.where(cells["has brief_summary"][:, None], likelihood, 1.0)


def _room(cells: Codes) -> npt.NDArray[np.int64]:
    """The largest possible enrollment (n,): 15 % over the plan, or over 60 if that is missing."""
    plan = np.nan_to_num(cells["enrollment_planned"], nan=_PLAN_IF_MISSING)
    return np.asarray(np.ceil(1.15 * plan), dtype=np.int64)


def _draw_enrollment(cells: Codes, status: npt.NDArray[np.int64], options: Options) -> Floats:
    """Actual enrollment (n,), NaN if missing.

    Beta-binomial up to `_room`: close to the plan if completed, well short of it if terminated or
    suspended; 0 if withdrawn. In a share 1 - `leak` of the rows all follow the law of COMPLETED.
    """
    n, seed = options.rows, options.seed
    status = np.where(uniforms(seed, "leak", n) < options.leak, status, 0)
    shape = np.array([_REACHED, _CUT_SHORT, _CUT_SHORT, _CUT_SHORT])[status]
    reached = stream(seed, "share enrolled").beta(shape[:, 0], shape[:, 1])
    count = stream(seed, "enrollment").binomial(_room(cells), reached).astype(np.float64)
    count[status == 2] = 0.0
    count[uniforms(seed, "missing enrollment", n) < options.missing] = np.nan
    return count


def _likelihood_of_enrollment(cells: Codes, count: Floats, options: Options) -> Floats:
    """P(actual enrollment | status, plan), (n, 4); 1 where it is missing."""
    from scipy.stats import betabinom

    known = ~np.isnan(count)
    seen, room = np.nan_to_num(count), _room(cells)
    completed, short = (betabinom.pmf(seen, room, *shape) for shape in (_REACHED, _CUT_SHORT))
    own = np.column_stack([completed, short, seen == 0, short])
    mixed = options.leak * own + (1 - options.leak) * completed[:, None]
    return np.where(known[:, None], mixed, 1.0)


def _normalised(weights: Floats) -> Floats:
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)
