"""What goes into the ledger in one transaction, and what comes out of it."""

from __future__ import annotations

import secrets
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.job import Job, State
    from daemon.core.job_file import FileState, JobFile
    from daemon.core.notice import Notice, Sink


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
        offers: jobs that any daemon may download now.
        returns: jobs that go back to the daemon whose file they belong to, as they are after this.
        slots: renders in flight that this daemon keeps room for from now on; None for as many as before. Never fewer
            than there are after this.
        waiting: jobs that wait for a slot then.
        is_unsure: an attempt to write it has ended in a way that leaves open whether it was written.
        token: names it, so that the next attempt can tell.
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
    offers: list[int] = field(default_factory=list)
    returns: list[int] = field(default_factory=list)
    slots: int | None = None
    waiting: int = 0
    is_unsure: bool = False
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def is_empty(self) -> bool:
        """Nothing to be written."""
        has_rows = self.jobs or self.files or self.withdrawn or self.progress or self.notes or self.entries
        has_notices = self.notices or self.notice_tries or self.notices_ended
        return not (has_rows or has_notices or self.offers or self.returns or self.slots is not None)

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
        hosts: on which machine each of these files is, by its number; empty names where there is only one.
    """

    files: tuple[tuple[JobFile, tuple[Job, ...], dict[str, int]], ...] = ()
    file_count: int = 0
    hosts: Mapping[int, str] = field(default_factory=dict)


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
        is_held: another daemon is just claiming a file that goes on with one of the jobs: whether it does is open.
    """

    jobs: tuple[Job, ...] = ()
    files: tuple[tuple[int, str], ...] = ()
    digests: Mapping[int, str] = field(default_factory=dict)
    is_held: bool = False


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


@dataclass(frozen=True, slots=True)
class Taken:
    """What a daemon goes on with.

    Attributes:
        files: unfinished job files with their jobs.
        lent: of those jobs, the numbers of those that others have borrowed.
        notices: numbers of notices that wait to be delivered, and who is to be told.
        owner: whose all that was; empty where it was our own, or where there is nothing.
        host: its machine's name.
    """

    files: tuple[tuple[JobFile, list[Job]], ...] = ()
    lent: frozenset[int] = frozenset()
    notices: tuple[tuple[int, Sink], ...] = ()
    owner: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Another daemon's job whose video is to be downloaded here.

    Attributes:
        job: RENDERING.
        job_file: that it belongs to, without its content.
        job_count: of that file.
    """

    job: Job
    job_file: JobFile
    job_count: int


@dataclass(frozen=True, slots=True)
class Member:
    """One of the daemons that have this ledger.

    Attributes:
        owner: whose rows are its own.
        host: its machine's name.
        is_gone: it has left, or was taken over; nothing is its own any more.
        is_alive: it holds its lock now.
        slots: renders in flight that it keeps room for.
        waiting: jobs that wait there for a slot of the account.
        counts: its jobs of unfinished files, by state; states without any are left out.
        daemon: what it said of itself when it started.
        troubles: what is wrong there, by what it is wrong with.
        gone: when it was taken over, in wall-clock seconds of the database, and by which machine; None where it never
            was, or has come back since.
    """

    owner: str
    host: str
    is_gone: bool
    is_alive: bool
    slots: int
    waiting: int
    counts: Mapping[str, int]
    daemon: Mapping[str, Any] | None
    troubles: Mapping[str, Any]
    gone: tuple[float, str] | None = None
