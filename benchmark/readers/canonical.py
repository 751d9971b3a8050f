"""The canonical frame of trials: its columns, their types, and when each value is known.

Names follow the API v2 of ClinicalTrials.gov in snake case; values follow its spelling
(`COMPLETED`, `PHASE1|PHASE2`). Ages are in years, dates are days (a month counts as its first).
A reader fills what its format has; columns a file lacks are left out, not invented. So
`enrollment_planned` is there only where a source keeps the plan itself: an `enrollment` that is
still ESTIMATED when a trial has ended was never replaced, which is known after its end alone.
"""

from __future__ import annotations

from features.columns import Column

ID, STATUS, DATE, GROUP = "nct_id", "overall_status", "start_date", "lead_sponsor"
OFFICIAL = "official_part"
"""Where a published benchmark's own split puts a row: train, valid or test."""

STATUSES = (
    "COMPLETED", "TERMINATED", "WITHDRAWN", "SUSPENDED", "UNKNOWN", "RECRUITING",
    "NOT_YET_RECRUITING", "ACTIVE_NOT_RECRUITING", "ENROLLING_BY_INVITATION", "WITHHELD",
    "NO_LONGER_AVAILABLE", "AVAILABLE", "APPROVED_FOR_MARKETING", "TEMPORARILY_NOT_AVAILABLE",
)  # fmt: skip

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
