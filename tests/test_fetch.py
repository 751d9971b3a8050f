from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from server import Local, PubMed, Registry, Reply, as_json, serving, study

from benchmark import fetch_ctgov, fetch_pubmed
from benchmark.fetch import Manners, Partial, retry_after, server_message
from features.errors import InputError

FIVE = [study(n) for n in range(1, 6)]
HTML = Reply(200, b"<!DOCTYPE html><html><body>Sign in to the hotel network</body></html>")


@pytest.fixture
def naps() -> list[float]:
    """The waits of a fetch, in seconds; nothing really sleeps."""
    return []


@pytest.fixture
def manners(naps: list[float]) -> Manners:
    return Manners(
        pause=0.0, timeout=0.15, tries=3, sleep=lambda s: naps.append(s) if s > 0 else None
    )


@pytest.fixture
def registry() -> Iterator[Local]:
    with serving(Registry(FIVE)) as local:
        yield local


Get = Callable[[Local], dict[str, Any]]


@pytest.fixture
def get(tmp_path: Path, manners: Manners) -> Get:
    def fetch(local: Local) -> dict[str, Any]:
        out = tmp_path / "out.jsonl"
        return fetch_ctgov.fetch("asthma", out, url=local.url, page_size=2, manners=manners)

    return fetch


def ids(path: Path) -> list[str]:
    lines = path.read_bytes().splitlines()
    return [json.loads(line)["protocolSection"]["identificationModule"]["nctId"] for line in lines]


ALL_FIVE = [f"NCT{n:08d}" for n in range(1, 6)]


def test_every_page_is_asked_for_once_and_every_study_is_a_line(
    registry: Local, get: Get, tmp_path: Path
) -> None:
    manifest = get(registry)
    assert ids(tmp_path / "out.jsonl") == ALL_FIVE
    asked = registry.asked("/studies")
    assert [fields.get("pageToken") for fields in asked] == [None, "t1", "t2", None]
    assert {fields["query.term"] for fields in asked} == {"asthma"}
    assert asked[0]["countTotal"] == "true"
    assert asked[0]["pageSize"] == "2"
    assert "BriefSummary" in asked[0]["fields"].split("|")
    assert asked[3]["pageSize"] == "1"  # the total at the end
    assert manifest["studies"] == manifest["total_at_start"] == manifest["total_at_end"] == 5
    assert manifest["warnings"] == []


