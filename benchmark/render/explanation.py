"""What models looked at, as text for a terminal, JSON, or one HTML page without links to a network.

Titles, words and texts come from the data and are not trusted: Jinja2 escapes them all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.explanations import Page
from benchmark.render.layout import Sheet
from benchmark.render.terminal import terminal
from features.errors import unknown_name

if TYPE_CHECKING:
    import jinja2

SHOWN = 15
"""Features of a class that are printed; the rest is in the JSON."""
NO_TEXTS = (
    "The texts of the examples are not in this folder (they were left out of what is published), "
    "so only words are shown."
)
MEANING = (
    "An attribution divides a prediction's log-odds, before calibration, over what the model read. "
    "It tells what moved the model, not what causes the outcome."
)
SHARE = (
    "Modality share: for each row the attributions within a column are added up, and the mean size "
    "of that sum is divided by the total over columns."
)
ATTENTION = (
    "Attention rollout shows where the encoder looked. That is not attribution: a word can be "
    "looked at and not used."
)


class Piece(NamedTuple):
    """A run of text and its weight; `strength` is the weight's size beside the largest, 0 to 1."""

    text: str
    weight: float
    strength: float


class Step(NamedTuple):
    """One bar of a waterfall from `start` to `end`; the first and the last (`end`) have none."""

    label: str
    value: str | None
    weight: float
    start: float
    end: float
    kind: str


def pieces(example: Mapping[str, Any], field: str, what: str = "spans") -> list[Piece]:
    """The text of a column in runs with one weight each, those between words with weight 0."""
    text = example["texts"][field]
    spans = [span for span in example[what] if span[0] == field]
    most = max((abs(span[3]) for span in example[what]), default=0.0)
    found, at = [], 0
    for _, start, end, weight in sorted(spans, key=lambda span: span[1]):
        if start > at:
            found.append(Piece(text[at:start], 0.0, 0.0))
        found.append(Piece(text[start:end], weight, abs(weight) / most if most else 0.0))
        at = end
    return [*found, Piece(text[at:], 0.0, 0.0)]


