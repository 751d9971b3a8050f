"""Download studies from ClinicalTrials.gov (API v2) as JSON Lines.

https://clinicaltrials.gov/data-api/api describes what is asked for here: `GET /studies` in pages
of up to 1,000, each with the token of the next, and `GET /version`. About 50 requests a minute
are allowed. Tested against a local server only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.fetch import (
    Client,
    Manners,
    Partial,
    Refused,
    Watch,
    base_url,
    checked_out,
    client,
    now,
)
from benchmark.receipts import version
from features.errors import InputError, one_line

URL = "https://clinicaltrials.gov/api/v2"
VARIABLE = "TRIALMARK_CTGOV_URL"
TERMS = "https://clinicaltrials.gov/about-site/terms-conditions"
PAUSE = 1.25
FIELDS = (
    "NCTId", "BriefTitle", "OfficialTitle", "Acronym", "OverallStatus", "WhyStopped", "StartDate",
    "StartDateType", "PrimaryCompletionDate", "PrimaryCompletionDateType", "CompletionDate",
    "CompletionDateType", "StudyFirstPostDate", "ResultsFirstPostDate", "LastUpdatePostDate",
    "LeadSponsorName", "LeadSponsorClass", "CollaboratorName", "OversightHasDMC",
    "IsFDARegulatedDrug", "BriefSummary", "DetailedDescription", "Condition", "Keyword",
    "StudyType", "Phase", "DesignAllocation", "DesignInterventionModel", "DesignMasking",
    "DesignPrimaryPurpose", "DesignObservationalModel", "DesignTimePerspective",
    "EnrollmentCount", "EnrollmentType", "ArmGroupLabel", "InterventionType", "InterventionName",
    "PrimaryOutcomeMeasure", "PrimaryOutcomeDescription", "PrimaryOutcomeTimeFrame",
    "EligibilityCriteria", "HealthyVolunteers", "Sex", "MinimumAge", "MaximumAge", "StdAge",
    "LocationCity", "LocationCountry",
)  # fmt: skip
"""What the canonical frame of trials is made of, in the API's names for pieces of a record."""


@dataclass(frozen=True)
class Page:
    """One answer: `total` only stands on the first page, `next` on all but the last."""

    studies: list[dict[str, Any]]
    ids: list[str]
    next: str | None
    total: int | None


