"""What a cell costs: power laws in rows and tokens, fitted to measured cells.

seconds of a phase = exp(a) * rows^b * tokens^c * ..., fitted by least squares on logarithms; what a
law leaves open is the factor exp(s), s the standard deviation of its residuals. Where the measured
cells cannot tell an exponent it is fixed at 1 and the law is a rate. Memory grows linearly with all
text in memory, above what an interpreter takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {
    "floor": "the class rates",
    "tfidf": "TF-IDF + logistic regression",
    "trees": "LightGBM on the table",
    "lsa": "LightGBM on table and LSA",
    "embedded": "LightGBM on embeddings",
    "encoder": "fine-tuned MiniLM",
    "blend": "blend of the others",
}
LAWS: dict[tuple[str, str], tuple[str, ...]] = {
    ("tfidf", "features"): ("train", "tokens", "busy"),
    ("tfidf", "fit"): ("train", "tokens", "busy"),
    ("tfidf", "predict"): ("tested", "tokens", "busy"),
    ("tfidf", "explain"): ("tokens",),
    ("trees", "features"): ("train", "columns", "busy"),
    ("trees", "fit"): ("train", "columns", "busy"),
    ("trees", "predict"): ("tested", "columns", "busy"),
    ("lsa", "features"): ("train", "tokens", "busy"),
    ("lsa", "fit"): ("train", "busy"),
    ("lsa", "predict"): ("tested", "tokens", "busy"),
}
"""What each phase of a kind of cell grows with. `busy` is the factor by which cells of
reference runs took longer, whose machine did other work too."""
RATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("trees", "explain"): (),
    ("lsa", "explain"): (),
    ("embedded", "explain"): (),
    ("embedded", "fit"): ("train",),
    ("encoder", "fit"): ("threads", "trained", "length"),
    ("encoder", "predict"): ("threads", "tested", "length"),
    ("encoder", "explain"): (),
    ("embedding", "texts"): ("threads", "texts"),
    ("tfidf", "tune"): ("trials", "once"),
    ("trees", "tune"): ("trials", "once"),
    ("lsa", "tune"): ("trials", "once"),
    ("floor", "fit"): ("train",),
    ("blend", "fit"): ("predicted",),
}
"""What each phase is proportional to, where few sizes were measured; () is a constant. Seconds of
several threads count once for each thread: `threads` divides."""
Values = Mapping[str, float]


@dataclass(frozen=True)
class Sample:
    """One measured cell: what its cost may grow with, seconds by phase, MB at its peak.

    `train` counts every row fitted on, with those of a refit; `predicted` are valid and test rows,
    `tested` those that the seconds of `predict` are for; `tokens` are word pieces per row; `once`
    is what one fit and prediction took.
    """

    source: str
    kind: str
    values: Values
    seconds: Values
    peak_mb: float
    bytes: float | None = None


@dataclass(frozen=True)
class Law:
    """log y = coefficients . (1, log x...), `n` points; `fixed` exponents are 1 and not fitted."""

    names: tuple[str, ...]
    coefficients: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    spread: float
    n: int
    ranges: Mapping[str, tuple[float, float]]
    fixed: bool = False

    def at(self, values: Values) -> float:
        """The typical (median) value."""
        logs = [np.log(_size(values, name)) for name in self.names]
        slopes = np.ones(len(logs)) if self.fixed else np.array(self.coefficients[1:])
        return float(np.exp(self.coefficients[0] + np.dot(slopes, logs)))

    def interval(self, values: Values, level: float = 0.95) -> tuple[float, float]:
        """Where the typical value lies: Student's interval of the regression's mean, in logs."""
        logs = [] if self.fixed else [np.log(_size(values, name)) for name in self.names]
        row = np.array([1.0, *logs])
        width = _student(self.n - len(self.coefficients), level)
        width *= float(np.sqrt(row @ np.array(self.covariance) @ row))
        middle = self.at(values)
        return middle * float(np.exp(-width)), middle * float(np.exp(width))

    def slopes(self, level: float = 0.95) -> list[tuple[str, float, float, float]]:
        """Each exponent with its interval; a fixed one is 1 without any."""
        if self.fixed:
            return [(name, 1.0, 1.0, 1.0) for name in self.names if name != "threads"]
        width = _student(self.n - len(self.coefficients), level)
        errors = np.sqrt(np.diag(np.array(self.covariance)))[1:]
        found = zip(self.names, self.coefficients[1:], errors, strict=True)
        return [(name, b, b - width * e, b + width * e) for name, b, e in found]

    def beyond(self, values: Values) -> float:
        """How many times the largest measured size the cell has, in what is farthest; 1: inside."""
        sizes = [values[n] / high for n, (_, high) in self.ranges.items() if n in values]
        return max([1.0, *sizes])


def _size(values: Values, name: str) -> float:
    """A regressor; `threads` divides, as seconds of several threads are core-seconds."""
    return 1 / values[name] if name == "threads" else values[name]


def _student(freedom: int, level: float) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + level / 2, freedom)) if freedom > 0 else float("inf")


def fit_law(points: Sequence[Values], found: Sequence[float], names: tuple[str, ...]) -> Law:
    """Least squares on logarithms. Raises `ValueError` with no more points than exponents + 1."""
    x = np.array([[1.0, *(np.log(_size(p, n)) for n in names)] for p in points])
    y = np.log(np.array(found))
    if len(y) <= x.shape[1] or np.linalg.matrix_rank(x) < x.shape[1]:
        raise ValueError(f"{len(y)} cells cannot tell the exponents of {', '.join(names)}")
    solved, *_ = np.linalg.lstsq(x, y, rcond=None)
    return _law(names, solved, x=x, left=y - x @ solved, points=points)


def fit_rate(points: Sequence[Values], found: Sequence[float], names: tuple[str, ...]) -> Law:
    """The geometric mean of y / (product of x): a law whose exponents are all 1."""
    logs = [sum(np.log(_size(p, n)) for n in names) for p in points]
    y = np.log(np.array(found)) - np.array(logs, dtype=float)
    x = np.ones((len(y), 1))
    mean = np.array([y.mean()])
    return _law(names, mean, x=x, left=y - mean[0], points=points, fixed=True)


def _law(
    names: tuple[str, ...],
    solved: Any,
    *,
    x: Any,
    left: Any,
    points: Sequence[Values],
    fixed: bool = False,
) -> Law:
    freedom = max(1, len(left) - x.shape[1])
    variance = float(left @ left) / freedom
    covariance = variance * np.linalg.inv(x.T @ x)
    ranges = {n: (min(p[n] for p in points), max(p[n] for p in points)) for n in names}
    rows = tuple(tuple(map(float, row)) for row in covariance)
    whole = tuple(map(float, solved))
    return Law(names, whole, rows, float(np.sqrt(variance)), len(left), ranges, fixed)


@dataclass(frozen=True)
class Costs:
    """All laws by (kind, phase); megabytes as (at none, per million tokens in memory) by kind."""

    laws: Mapping[tuple[str, str], Law]
    memory: Mapping[str, tuple[float, float]]
    bytes_per_row: float
    samples: Sequence[Sample] = field(default_factory=tuple)

    def seconds(self, kind: str, values: Values) -> dict[str, float]:
        """Core-seconds of each phase of a cell; `tune` where `values` has trials above 0."""
        once = {phase: law.at(values) for (k, phase), law in self.laws.items()
                if k == kind and phase != "tune"}  # fmt: skip
        if values.get("trials", 0) > 0:
            whole = sum(once.get(phase, 0.0) for phase in ("features", "fit", "predict"))
            like = "lsa" if kind == "embedded" else kind
            once["tune"] = self.laws[like, "tune"].at({**values, "once": whole})
        return once

    def megabytes(self, kind: str, values: Values) -> float:
        """Peak memory of a worker with the rows and one such cell."""
        # a worker keeps the rows, and what an earlier cell left: the least is a table's cell
        like = {"tfidf": "tfidf", "lsa": "lsa", "embedded": "lsa"}.get(kind, "trees")
        base, slope = self.memory[like]
        return base + slope * values["rows"] * values["all_tokens"] / 1e6


def fit_costs(samples: Sequence[Sample]) -> Costs:
    """Fit every law to the cells of its kind."""
    laws = {}
    for (kind, phase), names in {**LAWS, **RATES}.items():
        used = [s for s in samples if s.kind == kind and s.seconds.get(phase, 0.0) > 0.001
                and all(s.values.get(n, 0) > 0 for n in names)]  # fmt: skip
        if not used:
            continue
        fit = fit_law if (kind, phase) in LAWS else fit_rate
        seconds = [s.seconds[phase] for s in used]
        laws[kind, phase] = fit([s.values for s in used], seconds, names)
    per_row = [s.bytes / s.values["predicted"] for s in samples
               if s.bytes is not None and s.kind not in ("floor", "blend")]  # fmt: skip
    return Costs(laws, memory_of(samples), float(np.median(per_row)), tuple(samples))


def memory_of(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """MB at no text and MB per million tokens, by kind, of cells whose process did little else."""
    found = {}
    for kind in ("tfidf", "trees", "lsa"):
        used = [s for s in samples if s.kind == kind and "all_tokens" in s.values]
        if len(used) > 2:
            x = [s.values["rows"] * s.values["all_tokens"] / 1e6 for s in used]
            slope, base = np.polyfit(x, [s.peak_mb for s in used], 1)
            found[kind] = (float(base), max(0.0, float(slope)))
    return found


def of_records(folder: Path, texts: Mapping[str, Any]) -> Iterator[Sample]:
    """The finished cells of reference runs whose texts were counted, single-label ones for laws.

    A multi-label cell fits one model a label: it tells of embeddings and the encoder alone.
    """
    for file in sorted(folder.rglob("record.json")):
        record = json.loads(file.read_bytes())
        run = file.relative_to(folder).parts[0]
        if record["status"] != "done" or run not in texts:
            continue
        names = [name for name in record["cell"]["columns"] if name in texts[run]]
        tokens = sum(texts[run][name][0] for name in names)
        size = (file.parent / "predictions.parquet").stat().st_size
        record["columns"] = len(record["cell"]["columns"])
        yield from samples_of(record, run, tokens=tokens, size=size)


def of_measured(runs: Sequence[Mapping[str, Any]], per_token: float) -> Iterator[Sample]:
    """The cells of `measure.py growth`."""
    for run in runs:
        tokens = run["characters"] / per_token
        for cell in run["cells"]:
            size = cell["predictions_bytes"]
            whole = {"threads": 1, **cell}
            source = f"{run['studies']:,} studies"
            yield from samples_of(whole, source, tokens=tokens, size=size, alone=True, worker=True)


def of_growth(
    runs: Sequence[Mapping[str, Any]], *, tokens: float, columns: int
) -> Iterator[Sample]:
    """The cells of `tests/perf/scale.py --growth FILE`, whose rows have so many tokens, columns."""
    for run in runs:
        for cell in run["cells"]:
            rows = {name: cell[name] for name in ("train", "valid", "test")}
            record = {**cell, "cell": cell, "columns": columns, "rows": rows, "threads": 1}
            source = f"{run['studies']:,} studies (growth)"
            yield from samples_of(record, source, tokens=tokens, alone=True)


def samples_of(
    record: Mapping[str, Any],
    source: str,
    *,
    tokens: float,
    size: float | None = None,
    alone: bool = False,
    worker: bool = False,
) -> Iterator[Sample]:
    """The sample of a record, and that of the texts it embedded, where it did.

    `alone`: the machine did nothing else; `worker`: the process held these rows and no others, so
    that its memory tells something.
    """
    cell, rows, notes = record["cell"], record["rows"], record.get("notes", {})
    labels = len(record.get("target", {}).get("classes", "ab"))
    kind = kind_of(cell, notes)
    seconds = {k: v for k, v in record["seconds"].items() if k != "spared"}
    train = rows["train"]
    values = {
        "rows": train + rows["valid"] + rows["test"],
        "train": train + (train + rows["valid"] if "refit" in notes else 0),
        "predicted": rows["valid"] + rows["test"],
        "tested": rows["test"],
        "tokens": tokens if cell["inputs"] in ("text", "both") else 0,
        "columns": record["columns"],
        "trials": len(record.get("tuning", {}).get("trials", ())),
        "threads": record["threads"],
        "once": sum(seconds.get(phase, 0.0) for phase in ("features", "fit", "predict")),
    }
    values["busy"] = 1.0 if alone else math.e  # so that the exponent is the factor's logarithm
    if worker:
        values["all_tokens"] = tokens
    if kind == "encoder":
        params = cell["params"]
        batch = params["batch_size"] * params["accumulation"]
        values |= {"length": params["max_length"], "trained": notes["steps"] * batch}
    if labels == 2 or kind == "encoder":
        yield Sample(source, kind, values, seconds, record["peak_memory_mb"], size)
    if "embedding" in notes:
        told = notes["embedding"]
        values = {"texts": told["unique"], "threads": record["threads"], "predicted": 1}
        yield Sample(source, "embedding", values, {"texts": told["seconds_cold"]}, 0.0)


def kind_of(cell: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    """The kind of a cell in the cost model."""
    if cell["model"] == "lightgbm":
        if cell["inputs"] == "tabular":
            return "trees"
        return "embedded" if "embedding" in notes else "lsa"
    names = {"tfidf-logreg": "tfidf", "encoder": "encoder", "blend": "blend"}
    return names.get(cell["model"], "floor")
