"""The registry of readers: a module with `Options` (pydantic) and `read(options) -> Rows`."""

from __future__ import annotations

READERS = {
    "synthetic": "benchmark.readers.synthetic",
    "table": "benchmark.readers.table",
    "trials": "benchmark.readers.trials",
    "auto": "benchmark.readers.auto",
    "ctgov-csv": "benchmark.readers.ctgov_csv",
    "ctgov-json": "benchmark.readers.ctgov_json",
    "ctgov-xml": "benchmark.readers.ctgov_xml",
    "aact": "benchmark.readers.aact",
    "aero": "benchmark.readers.aero",
    "top": "benchmark.readers.top",
    "trialbench": "benchmark.readers.trialbench",
    "pubmed-xml": "benchmark.readers.pubmed_xml",
    "medline": "benchmark.readers.medline",
    "articles": "benchmark.readers.articles",
}
