"""Reader `trialbench`: TrialBench's `{train,test}_{x,y}.csv` of approval and failure reason.

TrialBench (Chen et al., 2024) keeps one folder a task and phase. The tables of inputs and of
targets are in different orders: they are joined by the NCT number in their first columns. Of the
inputs, those with a canonical name are taken; numbers of arms by kind, MeSH terms, codes, SMILES
and facts about cities are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from benchmark.dataset import Rows
from benchmark.readers import cells
from benchmark.readers.assembly import Parse, assemble, normal_id, rename
from benchmark.readers.canonical import ID, OFFICIAL
from benchmark.readers.files import EMPTIED, LEFT_OUT, FileOptions, Raw, Rejection, read_raw
from benchmark.readers.literals import joined_or_plain, strings
from benchmark.readers.official import Piece, in_files, one_table
from features.errors import InputError, closest, one_line

NAMES = {
    "nct_id": ID,
    "brief_title": "brief_title",
    "brief_summary/textblock": "brief_summary",
    "detailed_description/textblock": "detailed_description",
    "eligibility/criteria/textblock": "eligibility_criteria",
    "condition": "conditions",
    "keyword": "keywords",
    "intervention/intervention_name": "interventions",
    "intervention/intervention_type": "intervention_types",
    "eligibility/gender": "sex",
    "eligibility/healthy_volunteers": "healthy_volunteers",
    "eligibility/minimum_age": "min_age",
    "eligibility/maximum_age": "max_age",
    "enrollment": "enrollment",
    "number_of_arms": "number_of_arms",
    "oversight_info/has_dmc": "has_dmc",
    "oversight_info/is_fda_regulated_drug": "fda_regulated_drug",
    "phase": "phases",
    "sponsors/lead_sponsor/agency_class": "sponsor_class",
    "study_design_info/allocation": "allocation",
    "study_design_info/intervention_model": "intervention_model",
    "study_design_info/masking": "masking",
    "study_design_info/masking_num": "masking_number",
    "study_design_info/observational_model": "observational_model",
    "study_design_info/primary_purpose": "primary_purpose",
    "study_design_info/time_perspective": "time_perspective",
    "study_type": "study_type",
}
MASKINGS = ("NONE", "SINGLE", "DOUBLE", "TRIPLE", "QUADRUPLE")
"""By the number of masked parties."""

_FILE = re.compile(r"(train|test)_[xy]\.csv")
_ID = re.compile(r"NCT\d{8}", re.ASCII)


@dataclass(frozen=True)
class Target:
    """A target's task, and the class that each of its values (in lower case) means."""

    task: str
    classes: Mapping[str, str]

    @property
    def order(self) -> tuple[str, ...]:
        """The classes by their codes."""
        return tuple(dict.fromkeys(self.classes.values()))


APPROVAL = Target(
    "trialbench-approval",
    {"0": "not approved", "1": "approved", "0.0": "not approved", "1.0": "approved"},
)
FAILURE = Target(
    "trialbench-failure-reason",
    {name: name for name in ("poor enrollment", "safety", "efficacy", "others")},
)
TARGETS = {"outcome": APPROVAL, "failure_reason": FAILURE}
"""By the name of the target column."""


