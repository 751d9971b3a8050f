"""Checks of dates: splits that are not temporal, outcomes not known yet, rates that move."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.audit.findings import MOST_EVIDENCE, Evidence, Found, NotApplicable, Severity
from benchmark.audit.subject import Subject, at
from benchmark.readers.canonical import DATE
from benchmark.splits import Split, family
from models.base import Floats, Ints

ENDS = ("completion_date", "primary_completion_date")
"""Columns that say when an outcome was known, the first that a row has."""
CENSORED_SERIOUS = 0.05
"""Share of a split's test rows that stand in censored cohorts, from which that is serious."""
STEP = 0.15
"""Rise of the unlabelled share over the years before, from which a cohort counts as censored."""
SHIFT, SHIFT_Z = 0.1, 3.0
"""Change of a class's rate that makes thinning cohorts suspect, and its z score."""
DRIFT, DRIFT_Z = 0.03, 3.0
"""Change of a class's rate from early to late rows that counts as drift, and the trend's z."""
_EARLY, _LATE = 0.64, 0.8
"""The rows by date that drift compares: those that a temporal split trains on and tests on."""
_LEAST, _LEAST_DATED = 15, 100


def untrue_temporal(subject: Subject) -> list[Found]:
    """Splits by date whose dates overlap, or whose train rows ended after the test began."""
    dates = subject.data.dates
    if dates is None:
        raise NotApplicable("the rows have no date")
    names = ("temporal", "temporal-mature", "rolling", "rolling-mature", "official")
    splits = [split for split in subject.splits if family(split.name) in names]
    if not splits:
        raise NotApplicable("no split of this run is one by date or a published one")
    return [
        entry
        for split in splits
        for entry in (_overlap(split, dates), _straddlers(subject, split, dates))
        if entry is not None
    ]


def _overlap(split: Split, dates: pd.Series) -> Found | None:
    """Train and valid rows dated after the test rows begin, for a published split."""
    rest = at(dates, split.train, split.valid).dropna()
    test = at(dates, split.test).dropna()
    if rest.empty or test.empty:
        return None
    begins, ends = test.min(), rest.max()
    later, earlier = rest[rest >= begins], int((test <= ends).sum())
    if later.empty:
        return None
    when = dates.name
    return Found(
        "warning",
        split.name,
        f"not a split by {when}: {len(later)} of {len(rest):,} train and valid rows are dated "
        f"{begins:%Y-%m-%d} or later, when the test rows begin, and {earlier} of {len(test):,} "
        f"test rows {ends:%Y-%m-%d} or earlier, when train ends; another date decides, and rows "
        "that straddle its cut are missing or in train",
        "read its scores as those of a mixed split, and run `temporal` beside it",
        _rows(later.index, str(dates.name)),
        {"straddling": len(later), "train": len(rest), "test_inside": earlier, "test": len(test)},
    )


def _straddlers(subject: Subject, split: Split, dates: pd.Series) -> Found | None:
    """Train rows whose outcome was not known when the first test row began."""
    ends = _ends(subject)
    if ends is None:
        return None
    begins = at(dates, split.test).min()
    train = at(ends, split.train)
    after = train[train >= begins]
    if after.empty:
        return None
    share = len(after) / len(train)
    return Found(
        "warning" if share >= 0.01 else "note",
        split.name,
        f"{len(after):,} of {len(train):,} train rows ({100 * share:.1f} %) ended on or after "
        f"{begins:%Y-%m-%d}, when the test rows begin: nobody could have known their outcome then",
        "read the score as optimistic, or leave out rows that end after the cut (`where` on "
        "completion_date)",
        _rows(after.index, "completion_date"),
        {"straddling": len(after), "train": len(train), "share": round(share, 4)},
    )


def _ends(subject: Subject) -> pd.Series | None:
    """When each labelled row ended; None where nothing says so."""
    there = [subject.data.X[name] for name in ENDS if name in subject.data.X]
    if not there:
        return None
    ends = there[0]
    for other in there[1:]:
        ends = ends.fillna(other)
    return ends if ends.notna().any() else None


def _rows(index: pd.Index[str], column: str) -> tuple[Evidence, ...]:
    return tuple(Evidence(str(id_), column) for id_ in index[:MOST_EVIDENCE])


@dataclass(frozen=True)
class _Cohorts:
    """Rows by year: how many, how many of them labelled, and the rows of each class."""

    years: Ints
    n: Ints
    labelled: Ints
    classes: Ints

    def open_share(self, keep: np.ndarray) -> float:
        """Share without a label of the cohorts where `keep` holds."""
        return 1 - float(self.labelled[keep].sum() / max(self.n[keep].sum(), 1))

    def rates(self, keep: np.ndarray) -> Floats:
        """Share of each class among the labelled rows of the cohorts where `keep` holds."""
        return np.asarray(self.classes[keep].sum(axis=0) / max(self.labelled[keep].sum(), 1))


