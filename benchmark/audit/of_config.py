"""The audit of a config, as `trialmark audit` makes it: rows and splits are made, no model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.audit.checks import run_audit
from benchmark.audit.findings import Report
from benchmark.config import load
from benchmark.matrix import read_rows
from benchmark.splits import make_splits
from benchmark.tasks import labelled


def audit(config: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Report:
    """Every finding on the rows, columns and splits of a config.

    Raises `InputError` when the config or the data cannot be used, as `run` does.
    """
    checked = load(config, overrides)
    rows = read_rows(checked)
    datasets = {task: labelled(rows, task) for task in checked.task}
    # of the seeds the first is enough, see `run_audit`
    splits = {
        task: [
            split
            for options in checked.splits
            for split in make_splits(data, options, checked.seeds[0])
        ]
        for task, data in datasets.items()
    }
    return run_audit(checked, rows, datasets=datasets, splits=splits)
