"""Groups of texts that are the same, or nearly so: copies, sister trials, new versions."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import pandas as pd

from models.base import Ints

THRESHOLD = 0.8
_WORDS = re.compile(r"\w+")
_SHINGLE = 3
_PERMUTATIONS = 128
_BLOCK = 2000


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

    worded = list(map(_worded, texts))
    number, unique = pd.factorize(np.array(worded, object))
    pairs = np.array(list(_alike(unique.tolist(), threshold)), np.int64).reshape(-1, 2)
    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(unique), len(unique)))
    group = connected_components(graph, directed=False)[1][number].astype(np.int64)
    empty = np.array([not words for words in worded], bool)
    group[empty] = len(unique) + np.arange(empty.sum())
    return np.asarray(pd.factorize(group)[0], np.int64)


def first_alike(
    sample: Sequence[str], texts: Iterable[str], *, threshold: float = THRESHOLD
) -> Ints:
    """The place of the first of `texts` that is like each text of `sample`, or -1, (len(sample),).

    Alike as in `near_duplicate_groups`, but by the Jaccard index itself and in pairs alone. Only
    the sample is held in memory; 100,000 texts of 200 words take about 6 s.
    """
    found = np.full(len(sample), -1, np.int64)
    forms = list(map(_form, sample))
    shingles = set[bytes]().union(*forms)
    numbers = {shingle: number for number, shingle in enumerate(shingles)}
    held, sizes = _ones([[numbers[s] for s in form] for form in forms], len(numbers))
    stream, start = iter(texts), 0
    while block := list(islice(stream, _BLOCK)):
        known, lengths = list[list[int]](), np.zeros(len(block), np.int64)
        for place, text in enumerate(block):
            form = _form(text)
            lengths[place] = len(form)
            shared = form & shingles
            # too few in all of the sample together are too few in each
            enough = len(shared) >= threshold * len(form)
            known.append([numbers[s] for s in shared] if enough else [])
        open_ = np.flatnonzero(found < 0)  # one that is found needs no other
        both = (_ones(known, len(numbers))[0] @ held[open_].T).tocoo()
        union = lengths[both.row] + sizes[open_[both.col]] - both.data
        alike = both.data >= threshold * union
        first = np.full(len(open_), len(block))
        np.minimum.at(first, both.col[alike], both.row[alike])
        found[open_] = np.where(first < len(block), start + first, -1)
        start += len(block)
    return found


def _ones(rows: Sequence[Sequence[int]], width: int) -> tuple[Any, Ints]:
    """A CSR matrix (len(rows), width) with a 1 at each number of a row, and how many a row has."""
    from scipy.sparse import csr_array

    sizes = np.array([len(row) for row in rows], np.int64)
    places = np.fromiter(chain.from_iterable(rows), np.int64, int(sizes.sum()))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    ones = np.ones(len(places), np.int64)
    return csr_array((ones, places, starts), shape=(len(rows), width)), sizes


def _form(text: str) -> set[bytes]:
    """The shingles of a text, none of one without words."""
    words = _worded(text)
    return set(_shingles(words)) if words else set()


def _worded(text: str) -> str:
    """The words of a text, case and punctuation aside, with single blanks."""
    return " ".join(_WORDS.findall(text.casefold()))


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
