"""The study-design labels: the rule table, the task, and the data they were made for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark.config import load
from benchmark.dataset import Rows
from benchmark.readers import articles
from benchmark.readers.study_design import LABELS, labels_of, load_rules
from benchmark.tasks import class_counts, labelled
from features.columns import Column
from features.errors import InputError

RULES = load_rules()


def rows(labels: list[str | None]) -> Rows:
    ids = pd.Index([str(n) for n in range(1, len(labels) + 1)], name="pmid")
    frame = pd.DataFrame({"title": "t", "labels": pd.array(labels, dtype="str")}, index=ids)
    return Rows(frame, (Column("title", "text"),))


def test_the_labels_stand_in_the_order_of_the_task() -> None:
    assert LABELS == (
        "RCT", "SystematicReview", "MetaAnalysis", "Human", "Animal", "InVitro", "Cohort",
        "CaseReport", "CaseControl", "CrossSectional",
    )  # fmt: skip
    assert tuple(RULES) == LABELS


@pytest.mark.parametrize(
    ("types", "headings", "expected"),
    [
        (["Randomized Controlled Trial"], ["Humans"], ["RCT", "Human"]),
        (["Randomized Controlled Trial, Veterinary"], ["Animals"], ["Animal"]),
        (["Systematic Review", "Meta-Analysis"], ["Gait"], ["SystematicReview", "MetaAnalysis"]),
        (["CASE  REPORTS"], ["humans"], ["Human", "CaseReport"]),
        ([], ["*Retrospective Studies", "Humans/*physiology"], ["Human", "Cohort"]),
        ([], ["Follow-Up Studies"], ["Cohort"]),
        ([], ["Longitudinal Studies"], []),
        (
            [],
            ["Case-Control Studies", "Cross-Sectional Studies"],
            ["CaseControl", "CrossSectional"],
        ),
        ([], ["HeLa Cells"], ["InVitro"]),
        ([], ["Cell Line, Tumor/drug effects"], ["InVitro"]),
        ([], ["Glial Cell Line-Derived Neurotrophic Factor"], []),
        ([], ["Fertilization in Vitro"], []),
        (["Letter"], ["Gait"], []),
    ],
)
def test_labels_follow_from_publication_types_and_headings(
    types: list[str], headings: list[str], expected: list[str]
) -> None:
    assert labels_of(RULES, types, headings) == expected


def test_without_a_heading_nothing_is_known() -> None:
    assert labels_of(RULES, ["Randomized Controlled Trial"], []) is None
    assert labels_of(RULES, ["Randomized Controlled Trial"], ["", " *"]) is None


def test_own_rules_replace_the_table(tmp_path: Path) -> None:
    own = "".join(f"{label}: {{mesh: [Gait]}}\n" for label in LABELS[1:])
    path = tmp_path / "rules.yaml"
    path.write_text(own + "RCT: {publication_types: [Pragmatic Clinical Trial]}\n")
    table = tmp_path / "a.csv"
    table.write_text(
        "pmid,title,publication_types,mesh\n1,T,Pragmatic Clinical Trial,Humans\n"
        "2,T,Randomized Controlled Trial,Gait\n"
    )
    frame = articles.read(articles.Options(path=table, rules=path)).frame
    assert frame.loc["1", "labels"] == "RCT"
    assert frame.loc["2", "labels"] == "|".join(LABELS[1:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("RCT: {mesh: [x]}", "has no rule for SystematicReview"),
        ("Humans: {mesh: [x]}", "unknown label in r.yaml 'Humans'.*did you mean 'Human'"),
        ("RCT: {mash: [x]}", "unknown key in r.yaml: RCT 'mash'.*did you mean 'mesh'"),
        ("RCT: {mesh: x}", "expected a list of names"),
        ("RCT: [x]", "expected a mapping"),
        ("- x", "holds a list"),
        ("a: [", "not YAML"),
    ],
)
def test_a_rule_table_with_a_mistake_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    rest = "".join(f"\n{label}: {{mesh: [x]}}" for label in LABELS[1:])
    whole = text if message.startswith(("has no", "holds", "not")) else text + rest
    (tmp_path / "r.yaml").write_text(whole)
    with pytest.raises(InputError, match=message) as caught:
        load_rules(tmp_path / "r.yaml")
    assert "\n" not in str(caught.value)


def test_rules_are_found_relative_to_the_config(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("pmid,title\n1,T\n")
    (tmp_path / "c.yaml").write_text(
        "data: {reader: articles, path: a.csv, rules: nowhere.yaml}\n"
        "task: study-design\nsplits: stratified\nmodels: prior\n"
    )
    assert load(tmp_path / "c.yaml").data.options["rules"] == str(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match=r"rules .*nowhere\.yaml"):
        benchmark.run(tmp_path / "c.yaml", out=tmp_path / "out")


def test_the_task_has_a_column_a_label_and_leaves_out_what_is_unlabelled() -> None:
    data = labelled(rows(["Human|RCT", None, "", "Animal", "Human"]), "study-design")
    assert data.X.index.tolist() == ["1", "3", "4", "5"]
    assert data.target.kind == "multilabel"
    assert data.target.classes == LABELS
    assert data.y.shape == (4, 10)
    assert data.y.dtype == np.int64
    assert np.argwhere(data.y).tolist() == [[0, 0], [0, 3], [2, 4], [3, 3]]
    assert class_counts(data.target, data.y)["Human"] == 2


def test_fewer_than_two_labels_that_vary_are_an_error() -> None:
    with pytest.raises(InputError, match="of 3 rows 2 are labelled, only 'RCT' of the classes"):
        labelled(rows(["Human|RCT", None, "Human"]), "study-design")
    with pytest.raises(InputError, match="of 2 rows 0 are labelled, none of the classes"):
        labelled(rows([None, None]), "study-design")
    with pytest.raises(InputError, match="none of the classes"):
        labelled(rows(["", ""]), "study-design")


def test_rows_that_are_no_articles_say_what_is_needed() -> None:
    table = rows(["Human"])
    bare = dataclasses.replace(table, frame=table.frame.drop(columns="labels"))
    with pytest.raises(InputError, match=r"no column labels.*reader of articles"):
        labelled(bare, "study-design")


def test_the_rules_give_the_labels_of_the_shared_studies(shared: Path) -> None:
    path = shared / "pubmed" / "studies.parquet"
    frame = articles.read(articles.Options(path=path)).frame
    given = pd.read_parquet(path, columns=["pmid", "labels", "task_ready"])
    given = given[given["task_ready"]]
    made = frame.loc[given["pmid"].astype(str), "labels"].str.split("|").tolist()
    counts = {}
    for label in LABELS:
        mine = np.array([label in have for have in made])
        theirs = np.array([label in have for have in given["labels"]])
        counts[label] = (int(mine.sum()), int(theirs.sum()), int((mine != theirs).sum()))
    # The table takes four articles on a protein ("Glial Cell Line-Derived …") for cell lines.
    assert counts == {
        "RCT": (191, 191, 0),
        "SystematicReview": (154, 154, 0),
        "MetaAnalysis": (101, 101, 0),
        "Human": (6637, 6637, 0),
        "Animal": (2226, 2226, 0),
        "InVitro": (865, 869, 4),
        "Cohort": (850, 850, 0),
        "CaseReport": (559, 559, 0),
        "CaseControl": (172, 172, 0),
        "CrossSectional": (244, 244, 0),
    }


def test_a_small_study_runs_from_a_table_to_a_leaderboard(tmp_path: Path) -> None:
    kinds = ["Randomized Controlled Trial", "Case Reports", "Letter"]
    words = ["A randomised controlled trial of", "A case report of", "On"]
    lines = [
        f"{n},{words[n % 3]} thing {n},text {n},{1980 + n},{kinds[n % 3]},Humans|Animals,{n % 7}"
        if n % 2
        else f"{n},{words[n % 3]} thing {n},text {n},{1980 + n},{kinds[n % 3]},Humans,{n % 7}"
        for n in range(1, 43)
    ]
    header = "pmid,title,abstract,year,publication_types,mesh,source"
    (tmp_path / "a.csv").write_text("\n".join([header, *lines]))
    run = benchmark.run(
        {
            "data": {
                "reader": "articles",
                "path": str(tmp_path / "a.csv"),
                "columns": {"text": ["title", "abstract"], "date": []},
            },
            "task": "study-design",
            "splits": ["stratified", {"name": "group", "by": "source"}, "temporal"],
            "metrics": ["f1_macro", "average_precision"],
            "models": ["prior", "keyword-rule", {"name": "tfidf-logreg", "inputs": "text"}],
        },
        out=tmp_path / "out",
    )
    assert (run.status()["state"] == "done").all()
    board = run.leaderboard("average_precision").query("metric == 'average_precision'")
    for split in ("stratified", "group", "temporal"):
        values = board[board["split"] == split].set_index("model")["value"]
        assert values["keyword-rule"] > values["prior"]
