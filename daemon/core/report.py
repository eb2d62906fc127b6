"""What workers put into the mailbox: one report for one thing that was asked of them."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from daemon.core.catalogue import Catalogue
    from daemon.core.job import Deferred, Downloaded, Exported, InDoubt, Progressed, Refused
    from daemon.core.notice import Notice, Sink
    from daemon.core.project import Project


@dataclass(frozen=True, slots=True)
class Troubled:
    """Credential or credit: nothing is wrong with the job (see errors.AccountTroubled)."""

    reason: str
    is_credential: bool


@dataclass(frozen=True, slots=True)
class Rendered:
    """The render has ended and can be downloaded from a signed link, which is never logged or kept."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExportEnded:
    """An export was answered, or will never be."""

    job_id: int
    outcome: Exported | Deferred | Refused | InDoubt | Troubled


@dataclass(frozen=True, slots=True)
class Looked:
    """A look at a render has ended."""

    job_id: int
    outcome: Progressed | Rendered | Deferred | Refused | Troubled


@dataclass(frozen=True, slots=True)
class LooksEnded:
    """Looks that were made together have ended.

    Attributes:
        looked: these.
        left: the jobs that have to be looked at alone.
    """

    looked: tuple[Looked, ...]
    left: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DownloadEnded:
    """A download has ended, or was cut."""

    job_id: int
    outcome: Downloaded | Deferred


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe of the account has ended: None when all is well; for one job, or for all."""

    outcome: Troubled | Deferred | None
    for_job: int | None = None


@dataclass(frozen=True, slots=True)
class WarmedUp:
    """What exports need is at hand (None), or why it is not."""

    outcome: Troubled | Deferred | None


@dataclass(frozen=True, slots=True)
class ClaimEnded:
    """A job file is in processing/, or could not be moved there."""

    file_id: int
    is_claimed: bool
    reason: str = ""
    is_deferred: bool = False
    is_collision: bool = False


@dataclass(frozen=True, slots=True)
class ClaimsEnded:
    """What became of job files that were claimed together; in that order."""

    ended: tuple[ClaimEnded, ...]


@dataclass(frozen=True, slots=True)
class FilingEnded:
    """A job file is in done/ or failed/ (``filed_as``), or could not be moved there for now (``reason``)."""

    file_id: int
    filed_as: str | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CatalogueRead:
    """The list of models, or why it could not be had."""

    catalogue: Catalogue | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProjectsListed:
    """The account's projects, or why they could not be had; ``is_final`` when asking again makes no sense."""

    outcome: tuple[Project, ...] | Deferred | Troubled
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class ProjectsDescribed:
    """Some of the account's projects in full, or why they could not be had."""

    outcome: tuple[Project, ...] | Deferred | Troubled


@dataclass(frozen=True, slots=True)
class NoticeEnded:
    """A try to deliver a notice has ended.

    Attributes:
        sink: who was to be told.
        notice: None where the ledger could not be read, and nobody was told.
        is_delivered: it was taken.
        reason: why it was not; plain words, redacted.
        is_final: it never will be.
        retry_after_seconds: what the other side asked for.
    """

    sink: Sink
    notice: Notice | None
    is_delivered: bool = False
    reason: str = ""
    is_final: bool = False
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PageEnded:
    """A page about what is going on was written, or why it could not be; empty also where the root is away."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Start nothing more, let exports in flight end, and end. A second one means: now."""
