"""The dispatcher's part that lends downloads to other daemons of the same ledger, and borrows theirs.

A render that has ended and finds no free download here is offered; whoever has one to spare borrows the job, downloads
its video into the same videos/, and gives the job back, done or as it was. The daemon whose job file it is keeps all
the rest. Everything here runs on the dispatcher's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from daemon.core.errors import LedgerUnavailable
from daemon.core.job import Downloaded, advance

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from daemon.core.job import Job
    from daemon.core.report import DownloadEnded
    from daemon.core.schedule import Instant
    from daemon.edges.ledger import Borrowed, Ledger, Work

AGAIN_SECONDS: Final = 5.0
"""What others have, or offer, is looked for so often where nobody has said anything."""
NO_LUCK_SECONDS: Final = 10.0
"""After a download that failed here nothing is borrowed for so long: the way to the videos may be ours."""


class Desk(Protocol):
    """What the dispatcher does."""

    @property
    def work(self) -> Work:
        """What becomes one transaction next."""

    def borrowed(self, found: Borrowed, now: Instant) -> None:
        """Download this video, which is another daemon's."""

    def returned(self, job: Job, now: Instant) -> None:
        """A job that was lent is ours again, and as the ledger says."""

    def downloaded(self, job: Job, now: Instant) -> None:
        """A video that was borrowed is there."""

    def unavailable(self, error: LedgerUnavailable, now: Instant) -> None:
        """The ledger cannot be used now."""


class Lending:
    """Which jobs are offered, lent, and borrowed.

    Args:
        ledger: decides who has what.
        desk: what the dispatcher does.
    """

    def __init__(self, *, ledger: Ledger, desk: Desk) -> None:
        self._ledger = ledger
        self._desk = desk
        self._has_peers = False
        self._offered: set[int] = set()
        self._lent: set[int] = set()
        self._borrowed: dict[int, Borrowed] = {}
        self._borrow_at = float("-inf")
        self._ask_at = float("-inf")

    @property
    def due_at(self) -> float | None:
        """When to look at what others have or offer, on the monotonic clock; None for never."""
        if not self._has_peers:
            return self._ask_at if self._lent else None
        return min(self._borrow_at, self._ask_at) if self._lent else self._borrow_at

    def has_borrowed(self, job_id: int) -> bool:
        """The job is another daemon's."""
        return job_id in self._borrowed

    def is_lent(self, job_id: int) -> bool:
        """Another daemon has the job."""
        return job_id in self._lent

    def on_peers(self, *, has_peers: bool) -> None:
        """Whether other daemons are there."""
        self._has_peers = has_peers

    def on_heard(self, kinds: Collection[str]) -> None:
        """Another daemon has offered something, or given something back."""
        if "offers" in kinds:
            self._borrow_at = float("-inf")
        if "returns" in kinds:
            self._ask_at = float("-inf")

    def lend(self, job_ids: Collection[int]) -> None:
        """These were lent when we took up their files."""
        self._lent |= set(job_ids)

    def keep(self, job_ids: Iterable[int]) -> None:
        """These are ours now: of what we had borrowed, the download goes on as one of our own."""
        for job_id in job_ids:
            self._borrowed.pop(job_id, None)

    def forget(self, job_ids: Collection[int]) -> None:
        """These are of no concern any more."""
        self._offered -= set(job_ids)
        self._lent -= set(job_ids)

    # --- ours -------------------------------------------------------------------------------------

    def offer(self, job_ids: Collection[int]) -> None:
        """Have these, which wait for a download, known to the others."""
        if not self._has_peers:
            return
        fresh = [job_id for job_id in job_ids if job_id not in self._offered]
        self._offered |= set(fresh)
        self._desk.work.offers += fresh

    def is_still_ours(self, job_id: int, now: Instant) -> bool:
        """Take back the offer of a job that is to be downloaded here after all; False where another has, or had, it.

        Raises:
            LedgerUnavailable: it is not known now.
        """
        if job_id not in self._offered:
            return True
        if job_id in self._desk.work.offers:  # nobody has heard of it yet
            self._desk.work.offers.remove(job_id)
            self._offered.discard(job_id)
            return True
        found = self._ledger.call_back(job_id)
        self._offered.discard(job_id)
        if found is None:
            self._lent.add(job_id)
            self._ask_at = now.monotonic
        elif found.state.is_settled:  # another has borrowed it, and given it back
            self._desk.returned(found, now)
        return found is not None and not found.state.is_settled

    # --- theirs -----------------------------------------------------------------------------------

    def start_due(self, now: Instant, *, room: int) -> None:
        """Look what has come back, and borrow where there is room.

        Args:
            now: both clocks.
            room: so many downloads could begin here.
        """
        try:
            if self._lent and self._ask_at <= now.monotonic:
                self._ask_at = now.monotonic + AGAIN_SECONDS
                for job in self._ledger.returned(self._lent):
                    self._lent.discard(job.id)
                    self._desk.returned(job, now)
            # What is about to go back is in nobody's hands until that is written.
            is_free = self._has_peers and room > 0 and not self._desk.work.returns
            if is_free and self._borrow_at <= now.monotonic:
                self._borrow_at = now.monotonic + AGAIN_SECONDS
                for found in self._ledger.borrow(room, self._borrowed):
                    self._borrowed[found.job.id] = found
                    self._desk.borrowed(found, now)
                    self._borrow_at = float("-inf")  # there may be more
        except LedgerUnavailable as error:
            self._desk.unavailable(error, now)

    def on_download_ended(self, message: DownloadEnded, now: Instant) -> bool:
        """A borrowed download has ended; whether the video is there.

        The job goes back in any case, in the same transaction that says how it ended.
        """
        found = self._borrowed.pop(message.job_id)
        job = found.job
        self._desk.work.returns.append(job.id)
        if not isinstance(message.outcome, Downloaded):
            self._borrow_at = now.monotonic + NO_LUCK_SECONDS
            return False
        self._borrow_at = float("-inf")
        done = advance(job, message.outcome, now.wall)
        self._desk.work.change_job(job, done)
        self._desk.downloaded(done, now)
        return True
