"""The synthetic registry: what it plants, what its knobs do, and that its oracle is exact."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from benchmark.dataset import Rows
from benchmark.readers import canonical, synthetic, synthetic_text
from benchmark.readers.synthetic import COLUMNS, PLANTED, TABLE, Options, read
from features.columns import Columns, KnownAt

OFF = {
    "missing": 0.0,
    "duplicates": 0.0,
    "drift": 0.0,
    "sponsor_effects": 0.0,
    "leak": 0.0,
    "outcome_phrases": 0.0,
    "censoring": 0.0,
}
ON = {
    "missing": 0.1,
    "duplicates": 0.1,
    "drift": 1.0,
    "sponsor_effects": 0.5,
    "leak": 0.5,
    "outcome_phrases": 0.4,
    "censoring": 0.5,
}
FINAL = ("COMPLETED", "TERMINATED", "WITHDRAWN", "SUSPENDED")
TEXTS = ["brief_title", "brief_summary", "eligibility_criteria", "conditions"]


@cache
def plain(rows: int = 20_000, seed: int = 0, **knobs: float) -> Rows:
    """A registry with every property off but those named."""
    return read(Options.model_validate({"rows": rows, "seed": seed, **OFF, **knobs}))


@cache
def full() -> Rows:
    """A large registry with every property on."""
    return read(Options.model_validate({"rows": 100_000, "seed": 3, **ON}))


def stopped(rows: Rows) -> pd.Series:
    return rows.frame["overall_status"].ne("COMPLETED")


def auc(positive: np.ndarray, score: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order; ties count half."""
    ranks = pd.Series(score).rank().to_numpy()
    n = positive.sum()
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def z_of(outcome: np.ndarray, p: np.ndarray) -> float:
    """How many standard errors the count of outcomes lies from the sum of its probabilities."""
    return float((outcome - p).sum() / np.sqrt((p * (1 - p)).sum() + 1e-12))


# What the frame looks like


def test_columns_have_the_types_that_models_expect_and_canonical_names() -> None:
    rows = read(Options(rows=300))
    frame = rows.frame
    kinds = {"numeric": "float64", "categorical": "str", "date": "datetime64[s]", "text": "str"}
    assert {c.name: str(frame[c.name].dtype) for c in COLUMNS} == {
        c.name: kinds[c.kind] for c in COLUMNS
    }
    assert not frame[TEXTS].isna().any(axis=None)
    shared = [c for c in canonical.COLUMNS if c in rows.columns]
    assert rows.columns == (*shared, *rows.columns[-2:])
    assert {c.name for c in rows.columns[-2:]} <= set(PLANTED.noise_columns)
    assert set(frame.columns) - {c.name for c in rows.columns} == {"overall_status", "sister_of"}
    assert (rows.group, rows.date) == ("lead_sponsor", "start_date")
    assert frame.index.name == "nct_id"
    assert frame.index.dtype == "str"
    assert frame.index.is_unique
    assert frame.index[0] == "SYN00000001"


def test_actual_enrollment_is_the_only_column_known_late() -> None:
    assert set(Columns.of(COLUMNS, "after").names) - set(Columns.of(COLUMNS).names) == {
        "enrollment"
    }
    assert Columns.of(COLUMNS, "during") == Columns.of(COLUMNS)


def test_one_row_is_enough() -> None:
    rows = read(Options(rows=1, duplicates=0.9, missing=0.9, censoring=1, outcome_phrases=1))
    assert len(rows.frame) == 1
    assert all(table.shape[0] == 1 for table in rows.oracle.values())


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"missing": 1.0}, {"leak": -0.1}, {"misssing": 0}])
def test_options_out_of_range_or_unknown_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate(wrong)


def test_leak_may_be_true_or_false() -> None:
    assert Options.model_validate({"leak": True}).leak == 1
    assert Options.model_validate({"leak": False}).leak == 0


