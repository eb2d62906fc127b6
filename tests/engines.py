"""The two engines that a ledger may have, for the tests that hold on both."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from daemon.edges.ledger import LEDGER_FILE, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SQLITE = "sqlite"
POSTGRESQL = "postgresql"


class Engine:
    """Where the ledger of a test is kept.

    Attributes:
        name: which of the two it is.
        folder: the state folder, and with SQLite where the database lies.
        url: of the database, for ``Ledger``; None with SQLite.
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.name = SQLITE if url is None else POSTGRESQL
        self.folder = folder
        self.url = url

    @contextmanager
    def opened(self, **how: Any) -> Iterator[Ledger]:
        """A ledger, as a daemon has it unless told otherwise; closed again."""
        found = Ledger(self.folder, url=self.url, **how)
        try:
            yield found
        finally:
            found.close()

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables, read by another connection; what is no table any more is left out."""
        found = sa.create_engine(self.url or f"sqlite:///{self.folder / LEDGER_FILE}", poolclass=sa.NullPool)
        with found.connect() as connection:
            names = sorted(sa.inspect(connection).get_table_names())
            return {
                name: sorted(map(tuple, connection.execute(sa.text(f'SELECT * FROM "{name}"'))), key=repr)
                for name in names
            }

    def begun(self) -> sa.Connection:
        """Another program's connection, for what it may be doing at the same time; to be closed."""
        return sa.create_engine(self.url or f"sqlite:///{self.folder / LEDGER_FILE}", poolclass=sa.NullPool).connect()
