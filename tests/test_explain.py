"""Explanations as data: what was planted is found, seeds are averaged, texts stay apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored import FITTED

from benchmark import run
from benchmark.explain import explanation
from benchmark.explanations import explain
from benchmark.readers.synthetic import PLANTED
from benchmark.store import Store
from features.columns import Columns
from features.errors import InputError
from models.attribution import Attribution, Feature, Spans
from models.base import Ints, Target

BINARY = Target("binary", ("stopped", "completed"))
COLUMNS = Columns(categorical=("phase",), text=("title",))


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on rows with a leak (enrollment, as of after) and sentences that tell the outcome."""
    config = {
        "name": "leaky",
        "data": {"reader": "synthetic", "rows": 2000, "outcome_phrases": 0.8},
        "splits": ["stratified"],
        "seeds": [1, 2],
        "as_of": ["registration", "after"],
        "explain": {"rows": 150, "examples": 3},
        "models": [
            "prior",
            {"name": "tfidf-logreg", "inputs": ["text", "both"]},
            {"name": "lightgbm", "inputs": "both", "params": {"text": "lsa"}},
        ],
    }
    return run(config, out=tmp_path_factory.mktemp("runs") / "leaky").folder


def page(folder: Path, as_of: str) -> Any:
    (found,) = [one for one in explain(Store(folder)) if one["as_of"] == as_of]
    return found


def shares(one: Any) -> dict[str, float]:
    return {row["field"]: row["share"][0] for row in one["fields"]}


def test_the_planted_leak_is_at_the_top_and_noise_is_not(leaky: Path) -> None:
    for one in page(leaky, "after")["models"][1:]:
        found = shares(one)
        assert set(PLANTED.leaks) <= set(list(found)[:2])  # beside the text that tells the outcome
        assert found["enrollment"] > 4 * max(found[name] for name in PLANTED.noise_columns)
    for one in page(leaky, "registration")["models"]:
        found = shares(one)
        assert sum(found.values()) == pytest.approx(1, abs=1e-4)
        assert not set(list(found)[:3]) & set(PLANTED.noise_columns)
        assert "enrollment" not in found


def test_the_planted_sentences_lead_the_words(leaky: Path) -> None:
    one = page(leaky, "registration")["models"][0]
    assert one["fields"][0]["field"] == "brief_summary"
    words = [row for row in one["features"]["completed"] if row["word"]][:6]
    sentences = " ".join(PLANTED.outcome_phrases).lower()
    assert all(row["name"] in sentences for row in words)
    assert all(row["mean"] < 0 for row in words)


def test_late_fields_and_outcome_words_raise_an_alarm(leaky: Path) -> None:
    alarms = page(leaky, "after")["alarms"]
    late = {alarm["model"] for alarm in alarms if alarm["code"] == "late field"}
    assert late == {"tfidf-logreg/both", "lightgbm/both"}
    told = {alarm["what"] for alarm in alarms if alarm["code"] == "outcome phrase"}
    assert any("prematurely" in what or "terminated" in what for what in told)
    codes = {alarm["code"] for alarm in page(leaky, "registration")["alarms"]}
    assert codes == {"outcome phrase"}


def test_an_explanation_adds_up_and_names_no_row_but_its_examples(leaky: Path) -> None:
    plan = Store(leaky).plan()
    files = [leaky / entry["path"] / "explanation.json" for entry in plan["cells"]]
    found = [json.loads(file.read_bytes()) for file in files if file.is_file()]
    assert len(found) == 12  # neither the floor nor the ceiling has one
    for one in found:
        assert one["rows"] == 150
        assert one["gap"]["max"] < 1e-6
        for example in one["examples"]:
            parts = sum(row["weight"] for row in example["fields"]) + example["rest"]
            assert example["base"] + parts == pytest.approx(example["output"], abs=1e-4)
        assert [example["kind"] for example in one["examples"]] == [
            "surest right", "surest wrong", "most average",
        ]  # fmt: skip


