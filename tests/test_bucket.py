"""Results at a URL: what is counted there, what is brought from it, and what it never learns."""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from recorded import GOOD, PERFECT, SPLIT, cell, predictions, record_of, write_cell, write_run

from benchmark import bucket as bucket_module
from benchmark.bucket import Bucket, bucket_at
from benchmark.cells import Cell, Result
from benchmark.merge import merge
from benchmark.places import here, store_at
from benchmark.store import Store, folder_of
from benchmark.verify import verify
from features.errors import InputError

URL = "memory://bucket/run"
ONE, OTHER = cell(), cell(label="other", params={"C": 2.0})
FILES = ["explanation.json", "predictions.parquet", "record.json"]


@pytest.fixture(autouse=True)
def _first_machine(machine: Callable[[str], None]) -> Iterator[None]:
    """A cache and a memory without anything from another test."""
    machine("a")
    fsspec.filesystem("memory").store.clear()
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes this process another machine: one with a cache of its own."""
    return lambda name: monkeypatch.setenv("TRIALMARK_CACHE", str(tmp_path / name))


def run_at(url: str, *cells: Cell) -> Store:
    """A store that writes to a URL, with the plan of these cells there."""
    store = store_at(url)
    made = write_run(store.root, *cells)
    store.write_run(unsealed(made), {n: (made.root / n).read_bytes() for n in made.plan()["files"]})
    return store


def unsealed(store: Store) -> dict[str, Any]:
    return {k: v for k, v in store.plan().items() if k not in ("seal", "files", "schema")}


def explained(store: Store, one: Cell, chances: dict[str, float]) -> None:
    """A finished cell with an explanation."""
    store.write(one, Result(record_of(one), predictions(chances), explanation={"schema": 1}))


def objects(store: Store) -> dict[str, bytes]:
    assert store.bucket is not None
    names = store.bucket.names()
    return dict(store.bucket.read({name: stamp.size for name, stamp in names.items()}))


def of_cell(store: Store, one: Cell) -> dict[str, bytes]:
    found = {n: d for n, d in objects(store).items() if n.startswith(f"{folder_of(one)}/")}
    return {name.rpartition("/")[2]: data for name, data in found.items()}


class Cut(Exception):
    """The end of a connection, or of a process."""


def cut_after(after: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let `after` objects be written, no more; returns the names as they are written."""
    written: list[str] = []
    write = Bucket.write

    def cut(self: Bucket, name: str, data: bytes) -> None:
        if len(written) == after:
            raise Cut
        write(self, name, data)
        written.append(name)

    monkeypatch.setattr(Bucket, "write", cut)
    return written


def test_a_cell_stands_at_the_url_byte_for_byte_its_record_written_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = run_at(URL, ONE)
    written = cut_after(99, monkeypatch)
    explained(store, ONE, GOOD)
    names = [name.rpartition("/")[2] for name in written]
    assert sorted(names) == FILES
    assert names[-1] == "record.json"
    folder = store.root / folder_of(ONE)
    assert of_cell(store, ONE) == {f.name: f.read_bytes() for f in folder.iterdir()}


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_upload_cut_after_any_file_counts_no_cell_and_is_made_good(
    after: int, monkeypatch: pytest.MonkeyPatch, machine: Callable[[str], None]
) -> None:
    store = run_at(URL, ONE)
    with monkeypatch.context() as patch:
        cut_after(after, patch)
        with pytest.raises(Cut):
            explained(store, ONE, GOOD)
    assert len(of_cell(store, ONE)) == after
    assert Store(here(URL)).state(folder_of(ONE)) == "missing"
    store.settle([folder_of(ONE)])  # the machine that has it sends it, and fits nothing
    assert sorted(of_cell(store, ONE)) == FILES
    machine("b")
    assert Store(here(URL)).state(folder_of(ONE)) == "done"


