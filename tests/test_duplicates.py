"""Near-duplicate groups: what is linked, what is not, and how the numbers run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.duplicates import near_duplicate_groups


def words(start: int, n: int) -> str:
    return " ".join(f"w{i}" for i in range(start, start + n))


def test_the_same_words_are_one_group_whatever_their_case_and_punctuation() -> None:
    texts = ["A trial of zinc.", "Other words here", "a TRIAL\nof (zinc)", "a trial of iron"]
    assert near_duplicate_groups(texts).tolist() == [0, 1, 0, 2]


def test_texts_with_a_changed_end_are_linked_and_half_equal_ones_are_not() -> None:
    """100 words have 98 shingles: two other words at the end leave 96 of 100 (Jaccard .96).

    With the second half replaced 48 of 148 are shared (.32).
    """
    base = words(0, 100)
    close = words(0, 98) + " x y"
    half = words(0, 50) + " " + words(500, 50)
    assert near_duplicate_groups([base, half, close]).tolist() == [0, 1, 0]


def test_the_threshold_decides() -> None:
    """Half of the shingles of 400 words replaced: 198 of 598 shared, Jaccard .33."""
    pair = [words(0, 400), words(0, 200) + " " + words(1000, 200)]
    assert near_duplicate_groups(pair, threshold=0.2).tolist() == [0, 0]
    assert near_duplicate_groups(pair, threshold=0.5).tolist() == [0, 1]


def test_a_chain_of_pairs_is_one_group() -> None:
    """Neighbours share 378 of 418 shingles (.90), the ends 298 of 498 (.60)."""
    chain = [words(20 * i, 400) for i in range(6)]
    assert near_duplicate_groups(chain).tolist() == [0] * 6
    assert near_duplicate_groups([chain[0], chain[5]]).tolist() == [0, 1]


def test_texts_without_words_are_never_alike_and_short_ones_only_if_equal() -> None:
    texts = ["", "zinc", "", "--", "zinc", "zinc now"]
    assert near_duplicate_groups(texts).tolist() == [0, 1, 2, 3, 1, 4]
    assert near_duplicate_groups([]).tolist() == []


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text("ab ", max_size=6), max_size=30))
def test_groups_do_not_depend_on_the_order_of_texts(texts: list[str]) -> None:
    order = np.random.default_rng(len(texts)).permutation(len(texts))
    first = near_duplicate_groups(texts)
    other = near_duplicate_groups([texts[i] for i in order])
    assert np.array_equal(first[order][:, None] == first[order], other[:, None] == other)


def test_two_thousand_copies_of_one_form_take_seconds() -> None:
    texts = [words(0, 60) + f" site {i}" for i in range(2000)]
    began = time.process_time()
    assert len(set(near_duplicate_groups(texts).tolist())) == 1
    assert time.process_time() - began < 10


def test_the_real_trials_hold_a_few_groups(shared: Path) -> None:
    frame = pd.read_parquet(shared / "trials" / "trials_core.parquet", columns=["brief_title"])
    titles = frame["brief_title"]
    groups = pd.Series(near_duplicate_groups(titles.tolist()), index=titles.index)
    together = groups.groupby(titles).nunique()
    assert together.eq(1).all()  # exact ones
    assert titles.nunique() > groups.nunique() > 0.95 * len(titles)
