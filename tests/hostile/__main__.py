"""Gives hostile inputs to every reader, the config and every renderer, and says what came of it.

    PYTHONPATH=tests python -m hostile

`--every N` takes each N-th input only. Nothing may end in a traceback, hang for 10 s, write outside
its folder, start a process, connect, unpickle, or take more than 2 GiB; exit code 1 where it does.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.card import describe, render_card
from benchmark.config import load
from benchmark.gc import garbage
from benchmark.matrix import read
from benchmark.merge import merge
from benchmark.readers import READERS
from benchmark.render import FORMATS, difference_tables, render, write
from benchmark.report import report
from benchmark.store import Store
from benchmark.verify import verify

from .configs import OVERRIDES, START, configs
from .files import NASTY, files
from .folders import folders
from .watch import Watch

OPTIONS: dict[str, dict[str, Any]] = {
    "table": {"target": "y", "text": ["t"], "numeric": ["n"], "id": "id"},
    "top": {"phase": "I"},
}
"""What a reader must be told besides the path."""


def main() -> int:
    """Exit code 0 where nothing was found."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--every", type=int, default=1)
    every = words.parse_args().every
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        os.chdir(scratch)
        for reader in READERS.values():
            importlib.import_module(reader)
        watch = Watch(scratch)
        _warm(watch)
        for group in (_readers, _configs, _folders):
            for number, (name, steps) in enumerate(group(scratch)):
                if number % every == 0:
                    watch.seen.inputs += 1
                    for step, call in steps:
                        watch(f"{name} -> {step}", call)
        strays = [path.name for path in scratch.rglob("pwned")]
    for finding in watch.findings:
        sys.stdout.write(f"{finding.name}: {finding.what}\n")
    seen = watch.seen
    sys.stdout.write(
        f"{seen.inputs} hostile inputs, {seen.steps} times read or rendered: {seen.refused} "
        f"refused with one line, {len(watch.findings) + len(strays)} findings; slowest "
        f"{seen.seconds:.1f} s, largest {seen.mebibytes:.0f} MiB\n"
    )
    return 1 if watch.findings or strays else 0


Group = Iterator[tuple[str, list[tuple[str, Any]]]]


def _warm(watch: Watch) -> None:
    """What is loaded once is no input's own time or memory."""
    watch("warm", lambda: load({"splits": "stratified", "models": "prior"}))


def _readers(scratch: Path) -> Group:
    for number, (name, content) in enumerate(files()):
        folder = scratch / f"input-{number}"
        for file, data in content.items():
            place = folder / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        one = folder if len(content) > 1 else folder / next(iter(content))
        steps = [(reader, _reading(reader, one)) for reader in READERS if reader != "synthetic"]
        steps += [("top", _reading("top", [one]))] if len(content) == 1 else []
        yield name, [*steps, ("describe", _describing(one))]


def _reading(reader: str, path: Any) -> Any:
    module = importlib.import_module(READERS[reader])

    def step() -> Any:
        return module.read(module.Options(path=path, **OPTIONS.get(reader, {})))

    return step


def _describing(path: Path) -> Any:
    return lambda: render_card(describe(path, None), "terminal")


def _configs(scratch: Path) -> Group:
    for number, (name, text) in enumerate(configs()):
        file = scratch / f"config-{number}.yaml"
        file.write_bytes(text)
        yield name, [("load", lambda file=file: load(file))]
    file = scratch / "config.yaml"
    file.write_text(START)
    for override in OVERRIDES:
        yield f"--set {override[:40]}", [("load", lambda o=override: load(file, [o]))]


def _folders(scratch: Path) -> Group:
    whole = None
    for number, (name, folder) in enumerate(folders(scratch / "runs")):
        out = scratch / f"merged-{number}"
        whole = whole if whole is not None else folder
        steps: list[tuple[str, Any]] = [
            ("status", lambda f=folder: read(f).status()),
            ("verify", lambda f=folder: verify(Store(f))),
            ("gc", lambda f=folder: garbage(Store(f))),
            ("merge", lambda f=folder, out=out: merge([f, f], out)),
            (
                "compare",
                lambda f=folder: write(difference_tables(read(f).compare("other")), "terminal"),
            ),
            ("report", lambda f=folder: _safe_html(report(Store(f)))),
        ]
        steps += [
            (form, lambda f=folder, form=form: _safe(form, render(read(f).board(), form)))
            for form in FORMATS
        ]
        yield name, steps


def _safe(form: str, text: str) -> None:
    """Raise `AssertionError` where what a reader of the text would obey is in it."""
    if form == "terminal":
        text = text.replace("\x1b[", "", 0)
    assert "\x00" not in text, "nul"
    assert "\u202e" not in text, "right-to-left override"
    if form != "json":
        assert "\x1b[31mred" not in text, "escape code"
    if form == "csv":
        assert not any(line.startswith(("=", "+", "@")) for line in text.splitlines()), "formula"
        assert f",{NASTY[1][:5]}" not in text, "formula"
    if form in ("markdown", "html"):
        assert "<script>alert" not in text, "script"


def _safe_html(text: str) -> None:
    assert "<script>alert" not in text, "script"


if __name__ == "__main__":
    sys.exit(main())
