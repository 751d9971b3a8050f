"""The audit before a run: coded checks of rows, columns and splits, each with its own reason."""

from __future__ import annotations

from benchmark.audit.checks import CHECKS, Check, run_audit
from benchmark.audit.findings import Evidence, Finding, Report, Skipped

__all__ = ["CHECKS", "Check", "Evidence", "Finding", "Report", "Skipped", "run_audit"]
