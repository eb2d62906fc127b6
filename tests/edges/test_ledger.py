"""The ledger, on real SQLite and on a real PostgreSQL; what is SQLite's own stands apart."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from engines import SQLITE, Engine
from sqlalchemy.schema import CreateIndex

from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.errors import LedgerConflict, LedgerLocked, LedgerRefused, LedgerUnavailable
from daemon.core.job import (
    Downloaded,
    Event,
    Exported,
    ExportStarted,
    Failure,
    GaveUp,
    InDoubt,
    Job,
    Refused,
    State,
    Video,
    advance,
    continue_from,
)
from daemon.core.job_file import FileState, JobFile, Leftover, Outcome
from daemon.core.notice import Kind, Notice, Sink
from daemon.core.problem import Problem
from daemon.edges import ledger as ledger_module
from daemon.edges.ledger import LEDGER_FILE, Entry, Ledger, Work, exists, is_daemon_alive, schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NOW = 1_770_000_000.0
ODD_NAMES = (
    "a\nb/x.yaml",
    os.fsdecode(b"\xff\xfe.yaml"),
    "-rf.yaml",
    "größe.yaml",
    "\x1b[31m.yaml",
    "n" * 250 + ".yaml",
)
STARTED = ExportStarted()
ACCEPTED = (STARTED, Exported("p1"))
VIDEO = Video("videos/hello.mp4", 12, "ab" * 32)


@pytest.fixture
def ledger(engine: Engine) -> Iterator[Ledger]:
    """A daemon's ledger, new, on each engine in turn."""
    with engine.opened() as found:
        yield found


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The same, on SQLite alone."""
    with opened(tmp_path) as found:
        yield found


@contextmanager
def opened(folder: Path, **how: Any) -> Iterator[Ledger]:
    """A ledger that is closed again."""
    found = Ledger(folder, **how)
    try:
        yield found
    finally:
        found.close()


def set_schema(ledger: Ledger, version: str) -> None:
    """As another release would have left it."""
    with ledger._transaction() as connection:
        connection.execute(
            sa.text("UPDATE notes SET value = :value WHERE key = 'schema_version'"), {"value": f'"{version}"'}
        )


def request(text: str = "Hello", **how: Any) -> Request:
    return Request({"language": "en", "text": text, "model": "ysy", "clothes": "1"}, **how)


def claimed(name: str = "x.yaml", **how: Any) -> JobFile:
    """A job file as it is claimed."""
    return JobFile(
        id=0,
        name=name,
        processing_name=name,
        state=FileState.CLAIMING,
        fingerprint=Fingerprint(1, 2**63, 3, 4, 5),
        digest="ab",
        content=b"text: Hello\n",
        problems=(),
        claimed_at=NOW,
        **how,
    )


def planned(*requests: Request) -> list[Job]:
    return [Job(0, 0, position, one) for position, one in enumerate(requests or (request(),), start=1)]


def entered(ledger: Ledger, name: str = "x.yaml", *requests: Request) -> tuple[JobFile, list[Job]]:
    """A file that lies in processing/."""
    ((job_file, jobs),) = ledger.enter([(claimed(name), planned(*requests))])
    work = Work()
    work.change_file(job_file, replace(job_file, state=FileState.OPEN))
    ledger.commit(work)
    return replace(job_file, state=FileState.OPEN), jobs


def advanced(ledger: Ledger, job: Job, *events: Event) -> Job:
    """The job after the events, each of them recorded."""
    for event in events:
        work, after = Work(), advance(job, event, NOW)
        work.change_job(job, after)
        ledger.commit(work)
        job = after
    return job


def closed(ledger: Ledger, job_file: JobFile, outcome: Outcome, filed_as: str) -> JobFile:
    """The file after it was filed away."""
    after = replace(job_file, state=FileState.CLOSED, outcome=outcome, settled_at=NOW, filed_as=filed_as)
    work = Work()
    work.change_file(job_file, after)
    ledger.commit(work)
    return after


def failed_file(
    ledger: Ledger, name: str, endings: Sequence[Sequence[Event]], filed_as: str | None = None
) -> list[Job]:
    """A file in failed/ whose n-th job, with the text ``job n``, went through these events."""
    texts = [request(f"job {number}") for number in range(1, len(endings) + 1)]
    job_file, jobs = entered(ledger, name, *texts)
    settled = [advanced(ledger, job, *events) for job, events in zip(jobs, endings, strict=True)]
    closed(ledger, job_file, Outcome.FAILED, filed_as or f"failed/{name}")
    return settled


REFUSED = (STARTED, Refused("bad model"))
IN_DOUBT = (STARTED, InDoubt("no answer"))
DONE = (*ACCEPTED, Downloaded(VIDEO))
GAVE_UP = (*ACCEPTED, GaveUp("no end"))


# --- the database ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_what_is_committed_survives_a_power_cut(sqlite_ledger: Ledger, pragma: str, value: object) -> None:
    """WAL and synchronous=FULL (2), on the very connection that writes (sqlite.org/pragma.html)."""
    with sqlite_ledger._transaction() as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_a_ledger_keeps_its_name(engine: Engine, tmp_path: Path) -> None:
    """The root's marker names it, so it must not change; another ledger has another."""
    with engine.opened() as first:
        name = first.id
    with engine.opened() as again, opened(tmp_path / "b") as other:
        assert again.id == name
        assert other.id != name