def test_years_sponsors_and_statuses_are_those_of_a_registry() -> None:
    frame = read(Options(rows=20_000)).frame
    assert frame["start_date"].min() >= pd.Timestamp("2005-01-01")
    assert frame["start_date"].max() <= pd.Timestamp("2023-12-31")
    sizes = frame["lead_sponsor"].value_counts()
    assert len(sizes) == 300
    assert sizes.iloc[0] > 10 * sizes.median()
    shares = frame["overall_status"].value_counts(normalize=True)
    assert set(shares.index) == set(FINAL)
    assert 0.20 < 1 - shares["COMPLETED"] < 0.25
    assert 0.005 < shares["SUSPENDED"] < 0.02
    # a sponsor has one class wherever the cell is filled
    assert (frame.groupby("lead_sponsor")["sponsor_class"].nunique() == 1).all()


def test_texts_are_short_and_differ_between_trials() -> None:
    frame = plain(2000).frame
    words = {name: frame[name].str.count(r"\S+") for name in TEXTS}
    assert 8 <= words["brief_title"].mean() <= 14
    assert 60 <= sum(count.mean() for count in words.values()) <= 92
    for name in TEXTS[:3]:
        assert frame[name].nunique() > 1850, name
    assert (
        not frame[TEXTS]
        .apply(lambda text: text.str.contains(r"[{}]|\s\s", regex=True))
        .any(axis=None)
    )


# Same seed, own streams


def test_same_options_give_the_same_rows_bit_for_bit() -> None:
    options = Options.model_validate({"rows": 1000, "seed": 7, **ON})
    one, two = read(options), read(options)
    pd.testing.assert_frame_equal(one.frame, two.frame, check_exact=True)
    assert all((one.oracle[key] == two.oracle[key]).all() for key in one.oracle)


def test_another_seed_gives_other_rows() -> None:
    one, two = read(Options(rows=1000, seed=0)).frame, read(Options(rows=1000, seed=1)).frame
    for column in ("brief_title", "start_date", "enrollment_planned", "overall_status"):
        assert (one[column].to_numpy() == two[column].to_numpy()).mean() < 0.75, column


def test_a_longer_registry_starts_with_the_shorter_one() -> None:
    short, long = (read(Options.model_validate({"rows": n, **ON})).frame for n in (400, 900))
    pd.testing.assert_frame_equal(short, long.iloc[:400], check_exact=True)


@pytest.mark.parametrize(
    ("knob", "touched"),
    [
        ("leak", {"enrollment"}),
        ("outcome_phrases", {"brief_summary"}),
        ("censoring", {"overall_status", "enrollment"}),
        ("drift", {"overall_status", "enrollment"}),
        ("sponsor_effects", {"overall_status", "enrollment"}),
    ],
)
def test_a_knob_leaves_the_other_columns_as_they_are(knob: str, touched: set[str]) -> None:
    before = plain(2000, missing=0.1, leak=1.0).frame
    changed = {"missing": 0.1, "leak": 1.0, knob: 0.5}
    after = plain(2000, **changed).frame
    differs = {name for name in before if not before[name].equals(after[name])}
    assert differs == touched


# The knobs


def test_missing_cells_come_at_the_share_asked_for_or_not_at_all() -> None:
    assert not plain().frame[[c.name for c in COLUMNS]].isna().any(axis=None)
    assert not (plain().frame[TEXTS] == "").any(axis=None)
    frame = plain(missing=0.1).frame
    gone = frame[[c.name for c in COLUMNS]].replace("", np.nan).isna().mean()
    never = ["brief_title", "lead_sponsor", "start_date"]
    assert (gone[never] == 0).all()
    # standard error .1 * .9 / 20,000 -> .0021
    assert gone.drop(never).between(0.09, 0.11).all()


