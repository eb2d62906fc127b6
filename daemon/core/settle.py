"""When a drop is ready: the rules, without a clock and without a file.

A file is ready when it stayed the same for ``settle_seconds`` on our own monotonic clock; neither "it parses"
nor "it was closed" proves anything, since nearly half of all prefixes of a job file parse, and a lost
connection closes a half file normally. The exceptions::

    zero bytes              never ready
    renamed onto a name     ready at once: the writer says that it has finished
      that was free
    does not parse          ready, as bad, after ``grace_seconds`` more
    replaced, or written    the clock starts again
"""

from __future__ import annotations

import codecs
import enum
from dataclasses import replace
from typing import TYPE_CHECKING

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from daemon.core.drop import Fingerprint
    from daemon.core.problem import Problem


@dataclass(frozen=True, slots=True)
class Rules:
    """What readiness depends on.

    Attributes:
        settle_seconds: how long a file must have stayed the same.
        grace_seconds: how much longer, before one that does not parse is called bad.
        max_bytes: a larger file is never read.
    """

    settle_seconds: float
    grace_seconds: float
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Trial:
    """A file that was read and found bad, waiting to be mended until the grace is over.

    Attributes:
        digest: of its content, and of what its folder gave for it.
        problems: what was wrong.
    """

    digest: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Settling:
    """One name's file while it is waited for.

    Attributes:
        fingerprint: as last seen.
        quiet_since: monotonic seconds since when it has been the same.
        was_free: nothing, or an empty file, had the name before; not known after a `restart`.
        is_renamed: it was renamed onto a name that was free.
        trial: what was wrong when it was read.
        not_before: monotonic seconds before which it is not offered again, after it was offered in vain.
    """

    fingerprint: Fingerprint
    quiet_since: float
    was_free: bool = False
    is_renamed: bool = False
    trial: Trial | None = None
    not_before: float = float("-inf")


class Verdict(enum.Enum):
    """What is to be done about a file that is waited for."""

    EMPTY = "empty"
    WAIT = "wait"
    READ = "read"
    TOO_LARGE = "too large"


def observe(previous: Settling | None, fingerprint: Fingerprint, now: float, *, was_renamed: bool = False) -> Settling:
    """What is known of a file after a look at it.

    Args:
        previous: what was known before; None for a name that was free.
        fingerprint: what the look showed.
        now: monotonic seconds, taken after the look was answered.
        was_renamed: the look was prompted by a rename onto this name.
    """
    if previous is None or previous.fingerprint != fingerprint:
        was_free = previous is None or previous.fingerprint.size == 0
        return Settling(fingerprint, now, was_free=was_free, is_renamed=was_renamed and was_free)
    if was_renamed and previous.was_free and not previous.is_renamed:  # a scan came before the event
        return replace(previous, is_renamed=True)
    return previous


def restart(settling: Settling, now: float, *, delay_seconds: float = 0.0) -> Settling:
    """The same file with its clock started again: somebody has it open, or could not take it."""
    return Settling(settling.fingerprint, now, not_before=now + delay_seconds)


def due(settling: Settling, rules: Rules) -> float:
    """When the file is to be judged again if it stays the same, in monotonic seconds."""
    if settling.is_renamed and settling.trial is None:
        return settling.not_before
    wait = rules.settle_seconds + (rules.grace_seconds if settling.trial is not None else 0.0)
    return max(settling.quiet_since + wait, settling.not_before)


def judge(settling: Settling, rules: Rules, now: float) -> Verdict:
    """What is to be done about the file.

    Args:
        settling: after `observe`.
        rules: what readiness depends on.
        now: monotonic seconds, taken *before* the look was begun: a slow answer must not count as quiet.
    """
    if settling.fingerprint.size == 0:
        return Verdict.EMPTY
    if now < due(settling, rules):
        return Verdict.WAIT
    return Verdict.TOO_LARGE if settling.fingerprint.size > rules.max_bytes else Verdict.READ


def tried(settling: Settling, digest: str, problems: tuple[Problem, ...], now: float) -> Settling:
    """The file after it was read and found bad.

    Content that changed while the fingerprint did not (a write through a memory map) starts the clock again.
    """
    fresh = settling if settling.trial is None else restart(settling, now)
    return replace(fresh, trial=Trial(digest, problems))


def has_nul(content: bytes) -> bool:
    """Whether the text holds NUL characters, as files do that are allocated first and filled later."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "\0" in content.decode("utf-16", errors="replace")
    return b"\0" in content