def test_no_sentence_of_the_data_stands_in_an_explanation(leaky: Path) -> None:
    from benchmark.config import load
    from benchmark.matrix import read_rows

    frame = read_rows(load(leaky / "config.yaml")).frame
    texts = {name: frame[name] for name in ("brief_title", "brief_summary")}
    for file in leaky.glob("*/*/*/*/explanation.json"):
        content = file.read_text()
        for column in texts.values():
            assert not any(text and text[:40] in content for text in column)


def test_spans_point_at_words_of_the_texts_kept_apart(leaky: Path) -> None:
    example = page(leaky, "registration")["models"][0]["examples"][0]
    assert example["spans"]
    for name, start, end, weight in example["spans"]:
        word = example["texts"][name][start:end]
        assert word
        assert word == word.strip()
        assert weight != 0
    for file in leaky.glob("*/*/*/*/texts.parquet"):
        file.rename(file.with_suffix(".away"))
    assert page(leaky, "registration")["models"][0]["examples"][0]["texts"] == {}
    for file in leaky.glob("*/*/*/*/texts.away"):
        file.rename(file.with_suffix(".parquet"))


def test_one_model_can_be_asked_for(leaky: Path) -> None:
    pages = explain(Store(leaky), "lightgbm")
    assert [[one["model"] for one in page["models"]] for page in pages] == [["lightgbm"]] * 2
    assert all("lightgbm/both" in (row["a"], row["b"]) for row in pages[0]["agreement"])
    with pytest.raises(InputError, match=r"unknown model 'lightgmb'.*did you mean 'lightgbm'"):
        explain(Store(leaky), "lightgmb")
    with pytest.raises(InputError, match="no explanation of prior"):
        explain(Store(leaky), "prior")


class Told:
    """A model whose explanation is known: phase P1 adds 1, each word of the title 0.5."""

    def __init__(self, *, slowly: bool = False) -> None:
        self.explains_slowly = slowly
        self.asked: list[str] = []

    def explain(self, X: pd.DataFrame) -> Attribution:
        self.asked = list(X.index)
        words = sorted({word for title in X["title"] for word in title.split()})
        values = np.zeros((len(X), len(words) + 1, 1))
        values[:, 0, 0] = np.where(X["phase"] == "P1", 1.0, 0.0)
        for row, title in enumerate(X["title"]):
            for word in title.split():
                values[row, 1 + words.index(word), 0] = -0.5
        base = np.full((len(X), 1), 0.25)
        return Attribution(
            method="told",
            values=values,
            base=base,
            output=base + values.sum(axis=1),
            features=(Feature("phase", "phase"), *(Feature("title", w, True) for w in words)),
            classes=("completed",),
            spans=tuple(
                Spans(("title", "title"), np.array([[0, 4], [2, 6]]), np.array([[1.0], [-2.0]]))
                for _ in range(len(X))
            ),
        )


