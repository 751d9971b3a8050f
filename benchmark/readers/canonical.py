"""The canonical frame of trials: its columns, their types, and when each value is known.

Names follow the API v2 of ClinicalTrials.gov in snake case; values follow its spelling
(`COMPLETED`, `PHASE1|PHASE2`). Ages are in years, dates are days (a month counts as its first).
A reader fills what its format has; columns a file lacks are left out, not invented. So
`enrollment_planned` is there only where a source keeps the plan itself: an `enrollment` that is
still ESTIMATED when a trial has ended was never replaced, which is known after its end alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from features.columns import Column, KnownAt

ID, STATUS, DATE, GROUP = "nct_id", "overall_status", "start_date", "lead_sponsor"
OFFICIAL = "official_part"
"""Where a published benchmark's own split puts a row: train, valid or test."""

STATUSES = (
    "COMPLETED", "TERMINATED", "WITHDRAWN", "SUSPENDED", "UNKNOWN", "RECRUITING",
    "NOT_YET_RECRUITING", "ACTIVE_NOT_RECRUITING", "ENROLLING_BY_INVITATION", "WITHHELD",
    "NO_LONGER_AVAILABLE", "AVAILABLE", "APPROVED_FOR_MARKETING", "TEMPORARILY_NOT_AVAILABLE",
)  # fmt: skip

OUTCOMES = {"COMPLETED": 1, "TERMINATED": 0, "WITHDRAWN": 0, "SUSPENDED": 0}
"""The statuses that are outcomes: 1 for completed, 0 for stopped."""

ONGOING = ("RECRUITING", "NOT_YET_RECRUITING", "ACTIVE_NOT_RECRUITING", "ENROLLING_BY_INVITATION")
"""The statuses that an outcome will follow."""

COLUMNS = (
    Column("brief_title", "text"),
    Column("official_title", "text"),
    Column("brief_summary", "text"),
    Column("detailed_description", "text"),
    Column("eligibility_criteria", "text"),
    Column("conditions", "text"),
    Column("keywords", "text"),
    Column("interventions", "text"),
    Column("primary_outcomes", "text"),
    Column("lead_sponsor", "categorical"),
    Column("sponsor_class", "categorical"),
    Column("study_type", "categorical"),
    Column("phases", "categorical"),
    Column("allocation", "categorical"),
    Column("intervention_model", "categorical"),
    Column("masking", "categorical"),
    Column("primary_purpose", "categorical"),
    Column("observational_model", "categorical"),
    Column("time_perspective", "categorical"),
    Column("intervention_types", "categorical"),
    Column("sex", "categorical"),
    Column("age_groups", "categorical"),
    Column("healthy_volunteers", "categorical"),
    Column("has_dmc", "categorical"),
    Column("fda_regulated_drug", "categorical"),
    Column("min_age", "numeric"),
    Column("max_age", "numeric"),
    Column("number_of_arms", "numeric"),
    Column("enrollment_planned", "numeric"),
    Column("start_date", "date"),
    Column("first_posted", "date"),
    Column("n_locations", "numeric", "during"),
    Column("countries", "categorical", "during"),
    Column("enrollment", "numeric", "after"),
    Column("primary_completion_date", "date", "after"),
    Column("completion_date", "date", "after"),
    Column("results_first_posted", "date", "after"),
    Column("last_update_posted", "date", "after"),
    Column("why_stopped", "text", "after"),
)


@dataclass(frozen=True)
class Typed:
    """A field that is planned first and overwritten by what happened.

    `type` is the column that says which of the two a row holds (ESTIMATED, ACTUAL); `estimated` and
    `actual` say when each is known.
    """

    type: str
    estimated: KnownAt
    actual: KnownAt


BY_TYPE = {
    # an estimate that stands when a trial has ended was never replaced: that too is known late
    "enrollment": Typed("enrollment_type", "after", "after"),
    "start_date": Typed("start_date_type", "registration", "during"),
    "primary_completion_date": Typed("completion_date_type", "registration", "after"),
    "completion_date": Typed("completion_date_type", "registration", "after"),
}
"""The clock of a single value, by its type; the clock of the column in `COLUMNS` is the one used.

A start date counts as known at registration, though its ACTUAL value is known some days or weeks
later: it orders the temporal splits.
"""
