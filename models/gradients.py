"""Attributions of a fine-tuned encoder: integrated gradients, and where it looked.

Integrated gradients (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks") with
captum, from the embeddings of a text whose words are all `[PAD]` (special tokens, positions and
mask as they are) to those of the text; table columns start at 0, which is the mean of a number and
no level of a category. Shares add up to the difference of both outputs but for the error of the
integral, the convergence delta: `Attribution.gap`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from features.occurrences import Word, Written, words
from models.attribution import (
    PUNCTUATION,
    Attribution,
    Block,
    Feature,
    Spans,
    Tally,
    contrast,
    explained_classes,
    pooled,
    side_by_side,
)
from models.base import Floats, Ints, Target
from models.network import Network
from models.tokens import Batch, Encoded, batch_of

if TYPE_CHECKING:
    import torch

STEPS = (16, 64, 256)
"""Points of the Gauss-Legendre rule between baseline and text: the next number is tried where the
gap is more than `TOLERANCE` of the difference, as where the output has a steep step on the way."""
TOLERANCE = 0.02
_SMALL = 0.1
"""A difference in log-odds below which the tolerance is not tightened further."""
_TOGETHER = 8
"""Windows of a row that go through the network at once."""


@dataclass(frozen=True)
class Read:
    """How the encoder read some rows: tokens, their places in the texts, names of table columns."""

    rows: Encoded
    offsets: Sequence[Sequence[Ints]]
    texts: Sequence[Written]
    text_columns: frozenset[str]
    table_fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Shares:
    """Of one row: shares of its tokens (windows, tokens, k) and of its table columns (t, k)."""

    tokens: Floats
    table: Floats
    base: Floats
    output: Floats


def explain(network: Network, read: Read, target: Target) -> Attribution:
    """Shares of words, of cells in words and of table columns; spans and attention of each row."""
    tally = Tally(len(explained_classes(target)))
    spans, attention, found = [], [], []
    for row, text in enumerate(read.texts):
        batch = batch_of(read.rows, np.array([row]), network.device)
        places = _Places.of(text, read.offsets[row], read.text_columns)
        found.append(_integrated(network, batch, places.is_special(batch), target))
        tokens = [
            shares[: len(offsets)]
            for shares, offsets in zip(found[-1].tokens, read.offsets[row], strict=True)
        ]
        weights = np.concatenate(tokens)
        tally.add_row([tally.number(feature) for feature in places.features], weights)
        spans.append(places.spans(weights))
        looked = np.concatenate(_attention(network, batch, read.offsets[row]))
        attention.append(places.spans(looked[:, None]))
    blocks = [tally.block()]
    if read.table_fields:
        table = np.stack([shares.table for shares in found])
        blocks.append(pooled(table, [Feature(field, field) for field in read.table_fields]))
    both: Block = side_by_side(blocks)
    return Attribution(
        method="integrated gradients",
        values=both.values,
        base=np.stack([shares.base for shares in found]),
        output=np.stack([shares.output for shares in found]),
        features=both.features,
        classes=explained_classes(target),
        spans=tuple(spans),
        attention=tuple(attention),
    )


@dataclass(frozen=True)
class _Places:
    """What each token of a row, window after window, is a piece of; -1 where it is of no word."""

    text: Written
    words: list[Word]
    offsets: Ints
    lengths: tuple[int, ...]
    word_of: Ints
    features: tuple[Feature, ...]

    @classmethod
    def of(cls, text: Written, windows: Sequence[Ints], text_columns: frozenset[str]) -> _Places:
        found = words(text.text)
        begins = [word.start for word in found]
        offsets = np.concatenate(windows)
        word_of, features = [], []
        for start, end in offsets:
            piece = text.text[start:end]
            first = int(start) + len(piece) - len(piece.lstrip())  # some tokens begin with blanks
            number = bisect_right(begins, first) - 1
            inside = end > start and number >= 0 and first < found[number].end
            word_of.append(number if inside else -1)
            field = text.fields[text.part(first)] if text.fields else ""
            if field not in text_columns:
                features.append(Feature(field, field))
            elif inside:
                features.append(Feature(field, found[number].name, is_word=True))
            else:
                features.append(Feature(field, PUNCTUATION))
        lengths = tuple(len(window) for window in windows)
        return cls(text, found, offsets, lengths, np.array(word_of), tuple(features))

    def is_special(self, batch: Batch) -> Any:
        """Which tokens, (windows, tokens) with padding, stand for no text."""
        import torch

        special = torch.ones(batch.ids.shape, dtype=torch.bool)
        at = 0
        for window, length in enumerate(self.lengths):
            empty = self.offsets[at : at + length, 0] == self.offsets[at : at + length, 1]
            special[window, :length] = torch.as_tensor(empty)
            at += length
        return special.to(batch.ids.device)

    def spans(self, weights: Floats) -> Spans:
        """The words of text columns with the sums of their tokens' weights (tokens, k)."""
        on_words = np.zeros((len(self.words), weights.shape[1]))
        inside = self.word_of >= 0
        np.add.at(on_words, self.word_of[inside], weights[inside])
        parts = [self.text.part(word.start) for word in self.words]
        kept = [n for n in np.unique(self.word_of[inside]).tolist() if self.text.quotes[parts[n]]]
        bounds = [
            (self.words[n].start - begin, self.words[n].end - begin)
            for n, begin in ((n, self.text.starts[parts[n]]) for n in kept)
        ]
        return Spans(
            tuple(self.text.fields[parts[n]] for n in kept),
            np.array(bounds, dtype=np.int64).reshape(-1, 2),
            on_words[kept],
        )


