"""The session that says that a daemon lives, and by which it hears of the others.

It holds one advisory lock and listens; a thread of its own reads it. When the session is lost, so is the lock: the
daemon is told at once, stops asking for anything that costs money, and the thread tries to be back.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from daemon.core.errors import LedgerLocked, LedgerUnavailable
from daemon.core.messages import LedgerHeard, LifelineCut, LifelineMended, PeerLost, PeersSeen
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

LOOK_SECONDS: Final = 5.0
"""Nothing is asked of the database more often than this while nothing happens."""
GRACE_SECONDS: Final = 2.0
"""A daemon whose lock is free may be just joining again: it is left so long."""
TAKE_SECONDS: Final = 6.0
"""Our own lock may be held for so long by the session before, or by one who takes us over."""
AGAIN_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.2
HELD_LOCKS: Final = (
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
    "AND classid = CAST(%s AS bigint)::oid "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""The numbers of all locks of a ledger that somebody holds, given the class of its locks."""


class Guard:
    """Ends conversations with a database that does not answer any more though the connection stands.

    libpq waits for ever for an answer; keepalives tell only that the other kernel lives. So the socket is shut from
    another thread, and the conversation ends as with any lost connection.

    Args:
        seconds: how long one may take.
        clock: monotonic seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._watched: dict[str, tuple[float, int]] = {}
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, name: str, connection: Any) -> None:
        """Something is asked over this connection."""
        with self._lock:
            self._watched[name] = self._clock() + self._seconds, connection.fileno()
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_watch, name="ledger-guard", daemon=True)
                self._thread.start()

    def relax(self, name: str) -> None:
        """It was answered, or failed."""
        with self._lock:
            self._watched.pop(name, None)

    def _keep_watch(self) -> None:
        while not self._is_closed.wait(AGAIN_SECONDS):
            with self._lock:
                now = self._clock()
                for name, (deadline, descriptor) in list(self._watched.items()):
                    if now > deadline:
                        del self._watched[name]
                        _shut(descriptor)

    def close(self) -> None:
        """Watch no more."""
        self._is_closed.set()
        if self._thread is not None:
            self._thread.join()


def _shut(descriptor: int) -> None:
    with suppress(OSError):
        found = socket.socket(fileno=os.dup(descriptor))
        try:
            found.shutdown(socket.SHUT_RDWR)
        finally:
            found.close()


@dataclass(frozen=True, slots=True)
class _Peer:
    number: int
    owner: str
    is_alive: bool


class Lifeline:
    """See the module.

    Args:
        connect: a new session; raises psycopg.Error.
        guard: ends what hangs.
        explain: what the driver said, fit to be shown.
        channel: where the daemons of this ledger speak with each other.
        lock_class: of that ledger's locks.
        number: of the daemon.
        page: the number of the lock of the one that writes the pages.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        guard: Guard,
        *,
        explain: Callable[[object], str],
        channel: str,
        lock_class: int,
        number: int,
        page: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._connect = connect
        self._guard = guard
        self._explain = explain
        self._channel = channel
        self._class = lock_class
        self._number = number
        self._page = page
        self._session: psycopg.Connection[Any] | None = None
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._free_since: dict[str, float] = {}
        self._said: PeersSeen | None = None

    def take(self) -> psycopg.Connection[Any]:
        """Be alive.

        Raises:
            LedgerLocked: another process is this daemon.
            LedgerUnavailable: the database cannot be reached.
        """
        import psycopg  # noqa: PLC0415 - only who uses PostgreSQL has it installed

        try:
            session = self._connect()
            self._guard.watch("lifeline", session)
            try:
                self._lock(session, self._clock() + TAKE_SECONDS)
                session.execute(f'LISTEN "{self._channel}"')
            except BaseException:
                session.close()
                raise
            finally:
                self._guard.relax("lifeline")
        except psycopg.Error as error:
            raise LedgerUnavailable(self._explain(error)) from None
        self._session = session
        return session

    def _lock(self, session: psycopg.Connection[Any], deadline: float) -> None:
        while not _scalar(session, "SELECT pg_try_advisory_lock(%s, %s)", self._class, self._number):
            if self._is_closed.is_set() or self._clock() > deadline:
                raise LedgerLocked(
                    "another chromadrop is this daemon (same host name and state folder): stop it first, "
                    "or give this one a folder of its own (folders.state)"
                )
            self._is_closed.wait(_PAUSE_SECONDS)

    def start(self, post: Callable[[object], None], owner: str) -> None:
        """From now on say what is heard and seen.

        Args:
            post: the mailbox.
            owner: ours, whose own words are not told.
        """
        self._thread = threading.Thread(target=self._live, args=(post, owner), name="lifeline", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Be dead, in an orderly way."""
        self._is_closed.set()
        session = self._session
        if session is not None:
            with suppress(Exception):  # it may be broken in any way
                _shut(session.fileno())  # who listens hears of it
        if self._thread is not None:
            self._thread.join()
        self._drop()

    def _drop(self) -> None:
        if self._session is not None:
            with suppress(Exception):  # it may be broken in any way
                self._session.close()
            self._session = None

    def _live(self, post: Callable[[object], None], owner: str) -> None:
        import psycopg  # noqa: PLC0415 - see above

        while not self._is_closed.is_set():
            try:
                session = self._session
                if session is None:
                    session = self.take()
                    post(LifelineMended())
                self._listen(session, post, owner)
            except (psycopg.Error, OSError, LedgerUnavailable, LedgerLocked) as error:
                if not self._is_closed.is_set() and (self._session is not None or isinstance(error, LedgerLocked)):
                    is_ours = isinstance(error, LedgerUnavailable | LedgerLocked)
                    post(LifelineCut(str(error) if is_ours else self._explain(error)))
                self._drop()
                self._said = None
                self._free_since = {}
                self._is_closed.wait(AGAIN_SECONDS)

    def _listen(self, session: psycopg.Connection[Any], post: Callable[[object], None], owner: str) -> None:
        due = self._clock()
        while not self._is_closed.is_set():
            now = self._clock()
            if now >= due:
                due = now + self._look(session, post, owner)
            for heard in session.notifies(timeout=max(0.0, due - now), stop_after=1):
                told = json.loads(heard.payload)
                if told["by"] != owner:
                    post(LedgerHeard(frozenset(told["kinds"]), told["by"]))

    def _look(self, session: psycopg.Connection[Any], post: Callable[[object], None], owner: str) -> float:
        """Who lives; in how many seconds to look again."""
        self._guard.watch("lifeline", session)
        try:
            rows = session.execute(
                f"SELECT number, owner, number IN ({HELD_LOCKS}) FROM daemons "  # noqa: S608 - a constant
                "WHERE NOT is_gone AND owner <> %s ORDER BY number",
                (self._class, owner),
            ).fetchall()
            is_painter = bool(_scalar(session, "SELECT pg_try_advisory_lock(%s, %s)", self._class, self._page))
            if is_painter and self._said is not None and self._said.is_painter:
                _scalar(session, "SELECT pg_advisory_unlock(%s, %s)", self._class, self._page)  # it counts how often
        finally:
            self._guard.relax("lifeline")
        peers = [_Peer(*row) for row in rows]
        seen = PeersSeen(frozenset(peer.owner for peer in peers if peer.is_alive), is_painter)
        if seen != self._said:
            self._said = seen
            post(seen)
        return self._judge(peers, post)

    def _judge(self, peers: list[_Peer], post: Callable[[object], None]) -> float:
        now = self._clock()
        dead = [peer.owner for peer in peers if not peer.is_alive]
        self._free_since = {owner: self._free_since.get(owner, now) for owner in dead}
        fresh = [since for since in self._free_since.values() if now - since < GRACE_SECONDS]
        for owner, since in self._free_since.items():
            if now - since >= GRACE_SECONDS:
                post(PeerLost(owner))
        return min([LOOK_SECONDS, *(GRACE_SECONDS - (now - since) + 0.05 for since in fresh)])


def _scalar(session: psycopg.Connection[Any], query: Any, *values: object) -> Any:
    row = session.execute(query, values).fetchone()
    return None if row is None else row[0]
