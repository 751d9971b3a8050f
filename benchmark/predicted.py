"""Somebody's predictions of a claim's test rows: a file of ids and scores, joined to the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.config import RunConfig, load
from benchmark.dataset import Dataset
from benchmark.matrix import read_rows
from benchmark.metrics import Scored
from benchmark.published import Claim
from benchmark.readers.files import FileOptions, read_raw
from benchmark.readers.trialbench import FAILURE
from benchmark.splits import PARTS, SplitOptions, make_split
from benchmark.tasks import labelled
from features.errors import InputError, unknown_name
from models.base import Floats, Ints, Target

IDS = ("nct_id", "nctid", "nct", "nct_number", "trial_id", "id", "pmid")
SCORES = (
    "prediction", "predictions", "pred", "score", "scores", "proba", "prob", "probability",
    "y_score", "y_proba", "y_pred", "p", "p_1",
)  # fmt: skip
LABELS = ("label", "labels", "y", "y_true", "truth", "target")
PART = ("part", "split")
SEVERAL = ("study-design", "trial-status", FAILURE.task)
"""Tasks of several classes or labels, for which one score a row says too little."""
_SHOWN = 3


@dataclass(frozen=True)
class Names:
    """Names of the file's columns; None: the usual ones are looked for."""

    id: str | None = None
    score: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Predicted:
    """Scored test rows, their ids, and truth and probabilities of valid rows where the file has
    some. `truth` says where the labels are from; `notes` what became of other rows.
    """

    scored: Scored
    ids: pd.Index
    valid: tuple[Ints, Floats] | None
    truth: str
    notes: tuple[str, ...] = ()


def read_predictions(path: Path, claim: Claim, names: Names, overrides: Sequence[str]) -> Predicted:
    """The rows of a file of predictions with their truth.

    The truth is a column of the file (0 and 1) where it has one, else the labels of the claim's
    data. A column `part` (train, valid, test) says which rows are of valid; without one all are
    test rows, and with the claim's data those of its split. Scores are probabilities of the
    positive class. Raises `InputError` for a file or data that can't be used.
    """
    if claim.task in SEVERAL:
        raise InputError(
            f"{claim.name} is of a task with several classes or labels",
            "a claim on two classes to score predictions for",
            "leave out --predictions",
        )
    frame = read_raw(FileOptions(path=path)).frame
    columns = [str(name) for name in frame]
    id_name = _column(columns, "id", names.id, IDS)
    has_labels = names.label is not None or any(name.lower() in LABELS for name in columns)
    label = _column(columns, "label", names.label, LABELS) if has_labels else None
    part = next((name for name in columns if name.lower() in PART), None)
    taken = [name for name in (id_name, label, part) if name is not None]
    score = _score_column(frame, names.score, taken)
    ids = pd.Index(frame[id_name].str.strip(), dtype="str")
    if ids.has_duplicates and part is None:
        raise InputError(f"{path.name}: id {ids[ids.duplicated()][0]!r} stands twice", "unique ids")
    rows = pd.DataFrame({"score": _probabilities(frame[score], path)}, index=ids)
    rows["part"] = "test" if part is None else frame[part].to_numpy()
    if label is None:
        return _of_claim(rows, claim, overrides, path)
    rows["y"] = _zero_one(frame[label], path)
    return _of_file(rows, label, path)


def _of_file(rows: pd.DataFrame, label: str, path: Path) -> Predicted:
    """With the file's own truth: 0 is negative, 1 positive."""
    test, valid = (rows[rows["part"] == part] for part in ("test", "valid"))
    if test.empty:
        raise InputError(f"{path.name} holds no row of part test", "test rows", "check its parts")
    target = Target("binary", ("negative", "positive"))
    truth = f"column {label!r} of the file; whether these are the published test rows is not known"
    return _predicted(test, valid, target, truth=truth)


def _of_claim(rows: pd.DataFrame, claim: Claim, overrides: Sequence[str], path: Path) -> Predicted:
    """With the labels of the claim's data, on the test rows of its split that the file predicts."""
    data, parts = _data(claim, overrides)
    y = pd.Series(data.y, index=data.X.index)
    test = rows[rows.index.isin(parts["test"]) & (rows["part"] == "test")]
    valid = rows[rows.index.isin(parts["valid"]) & (rows["part"] == "valid")]
    if test.empty:
        raise InputError(
            f"none of the {len(rows):,} ids of {path.name} is a test row of {claim.task} "
            f"({claim.split} split), such as {_some(parts['test'])}",
            f"ids like these, not {_some(rows.index)}",
            "name the right column with --id-column",
        )
    notes = []
    lacking = len(parts["test"]) - len(test)
    if lacking:
        notes.append(f"Without a prediction: {lacking:,} of {len(parts['test']):,} test rows.")
    strange = len(rows) - len(test) - len(valid)
    if strange:
        notes.append(f"Left out: {strange:,} predictions of other rows.")
    return _predicted(
        test.assign(y=y[test.index]),
        valid.assign(y=y[valid.index]),
        data.target,
        truth=f"the data's labels, {claim.split} split",
        notes=notes,
    )


