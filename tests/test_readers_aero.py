"""The reader of the notebook's Kaggle file."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.readers import aero
from benchmark.readers.files import EMPTIED, LEFT_OUT
from benchmark.tasks import class_counts, labelled
from features.errors import InputError

ROW = {
    "index": "0",
    "NCT": "NCT00000001",
    "Sponsor": "Acme",
    "Title": "Tea for Boredom",
    "Summary": "A cup a day.\n\n      Or two.",
    "Start_Year": "1997",
    "Start_Month": "7",
    "Phase": "Phase 1/Phase 2",
    "Enrollment": "75",
    "Status": "Unknown status",
    "Condition": "Boredom",
}


def write(folder: Path, *rows: dict[str, str], without: tuple[str, ...] = ()) -> aero.Options:
    path = folder / "AERO-BirdsEye-Data.csv"
    columns = [name for name in ROW if name not in without]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return aero.Options(path=path)


def test_all_columns_but_the_index_become_canonical_ones(tmp_path: Path) -> None:
    rows = aero.read(write(tmp_path, ROW))
    assert rows.rejected.empty
    assert rows.frame.loc["NCT00000001"].to_dict() == {
        "brief_title": "Tea for Boredom",
        "brief_summary": "A cup a day.\n\n      Or two.",
        "conditions": "Boredom",
        "lead_sponsor": "Acme",
        "phases": "PHASE1|PHASE2",
        "start_date": pd.Timestamp(1997, 7, 1),
        "enrollment": 75.0,
        "overall_status": "UNKNOWN",
    }
    assert (rows.group, rows.date) == ("lead_sponsor", "start_date")
    known_at = {column.name: column.known_at for column in rows.columns}
    assert known_at["enrollment"] == "after"
    assert {known_at[name] for name in set(known_at) - {"enrollment"}} == {"registration"}
    assert "overall_status" not in known_at


def test_a_copy_without_the_texts_is_read(tmp_path: Path) -> None:
    rows = aero.read(write(tmp_path, ROW, without=("Title", "Summary")))
    assert [column.name for column in rows.columns if column.kind == "text"] == ["conditions"]


@pytest.mark.parametrize("damage", ["#NAME?", " #NAME?\n", "#REF!"])
def test_a_text_damaged_by_a_spreadsheet_is_missing_and_listed(tmp_path: Path, damage: str) -> None:
    rows = aero.read(write(tmp_path, ROW | {"Summary": damage}))
    assert rows.frame["brief_summary"].tolist() == [""]
    assert rows.frame["brief_title"].tolist() == ["Tea for Boredom"]
    reason = rows.rejected["reason"].item()
    assert reason.startswith(f"{EMPTIED}brief_summary: '")
    assert damage.strip() in reason
    assert reason.endswith("is what a spreadsheet leaves of a damaged text")


@pytest.mark.parametrize(
    ("year", "month", "expected"),
    [
        ("2004", "12", "2004-12-01"),
        ("2004.0", "2.0", "2004-02-01"),
        ("2004", "", "2004-01-01"),
        ("", "", None),
        ("2004", "13", None),
        ("soon", "1", None),
    ],
)
def test_the_start_is_the_first_day_of_its_month(
    tmp_path: Path, year: str, month: str, expected: str | None
) -> None:
    rows = aero.read(write(tmp_path, ROW | {"Start_Year": year, "Start_Month": month}))
    found = rows.frame["start_date"].item()
    assert pd.isna(found) if expected is None else found == pd.Timestamp(expected)
    assert len(rows.rejected) == (expected is None and year != "")


def test_a_trial_with_two_conditions_in_two_rows_is_kept_once_and_the_other_listed(
    tmp_path: Path,
) -> None:
    rows = aero.read(write(tmp_path, ROW, ROW | {"index": "1", "Condition": "Ennui"}))
    assert rows.frame["conditions"].tolist() == ["Boredom"]
    assert rows.rejected[["row", "id"]].to_numpy().tolist() == [[2, "NCT00000001"]]
    assert rows.rejected["reason"].item() == (
        f"{LEFT_OUT}NCT00000001 stands in row 1 too, which is kept; "
        "it differs in conditions ('Ennui' here, 'Boredom' there)"
    )


@pytest.mark.parametrize(("column", "name"), [("NCT", "NCT"), ("Status", "Status")])
def test_a_missing_column_is_named(tmp_path: Path, column: str, name: str) -> None:
    with pytest.raises(InputError, match=f"no column '{name}'"):
        aero.read(write(tmp_path, ROW, without=(column,)))


def test_the_order_of_the_file_is_kept_as_the_notebooks_split_depends_on_it(tmp_path: Path) -> None:
    ids = ["NCT00000003", "NCT00000001", "NCT00000002"]
    rows = aero.read(write(tmp_path, *(ROW | {"NCT": id_} for id_ in ids)))
    assert rows.frame.index.tolist() == ids


@pytest.mark.parametrize(
    ("file", "n", "completed", "stopped"),
    [("no-text", 13_748, 10_568, 1_592), ("with-text-subset", 1_773, 1_216, 299)],
)
def test_the_real_file_has_the_rows_and_labels_of_its_readme(
    shared: Path, file: str, n: int, completed: int, stopped: int
) -> None:
    rows = aero.read(aero.Options(path=shared / "aero" / f"AERO-BirdsEye-Data.{file}.csv"))
    assert (len(rows.frame), len(rows.rejected)) == (n, 0)
    data = labelled(rows, "trial-outcome")
    assert class_counts(data.target, data.y) == {"stopped": stopped, "completed": completed}


cells = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "#NAME?", "NCT00000002", "Completed", "Phase 9", "-1", "9999999", '"', "\x00", "1997"]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(ROW, cells)), max_size=6))
def test_any_cells_end_in_the_frame_or_in_the_list(
    tmp_path_factory: pytest.TempPathFactory, changes: list[dict[str, str]]
) -> None:
    written = [ROW, *(ROW | change for change in changes)]
    try:
        rows = aero.read(write(tmp_path_factory.mktemp("aero"), *written))
    except InputError:
        return
    left_out = rows.rejected[rows.rejected["reason"].str.startswith(LEFT_OUT)]
    assert len(rows.frame) + left_out["row"].nunique() == len(written)
    assert rows.frame.index.is_unique
