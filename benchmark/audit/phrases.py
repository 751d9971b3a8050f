"""Sentences of a record that tell how its study ended, found by regular expressions.

A registry shows the last version of a text, and some are edited when a study stops. The patterns
are about studies, not about people who leave one, and about what has happened, not about what may:
"if the study is stopped" and "withdrawn from treatment" are no matches. English only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_STUDY = r"(?:study|trial|protocol|project|registry)"
_WORK = rf"(?:{_STUDY}|(?:(?:{_STUDY}|patient|subject) )?(?:enrol+ment|recruitment|accrual))"
_STOPPED = (
    r"(?:terminated|discontinued|withdrawn|halted|suspended|cancel+ed|abandoned|aborted|stopped"
    r"|ended|closed|put on hold)"
)
_ADVERBS = r"(?:(?:prematurely|early|permanently|temporarily|voluntarily|subsequently|later) )?"
_EARLY = (
    r"(?:early|prematurely|before (?:its|the) (?:planned|scheduled) (?:end|completion)"
    r"|ahead of (?:schedule|time))"
)
_CAUSE = (
    r"(?:due to|because of|owing to|as a result of|on account of|following|for reasons? of|for)"
)
_WANT = (
    r"(?:(?:very |too )?(?:low|slow|poor|insufficient|inadequate|lagging|limited)"
    r"|lack of|lacking|difficult(?:y|ies) (?:in|with))"
)
_MEANS = (
    r"(?:enrol+ment|enrol+ing|recruitment|recruiting|accrual|accruing|inclusion rate|funding|funds"
    r"|finances|financial support)"
)
_PERSONS = r"(?:patients?|participants?|subjects?|volunteers?|individuals?|persons?|people)"
_HAPPENED = r"(?:was|were|has been|have been|had been|had to be|is now)"

PATTERNS = {
    "stopped": rf"\b{_WORK} {_HAPPENED} {_ADVERBS}{_STOPPED}\b",
    "stopped early": (
        rf"\b{_STUDY} (?:(?:was|has been|is|had been) )?"
        rf"(?:terminated|discontinued|stopped|closed|halted|ended) {_EARLY}\b"
        r"|\b(?:early|premature) (?:study |trial )?(?:termination|closure) "
        rf"(?:of (?:the|this) {_STUDY} )?{_CAUSE}\b"
    ),
    "short of means": (
        rf"\b(?:due to|because of|owing to|as a result of|stopped for|closed for|terminated for) "
        rf"(?:the |a )?{_WANT} (?:of )?(?:\w+ )?{_MEANS}\b"
        rf"|\b(?:terminated|stopped|closed|withdrawn|halted|discontinued)[ :,;(-]+{_WANT} "
        rf"(?:of )?(?:\w+ )?{_MEANS}\b"
        rf"|\bfutility (?:was|has been) (?:met|shown|declared|reached)\b"
    ),
    "never begun": (
        rf"\b(?:no|zero) {_PERSONS} (?:was|were|has been|have been|had been) (?:ever )?"
        rf"(?:enrol+ed|recruited|randomi[sz]ed|accrued|included|treated|consented)\b"
        rf"|\b{_STUDY} (?:was |has |had |is )?never (?:been )?(?:started|opened|initiated|begun"
        rf"|began|conducted|activated|funded|approved)\b"
        rf"|\b{_STUDY} (?:was|has been|is) (?:withdrawn|cancel+ed) "
        r"(?:before|prior to)\b"
        r"|\bwithdrawn (?:before|prior to) (?:enrol+|recruit|initiation|start)"
        rf"|\b{_STUDY} did not (?:start|open|begin|proceed|take place|recruit|enrol+)\b"
    ),
    "decided to stop": (
        rf"\b(?:business|strategic|sponsor[^\w\s]?s?|company|corporate|management) decision "
        rf"(?:the |this |to )?(?:{_STUDY}|stop|terminat|discontinu|withdraw|end|halt|not to)"
        rf"|\b(?:decided|decision|elected|chose) (?:was made )?"
        rf"to (?:prematurely )?(?:stop|terminate|discontinue|withdraw|cancel|halt|close|suspend) "
        rf"(?:the |this |further )?(?:{_WORK})\b"
    ),
    "completed": (
        rf"\b(?:the|this|our) {_STUDY} (?:has been|was|is now) (?:successfully |now |already )?"
        rf"(?:completed|finali[sz]ed)\b|\b(?:enrol+ment|recruitment|accrual) (?:has been|was|is) "
        rf"(?:now |successfully )?(?:complete|completed)\b"
    ),
}
"""Kind of statement -> what it looks like; a blank stands for any white space."""

_NOT_AFTER = re.compile(
    r"(?:\b(?:if|when|once|until|till|after|before|unless|whether|that|in case|such|previous|prior"
    r"|parent|earlier|another|other|pilot|lead-in|core)\s+(?:(?:the|this|a|an)\s+)?(?:\w+\s+)?"
    r"|\b(?:arms?|parts?|portion|stages?|phases?|cohorts?)(?:\s+\S+){0,3}\s+of\s+(?:(?:the|this)\s+)?)$",
    re.IGNORECASE,
)
"""What stands before a match that is no statement: a condition, another study, a part of one."""

_LOOK_BACK = 60
_SPACED = {kind: pattern.replace(" ", r"\s+") for kind, pattern in PATTERNS.items()}
_COMPILED = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in _SPACED.items()}


class Match(NamedTuple):
    """A statement in the text with this place: characters from `start` to before `end`."""

    place: int
    start: int
    end: int
    kind: str


def find(texts: Sequence[str]) -> list[Match]:
    """All statements of an outcome in `texts`, by place and start; spans may overlap."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # for RE2 \s is ASCII alone: a no-break space would hide what Python finds
    strings = pc.replace_substring_regex(pa.array(texts, pa.large_string()), r"[^\PZ ]", " ")
    found = []
    for kind, compiled in _COMPILED.items():
        # RE2 is linear and reads whole columns at once: Python looks at the few hits alone
        hits = pc.match_substring_regex(strings, f"(?i){_SPACED[kind]}")
        for place in np.flatnonzero(hits.to_numpy(zero_copy_only=False)).tolist():
            for match in compiled.finditer(texts[place]):
                before = texts[place][max(0, match.start() - _LOOK_BACK) : match.start()]
                if _NOT_AFTER.search(before) is None:
                    found.append(Match(place, match.start(), match.end(), kind))
    return sorted(found)
