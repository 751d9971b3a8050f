"""Near-duplicate groups: what is linked, what is not, and how the numbers run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.duplicates import first_alike, near_duplicate_groups


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


def test_the_first_alike_of_each_sampled_text_is_found_by_the_jaccard_index() -> None:
    """100 words have 98 shingles: with 90 kept 88 of 108 are shared (.81), with 88 86 of 110."""
    sample = [words(0, 100), words(200, 100), "", "zinc, daily"]
    near, far = words(0, 90) + " " + words(900, 10), words(200, 88) + " " + words(900, 12)
    texts = [words(500, 100), far, near, words(0, 100), "", "Zinc (DAILY)"]
    assert first_alike(sample, texts).tolist() == [2, -1, -1, 5]
    assert first_alike(sample, texts, threshold=0.75).tolist() == [2, 1, -1, 5]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ab ", max_size=14), max_size=8), st.lists(st.text("ab ", max_size=14)))
def test_the_first_alike_is_that_of_all_pairs(sample: list[str], texts: list[str]) -> None:
    def form(text: str) -> set[tuple[str, ...]]:
        split = text.split()
        runs = {tuple(split[i : i + 3]) for i in range(len(split) - 2)}
        return runs if len(split) > 3 else ({tuple(split)} if split else set())

    def alike(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> bool:
        return bool(a & b) and len(a & b) >= 0.8 * len(a | b)

    wanted = [
        next((place for place, other in enumerate(texts) if alike(form(one), form(other))), -1)
        for one in sample
    ]
    assert first_alike(sample, texts).tolist() == wanted


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
