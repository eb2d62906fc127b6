"""The session that says that a daemon lives: what the mailbox is told of the others, and of its own end."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import pytest
from patience import PATIENCE_SECONDS
from postgres import Server, skip_reason, through
from tcp_proxy import Proxy
from team import Team, wait_only
from test_ledger import entered, request
from test_ledger_shared import offered

from daemon.core.errors import LedgerUnavailable
from daemon.core.messages import LedgerHeard, LifelineCut, LifelineMended, PeerLost, PeersSeen
from daemon.edges.ledger import Ledger, Work, lifeline, postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Mailbox:
    """What a daemon would be told."""

    def __init__(self, ledger: Ledger) -> None:
        self.told: list[object] = []
        self._new: queue.SimpleQueue[object] = queue.SimpleQueue()
        ledger.listen(self._new.put)

    def until(self, is_it: Callable[[Any], bool]) -> Any:
        """The next message of that kind; those before it are passed over."""
        while True:
            try:
                self.told.append(self._new.get(timeout=PATIENCE_SECONDS))
            except queue.Empty:
                raise AssertionError(f"never told, but {self.told}") from None
            if is_it(self.told[-1]):
                return self.told[-1]

    def until_seen(self, *alive: Ledger) -> PeersSeen:
        """Until just these are said to live beside us."""
        wanted = {ledger.owner for ledger in alive}
        found: PeersSeen = self.until(lambda one: isinstance(one, PeersSeen) and one.alive == wanted)
        return found

    def until_is(self, kind: type) -> Any:
        return self.until(lambda one: isinstance(one, kind))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for long."""
    monkeypatch.setattr(lifeline, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(lifeline, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(lifeline, "AGAIN_SECONDS", 0.05)
    monkeypatch.setitem(postgres._OUR_SIDE, "connect_timeout", 2)


@pytest.fixture
def proxy(postgres_server: Server) -> Iterator[Proxy]:
    """Between a daemon and the server."""
    with Proxy(postgres_server.host, postgres_server.port) as made:
        yield made


def behind(proxy: Proxy, url: str) -> str:
    return through(url, proxy.host, proxy.port)


def test_the_living_are_seen_and_one_of_all_paints(team: Team) -> None:
    """Who was first."""
    first, second, third = team.join("a"), team.join("b"), team.join("c")
    for ledger, others in ((first, (second, third)), (second, (first, third)), (third, (first, second))):
        assert Mailbox(ledger).until_seen(*others).is_painter is (ledger is first)


def test_another_paints_when_the_painter_is_dead(team: Team) -> None:
    """And it alone."""
    first, second = team.join("a"), team.join("b")
    assert Mailbox(first).until_seen(second).is_painter
    box = Mailbox(second)
    assert not box.until_seen(first).is_painter
    team.die(first)
    box.until(lambda one: isinstance(one, PeersSeen) and one.is_painter)


def test_the_dead_are_told_until_they_are_taken_over(team: Team) -> None:
    """After the grace, again and again; whoever has taken over hears of it no more."""
    first, second = team.join("a"), team.join("b")
    box = Mailbox(second)
    box.until_seen(first)
    entered(first)
    team.die(first)
    assert box.until_is(PeerLost) == box.until_is(PeerLost) == PeerLost(first.owner)
    assert len(second.take_over(first.owner).files) == 1
    again = team.join("a")
    box.until_seen(again)


def test_who_has_left_before_we_came_is_told_too(team: Team) -> None:
    """What it has left waits for us."""
    first, second = team.join("a"), team.join("b")
    team.die(first)
    assert Mailbox(second).until_is(PeerLost) == PeerLost(first.owner)


def test_others_are_heard_and_oneself_is_not(team: Team) -> None:
    """Offers, returns, slots, and that somebody waits; once the transaction is committed."""
    first, second = team.join("a"), team.join("b")
    ours, theirs = Mailbox(first), Mailbox(second)
    ours.until_seen(second)
    theirs.until_seen(first)

    def heard() -> frozenset[str]:
        found: LedgerHeard = theirs.until_is(LedgerHeard)
        return found.kinds

    [job] = offered(first)
    assert heard() == {"offers"}
    second.borrow(1, ())
    second.commit(Work(returns=[job.id]))
    assert ours.until_is(LedgerHeard) == LedgerHeard(frozenset({"returns"}), second.owner)
    first.take_slots(wanted=9, waiting=9, most=4)
    assert heard() == {"waiting"}
    first.commit(Work(slots=1, waiting=0))
    assert heard() == {"slots"}
    assert all(
        one == LedgerHeard(frozenset({"returns"}), second.owner) for one in ours.told if isinstance(one, LedgerHeard)
    )


def test_two_ledgers_on_one_server_hear_nothing_of_each_other(
    team: Team, tmp_path: Path, postgres_server: Server
) -> None:
    """Nor do they count each other's locks."""
    first, second = team.join("a"), team.join("b")
    url = postgres_server.create_database()
    with Team(tmp_path / "other", postgres_server, url) as others:
        stranger, neighbour = others.join("a"), others.join("b")
        box = Mailbox(stranger)
        box.until_seen(neighbour)
        offered(second)
        team.die(first)
        neighbour.commit(Work(slots=0, waiting=0))
        assert box.until_is(LedgerHeard).kinds == {"slots"}
        assert not any(isinstance(one, PeerLost) for one in box.told)
    postgres_server.drop_database(url)


def test_a_session_that_was_ended_is_told_and_mended(team: Team) -> None:
    """Cut off at once, and alive again; nothing was taken meanwhile."""
    first = team.join("a")
    box = Mailbox(first)
    box.until_seen()
    for _ in range(3):
        team.cut(first)
        assert box.until_is(LifelineCut).reason
        box.until_is(LifelineMended)
        assert team.is_alive(first)
        assert first.is_ours()
        box.until_seen()


def test_who_is_mended_too_late_finds_its_jobs_taken(team: Team, proxy: Proxy) -> None:
    """It lives again for PostgreSQL, and the ledger says that nothing is its own."""
    first, second = team.join("a", url=behind(proxy, team.url)), team.join("b")
    entered(first)
    box = Mailbox(first)
    box.until_seen(second)
    wait_only(first, 3.0)
    proxy.cut()
    team.cut(first)
    assert len(second.take_over(first.owner).files) == 1
    box.until_is(LifelineCut)
    proxy.heal()
    box.until_is(LifelineMended)
    assert not first.is_ours()


def test_a_broken_connection_is_told_at_once(team: Team, proxy: Proxy) -> None:
    """RST on both sides."""
    first = team.join("a", url=behind(proxy, team.url))
    box = Mailbox(first)
    box.until_seen()
    proxy.drop()
    box.until_is(LifelineCut)
    box.until_is(LifelineMended)


def test_a_partition_is_told_though_the_connection_stands(team: Team, proxy: Proxy) -> None:
    """Nothing comes back, so nobody knows that we live; said once, however long it lasts."""
    first = team.join("a", url=behind(proxy, team.url))
    box = Mailbox(first)
    box.until_seen()
    wait_only(first, 3.0)
    proxy.cut()
    box.until_is(LifelineCut)
    with pytest.raises(LedgerUnavailable):
        first.note("root", None)
    wait_only(first, 60.0)
    proxy.heal()
    box.until_is(LifelineMended)
    assert sum(isinstance(one, LifelineCut) for one in box.told) == 1
    first.note("root", None)


@pytest.mark.skipif(bool(skip_reason()), reason=skip_reason())
@pytest.mark.parametrize("how", ["restart", "kill", "freeze"])
def test_a_server_that_goes_and_comes_back(tmp_path: Path, how: str) -> None:
    """Cut off while it is away or does not answer; then all live again, with what they had."""
    with Server() as server, Team(tmp_path, server, server.create_database()) as team:
        ledgers = [team.join(name) for name in "ab"]
        entered(ledgers[0], "x.yaml", request("1"))
        boxes = [Mailbox(ledger) for ledger in ledgers]
        boxes[0].until_seen(ledgers[1])
        boxes[1].until_seen(ledgers[0])
        if how == "restart":
            server.restart("fast")
        elif how == "kill":
            server.kill()
            server.start()
        else:
            for ledger in ledgers:
                wait_only(ledger, 3.0)
            server.freeze()
            for box in boxes:
                box.until_is(LifelineCut)
            server.thaw()
            for ledger in ledgers:
                wait_only(ledger, 60.0)
        for box, other in zip(boxes, reversed(ledgers), strict=True):
            box.until_is(LifelineMended)
            box.until_seen(other)
        for ledger in ledgers:
            assert _is_ours(ledger)
        assert len(ledgers[0].unfinished()) == 1


def _is_ours(ledger: Ledger) -> bool:
    """At the second try at the latest: the first finds the old connection broken."""
    try:
        return ledger.is_ours()
    except LedgerUnavailable:
        return ledger.is_ours()


def test_a_daemon_that_ends_is_dead_at_once(team: Team) -> None:
    """Its thread ends, its lock is free; closing is for ever, whatever it was just about."""
    first = team.join("a")
    box = Mailbox(first)
    box.until_seen()
    team.die(first)
    assert not any(isinstance(one, LifelineCut) for one in box.told)
    assert team.join("a").is_ours()


def test_one_who_never_listens_is_alive_all_the_same(team: Team) -> None:
    """From the moment it has joined: nobody takes its jobs while it starts."""
    first, second = team.join("a"), team.join("b")
    entered(first)
    Mailbox(second).until_seen(first)
    assert second.take_over(first.owner).owner == ""
