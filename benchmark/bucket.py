"""A results folder at a URL, through fsspec: an object store.

What it guarantees is all that is used of it: an object appears whole or not at all, what was
written is read and listed at once (Amazon S3, Google Cloud Storage and their like all promise
that). It knows no renaming and no locks.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any
from urllib.parse import urlsplit

from features.errors import InputError, one_line, unknown_name

SCHEMES: dict[str, str] = {"s3": "s3fs", "gs": "gcsfs", "memory": "fsspec"}
"""Schemes of URLs -> the package that speaks to them. `memory` ends with the process."""
_OPTIONS: dict[str, dict[str, Any]] = {
    # a file in one request; with more, its size is asked for first
    "s3": {"max_concurrency": 1},
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
"""No name but these is ever taken from a bucket to a file system."""
_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=/-]*")
"""Bucket and prefix."""
_STAMPS = ("ETag", "etag", "md5Hash", "generation", "mtime", "created")
"""What a store says of an object that changes with its bytes, by the store's own word for it."""
_BATCH = 64 * 2**20
"""Bytes that are asked for, and held, at the same time."""


@dataclass(frozen=True)
class Stamp:
    """Bytes of an object, and what changes when they do."""

    size: int
    tag: str


@dataclass(frozen=True)
class Bucket:
    """A prefix in an object store; only its URL is pickled.

    Credentials are the store's own affair (AWS_PROFILE, AWS_ENDPOINT_URL,
    GOOGLE_APPLICATION_CREDENTIALS and so on): none is ever read, kept or shown here. Every method
    raises `InputError` where the store can't be reached or refuses.
    """

    url: str

    def names(self) -> dict[str, Stamp]:
        """All files below the URL, in one listing; those no run could have written are left out."""
        with self._reached():
            found = self._files.find(self._top, detail=True)
        below = {path.removeprefix(f"{self._top}/"): info for path, info in found.items()}
        return {
            name: Stamp(int(info["size"]), _tag(info))
            for name, info in sorted(below.items())
            if info["type"] == "file" and is_name(name)
        }

    def read(self, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
        """The bytes of each file by its name, in the order of names, many asked for at once.

        `sizes` (bytes) bound what is held at a time. A file that is not there is left out.
        """
        for batch in _batches(sizes):
            paths = {name: f"{self._top}/{name}" for name in batch}
            with self._reached():
                found = self._files.cat(list(paths.values()), on_error="return")
                for data in found.values():
                    if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                        raise data
            for name, path in paths.items():
                if isinstance(found[path], bytes):
                    yield name, found[path]

    def write(self, name: str, data: bytes) -> None:
        """Put one file in place, over an earlier one of that name."""
        with self._reached():
            self._files.pipe_file(f"{self._top}/{name}", data)

    def remove(self, name: str) -> None:
        """Remove one file, if it is there."""
        with self._reached():
            try:
                self._files.rm_file(f"{self._top}/{name}")
            except FileNotFoundError:
                return

    @cached_property
    def _files(self) -> Any:
        """The file system; nothing is asked of it yet."""
        import fsspec

        scheme = urlsplit(self.url).scheme
        # a listing of earlier would hide what others have written since
        return fsspec.filesystem(scheme, use_listings_cache=False, **_OPTIONS.get(scheme, {}))

    @cached_property
    def _top(self) -> str:
        return str(self._files._strip_protocol(self.url)).rstrip("/")

    def __getstate__(self) -> dict[str, str]:
        return {"url": self.url}

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # every store, and every layer below it, raises kinds of its own
            why = f"{type(error).__name__}: {one_line(error, 200)}"
            raise InputError(
                f"{self.url}: {why}",
                "a bucket that can be listed, read and written",
                "look at its name, the network and the credentials, and run again; "
                "finished cells are kept",
            ) from None


def is_name(name: str) -> bool:
    """Whether a run may give a file this name (with / between folders): none that is hidden."""
    return _NAME.fullmatch(name) is not None


def is_url(place: object) -> bool:
    """Whether a results folder is named by a URL. Raises `InputError` for one made a `Path`."""
    if isinstance(place, PurePath) and place.parts[:1] in {(f"{s}:",) for s in (*SCHEMES, "file")}:
        raise InputError(f"{place}", "the URL as a str: a Path drops one of its slashes")
    return "://" in str(place)


def bucket_at(url: str) -> Bucket:
    """The bucket at `url`. Raises `InputError` for a URL that can't hold results."""
    scheme, _, place = url.partition("://")
    if "@" in place or "?" in place:  # not shown: it may hold a password or a signature
        raise InputError(
            f"a URL ({scheme}) with credentials in it",
            f"{scheme}://BUCKET/FOLDER",
            "leave them to the environment, such as AWS_PROFILE",
        )
    if scheme not in SCHEMES:
        raise unknown_name("kind of URL", scheme, [*SCHEMES, "file"])
    if not _PLACE.fullmatch(place) or "//" in place or ".." in place.split("/"):
        raise InputError(f"{url}", f"{scheme}://BUCKET/FOLDER of letters, digits, -, _, . and =")
    try:
        importlib.import_module(SCHEMES[scheme])
    except ImportError:
        raise InputError(
            f"{scheme}:// needs {SCHEMES[scheme]}", "it installed", "pip install 'trialmark[cloud]'"
        ) from None
    return Bucket(url.rstrip("/"))


def _tag(info: Mapping[str, Any]) -> str:
    """The first mark of its bytes that the store gives, "" where it gives none."""
    return next((str(info[name]) for name in _STAMPS if info.get(name) is not None), "")


def _batches(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Names in their order, as many at a time as `_BATCH` holds, but one at least."""
    batch, total = list[str](), 0
    for name in sorted(sizes):
        if batch and total + sizes[name] > _BATCH:
            yield batch
            batch, total = [], 0
        batch.append(name)
        total += sizes[name]
    if batch:
        yield batch
