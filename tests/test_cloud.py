"""Whole runs at a URL: in memory, and in an S3-compatible store on this machine (moto)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml

import benchmark
from benchmark.bucket import Bucket
from benchmark.cells import Cell
from benchmark.executor import Silent
from benchmark.store import Store

Call = Callable[..., tuple[int, str, str]]
KEY, SECRET, TOKEN = "AKIATESTTESTTEST", "hidden/secret+of+the+test", "hidden-session-token"


class Heard(Silent):
    """A watcher that remembers how each cell ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def finished(self, cell: Cell, status: str) -> None:
        self.ends.append(status)


class Cut(BaseException):
    """The end of the process, as far as a test can bring it about."""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes this process another machine: one with a cache of its own."""

    def becomes(name: str) -> None:
        monkeypatch.setenv("TRIALMARK_CACHE", str(tmp_path / name))

    becomes("a")
    return becomes


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The endpoint of an S3-compatible store; the tests are skipped where moto is missing."""
    pytest.importorskip("s3fs", reason="the extra `cloud` is not installed")
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a run that is not there yet, in an empty bucket."""
    import s3fs

    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    files = s3fs.S3FileSystem(use_listings_cache=False, max_concurrency=1)
    if files.exists("bench"):
        files.rm("bench", recursive=True)
    files.mkdir("bench")
    return "s3://bench/results/small"


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a run that is not there yet, in the memory of this process."""
    fsspec.filesystem("memory").store.clear()
    yield "memory://bench/small"
    fsspec.filesystem("memory").store.clear()


def predictions(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.glob("*/*/*/*/predictions.parquet")
    }


def objects(url: str) -> dict[str, bytes]:
    bucket = Bucket(url)
    return dict(bucket.read({name: stamp.size for name, stamp in bucket.names().items()}))


def test_every_reading_command_says_of_a_url_what_it_says_of_the_folder(
    small: dict[str, Any], memory: str, tmp_path: Path, call: Call
) -> None:
    config = tmp_path / "small.yaml"
    config.write_bytes(yaml.safe_dump(small).encode())
    code, board, _ = call("run", config, "--out", memory)
    assert code == 0
    folder = benchmark.read(memory).folder
    for words in (
        ("leaderboard", "DIR"),
        ("leaderboard", "DIR", "--format", "json"),
        ("compare", "DIR", "tfidf-logreg", "prior"),
        ("explain", "DIR", "--format", "json"),
        ("status", "DIR"),
        ("verify", "DIR"),
        ("diff", "DIR", "DIR"),
        ("diff", "DIR", "DIR"),
        ("stress", "DIR", "--format", "json"),
    ):
        at_url = call(*(memory if word == "DIR" else word for word in words))
        assert at_url == call(*(folder if word == "DIR" else word for word in words)), words
        assert at_url[1], words
    assert call("leaderboard", memory)[1] == board
    other = f"{memory}-other"
    assert call("run", config, "--out", other, "--set", "seeds=[7]")[0] == 0
    assert call("diff", memory, other) == call("diff", folder, benchmark.read(other).folder)
    assert call("merge", memory, memory, "--out", f"{memory}-2")[0] == 0
    assert call("verify", f"{memory}-2")[0] == 0
    assert call("gc", memory)[0] == 2
    assert call("leaderboard", f"{memory}-3") == (
        2,
        "",
        f"trialmark: {memory}-3 holds no run; expected a URL with plan.json; "
        "run `trialmark run` first\n",
    )


def test_another_machine_goes_on_where_the_first_stopped(
    small: dict[str, Any], memory: str, machine: Callable[[str], None]
) -> None:
    first = benchmark.run({**small, "models": ["prior"]}, out=memory)
    assert len(predictions(first.folder)) == 4  # prior and ceiling, two splits
    machine("b")
    heard = Heard()
    second = benchmark.run(small, out=memory, watcher=heard)
    assert sorted(heard.ends) == ["done"] * 2 + ["kept"] * 4
    assert second.folder != first.folder
    assert predictions(second.folder).items() > predictions(first.folder).items()
    machine("c")
    assert list(benchmark.read(memory).status()["state"]) == ["done"] * 6
    assert benchmark.read(memory).predictions().equals(second.predictions())


def test_a_blend_finds_the_members_that_another_machine_fitted(
    small: dict[str, Any], memory: str, machine: Callable[[str], None]
) -> None:
    models = [
        {"name": "tfidf-logreg", "inputs": "text"},
        {"name": "tfidf-logreg", "inputs": "tabular"},
    ]
    config = {**small, "splits": ["stratified"], "models": models}
    benchmark.run(config, out=memory)
    machine("b")
    heard = Heard()
    both = benchmark.run({**config, "models": [*models, "blend"]}, out=memory, watcher=heard)
    assert sorted(heard.ends) == ["done", "kept", "kept", "kept"]
    blended = both.predictions().query("model == 'blend'")
    assert len(blended) == len(both.predictions().query("model == 'ceiling'"))


