from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import benchmark

ROOT = Path(__file__).parents[1]
ORDER = ("features", "models", "benchmark")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", ORDER)
def test_imports_flow_from_features_to_models_to_benchmark(package: str) -> None:
    later = set(ORDER[ORDER.index(package) + 1 :])
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        assert not imported(path) & later, path


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split("\n")[-2].split())


HEAVY = {"torch", "transformers", "sentence_transformers", "sklearn", "lightgbm", "shap", "scipy"}


def test_the_command_line_starts_without_pandas_and_the_heavy_libraries() -> None:
    assert not loaded_by("import benchmark.cli") & (HEAVY | {"pandas", "numpy", "pydantic"})


def test_help_loads_no_heavy_library_and_answers_in_half_a_second_of_processor_time() -> None:
    code = (
        "import benchmark.cli, time\n"
        "sys.argv = ['trialmark', '--help']\n"
        "try: benchmark.cli.main()\n"
        "except SystemExit: pass\n"
        "assert time.process_time() < 0.5, time.process_time()"
    )
    assert not loaded_by(code) & (HEAVY | {"pandas"})


def test_reports_load_no_heavy_library() -> None:
    assert not loaded_by("import benchmark.render, benchmark.matrix, benchmark.catalogue") & HEAVY


def loaded_by_command(*words: str) -> set[str]:
    code = (
        "import benchmark.cli\n"
        f"sys.argv = ['trialmark', *{words!r}]\n"
        "try: benchmark.cli.main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code"
    )
    return loaded_by(code)


SLOW = {"torch", "transformers", "sklearn.metrics", "lightgbm", "shap", "optuna", "ray"}


@pytest.mark.parametrize("what", ["models", "tasks", "splits", "metrics", "readers", "claims"])
def test_lists_load_no_slow_library(what: str) -> None:
    assert not loaded_by_command("list", what) & SLOW


def test_the_board_and_the_status_of_a_run_load_no_slow_library(
    small: dict[str, Any], tmp_path: Path
) -> None:
    benchmark.run({**small, "models": ["prior"], "explain": None}, out=tmp_path)
    for command in ("leaderboard", "status"):
        assert not loaded_by_command(command, str(tmp_path)) & SLOW
