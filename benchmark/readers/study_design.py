"""The study-design labels of an article, from its publication types and MeSH headings.

The rules are a table, `study_design_rules.yaml` beside this file; a reader's option `rules` names
another one of the same form. An article without MeSH headings has not been indexed: its labels are
unknown, and not absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from features.errors import InputError, unknown_name

LABELS = (
    "RCT", "SystematicReview", "MetaAnalysis", "Human", "Animal", "InVitro", "Cohort", "CaseReport",
    "CaseControl", "CrossSectional",
)  # fmt: skip
DEFAULT = "study_design_rules.yaml"


@dataclass(frozen=True)
class Rule:
    """A label holds where one of these publication types or headings is there (folded case)."""

    publication_types: frozenset[str] = frozenset()
    mesh: frozenset[str] = frozenset()


Rules = Mapping[str, Rule]
KEYS = tuple(Rule.__dataclass_fields__)


def load_rules(path: Path | None = None) -> Rules:
    """The rule of every label, from a YAML file of the user's or (None) the package's own.

    Raises `InputError` where a label has no rule, or the file is not such a table.
    """
    if path is None:
        name, text = DEFAULT, (files(__package__) / DEFAULT).read_text(encoding="utf-8")
    else:
        name, text = path.name, _text(path)
    try:
        table = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{name}: not YAML: {error}", "a table of rules") from None
    if not isinstance(table, dict):
        raise InputError(
            f"{name} holds a {type(table).__name__}", "labels with their rules", f"see {DEFAULT}"
        )
    for label in table:
        if label not in LABELS:
            raise unknown_name(f"label in {name}", label, LABELS)
    missing = [label for label in LABELS if label not in table]
    if missing:
        raise InputError(
            f"{name} has no rule for {', '.join(missing)}",
            "a rule for each of " + ", ".join(LABELS),
            f"copy the missing ones from {DEFAULT}",
        )
    return {label: _rule(table[label], f"{name}: {label}") for label in LABELS}


def labels_of(rules: Rules, types: Iterable[str], headings: Iterable[str]) -> list[str] | None:
    """The labels that hold, in the order of `LABELS`; None where there is no heading.

    Headings may carry qualifiers and the mark of a major topic (`*Neurons/*metabolism`).
    """
    names = {folded(heading.partition("/")[0].replace("*", "")) for heading in headings} - {""}
    if not names:
        return None
    kinds = {folded(kind) for kind in types}
    return [
        label
        for label, rule in rules.items()
        if not rule.mesh.isdisjoint(names) or not rule.publication_types.isdisjoint(kinds)
    ]


def folded(name: str) -> str:
    """A name without regard to case and white space."""
    return " ".join(name.casefold().split())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"rules {path}: {error}", "a readable UTF-8 YAML file", f"see {DEFAULT}"
        ) from None


def _rule(entry: Any, where: str) -> Rule:
    if not isinstance(entry, dict) or not entry:
        raise InputError(where, "a mapping with " + " or ".join(KEYS), f"see {DEFAULT}")
    for key, names in entry.items():
        if key not in KEYS:
            raise unknown_name(f"key in {where}", key, KEYS)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{where}: {key}: {names!r}", "a list of names")
    return Rule(**{key: frozenset(map(folded, names)) for key, names in entry.items()})
