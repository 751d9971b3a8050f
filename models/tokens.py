"""Rows as a transformer reads them: tokens in windows, a table beside them, and padded batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from models.base import Ints

if TYPE_CHECKING:
    import torch

Rows = npt.NDArray[np.int64]
"""Numbers of the rows of one batch."""


@dataclass(frozen=True)
class Encoded:
    """Texts as tokens, and each row's table columns as numbers.

    `ids` holds one window of token ids after the other for each row, at least one; special tokens
    are in all of them. `full_length` counts the tokens of each text before any cut, `was_cut` says
    where windows had to be left out. `table` is (n, t), sparse (CSR), or None.
    """

    ids: list[list[npt.NDArray[np.int32]]]
    full_length: Ints
    was_cut: npt.NDArray[np.bool_]
    pad_id: int
    table: Any = None

    @property
    def windows(self) -> Ints:
        """Number of windows of each row."""
        return np.array([len(row) for row in self.ids], dtype=np.int64)

    @property
    def lengths(self) -> Ints:
        """Tokens of each row that are read, over its windows."""
        return np.array([sum(map(len, row)) for row in self.ids], dtype=np.int64)


@dataclass(frozen=True)
class Batch:
    """Some rows as tensors: `ids` and `mask` (windows, tokens), row after row.

    `windows` holds the number of windows of each row, `table` is (rows, t) or None.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    windows: list[int]
    table: torch.Tensor | None


def encode(
    texts: list[str], tokenizer: Any, max_length: int, *, windows: int = 1, threads: int = 1
) -> Encoded:
    """Tokenise `texts` into at most `windows` windows of `max_length` tokens each.

    Windows follow each other without overlap; what is beyond the last one is cut off.
    """
    pad_id = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
    found = _windows(texts, tokenizer, max_length, threads=threads)
    special = tokenizer.num_special_tokens_to_add()
    full = [sum(len(window.ids) - special for window in row) + special for row in found]
    return Encoded(
        ids=[[np.array(window.ids, dtype=np.int32) for window in row[:windows]] for row in found],
        full_length=np.array(full, dtype=np.int64),
        was_cut=np.array([len(row) > windows for row in found], dtype=bool),
        pad_id=pad_id,
    )


def offsets(
    texts: list[str], tokenizer: Any, max_length: int, *, windows: int = 1
) -> list[list[Ints]]:
    """Of each row, window and token of `encode`: first character in the text and the one after.

    Each window has (tokens, 2). A special token has (0, 0).
    """
    found = _windows(texts, tokenizer, max_length, threads=1)
    return [[np.array(window.offsets) for window in row[:windows]] for row in found]


def batch_of(rows: Encoded, numbers: Rows, device: Any) -> Batch:
    """The rows of these numbers, padded to their longest window."""
    found = [window for row in numbers for window in rows.ids[row]]
    lengths = np.array([len(window) for window in found])
    ids = np.full((len(found), lengths.max()), rows.pad_id, dtype=np.int64)
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids[mask] = np.concatenate(found)
    table = None
    if rows.table is not None:
        cells = rows.table[numbers].toarray().astype(np.float32)
        table = moved(cells, device)
    return Batch(
        ids=moved(ids, device),
        mask=moved(mask.astype(np.int64), device),
        windows=[len(rows.ids[row]) for row in numbers],
        table=table,
    )


def moved(array: npt.NDArray[Any], device: Any) -> torch.Tensor:
    """The array as a tensor on `device`; on its way to a GPU from memory that needs no waiting."""
    import torch

    tensor = torch.as_tensor(array)
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def length_grouped(lengths: Ints, batch_size: int, rng: np.random.Generator) -> list[Rows]:
    """All rows once, in batches of similar length, shuffled.

    As transformers' `LengthGroupedSampler`: rows are shuffled, sorted by length within windows of
    50 batches (fewer for few rows, so that batches differ between epochs), and the batches are
    shuffled again.
    """
    rows = rng.permutation(len(lengths))
    span = batch_size * max(1, min(len(lengths) // (4 * batch_size), 50))
    batches = []
    for start in range(0, len(rows), span):
        part = rows[start : start + span]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
    return [batches[number] for number in rng.permutation(len(batches))]


def pieces(windows: Ints, rows: Rows, most: int) -> list[Rows]:
    """`rows` in their order, in pieces of at most `most` windows, but of at least one row.

    So a batch of long texts takes no more memory at once than one of short texts.
    """
    found: list[list[int]] = []
    held = 0
    for row in rows.tolist():
        if not found or held + windows[row] > most:
            found.append([])
            held = 0
        found[-1].append(row)
        held += windows[row]
    return [np.array(piece, dtype=np.int64) for piece in found]


def in_fixed_order(rows: Encoded) -> Rows:
    """Row numbers by length and then by content, so that batches don't depend on the rows' order.

    A value's last bits depend on the batch it is computed in.
    """

    def content(row: int) -> tuple[int, int, bytes, bytes]:
        table = b"" if rows.table is None else rows.table[row].toarray().tobytes()
        windows = rows.ids[row]
        return len(windows), len(windows[-1]), b"".join(map(bytes, windows)), table

    return np.array(sorted(range(len(rows.ids)), key=content), dtype=np.int64)


def _windows(texts: list[str], tokenizer: Any, max_length: int, *, threads: int) -> list[list[Any]]:
    """Of each text: what the tokenizer found in its first window, its second, and so on."""
    if not texts:
        return []
    with _tokenizer_threads(threads):
        found = tokenizer(texts, truncation=True, max_length=max_length).encodings
    return [[row, *row.overflowing] for row in found]


@contextmanager
def _tokenizer_threads(threads: int) -> Iterator[None]:
    """Keep the tokenizer off its own pool of threads where one thread is allowed."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "true" if threads > 1 else "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
