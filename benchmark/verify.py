"""Proof of a results folder: every hash and every stored score computed again, nothing trained.

The plan and the records are sealed (see `receipts.sealed`). The plan holds the sha256 of the run's
other files, a record that of the files beside it; the name of a split's file is the hash of its
ids, and a record's key the hash of what decided its cell. So what a killed run left is proven too.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.cells import SCHEMA, Cell
from benchmark.contenders import families, kept_again
from benchmark.leaderboard import DECIMALS, leaderboard
from benchmark.receipts import seal_holds, sha256
from benchmark.shapes import PlanShape, flaw, is_record
from benchmark.splits import PARTS, Split
from benchmark.store import (
    PLAN,
    PREDICTIONS,
    RECORD,
    SCORES,
    SUMS,
    TEXTS,
    Store,
    check_predictions,
    check_schema,
)
from features.errors import InputError, one_line

BOARDS = {"leaderboard.json": "json", "leaderboard.csv": "csv", "leaderboard.md": "markdown"}
"""Leaderboards that stand in a results folder, and their formats."""
ROW = ("task", "split", "as_of", "model", "inputs", "metric")


@dataclass(frozen=True)
class Mismatch:
    """A stored file that is not what it must be, by its path in the folder, and why."""

    file: str
    why: str


@dataclass
class Verdict:
    """What `verify` found.

    `proven` lists the files that match, `unproven` those that nothing vouches for (records of an
    earlier trialmark, or files that no run wrote); `scores` counts the stored scores that came out
    of the predictions again.
    """

    mismatches: list[Mismatch] = field(default_factory=list)
    proven: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    scores: int = 0

    def settle(self, file: str, found: bool | None, why: str) -> None:
        """Put a file where it belongs: it matches, it does not, or nobody can tell (None)."""
        if found is None:
            self.unproven.append(file)
        elif found:
            self.proven.append(file)
        else:
            self.fail(file, why)

    def fail(self, file: str, why: str) -> None:
        """Note what is wrong with a file, the first thing only."""
        if file not in {mismatch.file for mismatch in self.mismatches}:
            self.mismatches.append(Mismatch(file, why))
        self.proven = [name for name in self.proven if name != file]
        self.unproven = [name for name in self.unproven if name != file]


def verify(store: Store) -> Verdict:
    """Prove every file of a results folder.

    Cells that are missing are no mismatch, and scores are only computed where all hashes hold.
    Raises `InputError` where the folder holds no run.
    """
    if not (store.root / PLAN).is_file():
        store.plan()  # says so
    verdict = Verdict()
    plan = _sealed(store.root, PLAN, verdict)
    if plan is not None:
        check_schema(plan, store.root / PLAN)
        wrong = flaw(PlanShape, plan)
        if wrong is not None:
            verdict.fail(PLAN, f"it is no plan: {one_line(wrong, 200)}")
            plan = None
    splits = _splits(store.root, verdict)
    sums: Mapping[str, str] = {} if plan is None else plan.get("files", {})
    for name, wanted in sums.items():
        if (store.root / name).is_file():
            same = sha256((store.root / name).read_bytes()) == wanted
            verdict.settle(name, same, f"its sha256 is not the one in {PLAN}")
    files = list(_files(store.root))
    for name in files:
        if name.endswith(f"/{RECORD}"):
            _cell(store.root, name.removesuffix(f"/{RECORD}"), splits, verdict)
    if plan is not None:
        _planned(store.root, plan, verdict)
    if plan is not None and not verdict.mismatches:
        _boards(store, verdict)
    known = {*verdict.proven, *verdict.unproven, *(wrong.file for wrong in verdict.mismatches)}
    verdict.unproven += [name for name in files if name not in known]
    return verdict


def _files(root: Path) -> Iterator[str]:
    """All files of the folder but those that a run is just writing, or was when it was killed."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix()


