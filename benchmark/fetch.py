"""What the downloaders share: polite requests, a folder to resume from, files written whole.

`fetch_ctgov` and `fetch_pubmed` build on it. All three are tested against a local server that
misbehaves on purpose; they have never met the real ones.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmark.receipts import json_bytes, version
from features.errors import InputError, one_line

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
Check = Callable[[bytes], T]
"""The body of an answer -> what it holds; raises `ValueError` to have it asked for again."""
Watch = Callable[[int, int], None]
"""Called with the number of records received and announced, after every page."""

_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 60.0
_STATE = "state.json"


@dataclass(frozen=True)
class Manners:
    """How to treat a server.

    `pause`: seconds from the start of one request to the next; `timeout`: seconds to wait for a
    connection or for more of an answer; `tries` for each request; `patience`: the longest
    Retry-After in seconds that is waited for.
    """

    pause: float
    timeout: float = 60.0
    tries: int = 6
    patience: float = 900.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


class Refused(InputError):
    """The server understood the request and will not answer it: 4xx, but none that passes."""


class _Again(Exception):
    """A fault that may pass; `after` is the server's Retry-After in seconds."""

    def __init__(self, fault: str, after: float = 0.0) -> None:
        super().__init__(fault)
        self.after = after


@dataclass
class Client:
    """One request after the other to one server; `secret` is never shown in an error."""

    http: httpx2.Client
    manners: Manners
    secret: str | None = None
    _last: float = field(default=-1e9, init=False)
    _jitter: random.Random = field(default_factory=random.Random, init=False)

    def ask(
        self,
        url: str,
        fields: Mapping[str, str],
        check: Check[T],
        *,
        post: bool = False,
        tries: int | None = None,
    ) -> T:
        """What `check` makes of the answer.

        Timeouts, broken connections, cut bodies, 429, 5xx and answers that `check` does not
        accept are asked for again, after 0.5 to 1 times 1, 2, 4, … seconds or what Retry-After
        says, whichever is longer. Raises `Refused` for any other 4xx and `InputError` when the
        tries are spent.
        """
        left = self.manners.tries if tries is None else tries
        for attempt in range(left):
            try:
                return check(self._once(url, fields, post))
            except _Again as again:
                fault, after = str(again), again.after
            except ValueError as error:
                fault, after = str(error), 0.0
            if after > self.manners.patience:
                raise InputError(
                    f"{self._shown(url)} asks to come back in {after:.0f} seconds",
                    f"a wait of at most {self.manners.patience:.0f}",
                    "run the same command then; it goes on from here",
                )
            if attempt + 1 < left:
                wait = min(2.0**attempt, _LONGEST_WAIT) * self._jitter.uniform(0.5, 1.0)
                self.manners.sleep(max(wait, after))
        raise InputError(
            f"{self._shown(url)} did not answer properly in {left} tries: {self._shown(fault)}",
            "an answer",
            "run the same command later; it goes on from here",
        )

    def _once(self, url: str, fields: Mapping[str, str], post: bool) -> bytes:
        import httpx2

        self.manners.sleep(max(0.0, self._last + self.manners.pause - self.manners.clock()))
        self._last = self.manners.clock()
        try:
            if post:
                answer = self.http.post(url, data=dict(fields))
            else:
                answer = self.http.get(url, params=dict(fields), follow_redirects=True)
        except httpx2.RequestError as error:
            raise _Again(f"{type(error).__name__} {error}".rstrip()) from None
        if answer.status_code == 200:
            return answer.content
        told = f"HTTP {answer.status_code}: {server_message(answer.text)}".rstrip(": ")
        if answer.status_code in _TRY_AGAIN:
            raise _Again(told, retry_after(answer.headers.get("Retry-After")))
        raise Refused(
            f"{self._shown(url)} refuses the request: {self._shown(told)}",
            "a query it takes",
            "check the query and the address",
        )

    def _shown(self, text: str) -> str:
        return text if not self.secret else text.replace(self.secret, "***")


@contextmanager
def client(manners: Manners, secret: str | None = None) -> Iterator[Client]:
    """An open `Client`. Proxies and certificates are those of the environment."""
    import httpx2

    agent = f"trialmark/{version('trialmark')}"
    with httpx2.Client(timeout=manners.timeout, headers={"User-Agent": agent}) as http:
        yield Client(http, manners, secret)


def retry_after(value: str | None) -> float:
    """Seconds that a Retry-After header asks for, which is a number or a date (RFC 9110, 10.2.3).

    0 where there is none or it cannot be read.
    """
    if value is None:
        return 0.0
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def server_message(body: str) -> str:
    """What an error page says, in one line of at most 300 characters, whatever its format."""
    try:
        data = json.loads(body)
    except ValueError:
        bare = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>", " ", body[:100_000])
        return one_line(" ".join(html.unescape(bare).split()), 300)
    if isinstance(data, dict):
        known = {str(key).lower(): value for key, value in data.items()}
        data = known.get("message") or known.get("error") or known.get("detail") or "no reason"
    return one_line(data, 300)


