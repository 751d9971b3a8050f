"""Which fields of a format each canonical column is made from: provenance per column."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmark.readers import (
    aact,
    aero,
    articles,
    ctgov_csv,
    ctgov_json,
    ctgov_xml,
    top,
    trialbench,
)

Origins = dict[str, list[str]]

PUBMED_XML = {
    "pmid": ["PMID"],
    "title": ["Article/ArticleTitle", "Article/VernacularTitle"],
    "abstract": ["Article/Abstract/AbstractText"],
    "keywords": ["KeywordList/Keyword"],
    "journal": ["Article/Journal/Title", "Article/Journal/ISOAbbreviation"],
    "language": ["Article/Language"],
    "n_authors": ["Article/AuthorList"],
    "pub_date": ["Article/Journal/JournalIssue/PubDate", "Article/ArticleDate"],
    "publication_types": ["Article/PublicationTypeList/PublicationType"],
    "mesh_headings": ["MeshHeadingList/MeshHeading/DescriptorName"],
    "status": ["@Status"],
}
MEDLINE = {
    "pmid": ["PMID"],
    "title": ["TI", "TT"],
    "abstract": ["AB"],
    "keywords": ["OT"],
    "journal": ["JT", "TA"],
    "language": ["LA"],
    "n_authors": ["AU", "CN"],
    "pub_date": ["DP"],
    "publication_types": ["PT"],
    "mesh_headings": ["MH"],
    "status": ["STAT"],
}


def origins_of(reader: str) -> Origins:
    """Canonical column -> fields, in order of preference, as a reader of `READERS` takes them.

    Where several spellings of a header are known, all are listed, in lower case. Empty for a
    reader of files that are canonical already.
    """
    return _BY_READER[reader]() if reader in _BY_READER else {}


def _named(names: Mapping[str, str]) -> Origins:
    """Header -> column, turned around."""
    found: Origins = {}
    for field, name in names.items():
        found.setdefault(name, []).append(field)
    return found


def _ctgov_csv() -> Origins:
    found = _named(ctgov_csv.NAMES)
    for compound, pieces in ctgov_csv.DERIVED.items():
        for name in pieces:
            found.setdefault(name, []).extend(found.get(compound, []))
    return found


def _ctgov_json() -> Origins:
    lists = {
        name: [f"{path}[].{field}" for field in fields] if fields else [f"{path}[]"]
        for name, (path, fields, _) in ctgov_json.JOINED.items()
    }
    counted = {name: [f"{path}[]"] for name, path in ctgov_json.COUNTED.items()}
    return {name: [path] for name, path in ctgov_json.PLAIN.items()} | lists | counted


def _ctgov_xml() -> Origins:
    plain = ctgov_xml.PLAIN | ctgov_xml.BLOCKS | ctgov_xml.LISTS
    return {
        **{name: [path] for name, path in plain.items()},
        **{name: [f"{path}/@type"] for name, path in ctgov_xml.TYPES.items()},
        "interventions": ["intervention/intervention_type", "intervention/intervention_name"],
        "primary_outcomes": ["primary_outcome"],
        "number_of_arms": ["number_of_arms", "number_of_groups"],
        "n_locations": ["location"],
        "countries": ["location/facility/address/country", "location_countries/country"],
    }


def _aact() -> Origins:
    ones = {
        name: [f"{table}.{column}"]
        for table, columns in aact.ONE.items()
        for name, column in columns.items()
    }
    return {
        **{name: [f"studies.{c}" for c in columns] for name, columns in aact.STUDIES.items()},
        **ones,
        "age_groups": [f"eligibilities.{name}" for name in ("child", "adult", "older_adult")],
        "lead_sponsor": ["sponsors.name"],
        "sponsor_class": ["sponsors.agency_class"],
        "collaborators": ["sponsors.name"],
        "conditions": ["conditions.name"],
        "keywords": ["keywords.name"],
        "interventions": ["interventions.intervention_type", "interventions.name"],
        "intervention_types": ["interventions.intervention_type"],
        "primary_outcomes": [
            f"design_outcomes.{name}" for name in ("measure", "description", "time_frame")
        ],
        "countries": ["countries.name"],
        "n_locations": ["facilities", "calculated_values.number_of_facilities"],
    }


def _aero() -> Origins:
    return _named(aero.NAMES) | {"start_date": ["start_year", "start_month"]}


def _top() -> Origins:
    return _named(top.NAMES) | {task: ["label"] for task in top.TASKS.values()}


def _trialbench() -> Origins:
    return _named(trialbench.NAMES) | {
        target.task: [column] for column, target in trialbench.TARGETS.items()
    }


_BY_READER: dict[str, Callable[[], Origins]] = {
    "ctgov-csv": _ctgov_csv,
    "ctgov-json": _ctgov_json,
    "ctgov-xml": _ctgov_xml,
    "aact": _aact,
    "aero": _aero,
    "top": _top,
    "trialbench": _trialbench,
    "articles": lambda: _named(articles.NAMES),
    "pubmed-xml": lambda: PUBMED_XML,
    "medline": lambda: MEDLINE,
}
