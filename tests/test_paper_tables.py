"""Tables in the shapes of papers: what stands where, what is bold, and that LaTeX compiles."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stored import store_binary, store_plan

from benchmark.ablation import ablation
from benchmark.leaderboard import leaderboard
from benchmark.render import lay_out, render, write
from benchmark.render.latex import escape, latex
from benchmark.render.layout import Sheet
from benchmark.store import Store
from features.errors import InputError

TRUTH = [1] * 5 + [0] * 5
PERFECT = [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.2, 0.1, 0.05]
NEARLY = [0.9, 0.8, 0.7, 0.6, 0.35, 0.4, 0.3, 0.2, 0.1, 0.05]  # one pair the wrong way: .96
CONSTANT = [0.5] * 10
REVERSED = [1 - p for p in PERFECT]


def put(root: Path, model: str, scores: list[float], *, inputs: str = "text", **more: Any) -> Any:
    """A finished cell by hand, with these inputs; its folder is that of the label and inputs."""
    entry = store_binary(root, f"{model}~{inputs}", scores, TRUTH, **more)
    return {**entry, "model": model, "inputs": inputs}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two tasks; in the first the floor beats one model, in the second it ties with the best."""
    floor = {"is_floor": True}
    return store_plan(
        tmp_path,
        put(tmp_path, "good", PERFECT, task="one"),
        put(tmp_path, "fair", NEARLY, task="one"),
        put(tmp_path, "bad", REVERSED, task="one"),
        put(tmp_path, "none", CONSTANT, task="one", **floor),
        put(tmp_path, "good", CONSTANT, task="two"),
        put(tmp_path, "none", CONSTANT, task="two", **floor),
        metrics=["roc_auc", "brier"],
    )


def test_models_stand_by_rank_and_tasks_side_by_side(store: Store) -> None:
    (sheet,) = lay_out(store, "splits")
    assert sheet.header == ("model", "inputs", "one", "two")
    assert sheet.rows[0][0] == "good"
    cells = {row[0]: row[2:] for row in sheet.rows}
    assert cells["good"] == ("1.000 [1.000, 1.000]", ".500 [.500, .500]")
    assert cells["bad"] == (".000 [.000, .000]", "—")
    assert sheet.styles[[row[0] for row in sheet.rows].index("none (floor)")] == "floor"


def test_bold_is_the_best_tie_group_and_nothing_that_a_floor_reaches(store: Store) -> None:
    (sheet,) = lay_out(store, "splits")
    names = [row[0] for row in sheet.rows]
    bold = {(names[line], sheet.header[column]) for line, column in sheet.bold}
    # .96 can't be told from 1.0 on ten rows; in task two the model is no better than the floor
    assert bold == {("good", "one"), ("fair", "one")}


def test_the_rows_that_a_column_rests_on_are_told(store: Store) -> None:
    (sheet,) = lay_out(store, "splits")
    assert sheet.about[0].startswith("one: 30 train and 10 test rows, 50.0% completed, seed 1")
    assert "minimum detectable difference" in sheet.about[0]


def test_metrics_stand_side_by_side_each_with_its_own_best(tmp_path: Path) -> None:
    # right order, but far from 0 and 1: best by ROC-AUC, not by Brier
    timid = [0.5 + 0.001 * (5 - i) for i in range(10)]
    bold = [0.99] * 5 + [0.01] * 4 + [0.995]  # one row surely wrong: 5 of 25 pairs
    cells = [put(tmp_path, "timid", timid), put(tmp_path, "bold", bold)]
    store = store_plan(tmp_path, *cells, metrics=["roc_auc", "brier"])
    (sheet,) = lay_out(store, "metrics")
    assert sheet.header[2:4] == ("ROC-AUC", "Brier ↓")
    values = {row[0]: [cell.split(" ")[0] for cell in row[2:4]] for row in sheet.rows}
    assert values["timid"][0] == "1.000"
    assert values["bold"] == [".800", ".099"]  # (9 * .0001 + .990) / 10


def test_six_metrics_fit_a_page_and_the_seventh_makes_another(tmp_path: Path) -> None:
    metrics = ["roc_auc", "average_precision", "f1_macro", "f1_positive", "mcc", "ece"]
    store = store_plan(tmp_path, put(tmp_path, "m", PERFECT), metrics=metrics)
    sheets = lay_out(store, "metrics")  # AP of the stopped class is always there
    assert [len(sheet.header) - 2 for sheet in sheets] == [3, 4]


