"""systemd, as far as it wants to be told: sd_notify(3) over a datagram socket, sd_watchdog_enabled(3).

Nothing here blocks or fails: what the service manager has no room for at the moment is said again a second later.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from daemon.core.display import display

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_LINE_BYTES: Final = 1024
"""systemd ignores a datagram of more than 4096 bytes whole (PIPE_BUF); a line is cut long before."""
STATE_SECONDS: Final = 1.0
"""Between two words on the state at least."""
AGAIN_SECONDS: Final = 1.0
"""After which what could not be said, or was not right to be said, is tried again."""
EXTEND_SECONDS: Final = 30.0
"""The extension that is asked for while the end is waited for, again every third of it."""


def notify(address: str | None, *lines: str) -> bool:
    """Tell the service manager, if there is one; never fails and never waits.

    Args:
        address: ``$NOTIFY_SOCKET``; a leading ``@`` means the abstract name space. None or empty: nobody listens.
        lines: such as ``READY=1``, ``STOPPING=1``, ``STATUS=3 renders in flight``; one that is too long is cut.

    Returns:
        False where it would have had to wait, for the service manager's queue is full: say it again later.
    """
    if not address:
        return True
    path = f"\0{address[1:]}" if address.startswith("@") else address
    datagram = b"\n".join(_encoded(line) for line in lines)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        link.setblocking(False)
        try:
            link.connect(path)
            link.send(datagram)
        except BlockingIOError:
            return False
    return True


def _encoded(line: str) -> bytes:
    """One line of valid UTF-8: a newline in a file name must not begin an assignment of its own."""
    encoded = display(line).encode()
    if len(encoded) <= MOST_LINE_BYTES:
        return encoded
    mark = "…".encode()
    return encoded[: MOST_LINE_BYTES - len(mark)].decode(errors="ignore").encode() + mark


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """How often the watchdog must be fed at least; None where there is none for this process.

    Args:
        environ: with ``WATCHDOG_USEC`` and ``WATCHDOG_PID``, as sd_watchdog_enabled(3) has them.
        pid: of this process.
    """
    meant_for = environ.get("WATCHDOG_PID") or str(pid)
    microseconds = environ.get("WATCHDOG_USEC", "")
    if meant_for != str(pid) or not (microseconds.isascii() and microseconds.isdigit()):
        return None
    return int(microseconds) / 1e6 or None


class Supervisor:
    """The service manager that started this program and watches it, if one did.

    Its methods are for the main thread.

    Args:
        environ: for ``NOTIFY_SOCKET`` and the watchdog.
        pid: of this process.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        limit = watchdog_seconds(environ, pid)
        self._feed_seconds = None if limit is None else limit / 2
        self._feed_due = float("-inf")
        self._said = ""
        self._state_due = float("-inf")
        self._extend_due = float("-inf")
        self._is_stopping = False
        self._unsaid: deque[tuple[str, ...]] = deque()

    @property
    def is_there(self) -> bool:
        """Somebody listens."""
        return bool(self._address)

    def ready(self, state: str) -> None:
        """The start is over."""
        self._said = state
        self._say("READY=1", f"STATUS={state}")

    def reloading(self, now: float) -> None:
        """The configuration is being read again; `reloaded` must follow.

        Args:
            now: seconds of CLOCK_MONOTONIC, by which systemd tells an old message from a new one.
        """
        self._say("RELOADING=1", f"MONOTONIC_USEC={int(now * 1e6)}")

    def reloaded(self) -> None:
        """The configuration that counts now, the new or the old one, is in force."""
        self._say("READY=1")

    def stopping(self) -> None:
        """The end has begun; only the first word of it is passed on."""
        if not self._is_stopping:
            self._is_stopping = True
            self._say("STOPPING=1")

    def after_turn(self, now: float, state: str, *, is_well: bool, is_waiting_to_end: bool = False) -> float | None:
        """Feed the watchdog and say the state, as far as either is due; to be called after each real turn.

        Args:
            now: monotonic seconds.
            state: one line for ``systemctl status``; said when it is new, once a second at most.
            is_well: the rest of the program works: only then is the watchdog fed.
            is_waiting_to_end: what is under way must not be cut off by the service manager's time limit.

        Returns:
            When to call again without another reason to turn, in monotonic seconds; None for never.
        """
        if not self.is_there:
            return None
        times = [self._say_again(now), self._feed(now, is_well=is_well), self._say_state(now, state)]
        if is_waiting_to_end:
            times.append(self._extend(now))
        return min((time for time in times if time is not None), default=None)

    def _say(self, *lines: str) -> None:
        self._unsaid.append(lines)
        self._say_again(0.0)

    def _say_again(self, now: float) -> float | None:
        while self._unsaid:
            if not notify(self._address, *self._unsaid[0]):
                return now + AGAIN_SECONDS
            self._unsaid.popleft()
        return None

    def _feed(self, now: float, *, is_well: bool) -> float | None:
        if self._feed_seconds is None:
            return None
        if now >= self._feed_due:
            is_fed = is_well and notify(self._address, "WATCHDOG=1")
            self._feed_due = now + (self._feed_seconds if is_fed else min(self._feed_seconds, AGAIN_SECONDS))
        return self._feed_due

    def _say_state(self, now: float, state: str) -> float | None:
        if state == self._said:
            return None
        if now >= self._state_due:
            self._state_due = now + STATE_SECONDS
            if notify(self._address, f"STATUS={state}"):
                self._said = state
                return None
        return self._state_due

    def _extend(self, now: float) -> float:
        if now >= self._extend_due:
            is_said = notify(self._address, f"EXTEND_TIMEOUT_USEC={int(EXTEND_SECONDS * 1e6)}")
            self._extend_due = now + (EXTEND_SECONDS / 3 if is_said else AGAIN_SECONDS)
        return self._extend_due
