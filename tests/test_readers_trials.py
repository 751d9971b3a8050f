"""The reader of canonical tables: typing, rejected rows and cells, duplicates, broken files."""

import csv
import io
import json
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.readers import files, trials
from benchmark.readers.canonical import COLUMNS
from benchmark.readers.files import EMPTIED, LEFT_OUT
from features.errors import InputError

HEADER = "nct_id,overall_status,brief_title,lead_sponsor,enrollment,start_date,min_age,acronym"
GOOD = "nct00000001,Completed,A title,Acme,40,2013-02,18 Years,ACE"


def write(folder: Path, text: str | bytes, name: str = "trials.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(folder: Path, *lines: str, header: str = HEADER):
    return trials.read(trials.Options(path=write(folder, "\n".join([header, *lines]) + "\n")))


def reasons(rows) -> list[str]:
    return rows.rejected["reason"].tolist()


def test_cells_get_the_type_of_their_column(tmp_path):
    rows = read(tmp_path, GOOD)
    assert rows.frame.index.tolist() == ["NCT00000001"]
    row = rows.frame.loc["NCT00000001"]
    assert row["overall_status"] == "COMPLETED"
    assert row["enrollment"] == 40.0
    assert row["start_date"] == pd.Timestamp(2013, 2, 1)
    assert row["min_age"] == 18.0
    assert row["acronym"] == "ACE"
    assert {name: str(kind) for name, kind in rows.frame.dtypes.items()} == {
        "overall_status": "str",
        "brief_title": "str",
        "lead_sponsor": "str",
        "enrollment": "float64",
        "start_date": "datetime64[s]",
        "min_age": "float64",
        "acronym": "str",
    }
    assert (rows.group, rows.date) == ("lead_sponsor", "start_date")
    assert rows.rejected.empty


def test_absent_columns_are_absent_and_unknown_ones_dropped(tmp_path):
    rows = read(tmp_path, "X1,Terminated,7", header="NCT_ID, Overall_Status ,shoe size")
    assert rows.columns == ()
    assert rows.frame.columns.tolist() == ["overall_status"]
    assert (rows.group, rows.date) == (None, None)


def test_empty_cells_are_missing_or_empty_text_by_kind(tmp_path):
    row = read(tmp_path, "N1,,,,,,,").frame.loc["N1"]
    assert row["brief_title"] == ""
    assert row[["overall_status", "lead_sponsor", "enrollment", "start_date"]].isna().all()


def test_a_bad_cell_is_left_empty_and_its_row_stays(tmp_path):
    rows = read(tmp_path, GOOD, "NCT2,Finished,T,Acme,-4,2013-02-30,18 Elves,x")
    assert rows.frame.loc["NCT2", ["enrollment", "start_date", "min_age"]].isna().all()
    assert pd.isna(rows.frame.loc["NCT2", "overall_status"])
    assert rows.rejected["row"].tolist() == [2, 2, 2, 2]
    assert rows.rejected["id"].unique().tolist() == ["NCT2"]
    date = next(reason for reason in reasons(rows) if "start_date" in reason)
    assert date == f"{EMPTIED}start_date: '2013-02-30' is not a date of the calendar"


def test_a_row_without_an_id_is_left_out(tmp_path):
    rows = read(tmp_path, " ,Completed,T,Acme,1,2013,,", GOOD)
    assert rows.frame.index.tolist() == ["NCT00000001"]
    assert rows.rejected.values.tolist() == [[1, "", f"{LEFT_OUT}nct_id: nothing is no id"]]


def test_ragged_rows_are_left_out_with_their_line(tmp_path):
    rows = read(tmp_path, GOOD, "N2,Completed,a,b", 'N3,"Comp\nleted",a', "N4" + ",x" * 8, *PLENTY)
    assert len(rows.frame) == 1 + len(PLENTY)
    assert reasons(rows) == [
        f"{LEFT_OUT}line 3: 4 cells where the header has 8, starting with 'N2'",
        f"{LEFT_OUT}lines 4 to 5: 3 cells where the header has 8, starting with 'N3'",
        f"{LEFT_OUT}line 6: 9 cells where the header has 8, starting with 'N4'",
    ]


PLENTY = [GOOD.replace("1,Comp", f"{n},Comp") for n in range(10, 20)]


def test_a_stray_quote_costs_its_own_line_only(tmp_path):
    rows = read(tmp_path, 'N2,Completed,"5 cm,b,1,2013,,', *PLENTY[:3], 'N3,Completed,"q",b,1,,,')
    assert rows.frame.index.tolist() == ["NCT000000010", "NCT000000011", "NCT000000012", "N3"]
    assert rows.rejected["row"].tolist() == [1]
    start = f"{LEFT_OUT}line 2: a quote opened here is not closed soundly up to line 6"
    assert reasons(rows)[0].startswith(start)


def test_a_file_cut_off_inside_a_cell_keeps_its_sound_rows(tmp_path):
    rows = read(tmp_path, *PLENTY, 'N2,Completed,"the beginning of a')
    assert len(rows.frame) == 10
    assert "unexpected end of data" in reasons(rows)[0]


def test_nul_bytes_cost_the_row(tmp_path):
    rows = read(tmp_path, GOOD, "N2,Compl\0eted,T,Acme,1,2013,,")
    assert rows.frame.index.tolist() == ["NCT00000001"]
    assert reasons(rows) == [f"{LEFT_OUT}line 3: it holds NUL bytes"]


def test_a_third_of_bad_rows_passes_and_most_do_not(tmp_path):
    assert len(read(tmp_path, *["x,y"] * 5, *PLENTY).frame) == 10
    with pytest.raises(InputError, match=r"11 of 21 rows cannot be used.*line 2: 2 cells"):
        read(tmp_path, *["x,y"] * 11, *PLENTY)


def test_an_estimated_enrollment_is_not_taken_for_the_plan_at_registration(tmp_path):
    # of a trial that ended, only its end tells whether the count stayed an estimate
    header = "nct_id,overall_status,enrollment,enrollment_type"
    rows = read(tmp_path, "N1,COMPLETED,40,ESTIMATED", header=header)
    assert "enrollment_planned" not in rows.frame
    assert [column.name for column in rows.columns if column.known_at == "registration"] == []


def test_identical_rows_are_read_once(tmp_path):
    rows = read(tmp_path, GOOD, GOOD, GOOD.replace("40", "40.0"))
    assert len(rows.frame) == 1
    same = f"{LEFT_OUT}NCT00000001 stands in row 1 too, with the same content"
    assert reasons(rows) == [same, same]


def test_the_last_updated_of_two_versions_is_kept(tmp_path):
    header = "nct_id,overall_status,brief_title,last_update_posted"
    rows = read(
        tmp_path,
        "N1,Terminated,old,2019-01-01",
        "N1,Completed,new,2021-01-01",
        "N1,Completed,older,",
        header=header,
    )
    assert rows.frame.loc["N1", "brief_title"] == "new"
    assert rows.rejected["row"].tolist() == [1, 3]
    assert reasons(rows)[0].startswith(
        f"{LEFT_OUT}N1 stands in row 2 too, which is kept; it differs in "
        "overall_status ('TERMINATED' here, 'COMPLETED' there), brief_title ('old' here"
    )
    assert "nothing" not in reasons(rows)[0]


def test_without_an_update_date_the_first_version_is_kept(tmp_path):
    rows = read(tmp_path, GOOD, GOOD.replace("Completed", "Withdrawn"))
    assert rows.frame.loc["NCT00000001", "overall_status"] == "COMPLETED"
    assert "overall_status ('WITHDRAWN' here, 'COMPLETED' there)" in reasons(rows)[0]


def test_a_duplicate_does_not_list_its_bad_cells_too(tmp_path):
    rows = read(tmp_path, GOOD, GOOD.replace("2013-02", "soon"))
    assert len(rows.rejected) == 1


def test_parquet_and_csv_give_the_same_rows(tmp_path):
    lines = [GOOD, *PLENTY]
    frame = pd.read_csv(io.StringIO("\n".join([HEADER, *lines])), parse_dates=["start_date"])
    frame.to_parquet(tmp_path / "t.parquet")
    parquet = trials.read(trials.Options(path=tmp_path / "t.parquet"))
    pd.testing.assert_frame_equal(parquet.frame, read(tmp_path, *lines).frame)


def test_typed_parquet_cells_are_read_by_their_meaning(tmp_path):
    frame = pd.DataFrame(
        {
            "nct_id": ["A", "B"],
            "overall_status": ["COMPLETED", None],
            "enrollment": pd.array([12, None], dtype="Int64"),
            "has_dmc": pd.array([True, None], dtype="boolean"),
            "conditions": [["Gout", "Asthma"], None],
            "start_date": pd.to_datetime(["2013-01-05 13:00", None]),
        }
    ).set_index("nct_id")
    frame.to_parquet(tmp_path / "t.parquet")
    read_back = trials.read(trials.Options(path=tmp_path / "t.parquet")).frame
    first, second = read_back.loc["A"], read_back.loc["B"]
    assert (first["enrollment"], first["has_dmc"]) == (12.0, "true")
    assert first["conditions"] == "Gout|Asthma"
    assert first["start_date"] == pd.Timestamp(2013, 1, 5)
    assert second[["overall_status", "enrollment", "has_dmc", "start_date"]].isna().all()
    assert second["conditions"] == ""


def test_a_cell_of_ten_megabytes_is_read_quickly(tmp_path):
    long = "word " * 2_000_000
    start = time.perf_counter()
    rows = read(tmp_path, f'N1,Completed,"{long}",Acme,1,2013,,')
    assert time.perf_counter() - start < 5
    assert len(rows.frame.loc["N1", "brief_title"]) == 9_999_999
    assert csv.field_size_limit() == 131_072


def test_formulas_and_html_are_plain_text(tmp_path):
    line = 'N1,Completed,"=HYPERLINK(""x""),<script>1</script>",@Acme,1,2013,,'
    row = read(tmp_path, line).frame.loc["N1"]
    assert row["brief_title"] == '=HYPERLINK("x"),<script>1</script>'
    assert row["lead_sponsor"] == "@Acme"


def test_a_byte_order_mark_and_crlf_are_no_content(tmp_path):
    text = "\ufeff" + "\r\n".join([HEADER, GOOD, "", ""])
    rows = trials.read(trials.Options(path=write(tmp_path, text)))
    assert rows.frame.index.tolist() == ["NCT00000001"]
    assert rows.frame["acronym"].tolist() == ["ACE"]
    assert rows.rejected.empty


def test_another_encoding_is_read_when_named_and_refused_otherwise(tmp_path):
    path = write(tmp_path, f"{HEADER}\nN1,Completed,Sjögren,,,,,\n".encode("cp1252"))
    offset = len(HEADER) + 1 + len("N1,Completed,Sj")
    expected = rf"byte f6 at offset {offset} \(line 2\) is not utf-8.*encoding: cp1252"
    with pytest.raises(InputError, match=expected):
        trials.read(trials.Options(path=path))
    frame = trials.read(trials.Options(path=path, encoding="cp1252")).frame
    assert frame.loc["N1", "brief_title"] == "Sjögren"
    with pytest.raises(InputError, match="unknown encoding 'klingon'"):
        trials.read(trials.Options(path=path, encoding="klingon"))


def test_utf_16_is_recognised_by_its_mark(tmp_path):
    path = write(tmp_path, f"{HEADER}\n{GOOD}\n".encode("utf-16"))
    with pytest.raises(InputError, match="set `encoding: utf-16`"):
        trials.read(trials.Options(path=path))
    assert len(trials.read(trials.Options(path=path, encoding="utf-16")).frame) == 1


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_wrong_delimiter_is_named(tmp_path, delimiter):
    path = write(tmp_path, f"{HEADER}\n{GOOD}\n".replace(",", delimiter))
    shown = delimiter.replace("\t", "\\\\t").replace("|", "\\|")
    with pytest.raises(InputError, match=f'set `delimiter: "{shown}"`'):
        trials.read(trials.Options(path=path))
    assert len(trials.read(trials.Options(path=path, delimiter=delimiter)).frame) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (HEADER.encode() + b"\n\n", "a header and no rows"),
        (b"<!DOCTYPE html><html></html>", "is HTML or XML"),
        (b"%PDF-1.7 ...", "is a PDF"),
        (b"PK\x03\x04....", "zip archive or an Excel"),
        (b"\x1f\x8b\x08", "gzip"),
        (b'{"studies": []}', "is JSON"),
        (b"PAR1 and no more", "not readable as Parquet"),
        (bytes(range(256)), "is no header|not utf-8"),
        (b"a,b\n1,2\n", "no column 'nct_id'"),
        (b"nct_idd,overall_status\n1,2\n", "did you mean 'nct_idd'"),
        (b"nct_id,Overal_Status\n1,2\n", "'overall_status'.*did you mean 'Overal_Status'"),
        (b"nct_id,nct_id\n1,2\n", "'nct_id' stands twice in the header"),
        (b"nct_id,NCT_ID,overall_status\n1,2,3\n", "hold the same thing"),
    ],
)
def test_a_file_that_is_no_table_of_trials_is_one_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        trials.read(trials.Options(path=write(tmp_path, content)))
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_files_say_so(tmp_path):
    write(tmp_path, "x", "trials.csv")
    for path, message in [
        (tmp_path / "trails.csv", "did you mean 'trials.csv'"),
        (tmp_path / "nowhere" / "t.csv", "there is no file"),
        (tmp_path, "is a folder"),
        (Path("/dev/null"), "a pipe or a device"),
    ]:
        with pytest.raises(InputError, match=message):
            trials.read(trials.Options(path=path))


