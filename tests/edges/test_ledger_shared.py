"""One ledger, several daemons: who claims, who takes over, and what they share; on a real PostgreSQL."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from engines import Engine
from postgres import database_of
from test_ledger import (
    IN_DOUBT,
    NOW,
    STARTED,
    VIDEO,
    advanced,
    claimed,
    closed,
    entered,
    failed_file,
    notice,
    planned,
    request,
    told,
)

from daemon.core.errors import LedgerConflict, LedgerLocked, LedgerLost
from daemon.core.job import Downloaded, Exported, Job, State, advance, continue_from
from daemon.core.job_file import FileState, JobFile, Outcome
from daemon.core.notice import Sink
from daemon.edges.ledger import Taken, Work, lifeline
from daemon.edges.ledger.postgres import IDENTITY_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from team import Team

    from daemon.edges.ledger import Ledger


def all_at_once(*deeds: Callable[[], Any]) -> list[Any]:
    """What each returns; all of them begin together, as well as that can be had."""
    with ThreadPoolExecutor(len(deeds)) as pool:
        return [found.result() for found in [pool.submit(deed) for deed in deeds]]


def rendering(ledger: Ledger, name: str = "x.yaml", count: int = 1) -> tuple[JobFile, list[Job]]:
    """A file of ours whose jobs are being rendered."""
    job_file, jobs = entered(ledger, name, *(request(f"{name} {number}") for number in range(count)))
    return job_file, [advanced(ledger, job, STARTED, Exported(f"{name}-{job.id}")) for job in jobs]


def offered(ledger: Ledger, name: str = "x.yaml", count: int = 1) -> list[Job]:
    """Jobs of ours whose downloads anybody may make."""
    _file, jobs = rendering(ledger, name, count)
    ledger.commit(Work(offers=[job.id for job in jobs]))
    return jobs


# --- claims ---------------------------------------------------------------------------------------


def test_of_two_that_claim_one_drop_one_has_it(team: Team) -> None:
    """The row decides; what else the second one claims is entered all the same, in its order."""
    first, second = team.join("a"), team.join("b")
    assert len(first.enter([(claimed("x.yaml"), planned())])) == 1
    found = second.enter([(claimed(name), planned()) for name in ("z.yaml", "x.yaml", "a.yaml")])
    assert [job_file.name for job_file, _jobs in found] == ["z.yaml", "a.yaml"]
    assert {job.batch_id for _file, jobs in found for job in jobs} == {job_file.id for job_file, _jobs in found}


def test_a_name_in_processing_is_nobody_elses(team: Team) -> None:
    """Until the file that has it is filed away: the rename there would overwrite it, or seem to be ours."""
    first, second = team.join("a"), team.join("b")
    job_file, _jobs = entered(first, "x.yaml")
    other = replace(claimed("y.yaml"), processing_name="x.yaml")
    assert second.enter([(other, planned())]) == []
    assert second.processing_names() == {"x.yaml"}
    closed(first, job_file, Outcome.DONE, "done/x.yaml")
    assert len(second.enter([(other, planned())])) == 1


def test_a_file_dropped_again_is_another_one(team: Team) -> None:
    """Once the first of its name was moved, whoever has that one: a row for each file, not for each name."""
    first, second = team.join("a"), team.join("b")
    entered(first, "x.yaml")
    again = replace(claimed("x.yaml"), processing_name="x (2).yaml")
    assert len(second.enter([(again, planned())])) == 1
    assert first.unfinished()[0][0].id != second.unfinished()[0][0].id


def test_a_withdrawn_claim_frees_its_name(team: Team) -> None:
    """For anybody."""
    first, second = team.join("a"), team.join("b")
    [(job_file, _jobs)] = first.enter([(claimed(), planned())])
    assert second.enter([(claimed(), planned())]) == []
    first.commit(Work(withdrawn=[job_file.id]))
    assert len(second.enter([(claimed(), planned())])) == 1


def test_many_that_claim_the_same_drops_share_them(team: Team) -> None:
    """Each in an order of its own, at the same time: nobody waits for ever, each drop has one daemon."""
    ledgers = [team.join(name) for name in "abcd"]
    names = [f"{number}.yaml" for number in range(60)]

    def claim(ledger: Ledger, order: Sequence[str]) -> list[str]:
        found: list[str] = []
        for start in range(0, len(order), 20):
            some = ledger.enter([(claimed(name), planned()) for name in order[start : start + 20]])
            found += [job_file.name for job_file, _jobs in some]
        return found

    orders = [random.Random(seed).sample(names, len(names)) for seed in range(4)]
    found = all_at_once(
        *(lambda one=one, order=order: claim(one, order) for one, order in zip(ledgers, orders, strict=True))
    )
    assert Counter(name for some in found for name in some) == Counter(names)


def test_one_earlier_job_is_continued_by_one_daemon(team: Team) -> None:
    """The other one's claim is not entered at all: it reads again what there is to continue."""
    first, second = team.join("a"), team.join("b")
    [doubtful] = failed_file(first, "x.yaml", [IN_DOUBT])
    job = continue_from(Job(0, 0, 1, doubtful.request), doubtful, NOW, may_pay_again=False)
    assert second.enter([(claimed("x.yaml"), [job])])
    with pytest.raises(LedgerConflict):
        first.enter([(claimed("X.yaml"), [job])])
    assert first.unfinished() == []
    assert first.earlier("x.yaml", "failed/x.yaml").jobs == ()


