"""Which processor cores the threads run on: in a crowd, all that only make small calls on one.

The interpreter runs one thread at a time, and its threads take turns a thousand times a second. Where they sit on
different cores, each turn has to wake another core, which takes longer than most of what is done in a turn; on a
virtual machine it was a third of all CPU time. So while hundreds of small calls are under way, their threads share the
core that the main thread was given by the system, who may move it every two seconds. What is worth a core of its own,
such as a large download, leaves the crowd (`spread`).

Source: sched_setaffinity(2), proc(5). Elsewhere than on Linux, and with one core, none of this happens.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

STAY_SECONDS: Final = 2.0
_LAST_CORE: Final = 36
"""Which field of /proc/self/stat, after the name, tells where the main thread ran last."""


def _allowed() -> frozenset[int]:
    """The cores that we were given; none where threads cannot be told where to run."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else frozenset()


_ALL: Final = _allowed()


def spread() -> None:
    """Let the calling thread run on every core again, until its next `Cores.join`."""
    _run_on(_ALL)


def _run_on(cores: frozenset[int]) -> None:
    """Have the calling thread run there; it stays where it is if the system has taken the core away."""
    try:
        if len(_ALL) > 1 and os.sched_getaffinity(0) != cores:
            os.sched_setaffinity(0, cores)
    except OSError:
        return


def _core_of_main_thread() -> frozenset[int]:
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return frozenset({int(fields[_LAST_CORE])}) & _ALL or _ALL
    except (OSError, ValueError, IndexError):
        return _ALL


class Cores:
    """Where those threads run that join."""

    def __init__(self) -> None:
        self._shared = _ALL
        self._is_free = True
        self._leaves_at = 0.0

    def settle(self, *, is_crowded: bool, now: float) -> None:
        """By the main thread, after each turn: gather on its core, move with it, or spread.

        Args:
            is_crowded: many small calls are under way.
            now: monotonic seconds.
        """
        if not is_crowded:
            self._shared, self._is_free = _ALL, True
            _run_on(_ALL)
        elif self._is_free:  # it ran for a turn where the system wanted it
            self._shared, self._is_free = _core_of_main_thread(), False
            self._leaves_at = now + STAY_SECONDS
            _run_on(self._shared)
        elif now >= self._leaves_at:
            self._is_free = True
            _run_on(_ALL)

    def join(self) -> None:
        """By any other thread, before a call: run where the others do."""
        _run_on(self._shared)