def _integrated(network: Network, batch: Batch, special: Any, target: Target) -> _Shares:
    """Shares of one row's tokens and table columns, in evaluation mode."""
    import torch
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        text = network.embeddings(batch)
        pad = network.encoder.get_input_embeddings()(torch.full_like(batch.ids, _pad(network)))
    inputs, baselines = [text[None]], [torch.where(special[:, :, None], text, pad)[None]]
    if batch.table is not None:
        inputs.append(batch.table)
        baselines.append(torch.zeros_like(batch.table))

    def output(embeddings: torch.Tensor, table: torch.Tensor | None = None) -> torch.Tensor:
        times = len(embeddings)
        many = Batch(
            ids=batch.ids.repeat(times, 1),
            mask=batch.mask.repeat(times, 1),
            windows=batch.windows * times,
            table=table,
        )
        return contrast(network(many, embeddings.flatten(0, 1), table), target)

    explainer = IntegratedGradients(output)
    with torch.no_grad():
        ends = [output(*values).cpu().double().numpy()[0] for values in (baselines, inputs)]

    def shares(column: int, steps: int) -> tuple[Floats, Floats]:
        found = explainer.attribute(
            tuple(inputs),
            baselines=tuple(baselines),
            target=column,
            n_steps=steps,
            internal_batch_size=max(1, _TOGETHER // len(batch.ids)),
        )
        tokens, *table = [part[0].cpu().double().numpy() for part in found]
        return tokens.sum(axis=-1), table[0] if table else np.zeros(0)

    by_class = []
    for column, moved in enumerate(ends[1] - ends[0]):
        for steps in STEPS:
            tokens, table = shares(column, steps)
            if abs(tokens.sum() + table.sum() - moved) <= TOLERANCE * max(abs(moved), _SMALL):
                break
        by_class.append((tokens, table))
    return _Shares(
        tokens=np.stack([tokens for tokens, _ in by_class], axis=-1),
        table=np.stack([table for _, table in by_class], axis=-1),
        base=ends[0],
        output=ends[1],
    )


def _pad(network: Network) -> int:
    found = network.encoder.config.pad_token_id
    return 0 if found is None else int(found)


def _attention(network: Network, batch: Batch, offsets: Sequence[Ints]) -> list[Floats]:
    """Attention rollout (Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers").

    Heads are averaged, half of each layer is the token itself, and layers are multiplied. It is
    read where the pooled vector is: at the first token, or at all of them. Weights of one row's
    tokens, window by window; special tokens get none, the rest sum to 1.
    """
    import torch

    with torch.no_grad(), _eager(network.encoder):
        states = network.base(
            input_ids=batch.ids, attention_mask=batch.mask, output_attentions=True
        )
    flow = torch.eye(batch.ids.shape[1], device=batch.ids.device)[None]
    for layer in states.attentions:
        mixed = (layer.mean(dim=1) + torch.eye(layer.shape[-1], device=layer.device)) / 2
        flow = mixed / mixed.sum(dim=-1, keepdim=True) @ flow
    looked = []
    for window, places in enumerate(offsets):
        inside = flow[window, : len(places), : len(places)]
        read = inside.mean(dim=0) if network.pooling == "mean" else inside[0]
        weights = read.cpu().double().numpy() * (places[:, 0] < places[:, 1])
        looked.append(weights * len(places))
    total = sum(float(weights.sum()) for weights in looked)
    return [weights / (total if total > 0 else 1.0) for weights in looked]


@contextmanager
def _eager(encoder: Any) -> Iterator[None]:
    """Attention computed in the one way that gives its weights; others leave them out."""
    before = encoder.config._attn_implementation
    encoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        encoder.set_attn_implementation(before)