def test_the_manifest_says_what_was_asked_when_and_what_came(
    registry: Local, get: Get, tmp_path: Path
) -> None:
    get(registry)
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())
    data = (tmp_path / "out.jsonl").read_bytes()
    assert manifest["sha256"] == hashlib.sha256(data).hexdigest()
    assert manifest["bytes"] == len(data)
    assert manifest["file"] == "out.jsonl"
    assert manifest["query"] == "asthma"
    assert manifest["url"] == registry.url
    assert manifest["api_version"] == "2.0.5"
    assert manifest["data_timestamp"] == "2026-01-02T03:04:05"
    assert "NCTId" in manifest["fields"]
    finished = datetime.strptime(manifest["finished"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - finished) < timedelta(minutes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.jsonl",
        "out.jsonl.manifest.json",
    ]


def test_a_name_that_ends_in_gz_is_packed_and_the_same_every_time(
    registry: Local, tmp_path: Path, manners: Manners
) -> None:
    digests = set()
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        out = tmp_path / name
        manifest = fetch_ctgov.fetch("x", out, url=registry.url, page_size=2, manners=manners)
        assert len(gzip.decompress(out.read_bytes()).splitlines()) == 5
        digests.add(manifest["sha256"])
    assert len(digests) == 1


def test_requests_keep_their_distance(registry: Local, tmp_path: Path) -> None:
    clock = [100.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    moments: list[float] = []
    answer = registry.answer

    def timed(request: Any) -> Reply:
        moments.append(clock[0])
        return answer(request)

    registry.answer = timed
    manners = Manners(pause=1.25, sleep=sleep, clock=lambda: clock[0])
    fetch_ctgov.fetch("x", tmp_path / "o.jsonl", url=registry.url, page_size=2, manners=manners)
    assert moments == [100.0 + 1.25 * n for n in range(6)]  # 4 for studies, 2 for the version
    assert fetch_ctgov.PAUSE * 50 > 60  # the registry allows 50 a minute


@pytest.mark.parametrize(
    "fault",
    [
        Reply(500, b"oops"),
        Reply(503),
        Reply(429),
        Reply(200, b'{"studies": [', short=500),
        Reply(200, b'{"studies": [{"protocolSection"'),
        Reply(200, b'{"error": "try later"}'),
        Reply(200, b'{"studies": [{"protocolSection": {}}]}'),
        HTML,
        Reply(reset=True),
        Reply(silent=True),
    ],
    ids=["500", "503", "429", "short", "cut", "other", "no-id", "html", "reset", "slow"],
)
def test_a_fault_that_passes_costs_a_wait_and_no_study(
    fault: Reply, registry: Local, get: Get, tmp_path: Path, naps: list[float]
) -> None:
    registry.faults = [None, None, fault, fault]  # version and first page, then t1 twice
    assert get(registry)["warnings"] == []
    assert ids(tmp_path / "out.jsonl") == ALL_FIVE
    assert 0.5 <= naps[0] <= 1.0
    assert 1.0 <= naps[1] <= 2.0
    assert len(naps) == 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Reply(500, b"oops"), "in 3 tries: HTTP 500: oops"),
        (HTML, "in 3 tries: an HTML or XML page where JSON was asked for"),
        (Reply(200, b"[1"), r"in 3 tries: JSON that is cut or broken \(2 bytes\)"),
        (Reply(silent=True), "in 3 tries: ReadTimeout"),
        (Reply(200, b"{", short=9), "in 3 tries: RemoteProtocolError"),
    ],
)
def test_a_fault_that_stays_is_one_clear_line_and_the_finished_pages_are_kept(
    fault: Reply, message: str, registry: Local, get: Get, tmp_path: Path
) -> None:
    registry.faults = [None, None, fault, fault, fault]
    with pytest.raises(InputError, match=message) as caught:
        get(registry)
    assert "run the same command later; it goes on from here" in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()
    registry.requests.clear()
    assert get(registry)["resumed"] == 1
    assert [f.get("pageToken") for f in registry.asked("/studies")] == ["t1", "t2", None]
    assert ids(tmp_path / "out.jsonl") == ALL_FIVE


def test_nobody_at_the_address(tmp_path: Path, manners: Manners) -> None:
    with serving(Registry(FIVE)) as local:
        url = local.url
    with pytest.raises(InputError, match="in 3 tries: ConnectError"):
        fetch_ctgov.fetch("x", tmp_path / "o.jsonl", url=url, manners=manners)


def test_retry_after_is_waited_for_in_seconds_and_as_a_date(
    registry: Local, get: Get, naps: list[float]
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    registry.faults = [
        None,
        Reply(429, headers={"Retry-After": "30"}),
        Reply(503, headers={"Retry-After": date}),
    ]
    get(registry)
    assert naps[0] == 30
    assert 30 < naps[1] <= 40


def test_a_server_that_wants_an_hour_gets_it_from_the_user(registry: Local, get: Get) -> None:
    registry.faults = [None, Reply(429, headers={"Retry-After": "3600"})]
    with pytest.raises(InputError, match="asks to come back in 3600 seconds"):
        get(registry)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("7", 7), ("soon", 0), ("-5", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("", 0)],
)
def test_retry_after_of_all_kinds(value: str | None, seconds: float) -> None:
    assert retry_after(value) == seconds


def test_a_refused_query_is_the_servers_own_words_in_one_line(registry: Local, get: Get) -> None:
    registry.faults = [None, Reply(400, b"<h1>Unexpected token</h1>\n<p>at offset\n 5 &amp; 6</p>")]
    with pytest.raises(InputError) as caught:
        get(registry)
    assert "HTTP 400: Unexpected token at offset 5 & 6" in str(caught.value)
    assert len(registry.asked("/studies")) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"message": "bad field"}', "bad field"),
        ('{"error": "API key invalid", "api-key": "s3cret"}', "API key invalid"),
        ("<style>p {}</style><b>No</b>\x1b[2J", "No \\x1b[2J"),
        ('["a"]', "['a']"),
        ("", ""),
    ],
)
def test_words_of_a_server(body: str, words: str) -> None:
    assert server_message(body) == words