def test_a_ledger_of_another_release_is_refused_and_left_alone(engine: Engine) -> None:
    """The operator is told which release to run; not a byte of it changes."""
    with engine.opened() as ledger:
        set_schema(ledger, "99")
        with ledger._transaction() as connection:
            connection.exec_driver_sql("DROP TABLE entries")
    before = engine.everything()
    with pytest.raises(LedgerRefused, match=r"schema 99.*run the release that wrote it"):
        Ledger(engine.folder, url=engine.url)
    with pytest.raises(LedgerRefused):
        Ledger(engine.folder, url=engine.url, is_exclusive=False)
    assert engine.everything() == before
    assert not is_daemon_alive(engine.folder), "a refused ledger does not stay locked"


def test_what_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """And is not overwritten."""
    (tmp_path / LEDGER_FILE).write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerUnavailable, match="file is not a database"):
        Ledger(tmp_path)
    assert (tmp_path / LEDGER_FILE).read_bytes() == b"not a database at all" * 100
    assert not is_daemon_alive(tmp_path)


def test_a_state_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """Here a file stands in its way."""
    (tmp_path / "state").write_text("")
    with pytest.raises(LedgerUnavailable, match="cannot open the ledger in"):
        Ledger(tmp_path / "state")


def test_a_file_system_without_locks_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock nothing keeps a second daemon away."""

    def refuse(_lock: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(LedgerUnavailable, match=os.strerror(errno.ENOLCK)):
        Ledger(tmp_path)
    assert not exists(tmp_path)


def test_the_database_may_lie_elsewhere(tmp_path: Path) -> None:
    """ledger.url names it; the state folder still has the lock."""
    path = tmp_path / "elsewhere.db"
    with opened(tmp_path / "state", path=path):
        assert path.exists()
        assert exists(tmp_path / "state", path)
        assert not exists(tmp_path / "state")


# --- one daemon -----------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from daemon.edges.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), url=sys.argv[2] or None)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_daemon(engine: Engine) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that holds the ledger."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(engine.folder), engine.url or ""],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_daemon_is_locked_out(engine: Engine) -> None:
    """It is told what to do; the lock falls with the process that held it, however that died."""
    with another_daemon(engine) as other:
        assert is_daemon_alive(engine.folder)
        with pytest.raises(LedgerLocked, match="another chromadrop has this state"):
            Ledger(engine.folder, url=engine.url)
        other.kill()
        other.wait()
        assert not is_daemon_alive(engine.folder)
        with engine.opened():
            assert is_daemon_alive(engine.folder)


def test_two_state_folders_cannot_share_one_database(tmp_path: Path) -> None:
    """Both would take up the same jobs."""
    path = tmp_path / "one.db"
    with opened(tmp_path / "a", path=path):
        with pytest.raises(LedgerLocked):
            Ledger(tmp_path / "b", path=path)
        assert not is_daemon_alive(tmp_path / "b")


def test_nobody_is_alive_where_nothing_is(tmp_path: Path) -> None:
    """Asking makes nothing."""
    assert not is_daemon_alive(tmp_path / "nowhere")
    assert not exists(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_asking_whether_a_daemon_lives_does_not_disturb_it(engine: Engine) -> None:
    """Nor does it take the lock from the next one."""
    for _ in range(3):
        with engine.opened():
            assert is_daemon_alive(engine.folder)
        assert not is_daemon_alive(engine.folder)


# --- entering and changing ------------------------------------------------------------------------


def test_a_claim_gets_its_numbers(ledger: Ledger) -> None:
    """In the order of the files, and of the jobs within them."""
    first, second = ledger.enter([(claimed("a.yaml"), planned(request("1"), request("2"))), (claimed("b.yaml"), [])])
    assert [job.position for job in first[1]] == [1, 2]
    assert [job.request.body["text"] for job in first[1]] == ["1", "2"]
    assert {job.batch_id for job in first[1]} == {first[0].id}
    assert second[0].id > first[0].id
    assert second[1] == []


def test_many_jobs_keep_their_order(ledger: Ledger) -> None:
    """More than one statement can carry."""
    requests = [request(f"number {number}") for number in range(2500)]
    entered(ledger, "x.yaml", *requests)
    ((_, jobs),) = ledger.unfinished()
    assert [job.request.body["text"] for job in jobs] == [one.body["text"] for one in requests]
    assert len({job.id for job in jobs}) == 2500


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_bytes(engine: Engine, name: str) -> None:
    """They come back as they went in: newlines, ESC, what is not UTF-8."""
    with engine.opened() as ledger:
        job_file, jobs = entered(ledger, name)
        video = Video(f"videos/{name}.mp4", 1, "")
        advanced(ledger, jobs[0], *ACCEPTED, Downloaded(video))
        ledger.note("seen_root", name)
    with engine.opened() as again:
        ((found, found_jobs),) = again.unfinished()
        assert (found.name, found.processing_name, found_jobs[0].video) == (name, name, video)
        assert again.read_note("seen_root") == name
        closed(again, job_file, Outcome.FAILED, f"failed/{name}")
        assert again.earlier(name, "").files == ((job_file.id, f"failed/{name}"),)
        assert again.earlier("other", f"failed/{name}").files == ((job_file.id, f"failed/{name}"),)
        assert again.latest_closed(1)[0][0].filed_as == f"failed/{name}"


def test_everything_comes_back_after_a_restart(engine: Engine) -> None:
    """Each field of a job file and of a job, lone surrogates in the cloud's words included."""
    odd = Request(
        {"language": "no", "text": "a\nb \N{FIRE}", "model": "m", "clothes": "1", "uppercut": 1.5}, "n/a", True
    )
    problems = (Problem("bad", 3, 4, "jobs[2].model", "x"), Problem("worse"))
    with engine.opened() as ledger:
        claim = replace(
            claimed(), problems=problems, clears=(Leftover(3, os.fsdecode(b"failed/\xff"), is_continued=True),)
        )
        ((job_file, (job, waiting)),) = ledger.enter([(claim, planned(odd, request()))])
        job = advanced(ledger, job, STARTED, InDoubt("words \ud800 of the cloud"))
    with engine.opened() as again:
        assert again.unfinished() == [(job_file, [job, waiting])]
        assert again.content(job_file.id) == claim.content


