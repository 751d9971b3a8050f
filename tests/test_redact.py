"""The redactor of outcome texts."""

from __future__ import annotations

import pytest
from audited import registry, rows_of, texts

from benchmark.audit.phrases import find
from benchmark.readers import synthetic
from benchmark.redact import REACH, Redaction, redact, redacted, redacted_dataset, sentence
from benchmark.tasks import labelled
from features.errors import InputError

TOLD = "The study was terminated early due to low enrollment."


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"We measure pain. {TOLD} Visits are weekly.", "We measure pain. Visits are weekly."),
        (TOLD, ""),
        ("We measure pain. [Note: This study was stopped]", "We measure pain."),
        ("First line\nThis study was stopped\nLast line", "First line\n\nLast line"),
        ("Is it so? The trial was withdrawn before enrollment! Yes.", "Is it so? Yes."),
        (f"{TOLD} {TOLD} Visits are weekly.", "Visits are weekly."),
        ("If the study is stopped, care goes on.", "If the study is stopped, care goes on."),
        ("", ""),
    ],
)
def test_whole_sentence_goes_and_the_rest_stays(text: str, left: str) -> None:
    assert redact([text])[0] == [left]


def test_sentences_are_counted_once_however_many_matches_they_hold() -> None:
    assert len(find([TOLD])) > 1
    assert redact([TOLD, "Nothing here.", f"{TOLD} {TOLD}"])[1] == [1, 0, 2]


def test_endless_sentence_is_cut_on_both_sides() -> None:
    text = "x " * 400 + "the study was stopped" + " y" * 400
    start = text.index("study")
    assert sentence(text, start, start + 17) == (start - REACH, start + 17 + REACH)
    assert len(redact([text])[0][0]) == pytest.approx(len(text) - 2 * REACH - 17, abs=2)


def test_only_named_columns_change_and_counts_say_how_much() -> None:
    summaries = texts(400)
    clean = summaries[1]
    summaries[1] = f"{clean}. {TOLD}"
    rows = rows_of(registry(brief_summary=summaries, brief_title=[TOLD] * 400))
    new, counts = redacted(rows, ["brief_summary"])
    assert counts == (Redaction("brief_summary", 1, 1, len(TOLD) + 1),)
    assert new.frame["brief_summary"].iloc[1] == f"{clean}."
    assert rows.frame["brief_summary"].iloc[1].endswith(TOLD)  # the original is left alone
    assert new.frame.drop(columns="brief_summary").equals(rows.frame.drop(columns="brief_summary"))
    assert new.frame["brief_summary"].dtype == rows.frame["brief_summary"].dtype


def test_column_that_is_no_text_is_an_error() -> None:
    with pytest.raises(InputError, match=r"text column to redact.*did you mean 'brief_summary'"):
        redacted(rows_of(registry()), ["brief_sumary"])


def test_nothing_is_found_in_a_redacted_registry_and_its_clean_twin_is_left() -> None:
    knobs = {"rows": 600, "seed": 4, "outcome_phrases": 0.5}
    told = synthetic.read(synthetic.Options.model_validate(knobs))
    clean = synthetic.read(synthetic.Options.model_validate(knobs | {"outcome_phrases": 0}))
    data, counts = redacted_dataset(labelled(told, "trial-outcome"))
    by_column = {count.column: count for count in counts}
    changed = told.frame["brief_summary"] != clean.frame["brief_summary"]
    assert by_column["brief_summary"].rows == changed.sum() > 20
    assert by_column["brief_title"].rows == 0
    assert find(data.X["brief_summary"].tolist()) == []
    assert data.X["brief_summary"].tolist() == clean.frame["brief_summary"].tolist()
    assert data.fingerprint != labelled(told, "trial-outcome").fingerprint
