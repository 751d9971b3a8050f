"""Reader `table`: any CSV or Parquet file whose input columns and target the config declares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import pandas as pd
from pydantic import Field, model_validator

from benchmark.dataset import Rows
from benchmark.readers import cells
from benchmark.readers.assembly import (
    BY_KIND,
    Parse,
    missing_column,
    rejected_frame,
    shown,
    typed,
    with_ids,
    without_doubles,
)
from benchmark.readers.files import EMPTIED, FileOptions, Raw, Rejection, as_cell, read_raw
from features.columns import Column, Kind, KnownAt
from features.errors import InputError, one_line, unknown_name

KINDS: tuple[Kind, ...] = ("numeric", "categorical", "date", "text")
PARSERS: dict[Kind, Parse] = BY_KIND | {"numeric": cells.number_or_flag}


class Options(FileOptions):
    """The columns of a table; those that are not declared are no inputs.

    Without `id`, rows are called `row-000001` by their place in the file. `time` orders a temporal
    split and `group` a group split; both need not be inputs. `positive` says which of two target
    values is the positive one; 0/1 and false/true need none. A list as `target` names columns of 0
    and 1 (or false and true): labels, of which a row may have several. `known_at` says when each
    column is known, or is one level for all of them; `registration` is assumed for a column that it
    does not name, and the audit lists these.
    """

    id: str | None = None
    text: list[str] = Field(default_factory=list)
    numeric: list[str] = Field(default_factory=list)
    categorical: list[str] = Field(default_factory=list)
    date: list[str] = Field(default_factory=list)
    group: str | None = None
    time: str | None = None
    target: str | list[str]
    positive: str | int | float | bool | None = None
    known_at: KnownAt | dict[str, KnownAt] = Field(default_factory=dict)

    @property
    def targets(self) -> tuple[str, ...]:
        """The target column, or all label columns."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)

    def columns(self) -> tuple[Column, ...]:
        """The declared inputs, in the order numeric, categorical, date, text."""
        return tuple(
            Column(name, kind, self.clock.get(name, "registration"))
            for kind in KINDS
            for name in getattr(self, kind)
        )

    @property
    def clock(self) -> dict[str, KnownAt]:
        """The declared level of each column that has one."""
        if isinstance(self.known_at, dict):
            return self.known_at
        return {name: self.known_at for kind in KINDS for name in getattr(self, kind)}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [column.name for column in self.columns()]
        if not names:
            raise InputError(
                "no input column is declared",
                "at least one",
                "fill text, numeric, categorical or date",
            )
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(f"column {twice!r} is declared twice", "one kind", "drop one of them")
        self._check_target(names)
        if self.time is not None and self.time in {*self.targets, *names} - set(self.date):
            raise InputError(
                f"time {self.time!r} is declared as something other than a date",
                "a date column",
                "list it under `date`, or under nothing else",
            )
        for name in self.clock:
            if name not in names:
                raise unknown_name("column in known_at", name, names)
        return self

    def _check_target(self, inputs: Sequence[str]) -> None:
        for role, other in (("input", inputs), ("id", [self.id]), ("group", [self.group])):
            for name in self.targets:
                if name in other:
                    raise InputError(
                        f"target {name!r} is declared as {role} too",
                        "a target that the model does not see",
                        f"declare another column as {role}",
                    )
        if isinstance(self.target, str):
            return
        if len(set(self.target)) < max(2, len(self.target)):
            raise InputError(
                f"target: {self.target}",
                "one column, or a list of two or more different ones",
                "write `target: name` for a single one",
            )
        if self.positive is not None:
            raise InputError(
                f"positive {as_cell(self.positive)!r} with several target columns",
                "1 or true in each of them where a row has the label",
                "drop `positive`",
            )


def read(options: Options) -> Rows:
    """All rows with an id and a target; the target is kept as a string column, labels as 0 and 1.

    A row with a label that is missing or neither 0 nor 1 is left out and listed. A cell that is no
    number or date where one is declared becomes missing and is listed. Raises `InputError` for a
    declared column that the file lacks, for a column most of whose cells do not fit its kind, and
    for two target values of which none is known to be the positive one.
    """
    raw = read_raw(options)
    columns = options.columns()
    others = [name for name in (options.id, options.group, options.time) if name is not None]
    for name in [*options.targets, *(column.name for column in columns), *others]:
        if name not in raw.frame:
            raise missing_column(raw, name)
    raw, ids = with_ids(raw, _ids(raw, options.id))
    raw = _with_target(raw, options, ids)
    ids = ids.loc[raw.frame.index]
    taken = _taken(options)
    parsers = {column.name: PARSERS[column.kind] for column in taken}
    frame, emptied = typed(raw, taken, parsers, ids)
    _check_kinds(raw, taken, emptied)
    raw, frame = without_doubles(raw, frame, ids)
    only_date = options.date[0] if len(options.date) == 1 else None
    target = options.target if isinstance(options.target, str) else options.targets
    return Rows(
        frame.set_axis(pd.Index(ids[frame.index], name="id")),
        columns,
        rejected_frame(raw, emptied),
        group=options.group,
        date=options.time if options.time is not None else only_date,
        target=target,
        undeclared=tuple(c.name for c in columns if c.name not in options.clock),
        positive=None
        if isinstance(target, tuple)
        else positive_class(target, frame[target].unique().tolist(), options.positive),
    )


