from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from benchmark.dataset import Dataset, Rows
from benchmark.tasks import class_counts, labelled, narrowed
from features.columns import Column
from features.errors import InputError
from models.base import Target

STATUSES = ["COMPLETED", "TERMINATED", "RECRUITING", "WITHDRAWN", "SUSPENDED", None]


def rows(statuses: list[str | None] = STATUSES) -> Rows:
    frame = pd.DataFrame(
        {
            "overall_status": pd.array(statuses, dtype="str"),
            "size": np.arange(len(statuses), dtype=float),
            "title": [f"title {i}" for i in range(len(statuses))],
            "phase": pd.array(["P1", None] * 3, dtype="str")[: len(statuses)],
            "start": pd.to_datetime(["2001-01-01"] * len(statuses)),
        },
        index=pd.Index([f"n{i}" for i in range(len(statuses))], name="nct_id"),
    )
    columns = (Column("size", "numeric", "after"), Column("title", "text"))
    columns += (Column("phase", "categorical"), Column("start", "date"))
    oracle = {("registration", "trial-outcome"): np.eye(len(statuses))[:, :2]}
    return Rows(frame, columns, date="start", group="phase", oracle=oracle)


def test_trial_outcome_keeps_final_statuses_and_completed_is_positive() -> None:
    data = labelled(rows(), "trial-outcome")
    assert data.X.index.tolist() == ["n0", "n1", "n3", "n4"]
    assert data.y.tolist() == [1, 0, 0, 0]
    assert data.target == Target("binary", ("stopped", "completed"))
    assert class_counts(data.target, data.y) == {"stopped": 3, "completed": 1}
    assert data.oracle["registration"].shape == (4, 2)
    assert data.oracle["registration"][2].tolist() == [0, 0]  # the row of n3


def test_trial_status_has_three_classes_and_leaves_out_suspended() -> None:
    data = labelled(rows(), "trial-status")
    assert data.y.tolist() == [0, 1, 2]
    assert data.target.classes == ("completed", "terminated", "withdrawn")


def test_one_class_only_is_said_with_numbers() -> None:
    with pytest.raises(InputError, match="of 3 rows 2 are labelled, only 'stopped'"):
        labelled(rows(["TERMINATED", "TERMINATED", "RECRUITING"]), "trial-outcome")
    with pytest.raises(InputError, match="of 1 rows 0 are labelled, none of the classes"):
        labelled(rows(["RECRUITING"]), "trial-outcome")


def test_a_table_target_is_binary_with_the_declared_positive_last() -> None:
    table = dataclasses.replace(rows(), target="phase", positive="P1")
    table.frame["phase"] = ["P1", "P2"] * 3
    data = labelled(table, "table-target")
    assert data.target == Target("binary", ("P2", "P1"))
    assert data.y.tolist() == [1, 0] * 3


def test_a_table_target_with_three_values_is_multiclass_in_sorted_order() -> None:
    table = dataclasses.replace(rows(), target="phase")
    table.frame["phase"] = ["c", "a", "b"] * 2
    data = labelled(table, "table-target")
    assert data.target == Target("multiclass", ("a", "b", "c"))
    assert data.y.tolist() == [2, 0, 1] * 2


def test_a_task_says_what_rows_it_needs() -> None:
    with pytest.raises(InputError, match="declare no target column"):
        labelled(rows(), "table-target")
    table = rows()
    without = dataclasses.replace(table, frame=table.frame.drop(columns="overall_status"))
    with pytest.raises(InputError, match="have no column overall_status"):
        labelled(without, "trial-outcome")
    with pytest.raises(InputError, match="did you mean 'trial-status'"):
        labelled(table, "trial-statu")


def test_models_see_only_columns_known_in_time_and_of_their_inputs() -> None:
    data = labelled(rows(), "trial-outcome")
    assert data.inputs("tabular", "registration").names == ("phase", "start")
    assert data.inputs("tabular", "after").names == ("size", "phase", "start")
    assert data.inputs("text", "registration").names == ("title",)
    assert data.inputs("both", "registration").names == ("phase", "start", "title")
    assert data.inputs("none", "after").names == ()


