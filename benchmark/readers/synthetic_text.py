"""The grammar of the synthetic registry: titles, summaries and criteria, and what they foretell.

A text is a choice of sentences. Topics (area, intervention) are read off the title, which is never
missing; phrases fill the slots of summary and criteria. A slot is always filled, by a phrase that
bears on the outcome or by one that does not, so the length of a text tells nothing. All sentences
were written for this file; drugs are invented names without a real stem.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Codes = dict[str, npt.NDArray[Any]]
Strings = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Topic:
    """What a trial is about: its share, the log-odds it adds to stopping, the names it goes by."""

    share: float
    effect: float
    names: tuple[str, ...]


@dataclass(frozen=True)
class Phrase:
    """One statement in several wordings, and the log-odds it adds to stopping.

    `late` is its effect in late phases where that differs from the one in all others (`effect`);
    `withdrawn` is added to the log-odds of WITHDRAWN alone. Both effects 0: noise.
    """

    share: float
    wordings: tuple[str, ...]
    effect: float = 0.0
    late: float | None = None
    withdrawn: float = 0.0

    @property
    def effects(self) -> tuple[float, float]:
        """Log-odds outside and inside the late phases."""
        return self.effect, self.effect if self.late is None else self.late


AREAS = {
    "oncology": Topic(0.20, 1.6, (
        "bladder carcinoma", "renal cell carcinoma", "follicular lymphoma", "glioma of the brain",
        "gastric adenocarcinoma", "multiple myeloma", "pancreatic tumours",
    )),
    "cardiology": Topic(0.13, -0.55, (
        "atrial fibrillation", "chronic heart failure", "resistant hypertension", "stable angina",
        "aortic stenosis", "peripheral artery disease",
    )),
    "infection": Topic(0.12, -1.0, (
        "seasonal influenza", "chronic hepatitis B", "latent tuberculosis", "shingles",
        "recurrent cystitis", "uncomplicated malaria",
    )),
    "endocrine": Topic(0.12, -1.4, (
        "type 2 diabetes", "primary hypothyroidism", "severe obesity", "vitamin D deficiency",
        "familial high cholesterol", "gestational diabetes",
    )),
    "neurology": Topic(0.12, 0.65, (
        "relapsing multiple sclerosis", "focal epilepsy", "early Parkinson disease",
        "frequent migraine", "motor neuron disease", "mild cognitive impairment",
    )),
    "psychiatry": Topic(0.11, 0.35, (
        "major depression", "social anxiety", "bipolar disorder", "insomnia", "alcohol dependence",
        "post-traumatic stress",
    )),
    "renal": Topic(0.10, 1.1, (
        "lupus nephritis", "diabetic kidney disease", "polycystic kidneys", "haemodialysis itch",
        "membranous nephropathy", "kidney graft rejection",
    )),
    "skin": Topic(0.10, -1.4, (
        "plaque psoriasis", "atopic dermatitis", "chronic hives", "acne of the face", "vitiligo",
        "rosacea",
    )),
}  # fmt: skip
"""Therapeutic areas by the conditions they go by; no condition stands in two."""

_DRUGS = tuple(
    "".join(parts)
    for parts in itertools.product(
        ("bavo", "celu", "dorra", "fenti", "galo", "kesti", "lumo", "narre", "pavi", "tozu"),
        ("br", "d", "lv", "m", "nt", "x"),
        ("aline", "etor", "idan", "omil", "ulane"),
    )
)
INTERVENTIONS = {
    "drug": Topic(0.58, 0.2, _DRUGS),
    "behaviour": Topic(0.17, -1.3, (
        "text-message coaching", "a group walking programme", "mindfulness classes",
        "a cooking course", "peer support calls", "sleep hygiene teaching", "guided self-help",
        "motivational interviews",
    )),
    "device": Topic(0.13, 1.0, (
        "a wearable sensor patch", "a handheld nerve stimulator", "a smart pill dispenser",
        "a pressure-relief cushion", "a home light lamp", "a portable cooling cap",
    )),
    "procedure": Topic(0.12, 0.0, (
        "ultrasound-guided nerve block", "early physiotherapy", "keyhole surgery",
        "low-dose irradiation", "needle acupuncture", "plasma exchange",
    )),
}  # fmt: skip
"""What is tried, by kind."""

SLOTS: dict[str, tuple[Phrase, ...]] = {
    "conduct": (
        Phrase(0.17, (
            "Participants return to the clinic twice a week for infusions and repeated sampling.",
            "The schedule asks for overnight stays and serial blood draws during each cycle.",
            "Attendance is intensive, with long hospital days and frequent invasive measurements.",
        ), 0.66),
        Phrase(0.20, (
            "Recruitment runs through an established network of general practices.",
            "Candidates are found in a national register that already holds consented patients.",
            "Long-standing partner clinics have reserved places and staff for enrolment.",
        ), -0.66),
        Phrase(0.13, (
            "The project starts once the pending grant application has been approved.",
            "Costs are met by a departmental seed budget that is renewed year by year.",
            "The investigator is still seeking a sponsor for the supply of study material.",
        ), 0.6, withdrawn=1.2),
        Phrase(0.50, (
            "Participants return to the clinic when it suits their work and family.",
            "The schedule of the clinic is printed on a card that every person receives.",
            "Consented patients receive a newsletter about the progress of the project.",
            "Staff of the clinics are trained in a joint workshop before the start.",
            "The investigator keeps a log of questions that patients ask by themselves.",
        )),
    ),
    "monitoring": (
        Phrase(0.22, (
            "An independent board reviews unblinded efficacy at a planned interim look.",
            "Halfway through, a conditional power analysis decides on the next cohort.",
            "Predefined futility boundaries are checked after half of the events.",
        ), -0.48, late=0.72),
        Phrase(0.22, (
            "Follow-up takes place by telephone, without travel to the hospital.",
            "Outcomes are collected remotely through a short questionnaire on the phone.",
            "Routine health records supply the outcomes, so no extra visit is needed.",
        ), -0.48),
        Phrase(0.56, (
            "The main outcome is the change in a symptom questionnaire after twelve weeks.",
            "Quality of life is recorded on a short scale at the start and at the end.",
            "Secondary outcomes include tolerability and days away from work.",
            "An independent statistician prepares the analysis plan and the tables.",
            "The hospital pharmacy keeps the records of what was handed out.",
        )),
    ),
    "inclusion": (
        Phrase(0.18, (
            "Confirmed carrier of a pathogenic variant on central genotyping",
            "Tumour or tissue positive for the rare marker in a reference laboratory",
            "Documented enzyme defect on two separate assays",
        ), 0.6),
        Phrase(0.22, (
            "Any previous treatment is allowed",
            "No restriction on earlier or current medication",
            "Unselected patients from everyday practice may join",
        ), -0.54),
        Phrase(0.60, (
            "Diagnosis confirmed by the treating physician",
            "Stable medication during the month before entry",
            "Able to read and answer the questionnaire",
            "Laboratory values within the usual range of the hospital",
            "Previous treatment is documented in the chart",
        )),
    ),
    "exclusion": (
        Phrase(0.20, (
            "Refusal of a fresh biopsy before the first dose",
            "No lesion that can be sampled by needle on two occasions",
            "Unwilling to undergo repeat lumbar puncture",
        ), 0.66, late=0.06),
        Phrase(0.20, (
            "Any other drug of the same class within six months (washout required)",
            "Failure to complete a placebo run-in of eight weeks",
            "Less than ninety days free of all earlier therapy",
        ), 0.42),
        Phrase(0.60, (
            "Participation in another study within six months",
            "Known allergy to any component of the material",
            "Severe illness that is likely to interfere with follow-up",
            "Planned move abroad before the last contact",
            "Not able to give consent in person",
        )),
    ),
    "consent": (
        Phrase(1.0, (
            "Signed and dated consent form",
            "Willing to comply with the visits",
            "Has a permanent address",
            "Understands the information sheet",
        )),
    ),
}  # fmt: skip
"""What stands in each slot; the shares of a slot add up to 1."""

TEXTS = {
    "brief_summary": ("conduct", "monitoring"),
    "eligibility_criteria": ("inclusion", "consent", "exclusion"),
}
"""The slots of each text."""

OUTCOME_SENTENCES = (
    "The study was stopped early because too few people could be enrolled.",
    "The trial was terminated ahead of schedule for lack of funding.",
    "Following a business decision the study was halted before its planned end.",
    "This study was closed prematurely by the sponsor.",
)
"""Sentences that a registry adds to a summary after the fact; they fit every way of stopping."""

SISTER_TITLES = (" (Study 2)", " - Part B", ": Second Study")

QUALIFIERS = (
    "", "moderate ", "newly diagnosed ", "persistent ", "mild to moderate ", "poorly controlled ",
    "symptomatic ", "long-lasting ",
)  # fmt: skip

TITLES = (
    "Evaluation of {i} for people with {c} seen in outpatient care",
    "A study of {i} in participants with {c}",
    "Effect of {i} on daily symptoms in {c}: a controlled comparison",
    "Does {i} help patients who live with {c}?",
    "Benefits and harms of {i} added to usual care for {c}",
    "Feasibility and acceptability of {i} in adults treated for {c}",
    "Comparing {i} with standard management in {c}",
    "Long-term use of {i} among persons diagnosed with {c}",
)

DURATIONS = tuple(f"Known {{c}} for {months} months" for months in (2, 3, 4, 6, 9, 12, 18, 24))
"""First item of the criteria; it makes them differ from trial to trial and tells nothing else."""

OPENINGS = (
    "This study asks whether {i} eases the burden of {c} better than usual care.",
    "The purpose is to learn how well {i} works in people who have {c}.",
    "Researchers compare {i} with the current standard of care for {c} over several months.",
    "We examine the safety of {i} and its influence on the course of {c}.",
    "Little is known about {i} as an option for patients with {c}, and this work fills the gap.",
    "Participants receive {i} or a comparator for {c}, and both groups are observed.",
    "The investigators expect that {i} will lower the need for rescue treatment in {c}.",
)

_CLASS_OF_RANK = (
    "OTHER", "INDUSTRY", "OTHER", "INDUSTRY", "OTHER", "OTHER_GOV", "OTHER", "INDUSTRY", "NIH",
    "NETWORK",
)  # fmt: skip
_STEMS = tuple(
    start + end
    for start, end in itertools.product(
        ("Ost", "Bren", "Cor", "Dun", "Es", "Fal", "Gor", "Hel", "Is", "Kel"),
        ("bury", "dale", "mora", "ridge", "vik"),
    )
)
_SPONSOR_NAMES = {
    "INDUSTRY": ("Therapeutics", "Biotech", "Laboratories", "Pharma", "Life Sciences", "Medical"),
    "OTHER": ("University", "Hospital", "Medical School", "Foundation", "Clinic", "College"),
    "NIH": ("Institute of Ageing", "Institute of Child Health", "Institute of Infection",
            "Institute of Nutrition", "Institute of Rare Disease", "Institute of Sleep"),
    "OTHER_GOV": ("Health Board", "Ministry of Health", "Public Health Agency", "Region",
                  "Veterans Service", "County Council"),
    "NETWORK": ("Trials Group", "Cooperative Group", "Study Network", "Alliance", "Consortium",
                "Research Network"),
}  # fmt: skip


def _sponsor(rank: int) -> tuple[str, str]:
    kind = _CLASS_OF_RANK[rank % len(_CLASS_OF_RANK)]
    # 7 is coprime to the 50 stems: each block of 50 ranks has every stem once
    stem = _STEMS[7 * rank % len(_STEMS)]
    return f"{stem} {_SPONSOR_NAMES[kind][rank // len(_STEMS)]}", kind


SPONSORS = tuple(_sponsor(rank) for rank in range(300))
"""Name and class of the sponsors, the largest first; no two share a name."""


_TEMPLATES = {
    "title": TITLES,
    "opening": OPENINGS,
    "qualifier": QUALIFIERS,
    "duration": DURATIONS,
}


def uniforms(seed: int, purpose: str, n: int) -> npt.NDArray[np.float64]:
    """`n` uniform numbers from the stream of `purpose`; a longer draw starts with the shorter."""
    return stream(seed, purpose).random(n)


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The random stream of one purpose; streams are independent of each other."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def pick(u: npt.NDArray[np.float64], weights: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Category numbers (n,) for uniforms `u` (n,); weights are (k,), or (n, k) for own weights."""
    steps = np.cumsum(weights, axis=-1)
    steps = steps / steps[..., -1:]
    if steps.ndim == 1:
        return np.asarray(np.searchsorted(steps, u, side="right"), dtype=np.int64)
    return np.asarray((u[:, None] >= steps).sum(axis=1), dtype=np.int64)


