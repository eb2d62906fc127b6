"""The tests' own proxy cuts and breaks connections at the point that a test names, and nowhere else."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import pytest
from patience import PATIENCE_SECONDS, wait_until
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from tcp_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from postgres import Server
    from sqlalchemy import Engine


class Echo:
    """Sends back what it gets, after its own name."""

    def __init__(self, name: bytes) -> None:
        self._name = name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = b""
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(client,)))
            self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                while chunk := client.recv(65536):
                    self.heard += chunk
                    client.sendall(self._name + chunk)
            except OSError:
                return


@contextmanager
def echoed(name: bytes = b"") -> Iterator[tuple[Echo, Proxy]]:
    with Echo(name) as echo, Proxy("127.0.0.1", echo.port) as proxy:
        yield echo, proxy


def client_of(proxy: Proxy) -> socket.socket:
    return socket.create_connection((proxy.host, proxy.port), timeout=PATIENCE_SECONDS)


def hears_nothing(client: socket.socket) -> bool:
    """Whether nothing has come, and the connection is there."""
    client.setblocking(False)
    try:
        client.recv(1)
    except BlockingIOError:
        return True
    finally:
        client.settimeout(PATIENCE_SECONDS)
    return False


def test_all_passes_and_an_end_passes_too() -> None:
    """Bytes in both directions, and the close of one side."""
    with echoed() as (_, proxy), client_of(proxy) as client:
        client.sendall(b"one")
        assert client.recv(99) == b"one"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(99) == b""
        wait_until(lambda: proxy.connections == 0, "the end of the connection")


def test_a_cut_holds_back_and_a_heal_delivers() -> None:
    """Nothing passes a cut, connections are not told, a new one hangs, and all of it arrives at the heal."""
    with echoed() as (echo, proxy), client_of(proxy) as old:
        old.sendall(b"one")
        assert old.recv(99) == b"one"
        proxy.cut()
        old.sendall(b"two")
        with client_of(proxy) as new:
            new.sendall(b"three")
            wait_until(lambda: proxy.connections == 2, "the new connection")
            assert hears_nothing(old)
            assert hears_nothing(new)
            assert echo.heard == b"one"
            proxy.heal()
            assert (old.recv(99), new.recv(99)) == (b"two", b"three")


def test_one_direction_can_be_cut() -> None:
    """The server hears and answers, and the client hears nothing."""
    with echoed() as (echo, proxy), client_of(proxy) as client:
        proxy.cut("server")
        client.sendall(b"one")
        wait_until(lambda: echo.heard == b"one", "what was sent")
        assert hears_nothing(client)
        proxy.heal()
        assert client.recv(99) == b"one"


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_drop_resets_and_the_next_connection_is_served(*, is_cut: bool) -> None:
    """Behind a cut too."""
    with echoed() as (_, proxy), client_of(proxy) as client:
        client.sendall(b"one")
        assert client.recv(99) == b"one"
        if is_cut:
            proxy.cut()
        proxy.drop()
        with pytest.raises(ConnectionResetError):
            client.recv(99)
        proxy.heal()
        with client_of(proxy) as next_client:
            next_client.sendall(b"two")
            assert next_client.recv(99) == b"two"


def test_new_connections_go_where_it_points_to() -> None:
    """The old one stays where it is."""
    with echoed(b"a:") as (_, proxy), Echo(b"b:") as other, client_of(proxy) as old:
        old.sendall(b"1")
        assert old.recv(99) == b"a:1"
        proxy.point_to("127.0.0.1", other.port)
        with client_of(proxy) as new:
            for client in (old, new):
                client.sendall(b"2")
            assert (old.recv(99), new.recv(99)) == (b"a:2", b"b:2")


def test_a_dead_server_resets_the_client() -> None:
    """A proxy cannot refuse, so it resets."""
    with echoed() as (_, proxy):
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        proxy.point_to("127.0.0.1", port)
        with pytest.raises(ConnectionResetError), client_of(proxy) as client:
            client.recv(99)


@pytest.mark.parametrize(("forward", "heard"), [("before", b"COM"), ("after", b"COMMIT")])
def test_a_pattern_in_two_packets_springs_the_trap(forward: str, heard: bytes) -> None:
    """Before: the server never has the end of it. After: it has, and the answer does not come through."""
    with echoed() as (echo, proxy), client_of(proxy) as client:
        trap = proxy.kill_on(b"COMMIT", forward="after" if forward == "after" else "before")
        client.sendall(b"COM")
        assert client.recv(99) == b"COM"
        client.sendall(b"MIT")
        with pytest.raises(ConnectionResetError):
            client.recv(99)
        trap.wait()
        assert echo.heard == heard


def test_a_trap_springs_once_and_after_so_many_others() -> None:
    """Two matches are let through, the third springs it, the fourth passes."""
    with echoed() as (_, proxy):
        trap = proxy.kill_on(b"x", skip=2)
        with client_of(proxy) as client:
            for _ in range(2):
                client.sendall(b"x")
                assert client.recv(99) == b"x"
            assert not trap.sprung.is_set()
            client.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                client.recv(99)
        with client_of(proxy) as client:
            client.sendall(b"x")
            assert client.recv(99) == b"x"


def test_a_trap_can_cut() -> None:
    """What sprang it is held back with all the rest, and arrives at the heal."""
    with echoed() as (echo, proxy), client_of(proxy) as client:
        trap = proxy.kill_on(b"COMMIT", then="cut")
        client.sendall(b"COMMIT")
        trap.wait()
        assert (echo.heard, hears_nothing(client)) == (b"", True)
        proxy.heal()
        assert client.recv(99) == b"COMMIT"


@pytest.fixture
def engine(postgres_server: Server, postgres_url: str) -> Iterator[tuple[Engine, Proxy]]:
    """A client of a real server with a table, through a proxy."""
    from postgres import through

    postgres_server.run("CREATE TABLE note (said text)", database=postgres_url)
    with Proxy(postgres_server.host, postgres_server.port) as proxy:
        made = create_engine(through(postgres_url, proxy.host, proxy.port))
        yield made, proxy
        made.dispose()


@pytest.mark.parametrize(("forward", "rows"), [("before", []), ("after", [("hello",)])])
def test_the_outcome_of_a_commit_is_unknown(
    engine: tuple[Engine, Proxy], postgres_server: Server, postgres_url: str, forward: str, rows: list[tuple[str]]
) -> None:
    """The client gets the same error, and PostgreSQL has committed in the one case only."""
    client, proxy = engine
    with client.connect() as connection:
        connection.execute(text("INSERT INTO note VALUES (:said)"), {"said": "hello"})
        trap = proxy.kill_on(b"COMMIT", forward="after" if forward == "after" else "before")
        with pytest.raises(OperationalError):
            connection.commit()
        trap.wait()
    wait_until(lambda: not postgres_server.sessions(f"datname = '{_name(postgres_url)}'"), "the end of the session")
    assert postgres_server.run("SELECT said FROM note", database=postgres_url) == rows


def test_a_commit_is_known_by_what_came_before_it(engine: tuple[Engine, Proxy]) -> None:
    """The pattern spans the statements of one connection: the first commit after the second insert."""
    client, proxy = engine
    trap = proxy.kill_on(rb"second.*COMMIT")
    with client.connect() as connection:
        connection.execute(text("INSERT INTO note VALUES (:said)"), {"said": "first"})
        connection.commit()
        assert not trap.sprung.is_set()
        connection.execute(text("INSERT INTO note VALUES (:said)"), {"said": "second"})
        with pytest.raises(OperationalError):
            connection.commit()
        trap.wait()


def _name(url: str) -> str:
    return url.rpartition("/")[2]
