from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from benchmark.dataset import Dataset
from benchmark.splits import Split, SplitOptions, make_split
from features.errors import InputError
from models.base import Target


def dataset(y: list[int], dates: list[str | None] | None = None) -> Dataset:
    ids = [f"r{i:04d}" for i in range(len(y))]
    X = pd.DataFrame(index=pd.Index(ids, name="id"))
    when = None if dates is None else pd.Series(pd.to_datetime(dates), index=X.index)
    target = Target("binary", ("stopped", "completed"))
    return Dataset("t", target, X, np.array(y), columns=(), dates=when)


def ids(*names: str) -> np.ndarray:
    return np.array(names, object)


def test_stratified_parts_are_64_16_20_with_equal_class_shares() -> None:
    data = dataset([1] * 800 + [0] * 200)
    split = make_split(data, SplitOptions(name="stratified"), 42)
    parts = (split.train, split.valid, split.test)
    assert [len(part) for part in parts] == [640, 160, 200]
    assert [data.take(part)[1].mean() for part in parts] == pytest.approx([0.8] * 3)


def test_stratified_gives_the_rows_a_notebook_gets_from_two_calls_of_train_test_split() -> None:
    y = [1] * 70 + [0] * 30
    split = make_split(dataset(y), SplitOptions(name="stratified"), 42)
    rest, test = train_test_split(np.arange(100), test_size=0.2, random_state=42, stratify=y)
    train, _ = train_test_split(rest, test_size=0.2, random_state=42, stratify=np.array(y)[rest])
    assert split.test.tolist() == [f"r{i:04d}" for i in test]
    assert split.train.tolist() == [f"r{i:04d}" for i in train]


def test_another_seed_is_another_stratified_split_and_the_same_seed_the_same() -> None:
    data = dataset([1, 0] * 50)
    options = SplitOptions(name="stratified")
    assert make_split(data, options, 1).hash == make_split(data, options, 1).hash
    assert make_split(data, options, 1).hash != make_split(data, options, 2).hash


def test_temporal_tests_on_the_latest_rows_and_validates_on_the_latest_before() -> None:
    dates = [f"{year}-01-01" for year in range(2000, 2025)]
    split = make_split(dataset([0, 1] * 12 + [0], dates), SplitOptions(name="temporal"), 1)
    assert split.test.tolist() == [f"r{i:04d}" for i in range(20, 25)]
    assert split.valid.tolist() == [f"r{i:04d}" for i in range(16, 20)]
    assert len(split.train) == 16


def test_temporal_never_cuts_through_a_date() -> None:
    dates = ["2001-01-01"] * 4 + ["2002-01-01"] * 3 + ["2003-01-01"] * 3
    split = make_split(dataset([0, 1] * 5, dates), SplitOptions(name="temporal"), 1)
    assert [len(split.train), len(split.valid), len(split.test)] == [4, 3, 3]


def test_temporal_leaves_out_and_counts_rows_without_a_date() -> None:
    dates: list[str | None] = [f"{2000 + i}-01-01" for i in range(20)]
    split = make_split(dataset([0, 1] * 11, [*dates, None, None]), SplitOptions(name="temporal"), 1)
    assert split.excluded == 2
    assert not {"r0020", "r0021"} & {*split.train, *split.valid, *split.test}


def test_temporal_is_the_same_for_every_seed() -> None:
    data = dataset([0, 1] * 20, [f"{2000 + i}-01-01" for i in range(40)])
    options = SplitOptions(name="temporal")
    assert make_split(data, options, 1).hash == make_split(data, options, 2).hash


def test_the_hash_depends_on_ids_and_parts_and_not_on_their_order() -> None:
    split = Split("s", ids("a", "b"), ids("c"), ids("d"))
    assert split.hash == Split("other", ids("b", "a"), ids("c"), ids("d"), seed=3).hash
    assert split.hash != Split("s", ids("a"), ids("b", "c"), ids("d")).hash
    assert split.hash != Split("s", ids("a", "b"), ids("d"), ids("c")).hash


def test_an_id_in_two_parts_is_refused() -> None:
    with pytest.raises(InputError, match="id 'a' stands in two parts"):
        Split("s", ids("a", "b"), ids("a"), ids("c"))


def test_an_empty_part_is_refused() -> None:
    with pytest.raises(InputError, match="the valid part is empty"):
        Split("s", ids("a"), ids(), ids("b"))


def test_a_class_with_too_few_rows_is_named() -> None:
    with pytest.raises(InputError, match="class 'stopped' has 2 rows; expected at least 3"):
        make_split(dataset([1] * 50 + [0] * 2), SplitOptions(name="stratified"), 1)


def test_a_temporal_part_with_one_class_is_named() -> None:
    dates = [f"{2000 + i}-01-01" for i in range(20)]
    with pytest.raises(InputError, match="all 4 test rows are 'stopped'"):
        make_split(dataset([0, 1] * 8 + [0] * 4, dates), SplitOptions(name="temporal"), 1)


@pytest.mark.parametrize(
    ("dates", "message"),
    [(None, "the rows have no date"), (["2001-01-01"] * 10, "10 dated rows share 1 date")],
)
def test_temporal_says_why_it_cannot_be(dates: list[str | None] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_split(dataset([0, 1] * 5, dates), SplitOptions(name="temporal"), 1)


def test_an_unknown_split_gets_its_nearest_neighbour() -> None:
    with pytest.raises(InputError, match="did you mean 'temporal'"):
        make_split(dataset([0, 1]), SplitOptions(name="temporel"), 1)
