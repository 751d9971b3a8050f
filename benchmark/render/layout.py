"""Tables as a reader sees them, before any format: title, header, cells, notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pandas as pd

from benchmark.contenders import STOPPED
from benchmark.leaderboard import GAINS, GROUP, Board, check_comparable, gained, gains
from benchmark.maturity import rank_changes
from benchmark.metrics import label_of, metric_of
from features.columns import KNOWN_AT

Style = Literal["plain", "floor", "ceiling", "unranked"]

PLAIN: tuple[Style, ...] = ("plain",)
_PAGE = 80
"""Characters that columns of models may take: 120 less a label of 16 and its counts."""
_FEW_GROUPS = 10
_SMALLEST = 0.0005
"""What rounds to .000."""

SHORT = {
    "roc_auc": "ROC-AUC",
    "average_precision": "AP",
    STOPPED: "AP stopped",
    "f1_macro": "F1-macro",
    "f1_micro": "F1-micro",
    "f1_weighted": "F1-weighted",
    "f1_positive": "F1",
    "f1": "F1",
    "precision_macro": "precision",
    "precision_micro": "micro-precision",
    "recall_macro": "recall",
    "recall_micro": "micro-recall",
    "balanced_accuracy": "bal. acc.",
    "mcc": "MCC",
    "brier": "Brier",
    "log_loss": "log loss",
    "ece": "ECE",
    "subset_accuracy": "subset acc.",
    "lrap": "LRAP",
}


@dataclass(frozen=True)
class Sheet:
    """One table: cells are strings, `numeric` marks the columns to align right.

    A line break in the header is a wish: it's a blank where cells have one line. `about` says what
    the rows rest on and goes with the title, `notes` go below; `bold` holds places (row, column).
    """

    title: str
    header: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]
    styles: tuple[Style, ...]
    notes: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    bold: frozenset[tuple[int, int]] = frozenset()


def metric_title(name: str) -> str:
    """A metric as a column header: `F1-macro@valid`, `F1[RCT]`; ↓ where lower is better."""
    base, at, rule = name.partition("@")
    key, bracket, label = base.partition("[")
    arrow = "" if metric_of(name).higher_is_better else " ↓"
    return SHORT.get(key, key) + bracket + label + at + rule + arrow


def board_tables(board: Board) -> list[Sheet]:
    """Tables for each task, split and as-of level: the models, and for a task of several classes
    or labels these by model; where there are several levels, what the later ones gain. The last
    table carries the notes. Raises `InputError` for rows that can't stand in one table.
    """
    check_comparable(board.rows)
    sheets: list[Sheet] = []
    leads: dict[str, None] = {}
    for key, rows in board.rows.groupby(list(GROUP), sort=False):
        group = dict(zip(GROUP, key, strict=True))
        metrics = [name for name in board.metrics if name in set(rows["metric"])]
        leads[metrics[0]] = None
        sheets += [_sheet(group, rows, metrics), *_label_sheets(group, rows, metrics[0])]
    sheets += [*_gain_sheets(board), *_maturity_sheets(board, list(leads))]
    sheets[-1] = replace(sheets[-1], notes=(*sheets[-1].notes, *_notes(board, list(leads))))
    return sheets


def _sheet(group: Mapping[str, Any], rows: pd.DataFrame, metrics: Sequence[str]) -> Sheet:
    lead = rows[rows["metric"] == metrics[0]]
    values = {name: rows[rows["metric"] == name].set_index(["model", "inputs"]) for name in metrics}
    titles = [_column(name, rows) for name in metrics]
    costs = {"fit s": "fit_seconds"}
    if (lead["tune_seconds"] > 0).any():
        costs["tune s"] = "tune_seconds"
    header = ("rank", "tie", "model", "inputs", f"{titles[0]} [95 %]", *titles[1:], *costs)
    cells: list[tuple[str, ...]] = []
    styles: list[Style] = []
    for row in ordered(lead):
        others = [values[name].loc[(row["model"], row["inputs"])]["value"] for name in metrics[1:]]
        cells.append(
            (
                "" if row["rank"] is None else str(row["rank"]),
                "" if row["tie_group"] is None else letter(row["tie_group"]),
                model_name(row),
                row["inputs"],
                f"{number(row['value'])} [{number(row['low'])}, {number(row['high'])}]",
                *(number(value) for value in others),
                *(amount(row[name]) for name in costs.values()),
            )
        )
        styles.append(row_style(row))
    return Sheet(
        title=_title(group, lead),
        header=header,
        numeric=tuple(name not in ("tie", "model", "inputs") for name in header),
        rows=tuple(cells),
        styles=tuple(styles),
        notes=_detectable(lead),
    )


def _detectable(lead: pd.DataFrame) -> tuple[str, ...]:
    """The minimum detectable difference, where two models differ at all."""
    first = lead.iloc[0]
    if pd.isna(first["mde"]) or first["mde"] < _SMALLEST:
        return ()
    rows = f"{first['n_test']:,} test rows"
    if pd.notna(first["n_groups"]):
        rows = f"{first['n_groups']:.0f} groups of test rows"
    elif lead["seeds"].map(len).max() > 1:
        rows += " a seed"
    what = metric_title(first["metric"]).removesuffix(" ↓")
    return (
        f"Two models must differ by {number(first['mde'])} in {what} to be told apart on these "
        f"{rows} with 80 % power (at the .05 level; the median pair of models).",
    )


_GAINS = {
    "leak": (
        "leak dividend: {metric} above the same model's as of {first}",
        "dividend",
        "leak dividend: what a model gains from columns that were not known yet; the same test "
        "rows, paired draws.",
    ),
    "redaction": (
        "{metric} on redacted texts above the same model's on the texts as they are",
        "change",
        "redacted: sentences that state the outcome are taken out; what a model loses by that, it "
        "had read. The same test rows, paired draws.",
    ),
    "optimism": (
        "{metric} on the random twin above the same model's on the split itself",
        "optimism",
        "twin: the rows of the other split, dealt at random to parts of the same sizes and class "
        "rates; what a model scores better there is the optimism of a random split. Other test "
        "rows, so the draws are unpaired.",
    ),
}


def _gain_sheets(board: Board) -> list[Sheet]:
    """What each model gains at later levels, or loses by redacted texts, by task and split."""
    sheets: list[Sheet] = []
    levels = sorted(board.rows["as_of"].unique(), key=_level)
    for kind, (title, what, note) in _GAINS.items():
        gain, low, high, p = GAINS[kind]
        if gained(board, kind).empty:
            continue
        for (task, split), rows in gains(board, kind).groupby(["task", "split"], sort=False):
            metric = metric_title(rows["metric"].iloc[0])
            cells = tuple(
                (
                    *(row["as_of"], row["model"], row["inputs"]),
                    *(number(row["value"] - row[gain]), number(row["value"])),
                    difference(row[gain], row[low], row[high]),
                    p_value(row[p]),
                )
                for row in records(rows)
            )
            sheets.append(
                Sheet(
                    title=f"{task} · {split} split · "
                    + title.format(metric=metric, first=levels[0]),
                    header=("as of", "model", "inputs", "before", "then", f"{what} [95 %]", "p"),
                    numeric=(False, False, False, *[True] * 4),
                    rows=cells,
                    styles=PLAIN * len(cells),
                )
            )
        sheets[-1] = replace(sheets[-1], notes=(note,))
    return sheets


def _maturity_sheets(board: Board, leads: Sequence[str]) -> list[Sheet]:
    """How the order of the models changes where rows too young to have an outcome are left out."""
    changes = rank_changes(board.rows, leads).dropna(subset=["rank_all", "rank_mature"])
    sheets = []
    for (task, split, as_of, metric), rows in changes.groupby(
        ["task", "split", "as_of", "metric"], sort=False
    ):
        cells = tuple(
            (
                *(row["model"], row["inputs"]),
                *(number(row["value_all"]), number(row["value_mature"])),
                *(str(row["rank_all"]), str(row["rank_mature"])),
            )
            for row in records(rows.sort_values("rank_mature", kind="stable"))
        )
        sheets.append(
            Sheet(
                title=f"{task} · {split} split · as of {as_of} · {metric_title(str(metric))} "
                "with and without rows too young to have an outcome",
                header=("model", "inputs", "all", "mature", "rank", "rank mature"),
                numeric=(False, False, *[True] * 4),
                rows=cells,
                styles=PLAIN * len(cells),
            )
        )
    return sheets


def _level(as_of: str) -> int:
    return [*KNOWN_AT].index(as_of) if as_of in KNOWN_AT else len(KNOWN_AT)


def _column(metric: str, rows: pd.DataFrame) -> str:
    """`metric_title`; the negative class is called stopped only where the other is completed."""
    if metric == STOPPED and not has_stopped(rows):
        return "AP negative"
    return metric_title(metric)


def has_stopped(rows: pd.DataFrame) -> bool:
    """Whether completed trials stand against stopped ones (several classes: only then)."""
    binary = rows[rows["kind"] == "binary"]
    return bool((binary["positive"].str.casefold() == "completed").all())


def _label_sheets(group: Mapping[str, Any], rows: pd.DataFrame, ranking: str) -> list[Sheet]:
    """Classes or labels by model: F1, or what ranks the table (ROC-AUC, average precision).

    As many tables as it takes to be no wider than a page; none for a binary task.
    """
    names = _label_metrics(rows["metric"].unique(), ranking)
    if not names:
        return []
    order = ordered(rows[rows["metric"] == ranking])
    models = [(row["model"], row["inputs"]) for row in order]
    heads = ["\n".join([*model_name(row).split(" "), row["inputs"]]) for row in order]
    by_label = [rows[rows["metric"] == name].set_index(["model", "inputs"]) for name in names]
    what = metric_title(names[0]).replace(f"[{label_of(names[0])}]", "")
    pieces = _pages([max(map(len, head.split("\n"))) for head in heads])
    return [
        Sheet(
            title=f"{group['task']} · {group['split']} split · as of {group['as_of']} · "
            f"{what} by label" + (f" ({page} of {len(pieces)})" if len(pieces) > 1 else ""),
            header=("label", "in test", "share", *(heads[place] for place in piece)),
            numeric=(False, *[True] * (2 + len(piece))),
            rows=tuple(
                _label_row(values, [models[place] for place in piece]) for values in by_label
            ),
            styles=PLAIN * len(names),
        )
        for page, piece in enumerate(pieces, start=1)
    ]


def _label_metrics(names: Iterable[str], ranking: str) -> list[str]:
    """Of the metrics of one label each, those shown: one a label, with @valid if there is one."""
    base = ranking.partition("[")[0].partition("@")[0]
    base = base if base in ("roc_auc", "average_precision") else "f1"
    found: dict[str, str] = {}
    for name in names:
        label = label_of(name)
        if label is not None and name.startswith(f"{base}["):
            found[label] = max(name, found.get(label, ""), key=len)
    return list(found.values())


def _label_row(values: pd.DataFrame, models: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    first, by_model = values.iloc[0], values["value"].to_dict()
    share = first["prevalence"]
    shown = [number(by_model[model]) for model in models]
    return (first["positive"], f"{round(share * first['n_test']):,}", f"{share:.1%}", *shown)


def _pages(widths: Sequence[int]) -> list[list[int]]:
    """Numbers of columns, as many on a page as fit beside the label."""
    pages: list[list[int]] = [[]]
    for place, width in enumerate(widths):
        if pages[-1] and sum(widths[i] + 1 for i in pages[-1]) + width > _PAGE:
            pages.append([])
        pages[-1].append(place)
    return pages


def ordered(lead: pd.DataFrame) -> list[dict[str, Any]]:
    """The ceiling first, then by rank, what has none last."""
    rows = records(lead)
    return sorted(rows, key=lambda row: (not row["is_ceiling"], row["rank"] is None, row["rank"]))


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """One mapping a row, None for missing."""
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(key): value for key, value in row.items()} for row in plain.to_dict("records")]


def model_name(row: Mapping[str, Any]) -> str:
    name = row["model"] if row["checkpoint"] is None else f"{row['model']} ({row['checkpoint']})"
    if row["is_floor"]:
        return f"{name} (floor)"
    if row["dropped_after"] is not None and row["rank"] is None:
        seeds = row["seeds"]
        return f"{name} (dropped after seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))})"
    if row["rank"] is None and not row["is_ceiling"]:
        return f"{name} (seeds {', '.join(map(str, row['seeds']))} only)"
    return str(name)


def row_style(row: Mapping[str, Any]) -> Style:
    if row["is_ceiling"]:
        return "ceiling"
    if row["rank"] is None:
        return "unranked"
    return "floor" if row["is_floor"] else "plain"


def _title(group: Mapping[str, Any], lead: pd.DataFrame) -> str:
    first = lead.iloc[0]
    share = (
        "" if pd.isna(first["prevalence"]) else f", {first['prevalence']:.1%} {first['positive']}"
    )
    seeds = sorted({seed for seeds in lead["seeds"] for seed in seeds})
    grouped = "" if pd.isna(first["n_groups"]) else f" in {first['n_groups']:.0f} groups"
    excluded = f", {first['n_excluded']:,} rows in no part" if first["n_excluded"] else ""
    return (
        f"{group['task']} · {group['split']} split · {first['n_train']:,} train and "
        f"{first['n_test']:,} test rows{grouped}{share}{excluded} · as of {group['as_of']} · "
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    )


def _notes(board: Board, leads: Sequence[str]) -> tuple[str, ...]:
    """What the tables need to be read; `leads` are the metrics that rank them."""
    notes = [
        f"Ranked by {' or '.join(map(metric_title, leads))}; [..] is its 95 % interval (1,000 "
        "paired bootstrap draws of the test rows, the same draws for every model). tie: models "
        "with one letter can't be told from the letter's first model on these rows.",
        *_group_notes(board),
        *_metric_notes(board),
    ]
    flags = board.rows
    if flags["is_floor"].any():
        notes.append(
            "floor: what needs no learning; a model that does not beat it has learnt nothing."
        )
    if flags["is_ceiling"].any():
        notes.append(
            "ceiling: the true probabilities that generated the rows; no model can do better "
            "but by luck."
        )
    notes.append(
        "fit s: seconds for features and fit, embeddings from the cache at their first cost."
    )
    notes += [*fit_notes(board.rows), *_read_notes(board), *exploration_notes(board.rows)]
    if board.gaps:
        notes.append("Not in the table: " + "; ".join(board.gaps))
    return tuple(notes)


def fit_notes(rows: pd.DataFrame) -> list[str]:
    """Which models were tuned, fitted once more or calibrated, where any was."""
    learnt = rows[~rows["is_floor"] & ~rows["is_ceiling"] & rows["members"].isna()]
    models = learnt.drop_duplicates([*GROUP, "model", "inputs"])
    notes = []
    if models["tuned"].notna().any():
        parts = [
            f"tuned ({budget}): {_names(models, models['tuned'] == budget)}"
            for budget in models["tuned"].dropna().unique()
        ]
        rest = _names(models, models["tuned"].isna())
        notes.append("; ".join([*parts, *([f"not tuned: {rest}"] if rest else [])]) + ".")
    if models["refit"].any():
        again = _names(models, models["refit"])
        notes.append(f"fitted again on train and valid, before test is predicted: {again}.")
    for method in models["calibrate"].dropna().unique():
        mended = _names(models, models["calibrate"] == method)
        notes.append(f"calibrated on valid ({method.capitalize()}): {mended}.")
    mixed = rows[rows["members"].notna()].drop_duplicates("model")
    notes += [f"{row['model']}: mixes {row['members']}." for row in records(mixed)]
    return notes


def exploration_notes(rows: pd.DataFrame) -> list[str]:
    """That models were dropped on the way, which, and what that makes of those that are left."""
    if not rows["exploration"].any():
        return []
    models = rows.drop_duplicates([*GROUP, "model", "inputs"])
    several = [name for name in GROUP if models[name].nunique() > 1]
    each = []
    for place, table in models.groupby(list(GROUP), sort=False):
        after = table["dropped_after"].where(table["rank"].isna())
        parts = [
            f"{_names(table, (after == n).fillna(False))} after {n} seed{'s' * (n > 1)}"
            for n in sorted(int(one) for one in after.dropna().unique())
        ]
        where = ", ".join(
            str(value) for name, value in zip(GROUP, place, strict=True) if name in several
        )
        if parts:
            each.append(f"{where}: {', '.join(parts)}" if where else "; ".join(parts))
    what = f": {'; '.join(each)}" if each else "; so far none was"
    return [
        "EXPLORATION (`halving`): models were dropped by interim scores on the valid rows of the "
        f"first seeds{what}. There they have fewer seeds and no rank. The others were chosen by "
        "seeds that their values are means over, so the best of them is too high by some luck: run "
        "them on new seeds without `halving` before you report them."
    ]


def _names(rows: pd.DataFrame, chosen: pd.Series) -> str:
    """The models of the chosen rows: a label where all of its inputs are chosen, else with them."""
    found: dict[str, None] = {}
    for label, of_label in rows.groupby("model", sort=False):
        picked = of_label[chosen[of_label.index]]
        whole = set(picked["inputs"]) == set(of_label["inputs"])
        shown = [str(label)] if whole else [f"{label}/{name}" for name in picked["inputs"]]
        found.update(dict.fromkeys(shown))
    return ", ".join(found)


def _group_notes(board: Board) -> list[str]:
    """That draws take whole groups, and that few groups make intervals too narrow."""
    grouped = board.rows[board.rows["n_groups"].notna()]
    if grouped.empty:
        return []
    sizes, splits = grouped["n_groups"], grouped["split"].unique()
    few = " Intervals from so few groups are too narrow." if sizes.min() < _FEW_GROUPS else ""
    where = f"{' and '.join(splits)} split{'s' * (len(splits) > 1)}"
    return [f"In the {where} the draws take whole groups.{few}"]


def _read_notes(board: Board) -> list[str]:
    """What happened to rows before the split, where any were lost."""
    read = board.read
    lost = {
        "left out by `where`": read.get("filtered", 0),
        "without a value that `require` asks for": read.get("incomplete", 0),
    }
    parts = [f"{count:,} {why}" for why, count in lost.items() if count]
    if read.get("rejected", 0):
        parts.append(f"{read['rejected']:,} rows or cells rejected (rejected.csv lists them)")
    return [f"Of {read['read']:,} rows read: {'; '.join(parts)}."] if parts else []


def _metric_notes(board: Board) -> list[str]:
    """How decisions are made and what AP is, as far as the tables' kinds of target need it."""
    rows, kinds, notes = board.rows, set(board.rows["kind"]), list[str]()
    if any(metric_of(name).needs_decisions for name in board.metrics):
        tuned = {
            "binary": "the threshold that is best for F1-macro",
            "multilabel": "the threshold of each label that is best for its F1",
        }
        best = " or ".join(text for kind, text in tuned.items() if kind in kinds)
        if best and any(name.endswith("@valid") for name in board.metrics):
            notes.append(f"@valid: decisions at {best} on the valid rows; others at 0.5.")
    if any(name.startswith("f1_macro") for name in board.metrics):
        notes.append(
            "F1-macro: mean of the F1 of the classes or labels (not the F1 of mean precision and "
            "recall; Opitz & Burst 2019)."
        )
    aps = ["AP: average precision of the scores"] * ("average_precision" in board.metrics)
    if "multilabel" in kinds and aps:
        aps[0] += ", mean over the labels"
    if STOPPED in set(rows["metric"]):
        stopped = rows[rows["metric"] == STOPPED]
        aps.append(
            "AP stopped: of the trials that stopped"
            if has_stopped(stopped)
            else "AP negative: of the class that is not the positive one"
        )
    if aps:
        notes.append("; ".join(aps) + ".")
    if any(not metric_of(name).higher_is_better for name in board.metrics):
        notes.append("↓: lower is better.")
    if any(label_of(name) is not None for name in rows["metric"].unique()):
        notes.append("in test: test rows that have the label, share: of all test rows.")
    return notes


def difference(value: float, low: float, high: float) -> str:
    """A signed value with its interval."""
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def p_value(p: float | None) -> str:
    """Three digits, `<.001` below them."""
    return number(p) if p is None or pd.isna(p) or p >= 0.001 else "<.001"


def number(value: float | None) -> str:
    """Three digits without the leading zero, as tables of the field print scores."""
    if value is None or pd.isna(value):
        return "—"
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def amount(value: float | None) -> str:
    """Seconds or MiB with two digits that matter."""
    if value is None or pd.isna(value):
        return "—"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def letter(group: int) -> str:
    """1 -> a, 26 -> z, 27 -> aa."""
    letters = ""
    while group:
        group, rest = divmod(group - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