def test_doctor_tries_the_bucket_and_leaves_nothing_in_it(s3: str, call: Call) -> None:
    assert (
        f"ok       bucket          {s3}: written, listed, read and removed" in call("doctor", s3)[1]
    )
    assert Bucket(s3).names() == {}
    code, out, _ = call("doctor", s3.replace("bench", "other-bench"))
    assert code == 1
    assert "problem  bucket          s3://other-bench/results/small: FileNotFoundError" in out


@pytest.mark.parametrize("after", [3, 7, 13])
def test_a_run_cut_while_it_uploads_counts_no_half_cell_and_resumes_as_if_never_cut(
    after: int,
    small: dict[str, Any],
    s3: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: Callable[[str], None],
) -> None:
    whole = benchmark.run(small, out=tmp_path / "whole")
    written: list[str] = []
    write = Bucket.write

    def cut(self: Bucket, name: str, data: bytes) -> None:
        if len([name for name in written if name.count("/") == 4]) == after:
            raise Cut
        write(self, name, data)
        written.append(name)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "write", cut)
        with pytest.raises(Cut):
            benchmark.run(small, out=s3)
    there = Bucket(s3).names()
    records = {name.removesuffix("/record.json") for name in there if name.endswith("record.json")}
    half = {name.rpartition("/")[0] for name in there if name.count("/") == 4} - records
    assert len(half) == 1
    machine("b")
    states = benchmark.read(s3).status()
    assert set(states.loc[states["state"] == "done", "path"]) == records
    heard = Heard()
    again = benchmark.run(small, out=s3, watcher=heard)
    assert heard.ends.count("kept") == len(records)
    assert predictions(again.folder) == predictions(whole.folder)
    machine("c")
    copy = benchmark.read(s3)
    assert predictions(copy.folder) == predictions(whole.folder)
    assert list(copy.status()["state"]) == ["done"] * 6


def test_worker_processes_upload_their_own_cells(
    small: dict[str, Any], s3: str, machine: Callable[[str], None]
) -> None:
    done = benchmark.run(small, out=s3, jobs=2)
    assert list(done.status()["state"]) == ["done"] * 6
    machine("b")
    assert predictions(benchmark.read(s3).folder) == predictions(done.folder)


def test_a_run_in_a_bucket_is_verified_and_no_credential_reaches_it(
    small: dict[str, Any],
    s3: str,
    tmp_path: Path,
    call: Call,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    config = tmp_path / "small.yaml"
    config.write_bytes(yaml.safe_dump(small).encode())
    said = [call("run", config, "--out", s3), call("verify", s3), call("status", s3)]
    assert [code for code, _, _ in said] == [0, 0, 0]
    assert " 0 do not, 0 are unproven" in said[1][1]
    said.append(call("leaderboard", s3.replace("bench", "other-bench")))
    assert said[-1][0] == 2
    assert "s3://other-bench/results/small: FileNotFoundError" in said[-1][2]
    stored = [*objects(s3).values()]
    assert len(stored) > 20
    local = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    for text in (*(out + err for _, out, err in said), caplog.text):
        stored.append(text.encode())
    for secret in (KEY, SECRET, TOKEN, "hidden"):
        assert not [data for data in [*stored, *local] if secret.encode() in data]


def test_an_endpoint_that_is_not_there_is_one_line_and_nothing_is_lost(
    small: dict[str, Any],
    s3: str,
    tmp_path: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    machine: Callable[[str], None],
) -> None:
    config = tmp_path / "small.yaml"
    config.write_bytes(yaml.safe_dump(small).encode())
    write = Bucket.write

    def unreachable(self: Bucket, name: str, data: bytes) -> None:
        if name.endswith("record.json"):
            with self._reached():
                raise ConnectionError("connection reset by peer")
        write(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "write", unreachable)
        code, _, err = call("run", config, "--out", s3)
    assert code == 2
    said = [line for line in err.splitlines() if not line.startswith("audit: ")]
    assert len(said) == 1
    assert said[0].startswith(f"trialmark: {s3}: ConnectionError: connection reset by peer; ")
    heard = Heard()
    done = benchmark.run(small, out=s3, watcher=heard)
    assert heard.ends.count("kept") == 1  # the first was fitted before the line was cut
    machine("b")
    assert predictions(Store(benchmark.read(s3).folder).root) == predictions(done.folder)