def excerpt(found: Sequence[Piece], most: int | None) -> list[Piece]:
    """The run of whole pieces, about `most` characters long, that weighs most; all for None.

    What is left out at either end is an ellipsis. A long piece without weight is cut itself.
    """
    if most is None or sum(len(piece.text) for piece in found) <= most:
        return list(found)
    short = [piece for whole in found for piece in _halves(whole, most // 4)]
    best, weight, left, inside, size = (0, 1), -1.0, 0, 0.0, 0
    for right, piece in enumerate(short):
        inside, size = inside + piece.strength, size + len(piece.text)
        while size > most and left < right:
            inside, size = inside - short[left].strength, size - len(short[left].text)
            left += 1
        if inside > weight:
            best, weight = (left, right + 1), inside
    dots = Piece("\N{HORIZONTAL ELLIPSIS}", 0.0, 0.0)
    before = [dots] if best[0] > 0 else []
    return [*before, *short[slice(*best)], *([dots] if best[1] < len(short) else [])]


def _halves(piece: Piece, most: int) -> list[Piece]:
    """A piece without weight in parts of at most `most` characters, any other as it is."""
    if piece.weight or len(piece.text) <= most:
        return [piece]
    return [Piece(piece.text[at : at + most], 0.0, 0.0) for at in range(0, len(piece.text), most)]


def waterfall(example: Mapping[str, Any]) -> list[Step]:
    """From the output of an average row to that of the example, one column after the other."""
    at = example["base"]
    steps = [Step("baseline", None, at, at, at, "end")]
    rows = [(row["field"], row["value"], row["weight"]) for row in example["fields"]]
    if example["rest"]:
        rows.append(("all other columns", None, example["rest"]))
    if abs(example["gap"]) > 1e-6:
        rows.append(("error of the integral", None, example["gap"]))
    for label, value, weight in rows:
        kind = "for" if weight > 0 else "against"
        steps.append(Step(label, value, weight, at, at + weight, kind))
        at += weight
    output = example["output"]
    return [*steps, Step(f"log-odds of {example['class']}", None, output, output, output, "end")]


def _label(row: Mapping[str, Any]) -> str:
    if row["name"] == row["field"]:
        return str(row["field"])
    if row["name"].startswith(f"{row['field']} "):  # a count of the column, such as its length
        return str(row["name"])
    return f"{row['name']} · {row['field']}"


def _terminal(pages: Sequence[Page]) -> str:
    return terminal([sheet for page in pages for sheet in _sheets(page)])


def _sheets(page: Page) -> Iterator[Sheet]:
    title = heading(page)
    fields = list(dict.fromkeys(row["field"] for one in page["models"] for row in one["fields"]))
    shares = [{r["field"]: _mean(r["share"]) for r in one["fields"]} for one in page["models"]]
    fields.sort(key=lambda field: -sum(found.get(field, 0.0) for found in shares))
    names = tuple(name_of(one) for one in page["models"])
    yield _sheet(
        f"{title}: share of the attribution by field",
        ("field", *names),
        [
            (field, *(f"{found[field]:.1%}" if field in found else "" for found in shares))
            for field in fields
        ],
        notes=(SHARE, MEANING),
    )
    for one in page["models"]:
        for cls, rows in one["features"].items():
            yield _sheet(
                f"{title}: {name_of(one)}, what moves {cls}",
                ("feature", "mean size", "mean"),
                [(_label(r), number(r["size"]), signed(r["mean"])) for r in rows[:SHOWN]],
                notes=(how(one),),
            )
    if page["agreement"]:
        yield _sheet(
            f"{title}: agreement (rank correlation)",
            ("a", "b", "field shares", "words"),
            [
                (row["a"], row["b"], _rho(row, "fields"), _rho(row, "words"))
                for row in page["agreement"]
            ],
            notes=tuple(f"! {alarm['text']}" for alarm in page["alarms"]),
        )
    elif page["alarms"]:
        yield _sheet("alarms", ("what",), [(alarm["text"],) for alarm in page["alarms"]])


def _sheet(
    title: str,
    header: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    *,
    notes: tuple[str, ...] = (),
) -> Sheet:
    words = {"feature", "field", "a", "b", "what"}
    return Sheet(
        title=title,
        header=header,
        numeric=tuple(name not in words for name in header),
        rows=tuple(rows),
        styles=tuple("plain" for _ in rows),
        notes=notes,
    )


def _rho(row: Mapping[str, Any], what: str) -> str:
    value = row[what]
    return "too few in common" if value is None else f"{value:.2f} of {row[f'n_{what}']}"


def heading(page: Page) -> str:
    """Task, split and as-of level."""
    return f"{page['task']}, {page['split']} split, as of {page['as_of']}"


def name_of(one: Mapping[str, Any]) -> str:
    """A model with its inputs."""
    return f"{one['model']}/{one['inputs']}"


def how(one: Mapping[str, Any]) -> str:
    """Method, rows and error of a model's explanation."""
    rows = f"{one['method']} on {one['rows'][0]} test rows"
    seeds = f" in each of {len(one['seeds'])} seeds" if len(one["seeds"]) > 1 else ""
    gap = one["gap"]
    if one["method"] == "integrated gradients":
        size = gap["mean"] / gap["moved"] if gap["moved"] else 0.0
        return f"{rows}{seeds}; convergence delta at most {gap['max']:.2g} ({size:.1%} of the mean)"
    return f"{rows}{seeds}; shares add up to the output with an error of at most {gap['max']:.1e}"


def number(value: float) -> str:
    """Three digits, with a true minus sign."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Three digits with their sign."""
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}")


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _json(pages: Sequence[Page]) -> str:
    """Everything but the texts of the data."""
    bare = [
        {
            **page,
            "models": [
                {
                    **one,
                    "examples": [
                        {key: value for key, value in example.items() if key != "texts"}
                        for example in one["examples"]
                    ],
                }
                for one in page["models"]
            ],
        }
        for page in pages
    ]
    return json.dumps(bare, indent=1, allow_nan=False)


def _html(pages: Sequence[Page]) -> str:
    return environment().get_template("explanation.html.jinja").render(pages=pages)


def environment(*packages: str) -> jinja2.Environment:
    """Jinja2 with the templates of these packages and of this one, and what they call.

    It escapes all that is put in.
    """
    import jinja2

    # the loaders find the templates inside an installed package, zipped or not
    places = [jinja2.PackageLoader(name, ".") for name in (*packages, "benchmark.render")]
    found = jinja2.Environment(
        loader=jinja2.ChoiceLoader(places),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"number": number, "signed": signed, "percent": "{:.1%}".format}
    found.globals |= {
        "heading": heading,
        "name_of": name_of,
        "how": how,
        "label": _label,
        "pieces": pieces,
        "cut": excerpt,
        "bars": _bars,
        "mean": _mean,
        "rho": _rho,
        "shown": SHOWN,
        "meaning": MEANING,
        "share": SHARE,
        "attention": ATTENTION,
        "no_texts": NO_TEXTS,
    }
    return found


def _bars(example: Mapping[str, Any]) -> list[tuple[Step, float, float]]:
    """The steps of a waterfall, with left end and width of each bar in per cent."""
    steps = waterfall(example)
    ends = [end for step in steps for end in (step.start, step.end)]
    low, high = min(ends), max(ends)
    scale = 100 / (high - low) if high > low else 0.0
    return [
        (step, (min(step.start, step.end) - low) * scale, abs(step.end - step.start) * scale)
        for step in steps
    ]


FORMATS: dict[str, Callable[[Sequence[Page]], str]] = {
    "terminal": _terminal,
    "html": _html,
    "json": _json,
}


def render(pages: Sequence[Page], format: str) -> str:
    """Pages of `benchmark.explanations.explain` in one of `FORMATS`."""
    if format not in FORMATS:
        raise unknown_name("format", format, FORMATS)
    return FORMATS[format](pages)
