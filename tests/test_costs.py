"""What a cell cost: one record's latency, energy, and the table that shows them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pandas as pd
import pytest
import yaml
from stored import store_binary, store_plan

import benchmark
from benchmark.energy import estimated
from benchmark.latency import ROWS, latency
from benchmark.leaderboard import leaderboard
from benchmark.render import lay_out
from benchmark.store import Store
from features.embed import EmbedReport
from features.errors import InputError
from models import embedded
from models.base import Context, Memo


class Slow:
    """Takes as long as the row says; what it made for a row it asks the memo for."""

    def __init__(self, context: Context) -> None:
        self.context, self.seen = context, list[list[str]]()

    def predict_proba(self, X: pd.DataFrame) -> None:
        """Sleep, unless the memo knows the row."""
        self.seen.append(list(X.index))
        self.context.once("the same key for all", lambda: time.sleep(float(X["seconds"].iloc[0])))


def frame(seconds: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"seconds": seconds}, index=[f"T{i}" for i in range(len(seconds))])


def test_latency_is_the_median_of_single_rows_after_the_first() -> None:
    """Ten rows: the first warms up, then nine are timed, four of them slow."""
    context = Context(memo=Memo(10**6))
    model = Slow(context)
    seconds = [0.2, *[0.02] * 5, *[0.08] * 4]
    found: Any = latency(model, frame(seconds), context)  # type: ignore[arg-type]
    assert found["rows"] == ROWS
    assert 20 <= found["ms"] < 60
    assert model.seen == [[f"T{i}"] for i in range(10)]


def test_latency_uses_nothing_that_is_kept_and_keeps_nothing() -> None:
    context = Context(memo=Memo(10**6))
    context.once("the same key for all", lambda: None)
    found: Any = latency(Slow(context), frame([0.01] * 10), context)  # type: ignore[arg-type]
    assert found["ms"] >= 10
    assert context.memo.uses == 1
    assert context.once("the same key for all", lambda: "made anew") is None  # as it was before


def test_latency_of_a_slow_model_is_that_of_fewer_rows() -> None:
    context = Context(memo=Memo(10**6))
    found: Any = latency(Slow(context), frame([0.0, *[0.3] * 20]), context)  # type: ignore[arg-type]
    assert found["rows"] == 2  # .3 + .3 is more than half a second
    assert found["ms"] >= 300


def test_a_single_row_is_timed_cold_and_none_not_at_all() -> None:
    context = Context(memo=Memo(10**6))
    one: Any = latency(Slow(context), frame([0.01]), context)  # type: ignore[arg-type]
    assert one["rows"] == 1
    assert latency(Slow(context), frame([]), context) is None  # type: ignore[arg-type]


def test_a_model_that_needs_two_rows_says_so_and_keeps_its_cell() -> None:
    class Pairs:
        def predict_proba(self, X: pd.DataFrame) -> None:
            raise ValueError("at least two samples")

    context = Context(memo=Memo(10**6))
    assert latency(Pairs(), frame([1, 2]), context) == {"error": "ValueError"}  # type: ignore[arg-type]
    assert context.memo.is_open


def test_a_text_is_embedded_anew_for_its_latency(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caches: list[Path | None] = []

    def embed(texts: list[str], encoder: Any, *, cache: Path | None, **_: Any) -> Any:
        caches.append(cache)
        return None, EmbedReport("e", 1, 1, 1, 0, 0, 0.0, 0.0)

    monkeypatch.setattr(embedded, "embed", embed)
    context = Context(cache=tmp_path, memo=Memo(10**6))
    embedded.embedded(["a"], None, context)  # type: ignore[arg-type]
    with context.memo.aside():
        embedded.embedded(["a"], None, context)  # type: ignore[arg-type]
    assert caches == [tmp_path, None]


def small(**changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "data": {"reader": "synthetic", "rows": 200},
        "splits": ["stratified"],
        "models": [
            "prior",
            {"name": "tfidf-logreg", "inputs": ["text", "both"]},
            {"name": "lightgbm", "inputs": "tabular"},
            {"name": "blend"},
        ],
        "explain": False,
        **changes,
    }


def records(folder: Path) -> dict[str, Any]:
    """Records by label/inputs."""
    store = Store(folder)
    return {f"{e['model']}/{e['inputs']}": store.record(e["path"]) for e in store.plan()["cells"]}


def test_every_fitted_cell_has_its_latency_and_a_blend_the_sum_of_its_members(
    tmp_path: Path,
) -> None:
    benchmark.run(small(), out=tmp_path)
    found = records(tmp_path)
    assert found["ceiling/both"].get("latency") is None
    each = [found[n]["latency"]["ms"] for n in ("tfidf-logreg/text", "tfidf-logreg/both")]
    each.append(found["lightgbm/tabular"]["latency"]["ms"])
    assert min(each) > 0
    assert found["blend/both"]["latency"]["ms"] == pytest.approx(sum(each), abs=0.01)
    assert not any("energy" in record for record in found.values())


class Tracker:
    """Codecarbon's tracker, which finds a watt-hour a second and writes down what it is asked."""

    asked: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **options: Any) -> None:
        self.asked.append(options)
        self._conf = {"hardware": ["CPU(rated)", "RAM()"]}

    def start(self) -> None:
        self.since = time.perf_counter()

    def stop(self) -> float:
        kwh = (time.perf_counter() - self.since) / 1000
        self.final_emissions_data = SimpleNamespace(
            energy_consumed=kwh, emissions=kwh * 0.4, codecarbon_version="9.9"
        )
        return kwh * 0.4