def test_an_ablation_is_paired_with_the_model_that_has_all_inputs(tmp_path: Path) -> None:
    cells = [
        put(tmp_path, "m", REVERSED, inputs="tabular"),
        put(tmp_path, "m", PERFECT, inputs="both"),
        put(tmp_path, "m", PERFECT, inputs="text"),
        put(tmp_path, "other", PERFECT, inputs="text"),
    ]
    store = store_plan(tmp_path, *cells, metrics=["roc_auc"])
    found = ablation(store).set_index("inputs")
    assert list(found.index) == ["both", "tabular", "text"]
    assert found["difference"].tolist()[1:] == [-1.0, 0.0]
    assert found.loc["tabular", ["low", "high"]].tolist() == [-1.0, -1.0]
    (sheet,) = lay_out(store, "ablation")
    assert sheet.rows[0] == ("m", "both", "1.000 [1.000, 1.000]", "", "")
    assert sheet.rows[1][:4] == (
        "", "tabular", ".000 [.000, .000]", "-1.000 [-1.000, -1.000]",
    )  # fmt: skip


def test_an_ablation_needs_a_model_with_all_inputs_and_one_with_fewer(store: Store) -> None:
    with pytest.raises(InputError, match="no model ran with all inputs and with fewer"):
        lay_out(store, "ablation")


def test_a_model_that_lacks_a_seed_is_marked(tmp_path: Path) -> None:
    cells = [put(tmp_path, "all", CONSTANT, seed=s) for s in (1, 2)]
    cells.append(put(tmp_path, "half", PERFECT, seed=1))
    missing = {**cells[-1], "seed": 2, "path": "t/missing", "key": "missing"}
    store = store_plan(tmp_path, *cells, missing, metrics=["roc_auc"])
    (sheet,) = lay_out(store, "splits")
    assert {row[0]: row[2].split(" ")[0] for row in sheet.rows} == {
        "all": ".500", "half": "1.000†",
    }  # fmt: skip
    assert sheet.bold == {(0, 2)}
    assert "†: not all seeds are done; no rank." in sheet.notes


def test_the_same_table_in_markdown_and_csv(store: Store) -> None:
    sheets = lay_out(store, "splits")
    assert "| good | text | **1.000 \\[1.000, 1.000\\]** |" in write(sheets, "markdown")
    lines = write(sheets, "csv").splitlines()
    assert lines[0] == "table,model,inputs,one,two"
    assert lines[1].endswith(',good,text,"1.000 [1.000, 1.000]",".500 [.500, .500]"')


def test_a_name_that_a_spreadsheet_would_take_for_a_formula_is_quoted() -> None:
    sheet = Sheet("t", ("model", "a"), (False, True), (("=1+1", "-.5"),), ("plain",))
    assert write([sheet], "csv").splitlines()[1] == "t,'=1+1,-.5"


def test_a_terminal_too_narrow_for_a_table_gets_intervals_below_their_values() -> None:
    header = ("model", *(f"m{i}" for i in range(6)))
    row = ("a model with a long name", *[".123 [.045, 1.000]"] * 6)
    sheet = Sheet("t", header, (False, *[True] * 6), (row,), ("plain",))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", write([sheet], "terminal")).splitlines()
    assert max(map(len, lines)) <= 120
    (line,) = [line for line in lines if "a model with a long name" in line]
    assert line.split("name")[1].split() == [".123"] * 6


def test_latex_bolds_greys_and_rules(store: Store) -> None:
    text = render(leaderboard(store), "latex")
    assert r"good & text & \tmbeside{\textbf{1.000}}" in text
    assert r"\textcolor{black!60}{none (floor)}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert "10 test rows, 50.0\\% completed, seed 1" in text[: text.index(r"\toprule")]


def test_upper_heads_that_are_equal_become_one() -> None:
    header = ("model", "one\ntemporal", "one\nrandom", "two\nrandom")
    sheet = Sheet("t", header, (False, True, True, True), (("m", "1", "2", "3"),), ("plain",))
    text = latex([sheet])
    assert r" & \multicolumn{2}{c}{one} & \multicolumn{1}{c}{two} \\\cmidrule(lr){2-3}" in text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("50 % of $x_1 & #2", r"50 \% of \$x\_\hspace{0pt}1 \& \#2"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/\hspace{0pt}etc/\hspace{0pt}passwd\}"),
        ("a~b^c<d>e|f", r"a\textasciitilde{}b\textasciicircum{}c\textless{}d\textgreater{}e"
                        r"\textbar{}f"),
        ("中", "{[}U+4E2D{]}"),
        ("Müller\n", r"M\"{u}ller "),
        ("Łódź", r"\L{}\'{o}d\'{z}"),
    ],
)  # fmt: skip
def test_latex_specials_are_text(text: str, escaped: str) -> None:
    assert escape(text) == escaped