def draw(seed: int, n: int) -> Codes:
    """What each of `n` texts says, as numbers of sentences and names."""
    codes: Codes = {}
    for name, topics in (("area", AREAS), ("kind", INTERVENTIONS)):
        codes[name] = pick(uniforms(seed, name, n), [topic.share for topic in topics.values()])
        sizes = np.array([len(topic.names) for topic in topics.values()])
        within = np.floor(uniforms(seed, f"name of {name}", n) * sizes[codes[name]])
        starts = np.cumsum(sizes) - sizes
        codes[f"{name}_name"] = starts[codes[name]] + within.astype(np.int64)
    for name, choices in _TEMPLATES.items():
        codes[name] = pick(uniforms(seed, name, n), np.ones(len(choices)))
    for slot, phrases in SLOTS.items():
        shares = [p.share / len(p.wordings) for p in phrases for _ in p.wordings]
        codes[slot] = pick(uniforms(seed, slot, n), shares)
    return codes


def compose(codes: Codes) -> dict[str, Strings]:
    """Title, summary, criteria and conditions (each (n,)) that `codes` stand for, all present."""
    condition = _names(AREAS)[codes["area_name"]]
    what, whom = _names(INTERVENTIONS)[codes["kind_name"]], _strings(QUALIFIERS)
    whom = whom[codes["qualifier"]] + condition
    said = {slot: _strings(wordings(slot))[codes[slot]] for slot in SLOTS}
    return {
        "brief_title": _fill(TITLES, codes["title"], what, whom),
        "brief_summary": _fill(OPENINGS, codes["opening"], what, whom)
        + " " + said["conduct"] + " " + said["monitoring"],
        "eligibility_criteria": "Inclusion Criteria:\n- "
        + _fill(DURATIONS, codes["duration"], None, condition) + "\n- " + said["inclusion"]
        + "\n- " + said["consent"] + "\nExclusion Criteria:\n- " + said["exclusion"],
        "conditions": condition,
    }  # fmt: skip


