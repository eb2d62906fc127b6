"""How the daemon is, over HTTP: / for people; /healthz, /metrics, /status for monitoring; nothing can be changed here.

The dispatcher stays the only owner of state. After each turn the app hands one frozen `Vitals` over, and that, with the
counters, is all that the threads here look at::

    main thread ── publish(vitals) ──► one attribute ──► /healthz, /metrics
        │ dispatcher ── what happened ──► counters ─────► /metrics
        ▼                                    ledger ────► /, /status, over a connection of its own, one reader at a time

Work never depends on any of it: an address that cannot be had is logged and tried again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.edges.health.figures import Figures
from daemon.edges.health.listener import Listener, Log
from daemon.edges.health.pages import Pages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from daemon.core.vitals import Peer, Vitals

__all__ = ["Health"]


class Health:
    """See the module. Nothing is opened before `start`.

    Args:
        address: host and port, such as ``("127.0.0.1", 9188)``.
        version: of chromadrop.
        booted_at: wall-clock seconds when the machine was started, for processes that may not read it.
        overview: what ``chromadrop status --json`` says; called on a thread of this module's, may block; raises
            ChromadropError.
        page: what is on /, HTML; called and raising as ``overview``.
        clock: monotonic seconds.
        log: takes events.
        peers: see `Figures`.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        version: str,
        booted_at: float,
        overview: Callable[[], Mapping[str, Any]],
        page: Callable[[], bytes],
        clock: Callable[[], float],
        log: Log,
        peers: Callable[[], Sequence[Peer]] | None = None,
    ) -> None:
        self.figures = Figures(version=version, booted_at=booted_at, clock=clock, peers=peers)
        pages = Pages(self.figures, overview, page, clock)
        self._listener = Listener(address, pages.answer, clock=clock, log=log)

    def publish(self, vitals: Vitals) -> None:
        """This is how the daemon is now; costs one assignment."""
        self.figures.vitals = vitals

    def start(self) -> None:
        """Listen, on a thread of its own; after the first `publish`."""
        self._listener.start()

    def stop(self) -> None:
        """Give the address back and cut what is open; waits a second at most."""
        self._listener.stop()
