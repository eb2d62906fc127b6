"""The way to PostgreSQL breaks in the middle of a transaction: what was written is written once, and known at last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from engines import Engine
from postgres import Server, skip_reason, through
from tcp_proxy import Proxy
from team import wait_only
from test_ledger import NOW, STARTED, advanced, claimed, entered, notice, planned, request
from test_ledger_shared import offered

from daemon.core.errors import LedgerLost, LedgerUnavailable
from daemon.core.job import State, advance
from daemon.core.notice import Sink
from daemon.edges.ledger import Entry, Ledger, Taken, Work, postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from team import Team

    from daemon.core.job import Job

Forward = Literal["before", "after"]
COMMIT = rb"COMMIT\x00"
BREAKS = ("before", "after")
"""The commit never reaches the server; or it does, and its answer is lost."""


@pytest.fixture
def proxy(postgres_server: Server) -> Iterator[Proxy]:
    """Between a daemon and the server."""
    with Proxy(postgres_server.host, postgres_server.port) as made:
        yield made


@pytest.fixture
def ledger(team: Team, proxy: Proxy) -> Ledger:
    """A daemon's, over the proxy."""
    return team.join("a", url=through(team.url, proxy.host, proxy.port))


def work_on(job: Job) -> Work:
    """All kinds of things, one of each."""
    work = Work(notices=[notice(1), notice(2, Sink.COMMAND)], notes={"account": "trouble"})
    work.entries.append(Entry(NOW, "job.export_started", job.batch_id, job.id))
    work.change_job(job, advance(job, STARTED, NOW))
    return work


@pytest.mark.parametrize("forward", BREAKS)
def test_work_is_written_once_whatever_was_heard(ledger: Ledger, proxy: Proxy, forward: Forward) -> None:
    """It is unsure then; the same work committed again is there once, with the numbers that its notices got."""
    job_file, [job] = entered(ledger)
    work = work_on(job)
    trap = proxy.kill_on(COMMIT, forward=forward)
    with pytest.raises(LedgerUnavailable):
        ledger.commit(work)
    trap.wait()
    assert work.is_unsure
    numbers = ledger.commit(work)
    assert ledger.pending_notices() == [(numbers[0], Sink.URL), (numbers[1], Sink.COMMAND)]
    assert [entry.event for entry in ledger.entries(job_file.id)] == ["job.export_started"]
    assert ledger.unfinished()[0][1][0].state is State.EXPORTING


@pytest.mark.parametrize("forward", BREAKS)
def test_work_that_breaks_again_and_again_is_written_once(ledger: Ledger, proxy: Proxy, forward: Forward) -> None:
    """Each attempt may have been the one."""
    job_file, [job] = entered(ledger)
    work = work_on(job)
    for _ in range(3):
        trap = proxy.kill_on(COMMIT, forward=forward)
        with pytest.raises(LedgerUnavailable):
            ledger.commit(work)
        trap.wait()
    ledger.commit(work)
    assert len(ledger.pending_notices()) == 2
    assert len(ledger.entries(job_file.id)) == 1


def test_work_that_follows_is_other_work(ledger: Ledger, proxy: Proxy) -> None:
    """The mark of the one is not the other's."""
    job_file, [job] = entered(ledger)
    first = work_on(job)
    proxy.kill_on(COMMIT, forward="after")
    with pytest.raises(LedgerUnavailable):
        ledger.commit(first)
    ledger.commit(first)
    second = Work(entries=[Entry(NOW, "job.exported", job_file.id, job.id)])
    proxy.kill_on(COMMIT, forward="before")
    with pytest.raises(LedgerUnavailable):
        ledger.commit(second)
    ledger.commit(second)
    assert [entry.event for entry in ledger.entries(job_file.id)] == ["job.export_started", "job.exported"]


@pytest.mark.parametrize("forward", BREAKS)
def test_unsure_work_of_who_was_taken_over_is_lost(team: Team, ledger: Ledger, proxy: Proxy, forward: Forward) -> None:
    """Whether it was written does not matter then: the heir has read what there was."""
    _file, [job] = entered(ledger)
    work = work_on(job)
    proxy.kill_on(COMMIT, forward=forward)
    with pytest.raises(LedgerUnavailable):
        ledger.commit(work)
    team.cut(ledger)
    [(_file, [left])] = team.join("b").take_over(ledger.owner).files
    assert left.state is (State.QUEUED if forward == "before" else State.EXPORTING)
    with pytest.raises(LedgerLost):
        ledger.commit(work)


@pytest.mark.parametrize("forward", BREAKS)
def test_claims_are_entered_once_whatever_was_heard(ledger: Ledger, proxy: Proxy, forward: Forward) -> None:
    """What was entered after all is told, with its numbers, once; what was not can be entered again."""
    proxy.kill_on(COMMIT, forward=forward)
    claims = [(claimed(name), planned(request("1"), request("2"))) for name in ("x.yaml", "y.yaml")]
    with pytest.raises(LedgerUnavailable):
        ledger.enter(claims)
    found = ledger.entered_after_all()
    assert ledger.entered_after_all() == []
    if forward == "before":
        assert found == []
        found = ledger.enter(claims)
    assert ledger.enter(claims) == []
    assert found == ledger.unfinished()
    assert [job_file.name for job_file, _jobs in found] == ["x.yaml", "y.yaml"]


def test_what_was_entered_after_all_is_told_when_it_can_be_read(ledger: Ledger, proxy: Proxy) -> None:
    """The question is not forgotten where its own answer is lost."""
    proxy.kill_on(COMMIT, forward="after")
    with pytest.raises(LedgerUnavailable):
        ledger.enter([(claimed(), planned())])
    proxy.kill_on(rb"SELECT notes")
    with pytest.raises(LedgerUnavailable):
        ledger.entered_after_all()
    assert len(ledger.entered_after_all()) == 1


