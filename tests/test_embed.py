"""Embeddings: each text computed once, kept whole on disk, and never served stale."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
from filelock import FileLock

from features import embed as module
from features import int8, passes, vectors, windows
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


def test_each_text_is_computed_once_and_with_its_length_on_a_cpu_longest_first(
    letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(["one", "one two three", "one", "one two", "2 two", "2"], Encoder())
    assert [sorted(batch) for batch in letters.seen] == [
        ["one two three"],
        ["2 two", "one two"],
        ["2", "one"],
    ]
    monkeypatch.setattr(passes, "CPU_TOKENS", 7)  # with its two marks a text of two words has 4
    letters.seen.clear()
    embed(["2 two", "one two"], Encoder())
    assert sorted(letters.seen) == [["2 two"], ["one two"]]


def test_batches_elsewhere_keep_to_the_budget_of_tokens(
    letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "GPU_TOKENS", 10)
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
    monkeypatch.setattr(passes, "SHARD", 2)
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
    seen |= {identity(Encoder(name, precision=kind), found, "cuda") for kind in ("fp32", "bf16")}
    assert len(seen) == 10
    # what `auto` stands for makes the vectors, not that it was left to choose
    for device, kind in (("cpu", "fp32"), ("cuda", "fp16")):
        asked = Encoder(name, precision=kind)
        assert identity(asked, found, device) == identity(Encoder(name), found, device)
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


def test_the_cost_of_each_text_is_told_once_it_is_known(letters: Letters, tmp_path: Path) -> None:
    told: list[tuple[set[str], bool]] = []
    names = {hashlib.sha256(text.encode()).digest(): text for text in ("a", "bb", "ccc")}

    def costs(seconds: Mapping[bytes, float], now: bool) -> None:
        assert all(one >= 0 for one in seconds.values())
        told.append(({names[key] for key in seconds}, now))

    embed(["a", "bb", "a"], Encoder(), cache=tmp_path, costs=costs)
    embed(["bb", "ccc"], Encoder(), cache=tmp_path, costs=costs)
    assert told == [(set(), False), ({"a", "bb"}, True), ({"bb"}, False), ({"ccc"}, True)]


def test_who_waited_for_a_turn_finds_what_the_other_computed(
    letters: Letters, tmp_path: Path
) -> None:
    first, _ = embed(["a"], Encoder(), cache=tmp_path)
    name = only_folder(tmp_path).name
    other = vectors.read(only_folder(tmp_path), [hashlib.sha256(b"a").digest()])
    waits: list[float] = []
    elsewhere = tmp_path / "later" / "embeddings" / name
    elsewhere.mkdir(parents=True)
    begun = threading.Event()

    def another() -> None:
        with FileLock(elsewhere / ".lock"):
            begun.set()
            time.sleep(0.3)
            vectors.write(elsewhere, other)

    thread = threading.Thread(target=another)
    thread.start()
    assert begun.wait(10)
    letters.seen.clear()
    found, report = embed(["a"], Encoder(), cache=tmp_path / "later", waited=waits.append)
    thread.join()
    assert (found == first).all()
    assert (letters.seen, report.computed) == ([], 0)
    assert waits[0] > 0.2
    assert embed(["a"], Encoder(), cache=tmp_path / "later", waited=waits.append)[1].computed == 0
    assert len(waits) == 1  # what is there needs no turn


def minilm(**fields: Any) -> Any:
    """The bundled encoder as `embed` loads it on a CPU."""
    from features.checkpoints import fetch

    encoder = Encoder(**fields)
    folder = fetch(find(encoder)).folder
    assert folder is not None
    return module._load(encoder, folder, "cpu")


LINES = ["heart pain", "drug trial", "adult women cancer", "blood", "sleep", "lung surgery men"]


def test_a_vector_depends_neither_on_its_neighbours_nor_on_the_threads() -> None:
    alone = np.concatenate([embed([line], Encoder(), threads=1)[0] for line in LINES])
    for threads in (1, 2, 3):
        assert (embed(LINES, Encoder(), threads=threads)[0] == alone).all()


def test_vectors_are_those_of_sentence_transformers() -> None:
    from sentence_transformers import SentenceTransformer

    lines = [*LINES, " ".join(LINES * 60)]  # the last one is cut at 256 tokens
    plain = SentenceTransformer(str(resolve("bundled:minilm").folder), device="cpu")
    expected = plain.encode(lines, normalize_embeddings=True, show_progress_bar=False)
    found, report = embed(lines, Encoder())
    assert found == pytest.approx(expected, abs=1e-6)
    assert report.cut == 1


def test_an_encoder_that_puts_something_before_a_text_prepares_it_itself() -> None:
    model = minilm(max_tokens=16)
    assert passes.takes_ids(model)
    way = passes.Way(16, True, "cut", "fp32", "cpu")
    texts = {line.encode(): line for line in LINES}

    def vectors_of() -> np.ndarray:
        found: dict[bytes, Embedded] = {}
        for rows in passes.compute(model, texts, way, threads=1):
            found |= rows
        return np.stack([found[key].vector for key in texts])

    plain = vectors_of()
    model.prompts, model.default_prompt_name = {"query": "cough and fever "}, "query"
    assert not passes.takes_ids(model)
    asked = vectors_of()
    longer = {line: f"cough and fever {line}" for line in LINES}
    model.prompts, model.default_prompt_name = {}, None
    texts = {key: longer[text] for key, text in texts.items()}
    assert asked == pytest.approx(vectors_of(), abs=1e-6)
    assert np.abs(asked - plain).max() > 0.01


def test_batches_elsewhere_are_padded_without_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    model = minilm()
    ids = [np.array(row, dtype=np.int32) for row in model.tokenizer(LINES)["input_ids"]]
    assert len({len(row) for row in ids}) > 1
    together = model(passes._features(ids, 0, "cpu"))["sentence_embedding"]
    for row, vector in zip(ids, together, strict=True):
        alone = model(passes._features([row], 0, "cpu"))["sentence_embedding"]
        assert alone[0].tolist() == pytest.approx(vector.tolist(), abs=1e-6)


def test_chunks_are_made_one_ahead_of_their_use() -> None:
    made: list[int] = []

    def numbers() -> Any:
        for number in range(3):
            made.append(number)
            yield number

    coming = passes.ahead(numbers())
    assert next(coming) == 0
    deadline = time.monotonic() + 5
    while len(made) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == [0, 1]
    assert list(coming) == [1, 2]


def test_an_error_of_the_chunk_ahead_is_raised() -> None:
    def broken() -> Any:
        yield 1
        raise ValueError("no tokens")

    coming = passes.ahead(broken())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="no tokens"):
        next(coming)


def test_a_vector_that_is_no_number_is_an_error_with_a_way_out(letters: Letters) -> None:
    letters.encode = lambda texts, **_: np.full((len(texts), 2), np.nan)  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"no longer numbers .* precision: fp32"):
        embed(["a"], Encoder())


def test_onednn_multiplies_as_torch_does() -> None:
    import torch

    from features import products

    layers = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        layers[0].weight.copy_(torch.tensor([[1.0, 2, 3], [0, 1, 0]]))
        layers[0].bias.copy_(torch.tensor([0.5, -1]))
        layers[1].weight.copy_(torch.tensor([[2.0, 0], [1, 1]]))
    products.use_onednn(layers)
    with torch.inference_mode():
        # (1 + 2 + 3 + .5, 1 - 1) = (6.5, 0), and then (2 * 6.5, 6.5 + 0)
        assert layers(torch.ones(2, 3)).tolist() == [[13, 6.5], [13, 6.5]]


def test_precisions_are_settled_by_the_device() -> None:
    assert module.pick_precision("auto", "cpu") == "fp32"
    assert module.pick_precision("auto", "cuda:1") == "fp16"
    assert module.pick_precision("bf16", "cuda") == "bf16"
    with pytest.raises(InputError, match="precision int8 on cuda; expected int8 on a CPU only"):
        module.pick_precision("int8", "cuda")
    with pytest.raises(InputError, match="fp16 of embeddings on a CPU"):
        module.pick_precision("fp16", "cpu")


def test_int8_without_its_libraries_is_an_error_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name)
    )
    with pytest.raises(InputError, match=r"without onnxruntime; .* 'trialmark\[onnx\]'"):
        find(Encoder(precision="int8"))


@pytest.fixture
def tiny_encoder(tmp_path: Path) -> str:
    """A BERT of two layers at random, with MiniLM's mean pooling as the default."""
    return str(tiny.checkpoint(tmp_path / "tiny", "bert"))


