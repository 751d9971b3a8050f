"""ROC, precision-recall and reliability curves of stored predictions, as points for plots."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.contenders import arrays, target_of
from benchmark.store import Store
from models.base import Floats, Ints

NAMES = ("task", "split", "seed", "model", "inputs", "as_of")
POINTS = 200
"""Most points of a thinned curve."""
BINS = 10
"""Bins of a reliability curve; ECE has its own, of equal width."""


class Points(NamedTuple):
    """Points of one curve from its strictest threshold on: (points,) each.

    A row counts as positive at a threshold or above it; the first threshold is infinite.
    """

    x: Floats
    y: Floats
    threshold: Floats


def roc_points(y: Ints, score: Floats) -> Points:
    """False positive rate and true positive rate, from (0, 0) to (1, 1).

    `y` (n,) of 0 and 1 holds both. One point a distinct score; the area under the straight lines
    between them is ROC-AUC with ties counted half.
    """
    hits, seen, threshold = _counts(y, score)
    misses = seen - hits
    return Points(misses / misses[-1], hits / hits[-1], threshold)


def pr_points(y: Ints, score: Floats) -> Points:
    """Recall and precision, from recall 0 to 1; `y` (n,) of 0 and 1 holds both.

    One point a distinct score; the sum of each point's precision times its gain in recall is
    average precision. Nothing is predicted at the first point: its precision is set to 1.
    """
    hits, seen, threshold = _counts(y, score)
    return Points(hits / hits[-1], np.append(1.0, hits[1:] / seen[1:]), threshold)


def _counts(y: Ints, score: Floats) -> tuple[Floats, Floats, Floats]:
    """Positives and rows at or above each distinct score, highest first, after a first 0."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    ends = np.append(np.flatnonzero(ranked[1:] < ranked[:-1]), len(ranked) - 1)
    hits, seen = np.cumsum(y[order])[ends], ends + 1
    threshold = np.append(np.inf, ranked[ends])
    return np.append(0.0, hits), np.append(0.0, seen), threshold


class Bins(NamedTuple):
    """Rows of similar probability, (bins,) each, by rising probability.

    `said` is their mean probability, `happened` the share of positives with its 95 % interval from
    `low` to `high`, `rows` their number.
    """

    said: Floats
    happened: Floats
    low: Floats
    high: Floats
    rows: Ints


def reliability_bins(y: Ints, score: Floats, *, bins: int = BINS) -> Bins:
    """Points of a reliability curve: `bins` bins of about as many rows each, by quantiles of score.

    `y` is (n,) of 0 and 1. Rows of equal score share a bin, so there are fewer bins where scores
    repeat. The interval is Wilson's (1927), which stays inside 0 to 1.
    """
    edges = np.unique(np.quantile(score, np.arange(1, bins) / bins))
    _, place = np.unique(np.searchsorted(edges, score, side="left"), return_inverse=True)
    rows = np.bincount(place)
    said, share = (np.bincount(place, values) / rows for values in (score, y))
    z = NormalDist().inv_cdf(0.975)
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    reach = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2)
    low, high = np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1)
    return Bins(said, share, low, high, rows)


KINDS = {"roc": roc_points, "pr": pr_points}


def thinned(points: Points, most: int = POINTS) -> Points:
    """At most `most` (2 or more) of the points: both ends, then what bends the curve most.

    The algorithm of Ramer 1972 and Douglas & Peucker 1973, which adds the point that lies farthest
    from the line drawn so far; it stops at a number of points rather than at a distance, and
    before it where all others lie on the line.
    """
    x, y, _ = points
    kept, pieces = [0, len(x) - 1], list[tuple[float, int, int, int]]()

    def offer(start: int, end: int) -> None:
        if end - start > 1:
            distance = _distances(x[start : end + 1], y[start : end + 1])
            place = int(distance.argmax())
            if distance[place] > 0:
                heapq.heappush(pieces, (-float(distance[place]), start, start + 1 + place, end))

    offer(0, len(x) - 1)
    while pieces and len(kept) < most:
        _, start, middle, end = heapq.heappop(pieces)
        kept.append(middle)
        offer(start, middle)
        offer(middle, end)
    places = np.unique(kept)
    return Points(*(values[places] for values in points))


def _distances(x: Floats, y: Floats) -> Floats:
    """Of the inner points to the line through the first and the last (or to that one point)."""
    dx, dy = x[-1] - x[0], y[-1] - y[0]
    length = float(np.hypot(dx, dy))
    from_x, from_y = x[1:-1] - x[0], y[1:-1] - y[0]
    if length == 0:
        return np.asarray(np.hypot(from_x, from_y))
    distance = np.abs(dx * from_y - dy * from_x) / length
    # what is left of a point on the line after rounding
    return np.where(distance < 1e-12, 0.0, distance)


def reliability(store: Store, *, bins: int = BINS) -> pd.DataFrame:
    """Reliability curves of the test rows: a row a bin, see `reliability_bins`.

    Columns task, split, seed, model, inputs, as_of, label, calibrated, said, happened, low, high
    and rows. Each class or label stands against the rest. `calibrated` is False for probabilities
    as a model gave them; a cell with calibration has both.
    """
    frames = [f for entry in store.plan()["cells"] for f in _reliability(store, entry, bins)]
    columns = [*NAMES, "label", "calibrated", *Bins._fields]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _reliability(store: Store, entry: Mapping[str, Any], bins: int) -> Iterator[pd.DataFrame]:
    record = store.record(entry["path"])
    if record is None or record["status"] != "done":
        return
    target, frame = target_of(record), store.predictions(entry["path"])
    test = frame[frame["part"] == "test"]
    truth, _ = arrays(test, target)
    calibrated = f"raw_{target.classes[0]}" in test
    forms = {"p": calibrated, **({"raw": False} if calibrated else {})}
    for prefix, is_calibrated in forms.items():
        for place, label in enumerate(target.classes):
            y = truth[:, place] if truth.ndim == 2 else (truth == place).astype(np.int64)
            found = reliability_bins(y, test[f"{prefix}_{label}"].to_numpy(np.float64), bins=bins)
            names = {name: entry[name] for name in NAMES}
            about = {"label": label, "calibrated": is_calibrated}
            yield pd.DataFrame({**names, **about, **found._asdict()})


def curves(store: Store, *, points: int | None = POINTS) -> pd.DataFrame:
    """Curves of the test rows: a row a point, in the order of the thresholds from high to low.

    Columns task, split, seed, model, inputs, as_of, label, kind (`roc`: x is the false positive
    rate and y the true one; `pr`: x is recall and y precision), x, y and threshold. Each class or
    label stands against the rest; one that no or every test row has is left out. A curve has at
    most `points` points (None: all).
    """
    frames = [frame for entry in store.plan()["cells"] for frame in _of_cell(store, entry, points)]
    columns = [*NAMES, "label", "kind", "x", "y", "threshold"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _of_cell(store: Store, entry: Mapping[str, Any], points: int | None) -> Iterator[pd.DataFrame]:
    record = store.record(entry["path"])
    if record is None or record["status"] != "done":
        return
    target, frame = target_of(record), store.predictions(entry["path"])
    truth, proba = arrays(frame[frame["part"] == "test"], target)
    for place, label in enumerate(target.classes):
        y = truth[:, place] if truth.ndim == 2 else (truth == place).astype(np.int64)
        if y.min() == y.max():
            continue
        for kind, find in KINDS.items():
            found = find(y, proba[:, place])
            found = found if points is None else thinned(found, points)
            names = {name: entry[name] for name in NAMES}
            yield pd.DataFrame({**names, "label": label, "kind": kind, **found._asdict()})
