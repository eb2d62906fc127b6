"""One call of the API: a request in, an answer out, or `NoAnswer` that says whether anything was sent."""

from __future__ import annotations

import copy
import math
import select
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import requests
import urllib3

from daemon.core.record import dataclass
from daemon.core.schedule import MOST_CONNECTIONS
from daemon.edges.studio.judge import Answer
from daemon.edges.studio.wire import NETWORK_ERRORS, Asked, Attempt, Deadline, StudioAdapter, describe

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence

    from daemon.core.redact import Redactor
    from daemon.edges.studio.wire import Proxies

JSON_LIMIT_BYTES: Final = 1 << 20
"""A larger answer is not the API's; a megabyte of gzip would become 1.9 GB otherwise."""


TOGETHER_SECONDS: Final = 0.5
"""An answer that has begun, and that others wait behind, has so long to end; else it is asked for alone."""


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


@dataclass(frozen=True, slots=True)
class _Open:
    """A question that was sent, by its place, and whose answer nobody has read yet."""

    place: int
    asked: Asked
    adapter: StudioAdapter
    attempt: Attempt
    at: float


class Calls:
    """Calls below one base URL. Many threads may make them; connections are kept alive for GET, and used in turn.

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
        self._adapters: set[StudioAdapter] = set()  # whose connections are in use, or kept
        self._kept: list[StudioAdapter] = []  # the last one used is the next one used; as above, its methods are atomic
        self._is_closed = False

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

    def get(
        self,
        path: str,
        *,
        authorization: str | None,
        limit_bytes: int = JSON_LIMIT_BYTES,
        is_afresh: bool = False,
    ) -> Answer:
        """Ask on a connection that was kept alive, if there is one; once more where the server had just closed it.

        Args:
            path: below the base URL.
            authorization: the header's value; None for none.
            limit_bytes: a larger answer is not read to its end.
            is_afresh: make a connection, which is kept alive after that.

        Raises:
            NoAnswer: none came.
        """
        request = self._prepared("GET", path, authorization)
        adapter = (None if is_afresh else self._taken()) or self._new_adapter()
        try:
            return self._call(adapter, request, limit_bytes)
        except NoAnswer as lost:
            if not lost.is_stale:
                raise
            adapter.close()
            return self._call(adapter, request, limit_bytes)
        finally:
            self._keep(adapter)

    @property
    def connections(self) -> int:
        """Connections that are in use for a GET, or kept alive for one, as far as is known."""
        return len(self._adapters)

    def get_together(
        self, paths: Sequence[str], *, authorization: str | None
    ) -> Iterator[list[tuple[int, Answer | NoAnswer | None]]]:
        """Ask for all of these at once, on connections that were kept alive; on no other, for making one takes time.

        A thread that asks many times before it waits costs much less than many threads that wait, and waits no longer.

        Returns:
            By their places in ``paths``, those that have ended together, as they come; first those that could not be
            asked like this, with None: they are to be asked with `get`, each without keeping the others waiting.
        """
        waiting = select.poll()
        ended: list[tuple[int, Answer | NoAnswer | None]] = []
        unread: dict[int, _Open] = {}
        try:
            for question in self._opened(paths, authorization):
                unread[question.asked.fileno()] = question
                waiting.register(question.asked, select.POLLIN)
            if len(unread) < len(paths):
                yield [(place, None) for place in range(len(unread), len(paths))]
            while unread:
                patience = min(_patience(question) for question in unread.values())
                ready = [descriptor for descriptor, _event in waiting.poll(math.ceil(patience * 1000))]
                seconds = TOGETHER_SECONDS if ready else 0.0  # nothing came, for as long as it may take
                for descriptor in ready or list(unread):
                    waiting.unregister(descriptor)
                    ended.append(self._ended(unread.pop(descriptor), seconds))
                yield ended
                ended = []
        finally:
            for question in unread.values():
                self._drop(question.adapter)
                question.asked.close()

    def _opened(self, paths: Sequence[str], authorization: str | None) -> Iterator[_Open]:
        """What was sent: the first paths, as far as there are connections."""
        for place, path in enumerate(paths):
            request = self._prepared("GET", path, authorization)
            question = None
            while question is None:
                adapter = self._taken()
                if adapter is None:
                    return
                question = self._sent(place, request, adapter)
            yield question

    def _sent(self, place: int, request: requests.PreparedRequest, adapter: StudioAdapter) -> _Open | None:
        at = self._wall_clock()
        with Attempt(self._deadline()) as attempt:
            asked = adapter.ask(request, self._timeout[0])
        if asked is None:
            self._drop(adapter)
            return None
        return _Open(place, asked, adapter, attempt, at)

    def _ended(self, question: _Open, seconds: float) -> tuple[int, Answer | NoAnswer | None]:
        question.attempt.pace = Deadline(self._clock, total_seconds=seconds, read_seconds=seconds)
        with question.attempt:
            try:
                http, headers, body = question.asked.answer(JSON_LIMIT_BYTES + 1)
            except Exception as error:  # noqa: BLE001 - whatever it was, the caller must hear it
                self._drop(question.adapter)
                lost = self._no_answer(error, question.attempt, self._base_url)
                return question.place, None if seconds else lost
        self._keep(question.adapter)
        if len(body) > JSON_LIMIT_BYTES:
            return question.place, None  # `get` tells what is wrong with it
        return question.place, Answer(http, headers, body, at=(question.at + self._wall_clock()) / 2)

    def _taken(self) -> StudioAdapter | None:
        """One whose connection was kept alive; None where there is none."""
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def _new_adapter(self) -> StudioAdapter:
        adapter = StudioAdapter(self._context)
        self._adapters.add(adapter)
        return adapter

    def _keep(self, adapter: StudioAdapter) -> None:
        if self._is_closed or len(self._kept) >= MOST_CONNECTIONS:
            self._drop(adapter)
        else:
            self._kept.append(adapter)

    def _drop(self, adapter: StudioAdapter) -> None:
        self._adapters.discard(adapter)
        adapter.close()

    def close(self) -> None:
        """Close the connections that are kept alive. Calls in flight end by themselves."""
        self._is_closed = True
        while (adapter := self._taken()) is not None:
            self._drop(adapter)

    def _deadline(self) -> Deadline:
        return Deadline(self._clock, total_seconds=sum(self._timeout), read_seconds=self._timeout[1])

    def _call(self, adapter: StudioAdapter, request: requests.PreparedRequest, limit_bytes: int) -> Answer:
        asked_at = self._wall_clock()
        with Attempt(self._deadline()) as attempt:
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
        return NoAnswer(
            self._redactor(f"{what} {urlsplit(url).hostname}: {describe(error)}"),
            is_unsent=is_unsent,
            is_stale=attempt.was_stale(error),
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


def _patience(question: _Open) -> float:
    """How long its answer may still be waited for, in seconds."""
    try:
        return question.attempt.pace.wait_seconds()
    except TimeoutError:
        return 0.0
