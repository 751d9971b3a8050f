"""A headless Chromium driven over WebDriver, for pages that have to work in one."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_KEYS = {"Enter": "\ue007", "Tab": "\ue004", "Space": "\ue00d"}


@dataclass(frozen=True)
class Browser:
    """A session; `url` is where WebDriver listens for it."""

    url: str

    def open(self, file: Path, *, width: int = 1400, dark: bool = False) -> None:
        """Load a page from a file in a window of this width."""
        self._cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._cdp("Emulation.setEmulatedMedia", features=[scheme])
        _call("POST", f"{self.url}/url", url=file.resolve().as_uri())
        end = time.monotonic() + 20
        # the driver answers while handlers of the load event still run
        while not self.run("return performance.timing.loadEventEnd > 0"):
            if time.monotonic() > end:
                raise RuntimeError(f"{file} did not load")
            time.sleep(0.02)

    def run(self, script: str, *words: Any) -> Any:
        """What JavaScript returns; `words` are its arguments."""
        return _call("POST", f"{self.url}/execute/sync", script=script, args=list(words))

    def press(self, selector: str, key: str) -> None:
        """Focus an element as Tab would, and press a key on it."""
        found = _call("POST", f"{self.url}/element", using="css selector", value=selector)
        self.run("document.querySelector(arguments[0]).focus()", selector)
        text = _KEYS.get(key, key)
        _call("POST", f"{self.url}/element/{found[_ELEMENT]}/value", text=text)

    def log(self) -> list[str]:
        """What the page wrote to the console since the last call."""
        return [str(row["message"]) for row in _call("POST", f"{self.url}/se/log", type="browser")]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the last call."""
        rows = _call("POST", f"{self.url}/se/log", type="performance")
        events = [json.loads(row["message"])["message"] for row in rows]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [str(one["request"]["url"]) for one in sent]

    def picture(self, file: Path) -> None:
        """The whole page as a PNG."""
        found = self._cdp("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        file.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        """The page as printed."""
        found = self._cdp("Page.printToPDF", printBackground=True)
        return base64.b64decode(found["data"])

    def _cdp(self, command: str, **params: Any) -> Any:
        return _call("POST", f"{self.url}/goog/cdp/execute", cmd=command, params=params)


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser for a while; the test is skipped where there is none."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        pytest.skip("no chromium and chromedriver here")
    process = subprocess.Popen(
        [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        server = f"http://127.0.0.1:{_port(process)}"
        options = {
            "binary": chromium,
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                     "--disable-dev-shm-usage"],
        }  # fmt: skip
        wanted = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = _call("POST", f"{server}/session", capabilities={"alwaysMatch": wanted})
        found = Browser(f"{server}/session/{session['sessionId']}")
        try:
            yield found
        finally:
            _call("DELETE", found.url)
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def _port(process: subprocess.Popen[str]) -> int:
    """The port that the driver says it listens on."""
    assert process.stdout is not None
    end = time.monotonic() + 20
    while time.monotonic() < end:
        line = process.stdout.readline()
        if "started successfully on port" in line:
            return int(line.rstrip(".\n").rpartition(" ")[2])
    raise RuntimeError("chromedriver did not start")


def _call(method: str, address: str, **body: Any) -> Any:
    data = json.dumps(body).encode() if method == "POST" else None
    request = Request(
        address, data=data, method=method, headers={"Content-Type": "application/json"}
    )
    try:
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]
    except HTTPError as error:
        raise RuntimeError(error.read().decode()) from None
