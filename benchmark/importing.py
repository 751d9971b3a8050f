"""Import study records: files that a reader knows -> one Parquet file that says where it is from.

The file is read back by `reader: trials` (or `articles`, with the same `rules` if other than the
default ones were used) into the same rows. Its Parquet metadata hold, under the key `trialmark`,
the reader, every source file with its sha256, the counts and the origin of each column.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ValidationError

from benchmark.dataset import Rows, rows_fingerprint
from benchmark.fetch import manifest_path
from benchmark.readers import READERS, canonical, canonical_articles, official
from benchmark.readers.assembly import shown
from benchmark.readers.files import LEFT_OUT, as_cell
from benchmark.readers.origins import origins_of
from benchmark.receipts import canonical_json, version
from benchmark.store import Store
from features.errors import InputError, one_line, unknown_name

KEY = b"trialmark"
UPDATED = "last_update_posted"
DOUBLE = " stands in "
"""Part of the reason for which every reader leaves out a row whose id it has seen."""
NOT_FILES = ("synthetic", "table")
"""Readers whose rows are made up, or have no canonical columns."""


@dataclass(frozen=True)
class Part:
    """Rows that were read together from one file, or from the files of a published split."""

    files: tuple[Path, ...]
    reader: str
    rows: Rows

    @property
    def name(self) -> str:
        """The files' names."""
        return ", ".join(path.name for path in self.files)


@dataclass(frozen=True)
class Source:
    """A file or folder as it was read; `manifest` is that of its download, if it has one."""

    file: str
    reader: str
    sha256: str
    bytes: int
    manifest: dict[str, Any] | None


class Manifest(BaseModel):
    """What a card takes from the manifest of a download; there is more in it."""

    source: str | None = None
    query: str | None = None
    url: str | None = None
    finished: str | None = None
    terms: str | None = None
    warnings: list[str] = []


class StoredSource(BaseModel):
    """What a card takes from a source of an import."""

    file: str
    reader: str
    manifest: Manifest | None = None


class Provenance(BaseModel):
    """What a card takes from an imported file's account of itself."""

    read_with: Literal["trials", "articles"]
    sources: list[StoredSource]
    left_out: int
    emptied: int
    doubles: int
    origins: dict[str, list[str]]
    licence: str | None = None


@dataclass(frozen=True)
class Imported:
    """What an import did; `rejected` is the list beside the file, None where nothing was wrong."""

    path: Path
    rows: int
    columns: int
    left_out: int
    emptied: int
    rejected: Path | None


def import_files(
    reader: str,
    files: Sequence[Path],
    out: Path,
    *,
    options: Mapping[str, Any] | None = None,
    licence: str | None = None,
) -> Imported:
    """Read `files` with a reader of `READERS` and write `out` (.parquet) in one step.

    `options` are the reader's own, without `path`. A record that stands in several files is kept
    once: from the one with the latest `last_update_posted`, else from the first; of a published
    split from the test part; an article from the last file. What is left out or left empty is
    listed in `<out>.rejected.csv`. Raises `InputError` if `out` exists or nothing can be read.
    """
    _check_out(out)
    given = {} if options is None else dict(options)
    parts = read_parts(reader, files, given)
    rows, doubles = merged(parts)
    listed = pd.concat([*(_listed(part) for part in parts), doubles], ignore_index=True)
    told = {key: _without_folder(value) for key, value in given.items()}
    about = provenance(parts, rows, listed) | {"options": told, "licence": licence}
    store = Store(out.parent)
    store.write_file(out.name, _parquet(rows.frame, about))
    beside = out.with_name(out.name + ".rejected.csv")
    beside.unlink(missing_ok=True)
    if len(listed):
        store.write_file(beside.name, listed.to_csv(index=False).encode())
    return Imported(
        path=out,
        rows=about["rows"],
        columns=rows.frame.shape[1] + 1,
        left_out=about["left_out"],
        emptied=about["emptied"],
        rejected=beside if len(listed) else None,
    )


def _without_folder(value: Any) -> Any:
    """An option as it is stored: where a file stood on this machine is nobody else's business."""
    is_place = isinstance(value, str | Path) and Path(value).is_absolute()
    return Path(value).name if is_place else value


def _check_out(out: Path) -> None:
    if out.suffix != ".parquet":
        raise InputError(f"--out {out}", "a name that ends in .parquet")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}", "a folder to write to", "make it")
    if out.exists():
        raise InputError(f"{out} exists", "a new file", "give another --out, or delete it")


