"""What several test files share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test imports the hub's library

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real data beside the checkout; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data) is not here")
    monkeypatch.setenv("TRIALMARK_DATA", str(SHARED))
    return SHARED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings of tests never touch the user's cache."""
    monkeypatch.setenv("TRIALMARK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def small() -> dict[str, Any]:
    """A config that runs in a second: synthetic rows, a floor and a linear model."""
    return {
        "name": "small",
        "data": {"reader": "synthetic", "rows": 300},
        "splits": ["stratified", "temporal"],
        "models": ["prior", {"name": "tfidf-logreg", "inputs": "text"}],
    }


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """A function that calls the command line with its words: exit code, stdout, stderr."""
    from benchmark.cli import main

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["trialmark", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return command
