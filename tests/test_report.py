"""What the report says of a results folder, with numbers that can be checked by hand."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from recorded import GOOD, cell, write_cell
from recorded import write_run as write_empty_run
from stored import store_binary, store_plan

from benchmark import run
from benchmark.leaderboard import leaderboard
from benchmark.report import report
from benchmark.report.facts import facts
from benchmark.report.series import (
    across_series,
    course_series,
    curve_series,
    reliability_series,
    slice_series,
    tuning_series,
)
from benchmark.report.tables import Group, groups
from benchmark.report.verdicts import verdicts
from benchmark.store import Store
from features.errors import InputError

EVIL = "<script>window.evil = 1</script>"
TRUTH = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
RIGHT = [0.1, 0.2, 0.3, 0.35, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95]
WRONG = RIGHT[::-1]
HALF = [0.5] * 10


def seconds(fit: float) -> dict[str, Any]:
    return {"seconds": {"features": 0.0, "fit": fit, "predict": 0.02}}


def hand_made(root: Path, *, more: Sequence[dict[str, Any]] = ()) -> Store:
    """AUC 1 for `right` and `quick`, 0 for `wrong`, .5 for the floor."""
    cells = [
        store_binary(root, "right", RIGHT, TRUTH, **seconds(5.0)),
        store_binary(root, "quick", RIGHT, TRUTH, **seconds(1.0)),
        store_binary(root, "wrong", WRONG, TRUTH, **seconds(0.5)),
        store_binary(root, "floor", HALF, TRUTH, **seconds(0.1)),
    ]
    return store_plan(root, *cells, *more, metrics=["roc_auc", "brier"])


def found_in(store: Store) -> list[Group]:
    return groups(store, leaderboard(store))


class Read(HTMLParser):
    """Tags with their attributes, the text outside of scripts and styles, and the scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts = "", list[str]()
        self.inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_each_model_is_paired_with_the_best_of_its_table(tmp_path: Path) -> None:
    (group,) = found_in(hand_made(tmp_path))
    by_name = {line.name: line for line in group.lead.lines}
    best = group.lead.ranked[0]
    assert best.gap is None
    wrong, floor = by_name["wrong/text"].gap, by_name["floor/text"].gap
    assert wrong is not None
    assert floor is not None
    assert (wrong.value, wrong.apart) == (-1.0, True)
    assert (floor.value, floor.low, floor.high) == (-0.5, -0.5, -0.5)
    assert by_name["right/text"].milliseconds == pytest.approx(2.0)  # .02 s for 10 rows
    assert group.lead.range == (0.0, 1.0)


def test_equal_models_are_not_told_apart_and_the_fastest_of_them_is_named(tmp_path: Path) -> None:
    store = hand_made(tmp_path)
    (said,) = verdicts(found_in(store), [])
    assert {said.best.name, *(line.name for line in said.tied)} == {"right/text", "quick/text"}
    assert said.answer == "no"
    assert said.thrifty.name == "quick/text"
    assert said.floor is not None
    assert said.floor.name == "floor/text"
    assert said.looked is None


def test_a_better_model_is_said_to_be_better(tmp_path: Path) -> None:
    cells = [
        store_binary(tmp_path, "right", RIGHT, TRUTH),
        store_binary(tmp_path, "wrong", WRONG, TRUTH),
    ]
    (said,) = verdicts(found_in(store_plan(tmp_path, *cells, metrics=["roc_auc"])), [])
    assert (said.best.name, said.answer, said.tied) == ("right/text", "yes", ())
    assert said.next is not None
    assert said.next.gap is not None
    assert said.next.gap.value == -1.0


def test_a_lone_model_is_compared_with_nothing(tmp_path: Path) -> None:
    store = store_plan(tmp_path, store_binary(tmp_path, "a", RIGHT, TRUTH), metrics=["roc_auc"])
    (said,) = verdicts(found_in(store), [])
    assert (said.answer, said.next, said.floor) == ("alone", None, None)
    assert "There is no other ranked model" in Read(report(store)).text


def test_a_temporal_split_comes_first_and_its_random_twin_does_not(tmp_path: Path) -> None:
    cells = [
        {**store_binary(tmp_path, name, RIGHT, TRUTH, task="t", seed=seed), "split": split}
        for seed, split in enumerate(("temporal-twin", "stratified", "temporal-mature"), start=1)
        for name in ("a", "b")
    ]
    store = store_plan(tmp_path, *cells, metrics=["roc_auc"])
    found = found_in(store)
    order = [one.group.table.split for one in verdicts(found, [])]
    assert order == ["temporal-mature", "temporal-twin", "stratified"]
    first = json.loads(Read(report(store)).scripts[0])["first"]
    assert found[first].table.split == "temporal-mature"


