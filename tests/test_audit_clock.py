"""Checks of the field clock: A01 to A04."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audited import audited, findings, reason, registry, rows_of, table_rows

from benchmark.readers import table
from benchmark.tasks import labelled
from features.columns import Column
from features.errors import InputError


def test_late_column_that_every_run_sees_is_serious() -> None:
    rows = rows_of(registry(enrollment=np.arange(400.0)))
    (found,) = findings(audited(rows, as_of=["after"]), "A01")
    assert (found.severity, found.where) == ("serious", "enrollment")
    assert found.numbers == {"known_at": "after", "as_of": ["after"]}


def test_late_column_beside_a_run_at_registration_is_a_warning() -> None:
    rows = rows_of(registry(enrollment=np.arange(400.0)))
    (found,) = findings(audited(rows, as_of=["registration", "after"]), "A01")
    assert found.severity == "warning"


def test_late_columns_that_are_withheld_are_one_note() -> None:
    rows = rows_of(registry(enrollment=np.arange(400.0), n_locations=np.ones(400)))
    (found,) = findings(audited(rows), "A01")
    assert found.severity == "note"
    assert found.numbers["known_at"] == {"n_locations": "during", "enrollment": "after"}


def test_late_column_is_not_in_use_where_models_see_text_alone() -> None:
    rows = rows_of(registry(enrollment=np.arange(400.0)))
    (found,) = findings(audited(rows, as_of=["after"], inputs="text"), "A01")
    assert found.severity == "note"


def plain_table(**extra: object) -> pd.DataFrame:
    frame = pd.DataFrame({"y": ["yes", "no"] * 100, "size": np.arange(200.0), **extra})
    return frame.set_index(pd.Index([f"r{row}" for row in range(200)], dtype="str"))


@pytest.mark.parametrize(
    ("name", "undeclared", "severity"),
    [
        ("enrollment", ("enrollment",), "serious"),  # a registry's name, and nobody said when
        ("enrollment", (), "warning"),  # somebody says that it is the plan
        ("Completion_Status", ("Completion_Status",), "warning"),  # a name like a late field's
    ],
)
def test_column_named_like_a_late_field_is_found_at_registration(
    name: str, undeclared: tuple[str, ...], severity: str
) -> None:
    frame = plain_table(**{name: np.arange(200.0)})
    rows = table_rows(frame, [Column(name, "numeric")], undeclared=undeclared)
    (found,) = findings(audited(rows, task="table-target"), "A01")
    assert (found.severity, found.where) == (severity, name)


def test_plain_names_are_no_late_fields() -> None:
    rows = table_rows(plain_table(), [Column("size", "numeric")], undeclared=())
    report = audited(rows, task="table-target")
    assert findings(report, "A01") == []
    assert ("A01", "table-target") in report.passed


def test_undeclared_clock_of_a_table_is_a_warning_that_names_the_columns() -> None:
    columns = [Column("size", "numeric"), Column("age", "numeric")]
    rows = table_rows(plain_table(age=np.ones(200)), columns, undeclared=("age",))
    (found,) = findings(audited(rows, task="table-target"), "A02")
    assert found.severity == "warning"
    assert found.numbers == {"columns": ["age"]}
    assert found.found.startswith("1 of 2 columns")


def test_clock_of_a_registry_is_known_to_its_reader() -> None:
    assert "reader knows" in reason(audited(rows_of(registry())), "A02")


def read_table(folder: Path, **declared: object) -> object:
    path = folder / "t.csv"
    path.write_text("a,b,y\n1,2,yes\n3,4,no\n", encoding="utf-8")
    options = {"path": path, "numeric": ["a", "b"], "target": "y", "positive": "yes"}
    return table.read(table.Options.model_validate(options | declared))


def test_table_tells_which_columns_have_no_declared_clock(tmp_path: Path) -> None:
    assert read_table(tmp_path).undeclared == ("a", "b")
    assert read_table(tmp_path, known_at={"b": "after"}).undeclared == ("a",)


def test_table_may_declare_one_clock_for_all_columns(tmp_path: Path) -> None:
    rows = read_table(tmp_path, known_at="during")
    assert rows.undeclared == ()
    assert [column.known_at for column in rows.columns] == ["during", "during"]
    with pytest.raises(InputError, match="known_at"):
        read_table(tmp_path, known_at={"c": "after"})


def test_zero_enrollment_of_withdrawn_trials_is_counted() -> None:
    status = ["COMPLETED"] * 300 + ["WITHDRAWN"] * 100
    enrolled = np.r_[[0.0] * 3, np.arange(1, 298), [0.0] * 90, [7.0] * 10]
    rows = rows_of(registry(overall_status=status, enrollment=enrolled))
    (found,) = findings(audited(rows), "A03")
    assert found.severity == "note"
    assert "0 in 90 of 100 withdrawn studies (90 %) and in 3 of all 300 others" in found.found
    assert found.numbers["zero_by_status"]["WITHDRAWN"] == {"zero": 90, "rows": 100}
    (seen,) = findings(audited(rows, as_of=["after"]), "A03")
    assert seen.severity == "serious"


def test_types_say_how_many_dates_are_actual() -> None:
    types = ["ACTUAL"] * 100 + ["ESTIMATED"] * 300
    rows = rows_of(registry(start_date_type=types))
    (found,) = findings(audited(rows), "A03", "start_date")
    assert found.numbers["types"] == {"ESTIMATED": 300, "ACTUAL": 100}
    assert "25 % are ACTUAL" in found.found


def test_overwritten_fields_do_not_apply_to_a_table_without_them() -> None:
    rows = table_rows(plain_table(), [Column("size", "numeric")])
    report = audited(rows, task="table-target")
    assert reason(report, "A03").startswith("no column whose plan")
    assert "no registry records" in reason(report, "A04")


def test_texts_of_finished_trials_are_noted_as_their_last_version() -> None:
    (found,) = findings(audited(rows_of(registry())), "A04")
    assert (found.severity, found.where, found.numbers) == ("note", "brief_summary", {"rows": 400})
    assert labelled(rows_of(registry()), "trial-outcome").X.shape[0] == 400
    assert "no model" in reason(audited(rows_of(registry()), inputs="tabular"), "A04")
