"""The dispatcher's part that keeps the daily limits: what was ordered today, and whether the next one may go.

The ledger says what was ordered today, so that no restart forgets it; it is asked once a day, and its answer is carried
on from there. An export counts from its start, and no more once it is known that nothing was accepted. Where several
daemons share the ledger, a few jobs are chosen there at a time, while no other daemon chooses. Everything here runs on
the dispatcher's thread.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from daemon.core.allowance import Day, Limited, Spent, has_room
from daemon.core.estimate import spoken_seconds_of
from daemon.core.job import Paid, State
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from daemon.core.job import Job
    from daemon.core.schedule import Instant
    from daemon.edges.ledger import Ledger

NOTE: Final = "limited"
"""Where the ledger says that a limit is reached."""
AHEAD_SECONDS: Final = 24 * 3600.0
"""What was asked for later than this after the day's end was asked for with a wrong clock, and counts for no day."""
LEASED_AT_ONCE: Final = 16
"""So many jobs are chosen at once where several daemons share the ledger."""
SHARED_LOOK_SECONDS: Final = 5.0
"""Where they do, whether there is room again is looked at so often: others may have ordered less than they meant to."""
LOOK_SECONDS: Final = 60.0
"""Whether it is tomorrow is looked at so often at least: a computer that slept has not counted the time."""

_INFO: Final = 20


@dataclass(frozen=True, slots=True)
class DailyLimits:
    """What the operator allows for one day; None for any number.

    Attributes:
        videos: ordered.
        seconds: of speech in them, estimated.
    """

    videos: int | None = None
    seconds: float | None = None

    @property
    def is_none(self) -> bool:
        """Nothing is limited."""
        return self.videos is None and self.seconds is None


NO_LIMITS: Final = DailyLimits()


class Desk(Protocol):
    """What the dispatcher does for it."""

    def log(self, level: int, event: str, **fields: Any) -> None:
        """One line."""

    def note(self, key: str, value: Any) -> None:
        """Have a fact written to the ledger."""


