"""MEDLINE text: records written here by hand, as PubMed wraps them."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.dataset import Rows
from benchmark.readers import medline
from benchmark.readers.files import LEFT_OUT
from features.errors import InputError

RECORD = """PMID- 11
OWN - NLM
STAT- MEDLINE
LR  - 20120304
DP  - 2001 Jan-Feb
TI  - A title that goes on \n      in a second line.
AB  - BACKGROUND: Things are
      so. RESULTS: They stay so.
FAU - Doe, Jane
AU  - Doe J
FAU - Roe, Richard
AU  - Roe R
CN  - The Group
LA  - eng
LA  - fre
PT  - Journal Article
PT  - Case Reports
TA  - J Things
JT  - Journal of things
OTO - NOTNLM
OT  - *gait
OT  - a keyword of which the second half stands
      in the next line
MH  - *Humans
MH  - Sequence Analysis, Protein/*methods
SO  - J Things. 2001;1:1.
"""


def record(pmid: str = "11", **fields: str) -> str:
    """The record above with another PMID and other fields (`TI="x"`)."""
    text = RECORD.replace("PMID- 11", f"PMID- {pmid}")
    for name, value in fields.items():
        text = re.sub(rf"(?m)^{name:<4}- .*$", f"{name:<4}- {value}", text, count=1)
    return text


def read(folder: Path, *records: str, between: str = "\n", name: str = "p.nbib") -> Rows:
    (folder / name).write_text(between.join(records), encoding="utf-8")
    return medline.read(medline.Options(path=folder / name))


def test_a_record_gives_its_canonical_row(tmp_path: Path) -> None:
    rows = read(tmp_path, "\n" + RECORD)
    row = rows.frame.loc["11"]
    assert row["title"] == "A title that goes on in a second line."
    assert row["abstract"] == "BACKGROUND: Things are so. RESULTS: They stay so."
    assert row["keywords"] == "gait; a keyword of which the second half stands in the next line"
    assert row["journal"] == "Journal of things"
    assert row["language"] == "eng|fre"
    assert row["n_authors"] == 3
    assert row["pub_date"] == pd.Timestamp(2001, 1, 1)
    assert row["publication_types"] == "Journal Article|Case Reports"
    assert row["mesh_headings"] == "Humans|Sequence Analysis, Protein"
    assert row["labels"] == "Human|CaseReport"
    assert row["status"] == "MEDLINE"
    assert rows.rejected.empty


def test_keywords_of_indexers_are_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, record(OTO="PIP")).frame.loc["11", "keywords"] == ""


def test_records_need_no_blank_line_between_them(tmp_path: Path) -> None:
    for between in ("", "\n", "\n\n \n"):
        rows = read(tmp_path, record("11"), record("12", TI="Other"), between=between)
        assert rows.frame.index.tolist() == ["11", "12"]
        assert rows.frame["journal"].tolist() == ["Journal of things"] * 2


def test_crlf_and_a_byte_order_mark_are_no_content(tmp_path: Path) -> None:
    text = "\ufeff" + "\n".join([record("11"), record("12")]).replace("\n", "\r\n")
    (tmp_path / "p.nbib").write_bytes(text.encode())
    rows = medline.read(medline.Options(path=tmp_path / "p.nbib"))
    assert rows.frame.index.tolist() == ["11", "12"]
    assert rows.frame.loc["12", "title"] == "A title that goes on in a second line."


def test_a_line_that_is_no_field_costs_its_record(tmp_path: Path) -> None:
    broken = record("12").replace("OTO -", "<p>oops")
    rows = read(tmp_path, record("11"), broken, record("13"))
    assert rows.frame.index.tolist() == ["11", "13"]
    line = RECORD.count("\n") + 2
    assert rows.rejected["row"].tolist() == [2]
    assert rows.rejected["reason"].tolist() == [
        f"{LEFT_OUT}p.nbib: record at line {line}: line {line + 20} is no field of MEDLINE text: "
        "'<p>oops NOTNLM'"
    ]


def test_a_record_without_a_pmid_is_listed(tmp_path: Path) -> None:
    rows = read(tmp_path, record("11"), RECORD.partition("\n")[2], record("x9"), record("13"))
    assert rows.frame.index.tolist() == ["11", "13"]
    assert rows.rejected.values.tolist() == [
        [2, "", f"{LEFT_OUT}p.nbib: record at line {RECORD.count(chr(10)) + 2}: no PMID"],
        [3, "x9", f"{LEFT_OUT}pmid: 'x9' is no PMID"],
    ]


def test_a_file_cut_off_in_its_last_record_loses_that_and_says_so(tmp_path: Path) -> None:
    whole = record("11") + "\n" + record("12")
    rows = read(tmp_path, whole[: whole.rindex("RESULTS")])
    assert rows.frame.index.tolist() == ["11"]
    assert "the file is cut off inside this record" in rows.rejected["reason"].iloc[0]


def test_files_of_software_that_writes_no_so_field_are_read(tmp_path: Path) -> None:
    short = "PMID- {}\nTI  - A title\nMH  - Humans\n"
    rows = read(tmp_path, short.format(1), short.format(2))
    assert rows.frame.index.tolist() == ["1", "2"]


def test_bytes_of_another_encoding_cost_the_record_or_are_read_when_named(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    text = "\n".join([record("11"), record("12", TI="Sjögren"), record("13")])
    path.write_bytes(text.encode("cp1252"))
    rows = medline.read(medline.Options(path=path))
    assert rows.frame.index.tolist() == ["11", "13"]
    assert "is not utf-8" in rows.rejected["reason"].iloc[0]
    named = medline.read(medline.Options(path=path, encoding="cp1252"))
    assert named.frame.loc["12", "title"].startswith("Sjögren")
    for encoding in ("utf-16", "klingon"):
        with pytest.raises(InputError, match="extends ASCII"):
            medline.Options(path=path, encoding=encoding)


def test_a_folder_is_read_by_name_and_the_later_revision_is_kept(tmp_path: Path) -> None:
    read(tmp_path, record("11", LR="20200101"), record("12"), name="b.nbib")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(record("13").encode()))
    (tmp_path / "d.xml").write_text("<no/>")
    read(tmp_path, record("11", TI="Old"), name="a.txt")
    rows = medline.read(medline.Options(path=tmp_path))
    assert rows.frame["source"].tolist() == ["b.nbib", "b.nbib", "c.txt.gz"]
    assert rows.group == "source"
    assert rows.rejected.values.tolist() == [
        [1, "11", f"{LEFT_OUT}11 stands in row 2 too, a later version, which is kept"]
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html><body>Error</body></html>", "no usable record"),
        (b"", "no MEDLINE record"),
        (b"\n\n \n\n\n\n\n\n\n\n", "no MEDLINE record"),
        (b"id,title\n1,x\n", "no usable record"),
        (b"x" * 3_000_000, "no usable record"),
        (gzip.compress(RECORD.encode() * 50)[:-30], "broken or cut off"),
    ],
)
def test_a_file_that_is_no_medline_text_is_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        medline.read(medline.Options(path=tmp_path / "p.txt"))
    assert "\n" not in str(caught.value)


def outcome(path: Path) -> tuple[Rows | None, str]:
    """The rows, or the text of the error if the file is refused."""
    try:
        return medline.read(medline.Options(path=path)), ""
    except InputError as error:
        return None, str(error)


@settings(max_examples=30, deadline=None)
@given(ids=st.lists(st.sampled_from(["1", "2", "3", "x"]), min_size=1, max_size=9))
def test_every_record_is_in_the_frame_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.nbib"
    path.write_text("\n".join(map(record, ids)))
    rows, refusal = outcome(path)
    if rows is None:
        assert 2 * ids.count("x") > len(ids), refusal
        return
    assert set(rows.frame.index) == set(ids) - {"x"}
    assert len(rows.frame) + len(rows.rejected) == len(ids)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mangled_bytes_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray("\n".join([record("11"), record("12"), record("13")]).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 1, 60]))
        content[at : at + length] = data.draw(st.binary(max_size=6) | st.just(b"\n"))
    path = tmp_path_factory.getbasetemp() / "mangled.nbib"
    path.write_bytes(bytes(content))
    rows, refusal = outcome(path)
    assert "\n" not in refusal
    assert rows is None or rows.frame.index.is_unique


def test_the_shared_files_are_read_whole(shared: Path) -> None:
    counts = {"pubmed_result.txt": 473, "pubmed_result2.txt": 4}
    counts |= {"search_results_08.09.2022.nbib": 256}
    for name, count in counts.items():
        rows = medline.read(medline.Options(path=shared / "pubmed" / name))
        assert (len(rows.frame), len(rows.rejected)) == (count, 0), name
        assert rows.frame["pub_date"].notna().all()
    rows = medline.read(medline.Options(path=shared / "pubmed"))
    assert (len(rows.frame), len(rows.rejected)) == (731, 2)  # two articles are in two files


def test_medline_text_and_the_shared_table_tell_the_same_of_an_article(shared: Path) -> None:
    mine = medline.read(medline.Options(path=shared / "pubmed")).frame
    table = pd.read_parquet(shared / "pubmed" / "studies.parquet", columns=["pmid", "abstract"])
    abstracts = table.set_index(table["pmid"].astype(str))["abstract"]
    both = mine.index.intersection(abstracts.index)
    assert len(both) > 500
    words, others = mine.loc[both, "abstract"].str.split(), abstracts.loc[both].str.split()
    assert words.tolist() == others.tolist()
