"""Reader `aact`: the pipe-delimited tables of AACT, CTTI's copy of the registry.

A folder with `studies.txt` and whatever other tables are there, the zip as downloaded, or
`studies.txt` itself. Written from AACT's published schema; no file of AACT's own was at hand.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmark.dataset import REJECTED, Rows
from benchmark.readers import strings
from benchmark.readers.assembly import assemble
from benchmark.readers.canonical import ID, STATUS
from benchmark.readers.files import EMPTIED
from benchmark.readers.records import Chunk, SourceOptions, gathered, rejection
from features.errors import InputError, one_line

Columns = dict[str, pa.Array]
Broken = dict[int, str]
"""What is wrong with the rows of a table that cannot be cut into cells, by their place."""

STUDIES = {
    ID: ("nct_id",),
    STATUS: ("overall_status",),
    "brief_title": ("brief_title",),
    "official_title": ("official_title",),
    "acronym": ("acronym",),
    "why_stopped": ("why_stopped",),
    "study_type": ("study_type",),
    "phases": ("phase",),
    "enrollment": ("enrollment",),
    "enrollment_type": ("enrollment_type",),
    "number_of_arms": ("number_of_arms", "number_of_groups"),
    "has_dmc": ("has_dmc",),
    "fda_regulated_drug": ("is_fda_regulated_drug",),
    "start_date": ("start_month_year", "start_date"),
    "start_date_type": ("start_date_type",),
    "primary_completion_date": ("primary_completion_month_year", "primary_completion_date"),
    "completion_date": ("completion_month_year", "completion_date"),
    "completion_date_type": ("completion_date_type",),
    "first_posted": ("study_first_posted_date",),
    "results_first_posted": ("results_first_posted_date",),
    "last_update_posted": ("last_update_posted_date",),
}
"""Canonical names -> columns of `studies`, the first that is not empty.

