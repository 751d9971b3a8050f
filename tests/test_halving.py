"""Successive halving over seeds: who goes on, what is written of it, and that resuming agrees."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark.merge import merge
from benchmark.store import Store
from features.errors import InputError
from models import MODELS
from models.base import Params as Base


class Graded:
    """Ranks the rows of its task as well as `skill` says: 1 is the truth, 0 is noise."""

    class Params(Base):
        """`skill` counts on the valid rows; on all others (test) it is turned round."""

        skill: float = 0.5
        fails: bool = False

    inputs = ("tabular",)
    libraries = ()
    is_floor = False
    explains_slowly = False
    fitted: ClassVar[list[float]] = []
    interrupted_at: ClassVar[list[int]] = []

    def __init__(self, params: Any, *, columns: Any, target: Any, context: Any) -> None:
        self.params, self.context, self.notes = params, context, dict[str, Any]()
        self.valid: Any = None

    @classmethod
    def preflight(cls, params: Any) -> None:
        """Nothing to check."""

    @classmethod
    def space(cls, columns: Any, target: Any) -> dict[str, Any]:
        """Nothing to search."""
        return {}

    def fit(self, X: pd.DataFrame, y: Any, valid: Any) -> Graded:
        """Remember the call and the valid rows."""
        if len(self.fitted) in self.interrupted_at:
            self.interrupted_at.clear()
            raise KeyboardInterrupt
        self.fitted.append(self.params.skill)
        if self.params.fails:
            raise ArithmeticError("no")
        self.valid = pd.Series(valid[1], index=valid[0].index)
        return self

    def settled(self) -> dict[str, Any]:
        """Nothing to settle."""
        return {}

    def predict_proba(self, X: pd.DataFrame) -> Any:
        """On the valid rows the truth mixed with noise; elsewhere the worst have the best ranks."""
        noise = np.random.default_rng(1).random(len(X))
        if X.index.isin(self.valid.index).all():
            skill = self.params.skill
            p = skill * self.valid[X.index].to_numpy(float) + (1 - skill) * noise
        else:
            p = noise * (1 - self.params.skill)
        return np.column_stack([1 - p, p])

    def explain(self, X: pd.DataFrame) -> None:
        """Nothing to show."""


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "graded", f"{__name__}:Graded")
    Graded.fitted.clear()
    Graded.interrupted_at.clear()


def config(skills: tuple[float, ...] = (0.1, 0.9, 0.3, 0.7), **changes: Any) -> dict[str, Any]:
    """Models of these skills and a floor on three seeds; the better half goes on."""
    models = [
        {"name": "graded", "label": f"skill {skill}", "params": {"skill": skill}}
        for skill in skills
    ]
    return {
        "name": "halved",
        "data": {"reader": "synthetic", "rows": 150},
        "splits": ["stratified"],
        "seeds": [1, 2, 3],
        "models": ["prior", *models],
        "explain": False,
        "halving": {"keep": 0.5, "by": "roc_auc"},
        **changes,
    }


def states(found: benchmark.Run) -> dict[tuple[str, int], str]:
    """State by model and seed, without the ceiling."""
    frame = found.status()
    return {
        (row.model, row.seed): row.state for row in frame.itertuples() if row.model != "ceiling"
    }


def test_the_better_half_on_valid_goes_on_and_floors_always_do(tmp_path: Path) -> None:
    found = states(benchmark.run(config(), out=tmp_path))
    assert {found[f"skill {s}", seed] for s in (0.9, 0.7) for seed in (1, 2, 3)} == {"done"}
    assert {found["prior", seed] for seed in (1, 2, 3)} == {"done"}
    for lagging in ("skill 0.1", "skill 0.3"):
        assert [found[lagging, seed] for seed in (1, 2, 3)] == ["done", "dropped", "dropped"]
    assert sorted(Graded.fitted) == [0.1, 0.3, 0.7, 0.7, 0.7, 0.9, 0.9, 0.9]


def test_eight_models_are_four_then_two(tmp_path: Path) -> None:
    skills = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
    found = benchmark.run(config(skills), out=tmp_path).status()
    ran = found[(found["state"] == "done") & found["model"].str.startswith("skill")]
    assert ran["seed"].value_counts().to_dict() == {1: 8, 2: 4, 3: 2}
    plan = Store(tmp_path).plan()
    gone = {e["model"]: e["dropped"]["after"] for e in plan["cells"] if "dropped" in e}
    after = {1: skills[:4], 2: skills[4:6]}
    assert gone == {f"skill {s}": n for n, some in after.items() for s in some}


def test_equal_scores_at_the_cut_go_on_together(tmp_path: Path) -> None:
    models = [
        {"name": "graded", "label": name, "params": {"skill": skill}}
        for name, skill in (("a", 0.9), ("b", 0.5), ("c", 0.5), ("d", 0.1))
    ]
    found = states(benchmark.run(config(models=models), out=tmp_path))
    assert [found[name, 2] for name in "abcd"] == ["done", "done", "done", "dropped"]


def test_where_lower_is_better_the_lowest_go_on(tmp_path: Path) -> None:
    halving = {"keep": 0.5, "by": "brier"}
    found = states(benchmark.run(config(halving=halving), out=tmp_path))
    assert {name for (name, seed), state in found.items() if state == "dropped"} == {
        "skill 0.1",
        "skill 0.3",
    }
    dropped = next(e["dropped"] for e in Store(tmp_path).plan()["cells"] if "dropped" in e)
    assert dropped["score"] > dropped["needed"] > 0


def test_the_plan_and_every_record_say_exploration(tmp_path: Path) -> None:
    benchmark.run(config(), out=tmp_path)
    plan = Store(tmp_path).plan()
    assert plan["exploration"] == {"keep": 0.5, "by": "roc_auc"}
    records = [Store(tmp_path).record(e["path"]) for e in plan["cells"]]
    marks = [record["exploration"] for record in records if record is not None]
    assert marks == [plan["exploration"]] * (3 + 3 + 2 * 3 + 2)  # ceiling, floor, kept, dropped


def test_without_the_key_nothing_is_dropped_or_marked(tmp_path: Path) -> None:
    benchmark.run(config(halving=None), out=tmp_path)
    plan = Store(tmp_path).plan()
    assert "exploration" not in plan
    assert not any("dropped" in entry for entry in plan["cells"])
    assert "exploration" not in (Store(tmp_path).record(plan["cells"][0]["path"]) or {})
    assert len(Graded.fitted) == 12


def test_a_cell_has_the_same_key_with_and_without_halving(tmp_path: Path) -> None:
    benchmark.run(config(), out=tmp_path)
    fitted = len(Graded.fitted)
    found = benchmark.run(config(halving=None), out=tmp_path)
    assert set(found.status()["state"]) == {"done"}
    assert len(Graded.fitted) == 12  # the four that were dropped
    assert fitted == 8
    assert found.leaderboard("roc_auc")["rank"].notna().sum() >= 5


def test_a_run_that_was_cut_off_decides_the_same(tmp_path: Path) -> None:
    benchmark.run(config(), out=tmp_path / "whole")
    for at in (2, 5):  # on the first seed, on the second
        Graded.fitted.clear()
        Graded.interrupted_at.append(at)
        with pytest.raises(KeyboardInterrupt):
            benchmark.run(config(), out=tmp_path / f"cut {at}")
        benchmark.run(config(), out=tmp_path / f"cut {at}")
        assert (
            Store(tmp_path / f"cut {at}").plan()["cells"]
            == (Store(tmp_path / "whole").plan()["cells"])
        )
        assert len(Graded.fitted) == 8  # nothing twice


def test_a_model_that_fails_goes_no_further_and_is_named(tmp_path: Path) -> None:
    models = [
        {"name": "graded", "label": "fails", "params": {"fails": True}},
        *config()["models"][1:3],
    ]
    done = benchmark.run(config(models=models), out=tmp_path)
    assert [states(done)["fails", seed] for seed in (1, 2, 3)] == ["failed", "dropped", "dropped"]
    why = done.status().query("model == 'fails' and seed == 2")["error"].item()
    assert why.startswith("dropped after 1 seed: its fit failed")


def test_a_blend_ends_with_its_first_member_that_is_dropped(tmp_path: Path) -> None:
    models = [*config()["models"], {"name": "blend", "label": "all"}]
    best = {"name": "blend", "label": "best", "params": {"members": ["skill 0.9", "skill 0.7"]}}
    found = states(benchmark.run(config(models=[*models, best]), out=tmp_path))
    assert [found["all", seed] for seed in (1, 2, 3)] == ["done", "dropped", "dropped"]
    assert [found["best", seed] for seed in (1, 2, 3)] == ["done"] * 3


def test_a_blend_is_dropped_once_though_more_of_its_members_follow(tmp_path: Path) -> None:
    skills = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
    models = [*config(skills)["models"], {"name": "blend"}]
    benchmark.run(config(models=models), out=tmp_path)
    plan = Store(tmp_path).plan()
    after = {
        e["seed"]: e["dropped"]["after"]
        for e in plan["cells"]
        if e["model"] == "blend" and e["seed"] > 1
    }
    assert after == {2: 1, 3: 1}


def test_dropped_models_have_no_rank_and_the_board_says_why(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    rows = benchmark.run(config(), out=tmp_path).leaderboard("roc_auc")
    auc = rows[rows["metric"] == "roc_auc"].set_index("model")
    assert auc["exploration"].all()
    assert auc["dropped_after"].dropna().to_dict() == {"skill 0.1": 1, "skill 0.3": 1}
    assert auc.loc[["skill 0.1", "skill 0.3"], "rank"].isna().all()
    assert auc.loc[["skill 0.9", "skill 0.7", "prior"], "rank"].notna().all()
    code, out, _ = call("leaderboard", tmp_path, "--format", "markdown")
    assert code == 0
    assert "EXPLORATION (`halving`)" in out.replace("\\`", "`")
    assert "skill 0.1, skill 0.3 after 1 seed" in out
    assert "too high by some luck" in out
    assert "Not in the table" not in out
    code, out, _ = call("status", tmp_path)
    assert out.startswith("18 cells: 14 done, 0 failed, 0 missing, 4 dropped\n")
    assert "dropped after 1 seed: roc_auc" in out


def test_a_run_whose_models_were_dropped_ends_well(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    import yaml

    file = tmp_path / "halved.yaml"
    file.write_text(yaml.safe_dump(config()))
    assert call("run", file, "--out", tmp_path / "out")[0] == 0
    assert call("verify", tmp_path / "out")[0] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [1]}, "halving with one seed; expected two seeds or more"),
        ({"halving": {"keep": 1}}, "halving.keep = 1"),
        ({"halving": {"by": "roc_acu"}}, "did you mean 'roc_auc'"),
        ({"halving": {"by": "lrap"}}, "lrap"),
    ],
)
def test_a_rule_that_cannot_be_followed_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        benchmark.run(config(**changes), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_dropped_but_finished_by_an_earlier_run_has_its_rank(
    tmp_path: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    whole = config()
    del whole["halving"]
    benchmark.run(whole, out=tmp_path)
    rows = benchmark.run(config(), out=tmp_path).leaderboard("roc_auc")
    assert rows["dropped_after"].isna().all()
    assert "results of other settings" not in call("status", tmp_path)[1]


def test_exploration_is_told_whichever_run_is_merged_first(tmp_path: Path) -> None:
    plain = config()
    del plain["halving"]
    benchmark.run({**plain, "seeds": [1]}, out=tmp_path / "a")
    benchmark.run(config(), out=tmp_path / "b")
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert benchmark.read(tmp_path / "c").leaderboard()["exploration"].all()


def test_where_valid_rows_define_no_score_all_go_on_but_failed_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config((0.1, 0.9))
    settings["models"].append({"name": "graded", "label": "broken", "params": {"fails": True}})
    monkeypatch.setattr("benchmark.halving.score", lambda metric, scored: [float("nan")])
    found = states(benchmark.run(settings, out=tmp_path))
    assert {found["skill 0.1", 3], found["skill 0.9", 3]} == {"done"}
    assert found["broken", 2] == "dropped"
