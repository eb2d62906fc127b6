"""What is answered on each path; knows no socket."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final

from daemon.core.errors import ChromadropError
from daemon.core.record import dataclass
from daemon.core.vitals import ills

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from daemon.edges.health.figures import Figures

JSON: Final = "application/json; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
KEEP_SECONDS: Final = 1.0
"""An overview is kept for so long at least, and for `KEEP_TIMES` as long as it took to read."""
KEEP_TIMES: Final = 10.0
WAIT_SECONDS: Final = 3.0
"""Whoever asks while another reads the overview waits for so long at most."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back.

    Attributes:
        code: of HTTP (RFC 9110, 15).
        content_type: of the body.
        body: whole.
    """

    code: int
    content_type: str
    body: bytes

    @classmethod
    def of(cls, code: int, document: Any) -> Answer:
        """A JSON document; other than ASCII is escaped, and so is what a careless page could take for HTML."""
        text = json.dumps(document, allow_nan=False)
        for sign in "<>&":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        return cls(code, JSON, f"{text}\n".encode("ascii"))


class _Kept:
    """An answer that costs something: one thread reads at a time, and the others take what it finds.

    Args:
        read: the answer; may block; raises ChromadropError.
        clock: monotonic seconds.
    """

    def __init__(self, read: Callable[[], Answer], clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._has_read = threading.Condition(self._lock)
        self._is_reading = False
        self._kept: Answer | None = None
        self._kept_until = float("-inf")

    def answer(self) -> Answer:
        """It, as it is now or was a moment ago; so nobody can make it cost more by asking often."""
        with self._lock:
            if self._is_reading:
                self._has_read.wait_for(lambda: not self._is_reading, WAIT_SECONDS)
            if self._is_reading:
                return Answer.of(503, {"error": "the folders or the ledger do not answer"})
            if self._kept is not None and self._clock() < self._kept_until:
                return self._kept
            self._is_reading = True
        kept = None
        since = self._clock()
        try:
            kept = self._tried()
        finally:
            with self._lock:
                now = self._clock()
                self._kept, self._kept_until = kept, now + max(KEEP_SECONDS, KEEP_TIMES * (now - since))
                self._is_reading = False
                self._has_read.notify_all()
        return kept

    def _tried(self) -> Answer:
        try:
            return self._read()
        except ChromadropError as error:
            return Answer.of(503, {"error": str(error)})


class Pages:
    """The four pages. Any number of threads may ask.

    Args:
        figures: with the last vitals.
        overview: the document of /status; may block; raises ChromadropError.
        page: the HTML of /; the same.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        figures: Figures,
        overview: Callable[[], Mapping[str, Any]],
        page: Callable[[], bytes],
        clock: Callable[[], float],
    ) -> None:
        self._figures = figures
        self._clock = clock
        self._kept = {
            "/": _Kept(lambda: Answer(200, HTML, page()), clock),
            "/status": _Kept(lambda: Answer.of(200, overview()), clock),
        }

    def answer(self, path: str, accept: str) -> Answer | None:
        """What is on this path; None where nothing is.

        Args:
            path: without a query.
            accept: the header of that name.
        """
        if path == "/healthz":
            return self._health()
        if path == "/metrics":
            body, content_type = self._figures.page(accept)
            return Answer(200, content_type, body)
        return self._kept[path].answer() if path in self._kept else None

    def _health(self) -> Answer:
        found = ills(self._figures.vitals, self._clock())
        if not found:
            return Answer.of(200, {"ok": True})
        return Answer.of(503, {"ok": False, "reasons": [{"part": ill.part, "reason": ill.reason} for ill in found]})
