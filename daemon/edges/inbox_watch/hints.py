"""What other threads want the scanner to look at."""

from __future__ import annotations

import threading
from dataclasses import field
from typing import Final

from daemon.core.record import dataclass

MOST_NAMES: Final = 10_000  # beyond, one scan of everything is cheaper than so many looks


@dataclass(slots=True)
class Hinted:
    """What has come in since the last time.

    Attributes:
        names: drops to look at, and whether the last that was heard of each is that it was renamed into place.
        is_everything: look at all names; something was lost or a folder moved.
        is_asked: say what is left, even if nothing changed.
        released: drops that could not be claimed, and for how many seconds to leave them alone.
        forgotten: drops that were claimed.
    """

    names: dict[str, bool] = field(default_factory=dict)
    is_everything: bool = False
    is_asked: bool = False
    released: dict[str, float] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)


class Hints:
    """Left by any thread, taken by the scanner. Nothing here waits for the scanner, and nothing raises."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_any = threading.Event()
        self._hinted = Hinted()

    def look_at(self, name: str, *, was_renamed: bool) -> None:
        """Look at this drop. What was heard last counts: written to after a rename is not just renamed."""
        with self._lock:
            if len(self._hinted.names) < MOST_NAMES:
                self._hinted.names[name] = was_renamed
            else:
                self._hinted.is_everything = True
        self._is_any.set()

    def look_at_everything(self) -> None:
        """Scan all names soon."""
        with self._lock:
            self._hinted.is_everything = True
        self._is_any.set()

    def ask(self) -> None:
        """Scan all names and say what is left."""
        with self._lock:
            self._hinted.is_everything = self._hinted.is_asked = True
        self._is_any.set()

    def release(self, name: str, delay_seconds: float) -> None:
        """This drop could not be claimed."""
        with self._lock:
            self._hinted.released[name] = delay_seconds
            self._hinted.is_asked = True
        self._is_any.set()

    def forget(self, name: str) -> None:
        """This drop was claimed."""
        with self._lock:
            self._hinted.forgotten.append(name)
        self._is_any.set()

    def nudge(self) -> None:
        """End the wait."""
        self._is_any.set()

    def wait(self, seconds: float) -> None:
        """Until there is a hint, or so long."""
        self._is_any.wait(max(0.0, min(seconds, threading.TIMEOUT_MAX)))

    def take(self) -> Hinted:
        """All that has come in."""
        self._is_any.clear()
        with self._lock:
            taken, self._hinted = self._hinted, Hinted()
        return taken
