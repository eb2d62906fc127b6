"""Fetch: one look at a render; when it has ended, the download.

Looks and downloads have pools of their own, so that a download never delays a look; both may be made any number of
times.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from daemon.core.errors import AccountTroubled, CloudDeferred, LedgerRefused, LinkExpired, SpoolError
from daemon.core.job import Deferred, Downloaded, Progressed, Refused
from daemon.core.report import DownloadEnded, Looked, LooksEnded, Probed, Rendered, Troubled
from daemon.core.video_name import named_stem, safe_extension, safe_stem, url_name, video_stem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from daemon.core.job import Job
    from daemon.core.job_file import JobFile
    from daemon.core.project import Project
    from daemon.edges.spool import Spool


class Look(Protocol):
    """One answer of the progress endpoint."""

    @property
    def percent(self) -> float:
        """0 to 100."""

    @property
    def url(self) -> str | None:
        """The signed link, once rendered."""


class Part(Protocol):
    """A complete, checked, synced download under its partial name."""

    @property
    def bytes(self) -> int:
        """Its size."""

    @property
    def sha256(self) -> str:
        """Of its content, hex."""


class Fetcher(Protocol):
    """What this stage needs of the cloud."""

    @property
    def has_project(self) -> bool:
        """The API tells of a project more than its progress."""

    def look(self, project_id: str, *, is_afresh: bool = False) -> Look:
        """How far a render is; on a new connection, if it is to be."""

    @property
    def connections(self) -> int:
        """So many looks can be under way without making a connection."""

    def look_together(
        self, project_ids: Sequence[str]
    ) -> Iterator[Sequence[tuple[int, Look | CloudDeferred | AccountTroubled | None]]]:
        """How far these renders are, by their places, as the answers come; None for one that has to be asked alone."""

    def project(self, project_id: str) -> Project:
        """What the API tells of a project; costs nothing."""

    def probe(self, project_id: str | None) -> None:
        """Whether the credential is accepted; costs nothing."""

    def download(self, url: str, part: Path, *, should_stop: Callable[[], bool]) -> Part:
        """Download a video to ``part``, going on where it stopped."""


def look(studio: Fetcher, job: Job, *, is_still: bool = False, is_afresh: bool = False) -> Looked:
    """Ask how far the render is.

    Args:
        studio: the cloud.
        job: RENDERING.
        is_still: it has not moved for some looks: the project itself is asked too, which may know more.
        is_afresh: on a new connection.
    """
    looked = _look(studio, job, is_afresh=is_afresh)
    if not is_still or not studio.has_project or not _is_standing_still(job, looked.outcome):
        return looked
    return Looked(job.id, _told_by_project(studio, job) or looked.outcome)


def _is_standing_still(job: Job, outcome: object) -> bool:
    if isinstance(outcome, Progressed):
        return outcome.percent == job.progress
    return isinstance(outcome, Deferred) and not outcome.is_outage and not outcome.is_bounded


def _told_by_project(studio: Fetcher, job: Job) -> Refused | None:
    """What the project's state says of a render that has failed; None where it says nothing of the kind.

    A state that says the opposite is not believed: only the progress gives a link that is meant for downloading.
    """
    try:
        project = studio.project(job.project_id or "")
    except (CloudDeferred, AccountTroubled):
        return None
    except Exception:  # noqa: BLE001 - asked only because it may help; the look itself has its outcome
        return None
    if not project.has_failed:
        return None
    said = f": {project.words}" if project.words else ""
    credit = "; by its credit of 0 perhaps nothing was taken: the account tells" if project.credit == 0 else ""
    return Refused(f"the cloud says that the render ended as {project.state}{said}{credit}")


def _look(studio: Fetcher, job: Job, *, is_afresh: bool) -> Looked:
    found: Look | CloudDeferred | AccountTroubled
    try:
        found = studio.look(job.project_id or "", is_afresh=is_afresh)
    except (CloudDeferred, AccountTroubled) as error:
        found = error
    except Exception as error:  # noqa: BLE001 - the top of a worker: a look must end in an outcome
        return Looked(job.id, Deferred(f"an error in chromadrop itself while looking: {type(error).__name__}"))
    return _looked(job, found)


def _looked(job: Job, found: Look | CloudDeferred | AccountTroubled) -> Looked:
    if isinstance(found, CloudDeferred):
        return Looked(job.id, _deferred(found))
    if isinstance(found, AccountTroubled):
        return Looked(job.id, Troubled(found.reason, is_credential=found.is_credential))
    return Looked(job.id, Progressed(found.percent) if found.url is None else Rendered(found.url))


def look_together(studio: Fetcher, jobs: Sequence[Job]) -> Iterator[LooksEnded]:
    """Ask how far these renders are, with one thread; what has ended is said as it ends.

    Args:
        studio: the cloud.
        jobs: RENDERING.
    """
    left = dict(enumerate(jobs))
    with suppress(Exception):  # the top of a worker: what has no outcome yet is looked at alone, and gets one
        for ended in studio.look_together([job.project_id or "" for job in jobs]):
            found = [(left.pop(place), answer) for place, answer in ended]
            yield LooksEnded(
                tuple(_looked(job, answer) for job, answer in found if answer is not None),
                tuple(job.id for job, answer in found if answer is None),
            )
    if left:
        yield LooksEnded((), tuple(job.id for job in left.values()))


def probe(studio: Fetcher, project_id: str | None, for_job: int | None = None) -> Probed:
    """Ask, free of charge, whether the account is well.

    Args:
        studio: the cloud.
        project_id: one that exists makes the best test; None where none is known.
        for_job: the number of the job on whose behalf it is asked, if there is one.
    """
    try:
        studio.probe(project_id)
    except CloudDeferred as error:
        return Probed(_deferred(error), for_job)
    except AccountTroubled as error:
        return Probed(Troubled(error.reason, is_credential=error.is_credential), for_job)
    except Exception as error:  # noqa: BLE001 - the top of a worker
        return Probed(Deferred(f"an error in chromadrop itself while probing: {type(error).__name__}"), for_job)
    return Probed(None, for_job)


def download(
    studio: Fetcher,
    spool: Spool,
    job: Job,
    job_file: JobFile,
    *,
    url: str | None,
    template: str,
    should_stop: Callable[[], bool],
) -> DownloadEnded:
    """Download the video and make it visible in videos/, complete from the first moment.

    Args:
        studio: the cloud.
        spool: the folders.
        job: whose video it is.
        job_file: the batch that it belongs to, for its name and subfolder.
        url: the signed link; never logged or kept. None where it has grown old: a fresh one is asked for.
        template: of the video's name.
        should_stop: asked now and then; a cut download goes on at the next start.
    """
    try:
        return DownloadEnded(job.id, _download(studio, spool, job, job_file, url, template, should_stop))
    except CloudDeferred as error:
        return DownloadEnded(job.id, _deferred(error))
    except LinkExpired as error:
        return DownloadEnded(job.id, Deferred(error.reason, is_bounded=True))
    except (SpoolError, LedgerRefused) as error:
        return DownloadEnded(job.id, Deferred(str(error), is_ours=True))
    except AccountTroubled as error:
        return DownloadEnded(job.id, Deferred(error.reason, is_outage=True))
    except Exception as error:  # noqa: BLE001 - the top of a worker: a download must end in an outcome
        reason = f"an error in chromadrop itself while downloading: {type(error).__name__}"
        return DownloadEnded(job.id, Deferred(reason, is_bounded=True))


def _download(
    studio: Fetcher,
    spool: Spool,
    job: Job,
    job_file: JobFile,
    url: str | None,
    template: str,
    should_stop: Callable[[], bool],
) -> Downloaded:
    path = spool.part(job.id)
    found = spool.published(job.id, path)
    if found is not None:
        return Downloaded(found)
    if url is None:
        url = studio.look(job.project_id or "").url
        if url is None:
            raise CloudDeferred("the cloud gave no fresh link to the video")
    part = studio.download(url, path, should_stop=should_stop)
    folder = job_file.name.rpartition("/")[0]
    name = video_name(job, job_file, url=url, template=template)
    return Downloaded(spool.publish(job.id, folder, name, size=part.bytes, sha256=part.sha256))


def video_name(job: Job, job_file: JobFile, *, url: str, template: str) -> str:
    """The wanted name of a job's video, safe on every system: the job's own name, else the template's."""
    last = url_name(url)
    extension = safe_extension(last)
    if job.request.name is not None:
        return safe_stem(named_stem(job.request.name, extension)) + extension
    body = job.request.body
    stem = video_stem(
        template,
        file=job_file.name.rpartition("/")[2].rpartition(".")[0],
        n=job.position,
        url=last,
        project=job.project_id or "",
        model=str(body["model"]),
        language=str(body["language"]),
    )
    return safe_stem(stem) + extension


def _deferred(error: CloudDeferred) -> Deferred:
    return Deferred(
        error.reason,
        error.retry_after_seconds,
        is_outage=error.is_outage,
        is_bounded=error.is_bounded,
    )
