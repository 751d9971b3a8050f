"""The floor of regular expressions, with rates that a reader can count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import models
from features.columns import Columns
from features.errors import InputError
from models.base import Context, Target
from models.keyword_rule import KeywordRule

TEXT = Columns(text=("title", "abstract"))
BINARY = Target("binary", ("no", "yes"))
DESIGN = Target("multilabel", ("RCT", "CaseReport", "Other"))


def build(target: Target, offered: Columns = TEXT, **params: Any) -> KeywordRule:
    checked = models.check_params("keyword-rule", params)
    model = models.build("keyword-rule", checked, columns=offered, target=target, context=Context())
    assert isinstance(model, KeywordRule)
    return model


def rows(*titles: str) -> pd.DataFrame:
    return pd.DataFrame({"title": list(titles), "abstract": "a randomized trial"})


def fit(model: KeywordRule, X: pd.DataFrame, y: object) -> KeywordRule:
    return model.fit(X, np.array(y), (X.head(0), np.array(y)[:0]))


def test_a_hit_has_the_rate_among_the_hits_and_a_miss_that_among_the_misses() -> None:
    # rate of all: 4/8. Hits: 3 of 4, so (3 + 2 * .5) / (4 + 2); misses: 1 of 4, (1 + 1) / 6
    model = build(BINARY, rules={"yes": ["drug"]})
    fit(model, rows(*["A DRUG"] * 4, *["none"] * 4), [1, 1, 1, 0, 1, 0, 0, 0])
    proba = model.predict_proba(rows("drugs", "other"))
    assert proba == pytest.approx(np.array([[2 / 6, 4 / 6], [4 / 6, 2 / 6]]))
    assert model.notes["hits"] == {"yes": 4}


def test_each_of_several_labels_has_its_own_rule_and_one_without_has_its_rate() -> None:
    X = rows("A randomised controlled trial of x", "Randomized trial: y", "A case report", "Z")
    y = [[1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]]
    proba = fit(build(DESIGN), X, y).predict_proba(X)
    # RCT: rate 2/4, hits 2 of 2 -> (2 + 1) / 4, misses 0 of 2 -> (0 + 1) / 4
    assert proba[:, 0] == pytest.approx([3 / 4, 3 / 4, 1 / 4, 1 / 4])
    # CaseReport: rate 1/4, hits 1 of 1 -> (1 + .5) / 3, misses 0 of 3 -> .5 / 5
    assert proba[:, 1] == pytest.approx([0.1, 0.1, 0.5, 0.1])
    assert proba[:, 2] == pytest.approx([0.25] * 4)


def test_a_rule_that_never_hits_in_train_gives_a_later_hit_the_rate_of_all() -> None:
    model = fit(build(DESIGN), rows("u", "v", "w", "x"), [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0] * 3])
    assert model.predict_proba(rows("A randomized trial"))[0, 0] == pytest.approx(0.25)


def test_the_first_of_several_classes_whose_rule_hits_takes_the_row() -> None:
    target = Target("multiclass", ("a", "b", "c"))
    model = build(target, rules={"b": ["beta"], "a": ["alpha"]})
    fit(model, rows("beta alpha", "beta", "alpha", "none"), [1, 1, 0, 2])
    proba = model.predict_proba(rows("alpha and beta", "alpha", "nothing"))
    assert proba.sum(axis=1) == pytest.approx([1, 1, 1])
    # rates of all: a 1/4, b 2/4, c 1/4; two rows hit b first, one a, one none
    assert proba[0] == pytest.approx([0.5 / 4, 3 / 4, 0.5 / 4])
    assert proba[1] == pytest.approx([1.5 / 3, 1 / 3, 0.5 / 3])
    assert proba[2] == pytest.approx([0.5 / 3, 1 / 3, 1.5 / 3])


def test_the_title_alone_is_searched_unless_columns_are_named() -> None:
    X = rows("Nothing")  # with a trial in the abstract
    assert build(DESIGN).hits(X).tolist() == [[0, 0]]
    assert build(DESIGN, columns=["title", "abstract"]).hits(X).tolist() == [[1, 0]]


def test_texts_are_searched_up_to_a_length() -> None:
    model = build(BINARY, rules={"yes": ["drug"]}, max_characters=10)
    assert model.hits(rows("123456drug", "1234567drug", "")).tolist() == [[1], [0], [0]]


@pytest.mark.parametrize(
    ("label", "title"),
    [
        ("RCT", "X in Y: a randomised, double-blind, placebo-controlled trial"),
        ("SystematicReview", "A systematic review of reviews"),
        ("MetaAnalysis", "Network meta-analysis of X"),
        ("Human", "X in older adults"),
        ("Animal", "X in transgenic mice"),
        ("InVitro", "X in vitro"),
        ("Cohort", "A retrospective study of X"),
        ("CaseReport", "X: case report"),
        ("CaseControl", "A case-control study"),
        ("CrossSectional", "A cross sectional survey"),
    ],
)
def test_the_built_in_rules_know_a_plain_title_of_each_design(label: str, title: str) -> None:
    model = build(Target("multilabel", (label, "other")))
    assert model.hits(rows(title, "The kinetics of formate")).tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("target", "params", "message"),
    [
        (BINARY, {}, "no rules for no, yes"),
        (BINARY, {"rules": {"yse": ["x"]}}, "did you mean 'yes'"),
        (BINARY, {"rules": {"yes": ["("]}}, r"rule yes: '\(' is no regular expression"),
        (BINARY, {"rules": {"yes": ["x{99999999999}"]}}, "is no regular expression"),
        (DESIGN, {"columns": ["titel"]}, "did you mean 'title'"),
        (DESIGN, {"columns": []}, "at least 1"),
        (DESIGN, {"rule": {}}, "did you mean 'rules'"),
    ],
)
def test_a_mistake_in_the_rules_is_one_line(
    target: Target, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        build(target, **params)
    assert "\n" not in str(caught.value)


def test_it_is_a_floor_of_text_that_says_when_it_was_not_fitted() -> None:
    assert KeywordRule.is_floor
    assert KeywordRule.inputs == ("text",)
    with pytest.raises(InputError, match="without a text column"):
        build(DESIGN, Columns())
    with pytest.raises(RuntimeError, match="before fit"):
        build(DESIGN).predict_proba(rows("x"))
