"""Commands for results folders and the machine beneath them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli_options import results
from features.errors import InputError


def own(place: str) -> Path:
    """The results folder that a command changes. Raises `InputError` for a URL elsewhere."""
    from benchmark.places import local

    folder = local(place)
    if folder is None:
        raise InputError(place, "a folder: no lock keeps runs out of a URL", "remove objects there")
    return folder


def say_refits(config: Path, folder: Path, overrides: Sequence[str] | None) -> bool:
    """Fit a cell of each model again and print how it compares; whether all pass."""
    from benchmark.determinism import refit

    passed = True
    for again in refit(config, folder, overrides=overrides if overrides is not None else ()):
        passed = passed and again.passes
        if again.same:
            how = "the same predictions"
        elif again.error:
            how = again.error
        else:
            how = f"predictions differ by up to {again.largest:.2g}"
            how += " (within the tolerance of a GPU)" if again.passes else ""
        typer.echo(f"fitted again: {again.cell.name}: {how}")
    return passed


def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR DIR...", parser=results, help="Results folders or URLs of `run`."
        ),
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR", help="The new folder or URL.")],
) -> None:
    """Join results folders of one matrix, or of several on the same rows, into a new one."""
    from benchmark.merge import merge as joined

    found = joined(folders, out)
    typer.echo(f"{out}: {found.done} of {found.planned} cells done, {found.shared} in several runs")
    for path, largest in found.moved:
        typer.echo(f"{path}: predictions differ by up to {largest:.2g}; the first run's are kept")


def gc(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=own, help="A results folder of `run`.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Remove it.")] = False,
) -> None:
    """Show what a results folder no longer needs; with --yes, remove it."""
    from benchmark.gc import collect, garbage
    from benchmark.store import Store

    found = collect(Store(folder)) if yes else garbage(Store(folder))
    for item in found:
        typer.echo(f"{item.bytes / 2**20:8.2f} MiB  {item.path}  {item.why}")
    total = sum(item.bytes for item in found) / 2**20
    what = "removed" if yes else "to remove with --yes"
    typer.echo(f"{len(found)} items of {total:.2f} MiB {what}" if found else "nothing to remove")


def doctor(
    place: Annotated[
        str, typer.Argument(metavar="[DIR]", help="Where results will go: a folder or URL.")
    ] = "results",
) -> None:
    """Say what of this machine would keep runs from working; exit code 1 on a problem."""
    from benchmark.doctor import doctor as looked
    from benchmark.places import cache_folder, store_at

    problems, store = 0, store_at(place)
    for check in looked(store.root, cache_folder(), store.bucket):
        problems += check.state == "problem"
        typer.echo(f"{check.state:<8} {check.name:<15} {check.found}")
        if check.change:
            typer.echo(f"{'':<24} -> {check.change}")
    typer.echo(f"problems: {problems}" if problems else "ready")
    raise typer.Exit(1 if problems else 0)
