"""Sentence embeddings as models get them: with their cost, whoever embedded a text first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from features.embed import EmbedReport, Encoder, embed
from features.vectors import Vector
from models.base import Context, Cost


def embedded(
    texts: Sequence[str], encoder: Encoder, context: Context
) -> tuple[Vector, EmbedReport]:
    """`features.embed.embed`; what its cache spared counts once for each text and timer."""
    taken: list[tuple[Mapping[bytes, float], bool]] = []
    vectors, report = embed(
        texts,
        encoder,
        cache=context.cache if context.memo.is_open else None,
        device=context.device,
        threads=context.threads,
        costs=lambda seconds, now: taken.append((seconds, now)),
        waited=context.timer.wait,
    )
    name = np.uint64(hash(report.encoder) % 2**64)
    for seconds, now in taken:
        pieces = np.frombuffer(b"".join(key[:8] for key in seconds), np.uint64) ^ name
        cost = Cost(pieces, np.array(list(seconds.values()), float))
        context.timer.charge(cost, float(cost.seconds.sum()) if now else None)
    return vectors, report