def test_a_half_uploaded_cell_is_not_brought_to_a_machine_that_runs(
    monkeypatch: pytest.MonkeyPatch, machine: Callable[[str], None]
) -> None:
    store = run_at(URL, ONE)
    with monkeypatch.context() as patch:
        cut_after(2, patch)
        with pytest.raises(Cut):
            explained(store, ONE, GOOD)
    machine("b")
    second = run_at(URL, ONE)
    second.settle([folder_of(ONE)])
    assert second.state(folder_of(ONE)) == "missing"
    explained(second, ONE, PERFECT)  # fitted again: over what was left there
    assert Store(here(URL)).predictions(folder_of(ONE))["p_yes"].tolist() == [*PERFECT.values()]


def test_predictions_beside_the_record_of_others_are_not_brought(
    machine: Callable[[str], None],
) -> None:
    store = run_at(URL, ONE, OTHER)
    write_cell(store, ONE, GOOD)
    write_cell(store, OTHER, PERFECT)
    assert store.bucket is not None
    stray = of_cell(store, OTHER)["predictions.parquet"]
    store.bucket.write(f"{folder_of(ONE)}/predictions.parquet", stray)
    machine("b")
    second = store_at(URL)
    second.settle([folder_of(ONE), folder_of(OTHER)])
    assert second.state(folder_of(ONE)) == "missing"
    assert second.state(folder_of(OTHER)) == "done"
    with pytest.raises(InputError, match="is not the file that its record describes"):
        Store(here(URL)).predictions(folder_of(ONE))


def test_the_first_of_two_writers_of_a_cell_stays(machine: Callable[[str], None]) -> None:
    store = run_at(URL, ONE)
    explained(store, ONE, GOOD)
    before = objects(store)
    machine("b")
    explained(store_at(URL), ONE, PERFECT)
    assert objects(store) == before


def test_two_writers_at_the_same_moment_leave_one_whole_cell(
    monkeypatch: pytest.MonkeyPatch, machine: Callable[[str], None]
) -> None:
    store = run_at(URL, ONE)
    machine("b")
    other, write = store_at(URL), Bucket.write
    turns: list[str] = []

    def between(self: Bucket, name: str, data: bytes) -> None:
        turns.append(name)
        if len(turns) == 2:  # the record of the first is about to follow its predictions
            aside = replace(other, bucket=None)
            write_cell(aside, ONE, PERFECT)
            theirs = other.root / folder_of(ONE) / "predictions.parquet"
            write(self, f"{folder_of(ONE)}/predictions.parquet", theirs.read_bytes())
        write(self, name, data)

    monkeypatch.setattr(Bucket, "write", between)
    write_cell(store, ONE, GOOD)
    assert len(turns) == 4  # both files, and both again
    assert Store(here(URL)).predictions(folder_of(ONE))["p_yes"].tolist() == [*GOOD.values()]


def test_a_success_replaces_a_failure_at_the_url_and_never_the_reverse(
    machine: Callable[[str], None],
) -> None:
    store = run_at(URL, ONE)
    failed = {**record_of(ONE), "status": "failed", "error": {"class": "E", "message": "m"}}
    store.write(ONE, Result(failed, None))
    assert Store(here(URL)).state(folder_of(ONE)) == "failed"
    machine("b")
    second = store_at(URL)
    second.settle([folder_of(ONE)])
    assert second.state(folder_of(ONE)) == "failed"
    write_cell(second, ONE, GOOD)
    assert Store(here(URL)).state(folder_of(ONE)) == "done"
    store.write(ONE, Result({**failed, "notes": {"again": True}}, None))
    assert Store(here(URL)).state(folder_of(ONE)) == "done"
    store.settle([folder_of(ONE)])
    assert store.state(folder_of(ONE)) == "done"


def test_a_failure_is_stored_over_what_a_cut_upload_left() -> None:
    store = run_at(URL, ONE)
    assert store.bucket is not None
    store.bucket.write(f"{folder_of(ONE)}/predictions.parquet", b"half")
    store.write(ONE, Result({**record_of(ONE), "status": "failed"}, None))
    assert Store(here(URL)).state(folder_of(ONE)) == "failed"


def test_a_run_looks_at_the_url_once_however_many_cells_there_are(
    monkeypatch: pytest.MonkeyPatch, machine: Callable[[str], None]
) -> None:
    cells = [cell(seed=seed) for seed in range(40)]
    store = run_at(URL, *cells)
    for one in cells[:30]:
        write_cell(store, one, GOOD)
    machine("b")
    second, paths = store_at(URL), [folder_of(one) for one in cells]
    listings: list[str] = []
    names = Bucket.names
    monkeypatch.setattr(Bucket, "names", lambda self: listings.append(self.url) or names(self))
    second.settle(paths)
    assert listings == [URL]
    assert [second.state(path) for path in paths] == ["done"] * 30 + ["missing"] * 10


