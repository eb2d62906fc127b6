"""What the ledger tells of its own past: what was ordered since, and what renders took; without reading all of it."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from engines import Engine

from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.job import (
    Deferred,
    Downloaded,
    Event,
    Exported,
    ExportStarted,
    GaveUp,
    InDoubt,
    Job,
    Refused,
    State,
    Video,
    advance,
    continue_from,
)
from daemon.core.job_file import FileState, JobFile
from daemon.edges.ledger import LEDGER_FILE, Ledger, Work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NOON = 1_770_000_000.0
ASKED = ExportStarted()
ACCEPTED = (ASKED, Exported("p1"))
DONE = (*ACCEPTED, Downloaded(Video("videos/a.mp4", 1, "ab")))

_numbers = itertools.count()


@pytest.fixture
def ledger(engine: Engine) -> Iterator[Ledger]:
    """A daemon's ledger, new, on each engine in turn."""
    with engine.opened() as found:
        yield found


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """The same, on SQLite alone."""
    with Engine(tmp_path).opened() as found:
        yield found


def entered(ledger: Ledger, job: Job | None = None) -> Job:
    """A job of a file of its own."""
    job_file = JobFile(
        0, "x.yaml", f"{next(_numbers)}.yaml", FileState.OPEN, Fingerprint(1, 2, 3, 4, 5), "", b"", (), NOON
    )
    planned = job or Job(0, 0, 1, Request({"text": "Hello"}))
    [(_file, [found])] = ledger.enter([(job_file, [planned])])
    return found


def happened(ledger: Ledger, *events: Event, at: float = NOON, apart: float = 0.0, job: Job | None = None) -> Job:
    """A job to which these things happened, one after the other."""
    after = before = job or entered(ledger)
    for number, event in enumerate(events):
        after = advance(after, event, at + apart * number)
    ledger.commit(Work(jobs={before.id: (before.state, after)}))
    return after


def ids(jobs: list[Job]) -> set[int]:
    return {job.id for job in jobs}


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        ((ASKED,), True),
        (ACCEPTED, True),
        ((ASKED, Exported("p1", is_adopted=True)), True),
        (DONE, True),
        ((*ACCEPTED, Refused("no")), True),
        ((*ACCEPTED, GaveUp("no end")), True),
        ((ASKED, InDoubt("no answer")), True),
        ((ASKED, Refused("no")), False),
        ((ASKED, Deferred("503")), False),
        ((), False),
    ],
)
def test_what_was_or_may_have_been_accepted_counts(ledger: Ledger, events: tuple[Event, ...], *, counts: bool) -> None:
    """And nothing that the cloud never took; nor what was asked before."""
    job = happened(ledger, *events)
    assert ids(ledger.exported_since(NOON)) == ({job.id} if counts else set())
    assert ledger.exported_since(NOON + 1) == []


def test_a_job_that_is_continued_counts_once(ledger: Ledger) -> None:
    """Whether it stays in doubt, is done already, or is waited for again: nothing more was ordered."""
    doubtful = happened(ledger, ASKED, InDoubt("no answer"))
    done = happened(ledger, *DONE)
    given_up = happened(ledger, *ACCEPTED, GaveUp("no end"))
    for earlier in (doubtful, done, given_up):
        again = Job(0, 0, 1, earlier.request)
        entered(ledger, continue_from(again, earlier, NOON + 10, may_pay_again=False))
    assert ids(ledger.exported_since(NOON)) == {doubtful.id, done.id, given_up.id}


def test_an_order_that_is_paid_again_counts_again(ledger: Ledger) -> None:
    """By a person's word."""
    doubtful = happened(ledger, ASKED, InDoubt("no answer"))
    again = continue_from(Job(0, 0, 1, doubtful.request), doubtful, NOON, may_pay_again=True)
    second = happened(ledger, *ACCEPTED, at=NOON + 60, job=entered(ledger, again))
    assert ids(ledger.exported_since(NOON)) == {doubtful.id, second.id}


def test_the_latest_renders_are_those_of_ones_own(ledger: Ledger) -> None:
    """Latest first, so many at most; one that was taken up again tells nothing of how long renders take."""
    renders = [happened(ledger, *DONE, at=NOON + number, apart=50.0) for number in range(5)]
    happened(ledger, *ACCEPTED, Refused("no"))
    happened(ledger, *ACCEPTED)
    entered(ledger, continue_from(Job(0, 0, 1, renders[0].request), renders[0], NOON + 999, may_pay_again=False))
    found = ledger.latest_renders(3)
    assert [job.id for job in found] == [job.id for job in reversed(renders[2:])]
    assert {(job.settled_at or 0.0) - (job.exported_at or 0.0) for job in found} == {50.0}
    assert all(job.state is State.DONE for job in found)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda ledger: ledger.exported_since(NOON), "ix_jobs_asked_at (asked_at>?)"),
        (lambda ledger: ledger.latest_renders(200), "ix_jobs_settled_at"),
    ],
)
def test_the_whole_past_is_not_read(sqlite_ledger: Ledger, tmp_path: Path, ask: object, index: str) -> None:
    """SQLite says how it would look for it: by the index, and the past may be a hundred thousand jobs."""
    statements: list[tuple[str, object]] = []
    sa.event.listen(
        sqlite_ledger._engine,
        "before_cursor_execute",
        lambda _c, _cursor, statement, given, *_: statements.append((statement, given)),
    )
    ask(sqlite_ledger)  # type: ignore[operator]
    connection = sqlite3.connect(tmp_path / LEDGER_FILE)
    statement, given = next(one for one in statements if one[0].startswith("SELECT"))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", given)]  # type: ignore[arg-type]
    connection.close()
    assert any(index in step for step in plan), plan
    assert not any(step.startswith("SCAN") and "USING INDEX" not in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_what_was_asked_survives_the_process(ledger: Ledger, engine: Engine) -> None:
    """Another daemon on the same ledger counts the same."""
    job = happened(ledger, *ACCEPTED)
    ledger.close()
    with engine.opened() as other:
        [found] = other.exported_since(NOON)
        assert found == replace(job, batch_id=found.batch_id)


def test_a_start_reads_no_whole_table(tmp_path: Path) -> None:
    """However long the past is: what is asked when a daemon opens its ledger is answered by an index."""
    asked: list[tuple[str, Any]] = []

    def note(_1: object, _2: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    Ledger(tmp_path).close()
    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        ledger = Ledger(tmp_path)
        ledger.ours()
        ledger.close()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    plans = []
    with closing(sqlite3.connect(tmp_path / LEDGER_FILE)) as connection:
        for statement, values in asked:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")) and "jobs" in statement:
                plans += [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert len(plans) > 2
    assert [plan for plan in plans if plan in {"SCAN jobs", "SCAN job_files", "SCAN entries"}] == []
