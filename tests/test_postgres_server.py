"""The tests' own PostgreSQL server does what the tests of several machines need of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS, wait_until
from postgres import Server, database_of, skip_reason, through
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

pytestmark = pytest.mark.skipif(bool(skip_reason()), reason=skip_reason())

TABLE = "CREATE TABLE note (said text)"


def say(url: str, *words: str) -> None:
    """One committed row for each word, over the client library that the ledger uses."""
    engine = create_engine(url)
    try:
        for word in words:
            with engine.begin() as connection:
                connection.execute(text("INSERT INTO note VALUES (:word)"), {"word": word})
    finally:
        engine.dispose()


def said(server: Server, url: str) -> list[str]:
    return sorted(word for (word,) in server.run("SELECT said FROM note", database=url))


def test_a_database_is_fresh_and_then_gone(postgres_server: Server) -> None:
    """Two databases share nothing, and one that is dropped takes its connections with it."""
    one, other = postgres_server.create_database(), postgres_server.create_database()
    for url in (one, other):
        postgres_server.run(TABLE, database=url)
    say(one, "only here")
    assert (said(postgres_server, one), said(postgres_server, other)) == (["only here"], [])
    with postgres_server.connect(one):
        postgres_server.drop_database(one)
        postgres_server.drop_database(other)
    names = [name for (name,) in postgres_server.run("SELECT datname FROM pg_database")]
    assert not {database_of(one), database_of(other)} & set(names)


def test_the_fixture_gives_a_database_that_sorts_as_a_dictionary(postgres_server: Server, postgres_url: str) -> None:
    """Most installations do not sort by bytes, and what counts on that is to be found by the tests."""
    ((has_icu,),) = postgres_server.run("SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')")
    if not has_icu:
        pytest.skip("this PostgreSQL was built without ICU")
    postgres_server.run(TABLE, database=postgres_url)
    say(postgres_url, "B", "a", "C")
    rows = postgres_server.run("SELECT said FROM note ORDER BY said", database=postgres_url)
    assert rows == [("a",), ("B",), ("C",)]


def test_terminated_sessions_are_those_that_were_meant(postgres_server: Server, postgres_url: str) -> None:
    """The named one is ended and says so at its next statement; the other goes on."""
    engines = [create_engine(f"{postgres_url}?application_name={name}") for name in ("one", "other")]
    try:
        with engines[0].connect() as ended, engines[1].connect() as spared:
            for connection in (ended, spared):
                connection.execute(text("SELECT 1"))
            assert postgres_server.terminate("application_name = 'one'") == 1
            with pytest.raises(OperationalError):
                ended.execute(text("SELECT 1"))
            assert spared.execute(text("SELECT 1")).scalar() == 1
    finally:
        for engine in engines:
            engine.dispose()


def test_what_was_committed_outlives_a_kill_and_nothing_else_does() -> None:
    """SIGKILL to the whole server, recovery at the next start, on the same port; then an ordinary restart."""
    with Server() as server:
        url = server.create_database()
        server.run(TABLE, database=url)
        say(url, "committed")
        with closing(server.connect(url)) as connection:
            connection.autocommit = False
            connection.execute("INSERT INTO note VALUES ('not committed')")
            server.kill()
        with pytest.raises(OperationalError, match="refused"):
            say(url, "to nobody")
        server.start()
        assert "database system was not properly shut down" in server.log()
        say(url, "after the kill")
        server.restart()
        say(url, "after the restart")
        assert said(server, url) == ["after the kill", "after the restart", "committed"]


def test_a_frozen_server_answers_when_it_is_thawed() -> None:
    """A statement that was sent to a frozen server waits, is done later, and is done once."""
    with Server() as server:
        url = server.create_database()
        server.run(TABLE, database=url)
        server.freeze()
        waiting = subprocess.Popen([sys.executable, "-c", _SAY, url], stdout=subprocess.PIPE, cwd=Path(__file__).parent)
        with waiting:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == b"connecting\n"
            assert waiting.poll() is None
            server.thaw()
            assert waiting.wait(PATIENCE_SECONDS) == 0
        assert said(server, url) == ["late"]


_SAY = """
import sys
from test_postgres_server import say
print("connecting", flush=True)
say(sys.argv[1], "late")
"""


@pytest.mark.slow
@pytest.mark.parametrize("synchronous", [False, True])
def test_a_promoted_standby_has_what_it_was_given(*, synchronous: bool) -> None:
    """It takes writes from then on; what the primary committed after the standby let go of it is lost."""
    with Server() as primary, primary.standby(synchronous=synchronous) as standby:
        url = primary.create_database()
        primary.run(TABLE, database=url)
        say(url, "followed")
        if not synchronous:
            standby.catch_up()
            standby.detach()
            say(url, "lost")
        primary.kill()
        standby.promote()
        switched = through(url, standby.host, standby.port)
        say(switched, "after the switch")
        assert said(standby, switched) == ["after the switch", "followed"]


def test_with_a_password_only_tls_and_the_right_one_get_in() -> None:
    """As the manual has it: SCRAM, over TLS, with the server's certificate verified."""
    with Server(password="s3cret") as server:
        url = make_url(server.create_database())
        server.run(TABLE, database=_plain(url))
        say(_plain(url), "let in")
        for wrong in (url.set(password="guess"), url.set(query={"sslmode": "disable"})):
            with pytest.raises(OperationalError, match=r"password authentication failed|no encryption"):
                say(_plain(wrong), "kept out")
        assert said(server, _plain(url)) == ["let in"]


def _plain(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def test_nothing_is_left_behind() -> None:
    """No process, no folder, no shared memory, whether it was running, frozen, or killed when the test ended."""
    for deed in (lambda _: None, Server.freeze, Server.kill):
        with Server() as server:
            segment = _segment_of(server.folder)
            assert segment in _shared_memory()
            deed(server)
        assert server._family() == []
        assert not server.folder.exists()
        assert segment not in _shared_memory()


def test_nothing_is_left_behind_by_tests_that_were_killed() -> None:
    """The guard ends a server whose tests are gone, even a frozen one, and removes its folder."""
    command = [sys.executable, "-c", _ABANDON]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent) as tests:
        assert tests.stdout is not None
        folder = Path(tests.stdout.readline().strip())
        segment = _segment_of(folder)
        os.kill(tests.pid, signal.SIGKILL)
    wait_until(lambda: not folder.exists(), "the end of the abandoned folder")
    running = (path for path in Path("/proc").glob("[0-9]*/cwd") if os.path.realpath(path).startswith(f"{folder}/"))
    assert list(running) == []
    assert segment not in _shared_memory()


_ABANDON = """
import signal
from postgres import Server
with Server() as server:
    server.freeze()
    print(server.folder, flush=True)
    signal.pause()
"""


def _segment_of(folder: Path) -> str:
    return (folder / "data/postmaster.pid").read_text().splitlines()[6].split()[1]


def _shared_memory() -> list[str]:
    """Every segment's number."""
    return [line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