def test_sisters_are_near_copies_of_an_earlier_row_with_an_outcome_of_their_own() -> None:
    assert plain().frame["sister_of"].isna().all()
    assert plain(2000).frame[TEXTS].duplicated().sum() == 0
    frame = plain(duplicates=0.1, leak=1.0).frame
    sisters = frame[frame["sister_of"].notna()]
    assert 0.09 < len(sisters) / len(frame) < 0.11
    source = frame.loc[sisters["sister_of"]]
    assert source["sister_of"].isna().all()
    assert (source.index < sisters.index).all()
    own = {"brief_title", "start_date", "enrollment", "overall_status", "sister_of"}
    for name in set(frame.columns) - own:
        assert (sisters[name].to_numpy() == source[name].to_numpy()).all(), name
    titles = zip(sisters["brief_title"], source["brief_title"], strict=True)
    assert all(new != old and new.startswith(old) for new, old in titles)
    days = (sisters["start_date"].to_numpy() - source["start_date"].to_numpy()).astype(
        "timedelta64[D]"
    )
    assert days.astype(int).min() == 0
    assert 170 < days.astype(int).max() <= 180
    differ = sisters["overall_status"].to_numpy() != source["overall_status"].to_numpy()
    assert 0.1 < differ.mean() < 0.5


def test_drift_moves_the_base_rate_over_the_years() -> None:
    def move(rows: Rows) -> float:
        year = rows.frame["start_date"].dt.year
        return float(stopped(rows)[year >= 2018].mean() - stopped(rows)[year <= 2010].mean())

    # about 23,000 and 13,000 rows: standard error sqrt(.21 * .79 * (1/23,000 + 1/13,000)) = .0045
    assert abs(move(plain(60_000))) < 0.02
    assert move(plain(60_000, drift=1.0)) > 0.06


def test_drift_makes_the_table_stronger_and_the_text_weaker() -> None:
    rows = plain(60_000, drift=1.0)
    year = rows.frame["start_date"].dt.year
    network = "Recruitment runs through an established network of general practices."
    good = rows.frame["brief_summary"].str.contains(network, regex=False)
    nih = rows.frame["sponsor_class"].eq("NIH")

    def log_odds(part: pd.Series) -> float:
        rate = stopped(rows)[part].mean()
        return float(np.log(rate / (1 - rate)))

    def effect(sign: pd.Series, when: pd.Series) -> float:
        return log_odds(sign & when) - log_odds(~sign & when)

    assert effect(good, year <= 2010) < effect(good, year >= 2018) < 0
    assert effect(nih, year >= 2018) < effect(nih, year <= 2010) < 0


def test_sponsors_differ_beyond_their_class_only_if_asked_to() -> None:
    def chi_square(rows: Rows) -> float:
        """Of the stop rates of the sponsors of one class; about 1 a degree of freedom if equal."""
        kept = rows.frame["sponsor_class"].eq("OTHER")
        by = stopped(rows)[kept].groupby(rows.frame["lead_sponsor"][kept])
        rate = stopped(rows)[kept].mean()
        z2 = (by.sum() - by.size() * rate) ** 2 / (by.size() * rate * (1 - rate))
        return float(z2.sum() / (len(z2) - 1))

    # 120 sponsors: standard error sqrt(2 / 119) = .13
    assert 0.6 < chi_square(plain()) < 1.5
    assert chi_square(plain(sponsor_effects=0.5)) > 2


def test_enrollment_given_the_plan_tells_the_outcome_only_with_the_leak() -> None:
    from scipy.stats import ks_2samp

    def reached(rows: Rows, status: str) -> np.ndarray:
        # small plans are left out: there the rounding of the room ties the ratio to the plan
        kept = rows.frame["overall_status"].eq(status) & rows.frame["enrollment_planned"].ge(60)
        frame = rows.frame[kept]
        return (frame["enrollment"] / frame["enrollment_planned"]).to_numpy()

    without, with_leak = plain(), plain(leak=1.0)
    for status in ("TERMINATED", "WITHDRAWN"):
        completed = reached(without, "COMPLETED")
        assert ks_2samp(completed, reached(without, status)).statistic < 0.05
    assert np.median(reached(with_leak, "COMPLETED")) == pytest.approx(1.03, abs=0.05)
    assert np.median(reached(with_leak, "TERMINATED")) < 0.6
    assert (reached(with_leak, "WITHDRAWN") == 0).all()


