"""A ledger with a past: so many done jobs, as a daemon would have left them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from daemon.core.batch import Request
from daemon.core.drop import Fingerprint
from daemon.core.job import Job, State, Video
from daemon.core.job_file import FileState, JobFile, Outcome
from daemon.edges.ledger import Entry, Ledger, Work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOBS_A_FILE: Final = 20
DAYS: Final = 60
EVENTS: Final = ("job.queued", "job.export_started", "job.exported", "job.downloaded")


def fill(root: Path, count: int) -> None:
    """Write so many done jobs into the ledger of a root that no daemon has used yet, spread over two months."""
    ledger = Ledger(root / "state")
    try:
        files = [_file(number, count) for number in range(count // JOBS_A_FILE)]
        for start in range(0, len(files), 100):
            entered = ledger.enter([(one, list(_jobs(one))) for one in files[start : start + 100]])
            entries = [
                Entry(job.settled_at or 0.0, event, job.batch_id, job.id)
                for _, jobs in entered
                for job in jobs
                for event in EVENTS
            ]
            ledger.commit(Work(entries=entries))
    finally:
        ledger.close()


def _file(number: int, count: int) -> JobFile:
    at = time.time() - DAYS * 86_400 * (1 - number * JOBS_A_FILE / count) - 60
    return JobFile(
        id=0,
        name=f"past-{number}.yaml",
        processing_name=f"past-{number}.yaml",
        state=FileState.CLOSED,
        fingerprint=Fingerprint(1, number, 3, 4, 5),
        digest="ab",
        content=b"",
        problems=(),
        claimed_at=at,
        outcome=Outcome.DONE,
        settled_at=at,
        closed_at=at,
        filed_as=f"done/past-{number}.yaml",
    )


def _jobs(job_file: JobFile) -> Iterator[Job]:
    for position in range(1, JOBS_A_FILE + 1):
        name = f"{job_file.name}-{position}"
        body = {"language": "ko", "text": f"Work {name}", "model": "M000004017", "clothes": "BG00006160"}
        yield Job(
            id=0,
            batch_id=0,
            position=position,
            request=Request(body),
            state=State.DONE,
            project_id=f"p-{name}",
            progress=100.0,
            exported_at=job_file.claimed_at,
            asked_at=job_file.claimed_at,
            video=Video(f"videos/{name}.mp4", 1000, "ab" * 32),
            settled_at=job_file.settled_at,
        )
