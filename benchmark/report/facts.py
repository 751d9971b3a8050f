"""What the report says of a run besides scores: data, splits, audit, machine, receipts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmark.audit.findings import SEVERITIES
from benchmark.contenders import repeat
from benchmark.splits import family
from benchmark.store import AUDIT, Store
from benchmark.verify import verify

_FINDING = {"severity", "code", "title", "where", "task", "found", "advice"}
_PARTS = ("train", "valid", "test", "excluded")


@dataclass(frozen=True)
class TaskCard:
    """A task's rows: their number, classes, fingerprint, and the columns with when each is known.

    `columns` has (name, known at, whether a model of the run was offered it).
    """

    task: str
    rows: int | None
    classes: Mapping[str, int]
    fingerprint: str
    columns: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True)
class SplitProof:
    """A split: its rows by part, the hash of its ids, and whether its stored ids still give it.

    `holds` is None where no file of the ids is in the folder.
    """

    task: str
    split: str
    repeats: tuple[str, ...]
    sizes: Mapping[str, int]
    hash: str
    holds: bool | None


@dataclass(frozen=True)
class Receipt:
    """A planned cell: what it is, its state, and of a finished one when, where and how it was."""

    entry: Mapping[str, Any]
    state: str
    record: Mapping[str, Any] | None

    @property
    def seconds(self) -> float | None:
        """All its seconds but those of reading, which cells share."""
        if self.record is None or "seconds" not in self.record:
            return None
        seconds: Mapping[str, float] = self.record["seconds"]
        return sum(value for name, value in seconds.items() if name not in ("read", "spared"))


@dataclass(frozen=True)
class Proof:
    """What `trialmark verify` says of the folder: files that match, and those that don't."""

    proven: int
    unproven: int
    mismatches: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Facts:
    """All of this for one results folder.

    `rows` counts rows read, filtered and so on; `environments` holds the distinct ones of the
    cells, with device and commit; `audit` is the audit as JSON values, None where the run had none.
    """

    reader: str | None
    rows: Mapping[str, int]
    tasks: tuple[TaskCard, ...]
    splits: tuple[SplitProof, ...]
    receipts: tuple[Receipt, ...]
    environments: tuple[Mapping[str, Any], ...]
    audit: Mapping[str, Any] | None
    config: str
    proof: Proof


def facts(store: Store) -> Facts:
    """Read them from the folder. Raises `InputError` where it holds no run."""
    plan = store.plan()
    receipts = tuple(
        Receipt(entry, store.state(entry["path"]), store.record(entry["path"]))
        for entry in plan["cells"]
    )
    config = store.root / "config.yaml"
    proof = _proof(store)
    return Facts(
        plan.get("reader"),
        plan.get("rows", {}),
        tuple(_tasks(plan, receipts)),
        tuple(_splits(store, receipts, proof)),
        receipts,
        tuple(_environments(receipts)),
        _audit(store),
        config.read_text(encoding="utf-8") if config.is_file() else "",
        proof,
    )


def _tasks(plan: Mapping[str, Any], receipts: tuple[Receipt, ...]) -> list[TaskCard]:
    used: dict[str, set[str]] = {}
    for receipt in receipts:
        if receipt.record is not None:
            columns = receipt.record["cell"].get("columns", ())
            used.setdefault(receipt.entry["task"], set()).update(columns)
    return [
        TaskCard(
            task,
            about.get("rows"),
            about.get("classes", {}),
            about.get("fingerprint", about.get("redacted_fingerprint", "")),
            tuple(
                (name, known, name in used.get(task, ()))
                for name, known in about.get("columns", {}).items()
            ),
        )
        for task, about in plan.get("datasets", {}).items()
    ]


def _splits(store: Store, receipts: tuple[Receipt, ...], proof: Proof) -> list[SplitProof]:
    by_hash: dict[tuple[str, str, str], list[Receipt]] = {}
    for receipt in receipts:
        entry = receipt.entry
        key = (entry["task"], family(entry["split"]), entry["split_hash"])
        by_hash.setdefault(key, []).append(receipt)
    wrong = {file for file, _ in proof.mismatches}
    found = []
    for (task, split, name), members in by_hash.items():
        records = [member.record for member in members if member.record is not None]
        rows: Mapping[str, Any] = next((r["rows"] for r in records if "rows" in r), {})
        file = f"splits/{name}.parquet"
        holds = file not in wrong if (store.root / file).is_file() else None
        repeats = tuple(dict.fromkeys(str(repeat(member.entry)) for member in members))
        sizes = {part: rows[part] for part in _PARTS if rows.get(part) is not None}
        found.append(SplitProof(task, split, repeats, sizes, name, holds))
    return found


def _environments(receipts: tuple[Receipt, ...]) -> list[Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for receipt in receipts:
        record = receipt.record
        if record is not None and "environment" in record:
            git = record.get("git") or {}
            one = {
                **record["environment"],
                "device": record.get("device_name"),
                "threads": record.get("threads"),
                "commit": git.get("commit"),
                "dirty": git.get("dirty"),
            }
            found.setdefault(json.dumps(one, sort_keys=True), one)
    return list(found.values())


def _audit(store: Store) -> Mapping[str, Any] | None:
    """The stored audit, None where there is none or it is damaged."""
    try:
        found = json.loads((store.root / AUDIT).read_bytes())
        whole = set(SEVERITIES) <= set(found["counts"]) and all(
            set(finding) >= _FINDING for finding in found["findings"]
        )
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    return {"not_applicable": [], "passed": [], **found} if whole else None


def _proof(store: Store) -> Proof:
    said = verify(store)
    wrong = tuple((mismatch.file, mismatch.why) for mismatch in said.mismatches)
    return Proof(len(said.proven), len(said.unproven), wrong)
