"""Tables as numbers: one-hot for linear models, native categories for trees.

Both encoders learn from the rows of `fit` (train) only: levels, rare levels, medians, scales and
the latest date. Missing is a value: of its own level in a category, of its own column (one-hot)
or NaN (native) in a number. A cell that lists several values, `DRUG|OTHER`, is one level: on
8,000 trials a column for each value made a linear model no better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.columns import Columns

RARE, MISSING = "(rare)", "(missing)"
SEPARATOR = "|"
"""Between the values of a cell that lists several."""
_DATE_PARTS = ("year", "month", "age in days")
_TEXT_COUNTS = ("words", "characters", "lines")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Numbers:
    """How columns become numbers: what is learnt from train, and how each number is called.

    `fields` are the input columns behind `names`. `latest` holds the latest date of each date
    column, `counted` the text columns of which words, characters and lines are counted, `listed`
    those with cells of several values, which are counted. `tailed` tells which numbers can have a
    heavy tail by what they are: counts, and days between two dates.
    """

    columns: Columns
    names: tuple[str, ...]
    fields: tuple[str, ...]
    latest: Mapping[str, pd.Timestamp]
    counted: tuple[str, ...]
    listed: tuple[str, ...]
    tailed: npt.NDArray[np.bool_]

    @classmethod
    def fit(cls, frame: pd.DataFrame, columns: Columns, *, text_counts: bool = False) -> Self:
        """Learn from train; `text_counts` asks for the counts besides numbers and dates."""
        listed = columns.categorical + columns.text if text_counts else ()
        listed = tuple(
            name for name in listed if any(SEPARATOR in cell for cell in frame[name].fillna(""))
        )
        counted = columns.text if text_counts else ()
        names, fields = list(columns.numeric), list(columns.numeric)
        for name in columns.date:
            names += [f"{name} ({part})" for part in _DATE_PARTS]
            fields += [name] * len(_DATE_PARTS)
        tailed = len(names)
        for name in columns.date[1:]:
            names.append(f"{name} (days after {columns.date[0]})")
            fields.append(name)
        for name in counted:
            names += [f"{name} ({part})" for part in _TEXT_COUNTS]
            fields += [name] * len(_TEXT_COUNTS)
        names += [f"{name} (values)" for name in listed]
        fields += listed
        return cls(
            columns=columns,
            names=tuple(names),
            fields=tuple(fields),
            latest={name: frame[name].max() for name in columns.date},
            counted=counted,
            listed=listed,
            tailed=np.arange(len(names)) >= tailed,
        )

    def transform(self, frame: pd.DataFrame) -> Floats:
        """Numbers (n, len(names)); missing and infinite values are NaN.

        A date gives its year, its month (1 to 12) and the days from it to the latest of train:
        negative for later dates. Each date but the first also gives the days since the first (a
        trial registered after it ended is seldom one that stopped). A missing text has no words,
        a missing list no values.
        """
        values = [
            frame[name].to_numpy(np.float64, na_value=np.nan) for name in self.columns.numeric
        ]
        for name in self.columns.date:
            day = frame[name].dt
            for number in (day.year, day.month, _days(frame[name], self.latest[name])):
                values.append(number.to_numpy(np.float64, na_value=np.nan))
        for name in self.columns.date[1:]:
            days = _days(frame[self.columns.date[0]], frame[name])
            values.append(days.to_numpy(np.float64, na_value=np.nan))
        for name in self.counted:
            values += _text_counts(frame[name].fillna("").tolist())
        for name in self.listed:
            cells = frame[name].fillna("").tolist()
            values.append(np.array([_values(cell) for cell in cells], np.float64))
        matrix = np.column_stack(values) if values else np.empty((len(frame), 0))
        return np.where(np.isfinite(matrix), matrix, np.nan)


@dataclass(frozen=True)
class OneHot:
    """One-hot categories and standardised numbers, for linear models.

    `names` are those of the output columns, `fields` the input column behind each of them.
    """

    columns: Columns
    names: tuple[str, ...]
    fields: tuple[str, ...]
    numbers: Numbers
    skewed: npt.NDArray[np.bool_]
    gaps: tuple[str, ...]
    scaler: Any
    levels: Any

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, columns: Columns, *, rare: int = 10, text_counts: bool = False
    ) -> Self:
        """Learn from train.

        Levels (missing among them) that stand in fewer than `rare` rows are put together as
        `(rare)`. Numbers that are skewed, see `is_skewed`, or `tailed`, see `Numbers`, become
        log1p; then gaps are filled with the median, and all are standardised. A field with gaps in
        train gets a column of 0 and 1. Of text columns only the `text_counts` are taken.
        """
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        numbers = Numbers.fit(frame, columns, text_counts=text_counts)
        values = numbers.transform(frame)
        skewed = is_skewed(values)
        skewed[len(columns.numeric) :] = numbers.tailed[len(columns.numeric) :]
        gaps = tuple(n for n in columns.numeric + columns.date if frame[n].isna().any())
        scaler = levels = None
        if numbers.names:
            imputer = SimpleImputer(strategy="median", keep_empty_features=True)
            scaler = make_pipeline(imputer, StandardScaler())
            scaler.fit(signed_log(values, skewed))
        level_names: list[str] = []
        level_fields: list[str] = []
        if columns.categorical:
            levels = OneHotEncoder(
                min_frequency=rare,
                handle_unknown="infrequent_if_exist",
                feature_name_combiner=_level_name,
            )
            levels.fit(_levels(frame, columns))
            level_names = [str(name) for name in levels.get_feature_names_out(columns.categorical)]
            for name, known, rares in zip(
                columns.categorical, levels.categories_, levels.infrequent_categories_, strict=True
            ):
                merged = 0 if rares is None else len(rares) - 1
                level_fields += [name] * (len(known) - merged)
        return cls(
            columns=columns,
            names=(*numbers.names, *(f"{name}={MISSING}" for name in gaps), *level_names),
            fields=(*numbers.fields, *gaps, *level_fields),
            numbers=numbers,
            skewed=skewed,
            gaps=gaps,
            scaler=scaler,
            levels=levels,
        )

    def transform(self, frame: pd.DataFrame) -> Any:
        """A scipy CSR matrix, (n, len(names)), float64.

        A level that train didn't hold counts as `(rare)`; where train had no rare level, all
        columns of its field are 0.
        """
        from scipy import sparse

        blocks = []
        if self.scaler is not None:
            values = signed_log(self.numbers.transform(frame), self.skewed)
            blocks.append(sparse.csr_matrix(self.scaler.transform(values)))
        if self.gaps:
            blocks.append(sparse.csr_matrix(frame[list(self.gaps)].isna().to_numpy(np.float64)))
        if self.levels is not None:
            blocks.append(self.levels.transform(_levels(frame, self.columns)))
        if not blocks:
            return sparse.csr_matrix((len(frame), 0))
        return sparse.csr_matrix(sparse.hstack(blocks))


@dataclass(frozen=True)
class Native:
    """Categories and numbers as LightGBM takes them.

    `names` are those of the output columns, `fields` the input column behind each of them.
    """

    columns: Columns
    names: tuple[str, ...]
    fields: tuple[str, ...]
    numbers: Numbers
    levels: Mapping[str, pd.CategoricalDtype]

    @classmethod
    def fit(
        cls, frame: pd.DataFrame, columns: Columns, *, rare: int = 10, text_counts: bool = False
    ) -> Self:
        """Learn from train: levels that stand in fewer than `rare` rows become `(rare)`.

        Of text columns only the `text_counts` are taken.
        """
        numbers = Numbers.fit(frame, columns, text_counts=text_counts)
        levels = {}
        for name in columns.categorical:
            counts = frame[name].value_counts()
            kept = sorted({str(level) for level in counts.index[counts >= rare]} - {RARE})
            levels[name] = pd.CategoricalDtype([*kept, RARE])
        return cls(
            columns=columns,
            names=(*numbers.names, *columns.categorical),
            fields=(*numbers.fields, *columns.categorical),
            numbers=numbers,
            levels=levels,
        )

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Float64 columns, then `category` columns whose levels are those of train.

        A level that train didn't hold counts as `(rare)`, as it is at least as rare; missing
        cells stay missing.
        """
        names = pd.Index(self.numbers.names, dtype=object)
        parts = [pd.DataFrame(self.numbers.transform(frame), index=frame.index, columns=names)]
        for name, dtype in self.levels.items():
            column = frame[name].astype(object)
            known = column.isin(dtype.categories) | column.isna()
            parts.append(column.where(known, RARE).astype(dtype).to_frame(name))
        return pd.concat(parts, axis=1)


