"""The dispatcher's part that keeps the list of models: for the check before paying, and for the page models.html.

Everything here runs on the dispatcher's thread, but for the page, which the filing worker writes.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from daemon.core.catalogue import catalogue_of, document_of
from daemon.core.job import State
from daemon.core.model_check import ModelCheck, Verdict
from daemon.core.record import dataclass
from daemon.pipeline import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from daemon.core.catalogue import Catalogue
    from daemon.core.drop import Drop
    from daemon.core.job import Job
    from daemon.core.problem import Problem
    from daemon.core.report import CatalogueRead
    from daemon.core.schedule import Instant

NOTE: Final = "catalogue"
"""The ledger's note with the last good copy: ``{"at": wall-clock seconds, "models": the vendor's form}``."""
PAGE: Final = "models.html"
COPY_SECONDS: Final = 3600.0
"""A list that has not changed is written down again so often at most."""

_INFO, _WARNING = 20, 30


@dataclass(frozen=True, slots=True)
class ModelsSource:
    """Where the list comes from, and what it looks like for people.

    Attributes:
        read: the list, from the cloud or from the operator's file; raises what `pipeline.catalogue.read` knows.
        render_page: models.html, from the list and the wall-clock seconds when it was read.
    """

    read: Callable[[], Catalogue]
    render_page: Callable[[Catalogue, float], bytes]


class Desk(Protocol):
    """What the dispatcher does for the list."""

    def errand(self, call: Callable[[], object]) -> None:
        """Have a call made by a worker once everything decided so far is in the ledger."""

    def note(self, key: str, value: Any) -> None:
        """Have a fact written to the ledger."""

    def put_page(self, name: str, render: Callable[[], bytes]) -> None:
        """Have a page written into the root once everything decided so far is in the ledger."""

    def log(self, level: int, event: str, **fields: Any) -> None:
        """One line."""


class ModelsWatch:
    """The list of models as it is known, and the drops that wait for it.

    Args:
        source: None where there is no list; nothing is checked then.
        desk: what the dispatcher does.
        copy: the ledger's note of an earlier daemon, None where there is none.
    """

    def __init__(self, source: ModelsSource | None, desk: Desk, copy: Any) -> None:
        self._source = source
        self._desk = desk
        self._check = ModelCheck()
        self._trouble: str | None = None
        self._copied_at = float("-inf")
        self._page: tuple[Catalogue, float] | None = None
        self.awaiting: list[Drop] = []
        if source is not None and copy is not None:
            with suppress(ValueError, KeyError, TypeError):
                self._check = ModelCheck.of_copy(catalogue_of(copy["models"]))

    @property
    def due_at(self) -> float | None:
        """When the list is to be asked for next, on the monotonic clock."""
        return None if self._source is None else self._check.due_at

    @property
    def model_ids(self) -> frozenset[str]:
        """Every model in the list."""
        known = self._check.catalogue
        return frozenset(model.id for model in known.models) if known is not None else frozenset()

    def judge(
        self, drop: Drop, jobs: Sequence[Job], now: Instant, *, is_wanted: bool
    ) -> tuple[Verdict, tuple[Problem, ...]]:
        """Whether the drop may be claimed: only what would be paid for is held against the list, if that is wanted."""
        if self._source is None or drop.batch is None or not is_wanted:
            return Verdict.PASSED, ()
        to_pay = [drop.batch.requests[job.position - 1] for job in jobs if job.state is State.QUEUED]
        return self._check.judge(to_pay, now.monotonic)

    def start_due(self, now: Instant) -> None:
        """Ask for the list if it is due or waited for."""
        if self._source is None:
            return
        if self.awaiting:
            self._check = self._check.wanted(now.monotonic)
        if self._check.is_due(now.monotonic):
            read = self._source.read
            self._check = self._check.asked(now.monotonic)
            self._desk.errand(lambda: catalogue.read(read))

    def patience_until(self, now: Instant) -> float | None:
        """When the drops that wait for the list have waited long enough; None where none does."""
        return self._check.until(now.monotonic) if self.awaiting else None

    def on_read(self, message: CatalogueRead, now: Instant) -> None:
        """The list has come, or could not be had."""
        if message.catalogue is not None:
            self._on_list(message.catalogue, now)
            return
        self._check = self._check.failed(now.monotonic)
        if message.reason != self._trouble:
            self._desk.log(_WARNING, "models.unavailable", reason=message.reason)
        self._trouble = message.reason

    def _on_list(self, found: Catalogue, now: Instant) -> None:
        is_news = found != self._check.catalogue or self._trouble is not None
        if is_news:
            self._desk.log(_INFO, "models.read", models=len(found.models))
        self._trouble = None
        self._check = self._check.read(found, now.monotonic)
        if is_news or now.monotonic - self._copied_at >= COPY_SECONDS:
            self._copied_at = now.monotonic
            self._page = found, now.wall
            self._desk.note(NOTE, {"at": now.wall, "models": document_of(found)})
            self.write_page()

    def write_page(self) -> None:
        """Write models.html, once the list has been read."""
        if self._source is not None and self._page is not None:
            render, page = self._source.render_page, self._page
            self._desk.put_page(PAGE, lambda: render(*page))
