"""The tables, and the steps from one schema to the next."""

from __future__ import annotations

import json
import os
from typing import Any, Final

import sqlalchemy as sa

from daemon.core.record import dataclass

SCHEMA_VERSION: Final = "3"
OF_LEDGER: Final = ""
"""The owner of the notes that are the ledger's own."""


class _FileName(sa.types.TypeDecorator[str]):
    """A file name is bytes: kept as bytes, seen as str with surrogates (os.fsdecode)."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: sa.Dialect) -> bytes | None:
        return None if value is None else os.fsencode(value)

    def process_result_value(self, value: Any | None, _dialect: sa.Dialect) -> str | None:
        return None if value is None else os.fsdecode(bytes(value))


class _Json(sa.types.TypeDecorator[Any]):
    """JSON as text; ASCII, so that lone surrogates survive."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any | None, _dialect: sa.Dialect) -> str:
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"))

    def process_result_value(self, value: Any | None, _dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)


metadata = sa.MetaData()
_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")

daemons = sa.Table(  # every daemon that ever had this ledger
    "daemons",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.Text, nullable=False, unique=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("epoch", _BIG, nullable=False),  # rises when it joins and when it is taken over
    sa.Column("is_gone", sa.Boolean, nullable=False),  # it has left or was taken over: nothing is its own any more
    sa.Column("slots", sa.Integer, nullable=False),  # renders in flight that it may have, of the account's
    sa.Column("waiting", sa.Integer, nullable=False),  # jobs that wait there for a slot
    sa.Column("leases", _Json, nullable=False),  # jobs that it is about to order, for the daily limits
    sqlite_autoincrement=True,
)
notes = sa.Table(
    "notes",
    metadata,
    sa.Column("owner", sa.Text, primary_key=True),  # empty for what is the ledger's own
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", _Json, nullable=False),
)
files = sa.Table(
    "job_files",
    metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("name", _FileName, nullable=False, index=True),
    sa.Column("processing_name", _FileName, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("fingerprint", _Json, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("problems", _Json, nullable=False),
    sa.Column("claimed_at", sa.Float, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("settled_at", sa.Float),
    sa.Column("closed_at", sa.Float, index=True),
    sa.Column("filed_as", _FileName, index=True),
    sa.Column("clears", _Json, nullable=False),
    sqlite_autoincrement=True,
)
sa.Index(
    "open_job_files",
    files.c.state,
    sqlite_where=files.c.state.in_(("claiming", "open")),
)
sa.Index(  # two daemons may see the same drop; the row decides, and the rename follows
    "claiming_names",
    files.c.name,
    unique=True,
    sqlite_where=files.c.state == "claiming",
)
sa.Index(
    "processing_names",
    files.c.processing_name,
    unique=True,
    sqlite_where=files.c.state.in_(("claiming", "open")),
)
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("file_id", _BIG, sa.ForeignKey("job_files.id"), nullable=False, index=True),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("body", _Json, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("name", _Json, nullable=False),
    sa.Column("may_pay_again", sa.Boolean, nullable=False),
    sa.Column("project_id", sa.Text, index=True),
    sa.Column("progress", sa.Float, nullable=False),
    sa.Column("exported_at", sa.Float),
    sa.Column("refusals", sa.Integer, nullable=False),
    sa.Column("deferrals", sa.Integer, nullable=False),
    sa.Column("video", _Json, nullable=False),
    sa.Column("failure", sa.Text),
    sa.Column("reason", _Json, nullable=False),
    sa.Column("continues", _BIG),
    sa.Column("continued_by", _BIG, index=True),
    sa.Column("settled_at", sa.Float, index=True),
    sa.Column("is_pay_again_allowed", sa.Boolean, nullable=False),
    sa.Column("asked_at", sa.Float, index=True),
    sa.Column("is_adopted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("is_offered", sa.Boolean, nullable=False, server_default=sa.false()),
    sqlite_autoincrement=True,
)
sa.Index(  # rendered, and waiting for a daemon that has a download to spare
    "offered_jobs",
    jobs.c.id,
    sqlite_where=jobs.c.is_offered,
)
entries = sa.Table(
    "entries",
    metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("file_id", _BIG, index=True),
    sa.Column("job_id", _BIG),
    sa.Column("fields", _Json, nullable=False),
    sqlite_autoincrement=True,
)
notices = sa.Table(  # the outbox: what was delivered or given up is no longer in it
    "notices",
    metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("sink", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("body", _Json, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)


def have_partial_indexes_in_postgresql() -> None:
    """PostgreSQL's indexes cover the same rows; said only where it is used, for SQLAlchemy loads all of its dialect."""
    for index in (index for table in metadata.tables.values() for index in table.indexes):
        index.dialect_options["postgresql"]["where"] = index.dialect_options["sqlite"]["where"]


@dataclass(frozen=True, slots=True)
class Step:
    """From one schema to the next."""

    leads_to: str
    statements: tuple[str, ...]


STEPS: Final = {
    "1": Step(
        "2",
        (
            "ALTER TABLE jobs ADD COLUMN asked_at FLOAT",
            "ALTER TABLE jobs ADD COLUMN is_adopted BOOLEAN NOT NULL DEFAULT false",
            "CREATE INDEX ix_jobs_project_id ON jobs (project_id)",
            "CREATE INDEX ix_jobs_asked_at ON jobs (asked_at)",
            "CREATE INDEX ix_jobs_settled_at ON jobs (settled_at)",
        ),
    ),
    "2": Step(
        "3",
        (
            "ALTER TABLE notes RENAME TO notes_of_one",
            """CREATE TABLE notes (
                owner TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (owner, key))""",
            """INSERT INTO notes SELECT
                CASE WHEN key IN ('schema_version', 'ledger_id') THEN ''
                ELSE (SELECT trim(value, '"') FROM notes_of_one WHERE key = 'ledger_id') END,
                key, value FROM notes_of_one""",
            "DROP TABLE notes_of_one",
            "ALTER TABLE jobs ADD COLUMN is_offered BOOLEAN NOT NULL DEFAULT false",
            "CREATE INDEX offered_jobs ON jobs (id) WHERE is_offered",
            "CREATE UNIQUE INDEX claiming_names ON job_files (name) WHERE state = 'claiming'",
            "CREATE UNIQUE INDEX processing_names ON job_files (processing_name) WHERE state IN ('claiming', 'open')",
        ),
    ),
}
"""By the schema that they start from, all of them SQLite's; never changed once released."""
MOST_VARIABLES: Final = 500  # SQLite may have been built to take 999 of them in one statement
