"""The documentation runs: each page is a script of named files and commands."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stored import store_binary, store_plan

import benchmark
from benchmark.readers import READERS
from models import MODELS

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Language, what follows it in its line, and content of each block."""
    for language, about, content in _BLOCK.findall(page.read_text(encoding="utf-8")):
        yield language, about.strip(), content


def follow(page: Path, call: Any) -> list[str]:
    """Write the files of a page, run its commands and its Python; what they printed."""
    printed = []
    for language, about, content in blocks(page):
        if about.startswith("run") and language == "python":
            exec(compile(content, page.name, "exec"), {})
        elif about.startswith("run"):
            wanted = int(about.partition("exit=")[2] or 0)
            for line in content.splitlines():
                program, *words = shlex.split(line)
                assert program == "trialmark", line
                code, out, err = call(*words)
                assert code == wanted, f"{line}: {out}{err}"
                printed.append(out)
        elif about:
            Path(Path(about).name).write_text(content, encoding="utf-8")
    return printed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to follow a page in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "results").mkdir()
    return tmp_path


def test_the_tour(here: Path, call: Any) -> None:
    printed = follow(DOCS / "tour.md", call)
    # prior, two and two models and the ceiling, on two splits with two seeds
    assert printed[1].startswith("24 cells: 24 done")
    assert "AP stopped" in printed[3]
    assert "tfidf-logreg/both" in printed[5]
    assert (here / "scores.pdf").is_file()
    assert "0 do not" in printed[-1]


def test_a_table_of_ones_own(here: Path, call: Any) -> None:
    audited, _, ablation = follow(DOCS / "your-table.md", call)
    assert "final" in audited
    assert "Ablation of inputs" in ablation
    rows = benchmark.read("results/studies").leak_dividend("roc_auc")
    gained = rows.set_index(["split", "inputs"])["leak_dividend"]
    # `final` is 80 or more for yes and 60 or less for no
    assert gained["stratified", "tabular"] > 0.3


def test_tables_and_figures_of_a_paper(here: Path, call: Any) -> None:
    follow(DOCS / "papers.md", call)
    for name in ("main.tex", "metrics.tex", "ablation.tex", "main.csv", "roc.pdf", "pr.svg"):
        assert (here / name).stat().st_size > 300


def test_tuning(here: Path, call: Any) -> None:
    printed = follow(DOCS / "tuning.md", call)
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed[0])
    text = " ".join(text.split())
    assert "tuned (4 Optuna trials or 60 s by TPE on 3 inner folds for" in text
    assert "not tuned: as it is." in text
    assert "calibrated on valid (Platt): tfidf-logreg." in text
    assert "blend: mixes" in text


def test_a_run_on_a_cluster_of_this_machine(here: Path, call: Any) -> None:
    pytest.importorskip("ray", reason="trialmark[ray] is not installed")
    board, status = follow(DOCS / "cluster.md", call)
    assert "tfidf-logreg" in board
    # prior, two inputs of a linear model, the blend and the ceiling, on two splits
    assert status.startswith("10 cells: 10 done")


def test_explanations(here: Path, call: Any) -> None:
    follow(DOCS / "explanations.md", call)
    assert "<html" in (here / "lightgbm.html").read_text(encoding="utf-8")
    assert (here / "shares.svg").is_file()


def test_reproducing_a_recipe(here: Path, call: Any) -> None:
    printed = follow(DOCS / "reproducing.md", call)
    assert "their recipe" in printed[-1]


def test_adding_a_model_a_reader_and_a_claim(
    here: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "adding.md").read_text(encoding="utf-8")
    assert '"text-length": "models.text_length:TextLength",' in page
    assert '"national": "benchmark.readers.national",' in page
    monkeypatch.setitem(MODELS, "text-length", "text_length:TextLength")
    monkeypatch.setitem(READERS, "national", "national")
    board, card, imported, claim = follow(DOCS / "adding.md", call)
    assert "text-length" in board
    assert "tuned" in board
    assert "brief_title" in card
    assert "wrote registry.parquet: 4 rows, 5 columns" in imported
    reasons = (here / "registry.parquet.rejected.csv").read_text(encoding="utf-8")
    assert "not a state: finished, given up, under way" in reasons
    assert ".667" in claim


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_trialmark_has(page: Path) -> None:
    from typer.main import get_command

    from benchmark.cli import app

    known = get_command(app)
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`(trialmark [a-z][^`\n]*)`", text)
    lines = [line for language, _, content in blocks(page) for line in content.splitlines()
             if language == "sh"]  # fmt: skip
    for line in [*lines, *inline]:
        _, *words = shlex.split(line.partition("    ")[0])
        command: Any = known
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, line
            command = command.commands[words.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts}
        for word in words:
            assert not word.startswith("--") or word in options, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_picture_of_the_board_holds_its_numbers_and_fetches_nothing(tmp_path: Path) -> None:
    truth, chances = [1] * 5 + [0] * 5, [0.9, 0.8, 0.7, 0.6, 0.35, 0.4, 0.3, 0.2, 0.1, 0.05]
    entry = store_binary(tmp_path, "good", chances, truth)
    store = store_plan(tmp_path, entry, metrics=["roc_auc"])
    picture = runpy.run_path(str(DOCS / "pictures" / "make.py"))["board"](store, "results/x")
    assert ".960" in picture  # one pair of 25 is the wrong way
    assert "url(http" not in picture
    assert "@import" not in picture


def test_every_page_stands_in_the_list_of_pages() -> None:
    listed = set(re.findall(r"\((\w[\w-]*\.md)\)", (DOCS / "README.md").read_text()))
    assert listed == {page.name for page in PAGES} - {"README.md"}
