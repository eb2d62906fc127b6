"""The dispatcher's part that looks for exports in doubt among the account's projects (see core.trace).

A job that is traced stays EXPORTING: stopped in between, the next daemon traces it again. Everything here runs on the
dispatcher's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from daemon.core.errors import LedgerUnavailable
from daemon.core.job import Deferred, Failure, InDoubt, Job, State
from daemon.core.report import Troubled
from daemon.core.trace import (
    CLOCK_MARGIN_SECONDS,
    MOST_DESCRIBED,
    MOST_LISTED,
    WINDOW_SECONDS,
    Trace,
    adoptions,
    may_be_new,
)
from daemon.pipeline import trace

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from daemon.core.project import Project
    from daemon.core.report import ProjectsDescribed, ProjectsListed
    from daemon.core.schedule import Instant
    from daemon.edges.ledger import Ledger


class Ends(Protocol):
    """How a trace ends, as the dispatcher records it."""

    def adopt(self, job: Job, project_id: str, reason: str, now: Instant) -> None:
        """It was found."""

    def give_in(self, job: Job, outcome: InDoubt, now: Instant) -> None:
        """It was not: a person is asked."""

    def answered(self) -> None:
        """The cloud is there."""

    def away(self, reason: str) -> None:
        """The cloud cannot be reached."""

    def trouble(self, outcome: Troubled, now: Instant) -> None:
        """The account is in trouble: nothing is to be asked until a probe has passed."""


class Tracing:
    """The jobs that are looked for.

    Args:
        studio: the cloud.
        ledger: knows which projects are other jobs'.
        jobs: every job in work, by number; the dispatcher's own.
        errand: has a call made by a worker once everything decided so far is in the ledger.
        ends: how a trace ends.
    """

    def __init__(
        self,
        *,
        studio: trace.Tracer,
        ledger: Ledger,
        jobs: Mapping[int, Job],
        errand: Callable[[Callable[[], object]], None],
        ends: Ends,
    ) -> None:
        self._studio = studio
        self._ledger = ledger
        self._jobs = jobs
        self._errand = errand
        self._ends = ends
        self._traces: dict[int, Trace] = {}
        self._round_begun_at: float | None = None

    def __len__(self) -> int:
        """How many jobs are looked for."""
        return len(self._traces)

    @property
    def job_ids(self) -> frozenset[int]:
        """The jobs that are looked for."""
        return frozenset(self._traces)

    @property
    def due_at(self) -> float | None:
        """When the projects are to be looked through next, on the monotonic clock."""
        if self._round_begun_at is not None:
            return None
        return min((found.due_at for found in self._traces.values()), default=None)

    def can_begin(self, job: Job) -> bool:
        """Whether the API lets us look for it."""
        return self._studio.has_projects and job.asked_at is not None

    def begin(self, job: Job, reason: str, now: Instant) -> None:
        """Look for a job, EXPORTING, whose export was not answered."""
        self._traces[job.id] = Trace(reason, now.monotonic, now.monotonic)

    def start_due(self, now: Instant) -> None:
        """Begin a round if one is due."""
        if self.due_at is not None and self.due_at <= now.monotonic:
            self._round_begun_at = now.monotonic
            self._errand(lambda: trace.list_projects(self._studio))

    def on_listed(self, message: ProjectsListed, now: Instant) -> None:
        """The account's projects: those that may be ours are described next."""
        if not isinstance(message.outcome, tuple):
            self._end_round(now, message.outcome, is_final=message.is_final)
            return
        self._ends.answered()
        fresh = [project for project in message.outcome if may_be_new(project, self._since(now))]
        try:
            unknown = self._unknown(fresh) if len(fresh) <= MOST_LISTED else []
        except LedgerUnavailable:
            unknown = []
        if unknown and len(unknown) <= MOST_DESCRIBED:
            self._errand(lambda: trace.describe(self._studio, unknown))
        else:
            self._end_round(now)

    def on_described(self, message: ProjectsDescribed, now: Instant, other_models: Container[str]) -> None:
        """Those that may be ours, in full: what fits one job alone is adopted."""
        if not isinstance(message.outcome, tuple):
            self._end_round(now, message.outcome)
            return
        traced = [self._jobs[job_id] for job_id in self._traces]
        try:
            found = adoptions(traced, self._rivals(now), self._unknown(message.outcome), other_models)
        except LedgerUnavailable:
            found = {}  # a later round may know; to ask a person is better than to adopt on a guess
        for job_id, project_id in found.items():
            self._ends.adopt(self._jobs[job_id], project_id, self._traces.pop(job_id).reason, now)
        self._end_round(now)

    def _since(self, now: Instant) -> float:
        """When the first of those that are looked for was asked for, in wall-clock seconds."""
        return min((self._jobs[job_id].asked_at or now.wall for job_id in self._traces), default=now.wall)

    def _rivals(self, now: Instant) -> list[Job]:
        """Other jobs that may have what is found: asked and not answered yet, or in doubt, even if filed away since."""
        in_flight = [job for job in self._jobs.values() if job.state is State.EXPORTING]
        in_doubt = self._ledger.in_doubt_since(self._since(now) - WINDOW_SECONDS - CLOCK_MARGIN_SECONDS)
        # A change that is still to be written is in memory only.
        unwritten = [job for job in self._jobs.values() if job.failure is Failure.IN_DOUBT]
        found = {job.id: job for job in (*in_doubt, *unwritten, *in_flight)}
        return [job for job_id, job in found.items() if job_id not in self._traces]

    def _unknown(self, projects: Iterable[Project]) -> list[Project]:
        """Those that no job of ours has, not even one whose change is still to be written."""
        found = {project.id: project for project in projects}
        for job in self._jobs.values():
            found.pop(job.project_id or "", None)
        unknown = self._ledger.unknown_projects(found)
        return [project for project_id, project in found.items() if project_id in unknown]

    def _end_round(self, now: Instant, failure: Deferred | Troubled | None = None, *, is_final: bool = False) -> None:
        """What is still not found is looked for again, or stays in doubt."""
        if isinstance(failure, Troubled):
            self._round_begun_at = None  # it counts for nothing: the next one comes when the account is well again
            self._ends.trouble(failure, now)
            return
        if failure is not None and failure.is_outage:
            self._ends.away(failure.reason)
        begun_at, self._round_begun_at = self._round_begun_at, None
        in_round = [pair for pair in self._traces.items() if begun_at is not None and pair[1].due_at <= begun_at]
        for job_id, found in in_round:
            following = self._following(found, now.monotonic, failure)
            if following is not None and not is_final:
                self._traces[job_id] = following
                continue
            del self._traces[job_id]
            search = "none of them can be told to be it" if failure is None else failure.reason
            words = f"{found.reason}; looked for among the account's projects: {search}"
            self._ends.give_in(self._jobs[job_id], InDoubt(words), now)

    @staticmethod
    def _following(found: Trace, now: float, failure: Deferred | None) -> Trace | None:
        if failure is None:
            return found.after_round(now)
        return found.after_outage(now) if failure.is_outage else found.after_failure(now)
