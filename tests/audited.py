"""A small made-up registry, and the audit of it, for the audit's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchmark.audit import Finding, Report, run_audit
from benchmark.config import load
from benchmark.dataset import Dataset, Rows
from benchmark.readers.canonical import COLUMNS
from benchmark.splits import Split
from benchmark.tasks import labelled
from features.columns import Column, KnownAt

WORDS = (
    "amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath", "islet", "jetty",
    "knoll", "larch", "marsh", "nook", "oasis", "pond", "quarry", "ridge", "shoal", "tarn",
)  # fmt: skip


def texts(n: int, words: int = 20) -> list[str]:
    """Texts of random words; no two share a run of three words but by rare chance."""
    rng = np.random.default_rng(7)
    return [" ".join(rng.choice(WORDS, words)) + f" n{row}" for row in range(n)]


def registry(n: int = 400, **columns: Any) -> pd.DataFrame:
    """`n` trials: every second one stopped, one a week from 2000 on, each with its own text."""
    frame = pd.DataFrame(
        {
            "overall_status": ["COMPLETED", "TERMINATED"] * (n // 2),
            "brief_summary": texts(n),
            "lead_sponsor": [f"sponsor {row}" for row in range(n)],
            "start_date": pd.date_range("2000-01-01", periods=n, freq="7D").as_unit("s"),
        },
        index=pd.Index([f"T{row:04d}" for row in range(n)], dtype="str", name="nct_id"),
    )
    for name, values in columns.items():
        frame[name] = np.asarray(values) if not isinstance(values, pd.Series) else values.to_numpy()
    kinds = {column.name: column.kind for column in COLUMNS}
    for name in frame:
        if kinds.get(str(name)) == "numeric":
            frame[name] = frame[name].astype("float64")
        elif frame[name].dtype == object:
            frame[name] = frame[name].astype("str")
    return frame


def rows_of(frame: pd.DataFrame, **changed: Any) -> Rows:
    """The frame as a reader of registry records would give it."""
    columns = tuple(column for column in COLUMNS if column.name in frame)
    known: dict[str, Any] = {"group": "lead_sponsor", "date": "start_date"}
    return Rows(frame, columns, **(known | changed))


def halves(data: Dataset, name: str = "stratified") -> Split:
    """Rows in their order: the first 60 % train, then 20 % valid, then 20 % test."""
    ids = data.X.index.to_numpy(object)
    a, b = int(0.6 * len(ids)), int(0.8 * len(ids))
    return Split(name, ids[:a], ids[a:b], ids[b:])


def audited(
    rows: Rows,
    *,
    as_of: Sequence[KnownAt] = ("registration",),
    inputs: str = "both",
    split: str = "stratified",
    task: str = "trial-outcome",
    splits: Mapping[str, Sequence[Split]] | None = None,
) -> Report:
    """The audit of these rows, with a model that sees `inputs`."""
    model = {"name": "lightgbm", "inputs": [inputs]}
    config = load({"splits": ["stratified"], "models": [model], "as_of": list(as_of)})
    data = labelled(rows, task)
    if splits is None:
        splits = {task: [halves(data, split)]}
    return run_audit(config, rows, datasets={task: data}, splits=splits)


def findings(report: Report, code: str, where: str = "") -> list[Finding]:
    """What one check found (in one place)."""
    return [f for f in report.findings if f.code == code and where in f.where]


def reason(report: Report, code: str) -> str:
    """Why a check did not apply; "" if it did."""
    return next((s.reason for s in report.skipped if s.code == code), "")


def table_rows(frame: pd.DataFrame, columns: Sequence[Column], **changed: Any) -> Rows:
    """The frame as the reader of declared tables would give it; the target is `y`."""
    return Rows(frame, tuple(columns), target="y", positive="yes", **changed)
