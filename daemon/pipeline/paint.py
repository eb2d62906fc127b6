"""Paint: what is going on -> status.html in the root, for people who only see the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from daemon.core.errors import ChromadropError, RootUnavailable
from daemon.core.page import STATUS_PAGE
from daemon.core.report import PageEnded

if TYPE_CHECKING:
    from collections.abc import Callable


class Wall(Protocol):
    """Where pages hang."""

    def put_page(self, name: str, content: bytes, *, is_durable: bool = True) -> None:
        """Put a page into the root; raises RootUnavailable, LedgerRefused, FilingDeferred."""

    def remove_page(self, name: str) -> None:
        """Take it away; raises the same."""


def put(wall: Wall, render: Callable[[], bytes]) -> PageEnded:
    """Write the page; nobody waits for it, and the next one comes soon, so it is not synced to the disk."""
    return _ended(lambda: wall.put_page(STATUS_PAGE, render(), is_durable=False))


def remove(wall: Wall) -> PageEnded:
    """Take the page away where none is wanted: it would only tell of the past."""
    return _ended(lambda: wall.remove_page(STATUS_PAGE))


def _ended(deed: Callable[[], None]) -> PageEnded:
    try:
        deed()
    except RootUnavailable:
        return PageEnded()  # the scanner says so
    except ChromadropError as error:
        return PageEnded(str(error))
    except Exception as error:  # noqa: BLE001 - the top of a worker: a page must end in an outcome
        return PageEnded(f"an error in chromadrop itself while writing it: {type(error).__name__}: {error}")
    return PageEnded()
