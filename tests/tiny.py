"""Text encoders of a few thousand weights at random, and notes that they learn from in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import transformers

from models.base import Ints

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
FILLER = [f"word{number}" for number in range(30)]
WORDS = [*FILLER, "red", "green", "blue", "sex", ":", ";", "male", "female"]

_SIZES: dict[str, Any] = {
    "vocab_size": len(SPECIAL + WORDS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def _configs() -> dict[str, Any]:
    return {
        "distilbert": transformers.DistilBertConfig(
            vocab_size=_SIZES["vocab_size"],
            dim=32,
            hidden_dim=64,
            n_layers=2,
            n_heads=2,
            max_position_embeddings=64,
        ),
        "bert": transformers.BertConfig(**_SIZES),
        # RoBERTa numbers its positions from pad_token_id + 1
        "roberta": transformers.RobertaConfig(
            **{**_SIZES, "max_position_embeddings": 65}, pad_token_id=0, type_vocab_size=1
        ),
        "deberta-v2": transformers.DebertaV2Config(
            **_SIZES,
            relative_attention=True,
            pos_att_type=["p2c", "c2p"],
            norm_rel_ebd="layer_norm",
        ),
    }


def checkpoint(folder: Path, architecture: str = "distilbert") -> Path:
    """A folder with an encoder of two layers at random and its tokenizer, as safetensors."""
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        transformers.AutoModel.from_config(_configs()[architecture]).save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    transformers.DistilBertTokenizer(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    if bars:
        transformers.logging.enable_progress_bar()
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
