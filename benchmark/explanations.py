"""What the models of a results folder looked at: explanations read back, averaged over seeds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from benchmark.explain import FEATURES
from benchmark.store import EXPLANATION, TEXTS, Store
from features.errors import InputError, unknown_name

_GROUP = ("task", "split", "as_of")
_TOP_FIELDS, _TOP_WORDS = 3, 20
"""Fields and words of a model that an alarm looks at."""
_FEWEST_FIELDS, _FEWEST_WORDS = 4, 10
"""What two explanations must share for a rank correlation to mean something."""
_JOINT = "text"
"""The field of what was made of all text columns in one."""

_ENDED = re.compile(
    r"\b(?:terminat(?:ed|ion)|withdrawn|halted|discontinued|prematurely|suspended|abandoned"
    r"|cancel+ed|aborted|(?:stopped|closed|ended) early|early (?:termination|closure))\b"
)
"""Words in which a text may tell how the study ended."""

Page = dict[str, Any]


def explain(store: Store, model: str | None = None) -> list[Page]:
    """A page (JSON values) for each task, split and as-of level with at least one explanation.

    Each of its `models` has, as means over seeds, by class of `classes`: the `fields` with their
    share of all attribution (modality share, sums to 1 over fields) and its standard deviation over
    seeds, the strongest `features`, `levels` of categories, and the `attention` of an encoder; its
    `examples` are those of the first seed, with their texts where these are in the folder. Besides
    there are `agreement`, rank correlations between any two of the models, and `alarms`.

    `model` is a label, or `label/inputs`. Raises `InputError` where the folder has no explanation
    of it.
    """
    plan = store.plan()
    groups: dict[tuple[str, ...], dict[tuple[str, str], list[Mapping[str, Any]]]] = {}
    for entry in plan["cells"]:
        members = groups.setdefault(tuple(entry[name] for name in _GROUP), {})
        members.setdefault((entry["model"], entry["inputs"]), []).append(entry)
    if model is not None:
        known = {name for members in groups.values() for pair in members for name in _names(*pair)}
        if model not in known:
            raise unknown_name("model", model, known)
    pages = [
        page
        for key, members in groups.items()
        if (page := _page(store, dict(zip(_GROUP, key, strict=True)), members, plan))["models"]
    ]
    if model is not None:
        pages = [_only(page, model) for page in pages]
        pages = [page for page in pages if page["models"]]
    if not pages:
        raise InputError(
            f"{store.root} holds no explanation" + ("" if model is None else f" of {model}"),
            "finished cells that were run with `explain`",
            "run the config again, without `explain: null`",
        )
    return pages


def _names(label: str, inputs: str) -> tuple[str, str]:
    return label, f"{label}/{inputs}"


def _only(page: Page, model: str) -> Page:
    """One model of a page; its agreement with the others stays."""
    kept = [one for one in page["models"] if model in _names(one["model"], one["inputs"])]
    shown = {f"{one['model']}/{one['inputs']}" for one in kept}
    return {
        **page,
        "models": kept,
        "agreement": [row for row in page["agreement"] if shown & {row["a"], row["b"]}],
        "alarms": [alarm for alarm in page["alarms"] if alarm["model"] in shown],
    }


def _page(
    store: Store,
    group: Mapping[str, str],
    members: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    plan: Mapping[str, Any],
) -> Page:
    models = []
    for (label, inputs), entries in members.items():
        found = [(entry, read) for entry in entries if (read := _read(store, entry)) is not None]
        if found:
            one = _mean([read for _, read in found])
            texts = _texts(store, found[0][0])
            one["examples"] = [_with_texts(e, texts) for e in found[0][1]["examples"]]
            seeds = [entry["seed"] for entry, _ in found]
            models.append({"model": label, "inputs": inputs, "seeds": seeds, **one})
    known_at = plan.get("datasets", {}).get(group["task"], {}).get("columns", {})
    return {
        **group,
        "models": models,
        "agreement": list(_agreement(models)),
        "alarms": [alarm for one in models for alarm in _alarms(one, known_at)],
    }


def _read(store: Store, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """The explanation of a finished cell, None where it has none that can be read."""
    file = store.root / entry["path"] / EXPLANATION
    if store.state(entry["path"]) != "done":
        return None
    try:
        found = json.loads(file.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) and "fields" in found else None


def _texts(store: Store, entry: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """The texts of a cell's examples by id and field; {} where they were left out."""
    file = store.root / entry["path"] / TEXTS
    if not file.is_file():
        return {}
    frame = pd.read_parquet(file)
    names, fields, texts = (frame[name].tolist() for name in ("id", "field", "text"))
    return dict(zip(zip(names, fields, strict=True), texts, strict=True))


