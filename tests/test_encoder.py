"""The fine-tuned encoder, on a DistilBERT of two layers that learns in seconds."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from huggingface_hub import constants
from sklearn.metrics import f1_score, roc_auc_score
from tiny import FILLER, checkpoint, notes_with

import benchmark
from features.columns import Columns
from features.errors import InputError
from models import build, check_params, encoder, finetune, model_class
from models.base import Context, Floats, Ints, Target, Timer
from models.encoder import EncoderClassifier
from models.finetune import probabilities
from models.network import depths

BINARY = Target("binary", ("no", "yes"))
TEXT = Columns(text=("note",))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DistilBERT of about 9,000 weights at random, with its tokenizer, as safetensors."""
    return checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny-distilbert")


def without_dropout(tiny: Path) -> Path:
    """The same checkpoint with a network that does the same in training as elsewhere."""
    folder = tiny.with_name("no-dropout")
    if not folder.exists():
        shutil.copytree(tiny, folder)
        config = transformers.DistilBertConfig.from_pretrained(folder)
        config.dropout = config.attention_dropout = config.seq_classif_dropout = 0.0
        config.save_pretrained(folder)
    return folder


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
        "head_factor": 1,
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


@pytest.mark.parametrize("pooling", ["head", "cls", "mean"])
def test_learns_which_word_decides(tiny: Path, pooling: str) -> None:
    T, ty = notes_with(["red"], 200, seed=2)
    fitted = fit_red(tiny, n=320, epochs=6, pooling=pooling)
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
        assert plain < 0.2 < lifted  # an eighth of the rows; balanced, half of the weight


def test_a_checkpoint_with_a_head_of_other_classes_gets_a_new_head(
    tiny: Path, tmp_path: Path
) -> None:
    X, y = notes_with(["red"], 16)
    first = model(tiny, max_steps=1, pooling="head").fit(X, y[:, 0], None)
    first.network.encoder.save_pretrained(tmp_path)
    shutil.copy(tiny / "tokenizer.json", tmp_path)
    shutil.copy(tiny / "tokenizer_config.json", tmp_path)
    target = Target("multiclass", ("a", "b", "c"))
    fitted = model(tmp_path, target=target, max_steps=1, pooling="head").fit(
        X, y[:, 0], (X, y[:, 0])
    )
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
    options = {"batch_size": 16, "epochs": 1, "lr": 1e-12, "warmup": 0.0, "dropout": 0.0}
    fitted = model(without_dropout(tiny), **options).fit(X, y[:, 0], (X, y[:, 0]))
    (point,) = fitted.notes["curve"]
    for what in ("loss", "f1_macro", "f1_micro"):
        assert point[f"train_{what}"] == pytest.approx(point[f"valid_{what}"], abs=1e-5)


def test_a_settled_fit_repeats_the_one_that_stopped_early_bit_for_bit(tiny: Path) -> None:
    (X, y), (V, vy) = notes_with(["red"], 96), notes_with(["red"], 48, seed=1)
    options: dict[str, Any] = {"epochs": 8, "patience": 2, "schedule": "cosine"}
    stopped = model(tiny, **options).fit(X, y[:, 0], (V, 1 - vy[:, 0]))
    settled = stopped.settled()
    assert settled == {
        "max_steps": 48,
        "stop_after": stopped.notes["scored_step"],
        "patience": None,
    }
    assert settled["stop_after"] < stopped.notes["steps"] < 48
    again = model(tiny, **{**options, **settled}).fit(X, y[:, 0], None)
    np.testing.assert_array_equal(again.predict_proba(V), stopped.predict_proba(V))
    assert again.notes["scored_step"] == settled["stop_after"]
    # the learning rate falls as it did, although more rows make longer epochs
    more, more_y = notes_with(["red"], 200)
    longer = model(tiny, **{**options, **settled}).fit(more, more_y[:, 0], None)
    assert longer.notes["planned_steps"] == 48
    assert longer.notes["steps"] == settled["stop_after"]


