"""Ensemble selection with weights that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from features.errors import InputError
from models.base import Floats, Ints, Target
from models.blend import Blend, BlendParams, _greedy, log_score, mix, select

BINARY = Target("binary", ("completed", "stopped"))
LABELS = Target("multilabel", ("a", "b"))


def two(*p: float) -> Floats:
    positive = np.array(p)
    return np.column_stack([1 - positive, positive])


def test_the_greedy_search_finds_the_best_weights_of_two_models() -> None:
    # On three rows A gives the truth .8 and B .2, on the fourth it's the other way round. With the
    # weight w of A the score is 3 ln(.2 + .6w) + ln(.8 - .6w), highest at w = 11/12.
    y = np.array([1, 1, 1, 0])
    stacked = np.stack([two(0.8, 0.8, 0.8, 0.8), two(0.2, 0.2, 0.2, 0.2)])
    counts = _greedy(stacked, y, log_score(BINARY), 12)
    assert counts is not None
    assert counts.tolist() == [11, 1]


def test_the_search_begins_with_the_models_that_are_best_together() -> None:
    y = np.array([0, 1])
    stacked = np.stack([two(0.9, 0.1), two(0.1, 0.4), two(0.6, 0.9)])
    counts = _greedy(stacked, y, log_score(BINARY), 50)
    # Alone each of the last two has ln .9 + ln .4, together 2 ln .65, and no step is better.
    assert counts is not None
    assert counts.tolist() == [0, 1, 1]


def noisy(n: int, spread: float, seed: int) -> tuple[Ints, dict[str, Floats]]:
    """Two models that each see half of what decides, and two that see nothing."""
    random = np.random.default_rng(seed)
    parts = random.normal(0, spread, (2, n))
    y = (random.random(n) < 1 / (1 + np.exp(-parts.sum(axis=0)))).astype(np.int64)
    seen = {f"half {i}": two(*1 / (1 + np.exp(-part))) for i, part in enumerate(parts)}
    blind = {f"blind {i}": two(*random.uniform(0.2, 0.8, n)) for i in range(2)}
    return y, seen | blind


def test_models_that_see_different_things_are_blended_and_blind_ones_left_out() -> None:
    y, members = noisy(2000, 2, seed=1)
    weights = select(members, y, target=BINARY)
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["half 0"] == pytest.approx(0.5, abs=0.1)
    assert weights["half 1"] == pytest.approx(0.5, abs=0.1)
    assert weights["blind 0"] + weights["blind 1"] < 0.02
    score = log_score(BINARY)
    y_new, new = noisy(2000, 2, seed=2)
    assert score(y_new, mix(new, weights)) > max(score(y_new, p) for p in new.values()) + 0.02


def test_the_order_of_the_members_changes_nothing() -> None:
    y, members = noisy(200, 1, seed=1)
    turned = dict(reversed(members.items()))
    assert select(members, y, target=BINARY) == select(turned, y, target=BINARY)
    assert list(select(turned, y, target=BINARY)) == sorted(members)


def test_of_two_equal_models_the_first_name_has_the_weight() -> None:
    y, members = noisy(200, 1, seed=1)
    same = members["half 0"]
    assert select({"z": same, "a": same}, y, target=BINARY) == {"a": 1, "z": 0}


def test_the_best_model_stands_alone_where_blending_does_not_help() -> None:
    y = np.array([0, 1] * 20)
    perfect, worse = two(*np.where(y == 1, 0.99, 0.01)), two(*np.where(y == 1, 0.6, 0.4))
    assert select({"p": perfect, "w": worse}, y, target=BINARY) == {"p": 1, "w": 0}


@pytest.mark.parametrize("seed", range(5))
def test_a_blend_is_never_worse_on_valid_than_its_best_member(seed: int) -> None:
    y, members = noisy(25, 1, seed)
    score = log_score(BINARY)
    blended = mix(members, select(members, y, target=BINARY, bags=5))
    assert score(y, blended) >= max(score(y, p) for p in members.values())


def test_bags_spread_the_weight_where_one_search_picks_by_chance() -> None:
    # 20 rows and 30 blind models: one search finds a blend that is better there by chance.
    y, members = noisy(20, 2, seed=3)
    random = np.random.default_rng(0)
    members |= {f"blind {i}": two(*random.uniform(0.1, 0.9, 20)) for i in range(30)}
    weights = select(members, y, target=BINARY, bags=20)
    stacked = np.stack([members[name] for name in weights])
    counts = _greedy(stacked, y, log_score(BINARY), 50)
    assert counts is not None
    assert max(weights.values()) < 1
    assert sum(one > 0 for one in weights.values()) > (counts > 0).sum()


def test_the_seed_decides_the_weights() -> None:
    y, members = noisy(60, 1, seed=1)
    first, again, other = (select(members, y, target=BINARY, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_several_labels_are_scored_together() -> None:
    y = np.array([[1, 0], [0, 1]] * 10)
    right = np.where(y == 1, 0.7, 0.3)
    assert log_score(LABELS)(y, right) == pytest.approx(np.log(0.7))
    halves = {"a": right.copy(), "b": right.copy()}
    halves["a"][:, 1] = halves["b"][:, 0] = 0.5
    weights = select(halves, y, target=LABELS)
    assert weights["a"] == pytest.approx(0.5, abs=0.1)
    assert mix(halves, weights).shape == (20, 2)


def test_a_mixture_is_the_weighted_mean() -> None:
    members = {"a": two(0.2, 0.6), "b": two(0.6, 0.6)}
    assert mix(members, {"b": 0.25, "a": 0.75}) == pytest.approx(two(0.3, 0.6))
    with pytest.raises(ValueError, match=r"\['a', 'b'\] with weights of \['a'\]"):
        mix(members, {"a": 1.0})


@pytest.mark.parametrize(
    ("members", "y"), [({}, [0, 1]), ({"a": np.empty((0, 2))}, np.array([], dtype=np.int64))]
)
def test_a_blend_of_nothing_is_an_error(members: dict[str, Floats], y: Ints) -> None:
    with pytest.raises(InputError, match=r"a blend of \d models on \d valid rows; expected at"):
        select(members, y, target=BINARY)


def test_a_blend_learns_its_weights_on_valid_and_mixes_other_rows() -> None:
    y, members = noisy(300, 2, seed=1)
    params = BlendParams(bags=5)
    blend = Blend(params, BINARY, seed=3).fit(members, y)
    assert blend.weights == select(members, y, target=BINARY, bags=5, seed=3)
    _, new = noisy(10, 2, seed=2)
    assert (blend.predict_proba(new) == mix(new, blend.weights)).all()
