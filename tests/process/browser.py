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
_LEAVING: Final = ("navigated or closed", "context was destroyed", "find default execution context", "was collected")
"""What an evaluation ends with whose page is left (Chromium's words)."""
_LOOK_MILLISECONDS: Final = 500


class PageLeftError(AssertionError):
    """The page was left, or made new, while a script ran on it; how far that came is not known."""


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
            ("Page.setLifecycleEventsEnabled", {"enabled": True}),
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
        try:
            self._attach()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for method, arguments in self._settings:
            self.call(method, **arguments)

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
        """One command, and what it returns.

        Raises:
            PageLeftError: the page it was for is no longer there.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        answer = self._next(lambda found: found.get("id") == self._number)
        if any(words in str(answer.get("error", "")) for words in _LEAVING):
            raise PageLeftError(method, answer)
        assert "error" not in answer, (method, answer)
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, address: str) -> None:
        """Go there, and wait until all is loaded that is not loaded lazily."""
        begin = len(self._seen)
        went = self.call("Page.navigate", url=address)
        assert "errorText" not in went, went
        wanted = (went["loaderId"], "load")
        if wanted not in map(_stage, self._seen[begin:]):
            self._next(lambda found: _stage(found) == wanted)

    def go_on(self, script: str) -> None:
        """Do something by which the page is loaded again sooner or later, and wait until it is."""
        left = self.run(f"setTimeout(() => {{ {script} }}); String(performance.timeOrigin)")
        self.wait_for(f"String(performance.timeOrigin) !== '{left}'")

    def run(self, script: str) -> Any:
        """The value of an expression on the page; a promise is waited for. As if a person had just clicked.

        Raises:
            PageLeftError: the page was made new meanwhile; nobody knows what the script has done, so it is run once.
        """
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """What a reader sees in each element that is shown.

        A page may leave undrawn what is off screen until it is scrolled to (``content-visibility``), and a text that
        was not drawn reads as empty; so all is drawn first.
        """
        found: list[str] = self.run(
            "(() => { const all = new CSSStyleSheet(); all.replaceSync('* { content-visibility: visible !important }');"
            "document.adoptedStyleSheets = [all]; const shown = [...document.querySelectorAll("
            f"{json.dumps(selector)})].filter(e => e.checkVisibility()).map(e => e.innerText);"
            "document.adoptedStyleSheets = []; return shown; })()"
        )
        return found

    def text(self, selector: str = "body") -> str:
        """What a reader sees in the one element, whether or not it is on screen."""
        [found] = self.texts(selector)
        return found

    def wait_for(self, condition: str) -> None:
        """Until an expression holds on a page that is loaded, also when the page is made new meanwhile."""
        look = (
            f"new Promise(done => {{ const end = performance.now() + {_LOOK_MILLISECONDS}; const look = () => {{"
            f"if (document.readyState === 'complete' && ({condition})) done(true);"
            "else if (performance.now() > end) done(false); else setTimeout(look, 5); }; look(); })"
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._sees(look):
            assert time.monotonic() < deadline, f"it never came: {condition}"

    def _sees(self, look: str) -> bool:
        try:
            return bool(self.run(look))
        except PageLeftError:
            return False

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


def _stage(message: dict[str, Any]) -> tuple[str, str] | None:
    """Which document has come how far in its life, where a message says so."""
    if message.get("method") != "Page.lifecycleEvent":
        return None
    return message["params"]["loaderId"], message["params"]["name"]
