"""Where results stand: a folder, or a URL and the folder of this machine that goes with it.

`file:///folder` is that folder. Of any other URL a run keeps a folder to work in, and a reading
command a copy, both in the cache: they are never the same, as a copy is made equal to the URL,
whereas what a run has finished is never removed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.request import url2pathname

from benchmark.bucket import Bucket, Stamp, bucket_at, is_name, is_url
from benchmark.lock import said
from benchmark.receipts import json_bytes, sha256
from benchmark.store import PLAN, RECORD, Store, slug
from features.errors import InputError


def cache_folder() -> Path:
    """Where embeddings are kept: `$TRIALMARK_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("TRIALMARK_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "trialmark"


def store_at(place: str | Path) -> Store:
    """The store to write to at a folder or URL. Raises `InputError` for a URL that can't be one."""
    folder = local(place)
    if folder is not None:
        return Store(folder)
    bucket = bucket_at(str(place))
    return Store(_beside("runs", bucket), bucket)


def here(place: str | Path) -> Path:
    """The results folder to read: `place` itself, or a copy of what stands at the URL.

    Only files whose size or stamp (ETag) is another than at the last time are brought. Raises
    `InputError` where the URL holds no run.
    """
    folder = local(place)
    if folder is not None:
        return folder
    from filelock import FileLock

    bucket = bucket_at(str(place))
    there = bucket.names()
    if PLAN not in there:
        raise InputError(f"{place} holds no run", f"a URL with {PLAN}", "run `trialmark run` first")
    folder = _beside("copies", bucket)
    with said(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            _equalise(folder, bucket, there)
    return folder


def local(place: str | Path) -> Path | None:
    """The folder that `place` names; None for a URL elsewhere."""
    if not is_url(place):
        return Path(place)
    scheme, _, rest = str(place).partition("://")
    if scheme.lower() != "file":
        return None
    host, slash, path = rest.partition("/")
    if host not in ("", "localhost") or not slash or set("?#") & set(path):
        shown = f"file://{host.rpartition('@')[2]}{slash}{path}"  # a password, if there is one
        raise InputError(shown, "file:///FOLDER, with three slashes (%3F for ?, %23 for #)")
    return Path(url2pathname(f"/{path}"))


def _beside(kind: str, bucket: Bucket) -> Path:
    """This machine's folder for a URL; its name tells which."""
    return cache_folder() / kind / f"{slug(bucket.url)}-{sha256(bucket.url.encode())[:8]}"


def _equalise(folder: Path, bucket: Bucket, there: dict[str, Stamp]) -> None:
    """Make a folder hold what the URL holds and nothing else, records after what they describe.

    Hidden files, which are never at a URL, stay.
    """
    copy = Store(folder)
    copy.sweep()
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and is_name(name) and name not in there:
            file.unlink()
    stamps = folder.with_name(f"{folder.name}.json")
    known = _stamps(stamps)
    stale = {name: stamp for name, stamp in there.items() if known.get(name) != stamp}
    stale |= {name: stamp for name, stamp in there.items() if not (folder / name).is_file()}
    for last in (False, True):
        sizes = {name: s.size for name, s in stale.items() if name.endswith(f"/{RECORD}") == last}
        for name, data in bucket.read(sizes):
            copy.write_file(name, data)
    marks = {name: [stamp.size, stamp.tag] for name, stamp in there.items()}
    Store(folder.parent).write_file(stamps.name, json_bytes(marks))


def _stamps(file: Path) -> dict[str, Stamp]:
    """The stamps of what was brought last; none where they can't be read."""
    try:
        return {name: Stamp(*stamp) for name, stamp in json.loads(file.read_bytes()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
