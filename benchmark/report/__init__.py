"""The report of a run: one HTML file that needs no network."""

from benchmark.report.page import report

__all__ = ["report"]
