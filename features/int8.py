"""A sentence encoder in 8-bit integers, on a CPU: exported to ONNX once, run by ONNX Runtime.

The weights are rounded ahead, one scale a column; each input of a product is rounded when it is
there, with one scale for all its tokens (dynamic quantisation; Jacob et al. 2018, "Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"). Since the scale is
that of one text, texts are computed one by one. Embeddings and everything between the products stay
in float32.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from features.errors import InputError

LIBRARIES = ("onnx", "onnxruntime", "onnxscript")


def check() -> None:
    """Raise `InputError` unless all that int8 needs is installed; nothing is imported."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"precision int8 without {', '.join(missing)}",
            "ONNX Runtime and what exports to it",
            "pip install 'trialmark[onnx]', or set precision: auto",
        )


def quantise(model: Any, folder: Path | None, name: str) -> None:
    """Let ONNX Runtime compute the transformer of a `SentenceTransformer` in 8-bit integers.

    The exported network is kept in `folder` as `name`.onnx (None: nowhere). From then on the model
    takes one text at a time, without padding. Raises `InputError` where it can't be exported.
    """
    check()
    first = model[0]
    if not hasattr(first, "auto_model"):
        raise InputError(
            "precision int8 with an encoder that is no transformer",
            "a transformer",
            "set precision: auto",
        )
    if folder is not None and (folder / f"{name}.onnx").is_file():
        session = _session(folder / f"{name}.onnx")
    else:
        with tempfile.TemporaryDirectory() as aside:
            made = Path(aside) / "int8.onnx"
            _export(first, made)
            session = _session(made)
            if folder is not None:
                _keep(made, folder, name)
    first.auto_model.forward = _run(session)


def _run(session: Any) -> Any:
    import torch

    def forward(input_ids: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        (states,) = session.run(None, {"input_ids": input_ids.numpy()})
        return {"last_hidden_state": torch.from_numpy(states)}

    return forward


def _session(path: Path) -> Any:
    """ONNX Runtime with one thread: texts are spread over threads, not parts of one."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _export(first: Any, path: Path) -> None:
    """The transformer `first` of a sentence encoder as a quantised ONNX file."""
    import torch

    with _same_path():
        from onnxruntime.quantization import QuantType, quantize_dynamic

    class States(torch.nn.Module):
        """The transformer with its last hidden states as the only output."""

        def __init__(self) -> None:
            super().__init__()
            self.network = first.auto_model

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(input_ids=input_ids).last_hidden_state
            return found

    full = path.with_name("fp32.onnx")
    example = torch.arange(1, 33).reshape(1, 32)
    tokens = torch.export.Dim("tokens", min=2, max=1 << 16)
    with _quietly():
        try:
            torch.onnx.export(
                States().eval(),
                (example,),
                str(full),
                dynamo=True,
                input_names=["input_ids"],
                output_names=["last_hidden_state"],
                dynamic_shapes={"input_ids": {1: tokens}},
                verbose=False,
            )
        except (torch.onnx.errors.OnnxExporterError, AttributeError) as error:
            raise InputError(
                f"precision int8: this encoder can't be exported ({type(error).__name__})",
                "an encoder that torch.onnx.export takes",
                "set precision: auto",
            ) from error
        quantize_dynamic(
            full,
            path,
            op_types_to_quantize=["MatMul", "Gemm"],
            weight_type=QuantType.QInt8,
            per_channel=True,
        )


def _keep(made: Path, folder: Path, name: str) -> None:
    """Copy the file into `folder`: whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{name}-{uuid.uuid4().hex[:12]}.tmp"
    try:
        aside.write_bytes(made.read_bytes())
        aside.rename(folder / f"{name}.onnx")
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def _same_path() -> Iterator[None]:
    """Without what imports put on `sys.path`.

    ONNX Runtime adds a folder of its own that has a module `benchmark`. Worker processes are given
    the path.
    """
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the advice that exporter and quantiser write."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
