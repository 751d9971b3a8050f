"""Wide text features as fewer: the directions in which the rows of train differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from features.tfidf import Tfidf

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """The leading singular directions of a matrix of train.

    For sparse counts of words that is latent semantic analysis (Deerwester et al. 1990): not
    centred, so that the matrix stays sparse. Dense vectors are centred first: principal components.
    """

    directions: Floats
    centre: Floats | None

    @classmethod
    def fit(cls, matrix: Any, width: int, *, seed: int = 0) -> tuple[Self, Floats]:
        """Learn from `matrix` (n, m); also gives its projection, float64 (n, min(width, n, m)).

        `seed` draws where the search for the directions of a sparse matrix starts (Halko et al.
        2011); those of a dense one are exact.
        """
        from scipy.sparse import issparse
        from sklearn.decomposition import PCA
        from sklearn.utils.extmath import randomized_svd
        from threadpoolctl import threadpool_limits

        width = min(width, *matrix.shape)
        # Sums over several threads round differently. Where all rows are equal, the share of the
        # variance that PCA works out beside is 0 / 0.
        with threadpool_limits(1), np.errstate(invalid="ignore", divide="ignore"):
            if issparse(matrix):
                directions = randomized_svd(matrix, width, random_state=seed)[2]
                learnt = cls(directions, None)
            else:
                pca = PCA(width, svd_solver="covariance_eigh").fit(np.asarray(matrix, np.float64))
                learnt = cls(pca.components_, pca.mean_)
        return learnt, learnt.transform(matrix)

    def transform(self, matrix: Any) -> Floats:
        """The projection of each row, float64 (n, width)."""
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            if self.centre is not None:
                matrix = np.asarray(matrix, np.float64) - self.centre
            return np.asarray(matrix @ self.directions.T, np.float64)


@dataclass(frozen=True)
class Lsa:
    """Texts as their TF-IDF of single words, projected: vocabulary and directions of train."""

    tfidf: Tfidf
    projection: Projection

    @classmethod
    def fit(
        cls, texts: Sequence[str], width: int, *, min_df: int = 5, seed: int = 0
    ) -> tuple[Self, Floats]:
        """Learn from `texts` (n); also gives their vectors, float64 (n, at most `width`).

        Raises `InputError` where no word is left, see `Tfidf.fit`.
        """
        tfidf, matrix = Tfidf.fit(texts, ngram_max=1, min_df=min_df)
        projection, found = Projection.fit(matrix, width, seed=seed)
        return cls(tfidf, projection), found

    def transform(self, texts: Sequence[str]) -> Floats:
        """The vectors of `texts`, float64 (n, width)."""
        return self.projection.transform(self.tfidf.transform(texts))
