"""Checks of texts: A08 to A10."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from audited import audited, findings, halves, reason, registry, rows_of, texts

from benchmark.audit import subject
from benchmark.audit.phrases import find
from benchmark.readers import synthetic_text
from benchmark.tasks import labelled

N = 400
TOLD = " The study was terminated early due to low enrollment."


def test_text_that_states_the_outcome_is_serious_with_spans_and_lift() -> None:
    summaries = texts(N)
    for row in (1, 3, 5, 7, 9, 11):  # six of 200 stopped trials
        summaries[row] += TOLD
    (found,) = findings(audited(rows_of(registry(brief_summary=summaries))), "A08")
    assert (found.severity, found.where) == ("serious", "brief_summary")
    assert found.numbers["rows"] == 6
    assert found.numbers["by_class"] == {"stopped": 6, "completed": 0}
    assert found.numbers["by_kind"]["stopped"] == 6
    assert found.numbers["lift"] == pytest.approx(0.03 / (0.5 / 200))
    first = found.evidence[0]
    assert first.id == "T0001"
    assert summaries[1][slice(*first.span)].startswith("study was terminated")


def test_few_statements_are_a_note_and_none_is_nothing() -> None:
    summaries = texts(N)
    summaries[0] += TOLD
    assert [
        f.severity for f in findings(audited(rows_of(registry(brief_summary=summaries))), "A08")
    ] == ["note"]
    report = audited(rows_of(registry()))
    assert ("A08", "trial-outcome") in report.passed


def test_labels_of_articles_are_no_outcomes() -> None:
    frame = registry(brief_summary=[t + TOLD for t in texts(N)], a=np.arange(N) % 2)
    frame["b"] = np.arange(N) // 2 % 2
    rows = rows_of(frame, target=("a", "b"))
    assert "what a study is" in reason(audited(rows, task="table-target"), "A08")


def test_statements_do_not_matter_where_no_model_sees_text() -> None:
    assert "no model" in reason(audited(rows_of(registry()), inputs="tabular"), "A08")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("The study was terminated by the company.", "stopped"),
        ("Enrollment has been temporarily suspended.", "stopped"),
        ("Recruitment\nwas  halted in May.", "stopped"),
        ("This trial stopped early.", "stopped early"),
        ("Early termination due to toxicity", "stopped early"),
        ("closed because of slow patient accrual", "short of means"),
        ("Withdrawn: lack of funding", "short of means"),
        ("No participants were ever enrolled.", "never begun"),
        ("The study never opened.", "never begun"),
        ("The sponsor decided to discontinue the trial.", "decided to stop"),
        ("a business decision to end development", "decided to stop"),
        ("This study has been completed.", "completed"),
        ("The study was\xa0terminated.", "stopped"),  # a no-break space
        ("sponsor\u2019s decision to stop", "decided to stop"),
    ],
)
def test_statements_of_an_outcome_are_found(text: str, kind: str) -> None:
    assert kind in {match.kind for match in find([text])}


@pytest.mark.parametrize(
    "text",
    [
        "Patients who are withdrawn from treatment are followed up.",
        "If the study is stopped, patients go on with usual care.",
        "until the study was terminated",
        "Dosing continues until study enrollment is completed.",
        "Treatment was discontinued due to lack of efficacy.",
        "after the previous study has been completed",
        "One arm of this study was closed.",
        "Subjects with early termination visits",
        "The study will be completed in two years.",
        "low enrollment is expected in winter",
    ],
)
def test_plans_conditions_and_people_are_no_statements(text: str) -> None:
    assert find([text]) == []


def test_planted_sentences_are_found_and_the_grammar_of_the_synthetic_registry_is_not() -> None:
    sentences = synthetic_text.OUTCOME_SENTENCES
    assert {match.place for match in find(sentences)} == set(range(len(sentences)))
    said = [w for slot in synthetic_text.SLOTS for w in synthetic_text.wordings(slot)]
    assert find([*said, *synthetic_text.TITLES, *synthetic_text.OPENINGS]) == []


def test_matches_stand_in_order_with_their_places() -> None:
    text = "Note: the study was terminated. No patients were enrolled."
    matches = find(["", text])
    assert [match.place for match in matches] == [1, 1]
    assert [text[m.start : m.end] for m in matches] == [
        "study was terminated",
        "No patients were enrolled",
    ]


def test_duplicates_across_parts_are_counted_and_paired() -> None:
    summaries = texts(N)
    for test, train in ((330, 0), (350, 10), (399, 100)):
        summaries[test] = summaries[train]
    summaries[399] += " again"  # nearly the same
    (found,) = findings(audited(rows_of(registry(brief_summary=summaries))), "A09")
    assert (found.severity, found.where) == ("serious", "stratified")  # 3 of 80 test rows
    assert found.numbers == {"rows": 3, "exact": 2, "test": 80, "share": 3 / 80}
    pairs = {(e.id, e.other) for e in found.evidence}
    assert pairs == {("T0330", "T0000"), ("T0350", "T0010"), ("T0399", "T0100")}


def test_of_many_rows_near_duplicates_are_those_of_a_sample_and_the_finding_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "MOST_NEAR", N - 1)
    summaries = texts(N)
    for row in range(320, N):
        summaries[row] = summaries[row - 320] + (" again" if row % 2 else "")  # half nearly so
    monkeypatch.setattr(subject, "SAMPLED", 20)
    (found,) = findings(audited(rows_of(registry(brief_summary=summaries))), "A09")
    assert found.numbers == {"rows": 20, "sampled": 20, "exact": 40, "test": 80, "share": 1.0}
    assert "20 of a sample of 20 test rows (100.0 %)" in found.found
    assert "40 of all 80 test rows (50.0 %)" in found.found
    for one in found.evidence:
        assert one.other is not None
        assert int(one.id[1:]) - 320 == int(one.other[1:])


def test_of_many_rows_without_duplicates_nothing_is_found_and_near_ones_are_not_denied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "MOST_NEAR", N - 1)
    summaries = texts(N)
    summaries[330:340] = ["not stated"] * 10  # too short to tell
    summaries[0] = "not stated"
    report = audited(rows_of(registry(brief_summary=summaries)))
    assert ("A09", "trial-outcome") in report.passed
    assert "very same text (too many for nearly)" in reason(report, "A10")


def test_texts_are_joined_alike_in_one_piece_and_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    data = labelled(rows_of(registry(brief_title=["A  Title"] * N)), "trial-outcome")
    whole = subject.Subject(rows_of(registry()), data, (), {}).joined
    monkeypatch.setattr(subject, "_PIECE", 7)
    pieces = subject.Subject(rows_of(registry()), data, (), {}).joined
    assert whole.iloc[0] == f"a title {texts(1)[0]}"
    pd.testing.assert_series_equal(whole, pieces)


def test_duplicates_inside_one_part_and_short_texts_are_fine() -> None:
    summaries = texts(N)
    summaries[1] = summaries[0]
    for row in range(100, N):
        summaries[row] = "not stated"
    report = audited(rows_of(registry(brief_summary=summaries)))
    assert findings(report, "A09") == []
    assert ("A09", "trial-outcome") in report.passed


def test_duplicates_need_a_text() -> None:
    rows = rows_of(registry().drop(columns="brief_summary"))
    report = audited(rows)
    assert "no text column" in reason(report, "A09")
    assert "no text column" in reason(report, "A10")


def test_duplicates_with_different_labels_are_counted() -> None:
    summaries = texts(N)
    summaries[2] = summaries[0]  # both completed
    summaries[11] = summaries[10]  # one completed, one stopped
    (found,) = findings(audited(rows_of(registry(brief_summary=summaries))), "A10")
    assert found.severity == "warning"
    assert found.numbers == {"groups": 2, "differ": 1, "exact": 1, "rows": 4}
    assert (found.evidence[0].id, found.evidence[0].other) == ("T0010", "T0011")


def test_duplicates_that_agree_are_fine_and_without_any_the_check_does_not_apply() -> None:
    summaries = texts(N)
    summaries[2] = summaries[0]
    report = audited(rows_of(registry(brief_summary=summaries)))
    assert ("A10", "trial-outcome") in report.passed
    assert "no two of 400 rows" in reason(audited(rows_of(registry())), "A10")


def test_registry_of_these_tests_has_distinct_texts_and_parts() -> None:
    assert len(set(texts(N))) == N
    split = halves(labelled(rows_of(registry()), "trial-outcome"))
    assert [len(part) for part in (split.train, split.valid, split.test)] == [240, 80, 80]
