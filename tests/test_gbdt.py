"""LightGBM on tables and embeddings: what it learns, when it stops, and that it repeats."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

import models
from features.columns import Columns
from features.embed import EmbedReport, Encoder
from features.errors import InputError
from models import embedded
from models.base import Context, Floats, Ints, Memo, Target
from models.gbdt import LightGBM

BINARY = Target("binary", ("completed", "stopped"))
TABLE = Columns(numeric=("age",), categorical=("phase", "sponsor"), date=("start",))
BOTH = Columns(("age",), ("phase", "sponsor"), ("start",), ("title",))


def rows(n: int = 400, seed: int = 0) -> tuple[pd.DataFrame, Ints]:
    """Rows of phase C are stopped with probability .9, others with .1; the rest is noise."""
    draw = np.random.default_rng(seed)
    phase = draw.choice(["A", "B", "C"], n)
    y = (draw.random(n) < np.where(phase == "C", 0.9, 0.1)).astype(np.int64)
    frame = pd.DataFrame(
        {
            "age": np.where(draw.random(n) < 0.1, np.nan, draw.normal(size=n)),
            "phase": phase,
            "sponsor": [f"sponsor {i}" for i in draw.integers(0, n // 2, n)],
            "start": pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.integers(0, 900, n), "D"),
            "title": [f"{('finished', 'halted')[one]} study {i % 9}" for i, one in enumerate(y)],
        }
    )
    return frame, y


def build(
    columns: Columns = TABLE,
    target: Target = BINARY,
    context: Context | None = None,
    **params: Any,
) -> LightGBM:
    model = models.build(
        "lightgbm",
        models.check_params("lightgbm", params),
        columns=columns,
        target=target,
        context=Context() if context is None else context,
    )
    assert isinstance(model, LightGBM)
    return model


def log_loss(y: Ints, found: Floats) -> float:
    return float(-np.log(found[np.arange(len(y)), y]).mean())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Encoder]:
    """Instead of an encoder: the vector of a text is (its length, does it say `halted`)."""
    calls: list[Encoder] = []

    def embed(
        texts: list[str], encoder: Encoder, *, costs: Any, **_: Any
    ) -> tuple[Any, EmbedReport]:
        calls.append(encoder)
        costs({hashlib.sha256(text.encode()).digest(): 0.5 for text in texts}, False)
        found = np.array([[len(text), "halted" in text] for text in texts], dtype=np.float32)
        return found, EmbedReport("letters", len(texts), 3, 2, 1, 0, 0.25, 1.5)

    monkeypatch.setattr(embedded, "embed", embed)
    return calls


def test_the_category_that_tells_the_classes_apart_is_learnt() -> None:
    X, y = rows()
    valid, test = rows(seed=1), rows(seed=2)
    model = build().fit(X, y, valid)
    found = model.predict_proba(test[0])
    assert found.shape == (400, 2)
    assert found.sum(axis=1) == pytest.approx(np.ones(400))
    stopped = pd.Series(found[:, 1]).groupby(test[0]["phase"].to_numpy()).mean()
    assert stopped["C"] == pytest.approx(0.9, abs=0.1)
    assert stopped[["A", "B"]].to_numpy() == pytest.approx([0.1, 0.1], abs=0.1)


def test_rounds_stop_where_the_log_loss_of_valid_is_lowest() -> None:
    X, y = rows()
    valid = rows(seed=1)
    model = build(n_estimators=200, learning_rate=0.3).fit(X, y, valid)
    (rounds,) = model.notes["rounds"]
    (booster,) = model.boosters
    assert 1 <= rounds < 200
    assert booster.current_iteration() == rounds
    at_best = log_loss(valid[1], model.predict_proba(valid[0]))
    for shorter in range(1, rounds):
        p = booster.predict(model.matrix(valid[0]), num_iteration=shorter)
        assert log_loss(valid[1], np.column_stack([1 - p, p])) >= at_best
    longer = build(n_estimators=rounds + 1, early_stopping_rounds=1000, learning_rate=0.3)
    assert longer.fit(X, y, valid).notes["rounds"] == [rounds]


def test_without_both_classes_in_valid_a_fixed_number_of_rounds_is_made() -> None:
    X, y = rows()
    for valid in ((X[:5], np.zeros(5, dtype=np.int64)), (X[:0], y[:0])):
        assert build(n_estimators=300).fit(X, y, valid).notes["rounds"] == [100]
        assert build(n_estimators=30).fit(X, y, valid).notes["rounds"] == [30]


@pytest.mark.parametrize("subsample", [1.0, 0.5])
def test_the_number_of_threads_changes_nothing_and_the_seed_does(subsample: float) -> None:
    X, y = rows()

    def found(seed: int, threads: int) -> Floats:
        context = Context(seed=seed, threads=threads)
        model = build(context=context, subsample=subsample, n_estimators=8)
        return model.fit(X, y, (X, y)).predict_proba(X)

    one = found(0, 1)
    assert (found(0, 1) == one).all()
    assert (found(0, 2) == one).all()
    assert (found(1, 1) != one).any()


def test_a_sponsor_in_hundreds_of_levels_is_not_learnt_by_heart() -> None:
    draw = np.random.default_rng(0)
    X, _ = rows()
    y = draw.integers(0, 2, 400)  # nothing to learn
    columns = Columns(categorical=("sponsor",))
    for valid in ((X, y), (X[:0], y[:0])):
        found = build(columns).fit(X, y, valid).predict_proba(X)
        assert found[:, 1] == pytest.approx(np.full(400, y.mean()), abs=0.1)


def test_levels_and_dates_that_train_lacks_are_predicted_all_the_same() -> None:
    X, y = rows()
    model = build(n_estimators=20).fit(X, y, (X, y))
    new = X[:3].assign(phase=["D", None, "A"], start=pd.NaT, age=[np.inf, np.nan, 1e300])
    found = model.predict_proba(new)
    assert found.shape == (3, 2)
    assert np.isfinite(found).all()


def test_rows_get_the_same_probabilities_alone_and_together() -> None:
    X, y = rows()
    model = build(n_estimators=20).fit(X, y, (X, y))
    together = model.predict_proba(X)
    assert (model.predict_proba(X.iloc[[7]]) == together[7]).all()
    assert (model.predict_proba(X.iloc[::-1]) == together[::-1]).all()


def test_real_trials_are_told_apart_by_their_table() -> None:
    path = Path(__file__).parents[2] / "shared" / "data" / "trials" / "trials_core.parquet"
    if not path.exists():
        pytest.skip("the real trials are not on this machine")
    columns = Columns(categorical=("lead_sponsor", "phases", "masking"), date=("start_date",))
    X = pd.read_parquet(path, columns=[*columns.names, "overall_status"])
    X["start_date"] = pd.to_datetime(X["start_date"], format="mixed")
    y = (X.pop("overall_status") != "COMPLETED").to_numpy(np.int64)
    rest, test = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=42)
    train, held = train_test_split(rest, test_size=0.2, stratify=y[rest], random_state=42)
    model = build(columns).fit(X.iloc[train], y[train], (X.iloc[held], y[held]))
    # Chance is .5; a plain script with eight categories reaches .713 on one such split.
    assert roc_auc_score(y[test], model.predict_proba(X.iloc[test])[:, 1]) > 0.66


def test_names_that_lightgbm_refuses_are_fine() -> None:
    X, y = rows()
    odd = {"age": 'age, "years" [0:9]', "phase": "Phase: {a}"}
    columns = Columns(numeric=(odd["age"],), categorical=(odd["phase"],))
    model = build(columns, n_estimators=20).fit(
        X.rename(columns=odd), y, (X.rename(columns=odd), y)
    )
    assert model.names == (odd["age"], odd["phase"])
    assert model.predict_proba(X.rename(columns=odd)).shape == (400, 2)


def test_a_table_without_anything_to_split_on_gives_the_rate() -> None:
    X, y = rows()
    X["age"] = 1.0
    found = build(Columns(numeric=("age",))).fit(X, y, (X, y)).predict_proba(X)
    assert found[:, 1] == pytest.approx(np.full(400, y.mean()))


def test_a_class_that_train_lacks_gets_nothing_and_the_others_keep_their_places() -> None:
    X, _ = rows()
    phase = X["phase"].to_numpy()
    classes = np.select([phase == "A", phase == "B"], [4, 1], 2)
    valid_y = classes.copy()
    valid_y[:9] = 3  # valid may hold a class that train lacks
    target = Target("multiclass", ("a", "b", "c", "d", "e"))
    found = build(target=target).fit(X, classes, (X, valid_y)).predict_proba(X)
    assert found.shape == (400, 5)
    assert found.sum(axis=1) == pytest.approx(np.ones(400))
    assert (found[:, [0, 3]] == 0).all()
    assert (found.argmax(axis=1) == classes).all()


def test_two_classes_left_of_several_are_told_apart() -> None:
    X, y = rows()
    target = Target("multiclass", ("a", "b", "c"))
    found = build(target=target).fit(X, 2 * y, (X, 2 * y)).predict_proba(X)
    assert (found[:, 1] == 0).all()
    assert found[X["phase"] == "C", 2].mean() > 0.7


def test_a_train_part_of_one_class_gives_that_class() -> None:
    X, y = rows()
    model = build().fit(X, np.ones_like(y), (X, y))
    assert model.predict_proba(X[:2]).tolist() == [[0, 1], [0, 1]]
    assert model.notes["rounds"] == []


def test_several_labels_are_independent_and_a_constant_one_keeps_its_smoothed_rate() -> None:
    X, y = rows()
    labels = np.column_stack([y, np.zeros_like(y), 1 - y])
    target = Target("multilabel", ("stopped", "never", "completed"))
    model = build(target=target, n_estimators=50).fit(X, labels, (X, labels))
    found = model.predict_proba(X)
    assert found.shape == (400, 3)
    assert found[:, 1] == pytest.approx(np.full(400, 1 / 402))
    in_c = (X["phase"] == "C").to_numpy()
    assert found[in_c, 0].mean() > 0.7 > 0.3 > found[in_c, 2].mean()
    assert model.notes["constant_labels"] == 1
    assert len(model.notes["rounds"]) == 2


def test_balanced_weights_make_the_classes_equal() -> None:
    X, _ = rows()
    y = (np.arange(400) % 10 == 0).astype(np.int64)
    X["age"] = 1.0
    columns = Columns(numeric=("age",))
    found = build(columns, class_weight="balanced").fit(X, y, (X, y)).predict_proba(X)
    assert found[:, 1] == pytest.approx(np.full(400, 0.5))


def test_text_is_embedded_with_the_encoder_asked_for(counted: list[Encoder]) -> None:
    X, y = rows()
    context = Context()
    params = {
        "encoder": "some/encoder",
        "revision": "abc",
        "max_tokens": 64,
        "long_text": "max",
        "text": "embeddings",
    }
    model = build(Columns(text=("title",)), context=context, **params).fit(X, y, (X, y))
    assert set(counted) == {Encoder("some/encoder", "abc", 64, long="max")}
    assert (model.names, model.fields) == (("text 0", "text 1"), ("text", "text"))
    assert ((model.predict_proba(X)[:, 1] > 0.5) == (y == 1)).all()
    assert context.timer.seconds["features"] > 0


def test_the_cost_of_embedding_is_added_up_over_train_valid_and_test(
    counted: list[Encoder],
) -> None:
    X, y = rows()
    context = Context()
    model = build(BOTH, context=context, n_estimators=5).fit(X, y, (X[:100], y[:100]))
    model.predict_proba(X[:50])
    # half a second for each of the texts of train, which are those of valid and test too
    assert context.timer.seconds["spared"] == 0.5 * X["title"].nunique()
    assert model.notes["embedding"] == {
        "encoder": "letters",
        "texts": 550,
        "unique": 9,
        "computed": 6,
        "cut": 3,
        "chunked": 0,
        "seconds": 0.75,
        "seconds_cold": 4.5,
    }


def test_table_and_text_stand_side_by_side(counted: list[Encoder]) -> None:
    X, y = rows()
    model = build(BOTH, text="embeddings", embedding_width=None).fit(X, y, (X, y))
    dates = ("start (year)", "start (month)", "start (age in days)")
    assert model.names == ("age", *dates, "phase", "sponsor", "text 0", "text 1")
    assert model.matrix(X)["f7"].tolist() == y.tolist()


def test_a_template_may_name_table_columns(counted: list[Encoder]) -> None:
    X, y = rows()
    model = build(BOTH, template="{phase}: {title}", text="embeddings", embedding_width=None).fit(
        X, y, (X, y)
    )
    assert model.matrix(X)["f6"].tolist() == [len(f"A: {title}") for title in X["title"]]


def test_text_is_cut_to_a_number_of_characters(counted: list[Encoder]) -> None:
    X, y = rows()
    text = Columns(text=BOTH.text)
    model = build(text, max_characters=4, text="embeddings", embedding_width=None).fit(X, y, (X, y))
    assert model.matrix(X)["f0"].tolist() == [4] * len(X)


def test_preflight_refuses_an_encoder_that_cannot_be_had() -> None:
    LightGBM.preflight(models.check_params("lightgbm", {}))
    for params, said in (
        ({"encoder": "./no/such/folder"}, "is no folder"),
        ({"encoder": "bundled:minilm2"}, "did you mean 'bundled:minilm'"),
        ({"max_tokens": 4096}, "at most 512"),
    ):
        with pytest.raises(InputError, match=said):
            LightGBM.preflight(models.check_params("lightgbm", params))


def test_no_columns_at_all_is_an_error() -> None:
    X, y = rows()
    with pytest.raises(InputError, match="no input columns"):
        build(Columns()).fit(X, y, (X, y))


def test_minilm_beside_the_table_learns_from_the_words(tmp_path: Path) -> None:
    X, y = rows(300)
    valid, (test_X, test_y) = rows(80, seed=1), rows(80, seed=2)
    context = Context(cache=tmp_path)
    model = build(BOTH, context=context, n_estimators=40, learning_rate=0.2).fit(X, y, valid)
    found = model.predict_proba(test_X)
    assert ((found[:, 1] > 0.5) == (test_y == 1)).mean() > 0.95
    # Two words by nine numbers: 18 texts in all, whatever the rows.
    assert model.notes["embedding"]["computed"] == 18
    assert model.notes["embedding"]["texts"] == 460


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    "params",
    [
        {"min_child_samples": 3},
        {"min_child_samples": 60},
        {"num_leaves": 4, "max_depth": 2, "subsample": 0.5},
        {"cat_smooth": 1, "cat_l2": 0, "min_data_per_group": 5, "max_cat_to_onehot": 1},
        {"reg_alpha": 1, "reg_lambda": 2, "colsample_bytree": 1},
    ],
)
def test_every_parameter_may_differ_from_its_default(params: Any, several: bool) -> None:
    X, y = rows()
    labels, target = (np.column_stack([y, 1 - y]), Target("multilabel", ("a", "b")))
    model = build(target=target if several else BINARY, n_estimators=5, **params)
    model.fit(X, labels if several else y, (X, labels if several else y))
    assert model.predict_proba(X).shape == (400, 2)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_labels_fitted_on_shared_bins_are_those_fitted_alone(class_weight: str | None) -> None:
    X, y = rows()
    V, vy = rows(seed=1)
    half = np.arange(400) % 2  # its balanced weights are all 1, which LightGBM keeps as none

    def labels(y: Ints) -> Ints:
        return np.column_stack([y, half, (np.arange(400) % 7 == 0).astype(np.int64), 1 - y])

    held = labels(vy)
    held[:, 1] = 1  # of this label valid can't say when to stop
    target = Target("multilabel", ("a", "b", "c", "d"))
    params = {"class_weight": class_weight, "n_estimators": 40, "subsample": 0.8}
    together = build(target=target, **params).fit(X, labels(y), (V, held)).predict_proba(V)
    for place in range(4):
        alone = build(**params).fit(X, labels(y)[:, place], (V, held[:, place]))
        assert (alone.predict_proba(V)[:, 1] == together[:, place]).all()


def test_the_bins_are_made_once_for_all_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightgbm

    made = []
    construct = lightgbm.Dataset._lazy_init

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        made.append(self)
        return construct(self, *args, **options)

    monkeypatch.setattr(lightgbm.Dataset, "_lazy_init", counted)
    X, y = rows()
    labels = np.column_stack([y, 1 - y, np.arange(400) % 2])
    target = Target("multilabel", ("a", "b", "c"))
    model = build(target=target, n_estimators=5).fit(X, labels, (X, labels))
    assert len(model.boosters) == 3
    assert len(made) == 2  # train and valid


TRIALS: list[dict[str, Any]] = [
    {"min_child_samples": 60},
    {"min_child_samples": 3, "num_leaves": 63},
    {"class_weight": "balanced"},
    {"reg_lambda": 50, "colsample_bytree": 1, "subsample": 0.5},
    {"cat_smooth": 1, "rare": 2, "monotone": {"age": 1}},
    {"text": "lsa", "lsa_width": 3, "learning_rate": 0.3},
    {"text": "both", "text_counts": True},
    {"by_field": True, "embedding_width": 1},
    {},
]


@pytest.mark.parametrize("several", [False, True])
def test_a_shared_memo_changes_no_prediction(several: bool, counted: list[Encoder]) -> None:
    X, y = rows()
    V, vy = rows(120, seed=1)
    target = BINARY
    if several:
        target = Target("multilabel", ("a", "b"))
        y = np.column_stack([y, np.arange(400) % 3 == 0]).astype(np.int64)
        vy = np.column_stack([vy, np.arange(120) % 3 == 0]).astype(np.int64)
    shared = Memo()

    def found(params: dict[str, Any], memo: Memo) -> Floats:
        context = Context(memo=memo)
        model = build(BOTH, target, context, n_estimators=8, **params).fit(X, y, (V, vy))
        return model.predict_proba(V)

    alone = [found(params, Memo()) for params in TRIALS]
    for order in (range(len(TRIALS)), reversed(range(len(TRIALS)))):
        for n in order:
            assert (found(TRIALS[n], shared) == alone[n]).all(), TRIALS[n]


def test_targets_of_one_fit_do_not_stay_in_the_next() -> None:
    X, y = rows()
    memo = Memo()
    target = Target("multiclass", ("a", "b", "c"))
    three = np.where(y == 1, 2, np.arange(400) % 2)
    for labels in (y, three, 1 - y):
        found = [
            build(target=target, context=Context(memo=kept), n_estimators=5, class_weight=weight)
            .fit(X, labels, (X, labels))
            .predict_proba(X)
            for kept in (Memo(), memo)
            for weight in ("balanced", None)
        ]
        assert (found[0] == found[2]).all()
        assert (found[1] == found[3]).all()


def test_features_and_bins_are_made_once_for_the_same_rows(
    counted: list[Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightgbm

    made = []
    construct = lightgbm.Dataset._lazy_init

    def constructed(self: Any, *args: Any, **options: Any) -> Any:
        made.append(self)
        return construct(self, *args, **options)

    monkeypatch.setattr(lightgbm.Dataset, "_lazy_init", constructed)
    X, y = rows()
    valid = rows(100, seed=1)
    memo = Memo()
    for leaves in (4, 8, 16):
        context = Context(memo=memo)
        model = build(BOTH, context=context, n_estimators=3, num_leaves=leaves)
        model.fit(X, y, valid).predict_proba(valid[0])
        assert model.notes["embedding"]["texts"] == 500  # valid is seen twice and counts once
    assert len(made) == 2  # train and valid
    assert len(counted) == 2
    build(BOTH, context=Context(memo=memo), n_estimators=3, rare=5).fit(X, y, valid)
    assert len(made) == 4


def test_rows_with_the_same_ids_and_other_cells_are_other_rows() -> None:
    X, y = rows()
    context = Context()
    model = build(context=context, n_estimators=20).fit(X, y, (X.assign(phase="A"), y))
    found = model.predict_proba(X.assign(phase="C"))
    assert (found[:, 1] > model.predict_proba(X.assign(phase="A"))[:, 1]).all()


def test_a_fit_without_valid_makes_all_rounds() -> None:
    X, y = rows()
    assert build(n_estimators=130).fit(X, y, None).notes["rounds"] == [130]


def test_settled_parameters_repeat_the_fit_without_valid() -> None:
    X, y = rows()
    stopped = build(learning_rate=0.2).fit(X, y, rows(seed=1))
    (rounds,) = stopped.notes["rounds"]
    assert stopped.settled() == {"n_estimators": rounds}
    assert rounds < 100
    again = build(learning_rate=0.2, **stopped.settled()).fit(X, y, None)
    assert (again.predict_proba(X) == stopped.predict_proba(X)).all()


def test_several_labels_settle_on_their_mean_number_of_rounds() -> None:
    X, y = rows()
    noise = np.random.default_rng(5).integers(0, 2, 400)
    labels = np.column_stack([y, noise, np.zeros_like(y)])
    V, vy = rows(seed=1)
    held = np.column_stack([vy, 1 - noise, np.zeros_like(y)])
    model = build(target=Target("multilabel", ("a", "b", "never"))).fit(X, labels, (V, held))
    first, second = model.notes["rounds"]
    assert first > second
    assert model.settled() == {"n_estimators": round((first + second) / 2)}
    nothing = np.zeros((400, 3), np.int64)
    constant = build(target=model.target).fit(X, nothing, (X, nothing))
    assert constant.settled() == {}


@pytest.mark.parametrize("direction", [1, -1])
def test_a_monotone_column_never_turns(direction: Literal[-1, 1]) -> None:
    draw = np.random.default_rng(0)
    age = draw.uniform(-1, 1, 600)
    y = (np.abs(age) > draw.uniform(0, 1, 600)).astype(np.int64)  # falls, then rises
    X = pd.DataFrame({"age": age, "other": draw.normal(size=600)})
    columns = Columns(numeric=("other", "age"))
    ages = pd.DataFrame({"age": np.linspace(-1, 1, 50), "other": 0.0})

    def steps(**params: Any) -> Floats:
        model = build(columns, n_estimators=40, **params).fit(X, y, None)
        return np.diff(model.predict_proba(ages)[:, 1])

    assert (steps(monotone={"age": direction}) * direction >= 0).all()
    free = steps()
    assert free.min() < 0 < free.max()


def test_only_a_numeric_column_can_be_monotone() -> None:
    with pytest.raises(InputError, match="did you mean 'age'"):
        build(monotone={"aged": 1})
    with pytest.raises(InputError, match="unknown numeric column in monotone 'phase'"):
        build(monotone={"phase": 1})
    with pytest.raises(InputError, match="monotone"):
        build(monotone={"age": 2})


def test_lsa_learns_from_the_words_without_an_encoder(counted: list[Encoder]) -> None:
    X, y = rows()
    V, vy = rows(seed=1)
    columns = Columns(text=("title",))
    model = build(columns, text="lsa", lsa_width=2).fit(X, y, (V, vy))
    assert counted == []
    assert (model.names, model.fields) == (("text lsa 0", "text lsa 1"), ("text", "text"))
    assert ((model.predict_proba(V)[:, 1] > 0.5) == (vy == 1)).all()
    assert "embedding" not in model.notes


def test_texts_without_words_leave_the_table_and_the_embeddings(counted: list[Encoder]) -> None:
    X, y = rows()
    X["title"] = "?"
    params = {"n_estimators": 3, "embedding_width": None}
    assert build(BOTH, **params).fit(X, y, None).names[-2:] == ("text 0", "text 1")
    assert build(BOTH, text="lsa", **params).fit(X, y, None).names[-1] == "sponsor"
    with pytest.raises(InputError, match="no word in the training texts"):
        build(Columns(text=("title",)), text="lsa").fit(X, y, None)


def test_each_text_column_may_have_its_own_vectors(counted: list[Encoder]) -> None:
    X, y = rows()
    X["summary"] = "halted"
    X["empty"] = ""
    columns = Columns(numeric=("age",), text=("title", "summary", "empty"))
    params = {"by_field": True, "text": "both", "lsa_width": 2, "embedding_width": None}
    model = build(columns, n_estimators=3, **params).fit(X, y, None)
    assert model.names == (
        "age", "title 0", "title 1", "title lsa 0", "title lsa 1", "summary 0", "summary 1",
        "summary lsa 0", "empty 0", "empty 1",
    )  # fmt: skip
    assert model.fields == ("age", *["title"] * 4, *["summary"] * 3, *["empty"] * 2)
    matrix = model.matrix(X)
    assert matrix["f1"].tolist() == [len(title) for title in X["title"]]
    assert matrix["f6"].tolist() == [1] * 400  # `summary` says halted in every row
    with pytest.raises(InputError, match="by_field with template"):
        build(columns, by_field=True, template="{title}")


def test_embeddings_are_projected_on_their_main_directions_in_train(
    counted: list[Encoder],
) -> None:
    X, y = rows()
    columns = Columns(text=("title",))
    model = build(columns, text="embeddings", embedding_width=1).fit(X, y, None)
    assert model.names == ("text 0",)
    # `finished` is 2 letters longer than `halted`, so train lies along (2, -1) / sqrt(5).
    found = model.matrix(X)["f0"].to_numpy()
    assert found.mean() == pytest.approx(0, abs=1e-9)
    assert np.unique(np.abs(np.subtract.outer(found, found)).round(9)) == pytest.approx([0, 5**0.5])
    longer = model.matrix(X.assign(title=X["title"] + "!!!"))["f0"].to_numpy()
    assert np.abs(longer - found) == pytest.approx(np.full(400, 3 * 2 / 5**0.5))


@pytest.mark.parametrize("columns", [TABLE, BOTH, BOTH.select("text")])
def test_a_study_begins_with_the_defaults_and_every_draw_can_be_fitted(
    columns: Columns, counted: list[Encoder]
) -> None:
    import optuna

    X, y = rows()
    space = LightGBM.space(columns, BINARY)
    assert len(space) <= 8
    defaults = models.check_params("lightgbm", {}).model_dump()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial({name: defaults[name] for name in space})
    assert study.ask(space).params == {name: defaults[name] for name in space}
    context = Context()
    for _ in range(4):
        params = {**study.ask(space).params, "n_estimators": 5}
        model = build(columns, context=context, **params).fit(X, y, (X[:99], y[:99]))
        assert np.isfinite(model.predict_proba(X)).all()
    assert ("text" in space) == bool(columns.text)
    assert ("cat_smooth" in space) == bool(columns.categorical)


def test_predictions_are_those_of_the_frame_as_lightgbm_reads_it() -> None:
    """Levels that train lacks, missing levels and missing numbers among the rows."""
    X, y = rows()
    model = build(n_estimators=20).fit(X, y, None)
    others = rows(50, seed=1)[0]
    others.loc[others.index[:5], "phase"] = "a level that train lacks"
    others.loc[others.index[5:9], "phase"] = None
    others.loc[others.index[9:12], "start"] = pd.NaT
    for some in (X, others, others.iloc[[3]], others.iloc[[7]]):
        expected = model.boosters[0].predict(model.matrix(some))
        assert model.predict_proba(some)[:, 1].tolist() == expected.tolist()


def test_a_second_fit_on_the_same_rows_hashes_none_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from models import base

    (X, y), valid, context = rows(), rows(80, seed=1), Context(memo=Memo(10**8))
    build(context=context, n_estimators=3).fit(X, y, valid).predict_proba(valid[0])

    def refused(frame: pd.DataFrame) -> str:
        raise AssertionError(f"hashed {frame.shape}")

    monkeypatch.setattr(base, "rows_key", refused)
    build(context=context, n_estimators=4).fit(X, y, valid).predict_proba(valid[0])
