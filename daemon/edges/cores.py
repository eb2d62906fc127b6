"""Which processor cores the threads run on: in a crowd, all that only make small calls on one.

The interpreter runs one thread at a time, and its threads take turns a thousand times a second. Where they sit on
different cores, each turn has to wake another core, which takes longer than most of what is done in a turn; on a
virtual machine it was a third of all CPU time. So while many small calls are under way, their threads share the core
that the main thread was given by the system, who may move it every two seconds. What is worth a core of its own, such
as a large download, leaves the crowd.

Source: sched_setaffinity(2), proc(5). Elsewhere than on Linux, and with one core, none of this happens; nor is anything
changed that was not changed here before.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

STAY_SECONDS: Final = 2.0
_LAST_CORE: Final = 36
"""Which field of /proc/self/stat, after the name, tells where the main thread ran last."""

_NOWHERE: Final[frozenset[int]] = frozenset()


def _allowed() -> frozenset[int]:
    """The cores of the calling thread; none where threads cannot be told where to run."""
    try:
        return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else _NOWHERE
    except OSError:
        return _NOWHERE


def _core_of_main_thread() -> frozenset[int]:
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return frozenset({int(fields[_LAST_CORE])})
    except (OSError, ValueError, IndexError):
        return _NOWHERE


class Cores:
    """Where the threads run that join; each of them may leave."""

    def __init__(self) -> None:
        self._all = _NOWHERE  # what the main thread had before it was told where to run
        self._shared = _NOWHERE  # where those are who join; nowhere in particular without a crowd
        self._is_free = True
        self._leaves_at = 0.0
        self._here = threading.local()

    def settle(self, *, is_crowded: bool, now: float) -> None:
        """By the main thread, after each turn: gather on its core, move with it, or spread.

        Args:
            is_crowded: many small calls are under way.
            now: monotonic seconds.
        """
        if not is_crowded:
            self._shared, self._is_free = _NOWHERE, True
            self.leave()
        elif self._is_free:  # it ran for a turn where the system wanted it
            self._all = _allowed()
            self._shared = _core_of_main_thread() & self._all if len(self._all) > 1 else _NOWHERE
            self._leaves_at, self._is_free = now + STAY_SECONDS, False
            self.join()
        elif now >= self._leaves_at:
            self._is_free = True
            self.leave()

    def join(self) -> None:
        """By any thread, before a small call: run where the others do."""
        if self._shared:
            self._go(self._shared)
        else:
            self.leave()

    def leave(self) -> None:
        """By any thread: run wherever the system wants; also where its maker had joined, which it inherits."""
        if self._all:
            self._go(self._all)

    def _go(self, cores: frozenset[int]) -> None:
        """The calling thread stays where it is if the system does not let it."""
        if getattr(self._here, "cores", None) == cores:
            return
        self._here.cores = cores
        try:
            os.sched_setaffinity(0, cores)
        except OSError:
            return