@dataclass
class _Received:
    """What the pages so far have brought: their records, ids, used tokens and announced totals."""

    records: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    tokens: set[str | None] = field(default_factory=set)
    totals: list[int] = field(default_factory=list)

    def add(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        self.ids.update(record["ids"])
        self.tokens.add(record["token"])
        if record["total"] is not None:
            self.totals.append(record["total"])

    @property
    def next(self) -> str | None:
        return self.records[-1]["next"] if self.records else None

    @property
    def is_complete(self) -> bool:
        return bool(self.records) and self.next is None

    @property
    def repeated(self) -> int:
        return sum(record["repeated"] for record in self.records)


def fetch(
    query: str,
    out: Path,
    *,
    url: str | None = None,
    page_size: int = 1000,
    manners: Manners | None = None,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Download every study that `query` finds into `out` (.jsonl or .jsonl.gz), one a line.

    `query` is the API's `query.term`; an empty one finds the whole registry. `url` is the API's
    address (default: `$TRIALMARK_CTGOV_URL`, else the public one). After an interruption the same
    call goes on behind the last finished page. Returns the manifest that stands beside `out`;
    its `warnings` say what a user must know (a changed total, repeated studies).
    """
    out = checked_out(out, (".jsonl", ".jsonl.gz"))
    base = base_url(url, VARIABLE, URL)
    wanted = {"query.term": query.strip(), "fields": "|".join(FIELDS), "format": "json"}
    wanted = {name: value for name, value in wanted.items() if value}
    request = {"query": query, "url": base, "fields": list(FIELDS), "page_size": page_size}
    partial = Partial.of(out)
    with client(manners if manners is not None else Manners(PAUSE)) as server:
        state = partial.begin(request)
        if state is None:
            state = {"request": request, "started": now(), "resumed": 0, **_api(server, base)}
        else:
            state["resumed"] += 1
        partial.write_state(state)
        got = _Received()
        for record in partial.records():
            got.add(record)
        while not got.is_complete:
            fields = {**wanted, "pageSize": str(page_size), **_place(got)}
            page = _page(server, f"{base}/studies", fields, got)
            got.add(_keep(partial, page, fields.get("pageToken"), got))
            if watch is not None:
                watch(len(got.ids), got.totals[-1] if got.totals else 0)
        at_end = _api(server, base)
        last = {**wanted, "fields": "NCTId", "pageSize": "1", "countTotal": "true"}
        total = server.ask(f"{base}/studies", last, parsed).total
    if total is not None:
        got.totals.append(total)
    return partial.publish(partial.pages(len(got.records)), _manifest(state, at_end, got))


def _place(got: _Received) -> dict[str, str]:
    """The part of the request that says which page: the API tells the total on the first alone."""
    return {"countTotal": "true"} if got.next is None else {"pageToken": got.next}


def _keep(partial: Partial, page: Page, token: str | None, got: _Received) -> dict[str, Any]:
    """Write the studies of a page that are new, and its record."""
    new: dict[str, dict[str, Any]] = {}
    for id_, study in zip(page.ids, page.studies, strict=True):
        if id_ not in got.ids:
            new.setdefault(id_, study)
    record = {
        "token": token,
        "next": page.next,
        "total": page.total,
        "ids": list(new),
        "repeated": len(page.ids) - len(new),
    }
    return partial.add(len(got.records) + 1, lines(new.values()), record)


def _page(server: Client, url: str, fields: Mapping[str, str], got: _Received) -> Page:
    """The next page; one that brings nothing new or points back is asked for a second time.

    Raises `InputError` if its token has been used all the same, which would go on for ever.
    """
    used = {*got.tokens, fields.get("pageToken")}
    try:
        page = server.ask(url, fields, parsed)
        points_back = page.next is not None and page.next in used
        if points_back or (page.ids and got.ids.issuperset(page.ids)):
            page = server.ask(url, fields, parsed)
    except Refused as error:
        if "pageToken" not in fields:
            raise
        raise Refused(
            error.came,
            "it to know the page where the download stopped",
            "if it stopped long ago: delete the .partial folder and start over",
        ) from None
    if page.next is not None and page.next in used:
        raise InputError(
            f"{url} sends the page token {one_line(page.next, 40)!r} for a second time",
            "a new token on every page",
            "run the same command later; it goes on from here",
        )
    if not page.ids and not got.records:
        raise InputError(
            f"the query {fields.get('query.term', '')!r} finds no study",
            "a query with results",
            "try it on https://clinicaltrials.gov",
        )
    return page


def parsed(body: bytes) -> Page:
    """An answer of `/studies`. Raises `ValueError` for everything else."""
    data = _object(body)
    studies = data.get("studies")
    if not isinstance(studies, list):
        raise ValueError("JSON without a list of studies")
    next_, total = data.get("nextPageToken"), data.get("totalCount")
    return Page(
        studies,
        [_id(study) for study in studies],
        str(next_) if next_ else None,
        total if isinstance(total, int) else None,
    )


def _id(study: Any) -> str:
    try:
        id_ = study["protocolSection"]["identificationModule"]["nctId"]
    except (KeyError, TypeError):
        id_ = None
    if not isinstance(id_, str) or not id_.strip():
        raise ValueError("a study without an nctId")
    return id_.strip().upper()


def _object(body: bytes) -> dict[str, Any]:
    if body.lstrip()[:1] == b"<":
        raise ValueError("an HTML or XML page where JSON was asked for")
    try:
        data = json.loads(body)
    except ValueError:
        raise ValueError(f"JSON that is cut or broken ({len(body):,} bytes)") from None
    if not isinstance(data, dict):
        raise ValueError("JSON that is no object")
    return data


def lines(studies: Iterable[dict[str, Any]]) -> bytes:
    """JSON Lines; ASCII, so that half a surrogate pair does no harm."""
    return b"".join(json.dumps(study, separators=(",", ":")).encode() + b"\n" for study in studies)


def _api(server: Client, base: str) -> dict[str, Any]:
    """Version of the API and of its data; nulls where it does not tell."""
    try:
        told = server.ask(f"{base}/version", {}, _object, tries=2)
    except InputError:
        told = {}
    return {"api_version": told.get("apiVersion"), "data_timestamp": told.get("dataTimestamp")}


def _manifest(
    state: Mapping[str, Any], at_end: Mapping[str, Any], got: _Received
) -> dict[str, Any]:
    return {
        "source": "ClinicalTrials.gov API v2",
        "query": state["request"]["query"],
        "url": state["request"]["url"],
        "fields": state["request"]["fields"],
        "started": state["started"],
        "finished": now(),
        "resumed": state["resumed"],
        "api_version": state["api_version"],
        "data_timestamp": state["data_timestamp"],
        "studies": len(got.ids),
        "total_at_start": got.totals[0] if got.totals else None,
        "total_at_end": got.totals[-1] if got.totals else None,
        "repeated": got.repeated,
        "pages": len(got.records),
        "warnings": list(_warnings(state, at_end, got)),
        "terms": TERMS,
        "trialmark": version("trialmark"),
    }


def _warnings(state: Mapping[str, Any], at_end: Mapping[str, Any], got: _Received) -> Iterator[str]:
    totals = list(dict.fromkeys(got.totals))
    if len(totals) > 1:
        yield f"the total changed during the download: {' then '.join(map(str, totals))} studies"
    if got.totals and got.totals[-1] != len(got.ids):
        yield f"{len(got.ids)} studies came where {got.totals[-1]} were announced"
    if got.repeated:
        yield f"{got.repeated} studies came more than once and are kept once"
    if at_end["data_timestamp"] != state["data_timestamp"]:
        yield (
            f"the registry's data changed during the download: {state['data_timestamp']} then "
            f"{at_end['data_timestamp']}"
        )
