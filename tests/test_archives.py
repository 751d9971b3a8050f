"""Streams out of files, folders, gzip and zip, and the archives that are refused."""

import gzip
import io
import stat
import zipfile
from pathlib import Path

import pytest
from fictional import check_one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.readers.archives import Limits, head, streams
from features.errors import InputError


def write(folder: Path, data: bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def contents(path: Path, limits: Limits | None = None) -> dict[str, bytes]:
    return {name: stream.read() for name, stream in streams(path, limits)}


def test_a_plain_file_is_one_stream(tmp_path):
    assert contents(write(tmp_path, b"abc", "a.json")) == {"a.json": b"abc"}


def test_gzip_is_known_by_its_content_and_may_have_several_parts(tmp_path):
    data = gzip.compress(b"abc") + gzip.compress(b"def")
    assert contents(write(tmp_path, data, "a.json")) == {"a.json": b"abcdef"}


def test_a_zip_gives_its_files_and_expands_gzip_in_it(tmp_path):
    data = zipped({"b/2.txt": b"two", "b/": b"", "1.gz": gzip.compress(b"one"), ".x": b"hidden"})
    assert contents(write(tmp_path, data, "z.bin")) == {
        "z.bin/b/2.txt": b"two",
        "z.bin/1.gz": b"one",
    }


def test_a_folder_gives_its_files_by_name_without_hidden_ones_and_links(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path, b"2", "b")
    write(tmp_path / "sub", b"3", "a")
    write(tmp_path, b"x", ".DS_Store")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    assert list(contents(tmp_path).items()) == [("b", b"2"), ("sub/a", b"3")]


def test_unwanted_names_are_not_opened(tmp_path):
    path = write(tmp_path, zipped({"a.txt": b"1", "b.txt": b"2"}), "z.zip")
    assert [name for name, _ in streams(path, wanted=lambda name: "b" in name)] == ["z.zip/b.txt"]


@pytest.mark.parametrize(
    "name", ["../up.txt", "a/../../up.txt", "/etc/passwd", "..\\up.txt", "C:\\up.txt"]
)
def test_names_that_lead_out_of_a_zip_are_refused_before_anything_is_read(tmp_path, name):
    path = write(tmp_path, zipped({"fine.txt": b"1", name: b"2"}), "z.zip")
    with pytest.raises(InputError, match="leads out of the archive"):
        next(streams(path))


def test_a_link_in_a_zip_is_refused(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(InputError, match="'link' is a link"):
        contents(write(tmp_path, out.getvalue(), "z.zip"))


def test_a_locked_member_is_refused(tmp_path):
    data = bytearray(zipped({"a": b"1"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of encryption
    with pytest.raises(InputError, match="locked with a password"):
        contents(write(tmp_path, bytes(data), "z.zip"))


def test_a_zip_in_a_zip_is_refused(tmp_path):
    path = write(tmp_path, zipped({"inner.zip": zipped({"a": b"1"})}), "z.zip")
    with pytest.raises(InputError, match="zip inside an archive"):
        contents(path)


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped({"a": data})])
def test_what_expands_a_thousandfold_is_refused_and_tenfold_is_not(tmp_path, pack):
    bomb = pack(b"0" * 20_000_000)
    assert len(bomb) * 500 < 20_000_000
    with pytest.raises(InputError, match="expands to more than"):
        contents(write(tmp_path, bomb, "bomb"))
    fine = pack(b"0" * 900_000)
    assert [len(data) for data in contents(write(tmp_path, fine, "fine")).values()] == [900_000]


def test_the_members_of_a_zip_share_one_limit(tmp_path):
    members = {str(n): bytes(500_000) for n in range(3)}
    path = write(tmp_path, zipped(members, zipfile.ZIP_STORED), "z.zip")
    assert len(contents(path, Limits(total=1_500_000))) == 3
    with pytest.raises(InputError, match="expands to more than"):
        contents(path, Limits(total=1_499_999))


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: zipped({"a": data})])
def test_an_archive_that_is_cut_off_is_refused(tmp_path, pack):
    whole = pack(bytes(range(256)) * 100)
    with pytest.raises(InputError, match=r"cut off|no whole zip"):
        contents(write(tmp_path, whole[:-20], "cut"))


def test_a_member_that_does_not_match_its_checksum_is_refused(tmp_path):
    data = zipped({"a": b"right"}, zipfile.ZIP_STORED).replace(b"right", b"wrong")
    with pytest.raises(InputError, match=r"z\.zip/a is broken or cut off"):
        contents(write(tmp_path, data, "z.zip"))


def test_a_missing_path_names_the_nearest(tmp_path):
    write(tmp_path, b"", "trials.json")
    with pytest.raises(InputError, match=r"did you mean 'trials\.json'"):
        contents(tmp_path / "trails.json")


def test_the_head_is_that_of_the_first_file(tmp_path):
    assert head(write(tmp_path, gzip.compress(b"abcdef"), "a.gz"), 3) == ("a.gz", b"abc")
    (tmp_path / "empty").mkdir()
    assert head(tmp_path / "empty") == ("", b"")


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["gzip", "zip"]))
def test_mangled_archives_raise_nothing_else(tmp_path_factory, data, kind):
    text = b"some content " * 20
    good = gzip.compress(text) if kind == "gzip" else zipped({"a": text, "b": text})
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.sampled_from([0, 1, 9]))] = data.draw(st.binary(max_size=4))
    path = write(tmp_path_factory.getbasetemp(), bytes(content), "mangled")
    try:
        assert all(isinstance(found, bytes) for found in contents(path).values())
    except InputError as error:
        check_one_line(error)
