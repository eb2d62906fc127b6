"""The connections that are open: a thread each, a bounded number, cut when they take too long or others wait."""

from __future__ import annotations

import socket
import sys
import threading
import traceback
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from daemon.edges.health.request import HEAD_BYTES, refused, respond, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.edges.health.pages import Answer

MOST_CONNECTIONS: Final = 8
"""So many are served at once."""
PATIENCE_SECONDS: Final = 10.0
"""After so long a connection is cut, however slowly it speaks or listens."""
SILENT_SECONDS: Final = 2.0
"""After so long without a first word it is cut; sooner where another one waits for the room."""
_LINGER_BYTES: Final = 64 * 1024
_CHUNK_BYTES: Final = 4096


class Connections:
    """See the module.

    Args:
        answer: path and the header ``Accept`` to what goes back, None for 404; called on any thread.
        on_end: called when one has ended, so that there is room again.
        patience_seconds: see `PATIENCE_SECONDS`.
    """

    def __init__(
        self, answer: Callable[[str, str], Answer | None], on_end: Callable[[], None], *, patience_seconds: float
    ) -> None:
        self._answer = answer
        self._on_end = on_end
        self._patience_seconds = patience_seconds
        self.own_host: str | None = None
        """The host that is listened on, where that is loopback (see `respond`)."""
        self._lock = threading.Lock()
        self._has_ended = threading.Condition(self._lock)
        self._cut_at: dict[socket.socket, float] = {}
        self._silent: dict[socket.socket, float] = {}
        """Those that have said nothing, the oldest first; when each is cut once it has begun."""
        self._made_way: socket.socket | None = None
        self._bugs: set[tuple[type[BaseException], str, int | None]] = set()
        self._threads: set[threading.Thread] = set()

    @property
    def has_room(self) -> bool:
        """One more may be taken."""
        return len(self._threads) < MOST_CONNECTIONS

    @property
    def can_make_room(self) -> bool:
        """One has said nothing yet, and none is about to end for the sake of another."""
        return bool(self._silent) and self._made_way is None

    def make_room(self) -> None:
        """Cut the one that has said nothing for longest; ``on_end`` tells when there is room."""
        with self._lock:
            if self.can_make_room:
                self._made_way = next(iter(self._silent))
                self._cut(self._made_way)

    def take(self, connection: socket.socket, now: float) -> None:
        """Serve one; `has_room` must hold.

        Args:
            connection: accepted; closed in the end.
            now: monotonic seconds.
        """
        connection.settimeout(self._patience_seconds)
        thread = threading.Thread(target=self._serve, args=(connection,), name="http-connection", daemon=True)
        with self._lock:
            self._silent[connection] = now + self._patience_seconds
            self._cut_at[connection] = now + min(SILENT_SECONDS, self._patience_seconds)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            self._threads.discard(thread)
            self._end(connection)

    def cut_late(self, now: float) -> float | None:
        """Cut those that have taken too long; when to do so again, None for never."""
        with self._lock:
            for connection in [one for one, cut_at in self._cut_at.items() if cut_at <= now]:
                self._cut(connection)
            return min(self._cut_at.values(), default=None)

    def cut_all(self) -> None:
        """Cut all of them."""
        with self._lock:
            for connection in list(self._cut_at):
                self._cut(connection)

    def close(self, seconds: float) -> None:
        """Cut all of them and wait for their threads.

        Args:
            seconds: for all together, at most; one that a frozen share holds is left behind.
        """
        self.cut_all()
        with self._has_ended:
            threads = set(self._threads)
            have_all_ended = self._has_ended.wait_for(lambda: not self._threads, seconds)
        if have_all_ended:
            for thread in threads:
                thread.join()

    def _cut(self, connection: socket.socket) -> None:
        # Its thread wakes with an error and closes it; another thread's close would not wake it.
        del self._cut_at[connection]
        self._silent.pop(connection, None)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._converse(connection)
        except OSError:
            pass  # it went away, or was cut
        except Exception as error:  # noqa: BLE001 - the top of a thread: a bug on one page must not end the others
            if self._is_news(error):
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
            with suppress(OSError):
                connection.sendall(written(refused(HTTPStatus.INTERNAL_SERVER_ERROR)))
        finally:
            self._end(connection)
            with self._has_ended:
                self._threads.discard(threading.current_thread())
                self._has_ended.notify_all()
            self._on_end()

    def _end(self, connection: socket.socket) -> None:
        with self._lock:
            self._cut_at.pop(connection, None)
            self._silent.pop(connection, None)
            if connection is self._made_way:
                self._made_way = None
            connection.close()

    def _converse(self, connection: socket.socket) -> None:
        head = self._read_head(connection)
        if head is None:
            return
        if len(head) > HEAD_BYTES:
            connection.sendall(written(refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)))
        else:
            connection.sendall(respond(head, self._answer, self.own_host))
        _linger(connection)

    def _read_head(self, connection: socket.socket) -> bytes | None:
        """All up to the empty line, or more than is taken; None where the other side went before."""
        head = b""
        while b"\r\n\r\n" not in head and len(head) <= HEAD_BYTES:
            part = connection.recv(_CHUNK_BYTES)
            if not part:
                return None
            if not head:
                self._begin(connection)
            head += part
        return head

    def _begin(self, connection: socket.socket) -> None:
        """It has said something: it has all its time now."""
        with self._lock:
            cut_at = self._silent.pop(connection, None)
            if cut_at is not None:
                self._cut_at[connection] = cut_at

    def _is_news(self, error: Exception) -> bool:
        """Each bug is reported once: whoever asks again and again must not fill the log."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        bug = type(error), frame.filename, frame.lineno
        with self._lock:
            is_news = bug not in self._bugs
            self._bugs.add(bug)
        return is_news


def _linger(connection: socket.socket) -> None:
    """Let the other side read to the end: a close while its body still arrives would take the answer away again."""
    connection.shutdown(socket.SHUT_WR)
    left = _LINGER_BYTES
    while left > 0 and (part := connection.recv(_CHUNK_BYTES)):
        left -= len(part)
