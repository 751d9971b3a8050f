"""The reader of ClinicalTrials.gov downloads, today's and the older one."""

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.readers import ctgov_csv
from benchmark.readers.files import LEFT_OUT
from features.errors import InputError

TODAY = {
    "NCT Number": "NCT00000001",
    "Study Title": "A Study of Nothing",
    "Study URL": "https://example.org",
    "Acronym": "NIL",
    "Study Status": "ACTIVE_NOT_RECRUITING",
    "Brief Summary": "First line.\n\nSecond line.",
    "Study Results": "NO",
    "Conditions": "Boredom|Ennui",
    "Interventions": "DRUG: Placebo: oral|DEVICE: Clock|DRUG: Tea",
    "Primary Outcome Measures": "Yawns, count, 1 day",
    "Sponsor": "Acme",
    "Collaborators": "Beta|Gamma",
    "Sex": "FEMALE",
    "Age": "ADULT, OLDER_ADULT",
    "Phases": "PHASE1|PHASE2",
    "Enrollment": "40",
    "Funder Type": "INDUSTRY",
    "Study Type": "INTERVENTIONAL",
    "Study Design": "Allocation: RANDOMIZED|Intervention Model: PARALLEL"
    "|Masking: DOUBLE (PARTICIPANT, INVESTIGATOR)|Primary Purpose: TREATMENT",
    "Start Date": "2013-02",
    "Primary Completion Date": "2014-03-04",
    "Completion Date": "",
    "First Posted": "2013-01-05",
    "Results First Posted": "",
    "Last Update Posted": "2015-01-01",
    "Locations": "Site A, Seoul, Korea, Republic of|Site B, Bern, Switzerland|Bern, Switzerland",
}
OLD = {
    "Rank": "1",
    "NCT Number": "NCT00000002",
    "Title": "An Older Study",
    "Acronym": "",
    "Status": "Unknown status",
    "Study Results": "No Results Available",
    "Conditions": "Boredom",
    "Interventions": "Drug: Tea|Diagnostic Test: Yawn meter",
    "Outcome Measures": "Yawns|Sighs",
    "Sponsor/Collaborators": "Acme|Beta|Gamma",
    "Gender": "All",
    "Age": "18 Years to 65 Years   (Adult, Older Adult)",
    "Phases": "Phase 2|Phase 3",
    "Enrollment": "102",
    "Funded Bys": "Industry|Other",
    "Study Type": "Interventional",
    "Study Designs": "Allocation: Non-Randomized|Intervention Model: Single Group Assignment"
    "|Masking: None (Open Label)|Primary Purpose: Prevention",
    "Start Date": "February 15, 2015",
    "Completion Date": "July 2016",
    "Locations": "",
}


def write(folder: Path, *rows: dict[str, str], columns=None) -> ctgov_csv.Options:
    path = folder / "ctg-studies.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return ctgov_csv.Options(path=path)


def read_one(folder: Path, row: dict[str, str]) -> pd.Series:
    rows = ctgov_csv.read(write(folder, row))
    assert rows.rejected.empty, rows.rejected["reason"].tolist()
    return rows.frame.iloc[0]


def test_all_columns_of_todays_download_are_mapped(tmp_path):
    row = read_one(tmp_path, TODAY)
    assert row.name == "NCT00000001"
    expected = {
        "brief_title": "A Study of Nothing",
        "acronym": "NIL",
        "overall_status": "ACTIVE_NOT_RECRUITING",
        "brief_summary": "First line.\n\nSecond line.",
        "conditions": "Boredom|Ennui",
        "interventions": "DRUG: Placebo: oral|DEVICE: Clock|DRUG: Tea",
        "intervention_types": "DEVICE|DRUG",
        "primary_outcomes": "Yawns, count, 1 day",
        "lead_sponsor": "Acme",
        "collaborators": "Beta|Gamma",
        "sex": "FEMALE",
        "age_groups": "ADULT|OLDER_ADULT",
        "phases": "PHASE1|PHASE2",
        "enrollment": 40.0,
        "sponsor_class": "INDUSTRY",
        "study_type": "INTERVENTIONAL",
        "allocation": "RANDOMIZED",
        "intervention_model": "PARALLEL",
        "masking": "DOUBLE",
        "primary_purpose": "TREATMENT",
        "start_date": pd.Timestamp(2013, 2, 1),
        "primary_completion_date": pd.Timestamp(2014, 3, 4),
        "first_posted": pd.Timestamp(2013, 1, 5),
        "last_update_posted": pd.Timestamp(2015, 1, 1),
        "n_locations": 3.0,
        "countries": "Korea, Republic of|Switzerland",
    }
    assert row.dropna().to_dict() == expected
    assert set(row.index[row.isna()]) == {
        "observational_model",
        "time_perspective",
        "completion_date",
        "results_first_posted",
    }


