"""The command `trialmark`: parses, calls the functions of `benchmark`, prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benchmark.cli_data import data, emit
from benchmark.cli_folders import doctor, gc, merge, say_refits
from benchmark.cli_options import Config, Folder, Metric, Output, Overrides, Rendering, results
from benchmark.cli_replay import replay
from benchmark.cli_statistics import across, stress
from features.errors import InputError, one_line

if TYPE_CHECKING:
    from benchmark.leaderboard import Board

app = typer.Typer(
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(data, name="data")


@app.callback()
def trialmark(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True)
    ] = False,
) -> None:
    """Benchmark hybrid tabular-plus-text classifiers on study records.

    --debug, anywhere, shows the traceback of a mistake.
    """
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"trialmark {installed('trialmark')}")
        raise typer.Exit


@app.command()
def run(
    config: Config,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Results folder, or a URL such as s3://bucket/run (default: results/<name>).",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Cells fitted at the same time (default: 1; on Ray: all there is room)."),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(help="serial, process or ray (default: process for several jobs)."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="A Ray cluster (default: one started on this machine)."
        ),
    ] = None,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="Fit only the cells that failed before.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop where the audit finds something serious.")
    ] = False,
    check_determinism: Annotated[
        bool,
        typer.Option(
            "--check-determinism", help="Then fit one cell of each model again and compare."
        ),
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Run a benchmark matrix and print its leaderboard. Run again to go on where it stopped."""
    from benchmark.matrix import run as run_config
    from benchmark.progress import watching

    try:
        with watching() as watcher:
            done = run_config(
                config,
                out=out,
                jobs=jobs,
                executor=executor,
                address=address,
                only_failed=only_failed,
                strict=strict,
                overrides=overrides if overrides is not None else (),
                watcher=watcher,
            )
    except KeyboardInterrupt:
        _say("trialmark: interrupted; the same command goes on from here")
        raise typer.Exit(130) from None
    states = done.status()["state"]
    if (states == "done").any():
        _show(done.board(), "terminal", None)
    else:
        _say(f"no cell is done; `trialmark status {done.folder if out is None else out}` says why")
    same = not check_determinism or say_refits(config, done.folder, overrides)
    raise typer.Exit(0 if same and states.isin(("done", "dropped")).all() else 1)


@app.command()
def status(
    place: Annotated[str, typer.Argument(metavar="DIR", help="A results folder or URL of `run`.")],
) -> None:
    """Say which cells are done, failed, missing or dropped, and why."""
    from benchmark.lock import writer
    from benchmark.matrix import read

    folder = results(place)
    frame = read(folder).status()
    counts = frame["state"].value_counts()
    names = ("done", "failed", "missing", *(["dropped"] if "dropped" in counts else []))
    total = ", ".join(f"{counts.get(state, 0)} {state}" for state in names)
    typer.echo(f"{len(frame)} cells: {total}")
    if (at_work := writer(folder)) is not None:
        typer.echo(f"being written by {at_work}")
    if 0 < counts.get("done", 0) < len(frame):
        typer.echo(f"so far: trialmark leaderboard {place}")
    records = (file.parent for file in folder.glob("*/*/*/*/record.json"))
    planned = set(frame["path"])
    others = sum(path.relative_to(folder).as_posix() not in planned for path in records)
    if others > 0:
        typer.echo(f"{others} results of other settings or earlier code are in the folder too")
    for row in frame[frame["state"] != "done"].itertuples():
        why = f": {one_line(row.error, 300)}" if row.error else ""
        what = f"{row.task} {row.split} seed {row.seed} {row.model} {row.inputs}"
        typer.echo(f"{row.state}  {what}  as of {row.as_of}{why}")


@app.command()
def leaderboard(
    folder: Folder,
    format: Annotated[
        Literal["terminal", "markdown", "latex", "html", "csv", "json"],
        typer.Option(help="How to write it; html is a report with charts."),
    ] = "terminal",
    layout: Annotated[
        Literal["splits", "metrics", "ablation", "cost"] | None,
        typer.Option(
            help="A paper's table: one metric by splits (default of latex), one split by metrics, "
            "inputs against all of them, or what the models cost."
        ),
    ] = None,
    metric: Metric = None,
    output: Output = None,
) -> None:
    """Print the leaderboard of a results folder, finished or not."""
    from benchmark.matrix import read
    from benchmark.store import Store

    if layout is None and format == "html":
        from benchmark.report import report

        emit(report(Store(folder), metric), output)
        return
    if layout is None:
        _show(read(folder).board(metric), format, output)
        return
    from benchmark.render import lay_out, write
    from benchmark.render.paper import check_format

    check_format(layout, format)
    emit(write(lay_out(Store(folder), layout, metric), format), output)


