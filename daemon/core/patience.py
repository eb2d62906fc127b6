"""How long is tried what does not come: downloads that fail though the cloud is there, renders past their deadline.

What the cloud's absence costs is not counted: nothing fails by it.
"""

from __future__ import annotations

from typing import Final

DOWNLOADS_IN_A_ROW: Final = 50
"""After so many failed downloads in a row, each after a look that was answered, a job is given up."""
OVERDUE_SECONDS: Final = 300.0
"""So long a render past its deadline is still looked at where no look says how far it is."""


class Patience:
    """With the downloads and looks of jobs, by their numbers.

    Attributes:
        are_videos_away: the last download that ended had not reached its server.
    """

    def __init__(self) -> None:
        self.are_videos_away = False
        self._failed: dict[int, int] = {}
        self._overdue_since: dict[int, float] = {}

    def on_download_failed(self, job_id: int, *, is_outage: bool) -> bool:
        """A download has failed; whether that was once too often."""
        self.are_videos_away = is_outage
        self._failed[job_id] = self.failures(job_id) + 1
        return self._failed[job_id] >= DOWNLOADS_IN_A_ROW

    def failures(self, job_id: int) -> int:
        """How many downloads have failed in a row."""
        return self._failed.get(job_id, 0)

    def on_downloaded(self) -> None:
        """A video is there."""
        self.are_videos_away = False

    def is_over(self, job_id: int, now: float, render_timeout_seconds: float) -> bool:
        """A look at a render past its deadline was answered, but did not say how far it is; whether to give it up.

        Args:
            job_id: of the render.
            now: monotonic seconds.
            render_timeout_seconds: that it had until its deadline.
        """
        since = self._overdue_since.setdefault(job_id, now)
        return now - since >= min(OVERDUE_SECONDS, render_timeout_seconds)

    def on_outage(self, job_id: int) -> None:
        """A look was not answered: how long that lasts does not count."""
        self._overdue_since.pop(job_id, None)

    def forget(self, job_id: int) -> None:
        """The job has ended."""
        if self._failed.pop(job_id, None) is not None:
            self.are_videos_away = False
        self._overdue_since.pop(job_id, None)
