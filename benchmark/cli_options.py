"""Options and arguments that several commands share, and what stands for a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def results(place: str) -> Path:
    """The results folder that a command was given, or a copy of what stands at its URL."""
    from benchmark.bucket import is_url

    if not is_url(place):
        return Path(place)
    from benchmark.places import here

    return here(place)


Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML config.")]
Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", parser=results, help="A results folder or URL of `run`."),
]
Metric = Annotated[
    str | None, typer.Option("--metric", help="Metric to rank by; see `trialmark list metrics`.")
]
Output = Annotated[Path | None, typer.Option("--output", help="File to write (default: print).")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a value of the config; repeatable."),
]
Rendering = Annotated[
    Literal["terminal", "markdown", "json"], typer.Option("--format", help="How to write it.")
]
