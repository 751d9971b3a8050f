"""The command `trialmark replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli_data import emit
from benchmark.cli_options import Output, Overrides, Rendering


def replay(
    claim: Annotated[
        str, typer.Argument(metavar="CLAIM", help="See `trialmark list claims`; or a YAML file.")
    ],
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score the claim's numbers again from this CSV or Parquet file."),
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="Its column of ids.")] = None,
    score_column: Annotated[
        str | None, typer.Option(help="Its column of probabilities of the positive class.")
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Its column of labels, 0 and 1 (default: the claim's data).")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Results folder or URL of the run (default: results/replay-CLAIM)."
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Cells fitted at the same time.")] = 1,
    format: Rendering = "terminal",
    output: Output = None,
    overrides: Overrides = None,
) -> None:
    """Put a published table beside our own numbers, or score predictions of it again.

    Exit code 1 where it can't be replayed here, or a cell failed; what there is is printed.
    """
    from benchmark.predicted import Names
    from benchmark.progress import watching
    from benchmark.published import load_claim
    from benchmark.render import write
    from benchmark.render.replay import replay_json, replay_tables
    from benchmark.replay import beside, rescore

    chosen = load_claim(claim)
    changes = overrides if overrides is not None else []
    if predictions is not None:
        names = Names(id_column, score_column, label_column)
        found = rescore(chosen, predictions, names, changes)
    else:
        try:
            with watching() as watcher:
                found = beside(chosen, out=out, jobs=jobs, overrides=changes, watcher=watcher)
        except KeyboardInterrupt:
            typer.echo("trialmark: interrupted; the same command goes on from here", err=True)
            raise typer.Exit(130) from None
    text = replay_json(found) if format == "json" else write(replay_tables(found), format)
    emit(text, output)
    raise typer.Exit(1 if found.missing is not None or found.not_done else 0)
