"""The reader of the TOP benchmark."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.config import load
from benchmark.matrix import read_rows
from benchmark.readers import top
from benchmark.readers.files import EMPTIED, LEFT_OUT
from benchmark.splits import SplitOptions, make_split
from benchmark.tasks import labelled
from features.errors import InputError

ROW = {
    "nctid": "NCT00000001",
    "status": "completed",
    "why_stop": "",
    "label": "1",
    "phase": "phase 1/phase 2",
    "diseases": """["crohn's disease", 'boredom']""",
    "icdcodes": """["['K50.0']"]""",
    "drugs": "['tea', 'placebo', 'tea']",
    "smiless": r"['C\\C=C']",
    "criteria": "\n        Inclusion Criteria:\n\n          -  Bored\n      ",
    "title": "Tea for Boredom",
    "study_first_submitted_date": "2010-07-16",
}
FAILED = ROW | {
    "nctid": "NCT00000002",
    "status": "terminated",
    "why_stop": "Spilled",
    "label": "0",
    "study_first_submitted_date": "2012-01-01",
}


def write(folder: Path, part: str, *rows: dict[str, str], phase: str = "I") -> Path:
    path = folder / f"phase_{phase}_{part}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_all_columns_but_codes_become_canonical_ones(tmp_path: Path) -> None:
    rows = top.read(top.Options(path=write(tmp_path, "train", ROW, FAILED)))
    assert rows.rejected.empty
    assert rows.frame.loc["NCT00000001"].to_dict() == {
        "brief_title": "Tea for Boredom",
        "eligibility_criteria": "Inclusion Criteria:\n\n          -  Bored",
        "conditions": "crohn's disease|boredom",
        "interventions": "tea|placebo",
        "phases": "PHASE1|PHASE2",
        "first_posted": pd.Timestamp(2010, 7, 16),
        "why_stopped": "",
        "overall_status": "COMPLETED",
        "top-phase-1": "success",
        "official_part": "train",
    }
    assert (rows.date, rows.official, rows.group) == ("first_posted", "official_part", None)


def test_what_is_known_after_the_trial_is_no_input_at_registration(tmp_path: Path) -> None:
    rows = top.read(top.Options(path=write(tmp_path, "train", ROW, FAILED)))
    data = labelled(rows, "top-phase-1")
    seen = set(data.inputs("both", "registration").names)
    assert seen == {
        "brief_title", "eligibility_criteria", "conditions", "interventions", "phases",
        "first_posted",
    }  # fmt: skip
    assert set(data.inputs("both", "after").names) - seen == {"why_stopped"}


def test_a_folder_gives_all_parts_of_its_phase(tmp_path: Path) -> None:
    write(tmp_path, "train", ROW, FAILED)
    write(tmp_path, "test", ROW | {"nctid": "NCT00000003"}, FAILED | {"nctid": "NCT00000004"})
    (tmp_path / "hint_predictions_phase_I_test.csv").write_text("nctid,prediction\n")
    rows = top.read(top.Options(path=tmp_path))
    assert rows.frame["official_part"].to_dict() == {
        "NCT00000001": "train",
        "NCT00000002": "train",
        "NCT00000003": "test",
        "NCT00000004": "test",
    }
    data = labelled(rows, "top-phase-1")
    assert data.target.classes == ("failure", "success")
    assert data.y.tolist() == [1, 0, 1, 0]


def test_a_trial_in_train_and_test_is_left_out_of_train_and_listed(tmp_path: Path) -> None:
    third = ROW | {"nctid": "NCT00000003"}
    write(tmp_path, "train", third, ROW, FAILED)
    write(tmp_path, "valid", FAILED, FAILED)
    write(tmp_path, "test", ROW | {"label": "0"})
    rows = top.read(top.Options(path=tmp_path))
    assert rows.frame["official_part"].to_dict() == {
        "NCT00000003": "train",
        "NCT00000002": "valid",
        "NCT00000001": "test",
    }
    assert rows.frame.loc["NCT00000001", "top-phase-1"] == "failure"
    assert rows.rejected.to_numpy().tolist() == [
        [
            2,
            "NCT00000001",
            f"{LEFT_OUT}phase_I_train.csv: NCT00000001 stands in phase_I_test.csv, row 1 too, "
            "which is kept; it differs in top-phase-1",
        ],
        [
            3,
            "NCT00000002",
            f"{LEFT_OUT}phase_I_train.csv: NCT00000002 stands in phase_I_valid.csv, row 1 too, "
            "which is kept; with the same content",
        ],
        [
            2,
            "NCT00000002",
            f"{LEFT_OUT}phase_I_valid.csv: NCT00000002 stands in phase_I_valid.csv, row 1 too, "
            "which is kept; with the same content",
        ],
    ]


def test_a_bad_cell_is_listed_with_its_place_in_its_own_file(tmp_path: Path) -> None:
    write(tmp_path, "train", ROW, FAILED)
    bad = {"diseases": "boredom", "label": "2", "study_first_submitted_date": "2013-02-30"}
    write(tmp_path, "test", ROW | {"nctid": "NCT00000003"}, ROW | {"nctid": "NCT00000004"} | bad)
    rows = top.read(top.Options(path=tmp_path))
    place = f"{EMPTIED}phase_I_test.csv: "
    assert sorted(rows.rejected.to_numpy().tolist()) == [
        [
            2,
            "NCT00000004",
            f"{place}conditions: 'boredom' is not a list such as ['a', 'b']",
        ],
        [2, "NCT00000004", f"{place}first_posted: '2013-02-30' is not a date of the calendar"],
        [2, "NCT00000004", f"{place}top-phase-1: '2' is not 0 or 1"],
    ]
    assert rows.frame.loc["NCT00000004", "conditions"] == ""
    assert "NCT00000004" not in labelled(rows, "top-phase-1").X.index


def test_the_published_columns_alone_are_enough(tmp_path: Path) -> None:
    added = ("title", "study_first_submitted_date")
    row = {name: cell for name, cell in ROW.items() if name not in added}
    rows = top.read(top.Options(path=write(tmp_path, "test", row)))
    assert rows.date is None
    assert "brief_title" not in rows.frame


def test_several_phases_in_a_folder_need_a_choice(tmp_path: Path) -> None:
    write(tmp_path, "train", ROW, FAILED)
    write(tmp_path, "train", FAILED, phase="III")
    with pytest.raises(InputError, match=r"phases I, III; expected one phase.*set `phase: I`"):
        top.read(top.Options(path=tmp_path))
    rows = top.read(top.Options(path=tmp_path, phase="III"))
    assert rows.frame["top-phase-3"].to_dict() == {"NCT00000002": "failure"}
    with pytest.raises(InputError, match=r"no file of phase II; expected phase_I_train\.csv"):
        top.read(top.Options(path=tmp_path, phase="II"))


def test_the_files_can_be_listed_in_a_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "train", ROW, FAILED)
    write(tmp_path, "test", ROW | {"nctid": "NCT00000003"})
    monkeypatch.setenv("TRIALMARK_DATA", str(tmp_path))
    paths = [f"${{TRIALMARK_DATA}}/phase_I_{part}.csv" for part in ("train", "test")]
    config = {"task": "top-phase-1", "splits": "official", "models": "prior"}
    rows = read_rows(load(config | {"data": {"reader": "top", "path": paths}}))
    assert rows.frame["official_part"].tolist() == ["train", "train", "test"]
    with pytest.raises(InputError, match=r"no file at .*phase_I_valid\.csv"):
        load(config | {"data": {"reader": "top", "path": [paths[0].replace("train", "valid")]}})


@pytest.mark.parametrize("name", ["phase_IV_train.csv", "phase_I_dev.csv", "top.csv"])
def test_another_file_name_is_refused_as_the_name_tells_phase_and_part(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("nctid,label\nNCT00000001,1\n")
    with pytest.raises(InputError, match=r"not named like a file of TOP; expected phase_I_train"):
        top.read(top.Options(path=tmp_path / name))
    with pytest.raises(InputError, match="no file of TOP is there"):
        top.read(top.Options(path=tmp_path))


def test_the_labels_of_one_phase_are_no_labels_of_another(tmp_path: Path) -> None:
    rows = top.read(top.Options(path=write(tmp_path, "train", ROW, FAILED)))
    with pytest.raises(InputError, match="no labels of top-phase-2; expected the files"):
        labelled(rows, "top-phase-2")


def test_the_real_files_have_the_published_parts(shared: Path) -> None:
    rows = top.read(top.Options(path=shared / "top"))
    assert rows.rejected.empty
    data = labelled(rows, "top-phase-1")
    split = make_split(data, SplitOptions(name="official"), 42)
    assert [len(part) for part in (split.train, split.valid, split.test)] == [1044, 117, 627]
    assert (split.seed, split.excluded) == (None, 0)
    later = make_split(data, SplitOptions(name="temporal"), 42)
    assert data.dates is not None
    assert data.dates[later.train].max() < data.dates[later.test].min()


cells = st.sampled_from(
    [
        "",
        "0",
        "1",
        "[]",
        "['a']",
        "[['a']]",
        "['",
        "2013-02-30",
        "phase 9",
        "\x00",
        '"',
        "nct00000002",
    ]
) | st.text(st.characters(codec="utf-8"), max_size=10)
records = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys(ROW, cells)).map(lambda change: ROW | change),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(records, records)
def test_every_row_is_in_the_frame_or_in_the_list(
    tmp_path_factory: pytest.TempPathFactory,
    train: list[dict[str, str]],
    test: list[dict[str, str]],
) -> None:
    folder = tmp_path_factory.mktemp("top")
    write(folder, "train", *train)
    write(folder, "test", *test)
    try:
        rows = top.read(top.Options(path=folder))
    except InputError:
        return
    left_out = rows.rejected[rows.rejected["reason"].str.startswith(LEFT_OUT)]
    assert len(rows.frame) + len(left_out) == len(train) + len(test)
    assert rows.frame["official_part"].isin(["train", "test"]).all()
