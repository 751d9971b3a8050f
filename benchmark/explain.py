"""What a fitted model looked at, as data: made in the cell from some of its test rows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.columns import Columns
from features.text import in_words
from models.attribution import Attribution, Feature, Spans
from models.base import Floats, Ints, Model, Target

SCHEMA = 1
FEATURES, WORDS, LEVELS = 30, 100, 8
"""Features of each class, words, and levels of each category that are kept."""
PARTS = 12
"""Columns of an example that stand by themselves, the others are added up; words of an example."""
_FAINT = 0.02
"""Words of an example whose weight is below this share of its strongest are left out."""
_LONGEST = 3
"""Words of a term that are shown, so that no name of a feature quotes a sentence."""
_CELL = 80
"""Characters of a cell's value that are shown."""

_KINDS = ("surest right", "surest wrong", "most average", "surest right")


def explanation(
    model: Model,
    X: pd.DataFrame,
    *,
    y: Ints,
    proba: Floats,
    columns: Columns,
    target: Target,
    options: Mapping[str, int],
    seed: int,
) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """What the predictions `proba` for the test rows `X` are made of; None if nothing can be said.

    `options` holds `rows`, how many rows are explained (a random choice by `seed`, so the same for
    every model of a split), `gradient_rows`, the most of them for a model that `explains_slowly`,
    and `examples`, the number of rows that are shown one by one; these are picked from the `rows`
    by the model's own predictions. Gives JSON values, in which no text of the data stands but
    terms of up to three words and the values of table cells, and a frame (id, field, text) of the
    texts of the examples.
    """
    rng = np.random.default_rng([seed, zlib.crc32(b"explained rows")])
    sample = rng.permutation(len(X))[: options["rows"]]
    rows = sample[: options["gradient_rows"]] if model.explains_slowly else sample
    picked = _examples(target, y[sample], proba[sample], options["examples"])
    shown = np.array([sample[example.row] for example in picked], dtype=np.int64)
    found = model.explain(X.iloc[np.concatenate([rows, shown])])
    if found is None:
        return None
    part = _part(found, slice(0, len(rows)))
    content = {
        "schema": SCHEMA,
        "method": found.method,
        "rows": len(rows),
        "classes": list(found.classes),
        "text_columns": list(columns.text),
        "gap": _gap(part),
        **_overall(part, X.iloc[rows], columns),
        "examples": [
            _example(
                found,
                len(rows) + number,
                example,
                row=X.iloc[[place]],
                columns=columns,
                target=target,
            )
            for number, (example, place) in enumerate(zip(picked, shown.tolist(), strict=True))
            if example.name(target) in found.classes
        ],
    }
    return content, _texts(X.iloc[shown], columns)


def _part(found: Attribution, rows: slice) -> Attribution:
    return Attribution(
        method=found.method,
        values=found.values[rows],
        base=found.base[rows],
        output=found.output[rows],
        features=found.features,
        classes=found.classes,
        spans=found.spans[rows],
        attention=found.attention[rows],
    )


def _gap(found: Attribution) -> dict[str, float]:
    """What the shares lack of the output: the largest, and the mean beside what they explain."""
    gap, moved = np.abs(found.gap), np.abs(found.output - found.base)
    return {"max": _short(gap.max()), "mean": _short(gap.mean()), "moved": _short(moved.mean())}


def _overall(found: Attribution, X: pd.DataFrame, columns: Columns) -> dict[str, Any]:
    """Shares of fields, features, words and levels over all rows."""
    fields = by_field(found)
    strength = {name: np.abs(values).mean(axis=0) for name, values in fields.items()}
    total = np.sum(list(strength.values()), axis=0)
    share = {name: part / np.where(total > 0, total, 1) for name, part in strength.items()}
    order = sorted(fields, key=lambda name: -float(share[name].mean()))
    return {
        "fields": [
            {"field": name, "share": _list(share[name]), "mean": _list(fields[name].mean(axis=0))}
            for name in order
        ],
        "features": {
            name: list(_strongest(found, column)) for column, name in enumerate(found.classes)
        },
        "words": _words(found),
        "levels": {
            name: _levels(X[name], fields[name])
            for name in order
            if name in columns.categorical and name in fields
        },
        "attention": _attention(found),
    }


