"""The job: its states, its events, and the one table of transitions.

A state exists only if a restart would act differently in it::

                ExportStarted             Exported                     Downloaded
      QUEUED ───────────────► EXPORTING ───────────► RENDERING ───────────────────► DONE
         ▲        Deferred        │                  │   ▲  Progressed, Deferred
         └────────────────────────┤                  └───┘  (due moves on)
                                  │ Refused, InDoubt   │ Refused, GaveUp
                                  ▼                    ▼
                                FAILED ◄──────────────┘

EXPORTING is in the ledger before the POST leaves. Found at start-up it means "asked, never heard": InDoubt.
From QUEUED, a job that continues an earlier one goes straight to where that one was (`continue_from`).
"""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from daemon.core.errors import IllegalTransition
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.core.batch import Request


class State(enum.StrEnum):
    """Where a job is; see the module's drawing."""

    QUEUED = "queued"
    EXPORTING = "exporting"
    RENDERING = "rendering"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_settled(self) -> bool:
        """Nothing more will happen to the job."""
        return self in {State.DONE, State.FAILED}


class Paid(enum.StrEnum):
    """Whether a job's render was, or may have been, paid."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


class Failure(enum.StrEnum):
    """Why a job is FAILED; decides what happens when its file is dropped again."""

    REFUSED = "refused"  # the cloud said no to the export: nothing was paid
    IN_DOUBT = "in_doubt"  # asked, no answer: may have been paid
    REFUSED_AFTER = "refused_after"  # accepted, then the cloud said no
    GAVE_UP = "gave_up"  # accepted, no end within the render deadline


@dataclass(frozen=True, slots=True)
class Video:
    """A finished video, visible in videos/.

    Attributes:
        path: relative to the root, with ``/``, such as ``videos/spring/hello-1.mp4``.
        bytes: its size.
        sha256: of its content, hex.
    """

    path: str
    bytes: int
    sha256: str


# --- events: what a worker says has happened ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExportStarted:
    """The intent: recorded before the POST leaves."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The cloud accepted the request: it is paid for.

    Attributes:
        project_id: the cloud's name for the render.
        is_adopted: no answer said so; it was found among the account's projects.
    """

    project_id: str
    is_adopted: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """Nothing came of it this time; the same is done again later.

    Attributes:
        reason: plain words, redacted.
        retry_after_seconds: what the cloud asked for, capped; None when it did not say.
        is_outage: the cloud as a whole is away or busy; never counts against the job.
        is_bounded: counts towards the number of times in a row after which the job is refused.
        is_ours: our own folders could not take it (disk full, share away); says nothing of the cloud or the job.
    """

    reason: str
    retry_after_seconds: float | None = None
    is_outage: bool = False
    is_bounded: bool = False
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Progressed:
    """The cloud told how far the render is, in percent (0 to 100)."""

    percent: float


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The video is complete and visible in videos/."""

    video: Video


@dataclass(frozen=True, slots=True)
class Refused:
    """The cloud said no to this job, in the words of ``reason``."""

    reason: str


@dataclass(frozen=True, slots=True)
class InDoubt:
    """An export was sent and nothing that can be understood came back."""

    reason: str


@dataclass(frozen=True, slots=True)
class GaveUp:
    """No end within the render deadline; the project id stays on record."""

    reason: str


Event = ExportStarted | Exported | Deferred | Progressed | Downloaded | Refused | InDoubt | GaveUp


@dataclass(frozen=True, slots=True)
class Job:
    """One video that somebody ordered.

    Attributes:
        id: the ledger's number.
        batch_id: the ledger's number of its job file.
        position: 1-based place in the job file.
        request: what is asked of the cloud.
        state: see the module's drawing.
        project_id: the cloud's name for the render, once accepted.
        progress: percent, 0 to 100, as last heard.
        exported_at: wall-clock seconds when the render was accepted or taken up again; the deadline counts
            from here.
        refusals: bounded deferrals in a row.
        deferrals: deferrals of any kind in a row, for the back-off.
        video: once DONE.
        failure: once FAILED.
        reason: why it failed or was deferred last; plain words, redacted.
        continues: the earlier job whose render this one takes up, if any.
        settled_at: wall-clock seconds when it became DONE or FAILED.
        is_pay_again_allowed: a person's word by ``retry --pay-again``, for whatever continues this job.
        asked_at: wall-clock seconds when the last export was about to leave.
        is_adopted: the export was never answered; its project was found among the account's projects.
    """

    id: int
    batch_id: int
    position: int
    request: Request
    state: State = State.QUEUED
    project_id: str | None = None
    progress: float = 0.0
    exported_at: float | None = None
    refusals: int = 0
    deferrals: int = 0
    video: Video | None = None
    failure: Failure | None = None
    reason: str = ""
    continues: int | None = None
    settled_at: float | None = None
    is_pay_again_allowed: bool = False
    asked_at: float | None = None
    is_adopted: bool = False

    @property
    def paid(self) -> Paid:
        """Whether the render was paid: yes once accepted, unknown while asked and unanswered."""
        if self.project_id is not None:
            return Paid.YES
        if self.state is State.EXPORTING or self.failure is Failure.IN_DOUBT:
            return Paid.UNKNOWN
        return Paid.NO


