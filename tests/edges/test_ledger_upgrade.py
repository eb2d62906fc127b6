"""A ledger of an earlier release, with work in flight, taken over by this one."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from daemon.core.errors import LedgerRefused, LedgerUnavailable
from daemon.core.job import Failure, State
from daemon.edges.ledger import LEDGER_FILE, Ledger, is_daemon_alive, schema
from daemon.edges.ledger.ledger import _schema_of
from daemon.edges.ledger.schema import SCHEMA_VERSION

OLD = Path(__file__).with_name("ledger-schema-1.sql").read_text()
"""What a daemon of the first release left when it was killed: one done, one in doubt, two rendering, one asked."""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder as the first release left it."""
    write_old(tmp_path / LEDGER_FILE)
    return tmp_path


def write_old(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(OLD)
    connection.close()


def dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def jobs_by_text(ledger: Ledger) -> dict[str, tuple[State, str | None]]:
    found = [job for _file, jobs in ledger.unfinished() for job in jobs]
    return {str(job.request.body["text"]): (job.state, job.project_id) for job in found}


def test_renders_in_flight_go_on_after_an_upgrade(state: Path) -> None:
    """Nothing that was paid is forgotten, and what was asked stays asked."""
    ledger = Ledger(state)
    try:
        assert jobs_by_text(ledger) == {
            "three": (State.RENDERING, "project3"),
            "four": (State.RENDERING, "project4"),
            "five": (State.EXPORTING, None),
        }
        doubtful = ledger.earlier("doubt.yaml", "failed/doubt.yaml").jobs[0]
        assert (doubtful.failure, doubtful.asked_at, doubtful.is_adopted) == (Failure.IN_DOUBT, None, False)
        with ledger._transaction() as connection:
            assert _schema_of(connection) == SCHEMA_VERSION
        assert ledger.pending_notices() == []
    finally:
        ledger.close()


def test_an_upgraded_ledger_has_the_schema_of_a_new_one(state: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Column by column and index by index, so that no later release need tell them apart."""
    fresh = tmp_path_factory.mktemp("fresh")
    for folder in (state, fresh):
        Ledger(folder).close()

    def schema(folder: Path) -> set[tuple[object, ...]]:
        connection = sqlite3.connect(folder / LEDGER_FILE)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found: set[tuple[object, ...]] = set()
        for table in tables:
            found |= {(table, *row[1:4], row[5]) for row in connection.execute(f"PRAGMA table_info({table})")}
            found |= {(table, *row[1:3]) for row in connection.execute(f"PRAGMA index_list({table})")}
        connection.close()
        return found

    assert schema(state) == schema(fresh)


def test_a_copy_of_the_old_ledger_is_kept(state: Path) -> None:
    """For the way back; it is what was there before, row by row."""
    before = dump(state / LEDGER_FILE)
    Ledger(state).close()
    copy = state / f"{LEDGER_FILE}.schema-1"
    assert dump(copy) == before
    Ledger(state).close()
    assert dump(copy) == before, "a second start copies nothing"


def test_an_upgrade_that_was_cut_off_begins_anew(state: Path) -> None:
    """Half a copy of an earlier attempt is in nobody's way."""
    (state / f"{LEDGER_FILE}.schema-1").write_bytes(b"half a copy")
    ledger = Ledger(state)
    try:
        assert len(jobs_by_text(ledger)) == 3
    finally:
        ledger.close()


def test_an_upgrade_that_fails_changes_nothing(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All steps or none; the daemon does not start, and the old release still can."""
    before = dump(state / LEDGER_FILE)
    step = schema.STEPS["1"]
    broken = schema.Step(step.leads_to, (*step.statements, "ALTER TABLE nowhere ADD COLUMN x"))
    monkeypatch.setitem(schema.STEPS, "1", broken)
    with pytest.raises(LedgerUnavailable, match="nowhere"):
        Ledger(state)
    assert dump(state / LEDGER_FILE) == before
    assert not is_daemon_alive(state)


def test_who_only_reads_upgrades_nothing(state: Path) -> None:
    """The old daemon may still be running when somebody asks for the state with the new program."""
    before = dump(state / LEDGER_FILE)
    with pytest.raises(LedgerRefused, match="brings it up to date when it starts"):
        Ledger(state, is_exclusive=False)
    assert dump(state / LEDGER_FILE) == before