def test_a_query_without_results_is_an_error_and_leaves_no_file(
    tmp_path: Path, manners: Manners
) -> None:
    with serving(Registry([])) as local, pytest.raises(InputError, match="'x' finds no study"):
        fetch_ctgov.fetch("x", tmp_path / "o.jsonl", url=local.url, manners=manners)
    assert not (tmp_path / "o.jsonl").exists()


def test_a_page_sent_twice_by_mistake_is_asked_for_again(get: Get, tmp_path: Path) -> None:
    registry = Registry(FIVE)
    registry.pages["t1"] = [as_json(registry.page(""))]  # the first page again: points to t1
    with serving(registry) as local:
        manifest = get(local)
    assert ids(tmp_path / "out.jsonl") == ALL_FIVE
    assert manifest["repeated"] == 0


def test_studies_that_come_again_under_a_new_token_are_kept_once_and_counted(
    get: Get, tmp_path: Path
) -> None:
    registry = Registry(FIVE)
    again = as_json({"studies": FIVE[:2], "nextPageToken": "t2"})
    registry.pages["t1"] = [again, again]
    with serving(registry) as local:
        manifest = get(local)
    assert ids(tmp_path / "out.jsonl") == ["NCT00000001", "NCT00000002", "NCT00000005"]
    assert manifest["repeated"] == 2
    assert manifest["warnings"] == [
        "3 studies came where 5 were announced",
        "2 studies came more than once and are kept once",
    ]


def test_a_study_twice_on_one_page_is_kept_once(get: Get, tmp_path: Path) -> None:
    with serving(Registry([FIVE[0], FIVE[0], FIVE[1]], size=3)) as local:
        manifest = get(local)
    assert ids(tmp_path / "out.jsonl") == ALL_FIVE[:2]
    assert manifest["repeated"] == 1


def test_a_server_that_goes_in_circles_is_left(get: Get) -> None:
    registry = Registry(FIVE)
    back = as_json({"studies": FIVE[2:4], "nextPageToken": "t1"})
    registry.pages["t1"] = [back, back]
    with (
        serving(registry) as local,
        pytest.raises(InputError, match="token 't1' for a second time"),
    ):
        get(local)


def test_a_changed_total_is_a_warning_in_the_manifest(get: Get) -> None:
    with serving(Registry(FIVE, totals=[6, 5])) as local:
        manifest = get(local)
    assert (manifest["total_at_start"], manifest["total_at_end"]) == (6, 5)
    assert manifest["warnings"] == ["the total changed during the download: 6 then 5 studies"]


def test_a_total_that_changes_on_a_later_page_is_a_warning_too(get: Get) -> None:
    registry = Registry(FIVE)
    registry.pages["t1"] = [as_json({**registry.page("t1"), "totalCount": 9})]
    with serving(registry) as local:
        assert "5 then 9 studies" in get(local)["warnings"][0]


def test_new_data_during_the_download_is_a_warning(registry: Local, get: Get) -> None:
    new = as_json({"apiVersion": "2.0.5", "dataTimestamp": "2026-01-03T00:00:00"})
    registry.faults = [None, None, None, None, new]
    assert get(registry)["warnings"] == [
        "the registry's data changed during the download: 2026-01-02T03:04:05 then "
        "2026-01-03T00:00:00"
    ]


def test_a_server_that_tells_no_version_is_no_obstacle(get: Get) -> None:
    with serving(Registry(FIVE, version=Reply(404))) as local:
        assert get(local)["data_timestamp"] is None


