"""What fits of one cell share, and by which rows it is known."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from models import base
from models.base import Context, Cost, Memo, Timer, rows_key


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


class Clock:
    """A clock that only `work` moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def work(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(Timer, "now", lambda timer: found.time)
    return found


def test_what_a_memo_spares_is_counted_at_its_first_cost(clock: Clock) -> None:
    memo = Memo()
    for spared in (0, 5):
        context = Context(memo=memo)
        context.once("outer", lambda c=context: c.once("inner", lambda: clock.work(5)))
        assert context.timer.seconds.get("spared", 0) == spared


def test_work_in_a_memo_costs_what_its_own_cache_spared_too() -> None:
    memo = Memo()
    for spared in (30, 30):
        context = Context(memo=memo)

        def from_disk(context: Context = context) -> None:
            context.timer.charge(Cost.of("a text", 30.0))  # from the disk

        context.once("vectors", from_disk)
        assert context.timer.seconds["spared"] == pytest.approx(spared, abs=0.5)


def test_each_piece_of_work_is_charged_once_to_a_timer() -> None:
    timer = Timer()
    timer.charge(Cost.joined([Cost.of("a", 1.0), Cost.of("b", 2.0), Cost.of("a", 1.0)]))
    timer.charge(Cost.joined([Cost.of("b", 2.0), Cost.of("c", 4.0)]))
    assert timer.seconds["spared"] == 7.0


def test_work_that_was_done_now_is_not_spared_later() -> None:
    timer = Timer()
    timer.charge(Cost.of("a", 1.0), spent=1.0)
    timer.charge(Cost.joined([Cost.of("a", 1.0), Cost.of("b", 2.0)]))
    assert timer.seconds["spared"] == 2.0


def test_a_part_that_two_things_share_counts_once_whoever_made_it(clock: Clock) -> None:
    """Each thing takes 4 s besides the 6 s of a part that both need."""
    memo = Memo()

    def needing(context: Context, name: str) -> None:
        def make() -> None:
            context.once("part", lambda: clock.work(6))
            clock.work(4)

        context.once(name, make)

    first, second, third = (Context(memo=memo) for _ in range(3))
    needing(first, "one")
    assert (clock.time, first.timer.seconds["spared"]) == (10, 0)
    needing(second, "two")
    assert (clock.time, second.timer.seconds["spared"]) == (14, 6)
    needing(third, "one")
    needing(third, "two")
    assert (clock.time, third.timer.seconds["spared"]) == (14, 14)


def test_a_failing_piece_of_work_leaves_the_timer_as_it_was() -> None:
    context = Context()

    def fails() -> None:
        context.timer.charge(Cost.of("inside", 5.0))
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        context.once("thing", fails)
    _, cost, _ = context.timer.costed("next", lambda: None)
    assert cost.seconds.sum() < 1


def test_waiting_for_another_process_is_no_cost() -> None:
    timer = Timer()
    with timer("features"):
        timer.wait(0.0)
        before = timer.now()
        timer.wait(100.0)
        assert timer.now() < before
    assert timer.seconds["features"] < 0


def test_what_was_not_asked_for_since_is_idle() -> None:
    memo = Memo()
    for name, size in (("old", 100), ("used", 20)):
        memo.once(name, lambda size=size: "x" * size)
    start = memo.uses
    memo.once("used", str)
    memo.once("new", lambda: "x" * 3)
    assert memo.idle(start) == 100


def test_a_memo_that_travels_is_empty_and_as_large() -> None:
    memo = Memo(most=50)
    memo.once("a", lambda: "x" * 20)
    copy = pickle.loads(pickle.dumps(memo))  # noqa: S301
    assert (copy.most, copy.once("a", lambda: "made anew")) == (50, "made anew")


def test_the_key_of_a_frame_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    memo, frame = Memo(), ROWS.copy()
    key = memo.rows_key(frame, ["text"])
    assert key == rows_key(ROWS[["text"]])
    monkeypatch.setattr(base, "rows_key", lambda X: "worked out")
    assert memo.rows_key(frame, ["text"]) == key
    assert memo.rows_key(frame, ["age"]) == "worked out"  # other columns
    assert memo.rows_key(frame.copy(), ["text"]) == "worked out"  # another frame


def test_cores_bound_every_pool_but_torchs() -> None:
    assert Context(threads=4).pool == 4
    assert Context(threads=4, cores=2).pool == 2
    assert Context(threads=1, cores=2).pool == 1