def _sealed(root: Path, name: str, verdict: Verdict) -> dict[str, Any] | None:
    """The JSON object in a file if its seal holds or it never had one."""
    data = (root / name).read_bytes()
    found = seal_holds(data)
    content = json.loads(data) if found is not False else None
    if isinstance(content, dict) and found is None and content.get("schema", SCHEMA) >= SCHEMA:
        found = False  # all of this schema are sealed
    verdict.settle(name, found, "it is not what was written: its seal is broken")
    return content if found is not False and isinstance(content, dict) else None


def _splits(root: Path, verdict: Verdict) -> dict[str, pd.DataFrame]:
    """The stored splits whose ids have the hash that names them."""
    found = {}
    for file in sorted((root / "splits").glob("[0-9a-f]*.parquet")):
        name = f"splits/{file.name}"
        try:
            frame = pd.read_parquet(file)
            train, valid, test = (
                frame["id"][frame["part"] == part].to_numpy(object) for part in PARTS
            )
            same = Split("stored", train, valid, test).hash == file.stem
        except Exception as error:  # a foreign decoder on unknown bytes raises all kinds
            verdict.fail(name, f"it cannot be read: {one_line(error, 120)}")
            continue
        if same:
            found[file.stem] = frame
        else:
            verdict.fail(name, "its ids do not have the hash in its name")
    return found


def _cell(root: Path, path: str, splits: Mapping[str, pd.DataFrame], verdict: Verdict) -> None:
    """A record, the files it describes, and that they belong together."""
    name = f"{path}/{RECORD}"
    record = _sealed(root, name, verdict)
    if record is not None:
        check_schema(record, root / name)
    if record is None or not is_record(record):
        verdict.fail(name, "it is no record of a cell")
        return
    _key(record, path, verdict)
    for beside, entry in SUMS.items():
        file = root / path / beside
        if entry in record and file.is_file():
            same = sha256(file.read_bytes()) == record[entry]
            verdict.settle(f"{path}/{beside}", same, f"its sha256 is not the one in {RECORD}")
        elif entry in record and beside != TEXTS:  # texts may be kept from publishing
            verdict.fail(f"{path}/{beside}", f"it is not there, and {RECORD} describes it")
    if f"{path}/{PREDICTIONS}" in verdict.proven:
        _rows(root, path, record, splits, verdict)


def _key(record: Mapping[str, Any], path: str, verdict: Verdict) -> None:
    """That the key is the hash of the cell's content, and names the folder."""
    name = f"{path}/{RECORD}"
    try:  # a cell of an earlier schema has another content
        same = record["schema"] < SCHEMA or Cell(**record["cell"]).key == record["key"]
    except TypeError:
        same = False
    if not same:
        verdict.fail(name, "its key is not the hash of its cell")
    elif not str(record["key"]).startswith(path.rpartition("/")[2]):
        verdict.fail(name, "its key is not the one that its folder is named by")


def _rows(
    root: Path,
    path: str,
    record: Mapping[str, Any],
    splits: Mapping[str, pd.DataFrame],
    verdict: Verdict,
) -> None:
    """That predictions are of the rows of their split, in their parts."""
    split = splits.get(record["cell"].get("split_hash"))
    if split is None:
        return  # lost or damaged, which is told of the split
    file = root / path / PREDICTIONS
    try:
        frame = pd.read_parquet(io.BytesIO(file.read_bytes()))
        check_predictions(frame, record, file)
    except (InputError, ValueError) as error:
        verdict.fail(f"{path}/{PREDICTIONS}", one_line(error, 200))
        return
    for part in frame["part"].unique():
        wanted = set(split["id"][split["part"] == part])
        if set(frame["id"][frame["part"] == part]) != wanted:
            verdict.fail(f"{path}/{PREDICTIONS}", f"its {part} rows are not those of its split")


def _version(cell: Mapping[str, Any]) -> str:
    return "redacted_fingerprint" if cell.get("redact") else "fingerprint"