def test_where_a_lower_value_is_better_the_best_has_the_lowest(tmp_path: Path) -> None:
    (group,) = found_in(hand_made(tmp_path))
    brier = group.boards[1]
    assert (brier.metric, brier.higher_is_better) == ("brier", False)
    last = brier.ranked[-1]
    assert last.name == "wrong/text"
    assert last.gap is not None
    assert last.gap.value > 0


def page_of(name: str, **more: Any) -> dict[str, Any]:
    """An explanation of one model: two thirds text, one third table."""
    one = {
        "model": name,
        "inputs": "text",
        "text_columns": ["title", "summary"],
        "fields": [
            {"field": "title", "share": [0.5]},
            {"field": "phase", "share": [0.3]},
            {"field": "summary", "share": [0.2]},
        ],
        "features": {
            "completed": [
                {"name": "heart", "word": True, "size": 0.2},
                {"name": "phase 2", "word": False, "size": 0.9},
                {"name": "renal", "word": True, "size": 0.4},
            ]
        },
    }
    place = {"task": "t", "split": "s", "as_of": "registration"}
    return {**place, "models": [one], "alarms": [], "agreement": [], **more}


def test_what_the_best_model_looked_at_stands_in_the_verdict(tmp_path: Path) -> None:
    found = found_in(hand_made(tmp_path))
    best = found[0].lead.ranked[0].name.removesuffix("/text")
    (said,) = verdicts(found, [page_of(best, alarms=[{"text": "a late field"}])])
    assert said.looked is not None
    assert said.looked.is_best
    assert said.looked.text == pytest.approx(0.7)
    assert said.looked.fields[0] == ("title", 0.5)
    assert said.looked.words == ("renal", "heart")
    assert said.alarms == ("a late field",)


def test_without_an_explanation_of_the_best_that_of_the_next_is_told(tmp_path: Path) -> None:
    (said,) = verdicts(found_in(hand_made(tmp_path)), [page_of("wrong")])
    assert said.looked is not None
    assert (said.looked.model, said.looked.is_best) == ("wrong/text", False)


def sliced(root: Path) -> tuple[Group, pd.DataFrame]:
    """A model right in 2019 and wrong in 2020, 40 rows a year, and 20 rows of 2021."""
    years = np.repeat([2019, 2020, 2021], [40, 40, 20])
    truth = np.tile([0, 1], 50)
    score = np.where(years == 2020, 1 - truth, truth) * 0.8 + 0.1
    ids = [f"id{n:03}" for n in range(100)]
    cells = [
        store_binary(root, name, s.tolist(), truth.tolist(), ids=ids)
        for name, s in (("m", score), ("floor", np.full(100, 0.5)))
    ]
    (group,) = found_in(store_plan(root, *cells, metrics=["roc_auc"]))
    return group, pd.DataFrame({"year": years}, index=pd.Index(ids, name="id"))


def test_scores_of_each_year_are_those_of_its_rows(tmp_path: Path) -> None:
    group, slices = sliced(tmp_path)
    found = {one["value"]: one for one in slice_series(group, slices)}
    assert list(found) == ["2019", "2020"]  # 20 rows are too few
    values = {year: {m["model"]: m["value"] for m in one["models"]} for year, one in found.items()}
    assert values["2019"] == {"m/text": 1.0, "floor/text": 0.5}
    assert values["2020"] == {"m/text": 0.0, "floor/text": 0.5}
    assert (found["2019"]["rows"], found["2019"]["share"]) == (40, 0.5)


def test_a_slice_of_one_class_is_left_out(tmp_path: Path) -> None:
    group, slices = sliced(tmp_path)
    truth = np.tile(["even", "odd"], 50)
    assert slice_series(group, slices.assign(year=truth).rename(columns={"year": "phase"})) == []


def test_curves_are_those_of_every_model_and_class(tmp_path: Path) -> None:
    store = hand_made(tmp_path)
    found = found_in(store)
    roc = {
        one["model"]: one
        for one in curve_series(store, found)[0]
        if one["kind"] == "roc" and one["label"] == "completed"
    }
    assert set(roc) == {"right/text", "quick/text", "wrong/text", "floor/text"}
    corner = list(zip(roc["right/text"]["x"], roc["right/text"]["y"], strict=True))
    assert (0.0, 1.0) in corner
    assert roc["floor/text"]["y"] == [0.0, 1.0]


def test_reliability_bins_are_those_of_the_stored_probabilities(tmp_path: Path) -> None:
    store = hand_made(tmp_path)
    (series,) = [
        one
        for one in reliability_series(store, found_in(store))[0]
        if one["model"] == "floor/text" and one["label"] == "completed"
    ]
    assert (series["said"], series["happened"], series["rows"]) == ([0.5], [0.5], [10])


