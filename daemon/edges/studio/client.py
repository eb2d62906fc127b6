"""The cloud, as the workers see it: one method for each thing that is asked of it."""

from __future__ import annotations

import copy
import json
import threading
import time
import weakref
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests
import urllib3

from daemon.core.errors import CloudDeferred, CloudInDoubt, CloudRefused
from daemon.core.redact import clean_credential
from daemon.edges.studio.dialect import DIALECTS
from daemon.edges.studio.download import Downloader, Part
from daemon.edges.studio.judge import Answer, Judge, Look
from daemon.edges.studio.wire import (
    NETWORK_ERRORS,
    Attempt,
    Deadline,
    Proxies,
    StudioAdapter,
    causes,
    describe,
    is_loopback,
    ready_context,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from daemon.core.redact import Redactor

JSON_LIMIT_BYTES: Final = 1 << 20
"""A larger answer is not the API's; a megabyte of gzip would become 1.9 GB otherwise."""


class Studio:
    """The cloud. May be used by many threads at once; each has a connection of its own that is kept alive for looks.

    Args:
        base_url: such as ``https://v2.aistudios.com/api/odin``; plain http only for loopback.
        credential: sent as the bare value of ``Authorization``; white space around it is taken off.
        redactor: every text that leaves goes through it; it must know the credential.
        version: a key of `DIALECTS`.
        connect_timeout_seconds: for a connection, and for TLS.
        read_timeout_seconds: for silence. Both together bound a whole call of the API.
        max_video_bytes: a larger video is refused.
        retry_after_cap_seconds: the longest ``Retry-After`` that is believed.
        clock: monotonic seconds.
        wall_clock: seconds since 1970, for ``Retry-After`` dates.

    Raises:
        ValueError: an argument, or a CA bundle that the environment names, cannot be used. No text has the credential.
    """

    def __init__(
        self,
        *,
        base_url: str,
        credential: str,
        redactor: Redactor,
        version: str = "v2",
        connect_timeout_seconds: float,
        read_timeout_seconds: float,
        max_video_bytes: int,
        retry_after_cap_seconds: float = 300,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if version not in DIALECTS:
            raise ValueError(f"the API version {version!r} is not one of: {', '.join(DIALECTS)}")
        self._base_url = _checked(base_url)
        self._dialect = DIALECTS[version]
        self._redactor = redactor
        self._timeout = (connect_timeout_seconds, read_timeout_seconds)
        self._clock = clock
        self._wall_clock = wall_clock
        self._context = ready_context()
        self._proxies = Proxies()
        self._judge = Judge(
            self._dialect, redactor, retry_after_cap_seconds=retry_after_cap_seconds, wall_clock=wall_clock
        )
        self._headers = {
            "Authorization": clean_credential(credential),
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "chromadrop",
        }
        self._look_template = self._prepared("GET", self._dialect.progress_path_of("x"))
        self._downloader = Downloader(
            context=self._context,
            proxies=self._proxies,
            redactor=redactor,
            judge=self._judge,
            timeout=self._timeout,
            max_video_bytes=max_video_bytes,
            clock=clock,
        )
        self._of_thread = threading.local()
        self._adapters: weakref.WeakSet[StudioAdapter] = weakref.WeakSet()
        self._adapters_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Studio({self._base_url!r})"

    def export(self, body: Mapping[str, object]) -> str:
        """Ask for one video: this costs money. Always on a fresh connection.

        A kept-alive connection that the server has just closed would be a false *in doubt*.

        Returns:
            The project id.

        Raises:
            CloudDeferred: nothing was sent, or the cloud said that it is busy.
            CloudRefused: the cloud said no.
            CloudInDoubt: it may have been accepted.
            AccountTroubled: credential or credit.
        """
        try:
            payload = json.dumps(dict(body), allow_nan=False).encode("ascii")
        except (TypeError, ValueError) as error:
            raise CloudRefused(self._redactor(f"the request cannot be written as JSON: {error}")) from None
        request = self._prepared("POST", self._dialect.export_path, payload)
        request.headers["Connection"] = "close"
        adapter = StudioAdapter(self._context)
        try:
            answer = self._call(adapter, request)
        except _NoAnswer as lost:
            if lost.is_unsent:
                raise CloudDeferred(lost.reason, is_outage=True) from None
            raise CloudInDoubt(f"the export was sent, but no answer came: {lost.reason}") from None
        finally:
            adapter.close()
        return self._judge.export(answer, body)

    def look(self, project_id: str) -> Look:
        """Ask how far a render is. Free.

        Raises:
            CloudDeferred: no usable answer; ``is_outage`` and ``is_bounded`` say of which kind.
            AccountTroubled: credential or credit.
        """
        return self._judge.look(self._get(project_id))

    def probe(self, project_id: str | None) -> None:
        """Test the credential with a free GET; returns when it is accepted, whatever becomes of the project.

        Args:
            project_id: one that exists makes the best test; None where none is known.

        Raises:
            CloudDeferred: the cloud cannot be reached, is busy, or makes no sense.
            AccountTroubled: the credential was refused.
        """
        self._judge.probe(self._get(project_id or self._dialect.probe_project_id))

    def clock_lead_seconds(self) -> float | None:
        """By how much our clock is ahead of the cloud's, by the ``Date`` of its answer to a free GET (RFC 9110, 6.6.1).

        Dates are whole seconds, so it is good to about one; None where the answer has none.

        Raises:
            CloudDeferred: no answer came.
        """
        asked_at = self._wall_clock()
        answer = self._get(self._dialect.probe_project_id)
        middle = (asked_at + self._wall_clock()) / 2
        try:
            return middle - parsedate_to_datetime(answer.headers.get("Date") or "").timestamp()
        except (TypeError, ValueError, OverflowError):
            return None

    def download(self, url: str, part: Path, *, should_stop: Callable[[], bool]) -> Part:
        """Download a finished video, or go on with a download that was cut; see `Downloader.download`."""
        return self._downloader.download(url, part, should_stop=should_stop)

    def close(self) -> None:
        """Close the connections that are kept alive. Calls in flight end by themselves."""
        with self._adapters_lock:
            adapters = list(self._adapters)
        for adapter in adapters:
            adapter.close()

    def _get(self, project_id: str) -> Answer:
        request = copy.copy(self._look_template)  # prepared once: preparing costs as much as sending
        request.url = self._base_url + self._dialect.progress_path_of(project_id)
        adapter = self._adapter()
        try:
            try:
                return self._call(adapter, request)
            except _NoAnswer as lost:
                if not lost.is_stale:
                    raise
            adapter.close()
            return self._call(adapter, request)
        except _NoAnswer as lost:
            raise CloudDeferred(lost.reason, is_outage=lost.is_unsent) from None

    def _call(self, adapter: StudioAdapter, request: requests.PreparedRequest) -> Answer:
        deadline = Deadline(self._clock, total_seconds=sum(self._timeout), read_seconds=self._timeout[1])
        url = request.url or ""
        with Attempt(deadline) as attempt:
            try:
                response = adapter.send(request, stream=True, timeout=self._timeout, proxies=self._proxies(url))
            except Exception as error:  # noqa: BLE001 - whatever it was, the caller must hear whether anything was sent
                raise self._no_answer(error, attempt, url) from None
            return self._read(response)

    def _read(self, response: requests.Response) -> Answer:
        broken, body = "", b""
        try:
            body = response.raw.read(JSON_LIMIT_BYTES + 1, decode_content=True)
        except (*NETWORK_ERRORS, ValueError, RuntimeError) as error:
            broken = f"the answer broke off: {self._redactor(describe(error))}"
        if len(body) > JSON_LIMIT_BYTES:
            broken = f"the answer is larger than {JSON_LIMIT_BYTES} bytes"
        if broken:
            response.raw.close()
        return Answer(response.status_code, response.headers, body, broken)

    def _no_answer(self, error: Exception, attempt: Attempt, url: str) -> _NoAnswer:
        is_unsent = attempt.was_never_sent(error)
        what = "cannot reach" if is_unsent else "no answer from"
        is_lost = not any(isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError) for cause in causes(error))
        return _NoAnswer(
            self._redactor(f"{what} {urlsplit(url).hostname}: {describe(error)}"),
            is_unsent=is_unsent,
            is_stale=attempt.is_reused and not attempt.is_answered and is_lost,
        )

    def _prepared(self, method: str, path: str, body: bytes | None = None) -> requests.PreparedRequest:
        request = requests.Request(method, self._base_url + path, headers=self._headers, data=body)
        return request.prepare()  # no Session prepares it, so ~/.netrc cannot replace Authorization

    def _adapter(self) -> StudioAdapter:
        adapter: StudioAdapter | None = getattr(self._of_thread, "adapter", None)
        if adapter is None:
            adapter = self._of_thread.adapter = StudioAdapter(self._context)
            with self._adapters_lock:
                self._adapters.add(adapter)
        return adapter


class _NoAnswer(Exception):
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


def _checked(base_url: str) -> str:
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("the base URL cannot be read") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError("the base URL must begin with https:// and a host name")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the base URL must have no user name, no query, and no fragment")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError(f"the credential is not sent to {host} over plain http; use https")
    return base_url.strip().rstrip("/")
