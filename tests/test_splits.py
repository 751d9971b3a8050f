from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from benchmark.dataset import Dataset
from benchmark.splits import Split, SplitOptions, make_split
from features.errors import InputError
from models.base import Target


def dataset(
    y: list[int], dates: list[str | None] | None = None, official: list[str | None] | None = None
) -> Dataset:
    ids = [f"r{i:04d}" for i in range(len(y))]
    X = pd.DataFrame(index=pd.Index(ids, name="id"))
    when = None if dates is None else pd.Series(pd.to_datetime(dates), index=X.index)
    target = Target("binary", ("stopped", "completed"))
    parts = None if official is None else pd.Series(official, index=X.index, dtype="str")
    return Dataset("t", target, X, np.array(y), columns=(), dates=when, official=parts)


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


def test_the_notebooks_shares_of_11802_rows_are_7552_1889_and_2361() -> None:
    split = make_split(dataset([1] * 10_000 + [0] * 1802), SplitOptions(name="stratified"), 42)
    assert [len(part) for part in (split.train, split.valid, split.test)] == [7552, 1889, 2361]


OFFICIAL = SplitOptions(name="official")


def test_official_takes_the_parts_as_they_are_and_counts_rows_without_one() -> None:
    parts = ["train", "test", None, "valid", "train", "valid", "test", None, "train"]
    split = make_split(dataset([0, 0, 1, 0, 1, 1, 1, 0, 1], official=parts), OFFICIAL, 7)
    assert split.train.tolist() == ["r0000", "r0004", "r0008"]
    assert split.valid.tolist() == ["r0003", "r0005"]
    assert split.test.tolist() == ["r0001", "r0006"]
    assert (split.name, split.seed, split.excluded) == ("official", None, 2)


def test_official_without_a_valid_part_draws_it_from_train_with_the_seed() -> None:
    data = dataset([0, 1] * 60, official=["train"] * 100 + ["test"] * 20)
    split = make_split(data, OFFICIAL, 7)
    assert [len(split.train), len(split.valid), len(split.test)] == [80, 20, 20]
    assert data.take(split.valid)[1].mean() == 0.5
    assert set(split.test) == {f"r{i:04d}" for i in range(100, 120)}
    assert split.seed == 7
    assert make_split(data, OFFICIAL, 7).hash == split.hash
    assert make_split(data, OFFICIAL, 8).hash != split.hash


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (None, "the rows have no published parts; .*top, trialbench"),
        (["test"] * 8, r"the train part is missing \(8 of test rows\); .*or use .* stratified"),
        (["train"] * 8, r"the test part is missing \(8 of train rows\)"),
        ([None] * 8, r"the train part is missing \(no rows\)"),
        (["train"] * 6 + ["test", None], "all 1 test rows are 'stopped'"),
        (["train", "train"] + ["test"] * 6, "no valid part can be drawn from 2 rows of train"),
    ],
)
def test_official_says_why_it_cannot_be(parts: list[str | None] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_split(dataset([0, 1] * 4, official=parts), OFFICIAL, 1)


def grouped(sizes: dict[str, int], missing: int = 0) -> Dataset:
    names = [name for name, size in sizes.items() for _ in range(size)] + [None] * missing
    data = dataset([0, 1] * (len(names) // 2) + [0] * (len(names) % 2))
    X = data.X.assign(source=pd.array(names, dtype="str"), other="x")
    return dataclasses.replace(data, X=X, groups=X["source"])


def sources(data: Dataset, part: np.ndarray) -> set[str]:
    return set(data.X.loc[part, "source"])


def test_a_group_split_holds_out_whole_groups() -> None:
    data = grouped({f"s{i}": 20 for i in range(25)})
    split = make_split(data, SplitOptions(name="group"), 1)
    assert [len(split.train), len(split.valid), len(split.test)] == [320, 80, 100]
    parts = [sources(data, part) for part in (split.train, split.valid, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 25


def test_a_group_split_is_the_same_for_a_seed_and_not_for_every_seed() -> None:
    data = grouped({f"s{i}": 20 for i in range(25)})
    hashes = [make_split(data, SplitOptions(name="group"), seed).hash for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_group_too_large_for_a_part_is_left_in_train() -> None:
    data = grouped({"large": 600, **{f"s{i}": 40 for i in range(10)}})
    for seed in range(5):
        split = make_split(data, SplitOptions(name="group"), seed)
        assert "large" in sources(data, split.train)
        assert [len(split.valid), len(split.test)] == [160, 200]


def test_a_group_split_takes_the_column_it_is_told_and_leaves_out_rows_without_a_group() -> None:
    data = grouped({"a": 10, "b": 4, "c": 4, "d": 2}, missing=3)
    split = make_split(data, SplitOptions(name="group", by="source"), 1)
    assert split.excluded == 3
    assert len(split.train) + len(split.valid) + len(split.test) == 20
    with pytest.raises(InputError, match="no group is left for test; other has 1 groups"):
        make_split(data, SplitOptions(name="group", by="other"), 1)
    with pytest.raises(InputError, match="did you mean 'source'"):
        make_split(data, SplitOptions(name="group", by="sourse"), 1)
    with pytest.raises(InputError, match="the rows have no group"):
        make_split(dataset([0, 1] * 5), SplitOptions(name="group"), 1)
    with pytest.raises(InputError, match="`by` for the split group alone"):
        SplitOptions(name="stratified", by="source")


def test_a_group_split_says_which_part_no_group_is_left_for() -> None:
    data = grouped({"a": 30, "b": 20})
    with pytest.raises(InputError, match="no group is left for valid; source has 2 groups"):
        make_split(data, SplitOptions(name="group", test=0.5), 1)