def test_what_another_is_about_to_continue_is_held(team: Team) -> None:
    """Its claim may yet come to nothing: who reads meanwhile must not take the job for one that nobody has paid."""
    first, second = team.join("a"), team.join("b")
    [doubtful] = failed_file(first, "x.yaml", [IN_DOUBT])
    job = continue_from(Job(0, 0, 1, doubtful.request), doubtful, NOW, may_pay_again=False)
    [(job_file, _jobs)] = second.enter([(claimed("x.yaml"), [job])])
    assert first.earlier("x.yaml", "failed/x.yaml").is_held
    assert not second.earlier("x.yaml", "failed/x.yaml").is_held, "that is our own affair"
    second.commit(Work(withdrawn=[job_file.id]))
    found = first.earlier("x.yaml", "failed/x.yaml")
    assert (found.is_held, [one.id for one in found.jobs]) == (False, [doubtful.id])


def test_exports_in_flight_elsewhere_are_rivals(team: Team) -> None:
    """A project that is found may be theirs."""
    first, second = team.join("a"), team.join("b")
    _file, [job] = entered(first, "x.yaml")
    asked = advanced(first, job, STARTED)
    assert [one.id for one in second.in_doubt_since(NOW - 1)] == [asked.id]


def test_what_is_committed_outlives_the_server_whatever_it_is_set_to(team: Team) -> None:
    """An export leaves after its commit: that one must not be lost in a crash."""
    team.run(f"ALTER DATABASE {database_of(team.url)} SET synchronous_commit = off")
    with team.join("a")._transaction() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_what_others_are_moving_is_known(team: Team) -> None:
    """Names that are being claimed or filed away there; not those that are rendered in peace, and not ours."""
    first, second = team.join("a"), team.join("b")
    first.enter([(claimed("claiming.yaml"), planned())])
    entered(first, "open.yaml")
    settled, _jobs = entered(first, "settled.yaml")
    first.commit(Work(files={settled.id: (FileState.OPEN, replace(settled, outcome=Outcome.DONE))}))
    second.enter([(claimed("ours.yaml"), planned())])
    assert sorted(second.moving_elsewhere()) == ["claiming.yaml", "settled.yaml"]
    assert first.moving_elsewhere() == ["ours.yaml"]


