"""What changed between two runs, and which scores moved with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import GOOD, PERFECT, cell, predictions, record_of, write_cell, write_run

from benchmark.cells import Cell, Result
from benchmark.diff import diff
from benchmark.store import Store
from features.errors import InputError

Call = Callable[..., tuple[int, str, str]]


def one_cell(root: Path, one: Cell, chances: dict[str, float], **more: Any) -> Store:
    store = write_run(root, one)
    write_cell(store, one, chances, **more)
    return store


def changed(a: Store, b: Store) -> list[tuple[str, str, str, str, int]]:
    return list(diff(a, b).changes.itertuples(index=False, name=None))


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    store = one_cell(tmp_path, cell(), GOOD)
    found = diff(store, store)
    assert found.changes.empty
    assert (found.scores["difference"] == 0).all()
    assert set(found.scores["because"]) == {""}
    assert found.only_a == found.only_b == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dataset_fingerprint": "e" * 64}, ("data", "dataset_fingerprint", "f" * 12, "e" * 12, 1)),
        ({"split_hash": "0" * 64}, ("split", "split_hash", None, "0" * 12, 1)),
        ({"code": "d" * 64}, ("code", "code", "c" * 12, "d" * 12, 1)),
        ({"params": {"C": 2.0}}, ("parameters", "params.C", "1.0", "2.0", 1)),
        ({"params": {"C": 1.0, "l1": 0.5}}, ("parameters", "params.l1", "-", "0.5", 1)),
        ({"tune": {"trials": 3}}, ("parameters", "tune", "-", '{"trials": 3}', 1)),
        ({"refit": True}, ("parameters", "refit", "false", "true", 1)),
        ({"weights": "1" * 64}, ("weights", "weights", "-", "1" * 12, 1)),
        ({"libraries": {"numpy": "2.5"}}, ("libraries", "libraries.numpy", "2.4.6", "2.5", 1)),
        (
            {"columns": ("title", "age")},
            ("columns", "columns", '["summary"]', '["age"]', 1),
        ),
        (
            {"columns": ("summary", "title")},
            ("columns", "columns", '["title", "summary"]', '["summary", "title"]', 1),
        ),
    ],
)
def test_what_changed_in_a_cell_is_named_with_both_values(
    tmp_path: Path, changes: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    a = one_cell(tmp_path / "a", cell(), GOOD)
    b = one_cell(tmp_path / "b", cell(**changes), PERFECT)
    (found,) = changed(a, b)
    if expected[2] is None:
        expected = (*expected[:2], cell().split_hash[:12], *expected[3:])
    assert found == expected
    assert set(diff(a, b).scores["because"]) == {expected[0]}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"device_name": "a card"}, ("hardware", "device_name", "a processor", "a card", 1)),
        ({"threads": 4}, ("hardware", "threads", "2", "4", 1)),
        ({"environment": {"python": "3.12"}}, ("environment", "python", "3.11", "3.12", 1)),
    ],
)
def test_environment_and_hardware_are_compared_too(
    tmp_path: Path, more: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    a = one_cell(tmp_path / "a", cell(), GOOD)
    b = one_cell(tmp_path / "b", cell(), GOOD, **more)
    assert expected in changed(a, b)


def test_scores_that_moved_say_by_how_much_and_why(tmp_path: Path) -> None:
    a = one_cell(tmp_path / "a", cell(), GOOD)
    b = one_cell(tmp_path / "b", cell(code="d" * 64, params={"C": 2.0}), PERFECT)
    scores = diff(a, b).scores.set_index("metric")
    row = scores.loc["roc_auc"]
    assert (row["value_a"], row["value_b"], row["difference"]) == (0.75, 1.0, 0.25)
    assert row["because"] == "code, parameters"
    assert row["model"] == "m"


def test_a_score_that_moved_without_any_recorded_change_is_marked(tmp_path: Path) -> None:
    a = one_cell(tmp_path / "a", cell(), GOOD)
    b = one_cell(tmp_path / "b", cell(), PERFECT)
    assert changed(a, b) == []
    assert diff(a, b).scores.set_index("metric").loc["roc_auc", "because"] == "nothing recorded"


def test_other_seeds_are_a_change_and_shared_ones_are_compared(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", cell(seed=1), cell(seed=2))
    b = write_run(tmp_path / "b", cell(seed=1, code="d" * 64))
    for store, cells in ((a, [cell(seed=1), cell(seed=2)]), (b, [cell(seed=1, code="d" * 64)])):
        for one in cells:
            write_cell(store, one, GOOD)
    assert changed(a, b) == [
        ("seeds", "seeds", "[1, 2]", "[1]", 1),
        ("code", "code", "c" * 12, "d" * 12, 1),
    ]


def test_a_change_in_several_models_is_told_once_with_their_number(tmp_path: Path) -> None:
    stores = []
    for name, code in (("a", "c" * 64), ("b", "d" * 64)):
        cells = [cell(code=code), cell(label="other", code=code)]
        stores.append(write_run(tmp_path / name, *cells))
        for one in cells:
            write_cell(stores[-1], one, GOOD)
    assert changed(*stores) == [("code", "code", "c" * 12, "d" * 12, 2)]


def test_models_of_one_run_alone_are_named(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", cell(), cell(label="old"))
    b = write_run(tmp_path / "b", cell(), cell(label="new"), cell(label="missing"))
    for store, names in ((a, ("m", "old")), (b, ("m", "new"))):
        for name in names:
            write_cell(store, cell(label=name), GOOD)
    found = diff(a, b)
    assert found.only_a == ("t stratified registration old text",)
    assert found.only_b == ("t stratified registration new text",)


def test_runs_with_nothing_in_common_are_a_mistake_of_the_user(tmp_path: Path) -> None:
    a = one_cell(tmp_path / "a", cell(), GOOD)
    b = one_cell(tmp_path / "b", cell(label="other"), GOOD)
    with pytest.raises(InputError, match="share no model in the same task, split"):
        diff(a, b)


def test_a_record_of_an_earlier_trialmark_lacks_entries_that_are_no_change(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", cell())
    record = record_of(cell())
    del record["cell"]["tune"], record["cell"]["refit"]
    a.write(cell(), Result(record, predictions(GOOD)))
    b = one_cell(tmp_path / "b", cell(refit=True), GOOD)
    assert changed(a, b) == []


def test_the_command_prints_changes_and_moved_scores(tmp_path: Path, call: Call) -> None:
    one_cell(tmp_path / "a", cell(), GOOD)
    one_cell(tmp_path / "b", cell(params={"C": 2.0}), PERFECT)
    code, out, _ = call("diff", tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "params.C" in out
    assert "+0.2500" in out
    assert "parameters" in out
    assert call("diff", tmp_path / "a", tmp_path)[0] == 2