`*_month_year` holds the date as it was entered; for a month alone `*_date` holds its last day.
"""
ONE = {
    "brief_summaries": {"brief_summary": "description"},
    "detailed_descriptions": {"detailed_description": "description"},
    "eligibilities": {
        "eligibility_criteria": "criteria", "sex": "gender", "min_age": "minimum_age",
        "max_age": "maximum_age", "healthy_volunteers": "healthy_volunteers",
        "child": "child", "adult": "adult", "older_adult": "older_adult",
    },
    "designs": {
        "allocation": "allocation", "intervention_model": "intervention_model",
        "masking": "masking", "primary_purpose": "primary_purpose",
        "observational_model": "observational_model", "time_perspective": "time_perspective",
    },
    "calculated_values": {"n_facilities": "number_of_facilities"},
}  # fmt: skip
"""Tables with one row a study -> canonical names and their columns."""
MANY: dict[str, tuple[str, ...]] = {
    "sponsors": ("lead_or_collaborator", "name", "agency_class"),
    "conditions": ("name",),
    "keywords": ("name",),
    "interventions": ("intervention_type", "name"),
    "design_outcomes": ("outcome_type", "measure", "description", "time_frame"),
    "facilities": ("country",),
    "countries": ("name", "removed"),
}
"""Tables with many rows a study -> the columns that are read."""

_TABLES = {"studies", *ONE, *MANY}
_BLOCK = 1 << 22


class _Utf8(io.RawIOBase):
    """A stream that is checked to be UTF-8: Arrow drops broken rows unseen where they are not."""

    def __init__(self, source: io.BufferedReader, name: str) -> None:
        super().__init__()
        self.source, self.name = source, name
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.source.read(len(buffer))
        try:
            self.decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            shown = error.object[error.start : error.start + 1].hex()
            raise InputError(
                f"{self.name}: byte {shown} is not UTF-8",
                "tables in UTF-8",
                "convert it with iconv",
            ) from None
        buffer[: len(data)] = data
        return len(data)


class Options(SourceOptions):
    """`path` of the folder, of the downloaded zip, or of `studies.txt` in its folder."""


def read(options: Options) -> Rows:
    """All studies with an NCT number; a broken line of a table is listed.

    Places count the rows of `studies`; what is lost of another table is listed at place 0. Raises
    `InputError` if there is no `studies.txt`, a table lacks the column `nct_id` or is not UTF-8.
    """
    path = options.path
    folder = path.parent if path.name.lower() == "studies.txt" else path
    tables, broken = _tables(options.model_copy(update={"path": folder}))
    if "studies" not in tables:
        raise InputError(
            f"{folder.name} has no table studies.txt",
            "the tables of AACT",
            "name the folder that holds studies.txt, or the downloaded zip",
        )
    studies = tables.pop("studies")
    columns = _studies(studies)
    lost: list[str] = []
    for name, table in tables.items():
        lost += [f"{name}, row {row}: {why}" for row, why in broken[name].items()]
        lost += _strays(name, table["nct_id"], columns[ID])
        columns |= _matched(
            columns[ID], _single(name, table) if name in ONE else _lists(name, table)
        )
    bad = broken["studies"]
    places = [row for row in range(1, studies.num_rows + len(bad) + 1) if row not in bad]
    rejected = [rejection(row, f"studies, row {row}: {why}") for row, why in bad.items()]
    chunk = [Chunk(places, pa.table(_finished(columns)))] if places else []
    rows = assemble(gathered(path, [*chunk, *rejected], "study"), id_pattern=r"NCT\d{8}")
    listed = pd.DataFrame([(0, "", EMPTIED + what) for what in lost], columns=REJECTED)
    return replace(rows, rejected=pd.concat([rows.rejected, listed]) if lost else rows.rejected)


def _strays(name: str, ids: pa.ChunkedArray, studies: pa.Array) -> list[str]:
    """A line about rows of a table whose study is not there."""
    strays = pc.sum(pc.invert(pc.is_in(ids, value_set=studies))).as_py() or 0
    return [f"{name}: {strays} rows of studies that are not in studies.txt"] if strays else []


def _tables(options: Options) -> tuple[dict[str, pa.Table], dict[str, Broken]]:
    """The tables by name, the wanted columns only, and their lines that are no rows."""
    found: dict[str, pa.Table] = {}
    broken: dict[str, Broken] = {}
    for name, stream in options.streams(wanted=lambda name: _table_name(name) in _TABLES):
        table = _table_name(name)
        if table in found:
            raise InputError(f"{name}: the table {table} is there twice", "it once")
        found[table], broken[table] = _read(name, table, stream)
    return found, broken


def _table_name(name: str) -> str:
    last = name.rpartition("/")[2].lower().removesuffix(".gz")
    return last.removesuffix(".txt") if last.endswith(".txt") else ""


def _read(name: str, table: str, stream: io.BufferedReader) -> tuple[pa.Table, Broken]:
    """One table: its wanted columns as strings, and the rows with too many or too few cells."""
    import pyarrow.csv as pv

    line = stream.peek(1 << 16).split(b"\n")[0].decode("utf-8-sig", "replace")
    header = [cell.strip('"') for cell in line.strip().split("|")]
    if "nct_id" not in header:
        raise InputError(
            f"{name} has no column 'nct_id'; its columns are {one_line(', '.join(header), 120)}",
            "a table of AACT, parted by |",
        )
    wanted = [column for column in _wanted(table) if column in header]
    broken: Broken = {}

    def bad(row: Any) -> str:
        came = f"{row.actual_columns} cells where the header has {row.expected_columns}"
        broken[row.number - 1] = came  # the header is row 1
        return "skip"

    try:
        reader = pv.open_csv(
            io.BufferedReader(_Utf8(stream, name), _BLOCK),
            read_options=pv.ReadOptions(use_threads=False, block_size=_BLOCK),
            parse_options=pv.ParseOptions(
                delimiter="|", newlines_in_values=True, invalid_row_handler=bad
            ),
            convert_options=pv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.large_string()),
                strings_can_be_null=False,
            ),
        )
        return reader.read_all(), broken
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise InputError(
            f"{name} is no table of AACT: {one_line(error, 160)}",
            "UTF-8 text parted by |",
            "unpack the download again",
        ) from None


def _wanted(table: str) -> list[str]:
    columns: list[str] = []
    if table == "studies":
        columns = [column for choices in STUDIES.values() for column in choices]
    elif table in ONE:
        columns = list(ONE[table].values())
    else:
        columns = list(MANY[table])
    return list(dict.fromkeys(["nct_id", *columns]))


def _studies(table: pa.Table) -> Columns:
    found: Columns = {}
    for name, choices in STUDIES.items():
        there = [
            strings.as_arrow(table[column]) for column in choices if column in table.column_names
        ]
        if there:
            found[name] = _first(there)
    return found


def _first(columns: Sequence[pa.Array]) -> pa.Array:
    """For each row the first cell that is not empty."""
    found = columns[0]
    for column in columns[1:]:
        found = pc.if_else(pc.equal(found, ""), column, found)
    return found


def _single(name: str, table: pa.Table) -> tuple[pa.Array, Columns]:
    columns = {
        new: strings.as_arrow(table[column])
        for new, column in ONE[name].items()
        if column in table.column_names
    }
    return strings.as_arrow(table["nct_id"]), columns


def _lists(name: str, table: pa.Table) -> tuple[pa.Array, Columns]:
    """The rows of each study joined by `|`, in the order of the file, under canonical names."""
    cells = {column: strings.as_arrow(table[column]) for column in table.column_names}
    cells |= {
        column: pa.array([""] * table.num_rows, pa.large_string())
        for column in MANY[name]
        if column not in cells
    }
    made: dict[str, tuple[pa.Array, pa.Array | None]] = {}
    if name == "sponsors":
        lead = pc.equal(pc.utf8_lower(cells["lead_or_collaborator"]), "lead")
        made["lead_sponsor"] = (cells["name"], lead)
        made["sponsor_class"] = (cells["agency_class"], lead)
        made["collaborators"] = (cells["name"], pc.invert(lead))
    elif name == "interventions":
        kinds = pc.replace_substring(pc.utf8_upper(cells["intervention_type"]), " ", "_")
        made["interventions"] = (strings.joined([kinds, cells["name"]], ": "), None)
        made["intervention_types"] = (kinds, None)
    elif name == "design_outcomes":
        parts = [cells[column] for column in ("measure", "description", "time_frame")]
        primary = pc.equal(pc.utf8_lower(cells["outcome_type"]), "primary")
        made["primary_outcomes"] = (strings.joined(parts, ", "), primary)
    elif name == "countries":
        made["country_list"] = (cells["name"], pc.not_equal(cells["removed"], "t"))
    elif name == "facilities":
        made["countries"] = (cells["country"], None)
        made["n_locations"] = (pa.array(["x"] * table.num_rows, pa.large_string()), None)
    else:
        made[name] = (cells["name"], None)
    ids = pc.unique(cells["nct_id"])
    columns = {
        new: _matched(ids, _grouped(new, cells["nct_id"], *what))[new] for new, what in made.items()
    }
    return ids, columns


def _grouped(
    name: str, ids: pa.Array, column: pa.Array, keep: pa.Array | None
) -> tuple[pa.Array, Columns]:
    """The cells of each id joined by `|`, of the rows to keep."""
    table = pa.table({"id": ids, "cell": column})
    if keep is not None:
        table = table.filter(keep)
    groups = table.group_by("id", use_threads=False).aggregate([("cell", "list")])
    lists = groups["cell_list"].combine_chunks().cast(pa.list_(pa.string()))
    joined = pc.binary_join(lists, "|").cast(pa.large_string())
    return strings.as_arrow(groups["id"]), {name: joined}


def _matched(ids: pa.Array, found: tuple[pa.Array, Columns]) -> Columns:
    """Columns in the order of `ids`, "" for an id that is not among theirs."""
    places = pc.index_in(ids, value_set=found[0])
    return {name: strings.without_nulls(column.take(places)) for name, column in found[1].items()}


def _finished(columns: Mapping[str, pa.Array]) -> Columns:
    """The canonical columns; those made for a while are gone."""
    done = dict(columns)
    listed, counted = done.pop("country_list", None), done.pop("n_facilities", None)
    if "n_locations" in done:
        done["n_locations"] = strings.mapped(
            done["n_locations"], lambda cell: str(cell.count("|") + 1) if cell else ""
        )
    elif counted is not None:
        done["n_locations"] = pc.if_else(pc.equal(counted, "0"), "", counted)
    if "countries" not in done and listed is not None:
        done["countries"] = listed
    if "countries" in done:
        done["countries"] = strings.mapped(
            done["countries"], lambda cell: "|".join(sorted({c for c in cell.split("|") if c}))
        )
    groups = [(name, done.pop(name)) for name in ("child", "adult", "older_adult") if name in done]
    if groups:
        named = [
            pc.if_else(pc.is_in(flag, pa.array(["t", "true"], flag.type)), name.upper(), "")
            for name, flag in groups
        ]
        done["age_groups"] = strings.joined([cell.cast(pa.large_string()) for cell in named], "|")
    for name in strings.MARKED:
        if name in done:
            done[name] = strings.unescaped(done[name])
    return done
