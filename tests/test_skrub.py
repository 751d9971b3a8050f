"""skrub's pipeline as a peer: what it learns, that it repeats, and how it is missed."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

import models
from features.columns import Columns
from features.errors import InputError
from models.base import Context, Ints, Target
from models.skrub_hgb import Skrub

pytest.importorskip("skrub")

BINARY = Target("binary", ("completed", "stopped"))
LABELS = Target("multilabel", ("a", "b"))
COLUMNS = Columns(
    numeric=("age",), categorical=("phase", "sponsor"), date=("start",), text=("title",)
)


def rows(n: int = 240) -> tuple[pd.DataFrame, Ints]:
    """A stopped row (each third) says `halted`; nothing else tells."""
    y = np.array([i % 3 == 0 for i in range(n)]).astype(np.int64)
    days = pd.date_range("2015-01-01", periods=n, freq="7D").to_series(index=range(n))
    frame = pd.DataFrame(
        {
            "title": [f"{'halted' if one else 'finished'} study number {i}"
                      for i, one in enumerate(y)],
            "sponsor": [f"hospital {i % 50}" for i in range(n)],
            "phase": pd.Series(["A" if i % 4 else None for i in range(n)], dtype="str"),
            "age": [np.nan if i % 5 == 0 else float(i % 4) for i in range(n)],
            "start": days.where(days.index % 6 != 1),
        }
    )  # fmt: skip
    return frame.set_axis([f"id{i}" for i in range(n)]), y


def build(columns: Columns = COLUMNS, target: Target = BINARY, seed: int = 0, **params: Any) -> Any:
    return models.build(
        "skrub",
        models.check_params("skrub", params),
        columns=columns,
        target=target,
        context=Context(seed=seed),
    )


def test_the_word_that_tells_is_learnt_among_columns_that_do_not() -> None:
    X, y = rows()
    model = build(n_components=10).fit(X, y, None)
    found = model.predict_proba(X)
    assert found.sum(axis=1) == pytest.approx(np.ones(240))
    assert found[y == 1, 1].min() > 0.5 > found[y == 0, 1].max()
    assert set(model.notes["encoded_as"]["high_cardinality"]) == {"title", "sponsor"}
    assert model.notes["encoded_as"]["low_cardinality"] == ["phase"]
    json.dumps(model.notes)


def test_new_levels_and_missing_cells_are_predicted() -> None:
    X, y = rows()
    new = X.iloc[:2].assign(sponsor="unknown", phase=pd.array([pd.NA, "Z"], dtype="str"), title="")
    assert np.isfinite(build().fit(X, y, None).predict_proba(new)).all()


def test_the_same_seed_gives_the_same_predictions_bit_for_bit() -> None:
    X, y = rows()
    y = np.random.default_rng(0).integers(0, 2, len(y))
    first, again, other = (build(seed=seed).fit(X, y, None).predict_proba(X) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_labels_share_the_table_and_have_a_classifier_each() -> None:
    X, y = rows()
    found = build(target=LABELS).fit(X, np.column_stack([y, 0 * y]), None).predict_proba(X)
    assert found[y == 1, 0].min() > 0.5 > found[y == 0, 0].max()
    assert found[:, 1] == pytest.approx(1 / 242)  # no row has it


def test_an_encoder_reads_the_text_columns(capfd: pytest.CaptureFixture[str]) -> None:
    X, y = rows(48)
    model = build(encoder="bundled:minilm", n_components=8).fit(X, y, None)
    assert model.notes["encoded_as"]["specific"] == ["title"]
    assert model.predict_proba(X).shape == (48, 2)
    assert capfd.readouterr().err == ""
    assert "torch" in models.libraries("skrub", model.params)
    assert "torch" not in models.libraries("skrub", models.check_params("skrub", {}))


def test_an_encoder_that_cannot_be_had_is_refused_before_any_fit() -> None:
    with pytest.raises(InputError, match="no-such"):
        Skrub.preflight(models.check_params("skrub", {"encoder": "bundled:no-such"}))


def test_without_skrub_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def hidden(name: str, package: str | None = None) -> Any:
        return None if name == "skrub" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    with pytest.raises(InputError, match=r"skrub is not installed; .*pip install 'trialmark\[skr"):
        models.check_params("skrub", {})