def _with_texts(example: Mapping[str, Any], texts: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    own = {field: text for (name, field), text in texts.items() if name == example["id"]}
    return {**example, "texts": own}


def _mean(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The numbers of one model, averaged over seeds; what a seed lacks counts as 0."""
    classes = list(dict.fromkeys(name for one in found for name in one["classes"]))
    own = [_by_class(one, classes) for one in found]
    fields = dict.fromkeys(row["field"] for one in found for row in one["fields"])
    share = {f: [[_of(one, "share", f, c) for one in own] for c in classes] for f in fields}
    order = sorted(fields, key=lambda field: -sum(map(fmean, share[field])))
    return {
        "method": found[0]["method"],
        "classes": classes,
        "text_columns": found[0]["text_columns"],
        "rows": [one["rows"] for one in found],
        "gap": {key: max(one["gap"][key] for one in found) for key in found[0]["gap"]},
        "fields": [
            {
                "field": field,
                "share": list(map(fmean, share[field])),
                "sd": [stdev(s) if len(s) > 1 else None for s in share[field]],
                "mean": [fmean(_of(one, "mean", field, c) for one in own) for c in classes],
            }
            for field in order
        ],
        "features": {name: _features([one["features"].get(name, []) for one in found])
                     for name in classes},
        "words": _mean_words(found, classes),
        "levels": _mean_levels(found, classes),
        "attention": {
            field: fmean(one["attention"].get(field, 0.0) for one in found)
            for field in dict.fromkeys(f for one in found for f in one["attention"])
        },
    }  # fmt: skip


def _by_class(one: Mapping[str, Any], classes: Iterable[str]) -> dict[tuple[str, str, str], float]:
    """Numbers of one seed by what they are, field and class."""
    places = {name: number for number, name in enumerate(one["classes"])}
    return {
        (what, row["field"], name): row[what][places[name]]
        for what in ("share", "mean")
        for row in one["fields"]
        for name in classes
        if name in places
    }


def _of(one: Mapping[tuple[str, str, str], float], what: str, field: str, name: str) -> float:
    return one.get((what, field, name), 0.0)


def _features(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The strongest features of one class over seeds."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for rows in seeds:
        for row in rows:
            found.setdefault((row["field"], row["name"]), []).append(row)
    means = [
        {
            "field": field,
            "name": name,
            "word": rows[0]["word"],
            "size": sum(row["size"] for row in rows) / len(seeds),
            "mean": sum(row["mean"] for row in rows) / len(seeds),
        }
        for (field, name), rows in found.items()
    ]
    return sorted(means, key=lambda row: -row["size"])[:FEATURES]


def _mean_words(
    found: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, list[float]]:
    sums: dict[str, list[float]] = {}
    for one in found:
        places = [one["classes"].index(c) if c in one["classes"] else None for c in classes]
        for word, values in one["words"].items():
            own = [0.0 if place is None else values[place] for place in places]
            sums[word] = [a + b for a, b in zip(sums.get(word, [0.0] * len(own)), own, strict=True)]
    return {word: [value / len(found) for value in values] for word, values in sums.items()}


def _mean_levels(
    found: Sequence[Mapping[str, Any]], classes: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """Levels of each category, weighted by their rows in each seed; the most frequent first."""
    sums: dict[str, dict[str, list[tuple[int, list[float]]]]] = {}
    for one in found:
        if one["classes"] != list(classes):  # a class without a model in this seed
            continue
        for field, levels in one["levels"].items():
            for row in levels:
                own = sums.setdefault(field, {}).setdefault(row["level"], [])
                own.append((row["rows"], row["mean"]))
    return {
        field: sorted(
            (
                {
                    "level": level,
                    "rows": (total := sum(n for n, _ in parts)),
                    "mean": [
                        sum(n * mean[c] for n, mean in parts) / total for c in range(len(classes))
                    ],
                }
                for level, parts in levels.items()
            ),
            key=lambda row: -row["rows"],
        )
        for field, levels in sums.items()
    }


def _agreement(models: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Spearman's rank correlation of any two models: shares of fields, and means of words.

    Over what both of them have: fields (all text columns as one where a model reads them as one)
    and words among the strongest of both. None where these are too few; the mean over classes.
    """
    for a, b in combinations(models, 2):
        classes = [name for name in a["classes"] if name in b["classes"]]
        joint = any(row["field"] == _JOINT for one in (a, b) for row in one["fields"])
        fields = [_shares(one, classes, joint=joint) for one in (a, b)]
        words = [_word_means(one, classes) for one in (a, b)]
        yield {
            "a": f"{a['model']}/{a['inputs']}",
            "b": f"{b['model']}/{b['inputs']}",
            "fields": _correlation(*fields, fewest=_FEWEST_FIELDS),
            "n_fields": len(set(fields[0]) & set(fields[1])),
            "words": _correlation(*words, fewest=_FEWEST_WORDS),
            "n_words": len(set(words[0]) & set(words[1])),
        }


def _shares(
    one: Mapping[str, Any], classes: Sequence[str], *, joint: bool
) -> dict[str, list[float]]:
    places = [one["classes"].index(name) for name in classes]
    sums: dict[str, list[float]] = {}
    for row in one["fields"]:
        field = _JOINT if joint and row["field"] in one["text_columns"] else row["field"]
        before = sums.get(field, [0.0] * len(places))
        sums[field] = [a + row["share"][n] for a, n in zip(before, places, strict=True)]
    return sums


def _word_means(one: Mapping[str, Any], classes: Sequence[str]) -> dict[str, list[float]]:
    places = [one["classes"].index(name) for name in classes]
    return {word: [values[n] for n in places] for word, values in one["words"].items()}


def _correlation(
    a: Mapping[str, list[float]], b: Mapping[str, list[float]], *, fewest: int
) -> float | None:
    common = [name for name in a if name in b]
    if len(common) < fewest:
        return None
    found = []
    for column in range(len(a[common[0]])):
        ranks = pd.DataFrame({"a": [a[n][column] for n in common],
                              "b": [b[n][column] for n in common]}).rank()  # fmt: skip
        if (ranks.std() > 0).all():
            found.append(float(ranks["a"].corr(ranks["b"])))
    return fmean(found) if found else None


def _alarms(one: Mapping[str, Any], known_at: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Late fields among the strongest fields, words of an outcome among the strongest words."""
    name = f"{one['model']}/{one['inputs']}"
    for place, row in enumerate(one["fields"][:_TOP_FIELDS], start=1):
        when = known_at.get(row["field"], "registration")
        if when != "registration":
            yield {
                "model": name,
                "code": "late field",
                "what": row["field"],
                "text": f"{name}: {row['field']}, known {when} the study, is number {place} of "
                f"{len(one['fields'])} fields with {max(row['share']):.0%} of the attribution",
            }
    told: dict[str, str] = {}
    for cls, features in one["features"].items():
        words = [row for row in features if row["word"]][:_TOP_WORDS]
        for place, row in enumerate(words, start=1):
            if _ENDED.search(row["name"].lower()):
                text = f"{name}: {row['name']!r} ({row['field']}) is number {place} of the words"
                told.setdefault(
                    row["name"], f"{text} for {cls}; a text may tell how the study ended"
                )
    for word, text in told.items():
        yield {"model": name, "code": "outcome phrase", "what": word, "text": text}
