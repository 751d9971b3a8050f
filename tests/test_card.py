from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark.card import Card, describe, duplicates, label_columns, render_card, same_text, sheets
from benchmark.croissant import croissant
from benchmark.importing import import_files
from benchmark.readers import ctgov_csv
from benchmark.render.layout import Sheet
from features.errors import InputError

HEADER = "NCT Number,Study Title,Brief Summary,Study Status,Phases,Enrollment,Start Date"
LINES = (
    "NCT00000001,One,First text.,COMPLETED,PHASE1,10,2001-01-01",
    "NCT00000002,Two,Second text.,COMPLETED,PHASE1,30,2001-05-01",
    "NCT00000003,two!,SECOND  text,TERMINATED,PHASE1,0,2002-01-01",
    "NCT00000004,Four,,WITHDRAWN,PHASE2,0,2002-01-01",
    "NCT00000005,Four,,RECRUITING,,100,",
    "NCT00000001,One,First text.,COMPLETED,PHASE1,10,2001-01-01",
    "none,Six,Sixth text.,COMPLETED,PHASE1,1,2001-01-01",
)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "studies.csv"
    path.write_text("\n".join([HEADER, *LINES]) + "\n")
    return path


@pytest.fixture
def card(csv: Path) -> Card:
    return describe(csv, "ctgov-csv")


def table(card: Card, start: str) -> Sheet:
    return next(sheet for sheet in sheets(card) if sheet.title.startswith(start))


def value(card: Card, what: str) -> str:
    return next(row[1] for row in table(card, "Trials").rows if row[0] == what)


def test_the_overview_counts_rows_gaps_and_dates(card: Card) -> None:
    assert value(card, "rows") == "5"
    assert value(card, "left out") == "2 rows; 0 cells left empty"
    assert value(card, "dates") == "start_date 2001-01-01 to 2002-01-01, 1 missing"
    assert value(card, "licence") == "not stated"
    assert value(card, "provenance") == "not stated"
    assert value(card, "file").startswith("studies.csv, ")
    assert value(card, "file").endswith("read by ctgov-csv")


def test_duplicates_are_the_same_id_and_the_same_text(card: Card) -> None:
    assert duplicates(card.rows) == [
        "rows with the id of another: 1",
        # 3 repeats 2 but for case, spaces and points; 4 and 5 have no summary to compare
        "rows with the brief_title and brief_summary of an earlier one: 1",
    ]


def test_texts_are_compared_without_case_spaces_and_punctuation() -> None:
    frame = pd.DataFrame({"a": ["A-b", "a  B.", "ab", "", ""]})
    assert same_text(frame, ["a"]).tolist() == [False, True, False, False, False]


def test_statuses_are_counted_with_their_share(card: Card) -> None:
    assert table(card, "Statuses").rows[0] == ("COMPLETED", "2", "40.0%")
    assert len(table(card, "Statuses").rows) == 4


def test_labels_by_year_and_by_phase(card: Card) -> None:
    years = table(card, "Labels by year of start_date")
    header = ("year", "rows", "completed", "terminated", "withdrawn", "other status", "stopped")
    assert years.header == header
    assert years.rows == (
        ("2001", "2", "2", "0", "0", "0", "0.0%"),
        ("2002", "2", "0", "1", "1", "0", "100.0%"),
        ("missing", "1", "0", "0", "0", "1", "—"),
    )
    assert table(card, "Labels by phase").rows == (
        ("PHASE1", "3", "2", "1", "0", "0", "33.3%"),
        ("PHASE2", "1", "0", "0", "1", "0", "100.0%"),
        ("missing", "1", "0", "0", "0", "1", "—"),
    )


def test_the_oldest_of_many_years_are_one_row(tmp_path: Path) -> None:
    lines = [f"NCT000000{n:02d},T,S,COMPLETED,,1,{1960 + n}-01-01" for n in range(1, 41)]
    (tmp_path / "a.csv").write_text("\n".join([HEADER, *lines]))
    rows = table(describe(tmp_path / "a.csv", "ctgov-csv"), "Labels by year").rows
    assert rows[0][:2] == ("before 1976", "15")  # 1961 to 1975; 25 years follow
    assert [row[0] for row in rows[1:]] == [str(year) for year in range(1976, 2001)]


def test_missing_shares_kinds_and_clocks_of_columns(card: Card) -> None:
    columns = {row[0]: row[1:] for row in table(card, "Columns").rows}
    assert columns["brief_summary"] == ("text", "registration", "Brief Summary", "40.0%", "3")
    assert columns["phases"] == ("categorical", "registration", "Phases", "20.0%", "2")
    assert columns["enrollment"] == ("numeric", "after", "Enrollment", "0.0%", "4")
    assert columns["overall_status"] == ("no input", "", "Study Status", "0.0%", "4")


def test_enrollment_without_a_type_is_one_group(card: Card) -> None:
    # 0, 0, 10, 30, 100
    assert table(card, "Enrollment").rows == (("type unknown", "5", "0", "2", "10", "100"),)