class Allowance:
    """Whether one more video may be ordered today.

    Attributes:
        limited: why not; None where it may, and as long as it may yet turn out that it may.
        due_at: when it is to be looked at again, on the monotonic clock; None: something has to happen first.

    Args:
        ledger: says what was ordered today.
        desk: what the dispatcher does.
        calendar: the day of a moment.
    """

    def __init__(self, *, ledger: Ledger, desk: Desk, calendar: Callable[[float], Day]) -> None:
        self.limited: Limited | None = None
        self.due_at: float | None = None
        self._ledger = ledger
        self._desk = desk
        self._calendar = calendar
        self._day: Day | None = None
        self._spent: dict[int, float] = {}
        self._seconds = 0.0
        self._leased: frozenset[int] = frozenset()

    def on_changed(self, before: Job, after: Job) -> None:
        """A job has changed: an export was begun, or has come to nothing."""
        if self._day is None or self._ledger.is_shared:
            return
        if after.state is State.EXPORTING:
            self._add(after)
        elif before.state is State.EXPORTING and after.paid is Paid.NO:
            self._seconds -= self._spent.pop(after.id, 0.0)

    def has_room(
        self,
        job: Job,
        line: Callable[[], Sequence[Job]],
        limits: DailyLimits,
        now: Instant,
        exporting: Iterable[Job],
    ) -> bool:
        """Whether the next job may be ordered now; where it may not, the rest waits behind it.

        Args:
            job: the next in line.
            line: gives it and some that follow it.
            limits: as they are now.
            now: both clocks.
            exporting: jobs whose export is in flight: until they are answered nothing is said of a limit.

        Raises:
            LedgerUnavailable: the ledger cannot be used now.
            LedgerLost: another daemon has taken our jobs over.
        """
        if limits.is_none:
            self.due_at = None
            self._day = None
            self._lift()
            return True
        if self._ledger.is_shared:
            return self._has_shared_room(job, line, limits, now, exporting)
        self.due_at = None
        in_flight = list(exporting)
        day = self._today(now, in_flight)
        spent = Spent(len(self._spent), max(0.0, self._seconds))
        length = spoken_seconds_of(job.request) if limits.seconds is not None else 0.0
        if has_room(spent, length, max_videos=limits.videos, max_seconds=limits.seconds):
            self._lift()
            return True
        self.due_at = now.monotonic + min(max(0.0, day.ends_at - now.wall), LOOK_SECONDS)
        if not in_flight:
            self._limit(Limited(day.ends_at, spent.videos, round(spent.seconds, 1), limits.videos, limits.seconds))
        return False

    def _has_shared_room(
        self,
        job: Job,
        line: Callable[[], Sequence[Job]],
        limits: DailyLimits,
        now: Instant,
        exporting: Iterable[Job],
    ) -> bool:
        if job.id in self._leased and self._day is not None and self._day.has(now.wall):
            return True
        if self.due_at is not None and now.monotonic < self.due_at:
            return False
        self._day = day = self._calendar(now.wall)
        in_flight = list(exporting)
        spent = Spent()

        def fit(ordered: Sequence[Job]) -> list[int]:
            nonlocal spent
            latest = day.ends_at + AHEAD_SECONDS
            # Of what we have just begun the ledger may not have heard yet.
            counted = {one.id: one for one in (*ordered, *in_flight) if (one.asked_at or 0.0) < latest}
            seconds = sum(spoken_seconds_of(one.request) for one in counted.values())
            spent = Spent(len(counted), seconds)
            chosen: list[int] = []
            for following in line():
                length = spoken_seconds_of(following.request)
                sofar = Spent(spent.videos + len(chosen), seconds)
                if not has_room(sofar, length, max_videos=limits.videos, max_seconds=limits.seconds):
                    break
                chosen.append(following.id)
                seconds += length
            return [*(one.id for one in in_flight), *chosen]

        self._leased = self._ledger.lease(day.begins_at, fit)
        if job.id in self._leased:
            self.due_at = None
            self._lift()
            return True
        self.due_at = now.monotonic + SHARED_LOOK_SECONDS
        if not in_flight:
            self._limit(Limited(day.ends_at, spent.videos, round(spent.seconds, 1), limits.videos, limits.seconds))
        return False

    def _today(self, now: Instant, in_flight: Iterable[Job]) -> Day:
        if self._day is None or not self._day.has(now.wall):
            day = self._calendar(now.wall)
            ordered = self._ledger.exported_since(day.begins_at)
            self._day, self._spent, self._seconds = day, {}, 0.0
            # A clock that was set back by a day makes no second day; one that once ran far ahead starves nobody.
            latest = day.ends_at + AHEAD_SECONDS
            for job in (*ordered, *(job for job in in_flight if day.has(job.asked_at or 0.0))):
                if (job.asked_at or 0.0) < latest:
                    self._add(job)
        return self._day

    def _add(self, job: Job) -> None:
        self._seconds -= self._spent.get(job.id, 0.0)
        self._spent[job.id] = spoken_seconds_of(job.request)
        self._seconds += self._spent[job.id]

    def _limit(self, limited: Limited) -> None:
        is_news = self.limited is None
        if limited == self.limited:
            return
        self.limited = limited
        self._desk.note(NOTE, limited.note())
        if is_news:
            self._desk.log(
                _INFO, "queue.limited",
                until=datetime.fromtimestamp(limited.until, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                videos=limited.videos, max_videos=limited.max_videos,
                seconds=limited.seconds, max_seconds=limited.max_seconds,
            )  # fmt: skip

    def _lift(self) -> None:
        if self.limited is not None:
            self.limited = None
            self._desk.note(NOTE, None)
            self._desk.log(_INFO, "queue.unlimited")
