"""Pooling, windows, the hybrid head and the depth of weights, on four tiny architectures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from scipy import sparse

from features.checkpoints import resolve
from models.base import Target
from models.network import Network, depths, groups, hold, load
from models.tokens import Encoded, batch_of, encode

TEXTS = ["red word1", "word2 word3 word4 green word5", "blue"]
LONG = ["red word1 word2 word3 word4 word5 green", "blue"]
ARCHITECTURES = ("distilbert", "bert", "roberta", "deberta-v2")
TARGET = Target("multiclass", ("a", "b", "c"))
TABLE = sparse.csr_matrix([[1.0, 0], [0, 2], [3, 0]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: tiny.checkpoint(root / name, name) for name in ARCHITECTURES}


def loaded(folder: Path, **options: Any) -> tuple[Any, Network]:
    chosen: dict[str, Any] = {"pooling": "head", "long": "cut", "table_width": 0, **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer, network = load(resolve(str(folder)), TARGET, **{"dropout": None, **chosen})
    network.parts.eval()
    return tokenizer, network


def out(network: Network, rows: Encoded) -> torch.Tensor:
    with torch.inference_mode():
        return network(batch_of(rows, np.arange(len(rows.ids)), "cpu"))


@pytest.mark.parametrize("pooling", ["head", "cls", "mean"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padding_does_not_change_a_row(folders: dict[str, Path], name: str, pooling: str) -> None:
    tokenizer, network = loaded(folders[name], pooling=pooling)
    alone = torch.cat([out(network, encode([text], tokenizer, 32)) for text in TEXTS])
    together = out(network, encode(TEXTS, tokenizer, 32))
    assert together.shape == (3, 3)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_pooled_vector_is_the_first_token_or_the_mean_of_all(
    folders: dict[str, Path], pooling: str
) -> None:
    tokenizer, network = loaded(folders["bert"], pooling=pooling)
    rows = encode(["red word1"], tokenizer, 32)
    with torch.inference_mode():
        states = network.base(torch.tensor([rows.ids[0][0].tolist()])).last_hidden_state[0]
        vector = (
            states[0] if pooling == "cls" else (states[0] + states[1] + states[2] + states[3]) / 4
        )
        expected = network.parts["head"]["out"](network.parts["head"]["text"](vector))
    torch.testing.assert_close(out(network, rows)[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("long", ["max", "mean"])
def test_a_long_row_is_the_maximum_or_the_mean_of_its_windows(
    folders: dict[str, Path], long: str
) -> None:
    tokenizer, network = loaded(folders["distilbert"], long=long)
    rows = encode(LONG, tokenizer, 8, windows=2)  # 6 words and 2 special tokens, then 1 and 2
    first, second, other = out(
        network, encode([LONG[0].removesuffix(" green"), "green", "blue"], tokenizer, 8)
    )
    expected = torch.maximum(first, second) if long == "max" else (8 * first + 3 * second) / 11
    torch.testing.assert_close(out(network, rows), torch.stack([expected, other]))


@pytest.mark.parametrize("pooling", ["head", "mean"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_from_embeddings_are_those_from_ids_and_have_slopes(
    folders: dict[str, Path], name: str, pooling: str
) -> None:
    tokenizer, network = loaded(folders[name], pooling=pooling, long="mean")
    rows = encode(LONG, tokenizer, 8, windows=2)
    batch = batch_of(rows, np.arange(2), "cpu")
    embeddings = network.embeddings(batch).detach().requires_grad_()
    assert embeddings.shape == (3, 8, 32)
    found = network(batch, embeddings)
    torch.testing.assert_close(found, out(network, rows))
    torch.autograd.backward(found[0, 0])
    assert embeddings.grad is not None
    size = embeddings.grad.abs().sum(dim=2)
    assert bool((size[:2, :3] > 0).all())  # both windows of the first row
    assert float(size[2].max()) == 0  # the other row
    assert float(size[1, 3:].max()) == 0  # padding


def test_the_head_reads_the_table_of_its_own_row(folders: dict[str, Path]) -> None:
    tokenizer, network = loaded(folders["distilbert"], pooling="mean", table_width=2)
    rows = replace(encode(TEXTS, tokenizer, 32), table=TABLE)
    before = out(network, rows)
    changed = replace(rows, table=sparse.csr_matrix([[1.0, 0], [0, 2], [0, 0]]))
    moved = (out(network, changed) - before).abs().amax(dim=1)
    assert (moved[:2] == 0).all()
    assert moved[2] > 1e-3
    batch = batch_of(rows, np.arange(3), "cpu")
    with torch.inference_mode():
        given = network(batch, None, torch.tensor(changed.table.toarray(), dtype=torch.float32))
    torch.testing.assert_close(given, out(network, changed))


def test_dropout_is_that_of_the_head_alone(folders: dict[str, Path]) -> None:
    for pooling, width in (("head", 0), ("mean", 2)):
        _, network = loaded(folders["bert"], pooling=pooling, table_width=width, dropout=0.4)
        rates = {
            name: part.p
            for name, part in network.parts.named_modules()
            if isinstance(part, torch.nn.Dropout)
        }
        inside = {rate for name, rate in rates.items() if ".layer." in name or "embedd" in name}
        assert inside == {0.1}
        assert {rate for name, rate in rates.items() if ".layer." not in name} == {0.1, 0.4}


@pytest.mark.parametrize("pooling", ["head", "mean"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_weight_has_the_depth_of_its_layer(
    folders: dict[str, Path], name: str, pooling: str
) -> None:
    _, network = loaded(folders[name], pooling=pooling)
    found = depths(network)
    assert set(found) == {name for name, _ in network.parts.named_parameters()}
    for weight, depth in found.items():
        if "embeddings." in weight and "rel_" not in weight:
            assert depth == 0, weight
        elif ".layer." in weight:
            assert depth == int(weight.partition(".layer.")[2][0]) + 1, weight
        elif "rel_embeddings" in weight or weight == "encoder.deberta.encoder.LayerNorm.weight":
            assert depth == 2, weight
        elif "classifier" in weight or "pooler" in weight or weight.startswith("head."):
            assert depth == 3, weight
    assert set(found.values()) == {0, 1, 2, 3}


def test_learning_rates_fall_with_depth_and_the_head_has_its_own(folders: dict[str, Path]) -> None:
    _, network = loaded(folders["bert"], pooling="mean")
    found = list(groups(network, lr=0.1, layer_decay=0.5, head_factor=3.0, weight_decay=0.2))
    place = {id(w): depth for (_, w), depth in zip(
        network.parts.named_parameters(), depths(network).values(), strict=True
    )}  # fmt: skip
    assert sum(len(group["params"]) for group in found) == len(place)
    for group in found:
        depth = {place[id(weight)] for weight in group["params"]}
        assert len(depth) == 1
        assert group["lr"] == pytest.approx([0.025, 0.05, 0.1, 0.3][depth.pop()])
        vectors = {weight.ndim < 2 for weight in group["params"]}
        assert vectors == {group["weight_decay"] == 0}
        assert group["weight_decay"] in (0, 0.2)


def test_held_weights_are_the_lower_ones(folders: dict[str, Path]) -> None:
    _, network = loaded(folders["distilbert"], pooling="mean")
    found = depths(network)
    for up_to in (-1, 1, 2):
        hold(network, up_to)
        trained = {n for n, w in network.parts.named_parameters() if w.requires_grad}
        assert trained == {name for name, depth in found.items() if depth > up_to}
    assert {found[name] for name in trained} == {3}
    assert pd.Series(found).value_counts()[3] == 6
