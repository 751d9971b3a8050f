"""The check of a GPU, on the CPU: what it compares, prints and exits with."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from benchmark import gpu_check, gpu_speed
from benchmark.gpu_check import Check, checkpoint, main


def test_without_a_gpu_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("no GPU that torch can use is here")


def test_without_a_gpu_the_table_of_speeds_says_what_was_not_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--speed"]) == 2
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 5
    assert all(line.endswith(": not run: no GPU") for line in lines)


def test_speeds_are_measured_on_the_cpu_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--tiny", "--speed"]) == 0
    products, texts, _, samples, _ = capsys.readouterr().out.splitlines()[2:]
    assert float(products.rpartition(" ")[2]) >= 0
    assert float(texts.rpartition(" ")[2]) > 0.9999  # the cosine: both embed the same texts
    for line in (texts, samples):
        (plain, ours, times) = re.findall(r": ([\d,]+) and ([\d,]+) \(([\d.]+) times\)", line)[0]
        assert int(plain.replace(",", "")) > 0 < int(ours.replace(",", ""))
        assert float(times) > 0


def test_weights_are_counted_where_every_token_meets_them() -> None:
    network = torch.nn.ModuleDict(
        {
            "embeddings": torch.nn.Embedding(10, 3),
            "layer": torch.nn.Linear(3, 4),
            "pooler": torch.nn.Linear(3, 3),
        }
    )
    assert gpu_speed.layer_weights(network) == 12


def test_a_tiny_network_agrees_with_itself_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--tiny"]) == 0
    out = capsys.readouterr().out
    assert "DistilBERT of tiny size, weights at random" in out
    assert re.search(r"bf16 +[\d,]+ samples a second in training\n +[\d,]+ MiB at most\n", out)
    assert out.count("\nok   ") == 6
    assert "FAIL" not in out
    (keys,) = re.findall(r"record: (.*)", out)
    assert {"key", "cell", "device", "device_name", "seconds", "notes"} <= set(keys.split(", "))
    # bfloat16 has 8 bits: were it the same, nothing would have been compared
    (apart,) = re.findall(r"bf16 and fp32: mean difference of probabilities: (\S+)", out)
    assert 0 < float(apart) < 0.01


def test_a_difference_beyond_its_bound_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = gpu_check.fitted

    def off(bench: gpu_check.Bench, *, steps: int, device: str, precision: str) -> gpu_check.Fit:
        found = fitted(bench, steps=2, device=device, precision=precision)
        if precision == "bf16":
            found.p[:] = np.roll(found.p, 1, axis=1)
        return found

    monkeypatch.setattr(gpu_check, "fitted", off)
    assert main(["--device", "cpu", "--tiny"]) == 1
    assert "\nFAIL bf16 and fp32: mean difference of probabilities" in capsys.readouterr().out


def test_no_number_passes_no_check() -> None:
    assert Check("equal", 0.1, 0.1).passed
    assert not Check("beyond", 0.2, 0.1).passed
    assert not Check("no number", float("nan"), 0.1).passed


def test_the_network_has_the_size_of_distilbert_and_no_dropout(tmp_path: Path) -> None:
    name = checkpoint(tmp_path / "tiny", tiny=True)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "tiny")
    assert (config.dropout, config.attention_dropout, config.seq_classif_dropout) == (0, 0, 0)
    assert name == "DistilBERT of tiny size, weights at random"
    assert len(transformers.AutoTokenizer.from_pretrained(tmp_path / "tiny")) == 30_522