def test_what_is_filed_away_is_finished(ledger: Ledger) -> None:
    """Its content is dropped, its story is kept."""
    one, _ = entered(ledger, "a.yaml")
    two, jobs = entered(ledger, "b.yaml")
    closed(ledger, one, Outcome.DONE, "done/a.yaml")
    assert [job_file.id for job_file, _ in ledger.unfinished()] == [two.id]
    ((found, _),) = ledger.latest_closed(5)
    assert (found.id, found.content, found.outcome) == (one.id, b"", Outcome.DONE)
    assert ledger.counts() == {"queued": 1, "exporting": 0, "rendering": 0, "done": 0, "failed": 0}
    assert ledger.unfinished()[0][1] == jobs


def test_a_glance_is_bounded(ledger: Ledger) -> None:
    """The oldest files without their content, and of their jobs those that move; all of them are counted."""
    first, (waiting, moving) = entered(ledger, "a.yaml", request("1"), request("2"))
    moving = advanced(ledger, moving, *ACCEPTED)
    second, (late,) = entered(ledger, "b.yaml")
    entered(ledger, "c.yaml")
    glance = ledger.glance(2, 2)
    assert glance.file_count == 3
    assert glance.files == (
        (replace(first, content=b""), (waiting, moving), {"queued": 1, "rendering": 1}),
        (replace(second, content=b""), (), {"queued": 1}),
    )
    assert ledger.glance(2, 1).files[0][1] == (moving,)
    assert ledger.glance(9, 9).files[1][1] == (late,)


def test_what_was_closed_since_is_bounded(ledger: Ledger) -> None:
    """The latest first, without their content; of many jobs the latest files', and all of them are counted."""
    for number in range(4):
        job_file, jobs = entered(ledger, f"{number}.yaml", request("1"), request("2"))
        for job in jobs:
            advanced(ledger, job, *REFUSED)
        work = Work()
        outcome = {"state": FileState.CLOSED, "outcome": Outcome.FAILED, "filed_as": f"failed/{number}.yaml"}
        work.change_file(job_file, replace(job_file, **outcome, settled_at=NOW, closed_at=NOW + number))  # type: ignore[arg-type]
        ledger.commit(work)
    entered(ledger, "open.yaml")
    found = ledger.closed_since(NOW + 1, 2, 3)
    assert [one.job_file.name for one in found] == ["3.yaml", "2.yaml"]
    assert [(len(one.jobs), one.job_count) for one in found] == [(2, 2), (1, 2)]
    assert {one.job_file.content for one in found} == {b""}
    assert {job.state for one in found for job in one.jobs} == {State.FAILED}
    assert len(ledger.closed_since(NOW + 1, 9, 99)) == 3
    assert ledger.closed_since(NOW + 9, 9, 99) == []


def filed(ledger: Ledger, name: str, outcome: Outcome, closed_at: float) -> int:
    """A job file that was filed away; its number."""
    job_file, [job] = entered(ledger, name, request("1"))
    advanced(ledger, job, *REFUSED)
    settled = {"outcome": outcome, "filed_as": f"{outcome}/{name}", "settled_at": NOW, "closed_at": closed_at}
    work = Work()
    work.change_file(job_file, replace(job_file, state=FileState.CLOSED, **settled))  # type: ignore[arg-type]
    ledger.commit(work)
    return job_file.id


