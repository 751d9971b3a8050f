"""A scikit-learn classifier for tests that sleeps, takes memory, fails or dies as it is told to."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin


class Mortal(ClassifierMixin, BaseEstimator):
    """Writes its process id, a line a fit, to the file `trace`; then does what it is told.

    It is killed, as by kill -9, in its first `deaths` fits.
    """

    def __init__(
        self,
        trace: str = "",
        seconds: float = 0.0,
        mebibytes: int = 0,
        fails: bool = False,
        deaths: int = 0,
    ) -> None:
        self.trace, self.seconds, self.mebibytes = trace, seconds, mebibytes
        self.fails, self.deaths = fails, deaths

    def fit(self, X: Any, y: Any) -> Mortal:
        """Trace, die, fail, take memory, sleep."""
        with Path(self.trace).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len(pids(Path(self.trace))) <= self.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails:
            raise ArithmeticError("told to fail")
        held = np.ones(self.mebibytes * 2**17)
        time.sleep(self.seconds)
        del held
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: Any) -> Any:
        """Equal probabilities."""
        return np.full((X.shape[0], len(self.classes_)), 1 / len(self.classes_))


def pids(trace: Path) -> list[int]:
    """The processes that fitted, in their order."""
    return [int(line) for line in trace.read_text().split()] if trace.is_file() else []


def mortal_model(trace: Path, **params: Any) -> dict[str, Any]:
    """An entry of `models` with this classifier."""
    given = {"estimator": "mortal.Mortal", "params": {"trace": str(trace), **params}}
    return {"name": "sklearn", "label": "mortal", "inputs": "tabular", "params": given}