def test_a_killed_download_goes_on_where_it_was(registry: Local, get: Get, tmp_path: Path) -> None:
    registry.faults = [None, None, None, Reply(silent=True)]
    code = (
        "from pathlib import Path; from benchmark import fetch, fetch_ctgov\n"
        f"fetch_ctgov.fetch('asthma', Path({str(tmp_path / 'out.jsonl')!r}), url={registry.url!r}, "
        "page_size=2, manners=fetch.Manners(pause=0.0))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
    end = time.monotonic() + 30
    while len(registry.asked("/studies")) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl.partial"]
    registry.requests.clear()
    assert get(registry)["resumed"] == 1
    assert [f.get("pageToken") for f in registry.asked("/studies")] == ["t2", None]
    assert ids(tmp_path / "out.jsonl") == ALL_FIVE


def test_a_damaged_page_is_fetched_again(registry: Local, get: Get, tmp_path: Path) -> None:
    registry.faults = [None, None, None, *[Reply(500)] * 3]
    with pytest.raises(InputError):
        get(registry)
    page = tmp_path / "out.jsonl.partial" / "page-00002.gz"
    page.write_bytes(page.read_bytes()[:-5])
    registry.requests.clear()
    get(registry)
    assert [f.get("pageToken") for f in registry.asked("/studies")] == ["t1", "t2", None]
    assert ids(tmp_path / "out.jsonl") == ALL_FIVE


def test_a_token_the_server_has_forgotten_is_explained(registry: Local, get: Get) -> None:
    registry.faults = [None, None, Reply(400, b"Unknown page token")]
    with pytest.raises(InputError, match=r"delete the \.partial folder and start over"):
        get(registry)


def test_a_part_of_another_download_is_not_mixed_in(
    registry: Local, get: Get, tmp_path: Path, manners: Manners
) -> None:
    registry.faults = [None, None, *[Reply(500)] * 3]
    with pytest.raises(InputError):
        get(registry)
    with pytest.raises(InputError, match=r"another download; expected .*\(query 'asthma'\)"):
        fetch_ctgov.fetch("copd", tmp_path / "out.jsonl", url=registry.url, manners=manners)


def test_a_refused_query_does_not_stand_in_the_way_of_the_next(
    registry: Local, tmp_path: Path, manners: Manners
) -> None:
    registry.faults = [None, Reply(400, b"bad query")]
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match="bad query"):
        fetch_ctgov.fetch("asthma AND", out, url=registry.url, manners=manners)
    fetch_ctgov.fetch("asthma", out, url=registry.url, page_size=2, manners=manners)
    assert ids(out) == ALL_FIVE


def test_an_interrupted_final_write_leaves_no_file_and_loses_no_page(
    registry: Local, get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pages(self: Partial, count: int) -> Iterator[bytes]:
        yield b"half a "
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Partial, "pages", pages)
        with pytest.raises(KeyboardInterrupt):
            get(registry)
    assert not (tmp_path / "out.jsonl").exists()
    registry.requests.clear()
    get(registry)
    assert [f.get("pageToken") for f in registry.asked("/studies")] == [None]  # the total alone
    assert ids(tmp_path / "out.jsonl") == ALL_FIVE


