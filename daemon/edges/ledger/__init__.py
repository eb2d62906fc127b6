"""The ledger: what was claimed, asked, paid, and made; SQL through SQLAlchemy Core.

::

    dispatcher ──► ledger ──► schema, mapping, work
                     │
                     ├──► sqlite     one daemon: a file, and a lock file
                     └──► postgres   several: a database, and an advisory lock each ──► lifeline ──► mailbox
                             └──► server   what there is to know of it, and what its errors mean
"""

from daemon.edges.ledger.ledger import Ledger
from daemon.edges.ledger.schema import SCHEMA_VERSION
from daemon.edges.ledger.server import Server
from daemon.edges.ledger.sqlite import LEDGER_FILE, LOCK_FILE, exists, is_daemon_alive
from daemon.edges.ledger.work import (
    NOTHING_EARLIER,
    Borrowed,
    Closed,
    Earlier,
    Entry,
    Glance,
    Member,
    Pruned,
    Taken,
    Work,
)

__all__ = [
    "LEDGER_FILE",
    "LOCK_FILE",
    "NOTHING_EARLIER",
    "SCHEMA_VERSION",
    "Borrowed",
    "Closed",
    "Earlier",
    "Entry",
    "Glance",
    "Ledger",
    "Member",
    "Pruned",
    "Server",
    "Taken",
    "Work",
    "exists",
    "is_daemon_alive",
]
