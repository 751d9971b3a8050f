"""A text longer than an encoder can read, as the pooled vectors of its windows."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from features.errors import InputError
from features.vectors import Vector

Long = Literal["cut", "mean", "max"]


def check(model: Any, name: str) -> None:
    """Raise `InputError` unless windows can be cut for this encoder.

    They are cut by the tokenizers library; a prompt that the checkpoint puts before every text
    would have to stand in each of them.
    """
    problem = ""
    if not model.tokenizer.is_fast:
        problem = "has a tokenizer that can't cut windows"
    elif model.default_prompt_name is not None:
        problem = f"puts the prompt {model.default_prompt_name!r} before every text"
    if problem:
        raise InputError(f"encoder {name!r} {problem}", "another encoder", "or set long: cut")


def embed_long(
    model: Any, text: str, *, max_tokens: int, pooling: Long, normalize: bool, together: int
) -> Vector:
    """The pooled vector (d,) of a text with more than `max_tokens` tokens.

    Its tokens are cut into windows without overlap, each with the tokenizer's marks and no longer
    than `max_tokens`; only the last one may be shorter. `together` windows are computed at once.
    With `normalize` the vectors of the windows have length 1, and so has the pooled one.
    """
    import torch

    tokenized = model.tokenizer(
        text,
        truncation=True,
        max_length=max_tokens,
        return_overflowing_tokens=True,
        padding="longest" if together > 1 else False,
    )
    tokenized.pop("overflow_to_sample_mapping")
    tokens = np.array([sum(mask) for mask in tokenized["attention_mask"]])
    found = []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(tokens), together):
            rows = slice(start, start + together)
            batch = {k: torch.tensor(v[rows], device=model.device) for k, v in tokenized.items()}
            found.append(model(batch)["sentence_embedding"].float().cpu().numpy())
    vectors = np.concatenate(found)
    if normalize:
        vectors = _scaled(vectors)
    pooled = pool(vectors, tokens - model.tokenizer.num_special_tokens_to_add(), pooling)
    return _scaled(pooled) if normalize else pooled


def pool(vectors: Vector, tokens: npt.NDArray[np.int64], pooling: Long) -> Vector:
    """(d,) out of (windows, d): the mean weighted by the windows' tokens, or the largest values."""
    if pooling == "max":
        return np.asarray(vectors.max(axis=0), np.float32)
    return np.average(vectors, axis=0, weights=tokens).astype(np.float32)


def _scaled(vectors: Vector) -> Vector:
    """Vectors of length 1; one of zeros stays as it is."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)
