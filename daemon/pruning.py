"""The dispatcher's part that forgets what is long over, so that the ledger does not grow for ever.

A little at a time, between turns, so that no poll is delayed. What must never be forgotten is the ledger's to know
(`Ledger.prune`). Everything here runs on the dispatcher's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from daemon.core.errors import LedgerUnavailable

if TYPE_CHECKING:
    from daemon.core.schedule import Instant
    from daemon.edges.ledger import Ledger

FIRST_SECONDS: Final = 60.0
"""After the start, when there is more urgent work."""
EVERY_SECONDS: Final = 3600.0
APART_SECONDS: Final = 0.25
"""Between two small transactions of one round."""

_DAY: Final = 86_400.0
_INFO: Final = 20


class Desk(Protocol):
    """What the dispatcher does for it."""

    def log(self, level: int, event: str, **fields: Any) -> None:
        """One line."""


class Pruning:
    """When a little more is forgotten.

    Args:
        ledger: forgets.
        desk: what the dispatcher does.
    """

    def __init__(self, *, ledger: Ledger, desk: Desk) -> None:
        self.due_at: float | None = None
        self._ledger = ledger
        self._desk = desk
        self._after_id = 0
        self._files = 0

    def start_due(self, now: Instant, keep_days: int | None) -> None:
        """Forget a little, if it is time.

        Args:
            now: both clocks.
            keep_days: what was filed away within them is kept; None for everything.
        """
        if keep_days is None:
            self.due_at = None
            return
        if self.due_at is None:
            self.due_at = now.monotonic + FIRST_SECONDS
        if self.due_at > now.monotonic:
            return
        self.due_at = now.monotonic + EVERY_SECONDS
        try:
            pruned = self._ledger.prune(now.wall - keep_days * _DAY, self._after_id)
        except LedgerUnavailable:
            return  # who has something to write says so; forgetting can wait
        self._after_id, self._files = pruned.after_id, self._files + pruned.files
        if not pruned.is_over:
            self.due_at = now.monotonic + APART_SECONDS
            return
        if self._files:
            self._desk.log(_INFO, "ledger.pruned", files=self._files, keep_days=keep_days)
        self._files = 0
