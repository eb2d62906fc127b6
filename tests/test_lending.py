"""Downloads that one daemon makes for another: offered, lent, borrowed, and given back; with the real ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.job import Deferred, Downloaded, Exported, ExportStarted, Job, State, Video, advance
from daemon.core.job_file import FileState, JobFile
from daemon.core.report import DownloadEnded
from daemon.core.schedule import Instant
from daemon.edges.ledger import Work
from daemon.lending import AGAIN_SECONDS, NO_LUCK_SECONDS, Lending

if TYPE_CHECKING:
    from team import Team

    from daemon.core.errors import LedgerUnavailable
    from daemon.edges.ledger import Borrowed, Ledger

HEARD = float("-inf")
"""At once."""
VIDEO = Video("videos/x.mp4", 3, "ab" * 32)


def at(seconds: float) -> Instant:
    return Instant(1000.0 + seconds, 1_700_000_000.0 + seconds)


def rendering(ledger: Ledger, name: str = "x.yaml", count: int = 1) -> list[int]:
    """The jobs of a file of this daemon, which are being rendered."""
    wall = at(0).wall
    claim = JobFile(0, name, name, FileState.OPEN, Fingerprint(1, 2, 3, 4, 5), "", b"", (), wall)
    plan = [Job(0, 0, number + 1, Request({"text": "Hello"})) for number in range(count)]
    [(_file, jobs)] = ledger.enter([(claim, plan)])
    for event in (ExportStarted(), Exported("p")):
        work = Work()
        before, jobs = jobs, [advance(job, event, wall) for job in jobs]
        for old, new in zip(before, jobs, strict=True):
            work.change_job(old, new)
        ledger.commit(work)
    return [job.id for job in jobs]


class Desk:
    """A dispatcher that notes what it is told, and writes when the test says so."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.work = Work()
        self.got: list[Borrowed] = []
        self.back: list[Job] = []
        self.made: list[Job] = []
        self.troubles: list[LedgerUnavailable] = []
        self.lending = Lending(ledger=ledger, desk=self)
        self.lending.on_peers(has_peers=True)

    def write(self) -> None:
        self.ledger.commit(self.work)
        self.work = Work()

    def borrowed(self, found: Borrowed, now: Instant) -> None:
        del now
        self.got.append(found)

    def returned(self, job: Job, now: Instant) -> None:
        del now
        self.back.append(job)

    def downloaded(self, job: Job, now: Instant) -> None:
        del now
        self.made.append(job)

    def unavailable(self, error: LedgerUnavailable, now: Instant) -> None:
        del now
        self.troubles.append(error)


@pytest.fixture
def ours(team: Team) -> Desk:
    return Desk(team.join("a"))


@pytest.fixture
def theirs(team: Team) -> Desk:
    return Desk(team.join("b"))


def lent(ours: Desk, theirs: Desk, count: int = 1) -> list[int]:
    """Jobs of ours that the other daemon has borrowed, which we do not know yet."""
    ids = rendering(ours.ledger, count=count)
    ours.lending.offer(ids)
    ours.write()
    theirs.lending.start_due(at(0), room=count)
    assert [found.job.id for found in theirs.got] == ids
    return ids


def test_alone_nothing_is_offered_and_nothing_looked_for(ours: Desk) -> None:
    """With nobody there the database is left in peace."""
    [job_id] = rendering(ours.ledger)
    ours.lending.on_peers(has_peers=False)
    ours.lending.offer([job_id])
    assert ours.work.is_empty
    assert ours.lending.due_at is None
    assert ours.lending.is_still_ours(job_id, at(0))


def test_what_waits_is_offered_once(ours: Desk) -> None:
    """However often it is seen to wait."""
    ids = rendering(ours.ledger, count=2)
    ours.lending.offer(ids[:1])
    ours.lending.offer(ids)
    assert ours.work.offers == ids


def test_an_offer_that_nobody_has_heard_of_is_taken_back_without_a_word(ours: Desk) -> None:
    """It was never written, and may be made again later."""
    [job_id] = rendering(ours.ledger)
    ours.lending.offer([job_id])
    assert ours.lending.is_still_ours(job_id, at(0))
    assert ours.work.is_empty
    ours.lending.offer([job_id])
    assert ours.work.offers == [job_id]


def test_an_offer_that_nobody_took_is_called_back(ours: Desk, theirs: Desk) -> None:
    """And nobody can take it after that."""
    [job_id] = rendering(ours.ledger)
    ours.lending.offer([job_id])
    ours.write()
    assert ours.lending.is_still_ours(job_id, at(0))
    theirs.lending.start_due(at(1), room=1)
    assert theirs.got == []


