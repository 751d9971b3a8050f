"""Explanations on a page, in a terminal and as pictures: untrusted text stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmark.render.explanation import NO_TEXTS, Piece, excerpt, pieces, render, waterfall
from benchmark.render.figures import write_figures
from features.errors import InputError

EVIL = "<script>alert('x')</script>"


def example(**more: Any) -> dict[str, Any]:
    return {
        "id": "NCT1",
        "kind": "surest right",
        "class": "completed",
        "truth": ["completed"],
        "probability": 0.9,
        "base": 1.0,
        "output": 2.0,
        "fields": [
            {"field": "title", "weight": 1.5, "value": None},
            {"field": "phase", "weight": -0.75, "value": EVIL},
        ],
        "rest": 0.25,
        "gap": 0.0,
        "words": [{"field": "title", "name": "heart", "word": True, "weight": 1.5}],
        "spans": [["title", 2, 7, 1.5], ["title", 8, 12, -0.5]],
        "attention": [],
        "texts": {"title": "A heart drug & " + EVIL},
        **more,
    }


def page(*examples: dict[str, Any], **more: Any) -> dict[str, Any]:
    one = {
        "model": EVIL,
        "inputs": "both",
        "seeds": [1, 2],
        "method": "linear",
        "classes": ["completed"],
        "text_columns": ["title"],
        "rows": [10, 10],
        "gap": {"max": 1e-15, "mean": 0.0, "moved": 1.0},
        "fields": [
            {"field": "title", "share": [0.75], "sd": [0.1], "mean": [0.5]},
            {"field": "$phase$", "share": [0.25], "sd": [0.1], "mean": [-0.25]},
        ],
        "features": {
            "completed": [
                {"field": "title", "name": EVIL, "word": True, "size": 0.5, "mean": -0.25},
                {"field": "$phase$", "name": "$phase$", "word": False, "size": 0.25, "mean": 0.1},
            ]
        },
        "words": {},
        "levels": {"phase": [{"level": EVIL, "rows": 3, "mean": [0.5]}]},
        "attention": {},
        "examples": list(examples),
        **more,
    }
    return {
        "task": "trial-outcome",
        "split": "stratified",
        "as_of": "registration",
        "models": [one],
        "agreement": [
            {"a": EVIL, "b": "b/both", "fields": -0.5, "n_fields": 5, "words": None, "n_words": 2}
        ],
        "alarms": [{"model": EVIL, "code": "late field", "what": EVIL, "text": f"{EVIL} is late"}],
    }


class Read(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_untrusted_text_is_shown_and_never_run() -> None:
    html = render([page(example(**{"class": EVIL, "id": EVIL}))], "html")
    read = Read(html)
    assert not read.all("script")
    assert "onerror" not in html
    assert read.text.count(EVIL) >= 9  # model, feature, level, alarm, agreement, cell, id, text …


def test_a_page_needs_no_network() -> None:
    read = Read(render([page(example())], "html"))
    assert not [a for tag in ("img", "link", "iframe", "script") for a in read.all(tag)]
    assert all((a.get("href") or "#").startswith("#") for a in read.all("a"))
    assert any("default-src 'none'" in (a.get("content") or "") for a in read.all("meta"))


def test_a_page_can_be_read_without_seeing_it() -> None:
    read = Read(render([page(example())], "html"))
    assert read.all("html")[0]["lang"] == "en"
    ids = [a["id"] for _, a in read.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {(a["href"] or "")[1:] for a in read.all("a")}
    assert links <= set(ids)
    assert all(a.get("scope") in ("col", "row") for a in read.all("th"))
    regions = [a for a in read.all("div") if a.get("class") == "scroll"]
    assert regions
    assert all(a.get("tabindex") == "0" and a.get("aria-label") for a in regions)


def test_words_are_marked_for_and_against() -> None:
    read = Read(render([page(example())], "html"))
    marks = [a for a in read.all("mark") if "title" in a]
    assert [(a["class"], a["title"]) for a in marks] == [
        ("for", "+1.5"),
        ("against", "\N{MINUS SIGN}0.5"),
    ]
    assert marks[0]["style"] == "--w:1.000"
    assert marks[1]["style"] == "--w:0.333"


def test_pieces_put_together_are_the_text() -> None:
    found = pieces(example(), "title")
    assert "".join(piece.text for piece in found) == example()["texts"]["title"]
    assert [(piece.text, piece.weight) for piece in found][:4] == [
        ("A ", 0.0),
        ("heart", 1.5),
        (" ", 0.0),
        ("drug", -0.5),
    ]


def test_an_excerpt_is_the_part_that_weighs_most() -> None:
    found = [
        Piece("a " * 50, 0.0, 0.0),
        Piece("faint", 0.1, 0.1),
        Piece(" b" * 50, 0.0, 0.0),
        Piece("heart", 1.0, 1.0),
        Piece(" and ", 0.0, 0.0),
        Piece("lung", -0.5, 0.5),
        Piece(" c" * 50, 0.0, 0.0),
    ]
    short = excerpt(found, 60)
    text = "".join(piece.text for piece in short)
    assert "heart and lung" in text
    assert "faint" not in text
    assert len(text) <= 60 + 2
    assert (text[0], text[-1]) == ("…", "…")
    assert excerpt(found, None) == found
    assert excerpt(found, 1000) == found


def test_a_waterfall_runs_from_the_baseline_to_the_output() -> None:
    steps = waterfall(example())
    assert [(step.start, step.end) for step in steps] == [
        (1.0, 1.0),
        (1.0, 2.5),
        (2.5, 1.75),
        (1.75, 2.0),
        (2.0, 2.0),
    ]
    assert [step.kind for step in steps] == ["end", "for", "against", "for", "end"]
    inexact = waterfall(example(output=1.9, gap=-0.1))
    assert [step.label for step in inexact][-2:] == [
        "error of the integral",
        "log-odds of completed",
    ]


def test_without_the_texts_words_are_left_and_a_line_says_so() -> None:
    html = render([page(example(texts={}))], "html")
    assert NO_TEXTS in Read(html).text
    assert "heart · title" in html
    assert NO_TEXTS not in Read(render([page(example())], "html")).text


def test_attention_is_said_not_to_be_attribution() -> None:
    one = example(attention=[["title", 2, 7, 0.5]])
    read = Read(render([page(one, attention={"title": 0.5})], "html"))
    assert "That is not attribution" in read.text
    assert [a["class"] for a in read.all("mark")].count("look") == 1


def test_json_has_everything_but_the_texts() -> None:
    (found,) = json.loads(render([page(example())], "json"))
    assert "texts" not in found["models"][0]["examples"][0]
    assert found["models"][0]["fields"][0]["share"] == [0.75]


def test_the_terminal_shows_shares_features_agreement_and_alarms() -> None:
    text = re.sub(r"\x1b\[[0-9;]*m", "", render([page()], "terminal"))
    assert re.search(r"title +75\.0%", text)
    assert "-0.50 of 5" in text
    assert "too few in common" in text
    assert "is late" in text


def test_the_error_of_gradients_is_told() -> None:
    gap = {"max": 0.02, "mean": 0.01, "moved": 0.5}
    read = Read(render([page(method="integrated gradients", gap=gap)], "html"))
    assert "convergence delta at most 0.02 (2.0% of the mean)" in read.text


def test_pictures_are_written_for_fields_and_examples(tmp_path: Path) -> None:
    long = example(texts={"title": "A heart drug " + "word " * 2000})
    written = write_figures([page(example(), long, example(texts={}, spans=[]))], tmp_path / "new")
    assert [path.name.endswith(".png") for path in written] == [True] * 4
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    with pytest.raises(InputError, match="cannot write"):
        write_figures([page()], written[0])


def test_the_command_writes_a_page(
    small: dict[str, Any], tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    from benchmark import run

    folder = run({**small, "splits": ["stratified"]}, out=tmp_path / "run").folder
    code, out, _ = call("explain", folder)
    assert code == 0
    assert "share of the attribution by field" in out
    file = tmp_path / "page.html"
    assert call("explain", folder, "--format", "html", "--output", file)[0] == 0
    assert "tfidf-logreg/text" in Read(file.read_text()).text
    code, _, err = call("explain", folder, "--model", "prior")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = call("explain", folder, "--format", "png")
    assert code == 2
    assert "--output" in err
