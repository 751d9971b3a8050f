"""Reader `top`: the TOP benchmark of trial outcomes, `phase_{I,II,III}_{train,valid,test}.csv`.

TOP (Fu et al., HINT, Patterns 2022) labels a trial 1 where its drug passed the phase and 0 where it
failed. The label isn't the status: a completed trial may have failed. Copies with the columns
`title` and `study_first_submitted_date` added are read with them. `icdcodes` and `smiless` are not.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from benchmark.dataset import Rows
from benchmark.readers import cells
from benchmark.readers.assembly import assemble, missing_column, rename
from benchmark.readers.canonical import ID, OFFICIAL, STATUS
from benchmark.readers.files import FileOptions, read_raw
from benchmark.readers.literals import joined
from benchmark.readers.official import Piece, in_files, one_table
from features.errors import InputError

DATE = "first_posted"
CLASSES = ("failure", "success")
TASKS = {"I": "top-phase-1", "II": "top-phase-2", "III": "top-phase-3"}
"""Phase -> the task, and the column that holds its classes."""

NAMES = {
    "nctid": ID,
    "status": STATUS,
    "why_stop": "why_stopped",
    "phase": "phases",
    "diseases": "conditions",
    "drugs": "interventions",
    "criteria": "eligibility_criteria",
    "title": "brief_title",
    "study_first_submitted_date": DATE,
}
_FILE = re.compile(r"phase_(I{1,3})_(train|valid|test)\.csv")


class Options(BaseModel):
    """`path` is the folder of the files, one of them, or a list of them.

    `phase` is needed where a folder holds several: a trial of phase 1/phase 2 is in both sets.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | list[Path]
    phase: Literal["I", "II", "III"] | None = None


def read(options: Options) -> Rows:
    """The trials of one phase, with their part in the column `official_part`.

    The row's date is the day on which it was first submitted. `status` and `why_stop` are known
    after the trial: the status is no input at all. Raises `InputError` for other file names, and
    for a file without `nctid` or `label`.
    """
    phase, files = find(options)
    pieces = [_piece(part, path, TASKS[phase]) for part, path in files.items()]
    whole = next(iter(files.values())).parent
    rows = assemble(
        one_table(pieces, whole if len(files) > 1 else pieces[0].raw.path),
        id_pattern=r"NCT\d{8}",
        required=(ID,),
        own={
            TASKS[phase]: outcome,
            OFFICIAL: cells.label,
            "conditions": joined,
            "interventions": joined,
        },
    )
    return replace(
        rows,
        rejected=in_files(rows.rejected, pieces),
        date=DATE if DATE in rows.frame else None,
        official=OFFICIAL,
    )


def find(options: Options) -> tuple[str, dict[str, Path]]:
    """The phase, and its files by part: train, valid, test as far as they are there."""
    if isinstance(options.path, list):
        candidates = options.path
    elif options.path.is_dir():
        candidates = [path for path in options.path.iterdir() if _FILE.fullmatch(path.name)]
    else:
        candidates = [options.path]
    found: dict[str, dict[str, Path]] = {}
    for path in candidates:
        matched = _FILE.fullmatch(path.name)
        if matched is None:
            raise _no_files(f"{path.name} is not named like a file of TOP")
        phase, part = matched.groups()
        if part in found.setdefault(phase, {}):
            raise InputError(f"two files are called {path.name}", "each part once")
        found[phase][part] = path
    wanted = options.phase
    if wanted is None and len(found) > 1:
        raise InputError(
            f"the files are of phases {', '.join(sorted(found))}",
            "one phase, as many trials are in two of them",
            "set `phase: I`, or another one",
        )
    if not found or (wanted is not None and wanted not in found):
        raise _no_files(f"no file of phase {wanted}" if wanted else "no file of TOP is there")
    chosen = wanted if wanted is not None else next(iter(found))
    parts = found[chosen]
    return chosen, {part: parts[part] for part in ("train", "valid", "test") if part in parts}


def _no_files(came: str) -> InputError:
    return InputError(came, "phase_I_train.csv, phase_I_valid.csv, phase_I_test.csv (or II, III)")


def _piece(part: str, path: Path, task: str) -> Piece:
    raw = read_raw(FileOptions(path=path))
    renamed = rename(raw, NAMES | {"label": task})
    for name, spelled in ((ID, "nctid"), (task, "label")):
        if name not in renamed.frame:
            raise missing_column(raw, spelled)
    return Piece(part, renamed)


def outcome(cell: str) -> str | None:
    """`success` for 1, `failure` for 0."""
    value = cells.number(cell)
    if value is None:
        return None
    if value not in (0, 1):
        raise ValueError("not 0 or 1")
    return CLASSES[int(value)]
