"""Groups of texts that are the same, or nearly so: copies, sister trials, new versions."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from models.base import Ints

THRESHOLD = 0.8
_WORDS = re.compile(r"\w+")
_SHINGLE = 3
_PERMUTATIONS = 128


def near_duplicate_groups(texts: Sequence[str], *, threshold: float = THRESHOLD) -> Ints:
    """A group number for each text, (n,), from 0 in order of appearance.

    Texts are alike if the Jaccard index of their shingles (runs of three words, case and
    punctuation aside; Broder 1997) is `threshold` or more, as MinHash estimates it from 128
    permutations: its standard error is .035 at .8. A group holds what such pairs link, directly or
    over others. Pairs are found by locality-sensitive hashing, which misses few that are above the
    threshold. Texts with the same words are always together, texts without a word never.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    worded = [" ".join(_WORDS.findall(text.casefold())) for text in texts]
    number, unique = pd.factorize(np.array(worded, object))
    pairs = np.array(list(_alike(unique.tolist(), threshold)), np.int64).reshape(-1, 2)
    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(unique), len(unique)))
    group = connected_components(graph, directed=False)[1][number].astype(np.int64)
    empty = np.array([not words for words in worded], bool)
    group[empty] = len(unique) + np.arange(empty.sum())
    return np.asarray(pd.factorize(group)[0], np.int64)


def _alike(texts: Sequence[str], threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs of places (earlier, later) of texts that are alike."""
    from datasketch import MinHash, MinHashLSH

    # Rather too many candidates than too few: the estimate sorts them out.
    index = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, weights=(0.1, 0.9))
    signatures = np.empty((len(texts), _PERMUTATIONS), np.uint32)
    hashed = MinHash.generator(map(_shingles, texts), num_perm=_PERMUTATIONS, hashfunc=zlib.crc32)
    for place, signature in enumerate(hashed):
        signatures[place] = signature.hashvalues
        near = np.array(sorted(index.query(signature)), np.int64)
        similar = (signatures[near] == signatures[place]).mean(axis=1)
        yield from ((int(earlier), place) for earlier in near[similar >= threshold])
        index.insert(place, signature)


def _shingles(text: str) -> list[bytes]:
    """Every run of three words; a shorter text is one shingle."""
    words = text.encode().split()
    runs = zip(*(words[shift:] for shift in range(_SHINGLE)), strict=False)
    return [b" ".join(run) for run in runs] if len(words) > _SHINGLE else [text.encode()]