def by_field(found: Attribution) -> dict[str, Floats]:
    """Shares (n, k) of each input column: those of its features added up, signs and all.

    So a text counts as much in one column as in 384 numbers, and a word and its opposite cancel.
    """
    fields: dict[str, Floats] = {}
    for number, feature in enumerate(found.features):
        before = fields.get(feature.field, np.zeros(found.output.shape))
        fields[feature.field] = before + found.values[:, number]
    return fields


def _strongest(found: Attribution, column: int) -> Iterator[dict[str, Any]]:
    """The features with the largest mean size in one class, and what they do on average."""
    values = found.values[:, :, column]
    size = np.abs(values).mean(axis=0)
    for number in np.argsort(-size, kind="stable")[:FEATURES]:
        if size[number] > 0:
            yield {
                **_named(found.features[number]),
                "size": _short(size[number]),
                "mean": _short(values[:, number].mean()),
                "rows": int(np.count_nonzero(values[:, number])),
            }


def _named(feature: Feature) -> dict[str, Any]:
    words = feature.name.split(" ")
    cut = feature.is_word and len(words) > _LONGEST
    name = " ".join(words[:_LONGEST]) + " …" if cut else feature.name
    return {"field": feature.field, "name": name, "word": feature.is_word}


def _words(found: Attribution) -> dict[str, list[float]]:
    """Mean share by class of the strongest single words, whatever the column they stand in."""
    numbers: dict[str, list[int]] = {}
    for number, feature in enumerate(found.features):
        if feature.is_word and " " not in feature.name:
            numbers.setdefault(feature.name, []).append(number)
    sums = {word: found.values[:, own].sum(axis=1) for word, own in numbers.items()}
    size = {word: float(np.abs(values).mean()) for word, values in sums.items()}
    top = sorted(sums, key=lambda word: -size[word])[:WORDS]
    return {word: _list(sums[word].mean(axis=0)) for word in top if size[word] > 0}


def _levels(cells: pd.Series, values: Floats) -> list[dict[str, Any]]:
    """Mean share by class of the most frequent levels of a category; none of single rows."""
    names = pd.Series(in_words(cells)).str.slice(0, _CELL)
    counts = names.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return [
        {"level": level, "rows": int(n), "mean": _list(values[(names == level).to_numpy()].mean(0))}
        for level, n in counts[counts > 1].head(LEVELS).items()
    ]


def _attention(found: Attribution) -> dict[str, float]:
    """Mean attention on the words of each text column; {} for models without attention."""
    sums: dict[str, float] = {}
    for spans in found.attention:
        for field, weight in zip(spans.fields, spans.weights[:, 0], strict=True):
            sums[field] = sums.get(field, 0.0) + float(weight)
    return {field: _short(total / len(found.attention)) for field, total in sums.items()}


@dataclass(frozen=True)
class _Picked:
    """An example: why it was picked, its row, the class or label that is explained, the truth."""

    kind: str
    row: int
    cls: int
    truth: Ints
    probability: float

    def name(self, target: Target) -> str:
        """The explained class or label."""
        return target.classes[self.cls]


def _examples(target: Target, y: Ints, proba: Floats, n: int) -> list[_Picked]:
    """Up to `n` rows: a sure and right prediction, a sure and wrong one, an average one, and so on.

    A binary prediction is explained for the positive class, one of several classes for the class
    that was predicted, and one of several labels for the label that it is picked by.
    """
    truth = y if target.kind == "multilabel" else np.eye(proba.shape[1], dtype=np.int64)[y]
    binary = target.kind == "binary"
    says = proba >= 0.5
    if target.kind == "multiclass":
        says = np.eye(proba.shape[1], dtype=bool)[proba.argmax(axis=1)]
    right, wrong = says & (truth == 1), says != (truth == 1)
    if target.kind != "multilabel":
        wrong &= says
    far = -np.abs(proba - proba.mean(axis=0)).sum(axis=1, keepdims=True) - np.where(says, 0, 1e-3)
    surest = np.abs(proba - 0.5) if target.kind == "multilabel" else proba
    picked: list[_Picked] = []
    for number in range(n):
        kind = _KINDS[number % len(_KINDS)]
        used = [example.row for example in picked]
        score = far if kind == "most average" else np.where(right, proba, -np.inf)
        if kind == "surest wrong":
            score = np.where(wrong, surest, -np.inf)
        elif kind == "surest right":  # of another class than those before, where there is one
            several = target.kind == "multilabel"
            seen = {e.cls if several else int(e.truth.argmax()) for e in picked if e.kind == kind}
            score = score - np.isin(np.arange(proba.shape[1]), list(seen))
        score = score.copy()
        score[used] = -np.inf
        row, cls = divmod(int(score.argmax()), proba.shape[1])
        if np.isfinite(score[row, cls]):
            cls = 1 if binary else cls
            picked.append(_Picked(kind, row, cls, truth[row], float(proba[row, cls])))
    return picked


