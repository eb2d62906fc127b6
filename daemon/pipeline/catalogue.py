"""The list of models, read now and then: for checking jobs before they are paid, and for the page models.html."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.errors import AccountTroubled, BatchInvalid, CloudDeferred
from daemon.core.report import CatalogueRead

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.core.catalogue import Catalogue


def read(source: Callable[[], Catalogue]) -> CatalogueRead:
    """Read the list from the cloud, or from the operator's file."""
    try:
        return CatalogueRead(source())
    except (CloudDeferred, AccountTroubled) as error:
        return CatalogueRead(None, error.reason)
    except BatchInvalid as error:
        return CatalogueRead(None, "; ".join(str(problem) for problem in error.problems))
    except OSError as error:
        return CatalogueRead(None, f"the file of models cannot be read: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001 - the top of a worker: a reading must end in an outcome
        return CatalogueRead(None, f"an error in chromadrop itself while reading the models: {type(error).__name__}")
