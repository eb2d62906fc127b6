"""What waits for our own folders: a disk that is full, a folder that cannot be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from daemon.core.schedule import Instant


@dataclass(frozen=True, slots=True)
class FolderTrouble:
    """The folders do not take what they should.

    Attributes:
        reason: plain words, those of what has waited longest.
        since: from when on something has waited, without a break.
    """

    reason: str
    since: Instant


class FolderWaits:
    """What waits for the folders: job files by ``("file", number)``, videos by ``("video", number)`` of their job.

    There is trouble while anything waits: that another file could be moved says nothing of one that cannot.
    """

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, int], str] = {}
        self._since: Instant | None = None

    @property
    def trouble(self) -> FolderTrouble | None:
        """What is wrong; None where nothing waits."""
        reason = next(iter(self._reasons.values()), None)
        return None if reason is None or self._since is None else FolderTrouble(reason, self._since)

    def wait(self, key: tuple[str, int], reason: str, now: Instant) -> None:
        """The folders could not take it this time."""
        if not self._reasons:
            self._since = now
        self._reasons[key] = reason

    def end(self, key: tuple[str, int]) -> None:
        """They took it, or it wants nothing of them any more; fine also where it has not waited."""
        self._reasons.pop(key, None)

    def restart(self, now: Instant) -> None:
        """A root that was lost is back: how long anything waited for it is no sign of another trouble."""
        self._since = now