def test_half_a_leak_gives_half_of_the_withdrawn_trials_no_participants() -> None:
    frame = plain(leak=0.5).frame
    none = frame["enrollment"].eq(0)[frame["overall_status"].eq("WITHDRAWN")]
    assert 0.45 < none.mean() < 0.55


def test_outcome_phrases_stand_in_the_share_of_stopped_trials_asked_for() -> None:
    def says(rows: Rows) -> pd.Series:
        summary = rows.frame["brief_summary"]
        return pd.concat(
            [summary.str.contains(s, regex=False) for s in PLANTED.outcome_phrases], axis=1
        ).any(axis=1)

    assert not says(plain()).any()
    rows = plain(outcome_phrases=0.3, missing=0.2)
    assert not says(rows)[~stopped(rows)].any()
    written = stopped(rows) & rows.frame["brief_summary"].ne("")
    assert 0.27 < says(rows)[written].mean() < 0.33


def test_censoring_hides_completions_of_the_last_three_years_and_nothing_else() -> None:
    assert set(plain().frame["overall_status"]) == set(FINAL)
    before, after = plain(leak=1.0).frame, plain(leak=1.0, censoring=0.5).frame
    hidden = after["overall_status"].isin(["RECRUITING", "ACTIVE_NOT_RECRUITING"])
    assert after["overall_status"][hidden].nunique() == 2
    assert set(before["overall_status"][hidden]) == {"COMPLETED"}
    assert set(after["start_date"][hidden].dt.year) == {2021, 2022, 2023}
    assert before["overall_status"][~hidden].equals(after["overall_status"][~hidden])
    recent = before["start_date"].dt.year.ge(2021) & before["overall_status"].eq("COMPLETED")
    assert 0.45 < hidden[recent].mean() < 0.55
    assert (after["enrollment"] == after["enrollment_planned"])[hidden].all()


# What was planted


def test_planted_wordings_stand_in_one_place_only() -> None:
    said = [*PLANTED.phrases, *PLANTED.fillers, *PLANTED.noise_phrases, *PLANTED.outcome_phrases]
    assert not [(a, b) for a, b in itertools.permutations(said, 2) if a in b]
    names = list(PLANTED.topics)
    assert len(names) == len(set(names))
    assert not [(a, b) for a, b in itertools.permutations(names, 2) if a in b]
    for phrases in synthetic_text.SLOTS.values():
        assert sum(phrase.share for phrase in phrases) == pytest.approx(1)
    for topics in (synthetic_text.AREAS, synthetic_text.INTERVENTIONS):
        assert sum(topic.share for topic in topics.values()) == pytest.approx(1)
    sponsors = [name for name, _ in synthetic_text.SPONSORS]
    assert len(set(sponsors)) == len(sponsors)


def test_every_column_is_signal_noise_leak_or_text() -> None:
    named = [*PLANTED.columns, *PLANTED.noise_columns, *PLANTED.leaks, *TEXTS]
    assert sorted(named) == sorted(c.name for c in COLUMNS)


def test_planted_phrases_shift_the_stop_rate_the_way_they_say() -> None:
    rows = plain(60_000)
    text = rows.frame["brief_summary"] + rows.frame["eligibility_criteria"]
    late = rows.frame["phases"].isin(synthetic.LATE)
    for phrase, effects in PLANTED.phrases.items():
        present = text.str.contains(phrase, regex=False)
        for part, effect in zip((~late, late), effects, strict=True):
            shift = stopped(rows)[part & present].mean() - stopped(rows)[part & ~present].mean()
            assert shift * effect > 0 or abs(effect) < 0.5, (phrase, effect, shift)


