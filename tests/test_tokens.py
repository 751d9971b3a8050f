"""Rows as tokens: windows, where tokens stand in the text, and batches of bounded size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import transformers
from scipy import sparse

from models.tokens import (
    Encoded,
    batch_of,
    encode,
    in_fixed_order,
    length_grouped,
    offsets,
    pieces,
)

PAD, CLS, SEP = 0, 2, 3
RED, GREEN = ((tiny.SPECIAL + tiny.WORDS).index(word) for word in ("red", "green"))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tiny.checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")
    return transformers.AutoTokenizer.from_pretrained(folder)


def shown(rows: Encoded) -> list[list[list[int]]]:
    return [[window.tolist() for window in row] for row in rows.ids]


def test_tokens_are_counted_before_the_cut(tokenizer: Any) -> None:
    # 60 words against 8 tokens: ten windows of 6 words and 2 special tokens
    rows = encode(["red", "", " ".join(["green"] * 60)], tokenizer, 8)
    assert rows.full_length.tolist() == [3, 2, 62]
    assert rows.was_cut.tolist() == [False, False, True]
    assert rows.lengths.tolist() == [3, 2, 8]
    assert rows.windows.tolist() == [1, 1, 1]
    assert shown(rows)[:2] == [[[CLS, RED, SEP]], [[CLS, SEP]]]


def test_windows_follow_each_other_and_end_at_their_number(tokenizer: Any) -> None:
    text = " ".join(["red"] * 6 + ["green"] * 6 + ["red"] * 3)
    rows = encode([text], tokenizer, 8, windows=4)
    red, green = [CLS, *[RED] * 6, SEP], [CLS, *[GREEN] * 6, SEP]
    assert shown(rows) == [[red, green, [CLS, RED, RED, RED, SEP]]]
    assert (rows.full_length.tolist(), rows.was_cut.tolist()) == ([17], [False])
    rows = encode([text], tokenizer, 8, windows=2)
    assert shown(rows) == [[red, green]]
    assert (rows.full_length.tolist(), rows.was_cut.tolist()) == ([17], [True])


def test_offsets_give_each_token_its_place_in_the_text(tokenizer: Any) -> None:
    texts = ["word1 RED, word2 green blue word3 male", "", "blue"]
    rows, places = encode(texts, tokenizer, 8, windows=2), offsets(texts, tokenizer, 8, windows=2)
    for text, windows, found in zip(texts, rows.ids, places, strict=True):
        assert [len(window) for window in windows] == [len(place) for place in found]
        for window, place in zip(windows, found, strict=True):
            assert place[0].tolist() == place[-1].tolist() == [0, 0]
            words = [text[start:end].lower() for start, end in place[1:-1]]
            known = tokenizer.convert_ids_to_tokens(window[1:-1].tolist())
            assert [word for word, token in zip(words, known, strict=True) if word != token] == (
                [","] if "," in words else []  # the one word that is not in the vocabulary
            )


def test_a_batch_is_padded_and_keeps_its_rows_apart(tokenizer: Any) -> None:
    long = " ".join(["red"] * 7)
    rows = encode(["red", long, "green green"], tokenizer, 8, windows=2)
    rows = replace(rows, table=sparse.csr_matrix([[1.0, 0], [0, 2], [3, 0]]))
    batch = batch_of(rows, np.array([1, 0]), "cpu")
    assert batch.windows == [2, 1]
    assert batch.ids.tolist() == [
        [CLS, *[RED] * 6, SEP],
        [CLS, RED, SEP, *[PAD] * 5],
        [CLS, RED, SEP, *[PAD] * 5],
    ]
    assert batch.mask.tolist() == [[1] * 8, [1] * 3 + [0] * 5, [1] * 3 + [0] * 5]
    assert batch.table is not None
    assert batch.table.tolist() == [[0, 2], [1, 0]]


def test_pieces_hold_no_more_windows_than_asked_but_whole_rows() -> None:
    windows = np.array([1, 2, 1, 5, 1, 1])
    found = pieces(windows, np.array([5, 0, 1, 3, 2, 4]), 4)
    assert [piece.tolist() for piece in found] == [[5, 0, 1], [3], [2, 4]]
    assert pieces(windows, np.array([], dtype=np.int64), 4) == []


def test_the_order_is_by_length_and_the_same_however_rows_come(tokenizer: Any) -> None:
    texts = ["green green", "red", "green", " ".join(["red"] * 7), "red"]
    table = np.array([[0.0], [2], [0], [0], [1]])

    def ordered(come: list[int]) -> list[int]:
        rows = encode([texts[row] for row in come], tokenizer, 8, windows=2)
        rows = replace(rows, table=sparse.csr_matrix(table[come]))
        return [come[place] for place in in_fixed_order(rows)]

    found = ordered([0, 1, 2, 3, 4])
    assert sorted(found[:3]) == [1, 2, 4]
    assert found[3:] == [0, 3]
    assert ordered([4, 3, 2, 1, 0]) == found == ordered([2, 4, 0, 3, 1])


def test_batches_hold_every_row_once_and_differ_between_epochs() -> None:
    lengths = np.arange(100) % 10
    rng = np.random.default_rng(0)
    first, second = (length_grouped(lengths, 8, rng) for _ in range(2))
    for batches in (first, second):
        assert sorted(np.concatenate(batches)) == list(range(100))
        assert max(len(batch) for batch in batches) == 8
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    # at random, 8 of 10 lengths would stand about 7 apart
    assert np.mean([np.ptp(lengths[batch]) for batch in first]) < 4
