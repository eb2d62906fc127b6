"""What status.html tells, gathered from a real ledger and a real root."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from story import NOW, Story

from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.job import Downloaded, Exported, ExportStarted, InDoubt, Job, Video, advance
from daemon.core.job_file import FileState, JobFile, Outcome
from daemon.core.messages import Lying
from daemon.core.schedule import Instant
from daemon.core.vitals import STUCK_SECONDS
from daemon.dispatcher import Summary
from daemon.edges.inbox_watch import Pulse
from daemon.edges.ledger import Work
from daemon.overview import MOST_FILES
from daemon.pages import Live
from daemon.status_source import MOST_FAILED, StatusPages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ORDER = Request({"language": "ko", "text": "Hello", "model": "M1", "clothes": "1"})
IDLE = Summary(0, 0, 0, 20, 0, 0, 0, None, None, None, is_paused=False, is_ledger_away=False, is_stopping=False)


class Scene:
    """A root with a past, and the page of it at a moment."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.now = Instant(1000.0, NOW)
        self.pages = StatusPages(story.config, story.paths, story.state, lying=Lying, now=lambda: self.now)

    def turn(self) -> None:
        """The dispatcher makes a turn now."""
        self.pages.live = Live(IDLE, frozenset(), Pulse(is_alive=True), self.now)

    def pass_time(self, seconds: float) -> None:
        """It is later."""
        self.now = Instant(self.now.monotonic + seconds, self.now.wall + seconds)

    def file(self, outcome: Outcome, ages: Mapping[str, float]) -> None:
        """Job files with one job each were filed away so many seconds ago; those that failed lie in failed/."""
        entries = [(job_file(name), [Job(0, 0, 1, ORDER)]) for name in ages]
        work = Work()
        for (entered, [job]), age in zip(self.story.ledger.enter(entries), ages.values(), strict=True):
            at = NOW - age
            begun = advance(job, ExportStarted(), at)
            video = Video(f"videos/{entered.name}.mp4", 3, "00")
            is_failed = outcome is Outcome.FAILED
            ended = InDoubt("no answer") if is_failed else Exported("P1")
            after = advance(begun, ended, at)
            work.jobs[job.id] = (job.state, after if is_failed else advance(after, Downloaded(video), at))
            filed_as = f"{outcome}/{entered.name}"
            closed = replace(entered, state=FileState.CLOSED, outcome=outcome, filed_as=filed_as)
            work.change_file(entered, replace(closed, settled_at=at, closed_at=at))
            if is_failed:
                (self.story.paths.failed / entered.name).touch()
        self.story.ledger.commit(work)


def job_file(name: str) -> JobFile:
    """One that is in work."""
    nobody = Fingerprint(0, 0, 0, 0, 0)
    return JobFile(0, name, name, FileState.OPEN, nobody, digest="", content=b"", problems=(), claimed_at=NOW)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A root where nothing has happened yet."""
    with Story(tmp_path) as story:
        yield Scene(story)


def test_a_served_page_tells_where_the_dispatcher_is_stuck(scene: Scene) -> None:
    """Its last sign is that of the dispatcher, not of who serves the page."""
    scene.turn()
    scene.pass_time(STUCK_SECONDS)
    assert "at work, and the account is well" in scene.pages.elsewhere().decode()
    scene.pass_time(3600)
    served = scene.pages.elsewhere().decode()
    assert "chromadrop hangs" in served
    assert "at work, and the account is well" not in served
    assert 'data-at="2023-11-14T22:13:20Z"' in served
    scene.turn()
    assert "chromadrop hangs" not in scene.pages.elsewhere().decode()


def test_the_page_in_the_root_needs_no_turn_to_be_true(scene: Scene) -> None:
    """The dispatcher itself has it made; while it is idle and nobody else asks, it may rest for longer."""
    scene.turn()
    scene.pass_time(2 * STUCK_SECONDS)
    assert "chromadrop hangs" not in scene.pages.in_root().decode()
    assert "chromadrop hangs" not in scene.pages.last().decode()


@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_failed_stays_on_the_page_however_much_came_later(scene: Scene, outcome: Outcome) -> None:
    """It may have been paid: neither done files push it out, nor failed ones that somebody has seen to."""
    scene.file(Outcome.FAILED, {"doubted.yaml": 7200.0})
    later = {f"{number}.yaml": 3600.0 for number in range(MOST_FILES + 1)}
    scene.file(outcome, later)
    for name in later:
        (scene.story.paths.failed / name).unlink(missing_ok=True)
    page = scene.pages.in_root().decode()
    assert "doubted.yaml" in page
    assert "more, in failed/" not in page


def test_of_more_failed_files_than_are_shown_the_number_is_told(scene: Scene) -> None:
    """The newest are shown."""
    scene.file(Outcome.FAILED, {f"{number}.yaml": 3600.0 - number for number in range(MOST_FAILED + 3)})
    page = scene.pages.in_root().decode()
    assert "and 3 more, in failed/" in page
    assert f">{MOST_FAILED + 2}.yaml<" in page
    assert ">2.yaml<" not in page
