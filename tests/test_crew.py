"""The workers: enough of them, never too many, and none that dies of its work."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from daemon.core.schedule import LOOKERS
from daemon.crew import Crew, Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS = 30.0
"""No test waits so long unless it fails."""


class Mailbox(SimpleQueue[object]):
    """What the workers say."""

    def next(self) -> object:
        return self.get(timeout=PATIENCE_SECONDS)

    def take(self, count: int) -> list[object]:
        return [self.next() for _ in range(count)]


class Gate:
    """Calls that wait until they are let go, and say that they have begun."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[int] = SimpleQueue()
        self._open = threading.Event()

    def call(self, number: int) -> Callable[[], int]:
        def wait() -> int:
            self.begun.put(number)
            assert self._open.wait(PATIENCE_SECONDS)
            return number

        return wait

    def wait_for(self, count: int) -> set[int]:
        return {self.begun.get(timeout=PATIENCE_SECONDS) for _ in range(count)}

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Open at the end, so that no worker is left behind."""
    found = Gate()
    yield found
    found.open()


@pytest.fixture
def pool(mailbox: Mailbox, gate: Gate) -> Iterator[Pool]:
    found = Pool("test", 3, mailbox.put)
    yield found
    gate.open()
    found.close(PATIENCE_SECONDS)
    assert names("test-") == []


def names(beginning: str) -> list[str]:
    """The living workers."""
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(beginning))


def test_looks_made_together_are_heard_of_one_by_one(crew: Crew, mailbox: Mailbox, gate: Gate) -> None:
    """One that has ended does not wait for the others."""

    def look() -> Iterator[int]:
        yield 1
        yield gate.call(2)()

    crew.look_together(look)
    assert mailbox.next() == 1
    gate.open()
    assert mailbox.next() == 2


def test_what_a_call_returns_is_posted(pool: Pool, mailbox: Mailbox) -> None:
    """Each of them, whatever it is."""
    for number in range(50):
        pool.submit(lambda number=number: number)  # type: ignore[misc]  # a default that binds
    assert sorted(mailbox.take(50), key=str) == sorted(range(50), key=str)


def test_no_worker_before_there_is_work(pool: Pool) -> None:
    """A daemon with nothing to do has no threads."""
    assert pool.most == 3
    assert names("test-") == []


def test_it_grows_with_the_work_up_to_its_limit(pool: Pool, mailbox: Mailbox, gate: Gate) -> None:
    """As many at once as it may, the rest afterwards."""
    for number in range(5):
        pool.submit(gate.call(number))
    assert gate.wait_for(3) == {0, 1, 2}
    assert names("test-") == ["test-1", "test-2", "test-3"]
    assert gate.begun.empty()
    gate.open()
    assert set(mailbox.take(5)) == {0, 1, 2, 3, 4}


def test_a_limit_that_was_raised_counts_at_once(pool: Pool, gate: Gate) -> None:
    """SIGHUP."""
    for number in range(3):
        pool.submit(gate.call(number))
    gate.wait_for(3)
    pool.most = 4
    pool.submit(gate.call(3))
    assert gate.wait_for(1) == {3}


def test_workers_are_used_again(pool: Pool, mailbox: Mailbox) -> None:
    """However much work comes in the course of time."""
    for number in range(100):
        pool.submit(lambda number=number: number)  # type: ignore[misc]  # a default that binds
        assert mailbox.next() == number
    assert len(names("test-")) <= 3


def test_one_bad_call_does_not_end_the_work(pool: Pool, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told to whoever hears of exceptions in threads (logs), and the next call is made."""
    told: SimpleQueue[threading.ExceptHookArgs] = SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", told.put)
    pool.most = 1

    def bad() -> object:
        raise LookupError("a bug")

    pool.submit(bad)
    pool.submit(lambda: "good")
    assert mailbox.next() == "good"
    assert told.get(timeout=PATIENCE_SECONDS).exc_type is LookupError


def test_closing_ends_every_worker(mailbox: Mailbox) -> None:
    """And may be said twice, or of a pool that never had one."""
    pool = Pool("closing", 3, mailbox.put)
    pool.close(PATIENCE_SECONDS)
    for number in range(9):
        pool.submit(lambda number=number: number)  # type: ignore[misc]  # a default that binds
    mailbox.take(9)
    pool.close(PATIENCE_SECONDS)
    assert names("closing-") == []
    pool.close(PATIENCE_SECONDS)


def test_closing_starts_nothing_more(mailbox: Mailbox, gate: Gate) -> None:
    """What has begun ends; an export that was only waiting for a worker is never sent."""
    pool = Pool("closing", 1, mailbox.put)
    for number in range(10):
        pool.submit(gate.call(number))
    gate.wait_for(1)
    pool.close(0.0)
    gate.open()
    pool.close(PATIENCE_SECONDS)
    assert mailbox.next() == 0
    assert mailbox.empty()
    assert gate.begun.empty()


