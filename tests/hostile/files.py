"""Files that nobody means well with, for every reader."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from fictional import NCT, study, xml

Files = Mapping[str, bytes]
"""What one input is made of: contents by name, below one folder."""

PWNED = "pwned"
"""The file that a payload would make in the working folder."""
COMMAND = f"touch {PWNED}"
NASTY = ("\x1b[31mred\x1b[0m", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "a\u202eb", "|x|")


class _Payload:
    def __reduce__(self) -> Any:
        return os.system, (COMMAND,)


def files() -> Iterator[tuple[str, Files]]:
    """Name and files of each input."""
    for make in (_bytes, _archives, _tables, _literals, _json, _xml, _medline, _folders):
        for name, content in make():
            yield (
                name,
                {_ENDINGS[make.__name__]: content} if isinstance(content, bytes) else content,
            )


_ENDINGS = {
    "_bytes": "file.csv", "_archives": "file.zip", "_tables": "file.csv", "_literals": "file.csv",
    "_json": "file.json", "_xml": "file.xml", "_medline": "file.nbib", "_folders": "",
}  # fmt: skip

Made = Iterator[tuple[str, bytes | Files]]


def _bytes() -> Made:
    chance = random.Random(1)
    yield "empty", b""
    yield "nul", bytes(5000)
    yield "ff", b"\xff" * 5000
    yield "newlines", b"\n" * 5000
    yield "carriage returns", b"\r" * 5000
    yield "quotes", b'"' * 9999
    yield "commas", b"," * 200_000
    yield "one line", b"x" * 5_000_000
    for number in range(12):
        yield f"random {number}", chance.randbytes(1 << chance.randrange(3, 16))
    for mark in (
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xff\xfe\x00\x00",
        b"\x00\x00\xfe\xff",
    ):
        yield f"mark {mark.hex()}", mark
        yield f"mark and half a character {mark.hex()}", mark + b"\xd8"
    for head in (
        b"%PDF-1.7\n",
        b"\x7fELF",
        b"\x89PNG\r\n",
        b"SQLite format 3\x00",
        b"MZ",
        b"7z\xbc\xaf",
    ):
        yield f"head {head[:4]!r}", head + chance.randbytes(3000)
    yield "pickle", pickle.dumps(_Payload())
    yield "pickle named parquet", {"file.parquet": pickle.dumps(_Payload())}
    yield "surrogates", "\ud800\udfff,x\n".encode("utf-8", "surrogatepass") * 50
    yield "overlong", b"\xc0\xaf\xe0\x80\xaf,\n" * 50
    yield "a name with a line break", {"fi\nle.csv": b"nct_id\n"}
    yield "a name with an escape code", {"\x1b[2Jfile.csv": b"nct_id\n"}
    yield "parquet head", {"file.parquet": b"PAR1" + chance.randbytes(500) + b"PAR1"}
    yield "parquet footer of 2 GiB", {"file.parquet": b"PAR1" + b"\xff\xff\xff\x7fPAR1"}
    whole = _parquet({"nct_id": [NCT] * 50, "overall_status": ["COMPLETED"] * 50})
    for cut in (5, 100, len(whole) // 2, len(whole) - 1):
        yield f"parquet cut at {cut}", {"file.parquet": whole[:cut]}
    for number in range(10):
        broken = bytearray(whole)
        broken[chance.randrange(4, len(broken) - 8)] ^= 1 << chance.randrange(8)
        yield f"parquet with a bit turned {number}", {"file.parquet": bytes(broken)}
    nested = {"nct_id": [[NCT]], "overall_status": [{"a": {"b": [1]}}]}
    yield "parquet of lists", {"file.parquet": _parquet(nested)}
    yield (
        "parquet of bytes",
        {"file.parquet": _parquet({"nct_id": [b"\xff\x00"], "pmid": [b"\xff"]})},
    )
    yield "parquet without columns", {"file.parquet": _parquet({})}


def _parquet(columns: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    pd.DataFrame(columns).to_parquet(out, index=False)
    return out.getvalue()


def _zip(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def _archives() -> Made:
    for name in (
        f"../{PWNED}",
        f"/tmp/{PWNED}",
        f"a/../../{PWNED}",
        f"..\\{PWNED}",
        f"C:\\{PWNED}",
    ):
        yield f"zip member {name}", _zip({name: b"nct_id\n", "studies.txt": b"nct_id\n"})
    link = zipfile.ZipInfo("studies.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    yield "zip member that is a link", out.getvalue()
    bomb = bytes(60_000_000)
    yield "zip bomb", _zip({"studies.txt": bomb, "a.json": bomb})
    yield "gzip bomb", gzip.compress(bomb)
    yield "gzip in gzip bomb", gzip.compress(gzip.compress(bomb))
    yield "zip in zip", _zip({"a.zip": _zip({"studies.txt": b"nct_id\n"})})
    yield "zip of nothing", _zip({})
    yield (
        "zip of 20000 files",
        _zip({f"{n}.json": b"{}" for n in range(20_000)}, zipfile.ZIP_STORED),
    )
    yield "zip with a long name", _zip({"x" * 60_000: b"{}"})
    yield "zip with an escape code", _zip({"\x1b[2J\n.json": b"{"})
    whole = _zip({"studies.txt": b"nct_id|overall_status\n" * 99, "a.xml": xml(1).encode()})
    for cut in (4, 30, len(whole) // 2, len(whole) - 2):
        yield f"zip cut at {cut}", whole[:cut]
    chance = random.Random(2)
    for number in range(12):
        broken = bytearray(whole)
        for _ in range(3):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        yield f"zip with bytes changed {number}", bytes(broken)
    packed = gzip.compress(json.dumps([study(1)]).encode())
    yield "gzip cut off", packed[:-9]
    yield "gzip with a wrong sum", packed[:-8] + b"\x00" * 8
    yield "gzip with a tail", packed + b"tail"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive_:
        info = tarfile.TarInfo(f"../../{PWNED}")
        info.size = 1
        archive_.addfile(info, io.BytesIO(b"x"))
    yield "tar that leads out", out.getvalue()


HEADERS = {
    "trials": "nct_id,overall_status,brief_title,start_date,enrollment",
    "ctgov": "NCT Number,Study Status,Study Title,Start Date,Enrollment",
    "aero": "NCT,Status,Title,Start_Year,Start_Month,Enrollment",
    "articles": "pmid,title,abstract,publication_types,mesh_terms",
    "table": "id,t,n,y",
}


def _tables() -> Made:
    for kind, header in HEADERS.items():
        width = header.count(",") + 1
        for name, line in (
            ("nothing below the header", ""),
            ("a quote left open", f'{NCT},"' + "x," * 99),
            ("too many cells", f"{NCT}" + ",x" * 999),
            ("too few cells", f"{NCT}"),
            ("nul in a cell", f"{NCT},\x00" + ",\x00" * (width - 2)),
            ("a cell of 3 MB", f"{NCT}," + "x" * 3_000_000 + "," * (width - 2)),
            ("numbers beyond all bounds", ",".join(["1e999", "-" + "9" * 5000, "nan"][:width])),
            ("dates that are none", f"{NCT}" + ",9999-99-99T25:61" * (width - 1)),
            ("nasty cells", "\n".join(",".join([one] * width) for one in NASTY)),
            ("ids that are paths", f"../../{PWNED}" + ",COMPLETED" * (width - 1)),
        ):
            yield f"{kind} table, {name}", f"{header}\n{line}\n".encode()
    yield "a header of 50000 columns", ",".join(f"c{n}" for n in range(50_000)).encode() + b"\n1\n"
    yield "a header of one name", b",".join([b"nct_id"] * 500) + b"\n" + b"x," * 499 + b"x\n"
    yield "two encodings", "nct_id,overall_status\né,é\n".encode() + "é\n".encode("latin-1")
    yield "many short rows", b"nct_id,overall_status\n" + b"x\n" * 100_000


def _literals() -> Made:
    """Lists as Python writes them, in the columns of TOP and TrialBench."""
    header = "nctid,status,why_stop,label,phase,diseases,icdcodes,drugs,smiless,criteria"
    for name, literal in (
        ("a call", f"[__import__('os').system('{COMMAND}')]"),
        ("an attribute", "[().__class__.__bases__]"),
        ("deep", "[" * 5000 + "]" * 5000),
        ("a deep sum", "[" + "-" * 20_000 + "1]"),
        ("long", "[" + "'x'," * 300_000 + "]"),
        ("a power", "[9**9**9]"),
        ("a product", "['x'*9999999999]"),
        ("a number of 100000 digits", "[" + "9" * 100_000 + "]"),
        ("a format string", '[f"{1}"]'),
        ("nul", "['\x00']"),
        ("half", "['a', 'b"),
    ):
        cell = '"' + literal.replace('"', '""') + '"'
        row = f"{NCT},completed,,1,phase 1,{cell},{cell},{cell},{cell},x"
        yield f"literal: {name}", {"phase_I_train.csv": f"{header}\n{row}\n".encode()}


def _json() -> Made:
    whole = json.dumps([study(1), study(2)])
    for name, text in (
        ("deep lists", "[" * 200_000),
        ("deep lists that end", "[" * 50_000 + "]" * 50_000),
        ("deep objects", '{"studies":' * 50_000),
        ("a number of 100000 digits", '{"studies": [' + "9" * 100_000 + "]}"),
        ("infinities", '[{"protocolSection": Infinity}, NaN, -1e999]'),
        ("half a surrogate", '[{"protocolSection": {"a": "\\ud800"}}]'),
        ("keys twice", '{"studies": [], "studies": 3}'),
        ("a name of 1 MB", '{"' + "x" * 1_000_000 + '": 1}'),
        ("a page without an end", '{"studies": [{}'),
        ("two documents", "[] []"),
        ("a web page", "<!doctype html><html><body>503</body></html>"),
        ("lines", "{}\n[]\n3\nnull\n"),
        ("many empty studies", "[" + "{}," * 100_000 + "{}]"),
    ):
        yield f"json of {name}", text.encode()
    for value in (None, 3, "x", True, [], {}, [[]], [None], [3], ["x"], {"studies": {}}):
        yield f"json of {value!r}", json.dumps(value).encode()
    chance = random.Random(3)
    for number in range(10):  # a value somewhere inside is of another type
        data: Any = json.loads(whole)
        here: Any = data[0]
        while isinstance(here, dict):
            parent, key = here, chance.choice(list(here))
            here = here[key]
            if chance.random() < 0.4:
                break
        parent[key] = chance.choice([None, 3, 1e300, [], {}, [None], [[]], {"a": []}, NASTY[0]])
        yield f"json with another type inside {number}", json.dumps(data).encode()
    nasty = study(3)
    nasty["protocolSection"]["identificationModule"] |= {
        "nctId": f"../../{PWNED}",
        "briefTitle": " ".join(NASTY),
    }
    yield "json with nasty texts", json.dumps([nasty]).encode()


def _xml() -> Made:
    head = '<?xml version="1.0"?>'
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    body = {"registry": xml(1), "article": ARTICLE}
    for kind, record in body.items():
        record = record[record.index("<") :].removeprefix(head)
        root = "clinical_study" if kind == "registry" else "PubmedArticleSet"
        for name, text in (
            (
                "billion laughs",
                f'<!DOCTYPE {root} [<!ENTITY l0 "ha">{laughs}]>{_in(record, "&l9;")}',
            ),
            (
                "a quadratic blow-up",
                f'<!DOCTYPE {root} [<!ENTITY a "{"x" * 50_000}">]>{_in(record, "&a;" * 5_000)}',
            ),
            (
                "an entity of a file",
                f'<!DOCTYPE {root} [<!ENTITY x SYSTEM "file:///etc/passwd">]>{_in(record, "&x;")}',
            ),
            (
                "an entity of the network",
                f'<!DOCTYPE {root} SYSTEM "http://127.0.0.1:9/x.dtd">{_in(record, "&x;")}',
            ),
            (
                "a parameter entity",
                f'<!DOCTYPE {root} [<!ENTITY % x SYSTEM "file:///etc/passwd">%x;]>{record}',
            ),
            (
                "an inclusion",
                f'<{root} xmlns:xi="http://www.w3.org/2001/XInclude">'
                f'<xi:include href="/etc/passwd" parse="text"/></{root}>',
            ),
            ("deep elements", f"<{root}>" + "<a>" * 200_000),
            ("deep elements that end", f"<{root}>" + "<a>" * 5000 + "</a>" * 5000 + f"</{root}>"),
            ("an attribute of 5 MB", f'<{root} a="{"x" * 5_000_000}"></{root}>'),
            ("20000 attributes", f"<{root} {ATTRIBUTES}/>"),
            ("an unknown encoding", f'<?xml version="1.0" encoding="klingon"?>{record}'),
            ("another encoding", f'<?xml version="1.0" encoding="utf-16"?>{record}'),
            ("a style sheet", f'<?xml-stylesheet href="file:///etc/passwd"?>{record}'),
            ("no end", record[: len(record) // 2]),
            ("a character that XML forbids", _in(record, "\x01")),
            ("nasty texts", _in(record, "".join(NASTY).replace("<", "&lt;").replace("\x1b", ""))),
            ("two roots", record + record),
            ("a comment without end", f"<!-- {record}"),
        ):
            yield (
                f"{kind} xml with {name}",
                (text if text.startswith("<?xml ") else head + text).encode(),
            )


ARTICLE = (
    "<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>1</PMID><Article><ArticleTitle>A title"
    "</ArticleTitle></Article></MedlineCitation></PubmedArticle></PubmedArticleSet>"
)


ATTRIBUTES = " ".join(f'a{n}="1"' for n in range(20_000))


def _in(record: str, text: str) -> str:
    """The record with a text put into its first title."""
    at = record.index("itle>") + len("itle>")
    return record[:at] + text + record[at:]


def _medline() -> Made:
    for name, text in (
        ("a continuation first", "      goes on\nPMID- 1\n"),
        ("no number", "TI  - A title\n\nTI  - Another\n"),
        ("a number that is a path", f"PMID- ../../{PWNED}\nTI  - x\n"),
        ("a line of 5 MB", "PMID- 1\nTI  - " + "x" * 5_000_000 + "\n"),
        ("100000 continuations", "PMID- 1\nTI  - x\n" + "      x\n" * 100_000),
        ("100000 records", "PMID- 1\n\n" * 100_000),
        ("nasty texts", "PMID- 1\nTI  - " + " ".join(NASTY) + "\nPT  - " + NASTY[0] + "\n"),
        ("no dashes", "PMID 1\nTI x\n"),
        ("an empty tag", "    - x\n" * 99),
    ):
        yield f"medline with {name}", text.encode()


def _folders() -> Made:
    yield "a folder of nothing", {"sub/.hidden": b""}
    yield (
        "tables with other ids",
        {
            "studies.txt": f"nct_id|overall_status\n{NCT}|COMPLETED\n".encode(),
            "conditions.txt": b"nct_id|name\n" + b"NCT9|x\n" * 9,
            "designs.txt": b"id\n1\n",
            "sponsors.txt": b"\xff\xfe\n",
            "brief_summaries.txt": f'nct_id|description\n{NCT}|"'.encode(),
        },
    )
    yield "parts without targets", {"train_x.csv": b"nctid\nx\n", "test_y.csv": b"nctid,y\nx,1\n"}
    yield (
        "parts with nasty targets",
        {
            "train_x.csv": f"nctid,brief_title\n{NCT},x\n".encode(),
            "train_y.csv": f"nctid,outcome\n{NCT},{NASTY[2]}\n".encode(),
            "test_x.csv": f"nctid,brief_title\n{NCT},x\n".encode(),
            "test_y.csv": f"nctid,outcome\n{NCT},1\n".encode(),
        },
    )
    yield "phases without labels", {f"phase_I_{part}.csv": b"nctid\n" for part in ("train", "test")}
