"""The commands `trialmark data …`: import, fetch, describe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark.cli_options import Output
from features.errors import InputError, one_line

data = typer.Typer(
    help="Import, download and describe study records.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@data.command(name="import")
def import_(
    reader: Annotated[str, typer.Argument(metavar="READER", help="See `trialmark list readers`.")],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files or folders.")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    options: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of the reader; repeatable."),
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Licence of the data, for its card.")] = None,
) -> None:
    """Read records of any known format and write one Parquet file with their provenance."""
    from benchmark.importing import import_files

    done = import_files(reader, files, out, options=_options(options), licence=licence)
    typer.echo(f"wrote {done.path}: {done.rows:,} rows, {done.columns} columns")
    if done.rejected is not None:
        typer.echo(
            f"{done.left_out:,} rows left out and {done.emptied:,} cells left empty: see "
            f"{done.rejected}"
        )


@data.command()
def fetch(
    source: Annotated[Literal["ctgov", "pubmed"], typer.Argument(metavar="ctgov|pubmed")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A query of that service.")],
    out: Annotated[
        Path, typer.Option(help="File to write: .jsonl[.gz] for ctgov, .xml[.gz] for pubmed.")
    ],
) -> None:
    """Download what a query finds. Run the same command again to go on where it stopped."""
    from benchmark import fetch_ctgov, fetch_pubmed

    watch = _progress if sys.stderr.isatty() else None
    if source == "ctgov":
        manifest, what = fetch_ctgov.fetch(query, out, watch=watch), "studies"
    else:
        manifest, what = fetch_pubmed.fetch(query, out, watch=watch), "articles"
    if watch is not None:
        typer.echo("", err=True)
    for warning in manifest["warnings"]:
        typer.echo(f"warning: {one_line(warning)}", err=True)
    typer.echo(f"wrote {out}: {manifest[what]:,} {what}, sha256 {manifest['sha256']}")


@data.command()
def describe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An imported file, or any other.")],
    reader: Annotated[
        str | None, typer.Option(help="How to read it (default: recognise it).")
    ] = None,
    format: Annotated[
        Literal["terminal", "markdown", "croissant"], typer.Option(help="How to write it.")
    ] = "terminal",
    output: Output = None,
) -> None:
    """Print the data card of a file: counts, labels, gaps, duplicates, provenance."""
    from benchmark.card import describe as card_of
    from benchmark.card import render_card

    emit(render_card(card_of(file, reader), format), output)


def emit(text: str, output: Path | None) -> None:
    """Print a text, or write it to a file. Raises `InputError` where that cannot be written."""
    if output is None:
        typer.echo(text)
        return
    from rich.text import Text

    # no colour codes in a file; a text without any stays as it is, byte for byte
    plain = Text.from_ansi(text).plain if "\x1b" in text else text
    try:
        output.write_text(plain + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}", "a writable file") from None


def _options(pairs: list[str] | None) -> dict[str, str]:
    """`--set key=value` as a mapping; `\\t` is a tab, which is hard to type."""
    options = {}
    for pair in pairs if pairs is not None else ():
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise InputError(f"--set {pair}", "key=value", "as in --set encoding=cp1252")
        options[key] = text.replace("\\t", "\t")
    return options


def _progress(done: int, total: int) -> None:
    typer.echo(f"\r{done:,} of {total:,}", nl=False, err=True)
