"""The reader of TrialBench."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.readers import trialbench
from benchmark.readers.files import EMPTIED, LEFT_OUT
from benchmark.splits import SplitOptions, make_split
from benchmark.tasks import class_counts, labelled
from features.errors import InputError

X = {
    "": "NCT00000001",
    "Drug intervention Number": "2.0",
    "brief_summary/textblock": "\n      A cup a day.\n    ",
    "brief_title": "Tea for Boredom",
    "condition": "['Boredom', \"Crohn's Disease\"]",
    "eligibility/criteria/textblock": "\n        Inclusion Criteria:\r\n\r\n        Bored\n      ",
    "eligibility/gender": "Female",
    "eligibility/healthy_volunteers": "Accepts Healthy Volunteers",
    "eligibility/maximum_age": "",
    "eligibility/minimum_age": "6 Months",
    "enrollment": "33.0",
    "intervention/intervention_name": "['Tea', 'Placebo']",
    "intervention/intervention_type": "['Drug', 'Other', 'Drug']",
    "keyword": "",
    "number_of_arms": "2.0",
    "oversight_info/has_dmc": "Yes",
    "phase": "Phase 2/Phase 3",
    "sponsors/lead_sponsor/agency_class": "U.S. Fed",
    "study_design_info/allocation": "Non-Randomized",
    "study_design_info/intervention_model": "Parallel Assignment",
    "study_design_info/masking_num": "4.0",
    "study_type": "Interventional",
}


def table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write(
    folder: Path,
    part: str,
    targets: dict[str, str],
    *,
    name: str = "outcome",
    ids: list[str] | None = None,
) -> Path:
    """A part whose targets are `targets` and whose trials are `ids` (default: the same)."""
    ids = list(targets) if ids is None else ids
    table(folder / f"{part}_x.csv", [X | {"": id_} for id_ in ids])
    table(folder / f"{part}_y.csv", [{"": id_, name: value} for id_, value in targets.items()])
    return folder


def test_inputs_with_a_canonical_name_are_taken(tmp_path: Path) -> None:
    rows = trialbench.read(trialbench.Options(path=write(tmp_path, "test", {"NCT00000001": "1"})))
    assert rows.rejected.empty
    assert rows.frame.loc["NCT00000001"].dropna().to_dict() == {
        "brief_title": "Tea for Boredom",
        "brief_summary": "A cup a day.",
        "eligibility_criteria": "Inclusion Criteria:\n\n        Bored",
        "conditions": "Boredom|Crohn's Disease",
        "keywords": "",
        "interventions": "Tea|Placebo",
        "sponsor_class": "FED",
        "study_type": "INTERVENTIONAL",
        "phases": "PHASE2|PHASE3",
        "allocation": "NON_RANDOMIZED",
        "intervention_model": "PARALLEL",
        "masking": "QUADRUPLE",
        "intervention_types": "DRUG|OTHER",
        "sex": "FEMALE",
        "healthy_volunteers": "true",
        "has_dmc": "true",
        "min_age": 0.5,
        "number_of_arms": 2.0,
        "enrollment": 33.0,
        "trialbench-approval": "approved",
        "official_part": "test",
    }
    late = {column.name for column in rows.columns if column.known_at == "after"}
    assert late == {"enrollment"}
    assert (rows.date, rows.group, rows.official) == (None, None, "official_part")


def test_targets_are_joined_by_id_as_the_two_files_are_in_different_orders(tmp_path: Path) -> None:
    targets = {"NCT00000001": "0", "NCT00000002": "1", "NCT00000003": "1"}
    ids = ["NCT00000003", "NCT00000001", "NCT00000002"]
    write(tmp_path, "test", targets, ids=ids)
    data = labelled(trialbench.read(trialbench.Options(path=tmp_path)), "trialbench-approval")
    assert data.target.classes == ("not approved", "approved")
    assert dict(zip(data.X.index, data.y.tolist(), strict=True)) == {
        "NCT00000003": 1,
        "NCT00000001": 0,
        "NCT00000002": 1,
    }


def test_failure_reasons_are_four_classes(tmp_path: Path) -> None:
    values = ["poor enrollment", "safety", "efficacy", "Others", "Sun spots"]
    targets = {f"NCT0000000{n}": value for n, value in enumerate(values)}
    rows = trialbench.read(
        trialbench.Options(path=write(tmp_path, "train", targets, name="failure_reason"))
    )
    data = labelled(rows, "trialbench-failure-reason")
    assert data.target.kind == "multiclass"
    assert data.target.classes == ("poor enrollment", "safety", "efficacy", "others")
    assert data.y.tolist() == [0, 1, 2, 3]
    assert rows.rejected["reason"].tolist() == [
        f"{EMPTIED}train_x.csv: trialbench-failure-reason: 'Sun spots' is not one of "
        "poor enrollment, safety, efficacy, others"
    ]


def test_what_cannot_be_joined_is_listed(tmp_path: Path) -> None:
    write(tmp_path, "test", {"NCT00000001": "1"}, ids=[f"NCT0000000{n}" for n in (1, 2, 3)])
    lines = [("NCT00000001", "1"), ("NCT00000001", "1"), ("NCT00000009", "0")]
    lines += [("NCT00000003", "0"), ("NCT00000003", "1")]
    table(tmp_path / "test_y.csv", [{"": id_, "outcome": value} for id_, value in lines])
    rows = trialbench.read(trialbench.Options(path=tmp_path))
    assert rows.frame["trialbench-approval"].dropna().to_dict() == {"NCT00000001": "approved"}
    assert rows.rejected.to_numpy().tolist() == [
        [2, "NCT00000001", f"{LEFT_OUT}test_y.csv: a second line with the same target"],
        [3, "NCT00000009", f"{LEFT_OUT}test_y.csv: no such trial in test_x.csv"],
        [5, "NCT00000003", f"{LEFT_OUT}test_y.csv: lines with two targets"],
        [2, "NCT00000002", f"{EMPTIED}test_x.csv: outcome: nothing in test_y.csv"],
        [3, "NCT00000003", f"{EMPTIED}test_x.csv: outcome: nothing in test_y.csv"],
    ]


def test_masking_in_words_goes_before_its_number(tmp_path: Path) -> None:
    write(tmp_path, "test", {"NCT00000001": "1"})
    words = {"study_design_info/masking": "Double (Participant, Investigator)"}
    table(tmp_path / "test_x.csv", [X | words])
    rows = trialbench.read(trialbench.Options(path=tmp_path))
    assert rows.frame["masking"].tolist() == ["DOUBLE"]


def test_both_parts_give_the_official_split(tmp_path: Path) -> None:
    write(tmp_path, "train", {f"NCT000000{n}": str(n % 2) for n in range(10, 30)})
    write(tmp_path, "test", {f"NCT000000{n}": str(n % 2) for n in range(29, 33)})
    rows = trialbench.read(trialbench.Options(path=tmp_path))
    split = make_split(labelled(rows, "trialbench-approval"), SplitOptions(name="official"), 1)
    assert len(split.train) + len(split.valid) == 19
    assert sorted(split.test) == [f"NCT000000{n}" for n in range(29, 33)]
    assert "NCT00000029 stands in test_x.csv, row 1 too" in rows.rejected["reason"].item()


def test_without_a_train_part_the_official_split_says_so(tmp_path: Path) -> None:
    write(tmp_path, "test", {"NCT00000001": "0", "NCT00000002": "1"})
    data = labelled(trialbench.read(trialbench.Options(path=tmp_path)), "trialbench-approval")
    with pytest.raises(InputError, match=r"train part is missing \(2 of test rows\).*stratified"):
        make_split(data, SplitOptions(name="official"), 1)


@pytest.mark.parametrize("name", ["test_x.csv", "test_y.csv"])
def test_a_file_stands_for_its_part(tmp_path: Path, name: str) -> None:
    write(tmp_path, "train", {"NCT00000001": "0"})
    write(tmp_path, "test", {"NCT00000002": "1"})
    rows = trialbench.read(trialbench.Options(path=tmp_path / name))
    assert rows.frame.index.tolist() == ["NCT00000002"]


def test_a_folder_or_a_part_that_is_not_whole_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no part of TrialBench; expected train_x\.csv"):
        trialbench.read(trialbench.Options(path=tmp_path))
    write(tmp_path, "test", {"NCT00000001": "0"})
    (tmp_path / "test_y.csv").unlink()
    with pytest.raises(InputError, match=r"has no file test_y\.csv; expected both files"):
        trialbench.read(trialbench.Options(path=tmp_path))


def test_a_target_of_another_task_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "test", {"NCT00000001": "12.5"}, name="outcomes")
    with pytest.raises(InputError, match="target outcomes; expected outcome or failure_reason"):
        trialbench.read(trialbench.Options(path=tmp_path))
    write(tmp_path, "test", {"NCT00000001": "0"})
    write(tmp_path, "train", {"NCT00000002": "safety"}, name="failure_reason")
    with pytest.raises(InputError, match="targets of two tasks"):
        trialbench.read(trialbench.Options(path=tmp_path))


def test_targets_without_ids_are_refused_and_not_paired_by_their_place(tmp_path: Path) -> None:
    write(tmp_path, "test", {"NCT00000001": "0"})
    (tmp_path / "test_y.csv").write_text("failure_reason\nsafety\n")
    with pytest.raises(InputError, match=r"test_y\.csv: the first column holds 'safety'"):
        trialbench.read(trialbench.Options(path=tmp_path))


@pytest.mark.parametrize(
    ("folder", "task", "counts"),
    [
        (
            "trial-approval-prediction/Phase4",
            "trialbench-approval",
            {"not approved": 535, "approved": 357},
        ),
        (
            "trial-failure-reason-prediction/Phase3",
            "trialbench-failure-reason",
            {"poor enrollment": 271, "safety": 51, "efficacy": 125, "others": 368},
        ),
    ],
)
def test_the_real_test_parts_are_read_whole(
    shared: Path, folder: str, task: str, counts: dict[str, int]
) -> None:
    rows = trialbench.read(trialbench.Options(path=shared / "trialbench" / folder))
    assert rows.rejected.empty
    data = labelled(rows, task)
    assert class_counts(data.target, data.y) == counts


cells = st.sampled_from(
    ["", "NCT00000002", "['a'", "['a']", "5.0", "-1", "\x00", '"', "x"]
) | st.text(st.characters(codec="utf-8"), max_size=8)
trials = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys(X, cells)).map(lambda change: X | change),
    min_size=1,
    max_size=4,
)
lines = st.lists(
    st.tuples(st.sampled_from(["NCT00000001", "NCT00000002", "nct00000001 ", "?"]), cells),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(trials, lines)
def test_every_trial_is_in_the_frame_or_in_the_list(
    tmp_path_factory: pytest.TempPathFactory,
    x: list[dict[str, str]],
    y: list[tuple[str, str]],
) -> None:
    folder = tmp_path_factory.mktemp("trialbench")
    table(folder / "test_x.csv", x)
    table(folder / "test_y.csv", [{"": id_, "outcome": value} for id_, value in y])
    try:
        rows = trialbench.read(trialbench.Options(path=folder))
    except InputError:
        return
    left_out = rows.rejected["reason"].str.startswith(f"{LEFT_OUT}test_x.csv")
    assert len(rows.frame) + left_out.sum() == len(x)
