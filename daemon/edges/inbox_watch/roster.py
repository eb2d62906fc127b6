"""What the scanner remembers of each name in inbox/."""

from __future__ import annotations

import enum
import heapq
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from daemon.core.messages import Reason, Waiting
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from daemon.core.drop import Fingerprint
    from daemon.core.settle import Settling

MOST_SHOWN: Final = 100


class Place(enum.Enum):
    """Where a name is between inbox/ and the claim."""

    WAITING = "waiting"  # for the file, or for a person
    POSTED = "posted"  # the dispatcher has it
    CLAIMED = "claimed"  # the dispatcher took it; the name may still show the same file for a while
    SOUND = "sound"  # a folder's defaults, which have been read and count


@dataclass(frozen=True, slots=True)
class Entry:
    """One name.

    Attributes:
        place: see `Place`.
        reason: why it waits, where it waits.
        since: monotonic seconds since when that has been the reason.
        settling: the file as last seen, where it could be seen.
        due: when to look again, in monotonic seconds; None where only a hint or a scan of everything leads to a look.
        told: what has been logged of it, so that it is logged once.
        posted_bytes: how much of it lies in the mailbox.
        detail: what exactly has to be mended, for people.
    """

    place: Place
    reason: Reason
    since: float
    settling: Settling | None = None
    due: float | None = None
    told: frozenset[tuple[str, int, int]] = frozenset()
    posted_bytes: int = 0
    detail: str = ""

    @property
    def is_pending(self) -> bool:
        """It will become ready, or be called bad, if it is left alone."""
        return self.place is Place.WAITING and self.reason.is_pending

    def is_read_already(self, fingerprint: Fingerprint) -> bool:
        """Whether these are a folder's defaults which have been read, and are the same still."""
        is_read = self.place is Place.SOUND or (self.place is Place.WAITING and self.reason is Reason.BROKEN)
        return is_read and self.settling is not None and self.settling.fingerprint == fingerprint


def _shown(entry: Entry) -> tuple[object, ...]:
    return entry.place, entry.reason, entry.detail


class Roster:
    """All names, with what is due next. One thread only."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._due: list[tuple[float, str]] = []  # with stale pairs, passed over when they come up
        self._pending = 0
        self.posted_bytes = 0
        self.is_changed = False

    @property
    def is_idle(self) -> bool:
        """Nothing is pending."""
        return self._pending == 0

    def get(self, name: str) -> Entry | None:
        return self._entries.get(name)

    def names(self) -> list[str]:
        return list(self._entries)

    def put(self, name: str, entry: Entry) -> None:
        """Remember this of the name."""
        before = self._entries.get(name)
        self._count(before, -1)
        self._count(entry, 1)
        self._entries[name] = entry
        if entry.due is not None and (before is None or before.due != entry.due):
            heapq.heappush(self._due, (entry.due, name))
        if before is None or _shown(before) != _shown(entry):
            self.is_changed = True

    def remove(self, name: str) -> None:
        """The name is gone."""
        before = self._entries.pop(name, None)
        self._count(before, -1)
        self.is_changed = self.is_changed or before is not None

    def _count(self, entry: Entry | None, sign: int) -> None:
        if entry is not None:
            self._pending += sign * entry.is_pending
            self.posted_bytes += sign * entry.posted_bytes

    def next_due(self) -> float | None:
        """When the next look is due."""
        while self._due:
            due, name = self._due[0]
            entry = self._entries.get(name)
            if entry is not None and entry.due == due:
                return due
            heapq.heappop(self._due)
        return None

    def pop_due(self, now: float) -> str | None:
        """A name that is due; its due time is used up, so that a look that fails is not made over and over."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, name = heapq.heappop(self._due)
        entry = self._entries[name]
        self._entries[name] = replace(entry, due=None)
        return name

    def waiting(self) -> tuple[int, tuple[Waiting, ...]]:
        """How many wait, and the first of them: those that need a person before those that only need time."""
        waiting = [(name, entry) for name, entry in self._entries.items() if entry.place is Place.WAITING]
        first = heapq.nsmallest(MOST_SHOWN, waiting, key=lambda pair: (pair[1].reason.is_pending, pair[0]))
        return len(waiting), tuple(Waiting(name, entry.reason, entry.since, entry.detail) for name, entry in first)

    def gone(self, seen: Iterable[str]) -> set[str]:
        """The names that are remembered and were not seen."""
        return self._entries.keys() - set(seen)
