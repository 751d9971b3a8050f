"""Whole columns of strings at once: the rules of `cells`, where Python a cell would be too slow.

A column is an Arrow array of `large_string` without nulls: "" is missing. A coded column holds each
different cell once and a number a row, null where it is missing too, as a `DictionaryArray`; only
what says so takes one.
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
Ends = tuple[npt.NDArray[np.int64], Bytes, Bytes]

MARKED = ("brief_summary", "detailed_description", "eligibility_criteria", "primary_outcomes")
"""Columns in which the registry's CSV, JSON and AACT escape Markdown characters."""
_BLOCK = 1 << 19
"""Bytes scanned at once: with fewer, threads wait for Python's lock more than they scan."""
_ROWS = 1 << 13
"""Rows cleaned at once: they stay in the processor's cache, and sound parts are not copied."""
_LONGEST_ARTEFACT = 4
_THREADS = 2
_ESCAPED = r"\\([\\<>\[\]()^&*~_#`|!+.-])"
_SPACES = " \t\n\r\x0b\x0c"
_BLANK = np.isin(np.arange(256), list(_SPACES.encode()))
_LEADS = np.isin(np.arange(256), (0xC2, 0xE1, 0xE2, 0xE3))
"""By byte, whether it is an ASCII blank, and whether a blank outside ASCII may start with it.

Such a blank ends with any byte above 0x7f.
"""


def as_arrow(column: pd.Series | pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one Arrow array, nulls as "", without a copy where that can be."""
    found = stored(column)
    if found.type != pa.large_string():
        found = found.cast(pa.large_string())
    return without_nulls(found)


def stored(column: pd.Series | pa.Array | pa.ChunkedArray) -> pa.Array:
    """The column as one Arrow array of the type it has, coded or not."""
    found = column if isinstance(column, pa.Array | pa.ChunkedArray) else pa.array(column)
    if not isinstance(found, pa.ChunkedArray):
        return found
    return found.chunk(0) if found.num_chunks == 1 else found.combine_chunks()


def coded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """A column of any type of dictionary as a coded column of `large_string`."""
    found = stored(column.unify_dictionaries())
    codes = found.indices.cast(pa.int32())
    return pa.DictionaryArray.from_arrays(codes, as_arrow(found.dictionary))


def without_nulls(array: pa.Array) -> pa.Array:
    """`array` with "" for null: the same memory where every null is empty, as it mostly is."""
    if not array.null_count:
        return array
    if (pc.sum(pc.binary_length(array)).as_py() or 0) == len(_data(array)):
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
    """The column as pandas' `str` (a coded one stays coded), sharing its memory."""
    if isinstance(array, pa.DictionaryArray):
        return pd.Series(pd.arrays.ArrowExtensionArray(array), index=index)
    return pd.Series(array, index=index, dtype="str")


def concatenated(frames: list[pa.Table]) -> dict[str, pa.Array]:
    """The columns of tables with the same names, each as one array."""
    table = pa.concat_tables(frames)
    return {name: as_arrow(table[name]) for name in table.column_names}


def mapped(array: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """`change` on every cell, called once for each different one."""
    codes, unique = distinct(array)
    values = pa.array([change(cell) for cell in unique.to_pylist()], pa.large_string())
    return values.take(pa.array(codes))


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
    """Number of every cell (n,), and the different cells; of a column that may be coded."""
    numbered = array.dictionary_encode()
    return numbered.indices.to_numpy(zero_copy_only=False), numbered.dictionary


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
    parts = [array[start : start + _ROWS] for start in range(0, len(array), _ROWS)]
    done = [_cleaned(part) for part in parts]
    if all(new is old for new, old in zip(done, parts, strict=True)):
        return array
    return pa.concat_arrays(done)


def gathered(parts: Iterable[pa.Array], *, rows: int, room: int) -> pa.Array:
    """All parts as one array; each is copied while it is in the processor's cache.

    `rows` is their number of cells; `room`, a number of bytes, may be too small.
    """
    offsets, data = np.zeros(rows + 1, np.int64), np.empty(room, np.uint8)
    row = used = 0
    for part in parts:
        new = _data(part)
        if used + len(new) > len(data):
            data = np.concatenate([data[:used], np.empty(used + len(new), np.uint8)])
        data[used : used + len(new)] = new
        offsets[row : row + len(part) + 1] = _offsets(part) - _offsets(part)[0] + used
        row, used = row + len(part), used + len(new)
    if row != rows:
        raise ValueError(f"{row} cells, expected {rows}")
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data[:used])]
    return pa.Array.from_buffers(pa.large_string(), rows, buffers)