def test_files_are_asked_for_in_groups_that_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_at(URL)
    for name in "abcd":
        bucket.write(name, name.encode() * 3)
    asked: list[int] = []
    files = fsspec.filesystem("memory", use_listings_cache=False)
    cat = type(files).cat

    def counted(self: Any, paths: list[str], **options: Any) -> Any:
        asked.append(len(paths))
        return cat(self, paths, **options)

    monkeypatch.setattr(type(files), "cat", counted)
    monkeypatch.setattr(bucket_module, "_BATCH", 6)
    found = dict(bucket.read({"a": 3, "b": 3, "c": 3, "d": 3, "e": 9}))
    assert found == {"a": b"aaa", "b": b"bbb", "c": b"ccc", "d": b"ddd"}  # there is no e
    assert asked == [2, 2, 1]


def test_a_copy_brings_what_changed_and_drops_what_went(monkeypatch: pytest.MonkeyPatch) -> None:
    store = run_at(URL, ONE, OTHER)
    write_cell(store, ONE, GOOD)
    copy = here(URL)
    (copy / ".scores").write_bytes(b"a reader's own")
    asked: list[str] = []
    read = Bucket.read

    def noted(self: Bucket, sizes: dict[str, int]) -> Iterator[tuple[str, bytes]]:
        asked.extend(sizes)
        return read(self, sizes)

    monkeypatch.setattr(Bucket, "read", noted)
    assert here(URL) == copy
    assert asked == []
    write_cell(store, OTHER, PERFECT)
    assert store.bucket is not None
    store.bucket.remove(f"{folder_of(ONE)}/record.json")
    asked.clear()
    here(URL)
    assert sorted(name.rpartition("/")[2] for name in asked) == FILES[1:]
    assert Store(copy).state(folder_of(ONE)) == "missing"
    assert Store(copy).state(folder_of(OTHER)) == "done"
    assert (copy / ".scores").is_file()
    (copy / folder_of(OTHER) / "record.json").unlink()
    here(URL)
    assert Store(copy).state(folder_of(OTHER)) == "done"


def test_a_copy_is_proven_like_the_folder_it_is_of() -> None:
    store = run_at(URL, ONE)
    write_cell(store, ONE, GOOD)
    found = verify(Store(here(URL)))
    assert found.mismatches == []
    assert found.unproven == []
    assert set(found.proven) == set(objects(store))
    assert store.bucket is not None
    store.bucket.write("config.yaml", b"name: another\n")
    assert [wrong.file for wrong in verify(Store(here(URL))).mismatches] == ["config.yaml"]


def test_names_that_no_run_gives_are_never_taken_from_a_bucket(tmp_path: Path) -> None:
    run_at(URL, ONE)
    files = fsspec.filesystem("memory")
    for name in ("../../../escaped", "a/../../b", ".lock", "c:\\d", "e/", "a//f", "-r", "g h"):
        files.store[f"/bucket/run/{name}"] = type(files.store["/bucket/run/plan.json"])(
            files, name, b"x"
        )
    copy = here(URL)
    found = {file.relative_to(copy).as_posix() for file in copy.rglob("*") if file.is_file()}
    split = f"splits/{SPLIT.hash}.parquet"
    assert found == {"plan.json", "config.yaml", "rejected.csv", split}
    assert not list(tmp_path.rglob("*escaped*"))


def test_another_plan_at_the_url_drops_the_files_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = run_at(URL, ONE)
    plan = unsealed(store)
    written = cut_after(99, monkeypatch)
    store.write_run(plan, {"config.yaml": b"name: by hand\n", "rejected.csv": b"row,id,reason\n"})
    assert written == ["plan.json"]  # the others stand there already
    written.clear()
    with monkeypatch.context() as patch:
        cut_after(1, patch)
        with pytest.raises(Cut):
            store.write_run(plan, {"config.yaml": b"name: another\n"})
    assert "config.yaml" not in objects(store)  # missing rather than of another plan
    assert verify(Store(here(URL))).mismatches == []
    store.write_run(plan, {"config.yaml": b"name: another\n"})
    assert objects(store)["config.yaml"] == b"name: another\n"