def test_int8_is_near_the_full_precision_and_is_exported_once(
    tiny_encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in int8.LIBRARIES:
        pytest.importorskip(name)
    lines = ["red word1 word2", "blue male", "green word7 word8 word9 : female", "blue male"]
    full, _ = embed(lines, Encoder(tiny_encoder, max_tokens=16), cache=tmp_path)
    rounded = Encoder(tiny_encoder, max_tokens=16, precision="int8")
    path = list(sys.path)
    found, report = embed(lines, rounded, cache=tmp_path)
    assert sys.path == path  # ONNX Runtime would put another `benchmark` on it
    assert (found * full).sum(axis=1).min() > 0.99
    assert np.abs(found - full).max() > 1e-5  # 8 bits: were it the same, nothing was rounded
    assert "-int8-" in report.encoder
    (kept,) = (tmp_path / "onnx").iterdir()
    assert kept.name == f"{report.encoder}.onnx"

    def again(*_: Any) -> None:
        raise AssertionError("exported twice")

    monkeypatch.setattr(int8, "_export", again)
    other, _ = embed(["word3 red", *lines], rounded, cache=tmp_path)
    assert (other[1:] == found).all()
    for threads in (1, 2):  # without the cache of vectors: neighbours and threads do not matter
        shutil.rmtree(tmp_path / "embeddings")
        alone, _ = embed(lines, rounded, cache=tmp_path, threads=threads)
        assert (alone == found).all()