@pytest.fixture
def tracked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A stand-in for codecarbon that knows one country."""
    package, data = ModuleType("codecarbon"), ModuleType("codecarbon.input")
    package.__spec__ = SimpleNamespace(name="codecarbon")  # type: ignore[assignment]
    package.OfflineEmissionsTracker = Tracker  # type: ignore[attr-defined]
    data.DataSource = lambda: SimpleNamespace(  # type: ignore[attr-defined]
        get_global_energy_mix_data=lambda: {"DEU": {}}
    )
    monkeypatch.setitem(sys.modules, "codecarbon", package)
    monkeypatch.setitem(sys.modules, "codecarbon.input", data)
    Tracker.asked.clear()
    return Tracker.asked


def test_energy_is_estimated_offline_and_its_method_named(tracked: list[dict[str, Any]]) -> None:
    with estimated("DEU") as found:
        time.sleep(0.05)
    assert 0.00005 <= found["kwh"] < 0.0005
    assert found["grams_co2e"] == pytest.approx(found["kwh"] * 400)
    assert found["method"] == "codecarbon 9.9, this process: CPU(rated), RAM()"
    asked = tracked[0]
    assert asked["country_iso_code"] == "DEU"
    assert asked["output_methods"] == []  # no file, no network
    assert asked["tracking_mode"] == "process"


def test_without_a_country_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "codecarbon", None)  # importing it would fail
    with estimated(None) as found:
        pass
    assert found == {}


def test_a_tracker_that_finds_nothing_costs_no_cell(
    monkeypatch: pytest.MonkeyPatch, tracked: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(Tracker, "stop", lambda self: None)
    with estimated("DEU") as found:
        pass
    assert found == {}


def test_a_run_with_energy_shows_it_in_the_cost_table(
    tmp_path: Path, tracked: list[dict[str, Any]], call: Callable[..., tuple[int, str, str]]
) -> None:
    done = benchmark.run(small(energy={"country": "DEU"}), out=tmp_path)
    found = records(tmp_path)
    members = [n for n in found if n.startswith(("tfidf", "lightgbm"))]
    spent = sum(found[name]["energy"]["kwh"] for name in members)
    assert spent < found["blend/both"]["energy"]["kwh"] < 2 * spent
    row = done.leaderboard().query("model == 'lightgbm'").iloc[0]
    assert row["energy_wh"] == pytest.approx(
        found["lightgbm/tabular"]["energy"]["kwh"] * 1000, abs=1e-6
    )
    assert row["energy_method"].startswith("codecarbon 9.9")
    code, out, _ = call("leaderboard", tmp_path, "--layout", "cost", "--format", "csv")
    assert code == 0
    header = out.splitlines()[0]
    assert header == (
        "table,model,inputs,features s,fit s,predict s,one row ms,peak MiB,energy Wh,CO2e g"
    )
    assert len(tracked) == 6  # one a cell


@pytest.mark.parametrize("country", ["GER", "de", 7])
def test_a_country_must_be_a_known_code(tracked: list[Any], country: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config: energy.*(GER|de|7)"):
        benchmark.run(small(energy={"country": country}), out=tmp_path / "out")


def test_energy_without_codecarbon_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmark.energy.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'trialmark\[energy\]'"):
        benchmark.run(small(energy={"country": "DEU"}), out=tmp_path / "out")


def test_the_real_codecarbon_gives_an_amount_without_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("codecarbon")
    import socket

    def refused(*_: Any) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    with estimated("DEU") as found:
        end = time.process_time() + 0.3
        while time.process_time() < end:
            pass
    assert 0 < found["kwh"] < 0.01
    assert found["grams_co2e"] / found["kwh"] == pytest.approx(381, rel=0.3)  # the German mix
    assert found["method"].startswith("codecarbon ")


def test_costs_are_means_over_seeds_and_columns_nobody_has_are_left_out(tmp_path: Path) -> None:
    """Seeds of 2 and 4 ms, .001 and .002 kWh; the other model has neither."""
    shared: dict[str, Any] = {"scores": [0.2, 0.8], "truth": [0, 1], "ids": "ab"}
    cells = [
        store_binary(
            tmp_path,
            "good",
            **shared,
            seed=seed,
            latency={"ms": 2.0 * seed, "rows": 9},
            energy={"kwh": 0.001 * seed, "grams_co2e": 0.5, "method": "rated power"},
        )
        for seed in (1, 2)
    ]
    cells += [store_binary(tmp_path, "older", **shared, seed=seed) for seed in (1, 2)]
    store = store_plan(tmp_path, *cells, metrics=["roc_auc"])
    rows = leaderboard(store).rows.query("metric == 'roc_auc'").set_index("model")
    assert rows.loc["good", ["latency_ms", "energy_wh", "grams_co2e"]].tolist() == [3.0, 1.5, 0.5]
    assert rows.loc["older", ["latency_ms", "energy_wh"]].isna().all()
    sheet = lay_out(store, "cost")[0]
    assert sheet.header == (
        *("model", "inputs", "features s", "fit s", "predict s", "one row ms", "peak MiB"),
        *("energy Wh", "CO2e g"),
    )
    assert dict(zip(sheet.header, sheet.rows[0], strict=True)) == {
        "model": "good", "inputs": "text", "features s": "1", "fit s": "3", "predict s": "0.5",
        "one row ms": "3", "peak MiB": "100", "energy Wh": "1.5", "CO2e g": "0.5",
    }  # fmt: skip
    assert any("no measurement to rank by (rated power)" in note for note in sheet.notes)


def test_energy_in_a_config_file_needs_its_country(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(small(energy=True)))
    code, _, err = call("run", file)
    assert code == 2
    assert "energy = True" in err
