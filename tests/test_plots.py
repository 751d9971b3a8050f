"""Figures: every kind is drawn from stored predictions, and equal numbers give equal files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from stored import store_binary, store_plan

from benchmark import run
from benchmark.drawing import looks
from benchmark.plots import KINDS, _averaged, _frontier, plot, scores, tuning
from benchmark.store import Store
from features.errors import InputError

TRUTH = [1] * 5 + [0] * 5
GOOD = [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2, 0.1, 0.05]
POOR = [0.9, 0.2, 0.7, 0.3, 0.55, 0.4, 0.6, 0.8, 0.1, 0.5]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A small run with explanations and tuning."""
    config = {
        "name": "drawn",
        "data": {"reader": "synthetic", "rows": 300},
        "splits": ["stratified", "temporal"],
        "tune": {"trials": 3, "folds": 2},
        "explain": {"rows": 20, "examples": 0},
        "models": ["prior", {"name": "tfidf-logreg", "inputs": ["text", "both"]}],
    }
    return Store(run(config, out=tmp_path_factory.mktemp("runs") / "drawn").folder)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three models on three tasks."""
    root = tmp_path_factory.mktemp("tasks")
    cells = [
        store_binary(root, model, values, TRUTH, task=task)
        for task in "abc"
        for model, values in (("good $1", GOOD), ("poor", POOR), ("even", [0.5] * 10))
    ]
    return store_plan(root, *cells, metrics=["roc_auc"])


def texts(file: Path) -> list[str]:
    """The words of an SVG, which stay words."""
    return re.findall(r"<text[^>]*>([^<]*)<", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"cd"}))
def test_every_kind_names_its_models_and_is_the_same_twice(
    done: Store, tmp_path: Path, kind: str
) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    plot(done, kind, first)
    plot(done, kind, second)
    assert first.read_bytes() == second.read_bytes()
    words = texts(first)
    assert any("tfidf-logreg/both" in word for word in words)
    assert "temporal split" in " ".join(words)


@pytest.mark.parametrize("suffix", [".pdf", ".png"])
def test_pdf_and_png_are_the_same_twice_and_have_no_date(
    tasks: Store, tmp_path: Path, suffix: str
) -> None:
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        plot(tasks, "scores", file)
    data = files[0].read_bytes()
    assert data == files[1].read_bytes()
    assert b"CreationDate" not in data


def test_a_pdf_keeps_its_text_as_text(tasks: Store, tmp_path: Path) -> None:
    plot(tasks, "scores", tmp_path / "scores.pdf")
    data = (tmp_path / "scores.pdf").read_bytes()
    assert b"/TrueType" in data or b"/CIDFontType2" in data
    assert b"/Type3" not in data


def test_critical_differences_over_tasks_name_all_models(tasks: Store, tmp_path: Path) -> None:
    plot(tasks, "cd", tmp_path / "cd.svg")
    shown = " ".join(texts(tmp_path / "cd.svg"))
    for name in ("good $1/text (1)", "poor/text (2)", "(3) even/text"):
        assert name in shown


def test_scores_are_drawn_at_their_values(tasks: Store) -> None:
    axes = scores(tasks, None).axes[0]
    dots = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    # even: .5; poor: of 25 pairs 5 + 0 + 4 + 0.. are right; good: all
    assert dots[0] == 0.5
    assert dots[-1] == 1.0
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == r"good \$1/text"


def test_the_best_trial_so_far_never_falls_and_the_choice_is_ringed(done: Store) -> None:
    axes = tuning(done, None).axes[0]
    best = [line.get_ydata() for line in axes.lines if len(line.get_xdata()) == 3]
    for line in best[1::2]:  # dots, then the line, of each model
        assert (np.diff(line) >= 0).all()
    rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert len(rings) == 2


def test_curves_of_two_seeds_are_averaged_where_they_lie() -> None:
    points = pd.DataFrame(
        {
            "seed": [1, 1, 1, 2, 2],
            "split": "s",
            "x": [0.0, 0.0, 1.0, 0.0, 1.0],
            "y": [0.0, 1.0, 1.0, 0.0, 1.0],
        }
    )
    mean = _averaged(points, "roc")
    # a perfect curve and the diagonal: at a false positive rate of .5 1 and .5
    assert mean[100] == pytest.approx(0.75)
    assert mean[-1] == 1.0


def test_precision_between_two_recalls_is_that_of_the_next_threshold() -> None:
    points = pd.DataFrame({"seed": 1, "split": "s", "x": [0.0, 0.5, 1.0], "y": [1.0, 0.8, 0.4]})
    mean = _averaged(points, "pr")
    assert [mean[0], mean[50], mean[100], mean[150]] == [1.0, 0.8, 0.8, 0.4]


def test_the_frontier_leaves_out_what_is_dearer_and_no_better() -> None:
    def row(name: str, seconds: float, value: float) -> dict[str, Any]:
        return {"model": name, "fit_seconds": seconds, "value": value, "metric": "roc_auc"}

    rows = [row("dear", 9, 0.9), row("cheap", 1, 0.7), row("beaten", 5, 0.6), row("same", 2, 0.7)]
    assert [one["model"] for one in _frontier(rows)] == ["cheap", "dear"]
    lower = [{**one, "metric": "brier"} for one in rows]
    assert [one["model"] for one in _frontier(lower)] == ["cheap", "beaten"]


def test_models_differ_in_colour_or_line_and_floors_are_grey() -> None:
    found = looks([f"m{i}" for i in range(28)] + ["floor"], quiet=["floor"])
    pairs = {(look.colour, str(look.line)) for name, look in found.items() if name != "floor"}
    assert len(pairs) == 28
    assert found["floor"].colour == "#767676"


def test_mistakes_say_what_is_possible(done: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown figure 'rocs'.*did you mean 'roc'"):
        plot(done, "rocs", tmp_path / "a.pdf")
    with pytest.raises(InputError, match=r"a name that ends in \.pdf, \.svg, \.png"):
        plot(done, "roc", tmp_path / "a.gif")
    with pytest.raises(InputError, match="no critical difference diagram: 1 task"):
        plot(done, "cd", tmp_path / "a.pdf")
    with pytest.raises(InputError, match="cannot write"):
        plot(done, "roc", tmp_path / "nowhere" / "a.pdf")


def test_a_run_without_tuning_says_so(tasks: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model was tuned"):
        plot(tasks, "tuning", tmp_path / "a.pdf")


def test_the_command_writes_the_file_it_names(
    call: Any, tasks: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("plot", tasks.root, "scores") == (0, "wrote scores.pdf\n", "")
    assert (tmp_path / "scores.pdf").read_bytes().startswith(b"%PDF")
