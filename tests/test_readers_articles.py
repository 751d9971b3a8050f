"""Tables of articles in canonical columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.dataset import Rows
from benchmark.readers import articles
from benchmark.readers.files import LEFT_OUT
from features.errors import InputError

HEADER = "pmid,title,abstract,year,publication_types,mesh"


def read(folder: Path, *lines: str, header: str = HEADER) -> Rows:
    path = folder / "a.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return articles.read(articles.Options(path=path))


def test_a_csv_row_is_typed_and_labelled(tmp_path: Path) -> None:
    rows = read(tmp_path, "11,T,A,1999,Case Reports|Letter,Humans|Gait/physiology")
    row = rows.frame.loc["11"]
    assert row["pub_date"] == pd.Timestamp(1999, 1, 1)
    assert row["mesh_headings"] == "Humans|Gait/physiology"
    assert row["labels"] == "Human|CaseReport"
    assert (row["has_abstract"], row["has_mesh"]) == (True, True)
    assert [column.name for column in rows.columns] == ["title", "abstract", "pub_date"]


def test_labelled_none_is_not_unlabelled(tmp_path: Path) -> None:
    rows = read(tmp_path, "11,T,A,1999,Letter,Gait", "12,T,,1999,Case Reports,")
    assert rows.frame.loc["11", "labels"] == ""
    assert pd.isna(rows.frame.loc["12", "labels"])
    assert rows.frame["has_abstract"].tolist() == [True, False]


def test_parquet_lists_are_read_as_lists(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "pmid": [11, 12],
            "title": ["T", "U"],
            "pub_date": pd.to_datetime(["2001-02-03", None]),
            "publication_types": [["Randomized Controlled Trial"], []],
            "mesh_headings": [["Humans", "Animals"], []],
            "source": ["a", "b"],
            "n_authors": pd.array([3, None], dtype="Int64"),
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    rows = articles.read(articles.Options(path=tmp_path / "a.parquet"))
    assert rows.frame.loc["11", "labels"] == "RCT|Human|Animal"
    assert rows.frame.loc["11", "pub_date"] == pd.Timestamp(2001, 2, 3)
    assert rows.frame.loc["12", ["labels", "pub_date", "n_authors"]].isna().all()
    assert rows.group == "source"


def test_a_frame_that_was_read_is_read_back_the_same(tmp_path: Path) -> None:
    first = read(tmp_path, "11,T,A,1999,Case Reports,Humans", "12,U,B,2000,Letter,", "13,V,,,,Mice")
    first.frame.reset_index().to_parquet(tmp_path / "b.parquet")
    second = articles.read(articles.Options(path=tmp_path / "b.parquet"))
    pd.testing.assert_frame_equal(second.frame, first.frame)


def test_a_table_without_headings_may_state_labels(tmp_path: Path) -> None:
    lines = ["11,T,Human|RCT", "12,T,", "13,T,Humanoid", "14,T,Cohort"]
    rows = read(tmp_path, *lines, header="pmid,title,labels")
    assert rows.frame.loc["11", "labels"] == "RCT|Human"
    assert rows.frame["labels"].isna().tolist() == [False, True, True, False]
    assert rows.rejected["id"].tolist() == ["13"]
    assert "labels: 'Humanoid' is not labels of study designs" in rows.rejected["reason"].iloc[0]


def test_bad_rows_are_listed_and_the_last_of_equals_is_kept(tmp_path: Path) -> None:
    rows = read(
        tmp_path,
        "11,first,A,1999,,Humans",
        "PMC12,T,A,1999,,Humans",
        "11,second,A,1999,,Humans",
        "13,T,A,someday,,Humans",
        "14,ragged",
    )
    assert rows.frame["title"].tolist() == ["second", "T"]
    assert rows.rejected[["row", "id"]].values.tolist() == [
        [1, "11"], [2, "PMC12"], [4, "13"], [5, ""],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,title", "no column 'pmid'"),
        ("pmid,titel", "no column 'title'.*did you mean 'titel'"),
        ("pmid,title,year,pub_date", "hold the same thing"),
    ],
)
def test_a_table_of_something_else_is_one_line(tmp_path: Path, header: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, ",".join("1" for _ in header.split(",")), header=header)


@settings(max_examples=30, deadline=None)
@given(
    table=st.lists(
        st.tuples(
            st.sampled_from(["1", "22", "333", "x", "-4", "1e3", ""]),
            st.text(max_size=5),
            st.sampled_from(["1999", "2001 Jan-Feb", "2013-02-30", "x", ""]),
            st.lists(st.sampled_from(["Humans", "Animals", "Mice|Rats", ""]), max_size=3),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_every_row_is_in_the_frame_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[Any, ...]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    frame = pd.DataFrame(table, columns=["pmid", "title", "year", "mesh"])
    frame.assign(publication_types="Letter").to_parquet(path)
    try:
        rows = articles.read(articles.Options(path=path))
    except InputError:
        assert 2 * sum(not row[0].isdigit() for row in table) > len(table) or any(
            "\0" in row[1] for row in table
        )
        return
    left_out = rows.rejected["reason"].str.startswith(LEFT_OUT)
    assert len(rows.frame) + left_out.sum() == len(table)
    assert set(rows.frame.index) <= {row[0] for row in table if row[0].isdigit()}


def test_the_shared_studies_are_read_whole(shared: Path) -> None:
    rows = articles.read(articles.Options(path=shared / "pubmed" / "studies.parquet"))
    assert (len(rows.frame), len(rows.rejected)) == (12_424, 0)
    assert (rows.frame["has_abstract"] & rows.frame["has_mesh"]).sum() == 7967
    assert (rows.group, rows.date) == ("source", "pub_date")
