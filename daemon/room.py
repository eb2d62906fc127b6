"""The dispatcher's part that knows how many renders may be in flight, of what the account allows to all daemons.

A daemon alone may have all of them. Where several share a ledger, each holds slots, which the ledger gives out so that
they are never more than the account allows together: it takes some when it has something to export, and lets go of
those that it does not need, or that are more than its part while others wait. Everything here runs on the dispatcher's
thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from daemon.core.schedule import EXPORTS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Collection

    from daemon.core.schedule import Instant
    from daemon.edges.ledger import Ledger, Work

AGAIN_SECONDS: Final = 5.0
"""Who got no slot asks again so often where nobody has said that there is one."""
CONTENDED_SECONDS: Final = 12.0
"""For so long after somebody has said that he waits, each has only his part."""


class Room:
    """The slots of one daemon.

    Args:
        ledger: gives them out.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting_until: dict[str, float] = {}
        self._ask_at = float("-inf")
        self._is_short = False
        self._is_unsure = False

    @property
    def due_at(self) -> float | None:
        """When a slot is to be asked for again, on the monotonic clock; None: nobody wants one."""
        return self._ask_at if self._is_short else None

    def on_heard(self, kinds: Collection[str], by: str, now: Instant) -> None:
        """Somebody has let go of slots, or waits for one."""
        if "slots" in kinds:
            self._ask_at = float("-inf")
        if "waiting" in kinds:
            self._waiting_until[by] = now.monotonic + CONTENDED_SECONDS

    def has_room(self, *, flying: int, waiting: int, most: int, now: Instant) -> bool:
        """Whether one more render may be in flight.

        Args:
            flying: as many are already.
            waiting: jobs that would go now.
            most: as many the account allows.
            now: both clocks.

        Raises:
            LedgerUnavailable: the ledger cannot be used now.
            LedgerLost: another daemon has taken our jobs over.
        """
        self._is_short = False
        if not self._ledger.is_shared:
            return flying < most
        if flying >= most:
            return False
        if flying >= self._part(most, now):
            # Others wait, and what has ended here is let go of, not used again.
            self._is_short = True
            self._ask_at = max(self._waiting_until.values())
            return False
        return flying < self._ledger.slots or self._has_more(flying=flying, waiting=waiting, most=most, now=now)

    def _has_more(self, *, flying: int, waiting: int, most: int, now: Instant) -> bool:
        """Whether the ledger gives us another slot, which it is not asked for all the time."""
        if now.monotonic >= self._ask_at:
            self._ask_at = now.monotonic + AGAIN_SECONDS
            self._is_unsure = True  # until it is answered
            self._ledger.take_slots(wanted=min(waiting, EXPORTS_AT_ONCE), waiting=waiting, most=most)
            self._is_unsure = False
            if flying < self._ledger.slots:
                self._ask_at = float("-inf")
                return True
        self._is_short = True
        return False

    def let_go(self, work: Work, *, flying: int, waiting: int, most: int, now: Instant) -> None:
        """Have the slots let go that are not needed, with what is written next.

        Args:
            work: what is written next.
            flying: renders in flight after it.
            waiting: jobs that will go as soon as they may.
            most: renders in flight that the account allows.
            now: both clocks.
        """
        if not self._ledger.is_shared:
            return
        wanted = flying + min(waiting, EXPORTS_AT_ONCE)
        wanted = min(wanted, self._part(most, now))
        kept = max(flying, min(self._ledger.slots, wanted))
        if most <= len(self._waiting_until) and flying < kept:
            # There are fewer than want one: each time another's turn.
            kept = flying
            self._ask_at = now.monotonic + AGAIN_SECONDS
        if kept < self._ledger.slots or (self._ledger.waiting and not waiting) or self._is_unsure:
            self._is_unsure = False
            self._ledger.slots = kept
            work.slots, work.waiting = kept, waiting

    def _part(self, most: int, now: Instant) -> int:
        """What we may use of the whole: all of it, unless others have just said that they wait."""
        self._waiting_until = {owner: until for owner, until in self._waiting_until.items() if now.monotonic < until}
        return max(1, most // (1 + len(self._waiting_until)))
