"""A real PostgreSQL server of the tests' own, which can be stopped, killed, frozen, and switched.

Nothing of it stays behind, even when the tests are killed: a guard ends what runs in the folder, and removes it.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from patience import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

LOOPBACK: Final = "127.0.0.1"
ADMINISTRATOR: Final = "postgres"
SETTINGS: Final = {
    "fsync": "off",  # what the kernel has outlives the server's SIGKILL; only a power cut is not played here
    "full_page_writes": "off",
    "shared_buffers": "16MB",
    "min_wal_size": "8MB",
    "max_wal_size": "256MB",
    "wal_keep_size": "64MB",
    "dynamic_shared_memory_type": "mmap",  # in the folder, so that it goes with it
    "log_lock_waits": "on",
    "log_line_prefix": "%m %p %a ",
}
DURABLE: Final = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB", "max_wal_size": "1GB"}
_ROOM_BYTES: Final = 2 << 30
_SIGNALS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

# Ends, and removes the folder, when what holds its standard input has gone without a word.
_GUARD: Final = """
import os, pathlib, shutil, signal, subprocess, sys
folder = pathlib.Path(sys.argv[1])
def family():
    for one in pathlib.Path("/proc").iterdir():
        try:
            if one.name.isdigit() and os.readlink(one / "cwd").startswith(sys.argv[1]):
                yield int(one.name)
        except OSError:
            pass
if not sys.stdin.buffer.read():
    while found := list(family()):
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
    try:
        segment = (folder / "data/postmaster.pid").read_text().splitlines()[6].split()[1]
        subprocess.run(["ipcrm", "--shmem-id", segment], capture_output=True)
    except (OSError, IndexError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
"""


@cache
def programs() -> Path | None:
    """The folder with initdb and postgres: where PATH has it, else the newest that Debian has; None: nowhere."""
    on_path = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    candidates = ([Path(on_path).resolve().parent] if on_path else []) + debian
    return next((path for path in candidates if (path / "postgres").exists() and (path / "initdb").exists()), None)


def skip_reason() -> str:
    """Why there can be no server here; empty: there can."""
    if sys.platform != "linux":
        return "the server's processes are found in Linux's /proc"
    if programs() is None:
        return "needs a PostgreSQL server (Debian package postgresql)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "needs setpriv (Debian package util-linux): PostgreSQL does not run as root"
    return ""


def _unprivileged() -> pwd.struct_passwd | None:
    """Whom root runs the server as."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")


def _memory() -> str | None:
    """A file system in memory with enough room, if there is one: a new database takes a tenth of the time there."""
    memory = Path("/dev/shm")
    return str(memory) if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOM_BYTES else None


