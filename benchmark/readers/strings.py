"""Whole columns of strings at once: the rules of `cells`, where Python a cell would be too slow.

A column is an Arrow array of `large_string` without nulls: "" is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmark.readers import cells

T = TypeVar("T")
R = TypeVar("R")
Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

MARKED = ("brief_summary", "detailed_description", "eligibility_criteria", "primary_outcomes")
"""Columns in which the registry's CSV, JSON and AACT escape Markdown characters."""
_BLOCK = 1 << 17
"""Bytes scanned at once, so that they stay in the processor's cache."""
_LONGEST_ARTEFACT = 4
_THREADS = 2
_ESCAPED = r"\\([\\<>\[\]()^&*~_#`|!+.-])"
_SPACES = " \t\n\r\x0b\x0c"


def as_arrow(column: pd.Series | pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one Arrow array, nulls as "", without a copy where that can be."""
    found = column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column)
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    if found.type != pa.large_string():
        found = found.cast(pa.large_string())
    return without_nulls(found)


def without_nulls(array: pa.Array) -> pa.Array:
    """`array` with "" for null: the same memory where every null is empty, as it mostly is."""
    if not array.null_count:
        return array
    empty = array.is_null().to_numpy(zero_copy_only=False)
    if not np.diff(_offsets(array))[empty].any():
        offsets, data = array.buffers()[1:]
        return pa.Array.from_buffers(
            array.type, len(array), [None, offsets, data], offset=array.offset
        )
    return pc.fill_null(array, "")


def each(work: Callable[[T], R], things: Iterable[T]) -> list[R]:
    """`work` on every thing, in order; Arrow and NumPy leave Python's lock, so threads pay."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, things))


def ahead(work: Callable[[T], R], things: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Every thing with its `work`, in order; threads are a few things ahead of the caller."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for thing in things:
            waiting.append((thing, pool.submit(work, thing)))
            if len(waiting) > _THREADS:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def as_series(array: pa.Array, index: pd.Index) -> pd.Series:
    """The column as pandas' `str`, sharing its memory."""
    return pd.Series(array, index=index, dtype="str")


def concatenated(frames: list[pa.Table]) -> dict[str, pa.Array]:
    """The columns of tables with the same names, each as one array."""
    table = pa.concat_tables(frames)
    return {name: as_arrow(table[name]) for name in table.column_names}


def mapped(array: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """`change` on every cell, called once for each different one."""
    coded = array.dictionary_encode()
    values = pa.array([change(cell) for cell in coded.dictionary.to_pylist()], pa.large_string())
    return values.take(coded.indices)


def joined(columns: Sequence[pa.Array], between: str) -> pa.Array:
    """The cells of each row that hold something, joined: (n,).

    Arrow's own way (`null_handling="skip"`) drops rows without any value, as of Arrow 26.
    """
    found, *others = (pc.fill_null(column, "") for column in columns)
    for column in others:
        both = pc.and_(pc.not_equal(found, ""), pc.not_equal(column, ""))
        middle = pc.if_else(both, pa.scalar(between, found.type), pa.scalar("", found.type))
        found = pc.binary_join_element_wise(found, middle, column, pa.scalar("", found.type))
    return found


def distinct(array: pa.Array) -> tuple[npt.NDArray[np.int32], pa.Array]:
    """Number of every cell (n,), and the different cells in the order they first come."""
    coded = array.dictionary_encode()
    return coded.indices.to_numpy(zero_copy_only=False), coded.dictionary


def labels(array: pa.Array) -> pa.Array:
    """What `cells.label` gives for every cell, null where it is None."""
    array = cleaned(array)
    odd = pc.match_substring_regex(array, "  |[^ -~]")  # white space other than single blanks
    if pc.any(odd).as_py():
        fixed = [" ".join(cell.split()) for cell in array.filter(odd).to_pylist()]
        array = pc.replace_with_mask(array, odd, pa.array(fixed, pa.large_string()))
    return pc.if_else(pc.equal(array, ""), pa.scalar(None, pa.large_string()), array)


def iso_days(array: pa.Array) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.int64]]:
    """What `cells.day` gives for YYYY-MM-DD, YYYY-MM and "" (NaT), and places of all else."""
    sound = pc.match_substring_regex(array, r"^((1[89]|20)\d\d-\d\d(-\d\d)?)?$")
    cells_ = pc.if_else(sound, array, "").to_pylist()
    try:
        days = np.array(cells_, dtype="datetime64[s]")
    except ValueError:  # a day such as 2013-02-30 among them
        return np.full(len(array), "NaT", "datetime64[s]"), np.arange(len(array))
    return days, np.flatnonzero(~sound.to_numpy(zero_copy_only=False))


def cleaned(array: pa.Array) -> pa.Array:
    """What `cells.text` gives for every cell.

    Line ends and blanks are changed for the whole column; only cells that hold another control
    character, a non-ASCII character at an end, or an artefact such as `nan` go through Python.
    """
    if not len(array) or not len(_data(array)):
        return array
    if holds(array, 0x0D):
        array = pc.replace_substring(array, "\r\n", "\n")
    if _spaced(array):
        array = pc.ascii_trim(array, _SPACES)
    suspects = _suspects(array)
    if not suspects.any():
        return array
    held = array.filter(pa.array(suspects))
    fixed = pa.array([cells.text(cell) for cell in held.to_pylist()], pa.large_string())
    return array if fixed == held else pc.replace_with_mask(array, pa.array(suspects), fixed)


def unescaped(array: pa.Array) -> pa.Array:
    r"""The texts without the backslashes that the registry puts before `<`, `>`, `[`, `*` ...

    Its CSV and JSON carry Markdown (`\>= 18 years`), its XML does not.
    """
    rows = rows_with(array, 0x5C)
    if not len(rows):
        return array
    marked = np.zeros(len(array), dtype=bool)
    marked[rows] = True
    fixed = pc.replace_substring_regex(array.take(pa.array(rows)), _ESCAPED, r"\1")
    return pc.replace_with_mask(array, pa.array(marked), fixed)


def holds(array: pa.Array, byte: int) -> bool:
    """Whether any cell has this ASCII character."""
    data = _data(array)
    return any(
        np.count_nonzero(data[start : start + _BLOCK] == byte)
        for start in range(0, len(data), _BLOCK)
    )


def holds_any(array: pa.Array) -> bool:
    """Whether any cell is not empty."""
    return len(_data(array)) > 0


def rows_with(array: pa.Array, byte: int) -> npt.NDArray[np.int64]:
    """Places of the cells that have this ASCII character."""
    data = _data(array)
    if not len(data) or data.min() > byte or not holds(array, byte):
        return _NONE
    return _rows(array, np.flatnonzero(data == byte))


_NONE: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)