def right_censored(subject: Subject) -> list[Found]:
    """Recent years in which only the studies that ended early have an outcome yet."""
    name = subject.rows.date
    if name is None:
        raise NotApplicable("the rows have no date")
    if name not in (DATE, "first_posted"):
        raise NotApplicable(f"{name} is not the start of something that ends later")
    cohorts = _cohorts(subject, name)
    if len(cohorts.years) < 5:
        raise NotApplicable(f"{len(cohorts.years)} years of {name}, fewer than five")
    since = _unlabelled_since(cohorts)
    if since is not None:
        return [_censored(subject, cohorts, since, unlabelled=True)]
    since = _thinning_since(cohorts)
    return [] if since is None else [_censored(subject, cohorts, since, unlabelled=False)]


def _cohorts(subject: Subject, name: str) -> _Cohorts:
    years = subject.rows.frame[name].dt.year.dropna().astype("int64")
    labelled = years.index.isin(subject.data.X.index)
    known = years[labelled]
    labels = pd.DataFrame(subject.labels, subject.data.X.index).loc[known.index]
    every = np.unique(years)
    n = years.value_counts().reindex(every).to_numpy(np.int64)
    of = known.value_counts().reindex(every, fill_value=0).to_numpy(np.int64)
    classes = labels.groupby(known).sum().reindex(every, fill_value=0).to_numpy(np.int64)
    return _Cohorts(every, n, of, classes)


def _unlabelled_since(cohorts: _Cohorts) -> int | None:
    """First year of the last run of years that each have many more unlabelled rows than before."""
    usual = cohorts.open_share(cohorts.years <= np.quantile(cohorts.years, 0.5))
    since = None
    for place in range(len(cohorts.years))[::-1]:
        if cohorts.n[place:].sum() < _LEAST:
            continue
        if cohorts.open_share(cohorts.years == cohorts.years[place]) < usual + STEP:
            break
        since = int(cohorts.years[place])
    return since


def _thinning_since(cohorts: _Cohorts) -> int | None:
    """First of the last years with ever fewer rows, where the class rates move with them.

    Where rows without an outcome were left out beforehand, this is how censoring shows: few studies
    of a recent year have ended, and those that were stopped are over-represented.
    """
    first = len(cohorts.n) - 1
    while first and cohorts.n[first - 1] > cohorts.n[first]:
        first -= 1
    first += 1  # the peak itself is whole
    late = np.arange(len(cohorts.n)) >= first
    if late.sum() < 3 or cohorts.n[late].sum() < _LEAST or 2 * cohorts.n[-1] > cohorts.n[first - 1]:
        return None
    sums = [cohorts.classes[keep].sum(axis=0) for keep in (late, ~late)]
    sizes = [int(cohorts.labelled[keep].sum()) for keep in (late, ~late)]
    moved = np.abs(cohorts.rates(late) - cohorts.rates(~late)).max()
    apart = moved >= SHIFT and _z(*sums, *sizes) >= SHIFT_Z
    change, z = _trend(cohorts, late)
    return int(cohorts.years[first]) if apart or (change >= SHIFT and z >= SHIFT_Z) else None


def _trend(cohorts: _Cohorts, keep: np.ndarray) -> tuple[float, float]:
    """Change of a class's rate over the years by a line, and its z score (Cochran-Armitage)."""
    n, years = cohorts.labelled[keep], cohorts.years[keep].astype(float)
    years -= np.average(years, weights=n)
    spread = float((n * years**2).sum())
    rates = cohorts.rates(keep)
    slopes = (cohorts.classes[keep] * years[:, None]).sum(axis=0) / spread
    error = np.sqrt(rates * (1 - rates) / spread)
    z = np.divide(np.abs(slopes), error, out=np.zeros_like(rates), where=error > 0)
    top = int(np.argmax(z))
    return abs(float(slopes[top])) * float(np.ptp(years)), float(z[top])


def _z(a: Ints, b: Ints, n_a: int, n_b: int) -> float:
    """The largest z score over the classes of two rates, a of n_a and b of n_b rows (pooled)."""
    pooled = (a + b) / max(n_a + n_b, 1)
    error = np.sqrt(pooled * (1 - pooled) * (1 / max(n_a, 1) + 1 / max(n_b, 1)))
    gap = np.abs(a / max(n_a, 1) - b / max(n_b, 1))
    return float(np.max(np.divide(gap, error, out=np.zeros_like(gap), where=error > 0)))


