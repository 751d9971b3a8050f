"""The reader of the older XML records, and one study in all forms of the registry."""

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from fictional import AACT, CSV, NCT, ROW, STUDY, XML, table, xml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.readers import aact, ctgov_csv, ctgov_json, ctgov_xml, trials
from benchmark.readers.ctgov_xml import unwrapped
from benchmark.readers.files import LEFT_OUT
from features.errors import InputError

SHARED = Path(__file__).parents[2] / "shared" / "data"
LAUGHS = (
    '<!DOCTYPE clinical_study [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]>'
)


def write(folder: Path, text: str | bytes, name: str = f"{NCT}.xml") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path):
    return ctgov_xml.read(ctgov_xml.Options(path=path))


def present(row: pd.Series) -> dict[str, object]:
    return {name: value for name, value in row.items() if value != "" and not pd.isna(value)}


def test_one_study_gives_the_same_row_in_csv_json_xml_and_aact(tmp_path):
    for name, rows in AACT.items():
        write(tmp_path / "aact", table(rows), f"{name}.txt")
    frames = {
        "csv": ctgov_csv.read(
            ctgov_csv.Options(path=write(tmp_path, table([CSV], ","), "ctg-studies.csv"))
        ),
        "json": ctgov_json.read(
            ctgov_json.Options(path=write(tmp_path, json.dumps(STUDY), "study.json"))
        ),
        "xml": read(write(tmp_path, XML)),
        "aact": aact.read(aact.Options(path=tmp_path / "aact")),
    }
    lacking = {
        "json": set(),
        "aact": set(),
        "xml": {"age_groups"},
        "csv": {
            "official_title", "detailed_description", "eligibility_criteria", "keywords",
            "healthy_volunteers", "has_dmc", "fda_regulated_drug", "min_age", "max_age",
            "number_of_arms", "enrollment_type", "start_date_type",
            "completion_date_type",
        },
    }  # fmt: skip
    for form, rows in frames.items():
        assert rows.rejected.empty
        expected = {name: value for name, value in ROW.items() if name not in lacking[form]}
        assert present(rows.frame.loc[NCT]) == expected, form
    types = {form: rows.frame.dtypes.to_dict() for form, rows in frames.items()}
    for form in ("csv", "xml", "aact"):
        assert all(types["json"][name] == kind for name, kind in types[form].items() if name in ROW)


def test_a_folder_and_a_zip_give_the_same_rows_as_their_files(tmp_path):
    for number in (1, 2, 3):
        write(tmp_path / "f", xml(number), f"NCT{number:08d}.xml")
    write(tmp_path / "f", "no record", "Contents.txt")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for number in (1, 2, 3):
            archive.writestr(f"NCT0000xxxx/NCT{number:08d}.xml", xml(number))
    folder, packed = read(tmp_path / "f"), read(tmp_path / "all.zip")
    pd.testing.assert_frame_equal(folder.frame, packed.frame)
    assert folder.frame.index.tolist() == ["NCT00000001", "NCT00000002", "NCT00000003"]


def test_a_broken_record_among_sound_ones_is_listed(tmp_path):
    for number in (1, 2, 3):
        write(tmp_path / "f", xml(number), f"NCT{number:08d}.xml")
    write(tmp_path / "f", XML[:900], "NCT00000004.xml")
    write(tmp_path / "f", "<html><body>Not found</body></html>", "NCT00000005.xml")
    rows = read(tmp_path / "f")
    assert len(rows.frame) == 3
    assert rows.rejected["row"].tolist() == [4, 5]
    assert rows.rejected["reason"][0].startswith(f"{LEFT_OUT}NCT00000004.xml: ")
    assert rows.rejected["reason"][1] == f"{LEFT_OUT}NCT00000005.xml: no clinical_study in it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (XML[:-300], "1 of 1 rows cannot be used"),
        ("<html><p>503</html>", "1 of 1 rows cannot be used"),
        ("", "1 of 1 rows cannot be used"),
        ('{"studies": []}', "1 of 1 rows cannot be used"),
    ],
)
def test_a_single_broken_file_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def with_doctype(doctype: str, title: str) -> str:
    head, _, body = XML.partition("<clinical_study>")
    return head + doctype + "<clinical_study>" + body.replace("Tea Against Boredom", title)


def test_an_external_entity_is_not_resolved(tmp_path):
    secret = write(tmp_path, "the secret", "secret.txt")
    doctype = f'<!DOCTYPE clinical_study [<!ENTITY x SYSTEM "file://{secret}">]>'
    with pytest.raises(InputError, match="declares entities") as caught:
        read(write(tmp_path, with_doctype(doctype, "&x;")))
    assert "the secret" not in str(caught.value)


