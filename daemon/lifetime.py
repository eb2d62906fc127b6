"""The life of the process: signals, and one daemon, or, where the folders change on SIGHUP, one after the other."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, Self

from daemon.app import Daemon, Reload, Settings, refuse_config
from daemon.core.errors import ChromadropError, ConfigInvalid
from daemon.core.problem import Problem
from daemon.core.report import Stop
from daemon.edges import logs
from daemon.edges.service_manager import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


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
        while daemon.renewal is not None and not signals.stops:
            signals.detach()
            is_unheard = daemon.is_unheard(Reload)
            daemon, is_renewed = _renewed(daemon.accepted, daemon.renewal, supervisor)
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

    def detach(self) -> None:
        """Nobody is there to be told: what comes is kept for the next one."""
        self._post = None

    def _on_signal(self, number: int, _frame: object) -> None:
        message: object = Reload()
        if number != signal.SIGHUP:
            self.stops += 1
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
