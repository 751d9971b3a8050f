"""The registry of readers: a module with `Options` (pydantic) and `read(options) -> Rows`."""

from __future__ import annotations

READERS = {
    "synthetic": "benchmark.readers.synthetic",
    "table": "benchmark.readers.table",
    "trials": "benchmark.readers.trials",
    "ctgov-csv": "benchmark.readers.ctgov_csv",
}
