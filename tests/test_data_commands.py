from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from server import PubMed, Registry, serving, study

from benchmark.dataset import Rows
from benchmark.importing import import_files, origins, read_parts, stored_provenance
from benchmark.readers import articles, ctgov_csv, medline, synthetic, top, trials
from features.errors import InputError

HEADER = "NCT Number,Study Title,Study Status,Phases,Enrollment,Start Date,Last Update Posted"
FIRST = (
    "NCT00000001,Alpha,COMPLETED,PHASE1,10,2001-01-01,2020-01-01",
    "NCT00000002,Beta,TERMINATED,PHASE2,20,2002-02-30,2020-01-01",
    "NCT00000003,Gamma,WITHDRAWN,,0,2003-03,2020-01-01",
)
SECOND = (
    "NCT00000002,Beta,COMPLETED,PHASE2,20,2002-02-03,2021-01-01",
    "NCT00000003,Gamma,COMPLETED,,0,2003-03,2019-01-01",
    "NCT00000004,Delta,COMPLETED,NA,5,2004-04-04,2021-01-01",
    "no number,Epsilon,COMPLETED,NA,5,2004-04-04,2021-01-01",
)


@pytest.fixture
def csvs(tmp_path: Path) -> tuple[Path, Path]:
    """Two downloads: the second one has a later record of trial 2 and an earlier one of trial 3."""
    paths = tmp_path / "first.csv", tmp_path / "second.csv"
    for path, lines in zip(paths, (FIRST, SECOND), strict=True):
        path.write_text("\n".join([HEADER, *lines]) + "\n")
    return paths


def back(path: Path) -> Rows:
    """An imported file, read by the reader that it names."""
    about = stored_provenance(path)
    assert about is not None
    module = {"trials": trials, "articles": articles}[about["read_with"]]
    rows: Rows = module.read(module.Options(path=path))
    return rows


def assert_same(rows: Rows, other: Rows) -> None:
    pd.testing.assert_frame_equal(rows.frame, other.frame, check_like=True)
    assert rows.columns == other.columns
    for role in ("group", "date", "official"):
        assert getattr(rows, role) == getattr(other, role)


