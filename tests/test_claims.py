from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.published import CLAIMS, load_claim, names, printed
from features.errors import InputError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def plain() -> dict[str, Any]:
    """A claim of one row."""
    return {
        "title": "one row",
        "task": "trial-outcome",
        "split": None,
        "needs": "labels",
        "metrics": {"F1": {"kind": "f1"}},
        "sources": {"paper": {"title": "A paper", "read": "page", "verified": True}},
        "rows": [
            {"model": "theirs", "source": "paper", "values": {"F1": "0.50"}, "reference": True}
        ],
    }


def written(folder: Path, claim: dict[str, Any]) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(claim, sort_keys=False))
    return str(path)


@pytest.mark.parametrize("name", names())
def test_every_claim_is_sound_and_marks_what_is_from_memory(name: str) -> None:
    claim = load_claim(name)
    assert claim.name == name
    for row in claim.rows:
        assert not (claim.read(row) == "memory" and claim.is_verified(row))
    if claim.config is not None:
        assert claim.config_file().is_file()
        assert claim.split is not None


def test_the_claims_that_the_field_notes_ask_for_are_there() -> None:
    wanted = (
        "top-phase-1 top-phase-2 top-phase-3 top-phase-1-hint notebook elkin-zhu-2021 "
        "kavalci-hartshorn-2023 cto-predict multitagger-v2 trialbench-approval"
    )
    assert set(wanted.split()) <= set(names())


def test_baselines_that_nobody_checked_are_unverified_and_hint_is_not() -> None:
    claim = load_claim("top-phase-1")
    assert {row.model for row in claim.rows if not claim.is_verified(row)} == {
        *("LR", "RF", "XGBoost", "AdaBoost", "kNN+RF", "FFNN", "DeepEnroll", "COMPOSE", "SPOT")
    }
    hint = claim.references[0]
    assert (hint.model, hint.values["F1"].text) == ("HINT", "0.665")
    assert claim.is_verified(hint)


def test_a_number_keeps_its_digits_bound_and_interval() -> None:
    found = printed("0.5760")
    assert (found.value, found.digits, found.at_least) == (0.576, 4, False)
    assert found.half_unit == pytest.approx(0.00005)
    assert printed("> 0.73").at_least
    assert (printed("0.828 [0.739, 0.891]").low, printed("0.828 [0.739, 0.891]").high) == (
        0.739,
        0.891,
    )


@pytest.mark.parametrize("wrong", [0.576, "57.6 %", "about 0.5", "", "0.5 [0.4]"])
def test_a_number_that_is_not_as_printed_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=re.escape("in quotes so that no digit is lost")):
        printed(wrong)


def test_a_claim_from_memory_cannot_be_verified(plain: dict[str, Any], tmp_path: Path) -> None:
    plain["rows"][0]["read"] = "memory"
    with pytest.raises(InputError, match="theirs: a number from memory is not verified"):
        load_claim(written(tmp_path, plain))
    plain["rows"][0]["verified"] = False
    assert load_claim(written(tmp_path, plain)).unverified == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, "Extra inputs are not permitted"),
        ({"task": "trial-outcomes"}, "did you mean 'trial-outcome'"),
        ({"split": "officiall"}, "did you mean 'official'"),
        ({"rows": [{"model": "m", "source": "papr", "values": {"F1": "0.5"}}]}, "unknown source"),
        ({"rows": [{"model": "m", "source": "paper", "values": {"AUC": "0.5"}}]}, "metric 'AUC'"),
        ({"rows": [{"model": "m", "source": "paper", "values": {"F1": "0.5"}}]}, "no row is mark"),
        ({"metrics": {"F1": {"kind": "f2"}}}, "Input should be"),
    ],
)
def test_a_mistake_in_a_claim_names_the_file_and_what_is_wrong(
    plain: dict[str, Any], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        load_claim(written(tmp_path, {**plain, **change}))
    assert "mine.yaml:" in str(caught.value)


def test_what_the_code_computes_must_be_a_variant_of_its_metric(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    plain["sources"]["paper"]["computed"] = {"F1": "f1_positve@0.5"}
    with pytest.raises(InputError, match=r"did you mean 'f1_positive@0\.5'"):
        load_claim(written(tmp_path, plain))


def test_an_unknown_claim_gets_the_closest_name() -> None:
    with pytest.raises(InputError, match="did you mean 'top-phase-1-hint'"):
        load_claim("top-phase1-hint")


def test_the_list_of_claims_counts_the_unverified_rows(call: Any) -> None:
    code, out, _ = call("list", "claims")
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    assert code == 0
    assert lines["top-phase-1"].strip().endswith("(16 rows, 9 unverified)")
    assert "unverified" not in lines["top-phase-1-hint"]


def test_an_installed_package_holds_the_claims() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["benchmark"]
    held = {path for pattern in patterns for path in CLAIMS.parent.glob(pattern)}
    assert {CLAIMS / f"{name}.yaml" for name in names()} <= held


def test_the_worked_example_of_the_docs_runs(call: Any, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "claims.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    rows = re.search(r"```text\n(id,label,.*?)```", text, re.DOTALL)
    assert example is not None
    assert rows is not None
    (tmp_path / "four-rows.yaml").write_text(example[1])
    (tmp_path / "four-rows.csv").write_text(rows[1])
    code, out, err = call(
        *("replay", tmp_path / "four-rows.yaml", "--format", "json"),
        *("--predictions", tmp_path / "four-rows.csv"),
    )
    assert (code, err) == (0, "")
    precision, f1 = json.loads(out)["rescored"]
    assert precision["ours"]["value"] == pytest.approx(5 / 6, abs=1e-6)
    assert precision["reproduced_by"][0] == "average_precision[0/1]@0.5"
    assert f1["reproduced_by"][0] == "f1_positive@0.5"
