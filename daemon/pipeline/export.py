"""Export: ask the cloud for one video, at most once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, CloudRefused
from daemon.core.job import Deferred, Exported, InDoubt, Refused
from daemon.core.report import ExportEnded, Troubled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.core.job import Job


class Exporter(Protocol):
    """What this stage needs of the cloud."""

    def export(self, body: Mapping[str, object]) -> str:
        """Ask for a video; the project id."""


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
