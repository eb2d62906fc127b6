"""systemd is told, over a real datagram socket, and never in the way."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING

import pytest

from daemon.edges.service_manager import MOST_LINE_BYTES, Supervisor, notify, watchdog_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What ``$NOTIFY_SOCKET`` says, and the socket at its other end."""
    if request.param == "abstract":
        name = f"chromadrop-{os.getpid()}-{secrets.token_hex(4)}"
        address, bound = f"@{name}", f"\0{name}"
    else:
        address = bound = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(bound)
        end.setblocking(False)
        yield address, end


def test_all_lines_arrive_as_one_datagram(listening: tuple[str, socket.socket]) -> None:
    """sd_notify(3): assignments separated by newlines; a leading @ is the abstract name space."""
    address, end = listening
    notify(address, "READY=1", "STATUS=watching /srv/größe")
    assert end.recv(4096).decode() == "READY=1\nSTATUS=watching /srv/größe"
    with pytest.raises(BlockingIOError):
        end.recv(4096)


def test_each_call_is_a_datagram_of_its_own(listening: tuple[str, socket.socket]) -> None:
    """In the order in which they were said."""
    address, end = listening
    notify(address, "READY=1")
    notify(address, "STOPPING=1")
    assert [end.recv(4096), end.recv(4096)] == [b"READY=1", b"STOPPING=1"]


def test_a_path_that_is_not_utf8_is_no_error(listening: tuple[str, socket.socket]) -> None:
    """The root may be called anything that the file system allows."""
    address, end = listening
    notify(address, "READY=1", f"STATUS=watching {os.fsdecode(b'/srv/gr' + bytes([0xFC]) + b'n')}")
    assert end.recv(4096) == b"READY=1\nSTATUS=watching /srv/gr\\udcfcn"


@pytest.mark.parametrize("address", [None, "", "@", "relative", "/nowhere/at/all", "@nobody-listens", "/" + "x" * 300])
def test_nobody_there_is_no_error(address: str | None) -> None:
    """The daemon never fails because of who watches it."""
    notify(address, "READY=1")