def test_a_worker_that_hangs_does_not_hold_the_program(pool: Pool, gate: Gate) -> None:
    """Closing gives up on it; it is a daemon thread, which the end of the program does not wait for."""
    pool.submit(gate.call(1))
    gate.wait_for(1)
    pool.close(0.0)
    (worker,) = (thread for thread in threading.enumerate() if thread.name.startswith("test-"))
    assert worker.daemon


# --- the crew -------------------------------------------------------------------------------------


@pytest.fixture
def crew(mailbox: Mailbox, gate: Gate) -> Iterator[Crew]:
    found = Crew(mailbox.put, max_rendering=2, downloads=1)
    yield found
    gate.open()
    found.close(PATIENCE_SECONDS)


def test_no_kind_of_work_delays_another(crew: Crew, mailbox: Mailbox, gate: Gate) -> None:
    """Exports, downloads, moves, and notices all hang: a look is made all the same."""
    for number, submit in enumerate((crew.export, crew.export, crew.download, crew.file, crew.notify)):
        submit(gate.call(number))
    assert gate.wait_for(5) == {0, 1, 2, 3, 4}
    crew.look(lambda: "looked")
    assert mailbox.next() == "looked"


def test_files_are_moved_one_after_the_other_in_order(crew: Crew, mailbox: Mailbox, gate: Gate) -> None:
    """A claim, what it clears away, and its filing never overtake each other."""
    crew.file(gate.call(0))
    for number in range(1, 100):
        crew.file(lambda number=number: number)  # type: ignore[misc]  # a default that binds
    gate.wait_for(1)
    assert mailbox.empty()
    gate.open()
    assert mailbox.take(100) == list(range(100))
    assert names("file-") == ["file-1"]


def test_other_limits_are_taken(crew: Crew, gate: Gate) -> None:
    """More downloads at once, without a restart."""
    crew.download(gate.call(0))
    gate.wait_for(1)
    crew.resize(max_rendering=10_000, downloads=3)
    crew.download(gate.call(1))
    crew.download(gate.call(2))
    assert gate.wait_for(2) == {1, 2}
    assert crew._lookers.most == LOOKERS


def test_before_a_small_call_its_thread_joins_the_others(mailbox: Mailbox) -> None:
    """What may start a program, or draws a page, leaves them: its thread was made by one that may have joined."""
    joined: list[str] = []
    left: list[str] = []
    crew = Crew(
        mailbox.put,
        max_rendering=2,
        downloads=1,
        join=lambda: joined.append(threading.current_thread().name),
        leave=lambda: left.append(threading.current_thread().name),
    )
    for submit in (crew.export, crew.look, crew.download, crew.file, crew.errand, crew.notify, crew.page):
        submit(lambda: 1)
    mailbox.take(7)
    crew.look(lambda: 1)
    mailbox.take(1)
    crew.close(PATIENCE_SECONDS)
    assert sorted(name.rpartition("-")[0] for name in joined) == ["download", "export", "file", "look", "look"]
    assert sorted(name.rpartition("-")[0] for name in left) == ["errand", "notify", "page"]


def test_closing_the_crew_ends_all(mailbox: Mailbox) -> None:
    """No pool is forgotten."""
    crew = Crew(mailbox.put, max_rendering=2, downloads=1)
    for submit in (crew.export, crew.look, crew.download, crew.file, crew.errand, crew.notify, crew.page):
        submit(lambda: 1)
    mailbox.take(7)
    crew.close(PATIENCE_SECONDS)
    kinds = ("export-", "look-", "download-", "file-", "errand-", "notify-", "page-")
    assert [name for kind in kinds for name in names(kind)] == []


def test_a_last_page_is_waited_for(crew: Crew) -> None:
    """Behind one that is being written; whoever asked may then let the crew go."""
    done: list[str] = []
    crew.page(lambda: done.append("first"))
    crew.last_page(lambda: done.append("last"), PATIENCE_SECONDS)
    assert done == ["first", "last"]


def test_a_last_page_that_hangs_is_left_behind(crew: Crew, gate: Gate) -> None:
    """A frozen share must not keep the program from ending."""
    crew.page(gate.call(0))
    gate.wait_for(1)
    done: list[str] = []
    crew.last_page(lambda: done.append("last"), 0.01)
    assert done == []


def test_a_last_page_that_fails_is_an_end_too(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for any longer."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def fail() -> None:
        raise ValueError

    crew.last_page(fail, PATIENCE_SECONDS)
