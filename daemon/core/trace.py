"""An export that was never answered, looked for among the account's projects.

The vendor's documents leave open whether such a project is listed, and whether its text is told (API.md), so this can
only help: a project is adopted when it is the only one that fits a job, and no other job of ours could be its owner.
Otherwise the job stays in doubt, and a person is asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from daemon.core.project import even
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from daemon.core.job import Job
    from daemon.core.project import Project

ROUNDS_AT: Final = (0.0, 2.0, 7.0, 17.0)
"""Seconds after the export was found unanswered at which the projects are looked through."""
FAILURE_SECONDS: Final = 60.0
"""A cloud that answers, but not with its projects, is asked for them so long; then a person is asked."""
OUTAGE_SECONDS: Final = 24 * 3600.0
"""A cloud that cannot be reached, which is the usual reason why an answer was lost, is waited for so long."""
FAILURE_PAUSE_SECONDS: Final = 10.0
OUTAGE_PAUSE_SECONDS: Final = 30.0
WINDOW_SECONDS: Final = 180.0
"""A project that was made later than this after the asking is not the asking's: the longest read timeout that is
usual, and as long again for a cloud that is slow."""
CLOCK_MARGIN_SECONDS: Final = 5.0
"""A project may seem to be so much older than the export: the cloud's time comes in whole seconds."""
MOST_LISTED: Final = 20_000
"""An account with more projects than this is not searched: telling which are ours would hold up the daemon."""
MOST_DESCRIBED: Final = 200
"""More unknown projects than this are not looked into, and none of them is adopted then."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One job that is being looked for; times are seconds on the monotonic clock.

    Attributes:
        reason: why its export is in doubt, in words.
        begun_at: when that was found.
        due_at: when the projects are looked through next.
        rounds: how often they have been.
        failing_since: since when they could not be had, though the cloud answered; None where they could.
        away_since: since when the cloud could not be reached; None where it could.
    """

    reason: str
    begun_at: float
    due_at: float
    rounds: int = 0
    failing_since: float | None = None
    away_since: float | None = None

    def after_round(self, now: float) -> Trace | None:
        """What follows a round in which nothing could be adopted; None when it was the last."""
        rounds = self.rounds + 1
        if rounds >= len(ROUNDS_AT):
            return None
        due_at = now + ROUNDS_AT[rounds] - ROUNDS_AT[self.rounds]
        return Trace(self.reason, self.begun_at, due_at, rounds)

    def after_failure(self, now: float) -> Trace | None:
        """What follows a round that came to nothing though the cloud answered; None when it was the last."""
        since = now if self.failing_since is None else self.failing_since
        if now + FAILURE_PAUSE_SECONDS > since + FAILURE_SECONDS:
            return None
        return replace(self, due_at=now + FAILURE_PAUSE_SECONDS, failing_since=since, away_since=None)

    def after_outage(self, now: float) -> Trace | None:
        """What follows a round that the cloud could not be asked for; None when it was the last."""
        since = now if self.away_since is None else self.away_since
        if now + OUTAGE_PAUSE_SECONDS > since + OUTAGE_SECONDS:
            return None
        return replace(self, due_at=now + OUTAGE_PAUSE_SECONDS, away_since=since)


def may_be_new(project: Project, since: float) -> bool:
    """Whether the project can have been made after ``since`` (wall-clock seconds), as far as the list tells."""
    return project.created_at is None or project.created_at >= since - CLOCK_MARGIN_SECONDS


def _was_made_for(project: Project, asked_at: float | None) -> bool:
    """Whether it was made in the time after an asking in which that asking can have made it."""
    if project.created_at is None or asked_at is None:
        return False
    return -CLOCK_MARGIN_SECONDS <= project.created_at - asked_at <= WINDOW_SECONDS


def adoptions(
    traced: Sequence[Job], rivals: Iterable[Job], projects: Iterable[Project], other_models: Container[str]
) -> dict[int, str]:
    """Which job can have which project, by job number.

    Args:
        traced: the jobs that are looked for, ``asked_at`` set.
        rivals: other jobs of ours that may be a project's owners: asked and unanswered, or in doubt for good, in
            work or long filed away.
        projects: described, and unknown to the ledger.
        other_models: every model that there is; a project that names one, and not the job's, is another's.
    """
    everyone = [*traced, *rivals]
    owners = {project.id: _owners(project, everyone, other_models) for project in projects}
    found: dict[int, str] = {}
    for job in traced:
        fitting = [project_id for project_id, jobs in owners.items() if job.id in jobs]
        if len(fitting) == 1 and owners[fitting[0]] == {job.id}:
            found[job.id] = fitting[0]
    return found


def _owners(project: Project, jobs: Iterable[Job], other_models: Container[str]) -> set[int]:
    fitting = [job for job in jobs if _fits(project, job, other_models)]
    exact = {job.id for job in fitting if _shows(project, job)}
    return exact or {job.id for job in fitting}


def _fits(project: Project, job: Job, other_models: Container[str]) -> bool:
    """Made just after the job was asked for, its text is the job's, and nothing in it is another's."""
    body = {name: even(str(job.request.body[name])) for name in ("text", "model", "clothes")}
    if not _was_made_for(project, job.asked_at) or body["text"] not in project.texts:
        return False
    if project.models and body["model"] not in project.models:
        return False
    if project.clothes and body["clothes"] not in project.clothes:
        return False
    return body["model"] in project.texts or not any(text in other_models for text in project.texts)


def _shows(project: Project, job: Job) -> bool:
    """It tells more than the text, all of it the job's."""
    return {even(str(job.request.body[name])) for name in ("model", "clothes")} <= project.texts
