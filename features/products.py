"""Matrix products of a network on a CPU, by the fastest library that torch brings.

torch hands float32 products to MKL, which leaves the 512-bit instructions of processors that are
not Intel's unused. oneDNN, which is part of torch too, uses them; `tests/perf/embedding.py`
measures what that gives.
"""

from __future__ import annotations

import platform
from typing import Any

ONEDNN = platform.machine().lower() in ("x86_64", "amd64")
"""Whether oneDNN multiplies on this kind of machine: where torch is built with MKL beside it."""


def use_onednn(network: Any) -> None:
    """Let oneDNN compute the float32 `torch.nn.Linear` layers of `network`, for inference alone.

    The outputs differ from MKL's in the last bits (2e-7 in MiniLM's vectors of length 1). Of two
    rows or more, each has the same output whatever the others are.
    """
    import torch

    layers: list[Any] = [part for part in network.modules() if type(part) is torch.nn.Linear]
    for layer in layers:
        if layer.weight.dtype == torch.float32:
            layer.forward = _product(layer)


def _product(part: Any) -> Any:
    """What stands for `part.forward`: the same product and bias, without a gradient."""
    import torch

    multiply = torch.ops.mkldnn._linear_pointwise
    weight, bias = part.weight.detach(), part.bias
    bias = None if bias is None else bias.detach()

    def forward(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = multiply(x, weight, bias, "none", [], "")
        return found

    return forward