class Options(BaseModel):
    """`path` is a folder such as `trial-approval-prediction/Phase4`, or one of its files.

    A file stands for its part alone: `test_x.csv` is read with the `test_y.csv` beside it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path


def read(options: Options) -> Rows:
    """The trials of the parts that are there, with their part in the column `official_part`.

    The enrollment is the registry's count, known after the trial. A trial without a target is
    unlabelled and listed, a target without a trial is listed. Raises `InputError` where a file of
    a part is missing, or the target is of another task.
    """
    pieces, more, tasks = [], [], []
    for part, folder in _parts(options.path):
        x = _by_id(read_raw(FileOptions(path=folder / f"{part}_x.csv")))
        y = _by_id(read_raw(FileOptions(path=folder / f"{part}_y.csv")))
        name, target = _target(y)
        labels, listed = join(x, y, name)
        tasks.append(target)
        more += listed
        frame = rename(x, NAMES).frame.assign(**{target.task: labels})
        pieces.append(Piece(part, replace(x, frame=_with_masking(frame))))
    if len({target.task for target in tasks}) > 1:
        raise InputError(
            f"{options.path.name}: its parts hold targets of two tasks", "one task a folder"
        )
    rows = assemble(
        one_table(pieces, options.path),
        id_pattern=_ID.pattern,
        required=(ID,),
        own=_parsers(tasks[0]),
    )
    return replace(rows, rejected=in_files(rows.rejected, pieces, more), official=OFFICIAL)


def _parts(path: Path) -> list[tuple[str, Path]]:
    """Names of the parts that are there, and the folder of their two files."""
    if path.is_dir():
        folder, names = path, sorted(file.name for file in path.iterdir())
    else:
        folder, names = path.parent, [path.name]
    matches = [_FILE.fullmatch(name) for name in names]
    found = {matched[1] for matched in matches if matched is not None}
    if not found:
        raise InputError(
            f"{path.name} holds no part of TrialBench",
            "train_x.csv with train_y.csv, test_x.csv with test_y.csv",
            "name the folder of one task and phase, such as trial-approval-prediction/Phase4",
        )
    parts = [part for part in ("train", "test") if part in found]
    for part in parts:
        for name in (f"{part}_x.csv", f"{part}_y.csv"):
            if not (folder / name).is_file():
                raise InputError(
                    f"{folder.name} has no file {name}",
                    f"both files of the {part} part",
                    "copy it beside the other",
                )
    return [(part, folder) for part in parts]


def _by_id(raw: Raw) -> Raw:
    """The records with their first, nameless column called `nct_id`."""
    first = raw.frame.columns[0]
    if not raw.frame.empty and not raw.frame[first].map(normal_id).str.fullmatch(_ID).any():
        shown = one_line(raw.frame[first].iloc[0], 40)
        raise InputError(
            f"{raw.path.name}: the first column holds {shown!r}",
            "NCT numbers, which tell the target of a trial",
            "use the release whose first column is the NCT number",
        )
    return replace(raw, frame=raw.frame.rename(columns={first: ID}))


def _target(y: Raw) -> tuple[str, Target]:
    """The column of `y` that is a known target, and what it means."""
    for name in y.frame.columns:
        if name.lower() in TARGETS:
            return name, TARGETS[name.lower()]
    others = [name for name in y.frame.columns if name != ID]
    raise InputError(
        f"{y.path.name}: target {', '.join(others) or 'missing'}",
        " or ".join(TARGETS),
        closest(others[0], TARGETS) if others else "",
    )


def join(x: Raw, y: Raw, name: str) -> tuple[pd.Series, list[Rejection]]:
    """The target cell of each record of `x` ("" if there is none), and what could not be joined.

    Two lines with one id must agree, else the trial has no target.
    """
    ids = x.frame[ID].map(normal_id)
    known: dict[str, str] = {}
    listed = [
        entry._replace(reason=f"{LEFT_OUT}{y.path.name}: {entry.reason.removeprefix(LEFT_OUT)}")
        for entry in y.rejected
    ]
    present = set(ids)
    for row, id_, cell in zip(
        y.frame.index, y.frame[ID].map(normal_id), y.frame[name], strict=True
    ):
        flaw = ""
        if id_ not in present:
            flaw = f"no such trial in {x.path.name}"
        elif id_ in known:
            same = known[id_] == cell
            flaw = "a second line with the same target" if same else "lines with two targets"
            known[id_] = cell if same else ""
        else:
            known[id_] = cell
        if flaw:
            listed.append(Rejection(row, id_, f"{LEFT_OUT}{y.path.name}: {flaw}"))
    for row, id_ in zip(ids.index, ids, strict=True):
        if _ID.fullmatch(id_) and not known.get(id_):
            reason = f"{EMPTIED}{x.path.name}: {name}: nothing in {y.path.name}"
            listed.append(Rejection(row, id_, reason))
    return pd.Series([known.get(id_, "") for id_ in ids], index=ids.index, dtype="str"), listed


def _with_masking(frame: pd.DataFrame) -> pd.DataFrame:
    """Only one of the two columns on masking: the words, else the number."""
    if "masking" in frame:
        return frame.drop(columns="masking_number", errors="ignore")
    return frame.rename(columns={"masking_number": "masking"})


def _parsers(target: Target) -> dict[str, Parse]:
    """How the cells are parsed that TrialBench writes in its own way."""

    def class_of(cell: str) -> str | None:
        key = " ".join(cell.lower().split())
        if not key:
            return None
        if key not in target.classes:
            raise ValueError("not one of " + ", ".join(target.classes))
        return target.classes[key]

    lists = dict.fromkeys(("conditions", "keywords", "interventions"), joined_or_plain)
    return {
        **lists,
        "intervention_types": _types,
        "masking": masking,
        target.task: class_of,
        OFFICIAL: cells.label,
    }


def _types(cell: str) -> str | None:
    """`BIOLOGICAL|DRUG` from `['Drug', 'Biological', 'Drug']` or `Drug`."""
    return cells.choice("|".join(strings(cell)) if cell.startswith("[") else cell)


def masking(cell: str) -> str | None:
    """`DOUBLE` for `2.0` masked parties, or for `Double (Participant, Investigator)`."""
    if any(c.isalpha() for c in cell):
        return cells.masking(cell)
    number = cells.count(cell)
    if number is not None and number >= len(MASKINGS):
        raise ValueError("not a number of masked parties from 0 to 4")
    return None if number is None else MASKINGS[int(number)]
