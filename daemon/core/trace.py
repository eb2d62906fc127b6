"""An export that was never answered, looked for among the account's projects.

The vendor's documents leave open whether such a project is listed, and whether its text is told (API.md), so this can
only help: a project is adopted when it is the only one that fits a job, and no other job of ours could be its owner.
Otherwise the job stays in doubt, and a person is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from daemon.core.project import even

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from daemon.core.job import Job
    from daemon.core.project import Project

ROUNDS_AT: Final = (0.0, 2.0, 7.0, 17.0)
"""Seconds after the export was found unanswered at which the projects are looked through."""
OUTAGE_SECONDS: Final = 60.0
"""A cloud that cannot be asked is waited for so long; then a person is asked."""
OUTAGE_PAUSE_SECONDS: Final = 10.0
CLOCK_MARGIN_SECONDS: Final = 5.0
"""A project may seem to be so much older than the export: the cloud's time comes in whole seconds."""
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
        has_failed: they could not be had the last time.
    """

    reason: str
    begun_at: float
    due_at: float
    rounds: int = 0
    has_failed: bool = False

    def after_round(self, now: float) -> Trace | None:
        """What follows a round in which nothing could be adopted; None when it was the last."""
        rounds = self.rounds + 1
        if rounds >= len(ROUNDS_AT):
            return None
        return Trace(self.reason, self.begun_at, max(now, self.begun_at + ROUNDS_AT[rounds]), rounds)

    def after_failure(self, now: float) -> Trace | None:
        """What follows a round that could not be made; None when it was the last."""
        due_at = now + OUTAGE_PAUSE_SECONDS
        if due_at > self.begun_at + OUTAGE_SECONDS:
            return None
        return Trace(self.reason, self.begun_at, due_at, self.rounds, has_failed=True)


def may_be_new(project: Project, since: float) -> bool:
    """Whether the project can have been made after ``since`` (wall-clock seconds), as far as the list tells."""
    return project.created_at is None or project.created_at >= since - CLOCK_MARGIN_SECONDS


def adoptions(
    traced: Sequence[Job], rivals: Iterable[Job], projects: Iterable[Project], other_models: Container[str]
) -> dict[int, str]:
    """Which job can have which project, by job number.

    Args:
        traced: the jobs that are looked for, ``asked_at`` set.
        rivals: other jobs of ours that may be a project's owners: asked and unanswered, or in doubt for good.
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
    """Made since the job was asked for, and its text is the job's."""
    if project.created_at is None or job.asked_at is None or not may_be_new(project, job.asked_at):
        return False
    if even(str(job.request.body["text"])) not in project.texts:
        return False
    is_named = str(job.request.body["model"]) in project.texts
    return is_named or not any(text in other_models for text in project.texts)


def _shows(project: Project, job: Job) -> bool:
    """It tells more than the text, all of it the job's."""
    return {even(str(job.request.body[name])) for name in ("model", "clothes")} <= project.texts
