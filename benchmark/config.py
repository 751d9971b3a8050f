"""YAML -> `RunConfig`: every name, parameter and path is checked before anything runs."""

from __future__ import annotations

import copy
import difflib
import importlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, PrivateAttr, ValidationError

from benchmark.cells import CEILING
from benchmark.energy import check_energy
from benchmark.metrics import metric_of
from benchmark.readers import READERS
from benchmark.splits import SPLITS, Seed, SplitOptions
from benchmark.store import slug
from benchmark.tasks import TASKS
from features.columns import Inputs, KnownAt
from features.errors import InputError, closest, unknown_name
from models import check_params, model_class
from models.calibration import Method

DATA_VARIABLE = "TRIALMARK_DATA"

_LARGEST = 100_000
Loc = tuple[str | int, ...]


class Strict(BaseModel):
    """A section of the config; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ColumnChoice(Strict):
    """Which of the reader's columns models may see. A kind left out keeps all of its columns."""

    numeric: list[str] | None = None
    categorical: list[str] | None = None
    date: list[str] | None = None
    text: list[str] | None = None


class DataConfig(Strict):
    """Where the rows come from. `options` are the reader's own keys (`path`, ...).

    `where` keeps the rows that meet its conditions, `require` those with a value in each of its
    columns. `history` names columns (lead_sponsor, conditions) for which each row gets the record
    of the earlier rows that share its value, as of its own start (see `benchmark.history`).
    """

    reader: str = "synthetic"
    columns: ColumnChoice = ColumnChoice()
    where: dict[str, Any] = Field(default_factory=dict)
    require: list[str] = Field(default_factory=list)
    history: list[str] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)


class TuneConfig(Strict):
    """The budget of every tunable model: Optuna trials, and seconds after which none begins.

    The first trial, of the defaults, takes nothing off the seconds. `objective` is a metric (None:
    see `tune.objective_of`), `folds` the number of inner folds (None: one, the valid part, where
    that is large, else 5). `workers` spreads each study over so many Ray tasks (None: one trial
    after the other); then what is found depends on which trials end first, and the record says so.
    """

    trials: int = Field(default=30, ge=1)
    seconds: float = Field(default=600, gt=0)
    objective: str | None = None
    folds: int | None = Field(default=None, ge=1, le=20)
    workers: int | None = Field(default=None, ge=2)


class ExplainConfig(Strict):
    """How much of each model is explained: test rows, the same for all models of a split.

    `gradient_rows` bounds them for models whose explanation needs many passes through a network,
    `examples` is the number of rows that are shown one by one.
    """

    rows: int = Field(default=200, ge=1)
    gradient_rows: int = Field(default=8, ge=1)
    examples: int = Field(default=4, ge=0)


class HalvingConfig(Strict):
    """Which models go on to the next seed: the better `keep` of them `by` a metric on valid rows.

    `by` None: the metric that ranks the table. See `benchmark.halving`.
    """

    keep: float = Field(default=0.5, gt=0, lt=1)
    by: str | None = None


class EnergyConfig(Strict):
    """Where the electricity comes from: `country` is an ISO 3166 code of three letters (DEU).

    See `benchmark.energy`.
    """

    country: str


class ModelConfig(Strict):
    """One model with its parameters, and the inputs it is run with (one row of the table each).

    Parameters that `params` states are not searched. `tune: false` leaves the others at their
    defaults too, `refit` overrides the run's, `calibrate` maps the probabilities by what the valid
    rows say (see `models.calibration`).
    """

    name: str
    label: str | None = None
    inputs: list[Inputs] = Field(default_factory=list)
    params: dict[str, Any] = Field(default_factory=dict)
    tune: bool = True
    refit: bool | None = None
    calibrate: Method | None = None
    _given: frozenset[str] = PrivateAttr(default=frozenset())

    @property
    def given(self) -> frozenset[str]:
        """Names of the parameters that the author stated."""
        return self._given

    @property
    def shown(self) -> str:
        """The name in tables and folders."""
        return self.name if self.label is None else self.label