SEXES = ["male", None, "FEMALE", "neither", "male"]
"""The cells of a coded column: a null, a doubled value, and one that is no sex."""


@pytest.mark.parametrize("group", [2, 5])
@pytest.mark.parametrize("dtype", ["str", "category"])
def test_coded_parquet_columns_are_read_as_plain_ones(tmp_path, group, dtype):
    """Several row groups have a dictionary each, whose numbers differ."""
    frame = pd.DataFrame({"nct_id": list("ABCDE"), "sex": pd.Series(SEXES, dtype=dtype)})
    frame["overall_status"] = ["COMPLETED", "WITHDRAWN", "COMPLETED", "COMPLETED", "WITHDRAWN"]
    frame["enrollment"] = pd.Series([40, None, 7, -1, 40], dtype="Int64")
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=group)
    rows = trials.read(trials.Options(path=tmp_path / "t.parquet"))
    assert rows.frame["sex"].fillna("?").tolist() == ["MALE", "?", "FEMALE", "?", "MALE"]
    assert rows.frame["overall_status"].tolist() == frame["overall_status"].tolist()
    assert rows.frame["enrollment"].fillna(0).tolist() == [40.0, 0.0, 7.0, 0.0, 40.0]
    assert [str(rows.frame[name].dtype) for name in ("sex", "enrollment")] == ["str", "float64"]
    assert reasons(rows) == [
        f"{EMPTIED}sex: 'neither' is not one of all, male, female",
        f"{EMPTIED}enrollment: '-1' is not a count of 0 or more",
    ]
    assert rows.rejected["row"].tolist() == [4, 4]


