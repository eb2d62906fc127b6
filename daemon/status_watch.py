"""The dispatcher's part that keeps status.html up to date.

A page is made by a worker of its own, one at a time: one that hangs on a frozen share holds up nothing but the next
page. Everything here runs on the dispatcher's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from daemon.core.page import STATUS_PAGE
from daemon.core.record import dataclass
from daemon.pipeline import paint

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.core.report import PageEnded
    from daemon.core.schedule import Instant

APART_SECONDS: Final = 2.0
"""Between two pages at least."""
BEAT_SECONDS: Final = 30.0
"""A page where nothing has changed: it says that somebody is alive (`status_page.STALE_SECONDS`)."""
PEERS_BEAT_SECONDS: Final = 5.0
"""The same where other daemons share the ledger: what changes there nobody tells."""
EASE_TIMES: Final = 20.0
"""A page that takes long is made more rarely: painting takes no more than a twentieth of the time."""

_WARNING: Final = 30


@dataclass(frozen=True, slots=True)
class StatusSource:
    """Where the page comes from.

    Attributes:
        render: what is so now; called by a worker, may block, raises ChromadropError.
        is_wanted: False: no page, and none of an earlier daemon either.
    """

    render: Callable[[], bytes]
    is_wanted: bool = True


class Desk(Protocol):
    """What the dispatcher does for the page."""

    def log(self, level: int, event: str, **fields: Any) -> None:
        """One line."""


class StatusWatch:
    """When the page is made.

    Args:
        source: None where there is nobody to make one.
        wall: where it hangs.
        desk: what the dispatcher does.
        submit: has a call made by the worker that paints.
    """

    def __init__(
        self,
        source: StatusSource | None,
        *,
        wall: paint.Wall,
        desk: Desk,
        submit: Callable[[Callable[[], object]], None],
    ) -> None:
        self._source = source
        self._wall = wall
        self._desk = desk
        self._submit = submit
        self._is_wanted = source is not None and source.is_wanted
        self._is_changed = True
        self._is_busy = False
        self._is_root_there = True
        self._is_held = False
        self._beat_seconds = BEAT_SECONDS
        self._begun_at = float("-inf")
        self._free_at = float("-inf")
        self._trouble = ""

    @property
    def due_at(self) -> float | None:
        """When the next page is to be made, on the monotonic clock; None: something has to happen first."""
        if self._source is None or self._is_busy or self._is_held or not self._is_root_there:
            return None
        if self._is_changed:
            return self._free_at
        return max(self._free_at, self._begun_at + self._beat_seconds) if self._is_wanted else None

    def changed(self) -> None:
        """Something that the page tells is not so any more."""
        self._is_changed |= self._is_wanted

    def hold(self, *, is_held: bool) -> None:
        """Whether another daemon makes the page."""
        self._is_changed |= self._is_held and not is_held and self._is_wanted
        self._is_held = is_held

    def on_peers(self, *, has_peers: bool) -> None:
        """Other daemons have come or gone."""
        self._beat_seconds = PEERS_BEAT_SECONDS if has_peers else BEAT_SECONDS
        self.changed()

    def want(self, *, is_wanted: bool) -> None:
        """Whether there is to be a page from now on."""
        self._is_changed |= is_wanted is not self._is_wanted
        self._is_wanted = is_wanted

    def start_due(self, now: Instant, *, is_root_there: bool) -> None:
        """Have the page made if it is due."""
        self._is_changed |= is_root_there and not self._is_root_there
        self._is_root_there = is_root_there
        if self._source is None or self.due_at is None or self.due_at > now.monotonic:
            return
        self._is_busy, self._is_changed = True, False
        self._begun_at = now.monotonic
        wall, render = self._wall, self._source.render
        self._submit((lambda: paint.put(wall, render)) if self._is_wanted else (lambda: paint.remove(wall)))

    def on_ended(self, message: PageEnded, now: Instant) -> None:
        """The page is there, or could not be made; it is made again when it is due."""
        self._is_busy = False
        took = now.monotonic - self._begun_at
        ease_seconds = min(EASE_TIMES * took, BEAT_SECONDS)  # a page that comes later would call itself old
        self._free_at = self._begun_at + max(APART_SECONDS, ease_seconds)
        if message.reason and message.reason != self._trouble:
            self._desk.log(_WARNING, "page.deferred", page=STATUS_PAGE, reason=message.reason)
        self._trouble = message.reason
