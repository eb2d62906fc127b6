"""Claim: inbox/ -> processing/, and what a job file continues.

The claim is in the ledger before the file moves, with all its jobs: a daemon that is killed in between finds the
intent and moves the file, and no second one can take over the same earlier renders.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from daemon.core.display import display
from daemon.core.errors import DropChanged, DropVanished, LedgerRefused, NameTaken, SpoolError
from daemon.core.job import Job, Paid, State, continue_from
from daemon.core.job_file import FileState, JobFile, Leftover
from daemon.core.problem import Problem
from daemon.core.report import ClaimEnded, ClaimsEnded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from daemon.core.batch import Request
    from daemon.core.drop import Drop
    from daemon.edges.ledger import Earlier
    from daemon.edges.spool import Spool


def plan(drop: Drop, processing_name: str, earlier: Earlier, now: float) -> tuple[JobFile, list[Job]]:
    """What the ledger is to say of a drop: pure.

    A table with a row that says that it is done or paid, and takes up nothing, is refused: it came back under another
    name, or after all of it was done, and the row would be paid a second time. So is a file that nobody has touched
    since it failed, where a job that was, or may have been, paid would now be another one, because the defaults around
    it have changed: its error text has promised that nothing is paid again.

    Args:
        drop: settled and read.
        processing_name: a name in processing/ that no open batch has.
        earlier: what failed files of the same name left behind.
        now: wall-clock seconds.
    """
    job_file, jobs = _plan(drop, processing_name, earlier, now)
    problems = _paid_before(drop, jobs) or _changed_from_outside(drop, jobs, earlier)
    if problems:
        return _plan(replace(drop, batch=None, problems=problems), processing_name, earlier, now)
    return job_file, jobs


def _paid_before(drop: Drop, jobs: list[Job]) -> tuple[Problem, ...]:
    requests = drop.batch.requests if drop.batch is not None else ()
    words = (
        "this row says that it is done or may have been paid, but it was changed, or no failed table of this name "
        "knows it: it would be ordered, and paid, anew. If that is meant, empty its cells 'state' and 'paid'; if not, "
        "take the row out"
    )
    return tuple(
        request.problem("state", words)
        for request, job in zip(requests, jobs, strict=True)
        if request.is_marked_paid and job.continues is None and not request.may_pay_again
    )


def _changed_from_outside(drop: Drop, jobs: list[Job], earlier: Earlier) -> tuple[Problem, ...]:
    same = {file_id for file_id, digest in earlier.digests.items() if digest and digest == drop.digest}
    before = {job.position: job for job in reversed(earlier.jobs) if job.batch_id in same and job.paid is not Paid.NO}
    requests = drop.batch.requests if drop.batch is not None else ()
    words = (
        "was ordered, and paid or perhaps paid, when this folder's or the configuration's defaults were others; with "
        "those of now it would be another video, and be paid anew. Put the defaults back to go on with the old order; "
        "or, if a new one is meant, write pay_again: true, or drop the file under another name"
    )
    return tuple(
        request.problem("text", f"job {job.position} {words}")
        for request, job in zip(requests, jobs, strict=True)
        if job.continues is None
        and (old := before.get(job.position)) is not None
        and not (request.may_pay_again or old.is_pay_again_allowed)
    )


def _plan(drop: Drop, processing_name: str, earlier: Earlier, now: float) -> tuple[JobFile, list[Job]]:
    left = list(earlier.jobs)
    # Where a request stands in its file is of no use once the file was found valid.
    requests = [replace(request, place=None) for request in drop.batch.requests] if drop.batch is not None else []
    jobs = [_planned(request, position, left, now) for position, request in enumerate(requests, start=1)]
    problems = drop.problems
    if problems:
        problems = (*problems, *_still_there(earlier))
    continued = {job.continues for job in jobs}
    batches = {job.batch_id for job in earlier.jobs if job.id in continued}
    # The nearest of that name is spoken for even where it had no job at all (a file that was not valid).
    nearest = {earlier.files[0][0]} if earlier.files else set()
    job_file = JobFile(
        id=0,
        name=drop.name,
        processing_name=processing_name,
        state=FileState.CLAIMING,
        fingerprint=drop.fingerprint,
        digest=drop.digest,
        content=drop.content,
        problems=problems,
        claimed_at=now,
        clears=tuple(
            Leftover(file_id, filed_as, file_id in batches)
            for file_id, filed_as in earlier.files
            if file_id in batches | nearest
        ),
    )
    return job_file, jobs


def _still_there(earlier: Earlier) -> Iterator[Problem]:
    """For whoever reads why a file is not valid: what an earlier one of its name has paid for is not lost by that."""
    done = [job for job in earlier.jobs if job.state is State.DONE]
    paid = [job for job in earlier.jobs if job.paid is not Paid.NO and job.state is not State.DONE]
    made = ["1 video is made" if len(done) == 1 else f"{len(done):,} videos are made"] if done else []
    if paid:
        videos = "1 video was paid" if len(paid) == 1 else f"{len(paid):,} videos were paid"
        projects = ", ".join(display(job.project_id) for job in paid[:5] if job.project_id is not None)
        made.append(f"{videos}, or may have been{f' (project {projects})' if projects else ''}")
    if made:
        yield Problem(
            f"besides: of an earlier file of this name {', and '.join(made)}; nothing of that is lost: once this file "
            "is mended and dropped under the same name, jobs that ask for the same go on there"
        )


def _planned(request: Request, position: int, left: list[Job], now: float) -> Job:
    job = Job(id=0, batch_id=0, position=position, request=request)
    match = next((old for old in left if old.request.digest == request.digest), None)
    if match is None:
        return job
    left.remove(match)
    # The file's own word counts for this drop; the earlier job's for having been retried with --pay-again.
    may_pay_again = request.may_pay_again or match.is_pay_again_allowed
    return continue_from(job, match, now, may_pay_again=may_pay_again)


def take(spool: Spool, claims: Sequence[tuple[JobFile, bool]]) -> ClaimsEnded:
    """Move the files into processing/; the same call again finds them moved.

    Their folders are synced once for all of them, before anybody is told: for many small files that is what costs.

    Args:
        spool: the folders.
        claims: job files that are claimed in the ledger, each with whether an earlier attempt, of this daemon or the
            one before, may have got half way.
    """
    folders: set[Path] = set()
    ended = [_take(spool, job_file, is_retry, folders) for job_file, is_retry in claims]
    try:
        spool.sync_claimed(folders)
    except (SpoolError, LedgerRefused) as error:
        reason = str(error)
        ended = [
            replace(one, is_claimed=False, reason=reason, is_deferred=True) if one.is_claimed else one for one in ended
        ]
    return ClaimsEnded(tuple(ended))


def _take(spool: Spool, job_file: JobFile, is_retry: bool, folders: set[Path]) -> ClaimEnded:
    name, processing_name = job_file.name, job_file.processing_name
    try:
        folders |= spool.claim(name, processing_name, job_file.fingerprint, job_file.digest, is_retry=is_retry)
    except NameTaken as error:
        return ClaimEnded(job_file.id, is_claimed=False, reason=str(error), is_collision=True)
    except (DropVanished, DropChanged) as error:
        return ClaimEnded(job_file.id, is_claimed=False, reason=str(error))
    except (SpoolError, LedgerRefused) as error:
        return ClaimEnded(job_file.id, is_claimed=False, reason=str(error), is_deferred=True)
    except Exception as error:  # noqa: BLE001 - the top of a worker: a claim must end in an outcome
        reason = f"an error in chromadrop itself while claiming: {type(error).__name__}"
        return ClaimEnded(job_file.id, is_claimed=False, reason=reason, is_deferred=True)
    return ClaimEnded(job_file.id, is_claimed=True)