def test_without_valid_rows_all_steps_are_taken_and_the_last_weights_kept(tiny: Path) -> None:
    X, y = notes_with(["red"], 96)
    fitted = model(tiny, epochs=3, patience=1).fit(X, y[:, 0], None)
    notes = fitted.notes
    assert (notes["steps"], notes["scored_step"], notes["monitor"]) == (18, 18, None)
    assert set(notes["curve"][0]) == {
        "step",
        "epoch",
        "train_loss",
        "train_f1_macro",
        "train_f1_micro",
    }
    scored = model(tiny, epochs=3, patience=None).fit(X, y[:, 0], (X, y[:, 0]))
    assert scored.notes["scored_step"] == 18  # valid is train: the last is the best
    np.testing.assert_array_equal(fitted.predict_proba(X), scored.predict_proba(X))


def test_the_head_alone_learns_at_first_and_frozen_layers_never(tiny: Path) -> None:
    folder, (X, y) = without_dropout(tiny), notes_with(["red"], 96)

    def changed(**options: Any) -> set[int]:
        before = model(folder, max_steps=1, lr=1e-30, warmup=0.0).fit(X, y[:, 0], None).network
        after = model(folder, warmup=0.0, **options).fit(X, y[:, 0], None).network
        found = depths(after)
        old = dict(before.parts.named_parameters())
        return {
            found[name]
            for name, weight in after.parts.named_parameters()
            if float((weight - old[name]).detach().abs().max()) > 1e-5
        }

    assert changed(max_steps=4, head_steps=4) == {3}
    assert changed(max_steps=4, head_steps=3) == {0, 1, 2, 3}
    assert changed(max_steps=4, frozen_layers=1) == {2, 3}
    assert changed(max_steps=4, frozen_layers=2) == {3}
    with pytest.raises(InputError, match="frozen_layers 3; expected at most 2, the layers of"):
        changed(max_steps=1, frozen_layers=3)


def test_lower_layers_move_less_with_layer_decay_and_the_head_more(tiny: Path) -> None:
    # Adam's first step moves a weight by its learning rate, whatever its slope
    folder, (X, y) = without_dropout(tiny), notes_with(["red"], 64)
    options = {"lr": 1e-3, "warmup": 0.0, "weight_decay": 0.0, "batch_size": 64, "stop_after": 1}
    before = model(folder, **{**options, "lr": 1e-30}).fit(X, y[:, 0], None).network
    options |= {"layer_decay": 0.5, "head_factor": 3}
    after = model(folder, **options).fit(X, y[:, 0], None).network
    old, found = dict(before.parts.named_parameters()), depths(after)
    moved: dict[int, float] = {}
    for name, weight in after.parts.named_parameters():
        most = float((weight - old[name]).detach().abs().max())
        moved[found[name]] = max(most, moved.get(found[name], 0.0))
    assert moved == {
        depth: pytest.approx(rate, rel=0.01)
        for depth, rate in ((0, 0.25e-3), (1, 0.5e-3), (2, 1e-3), (3, 3e-3))
    }


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
    small = {"n": 16, "epochs": 1, "lr": 1e-3, "warmup": 0.0, "dropout": 0.0}
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
    used = notes["checkpoint"]
    assert (used["label"], used["architecture"]) == ("folder:tiny-distilbert", "distilbert")
    assert len(used["sha256"]) == 64
    assert used["parameters"] == sum(p.numel() for p in fitted.network.parts.parameters())
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


def table_and_word(n: int, seed: int = 0) -> tuple[pd.DataFrame, Ints]:
    """Rows with a note, a number and a category; (n, 2) tells whether "red" is in it, and the sex.

    `dose` is 1 for female and -1 for male rows, but missing in every fourth.
    """
    X, present = notes_with(["red"], n, seed=seed)
    male = np.random.default_rng([seed, 9]).integers(0, 2, n)
    X["sex"] = pd.Series(np.where(male == 1, "male", "female"), dtype="str")
    X["dose"] = np.where(np.arange(n) % 4 == 0, np.nan, 1.0 - 2 * male)
    return X, np.column_stack([present[:, 0], male])


HYBRID = Columns(numeric=("dose",), categorical=("sex",), text=("note",))


