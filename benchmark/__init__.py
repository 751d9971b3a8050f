"""trialmark: one harness for hybrid tabular-plus-text classification of study records.

The verbs of the command line as functions::

    import benchmark

    done = benchmark.run("configs/quickstart.yaml")
    done.leaderboard("roc_auc")
    benchmark.read("results/quickstart").compare("lightgbm/both", "tfidf-logreg")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.config import RunConfig, load
    from benchmark.matrix import Run, read, run
    from features.errors import InputError

__all__ = ["InputError", "Run", "RunConfig", "load", "read", "run"]

_HOMES = {
    "InputError": "features.errors",
    "Run": "benchmark.matrix",
    "RunConfig": "benchmark.config",
    "load": "benchmark.config",
    "read": "benchmark.matrix",
    "run": "benchmark.matrix",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def __getattr__(name: str) -> Any:
    # pandas and the rest load when a verb is first used, so that the command line starts at once
    if name not in _HOMES:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