def _censored(subject: Subject, cohorts: _Cohorts, since: int, *, unlabelled: bool) -> Found:
    late = cohorts.years >= since
    classes = subject.data.target.classes
    rates, before = cohorts.rates(late), cohorts.rates(~late)
    top = int(np.argmax(np.abs(rates - before)))
    inside = _in_test(subject, since)
    where = max(inside, key=lambda name: inside[name], default="")
    share = inside.get(where, 0.0)
    # that rows are missing is seen in the one case and inferred in the other
    severity: Severity = "serious" if unlabelled and share >= CENSORED_SERIOUS else "warning"
    peak = int(np.flatnonzero(late)[0]) - 1
    opened = (
        f"{100 * cohorts.open_share(late):.0f} % have no outcome yet, against "
        f"{100 * cohorts.open_share(~late):.0f} % before"
        if unlabelled
        else f"none lacks an outcome, but there are ever fewer ({int(cohorts.n[peak])} in "
        f"{cohorts.years[peak]}, {int(cohorts.n[-1])} in {cohorts.years[-1]})"
    )
    share_text = f"; {100 * share:.1f} % of the test rows in {where}" if inside else ""
    return Found(
        severity,
        str(subject.rows.date),
        f"of {int(cohorts.n[late].sum()):,} rows begun in {since} or later {opened}; "
        f"{100 * rates[top]:.0f} % of the labelled ones are {classes[top]!r} "
        f"({_course(cohorts, late, top)}), against {100 * before[top]:.0f} % before{share_text}",
        f"end the rows before {since} (`where: {{{subject.rows.date}: {{to: {since - 1}-12-31}}}}`)"
        ", or use `maturity: auto`",
        numbers={
            "since": since,
            "share_of_test": {name: round(value, 4) for name, value in inside.items()},
            "years": {
                int(year): {"rows": int(n), "labelled": int(k), classes[top]: int(c)}
                for year, n, k, c in zip(
                    cohorts.years, cohorts.n, cohorts.labelled, cohorts.classes[:, top], strict=True
                )
            },
        },
    )  # fmt: skip


def _course(cohorts: _Cohorts, keep: np.ndarray, of: int) -> str:
    """The rate of one class in the first and the last of these years that has a few rows."""
    years = cohorts.years[keep & (cohorts.labelled >= _LEAST)]
    if not len(years):
        return "few rows a year"
    shown = (
        f"{100 * cohorts.rates(cohorts.years == year)[of]:.0f} % in {year}"
        for year in dict.fromkeys((years.min(), years.max()))
    )
    return " to ".join(shown)


def _in_test(subject: Subject, since: int) -> dict[str, float]:
    """Share of each split's test rows that began in `since` or later."""
    dates = subject.data.X[subject.rows.date]
    recent = dates.dt.year >= since
    return {split.name: float(at(recent, split.test).mean()) for split in subject.splits}


def drift(subject: Subject) -> list[Found]:
    """Class rates that rise or fall with the date, by a line through 0 and 1 (Cochran-Armitage)."""
    dates = subject.data.dates
    if dates is None:
        raise NotApplicable("the rows have no date")
    known = dates.notna().to_numpy()
    days = np.asarray(dates[known].astype("datetime64[s]").astype("int64"), np.float64)
    if len(days) < _LEAST_DATED or np.ptp(days) == 0:
        raise NotApplicable(f"{len(days)} rows with different dates, fewer than {_LEAST_DATED}")
    labels = subject.labels[known]
    z = np.array([_correlation(days, column) for column in labels.T]) * np.sqrt(len(days))
    low, high = np.quantile(days, [_EARLY, _LATE])
    early, late = labels[days <= low], labels[days > high]
    top = int(np.argmax(np.abs(z)))
    if not len(late) or np.abs(z[top]) < DRIFT_Z:
        return []
    before, after = float(early[:, top].mean()), float(late[:, top].mean())
    if abs(after - before) < DRIFT:
        return []
    first, last = (pd.Timestamp(day, unit="s") for day in (low, high))
    named = subject.data.target.classes[top]
    return [
        Found(
            "warning",
            str(dates.name),
            f"{100 * before:.1f} % of {len(early):,} rows up to {first:%Y-%m-%d} are {named!r}, "
            f"and {100 * after:.1f} % of {len(late):,} after {last:%Y-%m-%d} (trend over all rows: "
            f"z = {abs(z[top]):.1f})",
            "score on a temporal split too; a random one hides this",
            numbers={
                "early": round(before, 4),
                "late": round(after, 4),
                "class": named,
                "z": round(abs(float(z[top])), 2),
            },
        )
    ]


def _correlation(days: Floats, labels: Ints) -> float:
    """Pearson's; 0 where all labels are equal."""
    return float(np.corrcoef(days, labels)[0, 1]) if np.ptp(labels) else 0.0
