"""systemd is told, over a real datagram socket, and never in the way."""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING

import pytest

from daemon.edges.service_manager import notify

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
