from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from benchmark.config import load
from features.errors import InputError


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def error(source: Any, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        load(source, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


MINIMAL = "splits: stratified\nmodels: prior\n"


def test_a_minimal_config_gets_its_defaults_and_the_name_of_its_file(tmp_path: Path) -> None:
    config = load(write(tmp_path, MINIMAL))
    assert config.name == "study"
    assert config.data.reader == "synthetic"
    assert config.task == ["trial-outcome"]
    assert config.seeds == [42]
    assert config.as_of == ["registration"]
    assert [split.name for split in config.splits] == ["stratified"]
    assert config.models[0].inputs == ["none"]


def test_a_model_without_inputs_gets_the_models_own_default_and_full_parameters() -> None:
    config = load({"splits": "temporal", "models": ["lightgbm"]})
    assert config.models[0].inputs == ["tabular"]
    assert config.models[0].params["learning_rate"] == pytest.approx(0.05)


def test_an_unknown_key_is_named_with_its_line_and_nearest_neighbour(tmp_path: Path) -> None:
    path = write(tmp_path, "splits: stratified\nmodels: prior\nmetrcs: [roc_auc]\n")
    assert error(path) == (
        f"{path}:3: metrcs: unknown key 'metrcs'; expected one of address, as_of, data, device, "
        "energy, executor, explain, halving, memory, metrics, models, name, redact, refit, seeds, "
        "splits, task, threads, timeout, tune; did you mean 'metrics'?"
    )


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        (
            "models: prior\nsplits:\n  - stratifed\n",
            3,
            ["unknown split 'stratifed'", "'stratified'"],
        ),
        ("splits: temporal\nmodels:\n  - prior\n  - lightgmb\n", 4, ["'lightgmb'", "'lightgbm'"]),
        ("splits: temporal\nmodels: prior\ntask: trial-outcom\n", 3, ["'trial-outcome'"]),
        ("splits: temporal\nmodels: prior\nmetrics: [roc_auk]\n", 3, ["'roc_auc'"]),
        ("splits: temporal\nmodels: prior\nas_of: registratoin\n", 3, ["'registration'"]),
        (
            "splits: temporal\nmodels:\n  - name: tfidf-logreg\n    params: {Cc: 1}\n",
            4,
            ["unknown parameter of tfidf-logreg 'Cc'", "did you mean 'C'"],
        ),
        (
            "splits: temporal\nmodels:\n  - name: tfidf-logreg\n    inputs: image\n",
            4,
            ["'image'", "'tabular', 'text'"],
        ),
        ("splits: temporal\nmodels:\n  - {name: prior, inputs: text}\n", 3, ["prior cannot use"]),
        ("splits: temporal\nmodels: prior\ndata: {reader: synthetc}\n", 3, ["'synthetic'"]),
        ("splits: temporal\nmodels: prior\ndata:\n  reader: synthetic\n  rws: 9\n", 5, ["'rows'"]),
        ("splits: temporal\nmodels: prior\nseeds: [one]\n", 3, ["'one'", "integer"]),
        ("splits: [{name: temporal, test: 2}]\nmodels: prior\n", 1, ["test = 2", "less than 1"]),
        ("splits: temporal\nmodels: []\n", 2, ["models = []"]),
        ("splits: temporal\nmodels: [prior, prior]\n", 2, ["'prior none' stands twice", "label"]),
        ("splits: temporal\nseeds: [1, 1]\nmodels: [prior]\n", 2, ["1 stands twice"]),
        ("splits: temporal\nmodels: prior\nname: ../up\n", 3, ["../up", "pattern"]),
    ],
)
def test_mistakes_are_named_with_place_and_remedy(
    tmp_path: Path, text: str, line: int, parts: list[str]
) -> None:
    path = write(tmp_path, text)
    message = error(path)
    assert message.startswith(f"{path}:{line}: ")
    for part in parts:
        assert part in message


def test_a_missing_section_is_named() -> None:
    assert "splits is missing" in error({"models": "prior"})


def test_yaml_that_cannot_be_read_is_named_with_its_line(tmp_path: Path) -> None:
    assert ":3: not YAML" in error(write(tmp_path, "splits: temporal\nmodels: [prior\n"))
    path = write(tmp_path, "splits: temporal\nmodels: prior\nsplits: stratified\n")
    assert f"{path}:3: not YAML: key 'splits' is given twice" in error(path)
    assert "holds a list" in error(write(tmp_path, "- a\n- b\n"))
    assert "holds a NoneType" in error(write(tmp_path, ""))


def test_yaml_cannot_make_python_objects(tmp_path: Path) -> None:
    path = write(tmp_path, "splits: temporal\nmodels: !!python/object/apply:os.getcwd []\n")
    assert "not YAML" in error(path)


def test_a_config_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    assert "trialmark init" in error(tmp_path / "no.yaml")


def test_overrides_reach_nested_places_and_lists(tmp_path: Path) -> None:
    path = write(tmp_path, "splits: [stratified]\nmodels:\n  - prior\n  - name: tfidf-logreg\n")
    config = load(path, ["models.1.params.C=2", "seeds=[1, 2]", "data.rows=50"])
    assert config.models[1].params["C"] == pytest.approx(2.0)
    assert config.seeds == [1, 2]
    assert config.data.options["rows"] == 50
    assert config.written["seeds"] == [1, 2]


def test_a_bad_override_names_itself_and_not_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    assert error(path, "seeds").startswith("--set seeds; expected a.b=value")
    assert error(path, "seds=1").startswith("--set seds: unknown key 'seds'")
    assert error(path, "models.7=prior").startswith("--set models.7: no such place")
    assert error(path, "task=nonsense").startswith("--set task: unknown task 'nonsense'")


def test_paths_are_relative_to_the_config_and_variables_are_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n")
    text = "splits: stratified\nmodels: prior\ndata:\n  reader: trials\n  path: {}\n"
    found = load(write(tmp_path, text.format("rows.csv"))).data.options["path"]
    assert found == str(tmp_path / "rows.csv")
    monkeypatch.setenv("TRIALMARK_DATA", str(tmp_path))
    written = load(write(tmp_path, text.format("${TRIALMARK_DATA}/rows.csv")))
    assert written.data.options["path"] == str(tmp_path / "rows.csv")
    assert written.written["data"]["path"] == "${TRIALMARK_DATA}/rows.csv"
    monkeypatch.delenv("TRIALMARK_DATA")
    assert "uses a variable that is not set" in error(write(tmp_path, text.format("$NOPE/x.csv")))
    message = error(write(tmp_path, text.format("missing.csv")))
    assert message.startswith(f"{tmp_path}/study.yaml:5: data.path: no file at")


def test_equal_numbers_give_equal_parameters_whatever_way_they_are_written() -> None:
    def params(value: Any) -> dict[str, Any]:
        models = [{"name": "tfidf-logreg", "params": {"C": value}}]
        return load({"splits": "temporal", "models": models}).models[0].params

    assert repr(params(1)) == repr(params(1.0))


def test_a_checkpoint_that_cannot_be_had_fails_before_any_cell() -> None:
    message = error({"splits": "temporal", "models": [{"name": "encoder"}]})
    assert message.startswith("config: models.0: checkpoint 'distilbert-base-uncased'")
    assert "bundled:minilm" in message
