"""The fine-tuned network: a pre-trained encoder, how its output becomes one vector, and the head.

The hybrid head puts the pooled text and the table's columns together late: each is brought to one
scale, the table by a layer of its own, and a small network reads both. That is the late fusion of
Shi et al. 2021 ("Benchmarking Multimodal AutoML for Tabular Data with Text Fields") and of Gu &
Budhkar 2021 ("A Package for Learning on Tabular and Text Data with Transformers"). What the table
tells by itself goes to the logits directly as well, as in the wide and deep network of Cheng et
al. 2016 ("Wide & Deep Learning for Recommender Systems"). On frozen vectors of real records both
parts help: more than a linear head over the text, and more than the small network alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from features.checkpoints import Checkpoint
from features.errors import InputError, one_line
from models.base import Target
from models.tokens import Batch

if TYPE_CHECKING:
    import torch

Pooling = Literal["head", "cls", "mean"]
Long = Literal["cut", "max", "mean"]

TABLE_WIDTH = 64
HEAD_WIDTH = 128
"""Units of the hybrid head: of the layer over the table, and of the layer over text and table."""


@dataclass(frozen=True)
class Network:
    """An encoder and its head; calling it on a batch gives logits, (rows, k).

    `parts` holds all weights: a transformers model as `encoder` and, unless that has a head of its
    own, `head`. `pooling` is how tokens become a vector, `long` how the windows of one row become
    one (their vectors, or with the encoder's own head their logits).
    """

    parts: Any
    pooling: Pooling
    long: Long

    @property
    def encoder(self) -> Any:
        """The transformers model: with `pooling` `head` for sequence classification, else bare."""
        return self.parts["encoder"]

    @property
    def base(self) -> Any:
        """The transformers model without a head of its own."""
        return self.encoder.base_model

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return self.encoder.device

    def embeddings(self, batch: Batch) -> torch.Tensor:
        """Embeddings of the batch's tokens without their positions, (windows, tokens, d)."""
        found: torch.Tensor = self.encoder.get_input_embeddings()(batch.ids)
        return found

    def __call__(
        self,
        batch: Batch,
        embeddings: torch.Tensor | None = None,
        table: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits, (rows, k); `embeddings` and `table`, if given, replace those of the batch."""
        words: dict[str, Any] = {"attention_mask": batch.mask}
        words |= {"input_ids": batch.ids} if embeddings is None else {"inputs_embeds": embeddings}
        found: torch.Tensor
        if self.pooling == "head":
            return _by_row(self.encoder(**words).logits, batch, self.long)
        states = self.base(**words).last_hidden_state
        found = _by_row(_pooled(states, batch.mask, self.pooling), batch, self.long)
        head, cells = self.parts["head"], batch.table if table is None else table
        found = head["text"](found)
        if "table" not in head:
            found = head["out"](found)
            return found
        import torch

        found = head["out"](torch.cat([found, head["table"](cells)], dim=1)) + head["wide"](cells)
        return found


def load(
    checkpoint: Checkpoint,
    target: Target,
    *,
    pooling: Pooling,
    long: Long,
    table_width: int,
    dropout: float | None,
) -> tuple[Any, Network]:
    """Tokenizer and network, with a fresh head of one output a class.

    `table_width` is the number of table columns that the head reads, 0 for none. `dropout` is that
    of the head; None is what the checkpoint says, or 0.1 for a head made here.
    """
    from torch import nn

    tokenizer, encoder = _pre_trained(checkpoint, target)
    if pooling != "head":
        width, k = int(encoder.config.hidden_size), len(target.classes)
        head = _head(width, table_width, k, 0.1 if dropout is None else dropout)
        return tokenizer, Network(
            nn.ModuleDict({"encoder": encoder.base_model, "head": head}), pooling, long
        )
    if dropout is not None:
        for name, part in encoder.named_modules():
            if isinstance(part, nn.Dropout) and not name.startswith(encoder.base_model_prefix):
                part.p = dropout
    return tokenizer, Network(nn.ModuleDict({"encoder": encoder}), pooling, long)


def depths(network: Network) -> dict[str, int]:
    """Depth of each weight: 0 for embeddings, 1 to n for the n layers, n + 1 for the head.

    The layers are the encoder's largest list of modules. What an encoder has before them counts
    as embeddings, what it has after them as its last layer, but for BERT's pooler: that is a part
    of the head.
    """
    from torch import nn

    lists = [
        (name, part)
        for name, part in network.base.named_modules()
        if isinstance(part, nn.ModuleList)
    ]
    place, layers = max(lists, key=lambda found: sum(p.numel() for p in found[1].parameters()))
    base = "encoder."
    if network.base is not network.encoder:
        base += f"{network.encoder.base_model_prefix}."
    outside, found = 0, {}
    for name, _ in network.parts.named_parameters():
        inside = name.removeprefix(base)
        if inside.startswith(f"{place}."):
            outside = len(layers)
            found[name] = int(inside.removeprefix(f"{place}.").partition(".")[0]) + 1
        elif not name.startswith(base) or "pooler." in inside:
            found[name] = len(layers) + 1
        else:
            found[name] = outside
    return found


def n_layers(network: Network) -> int:
    """Number of the encoder's layers."""
    return max(depths(network).values()) - 1


def hold(network: Network, up_to: int) -> None:
    """Leave weights no deeper than `up_to` untrained (-1: train all)."""
    found = depths(network)
    for name, weight in network.parts.named_parameters():
        weight.requires_grad_(found[name] > up_to)


def _pooled(states: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """(windows, tokens, d) to (windows, d): the first token, or the mean over unmasked ones."""
    if pooling == "cls":
        return states[:, 0]
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1)


def _by_row(found: torch.Tensor, batch: Batch, long: Long) -> torch.Tensor:
    """(windows, d) to (rows, d): the maximum, or the mean weighted by tokens."""
    import torch

    if len(batch.windows) == len(found):
        return found
    if long == "max":
        return torch.stack([part.amax(dim=0) for part in _split(found, batch)])
    tokens = batch.mask.sum(dim=1, keepdim=True).to(found.dtype)
    sums = [part.sum(dim=0) for part in _split(found * tokens, batch)]
    counts = [part.sum(dim=0) for part in _split(tokens, batch)]
    return torch.stack(sums) / torch.stack(counts)


def _split(found: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, ...]:
    """The windows of each row."""
    import torch

    parts: tuple[torch.Tensor, ...] = torch.split(found, batch.windows)
    return parts


def _head(width: int, table_width: int, k: int, dropout: float) -> Any:
    """Layers over the pooled text (`width`), over the table (`table_width`, 0: none), and both."""
    from torch import nn

    head = nn.ModuleDict({"text": nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout))})
    if table_width:
        head["table"] = nn.Sequential(
            nn.Linear(table_width, TABLE_WIDTH),
            nn.LayerNorm(TABLE_WIDTH),
            nn.GELU(),
            nn.Dropout(dropout),
        )
        head["wide"] = nn.Linear(table_width, k, bias=False)
        width += TABLE_WIDTH
    head["out"] = nn.Sequential(
        nn.Linear(width, HEAD_WIDTH), nn.GELU(), nn.Dropout(dropout), nn.Linear(HEAD_WIDTH, k)
    )
    return head


