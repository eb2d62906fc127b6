"""Export: ask the cloud for one video, at most once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, CloudRefused
from daemon.core.job import Deferred, Exported, InDoubt, Refused
from daemon.core.report import ExportEnded, Troubled, WarmedUp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.job import Job


class Exporter(Protocol):
    """What this stage needs of the cloud."""

    @property
    def can_export(self) -> bool:
        """What an export needs is at hand."""

    def warm_up(self) -> None:
        """Get what an export needs; costs nothing."""

    def export(self, body: Mapping[str, object]) -> str:
        """Ask for a video; the project id."""


def warm_up(studio: Exporter) -> WarmedUp:
    """Get what exports need, before any of them is begun."""
    try:
        studio.warm_up()
    except CloudDeferred as error:
        return WarmedUp(Deferred(error.reason, error.retry_after_seconds, is_outage=error.is_outage))
    except AccountTroubled as error:
        return WarmedUp(Troubled(error.reason, is_credential=error.is_credential))
    except Exception as error:  # noqa: BLE001 - the top of a worker: a warm-up must end in an outcome
        return WarmedUp(Deferred(f"an error in chromadrop itself while getting a token: {type(error).__name__}"))
    return WarmedUp(None)


def export(studio: Exporter, job: Job) -> ExportEnded:
    """Ask for the job's video. The intent is in the ledger already.

    Whatever goes wrong that we did not foresee leaves the job in doubt: it may have been asked.
    """
    outcome: Exported | Deferred | Refused | InDoubt | Troubled
    try:
        outcome = Exported(studio.export(job.request.body))
    except CloudDeferred as error:
        outcome = Deferred(error.reason, error.retry_after_seconds, is_outage=error.is_outage)
    except CloudRefused as error:
        outcome = Refused(error.reason)
    except CloudInDoubt as error:
        outcome = InDoubt(error.reason)
    except AccountTroubled as error:
        outcome = Troubled(error.reason, is_credential=error.is_credential)
    except Exception as error:  # noqa: BLE001 - the top of a worker: an export must end in an outcome
        outcome = InDoubt(f"an error in chromadrop itself while asking: {type(error).__name__}")
    return ExportEnded(job.id, outcome)
