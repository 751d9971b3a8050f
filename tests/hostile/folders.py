"""Results folders that nobody means well with: plans, records and predictions."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from recorded import GOOD, cell, predictions, record_of, write_cell, write_run

from benchmark.cells import Result
from benchmark.receipts import sealed, sha256
from benchmark.store import Store, folder_of, parquet_bytes

from .files import NASTY, PWNED

JUNK: tuple[Any, ...] = (
    None,
    3,
    -1,
    1e300,
    "x",
    "",
    [],
    {},
    [None],
    [[]],
    {"a": []},
    NASTY[0],
    True,
)


def folders(scratch: Path) -> Iterator[tuple[str, Path]]:
    """Name and place of each folder; made when it is asked for."""
    chance = random.Random(4)
    for number in range(60):  # a value somewhere in the plan or the record is another
        of_plan = number % 3 == 0
        name = f"{'plan' if of_plan else 'record'} with another value {number}"
        yield name, _changed(scratch / str(number), chance, of_plan=of_plan)
    for number, nasty in enumerate((*NASTY, "x" * 5000, "\x00", "& % $ # _ { } ~ ^ \\")):
        for name in ("label", "class", "both"):
            root = scratch / f"{name}-{number}"
            yield f"nasty {name} {number}", nasty_names(root, nasty, of=name)
    for number, path in enumerate((f"../{PWNED}", "/etc", "a/b/c/..", "", "a\x00b", "C:\\x")):
        yield f"plan that leads to {path!r}", _elsewhere(scratch / f"path-{number}", path)
    for number, text in enumerate(
        ("", "[]", "{}", "{", "[" * 200_000, "\x00", '{"schema": 99}', "3")
    ):
        for file in ("plan.json", "record.json"):
            yield f"{file} of {text[:9]!r}", _text(scratch / f"{file}-{number}", file, text)
    for number, frame in enumerate(_frames()):
        yield f"predictions {number}", _frame(scratch / f"frame-{number}", frame)


def _whole(root: Path) -> Store:
    store = write_run(root, cell(), cell(label="other", params={"C": 2.0}))
    for one in (cell(), cell(label="other", params={"C": 2.0})):
        write_cell(store, one, GOOD)
    return store


def _changed(root: Path, chance: random.Random, *, of_plan: bool) -> Path:
    store = _whole(root)
    file = root / "plan.json" if of_plan else root / folder_of(cell()) / "record.json"
    data = json.loads(file.read_text())
    del data["seal"]
    here: Any = data
    while isinstance(here, dict | list) and here:
        parent = here
        key: Any = chance.choice(list(here) if isinstance(here, dict) else range(len(here)))
        here = here[key]
        if chance.random() < 0.35:
            break
    if chance.random() < 0.2 and isinstance(parent, dict):
        del parent[key]
    else:
        parent[key] = copy.deepcopy(chance.choice(JUNK))
    file.write_bytes(sealed(data))
    return store.root


def nasty_names(root: Path, nasty: str, *, of: str) -> Path:
    """A folder whose model, or class, or both have a nasty name."""
    label = nasty if of in ("label", "both") else "m"
    positive = nasty if of in ("class", "both") else "yes"
    one, other = cell(label=label), cell(label="other", params={"C": 2.0})
    store = write_run(root, one, other)
    target = {"kind": "binary", "classes": ["no", positive]}
    rows = record_of(one)["rows"] | {"test_classes": {"no": 2, positive: 2}}
    frame = predictions(GOOD).rename(columns={"p_yes": f"p_{positive}"})
    for each in (one, other):
        store.write(each, Result(record_of(each, target=target, rows=rows), frame))
    return root


def _elsewhere(root: Path, path: str) -> Path:
    store = _whole(root)
    plan = json.loads((root / "plan.json").read_text())
    del plan["seal"]
    plan["cells"][0]["path"] = path
    (root / "plan.json").write_bytes(sealed(plan))
    return store.root


def _text(root: Path, file: str, text: str) -> Path:
    _whole(root)
    place = root / "plan.json" if file == "plan.json" else root / folder_of(cell()) / file
    place.write_text(text)
    return root


def _frames() -> Iterator[pd.DataFrame]:
    whole = predictions(GOOD)
    yield whole.iloc[:0]
    yield whole[["id"]]
    yield whole.drop(columns="p_yes")
    yield whole.assign(p_yes="x")
    yield whole.assign(p_yes=float("nan"))
    yield whole.assign(p_yes=1e300)
    yield whole.assign(y=7)
    yield whole.assign(y="yes")
    yield whole.assign(part=NASTY[0])
    yield pd.concat([whole, whole])
    yield whole.assign(id=[[1]] * len(whole))
    yield pd.DataFrame()


def _frame(root: Path, frame: pd.DataFrame) -> Path:
    _whole(root)
    place = root / folder_of(cell())
    data = parquet_bytes(frame)
    (place / "predictions.parquet").write_bytes(data)
    record = json.loads((place / "record.json").read_text())
    del record["seal"]
    (place / "record.json").write_bytes(sealed({**record, "predictions_sha256": sha256(data)}))
    return root