def told(n: int = 40, **options: Any) -> tuple[Told, dict[str, Any], pd.DataFrame, Ints]:
    X = pd.DataFrame(
        {"phase": ["P1", "P2"] * (n // 2), "title": ["red", "red green"] * (n // 2)},
        index=pd.Index([f"r{i}" for i in range(n)]),
        dtype="str",
    )
    y = np.arange(n) % 2
    p = np.linspace(0.02, 0.99, n)
    model = Told(slowly=options.pop("slowly", False))
    found = explanation(
        model,  # type: ignore[arg-type]
        X,
        y=y,
        proba=np.column_stack([1 - p, p]),
        columns=COLUMNS,
        target=BINARY,
        options={"rows": n, "gradient_rows": 4, "examples": 4, **options},
        seed=7,
    )
    assert found is not None
    return model, *found, y


def test_shares_of_fields_by_hand() -> None:
    _, content, _, _ = told()
    # phase: 1 in half of the rows; title: 0.5 in half of them and 1 in the others
    assert content["fields"] == [
        {"field": "title", "share": [0.6], "mean": [-0.75]},
        {"field": "phase", "share": [0.4], "mean": [0.5]},
    ]
    assert content["features"]["completed"][:2] == [
        {"field": "phase", "name": "phase", "word": False, "size": 0.5, "mean": 0.5, "rows": 20},
        {"field": "title", "name": "red", "word": True, "size": 0.5, "mean": -0.5, "rows": 40},
    ]
    assert content["words"] == {"red": [-0.5], "green": [-0.25]}
    assert content["levels"] == {
        "phase": [
            {"level": "P1", "rows": 20, "mean": [1.0]},
            {"level": "P2", "rows": 20, "mean": [0.0]},
        ]
    }
    assert content["gap"] == {"max": 0.0, "mean": 0.0, "moved": 0.75}


def test_examples_are_the_sure_and_the_average_ones() -> None:
    _, content, texts, _ = told()
    shown = [(e["kind"], e["id"], e["truth"]) for e in content["examples"]]
    # p rises with the row, odd rows are completed; rows 19 and 20 are next to the average p
    assert shown[0] == ("surest right", "r39", ["completed"])
    assert shown[1] == ("surest wrong", "r38", ["stopped"])
    assert shown[2][1] in ("r19", "r20")
    assert shown[3] == ("surest right", "r0", ["stopped"])
    assert set(texts["id"]) == {name for _, name, _ in shown}
    assert texts.columns.tolist() == ["id", "field", "text"]
    assert content["examples"][0]["fields"] == [{"field": "title", "weight": -1.0, "value": None}]
    assert content["examples"][3]["fields"][0] == {"field": "phase", "weight": 1.0, "value": "P1"}


def test_overlapping_spans_share_their_characters() -> None:
    _, content, _, _ = told(examples=1)
    # 0.25 a character in [0, 4), -0.5 a character in [2, 6)
    assert content["examples"][0]["spans"] == [
        ["title", 0, 2, 0.5],
        ["title", 2, 4, -0.5],
        ["title", 4, 6, -1.0],
    ]


def test_a_slow_model_explains_the_first_of_the_same_rows() -> None:
    quick, slow = told(examples=0)[0], told(examples=0, slowly=True)[0]
    assert len(quick.asked) == 40
    assert slow.asked == quick.asked[:4]
    assert told(examples=2, slowly=True)[1]["rows"] == 4


def test_several_labels_have_examples_of_their_own_label() -> None:
    class Flat(Told):
        def explain(self, X: pd.DataFrame) -> Attribution:
            one = super().explain(X)
            twice = [np.repeat(part, 2, axis=-1) for part in (one.values, one.base, one.output)]
            return Attribution("told", *twice, one.features, ("cohort", "review"))

    X = pd.DataFrame({"phase": ["P1"] * 3, "title": ["a", "b", "c"]}, dtype="str")
    found = explanation(
        Flat(),  # type: ignore[arg-type]
        X.set_axis(["x", "y", "z"], axis=0),
        y=np.array([[1, 0], [0, 1], [0, 0]]),
        proba=np.array([[0.6, 0.1], [0.2, 0.9], [0.2, 0.8]]),
        columns=COLUMNS,
        target=Target("multilabel", ("cohort", "review")),
        options={"rows": 3, "gradient_rows": 3, "examples": 2},
        seed=0,
    )
    assert found is not None
    first, second = found[0]["examples"]
    assert (first["id"], first["class"], first["truth"]) == ("y", "review", ["review"])
    assert (second["id"], second["class"], second["truth"]) == ("z", "review", [])
    assert second["probability"] == 0.8


def test_long_terms_are_cut_to_three_words() -> None:
    from benchmark.explain import _named

    assert _named(Feature("title", "a b c d", True))["name"] == "a b c …"
    assert _named(Feature("text", "(words not in the text)"))["name"] == "(words not in the text)"


def stored(folder: Path, seeds: dict[int, dict[str, Any]]) -> Store:
    """A plan and explanations by hand, one model."""
    cells = []
    for seed, content in seeds.items():
        path = f"t/s/{content.pop('model', 'm')}/{seed}"
        (folder / path).mkdir(parents=True)
        record = {**FITTED, "key": str(seed)}
        (folder / path / "record.json").write_text(json.dumps(record))
        (folder / path / "predictions.parquet").touch()
        (folder / path / "explanation.json").write_text(json.dumps(content))
        entry = {"task": "t", "split": "s", "as_of": "after", "path": path, "seed": seed}
        entry["split_hash"] = "h"
        cells.append({**entry, "model": path.split("/")[2], "inputs": "both", "key": str(seed)})
    columns = {"phase": "registration", "enrollment": "after"}
    plan = {"schema": 1, "name": "n", "metrics": None, "cells": cells}
    (folder / "plan.json").write_text(json.dumps({**plan, "datasets": {"t": {"columns": columns}}}))
    return Store(folder)


def told_content(share: dict[str, float], words: dict[str, float], **more: Any) -> dict[str, Any]:
    return {
        "method": "linear",
        "rows": 10,
        "classes": ["completed"],
        "text_columns": ["title"],
        "gap": {"max": 0.0, "mean": 0.0, "moved": 1.0},
        "fields": [{"field": f, "share": [s], "mean": [s / 2]} for f, s in share.items()],
        "features": {
            "completed": [
                {"field": "title", "name": w, "word": True, "size": abs(v), "mean": v, "rows": 1}
                for w, v in words.items()
            ]
        },
        "words": {word: [value] for word, value in words.items()},
        "levels": {},
        "attention": {},
        "examples": [],
        **more,
    }


def test_seeds_are_averaged_and_what_one_lacks_counts_as_nothing(tmp_path: Path) -> None:
    store = stored(
        tmp_path,
        {
            1: told_content({"title": 0.75, "phase": 0.25}, {"red": -1.0, "blue": 0.5}),
            2: told_content({"title": 0.5, "enrollment": 0.5}, {"red": -3.0}),
        },
    )
    ((one,),) = [page["models"] for page in explain(store)]
    assert one["seeds"] == [1, 2]
    assert {row["field"]: row["share"] for row in one["fields"]} == {
        "title": [0.625],
        "enrollment": [0.25],
        "phase": [0.125],
    }
    assert one["fields"][0]["sd"] == [pytest.approx(0.125 * 2**0.5)]
    assert [(r["name"], r["size"], r["mean"]) for r in one["features"]["completed"]] == [
        ("red", 2.0, -2.0),
        ("blue", 0.25, 0.25),
    ]


def test_agreement_is_the_rank_correlation_over_what_both_have(tmp_path: Path) -> None:
    words = {f"w{i}": float(i) for i in range(1, 12)}
    a = told_content({"a": 0.4, "b": 0.3, "c": 0.2, "title": 0.1}, words, model="m")
    turned = {word: -value for word, value in words.items()} | {"other": 9.0}
    b = told_content({"a": 0.1, "b": 0.2, "c": 0.3, "text": 0.4}, turned, model="o")
    (found,) = explain(stored(tmp_path, {1: a, 2: b}))
    (row,) = found["agreement"]
    assert (row["a"], row["b"]) == ("m/both", "o/both")
    assert (row["fields"], row["n_fields"]) == (pytest.approx(-1), 4)  # title is all of the text
    assert (row["words"], row["n_words"]) == (pytest.approx(-1), 11)


def test_too_little_in_common_is_no_agreement(tmp_path: Path) -> None:
    a = told_content({"a": 0.6, "b": 0.4}, {"x": 1.0}, model="m")
    b = told_content({"a": 0.4, "b": 0.6}, {"x": 1.0}, model="o")
    ((row,),) = [page["agreement"] for page in explain(stored(tmp_path, {1: a, 2: b}))]
    assert row["fields"] is None
    assert row["words"] is None


def test_a_run_without_explanations_says_how_to_get_them(
    small: dict[str, Any], tmp_path: Path
) -> None:
    done = run({**small, "explain": None, "splits": ["stratified"]}, out=tmp_path / "run")
    with pytest.raises(InputError, match="holds no explanation"):
        explain(Store(done.folder))
