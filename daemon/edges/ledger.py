"""The ledger: what was claimed, asked, paid, and made; SQL through SQLAlchemy Core.

Every change of a row is a compare-and-set on the state we left it in and on the owner; a change and the entries that
tell of it are one transaction. With SQLite: WAL and ``synchronous=FULL``, so that what is committed survives a power
cut (https://www.sqlite.org/pragma.html#pragma_synchronous), and a lock file that only one daemon can hold.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event as sa_event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.errors import LedgerConflict, LedgerLocked, LedgerOutdated, LedgerRefused, LedgerUnavailable
from daemon.core.job import Failure, Job, State, Video
from daemon.core.job_file import FileState, JobFile, Leftover, Outcome
from daemon.core.notice import Kind, Notice, Sink
from daemon.core.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

SCHEMA_VERSION: Final = "2"
LEDGER_FILE: Final = "ledger.sqlite3"
LOCK_FILE: Final = "lock"


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


_metadata = sa.MetaData()
_BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_notes = sa.Table(
    "notes",
    _metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", _Json, nullable=False),
)
_files = sa.Table(
    "job_files",
    _metadata,
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
    _files.c.state,
    sqlite_where=_files.c.state.in_(("claiming", "open")),
    postgresql_where=_files.c.state.in_(("claiming", "open")),
)
_jobs = sa.Table(
    "jobs",
    _metadata,
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
    sqlite_autoincrement=True,
)
_entries = sa.Table(
    "entries",
    _metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("file_id", _BIG, index=True),
    sa.Column("job_id", _BIG),
    sa.Column("fields", _Json, nullable=False),
    sqlite_autoincrement=True,
)
_notices = sa.Table(  # the outbox: what was delivered or given up is no longer in it
    "notices",
    _metadata,
    sa.Column("id", _BIG, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("sink", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("body", _Json, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)


@dataclass(frozen=True, slots=True)
class _Step:
    """From one schema to the next."""

    leads_to: str
    statements: tuple[str, ...]


_STEPS: Final = {
    "1": _Step(
        "2",
        (
            "ALTER TABLE jobs ADD COLUMN asked_at FLOAT",
            "ALTER TABLE jobs ADD COLUMN is_adopted BOOLEAN NOT NULL DEFAULT false",
            "CREATE INDEX ix_jobs_project_id ON jobs (project_id)",
            "CREATE INDEX ix_jobs_asked_at ON jobs (asked_at)",
            "CREATE INDEX ix_jobs_settled_at ON jobs (settled_at)",
        ),
    ),
}
"""By the schema that they start from; never changed once released."""
_MOST_VARIABLES: Final = 500  # SQLite may have been built to take 999 of them in one statement
_PRUNED_FILES: Final = 100  # are looked at in one transaction,
_PRUNED_ROWS: Final = 1000  # and so many entries, and jobs, forgotten, which takes some ten milliseconds


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened: a line of the append-only record, and of the log.

    Attributes:
        at: wall-clock seconds.
        event: dotted name, such as ``job.exported``.
        file_id: the batch.
        job_id: the job, None where the whole batch is meant.
        fields: what else is to be known; plain JSON values, redacted.
    """

    at: float
    event: str
    file_id: int | None = None
    job_id: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Work:
    """Changes that become one transaction: all of them, or none.

    Attributes:
        jobs: for each changed job the state that the ledger has, and the job as it is to be.
        files: the same for job files.
        withdrawn: claims to be undone, with their jobs and the links to earlier ones.
        progress: percent of renders, where nothing else has changed.
        notes: facts about the daemon for ``status``.
        entries: what happened.
        notices: what is to be told; they get their numbers when they are written.
        notice_tries: how often notices were tried, by their numbers.
        notices_ended: numbers of notices that were delivered, or given up.
    """

    jobs: dict[int, tuple[State, Job]] = field(default_factory=dict)
    files: dict[int, tuple[FileState, JobFile]] = field(default_factory=dict)
    withdrawn: list[int] = field(default_factory=list)
    progress: dict[int, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    notice_tries: dict[int, int] = field(default_factory=dict)
    notices_ended: list[int] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Nothing to be written."""
        has_rows = self.jobs or self.files or self.withdrawn or self.progress or self.notes or self.entries
        return not (has_rows or self.notices or self.notice_tries or self.notices_ended)

    def change_job(self, before: Job, after: Job) -> None:
        """Have a job written, once, however often it changes."""
        expected = self.jobs[before.id][0] if before.id in self.jobs else before.state
        self.jobs[after.id] = (expected, after)

    def change_file(self, before: JobFile, after: JobFile) -> None:
        """Have a job file written, once, however often it changes."""
        expected = self.files[before.id][0] if before.id in self.files else before.state
        self.files[after.id] = (expected, after)


@dataclass(frozen=True, slots=True)
class Glance:
    """What is unfinished, bounded, for people.

    Attributes:
        files: the oldest, each (without its content) with its jobs in order, those that move before all others where
            there are too many, and with how many of its jobs are in each state.
        file_count: how many unfinished files there are altogether.
    """

    files: tuple[tuple[JobFile, tuple[Job, ...], dict[str, int]], ...] = ()
    file_count: int = 0


@dataclass(frozen=True, slots=True)
class Closed:
    """A job file that was filed away.

    Attributes:
        job_file: without its content.
        jobs: of it; not all of them, where there are very many.
        job_count: all of them.
    """

    job_file: JobFile
    jobs: tuple[Job, ...]
    job_count: int


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a file of the same name left behind when it failed.

    Attributes:
        jobs: settled jobs that nothing continues yet, latest batch first, in their files' order.
        files: failed job files of that name (number, path relative to the root), the one that lay in failed/ under
            that very name first, then the latest.
        digests: of their contents, by number.
    """

    jobs: tuple[Job, ...] = ()
    files: tuple[tuple[int, str], ...] = ()
    digests: Mapping[int, str] = field(default_factory=dict)


NOTHING_EARLIER: Final = Earlier()


@dataclass(frozen=True, slots=True)
class Pruned:
    """How far pruning has come.

    Attributes:
        files: job files that were forgotten, with their jobs and entries.
        after_id: where to go on.
        is_over: nothing more is old enough.
    """

    files: int = 0
    after_id: int = 0
    is_over: bool = True


class Ledger:
    """The ledger of one daemon; used by one thread.

    Args:
        folder: the state folder, on a local disk; made when missing.
        path: of the database, when it is not to lie in that folder.
        is_exclusive: take the daemon's lock; without it (``status``, ``retry``) a daemon may be running.

    Raises:
        LedgerLocked: another daemon has this state.
        LedgerRefused: the ledger was written by another release.
        LedgerUnavailable: it cannot be opened.
    """

    def __init__(self, folder: Path, *, path: Path | None = None, is_exclusive: bool = True) -> None:
        self._locks: list[int] = []
        try:
            _make_folder(folder)
            if is_exclusive:
                self._take_locks(folder, path)
            self._engine = _engine(path or folder / LEDGER_FILE, "BEGIN IMMEDIATE" if is_exclusive else "BEGIN")
            if is_exclusive:
                self._bring_up_to_date(path or folder / LEDGER_FILE)
            with self._transaction() as connection:
                if is_exclusive:
                    _metadata.create_all(connection)
                self.id = self._identify(connection)
        except OSError as error:
            self.close()
            raise LedgerUnavailable(f"cannot open the ledger in {folder}: {error.strerror}") from error
        except BaseException:
            self.close()
            raise
        self.owner = self.id

    def _take_locks(self, folder: Path, path: Path | None) -> None:
        self._locks.append(_take_lock(folder / LOCK_FILE))
        if path is not None:  # two state folders may name one database
            self._locks.append(_take_lock(path.with_name(f"{path.name}.lock")))

    @staticmethod
    def _identify(connection: sa.Connection) -> str:
        rows = connection.execute(sa.select(_notes.c.key, _notes.c.value))
        stored = {row.key: row.value for row in rows}
        if "schema_version" not in stored:
            ledger_id = secrets.token_hex(8)
            first = [{"key": "schema_version", "value": SCHEMA_VERSION}, {"key": "ledger_id", "value": ledger_id}]
            connection.execute(sa.insert(_notes), first)
            return ledger_id
        _check_schema(stored["schema_version"])
        return str(stored["ledger_id"])

    def _bring_up_to_date(self, path: Path) -> None:
        """Take the steps from an earlier release's schema to ours: all of them or none, and a copy is kept.

        The copy, ``ledger.sqlite3.schema-1``, is what a way back to that release would need.
        """
        with self._transaction() as connection:
            found = _schema_of(connection)
        if found not in _STEPS:
            return
        copy = path.with_name(f"{path.name}.schema-{found}")
        copy.unlink(missing_ok=True)  # of an attempt that was cut off
        self._copy_to(copy)
        with self._transaction() as connection:
            while (step := _STEPS.get(found or "")) is not None:
                for statement in step.statements:
                    connection.execute(sa.text(statement))
                found = step.leads_to
            _put_note(connection, "schema_version", found)

    def _copy_to(self, copy: Path) -> None:
        raw = self._engine.raw_connection()  # VACUUM wants no transaction around it, which SQLAlchemy would begin
        try:
            raw.cursor().execute("VACUUM INTO ?", (str(copy),))
        except sqlite3.Error as error:
            raise LedgerUnavailable(f"the ledger cannot be copied to {copy} before it is changed: {error}") from None
        finally:
            raw.close()

    def close(self) -> None:
        """Let go of the database and of the locks."""
        if hasattr(self, "_engine"):
            self._engine.dispose()
        while self._locks:
            os.close(self._locks.pop())

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise LedgerUnavailable(f"the ledger cannot be used: {error.orig}") from None

    # --- writing ----------------------------------------------------------------------------------

    def commit(self, work: Work) -> list[int]:
        """Write all of the work, durably, or nothing.

        Returns:
            The numbers of its notices, in their order.

        Raises:
            LedgerUnavailable: disk full, locked, or the like; nothing was written.
            LedgerConflict: a row was not in the state that we left it in; nothing was written.
        """
        with self._transaction() as connection:
            if work.jobs:
                self._change_jobs(connection, work.jobs.values())
            if work.files:
                self._change_files(connection, work.files.values())
            for file_id in work.withdrawn:
                self._withdraw(connection, file_id)
            if work.progress:
                self._write_progress(connection, work.progress)
            for key, value in work.notes.items():
                _put_note(connection, key, value)
            if work.entries:
                connection.execute(sa.insert(_entries), [_entry_row(entry) for entry in work.entries])
            return self._write_notices(connection, work)

    def _write_notices(self, connection: sa.Connection, work: Work) -> list[int]:
        for notice_id, tries in work.notice_tries.items():
            ours = sa.and_(_notices.c.id == notice_id, _notices.c.owner == self.owner)
            connection.execute(sa.update(_notices).where(ours).values(tries=tries))
        if work.notices_ended:
            ended = sa.and_(_notices.c.id == sa.bindparam("b_id"), _notices.c.owner == self.owner)
            connection.execute(sa.delete(_notices).where(ended), [{"b_id": number} for number in work.notices_ended])
        if not work.notices:
            return []
        rows = [{"owner": self.owner, **_notice_row(notice)} for notice in work.notices]
        insert = sa.insert(_notices).returning(_notices.c.id, sort_by_parameter_order=True)
        return list(connection.execute(insert, rows).scalars())

    def _change_jobs(self, connection: sa.Connection, changes: Iterable[tuple[State, Job]]) -> None:
        rows = [{"b_id": job.id, "b_expected": expected, **_job_changes(job)} for expected, job in changes]
        statement = (
            sa.update(_jobs)
            .where(
                _jobs.c.id == sa.bindparam("b_id"),
                _jobs.c.state == sa.bindparam("b_expected"),
                _jobs.c.owner == self.owner,
            )
            .values({column: sa.bindparam(column) for column in rows[0] if not column.startswith("b_")})
        )
        if connection.execute(statement, rows).rowcount != len(rows):
            raise LedgerConflict(f"jobs {sorted(row['b_id'] for row in rows)} were changed by somebody else")

    def _change_files(self, connection: sa.Connection, changes: Iterable[tuple[FileState, JobFile]]) -> None:
        rows = [{"b_id": one.id, "b_expected": expected, **_file_changes(one)} for expected, one in changes]
        statement = (
            sa.update(_files)
            .where(
                _files.c.id == sa.bindparam("b_id"),
                _files.c.state == sa.bindparam("b_expected"),
                _files.c.owner == self.owner,
            )
            .values({column: sa.bindparam(column) for column in rows[0] if not column.startswith("b_")})
        )
        if connection.execute(statement, rows).rowcount != len(rows):
            raise LedgerConflict(f"batches {sorted(row['b_id'] for row in rows)} were changed by somebody else")
        closed = [{"b_id": row["b_id"]} for row in rows if row["state"] is FileState.CLOSED]
        if closed:
            emptied = sa.update(_files).where(_files.c.id == sa.bindparam("b_id")).values(content=b"")
            connection.execute(emptied, closed)

    def _withdraw(self, connection: sa.Connection, file_id: int) -> None:
        claiming = sa.update(_files).where(
            _files.c.id == file_id, _files.c.state == FileState.CLAIMING, _files.c.owner == self.owner
        )
        if connection.execute(claiming.values(state=FileState.WITHDRAWN, content=b"")).rowcount != 1:
            raise LedgerConflict(f"batch {file_id} was changed by somebody else")
        ours = sa.select(_jobs.c.id).where(_jobs.c.file_id == file_id)
        connection.execute(sa.update(_jobs).where(_jobs.c.continued_by.in_(ours)).values(continued_by=None))
        connection.execute(sa.delete(_jobs).where(_jobs.c.file_id == file_id))

    def _write_progress(self, connection: sa.Connection, progress: dict[int, float]) -> None:
        statement = (
            sa.update(_jobs)
            .where(
                _jobs.c.id == sa.bindparam("b_id"),
                _jobs.c.state == State.RENDERING,
                _jobs.c.owner == self.owner,
            )
            .values(progress=sa.bindparam("b_progress"))
        )
        rows = [{"b_id": job_id, "b_progress": percent} for job_id, percent in progress.items()]
        connection.execute(statement, rows)

    def enter(self, claims: Sequence[tuple[JobFile, Sequence[Job]]]) -> list[tuple[JobFile, list[Job]]]:
        """Enter claims (the intent to move these files) with their jobs; gives them back with their numbers.

        A job that continues an earlier one takes it over, so that no second file can.

        Raises:
            LedgerUnavailable: nothing was written.
            LedgerConflict: an earlier job is continued by another already; nothing was written.
        """
        with self._transaction() as connection:
            files = [{"owner": self.owner, **_file_row(job_file)} for job_file, _jobs in claims]
            file_ids = _inserted(connection, _files, files)
            placed = [
                replace(job, batch_id=file_id)
                for file_id, (_job_file, jobs) in zip(file_ids, claims, strict=True)
                for job in jobs
            ]
            job_ids = _inserted(connection, _jobs, [{"owner": self.owner, **_job_row(job)} for job in placed])
            numbered = [replace(job, id=job_id) for job_id, job in zip(job_ids, placed, strict=True)]
            for job in numbered:
                if job.continues is not None:
                    _take_over(connection, job)
        jobs_of: dict[int, list[Job]] = {file_id: [] for file_id in file_ids}
        for job in numbered:
            jobs_of[job.batch_id].append(job)
        return [
            (replace(job_file, id=file_id), jobs_of[file_id])
            for file_id, (job_file, _jobs) in zip(file_ids, claims, strict=True)
        ]

    def note(self, key: str, value: Any) -> None:
        """Remember one fact about the daemon."""
        with self._transaction() as connection:
            _put_note(connection, key, value)

    def allow_paying_again(self, filed_as: str) -> int:
        """A person's word for all jobs of a failed file that may have been paid; how many there are.

        Args:
            filed_as: path relative to the root, such as ``failed/x.yaml``.
        """
        failed = sa.select(_files.c.id).where(_files.c.filed_as == filed_as, _files.c.state == FileState.CLOSED)
        statement = (
            sa.update(_jobs)
            .where(
                _jobs.c.file_id.in_(failed),
                _jobs.c.continued_by.is_(None),
                _jobs.c.failure.in_((Failure.IN_DOUBT, Failure.REFUSED_AFTER)),
            )
            .values(is_pay_again_allowed=True)
        )
        with self._transaction() as connection:
            return connection.execute(statement).rowcount

    def prune(self, before: float, after_id: int) -> Pruned:
        """Forget what is long over, a little at a time: one short transaction.

        What may be needed so that nothing is paid twice is kept for ever: a failed file with a job that was, or may
        have been, paid and that no later file goes on with; what an unfinished file goes on with, whose claim may yet
        come to nothing; and a file that was wholly done for as long as an earlier failed one of its name is kept, for
        it says that what was made before it is not taken over any more.

        Args:
            before: wall-clock seconds; what was filed away, or given back, later is kept.
            after_id: go on after the job file with this number; 0 to begin.

        Raises:
            LedgerUnavailable: nothing was forgotten.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(_files.c.id, _files.c.claimed_at, _is_past(before, self.owner).label("is_past"))
                .where(_files.c.id > after_id)
                .order_by(_files.c.id)
                .limit(_PRUNED_FILES)
            ).all()
            if not rows or rows[0].claimed_at >= before:
                return Pruned()
            past = [row.id for row in rows if row.is_past]
            for table in (_entries, _jobs):
                ids = sa.select(table.c.id).where(table.c.file_id.in_(past)).order_by(table.c.id).limit(_PRUNED_ROWS)
                found = connection.execute(ids).scalars().all()
                for start in range(0, len(found), _MOST_VARIABLES):
                    some = found[start : start + _MOST_VARIABLES]
                    connection.execute(sa.delete(table).where(table.c.id.in_(some)))
                if len(found) == _PRUNED_ROWS:  # the rest of these comes next
                    return Pruned(0, after_id, is_over=False)
            if past:
                connection.execute(sa.delete(_files).where(_files.c.id.in_(past)))
            return Pruned(len(past), rows[-1].id, is_over=False)

    # --- reading ----------------------------------------------------------------------------------

    def read_note(self, key: str) -> Any:
        """A fact about the daemon, None when nobody has noted it."""
        with self._transaction() as connection:
            return connection.execute(sa.select(_notes.c.value).where(_notes.c.key == key)).scalar_one_or_none()

    def unfinished(self) -> list[tuple[JobFile, list[Job]]]:
        """Every job file that is not filed away yet, with its jobs, oldest first."""
        states = (FileState.CLAIMING, FileState.OPEN)
        with self._transaction() as connection:
            files = connection.execute(
                sa.select(_files).where(_files.c.state.in_(states), _files.c.owner == self.owner).order_by(_files.c.id)
            ).all()
            jobs = connection.execute(
                sa.select(_jobs)
                .join(_files, _files.c.id == _jobs.c.file_id)
                .where(_files.c.state.in_(states), _files.c.owner == self.owner)
                .order_by(_jobs.c.id)
            ).all()
        found: dict[int, tuple[JobFile, list[Job]]] = {row.id: (_file(row), []) for row in files}
        for row in jobs:
            found[row.file_id][1].append(_job(row))
        return list(found.values())

    def content(self, file_id: int) -> bytes:
        """The bytes of a job file that is not filed away yet.

        Raises:
            LedgerUnavailable: the ledger cannot be read now.
        """
        with self._transaction() as connection:
            found = connection.execute(sa.select(_files.c.content).where(_files.c.id == file_id)).scalar_one()
        return bytes(found)

    def names_left_behind(self, names: Mapping[str, str]) -> set[str]:
        """Those names of drops for which `earlier` may find something: one question for all of them.

        Args:
            names: of drops, each with ``failed_as`` as in `earlier`.
        """
        wanted = list(names.items())
        found: set[str] = set()
        with self._transaction() as connection:
            for start in range(0, len(wanted), _MOST_VARIABLES // 2):
                some = dict(wanted[start : start + _MOST_VARIABLES // 2])
                for column, values in ((_files.c.name, some.keys()), (_files.c.filed_as, some.values())):
                    failed = sa.select(column).where(
                        column.in_(values), _files.c.state == FileState.CLOSED, _files.c.outcome == Outcome.FAILED
                    )
                    found.update(connection.execute(failed).scalars())
        return {name for name, failed_as in wanted if name in found or failed_as in found}

    def earlier(self, name: str, failed_as: str) -> Earlier:
        """What earlier files left behind that a file dropped as ``name`` continues.

        A done video is taken over only from batches after the last one that was wholly done (a file dropped again after
        it was done is a new order), and from the very file that lies in failed/ under this name, whose error text
        promises it; what may have been paid is never forgotten.

        Args:
            name: path relative to inbox/.
            failed_as: the same in failed/, relative to the root: a file that was filed there under another name and
                dropped from there is the same file.
        """
        same = sa.or_(_files.c.name == name, _files.c.filed_as == failed_as)
        failed = sa.and_(same, _files.c.state == FileState.CLOSED, _files.c.outcome == Outcome.FAILED)
        with self._transaction() as connection:
            files = connection.execute(
                sa.select(_files.c.id, _files.c.filed_as, _files.c.digest)
                .where(failed)
                .order_by((_files.c.filed_as == failed_as).desc(), _files.c.id.desc())
            ).all()
            if not files:
                return Earlier()
            last_done = connection.execute(
                sa.select(sa.func.max(_files.c.id)).where(same, _files.c.outcome == Outcome.DONE)
            ).scalar()
            rows = connection.execute(
                sa.select(_jobs, (_files.c.filed_as == failed_as).label("is_this_file"))
                .join(_files, _files.c.id == _jobs.c.file_id)
                .where(failed, _jobs.c.continued_by.is_(None))
                .order_by(_jobs.c.file_id.desc(), _jobs.c.position)
            ).all()
        barrier = last_done or 0
        kept = tuple(_job(row) for row in rows if row.state != State.DONE or row.file_id > barrier or row.is_this_file)
        digests = {row.id: row.digest for row in files}
        return Earlier(kept, tuple((row.id, row.filed_as) for row in files), digests)

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state: of unfinished files only, so that the cost does not grow with the past."""
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(_jobs.c.state, sa.func.count())
                .join(_files, _files.c.id == _jobs.c.file_id)
                .where(_files.c.state.in_((FileState.CLAIMING, FileState.OPEN)))
                .group_by(_jobs.c.state)
            ).all()
        return {state.value: 0 for state in State} | {row[0]: row[1] for row in rows}

    def glance(self, most_files: int, most_jobs: int) -> Glance:
        """The oldest unfinished job files with their jobs, without what would make reading them cost much."""
        unfinished = _files.c.state.in_((FileState.CLAIMING, FileState.OPEN))
        columns: list[Any] = [column for column in _files.c if column is not _files.c.content]
        is_moving = sa.case((_jobs.c.state.in_((State.RENDERING, State.EXPORTING)), 0), else_=1)
        with self._transaction() as connection:
            file_count = connection.execute(sa.select(sa.func.count()).where(unfinished)).scalar_one()
            files: Sequence[Any] = connection.execute(
                sa.select(*columns, sa.literal(b"").label("content"))
                .where(unfinished)
                .order_by(_files.c.id)
                .limit(most_files)
            ).all()
            ours = _jobs.c.file_id.in_([row.id for row in files])
            jobs = connection.execute(
                sa.select(_jobs).where(ours).order_by(is_moving, _jobs.c.id).limit(most_jobs)
            ).all()
            counts = connection.execute(
                sa.select(_jobs.c.file_id, _jobs.c.state, sa.func.count())
                .where(ours)
                .group_by(_jobs.c.file_id, _jobs.c.state)
            ).all()
        jobs_of: dict[int, list[Job]] = {row.id: [] for row in files}
        counts_of: dict[int, dict[str, int]] = {row.id: {} for row in files}
        for row in sorted(jobs, key=lambda row: row.id):
            jobs_of[row.file_id].append(_job(row))
        for file_id, state, count in counts:
            counts_of[file_id][state] = count
        return Glance(tuple((_file(row), tuple(jobs_of[row.id]), counts_of[row.id]) for row in files), file_count)

    def latest_closed(self, most: int) -> list[tuple[JobFile, list[Job]]]:
        """The job files that were filed away last, latest first, with their jobs."""
        with self._transaction() as connection:
            files = connection.execute(
                sa.select(_files)
                .where(_files.c.state == FileState.CLOSED)
                .order_by(_files.c.closed_at.desc(), _files.c.id.desc())
                .limit(most)
            ).all()
            ids = [row.id for row in files]
            jobs = connection.execute(sa.select(_jobs).where(_jobs.c.file_id.in_(ids)).order_by(_jobs.c.id)).all()
        return [(_file(row), [_job(job) for job in jobs if job.file_id == row.id]) for row in files]

    def closed_since(
        self, since: float, most_files: int, most_jobs: int, outcome: Outcome | None = None
    ) -> list[Closed]:
        """The job files that were filed away since then, latest first, with what can be had of their jobs.

        Args:
            since: wall-clock seconds.
            most_files: of them.
            most_jobs: of all of them together.
            outcome: only these; None for all.
        """
        closed = sa.and_(_files.c.closed_at >= since, _files.c.state == FileState.CLOSED)
        if outcome is not None:
            closed = sa.and_(closed, _files.c.outcome == outcome)
        return self._closed(closed, most_files, most_jobs)

    def closed_among(self, ids: Collection[int], most_jobs: int) -> list[Closed]:
        """As `closed_since`, of the job files with these numbers, which are few."""
        closed = sa.and_(_files.c.id.in_(ids), _files.c.state == FileState.CLOSED)
        return self._closed(closed, len(ids), most_jobs)

    def failed_since(self, since: float, most: int) -> list[tuple[int, str]]:
        """Numbers of the job files that were filed as failed since then, and where they were put, latest first."""
        failed = sa.and_(_files.c.state == FileState.CLOSED, _files.c.outcome == Outcome.FAILED)
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(_files.c.id, _files.c.filed_as)
                .where(failed, _files.c.closed_at >= since, _files.c.filed_as.is_not(None))
                .order_by(_files.c.closed_at.desc(), _files.c.id.desc())
                .limit(most)
            ).all()
        return [(row.id, row.filed_as) for row in rows]

    def _closed(self, closed: sa.ColumnElement[bool], most_files: int, most_jobs: int) -> list[Closed]:
        columns: list[Any] = [column for column in _files.c if column is not _files.c.content]
        with self._transaction() as connection:
            files: Sequence[Any] = connection.execute(
                sa.select(*columns, sa.literal(b"").label("content"))
                .where(closed)
                .order_by(_files.c.closed_at.desc(), _files.c.id.desc())
                .limit(most_files)
            ).all()
            ours = _jobs.c.file_id.in_([row.id for row in files])
            jobs = connection.execute(
                sa.select(_jobs).where(ours).order_by(_jobs.c.file_id.desc(), _jobs.c.id).limit(most_jobs)
            ).all()
            counted = sa.select(_jobs.c.file_id, sa.func.count().label("count")).where(ours).group_by(_jobs.c.file_id)
            counts = {file_id: count for file_id, count in connection.execute(counted)}  # noqa: C416 - rows are typed
        jobs_of: dict[int, list[Job]] = {row.id: [] for row in files}
        for row in jobs:
            jobs_of[row.file_id].append(_job(row))
        return [Closed(_file(row), tuple(jobs_of[row.id]), counts.get(row.id, 0)) for row in files]

    def unknown_projects(self, project_ids: Iterable[str]) -> set[str]:
        """Those project ids that no job of ours has or had."""
        wanted = sorted(set(project_ids))
        known: set[str] = set()
        with self._transaction() as connection:
            for start in range(0, len(wanted), _MOST_VARIABLES):
                some = wanted[start : start + _MOST_VARIABLES]
                found = sa.select(_jobs.c.project_id).where(_jobs.c.project_id.in_(some))
                known.update(connection.execute(found).scalars())
        return set(wanted) - known

    def in_doubt_since(self, asked_at: float) -> list[Job]:
        """Jobs that were asked for since then (wall-clock seconds) and are in doubt, filed away or not."""
        doubtful = sa.and_(_jobs.c.failure == Failure.IN_DOUBT, _jobs.c.asked_at >= asked_at)
        with self._transaction() as connection:
            return [_job(row) for row in connection.execute(sa.select(_jobs).where(doubtful).order_by(_jobs.c.id))]

    def exported_since(self, asked_at: float) -> list[Job]:
        """Jobs whose export left since then (wall-clock seconds) and was, or may have been, or may yet be accepted.

        What an earlier job was asked for counts with that one alone: a job in doubt that is continued keeps its moment.
        """
        earlier = _jobs.alias("earlier")
        counts = sa.or_(
            _jobs.c.project_id.is_not(None),
            _jobs.c.state == State.EXPORTING,
            _jobs.c.failure == Failure.IN_DOUBT,
        )
        is_own = sa.or_(earlier.c.asked_at.is_(None), earlier.c.asked_at != _jobs.c.asked_at)
        found = (
            sa.select(_jobs)
            .outerjoin(earlier, earlier.c.id == _jobs.c.continues)
            .where(_jobs.c.asked_at >= asked_at, counts, is_own)
        )
        with self._transaction() as connection:
            return [_job(row) for row in connection.execute(found)]

    def latest_renders(self, most: int) -> list[Job]:
        """The jobs that were done last, each by a render of its own from beginning to end."""
        done = sa.and_(
            _jobs.c.settled_at.is_not(None),
            _jobs.c.state == State.DONE,
            _jobs.c.exported_at.is_not(None),
            _jobs.c.continues.is_(None),
        )
        found = sa.select(_jobs).where(done).order_by(_jobs.c.settled_at.desc()).limit(most)
        with self._transaction() as connection:
            return [_job(row) for row in connection.execute(found)]

    def pending_notices(self) -> list[tuple[int, Sink]]:
        """The numbers of all notices that wait to be delivered, oldest first, and who is to be told."""
        ours = sa.select(_notices.c.id, _notices.c.sink).where(_notices.c.owner == self.owner).order_by(_notices.c.id)
        with self._transaction() as connection:
            return [(row.id, Sink(row.sink)) for row in connection.execute(ours)]

    def notice(self, notice_id: int) -> Notice:
        """A notice that waits to be delivered.

        Raises:
            LedgerUnavailable: the ledger cannot be read now.
        """
        with self._transaction() as connection:
            row = connection.execute(sa.select(_notices).where(_notices.c.id == notice_id)).one()
        return Notice(row.id, Sink(row.sink), Kind(row.kind), row.at, row.body, row.tries)

    def entries(self, file_id: int) -> list[Entry]:
        """All that happened to one batch, in order."""
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(_entries).where(_entries.c.file_id == file_id).order_by(_entries.c.id)
            ).all()
        return [Entry(row.at, row.event, row.file_id, row.job_id, row.fields) for row in rows]


