"""Texts as weighted counts of words and word groups, or of pieces of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

from features.errors import InputError


@dataclass(frozen=True)
class Tfidf:
    """TF-IDF, vocabulary of train: idf(t) = ln((1 + n) / (1 + df(t))) + 1, rows of length 1.

    A word is two or more word characters, in lower case (scikit-learn's `TfidfVectorizer`).
    """

    vectorizer: Any

    @classmethod
    def fit(
        cls,
        texts: Sequence[str],
        *,
        ngram_max: int = 2,
        characters: tuple[int, int] | None = None,
        min_df: int = 2,
        max_features: int | None = None,
        sublinear: bool = True,
    ) -> tuple[Self, Any]:
        """The fitted vectorizer and the CSR matrix of `texts`, float64 (n, vocabulary).

        Terms are groups of one to `ngram_max` words or, with `characters`, pieces of words of so
        many characters (least, most), the space before and after a word included. Terms in fewer
        than `min_df` texts are left out, but with few texts fewer are asked for: never more than a
        tenth of the texts. `max_features` keeps the most frequent. `sublinear` takes 1 + ln(count)
        for the count. Raises `InputError` where no term is left.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        least = max(1, min(min_df, len(texts) // 10))
        vectorizer = TfidfVectorizer(
            analyzer="word" if characters is None else "char_wb",
            ngram_range=(1, ngram_max) if characters is None else characters,
            min_df=least,
            max_features=max_features,
            sublinear_tf=sublinear,
        )
        try:
            matrix = vectorizer.fit_transform(texts)
        except ValueError as error:
            if "empty vocabulary" not in str(error) and "no terms remain" not in str(error):
                raise
            raise InputError(
                f"no word stands in {least} or more of the {len(texts)} training texts",
                "text to learn from",
                "set min_df: 1, or choose other text columns or inputs",
            ) from None
        return cls(vectorizer), matrix

    def transform(self, texts: Sequence[str]) -> Any:
        """CSR matrix, float64 (n, vocabulary); a text without known terms is a row of zeros."""
        return self.vectorizer.transform(texts)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The vocabulary in the order of the columns."""
        return tuple(self.vectorizer.get_feature_names_out())

    @property
    def nbytes(self) -> int:
        """About what the vocabulary takes: a text, a number and their places in a dict."""
        return 200 * len(self.vectorizer.vocabulary_)
