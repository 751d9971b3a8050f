"""Where a number comes from: code, environment, machine, seconds and memory."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from features.errors import InputError

ROOT = Path(__file__).parents[1]
PACKAGES = ("features", "models", "benchmark")
PREDICTING = (
    "features", "models", "benchmark/cells.py", "benchmark/fitting.py", "benchmark/history.py",
)  # fmt: skip
TUNING = (
    "benchmark/tune.py",
    "benchmark/folds.py",
    "benchmark/splits.py",
    "benchmark/stratify.py",
    "benchmark/metrics.py",
    "benchmark/bootstrap.py",
)
REPORTED = (
    "trialmark", "numpy", "pandas", "scipy", "scikit-learn", "lightgbm", "optuna", "torch",
    "transformers", "sentence-transformers",
)  # fmt: skip

SEAL = "seal"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def json_bytes(value: Mapping[str, Any], *, indent: int | None = 1) -> bytes:
    """JSON that ends in a newline; without `indent` all of it stands in one line."""
    return (json.dumps(value, indent=indent, allow_nan=False) + "\n").encode()


def sha256(data: bytes) -> str:
    """Hexadecimal sha256."""
    return hashlib.sha256(data).hexdigest()


def sealed(value: Mapping[str, Any]) -> bytes:
    """`json_bytes` with one entry more: `seal`, the sha256 of the text without it."""
    return json_bytes({**value, SEAL: sha256(json_bytes(value))})


def seal_holds(data: bytes) -> bool | None:
    """Whether JSON is, byte for byte, what `sealed` wrote; None where it has no seal."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return False
    if not isinstance(found, dict) or SEAL not in found:
        return None
    del found[SEAL]
    try:
        return sealed(found) == data
    except ValueError:  # NaN
        return False


@functools.cache
def code_version(*, tuned: bool = False) -> str:
    """sha256 over the sources that turn rows into predictions, line ends normalised.

    Readers, tasks and splits are not among them: what they make is hashed itself. Only `tuned`
    cells depend on the sources of inner folds and objectives.
    """
    digest = hashlib.sha256()
    names = PREDICTING + TUNING if tuned else PREDICTING
    for path in [file for name in names for file in _python_files(ROOT / name)]:
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _python_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


@functools.cache
def version(distribution: str) -> str | None:
    """Installed version of a distribution, None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def versions(distributions: Iterable[str]) -> dict[str, str | None]:
    """Installed version by distribution."""
    return {name: version(name) for name in sorted(distributions)}


@functools.cache
def git_state() -> dict[str, Any]:
    """Commit of the checkout, and whether its sources differ from it; nulls outside of one.

    `diff_sha256` tells two states of changed sources apart; it is null for unchanged ones.
    """
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", *PACKAGES)
    return {
        "commit": commit or None,
        "dirty": None if changes is None else bool(changes),
        "diff_sha256": _diff_sha256() if changes else None,
    }


def _diff_sha256() -> str | None:
    """sha256 of what differs from the commit, files that git does not know among it."""
    diff = _git("diff", "--no-color", "--no-ext-diff", "--binary", "HEAD", "--", *PACKAGES)
    new = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *PACKAGES)
    if diff is None or new is None:
        return None
    digest = hashlib.sha256(diff.encode())
    try:
        for name in filter(None, new.split("\0")):
            digest.update(f"{name}\0".encode())
            digest.update((ROOT / name).read_bytes())
    except OSError:  # gone meanwhile
        return None
    return digest.hexdigest()


def _git(*words: str) -> str | None:
    if not (ROOT / ".git").exists():
        return None
    command = ["git", "-C", str(ROOT), *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def environment() -> dict[str, Any]:
    """Python, platform, processor, cores, memory and the versions of the libraries in play."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": available_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "versions": versions(REPORTED),
    }


@functools.cache
def processor() -> str:
    """Name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pick_device(wanted: str) -> str:
    """`cpu`, `cuda` or `mps`; `auto` takes the best that torch sees.

    Raises `InputError` for one that is not here.
    """
    if wanted == "cpu":
        return wanted
    import torch

    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next((name for name, found in here.items() if found), "cpu")
    if not here[wanted]:
        raise InputError(f"device {wanted} is not on this machine", "auto or cpu", "set device")
    return wanted


def device_name(device: str) -> str:
    """What to show for a device: the card's name, or the processor's."""
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    return processor()


def reset_peak_memory() -> None:
    """Start a new measurement of this process's peak; only Linux can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb() -> float:
    """Peak resident memory in MiB since `reset_peak_memory`, or since the start where not Linux."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if platform.system() == "Linux" else 1024**2), 1)
