"""The audit as a whole: report, command, documentation, planted defects and real data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from audited import audited, findings, halves, registry, rows_of

from benchmark.audit import CHECKS, Finding, Report
from benchmark.audit.of_config import audit
from benchmark.audit.render import render
from benchmark.readers import synthetic
from benchmark.tasks import labelled
from features.errors import InputError

Call = Callable[..., tuple[int, str, str]]
CONFIGS = Path(__file__).parents[1] / "configs"
DOCS = Path(__file__).parents[1] / "docs" / "audit.md"
CLEAN = {
    "reader": "synthetic", "rows": 1500, "duplicates": 0, "drift": 0, "leak": 0,
}  # fmt: skip


def config(as_of: str = "registration", **data: float) -> dict[str, Any]:
    return {
        "data": CLEAN | data,
        "splits": ["stratified", "temporal"],
        "models": [{"name": "lightgbm", "inputs": "both"}],
        "as_of": as_of,
    }


def write(folder: Path, **data: float) -> Path:
    path = folder / "c.yaml"
    path.write_text(yaml.safe_dump(config(**data)), encoding="utf-8")
    return path


def test_clean_registry_has_no_serious_finding_and_no_warning() -> None:
    report = audit(config())
    assert [f for f in report.findings if f.severity != "note"] == []


@pytest.mark.parametrize(
    ("code", "data", "as_of"),
    [
        ("A05", {"leak": 1}, "after"),
        ("A07", {"batch_effects": 1.5}, "registration"),
        ("A08", {"outcome_phrases": 0.2}, "registration"),
        ("A09", {"duplicates": 0.05}, "registration"),
        ("A13", {"censoring": 0.5}, "registration"),
    ],
)
def test_planted_defect_is_serious(code: str, data: dict[str, float], as_of: str) -> None:
    assert code in {f.code for f in audit(config(as_of, **data)).serious}


def test_batch_effects_add_a_source_and_change_nothing_else() -> None:
    plain = synthetic.read(synthetic.Options(rows=3000))
    batches = synthetic.read(synthetic.Options(rows=3000, batch_effects=1.0))
    assert "source" not in plain.frame
    assert batches.frame.drop(columns="source").equals(plain.frame)
    assert "source" not in {column.name for column in batches.columns}
    # e^0 : e^1 : e^2 for stopped trials: .090, .245, .665; even shares for completed ones
    stopped = batches.frame["overall_status"] != "COMPLETED"
    shares = batches.frame["source"].groupby(stopped).value_counts(normalize=True)
    assert shares[True, "south"] == pytest.approx(0.665, abs=0.06)
    assert shares[False, "south"] == pytest.approx(1 / 3, abs=0.04)


def test_planted_drift_is_a_warning() -> None:
    assert "A14" in {f.code for f in audit(config(drift=2)).of("warning")}


def test_findings_stand_by_severity_and_each_check_says_something_of_each_task() -> None:
    report = audit(config("after", leak=1))
    order = [("serious", "warning", "note").index(f.severity) for f in report.findings]
    assert order == sorted(order)
    told = {f.code for f in report.findings} | {s.code for s in report.skipped}
    assert told | {code for code, _ in report.passed} == set(CHECKS)


def test_first_split_of_a_name_stands_for_its_seeds_and_folds() -> None:
    rows = rows_of(registry(lead_sponsor=["one"] * 400))
    data = labelled(rows, "trial-outcome")
    splits = [halves(data, "stratified-kfold/1"), halves(data, "stratified-kfold/2")]
    report = audited(rows, splits={"trial-outcome": splits})
    assert [f.where for f in findings(report, "A11")] == ["stratified-kfold/1"]


def report_of(*severities: str) -> Report:
    found = [
        Finding(severity=s, where="x", found=f"text {s}", advice="mend it", code="A05", title="t")  # type: ignore[arg-type]
        for s in severities
    ]
    return Report(tuple(found), (), ())


def test_summary_counts_by_severity_and_names_what_is_serious() -> None:
    report = report_of("serious", "warning", "warning")
    assert report.summary() == "audit: 1 serious finding, 2 warnings, 0 notes (A05 x)"
    assert report_of().summary() == "audit: 0 serious findings, 0 warnings, 0 notes"


def test_strict_check_raises_for_serious_findings_alone() -> None:
    report_of("warning", "note").check()
    with pytest.raises(InputError, match=r"1 serious finding: A05 t: text serious; .*; mend it"):
        report_of("serious").check()


def test_json_holds_codes_numbers_and_reasons_and_no_text_of_the_rows() -> None:
    summaries = registry()["brief_summary"].tolist()
    summaries[1] += " The study was terminated early due to low enrollment."
    report = audited(rows_of(registry(brief_summary=summaries)))
    text = json.dumps(report.to_json(), allow_nan=False)
    assert "low enrollment" not in text
    content = json.loads(text)
    told = next(f for f in content["findings"] if f["code"] == "A08")
    assert told["evidence"][0]["id"] == "T0001"
    start = summaries[1].index("study was terminated")
    assert told["evidence"][0]["span"] == [start, start + 20]
    assert {s["code"] for s in content["not_applicable"]} >= {"A02", "A07"}


def test_command_prints_findings_and_its_exit_code_is_1_for_serious_ones(
    call: Call, tmp_path: Path
) -> None:
    code, out, err = call("audit", write(tmp_path))
    assert (code, err) == (0, "")
    assert out.startswith("audit: 0 serious findings, 0 warnings")
    code, out, _ = call("audit", write(tmp_path, duplicates=0.1))
    assert code == 1
    assert "A09  duplicates across parts: trial-outcome, stratified" in out


def test_command_writes_markdown_and_json(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    code, out, _ = call("audit", write(tmp_path), "--format", "json", "--output", file)
    assert (code, out) == (0, "")
    assert json.loads(file.read_text(encoding="utf-8"))["counts"]["serious"] == 0
    _, out, _ = call("audit", write(tmp_path), "--format", "markdown")
    assert "| not applicable | A02 |" in out


def test_unknown_format_and_wrong_config_are_one_line(call: Call, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'json'"):
        render(report_of(), "jsn")
    code, _, err = call("audit", tmp_path / "none.yaml")
    assert code == 2
    assert err.count("\n") == 1


def test_documentation_lists_every_check_by_its_title() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for code, check in CHECKS.items():
        assert f"| {code} | {check.title} |" in text


def test_real_trials_show_what_is_known_about_them(shared: Path) -> None:
    report = audit(CONFIGS / "trials-core.yaml")
    assert [(f.code, f.where) for f in report.serious] == [("A08", "detailed_description")]
    (late,) = findings(report, "A01", "enrollment")
    assert late.numbers["known_at"]["enrollment"] == "after"
    zero = [f for f in findings(report, "A03", "enrollment") if "zero_by_status" in f.numbers]
    assert zero[0].numbers["zero_by_status"]["WITHDRAWN"] == {"zero": 239, "rows": 256}
    (batch,) = findings(report, "A07", "source")
    assert batch.numbers["roc_auc"] == pytest.approx(0.61, abs=0.01)
    assert findings(report, "A08", "brief_summary")[0].evidence[0].span is not None
    assert findings(report, "A09", "stratified")[0].numbers["rows"] > 0
    assert findings(report, "A13")[0].numbers["since"] in (2020, 2021)


def test_real_top_shows_status_and_straddling_dates(shared: Path) -> None:
    report = audit(CONFIGS / "top-phase-1.yaml")
    assert findings(report, "A05", "overall_status")[0].numbers["roc_auc"] > 0.8
    assert findings(report, "A06", "why_stopped")
    (straddling,) = findings(report, "A12", "official")
    assert straddling.numbers["straddling"] > 100
