"""Models across tasks: mean ranks, Friedman's test, and Nemenyi's for every pair (Demšar 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from benchmark.cells import REDACTED
from benchmark.drawing import plain, save, styled
from benchmark.leaderboard import Board
from benchmark.metrics import metric_of
from benchmark.significance import ALPHA
from features.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST = 3
"""Tasks, and models, below which the tests aren't made."""


@dataclass(frozen=True)
class Across:
    """Models that stand in every table, over tasks.

    `values` is tasks x models, the mean of a task's tables (splits, as-of levels: they share rows,
    so a task counts once). `mean_ranks` has the best first. `p` is Friedman's, `nemenyi` holds the
    p of each pair, `critical` is the least difference of mean ranks that is one at .05. Where a
    test makes no sense all three are None, and `why` says why.
    """

    metric: str
    values: pd.DataFrame
    mean_ranks: pd.Series
    p: float | None = None
    nemenyi: pd.DataFrame | None = None
    critical: float | None = None
    why: str = ""

    def frame(self) -> pd.DataFrame:
        """One row a model, best first: its mean rank, value by task, and the tests' results."""
        models = pd.DataFrame({"model": self.mean_ranks.index, "mean_rank": self.mean_ranks.values})
        values = pd.Series(self.values[self.mean_ranks.index].T.to_dict("records"), dtype=object)
        return models.assign(
            values=values, metric=self.metric, p=self.p, critical=self.critical, why=self.why
        )


def across(boards: Sequence[Board], metric: str) -> Across:
    """Compare the models that all tables of these boards rank.

    Tasks of different data are different tasks, whatever their names. Raises `InputError` where no
    model stands in every table that has the metric, or the boards' scoring versions differ.
    """
    higher = metric_of(metric).higher_is_better
    values = _values(boards, metric)
    ranks = values.rank(axis=1, ascending=not higher).mean().sort_values(kind="stable")
    why = _why_not(values)
    if why:
        return Across(metric, values, ranks, why=why)
    from scikit_posthocs import posthoc_nemenyi_friedman
    from scipy.stats import friedmanchisquare

    return Across(
        metric,
        values,
        ranks,
        p=float(friedmanchisquare(*values.to_numpy().T).pvalue),
        nemenyi=posthoc_nemenyi_friedman(values),
        critical=critical_difference(*values.shape),
    )


def critical_difference(tasks: int, models: int) -> float:
    """Least difference of two mean ranks that Nemenyi's test takes for one at .05 (Demšar 2006)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - ALPHA, models, math.inf)) / math.sqrt(2)
    return q * math.sqrt(models * (models + 1) / (6 * tasks))


def draw(found: Across, file: Path) -> None:
    """Write the critical difference diagram; the suffix of `file` says how (.png, .svg, .pdf).

    Raises `InputError` where no test was made.
    """
    with styled():
        save(diagram(found), file)


def diagram(found: Across) -> Figure:
    """The critical difference diagram: models joined by a bar can't be told apart.

    Raises `InputError` where no test was made.
    """
    if found.nemenyi is None or found.critical is None:
        raise InputError(f"no critical difference diagram: {found.why}")
    from matplotlib.figure import Figure
    from scikit_posthocs import critical_difference_diagram

    figure = Figure(figsize=(8, 1.4 + 0.25 * len(found.mean_ranks)), layout="constrained")
    axes = figure.subplots()
    names = {str(name): plain(str(name)) for name in found.mean_ranks.index}
    critical_difference_diagram(
        found.mean_ranks.rename(names),
        found.nemenyi.rename(index=names, columns=names),
        ax=axes,
        color_palette=["black"] * len(names),
    )
    # its own bar for the critical difference runs through the numbers of the axis
    axes.set_title(
        f"mean rank by {found.metric} over {len(found.values)} tasks; critical difference "
        f"{found.critical:.2f}",
        fontsize="medium",
        pad=24,
    )
    return figure


def _values(boards: Sequence[Board], metric: str) -> pd.DataFrame:
    """Tasks x models."""
    found = pd.concat([board.rows.assign(board=board.name) for board in boards])
    found = found[~found["as_of"].str.endswith(REDACTED)]  # the same tasks once more
    found = found[(found["metric"] == metric) & found["rank"].notna() & found["value"].notna()]
    if found["scoring"].nunique() > 1:
        versions = ", ".join(map(str, found["scoring"].unique()))
        raise InputError(f"boards of scoring versions {versions}", "one", "print them again")
    found = found.assign(name=found["model"] + "/" + found["inputs"])
    table = ["dataset_fingerprint", "task", "split", "as_of"]
    stands_in = found[["name", *table]].drop_duplicates().groupby("name").size()
    everywhere = stands_in == len(found[table].drop_duplicates())
    found = found[found["name"].isin(everywhere.index[everywhere])]
    if found.empty:
        raise InputError(f"no model has {metric} in every table", "at least one")
    means = found.pivot_table(index=table[:2], columns="name", values="value", sort=False)
    homes = found.groupby(table[:2], sort=False)["board"].first()
    tasks = homes.index.get_level_values("task")
    names = [f"{task} ({home})" for task, home in zip(tasks, homes, strict=True)]
    return means.loc[homes.index].set_axis(names, axis=0).rename_axis(index="task", columns=None)


def _why_not(values: pd.DataFrame) -> str:
    tasks, models = values.shape
    if tasks < FEWEST:
        return f"{tasks} task{'s' * (tasks > 1)}, and a test over tasks needs {FEWEST} or more"
    if models < FEWEST:
        return f"{models} models in every table, and Friedman's test needs {FEWEST} or more"
    if (values.nunique(axis=1) == 1).all():
        return "all models have the same value in every task"
    return ""