def _export_started(job: Job, _event: ExportStarted, now: float) -> Job:
    return replace(job, state=State.EXPORTING, asked_at=now)


def _exported(job: Job, event: Exported, now: float) -> Job:
    return replace(
        job,
        state=State.RENDERING,
        project_id=event.project_id,
        exported_at=now,
        refusals=0,
        deferrals=0,
        reason="",
        is_adopted=event.is_adopted,
    )


def _deferred(job: Job, event: Deferred, _now: float) -> Job:
    back = State.QUEUED if job.state is State.EXPORTING else job.state
    return replace(
        job,
        state=back,
        reason=event.reason,
        deferrals=job.deferrals + 1,
        refusals=job.refusals + 1 if event.is_bounded else job.refusals,
    )


def _progressed(job: Job, event: Progressed, _now: float) -> Job:
    if (job.progress, job.reason, job.refusals, job.deferrals) == (event.percent, "", 0, 0):
        return job
    return replace(job, progress=event.percent, reason="", refusals=0, deferrals=0)


def _downloaded(job: Job, event: Downloaded, now: float) -> Job:
    return replace(job, state=State.DONE, video=event.video, progress=100.0, reason="", settled_at=now)


def _failed(failure: Failure) -> Callable[..., Job]:
    def fail(job: Job, event: Refused | InDoubt | GaveUp, now: float) -> Job:
        return replace(job, state=State.FAILED, failure=failure, reason=event.reason, settled_at=now)

    return fail


TRANSITIONS: Final[dict[tuple[State, type[Event]], Callable[..., Job]]] = {
    (State.QUEUED, ExportStarted): _export_started,
    (State.EXPORTING, Exported): _exported,
    (State.EXPORTING, Deferred): _deferred,
    (State.EXPORTING, Refused): _failed(Failure.REFUSED),
    (State.EXPORTING, InDoubt): _failed(Failure.IN_DOUBT),
    (State.RENDERING, Progressed): _progressed,
    (State.RENDERING, Deferred): _deferred,
    (State.RENDERING, Downloaded): _downloaded,
    (State.RENDERING, Refused): _failed(Failure.REFUSED_AFTER),
    (State.RENDERING, GaveUp): _failed(Failure.GAVE_UP),
}


def advance(job: Job, event: Event, now: float) -> Job:
    """The job after the event.

    Args:
        job: as it is.
        event: what has happened.
        now: wall-clock seconds, for the record.

    Raises:
        IllegalTransition: the state does not allow the event; nothing was changed.
    """
    move = TRANSITIONS.get((job.state, type(event)))
    if move is None:
        raise IllegalTransition(f"job {job.id}: {type(event).__name__} in state {job.state}")
    return move(job, event, now)


def continue_from(job: Job, earlier: Job, now: float, *, may_pay_again: bool) -> Job:
    """A newly claimed job, put where an earlier job for the same request already was.

    A job whose video is done is not made again; one with a project id goes on polling; one in doubt stays in doubt
    unless a person said to pay again; only what was never accepted is exported (DESIGN: files dropped again). A
    render that the cloud dropped after accepting it goes on polling too, unless a person said to pay again.

    Args:
        job: QUEUED, with the same request.
        earlier: settled.
        now: wall-clock seconds; the render deadline starts anew.
        may_pay_again: a person's word, in the file or by ``retry --pay-again``.
    """
    linked = replace(job, continues=earlier.id, is_adopted=earlier.is_adopted)
    if earlier.state is State.DONE:
        return replace(
            linked,
            state=State.DONE,
            project_id=earlier.project_id,
            progress=100.0,
            video=earlier.video,
            exported_at=earlier.exported_at,
            settled_at=now,
        )
    if earlier.failure is Failure.GAVE_UP or (earlier.failure is Failure.REFUSED_AFTER and not may_pay_again):
        return replace(
            linked,
            state=State.RENDERING,
            project_id=earlier.project_id,
            progress=earlier.progress,
            exported_at=now,
        )
    if earlier.failure is Failure.IN_DOUBT and not may_pay_again:
        return replace(
            linked,
            state=State.FAILED,
            failure=Failure.IN_DOUBT,
            reason=earlier.reason,
            settled_at=now,
            asked_at=earlier.asked_at,
        )
    return replace(linked, is_adopted=False)
