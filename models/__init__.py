"""The registry of models: one file and one line here add a model."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from features.columns import Columns
from features.errors import InputError, closest, unknown_name
from models.base import Context, Model, Params, Target
from models.estimator import version

MODELS = {
    "prior": "models.floors:Prior",
    "always-positive": "models.floors:AlwaysPositive",
    "keyword-rule": "models.keyword_rule:KeywordRule",
    "tfidf-logreg": "models.tfidf_logreg:TfidfLogReg",
    "lightgbm": "models.gbdt:LightGBM",
    "encoder": "models.encoder:EncoderClassifier",
    "blend": "models.blend:Blend",
    "sklearn": "models.peer:Sklearn",
    "skrub": "models.skrub_hgb:Skrub",
}


def model_class(name: str) -> type[Model]:
    """The class behind a registered name; its module is imported now, heavy libraries later."""
    if name not in MODELS:
        raise unknown_name("model", name, MODELS)
    module, _, attribute = MODELS[name].partition(":")
    found: type[Model] = getattr(importlib.import_module(module), attribute)
    return found


def check_params(name: str, params: Mapping[str, Any]) -> Params:
    """`params` checked and completed with the defaults of model `name`."""
    kind = model_class(name).Params
    for key in params:
        if key not in kind.model_fields:
            raise unknown_name(f"parameter of {name}", key, kind.model_fields)
    try:
        return kind.model_validate(dict(params))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise InputError(f"{name}: {where} is missing", "a value", "set it") from None
        raise InputError(
            f"{name}: {where} = {first['input']!r}", first["msg"], closest(where, kind.model_fields)
        ) from None


def libraries(name: str, params: Params) -> dict[str, str | None]:
    """Version of each distribution that decides what model `name` predicts, None if not installed.

    A model whose parameters decide which these are has a class method `behind` that says so.
    """
    kind = model_class(name)
    behind = getattr(kind, "behind", None)
    found: dict[str, str | None] = (
        {distribution: version(distribution) for distribution in kind.libraries}
        if behind is None
        else behind(params)
    )
    return found


def build(
    name: str, params: Params, *, columns: Columns, target: Target, context: Context
) -> Model:
    """A fresh, unfitted model."""
    return model_class(name)(params, columns=columns, target=target, context=context)
