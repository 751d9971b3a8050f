"""Texts as vectors: sentence embeddings, each text computed once and kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from features import int8, passes, products, vectors, windows
from features.checkpoints import Checkpoint, fetch, files_sha256, resolve
from features.errors import InputError
from features.passes import Way
from features.vectors import Embedded, Vector
from features.windows import Long

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]

_LIBRARIES = ("sentence-transformers", "tokenizers", "torch", "transformers")


@dataclass(frozen=True)
class Encoder:
    """How a text becomes a vector.

    `name` is a checkpoint as `features.checkpoints.resolve` takes it; its own pooling is used, the
    mean over tokens where it states none. A text of more than `max_tokens`, the two marks at the
    ends included, is cut to so many; with `long` its windows of that length are pooled instead, by
    the mean (weighted by their tokens) or by the largest value of each dimension. Shorter texts
    have the same vector with all three. `normalize` scales each vector to length 1. `precision`
    `auto` is float16 on a CUDA device and float32 elsewhere; `int8` is for a CPU alone and needs
    the extra `onnx`, see `features.int8`.
    """

    name: str = "bundled:minilm"
    revision: str | None = None
    max_tokens: int = 256
    normalize: bool = True
    long: Long = "cut"
    precision: Precision = "auto"


@dataclass(frozen=True)
class EmbedReport:
    """What one call of `embed` did.

    `encoder` names the encoder with a hash of all that makes the vectors what they are. Of `texts`
    rows, `unique` differ, of which `computed` were not in the cache; those longer than `max_tokens`
    are `cut` or, with `long`, `chunked`. `seconds` is the wall time spent tokenising and computing
    now, `seconds_cold` what the unique texts took when they were computed: what the call would have
    cost with an empty cache. A text has its share by its tokens. Neither holds the seconds that
    loading the encoder takes.
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
    if encoder.precision == "int8":
        int8.check()
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
    costs: Callable[[Mapping[bytes, float], bool], None] | None = None,
    waited: Callable[[float], None] | None = None,
) -> tuple[Vector, EmbedReport]:
    """The vectors of `texts`, float32 (n, d), in their order; (0, 0) for no texts.

    An empty text has a vector like any other. On a CPU a batch holds texts of one length and a
    thread works on batches of its own, so that a vector depends neither on the texts beside it nor
    on `threads`, which bounds them (None: what torch is set to). Elsewhere batches are padded, a
    vector differs in its last bits, and the cache keeps the values stable.
    `costs` is told the seconds that each unique text took, by sha256: first of those that the cache
    held (False), then of those computed now (True). Processes with one cache compute in turn, so
    that none embeds what another is at; `waited` is told the seconds until it was this one's turn.
    """
    checkpoint = fetch(find(encoder))
    _check_length(encoder, _folder(checkpoint))
    name = identity(encoder, checkpoint, device)
    folder = None if cache is None else cache / "embeddings" / name
    clean = [text.encode("utf-8", "replace") for text in texts]
    keys = [hashlib.sha256(text).digest() for text in clean]
    unique = dict(zip(keys, clean, strict=True))
    known = {} if folder is None else vectors.read(folder, unique)
    seconds = 0.0
    with _turn(folder if len(known) < len(unique) else None, waited):
        if folder is not None:
            known |= vectors.read(folder, unique.keys() - known.keys())
        missing = {key: text.decode() for key, text in unique.items() if key not in known}
        for rows in _compute(
            missing,
            encoder,
            _folder(checkpoint),
            device=device,
            threads=threads,
            kept=(None if cache is None else cache / "onnx", name),
        ):
            if folder is not None:
                vectors.write(folder, rows)
            known |= rows
            seconds += sum(row.seconds for row in rows.values())
    if costs is not None:
        for now in (False, True):
            costs({key: row.seconds for key, row in known.items() if (key in missing) is now}, now)
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


@contextmanager
def _turn(folder: Path | None, waited: Callable[[float], None] | None) -> Iterator[None]:
    """Nobody else computes for this folder meanwhile; None: no need to take turns."""
    if folder is None:
        yield
        return
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    place, start = folder / ".lock", time.perf_counter()
    with FileLock(place):
        if waited is not None:
            waited(time.perf_counter() - start)
        try:
            yield
        finally:
            with suppress(OSError):  # while it is held: whoever waits for it starts over
                place.unlink()


def identity(encoder: Encoder, checkpoint: Checkpoint, device: str) -> str:
    """A folder name that changes with everything that changes a vector or its cost.

    That is the weights, all settings and the tokenizer beside them, the encoder's fields, the kind
    of device, and the libraries.
    """
    folder = _folder(checkpoint)
    precision = pick_precision(encoder.precision, device)
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
    if precision != "fp32":
        parts["precision"] = precision
    elif device == "cpu" and products.ONEDNN:
        parts["products"] = "onednn"
    if precision == "int8":
        parts["libraries"] |= {name: importlib.metadata.version(name) for name in int8.LIBRARIES}
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in checkpoint.label)
    shown = "" if precision == "fp32" else f"{precision}-"
    return f"{slug[:80]}-{shown}{digest[:16]}"


def pick_precision(asked: Precision, device: str) -> str:
    """What `auto` means on `device`; raises `InputError` for what can't be had there."""
    kind = device.partition(":")[0]
    if asked == "auto":
        return "fp16" if kind == "cuda" else "fp32"
    if asked == "int8" and kind != "cpu":
        raise InputError(f"precision int8 on {kind}", "int8 on a CPU only", "set precision: auto")
    if asked in ("bf16", "fp16") and kind == "cpu":
        raise InputError(
            f"precision {asked} of embeddings on a CPU",
            "fp32, which is faster there, or int8",
            "set precision: auto",
        )
    return asked


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
    kept: tuple[Path | None, str],
) -> Iterator[dict[bytes, Embedded]]:
    """Embed `texts` in groups of `passes.SHARD`; an int8 network is kept as `kept` says."""
    if not texts:
        return
    precision = pick_precision(encoder.precision, device)
    model = _load(encoder, folder, device)
    if precision == "int8":
        int8.quantise(model, *kept)
    way = Way(encoder.max_tokens, encoder.normalize, encoder.long, precision, device)
    yield from passes.compute(model, texts, way, threads=threads)


def _load(encoder: Encoder, folder: Path, device: str) -> Any:
    with quiet():
        import torch
        from sentence_transformers import SentenceTransformer

        precision = pick_precision(encoder.precision, device)
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}

        try:
            model = SentenceTransformer(
                str(folder),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={
                    "use_safetensors": True,
                    "dtype": kinds.get(precision, torch.float32),
                },
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
    if device == "cpu" and precision == "fp32" and products.ONEDNN:
        products.use_onednn(model)
    return model.eval()


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
