"""A model for tests that takes as long, or as much memory, as it is told to."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from faulty import Faulty

from benchmark import executor
from models import MODELS
from models.base import Params as Base

NAME, PLACE = "greedy", "greedy:Greedy"


class Params(Base):
    """`seconds` it sleeps, after it took `mebibytes`."""

    seconds: float = 0.0
    mebibytes: int = 0


class Greedy(Faulty):
    """Sleeps and takes memory."""

    Params: Any = Params
    held: Any = None

    def fit(self, X: Any, y: Any, valid: Any) -> Greedy:
        """Take what the parameters say."""
        params: Any = self.params
        self.held = np.ones(params.mebibytes * 2**17)
        time.sleep(params.seconds)
        return self


def begin(work: Any) -> None:
    """Begin a worker that knows this model."""
    MODELS[NAME] = PLACE
    executor._begin(work)
