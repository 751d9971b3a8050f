"""Parsing one cell: text -> value, None where it is missing, `ValueError` where it is bad.

The message of a `ValueError` says what the cell is not, and never holds the cell itself.
"""

from __future__ import annotations

import math
import re
from datetime import date

from benchmark.readers.canonical import STATUSES

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_ARTEFACTS = {"", "nan", "NaN", "<NA>", "NaT"}
"""What software writes for a missing value. `NA` and `None` may be values of a category."""
_ABSENT = {"", "na", "n/a", "nan", "nat", "none", "null", "<na>", "-", "--", "?", "."}
"""What stands for a missing number, date or age, in lower case."""

_NUMBER = re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_AGE = re.compile(r"(\d{1,6}(?:\.\d+)?)\s*(year|month|week|day|hour|minute)s?", re.ASCII)
_PER_YEAR = {
    "year": 1.0,
    "month": 12.0,
    "week": 365.25 / 7,
    "day": 365.25,
    "hour": 365.25 * 24,
    "minute": 365.25 * 24 * 60,
}
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_ISO = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[t ]\d{2}:\d{2}\S*)?)?)?", re.ASCII)
_WORDS = re.compile(r"([a-z]+)\.?\s+(?:(\d{1,2})\s*,\s*)?(\d{4})", re.ASCII)

_LARGEST_ENROLLMENT = 10_000_000
_SENTINEL = 9_999_999
_OLDEST = 150

_YES = {"true", "yes", "y", "t", "1", "accepts healthy volunteers"}
_NO = {"false", "no", "n", "f", "0", "does not accept healthy volunteers"}
_SEXES = {"all": "ALL", "both": "ALL", "male": "MALE", "female": "FEMALE"}
_PHASES = ("EARLY_PHASE1", "PHASE1", "PHASE2", "PHASE3", "PHASE4")
_PHASE_NAMES = {"0": "EARLY_PHASE1", "EARLY1": "EARLY_PHASE1"} | {
    name: phase
    for phase, names in zip(_PHASES[1:], ("1 I", "2 II", "3 III", "4 IV"), strict=True)
    for name in names.split()
}
_AGE_GROUPS = {
    "CHILD": "CHILD",
    "ADULT": "ADULT",
    "OLDER_ADULT": "OLDER_ADULT",
    "SENIOR": "OLDER_ADULT",
}
_SAME = {
    "N_A": "NA",
    "NOT_APPLICABLE": "NA",
    "U_S_FED": "FED",
    "OBSERVATIONAL_PATIENT_REGISTRY": "OBSERVATIONAL",
    "EDUCATIONAL_COUNSELING_TRAINING": "ECT",
    "ECOLOGIC_OR_COMMUNITY_STUDIES": "ECOLOGIC_OR_COMMUNITY",
    "OPEN_LABEL": "NONE",
    "NO_MASKING": "NONE",
    "ANTICIPATED": "ESTIMATED",
}


def text(cell: str) -> str:
    """The text with `\\n` line ends and without other control characters; never None."""
    cleaned = _CONTROL.sub("", cell.replace("\r\n", "\n").replace("\r", "\n")).strip()
    return "" if cleaned in _ARTEFACTS else cleaned


def label(cell: str) -> str | None:
    """A name or a category: its spelling is kept, each run of white space becomes one blank."""
    cleaned = " ".join(text(cell).split())
    return cleaned or None


def number(cell: str) -> float | None:
    """A finite number; `1,200` is 1200 and `12.5` is 12.5."""
    cleaned = cell.strip()
    if cleaned.lower() in _ABSENT:
        return None
    if not _NUMBER.fullmatch(cleaned) or not any(c in "0123456789" for c in cleaned):
        raise ValueError("not a number")
    try:
        value = float(cleaned.replace(",", ""))
    except ValueError:
        raise ValueError("not a number") from None
    if not math.isfinite(value):
        raise ValueError("too large for a number")
    return value


def number_or_flag(cell: str) -> float | None:
    """As `number`; `true` is 1 and `false` is 0."""
    flag = {"true": 1.0, "false": 0.0}.get(cell.strip().lower())
    return number(cell) if flag is None else flag


def zero_or_one(cell: str) -> float | None:
    """0 or 1, also as `false` and `true`."""
    try:
        value = number_or_flag(cell)
    except ValueError:
        value = math.nan
    if value not in (None, 0, 1):
        raise ValueError("not 0 or 1")
    return value


def count(cell: str) -> float | None:
    """A whole number of 0 or more."""
    value = number(cell)
    if value is not None and (value < 0 or value != int(value)):
        raise ValueError("not a count of 0 or more")
    return value


def enrollment(cell: str) -> float | None:
    """A count of participants up to 10 million; 9,999,999 is a known filler and bad too."""
    value = count(cell)
    if value is not None and (value > _LARGEST_ENROLLMENT or value == _SENTINEL):
        raise ValueError("not a credible enrollment (up to 10 million; 9999999 is a filler)")
    return value


