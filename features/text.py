"""One text out of several columns."""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from features.columns import Columns
from features.errors import InputError, unknown_name


def template_fields(template: str) -> list[str]:
    """Names of the columns that a template such as `"TITLE: {brief_title}"` asks for.

    Raises `InputError` for a template that cannot be read or asks for no column.
    """
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    except ValueError as error:
        raise InputError(
            f"template {template!r}: {error}", "text with {column} in it", "write {{ for a brace"
        ) from None
    if not names:
        raise InputError(f"template {template!r} names no column", "at least one {column}")
    return names


def check_template(template: str | None, columns: Columns) -> None:
    """Raise `InputError` unless every field of the template is among the columns."""
    for name in template_fields(template) if template is not None else ():
        if name not in columns.names:
            raise unknown_name("column in the template", name, columns.names)


class Part(NamedTuple):
    """A piece of a row's text, and the column that it was written from (None: from none)."""

    field: str | None
    text: str


def join_text(
    frame: pd.DataFrame,
    columns: Columns,
    template: str | None = None,
    *,
    table_first: bool = False,
) -> list[str]:
    """One text a row.

    Without a template: the non-empty text columns, one a line, then (where `columns` holds a
    table too) its cells in words, `phases: PHASE2; sex: ALL`; with `table_first` these cells come
    first. With a template: its `{column}` fields filled in, missing values as empty strings; any
    column in `columns` may be named.
    """
    if template is None and not columns.tabular:  # without parts it takes a seventh of the time
        cells = [frame[name].tolist() for name in columns.text]
        return ["\n".join([cell for cell in row if cell]) for row in zip(*cells, strict=True)]
    rows = text_parts(frame, columns, template, table_first=table_first)
    return ["".join([part.text for part in row]) for row in rows]


def text_parts(
    frame: pd.DataFrame,
    columns: Columns,
    template: str | None = None,
    *,
    table_first: bool = False,
) -> list[list[Part]]:
    """The pieces of each row's text as `join_text` writes it, in order and without gaps."""
    if template is not None:
        return _filled(frame, columns, template)
    lines = [_one_part(name, frame[name]) for name in columns.text]
    if columns.tabular:
        lines.insert(0 if table_first else len(lines), _cells(frame, columns.tabular))
    return [_between(Part(None, "\n"), row) for row in zip(*lines, strict=True)]


def _one_part(name: str, column: pd.Series) -> list[list[Part]]:
    return [[Part(name, text)] if text else [] for text in column]


def _cells(frame: pd.DataFrame, names: Sequence[str]) -> list[list[Part]]:
    """The table cells of each row in words; missing cells are left out."""
    shown = [
        [[Part(name, f"{name.replace('_', ' ')}: {cell}")] if cell else [] for cell in cells]
        for name, cells in ((name, in_words(frame[name])) for name in names)
    ]
    return [_between(Part(None, "; "), row) for row in zip(*shown, strict=True)]


def _between(separator: Part, groups: Iterable[list[Part]]) -> list[Part]:
    """All groups that are not empty, one after the other with `separator` in between."""
    joined: list[Part] = []
    for group in groups:
        if group:
            joined += [separator, *group] if joined else group
    return joined


def _filled(frame: pd.DataFrame, columns: Columns, template: str) -> list[list[Part]]:
    check_template(template, columns)
    filled: list[list[Part]] = []
    for before, name, form, conversion in string.Formatter().parse(template):
        if before:
            filled.append([Part(None, before)] * len(frame))
        if name:
            # one field on its own, so that str.format keeps doing what it does
            how = f"!{conversion}" if conversion else ""
            field = f"{{{name}{how}:{form}}}"
            cells = in_words(frame[name])
            filled.append([Part(name, field.format_map({name: cell})) for cell in cells])
    return [[part for part in row if part.text] for row in zip(*filled, strict=True)]


def cut(texts: Sequence[str], max_characters: int | None) -> list[str]:
    """The texts, each no longer than `max_characters` (None: as they are)."""
    return [text[:max_characters] for text in texts]


def check_by_field(by_field: bool, template: str | None) -> None:
    """Raise `InputError` for a template, which writes one text, where each column is to be one."""
    if by_field and template is not None:
        raise InputError(f"by_field with template {template!r}", "one of the two", "drop one")


def texts_by_field(
    frame: pd.DataFrame,
    columns: Columns,
    *,
    template: str | None = None,
    by_field: bool = False,
    max_characters: int | None = None,
) -> dict[str, list[str]]:
    """The texts a model reads: one a row under the name `text`, or each text column on its own.

    Each is cut to `max_characters`. Table cells come in by a template only.
    """
    if by_field:
        return {name: cut(frame[name].tolist(), max_characters) for name in columns.text}
    seen = columns.select("text") if template is None else columns
    return {"text": cut(join_text(frame, seen, template), max_characters)}


def verbalise(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The table cells of each row in words; missing cells are left out."""
    return ["".join([part.text for part in row]) for row in _cells(frame, names)]


def in_words(column: pd.Series) -> list[str]:
    """Cells as strings: whole numbers without a point, dates as YYYY-MM-DD, missing as ""."""
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.strftime("%Y-%m-%d")
    elif pd.api.types.is_numeric_dtype(column):
        column = column.map("{:.10g}".format, na_action="ignore")
    return [
        "" if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)
    ]
