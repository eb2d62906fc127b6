"""Whether new exports may start: account trouble, an outage, one careful try at a time.

The gate is *open* (any number of exports), *closed* until a moment, or *half open* (one export at a time, until one is
accepted). Account trouble closes it until a probe succeeds; an export whose answer was lost closes it a little longer
each time, so that an outage of the cloud does not put a whole queue in doubt.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from daemon.core.record import dataclass
from daemon.core.schedule import back_off

PROBE_SECONDS: Final = 60.0
"""Account trouble is probed so often (DESIGN: account trouble)."""
SHORTEST_CLOSED_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the account.

    Attributes:
        reason: plain words, redacted.
        is_credential: a free GET can probe it; otherwise only an export can.
        since: wall-clock seconds.
    """

    reason: str
    is_credential: bool
    since: float


@dataclass(frozen=True, slots=True)
class Gate:
    """See the module; times are seconds on the monotonic clock."""

    failures: int = 0
    closed_until: float | None = None
    trouble: Trouble | None = None
    probe_at: float | None = None
    probes: int = 0

    def may_export(self, now: float, exporting: int) -> bool:
        """Whether one more export may start while so many are in flight."""
        if self.probe_at is not None or (self.closed_until is not None and now < self.closed_until):
            return False
        return self.failures == 0 or exporting == 0

    def is_probe_due(self, now: float) -> bool:
        """Whether account trouble should be probed now."""
        return self.probe_at is not None and now >= self.probe_at

    @property
    def opens_at(self) -> float | None:
        """When something changes by itself, None when it does not."""
        return self.probe_at if self.probe_at is not None else self.closed_until

    def deferred(self, now: float, retry_after_seconds: float | None = None) -> Gate:
        """The cloud could not take an export now, or its answer was lost."""
        failures = self.failures + 1
        wait = back_off(failures, SHORTEST_CLOSED_SECONDS, retry_after_seconds=retry_after_seconds)
        return replace(self, failures=failures, closed_until=now + wait)

    def troubled(self, now: float, trouble: Trouble) -> Gate:
        """The account is in trouble; what is known already keeps its beginning."""
        kept = trouble if self.trouble is None else replace(trouble, since=self.trouble.since)
        return replace(
            self,
            failures=max(1, self.failures),
            trouble=kept,
            probe_at=now + PROBE_SECONDS,
            closed_until=None,
        )

    def probing(self) -> Gate:
        """A probe is under way: nothing else starts until it has answered."""
        return replace(self, probe_at=float("inf"), probes=self.probes + 1)

    def half_opened(self) -> Gate:
        """The probe passed, or only an export can tell: let one through. Its acceptance ends the trouble."""
        return replace(self, failures=max(1, self.failures), probe_at=None, closed_until=None)

    def opened(self) -> Gate:
        """An export was accepted: all is well."""
        return Gate()
