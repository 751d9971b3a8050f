"""Python list literals in cells."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.readers.literals import LONGEST, joined, joined_or_plain, strings


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("['asthma']", ["asthma"]),
        ("""["crohn's disease", 'tea']""", ["crohn's disease", "tea"]),
        ("['a, b', 'c]', '[d']", ["a, b", "c]", "[d"]),
        (r"['it\'s', 'tab\there', '\xe9', '\u03b2']", ["it's", "tab here", "é", "β"]),
        ("[ 'a' ,'b', ]", ["a", "b"]),
        ("['nan', nan, None, 'None', '', ' b  c ']", ["None", "b c"]),
        ("[]", []),
        ("", []),
    ],
)
def test_a_list_of_strings_is_read(cell: str, expected: list[str]) -> None:
    assert strings(cell) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "asthma",
        "['a'",
        "['a' 'b']",
        "['a',, 'b']",
        "[['a']]",
        "[1, 2]",
        "('a',)",
        "__import__('os').system('true')",
        "[__import__('os')]",
        "['a'] + ['b']",
        "['a' for _ in 'b']",
        r"['\d']",
        r"['\U99999999']",
        "[" * 5000 + "]" * 5000,
        "[" + "-" * 100_000 + "1]",
        "['" + "a" * LONGEST + "']",
    ],
)
def test_anything_else_is_no_list_and_nothing_is_run(cell: str) -> None:
    with pytest.raises(ValueError, match=r"not a list such as|longer than"):
        strings(cell)


def test_a_long_cell_that_almost_is_a_list_takes_no_time() -> None:
    # without possessive quantifiers each of these would be tried in exponentially many ways
    for cell in ("[" + "'a', " * 30_000, "['" + "\\\\" * 60_000, "[" + " " * 100_000 + "x"):
        with pytest.raises(ValueError, match="not a list"):
            strings(cell)


def test_joining_keeps_the_order_and_each_string_once() -> None:
    assert joined("['tea', 'placebo', 'tea']") == "tea|placebo"


def test_a_plain_cell_stays_where_lists_are_optional() -> None:
    assert joined_or_plain("[18F]FDG PET") == "[18F]FDG PET"
    assert joined_or_plain("['Tea', 'Milk']") == "Tea|Milk"
    assert joined_or_plain("") == ""


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=5))
def test_every_list_that_python_writes_is_read_back(items: list[str]) -> None:
    clean = ["".join(c for c in item if c.isalnum() or c in "'\"\\,[] ") for item in items]
    expected = [" ".join(item.split()) for item in clean]
    expected = [item for item in expected if item not in ("", "nan", "NaN", "NaT", "<NA>")]
    assert strings(repr(clean)) == expected


@given(st.text(st.sampled_from("[]'\"\\, axnNoeu0(")))
def test_no_text_raises_anything_but_a_value_error(cell: str) -> None:
    with suppress(ValueError):
        assert all(strings(cell))
