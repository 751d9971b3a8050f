"""Reader `ctgov-xml`: the older XML records of ClinicalTrials.gov, `clinical_study`.

A file, a folder, or the zip of all records, plain or gzip. The registry stopped to write them in
2024; their wording is turned into that of the API v2, so that both give one row.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from benchmark.dataset import Rows
from benchmark.readers.assembly import assemble
from benchmark.readers.canonical import ID, STATUS
from benchmark.readers.files import Rejection
from benchmark.readers.records import SourceOptions, chunked, gathered, rejection
from features.errors import one_line

Element = Any

PLAIN = {
    ID: "id_info/nct_id",
    STATUS: "overall_status",
    "brief_title": "brief_title",
    "official_title": "official_title",
    "acronym": "acronym",
    "why_stopped": "why_stopped",
    "start_date": "start_date",
    "primary_completion_date": "primary_completion_date",
    "completion_date": "completion_date",
    "first_posted": "study_first_posted",
    "results_first_posted": "results_first_posted",
    "last_update_posted": "last_update_posted",
    "lead_sponsor": "sponsors/lead_sponsor/agency",
    "sponsor_class": "sponsors/lead_sponsor/agency_class",
    "has_dmc": "oversight_info/has_dmc",
    "fda_regulated_drug": "oversight_info/is_fda_regulated_drug",
    "study_type": "study_type",
    "phases": "phase",
    "allocation": "study_design_info/allocation",
    "intervention_model": "study_design_info/intervention_model",
    "masking": "study_design_info/masking",
    "primary_purpose": "study_design_info/primary_purpose",
    "observational_model": "study_design_info/observational_model",
    "time_perspective": "study_design_info/time_perspective",
    "enrollment": "enrollment",
    "sex": "eligibility/gender",
    "min_age": "eligibility/minimum_age",
    "max_age": "eligibility/maximum_age",
    "healthy_volunteers": "eligibility/healthy_volunteers",
}
"""Canonical names -> the element that holds the value."""
TYPES = {
    "enrollment_type": "enrollment",
    "start_date_type": "start_date",
    "completion_date_type": "completion_date",
}
"""Canonical names -> the element whose attribute `type` holds the value."""
BLOCKS = {
    "brief_summary": "brief_summary/textblock",
    "detailed_description": "detailed_description/textblock",
    "eligibility_criteria": "eligibility/criteria/textblock",
}
LISTS = {
    "conditions": "condition",
    "keywords": "keyword",
    "collaborators": "sponsors/collaborator/agency",
    "intervention_types": "intervention/intervention_type",
}

MADE = ("interventions", "primary_outcomes", "number_of_arms", "n_locations", "countries")
NAMES = (*PLAIN, *TYPES, *BLOCKS, *LISTS, *MADE)

_INDENT = re.compile(r"[ \t]*")
_BULLET = re.compile(r"-\s+")
_NUMBERED = re.compile(r"\d+[.)]\s+")


class Options(SourceOptions):
    """`path` of a file, a folder or an archive of records."""


def read(options: Options) -> Rows:
    """All studies with an NCT number; a record that is no sound XML is listed.

    Raises `InputError` if that is so for more than half of them, and so for a single broken file.
    No entity is resolved and nothing is loaded from the network: such a record counts as broken.
    """
    raw = gathered(options.path, chunked(_records(options), NAMES), "study")
    return assemble(raw, id_pattern=r"NCT\d{8}")


def _records(options: Options) -> Iterator[tuple[int, dict[str, str]] | Rejection]:
    place = 1
    for name, stream in options.streams():
        if options.path.is_dir() and not re.search(r"\.(xml|zip)(\.gz)?$", name.lower()):
            continue
        for found in _studies(name, stream):
            yield rejection(place, found) if isinstance(found, str) else (place, found)
            place += 1


def _studies(name: str, stream: io.BufferedReader) -> Iterator[dict[str, str] | str]:
    """The records of one file, and at last what is wrong with it if anything is."""
    from lxml import etree

    found = 0
    try:
        for study in elements(stream, "clinical_study"):
            found += 1
            yield record(study)
    except (etree.LxmlError, UnicodeError, ValueError) as error:
        yield one_line(f"{name}: {error}", 300)
        return
    if not found:
        yield f"{name}: no clinical_study in it"


def elements(stream: io.BufferedReader, tag: str) -> Iterator[Element]:
    """Every element called `tag`, emptied once the next is asked for.

    Raises lxml's errors for broken XML, and `ValueError` where entities are declared.
    """
    from lxml import etree

    events = etree.iterparse(
        stream,
        events=("start", "end"),
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    depth = 0
    for event, element in events:
        if event == "start":
            if depth == 0:
                _check_entities(element)
            depth += 1
            continue
        depth -= 1
        if element.tag == tag:
            yield element
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]


def _check_entities(root: Element) -> None:
    found = root.getroottree().docinfo.internalDTD
    if found is not None and any(True for _ in found.iterentities()):
        raise ValueError("the document declares entities, which no record of the registry does")


def record(study: Element) -> dict[str, str]:
    """The canonical cells of one `clinical_study`."""
    cells = {name: _text(study.find(path)) for name, path in PLAIN.items()}
    for name, path in TYPES.items():
        dated = study.find(path)
        cells[name] = "" if dated is None else dated.get("type", "")
    cells |= {name: unwrapped(_text(study.find(path))) for name, path in BLOCKS.items()}
    cells |= {
        name: "|".join(filter(None, map(_text, study.findall(path))))
        for name, path in LISTS.items()
    }
    cells |= {
        "interventions": "|".join(map(_intervention, study.findall("intervention"))),
        "primary_outcomes": "|".join(map(_outcome, study.findall("primary_outcome"))),
        "number_of_arms": _number_of_arms(study),
        "n_locations": str(len(study.findall("location")) or ""),
        "countries": "|".join(sorted(_countries(study))),
    }
    if cells["study_type"].lower() != "interventional" and cells["phases"] == "N/A":
        cells["phases"] = ""  # as in the API: only interventional studies have phases
    return cells


def unwrapped(block: str) -> str:
    """A text block as the API v2 writes it: a paragraph a line, `* ` before items of a list.

    In the XML lines are broken at 100 characters and indented, and blank lines part paragraphs
    and items alike; in the API a list has no blank lines inside.
    """
    lines = block.replace("\r\n", "\n").replace("\r", "\n").strip("\n").split("\n")
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            paragraphs[-1].append(line)
        elif paragraphs[-1]:
            paragraphs.append([])
    paragraphs = [lines for lines in paragraphs if lines]
    base = min((_indent(lines[0]) for lines in paragraphs), default=0)
    found, was_item = "", False
    for lines in paragraphs:
        text = " ".join(" ".join(lines).split())
        item = bool(_BULLET.match(text) or _NUMBERED.match(text)) and _indent(lines[0]) > base
        text = _BULLET.sub("* ", text, count=1) if item else text
        depth = max(0, (_indent(lines[0]) - base - 2) // 5) if item else 0
        found += ("\n" if item and was_item else "\n\n") * bool(found) + "   " * depth + text
        was_item = item
    return found


def _indent(line: str) -> int:
    found = _INDENT.match(line)
    return found.end() if found else 0


def _text(element: Element) -> str:
    """The text of an element, and of what stands inside it."""
    return "" if element is None else "".join(element.itertext()).strip(" \t")


def _intervention(one: Element) -> str:
    kind = _text(one.find("intervention_type")).upper().replace(" ", "_")
    return ": ".join(filter(None, (kind, _text(one.find("intervention_name")))))


def _outcome(one: Element) -> str:
    parts = (_text(one.find(name)) for name in ("measure", "description", "time_frame"))
    return ", ".join(filter(None, parts))


def _number_of_arms(study: Element) -> str:
    arms = len(study.findall("arm_group"))
    stated = _text(study.find("number_of_arms")) or _text(study.find("number_of_groups"))
    return str(arms) if arms else stated


def _countries(study: Element) -> set[str]:
    places = study.findall("location/facility/address/country")
    return {_text(place) for place in places or study.findall("location_countries/country")} - {""}