def changed(data: Dataset, column: str, value: object) -> Dataset:
    X = data.X.copy()
    X.loc["n1", column] = value
    return dataclasses.replace(data, X=X)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("size", 99.0),
        ("size", np.nan),
        ("title", "title 1 "),
        ("phase", "P9"),
        ("start", pd.Timestamp("2001-01-02")),
    ],
)
def test_the_fingerprint_changes_with_any_cell(column: str, value: object) -> None:
    data = labelled(rows(), "trial-outcome")
    assert changed(data, column, value).fingerprint != data.fingerprint


def test_the_fingerprint_tells_missing_from_empty_and_zero() -> None:
    data = labelled(rows(), "trial-outcome")
    assert changed(data, "phase", "").fingerprint != changed(data, "phase", None).fingerprint
    assert changed(data, "size", 0.0).fingerprint != changed(data, "size", np.nan).fingerprint


def test_the_fingerprint_changes_with_targets_ids_and_clocks_and_else_stays() -> None:
    data = labelled(rows(), "trial-outcome")
    assert labelled(rows(), "trial-outcome").fingerprint == data.fingerprint
    flipped = dataclasses.replace(data, y=1 - data.y)
    renamed = dataclasses.replace(data, X=data.X.rename(index={"n1": "n9"}))
    late = dataclasses.replace(data, columns=(Column("size", "numeric"), *data.columns[1:]))
    assert len({d.fingerprint for d in (data, flipped, renamed, late)}) == 4


def test_the_fingerprint_does_not_depend_on_how_pandas_stores_strings() -> None:
    data = labelled(rows(), "trial-outcome")
    as_objects = dataclasses.replace(data, X=data.X.astype({"title": object, "phase": object}))
    assert as_objects.fingerprint == data.fingerprint


def test_narrowed_rows_keep_the_oracle_in_step() -> None:
    table = rows()
    kept = narrowed(table, table.frame["size"] >= 4)
    assert kept.frame.index.tolist() == ["n4", "n5"]
    assert kept.oracle["registration", "trial-outcome"].shape == (2, 2)


def test_a_dataset_refuses_twice_the_same_id() -> None:
    data = labelled(rows(), "trial-outcome")
    with pytest.raises(ValueError, match="ids are not unique"):
        dataclasses.replace(data, X=data.X.rename(index={"n1": "n0"}))


def published(**columns: list[str | None]) -> Rows:
    """Rows with the labels of published benchmarks."""
    frame = pd.DataFrame(
        {name: pd.array(cells, dtype="str") for name, cells in columns.items()},
        index=pd.Index(["n0", "n1", "n2", "n3"], name="nct_id"),
    )
    return Rows(frame, (), official="part" if "part" in columns else None)


@pytest.mark.parametrize("phase", [1, 2, 3])
def test_a_top_phase_is_success_against_failure(phase: int) -> None:
    name = f"top-phase-{phase}"
    data = labelled(published(**{name: ["success", "failure", None, "success"]}), name)
    assert data.target == Target("binary", ("failure", "success"))
    assert data.X.index.tolist() == ["n0", "n1", "n3"]
    assert data.y.tolist() == [1, 0, 1]


def test_published_parts_follow_the_labelled_rows() -> None:
    cells = {"top-phase-1": ["success", None, "failure", "success"]}
    rows = published(**cells, part=["train", "train", None, "test"])
    data = labelled(rows, "top-phase-1")
    assert data.official is not None
    assert data.official.fillna("none").to_dict() == {"n0": "train", "n2": "none", "n3": "test"}
    assert narrowed(rows, rows.frame["part"] == "test").official == "part"


def test_trialbench_tasks_have_their_classes_in_order() -> None:
    rows = published(
        **{
            "trialbench-approval": ["approved", "not approved", None, "approved"],
            "trialbench-failure-reason": ["others", "efficacy", "safety", "poor enrollment"],
        }
    )
    assert labelled(rows, "trialbench-approval").y.tolist() == [1, 0, 1]
    reasons = labelled(rows, "trialbench-failure-reason")
    assert reasons.target.classes == ("poor enrollment", "safety", "efficacy", "others")
    assert reasons.y.tolist() == [3, 2, 1, 0]


def test_rows_without_published_labels_are_refused_with_the_reader_that_has_them() -> None:
    with pytest.raises(InputError, match=r"no labels of top-phase-2; .*`reader: top` with .*II`"):
        labelled(rows(), "top-phase-2")
    with pytest.raises(InputError, match=r"no labels of trialbench-approval; .*reader: trialbench"):
        labelled(rows(), "trialbench-approval")
