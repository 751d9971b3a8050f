"""Opening files, folders, gzip and zip as streams: nothing is written to disk, nothing read whole.

What a file is, its first bytes say, not its name. An archive is refused where it holds names that
lead out of it, links or locked members, where it is cut off, and where it expands beyond `Limits`.
"""

from __future__ import annotations

import gzip
import io
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from features.errors import InputError, closest, one_line

GZIP = b"\x1f\x8b"
ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_SMALL = 1 << 20
"""Bytes that may come out of any archive, however small it is."""


@dataclass(frozen=True)
class Limits:
    """How far an archive may expand: times its own size, and in bytes over all its members."""

    ratio: float = 100.0
    total: int = 64 << 30


def streams(
    path: Path, limits: Limits | None = None, *, wanted: Callable[[str], bool] | None = None
) -> Iterator[tuple[str, io.BufferedReader]]:
    """Name and content of a file, of the files of a folder (with those below it), or of a zip.

    Gzip is expanded everywhere, a zip where it is not inside another archive. Hidden files and
    links in folders are passed over, and so is what `wanted` refuses by its name. A stream is open
    until the next is asked for. Raises `InputError` (also while a stream is read) for a path that
    is not there, and for archives that the module refuses.
    """
    limits = limits if limits is not None else Limits()
    for file, name in _files(path):
        try:
            with file.open("rb") as opened:
                head = opened.read(4)
                opened.seek(0)
                if head in ZIP:
                    yield from _zipped(opened, name, limits, wanted)
                elif wanted is None or wanted(name):
                    budget = _Budget.of(name, file.stat().st_size, limits)
                    yield name, _expanded(opened, name, budget)
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error}", "a readable file") from None


def existing(path: Path) -> Path:
    """`path`. Raises `InputError` if there is no file or folder."""
    try:
        if path.is_file() or path.is_dir():
            return path
        if path.exists():
            raise InputError(f"{path} is a pipe or a device", "a regular file", "save it first")
        near = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", "a readable file") from None
    change = closest(path.name, near) or "check the path"
    raise InputError(f"there is no file {path}", "a file or a folder", change)


def magic(path: Path) -> bytes:
    """The first four bytes of a file. Raises `InputError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}", "a readable file") from None


def head(path: Path, size: int = 1 << 16) -> tuple[str, bytes]:
    """Name and first bytes of the first file that `streams` gives, or ("", b"")."""
    for name, stream in streams(path):
        return name, stream.read(size)
    return "", b""


@dataclass
class _Budget:
    """Bytes that may still come out of one archive."""

    name: str
    left: int

    @classmethod
    def of(cls, name: str, size: int, limits: Limits) -> _Budget:
        return cls(name, min(limits.total, max(_SMALL, int(limits.ratio * size))))

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise InputError(
                f"{self.name} expands to more than a sound archive of its size holds",
                "records, not a decompression bomb",
                "unpack it yourself if you trust it",
            )


class _Reading(io.RawIOBase):
    """A binary stream whose every fault is an `InputError`, and which spends a budget."""

    def __init__(self, source: Any, name: str, budget: _Budget | None = None) -> None:
        super().__init__()
        self.source, self.name, self.budget = source, name, budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.source.read(len(buffer))
        except InputError:
            raise
        except Exception as error:  # decoders of unknown bytes raise all kinds
            text = one_line(str(error) or type(error).__name__, 160)
            raise InputError(
                f"{self.name} is broken or cut off: {text}", "a whole file", "download it again"
            ) from None
        if self.budget is not None:
            self.budget.spend(len(data))
        buffer[: len(data)] = data
        return len(data)


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    """The file, or the files below a folder in the order of their names."""
    if not existing(path).is_dir():
        yield path, path.name
        return
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and not file.is_symlink() and not _hidden(name):
            yield file, name


def _expanded(stream: io.BufferedReader, name: str, budget: _Budget) -> io.BufferedReader:
    """The stream, or what is in it if it is gzip."""
    if not stream.peek(2).startswith(GZIP):
        return stream
    opened: io.BufferedReader = io.BufferedReader(
        _Reading(gzip.GzipFile(fileobj=stream), name, budget), 1 << 18
    )
    if opened.peek(4)[:4] in ZIP:
        raise _nested(name)
    return opened


def _zipped(
    file: Any, name: str, limits: Limits, wanted: Callable[[str], bool] | None
) -> Iterator[tuple[str, io.BufferedReader]]:
    """The members of a zip, in its order."""
    size = file.seek(0, io.SEEK_END)
    budget = _Budget.of(name, size, limits)
    try:
        archive = zipfile.ZipFile(file)
    except Exception as error:  # a broken directory raises all kinds
        text = one_line(str(error) or type(error).__name__, 160)
        raise InputError(
            f"{name} is no whole zip archive: {text}", "a sound one", "download it again"
        ) from None
    for info in archive.infolist():
        _check_member(name, info)
    for info in archive.infolist():
        inner = f"{name}/{info.filename}"
        if info.is_dir() or _hidden(info.filename) or not (wanted is None or wanted(inner)):
            continue
        try:
            opened = archive.open(info)
        except Exception as error:  # so does a broken member
            text = one_line(str(error) or type(error).__name__, 160)
            raise InputError(f"{inner} cannot be unpacked: {text}", "a sound archive") from None
        with opened:
            stream: io.BufferedReader = io.BufferedReader(_Reading(opened, inner, budget), 1 << 18)
            if stream.peek(4)[:4] in ZIP:
                raise _nested(inner)
            yield inner, _expanded(stream, inner, budget)


def _check_member(name: str, info: zipfile.ZipInfo) -> None:
    """Raise `InputError` for a member that leads out of the archive, is a link or is locked."""
    flaw = ""
    spelled = info.orig_filename.replace("\\", "/")
    if not info.filename:
        flaw = "has no name"
    elif spelled.startswith("/") or spelled[1:2] == ":" or ".." in spelled.split("/"):
        flaw = "leads out of the archive"
    elif stat.S_ISLNK(info.external_attr >> 16):
        flaw = "is a link"
    elif info.flag_bits & 0x1:
        flaw = "is locked with a password"
    if flaw:
        raise InputError(
            f"{name}: member {one_line(info.orig_filename, 80)!r} {flaw}",
            "plain files",
            "unpack it yourself and name the folder",
        )


def _nested(name: str) -> InputError:
    return InputError(
        f"{name} is a zip inside an archive", "one level of packing", "unpack the outer one"
    )


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
