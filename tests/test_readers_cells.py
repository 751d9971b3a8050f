"""Parsing single cells."""

import contextlib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.readers import cells
from benchmark.readers.assembly import BY_KIND, BY_NAME


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        ("18 Years", 18.0),
        ("1 Year", 1.0),
        ("6 Months", 0.5),
        ("18 months", 1.5),
        ("1461 Days", 4.0),
        ("21 Days", 3 * 7 / 365.25),
        ("3 Weeks", 3 * 7 / 365.25),
        ("12.5", 12.5),
        ("65", 65.0),
        ("0 Years", 0.0),
        ("N/A", None),
        ("", None),
    ],
)
def test_an_age_is_in_years(cell, years):
    assert cells.age(cell) == (years if years is None else pytest.approx(years))


@pytest.mark.parametrize("cell", ["old", "-3", "18 Parsecs", "999 Years", "18 Years 2 Months"])
def test_what_is_no_age_is_bad(cell):
    with pytest.raises(ValueError, match="not an age"):
        cells.age(cell)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2013-01-05", date(2013, 1, 5)),
        ("2013-02", date(2013, 2, 1)),
        ("2013", date(2013, 1, 1)),
        ("January 2013", date(2013, 1, 1)),
        ("January 5, 2013", date(2013, 1, 5)),
        ("Sept. 30, 1999", date(1999, 9, 30)),
        ("dec 2001", date(2001, 12, 1)),
        ("2012-02-29", date(2012, 2, 29)),
        ("2013-01-05T23:59:00Z", date(2013, 1, 5)),
        ("2013-01-05 00:00:00", date(2013, 1, 5)),
        (" N/A ", None),
        ("", None),
    ],
)
def test_a_date_is_a_day_and_a_month_is_its_first(cell, expected):
    assert cells.day(cell) == expected


@pytest.mark.parametrize(
    "cell",
    [
        "2013-02-30",
        "2013-13",
        "2011-02-29",
        "01/05/2013",
        "Ja 2013",
        "Dec-15",
        "9999-12-31",
        "soon",
    ],
)
def test_what_is_no_date_is_bad(cell):
    with pytest.raises(ValueError, match="not a date"):
        cells.day(cell)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [("12", 12.0), ("-1.5", -1.5), ("1,200", 1200.0), ("1e3", 1000.0), (".5", 0.5), ("NaN", None)],
)
def test_a_number_may_have_thousands_parted_by_commas(cell, expected):
    assert cells.number(cell) == expected


@pytest.mark.parametrize("cell", ["1_000", "1,5", "inf", "1e999", "٣", "e5", "12 mg", "=1+1"])
def test_what_is_no_finite_number_is_bad(cell):
    with pytest.raises(ValueError, match="number"):
        cells.number(cell)


def test_enrollment_is_a_credible_count():
    assert cells.enrollment("0") == 0
    assert cells.enrollment("10000000") == 10_000_000
    for cell in ("-1", "10000001", "9999999", "2.5"):
        with pytest.raises(ValueError, match="not a"):
            cells.enrollment(cell)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Completed", "COMPLETED"),
        ("Active, not recruiting", "ACTIVE_NOT_RECRUITING"),
        ("ACTIVE_NOT_RECRUITING", "ACTIVE_NOT_RECRUITING"),
        ("Unknown status", "UNKNOWN"),
        ("Not yet recruiting", "NOT_YET_RECRUITING"),
        ("No longer available", "NO_LONGER_AVAILABLE"),
        ("", None),
    ],
)
def test_a_status_gets_its_v2_spelling(cell, expected):
    assert cells.status(cell) == expected


def test_a_status_the_registry_does_not_know_is_bad():
    with pytest.raises(ValueError, match="not a status"):
        cells.status("Finished")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Phase 1/Phase 2", "PHASE1|PHASE2"),
        ("PHASE2|PHASE1", "PHASE1|PHASE2"),
        ("Phase 2, Phase 3", "PHASE2|PHASE3"),
        ("Early Phase 1", "EARLY_PHASE1"),
        ("EARLY_PHASE1", "EARLY_PHASE1"),
        ("Phase 0", "EARLY_PHASE1"),
        ("Phase IV", "PHASE4"),
        ("N/A", "NA"),
        ("Not Applicable", "NA"),
        ("NA", "NA"),
        ("", None),
    ],
)
def test_phases_are_joined_in_their_order(cell, expected):
    assert cells.phases(cell) == expected