class RunConfig(Strict):
    """A benchmark matrix: task x split x seed x model x inputs x as-of level.

    `metrics` are the columns of its tables, the first one ranks; each table takes those that are
    for its kind of target. None: `metrics.DEFAULTS`. `threads` is what each cell may use, all cores
    by default; workers share out the cores, so that one of two on four cores uses two of them. Only
    torch has `threads` whatever the number of jobs: fine-tuning rounds differently with another.
    `tune` searches the parameters of every model that has some to search, with the same budget;
    `refit` fits once more on train and valid, for as many rounds or steps as valid called for,
    before the test rows are predicted. `redact` is one more dimension: whether sentences that state
    the outcome are taken out of the texts first (see `benchmark.redact`). `timeout` (seconds) and
    `memory` (such as 8GiB) bound every cell: one over them is a failed record, the others go on.
    `halving` runs all models on the first seed alone and the better half of them on the next: for
    exploration, as the table then says. `energy` adds what each cell's electricity is estimated at.
    `executor` says what carries cells out (None: this process, or several for `--jobs`), `address`
    (HOST:PORT) which Ray cluster does (None: one that is started on this machine).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    data: DataConfig = DataConfig()
    task: list[str] = Field(default=["trial-outcome"], min_length=1)
    splits: list[SplitOptions] = Field(min_length=1)
    seeds: list[Seed] = Field(default=[42], min_length=1)
    models: list[ModelConfig] = Field(min_length=1)
    as_of: list[KnownAt] = Field(default=["registration"], min_length=1)
    redact: list[bool] = Field(default=[False], min_length=1)
    tune: TuneConfig | None = None
    refit: bool = False
    explain: ExplainConfig | None = ExplainConfig()
    halving: HalvingConfig | None = None
    energy: EnergyConfig | None = None
    metrics: list[str] | None = Field(default=None, min_length=1)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: int | None = Field(default=None, ge=1)
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    memory: ByteSize | None = Field(default=None, gt=0)
    executor: Literal["serial", "process", "ray"] | None = None
    address: str | None = None
    _written: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def written(self) -> dict[str, Any]:
        """The config as its author wrote it, overrides applied and paths not resolved."""
        return self._written


class Source:
    """A parsed YAML text that knows the line of every key, for error messages."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        try:
            self.node = yaml.compose(text, Loader=yaml.SafeLoader)
            self.data = yaml.load(text, Loader=_UniqueKeys)  # nosec B506
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = "" if mark is None else f":{mark.line + 1}"
            problem = getattr(error, "problem", None) or str(error)
            raise InputError(f"{name}{line}: not YAML: {problem}") from None
        except (ValueError, RecursionError) as error:  # a date that is none, lists without end
            raise InputError(f"{name}: {error}", "values that YAML can hold") from None

    def place(self, loc: Loc) -> str:
        """`file:line: a.b.c` for the deepest part of `loc` that the text holds."""
        node, line = self.node, 1
        for part in loc:
            child = _child(node, part)
            if child is None:
                break
            line, node = child
        path = ".".join(str(part) for part in loc)
        return f"{self.name}:{line}: {path}" if path else f"{self.name}:{line}"


class _UniqueKeys(yaml.SafeLoader):
    """A safe loader for which a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="a key that is no plain text", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def load(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Read and check a config.

    `source` is a YAML file or a mapping of the same shape; `overrides` are `a.b=value` strings
    (the value in YAML, list places as numbers: `models.0.params.C=2`). Paths in it are resolved
    against the file's folder. Raises `InputError` that names the file and line.
    """
    text = _from_file(Path(source)) if isinstance(source, str | Path) else None
    raw = source if text is None else text.data
    if not isinstance(raw, Mapping):
        raise InputError(
            f"{'the config' if text is None else text.name} holds a {type(raw).__name__}",
            "keys such as data, task, splits, models",
            "see `trialmark init`",
        )
    plain = _copied(raw)
    for override in overrides:
        _set(plain, override)
    if text is not None:
        plain.setdefault("name", Path(text.name).stem)
    plain.setdefault("name", "run")
    base = Path(text.name).parent if text is not None else Path()
    place = _Places(text, overrides)
    config = _checked(_validated(_normal(_copied(plain)), place), base, place)
    config._written = plain
    return config


