"""Several daemons with one ledger on a real PostgreSQL, as `status`, status.html, figures, and `check` tell of them."""

from __future__ import annotations

import io
import json
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest
from patience import wait_until
from rich.console import Console
from story import job_yaml

from daemon import app, checkup, screens
from daemon.config import load
from daemon.core.batch import parse_batch
from daemon.core.drop import Drop, Fingerprint
from daemon.core.errors import LedgerUnavailable
from daemon.core.job import Exported, ExportStarted, advance
from daemon.core.messages import Lying
from daemon.core.schedule import Instant
from daemon.core.status_page import Life
from daemon.dispatcher import Summary
from daemon.edges.inbox_watch import Pulse
from daemon.edges.ledger import Earlier, Ledger, Work
from daemon.edges.ledger.postgres import look_at_server
from daemon.overview import (
    MISSED_SECONDS,
    Overview,
    Reader,
    document,
    gather,
    is_any_alive,
    look_ahead,
    peers_by_host,
    peers_of,
)
from daemon.pages import Live
from daemon.pipeline import claim
from daemon.status_source import StatusPages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from postgres import Server

KEY = {"AISTUDIOS_API_KEY": "any"}
IDLE = Summary(0, 0, 0, 20, 0, 0, 0, None, None, None, is_paused=False, is_ledger_away=False, is_stopping=False)


