"""A real Chromium without a window, driven over its own pipe (Chrome DevTools Protocol), for pages that people open."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS: Final = 60.0
PROGRAM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS: Final = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe",
    "--no-proxy-server",
)  # fmt: skip


class Browser:
    """A browser with one page.

    Args:
        profile: an empty folder of its own.
        language: what the page takes for the reader's.
        width: of the window, in CSS pixels.
        is_dark: the reader prefers dark pages.
        is_scripted: False where the reader has switched scripts off.
        before: a script that runs before the page's own.
    """

    def __init__(
        self,
        profile: Path,
        *,
        language: str = "en-US",
        width: int = 1280,
        is_dark: bool = False,
        is_scripted: bool = True,
        before: str = "",
    ) -> None:
        self._profile = profile
        self._number = 0
        self._session = ""
        self._rest = b""
        self._seen: list[dict[str, Any]] = []
        self._settings: tuple[tuple[str, dict[str, Any]], ...] = (
            ("Page.enable", {}),
            ("Runtime.enable", {}),
            ("Log.enable", {}),
            ("Emulation.setDeviceMetricsOverride", _metrics(width)),
            ("Emulation.setEmulatedMedia", {"features": [_feature(is_dark=is_dark)]}),
            ("Emulation.setFocusEmulationEnabled", {"enabled": True}),
            ("Emulation.setScriptExecutionDisabled", {"value": not is_scripted}),
            ("Network.setUserAgentOverride", {"userAgent": "chromadrop test", "acceptLanguage": language}),
            ("Page.addScriptToEvaluateOnNewDocument", {"source": before}),
        )

    def __enter__(self) -> Self:
        assert PROGRAM is not None
        theirs, self._to = os.pipe()
        self._from, others = os.pipe()
        # The protocol's descriptors are 3 and 4; the shell moves ours there, by way of free ones.
        line = f'exec 8<&{theirs} 9>&{others}; exec "$@" 3<&8 4>&9'
        self._process = subprocess.Popen(
            ["bash", "-c", line, "bash", PROGRAM, *_FLAGS, f"--user-data-dir={self._profile}"],
            pass_fds=(theirs, others),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(others)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for method, arguments in self._settings:
            self.call(method, **arguments)
        return self

    def __exit__(self, *_: object) -> None:
        self._session = ""
        with suppress(OSError, AssertionError):
            self.call("Browser.close")
        for descriptor in (self._to, self._from):
            os.close(descriptor)
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One command, and what it returns."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        answer = self._next(lambda found: found.get("id") == self._number)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Go there, and wait until all is loaded that is not loaded lazily."""
        self.call("Page.navigate", url=address)
        self._next(lambda found: found.get("method") == "Page.loadEventFired")

    def go_on(self, script: str) -> None:
        """Do something by which the page is loaded again sooner or later, and wait until it is."""
        self.run(f"setTimeout(() => {{ {script} }}); 0")
        self._next(lambda found: found.get("method") == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression on the page; a promise is waited for. As if a person had just clicked."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Until an expression on the page holds, also when the page is made new meanwhile."""
        for _ in range(5):
            try:
                self._wait_for(condition)
            except AssertionError as error:
                if "navigated or closed" not in str(error):
                    raise
            else:
                return
        self._wait_for(condition)

    def _wait_for(self, condition: str) -> None:
        self.run(f"new Promise(done => {{ const look = () => ({condition}) ? done() : setTimeout(look, 5); look(); }})")

    def errors(self) -> list[str]:
        """What the console has to complain of, but for pictures that do not load."""
        self.call("Runtime.evaluate", expression="0")
        entries = [found["params"]["entry"] for found in self._seen if found.get("method") == "Log.entryAdded"]
        texts = [str(entry["text"]) for entry in entries if entry["source"] != "network"]
        return texts + [str(found) for found in self._seen if found.get("method") == "Runtime.exceptionThrown"]

    def _next(self, is_wanted: Any) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            while b"\0" not in self._rest:
                assert select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))[0], "no answer"
                more = os.read(self._from, 1 << 20)
                assert more, "the browser has ended"
                self._rest += more
            raw, _, self._rest = self._rest.partition(b"\0")
            message: dict[str, Any] = json.loads(raw)
            self._seen.append(message)
            if is_wanted(message):
                return message


def _metrics(width: int) -> dict[str, Any]:
    return {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 700}


def _feature(*, is_dark: bool) -> dict[str, str]:
    return {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
