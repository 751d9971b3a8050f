"""From records with canonical names to `Rows`: typing, checking and listing what is wrong."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmark.dataset import REJECTED, Rows
from benchmark.readers import cells, strings
from benchmark.readers.canonical import COLUMNS, DATE, GROUP, ID, STATUS
from benchmark.readers.files import EMPTIED, Raw, Rejection, as_cell
from features.columns import Column, Kind
from features.errors import InputError, closest, one_line

Value = str | float | date
Parse = Callable[[str], Value | None]

BY_KIND: dict[Kind, Parse] = {
    "numeric": cells.number,
    "categorical": cells.label,
    "date": cells.day,
    "text": cells.text,
}
BY_NAME: dict[str, Parse] = {
    "overall_status": cells.status,
    "sponsor_class": cells.choice,
    "study_type": cells.choice,
    "phases": cells.phases,
    "allocation": cells.choice,
    "intervention_model": cells.choice,
    "masking": cells.masking,
    "primary_purpose": cells.choice,
    "observational_model": cells.choice,
    "time_perspective": cells.choice,
    "intervention_types": cells.choice,
    "sex": cells.sex,
    "age_groups": cells.age_groups,
    "healthy_volunteers": cells.boolean,
    "has_dmc": cells.boolean,
    "fda_regulated_drug": cells.boolean,
    "min_age": cells.age,
    "max_age": cells.age,
    "number_of_arms": cells.count,
    "enrollment_planned": cells.enrollment,
    "n_locations": cells.count,
    "enrollment": cells.enrollment,
    "enrollment_type": cells.choice,
    "start_date_type": cells.choice,
    "completion_date_type": cells.choice,
}
EXTRAS = (
    STATUS, "enrollment_type", "start_date_type", "completion_date_type", "source", "acronym",
    "collaborators",
)  # fmt: skip
"""Columns that are kept as strings where a file has them, and are no inputs."""

_PLAIN = (string.ascii_uppercase + string.digits + "_.:-").encode()
"""Characters of an id that needs no change."""


def rename(raw: Raw, known: Mapping[str, str]) -> Raw:
    """`raw` with only the columns that `known` maps (from a name in lower case) to a new name.

    Raises `InputError` if two columns map to one name.
    """
    names: dict[str, str] = {}
    for name in raw.frame.columns:
        new = known.get(" ".join(name.lower().split()))
        if new is None:
            continue
        if new in names.values():
            first = next(old for old in names if names[old] == new)
            raise InputError(
                f"{raw.path.name}: columns {first!r} and {name!r} hold the same thing ({new})",
                "one of them",
                "drop the other",
            )
        names[name] = new
    cleaned = frozenset(new for name, new in names.items() if name in raw.cleaned)
    return replace(raw, frame=raw.frame[list(names)].rename(columns=names), cleaned=cleaned)


def missing_column(raw: Raw, name: str, what: str = "") -> InputError:
    """The error for a column that the file lacks, with its nearest neighbours."""
    near = {str(header).lower(): str(header) for header in raw.frame.columns}
    shown = ", ".join(list(near.values())[:12]) + (", …" if len(near) > 12 else "")
    guess = closest(name.lower(), near)
    for lower, header in near.items():
        guess = guess.replace(repr(lower), repr(header))
    return InputError(
        f"{raw.path.name} has no column {name!r}" + (f" ({what})" if what else ""),
        f"it among its columns: {shown}",
        guess or "check the delimiter and the name",
    )


def assemble(
    raw: Raw,
    *,
    id_pattern: str | None = None,
    required: Sequence[str] = (ID, STATUS),
    own: Mapping[str, Parse] | None = None,
) -> Rows:
    """Typed rows out of records whose columns have canonical names.

    A row whose id is missing, does not match `id_pattern` or stands twice is left out; a cell that
    cannot be parsed becomes missing and its row stays; both are listed in `Rows.rejected`. Of the
    rows with one id the last updated is kept, else the first. Unknown columns are dropped. `own`
    parses columns in a format's own way, or keeps further ones as strings that are no inputs.
    Raises `InputError` if more than half of the rows are bad, or a required column is missing.
    """
    for name in required:
        if name not in raw.frame:
            raise missing_column(raw, name)
    columns = tuple(column for column in COLUMNS if column.name in raw.frame)
    parsers = {column.name: BY_NAME.get(column.name, BY_KIND[column.kind]) for column in columns}
    parsers |= {name: BY_NAME.get(name, cells.label) for name in EXTRAS if name in raw.frame}
    if own is not None:
        parsers |= {name: parse for name, parse in own.items() if name in raw.frame}
    raw, ids = with_ids(raw, normal_ids(raw.frame[ID]), id_pattern)
    frame, emptied = typed(raw, columns, parsers, ids)
    raw, frame = without_doubles(raw, frame, ids, date_column="last_update_posted")
    return Rows(
        frame.set_axis(pd.Index(ids[frame.index], name=ID)),
        columns,
        rejected_frame(raw, emptied),
        group=GROUP if GROUP in frame else None,
        date=DATE if DATE in frame else None,
    )


def normal_id(cell: str) -> str:
    """An id without control characters and blanks around it, in upper case."""
    return (cells.label(cell) or "").upper()


def normal_ids(column: pd.Series) -> pd.Series:
    """`normal_id` of every cell; a column of plain upper-case ids is given back as it is."""
    if strings.only(strings.as_arrow(column), _PLAIN):
        return column
    return column.map(normal_id)


def with_ids(raw: Raw, ids: pd.Series, pattern: str | None = None) -> tuple[Raw, pd.Series]:
    r"""Only the records whose id (from the series' column) is there and matches, and their ids.

    `pattern` is one of RE2, in which `\d` is an ASCII digit; None takes every id that is not "".
    """
    column = strings.as_arrow(ids)
    bad = ids[~(strings.full(column) if pattern is None else strings.matching(column, pattern))]
    reasons = {
        int(row): f"{ids.name}: {shown(id_)} is no id" + (f" like {pattern}" if id_ else "")
        for row, id_ in zip(bad.index, bad, strict=True)
    }
    raw = raw.leave_out(reasons, ids)
    raw.check_share()
    return raw, ids.loc[raw.frame.index]


def typed(
    raw: Raw, columns: Sequence[Column], parsers: Mapping[str, Parse], ids: pd.Series
) -> tuple[pd.DataFrame, list[Rejection]]:
    """The parsed columns, and a rejection for every cell that had to be left empty.

    `parsers` names the columns to take; those that are not in `columns` become strings.
    """
    kinds = {column.name: column.kind for column in columns}
    index, emptied = raw.frame.index, list[Rejection]()
    series: dict[str, pd.Series] = {}
    found = {name: strings.stored(raw.frame[name]) for name in parsers}

    def column(name: str) -> tuple[pd.Series, dict[int, str]]:
        if parsers[name] is cells.text and name in raw.cleaned:
            return raw.frame[name], {}
        if parsers[name] is cells.text:
            return strings.as_series(strings.cleaned(strings.as_arrow(found[name])), index), {}
        values, bad = parsed(found[name], parsers[name], kinds.get(name, "categorical"))
        return values.set_axis(index), bad

    # the largest first: the last to end shall be a short one
    order = sorted(parsers, key=lambda name: found[name].nbytes, reverse=True)
    done = dict(zip(order, strings.each(column, order), strict=True))
    for name in parsers:
        series[name], bad = done[name]
        for row, (place, why) in zip(index[list(bad)], bad.items(), strict=True):
            reason = f"{EMPTIED}{name}: {shown(found[name][place].as_py())} is {why}"
            emptied.append(Rejection(int(row), ids[row], reason))
    return pd.DataFrame(series, index=index), emptied


def parsed(column: pa.Array, parse: Parse, kind: Kind) -> tuple[pd.Series, dict[int, str]]:
    """The value of every cell in the type that `Column` states, and why bad ones are, by place.

    The column may be coded. `parse` is called once for each different cell.
    """
    numbered = column.dictionary_encode()
    values, reasons = _each(numbered.dictionary, parse)
    bad: dict[int, str] = {}
    if reasons:
        codes = numbered.indices.to_numpy(zero_copy_only=False)
        places = np.flatnonzero(np.isin(codes, list(reasons)))
        bad = {int(place): reasons[int(codes[place])] for place in places}
    return _by_code(as_series(values, kind), numbered.indices, kind), bad


def _by_code(values: pd.Series, codes: pa.Array, kind: Kind) -> pd.Series:
    """The value of every code (n,); a null is a missing value, "" for a text."""
    found = pc.take(pa.array(values), codes, boundscheck=False)
    if kind in ("numeric", "date"):
        return pd.Series(found.to_numpy(zero_copy_only=False))
    return pd.Series(pc.fill_null(found, "") if kind == "text" else found, dtype="str")


def _each(
    unique: pa.Array, parse: Parse
) -> tuple[npt.NDArray[np.generic] | pa.Array, dict[int, str]]:
    """The value of every cell, and why the bad ones are, by place."""
    if parse is cells.label:
        return strings.labels(unique), {}
    values: npt.NDArray[Any] = np.full(len(unique), None, object)
    odd = np.arange(len(unique))
    if parse is cells.day:
        values, odd = strings.iso_days(unique)
    reasons: dict[int, str] = {}
    for place, cell in zip(odd.tolist(), unique.take(pa.array(odd)).to_pylist(), strict=True):
        try:
            values[place] = parse(cell)
        except ValueError as error:
            reasons[place] = str(error)
    return values, reasons


def as_series(values: npt.NDArray[np.generic] | pa.Array, kind: Kind) -> pd.Series:
    """Values in the type that `Column` states for a kind."""
    if kind == "numeric":
        return pd.Series(values.astype("float64"))
    if kind == "date":
        return pd.Series(values.astype("datetime64[s]"))
    if kind == "text":  # a cell that could not be parsed
        values = np.where(values == None, "", values)  # noqa: E711
    return pd.Series(values, dtype="str")


def without_doubles(
    raw: Raw, frame: pd.DataFrame, ids: pd.Series, *, date_column: str | None = None
) -> tuple[Raw, pd.DataFrame]:
    """One row an id: the one with the latest `date_column` if known, else the first."""
    double = ids[ids.duplicated(keep=False)]
    if double.empty:
        return raw, frame
    order = double
    if date_column is not None and date_column in frame:
        dates = frame.loc[double.index, date_column]
        order = double.loc[dates.sort_values(ascending=False, kind="stable").index]
    kept = {id_: int(row) for row, id_ in zip(order.index[::-1], order[::-1], strict=True)}
    lost = [int(row) for row, id_ in zip(double.index, double, strict=True) if kept[id_] != row]
    winners = [kept[ids[row]] for row in lost]
    conflicts = _conflicts(frame, lost, winners)
    reasons = {
        row: f"{ids[row]} stands in row {winner} too, {conflict}"
        for row, winner, conflict in zip(lost, winners, conflicts, strict=True)
    }
    return raw.leave_out(reasons, ids), frame.drop(index=lost)


def _conflicts(frame: pd.DataFrame, lost: Sequence[int], kept: Sequence[int]) -> list[str]:
    """For each pair of rows, which columns differ, and how the first two do."""
    found: list[list[str]] = [[] for _ in lost]
    for name in sorted(frame.columns, key=lambda name: name != STATUS):
        both = (frame.loc[list(rows), name].tolist() for rows in (lost, kept))
        for names, here, there in zip(found, *both, strict=True):
            if as_cell(here) != as_cell(there):
                pair = f" ({shown(here)} here, {shown(there)} there)" if len(names) < 2 else ""
                names.append(name + pair)
    return [
        f"which is kept; it differs in {', '.join(names)}" if names else "with the same content"
        for names in found
    ]


def shown(value: object) -> str:
    """A value as it is quoted in a reason."""
    cell = as_cell(value)
    return f"'{one_line(cell, 60)}'" if cell else "nothing"


def rejected_frame(raw: Raw, emptied: Sequence[Rejection]) -> pd.DataFrame:
    """`Rows.rejected`: the rows left out and the cells left empty, in the order of the file."""
    gone = {entry.row for entry in raw.rejected}
    entries = [*raw.rejected, *(entry for entry in emptied if entry.row not in gone)]
    entries.sort(key=lambda entry: entry.row)
    listed = pd.DataFrame(entries, columns=REJECTED)
    return listed.astype({"row": "int64", "id": "str", "reason": "str"})
