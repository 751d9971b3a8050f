"""The reader of AACT's tables, on tables made here: no file of AACT's own was at hand."""

import zipfile
from pathlib import Path

import pandas as pd
import pytest
from fictional import AACT, NCT, ROW, check_one_line, table
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.readers import aact
from benchmark.readers.files import EMPTIED, LEFT_OUT
from features.errors import InputError

SECOND = AACT["studies"][0] | {
    "nct_id": "NCT00000043", "overall_status": "Completed", "phase": "Phase 2/Phase 3",
    "study_type": "Interventional", "enrollment_type": "Actual", "enrollment": "7",
    "start_month_year": "March 2010", "start_date": "2010-03-31", "number_of_arms": "",
    "number_of_groups": "3",
}  # fmt: skip


def write(folder: Path, tables: dict[str, list[dict[str, str]]]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in tables.items():
        (folder / f"{name}.txt").write_text(table(rows))
    return folder


def read(path: Path):
    return aact.read(aact.Options(path=path))


def present(row: pd.Series) -> dict[str, object]:
    return {name: value for name, value in row.items() if value != "" and not pd.isna(value)}


def test_a_folder_a_zip_and_the_studies_file_give_the_same_rows(tmp_path):
    folder = write(tmp_path / "aact", AACT)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for file in sorted(folder.iterdir(), reverse=True):
            archive.write(file, file.name)
        archive.writestr("schema.png", b"\x89PNG")
    frames = [
        read(path).frame for path in (folder, tmp_path / "export.zip", folder / "studies.txt")
    ]
    assert present(frames[0].loc[NCT]) == ROW
    pd.testing.assert_frame_equal(frames[0], frames[1])
    pd.testing.assert_frame_equal(frames[0], frames[2])


def test_the_older_wording_is_read_too(tmp_path):
    row = read(write(tmp_path / "a", {"studies": [SECOND]})).frame.loc["NCT00000043"]
    assert (row["overall_status"], row["phases"]) == ("COMPLETED", "PHASE2|PHASE3")
    assert (row["enrollment"], row["enrollment_type"]) == (7.0, "ACTUAL")
    assert row["start_date"] == pd.Timestamp(2010, 3, 1)  # not the last day that AACT makes of it
    assert row["number_of_arms"] == 3.0


def test_rows_of_other_tables_go_to_their_study_in_the_order_of_the_file(tmp_path):
    tables = {
        "studies": [AACT["studies"][0], SECOND],
        "conditions": [
            {"nct_id": "NCT00000043", "name": "Z"},
            {"nct_id": NCT, "name": "B"},
            {"nct_id": "NCT00000099", "name": "of no study"},
            {"nct_id": "NCT00000043", "name": "A"},
        ],
        "brief_summaries": [{"nct_id": "NCT00000043", "description": "Two\n\nlines | and a bar"}],
    }
    frame = read(write(tmp_path / "a", tables)).frame
    assert frame["conditions"].to_dict() == {NCT: "B", "NCT00000043": "Z|A"}
    assert frame["brief_summary"].to_dict() == {NCT: "", "NCT00000043": "Two\n\nlines | and a bar"}


def test_without_facilities_the_calculated_number_and_the_countries_stand_in(tmp_path):
    tables = {
        "studies": [AACT["studies"][0]],
        "calculated_values": [{"nct_id": NCT, "number_of_facilities": "12"}],
        "countries": [
            {"nct_id": NCT, "name": "Peru", "removed": "f"},
            {"nct_id": NCT, "name": "Chile", "removed": ""},
            {"nct_id": NCT, "name": "Spain", "removed": "t"},
        ],
    }
    row = read(write(tmp_path / "a", tables)).frame.loc[NCT]
    assert (row["n_locations"], row["countries"]) == (12.0, "Chile|Peru")


def test_tables_that_are_absent_leave_their_columns_out(tmp_path):
    frame = read(write(tmp_path / "a", {"studies": AACT["studies"]})).frame
    assert not {"brief_summary", "conditions", "lead_sponsor", "sex", "countries"} & set(frame)


def test_a_ragged_line_is_listed_and_the_others_stay(tmp_path):
    folder = write(tmp_path / "a", {"studies": [AACT["studies"][0], SECOND]})
    lines = (folder / "studies.txt").read_text().splitlines()
    (folder / "studies.txt").write_text("\n".join([*lines[:2], "NCT00000009|x", lines[2], ""]))
    rows = read(folder)
    assert rows.frame.index.tolist() == [NCT, "NCT00000043"]
    assert rows.rejected["reason"].tolist() == [
        f"{LEFT_OUT}studies, row 2: 2 cells where the header has {len(SECOND)}"
    ]
    assert rows.rejected["row"].tolist() == [2]


def test_what_is_lost_of_another_table_is_listed_but_costs_no_study(tmp_path):
    tables = {
        "studies": [AACT["studies"][0] | {"enrollment": "many"}],
        "conditions": [{"nct_id": NCT, "name": "A"}, {"nct_id": "NCT00000099", "name": "B"}],
    }
    folder = write(tmp_path / "a", tables)
    with (folder / "conditions.txt").open("a") as file:
        file.write("a|b|c\n" * 3)
    rows = read(folder)
    assert rows.frame["conditions"].tolist() == ["A"]
    ragged = "3 cells where the header has 2"
    assert rows.rejected.values.tolist() == [
        [1, NCT, f"{EMPTIED}enrollment: 'many' is not a number"],
        *([0, "", f"{EMPTIED}conditions, row {n}: {ragged}"] for n in range(3, 6)),
        [0, "", f"{EMPTIED}conditions: 1 rows of studies that are not in studies.txt"],
    ]


def test_a_table_that_is_not_utf_8_is_refused(tmp_path):
    folder = write(tmp_path / "a", AACT)
    (folder / "sponsors.txt").write_bytes(b"nct_id|name\nx|Caf\xe9\n")
    with pytest.raises(InputError, match=r"sponsors\.txt: byte e9 is not UTF-8"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("notes.txt", "x", "no table studies.txt"),
        ("studies.txt", "", "no column 'nct_id'"),
        ("studies.txt", "<html>\n</html>", "no column 'nct_id'"),
        ("studies.txt", "nct_id|brief_title\n", "holds no study"),
        ("studies.txt", f"nct_id|brief_title\n{NCT}|x\n", "no column 'overall_status'"),
    ],
)
def test_what_is_not_aact_is_refused_in_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_zip_cut_off_is_refused(tmp_path):
    folder = write(tmp_path / "aact", AACT)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.write(folder / "studies.txt", "studies.txt")
    whole = (tmp_path / "export.zip").read_bytes()
    (tmp_path / "export.zip").write_bytes(whole[:-40])
    with pytest.raises(InputError, match="no whole zip"):
        read(tmp_path / "export.zip")


