"""Download articles from PubMed (NCBI E-utilities) as one PubMed XML file.

https://www.ncbi.nlm.nih.gov/books/NBK25499/ describes what is asked for here: `esearch` puts the
hits on the history server and lists their PMIDs, `efetch` takes the records from there. Neither
gives more than the first 9,999 hits of a PubMed search, so a larger one is cut into ranges of the
date on which records entered PubMed. 3 requests a second are allowed, 10 with a key
(`NCBI_API_KEY`); `NCBI_EMAIL` tells NCBI whom to write to. Tested against a local server only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from benchmark.fetch import (
    Check,
    Client,
    Manners,
    Partial,
    Watch,
    base_url,
    checked_out,
    client,
    now,
)
from benchmark.receipts import version
from features.errors import InputError

URL = "https://eutils.ncbi.nlm.nih.gov/entrez/eutils"
VARIABLE = "TRIALMARK_PUBMED_URL"
TERMS = "https://www.nlm.nih.gov/databases/download/terms_and_conditions.html"
PAUSE, PAUSE_WITH_KEY = 0.34, 0.1
LIMIT = 9_999
EARLIEST = date(1780, 1, 1)
HEAD, TAIL = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<PubmedArticleSet>\n',
    b"</PubmedArticleSet>\n",
)

T = TypeVar("T")
Days = tuple[date, date]


@dataclass(frozen=True)
class Found:
    """What a search tells: `ids` are the first `LIMIT` hits, `unknown` the words it ignored."""

    count: int
    ids: list[str]
    web_env: str
    query_key: str
    unknown: list[str]


@dataclass(frozen=True)
class Service:
    """The E-utilities at one address, with what every request says about its sender."""

    server: Client
    url: str
    sender: Mapping[str, str]

    def search(self, query: str, days: Days | None, limit: int = LIMIT) -> Found:
        """Hits of `query`, of those that entered PubMed on `days` (first, last) if given."""
        fields = {"term": query, "usehistory": "y", "retmode": "json", "retmax": str(limit)}
        if days is not None:
            first, last = (f"{day:%Y/%m/%d}" for day in days)
            fields |= {"datetype": "edat", "mindate": first, "maxdate": last}
        return self._ask("esearch", fields, lambda body: found(body, limit))

    def records(self, which: Mapping[str, str], tries: int | None = None) -> dict[str, bytes]:
        """The XML of records by PMID; `which` is a list of ids, or a piece of a stored search."""
        return self._ask("efetch", {"retmode": "xml", **which}, articles, tries)

    def _ask(
        self,
        name: str,
        fields: Mapping[str, str],
        check: Check[T],
        tries: int | None = None,
    ) -> T:
        # POST: a long query or 200 ids do not fit into an address, and the key stays out of logs
        fields = {"db": "pubmed", **fields, **self.sender}
        return self.server.ask(f"{self.url}/{name}.fcgi", fields, check, post=True, tries=tries)


def fetch(
    query: str,
    out: Path,
    *,
    url: str | None = None,
    batch: int = 200,
    manners: Manners | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Download every article that `query` finds into `out`, one PubmedArticleSet (.xml.gz or .xml).

    `url` is the address of the E-utilities (default: `$TRIALMARK_PUBMED_URL`, else NCBI's);
    `batch` records are asked for at a time. After an interruption the same call fetches what is
    missing of the PMIDs found at the start. Returns the manifest that stands beside `out`; its
    `warnings` say what a user must know (words PubMed ignored, a changed total, missing records).
    """
    if not query.strip():
        raise InputError("an empty query", "a PubMed query, such as asthma[mh] AND 2020[dp]")
    out = checked_out(out, (".xml", ".xml.gz"))
    base = base_url(url, VARIABLE, URL)
    key = os.environ.get("NCBI_API_KEY")
    sender = {"tool": "trialmark", "email": os.environ.get("NCBI_EMAIL"), "api_key": key}
    if manners is None:
        manners = Manners(PAUSE_WITH_KEY if key else PAUSE)
    partial = Partial.of(out)
    with client(manners, key) as server:
        service = Service(server, base, {name: value for name, value in sender.items() if value})
        request = {"query": query, "url": base, "batch": batch}
        state = partial.begin(request)
        is_new = state is None
        if state is None:
            total, unknown, found_now = plan(service, query)
            state = {"request": request, "started": now(), "resumed": 0, "total": total}
            state |= {"unknown": unknown, "pieces": [asdict(piece) for piece in found_now]}
        else:
            state["resumed"] += 1
        partial.write_state(state)
        pieces = [Found(**piece) for piece in state["pieces"]]
        records = partial.records()
        received = {id_ for record in records for id_ in record["ids"]}
        for new in _batches(service, pieces, received, batch, is_new=is_new):
            data = b"".join(new.values())
            records.append(partial.add(len(records) + 1, data, {"ids": list(new)}))
            received.update(new)
            if watch is not None:
                watch(len(received), state["total"])
        at_end = service.search(query, None, limit=0).count
    return partial.publish(
        _chunks(partial.pages(len(records))), _manifest(state, pieces, received, at_end)
    )


def plan(service: Service, query: str) -> tuple[int, list[str], list[Found]]:
    """Count of all hits, words PubMed ignores, and the searches that find at most `LIMIT` each.

    Raises `InputError` if nothing is found, or one day has more hits than that.
    """
    whole = service.search(query, None)
    if not whole.count:
        ignored = f" (PubMed does not know: {', '.join(whole.unknown)})" if whole.unknown else ""
        raise InputError(
            f"the query {query!r} finds no article{ignored}",
            "a query with results",
            "try it on https://pubmed.ncbi.nlm.nih.gov",
        )
    if whole.count <= LIMIT:
        return whole.count, whole.unknown, [whole]
    # the day after tomorrow: PubMed's clock may be ahead of this one
    days = (EARLIEST, datetime.now(UTC).date() + timedelta(days=2))
    return whole.count, whole.unknown, list(_cut(service, query, days))


