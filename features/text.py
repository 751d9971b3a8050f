"""One text out of several columns."""

from __future__ import annotations

import string
from collections.abc import Sequence

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


def join_text(frame: pd.DataFrame, columns: Columns, template: str | None = None) -> list[str]:
    """One text a row.

    Without a template: the non-empty text columns, one a line, then (where `columns` holds a
    table too) its cells in words, `phases: PHASE2; sex: ALL`. With a template: its `{column}`
    fields filled in, missing values as empty strings; any column in `columns` may be named.
    """
    if template is not None:
        check_template(template, columns)
        names = template_fields(template)
        filled = [in_words(frame[name]) for name in names]
        return [
            template.format_map(dict(zip(names, row, strict=True)))
            for row in zip(*filled, strict=True)
        ]
    parts = [frame[name].tolist() for name in columns.text]
    if columns.tabular:
        parts.append(verbalise(frame, columns.tabular))
    return ["\n".join(text for text in row if text) for row in zip(*parts, strict=True)]


def cut(texts: Sequence[str], max_characters: int | None) -> list[str]:
    """The texts, each no longer than `max_characters` (None: as they are)."""
    return [text[:max_characters] for text in texts]


def verbalise(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The table cells of each row in words; missing cells are left out."""
    columns = [in_words(frame[name]) for name in names]
    return [
        "; ".join(
            f"{name.replace('_', ' ')}: {cell}"
            for name, cell in zip(names, row, strict=True)
            if cell
        )
        for row in zip(*columns, strict=True)
    ]


def in_words(column: pd.Series) -> list[str]:
    """Cells as strings: whole numbers without a point, dates as YYYY-MM-DD, missing as ""."""
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.strftime("%Y-%m-%d")
    elif pd.api.types.is_numeric_dtype(column):
        column = column.map("{:.10g}".format, na_action="ignore")
    return [
        "" if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)
    ]