def test_the_hybrid_head_learns_what_neither_table_nor_text_tells_alone(tiny: Path) -> None:
    (X, parts), (T, truth) = table_and_word(320), table_and_word(160, seed=1)
    target = Target("multiclass", ("neither", "red", "male", "both"))
    options = {"columns": HYBRID, "target": target, "table": "head", "pooling": "mean", "epochs": 8}
    fitted = model(tiny, **options).fit(X, parts @ np.array([1, 2]), None)
    found = fitted.predict_proba(T).argmax(axis=1)
    assert np.mean(found == truth @ np.array([1, 2])) > 0.9
    assert fitted.texts(T) == T["note"].tolist()  # the table isn't written into the text
    assert fitted.table.fields == ("dose", "dose", "sex", "sex")


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_the_hybrid_head_gives_each_label_its_own_probability(tiny: Path, pooling: str) -> None:
    (X, y), (T, truth) = table_and_word(320), table_and_word(160, seed=1)
    target = Target("multilabel", ("red", "male"))
    options = {"columns": HYBRID, "target": target, "table": "head", "pooling": pooling}
    fitted = model(tiny, epochs=8, **options).fit(X, y, (X[:40], y[:40]))
    p = fitted.predict_proba(T)
    assert min(roc_auc_score(truth[:, label], p[:, label]) for label in (0, 1)) > 0.9
    assert p.sum(axis=1).max() > 1.5
    order = np.random.default_rng(3).permutation(160)
    np.testing.assert_array_equal(fitted.predict_proba(T.iloc[order]), p[order])


def test_the_study_design_task_runs_with_a_hybrid_head(
    tiny: Path, tmp_path: Path, shared: Path
) -> None:
    params = {"checkpoint": str(tiny), "table": "head", "max_length": 16, "max_steps": 3}
    config = {
        "name": "hybrid",
        "data": {
            "reader": "articles",
            "path": str(shared / "pubmed" / "studies.parquet"),
            "columns": {"text": ["title"], "categorical": ["journal"]},
        },
        "task": "study-design",
        "splits": ["stratified"],
        "device": "cpu",
        "models": [{"name": "encoder", "inputs": "both", "params": params}],
    }
    done = benchmark.run(config, out=tmp_path / "run")
    assert done.status()["error"].tolist() == [""]
    labels = [name for name in done.predictions().columns if name.startswith("p_")]
    assert len(labels) == 10
    assert (done.predictions()[labels].std() > 0).all()


def test_a_template_writes_table_columns_into_the_text_beside_the_head(tiny: Path) -> None:
    X, _ = table_and_word(8)
    options = {"columns": HYBRID, "table": "head", "pooling": "mean"}
    assert model(tiny, template="{sex}", **options).texts(X) == X["sex"].tolist()
    assert "".join(part.text for part in model(tiny, **options).parts(X)[0]) == X["note"][0]


def test_a_head_without_a_table_reads_the_text_alone(tiny: Path) -> None:
    X, y = notes_with(["red"], 64)
    fitted = model(tiny, table="head", pooling="mean", max_steps=2).fit(X, y[:, 0], None)
    assert fitted.table is None
    assert fitted.predict_proba(X).shape == (64, 2)


def test_the_checkpoints_own_head_has_no_place_for_a_table() -> None:
    with pytest.raises(InputError, match="table: head with pooling: head; expected pooling mean"):
        check_params("encoder", {"table": "head", "pooling": "head"})


