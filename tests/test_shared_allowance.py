"""Daily limits of several daemons: what one has begun counts for all, from the moment on in which it is begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from daemon.allowance import SHARED_LOOK_SECONDS, Allowance, DailyLimits
from daemon.core.allowance import utc_day
from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.estimate import spoken_seconds
from daemon.core.job import Exported, ExportStarted, Job, Refused, advance
from daemon.core.job_file import FileState, JobFile
from daemon.core.schedule import Instant
from daemon.edges.ledger import Ledger, Work

if TYPE_CHECKING:
    from team import Team

WALL = utc_day(1_700_000_000.0).begins_at + 3600.0
SECONDS = spoken_seconds("Hello", "ko")


class Notebook:
    """What people are told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, level: int, event: str, **fields: Any) -> None:
        del level, fields
        self.lines.append(event)

    def note(self, key: str, value: Any) -> None:
        del key, value


class One:
    """A daemon that orders what it has, one job after the other."""

    def __init__(self, ledger: Ledger, name: str, count: int) -> None:
        self.ledger = ledger
        self.desk = Notebook()
        self.allowance = Allowance(ledger=ledger, desk=self.desk, calendar=utc_day)
        claim = JobFile(0, name, name, FileState.OPEN, Fingerprint(1, 2, 3, 4, 5), "", b"", (), WALL)
        body = {"text": "Hello", "language": "ko"}
        [(_file, self.line)] = ledger.enter([(claim, [Job(0, 0, n + 1, Request(body)) for n in range(count)])])
        self.exporting: list[Job] = []

    def has_room(self, limits: DailyLimits, seconds: float = 0.0) -> bool:
        now = Instant(1000.0 + seconds, WALL + seconds)
        return self.allowance.has_room(self.line[0], lambda: self.line, limits, now, self.exporting)

    def begin(self, *, is_written: bool) -> None:
        """The first in line is asked for."""
        job = self.line.pop(0)
        started = advance(job, ExportStarted(), WALL)
        self.allowance.on_changed(job, started)
        self.exporting.append(started)
        if is_written:
            self.write(job, started)

    def write(self, before: Job, after: Job) -> None:
        work = Work()
        work.change_job(before, after)
        self.ledger.commit(work)


@pytest.fixture
def pair(team: Team) -> tuple[One, One]:
    """Two daemons, with four jobs each."""
    return One(team.join("a"), "a.yaml", 4), One(team.join("b"), "b.yaml", 4)


@pytest.mark.parametrize("is_written", [True, False])
@pytest.mark.parametrize("limits", [DailyLimits(videos=3), DailyLimits(seconds=3.5 * SECONDS)])
def test_all_together_begin_no_more_than_the_day_allows(
    pair: tuple[One, One], limits: DailyLimits, *, is_written: bool
) -> None:
    """Whether or not the ledger has heard yet of what was begun in this very turn."""
    begun = 0
    for _ in range(4):
        for one in pair:
            if one.has_room(limits):
                one.begin(is_written=is_written)
                begun += 1
    assert begun == 3


def test_it_is_said_once_nothing_is_in_flight(pair: tuple[One, One]) -> None:
    """Until it is answered it may yet come to nothing."""
    one, other = pair
    limits = DailyLimits(videos=1)
    assert one.has_room(limits)
    one.begin(is_written=True)
    assert not one.has_room(limits)
    assert one.allowance.limited is None
    assert not other.has_room(limits)
    assert other.allowance.limited is not None
    assert other.desk.lines == ["queue.limited"]
    [started] = one.exporting
    one.write(started, exported := advance(started, Exported("p1"), WALL))
    assert exported.project_id
    one.exporting = []
    assert not one.has_room(limits, SHARED_LOOK_SECONDS)
    assert one.allowance.limited is not None


def test_what_came_to_nothing_is_free_for_anybody(pair: tuple[One, One]) -> None:
    """After a while: the others look again, and no more often than that."""
    one, other = pair
    limits = DailyLimits(videos=1)
    one.has_room(limits)
    one.begin(is_written=True)
    assert not other.has_room(limits)
    [started] = one.exporting
    one.write(started, advance(started, Refused("no"), WALL))
    one.exporting = []
    assert not other.has_room(limits, SHARED_LOOK_SECONDS / 2)
    assert other.has_room(limits, SHARED_LOOK_SECONDS)
    assert other.desk.lines == ["queue.limited", "queue.unlimited"]


def test_tomorrow_is_another_day(pair: tuple[One, One]) -> None:
    """What was chosen for one day is not chosen for the next."""
    one, other = pair
    limits = DailyLimits(videos=2)
    assert one.has_room(limits)
    assert other.has_room(limits) is False
    one.begin(is_written=True)
    day = 86_400.0
    assert other.has_room(limits, day)
    assert other.has_room(limits, day)
    assert not one.has_room(limits, day)


def test_without_limits_nobody_asks_the_ledger(pair: tuple[One, One]) -> None:
    """Nor where they were lifted."""
    one, _other = pair
    limits = DailyLimits(videos=0)
    assert not one.has_room(limits)
    assert one.has_room(DailyLimits())
    assert one.desk.lines == ["queue.limited", "queue.unlimited"]
    assert one.allowance.due_at is None
