"""From article records with canonical names to `Rows`: types, labels, one row an article."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from benchmark.dataset import Rows
from benchmark.readers import cells
from benchmark.readers.assembly import BY_KIND, Parse, rejected_frame, shown, typed
from benchmark.readers.canonical_articles import (
    COLUMNS,
    DATE,
    EXTRAS,
    HEADINGS,
    ID,
    JOURNAL,
    LABELS,
    REVISED,
    SOURCE,
    TYPES,
    VERSION,
    published,
)
from benchmark.readers.files import LEFT_OUT, Raw, Rejection
from benchmark.readers.records import SourceOptions
from benchmark.readers.study_design import LABELS as NAMES
from benchmark.readers.study_design import Rules, labels_of
from features.errors import InputError, one_line

FIELDS = (ID, *(column.name for column in COLUMNS), *EXTRAS, VERSION, REVISED)
PMID = r"[1-9][0-9]{0,9}"
BY_NAME: dict[str, Parse] = {DATE: published, "n_authors": cells.count}


class ArticleOptions(SourceOptions):
    """`path` as in `SourceOptions`; `rules` of another table than `study_design_rules.yaml`."""

    rules: Path | None = None

    def files(self, endings: tuple[str, ...]) -> Iterator[tuple[str, io.BufferedReader]]:
        """Name and content of the file, or of those in a folder or zip that end so, by name.

        PubMed numbers its files in the order of time, so that later versions come later. Raises
        `InputError` where there is none.
        """
        found = 0
        for name, stream in self.streams(
            lambda name: name == self.path.name or name.lower().endswith(endings)
        ):
            found += 1
            yield name, stream
        if not found:
            raise InputError(
                f"{self.path} holds no file that ends in {', '.join(endings)}",
                "at least one",
                "name a file",
            )


@dataclass
class Gathered:
    """Records of one or several files in reading order, before they are typed.

    `deleted` says for each withdrawn id how many records had been seen by then: those are void.
    """

    path: Path
    articles: dict[int, dict[str, str]] = field(default_factory=dict)
    rejected: list[Rejection] = field(default_factory=list)
    deleted: dict[str, int] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        """Records so far, sound or not."""
        return len(self.articles) + len(self.rejected)

    def add(self, article: dict[str, str]) -> None:
        """A sound record: canonical names and cells as strings."""
        self.articles[self.seen + 1] = article

    def reject(self, id_: str, reason: str) -> None:
        """A record that cannot be used."""
        row = self.seen + 1
        self.rejected.append(Rejection(row, one_line(id_, 40), LEFT_OUT + one_line(reason)))

    def delete(self, ids: Iterable[str]) -> None:
        """Withdraw these articles, as far as they were seen before."""
        self.deleted |= dict.fromkeys(ids, self.seen)

    def raw(self) -> Raw:
        """The records as strings, "" for missing. Raises `InputError` if none is sound."""
        if not self.articles:
            first = f", the first: {self.rejected[0].reason}" if self.rejected else ""
            raise InputError(
                f"{self.path.name}: no usable record ({len(self.rejected)} unusable{first})",
                "articles with a PMID",
                "check the download",
            )
        columns = {
            name: [article.get(name, "") for article in self.articles.values()] for name in FIELDS
        }
        index = pd.Index(list(self.articles), dtype="int64")
        return Raw(self.path, pd.DataFrame(columns, index=index, dtype="str"), tuple(self.rejected))


def assemble_articles(raw: Raw, rules: Rules, *, deleted: Mapping[str, int] | None = None) -> Rows:
    """Typed rows, one an article, with `labels`, `has_abstract` and `has_mesh`.

    `labels` is `Human|RCT`, "" for none of them and missing where they are unknown (no MeSH). A
    record without a PMID is left out; of several with one PMID the latest is kept (version, then
    day of revision, then place); a cell that cannot be parsed becomes missing; all are listed in
    `Rows.rejected`. Raises `InputError` if more than half of the records have no PMID.
    """
    raw, ids = _identified(raw)
    columns = tuple(column for column in COLUMNS if column.name in raw.frame)
    parsers = {column.name: BY_NAME.get(column.name, BY_KIND[column.kind]) for column in columns}
    parsers |= {name: cells.label for name in EXTRAS if name in raw.frame}
    gone = _superseded(raw.frame, ids, {} if deleted is None else deleted)
    raw = raw.leave_out(gone, ids)
    frame, emptied = typed(raw, columns, parsers, ids)
    frame = frame.assign(**_made(raw, frame, rules, ids, emptied))
    groups = frame[SOURCE].nunique() if SOURCE in frame else 0
    return Rows(
        frame.set_axis(pd.Index(ids[frame.index], name=ID)),
        columns,
        rejected_frame(raw, emptied),
        group=SOURCE if groups > 1 else JOURNAL if JOURNAL in frame else None,
        date=DATE if DATE in frame else None,
    )


def _identified(raw: Raw) -> tuple[Raw, pd.Series]:
    """The records with a PMID, and the PMIDs without leading zeros."""
    ids = raw.frame[ID].str.strip().str.lstrip("0")
    bad = ids[~ids.str.fullmatch(PMID)].index
    raw = raw.leave_out(
        {row: f"{ID}: {shown(raw.frame.at[row, ID])} is no PMID" for row in bad}, ids
    )
    total = len(raw.frame) + len(raw.rejected)
    if 2 * len(raw.rejected) > total:
        first = min(raw.rejected)
        raise InputError(
            f"{raw.path.name}: {len(raw.rejected)} of {total} records cannot be used (first: "
            f"record {first.row}: {first.reason.removeprefix(LEFT_OUT)})",
            "at least half of them to be sound",
            "check the download",
        )
    return raw, ids.loc[raw.frame.index]


def _superseded(frame: pd.DataFrame, ids: pd.Series, deleted: Mapping[str, int]) -> dict[int, str]:
    """Records that a later one replaces or a deletion voids, with the reason."""
    withdrawn = ids[ids.isin(list(deleted))]
    gone = {
        row: f"{id_} was deleted by a later DeleteCitation"
        for row, id_ in zip(withdrawn.index.tolist(), withdrawn, strict=True)
        if row <= deleted[id_]
    }
    double = ids.drop(index=list(gone))
    double = double[double.duplicated(keep=False)]
    part = frame.loc[double.index].drop(columns=SOURCE, errors="ignore")
    content = dict(zip(part.index.tolist(), part.to_numpy().tolist(), strict=True))
    latest: dict[str, tuple[int, str, int]] = {}
    for row, id_ in zip(double.index.tolist(), double, strict=True):
        key = (_version(frame, row), _cell(frame, row, REVISED), row)
        latest[id_] = max(latest.get(id_, key), key)
    for row, id_ in zip(double.index.tolist(), double, strict=True):
        kept = latest[id_][2]
        if row != kept:
            same = content[row] == content[kept]
            what = "with the same content" if same else "a later version, which is kept"
            gone[row] = f"{id_} stands in row {kept} too, {what}"
    return gone


def _version(frame: pd.DataFrame, row: int) -> int:
    cell = _cell(frame, row, VERSION)
    return int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 10 else 1


def _cell(frame: pd.DataFrame, row: int, name: str) -> str:
    return str(frame.at[row, name]) if name in frame else ""


def _made(
    raw: Raw, frame: pd.DataFrame, rules: Rules, ids: pd.Series, emptied: list[Rejection]
) -> dict[str, pd.Series]:
    """The columns that are made from others."""
    made = {}
    if "abstract" in frame:
        made["has_abstract"] = frame["abstract"] != ""
    if HEADINGS in frame:
        made["has_mesh"] = frame[HEADINGS].notna()
    if HEADINGS in frame and TYPES in frame:
        pairs = zip(frame[TYPES].fillna(""), frame[HEADINGS].fillna(""), strict=True)
        found = [labels_of(rules, types.split("|"), terms.split("|")) for types, terms in pairs]
        labels = [None if names is None else "|".join(names) for names in found]
        made[LABELS] = pd.Series(labels, index=frame.index, dtype="str")
    elif LABELS in raw.frame:
        given, bad = typed(raw, (), {LABELS: _given}, ids)
        made[LABELS] = given[LABELS]
        emptied += bad
    return made


def _given(cell: str) -> str | None:
    """Labels that a table states itself: `Human|RCT`; an empty cell is unknown."""
    names = {name.strip() for name in cell.split("|")} - {""}
    if names - set(NAMES):
        raise ValueError("not labels of study designs: " + ", ".join(NAMES))
    return "|".join(name for name in NAMES if name in names) or None