def _days(dates: pd.Series, later: pd.Series | pd.Timestamp) -> pd.Series:
    """Days from `dates` to `later`."""
    return (later - dates).dt.total_seconds() / 86_400


def _text_counts(texts: Sequence[str]) -> list[Floats]:
    """Words, characters and lines of each text.

    Runs of blanks count as one and empty lines as none: how a text is indented tells which file
    it comes from, not what it says.
    """
    counts = np.empty((len(texts), len(_TEXT_COUNTS)))
    for row, text in enumerate(texts):
        words = text.split()
        letters = sum(map(len, words)) + max(0, len(words) - 1)
        lines = sum(bool(line.strip()) for line in text.splitlines())
        counts[row] = len(words), letters, lines
    return list(counts.T)


def _values(cell: str) -> int:
    """How many values a cell lists."""
    return cell.count(SEPARATOR) + 1 if cell else 0


def is_skewed(numbers: Floats) -> npt.NDArray[np.bool_]:
    """Which columns look like counts with a heavy tail: none negative, mean over twice the median.

    That holds for enrollment and numbers of sites, not for ages and numbers of arms.
    """
    skewed = np.zeros(numbers.shape[1], dtype=bool)
    for column, values in enumerate(numbers.T):
        known = values[~np.isnan(values)]
        if len(known) and known.min() >= 0:
            skewed[column] = known.mean() > 2 * np.median(known)
    return skewed


def signed_log(numbers: Floats, where: npt.NDArray[np.bool_]) -> Floats:
    """sign(x) log(1 + |x|) in the columns `where`, the others as they are."""
    return np.where(where, np.sign(numbers) * np.log1p(np.abs(numbers)), numbers)


def _levels(frame: pd.DataFrame, columns: Columns) -> npt.NDArray[np.object_]:
    """Categorical cells as strings, missing ones as NaN, which scikit-learn takes as a level."""
    cells = frame[list(columns.categorical)].astype(object)
    return cells.where(cells.notna(), np.nan).to_numpy()


def _level_name(field: str, level: object) -> str:
    if isinstance(level, float):
        return f"{field}={MISSING}"
    return f"{field}={RARE if level == 'infrequent_sklearn' else level}"
