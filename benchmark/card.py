"""A data card: what a file of study records holds, as tables and as Croissant JSON-LD."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmark.dataset import Rows, rows_fingerprint
from benchmark.importing import (
    DOUBLE,
    Manifest,
    Provenance,
    Source,
    origins,
    read_parts,
    source_of,
    stored_provenance,
)
from benchmark.readers import canonical, canonical_articles, study_design, trials
from benchmark.readers.files import LEFT_OUT
from benchmark.render import write
from benchmark.render.layout import Sheet
from features.errors import one_line, unknown_name

NOT_STATED = "not stated"
YEARS = 25
"""Years of a table by year; those before are one row."""
SOURCES = 15
"""Values of a table by phase or source; the rare ones are one row."""
WIDTH = 80
"""Characters of a table's label columns."""
OUTCOMES = ("COMPLETED", "TERMINATED", "WITHDRAWN", "SUSPENDED")
OTHER, UNLABELLED, MISSING = "other status", "no label", "missing"


@dataclass(frozen=True)
class Card:
    """A file's rows and what is known about where they are from.

    `provenance` is what an imported file says about itself, else None. `origins` are the fields
    that a column was made from.
    """

    path: Path
    reader: str
    source: Source
    rows: Rows
    provenance: Provenance | None
    origins: Mapping[str, Sequence[str]]

    @property
    def licence(self) -> str:
        """As stated at the import, else the terms that the download's manifest names."""
        if self.provenance is not None and self.provenance.licence:
            return self.provenance.licence
        terms = sorted({manifest.terms for manifest in self.manifests if manifest.terms})
        return ", ".join(terms) if terms else NOT_STATED

    @property
    def manifests(self) -> list[Manifest]:
        """The manifests of the downloads behind this file."""
        own = self.source.manifest
        found = [] if own is None else [Manifest.model_validate(own)]
        sources = [] if self.provenance is None else self.provenance.sources
        return found + [source.manifest for source in sources if source.manifest is not None]


def describe(path: Path, reader: str | None = None) -> Card:
    """Read a file for its card.

    `reader` is one of `READERS`; the default is the one an imported file names, else `auto`.
    """
    stored = stored_provenance(path)
    about = None if stored is None else Provenance.model_validate(stored)
    if reader is None:
        reader = "auto" if about is None else about.read_with
    part = read_parts(reader, [path], {})[0]
    told = origins([part])
    if about is not None:
        told = {name: about.origins.get(name, fields) for name, fields in told.items()}
    return Card(path, part.reader, source_of(path, part.reader), part.rows, about, told)


def render_card(card: Card, format: str) -> str:
    """The card as `terminal`, `markdown` or `croissant`."""
    if format == "croissant":
        from benchmark.croissant import croissant

        return json.dumps(croissant(card), indent=1, ensure_ascii=False, allow_nan=False)
    if format not in ("terminal", "markdown"):
        raise unknown_name("format", format, ("terminal", "markdown", "croissant"))
    return write(sheets(card), format)


def sheets(card: Card) -> list[Sheet]:
    """The tables of a card; every cell is one line without control characters."""
    found = [_overview(card), label_sheet(card.rows)]
    years, day = _years(card.rows), _date(card.rows)
    if years is not None:
        found += _crossed(card.rows, years, title=f"Labels by year of {day}", name="year")
    for name, title in (("phases", "phase"), (canonical.OFFICIAL, "part"), ("source", "source")):
        least = 2 if name == "source" else 1
        if name in card.rows.frame and card.rows.frame[name].nunique() >= least:
            keys = _frequent(card.rows.frame[name])
            found += _crossed(card.rows, keys, title=f"Labels by {title}", name=title)
    if "enrollment" in card.rows.frame:
        found.append(_enrollment(card.rows.frame))
    return [*found, _columns(card)]


def _sheet(
    title: str,
    header: Sequence[str],
    *,
    rows: Sequence[Sequence[object]],
    notes: Sequence[str] = (),
    left: int = 1,
) -> Sheet:
    """A table whose first `left` columns are text; data can hold anything, so cells are cleaned."""
    return Sheet(
        title=one_line(title, 200),
        header=tuple(one_line(name, 40) for name in header),
        numeric=tuple(place >= left for place in range(len(header))),
        rows=tuple(tuple(one_line(cell, 300) for cell in row) for row in rows),
        styles=tuple("plain" for _ in rows),
        notes=tuple(one_line(note) for note in notes),
    )


def _overview(card: Card) -> Sheet:
    rows = card.rows
    entries = [
        ("file", f"{card.source.file}, {card.source.bytes:,} bytes, read by {card.reader}"),
        ("sha256", card.source.sha256),
        ("rows", f"{len(rows.frame):,}"),
        *_faults(card),
        *(("duplicates", told) for told in duplicates(rows)),
        ("dates", date_range(rows)),
        ("fingerprint of the rows", rows_fingerprint(rows)),
        ("licence", card.licence),
        *(("provenance", told) for told in history(card) or [NOT_STATED]),
    ]
    kind = "Articles" if is_articles(rows) else "Trials"
    return _sheet(f"{kind}: {card.source.file}", ("what", "value"), rows=entries, left=2)


