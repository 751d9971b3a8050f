"""One study that never was, in four forms of the registry, and the row that all of them give."""

from __future__ import annotations

import copy
import csv
import io
from typing import Any

import pandas as pd

NCT = "NCT00000042"
STUDY: dict[str, Any] = {
    "protocolSection": {
        "identificationModule": {
            "nctId": NCT,
            "briefTitle": "Tea Against Boredom",
            "officialTitle": "A Trial of Strong Tea Against Boredom on Sundays",
            "acronym": "TEA",
        },
        "statusModule": {
            "overallStatus": "NOT_YET_RECRUITING",
            "startDateStruct": {"date": "2013-02", "type": "ESTIMATED"},
            "primaryCompletionDateStruct": {"date": "2014-03-04", "type": "ESTIMATED"},
            "completionDateStruct": {"date": "2014-06", "type": "ESTIMATED"},
            "studyFirstPostDateStruct": {"date": "2013-01-05", "type": "ESTIMATED"},
            "lastUpdatePostDateStruct": {"date": "2013-01-20", "type": "ESTIMATED"},
        },
        "sponsorCollaboratorsModule": {
            "leadSponsor": {"name": "Acme Tea", "class": "INDUSTRY"},
            "collaborators": [{"name": "Cup Makers"}, {"name": "Spoon Guild"}],
        },
        "oversightModule": {"oversightHasDmc": True, "isFdaRegulatedDrug": False},
        "descriptionModule": {
            "briefSummary": "Tea is warm and may help. It is drunk twice\\[a\\] a day.\n\nTwo cups "
            "are enough.",
            "detailedDescription": "Cups hold \\> 200 ml.",
        },
        "conditionsModule": {"conditions": ["Boredom", "Ennui"], "keywords": ["tea", "sunday"]},
        "designModule": {
            "studyType": "INTERVENTIONAL",
            "phases": ["PHASE1", "PHASE2"],
            "designInfo": {
                "allocation": "NON_RANDOMIZED",
                "interventionModel": "PARALLEL",
                "primaryPurpose": "HEALTH_SERVICES_RESEARCH",
                "maskingInfo": {"masking": "DOUBLE", "whoMasked": ["PARTICIPANT", "INVESTIGATOR"]},
            },
            "enrollmentInfo": {"count": 40, "type": "ESTIMATED"},
        },
        "armsInterventionsModule": {
            "armGroups": [{"label": "Tea", "type": "EXPERIMENTAL"}, {"label": "Water"}],
            "interventions": [
                {"type": "DIETARY_SUPPLEMENT", "name": "Tea: strong"},
                {"type": "DRUG", "name": "Water"},
                {"type": "DRUG", "name": "Sugar"},
            ],
        },
        "outcomesModule": {
            "primaryOutcomes": [
                {"measure": "Yawns", "description": "Counted", "timeFrame": "1 day"},
                {"measure": "Sighs", "timeFrame": "2 days"},
            ],
            "secondaryOutcomes": [{"measure": "Naps"}],
        },
        "eligibilityModule": {
            "eligibilityCriteria": "Inclusion Criteria:\n\n* Bored for a week or more, with no "
            "remedy\n* Likes tea\n\nExclusion Criteria:\n\n* Asleep",
            "healthyVolunteers": True,
            "sex": "FEMALE",
            "minimumAge": "6 Months",
            "maximumAge": "65 Years",
            "stdAges": ["CHILD", "ADULT", "OLDER_ADULT"],
        },
        "contactsLocationsModule": {
            "locations": [
                {"facility": "Site A", "city": "Seoul", "country": "Korea, Republic of"},
                {"facility": "Site B", "city": "Bern", "country": "Switzerland"},
                {"facility": "Site C", "city": "Bern", "country": "Switzerland"},
            ]
        },
    },
    "hasResults": False,
}

