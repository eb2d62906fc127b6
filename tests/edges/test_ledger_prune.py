"""The ledger forgets what is long over, and never what would lead to paying twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.job import (
    Downloaded,
    Event,
    Exported,
    ExportStarted,
    GaveUp,
    InDoubt,
    Job,
    Refused,
    Video,
    advance,
    continue_from,
)
from daemon.core.job_file import FileState, JobFile, Outcome
from daemon.core.problem import Problem
from daemon.edges.ledger import Entry, Ledger, Pruned, Work, schema
from daemon.edges.ledger import ledger as ledger_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_770_000_000.0
OLD = NOW - 91 * 86_400
BEFORE = NOW - 90 * 86_400
ASKED = (ExportStarted(),)
PAID = (*ASKED, Exported("p1"))
DONE = (*PAID, Downloaded(Video("videos/a.mp4", 1, "ab")))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A daemon's ledger, new."""
    found = Ledger(tmp_path)
    yield found
    found.close()


def filed(
    ledger: Ledger, *fates: tuple[Event, ...], name: str = "x.yaml", at: float = OLD, goes_on: Job | None = None
) -> tuple[int, list[Job]]:
    """A job file whose jobs met these fates, filed away."""
    opened = _entered(ledger, name, len(fates), at, goes_on)
    job_file, jobs = opened
    after = []
    for job, events in zip(jobs, fates, strict=True):
        settled = job
        for event in events:
            settled = advance(settled, event, at)
        after.append(settled)
    is_done = bool(fates) and all(
        events[-1:] == DONE[-1:] or job.video for job, events in zip(after, fates, strict=True)
    )
    outcome = Outcome.DONE if is_done else Outcome.FAILED
    folder = "done" if is_done else "failed"
    closed = replace(
        job_file, state=FileState.CLOSED, outcome=outcome, settled_at=at, closed_at=at, filed_as=f"{folder}/{name}"
    )
    changes = {job.id: (job.state, settled) for job, settled in zip(jobs, after, strict=True) if settled is not job}
    entries = [Entry(at, "job.queued", job_file.id, job.id) for job in jobs]
    ledger.commit(Work(jobs=changes, files={job_file.id: (FileState.OPEN, closed)}, entries=entries))
    return job_file.id, after


def _entered(
    ledger: Ledger, name: str, count: int, at: float, goes_on: Job | None, state: FileState = FileState.OPEN
) -> tuple[JobFile, list[Job]]:
    planned = [Job(0, 0, n, Request({"text": f"{name} {n}"})) for n in range(1, count + 1)]
    if goes_on is not None:
        planned[0] = continue_from(replace(planned[0], request=goes_on.request), goes_on, at, may_pay_again=True)
    problems = () if count else (Problem("not valid"),)
    job_file = JobFile(0, name, name, state, Fingerprint(1, 2, 3, 4, 5), "", b"", problems, at)
    return ledger.enter([(job_file, planned)])[0]


def pruned(ledger: Ledger) -> set[int]:
    """The job files that one whole round forgets."""
    before, after_id = _files(ledger), 0
    for _ in range(1000):
        found = ledger.prune(BEFORE, after_id)
        after_id = found.after_id
        if found.is_over:
            return before - _files(ledger)
    raise AssertionError("a round never ended")


def _files(ledger: Ledger) -> set[int]:
    with ledger._transaction() as connection:
        return set(connection.execute(sa.select(schema.files.c.id)).scalars())


def _rows(ledger: Ledger, table: sa.Table) -> int:
    with ledger._transaction() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_what_is_done_and_old_is_forgotten_with_all_that_belongs_to_it(ledger: Ledger) -> None:
    """What is younger stays, and the numbers are not given a second time."""
    old, _ = filed(ledger, DONE, DONE)
    young, _ = filed(ledger, DONE, name="y.yaml", at=NOW)
    assert pruned(ledger) == {old}
    assert (_rows(ledger, schema.jobs), _rows(ledger, schema.entries)) == (1, 1)
    assert ledger.entries(old) == []
    third, _ = filed(ledger, DONE, name="z.yaml", at=NOW)
    assert third > young


