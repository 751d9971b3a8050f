"""Two runs side by side: what changed between them, and which scores moved with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchmark.contenders import Repeat, repeat
from benchmark.leaderboard import Board, leaderboard
from benchmark.splits import family
from benchmark.store import Store
from features.errors import InputError

MATCH = ["task", "split", "as_of", "model", "inputs"]
"""What makes two rows of two boards the same contender."""
HARDWARE = ("device", "device_name", "threads")
MACHINE = ("processor", "cores", "memory_gb")
CELL = {
    "data": ("dataset_fingerprint",),
    "split": ("split_hash",),
    "code": ("code",),
    "columns": ("columns",),
    "parameters": ("model", "params", "tune", "refit", "calibrate", "members"),
    "weights": ("weights",),
    "libraries": ("libraries",),
}
"""Aspects of a cell, and the entries of its record that hold them."""

Change = tuple[str, str, Any, Any]
"""An aspect, the thing in it that changed, and its value in both runs."""


@dataclass(frozen=True)
class Difference:
    """How run B differs from run A.

    `changes`: columns aspect, what, a, b and models (in how many contenders), the most common
    first. `scores`: one row a contender and metric of both boards: value_a, value_b, difference
    (B - A) and `because`, the aspects that changed in its cells ("" where none did; for a score
    that moved all the same, "nothing recorded"). `only_a` and `only_b` name contenders of one run.
    """

    changes: pd.DataFrame
    scores: pd.DataFrame
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]


def diff(a: Store, b: Store) -> Difference:
    """Compare the finished cells of two runs, matched by task, split, level, model and inputs.

    Raises `InputError` where no contender is in both.
    """
    cells = [_cells(store) for store in (a, b)]
    both = [name for name in cells[0] if name in cells[1]]
    if not both:
        raise InputError(
            f"{a.root} and {b.root} share no model in the same task, split, level and inputs",
            "a finished cell of both",
            "compare runs of one config",
        )
    found = {name: list(_changes(cells[0][name], cells[1][name])) for name in both}
    only = [
        tuple(" ".join(name) for name in one if name not in other)
        for one, other in (cells, cells[::-1])
    ]
    reasons = {
        name: ", ".join(dict.fromkeys(aspect for aspect, *_ in changes))
        for name, changes in found.items()
    }
    scores = _scores([leaderboard(store) for store in (a, b)], reasons)
    return Difference(_summed(found.values()), scores, only[0], only[1])


def _cells(store: Store) -> dict[tuple[str, ...], dict[Repeat, dict[str, Any]]]:
    """Records of the finished cells by contender, then seed."""
    found: dict[tuple[str, ...], dict[Repeat, dict[str, Any]]] = {}
    for entry in store.plan()["cells"]:
        record = store.record(entry["path"])
        if record is not None and record["status"] == "done":
            place = {**entry, "split": family(entry["split"])}
            name = tuple(str(place[part]) for part in MATCH)
            found.setdefault(name, {})[repeat(entry)] = record
    return found


def _changes(
    a: Mapping[Repeat, Mapping[str, Any]], b: Mapping[Repeat, Mapping[str, Any]]
) -> Iterator[Change]:
    """What changed in the cells of one contender, each thing once."""
    if set(a) != set(b):
        yield "seeds", "seeds", sorted(a, key=str), sorted(b, key=str)
    seen: list[Change] = []
    for seed in sorted(set(a) & set(b), key=str):
        for change in _between(a[seed], b[seed]):
            if change not in seen:
                seen.append(change)
                yield change


def _between(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[Change]:
    """What changed between two records of the same model and seed."""
    for aspect, entries in CELL.items():
        for entry in entries:
            if entry in a["cell"] and entry in b["cell"]:  # an earlier trialmark had fewer
                yield from _leaves(aspect, entry, a["cell"][entry], b["cell"][entry])
    sides = [_surroundings(record) for record in (a, b)]
    for aspect in sides[0]:
        yield from _leaves(aspect, "", sides[0][aspect], sides[1][aspect])


def _surroundings(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a record says besides its cell, by aspect.

    The commit is left out: `code` says whether the sources that predict are others.
    """
    environment = record.get("environment", {})
    return {
        "environment": {name: environment.get(name) for name in ("python", "platform", "versions")},
        "hardware": {
            **{name: record.get(name) for name in HARDWARE},
            **{name: environment.get(name) for name in MACHINE},
        },
    }


def _leaves(aspect: str, what: str, a: Any, b: Any) -> Iterator[Change]:
    """The unequal parts of two values: of mappings by key, of lists what the other lacks."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            inner = f"{what}.{key}" if what else str(key)
            yield from _leaves(aspect, inner, a.get(key), b.get(key))
    elif a != b and isinstance(a, list) and isinstance(b, list):
        gone, new = [x for x in a if x not in b], [x for x in b if x not in a]
        yield (aspect, what, gone, new) if gone or new else (aspect, what, a, b)
    elif a != b:
        yield aspect, what, a, b


def _summed(found: Iterable[Sequence[Change]]) -> pd.DataFrame:
    """Every change once, with the number of contenders it is found in."""
    counts: dict[tuple[str, str, str, str], int] = {}
    for changes in found:
        for aspect, what, a, b in changes:
            key = (aspect, what, _shown(a), _shown(b))
            counts[key] = counts.get(key, 0) + 1
    rows = [(*key, count) for key, count in counts.items()]
    frame = pd.DataFrame(rows, columns=["aspect", "what", "a", "b", "models"])
    return frame.sort_values("models", ascending=False, kind="stable", ignore_index=True)


def _shown(value: Any) -> str:
    """A value in a table; hashes are cut short."""
    if isinstance(value, str):
        is_hash = len(value) == 64 and set(value) <= set("0123456789abcdef")
        return value[:12] if is_hash else value
    return "-" if value is None else json.dumps(value)


def _scores(boards: Sequence[Board], reasons: Mapping[tuple[str, ...], str]) -> pd.DataFrame:
    """The scores of contenders in both runs, in the metrics that both boards show."""
    a, b = (board.rows[[*MATCH, "metric", "value"]] for board in boards)
    shown = [name for name in boards[0].metrics if name in boards[1].metrics]
    both = a[a["metric"].isin(shown)].merge(b, on=[*MATCH, "metric"], suffixes=("_a", "_b"))
    both["difference"] = both["value_b"] - both["value_a"]
    names = both[MATCH].itertuples(index=False, name=None)
    because = [reasons.get(tuple(name), "") for name in names]
    moved = both["difference"].fillna(0.0) != 0
    both["because"] = [
        "nothing recorded" if is_moved and not why else why
        for is_moved, why in zip(moved, because, strict=True)
    ]
    return both
