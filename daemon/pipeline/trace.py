"""Trace: look among the account's projects for exports that were never answered (see core.trace)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from daemon.core.errors import AccountTroubled, CloudDeferred
from daemon.core.job import Deferred
from daemon.core.report import ProjectsDescribed, ProjectsListed, Troubled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.project import Project


class Tracer(Protocol):
    """What this stage needs of the cloud."""

    @property
    def has_projects(self) -> bool:
        """The API can list the account's projects."""

    def projects(self) -> tuple[Project, ...]:
        """The account's projects; costs nothing."""

    def project(self, project_id: str) -> Project:
        """One project; costs nothing."""


def list_projects(studio: Tracer) -> ProjectsListed:
    """Ask for the account's projects."""
    try:
        return ProjectsListed(studio.projects())
    except CloudDeferred as error:
        return ProjectsListed(Deferred(error.reason, is_outage=error.is_outage), is_final=error.is_bounded)
    except AccountTroubled as error:
        return ProjectsListed(Troubled(error.reason, is_credential=error.is_credential))
    except Exception as error:  # noqa: BLE001 - the top of a worker: a round must end in an outcome
        reason = f"an error in chromadrop itself: {type(error).__name__}"
        return ProjectsListed(Deferred(reason), is_final=True)


def describe(studio: Tracer, listed: Sequence[Project]) -> ProjectsDescribed:
    """Ask for each of these projects; all of them or none, since one that is missing might be a second that fits."""
    try:
        found = [_described(studio, project) for project in listed]
    except CloudDeferred as error:
        return ProjectsDescribed(Deferred(error.reason, is_outage=error.is_outage))
    except AccountTroubled as error:
        return ProjectsDescribed(Troubled(error.reason, is_credential=error.is_credential))
    except Exception as error:  # noqa: BLE001 - the top of a worker: a round must end in an outcome
        return ProjectsDescribed(Deferred(f"an error in chromadrop itself: {type(error).__name__}"))
    return ProjectsDescribed(tuple(found))


def _described(studio: Tracer, listed: Project) -> Project:
    """The project with what the list tells of it; where the cloud will not describe it, that is all there is."""
    try:
        found = studio.project(listed.id)
    except CloudDeferred as error:
        if not error.is_bounded:
            raise
        return listed
    created_at = found.created_at if found.created_at is not None else listed.created_at
    return replace(
        found,
        id=listed.id,
        created_at=created_at,
        texts=found.texts | listed.texts,
        models=found.models | listed.models,
        clothes=found.clothes | listed.clothes,
    )
