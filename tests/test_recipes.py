"""The configs of published recipes: what they say, and what they reach on the real data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import benchmark
from benchmark.config import RunConfig, load
from benchmark.matrix import read_rows
from benchmark.splits import make_split
from benchmark.tasks import labelled

CONFIGS = Path(__file__).parents[1] / "configs"


def model(config: RunConfig, label: str) -> Any:
    return next(one for one in config.models if one.shown == label)


def test_the_notebooks_recipe_is_the_one_it_published(shared: Path) -> None:
    config = load(CONFIGS / "notebook.yaml")
    assert (
        model(config, "notebook-recipe").params.items()
        >= {
            "template": "TITLE: {brief_title}; SUMMARY: {brief_summary}; PHASE: {phases}",
            "max_length": 128,
            "lr": 1e-5,
            "epochs": 6,
            "max_steps": None,
            "batch_size": 16,
            "accumulation": 2,
            "warmup": 0.1,
            "schedule": "cosine",
            "weight_decay": 0.01,
            "monitor": "f1_macro",
            "patience": None,
        }.items()
    )
    assert (config.task, config.seeds) == (["trial-outcome"], [42])
    assert [(split.name, split.test, split.valid) for split in config.splits] == [
        ("stratified", 0.2, 0.2)
    ]


def test_the_override_that_the_notebook_config_names_reaches_its_encoder(shared: Path) -> None:
    override = "models.5.params.checkpoint=bundled:minilm"
    assert override.partition("=")[0] in (CONFIGS / "notebook.yaml").read_text(encoding="utf-8")
    config = load(CONFIGS / "notebook.yaml", [override])
    assert config.models[5].shown == "notebook-recipe"


def test_the_notebooks_rows_are_those_with_a_title_and_a_phase(shared: Path) -> None:
    config = load(CONFIGS / "notebook.yaml")
    rows = read_rows(config)
    assert (len(rows.frame), rows.incomplete) == (1748, 25)
    split = make_split(labelled(rows, "trial-outcome"), config.splits[0], 42)
    # 1,515 labelled rows, 20 of them without a phase
    assert [len(split.train), len(split.valid), len(split.test)] == [956, 240, 299]


def test_tfidf_on_the_criteria_reaches_the_bar_of_top_phase_1(shared: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((CONFIGS / "top-phase-1.yaml").read_text())
    wanted = ("always-positive", "tfidf-logreg-criteria")
    config["models"] = [
        model
        for model in config["models"]
        if model in wanted or (isinstance(model, dict) and model.get("label") in wanted)
    ]
    config["splits"] = "official"
    board = benchmark.run(config, out=tmp_path).leaderboard()
    scores = board.set_index(["model", "metric"])["value"]
    assert scores["tfidf-logreg-criteria", "roc_auc"] >= 0.65
    assert scores["tfidf-logreg-criteria", "average_precision"] >= 0.69
    prevalence = 347 / 627
    assert scores["always-positive", "roc_auc"] == pytest.approx(0.5)
    assert scores["always-positive", "average_precision"] == pytest.approx(prevalence)
    f1 = 2 * prevalence / (1 + prevalence)
    assert scores["always-positive", "f1_positive"] == pytest.approx(f1)
