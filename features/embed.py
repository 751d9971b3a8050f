"""Texts as vectors: sentence embeddings, each text computed once and kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from features import vectors, windows
from features.checkpoints import Checkpoint, fetch, files_sha256, resolve
from features.errors import InputError
from features.vectors import Embedded, Vector
from features.windows import Long

SHARD = 512
"""Texts in one file of the cache: what a killed run may lose, 10 to 40 s of CPU work."""

_BATCH_TOKENS = 16_384
_LIBRARIES = ("sentence-transformers", "tokenizers", "torch", "transformers")


@dataclass(frozen=True)
class Encoder:
    """How a text becomes a vector.

    `name` is a checkpoint as `features.checkpoints.resolve` takes it; its own pooling is used, the
    mean over tokens where it states none. A text of more than `max_tokens`, the two marks at the
    ends included, is cut to so many; with `long` its windows of that length are pooled instead, by
    the mean (weighted by their tokens) or by the largest value of each dimension. Shorter texts
    have the same vector with all three. `normalize` scales each vector to length 1.
    """

    name: str = "bundled:minilm"
    revision: str | None = None
    max_tokens: int = 256
    normalize: bool = True
    long: Long = "cut"


@dataclass(frozen=True)
class EmbedReport:
    """What one call of `embed` did.

    `encoder` names the encoder with a hash of all that makes the vectors what they are. Of `texts`
    rows, `unique` differ, of which `computed` were not in the cache; those longer than `max_tokens`
    are `cut` or, with `long`, `chunked`. `seconds` is the time spent computing now, `seconds_cold`
    the time that the unique texts took when they were computed: what the call would have cost with
    an empty cache. Neither holds the seconds that loading the encoder takes.
    """

    encoder: str
    texts: int
    unique: int
    computed: int
    cut: int
    chunked: int
    seconds: float
    seconds_cold: float


def summed(reports: Sequence[EmbedReport]) -> EmbedReport:
    """One report of several calls (at least one) with the same encoder: all is added up."""
    numbers = [field.name for field in dataclasses.fields(EmbedReport) if field.name != "encoder"]
    sums = {name: sum(getattr(report, name) for report in reports) for name in numbers}
    return dataclasses.replace(reports[0], **sums)


def find(encoder: Encoder) -> Checkpoint:
    """The checkpoint of `encoder`, found without importing torch or downloading anything.

    Raises `InputError` where it can't be had or can't read `max_tokens` tokens.
    """
    checkpoint = resolve(encoder.name, encoder.revision)
    if checkpoint.folder is not None:
        _check_length(encoder, checkpoint.folder)
    return checkpoint


def embed(
    texts: Sequence[str],
    encoder: Encoder,
    *,
    cache: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> tuple[Vector, EmbedReport]:
    """The vectors of `texts`, float32 (n, d), in their order; (0, 0) for no texts.

    An empty text has a vector like any other. On a CPU texts are computed one by one, so that a
    vector does not depend on the texts beside it (in a batch it changes by about 1e-7): measured on
    MiniLM, that is 10 % slower than the best batch on one core (22 % on two). Elsewhere batches
    are used and the cache keeps the values stable. `threads` bounds torch's pool during the call.
    """
    checkpoint = fetch(find(encoder))
    _check_length(encoder, _folder(checkpoint))
    name = identity(encoder, checkpoint, device)
    folder = None if cache is None else cache / "embeddings" / name
    clean = [text.encode("utf-8", "replace") for text in texts]
    keys = [hashlib.sha256(text).digest() for text in clean]
    unique = dict(zip(keys, clean, strict=True))
    known = {} if folder is None else vectors.read(folder, unique)
    missing = {key: text.decode() for key, text in unique.items() if key not in known}
    seconds = 0.0
    for rows in _compute(missing, encoder, _folder(checkpoint), device=device, threads=threads):
        if folder is not None:
            vectors.write(folder, rows)
        known |= rows
        seconds += sum(row.seconds for row in rows.values())
    over = sum(row.tokens > encoder.max_tokens for row in known.values())
    report = EmbedReport(
        encoder=name,
        texts=len(keys),
        unique=len(unique),
        computed=len(missing),
        cut=over if encoder.long == "cut" else 0,
        chunked=0 if encoder.long == "cut" else over,
        seconds=seconds,
        seconds_cold=sum(row.seconds for row in known.values()),
    )
    stacked = [known[key].vector for key in keys]
    return np.stack(stacked) if stacked else np.empty((0, 0), dtype=np.float32), report


def identity(encoder: Encoder, checkpoint: Checkpoint, device: str) -> str:
    """A folder name that changes with everything that changes a vector or its cost.

    That is the weights, all settings and the tokenizer beside them, the encoder's fields, the kind
    of device, and the libraries.
    """
    folder = _folder(checkpoint)
    parts: dict[str, Any] = {
        "label": checkpoint.label,
        "revision": checkpoint.revision,
        "max_tokens": encoder.max_tokens,
        "normalize": encoder.normalize,
        "device": device.partition(":")[0],
        "files": files_sha256(folder),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
    if encoder.long != "cut":  # so that vectors of cut texts keep the name they had before
        parts["long"] = encoder.long
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in checkpoint.label)
    return f"{slug[:80]}-{digest[:16]}"


def _folder(checkpoint: Checkpoint) -> Path:
    if checkpoint.folder is None:
        raise ValueError(f"{checkpoint.label} is not on this machine yet: fetch it first")
    return checkpoint.folder


def _check_length(encoder: Encoder, folder: Path) -> None:
    try:
        limit = json.loads((folder / "config.json").read_text("utf-8")).get(
            "max_position_embeddings"
        )
    except (ValueError, AttributeError):
        raise InputError(
            f"config.json of encoder {encoder.name!r} can't be read", "a JSON object"
        ) from None
    if isinstance(limit, int) and encoder.max_tokens > limit:
        raise InputError(
            f"max_tokens {encoder.max_tokens} with encoder {encoder.name!r}",
            f"at most {limit}",
            f"set max_tokens: {limit} or less",
        )


def _compute(
    texts: Mapping[bytes, str],
    encoder: Encoder,
    folder: Path,
    *,
    device: str,
    threads: int | None,
) -> Iterator[dict[bytes, Embedded]]:
    """Embed `texts`, the longest first, in groups of `SHARD`."""
    if not texts:
        return
    import torch

    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        model = _load(encoder, folder, device)
        tokens = _count_tokens(model, texts)
        order = sorted(tokens, key=lambda key: (-tokens[key], key))
        for start in range(0, len(order), SHARD):
            rows: dict[bytes, Embedded] = {}
            for batch in _batches(order[start : start + SHARD], tokens, encoder, device):
                began = time.perf_counter()
                if _in_windows(tokens[batch[0]], encoder):
                    found = _pooled(model, texts[batch[0]], encoder, device)
                else:
                    found = _encoded(model, [texts[key] for key in batch], encoder)
                share = (time.perf_counter() - began) / len(batch)
                for key, vector in zip(batch, found, strict=True):
                    rows[key] = Embedded(vector, share, tokens[key])
            yield rows
    finally:
        torch.set_num_threads(before)


def _in_windows(tokens: int, encoder: Encoder) -> bool:
    return encoder.long != "cut" and tokens > encoder.max_tokens


def _encoded(model: Any, texts: list[str], encoder: Encoder) -> Vector:
    found = model.encode(
        texts,
        batch_size=len(texts),
        show_progress_bar=False,
        normalize_embeddings=encoder.normalize,
    )
    return np.asarray(found, dtype=np.float32)


def _pooled(model: Any, text: str, encoder: Encoder, device: str) -> Vector:
    vector = windows.embed_long(
        model,
        text,
        max_tokens=encoder.max_tokens,
        pooling=encoder.long,
        normalize=encoder.normalize,
        together=_most(encoder.max_tokens, device),
    )
    return vector[None]


def _most(tokens: int, device: str) -> int:
    """Texts of so many tokens in one batch: one on a CPU, else as many as the budget allows."""
    return 1 if device == "cpu" else max(1, _BATCH_TOKENS // tokens)


def _batches(
    order: Sequence[bytes], tokens: Mapping[bytes, int], encoder: Encoder, device: str
) -> Iterator[Sequence[bytes]]:
    """Parts of `order` (longest first); a text that is read in windows stands alone."""
    start = 0
    while start < len(order):
        longest = max(1, min(tokens[order[start]], encoder.max_tokens))
        alone = _in_windows(tokens[order[start]], encoder)
        size = 1 if alone else _most(longest, device)
        yield order[start : start + size]
        start += size


def _count_tokens(model: Any, texts: Mapping[bytes, str]) -> dict[bytes, int]:
    """Tokens of each text before any cut; in parts, as a million token lists fill the memory."""
    keys = list(texts)
    counts: dict[bytes, int] = {}
    for start in range(0, len(keys), SHARD):
        part = keys[start : start + SHARD]
        found = model.tokenizer([texts[key] for key in part], truncation=False, verbose=False)
        counts |= {key: len(ids) for key, ids in zip(part, found["input_ids"], strict=True)}
    return counts


def _load(encoder: Encoder, folder: Path, device: str) -> Any:
    with quiet():
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(
                str(folder),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"use_safetensors": True},
            )
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"encoder {encoder.name!r} could not be loaded ({type(error).__name__}: {error})",
                "a sentence encoder that needs no code of its own",
                "set encoder: bundled:minilm",
            ) from error
    if encoder.long != "cut":
        windows.check(model, encoder.name)
    model.max_seq_length = encoder.max_tokens
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars and notices that transformers writes while it loads."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
