"""Notify: tell a command or an address of what has happened, at least once: what was taken may not look so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from daemon import VERSION
from daemon.core.display import display
from daemon.core.errors import NoticeDeferred, NoticeRefused
from daemon.core.job import Paid
from daemon.core.job_file import Outcome
from daemon.core.notice import Kind, Notice, Sink, excerpt, fitted, utc
from daemon.core.report import NoticeEnded
from daemon.pipeline import file_away

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from daemon.core.job import Job
    from daemon.core.job_file import JobFile
    from daemon.core.notice import AccountNews


class Outlet(Protocol):
    """Who can be told."""

    def deliver(self, notice: Notice) -> None:
        """Tell it, in bounded time.

        Raises:
            NoticeDeferred: it was not taken, or nobody can tell.
            NoticeRefused: it never will be.
        """

    def close(self) -> None:
        """End the try that is under way, and begin no more; any thread may."""


def deliver(outlet: Outlet, notice: Notice) -> NoticeEnded:
    """Make one try."""
    try:
        outlet.deliver(notice)
    except NoticeRefused as error:
        return NoticeEnded(notice.sink, notice, reason=error.reason, is_final=True)
    except NoticeDeferred as error:
        wait = error.retry_after_seconds
        return NoticeEnded(notice.sink, notice, reason=error.reason, retry_after_seconds=wait)
    except Exception as error:  # noqa: BLE001 - the top of a worker: a delivery must end in an outcome
        reason = f"an error in chromadrop itself while notifying: {type(error).__name__}"
        return NoticeEnded(notice.sink, notice, reason=reason)
    return NoticeEnded(notice.sink, notice, is_delivered=True)


# --- what is told ---------------------------------------------------------------------------------


class Writer:
    """Writes the documents.

    Args:
        ledger_id: makes the names of notices ours.
        root: is told with each, for one hook may serve several daemons.
    """

    def __init__(self, ledger_id: str, root: Path) -> None:
        self._ledger_id = ledger_id
        self._root = display(str(root))

    def filed(self, job_file: JobFile, jobs: Sequence[Job], at: float) -> tuple[Kind, dict[str, Any]]:
        """A job file lies in done/ or failed/: its result document, and where it lies."""
        kind = kind_of(job_file)
        result = file_away.result(job_file, jobs, self._ledger_id)
        more = {
            "filed_as": display(job_file.filed_as or ""),
            "paid": _paid(jobs),
            "reason": next((job.reason for job in jobs if job.reason), _first_problem(job_file)),
        }
        return kind, fitted(self._head(kind, str(job_file.id), at) | result | more)

    def in_doubt(self, job: Job, job_file: JobFile, at: float) -> tuple[Kind, dict[str, Any]]:
        """A job may have been paid, and a person has to find out."""
        asked_for = job.request.body
        return Kind.IN_DOUBT, self._head(Kind.IN_DOUBT, str(job.id), at) | {
            "id": file_away.marker(self._ledger_id, job_file.id),
            "file": display(job_file.name),
            "n": job.position,
            "text": excerpt(str(asked_for["text"])),
            **{key: excerpt(str(asked_for[key])) for key in ("language", "model", "clothes")},
            "paid": job.paid,
            "reason": job.reason,
            "asked_at": None if job.asked_at is None else utc(job.asked_at),
        }

    def account(self, news: AccountNews, at: float) -> tuple[Kind, dict[str, Any]]:
        """The account is in trouble, or well again."""
        head = self._head(Kind.ACCOUNT, str(round(at * 1000)), at)
        if not news.is_troubled:
            return Kind.ACCOUNT, head | {"recovered": True}
        return Kind.ACCOUNT, head | {"recovered": False, "reason": news.reason, "since": utc(news.since)}

    def _head(self, kind: Kind, number: str, at: float) -> dict[str, Any]:
        return {
            "event": kind,
            "notice": f"{self._ledger_id}-{kind}-{number}",
            "at": utc(at),
            "version": VERSION,
            "root": self._root,
        }


def kind_of(job_file: JobFile) -> Kind:
    """What is told of a settled job file."""
    return Kind.DONE if job_file.outcome is Outcome.DONE else Kind.FAILED


def _paid(jobs: Sequence[Job]) -> Paid:
    """Of a whole batch: unknown where any of it is, else yes where any of it was."""
    paid = {job.paid for job in jobs}
    return next((word for word in (Paid.UNKNOWN, Paid.YES) if word in paid), Paid.NO)


def _first_problem(job_file: JobFile) -> str | None:
    return str(job_file.problems[0]) if job_file.problems else None


def rows(told: tuple[Kind, dict[str, Any]], sinks: Sequence[Sink], at: float) -> list[Notice]:
    """One notice for each sink."""
    kind, body = told
    return [Notice(0, sink, kind, at, body) for sink in sinks]
