"""SQLite as the engine: one file, one daemon, a lock file that only one process can hold.

WAL and ``synchronous=FULL``, so that what is committed survives a power cut
(https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import StaticPool

from daemon.core.errors import LedgerLocked, LedgerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LEDGER_FILE: Final = "ledger.sqlite3"
LOCK_FILE: Final = "lock"
OUR_HOST: Final = ""
"""Nobody asks on which machine the only daemon is."""


class SqliteBase:
    """The database of one daemon.

    Args:
        folder: the state folder; made when missing.
        path: of the database, when it is not to lie in that folder.
        is_exclusive: take the daemon's locks.

    Raises:
        LedgerLocked: another daemon has this state.
        OSError: folder or locks cannot be used.
    """

    is_shared: Final = False
    host: Final = OUR_HOST

    def __init__(self, folder: Path, path: Path | None, *, is_exclusive: bool) -> None:
        self._locks: list[int] = []
        self._folder = folder
        self._path = path or folder / LEDGER_FILE
        make_folder(folder)
        if is_exclusive:
            self._locks.append(take_lock(folder / LOCK_FILE))
            if path is not None:  # two state folders may name one database
                try:
                    self._locks.append(take_lock(path.with_name(f"{path.name}.lock")))
                except BaseException:
                    self.close()
                    raise
        self.engine = _engine(self._path, "BEGIN IMMEDIATE" if is_exclusive else "BEGIN")

    @staticmethod
    def explain(error: object) -> str:
        """What the driver said, fit to be shown."""
        return f"the ledger cannot be used: {str(error).strip()}"

    def watch(self, _connection: sa.Connection) -> None:
        """A local file answers, or says why it does not."""

    def relax(self) -> None:
        """Nobody watches."""

    @staticmethod
    def owner_of(ledger_id: str) -> str:
        """Whose rows are ours: there is nobody else."""
        return ledger_id

    def keep_copy(self, found: str) -> None:
        """Keep the ledger as it is before its schema changes: a way back to the release that wrote it needs it."""
        copy = self._path.with_name(f"{self._path.name}.schema-{found}")
        copy.unlink(missing_ok=True)  # of an attempt that was cut off
        raw = self.engine.raw_connection()  # VACUUM wants no transaction around it, which SQLAlchemy would begin
        try:
            raw.cursor().execute("VACUUM INTO ?", (str(copy),))
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"the ledger cannot be copied to {copy} before it is changed: {error}") from None
        finally:
            raw.close()

    @staticmethod
    def insert(table: sa.Table) -> sqlite.Insert:
        """Rows for a table; those that are there already may be left out (``on_conflict_do_nothing``)."""
        return sqlite.insert(table)

    def lock_schema(self, _connection: sa.Connection) -> None:
        """Nobody else makes tables: the locks see to that."""

    def lock_shares(self, _connection: sa.Connection, _ledger_id: str) -> None:
        """Nobody else shares out anything."""

    def take_life(self, _ledger_id: str, _number: int) -> None:
        """The lock file is our life."""

    def alive(self, _connection: sa.Connection, _ledger_id: str) -> frozenset[int]:
        """The numbers of the daemons that live: the first, as long as it holds the lock file."""
        return frozenset({1} if is_daemon_alive(self._folder) else ())

    def try_life_of(self, _connection: sa.Connection, _ledger_id: str, _number: int) -> bool:
        """There is no other."""
        return False

    def announce(self, _connection: sa.Connection, _ledger_id: str, _owner: str, _kinds: frozenset[str]) -> None:
        """Nobody listens."""

    def listen(self, _post: Callable[[object], None]) -> None:
        """Nobody speaks."""

    def close(self) -> None:
        """Let go of the database and of the locks."""
        if hasattr(self, "engine"):
            self.engine.dispose()
        while self._locks:
            os.close(self._locks.pop())


def is_daemon_alive(folder: Path) -> bool:
    """Whether a daemon holds the state in this folder."""
    try:
        lock = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def exists(folder: Path, path: Path | None = None) -> bool:
    """Whether there is a ledger in this folder, or at the path of its own."""
    return (path or folder / LEDGER_FILE).exists()


def make_folder(folder: Path) -> None:
    """Make it with its parents; their names are on disk before anything in it may matter (fsync(2))."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def take_lock(path: Path) -> int:
    """Hold this file's lock for as long as its descriptor is open.

    Raises:
        LedgerLocked: another daemon holds it.
        OSError: it cannot be opened.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        is_taken = _lock_soon(lock)
    except OSError:
        os.close(lock)
        raise
    if not is_taken:
        os.close(lock)
        raise LedgerLocked(
            f"another chromadrop has this state ({path.parent}): stop it first, "
            "or give this one a folder of its own (folders.state)"
        )
    return lock


def _lock_soon(lock: int) -> bool:
    """Take the lock, in half a second at most: `is_daemon_alive` holds it for a moment when it looks."""
    for _ in range(10):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        threading.Event().wait(0.05)
    return False


def _engine(path: Path, begin: str) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": 10},
    )

    def on_connect(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins transactions itself, so that a write locks at once and never in the middle.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    sa_event.listen(engine, "connect", on_connect)
    sa_event.listen(engine, "begin", on_begin)
    return engine
