"""What there is to know of a PostgreSQL server before a ledger is trusted to it, and its errors in words that help."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, quote_plus

from daemon.core.record import dataclass

if TYPE_CHECKING:
    import psycopg
    import sqlalchemy as sa

MASK: Final = "***"
POOLED: Final = (
    "between us and PostgreSQL is a pooler that gives each transaction another session (pgbouncer with pool_mode = "
    "transaction): no lock and no LISTEN would last there; let ledger.url name PostgreSQL itself"
)
UNBOUNDED: Final = (
    "the time limits that a session of ours asks for as it begins are not in force: between us and PostgreSQL is a "
    "pooler that leaves them out (pgbouncer with ignore_startup_parameters = options), so that one daemon that hangs "
    "would hold up all others; let ledger.url name PostgreSQL itself"
)
_NO_POOLER: Final = "a pooler such as pgbouncer is in between: let ledger.url name PostgreSQL itself"
_CURES: Final = (
    ("unsupported startup parameter", _NO_POOLER),
    ("pooling mode", _NO_POOLER),
    (
        "no password supplied",
        "give it in ~/.pgpass (mode 600), by PGPASSFILE or PGPASSWORD, or in the address: CHROMADROP_LEDGER__URL",
    ),
    ("permission denied for schema", "make our role the database's owner: ALTER DATABASE ... OWNER TO ..."),
    (
        "read-only transaction",
        "this server is a standby: name all servers in ledger.url, and target_session_attrs=read-write",
    ),
    ("no pg_hba.conf entry", "allow this machine in the server's pg_hba.conf, and reload it"),
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has answered.

    Attributes:
        place: host and port, or the folder of its socket.
        version: such as ``15.6``.
        is_local: reached over a socket or loopback.
        is_encrypted: over TLS.
        is_verified: its certificate and its name are compared with what is expected (``sslmode=verify-full``).
        is_standby: it takes no writes.
        obstacle: why no daemon can live on what is in between; empty where nothing is.
        clock: its wall-clock seconds when it answered.
    """

    place: str
    version: str
    is_local: bool
    is_encrypted: bool
    is_verified: bool
    is_standby: bool
    obstacle: str
    clock: float


def ask(one: psycopg.Connection[Any], other: psycopg.Connection[Any]) -> Server:
    """What is at the other end of two connections, which are open at the same time.

    Raises:
        psycopg.Error: it does not answer.
    """
    info = one.info
    host = info.host
    parameters = info.get_parameters()
    row = one.execute("SELECT pg_is_in_recovery(), extract(epoch FROM clock_timestamp())").fetchone()
    is_standby, clock = row if row is not None else (False, 0)
    return Server(
        place=host if host.startswith("/") else f"{host}:{info.port}",
        version=_version(info.server_version),
        is_local=host.startswith(("/", "@")) or _is_loopback(info.hostaddr),
        is_encrypted=bool(one.pgconn.ssl_in_use),
        is_verified=parameters.get("sslmode") == "verify-full",
        is_standby=bool(is_standby),
        obstacle=obstacle(one, session_of(other)),
        clock=float(clock),
    )


def obstacle(session: psycopg.Connection[Any], other: int) -> str:
    """Why no daemon can live on what is between us and the server; empty where it can.

    Args:
        session: one of ours, begun with limits to what it may take (`postgres`).
        other: the server's process that has just answered on another connection, which is still open.
    """
    if other == session_of(session):
        return POOLED
    limits = session.execute("SELECT source FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'")
    return "" if limits.fetchone() == ("client",) else UNBOUNDED


def session_of(connection: psycopg.Connection[Any]) -> int:
    """The server's process that answers; behind a pooler it may be another one each time."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return 0 if row is None else int(row[0])


def _version(number: int) -> str:
    return f"{number // 10_000}.{number % 10_000}"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def explain(error: object, url: sa.URL) -> str:
    """What the driver said, on one line, without the password, and with what to do where that is known."""
    text = without_password(" ".join(str(error).split()), url) or type(error).__name__
    cure = next((cure for sign, cure in _CURES if sign in text), "")
    return f"the ledger cannot be used: {text}" + (f"; {cure}" if cure else "")


def without_password(text: str, url: sa.URL) -> str:
    """The text, without the password that the address holds, in any spelling."""
    for secret in secrets_of(url):
        text = text.replace(secret, MASK)
    return text


def secrets_of(url: sa.URL) -> list[str]:
    """The passwords in an address, as they are and as they may be written, the longest first."""
    given = [url.password, *(url.query.get(key) for key in ("password", "sslpassword"))]
    plain = [secret for secret in given if isinstance(secret, str) and secret]
    spelled = {form for secret in plain for form in (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))}
    return sorted(spelled, key=len, reverse=True)