def test_noise_is_independent_of_the_outcome() -> None:
    rows = plain(60_000)
    text = rows.frame["eligibility_criteria"]
    signs = [text.str.contains(phrase, regex=False) for phrase in PLANTED.noise_phrases]
    signs += [rows.frame["record_score"] > 50, rows.frame["min_age"] < 18]
    signs += [
        rows.frame[name] == value for name in ("sex", "registry_batch") for value in TABLE[name]
    ]
    base = np.full(len(text), stopped(rows).mean())
    for sign in signs:
        assert abs(z_of(stopped(rows)[sign].to_numpy(), base[sign])) < 4, sign.name


def test_planted_columns_bear_on_the_outcome() -> None:
    rows = plain(60_000)
    base = stopped(rows).mean()
    frame = rows.frame
    signs = {
        name: frame[name] == value
        for name, value in {
            "sponsor_class": "NIH",
            "study_type": "OBSERVATIONAL",
            "phases": "PHASE2",
            "allocation": "NA",
            "masking": "QUADRUPLE",
            "primary_purpose": "PREVENTION",
        }.items()
    }
    signs["enrollment_planned"] = frame["enrollment_planned"] < 20
    for name, sign in signs.items():
        assert abs(z_of(stopped(rows)[sign].to_numpy(), np.full(sign.sum(), base))) > 5, name
    # more arms mean randomized, which acts the other way
    arms = stopped(rows)[frame["allocation"] == "RANDOMIZED"].groupby(frame["number_of_arms"])
    assert arms.mean()[2.0] + 0.02 < arms.mean()[3.0] + 0.01 < arms.mean()[4.0]
    signs["number_of_arms"] = frame["number_of_arms"] == 4
    by_knob = {"lead_sponsor", "start_date"}
    assert set(signs) == set(PLANTED.columns) - by_knob


# The oracle


def log_odds_by_hand(row: Mapping[Any, Any], drift: float) -> float:
    """TERMINATED against COMPLETED, added up from what one row shows and what is planted."""
    table = 0.0
    for name, levels in TABLE.items():
        gone = pd.isna(row[name])
        table += synthetic.MISSING.get(name, 0) if gone else levels[row[name]].effect
    plan, arms = row["enrollment_planned"], row["number_of_arms"]
    table += 0.6 if np.isnan(plan) else -0.5 * min(max(np.log(plan) - 4.5, -2.5), 2.5)
    table += 0.2 if np.isnan(arms) else 0.25 * (arms - 2)
    words = sum(effect for name, effect in PLANTED.topics.items() if name in row["brief_title"])
    words += 0.5 * (row["brief_summary"] == "") + 0.3 * (row["eligibility_criteria"] == "")
    late = 0.5 if pd.isna(row["phases"]) else float(row["phases"] in synthetic.LATE)
    for phrase, (early_effect, late_effect) in PLANTED.phrases.items():
        if phrase in f"{row['brief_summary']} {row['eligibility_criteria']}":
            words += (1 - late) * early_effect + late * late_effect
    moved = drift * (row["start_date"].year - 2014) / 18
    score: float = -3.0 + table * (1 + moved) + words * (1 - moved) + 2 * moved
    return score


def test_oracle_can_be_added_up_by_hand_from_what_a_model_sees() -> None:
    rows = plain(300, seed=2, missing=0.2, duplicates=0.2, drift=0.8)
    p = rows.oracle["registration", "trial-status"]
    expected = [log_odds_by_hand(row, 0.8) for row in rows.frame.to_dict("records")]
    np.testing.assert_allclose(np.log(p[:, 1] / p[:, 0]), expected, atol=1e-9)


def test_oracle_before_the_end_does_not_use_actual_enrollment() -> None:
    without, with_leak = plain(missing=0.1), plain(missing=0.1, leak=1.0)
    assert not without.frame["enrollment"].equals(with_leak.frame["enrollment"])
    for task in ("trial-outcome", "trial-status"):
        early = without.oracle["registration", task]
        assert (early == with_leak.oracle["registration", task]).all()
        assert (early == with_leak.oracle["during", task]).all()
        np.testing.assert_allclose(without.oracle["after", task], early, rtol=1e-12)
        assert np.abs(with_leak.oracle["after", task] - early).max() > 0.5


