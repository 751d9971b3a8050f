"""How fast and in how much memory a registry is read: `python tests/perf/reading.py`.

Three pairs are timed, each job in a process of its own and the jobs of a pair in turn: the reader
`trials` against `pandas.read_parquet`, and `ctgov-json` against `orjson.loads` line by line, on
studies made of the same Parquet file. Both readers return all they read, so the plain job that
`ctgov-json` is measured by keeps what it parsed too; most of its time is Python's garbage collector
walking the objects. The last pair is harder: its plain job drops each study at once. The aim is a
ratio of at most 2, and a peak below 2 GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REGISTRY = ROOT.parent / "shared" / "data" / "trials" / "registry_120k.parquet"
PAIRS = {
    "parquet": ("pandas", "trials"),
    "json lines": ("orjson", "ctgov-json"),
    "none kept": ("orjson-drop", "ctgov-json"),
}


def main() -> None:
    """Time all jobs, or one of them for the parent process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parquet", type=Path, default=REGISTRY)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", nargs=2, metavar=("NAME", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        sys.stdout.write(json.dumps(job(args.job[0], Path(args.job[1]))) + "\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "studies.jsonl"
        write_lines(args.parquet, lines)
        files = {"parquet": args.parquet, "json lines": lines, "none kept": lines}
        report(files, args.rounds)


def report(files: dict[str, Path], rounds: int) -> None:
    """Print one line a job: best and median wall and processor time, ratio, peak memory."""
    say = sys.stdout.write
    say(f"{'what':12}{'job':12}{'MB':>7}{'best s':>9}{'median s':>10}{'cpu s':>8}{'ratio':>8}")
    say(f"{'median r.':>11}{'cpu r.':>8}{'peak MiB':>10}{'rows':>9}\n")
    for what, names in PAIRS.items():
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                runs[name].append(in_a_process(name, files[what]))
        plain = summary(runs[names[0]])
        for name in names:
            found = summary(runs[name])
            size = files[what].stat().st_size / 1e6
            say(f"{what:12}{name:12}{size:7.0f}{found['wall']:9.3f}{found['median']:10.3f}")
            say(f"{found['cpu']:8.3f}{found['wall'] / plain['wall']:8.2f}")
            say(f"{found['median'] / plain['median']:11.2f}{found['cpu'] / plain['cpu']:8.2f}")
            say(f"{found['peak']:10.0f}{found['rows']:9.0f}\n")


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Best wall and processor time, median wall time, largest peak, rows."""
    walls = sorted(run["wall"] for run in runs)
    return {
        "wall": walls[0],
        "median": walls[len(walls) // 2],
        "cpu": min(run["cpu"] for run in runs),
        "peak": max(run["peak"] for run in runs),
        "rows": runs[0]["rows"],
    }


def in_a_process(name: str, file: Path) -> dict[str, float]:
    """One job in a fresh interpreter, so that its peak of memory is its own."""
    command = [sys.executable, __file__, "--job", name, str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def job(name: str, file: Path) -> dict[str, float]:
    """The better of two runs of a job (imports and disk are warm in the second)."""
    sys.path.insert(0, str(ROOT))
    best: dict[str, float] = {}
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        rows = JOBS[name](file)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if not best or wall < best["wall"]:
            best = {"wall": wall, "cpu": cpu, "rows": rows}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    return best | {"peak": peak}


def with_pandas(file: Path) -> int:
    """`pandas.read_parquet`."""
    import pandas as pd

    return len(pd.read_parquet(file))


def with_trials(file: Path) -> int:
    """The reader `trials`."""
    from benchmark.readers import trials

    return len(trials.read(trials.Options(path=file)).frame)


def with_orjson(file: Path) -> int:
    """`orjson.loads` of every line; all studies are kept, as a plain read does."""
    import orjson

    with file.open("rb") as lines:
        studies = [orjson.loads(line) for line in lines]
    return len(studies)


def with_orjson_drop(file: Path) -> int:
    """`orjson.loads` of every line; nothing is kept: the least that parsing costs."""
    import orjson

    count = 0
    with file.open("rb") as lines:
        for line in lines:
            orjson.loads(line)
            count += 1
    return count


def with_ctgov_json(file: Path) -> int:
    """The reader `ctgov-json`."""
    from benchmark.readers import ctgov_json

    return len(ctgov_json.read(ctgov_json.Options(path=file)).frame)


JOBS = {
    "pandas": with_pandas,
    "trials": with_trials,
    "orjson": with_orjson,
    "orjson-drop": with_orjson_drop,
    "ctgov-json": with_ctgov_json,
}


def write_lines(parquet: Path, out: Path) -> None:
    """The rows of a canonical Parquet file as studies of the API v2, one a line."""
    import orjson
    import pyarrow.parquet as pq

    with out.open("wb") as file:
        for batch in pq.ParquetFile(parquet).iter_batches(4000):
            for row in batch.to_pylist():
                file.write(orjson.dumps(as_study(row)) + b"\n")


def as_study(row: dict[str, Any]) -> dict[str, Any]:
    """One row as a study; what is missing in the row is absent in the study."""
    cell = row.get
    flags = {"true": True, "Yes": True, "false": False, "No": False}
    countries = parts(cell("countries")) or [None]
    places = range(min(cell("n_locations") or 0, 50))
    return {
        "protocolSection": pruned(
            {
                "identificationModule": {
                    "nctId": cell("nct_id"),
                    "briefTitle": cell("brief_title"),
                    "officialTitle": cell("official_title"),
                    "acronym": cell("acronym"),
                },
                "statusModule": {
                    "overallStatus": cell("overall_status"),
                    "whyStopped": cell("why_stopped"),
                    "startDateStruct": dated(row, "start_date"),
                    "primaryCompletionDateStruct": dated(row, "primary_completion_date"),
                    "completionDateStruct": dated(row, "completion_date"),
                    "studyFirstPostDateStruct": dated(row, "first_posted"),
                    "resultsFirstPostDateStruct": dated(row, "results_first_posted"),
                    "lastUpdatePostDateStruct": dated(row, "last_update_posted"),
                },
                "sponsorCollaboratorsModule": {
                    "leadSponsor": {"name": cell("lead_sponsor"), "class": cell("sponsor_class")},
                    "collaborators": [{"name": name} for name in parts(cell("collaborators"))],
                },
                "oversightModule": {
                    "oversightHasDmc": flags.get(cell("has_dmc")),
                    "isFdaRegulatedDrug": flags.get(cell("fda_regulated_drug")),
                },
                "descriptionModule": {
                    "briefSummary": cell("brief_summary"),
                    "detailedDescription": cell("detailed_description"),
                },
                "conditionsModule": {
                    "conditions": parts(cell("conditions")),
                    "keywords": parts(cell("keywords")),
                },
                "designModule": design(row),
                "armsInterventionsModule": {
                    "armGroups": [
                        {"label": f"Arm {n}"} for n in range(cell("number_of_arms") or 0)
                    ],
                    "interventions": [
                        {"type": kind or "OTHER", "name": name}
                        for kind, _, name in (
                            one.rpartition(": ") for one in parts(cell("interventions"))
                        )
                    ],
                },
                "outcomesModule": {
                    "primaryOutcomes": [{"measure": one} for one in parts(cell("primary_outcomes"))]
                },
                "eligibilityModule": {
                    "eligibilityCriteria": cell("eligibility_criteria"),
                    "healthyVolunteers": flags.get(cell("healthy_volunteers")),
                    "sex": cell("sex"),
                    "minimumAge": cell("min_age"),
                    "maximumAge": cell("max_age"),
                },
                "contactsLocationsModule": {
                    "locations": [
                        {"facility": f"Site {n}", "country": countries[min(n, len(countries) - 1)]}
                        for n in places
                    ]
                },
            }
        ),
        "hasResults": cell("results_first_posted") is not None,
    }


def design(row: dict[str, Any]) -> dict[str, Any]:
    """The design module of a row."""
    return {
        "studyType": row["study_type"],
        "phases": parts(row["phases"]),
        "designInfo": {
            "allocation": row["allocation"],
            "interventionModel": row["intervention_model"],
            "primaryPurpose": row["primary_purpose"],
            "observationalModel": row["observational_model"],
            "timePerspective": row["time_perspective"],
            "maskingInfo": {"masking": row["masking"]},
        },
        "enrollmentInfo": {"count": row["enrollment"], "type": row["enrollment_type"]},
    }


def dated(row: dict[str, Any], name: str) -> dict[str, Any]:
    """A date with its type, where it has one."""
    return {"date": row[name], "type": row.get(f"{name}_type")} if row[name] else {}


def parts(cell: str | None) -> list[str]:
    """The parts of a joined cell."""
    return cell.split("|") if cell else []


def pruned(value: Any) -> Any:
    """`value` without empty parts."""
    if isinstance(value, dict):
        kept = {key: pruned(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in (None, "", {}, [])}
    return [pruned(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    main()
