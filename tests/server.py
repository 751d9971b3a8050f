"""Servers on 127.0.0.1 that speak like the registry and PubMed, and misbehave when told to."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    """An answer. `short`: bytes promised and not sent; `silent`: none comes; `reset`: hang up."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    short: int = 0
    silent: bool = False
    reset: bool = False


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    fields: dict[str, str]


Answer = Callable[[Request], Reply]


@dataclass
class Local:
    """A running server: `requests` it got; `faults` are sent first, None for a proper answer."""

    answer: Answer
    faults: list[Reply | None] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def reply(self, request: Request) -> Reply:
        self.requests.append(request)
        fault = self.faults.pop(0) if self.faults else None
        return self.answer(request) if fault is None else fault

    def asked(self, path: str) -> list[dict[str, str]]:
        """The fields of the requests for one path."""
        return [request.fields for request in self.requests if request.path == path]


def as_json(data: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(data).encode(), {"Content-Type": "application/json"})


@contextlib.contextmanager
def serving(answer: Answer) -> Iterator[Local]:
    """A server for the time of the block."""
    local = Local(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet, else each answer waits 40 ms for an ACK

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._reply(Request("GET", parts.path, dict(parse_qsl(parts.query))))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._reply(Request("POST", urlsplit(self.path).path, dict(parse_qsl(body))))

        def _reply(self, request: Request) -> None:
            reply = local.reply(request)
            self.close_connection = reply.silent or reply.reset or reply.short > 0
            if reply.silent:
                local.over.wait(10)
                return
            if reply.reset:  # linger for 0 seconds: the peer gets a reset, not an orderly end
                packed = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, packed)
                self.connection.close()
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.short))
            self.end_headers()
            self.wfile.write(reply.body)

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # a client that was killed
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        local.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield local
        finally:
            local.over.set()
            server.shutdown()
            thread.join()


def study(number: int, **more: Any) -> dict[str, Any]:
    """A study with the id NCT00000012 for 12."""
    identification = {"nctId": f"NCT{number:08d}", "briefTitle": f"Fictional study {number}"}
    module = {"overallStatus": "COMPLETED", "startDateStruct": {"date": "2020-01"}}
    return {
        "protocolSection": {"identificationModule": identification, "statusModule": module}
    } | more


VERSION = as_json({"apiVersion": "2.0.5", "dataTimestamp": "2026-01-02T03:04:05"})


@dataclass
class Registry:
    """ClinicalTrials.gov: pages of `size` studies, tokens `t1`, `t2`, …; the first tells the total.

    `totals` are told one after the other, the last one for ever; `pages` replaces the answer to a
    token (`""` is the first page).
    """

    studies: Sequence[dict[str, Any]]
    size: int = 2
    totals: list[int] = field(default_factory=list)
    pages: dict[str, list[Reply]] = field(default_factory=dict)
    version: Reply = VERSION

    def __call__(self, request: Request) -> Reply:
        if request.path == "/version":
            return self.version
        if request.path != "/studies":
            return Reply(404, b"no such page")
        token = request.fields.get("pageToken", "")
        if self.pages.get(token):
            return self.pages[token].pop(0)
        return as_json(self.page(token, tells_total="countTotal" in request.fields))

    def page(self, token: str, *, tells_total: bool = False) -> dict[str, Any]:
        number = int(token[1:]) if token else 0
        start, end = number * self.size, (number + 1) * self.size
        page: dict[str, Any] = {"studies": list(self.studies[start:end])}
        if end < len(self.studies):
            page["nextPageToken"] = f"t{number + 1}"
        if tells_total:
            page["totalCount"] = len(self.studies)
            if self.totals:
                page["totalCount"] = self.totals.pop(0) if len(self.totals) > 1 else self.totals[0]
        return page


def article(pmid: str) -> str:
    return (
        f'<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="1">{pmid}</PMID>'
        f"<Article><Journal><Title>Journal of Fiction</Title></Journal>"
        f"<ArticleTitle>Article {pmid} on β-blockers &lt;i&gt;</ArticleTitle></Article>"
        f"</MedlineCitation></PubmedArticle>"
    )


@dataclass
class PubMed:
    """E-utilities over `days`: PMIDs by the day (YYYY/MM/DD) on which they entered PubMed.

    `lost`: PMIDs that are listed and never sent; `forgets`: the history server knows nothing.
    """

    days: dict[str, list[str]]
    lost: frozenset[str] = frozenset()
    forgets: bool = False
    searches: list[list[str]] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply:
        name = request.path.rpartition("/")[2]
        return (
            self.esearch(request.fields) if name == "esearch.fcgi" else self.efetch(request.fields)
        )

    def esearch(self, fields: dict[str, str]) -> Reply:
        first, last = fields.get("mindate", ""), fields.get("maxdate", "9")
        hits = [id_ for day, ids in self.days.items() if first <= day <= last for id_ in ids]
        self.searches.append(hits)
        result = {
            "count": str(len(hits)),
            "idlist": hits[: min(int(fields["retmax"]), 9999)],
            "webenv": "MCID_1",
            "querykey": str(len(self.searches)),
        }
        if "nonsense" in fields["term"]:
            result["errorlist"] = {"phrasesnotfound": ["nonsense"], "fieldsnotfound": []}
        return as_json({"header": {"type": "esearch"}, "esearchresult": result})

    def efetch(self, fields: dict[str, str]) -> Reply:
        if "id" in fields:
            ids = fields["id"].split(",")
        elif self.forgets:
            return Reply(
                400, b"<eFetchResult><ERROR>Cannot retrieve history data</ERROR></eFetchResult>"
            )
        else:
            start = int(fields["retstart"])
            hits = self.searches[int(fields["query_key"]) - 1]
            ids = hits[start : start + int(fields["retmax"])]
        sent = "\n".join(article(id_) for id_ in ids if id_ not in self.lost)
        head = (
            '<?xml version="1.0" ?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle'
        )
        head += ', 1st January 2025//EN" "https://dtd.nlm.nih.gov/x.dtd">\n'
        return Reply(200, f"{head}<PubmedArticleSet>\n{sent}\n</PubmedArticleSet>".encode())
