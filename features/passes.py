"""Texts through a sentence encoder: tokenised once, in batches that waste no padding.

On a CPU a batch holds texts of one length, so that nothing is padded, and each thread computes
batches of its own: a vector depends neither on the texts beside it nor on the number of threads.
Elsewhere texts of similar length are padded to one batch, tokenised ahead in a thread of their own,
copied from pinned memory, and fetched together, as waiting for each batch would leave the GPU idle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from features import windows
from features.errors import InputError
from features.vectors import Embedded
from features.windows import Long

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

SHARD = 512
"""Texts in one file of the cache: what a killed run may lose, 10 to 40 s of CPU work."""

CHUNK = 16_384
"""Texts that are sorted by length together, and tokenised while others are computed."""

CPU_TOKENS, GPU_TOKENS = 2_048, 32_768
"""Tokens of one batch: enough to fill a core's caches, or a GPU."""


@dataclass(frozen=True)
class Way:
    """How texts are read: the fields of `features.embed.Encoder`, its precision settled."""

    max_tokens: int
    normalize: bool
    long: Long
    precision: str
    device: str

    @property
    def on_cpu(self) -> bool:
        """Whether the processor computes."""
        return self.device == "cpu"

    def windowed(self, tokens: int) -> bool:
        """Whether a text of so many tokens is read in windows."""
        return self.long != "cut" and tokens > self.max_tokens

    def most(self, tokens: int) -> int:
        """Texts of so many tokens in one batch.

        One with int8, whose rounding depends on the whole batch.
        """
        if self.precision == "int8":
            return 1
        return max(1, (CPU_TOKENS if self.on_cpu else GPU_TOKENS) // max(1, tokens))


class Read(NamedTuple):
    """A text's tokens before any cut, and the ids that are left after it.

    `ids` is None where the encoder prepares texts itself.
    """

    tokens: int
    ids: npt.NDArray[np.int32] | None


def compute(
    model: Any, texts: Mapping[bytes, str], way: Way, *, threads: int | None
) -> Iterator[dict[bytes, Embedded]]:
    """Embed `texts` in groups of `SHARD`, of each `CHUNK` the longest first.

    `threads` bounds the threads; None is what torch is set to. Raises `InputError` where a vector
    holds something that is no number.
    """
    import torch

    before = torch.get_num_threads()
    allowed = before if threads is None else threads
    alone = takes_ids(model) and way.long == "cut"
    workers = allowed if alone and way.on_cpu else 1
    torch.set_num_threads(max(1, allowed // workers))
    keys = list(texts)
    chunks = (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))
    tokenised = (_tokenised(model, texts, chunk, way) for chunk in chunks)
    try:
        with ThreadPoolExecutor(workers) as pool:
            over: Callable[..., Any] = pool.map if workers > 1 else map
            for read, cost in ahead(tokenised) if alone and not way.on_cpu else tokenised:
                order = sorted(read, key=lambda key: (-read[key].tokens, key))
                for start in range(0, len(order), SHARD):
                    part = {key: read[key] for key in order[start : start + SHARD]}
                    found, seconds = _timed(partial(_shard, model, texts, part, way, over))
                    yield _embedded(part, found, seconds + cost * len(part) / len(read), way)
    finally:
        torch.set_num_threads(before)


def takes_ids(model: Any) -> bool:
    """Whether the encoder can be given token ids, with nothing of its own put before a text.

    Other encoders prepare texts themselves: those with a prompt, without a fast tokenizer, without
    a transformer, padded on the left, or cut to fewer dimensions.
    """
    tokenizer = model.tokenizer
    return (
        getattr(tokenizer, "is_fast", False)
        and tokenizer.padding_side == "right"
        and tokenizer.pad_token_id is not None
        and model.default_prompt_name is None
        and model.truncate_dim is None
        and hasattr(model[0], "auto_model")
    )


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items (none of them None), each made in another thread while the last one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def batches(order: Sequence[bytes], read: Mapping[bytes, Read], way: Way) -> Iterator[list[bytes]]:
    """Parts of `order` (longest first); a text that is read in windows stands alone."""
    start = 0
    while start < len(order):
        first = read[order[start]].tokens
        length = min(first, way.max_tokens)
        most = 1 if way.windowed(first) else way.most(length)
        part = list(order[start : start + most])
        if way.on_cpu:
            part = [key for key in part if min(read[key].tokens, way.max_tokens) == length]
        yield part
        start += len(part)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def _tokenised(
    model: Any, texts: Mapping[bytes, str], keys: Sequence[bytes], way: Way
) -> tuple[dict[bytes, Read], float]:
    """What is read of each text, and the seconds that it took to find out.

    In parts, as the tokenizer's own results take a hundred bytes a token.
    """
    began = time.perf_counter()
    read: dict[bytes, Read] = {}
    plain = takes_ids(model) and way.long == "cut"
    for start in range(0, len(keys), SHARD):
        part = keys[start : start + SHARD]
        lines = [texts[key] for key in part]
        if not plain:
            found = model.tokenizer(lines, truncation=False, verbose=False)["input_ids"]
            read |= {key: Read(len(ids), None) for key, ids in zip(part, found, strict=True)}
            continue
        special = model.tokenizer.num_special_tokens_to_add()
        rows = model.tokenizer(lines, truncation=True, max_length=way.max_tokens).encodings
        for key, row in zip(part, rows, strict=True):
            over = sum(len(window.ids) - special for window in row.overflowing)
            read[key] = Read(len(row.ids) + over, np.array(row.ids, dtype=np.int32))
    return read, time.perf_counter() - began


def _shard(
    model: Any,
    texts: Mapping[bytes, str],
    read: Mapping[bytes, Read],
    way: Way,
    over: Callable[..., Any],
) -> npt.NDArray[np.float32]:
    """The vectors of the texts in `read`, in their order: all computed, then all fetched."""
    import torch

    work = partial(_vectors, model, texts, read, way)
    found = list(over(work, batches(list(read), read, way)))
    stacked = torch.cat([part.to("cpu") for part in found]).numpy()
    if not np.isfinite(stacked).all():
        raise InputError(
            f"the encoder's vectors are no longer numbers in {way.precision}",
            "finite numbers",
            "set precision: fp32",
        )
    return stacked


def _embedded(
    read: Mapping[bytes, Read], found: npt.NDArray[np.float32], seconds: float, way: Way
) -> dict[bytes, Embedded]:
    """The rows of one shard; each text has its share of the seconds, by its tokens."""
    tokens = {key: row.tokens for key, row in read.items()}
    used = tokens if way.long != "cut" else {k: min(n, way.max_tokens) for k, n in tokens.items()}
    second = seconds / max(1, sum(used.values()))
    return {
        key: Embedded(vector, second * used[key], tokens[key])
        for key, vector in zip(tokens, found, strict=True)
    }


def _vectors(
    model: Any,
    texts: Mapping[bytes, str],
    read: Mapping[bytes, Read],
    way: Way,
    batch: Sequence[bytes],
) -> torch.Tensor:
    """The vectors of one batch, (texts, d), wherever they were computed."""
    import torch

    if way.windowed(read[batch[0]].tokens):
        (text,) = (texts[key] for key in batch)
        return torch.from_numpy(_pooled(model, text, way))
    ids = [found for key in batch if (found := read[key].ids) is not None]
    if not ids:
        found = model.encode(
            [texts[key] for key in batch],
            batch_size=len(batch),
            show_progress_bar=False,
            normalize_embeddings=way.normalize,
        )
        return torch.from_numpy(np.asarray(found, dtype=np.float32))
    with torch.inference_mode():
        states = model(_features(ids, int(model.tokenizer.pad_token_id), way.device))
        vectors: torch.Tensor = states["sentence_embedding"].float()
        if way.normalize:
            vectors = torch.nn.functional.normalize(vectors, p=2, dim=1)
    return vectors


def _features(
    ids: Sequence[npt.NDArray[np.int32]], pad: int, device: str
) -> dict[str, torch.Tensor]:
    """Token ids and mask of one batch, (texts, tokens), on their way to `device`."""
    import torch

    lengths = np.array([len(row) for row in ids])
    mask = np.arange(lengths.max()) < lengths[:, None]
    padded = np.full(mask.shape, pad, dtype=np.int64)
    padded[mask] = np.concatenate(ids)
    made = {
        "input_ids": torch.from_numpy(padded),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
    if device == "cpu":
        return made
    if device.startswith("cuda"):
        made = {name: part.pin_memory() for name, part in made.items()}
    return {name: part.to(device, non_blocking=True) for name, part in made.items()}


def _pooled(model: Any, text: str, way: Way) -> npt.NDArray[np.float32]:
    vector = windows.embed_long(
        model,
        text,
        max_tokens=way.max_tokens,
        pooling=way.long,
        normalize=way.normalize,
        together=1 if way.on_cpu else way.most(way.max_tokens),
    )
    return vector[None]
