"""An audit's report as text: findings by severity, then what did not apply."""

from __future__ import annotations

import json
from collections.abc import Callable

from benchmark.audit.findings import SEVERITIES, Finding, Report, Severity
from benchmark.render.markdown import escape
from features.errors import one_line, unknown_name

_TITLES: dict[Severity, str] = {"serious": "Serious", "warning": "Warnings", "note": "Notes"}
_LENGTH = 500


def _json(report: Report) -> str:
    return json.dumps(report.to_json(), indent=1, ensure_ascii=False, allow_nan=False)


def _terminal(report: Report) -> str:
    lines = [report.summary()]
    for severity in SEVERITIES:
        findings = report.of(severity)
        if findings:
            lines += ["", _TITLES[severity]]
        for finding in findings:
            lines.append(f"  {_heading(finding)}")
            lines.append(f"       {one_line(finding.found, _LENGTH)}")
            if severity != "note":
                lines.append(f"       -> {one_line(finding.advice, _LENGTH)}")
    if report.skipped:
        lines += ["", "Not applicable"]
        lines += [f"  {s.code}  {s.title} ({s.task}): {one_line(s.reason)}" for s in report.skipped]
    passed = ", ".join(dict.fromkeys(code for code, _ in report.passed))
    return "\n".join([*lines, "", f"Nothing found by {passed}" if passed else "No check passed"])


def _heading(finding: Finding) -> str:
    where = ", ".join(one_line(part, 80) for part in (finding.task, finding.where) if part)
    return f"{finding.code}  {finding.title}: {where}"


def _markdown(report: Report) -> str:
    lines = [
        escape(report.summary()),
        "",
        "| severity | code | what | where | found | advice |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for f in report.findings:
        where = ", ".join(part for part in (f.task, f.where) if part)
        lines.append(_row(f.severity, f.code, f.title, where, f.found, f.advice))
    for s in report.skipped:
        lines.append(_row("not applicable", s.code, s.title, s.task, s.reason, ""))
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return "| " + " | ".join(escape(one_line(cell, _LENGTH)) for cell in cells) + " |"


FORMATS: dict[str, Callable[[Report], str]] = {
    "terminal": _terminal,
    "markdown": _markdown,
    "json": _json,
}


def render(report: Report, format: str) -> str:
    """A report in one of `FORMATS`."""
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    return FORMATS[format](report)
