from __future__ import annotations

import pytest

from benchmark.render.layout import amount, metric_title, number


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, ".500"), (-0.25, "-.250"), (1.0, "1.000"), (0.9996, "1.000"), (None, "—")],
)
def test_scores_have_three_digits_and_no_leading_zero(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123, "0.012"), (3.14, "3.1"), (1234.5, "1,234"), (None, "—")]
)
def test_costs_have_two_digits_that_matter(value: float | None, text: str) -> None:
    assert amount(value) == text


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("roc_auc", "ROC-AUC"),
        ("f1_macro@valid", "F1-macro@valid"),
        ("brier", "Brier ↓"),
        ("average_precision[RCT]", "AP[RCT]"),
    ],
)
def test_metric_titles_say_threshold_label_and_direction(name: str, title: str) -> None:
    assert metric_title(name) == title
