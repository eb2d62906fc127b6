"""What every folder's tests may ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engines import Engine
    from postgres import Server
    from team import Team


# No test asserts on timing: an example that takes long on a busy machine says nothing.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One real server for all tests of this run, or of this xdist worker, made when the first of them wants it.

    A test that stops, kills, or freezes it makes a server of its own.
    """
    from postgres import Server, skip_reason

    if reason := skip_reason():
        pytest.skip(reason)
    with Server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """A new and empty database; removed afterwards, whoever is still connected to it."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """A place for a ledger, of each kind in turn; there is none in it yet."""
    from engines import POSTGRESQL, Engine

    return Engine(tmp_path, request.getfixturevalue("postgres_url") if request.param == POSTGRESQL else None)


@pytest.fixture
def team(tmp_path: Path, postgres_server: Server, postgres_url: str) -> Iterator[Team]:
    """Daemons of one ledger on PostgreSQL; none has joined yet."""
    from team import Team

    with Team(tmp_path, postgres_server, postgres_url) as made:
        yield made