def test_each_has_its_own_notes_and_reads_all(team: Team) -> None:
    """What one says of itself is not another's trouble."""
    first, second = team.join("a"), team.join("b")
    first.note("root", "gone")
    second.note("root", None)
    assert (first.read_note("root"), second.read_note("root")) == ("gone", None)
    assert sorted(first.notes("root"), key=str) == [None, "gone"]
    assert [member.troubles for member in first.members()] == [{"root": "gone"}, {}]


# --- taking over ----------------------------------------------------------------------------------


def test_nothing_is_taken_from_the_living(team: Team) -> None:
    """Nor from somebody whom nobody knows."""
    first, second = team.join("a"), team.join("b")
    entered(first)
    assert second.take_over(first.owner) == Taken()
    assert second.take_over("nobody") == Taken()
    assert len(first.unfinished()) == 1
    assert first.is_ours()


def test_all_that_a_dead_daemon_left_is_taken(team: Team) -> None:
    """Files in each state with their contents and jobs, notices, and room for renders; filed ones stay the past."""
    first, second = team.join("a"), team.join("b")
    first.enter([(claimed("claiming.yaml"), planned())])
    _file, [job] = entered(first, "open.yaml")
    done, _jobs = entered(first, "done.yaml")
    closed(first, done, Outcome.DONE, "done/done.yaml")
    first.take_slots(wanted=3, waiting=3, most=10)
    advanced(first, job, STARTED)
    [number] = told(first, notice())
    wanted = first.unfinished()
    team.die(first)
    taken = second.take_over(first.owner)
    assert list(taken.files) == wanted
    assert taken.files[0][0].content == claimed().content
    assert (taken.lent, taken.notices) == (frozenset(), ((number, Sink.URL),))
    assert (taken.owner, taken.host) == (first.owner, second.members()[0].host)
    assert second.unfinished() == wanted
    assert second.pending_notices() == [(number, Sink.URL)]
    assert second.slots == 3
    assert [(member.is_gone, member.slots, sum(member.counts.values())) for member in second.members()] == [
        (True, 0, 0),
        (False, 3, 2),
    ]
    advanced(second, taken.files[1][1][0], Exported("p1"))


def test_the_second_who_takes_over_gets_nothing(team: Team) -> None:
    """One after the other, and both at once."""
    dead = [team.join(f"dead{number}") for number in range(3)]
    others = team.join("b"), team.join("c")
    for ledger in dead:
        entered(ledger, f"{ledger.owner}.yaml")
    for ledger in dead:
        team.die(ledger)
        found = all_at_once(*(lambda one=one, owner=ledger.owner: one.take_over(owner) for one in others))
        assert sorted(len(taken.files) for taken in found) == [0, 1]
        assert all(one.take_over(ledger.owner) == Taken() for one in others)
    assert sum(len(one.unfinished()) for one in others) == 3


def _commit(ledger: Ledger, job: Job) -> object:
    work = Work(notices=[notice()])
    work.change_job(job, advance(job, STARTED, NOW))
    return ledger.commit(work)


@pytest.mark.parametrize(
    "write",
    [
        _commit,
        lambda ledger, _job: ledger.commit(Work(progress={1: 5.0})),
        lambda ledger, _job: ledger.enter([(claimed("new.yaml"), planned())]),
        lambda ledger, _job: ledger.note("account", "trouble"),
        lambda ledger, _job: ledger.take_slots(wanted=1, waiting=1, most=10),
        lambda ledger, job: ledger.lease(NOW, lambda _jobs: [job.id]),
        lambda ledger, _job: ledger.borrow(5, ()),
        lambda ledger, job: ledger.call_back(job.id),
        lambda ledger, _job: ledger.take_over("nobody"),
    ],
    ids=["commit", "progress", "enter", "note", "slots", "lease", "borrow", "call back", "take over"],
)
def test_who_was_cut_off_and_taken_over_can_change_nothing(team: Team, write: Callable[[Ledger, Job], object]) -> None:
    """Each of its writes says that it has lost, however alive it is: so it can pay for nothing."""
    first, second = team.join("a"), team.join("b")
    _file, [job] = entered(first)
    offered(second, "theirs.yaml")
    team.cut(first)
    assert first.is_ours(), "nobody was there yet"
    second.take_over(first.owner)
    before = Engine(team.state("a"), team.url).everything()
    with pytest.raises(LedgerLost):
        write(first, job)
    assert not first.is_ours()
    assert Engine(team.state("a"), team.url).everything() == before