def test_a_nul_byte_in_a_coded_column_costs_its_rows(tmp_path):
    frame = pd.DataFrame({"nct_id": list("ABCDE"), "overall_status": "COMPLETED"})
    frame["sex"] = ["ALL", "A\0", "ALL", "MALE", "A\0"]
    frame.to_parquet(tmp_path / "t.parquet")
    rows = trials.read(trials.Options(path=tmp_path / "t.parquet"))
    assert rows.frame["sex"].to_dict() == {"A": "ALL", "C": "ALL", "D": "MALE"}
    assert rows.rejected["row"].tolist() == [2, 5]
    assert reasons(rows) == [f"{LEFT_OUT}it holds NUL bytes"] * 2


@pytest.mark.parametrize("dtype", [pa.string(), pa.large_string()])
def test_texts_are_cleaned_and_nul_bytes_found_in_every_piece_of_a_column(
    tmp_path, monkeypatch, dtype
):
    """Pieces of two rows, over row groups of three; the title occurs in another column's name."""
    monkeypatch.setattr(files, "_FEWEST", 2)
    monkeypatch.setattr(files, "_MOST", 2)
    titles = ["a\r\nb", None, " c\t", "d\0", "nan", "e\x85f", "g\rh", "x" * 99, "y\0"]
    table = {"nct_id": list("ABCDEFGHI"), "overall_status": ["COMPLETED"] * 9}
    table |= {"brief_title": pa.array(titles, dtype), "brief_title.de": titles}
    pq.write_table(pa.table(table), tmp_path / "t.parquet", row_group_size=3)
    rows = trials.read(trials.Options(path=tmp_path / "t.parquet"))
    expected = ["a\nb", "", "c", "", "ef", "g\nh", "x" * 99]
    assert rows.frame["brief_title"].tolist() == expected
    assert rows.frame.index.tolist() == list("ABCEFGH")
    assert reasons(rows) == [f"{LEFT_OUT}it holds NUL bytes"] * 2
    assert rows.rejected["row"].tolist() == [4, 9]


