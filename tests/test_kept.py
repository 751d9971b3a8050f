"""Draws that a folder keeps change no number, and are never those of anything else."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import store_binary, store_plan

import benchmark
from benchmark import contenders, kept
from benchmark.bootstrap import interval, intervals, pair_errors, standard_error
from benchmark.gc import garbage
from benchmark.leaderboard import leaderboard
from benchmark.metrics import scores
from benchmark.render import render
from benchmark.store import SCORES, Store
from benchmark.verify import verify

TRUTH = [1] * 5 + [0] * 5
GOOD = [0.9, 0.8, 0.7, 0.3, 0.55, 0.4, 0.35, 0.2, 0.1, 0.05]
FAIR = [0.9, 0.2, 0.7, 0.3, 0.55, 0.4, 0.75, 0.2, 0.8, 0.05]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two models with two seeds each."""
    cells = [
        store_binary(tmp_path, name, chances, TRUTH, seed=seed)
        for name, chances in (("good", GOOD), ("fair", FAIR))
        for seed in (1, 2)
    ]
    return store_plan(tmp_path, *cells, metrics=["roc_auc", "brier"])


def files(store: Store) -> list[Path]:
    return sorted((store.root / SCORES).glob("*"))


def text(store: Store, **options: Any) -> str:
    return render(leaderboard(store, **options), "json")


def nothing_is_scored(*_: Any, **__: Any) -> Any:
    raise AssertionError("it was scored again")


def test_a_board_is_the_same_with_and_without_what_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = text(store, kept=False)
    assert files(store) == []
    assert text(store) == plain
    assert len(files(store)) == 4
    with monkeypatch.context() as patch:
        patch.setattr(contenders, "scores", nothing_is_scored)
        assert text(store) == plain
    shutil.rmtree(store.root / SCORES)
    assert text(store) == plain


def test_another_metric_is_added_to_what_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def watched(names: Any, *more: Any, **options: Any) -> Any:
        asked.append(list(names))
        return scores(names, *more, **options)

    text(store)
    monkeypatch.setattr(contenders, "scores", watched)
    text(store, metric="mcc")
    assert {name for names in asked for name in names} == {"mcc"}
    monkeypatch.setattr(contenders, "scores", nothing_is_scored)
    text(store)
    text(store, metric="mcc")


@pytest.mark.parametrize("damage", ["a byte", "half", "empty"])
def test_a_damaged_file_is_computed_again(store: Store, damage: str) -> None:
    plain = text(store)
    file = files(store)[0]
    whole = file.read_bytes()
    middle = len(whole) // 2
    broken = {
        "a byte": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "half": whole[:middle],
        "empty": b"",
    }
    file.write_bytes(broken[damage])
    assert text(store) == plain
    assert file.read_bytes() == whole


def test_new_predictions_are_scored_anew(store: Store) -> None:
    def area() -> float:
        rows = json.loads(text(store))
        return next(r["value"] for r in rows if (r["model"], r["metric"]) == ("good", "roc_auc"))

    assert area() == 0.92  # of 25 pairs .3 makes two go the wrong way, with .4 and .35
    shutil.rmtree(store.root / "t/registration/good")
    for seed in (1, 2):
        store_binary(store.root, "good", [1 - p for p in GOOD], TRUTH, seed=seed)
    assert area() == 0.08
    assert text(store) == text(store, kept=False)


def test_other_sources_that_score_take_nothing_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    text(store)
    monkeypatch.setattr(kept, "_sources", lambda: "later ones")
    monkeypatch.setattr(contenders, "scores", nothing_is_scored)
    with pytest.raises(AssertionError, match="scored again"):
        text(store)


def test_changed_predictions_are_refused_though_their_draws_are_kept(store: Store) -> None:
    text(store)
    file = store.root / "t/registration/good/2/predictions.parquet"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(benchmark.InputError, match="not the file that its record describes"):
        text(store)


def test_a_folder_that_cannot_be_written_to_is_read(store: Store) -> None:
    (store.root / SCORES).write_text("no folder")
    assert text(store) == text(store, kept=False)


def test_nothing_is_kept_before_every_seed_has_a_finished_cell(tmp_path: Path) -> None:
    cells = [store_binary(tmp_path, "m", GOOD, TRUTH, seed=1)]
    missing = {**cells[0], "seed": 2, "path": "t/registration/m/2", "key": "t/registration/m/2"}
    store = store_plan(tmp_path, *cells, missing, metrics=["roc_auc"])
    text(store)
    assert files(store) == []


def test_a_run_leaves_its_board_with_nothing_to_draw(
    small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small |= {"seeds": [1, 2], "splits": ["stratified", "group"], "explain": False}
    done = benchmark.run(small, out=tmp_path / "run")
    store = Store(done.folder)
    assert len(files(store)) == len(store.plan()["cells"])
    plain = text(store, kept=False)
    monkeypatch.setattr(contenders, "scores", nothing_is_scored)
    assert text(store) == plain


def test_numbers_that_are_not_the_predictions_own_are_named_by_verify(
    small: dict[str, Any], tmp_path: Path
) -> None:
    store = Store(benchmark.run({**small, "explain": False}, out=tmp_path / "run").folder)
    file = files(store)[0]
    assert f"{SCORES}/{file.name}" in verify(store).proven
    head, numbers = file.read_bytes().partition(b"\n")[2].split(b"\n", 1)
    better = np.frombuffer(numbers, "<f8") + 0.1
    content = head + b"\n" + better.tobytes()
    file.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    found = {wrong.file: wrong.why for wrong in verify(store).mismatches}
    why = "its draws are not those of the predictions: delete it"
    assert found == {f"{SCORES}/{file.name}": why}


def test_draws_of_cells_that_left_the_plan_are_garbage(store: Store) -> None:
    text(store)
    plan = json.loads((store.root / "plan.json").read_bytes())
    store_plan(store.root, *plan["cells"][:3], metrics=plan["metrics"])
    gone = [item.path for item in garbage(store)]
    assert len(gone) == 1
    assert gone[0].startswith(f"{SCORES}/")


def test_intervals_and_errors_of_many_are_those_of_each() -> None:
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(5, 200))
    for some in (draws, np.where(rng.random(draws.shape) < 0.1, np.nan, draws)):
        low, high = intervals(some)
        assert list(zip(low, high, strict=True)) == [interval(each) for each in some]
        pairs = itertools.combinations(some, 2)
        assert pair_errors(some).tolist() == [standard_error(b - a) for a, b in pairs]
    assert pair_errors(draws[:1]).tolist() == []
