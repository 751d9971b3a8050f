"""Tables as numbers: one-hot for linear models, native categories for trees.

Both encoders learn from the rows of `fit` (train) only: levels, rare levels, medians, scales and
the latest date. Missing is a value: of its own level in a category, of its own column (one-hot)
or NaN (native) in a number. A cell that lists several values, `DRUG|OTHER`, is one level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.columns import Columns

RARE, MISSING = "(rare)", "(missing)"
_DATE_PARTS = ("year", "month", "age in days")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OneHot:
    """One-hot categories and standardised numbers, for linear models.

    `names` are those of the output columns, `fields` the input column behind each of them.
    """

    columns: Columns
    names: tuple[str, ...]
    fields: tuple[str, ...]
    latest: Mapping[str, pd.Timestamp]
    skewed: npt.NDArray[np.bool_]
    gaps: tuple[str, ...]
    scaler: Any
    levels: Any

    @classmethod
    def fit(cls, frame: pd.DataFrame, columns: Columns, *, rare: int = 10) -> Self:
        """Learn from train.

        Levels (missing among them) that stand in fewer than `rare` rows are put together as
        `(rare)`. Numbers that are skewed, see `is_skewed`, become log1p; then gaps are filled with
        the median, and all are standardised. A field with gaps in train gets a column of 0 and 1.
        """
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        latest = latest_dates(frame, columns)
        numbers, number_names, number_fields = as_numbers(frame, columns, latest)
        skewed = is_skewed(numbers)
        skewed[len(columns.numeric) :] = False
        gaps = tuple(n for n in columns.numeric + columns.date if frame[n].isna().any())
        scaler = levels = None
        if number_names:
            imputer = SimpleImputer(strategy="median", keep_empty_features=True)
            scaler = make_pipeline(imputer, StandardScaler())
            scaler.fit(signed_log(numbers, skewed))
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
            names=(*number_names, *(f"{name}={MISSING}" for name in gaps), *level_names),
            fields=(*number_fields, *gaps, *level_fields),
            latest=latest,
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
            numbers, _, _ = as_numbers(frame, self.columns, self.latest)
            blocks.append(
                sparse.csr_matrix(self.scaler.transform(signed_log(numbers, self.skewed)))
            )
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
    latest: Mapping[str, pd.Timestamp]
    levels: Mapping[str, pd.CategoricalDtype]

    @classmethod
    def fit(cls, frame: pd.DataFrame, columns: Columns, *, rare: int = 10) -> Self:
        """Learn from train: levels that stand in fewer than `rare` rows become `(rare)`."""
        latest = latest_dates(frame, columns)
        _, names, fields = as_numbers(frame.head(0), columns, latest)
        levels = {}
        for name in columns.categorical:
            counts = frame[name].value_counts()
            kept = sorted({str(level) for level in counts.index[counts >= rare]} - {RARE})
            levels[name] = pd.CategoricalDtype([*kept, RARE])
        return cls(
            columns=columns,
            names=(*names, *columns.categorical),
            fields=(*fields, *columns.categorical),
            latest=latest,
            levels=levels,
        )

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Float64 columns, then `category` columns whose levels are those of train.

        A level that train didn't hold counts as `(rare)`, as it is at least as rare; missing
        cells stay missing.
        """
        numbers, names, _ = as_numbers(frame, self.columns, self.latest)
        parts = [pd.DataFrame(numbers, index=frame.index, columns=pd.Index(names, dtype=object))]
        for name, dtype in self.levels.items():
            column = frame[name].astype(object)
            known = column.isin(dtype.categories) | column.isna()
            parts.append(column.where(known, RARE).astype(dtype).to_frame(name))
        return pd.concat(parts, axis=1)


def latest_dates(frame: pd.DataFrame, columns: Columns) -> dict[str, pd.Timestamp]:
    """The latest date of each date column; NaT where all are missing."""
    return {name: frame[name].max() for name in columns.date}


def as_numbers(
    frame: pd.DataFrame, columns: Columns, latest: Mapping[str, pd.Timestamp]
) -> tuple[Floats, list[str], list[str]]:
    """Numeric and date columns as numbers (n, m), with the name and the field of each column.

    A date gives its year, its month (1 to 12) and the days from it to `latest` of train: negative
    for later dates. Missing and infinite values are NaN.
    """
    values = [frame[name].to_numpy(np.float64, na_value=np.nan) for name in columns.numeric]
    names, fields = list(columns.numeric), list(columns.numeric)
    for name in columns.date:
        day = frame[name].dt
        age = (latest[name] - frame[name]).dt.total_seconds() / 86_400
        for part, number in zip(_DATE_PARTS, (day.year, day.month, age), strict=True):
            values.append(number.to_numpy(np.float64, na_value=np.nan))
            names.append(f"{name} ({part})")
            fields.append(name)
    matrix = np.column_stack(values) if values else np.empty((len(frame), 0))
    return np.where(np.isfinite(matrix), matrix, np.nan), names, fields


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