def _predicted(
    test: pd.DataFrame,
    valid: pd.DataFrame,
    target: Target,
    *,
    truth: str,
    notes: Iterable[str] = (),
) -> Predicted:
    for part, name in ((test, "test"), (valid, "valid")):
        if part.index.has_duplicates:
            twice = part.index[part.index.duplicated()][0]
            raise InputError(f"id {twice!r} stands twice among the {name} rows", "unique ids")
    y, proba = _arrays(test)
    if len(np.unique(y)) < 2:
        raise InputError(f"all {len(y):,} test rows are of one class", "rows of both classes")
    scored = Scored.of(target, y, proba=proba)
    usable = len(valid) > 0 and valid["y"].nunique() == 2
    return Predicted(scored, test.index, _arrays(valid) if usable else None, truth, tuple(notes))


def _arrays(rows: pd.DataFrame) -> tuple[Ints, Floats]:
    p = rows["score"].to_numpy(np.float64)
    return rows["y"].to_numpy(np.int64), np.stack([1 - p, p], axis=1)


def _data(claim: Claim, overrides: Sequence[str]) -> tuple[Dataset, dict[str, pd.Index]]:
    """The labelled rows of the claim's config, and the ids of its split's parts."""
    try:
        config = load(claim.config_file(), [*claim.overrides, *overrides])
        data = labelled(read_rows(config), claim.task)
        split = make_split(data, _split_options(config, claim), config.seeds[0])
    except InputError as error:
        raise InputError(
            f"no truth for these predictions: {error}",
            f"a column of labels ({', '.join(LABELS)}) in the file, or {claim.needs}",
        ) from None
    return data, {part: pd.Index(getattr(split, part)) for part in PARTS}


def _split_options(config: RunConfig, claim: Claim) -> SplitOptions:
    for options in config.splits:
        if options.name == claim.split:
            return options
    raise InputError(f"its config has no split {claim.split}", "the published one")


def _column(columns: Sequence[str], what: str, wanted: str | None, usual: Sequence[str]) -> str:
    """A column by name, or the first usual one."""
    if wanted is not None:
        if wanted not in columns:
            raise unknown_name(f"{what} column", wanted, columns)
        return wanted
    by_name = {name.lower(): name for name in reversed(columns)}
    for name in usual:
        if name in by_name:
            return by_name[name]
    raise InputError(
        f"no column of {what}s among {', '.join(columns)}",
        "one called " + ", ".join(usual),
        f"name it with --{what}-column",
    )


def _score_column(frame: pd.DataFrame, wanted: str | None, taken: Sequence[str]) -> str:
    """The column of scores: named, called as usual, the second of two `p_…` (as trialmark stores
    them), or the only number left.
    """
    columns = [str(name) for name in frame]
    if wanted is None and not any(name.lower() in SCORES for name in columns):
        left = [name for name in columns if name not in taken]
        pair = [name for name in left if name.startswith("p_")]
        if len(pair) == 2:
            return pair[1]
        numbers = [n for n in left if pd.to_numeric(frame[n], errors="coerce").notna().all()]
        if len(numbers) == 1:
            return numbers[0]
    return _column(columns, "score", wanted, SCORES)


def _probabilities(column: pd.Series, path: Path) -> Floats:
    found = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~((found >= 0) & (found <= 1)))
    if len(wrong):
        row, value = column.index[wrong[0]], column.iloc[wrong[0]]
        raise InputError(
            f"{path.name}, row {row}: {column.name} is {value!r}",
            "a probability of the positive class, from 0 to 1",
            "turn scores into probabilities, or name another column with --score-column",
        )
    return found


def _zero_one(column: pd.Series, path: Path) -> Ints:
    found = column.str.strip().str.lower().map({"0": 0, "1": 1, "0.0": 0, "1.0": 1})
    if found.isna().any():
        row = found.index[found.isna()][0]
        raise InputError(f"{path.name}, row {row}: {column.name} is {column[row]!r}", "0 or 1")
    return np.asarray(found, np.int64)


def _some(ids: pd.Index) -> str:
    return ", ".join(map(str, ids[:_SHOWN]))
