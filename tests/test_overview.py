"""What is going on, as `status` gathers and shows it."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from story import NOW, Story

from daemon import screens
from daemon.core.allowance import Limited
from daemon.core.errors import LedgerRefused, LedgerUnavailable
from daemon.core.estimate import MOST_SAMPLES
from daemon.core.job import Downloaded, Exported, ExportStarted, InDoubt, Progressed, State, Video, advance
from daemon.edges.ledger import Work
from daemon.overview import (
    EXCERPT_CHARACTERS,
    EXPERIENCE_SECONDS,
    MOST_WAITING,
    Overview,
    PastRenders,
    document,
    gather,
)

if TYPE_CHECKING:
    from pathlib import Path

VIDEO = Video("videos/a.mp4", 3, "00")


def _gather(story: Story) -> Overview:
    return gather(story.config, story.paths, story.state, NOW + 65)


def _shown(overview: Overview, *, width: int = 100, height: int | None = None) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False, force_terminal=False)
    console.print(screens.screen(overview, width=width, height=height))
    return stream.getvalue()


def test_before_the_first_run_it_says_so_and_makes_nothing(tmp_path: Path) -> None:
    """Where nothing has run, there is nothing to tell, and looking leaves nothing behind."""
    overview = _gather(Story(tmp_path))
    assert not overview.has_ledger
    assert "has not run here yet" in _shown(overview)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_a_ledger_that_is_being_made(tmp_path: Path) -> None:
    """A daemon that is just making its ledger is not disturbed."""
    story = Story(tmp_path)
    story.state.mkdir()
    (story.state / "ledger.sqlite3").touch()
    assert not _gather(story).has_ledger
    assert (story.state / "ledger.sqlite3").stat().st_size == 0


def test_what_is_no_ledger_is_told_in_words(tmp_path: Path) -> None:
    """A file that SQLite cannot read is an error that names it."""
    story = Story(tmp_path)
    story.state.mkdir()
    (story.state / "ledger.sqlite3").write_bytes(b"no database, for sure" * 100)
    with pytest.raises(LedgerUnavailable, match=r"ledger\.sqlite3"):
        _gather(story)


def test_a_ledger_of_another_release_is_refused(tmp_path: Path) -> None:
    """What another schema means is not guessed."""
    with Story(tmp_path) as story, story.ledger._transaction() as connection:
        connection.exec_driver_sql("UPDATE notes SET value = '\"99\"' WHERE key = 'schema_version'")
    with pytest.raises(LedgerRefused):
        _gather(story)


def test_it_tells_states_progress_and_waiting_drops(tmp_path: Path) -> None:
    """Jobs with their state, percent, and project; drops by their names; the daemon by its lock."""
    with Story(tmp_path) as story:
        _, (one, two, _three) = story.claim("spring/three.yaml", "first", "second", "third")
        rendering = story.advance(one, ExportStarted(), Exported("P1"))
        story.advance(rendering, Progressed(42.0))
        story.advance(two, ExportStarted(), Exported("P2"), Downloaded(VIDEO))
        for name in ("b.yaml", "a.yaml", ".hidden.yaml", "notes.txt"):
            (story.paths.inbox / name).touch()
        (story.paths.inbox / "PAUSE").touch()
        overview = _gather(story)
    assert overview.daemon.is_running
    assert overview.counts == {"queued": 1, "exporting": 0, "rendering": 1, "done": 1, "failed": 0}
    [file] = overview.files
    assert [(job.n, job.state, job.percent, job.project_id, job.text) for job in file.jobs] == [
        (1, State.RENDERING, 42.0, "P1", "first"),
        (2, State.DONE, 100.0, "P2", "second"),
        (3, State.QUEUED, 0.0, None, "third"),
    ]
    assert overview.inbox.names == ("a.yaml", "b.yaml")
    assert overview.inbox.is_paused
    shown = _shown(overview)
    for text in ("is running", "spring/three.yaml", "1 of 3 done", "42 %", "1:05", "a.yaml, b.yaml", "paused"):
        assert text in shown


def test_what_was_filed_away_says_what_became_of_it(tmp_path: Path) -> None:
    """A failed file says how many videos failed and how many of these may have been paid."""
    with Story(tmp_path) as story:
        job_file, (one, two) = story.claim("x.yaml", "first", "second")
        jobs = [
            story.advance(one, ExportStarted(), Exported("P1"), Downloaded(VIDEO)),
            story.advance(two, ExportStarted(), InDoubt("no answer came")),
        ]
        story.file_away(job_file, jobs)
    overview = _gather(story)
    assert not overview.daemon.is_running
    [filed] = overview.filed
    assert (filed.filed_as, filed.videos, filed.failures, filed.in_doubt) == ("failed/x.yaml", 1, 1, 1)
    assert "failed/x.yaml  1 video, 1 failed (1 perhaps paid)" in _shown(overview)


def test_what_became_of_files_is_whole_at_80_columns(tmp_path: Path) -> None:
    """A long name gives way, not the time, and not what was paid."""
    name = f"spring/{'long name ' * 9}.yaml"
    with Story(tmp_path) as story:
        job_file, jobs = story.claim(name, "first", "second", "third", "fourth")
        jobs = [story.advance(job, ExportStarted(), InDoubt("no answer came")) for job in jobs]
        story.file_away(job_file, jobs)
        other, (job,) = story.claim("y.yaml", "first")
        story.file_away(other, [story.advance(job, ExportStarted(), Exported("P1"), Downloaded(VIDEO))])
    overview = _gather(story)
    lines = _shown(overview, width=80).splitlines()
    [long] = [line.rstrip() for line in lines if "spring/" in line]
    assert re.fullmatch(r"  (\S+ )?\d\d:\d\d(:\d\d)? +failed/spring/.*…  0 videos, 4 failed \(4 perhaps paid\)", long)
    assert len(long) <= 80


def test_troubles_are_told_as_past_when_no_daemon_runs(tmp_path: Path) -> None:
    """A note of a daemon that has ended is not news of now."""
    with Story(tmp_path) as story:
        story.ledger.note("account", {"reason": "no credit", "since": NOW})
        story.ledger.note("cloud", "the connection was refused")
        running = _gather(story)
    assert "! account trouble, new orders wait and no job fails: no credit" in _shown(running)
    assert "! when it last ran: the cloud is away" in _shown(_gather(story))
    assert "no credit" in screens.line(running)


def test_nothing_that_others_wrote_steers_the_terminal(tmp_path: Path) -> None:
    """Markup and control characters from file names and texts are shown, not obeyed."""
    with Story(tmp_path) as story:
        _, (job,) = story.claim("[red]n\x1b[2J.yaml", "[bold]hi[/bold] \u202ething")
        story.advance(job, ExportStarted(), Exported("[link]P"))
        (story.paths.inbox / "w\n[blink].yaml").touch()
        overview = _gather(story)
    shown = _shown(overview, width=140)
    assert "[red]n\\x1b[2J.yaml" in shown
    assert "[bold]hi[/bold] \\u202ething" in shown
    assert "[link]P" in shown
    assert "w\\n[blink].yaml" in shown
    assert "\x1b" not in shown + json.dumps(document(overview)) + screens.line(overview)


@pytest.mark.parametrize("height", [8, 24])
@pytest.mark.parametrize("width", [30, 80, 200])
def test_the_live_screen_fits_the_terminal(tmp_path: Path, width: int, height: int) -> None:
    """However many jobs there are, the screen is no higher than what it must show, and says what it hides."""
    with Story(tmp_path) as story:
        story.claim("many.yaml", *(f"text {n}" for n in range(60)))
        overview = _gather(story)
    shown = _shown(overview, width=width, height=height)
    assert "more video" in shown
    assert len(shown.splitlines()) <= height


def test_long_lists_are_bounded(tmp_path: Path) -> None:
    """Many drops are counted, some are named; a long text is an excerpt."""
    with Story(tmp_path) as story:
        story.claim("x.yaml", "word " * 200)
        for n in range(3 * MOST_WAITING):
            (story.paths.inbox / f"{n:03}.yaml").touch()
        overview = _gather(story)
    assert overview.inbox.count == 3 * MOST_WAITING
    assert len(overview.inbox.names) == MOST_WAITING
    assert len(overview.files[0].jobs[0].text) == EXCERPT_CHARACTERS


def test_the_document_keeps_its_keys(tmp_path: Path) -> None:
    """Programs rely on these keys (the help of `status` lists them)."""
    with Story(tmp_path) as story:
        job_file, (job,) = story.claim("x.yaml", "first")
        jobs = [story.advance(job, ExportStarted(), Exported("P1"), Downloaded(VIDEO))]
        story.file_away(job_file, jobs)
        story.claim("y.yaml", "second")
        found = document(_gather(story))
    assert list(found) == [
        "at", "root", "state_folder", "has_ledger", "daemon", "troubles", "paused", "inbox", "counts", "file_count",
        "files", "filed", "limited", "experience", "daemons",
    ]  # fmt: skip
    assert list(found["files"][0]) == [
        "file", "claimed_at", "outcome", "problems", "counts", "jobs", "spoken_seconds", "ready_seconds", "host",
    ]  # fmt: skip
    assert list(found["files"][0]["jobs"][0]) == [
        "n", "state", "percent", "project_id", "text", "since", "reason", "paid", "video",
    ]  # fmt: skip
    assert list(found["filed"][0]) == [
        "file", "filed_as", "outcome", "settled_at", "videos", "failures", "in_doubt", "problems",
    ]  # fmt: skip
    assert found["at"] == "2023-11-14T22:14:25.000Z"
    json.dumps(found, allow_nan=False)


def test_what_is_in_work_says_how_long_it_is_and_when_it_is_ready(tmp_path: Path) -> None:
    """The length from the text, the wait from this ledger's past; the document has the same as figures."""
    with Story(tmp_path) as story:
        job_file, (job,) = story.claim("old.yaml", "first")
        done = advance(advance(job, ExportStarted(), NOW - 300), Exported("P1"), NOW - 240)
        done = advance(done, Downloaded(VIDEO), NOW - 60)
        story.ledger.commit(Work(jobs={job.id: (job.state, done)}))
        story.file_away(job_file, [done])
        story.claim("new.yaml", "a sentence of some words, and then some more", "and another")
        story.claim("one.yaml", "a sentence of some words")
        overview = _gather(story)
    assert overview.experience.typical_seconds == 180.0
    several, single = overview.files
    assert several.outlook is not None
    assert several.outlook.ready_seconds == 180.0
    shown = _shown(overview, width=160)
    assert f"0 of 2 done; {several.outlook.english}" in shown
    assert single.outlook is not None
    assert single.outlook.english in shown
    found = document(overview)
    assert found["experience"] == {"renders": 1, "render_seconds": 180.0}
    assert [file["ready_seconds"] for file in found["files"]] == [180.0, 180.0]
    assert found["files"][0]["spoken_seconds"] > found["files"][1]["spoken_seconds"] > 0