def _pre_trained(checkpoint: Checkpoint, target: Target) -> tuple[Any, Any]:
    """Tokenizer and `AutoModelForSequenceClassification` of the checkpoint, in float32."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    names = target.classes
    kind = "multi_label" if target.kind == "multilabel" else "single_label"
    folder = str(checkpoint.folder)
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
        encoder, found = AutoModelForSequenceClassification.from_pretrained(
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
    _check_weights(checkpoint, encoder, found)
    return tokenizer, encoder


def _check_weights(checkpoint: Checkpoint, encoder: Any, found: dict[str, Any]) -> None:
    """Refuse a checkpoint that leaves parts of the encoder itself at random."""
    lacking = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    base = f"{encoder.base_model_prefix}."
    # a language model is saved without BERT's pooler, which is as new as the head then
    lacking = [name for name in lacking if name.startswith(base) and ".pooler." not in name]
    if lacking:
        raise InputError(
            f"checkpoint {checkpoint.label!r} has no fitting weights for {lacking[0]} "
            f"({len(lacking)} such parts)",
            f"all weights of a {encoder.config.model_type} encoder",
            "choose another checkpoint, such as bundled:minilm",
        )


def groups(
    network: Network, *, lr: float, layer_decay: float, head_factor: float, weight_decay: float
) -> Iterator[dict[str, Any]]:
    """The optimiser's groups: weights of one depth, decayed or not, with their learning rate.

    The head has `head_factor * lr`, the last layer `lr`, each layer below it `layer_decay` times
    that of the one above (Sun et al. 2019, "How to Fine-Tune BERT for Text Classification?").
    Biases and layer norms, the vectors among the weights, are not decayed.
    """
    found = depths(network)
    top = max(found.values()) - 1
    for depth in sorted(set(found.values())):
        rate = head_factor * lr if depth > top else lr * layer_decay ** (top - depth)
        here = [w for name, w in network.parts.named_parameters() if found[name] == depth]
        for decay, kept in (
            (weight_decay, [w for w in here if w.ndim >= 2]),
            (0.0, [w for w in here if w.ndim < 2]),
        ):
            if kept:
                yield {"params": kept, "lr": rate, "weight_decay": decay}
