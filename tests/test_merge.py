"""Results folders of one matrix are joined; those of different rows are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from recorded import GOOD, PERFECT, SPLIT, cell, write_cell, write_run

import benchmark
from benchmark.merge import merge
from benchmark.store import Store, folder_of
from benchmark.verify import verify
from features.errors import InputError

ONE, OTHER, THIRD = cell(), cell(label="other", params={"C": 2.0}), cell(seed=2)


@pytest.fixture
def halves(tmp_path: Path) -> tuple[Path, Path]:
    """Two machines that each finished one cell of the same plan."""
    stores = [write_run(tmp_path / name, ONE, OTHER) for name in "ab"]
    write_cell(stores[0], ONE, GOOD)
    write_cell(stores[1], OTHER, PERFECT)
    return tmp_path / "a", tmp_path / "b"


def states(folder: Path) -> list[str]:
    return list(benchmark.read(folder).status()["state"])


def test_two_halves_of_a_plan_make_a_whole(halves: tuple[Path, Path], tmp_path: Path) -> None:
    found = merge(halves, tmp_path / "c")
    assert (found.planned, found.done, found.shared, found.moved) == (2, 2, 0, ())
    assert states(tmp_path / "c") == ["done", "done"]
    board = benchmark.read(tmp_path / "c").leaderboard("roc_auc")
    value = board[board["metric"] == "roc_auc"].set_index("model")["value"]
    assert value.to_dict() == {"other": 1.0, "m": 0.75}
    sound = verify(Store(tmp_path / "c"))
    assert sound.mismatches == []
    assert sound.unproven == []
    for folder, one in zip(halves, (ONE, OTHER), strict=True):
        for file in (folder / folder_of(one)).iterdir():
            copied = tmp_path / "c" / folder_of(one) / file.name
            assert copied.read_bytes() == file.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_plans_of_other_models_and_seeds_are_united(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", ONE), write_run(tmp_path / "b", OTHER, THIRD)
    write_cell(a, ONE, GOOD)
    write_cell(b, OTHER, GOOD)
    (tmp_path / "b" / "config.yaml").unlink()
    b.write_run(
        {k: v for k, v in b.plan().items() if k not in ("seal", "files", "schema")},
        {"config.yaml": b"name: another\n"},
    )
    found = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert (found.planned, found.done) == (3, 2)
    assert states(tmp_path / "c") == ["done", "done", "missing"]
    assert (tmp_path / "c" / "config.yaml").read_text() == "name: by hand\n"
    assert (tmp_path / "c" / "config-2.yaml").read_text() == "name: another\n"
    assert verify(Store(tmp_path / "c")).mismatches == []


def test_a_finished_cell_wins_over_a_failed_one(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", ONE), write_run(tmp_path / "b", ONE)
    a.write(ONE, benchmark_failure())
    write_cell(b, ONE, GOOD)
    for order in ((a, b), (b, a)):
        out = tmp_path / f"c{order[0].root.name}"
        assert merge([store.root for store in order], out).done == 1


def benchmark_failure() -> Any:
    from benchmark.cells import Result
    from benchmark.fitting import died

    return Result(died(ONE), None)


def test_a_cell_that_two_machines_finished_differently_is_told(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", ONE), write_run(tmp_path / "b", ONE)
    write_cell(a, ONE, GOOD)
    write_cell(b, ONE, {**GOOD, "h": 0.75})
    found = merge([a.root, b.root], tmp_path / "c")
    assert found.shared == 1
    assert [path for path, _ in found.moved] == [folder_of(ONE)]
    assert found.moved[0][1] == pytest.approx(0.05)
    kept = Store(tmp_path / "c").predictions(folder_of(ONE)).set_index("id")["p_yes"]
    assert kept["h"] == 0.8


def rewritten(store: Store, **changes: Any) -> None:
    plan = {k: v for k, v in store.plan().items() if k not in ("seal", "files", "schema")}
    store.write_run({**plan, **changes}, {})


def test_runs_on_other_rows_splits_or_readers_are_refused(
    halves: tuple[Path, Path], tmp_path: Path
) -> None:
    b = Store(halves[1])
    plan = b.plan()
    split = [{**entry, "split_hash": "e" * 64} for entry in plan["cells"]]
    changes: list[tuple[dict[str, Any], str]] = [
        ({"datasets": {"t": {"fingerprint": "e" * 64}}}, "t fingerprint eeee"),
        ({"cells": split}, "t stratified seed 1 split hash eeee"),
        ({"reader": "aero"}, "reader aero"),
    ]
    for change, message in changes:
        rewritten(b, **change)
        with pytest.raises(InputError, match=message):
            merge(halves, tmp_path / "c")
        rewritten(b, **{name: plan.get(name) for name in change})
    assert not (tmp_path / "c").exists()


def test_one_name_for_two_finished_settings_is_refused(tmp_path: Path) -> None:
    changed = cell(params={"C": 3.0})
    a, b = write_run(tmp_path / "a", ONE), write_run(tmp_path / "b", changed)
    write_cell(a, ONE, GOOD)
    write_cell(b, changed, GOOD)
    with pytest.raises(InputError, match=r"with another params;.*another `label`"):
        merge([a.root, b.root], tmp_path / "c")


def test_predictions_that_were_changed_are_not_copied(
    halves: tuple[Path, Path], tmp_path: Path
) -> None:
    file = halves[0] / folder_of(ONE) / "predictions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"predictions\.parquet is not the file"):
        merge(halves, tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_new_folder_must_be_new(halves: tuple[Path, Path], tmp_path: Path, call: Any) -> None:
    code, _, err = call("merge", *halves, "--out", halves[0])
    assert code == 2
    assert "exists; expected a new folder" in err
    (tmp_path / "c").mkdir()
    code, out, _ = call("merge", *halves, "--out", tmp_path / "c")
    assert (code, out) == (0, f"{tmp_path / 'c'}: 2 of 2 cells done, 0 in several runs\n")


def test_parts_of_a_real_matrix_merge_to_the_board_of_the_whole(
    small: dict[str, Any], tmp_path: Path
) -> None:
    small["splits"] = ["stratified"]
    both = benchmark.run({**small, "seeds": [1, 2]}, out=tmp_path / "both").leaderboard()
    for seed in (1, 2):
        benchmark.run({**small, "seeds": [seed]}, out=tmp_path / str(seed))
    merge([tmp_path / "1", tmp_path / "2"], tmp_path / "c")
    assert verify(Store(tmp_path / "c")).mismatches == []
    joined = benchmark.read(tmp_path / "c").leaderboard()
    measured = [name for name in both if name.endswith(("seconds", "_mb", "_ms"))]
    pd.testing.assert_frame_equal(joined.drop(columns=measured), both.drop(columns=measured))
    plan = json.loads((tmp_path / "c" / "plan.json").read_text())
    assert {entry["seed"] for entry in plan["cells"]} == {1, 2}
    assert SPLIT.hash not in {entry["split_hash"] for entry in plan["cells"]}