def test_trials_and_courses_come_from_the_records(tmp_path: Path) -> None:
    trials = [
        {"params": {"C": 1.0}, "scores": [0.5, 0.7], "state": "complete", "seconds": 1.0},
        {"params": {"C": 0.1}, "scores": [], "state": "fail", "seconds": 0.5},
    ]
    tuned = {"objective": "roc_auc", "chosen": 0, "trials": trials}
    curve = [{"step": 10, "valid_loss": 0.5}]
    one = store_binary(tmp_path, "m", RIGHT, TRUTH, tuning={**_budget(), **tuned},
                       notes={"curve": curve})  # fmt: skip
    (group,) = found_in(store_plan(tmp_path, one, metrics=["roc_auc"]))
    (study,) = tuning_series(group)
    assert [trial["score"] for trial in study["trials"]] == [0.6, None]
    assert (study["objective"], study["chosen"], study["trials"][0]["params"]) == (
        "roc_auc",
        0,
        "C 1",
    )
    assert course_series(group) == [{"model": "m/text", "repeat": "1", "points": curve}]


def _budget() -> dict[str, Any]:
    return {"budget": {"trials": 2, "seconds": 60}, "folds": 2, "searched": ["C"]}


def test_three_tasks_give_mean_ranks_with_a_critical_difference(tmp_path: Path) -> None:
    scores = {"right": RIGHT, "half": HALF, "wrong": WRONG}
    cells = [
        store_binary(tmp_path, name, s, TRUTH, task=task)
        for task in ("t1", "t2", "t3")
        for name, s in scores.items()
    ]
    store = store_plan(tmp_path, *cells, metrics=["roc_auc"])
    board = leaderboard(store)
    found = across_series(board, groups(store, board))
    assert found is not None
    assert found["models"] == [
        {"model": "right/text", "rank": 1.0},
        {"model": "half/text", "rank": 2.0},
        {"model": "wrong/text", "rank": 3.0},
    ]
    # Demšar 2006: q .05 for 3 models is 2.343, times the root of 3 x 4 / (6 x 3)
    assert found["critical"] == pytest.approx(2.343 * (12 / 18) ** 0.5, abs=0.002)
    assert "Mean rank by ROC-AUC over 3 tasks" in Read(report(store)).text
    one_task = store_plan(tmp_path, *cells[:3], metrics=["roc_auc"])
    assert across_series(leaderboard(one_task), found_in(one_task)) is None


def test_an_audit_that_is_damaged_counts_as_none(tmp_path: Path) -> None:
    store = hand_made(tmp_path)
    counts = {"serious": 1, "warning": 0, "note": 0}
    for damaged in ("{", "[]", json.dumps({"counts": counts, "findings": [{"code": "A01"}]})):
        (tmp_path / "audit.json").write_text(damaged)
        assert facts(store).audit is None
    finding = {"severity": "serious", "code": "A01", "title": "late column", "where": "status",
               "task": "t", "found": "x", "advice": "y"}  # fmt: skip
    whole = {"counts": counts, "findings": [finding], "not_applicable": [], "passed": []}
    (tmp_path / "audit.json").write_text(json.dumps(whole))
    text = Read(report(store)).text
    assert "audit: 1 serious, 0 warnings" in text
    assert "late column: status" in text


def test_a_changed_file_breaks_the_split_proof(tmp_path: Path) -> None:
    one, two = cell(), cell(label="other", params={"C": 2.0})
    store = write_empty_run(tmp_path, one, two)
    write_cell(store, one, GOOD)
    found = facts(store)
    (proof,) = found.splits
    assert (proof.holds, proof.sizes["test"], proof.repeats) == (True, 4, ("1",))
    assert [receipt.state for receipt in found.receipts] == ["done", "missing"]
    assert found.receipts[0].seconds == pytest.approx(3.5)  # features, fit and predict
    file = tmp_path / "splits" / f"{one.split_hash}.parquet"
    pd.read_parquet(file).iloc[1:].to_parquet(file, index=False)
    found = facts(store)
    assert found.splits[0].holds is False
    assert found.proof.mismatches
    assert f"{len(found.proof.mismatches)} files do not match" in Read(report(store)).text


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run with all that the report shows; a model's label is a script."""
    config = {
        "name": "whole",
        "data": {"reader": "synthetic", "rows": 400},
        "splits": ["temporal"],
        "as_of": ["registration", "after"],
        "explain": {"rows": 20},
        "tune": {"trials": 2, "folds": 2},
        "models": [
            "prior",
            {"name": "tfidf-logreg", "label": EVIL, "inputs": "both", "tune": False},
            {"name": "lightgbm", "inputs": "tabular", "calibrate": "platt"},
        ],
    }
    return Store(run(config, out=tmp_path_factory.mktemp("report") / "run").folder)