def _planned(root: Path, plan: Mapping[str, Any], verdict: Verdict) -> None:
    """That records are of the cells that the plan put in their folders."""
    for entry in plan["cells"]:
        name = f"{entry['path']}/{RECORD}"
        if name in {*verdict.proven, *verdict.unproven}:
            record = json.loads((root / name).read_bytes())
            cell, data = record["cell"], plan.get("datasets", {}).get(entry["task"], {})
            made_of = cell["dataset_fingerprint"]
            if record["key"] != entry["key"] or cell["split_hash"] != entry["split_hash"]:
                verdict.fail(name, f"it is of another cell than {PLAN} says")
            elif data.get(_version(cell), made_of) != made_of:
                verdict.fail(name, f"it is of other data than {PLAN} says")
            if record["status"] == "done" and not _split_of(root, entry).is_file():
                verdict.fail(f"splits/{entry['split_hash']}.parquet", "it is not there")


def _split_of(root: Path, entry: Mapping[str, Any]) -> Path:
    return root / "splits" / f"{entry['split_hash']}.parquet"


def _boards(store: Store, verdict: Verdict) -> None:
    """That the predictions can be scored, and that stored leaderboards come out again."""
    from benchmark.render import render

    states = [store.state(entry["path"]) for entry in store.plan()["cells"]]
    if "done" not in states:
        return
    kept = (store.root / SCORES).is_dir()
    wrong_draws = False
    try:
        for family in families(store.plan()["cells"]) if kept else ():
            for name, same in kept_again(store, family):
                verdict.settle(name, same, "its draws are not those of the predictions: delete it")
                wrong_draws = wrong_draws or same is False
        board = leaderboard(store, kept=kept and not wrong_draws)
    except InputError as error:
        verdict.fail(PLAN, f"its cells cannot be scored: {error}")
        return
    for name, form in BOARDS.items():
        if not (store.root / name).is_file():
            continue
        stored = (store.root / name).read_bytes().decode("utf-8", "replace")
        if form == "json":
            wrong, scores = _board_flaw(store, stored, json.loads(render(board, "json")))
            verdict.scores += scores
        else:
            same = stored.rstrip("\n") == render(board, form).rstrip("\n")
            wrong = "" if same else "its scores do not come out of the predictions again"
        verdict.settle(name, not wrong, wrong)


def _board_flaw(
    store: Store, stored: str, computed: Sequence[Mapping[str, Any]]
) -> tuple[str, int]:
    """The first thing wrong with a stored board ("": nothing), and how many scores it holds."""
    try:
        rows = json.loads(stored)
        found = {tuple(row[name] for name in ROW): row for row in rows}
    except (ValueError, TypeError, KeyError):
        return "it is no leaderboard", 0
    if stored != json.dumps(rows, indent=1) + "\n":
        return "it is not as `trialmark leaderboard` writes it", 0
    again = {tuple(row[name] for name in ROW): row for row in computed}
    ranked = {key[-1] for key in found} - {key[-1] for key in again}
    if len(ranked) == 1:  # the one that it was ranked by
        return _board_flaw(store, stored, _ranked_by(store, ranked.pop()))
    if set(found) != set(again) or len(rows) != len(again):
        return "its rows are not those of the cells that are done", 0
    for key, row in found.items():
        for name, value in row.items():
            if name not in again[key] or not _equal(value, again[key][name]):
                where = " ".join(map(str, key))
                return f"{where}: {name} is {value}, computed {again[key].get(name)}", 0
    return "", len(rows)


def _ranked_by(store: Store, metric: str) -> list[dict[str, Any]]:
    """The rows of the board that is ranked by a metric; none where it fits no task."""
    from benchmark.render import render

    try:
        found: list[dict[str, Any]] = json.loads(
            render(leaderboard(store, metric, kept=False), "json")
        )
    except InputError:
        return []
    return found


def _equal(stored: Any, computed: Any) -> bool:
    """Equality; of fractions to half of the last decimal that is written, with no more stored."""
    if isinstance(stored, float) and isinstance(computed, float):
        return stored == round(stored, DECIMALS) and math.isclose(
            stored, computed, rel_tol=0, abs_tol=0.5 * 10**-DECIMALS
        )
    return bool(stored == computed)