def age(cell: str) -> float | None:
    """Years: `18 Years`, `6 Months` (0.5), a bare number is years; a year has 365.25 days."""
    cleaned = cell.strip().lower()
    if cleaned in _ABSENT | {"no limit"}:
        return None
    found = _AGE.fullmatch(cleaned)
    try:
        years = float(found[1]) / _PER_YEAR[found[2]] if found else number(cleaned)
    except ValueError:
        raise ValueError("not an age such as 18 Years or 6 Months") from None
    if years is None or not 0 <= years <= _OLDEST:
        raise ValueError(f"not an age from 0 to {_OLDEST} years")
    return years


def day(cell: str) -> date | None:
    """A day: `2013-01-05`, `2013-01`, `2013`, `January 2013`, `January 5, 2013`.

    A month counts as its first day, a year as January 1; a time of day is cut off.
    """
    cleaned = cell.strip().lower()
    if cleaned in _ABSENT:
        return None
    if found := _ISO.fullmatch(cleaned):
        parts = (int(found[1]), int(found[2] or 1), int(found[3] or 1))
    elif (found := _WORDS.fullmatch(cleaned)) and (month := _month(found[1])):
        parts = (int(found[3]), month, int(found[2] or 1))
    else:
        raise ValueError("not a date such as 2013-01-05, 2013-01 or January 5, 2013")
    try:
        value = date(*parts)
    except ValueError:
        raise ValueError("not a date of the calendar") from None
    if not 1700 <= value.year <= 2200:
        raise ValueError("not a date from 1700 to 2200")
    return value


def _month(name: str) -> int:
    """1 to 12 for a name or its abbreviation of three letters or more, else 0."""
    hits = [n for n, month in enumerate(_MONTHS, 1) if month.startswith(name)]
    return hits[0] if len(name) > 2 and hits else 0


def status(cell: str) -> str | None:
    """An overall status in the API v2 spelling, from that or from an older one."""
    key = _key(cell)
    if not key:
        return None
    if key == "UNKNOWN_STATUS":
        return "UNKNOWN"
    if key not in STATUSES:
        raise ValueError("not a status of ClinicalTrials.gov")
    return key


def phases(cell: str) -> str | None:
    """`PHASE1|PHASE2` from `Phase 1/Phase 2`, `NA` from `N/A` or `Not Applicable`."""
    if not text(cell):
        return None
    if _SAME.get(_key(cell), _key(cell)) == "NA":
        return "NA"
    found = set()
    for part in re.split(r"[|/,;&]|\bAND\b", cell.upper().replace("PHASE", "")):
        name = _PHASE_NAMES.get(re.sub(r"[\W_]+", "", part))
        if name is None:
            raise ValueError("not a phase such as PHASE1|PHASE2, Phase 4 or NA")
        found.add(name)
    return "|".join(phase for phase in _PHASES if phase in found)


def boolean(cell: str) -> str | None:
    """`true` or `false`."""
    cleaned = cell.strip().lower()
    if cleaned in _ABSENT:
        return None
    if cleaned in _YES | _NO:
        return "true" if cleaned in _YES else "false"
    raise ValueError("not yes or no")


def sex(cell: str) -> str | None:
    """`ALL`, `MALE` or `FEMALE`."""
    cleaned = cell.strip().lower()
    if cleaned in _ABSENT:
        return None
    if cleaned not in _SEXES:
        raise ValueError("not one of all, male, female")
    return _SEXES[cleaned]


def age_groups(cell: str) -> str | None:
    """`ADULT|OLDER_ADULT` from `ADULT, OLDER_ADULT` or `Adult, Senior`, youngest first."""
    keys = [_key(part) for part in re.split(r"[,|]", text(cell)) if part.strip()]
    if unknown := [key for key in keys if key not in _AGE_GROUPS]:
        raise ValueError(f"not age groups ({len(unknown)} unknown)")
    found = {_AGE_GROUPS[key] for key in keys}
    return (
        "|".join(group for group in dict.fromkeys(_AGE_GROUPS.values()) if group in found) or None
    )


def choice(cell: str) -> str | None:
    """A value of one of the registry's lists in its API v2 spelling.

    `Parallel Assignment` is `PARALLEL`, `Non-Randomized` is `NON_RANDOMIZED`; several values are
    sorted and parted by `|`. New values of the registry pass; a single letter is a cut-off value
    (the CSV download writes `Time Perspective: p`) and bad.
    """
    keys = {_key(part).removesuffix("_ASSIGNMENT") for part in re.split(r"[,|]", text(cell))}
    keys = {_SAME.get(key, key) for key in keys if key}
    if any(len(key) == 1 for key in keys):
        raise ValueError("cut off after one letter")
    return "|".join(sorted(keys)) or None


def masking(cell: str) -> str | None:
    """The level alone: `DOUBLE` from `DOUBLE (PARTICIPANT, INVESTIGATOR)`, `NONE` if open."""
    key = _key(text(cell).partition("(")[0]).removesuffix("_BLIND").removesuffix("_MASKED")
    return _SAME.get(key, key) or None


def _key(cell: str) -> str:
    """Upper case, with `_` for everything that is no letter or digit."""
    return re.sub(r"[\W_]+", "_", text(cell)).strip("_").upper()