def _from_file(path: Path) -> Source:
    try:
        return Source(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise InputError(
            f"no config at {path}", "a YAML file", "`trialmark init` writes one to start from"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}", "a readable UTF-8 YAML file") from None


def _copied(value: Any) -> Any:
    """A copy that shares nothing. Raises `InputError` if YAML aliases make it huge or endless."""
    try:
        if _size(value, _LARGEST) < _LARGEST:
            return copy.deepcopy(_plain(value))
    except RecursionError:
        raise InputError("a config nested without end", "sections of sections") from None
    raise InputError(f"a config of {_LARGEST:,} values or more", "fewer", "use fewer aliases")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _size(value: Any, most: int) -> int:
    """Values in `value`, counted up to `most`."""
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    count = 1
    for part in parts:
        if count >= most:
            break
        count += _size(part, most - count)
    return count


def _set(data: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise InputError(f"--set {override}", "a.b=value", "put = between the key and its value")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"--set {override}", "a value in YAML", "quote it") from None
    *parents, last = path.split(".")
    here: Any = data
    try:
        for part in parents:
            here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
        if isinstance(here, list):
            here[int(last)] = value
        else:
            here[last] = value
    except (IndexError, ValueError, TypeError, AttributeError):
        raise InputError(
            f"--set {path}: no such place in the config",
            "keys joined by dots, list places as numbers from 0 (models.0.params.C=2)",
        ) from None


class _Places:
    """Says where in the user's input a part of the config stands."""

    def __init__(self, text: Source | None, overrides: Sequence[str]) -> None:
        self.text = text
        self.overridden = [override.partition("=")[0] for override in overrides]

    def __call__(self, loc: Loc) -> str:
        path = ".".join(str(part) for part in loc)
        for name in reversed(self.overridden):
            if path == name or path.startswith(name + ".") or name.startswith(path + "."):
                return f"--set {name}"
        return f"config: {path}" if self.text is None else self.text.place(loc)

    def given(self, name: str) -> bool:
        """Whether an override sets this very key."""
        return name in self.overridden

    @contextmanager
    def at(self, *loc: str | int) -> Iterator[None]:
        """Put the place in front of an `InputError` raised inside."""
        try:
            yield
        except InputError as error:
            raise InputError(f"{self(loc)}: {error.came}", error.expected, error.change) from None


def _normal(data: dict[str, Any]) -> dict[str, Any]:
    """Shorthands written out: a name for a section, one value for a list, flat reader options."""
    for key in ("task", "seeds", "as_of", "redact", "metrics", "splits", "models"):
        if key in data and not isinstance(data[key], list):
            data[key] = [data[key]]
    for key in ("tune", "explain", "halving"):
        if isinstance(data.get(key), bool):
            data[key] = {} if data[key] else None
    for key in ("splits", "models"):
        if key in data:
            data[key] = [{"name": item} if isinstance(item, str) else item for item in data[key]]
    for model in data.get("models", []):
        if isinstance(model, dict) and isinstance(model.get("inputs"), str):
            model["inputs"] = [model["inputs"]]
    if "data" in data:
        data["data"] = _normal_data(data["data"])
    return data


def _normal_data(section: Any) -> Any:
    """The section `data` with the reader's own keys under `options`."""
    if isinstance(section, str):
        section = {"reader": section}
    if not isinstance(section, dict):
        return section
    known = set(DataConfig.model_fields) - {"options"}
    options = {key: value for key, value in section.items() if key not in known}
    return {**{key: value for key, value in section.items() if key in known}, "options": options}


def _validated(data: dict[str, Any], place: _Places) -> RunConfig:
    try:
        return RunConfig.model_validate(data)
    except ValidationError as error:
        raise _first(error, place, RunConfig) from None
    except InputError as error:  # from a check of our own inside a section
        raise InputError(f"{place(())}: {error.came}", error.expected, error.change) from None


def _first(
    error: ValidationError, place: _Places, kind: type[BaseModel], prefix: Loc = ()
) -> InputError:
    """The first of pydantic's complaints in our words."""
    first = error.errors()[0]
    loc_in: Loc = first["loc"]
    loc: Loc = (*prefix, *loc_in)
    where = place(loc)
    if first["type"] == "extra_forbidden":
        known = _fields_at(kind, first["loc"][:-1])
        return InputError(
            f"{where}: unknown key {first['loc'][-1]!r}",
            "one of " + ", ".join(known),
            closest(first["loc"][-1], known),
        )
    if first["type"] == "missing":
        return InputError(f"{where} is missing", "a value", "add it; see `trialmark init`")
    came = first["input"]
    if first["type"] == "model_type":
        return InputError(f"{where} = {came!r}", "the keys " + ", ".join(_fields_at(kind, loc_in)))
    hint = ""
    if first["type"] == "literal_error" and isinstance(came, str):
        near = difflib.get_close_matches(came, first["ctx"]["expected"].replace("'", "").split())
        hint = f"did you mean {near[0].strip(',')!r}?" if near else ""
    return InputError(f"{where} = {came!r}", first["msg"].removeprefix("Input should be "), hint)


def _fields_at(kind: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """Names a section may hold, given the path to it through nested models and lists."""
    section: type[BaseModel] | None = kind
    for part in loc:
        if isinstance(part, str) and section is not None:
            section = _section(section.model_fields[part].annotation)
    return sorted(section.model_fields) if section is not None else []


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation such as `Section`, `list[Section]` or `Section | None`."""
    for part in (*getattr(annotation, "__args__", ()), annotation):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _checked(config: RunConfig, base: Path, place: _Places) -> RunConfig:
    """Names, parameters and paths; returns the config with paths resolved and defaults filled."""
    for i, task in enumerate(config.task):
        if task not in TASKS:
            with place.at("task", i):
                raise unknown_name("task", task, TASKS)
    for i, split in enumerate(config.splits):
        if split.name not in SPLITS:
            with place.at("splits", i):
                raise unknown_name("split", split.name, SPLITS)
    for i, metric in enumerate(config.metrics if config.metrics is not None else ()):
        with place.at("metrics", i):
            metric_of(metric)
    if config.halving is not None and config.halving.by is not None:
        with place.at("halving", "by"):
            metric_of(config.halving.by)
    if config.energy is not None:
        with place.at("energy"):
            check_energy(config.energy.country)
    for key, values in (
        ("task", config.task),
        ("splits", [split.shown for split in config.splits]),
        ("seeds", config.seeds),
        ("as_of", config.as_of),
        ("redact", config.redact),
    ):
        _check_once(key, values, place)
    if config.address is not None and config.executor != "ray":
        raise InputError(f"{place(('address',))}: an address without Ray", "executor: ray")
    models = [_checked_model(model, i, base, place) for i, model in enumerate(config.models)]
    rows = [(slug(model.shown), name) for model in models for name in model.inputs]
    _check_once("models", rows, place)  # by the names of their folders
    return config.model_copy(
        update={"models": models, "data": _checked_data(config.data, base, place)}
    )


def _check_once(key: str, values: Sequence[Any], place: _Places) -> None:
    for value in values:
        if list(values).count(value) > 1:
            shown = " ".join(value) if isinstance(value, tuple) else value
            raise InputError(
                f"{place((key,))}: {shown!r} stands twice",
                "each once",
                "give one of them another `label`" if key == "models" else "remove one",
            )


def _checked_model(model: ModelConfig, i: int, base: Path, place: _Places) -> ModelConfig:
    with place.at("models", i):
        kind = model_class(model.name)
    params = {
        key: _resolved_checkpoint(value, base) if key in ("checkpoint", "encoder") else value
        for key, value in model.params.items()
    }
    with place.at("models", i, "params"):
        checked = check_params(model.name, params)
    wanted = model.inputs if model.inputs else [kind.inputs[0]]
    for name in wanted:
        if name not in kind.inputs:
            with place.at("models", i, "inputs"):
                raise InputError(
                    f"{model.name} cannot use inputs {name!r}", "one of " + ", ".join(kind.inputs)
                )
    if not {"tabular", "none"}.issuperset(wanted):
        with place.at("models", i):
            kind.preflight(checked)
    if model.shown == CEILING:
        raise InputError(f"{place(('models', i, 'label'))}: {CEILING!r} is taken", "another label")
    if model.label is not None and (not model.label.isprintable() or not model.label.strip()):
        raise InputError(f"{place(('models', i, 'label'))} = {model.label!r}", "printable text")
    done = model.model_copy(
        update={"inputs": list(wanted), "params": checked.model_dump(mode="json")}
    )
    done._given = frozenset(params)
    return done


def _resolved_checkpoint(value: Any, base: Path) -> Any:
    """A checkpoint that is written as a path, relative to the config file."""
    is_path = isinstance(value, str) and value.startswith((".", "/", "~", "$"))
    return str(resolve_path(value, base)) if is_path else value


def _checked_data(data: DataConfig, base: Path, place: _Places) -> DataConfig:
    if data.reader not in READERS:
        with place.at("data", "reader"):
            raise unknown_name("reader", data.reader, READERS)
    options = dict(data.options)
    if place.given("data.path"):
        base = Path()  # a path typed on the command line is one of the shell
    if isinstance(options.get("path"), str):
        with place.at("data", "path"):
            options["path"] = resolve_path(options["path"], base)
    if isinstance(options.get("rules"), str):
        with place.at("data", "rules"):
            options["rules"] = resolve_path(options["rules"], base)
    if isinstance(options.get("path"), list):
        with place.at("data", "path"):
            options["path"] = [resolve_path(str(path), base) for path in options["path"]]
    kind = importlib.import_module(READERS[data.reader]).Options
    try:
        checked = kind.model_validate(options)
    except ValidationError as error:
        if error.errors()[0]["type"] == "extra_forbidden":
            name = error.errors()[0]["loc"][0]
            known = {*kind.model_fields, *DataConfig.model_fields} - {"options"}
            with place.at("data", name):
                raise unknown_name(
                    f"key of `data` with reader {data.reader}", name, known
                ) from None
        raise _first(error, place, kind, ("data",)) from None
    paths = getattr(checked, "path", None)
    for path in paths if isinstance(paths, list) else [paths]:
        if isinstance(path, Path) and not _exists(path):
            raise InputError(
                f"{place(('data', 'path'))}: no file at {path}",
                "a path relative to the config file, absolute, or from ${TRIALMARK_DATA}",
            )
    return data.model_copy(update={"options": checked.model_dump(mode="json")})


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # longer than a path may be
        return False


def resolve_path(text: str, base: Path) -> Path:
    """`text` with `~` and environment variables filled in, relative to the folder `base`.

    Raises `InputError` for a variable that is not set, and for the home of nobody.
    """
    filled = os.path.expandvars(text)
    if "$" in filled:
        raise InputError(
            f"{text} uses a variable that is not set",
            f"{DATA_VARIABLE} or another one in the environment",
            f"export {DATA_VARIABLE}=/path/to/data",
        )
    try:
        path = Path(filled).expanduser()
    except RuntimeError:
        raise InputError(f"{text}: there is no such home", "~ or the name of a user") from None
    return path if path.is_absolute() else base / path
