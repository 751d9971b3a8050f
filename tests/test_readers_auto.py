"""Recognising formats, and every file of real data with the count that its README states."""

import gzip
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from fictional import AACT, CSV, NCT, STUDY, XML, check_one_line, table
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.readers import READERS, auto
from benchmark.readers.files import LEFT_OUT
from features.errors import InputError

SHARED = Path(__file__).parents[2] / "shared" / "data"
PUBMED = "<PubmedArticleSet><PubmedArticle/></PubmedArticleSet>"
DOCTYPE = '<?xml version="1.0"?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD" "x.dtd">\n'
AERO = "index,NCT,Sponsor,Title,Summary,Start_Year,Start_Month,Phase,Enrollment,Status,Condition"

FILES: dict[str, tuple[str, str]] = {
    "ctgov-csv": ("a.csv", table([CSV], ",")),
    "ctgov-json": ("a.txt", json.dumps(STUDY)),
    "ctgov-xml": ("a.xml", XML),
    "trials": ("a.csv", "nct_id,overall_status\nN1,COMPLETED\n"),
    "aero": ("a.csv", AERO + "\n0,NCT00000001,x,t,s,2000,1,Phase 1,3,Completed,c\n"),
    "top": (
        "a.csv",
        "nctid,status,why_stop,label,phase,diseases,icdcodes,drugs,smiless,criteria\n",
    ),
    "trialbench": ("a.csv", ",failure_reason\nNCT00000001,safety\n"),
    "articles": ("a.csv", "pmid,title,abstract,year\n1,t,a,2000\n"),
    "pubmed-xml": ("a.xml", DOCTYPE + "<!-- <clinical_study> -->" + PUBMED),
    "medline": ("a.txt", "\nPMID- 123\nOWN - NLM\nTI  - A title\n"),
    "aact": ("studies.txt", table(AACT["studies"])),
}


