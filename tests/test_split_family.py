"""K-fold, rolling origin, near-duplicate groups and twins: which rows stand in which part."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

import benchmark
from benchmark.dataset import Dataset
from benchmark.splits import PARTS, Split, SplitOptions, make_split, make_splits
from features.columns import Column
from features.errors import InputError
from models.base import Ints, Target


def dataset(y: list[int] | Ints, dates: list[str | None] | None = None) -> Dataset:
    ids = pd.Index([f"r{i:04d}" for i in range(len(y))], name="id")
    codes = np.array(y)
    kind = Target("binary", ("stopped", "completed"))
    target = kind if codes.ndim == 1 else Target("multilabel", tuple("abcdefgh"[: codes.shape[1]]))
    when = None if dates is None else pd.Series(pd.to_datetime(dates), index=ids)
    return Dataset("t", target, pd.DataFrame(index=ids), codes, columns=(), dates=when)


def years(n: int) -> list[str | None]:
    return [f"{1900 + i}-01-01" for i in range(n)]


def sizes(split: Split) -> list[int]:
    return [len(getattr(split, part)) for part in PARTS]


def test_a_k_fold_tests_on_every_row_once_as_scikit_learn_does() -> None:
    data = dataset([0, 0, 0, 1] * 25)
    found = make_splits(data, SplitOptions(name="stratified-kfold"), 7)
    assert [split.name for split in found] == [f"stratified-kfold/{i}" for i in (1, 2, 3, 4, 5)]
    assert [sizes(split) for split in found] == [[64, 16, 20]] * 5
    theirs = StratifiedKFold(5, shuffle=True, random_state=7).split(data.y, data.y)
    for split, (_, test) in zip(found, theirs, strict=True):
        assert sorted(split.test) == [f"r{i:04d}" for i in test]
        assert data.take(split.valid)[1].mean() == 0.25


def test_a_k_fold_for_several_labels_keeps_their_rates() -> None:
    rng = np.random.default_rng(1)
    data = dataset((rng.random((400, 3)) < (0.5, 0.2, 0.05)).astype(np.int64))
    found = make_splits(data, SplitOptions(name="stratified-kfold", folds=4), 7)
    assert sorted(np.concatenate([split.test for split in found])) == sorted(data.X.index)
    for split in found:
        assert np.abs(data.take(split.test)[1].sum(axis=0) - data.y.sum(axis=0) / 4).max() <= 1.5


def test_a_k_fold_names_a_class_with_fewer_rows_than_folds() -> None:
    with pytest.raises(InputError, match="class 'completed' has 3 rows; expected at least 4"):
        make_splits(dataset([0] * 30 + [1] * 3), SplitOptions(name="stratified-kfold", folds=4), 1)


def test_a_rolling_origin_tests_on_the_next_rows_and_ends_with_the_temporal_split() -> None:
    data = dataset([0, 1] * 50, years(100))
    found = make_splits(data, SplitOptions(name="rolling"), 1)
    assert [split.name for split in found] == ["rolling/1", "rolling/2", "rolling/3"]
    assert [sizes(split) for split in found] == [[32, 8, 20], [48, 12, 20], [64, 16, 20]]
    assert found[0].test.tolist() == [f"r{i:04d}" for i in range(40, 60)]
    assert found[2].hash == make_split(data, SplitOptions(name="temporal"), 1).hash
    assert [split.excluded for split in found] == [40, 20, 0]


def test_a_rolling_origin_leaves_rows_to_train_on() -> None:
    data = dataset([0, 1] * 50, years(100))
    with pytest.raises(InputError, match=r"5 folds of 0\.2 of the rows leave none before them"):
        make_splits(data, SplitOptions(name="rolling", folds=5), 1)
    found = make_splits(data, SplitOptions(name="rolling", folds=4, test=0.1), 1)
    assert sizes(found[0]) == [48, 12, 10]


def with_texts(texts: list[str]) -> Dataset:
    data = dataset([0, 1] * (len(texts) // 2))
    X = data.X.assign(title=pd.array(texts, dtype="str"))
    return dataclasses.replace(data, X=X, columns=(Column("title", "text"),))


def test_sister_rows_stay_together() -> None:
    letters = "abcdefghijklmnopqrst"
    words = [" ".join(f"{letter}{i}" for i in range(30)) for letter in letters]
    texts = [f"{text} {suffix}" for text in words for suffix in ("one", "two", "three", "four")]
    data = with_texts(texts)
    found = make_split(data, SplitOptions(name="near-duplicate"), 1)
    assert sizes(found) == [52, 12, 16]
    for part in PARTS:
        ids = getattr(found, part)
        heads = data.X.loc[ids, "title"].str[0]
        assert heads.value_counts().eq(4).all()
    assert found.groups is not None
    assert found.groups.nunique() == 20


def test_near_duplicates_need_a_text() -> None:
    with pytest.raises(InputError, match="split near-duplicate: the rows have no text"):
        make_split(dataset([0, 1] * 20), SplitOptions(name="near-duplicate"), 1)


DRIFTING = [0, 1, 1, 1] * 20 + [0, 1] * 10  # a quarter stopped at first, half at the end


def test_a_twin_has_the_sizes_and_class_counts_of_every_part_and_other_rows() -> None:
    data = dataset(DRIFTING, [*years(98), None, None])
    origin = make_split(data, SplitOptions(name="temporal"), 1)
    twin = make_split(data, SplitOptions(name="twin", of="temporal"), 1)
    assert twin.name == "temporal-twin"
    assert twin.excluded == origin.excluded == 2
    for part in PARTS:
        assert len(getattr(twin, part)) == len(getattr(origin, part))
        assert data.take(getattr(twin, part))[1].sum() == data.take(getattr(origin, part))[1].sum()
    old = set(origin.test) & set(twin.test)
    assert len(old) < 12  # by chance 4 of 20
    again = make_split(data, SplitOptions(name="twin", of="temporal"), 1)
    other = make_split(data, SplitOptions(name="twin", of="temporal"), 2)
    assert again.hash == twin.hash != other.hash


def test_twins_are_drawn_of_groups_of_the_column_named_and_of_every_origin() -> None:
    data = dataset(DRIFTING, years(100))
    names = np.repeat([f"s{i}" for i in range(20)], 5)
    data = dataclasses.replace(data, X=data.X.assign(site=pd.array(names, dtype="str")))
    origin = make_split(data, SplitOptions(name="group", by="site"), 3)
    twin = make_split(data, SplitOptions(name="twin", of="group", by="site"), 3)
    assert (twin.name, sizes(twin)) == ("group-twin", sizes(origin))
    assert set(data.X.loc[twin.test, "site"]) & set(data.X.loc[twin.train, "site"])
    rolling = make_splits(data, SplitOptions(name="twin", of="rolling", folds=2), 3)
    assert [split.name for split in rolling] == ["rolling-twin/1", "rolling-twin/2"]
    assert [split.excluded for split in rolling] == [20, 0]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), cut=st.integers(40, 80))
def test_a_twin_of_several_labels_has_the_same_label_sets_in_every_part(
    seed: int, cut: int
) -> None:
    rng = np.random.default_rng(seed)
    data = dataset(rng.integers(0, 2, (100, 3)), years(100))
    share = (100 - cut) / 100
    origin = make_split(data, SplitOptions(name="temporal", test=share), seed)
    twin = make_split(data, SplitOptions(name="twin", of="temporal", test=share), seed)
    for part in PARTS:
        sets = [sorted(map(tuple, data.take(getattr(s, part))[1])) for s in (origin, twin)]
        assert sets[0] == sets[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "twin"}, "split twin without `of`"),
        ({"name": "temporal", "of": "group"}, "split temporal with of: group"),
        ({"name": "temporal", "folds": 3}, "`folds` for the split stratified-kfold or rolling"),
        ({"name": "stratified", "maturity": "auto"}, "`maturity` for the split temporal or roll"),
        ({"name": "twin", "of": "temporal", "by": "x"}, "split temporal with by: x"),
        ({"name": "stratified-kfold", "test": 0.3}, "expected 1 / folds of the rows"),
    ],
)
def test_a_key_of_another_split_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SplitOptions.model_validate(options)


def test_a_twin_of_a_random_split_is_refused() -> None:
    with pytest.raises(InputError, match="unknown split to draw a twin of 'stratified'"):
        make_split(dataset([0, 1] * 20), SplitOptions(name="twin", of="stratified"), 1)


def test_a_board_averages_the_folds_of_one_entry_like_seeds(tmp_path: Path) -> None:
    config = {
        "data": {"reader": "synthetic", "rows": 300},
        "splits": [{"name": "stratified-kfold", "folds": 3}, "rolling"],
        "seeds": [1, 2],
        "models": ["prior", {"name": "tfidf-logreg", "inputs": "text"}],
        "explain": False,
    }
    run = benchmark.run(config, out=tmp_path / "run")
    rows = run.leaderboard("roc_auc")
    rows = rows[(rows["metric"] == "roc_auc") & (rows["model"] == "tfidf-logreg")]
    assert rows["split"].tolist() == ["stratified-kfold", "rolling"]
    assert rows["seeds"].tolist()[0] == ["1/1", "1/2", "1/3", "2/1", "2/2", "2/3"]
    predictions = run.predictions()
    one = predictions[(predictions["model"] == "tfidf-logreg") & (predictions["part"] == "test")]
    folds = one[one["split"].str.startswith("stratified-kfold")]
    assert folds.groupby("seed")["id"].nunique().tolist() == [300, 300]
    areas = [
        roc_auc_score(part["y"], part["p_completed"])
        for _, part in folds.groupby(["split", "seed"])
    ]
    assert rows["value"].tolist()[0] == pytest.approx(np.mean(areas))
