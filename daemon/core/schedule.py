"""When something is due next: poll interval, back-off, deadline. All figures are seconds on a monotonic clock."""

from __future__ import annotations

from typing import Final

from daemon.core.record import dataclass


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks, in seconds: what is due is measured on the first, what is recorded on the second."""

    monotonic: float
    wall: float


LONGEST_BACK_OFF_SECONDS: Final = 60.0
LONGEST_RETRY_AFTER_SECONDS: Final = 300.0
EXPORTS_AT_ONCE: Final = 32
"""However many renders may be in flight: a crash puts no more jobs in doubt than this."""
LOOKERS: Final = 64
"""Threads that look at renders. With more renders in flight each thread looks at several at once."""
MOST_CONNECTIONS: Final = 256
"""That are kept alive for looks."""
LOOKS_SECONDS: Final = 0.01
"""Then looks are begun together, so long after the ones before."""
REFUSALS_IN_A_ROW: Final = 6
"""After so many bounded deferrals in a row (404, other 4xx, ``success: false``) a render is refused (API.md)."""


def next_look(due: float, now: float, interval: float) -> float:
    """When to look next, so that looks keep their rhythm however long an answer took.

    Args:
        due: when this look was due.
        now: when its answer came.
        interval: seconds between two looks at one job.
    """
    following = due + interval
    if following > now:
        return following
    return now + interval - (now - due) % interval


def looks_at_once(rendering: int) -> int:
    """At how many renders one thread looks at once: at no more than it has to, for they may wait for each other.

    Args:
        rendering: renders in flight.
    """
    return max(1, -(-rendering // LOOKERS))


def looks_alone(connections: int) -> int:
    """How many more looks are begun together than there are free connections: each makes a connection of its own.

    That costs more, and takes its time, but soon there are as many as it takes.

    Args:
        connections: that there are.
    """
    return min(max(2, connections // 4), max(0, MOST_CONNECTIONS - connections))


def back_off(deferrals: int, base: float, *, retry_after_seconds: float | None = None) -> float:
    """How long to wait after so many deferrals in a row: base, base, 2 base, 4 base ..., up to a minute.

    Args:
        deferrals: how many in a row, the last one included (1 or more).
        base: the shortest wait.
        retry_after_seconds: what the cloud asked for; obeyed where it is longer, up to five minutes.
    """
    doublings = min(max(0, deferrals - 2), 16)
    wait = min(base * 2.0**doublings, max(base, LONGEST_BACK_OFF_SECONDS))
    if retry_after_seconds is not None:
        wait = max(wait, min(retry_after_seconds, LONGEST_RETRY_AFTER_SECONDS))
    return wait


def is_past_deadline(exported_at: float | None, wall_now: float, render_timeout_seconds: float) -> bool:
    """Whether a render has taken longer than it may, by the wall clock (it must survive a restart)."""
    return exported_at is not None and wall_now - exported_at >= render_timeout_seconds
