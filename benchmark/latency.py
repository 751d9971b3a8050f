"""How long one record takes by itself, from its raw cells to its probabilities."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pandas as pd

from models.base import Context, Model

ROWS = 9
SECONDS = 0.5
"""After so many no further row is timed."""


def latency(model: Model, X: pd.DataFrame, context: Context) -> dict[str, Any] | None:
    """Median milliseconds of predicting a single row of `X`, once warm; None where it has no rows.

    Up to `ROWS` rows, spread over `X`. `context` is the model's own: nothing it keeps is used, a
    text is embedded anew. A model that can't predict one row alone says why under `error`.
    """
    places = sorted({round(i * (len(X) - 1) / ROWS) for i in range(ROWS + 1)}) if len(X) else []
    taken: list[float] = []
    try:
        with context.memo.aside():
            for place in places:
                row = X.iloc[[place]]
                start = time.perf_counter()
                model.predict_proba(row)
                taken.append(time.perf_counter() - start)
                if sum(taken[1:]) > SECONDS:
                    break
    except Exception as error:  # what is only timed must not cost the cell
        return {"error": type(error).__name__}
    warm = taken[1:] if len(taken) > 1 else taken
    return {"ms": round(statistics.median(warm) * 1000, 3), "rows": len(warm)} if warm else None
