"""A scikit-learn-compatible class that a user names by its import path."""

from __future__ import annotations

import copy
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from features.errors import InputError, closest, one_line, unknown_name


def check_estimator(path: str, params: Mapping[str, Any]) -> None:
    """Raise `InputError` unless `path` leads to a classifier that can be made with `params`.

    It is made once, and must have `fit` and `predict_proba`. Whether it likes the values is seen
    when it's fitted.
    """
    kind = imported(path)
    signature = inspect.signature(kind)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    for name in () if open_ended else params:
        if name not in signature.parameters:
            raise unknown_name(f"parameter of {path}", name, signature.parameters)
    try:
        made = kind(**copy.deepcopy(dict(params)))
    except Exception as error:
        raise InputError(
            f"{path} can't be made with {one_line(params, 80)} ({error})",
            "a class that is made with plain values",
            "set params",
        ) from None
    if not hasattr(made, "fit") or not hasattr(made, "predict_proba"):
        scores = hasattr(made, "decision_function")
        raise InputError(
            f"{path} {'gives scores, no probabilities' if scores else 'is no classifier'}",
            "a class with fit and predict_proba",
            "take one that gives probabilities (with SGDClassifier, loss: log_loss)"
            if scores
            else "",
        )


def imported(path: str) -> Any:
    """The class behind an import path such as `sklearn.ensemble.RandomForestClassifier`."""
    module, _, name = path.rpartition(".")
    example = "an import path such as sklearn.ensemble.RandomForestClassifier"
    if not module:
        raise InputError(f"estimator {path!r}", example, "put its module before the class")
    try:
        found = importlib.import_module(module)
    except Exception as error:  # whatever a module does when it is imported
        raise InputError(
            f"estimator {path!r}: no import of {module} ({type(error).__name__}: {error})",
            "a module that is installed, or in a folder of PYTHONPATH",
        ) from None
    if not inspect.isclass(getattr(found, name, None)):
        classes = [key for key, value in vars(found).items() if inspect.isclass(value)]
        exported = [*classes, *getattr(found, "__all__", ())]
        raise InputError(
            f"estimator {path!r}: {module} has no class {name!r}", example, closest(name, exported)
        )
    return getattr(found, name)


def distribution(path: str) -> dict[str, str | None]:
    """Version of the distribution that an import path belongs to.

    A module of the user's own belongs to none: it has a hash of its Python files instead, those of
    the whole package it is in.
    """
    top = path.partition(".")[0]
    names = _distributions().get(top)
    if names:
        return {name: version(name) for name in sorted(set(names))}
    module = importlib.import_module(top)
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    if not folders and module.__file__ is not None:
        files = [Path(module.__file__)]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return {top: f"sha256:{digest.hexdigest()}"}


def version(distribution: str) -> str | None:
    """Installed version of a distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(importlib.metadata.packages_distributions())


@functools.cache
def parameters(kind: Any) -> set[str]:
    """Names that the class takes: those it states, and those a made one has (XGBoost's, say)."""
    stated = set(inspect.signature(kind).parameters)
    try:
        return stated | set(kind().get_params())
    except Exception:  # one that isn't made without arguments, or has no get_params
        return stated


def takes_sparse(estimator: Any) -> bool:
    """Whether it says, with scikit-learn's tags, that it takes a sparse matrix."""
    from sklearn.utils import get_tags

    try:
        return bool(get_tags(estimator).input_tags.sparse)
    except AttributeError:  # not a scikit-learn class by descent: any takes a dense matrix
        return False