def test_an_import_is_read_back_as_the_same_rows(csvs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    import_files("ctgov-csv", csvs[:1], out)
    assert_same(back(out), ctgov_csv.read(ctgov_csv.Options(path=csvs[0])))
    frame = pd.read_parquet(out)
    assert list(frame["nct_id"]) == ["NCT00000001", "NCT00000002", "NCT00000003"]
    assert frame["enrollment"].tolist() == [10.0, 20.0, 0.0]
    assert frame["start_date"].dt.year.tolist()[::2] == [2001, 2003]
    assert frame["phases"].isna().tolist() == [False, False, True]


def test_synthetic_trials_survive_the_round_trip(tmp_path: Path) -> None:
    made = synthetic.read(synthetic.Options(rows=200)).frame
    made.reset_index().to_parquet(tmp_path / "made.parquet", index=False)
    import_files("trials", [tmp_path / "made.parquet"], tmp_path / "out.parquet")
    rows = back(tmp_path / "out.parquet")
    assert len(rows.frame) == 200
    for name in ("brief_title", "phases", "start_date", "enrollment", "min_age", "overall_status"):
        pd.testing.assert_series_equal(rows.frame[name], made[name], check_freq=False)


@pytest.mark.parametrize(
    ("reader", "file"),
    [
        ("ctgov-csv", "ctgov/terminated-ctg-studies.csv"),
        ("ctgov-csv", "ctgov/search-results.csv"),
        ("aero", "aero/AERO-BirdsEye-Data.with-text-subset.csv"),
        ("top", "top/phase_I_valid.csv"),
        ("trialbench", "trialbench/trial-approval-prediction/Phase4"),
        ("pubmed-xml", "pubmed/pubmed1.xml"),
        ("medline", "pubmed/pubmed_result.txt"),
    ],
)
def test_real_files_survive_the_round_trip(
    reader: str, file: str, shared: Path, tmp_path: Path
) -> None:
    import importlib

    from benchmark.readers import READERS

    module = importlib.import_module(READERS[reader])
    import_files(reader, [shared / file], tmp_path / "out.parquet")
    assert_same(back(tmp_path / "out.parquet"), module.read(module.Options(path=shared / file)))


def test_provenance_names_every_file_its_hash_and_the_origin_of_columns(
    csvs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    import_files("ctgov-csv", csvs, out, licence="CC0")
    about = stored_provenance(out)
    assert about is not None
    assert [source["file"] for source in about["sources"]] == ["first.csv", "second.csv"]
    assert about["sources"][1]["sha256"] == hashlib.sha256(csvs[1].read_bytes()).hexdigest()
    assert about["sources"][0]["reader"] == "ctgov-csv"
    assert str(tmp_path) not in json.dumps(about)
    assert about["origins"]["brief_title"] == ["Study Title"]
    assert about["licence"] == "CC0"
    assert (about["rows"], about["left_out"], about["emptied"]) == (4, 3, 1)


def test_the_origin_of_a_derived_column_is_the_compound_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("NCT Number,Study Status,Study Design\nNCT00000001,COMPLETED,Masking: DOUBLE\n")
    import_files("ctgov-csv", [path], tmp_path / "out.parquet")
    about = stored_provenance(tmp_path / "out.parquet")
    assert about is not None
    assert about["origins"]["masking"] == ["Study Design"]


def test_every_column_of_the_real_files_has_an_origin(shared: Path) -> None:
    own = {"source", "official_part"}
    for reader, file in (
        ("ctgov-csv", "ctgov/terminated-ctg-studies.csv"),
        ("ctgov-json", "ctgov/v2-small.json"),
        ("ctgov-xml", "ctgov/NCT00000102.xml"),
        ("aero", "aero/AERO-BirdsEye-Data.no-text.csv"),
        ("top", "top/phase_I_valid.csv"),
        ("trialbench", "trialbench/trial-failure-reason-prediction/Phase3"),
        ("articles", "pubmed/studies.parquet"),
        ("pubmed-xml", "pubmed/pubmed1.xml"),
        ("medline", "pubmed/pubmed_result.txt"),
    ):
        found = origins(read_parts(reader, [shared / file], {}))
        assert {name for name, fields in found.items() if not fields} <= own, reader


def test_labels_come_from_the_columns_that_make_them(shared: Path) -> None:
    found = origins(read_parts("articles", [shared / "pubmed" / "studies.parquet"], {}))
    assert found["labels"] == ["publication_types", "mesh"]
    assert found["pub_date"] == ["year"]


def test_of_two_files_the_later_record_is_kept_and_the_other_listed(
    csvs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    done = import_files("ctgov-csv", csvs, out)
    frame = pd.read_parquet(out).set_index("nct_id")
    assert frame["overall_status"].to_dict() == {
        "NCT00000001": "COMPLETED",
        "NCT00000002": "COMPLETED",  # the second file's, updated in 2021
        "NCT00000003": "WITHDRAWN",  # the first file's, updated in 2020
        "NCT00000004": "COMPLETED",
    }
    assert (done.rows, done.left_out, done.emptied) == (4, 3, 1)
    assert done.rejected is not None
    listed = pd.read_csv(done.rejected, dtype={"row": "Int64"})
    assert list(listed["file"]) == ["first.csv", "second.csv", "first.csv", "second.csv"]
    assert listed["reason"][0].startswith("cell left empty: start_date: '2002-02-30'")
    assert listed["row"][0] == 2
    assert listed["reason"][1].startswith("row left out: nct_id: 'NO NUMBER' is no id")
    assert listed["reason"][2].startswith(
        "row left out: NCT00000002 stands in second.csv too, which is kept; it differs in "
        "overall_status ('TERMINATED' here, 'COMPLETED' there)"
    )
    assert listed["id"][3] == "NCT00000003"


def test_without_update_dates_the_first_file_wins(tmp_path: Path) -> None:
    for name, status in (("a.csv", "COMPLETED"), ("b.csv", "WITHDRAWN")):
        (tmp_path / name).write_text(f"NCT Number,Study Status\nNCT00000001,{status}\n")
    files = [tmp_path / "b.csv", tmp_path / "a.csv"]
    import_files("ctgov-csv", files, tmp_path / "out.parquet")
    assert pd.read_parquet(tmp_path / "out.parquet")["overall_status"].tolist() == ["WITHDRAWN"]


def test_files_with_different_columns_are_joined(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("NCT Number,Study Status\nNCT00000001,COMPLETED\n")
    (tmp_path / "b.csv").write_text(
        "NCT Number,Study Status,Brief Summary,Enrollment\nNCT00000002,COMPLETED,Words,7\n"
    )
    import_files("ctgov-csv", [tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "out.parquet")
    rows = back(tmp_path / "out.parquet")
    assert rows.frame["brief_summary"].tolist() == ["", "Words"]
    assert rows.frame["enrollment"].isna().tolist() == [True, False]
    assert [column.name for column in rows.columns] == ["brief_summary", "enrollment"]


MEDLINE = "PMID- {}\nTI  - {}\nDP  - 2020 Jan\nPT  - Journal Article\n\n"


def test_of_two_files_of_articles_the_last_one_wins(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(MEDLINE.format(7, "Old") + MEDLINE.format(8, "Other"))
    (tmp_path / "b.txt").write_text(MEDLINE.format(7, "New"))
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    done = import_files("medline", files, tmp_path / "out.parquet")
    assert back(tmp_path / "out.parquet").frame["title"].to_dict() == {"8": "Other", "7": "New"}
    assert done.left_out == 1


def test_trials_and_articles_do_not_mix(csvs: tuple[Path, Path], tmp_path: Path) -> None:
    from benchmark.importing import Part, merged

    (tmp_path / "a.txt").write_text(MEDLINE.format(7, "Old"))
    parts = [
        Part((csvs[0],), "ctgov-csv", ctgov_csv.read(ctgov_csv.Options(path=csvs[0]))),
        Part(
            (tmp_path / "a.txt",), "medline", medline.read(medline.Options(path=tmp_path / "a.txt"))
        ),
    ]
    with pytest.raises(InputError, match="records of two kinds"):
        merged(parts)


TOP = "nctid,status,label,phase,diseases,criteria\nNCT0000000{},completed,{},phase 1,['x'],c\n"


def test_a_published_split_keeps_its_parts_and_labels(tmp_path: Path) -> None:
    files = []
    for number, part in enumerate(("train", "valid", "test"), 1):
        files.append(tmp_path / f"phase_I_{part}.csv")
        files[-1].write_text(TOP.format(number, number % 2))
    import_files("top", files, tmp_path / "out.parquet")
    rows = back(tmp_path / "out.parquet")
    assert rows.official == "official_part"
    assert rows.frame["official_part"].tolist() == ["train", "valid", "test"]
    assert rows.frame["top-phase-1"].tolist() == ["success", "failure", "success"]
    assert_same(rows, top.read(top.Options(path=files)))


def test_the_manifest_of_a_download_travels_along_if_it_is_of_that_file(
    csvs: tuple[Path, Path], tmp_path: Path
) -> None:
    digest = hashlib.sha256(csvs[0].read_bytes()).hexdigest()
    for path, known in zip(csvs, (digest, "another"), strict=True):
        manifest = {"sha256": known, "query": "asthma", "source": "somewhere"}
        Path(f"{path}.manifest.json").write_text(json.dumps(manifest))
    import_files("ctgov-csv", csvs, tmp_path / "out.parquet")
    about = stored_provenance(tmp_path / "out.parquet")
    assert about is not None
    assert about["sources"][0]["manifest"]["query"] == "asthma"
    assert about["sources"][1]["manifest"] is None


def test_folders_of_this_machine_are_not_stored(tmp_path: Path) -> None:
    rules = Path(articles.__file__).with_name("study_design_rules.yaml")
    (tmp_path / "own.yaml").write_bytes(rules.read_bytes())
    (tmp_path / "a.txt").write_text(MEDLINE.format(7, "Old"))
    options = {"rules": str(tmp_path / "own.yaml")}
    import_files("medline", [tmp_path / "a.txt"], tmp_path / "out.parquet", options=options)
    about = stored_provenance(tmp_path / "out.parquet")
    assert about is not None
    assert about["options"] == {"rules": "own.yaml"}
    assert str(tmp_path) not in json.dumps(about)


def test_equal_files_give_equal_bytes(csvs: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a.parquet", "b.parquet"):
        import_files("ctgov-csv", csvs, tmp_path / name)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    ("reader", "options", "out", "message"),
    [
        ("ctgov-cvs", {}, "o.parquet", "did you mean 'ctgov-csv'"),
        ("synthetic", {}, "o.parquet", "unknown reader of files 'synthetic'"),
        ("ctgov-csv", {"delimeter": ";"}, "o.parquet", "did you mean 'delimiter'"),
        ("ctgov-csv", {}, "o.csv", r"ends in \.parquet"),
        ("ctgov-csv", {}, "no/o.parquet", "there is no folder"),
        ("ctgov-csv", {}, "there.parquet", "exists; expected a new file"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    reader: str,
    options: dict[str, str],
    out: str,
    message: str,
    csvs: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    (tmp_path / "there.parquet").write_text("precious")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=message):
        import_files(reader, csvs, tmp_path / out, options=options)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.parquet").read_text() == "precious"


def test_a_file_that_was_not_imported_has_no_provenance(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "plain.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    for name in ("plain.parquet", "broken.parquet", "none.parquet", "x.csv"):
        assert stored_provenance(tmp_path / name) is None


# the command line


def test_data_import_prints_the_counts(call: Any, csvs: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    code, printed, err = call("data", "import", "ctgov-csv", *csvs, "--out", out)
    assert (code, err) == (0, "")
    assert printed.splitlines() == [
        f"wrote {out}: 4 rows, 7 columns",
        f"3 rows left out and 1 cells left empty: see {out}.rejected.csv",
    ]
    code, _, err = call("data", "import", "ctgov-csv", *csvs, "--out", out)
    assert code == 2
    assert err.count("\n") == 1


def test_data_import_passes_options_to_the_reader(call: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(
        "NCT Number\tStudy Status\tSponsor\nNCT00000001\tCOMPLETED\tÉ\n".encode("cp1252")
    )
    words = ["data", "import", "ctgov-csv", path, "--out", tmp_path / "o.parquet"]
    assert call(*words, "--set", "delimiter=\\t", "--set", "encoding=cp1252")[0] == 0
    assert pd.read_parquet(tmp_path / "o.parquet")["lead_sponsor"].tolist() == ["É"]
    assert "expected key=value" in call(*words, "--set", "delimiter")[2]


def test_data_fetch_writes_a_file_and_repeats_its_warnings(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark import fetch_ctgov

    monkeypatch.setattr(fetch_ctgov, "PAUSE", 0.0)
    with serving(Registry([study(1), study(2)], totals=[3, 2])) as local:
        monkeypatch.setenv("TRIALMARK_CTGOV_URL", local.url)
        out = tmp_path / "o.jsonl"
        code, printed, err = call("data", "fetch", "ctgov", "asthma", "--out", out)
    assert code == 0
    assert printed.startswith(f"wrote {out}: 2 studies, sha256 ")
    assert err == "warning: the total changed during the download: 3 then 2 studies\n"
    assert len(out.read_text().splitlines()) == 2
    parquet = tmp_path / "o.parquet"
    assert call("data", "import", "auto", out, "--out", parquet)[0] == 0
    about = stored_provenance(parquet)
    assert about is not None
    assert about["sources"][0]["reader"] == "ctgov-json"
    assert about["sources"][0]["manifest"]["query"] == "asthma"
    assert about["origins"]["brief_title"] == ["identificationModule.briefTitle"]
    assert pd.read_parquet(parquet)["brief_title"].tolist() == [
        "Fictional study 1",
        "Fictional study 2",
    ]


def test_fetched_articles_are_imported_and_described_with_their_query(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark import fetch_pubmed

    monkeypatch.setattr(fetch_pubmed, "PAUSE", 0.0)
    with serving(PubMed({"2020/01/01": ["1", "2", "3"]})) as local:
        monkeypatch.setenv("TRIALMARK_PUBMED_URL", local.url)
        out = tmp_path / "o.xml.gz"
        code, printed, _ = call("data", "fetch", "pubmed", "asthma[mh]", "--out", out)
    assert code == 0
    assert printed.startswith(f"wrote {out}: 3 articles")
    parquet = tmp_path / "o.parquet"
    assert call("data", "import", "pubmed-xml", out, "--out", parquet)[0] == 0
    assert pd.read_parquet(parquet)["title"][0] == "Article 1 on β-blockers <i>"
    code, printed, _ = call("data", "describe", parquet, "--format", "markdown")
    assert code == 0
    assert "imported from o.xml.gz by pubmed-xml" in printed
    assert r"with the query 'asthma\[mh\]'" in printed
    assert "nlm.nih.gov" in printed


def test_a_fetch_that_fails_is_one_line_and_exit_code_2(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIALMARK_CTGOV_URL", "nonsense")
    code, out, err = call("data", "fetch", "ctgov", "x", "--out", tmp_path / "o.jsonl")
    assert (code, out) == (2, "")
    assert err.startswith("trialmark: the address 'nonsense'")
    assert err.count("\n") == 1
    assert call("data", "fetch", "elsewhere", "x", "--out", "o.jsonl")[0] == 2


def test_describe_writes_a_file(call: Any, csvs: tuple[Path, Path], tmp_path: Path) -> None:
    card = tmp_path / "card.json"
    words = ["data", "describe", csvs[0], "--reader", "ctgov-csv", "--format", "croissant"]
    assert call(*words, "--output", card)[:2] == (0, "")
    assert json.loads(card.read_text())["@type"] == "sc:Dataset"
    assert call(*words, "--output", tmp_path / "no" / "card.json")[0] == 2