def _example(
    found: Attribution,
    number: int,
    picked: _Picked,
    *,
    row: pd.DataFrame,
    columns: Columns,
    target: Target,
) -> dict[str, Any]:
    """One explained row: its strongest columns and words, and its texts' words by place."""
    column = found.classes.index(picked.name(target))
    values = found.values[number, :, column]
    sums = {name: float(parts[number, column]) for name, parts in by_field(found).items()}
    fields = sorted((name for name in sums if sums[name]), key=lambda name: -abs(sums[name]))
    order = np.argsort(-np.abs(values), kind="stable").tolist()
    words = [n for n in order if found.features[n].is_word and values[n] != 0]
    base, output = found.base[number, column], found.output[number, column]
    return {
        "id": str(row.index[0]),
        "kind": picked.kind,
        "class": picked.name(target),
        "truth": [name for name, is_so in zip(target.classes, picked.truth, strict=True) if is_so],
        "probability": _short(picked.probability),
        "base": _short(base),
        "output": _short(output),
        "fields": [
            {"field": name, "weight": _short(sums[name]), "value": _cell(name, row, columns)}
            for name in fields[:PARTS]
        ],
        "rest": _short(sum(sums[name] for name in fields[PARTS:])),
        "gap": _short(output - base - values.sum()),
        "words": [
            {**_named(found.features[n]), "weight": _short(values[n])} for n in words[:PARTS]
        ],
        "spans": _pieces(found.spans[number], column) if found.spans else [],
        "attention": _pieces(found.attention[number], 0) if found.attention else [],
    }


def _cell(field: str, row: pd.DataFrame, columns: Columns) -> str | None:
    """The value of a table cell in words, None for a text."""
    if field not in columns.tabular:
        return None
    cell = in_words(row[field])[0]
    return cell[:_CELL] if cell else "(missing)"


def _pieces(spans: Spans, column: int) -> list[list[Any]]:
    """[field, start, end, weight] in the order of the text; overlapping spans are cut up.

    A span that is cut leaves its weight to its parts by their lengths.
    """
    found: list[list[Any]] = []
    fields = np.array(spans.fields, dtype=object)
    for field in dict.fromkeys(spans.fields):
        own = fields == field
        found += _disjoint(field, spans.bounds[own], spans.weights[own, column])
    least = _FAINT * max((abs(piece[3]) for piece in found), default=0.0)
    return [[*piece[:3], _short(piece[3])] for piece in found if abs(piece[3]) > least]


def _disjoint(field: str, bounds: Ints, weights: Floats) -> list[list[Any]]:
    edges = np.unique(bounds)
    sums = np.zeros(len(edges))
    per_character = weights / np.maximum(1, bounds[:, 1] - bounds[:, 0])
    for (start, end), weight in zip(bounds, per_character, strict=True):
        inside = (edges >= start) & (edges < end)
        sums[inside] += weight * _lengths(edges)[inside]
    return [
        [field, int(edges[n]), int(edges[n + 1]), float(sums[n])]
        for n in np.flatnonzero(sums).tolist()
    ]


def _lengths(edges: Ints) -> npt.NDArray[np.int64]:
    return np.diff(edges, append=edges[-1:])


def _texts(X: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The texts of rows, one a line: id, field, text."""
    rows = [
        (str(name), field, text)
        for field in columns.text
        for name, text in zip(X.index, X[field], strict=True)
        if text
    ]
    return pd.DataFrame(rows, columns=["id", "field", "text"], dtype="str").drop_duplicates()


def _short(value: float) -> float:
    """A number with six digits, so that files stay small."""
    return float(f"{float(value):.6g}")


def _list(values: Sequence[float] | Floats) -> list[float]:
    return [_short(value) for value in values]