@app.command()
def plot(
    folder: Folder,
    kind: Annotated[
        Literal["roc", "pr", "reliability", "scores", "cost", "tuning", "shares", "cd"],
        typer.Argument(
            metavar="KIND",
            help="roc, pr, reliability, scores, cost, tuning, shares "
            "(what models looked at) or cd (critical differences over tasks).",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="File to write: .pdf, .svg or .png (default: KIND.pdf).")
    ] = None,
    metric: Metric = None,
) -> None:
    """Draw a figure for a paper."""
    from benchmark.plots import plot as drawn
    from benchmark.store import Store

    file = output if output is not None else Path(f"{kind}.pdf")
    drawn(Store(folder), kind, file, metric=metric)
    typer.echo(f"wrote {file}")


@app.command()
def compare(
    folder: Folder,
    a: Annotated[str, typer.Argument(metavar="A", help="A model: its label, or label/inputs.")],
    b: Annotated[
        str | None, typer.Argument(metavar="[B]", help="Another (default: each of the others).")
    ] = None,
    metric: Metric = None,
) -> None:
    """Print the paired difference A - B with its 95 % interval and p values."""
    from benchmark.matrix import read
    from benchmark.render import difference_tables, write

    typer.echo(write(difference_tables(read(folder).compare(a, b, metric)), "terminal"))


@app.command()
def explain(
    folder: Folder,
    model: Annotated[
        str | None, typer.Option(help="Only this model: its label, or label/inputs.")
    ] = None,
    format: Annotated[
        Literal["terminal", "html", "json", "png"], typer.Option(help="How to write it.")
    ] = "terminal",
    output: Annotated[
        Path | None, typer.Option(help="File to write (png: folder; default: print).")
    ] = None,
) -> None:
    """Show what the models looked at: fields, words, modality share, examples."""
    from benchmark.explanations import explain as explained
    from benchmark.render.explanation import render
    from benchmark.store import Store

    pages = explained(Store(folder), model)
    if format != "png":
        emit(render(pages, format), output)
        return
    if output is None:
        raise InputError("--format png without --output", "a folder for the pictures")
    from benchmark.render.figures import write_figures

    typer.echo(f"wrote {len(write_figures(pages, output))} pictures to {output}")


@app.command()
def audit(
    config: Config,
    format: Rendering = "terminal",
    output: Output = None,
    overrides: Overrides = None,
) -> None:
    """Look for leaks and other flaws before a run; exit code 1 where one is serious."""
    from benchmark.audit.of_config import audit as audit_config
    from benchmark.audit.render import render

    report = audit_config(config, overrides if overrides is not None else ())
    emit(render(report, format), output)
    raise typer.Exit(1 if report.serious else 0)


@app.command()
def verify(folder: Folder) -> None:
    """Compute every hash and stored score of a results folder again, without training."""
    from benchmark.store import Store
    from benchmark.verify import verify as proven

    found = proven(Store(folder))
    for mismatch in found.mismatches:
        typer.echo(f"mismatch  {mismatch.file}: {mismatch.why}")
    for name in found.unproven:
        typer.echo(f"unproven  {name}: nothing in the folder vouches for it")
    typer.echo(
        f"{len(found.proven)} files match, {len(found.mismatches)} do not, {len(found.unproven)} "
        f"are unproven; {found.scores} scores of leaderboard.json computed again"
    )
    raise typer.Exit(1 if found.mismatches else 0)


@app.command()
def diff(
    run_a: Annotated[
        Path,
        typer.Argument(metavar="RUN_A", parser=results, help="A results folder or URL of `run`."),
    ],
    run_b: Annotated[
        Path, typer.Argument(metavar="RUN_B", parser=results, help="The one to compare it with.")
    ],
) -> None:
    """Print what changed from one run to another, and which scores moved with it."""
    from benchmark.diff import diff as between
    from benchmark.render import write
    from benchmark.render.changes import diff_tables
    from benchmark.store import Store

    typer.echo(write(diff_tables(between(Store(run_a), Store(run_b))), "terminal"))


app.command()(stress)
app.command()(across)
app.command()(replay)
app.command()(merge)
app.command()(gc)
app.command()(doctor)


@app.command(name="list")
def list_names(
    what: Annotated[
        Literal["models", "tasks", "splits", "metrics", "readers", "claims"],
        typer.Argument(metavar="WHAT"),
    ],
) -> None:
    """List the models, tasks, splits, metrics or readers a config can name, or the claims."""
    from benchmark.catalogue import catalogue

    entries = catalogue(what)
    width = max(len(name) for name in entries)
    for name, about in entries.items():
        typer.echo(f"{name:<{width}}  {about}")


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path(
        "trialmark.yaml"
    ),
) -> None:
    """Write a commented starter config; an existing file is left alone."""
    from benchmark.starter import write_starter

    write_starter(file)
    typer.echo(f"wrote {file}; run it with: trialmark run {file}")


def _show(board: Board, format: str, output: Path | None) -> None:
    from benchmark.render import render

    emit(render(board, format), output)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def main() -> None:
    """Entry point: a mistake of the user's is one line on stderr and exit code 2."""
    words = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        app(words, prog_name="trialmark")
    except InputError as error:
        if "--debug" in sys.argv:
            raise
        _say(f"trialmark: {error}")
        sys.exit(2)


if __name__ == "__main__":
    main()
