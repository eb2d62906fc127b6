"""When something is due next: poll interval, back-off, deadline. All figures are seconds on a monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Instant:
    """One moment on both clocks, in seconds: what is due is measured on the first, what is recorded on the second."""

    monotonic: float
    wall: float


LONGEST_BACK_OFF_SECONDS: Final = 60.0
LONGEST_RETRY_AFTER_SECONDS: Final = 300.0
EXPORTS_AT_ONCE: Final = 32
"""However many renders may be in flight: a crash puts no more jobs in doubt than this."""
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
