"""Reader `ctgov-json`: studies of ClinicalTrials.gov's API v2, in every way they are kept.

A page (`{"studies": [...]}`), a list, a single study, JSON Lines, a folder of any of these, each
plain or in gzip or zip. Studies are parsed in blocks, so that only the canonical strings are ever
held as a whole.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from json import JSONDecodeError, JSONDecoder
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmark.dataset import Rows
from benchmark.readers import strings
from benchmark.readers.assembly import assemble
from benchmark.readers.canonical import ID, STATUS
from benchmark.readers.files import Rejection, as_cell
from benchmark.readers.records import Chunk, SourceOptions, gathered, rejection
from features.errors import InputError, one_line

_DATE = {"date": str, "type": str}
SHAPE: dict[str, Any] = {
    "identificationModule": {
        "nctId": str, "briefTitle": str, "officialTitle": str, "acronym": str,
    },
    "statusModule": {
        "overallStatus": str, "whyStopped": str, "startDateStruct": _DATE,
        "primaryCompletionDateStruct": _DATE, "completionDateStruct": _DATE,
        "studyFirstPostDateStruct": _DATE, "resultsFirstPostDateStruct": _DATE,
        "lastUpdatePostDateStruct": _DATE,
    },
    "sponsorCollaboratorsModule": {
        "leadSponsor": {"name": str, "class": str}, "collaborators": [{"name": str}],
    },
    "oversightModule": {"oversightHasDmc": bool, "isFdaRegulatedDrug": bool},
    "descriptionModule": {"briefSummary": str, "detailedDescription": str},
    "conditionsModule": {"conditions": [str], "keywords": [str]},
    "designModule": {
        "studyType": str, "phases": [str],
        "designInfo": {
            "allocation": str, "interventionModel": str, "primaryPurpose": str,
            "observationalModel": str, "timePerspective": str, "maskingInfo": {"masking": str},
        },
        "enrollmentInfo": {"count": int, "type": str},
    },
    "armsInterventionsModule": {
        "armGroups": [{"label": str}], "interventions": [{"type": str, "name": str}],
    },
    "outcomesModule": {
        "primaryOutcomes": [{"measure": str, "description": str, "timeFrame": str}],
    },
    "eligibilityModule": {
        "eligibilityCriteria": str, "sex": str, "minimumAge": str, "maximumAge": str,
        "healthyVolunteers": bool, "stdAges": [str],
    },
    "contactsLocationsModule": {"locations": [{"country": str}]},
}  # fmt: skip
"""What is read of a study's `protocolSection`, and the types that the API states."""

PLAIN = {
    ID: "identificationModule.nctId",
    STATUS: "statusModule.overallStatus",
    "brief_title": "identificationModule.briefTitle",
    "official_title": "identificationModule.officialTitle",
    "acronym": "identificationModule.acronym",
    "brief_summary": "descriptionModule.briefSummary",
    "detailed_description": "descriptionModule.detailedDescription",
    "eligibility_criteria": "eligibilityModule.eligibilityCriteria",
    "why_stopped": "statusModule.whyStopped",
    "start_date": "statusModule.startDateStruct.date",
    "start_date_type": "statusModule.startDateStruct.type",
    "primary_completion_date": "statusModule.primaryCompletionDateStruct.date",
    "completion_date": "statusModule.completionDateStruct.date",
    "completion_date_type": "statusModule.completionDateStruct.type",
    "first_posted": "statusModule.studyFirstPostDateStruct.date",
    "results_first_posted": "statusModule.resultsFirstPostDateStruct.date",
    "last_update_posted": "statusModule.lastUpdatePostDateStruct.date",
    "lead_sponsor": "sponsorCollaboratorsModule.leadSponsor.name",
    "sponsor_class": "sponsorCollaboratorsModule.leadSponsor.class",
    "has_dmc": "oversightModule.oversightHasDmc",
    "fda_regulated_drug": "oversightModule.isFdaRegulatedDrug",
    "study_type": "designModule.studyType",
    "allocation": "designModule.designInfo.allocation",
    "intervention_model": "designModule.designInfo.interventionModel",
    "primary_purpose": "designModule.designInfo.primaryPurpose",
    "observational_model": "designModule.designInfo.observationalModel",
    "time_perspective": "designModule.designInfo.timePerspective",
    "masking": "designModule.designInfo.maskingInfo.masking",
    "enrollment": "designModule.enrollmentInfo.count",
    "enrollment_type": "designModule.enrollmentInfo.type",
    "sex": "eligibilityModule.sex",
    "min_age": "eligibilityModule.minimumAge",
    "max_age": "eligibilityModule.maximumAge",
    "healthy_volunteers": "eligibilityModule.healthyVolunteers",
}
"""Canonical names -> where the value stands."""

