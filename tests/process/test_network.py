"""The tests' own network: machines see each other, but not while a cable is pulled, and the host sees none of it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from network import Machine, Network, why_no_network
from patience import PATIENCE_SECONDS
from postgres import Server, skip_reason

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(bool(why_no_network()), reason=why_no_network())

# Says a line for each line it is told, from the database, over one connection.
_CLIENT = """
import sys, psycopg
url = sys.argv[1].replace("+psycopg", "")
with psycopg.connect(url, autocommit=True) as connection:
    print("connected", flush=True)
    for line in sys.stdin:
        print(connection.execute("SELECT %s::text", (line.strip(),)).fetchone()[0], flush=True)
"""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


def answers(machine: Machine, host: str, port: int, *, within_seconds: float) -> bool:
    """Whether a connection from this machine is accepted."""
    attempt = f"import socket; socket.create_connection(({host!r}, {port}), {within_seconds})"
    command = [*machine.launcher, sys.executable, "-c", attempt]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_pulled_cable_parts_two_machines(network: Network) -> None:
    """They reach each other before and after, and not in between; who listens on one is not on the other."""
    one, other = network.machines
    with one.listener(5432, one.address):
        assert answers(other, one.address, 5432, within_seconds=PATIENCE_SECONDS)
        assert not answers(other, "127.0.0.1", 5432, within_seconds=PATIENCE_SECONDS)
        one.cut()
        assert not answers(other, one.address, 5432, within_seconds=0.3)
        one.heal()
        assert answers(other, one.address, 5432, within_seconds=PATIENCE_SECONDS)


def test_a_server_of_the_test_can_be_lent(network: Network) -> None:
    """The machine reaches it at the same port of its own loopback, cable or none."""
    one, other = network.machines
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        one.lend(port)
        one.cut()
        assert answers(one, "127.0.0.1", port, within_seconds=PATIENCE_SECONDS)
        assert not answers(other, "127.0.0.1", port, within_seconds=PATIENCE_SECONDS)


@pytest.mark.skipif(bool(skip_reason()), reason=skip_reason())
def test_a_client_is_parted_from_its_database(network: Network) -> None:
    """Its session stays on the server, its statement waits, and is answered once the cable is back."""
    one, other = network.machines
    with Server(host=one.address, port=5432, launcher=one.launcher) as server:
        url = server.create_database()
        client = subprocess.Popen(
            [*other.launcher, sys.executable, "-c", _CLIENT, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with client:
            assert client.stdin is not None
            assert client.stdout is not None
            assert client.stdout.readline() == "connected\n"
            one.cut()
            client.stdin.write("hello\n")
            client.stdin.flush()
            assert server.sessions("client_addr IS NOT NULL") == 1
            one.heal()
            assert client.stdout.readline() == "hello\n"
            client.stdin.close()
            assert client.wait(PATIENCE_SECONDS) == 0


def test_the_host_sees_nothing_of_it(network: Network) -> None:
    """No interface of a machine is the host's, and nothing is left when it ends."""
    inside = Path("/proc/net/dev").read_text()
    assert network.machines[0]._port not in inside
    assert "switch" not in inside