def read_parts(reader: str, files: Sequence[Path], options: Mapping[str, Any]) -> list[Part]:
    """The rows of every file; a reader that takes several files reads them together."""
    known = [name for name in READERS if name not in NOT_FILES]
    if reader not in known:
        raise unknown_name("reader of files", reader, known)
    module = importlib.import_module(READERS[reader])
    together = len(files) > 1 and "list" in str(module.Options.model_fields["path"].annotation)
    groups = [tuple(files)] if together else [(path,) for path in files]
    parts = []
    for group in groups:
        path = list(group) if together else group[0]
        try:
            checked = module.Options.model_validate({**options, "path": path})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(place) for place in first["loc"])
            fields = sorted(set(module.Options.model_fields) - {"path"})
            if first["type"] == "extra_forbidden":
                raise unknown_name(f"option of {reader}", where, fields) from None
            raise InputError(f"option {where} of {reader}: {first['msg']}") from None
        parts.append(Part(group, _recognised(reader, group[0]), module.read(checked)))
    return parts


def _recognised(reader: str, path: Path) -> str:
    """The reader that `auto` stands for."""
    if reader != "auto":
        return reader
    recognise = importlib.import_module(READERS["auto"]).recognise
    return str(recognise(path))


def merged(parts: Sequence[Part]) -> tuple[Rows, pd.DataFrame]:
    """The rows of all parts, each id once, and the list of those that another part's row replaces.

    Raises `InputError` where some are trials and others articles.
    """
    first = parts[0].rows
    if len(parts) == 1:
        return first, _entries([])
    if len({part.rows.frame.index.name for part in parts}) > 1:
        kinds = ", ".join(f"{part.name} of {part.rows.frame.index.name}" for part in parts)
        raise InputError(f"the files hold records of two kinds ({kinds})", "trials or articles")
    columns = {column.name: column for part in parts for column in part.rows.columns}
    frame = pd.concat([part.rows.frame for part in parts])
    for name in frame.columns:
        if name in columns and columns[name].kind == "text":
            frame[name] = frame[name].fillna("").astype("str")
    places = [place for place, part in enumerate(parts) for _ in range(len(part.rows.frame))]
    frame, doubles = _once(frame, pd.Series(places), [part.name for part in parts])
    order = [c.name for c in (*canonical.COLUMNS, *canonical_articles.COLUMNS) if c.name in columns]
    rows = replace(
        first,
        frame=frame,
        columns=tuple(columns[name] for name in order),
        group=next((part.rows.group for part in parts if part.rows.group is not None), None),
        date=next((part.rows.date for part in parts if part.rows.date is not None), None),
    )
    return rows, doubles