def far_away(n: int, seed: int = 0) -> tuple[pd.DataFrame, Ints]:
    """Notes of 20 filler words; "red" or "blue" comes after them, beyond the first window of 16."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    notes = [" ".join([*rng.choice(FILLER, 20), ("blue", "red")[label]]) for label in y]
    return pd.DataFrame({"note": pd.Series(notes, dtype="str")}), y


@pytest.mark.parametrize(("long", "pooling"), [("max", "head"), ("mean", "mean"), ("max", "cls")])
def test_windows_find_what_a_cut_takes_away(tiny: Path, long: str, pooling: str) -> None:
    (X, y), (T, truth) = far_away(320), far_away(160, seed=1)
    options = {"max_length": 16, "pooling": pooling, "epochs": 8}
    fitted = model(tiny, long=long, **options).fit(X, y, None)
    assert (fitted.notes["windows"], fitted.notes["truncated_share"]) == (2, 0)
    assert roc_auc_score(truth, fitted.predict_proba(T)[:, 1]) > 0.9
    lost = model(tiny, **{**options, "epochs": 1}).fit(X, y, None)
    assert (lost.notes["windows"], lost.notes["truncated_share"]) == (1, 1)
    assert roc_auc_score(truth, lost.predict_proba(T)[:, 1]) < 0.7


def test_long_rows_come_in_pieces_that_take_the_same_step(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = far_away(32)
    sizes = []
    made = finetune.batch_of

    def batch_of(rows: Any, numbers: Any, device: Any) -> Any:
        batch = made(rows, numbers, device)
        sizes.append(len(batch.ids))
        return batch

    monkeypatch.setattr(finetune, "batch_of", batch_of)
    options = {"max_length": 16, "long": "max", "warmup": 0.0, "epochs": 1, "dropout": 0.0}
    folder = without_dropout(tiny)
    halves = model(folder, batch_size=8, accumulation=4, **options).fit(X, y, None)
    assert (max(sizes), halves.notes["steps"]) == (8, 1)  # of 2 windows each: 4 rows at once
    whole = model(folder, batch_size=32, **options).fit(X, y, None)
    np.testing.assert_allclose(halves.predict_proba(X), whole.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "roberta", "deberta-v2"])
def test_other_architectures_learn_too(tmp_path: Path, name: str) -> None:
    (X, parts), (T, truth) = table_and_word(192), table_and_word(96, seed=1)
    options = {"columns": HYBRID, "table": "head", "pooling": "mean", "layer_decay": 0.9}
    fitted = model(checkpoint(tmp_path / name, name), epochs=8, **options)
    fitted.fit(X, parts[:, 0], None)
    assert fitted.notes["checkpoint"]["architecture"] == name
    assert roc_auc_score(truth[:, 0], fitted.predict_proba(T)[:, 1]) > 0.9


def test_tokens_are_made_once_for_the_fits_of_one_cell(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = []
    made = encoder.encode

    def encode(texts: list[str], *args: Any, **options: Any) -> Any:
        counted.append(len(texts))
        return made(texts, *args, **options)

    monkeypatch.setattr(encoder, "encode", encode)
    (X, y), (V, vy) = notes_with(["red"], 40), notes_with(["red"], 24, seed=1)
    apart = fit_pair(tiny, (X, y), (V, vy), [Context(), Context()])
    assert counted == [40, 24] * 2  # the valid rows are predicted too
    counted.clear()
    first = Context()
    later = replace(first, timer=Timer())
    np.testing.assert_array_equal(fit_pair(tiny, (X, y), (V, vy), [first, later]), apart)
    assert counted == [40, 24]
    assert later.timer.seconds["spared"] > 0
    model(tiny, context=first, max_steps=1, max_length=16).fit(X, y[:, 0], None)
    model(tiny, context=first, max_steps=1, template="{note} red").fit(X, y[:, 0], None)
    assert counted == [40, 24, 40, 40]


def fit_pair(tiny: Path, train: Any, valid: Any, contexts: list[Context]) -> Floats:
    """Predictions for the valid rows of two models that differ in their learning rate."""
    found = []
    for lr, context in zip((1e-3, 5e-3), contexts, strict=True):
        fitted = model(tiny, context=context, lr=lr, max_steps=2)
        fitted.fit(train[0], train[1][:, 0], (valid[0], valid[1][:, 0]))
        found.append(fitted.predict_proba(valid[0]))
    return np.stack(found)


@pytest.mark.parametrize("columns", [TEXT, HYBRID])
def test_what_is_searched_holds_the_defaults(columns: Columns) -> None:
    space = EncoderClassifier.space(columns, BINARY)
    assert 1 <= len(space) <= 5
    defaults = check_params("encoder", {}).model_dump()
    for name, distribution in space.items():
        assert distribution._contains(distribution.to_internal_repr(defaults[name])), name
        check_params("encoder", {name: distribution.low})
        check_params("encoder", {name: distribution.high})


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
    notes = fit_red(tiny, **params).notes["checkpoint"]
    assert notes["label"] == "distilbert-base-uncased"
    assert notes["revision"] == commit


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


def test_probabilities_by_hand() -> None:
    logits: Floats = np.log(np.array([[1.0, 3.0], [4.0, 1.0]]))
    np.testing.assert_allclose(probabilities(logits, multilabel=False), [[0.25, 0.75], [0.8, 0.2]])
    np.testing.assert_allclose(probabilities(logits, multilabel=True), [[0.5, 0.75], [0.8, 0.5]])
    extreme = probabilities(np.array([[-1000.0, 1000.0]]), multilabel=True)
    np.testing.assert_array_equal(extreme, [[0, 1]])


def test_auto_precision_is_float32_off_the_gpu() -> None:
    assert finetune.pick_precision("auto", "cpu") == "fp32"
    assert finetune.pick_precision("auto", "mps") == "fp32"
