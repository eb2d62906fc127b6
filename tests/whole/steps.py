"""Every primitive step that the daemon takes, so that it can be killed at, or fail, any one of them.

A step is one change to the world: a file operation, a statement or a commit of the ledger, a call of the cloud. All
are counted together and asked before they are done: killed before the n-th is killed after the one before it.
A write is two steps, so that half of it can be there.
"""

from __future__ import annotations

import errno
import os
import pathlib
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from world import Killed

from daemon.edges import spool
from daemon.edges.ledger import sqlite as ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

NOREPLACE: Final = "renameat2"
LINK: Final = "link"
PLACEHOLDER: Final = "placeholder"
DEVICES: Final = "devices"
FILE_SYSTEMS: Final = (NOREPLACE, LINK, PLACEHOLDER, DEVICES)
"""What the folders can: everything; no renameat2; no links either; or done, failed, and videos are devices apart."""

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass
class Steps:
    """Counts the steps of a daemon, and ends or fails it at the chosen ones.

    Attributes:
        root: only what lies below is counted.
        file_system: see FILE_SYSTEMS.
        counts_reads: opening a file for reading is a step, too.
        kills: numbers of the steps before which the daemon dies.
        faults: number of the step, the error that it meets, and whether it is done all the same (rename(2), NFS).
        taken: what the steps were, in order.
    """

    root: Path
    file_system: str = NOREPLACE
    counts_reads: bool = False
    kills: set[int] = field(default_factory=set)
    faults: dict[int, tuple[int, bool]] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    is_running: bool = False
    is_dead: bool = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """The daemon runs in here; what is done outside, people do."""
        self.is_running, self.is_dead = True, False
        try:
            yield
        finally:
            self.is_running = False

    def take(self, label: str, *, can_fail: bool = True) -> OSError | None:
        """One step is about to be taken.

        Returns:
            What it is to say after it was done all the same.

        Raises:
            Killed: it is not to be; nor is anything that comes after, whatever is tried in passing.
            OSError: it fails.
        """
        if not self.is_running:
            return None
        if self.is_dead:
            raise Killed(label)
        self.taken.append(label)
        number = len(self.taken)
        if number in self.kills:
            self.is_dead = True
            raise Killed(label)
        if number in self.faults and can_fail:
            code, is_done = self.faults[number]
            error = OSError(code, os.strerror(code))
            if not is_done:
                raise error
            return error
        return None

    def is_ours(self, path: object) -> bool:
        """Whether it lies below the root."""
        if not self.is_running or not isinstance(path, str | bytes | os.PathLike):
            return False
        return os.fsdecode(os.fspath(path)).startswith(f"{self.root}/")

    def short(self, path: object) -> str:
        """A path for a label."""
        return os.fsdecode(os.fspath(path)).removeprefix(f"{self.root}/")  # type: ignore[call-overload]

    def device(self, path: object) -> str:
        """Which device a path lies on."""
        top = self.short(path).partition("/")[0]
        return top if self.file_system == DEVICES and top in {"done", "failed", "videos"} else ""


class _Written:
    """A file that is written to the half before it is written whole, without a buffer of its own."""

    def __init__(self, opened: Any, steps: Steps, label: str) -> None:
        self._opened = opened
        self._steps = steps
        self._label = label

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def write(self, content: bytes) -> int:
        self._steps.take(f"write {self._label}")
        half = len(content) // 2
        self._opened.write(content[:half])
        self._steps.take(f"write {self._label}, second half")
        self._opened.write(content[half:])
        return len(content)

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        return int(self._opened.fileno())


def watch(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all steps counted from now on, until the test ends."""
    _watch_one_path(steps, monkeypatch)
    _watch_two_paths(steps, monkeypatch)
    _watch_writes(steps, monkeypatch)
    _watch_ledger(steps, monkeypatch)


def _watch_one_path(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    def watched(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if not steps.is_ours(path):
                return real(path, *args, **kwargs)
            lie = steps.take(f"{name} {steps.short(path)}")
            found = real(path, *args, **kwargs)
            if lie is not None:
                raise lie
            return found

        return call

    for name in ("unlink", "rmdir", "mkdir"):
        monkeypatch.setattr(os, name, watched(name))


def _watch_two_paths(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    def watched(name: str, real: Callable[..., Any], refusal: int | None) -> Callable[..., Any]:
        def call(source: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
            if not steps.is_ours(source):
                return real(source, target, *args, **kwargs)
            lie = steps.take(f"{name} {steps.short(source)} {steps.short(target)}")
            if refusal is not None:
                raise OSError(refusal, os.strerror(refusal), str(source))
            if steps.device(source) != steps.device(target):
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source))
            found = real(source, target, *args, **kwargs)
            if lie is not None:
                raise lie
            return found

        return call

    has_noreplace = steps.file_system in {NOREPLACE, DEVICES}
    has_link = steps.file_system != PLACEHOLDER
    monkeypatch.setattr(
        spool, "_renameat2", watched("renameat2", spool._renameat2, None if has_noreplace else errno.EINVAL)
    )
    monkeypatch.setattr(os, "link", watched("link", os.link, None if has_link else errno.EPERM))
    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, watched(name, getattr(os, name), None))


def _watch_writes(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open, real_fdopen, real_path_open = os.open, os.fdopen, pathlib.Path.open
    labels: dict[int, str] = {}

    def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if not steps.is_ours(path):
            return real_open(path, flags, *args, **kwargs)
        if flags & _WRITING or steps.counts_reads:
            steps.take(f"open {steps.short(path)}")
        found = real_open(path, flags, *args, **kwargs)
        labels[found] = steps.short(path)
        return found

    def fdopen(descriptor: int, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not steps.is_running or "w" not in mode:
            return real_fdopen(descriptor, mode, *args, **kwargs)
        return _Written(real_fdopen(descriptor, mode, buffering=0), steps, labels.get(descriptor, ""))

    def path_open(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not steps.is_ours(path) or "r" in mode:
            return real_path_open(path, mode, *args, **kwargs)
        steps.take(f"open {steps.short(path)}")
        return _Written(real_path_open(path, mode, buffering=0), steps, steps.short(path))

    def fsync(descriptor: int) -> None:
        if steps.is_running:
            steps.take(f"fsync {labels.get(descriptor, '')}")

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fdopen", fdopen)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(pathlib.Path, "open", path_open)


def _watch_ledger(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ledger._engine

    def engine(path: Path, begin: str) -> sa.Engine:
        made = real(path, begin)
        real_commit = made.dialect.do_commit
        written: list[str] = []

        def on_connect(connection: Any, _record: Any) -> None:
            connection.execute("PRAGMA synchronous=OFF")  # what dies here is the daemon, not the machine

        def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            words = statement.split()[:3]
            if words[0] not in {"SELECT", "BEGIN", "PRAGMA"}:
                written.append(statement)
                _take_statement(steps, " ".join(words))

        def do_commit(connection: Any) -> None:
            if written:
                written.clear()
                try:
                    steps.take("COMMIT")
                except OSError as error:
                    connection.rollback()
                    raise sqlite3.OperationalError(error.strerror) from None
            real_commit(connection)

        sa_event.listen(made, "connect", on_connect)
        sa_event.listen(made, "before_cursor_execute", before)
        monkeypatch.setattr(made.dialect, "do_commit", do_commit)
        return made

    monkeypatch.setattr(ledger, "_engine", engine)


def _take_statement(steps: Steps, label: str) -> None:
    try:
        steps.take(label)
    except OSError as error:
        raise sa.exc.OperationalError(label, {}, sqlite3.OperationalError(error.strerror)) from None
