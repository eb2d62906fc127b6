"""The sockets: a few connections at once, one request each, none for longer than a moment.

Two or three programs ask here now and then. The standard library parses what they say; the rest is what it leaves open:
how much is read, how many may come, how long they may take. A web framework would bring more than that needs.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Protocol

from daemon.edges.health.connections import PATIENCE_SECONDS, Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from daemon.edges.health.pages import Answer

RETRY_SECONDS: Final = 30.0
"""After which an address that could not be had is tried again."""
STOP_SECONDS: Final = 1.0
"""The end is waited for so long at most; a frozen share may hold who reads the overview."""
_BACKLOG: Final = 32
_REST_SECONDS: Final = 1.0
"""After a turn that failed as a whole, so that the next ones do not follow each other without a breath."""
_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""One of the addresses of a name that this machine does not have, such as ::1 without IPv6."""
_TRANSIENT: Final = {errno.EAGAIN, errno.ECONNABORTED, errno.EPROTO, errno.EINTR}


class Log(Protocol):
    """What is needed of a logger."""

    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


class Listener:
    """See the module. `start` and `stop` are for one thread, and for once.

    Args:
        address: host and port; port 0 takes a free one, which the log tells.
        answer: path and the header ``Accept`` to what goes back, None for 404; called on any thread.
        clock: monotonic seconds.
        log: takes events.
        patience_seconds: after which a connection is cut.
        retry_seconds: after which an address that could not be had is tried again.
    """

    def __init__(
        self,
        address: tuple[str, int],
        answer: Callable[[str, str], Answer | None],
        *,
        clock: Callable[[], float],
        log: Log,
        patience_seconds: float = PATIENCE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._address = address
        self._clock = clock
        self._log = log
        self._retry_seconds = retry_seconds
        self._connections = Connections(answer, self._wake, patience_seconds=patience_seconds)
        self._sockets: list[socket.socket] = []
        self._retry_at = float("-inf")
        self._trouble = ""
        self._is_stopping = threading.Event()
        self._alarm, self._waker = socket.socketpair()
        self._alarm.setblocking(False)
        self._waker.setblocking(False)
        # For life: a new one for each turn would want a descriptor when there may be none.
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._alarm, selectors.EVENT_READ)
        self._watched: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Listen, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Give the address back, and cut what is open; also without a `start`."""
        self._is_stopping.set()
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)
        self._connections.close(STOP_SECONDS)
        if not self._thread.is_alive():  # a name server may hold it; then the process' end closes them
            self._selector.close()
            self._alarm.close()
            self._waker.close()

    def _wake(self) -> None:
        with suppress(OSError):  # full: it will wake anyway; closed: it has ended
            self._waker.send(b"!")

    def _run(self) -> None:
        try:
            while not self._is_stopping.is_set():
                self._try_turn()
        finally:
            self._close()

    def _try_turn(self) -> None:
        try:
            self._turn()
        except OSError as error:  # the system is short of something: as good as an address in use
            self._give_up(error)
            self._is_stopping.wait(_REST_SECONDS)

    def _turn(self) -> None:
        if not self._sockets and self._clock() >= self._retry_at:
            self._listen()
        cut_at = self._connections.cut_late(self._clock())
        times = [cut_at] if self._sockets else [cut_at, self._retry_at]
        wake_at = min((time for time in times if time is not None), default=None)
        # Who finds no room waits in the system's queue until one that is served has ended, or is cut for it.
        may_come = self._connections.has_room or self._connections.can_make_room
        self._watch(self._sockets if may_come else [])
        for listening in self._wait(None if wake_at is None else max(0.0, wake_at - self._clock())):
            self._accept(listening)

    def _watch(self, sockets: Sequence[socket.socket]) -> None:
        """Be woken by these, and by no others."""
        while self._watched and self._watched != sockets:
            self._selector.unregister(self._watched.pop())
        for one in sockets[len(self._watched) :]:
            self._selector.register(one, selectors.EVENT_READ)
            self._watched.append(one)

    def _wait(self, seconds: float | None) -> list[socket.socket]:
        """Those at which somebody waits."""
        ready = [key.fileobj for key, _ in self._selector.select(seconds)]
        if self._alarm in ready:
            with suppress(BlockingIOError):
                self._alarm.recv(4096)
        return [one for one in self._watched if one in ready]

    # --- the address ------------------------------------------------------------------------------

    def _listen(self) -> None:
        try:
            self._sockets = list(self._bound())
        except OSError as error:
            self._give_up(error)
            return
        self._trouble = ""
        own_host = self._address[0] if all(map(_is_loopback, self._sockets)) else None
        self._connections.own_host = own_host
        addresses = [_shown(one) for one in self._sockets]
        self._log.info("http.started", addresses=addresses)
        if own_host is None:
            self._log.warning("http.exposed", addresses=addresses)

    def _bound(self) -> Iterator[socket.socket]:
        """A socket for each address of the host.

        Raises:
            OSError: none can be had, or one is taken.
        """
        host, port = self._address
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        absent: OSError | None = None
        for family, where in dict.fromkeys((entry[0], entry[4]) for entry in found):
            try:
                sockets.append(_server(family, where, is_for_both=host == "::"))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    for one in sockets:
                        one.close()
                    raise
                absent = error
        if not sockets and absent is not None:
            raise absent
        return iter(sockets)

    def _give_up(self, error: OSError) -> None:
        """Go on without the address, and try again later."""
        self._close_sockets()
        self._retry_at = self._clock() + self._retry_seconds
        is_ours = isinstance(error, socket.gaierror) or error.errno is None
        reason = str(error.strerror or error) if is_ours else os.strerror(error.errno or 0)
        if reason != self._trouble:
            self._trouble = reason
            address = "{}:{}".format(*self._address)
            self._log.error("http.unavailable", address=address, reason=reason, retry_seconds=self._retry_seconds)

    def _accept(self, listening: socket.socket) -> None:
        if listening not in self._sockets:
            return
        if not self._connections.has_room:
            self._connections.make_room()
            return
        try:
            connection, _ = listening.accept()
        except OSError as error:
            # Such as no descriptors left: what stays readable would keep this thread turning.
            if error.errno not in _TRANSIENT:
                self._give_up(error)
            return
        self._connections.take(connection, self._clock())

    def _close_sockets(self) -> None:
        self._watch([])
        for listening in self._sockets:
            listening.close()
        self._sockets = []

    def _close(self) -> None:
        self._close_sockets()
        if not self._is_stopping.is_set():  # `stop` cuts them, and waits for their threads
            self._connections.cut_all()


def _server(family: int, where: Any, *, is_for_both: bool) -> socket.socket:
    is_dual = is_for_both and socket.has_dualstack_ipv6()
    server = socket.create_server(where, family=family, backlog=_BACKLOG, dualstack_ipv6=is_dual)
    server.setblocking(False)
    return server


def _is_loopback(server: socket.socket) -> bool:
    return ip_address(server.getsockname()[0].partition("%")[0]).is_loopback


def _shown(server: socket.socket) -> str:
    host, port, *_ = server.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
