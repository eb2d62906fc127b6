"""Which cores the threads run on, asked of the system."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from daemon.edges import cores
from daemon.edges.cores import STAY_SECONDS, Cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALL = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
pytestmark = pytest.mark.skipif(len(ALL) < 2, reason="needs Linux and two cores")


@pytest.fixture(autouse=True)
def _is_put_back() -> Iterator[None]:
    yield
    os.sched_setaffinity(0, ALL)


def where(deed: Callable[[], None]) -> set[int]:
    """The cores of a thread that has done something, and of no other."""
    found: list[set[int]] = []

    def work() -> None:
        deed()
        found.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def test_in_a_crowd_all_who_join_share_the_main_threads_core() -> None:
    """One core, which is one of those that we were given; others stay where they are."""
    place = Cores()
    before = where(lambda: None)
    place.settle(is_crowded=True, now=0.0)
    mine = os.sched_getaffinity(0)
    assert len(mine) == 1
    assert mine < ALL == before
    assert where(place.join) == mine


def test_without_a_crowd_nobody_is_told_where_to_run() -> None:
    """Neither before one, nor after."""
    place = Cores()
    place.settle(is_crowded=False, now=0.0)
    assert where(place.join) == ALL
    place.settle(is_crowded=True, now=1.0)
    place.settle(is_crowded=False, now=2.0)
    assert os.sched_getaffinity(0) == ALL
    assert where(place.join) == ALL


def test_the_system_may_move_the_crowd_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its main thread is let go for a turn, and the others follow to where it was put."""
    first, second, *_ = sorted(ALL)
    monkeypatch.setattr(cores, "_core_of_main_thread", lambda: frozenset({first}))
    place = Cores()
    place.settle(is_crowded=True, now=0.0)
    place.settle(is_crowded=True, now=STAY_SECONDS - 0.1)
    assert os.sched_getaffinity(0) == {first}
    place.settle(is_crowded=True, now=STAY_SECONDS)
    assert os.sched_getaffinity(0) == ALL
    assert where(place.join) == {first}
    monkeypatch.setattr(cores, "_core_of_main_thread", lambda: frozenset({second}))
    place.settle(is_crowded=True, now=STAY_SECONDS + 0.1)
    assert os.sched_getaffinity(0) == {second}
    assert where(place.join) == {second}


def test_the_main_threads_core_is_the_one_that_it_runs_on() -> None:
    """As the system tells it."""
    for core in sorted(ALL):
        os.sched_setaffinity(os.getpid(), {core})
        assert cores._core_of_main_thread() == {core}


def test_who_leaves_the_crowd_may_run_everywhere() -> None:
    """Until it joins again; also who was made by one that had joined."""
    place = Cores()
    place.settle(is_crowded=True, now=0.0)
    shared = os.sched_getaffinity(0)
    found: list[set[int]] = []

    def work() -> None:
        for go in (place.leave, place.join, place.leave):
            go()
            found.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [ALL, shared, ALL]


def test_without_a_crowd_what_others_have_set_stays() -> None:
    """An operator's taskset, before the first crowd and after one, counts; and a crowd stays within it."""
    place = Cores()
    mine = {max(ALL)}
    os.sched_setaffinity(0, mine)
    place.settle(is_crowded=False, now=0.0)
    place.join()
    place.leave()
    assert os.sched_getaffinity(0) == mine
    place.settle(is_crowded=True, now=1.0)
    assert os.sched_getaffinity(0) == mine
    place.settle(is_crowded=False, now=2.0)
    assert os.sched_getaffinity(0) == mine
    os.sched_setaffinity(0, ALL)
    place.settle(is_crowded=False, now=3.0)
    assert os.sched_getaffinity(0) == ALL


def test_where_the_system_refuses_all_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may be forbidden the call, or its core be taken away."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    place = Cores()
    place.settle(is_crowded=True, now=0.0)
    assert where(place.join) == ALL