@pytest.mark.parametrize("name", ["sex", "brief_title"])
def test_bytes_that_are_not_utf_8_in_a_coded_column_or_a_text_are_refused(tmp_path, name):
    cells = pa.array([b"ALL", b"\xff"]).view(pa.string())
    table = pa.table({"nct_id": ["A", "B"], "overall_status": ["COMPLETED"] * 2, name: cells})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet is not readable as Parquet: .*UTF8"):
        trials.read(trials.Options(path=tmp_path / "t.parquet"))


def test_parquet_without_rows_is_refused(tmp_path):
    frame = pd.DataFrame({"nct_id": [], "overall_status": [], "sex": []}, dtype="str")
    frame.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(InputError, match="a header and no rows"):
        trials.read(trials.Options(path=tmp_path / "t.parquet"))


def test_a_csv_called_parquet_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.csv"):
        trials.read(trials.Options(path=write(tmp_path, f"{HEADER}\n{GOOD}\n", "t.parquet")))


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n"])
def test_a_delimiter_is_one_character(tmp_path, delimiter):
    with pytest.raises(InputError, match="expected one character"):
        trials.read(trials.Options(path=write(tmp_path, GOOD), delimiter=delimiter))


def counted(path: Path) -> tuple[int, int, str]:
    """Rows in the frame, rows left out, and the text of the error if the file is refused."""
    try:
        rows = trials.read(trials.Options(path=path))
    except InputError as error:
        return 0, 0, str(error)
    left_out = rows.rejected[rows.rejected["reason"].str.startswith(LEFT_OUT)]
    assert not left_out["row"].duplicated().any()
    assert rows.frame.index.is_unique
    return len(rows.frame), len(left_out), ""


