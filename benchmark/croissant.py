"""A data card as Croissant 1.0, the JSON-LD that data set search engines and loaders read.

https://docs.mlcommons.org/croissant/docs/croissant-spec.html; the tests have mlcroissant check it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.card import Card, date_range, duplicates, history, is_articles, label_sheet
from benchmark.dataset import rows_fingerprint
from features.columns import Column
from features.errors import InputError, one_line

DATA_TYPES = {"numeric": "sc:Float", "date": "sc:Date", "categorical": "sc:Text", "text": "sc:Text"}
FORMATS = {
    ".parquet": "application/x-parquet",
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".xml": "application/xml",
    ".gz": "application/gzip",
    ".zip": "application/zip",
}
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        name: f"cr:{name}"
        for name in (
            "citeAs", "column", "equivalentProperty", "extract", "field", "fileProperty",
            "fileObject", "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key",
            "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
            "replace", "samplingRate", "separator", "source", "subField", "transform",
        )
    },
}  # fmt: skip
"""The context that Croissant 1.0 prescribes."""


def croissant(card: Card) -> dict[str, Any]:
    """The card in Croissant 1.0 (https://docs.mlcommons.org/croissant/docs/croissant-spec.html).

    Only an imported Parquet file gets a record set, since its columns are those of the rows; of
    any other file the format, size and hash are stated.
    """
    if card.path.is_dir():
        raise InputError(
            f"{card.path} is a folder",
            "one file for a Croissant card",
            "`trialmark data import` it first",
        )
    source = card.source
    file = {
        "@type": "cr:FileObject",
        "@id": source.file,
        "name": source.file,
        "contentUrl": source.file,
        "contentSize": f"{source.bytes} B",
        "encodingFormat": FORMATS.get(card.path.suffix.lower(), "text/plain"),
        "sha256": source.sha256,
    }
    described = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": _plain_name(card.path),
        "description": _description(card),
        "license": card.licence,
        "distribution": [file],
    }
    dates = sorted(manifest.finished for manifest in card.manifests if manifest.finished)
    if dates:
        described["datePublished"] = dates[-1][:10]
    urls = sorted({manifest.url for manifest in card.manifests if manifest.url})
    if urls:
        described["url"] = urls[0]
    if card.provenance is not None:
        described["recordSet"] = [_record_set(card)]
    return described


def _description(card: Card) -> str:
    counts = label_sheet(card.rows).rows
    told = [
        f"{len(card.rows.frame):,} {'articles' if is_articles(card.rows) else 'trials'}",
        date_range(card.rows),
        ", ".join(f"{label} {n}" for label, n, _ in counts),
        *duplicates(card.rows),
        *history(card),
        f"fingerprint {rows_fingerprint(card.rows)}",
    ]
    return ". ".join(one_line(text) for text in told) + "."


def _record_set(card: Card) -> dict[str, Any]:
    id_ = str(card.rows.frame.index.name)
    declared = {column.name: column for column in card.rows.columns}
    about = {name: _about(declared.get(name), card.origins.get(name, [])) for name in card.origins}
    types = {name: DATA_TYPES[column.kind] for name, column in declared.items()}
    for name, values in card.rows.frame.items():
        if pd.api.types.is_bool_dtype(values):
            types[str(name)] = "sc:Boolean"
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"records/{name}",
            "name": name,
            "description": about.get(name, "no input of a model"),
            "dataType": types.get(name, "sc:Text"),
            "source": {"fileObject": {"@id": card.source.file}, "extract": {"column": name}},
        }
        for name in (id_, *map(str, card.rows.frame.columns))
    ]
    return {
        "@type": "cr:RecordSet",
        "@id": "records",
        "name": "records",
        "key": {"@id": f"records/{id_}"},
        "field": fields,
    }


def _about(column: Column | None, fields: Sequence[str]) -> str:
    made = f"; made from {', '.join(fields)}" if fields else ""
    if column is None:
        return f"no input of a model{made}"
    return f"{column.kind}, known at {column.known_at}{made}"


def _plain_name(path: Path) -> str:
    """A name that Croissant allows: letters, digits, `-`, `_`."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in path.stem)
    return plain.strip("-") or "records"
