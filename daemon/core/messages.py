"""What the inbox's watch, and a ledger that several daemons share, put into the mailbox."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from daemon.core.drop import Drop


class Reason(enum.StrEnum):
    """Why a file in inbox/ has not been taken, in plain words."""

    SETTLING = "still settling"
    WRITING = "still being written"
    MALFORMED = "not a valid job file yet"
    BEHIND = "many others come first"
    EMPTY = "empty"
    UNREADABLE = "may not be read"
    NOT_A_FILE = "not a plain file"
    CONFLICT_COPY = "a sync-conflict copy"
    RESULT_TABLE = "a table of results; drop the table itself again"
    BROKEN = "not valid; it holds its folder's files back until it is mended"
    DEFAULTS_SETTLING = "its folder's defaults are still settling"
    DEFAULTS_BROKEN = "its folder's defaults have to be mended first"

    @property
    def is_pending(self) -> bool:
        """The file will become ready, or be called bad, if it is left alone."""
        pending = {Reason.SETTLING, Reason.WRITING, Reason.MALFORMED, Reason.BEHIND, Reason.DEFAULTS_SETTLING}
        return self in pending


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file in inbox/ that has not been taken.

    Attributes:
        name: path relative to inbox/, with ``/``; bytes that are not UTF-8 as surrogates.
        reason: why.
        since: monotonic seconds (the watch's clock) since when that has been the reason.
        detail: what exactly has to be mended, and where; empty where there is no more to say.
    """

    name: str
    reason: Reason
    since: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Lying:
    """What lay in inbox/ at the last look, for people.

    Attributes:
        waiting: as in `ScanEnded`.
        waiting_count: how many there are altogether.
        strangers: names that are no job files' and nobody's scratch, such as ``x.yaml.txt``; the first of them.
        stranger_count: how many there are altogether.
        unread: subfolders that could not be read, and why.
    """

    waiting: tuple[Waiting, ...] = ()
    waiting_count: int = 0
    strangers: tuple[str, ...] = ()
    stranger_count: int = 0
    unread: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DropReady:
    """A drop has settled and was read; said once, until it is claimed or released."""

    drop: Drop


@dataclass(frozen=True, slots=True)
class ScanEnded:
    """What is left in inbox/; said when it has changed, and when asked.

    Attributes:
        waiting: those that need a person first, then by name; the first hundred only.
        waiting_count: how many there are altogether.
        is_idle: nothing in inbox/ could become ready by being left alone. Every drop that was ready has been
            said before this.
    """

    waiting: tuple[Waiting, ...]
    waiting_count: int
    is_idle: bool


@dataclass(frozen=True, slots=True)
class PauseSeen:
    """``inbox/PAUSE`` is there, or is not there any more; said at the first scan and when it changes."""

    is_paused: bool


@dataclass(frozen=True, slots=True)
class RootLost:
    """The root or inbox/ is gone, unmounted, or unreadable: wait, forget nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class RootFound:
    """The root and inbox/ are back."""


@dataclass(frozen=True, slots=True)
class PeersSeen:
    """Other daemons that have the same ledger; said when it has changed.

    Attributes:
        alive: who of them lives, by owner.
        is_painter: of all of them, we are the one that writes the pages.
    """

    alive: frozenset[str]
    is_painter: bool


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A daemon does not live any more: its jobs wait for somebody to go on with them. Said again until that is so."""

    owner: str


@dataclass(frozen=True, slots=True)
class LedgerHeard:
    """Another daemon has changed something that may concern us.

    Attributes:
        kinds: what: ``slots``, ``waiting``, ``offers``, ``returns``.
        by: whose daemon it is.
    """

    kinds: frozenset[str]
    by: str = ""


@dataclass(frozen=True, slots=True)
class LifelineCut:
    """The ledger does not know any more that we live: ask for nothing that costs money, claim nothing."""

    reason: str


@dataclass(frozen=True, slots=True)
class LifelineMended:
    """It knows again; whether somebody has taken our jobs meanwhile, the ledger says."""


LedgerMessage = PeersSeen | PeerLost | LedgerHeard | LifelineCut | LifelineMended
"""What the ledger's lifeline puts into the mailbox."""

WatchMessage = DropReady | ScanEnded | PauseSeen | RootLost | RootFound