def _cut(service: Service, query: str, days: Days) -> Iterator[Found]:
    """Searches over parts of `days`, halved until each has at most `LIMIT` hits; empty ones not."""
    part = service.search(query, days)
    first, last = days
    if part.count > LIMIT:
        if first == last:
            raise InputError(
                f"{part.count:,} articles of the query entered PubMed on {first}",
                f"at most {LIMIT:,} a day, which is all that NCBI gives out",
                "narrow the query, or load the PubMed baseline files instead",
            )
        middle = first + (last - first) // 2
        yield from _cut(service, query, (first, middle))
        yield from _cut(service, query, (middle + timedelta(days=1), last))
    elif part.count:
        yield part


def _batches(
    service: Service, pieces: Sequence[Found], received: set[str], size: int, *, is_new: bool
) -> Iterator[dict[str, bytes]]:
    """Records not in `received`, which the caller fills, by PMID.

    From the history server first; by PMID what that did not give, and everything after an
    interruption, since the server keeps a search for some hours only.
    """
    for piece in pieces:
        starts = range(0, piece.count, size) if is_new else range(0)
        for start in starts:
            which = {
                "WebEnv": piece.web_env,
                "query_key": piece.query_key,
                "retstart": str(start),
                "retmax": str(size),
            }
            try:
                records = service.records(which, tries=2)
            except InputError:  # the search may be gone; if it is the server, the next call says so
                break
            if new := _without(records, received):
                yield new
        missing = [id_ for id_ in piece.ids if id_ not in received]
        for start in range(0, len(missing), size):
            records = service.records({"id": ",".join(missing[start : start + size])})
            if new := _without(records, received):
                yield new


def _without(records: Mapping[str, bytes], received: set[str]) -> dict[str, bytes]:
    return {id_: record for id_, record in records.items() if id_ not in received}


def _chunks(pages: Iterator[bytes]) -> Iterator[bytes]:
    yield HEAD
    yield from pages
    yield TAIL


def found(body: bytes, limit: int) -> Found:
    """An answer of esearch in JSON. Raises `ValueError` for everything else."""
    try:
        # esearch puts raw control characters into messages
        result = json.loads(body, strict=False)["esearchresult"]
        if "ERROR" in result:
            raise ValueError(f"PubMed says: {result['ERROR']}")
        count, ids = int(result["count"]), [str(id_) for id_ in result["idlist"]]
        web_env, query_key = str(result["webenv"]), str(result["querykey"])
    except (KeyError, TypeError):
        raise ValueError("no answer of esearch") from None
    except json.JSONDecodeError:
        raise ValueError(f"JSON that is cut or broken ({len(body):,} bytes)") from None
    if len(ids) != min(count, limit):
        raise ValueError(f"{len(ids)} ids where {min(count, limit)} were asked for")
    lists = {**result.get("errorlist", {}), **result.get("warninglist", {})}
    unknown = [
        str(word)
        for name in ("phrasesnotfound", "fieldsnotfound", "quotedphrasesnotfound")
        for word in lists.get(name, [])
    ]
    return Found(count, ids, web_env, query_key, unknown)


def articles(body: bytes) -> dict[str, bytes]:
    """The records of a PubmedArticleSet by PMID, each one as XML. Raises `ValueError` otherwise."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        raise ValueError(f"XML that is cut or broken ({len(body):,} bytes)") from None
    if root.tag != "PubmedArticleSet":
        said = " ".join("".join(root.itertext()).split())[:200]
        raise ValueError(f"a {root.tag} where a PubmedArticleSet was asked for: {said}")
    if next(root.iter(etree.Entity), None) is not None:
        raise ValueError("XML with entities of its own")
    records = {}
    for record in root.iterchildren("PubmedArticle", "PubmedBookArticle"):
        id_ = record.findtext("MedlineCitation/PMID") or record.findtext("BookDocument/PMID")
        if id_:
            records[id_.strip()] = etree.tostring(record, encoding="utf-8", with_tail=False) + b"\n"
    return records


def _manifest(
    state: Mapping[str, Any], pieces: Sequence[Found], received: set[str], at_end: int
) -> dict[str, Any]:
    return {
        "source": "PubMed, NCBI E-utilities",
        "query": state["request"]["query"],
        "url": state["request"]["url"],
        "started": state["started"],
        "finished": now(),
        "resumed": state["resumed"],
        "articles": len(received),
        "total_at_start": state["total"],
        "total_at_end": at_end,
        "searches": len(pieces),
        "warnings": list(_warnings(state, pieces, received, at_end)),
        "terms": TERMS,
        "trialmark": version("trialmark"),
    }


def _warnings(
    state: Mapping[str, Any], pieces: Sequence[Found], received: set[str], at_end: int
) -> Iterator[str]:
    if state["unknown"]:
        yield f"PubMed ignored what it does not know: {', '.join(state['unknown'])}"
    total = state["total"]
    if total != at_end:
        yield f"the total changed during the download: {total} then {at_end} articles"
    in_pieces = sum(piece.count for piece in pieces)
    if in_pieces != total:
        yield f"the searches by date find {in_pieces} articles where the whole query finds {total}"
    missing = sorted({id_ for piece in pieces for id_ in piece.ids} - received)
    if missing:
        shown = ", ".join(missing[:20]) + (", …" if len(missing) > 20 else "")
        yield f"{len(missing)} articles were announced and never came: {shown}"
