"""Do the intervals cover, and do the tests keep their level? Simulated rows with a known ROC-AUC.

`python tests/simulation/coverage.py` prints a table (minutes). Scores are normal with unit variance
in both classes, apart by sqrt(2) z(AUC), so that the AUC is known; two models share half of the
variance of a row's score and have the same AUC. Rows are positive with the given chance each.
"""

from __future__ import annotations

import argparse
import sys
from statistics import NormalDist

import numpy as np

from benchmark.bootstrap import interval, paired_difference, weights
from benchmark.metrics import Scored, scores
from benchmark.significance import area, delong_interval, delong_p
from models.base import Floats, Target

TARGET = Target("binary", ("stopped", "completed"))
LEVEL = 0.05
SIZES, PREVALENCES, AREAS = (300, 1000), (0.15, 0.5), (0.7, 0.9)


def sample(rng: np.random.Generator, n: int, prevalence: float, auc: float) -> tuple:
    """Truth, (n,), and the scores of two equal models, (2, n), squeezed into 0 to 1 in order."""
    y = (rng.random(n) < prevalence).astype(int)
    apart = np.sqrt(2) * NormalDist().inv_cdf(auc)
    shared, own = rng.normal(size=n), rng.normal(size=(2, n))
    return y, 1 / (1 + np.exp(-(apart * y + (shared + own) / np.sqrt(2))))


def draws_of(y: np.ndarray, score: Floats, counts: np.ndarray) -> Floats:
    scored = Scored.of(TARGET, y, proba=np.stack([1 - score, score], axis=1))
    return scores(["roc_auc"], scored, weights=counts)["roc_auc"]


def one(rng: np.random.Generator, n: int, prevalence: float, auc: float, draws: int) -> list[bool]:
    """Whether the intervals of one model cover, and the tests of two equal ones reject."""
    y, (first, second) = sample(rng, n, prevalence, auc)
    counts = weights([str(i) for i in range(n)], seed_text=str(rng.random()), draws=draws)
    a, b = draws_of(y, first, counts), draws_of(y, second, counts)
    found = [area(y, score, np.arange(n), units=n) for score in (first, second)]
    ends = (interval(a), delong_interval(found[0]))
    low, high, p = paired_difference(a, b)
    return [
        *(low <= auc <= high for low, high in ends),
        low > 0 or high < 0,
        p < LEVEL,
        delong_p(*found) < LEVEL,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-sets", type=int, default=2000)
    parser.add_argument("--draws", type=int, default=1000)
    asked = parser.parse_args()
    out = sys.stdout.write
    head = ("covers", "covers", "rejects", "rejects", "rejects")
    kinds = ("bootstrap", "DeLong", "interval", "p", "DeLong")
    out(f"{asked.data_sets} data sets a line, {asked.draws} draws; aim: covers 93-97 %, ")
    out("rejects 3-7 % of equal models\n\n")
    out(f"{'':17}" + "".join(f"{text:>11}" for text in head) + "\n")
    out(f"{'rows':>5}{'share':>6}{'AUC':>6}" + "".join(f"{text:>11}" for text in kinds) + "\n")
    for n in SIZES:
        for prevalence in PREVALENCES:
            for auc in AREAS:
                rng = np.random.default_rng([n, round(100 * prevalence), round(100 * auc)])
                rates = np.mean(
                    [one(rng, n, prevalence, auc, asked.draws) for _ in range(asked.data_sets)],
                    axis=0,
                )
                out(f"{n:>5}{prevalence:>6.2f}{auc:>6.2f}")
                out("".join(f"{rate:>11.1%}" for rate in rates) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