def base_url(given: str | None, variable: str, default: str) -> str:
    """The address of a service: `given`, else the environment's, else its public one."""
    url = given if given is not None else os.environ.get(variable, default)
    if not re.fullmatch(r"https?://[^\s?#]+", url):
        raise InputError(
            f"the address {one_line(url, 100)!r}", f"http(s)://host/path, as {default}", variable
        )
    return url.rstrip("/")


def checked_out(out: Path, suffixes: tuple[str, ...]) -> Path:
    """`out`, if a download may go there.

    Raises `InputError` for another suffix, a missing folder, or a file that is there already,
    unless a download into it was cut off.
    """
    if not out.name.endswith(suffixes):
        raise InputError(f"--out {out}", "a name that ends in " + " or ".join(suffixes))
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}", "a folder to write to", "make it")
    if out.exists() and not Partial.of(out).root.exists():
        raise InputError(f"{out} exists", "a new file", "give another --out, or delete it")
    return out


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Partial:
    """A download under way, in the folder `<out>.partial`.

    `state.json` holds the request and what was known at its start; every finished page is two
    files, `page-00001.gz` with the data and then `page-00001.json` with its record.
    """

    root: Path
    out: Path

    @classmethod
    def of(cls, out: Path) -> Partial:
        """The folder that belongs to a file."""
        return cls(out.with_name(out.name + ".partial"), out)

    def begin(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """The state of an earlier start with the same request; None where there is none.

        Raises `InputError` if the folder holds pages of another request.
        """
        try:
            self.root.mkdir(exist_ok=True)
            state = json.loads((self.root / _STATE).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.root} cannot be used: {error}", "a folder one can write to", "delete it"
            ) from None
        if state.get("request") != dict(request):
            if not self.records():  # a query that was refused or found nothing
                return None
            query = state.get("request", {}).get("query")
            raise InputError(
                f"{self.root} holds a part of another download",
                f"the same query and address as then (query {query!r})",
                "delete the folder, or give another --out",
            )
        return dict(state)

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replace `state.json`."""
        self._write(_STATE, [json_bytes(state)])

    def add(self, number: int, data: bytes, record: Mapping[str, Any]) -> dict[str, Any]:
        """Keep page `number` (from 1); returns its record."""
        name = f"page-{number:05d}"
        packed = gzip.compress(data, 6, mtime=0)
        kept = {**record, "sha256": self._write(f"{name}.gz", [packed])}
        self._write(f"{name}.json", [json_bytes(kept)])
        return kept

    def records(self) -> list[dict[str, Any]]:
        """The records of the finished pages, up to the first that is missing or damaged."""
        found: list[dict[str, Any]] = []
        while True:
            name = f"page-{len(found) + 1:05d}"
            try:
                record = json.loads((self.root / f"{name}.json").read_bytes())
                data = (self.root / f"{name}.gz").read_bytes()
            except (FileNotFoundError, ValueError):
                return found
            if hashlib.sha256(data).hexdigest() != record["sha256"]:
                return found
            found.append(record)

    def pages(self, count: int) -> Iterator[bytes]:
        """The data of the first `count` pages."""
        for number in range(1, count + 1):
            yield gzip.decompress((self.root / f"page-{number:05d}.gz").read_bytes())

    def publish(self, chunks: Iterable[bytes], manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Put the file and `<out>.manifest.json` in place and remove the folder.

        The file is there whole or not at all, packed if its name ends in .gz. Returns the
        manifest with the file's name, size and sha256.
        """
        packed = self.out.name.endswith(".gz")
        sha256 = self._write("file", _packed(chunks) if packed else chunks)
        size = (self.root / "file").stat().st_size
        done = {"file": self.out.name, "sha256": sha256, "bytes": size, **manifest}
        self._write("manifest", [json_bytes(done)])
        (self.root / "file").replace(self.out)
        (self.root / "manifest").replace(manifest_path(self.out))
        shutil.rmtree(self.root)
        return done

    def _write(self, name: str, chunks: Iterable[bytes]) -> str:
        """Write one file of the folder whole or not at all; returns its sha256."""
        aside = self.root / f"{name}.part"
        digest = hashlib.sha256()
        try:
            with aside.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
                    digest.update(chunk)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"cannot write to {self.root}: {error.strerror}") from None
        aside.replace(self.root / name)
        return digest.hexdigest()


def manifest_path(out: Path) -> Path:
    """Where the manifest of a downloaded file stands."""
    return out.with_name(out.name + ".manifest.json")


def _packed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """`chunks` as one gzip stream without a time, so that equal data give equal files."""
    import zlib

    packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: with the header and trailer of gzip
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()