ROW = {
    "overall_status": "NOT_YET_RECRUITING",
    "brief_title": "Tea Against Boredom",
    "official_title": "A Trial of Strong Tea Against Boredom on Sundays",
    "acronym": "TEA",
    "brief_summary": "Tea is warm and may help. It is drunk twice[a] a day.\n\nTwo cups are "
    "enough.",
    "detailed_description": "Cups hold > 200 ml.",
    "eligibility_criteria": "Inclusion Criteria:\n\n* Bored for a week or more, with no remedy\n"
    "* Likes tea\n\nExclusion Criteria:\n\n* Asleep",
    "conditions": "Boredom|Ennui",
    "keywords": "tea|sunday",
    "interventions": "DIETARY_SUPPLEMENT: Tea: strong|DRUG: Water|DRUG: Sugar",
    "intervention_types": "DIETARY_SUPPLEMENT|DRUG",
    "primary_outcomes": "Yawns, Counted, 1 day|Sighs, 2 days",
    "lead_sponsor": "Acme Tea",
    "sponsor_class": "INDUSTRY",
    "collaborators": "Cup Makers|Spoon Guild",
    "study_type": "INTERVENTIONAL",
    "phases": "PHASE1|PHASE2",
    "allocation": "NON_RANDOMIZED",
    "intervention_model": "PARALLEL",
    "masking": "DOUBLE",
    "primary_purpose": "HEALTH_SERVICES_RESEARCH",
    "sex": "FEMALE",
    "age_groups": "CHILD|ADULT|OLDER_ADULT",
    "healthy_volunteers": "true",
    "has_dmc": "true",
    "fda_regulated_drug": "false",
    "min_age": 0.5,
    "max_age": 65.0,
    "number_of_arms": 2.0,
    "enrollment": 40.0,
    "enrollment_type": "ESTIMATED",
    "start_date": pd.Timestamp(2013, 2, 1),
    "start_date_type": "ESTIMATED",
    "primary_completion_date": pd.Timestamp(2014, 3, 4),
    "completion_date": pd.Timestamp(2014, 6, 1),
    "completion_date_type": "ESTIMATED",
    "first_posted": pd.Timestamp(2013, 1, 5),
    "last_update_posted": pd.Timestamp(2013, 1, 20),
    "n_locations": 3.0,
    "countries": "Korea, Republic of|Switzerland",
}
"""What the API's form gives; the other forms lack some of these columns."""

CSV = {
    "NCT Number": NCT,
    "Study Title": "Tea Against Boredom",
    "Acronym": "TEA",
    "Study Status": "NOT_YET_RECRUITING",
    "Brief Summary": "Tea is warm and may help. It is drunk twice\\[a\\] a day.\n\nTwo cups are "
    "enough.",
    "Conditions": "Boredom|Ennui",
    "Interventions": "DIETARY_SUPPLEMENT: Tea: strong|DRUG: Water|DRUG: Sugar",
    "Primary Outcome Measures": "Yawns, Counted, 1 day|Sighs, 2 days",
    "Sponsor": "Acme Tea",
    "Collaborators": "Cup Makers|Spoon Guild",
    "Sex": "FEMALE",
    "Age": "CHILD, ADULT, OLDER_ADULT",
    "Phases": "PHASE1|PHASE2",
    "Enrollment": "40",
    "Funder Type": "INDUSTRY",
    "Study Type": "INTERVENTIONAL",
    "Study Design": "Allocation: NON_RANDOMIZED|Intervention Model: PARALLEL"
    "|Masking: DOUBLE (PARTICIPANT, INVESTIGATOR)|Primary Purpose: HEALTH_SERVICES_RESEARCH",
    "Start Date": "2013-02",
    "Primary Completion Date": "2014-03-04",
    "Completion Date": "2014-06",
    "First Posted": "2013-01-05",
    "Last Update Posted": "2013-01-20",
    "Locations": "Site A, Seoul, Korea, Republic of|Site B, Bern, Switzerland"
    "|Site C, Bern, Switzerland",
}