def test_what_failed_is_found_however_much_was_done_since(ledger: Ledger) -> None:
    """Done files do not count for its limit; and what was found is had by its number."""
    first = filed(ledger, "first.yaml", Outcome.FAILED, NOW)
    for number in range(3):
        filed(ledger, f"{number}.yaml", Outcome.DONE, NOW + 1 + number)
    last = filed(ledger, "last.yaml", Outcome.FAILED, NOW + 9)
    entered(ledger, "open.yaml")
    assert [one.job_file.id for one in ledger.closed_since(NOW, 2, 9, Outcome.FAILED)] == [last, first]
    assert [one.job_file.name for one in ledger.closed_since(NOW, 2, 9, Outcome.DONE)] == ["2.yaml", "1.yaml"]
    assert ledger.failed_since(NOW, 2) == [(last, "failed/last.yaml"), (first, "failed/first.yaml")]
    assert ledger.failed_since(NOW, 1) == ledger.failed_since(NOW + 1, 9) == [(last, "failed/last.yaml")]
    found = ledger.closed_among([first, last], 1)
    assert [(one.job_file.id, len(one.jobs), one.job_count) for one in found] == [(last, 1, 1), (first, 0, 1)]
    assert ledger.closed_among([], 9) == []


def test_nothing_to_be_written_says_so(ledger: Ledger) -> None:
    """So that an idle daemon writes nothing."""
    assert Work().is_empty
    for work in (Work(notes={"a": None}), Work(progress={1: 0.0}), Work(withdrawn=[1]), Work(entries=[Entry(0, "x")])):
        assert not work.is_empty
    job_file, (job,) = entered(ledger)
    work = Work()
    work.change_job(job, job)
    assert not work.is_empty
    work = Work()
    work.change_file(job_file, job_file)
    assert not work.is_empty


def test_many_changes_of_one_job_are_one_write(ledger: Ledger) -> None:
    """From the state that the ledger has to the last one."""
    _, (job,) = entered(ledger)
    work = Work()
    started = advance(job, STARTED, NOW)
    accepted = advance(started, Exported("p1"), NOW)
    work.change_job(job, started)
    work.change_job(started, accepted)
    ledger.commit(work)
    assert ledger.unfinished()[0][1] == [accepted]


def test_entries_are_kept_in_order(ledger: Ledger) -> None:
    """For one batch, with their fields."""
    told = [Entry(NOW, "batch.claimed", 1, None, {"file": "x"}), Entry(NOW - 5, "job.exported", 1, 2, {"n": 1})]
    ledger.commit(Work(entries=[*told, Entry(NOW, "batch.claimed", 9)]))
    assert ledger.entries(1) == told


def test_notes_are_the_latest_word(ledger: Ledger) -> None:
    """One value for each key, None where nobody said anything."""
    ledger.note("root", "gone")
    ledger.commit(Work(notes={"root": None, "account": {"since": 1.5}}))
    assert ledger.read_note("root") is None
    assert ledger.read_note("account") == {"since": 1.5}
    assert ledger.read_note("never") is None


def test_progress_is_written_for_renders_only(ledger: Ledger) -> None:
    """A late one never touches a job that has settled meanwhile."""
    _, (moving, settled) = entered(ledger, "x.yaml", request("1"), request("2"))
    moving = advanced(ledger, moving, *ACCEPTED)
    settled = advanced(ledger, settled, *GAVE_UP)
    ledger.commit(Work(progress={moving.id: 40.0, settled.id: 50.0, 999: 60.0}))
    assert ledger.unfinished()[0][1] == [replace(moving, progress=40.0), settled]


# --- compare and set ------------------------------------------------------------------------------


def _stale_job(ledger: Ledger) -> Work:
    _, (job,) = entered(ledger, "stale.yaml")
    advanced(ledger, job, STARTED)
    work = Work()
    work.change_job(job, advance(job, STARTED, NOW))
    return work


def _stale_file(ledger: Ledger) -> Work:
    job_file, _ = entered(ledger, "stale.yaml")
    work = Work()
    work.change_file(replace(job_file, state=FileState.CLAIMING), job_file)
    return work


def _unknown_job(ledger: Ledger) -> Work:
    _, (job,) = entered(ledger, "stale.yaml")
    work = Work()
    work.change_job(replace(job, id=10_000), advance(replace(job, id=10_000), STARTED, NOW))
    return work


def _stale_withdrawal(ledger: Ledger) -> Work:
    job_file, _ = entered(ledger, "stale.yaml")
    return Work(withdrawn=[job_file.id])


