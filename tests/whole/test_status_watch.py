"""The whole daemon and status.html: when it is made, how often, and what it never holds up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from world import World, yaml_of

from daemon.core.errors import LedgerUnavailable
from daemon.core.messages import RootFound, RootLost, ScanEnded
from daemon.core.status_page import STALE_SECONDS
from daemon.edges.spool import PAGE_MARK
from daemon.status_watch import APART_SECONDS, BEAT_SECONDS, StatusSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Painter:
    """Notes when pages are made, and what was so then."""

    def __init__(self) -> None:
        self.world: World
        self.made_at: list[float] = []
        self.takes_seconds = 0.0
        self.fault: Exception | None = None

    def render(self) -> bytes:
        self.made_at.append(self.world.monotonic)
        self.world.monotonic += self.takes_seconds
        if self.fault is not None:
            raise self.fault
        return PAGE_MARK + " ".join(self.world.states()).encode()


@pytest.fixture
def painter() -> Painter:
    """Who makes the pages."""
    return Painter()


@pytest.fixture
def world(tmp_path: Path, painter: Painter) -> Iterator[World]:
    """A daemon with a page."""
    made = World(tmp_path, pages=StatusSource(painter.render), is_started=False)
    painter.world = made
    made.start()
    yield made
    made.kill()


def page(world: World) -> str:
    return (world.root / "status.html").read_bytes().removeprefix(PAGE_MARK).decode()


def test_a_page_is_there_at_once_and_tells_what_is_in_the_ledger(world: World) -> None:
    """Not what was so before the transaction."""
    world.settle()
    assert page(world) == ""
    world.pass_time(APART_SECONDS)
    world.cloud.render_seconds = 1000
    world.drop("x.yaml", yaml_of("one", "two"))
    world.pass_time(APART_SECONDS)
    assert page(world) == "rendering rendering"


def test_pages_are_two_seconds_apart_however_much_happens(world: World, painter: Painter) -> None:
    """And what happened last is told all the same."""
    world.cloud.render_seconds = 30
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(60)
    gaps = [later - earlier for earlier, later in zip(painter.made_at, painter.made_at[1:], strict=False)]
    assert min(gaps) >= APART_SECONDS
    assert len(painter.made_at) > 8
    assert page(world) == ""
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_where_nothing_changes_there_is_only_a_heartbeat(world: World, painter: Painter) -> None:
    """So that a page which is old means that nobody is there."""
    world.pass_time(10)
    painter.made_at.clear()
    world.pass_time(10 * BEAT_SECONDS)
    assert len(painter.made_at) == 10


def test_what_the_scanner_finds_is_news(world: World, painter: Painter) -> None:
    """Though it writes nothing to the ledger."""
    world.pass_time(10)
    painter.made_at.clear()
    world.mailbox.append(ScanEnded((), 0, is_idle=False))
    world.settle()
    assert len(painter.made_at) == 1


def test_a_page_that_hangs_holds_up_nothing_and_is_not_queued_twice(world: World) -> None:
    """A frozen share keeps one worker; jobs are made and filed away, and the end is not waited for."""
    world.crew.held.add("page")
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(120)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    assert [kind for kind, _ in world.crew.calls] == ["page"]
    world.stop()
    world.settle()
    assert world.dispatcher.is_finished
    world.crew.held.clear()
    world.settle()
    assert page(world) == ""


def test_a_page_that_takes_long_is_made_more_rarely(world: World, painter: Painter) -> None:
    """Painting takes a twentieth of the time at most."""
    painter.takes_seconds = 1.0
    world.cloud.render_seconds = 200
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(201)
    assert len(painter.made_at) in range(8, 12)


@pytest.mark.parametrize("takes_seconds", [0.1, 2.0, 3.1, 6.0, 29.0])
def test_no_page_becomes_old_before_the_next_one_is_there(world: World, painter: Painter, takes_seconds: float) -> None:
    """However long painting takes, up to half of that span: it would say that nobody is at work."""
    assert BEAT_SECONDS + 29.0 < STALE_SECONDS
    painter.takes_seconds = takes_seconds
    world.cloud.render_seconds = 200
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(400)
    gaps = [later - earlier for earlier, later in zip(painter.made_at, painter.made_at[1:], strict=False)]
    assert len(gaps) > 8
    # What a page tells was so when it was begun, and is read until the next one has been made.
    assert max(gaps) + takes_seconds < STALE_SECONDS


def test_while_the_root_is_away_there_is_no_page(world: World, painter: Painter) -> None:
    """Silently; when it is back, the page is made anew at once."""
    world.pass_time(10)
    world.mailbox.append(RootLost("unmounted"))
    world.settle()
    painter.made_at.clear()
    world.pass_time(200)
    assert painter.made_at == []
    world.mailbox.append(RootFound())
    world.settle()
    assert len(painter.made_at) == 1
    assert "page.deferred" not in world.log.events()


def test_a_page_that_cannot_be_made_is_said_once(world: World, painter: Painter) -> None:
    """And tried again; whatever goes wrong in it, the next one is made."""
    for fault in (LedgerUnavailable("locked"), ValueError("a bug")):
        painter.fault = fault
        world.pass_time(5 * BEAT_SECONDS)
    assert [fields["reason"] for event, fields in world.log.lines if event == "page.deferred"] == [
        "locked",
        "an error in chromadrop itself while writing it: ValueError: a bug",
    ]
    painter.fault = None
    world.pass_time(BEAT_SECONDS)
    assert page(world) == ""


def test_anothers_file_of_that_name_is_left_alone(world: World) -> None:
    """Somebody's own status.html is no page of ours; that is said once."""
    (world.root / "status.html").write_text("my own")
    world.pass_time(5 * BEAT_SECONDS)
    assert (world.root / "status.html").read_text() == "my own"
    assert world.log.events().count("page.deferred") == 1


def test_a_page_that_a_power_cut_left_empty_is_replaced(world: World) -> None:
    """It is not synced, for it is made anew all the time."""
    (world.root / "status.html").write_bytes(b"")
    world.pass_time(BEAT_SECONDS)
    assert (world.root / "status.html").read_bytes() == PAGE_MARK


def test_where_no_page_is_wanted_an_earlier_one_is_taken_away(world: World, painter: Painter) -> None:
    """It would say for ever that nobody is there; switched on again, it is there at once."""
    world.pass_time(10)
    assert (world.root / "status.html").exists()
    world.dispatcher.want_status_page(is_wanted=False)
    world.settle()
    assert not (world.root / "status.html").exists()
    painter.made_at.clear()
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(100)
    assert painter.made_at == []
    assert not (world.root / "status.html").exists()
    world.dispatcher.want_status_page(is_wanted=True)
    world.settle()
    assert (world.root / "status.html").exists()


def test_a_daemon_that_is_asked_to_stop_begins_no_page(world: World, painter: Painter) -> None:
    """Its last one is the app's."""
    world.pass_time(10)
    painter.made_at.clear()
    world.stop()
    world.drop("x.yaml", yaml_of("one"))
    world.settle()
    assert painter.made_at == []
