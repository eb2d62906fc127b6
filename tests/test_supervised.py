"""What the service manager is told: the state that the operator reads, and that the program turns."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from daemon.app import Daemon, Reload, Settings, redactor, state_text
from daemon.config import load_with_credential
from daemon.core.folder_trouble import FolderTrouble
from daemon.core.report import Stop
from daemon.core.schedule import Instant
from daemon.dispatcher import Summary
from daemon.edges.inbox_watch import Pulse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WELL = Pulse(is_alive=True)
COUNTS = "2 queued, 1 exporting, 3 of 20 rendering, 4 downloading, since the start 5 done and 6 failed"
SUMMARY = Summary(
    queued=2,
    exporting=1,
    rendering=3,
    max_rendering=20,
    downloading=4,
    done=5,
    failed=6,
    trouble=None,
    cloud_reason=None,
    root_reason=None,
    is_paused=False,
    is_ledger_away=False,
    is_stopping=False,
)


def test_where_all_is_well_it_is_counts() -> None:
    """Always the same ones in the same order, for those who read them by a program."""
    assert state_text(SUMMARY, WELL) == COUNTS


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ({"trouble": "no credit left"}, "account trouble: no credit left"),
        ({"cloud_reason": "no connection"}, "cloud away: no connection"),
        ({"root_reason": "the marker is gone"}, "root lost: the marker is gone"),
        ({"folders": FolderTrouble("disk full", Instant(1.0, 2.0))}, "waiting for the folders: disk full"),
        ({"is_paused": True}, "paused"),
        ({"is_ledger_away": True}, "the ledger cannot be written"),
        ({"is_stopping": True}, "stopping"),
    ],
)
def test_what_is_wrong_comes_first(trouble: dict[str, str | bool | FolderTrouble], expected: str) -> None:
    """With its reason where there is one."""
    assert state_text(replace(SUMMARY, **trouble), WELL) == f"{expected}; {COUNTS}"  # type: ignore[arg-type]


def test_a_frozen_share_is_told_from_a_dead_scanner() -> None:
    """The one is waited for, the other ends in a new start."""
    held, dead = (state_text(SUMMARY, pulse) for pulse in (Pulse(is_alive=True, held_since=1.0), Pulse(is_alive=False)))
    assert "does not answer" in held
    assert "watchdog" not in held
    assert "watchdog" in dead


def test_several_troubles_are_all_said() -> None:
    """One after the other."""
    several = replace(SUMMARY, is_paused=True, trouble="x", root_reason="y")
    assert state_text(several, WELL) == f"root lost: y; account trouble: x; paused; {COUNTS}"


class Supervised:
    """A daemon whose turns are made by hand, and what the service manager hears of them."""

    def __init__(self, root: Path, end: socket.socket) -> None:
        self._end = end
        self.config = root / "config.yaml"
        self.config.write_text("api: {base_url: 'http://127.0.0.1:9/api/odin'}\n")
        environ = {
            "AISTUDIOS_API_KEY": "sk-live-0123456789abcdef",
            "NOTIFY_SOCKET": str(root / "notify"),
            "WATCHDOG_USEC": "2000",
        }
        config, credential = load_with_credential(self.config, environ, root)
        settings = Settings(
            config=config,
            config_path=self.config,
            paths=config.paths(environ, root),
            credential=credential,
            redactor=redactor(credential),
            environ=environ,
            cwd=root,
        )
        self.daemon = Daemon(settings, is_once=False)

    def heard(self) -> list[str]:
        """All that was said since the last time."""
        found: list[str] = []
        with suppress(BlockingIOError):
            while True:
                found.append(self._end.recv(4096).decode())
        return found

    def hears(self, word: str) -> None:
        """Turn until this is said."""
        deadline = time.monotonic() + 60
        while word not in self.heard():
            assert time.monotonic() < deadline, f"never said: {word}"
            self.daemon._turn([])


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    """Its scanner does not run yet."""
    (tmp_path / "inbox").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        found = Supervised(tmp_path, end)
        with found.daemon._stack:
            yield found
            found.daemon._watch.stop()
            found.daemon._crew.close(10)


def test_the_watchdog_is_fed_only_while_the_scanner_lives(supervised: Supervised) -> None:
    """A main loop that turns with nobody who looks for drops is no service."""
    supervised.daemon._turn([])
    (state,) = supervised.heard()
    assert state.startswith("STATUS=the scanner has ended")
    supervised.daemon._watch.start()
    supervised.hears("WATCHDOG=1")
    supervised.daemon._watch.stop()
    supervised.heard()
    supervised.daemon._turn([])
    assert "WATCHDOG=1" not in supervised.heard()


@pytest.mark.parametrize("content", ["jobs: {max_rendering: 3}\n", "jobs: {max_rendring: 3}\n"])
def test_a_reload_is_framed(supervised: Supervised, content: str) -> None:
    """Accepted or refused: systemd waits for the READY=1 after it. Many at once are one."""
    supervised.config.write_text(content)
    supervised.daemon._turn([Reload(), Reload()])
    began, ended, *_ = supervised.heard()
    assert began.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert 0 <= time.monotonic() * 1e6 - int(began.rpartition("=")[2]) < 60e6
    assert ended == "READY=1"


def test_the_end_is_said_when_it_begins(supervised: Supervised) -> None:
    """Not only when it is over."""
    supervised.daemon._turn([Stop()])
    assert "STOPPING=1" in supervised.heard()
