"""How the daemon is, for those who watch over it: one frozen `Vitals` after each turn, and what is ill about it."""

from __future__ import annotations

import enum
from dataclasses import field
from typing import TYPE_CHECKING, Final

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daemon.core.folder_trouble import FolderTrouble
    from daemon.core.job import Deferred

BEAT_SECONDS: Final = 5.0
"""While somebody may ask how the daemon is, it makes a turn so often at least."""
STUCK_SECONDS: Final = 30.0
"""Without a turn for so long, the main loop is called stuck."""
FOLDERS_SECONDS: Final = 30.0
"""When something has waited for our folders for longer, they are called ill: a single try that failed is not."""


class Part(enum.StrEnum):
    """What can be ill."""

    ACCOUNT = "account"
    CLOUD = "cloud"
    ROOT = "root"
    FOLDERS = "folders"
    LEDGER = "ledger"
    SCANNER = "scanner"
    MAIN_LOOP = "main_loop"


class Delay(enum.StrEnum):
    """Why something has to be done again later; few and fixed, so that they can label a figure."""

    OUTAGE = "outage"  # the cloud cannot be reached, or is too busy
    REFUSAL = "refusal"  # the cloud said no in a way that may pass
    ACCOUNT = "account"  # credential or credit
    OURS = "ours"  # our own folders could not take it
    OTHER = "other"  # an answer that makes no sense, a download that was cut


@dataclass(frozen=True, slots=True)
class Vitals:
    """How the daemon was after one turn.

    Attributes:
        turned_at: monotonic seconds of that turn.
        queued: jobs that wait for their export.
        exporting: exports in flight.
        tracing: exports that were not answered and are looked for.
        rendering: renders in flight.
        max_rendering: as many at once are allowed.
        downloading: downloads under way, or about to begin.
        account: what is wrong with the account; None for nothing.
        cloud: why the cloud cannot be reached; None where it can.
        root: why the root is not to be trusted; None where it is.
        is_ledger_away: the ledger cannot be written.
        is_scanner_alive: the scanning thread lives and does not hang.
        held_since: monotonic seconds since when a frozen file server has held the scanner; None otherwise.
        scanned_at: wall-clock seconds when all of inbox/ was looked through last; None before the first time.
        is_paused: ``inbox/PAUSE`` is there.
        is_stopping: asked to stop.
        is_limited: as much was ordered today as is allowed.
        folders: what keeps files and videos waiting for our own folders; None for nothing.
        cut: why the ledger, which several daemons have, does not know that we live; None where it does.
        peers: other daemons that have the same ledger and live.
    """

    turned_at: float
    queued: int = 0
    exporting: int = 0
    tracing: int = 0
    rendering: int = 0
    max_rendering: int = 0
    downloading: int = 0
    account: str | None = None
    cloud: str | None = None
    root: str | None = None
    is_ledger_away: bool = False
    is_scanner_alive: bool = True
    held_since: float | None = None
    scanned_at: float | None = None
    is_paused: bool = False
    is_stopping: bool = False
    is_limited: bool = False
    folders: FolderTrouble | None = None
    cut: str | None = None
    peers: int = 0


@dataclass(frozen=True, slots=True)
class Peer:
    """One machine's daemons, of all that share a ledger.

    Attributes:
        host: its name.
        is_alive: one is alive there.
        counts: jobs of unfinished files that are theirs, by state.
    """

    host: str
    is_alive: bool
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ill:
    """One thing that an operator should look at.

    Attributes:
        part: what is ill.
        reason: plain words, redacted.
    """

    part: Part
    reason: str


def ills(vitals: Vitals, now: float) -> list[Ill]:
    """What is ill; empty where all is well. That exports are paused, or limited, is a wish, and not ill.

    Args:
        vitals: after the last turn.
        now: monotonic seconds.
    """
    return [Ill(part, reason) for part, reason in _reasons(vitals, now) if reason is not None]


def _reasons(vitals: Vitals, now: float) -> Iterator[tuple[Part, str | None]]:
    yield Part.ACCOUNT, vitals.account
    yield Part.CLOUD, vitals.cloud
    held = "the file server does not answer: no drop is seen" if vitals.held_since is not None else None
    yield Part.ROOT, vitals.root or held
    folders = vitals.folders
    yield Part.FOLDERS, folders.reason if folders is not None and has_lasted(folders, now) else None
    yield Part.LEDGER, _of_ledger(vitals)
    yield Part.SCANNER, None if vitals.is_scanner_alive else "it has ended or hangs: no drop is seen"
    still = now - vitals.turned_at
    yield Part.MAIN_LOOP, f"it has not turned for {still:.0f} s" if still > STUCK_SECONDS else None


def _of_ledger(vitals: Vitals) -> str | None:
    if vitals.cut is not None:
        waits = "nothing is asked for until it is back; others that are not cut off go on with our jobs"
        return f"cut off from it: {vitals.cut}; {waits}"
    return "it cannot be written: nothing new is asked for until it can" if vitals.is_ledger_away else None


def has_lasted(trouble: FolderTrouble, now: float) -> bool:
    """Whether the folders are ill, and not only slow to take something; ``now`` in monotonic seconds."""
    return now - trouble.since.monotonic > FOLDERS_SECONDS


def delay_of(outcome: Deferred) -> Delay:
    """Which kind of delay a deferral is."""
    if outcome.is_outage:
        return Delay.OUTAGE
    if outcome.is_ours:
        return Delay.OURS
    return Delay.REFUSAL if outcome.is_bounded else Delay.OTHER
