"""What cells share in a process, what each is said to cost all the same, and who gets which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import benchmark
from benchmark import executor
from benchmark.config import load
from benchmark.executor import one_of
from benchmark.limits import Limits
from benchmark.matrix import prepare, read_rows
from benchmark.store import Store
from features.tfidf import Tfidf
from models.base import Context, Memo, Timer


@pytest.fixture
def vocabularies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each vocabulary that is made. That takes 2 s by the clock, and nothing else does."""
    made: list[int] = []
    monkeypatch.setattr(Timer, "now", lambda timer: 2.0 * len(made))
    fit = Tfidf.fit.__func__  # type: ignore[attr-defined]

    def slow(cls: type[Tfidf], texts: list[str], **options: Any) -> Any:
        made.append(len(texts))
        return fit(cls, texts, **options)

    monkeypatch.setattr(Tfidf, "fit", classmethod(slow))
    return made


def config(*inputs: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "shared",
        "data": {"reader": "synthetic", "rows": 200},
        "splits": ["stratified"],
        "models": [{"name": "tfidf-logreg", "inputs": list(inputs)}],
        "explain": None,
        **more,
    }


def records(out: Path) -> dict[str, dict[str, Any]]:
    store = Store(out)
    found = {}
    for entry in store.plan()["cells"]:
        if entry["model"] == "tfidf-logreg":
            record = store.record(entry["path"])
            assert record is not None
            found[entry["inputs"]] = record
    return found


def test_models_of_one_split_share_a_vocabulary_and_predict_as_they_do_alone(
    tmp_path: Path, vocabularies: list[int]
) -> None:
    benchmark.run(config("text", "both"), out=tmp_path / "together")
    assert len(vocabularies) == 1
    for inputs in ("text", "both"):
        benchmark.run(config(inputs), out=tmp_path / inputs)
        alone = records(tmp_path / inputs)[inputs]
        together = records(tmp_path / "together")[inputs]
        assert together["predictions_sha256"] == alone["predictions_sha256"]
    assert len(vocabularies) == 3


@pytest.mark.parametrize("order", [("text", "both"), ("both", "text")])
def test_a_cell_costs_what_its_vocabulary_took_whoever_made_it(
    tmp_path: Path, vocabularies: list[int], order: tuple[str, str]
) -> None:
    benchmark.run(config(*order), out=tmp_path)
    assert len(vocabularies) == 1
    first, second = (records(tmp_path)[inputs]["seconds"] for inputs in order)
    assert (first["features"], second["features"]) == (2.0, 2.0)
    assert (first["spared"], second["spared"]) == (0.0, 2.0)


def test_tuning_costs_what_it_would_alone_whoever_came_first(
    tmp_path: Path, vocabularies: list[int]
) -> None:
    """Two folds, one trial: two vocabularies of 2 s each, which the second study finds made."""
    tuned = config("text", "both", tune={"trials": 1, "folds": 2})
    benchmark.run(tuned, out=tmp_path)
    assert len(vocabularies) == 3  # two folds, and train
    for record in records(tmp_path).values():
        assert (record["seconds"]["tune"], record["seconds"]["features"]) == (4.0, 2.0)


def test_with_a_limit_of_memory_nothing_outlives_a_cell(
    tmp_path: Path, vocabularies: list[int]
) -> None:
    checked = load(config("text", "both"))
    work, cells, _ = prepare(checked, read_rows(checked), Store(tmp_path))
    bound = replace(work, limits=Limits(memory=2**40))
    for cell in cells:
        assert executor.do(cell, bound) == "done"
    assert len(vocabularies) == 2
    assert work.context.memo.uses == 0


def test_workers_share_out_the_cores_and_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "available_cores", lambda: 8)
    whole = Context(threads=8, memo=Memo(most=900))
    third = one_of(3, whole)
    assert (third.threads, third.cores, third.pool, third.memo.most) == (8, 2, 2, 300)
    assert one_of(20, whole).pool == 1
    assert one_of(2, replace(whole, threads=1)).pool == 1  # the config asked for one


def waiting(*splits: str) -> list[Any]:
    return [SimpleNamespace(split_hash=split) for split in splits]


def worker(split: str, *, busy: bool) -> Any:
    return SimpleNamespace(split=split, cell="any" if busy else None)


def test_a_worker_goes_on_with_the_split_it_knows() -> None:
    here, other = worker("b", busy=False), worker("a", busy=True)
    assert executor._next(waiting("a", "a", "b", "b"), here, [here, other]) == 2


def test_a_worker_without_a_split_takes_one_that_nobody_is_busy_with() -> None:
    here, other = worker("", busy=False), worker("a", busy=True)
    assert executor._next(waiting("a", "a", "c"), here, [here, other]) == 2
    assert executor._next(waiting("a", "a"), here, [here, other]) == 0
