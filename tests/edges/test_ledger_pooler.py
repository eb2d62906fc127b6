"""A ledger behind a real pooler (pgbouncer): a life is a lock of a session, so a daemon is refused there, in words.

https://www.pgbouncer.org/config.html says what its modes do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from patience import PATIENCE_SECONDS, wait_until
from postgres import ADMINISTRATOR, Server, database_of, skip_reason

from daemon.core.errors import LedgerRefused, LedgerUnavailable
from daemon.edges.ledger import Ledger
from daemon.edges.ledger.postgres import look_at_server

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
LEAVES_OUT_LIMITS = "ignore_startup_parameters = options, extra_float_digits"
"""What operators write when a client is refused for its startup parameters."""

pytestmark = [
    pytest.mark.skipif(bool(skip_reason()), reason=skip_reason()),
    pytest.mark.skipif(PROGRAM is None, reason="needs pgbouncer (Debian package pgbouncer)"),
    pytest.mark.skipif(
        os.geteuid() == 0 and shutil.which("setpriv") is None,
        reason="needs setpriv (Debian package util-linux): pgbouncer does not run as root",
    ),
]


@contextmanager
def pooled(server: Server, url: str, mode: str, *settings: str) -> Iterator[str]:
    """The same database through a pooler, which listens on a socket in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="pgb"))  # short: a socket lies in it
    folder.chmod(0o777)
    names = (folder / "names", f'"{ADMINISTRATOR}" ""\n')
    lines = (
        "[databases]",
        f"* = host={server.folder} port={server.port}",
        "[pgbouncer]",
        "listen_addr =",
        f"unix_socket_dir = {folder}",
        "auth_type = trust",
        f"auth_file = {names[0]}",
        f"pool_mode = {mode}",
        *settings,
    )
    configuration = (folder / "pgbouncer.ini", "\n".join(lines) + "\n")
    for path, text in (names, configuration):
        path.write_text(text)
        path.chmod(0o644)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    process = subprocess.Popen([*user, str(PROGRAM), "--quiet", str(configuration[0])], stderr=subprocess.PIPE)
    try:
        direct = f"host={folder} port=6432 user={ADMINISTRATOR} dbname={database_of(url)}"
        wait_until(lambda: process.poll() is not None or _answers(direct), "the pooler")
        assert process.poll() is None, process.communicate()[1]
        yield f"postgresql+psycopg://{ADMINISTRATOR}@/{database_of(url)}?host={folder}&port=6432"
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)
        shutil.rmtree(folder)


def _answers(direct: str) -> bool:
    try:
        with psycopg.connect(direct):
            return True
    except psycopg.OperationalError:
        return False


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("transaction", "gives each transaction another session"),
        ("session", "time limits that a session of ours asks for as it begins are not in force"),
    ],
)
def test_a_pooler_that_lets_us_in_is_refused(
    postgres_server: Server, postgres_url: str, tmp_path: Path, mode: str, words: str
) -> None:
    """By a daemon, and by who only looks at the server; and nobody is alive afterwards."""
    with pooled(postgres_server, postgres_url, mode, LEAVES_OUT_LIMITS) as url:
        assert words in look_at_server(url).obstacle
        with pytest.raises(LedgerRefused, match=words):
            Ledger(tmp_path, url=url, is_exclusive=True)
    with closing(Ledger(tmp_path, url=postgres_url, is_exclusive=True)) as ledger:  # by itself it is fine
        assert ledger.id


@pytest.mark.parametrize(
    ("mode", "settings", "words"),
    [
        ("transaction", (), "unsupported startup parameter"),
        ("session", (), "unsupported startup parameter"),
        ("statement", (LEAVES_OUT_LIMITS,), "statement pooling mode"),
    ],
)
def test_a_pooler_that_turns_us_away_is_named(
    postgres_server: Server, postgres_url: str, tmp_path: Path, mode: str, settings: tuple[str, ...], words: str
) -> None:
    """What the driver says has what to do about it."""
    with (
        pooled(postgres_server, postgres_url, mode, *settings) as url,
        pytest.raises(LedgerUnavailable, match=f"{words}.*; a pooler such as pgbouncer is in between"),
    ):
        Ledger(tmp_path, url=url, is_exclusive=True)
