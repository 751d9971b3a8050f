"""What a config or a command can name, each with one line about it."""

from __future__ import annotations

import importlib
from typing import Literal

from benchmark import published
from benchmark.metrics import METRICS
from benchmark.readers import READERS
from benchmark.splits import SPLITS
from benchmark.tasks import TASKS
from models import MODELS, model_class

What = Literal["models", "tasks", "splits", "metrics", "readers", "claims"]


def catalogue(what: What) -> dict[str, str]:
    """Names of a kind with the first line of their documentation."""
    if what == "models":
        return {name: _models_line(name) for name in MODELS}
    if what == "tasks":
        return {task.name: task.about for task in TASKS.values()}
    if what == "splits":
        return {name: _first_line(split) for name, split in SPLITS.items()}
    if what == "metrics":
        return {name: metric.about for name, metric in METRICS.items()}
    if what == "claims":
        return {name: published.about(name) for name in published.names()}
    modules = {name: importlib.import_module(path) for name, path in READERS.items()}
    return {
        name: _first_line(module).removeprefix(f"Reader `{name}`: ")
        for name, module in modules.items()
    }


def _models_line(name: str) -> str:
    kind = model_class(name)
    return f"{_first_line(kind)} (inputs: {', '.join(kind.inputs)})"


def _first_line(thing: object) -> str:
    return (thing.__doc__ or "").strip().partition("\n")[0].rstrip(".")
