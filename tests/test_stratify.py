"""Iterative stratification: sizes and label rates of the parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from benchmark.dataset import Dataset
from benchmark.readers import articles
from benchmark.splits import SplitOptions, make_split
from benchmark.stratify import drawn
from benchmark.tasks import labelled
from features.errors import InputError
from models.base import Ints, Target

RATES = (0.8, 0.3, 0.1, 0.02)


def labels(n: int = 1000, seed: int = 1) -> Ints:
    rng = np.random.default_rng(seed)
    return (rng.random((n, len(RATES))) < RATES).astype(np.int64)


def dataset(y: Ints) -> Dataset:
    ids = pd.Index([f"r{i:04d}" for i in range(len(y))], name="id")
    target = Target("multilabel", tuple("abcd"))
    return Dataset("t", target, pd.DataFrame(index=ids), y, columns=())


def test_parts_are_64_16_20_within_a_hundredth_and_keep_every_label_rate() -> None:
    data = dataset(labels())
    split = make_split(data, SplitOptions(name="stratified"), 42)
    for part, share in ((split.train, 0.64), (split.valid, 0.16), (split.test, 0.2)):
        assert len(part) / 1000 == pytest.approx(share, abs=0.01)
        wanted = data.y.sum(axis=0) * share
        assert np.abs(data.take(part)[1].sum(axis=0) - wanted).max() <= 2.5


def test_a_rare_label_is_in_every_part_where_chance_would_often_miss_it() -> None:
    y = np.zeros((500, 4), np.int64)
    y[:, 0] = np.arange(500) % 2
    y[:5, 1] = 1  # five rows: one for valid and test each, three for train
    for seed in range(10):
        split = make_split(dataset(y), SplitOptions(name="stratified"), seed)
        counts = [dataset(y).take(part)[1][:, 1].sum() for part in (split.valid, split.test)]
        assert counts == [1, 1]


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    y = labels()
    first, again, other = (drawn(y, 0.2, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_every_row_is_in_one_part() -> None:
    rest, taken = drawn(labels(203), 0.2, 3)
    assert sorted([*rest, *taken]) == list(range(203))


def test_rows_without_any_label_are_shared_out_too() -> None:
    y = np.zeros((400, 4), np.int64)
    y[:200, :2] = 1
    _, taken = drawn(y, 0.25, 5)
    assert (y[taken].sum(axis=1) == 0).sum() == pytest.approx(50, abs=1)


def test_classes_are_drawn_as_scikit_learn_draws_them() -> None:
    y = np.array([0, 1, 1, 1] * 25)
    rest, taken = drawn(y, 0.2, 42)
    expected = train_test_split(np.arange(100), test_size=0.2, random_state=42, stratify=y)
    assert [rest.tolist(), taken.tolist()] == [part.tolist() for part in expected]


def test_labels_without_enough_rows_are_said_in_one_line() -> None:
    with pytest.raises(InputError, match="split stratified"):
        make_split(dataset(labels(1)), SplitOptions(name="stratified"), 1)


def test_the_shared_studies_are_split_evenly(shared: Path) -> None:
    path = shared / "pubmed" / "studies.parquet"
    data = labelled(articles.read(articles.Options(path=path)), "study-design")
    split = make_split(data, SplitOptions(name="stratified"), 42)
    for part, share in ((split.train, 0.64), (split.valid, 0.16), (split.test, 0.2)):
        assert len(part) / len(data.y) == pytest.approx(share, abs=0.01)
        rates = data.take(part)[1].mean(axis=0) / data.y.mean(axis=0)
        assert rates == pytest.approx(np.ones(10), abs=0.05)
