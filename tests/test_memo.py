"""What fits of one cell share, and by which rows it is known."""

from __future__ import annotations

import time

import pandas as pd
import pytest

from models.base import Context, Memo, rows_key

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
    memo, made = Memo(most=2), list[str]()

    def get(name: str) -> str:
        return memo.once(name, lambda: made.append(name) or name)

    for name in ("x", "y", "x", "z", "x", "y"):
        assert get(name) == name
    assert made == ["x", "y", "z", "y"]  # z took the place of y, as x was used after it


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
