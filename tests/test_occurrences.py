"""Where terms stand: counted as scikit-learn counts them, and in the column they came from."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from features.columns import Columns
from features.occurrences import terms, words, written
from features.text import join_text, text_parts

TEXT = "A Phase-2 trial of heart drugs:  état, x_1 & heart!\n(pilot)"


@pytest.mark.parametrize(
    ("analyzer", "lengths"), [("word", (1, 1)), ("word", (1, 3)), ("char_wb", (3, 5))]
)
def test_terms_are_counted_as_scikit_learn_counts_them(
    analyzer: Literal["word", "char_wb"], lengths: tuple[int, int]
) -> None:
    theirs = CountVectorizer(analyzer=analyzer, ngram_range=lengths).build_analyzer()(TEXT)
    _, found = terms(TEXT, analyzer, lengths)
    assert Counter(one.term for one in found) == Counter(theirs)


def test_a_term_covers_the_words_it_is_made_of() -> None:
    found, occurrences = terms(TEXT, "word", (2, 2))
    (drugs,) = [one for one in occurrences if one.term == "heart drugs"]
    first, last = found[drugs.first], found[drugs.after - 1]
    assert TEXT[first.start : last.end] == "heart drugs"


def test_words_keep_their_places() -> None:
    assert [TEXT[word.start : word.end] for word in words(TEXT)][:3] == ["A", "Phase", "2"]
    assert words("Ünder")[0].name == "ünder"


FRAME = pd.DataFrame({"title": ["Heart"], "summary": ["drug"], "phase": ["P2"]}, dtype="str")
COLUMNS = Columns(categorical=("phase",), text=("title", "summary"))


def test_a_characters_column_is_that_of_its_part() -> None:
    template = "TITLE: {title}; {phase} [{summary:>6}]"
    (row,) = written(text_parts(FRAME, COLUMNS, template), FRAME, COLUMNS)
    assert row.text == "TITLE: Heart; P2 [  drug]"
    assert [row.fields[row.part(at)] for at in (0, 7, 14, 20)] == [
        "title", "title", "phase", "summary",
    ]  # fmt: skip
    # a padded cell isn't the cell: places in it would be wrong
    quoted = {row.fields[n] for n, quotes in enumerate(row.quotes) if quotes}
    assert quoted == {"title"}


def test_a_text_that_is_cut_has_no_words_beyond() -> None:
    (row,) = written(text_parts(FRAME, COLUMNS.select("text")), FRAME, COLUMNS, 7)
    assert row.text == "Heart\nd"


@pytest.mark.parametrize("template", [None, "{title!r:_<12}|{{{phase}}}", "{summary}"])
@pytest.mark.parametrize("table_first", [True, False])
def test_the_parts_of_a_text_are_all_of_it(template: str | None, table_first: bool) -> None:
    frame = pd.concat([FRAME, pd.DataFrame({"title": [""], "summary": ["x"], "phase": [None]})])
    parts = text_parts(frame, COLUMNS, template, table_first=table_first)
    joined = join_text(frame, COLUMNS, template, table_first=table_first)
    assert ["".join(part.text for part in row) for row in parts] == joined
    if template is None:
        first, second = ("phase: P2\nHeart\ndrug", "x") if table_first else (
            "Heart\ndrug\nphase: P2", "x",
        )  # fmt: skip
        assert joined == [first, second]


def test_texts_without_a_table_are_their_parts_too() -> None:
    cells = {"title": ["Heart", "", "", "Lung\n"], "summary": ["drug", "x", "", ""]}
    frame, columns = pd.DataFrame(cells, dtype="str"), COLUMNS.select("text")
    joined = join_text(frame, columns)
    assert joined == ["Heart\ndrug", "x", "", "Lung\n"]
    assert joined == ["".join(part.text for part in row) for row in text_parts(frame, columns)]
