"""The life of the process: signals, and one daemon, or, where the folders change on SIGHUP, one after the other."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Self

from daemon.app import Daemon, Reload, Settings, refuse_config
from daemon.core.errors import ChromadropError, ConfigInvalid, LedgerLocked, LedgerUnavailable
from daemon.core.problem import Problem
from daemon.core.report import Stop
from daemon.edges import logs
from daemon.edges.service_manager import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


REJOIN_TRIES: Final = 30
REJOIN_SECONDS: Final = 2.0
"""Between two tries to join a ledger again that was lost; all of them together take less than any watchdog."""


def run(settings: Settings, *, is_once: bool) -> int:
    """Work until told to stop, or, with ``is_once``, until all is worked off; the exit code.

    Raises:
        ConfigInvalid: something about the environment cannot be used.
        LedgerLocked, LedgerRefused, LedgerUnavailable, RootUnavailable: as `Daemon` does at the start.
    """
    supervisor = Supervisor(settings.environ, os.getpid())
    try:
        daemon = Daemon(settings, is_once=is_once, supervisor=supervisor)
    except ValueError as error:  # such as a CA bundle named by the environment that cannot be used
        raise ConfigInvalid([Problem(settings.redactor(str(error)))]) from None
    with Signals() as signals:
        signals.attach(daemon.post)
        code = daemon.run()
        while (renewal := daemon.renewal) is not None and not signals.stops:
            signals.detach()
            is_unheard = daemon.is_unheard(Reload)
            if daemon.is_lost:
                daemon, is_renewed = _rejoined(daemon.accepted, supervisor, signals, is_once=is_once), False
            else:
                daemon, is_renewed = _renewed(daemon.accepted, renewal, supervisor)
            signals.attach(daemon.post)
            if is_renewed or is_unheard:
                daemon.post(Reload())  # what was written since counts too, and the log says what is in force
            code = daemon.run()
    return code


def _renewed(old: Settings, new: Settings, supervisor: Supervisor) -> tuple[Daemon, bool]:
    """A daemon with the new settings, or, where they turn out not to be usable, with the old ones; and which."""
    try:
        return Daemon(new, is_once=False, supervisor=supervisor), True
    except (ChromadropError, ValueError, OSError) as error:
        refuse_config(logs.get_logger(), error, new.redactor)
    return Daemon(old, is_once=False, supervisor=supervisor), False


def _rejoined(settings: Settings, supervisor: Supervisor, signals: Signals, *, is_once: bool) -> Daemon:
    """A daemon that begins again with what the ledger has for it; the database may take its time to be back.

    Raises:
        LedgerUnavailable, LedgerLocked: it did not come back, or not within reason; who started us may do so again.
    """
    for _ in range(REJOIN_TRIES):
        with suppress(LedgerUnavailable, LedgerLocked):
            return Daemon(settings, is_once=is_once, supervisor=supervisor)
        if signals.stops or signals.wait(REJOIN_SECONDS):
            break
    return Daemon(settings, is_once=is_once, supervisor=supervisor)


class Signals:
    """SIGTERM and SIGINT stop, SIGHUP reloads, while this is entered; there is always somebody to tell.

    Attributes:
        stops: how often a stop was asked for.
    """

    def __init__(self) -> None:
        self.stops = 0
        self._is_reload_waiting = False
        self._post: Callable[[object], None] | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._wakes: SimpleQueue[None] = SimpleQueue()  # which a signal handler may put into

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def attach(self, post: Callable[[object], None]) -> None:
        """From now on tell this one; it also hears of the stops that the one before may not have heard of."""
        self._post = post
        for _ in range(self.stops):
            post(Stop())
        if self._is_reload_waiting:
            self._is_reload_waiting = False
            post(Reload())

    def wait(self, seconds: float) -> bool:
        """Wait for a stop, so long at most; whether one was asked for."""
        with suppress(Empty):
            self._wakes.get(timeout=seconds)
        return self.stops > 0

    def detach(self) -> None:
        """Nobody is there to be told: what comes is kept for the next one."""
        self._post = None

    def _on_signal(self, number: int, _frame: object) -> None:
        message: object = Reload()
        if number != signal.SIGHUP:
            self.stops += 1
            self._wakes.put(None)
            message = Stop()
        if self._post is not None:
            self._post(message)
        elif number == signal.SIGHUP:
            self._is_reload_waiting = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