def _faults(card: Card) -> list[tuple[str, str]]:
    """What was left out in reading this file, and before that in its import."""
    reasons = card.rows.rejected["reason"].astype("str")
    gone = int(reasons.str.startswith(LEFT_OUT).sum())
    faults = [("left out", f"{gone:,} rows; {len(reasons) - gone:,} cells left empty")]
    if card.provenance is not None:
        before = card.provenance
        text = f"{before.left_out:,} rows, {before.doubles:,} of them for the id of another; "
        faults.append(("left out at the import", f"{text}{before.emptied:,} cells left empty"))
    return faults


def duplicates(rows: Rows) -> list[str]:
    """Rows with an id that stands twice (left out in reading) and rows with the same text."""
    reasons = rows.rejected["reason"].astype("str")
    twice = int((reasons.str.startswith(LEFT_OUT) & reasons.str.contains(DOUBLE)).sum())
    names = [name for name in _title_and_summary(rows) if name in rows.frame]
    found = [f"rows with the id of another: {twice:,}"]
    if names:
        copies = int(same_text(rows.frame, names).sum())
        found.append(f"rows with the {' and '.join(names)} of an earlier one: {copies:,}")
    return found


def same_text(frame: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Which rows repeat an earlier row's texts, whatever their case, spaces and punctuation.

    Rows where one of the texts is empty are never counted.
    """
    plain = pd.DataFrame(
        {
            name: frame[name].str.casefold().str.replace(r"[\W_]+", " ", regex=True).str.strip()
            for name in names
        }
    )
    filled = (plain != "").all(axis=1)
    repeated: pd.Series = plain[filled].duplicated().reindex(frame.index, fill_value=False)
    return repeated


def _title_and_summary(rows: Rows) -> tuple[str, str]:
    return ("title", "abstract") if is_articles(rows) else ("brief_title", "brief_summary")


def is_articles(rows: Rows) -> bool:
    """Whether the rows are articles; else they are trials."""
    return rows.frame.index.name == canonical_articles.ID


def _date(rows: Rows) -> str | None:
    """The column that says when a study was."""
    names = (rows.date, canonical.DATE, "first_posted")
    return next((name for name in names if name is not None and name in rows.frame), None)


def date_range(rows: Rows) -> str:
    """First and last date, and how many are missing."""
    name = _date(rows)
    if name is None or rows.frame[name].isna().all():
        return "none"
    days = rows.frame[name]
    return f"{name} {days.min():%Y-%m-%d} to {days.max():%Y-%m-%d}, {days.isna().sum():,} missing"


def history(card: Card) -> list[str]:
    """Where the file is from: imports, downloads and their warnings."""
    told = []
    if card.provenance is not None:
        told = [f"imported from {one.file} by {one.reader}" for one in card.provenance.sources]
    for manifest in card.manifests:
        told.append(
            f"downloaded from {manifest.source} on {str(manifest.finished)[:10]} "
            f"with the query {manifest.query!r}"
        )
        told += [f"warning of the download: {text}" for text in manifest.warnings]
    return told


def label_columns(rows: Rows) -> pd.DataFrame:
    """0 and 1 by label, one row a record: statuses, study designs, or a published target's classes.

    A record without a label has 1 in `no label`.
    """
    published = [name for name in trials.PUBLISHED if name in rows.frame]
    if is_articles(rows):
        if canonical_articles.LABELS not in rows.frame:
            return pd.DataFrame({UNLABELLED: 1}, index=rows.frame.index)
        values = rows.frame[canonical_articles.LABELS]
        found = values.fillna("").str.get_dummies("|")
        found = found.reindex(columns=list(study_design.LABELS), fill_value=0)
        found["none of them"] = (values == "").astype(int)
        found[UNLABELLED] = values.isna().astype(int)
        return found
    if published:
        values = rows.frame[published[0]]
    else:
        values = rows.frame[canonical.STATUS]
        values = values.where(values.isin(OUTCOMES) | values.isna(), OTHER)
    order = [name for name in (*OUTCOMES, OTHER) if (values == name).any()]
    order += sorted(set(values.dropna()) - set(order))
    columns = {name: (values == name).astype(int) for name in order}
    return pd.DataFrame({**columns, UNLABELLED: values.isna().astype(int)})


def label_sheet(rows: Rows) -> Sheet:
    """Rows by label; all statuses there are."""
    total = len(rows.frame)
    if is_articles(rows) or set(trials.PUBLISHED) & set(rows.frame):
        counts = label_columns(rows).sum()
        title = "Study designs (several may hold)" if is_articles(rows) else "Labels"
    else:
        counts = rows.frame[canonical.STATUS].value_counts()
        counts[UNLABELLED] = rows.frame[canonical.STATUS].isna().sum()
        title = "Statuses"
    counts = counts[counts > 0]
    cells = [(name, f"{n:,}", f"{n / total:.1%}") for name, n in counts.items()]
    return _sheet(title, ("label", "rows", "share"), rows=cells)


def _years(rows: Rows) -> pd.Series | None:
    """The year of each row as an ordered category, the oldest years as one; None without dates."""
    name = _date(rows)
    if name is None or rows.frame[name].isna().all():
        return None
    years = rows.frame[name].dt.year
    known = sorted(int(year) for year in years.dropna().unique())
    first = known[-YEARS] if len(known) > YEARS else known[0]
    shown = years.map(lambda year: f"before {first}" if year < first else f"{year:.0f}")
    order = [f"before {first}", *(str(year) for year in known if year >= first), MISSING]
    return _categories(shown.where(years.notna(), MISSING), order)


def _frequent(values: pd.Series) -> pd.Series:
    """The values as categories, the rare ones as one: few in order of name, many of frequency."""
    counts = values.value_counts()
    others = f"{len(counts) - SOURCES} others"
    if len(counts) <= SOURCES:
        return _categories(values.fillna(MISSING), [*sorted(counts.index), MISSING])
    common = list(counts.index[:SOURCES])
    shown = values.where(values.isin(common) | values.isna(), others).fillna(MISSING)
    return _categories(shown, [*common, others, MISSING])


def _categories(values: pd.Series, order: Sequence[str]) -> pd.Series:
    known = list(dict.fromkeys(order))
    return pd.Series(pd.Categorical(values, known), values.index).cat.remove_unused_categories()


def _crossed(rows: Rows, keys: pd.Series, *, title: str, name: str) -> list[Sheet]:
    """Rows and rows by label for every category of `keys`; many labels make several tables."""
    labels = label_columns(rows)
    labels = labels.loc[:, labels.any()]
    counts = labels.groupby(keys, observed=True).sum()
    totals = keys.value_counts()
    columns: dict[str, list[str]] = {
        str(label).lower() if label in OUTCOMES else str(label): [f"{n:,}" for n in counts[label]]
        for label in labels
    }
    notes = []
    stopped = [label for label in OUTCOMES[1:] if label in labels]
    if OUTCOMES[0] in labels and stopped:
        ended = counts[[OUTCOMES[0], *stopped]].sum(axis=1)
        share = counts[stopped].sum(axis=1) / ended
        columns["stopped"] = [f"{x:.1%}" if n else "—" for x, n in zip(share, ended, strict=True)]
        notes += ["stopped: share of terminated, withdrawn and suspended among those that ended"]
        if name == "year":
            notes += ["Recent years cannot be compared: most of their trials have not ended."]
    first = {name: [str(key) for key in counts.index]}
    first["rows"] = [f"{totals[key]:,}" for key in counts.index]
    pieces = _pieces(list(columns))
    sheets = []
    for n, piece in enumerate(pieces, 1):
        table = {**first, **{label: columns[label] for label in piece}}
        part = f" ({n} of {len(pieces)})" if len(pieces) > 1 else ""
        cells = list(zip(*table.values(), strict=True))
        sheets.append(_sheet(title + part, list(table), rows=cells, notes=notes))
    return sheets


def _pieces(names: Sequence[str]) -> list[list[str]]:
    """Names of columns in as many tables of about one width as it takes to fit on a terminal."""
    count, used = 1, 0
    for name in names:
        width = max(len(name), 5) + 2
        count, used = (count, used + width) if used + width <= WIDTH else (count + 1, width)
    size = -(-len(names) // count)
    return [list(names[start : start + size]) for start in range(0, len(names), size)]


def _enrollment(frame: pd.DataFrame) -> Sheet:
    """Enrollment by type: an actual count is known after the trial, an estimate is a plan."""
    if "enrollment_type" in frame:
        types = frame["enrollment_type"].fillna("type unknown")
    else:
        types = pd.Series("type unknown", index=frame.index)
    cells = []
    for name, values in frame["enrollment"].groupby(types.to_numpy()):
        known = values.dropna()
        counts = [len(values), len(values) - len(known), int((known == 0).sum())]
        counts += [round(known.median()), round(known.max())] if len(known) else []
        cells.append([name, *(f"{n:,}" for n in counts), *(["—"] * (5 - len(counts)))])
    return _sheet(
        "Enrollment by type",
        ("type", "rows", "missing", "zero", "median", "largest"),
        rows=cells,
        notes=["The actual count is known after the trial; a count of unknown type may be that."],
    )


def _columns(card: Card) -> Sheet:
    """Every column with its kind, clock, missing share, number of values and origin."""
    declared = {column.name: column for column in card.rows.columns}
    cells = []
    for name in card.rows.frame.columns:
        column, values = declared.get(str(name)), card.rows.frame[name]
        missing = (values == "") if column is not None and column.kind == "text" else values.isna()
        kind, clock = ("no input", "") if column is None else (column.kind, column.known_at)
        fields = card.origins.get(str(name), [])
        origin = ", ".join(fields) if list(fields) != [name] else ""
        share = f"{missing.mean():.1%}" if len(values) else "—"
        cells.append((name, kind, clock, origin, share, f"{values[~missing].nunique():,}"))
    header = ("column", "kind", "known at", "made from", "missing", "values")
    return _sheet("Columns", header, rows=cells, left=4)
