"""A replayed claim as tables and as JSON: published, ours, and which variant gives the number."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from benchmark.published import READS, Claim, Printed, Row
from benchmark.render.layout import PLAIN, Sheet, Style
from benchmark.replay import Beside, Replay, Verdict, is_inside, match
from benchmark.variants import Estimate

UNVERIFIED = "unverified"
_HOW = {"digits": "same digits", "mean": "mean of draws", "chance": "within chance"}


def replay_tables(found: Replay) -> list[Sheet]:
    """The published rows; then a rescoring with its grids, or our models; notes under the last."""
    sheets = [_published(found)]
    if found.verdicts:
        sheets += [_verdicts(found), *_grids(found)]
    sheets += _beside(found)
    last, claim = sheets[-1], found.claim
    notes = (*last.notes, *_sources(claim), *_readings(claim), *_problems(claim))
    return [*sheets[:-1], replace(last, notes=notes)]


def replay_json(found: Replay) -> str:
    """One object: the claim with its rows, what was found, the notes."""
    return json.dumps(_object(found), indent=1, allow_nan=False)


def _published(found: Replay) -> Sheet:
    claim = found.claim
    rows = [
        (
            _named(claim, row),
            row.source,
            *(row.values[name].text if name in row.values else "" for name in claim.metrics),
        )
        for row in claim.rows
    ]
    styles: list[Style] = ["plain" if claim.is_verified(row) else "unranked" for row in claim.rows]
    size = f" · {claim.sizes.text} rows" if claim.sizes.text else ""
    missing = () if found.missing is None else (f"Not replayed: {found.missing}",)
    return Sheet(
        title=f"{claim.name}: {claim.title} · as published{size}",
        header=("model", "source", *claim.metrics),
        numeric=(False, False, *[True] * len(claim.metrics)),
        rows=tuple(rows),
        styles=tuple(styles),
        notes=missing,
    )


def _verdicts(found: Replay) -> Sheet:
    """One line a published number."""
    lines = [
        (
            _label(found.claim, v.row),
            v.metric,
            v.printed.text,
            _with_interval(v.plain, _digits(v.printed)),
            _signed(v.plain.value - v.printed.value, v.printed),
            "inside" if v.inside else "outside",
            f"{_number(v.floor[1], _digits(v.printed))} {v.floor[0]}",
            _short(v),
        )
        for v in found.verdicts
    ]
    share = "" if found.share is None else f", {found.share:.1%} positive"
    return Sheet(
        title=f"Scored again from {found.source} · {found.rows:,} test rows{share}",
        header=(
            *("row", "metric", "published", "ours [95 %]", "ours -\npublished"),
            *("published\nis", "best\nconstant", "reproduced by"),
        ),
        numeric=(False, False, True, True, True, False, False, False),
        rows=tuple(lines),
        styles=PLAIN * len(lines),
        notes=(*(_sentence(v) for v in found.verdicts), *found.notes),
    )


def _grids(found: Replay) -> list[Sheet]:
    """All variants of each metric, with the difference to each published number."""
    by_metric: dict[str, list[Verdict]] = {}
    for verdict in found.verdicts:
        by_metric.setdefault(verdict.metric, []).append(verdict)
    sheets = []
    for metric, verdicts in by_metric.items():
        digits = max(_digits(v.printed) for v in verdicts)
        rows = tuple(
            (
                e.variant.words + (" (plain)" if e is verdicts[0].plain else ""),
                _with_interval(e, digits),
                _number(e.mean, digits),
                *(_apart(v, e) for v in verdicts),
            )
            for e in verdicts[0].tried
        )
        sheets.append(
            Sheet(
                title=f"{metric}: every variant on the same rows",
                header=(
                    *("variant", "value [95 %]", "mean of\ndraws"),
                    *(f"- {v.printed.text}\n{v.row.source}" for v in verdicts),
                ),
                numeric=(False, *[True] * (2 + len(verdicts))),
                rows=rows,
                styles=PLAIN * len(rows),
            )
        )
    legend = (
        "of 0/1: of predictions, at a threshold, in the scores' place; at valid's or test's best: "
        "at the threshold with the best F1 there (macro-F1 for measures of both classes).",
        "same digits: equal as printed; mean of draws: the mean of our 1,000 bootstrap draws is; "
        "within chance: as near as the mean of so few draws as the paper took can be told from it "
        "(95 %); nearest: no variant matches.",
    )
    last = sheets[-1]
    return [*sheets[:-1], replace(last, notes=legend)]


def _beside(found: Replay) -> list[Sheet]:
    """Our models by metric, with the difference to the main published row."""
    main = found.claim.references[0]
    sheets = [
        _beside_sheet(found, main, name, [b for b in found.beside if b.metric == name])
        for name in main.values
        if found.beside
    ]
    if sheets:
        last = sheets[-1]
        notes = (
            "[..]: 95 % interval of 1,000 bootstrap draws of our test rows. inside: the published "
            "number lies in it.",
            *_repeats(found),
            *_not_done(found),
            *found.notes,
        )
        sheets[-1] = replace(last, notes=notes)
    return sheets


def _beside_sheet(found: Replay, main: Row, metric: str, ours: Sequence[Beside]) -> Sheet:
    value = main.values[metric]
    theirs = any(b.theirs is not None for b in ours)
    reverse = found.claim.metrics[metric].kind != "log_loss"
    order = sorted(ours, key=lambda b: _sortable(b.plain.value), reverse=reverse)
    rows = [
        (
            b.model + " (floor)" * b.is_floor + " (same recipe)" * b.repeats,
            b.inputs,
            *_compared(value, b.plain),
            *(_compared(value, b.theirs) if theirs and b.theirs is not None else ()),
        )
        for b in order
    ]
    styles: list[Style] = ["floor" if b.is_floor else "plain" for b in order]
    against = ("ours [95 %]", "ours -\npublished", "published\nis")
    way = ours[0].theirs
    as_theirs = "" if way is None else f"; right: {way.variant.words}, as {main.source} computes it"
    share = "" if found.share is None else f", {found.share:.1%} positive"
    return Sheet(
        title=f"{metric}: {_named(found.claim, main)} ({main.source}) {value.text} · ours on "
        f"{found.rows:,} test rows{share}: {ours[0].plain.variant.words}{as_theirs}",
        header=("model", "inputs", *against, *(against if theirs else ())),
        numeric=(False, False, *(True, True, False) * (2 if theirs else 1)),
        rows=tuple(rows),
        styles=tuple(styles),
    )


def _compared(value: Printed, ours: Estimate) -> tuple[str, str, str]:
    return (
        _with_interval(ours, _digits(value)),
        _signed(ours.value - value.value, value),
        "inside" if is_inside(value, ours) else "outside",
    )


def _not_done(found: Replay) -> list[str]:
    if not found.not_done:
        return []
    why = f"`trialmark status {found.source}` says why"
    return [f"Not done: {', '.join(found.not_done)}; {why}."]


def _repeats(found: Replay) -> list[str]:
    main = found.claim.references[0]
    if main.repeated_by is None:
        return [f"None of our models repeats {main.model}; they are other models on this task."]
    return [f"same recipe: {main.repeated_by} repeats {main.model}, as far as it is known."]


def _named(claim: Claim, row: Row) -> str:
    return row.model if claim.is_verified(row) else f"{row.model} ({UNVERIFIED})"


def _label(claim: Claim, row: Row) -> str:
    """What tells a reference row from the others: its source, or the model where these differ."""
    models = {other.model for other in claim.references}
    doubt = "" if claim.is_verified(row) else f" ({UNVERIFIED})"
    return (row.source if len(models) == 1 else row.model) + doubt


def _sources(claim: Claim) -> list[str]:
    shown = []
    for name, source in claim.sources.items():
        doubt = "" if source.verified else f" ({UNVERIFIED})"
        note = "" if source.note is None else f" {source.note}"
        shown.append(f"{name}{doubt}: {source.cited}; {READS[source.read]}.{note}")
    if claim.unverified:
        shown.append(
            f"{UNVERIFIED}: {claim.unverified} of {len(claim.rows)} rows are from memory and were "
            "not checked against the paper; don't cite them from here."
        )
    return shown


def _readings(claim: Claim) -> list[str]:
    read = [f"{name}: {m.reading}" for name, m in claim.metrics.items() if m.reading is not None]
    return [f"As we read them: {'; '.join(read)}."] if read else []


def _problems(claim: Claim) -> list[str]:
    notes = [f"{row.model}: {row.note.rstrip('.')}." for row in claim.rows if row.note is not None]
    return [*notes, *(f"Known problem: {problem}" for problem in claim.problems)]


def _short(v: Verdict) -> str:
    """The variants that give the number, the likeliest first; else the nearest."""
    if not v.matches:
        e = v.nearest
        return f"none; nearest {e.variant.words}: {_number(e.value, _digits(v.printed))}"
    first, *others = v.likely
    more = f" (or {len(others)} more)" if others else ""
    mean = v.matches[first.variant.key] == "mean"
    value = _number(first.mean if mean else first.value, _digits(v.printed))
    return f"{first.variant.words}: {'mean of draws ' * mean}{value}{more}"


def _sentence(v: Verdict) -> str:
    """What to make of one number, in words."""
    head = f"{v.metric} {v.printed.text} ({v.row.model}, {v.row.source}): "
    return head + " ".join([_plain_part(v), *_match_parts(v), *_floor_part(v)])


def _plain_part(v: Verdict) -> str:
    reading = f"the plain reading ({v.plain.variant.words})"
    if v.plain.variant.key in v.matches:
        return f"{reading} reproduces it: {_detail(v, v.plain)}."
    value = _number(v.plain.value, _digits(v.printed))
    place = "inside" if v.inside else "outside"
    return f"{reading} gives {value}, and the published number is {place} its interval."


def _match_parts(v: Verdict) -> Iterable[str]:
    if not v.matches:
        e = v.nearest
        yield (
            f"No variant reproduces it; the nearest is {e.variant.words} with "
            f"{_number(e.value, _digits(v.printed))}."
        )
        return
    first, *others = v.likely
    if first is not v.plain:
        yield f"{_sentence_case(first.variant.words)} gives {_detail(v, first)}."
    if first.variant.key == v.computed:
        yield "That is what its code was read to compute."
    if others:
        listed = ", ".join(e.variant.words for e in others)
        yield f"These numbers alone do not tell it from {listed}."
    ruled_out = [e for e in v.tried if e.variant.key in v.matches and e not in v.likely]
    if ruled_out:
        listed = ", ".join(e.variant.words for e in ruled_out)
        yield (
            f"It is also within reach of {listed}, but the row's other numbers are not, with the "
            "same threshold and class."
        )


def _sentence_case(text: str) -> str:
    return text[0].upper() + text[1:]


def _floor_part(v: Verdict) -> Iterable[str]:
    name, value = v.floor
    digits = _digits(v.printed)
    lower_is_better = v.kind == "log_loss"
    beaten = value < v.printed.value if lower_is_better else value > v.printed.value
    if beaten and not v.printed.at_least:
        yield (
            f"A constant ({name}) reaches {_number(value, digits)} on these rows, better than the "
            "published number."
        )


def _detail(v: Verdict, e: Estimate) -> str:
    """`.5683, a mean of 20 draws .5704 ± .0095`."""
    digits = _digits(v.printed)
    value, mean = _number(e.value, digits), _number(e.mean, digits)
    if v.matches[e.variant.key] == "digits":
        return value
    if v.matches[e.variant.key] == "mean" or v.draws is None:
        return f"{value}, and a mean of many draws {mean}"
    return f"{value}, and a mean of {v.draws} draws {mean} ± {_number(e.chance(v.draws), digits)}"


def _apart(v: Verdict, e: Estimate) -> str:
    how = v.matches.get(e.variant.key)
    nearest = "nearest" if not v.matches and e is v.nearest else ""
    word = _HOW[how] if how is not None else nearest
    return f"{_signed(e.value - v.printed.value, v.printed)} {word}".rstrip()


def _digits(printed: Printed) -> int:
    return max(3, printed.digits)


def _with_interval(e: Estimate, digits: int) -> str:
    low, high = e.interval
    return f"{_number(e.value, digits)} [{_number(low, digits)}, {_number(high, digits)}]"


def _signed(difference: float, printed: Printed) -> str:
    return "—" if math.isnan(difference) else f"{difference:+.{_digits(printed)}f}"


def _number(value: float, digits: int) -> str:
    """Without the leading zero, as tables of the field print scores."""
    if math.isnan(value):
        return "—"
    shown = f"{value:.{digits}f}"
    return shown.removeprefix("0") if value < 1 else shown


def _sortable(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _object(found: Replay) -> dict[str, Any]:
    claim = found.claim
    return {
        "claim": claim.name,
        "title": claim.title,
        "task": claim.task,
        "split": claim.split,
        "sizes": claim.sizes.model_dump(exclude_none=True),
        "sources": {
            name: {"cited": s.cited, "read": s.read, "verified": s.verified, "note": s.note}
            for name, s in claim.sources.items()
        },
        "published": [_row_object(claim, row, m) for row in claim.rows for m in row.values],
        "scored_from": found.source if found.verdicts else None,
        "results": found.source if found.beside else None,
        "n_test": found.rows if found.rows else None,
        "prevalence": found.share,
        "rescored": [_verdict_object(claim, v) for v in found.verdicts],
        "beside": [_beside_object(claim, b) for b in found.beside],
        "missing": found.missing,
        "not_done": list(found.not_done),
        "problems": claim.problems,
        "notes": list(found.notes),
    }


def _row_object(claim: Claim, row: Row, metric: str) -> dict[str, Any]:
    value = row.values[metric]
    return {
        "model": row.model,
        "source": row.source,
        "metric": metric,
        "printed": value.text,
        "value": value.value,
        "at_least": value.at_least,
        "low": value.low,
        "high": value.high,
        "read": claim.read(row),
        "verified": claim.is_verified(row),
        "reference": row.reference,
        "note": row.note,
    }


def _verdict_object(claim: Claim, v: Verdict) -> dict[str, Any]:
    return {
        **_row_object(claim, v.row, v.metric),
        "ours": _estimate_object(v.plain),
        "difference": _known(v.plain.value - v.printed.value),
        "inside": v.inside,
        "floor": {"name": v.floor[0], "value": _known(v.floor[1])},
        "draws": v.draws,
        "reproduced_by": [e.variant.key for e in v.likely],
        "nearest": v.nearest.variant.key,
        "reading": _sentence(v),
        "variants": [
            {**_estimate_object(e), "match": match(v.printed, e, v.draws)} for e in v.tried
        ],
    }


def _beside_object(claim: Claim, b: Beside) -> dict[str, Any]:
    main = claim.references[0]
    value = main.values[b.metric]
    return {
        "model": b.model,
        "inputs": b.inputs,
        "is_floor": b.is_floor,
        "same_recipe": b.repeats,
        "metric": b.metric,
        "published_model": main.model,
        "published": value.value,
        "verified": claim.is_verified(main),
        "ours": _estimate_object(b.plain),
        "difference": _known(b.plain.value - value.value),
        "inside": is_inside(value, b.plain),
        "as_published": None if b.theirs is None else _estimate_object(b.theirs),
    }


def _estimate_object(e: Estimate) -> dict[str, Any]:
    low, high = e.interval
    return {
        "variant": e.variant.key,
        "value": _known(e.value),
        "low": _known(low),
        "high": _known(high),
        "mean_of_draws": _known(e.mean),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