@pytest.mark.parametrize("stale", [_stale_job, _stale_file, _unknown_job, _stale_withdrawal])
def test_a_conflict_rolls_everything_back(ledger: Ledger, engine: Engine, stale: Any) -> None:
    """One row that is not as we left it, and nothing of the whole transaction is written."""
    work = stale(ledger)
    job_file, (good,) = entered(ledger, "good.yaml")
    work.change_job(good, advance(good, STARTED, NOW))
    work.change_file(job_file, replace(job_file, outcome=Outcome.DONE))
    work.notes["account"] = "trouble"
    work.entries.append(Entry(NOW, "job.exported", 1))
    before = engine.everything()
    with pytest.raises(LedgerConflict):
        ledger.commit(work)
    assert engine.everything() == before
    work.jobs.clear()
    work.change_job(good, advance(good, STARTED, NOW))
    ledger.commit(Work(jobs=work.jobs))


def test_a_daemon_that_lost_its_jobs_can_change_nothing(sqlite_ledger: Ledger, tmp_path: Path) -> None:
    """Every write names the owner, so nothing is paid by one that was cut off."""
    job_file, (job,) = entered(sqlite_ledger)
    sqlite_ledger.owner = "somebody else"
    before = Engine(tmp_path).everything()
    work = Work()
    work.change_job(job, advance(job, STARTED, NOW))
    with pytest.raises(LedgerConflict):
        sqlite_ledger.commit(work)
    work = Work()
    work.change_file(job_file, replace(job_file, outcome=Outcome.DONE))
    with pytest.raises(LedgerConflict):
        sqlite_ledger.commit(work)
    sqlite_ledger.commit(Work(progress={job.id: 1.0}))
    assert Engine(tmp_path).everything() == before
    assert sqlite_ledger.unfinished() == []


# --- what cannot be written -----------------------------------------------------------------------


@contextmanager
def full_disk(ledger: Ledger) -> Iterator[None]:
    """SQLite's own error for a disk without room, whoever runs the tests."""
    _pragma(ledger, "max_page_count=1")
    yield
    _pragma(ledger, "max_page_count=1073741823")


@contextmanager
def read_only(ledger: Ledger) -> Iterator[None]:
    """SQLite's own refusal to write."""
    _pragma(ledger, "query_only=ON")
    yield
    _pragma(ledger, "query_only=OFF")


@contextmanager
def busy(ledger: Ledger) -> Iterator[None]:
    """Another program has begun to write and does not end."""
    _pragma(ledger, "busy_timeout=1")
    database = ledger._engine.url.database
    assert database is not None
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def _pragma(ledger: Ledger, text: str) -> None:
    raw = ledger._engine.raw_connection()
    cursor = raw.cursor()
    cursor.execute(f"PRAGMA {text}")
    cursor.fetchall()
    cursor.close()
    raw.close()


@pytest.mark.parametrize("trouble", [full_disk, read_only, busy])
def test_what_cannot_be_written_is_not_written_at_all(sqlite_ledger: Ledger, tmp_path: Path, trouble: Any) -> None:
    """The same work can be committed once the trouble is over."""
    job_file, (job,) = entered(sqlite_ledger)
    work = Work(entries=[Entry(NOW, "job.export_started", job_file.id, job.id, {"pad": "x" * 100_000})])
    work.change_job(job, advance(job, STARTED, NOW))
    before = Engine(tmp_path).everything()
    claim = replace(claimed("other.yaml"), content=b"x" * 100_000)
    with trouble(sqlite_ledger):
        with pytest.raises(LedgerUnavailable):
            sqlite_ledger.commit(work)
        with pytest.raises(LedgerUnavailable):
            sqlite_ledger.enter([(claim, planned())])
        with pytest.raises(LedgerUnavailable):
            sqlite_ledger.note("root", "x" * 100_000)
        assert Engine(tmp_path).everything() == before
    sqlite_ledger.commit(work)
    assert sqlite_ledger.unfinished()[0][1][0].state is State.EXPORTING
    assert sqlite_ledger.enter([(claim, planned())])


@contextmanager
def read_only_session(ledger: Ledger, _engine: Engine) -> Iterator[None]:
    """PostgreSQL's own refusal to write, as a standby has it."""
    _said(ledger, "SET default_transaction_read_only = on")
    yield
    _said(ledger, "SET default_transaction_read_only = off")


@contextmanager
def locked_tables(ledger: Ledger, engine: Engine) -> Iterator[None]:
    """Another program holds what is to be written, and does not end."""
    _said(ledger, "SET lock_timeout = 20")
    with engine.begun() as other:
        other.execute(sa.text("LOCK TABLE job_files, jobs, notes IN SHARE MODE"))
        yield


@contextmanager
def ended_sessions(_ledger: Ledger, engine: Engine) -> Iterator[None]:
    """The sessions are ended by an administrator, again and again."""
    with engine.begun() as other:
        other.execute(
            sa.text(
                "CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
            )
        )
        for table in ("job_files", "jobs", "notes"):
            other.execute(
                sa.text(
                    f"CREATE TRIGGER ending AFTER INSERT OR UPDATE ON {table} "
                    "FOR EACH STATEMENT EXECUTE FUNCTION end_session()"
                )
            )
        other.commit()
        yield
        other.execute(sa.text("DROP FUNCTION end_session CASCADE"))
        other.commit()


