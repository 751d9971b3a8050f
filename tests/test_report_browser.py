"""The report in a headless Chromium: it sorts, filters and draws, and asks nothing of a network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser

from benchmark import run
from benchmark.report import report
from benchmark.store import Store

EVIL = "<img src=x onerror='window.evil = 1'><script>window.evil = 1</script>"
SHOWN = "[...document.querySelectorAll('.group:not([hidden]) > .board:not([hidden])')]"
ROWS = f"{SHOWN}[0].querySelectorAll('tbody tr')"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a small run; a model's label would run a script if it could."""
    folder = tmp_path_factory.mktemp("browser")
    config: dict[str, Any] = {
        "name": "small",
        "data": {"reader": "synthetic", "rows": 400},
        "splits": ["stratified", "temporal"],
        "explain": {"rows": 10},
        "tune": {"trials": 3, "folds": 2},
        "models": [
            "prior",
            {"name": "tfidf-logreg", "label": EVIL, "inputs": "both", "tune": False},
            {"name": "lightgbm", "inputs": "tabular", "calibrate": "platt"},
        ],
    }
    file = folder / "report.html"
    file.write_text(report(Store(run(config, out=folder / "run").folder)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture
def here(window: Browser, page: Path) -> Browser:
    """The page, just opened."""
    window.open(page)
    return window


def test_no_error_is_logged_no_request_leaves_and_no_label_runs(
    window: Browser, page: Path
) -> None:
    window.log()
    window.requests()
    window.open(page)
    assert window.log() == []
    assert window.requests() == [page.resolve().as_uri()]
    assert window.run("return window.evil") is None
    assert window.run("return document.body.textContent").count(EVIL) > 5


def test_the_page_refuses_a_script_that_got_in_and_a_request(here: Browser) -> None:
    here.log()
    add = (
        "const s = document.createElement('script'); s.textContent = 'window.evil = 2';"
        "document.body.append(s); return window.evil"
    )
    assert here.run(add) is None
    asked = here.run("return fetch('https://localhost').then(() => 'went out', () => 'refused')")
    assert asked == "refused"
    said = here.log()
    for refused in ("inline script", "connect"):
        assert any("Content Security Policy" in line and refused in line for line in said)


def test_it_opens_in_less_than_a_second(here: Browser) -> None:
    times = "const t = performance.timing; return t.loadEventEnd - t.navigationStart"
    assert 0 < here.run(times) < 1000


def column(here: Browser, name: str) -> list[str]:
    """What a column of the shown leaderboard sorts by, from top to bottom."""
    found = here.run(
        f"const place = [...{SHOWN}[0].querySelectorAll('thead th')].findIndex("
        "(one) => one.textContent.startsWith(arguments[0]));"
        f"return [...{ROWS}].map((row) => row.cells[place].dataset.v)",
        name,
    )
    return [str(value) for value in found]


def click(here: Browser, name: str) -> None:
    here.run(
        f"[...{SHOWN}[0].querySelectorAll('thead button')].find("
        "(one) => one.textContent.startsWith(arguments[0])).click()",
        name,
    )


def directions(here: Browser) -> list[str]:
    found = here.run(
        f"return [...{SHOWN}[0].querySelectorAll('th[aria-sort]')].map("
        "(one) => one.textContent + one.ariaSort)"
    )
    return [str(one) for one in found]


def test_a_click_on_a_header_sorts_and_a_second_one_turns_it_round(here: Browser) -> None:
    # the ceiling has no rank, so it comes last whichever way
    click(here, "ROC-AUC")
    values = [float(value) for value in column(here, "ROC-AUC")]
    assert values == sorted(values, reverse=True)
    assert directions(here) == ["ROC-AUCdescending"]
    click(here, "ROC-AUC")
    assert [float(value) for value in column(here, "ROC-AUC")] == values[::-1]
    click(here, "Rank")
    assert column(here, "Rank") == ["1", "2", "3", ""]
    click(here, "Rank")
    assert column(here, "Rank") == ["3", "2", "1", ""]


def test_a_header_sorts_by_keyboard_too(here: Browser) -> None:
    header = ".group:not([hidden]) > .board:not([hidden]) thead th:nth-child(3) button"
    here.press(header, "Enter")
    assert directions(here) == ["Modelascending"]
    assert column(here, "Model") == sorted(column(here, "Model"))
    here.press(header, "Space")
    assert directions(here) == ["Modeldescending"]
    assert here.run("return document.activeElement.textContent") == "Model"


def test_models_are_filtered_by_name_and_floors_are_hidden(here: Browser) -> None:
    shown = f"return [...{ROWS}].filter((row) => !row.hidden).map((row) => row.dataset.name)"
    assert len(here.run(shown)) == 4
    write = (
        "const box = document.getElementById('filter'); box.value = arguments[0];"
        "box.dispatchEvent(new Event('input'))"
    )
    here.run(write, "LIGHT")
    assert here.run(shown) == ["lightgbm/tabular"]
    assert here.run("return document.getElementById('shown').textContent") == "1 of 4 models"
    here.run(write, "")
    here.run("document.getElementById('floors').click()")
    assert sorted(here.run(shown))[1:] == ["lightgbm/tabular"]
    assert len(here.run(shown)) == 2


def choose(here: Browser, name: str, value: str) -> None:
    here.run(
        "const box = document.getElementById('pick-' + arguments[0]); box.value = arguments[1];"
        "box.dispatchEvent(new Event('change'))",
        name,
        value,
    )


def test_a_choice_of_split_and_metric_shows_that_table_alone(here: Browser) -> None:
    first = f"return {SHOWN}.map((one) => one.ariaLabel)"
    assert here.run(first) == [
        "Leaderboard by ROC-AUC, trial-outcome, temporal split, as of registration"
    ]
    choose(here, "split", "stratified")
    choose(here, "metric", "brier")
    assert here.run(first) == [
        "Leaderboard by Brier ↓, trial-outcome, stratified split, as of registration"
    ]
    titles = here.run("return [...document.querySelectorAll('[data-here]')].map(e => e.innerText)")
    assert set(titles) == {"trial-outcome, stratified split, as of registration"}
    y_labels = here.run("return document.querySelector('#fig-fit svg').textContent")
    assert "Brier" in y_labels


DRAWN = ("fig-roc", "fig-pr", "fig-rel", "fig-fit", "fig-predict", "fig-tuning")


def test_every_chart_is_drawn_with_a_name_for_those_who_do_not_see_it(here: Browser) -> None:
    for name in DRAWN:
        label = here.run(
            "const svg = document.querySelector(`#${arguments[0]} svg`);"
            "return svg && svg.getBoundingClientRect().width > 200 && svg.ariaLabel",
            name,
        )
        assert label, name
    assert here.run("return document.querySelector('#fig-loss').hidden") is True  # no encoder here


def test_a_button_of_the_legend_takes_a_model_out_of_all_charts(here: Browser) -> None:
    count = "return document.querySelectorAll('#fig-roc svg path').length"
    before = 0
    for _ in range(100):  # charts are drawn when the page is idle
        before = here.run(count)
        if before:
            break
        time.sleep(0.1)
    here.run(
        "[...document.querySelectorAll('.legend button')].find("
        "(one) => one.textContent.includes('lightgbm')).click()"
    )
    assert here.run(count) == before - 1
    pressed = here.run(
        "return [...document.querySelectorAll('.legend button')].filter("
        "(one) => one.textContent.includes('lightgbm')).map((one) => one.ariaPressed)"
    )
    assert set(pressed) == {"false"}


def test_probabilities_before_calibration_can_be_added(here: Browser) -> None:
    count = "return document.querySelectorAll('#fig-rel svg path').length"
    before = here.run(count)
    here.run("document.getElementById('raw').click()")
    assert here.run(count) > before


def test_a_card_opens_its_split(here: Browser) -> None:
    here.run(
        "[...document.querySelectorAll('.card')].find("
        "(one) => one.textContent.includes('Stratified split')).querySelector('button').click()"
    )
    assert here.run("return document.getElementById('pick-split').value") == "stratified"


def test_every_control_has_a_name_and_can_be_reached(here: Browser) -> None:
    nameless = here.run(
        "return [...document.querySelectorAll('button, select, input')].filter((one) =>"
        "one.checkVisibility() && !(one.textContent.trim() || one.labels?.length)).length"
    )
    assert nameless == 0
    assert (
        here.run("return document.querySelectorAll('[tabindex]:not([tabindex=\"0\"])').length") == 0
    )


@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_wider_than_the_window(window: Browser, page: Path, width: int) -> None:
    window.open(page, width=width)
    assert window.run("return document.documentElement.scrollWidth") == width


def test_dark_and_light_differ_and_text_stands_out_in_both(window: Browser, page: Path) -> None:
    ink = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    window.open(page)
    light = [_brightness(colour) for colour in window.run(ink)]
    window.open(page, dark=True)
    dark = [_brightness(colour) for colour in window.run(ink)]
    assert light[1] - light[0] > 180
    assert dark[0] - dark[1] > 180


def _brightness(colour: str) -> float:
    """Mean of the three parts of `rgb(r, g, b)`."""
    parts = colour.removeprefix("rgb(").removesuffix(")").split(",")
    return sum(map(float, parts)) / 3


def test_it_can_be_printed(here: Browser) -> None:
    assert here.pdf().startswith(b"%PDF")