def _taken(options: Options) -> list[Column]:
    """The inputs, and before them the target, group and time where these are none."""
    inputs = options.columns()
    kind: Kind = "categorical" if isinstance(options.target, str) else "numeric"
    roles = [Column(name, kind) for name in options.targets]
    if options.group is not None:
        roles.append(Column(options.group, "categorical"))
    if options.time is not None:
        roles.append(Column(options.time, "date"))
    names = {column.name for column in inputs}
    return [*(column for column in roles if column.name not in names), *inputs]


def _ids(raw: Raw, name: str | None) -> pd.Series:
    """The ids of all records, from a column or from their places; "" if missing."""
    if name is None:
        found = [f"row-{row:06d}" for row in raw.frame.index]
        return pd.Series(found, index=raw.frame.index, dtype="str", name="row")
    return raw.frame[name].map(lambda cell: cells.label(cell) or "")


def _with_target(raw: Raw, options: Options, ids: pd.Series) -> Raw:
    """Only the records that have a target, or a sound value in every label column."""
    parse = cells.label if isinstance(options.target, str) else cells.zero_or_one
    for name in options.targets:
        raw = raw.leave_out(_without(raw, name, parse), ids)
        if raw.frame.empty:
            raise InputError(
                f"{raw.path.name}: no row has a value in the target column {name!r}",
                "labelled rows",
                "check `target`",
            )
    return raw


def _without(raw: Raw, name: str, parse: Parse) -> dict[int, str]:
    """Places of the records without a sound target, and why; `InputError` if most are unsound."""
    missing: dict[int, str] = {}
    bad: dict[int, str] = {}
    for row, cell in zip(raw.frame.index, raw.frame[name], strict=True):
        try:
            if parse(cell) is None:
                missing[int(row)] = f"{name}: no target"
        except ValueError as error:
            bad[int(row)] = f"{name}: {shown(cell)} is {error}"
    filled = len(raw.frame) - len(missing)
    if 2 * len(bad) > filled:
        raise InputError(
            f"{raw.path.name}: {len(bad)} of {filled} cells of the label column cannot be used "
            f"(first: {next(iter(bad.values()))})",
            "0 or 1, or false or true",
            "name one column of classes as `target`, or mend the cells",
        )
    return missing | bad


def _check_kinds(raw: Raw, columns: Sequence[Column], emptied: Sequence[Rejection]) -> None:
    """Raise `InputError` for a column declared as numeric or date that mostly is neither."""
    for column in columns:
        start = f"{EMPTIED}{column.name}: "
        bad = [entry.reason for entry in emptied if entry.reason.startswith(start)]
        filled = int((raw.frame[column.name].str.strip() != "").sum())
        if 2 * len(bad) > filled:
            raise InputError(
                f"{raw.path.name}: {len(bad)} of {filled} cells of the {column.kind} column "
                f"{column.name!r} cannot be read (first: {bad[0].removeprefix(start)})",
                "at most half",
                "declare it as categorical or text, or mend the cells",
            )


def positive_class(
    target: str, classes: Sequence[str], positive: str | int | float | bool | None
) -> str | None:
    """The positive one of the target's values as the file spells it; None if not binary."""
    listed = ", ".join(repr(one_line(value, 40)) for value in sorted(classes)[:10])
    if positive is not None:
        hits = [value for value in classes if value == as_cell(positive)]
        hits = hits or [value for value in classes if _plain(value) == _plain(as_cell(positive))]
        if isinstance(positive, bool):  # what YAML makes of yes and no
            hits = hits or [v for v in classes if v.lower() == ("yes" if positive else "no")]
        if len(classes) > 2 or (len(classes) == 2 and len(hits) != 1):
            raise InputError(
                f"positive {as_cell(positive)!r} for target {target!r}",
                f"one of two values; it has {len(classes)}: {listed}",
                "set `positive` to one of them, or drop it where there are more than two",
            )
        return hits[0] if hits else as_cell(positive)
    if len(classes) != 2:
        return None
    for value in classes:
        if _plain(value) in {"1", "true"} and {_plain(other) for other in classes} in (
            {"0", "1"},
            {"false", "true"},
        ):
            return value
    raise InputError(
        f"target {target!r} has the values {listed}",
        "to know which of them is positive",
        f'set `positive: "{one_line(sorted(classes)[0], 40)}"` or the other',
    )


def _plain(value: str) -> str:
    """A target value without its spelling: `1.0` is `1` and `True` is `true`."""
    try:
        parsed = cells.number(value)
    except ValueError:
        parsed = None
    return value.lower() if parsed is None else as_cell(parsed)
