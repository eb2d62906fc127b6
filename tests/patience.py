"""How tests wait for what comes to be by itself, in a process or a thread of its own."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 180.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Look now and then until it holds; `what` is said if it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never came to be: {what}"
        threading.Event().wait(0.05)
