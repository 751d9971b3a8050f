"""Embeddings: each text computed once, kept whole on disk, and never served stale."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from features import embed as module
from features import vectors, windows
from features.checkpoints import resolve
from features.embed import Encoder, embed, find, identity
from features.errors import InputError
from features.vectors import Embedded


@dataclass
class Letters:
    """An encoder to count with: the vector of a text is (its length, its number of "a")."""

    seen: list[list[str]] = field(default_factory=list)
    fails_after: int | None = None

    def tokenizer(self, texts: Sequence[str], **_: Any) -> dict[str, list[list[str]]]:
        return {"input_ids": [["[CLS]", *text.split(), "[SEP]"] for text in texts]}

    def encode(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        if self.fails_after is not None and len(self.computed) >= self.fails_after:
            raise KeyboardInterrupt
        self.seen.append(list(texts))
        return np.array([[len(text), text.count("a")] for text in texts], dtype=np.float32)

    @property
    def computed(self) -> list[str]:
        return [text for batch in self.seen for text in batch]


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> Letters:
    fake = Letters()
    monkeypatch.setattr(module, "_load", lambda encoder, folder, device: fake)
    return fake


def only_folder(cache: Path) -> Path:
    (folder,) = (cache / "embeddings").iterdir()
    return folder


def test_vectors_come_in_the_order_of_the_texts(letters: Letters) -> None:
    found, report = embed(["aa", "", "b a longer one", "aa"], Encoder())
    assert found.tolist() == [[2, 2], [0, 0], [14, 1], [2, 2]]
    assert found.dtype == np.float32
    assert (report.texts, report.unique, report.computed) == (4, 3, 3)


def test_each_text_is_computed_once_and_alone_on_a_cpu_longest_first(letters: Letters) -> None:
    embed(["one", "one two three", "one", "one two"], Encoder())
    assert letters.seen == [["one two three"], ["one two"], ["one"]]


def test_batches_elsewhere_keep_to_the_budget_of_tokens(
    letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_TOKENS", 10)
    # With their two marks the texts have 5, 4, 3 and 2 tokens.
    embed(["x", "w w w", "", "v v"], Encoder(), device="cuda")
    assert letters.seen == [["w w w", "v v"], ["x", ""]]


def test_a_second_call_computes_only_what_is_new(letters: Letters, tmp_path: Path) -> None:
    first, before = embed(["a", "b"], Encoder(), cache=tmp_path)
    second, after = embed(["b", "c", "a"], Encoder(), cache=tmp_path)
    assert letters.computed[2:] == ["c"]
    assert (second[[2, 0]] == first).all()
    assert (before.computed, after.computed) == (2, 1)


def test_cold_seconds_are_the_same_with_and_without_a_cache(
    letters: Letters, tmp_path: Path
) -> None:
    _, cold = embed(["a", "b"], Encoder(), cache=tmp_path)
    _, warm = embed(["a", "b"], Encoder(), cache=tmp_path)
    assert cold.seconds == cold.seconds_cold > 0
    assert warm.seconds == 0
    assert warm.seconds_cold == pytest.approx(cold.seconds_cold, rel=1e-5)


def test_texts_longer_than_the_limit_are_counted_from_the_cache_too(
    letters: Letters, tmp_path: Path
) -> None:
    encoder = Encoder(max_tokens=4)
    for _ in range(2):
        _, report = embed(["one two", "one two three", "1 2 3 4"], encoder, cache=tmp_path)
        assert report.cut == 2


def test_a_killed_run_keeps_the_groups_it_finished(
    letters: Letters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD", 2)
    letters.fails_after = 5
    texts = ["1 2 3 4 5 6", "1 2 3 4 5", "1 2 3 4", "1 2 3", "1 2", "1"]
    with pytest.raises(KeyboardInterrupt):
        embed(texts, Encoder(), cache=tmp_path)
    letters.fails_after = None
    letters.seen.clear()
    _, report = embed(texts, Encoder(), cache=tmp_path)
    assert letters.computed == ["1 2", "1"]
    assert report.computed == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "pickle"])
def test_a_damaged_file_is_removed_and_its_texts_computed_again(
    letters: Letters, tmp_path: Path, damage: str
) -> None:
    first, _ = embed(["a", "bb"], Encoder(), cache=tmp_path)
    (path,) = only_folder(tmp_path).iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[content.index(first[1].tobytes())] ^= 255
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        with path.open("wb") as file:
            np.savez(file, keys=np.array([{}], dtype=object), vectors=[0], seconds=[0], tokens=[0])
    again, report = embed(["a", "bb"], Encoder(), cache=tmp_path)
    assert report.computed == 2
    assert (again == first).all()
    assert not path.exists()
    assert embed(["a", "bb"], Encoder(), cache=tmp_path)[1].computed == 0


def test_a_file_of_the_cache_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    rows = {b"k" * 32: Embedded(np.zeros(2, dtype=np.float32), 0.5, 3)}
    with pytest.raises(OSError, match="No space"):
        vectors.write(tmp_path, rows)
    assert list(tmp_path.iterdir()) == []


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    vector = np.array([1.5, -2], dtype=np.float32)
    vectors.write(tmp_path, {b"k" * 32: Embedded(vector, 0.5, 3)})
    found = vectors.read(tmp_path, [b"k" * 32, b"other".ljust(32)])
    assert list(found) == [b"k" * 32]
    assert found[b"k" * 32].vector.tolist() == [1.5, -2]
    assert found[b"k" * 32][1:] == (0.5, 3)


def test_the_oldest_vector_of_a_text_wins(tmp_path: Path) -> None:
    for value in (1, 2, 3):
        row = Embedded(np.array([value], dtype=np.float32), 0.5, 3)
        vectors.write(tmp_path, {b"k" * 32: row})
    assert vectors.read(tmp_path, [b"k" * 32])[b"k" * 32].vector.tolist() == [1]


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def write(writer: int) -> None:
        for number in range(10):
            key = bytes([writer, number]) * 16
            vectors.write(tmp_path, {key: Embedded(np.array([writer], np.float32), 0.1, 1)})

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [bytes([writer, number]) * 16 for writer in range(4) for number in range(10)]
    assert set(vectors.read(tmp_path, keys)) == set(keys)


def checkpoint(folder: Path, **config: Any) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 64} | config))
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return str(folder)


def test_new_weights_under_an_old_name_do_not_get_old_vectors(
    letters: Letters, tmp_path: Path
) -> None:
    name = checkpoint(tmp_path / "mine")
    encoder = Encoder(name, max_tokens=16)
    embed(["a"], encoder, cache=tmp_path)
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"better weights")
    _, report = embed(["a"], encoder, cache=tmp_path)
    assert report.computed == 1


def test_the_identity_changes_with_all_that_changes_a_vector(tmp_path: Path) -> None:
    name = checkpoint(tmp_path / "mine")
    pooling = tmp_path / "mine" / "1_Pooling"
    pooling.mkdir()
    found = resolve(name)
    seen = {
        identity(Encoder(name), found, "cpu"),
        identity(Encoder(name, max_tokens=8), found, "cpu"),
        identity(Encoder(name, normalize=False), found, "cpu"),
        identity(Encoder(name), found, "cuda"),
    }
    (pooling / "config.json").write_text('{"pooling_mode_cls_token": true}')
    seen.add(identity(Encoder(name), found, "cpu"))
    (tmp_path / "mine" / "tokenizer.json").write_text('{"lower": true}')
    seen.add(identity(Encoder(name), found, "cpu"))
    seen |= {identity(Encoder(name, long=long), found, "cpu") for long in ("mean", "max")}
    assert len(seen) == 8
    assert identity(Encoder(name), found, "cuda:1") == identity(Encoder(name), found, "cuda:0")


def test_more_tokens_than_the_encoder_can_read_is_an_error(tmp_path: Path) -> None:
    name = checkpoint(tmp_path / "mine")
    assert find(Encoder(name, max_tokens=64)).label == "folder:mine"
    with pytest.raises(InputError, match=r"max_tokens 65 .* expected at most 64"):
        find(Encoder(name, max_tokens=65))


def test_finding_an_encoder_imports_no_network_library() -> None:
    code = (
        "import sys; from features.embed import Encoder, find; find(Encoder()); "
        "sys.exit(bool({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_folder_that_is_no_encoder_is_an_error_of_one_line(tmp_path: Path) -> None:
    name = checkpoint(tmp_path / "mine", model_type="no-such-model")
    with pytest.raises(InputError, match="could not be loaded") as caught:
        embed(["a"], Encoder(name, max_tokens=16))
    assert "\n" not in str(caught.value)


def test_minilm_puts_what_means_the_same_close_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    threads = torch.get_num_threads()
    texts = [
        "The heart attack patients took aspirin.",
        "Aspirin was given after myocardial infarction.",
        "The football match ended in a draw.",
        "",
        "lone surrogate \ud800",
    ]
    found, report = embed(texts, Encoder(), cache=tmp_path, threads=threads + 1)
    assert found.shape == (5, 384)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert found[0] @ found[1] > 0.5 > 0.2 > found[0] @ found[2]
    assert torch.get_num_threads() == threads
    assert report.encoder.startswith("bundled-minilm-")
    # A text's vector does not depend on its neighbours, so it is the same without the cache.
    alone, _ = embed(texts[1:2], Encoder())
    assert (alone[0] == found[1]).all()
    assert capfd.readouterr() == ("", "")


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_windows_are_pooled_by_their_tokens_or_by_their_largest_values() -> None:
    rows = np.array([[1, 8], [4, 2]], dtype=np.float32)
    assert windows.pool(rows, np.array([2, 1]), "mean").tolist() == [2, 6]
    assert windows.pool(rows, np.array([2, 1]), "max").tolist() == [4, 8]


def test_a_long_text_is_the_pooled_vectors_of_its_windows(tmp_path: Path) -> None:
    # Nine words of one token each and two marks: windows of six and three words at 8 tokens.
    first, second = "heart pain drug trial adult women", "cancer blood surgery"
    texts = [first, second, f"{first} {second}"]
    cut, _ = embed(texts, Encoder(max_tokens=8))
    mean, report = embed(texts, Encoder(max_tokens=8, long="mean"), cache=tmp_path)
    largest, _ = embed(texts, Encoder(max_tokens=8, long="max"), cache=tmp_path)
    assert (report.cut, report.chunked) == (0, 1)
    assert cut[2] == pytest.approx(cut[0], abs=1e-6)  # it never saw the second part
    assert mean[2] == pytest.approx(unit(6 * cut[0] + 3 * cut[1]), abs=1e-6)
    assert largest[2] == pytest.approx(unit(np.maximum(cut[0], cut[1])), abs=1e-6)
    assert (mean[:2] == cut[:2]).all()
    assert (largest[:2] == cut[:2]).all()
    again, report = embed(texts, Encoder(max_tokens=8, long="mean"), cache=tmp_path)
    assert (again == mean).all()
    assert (report.computed, report.chunked) == (0, 1)


def test_windows_computed_together_are_padded_without_a_trace() -> None:
    from features.checkpoints import fetch

    encoder = Encoder(max_tokens=8)
    folder = fetch(find(encoder)).folder
    assert folder is not None
    model = module._load(encoder, folder, "cpu")
    text = "heart pain drug trial adult women cancer blood surgery"
    found = [
        windows.embed_long(
            model, text, max_tokens=8, pooling="mean", normalize=True, together=together
        )
        for together in (1, 2)
    ]
    assert found[0] == pytest.approx(found[1], abs=1e-6)


@pytest.mark.parametrize(
    ("fast", "prompt", "problem"),
    [(False, None, "a tokenizer that can't cut windows"), (True, "query", "the prompt 'query'")],
)
def test_an_encoder_whose_windows_would_be_wrong_is_refused(
    fast: bool, prompt: str | None, problem: str
) -> None:
    tokenizer = SimpleNamespace(is_fast=fast)
    model = SimpleNamespace(tokenizer=tokenizer, default_prompt_name=prompt)
    with pytest.raises(InputError, match=rf"encoder 'mine' .*{problem}.* long: cut"):
        windows.check(model, "mine")
