"""How often the audit finds what was planted, and what it says of a clean registry, over seeds.

    python tests/simulation/audit_rates.py [--seeds 20] [--rows 2000]

Run by hand; its table is kept in results/reference/audit/rates.txt and docs/audit.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CLEAN = {
    "duplicates": 0.0, "drift": 0.0, "leak": 0.0, "outcome_phrases": 0.0, "censoring": 0.0,
    "batch_effects": 0.0,
}  # fmt: skip
PLANTS: dict[str, tuple[Mapping[str, float], str, str]] = {
    "nothing (clean registry)": ({}, "", ""),
    "leak: enrollment, as_of after, leak 1": ({"leak": 1.0}, "A05", "enrollment"),
    "leak: enrollment, as_of after, leak 0.7": ({"leak": 0.7}, "A05", "enrollment"),
    "duplicates: 5 % of rows": ({"duplicates": 0.05}, "A09", ""),
    "duplicates: 2 % of rows": ({"duplicates": 0.02}, "A09", ""),
    "drift: 1": ({"drift": 1.0}, "A14", ""),
    "drift: 0.3": ({"drift": 0.3}, "A14", ""),
    "censoring: 0.5 of 2021 to 2023": ({"censoring": 0.5}, "A13", ""),
    "outcome phrases: 20 % of stopped": ({"outcome_phrases": 0.2}, "A08", ""),
    "outcome phrases: 5 % of stopped": ({"outcome_phrases": 0.05}, "A08", ""),
    "batch effect: 1 log-odd": ({"batch_effects": 1.0}, "A07", "source"),
    "batch effect: 0.5 log-odds": ({"batch_effects": 0.5}, "A07", "source"),
}
"""What is planted -> knobs that differ from `CLEAN`, and the code and column that should tell."""


def report(knobs: Mapping[str, float], rows: int, seed: int) -> Any:
    """The audit of one registry with the usual splits and models."""
    from benchmark.audit import run_audit
    from benchmark.config import load
    from benchmark.readers import synthetic
    from benchmark.splits import make_split
    from benchmark.tasks import labelled

    config = load(
        {
            "splits": ["stratified", "temporal"],
            "models": [{"name": "lightgbm", "inputs": ["both"]}],
            "as_of": ["after" if knobs.get("leak") else "registration"],
        }
    )
    read = synthetic.read(
        synthetic.Options.model_validate({**CLEAN, **knobs, "rows": rows, "seed": seed})
    )
    data = labelled(read, "trial-outcome")
    splits = [make_split(data, options, seed) for options in config.splits]
    return run_audit(
        config, read, datasets={"trial-outcome": data}, splits={"trial-outcome": splits}
    )


def main() -> None:
    """Print one line for each planted flaw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rows", type=int, default=2000)
    chosen = parser.parse_args()
    seeds = range(1, chosen.seeds + 1)
    out = sys.stdout.write
    out(f"{chosen.seeds} registries of {chosen.rows} trials each, seeds 1 to {chosen.seeds}\n\n")
    out(f"{'planted':<42}{'check':>6}{'found':>7}{'serious':>9}  other codes (warning or worse)\n")
    for name, (knobs, code, where) in PLANTS.items():
        hits = serious = 0
        others: dict[str, int] = {}
        for seed in seeds:
            findings = [
                f for f in report(knobs, chosen.rows, seed).findings if f.severity != "note"
            ]
            own = [f for f in findings if f.code == code and where in f.where]
            hits += bool(own)
            serious += any(f.severity == "serious" for f in (own if code else findings))
            for other in {f"{f.code} {f.severity}" for f in findings if f.code != code}:
                others[other] = others.get(other, 0) + 1
        told = ", ".join(f"{other} {n}" for other, n in sorted(others.items()))
        shown = f"{hits:>4}/{chosen.seeds}" if code else f"{'-':>7}"
        out(f"{name:<42}{code:>6}{shown}{serious:>6}/{chosen.seeds}  {told}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
