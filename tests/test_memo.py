"""What fits of one cell share, and by which rows it is known."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from models.base import Context, Memo, rows_key


@dataclass(frozen=True)
class Vectors:
    """A thing with an array in it."""

    values: Any


ROWS = pd.DataFrame({"text": ["one", "two"], "age": [1.0, 2.0]}, index=["a", "b"])


def test_rows_are_known_by_their_ids_and_all_they_hold() -> None:
    others = [
        ROWS.iloc[::-1],
        ROWS.iloc[:1],
        ROWS.assign(text=["one", "[redacted]"]),
        ROWS.assign(age=[1.0, float("nan")]),
        ROWS.set_axis(["a", "c"]),
        ROWS.rename(columns={"age": "other age"}),
    ]
    assert rows_key(ROWS.copy()) == rows_key(ROWS)
    assert len({rows_key(other) for other in [ROWS, *others]}) == 7


def test_a_thing_is_made_once_and_the_least_used_is_let_go() -> None:
    memo, made = Memo(most=20), list[str]()

    def get(name: str) -> str:
        return memo.once(name, lambda: made.append(name) or name * 8)  # 8 bytes

    for name in ("x", "y", "x", "z", "x", "y"):
        assert get(name) == name * 8
    assert made == ["x", "y", "z", "y"]  # z took the place of y, as x was used after it


@pytest.mark.parametrize(
    "thing",
    [
        np.zeros(1000),
        sparse.csr_matrix(np.eye(500)),  # 4,000 of data, 2,000 of indices, 2,004 of row ends
        pd.DataFrame({"a": np.zeros(1000)}),
        ["x" * 4000, "y" * 4000],
        {"a": (np.zeros(500), Vectors(np.zeros(500)))},
    ],
)
def test_things_count_by_what_they_hold(thing: Any) -> None:
    memo = Memo(most=8010)
    memo.once("small", lambda: "x" * 20)
    memo.once("large", lambda: thing)
    again = []
    memo.once("small", lambda: again.append(1))
    assert again  # 8,000 bytes and 20 were too many


def test_what_is_larger_than_all_room_is_still_given() -> None:
    assert Memo(most=3).once("long", lambda: "abcdef") == "abcdef"


def test_what_a_memo_spares_is_counted_at_its_first_cost() -> None:
    memo = Memo()
    for spared in (0, 0.05):
        context = Context(memo=memo)
        context.once("outer", lambda c=context: c.once("inner", lambda: time.sleep(0.05)))
        assert context.timer.seconds.get("spared", 0) == pytest.approx(spared, abs=0.04)


def test_work_in_a_memo_costs_what_its_own_cache_spared_too() -> None:
    memo = Memo()
    for spared in (30, 30):
        context = Context(memo=memo)

        def from_disk(context: Context = context) -> None:
            context.timer.seconds["spared"] += 30

        context.once("vectors", from_disk)
        assert context.timer.seconds["spared"] == pytest.approx(spared, abs=1)