def test_runs_at_urls_are_merged_into_a_new_url(machine: Callable[[str], None]) -> None:
    stores = [run_at(f"memory://bucket/{name}", ONE, OTHER) for name in "ab"]
    write_cell(stores[0], ONE, GOOD)
    write_cell(stores[1], OTHER, PERFECT)
    found = merge(["memory://bucket/a", "memory://bucket/b"], "memory://bucket/c")
    assert (found.planned, found.done) == (2, 2)
    machine("b")
    joined = Store(here("memory://bucket/c"))
    assert [joined.state(folder_of(one)) for one in (ONE, OTHER)] == ["done", "done"]
    assert verify(joined).mismatches == []
    with pytest.raises(InputError, match="memory://bucket/c holds files; expected a new URL"):
        merge(["memory://bucket/a"], "memory://bucket/c")


def test_a_merge_cut_before_its_end_is_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    write_cell(run_at("memory://bucket/a", ONE), ONE, GOOD)
    cut_after(5, monkeypatch)
    with pytest.raises(Cut):
        merge(["memory://bucket/a"], "memory://bucket/c")
    assert len(bucket_at("memory://bucket/c").names()) == 5  # all but the plan
    with pytest.raises(InputError, match="memory://bucket/c holds no run"):
        here("memory://bucket/c")


def test_a_store_at_a_url_is_pickled_as_its_url() -> None:
    store = run_at(URL, ONE)
    write_cell(store, ONE, GOOD)
    again = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own
    assert again == store
    assert objects(again) == objects(store)
    assert again.bucket.__getstate__() == {"url": URL}


def test_a_file_url_is_the_folder_itself(tmp_path: Path) -> None:
    assert store_at(f"file://{tmp_path}/a%20run") == Store(tmp_path / "a run")
    assert here(f"file://{tmp_path}/run") == tmp_path / "run"
    with pytest.raises(InputError, match="with three slashes"):
        here("file://server/run")
    for odd in ("file://", "file:///run#2", "file:///run?v=2", "file://[run"):
        with pytest.raises(InputError, match="with three slashes"):
            here(odd)
    with pytest.raises(InputError) as told:
        here("file://me:hidden@server/run")
    assert "hidden" not in str(told.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://KEYID:hidden@bucket/run", "a URL (s3) with credentials in it"),
        ("s3://bucket/run?X-Amz-Signature=hidden", "a URL (s3) with credentials in it"),
        ("s4://bucket/run", "unknown kind of URL 's4'; expected one of file, gs, memory, s3"),
        ("s3://bucket/../run", "s3://bucket/../run; expected s3://BUCKET/FOLDER"),
        ("s3://", "s3://; expected s3://BUCKET/FOLDER"),
        ("s3://bucket/*", "s3://bucket/*; expected s3://BUCKET/FOLDER"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_and_no_secret_is_shown(url: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)) as told:
        store_at(url)
    assert "hidden" not in str(told.value)


def test_a_url_made_a_path_is_told_apart_from_a_folder() -> None:
    with pytest.raises(InputError, match="a Path drops one of its slashes"):
        store_at(Path("s3://bucket/run"))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=r"gs:// needs gcsfs.*pip install 'trialmark\[cloud\]'"):
        store_at("gs://bucket/run")


def test_a_url_with_files_of_others_is_refused() -> None:
    bucket_at(URL).write("thesis.tex", b"x")
    with pytest.raises(InputError, match=f"{URL} holds other files.*set --out"):
        store_at(URL).check_ours()
    with pytest.raises(InputError, match=f"{URL} holds no run"):
        here(URL)


def test_a_store_that_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    store = run_at(URL, ONE)

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", refused)
    with pytest.raises(InputError, match=f"{URL}: PermissionError: Access Denied; .*credentials"):
        write_cell(store, ONE, GOOD)
    assert store.state(folder_of(ONE)) == "done"  # here, for the next run to send