def _said(ledger: Ledger, statement: str) -> None:
    """On the one connection that the ledger has, for as long as it has it."""
    with ledger._engine.begin() as connection:
        connection.execute(sa.text(statement))


@pytest.mark.parametrize("trouble", [read_only_session, locked_tables, ended_sessions])
def test_what_postgresql_does_not_take_is_not_written_at_all(tmp_path: Path, postgres_url: str, trouble: Any) -> None:
    """As with SQLite: nothing of it is there, and the same work can be committed once the trouble is over."""
    engine = Engine(tmp_path, postgres_url)
    with engine.opened() as ledger:
        job_file, (job,) = entered(ledger)
        work = Work(entries=[Entry(NOW, "job.export_started", job_file.id, job.id)])
        work.change_job(job, advance(job, STARTED, NOW))
        before = engine.everything()
        with trouble(ledger, engine):
            with pytest.raises(LedgerUnavailable):
                ledger.commit(work)
            with pytest.raises(LedgerUnavailable):
                ledger.enter([(claimed("other.yaml"), planned())])
            with pytest.raises(LedgerUnavailable):
                ledger.note("root", "gone")
            assert engine.everything() == before
        ledger.commit(work)
        assert ledger.entered_after_all() == []
        assert ledger.unfinished()[0][1][0].state is State.EXPORTING
        assert ledger.enter([(claimed("other.yaml"), planned())])


# --- a file dropped again -------------------------------------------------------------------------


def test_what_failed_can_be_continued(ledger: Ledger) -> None:
    """All of its settled jobs, in their order, with what is known of each."""
    jobs = failed_file(ledger, "x.yaml", [DONE, REFUSED, IN_DOUBT, GAVE_UP])
    earlier = ledger.earlier("x.yaml", "failed/x.yaml")
    assert list(earlier.jobs) == jobs
    assert [path for _, path in earlier.files] == ["failed/x.yaml"]


@pytest.mark.parametrize("name", ["y.yaml", "sub/x.yaml", "X.yaml"])
def test_another_name_continues_nothing(ledger: Ledger, name: str) -> None:
    """The relative name is what makes it the same file."""
    failed_file(ledger, "x.yaml", [REFUSED])
    assert ledger.earlier(name, f"failed/{name}").jobs == ()


def test_a_file_that_is_not_filed_away_yet_is_not_continued(ledger: Ledger) -> None:
    """It is still being worked on."""
    _, (job,) = entered(ledger, "x.yaml", request("job 1"))
    advanced(ledger, job, *IN_DOUBT)
    assert ledger.earlier("x.yaml", "failed/x.yaml").jobs == ()


def test_a_file_that_was_filed_under_another_name_is_known_by_that_one(ledger: Ledger) -> None:
    """People move failed/x (2).yaml as it is called; and the file of that very name comes first."""
    (first,) = failed_file(ledger, "x.yaml", [IN_DOUBT])
    (second,) = failed_file(ledger, "x.yaml", [IN_DOUBT], "failed/x (2).yaml")
    by_number = ledger.earlier("x (2).yaml", "failed/x (2).yaml")
    assert by_number.jobs == (second,)
    assert by_number.files == ((second.batch_id, "failed/x (2).yaml"),)
    by_name = ledger.earlier("x.yaml", "failed/x.yaml")
    assert by_name.jobs == (second, first), "the latest batch first"
    assert by_name.files == ((first.batch_id, "failed/x.yaml"), (second.batch_id, "failed/x (2).yaml"))


def _continue(ledger: Ledger, name: str, earlier: Job, **how: Any) -> tuple[JobFile, Job]:
    job = continue_from(Job(0, 0, 1, earlier.request), earlier, NOW, may_pay_again=False)
    ((job_file, (entered_job,)),) = ledger.enter([(claimed(name, **how), [job])])
    return job_file, entered_job


def test_a_job_is_continued_once(ledger: Ledger, engine: Engine) -> None:
    """A second file that wants the same render gets a conflict, and nothing of it is entered."""
    (doubtful,) = failed_file(ledger, "x.yaml", [IN_DOUBT])
    _, job = _continue(ledger, "x.yaml", doubtful)
    assert job.continues == doubtful.id
    assert ledger.earlier("x.yaml", "failed/x.yaml").jobs == ()
    before = engine.everything()
    with pytest.raises(LedgerConflict):
        _continue(ledger, "X.yaml", doubtful)
    assert engine.everything() == before


def test_two_files_of_one_transaction_cannot_continue_the_same_job(ledger: Ledger, engine: Engine) -> None:
    """Neither is entered; the caller enters them one by one."""
    (doubtful,) = failed_file(ledger, "x.yaml", [IN_DOUBT])
    job = continue_from(Job(0, 0, 1, doubtful.request), doubtful, NOW, may_pay_again=False)
    before = engine.everything()
    with pytest.raises(LedgerConflict):
        ledger.enter([(claimed("x.yaml"), [job]), (claimed("X.yaml"), [job])])
    assert engine.everything() == before


