"""A scratch root with a daemon process on it, and the stand-in cloud as another process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE_SECONDS: Final = 900.0
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far.

    Attributes:
        cpu_seconds: user and system.
        memory_bytes: resident now.
        threads: now.
    """

    cpu_seconds: float
    memory_bytes: int
    threads: int


def usage(pid: int) -> Usage:
    """Of a process that runs (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
    return Usage((int(fields[11]) + int(fields[12])) / TICKS, int(found["VmRSS"]) * 1024, int(found["Threads"]))


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Cloud:
    """The stand-in, as a process of its own."""

    def __enter__(self) -> Self:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.cloud"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.origin = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.communicate()

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    def record(self) -> dict[str, Any]:
        """What it was asked, and when."""
        found: dict[str, Any] = json.loads(self._get("/bench/record"))
        return found

    def clear(self, render_seconds: float) -> None:
        """Forget what was asked, and render so long from now on."""
        self._get(f"/bench/clear/{render_seconds}")

    def serve_videos_from(self, url: str) -> None:
        """Until it is cleared, say that every video lies there."""
        self._get(f"/bench/videos/{quote(url, safe='')}")

    def render_longer(self, from_number: int) -> None:
        """Until it is cleared, never end the renders after the first so many."""
        self._get(f"/bench/longer/{from_number}")

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.origin + path, timeout=60) as answer:
            found: bytes = answer.read()
            return found


class Place:
    """A root in a scratch folder, removed at the end.

    Args:
        cloud: running.
        settings: environment variables without ``CHROMADROP_``, such as ``JOBS__MAX_RENDERING``; or ``SSL_CERT_FILE``.
    """

    def __init__(self, cloud: Cloud, **settings: object) -> None:
        self._cloud = cloud
        self._settings = settings
        self._folder = tempfile.TemporaryDirectory(prefix="chromadrop-bench-")
        self.root = Path(self._folder.name)
        self._process: subprocess.Popen[bytes] | None = None
        (self.root / "inbox").mkdir()

    def __enter__(self) -> Self:
        """Nothing runs yet: see `start`."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the daemon, remove the folder."""
        self.stop()
        self._folder.cleanup()

    @property
    def environ(self) -> dict[str, str]:
        """Of the daemon."""
        ours = {
            name if name.startswith("SSL_") else f"CHROMADROP_{name}": str(value)
            for name, value in self._settings.items()
        }
        return {
            "PATH": os.environ["PATH"],
            "AISTUDIOS_API_KEY": "any-word",
            "CHROMADROP_API__BASE_URL": self._cloud.origin,
            "CHROMADROP_LOGS__FORMAT": "json",
            "CHROMADROP_STATUS_PAGE": "false",
            **ours,
        }

    def start(self) -> float:
        """Start the daemon; the moment of it."""
        moment = time.monotonic()
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "daemon", "run"], cwd=self.root, env=self.environ, stderr=log
            )
        return moment

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    @property
    def pid(self) -> int:
        """Of the daemon."""
        assert self._process is not None
        return self._process.pid

    def drop(self, name: str, content: str) -> float:
        """Write a file beside inbox/ and rename it into place; the moment of the rename."""
        scratch = self.root / "inbox" / f"{name}.part"
        scratch.write_text(content)
        moment = time.monotonic()
        scratch.rename(self.root / "inbox" / name)
        return moment

    def lines(self) -> Iterator[dict[str, Any]]:
        """The daemon's log so far."""
        with (self.root / "log").open() as log:
            yield from (json.loads(line) for line in log if line.endswith("\n"))

    def count(self, event: str) -> int:
        """How often the log says so, so far."""
        mark = f'"event": "{event}"'.encode()
        return (self.root / "log").read_bytes().count(mark)

    def await_event(self, event: str, count: int = 1, *, every_seconds: float = 0.05) -> float:
        """The moment when the log has said so that often, good to ``every_seconds``."""
        return wait_until(lambda: self.count(event) >= count, f"{count} x {event}", every_seconds=every_seconds)


_tick = threading.Event()


def pause(seconds: float) -> None:
    """Let time pass: it is what is measured."""
    _tick.wait(seconds)


def wait_until(condition: Callable[[], object], what: str, *, every_seconds: float = 0.05) -> float:
    """The moment when it holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"never came to be: {what}")
        pause(every_seconds)
    return time.monotonic()


def jobs(count: int, first: int = 0) -> str:
    """A job file with so many jobs."""
    head = "defaults: {language: ko, model: M000004017, clothes: BG00006160}\njobs:\n"
    return head + "".join(f"  - text: Work number {number}\n" for number in range(first, first + count))
