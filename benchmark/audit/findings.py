"""What an audit says: findings with a code and a severity, and the checks that did not apply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from features.errors import InputError

Severity = Literal["serious", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

MOST_EVIDENCE = 50
"""Pieces of evidence that a finding keeps; `numbers` holds the full counts."""


class NotApplicable(Exception):
    """Raised by a check that cannot be made on these rows; its text is the reason."""


@dataclass(frozen=True)
class Evidence:
    """A row that shows a finding: its id, and where the finding is about a text, which characters.

    `other` is the id of a second row (of a pair of duplicates), "" where there is none.
    """

    id: str
    column: str = ""
    span: tuple[int, int] | None = None
    other: str = ""


@dataclass(frozen=True)
class Found:
    """What one check found in one place; `numbers` are JSON values.

    `where` names the column or the split, "" for the whole data set.
    """

    severity: Severity
    where: str
    found: str
    advice: str
    evidence: tuple[Evidence, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding(Found):
    """A `Found` with the code and title of its check, and the task it is about."""

    code: str = ""
    title: str = ""
    task: str = ""


@dataclass(frozen=True)
class Skipped:
    """A check that does not apply to a task, and why."""

    code: str
    title: str
    task: str
    reason: str


@dataclass(frozen=True)
class Report:
    """All that an audit says, the most serious findings first; `passed` are (code, task)."""

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    passed: tuple[tuple[str, str], ...]
    seconds: float = 0.0

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def serious(self) -> tuple[Finding, ...]:
        """The findings that make a result wrong, not just weaker."""
        return self.of("serious")

    def summary(self) -> str:
        """One line: how many findings of each severity, and the codes of those that matter."""
        counts = ", ".join(_counted(len(self.of(name)), name) for name in SEVERITIES)
        codes = [f"{finding.code} {finding.where}".strip() for finding in self.serious]
        shown = ", ".join(dict.fromkeys(codes))
        return f"audit: {counts}" + (f" ({shown})" if shown else "")

    def check(self) -> None:
        """Raise `InputError` where something is serious; for `run --strict`."""
        if self.serious:
            first = self.serious[0]
            raise InputError(
                f"the audit finds {_counted(len(self.serious), 'serious')}: "
                f"{first.code} {first.title}: {first.found}",
                "none with --strict",
                first.advice,
            )

    def to_json(self) -> dict[str, Any]:
        """JSON values: counts, findings, skipped and passed checks."""
        return {
            "schema": 1,
            "counts": {name: len(self.of(name)) for name in SEVERITIES},
            "findings": [asdict(finding) for finding in self.findings],
            "not_applicable": [asdict(skipped) for skipped in self.skipped],
            "passed": [{"code": code, "task": task} for code, task in self.passed],
        }


def _counted(number: int, severity: str) -> str:
    if severity == "serious":
        return f"{number} serious finding{'' if number == 1 else 's'}"
    return f"{number} {severity}{'' if number == 1 else 's'}"