@pytest.fixture(scope="module")
def html(whole: Store) -> str:
    return report(whole)


def test_untrusted_text_stays_text(html: str) -> None:
    read = Read(html)
    assert len(read.scripts) == 3  # the data, the chart library and the page's own
    assert EVIL not in "".join(read.scripts)
    assert read.text.count(EVIL) > 10
    data = json.loads(read.scripts[0])
    assert f"{EVIL}/both" in [model["name"] for model in data["models"]]


def test_only_the_pages_own_scripts_may_run_and_nothing_is_loaded(html: str) -> None:
    read = Read(html)
    (policy,) = [m["content"] or "" for m in read.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline';")
    for script in read.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not [a for tag in ("img", "iframe", "script", "link", "object") for a in read.all(tag)
                if not (a.get("href") or a.get("src") or "data:").startswith("data:")]  # fmt: skip
    assert all((a["href"] or "").startswith("#") for a in read.all("a"))


def test_the_notices_that_the_licences_of_the_chart_libraries_ask_for_are_shown(html: str) -> None:
    shown = " ".join(Read(html).text.split())
    for holder in (
        "2010-2023 Mike Bostock",
        "2020-2025 Observable, Inc.",
        "(c) 2023 Julien Barnier",
    ):
        assert f"Copyright {holder}" in shown
    assert "copyright notice and this permission notice appear in all copies" in shown


def test_every_link_has_its_place_and_every_id_is_unique(html: str) -> None:
    read = Read(html)
    ids = [a["id"] for _, a in read.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for a in read.all("a")} <= set(ids)
    named = {a["aria-labelledby"] for _, a in read.tags if a.get("aria-labelledby")}
    assert named <= set(ids)


def test_tables_can_be_read_without_seeing_them(html: str) -> None:
    read = Read(html)
    assert read.all("html")[0]["lang"] == "en"
    assert all(a.get("scope") in ("col", "row") for a in read.all("th"))
    regions = [a for a in read.all("div") if "scroll" in (a.get("class") or "").split()]
    assert regions
    assert all(a.get("tabindex") == "0" and a.get("aria-label") for a in regions)


def test_the_page_answers_the_four_questions_and_holds_every_part(html: str) -> None:
    text = Read(html).text
    for part in (
        "Really better than the next?",
        "Better than a floor?",
        "What did it cost?",
        "What did it look at?",
        "The leak dividend",
        "Share of the attribution by field",
        "sha256 of the ids",
        "files of this folder match the hashes",
        "scikit-learn",
        "Audit",
    ):
        assert part in text, part
    assert re.search(r"enrollment\s*after\s*yes", text)  # known late, and offered as of `after`


def test_a_table_starts_with_the_temporal_split_and_all_others_are_hidden(
    small: dict[str, Any], tmp_path: Path
) -> None:
    done = run({**small, "models": ["prior"]}, out=tmp_path / "run")
    read = Read(report(Store(done.folder)))
    shown = [a for a in read.all("div") if a.get("class") == "group" and "hidden" not in a]
    data = json.loads(read.scripts[0])
    assert {data["groups"][int(a["data-group"] or "")]["split"] for a in shown} == {"temporal"}
    assert {one["split"] for one in data["groups"]} == {"stratified", "temporal"}


def test_sixty_cells_fit_in_five_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ids = [f"NCT{n:08}" for n in range(400)]
    truth = rng.integers(0, 2, 400)
    cells = [
        store_binary(tmp_path, f"model {n}", (0.4 * truth + 0.6 * rng.random(400)).tolist(),
                     truth.tolist(), ids=ids, task=task)
        for task in ("t1", "t2")
        for n in range(30)
    ]  # fmt: skip
    html = report(store_plan(tmp_path, *cells, metrics=None))
    assert len(html.encode()) < 5_000_000
    assert len(json.loads(Read(html).scripts[0])["groups"]) == 2


def test_the_command_writes_the_file_byte_for_byte(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    store = hand_made(tmp_path / "run")
    file = tmp_path / "page.html"
    words = ("leaderboard", store.root, "--format", "html", "--output", file)
    assert call(*words, "--metric", "brier")[0] == 0
    assert file.read_text(encoding="utf-8") == report(store, "brier") + "\n"
    assert json.loads(Read(file.read_text()).scripts[0])["groups"][0]["boards"][0]["title"] == (
        "Brier ↓"
    )
    code, _, err = call("leaderboard", tmp_path / "none", "--format", "html")
    assert (code, err.count("\n")) == (2, 1)


def test_the_report_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from benchmark.report import page

    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    with pytest.raises(InputError, match=r"pip install 'trialmark\[report\]'"):
        page._bundle()