class Server:
    """A server with its data; it is made when it is entered, and ended and removed when it is left.

    It listens on TCP, and for the test itself on a socket in its folder, which reaches it in another network namespace.

    Args:
        host: the address to listen on.
        port: None: a free one of loopback, kept over a restart.
        password: None: everybody is trusted. Else TCP needs it, by SCRAM, and TLS with ``certificate``.
        settings: of postgresql.conf, over ``SETTINGS``.
        launcher: what it is started through, such as ``nsenter``.
        is_durable: as in earnest: on a disk, and what is committed survives a power cut.
    """

    def __init__(
        self,
        *,
        host: str = LOOPBACK,
        port: int | None = None,
        password: str | None = None,
        settings: dict[str, str] | None = None,
        launcher: tuple[str, ...] = (),
        is_durable: bool = False,
    ) -> None:
        self.host = host
        self.password = password
        self.folder = Path(
            tempfile.mkdtemp(prefix="pg", dir=None if is_durable else _memory())
        )  # short: a socket lies in it
        self.certificate = self.folder / "server.crt"
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self._settings = SETTINGS | (DURABLE if is_durable else {}) | (settings or {})
        self._launcher = launcher
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged()
        self._numbers = count(1)
        # Bound but not listening: nobody else is given the port while the server is down, and who connects is refused.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port is None:
            self._reserved.bind((LOOPBACK, 0))
        self.port: int = self._reserved.getsockname()[1] if port is None else port

    def __enter__(self) -> Self:
        return self._entered(self._initialise)

    def __exit__(self, *_: object) -> None:
        self._end()
        self._guard.communicate(b"all is well")
        self._reserved.close()
        shutil.rmtree(self.folder)

    # --- its life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Until it answers."""
        settings = self._settings | {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("postgres", "-D", str(self._data), *options),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests alone
            )
        wait_until(self._is_ready, "PostgreSQL's first answer")

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """As pg_ctl(1) does: wait for the clients, roll back and say goodbye to them, or end as in a crash."""
        assert self._process is not None
        self._process.send_signal(_SIGNALS[mode])
        self._process.wait(PATIENCE_SECONDS)
        self._process = None

    def kill(self) -> None:
        """SIGKILL to all of it at one instant, as when its machine dies; the next start recovers."""
        assert self._process is not None
        self.freeze()
        for process in self._family():
            _send(process, signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)
        self._process = None
        wait_until(lambda: not self._family(), "the end of the server's processes")
        self._forget_shared_memory()

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop and start, on the same port."""
        self.stop(mode)
        self.start()

    def freeze(self) -> None:
        """Stop all of it where it is: connections stay, nothing answers, a new one is accepted by the kernel alone."""
        assert self._process is not None
        parent = self._process.pid
        _send(parent, signal.SIGSTOP)
        wait_until(lambda: _is_frozen(parent), "the frozen server")  # and so it has no more children than these
        for process in self._family():
            _send(process, signal.SIGSTOP)
        wait_until(lambda: all(map(_is_frozen, self._family())), "the frozen server")

    def thaw(self) -> None:
        """It goes on where it was."""
        for process in self._family():
            _send(process, signal.SIGCONT)

    # --- what is in it --------------------------------------------------------------------------------------------

    def url(self, database: str, *, host: str | None = None, port: int | None = None) -> str:
        """For ``ledger.url``; ``host`` and ``port`` are a proxy's, where one is between."""
        secret, options = "", ""
        if self.password is not None:
            secret, options = f":{self.password}", f"?sslmode=verify-full&sslrootcert={self.certificate}"
        place = f"{host or self.host}:{port or self.port}"
        return f"postgresql+psycopg://{ADMINISTRATOR}{secret}@{place}/{database}{options}"

    def create_database(self) -> str:
        """The URL of a new and empty database, whose text sorts as a dictionary does, where the server can do that."""
        name = f"test_{next(self._numbers)}"
        options = " TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en'" if self._has_icu else ""
        self.run(f"CREATE DATABASE {name}{options}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """With all that is connected to it."""
        self.run(f"DROP DATABASE {database_of(url)} WITH (FORCE)")

    def run(self, sql: str, *parameters: object, database: str = ADMINISTRATOR) -> list[tuple[Any, ...]]:
        """One statement as the administrator, beside every proxy and partition; its rows, or none.

        Args:
            sql: with ``%s`` for each parameter.
            *parameters: in their order.
            database: its name, or its URL.
        """
        with self.connect(database) as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def connect(self, database: str = ADMINISTRATOR) -> psycopg.Connection[tuple[Any, ...]]:
        """The administrator's own connection, in autocommit."""
        import psycopg

        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user=ADMINISTRATOR,
            dbname=database_of(database),
            connect_timeout=int(PATIENCE_SECONDS),
            autocommit=True,
        )

    def terminate(self, where: str = "true") -> int:
        """End clients' connections, as an administrator does; how many.

        Args:
            where: which, by the columns of ``pg_stat_activity``.
        """
        ended = self.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND ({where})"
        )
        return len(ended)

    def sessions(self, where: str = "true") -> int:
        """How many clients' connections there are, by the columns of ``pg_stat_activity``."""
        ((found,),) = self.run(
            "SELECT count(*) FROM pg_stat_activity"
            f" WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND ({where})"
        )
        return int(found)

    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    # --- a second server ------------------------------------------------------------------------------------------

    def standby(self, *, host: str | None = None, port: int | None = None, synchronous: bool = False) -> Standby:
        """A copy of it that follows it; to be entered, like the server.

        Args:
            host: the address to listen on; None: the same.
            port: as with a server.
            synchronous: no commit ends here before the standby has it, so that a switch loses none.
        """
        return Standby(self, host=host or self.host, port=port, synchronous=synchronous)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _entered(self, make: Callable[[], None]) -> Self:
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-c", _GUARD, str(self.folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        try:
            self.folder.chmod(0o711)  # the certificate is for everybody
            if self._user is not None:
                os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)
            make()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _initialise(self) -> None:
        options = ["--auth=trust", f"--username={ADMINISTRATOR}", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._tool("initdb", "-D", str(self._data), *options, "--wal-segsize=4")
        rules = ["local all all trust", "local replication all trust"]
        rules += [f"{'host' if self.password is None else 'hostssl'} all all all {self._method()}"]
        (self._data / "pg_hba.conf").write_text("\n".join(rules) + "\n")
        if self.password is not None:
            self._make_certificate()
            self._set_password()

    def _method(self) -> str:
        return "trust" if self.password is None else "scram-sha-256"

    def _make_certificate(self) -> None:
        key = self.folder / "server.key"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        names = ["-subj", "/CN=postgres", "-addext", f"subjectAltName=IP:{self.host},DNS:localhost"]
        files = ["-days", "2", "-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run([*self._as_user(), *command, *names, *files], check=True, capture_output=True, cwd=self.folder)
        self._settings |= {"ssl": "on", "ssl_cert_file": str(self.certificate), "ssl_key_file": str(key)}

    def _set_password(self) -> None:
        single = self._command("postgres", "--single", "-D", str(self._data), ADMINISTRATOR)
        statement = f"ALTER ROLE {ADMINISTRATOR} PASSWORD '{self.password}'\n".encode()
        subprocess.run(single, input=statement, check=True, capture_output=True, cwd=self.folder)

    def _as_user(self) -> list[str]:
        if self._user is None:
            return []
        return ["setpriv", f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]

    def _command(self, program: str, *arguments: str) -> list[str]:
        folder = programs()
        assert folder is not None
        return [*self._launcher, *self._as_user(), str(folder / program), *arguments]

    def _tool(self, program: str, *arguments: str) -> None:
        """Run it to its end."""
        done = subprocess.run(self._command(program, *arguments), check=False, capture_output=True, cwd=self.folder)
        assert done.returncode == 0, f"{program}: {done.stderr.decode(errors='replace')}"

    def _is_ready(self) -> bool:
        import psycopg

        assert self._process is not None
        assert self._process.poll() is None, f"PostgreSQL ended: {self.log()}"
        try:
            self.run("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @cached_property
    def _has_icu(self) -> bool:
        modern = "SELECT current_setting('server_version_num')::int >= 150000"
        ((found,),) = self.run(f"{modern} AND EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')")
        return bool(found)

    def _family(self) -> list[int]:
        """Every process of the server: the one that was started, and its children."""
        return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and self._is_of_it(one)]

    def _is_of_it(self, process: Path) -> bool:
        with suppress(OSError):
            return (process / "cwd").readlink() == self._data
        return False

    def _forget_shared_memory(self) -> None:
        """The one piece that outlives a killed server until the next start; there may be none."""
        with suppress(OSError, IndexError):
            _, segment = (self._data / "postmaster.pid").read_text().splitlines()[6].split()
            subprocess.run(["ipcrm", "--shmem-id", segment], check=False, capture_output=True)

    def _end(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self.thaw()
            self._process.send_signal(signal.SIGQUIT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(PATIENCE_SECONDS / 4)
        if self._process.poll() is None:
            self.kill()
        self._process = None


class Standby(Server):
    """A copy that follows its primary, and takes its place when it is promoted; it can be read all the time."""

    def __init__(self, primary: Server, *, host: str, port: int | None, synchronous: bool) -> None:
        super().__init__(host=host, port=port, settings=primary._settings, launcher=primary._launcher)
        self.password = primary.password
        self.certificate = primary.certificate
        self._primary = primary
        self._synchronous = synchronous

    def __enter__(self) -> Self:
        self._entered(self._copy)
        if self._synchronous:
            self._set(self._primary, "synchronous_standby_names", "*")
        self.catch_up()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._synchronous and self._primary._process is not None:
            self._primary.thaw()
            self._set(self._primary, "synchronous_standby_names", "")  # or it would wait for ever
        super().__exit__(*exception)

    def catch_up(self) -> None:
        """Until it has all that the primary has committed so far."""
        ((end,),) = self._primary.run("SELECT pg_current_wal_flush_lsn()::text")
        wait_until(
            lambda: self.run("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", end) == [(True,)], "the standby's replay"
        )

    def detach(self) -> None:
        """It follows no more: what the primary commits from now on is lost by a promotion."""
        self._set(self, "primary_conninfo", "")
        wait_until(lambda: not self.run("SELECT FROM pg_stat_wal_receiver"), "the end of following")

    def promote(self) -> None:
        """Until it takes writes. The primary is not asked, and takes them too, unless the test has ended it."""
        assert self.run("SELECT pg_promote(true, %s)", int(PATIENCE_SECONDS)) == [(True,)]

    @staticmethod
    def _set(server: Server, name: str, value: str) -> None:
        server.run(f"ALTER SYSTEM SET {name} = '{value}'")
        server.run("SELECT pg_reload_conf()")
        wait_until(lambda: server.run("SELECT current_setting(%s)", name) == [(value,)], f"{name} = {value!r}")

    def _copy(self) -> None:
        source = f"host={self._primary.folder} port={self._primary.port} user={ADMINISTRATOR}"
        how = ["--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync"]
        self._tool("pg_basebackup", f"--dbname={source}", f"--pgdata={self._data}", *how)


def database_of(url: str) -> str:
    """The name in a URL; a name is its own."""
    found = re.search(r"://[^/]*/([^?]*)", url)
    return found[1] if found else url


def through(url: str, host: str, port: int) -> str:
    """The same database, by another address, such as a proxy's."""
    return re.sub(r"(://(?:[^@/]*@)?)[^/]*", lambda found: f"{found[1]}{host}:{port}", url, count=1)


def _send(process: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _is_frozen(process: int) -> bool:
    """Stopped, or ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in {"T", "t", "Z", "X"}