def test_the_clock_of_the_columns_is_the_canonical_one(tmp_path):
    rows = ctgov_csv.read(write(tmp_path, TODAY))
    after = {column.name for column in rows.columns if column.known_at == "after"}
    assert {"enrollment", "completion_date", "last_update_posted"} <= after
    assert {column.name for column in rows.columns if column.known_at == "during"} == {
        "n_locations",
        "countries",
    }
    assert (rows.group, rows.date) == ("lead_sponsor", "start_date")


def test_all_columns_of_the_older_download_are_mapped(tmp_path):
    row = read_one(tmp_path, OLD)
    expected = {
        "brief_title": "An Older Study",
        "overall_status": "UNKNOWN",
        "conditions": "Boredom",
        "interventions": "Drug: Tea|Diagnostic Test: Yawn meter",
        "intervention_types": "DIAGNOSTIC_TEST|DRUG",
        "lead_sponsor": "Acme",
        "collaborators": "Beta|Gamma",
        "sponsor_class": "INDUSTRY",
        "sex": "ALL",
        "min_age": 18.0,
        "max_age": 65.0,
        "age_groups": "ADULT|OLDER_ADULT",
        "phases": "PHASE2|PHASE3",
        "enrollment": 102.0,
        "study_type": "INTERVENTIONAL",
        "allocation": "NON_RANDOMIZED",
        "intervention_model": "SINGLE_GROUP",
        "masking": "NONE",
        "primary_purpose": "PREVENTION",
        "start_date": pd.Timestamp(2015, 2, 15),
        "completion_date": pd.Timestamp(2016, 7, 1),
    }
    assert row.dropna().to_dict() == expected


@pytest.mark.parametrize(
    ("cell", "low", "high"),
    [
        ("18 Years and older   (Adult, Older Adult)", 18.0, None),
        ("up to 17 Years   (Child)", None, 17.0),
        ("6 Months to 2 Years   (Child)", 0.5, 2.0),
        ("Child, Adult, Older Adult", None, None),
    ],
)
def test_age_limits_are_read_where_the_cell_has_them(tmp_path, cell, low, high):
    rows = ctgov_csv.read(write(tmp_path, OLD, OLD | {"NCT Number": "NCT00000003", "Age": cell}))
    row = rows.frame.loc["NCT00000003"]
    assert [None if pd.isna(row[name]) else row[name] for name in ("min_age", "max_age")] == [
        low,
        high,
    ]
    assert row["age_groups"].startswith(("ADULT", "CHILD"))
    assert rows.rejected.empty


def test_age_groups_alone_make_no_age_columns(tmp_path):
    assert not {"min_age", "max_age"} & set(ctgov_csv.read(write(tmp_path, TODAY)).frame.columns)


def test_nine_columns_are_enough(tmp_path):
    columns = ["NCT Number", "Study Title", "Study URL", "Study Status", "Conditions"]
    columns += ["Interventions", "Sponsor", "Collaborators", "Study Type"]
    rows = ctgov_csv.read(write(tmp_path, TODAY, columns=columns))
    assert [column.name for column in rows.columns] == [
        "brief_title",
        "conditions",
        "interventions",
        "lead_sponsor",
        "study_type",
        "intervention_types",
    ]
    assert (rows.group, rows.date) == ("lead_sponsor", None)


def test_a_design_is_read_with_or_without_blanks_around_its_bars(tmp_path):
    loose = "Allocation: NA | Intervention Model: SINGLE_GROUP | Masking: NONE | Primary Purpose: "
    row = read_one(tmp_path, TODAY | {"Study Design": loose})
    assert (row["allocation"], row["intervention_model"]) == ("NA", "SINGLE_GROUP")
    assert row["masking"] == "NONE"
    assert pd.isna(row["primary_purpose"])


def test_a_cut_off_time_perspective_is_left_empty_and_listed(tmp_path):
    design = "Observational Model: |Time Perspective: p"
    rows = ctgov_csv.read(write(tmp_path, TODAY | {"Study Design": design}))
    assert rows.frame[["observational_model", "time_perspective"]].isna().all(axis=None)
    assert rows.rejected["reason"].tolist() == [
        "cell left empty: time_perspective: 'p' is cut off after one letter"
    ]