def is_daemon_alive(folder: Path) -> bool:
    """Whether a daemon holds the state in this folder."""
    try:
        lock = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def exists(folder: Path, path: Path | None = None) -> bool:
    """Whether there is a ledger in this folder, or at the path of its own."""
    return (path or folder / LEDGER_FILE).exists()


def _make_folder(folder: Path) -> None:
    """Make it with its parents; their names are on disk before anything in it may matter (fsync(2))."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _take_lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        is_taken = _lock_soon(lock)
    except OSError:
        os.close(lock)
        raise
    if not is_taken:
        os.close(lock)
        raise LedgerLocked(
            f"another chromadrop has this state ({path.parent}): stop it first, "
            "or give this one a folder of its own (folders.state)"
        )
    return lock


def _lock_soon(lock: int) -> bool:
    """Take the lock, in half a second at most: `is_daemon_alive` holds it for a moment when it looks."""
    for _ in range(10):
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        threading.Event().wait(0.05)
    return False


def _engine(path: Path, begin: str) -> sa.Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": 10},
    )

    def on_connect(connection: Any, _record: Any) -> None:
        # SQLAlchemy begins transactions itself, so that a write locks at once and never in the middle.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def on_begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    sa_event.listen(engine, "connect", on_connect)
    sa_event.listen(engine, "begin", on_begin)
    return engine


def _schema_of(connection: sa.Connection) -> str | None:
    """The schema of the ledger; None where there is none yet."""
    if not sa.inspect(connection).has_table(_notes.name):
        return None
    return connection.execute(sa.select(_notes.c.value).where(_notes.c.key == "schema_version")).scalar_one_or_none()


def _check_schema(found: str) -> None:
    if found in _STEPS:
        raise LedgerOutdated(
            f"the ledger has schema {found} of an earlier release; the daemon of this release, schema "
            f"{SCHEMA_VERSION}, brings it up to date when it starts: chromadrop run"
        )
    if found != SCHEMA_VERSION:
        raise LedgerRefused(
            f"the ledger has schema {found}, this release knows schema {SCHEMA_VERSION}: run the release that wrote it"
        )


def _is_past(before: float, owner: str) -> sa.ColumnElement[bool]:
    """Whether a job file can be forgotten: see `Ledger.prune`."""
    next_jobs, next_files = _jobs.alias("next_jobs"), _files.alias("next_files")
    failed, later = _files.alias("failed"), _files.alias("later")
    ours = _jobs.c.file_id == _files.c.id
    is_free = sa.and_(_jobs.c.state == State.FAILED, _jobs.c.failure == Failure.REFUSED, _jobs.c.project_id.is_(None))
    is_owed = sa.exists().where(ours, _jobs.c.continued_by.is_(None), sa.not_(is_free))
    is_gone_on_with = sa.exists().where(
        ours,
        next_jobs.c.id == _jobs.c.continued_by,
        next_files.c.id == next_jobs.c.file_id,
        next_files.c.state != FileState.CLOSED,
    )
    is_after_failed = sa.exists().where(
        failed.c.name == _files.c.name, failed.c.id < _files.c.id, failed.c.outcome == Outcome.FAILED
    )
    is_before_done = sa.exists().where(
        later.c.name == _files.c.name, later.c.id > _files.c.id, later.c.outcome == Outcome.DONE
    )
    is_a_barrier = sa.and_(is_after_failed, sa.not_(is_before_done))
    is_done = sa.and_(_files.c.outcome == Outcome.DONE, sa.not_(is_a_barrier))
    is_of_no_use = sa.and_(_files.c.outcome == Outcome.FAILED, sa.not_(is_owed), sa.not_(is_gone_on_with))
    return sa.and_(
        _files.c.owner == owner,
        sa.or_(
            sa.and_(_files.c.state == FileState.CLOSED, _files.c.closed_at < before, sa.or_(is_done, is_of_no_use)),
            sa.and_(_files.c.state == FileState.WITHDRAWN, _files.c.claimed_at < before),
        ),
    )


def _put_note(connection: sa.Connection, key: str, value: Any) -> None:
    if connection.execute(sa.update(_notes).where(_notes.c.key == key).values(value=value)).rowcount == 0:
        connection.execute(sa.insert(_notes), {"key": key, "value": value})


def _inserted(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> Sequence[int]:
    """Insert the rows; their numbers, in their order."""
    if not rows:
        return []
    insert = sa.insert(table).returning(table.c.id, sort_by_parameter_order=True)
    return connection.execute(insert, rows).scalars().all()


def _take_over(connection: sa.Connection, job: Job) -> None:
    statement = (
        sa.update(_jobs).where(_jobs.c.id == job.continues, _jobs.c.continued_by.is_(None)).values(continued_by=job.id)
    )
    if connection.execute(statement).rowcount != 1:
        raise LedgerConflict(f"job {job.continues} is continued by another job already")


def _entry_row(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at,
        "event": entry.event,
        "file_id": entry.file_id,
        "job_id": entry.job_id,
        "fields": entry.fields,
    }


def _notice_row(notice: Notice) -> dict[str, Any]:
    return {
        "sink": notice.sink,
        "kind": notice.kind,
        "at": notice.at,
        "body": dict(notice.body),
        "tries": notice.tries,
    }


def _job_changes(job: Job) -> dict[str, Any]:
    video = None
    if job.video is not None:
        video = {"path": job.video.path, "bytes": job.video.bytes, "sha256": job.video.sha256}
    return {
        "state": job.state,
        "project_id": job.project_id,
        "progress": job.progress,
        "exported_at": job.exported_at,
        "refusals": job.refusals,
        "deferrals": job.deferrals,
        "video": video,
        "failure": job.failure,
        "reason": job.reason,
        "settled_at": job.settled_at,
        "asked_at": job.asked_at,
        "is_adopted": job.is_adopted,
    }


def _job_row(job: Job) -> dict[str, Any]:
    return {
        "file_id": job.batch_id,
        "position": job.position,
        "body": dict(job.request.body),
        "digest": job.request.digest,
        "name": _name_row(job.request),
        "may_pay_again": job.request.may_pay_again,
        "continues": job.continues,
        "is_pay_again_allowed": job.is_pay_again_allowed,
        **_job_changes(job),
    }


def _name_row(request: Request) -> str | dict[str, str] | None:
    """A name, or the folder's template of names, which counts only where there is none."""
    if request.name is not None or request.template is None:
        return request.name
    return {"template": request.template}


