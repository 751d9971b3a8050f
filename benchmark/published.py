"""Claims: published tables as YAML files in `benchmark/claims`, with where each number was read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError, model_validator

from benchmark import receipts
from benchmark.config import Source as Text
from benchmark.config import Strict
from benchmark.splits import SPLITS
from benchmark.tasks import TASKS
from benchmark.variants import Kind, variants
from features.errors import InputError, unknown_name

CLAIMS = Path(__file__).resolve().parent / "claims"
Read = Literal["repository", "page", "recomputed", "memory"]

_PRINTED = re.compile(
    r"(?P<bound>> ?)?(?P<value>\d*\.\d+)(?: \[(?P<low>\d*\.\d+), ?(?P<high>\d*\.\d+)\])?"
)


@dataclass(frozen=True)
class Printed:
    """A number as a paper prints it: `0.5760`, `> 0.73` (a lower bound), `0.828 [0.739, 0.891]`."""

    text: str
    value: float
    digits: int
    at_least: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def half_unit(self) -> float:
        """What rounding to its digits can hide."""
        return float(0.5 * 10**-self.digits)


def printed(text: object) -> Printed:
    """The number in a text such as `0.5760`. Raises `ValueError` for anything else."""
    found = _PRINTED.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ValueError(
            f'{text!r} is not written as "0.576", "> 0.73" or "0.828 [0.739, 0.891]", in quotes so '
            "that no digit is lost"
        )
    low, high = (None if found[name] is None else float(found[name]) for name in ("low", "high"))
    value = found["value"]
    return Printed(
        text=found[0],
        value=float(value),
        digits=len(value.partition(".")[2]),
        at_least=found["bound"] is not None,
        low=low,
        high=high,
    )


class Source(Strict):
    """A paper, repository or notebook, and how its numbers were read.

    `draws` is the number of bootstrap draws of test rows whose mean it prints, where it does.
    `computed` says of a metric by which variant (see `benchmark.variants`) its code computes it,
    where the code was read.
    """

    title: str
    year: int | None = None
    venue: str | None = None
    doi: str | None = None
    arxiv: str | None = None
    repository: str | None = None
    read: Read
    verified: bool
    draws: int | None = Field(default=None, ge=1)
    computed: dict[str, str] = Field(default_factory=dict)
    note: str | None = None

    @property
    def cited(self) -> str:
        """One line: title, venue and year, where to find it."""
        dated = " ".join(str(part) for part in (self.venue, self.year) if part is not None)
        where = {"doi": self.doi, "arXiv": self.arxiv, "github": self.repository}
        places = [f"{name} {value}" for name, value in where.items() if value is not None]
        return ", ".join(part for part in (self.title, dated, *places) if part)


class Metric(Strict):
    """What a column of the published table is, as far as it is known: our best reading."""

    kind: Kind
    reading: str | None = None


class Row(Strict):
    """One published row. `read` and `verified` override its source's.

    `reference` marks the row or rows that ours are measured against, and that a file of predictions
    is taken to be of; `repeated_by` names our model that repeats its recipe.
    """

    model: str
    source: str
    values: dict[str, Annotated[Printed, BeforeValidator(printed)]] = Field(min_length=1)
    read: Read | None = None
    verified: bool | None = None
    reference: bool = False
    repeated_by: str | None = None
    note: str | None = None


class Sizes(Strict):
    """Rows of the published data, by part where it was said."""

    train: int | None = None
    valid: int | None = None
    test: int | None = None
    total: int | None = None

    @property
    def text(self) -> str:
        """`1,044 train, 117 valid, 627 test`."""
        return ", ".join(f"{n:,} {part}" for part, n in self.model_dump(exclude_none=True).items())


class Claim(Strict):
    """A published table.

    `config` (with `overrides`, as `--set` takes them) is the run that stands beside it, and `split`
    the split of that run; `needs` says what that run or a rescoring takes that may not be here,
    `differs` what our run does otherwise, `problems` what is wrong with the published numbers.
    """

    title: str
    task: str
    split: str | None
    metrics: dict[str, Metric] = Field(min_length=1)
    sources: dict[str, Source] = Field(min_length=1)
    rows: list[Row] = Field(min_length=1)
    needs: str
    sizes: Sizes = Sizes()
    config: str | None = None
    overrides: list[str] = Field(default_factory=list)
    differs: list[str] = Field(default_factory=list)
    problems: list[str] = Field(default_factory=list)
    _file: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _check(self) -> Claim:
        _known("task", self.task, TASKS)
        if self.split is not None:
            _known("split", self.split, SPLITS)
        for source in self.sources.values():
            for metric, key in source.computed.items():
                _known("metric", metric, self.metrics)
                _known("variant", key, [v.key for v in variants(self.metrics[metric].kind)])
        for row in self.rows:
            _known("source", row.source, self.sources)
            for metric in row.values:
                _known("metric", metric, self.metrics)
            if self.read(row) == "memory" and self.is_verified(row):
                raise ValueError(f"{row.model}: a number from memory is not verified")
        if not self.references:
            raise ValueError("no row is marked `reference: true`")
        return self

    @property
    def name(self) -> str:
        """What `trialmark replay` calls it: the name of its file."""
        return self._file.stem

    @property
    def folder(self) -> Path:
        """Where its file stands."""
        return self._file.parent

    @cached_property
    def references(self) -> tuple[Row, ...]:
        """The rows that ours are measured against, the main one first."""
        return tuple(row for row in self.rows if row.reference)

    @property
    def unverified(self) -> int:
        """How many rows nobody checked against the paper."""
        return sum(not self.is_verified(row) for row in self.rows)

    def read(self, row: Row) -> Read:
        """How a row's numbers were read."""
        return self.sources[row.source].read if row.read is None else row.read

    def is_verified(self, row: Row) -> bool:
        """Whether a row's numbers were read in their source, or recomputed."""
        return self.sources[row.source].verified if row.verified is None else row.verified

    def config_file(self) -> Path:
        """The config of its run: in the checkout's `configs`, or beside a claim of one's own.

        Raises `InputError` where there is none, as in an installed package.
        """
        if self.config is None:
            raise InputError(f"claim {self.name} has no run of its own")
        checkout = receipts.ROOT / "configs"
        for folder in [checkout] if self.folder.resolve() == CLAIMS else [self.folder, checkout]:
            if (folder / self.config).is_file():
                return folder / self.config
        raise InputError(
            f"claim {self.name} is replayed by configs/{self.config}, which an installed package "
            "does not hold",
            "a checkout of trialmark",
            f"run it there, or put {self.config} beside a copy of the claim",
        )


