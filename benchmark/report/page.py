"""The page itself: facts, leaderboards and charts of a results folder put into the template."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pandas as pd

from benchmark import explanations
from benchmark.explanations import Page
from benchmark.leaderboard import GAINS, Board, gained, gains, leaderboard
from benchmark.render import layout
from benchmark.render.explanation import environment, name_of
from benchmark.report import series
from benchmark.report.facts import facts
from benchmark.report.tables import Group, Leaderboard, groups
from benchmark.report.verdicts import verdicts
from benchmark.slices import read_slices
from benchmark.splits import family
from benchmark.store import Store
from features.errors import InputError

if TYPE_CHECKING:
    import jinja2

CHARTS = "pyobsplot"
"""The distribution that carries D3 and Observable Plot as one script: a module that sets
`window.d3` and `window.Plot`. Its place is no public interface, so pyproject.toml pins the version.
"""
BUNDLE = "pyobsplot/static/static-widget.js"
EXAMPLES, _A_MODEL = 60, 3
"""Most explained rows of the page and of a model."""


def report(store: Store, metric: str | None = None) -> str:
    """The page of a results folder as HTML, ranked by `metric` (default: the config's first).

    Titles, labels and texts are escaped; the page's own policy lets no other script run and no
    request leave. Raises `InputError` where nothing is done, as `leaderboard` does.
    """
    board = leaderboard(store, metric)
    found = groups(store, board, metric)
    pages = _pages(store)
    slices = read_slices(store)
    parts = {one.number: series.slice_series(one, slices) for one in found if slices is not None}
    data = _data(store, board, found, parts)
    scripts = [_bundle(), (resources.files(__package__) / "report.js").read_text(encoding="utf-8")]
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            board=board,
            groups=found,
            verdicts=verdicts(found, pages),
            first=_first(found),
            pages=_by_group(pages, found),
            examples=_examples(pages),
            slices=parts,
            sliced=slices is not None,
            gains=_gains(board),
            across=data["across"],
            facts=facts(store),
            notes=layout.board_tables(board)[-1].notes,
            data=data,
            scripts=[_safe(text) for text in scripts],
            style=_safe(_environment().get_template("report.css.jinja").render()),
            policy=policy(scripts),
            licence=metadata.distribution(CHARTS).read_text("licenses/LICENSE"),
        )
    )


def policy(scripts: Sequence[str]) -> str:
    """A content security policy under which these inline scripts run and nothing else loads."""
    sums = (hashlib.sha256(text.encode()).digest() for text in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in sums)
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )


def _bundle() -> str:
    # found by its distribution: `importlib.resources` would import it, with IPython and polars
    try:
        place = metadata.distribution(CHARTS).locate_file(BUNDLE)
    except metadata.PackageNotFoundError:
        raise InputError(
            f"the HTML report without the package {CHARTS}",
            "its drawing library",
            "pip install 'trialmark[report]'",
        ) from None
    return Path(str(place)).read_text(encoding="utf-8")


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # nosec B704


def _pages(store: Store) -> list[Page]:
    try:
        return explanations.explain(store)
    except InputError:  # a run without explanations
        return []


def _first(found: Sequence[Group]) -> int:
    """The table that is open at first: one that tests later rows, if there is one."""
    return next((group.number for group in found if group.tests_later_rows), 0)


def _by_group(pages: Sequence[Page], found: Sequence[Group]) -> dict[int, list[Page]]:
    """Pages of explanations by number of the table, the best model first.

    A split with folds has a page a fold.
    """
    places = {(g.table.task, g.table.split, g.table.as_of): g for g in found}
    by_group: dict[int, list[Page]] = {}
    for page in pages:
        group = places[(page["task"], family(page["split"]), page["as_of"])]
        names = [line.name for line in group.lead.lines]
        models = sorted(page["models"], key=lambda one: names.index(name_of(one)))
        by_group.setdefault(group.number, []).append({**page, "models": models})
    return by_group


def _examples(pages: Sequence[Page]) -> int:
    """Examples a model that the page has room for."""
    models = sum(len(page["models"]) for page in pages)
    return min(_A_MODEL, EXAMPLES // max(1, models))


def _gains(board: Board) -> dict[str, list[dict[str, Any]]]:
    """What models gain from later columns, or lose by redacted texts, by kind; none where no
    table has the same model twice."""
    found = {}
    for kind, columns in GAINS.items():
        if not gained(board, kind).empty:
            rows = layout.records(gains(board, kind))
            plain = ("value", *columns)
            names = ("gain", "low", "high", "p")
            found[kind] = [
                {**row, **dict(zip(names, (row[c] for c in plain[1:]), strict=True))}
                for row in rows
            ]
    return found


def _data(
    store: Store,
    board: Board,
    found: Sequence[Group],
    slices: Mapping[int, list[series.Series]],
) -> dict[str, Any]:
    """What the script draws."""
    names: dict[str, dict[str, bool]] = {}
    for group in found:
        for one in group.contenders:
            flags = {name: bool(one.first[name]) for name in ("is_floor", "is_ceiling")}
            names.setdefault(one.name, flags)
    curves, reliable = series.curve_series(store, found), series.reliability_series(store, found)
    return {
        "first": _first(found),
        "models": [{"name": name, **flags} for name, flags in names.items()],
        "groups": [
            {
                "task": group.table.task,
                "split": group.table.split,
                "as_of": group.table.as_of,
                "repeats": [str(name) for name in group.table.seeds],
                "labels": list(group.contenders[0].first["target"]["classes"]),
                "kind": group.contenders[0].first["target"]["kind"],
                "boards": [_board(one) for one in group.boards],
                "curves": curves[group.number],
                "reliability": reliable[group.number],
                "courses": series.course_series(group),
                "tuning": series.tuning_series(group),
                "years": [one for one in slices.get(group.number, []) if one["by"] == "year"],
            }
            for group in found
        ],
        "across": series.across_series(board, found),
    }


def _board(one: Leaderboard) -> dict[str, Any]:
    return {
        "metric": one.metric,
        "title": one.title,
        "higher": one.higher_is_better,
        "rows": [
            {
                "model": line.name,
                **{name: series.short(line.row[name]) for name in ("value", "low", "high")},
                "fit": series.short(line.row["fit_seconds"]),
                "predict": series.short(line.milliseconds),
                "memory": series.short(line.row["peak_memory_mb"]),
            }
            for line in one.lines
        ],
    }


@cache
def _environment() -> jinja2.Environment:
    found = environment("benchmark.report")
    found.policies["json.dumps_kwargs"] = {
        "allow_nan": False, "sort_keys": False, "separators": (",", ":"),
    }  # fmt: skip
    found.filters |= {
        "num": layout.number,
        "amount": layout.amount,
        "p_value": layout.p_value,
        "letter": layout.letter,
        "metric": layout.metric_title,
        "plus": _plus,
        "count": lambda n: "—" if n is None else f"{n:,}",
    }
    found.globals |= {
        "at": _at,
        "shade": _shade,
        "difference": layout.difference,
        "fields": _fields,
        "known": pd.notna,
    }
    return found


def _plus(value: float | None) -> str:
    """A signed value with a true minus sign."""
    if value is None or pd.isna(value):
        return "—"
    text = layout.number(abs(value))
    return ("+" if value >= 0 else "\N{MINUS SIGN}") + text


def _at(board: Leaderboard, value: float | None) -> str:
    """Where a value stands between the ends of a leaderboard's intervals, in per cent."""
    low, high = board.range
    if value is None or high == low:
        return "0.0"
    return f"{100 * (float(value) - low) / (high - low):.1f}"


def _shade(value: float | None, values: Sequence[float | None]) -> str:
    """How dark a cell of a table of values is, 0 to 1."""
    known = [float(each) for each in values if each is not None]
    if value is None or not known or max(known) == min(known):
        return "0.00"
    return f"{(float(value) - min(known)) / (max(known) - min(known)):.2f}"


def _fields(page: Page) -> list[tuple[str, list[float | None]]]:
    """Shares of fields by model of a page, means over classes, the largest first."""
    shares = [{row["field"]: fmean(row["share"]) for row in one["fields"]}
              for one in page["models"]]  # fmt: skip
    names = dict.fromkeys(field for one in shares for field in one)
    order = sorted(names, key=lambda field: -sum(one.get(field, 0.0) for one in shares))
    return [(field, [one.get(field) for one in shares]) for field in order]
