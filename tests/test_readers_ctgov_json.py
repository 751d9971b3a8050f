"""The reader of API v2 studies, in every way they are kept, whole and broken."""

import gzip
import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from fictional import NCT, ROW, STUDY, check_one_line, study
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.readers import ctgov_csv, ctgov_json
from benchmark.readers.files import LEFT_OUT
from features.errors import InputError

THREE = [study(n) for n in (1, 2, 3)]
IDS = ["NCT00000001", "NCT00000002", "NCT00000003"]
LINES = "".join(json.dumps(one) + "\n" for one in THREE)
SHARED = Path(__file__).parents[2] / "shared" / "data" / "ctgov"


def write(folder: Path, text: str | bytes, name: str = "studies.json") -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(path: Path):
    return ctgov_json.read(ctgov_json.Options(path=path))


def present(row: pd.Series) -> dict[str, object]:
    return {name: value for name, value in row.items() if value != "" and not pd.isna(value)}


FORMS = {
    "page": json.dumps({"totalCount": 3, "studies": THREE, "nextPageToken": "abc"}),
    "page, token first": json.dumps({"nextPageToken": "abc", "studies": THREE}),
    "pretty page": json.dumps({"studies": THREE, "nextPageToken": "abc"}, indent=2),
    "list": json.dumps(THREE),
    "compact list": json.dumps(THREE, separators=(",", ":")),
    "pretty list": json.dumps(THREE, indent=4),
    "a study a line": "[\n" + ",\n".join(map(json.dumps, THREE)) + "\n]\n",
    "JSON Lines": LINES,
    "JSON Lines without a last line end": LINES.rstrip("\n"),
    "JSON Lines with blank lines": "\n" + LINES.replace("\n", "\n\n"),
    "JSON Lines for Windows": LINES.replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + LINES,
    "keys in another order": json.dumps([dict(reversed(one.items())) for one in THREE]),
    "lines with keys in another order": "".join(
        json.dumps(dict(reversed(one.items()))) + "\n" for one in THREE
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_keep_studies_gives_the_same_rows(tmp_path, form):
    rows = read(write(tmp_path, FORMS[form]))
    assert rows.frame.index.tolist() == IDS
    assert rows.rejected.empty
    for _, row in rows.frame.iterrows():
        assert present(row) == ROW


@pytest.mark.parametrize("form", ["page", "list", "JSON Lines"])
def test_gzip_and_zip_are_read_through(tmp_path, form):
    packed = write(tmp_path, gzip.compress(FORMS[form].encode()), "studies.json.gz")
    assert read(packed).frame.index.tolist() == IDS
    with zipfile.ZipFile(tmp_path / "studies.zip", "w") as archive:
        archive.writestr("a.json", FORMS[form])
        archive.writestr("b.json.gz", gzip.compress(json.dumps(study(4)).encode()))
    assert read(tmp_path / "studies.zip").frame.index.tolist() == [*IDS, "NCT00000004"]


def test_a_single_study_is_read_plain_and_pretty(tmp_path):
    for indent in (None, 2):
        rows = read(write(tmp_path, json.dumps(STUDY, indent=indent)))
        assert present(rows.frame.loc[NCT]) == ROW


def test_a_folder_of_pages_and_single_studies_is_read_in_the_order_of_names(tmp_path):
    write(tmp_path / "f", json.dumps({"studies": THREE[:2]}), "page-1.json")
    write(tmp_path / "f", json.dumps(THREE[2]), "page-2.json")
    write(tmp_path / "f", "not studies", "readme.md")
    write(tmp_path / "f", '{"query": "tea"}', "page-2.json.manifest.json")
    assert read(tmp_path / "f").frame.index.tolist() == IDS


def test_a_document_larger_than_a_block_is_cut_into_its_studies(tmp_path, monkeypatch):
    monkeypatch.setattr(ctgov_json, "_BLOCK", 700)
    monkeypatch.setattr(ctgov_json, "_PAGE", 2)
    many = [study(n) for n in range(1, 8)]
    for text in (json.dumps(many, indent=1), json.dumps({"studies": many, "nextPageToken": "x"})):
        rows = read(write(tmp_path, text))
        assert len(rows.frame) == 7
        assert present(rows.frame.loc["NCT00000007"]) == ROW
    rows = read(write(tmp_path, "".join(json.dumps(one) + "\n" for one in many)))
    assert len(rows.frame) == 7


def test_both_parsers_give_the_same_row(tmp_path):
    """A float, a text and an unknown value send a block through the slow parser."""
    odd = study(4)
    odd["protocolSection"]["designModule"]["enrollmentInfo"]["count"] = 40.0
    odd["protocolSection"]["oversightModule"]["oversightHasDmc"] = "true"
    rows = read(write(tmp_path, LINES + json.dumps(odd) + "\n"))
    assert [present(row) == ROW for _, row in rows.frame.iterrows()] == [True] * 4


def test_studies_with_few_fields_leave_the_other_columns_out(tmp_path):
    small = {"protocolSection": {"identificationModule": {"nctId": NCT}, "statusModule": {}}}
    rows = read(write(tmp_path, json.dumps({"studies": [small]})))
    assert rows.frame.columns.tolist() == ["overall_status"]
    assert rows.columns == ()


def test_an_observational_study_without_locations_has_neither_phase_nor_places(tmp_path):
    one = study(1)
    section = one["protocolSection"]
    section["designModule"] = {
        "studyType": "OBSERVATIONAL",
        "designInfo": {"observationalModel": "COHORT", "timePerspective": "PROSPECTIVE"},
        "enrollmentInfo": {"count": 7, "type": "ACTUAL"},
    }
    del section["contactsLocationsModule"], section["armsInterventionsModule"]
    row = read(write(tmp_path, json.dumps([one]))).frame.iloc[0]
    assert (row["observational_model"], row["time_perspective"]) == ("COHORT", "PROSPECTIVE")
    assert row["enrollment"] == 7.0
    assert not {"phases", "countries", "n_locations", "number_of_arms"} & set(row.index)


def test_items_that_lack_a_part_or_every_part_leave_the_others_in_place(tmp_path):
    first, second = study(1), study(2)
    section = first["protocolSection"]
    section["contactsLocationsModule"]["locations"] = [{"city": "Bern"}, {"country": "Peru"}]
    section["armsInterventionsModule"]["interventions"] = [{"name": "Tea"}, {}, {"type": "DRUG"}]
    section["outcomesModule"]["primaryOutcomes"] = [{"timeFrame": "1 day"}]
    for text in (json.dumps([first, second]), f"{json.dumps(first)}\n{json.dumps(second)}\n"):
        frame = read(write(tmp_path, text)).frame
        row = frame.loc["NCT00000001"]
        assert (row["countries"], row["n_locations"]) == ("Peru", 2.0)
        assert (row["interventions"], row["primary_outcomes"]) == ("Tea||DRUG", "1 day")
        assert present(frame.loc["NCT00000002"]) == ROW


def test_a_line_cut_in_the_middle_is_listed_and_the_whole_ones_stay(tmp_path):
    rows = read(write(tmp_path, LINES + json.dumps(study(4))[:300]))
    assert rows.frame.index.tolist() == IDS
    assert rows.rejected["row"].tolist() == [4]
    assert rows.rejected["reason"][0].startswith(f"{LEFT_OUT}studies.json, line 4: no JSON (")


def test_bytes_that_are_not_utf_8_cost_their_line(tmp_path):
    bad = json.dumps(study(9)).replace("Boredom", "Ennu\xef", 1).encode("latin-1")
    rows = read(write(tmp_path, bad + b"\n" + LINES.encode()))
    assert rows.frame.index.tolist() == IDS
    assert rows.rejected["row"].tolist() == [1]


@pytest.mark.parametrize("form", ["page", "pretty page", "list", "pretty list", "a study a line"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.99])
def test_a_page_cut_in_the_middle_is_refused(tmp_path, form, share):
    text = FORMS[form].rstrip()
    with pytest.raises(InputError, match=r"broken or cut off at study \d"):
        read(write(tmp_path, text[: int(share * len(text))]))


def test_a_page_is_refused_if_only_its_last_bracket_is_missing(tmp_path):
    with pytest.raises(InputError, match="cut off at study 3"):
        read(write(tmp_path, FORMS["compact list"][:-1]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!DOCTYPE html><html>503</html>", "is HTML or XML"),
        ("Too many requests", "is no JSON: .*Too many"),
        ("", "is empty"),
        ("[]", "holds no study"),
        ('{"studies": []}', "holds no study"),
        ('{"error": {"code": 400}}', "JSON with the keys error"),
        ('[{"a": 1}, {"b": 2}]', "2 of 2 rows cannot be used"),
        ("[1, 2, 3]", "3 of 3 rows cannot be used"),
        (LINES.encode("utf-16"), "UTF-16"),
        ('{"protocolSection": 5}', "protocolSection is a text or number|no object"),
    ],
)
def test_what_is_no_study_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read(write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_study_of_another_shape_is_left_out_and_named(tmp_path):
    odd = study(4)
    odd["protocolSection"]["designModule"] = ["PHASE1"]
    rows = read(write(tmp_path, json.dumps([*THREE, odd])))
    assert rows.frame.index.tolist() == IDS
    assert rows.rejected.values.tolist() == [
        [4, "NCT00000004", f"{LEFT_OUT}protocolSection.designModule is a list, expected an object"]
    ]


def test_the_last_updated_of_two_versions_is_kept(tmp_path):
    newer = study(1, overallStatus="COMPLETED", lastUpdatePostDateStruct={"date": "2020-01-01"})
    rows = read(write(tmp_path, json.dumps([THREE[0], newer])))
    assert rows.frame["overall_status"].tolist() == ["COMPLETED"]
    assert "'NOT_YET_RECRUITING' here, 'COMPLETED' there" in rows.rejected["reason"][0]


def test_bad_cells_are_listed_as_in_every_reader(tmp_path):
    odd = study(4, startDateStruct={"date": "2013-02-30"}, overallStatus="FINISHED")
    rows = read(write(tmp_path, json.dumps([odd])))
    assert sorted(rows.rejected["reason"].str.extract(r"empty: (\w+)")[0]) == [
        "overall_status",
        "start_date",
    ]


@settings(max_examples=80, deadline=None)
@given(data=st.data(), form=st.sampled_from(["page", "pretty list", "JSON Lines"]))
def test_mangled_bytes_raise_nothing_else(tmp_path_factory, data, form):
    content = bytearray(FORMS[form].encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from([0, 1, 60]))
        content[at : at + length] = data.draw(
            st.binary(max_size=6) | st.sampled_from([b'"', b"{", b"}", b"[", b"]", b"\n", b"null"])
        )
    try:
        rows = read(write(tmp_path_factory.getbasetemp(), bytes(content), "mangled.json"))
    except InputError as error:
        check_one_line(error)
    else:
        assert rows.frame.index.is_unique


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(VALUES, min_size=1, max_size=4),
    module=st.sampled_from(sorted(ctgov_json.SHAPE)),
    lines=st.booleans(),
)
def test_every_study_is_in_the_frame_or_rejected(tmp_path_factory, values, module, lines):
    made = [study(n) for n in range(1, len(values) + 6)]
    for one, value in zip(made, values, strict=False):
        one["protocolSection"][module] = value
    text = "".join(json.dumps(one) + "\n" for one in made) if lines else json.dumps(made)
    rows = read(write(tmp_path_factory.getbasetemp(), text, "any.json"))
    left_out = rows.rejected["reason"].str.startswith(LEFT_OUT)
    assert len(rows.frame) + left_out.sum() == len(made)


@pytest.mark.parametrize(
    ("name", "count"),
    [("v2-small.json", 5), ("v2-list.json", 100), ("v2-herniated-disc.json", 100)],
)
def test_every_shared_download_is_read_whole(name, count):
    if not SHARED.is_dir():
        pytest.skip("shared/data/ctgov is not here")
    rows = read(SHARED / name)
    assert (len(rows.frame), len(rows.rejected)) == (count, 0)
    studies = json.loads((SHARED / name).read_text())
    studies = studies["studies"] if isinstance(studies, dict) else studies
    for one in studies:
        section = one["protocolSection"]
        row = rows.frame.loc[section["identificationModule"]["nctId"]]
        assert row["overall_status"] == section["statusModule"]["overallStatus"]
        assert row["enrollment"] == section["designModule"]["enrollmentInfo"]["count"]
        places = section.get("contactsLocationsModule", {}).get("locations", [])
        assert pd.isna(row["n_locations"]) if not places else row["n_locations"] == len(places)


def test_real_studies_of_one_state_give_the_same_row_from_csv_and_json():
    """Two downloads of different days overlap; where no date or status moved, all must agree."""
    if not SHARED.is_dir():
        pytest.skip("shared/data/ctgov is not here")
    json_rows = read(SHARED / "v2-list.json").frame
    csv_rows = ctgov_csv.read(ctgov_csv.Options(path=SHARED / "mrd-ctg-studies.csv")).frame
    names = json_rows.columns.intersection(csv_rows.columns)
    ids = json_rows.index.intersection(csv_rows.index)
    assert len(ids) == 12
    assert len(names) >= 20
    ours, theirs = json_rows.loc[ids, names], csv_rows.loc[ids, names]
    state = ["overall_status", "start_date", "primary_completion_date", "completion_date"]
    same_state = (ours[state] == theirs[state]).all(axis=1)
    assert same_state.sum() >= 3
    pd.testing.assert_frame_equal(ours[same_state], theirs[same_state])
    for steady in ("study_type", "lead_sponsor", "masking", "primary_purpose", "conditions"):
        assert ours[steady].tolist() == theirs[steady].tolist()
