"""Figures for papers, drawn from a results folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from benchmark.across import across, diagram
from benchmark.contenders import STOPPED, tables
from benchmark.curves import curves, reliability
from benchmark.drawing import GREY, Look, check_suffix, legend, looks, panels, plain, save, styled
from benchmark.explanations import explain
from benchmark.leaderboard import GROUP, Board, leaderboard
from benchmark.metrics import label_of, metric_of
from benchmark.render.layout import metric_title, number, records
from benchmark.splits import family
from benchmark.store import Store
from features.errors import InputError, unknown_name
from models.base import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GRID = np.linspace(0, 1, 201)
_CURVES = {
    "roc": ("roc_auc", "false positive rate", "true positive rate", "lower right"),
    "pr": ("average_precision", "recall", "precision", "lower left"),
}
_FIELDS = 7
"""Fields of a model that are told apart; the others are drawn as one."""
_NAMED, _LETTER = 0.05, 0.0105
"""The least share that is named, and what share a letter of its name takes."""
_LEAST_SECONDS = 0.01


def plot(store: Store, kind: str, file: Path, *, metric: str | None = None) -> None:
    """Draw one of `KINDS` and write it to `file` (.pdf, .svg or .png).

    `metric` is that of scores, cost and cd (default: the config's first). Raises `InputError` for
    an unknown kind or suffix, and where the folder has nothing of that kind.
    """
    if kind not in KINDS:
        raise unknown_name("figure", kind, KINDS)
    check_suffix(file)
    with styled():
        save(KINDS[kind](store, metric), file)


def scores(store: Store, metric: str | None) -> Figure:
    """Values as dots, 95 % intervals as bars, the best on top; a dotted line at the best floor."""
    board = leaderboard(store, metric)
    found = list(_tables(board))
    figure, axes = panels(len(found), columns=1, size=(5.5, 0.9 + 0.17 * _most(found)))
    for one, (title, rows) in zip(axes, found, strict=True):
        shown = sorted(_defined(rows.iloc[::-1]), key=lambda row: bool(row["is_ceiling"]))
        for place, row in enumerate(shown):
            floor, ceiling = row["is_floor"], row["is_ceiling"]
            colour = GREY if floor or ceiling else "black"
            one.plot([row["low"], row["high"]], [place, place], color=colour, zorder=1)
            face = "white" if floor or ceiling else colour
            marker = "D" if ceiling else "o"
            one.plot(row["value"], place, marker=marker, color=colour, markerfacecolor=face, ms=4)
        names = [_name(row) + " (floor)" * row["is_floor"] for row in shown]
        one.set_yticks(range(len(shown)), list(map(plain, names)))
        _mark_floor(one, rows)
        one.set_xlabel(_axis(rows))
        one.set_title(plain(title), loc="left")
        one.margins(y=0.06)
    return figure


def cost(store: Store, metric: str | None) -> Figure:
    """Value against seconds of fit; a line joins the models that none beats in both."""
    board = leaderboard(store, metric)
    found = list(_tables(board))
    look = _looks(board)
    figure, axes = panels(len(found), size=(3.6, 3.1))
    for one, (title, rows) in zip(axes, found, strict=True):
        shown = [row for row in _defined(rows) if row["fit_seconds"] is not None]
        for row in shown:
            own, seconds = look[_name(row)], max(row["fit_seconds"], _LEAST_SECONDS)
            one.plot([seconds] * 2, [row["low"], row["high"]], color=own.colour, lw=0.7)
            one.plot(seconds, row["value"], own.marker, color=own.colour, ms=5,
                     label=plain(_name(row)))  # fmt: skip
        best = _frontier(shown)
        one.plot(
            [max(row["fit_seconds"], _LEAST_SECONDS) for row in best],
            [row["value"] for row in best],
            color=GREY, ls=":", zorder=0, drawstyle="steps-post",
        )  # fmt: skip
        one.set_xscale("log")
        one.set_xlabel("seconds of features and fit")
        one.set_ylabel(_axis(rows))
        one.set_title(plain(title), loc="left")
        legend(one, [row["model"] for row in shown])
    return figure


def roc(store: Store, metric: str | None) -> Figure:
    """ROC curves, averaged over seeds and folds at each false positive rate (Fawcett 2006)."""
    return _curves(store, "roc")


def pr(store: Store, metric: str | None) -> Figure:
    """Precision-recall curves, averaged over seeds and folds at each recall."""
    return _curves(store, "pr")


def calibration(store: Store, metric: str | None) -> Figure:
    """What was said against what happened, in ten bins of as many rows; the first seed's."""
    points = _with_table(reliability(store))
    board = leaderboard(store, "brier")
    look = _looks(board)
    found = list(_by_label(board, points, "brier"))
    figure, axes = panels(len(found), size=(3.2, 3.2))
    for one, (title, rows, own) in zip(axes, found, strict=True):
        one.plot([0, 1], [0, 1], color=GREY, lw=0.7, ls=":")
        shown = [row for row in _defined(rows) if not row["is_floor"]]
        for row in shown:
            bins = own[own["name"] == _name(row)]
            bins = bins[(bins["seed"] == bins["seed"].iloc[0])]
            bins = bins[bins["split"] == bins["split"].iloc[0]]
            is_mended = bins["calibrated"].any()
            bins = bins[bins["calibrated"] == is_mended]
            style = look[_name(row)]
            value = f"  {number(row['value'])}" if row["metric"] == "brier" else ""
            label = f"{_name(row)}{', calibrated' * bool(is_mended)}{value}"
            one.plot(bins["said"], bins["happened"], color=style.colour, ls=style.line,
                     marker=style.marker, ms=3, label=plain(label))  # fmt: skip
        one.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        one.set_xlabel("mean predicted probability")
        one.set_ylabel("share that is positive")
        one.set_title(plain(title), loc="left")
        heading = "Brier score" if rows["metric"].iloc[0] == "brier" else None
        legend(one, list(map(_name, shown)), title=heading, loc="upper left")
    return figure


def tuning(store: Store, metric: str | None) -> Figure:
    """Each trial's mean score over inner folds as a dot, the best so far as a line, the choice as a
    ring; the first seed's.
    """
    found = []
    for table in tables(store.plan()["cells"]):
        studies: dict[str, Mapping[str, Any]] = {}
        for entry in table.entries:
            record = store.record(entry["path"])
            if record is not None and record["status"] == "done" and "tuning" in record:
                studies.setdefault(f"{entry['model']}/{entry['inputs']}", record["tuning"])
        if studies:
            found.append((table.place, studies))
    if not found:
        raise InputError(f"{store.root}: no model was tuned", "a run with `tune: true`")
    look = looks(name for _, studies in found for name in studies)
    titles = _titles([place for place, _ in found])
    figure, axes = panels(len(found), size=(3.6, 2.8))
    for one, title, (_, studies) in zip(axes, titles, found, strict=True):
        for name, study in studies.items():
            _study(one, name, study, look[name])
        objective = next(iter(studies.values()))["objective"]
        sign = "" if metric_of(objective).higher_is_better else "-"
        one.set_xlabel("trial")
        one.set_ylabel(f"{sign}{metric_title(objective).removesuffix(' ↓')} on inner folds")
        one.set_title(plain(title), loc="left")
        legend(one, list(studies), loc="lower right")
    return figure


def shares(store: Store, metric: str | None) -> Figure:
    """The share of each field in what a model looked at; text fields are hatched."""
    pages = explain(store)
    titles = _titles(pages)
    most = max(len(page["models"]) for page in pages)
    figure, axes = panels(len(pages), columns=1, size=(6.5, 0.8 + 0.34 * most))
    for one, title, page in zip(axes, titles, pages, strict=True):
        for place, model in enumerate(reversed(page["models"])):
            _stack(one, place, model)
        names = [f"{model['model']}/{model['inputs']}" for model in reversed(page["models"])]
        one.set_yticks(range(len(names)), list(map(plain, names)))
        one.set_xlim(0, 1)
        one.set_xlabel("share of the attribution (hatched: text)")
        one.set_title(plain(title), loc="left")
    return figure


def cd(store: Store, metric: str | None) -> Figure:
    """The critical difference diagram over the folder's tasks (Demšar 2006)."""
    board = leaderboard(store, metric)
    return diagram(across([board], board.metrics[0]))


KINDS: dict[str, Callable[[Store, str | None], Figure]] = {
    "roc": roc,
    "pr": pr,
    "reliability": calibration,
    "scores": scores,
    "cost": cost,
    "tuning": tuning,
    "shares": shares,
    "cd": cd,
}


def _curves(store: Store, kind: str) -> Figure:
    metric, x_label, y_label, usual = _CURVES[kind]
    points = _with_table(curves(store, points=None))
    points = points[points["kind"] == kind]
    board = leaderboard(store, metric)
    look = _looks(board)
    found = list(_by_label(board, points, metric))
    figure, axes = panels(len(found), size=(3.2, 3.2))
    for one, (title, rows, own) in zip(axes, found, strict=True):
        if kind == "roc":
            one.plot([0, 1], [0, 1], color=GREY, lw=0.7, ls=":")
        else:
            one.axhline(rows["prevalence"].iloc[0], color=GREY, lw=0.7, ls=":")
        shown = [row for row in _defined(rows) if not row["is_floor"]]
        for row in shown:
            style = look[_name(row)]
            y = _averaged(own[own["name"] == _name(row)], kind)
            label = f"{_name(row)}  {number(row['value'])}"
            one.plot(_GRID, y, color=style.colour, ls=style.line, label=plain(label))
        one.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
        one.set_xlabel(x_label)
        one.set_ylabel(y_label)
        one.set_title(plain(title), loc="left")
        rare = kind == "pr" and rows["prevalence"].iloc[0] < 0.5  # curves leave the top free
        corner = "upper right" if rare else usual
        legend(one, list(map(_name, shown)), loc=corner, title=metric_title(metric))
    return figure


def _averaged(points: pd.DataFrame, kind: str) -> Floats:
    """The curve at `_GRID`, (201,), averaged over seeds and folds.

    Between its points a ROC curve is straight, and precision is that of the next point: a recall in
    between is reached by no threshold.
    """
    found = []
    for _, one in points.groupby(["seed", "split"], sort=False):
        x, y = (one[name].to_numpy(np.float64) for name in ("x", "y"))
        if kind == "roc":
            found.append(np.interp(_GRID, x, y))
        else:
            next_point = np.searchsorted(x, _GRID, side="left")
            found.append(y[np.minimum(next_point, len(y) - 1)])
    return np.asarray(np.mean(found, axis=0))


def _with_table(points: pd.DataFrame) -> pd.DataFrame:
    """Points with the table that they belong to, and their model's name."""
    if points.empty:
        raise InputError("no finished cell to draw", "at least one", "see `trialmark status`")
    return points.assign(
        table=[family(split) for split in points["split"]],
        name=points["model"] + "/" + points["inputs"],
    )


def _by_label(
    board: Board, points: pd.DataFrame, metric: str
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Title, board rows of the metric and points of each table; of each of its classes or labels,
    if it has several. Only ROC-AUC and AP are known by label: else the rows have another metric.
    For AP both classes of two: the rarer one is often the one that counts.
    """
    by = metric if metric == "average_precision" else "roc_auc"
    groups = list(board.rows.groupby(list(GROUP), sort=False))
    titles = _titles([dict(zip(GROUP, key, strict=True)) for key, _ in groups])
    for title, ((task, split, as_of), rows) in zip(titles, groups, strict=True):
        own = points[
            (points["task"] == task) & (points["table"] == split) & (points["as_of"] == as_of)
        ]
        if rows["kind"].iloc[0] == "binary":
            positive = rows["positive"].iloc[0]
            shown = rows[rows["metric"] == metric]
            if metric != "average_precision" or STOPPED not in set(rows["metric"]):
                yield title, shown, own[own["label"] == positive]
                continue
            yield f"{title}: {positive}", shown, own[own["label"] == positive]
            other = rows[rows["metric"] == STOPPED]
            other = other.assign(prevalence=1 - other["prevalence"])
            negative = own[own["label"] != positive]
            yield f"{title}: {negative['label'].iloc[0]}", other, negative
            continue
        for name in rows["metric"].unique():
            label = label_of(name)
            if label is not None and name == f"{by}[{label}]":
                shown = rows[rows["metric"] == name]
                head = f"{title}: {label}" if title else label
                yield head, shown, own[own["label"] == label]


def _tables(board: Board) -> Iterator[tuple[str, pd.DataFrame]]:
    """Title and rows of the ranking metric of each table."""
    groups = list(board.rows.groupby(list(GROUP), sort=False))
    titles = _titles([dict(zip(GROUP, key, strict=True)) for key, _ in groups])
    for title, (_, rows) in zip(titles, groups, strict=True):
        lead = next(name for name in board.metrics if name in set(rows["metric"]))
        yield title, rows[rows["metric"] == lead]


def _titles(places: Sequence[Mapping[str, Any]]) -> list[str]:
    """What tells each table from the others; the split where nothing does."""
    words = {"task": "{}", "split": "{} split", "as_of": "as of {}"}
    varying = [name for name in GROUP if len({str(place[name]) for place in places}) > 1]
    return [
        ", ".join(words[name].format(place[name]) for name in varying or ["split"])
        for place in places
    ]


def _looks(board: Board) -> dict[str, Look]:
    rows = board.rows
    models = records(rows.drop_duplicates(["model", "inputs"]))
    quiet = [_name(row) for row in models if row["is_floor"] or row["is_ceiling"]]
    return looks(map(_name, models), quiet=quiet)


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['model']}/{row['inputs']}" if row["inputs"] != "none" else str(row["model"])


def _defined(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows with a value, None for what is missing."""
    return [row for row in records(rows) if row["value"] is not None]


def _most(found: Sequence[tuple[str, pd.DataFrame]]) -> int:
    return max(len(rows) for _, rows in found)


def _axis(rows: pd.DataFrame) -> str:
    title = metric_title(rows["metric"].iloc[0])
    return title.replace(" ↓", " (lower is better)")


def _mark_floor(axes: Axes, rows: pd.DataFrame) -> None:
    floors = rows.loc[rows["is_floor"], "value"].dropna()
    if len(floors):
        higher = metric_of(rows["metric"].iloc[0]).higher_is_better
        axes.axvline(floors.max() if higher else floors.min(), color=GREY, lw=0.7, ls=":", zorder=0)


def _frontier(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that no other beats in seconds without being worse, cheapest first (Pareto)."""
    if not rows:
        return []
    sign = 1 if metric_of(rows[0]["metric"]).higher_is_better else -1
    best: list[Mapping[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["fit_seconds"], -sign * row["value"])):
        if not best or sign * row["value"] > sign * best[-1]["value"]:
            best.append(row)
    return best


def _study(axes: Axes, name: str, study: Mapping[str, Any], look: Look) -> None:
    """One study: pruned and failed trials leave no dot, and count in the number of trials."""
    means = [
        float(np.mean(trial["scores"])) if trial["state"] == "complete" else np.nan
        for trial in study["trials"]
    ]
    places = np.arange(len(means))
    best = np.fmax.accumulate(means)
    axes.plot(places, means, ".", color=look.colour, ms=3, alpha=0.5)
    axes.plot(places, best, color=look.colour, ls=look.line, drawstyle="steps-post",
              label=plain(name))  # fmt: skip
    chosen = study["chosen"]
    axes.plot(chosen, means[chosen], "o", color=look.colour, markerfacecolor="none", ms=7)


def _stack(axes: Axes, place: int, model: Mapping[str, Any]) -> None:
    """One model's bar: its largest fields, then all others as one."""
    found = [(row["field"], float(np.mean(row["share"]))) for row in model["fields"]]
    rest = sum(share for _, share in found[_FIELDS:])
    parts = [*found[:_FIELDS], *([("other", rest)] if rest > 0 else [])]
    left = 0.0
    for shade, (field, share) in zip(np.linspace(0.62, 0.94, len(parts)), parts, strict=True):
        is_text = field in model["text_columns"] or field == "text"
        axes.barh(place, share, left=left, color=str(shade), edgecolor="white",
                  hatch="////" if is_text else None, height=0.8)  # fmt: skip
        if share >= max(_NAMED, _LETTER * len(field)):
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            text = plain(f"{field} {share:.0%}")
            axes.text(left + share / 2, place, text, ha="center", va="center", size=5.5, bbox=box)
        left += share