def test_header_names_match_in_any_case_and_behind_a_byte_order_mark(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("\ufeffNCT NUMBER,study  STATUS\nnct00000001,Withdrawn\n", encoding="utf-8")
    frame = ctgov_csv.read(ctgov_csv.Options(path=path)).frame
    assert frame["overall_status"].to_dict() == {"NCT00000001": "WITHDRAWN"}


def test_a_tab_separated_download_is_read(tmp_path):
    path = tmp_path / "SearchResults.tsv"
    path.write_text("Rank\tNCT Number\tTitle\tStatus\n1\tNCT00000001\tA, b\tTerminated\n")
    frame = ctgov_csv.read(ctgov_csv.Options(path=path, delimiter="\t")).frame
    assert frame.loc["NCT00000001", "brief_title"] == "A, b"


@pytest.mark.parametrize("bad", ["NCT1", "NCT000000011", "ISRCTN00000001", "NCT" + "\u0660" * 8])
def test_a_malformed_nct_number_costs_the_row(tmp_path, bad):
    rows = ctgov_csv.read(write(tmp_path, TODAY, TODAY | {"NCT Number": bad}))
    assert rows.frame.index.tolist() == ["NCT00000001"]
    assert rows.rejected["id"].tolist() == [bad]
    assert rows.rejected["reason"][0].startswith(f"{LEFT_OUT}nct_id: '{bad}' is no id")


def test_a_later_update_wins_over_an_earlier_row(tmp_path):
    newer = TODAY | {"Study Status": "COMPLETED", "Last Update Posted": "2019-01-01"}
    rows = ctgov_csv.read(write(tmp_path, TODAY, newer))
    assert rows.frame["overall_status"].tolist() == ["COMPLETED"]
    assert "'ACTIVE_NOT_RECRUITING' here, 'COMPLETED' there" in rows.rejected["reason"][0]


def test_a_missing_column_is_named_with_its_nearest(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("NCT Nummer,Study Status\nNCT00000001,Completed\n")
    with pytest.raises(InputError, match=r"no column 'NCT Number'.*did you mean 'NCT Nummer'"):
        ctgov_csv.read(ctgov_csv.Options(path=path))
    path.write_text("NCT Number,Study Title\nNCT00000001,x\n")
    with pytest.raises(InputError, match="no column 'Study Status'"):
        ctgov_csv.read(ctgov_csv.Options(path=path))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Paris, France|Lyon, France", "France"),
        (
            "Kinshasa, Congo, The Democratic Republic of the",
            "Congo, The Democratic Republic of the",
        ),
        ("France", "France"),
        ("Bern, Switzerland|Rome, Italy", "Italy|Switzerland"),
        ("", ""),
    ],
)
def test_countries_keep_their_own_commas(cell, expected):
    assert ctgov_csv.countries(cell) == expected


@settings(deadline=None)
@given(cell=st.text(alphabet="aDrug:|,() to18Yearsp\n", max_size=60))
def test_cutting_a_compound_cell_never_fails(cell):
    columns = {name: [cell] for name in ctgov_csv.DERIVED}
    made = ctgov_csv.derive(pd.DataFrame(columns, dtype="str"))
    assert made["n_locations"].tolist() == [
        str(sum(bool(part.strip()) for part in cell.split("|")) or "")
    ]


@pytest.mark.parametrize(
    ("name", "records", "cut_off"),
    [
        ("hypertension-ctg-studies.csv", 172, 0),
        ("mrd-ctg-studies.csv", 245, 0),
        ("no-summary-ctg-studies.csv", 2677, 0),
        ("search-results.csv", 1000, 233),
        ("terminated-ctg-studies.csv", 279, 31),
        ("urology-ctg-studies.csv", 635, 105),
    ],
)
def test_every_shared_download_is_read_whole(name, records, cut_off):
    path = Path(__file__).parents[2] / "shared" / "data" / "ctgov" / name
    if not path.exists():
        pytest.skip("shared/data/ctgov is not here")
    rows = ctgov_csv.read(ctgov_csv.Options(path=path))
    left_out = rows.rejected["reason"].str.startswith(LEFT_OUT)
    assert len(rows.frame) + left_out.sum() == records
    assert not left_out.any()
    assert rows.rejected["reason"].str.contains("time_perspective: 'p'").sum() == cut_off
    assert len(rows.rejected) == cut_off
    assert rows.frame["overall_status"].notna().all()
