"""The ledger: what was claimed, asked, paid, and made; SQL through SQLAlchemy Core.

Every change of a row is a compare-and-set on the state we left it in and on the owner; a change and the entries that
tell of it are one transaction. With SQLite: WAL and ``synchronous=FULL``, so that what is committed survives a power
cut (https://www.sqlite.org/pragma.html#pragma_synchronous), and a lock file that only one daemon can hold.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from daemon.core.errors import LedgerConflict, LedgerLost, LedgerOutdated, LedgerRefused, LedgerUnavailable
from daemon.core.job import Failure, Job, State
from daemon.core.job_file import FileState, JobFile, Outcome
from daemon.core.notice import Kind, Notice, Sink
from daemon.edges.ledger import mapping, schema
from daemon.edges.ledger.schema import daemons as _daemons
from daemon.edges.ledger.schema import entries as _entries
from daemon.edges.ledger.schema import files as _files
from daemon.edges.ledger.schema import jobs as _jobs
from daemon.edges.ledger.schema import notes as _notes
from daemon.edges.ledger.schema import notices as _notices
from daemon.edges.ledger.sqlite import SqliteBase
from daemon.edges.ledger.work import Borrowed, Closed, Earlier, Entry, Glance, Member, Pruned, Taken, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from daemon.edges.ledger.postgres import PostgresBase

WRITTEN: Final = "written"
"""The note that names the last work which may have been written by an attempt whose end nobody heard of."""
ENTERED: Final = "entered"
"""The same for claims."""
GONE: Final = "gone"
"""The note that says of a daemon when it was taken over, and by whom."""
TAKEN: Final = "taken"
"""The same for what was taken over; followed by whose it was."""
_PRUNED_FILES: Final = 100  # are looked at in one transaction,
_PRUNED_ROWS: Final = 1000  # and so many entries, and jobs, forgotten, which takes some ten milliseconds
_TROUBLES: Final = ("account", "cloud", "root", "limited", "paused")


class Ledger:
    """The ledger as one daemon has it; used by one thread.

    Attributes:
        id: of the ledger; stands in the root's marker.
        owner: whose rows are ours.
        is_shared: other daemons may have it at the same time.
        waiting: jobs of ours that wait for a slot, as the other daemons see it.
        slots: renders in flight that we have room for, of what the account allows to all daemons together.

    Args:
        folder: the state folder, on a local disk; made when missing.
        path: of an SQLite database, when it is not to lie in that folder.
        url: of a PostgreSQL database, in the place of SQLite.
        is_exclusive: be a daemon; without it (``status``, ``retry``) one may be running.

    Raises:
        LedgerLocked: another daemon has this state.
        LedgerRefused: the ledger was written by another release.
        LedgerUnavailable: it cannot be opened.
    """

    def __init__(
        self, folder: Path, *, path: Path | None = None, url: str | None = None, is_exclusive: bool = True
    ) -> None:
        self.slots = self.waiting = 0
        self._epoch: int | None = None
        self._unsure_entry: str | None = None
        self._unsure_takes: dict[str, str] = {}
        try:
            self._base = _base_of(folder, path, url, is_exclusive=is_exclusive)
        except OSError as error:
            raise LedgerUnavailable(f"cannot open the ledger in {folder}: {error.strerror}") from error
        try:
            self._engine = self._base.engine
            if is_exclusive:
                self._make_tables()
            with self._transaction() as connection:
                self.id = self._identify(connection)
            self.owner = self._base.owner_of(self.id)
            if is_exclusive:
                self._join()
        except BaseException:
            self.close()
            raise

    @property
    def is_shared(self) -> bool:
        """Other daemons may have it at the same time."""
        return self._base.is_shared

    def _make_tables(self) -> None:
        """Bring the tables up to date, or make them, and give a new ledger its id.

        All steps from an earlier release's schema are taken, or none, and a copy is kept.
        """
        with self._transaction() as connection:
            found = _schema_of(connection)
        if found in schema.STEPS:
            self._base.keep_copy(found)
        elif found is not None:
            _check_schema(found)
        with self._transaction() as connection:
            self._base.lock_schema(connection)
            found = _schema_of(connection)
            first = found
            while (step := schema.STEPS.get(found or "")) is not None:
                for statement in step.statements:
                    connection.execute(sa.text(statement))
                found = step.leads_to
            schema.metadata.create_all(connection)
            if found != first:
                _put_note(connection, schema.OF_LEDGER, "schema_version", found)
            if found is None:
                _put_note(connection, schema.OF_LEDGER, "schema_version", schema.SCHEMA_VERSION)
                _put_note(connection, schema.OF_LEDGER, "ledger_id", secrets.token_hex(8))

    @staticmethod
    def _identify(connection: sa.Connection) -> str:
        found = _schema_of(connection)
        if found is None:
            raise LedgerUnavailable("no such table: nothing has used this ledger yet")
        _check_schema(found)
        return str(_note(connection, schema.OF_LEDGER, "ledger_id"))

    # --- the daemons ------------------------------------------------------------------------------

    def _join(self) -> None:
        """Be one of the daemons that have this ledger: what one before us had borrowed goes back."""
        me = _daemons.c.owner == self.owner
        with self._transaction() as connection:
            number = connection.execute(sa.select(_daemons.c.number).where(me)).scalar_one_or_none()
            if number is None:
                row = {
                    "owner": self.owner, "host": self._base.host, "epoch": 0, "is_gone": True,
                    "slots": 0, "waiting": 0, "leases": [],
                }  # fmt: skip
                number = connection.execute(sa.insert(_daemons).returning(_daemons.c.number), row).scalar()
        self._base.take_life(self.id, int(number or 0))
        with self._transaction() as connection:
            self._give_back(connection, self.owner)
            flying = connection.execute(
                sa.select(sa.func.count())
                .select_from(_jobs)
                .join(_files, _files.c.id == _jobs.c.file_id)
                .where(_is_unfinished(), _is_flying(), _jobs.c.owner == self.owner)
            )
            fresh: dict[str, Any] = {
                "epoch": _daemons.c.epoch + 1, "is_gone": False, "host": self._base.host,
                "slots": flying.scalar_one(), "waiting": 0, "leases": [],
            }  # fmt: skip
            update = sa.update(_daemons).where(me).values(fresh).returning(_daemons.c.epoch)
            self._epoch = connection.execute(update).scalar_one()
            self.slots = fresh["slots"]
            offered = sa.update(_jobs).where(_jobs.c.owner == self.owner, _is_offered())
            connection.execute(offered.values(is_offered=False))

    def _give_back(self, connection: sa.Connection, owner: str, but: Collection[int] = ()) -> None:
        """Jobs that this daemon has borrowed, but for some, belong to their files' owners again."""
        borrowed = (
            sa.select(_jobs.c.id)
            .join(_files, _files.c.id == _jobs.c.file_id)
            .where(_is_unfinished(), _files.c.owner != owner, _jobs.c.owner == owner, _jobs.c.id.not_in(but))
        )
        ids = connection.execute(borrowed).scalars().all()
        if ids:
            self._hand_back(connection, ids)

    def _hand_back(self, connection: sa.Connection, ids: Collection[int]) -> None:
        of_file = sa.select(_files.c.owner).where(_files.c.id == _jobs.c.file_id).scalar_subquery()
        connection.execute(sa.update(_jobs).where(_jobs.c.id.in_(ids)).values(owner=of_file, is_offered=False))
        self._announce(connection, {"returns"})

    def listen(self, post: Callable[[object], None]) -> None:
        """From now on put into the mailbox what other daemons say, and who of them lives; see core.messages."""
        self._base.listen(post)

    def is_ours(self) -> bool:
        """Whether nobody has taken our jobs over.

        Raises:
            LedgerUnavailable: the ledger cannot be read now.
        """
        with self._transaction() as connection:
            epoch = connection.execute(sa.select(_daemons.c.epoch).where(_daemons.c.owner == self.owner))
            return bool(epoch.scalar_one_or_none() == self._epoch)

    def take_over(self, owner: str) -> Taken:
        """Take over what a daemon has left that does not live any more; nothing where it lives or another was first.

        Raises:
            LedgerUnavailable: nothing was taken, or it is not known whether it was: ask again.
            LedgerLost: another daemon has taken our own jobs over.
        """
        token = self._unsure_takes.get(owner)
        fresh = token or secrets.token_hex(8)
        try:
            with self._writing() as connection:
                taken = self._taken_before(connection, owner, token) or self._take(connection, owner, fresh)
                mine = sa.select(_daemons.c.slots).where(_daemons.c.owner == self.owner)
                slots = connection.execute(mine).scalar_one()
        except LedgerUnavailable:
            self._unsure_takes[owner] = fresh
            raise
        self._unsure_takes.pop(owner, None)
        if taken.owner:
            self.slots = slots
        return taken

    def _taken_before(self, connection: sa.Connection, owner: str, token: str | None) -> Taken | None:
        """What an earlier attempt has taken after all; None where none has."""
        noted = _note(connection, self.owner, f"{TAKEN} {owner}") if token is not None else None
        if not noted or noted["token"] != token:
            return None
        found = self._unfinished(connection, _files.c.id.in_(noted["files"]))
        notices = tuple(one for one in self._pending_notices(connection, self.owner) if one[0] in noted["notices"])
        return replace(found, notices=notices, owner=owner, host=noted["host"])

    def _take(self, connection: sa.Connection, owner: str, token: str) -> Taken:
        other = _daemons.c.owner == owner
        row = connection.execute(sa.select(_daemons).where(other)).one_or_none()
        if row is None or row.is_gone or not self._base.try_life_of(connection, self.id, row.number):
            return Taken()
        gone = sa.update(_daemons).where(other, _daemons.c.is_gone.is_(False))
        fresh = {"epoch": _daemons.c.epoch + 1, "is_gone": True, "slots": 0, "waiting": 0, "leases": []}
        if connection.execute(gone.values(fresh)).rowcount != 1:
            return Taken()
        self._give_back(connection, owner)
        theirs = sa.select(_files.c.id).where(_files.c.owner == owner, _is_unfinished())
        ids = connection.execute(theirs).scalars().all()
        connection.execute(sa.update(_files).where(_files.c.id.in_(ids)).values(owner=self.owner))
        still_theirs = sa.and_(_jobs.c.file_id.in_(ids), _jobs.c.owner == owner)
        connection.execute(sa.update(_jobs).where(still_theirs).values(owner=self.owner, is_offered=False))
        notices = tuple(self._pending_notices(connection, owner))
        connection.execute(sa.update(_notices).where(_notices.c.owner == owner).values(owner=self.owner))
        mine = sa.update(_daemons).where(_daemons.c.owner == self.owner)
        connection.execute(mine.values(slots=_daemons.c.slots + row.slots))
        noted = {"token": token, "files": list(ids), "notices": [number for number, _sink in notices], "host": row.host}
        _put_note(connection, self.owner, f"{TAKEN} {owner}", noted)
        at = float(connection.execute(sa.select(sa.extract("epoch", sa.func.now()))).scalar_one())
        _put_note(connection, owner, GONE, {"at": at, "by": self._base.host})
        found = self._unfinished(connection, _files.c.id.in_(ids))
        return replace(found, notices=notices, owner=owner, host=row.host)

    def members(self) -> list[Member]:
        """All daemons that have this ledger or had it, in the order in which they came."""
        with self._transaction() as connection:
            alive = self._base.alive(connection, self.id)
            found = connection.execute(sa.select(_daemons).order_by(_daemons.c.number)).all()
            counted = connection.execute(
                sa.select(_jobs.c.owner, _jobs.c.state, sa.func.count())
                .join(_files, _files.c.id == _jobs.c.file_id)
                .where(_is_unfinished())
                .group_by(_jobs.c.owner, _jobs.c.state)
            ).all()
            said = connection.execute(sa.select(_notes).where(_notes.c.owner != schema.OF_LEDGER)).all()
        counts: dict[str, dict[str, int]] = {}
        for owner, state, count in counted:
            counts.setdefault(owner, {})[state] = count
        notes: dict[str, dict[str, Any]] = {}
        for row in said:
            notes.setdefault(row.owner, {})[row.key] = row.value
        return [
            Member(
                row.owner, row.host, row.is_gone, row.number in alive, row.slots, row.waiting,
                counts.get(row.owner, {}),
                notes.get(row.owner, {}).get("daemon"),
                {key: value for key, value in notes.get(row.owner, {}).items() if key in _TROUBLES and value},
                _gone(notes.get(row.owner, {})) if row.is_gone else None,
            )
            for row in found
        ]  # fmt: skip

    def close(self) -> None:
        """Let go of the database and of the locks."""
        self._base.close()

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                self._base.watch(connection)
                yield connection
        except DBAPIError as error:
            raise LedgerUnavailable(self._base.explain(error.orig)) from None
        finally:
            self._base.relax()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction in which nobody can take us over, and that is none where somebody has."""
        with self._transaction() as connection:
            if self.is_shared:
                ours = sa.and_(_daemons.c.owner == self.owner, _daemons.c.epoch == self._epoch)
                found = sa.select(_daemons.c.number).where(ours).with_for_update(key_share=True)
                if self._epoch is not None and connection.execute(found).one_or_none() is None:
                    raise LedgerLost("another daemon has taken our jobs over")
            yield connection

    def _announce(self, connection: sa.Connection, kinds: Iterable[str]) -> None:
        self._base.announce(connection, self.id, self.owner, frozenset(kinds))

    # --- writing ----------------------------------------------------------------------------------

    def commit(self, work: Work) -> list[int]:
        """Write all of the work, durably, or nothing.

        Returns:
            The numbers of its notices, in their order.

        Raises:
            LedgerUnavailable: disk full, locked, or the like; nothing was written.
            LedgerConflict: a row was not in the state that we left it in; nothing was written.
        """
        try:
            with self._writing() as connection:
                numbers = self._written_before(connection, work)
                return numbers if numbers is not None else self._write(connection, work)
        except LedgerUnavailable:
            # The end of the transaction may only not have been heard of.
            work.is_unsure = self.is_shared
            raise

    def _written_before(self, connection: sa.Connection, work: Work) -> list[int] | None:
        """The numbers of its notices where an earlier attempt has written it after all; None where none has."""
        if not work.is_unsure:
            return None
        found = _note(connection, self.owner, WRITTEN)
        return [int(number) for number in found["notices"]] if found and found["token"] == work.token else None

    def _write(self, connection: sa.Connection, work: Work) -> list[int]:
        if work.jobs:
            self._change_jobs(connection, work.jobs.values())
        if work.files:
            self._change_files(connection, work.files.values())
        for file_id in work.withdrawn:
            self._withdraw(connection, file_id)
        if work.progress:
            self._write_progress(connection, work.progress)
        for key, value in work.notes.items():
            _put_note(connection, self.owner, key, value)
        if work.entries:
            connection.execute(sa.insert(_entries), [mapping.entry_row(entry) for entry in work.entries])
        numbers = self._write_notices(connection, work)
        if self.is_shared:
            self._share(connection, work)
            _put_note(connection, self.owner, WRITTEN, {"token": work.token, "notices": numbers})
        return numbers

    def _share(self, connection: sa.Connection, work: Work) -> None:
        """What other daemons are to hear of."""
        kinds = set()
        if work.offers:
            ours = sa.and_(_jobs.c.id.in_(work.offers), _jobs.c.owner == self.owner, _jobs.c.state == State.RENDERING)
            connection.execute(sa.update(_jobs).where(ours).values(is_offered=True))
            kinds.add("offers")
        if work.returns:
            self._hand_back(connection, work.returns)
        if work.slots is not None:
            mine = sa.update(_daemons).where(_daemons.c.owner == self.owner)
            connection.execute(mine.values(slots=work.slots, waiting=work.waiting))
            self.waiting = work.waiting
            kinds.add("slots")
        if kinds:
            self._announce(connection, kinds)

    def _write_notices(self, connection: sa.Connection, work: Work) -> list[int]:
        for notice_id, tries in work.notice_tries.items():
            ours = sa.and_(_notices.c.id == notice_id, _notices.c.owner == self.owner)
            connection.execute(sa.update(_notices).where(ours).values(tries=tries))
        if work.notices_ended:
            ended = sa.and_(_notices.c.id == sa.bindparam("b_id"), _notices.c.owner == self.owner)
            connection.execute(sa.delete(_notices).where(ended), [{"b_id": number} for number in work.notices_ended])
        if not work.notices:
            return []
        rows = [{"owner": self.owner, **mapping.notice_row(notice)} for notice in work.notices]
        insert = sa.insert(_notices).returning(_notices.c.id, sort_by_parameter_order=True)
        return list(connection.execute(insert, rows).scalars())

    def _change_jobs(self, connection: sa.Connection, changes: Iterable[tuple[State, Job]]) -> None:
        rows = [{"b_id": job.id, "b_expected": expected, **mapping.job_changes(job)} for expected, job in changes]
        self._change(connection, _jobs, rows, "jobs")

    def _change(self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]], what: str) -> None:
        """Compare and set: each row has what changes, and by what it must be found (``b_id``, ``b_expected``)."""
        statement = (
            sa.update(table)
            .where(
                table.c.id == sa.bindparam("b_id"),
                table.c.state == sa.bindparam("b_expected"),
                table.c.owner == self.owner,
            )
            .values({column: sa.bindparam(column) for column in rows[0] if not column.startswith("b_")})
        )
        if connection.execute(statement, rows).rowcount != len(rows):
            raise LedgerConflict(f"{what} {sorted(row['b_id'] for row in rows)} were changed by somebody else")

    def _change_files(self, connection: sa.Connection, changes: Iterable[tuple[FileState, JobFile]]) -> None:
        rows = [{"b_id": one.id, "b_expected": expected, **mapping.file_changes(one)} for expected, one in changes]
        self._change(connection, _files, rows, "batches")
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

        Returns:
            What was entered, in the claims' order: all but those where another daemon is just claiming that file, or
            has its name in processing/.

        Raises:
            LedgerUnavailable: nothing was written, or it is not known whether it was: `entered_after_all` tells.
            LedgerConflict: an earlier job is continued by another already; nothing was written.
        """
        token = secrets.token_hex(8) if self.is_shared else None
        try:
            with self._writing() as connection:
                entered = self._enter(connection, claims)
                if token is not None:
                    ids = [job_file.id for job_file, _jobs in entered]
                    _put_note(connection, self.owner, ENTERED, {"token": token, "files": ids})
        except LedgerUnavailable:
            self._unsure_entry = token
            raise
        return entered

    def entered_after_all(self) -> list[tuple[JobFile, list[Job]]]:
        """What an attempt to enter has entered whose end nobody heard of; nothing where all is known.

        Raises:
            LedgerUnavailable: it is not known yet.
            LedgerLost: another daemon has taken our jobs over.
        """
        if self._unsure_entry is None:
            return []
        with self._writing() as connection:  # behind the earlier attempt, should it still be about to end
            noted = _note(connection, self.owner, ENTERED)
            ids = noted["files"] if noted and noted["token"] == self._unsure_entry else []
            found = self._unfinished(connection, _files.c.id.in_(ids)).files
        self._unsure_entry = None
        return list(found)

    def _enter(
        self, connection: sa.Connection, claims: Sequence[tuple[JobFile, Sequence[Job]]]
    ) -> list[tuple[JobFile, list[Job]]]:
        # In one order, or two daemons would wait for each other.
        files = sorted((job_file for job_file, _jobs in claims), key=lambda one: one.name if self.is_shared else "")
        insert = self._base.insert(_files).on_conflict_do_nothing().returning(_files.c.id, _files.c.processing_name)
        inserted = connection.execute(insert, [{"owner": self.owner, **mapping.file_row(one)} for one in files])
        file_ids = {row.processing_name: row.id for row in inserted}
        claimed = [
            (file_ids[one.processing_name], one, jobs) for one, jobs in claims if one.processing_name in file_ids
        ]
        placed = [replace(job, batch_id=file_id) for file_id, _job_file, jobs in claimed for job in jobs]
        job_ids = _inserted(connection, _jobs, [{"owner": self.owner, **mapping.job_row(job)} for job in placed])
        jobs_of: dict[int, list[Job]] = {file_id: [] for file_id, _job_file, _jobs in claimed}
        for job_id, job in zip(job_ids, placed, strict=True):
            jobs_of[job.batch_id].append(replace(job, id=job_id))
        _take_over(connection, [job for jobs in jobs_of.values() for job in jobs if job.continues is not None])
        return [(replace(job_file, id=file_id), jobs_of[file_id]) for file_id, job_file, _jobs in claimed]

    # --- what the daemons share -------------------------------------------------------------------

    def take_slots(self, *, wanted: int, waiting: int, most: int) -> int:
        """Have room for so many more renders in flight, of what the account allows to all daemons together.

        Where others wait too, each gets no more than its part of the whole.

        Args:
            wanted: as many more would be used now.
            waiting: jobs that would wait without them.
            most: renders in flight that the account allows.

        Returns:
            How many we have now.

        Raises:
            LedgerUnavailable: nothing was taken, or it is not known; what we have is never more than the ledger says.
            LedgerLost: another daemon has taken our jobs over.
        """
        with self._writing() as connection:
            self._base.lock_shares(connection, self.id)
            rows = connection.execute(sa.select(_daemons).where(_daemons.c.is_gone.is_(False))).all()
            [slots] = [row.slots for row in rows if row.owner == self.owner]
            contenders = sum(row.waiting > 0 for row in rows if row.owner != self.owner)
            part = max(1, most // (1 + contenders)) if contenders else most
            free = most - sum(row.slots for row in rows)
            granted = max(0, min(wanted, free, part - slots))
            still_waiting = max(0, waiting - granted)
            mine = sa.update(_daemons).where(_daemons.c.owner == self.owner)
            connection.execute(mine.values(slots=slots + granted, waiting=still_waiting))
            if still_waiting:
                self._announce(connection, {"waiting"})
        self.slots, self.waiting = int(slots + granted), still_waiting
        return self.slots

    def lease(self, asked_since: float, fit: Callable[[Sequence[Job]], Collection[int]]) -> frozenset[int]:
        """Choose jobs that may be ordered today, while no other daemon chooses; they count from now on.

        Args:
            asked_since: wall-clock seconds when the day began.
            fit: which of ours may be ordered, by number, when these jobs of all daemons were, or are about to be.

        Raises:
            LedgerUnavailable: nothing was chosen.
            LedgerLost: another daemon has taken our jobs over.
        """
        with self._writing() as connection:
            self._base.lock_shares(connection, self.id)
            others = sa.select(_daemons.c.leases).where(_daemons.c.owner != self.owner, _daemons.c.is_gone.is_(False))
            leased = {number for numbers in connection.execute(others).scalars() for number in numbers}
            ordered = self._exported_since(connection, asked_since)
            about = sa.select(_jobs).where(_jobs.c.id.in_(leased), _jobs.c.state == State.QUEUED)
            chosen = fit([*ordered, *(mapping.job_of(row) for row in connection.execute(about))])
            mine = sa.update(_daemons).where(_daemons.c.owner == self.owner)
            connection.execute(mine.values(leases=sorted(chosen)))
        return frozenset(chosen)

    def borrow(self, most: int, have: Collection[int]) -> list[Borrowed]:
        """Take jobs that other daemons offer to whoever has a download to spare.

        Args:
            most: of them.
            have: those that we have already; what else the ledger says we have goes back: nobody told us of it.

        Raises:
            LedgerUnavailable: none was taken, or the next call gives it back.
            LedgerLost: another daemon has taken our jobs over.
        """
        with self._writing() as connection:
            self._give_back(connection, self.owner, but=have)
            offered = (
                sa.select(_jobs.c.id)
                .where(_is_offered(), _jobs.c.owner != self.owner, _jobs.c.state == State.RENDERING)
                .order_by(_jobs.c.id)
                .limit(most)
                .with_for_update(skip_locked=True)
            )
            ids = connection.execute(offered).scalars().all()
            if not ids:
                return []
            taken = sa.update(_jobs).where(_jobs.c.id.in_(ids)).values(owner=self.owner, is_offered=False)
            connection.execute(taken)
            jobs = connection.execute(sa.select(_jobs).where(_jobs.c.id.in_(ids)).order_by(_jobs.c.id)).all()
            files = connection.execute(_without_content().where(_files.c.id.in_({row.file_id for row in jobs}))).all()
            counts = connection.execute(
                sa.select(_jobs.c.file_id, sa.func.count())
                .where(_jobs.c.file_id.in_([row.id for row in files]))
                .group_by(_jobs.c.file_id)
            ).all()
        file_of = {row.id: mapping.file_of(row) for row in files}
        count_of = {row[0]: row[1] for row in counts}
        return [Borrowed(mapping.job_of(row), file_of[row.file_id], count_of[row.file_id]) for row in jobs]

    def call_back(self, job_id: int) -> Job | None:
        """Take back the offer of a job; as it is now, or None where another daemon has it.

        Raises:
            LedgerUnavailable: it is not known.
            LedgerLost: another daemon has taken our jobs over.
        """
        with self._writing() as connection:
            ours = sa.and_(_jobs.c.id == job_id, _jobs.c.owner == self.owner)
            connection.execute(sa.update(_jobs).where(ours).values(is_offered=False))
            row = connection.execute(sa.select(_jobs).where(ours)).one_or_none()
        return None if row is None else mapping.job_of(row)

    def returned(self, ids: Collection[int]) -> list[Job]:
        """Those of these jobs, which others had borrowed, that are ours again."""
        with self._transaction() as connection:
            ours = sa.and_(_jobs.c.id.in_(ids), _jobs.c.owner == self.owner, _jobs.c.is_offered.is_(False))
            return [
                mapping.job_of(row) for row in connection.execute(sa.select(_jobs).where(ours).order_by(_jobs.c.id))
            ]

    def moving_elsewhere(self) -> list[str]:
        """Names of job files that other daemons are just claiming or filing away: what follows them has to wait."""
        is_moving = sa.or_(_files.c.state == FileState.CLAIMING, _files.c.outcome.is_not(None))
        found = sa.select(_files.c.name).where(_is_unfinished(), is_moving, _files.c.owner != self.owner)
        with self._transaction() as connection:
            return list(connection.execute(found).scalars())

    def processing_names(self) -> frozenset[str]:
        """Names in processing/ of all daemons' job files."""
        with self._transaction() as connection:
            return frozenset(connection.execute(sa.select(_files.c.processing_name).where(_is_unfinished())).scalars())

    # --- notes ------------------------------------------------------------------------------------

    def note(self, key: str, value: Any) -> None:
        """Remember one fact about the daemon."""
        with self._writing() as connection:
            _put_note(connection, self.owner, key, value)

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
        with self._writing() as connection:
            rows = connection.execute(
                sa.select(_files.c.id, _files.c.claimed_at, _is_past(before).label("is_past"))
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
                for start in range(0, len(found), schema.MOST_VARIABLES):
                    some = found[start : start + schema.MOST_VARIABLES]
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
            return _note(connection, self.owner, key)

    def notes(self, key: str) -> list[Any]:
        """What all daemons have noted under this name, in no order."""
        with self._transaction() as connection:
            return list(connection.execute(sa.select(_notes.c.value).where(_notes.c.key == key)).scalars())

    def unfinished(self) -> list[tuple[JobFile, list[Job]]]:
        """Every job file of ours that is not filed away yet, with its jobs, oldest first."""
        return list(self.ours().files)

    def ours(self) -> Taken:
        """The same, and what others have of it."""
        with self._transaction() as connection:
            return self._unfinished(connection, _files.c.owner == self.owner)

    def _unfinished(self, connection: sa.Connection, which: sa.ColumnElement[bool]) -> Taken:
        wanted = sa.and_(_is_unfinished(), which)
        files = connection.execute(sa.select(_files).where(wanted).order_by(_files.c.id)).all()
        jobs = connection.execute(
            sa.select(_jobs).join(_files, _files.c.id == _jobs.c.file_id).where(wanted).order_by(_jobs.c.id)
        ).all()
        found: dict[int, tuple[JobFile, list[Job]]] = {row.id: (mapping.file_of(row), []) for row in files}
        for row in jobs:
            found[row.file_id][1].append(mapping.job_of(row))
        lent = frozenset(row.id for row in jobs if row.owner != self.owner)
        return Taken(tuple(found.values()), lent)

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
            for start in range(0, len(wanted), schema.MOST_VARIABLES // 2):
                some = dict(wanted[start : start + schema.MOST_VARIABLES // 2])
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
            is_held = self._is_being_continued()
            rows = connection.execute(
                sa.select(_jobs, (_files.c.filed_as == failed_as).label("is_this_file"), is_held.label("is_held"))
                .join(_files, _files.c.id == _jobs.c.file_id)
                .where(failed, sa.or_(_jobs.c.continued_by.is_(None), is_held))
                .order_by(_jobs.c.file_id.desc(), _jobs.c.position)
            ).all()
        barrier = last_done or 0
        free = (row for row in rows if not row.is_held)
        kept = tuple(
            mapping.job_of(row) for row in free if row.state != State.DONE or row.file_id > barrier or row.is_this_file
        )
        digests = {row.id: row.digest for row in files}
        left = tuple((row.id, row.filed_as) for row in files)
        return Earlier(kept, left, digests, is_held=any(row.is_held for row in rows))

    def _is_being_continued(self) -> sa.ColumnElement[bool]:
        """Another daemon is just claiming a file that goes on with the job, which may yet come to nothing."""
        if not self.is_shared:
            return sa.false()
        following, claim = _jobs.alias("following"), _files.alias("claim")
        return sa.exists().where(
            following.c.id == _jobs.c.continued_by,
            claim.c.id == following.c.file_id,
            claim.c.state == FileState.CLAIMING,
            claim.c.owner != self.owner,
        )

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state: of unfinished files only, so that the cost does not grow with the past."""
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(_jobs.c.state, sa.func.count())
                .join(_files, _files.c.id == _jobs.c.file_id)
                .where(_is_unfinished())
                .group_by(_jobs.c.state)
            ).all()
        return {state.value: 0 for state in State} | {row[0]: row[1] for row in rows}

    def glance(self, most_files: int, most_jobs: int) -> Glance:
        """The oldest unfinished job files with their jobs, without what would make reading them cost much."""
        unfinished = _is_unfinished()
        is_moving = sa.case((_jobs.c.state.in_((State.RENDERING, State.EXPORTING)), 0), else_=1)
        with self._transaction() as connection:
            file_count = connection.execute(sa.select(sa.func.count()).where(unfinished)).scalar_one()
            files: Sequence[Any] = connection.execute(
                _without_content().where(unfinished).order_by(_files.c.id).limit(most_files)
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
            host_of = {row.owner: row.host for row in connection.execute(sa.select(_daemons))}
        jobs_of: dict[int, list[Job]] = {row.id: [] for row in files}
        counts_of: dict[int, dict[str, int]] = {row.id: {} for row in files}
        for row in sorted(jobs, key=lambda row: row.id):
            jobs_of[row.file_id].append(mapping.job_of(row))
        for file_id, state, count in counts:
            counts_of[file_id][state] = count
        return Glance(
            tuple((mapping.file_of(row), tuple(jobs_of[row.id]), counts_of[row.id]) for row in files),
            file_count,
            {row.id: host_of.get(row.owner, "") for row in files},
        )

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
        return [(mapping.file_of(row), [mapping.job_of(job) for job in jobs if job.file_id == row.id]) for row in files]

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
        with self._transaction() as connection:
            files: Sequence[Any] = connection.execute(
                _without_content()
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
            jobs_of[row.file_id].append(mapping.job_of(row))
        return [Closed(mapping.file_of(row), tuple(jobs_of[row.id]), counts.get(row.id, 0)) for row in files]

    def unknown_projects(self, project_ids: Iterable[str]) -> set[str]:
        """Those project ids that no job of ours has or had."""
        wanted = sorted(set(project_ids))
        known: set[str] = set()
        with self._transaction() as connection:
            for start in range(0, len(wanted), schema.MOST_VARIABLES):
                some = wanted[start : start + schema.MOST_VARIABLES]
                found = sa.select(_jobs.c.project_id).where(_jobs.c.project_id.in_(some))
                known.update(connection.execute(found).scalars())
        return set(wanted) - known

    def in_doubt_since(self, asked_at: float) -> list[Job]:
        """Jobs that were asked for since then (wall-clock seconds) and not answered, whoever's, filed away or not."""
        is_open = sa.or_(_jobs.c.failure == Failure.IN_DOUBT, _jobs.c.state == State.EXPORTING)
        doubtful = sa.and_(is_open, _jobs.c.asked_at >= asked_at)
        with self._transaction() as connection:
            return [
                mapping.job_of(row) for row in connection.execute(sa.select(_jobs).where(doubtful).order_by(_jobs.c.id))
            ]

    def exported_since(self, asked_at: float) -> list[Job]:
        """Jobs whose export left since then (wall-clock seconds) and was, or may have been, or may yet be accepted.

        What an earlier job was asked for counts with that one alone: a job in doubt that is continued keeps its moment.
        """
        with self._transaction() as connection:
            return self._exported_since(connection, asked_at)

    @staticmethod
    def _exported_since(connection: sa.Connection, asked_at: float) -> list[Job]:
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
        return [mapping.job_of(row) for row in connection.execute(found)]

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
            return [mapping.job_of(row) for row in connection.execute(found)]

    def pending_notices(self) -> list[tuple[int, Sink]]:
        """The numbers of all notices that wait to be delivered, oldest first, and who is to be told."""
        with self._transaction() as connection:
            return self._pending_notices(connection, self.owner)

    @staticmethod
    def _pending_notices(connection: sa.Connection, owner: str) -> list[tuple[int, Sink]]:
        ours = sa.select(_notices.c.id, _notices.c.sink).where(_notices.c.owner == owner).order_by(_notices.c.id)
        return [(row.id, Sink(row.sink)) for row in connection.execute(ours)]

    def notice(self, notice_id: int) -> Notice:
        """A notice that waits to be delivered.

        Raises:
            LedgerUnavailable: the ledger cannot be read now, or another daemon has taken the notice over and told it.
        """
        with self._transaction() as connection:
            row = connection.execute(sa.select(_notices).where(_notices.c.id == notice_id)).one_or_none()
        if row is None:
            raise LedgerUnavailable(f"notice {notice_id} is not ours any more")
        return Notice(row.id, Sink(row.sink), Kind(row.kind), row.at, row.body, row.tries)

    def entries(self, file_id: int) -> list[Entry]:
        """All that happened to one batch, in order."""
        with self._transaction() as connection:
            rows = connection.execute(
                sa.select(_entries).where(_entries.c.file_id == file_id).order_by(_entries.c.id)
            ).all()
        return [Entry(row.at, row.event, row.file_id, row.job_id, row.fields) for row in rows]


def _base_of(folder: Path, path: Path | None, url: str | None, *, is_exclusive: bool) -> SqliteBase | PostgresBase:
    if url is None:
        return SqliteBase(folder, path, is_exclusive=is_exclusive)
    from daemon.edges.ledger.postgres import PostgresBase  # noqa: PLC0415 - with SQLAlchemy's dialect, 3 MB

    return PostgresBase(folder, url, is_exclusive=is_exclusive)


def _schema_of(connection: sa.Connection) -> str | None:
    """The schema of the ledger; None where there is none yet."""
    if not sa.inspect(connection).has_table(_notes.name):
        return None
    return connection.execute(sa.select(_notes.c.value).where(_notes.c.key == "schema_version")).scalar_one_or_none()


def _check_schema(found: str) -> None:
    if found in schema.STEPS:
        raise LedgerOutdated(
            f"the ledger has schema {found} of an earlier release; the daemon of this release, schema "
            f"{schema.SCHEMA_VERSION}, brings it up to date when it starts: chromadrop run"
        )
    if found != schema.SCHEMA_VERSION:
        raise LedgerRefused(
            f"the ledger has schema {found}, this release knows schema {schema.SCHEMA_VERSION}: "
            "run the release that wrote it"
        )


def _gone(notes: dict[str, Any]) -> tuple[float, str] | None:
    found = notes.get(GONE)
    return (float(found["at"]), str(found["by"])) if isinstance(found, dict) else None


def _is_past(before: float) -> sa.ColumnElement[bool]:
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
    return sa.or_(
        sa.and_(_files.c.state == FileState.CLOSED, _files.c.closed_at < before, sa.or_(is_done, is_of_no_use)),
        sa.and_(_files.c.state == FileState.WITHDRAWN, _files.c.claimed_at < before),
    )


def _note(connection: sa.Connection, owner: str, key: str) -> Any:
    found = sa.select(_notes.c.value).where(_notes.c.owner == owner, _notes.c.key == key)
    return connection.execute(found).scalar_one_or_none()


def _put_note(connection: sa.Connection, owner: str, key: str, value: Any) -> None:
    same = sa.and_(_notes.c.owner == owner, _notes.c.key == key)
    if connection.execute(sa.update(_notes).where(same).values(value=value)).rowcount == 0:
        connection.execute(sa.insert(_notes), {"owner": owner, "key": key, "value": value})


def _is_flying() -> sa.ColumnElement[bool]:
    """The job counts against what the account allows in flight."""
    return _jobs.c.state.in_((State.EXPORTING, State.RENDERING))


def _is_offered() -> sa.ColumnElement[bool]:
    """Another daemon may download it; as the index of these jobs says it, else it is not looked at."""
    return sa.literal_column("jobs.is_offered")  # of no type: SQLite is asked "= 1" of a boolean


def _is_unfinished() -> sa.ColumnElement[bool]:
    """The job file is not filed away yet.

    The states are written into the statement: of a value that is given beside it, the database cannot know that the
    index of these files has all that is looked for, and reads the whole table.
    """
    states = (str(FileState.CLAIMING), str(FileState.OPEN))
    return _files.c.state.in_(sa.bindparam(None, states, unique=True, expanding=True, literal_execute=True))


def _without_content() -> sa.Select[Any]:
    columns: list[Any] = [column for column in _files.c if column is not _files.c.content]
    return sa.select(*columns, sa.literal(b"").label("content"))


def _inserted(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> Sequence[int]:
    """Insert the rows; their numbers, in their order."""
    if not rows:
        return []
    insert = sa.insert(table).returning(table.c.id, sort_by_parameter_order=True)
    return connection.execute(insert, rows).scalars().all()


def _take_over(connection: sa.Connection, jobs: Sequence[Job]) -> None:
    """These jobs go on with earlier ones, which nobody else goes on with."""
    if not jobs:
        return
    statement = (
        sa.update(_jobs)
        .where(_jobs.c.id == sa.bindparam("b_id"), _jobs.c.continued_by.is_(None))
        .values(continued_by=sa.bindparam("b_by"))
    )
    rows = [{"b_id": job.continues, "b_by": job.id} for job in sorted(jobs, key=lambda job: job.continues or 0)]
    if connection.execute(statement, rows).rowcount != len(rows):
        raise LedgerConflict(f"of the jobs {[row['b_id'] for row in rows]} one is continued by another job already")
