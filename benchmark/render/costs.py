"""What each model cost: seconds by phase, one record's latency, memory, energy."""

from __future__ import annotations

import pandas as pd

from benchmark.leaderboard import GROUP, Board, check_comparable
from benchmark.render.layout import Sheet, amount, model_name, ordered, row_style

COLUMNS = {
    "features s": "features_seconds",
    "fit s": "fit_seconds",
    "tune s": "tune_seconds",
    "predict s": "predict_seconds",
    "explain s": "explain_seconds",
    "one row ms": "latency_ms",
    "peak MiB": "peak_memory_mb",
    "energy Wh": "energy_wh",
    "CO2e g": "grams_co2e",
}
_OPTIONAL = ("tune_seconds", "explain_seconds", "latency_ms", "energy_wh", "grams_co2e")
"""Left out where no model has any of it."""


def cost_tables(board: Board) -> list[Sheet]:
    """Models, in their order on the board, by what they cost: means over their seeds."""
    check_comparable(board.rows)
    metric = board.metrics[0]
    lead = board.rows[board.rows["metric"] == metric]
    sheets = []
    for (task, split, as_of), rows in lead.groupby(list(GROUP), sort=False):
        shown = {head: name for head, name in COLUMNS.items() if _has(rows, name)}
        models = ordered(rows)
        sheets.append(
            Sheet(
                title=f"Cost of models · {task} · {split} split · as of {as_of}",
                header=("model", "inputs", *shown),
                numeric=(False, False, *[True] * len(shown)),
                rows=tuple(
                    (
                        model_name(row),
                        row["inputs"],
                        *(amount(row[name]) for name in shown.values()),
                    )
                    for row in models
                ),
                styles=tuple(row_style(row) for row in models),
                notes=_notes(rows, set(shown.values())),
            )
        )
    return sheets


def _has(rows: pd.DataFrame, name: str) -> bool:
    return name not in _OPTIONAL or bool((rows[name] > 0).any())


def _notes(rows: pd.DataFrame, shown: set[str]) -> tuple[str, ...]:
    first = rows.iloc[0]
    devices = ", ".join(sorted(set(rows["device"].dropna())))
    notes = [
        f"Means over seeds, of cells on {devices}, with {first['n_train']:,} train and "
        f"{first['n_test']:,} test rows. fit s: features and fit; predict s: all test rows, their "
        "features among them. What a cache held counts as when it was made.",
        "peak MiB: of the process, with what it had loaded before.",
    ]
    if "latency_ms" in shown:
        notes.append(
            "one row ms: from a raw row to its probabilities, alone, warm, nothing cached; the "
            "median of a few rows. A blend's is the sum of its members'."
        )
    if "energy_wh" in shown:
        methods = "; ".join(rows["energy_method"].dropna().unique())
        notes.append(
            f"energy: an estimate, no measurement to rank by ({methods}); what a cache held took "
            "none. Of cells that take less than a second it is mostly noise."
        )
    return tuple(notes)