def names() -> list[str]:
    """The claims that come with trialmark."""
    return sorted(path.stem for path in CLAIMS.glob("*.yaml"))


def load_claim(name: str) -> Claim:
    """A claim by name, or by the path of a YAML file. Raises `InputError` for a wrong one."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else CLAIMS / f"{name}.yaml"
    if not path.is_file():
        raise unknown_name("claim", name, names())
    try:
        text = Text(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", "a readable UTF-8 YAML file") from None
    try:
        claim = Claim.model_validate(text.data)
    except ValidationError as error:
        first = error.errors()[0]
        came = f"{text.place(first['loc'])}: {first['msg']}"
        raise InputError(came, change="see docs/claims.md") from None
    claim._file = path
    return claim


def about(name: str) -> str:
    """One line about a claim, for the list of claims."""
    claim = load_claim(name)
    doubt = f", {claim.unverified} unverified" if claim.unverified else ""
    rows = "row" if len(claim.rows) == 1 else "rows"
    return f"{claim.title} ({len(claim.rows)} {rows}{doubt})"


def _known(what: str, name: str, names: Any) -> None:
    if name not in names:
        raise ValueError(str(unknown_name(what, name, names)))


READS: dict[Read, str] = {
    "repository": "read in its repository",
    "page": "read in its page or abstract",
    "recomputed": "recomputed here from released files",
    "memory": "from memory, not checked",
}