JOINED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "conditions": ("conditionsModule.conditions", (), ""),
    "keywords": ("conditionsModule.keywords", (), ""),
    "phases": ("designModule.phases", (), ""),
    "age_groups": ("eligibilityModule.stdAges", (), ""),
    "collaborators": ("sponsorCollaboratorsModule.collaborators", ("name",), ""),
    "interventions": ("armsInterventionsModule.interventions", ("type", "name"), ": "),
    "intervention_types": ("armsInterventionsModule.interventions", ("type",), ""),
    "primary_outcomes": (
        "outcomesModule.primaryOutcomes", ("measure", "description", "timeFrame"), ", ",
    ),
    "countries": ("contactsLocationsModule.locations", ("country",), ""),
}  # fmt: skip
"""Canonical names -> a list, the fields of its items and what parts these; `|` parts the items."""

COUNTED = {
    "number_of_arms": "armsInterventionsModule.armGroups",
    "n_locations": "contactsLocationsModule.locations",
}

_BLOCK = 1 << 24
_LONGEST = 1 << 28
"""Bytes of the longest single study, and of a document that cannot be cut into studies."""
_PAGE = 1000
_FILE = re.compile(r"(?<!\.manifest)\.(json|jsonl|ndjson|gz|zip)(/|$)")
"""Files of a folder that are read; a manifest stands beside what `data fetch` downloads."""
_START = re.compile(rb'\{\s*"protocolSection"\s*:')
"""The start of a study; inside a string the quote would be escaped."""


class Options(SourceOptions):
    """`path` of a file, a folder or an archive of studies."""


def read(options: Options) -> Rows:
    """All studies with an NCT number; a line of JSON Lines that is no study is listed.

    Raises `InputError` if a page or list is broken or cut off, for HTML, and for JSON of another
    kind.
    """
    raw = gathered(options.path, _entries(options), "study")
    return assemble(raw, id_pattern=r"NCT\d{8}")


def _entries(options: Options) -> Iterator[Chunk | Rejection]:
    place = 1
    for name, stream in options.streams():
        if options.path.is_dir() and not _FILE.search(name.lower()):
            continue
        for entry in _studies(name, _utf8(stream), place):
            place += 1 if isinstance(entry, Rejection) else len(entry.places)
            yield entry


def _utf8(stream: io.BufferedReader) -> io.BufferedReader:
    """The stream behind its byte order mark. Raises `InputError` for UTF-16."""
    start = stream.peek(3)[:3]
    if start.startswith(b"\xef\xbb\xbf"):
        stream.read(3)
    elif start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError("JSON in UTF-16", "UTF-8", "convert it with iconv -f utf-16 -t utf-8")
    return stream


def _studies(name: str, stream: io.BufferedReader, place: int) -> Iterator[Chunk | Rejection]:
    """The studies of one stream, the first of which has this place."""
    line = b""
    while not line.strip():
        line = stream.readline(_LONGEST)
        if not line:
            raise InputError(f"{name} is empty", "studies", "check the download")
    start = line.lstrip()[:64]
    if not start.startswith((b"{", b"[")):
        kind = "HTML or XML" if start.startswith(b"<") else f"no JSON: {one_line(start[:40])}"
        raise InputError(f"{name} is {kind}", "studies of the API v2", "download it again")
    if start.startswith(b"{") and (_START.match(start) or _is_study(line)):
        rest = stream.peek(1)
        if rest and line.rstrip().endswith(b"}"):
            yield from _lines(name, line, stream, place)
            return
        if not rest and not _is_study(line):
            raise _broken(name, place)
    yield from _document(name, line, stream, place)


def _is_study(line: bytes) -> bool:
    found = _loaded(line)
    return isinstance(found, dict) and "protocolSection" in found


def _loaded(text: bytes) -> Any:
    """The value, or the error as an exception object."""
    import orjson

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return error