def _offsets(array: pa.Array) -> Offsets:
    """Where each cell starts in the buffer, and where the last one ends: (n + 1,)."""
    buffer = array.buffers()[1]
    found = np.frombuffer(buffer, np.int64, len(array) + 1, 8 * array.offset)
    return np.asarray(found)


def _data(array: pa.Array) -> Bytes:
    """The bytes of all cells, one after the other."""
    if not len(array):
        return np.zeros(0, dtype=np.uint8)
    offsets, buffer = _offsets(array), array.buffers()[2]
    if buffer is None or offsets[0] == offsets[-1]:
        return np.zeros(0, dtype=np.uint8)
    return np.frombuffer(buffer, np.uint8, int(offsets[-1] - offsets[0]), int(offsets[0]))


def _rows(array: pa.Array, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The cells that the bytes at these places of `_data` belong to, each once."""
    offsets = _offsets(array)
    return np.unique(np.searchsorted(offsets - offsets[0], places, side="right") - 1)


def _ends(array: pa.Array) -> tuple[npt.NDArray[np.int64], Bytes, Bytes]:
    """Places of the cells that hold something, with their first and last byte."""
    offsets, data = _offsets(array), _data(array)
    offsets = offsets - offsets[0]
    full = np.flatnonzero(np.diff(offsets))
    return full, data[offsets[:-1][full]], data[offsets[1:][full] - 1]


def _spaced(array: pa.Array) -> bool:
    """Whether any cell has an ASCII blank at an end."""
    _, first, last = _ends(array)
    spaces = np.frombuffer(_SPACES.encode(), np.uint8)
    return bool(np.isin(first, spaces).any() or np.isin(last, spaces).any())


def _suspects(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Cells that `cells.text` might change, other than by line ends and ASCII blanks: (n,)."""
    suspects = np.zeros(len(array), dtype=bool)
    full, first, last = _ends(array)
    # Blanks outside ASCII start with one of four bytes and end with any above 0x7f.
    suspects[full[np.isin(first, (0xC2, 0xE1, 0xE2, 0xE3)) | (last > 0x7F)]] = True
    suspects[full[np.diff(_offsets(array))[full] <= _LONGEST_ARTEFACT]] = True
    controls = _controls(_data(array))
    suspects[_rows(array, controls)] = True
    return suspects


def _controls(data: Bytes) -> npt.NDArray[np.int64]:
    """Places of control characters other than tab and line feed."""
    found = []
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        low = block < 0x20
        fine = np.count_nonzero(block == 0x0A)
        if np.count_nonzero(low) > fine and np.count_nonzero(low) > fine + np.count_nonzero(
            block == 0x09
        ):
            found.append(start + np.flatnonzero(low & (block != 0x0A) & (block != 0x09)))
        if np.count_nonzero(block == 0x7F):
            found.append(start + np.flatnonzero(block == 0x7F))
        two = data[start : start + _BLOCK + 1]  # the first byte may end this block
        if np.count_nonzero(pairs := (two[:-1] == 0xC2) & (two[1:] < 0xA0)):
            found.append(start + np.flatnonzero(pairs))
    return np.concatenate(found) if found else _NONE
