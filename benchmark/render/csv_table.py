"""Tables as CSV, as they read."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from benchmark.render.layout import Sheet


def csv_table(sheets: Sequence[Sheet]) -> str:
    """All tables in one, told apart by a first column `table`; a new header where it changes."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header: tuple[str, ...] | None = None
    for sheet in sheets:
        if sheet.header != header:
            if header is not None:
                file.write("\n")
            header = sheet.header
            writer.writerow(["table", *(name.replace("\n", " ") for name in header)])
        for row in sheet.rows:
            cells = zip(row, sheet.numeric, strict=True)
            words = (cell if right else no_formula(cell) for cell, right in cells)
            writer.writerow([no_formula(sheet.title), *words])
    return file.getvalue().rstrip("\n")


def no_formula(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