def test_who_was_cut_off_goes_on_where_nobody_has_taken_over(team: Team) -> None:
    """Its rows are still its own."""
    first = team.join("a")
    team.join("b")
    _file, [job] = entered(first)
    team.cut(first)
    assert advanced(first, job, STARTED).state is State.EXPORTING


def test_what_the_dead_had_borrowed_is_the_lenders_again(team: Team) -> None:
    """Not the heir's: the file it belongs to has an owner that lives."""
    lender, dead, heir = team.join("a"), team.join("b"), team.join("c")
    [job] = offered(lender)
    assert [found.job for found in dead.borrow(4, ())] == [job]
    assert lender.returned([job.id]) == []
    team.die(dead)
    assert heir.take_over(dead.owner).files == ()
    assert lender.returned([job.id]) == [job]


def test_what_the_dead_had_lent_stays_with_who_downloads_it(team: Team) -> None:
    """The heir has the file and waits for it."""
    dead, borrower, heir = team.join("a"), team.join("b"), team.join("c")
    [job, _other] = offered(dead, count=2)
    borrower.borrow(1, ())
    team.die(dead)
    taken = heir.take_over(dead.owner)
    assert taken.lent == {job.id}
    work = Work(returns=[job.id])
    work.change_job(job, done := advance(job, Downloaded(VIDEO), NOW))
    borrower.commit(work)
    assert heir.returned([job.id]) == [done]


def test_what_the_dead_had_offered_is_offered_no_more(team: Team) -> None:
    """Its heir offers it where it finds no room itself."""
    dead, heir, other = team.join("a"), team.join("b"), team.join("c")
    [job] = offered(dead)
    team.die(dead)
    heir.take_over(dead.owner)
    assert other.borrow(4, ()) == []
    heir.commit(Work(offers=[job.id]))
    assert [found.job.id for found in other.borrow(4, ())] == [job.id]


def test_a_daemon_that_comes_back_after_it_was_taken_over_has_nothing(team: Team) -> None:
    """But its place among the others, and new work."""
    first, second = team.join("a"), team.join("b")
    entered(first)
    team.die(first)
    second.take_over(first.owner)
    again = team.join("a")
    assert again.owner == first.owner
    assert (again.unfinished(), again.slots) == ([], 0)
    entered(again, "new.yaml")
    assert [(member.owner, member.is_gone) for member in again.members()] == [
        (first.owner, False),
        (second.owner, False),
    ]


# --- joining --------------------------------------------------------------------------------------


def test_a_daemon_that_comes_back_before_it_was_taken_over_goes_on(team: Team) -> None:
    """With what it had, room for what is in flight, and without what it had borrowed or offered."""
    first, other = team.join("a"), team.join("b")
    [lent] = offered(other, "theirs.yaml")
    [mine] = offered(first, "mine.yaml")
    first.take_slots(wanted=9, waiting=9, most=20)
    first.borrow(4, ())
    team.die(first)
    again = team.join("a")
    assert [jobs for _file, jobs in again.unfinished()] == [[mine]]
    assert again.slots == 1, "what it has room for it asks for again"
    assert again.ours().lent == frozenset()
    assert other.returned([lent.id]) == [lent]
    assert other.borrow(4, ()) == []


