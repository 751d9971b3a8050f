"""What a column holds, when its value is known, and which columns a model may see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["numeric", "categorical", "date", "text"]
KnownAt = Literal["registration", "during", "after"]
Inputs = Literal["tabular", "text", "both", "none"]

KNOWN_AT: tuple[KnownAt, ...] = get_args(KnownAt)


@dataclass(frozen=True)
class Column:
    """One input column.

    In the frames that models get, `numeric` is float64 with NaN for missing, `categorical` is a
    string with a missing value, `date` is datetime64 with NaT, and `text` is a string, "" if
    missing.
    """

    name: str
    kind: Kind
    known_at: KnownAt = "registration"


@dataclass(frozen=True)
class Columns:
    """Names of the columns a model may see, by kind and in a fixed order."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    text: tuple[str, ...] = ()

    @classmethod
    def of(cls, columns: Iterable[Column], as_of: KnownAt = "registration") -> Columns:
        """The columns whose values are known at the level `as_of` or before it."""
        level = KNOWN_AT.index(as_of)
        known = [column for column in columns if KNOWN_AT.index(column.known_at) <= level]
        return cls(
            *(
                tuple(column.name for column in known if column.kind == kind)
                for kind in get_args(Kind)
            )
        )

    def select(self, inputs: Inputs) -> Columns:
        """Only the table, only the text, both, or nothing (`none`, for floors)."""
        if inputs == "both":
            return self
        if inputs == "text":
            return Columns(text=self.text)
        if inputs == "tabular":
            return Columns(self.numeric, self.categorical, self.date)
        return Columns()

    @property
    def tabular(self) -> tuple[str, ...]:
        """Names of all columns that are not text."""
        return self.numeric + self.categorical + self.date

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the table before the text."""
        return self.tabular + self.text