def write(folder: Path, text: str | bytes, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("reader", FILES)
def test_a_format_is_recognised_by_its_content(tmp_path, reader):
    name, text = FILES[reader]
    assert auto.recognise(write(tmp_path, text, name)) == reader
    assert reader in READERS


@pytest.mark.parametrize("reader", ["ctgov-json", "ctgov-xml", "pubmed-xml", "medline"])
def test_gzip_and_a_byte_order_mark_do_not_hide_it(tmp_path, reader):
    text = FILES[reader][1]
    assert auto.recognise(write(tmp_path, gzip.compress(text.encode()), "a.bin")) == reader
    assert auto.recognise(write(tmp_path, b"\xef\xbb\xbf" + text.encode(), "b.bin")) == reader


def test_every_reader_of_files_can_be_recognised():
    assert set(READERS) - {"auto", "table", "synthetic"} == set(FILES)


def test_parquet_is_told_by_its_columns(tmp_path):
    pd.DataFrame({"nct_id": ["N1"], "overall_status": ["COMPLETED"]}).to_parquet(tmp_path / "a")
    pd.DataFrame({"pmid": [1], "title": ["t"]}).to_parquet(tmp_path / "b")
    assert auto.recognise(tmp_path / "a") == "trials"
    assert auto.recognise(tmp_path / "b") == "articles"
    with pytest.raises(InputError, match="not readable as Parquet"):
        auto.recognise(write(tmp_path, b"PAR1 and no more", "c"))


def test_folders_and_zips_are_told_by_their_files(tmp_path):
    for name, rows in AACT.items():
        write(tmp_path / "aact", table(rows), f"{name}.txt")
    write(tmp_path / "json", json.dumps(STUDY), "a.json")
    write(tmp_path / "top", FILES["top"][1], "phase_II_valid.csv")
    write(tmp_path / "bench", FILES["trialbench"][1], "test_y.csv")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("NCT0000xxxx/a.xml", XML)
    found = {name: auto.recognise(tmp_path / name) for name in ("aact", "json", "top", "bench")}
    assert found == {"aact": "aact", "json": "ctgov-json", "top": "top", "bench": "trialbench"}
    assert auto.recognise(tmp_path / "all.zip") == "ctgov-xml"


def test_reading_goes_to_the_reader_that_was_recognised(tmp_path):
    for reader in ("ctgov-csv", "ctgov-json", "ctgov-xml", "aact"):
        name, text = FILES[reader]
        rows = auto.read(auto.Options(path=write(tmp_path / reader, text, name)))
        assert rows.frame.index.tolist() == [NCT]
        assert rows.rejected.empty


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_of_a_table_is_found(tmp_path, delimiter):
    path = write(tmp_path, table([CSV], delimiter), "a.csv")
    assert auto.recognise(path) == "ctgov-csv"
    assert auto.read(auto.Options(path=path)).frame.index.tolist() == [NCT]


def test_the_encoding_is_handed_on(tmp_path):
    text = table([CSV | {"Sponsor": "Tée SA"}], ",")
    path = write(tmp_path, text.encode("cp1252"), "a.csv")
    rows = auto.read(auto.Options(path=path, encoding="cp1252"))
    assert rows.frame["lead_sponsor"].tolist() == ["Tée SA"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("<!DOCTYPE html>\n<html><body>503</body></html>", "is HTML"),
        ("<rss><channel/></rss>", "is XML of <rss>"),
        ('{"error": 1, "why": 2}', "is JSON with the keys error, why"),
        ("a,b\n1,2\n", "has the columns 'a', 'b'"),
        ("nctid,prediction\nNCT1,0.5\n", "has the columns 'nctid', 'prediction'"),
        (bytes(range(128, 256)), "has the columns"),
    ],
)
def test_what_was_seen_is_said_where_nothing_fits(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        auto.recognise(write(tmp_path, text, "a.csv"))
    assert "\n" not in str(caught.value)


def test_a_folder_of_several_formats_or_of_nothing_is_refused(tmp_path):
    write(tmp_path / "mixed", json.dumps(STUDY), "a.json")
    write(tmp_path / "mixed", XML, "b.xml")
    with pytest.raises(InputError, match="several formats: ctgov-json, ctgov-xml"):
        auto.recognise(tmp_path / "mixed")
    write(tmp_path / "none", "x", "picture.png")
    with pytest.raises(InputError, match=r"holds picture\.png"):
        auto.recognise(tmp_path / "none")
    with pytest.raises(InputError, match="there is no file"):
        auto.recognise(tmp_path / "nowhere")


@settings(max_examples=200, deadline=None)
@given(start=st.binary(max_size=200), reader=st.sampled_from([*FILES, ""]))
def test_any_bytes_are_a_known_reader_or_an_input_error(start, reader):
    text = FILES[reader][1].encode()[:100] if reader else b""
    for content in (start + text, text + start):
        try:
            assert auto.by_content("x", content) in READERS
        except InputError as error:
            check_one_line(error)


COUNTS = {
    "trials/trials_core.parquet": ("trials", 7918),
    "trials/registry_120k.parquet": ("trials", 116231),
    "aero/AERO-BirdsEye-Data.no-text.csv": ("aero", 13748),
    "aero/AERO-BirdsEye-Data.with-text-subset.csv": ("aero", 1773),
    "top": ("top", 1044 + 117 + 627),
    "top/phase_I_train.csv": ("top", 1044),
    "top/phase_I_valid.csv": ("top", 117),
    "top/phase_I_test.csv": ("top", 627),
    "trialbench/trial-approval-prediction/Phase4": ("trialbench", 892),
    "trialbench/trial-approval-prediction/Phase4/test_x.csv": ("trialbench", 892),
    "trialbench/trial-approval-prediction/Phase4/test_y.csv": ("trialbench", 892),
    "trialbench/trial-failure-reason-prediction/Phase3": ("trialbench", 815),
    "trialbench/trial-failure-reason-prediction/Phase3/test_x.csv": ("trialbench", 815),
    "trialbench/trial-failure-reason-prediction/Phase3/test_y.csv": ("trialbench", 815),
    "ctgov/hypertension-ctg-studies.csv": ("ctgov-csv", 172),
    "ctgov/mrd-ctg-studies.csv": ("ctgov-csv", 245),
    "ctgov/no-summary-ctg-studies.csv": ("ctgov-csv", 2677),
    "ctgov/search-results.csv": ("ctgov-csv", 1000),
    "ctgov/terminated-ctg-studies.csv": ("ctgov-csv", 279),
    "ctgov/urology-ctg-studies.csv": ("ctgov-csv", 635),
    "ctgov/v2-small.json": ("ctgov-json", 5),
    "ctgov/v2-list.json": ("ctgov-json", 100),
    "ctgov/v2-herniated-disc.json": ("ctgov-json", 100),
    "ctgov/NCT00000102.xml": ("ctgov-xml", 1),
    "ctgov/NCT00001120.xml": ("ctgov-xml", 1),
    "ctgov/NCT00162656.xml": ("ctgov-xml", 1),
    "ctgov/NCT00490009.xml": ("ctgov-xml", 1),
    "ctgov/NCT00864227.xml": ("ctgov-xml", 1),
    "ctgov/NCT01728207.xml": ("ctgov-xml", 1),
    "pubmed/studies.parquet": ("articles", 12424),
    "pubmed/medline16n0902.xml.gz": ("pubmed-xml", None),
    "pubmed/pubmed1.xml": ("pubmed-xml", None),
    "pubmed/pubmed21n1004.xml": ("pubmed-xml", None),
    "pubmed/pubmed_result.txt": ("medline", None),
    "pubmed/pubmed_result2.txt": ("medline", None),
    "pubmed/search_results_08.09.2022.nbib": ("medline", None),
}
"""Reader and rows by the README; where it states none, the records are counted in the file."""


def records_in(path: Path) -> int:
    """How many records a file of articles has, by what starts one."""
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    if path.suffix in (".txt", ".nbib"):
        return (b"\n" + data).count(b"\nPMID- ")
    return data.count(b"</MedlineCitation>") + data.count(b"</BookDocument>")


@pytest.mark.parametrize("name", COUNTS)
def test_every_file_of_the_shared_data_is_read_whole(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip("shared/data is not here")
    reader, count = COUNTS[name]
    assert auto.recognise(path) == reader
    rows = auto.read(auto.Options(path=path))
    left_out = rows.rejected["reason"].str.startswith(LEFT_OUT)
    expected = records_in(path) if count is None else count
    assert len(rows.frame) + left_out.sum() == expected
    assert left_out.sum() == 0


def test_no_file_of_the_shared_data_is_forgotten():
    if not SHARED.is_dir():
        pytest.skip("shared/data is not here")
    files = {file.relative_to(SHARED).as_posix() for file in SHARED.rglob("*") if file.is_file()}
    predictions = "top/hint_predictions_phase_I_test.csv"  # no records: HINT's scores for them
    assert files - set(COUNTS) == {"README.md", predictions}
    with pytest.raises(InputError, match="'nctid', 'prediction'"):
        auto.recognise(SHARED / predictions)