def _request(row: sa.Row[Any]) -> Request:
    if isinstance(row.name, dict):
        return Request(row.body, None, row.may_pay_again, template=row.name["template"])
    return Request(row.body, row.name, row.may_pay_again)


def _job(row: sa.Row[Any]) -> Job:
    return Job(
        id=row.id,
        batch_id=row.file_id,
        position=row.position,
        request=_request(row),
        state=State(row.state),
        project_id=row.project_id,
        progress=row.progress,
        exported_at=row.exported_at,
        refusals=row.refusals,
        deferrals=row.deferrals,
        video=None if row.video is None else Video(**row.video),
        failure=None if row.failure is None else Failure(row.failure),
        reason=row.reason,
        continues=row.continues,
        settled_at=row.settled_at,
        is_pay_again_allowed=row.is_pay_again_allowed,
        asked_at=row.asked_at,
        is_adopted=row.is_adopted,
    )


def _file_changes(job_file: JobFile) -> dict[str, Any]:
    return {
        "processing_name": job_file.processing_name,
        "state": job_file.state,
        "outcome": job_file.outcome,
        "settled_at": job_file.settled_at,
        "closed_at": job_file.closed_at,
        "filed_as": job_file.filed_as,
        "clears": [list(leftover) for leftover in job_file.clears],
    }


def _file_row(job_file: JobFile) -> dict[str, Any]:
    print_ = job_file.fingerprint
    return {
        "name": job_file.name,
        "fingerprint": [print_.device, print_.inode, print_.size, print_.mtime_ns, print_.ctime_ns],
        "digest": job_file.digest,
        "content": job_file.content,
        "problems": [[p.message, p.line, p.column, p.path, p.where] for p in job_file.problems],
        "claimed_at": job_file.claimed_at,
        **_file_changes(job_file),
    }


def _file(row: sa.Row[Any]) -> JobFile:
    return JobFile(
        id=row.id,
        name=row.name,
        processing_name=row.processing_name,
        state=FileState(row.state),
        fingerprint=Fingerprint(*row.fingerprint),
        digest=row.digest,
        content=bytes(row.content),
        problems=tuple(Problem(*problem) for problem in row.problems),
        claimed_at=row.claimed_at,
        outcome=None if row.outcome is None else Outcome(row.outcome),
        settled_at=row.settled_at,
        closed_at=row.closed_at,
        filed_as=row.filed_as,
        clears=tuple(Leftover(*leftover) for leftover in row.clears),
    )