def _cleaned(array: pa.Array) -> pa.Array:
    """As `cleaned`; the array itself where nothing changes."""
    if not holds_any(array):
        return array
    if holds(array, 0x0D):
        array = pc.replace_substring(array, "\r\n", "\n")
    ends = _ends(array)
    if _spaced(ends):
        array = pc.ascii_trim(array, _SPACES)
        ends = _ends(array)
    suspects = _suspects(array, ends)
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


def matching(array: pa.Array, pattern: str) -> npt.NDArray[np.bool_]:
    """Which cells match the RE2 pattern as a whole: (n,)."""
    found = pc.match_substring_regex(array, rf"\A(?:{pattern})\z").to_numpy(zero_copy_only=False)
    return np.asarray(found)


def full(array: pa.Array) -> npt.NDArray[np.bool_]:
    """Which cells are not empty: (n,)."""
    return np.diff(_offsets(array)) > 0


def only(array: pa.Array, allowed: bytes) -> bool:
    """Whether every cell is made of one or more of these ASCII characters."""
    sound = np.isin(np.arange(256), list(allowed))
    return bool(full(array).all() and sound[_data(array)].all())


def holds(array: pa.Array, byte: int) -> bool:
    """Whether any cell has this ASCII character."""
    data = _data(array)
    return any((data[at : at + _BLOCK] == byte).any() for at in range(0, len(data), _BLOCK))


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


def _ends(array: pa.Array) -> Ends:
    """Places of the cells that hold something, with their first and last byte."""
    offsets, data = _offsets(array), _data(array)
    offsets = offsets - offsets[0]
    full = np.flatnonzero(np.diff(offsets))
    return full, data[offsets[:-1][full]], data[offsets[1:][full] - 1]


def _spaced(ends: Ends) -> bool:
    """Whether any cell has an ASCII blank at an end."""
    _, first, last = ends
    return bool(_BLANK[first].any() or _BLANK[last].any())


def _suspects(array: pa.Array, ends: Ends) -> npt.NDArray[np.bool_]:
    """Cells that `cells.text` might change, other than by line ends and ASCII blanks: (n,)."""
    suspects = np.zeros(len(array), dtype=bool)
    full, first, last = ends
    suspects[full[_LEADS[first] | (last > 0x7F)]] = True
    suspects[full[np.diff(_offsets(array))[full] <= _LONGEST_ARTEFACT]] = True
    controls = _controls(_data(array))
    suspects[_rows(array, controls)] = True
    return suspects


def _controls(data: Bytes) -> npt.NDArray[np.int64]:
    """Places of control characters other than tab and line feed."""
    found = []
    rooms = np.empty((2, min(_BLOCK + 1, len(data))), np.uint8)
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK + 1]  # two of them share a byte, for pairs of bytes
        spare, pair = rooms[:, : len(block)]
        # Extremes are found fastest. Less 0x0B, bytes below it come out large, as uint8 wraps
        # round; as int8, all above 0x7F are negative.
        np.subtract(block, 0x0B, out=spare)
        if spare.min() < 0x15 or block.min() < 0x09 or block.view(np.int8).max() == 0x7F:
            low = (block < 0x20) & (block != 0x0A) & (block != 0x09)
            found.append(start + np.flatnonzero(low | (block == 0x7F)))
        # U+0080 to U+009F are 0xC2 and a byte below 0xA0; that byte has neither of these two bits
        spare, pair = spare[1:], pair[1:]
        np.bitwise_xor(block[:-1], 0xC2, out=spare)
        spare |= np.bitwise_and(block[1:], 0x60, out=pair)
        if spare.min(initial=1) == 0:
            found.append(start + np.flatnonzero(spare == 0))
    return np.concatenate(found) if found else _NONE
