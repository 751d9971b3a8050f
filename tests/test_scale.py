"""The cost model and the cluster simulator of docs/scale, on cases that can be reckoned by hand."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cost
import numpy as np
import pytest
import simulate as script
from cluster import FILLING, REPEATED, Cluster, Job, Pipe, simulate

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
RECORDS = Path(__file__).parents[1] / "results" / "reference"


@pytest.fixture(scope="module")
def world() -> script.World:
    """The matrix of the page."""
    growth = script.GROWTH if script.GROWTH.is_file() else None
    return script.World(script.Measured.of(RECORDS, growth), script.assumed([]), 550_000)


def test_one_core_takes_the_sum_of_all_times() -> None:
    found = simulate([Job("a", 3.0), Job("b", 4.0), Job("a", 5.0)], Cluster(1, cores=1))
    assert found.wall == 12.0
    assert found.parts["a"] == 8.0
    assert found.parts["b"] == 4.0


@pytest.mark.parametrize(("cells", "nodes", "cores"), [(10, 4, 1), (10, 2, 2), (33, 2, 16)])
def test_equal_cells_take_whole_rounds(cells: int, nodes: int, cores: int) -> None:
    found = simulate([Job("a", 7.0)] * cells, Cluster(nodes, cores=cores))
    assert found.wall == 7.0 * math.ceil(cells / (nodes * cores))


def test_a_blend_waits_for_all_other_cells() -> None:
    found = simulate([Job("a", 10.0), Job("a", 1.0), Job("blend", 2.0, wave=1)], Cluster(3))
    assert found.wall == 12.0


def test_longest_first_ends_sooner_than_plan_order() -> None:
    jobs = [Job("a", 1.0)] * 4 + [Job("a", 4.0)]
    plain = Cluster(2, cores=1, longest_first=False)
    assert simulate(jobs, plain).wall == 6.0  # 1 + 1 on each, then 4 on one
    assert simulate(jobs, replace(plain, longest_first=True)).wall == 4.0


def test_memory_and_cards_bound_what_runs_together() -> None:
    assert simulate([Job("a", 5.0, memory=30.0)] * 6, Cluster(1, memory=64.0)).wall == 15.0
    assert simulate([Job("a", 5.0, gpu=True)] * 6, Cluster(2, gpus=1)).wall == 15.0
    with pytest.raises(ValueError, match="does not fit"):
        simulate([Job("a", 5.0, memory=65.0)], Cluster(1, memory=64.0))


def test_cells_after_a_kind_wait_for_all_of_it() -> None:
    jobs = [Job("late", 1.0, after="shard"), Job("shard", 4.0), Job("shard", 2.0), Job("a", 9.0)]
    assert simulate(jobs, Cluster(1, cores=4)).wall == 9.0
    assert simulate(jobs[:3], Cluster(1, cores=4)).wall == 5.0


def test_every_cell_that_begins_before_the_cache_is_full_fills_it() -> None:
    found = simulate([Job("a", 1.0, first=10.0)] * 4, Cluster(1, cores=2))
    assert found.wall == 12.0  # two fill it at the same time; the others find it full
    assert found.parts[FILLING] == 20.0
    # one node is busy for 20 s, the other fills the cache and goes on with a long cell; then the
    # first one finds the shared cache full, but its own empty
    jobs = [Job("a", 20.0), *[Job("a", seconds, first=10.0) for seconds in (1.0, 30.0, 1.0)]]
    cluster = Cluster(2, cores=1, longest_first=False)
    assert simulate(jobs, cluster).parts[FILLING] == 10.0
    assert simulate(jobs, replace(cluster, own_caches=True)).parts[FILLING] == 20.0


def test_transfers_share_the_bandwidth() -> None:
    jobs = [Job("a", 0.0, reads=2.0)] * 4
    assert simulate(jobs, Cluster(4, cores=1, bandwidth=1.0, link=1.0)).wall == 8.0
    assert simulate(jobs, Cluster(4, cores=1, bandwidth=100.0, link=0.5)).wall == 4.0


def test_a_transfer_that_begins_later_ends_later() -> None:
    pipe = Pipe(1.0, 1.0)
    pipe.add("a", 2.0, 0.0)
    pipe.add("b", 2.0, 1.0)  # a has 1 left; both at half speed: a ends at 3
    when, name = pipe.next()
    assert (when, name) == (3.0, "a")
    pipe.drop("a", 3.0)
    assert pipe.next() == (4.0, "b")


def test_one_driver_bounds_short_cells() -> None:
    found = simulate([Job("a", 0.01)] * 200, Cluster(10, driver=1.0))
    assert found.wall == pytest.approx(200.01)


def test_all_core_time_is_accounted_for() -> None:
    cluster = Cluster(
        3, cores=4, memory=10.0, gpus=1, bandwidth=1.0, link=1.0, rows=1.0, startup=5.0, serial=7.0,
        commit=0.5, driver=0.01, spread=0.5, between_losses=200.0, repair=20.0,
    )  # fmt: skip
    jobs = [Job("a", 10.0 + i % 7, memory=4.0, reads=0.1, writes=0.1) for i in range(100)]
    jobs += [Job("card", 30.0, gpu=True)] * 9 + [Job("wide", 9.0, cores=3)] * 9
    jobs += [Job("blend", 3.0, wave=1)] * 5
    found = simulate(jobs, cluster)
    assert found.lost > 0
    assert found.tries == len(jobs) + found.lost
    assert sum(found.parts.values()) == pytest.approx(3 * 4 * found.wall)
    assert simulate(jobs, cluster) == found


def test_lost_cells_are_repeated_as_often_as_the_exponential_law_says() -> None:
    # each node is lost every 7,200 s on average, a cell takes 3,600: e^0.5 tries a cell, and
    # (e^0.5 - 1) 7,200 s until it is done
    cells, mean = 20_000, 7200.0
    found = simulate([Job("a", 3600.0)] * cells, Cluster(50, cores=1, between_losses=mean))
    assert found.tries / cells == pytest.approx(math.exp(0.5), rel=0.02)
    assert found.wall * 50 / cells == pytest.approx((math.exp(0.5) - 1) * mean, rel=0.02)


def test_a_lost_study_goes_on_after_its_last_whole_trial() -> None:
    job, cells, mean = Job("a", 3600.0, step=1.0), 5000, 1800.0
    cluster = Cluster(20, cores=1, between_losses=mean)
    kept, forgotten = (simulate([j] * cells, cluster) for j in (job, replace(job, step=0.0)))
    assert kept.parts[REPEATED] < kept.lost * 1.0  # less than one trial a loss
    assert kept.parts["a"] == pytest.approx(cells * 3600.0)
    # from the beginning it takes (e^2 - 1) times 1,800 s instead of 2 times
    took = forgotten.parts["a"] + forgotten.parts[REPEATED]
    assert took / cells == pytest.approx((math.exp(2) - 1) * mean, rel=0.05)


def test_stragglers_have_mean_one() -> None:
    found = simulate([Job("a", 10.0)] * 20_000, Cluster(1, cores=1, spread=0.5))
    assert found.wall == pytest.approx(200_000.0, rel=0.02)


def points(n: int, noise: float) -> tuple[list[dict[str, float]], list[float]]:
    """Seconds that are 0.001 rows^1.5 tokens^0.5, times a lognormal factor."""
    rng = np.random.default_rng(1)
    sizes = [{"train": float(10 ** (2 + i % 5)), "tokens": float(10 + 7 * i)} for i in range(n)]
    factor = np.exp(noise * rng.standard_normal(n))
    seconds = [0.001 * s["train"] ** 1.5 * s["tokens"] ** 0.5 for s in sizes]
    return sizes, [float(x) for x in seconds * factor]


def test_a_law_finds_the_exponents_of_a_power_law() -> None:
    law = cost.fit_law(*points(20, 0.0), ("train", "tokens"))
    assert [round(b, 6) for _, b, _, _ in law.slopes()] == [1.5, 0.5]
    assert law.at({"train": 1e8, "tokens": 100.0}) == pytest.approx(1e10)
    assert law.beyond({"train": 5e6, "tokens": 10.0}) == 5.0  # 1e6 is the most that was seen


def test_the_intervals_of_a_law_hold_the_truth() -> None:
    law = cost.fit_law(*points(60, 0.4), ("train", "tokens"))
    assert law.spread == pytest.approx(0.4, rel=0.25)
    for (_, b, low, high), truth in zip(law.slopes(), (1.5, 0.5), strict=True):
        assert low < truth < high
        assert low < b < high
    far = {"train": 1e8, "tokens": 100.0}
    low, high = law.interval(far)
    assert low < 1e10 < high
    near = law.interval({"train": 1e4, "tokens": 100.0})
    assert high / low > near[1] / near[0]  # the farther, the wider


def test_what_cannot_be_told_apart_is_not_fitted() -> None:
    sizes = [{"train": float(n), "tokens": float(2 * n)} for n in (10, 100, 1000, 10_000)]
    with pytest.raises(ValueError, match="cannot tell the exponents of train, tokens"):
        cost.fit_law(sizes, [1.0, 2.0, 3.0, 4.0], ("train", "tokens"))


def test_seconds_of_two_threads_count_twice() -> None:
    points = [{"threads": 2.0, "texts": 100.0}, {"threads": 1.0, "texts": 50.0}]
    rate = cost.fit_rate(points, [100.0, 100.0], ("threads", "texts"))
    # 2 core-seconds a text in both
    assert rate.at({"threads": 1.0, "texts": 10.0}) == pytest.approx(20.0)


def test_a_record_becomes_a_sample(tmp_path: Path) -> None:
    record: dict[str, Any] = {
        "status": "done",
        "cell": {"model": "lightgbm", "inputs": "both", "columns": ["title", "size"]},
        "rows": {"train": 100, "valid": 20, "test": 30},
        "target": {"classes": ["no", "yes"]},
        "seconds": {"read": 1.0, "features": 2.0, "fit": 3.0, "predict": 1.0, "tune": 90.0},
        "tuning": {"trials": [{}] * 15},
        "notes": {"refit": {}},
        "threads": 2,
        "peak_memory_mb": 500.0,
    }
    folder = tmp_path / "run" / "task" / "split" / "lightgbm" / "key"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "predictions.parquet").write_bytes(b"x" * 1000)
    (sample,) = cost.of_records(tmp_path, {"run": {"title": [25.0, 120.0], "other": [9.0, 9.0]}})
    assert sample.kind == "lsa"
    assert sample.values["train"] == 220  # 100, and 120 for the refit
    assert (sample.values["tokens"], sample.values["trials"]) == (25.0, 15)
    # one fit and prediction took 6 s, so that a trial took one of them: 90 / (15 x 6)
    rate = cost.fit_rate([sample.values], [90.0], cost.RATES["lsa", "tune"])
    assert rate.at({"trials": 1.0, "once": 1.0}) == pytest.approx(1.0)


def test_memory_is_an_interpreter_and_what_the_texts_take() -> None:
    sizes = [(1000.0, 320.0), (2000.0, 340.0), (4000.0, 380.0)]
    samples = [
        cost.Sample("x", "tfidf", {"rows": rows, "all_tokens": 1000.0}, {}, mb)
        for rows, mb in sizes
    ]
    assert cost.memory_of(samples)["tfidf"] == pytest.approx((300.0, 20.0))


def test_the_time_before_the_cells_splits_into_what_it_grows_with() -> None:
    # 2 s, 0.5 s a thousand studies, none for tokens, and 4 s a split for a million labelled rows
    sizes = [
        (10_000, 5e3, 1e6, 2),
        (20_000, 1e4, 5e6, 2),
        (40_000, 2e4, 4e6, 8),
        (9_000, 8e3, 2, 9),
    ]
    rows = [script.before_size(*size) for size in sizes]
    found = [2 + 0.5 * n / 1e3 + 4 * splits * labelled / 1e6 for n, labelled, _, splits in sizes]
    assert script._positive(rows, found) == pytest.approx((2.0, 0.5, 0.0, 4.0), abs=1e-6)


def test_a_small_real_matrix_takes_what_the_simulator_predicts(world: script.World) -> None:
    for run in world.measured.small["check"]:
        assert len(run["cells"]) == 20
        predicted = script.predicted(world.measured, run)
        assert 0.6 < predicted / run["wall"] < 1.6


def test_the_matrix_has_ten_thousand_cells(world: script.World) -> None:
    jobs = world.jobs(gpu=False, ways=script.AS_IT_IS)
    assert len(jobs) == 10_001  # and the board
    assert sum(job.kind == "blend" for job in jobs) == 500
    cells = [job for job in jobs if job.kind not in ("blend", script.BOARD)]
    assert max(job.memory for job in cells) == min(job.memory for job in cells)
    shards = [j for j in world.jobs(gpu=True, ways=script.BEST) if j.kind == script.EMBEDDING]
    assert len(shards) == math.ceil(world.rows / 512)


def test_an_unknown_assumption_is_refused() -> None:
    assert script.assumed(["cores=32"])["cores"] == 32.0
    with pytest.raises(SystemExit, match="core=32"):
        script.assumed(["core=32"])


NUMBER = re.compile(r"\d[\d,]*\.?\d*(?:e[+-]\d+)?")


def assert_alike(page: str, printed: str) -> None:
    """The same words; numbers within 3 %, as the last digit may differ from machine to machine."""
    assert NUMBER.sub("#", page).split() == NUMBER.sub("#", printed).split()
    for a, b in zip(NUMBER.findall(page), NUMBER.findall(printed), strict=True):
        x, y = (float(text.rstrip(",").replace(",", "")) for text in (a, b))
        assert x == pytest.approx(y, rel=0.03, abs=0.011), (a, b)


def blocks() -> dict[str, str]:
    found = re.findall(r"^```text (\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    return dict(found)


def test_the_page_shows_what_the_script_prints(world: script.World) -> None:
    """Where this fails after new records: `python docs/scale/simulate.py --write`."""
    page = blocks()
    assert set(page) == {"assumed", "laws", "matrix", "nodes", "ways", "check"}
    assert_alike(page["assumed"], script.assumed_table(world.assumed))
    assert_alike(page["laws"], script.laws_table(world))
    assert_alike(page["matrix"], script.matrix_table(world))
    assert_alike(page["check"], script.check_table(world.measured))
    best = (True, script.BEST)
    runs = {best: {64: world.run(64, gpu=True, ways=script.BEST)}}
    title, _, row = script.nodes_table(world, runs).splitlines()
    assert_alike(page["nodes"].partition(title)[2].splitlines()[-1], row)
