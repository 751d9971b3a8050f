"""Any scikit-learn classifier by import path, on texts and tables that can be checked by eye."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

import models
from features.columns import Columns
from features.embed import EmbedReport, summed
from features.errors import InputError
from models import peer
from models.base import Context, Floats, Ints, Target
from models.heads import Heads, told
from models.peer import Sklearn

BINARY = Target("binary", ("completed", "stopped"))
THREE = Target("multiclass", ("completed", "terminated", "withdrawn"))
LABELS = Target("multilabel", ("trial", "review", "cohort"))
TEXT = Columns(text=("title",))
BOTH = Columns(numeric=("age",), categorical=("phase",), text=("title",))

FOREST = "sklearn.ensemble.RandomForestClassifier"
LOGREG = "sklearn.linear_model.LogisticRegression"
TREES = "sklearn.ensemble.HistGradientBoostingClassifier"


def rows(n: int = 60) -> tuple[pd.DataFrame, Ints]:
    """A stopped row (each third) says `halted`; its phase is B in half of the cases."""
    y = np.array([i % 3 == 0 for i in range(n)]).astype(np.int64)
    frame = pd.DataFrame(
        {
            "title": [f"study {'halted' if one else 'finished'} number{i % 7}"
                      for i, one in enumerate(y)],
            "phase": ["B" if i % 6 == 0 else "A" for i in range(n)],
            "age": [float(i % 4) for i in range(n)],
        },
        index=[f"id{i}" for i in range(n)],
    )  # fmt: skip
    return frame, y


def build(
    estimator: str = LOGREG,
    *,
    columns: Columns = TEXT,
    target: Target = BINARY,
    context: Context | None = None,
    **params: Any,
) -> Sklearn:
    model = models.build(
        "sklearn",
        models.check_params("sklearn", {"estimator": estimator, **params}),
        columns=columns,
        target=target,
        context=Context() if context is None else context,
    )
    assert isinstance(model, Sklearn)
    return model


@pytest.mark.parametrize("estimator", [FOREST, LOGREG, TREES, "lightgbm.LGBMClassifier"])
@pytest.mark.parametrize("text", ["tfidf", "lsa"])
def test_any_classifier_learns_the_word_that_tells(estimator: str, text: str) -> None:
    X, y = rows(120)
    verbosity = {"verbosity": -1} if estimator.startswith("lightgbm") else {}
    model = build(estimator, columns=BOTH, text=text, text_width=5, params=verbosity)
    found = model.fit(X, y, None).predict_proba(X)
    assert found.shape == (120, 2)
    assert found.sum(axis=1) == pytest.approx(np.ones(120))
    assert found[y == 1, 1].min() > 0.5 > found[y == 0, 1].max()
    json.dumps(model.notes)


def test_the_parameters_reach_the_estimator() -> None:
    X, y = rows()
    strong = build(params={"C": 1e-6}).fit(X, y, None).predict_proba(X)
    assert strong[:, 1] == pytest.approx(np.full(60, 1 / 3), abs=1e-3)  # nothing but the rate


def test_it_is_the_estimator_on_the_shared_features() -> None:
    X, y = rows()
    model = build().fit(X, y, None)
    from features.tfidf import Tfidf

    _, matrix = Tfidf.fit(X["title"].tolist())
    expected = LogisticRegression(random_state=0).fit(matrix, y).predict_proba(matrix)
    assert model.predict_proba(X) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("estimator", "dense"), [(FOREST, False), (TREES, True)])
def test_a_dense_matrix_is_made_only_where_a_sparse_one_is_refused(
    estimator: str, dense: bool
) -> None:
    X, y = rows()
    model = build(estimator, columns=BOTH).fit(X, y, None)
    assert model.notes["dense"] is dense


def test_a_dense_matrix_that_would_fill_the_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer, "LARGEST_GB", 1e-6)
    X, y = rows()
    with pytest.raises(InputError, match=r"no sparse matrix, and 60 rows of \d+ .* text: lsa"):
        build(TREES).fit(X, y, None)


def test_text_and_table_weigh_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Floats] = {}

    def keep(self: Sklearn, matrix: Any) -> Any:
        seen["matrix"] = matrix.toarray() if hasattr(matrix, "toarray") else matrix
        return matrix

    monkeypatch.setattr(Sklearn, "_accepted", keep)
    X, y = rows()
    for text in ("tfidf", "lsa"):
        terms = build(text=text, text_width=4).fit(X, y, None).notes["columns"]
        build(columns=BOTH, text=text, text_width=4).fit(X, y, None)
        squares = seen["matrix"] ** 2
        assert squares[:, :terms].sum(axis=1).mean() == pytest.approx(1)
        assert squares[:, terms:].sum(axis=1).mean() == pytest.approx(1)


def test_the_seed_and_the_threads_of_the_run_are_used_unless_given() -> None:
    X, y = rows()
    noisy = X.assign(title="study")
    small = {"n_estimators": 5, "max_features": 1}

    def predicted(seed: int, threads: int = 1, **more: int) -> Floats:
        model = build(
            FOREST,
            columns=BOTH,
            params=small | more,
            context=Context(seed=seed, threads=threads),
        )
        return model.fit(noisy, y, None).predict_proba(noisy)

    assert (predicted(1) == predicted(1, threads=2)).all()
    assert (predicted(1) != predicted(2)).any()
    assert (predicted(1, random_state=7) == predicted(2, random_state=7)).all()


def test_embeddings_are_another_view_of_the_text(tmp_path: Path) -> None:
    X, y = rows(12)
    context = Context(cache=tmp_path)
    model = build(columns=BOTH, text="embeddings", context=context).fit(X, y, None)
    assert model.predict_proba(X).shape == (12, 2)
    assert model.notes["columns"] > 384
    assert model.notes["embedding"]["texts"] == 24  # train, and once more to predict
    assert model.notes["embedding"]["computed"] == len(set(X["title"]))


def test_reports_of_several_calls_are_added_up() -> None:
    first = EmbedReport("e", texts=2, unique=2, computed=1, cut=0, chunked=1,
                        seconds=0.5, seconds_cold=1.0)  # fmt: skip
    both = summed([first, first])
    assert (both.encoder, both.texts, both.chunked, both.seconds_cold) == ("e", 4, 2, 2.0)


def test_an_encoder_is_named_only_with_embeddings() -> None:
    def encoder(**params: Any) -> Any:
        return models.check_params("sklearn", {"estimator": LOGREG, **params}).model_dump()

    assert encoder()["encoder"] is None
    assert encoder(text="embeddings")["encoder"] == "bundled:minilm"
    assert models.check_params("sklearn", encoder()).model_dump() == encoder()
    with pytest.raises(InputError, match="encoder 'bundled:minilm' with text: lsa; expected text"):
        encoder(text="lsa", encoder="bundled:minilm")
    with pytest.raises(InputError, match="no-such"):
        Sklearn.preflight(
            models.check_params(
                "sklearn",
                {"estimator": LOGREG, "text": "embeddings", "encoder": "bundled:no-such"},
            )
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "sklearn: estimator is missing; expected a value"),
        ({"estimator": "RandomForestClassifier"}, "put its module before the class"),
        ({"estimator": "sklearn.ensemble.RandomForstClassifier"}, "'RandomForestClassifier'"),
        ({"estimator": "no_such_module.Forest"}, "no import of no_such_module .*PYTHONPATH"),
        ({"estimator": "sklearn.ensemble.__doc__"}, "has no class '__doc__'"),
        ({"estimator": "sklearn.svm.LinearSVC"}, "gives scores, no prob.*fit and predict_proba"),
        ({"estimator": "sklearn.linear_model.SGDClassifier"}, "gives scores, no probabilities"),
        ({"estimator": "pathlib.Path"}, "pathlib.Path is no classifier"),
        ({"estimator": "sklearn.multiclass.OneVsRestClassifier"}, "can't be made with {}"),
        ({"estimator": FOREST, "params": {"n_tree": 3}}, "parameter of .* 'n_tree'; expected one"),
        ({"estimator": FOREST, "params": {"n_estimator": 3}}, "did you mean 'n_estimators'"),
        ({"estimator": FOREST, "params": 3}, "sklearn: params = 3"),
        ({"estimator": FOREST, "trees": 3}, "unknown parameter of sklearn 'trees'"),
    ],
)
def test_a_wrong_estimator_is_an_error_before_any_fit(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        models.check_params("sklearn", given)
    assert "\n" not in str(caught.value)


def test_a_parameter_may_bring_the_probabilities() -> None:
    params = {"estimator": "sklearn.linear_model.SGDClassifier", "params": {"loss": "log_loss"}}
    assert models.check_params("sklearn", params)


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "own_classifier.py"
    file.write_text(
        "import numpy as np\n"
        "class Constant:\n"
        "    def __init__(self, value=0.25):\n"
        "        self.value = value\n"
        "    def fit(self, X, y):\n"
        "        assert isinstance(X, np.ndarray)\n"
        "        return self\n"
        "    def predict_proba(self, X):\n"
        "        return np.tile([1 - self.value, self.value], (len(X), 1)).astype(np.float32)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_classifier", raising=False)
    return file


def test_a_class_of_ones_own_need_not_descend_from_scikit_learn(own_module: Path) -> None:
    X, y = rows()
    model = build("own_classifier.Constant", params={"value": 0.125}).fit(X, y, None)
    assert model.predict_proba(X[:1]).tolist() == [[0.875, 0.125]]


def test_the_code_behind_the_estimator_is_told_by_version_or_hash(own_module: Path) -> None:
    def behind(estimator: str, **params: Any) -> dict[str, str | None]:
        params = {"estimator": estimator, **params}
        return models.libraries("sklearn", models.check_params("sklearn", params))

    import lightgbm

    assert behind("lightgbm.LGBMClassifier")["lightgbm"] == lightgbm.__version__
    assert set(behind(FOREST)) == {"scikit-learn", "scipy", "numpy", "pandas"}
    assert "torch" in behind(FOREST, text="embeddings")
    before = behind("own_classifier.Constant")["own_classifier"]
    own_module.write_text(own_module.read_text() + "\n# changed\n")
    after = behind("own_classifier.Constant")["own_classifier"]
    assert before is not None
    assert before.startswith("sha256:")
    assert after != before


def test_each_label_has_an_estimator_of_its_own_and_constants_their_rate() -> None:
    X, y = rows()
    truth = np.column_stack([y, 1 - y, np.ones_like(y)])
    model = build(FOREST, target=LABELS).fit(X, truth, None)
    found = model.predict_proba(X)
    assert found[y == 1, 0].min() > 0.5 > found[y == 0, 0].max()
    assert found[y == 1, 1].max() < 0.5 < found[y == 0, 1].min()
    assert found[:, 2] == pytest.approx(61 / 62)
    assert model.notes["constant_labels"] == 1


def test_a_class_that_train_lacks_gets_nothing_and_classes_have_no_gaps() -> None:
    X, y = rows()
    model = build(FOREST, target=THREE).fit(X, 2 * y, None)  # classes 0 and 2
    found = model.predict_proba(X)
    assert (found[:, 1] == 0).all()
    assert (found.argmax(axis=1) == 2 * y).all()
    (forest,) = model._heads.fitted if model._heads is not None else ()
    assert forest.classes_.tolist() == [0, 1]


def test_one_class_in_train_is_sure() -> None:
    heads = Heads.fit(DummyClassifier, np.zeros((4, 1)), np.full(4, 2), target=THREE)
    assert heads.predict_proba(np.zeros((2, 1))).tolist() == [[0, 0, 1]] * 2


def test_what_the_estimator_warns_of_is_told_in_the_notes() -> None:
    X, y = rows()
    params = {"max_iter": 1, "hidden_layer_sizes": [2]}
    model = build("sklearn.neural_network.MLPClassifier", params=params).fit(X, y, None)
    assert len(model.notes["warnings"]) == 1
    assert model.notes["warnings"][0].startswith("ConvergenceWarning: Stochastic Optimizer")
    notes: dict[str, Any] = {}
    with told(notes):
        pass
    assert notes == {}


def test_predicting_before_fitting_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="before fit"):
        build().predict_proba(rows()[0])


def test_a_model_without_any_column_is_an_error() -> None:
    X, y = rows()
    with pytest.raises(InputError, match="no input columns"):
        build(columns=Columns()).fit(X, y, None)


def test_a_peer_is_one_line_of_a_config(small: dict[str, Any], tmp_path: Path) -> None:
    from benchmark.matrix import run

    params = {"estimator": FOREST, "params": {"n_estimators": 10}}
    small |= {"splits": ["stratified"], "explain": False}
    small["models"] = [{"name": "sklearn", "label": "forest", "inputs": "both", "params": params}]
    run(small, out=tmp_path)
    (path,) = tmp_path.rglob("forest/**/record.json")
    record = json.loads(path.read_text())
    assert record["status"] == "done"
    assert record["notes"]["estimator"] == FOREST
    assert record["cell"]["libraries"]["scikit-learn"]
    assert record["cell"]["device"] is None  # no torch behind it
