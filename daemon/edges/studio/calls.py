"""One call of the API: a request in, an answer out, or `NoAnswer` that says whether anything was sent."""

from __future__ import annotations

import copy
import threading
import weakref
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests
import urllib3

from daemon.edges.studio.judge import Answer
from daemon.edges.studio.wire import NETWORK_ERRORS, Attempt, Deadline, StudioAdapter, causes, describe

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from daemon.core.redact import Redactor
    from daemon.edges.studio.wire import Proxies

JSON_LIMIT_BYTES: Final = 1 << 20
"""A larger answer is not the API's; a megabyte of gzip would become 1.9 GB otherwise."""


class NoAnswer(Exception):
    """No HTTP answer came.

    Attributes:
        reason: redacted.
        is_unsent: nothing of the request can have arrived.
        is_stale: it was lost with a kept-alive connection before any byte came back: ask again at once.
    """

    def __init__(self, reason: str, *, is_unsent: bool, is_stale: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_unsent = is_unsent
        self.is_stale = is_stale


class Calls:
    """Calls below one base URL. Many threads may make them; each has a connection that is kept alive for GET.

    Args:
        base_url: checked, without a slash at its end.
        context: from `ready_context`.
        proxies: the environment's.
        redactor: every reason goes through it.
        timeout: seconds for a connection, and for silence. Both together bound a whole call.
        clock: monotonic seconds.
        wall_clock: seconds since 1970, for `Answer.at`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        context: ssl.SSLContext,
        proxies: Proxies,
        redactor: Redactor,
        timeout: tuple[float, float],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self._base_url = base_url
        self._context = context
        self._proxies = proxies(base_url)
        self._redactor = redactor
        self._timeout = timeout
        self._timeouts = urllib3.Timeout(connect=timeout[0], read=timeout[1])
        self._clock = clock
        self._wall_clock = wall_clock
        self._templates: dict[str, tuple[str | None, requests.PreparedRequest]] = {}
        self._of_thread = threading.local()
        self._adapters: weakref.WeakSet[StudioAdapter] = weakref.WeakSet()
        self._adapters_lock = threading.Lock()

    def post(self, path: str, body: bytes, *, authorization: str | None) -> Answer:
        """Send JSON, always on a fresh connection.

        A kept-alive connection that the server has just closed would be a false *in doubt*.

        Raises:
            NoAnswer: none came.
        """
        request = self._prepared("POST", path, authorization)
        request.headers = request.headers.copy()
        request.headers["Connection"] = "close"
        request.body = body
        request.prepare_content_length(body)
        adapter = StudioAdapter(self._context)
        try:
            return self._call(adapter, request, JSON_LIMIT_BYTES)
        finally:
            adapter.close()

    def get(self, path: str, *, authorization: str | None, limit_bytes: int = JSON_LIMIT_BYTES) -> Answer:
        """Ask on the thread's own connection; once more where the server had just closed it.

        Raises:
            NoAnswer: none came.
        """
        request = self._prepared("GET", path, authorization)
        adapter = self._adapter()
        try:
            return self._call(adapter, request, limit_bytes)
        except NoAnswer as lost:
            if not lost.is_stale:
                raise
        adapter.close()
        return self._call(adapter, request, limit_bytes)

    def close(self) -> None:
        """Close the connections that are kept alive. Calls in flight end by themselves."""
        with self._adapters_lock:
            adapters = list(self._adapters)
        for adapter in adapters:
            adapter.close()

    def _call(self, adapter: StudioAdapter, request: requests.PreparedRequest, limit_bytes: int) -> Answer:
        deadline = Deadline(self._clock, total_seconds=sum(self._timeout), read_seconds=self._timeout[1])
        asked_at = self._wall_clock()
        with Attempt(deadline) as attempt:
            try:
                response = adapter.send(request, stream=True, timeout=self._timeouts, proxies=self._proxies)  # type: ignore[arg-type]
            except Exception as error:  # noqa: BLE001 - whatever it was, the caller must hear whether anything was sent
                raise self._no_answer(error, attempt, request.url or "") from None
            at = (asked_at + self._wall_clock()) / 2
            return self._read(response, limit_bytes, at)

    def _read(self, response: requests.Response, limit_bytes: int, at: float) -> Answer:
        broken, body = "", b""
        try:
            body = response.raw.read(limit_bytes + 1, decode_content=True)
        except (*NETWORK_ERRORS, ValueError, RuntimeError) as error:
            broken = f"the answer broke off: {self._redactor(describe(error))}"
        if len(body) > limit_bytes:
            broken = f"the answer is larger than {limit_bytes} bytes"
        if broken:
            response.raw.close()
        return Answer(response.status_code, response.headers, body, broken, at)

    def _no_answer(self, error: Exception, attempt: Attempt, url: str) -> NoAnswer:
        is_unsent = attempt.was_never_sent(error)
        what = "cannot reach" if is_unsent else "no answer from"
        is_lost = not any(isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError) for cause in causes(error))
        return NoAnswer(
            self._redactor(f"{what} {urlsplit(url).hostname}: {describe(error)}"),
            is_unsent=is_unsent,
            is_stale=attempt.is_reused and not attempt.is_answered and is_lost,
        )

    def _prepared(self, method: str, path: str, authorization: str | None) -> requests.PreparedRequest:
        """A request whose headers are shared with others: preparing one anew costs as much as sending it."""
        known, template = self._templates.get(method, (None, None))
        if template is None or known != authorization:
            template = self._template(method, authorization)
            self._templates[method] = authorization, template
        request = copy.copy(template)
        request.url = self._base_url + path
        return request

    def _template(self, method: str, authorization: str | None) -> requests.PreparedRequest:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "chromadrop",
        }
        if authorization is not None:
            headers["Authorization"] = authorization
        request = requests.Request(method, self._base_url + "/", headers=headers)
        return request.prepare()  # no Session prepares it, so ~/.netrc cannot replace Authorization

    def _adapter(self) -> StudioAdapter:
        adapter: StudioAdapter | None = getattr(self._of_thread, "adapter", None)
        if adapter is None:
            adapter = self._of_thread.adapter = StudioAdapter(self._context)
            with self._adapters_lock:
                self._adapters.add(adapter)
        return adapter
