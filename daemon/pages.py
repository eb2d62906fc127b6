"""The page of what is going on, for an app that may never want one: what makes it is loaded with the first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.core.schedule import Instant
    from daemon.dispatcher import Summary
    from daemon.edges.inbox_watch import Pulse
    from daemon.status_source import StatusPages


@dataclass(frozen=True, slots=True)
class Live:
    """What no other process could know.

    Attributes:
        summary: of the dispatcher, after its last turn.
        traced: the jobs that are looked for.
        pulse: of the scanner.
        turned: when that turn had ended.
    """

    summary: Summary
    traced: frozenset[int]
    pulse: Pulse
    turned: Instant


class Pages:
    """`StatusPages`, made with the first page.

    Attributes:
        live: replaced as a whole by the app.

    Args:
        make: makes them, and loads what they need; called once at most.
    """

    def __init__(self, make: Callable[[], StatusPages]) -> None:
        self.live: Live | None = None
        self._make = make
        self._making = threading.Lock()
        self._made: StatusPages | None = None

    def _as_it_is(self) -> StatusPages:
        with self._making:  # any thread may want the first one
            if self._made is None:
                self._made = self._make()
        self._made.live = self.live
        return self._made

    def in_root(self) -> bytes:
        """See `StatusPages.in_root`."""
        return self._as_it_is().in_root()

    def elsewhere(self) -> bytes:
        """See `StatusPages.elsewhere`."""
        return self._as_it_is().elsewhere()

    def last(self) -> bytes:
        """See `StatusPages.last`."""
        return self._as_it_is().last()

    def close(self) -> None:
        """Let go of the ledger."""
        with self._making:
            if self._made is not None:
                self._made.close()