def test_the_chain_goes_on_from_its_end(ledger: Ledger) -> None:
    """Of a job that was continued and failed again only the last one counts."""
    (first,) = failed_file(ledger, "x.yaml", [GAVE_UP])
    job_file, second = _continue(ledger, "x.yaml", first)
    second = advanced(ledger, second, GaveUp("again"))
    closed(ledger, job_file, Outcome.FAILED, "failed/x.yaml")
    assert ledger.earlier("x.yaml", "failed/x.yaml").jobs == (second,)


def test_after_it_was_done_a_file_is_a_new_order(ledger: Ledger) -> None:
    """Old videos are made anew; what may have been paid is never forgotten."""
    jobs = failed_file(ledger, "x.yaml", [DONE, IN_DOUBT, GAVE_UP], "failed/x (2).yaml")
    done_file, (again,) = entered(ledger, "x.yaml", request("something else"))
    advanced(ledger, again, *DONE)
    closed(ledger, done_file, Outcome.DONE, "done/x.yaml")
    assert ledger.earlier("x.yaml", "failed/x.yaml").jobs == tuple(jobs[1:])
    (later,) = failed_file(ledger, "x.yaml", [DONE])
    assert ledger.earlier("x.yaml", "failed/x.yaml").jobs == (later, *jobs[1:])
    assert ledger.earlier("x (2).yaml", "failed/x (2).yaml").jobs == tuple(jobs), "its error text promised it"


def test_a_name_that_was_only_done_continues_nothing(ledger: Ledger) -> None:
    """The same file dropped twice is two orders."""
    job_file, (job,) = entered(ledger)
    advanced(ledger, job, *DONE)
    closed(ledger, job_file, Outcome.DONE, "done/x.yaml")
    assert ledger.earlier("x.yaml", "failed/x.yaml") == ledger_module.Earlier()


def test_a_withdrawn_claim_leaves_nothing_behind(ledger: Ledger) -> None:
    """The earlier jobs are free again; its own are gone; it is never taken up, and clears nothing."""
    (doubtful,) = failed_file(ledger, "x.yaml", [IN_DOUBT])
    job_file, _ = _continue(ledger, "x.yaml", doubtful)
    ledger.commit(Work(withdrawn=[job_file.id], entries=[Entry(NOW, "batch.withdrawn", job_file.id)]))
    assert ledger.unfinished() == []
    assert ledger.earlier("x.yaml", "failed/x.yaml").jobs == (doubtful,)
    assert ledger.counts()["failed"] == 0
    assert [entry.event for entry in ledger.entries(job_file.id)] == ["batch.withdrawn"]
    _continue(ledger, "x.yaml", doubtful)


def test_a_persons_word_to_pay_again_reaches_what_may_have_been_paid(ledger: Ledger) -> None:
    """Only in that file, only what nothing continues yet; how many is told."""
    failed_file(ledger, "x.yaml", [DONE, REFUSED, IN_DOUBT, (*ACCEPTED, Refused("gone")), GAVE_UP])
    failed_file(ledger, "y.yaml", [IN_DOUBT])
    assert ledger.allow_paying_again("failed/x.yaml") == 2
    allowed = {job.failure for job in ledger.earlier("x.yaml", "failed/x.yaml").jobs if job.is_pay_again_allowed}
    assert allowed == {Failure.IN_DOUBT, Failure.REFUSED_AFTER}
    assert not any(job.is_pay_again_allowed for job in ledger.earlier("y.yaml", "failed/y.yaml").jobs)
    assert ledger.allow_paying_again("failed/none.yaml") == 0


def test_the_word_counts_once(ledger: Ledger) -> None:
    """What continues the job does not inherit it."""
    (doubtful,) = failed_file(ledger, "x.yaml", [IN_DOUBT])
    ledger.allow_paying_again("failed/x.yaml")
    job_file, _ = _continue(ledger, "x.yaml", doubtful)
    closed(ledger, job_file, Outcome.FAILED, "failed/x.yaml")
    (again,) = ledger.earlier("x.yaml", "failed/x.yaml").jobs
    assert not again.is_pay_again_allowed
    assert ledger.allow_paying_again("failed/x.yaml") == 1


# --- others who read ------------------------------------------------------------------------------


def test_status_can_read_while_the_daemon_writes(ledger: Ledger, engine: Engine) -> None:
    """In the middle of a transaction it sees the state before it, and never waits."""
    job_file, (job,) = entered(ledger)
    with engine.opened(is_exclusive=False) as reader:
        assert reader.id == ledger.id
        if engine.name == SQLITE:
            _pragma(reader, "busy_timeout=1")
        with ledger._transaction() as connection:
            ledger._change_jobs(connection, [(State.QUEUED, advance(job, STARTED, NOW))])
            assert reader.unfinished()[0][1] == [job]
            assert reader.counts()["queued"] == 1
            with engine.opened(is_exclusive=False) as late:
                assert late.content(job_file.id) == job_file.content
        assert reader.counts()["exporting"] == 1


