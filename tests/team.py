"""Several daemons' ledgers on one database, which live, die, and are cut off when a test says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from patience import wait_until

from daemon.edges.ledger import Ledger
from daemon.edges.ledger.postgres import lock_class

if TYPE_CHECKING:
    from pathlib import Path

    from postgres import Server


def wait_only(ledger: Ledger, seconds: float) -> None:
    """A database that does not answer for so long is given up; on a busy machine it may just be slow."""
    base: Any = ledger._base
    base._guard._seconds = seconds


_LIVES = (
    "FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = {0}::bigint::oid "
    "AND objid = (SELECT number FROM daemons WHERE owner = '{1}')::bigint::oid "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class Team:
    """Daemons of one ledger, each with a state folder of its own; all of them end when it is left.

    Attributes:
        root: for their folders; empty.

    Args:
        folder: for the root and the state folders.
        server: with the database.
        url: of the database, as the daemons have it.
    """

    def __init__(self, folder: Path, server: Server, url: str) -> None:
        self.url = url
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        self._folder = folder
        self._server = server
        self._ledgers: list[Ledger] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for ledger in self._ledgers:
            ledger.close()

    def join(self, name: str, *, url: str | None = None) -> Ledger:
        """A daemon with this state folder."""
        ledger = Ledger(self.state(name), url=url or self.url)
        self._ledgers.append(ledger)
        return ledger

    def state(self, name: str) -> Path:
        """The state folder of that daemon."""
        return self._folder / f"state-{name}"

    def is_alive(self, ledger: Ledger) -> bool:
        """Whether PostgreSQL says so."""
        return bool(self.run(f"SELECT 1 {_LIVES.format(lock_class(ledger.id), ledger.owner)}"))

    def die(self, ledger: Ledger) -> None:
        """All of it, as SIGKILL does; until PostgreSQL has noticed."""
        ledger.close()
        wait_until(lambda: not self.is_alive(ledger), "the end of a daemon")

    def cut(self, ledger: Ledger) -> None:
        """Its life ends for PostgreSQL, and it does not know; until that is so."""
        self.run(f"SELECT pg_terminate_backend(pid) {_LIVES.format(lock_class(ledger.id), ledger.owner)}")
        wait_until(lambda: not self.is_alive(ledger), "the end of a session")

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """As an administrator."""
        return self._server.run(statement, database=self.url)
