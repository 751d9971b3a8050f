"""The fine-tuned encoder, on a DistilBERT of two layers that learns in seconds."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from huggingface_hub import constants
from sklearn.metrics import f1_score, roc_auc_score

from features.columns import Columns
from features.errors import InputError
from models import build, check_params, finetune, model_class
from models.base import Context, Floats, Ints, Target
from models.encoder import EncoderClassifier
from models.finetune import Encoded, encode, length_grouped, probabilities

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FILLER = [f"word{number}" for number in range(30)]
WORDS = [*FILLER, "red", "green", "blue", "sex", ":", ";", "male", "female"]
BINARY = Target("binary", ("no", "yes"))
TEXT = Columns(text=("note",))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DistilBERT of about 9,000 weights at random, with its tokenizer, as safetensors."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-distilbert"
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    config = transformers.DistilBertConfig(
        vocab_size=len(vocabulary),
        dim=32,
        hidden_dim=64,
        n_layers=2,
        n_heads=2,
        max_position_embeddings=64,
    )
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        transformers.DistilBertModel(config).save_pretrained(folder)
    transformers.DistilBertTokenizer(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    if bars:
        transformers.logging.enable_progress_bar()
    return folder


def without_dropout(tiny: Path) -> Path:
    """The same checkpoint with a network that does the same in training as elsewhere."""
    folder = tiny.with_name("no-dropout")
    if not folder.exists():
        shutil.copytree(tiny, folder)
        config = transformers.DistilBertConfig.from_pretrained(folder)
        config.dropout = config.attention_dropout = config.seq_classif_dropout = 0.0
        config.save_pretrained(folder)
    return folder


def notes_with(words: list[str], n: int, seed: int = 0) -> tuple[pd.DataFrame, Ints]:
    """`n` notes of 3 to 12 filler words; (n, words) tells which of `words` stand in each."""
    rng = np.random.default_rng(seed)
    present = rng.integers(0, 2, size=(n, len(words)))
    notes = []
    for row in present:
        note = list(rng.choice(FILLER, size=rng.integers(3, 13)))
        note += [word for word, here in zip(words, row, strict=True) if here]
        notes.append(" ".join(rng.permutation(note)))
    frame = pd.DataFrame({"note": pd.Series(notes, dtype="str")})
    return frame, present.astype(np.int64)


def model(
    tiny: Path,
    *,
    target: Target = BINARY,
    columns: Columns = TEXT,
    context: Context | None = None,
    **params: Any,
) -> Any:
    quick: Mapping[str, Any] = {
        "checkpoint": str(tiny),
        "lr": 5e-3,
        "epochs": 4,
        "max_length": 32,
        **params,
    }
    return build(
        "encoder",
        check_params("encoder", quick),
        columns=columns,
        target=target,
        context=Context() if context is None else context,
    )


def fit_red(tiny: Path, n: int = 96, misled: bool = False, **options: Any) -> Any:
    """A model of whether a note holds the word "red"; `misled`: its valid labels say the reverse.

    A misled model does worse on valid the more it learns, so that its best score is not the last.
    """
    (X, y), (V, vy) = notes_with(["red"], n), notes_with(["red"], 48, seed=1)
    return model(tiny, **options).fit(X, y[:, 0], (V, vy[:, 0] ^ misled))


def test_learns_which_word_decides(tiny: Path) -> None:
    T, ty = notes_with(["red"], 200, seed=2)
    fitted = fit_red(tiny, n=320, epochs=6)
    p = fitted.predict_proba(T)
    assert p.shape == (200, 2)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert roc_auc_score(ty[:, 0], p[:, 1]) > 0.9


def test_multiclass_with_a_class_no_row_has(tiny: Path) -> None:
    X, present = notes_with(["red", "green"], 320)
    y = present @ np.array([1, 2])  # neither, red, green, both
    X, y = X[y < 3], y[y < 3]
    target = Target("multiclass", ("neither", "red", "green", "both"))
    p = model(tiny, target=target, epochs=6).fit(X, y, (X[:40], y[:40])).predict_proba(X)
    assert p.shape == (len(X), 4)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert np.mean(p.argmax(axis=1) == y) > 0.9
    assert p[:, 3].max() < 0.1


def test_multilabel_gives_each_label_its_own_probability(tiny: Path) -> None:
    X, y = notes_with(["red", "green"], 320)
    target = Target("multilabel", ("red", "green"))
    fitted = model(tiny, target=target, epochs=10, lr=3e-3).fit(X, y, (X[:60], y[:60]))
    p = fitted.predict_proba(X)
    assert p.shape == (320, 2)
    assert min(roc_auc_score(y[:, label], p[:, label]) for label in (0, 1)) > 0.9
    both, neither = y.sum(axis=1) == 2, y.sum(axis=1) == 0
    assert p[both].sum(axis=1).mean() > 1.5
    assert p[neither].sum(axis=1).mean() < 0.5
    assert fitted.notes["curve"][-1]["valid_f1_micro"] > 0.9


@pytest.mark.parametrize("loss", ["focal", "asymmetric"])
def test_other_losses_learn_the_labels_too(tiny: Path, loss: str) -> None:
    X, y = notes_with(["red", "green"], 320)
    target = Target("multilabel", ("red", "green"))
    options = {"loss": loss, "gamma_neg": 1, "class_weight": "balanced", "patience": None}
    fitted = model(tiny, target=target, epochs=10, lr=3e-3, **options)
    p = fitted.fit(X, y, (X[:60], y[:60])).predict_proba(X)
    assert min(roc_auc_score(y[:, label], p[:, label]) for label in (0, 1)) > 0.9
    assert fitted.notes["loss"] == loss


def test_a_loss_of_several_labels_is_refused_for_one_before_the_checkpoint_is_read() -> None:
    X, y = notes_with(["red"], 4)
    with pytest.raises(InputError, match="loss asymmetric for a binary target; expected cross_ent"):
        model(Path("nowhere"), loss="asymmetric").fit(X, y[:, 0], (X, y[:, 0]))


def test_balanced_weights_lift_a_rare_class_and_a_rare_label(tiny: Path) -> None:
    X, _ = notes_with(["red"], 64)
    rare = (np.arange(64) % 8 == 0).astype(np.int64)  # has nothing to do with the text
    options: dict[str, Any] = {"epochs": 6, "patience": None, "monitor": "loss"}
    for target, y in (
        (BINARY, rare),
        (Target("multilabel", ("rare", "other")), np.stack([rare, 1 - rare], 1)),
    ):
        place = 0 if target.kind == "multilabel" else 1
        plain, lifted = (
            model(tiny, target=target, class_weight=weight, **options)
            .fit(X, y, (X, y))
            .predict_proba(X)[:, place]
            .mean()
            for weight in (None, "balanced")
        )
        assert plain < 0.3 < lifted


def test_a_checkpoint_with_a_head_of_other_classes_gets_a_new_head(
    tiny: Path, tmp_path: Path
) -> None:
    X, y = notes_with(["red"], 16)
    model(tiny, max_steps=1).fit(X, y[:, 0], (X, y[:, 0])).network.save_pretrained(tmp_path)
    shutil.copy(tiny / "tokenizer.json", tmp_path)
    shutil.copy(tiny / "tokenizer_config.json", tmp_path)
    target = Target("multiclass", ("a", "b", "c"))
    fitted = model(tmp_path, target=target, max_steps=1).fit(X, y[:, 0], (X, y[:, 0]))
    assert fitted.predict_proba(X).shape == (16, 3)


@pytest.mark.parametrize("monitor", ["loss", "f1_macro"])
def test_best_score_is_the_one_restored(tiny: Path, monitor: str) -> None:
    fitted = fit_red(tiny, misled=True, epochs=8, patience=None, monitor=monitor)
    curve = fitted.notes["curve"]
    assert len(curve) == 8
    values = [point[f"valid_{monitor}"] for point in curve]
    best = int(np.argmin(values) if monitor == "loss" else np.argmax(values))
    assert best < 7
    assert fitted.notes["scored_step"] == curve[best]["step"] == 6 * (best + 1)
    assert fitted.notes["scored_epoch"] == best + 1
    V, vy = notes_with(["red"], 48, seed=1)
    p = fitted.predict_proba(V)
    loss = -np.log(p[np.arange(48), 1 - vy[:, 0]]).mean()
    assert loss == pytest.approx(curve[best]["valid_loss"], abs=1e-6)
    assert loss != pytest.approx(curve[-1]["valid_loss"], abs=1e-6)


def test_several_labels_keep_the_epoch_with_the_best_f1_micro_at_one_half(tiny: Path) -> None:
    (X, y), (V, vy) = notes_with(["red", "green"], 96), notes_with(["red", "green"], 48, seed=1)
    target = Target("multilabel", ("red", "green"))
    misled = model(tiny, target=target, monitor="f1_micro", epochs=8, patience=None)
    misled.fit(X, y, (V, 1 - vy))
    curve = misled.notes["curve"]
    values = [point["valid_f1_micro"] for point in curve]
    best = int(np.argmax(values))
    assert best < 7
    assert misled.notes["scored_epoch"] == best + 1
    found = misled.predict_proba(V) >= 0.5
    assert f1_score(1 - vy, found, average="micro") == pytest.approx(values[best])
    assert values[best] != pytest.approx(values[-1])


def test_the_curve_shows_train_going_one_way_and_valid_the_other(tiny: Path) -> None:
    curve = fit_red(tiny, misled=True, epochs=10, patience=None).notes["curve"]
    first, last = curve[0], curve[-1]
    assert last["train_loss"] < 0.5 < first["train_loss"]
    assert last["valid_loss"] > 1 > first["valid_loss"]
    for average in ("macro", "micro"):
        assert last[f"train_f1_{average}"] > 0.9
        assert last[f"valid_f1_{average}"] < 0.2


def test_train_scores_are_those_of_the_rows_met_since_the_last_score(tiny: Path) -> None:
    # one step on all 16 rows, met before anything is learnt and without dropout: as valid would be
    X, y = notes_with(["red"], 16)
    options = {"batch_size": 16, "epochs": 1, "lr": 1e-12, "warmup": 0.0}
    fitted = model(without_dropout(tiny), **options).fit(X, y[:, 0], (X, y[:, 0]))
    (point,) = fitted.notes["curve"]
    for what in ("loss", "f1_macro", "f1_micro"):
        assert point[f"train_{what}"] == pytest.approx(point[f"valid_{what}"], abs=1e-5)


def test_patience_stops_after_that_many_scores_without_gain(tiny: Path) -> None:
    fitted = fit_red(tiny, misled=True, epochs=40, patience=3)
    values = [point["valid_loss"] for point in fitted.notes["curve"]]
    assert len(values) == int(np.argmin(values)) + 1 + 3 < 40


def test_max_steps_bounds_the_steps_and_the_last_is_scored(tiny: Path) -> None:
    fitted = fit_red(tiny, max_steps=5, eval_every_steps=2)  # 96 rows: 6 steps an epoch
    assert [point["step"] for point in fitted.notes["curve"]] == [2, 4, 5]
    assert fitted.notes["steps"] == 5
    assert fitted.notes["epochs"] == pytest.approx(5 / 6)


def test_max_steps_never_adds_steps_to_the_epochs(tiny: Path) -> None:
    assert fit_red(tiny, n=33, epochs=1, max_steps=50).notes["steps"] == 3


def test_accumulated_batches_take_the_step_of_one_large_batch(tiny: Path) -> None:
    # without dropout, a step on 2 x 8 rows is a step on 16: the row losses are averaged over both
    folder = without_dropout(tiny)
    T, _ = notes_with(["red"], 20, seed=2)
    small = {"n": 16, "epochs": 1, "lr": 1e-3, "warmup": 0.0}
    once = fit_red(folder, batch_size=16, **small)
    twice = fit_red(folder, batch_size=8, accumulation=2, **small)
    assert once.notes["steps"] == twice.notes["steps"] == 1
    first, second = once.notes["curve"][0], twice.notes["curve"][0]
    assert first["train_loss"] == pytest.approx(second["train_loss"], abs=1e-5)
    np.testing.assert_allclose(once.predict_proba(T), twice.predict_proba(T), atol=1e-4)


def test_same_seed_same_bits_whatever_ran_before(tiny: Path) -> None:
    T, _ = notes_with(["red"], 30, seed=2)
    first = fit_red(tiny, max_steps=8).predict_proba(T)
    torch.rand(5)
    np.testing.assert_array_equal(fit_red(tiny, max_steps=8).predict_proba(T), first)
    other = fit_red(tiny, max_steps=8, context=Context(seed=1)).predict_proba(T)
    assert np.abs(other - first).max() > 1e-4


def test_leaves_the_process_as_it_was(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def state() -> list[Any]:
        return [
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),  # noqa: NPY002
            random.getstate(),
            torch.get_num_threads(),
            transformers.logging.get_verbosity(),
            transformers.logging.is_progress_bar_enabled(),
            dict(os.environ),
            sorted(Path.cwd().iterdir()),
        ]

    before = state()
    threads = torch.get_num_threads() + 1
    fit_red(tiny, max_steps=2, context=Context(threads=threads)).predict_proba(
        notes_with(["red"], 3)[0]
    )
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_threads_are_those_of_the_context(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    scored = finetune.logits

    def logits(*args: Any, **options: Any) -> Floats:
        seen.append(torch.get_num_threads())
        return scored(*args, **options)

    monkeypatch.setattr(finetune, "logits", logits)
    threads = torch.get_num_threads() + 1
    fitted = fit_red(tiny, max_steps=1, context=Context(threads=threads))
    fitted.predict_proba(notes_with(["red"], 3)[0])
    assert seen == [threads, threads]


def test_order_of_rows_does_not_change_predictions(tiny: Path) -> None:
    T, _ = notes_with(["red"], 150, seed=2)
    fitted = fit_red(tiny, max_steps=4)
    order = np.random.default_rng(3).permutation(150)
    np.testing.assert_array_equal(
        fitted.predict_proba(T.iloc[order]), fitted.predict_proba(T)[order]
    )


def test_empty_texts_and_no_rows_at_all(tiny: Path) -> None:
    fitted = fit_red(tiny, max_steps=2)
    assert fitted.predict_proba(pd.DataFrame({"note": ["", "red", ""]})).shape == (3, 2)
    assert fitted.predict_proba(pd.DataFrame({"note": pd.Series([], dtype="str")})).shape == (0, 2)


def test_no_valid_rows_is_an_error(tiny: Path) -> None:
    X, y = notes_with(["red"], 8)
    with pytest.raises(InputError, match="8 rows to train on and 0 to validate on"):
        model(tiny).fit(X, y[:, 0], (X[:0], y[:0, 0]))


def test_training_that_diverges_is_an_error(tiny: Path) -> None:
    with pytest.raises(InputError, match=r"training diverged: .* set a smaller lr"):
        fit_red(tiny, lr=1e30)


def test_notes_say_what_was_used_and_what_was_cut(tiny: Path) -> None:
    # 3, 8, 10 and 30 words; with [CLS] and [SEP] 5, 10, 12 and 32 tokens
    X = pd.DataFrame({"note": [" ".join(["red"] * n) for n in (3, 8, 10, 30)]})
    y = np.array([0, 1, 0, 1])
    context = Context()
    fitted = model(tiny, max_length=10, max_steps=1, context=context).fit(X, y, (X, y))
    notes = fitted.notes
    assert notes["truncated_share"] == 0.5
    assert notes["tokens_p50"] == 11
    assert notes["tokens_p95"] == pytest.approx(12 + 0.85 * 20)
    checkpoint = notes["checkpoint"]
    assert (checkpoint["label"], checkpoint["architecture"]) == (
        "folder:tiny-distilbert",
        "distilbert",
    )
    assert len(checkpoint["sha256"]) == 64
    assert checkpoint["parameters"] == sum(p.numel() for p in fitted.network.parameters())
    assert (notes["device"], notes["precision"]) == ("cpu", "fp32")
    assert set(notes["curve"][0]) == {
        "step",
        "epoch",
        *(
            f"{part}_{what}"
            for part in ("train", "valid")
            for what in ("loss", "f1_macro", "f1_micro")
        ),
    }
    assert context.timer.seconds["features"] > 0


def test_the_table_stands_before_the_text_so_that_no_cut_takes_it(tiny: Path) -> None:
    columns = Columns(categorical=("sex",), text=("note",))
    long = " ".join(FILLER)
    y = np.arange(64) % 2
    X = pd.DataFrame({"sex": np.where(y == 1, "male", "female"), "note": [long] * 64})
    learnt = model(tiny, columns=columns, max_length=8, epochs=8).fit(X, y, (X, y))
    assert learnt.texts(X)[0] == f"sex: female\n{long}"
    assert learnt.notes["truncated_share"] == 1
    assert roc_auc_score(y, learnt.predict_proba(X)[:, 1]) == 1


def test_template_and_missing_parts(tiny: Path) -> None:
    X = pd.DataFrame({"sex": ["male", None], "note": ["", "red"]}).astype("str")
    X.loc[1, "sex"] = np.nan
    columns = Columns(categorical=("sex",), text=("note",))
    assert model(tiny, columns=columns).texts(X) == ["sex: male", "red"]
    written = model(tiny, columns=columns, template="{note} ({sex})")
    assert written.texts(X) == [" (male)", "red ()"]
    with pytest.raises(InputError, match="names no column"):
        model(tiny, template="no column")
    assert model(tiny, columns=columns, max_characters=5).texts(X) == ["sex: ", "red"]


def test_reduced_precision_trains_and_still_scores_in_float32(tiny: Path) -> None:
    fitted = fit_red(tiny, max_steps=6, precision="bf16")
    assert fitted.notes["precision"] == "bf16"
    V, vy = notes_with(["red"], 48, seed=1)
    p = fitted.predict_proba(V)
    assert fitted.notes["curve"][-1]["valid_loss"] == pytest.approx(
        -np.log(p[np.arange(48), vy[:, 0]]).mean(), abs=1e-6
    )
    assert len(np.unique(p[:, 1])) == 48  # bfloat16 has 8 bits: values would coincide


def test_fp16_on_the_cpu_is_an_error(tiny: Path) -> None:
    with pytest.raises(InputError, match="precision fp16 on cpu; expected fp16 on a GPU only"):
        fit_red(tiny, precision="fp16")


def test_longer_than_the_checkpoint_reads_is_an_error(tiny: Path) -> None:
    with pytest.raises(InputError, match="max_length 65; expected at most 64"):
        fit_red(tiny, max_length=65)


def test_weights_that_do_not_fit_are_never_left_at_random(tiny: Path) -> None:
    folder = tiny.with_name("three-layers")
    shutil.copytree(tiny, folder)
    config = transformers.DistilBertConfig.from_pretrained(folder)
    config.n_layers = 3
    config.save_pretrained(folder)
    with pytest.raises(InputError, match=r"has no fitting weights for distilbert\.transformer"):
        fit_red(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", '{"model_type": "no-such-model"}'), ("model.safetensors", "no weights")],
)
def test_folder_with_a_broken_file_is_one_line(
    tiny: Path, tmp_path: Path, file: str, content: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny, folder)
    (folder / file).write_text(content)
    with pytest.raises(InputError, match="'folder:broken' cannot be loaded") as caught:
        fit_red(folder)
    assert "\n" not in str(caught.value)


def test_loads_from_the_cache_of_the_hub(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "a" * 40
    repository = tmp_path / "models--distilbert--distilbert-base-uncased"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(tiny, repository / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    params = {"checkpoint": "distilbert-base-uncased", "max_steps": 1}
    model_class("encoder").preflight(check_params("encoder", params))
    checkpoint = fit_red(tiny, **params).notes["checkpoint"]
    assert checkpoint["label"] == "distilbert-base-uncased"
    assert checkpoint["revision"] == commit


def test_the_default_is_distilbert_and_preflight_says_where_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        EncoderClassifier.preflight(check_params("encoder", {}))
    assert "'distilbert-base-uncased' is not in the local cache" in str(caught.value)
    assert "set checkpoint: bundled:minilm" in str(caught.value)


def test_bundled_minilm_trains_under_its_own_name() -> None:
    X, y = notes_with(["red"], 8)
    params = {"checkpoint": "bundled:minilm", "max_steps": 1, "batch_size": 4}
    fitted = model(Path(), **params).fit(X, y[:, 0], (X, y[:, 0]))
    assert fitted.notes["checkpoint"]["label"] == "bundled:minilm"
    assert fitted.notes["checkpoint"]["architecture"] == "bert"
    assert fitted.predict_proba(X).shape == (8, 2)


def test_batches_hold_every_row_once_and_differ_between_epochs() -> None:
    lengths = np.arange(100) % 10
    rng = np.random.default_rng(0)
    first, second = (length_grouped(lengths, 8, rng) for _ in range(2))
    for batches in (first, second):
        assert sorted(np.concatenate(batches)) == list(range(100))
        assert max(len(batch) for batch in batches) == 8
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    # at random, 8 of 10 lengths would stand about 7 apart
    assert np.mean([np.ptp(lengths[batch]) for batch in first]) < 4


def test_probabilities_by_hand() -> None:
    logits: Floats = np.log(np.array([[1.0, 3.0], [4.0, 1.0]]))
    np.testing.assert_allclose(probabilities(logits, multilabel=False), [[0.25, 0.75], [0.8, 0.2]])
    np.testing.assert_allclose(probabilities(logits, multilabel=True), [[0.5, 0.75], [0.8, 0.5]])
    extreme = probabilities(np.array([[-1000.0, 1000.0]]), multilabel=True)
    np.testing.assert_array_equal(extreme, [[0, 1]])


def test_encode_counts_tokens_before_the_cut(tiny: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    # 60 words against 8 tokens: cut into ten pieces of 6 words and 2 special tokens
    rows = encode(["red", "", " ".join(["green"] * 60)], tokenizer, 8)
    assert isinstance(rows, Encoded)
    assert rows.full_length.tolist() == [3, 2, 62]
    assert rows.lengths.tolist() == [3, 2, 8]
    red, cls, sep = (SPECIAL + WORDS).index("red"), 2, 3
    assert rows.ids[0].tolist() == [cls, red, sep]


def test_auto_precision_is_float32_off_the_gpu() -> None:
    assert finetune.pick_precision("auto", "cpu") == "fp32"
    assert finetune.pick_precision("auto", "mps") == "fp32"
