"""Projections of wide features: what they keep, and that they learn from train only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from features.errors import InputError
from features.lsa import Lsa, Projection

FRUIT, ROAD = "apple pear", "lorry road"


def test_points_on_a_line_are_told_by_their_distance_from_the_middle() -> None:
    line = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])  # 5 apart
    learnt, found = Projection.fit(line, 1)
    assert found.shape == (3, 1)
    assert sorted(found.ravel()) == pytest.approx([-5, 0, 5])
    # (4, -3) stands at a right angle to the line and adds nothing.
    assert learnt.transform(np.array([[4.0, -3.0]])) == pytest.approx(found[:1])


def test_a_sparse_matrix_is_not_centred() -> None:
    learnt, found = Projection.fit(sparse.csr_matrix([[3.0, 4.0], [3.0, 4.0]]), 1)
    assert np.abs(found) == pytest.approx(np.full((2, 1), 5))  # the length, not 0
    assert learnt.transform(sparse.csr_matrix([[0.0, 0.0]])) == pytest.approx(np.zeros((1, 1)))


@pytest.mark.parametrize("matrix", [np.eye(3), sparse.csr_matrix(np.eye(3))])
def test_there_are_no_more_directions_than_rows_or_columns(matrix: object) -> None:
    assert Projection.fit(matrix, 50)[1].shape == (3, 3)


@pytest.mark.parametrize("matrix", [np.ones((5, 4)), sparse.csr_matrix(np.ones((5, 4)))])
def test_rows_that_are_all_equal_are_no_problem(matrix: object) -> None:
    found = Projection.fit(matrix, 2)[1]
    assert found == pytest.approx(np.repeat(found[:1], 5, axis=0))


def test_the_same_seed_gives_the_same_numbers() -> None:
    matrix = sparse.random(
        60, 200, density=0.1, random_state=np.random.default_rng(0), format="csr"
    )
    one, again = (Projection.fit(matrix, 5, seed=3)[1] for _ in range(2))
    assert (one == again).all()


def test_texts_about_the_same_thing_are_near_each_other() -> None:
    learnt, found = Lsa.fit([FRUIT, FRUIT, ROAD, ROAD], 2, min_df=1)
    # Each text has length 1 and the two subjects share no word.
    assert (found @ found.T).round(9).tolist() == np.kron(np.eye(2), np.ones((2, 2))).tolist()
    one_word = learnt.transform(["apple", "never seen"])
    # "apple" alone is cos 45 degrees from its subject, and nothing else.
    assert one_word @ found.T == pytest.approx(np.array([[0.5**0.5] * 2 + [0] * 2, [0] * 4]))


def test_nothing_is_learnt_from_other_texts() -> None:
    learnt, found = Lsa.fit([FRUIT, ROAD, FRUIT], 2, min_df=1)
    learnt.transform(["words of other texts"])
    assert (learnt.transform([FRUIT, ROAD, FRUIT]) == found).all()
    assert learnt.tfidf.names == ("apple", "lorry", "pear", "road")


def test_texts_without_words_are_an_error() -> None:
    with pytest.raises(InputError, match="no word stands in 1 or more of the 2 training texts"):
        Lsa.fit(["", "?"], 2)


def test_a_single_word_is_a_direction_of_its_own() -> None:
    learnt, found = Lsa.fit(["apple", "apple", ""], 100, min_df=1)
    assert np.abs(found).tolist() == [[1], [1], [0]]
    assert (learnt.transform(["apple pie"]) == found[:1]).all()
