"""Exact attributions of linear models and trees: by hand, beside shap, and back to the texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import models
from features.columns import Columns
from models.attribution import (
    ABSENT,
    OTHER,
    Attribution,
    Feature,
    Tally,
    contrast,
    normal_form,
    pooled,
)
from models.base import Context, Ints, Target

BINARY = Target("binary", ("stopped", "completed"))
THREE = Target("multiclass", ("completed", "terminated", "withdrawn"))
LABELS = Target("multilabel", ("cohort", "review"))
COLUMNS = Columns(("age",), ("phase",), (), ("title", "summary"))
TABLE = Columns(("age",), ("phase",))


def rows(n: int = 160, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    words = np.array(["heart", "skin", "blood", "lung", "drug", "device", "Pilot", "large"])
    texts = [" ".join(draw.choice(words, 5)) for _ in range(2 * n)]
    frame = pd.DataFrame(
        {
            "age": np.where(draw.random(n) < 0.1, np.nan, draw.normal(50, 10, n)),
            "phase": pd.Series(draw.choice(["P1", "P2", "P3"], n), dtype="str"),
            "title": pd.Series(texts[:n], dtype="str"),
            "summary": pd.Series(texts[n:], dtype="str"),
        }
    )
    return frame.set_axis([f"r{i}" for i in range(n)], axis=0)


def truth(X: pd.DataFrame, target: Target) -> Ints:
    heart = X["title"].str.contains("heart").to_numpy(np.int64)
    late = (X["phase"] == "P3").to_numpy(np.int64)
    if target.kind == "multilabel":
        return np.column_stack([heart, late])
    return heart + late if target.kind == "multiclass" else np.maximum(heart, late)


def fitted(name: str, target: Target, columns: Columns, **params: Any) -> Any:
    X = rows()
    y = truth(X, target)
    model = models.build(
        name,
        models.check_params(name, params),
        columns=columns,
        target=target,
        context=Context(),
    )
    names = list(columns.names)
    return model.fit(X[names][:120], y[:120], (X[names][120:], y[120:]))


def explained(model: Any, n: int = 12) -> Attribution:
    found = model.explain(rows(n, seed=1)[list(model.columns.names)])
    assert isinstance(found, Attribution)
    return found


def field(found: Attribution, name: str) -> np.ndarray:
    kept = [number for number, feature in enumerate(found.features) if feature.field == name]
    return found.values[:, kept].sum(axis=1)


@pytest.mark.parametrize("target", [BINARY, THREE, LABELS])
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("tfidf-logreg", {"min_df": 1}),
        ("tfidf-logreg", {"min_df": 1, "by_field": True, "char_ngrams": [2, 3]}),
        ("tfidf-logreg", {"min_df": 1, "template": "T: {title}; P: {phase}; {summary!s:>60}"}),
        ("lightgbm", {"text": "lsa", "lsa_width": 4, "n_estimators": 20}),
    ],
)
def test_shares_add_up_to_the_log_odds_of_the_prediction(
    name: str, params: dict[str, Any], target: Target
) -> None:
    model = fitted(name, target, COLUMNS, **params)
    found = explained(model)
    assert np.abs(found.gap).max() < 1e-9
    p = model.predict_proba(rows(12, seed=1)[list(COLUMNS.names)])
    if target.kind == "binary":
        expected = np.log(p[:, 1:] / p[:, :1])
    elif target.kind == "multilabel":
        expected = np.log(p / (1 - p))
    else:
        expected = np.log(p) - np.log(p).mean(axis=1, keepdims=True)
    assert found.output == pytest.approx(expected, abs=1e-6)
    assert found.classes == (target.classes[1:] if target.kind == "binary" else target.classes)
    assert {feature.field for feature in found.features} <= {*COLUMNS.names, "text"}


@pytest.mark.filterwarnings("ignore")  # shap's own
@pytest.mark.parametrize("target", [BINARY, THREE])
def test_linear_shares_are_those_of_shap(target: Target) -> None:
    shap = pytest.importorskip("shap")
    model = fitted("tfidf-logreg", target, COLUMNS, by_field=True, min_df=1, ngram_max=1)
    names = list(COLUMNS.names)
    train, test = model.matrix(rows()[names][:120]), model.matrix(rows(12, seed=1)[names])
    explainer = shap.LinearExplainer(
        model.regressions[0], shap.maskers.Independent(train.toarray(), max_samples=120)
    )
    theirs = np.asarray(explainer.shap_values(test.toarray())).reshape(12, train.shape[1], -1)
    if target.kind == "multiclass":
        theirs = theirs - theirs.mean(axis=2, keepdims=True)
    found = explained(model)
    column = model.names.index("heart")
    assert model.fields[column] == "title"
    has = test.toarray()[:, column] > 0
    assert 0 < has.sum() < 12
    ours = found.values[:, found.features.index(Feature("title", "heart", is_word=True))]
    assert ours[has] == pytest.approx(theirs[has, column])
    assert (ours[~has] == 0).all()
    title = np.array(model.fields) == "title"
    words = np.array([" (" not in name for name in model.names])
    absent = found.values[:, found.features.index(Feature("title", ABSENT))]
    missing = np.where(test.toarray() == 0, 1, 0)[:, :, None] * theirs
    assert absent == pytest.approx(missing[:, title & words].sum(axis=1))
    assert field(found, "phase") == pytest.approx(
        theirs[:, np.array(model.fields) == "phase"].sum(axis=1)
    )


@pytest.mark.filterwarnings("ignore")  # shap's own
@pytest.mark.parametrize("target", [BINARY, THREE])
def test_tree_shares_are_those_of_shap(target: Target) -> None:
    shap = pytest.importorskip("shap")
    model = fitted("lightgbm", target, TABLE, n_estimators=15, min_child_samples=5, rare=2)
    matrix = model.matrix(rows(12, seed=1)[list(TABLE.names)])
    theirs = np.asarray(shap.TreeExplainer(model.boosters[0]).shap_values(matrix))
    theirs = theirs.reshape(12, matrix.shape[1], -1)
    if target.kind == "multiclass":
        theirs = theirs - theirs.mean(axis=2, keepdims=True)
    found = explained(model)
    for name in ("age", "phase"):
        kept = np.array(model.fields) == name
        assert field(found, name) == pytest.approx(theirs[:, kept].sum(axis=1))
    assert np.abs(field(found, "phase")).mean() > np.abs(field(found, "age")).mean()


def test_a_stump_gives_each_row_its_leaf_less_the_average_row() -> None:
    """80 rows of P1 stop, 40 of P3 complete: one split, so all that is told is the phase."""
    X = pd.DataFrame({"phase": pd.Series(["P1"] * 80 + ["P3"] * 40, dtype="str")})
    y = (X["phase"] == "P3").to_numpy(np.int64)
    params = models.check_params(
        "lightgbm", {"n_estimators": 1, "num_leaves": 2, "colsample_bytree": 1}
    )
    model = models.build(
        "lightgbm",
        params,
        columns=Columns(categorical=("phase",)),
        target=BINARY,
        context=Context(),
    )
    model.fit(X, y, None)
    found = model.explain(X.iloc[[0, -1]])
    assert found is not None
    p1, p3 = found.output[:, 0]
    average = (80 * p1 + 40 * p3) / 120
    assert found.base[:, 0] == pytest.approx([average, average])
    assert found.values[:, 0, 0] == pytest.approx([p1 - average, p3 - average])
    assert p3 > p1


def test_a_term_of_joined_texts_is_divided_by_where_it_stands() -> None:
    model = fitted("tfidf-logreg", BINARY, Columns(text=("title", "summary")), min_df=1)
    X = pd.DataFrame({"title": ["Heart drug"], "summary": ["heart HEART lung"]}, dtype="str")
    found = model.explain(X)
    shares = {feature: found.values[0, n, 0] for n, feature in enumerate(found.features)}
    title = shares[Feature("title", "heart", is_word=True)]
    assert title != 0
    assert shares[Feature("summary", "heart", is_word=True)] == pytest.approx(2 * title)
    assert Feature("title", "lung", is_word=True) not in shares


def test_spans_cover_the_words_and_carry_all_their_weight() -> None:
    model = fitted("tfidf-logreg", BINARY, Columns(text=("title", "summary")), min_df=1)
    X = pd.DataFrame({"title": ["Heart, drug"], "summary": ["is a lung"]}, dtype="str")
    found = model.explain(X)
    (spans,) = found.spans
    read = [
        X[name].iloc[0][start:end]
        for name, (start, end) in zip(spans.fields, spans.bounds, strict=True)
    ]
    assert read == ["Heart", "drug", "lung"]
    words = [n for n, feature in enumerate(found.features) if feature.is_word]
    assert spans.weights.sum() == pytest.approx(found.values[0, words].sum())


def test_pieces_of_words_are_told_as_words() -> None:
    columns = Columns(text=("title",))
    model = fitted("tfidf-logreg", BINARY, columns, min_df=1, char_ngrams=[2, 4])
    found = model.explain(pd.DataFrame({"title": ["(Heartily) drug"]}, dtype="str"))
    names = {feature.name for feature in found.features if feature.is_word}
    assert names <= {"heartily", "drug"}
    assert {"heartily", "drug"} <= names


def test_texts_without_a_known_word_have_absent_words_only() -> None:
    model = fitted("tfidf-logreg", BINARY, Columns(text=("title", "summary")), min_df=1)
    found = model.explain(pd.DataFrame({"title": [""], "summary": ["zzz"]}, dtype="str"))
    assert {feature.name for feature in found.features} == {ABSENT}
    assert np.abs(found.gap).max() < 1e-12


def test_several_classes_are_explained_against_their_mean() -> None:
    scores = np.array([[3.0, 0.0, 0.0]])
    assert contrast(scores, THREE).tolist() == [[2.0, -1.0, -1.0]]
    assert contrast(scores[:, :2], BINARY).tolist() == [[-3.0]]
    assert contrast(scores[:, :2], LABELS).tolist() == [[3.0, 0.0]]


def test_two_classes_of_three_share_one_score_evenly() -> None:
    block = pooled(np.array([[[1.0], [0.5]]]), [Feature("age", "age"), Feature("age", "age")])
    found = normal_form(
        "linear",
        block,
        base=np.array([0.5]),
        output=np.array([[2.0]]),
        target=THREE,
        fitted=(0, 2),
    )
    assert found.classes == ("completed", "withdrawn")
    assert found.values.tolist() == [[[-0.75, 0.75]]]
    assert found.output.tolist() == [[-1.0, 1.0]]
    assert np.abs(found.gap).max() == 0


def test_labels_without_a_model_have_no_column() -> None:
    X = rows()[["age", "phase"]]
    y = truth(X.assign(title="heart"), LABELS)  # every row of train is a cohort
    for name in ("tfidf-logreg", "lightgbm"):
        model = models.build(
            name,
            models.check_params(name, {}),
            columns=TABLE,
            target=LABELS,
            context=Context(),
        ).fit(X, y, None)
        assert model.explain(X[:3]).classes == ("review",)  # type: ignore[union-attr]
        constant = models.build(
            name,
            models.check_params(name, {}),
            columns=TABLE,
            target=BINARY,
            context=Context(),
        ).fit(X, np.ones(len(X), np.int64), None)
        assert constant.explain(X[:3]) is None


def test_weak_words_are_added_up_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.attribution.MOST_VALUES", 4)
    tally = Tally(1)
    one, two, three = (tally.number(Feature("title", word, is_word=True)) for word in "abc")
    tally.add_row([one, two, three, one], np.array([[1.0], [0.25], [0.5], [1.0]]))
    tally.add_row([three, two], np.array([[0.125], [3.0]]))
    block = tally.block()
    assert [feature.name for feature in block.features] == ["a", "b", OTHER]
    assert block.values[:, :, 0].tolist() == [[2.0, 0.25, 0.5], [0.0, 3.0, 0.125]]


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="values"):
        Attribution(
            method="linear",
            values=np.zeros((2, 1, 1)),
            base=np.zeros((2, 1)),
            output=np.zeros((2, 1)),
            features=(),
            classes=("completed",),
        )