@pytest.mark.parametrize("forward", BREAKS)
def test_what_was_taken_over_is_told_whatever_was_heard(
    team: Team, ledger: Ledger, proxy: Proxy, forward: Forward
) -> None:
    """Asked again, who has taken over says all of it: nobody else would ever go on with those jobs."""
    dead = team.join("dead")
    entered(dead)
    dead.take_slots(wanted=2, waiting=2, most=9)
    dead.commit(Work(notices=[notice()]))
    wanted = dead.ours()
    team.die(dead)
    proxy.kill_on(COMMIT, forward=forward)
    with pytest.raises(LedgerUnavailable):
        ledger.take_over(dead.owner)
    taken = ledger.take_over(dead.owner)
    assert taken.files == wanted.files
    assert (taken.owner, taken.host) == (dead.owner, ledger.members()[0].host)
    assert len(taken.notices) == 1
    assert ledger.slots == 2 == ledger.members()[0].slots
    assert ledger.take_over(dead.owner) == Taken(), "it is told once"


@pytest.mark.parametrize("forward", BREAKS)
def test_slots_that_nobody_told_us_of_are_not_lost(ledger: Ledger, proxy: Proxy, forward: Forward) -> None:
    """The next time that some are taken they are counted; never is more thought to be had than the ledger says."""
    proxy.kill_on(COMMIT, forward=forward)
    with pytest.raises(LedgerUnavailable):
        ledger.take_slots(wanted=3, waiting=3, most=9)
    assert ledger.slots == 0
    assert ledger.take_slots(wanted=9, waiting=9, most=9) == 9


@pytest.mark.parametrize("forward", BREAKS)
def test_a_borrow_that_nobody_told_us_of_goes_back(team: Team, ledger: Ledger, proxy: Proxy, forward: Forward) -> None:
    """With the next one; then it is there for who asks."""
    lender = team.join("b")
    [job] = offered(lender)
    proxy.kill_on(COMMIT, forward=forward)
    with pytest.raises(LedgerUnavailable):
        ledger.borrow(1, ())
    found = ledger.borrow(1, ())
    assert [one.job for one in found] == ([job] if forward == "before" else [])
    assert lender.returned([job.id]) == ([] if forward == "before" else [job])


@pytest.mark.parametrize("forward", BREAKS)
def test_what_is_given_back_is_given_back_once(team: Team, ledger: Ledger, proxy: Proxy, forward: Forward) -> None:
    """And may be lent anew meanwhile: a repetition takes it from nobody."""
    lender, third = team.join("b"), team.join("c")
    [job] = offered(lender)
    ledger.borrow(1, ())
    work = Work(returns=[job.id])
    proxy.kill_on(COMMIT, forward=forward)
    with pytest.raises(LedgerUnavailable):
        ledger.commit(work)
    if forward == "after":
        lender.commit(Work(offers=[job.id]))
        assert [found.job.id for found in third.borrow(1, ())] == [job.id]
    ledger.commit(work)
    assert lender.returned([job.id]) == ([job] if forward == "before" else [])


# --- a server that does not answer ----------------------------------------------------------------


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for long."""
    monkeypatch.setitem(postgres._OUR_SIDE, "connect_timeout", 2)


@pytest.mark.parametrize(
    "ask",
    [
        lambda ledger: ledger.note("root", None),
        lambda ledger: ledger.unfinished(),
        lambda ledger: ledger.take_slots(wanted=1, waiting=1, most=1),
    ],
    ids=["a write", "a look", "slots"],
)
@pytest.mark.usefixtures("hurry")
def test_a_partition_ends_in_an_error(ledger: Ledger, proxy: Proxy, ask: Callable[[Ledger], object]) -> None:
    """The connection stands, nothing comes back: the question fails, and works again when the network does."""
    entered(ledger)
    wait_only(ledger, 0.5)
    proxy.cut()
    with pytest.raises(LedgerUnavailable):
        ask(ledger)
    with pytest.raises(LedgerUnavailable):
        ask(ledger)
    wait_only(ledger, 60.0)
    proxy.heal()
    ask(ledger)


@pytest.mark.skipif(bool(skip_reason()), reason=skip_reason())
@pytest.mark.usefixtures("hurry")
def test_a_frozen_server_ends_in_an_error(tmp_path: Path) -> None:
    """Its kernel goes on accepting and acknowledging, so that no keepalive tells; thawed it is used again."""
    with Server() as server, Engine(tmp_path, server.create_database()).opened() as ledger:
        _file, [job] = entered(ledger)
        wait_only(ledger, 0.5)
        server.freeze()
        with pytest.raises(LedgerUnavailable):
            ledger.commit(work_on(job))
        with pytest.raises(LedgerUnavailable):
            ledger.note("root", None)
        wait_only(ledger, 60.0)
        server.thaw()
        assert advanced(ledger, ledger.unfinished()[0][1][0]) == job


@pytest.mark.skipif(bool(skip_reason()), reason=skip_reason())
def test_a_restarted_server_is_used_again(tmp_path: Path) -> None:
    """After one error; what was committed is there."""
    with Server() as server, Engine(tmp_path, server.create_database()).opened() as ledger:
        _file, [job] = entered(ledger)
        server.restart("immediate")
        with pytest.raises(LedgerUnavailable):
            ledger.note("root", None)
        ledger.commit(work_on(job))
        assert ledger.unfinished()[0][1][0].state is State.EXPORTING
