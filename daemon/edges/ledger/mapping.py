"""Values as rows, and rows as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.job import Failure, Job, State, Video
from daemon.core.job_file import FileState, JobFile, Leftover, Outcome
from daemon.core.problem import Problem

if TYPE_CHECKING:
    import sqlalchemy as sa

    from daemon.core.notice import Notice
    from daemon.edges.ledger.work import Entry


def entry_row(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at,
        "event": entry.event,
        "file_id": entry.file_id,
        "job_id": entry.job_id,
        "fields": entry.fields,
    }


def notice_row(notice: Notice) -> dict[str, Any]:
    return {
        "sink": notice.sink,
        "kind": notice.kind,
        "at": notice.at,
        "body": dict(notice.body),
        "tries": notice.tries,
    }


def job_changes(job: Job) -> dict[str, Any]:
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


def job_row(job: Job) -> dict[str, Any]:
    return {
        "file_id": job.batch_id,
        "position": job.position,
        "body": dict(job.request.body),
        "digest": job.request.digest,
        "name": _name_row(job.request),
        "may_pay_again": job.request.may_pay_again,
        "continues": job.continues,
        "is_pay_again_allowed": job.is_pay_again_allowed,
        **job_changes(job),
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


def job_of(row: sa.Row[Any]) -> Job:
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


def file_changes(job_file: JobFile) -> dict[str, Any]:
    return {
        "processing_name": job_file.processing_name,
        "state": job_file.state,
        "outcome": job_file.outcome,
        "settled_at": job_file.settled_at,
        "closed_at": job_file.closed_at,
        "filed_as": job_file.filed_as,
        "clears": [list(leftover) for leftover in job_file.clears],
    }


def file_row(job_file: JobFile) -> dict[str, Any]:
    print_ = job_file.fingerprint
    return {
        "name": job_file.name,
        "fingerprint": [print_.device, print_.inode, print_.size, print_.mtime_ns, print_.ctime_ns],
        "digest": job_file.digest,
        "content": job_file.content,
        "problems": [[p.message, p.line, p.column, p.path, p.where] for p in job_file.problems],
        "claimed_at": job_file.claimed_at,
        **file_changes(job_file),
    }


def file_of(row: sa.Row[Any]) -> JobFile:
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