def topic_effect(codes: Codes) -> npt.NDArray[np.float64]:
    """Log-odds (n,) that area and kind of intervention add to stopping."""
    areas = np.array([topic.effect for topic in AREAS.values()])
    kinds = np.array([topic.effect for topic in INTERVENTIONS.values()])
    return np.asarray(areas[codes["area"]] + kinds[codes["kind"]], dtype=np.float64)


def phrase_effect(codes: Codes, slot: str) -> npt.NDArray[np.float64]:
    """Log-odds (n, 3) of the sentence in `slot`: outside late phases, inside, on WITHDRAWN."""
    rows = [(*p.effects, p.withdrawn) for p in SLOTS[slot] for _ in p.wordings]
    return np.asarray(np.array(rows)[codes[slot]], dtype=np.float64)


def wordings(slot: str) -> tuple[str, ...]:
    """All sentences of a slot, in the order of their numbers."""
    return tuple(text for phrase in SLOTS[slot] for text in phrase.wordings)


def _names(topics: Mapping[str, Topic]) -> Strings:
    return _strings([name for topic in topics.values() for name in topic.names])


def _strings(texts: object) -> Strings:
    return np.array(texts, dtype=object)


def _fill(
    templates: tuple[str, ...], chosen: npt.NDArray[np.int64], what: Strings | None, whom: Strings
) -> Strings:
    """The chosen templates with {i} and then {c} filled in; each is cut there, to join columns."""
    before, after = _strings([template.split("{c}") for template in templates]).T
    if what is not None:
        start, end = _strings([part.split("{i}") for part in before]).T
        filled: Strings = start[chosen] + what + end[chosen] + whom + after[chosen]
    else:
        filled = before[chosen] + whom + after[chosen]
    return filled