def test_a_listener_that_is_gone_is_no_error(tmp_path: Path) -> None:
    """Its socket file may still lie there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
    notify(str(tmp_path / "notify"), "READY=1")


def test_a_newline_in_a_name_begins_no_assignment(listening: tuple[str, socket.socket]) -> None:
    """Whoever names a folder must not speak to systemd; nor may a name hide what follows it."""
    address, end = listening
    notify(address, "STATUS=watching /srv/a\nMAINPID=1\x1b[2J")
    assert end.recv(4096) == b"STATUS=watching /srv/a\\nMAINPID=1\\x1b[2J"


@pytest.mark.parametrize("letter", ["a", "ü", "の", "😀"])
def test_a_long_line_is_cut_between_letters(listening: tuple[str, socket.socket], letter: str) -> None:
    """What is longer than a page, or is not UTF-8, would be ignored by systemd."""
    address, end = listening
    notify(address, "READY=1", f"STATUS={letter * 5000}")
    ready, state = end.recv(65536).split(b"\n")
    assert ready == b"READY=1"
    assert MOST_LINE_BYTES - 4 < len(state) <= MOST_LINE_BYTES
    text = state.decode().removeprefix("STATUS=")
    assert set(text) == {letter, "…"}
    assert text.endswith("…")


def fill(address: str) -> int:
    """Say so much that there is no room for more; how many words that were."""
    count = 0
    while notify(address, "WATCHDOG=1"):
        count += 1
        assert count < 100_000
    return count


def emptied(end: socket.socket) -> list[bytes]:
    """All that has been said, which is thereby taken."""
    found = []
    try:
        while True:
            found.append(end.recv(4096))
    except BlockingIOError:
        return found


def test_a_listener_that_does_not_read_holds_nobody_up(listening: tuple[str, socket.socket]) -> None:
    """Its queue is full: that is said, so that it can be told again."""
    address, end = listening
    count = fill(address)
    assert len(emptied(end)) == count
    assert notify(address, "WATCHDOG=1")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, 30.0),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_it_names(environ: dict[str, str], expected: float | None) -> None:
    """sd_watchdog_enabled(3); what cannot be understood is no watchdog."""
    assert watchdog_seconds(environ, 42) == expected


class Told:
    """A supervisor with a watchdog of 30 s, and what it has passed on."""

    def __init__(self, listening: tuple[str, socket.socket], **environ: str) -> None:
        self.address, self.end = listening
        self.supervisor = Supervisor({"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": "30000000"} | environ, 42)

    def turn(self, now: float, state: str = "idle", *, is_well: bool = True, is_ending: bool = False) -> float | None:
        return self.supervisor.after_turn(now, state, is_well=is_well, is_waiting_to_end=is_ending)

    def heard(self) -> list[str]:
        return [datagram.decode() for datagram in emptied(self.end)]


@pytest.fixture
def told(listening: tuple[str, socket.socket]) -> Told:
    """Somebody listens."""
    return Told(listening)


def test_the_watchdog_is_fed_at_half_its_time_and_no_oftener(told: Told) -> None:
    """However often the main loop turns; it is called again in time where nothing else happens."""
    told.supervisor.ready("idle")
    assert told.heard() == ["READY=1\nSTATUS=idle"]
    assert [told.turn(now) for now in (100.0, 100.1, 114.9)] == [115.0, 115.0, 115.0]
    assert told.heard() == ["WATCHDOG=1"]
    assert told.turn(115.0) == 130.0
    assert told.heard() == ["WATCHDOG=1"]


def test_who_is_not_well_is_not_fed_and_asked_again_soon(told: Told) -> None:
    """Well again in time, nothing is lost."""
    told.supervisor.ready("idle")
    assert told.turn(100.0, is_well=False) == 101.0
    assert told.turn(101.0, is_well=False) == 102.0
    assert told.heard() == ["READY=1\nSTATUS=idle"]
    assert told.turn(102.0) == 117.0
    assert told.heard() == ["WATCHDOG=1"]


def test_the_state_is_said_when_it_is_new_and_once_a_second_at_most(told: Told) -> None:
    """The last of many is said in the end."""
    told.supervisor.ready("a")
    told.turn(100.0, "a")
    assert told.turn(100.1, "b") == 115.0
    assert told.turn(100.2, "c") == pytest.approx(101.1)
    assert told.turn(100.3, "d") == pytest.approx(101.1)
    assert told.turn(101.1, "d") == 115.0
    assert told.turn(103.0, "d") == 115.0
    assert told.heard() == ["READY=1\nSTATUS=a", "WATCHDOG=1", "STATUS=b", "STATUS=d"]


def test_without_a_watchdog_it_turns_for_no_reason_of_its_own(listening: tuple[str, socket.socket]) -> None:
    """Only a state that could not be said yet is one."""
    told = Told(listening, WATCHDOG_USEC="")
    told.supervisor.ready("a")
    assert told.turn(100.0, "a") is None
    assert told.turn(100.0, "b") is None
    assert told.turn(100.5, "c") == 101.0


def test_without_a_service_manager_nothing_is_done() -> None:
    """On a terminal there is none."""
    supervisor = Supervisor({"WATCHDOG_USEC": "30000000"}, 42)
    supervisor.ready("idle")
    supervisor.stopping()
    assert not supervisor.is_there
    assert supervisor.after_turn(100.0, "busy", is_well=True, is_waiting_to_end=True) is None


def test_a_reload_has_its_moment_and_an_end(told: Told) -> None:
    """MONOTONIC_USEC is CLOCK_MONOTONIC in microseconds; READY=1 ends it, whatever came of it."""
    told.supervisor.reloading(1234.567891)
    told.supervisor.reloaded()
    assert told.heard() == ["RELOADING=1\nMONOTONIC_USEC=1234567891", "READY=1"]


def test_the_end_is_said_once(told: Told) -> None:
    """When it begins, not when it is over."""
    told.supervisor.stopping()
    told.supervisor.stopping()
    assert told.heard() == ["STOPPING=1"]


def test_more_time_is_asked_for_while_the_end_is_waited_for(told: Told) -> None:
    """30 s, again every 10 s; not before and not after."""
    told.supervisor.ready("idle")
    told.turn(100.0)
    told.supervisor.stopping()
    assert told.turn(101.0, is_ending=True) == 111.0
    assert told.turn(105.0, is_ending=True) == 111.0
    assert told.turn(111.0, is_ending=True) == 115.0
    assert told.turn(112.0) == 115.0
    extend = "EXTEND_TIMEOUT_USEC=30000000"
    assert told.heard() == ["READY=1\nSTATUS=idle", "WATCHDOG=1", "STOPPING=1", extend, extend]


def test_what_there_was_no_room_for_is_said_later_and_in_order(told: Told) -> None:
    """A service manager that is busy for a moment misses nothing that counts."""
    count = fill(told.address)
    told.supervisor.ready("a")
    told.supervisor.stopping()
    assert told.turn(100.0, "b", is_ending=True) == 101.0
    assert told.heard() == ["WATCHDOG=1"] * count
    told.turn(101.0, "b", is_ending=True)
    assert told.heard() == ["READY=1\nSTATUS=a", "STOPPING=1", "WATCHDOG=1", "STATUS=b", "EXTEND_TIMEOUT_USEC=30000000"]
