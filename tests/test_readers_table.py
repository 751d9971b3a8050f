"""The reader of declared tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from benchmark.readers import table
from benchmark.readers.files import EMPTIED, LEFT_OUT
from benchmark.tasks import labelled
from features.columns import Column
from features.errors import InputError

TEXT = """\
key,weight,colour,seen,note,site,label,unused
a,1.5,red,2013-01-05,first note,N,yes,x
b,,blue,,,S,no,x
c,"1,200",red,January 2014,third note,N,no,x
"""
ALL = {
    "id": "key",
    "numeric": ["weight"],
    "categorical": ["colour"],
    "date": ["seen"],
    "text": ["note"],
    "group": "site",
    "target": "label",
    "positive": "yes",
    "known_at": {"weight": "during"},
}


def options(folder: Path, content: str = TEXT, **changed) -> table.Options:
    path = folder / "table.csv"
    path.write_text(content, encoding="utf-8")
    return table.Options(path=path, **(ALL | changed))


def simple(folder: Path, text: str, **declared) -> table.Options:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return table.Options(path=path, **({"numeric": ["x"], "target": "y"} | declared))


def test_declared_columns_are_typed_and_others_are_no_inputs(tmp_path):
    rows = table.read(options(tmp_path))
    assert rows.columns == (
        Column("weight", "numeric", "during"),
        Column("colour", "categorical"),
        Column("seen", "date"),
        Column("note", "text"),
    )
    expected = pd.DataFrame(
        {
            "label": pd.Series(["yes", "no", "no"], dtype="str"),
            "site": pd.Series(["N", "S", "N"], dtype="str"),
            "weight": [1.5, None, 1200.0],
            "colour": pd.Series(["red", "blue", "red"], dtype="str"),
            "seen": pd.Series(["2013-01-05", None, "2014-01-01"], dtype="datetime64[s]"),
            "note": pd.Series(["first note", "", "third note"], dtype="str"),
        }
    ).set_axis(pd.Index(["a", "b", "c"], name="id"))
    pd.testing.assert_frame_equal(rows.frame, expected)
    assert (rows.group, rows.date, rows.target, rows.positive) == ("site", "seen", "label", "yes")
    assert rows.rejected.empty


def test_without_an_id_column_rows_are_called_by_their_place(tmp_path):
    rows = table.read(simple(tmp_path, "x,y\n5,0\n6,\n7,1\n"))
    assert rows.frame["x"].to_dict() == {"row-000001": 5.0, "row-000003": 7.0}
    assert rows.rejected.values.tolist() == [[2, "row-000002", f"{LEFT_OUT}y: no target"]]


def test_a_group_and_a_time_need_not_be_inputs(tmp_path):
    rows = table.read(simple(tmp_path, "x,y,t,g\n5,0,2013,A\n6,1,2014-05,\n", time="t", group="g"))
    assert [column.name for column in rows.columns] == ["x"]
    assert (rows.date, rows.group) == ("t", "g")
    assert rows.frame["t"].tolist() == [pd.Timestamp(2013, 1, 1), pd.Timestamp(2014, 5, 1)]
    assert rows.frame["g"].isna().tolist() == [False, True]


def test_two_dates_need_a_time_to_order_rows(tmp_path):
    text = "d,e,y\n2013,2014,0\n2015,2016,1\n"
    both = {"numeric": [], "date": ["d", "e"]}
    assert table.read(simple(tmp_path, text, **both)).date is None
    assert table.read(simple(tmp_path, text, **both, time="e")).date == "e"


def test_a_bad_cell_is_left_empty_and_listed(tmp_path):
    rows = table.read(simple(tmp_path, "x,d,y\n5,2013,0\nfive,2014,1\n7,then,1\n", date=["d"]))
    assert rows.frame["x"].isna().tolist() == [False, True, False]
    assert rows.frame["d"].isna().tolist() == [False, False, True]
    assert rows.rejected["reason"].tolist() == [
        f"{EMPTIED}x: 'five' is not a number",
        f"{EMPTIED}d: 'then' is not a date such as 2013-01-05, 2013-01 or January 5, 2013",
    ]


def test_a_column_that_mostly_is_not_its_kind_is_an_error(tmp_path):
    text = "x,y\nred,0\nblue,1\n3,1\n"
    with pytest.raises(InputError, match=r"2 of 3 cells of the numeric column 'x'.*'red' is not"):
        table.read(simple(tmp_path, text))
    assert len(table.read(simple(tmp_path, text, numeric=[], categorical=["x"])).frame) == 3


def test_ids_that_repeat_or_are_missing_cost_the_row(tmp_path):
    rows = table.read(simple(tmp_path, "k,x,y\na,1,0\na,2,0\n,3,1\nb,4,1\nA,5,1\n", id="k"))
    assert rows.frame["x"].to_dict() == {"a": 1.0, "b": 4.0, "A": 5.0}
    assert rows.rejected["row"].tolist() == [2, 3]
    first, second = rows.rejected["reason"]
    assert (
        first
        == f"{LEFT_OUT}a stands in row 1 too, which is kept; it differs in x ('2' here, '1' there)"
    )
    assert second == f"{LEFT_OUT}k: nothing is no id"


def test_mostly_unlabelled_tables_are_read_and_wholly_unlabelled_ones_not(tmp_path):
    assert len(table.read(simple(tmp_path, "x,y\n1,\n2,\n3,\n4,1\n5,0\n")).frame) == 2
    with pytest.raises(InputError, match="no row has a value in the target column 'y'"):
        table.read(simple(tmp_path, "x,y\n1,\n2,nan\n"))


@pytest.mark.parametrize(
    ("values", "positive", "expected"),
    [
        (["0", "1"], None, "1"),
        (["1", "0"], None, "1"),
        (["1.0", "0.0"], None, "1.0"),
        (["True", "False"], None, "True"),
        (["0", "1"], 0, "0"),
        (["True", "False"], False, "False"),
        (["1.0", "2.0"], 2, "2.0"),
        (["good", "bad"], "bad", "bad"),
        (["A", "a"], "a", "a"),
        (["x", "y", "z"], None, None),
        (["only"], None, None),
        (["only"], "other", "other"),
    ],
)
def test_the_positive_class_is_spelled_as_in_the_file(values, positive, expected):
    assert table.positive_class("y", values, positive) == expected


@pytest.mark.parametrize(
    ("values", "positive", "message"),
    [
        (["good", "bad"], None, "has the values 'bad', 'good'.*set `positive: \"bad\"`"),
        (["0", "true"], None, "has the values '0', 'true'"),
        (["good", "bad"], "evil", "positive 'evil'.*it has 2: 'bad', 'good'"),
        (["x", "y", "z"], "x", "it has 3: 'x', 'y', 'z'"),
    ],
)
def test_an_unclear_positive_class_lists_the_values(values, positive, message):
    with pytest.raises(InputError, match=message):
        table.positive_class("y", values, positive)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": "weight"}, "target 'weight' is declared as input too"),
        ({"id": "label"}, "target 'label' is declared as id too"),
        ({"group": "label"}, "target 'label' is declared as group too"),
        ({"text": ["colour"]}, "'colour' is declared twice"),
        ({"time": "colour"}, "time 'colour' is declared as something other than a date"),
        ({"known_at": {"wieght": "after"}}, "column in known_at.*did you mean 'weight'"),
        ({"numeric": [], "categorical": [], "date": [], "text": []}, "no input column"),
    ],
)
def test_declarations_that_contradict_each_other_are_errors(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        options(tmp_path, **({"known_at": {}} | changed))


def test_unknown_options_and_levels_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="labels"):
        options(tmp_path, labels=["x"])
    with pytest.raises(ValidationError, match="known_at"):
        options(tmp_path, known_at={"weight": "before"})


@pytest.mark.parametrize("role", ["id", "group", "time", "target"])
def test_a_declared_column_that_the_file_lacks_is_an_error(tmp_path, role):
    with pytest.raises(InputError, match=r"has no column 'colours'.*did you mean 'colour'"):
        table.read(options(tmp_path, **{role: "colours"}))


def test_a_declared_input_that_the_file_lacks_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"has no column 'wait'.*key, weight, colour"):
        table.read(options(tmp_path, numeric=["wait"], known_at={}))


def test_names_are_matched_exactly_but_for_blanks_around_them(tmp_path):
    assert table.read(simple(tmp_path, " x , y\n1,0\n2,1\n")).frame["x"].tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match=r"has no column 'x'.*did you mean 'X'"):
        table.read(simple(tmp_path, "X,y\n1,0\n2,1\n"))


def test_a_delimiter_and_an_encoding_can_be_set(tmp_path):
    (tmp_path / "t.csv").write_bytes("x;y;w\n1;ja;é\n2;nein;ü\n".encode("latin-1"))
    declared = {"numeric": ["x"], "text": ["w"], "target": "y", "positive": "ja"}
    kwargs = {"path": tmp_path / "t.csv", "encoding": "latin-1", **declared}
    assert table.read(table.Options(delimiter=";", **kwargs)).frame["w"].tolist() == ["é", "ü"]
    with pytest.raises(InputError, match='set `delimiter: ";"`'):
        table.read(table.Options(**kwargs))


def test_a_parquet_table_with_typed_cells_is_read(tmp_path):
    frame = pd.DataFrame({"x": [1.0, 2.5], "f": [True, False], "y": [True, False]})
    frame.to_parquet(tmp_path / "t.parquet")
    rows = table.read(table.Options(path=tmp_path / "t.parquet", numeric=["x", "f"], target="y"))
    assert rows.frame["x"].tolist() == [1.0, 2.5]
    assert rows.frame["f"].tolist() == [1.0, 0.0]
    assert (rows.frame["y"].tolist(), rows.positive) == (["true", "false"], "true")


CELL = st.text(alphabet='ab1,";\n\r\t\0é', max_size=4)


@settings(max_examples=100, deadline=None)
@given(lines=st.lists(st.lists(CELL, min_size=1, max_size=4).map(",".join), max_size=8))
def test_any_body_is_read_or_refused_in_one_line(tmp_path_factory, lines):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes("\n".join(["x,w,y", "1,a,0", "2,b,1", *lines]).encode())
    declared = table.Options(path=path, categorical=["x"], text=["w"], target="y", positive="1")
    try:
        rows = table.read(declared)
    except InputError as error:
        refusal = str(error)
    else:
        refusal = ""
        left_out = rows.rejected["reason"].str.startswith(LEFT_OUT).sum()
        places = [int(name[4:]) for name in rows.frame.index]
        assert sorted([*places, *rows.rejected["row"]]) == list(
            range(1, len(places) + left_out + 1)
        )
    assert "\n" not in refusal


LABELLED = "x,a,b,c\n1,0,1,true\n2,1,1.0,FALSE\n3,1,,true\n4,0,maybe,false\n5,0,0,0\n"


def test_several_target_columns_are_labels_of_0_and_1(tmp_path):
    rows = table.read(simple(tmp_path, LABELLED, target=["a", "c"]))
    assert (rows.target, rows.positive) == (("a", "c"), None)
    assert [column.name for column in rows.columns] == ["x"]
    assert rows.frame[["a", "c"]].to_numpy().tolist() == [[0, 1], [1, 0], [1, 1], [0, 0], [0, 0]]
    data = labelled(rows, "table-target")
    assert (data.target.kind, data.target.classes) == ("multilabel", ("a", "c"))
    assert data.y.tolist() == [[0, 1], [1, 0], [1, 1], [0, 0], [0, 0]]
    assert data.y.dtype == np.int64


def test_a_row_without_a_sound_value_in_each_label_is_left_out_and_listed(tmp_path):
    rows = table.read(simple(tmp_path, LABELLED, target=["c", "b"]))
    assert rows.frame["x"].tolist() == [1, 2, 5]
    assert rows.rejected[["row", "reason"]].to_numpy().tolist() == [
        [3, f"{LEFT_OUT}b: no target"],
        [4, f"{LEFT_OUT}b: 'maybe' is not 0 or 1"],
    ]
    assert labelled(rows, "table-target").y.tolist() == [[1, 1], [0, 1], [0, 0]]


def test_a_label_is_neither_two_nor_a_name(tmp_path):
    rows = table.read(simple(tmp_path, "x,a,b\n1,0,1\n2,1,2\n3,1,0\n", target=["a", "b"]))
    assert rows.rejected["reason"].tolist() == [f"{LEFT_OUT}b: '2' is not 0 or 1"]
    text = "x,a,b\n1,0,red\n2,1,blue\n3,1,0\n"
    with pytest.raises(
        InputError, match=r"2 of 3 cells of the label column.*b: 'red' is not 0 or 1"
    ):
        table.read(simple(tmp_path, text, target=["a", "b"]))


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"target": ["a"]}, "a list of two or more different ones; write `target: name`"),
        ({"target": ["a", "a"]}, "two or more different ones"),
        ({"target": []}, "two or more different ones"),
        ({"target": ["a", "x"]}, "target 'x' is declared as input too"),
        ({"target": ["a", "b"], "group": "b"}, "target 'b' is declared as group too"),
        ({"target": ["a", "b"], "time": "b"}, "time 'b' is declared as something other"),
        ({"target": ["a", "b"], "positive": 1}, "positive '1' with several target columns"),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path, declared, said):
    with pytest.raises(InputError, match=said):
        simple(tmp_path, LABELLED, **declared)


def test_a_label_column_that_the_file_lacks_is_named(tmp_path):
    with pytest.raises(InputError, match="has no column 'd'"):
        table.read(simple(tmp_path, LABELLED, target=["a", "d"]))


@pytest.mark.parametrize(("positive", "name"), [(True, "yes"), (False, "no")])
def test_yaml_booleans_mean_yes_and_no(positive: bool, name: str) -> None:
    assert table.positive_class("outcome", ["no", "yes"], positive) == name
