"""The README's pictures, of a results folder: `python docs/pictures/make.py results/quickstart`.

`board.svg` is the leaderboard as a terminal shows it, `report.png` the top of the HTML report. The
report needs Chromium; without it only the board is drawn.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from benchmark.leaderboard import leaderboard
from benchmark.render import render
from benchmark.report import report
from benchmark.store import Store

HERE = Path(__file__).parent
MOST = 300_000
"""Bytes of a picture."""
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def board(store: Store, shown: str) -> str:
    """The leaderboard as SVG; fonts are the reader's own, so that nothing is fetched."""
    lines = render(leaderboard(store), "terminal")
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(Text(f"$ trialmark leaderboard {shown}\n", style="bold green"))
    console.print(Text.from_ansi(lines))
    svg = console.export_svg(title="trialmark", theme=MONOKAI, unique_id="board")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace(
        "Fira Code", "DejaVu Sans Mono, Menlo, Consolas"
    )


def photograph(page: str, file: Path, *, browser: str) -> None:
    """The top of an HTML page, 1400 pixels wide."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "report.html"
        source.write_text(page, encoding="utf-8")
        subprocess.run(
            [
                browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--window-size=1400,1000", "--virtual-time-budget=4000",
                f"--user-data-dir={folder}/profile", f"--screenshot={file}", source.as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def main() -> int:
    """Write the pictures beside this file; 1 if one is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="results folder of a run")
    folder = parser.parse_args().folder
    written = [HERE / "board.svg"]
    written[0].write_text(board(Store(folder), f"results/{folder.name}"), encoding="utf-8")
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is not None:
        written.append(HERE / "report.png")
        photograph(report(Store(folder), None), written[1], browser=browser)
    for file in written:
        sys.stdout.write(f"{file.name}: {file.stat().st_size:,} bytes\n")
    return int(any(file.stat().st_size > MOST for file in written))


if __name__ == "__main__":
    sys.exit(main())