def test_a_billion_laughs_are_refused(tmp_path):
    with pytest.raises(InputError, match="declares entities"):
        read(write(tmp_path, with_doctype(LAUGHS, "&d;")))


def test_an_external_document_type_is_not_loaded(tmp_path):
    doctype = '<!DOCTYPE clinical_study SYSTEM "http://localhost:9/never.dtd">'
    assert len(read(write(tmp_path, with_doctype(doctype, "A title"))).frame) == 1


def test_other_encodings_are_read_as_declared_and_refused_when_they_lie(tmp_path):
    text = XML.replace("Acme Tea", "Tée SA")
    for name in ("UTF-8", "ISO-8859-1", "UTF-16"):
        data = text.replace("UTF-8", name).encode(name)
        assert read(write(tmp_path, data)).frame["lead_sponsor"].tolist() == ["Tée SA"]
    with pytest.raises(InputError, match="cannot be used"):
        read(write(tmp_path, text.encode("latin-1")))


def test_only_interventional_studies_have_phases(tmp_path):
    text = XML.replace("Phase 1/Phase 2", "N/A")
    assert read(write(tmp_path, text)).frame["phases"].tolist() == ["NA"]
    row = read(write(tmp_path, text.replace("Interventional", "Observational"))).frame.iloc[0]
    assert "phases" not in row.index


def test_arms_are_counted_and_else_taken_as_stated(tmp_path):
    text = XML.replace("<arm_group>", "<other>").replace("</arm_group>", "</other>")
    text = text.replace("<number_of_arms>2", "<number_of_arms>5")
    assert read(write(tmp_path, text)).frame["number_of_arms"].tolist() == [5.0]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            "\n      One line\n      goes on.\n\n      Another.\n    ",
            "One line goes on.\n\nAnother.",
        ),
        ("\r\n  A:\r\n\r\n    -  x\r\n       y\r\n\r\n    -  z\r\n", "A:\n\n* x y\n* z"),
        ("  A:\n\n    1. x\n\n    2. y\n", "A:\n\n1. x\n2. y"),
        ("  A\n\n    -  x\n\n         -  y\n\n    -  z\n", "A\n\n* x\n   * y\n* z"),
        (
            "- not an item, since nothing stands before it",
            "- not an item, since nothing stands before it",
        ),
        ("", ""),
    ],
)
def test_text_blocks_are_unwrapped_as_the_api_writes_them(block, expected):
    assert unwrapped(block) == expected


@settings(max_examples=100, deadline=None)
@given(block=st.text(alphabet=" -ab1.\n\r\t", max_size=60))
def test_unwrapping_keeps_every_word(block):
    def words(text: str) -> list[str]:
        return [word for word in text.split() if word not in ("-", "*")]

    assert words(unwrapped(block)) == words(block)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_mangled_records_are_in_the_frame_or_rejected(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("xml")
    for number in (1, 2, 3):
        write(folder, xml(number), f"{number}.xml")
    content = bytearray(XML.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 1, 60]))
        content[at : at + length] = data.draw(st.binary(max_size=6) | st.sampled_from([b"<", b"&"]))
    write(folder, bytes(content), "4.xml")
    rows = read(folder)
    left_out = rows.rejected["reason"].str.startswith(LEFT_OUT)
    assert len(rows.frame) + left_out.sum() >= 4
    assert len(rows.frame) >= 3


def test_real_records_agree_with_the_merged_table():
    """The table was made of the same records, so all that is no free text must be the same."""
    if not SHARED.is_dir():
        pytest.skip("shared/data is not here")
    paths = sorted((SHARED / "ctgov").glob("*.xml"))
    assert len(paths) == 6
    merged = trials.read(trials.Options(path=SHARED / "trials" / "registry_120k.parquet")).frame
    compared = 0
    for path in paths:
        rows = read(path)
        assert (len(rows.frame), len(rows.rejected)) == (1, 0)
        row = rows.frame.iloc[0]
        if row.name not in merged.index:
            continue
        other = merged.loc[row.name]
        for name in row.index.intersection(merged.columns):
            if name in ("eligibility_criteria", "primary_outcomes", "detailed_description"):
                continue  # the table keeps line breaks, and the names of outcomes alone
            if pd.isna(other[name]) or other[name] == "":
                continue
            ours, theirs = (" ".join(str(value).split()) for value in (row[name], other[name]))
            assert ours == theirs, (path.name, name)
            compared += 1
    assert compared > 80