def _once(
    frame: pd.DataFrame, places: pd.Series, names: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The preferred row of each id, in order, and the list of the others."""
    ids = pd.Series(frame.index)
    again = ids[ids.duplicated(keep=False)]
    best = _preference(frame, places).loc[again.index].sort_values(kind="stable").index
    kept = again.loc[best].drop_duplicates()
    winner = {id_: int(row) for id_, row in zip(kept, kept.index, strict=True)}
    lost = [row for row in again.index if winner[again[row]] != row]
    entries = []
    for row in lost:
        here, there = frame.iloc[int(row)], frame.iloc[winner[again[row]]]
        file = names[places[winner[again[row]]]]
        reason = f"{LEFT_OUT}{again[row]} stands in {file} too, {_conflict(here, there)}"
        entries.append((names[places[row]], pd.NA, again[row], one_line(reason)))
    return frame.iloc[ids.index.drop(lost)], _entries(entries)


def _preference(frame: pd.DataFrame, places: pd.Series) -> pd.Series:
    """A rank for every row, the lowest is to be kept."""
    if canonical.OFFICIAL in frame:
        order = {part: rank for rank, part in enumerate(official.ORDER)}
        return frame[canonical.OFFICIAL].map(order).reset_index(drop=True)
    if frame.index.name == canonical_articles.ID:
        return -places  # later files of PubMed replace records of earlier ones
    if UPDATED in frame:
        days = frame[UPDATED].rank(ascending=False, method="dense", na_option="bottom")
        return days.reset_index(drop=True)
    return places


def _conflict(here: pd.Series, there: pd.Series) -> str:
    """Which columns of two rows differ, and how the first one does."""
    differs = [name for name in here.index if as_cell(here[name]) != as_cell(there[name])]
    if not differs:
        return "with the same content"
    differs.sort(key=lambda name: name != canonical.STATUS)
    name = differs[0]
    pair = f"{name} ({shown(here[name])} here, {shown(there[name])} there)"
    return f"which is kept; it differs in {', '.join([pair, *differs[1:]])}"


def _listed(part: Part) -> pd.DataFrame:
    rows = part.rows.rejected
    return _entries([(part.name, *row) for row in rows.itertuples(index=False)])


def _entries(entries: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """The list beside an import; `row` is missing where only the id is known."""
    listed = pd.DataFrame(entries, columns=["file", "row", "id", "reason"])
    return listed.astype({"file": "str", "row": "Int64", "id": "str", "reason": "str"})


def provenance(parts: Sequence[Part], rows: Rows, listed: pd.DataFrame) -> dict[str, Any]:
    """What the Parquet file says about itself."""
    left_out = int(listed["reason"].str.startswith(LEFT_OUT).sum())
    return {
        "schema": 1,
        "read_with": read_with(rows),
        "sources": [asdict(source_of(path, part.reader)) for part in parts for path in part.files],
        "rows": len(rows.frame),
        "left_out": left_out,
        "emptied": len(listed) - left_out,
        "doubles": int(listed["reason"].str.contains(DOUBLE, regex=False).sum()),
        "origins": origins(parts),
        "fingerprint": rows_fingerprint(rows),
        "trialmark": version("trialmark"),
    }


def read_with(rows: Rows) -> str:
    """The reader of such rows once they are in canonical columns."""
    return "articles" if rows.frame.index.name == canonical_articles.ID else "trials"


def source_of(path: Path, reader: str) -> Source:
    """A file's name, sha256, size and download manifest; a folder's are over all of its files."""
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        sums = {file.relative_to(path).as_posix(): _sha256(file) for file in files}
        digest = hashlib.sha256(canonical_json(sums).encode()).hexdigest()
        return Source(path.name, reader, digest, sum(file.stat().st_size for file in files), None)
    digest = _sha256(path)
    return Source(path.name, reader, digest, path.stat().st_size, manifest_of(path, digest))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def manifest_of(path: Path, sha256: str) -> dict[str, Any] | None:
    """The manifest beside a downloaded file, if it is of this very file."""
    try:
        manifest = json.loads(manifest_path(path).read_bytes())
        Manifest.model_validate(manifest)
    except (OSError, ValueError):
        return None
    return manifest if manifest.get("sha256") == sha256 else None


def origins(parts: Sequence[Part]) -> dict[str, list[str]]:
    """Canonical column -> the fields of the files that it is made from, as far as readers tell."""
    found: dict[str, list[str]] = {}
    for part in parts:
        told = origins_of(part.reader)
        present = {field.lower(): field for path in part.files for field in _header(path)}
        for name in map(str, (part.rows.frame.index.name, *part.rows.frame.columns)):
            fields = told.get(name, [name] if name in present else [])
            here = [present[field] for field in fields if field in present]
            known = found.setdefault(name, [])
            known += [field for field in (here if here else fields) if field not in known]
    return {name: _made_from(name, fields, found) for name, fields in found.items()}


MADE = {
    "has_abstract": ("abstract",),
    "has_mesh": (canonical_articles.HEADINGS,),
    canonical_articles.LABELS: (canonical_articles.TYPES, canonical_articles.HEADINGS),
    "enrollment_planned": ("enrollment", "enrollment_type"),
}
"""Columns that trialmark makes from others, where these are all there."""


def _made_from(name: str, fields: list[str], found: Mapping[str, list[str]]) -> list[str]:
    others = MADE.get(name, ())
    if not others or not set(others) <= set(found) or (name == "enrollment_planned" and fields):
        return fields
    return list(dict.fromkeys(field for other in others for field in found[other]))


def _header(path: Path) -> Iterator[str]:
    """Names of the columns of a CSV or Parquet file; nothing for others."""
    if not path.is_file():
        return
    if path.suffix.lower() in {".parquet", ".pq"}:
        import pyarrow.parquet as pq

        yield from pq.read_schema(path).names
    elif path.suffix.lower() in {".csv", ".tsv"}:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            line = file.readline(1_000_000)
        delimiter = max(",;\t|", key=line.count)
        for cell in next(csv.reader([line], delimiter=delimiter), []):
            yield " ".join(cell.split())


def _parquet(frame: pd.DataFrame, about: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame.reset_index(), preserve_index=False)
    kept = table.schema.metadata if table.schema.metadata is not None else {}
    table = table.replace_schema_metadata({**kept, KEY: json.dumps(about).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def stored_provenance(path: Path) -> dict[str, Any] | None:
    """What an imported file says about itself; None for any other file."""
    if path.suffix.lower() not in {".parquet", ".pq"} or not path.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        about: dict[str, Any] = json.loads((pq.read_schema(path).metadata or {})[KEY])
        Provenance.model_validate(about)
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    return about
