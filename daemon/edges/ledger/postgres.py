"""PostgreSQL as the engine: several daemons, each alive as long as it holds an advisory lock of its own.

The lock belongs to a session that does nothing else but listen (`lifeline`), so PostgreSQL itself lets go of it when
the daemon, its machine, or the way to it dies (https://www.postgresql.org/docs/current/explicit-locking.html).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.dialects import postgresql

from daemon.core.errors import LedgerRefused, LedgerUnavailable
from daemon.edges.ledger import schema
from daemon.edges.ledger.lifeline import HELD_LOCKS, Guard, Lifeline
from daemon.edges.ledger.server import Server, ask, explain, obstacle
from daemon.edges.ledger.sqlite import LOCK_FILE, make_folder, take_lock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

IDENTITY_FILE: Final = "identity"
CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 20.0
"""A database that has not answered for so long is taken for gone, though the connection to it stands."""
SCHEMA_LOCK: Final = 0x6368726F6D61
"""For the making of tables; any number that others are not likely to take."""
SHARES: Final = 0
"""The number of the lock for sharing out; those of daemons begin with 1."""
PAGE: Final = -1
"""The number of the lock of the one that writes the pages."""

_SERVER_SIDE: Final = {
    # The server notices within a dozen seconds that a machine is gone (man 7 tcp).
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "12000",
    # Nothing of ours takes long: what does hangs.
    "lock_timeout": "8000",
    "statement_timeout": "15000",
    "idle_in_transaction_session_timeout": "10000",
}
_OUR_SIDE: Final[dict[str, Any]] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 12_000,
}


class PostgresBase:
    """The database of several daemons, as one of them has it.

    Args:
        folder: the state folder, on a local disk; holds our identity. Made when missing. None: we are nobody.
        url: of the database, for SQLAlchemy.
        is_exclusive: be a daemon; without it (``status``, ``retry``) others may be running.

    Raises:
        LedgerLocked: another daemon has this state folder.
        LedgerRefused: the driver is not installed.
        OSError: the folder cannot be used.
    """

    is_shared: Final = True

    def __init__(self, folder: Path | None, url: str, *, is_exclusive: bool) -> None:
        self._locks: list[int] = []
        self._lifeline: Lifeline | None = None
        self._is_exclusive = is_exclusive
        self.host = host_name()
        try:
            self.identity = ""
            if folder is not None and is_exclusive:
                make_folder(folder)
                self._locks.append(take_lock(folder / LOCK_FILE))
                self.identity = _identity(folder)
            elif folder is not None:
                self.identity = _read_identity(folder / IDENTITY_FILE) or ""
            self._url = sa.make_url(url)
            self._guard = Guard(ANSWER_SECONDS)
            self.engine = self._make_engine()
        except BaseException:
            self.close()
            raise

    def _make_engine(self) -> sa.Engine:
        try:
            engine = sa.create_engine(
                self._url,
                pool_size=1,
                max_overflow=0,
                pool_use_lifo=True,
                connect_args=self._connect_args(),
                isolation_level="READ COMMITTED" if self._is_exclusive else "REPEATABLE READ",
            )
        except ImportError:
            raise LedgerRefused(
                "the driver for PostgreSQL is not installed: pip install 'chromadrop[postgres]'"
            ) from None
        sa_event.listen(engine, "connect", _make_durable)
        return engine

    def _connect_args(self) -> dict[str, Any]:
        given = str(self._url.query.get("options", ""))
        options = " ".join([*(f"-c {key}={value}" for key, value in _SERVER_SIDE.items()), given]).strip()
        ours = {key: value for key, value in _OUR_SIDE.items() if key not in self._url.query}
        return {**ours, "options": options, "application_name": f"chromadrop on {self.host}"}

    def connect(self) -> psycopg.Connection[Any]:
        """A connection beside the engine's, each statement a transaction of its own.

        Raises:
            psycopg.Error: it cannot be had.
        """
        import psycopg  # noqa: PLC0415 - only who uses PostgreSQL has it installed

        _args, parameters = self.engine.dialect.create_connect_args(self._url)
        return psycopg.connect(**{**parameters, **self._connect_args()}, autocommit=True)

    def explain(self, error: object) -> str:
        """What the driver said, fit to be shown."""
        return explain(error, self._url)

    def watch(self, connection: sa.Connection) -> None:
        """A transaction begins: it must not take for ever."""
        self._guard.watch("ledger", connection.connection.driver_connection)

    def relax(self) -> None:
        """It has ended."""
        self._guard.relax("ledger")

    def owner_of(self, _ledger_id: str) -> str:
        """Whose rows are ours."""
        return f"{self.host}-{self.identity}"

    def keep_copy(self, found: str) -> None:
        """A database of several machines is backed up by who runs it."""

    @staticmethod
    def insert(table: sa.Table) -> postgresql.Insert:
        """Rows for a table; those that are there already may be left out (``on_conflict_do_nothing``)."""
        return postgresql.insert(table)

    def lock_schema(self, connection: sa.Connection) -> None:
        """Until the transaction ends nobody else makes tables."""
        schema.have_partial_indexes_in_postgresql()
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(SCHEMA_LOCK)))

    def lock_shares(self, connection: sa.Connection, ledger_id: str) -> None:
        """Until the transaction ends nobody else takes a share of what all daemons have together."""
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(lock_class(ledger_id), SHARES)))

    def take_life(self, ledger_id: str, number: int) -> None:
        """Hold the lock that says that we live.

        Raises:
            LedgerLocked: another process is this daemon.
            LedgerRefused: there is a pooler in between, for which that lock is nobody's.
            LedgerUnavailable: the database cannot be reached.
        """
        import psycopg  # noqa: PLC0415 - only who uses PostgreSQL has it installed

        self._lifeline = Lifeline(
            self.connect,
            self._guard,
            explain=self.explain,
            channel=channel(ledger_id),
            lock_class=lock_class(ledger_id),
            number=number,
            page=PAGE,
        )
        session = self._lifeline.take()
        try:
            with self.engine.connect() as connection:
                other = connection.scalar(sa.select(sa.func.pg_backend_pid()))
        except sa.exc.DBAPIError as error:
            raise LedgerUnavailable(self.explain(error.orig)) from None
        try:
            found = obstacle(session, int(other or 0))  # after that transaction, while both connections are open
        except psycopg.Error as error:
            raise LedgerUnavailable(self.explain(error)) from None
        if found:
            raise LedgerRefused(found)

    def alive(self, connection: sa.Connection, ledger_id: str) -> frozenset[int]:
        """The numbers of the daemons that live."""
        held = sa.text(HELD_LOCKS.replace("%s", ":lock_class"))
        return frozenset(connection.execute(held, {"lock_class": lock_class(ledger_id)}).scalars())

    def try_life_of(self, connection: sa.Connection, ledger_id: str, number: int) -> bool:
        """Hold the lock of another daemon until the transaction ends; False where it lives."""
        lock = sa.func.pg_try_advisory_xact_lock(lock_class(ledger_id), number)
        return bool(connection.execute(sa.select(lock)).scalar_one())

    def announce(self, connection: sa.Connection, ledger_id: str, owner: str, kinds: frozenset[str]) -> None:
        """Tell the other daemons, once the transaction is committed."""
        payload = json.dumps({"by": owner, "kinds": sorted(kinds)})
        connection.execute(sa.select(sa.func.pg_notify(channel(ledger_id), payload)))

    def listen(self, post: Callable[[object], None]) -> None:
        """From now on say what the others say, and who of them lives."""
        if self._lifeline is not None:
            self._lifeline.start(post, self.owner_of(""))

    def close(self) -> None:
        """Let go of the database and of the locks."""
        if self._lifeline is not None:
            self._lifeline.close()
        if hasattr(self, "engine"):
            self.engine.dispose()
        if hasattr(self, "_guard"):
            self._guard.close()
        while self._locks:
            os.close(self._locks.pop())


def look_at_server(url: str) -> Server:
    """What there is to know of the server behind an address; nothing is changed there.

    Raises:
        LedgerRefused: the driver is not installed.
        LedgerUnavailable: it cannot be reached.
    """
    base = PostgresBase(None, url, is_exclusive=False)
    try:
        import psycopg  # noqa: PLC0415 - only who uses PostgreSQL has it installed

        with base.connect() as one, base.connect() as other:
            return ask(one, other)
    except psycopg.Error as error:
        raise LedgerUnavailable(base.explain(error)) from None
    finally:
        base.close()


def _make_durable(connection: Any, _record: object) -> None:
    """What is committed must outlive the server, whatever else it is set to: an export leaves only after that.

    https://www.postgresql.org/docs/current/runtime-config-wal.html#GUC-SYNCHRONOUS-COMMIT
    """
    cursor = connection.cursor()
    cursor.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    cursor.close()
    connection.commit()


def lock_class(ledger_id: str) -> int:
    """The first half of our locks' key, so that two ledgers in one database do not meet."""
    return int(ledger_id[:8], 16) & 0x7FFFFFFF


def channel(ledger_id: str) -> str:
    """Where the daemons of a ledger speak with each other."""
    return f"chromadrop_{ledger_id}"


def host_name() -> str:
    """This machine's name, as far as it may stand in names of files and rows."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:63] or "unnamed"


def _identity(folder: Path) -> str:
    """What tells this state folder from all others, made once and kept."""
    path = folder / IDENTITY_FILE
    found = _read_identity(path)
    if found is not None:
        return found
    made = secrets.token_hex(4)
    scratch = path.with_name(f"{IDENTITY_FILE}.new")
    with scratch.open("w", encoding="ascii") as file:
        file.write(f"{made}\n")
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return made


def _read_identity(path: Path) -> str | None:
    with suppress(OSError, ValueError):
        text = path.read_text("ascii").strip()
        if re.fullmatch("[0-9a-f]{8}", text):
            return text
    return None
