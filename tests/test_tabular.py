"""Encoders of tables: what they learn from train, and only from train."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from features.columns import Columns
from features.tabular import Native, OneHot, is_skewed, signed_log

NAN = float("nan")


def frame(**columns: list[object]) -> pd.DataFrame:
    made = pd.DataFrame(columns)
    for name in made:
        if name in ("phase", "sponsor", "title"):
            made[name] = made[name].astype("str")
        elif name in ("start", "posted"):
            made[name] = pd.to_datetime(made[name])
        else:
            made[name] = made[name].astype("float64")
    return made


def table(encoder: OneHot, rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(encoder.transform(rows).toarray(), columns=list(encoder.names))


def test_one_hot_puts_rare_and_unseen_levels_together() -> None:
    train = frame(phase=["A"] * 3 + ["B"] * 3 + ["C", "D"])
    encoder = OneHot.fit(train, Columns(categorical=("phase",)), rare=2)
    assert encoder.names == ("phase=A", "phase=B", "phase=(rare)")
    assert encoder.fields == ("phase",) * 3
    found = table(encoder, frame(phase=["A", "C", "never seen", "B"]))
    assert found.to_numpy().tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]]


def test_one_hot_gives_an_unseen_level_zeros_where_train_had_no_rare_one() -> None:
    encoder = OneHot.fit(frame(phase=["A", "B"] * 2), Columns(categorical=("phase",)), rare=2)
    assert table(encoder, frame(phase=["new"])).to_numpy().tolist() == [[0, 0]]


def test_one_hot_takes_missing_as_a_level() -> None:
    train = frame(phase=["A", "A", None, None])
    encoder = OneHot.fit(train, Columns(categorical=("phase",)), rare=2)
    assert encoder.names == ("phase=A", "phase=(missing)")
    assert table(encoder, frame(phase=[None, "A"])).to_numpy().tolist() == [[0, 1], [1, 0]]


def test_one_hot_takes_a_cell_of_several_values_as_one_level() -> None:
    train = frame(phase=["DRUG|OTHER", "DRUG", "DRUG|OTHER", "DRUG"])
    encoder = OneHot.fit(train, Columns(categorical=("phase",)), rare=1)
    assert encoder.names == ("phase=DRUG", "phase=DRUG|OTHER")


def test_one_hot_standardises_with_the_mean_and_spread_of_train() -> None:
    encoder = OneHot.fit(frame(age=[1, 3]), Columns(numeric=("age",)))
    # Train has mean 2 and standard deviation 1.
    assert table(encoder, frame(age=[2, 5])).to_numpy().ravel().tolist() == [0, 3]


def test_one_hot_fills_gaps_with_the_median_and_tells_where_they_were() -> None:
    encoder = OneHot.fit(frame(age=[1, 2, 3, NAN]), Columns(numeric=("age",)))
    assert encoder.names == ("age", "age=(missing)")
    found = table(encoder, frame(age=[NAN, 2, np.inf]))
    assert found["age"].tolist() == [0, 0, 0]  # the median 2 is the mean too
    assert found["age=(missing)"].tolist() == [1, 0, 0]


def test_one_hot_survives_a_column_without_any_value() -> None:
    train = frame(age=[NAN, NAN], start=[None, None], phase=[None, None])
    columns = Columns(numeric=("age",), date=("start",), categorical=("phase",))
    encoder = OneHot.fit(train, columns)
    found = encoder.transform(frame(age=[4, NAN], start=["2020-01-01", None], phase=["A", None]))
    assert np.isfinite(found.toarray()).all()


def test_one_hot_learns_nothing_when_it_transforms() -> None:
    columns = Columns(numeric=("age",), categorical=("phase",), date=("start",))
    train = frame(age=[1, 3], phase=["A", "B"], start=["2020-01-01", "2020-01-03"])
    other = frame(age=[900, NAN], phase=["Z", None], start=["2030-01-01", None])
    encoder = OneHot.fit(train, columns, rare=1)
    before = encoder.transform(train).toarray()
    encoder.transform(other)
    assert (encoder.transform(train).toarray() == before).all()
    assert "phase=Z" not in encoder.names


def test_one_hot_of_no_columns_has_no_width() -> None:
    rows = frame(age=[1, 2, 3])
    assert OneHot.fit(rows, Columns()).transform(rows).shape == (3, 0)


def test_counts_with_a_heavy_tail_are_skewed_and_ages_are_not() -> None:
    numbers = np.array(
        [[10, 18, -1, NAN], [20, 21, 0, NAN], [30, 65, 0, NAN], [9000, 40, 900, NAN]], dtype=float
    )
    assert is_skewed(numbers).tolist() == [True, False, False, False]


def test_signed_log_keeps_the_sign_and_the_other_columns() -> None:
    found = signed_log(np.array([[np.e - 1, 5.0], [1 - np.e, 7.0]]), np.array([True, False]))
    assert found == pytest.approx(np.array([[1, 5], [-1, 7]]))


def test_one_hot_takes_the_logarithm_of_a_skewed_count() -> None:
    # log1p gives 0, 0, 3 (mean 1, spread sqrt 2); the plain numbers would be far apart.
    encoder = OneHot.fit(frame(enrollment=[0, 0, np.e**3 - 1]), Columns(numeric=("enrollment",)))
    found = table(encoder, frame(enrollment=[0, np.e**3 - 1])).to_numpy().ravel()
    assert found == pytest.approx([-1 / 2**0.5, 2 / 2**0.5])


def test_native_gives_year_month_and_days_before_the_latest_train_date() -> None:
    encoder = Native.fit(frame(start=["2020-01-31", "2020-03-01"]), Columns(date=("start",)))
    found = encoder.transform(frame(start=["2020-02-01", "2021-03-01", None]))
    assert list(found) == ["start (year)", "start (month)", "start (age in days)"]
    assert found.iloc[0].tolist() == [2020, 2, 29]  # 2020 was a leap year
    assert found.iloc[1].tolist() == [2021, 3, -365]
    assert found.iloc[2].isna().all()
    assert encoder.fields == ("start",) * 3


def test_native_freezes_the_levels_of_train() -> None:
    train = frame(sponsor=["A", "A", "B", "B", "C", None])
    encoder = Native.fit(train, Columns(categorical=("sponsor",)), rare=2)
    found = encoder.transform(frame(sponsor=["B", "C", "unseen", None]))["sponsor"]
    assert list(found.cat.categories) == ["A", "B", "(rare)"]
    assert found.astype(object).where(found.notna(), None).tolist() == [
        "B",
        "(rare)",
        "(rare)",
        None,
    ]


def test_native_gives_a_level_the_same_code_whatever_rows_it_meets() -> None:
    encoder = Native.fit(frame(sponsor=["B", "A", "C"]), Columns(categorical=("sponsor",)), rare=1)
    assert encoder.transform(frame(sponsor=["C"]))["sponsor"].cat.codes.tolist() == [2]
    assert encoder.transform(frame(sponsor=["C", "A"]))["sponsor"].cat.codes.tolist() == [2, 0]


def test_native_keeps_numbers_and_gaps_as_they_are() -> None:
    encoder = Native.fit(frame(age=[1, NAN]), Columns(numeric=("age",)))
    found = encoder.transform(frame(age=[NAN, 7.5, np.inf]))["age"]
    assert found.isna().tolist() == [True, False, True]
    assert found[1] == 7.5


def test_native_puts_the_index_of_the_rows_on_the_result() -> None:
    rows = frame(age=[1, 2], phase=["A", "B"]).set_axis(["x", "y"])
    encoder = Native.fit(rows, Columns(numeric=("age",), categorical=("phase",)))
    assert encoder.transform(rows).index.tolist() == ["x", "y"]
    assert encoder.names == ("age", "phase")


def test_texts_and_lists_are_counted() -> None:
    columns = Columns(categorical=("phase",), text=("title",))
    train = frame(title=["one two\n\n  three", "", "x"], phase=["A|B|C", "A", None])
    encoder = Native.fit(train, columns, text_counts=True, rare=1)
    counts = ("title (words)", "title (characters)", "title (lines)", "phase (values)")
    assert encoder.names == (*counts, "phase")
    assert encoder.fields == ("title", "title", "title", "phase", "phase")
    found = encoder.transform(train)
    # "one two three" has 13 characters; the empty line isn't counted.
    assert found[list(counts)].to_numpy().tolist() == [[3, 13, 2, 3], [0, 0, 0, 1], [1, 1, 1, 0]]
    assert Native.fit(train, columns, rare=1).names == ("phase",)


def test_indentation_is_not_counted() -> None:
    train = frame(title=["a bc", "  a \r\n\r\n          bc"])
    found = Native.fit(train, Columns(text=("title",)), text_counts=True).transform(train)
    assert found["title (words)"].tolist() == [2, 2]
    assert found["title (characters)"].tolist() == [4, 4]
    assert found["title (lines)"].tolist() == [1, 2]


def test_a_column_without_lists_in_train_is_never_counted_as_one() -> None:
    columns = Columns(categorical=("phase",))
    encoder = Native.fit(frame(phase=["A", "B"]), columns, text_counts=True, rare=1)
    assert encoder.names == ("phase",)
    assert list(encoder.transform(frame(phase=["A|B"]))) == ["phase"]


def test_one_hot_takes_the_logarithm_of_counts() -> None:
    words = [1, 3, 15]  # log2(1 + n) is 1, 2, 4: mean 7/3, variance 14/9
    rows = frame(title=["w " * n for n in words])
    encoder = OneHot.fit(rows, Columns(text=("title",)), text_counts=True)
    assert encoder.names == ("title (words)", "title (characters)", "title (lines)")
    assert encoder.fields == ("title",) * 3
    found = table(encoder, rows)["title (words)"]
    assert found.to_numpy() == pytest.approx([(n - 7 / 3) / (14 / 9) ** 0.5 for n in (1, 2, 4)])


@pytest.mark.parametrize("kind", [OneHot, Native])
def test_a_second_date_tells_how_long_after_the_first_it_is(kind: type[OneHot | Native]) -> None:
    train = frame(start=["2020-01-01", "2020-01-01"], posted=["2020-01-31", "2019-12-31"])
    encoder = kind.fit(train, Columns(date=("start", "posted")))
    name = "posted (days after start)"
    assert encoder.fields[encoder.names.index(name)] == "posted"
    if isinstance(encoder, OneHot):
        # Two rows, so the standardised values are 1 and -1, whatever the logarithm.
        assert table(encoder, train)[name].to_numpy() == pytest.approx([1, -1])
    else:
        assert encoder.transform(train)[name].tolist() == [30, -1]
        missing = frame(start=[None], posted=["2020-01-31"])
        assert encoder.transform(missing)[name].isna().all()
