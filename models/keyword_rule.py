"""A floor of regular expressions: what a reader of titles would guess."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from features.columns import Columns, Inputs
from features.errors import InputError, unknown_name
from models import base
from models.base import Context, Floats, Ints, Target

STUDY_DESIGN: Mapping[str, tuple[str, ...]] = {
    "RCT": (
        r"\brandomi[sz]ed\b.{0,60}\btrial\b", r"\brandomly (?:assigned|allocated)\b", r"\brct\b",
    ),
    "SystematicReview": (r"\bsystematic(?:ally)? (?:literature )?review",),
    "MetaAnalysis": (r"\bmeta[- ]?analy",),
    "Human": (
        r"\b(?:patients?|participants?|adults?|children|adolescents?|infants?|women|men|people)\b",
        r"\b(?:humans?|volunteers|elderly|students|nurses|physicians|veterans)\b",
        r"\bcase reports?\b",
    ),
    "Animal": (
        r"\b(?:animals?|mice|mouse|rats?|murine|rodents?|rabbits?|dogs?|canine|pigs?|porcine)\b",
        r"\b(?:monkeys?|macaques?|zebrafish|drosophila|chick(?:en)?s?|mosquito(?:es)?)\b",
    ),
    "InVitro": (r"\bin vitro\b", r"\bcell lines?\b", r"\bcultured\b", r"\bcell cultures?\b"),
    "Cohort": (
        r"\bcohorts?\b", r"\bprospective\b", r"\bretrospective\b", r"\bfollow[- ]?up\b",
        r"\blongitudinal\b",
    ),
    "CaseReport": (r"\bcase reports?\b", r"\breport of (?:a|one|two|three|\d+) cases?\b",
                   r"\ba case of\b"),
    "CaseControl": (r"\bcase[- ]controll?(?:ed)?\b",),
    "CrossSectional": (r"\bcross[- ]sectional\b",),
}  # fmt: skip
"""The rules where none are given: study designs as titles name them."""

_PSEUDO_ROWS = 2


class KeywordRuleParams(base.Params):
    """`rules` lists regular expressions by class or label (None: `STUDY_DESIGN`); case is ignored.

    They are searched in the first text column, or in all `columns` named, each of its texts cut to
    `max_characters`. A slow expression is its author's; the cut only bounds the damage.
    """

    rules: dict[str, list[str]] | None = None
    columns: list[str] | None = Field(default=None, min_length=1)
    max_characters: int = Field(default=2000, ge=1)

    @field_validator("rules")
    @classmethod
    def _compiles(cls, rules: dict[str, list[str]] | None) -> dict[str, list[str]] | None:
        for label, patterns in ({} if rules is None else rules).items():
            for pattern in patterns:
                _compiled(label, pattern)
        return rules


class KeywordRule:
    """Does a rule's expression stand in the text? The rate of the label among such rows of train.

    Several labels: each has its rate among the rows that its rule hits and among the others, and a
    label without a rule has its rate in train. Classes: a row belongs to the first rule that hits
    it, in their order, or to none, and gets the class rates of such rows. All rates are drawn
    towards those of all of train as by two more rows, so that none is 0 or 1 by want of rows.
    """

    Params: ClassVar[type[base.Params]] = KeywordRuleParams
    inputs: ClassVar[tuple[Inputs, ...]] = ("text",)
    libraries: ClassVar[tuple[str, ...]] = ()
    is_floor: ClassVar[bool] = True
    explains_slowly: ClassVar[bool] = False

    def __init__(
        self, params: KeywordRuleParams, *, columns: Columns, target: Target, context: Context
    ) -> None:
        self.params, self.target = params, target
        self.columns = _searched(params.columns, columns)
        self.rules = _rules(params.rules, target)
        self.notes: dict[str, Any] = {}
        self._rates: list[Floats] = []

    @classmethod
    def preflight(cls, params: KeywordRuleParams) -> None:
        """Nothing is needed."""

    @classmethod
    def space(cls, columns: Columns, target: Target) -> dict[str, Any]:
        """Nothing to tune."""
        return {}

    def settled(self) -> dict[str, Any]:
        """Valid rows change nothing."""
        return {}

    def explain(self, X: pd.DataFrame) -> None:
        """Nothing to show."""

    def fit(self, X: pd.DataFrame, y: Ints, valid: tuple[pd.DataFrame, Ints] | None) -> Self:
        """Count; `valid` is not used."""
        hits = self.hits(X)
        labels = list(self.rules)
        self.notes["hits"] = dict(zip(labels, hits.sum(axis=0).tolist(), strict=True))
        if self.target.kind == "multilabel":
            places = [self.target.classes.index(label) for label in labels]
            self._rates = [y.mean(axis=0)] + [
                _rates(y[:, place : place + 1], hit, 2)[:, 0]
                for place, hit in zip(places, hits.T, strict=True)
            ]
        else:
            classes = np.eye(len(self.target.classes))[y]
            self._rates = list(_rates(classes, _first_hit(hits), len(labels) + 1))
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:
        """Probabilities, (n, k)."""
        if not self._rates:
            raise RuntimeError("predict_proba before fit")
        hits = self.hits(X)
        if self.target.kind != "multilabel":
            return np.stack(self._rates)[_first_hit(hits)]
        proba = np.tile(self._rates[0], (len(X), 1))
        for label, rates, hit in zip(self.rules, self._rates[1:], hits.T, strict=True):
            proba[:, self.target.classes.index(label)] = rates[hit]
        return proba

    def hits(self, X: pd.DataFrame) -> Ints:
        """Which rules hit which rows: (n, rules) of 0 and 1."""
        texts = [X[name].str[: self.params.max_characters].tolist() for name in self.columns]
        found = [
            [any(pattern.search(text) for pattern in patterns for text in row)
             for patterns in self.rules.values()]
            for row in zip(*texts, strict=True)
        ]  # fmt: skip
        return np.array(found, np.int64).reshape(len(X), len(self.rules))


def _searched(wanted: Sequence[str] | None, columns: Columns) -> tuple[str, ...]:
    """The text columns to search."""
    if not columns.text:
        raise InputError("keyword-rule without a text column", "one", "keep one in `data.columns`")
    for name in () if wanted is None else wanted:
        if name not in columns.text:
            raise unknown_name("text column in keyword-rule", name, columns.text)
    return columns.text[:1] if wanted is None else tuple(wanted)


def _rules(
    given: Mapping[str, Sequence[str]] | None, target: Target
) -> dict[str, list[re.Pattern[str]]]:
    """The compiled rules of the classes or labels of the target."""
    table: Mapping[str, Sequence[str]] = given if given is not None else STUDY_DESIGN
    for label in () if given is None else given:
        if label not in target.classes:
            raise unknown_name("class in the rules of keyword-rule", label, target.classes)
    rules = {
        label: [_compiled(label, pattern) for pattern in table[label]]
        for label in (target.classes if given is None else given)
        if label in table
    }
    if not rules:
        raise InputError(
            f"keyword-rule has no rules for {', '.join(target.classes)}",
            "`rules: {class: [expression, ...]}`",
            "give some, or use prior",
        )
    return rules


def _compiled(label: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"rule {label}: {pattern!r} is no regular expression ({error})",
            "one in the syntax of Python's `re`",
            "put a backslash before signs that are meant literally",
        ) from None


def _first_hit(hits: Ints) -> Ints:
    """The number of the first rule that hits a row, behind the last one's where none does: (n,)."""
    return np.asarray(np.column_stack([hits, np.ones(len(hits))]).argmax(axis=1), np.int64)


def _rates(y: Floats | Ints, cells: Ints, n_cells: int) -> Floats:
    """Mean of `y` (n, k) among the rows of each cell, drawn towards that of all: (cells, k)."""
    member = np.eye(n_cells)[cells]
    base = y.mean(axis=0)
    counts = member.sum(axis=0)[:, None]
    return np.asarray((member.T @ y + _PSEUDO_ROWS * base) / (counts + _PSEUDO_ROWS))
