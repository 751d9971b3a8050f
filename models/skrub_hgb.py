"""skrub's `tabular_pipeline` as a peer: its own encoders, gradient boosting behind them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import pandas as pd
from pydantic import Field, model_validator

from features.checkpoints import fetch, resolve
from features.columns import Columns, Inputs
from features.embed import quiet
from features.errors import InputError
from models import base
from models.base import Context, Floats, Ints, Target
from models.estimator import version
from models.heads import Heads, told
from models.peer import EMBEDDING


class SkrubParams(base.Params):
    """Without `encoder` all is as skrub has it: columns with many levels, texts among them, go
    through its `StringEncoder` (LSA of character groups). With one, a checkpoint such as
    `bundled:minilm`, text columns go through its `LLMEncoder` (formerly `TextEncoder`: sentence
    embeddings and PCA). Both keep `n_components` numbers a column.
    """

    n_components: int = Field(default=30, ge=1)
    encoder: str | None = None
    revision: str | None = None

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if importlib.util.find_spec("skrub") is None:
            raise InputError(
                "model skrub: skrub is not installed",
                "the extra `skrub`",
                "pip install 'trialmark[skrub]'",
            )
        return self


class Skrub:
    """skrub's tabular_pipeline: TableVectorizer and scikit-learn's HistGradientBoostingClassifier.

    Several labels share the encoded table and have a classifier each, see `models.heads.Heads`.
    Valid rows aren't used. skrub embeds without a cache, so a fit with an encoder takes as long
    each time.
    """

    Params: ClassVar[type[base.Params]] = SkrubParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("both", "tabular", "text")
    libraries: ClassVar[tuple[str, ...]] = (
        "skrub",
        "scikit-learn",
        "scipy",
        "numpy",
        "pandas",
        *EMBEDDING,
    )
    is_floor: ClassVar[bool] = False
    explains_slowly: ClassVar[bool] = False

    def __init__(
        self, params: SkrubParams, *, columns: Columns, target: Target, context: Context
    ) -> None:
        self.params, self.columns = params, columns
        self.target, self.context = target, context
        self.notes: dict[str, Any] = {}
        self._vectorizer: Any = None
        self._heads: Heads | None = None

    @classmethod
    def preflight(cls, params: SkrubParams) -> None:
        """Find the encoder, and download it if need be, so that no cell fails for want of it."""
        if params.encoder is not None:
            fetch(resolve(params.encoder, params.revision))

    @classmethod
    def behind(cls, params: SkrubParams) -> dict[str, str | None]:
        """Versions of what decides the predictions."""
        return {
            name: version(name)
            for name in cls.libraries
            if params.encoder is not None or name not in EMBEDDING
        }

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, Any]:
        """Nothing to tune: it's what skrub gives without being asked for more."""
        return {}

    def settled(self) -> dict[str, Any]:
        """Valid rows change nothing."""
        return {}

    def explain(self, X: pd.DataFrame) -> None:
        """Nothing to show."""

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints] | None) -> Self:
        """Learn from train; `valid` is not used. Raises `InputError` where no input is left."""
        from sklearn.base import clone

        if not self.columns.names:
            raise InputError("no input columns", "text or table columns", "choose other inputs")
        self._vectorizer, classifier = self._pipeline()
        with self._bound(), told(self.notes):
            with self.context.timer("features"):
                table = self._vectorizer.fit_transform(self._frame(X))
            self._heads = Heads.fit(lambda: clone(classifier), table, y, target=self.target)
        kinds = self._vectorizer.kind_to_columns_
        self.notes |= {
            "columns": int(table.shape[1]),
            "encoded_as": {kind: list(names) for kind, names in kinds.items() if names},
            "constant_labels": self._heads.constants,
        }
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k)."""
        if self._heads is None:
            raise RuntimeError("predict_proba before fit")
        with self._bound(), told(self.notes):
            with self.context.timer("features"):
                table = self._vectorizer.transform(self._frame(X))
            return self._heads.predict_proba(table)

    def _pipeline(self) -> tuple[Any, Any]:
        """The vectorizer and the classifier of skrub's pipeline, with our seed and encoder."""
        import skrub

        seed, width = self.context.seed, self.params.n_components
        vectorizer, classifier = (
            step for _, step in skrub.tabular_pipeline("classification").steps
        )
        strings = skrub.StringEncoder(n_components=width, random_state=seed)
        vectorizer.set_params(high_cardinality=strings)
        if self.params.encoder is not None and self.columns.text:
            folder = fetch(resolve(self.params.encoder, self.params.revision)).folder
            texts = skrub.LLMEncoder(
                model_name=str(folder),
                n_components=width,
                device=self.context.device,
                random_state=seed,
            )
            vectorizer.set_params(specific_transformers=[(texts, list(self.columns.text))])
        return vectorizer, classifier.set_params(random_state=seed)

    def _frame(self, X: pd.DataFrame) -> pd.DataFrame:
        return X[list(self.columns.names)]

    @contextmanager
    def _bound(self) -> Iterator[None]:
        """One thread of BLAS, whose sums over several round differently, and torch's of ours."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1, user_api="blas"):
            if self.params.encoder is None or not self.columns.text:
                yield
                return
            import torch

            before = torch.get_num_threads()
            torch.set_num_threads(self.context.threads)
            try:
                with quiet():
                    yield
            finally:
                torch.set_num_threads(before)
