"""Records outlive code: folders of earlier schemas are read, later ones are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import benchmark
from benchmark.cells import SCHEMA
from benchmark.explanations import explain
from benchmark.gc import garbage
from benchmark.merge import merge
from benchmark.receipts import sealed
from benchmark.report import report
from benchmark.store import Store
from benchmark.verify import verify
from features.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
MODELS = {
    "schema-1": {("prior", "none"), ("tfidf-logreg", "text"), ("tfidf-logreg", "both")},
    "schema-2": {
        ("prior", "none"),
        ("tfidf-logreg", "both"),
        ("lightgbm", "tabular"),
        ("blend", "both"),
    },
}
EVERY = pytest.mark.parametrize("name", MODELS)


@EVERY
def test_the_folder_is_of_the_schema_in_its_name(name: str) -> None:
    found = {
        json.loads(f.read_text())["schema"] for f in (GOLDEN / name).rglob("*.json") if _own(f)
    }
    assert found == {int(name.removeprefix("schema-"))}


def _own(file: Path) -> bool:
    return file.name in ("plan.json", "record.json")


@EVERY
def test_its_cells_are_done_and_ranked_by_scores_of_their_predictions(name: str) -> None:
    run = benchmark.read(GOLDEN / name)
    assert set(run.status()["state"]) == {"done"}
    board = run.leaderboard("roc_auc").query("metric == 'roc_auc' and not is_ceiling")
    rows = board.set_index(["model", "inputs"])
    assert set(rows.index) == MODELS[name]
    files = run.predictions().query("part == 'test'").groupby(["model", "inputs", "seed"])
    by_seed = files.apply(lambda f: roc_auc_score(f["y"], f["p_completed"]))
    means = by_seed.groupby(["model", "inputs"]).mean()
    for model, value in rows["value"].items():
        assert value == pytest.approx(means[model])


@EVERY
def test_every_verb_reads_it(name: str, tmp_path: Path) -> None:
    store = Store(GOLDEN / name)
    found = verify(store)
    assert found.mismatches == []
    assert garbage(store) == []
    assert len(benchmark.read(store.root).compare("tfidf-logreg/both", "prior")) == 1
    assert "tfidf-logreg" in report(store)
    joined = merge([store.root], tmp_path / "joined")
    assert joined.done == joined.planned == len(store.plan()["cells"])
    before, after = (benchmark.read(f).leaderboard() for f in (store.root, tmp_path / "joined"))
    pd.testing.assert_frame_equal(before, after)


def test_what_schema_2_added_is_read(call: Any) -> None:
    store = Store(GOLDEN / "schema-2")
    assert verify(store).unproven == []
    pages = explain(store)
    assert {one["model"] for page in pages for one in page["models"]} == {
        "tfidf-logreg",
        "lightgbm",
    }
    tuned = [e for e in store.plan()["cells"] if (store.record(e["path"]) or {}).get("tuning")]
    assert [entry["model"] for entry in tuned] == ["tfidf-logreg"]
    assert call("status", store.root)[1].startswith("5 cells: 5 done")


Read = Callable[[Path], Any]
VERBS: dict[str, Read] = {
    "status": lambda folder: benchmark.read(folder).status(),
    "leaderboard": lambda folder: benchmark.read(folder).leaderboard(),
    "verify": lambda folder: verify(Store(folder)),
    "gc": lambda folder: garbage(Store(folder)),
    "merge": lambda folder: merge([folder], folder.with_name("merged")),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("file", ["plan.json", "record.json"])
def test_a_later_schema_is_refused_with_what_to_do(file: str, verb: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(GOLDEN / "schema-2", folder)
    for place in folder.rglob(file):
        data = json.loads(place.read_text())
        del data["seal"]
        place.write_bytes(sealed({**data, "schema": SCHEMA + 1}))
    with pytest.raises(
        InputError,
        match=rf"{file} has schema {SCHEMA + 1}; expected at most {SCHEMA}; update trial",
    ):
        VERBS[verb](folder)