XML = f"""<?xml version="1.0" encoding="UTF-8"?>
<clinical_study>
  <!-- not a real record -->
  <required_header><url>https://example.org</url></required_header>
  <id_info><org_study_id>T-1</org_study_id><nct_id>{NCT}</nct_id></id_info>
  <brief_title>Tea Against Boredom</brief_title>
  <acronym>TEA</acronym>
  <official_title>A Trial of Strong Tea Against Boredom on Sundays</official_title>
  <sponsors>
    <lead_sponsor><agency>Acme Tea</agency><agency_class>Industry</agency_class></lead_sponsor>
    <collaborator><agency>Cup Makers</agency><agency_class>Other</agency_class></collaborator>
    <collaborator><agency>Spoon Guild</agency><agency_class>Other</agency_class></collaborator>
  </sponsors>
  <oversight_info>
    <has_dmc>Yes</has_dmc><is_fda_regulated_drug>No</is_fda_regulated_drug>
  </oversight_info>
  <brief_summary><textblock>
      Tea is warm and may help. It is&#xD;
      drunk twice[a] a day.&#xD;
&#xD;
      Two cups are enough.&#xD;
    </textblock></brief_summary>
  <detailed_description><textblock>
      Cups hold &gt; 200 ml.
    </textblock></detailed_description>
  <overall_status>Not yet recruiting</overall_status>
  <start_date type="Anticipated">February 2013</start_date>
  <completion_date type="Anticipated">June 2014</completion_date>
  <primary_completion_date type="Anticipated">March 4, 2014</primary_completion_date>
  <phase>Phase 1/Phase 2</phase>
  <study_type>Interventional</study_type>
  <study_design_info>
    <allocation>Non-Randomized</allocation>
    <intervention_model>Parallel Assignment</intervention_model>
    <primary_purpose>Health Services Research</primary_purpose>
    <masking>Double (Participant, Investigator)</masking>
  </study_design_info>
  <primary_outcome>
    <measure>Yawns</measure><time_frame>1 day</time_frame><description>Counted</description>
  </primary_outcome>
  <primary_outcome><measure>Sighs</measure><time_frame>2 days</time_frame></primary_outcome>
  <secondary_outcome><measure>Naps</measure></secondary_outcome>
  <number_of_arms>2</number_of_arms>
  <enrollment type="Anticipated">40</enrollment>
  <condition>Boredom</condition>
  <condition>Ennui</condition>
  <arm_group><arm_group_label>Tea</arm_group_label></arm_group>
  <arm_group><arm_group_label>Water</arm_group_label></arm_group>
  <intervention>
    <intervention_type>Dietary Supplement</intervention_type>
    <intervention_name>Tea: strong</intervention_name>
  </intervention>
  <intervention>
    <intervention_type>Drug</intervention_type><intervention_name>Water</intervention_name>
  </intervention>
  <intervention>
    <intervention_type>Drug</intervention_type><intervention_name>Sugar</intervention_name>
  </intervention>
  <eligibility>
    <criteria><textblock>
        Inclusion Criteria:

          -  Bored for a week or more, with
             no remedy

          -  Likes tea

        Exclusion Criteria:

          -  Asleep
      </textblock></criteria>
    <gender>Female</gender>
    <minimum_age>6 Months</minimum_age>
    <maximum_age>65 Years</maximum_age>
    <healthy_volunteers>Accepts Healthy Volunteers</healthy_volunteers>
  </eligibility>
  <location><facility><name>Site A</name>
    <address><city>Seoul</city><country>Korea, Republic of</country></address></facility></location>
  <location><facility><name>Site B</name>
    <address><city>Bern</city><country>Switzerland</country></address></facility></location>
  <location><facility><name>Site C</name>
    <address><city>Bern</city><country>Switzerland</country></address></facility></location>
  <location_countries><country>Korea, Republic of</country><country>Switzerland</country>
  </location_countries>
  <study_first_posted type="Estimate">January 5, 2013</study_first_posted>
  <last_update_posted type="Estimate">January 20, 2013</last_update_posted>
  <keyword>tea</keyword>
  <keyword>sunday</keyword>
</clinical_study>
"""

