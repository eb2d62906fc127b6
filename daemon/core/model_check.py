"""Whether a job may be paid for, by what the list of models says.

A list that cannot be had delays nothing and refuses nothing: a job is refused only by a list that was read a moment
ago, so that neither an old copy nor a lost one can turn away what the cloud would take. While an answer is awaited,
what may have to be refused waits for it, a few seconds at most.
"""

from __future__ import annotations

import enum
from dataclasses import field, replace
from typing import TYPE_CHECKING, Final

from daemon.core.catalogue import Checker
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.batch import Request
    from daemon.core.catalogue import Catalogue
    from daemon.core.problem import Problem

REFRESH_SECONDS: Final = 24 * 3600.0
"""The list is read so often in any case."""
RETRY_SECONDS: Final = 600.0
"""After a list that could not be had, it is asked for again."""
FRESH_SECONDS: Final = 10.0
"""A list that was read so recently is believed when it refuses."""
PATIENCE_SECONDS: Final = 3.0
"""A drop waits so long for the list at most: about as long as most files are watched for being whole."""

_LONG_AGO: Final = float("-inf")


class Verdict(enum.Enum):
    """What is to become of a drop."""

    PASSED = enum.auto()
    AWAITED = enum.auto()  # the list is on its way: look again when it has come, or at `until`
    REFUSED = enum.auto()


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What is known of the list; times are seconds on the monotonic clock.

    Attributes:
        catalogue: as read last, or the copy of an earlier daemon; None before the first.
        checker: of it, made once.
        read_at: when it was read; long ago for a copy.
        asked_at: when it was asked for, while the answer is awaited.
        failed_at: when it could not be had last.
        due_at: when it is to be asked for next.
    """

    catalogue: Catalogue | None = None
    checker: Checker | None = field(default=None, repr=False, compare=False)
    read_at: float = _LONG_AGO
    asked_at: float | None = None
    failed_at: float = _LONG_AGO
    due_at: float = _LONG_AGO

    @classmethod
    def of_copy(cls, catalogue: Catalogue) -> ModelCheck:
        """Where only an earlier daemon has read the list: it lets good jobs pass at once, and refuses none."""
        return cls(catalogue, Checker(catalogue))

    def is_due(self, now: float) -> bool:
        """Whether the list is to be asked for."""
        return self.asked_at is None and now >= self.due_at

    def asked(self, now: float) -> ModelCheck:
        """The list is asked for."""
        return replace(self, asked_at=now)

    def read(self, catalogue: Catalogue, now: float) -> ModelCheck:
        """It has come."""
        checker = self.checker if catalogue == self.catalogue else Checker(catalogue)
        due_at = now + REFRESH_SECONDS
        return ModelCheck(catalogue, checker, read_at=now, failed_at=self.failed_at, due_at=due_at)

    def failed(self, now: float) -> ModelCheck:
        """It could not be had."""
        return replace(self, asked_at=None, failed_at=now, due_at=now + RETRY_SECONDS)

    def wanted(self, now: float) -> ModelCheck:
        """Somebody waits for it."""
        return replace(self, due_at=min(self.due_at, now))

    def until(self, now: float) -> float:
        """When whoever waits for the list will have waited long enough."""
        return (now if self.asked_at is None else self.asked_at) + PATIENCE_SECONDS

    def judge(self, requests: Sequence[Request], now: float) -> tuple[Verdict, tuple[Problem, ...]]:
        """What is to become of these requests, and what is wrong with them where they are refused."""
        if self.checker is not None and self.checker.are_listed(requests):
            return Verdict.PASSED, ()
        if self.checker is not None and now - self.read_at <= FRESH_SECONDS:
            return Verdict.REFUSED, self.checker.problems_of(requests)
        return (Verdict.AWAITED if self._may_come(now) else Verdict.PASSED), ()

    def _may_come(self, now: float) -> bool:
        if self.asked_at is not None:
            return now < self.until(now)
        return now - self.failed_at > FRESH_SECONDS and (self.catalogue is not None or now >= self.due_at)