def test_oracle_after_the_end_knows_that_withdrawn_trials_enrolled_nobody() -> None:
    rows = plain(2000, leak=1.0, missing=0.1)
    p = rows.oracle["after", "trial-status"]
    count = rows.frame["enrollment"].to_numpy()
    assert (p[count > 0, 2] == 0).all()
    assert (p[count == 0, 2] > 0.5).mean() > 0.9
    unknown = np.isnan(count)
    np.testing.assert_allclose(
        p[unknown], rows.oracle["registration", "trial-status"][unknown], rtol=1e-12
    )


def test_oracle_follows_bayes_rule_for_outcome_phrases() -> None:
    before, after = plain(2000, missing=0.1), plain(2000, missing=0.1, outcome_phrases=0.5)
    p, q = (rows.oracle["registration", "trial-outcome"][:, 1] for rows in (before, after))
    told = (before.frame["brief_summary"] != after.frame["brief_summary"]).to_numpy()
    empty = before.frame["brief_summary"].eq("").to_numpy()
    assert (q[told] == 0).all()
    np.testing.assert_allclose(q[empty], p[empty])
    silent = ~told & ~empty
    # half of the stopped trials would have said so: p of 0.5 becomes 0.5 / (0.5 + 0.25) = 2/3
    np.testing.assert_allclose(q[silent], (p / (p + 0.5 * (1 - p)))[silent])


def test_oracle_holds_for_trials_that_have_a_label() -> None:
    before, after = plain(2000), plain(2000, censoring=0.75)
    p, q = (rows.oracle["registration", "trial-outcome"][:, 1] for rows in (before, after))
    recent = before.frame["start_date"].dt.year.ge(2021).to_numpy()
    np.testing.assert_allclose(q[~recent], p[~recent])
    # a quarter of the completions can be seen: p of 0.8 becomes 0.2 / (0.2 + 0.2) = 1/2
    np.testing.assert_allclose(q[recent], (0.25 * p / (0.25 * p + 1 - p))[recent])


def test_oracle_rows_are_probabilities_for_every_task_and_level() -> None:
    rows = full()
    levels, tasks = ("registration", "during", "after"), {"trial-outcome": 2, "trial-status": 3}
    assert set(rows.oracle) == set(itertools.product(levels, tasks))
    for (_, task), p in rows.oracle.items():
        assert p.shape == (100_000, tasks[task])
        assert p.min() >= 0
        np.testing.assert_allclose(p.sum(axis=1), 1)


def visible_groups(frame: pd.DataFrame, as_of: str) -> dict[str, pd.Series]:
    """Parts of the rows that a model could tell apart, where a wrong oracle would show."""
    summary, year = frame["brief_summary"], frame["start_date"].dt.year
    groups = {
        "phase missing": frame["phases"].isna(),
        "plan missing": frame["enrollment_planned"].isna(),
        "summary missing": summary.eq(""),
        "criteria missing": frame["eligibility_criteria"].eq(""),
        "enrollment missing": frame["enrollment"].isna(),
        "sisters": frame["sister_of"].notna(),
        "early": year.le(2010),
        "recent": year.ge(2021),
        "futility, late": summary.str.contains("futility") & frame["phases"].eq("PHASE3"),
        "futility, early": summary.str.contains("futility") & frame["phases"].eq("PHASE1"),
        "largest sponsor": frame["lead_sponsor"].eq(synthetic_text.SPONSORS[0][0]),
        "small plan": frame["enrollment_planned"].lt(20),
    }
    if as_of == "after":
        reached = frame["enrollment"] / frame["enrollment_planned"]
        groups["half enrolled"] = reached.between(0.4, 0.6)
        groups["nobody enrolled"] = frame["enrollment"].eq(0)
        groups["nobody enrolled, plan missing"] = groups["nobody enrolled"] & groups["plan missing"]
    return groups