def test_before_any_render_the_vendors_word_is_quoted(tmp_path: Path) -> None:
    """As the vendor's, and nothing is promised."""
    with Story(tmp_path) as story:
        story.claim("x.yaml", "first", "second")
        overview = _gather(story)
    assert document(overview)["files"][0]["ready_seconds"] is None
    assert "AI Studios says 1 to 10 minutes a video" in _shown(overview, width=160)


def test_a_daily_limit_is_told_until_the_day_is_over(tmp_path: Path) -> None:
    """With its figures and until when, whether the daemon runs or not; nobody says when the rest is ready."""
    limited = Limited(NOW + 3600, 5, 60.0, 5, None)
    with Story(tmp_path) as story:
        story.claim("x.yaml", "first")
        story.ledger.note("limited", limited.note())
        running = _gather(story)
    assert running.limited == limited
    assert "! the daily limit is reached, the rest waits until " in _shown(running)
    assert "5 of 5 videos ordered today" in screens.line(running)
    assert document(running)["limited"] == {
        "until": "2023-11-14T23:13:20.000Z", "videos": 5, "seconds": 60.0, "max_videos": 5, "max_seconds": None,
    }  # fmt: skip
    assert document(running)["files"][0]["ready_seconds"] is None
    assert _gather(story).limited == limited
    with Story(tmp_path) as story:
        story.ledger.note("limited", Limited(NOW, 5, 60.0, 5, None).note())
        assert _gather(story).limited is None


def test_what_renders_took_is_read_now_and_then(tmp_path: Path) -> None:
    """Whoever watches asks twice a second; the past does not change as fast."""
    past = PastRenders()
    with Story(tmp_path) as story:
        asked = []
        real = story.ledger.latest_renders
        story.ledger.latest_renders = lambda most: asked.append(most) or real(most)  # type: ignore[method-assign, func-returns-value]
        for seconds in (0.0, 1.0, EXPERIENCE_SECONDS - 1, EXPERIENCE_SECONDS, -EXPERIENCE_SECONDS):
            past.experience(story.ledger, NOW + seconds)
    assert asked == [MOST_SAMPLES] * 3