def test_a_download_is_made_elsewhere_and_comes_back_done(ours: Desk, theirs: Desk) -> None:
    """Whoever has the job file hears of it once, when it looks; who made the video has no more to do with it."""
    [job_id] = lent(ours, theirs)
    assert not ours.lending.is_still_ours(job_id, at(0))
    assert ours.lending.is_lent(job_id)
    ours.lending.start_due(at(0), room=0)
    assert ours.back == []
    assert theirs.lending.on_download_ended(DownloadEnded(job_id, Downloaded(VIDEO)), at(1))
    assert not theirs.lending.has_borrowed(job_id)
    assert [job.state for job in theirs.made] == [State.DONE]
    theirs.write()
    ours.lending.start_due(at(1), room=0)  # it has just looked
    assert ours.back == []
    ours.lending.on_heard({"returns"})
    ours.lending.start_due(at(1), room=0)
    assert [(job.id, job.state, job.video) for job in ours.back] == [(job_id, State.DONE, VIDEO)]
    assert not ours.lending.is_lent(job_id)
    assert ours.lending.due_at == HEARD  # for something to borrow


def test_what_came_back_before_it_was_missed_is_told(ours: Desk, theirs: Desk) -> None:
    """Borrowed, made, and given back, while the owner was busy: no second download."""
    [job_id] = lent(ours, theirs)
    theirs.lending.on_download_ended(DownloadEnded(job_id, Downloaded(VIDEO)), at(1))
    theirs.write()
    assert not ours.lending.is_still_ours(job_id, at(2))
    assert [(job.id, job.state) for job in ours.back] == [(job_id, State.DONE)]
    assert not ours.lending.is_lent(job_id)


def test_a_download_that_failed_elsewhere_goes_back_as_it_was(ours: Desk, theirs: Desk) -> None:
    """And nothing more is borrowed for a while: the way to the videos may be broken there."""
    [job_id] = lent(ours, theirs)
    assert not ours.lending.is_still_ours(job_id, at(0))
    assert not theirs.lending.on_download_ended(DownloadEnded(job_id, Deferred("cut")), at(1))
    assert theirs.made == []
    theirs.write()
    assert theirs.lending.due_at == at(1 + NO_LUCK_SECONDS).monotonic
    ours.lending.on_heard({"returns"})
    ours.lending.start_due(at(2), room=0)
    assert [(job.id, job.state) for job in ours.back] == [(job_id, State.RENDERING)]


def test_nothing_is_borrowed_before_what_goes_back_is_written(ours: Desk, theirs: Desk) -> None:
    """In between it is in nobody's hands: the ledger would give it back at once, and us the same job again."""
    [first] = lent(ours, theirs)
    [second] = rendering(ours.ledger, "y.yaml")
    ours.lending.offer([second])
    ours.write()
    theirs.lending.on_download_ended(DownloadEnded(first, Downloaded(VIDEO)), at(1))
    theirs.lending.start_due(at(1), room=1)
    assert [found.job.id for found in theirs.got] == [first]
    theirs.write()
    theirs.lending.start_due(at(1), room=1)
    assert [found.job.id for found in theirs.got] == [first, second]


def test_without_room_nothing_is_borrowed_and_where_nothing_is_offered_it_waits(ours: Desk, theirs: Desk) -> None:
    """Until it hears of an offer, or some seconds have passed."""
    theirs.lending.start_due(at(0), room=1)
    assert theirs.lending.due_at == at(AGAIN_SECONDS).monotonic
    [job_id] = rendering(ours.ledger)
    ours.lending.offer([job_id])
    ours.write()
    theirs.lending.start_due(at(1), room=1)
    assert theirs.got == []
    theirs.lending.on_heard({"offers"})
    theirs.lending.start_due(at(1), room=0)
    assert theirs.got == []
    theirs.lending.start_due(at(1), room=1)
    assert [found.job.id for found in theirs.got] == [job_id]


def test_what_is_taken_over_is_no_longer_borrowed(ours: Desk, theirs: Desk) -> None:
    """Its download goes on, as one of our own."""
    [job_id] = lent(ours, theirs)
    theirs.lending.keep([job_id])
    assert not theirs.lending.has_borrowed(job_id)


def test_a_job_that_was_lent_before_a_restart_is_asked_for(ours: Desk, theirs: Desk) -> None:
    """And a job file that is filed away takes what is known of its jobs with it."""
    [job_id] = lent(ours, theirs)
    again = Desk(ours.ledger)
    again.lending.lend([job_id])
    assert again.lending.is_lent(job_id)
    assert again.lending.due_at == HEARD
    again.lending.forget([job_id])
    assert not again.lending.is_lent(job_id)


def test_a_ledger_that_is_away_is_told(theirs: Desk, team: Team) -> None:
    """The dispatcher knows what to do then; nothing is borrowed."""
    team.run("ALTER TABLE jobs RENAME TO gone")
    theirs.lending.start_due(at(0), room=1)
    assert len(theirs.troubles) == 1
    assert theirs.got == []
    team.run("ALTER TABLE gone RENAME TO jobs")