@pytest.mark.parametrize("as_of", ["registration", "after"])
@pytest.mark.parametrize(
    ("task", "classes"),
    [("trial-outcome", ("STOPPED", "COMPLETED")), ("trial-status", FINAL[:3])],
)
def test_oracle_is_calibrated_with_every_property_on(
    as_of: KnownAt, task: str, classes: tuple[str, ...]
) -> None:
    rows = full()
    status = rows.frame["overall_status"]
    if task == "trial-outcome":
        status = status.replace(dict.fromkeys(FINAL[1:], "STOPPED"))
    in_task = status.isin(classes)
    status, frame = status[in_task], rows.frame[in_task]
    p = rows.oracle[as_of, task][in_task]
    for number, name in enumerate(classes):
        hit, chance = status.eq(name).to_numpy(), p[:, number]
        bins = np.searchsorted(np.quantile(chance, np.arange(0.05, 1, 0.05)), chance)
        for b in np.unique(bins):
            assert abs(z_of(hit[bins == b], chance[bins == b])) < 4.5, (name, b)
        for group, inside in visible_groups(frame, as_of).items():
            assert inside.sum() > 200
            assert abs(z_of(hit[inside], chance[inside])) < 4.5, (name, group)


# How strong the signal is


def table_of(frame: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    columns = {c.name: c for c in COLUMNS}
    out = pd.DataFrame(index=frame.index)
    for name in names:
        kind = columns[name].kind
        out[name] = (
            frame[name].astype("category")
            if kind == "categorical"
            else (frame[name].dt.year if kind == "date" else frame[name])
        )
    return out


def fitted_auc(rows: Rows, features: Any, model: Any) -> float:
    """ROC-AUC on the last third of a model fitted on the first two thirds."""
    y = (~stopped(rows)).to_numpy()
    cut = len(y) * 2 // 3
    score = model.fit(features[:cut], y[:cut]).predict_proba(features[cut:])[:, 1]
    return auc(y[cut:], score)


def test_no_model_that_sees_enrollment_beats_the_oracle() -> None:
    from lightgbm import LGBMClassifier

    rows = read(Options(rows=12_000, seed=1))
    names = Columns.of(COLUMNS, "after").tabular
    lightgbm = fitted_auc(
        rows,
        table_of(rows.frame, names),
        LGBMClassifier(n_estimators=80, num_leaves=15, verbose=-1, n_jobs=1),
    )
    best = auc((~stopped(rows)).to_numpy()[8000:], rows.oracle["after", "trial-outcome"][8000:, 1])
    assert 0.9 < lightgbm < best
    assert best > 0.95


def test_table_and_text_together_beat_each_alone_and_stay_below_the_oracle() -> None:
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    rows = read(Options(rows=6000, seed=1))
    frame = rows.frame
    documents = frame[TEXTS].agg(" ".join, axis=1)
    words = TfidfVectorizer(min_df=3).fit(documents[:4000]).transform(documents)
    cells = table_of(frame, Columns.of(COLUMNS).tabular)
    cells["enrollment_planned"] = np.log(cells["enrollment_planned"]).fillna(4.5) - 4.5
    cells["start_date"] = (cells["start_date"] - 2014) / 9
    cells["record_score"] /= 100
    cells["min_age"] /= 65
    table = csr_matrix(pd.get_dummies(cells.fillna({"number_of_arms": 2})).fillna(0).astype(float))
    score = {
        name: fitted_auc(rows, features, LogisticRegression(max_iter=2000))
        for name, features in {
            "table": table,
            "text": words,
            "both": hstack([table, words]).tocsr(),
        }.items()
    }
    y = (~stopped(rows)).to_numpy()[4000:]
    best = auc(y, rows.oracle["registration", "trial-outcome"][4000:, 1])
    assert score["table"] > 0.65
    assert score["text"] > 0.65
    assert score["both"] > max(score["table"], score["text"]) + 0.03
    assert score["both"] < best
    assert 0.8 < best < 0.9


def test_a_hundred_thousand_rows_take_seconds() -> None:
    start = time.process_time()
    read(Options(rows=100_000))
    assert time.process_time() - start < 15