def _broken(name: str, place: int, why: object = "") -> InputError:
    tail = f" ({one_line(why, 100)})" if why else ""
    return InputError(
        f"{name}: the JSON is broken or cut off at study {place}{tail}",
        "a whole document",
        "download it again",
    )


def _lines(
    name: str, first: bytes, stream: io.BufferedReader, place: int
) -> Iterator[Chunk | Rejection]:
    """JSON Lines, a block at a time; `first` has been read already."""
    number = 1
    for block, table in strings.ahead(_parsed, _blocks(first, stream)):
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        if table is not None and table.num_rows == lines:
            yield Chunk(range(place, place + lines), table)
            place += lines
        else:
            for entry in _one_by_one(name, block, place, number):
                yield entry
                place += 1 if isinstance(entry, Rejection) else len(entry.places)
        number += lines


def _blocks(first: bytes, stream: io.BufferedReader) -> Iterator[bytes]:
    """Whole lines, some MiB at a time."""
    while block := b"".join((first, stream.read(_BLOCK), stream.readline(_LONGEST))):
        yield block
        first = b""


def _parsed(block: bytes) -> pa.Table | None:
    """The studies of whole lines; None if any line is not as the API writes it."""
    import pyarrow.json as pj

    try:
        table = pj.read_json(
            pa.BufferReader(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=pj.ParseOptions(
                explicit_schema=pa.schema([("protocolSection", _arrow(SHAPE))]),
                unexpected_field_behavior="ignore",
            ),
        )
        studies = table["protocolSection"].combine_chunks()
        studies.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return _columns(studies)


def _one_by_one(name: str, block: bytes, place: int, number: int) -> Iterator[Chunk | Rejection]:
    """The studies of lines of which some may be broken; `number` is the first line's."""
    places, studies = [], []
    for at, line in enumerate(block.split(b"\n"), number):
        if not line.strip():
            continue
        found = _loaded(line)
        if isinstance(found, dict):
            places.append(place)
            studies.append(found)
        else:
            why = f"no JSON ({found})" if isinstance(found, Exception) else "no object"
            yield rejection(place, one_line(f"{name}, line {at}: {why}", 200))
        place += 1
    yield from _fitted(places, studies)


def _document(
    name: str, head: bytes, stream: io.BufferedReader, place: int
) -> Iterator[Chunk | Rejection]:
    """The studies of one page, list or study, some at a time."""
    studies: list[Any] = []
    for study in _pieces(name, head, stream, place):
        studies.append(study)
        if len(studies) == _PAGE:
            yield from _fitted(range(place, place + len(studies)), studies)
            place, studies = place + len(studies), []
    yield from _fitted(range(place, place + len(studies)), studies)


def _pieces(name: str, head: bytes, stream: io.BufferedReader, place: int) -> Iterator[Any]:
    """Every study of a document. Raises `InputError` unless the document around them is whole."""
    rest, frame, done = head, b"", False
    while True:
        more = stream.read(_BLOCK)
        rest += more
        starts = [match.start() for match in _START.finditer(rest)]
        if starts and not frame and not done:
            frame, rest, done = rest[: starts[0]], rest[starts[0] :], True
            starts = [start - starts[0] for start in starts]
        for start, end in pairwise(starts):
            study = _loaded(rest[start:end].rstrip().removesuffix(b","))
            if isinstance(study, Exception):
                raise _broken(name, place, study)
            yield study
            place += 1
        if len(starts) > 1:
            rest = rest[starts[-1] :]
        if not more:
            break
        if len(rest) > _LONGEST:
            raise InputError(
                f"{name} holds one value of more than {_LONGEST >> 20} MiB",
                "studies of the API v2 in a list or page",
                "write one study a line (jq -c '.studies[]')",
            )
    yield from _last(name, frame, rest, place) if done else _whole(name, rest, place)


def _last(name: str, frame: bytes, rest: bytes, place: int) -> Iterator[Any]:
    """The last study, if what stands around the studies is a whole list or page."""
    try:
        text = rest.decode()
        study, end = JSONDecoder().raw_decode(text)
    except (UnicodeDecodeError, JSONDecodeError, RecursionError) as error:
        raise _broken(name, place, error) from None
    around = frame + text[end:].encode()
    if around.strip():
        found = _loaded(around)
        if isinstance(found, Exception) or (isinstance(found, dict) and found.get("studies") != []):
            raise _broken(name, place, found if isinstance(found, Exception) else "")
    yield study


def _whole(name: str, text: bytes, place: int) -> Iterator[Any]:
    """The studies of a document in which none starts as the API writes it."""
    found = _loaded(text)
    if isinstance(found, Exception):
        raise _broken(name, place, found)
    if isinstance(found, dict) and "protocolSection" in found:
        found = [found]
    elif isinstance(found, dict):
        if not isinstance(found.get("studies"), list):
            keys = ", ".join(map(str, found)) or "none"
            raise InputError(
                f"{name} is JSON with the keys {one_line(keys, 120)}",
                "`studies` or `protocolSection`",
                "name a download of the API v2",
            )
        found = found["studies"]
    yield from found


def _fitted(places: Sequence[int], studies: Sequence[Any]) -> Iterator[Chunk | Rejection]:
    """Parsed studies as columns; one whose parts are not shaped as the API's is left out."""
    kept, sections = [], []
    for place, study in zip(places, studies, strict=True):
        flaws: list[str] = []
        section = study.get("protocolSection") if isinstance(study, dict) else study
        fitted = _fit(section, SHAPE, "protocolSection", flaws)
        if flaws:
            identity = section.get("identificationModule") if isinstance(section, dict) else None
            id_ = identity.get("nctId") if isinstance(identity, dict) else None
            yield rejection(place, one_line(flaws[0], 200), one_line(as_cell(id_), 40))
        else:
            kept.append(place)
            sections.append(fitted)
    if kept:
        yield Chunk(kept, _columns(pa.array(sections, _arrow(SHAPE, texts=True))))


def _fit(value: Any, shape: Any, where: str, flaws: list[str]) -> Any:
    """The parts of `value` that `shape` names, leaves as text; what does not fit is a flaw."""
    if value is None:
        return None
    expected = dict if isinstance(shape, dict) else list if isinstance(shape, list) else None
    if expected is None:
        if not isinstance(value, dict | list):
            return as_cell(value)
    elif isinstance(value, expected):
        if isinstance(shape, dict):
            return {
                key: _fit(value[key], inner, f"{where}.{key}", flaws)
                for key, inner in shape.items()
                if key in value
            }
        return [_fit(item, shape[0], where, flaws) for item in value]
    names = {dict: "an object", list: "a list", None: "a text or number"}
    flaws.append(f"{where} is {names.get(type(value), 'no object')}, expected {names[expected]}")
    return None


def _arrow(shape: Any, *, texts: bool = False) -> pa.DataType:
    """The Arrow type of a shape; with `texts` all leaves are strings."""
    if isinstance(shape, dict):
        return pa.struct([(key, _arrow(inner, texts=texts)) for key, inner in shape.items()])
    if isinstance(shape, list):
        return pa.list_(_arrow(shape[0], texts=texts))
    return {int: pa.int64(), bool: pa.bool_()}.get(shape, pa.string()) if not texts else pa.string()


def _columns(sections: pa.StructArray) -> pa.Table:
    """Protocol sections (n) as canonical columns of strings (n)."""
    columns = {name: _text(_at(sections, path)) for name, path in PLAIN.items()}
    for name, (path, fields, between) in JOINED.items():
        columns[name] = _joined(_at(sections, path), fields, between)
    for name, path in COUNTED.items():
        count = pc.list_value_length(_at(sections, path))
        columns[name] = _text(pc.if_else(pc.equal(count, 0), None, count))
    columns["countries"] = strings.mapped(columns["countries"], _sorted)
    for name in strings.MARKED:
        columns[name] = strings.unescaped(columns[name])
    return pa.table(columns)


def _at(array: pa.StructArray, path: str) -> pa.Array:
    return pc.struct_field(array, path.split("."))


def _text(array: pa.Array) -> pa.Array:
    return strings.without_nulls(array.cast(pa.large_string()))


def _joined(lists: pa.ListArray, fields: Sequence[str], between: str) -> pa.Array:
    """The items of each list parted by `|`, the fields of an item by `between`."""
    items = lists.values
    if fields:
        items = strings.joined([pc.struct_field(items, [field]) for field in fields], between)
    items = pc.fill_null(items, "")
    lists = pa.ListArray.from_arrays(lists.offsets, items, mask=lists.is_null())
    return _text(pc.binary_join(lists, "|"))


def _sorted(cell: str) -> str:
    return "|".join(sorted({name for name in cell.split("|") if name}))