@settings(max_examples=60, deadline=None)
@given(table=st.lists(st.lists(st.text(max_size=8), min_size=4, max_size=4), min_size=1))
def test_every_record_is_in_the_frame_or_rejected(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    with path.open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["nct_id", "overall_status", "brief_title", "start_date"])
        writer.writerows(table)
    kept, left_out, refusal = counted(path)
    assert kept + left_out == len(table) or "rows cannot be used" in refusal


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mangled_bytes_never_raise_anything_else(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray("\n".join([HEADER, *PLENTY, GOOD]).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 1, 40]))
        content[at : at + length] = data.draw(st.binary(max_size=8) | st.just(b'"'))
    kept, _, refusal = counted(write(folder, bytes(content), "mangled.csv"))
    assert bool(kept) != bool(refusal)
    assert "\n" not in refusal


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_mangled_parquet_file_never_raises_anything_else(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    frame = pd.DataFrame({"nct_id": ["A", "B"], "overall_status": ["COMPLETED", "WITHDRAWN"]})
    content = bytearray(frame.to_parquet())
    at = data.draw(st.integers(4, len(content) - 1))
    content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    kept, left_out, refusal = counted(write(folder, bytes(content), "mangled.parquet"))
    assert kept + left_out or refusal
    assert "\n" not in refusal


def test_the_shared_trials_are_read_whole():
    path = Path(__file__).parents[2] / "shared" / "data" / "trials" / "trials_core.parquet"
    if not path.exists():
        pytest.skip("shared/data/trials is not here")
    rows = trials.read(trials.Options(path=path))
    left_out = rows.rejected["reason"].str.startswith(LEFT_OUT)
    assert len(rows.frame) + left_out.sum() == 7918
    assert rows.frame["overall_status"].value_counts()["COMPLETED"] == 6740
    assert {column.name for column in rows.columns} == {column.name for column in COLUMNS} - {
        "age_groups",
        "enrollment_planned",
    }
    assert (rows.frame["has_dmc"].dropna().isin(["true", "false"])).all()
    assert rows.frame["start_date"].notna().all()


def test_options_survive_json(tmp_path):
    options = trials.Options(path=tmp_path / "t.csv", delimiter="\t")
    assert trials.Options.model_validate(json.loads(options.model_dump_json())) == options