def test_enrollment_by_type(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "nct_id": list("abcd"),
            "overall_status": "COMPLETED",
            "enrollment": [10.0, 0.0, None, 7.0],
            "enrollment_type": ["ACTUAL", "ACTUAL", "ESTIMATED", None],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    assert table(describe(tmp_path / "a.parquet", "trials"), "Enrollment").rows == (
        ("ACTUAL", "2", "0", "1", "5", "10"),
        ("ESTIMATED", "1", "1", "0", "—", "—"),
        ("type unknown", "1", "0", "0", "7", "7"),
    )


def article(pmid: int, year: int, types: str = "", mesh: str = "") -> dict[str, Any]:
    made = {"pmid": pmid, "title": f"T{pmid}", "abstract": "A", "year": year}
    return made | {"publication_types": types, "mesh": mesh, "source": "s"}


def test_articles_are_counted_by_design_and_unlabelled_ones_apart(tmp_path: Path) -> None:
    records = [
        article(1, 2001, "Randomized Controlled Trial", "Humans"),
        article(2, 2001, "Journal Article", "Humans"),
        article(3, 2002, "Journal Article", "Software"),
        article(4, 2002, "Journal Article"),
    ]
    pd.DataFrame(records).to_parquet(tmp_path / "a.parquet")
    card = describe(tmp_path / "a.parquet", "articles")
    found = label_columns(card.rows).sum()
    assert found[["RCT", "Human", "none of them", "no label"]].tolist() == [1, 2, 1, 1]
    shares = {row[0]: row[1:] for row in table(card, "Study designs").rows}
    assert shares["Human"] == ("2", "50.0%")
    years = table(card, "Labels by year of pub_date")
    assert years.header == ("year", "rows", "RCT", "Human", "none of them", "no label")
    assert years.rows[1] == ("2002", "2", "0", "0", "1", "1")


def test_sources_are_compared_where_there_are_several(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "nct_id": list("abcd"),
            "overall_status": ["COMPLETED", "COMPLETED", "TERMINATED", None],
            "source": ["x", "y", "x", "x"],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    found = table(describe(tmp_path / "a.parquet", "trials"), "Labels by source")
    assert found.header[2:] == ("completed", "terminated", "no label", "stopped")
    assert found.rows == (("x", "3", "1", "1", "1", "50.0%"), ("y", "1", "1", "0", "0", "0.0%"))
    frame.assign(source="x").to_parquet(tmp_path / "b.parquet")
    titles = [sheet.title for sheet in sheets(describe(tmp_path / "b.parquet", "trials"))]
    assert "Labels by source" not in titles


def test_rare_sources_are_one_row(tmp_path: Path) -> None:
    names = [f"s{n:02d}" for n in range(17)]  # s00 twice, the others once
    frame = pd.DataFrame({"nct_id": [f"i{n}" for n in range(18)], "source": [*names, "s00"]})
    frame.assign(overall_status="COMPLETED").to_parquet(tmp_path / "a.parquet")
    rows = table(describe(tmp_path / "a.parquet", "trials"), "Labels by source").rows
    assert rows[0][:2] == ("s00", "2")
    assert rows[-1][:2] == ("2 others", "2")
    assert len(rows) == 16


def test_many_labels_are_cut_into_tables_that_fit() -> None:
    from benchmark.card import WIDTH, _pieces

    names = [f"label {n:02d} of a table" for n in range(12)]
    pieces = _pieces(names)
    assert [name for piece in pieces for name in piece] == names
    assert all(sum(len(name) + 2 for name in piece) <= WIDTH for piece in pieces)
    assert len(pieces) == 4  # 19 characters and 2 blanks each: three in 80


def test_an_imported_file_tells_where_it_is_from(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    import_files("ctgov-csv", [csv], out, licence="CC0")
    card = describe(out)
    assert card.reader == "trials"
    assert card.licence == "CC0"
    assert value(card, "provenance") == "imported from studies.csv by ctgov-csv"
    assert value(card, "left out at the import") == (
        "2 rows, 1 of them for the id of another; 0 cells left empty"
    )
    columns = {row[0]: row[3] for row in table(card, "Columns").rows}
    assert columns["brief_title"] == "Study Title"


def test_a_file_with_false_metadata_is_described_as_any_other(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table_ = pa.table({"nct_id": ["a"], "overall_status": ["COMPLETED"]})
    for number, text in enumerate(("{", "[]", '{"read_with": "trials", "sources": 3}')):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(table_.replace_schema_metadata({"trialmark": text}), path)
        assert describe(path, "trials").provenance is None


def test_the_terms_of_a_download_stand_in_for_a_licence(csv: Path) -> None:
    import hashlib

    manifest = {
        "sha256": hashlib.sha256(csv.read_bytes()).hexdigest(),
        "source": "ClinicalTrials.gov API v2",
        "query": "x",
        "finished": "2026-02-03T04:05:06Z",
        "terms": "https://example.org/terms",
        "warnings": ["the total changed"],
    }
    Path(f"{csv}.manifest.json").write_text(json.dumps(manifest))
    card = describe(csv, "ctgov-csv")
    assert card.licence == "https://example.org/terms"
    told = [row[1] for row in table(card, "Trials").rows if row[0] == "provenance"]
    assert told == [
        "downloaded from ClinicalTrials.gov API v2 on 2026-02-03 with the query 'x'",
        "warning of the download: the total changed",
    ]


def test_the_fingerprint_is_of_the_rows_and_not_of_the_file(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    import_files("ctgov-csv", [csv], out)
    name = "fingerprint of the rows"
    assert value(describe(out), name) == value(describe(csv, "ctgov-csv"), name)
    csv.write_text(csv.read_text().replace("First text", "Another text"))
    assert value(describe(out), name) != value(describe(csv, "ctgov-csv"), name)


@pytest.mark.parametrize("format", ["terminal", "markdown"])
def test_text_from_the_data_cannot_leave_its_cell(format: str, tmp_path: Path) -> None:
    evil = "\x1b[2J[bold]red[/bold]|x|<script>\u202e"
    frame = pd.DataFrame(
        {"nct_id": ["a", "b"], "overall_status": "COMPLETED", "source": [evil, "another"]}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    text = render_card(describe(tmp_path / "a.parquet", "trials"), format)
    assert "\x1b[2J" not in text
    assert "\u202e" not in text
    if format == "terminal":
        assert "[bold]red[/bold]" in text
    else:
        assert r"\[bold\]red\[/bold\]\|x\|\<script\>" in text


def test_unknown_formats_are_named(card: Card) -> None:
    with pytest.raises(InputError, match="did you mean 'markdown'"):
        render_card(card, "markdwn")


def load(path: Path, described: dict[str, Any]) -> Any:
    """mlcroissant's reading of a card, which raises if it is not valid."""
    mlcroissant = pytest.importorskip("mlcroissant", reason="the extra `croissant` is not here")
    path.write_text(json.dumps(described))
    with warnings.catch_warnings():  # of its own dependencies
        warnings.simplefilter("ignore")
        return mlcroissant.Dataset(str(path))


def test_croissant_is_valid_and_loads_the_rows(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    import_files("ctgov-csv", [csv], out, licence="CC0")
    described = croissant(describe(out))
    loaded = load(tmp_path / "out.json", described)
    assert loaded.metadata.name == "out"
    assert loaded.metadata.license == ["CC0"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = list(loaded.records("records"))
    assert [record["records/nct_id"] for record in records] == [
        f"NCT0000000{n}".encode() for n in range(1, 6)
    ]
    assert records[1]["records/enrollment"] == 30.0
    types = {field["name"]: field["dataType"] for field in described["recordSet"][0]["field"]}
    assert types["nct_id"] == types["brief_title"] == types["overall_status"] == "sc:Text"
    assert types["start_date"] == "sc:Date"
    assert types["enrollment"] == "sc:Float"
    assert "5 trials" in described["description"]
    assert "COMPLETED 2" in described["description"]


def test_a_wrong_croissant_is_noticed(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    import_files("ctgov-csv", [csv], out)
    described = croissant(describe(out))
    described["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "elsewhere"
    mlcroissant = pytest.importorskip("mlcroissant")
    with pytest.raises(mlcroissant.ValidationError):
        load(tmp_path / "out.json", described)


def test_croissant_of_a_raw_file_states_the_file_alone(card: Card, tmp_path: Path) -> None:
    described = croissant(card)
    assert "recordSet" not in described
    assert described["distribution"][0]["encodingFormat"] == "text/csv"
    assert described["distribution"][0]["sha256"] == card.source.sha256
    assert load(tmp_path / "card.json", described).metadata.name == "studies"


def test_croissant_of_a_folder_is_refused(tmp_path: Path, card: Card) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="one file for a Croissant card"):
        croissant(replace(card, path=tmp_path))


@pytest.mark.parametrize(
    ("file", "rows"),
    [
        ("ctgov/hypertension-ctg-studies.csv", 172),
        ("ctgov/v2-small.json", 5),
        ("ctgov/NCT00000102.xml", 1),
        ("trialbench/trial-approval-prediction/Phase4", 892),
        ("pubmed/pubmed_result.txt", 473),
    ],
)
def test_real_files_have_a_card(file: str, rows: int, shared: Path) -> None:
    card = describe(shared / file)
    assert f"{len(card.rows.frame):,}" == f"{rows:,}"
    for format in ("terminal", "markdown"):
        assert "Columns" in render_card(card, format)


def test_a_csv_of_the_download_is_the_same_as_its_rows(csv: Path) -> None:
    rows = ctgov_csv.read(ctgov_csv.Options(path=csv))
    pd.testing.assert_frame_equal(describe(csv, "ctgov-csv").rows.frame, rows.frame)
