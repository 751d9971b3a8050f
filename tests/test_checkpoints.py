"""Where checkpoints are found, and what is said when they are not."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from features.checkpoints import Checkpoint, fetch, missing_files, resolve, weights_sha256
from features.errors import InputError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_checkpoint(folder: Path) -> Path:
    """The files of a checkpoint, by name only."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def write_cached(cache: Path, hub_id: str, *, commit: str = COMMIT, ref: str = "main") -> Path:
    """A checkpoint as the hub's client leaves it in its cache."""
    repository = cache / ("models--" + hub_id.replace("/", "--"))
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    return write_checkpoint(repository / "snapshots" / commit)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and a run that is offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def test_bundled_minilm_lies_in_its_package_and_is_never_called_distilbert() -> None:
    found = resolve("bundled:minilm")
    assert found.label == "bundled:minilm"
    assert "distil" not in str(found).lower()
    assert found.folder is not None
    config = json.loads((found.folder / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"]) == ("bert", 6)
    assert found.revision == "0.1.0"
    assert missing_files(found.folder) == []


def test_resolving_imports_no_network_library() -> None:
    code = (
        "import sys; from features.checkpoints import resolve; resolve('bundled:minilm'); "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_unknown_bundled_name_gets_the_closest() -> None:
    with pytest.raises(InputError, match="did you mean 'bundled:minilm'"):
        resolve("bundled:mini-lm")


def test_folder_is_labelled_by_its_name_without_its_path(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "distilbert-base-uncased")
    assert resolve(str(folder)) == Checkpoint("folder:distilbert-base-uncased", folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_folder_that_lacks_a_file_names_the_file(tmp_path: Path, name: str) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"'folder:mine' has no {name}; expected a folder with"):
        resolve(str(folder))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="which writes safetensors"):
        resolve(str(folder))


@pytest.mark.parametrize("path", ["./no/such", "/no/such", "a/b/c", "~/no-such", "", "two words"])
def test_missing_folder_is_not_taken_for_a_hub_id(cache: Path, path: str) -> None:
    with pytest.raises(InputError, match="is no folder; expected an existing folder, a hub id"):
        resolve(path)


def test_sharded_weights_are_complete_only_with_every_shard(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "mine")
    (folder / "model.safetensors").unlink()
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    index = {"weight_map": {"a": second, "b": first, "c": first}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / first).write_bytes(b"one")
    assert missing_files(folder) == [second]
    (folder / second).write_bytes(b"two")
    assert missing_files(folder) == []
    assert weights_sha256(folder) == hashlib.sha256(b"onetwo").hexdigest()


def test_cached_hub_id_is_found_with_its_commit(cache: Path) -> None:
    folder = write_cached(cache, "someone/encoder")
    assert resolve("someone/encoder") == Checkpoint("someone/encoder", folder, COMMIT)


def test_distilbert_is_found_under_either_of_its_names(cache: Path) -> None:
    folder = write_cached(cache, "distilbert/distilbert-base-uncased")
    found = resolve("distilbert-base-uncased")
    assert found == Checkpoint("distilbert-base-uncased", folder, COMMIT)


def test_revision_picks_the_commit_and_an_absent_one_is_an_error(cache: Path) -> None:
    write_cached(cache, "someone/encoder")
    other = write_cached(cache, "someone/encoder", commit="f" * 40, ref="v2")
    assert resolve("someone/encoder", "v2").folder == other
    assert resolve("someone/encoder", COMMIT).revision == COMMIT
    with pytest.raises(InputError, match="'someone/encoder@v3' is not in the local cache"):
        resolve("someone/encoder", "v3")


def test_revision_of_a_folder_is_an_error() -> None:
    with pytest.raises(InputError, match="expected a revision with a hub id only; remove revision"):
        resolve("bundled:minilm", "main")


def test_offline_and_not_cached_says_what_to_do(cache: Path) -> None:
    with pytest.raises(InputError) as caught:
        resolve("distilbert-base-uncased")
    assert str(caught.value) == (
        "checkpoint 'distilbert-base-uncased' is not in the local cache and this run is offline; "
        "expected a folder, a cached hub id or bundled:minilm; "
        "set checkpoint: bundled:minilm, or download it where there is a network and copy the "
        "folder"
    )


def test_offline_and_partly_cached_is_an_error(cache: Path) -> None:
    (write_cached(cache, "someone/encoder") / "model.safetensors").unlink()
    with pytest.raises(InputError, match="is only partly in the local cache"):
        resolve("someone/encoder")


def test_online_hub_id_is_left_for_the_download(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked = {}

    def download(hub_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.update(hub_id=hub_id, revision=revision, patterns=allow_patterns)
        return str(write_cached(cache, hub_id))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = resolve("someone/encoder", "v2")
    assert found == Checkpoint("someone/encoder", None, "v2")
    assert asked == {}
    fetched = fetch(found)
    assert (asked["hub_id"], asked["revision"]) == ("someone/encoder", "v2")
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in asked["patterns"])
    assert fetched.revision == COMMIT
    assert fetch(fetched) is fetched


def test_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(InputError, match="could not be downloaded") as caught:
        fetch(Checkpoint("someone/encoder", None))
    assert "\n" not in str(caught.value)
