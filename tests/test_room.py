"""Slots of one daemon among several: when it asks for them, and when it lets go; with the real ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from engines import Engine

from daemon.core.schedule import EXPORTS_AT_ONCE, Instant
from daemon.edges.ledger import Work
from daemon.room import AGAIN_SECONDS, CONTENDED_SECONDS, Room

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from team import Team

    from daemon.edges.ledger import Ledger


def at(seconds: float) -> Instant:
    return Instant(1000.0 + seconds, 1_700_000_000.0 + seconds)


@pytest.fixture
def ledger(team: Team) -> Ledger:
    return team.join("a")


@pytest.fixture
def other(team: Team) -> Ledger:
    return team.join("b")


def settled(ledger: Ledger, room: Room, *, flying: int, waiting: int, most: int, now: Instant) -> bool:
    """What was let go of is written; whether there was something."""
    work = Work()
    room.let_go(work, flying=flying, waiting=waiting, most=most, now=now)
    if work.is_empty:
        return False
    ledger.commit(work)
    return True


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Ledger]:
    with Engine(tmp_path).opened() as found:
        yield found


def test_one_alone_has_all(alone: Ledger) -> None:
    """With SQLite nobody is asked, and nothing is let go of."""
    room = Room(alone)
    assert room.has_room(flying=3, waiting=1, most=4, now=at(0))
    assert not room.has_room(flying=4, waiting=1, most=4, now=at(0))
    assert room.due_at is None
    assert not settled(alone, room, flying=0, waiting=0, most=4, now=at(0))


def test_some_are_taken_at_a_time(ledger: Ledger) -> None:
    """As many as can be used soon; with those in hand the ledger is not asked."""
    room = Room(ledger)
    assert room.has_room(flying=0, waiting=100, most=200, now=at(0))
    assert ledger.slots == EXPORTS_AT_ONCE
    assert room.has_room(flying=EXPORTS_AT_ONCE - 1, waiting=100, most=200, now=at(0))
    assert ledger.slots == EXPORTS_AT_ONCE
    assert room.has_room(flying=EXPORTS_AT_ONCE, waiting=100, most=200, now=at(0))
    assert ledger.slots == 2 * EXPORTS_AT_ONCE


def test_who_gets_none_asks_again_later_or_when_it_hears_of_one(ledger: Ledger, other: Ledger) -> None:
    """Not all the time: nothing is polled in the database more than once in five seconds."""
    other.take_slots(wanted=4, waiting=4, most=4)
    room = Room(ledger)
    assert not room.has_room(flying=0, waiting=2, most=4, now=at(0))
    assert room.due_at == at(AGAIN_SECONDS).monotonic
    other.commit(Work(slots=3, waiting=0))
    assert not room.has_room(flying=0, waiting=2, most=4, now=at(1))
    room.on_heard({"slots"}, "other", at(1))
    assert room.has_room(flying=0, waiting=2, most=4, now=at(1))
    assert not room.has_room(flying=1, waiting=1, most=4, now=at(1))
    other.commit(Work(slots=2, waiting=0))
    assert room.has_room(flying=1, waiting=1, most=4, now=at(1 + AGAIN_SECONDS))


def test_what_is_not_needed_is_let_go(ledger: Ledger) -> None:
    """Once; what is in flight is kept, and what will be soon."""
    room = Room(ledger)
    ledger.take_slots(wanted=9, waiting=9, most=9)
    assert not settled(ledger, room, flying=5, waiting=4, most=9, now=at(0))
    assert settled(ledger, room, flying=5, waiting=1, most=9, now=at(0))
    assert ledger.slots == ledger.members()[0].slots == 6
    assert not settled(ledger, room, flying=5, waiting=1, most=9, now=at(0))
    assert settled(ledger, room, flying=0, waiting=0, most=9, now=at(0))
    assert ledger.members()[0].slots == 0


def test_who_waits_no_more_says_so(ledger: Ledger, other: Ledger) -> None:
    """Or the others would leave room for nobody."""
    other.take_slots(wanted=4, waiting=4, most=4)
    room = Room(ledger)
    room.has_room(flying=0, waiting=2, most=4, now=at(0))
    assert [member.waiting for member in ledger.members() if member.owner == ledger.owner] == [2]
    assert settled(ledger, room, flying=0, waiting=0, most=4, now=at(1))
    assert [member.waiting for member in ledger.members() if member.owner == ledger.owner] == [0]
    assert not settled(ledger, room, flying=0, waiting=0, most=4, now=at(1))


def test_where_another_waits_one_keeps_to_its_part(ledger: Ledger) -> None:
    """What ends is let go of instead of being used again, for as long as somebody has just said that he waits."""
    room = Room(ledger)
    ledger.take_slots(wanted=8, waiting=20, most=8)
    room.on_heard({"waiting"}, "other", at(0))
    assert not settled(ledger, room, flying=8, waiting=20, most=8, now=at(1))
    assert not room.has_room(flying=7, waiting=20, most=8, now=at(2))
    assert settled(ledger, room, flying=7, waiting=20, most=8, now=at(2))
    assert ledger.slots == 7
    assert settled(ledger, room, flying=3, waiting=20, most=8, now=at(3))
    assert ledger.slots == 4
    assert room.has_room(flying=3, waiting=20, most=8, now=at(3))
    assert not room.has_room(flying=4, waiting=20, most=8, now=at(3))
    assert room.due_at == at(CONTENDED_SECONDS).monotonic
    assert room.has_room(flying=4, waiting=20, most=8, now=at(CONTENDED_SECONDS))
    assert ledger.slots == 8


def test_one_render_may_always_be_in_flight(ledger: Ledger) -> None:
    """However many share however little: the ledger decides."""
    room = Room(ledger)
    for number in range(9):
        room.on_heard({"waiting"}, f"other {number}", at(0))
    assert room.has_room(flying=0, waiting=1, most=2, now=at(0))
    assert not room.has_room(flying=1, waiting=1, most=2, now=at(0))
