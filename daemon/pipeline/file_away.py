"""File away: a settled batch -> done/ or failed/, with a result for programs and an explanation for people."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from daemon.core.advice import ADOPTED, MEND, PAID, what_to_do
from daemon.core.display import display
from daemon.core.drop_name import is_table
from daemon.core.errors import LedgerRefused, SpoolError
from daemon.core.job import Job, State
from daemon.core.job_file import JobFile, Outcome
from daemon.core.report import FilingEnded
from daemon.core.table import Fate, result_table, words_by_row
from daemon.edges.spool import Filing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.edges.spool import Spool


def outcome_of(job_file: JobFile, jobs: Sequence[Job]) -> Outcome:
    """Where a settled batch goes: done/ only when every one of its videos is there."""
    is_done = not job_file.problems and all(job.state is State.DONE for job in jobs)
    return Outcome.DONE if is_done else Outcome.FAILED


def marker(ledger_id: str, file_id: int) -> str:
    """What tells a batch's result file from others': the ledger and its number."""
    return f"{ledger_id}-{file_id}"


def file_away(spool: Spool, job_file: JobFile, jobs: Sequence[Job], *, ledger_id: str, is_retry: bool) -> FilingEnded:
    """Move a settled batch; the same call again finds how far the first one got.

    Args:
        spool: the folders.
        job_file: settled.
        jobs: all of its jobs, settled.
        ledger_id: for the marker.
        is_retry: an earlier attempt, of this daemon or the one before, may have got half way.
    """
    try:
        _clear(spool, job_file, ledger_id)
        return FilingEnded(job_file.id, spool.file_away(_filing(job_file, jobs, ledger_id, is_retry=is_retry)))
    except (SpoolError, LedgerRefused) as error:
        return FilingEnded(job_file.id, None, str(error))
    except Exception as error:  # noqa: BLE001 - the top of a worker: filing must end in an outcome
        return FilingEnded(job_file.id, None, f"an error in chromadrop itself while filing: {type(error).__name__}")


def _filing(job_file: JobFile, jobs: Sequence[Job], ledger_id: str, *, is_retry: bool) -> Filing:
    is_done = job_file.outcome is Outcome.DONE

    def explain(filed_name: str) -> bytes:
        # The cloud's words may hold lone surrogates, which JSON can say and UTF-8 cannot.
        return explanation(job_file, jobs, display(filed_name)).encode("utf-8", "backslashreplace")

    return Filing(
        name=job_file.name,
        processing_name=job_file.processing_name,
        is_done=is_done,
        marker=marker(ledger_id, job_file.id),
        result=_json_bytes(result(job_file, jobs, ledger_id)),
        explain=None if is_done else explain,
        content=job_file.content,
        is_retry=is_retry,
        table=_table(job_file, jobs),
    )


def _table(job_file: JobFile, jobs: Sequence[Job]) -> bytes | None:
    """``NAME.csv.result.csv``: the table with what became of each row."""
    if not is_table(job_file.name):
        return None
    fates = [_fate(job) for job in sorted(jobs, key=lambda job: job.position)]
    return result_table(job_file.content, fates, words_by_row(job_file.problems))


def _fate(job: Job) -> Fate:
    video = "" if job.video is None else display(job.video.path)
    return Fate(job.state.value, video, display(job.reason), job.paid.value)


def clear(spool: Spool, job_file: JobFile, *, ledger_id: str) -> None:
    """Take away what the failed files that this one continues left in failed/; filing away tries once more."""
    with contextlib.suppress(SpoolError, LedgerRefused):
        _clear(spool, job_file, ledger_id)


def _clear(spool: Spool, job_file: JobFile, ledger_id: str) -> None:
    for file_id, filed_as, is_continued in job_file.clears:
        spool.clear(marker(ledger_id, file_id), filed_as, is_continued=is_continued)


def _json_bytes(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "backslashreplace")


# --- for programs ---------------------------------------------------------------------------------


def result(job_file: JobFile, jobs: Sequence[Job], ledger_id: str) -> dict[str, Any]:
    """``NAME.yaml.result.json``: what became of each job (README: the result file)."""
    found: dict[str, Any] = {
        "id": marker(ledger_id, job_file.id),
        "file": display(job_file.name),
        "outcome": job_file.outcome,
        "claimed_at": _time(job_file.claimed_at),
        "settled_at": _time(job_file.settled_at),
        "jobs": [_job_result(job) for job in jobs],
    }
    if job_file.problems:
        found["problems"] = [
            {"line": p.line, "column": p.column, "path": p.path or None, "message": p.message}
            | ({"where": p.where} if p.where else {})
            for p in job_file.problems
        ]
    return found


def _job_result(job: Job) -> dict[str, Any]:
    video = job.video
    return {
        "n": job.position,
        "state": job.state,
        "paid": job.paid,
        "project_id": job.project_id,
        "video": None if video is None else display(video.path),
        "bytes": None if video is None else video.bytes,
        "sha256": None if video is None else video.sha256,
        "adopted": job.is_adopted,
        "failure": job.failure,
        "error": job.reason or None,
        "exported_at": _time(job.exported_at),
        "settled_at": _time(job.settled_at),
        "request": dict(job.request.body),
        "name": job.request.name,
    }


def _time(wall: float | None) -> str | None:
    if wall is None:
        return None
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- for people -----------------------------------------------------------------------------------


def explanation(job_file: JobFile, jobs: Sequence[Job], name: str) -> str:
    """``NAME.yaml.error.txt``: which job, what went wrong, whether it was paid, and what to do next.

    Args:
        job_file: settled.
        jobs: all of its jobs.
        name: the job file's final path relative to failed/, fit to be read.
    """
    if job_file.problems:
        return _invalid_text(name, job_file)
    failed = [job for job in jobs if job.state is State.FAILED]
    done = len(jobs) - len(failed)
    lines = [f"{name}: {len(failed)} of {len(jobs)} videos could not be made.", ""]
    for job in failed:
        lines += _failed_lines(name, job, len(jobs))
    if done:
        others = "The other one is" if done == 1 else f"The other {done} are"
        lines += [f"{others} in videos/ and will not be made or paid for again.", ""]
    return "\n".join(lines)


def _invalid_text(name: str, job_file: JobFile) -> str:
    lines = [
        f"{name}: this job file cannot be used. Nothing was sent, nothing was paid.",
        "",
        "What is wrong:",
    ]
    lines += [f"  - {problem}" for problem in job_file.problems]
    lines += [
        "",
        "Paid: no",
        "",
        f"What to do: {MEND[0]}",
        *MEND[1:],
        "",
    ]
    return "\n".join(lines)


def _failed_lines(name: str, job: Job, total: int) -> list[str]:
    which = f"Job {job.position} of {total}" if total > 1 else "The job"
    body = job.request.body
    return [
        f"{which}: {_short(str(body['text']))}",
        f"  (language {body['language']}, model {body['model']}, clothes {body['clothes']})",
        f"  What went wrong: {job.reason}",
        f"  Paid: {PAID[job.paid]}",
        *([f"  Project: {job.project_id}{f' ({ADOPTED})' if job.is_adopted else ''}"] if job.project_id else []),
        *(f"  {line}" for line in _what_to_do(name, job)),
        "",
    ]


def _what_to_do(name: str, job: Job) -> list[str]:
    first, *others = what_to_do(job.failure, name)
    return [f"What to do: {first}", *(f"  {line}" for line in others)]


def _short(text: str) -> str:
    line = display(" ".join(text.split()))
    return f'"{line[:77]}..."' if len(line) > 80 else f'"{line}"'  # noqa: PLR2004 - a line's width
