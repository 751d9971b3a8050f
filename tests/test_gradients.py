"""Integrated gradients and attention of a tiny encoder whose decisive words are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import checkpoint, notes_with

from features.columns import Columns
from models import build, check_params
from models.attribution import Attribution, Feature
from models.base import Context, Target

BINARY = Target("binary", ("no", "yes"))
COLOURS = Target("multilabel", ("red", "green"))
NOTE = Columns(text=("note",))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


def fit(folder: Path, target: Target, columns: Columns = NOTE, **params: Any) -> Any:
    words = ["red", "green"] if target.kind == "multilabel" else ["red"]
    (X, y), (V, vy) = notes_with(words, 320), notes_with(words, 48, seed=1)
    if "sex" in columns.categorical:
        for frame, seed in ((X, 2), (V, 3)):
            draw = np.random.default_rng(seed)
            frame["sex"] = pd.Series(draw.choice(["male", "female"], len(frame)), dtype="str")
            frame["note"] = "word1 word2"
        y, vy = ((f["sex"] == "male").to_numpy(np.int64)[:, None] for f in (X, V))
    if target.kind != "multilabel":
        y, vy = y[:, 0], vy[:, 0]
    quick = {"checkpoint": str(folder), "lr": 5e-3, "head_factor": 1, "epochs": 6, "max_length": 32}
    model = build(
        "encoder",
        check_params("encoder", {**quick, **params}),
        columns=columns,
        target=target,
        context=Context(),
    )
    return model.fit(X, y, (V, vy))


def share(found: Attribution, name: str, field: str = "note") -> Any:
    return found.values[0, found.features.index(Feature(field, name, is_word=True))]


@pytest.mark.parametrize("pooling", ["head", "mean"])
def test_the_decisive_word_carries_the_prediction(tiny: Path, pooling: str) -> None:
    model = fit(tiny, BINARY, pooling=pooling)
    X = pd.DataFrame({"note": ["word1 Red word2 word3", "word4 word5"]}, dtype="str")
    found = model.explain(X)
    p = model.predict_proba(X)
    assert p[0, 1] > 0.8 > 0.5 > p[1, 1]
    assert found.output[:, 0] == pytest.approx(np.log(p[:, 1] / p[:, 0]), abs=1e-4)
    assert found.classes == ("yes",)
    red = share(found, "red")[0]
    assert red > 0.5 * (found.output - found.base)[0, 0] > 0
    assert all(red > abs(share(found, word)[0]) for word in ("word1", "word2", "word3"))
    assert np.abs(found.gap).max() < 0.05 * np.abs(found.output - found.base).max()


def test_each_label_has_its_own_words(tiny: Path) -> None:
    model = fit(tiny, COLOURS)
    found = model.explain(pd.DataFrame({"note": ["word1 red word2 green"]}, dtype="str"))
    assert found.classes == ("red", "green")
    red, green = share(found, "red"), share(found, "green")
    assert red[0] > abs(red[1])
    assert green[1] > abs(green[0])
    (spans,) = found.spans
    assert [(int(a), int(b)) for a, b in spans.bounds] == [(0, 5), (6, 9), (10, 15), (16, 21)]
    assert spans.weights[1] == pytest.approx(red)
    assert spans.weights.sum(axis=0) == pytest.approx(found.values[0].sum(axis=0))


def test_cells_in_words_are_shares_of_their_column(tiny: Path) -> None:
    columns = Columns(categorical=("sex",), text=("note",))
    found = fit(tiny, BINARY, columns).explain(
        pd.DataFrame({"sex": ["male"], "note": ["word1 word2"]}, dtype="str")
    )
    assert Feature("sex", "sex") in found.features
    sex = found.values[0, found.features.index(Feature("sex", "sex")), 0]
    assert sex > 0
    assert sex > max(abs(share(found, word)[0]) for word in ("word1", "word2"))
    assert set(found.spans[0].fields) == {"note"}


def test_a_table_beside_the_text_has_shares_too(tiny: Path) -> None:
    columns = Columns(categorical=("sex",), text=("note",))
    model = fit(tiny, BINARY, columns, table="head", pooling="mean")
    found = model.explain(
        pd.DataFrame({"sex": ["male", "female"], "note": ["word1"] * 2}, dtype="str")
    )
    sex = found.values[:, found.features.index(Feature("sex", "sex")), 0]
    assert sex[0] > 0 > sex[1]
    assert np.abs(sex).min() > np.abs(found.values[:, 0, 0]).max()


def test_texts_over_several_windows_are_explained_whole(tiny: Path) -> None:
    model = fit(tiny, BINARY, long="mean", max_length=8, pooling="mean")
    note = "word1 word2 word3 word4 word5 word6 word7 red word8"
    found = model.explain(pd.DataFrame({"note": [note]}, dtype="str"))
    assert len(found.spans[0].fields) == 9
    assert share(found, "red")[0] == max(share(found, word)[0] for word in note.split())


@pytest.mark.parametrize("architecture", ["distilbert", "bert", "roberta", "deberta-v2"])
def test_attention_is_a_distribution_and_changes_nothing(tmp_path: Path, architecture: str) -> None:
    model = fit(checkpoint(tmp_path / architecture, architecture), BINARY, epochs=1, max_steps=2)
    X = pd.DataFrame({"note": ["word1 red word2", "word4"]}, dtype="str")
    before = model.predict_proba(X)
    found = model.explain(X)
    for spans, words in zip(found.attention, (3, 1), strict=True):
        assert spans.weights.shape == (words, 1)
        assert spans.weights.min() > 0
        assert spans.weights.sum() == pytest.approx(1)
    assert (model.predict_proba(X) == before).all()


def test_explaining_twice_gives_the_same(tiny: Path) -> None:
    model = fit(tiny, BINARY, epochs=1)
    X, _ = notes_with(["red"], 3, seed=5)
    first, second = model.explain(X), model.explain(X)
    assert (first.values == second.values).all()


def test_a_row_without_text_has_nothing_to_share_out(tiny: Path) -> None:
    found = fit(tiny, BINARY).explain(pd.DataFrame({"note": ["", "word1"]}, dtype="str"))
    assert {feature.field for feature in found.features} == {"note"}
    assert (found.values[0] == 0).all()
    assert found.output[0] == pytest.approx(found.base[0])
    assert len(found.spans[0].fields) == 0