AACT: dict[str, list[dict[str, str]]] = {
    "studies": [
        {
            "nct_id": NCT,
            "study_first_posted_date": "2013-01-05",
            "results_first_posted_date": "",
            "last_update_posted_date": "2013-01-20",
            "start_month_year": "2013-02",
            "start_date_type": "ESTIMATED",
            "start_date": "2013-02-28",
            "completion_month_year": "2014-06",
            "completion_date_type": "ESTIMATED",
            "completion_date": "2014-06-30",
            "primary_completion_month_year": "2014-03-04",
            "primary_completion_date": "2014-03-04",
            "study_type": "INTERVENTIONAL",
            "acronym": "TEA",
            "brief_title": "Tea Against Boredom",
            "official_title": "A Trial of Strong Tea Against Boredom on Sundays",
            "overall_status": "NOT_YET_RECRUITING",
            "phase": "PHASE1/PHASE2",
            "enrollment": "40",
            "enrollment_type": "ESTIMATED",
            "number_of_arms": "2",
            "number_of_groups": "",
            "why_stopped": "",
            "has_dmc": "t",
            "is_fda_regulated_drug": "f",
        }
    ],
    "brief_summaries": [{"id": "1", "nct_id": NCT, "description": CSV["Brief Summary"]}],
    "detailed_descriptions": [{"id": "1", "nct_id": NCT, "description": "Cups hold \\> 200 ml."}],
    "eligibilities": [
        {
            "id": "1",
            "nct_id": NCT,
            "gender": "FEMALE",
            "minimum_age": "6 Months",
            "maximum_age": "65 Years",
            "healthy_volunteers": "t",
            "criteria": str(ROW["eligibility_criteria"]),
            "adult": "t",
            "child": "t",
            "older_adult": "t",
        }
    ],
    "designs": [
        {
            "id": "1",
            "nct_id": NCT,
            "allocation": "NON_RANDOMIZED",
            "intervention_model": "PARALLEL",
            "observational_model": "",
            "primary_purpose": "HEALTH_SERVICES_RESEARCH",
            "time_perspective": "",
            "masking": "DOUBLE",
        }
    ],
    "sponsors": [
        {"nct_id": NCT, "agency_class": kind, "lead_or_collaborator": role, "name": name}
        for kind, role, name in (
            ("INDUSTRY", "lead", "Acme Tea"),
            ("OTHER", "collaborator", "Cup Makers"),
            ("OTHER", "collaborator", "Spoon Guild"),
        )
    ],
    "conditions": [{"nct_id": NCT, "name": name} for name in ("Boredom", "Ennui")],
    "keywords": [{"nct_id": NCT, "name": name} for name in ("tea", "sunday")],
    "interventions": [
        {"nct_id": NCT, "intervention_type": kind, "name": name, "description": "x"}
        for kind, name in (
            ("DIETARY_SUPPLEMENT", "Tea: strong"),
            ("DRUG", "Water"),
            ("DRUG", "Sugar"),
        )
    ],
    "design_outcomes": [
        {"nct_id": NCT, "outcome_type": k, "measure": m, "time_frame": t, "description": d}
        for k, m, t, d in (
            ("primary", "Yawns", "1 day", "Counted"),
            ("secondary", "Naps", "", ""),
            ("primary", "Sighs", "2 days", ""),
        )
    ],
    "facilities": [
        {"nct_id": NCT, "name": "x", "country": country}
        for country in ("Korea, Republic of", "Switzerland", "Switzerland")
    ],
}


def study(number: int, **status: Any) -> dict[str, Any]:
    """The study under another number, with other values in its status module."""
    made = copy.deepcopy(STUDY)
    made["protocolSection"]["identificationModule"]["nctId"] = f"NCT{number:08d}"
    made["protocolSection"]["statusModule"] |= status
    return made


def xml(number: int) -> str:
    """The XML record under another number."""
    return XML.replace(NCT, f"NCT{number:08d}")


def table(rows: list[dict[str, str]], delimiter: str = "|") -> str:
    """Rows as a delimited table with a header."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def check_one_line(error: Exception) -> None:
    """Fail where the text of an error is more than a line."""
    assert "\n" not in str(error)