@settings(max_examples=80, deadline=None)
@given(data=st.data(), name=st.sampled_from(["studies", "conditions", "eligibilities"]))
def test_mangled_tables_raise_nothing_else(tmp_path_factory, data, name):
    folder = write(tmp_path_factory.mktemp("aact"), AACT)
    content = bytearray((folder / f"{name}.txt").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 1, 40]))
        content[at : at + length] = data.draw(st.binary(max_size=6) | st.sampled_from([b'"', b"|"]))
    (folder / f"{name}.txt").write_bytes(content)
    try:
        rows = read(folder)
    except InputError as error:
        check_one_line(error)
    else:
        assert len(rows.frame) + len(rows.rejected) >= 1


@settings(max_examples=50, deadline=None)
@given(
    titles=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=9), min_size=1
    )
)
def test_every_study_is_in_the_frame_or_rejected(tmp_path_factory, titles):
    studies = [
        AACT["studies"][0] | {"nct_id": f"NCT{number:08d}", "brief_title": title}
        for number, title in enumerate(titles)
    ]
    rows = read(write(tmp_path_factory.mktemp("aact"), {"studies": studies}))
    left_out = rows.rejected["reason"].str.startswith(LEFT_OUT)
    assert len(rows.frame) + left_out.sum() == len(titles)
