"""A folder with a real daemon process on it, and a simulator of the cloud."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from patience import PATIENCE_SECONDS, wait_until

from daemon.simulator.server import RunningSimulator, Served, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = [
    "KEY",
    "NEVER",
    "PATIENCE_SECONDS",
    "WORKS",
    "Place",
    "Running",
    "job",
    "listed",
    "wait_until",
]

KEY = "sk-live-0123456789abcdef"
NEVER = 100_000.0
"""So long takes a render that ends only when the simulator's clock is put forward."""

# language ko, three texts, one model, two clothes: the mission's own jobs
WORKS = (
    ("Hello, this is my first work.", "BG00006160"),
    ("Hello, this is my second work.", "BG00001004"),
    ("Hello, this is my third work.", "BG00006160"),
)


def job(text: str, clothes: str = "BG00006160") -> str:
    """One job as a mapping."""
    return f"language: ko\ntext: {json.dumps(text)}\nmodel: M000004017\nclothes: {clothes}\n"


def listed(*jobs: str) -> str:
    """Several jobs as one list."""
    return "".join("- " + one.rstrip("\n").replace("\n", "\n  ") + "\n" for one in jobs)


class Running:
    """A daemon process, whose log lines can be waited for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if line.startswith("{"):
                self._events.put(json.loads(line))
        self._events.put(None)

    def until(self, event: str, **fields: object) -> dict[str, Any]:
        """The next log line with this event and these fields."""
        while True:
            try:
                found = self._events.get(timeout=PATIENCE_SECONDS)
            except queue.Empty:
                raise AssertionError(f"the daemon never said {event}: {''.join(self.lines)}") from None
            assert found is not None, f"the daemon ended before {event}: {''.join(self.lines)}"
            if found["event"] == event and fields.items() <= found.items():
                return found

    def said(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Every log line so far with this event and these fields."""
        found = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [one for one in found if one["event"] == event and fields.items() <= one.items()]

    def wait_until(self, is_so: Callable[[], bool]) -> bool:
        """Wait for something that no log line tells; False when patience is at its end."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > end:
                return False
            threading.Event().wait(0.02)
        return True

    def end(self) -> int:
        """Wait for the process to end; its exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.end()


class Place:
    """A root and a simulator; everything is ended when it is left."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.served: list[Served] = []
        found = Settings(port=0, **({"render_seconds": 1.0} | settings))
        self.simulator = RunningSimulator(found, on_request=self.served.append)
        self.environ = {
            "AISTUDIOS_API_KEY": KEY,
            "CHROMADROP_WATCH__SETTLE_SECONDS": "0.2",
            "CHROMADROP_WATCH__GRACE_SECONDS": "0.3",
            "CHROMADROP_WATCH__RESCAN_SECONDS": "1",
            "CHROMADROP_JOBS__POLL_SECONDS": "0.3",
            "CHROMADROP_API__READ_TIMEOUT_SECONDS": "5",
            "CHROMADROP_LOGS__FORMAT": "json",
        }
        self.launcher: tuple[str, ...] = ()
        """What the daemon is started through, such as ``setpriv``."""
        self.cwd = root
        self._running: list[Running] = []

    def __enter__(self) -> Self:
        self.simulator.__enter__()
        self.environ["CHROMADROP_API__BASE_URL"] = self.simulator.base_url
        (self.root / "inbox").mkdir(exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running:
            running.process.kill()
            running.end()
            assert running.process.stderr is not None
            running.process.stderr.close()
        self.simulator.stop()

    @staticmethod
    def _inherited() -> dict[str, str]:
        names = ("PATH", "HOME", "COVERAGE_PROCESS_START")
        return {name: os.environ[name] for name in names if name in os.environ}

    def start(self, *arguments: str, before: Sequence[str] = (), **environ: str) -> Running:
        """Start ``chromadrop`` with these arguments in the root; ``before`` is what runs it, such as strace."""
        process = subprocess.Popen(
            [*self.launcher, *before, sys.executable, "-m", "daemon", *arguments],
            cwd=self.cwd,
            env=self._inherited() | self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        return self.adopt(Running(process))

    def adopt(self, running: Running) -> Running:
        """Have this process ended when the place is left, too."""
        self._running.append(running)
        return running

    def drop(self, name: str, content: str) -> None:
        """Write a file into inbox/, as an editor does."""
        path = self.root / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def drop_at_once(self, name: str, content: str) -> None:
        """Write a file under another name and rename it, as careful programs do."""
        path = self.root / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(path.name + ".part")
        scratch.write_text(content)
        scratch.rename(path)

    def files(self, folder: str) -> list[str]:
        """Every visible file below a folder."""
        base = self.root / folder
        found = (path.relative_to(base) for path in base.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))

    def job_files(self, folder: str) -> list[str]:
        """Every job file below a folder."""
        return [name for name in self.files(folder) if name.endswith((".yaml", ".yml"))]

    def told(self, *arguments: str, **environ: str) -> str:
        """What ``chromadrop`` prints with these arguments; it must end well."""
        return subprocess.run(
            [sys.executable, "-m", "daemon", *arguments],
            cwd=self.root,
            env=self._inherited() | self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=True,
        ).stdout

    def result(self, path: str) -> dict[str, Any]:
        """A result file, by the job file's path relative to the root."""
        found: dict[str, Any] = json.loads((self.root / f"{path}.result.json").read_text())
        return found
