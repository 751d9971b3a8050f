"""One writer at a time in a results folder."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil

from features.errors import InputError

LOCK, OWNER = ".lock", ".owner.json"


@contextmanager
def said(folder: Path) -> Iterator[None]:
    """Where writing to `folder` fails (full, read-only), raise the `InputError` that says so."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write to {folder}: {error.strerror}",
            "room and the right to write",
            "mend it and run again (finished cells are kept), or set --out",
        ) from None


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold `folder`, made where it is missing, against other processes that would write to it.

    The operating system frees the lock when its holder ends, however that ends; where a file
    system knows no locks (some network ones), a file with the holder's host, process id and start
    stands in, which another process of that host takes over from a dead one. Raises `InputError`
    that names the holder, or says why nothing can be written.
    """
    from filelock import FileLock, Timeout

    with said(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(
                f"{folder} is in use by {_shown(_owner(folder))}",
                "one writer of a results folder at a time",
                "wait for it, or use another --out and join both by `trialmark merge`",
            ) from None
    try:
        with said(folder):
            (folder / OWNER).write_text(json.dumps(_self()))
        yield
    finally:
        for name in (OWNER, LOCK):  # while it is held: whoever waits for it starts over
            with suppress(OSError):
                (folder / name).unlink()
        lock.release()


def writer(folder: Path) -> str | None:
    """Who says to be writing to a folder; None for nobody, or a process of this host that ended."""
    owner = _owner(folder)
    if owner is None:
        return None
    gone = owner["host"] == platform.node() and not psutil.pid_exists(int(owner["pid"]))
    return None if gone else _shown(owner)


def _self() -> dict[str, str | int]:
    started = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    return {"pid": os.getpid(), "host": platform.node(), "since": started}


def _owner(folder: Path) -> dict[str, str | int] | None:
    try:
        found = json.loads((folder / OWNER).read_bytes())
        return {"pid": int(found["pid"]), "host": str(found["host"]), "since": str(found["since"])}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _shown(owner: dict[str, str | int] | None) -> str:
    if owner is None:
        return "another process"
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}"