def test_an_existing_file_is_never_replaced(registry: Local, get: Get, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("precious")
    with pytest.raises(InputError, match="exists; expected a new file"):
        get(registry)
    assert registry.requests == []
    assert (tmp_path / "out.jsonl").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "message"),
    [("o.csv", "ends in .jsonl or .jsonl.gz"), ("no/o.jsonl", "there is no folder")],
)
def test_a_bad_out_is_refused_before_anything_is_asked(
    name: str, message: str, registry: Local, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        fetch_ctgov.fetch("x", tmp_path / name, url=registry.url)
    assert registry.requests == []


def test_the_address_comes_from_the_environment_and_must_be_one(
    registry: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manners: Manners
) -> None:
    monkeypatch.setenv("TRIALMARK_CTGOV_URL", registry.url + "/")
    fetch_ctgov.fetch("x", tmp_path / "o.jsonl", page_size=2, manners=manners)
    assert registry.requests
    monkeypatch.setenv("TRIALMARK_CTGOV_URL", "file:///etc/passwd")
    with pytest.raises(InputError, match=r"http\(s\)://host/path.*TRIALMARK_CTGOV_URL"):
        fetch_ctgov.fetch("x", tmp_path / "p.jsonl", manners=manners)


def test_half_a_surrogate_pair_survives(get: Get, tmp_path: Path) -> None:
    body = b'{"studies": [{"protocolSection": {"identificationModule": {"nctId": "NCT1"}},'
    with serving(Registry(FIVE)) as local:
        local.faults = [None, Reply(200, body + b'"x": "\\ud800 \xce\xb2"}]}')]
        get(local)
    assert json.loads((tmp_path / "out.jsonl").read_text())["x"] == "\ud800 β"


# PubMed


TEN = {f"2020/01/{day:02d}": [str(10 * day), str(10 * day + 1)] for day in range(1, 6)}
ALL_TEN = sorted(pmid for pmids in TEN.values() for pmid in pmids)


def pmids(path: Path) -> list[str]:
    data = path.read_bytes()
    root = etree.fromstring(gzip.decompress(data) if path.suffix == ".gz" else data)
    assert root.tag == "PubmedArticleSet"
    assert {child.tag for child in root} == {"PubmedArticle"}
    return [child.findtext("MedlineCitation/PMID") for child in root]


def pubmed(local: Local, out: Path, manners: Manners, query: str = "asthma") -> dict[str, Any]:
    url = f"{local.url}/entrez/eutils"
    return fetch_pubmed.fetch(query, out, url=url, batch=3, manners=manners)


def test_articles_come_from_the_history_server_into_one_xml_file(
    tmp_path: Path, manners: Manners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCBI_API_KEY", "s3cret")
    monkeypatch.setenv("NCBI_EMAIL", "someone@example.org")
    out = tmp_path / "o.xml.gz"
    with serving(PubMed(TEN)) as local:
        manifest = pubmed(local, out, manners)
    assert sorted(pmids(out)) == ALL_TEN
    searches, fetches = (local.asked(f"/entrez/eutils/e{x}.fcgi") for x in ("search", "fetch"))
    assert len(searches) == 2
    assert searches[0]["usehistory"] == "y"
    assert [f["retstart"] for f in fetches] == ["0", "3", "6", "9"]
    assert {(f["WebEnv"], f["query_key"], f["retmax"]) for f in fetches} == {("MCID_1", "1", "3")}
    for request in local.requests:
        assert request.method == "POST"
        assert request.fields["db"] == "pubmed"
        assert request.fields["tool"] == "trialmark"
        assert request.fields["api_key"] == "s3cret"
        assert request.fields["email"] == "someone@example.org"
    assert manifest["articles"] == manifest["total_at_start"] == manifest["total_at_end"] == 10
    assert manifest["warnings"] == []
    assert manifest["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert "s3cret" not in Path(f"{out}.manifest.json").read_text()


def test_titles_keep_their_letters(tmp_path: Path, manners: Manners) -> None:
    out = tmp_path / "o.xml"
    with serving(PubMed({"2020/01/01": ["7"]})) as local:
        pubmed(local, out, manners)
    assert etree.parse(out).findtext(".//ArticleTitle") == "Article 7 on β-blockers <i>"


def test_a_search_with_too_many_hits_is_cut_by_date(
    tmp_path: Path, manners: Manners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_pubmed, "LIMIT", 4)
    out = tmp_path / "o.xml"
    with serving(PubMed(TEN)) as local:
        manifest = pubmed(local, out, manners)
    assert sorted(pmids(out)) == ALL_TEN
    assert manifest["searches"] >= 3  # at most 2 days of 2 articles each
    searches = local.asked("/entrez/eutils/esearch.fcgi")
    assert "mindate" not in searches[0]
    assert {s["datetype"] for s in searches[1:-1]} == {"edat"}
    assert manifest["warnings"] == []


def test_a_day_with_too_many_hits_cannot_be_cut(
    tmp_path: Path, manners: Manners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_pubmed, "LIMIT", 1)
    with (
        serving(PubMed({"2020/01/01": ["1", "2"]})) as local,
        pytest.raises(InputError, match="2 articles of the query entered PubMed on 2020-01-01"),
    ):
        pubmed(local, tmp_path / "o.xml", manners)


def test_a_history_server_that_forgets_is_replaced_by_the_list_of_pmids(
    tmp_path: Path, manners: Manners
) -> None:
    with serving(PubMed(TEN, forgets=True)) as local:
        assert pubmed(local, tmp_path / "o.xml", manners)["warnings"] == []
    assert sorted(pmids(tmp_path / "o.xml")) == ALL_TEN


def test_an_interrupted_fetch_asks_for_the_missing_pmids_only(
    tmp_path: Path, manners: Manners
) -> None:
    out = tmp_path / "o.xml"
    with serving(PubMed(TEN)) as local:
        local.faults = [None, None, None, *[Reply(500)] * 5]  # two batches, then nothing
        with pytest.raises(InputError, match="HTTP 500"):
            pubmed(local, out, manners)
        assert not out.exists()
        local.requests.clear()
        manifest = pubmed(local, out, manners)
        fetches = local.asked("/entrez/eutils/efetch.fcgi")
    assert [f["id"] for f in fetches] == ["40,41,50", "51"]
    assert sorted(pmids(out)) == ALL_TEN
    assert manifest["resumed"] == 1


@pytest.mark.parametrize(
    "fault",
    [
        Reply(200, b"<PubmedArticleSet><PubmedArticle>"),
        Reply(200, b"<PubmedArticleSet>", short=99),
        Reply(200, b"<eFetchResult><ERROR>Unable to obtain query</ERROR></eFetchResult>"),
        Reply(429, b'{"error":"API rate limit exceeded"}', {"Retry-After": "2"}),
        HTML,
    ],
)
def test_a_bad_batch_is_fetched_again(fault: Reply, tmp_path: Path, manners: Manners) -> None:
    with serving(PubMed(TEN)) as local:
        local.faults = [None, fault]
        assert pubmed(local, tmp_path / "o.xml", manners)["articles"] == 10


def test_articles_that_never_come_are_named(tmp_path: Path, manners: Manners) -> None:
    with serving(PubMed(TEN, lost=frozenset({"11", "50"}))) as local:
        manifest = pubmed(local, tmp_path / "o.xml", manners)
    assert manifest["warnings"] == ["2 articles were announced and never came: 11, 50"]
    assert manifest["articles"] == 8


def test_words_that_pubmed_ignores_are_named(tmp_path: Path, manners: Manners) -> None:
    with serving(PubMed(TEN)) as local:
        manifest = pubmed(local, tmp_path / "o.xml", manners, "asthma nonsense")
    assert manifest["warnings"] == ["PubMed ignored what it does not know: nonsense"]
    with serving(PubMed({})) as local, pytest.raises(InputError, match="does not know: nonsense"):
        pubmed(local, tmp_path / "p.xml", manners, "nonsense")


def test_a_total_that_changes_is_a_warning(tmp_path: Path, manners: Manners) -> None:
    days = dict(TEN)
    with serving(PubMed(days)) as local:
        answer = local.answer

        def growing(request: Any) -> Reply:
            if request.path.endswith("efetch.fcgi"):
                days["2020/02/01"] = ["99"]
            return answer(request)

        local.answer = growing
        manifest = pubmed(local, tmp_path / "o.xml", manners)
    assert manifest["warnings"] == ["the total changed during the download: 10 then 11 articles"]


def test_an_api_key_is_never_shown(
    tmp_path: Path, manners: Manners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCBI_API_KEY", "s3cret")
    with serving(PubMed(TEN)) as local:
        local.faults = [as_json({"error": "API key invalid: s3cret"}, 400)]
        with pytest.raises(InputError, match=r"API key invalid: \*\*\*"):
            pubmed(local, tmp_path / "o.xml", manners)


def test_the_pause_follows_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paused = []

    def stop(manners: Manners, secret: str | None = None) -> Any:
        paused.append((manners.pause, secret))
        raise InterruptedError

    monkeypatch.setattr(fetch_pubmed, "client", stop)
    for key in ("", "k"):
        monkeypatch.setenv("NCBI_API_KEY", key)
        with pytest.raises(InterruptedError):
            fetch_pubmed.fetch("x", tmp_path / "o.xml")
    assert paused[0][0] >= 1 / 3
    assert 1 / 10 <= paused[1][0] < 1 / 3
    assert paused[1][1] == "k"


def test_an_empty_pubmed_query_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="an empty query"):
        fetch_pubmed.fetch("  ", tmp_path / "o.xml")


def test_entities_of_a_hostile_server_are_not_resolved_and_not_passed_on() -> None:
    body = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><PubmedArticleSet>'
    body += b"<PubmedArticle><MedlineCitation><PMID>1</PMID><t>&e;</t></MedlineCitation>"
    with pytest.raises(ValueError, match="entities of its own"):
        fetch_pubmed.articles(body + b"</PubmedArticle></PubmedArticleSet>")