_CHARACTERS = map(chr, [*range(32, 127), *range(0xA1, 0x100)])
HOSTILE = " ".join(_CHARACTERS) + " łőčąşŻ中†≥\t\n\\end{document}"


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], str]:
    """A function that compiles LaTeX and returns its log."""
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("pdflatex is not installed")

    def run(text: str) -> str:
        (tmp_path / "table.tex").write_text(text, encoding="utf-8")
        done = subprocess.run(
            [program, "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
            cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
        assert (tmp_path / "table.pdf").stat().st_size > 1000
        return done.stdout

    return run


def test_latex_compiles_without_a_warning(store: Store, compiled: Callable[[str], str]) -> None:
    wide = tuple(f"several words\nmetric {i}" for i in range(6))
    hostile = Sheet(
        HOSTILE,
        ("model", *wide),
        (False, *[True] * 6),
        (("a-model-of-a-very-long-name (some/checkpoint)", *[".123 [-.045, 1.000]"] * 6),) * 3,
        ("plain", "floor", "ceiling"),
        notes=(HOSTILE,),
        about=(HOSTILE,),
        bold=frozenset({(0, 1), (0, 2)}),
    )
    log = compiled(latex([*lay_out(store, "splits"), *lay_out(store, "metrics"), hostile]))
    assert not re.findall(r"Warning|Overfull|Underfull|Missing|Undefined", log)


def test_a_paper_can_take_the_file_in(store: Store, compiled: Any, tmp_path: Path) -> None:
    board = render(leaderboard(store), "latex")
    (tmp_path / "board.tex").write_text(board, encoding="utf-8")
    paper = (
        "\\documentclass{article}\\usepackage{booktabs,tabularx,xcolor}\n"
        "\\begin{document}Before.\\input{board}\\input{board}After.\\end{document}"
    )
    compiled(paper)


def test_layouts_are_for_formats_that_are_tables(call: Any, tmp_path: Path) -> None:
    code, _, err = call("leaderboard", tmp_path, "--layout", "splits", "--format", "json")
    assert code == 2
    assert "expected terminal, markdown, latex or csv" in err


TUNING = {
    "budget": {"trials": 30, "seconds": 600}, "folds": 5, "objective": "roc_auc",
    "chosen": 0, "trials": [],
}  # fmt: skip


def test_the_board_says_what_was_tuned_refitted_and_calibrated(tmp_path: Path) -> None:
    cell = {"split_hash": "h", "dataset_fingerprint": "f"}
    cells = [
        put(tmp_path, "old", PERFECT),  # as schema 1 has it
        put(tmp_path, "new", PERFECT, cell={**cell, "refit": True, "calibrate": "platt"},
            tuning=TUNING, seconds={"features": 1.0, "fit": 2.0, "predict": 0.5, "tune": 90.0}),
        put(tmp_path, "mix", PERFECT, cell={**cell, "members": {"old/text": "a", "new/text": "b"}}),
    ]  # fmt: skip
    board = leaderboard(store_plan(tmp_path, *cells, metrics=["roc_auc"]))
    rows = board.rows[board.rows["metric"] == "roc_auc"].set_index("model")
    assert rows["refit"].to_dict() == {"old": False, "new": True, "mix": False}
    budget = "30 Optuna trials or 600 s by TPE on 5 inner folds for roc_auc"
    assert rows.loc["new", "tuned"] == budget
    text = render(board, "markdown").replace("\\", "")
    assert f"tuned ({budget}): new; not tuned: old." in text
    assert "fitted again on train and valid, before test is predicted: new." in text
    assert "calibrated on valid (Platt): new." in text
    assert "mix: mixes new/text; old/text." in text
    assert "| fit s | tune s |" in text
    assert "| 3 | 90 |" in text


def test_a_board_without_tuning_has_no_column_for_it(tmp_path: Path) -> None:
    board = leaderboard(store_plan(tmp_path, put(tmp_path, "m", PERFECT), metrics=["roc_auc"]))
    text = render(board, "markdown")
    assert "tune s" not in text
    assert "tuned" not in text
