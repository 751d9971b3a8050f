"""Inner folds: of the split's own kind, inside train and valid, never a test row."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from benchmark.dataset import Dataset
from benchmark.folds import inner_folds
from benchmark.splits import Split, SplitOptions, make_split
from features.errors import InputError
from models.base import Target


def dataset(y: list[int], dates: list[str] | None = None) -> Dataset:
    ids = pd.Index([f"r{i:04d}" for i in range(len(y))], name="id")
    when = None if dates is None else pd.Series(pd.to_datetime(dates), index=ids)
    classes = tuple("abc"[: max(y) + 1])
    target = Target("binary" if len(classes) == 2 else "multiclass", classes)
    return Dataset("t", target, pd.DataFrame(index=ids), np.array(y), columns=(), dates=when)


def years(n: int) -> list[str]:
    return [f"{1900 + i}-01-01" for i in range(n)]


def test_one_fold_is_the_train_and_valid_part_as_they_are() -> None:
    data = dataset([0, 1] * 50)
    split = make_split(data, SplitOptions(name="stratified"), 1)
    [(train, valid)] = inner_folds(data, split, folds=1, seed=9)
    assert train.tolist() == split.train.tolist()
    assert valid.tolist() == split.valid.tolist()


def test_stratified_folds_are_the_stratified_k_fold_of_train_and_valid() -> None:
    data = dataset([0, 0, 0, 1] * 25)
    split = make_split(data, SplitOptions(name="stratified"), 1)
    pool = np.concatenate([split.train, split.valid])
    theirs = StratifiedKFold(4, shuffle=True, random_state=9).split(pool, data.take(pool)[1])
    found = inner_folds(data, split, folds=4, seed=9)
    assert [sorted(valid) for _, valid in found] == [sorted(pool[v]) for _, v in theirs]
    assert [data.take(valid)[1].mean() for _, valid in found] == [0.25] * 4


def test_an_official_split_has_stratified_folds() -> None:
    data = dataset([0, 1] * 60)
    parts = pd.Series(["train"] * 80 + ["valid"] * 20 + ["test"] * 20, index=data.X.index)
    data = dataclasses.replace(data, official=parts)
    split = make_split(data, SplitOptions(name="official"), 1)
    found = inner_folds(data, split, folds=5, seed=1)
    assert [len(valid) for _, valid in found] == [20] * 5
    assert sorted(np.concatenate([valid for _, valid in found])) == sorted(data.X.index[:100])


def test_temporal_folds_roll_forward_from_half_of_the_rows() -> None:
    data = dataset([0, 1] * 50, years(100))
    split = make_split(data, SplitOptions(name="temporal"), 1)
    found = inner_folds(data, split, folds=4, seed=1)
    assert [(len(train), len(valid)) for train, valid in found] == [
        (40, 10), (50, 10), (60, 10), (70, 10),
    ]  # fmt: skip
    assert found[1][1].tolist() == [f"r{i:04d}" for i in range(50, 60)]


def test_temporal_folds_never_cut_through_a_date() -> None:
    """Ten rows, six of one date: the only places to cut are after 2, after 8 and after 9."""
    dates = ["2001-01-01"] * 2 + ["2002-01-01"] * 6 + ["2003-01-01", "2004-01-01"]
    data = dataset([0, 1] * 5 + [0, 1] * 2, [*dates, *["2010-01-01"] * 2, *["2011-01-01"] * 2])
    ids = data.X.index.to_numpy(object)
    split = Split("temporal", ids[:10], ids[10:12], ids[12:], kind="temporal")
    for train, valid in inner_folds(data, split, folds=3, seed=1):
        assert data.dates is not None
        assert data.dates[train].max() < data.dates[valid].min()


def test_group_folds_keep_groups_whole() -> None:
    data = dataset([0, 1] * 100)
    names = np.repeat([f"s{i}" for i in range(20)], 10)
    data = dataclasses.replace(data, groups=pd.Series(names, index=data.X.index, dtype="str"))
    split = make_split(data, SplitOptions(name="group"), 1)
    assert split.groups is not None
    found = inner_folds(data, split, folds=4, seed=1)
    assert len(found) == 4
    for train, valid in found:
        assert not set(split.groups[train]) & set(split.groups[valid])
    assert sorted(np.concatenate([valid for _, valid in found])) == sorted(
        np.concatenate([split.train, split.valid])
    )


def test_folds_for_several_labels_hold_every_label_rate() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random((500, 3)) < (0.5, 0.2, 0.05)).astype(np.int64)
    ids = pd.Index([f"r{i:04d}" for i in range(500)])
    data = Dataset("t", Target("multilabel", tuple("abc")), pd.DataFrame(index=ids), y, columns=())
    split = make_split(data, SplitOptions(name="stratified"), 1)
    pool = data.take(np.concatenate([split.train, split.valid]))[1].sum(axis=0)
    for _, valid in inner_folds(data, split, folds=4, seed=1):
        assert np.abs(data.take(valid)[1].sum(axis=0) - pool / 4).max() <= 1.5


def test_the_only_row_of_a_class_is_never_validated_on() -> None:
    data = dataset([0, 1] * 20 + [2] + [0, 1] * 5)
    ids = data.X.index.to_numpy(object)
    split = Split("official", ids[:41], ids[41:46], ids[46:])
    found = inner_folds(data, split, folds=3, seed=1)
    assert all("r0040" in train for train, _ in found)


def test_folds_with_one_class_are_dropped_and_none_left_is_said() -> None:
    y = [0, 1] * 30 + [0] * 20 + [0, 1] * 10  # rows 60 to 79 are of one class
    data = dataset(y + [0, 1] * 10, years(120))
    ids = data.X.index.to_numpy(object)
    split = Split("temporal", ids[:80], ids[80:100], ids[100:], kind="temporal")
    found = inner_folds(data, split, folds=5, seed=1)
    assert [train[-1] for train, _ in found] == ["r0049", "r0079", "r0089"]
    split = Split("temporal", ids[60:70], ids[70:80], ids[80:100], kind="temporal")
    with pytest.raises(InputError, match="none of 2 inner folds of 20 rows has two classes"):
        inner_folds(data, split, folds=2, seed=1)


def test_more_folds_than_rows_of_any_class_are_refused_in_one_line() -> None:
    data = dataset([0, 1] * 10)
    split = make_split(data, SplitOptions(name="stratified"), 1)
    with pytest.raises(InputError, match="12 inner folds of 16 rows"):
        inner_folds(data, split, folds=12, seed=1)


@given(
    kind=st.sampled_from(["stratified", "temporal", "group"]),
    folds=st.integers(2, 6),
    seed=st.integers(0, 100),
)
def test_no_fold_holds_a_test_row_or_one_row_twice(kind: str, folds: int, seed: int) -> None:
    data = dataset([0, 1] * 60, years(120))
    groups = pd.Series([f"s{i // 6}" for i in range(120)], index=data.X.index, dtype="str")
    data = dataclasses.replace(data, groups=groups)
    split = make_split(data, SplitOptions(name=kind), seed)
    for train, valid in inner_folds(data, split, folds=folds, seed=seed):
        both = [*train, *valid]
        assert len(set(both)) == len(both)
        assert set(both) <= {*split.train, *split.valid}