@pytest.mark.parametrize("cell", ["Phase 5", "II-ish", "PHASE1|NA"])
def test_an_unknown_phase_is_bad(cell):
    with pytest.raises(ValueError, match="not a phase"):
        cells.phases(cell)


def test_yes_and_true_are_one_boolean():
    assert [cells.boolean(c) for c in ("Yes", "True", "true", "No", "FALSE", "")] == [
        *["true"] * 3,
        *["false"] * 2,
        None,
    ]
    with pytest.raises(ValueError, match="not yes or no"):
        cells.boolean("maybe")


def test_sex_and_age_groups_have_one_spelling():
    assert [cells.sex(c) for c in ("All", "Both", "FEMALE", "")] == ["ALL", "ALL", "FEMALE", None]
    assert cells.age_groups("OLDER_ADULT, ADULT") == "ADULT|OLDER_ADULT"
    assert cells.age_groups("Child|Adult|Senior") == "CHILD|ADULT|OLDER_ADULT"
    with pytest.raises(ValueError, match="age groups"):
        cells.age_groups("Adult, Elf")
    with pytest.raises(ValueError, match="all, male, female"):
        cells.sex("unknown")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Parallel Assignment", "PARALLEL"),
        ("Non-Randomized", "NON_RANDOMIZED"),
        ("N/A", "NA"),
        ("Case-Control, Natural History", "CASE_CONTROL|NATURAL_HISTORY"),
        ("U.S. Fed", "FED"),
        ("  ", None),
    ],
)
def test_a_choice_gets_its_v2_spelling(cell, expected):
    assert cells.choice(cell) == expected


def test_a_choice_of_one_letter_is_cut_off():
    with pytest.raises(ValueError, match="cut off"):
        cells.choice("p")


@pytest.mark.parametrize(
    ("cell", "level"),
    [
        ("DOUBLE (PARTICIPANT, INVESTIGATOR)", "DOUBLE"),
        ("None (Open Label)", "NONE"),
        ("Open Label", "NONE"),
        ("Double-Blind", "DOUBLE"),
        ("", None),
    ],
)
def test_masking_is_the_level_alone(cell, level):
    assert cells.masking(cell) == level


def test_text_keeps_lines_and_loses_control_characters():
    assert cells.text(" a\x00b\x1b[31m\r\nc\td\re \x7f") == "ab[31m\nc\td\ne"
    assert cells.text("nan") == ""
    assert cells.text("None") == "None"
    assert cells.text('=cmd|"/c calc"!A1 <b>bold</b>') == '=cmd|"/c calc"!A1 <b>bold</b>'


def test_a_label_is_one_line_and_keeps_its_case():
    assert cells.label(" Acme \n  Pharma\t") == "Acme Pharma"
    assert cells.label("NA") == "NA"
    assert cells.label(" ") is None


@pytest.mark.parametrize("parse", sorted({*BY_KIND.values(), *BY_NAME.values()}, key=repr))
@given(cell=st.text(max_size=30) | st.from_regex(r"[-+0-9.,eE/ ]{0,20}", fullmatch=True))
def test_any_text_gives_a_value_or_a_value_error(parse, cell):
    value = None
    with contextlib.suppress(ValueError):
        value = parse(cell)
    assert value is None or value == value


@pytest.mark.parametrize(
    ("cell", "value"),
    [("0", 0), ("1.0", 1), (" TRUE ", 1), ("false", 0), ("", None), ("n/a", None)],
)
def test_a_label_is_zero_or_one(cell, value):
    assert cells.zero_or_one(cell) == value


@pytest.mark.parametrize("cell", ["2", "-1", "0.5", "yes", "red"])
def test_other_numbers_and_words_are_no_label(cell):
    with pytest.raises(ValueError, match=r"^not 0 or 1$"):
        cells.zero_or_one(cell)