@pytest.mark.parametrize(
    ("fate", "is_kept"),
    [
        ((*ASKED, InDoubt("no answer")), True),
        ((*PAID, GaveUp("no end")), True),
        ((*PAID, Refused("the cloud dropped it")), True),
        ((*ASKED, Refused("no")), False),
    ],
)
def test_a_failed_job_that_may_have_been_paid_is_kept_for_ever(
    ledger: Ledger, fate: tuple[Event, ...], *, is_kept: bool
) -> None:
    """Dropped again, by whoever kept the file however long, it is not paid a second time."""
    file_id, _ = filed(ledger, fate)
    assert pruned(ledger) == (set() if is_kept else {file_id})
    assert bool(ledger.earlier("x.yaml", "failed/x.yaml").jobs) is is_kept


def test_the_videos_of_a_file_that_failed_in_part_are_kept(ledger: Ledger) -> None:
    """Its error text promises that they are not paid for again."""
    filed(ledger, DONE, (*ASKED, Refused("no")))
    assert pruned(ledger) == set()


def test_a_file_that_was_not_valid_is_forgotten(ledger: Ledger) -> None:
    """Nothing was ever sent."""
    file_id, _ = filed(ledger)
    assert pruned(ledger) == {file_id}


def test_what_a_later_file_has_gone_on_with_is_forgotten(ledger: Ledger) -> None:
    """The later one has it; that one is old too, and goes with it."""
    first, [doubtful] = filed(ledger, (*ASKED, InDoubt("no answer")))
    second, _ = filed(ledger, DONE, goes_on=doubtful)
    assert pruned(ledger) | pruned(ledger) == {first, second}


def test_what_an_unfinished_file_goes_on_with_is_kept(ledger: Ledger) -> None:
    """Its claim may come to nothing, and then all is as it was before."""
    _, [doubtful] = filed(ledger, (*ASKED, InDoubt("no answer")))
    claim, _ = _entered(ledger, "x.yaml", 1, NOW, doubtful, FileState.CLAIMING)
    assert pruned(ledger) == set()
    ledger.commit(Work(withdrawn=[claim.id]))
    assert pruned(ledger) == set()
    assert [job.id for job in ledger.earlier("x.yaml", "failed/x.yaml").jobs] == [doubtful.id]


def test_that_a_name_was_done_is_known_as_long_as_its_failure_is(ledger: Ledger) -> None:
    """What was made before a file was wholly done is not taken over any more: dropped again it is a new order."""
    filed(ledger, DONE, (*ASKED, Refused("no")))
    older, _ = filed(ledger, DONE)
    last, _ = filed(ledger, DONE)
    assert pruned(ledger) == {older}
    assert last in _files(ledger)
    assert [job.video for job in ledger.earlier("x.yaml", "failed/other.yaml").jobs if job.video] == []


def test_claims_that_came_to_nothing_are_forgotten(ledger: Ledger) -> None:
    """They left a row each."""
    claim, _ = _entered(ledger, "x.yaml", 1, OLD, None, FileState.CLAIMING)
    ledger.commit(Work(withdrawn=[claim.id]))
    assert pruned(ledger) == {claim.id}


def test_a_step_is_small_however_large_a_file_was(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """No poll waits for it; the round goes on where the step before ended."""
    monkeypatch.setattr(ledger_module, "_PRUNED_ROWS", 5)
    monkeypatch.setattr(ledger_module, "_PRUNED_FILES", 2)
    large, _ = filed(ledger, *[DONE] * 12)
    small = [filed(ledger, DONE, name=f"{number}.yaml")[0] for number in range(4)]
    assert ledger.prune(BEFORE, 0) == Pruned(0, 0, is_over=False)
    assert _rows(ledger, schema.entries) == 16 - 5
    assert pruned(ledger) == {large, *small}
    assert (_rows(ledger, schema.jobs), _rows(ledger, schema.entries)) == (0, 0)
