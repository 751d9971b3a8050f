"""The prior: rates that a reader can count."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import models
from features.columns import Columns
from features.errors import InputError
from models.base import Context, Model, Target


def fitted(target: Target, y: list[object], name: str = "prior") -> Model:
    rows = pd.DataFrame(index=range(len(y)))
    model = models.build(
        name,
        models.check_params(name, {}),
        columns=Columns(),
        target=target,
        context=Context(),
    )
    return model.fit(rows, np.array(y), (rows.head(0), np.array(y)[:0]))


def test_prior_gives_every_row_the_class_rates_of_train() -> None:
    model = fitted(Target("binary", ("completed", "stopped")), [0, 0, 0, 1])
    assert model.predict_proba(pd.DataFrame(index=range(2))).tolist() == [[0.75, 0.25]] * 2


def test_prior_gives_a_class_that_train_lacks_nothing() -> None:
    model = fitted(Target("multiclass", ("a", "b", "c", "d")), [0, 2, 2, 2])
    assert model.predict_proba(pd.DataFrame(index=[0])).tolist() == [[0.25, 0, 0.75, 0]]


def test_prior_gives_the_rate_of_each_of_several_labels() -> None:
    model = fitted(Target("multilabel", ("a", "b", "c")), [[1, 0, 1], [1, 0, 0]])
    assert model.predict_proba(pd.DataFrame(index=[0, 1])).tolist() == [[1, 0, 0.5]] * 2


def test_prior_is_a_floor_that_sees_no_column() -> None:
    kind = models.model_class("prior")
    assert kind.is_floor
    assert kind.inputs == ("none",)


def test_prior_says_when_it_was_not_fitted() -> None:
    kind = models.model_class("prior")
    model = kind(
        kind.Params(), columns=Columns(), target=Target("binary", ("a", "b")), context=Context()
    )
    with pytest.raises(RuntimeError, match="before fit"):
        model.predict_proba(pd.DataFrame(index=[0]))


def test_always_positive_is_sure_of_the_positive_class() -> None:
    model = fitted(Target("binary", ("failure", "success")), [0, 0, 1], "always-positive")
    assert model.predict_proba(pd.DataFrame(index=range(2))).tolist() == [[0, 1], [0, 1]]
    assert models.model_class("always-positive").is_floor
    assert models.model_class("always-positive").inputs == ("none",)


def test_always_positive_says_yes_to_every_label() -> None:
    model = fitted(Target("multilabel", ("a", "b", "c")), [[1, 0, 0]], "always-positive")
    assert model.predict_proba(pd.DataFrame(index=[0])).tolist() == [[1, 1, 1]]


def test_always_positive_has_nothing_to_say_about_several_classes() -> None:
    with pytest.raises(InputError, match=r"always-positive with the classes a, b, c; .*use prior"):
        fitted(Target("multiclass", ("a", "b", "c")), [0, 1, 2], "always-positive")
