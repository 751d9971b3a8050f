"""Columns at once give what `cells` gives cell by cell."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmark.readers import cells, strings

CELLS = st.lists(
    st.text(st.characters(codec="utf-8"), max_size=6)
    | st.text(alphabet=" \t\n\r\x0b\x0c\x1c\x85\xa0\u2003\u3000\ufeff\x00\x7fa\u00e9", max_size=8)
    | st.sampled_from(["nan", " NaN ", "<NA>", "NaT", "a\r\n\r\nb", "\r", "\x80x", "\xc2"]),
    max_size=8,
)


def column(values: list[str]) -> pa.Array:
    return pa.array(values, pa.large_string())


@settings(max_examples=300, deadline=None)
@given(values=CELLS)
@example(values=["a\r", "\nb"])
@example(values=["", "\u00a0x", "x\u3000", "\x1cx"])
def test_cleaning_a_column_is_cleaning_its_cells(values):
    assert strings.cleaned(column(values)).to_pylist() == [cells.text(cell) for cell in values]


@settings(max_examples=300, deadline=None)
@given(values=CELLS)
def test_labels_of_a_column_are_those_of_its_cells(values):
    assert strings.labels(column(values)).to_pylist() == [cells.label(cell) for cell in values]


@settings(max_examples=150, deadline=None)
@given(values=CELLS, start=st.integers(0, 4))
def test_a_part_of_a_column_is_cleaned_alike(values, start):
    part = column(values)[start:]
    assert strings.cleaned(part).to_pylist() == [cells.text(cell) for cell in values[start:]]


def test_a_long_column_is_cleaned_across_its_blocks(monkeypatch):
    monkeypatch.setattr(strings, "_BLOCK", 65_536)
    values = ["x" * 70_000, "y" * 70_000 + "\u0085", "\x07z", "w" * 140_000]
    assert strings.cleaned(column(values)).to_pylist() == [
        values[0],
        "y" * 70_000,
        "z",
        values[3],
    ]


@pytest.mark.parametrize("control", ["\x00", "\x08", "\x0b", "\x0e", "\x1f", "\x7f", "\x85"])
def test_a_control_character_is_found_wherever_a_block_ends(monkeypatch, control):
    monkeypatch.setattr(strings, "_BLOCK", 4)
    values = ["a" * n + control + "z\u00a0\u00ffz" for n in range(1, 10)]
    expected = ["a" * n + "z\u00a0\u00ffz" for n in range(1, 10)]
    assert strings.cleaned(column(values)).to_pylist() == expected


def test_cells_that_are_not_empty_and_columns_of_allowed_characters_are_told():
    ids = column(["A1", "", "B"])
    assert strings.full(ids).tolist() == [True, False, True]
    assert strings.full(ids[1:]).tolist() == [False, True]
    assert not strings.only(ids, b"AB1")
    assert strings.only(ids[2:], b"B")
    assert not strings.only(ids[2:], b"A1")
    assert not strings.only(column(["A", "\u00c1"]), b"A")


def test_a_column_of_several_parts_is_cleaned_in_each_of_them():
    values = ["a"] * 8_192 + [" b\r\n", "\x07"] + ["c"] * 8_192 + ["nan"]
    expected = ["a"] * 8_192 + ["b", ""] + ["c"] * 8_192 + [""]
    assert strings.cleaned(column(values)).to_pylist() == expected


def test_a_clean_column_is_given_back_as_it_is():
    clean = column(["a" * 9, "", "a line\nand\ta tab"])
    assert strings.cleaned(clean) is clean


def test_parts_are_gathered_as_one_column_even_where_the_room_is_too_small():
    parts = [column(["ab", "", "c"])[1:], column([]), column(["d" * 9])]
    for room in (0, 1, 10, 50):
        whole = strings.gathered(parts, rows=3, room=room)
        whole.validate(full=True)
        assert whole.to_pylist() == ["", "c", "d" * 9]
    with pytest.raises(ValueError, match="3 cells, expected 4"):
        strings.gathered(parts, rows=4, room=9)


def test_a_coded_column_holds_each_cell_once_and_keeps_its_nulls():
    parts = [pa.array(["b", None]), pa.array(["a", "b"])]
    whole = strings.coded(pa.chunked_array([part.dictionary_encode() for part in parts]))
    assert whole.to_pylist() == ["b", None, "a", "b"]
    assert whole.dictionary.to_pylist() == ["b", "a"]
    numbers = strings.coded(pa.chunked_array([pa.array([12, None, 12]).dictionary_encode()]))
    assert numbers.to_pylist() == ["12", None, "12"]
    series = strings.as_series(whole, pd.RangeIndex(4)).drop(index=0)
    assert strings.stored(series).to_pylist() == [None, "a", "b"]
    assert strings.as_arrow(series).equals(column(["", "a", "b"]))


def test_matching_takes_the_whole_cell_and_ascii_digits_alone():
    cells_ = column(["A1", "A1x", "xA1", "A\u0661", "", "A1\n", "B"])
    expected = [True, False, False, False, False, False, True]
    assert strings.matching(cells_, r"A\d|B").tolist() == expected


DAYS = [["2013-02-03", "2013-02", "", "2013"], ["2013-02-30", "2013-02"], ["1799-01-01"]]


@pytest.mark.parametrize("values", DAYS)
def test_days_that_are_found_are_those_of_their_cells_and_the_others_are_named(values):
    days, odd = strings.iso_days(column(values))
    for place, cell in enumerate(values):
        if place not in odd:
            expected = np.datetime64("NaT") if cells.day(cell) is None else cells.day(cell)
            assert np.array_equal(days[place], np.datetime64(expected, "s"), equal_nan=True)
    assert odd.tolist() == {0: [3], 1: [0, 1], 2: [0]}[DAYS.index(values)]


def test_joining_keeps_rows_without_any_value():
    rows = strings.joined([column(["a", None, "", "d"]), column(["b", None, "x", None])], ", ")
    assert rows.to_pylist() == ["a, b", "", "x", "d"]
    assert strings.joined([column([None, None])], "|").to_pylist() == ["", ""]


def test_markdown_escapes_are_taken_off_and_other_backslashes_stay():
    values = [r"a \> b \[c\] \*d", r"C:\temp", "plain", r"\\x"]
    expected = ["a > b [c] *d", r"C:\temp", "plain", r"\x"]
    assert strings.unescaped(column(values)).to_pylist() == expected


def test_nulls_are_empty_cells_whatever_memory_they_hold():
    array = pa.array(["a", None, "c"], pa.string())
    assert strings.as_arrow(array).to_pylist() == ["a", "", "c"]
    masked = pc_masked(["a", "hidden", "c"], [False, True, False])
    assert strings.without_nulls(masked).to_pylist() == ["a", "", "c"]
    chunks = pa.chunked_array([pa.array([1, None]), pa.array([3])])
    assert strings.as_arrow(chunks).to_pylist() == ["1", "", "3"]


def pc_masked(values: list[str], missing: list[bool]) -> pa.Array:
    """An array whose null cells still have their bytes in the buffer."""
    full = column(values)
    valid = pa.array([not gone for gone in missing]).buffers()[1]
    return pa.Array.from_buffers(full.type, len(full), [valid, *full.buffers()[1:]])


def test_cells_with_a_byte_are_found_once_each():
    array = column(["a\0b\0", "", "c", "\0"])
    assert strings.rows_with(array, 0).tolist() == [0, 3]
    assert strings.rows_with(array[1:], 0).tolist() == [2]
    assert strings.rows_with(column(["a"]), 0).tolist() == []


def test_work_ahead_keeps_the_order():
    assert list(strings.ahead(lambda n: n * n, range(6))) == [(n, n * n) for n in range(6)]


def test_a_series_shares_the_memory_of_its_column():
    series = strings.as_series(column(["a", "b"]), pd.Index([5, 7]))
    assert series.to_dict() == {5: "a", 7: "b"}
    assert str(series.dtype) == "str"