def test_a_reader_may_write_beside_the_daemon(ledger: Ledger, engine: Engine) -> None:
    """`retry --pay-again` does, and the daemon sees it at once."""
    failed_file(ledger, "x.yaml", [IN_DOUBT])
    with engine.opened(is_exclusive=False) as other:
        assert other.allow_paying_again("failed/x.yaml") == 1
    assert ledger.earlier("x.yaml", "failed/x.yaml").jobs[0].is_pay_again_allowed


def test_a_reader_does_not_make_a_ledger(engine: Engine) -> None:
    """Only a daemon does: with no ledger there is nothing to be read."""
    with pytest.raises(LedgerUnavailable):
        Ledger(engine.folder, url=engine.url, is_exclusive=False)


# --- the outbox -----------------------------------------------------------------------------------


def notice(number: int = 1, sink: Sink = Sink.URL) -> Notice:
    return Notice(0, sink, Kind.FAILED, NOW, {"event": "failed", "n": number, "text": "a\0b\ud800"})


def told(ledger: Ledger, *notices: Notice) -> list[int]:
    return ledger.commit(Work(notices=list(notices)))


def test_a_notice_is_kept_until_it_was_told(engine: Engine) -> None:
    """As it was, whatever is in it, for the next daemon, too; in the order in which it was entered."""
    with engine.opened() as ledger:
        numbers = told(ledger, notice(1), notice(2, Sink.COMMAND)) + told(ledger, notice(3))
    with engine.opened() as ledger:
        assert ledger.pending_notices() == list(zip(numbers, (Sink.URL, Sink.COMMAND, Sink.URL), strict=True))
        for number, wanted in zip(numbers, (notice(1), notice(2, Sink.COMMAND), notice(3)), strict=True):
            assert ledger.notice(number) == replace(wanted, id=number)
        ledger.commit(Work(notices_ended=numbers[:2]))
        assert ledger.pending_notices() == [(numbers[2], Sink.URL)]
        ledger.commit(Work(notices_ended=numbers))
        assert ledger.pending_notices() == []
        assert told(ledger, notice()) > numbers[2:], "no number is given twice"


def test_tries_are_counted_for_good(ledger: Ledger) -> None:
    """Or one that is never taken would begin anew with every start."""
    (number,) = told(ledger, notice())
    ledger.commit(Work(notice_tries={number: 3}))
    assert ledger.notice(number).tries == 3


def test_work_with_a_notice_alone_is_work() -> None:
    """Each of the three."""
    assert Work().is_empty
    for work in (Work(notices=[notice()]), Work(notice_tries={1: 1}), Work(notices_ended=[1])):
        assert not work.is_empty


def test_a_notice_and_what_it_tells_of_are_one_transaction(ledger: Ledger) -> None:
    """Neither is there without the other."""
    job_file, (job,) = entered(ledger)
    work = Work(notices=[notice()])
    work.change_job(replace(job, state=State.RENDERING), replace(job, state=State.DONE))  # not as we left it
    with pytest.raises(LedgerConflict):
        ledger.commit(work)
    assert ledger.pending_notices() == []
    work = Work(notices=[notice()])
    work.change_file(job_file, replace(job_file, outcome=Outcome.FAILED))
    assert len(ledger.commit(work)) == 1
    assert len(ledger.pending_notices()) == 1


def test_another_daemons_notices_are_left_alone(sqlite_ledger: Ledger) -> None:
    """Neither told, nor counted, nor removed."""
    (number,) = told(sqlite_ledger, notice())
    mine, sqlite_ledger.owner = sqlite_ledger.owner, "another"
    assert sqlite_ledger.pending_notices() == []
    sqlite_ledger.commit(Work(notices_ended=[number], notice_tries={number: 5}))
    sqlite_ledger.owner = mine
    assert sqlite_ledger.pending_notices() == [(number, Sink.URL)]
    assert sqlite_ledger.notice(number).tries == 0


def test_postgresqls_indexes_cover_the_same_rows_as_sqlites() -> None:
    """A name in processing/ is taken only as long as its file is in work, whatever the engine."""
    schema.have_partial_indexes_in_postgresql()
    covered = {
        dialect.name: {
            str(index.name): str(CreateIndex(index).compile(dialect=dialect)).partition(" WHERE ")[2]
            for table in schema.metadata.tables.values()
            for index in table.indexes
        }
        for dialect in (sa.make_url(f"{name}://").get_dialect()() for name in ("sqlite", "postgresql+psycopg"))
    }
    assert covered["sqlite"]["processing_names"] == "state IN ('claiming', 'open')"
    assert [name for name, rows in covered["sqlite"].items() if rows and not covered["postgresql"][name]] == []
    assert [name for name, rows in covered["postgresql"].items() if rows and not covered["sqlite"][name]] == []