class Studio:
    """Machines with a daemon each, played by hand: a root, and one ledger."""

    def __init__(self, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = url
        self._folder = folder
        self._monkeypatch = monkeypatch
        self._stack = ExitStack()
        root = folder / "root"
        root.mkdir()
        self.file = folder / "config.yaml"
        self.file.write_text(f"folders: {{root: {root}, state: {folder}/mac-a}}\nledger: {{url: '{url}'}}\n")
        self.file.chmod(0o600)
        self.config = load(self.file, {}, folder)
        self.paths = self.config.paths({}, folder)
        self.state = folder / "mac-a"
        self.now = 0.0

    def begin(self, host: str) -> Ledger:
        """The machine's daemon comes."""
        self._monkeypatch.setattr(socket, "gethostname", lambda: host)
        ledger = Ledger(self._folder / host, url=self.url)
        self._monkeypatch.setattr(socket, "gethostname", lambda: "mac-a")  # where everybody looks from
        self._stack.callback(ledger.close)
        self.now = self.now or app.now().wall
        ledger.note("daemon", {"pid": 7, "started_at": self.now - 60, "version": "1.2.3"})
        return ledger

    def end(self, ledger: Ledger) -> None:
        """The machine's daemon ends, and PostgreSQL has noticed."""
        ledger.close()
        watcher = Ledger(self.state, url=self.url, is_exclusive=False)
        self._stack.callback(watcher.close)
        wait_until(
            lambda: not any(one.is_alive for one in watcher.members() if one.owner == ledger.owner), "a lock to be free"
        )

    def claim(self, ledger: Ledger, name: str, *texts: str) -> None:
        """A job file is claimed there, and its first job is being rendered."""
        content = job_yaml(*texts).encode()
        drop = Drop(name, Fingerprint(0, 0, 0, 0, 0), content, "", parse_batch(content))
        [(_file, jobs)] = ledger.enter([claim.plan(drop, name, Earlier(), self.now)])
        begun = advance(jobs[0], ExportStarted(), self.now)
        ledger.commit(Work(jobs={begun.id: (jobs[0].state, advance(begun, Exported("P1"), self.now))}))

    def gather(self) -> Overview:
        """As `status` does, on the first machine."""
        return gather(self.config, self.paths, self.state, self.now)

    def pages(self) -> StatusPages:
        """Whoever makes the page, on the first machine."""
        pages = StatusPages(self.config, self.paths, self.state, lying=Lying, now=lambda: Instant(1000.0, self.now))
        pages.live = Live(IDLE, frozenset(), Pulse(is_alive=True), Instant(1000.0, self.now))
        self._stack.callback(pages.close)
        return pages

    def check(self, environ: dict[str, str] | None = None) -> dict[str, list[checkup.Finding]]:
        """What `check` finds, by kind."""
        found: dict[str, list[checkup.Finding]] = {}
        for finding in checkup.check(self.file, KEY | (environ or {}), self._folder, is_offline=True):
            found.setdefault(finding.kind, []).append(finding)
        return found

    def close(self) -> None:
        """All end."""
        self._stack.close()


@pytest.fixture
def studio(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """No machine is there yet."""
    found = Studio(tmp_path, postgres_url, monkeypatch)
    yield found
    found.close()


def shown(overview: Overview) -> str:
    stream = io.StringIO()
    Console(file=stream, width=150, highlight=False, force_terminal=False).print(screens.screen(overview, width=150))
    return stream.getvalue()


# --- status ---------------------------------------------------------------------------------------


def test_before_the_first_daemon_there_is_nothing_to_tell(studio: Studio) -> None:
    """An empty database is a ledger that nobody has used."""
    overview = studio.gather()
    assert not overview.has_ledger
    assert overview.peers == ()


def test_one_daemon_alone_looks_as_with_sqlite(studio: Studio) -> None:
    """Nobody has to read about machines where there is one."""
    studio.claim(studio.begin("mac-a"), "x.yaml", "first", "second")
    overview = studio.gather()
    assert [peer.life for peer in overview.peers] == [Life.ALIVE]
    assert "chromadrop is running (pid 7, since " in shown(overview)
    assert "mac-a" not in shown(overview)
    assert "Computers" not in studio.pages().in_root().decode()


def test_who_has_what_is_told(studio: Studio) -> None:
    """Every daemon with its jobs; every unfinished file with its machine; anybody alive counts as running."""
    studio.claim(studio.begin("mac-a"), "a.yaml", "first", "second")
    studio.claim(studio.begin("mac-b"), "b.yaml", "third")
    overview = studio.gather()
    assert [(peer.host, peer.life, peer.version) for peer in overview.peers] == [
        ("mac-a", Life.ALIVE, "1.2.3"),
        ("mac-b", Life.ALIVE, "1.2.3"),
    ]
    assert [(file.name, file.host) for file in overview.files] == [("a.yaml", "mac-a"), ("b.yaml", "mac-b")]
    text = shown(overview)
    assert "is running (on 2 machines)" in text
    assert "mac-a  alive          1 queued, 1 rendering  since " in text
    assert "a.yaml  0 of 2 done" in text
    assert text.count("  on mac-a") == text.count("  on mac-b  ") == 1
    [first, second] = document(overview)["daemons"]
    assert list(first) == [
        "host", "state", "since", "taken_over_by", "pid", "version", "counts", "waiting", "troubles",
    ]  # fmt: skip
    assert (first["host"], first["state"], second["counts"]["rendering"]) == ("mac-a", "alive", 1)
    assert [file["host"] for file in document(overview)["files"]] == ["mac-a", "mac-b"]
    json.dumps(document(overview), allow_nan=False)


def test_a_daemon_that_died_is_silent_and_then_gone(studio: Studio) -> None:
    """Dead: not answering. Taken over: gone, since when, and by whom; its jobs are the other's. Later it is no news."""
    mine, other = studio.begin("mac-a"), studio.begin("mac-b")
    studio.claim(other, "b.yaml", "third")
    studio.end(other)
    silent = studio.gather()
    assert [(peer.host, peer.life, peer.since is None) for peer in silent.peers] == [
        ("mac-a", Life.ALIVE, False),
        ("mac-b", Life.SILENT, True),
    ]
    assert "mac-b  not answering  1 rendering" in shown(silent)
    assert "mac-b does not answer" in screens.line(silent)
    mine.take_over(other.owner)
    gone = studio.gather()
    [alive, dead] = gone.peers
    assert (dead.life, dead.taken_over_by, alive.counts["rendering"]) == (Life.GONE, "mac-a", 1)
    assert dead.since is not None
    assert dead.since == pytest.approx(app.now().wall, abs=600)
    assert "mac-b  gone           since " in shown(gone)
    assert "taken over by mac-a" in shown(gone)
    assert gone.files[0].host == "mac-a"
    assert [one.host for one in peers_of(mine.members(), dead.since + MISSED_SECONDS + 1)] == ["mac-a"]
    studio.begin("mac-b")
    assert [(peer.host, peer.life) for peer in studio.gather().peers] == [("mac-a", Life.ALIVE), ("mac-b", Life.ALIVE)]


def test_nobody_alive_is_not_running(studio: Studio) -> None:
    """Whatever lock files lie on this machine."""
    studio.end(studio.begin("mac-a"))
    overview = studio.gather()
    assert not overview.daemon.is_running
    assert "is not running" in shown(overview)
    with closing(Reader(studio.config, studio.state)) as reader, reader.ledger() as ledger:
        assert not is_any_alive(ledger, studio.state)


def test_a_daemon_elsewhere_counts_as_running(studio: Studio) -> None:
    """`retry` need not warn where another machine takes the file up."""
    studio.begin("mac-b")
    assert studio.gather().daemon.is_running
    reader = Reader(studio.config, studio.state)
    with reader.ledger() as ledger:
        assert is_any_alive(ledger, studio.state)
    reader.close()
    assert look_ahead(studio.config, studio.paths, studio.now).has_ledger


def test_trouble_of_any_daemon_that_lives_is_told(studio: Studio) -> None:
    """The account is everybody's; whose word it is stands beside it. A dead one's word is not news."""
    studio.begin("mac-a")
    other = studio.begin("mac-b")
    other.note("account", {"reason": "no credit left", "since": studio.now})
    other.note("cloud", "connection refused")
    overview = studio.gather()
    assert overview.account is not None
    assert overview.account.reason == "no credit left (on mac-b)"
    assert "! the cloud is away, everything waits: connection refused (on mac-b)" in shown(overview)
    assert set(overview.peers[1].troubles) == {"account", "cloud"}
    page = studio.pages().in_root().decode()
    assert "The account cannot order videos" in page
    assert "no credit left (on mac-b)" in page
    studio.end(other)
    assert studio.gather().account is None


def test_a_reader_keeps_its_connection_and_finds_another_when_it_is_lost(
    studio: Studio, postgres_server: Server
) -> None:
    """A page every two seconds must not mean a new connection every two seconds."""
    studio.begin("mac-a")
    reader = Reader(studio.config, studio.state)

    def session() -> int:
        with reader.ledger() as ledger:
            assert ledger is not None
            with ledger._transaction() as connection:
                return int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())

    first = session()
    assert session() == first
    postgres_server.terminate(f"pid = {first}")
    with pytest.raises(LedgerUnavailable):
        session()
    assert session() != first
    reader.close()


# --- status.html ----------------------------------------------------------------------------------


def test_the_page_tells_of_the_machines_in_both_languages(studio: Studio) -> None:
    """Which are at work, with what; on which each job file is."""
    studio.claim(studio.begin("mac-a"), "a.yaml", "first", "second")
    studio.claim(studio.begin("mac-b"), "b.yaml", "third")
    page = studio.pages().in_root().decode()
    for words in ("Computers", "컴퓨터", "1 being made, 1 in line", "제작 중 1개, 대기열 1개", "chromadrop 1.2.3"):
        assert words in page
    assert "on <bdi>mac-b</bdi>" in page
    assert "<bdi>mac-b</bdi>에서" in page
    assert 'id="well"' in page


def test_the_page_tells_of_a_machine_that_does_not_answer_or_has_gone(studio: Studio) -> None:
    """First that it is silent, then who goes on with its work; and that nothing is lost."""
    mine, other = studio.begin("mac-a"), studio.begin("mac-b")
    studio.claim(other, "b.yaml", "third")
    studio.end(other)
    silent = studio.pages().in_root().decode()
    for words in ("A computer does not answer", "응답하지 않는 컴퓨터가 있습니다", "Another one takes its work over"):
        assert words in silent
    mine.take_over(other.owner)
    gone = studio.pages().in_root().decode()
    assert "A computer does not answer" not in gone
    assert "gone; <bdi>mac-a</bdi> goes on with its work" in gone
    assert "<bdi>mac-a</bdi>에서 작업을 이어받았습니다" in gone


def test_a_page_is_made_while_the_records_are_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was known last, with the reason; unless another daemon, which can reach them, has made a newer page."""
    from postgres import Server, skip_reason

    if reason := skip_reason():
        pytest.skip(reason)
    with Server() as server:
        studio = Studio(tmp_path, server.create_database(), monkeypatch)
        studio.claim(studio.begin("mac-a"), "a.yaml", "first", "second")
        pages = studio.pages()
        path = studio.paths.root / "status.html"
        path.write_bytes(pages.in_root())
        server.stop("immediate")
        studio.now += 5
        page = pages.in_root().decode()
        for words in (
            "The records cannot be reached",
            "기록에 접근할 수 없습니다",
            "a.yaml",
            "cannot be used",
        ):
            assert words in page
        assert 'id="well"' not in page
        path.write_text(page.replace('data-at="', 'data-at="2'))
        with pytest.raises(LedgerUnavailable, match="another daemon makes the page"):
            pages.in_root()
        studio.close()


def test_a_machines_name_is_no_markup(studio: Studio) -> None:
    """Whatever a machine is called."""
    studio.begin("mac-a")
    studio.begin("<b>x")
    assert "<b>x" not in studio.pages().in_root().decode()


# --- monitoring -----------------------------------------------------------------------------------


def test_machines_are_counted_once_each(studio: Studio) -> None:
    """Two daemons of one machine are one in the figures, and alive when one is."""
    mine = studio.begin("mac-a")
    studio.claim(mine, "a.yaml", "first", "second")
    studio.end(studio.begin("mac-b"))
    found = {peer.host: peer for peer in peers_by_host(mine.members(), studio.now)}
    assert (found["mac-a"].is_alive, found["mac-b"].is_alive) == (True, False)
    assert (found["mac-a"].counts["queued"], found["mac-a"].counts["rendering"]) == (1, 1)


# --- check ----------------------------------------------------------------------------------------


def test_check_tells_of_the_server_and_the_daemons(studio: Studio) -> None:
    """Which release of PostgreSQL, who is alive, who is another release."""
    assert [finding.text for finding in studio.check()["ledger"]][
        1
    ] == "there is none yet; it is made at the first start"
    studio.begin("mac-a")
    studio.end(studio.begin("mac-b"))
    found = studio.check()
    assert found["ledger"][0].text.startswith("PostgreSQL 1")
    assert "answers" in found["ledger"][0].text
    assert found["ledger"][1].text == "sound"
    texts = [finding.text for finding in found["daemon"]]
    assert "alive on mac-a" in texts
    assert "not answering, and not taken over yet, on mac-b" in texts
    assert any("have one release on all machines" in text for text in texts)


def test_check_says_where_the_ledger_cannot_be_reached(studio: Studio) -> None:
    """The key, what the server said, and 69; never the password."""
    url = "postgresql+psycopg://u:Geheim99@127.0.0.1:1/db"
    found = studio.check({"CHROMADROP_LEDGER__URL": url})
    [finding] = found["ledger"]
    assert (finding.is_ok, finding.exit_code) == (False, 69)
    assert "CHROMADROP_LEDGER__URL (ledger.url): " in finding.text
    assert "Connection refused" in finding.text
    assert "Geheim99" not in str(found)


def test_check_says_that_a_root_belongs_to_another_ledger(studio: Studio) -> None:
    """Its cure is the other database, not another folder."""
    ledger = studio.begin("mac-a")
    app.open_spool(ledger, studio.paths).check_root()
    assert "belongs to our ledger" in studio.check()["root"][0].text
    (studio.paths.root / ".chromadrop").write_text('{"ledger": "0123456789abcdef"}')
    [root, *_] = studio.check()["root"]
    assert root.exit_code == 78
    assert "Use that ledger's database (ledger.url)" in root.text


def test_a_password_in_a_file_that_all_may_read_is_told(studio: Studio) -> None:
    """A warning, without the password."""
    studio.file.write_text(studio.file.read_text().replace("://postgres@", "://postgres:Geheim99@"))
    studio.file.chmod(0o644)
    found = studio.check()
    assert any("may be read by others" in finding.text and not finding.exit_code for finding in found["ledger"])
    assert "Geheim99" not in str(found)
    studio.file.chmod(0o640)
    assert not any("may be read by others" in finding.text for finding in studio.check()["ledger"])


@pytest.mark.parametrize(
    ("database", "words"),
    [("nowhere", 'database "nowhere" does not exist'), ("db?sslmode=Geheim99", "invalid sslmode"), ("x?a=b", "option")],
)
def test_what_the_driver_says_is_one_line_without_the_password(
    postgres_server: Server, database: str, words: str
) -> None:
    """In whatever way it is wrong."""
    url = f"postgresql+psycopg://postgres:Geh%2Feim99@127.0.0.1:{postgres_server.port}/{database}"
    with pytest.raises(LedgerUnavailable, match=words) as raised:
        look_at_server(url)
    text = str(raised.value)
    assert "\n" not in text
    assert "Geh/eim99" not in text
    assert "Geh%2Feim99" not in text
    assert raised.value.__cause__ is None


def test_a_server_with_a_password_and_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The password comes from the address, PGPASSWORD, PGPASSFILE, or PGSERVICEFILE; without one, these are said."""
    from postgres import Server, skip_reason

    if reason := skip_reason():
        pytest.skip(reason)
    with Server(password="Geheim99") as server:
        url = server.url("postgres")
        found = look_at_server(url)
        assert (found.is_encrypted, found.is_verified, found.obstacle, found.is_local) == (True, True, "", True)
        bare = url.replace(":Geheim99@", "@")
        with pytest.raises(LedgerUnavailable, match=r"no password supplied; give it in ~/\.pgpass"):
            look_at_server(bare)
        with pytest.raises(LedgerUnavailable, match="password authentication failed"):
            look_at_server(url.replace("Geheim99", "Falsch77"))
        with monkeypatch.context() as patch:
            patch.setenv("PGPASSWORD", "Geheim99")
            assert look_at_server(bare).is_verified
        passwords = tmp_path / "pgpass"
        passwords.write_text("*:*:*:postgres:Geheim99\n")
        passwords.chmod(0o600)
        with monkeypatch.context() as patch:
            patch.setenv("PGPASSFILE", str(passwords))
            assert look_at_server(bare).is_verified
        service = tmp_path / "pg_service.conf"
        service.write_text("[chromadrop]\nuser=postgres\npassword=Geheim99\n")
        service.chmod(0o440)  # as systemd hands credentials over
        with monkeypatch.context() as patch:
            patch.setenv("PGSERVICEFILE", str(service))
            named = bare.replace("://postgres@", "://") + "&service=chromadrop"
            assert look_at_server(named).is_verified
        with pytest.raises(LedgerUnavailable, match="certificate"):
            look_at_server(url.replace(str(server.certificate), "/nowhere"))
