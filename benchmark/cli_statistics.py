"""The commands `trialmark stress` and `trialmark across`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli_data import emit
from benchmark.cli_options import Folder, Metric, Output, Rendering, results
from features.errors import InputError


def stress(
    folder: Folder,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="R|CLASS=R",
            help="Share of labels replaced, or of one class's; repeatable (default: 0.31).",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Other labels instead: a CSV or Parquet with a column id.")
    ] = None,
    column: Annotated[str, typer.Option(help="The column of --labels.")] = "label",
    metric: Metric = None,
    format: Rendering = "terminal",
    output: Output = None,
) -> None:
    """Say how often the order of two models turns around when labels are wrong."""
    from benchmark.noise import read_labels, relabel
    from benchmark.noise import stress as sampled
    from benchmark.render import frame_json, stress_tables, write
    from benchmark.store import Store

    if labels is not None and rate is not None:
        raise InputError("--rate and --labels", "one of them")
    if labels is not None:
        frame = relabel(Store(folder), read_labels(labels, column), metric)
    else:
        frame = sampled(Store(folder), _rates(rate), metric)
    text = frame_json(frame) if format == "json" else write(stress_tables(frame), format)
    emit(text, output)


def across(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", parser=results, help="Results folders or URLs of `run`."),
    ],
    metric: Annotated[
        str, typer.Option("--metric", help="Metric; see `trialmark list metrics`.")
    ] = "roc_auc",
    diagram: Annotated[
        Path | None, typer.Option(help="Critical difference diagram to write: .png, .svg or .pdf.")
    ] = None,
    format: Rendering = "terminal",
    output: Output = None,
) -> None:
    """Compare models over tasks: mean ranks, Friedman's and Nemenyi's test."""
    from benchmark.across import across as compared
    from benchmark.across import draw
    from benchmark.leaderboard import leaderboard
    from benchmark.render import across_table, frame_json, write
    from benchmark.store import Store

    found = compared([leaderboard(Store(folder), metric) for folder in folders], metric)
    if diagram is not None:
        draw(found, diagram)
    json = format == "json"
    emit(frame_json(found.frame()) if json else write([across_table(found)], format), output)


def _rates(words: list[str] | None) -> float | dict[str, float]:
    """`0.31`, or `stopped=0.4` for each class."""
    from benchmark.noise import RATE

    if words is None:
        return RATE
    found: dict[str, float] = {}
    for word in words:
        name, _, number = word.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise InputError(f"--rate {word}", "a number such as 0.31, or CLASS=0.31") from None
    if "" not in found:
        return found
    if len(words) > 1:
        raise InputError(
            f"--rate {' --rate '.join(words)}", "one number, or CLASS=R for each class"
        )
    return found[""]