def test_a_copied_state_folder_is_refused_while_the_first_lives(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two daemons with one identity would export everything twice; PostgreSQL knows, whatever the file locks say."""
    monkeypatch.setattr(lifeline, "TAKE_SECONDS", 0.3)
    first = team.join("a")
    shutil.copytree(team.state("a"), team.state("copy"))
    with pytest.raises(LedgerLocked, match="same host name and state folder"):
        team.join("copy")
    _file, [job] = entered(first)
    advanced(first, job, STARTED)
    team.die(first)
    assert len(team.join("copy").unfinished()) == 1, "and goes on with its jobs once it is dead"


def test_a_refused_second_leaves_the_first_as_it_was(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the first one's is given back, nor does its epoch rise."""
    monkeypatch.setattr(lifeline, "TAKE_SECONDS", 0.1)
    first, other = team.join("a"), team.join("b")
    offered(other)
    [found] = first.borrow(1, ())
    shutil.copytree(team.state("a"), team.state("copy"))
    before = Engine(team.state("a"), team.url).everything()
    with pytest.raises(LedgerLocked):
        team.join("copy")
    assert Engine(team.state("a"), team.url).everything() == before
    assert first.is_ours()
    first.commit(Work(returns=[found.job.id]))


def test_many_that_join_at_once_make_one_ledger(team: Team) -> None:
    """The tables are made once, each gets a number of its own."""
    found = all_at_once(*(lambda name=name: team.join(name) for name in "abcd"))
    assert len({ledger.id for ledger in found}) == 1
    assert len({member.owner for member in found[0].members()}) == 4


def test_an_identity_is_made_once_and_is_a_folders_own(team: Team) -> None:
    """Eight hexadecimal digits; it names the rows together with the machine."""
    first, second = team.join("a"), team.join("b")
    kept = (team.state("a") / IDENTITY_FILE).read_text()
    assert first.owner.endswith(f"-{kept.strip()}")
    assert first.owner != second.owner
    team.die(first)
    assert team.join("a").owner == first.owner
    assert (team.state("a") / IDENTITY_FILE).read_text() == kept


def test_a_broken_identity_is_made_anew(team: Team) -> None:
    """As for a new daemon; what the old one had is taken over like a dead one's."""
    first = team.join("a")
    entered(first)
    team.die(first)
    (team.state("a") / IDENTITY_FILE).write_text("nonsense")
    again = team.join("a")
    assert again.owner != first.owner
    assert len(again.take_over(first.owner).files) == 1


@pytest.mark.parametrize(
    ("name", "wanted"), [("studio-1.example", "studio-1.example"), ("a b/ü'", "a-b---"), ("", "unnamed")]
)
def test_a_machines_name_fits_into_names_of_files(
    team: Team, monkeypatch: pytest.MonkeyPatch, name: str, wanted: str
) -> None:
    """Whatever it is called."""
    monkeypatch.setattr("socket.gethostname", lambda: name)
    ledger = team.join("a")
    assert ledger.owner.rpartition("-")[0] == wanted
    assert [member.host for member in ledger.members()] == [wanted]


# --- room for renders -----------------------------------------------------------------------------


def test_slots_are_never_more_than_the_account_allows(team: Team) -> None:
    """Whoever asks, however much, and at the same time; what one lets go of another may have."""
    ledgers = [team.join(name) for name in "abc"]

    def live(ledger: Ledger, seed: int) -> int:
        chance, highest = random.Random(seed), 0
        for _ in range(15):
            if chance.random() < 0.7:
                ledger.take_slots(wanted=chance.randint(0, 6), waiting=chance.randint(0, 9), most=7)
            else:
                ledger.slots = chance.randint(0, ledger.slots)
                ledger.commit(Work(slots=ledger.slots, waiting=0))
            highest = max(highest, sum(member.slots for member in ledger.members()))
        return highest

    assert max(all_at_once(*(lambda one=one, seed=seed: live(one, seed) for seed, one in enumerate(ledgers)))) <= 7
    assert [member.slots for member in ledgers[0].members()] == [ledger.slots for ledger in ledgers]


def test_one_alone_may_have_all_slots(team: Team) -> None:
    """Nobody waits: nothing is held back for anybody."""
    first, _second = team.join("a"), team.join("b")
    assert first.take_slots(wanted=16, waiting=100, most=20) == 16
    assert first.take_slots(wanted=16, waiting=100, most=20) == 20


def test_where_another_waits_each_has_its_part(team: Team) -> None:
    """And no more, though there be some to be had; never none at all."""
    first, second = team.join("a"), team.join("b")
    assert first.take_slots(wanted=4, waiting=50, most=20) == 4
    assert second.take_slots(wanted=16, waiting=50, most=20) == 10
    assert first.take_slots(wanted=16, waiting=50, most=20) == 10
    third = team.join("c")
    assert third.take_slots(wanted=16, waiting=50, most=20) == 0, "they are gone; the others hear that it waits"
    assert first.take_slots(wanted=16, waiting=50, most=20) == 10, "more than its part it keeps until it lets go"
    first.slots = 6
    first.commit(Work(slots=6, waiting=50))
    assert third.take_slots(wanted=16, waiting=50, most=20) == 4
    one = team.join("d").take_slots(wanted=1, waiting=1, most=24)
    assert one == 1


def test_the_dead_keep_their_slots_until_they_are_taken_over(team: Team) -> None:
    """Their renders are still in flight; the heir has them with the slots."""
    first, second = team.join("a"), team.join("b")
    first.take_slots(wanted=5, waiting=5, most=5)
    team.die(first)
    assert second.take_slots(wanted=5, waiting=5, most=5) == 0
    second.take_over(first.owner)
    assert second.slots == 5


def test_a_smaller_account_gives_nothing_until_there_is_room(team: Team) -> None:
    """The operator has lowered the number while as many renders are in flight."""
    first, second = team.join("a"), team.join("b")
    first.take_slots(wanted=10, waiting=10, most=10)
    assert first.take_slots(wanted=2, waiting=2, most=4) == 10
    assert second.take_slots(wanted=2, waiting=2, most=4) == 0


# --- the daily limit ------------------------------------------------------------------------------


def up_to(most: int, line: Sequence[Job], seen: list[int] | None = None) -> Callable[[Sequence[Job]], list[int]]:
    """So many of these with what is ordered already."""

    def fit(ordered: Sequence[Job]) -> list[int]:
        others = {job.id for job in ordered} - {job.id for job in line if job.asked_at is None}
        if seen is not None:
            seen.append(len(others))
        return [job.id for job in line][: max(0, most - len(others))]

    return fit


def test_two_daemons_never_choose_more_than_a_day_allows(team: Team) -> None:
    """What one has chosen counts for the other before it is ordered, and after it was; never twice."""
    first, second = team.join("a"), team.join("b")
    _file, mine = entered(first, "a.yaml", *(request(str(number)) for number in range(4)))
    _file, theirs = entered(second, "b.yaml", *(request(str(number)) for number in range(4)))
    chosen = first.lease(NOW, up_to(5, mine))
    assert chosen == {job.id for job in mine}
    seen: list[int] = []
    assert len(second.lease(NOW, up_to(5, theirs, seen))) == 1
    for job in mine:
        advanced(first, job, STARTED)
    assert len(second.lease(NOW, up_to(5, theirs, seen))) == 1
    assert seen == [4, 4]


def test_two_that_choose_at_once_do_not_choose_the_same_room(team: Team) -> None:
    """One after the other looks at what there is."""
    ledgers = [team.join(name) for name in "abc"]
    lines = [
        entered(one, f"{number}.yaml", *(request(str(n)) for n in range(6)))[1] for number, one in enumerate(ledgers)
    ]
    found = all_at_once(
        *(lambda one=one, line=line: one.lease(NOW, up_to(7, line)) for one, line in zip(ledgers, lines, strict=True))
    )
    assert sum(map(len, found)) == 7


def test_what_was_chosen_and_not_ordered_is_free_again(team: Team) -> None:
    """When its daemon chooses anew, or is taken over."""
    first, second = team.join("a"), team.join("b")
    _file, mine = entered(first, "a.yaml", request("1"), request("2"))
    _file, theirs = entered(second, "b.yaml", request("1"), request("2"))
    first.lease(NOW, up_to(2, mine))
    assert second.lease(NOW, up_to(2, theirs)) == frozenset()
    first.lease(NOW, lambda _ordered: [])
    assert len(second.lease(NOW, up_to(2, theirs))) == 2
    second.lease(NOW, lambda _ordered: [])
    first.lease(NOW, up_to(2, mine))
    team.die(first)
    second.take_over(first.owner)
    assert len(second.lease(NOW, up_to(2, theirs))) == 2


# --- downloads of others --------------------------------------------------------------------------


def test_what_is_offered_is_borrowed_by_one(team: Team) -> None:
    """With its file, without the content, and how many jobs that has; never one's own."""
    lender, first, second = team.join("a"), team.join("b"), team.join("c")
    jobs = offered(lender, count=3)
    assert lender.borrow(9, ()) == []
    [one] = first.borrow(1, ())
    assert (one.job, one.job_count) == (jobs[0], 3)
    assert one.job_file == replace(lender.unfinished()[0][0], content=b"")
    assert [found.job for found in second.borrow(9, ())] == jobs[1:]
    assert first.borrow(9, [one.job.id]) == []


def test_two_that_borrow_at_once_share(team: Team) -> None:
    """Neither waits for the other, and nothing is borrowed twice."""
    lender, *others = (team.join(name) for name in "abc")
    jobs = offered(lender, count=20)

    def borrow(ledger: Ledger) -> list[int]:
        found: list[int] = []
        while some := ledger.borrow(2, found):
            found += [one.job.id for one in some]
        return found

    found = all_at_once(*(lambda one=one: borrow(one) for one in others))
    assert sorted(found[0] + found[1]) == [job.id for job in jobs]


def test_what_was_borrowed_comes_back_done_or_as_it_was(team: Team) -> None:
    """In the transaction that says how it ended; and then it is nobody's to be borrowed."""
    lender, borrower = team.join("a"), team.join("b")
    good, bad = offered(lender, count=2)
    borrower.borrow(2, ())
    assert lender.returned([good.id, bad.id]) == []
    work = Work(returns=[good.id, bad.id])
    work.change_job(good, done := advance(good, Downloaded(VIDEO), NOW))
    borrower.commit(work)
    assert lender.returned([good.id, bad.id]) == [done, bad]
    assert borrower.borrow(2, ()) == []
    with pytest.raises(LedgerConflict):
        borrower.commit(Work(jobs={bad.id: (State.RENDERING, done)}))


def test_what_nobody_told_us_of_goes_back(team: Team) -> None:
    """The answer to a borrow was lost: the next one gives back what is not known to be here."""
    lender, borrower = team.join("a"), team.join("b")
    jobs = offered(lender, count=2)
    [known] = borrower.borrow(1, ())
    borrower.borrow(1, [known.job.id])
    assert borrower.borrow(1, [known.job.id]) == []
    assert lender.returned([job.id for job in jobs]) == [jobs[1]]


def test_an_offer_is_called_back_where_nobody_has_it(team: Team) -> None:
    """As it is now; where somebody has it, it is waited for."""
    lender, borrower = team.join("a"), team.join("b")
    lent, kept = offered(lender, count=2)
    borrower.borrow(1, ())
    assert lender.call_back(lent.id) is None
    assert lender.call_back(kept.id) == kept
    assert borrower.borrow(9, [lent.id]) == []
    work = Work(returns=[lent.id])
    work.change_job(lent, done := advance(lent, Downloaded(VIDEO), NOW))
    borrower.commit(work)
    assert lender.call_back(lent.id) == done


def test_only_what_is_rendered_can_be_offered(team: Team) -> None:
    """And only by whom it belongs to."""
    lender, other = team.join("a"), team.join("b")
    _file, [queued] = entered(lender, "queued.yaml")
    _file, [job] = rendering(lender, "rendering.yaml")
    other.commit(Work(offers=[job.id]))
    lender.commit(Work(offers=[queued.id]))
    assert other.borrow(9, ()) == []
