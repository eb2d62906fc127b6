"""Notices: what an operator, or a program of his, is told of; the ledger's outbox holds them until they are taken."""

from __future__ import annotations

import enum
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from daemon.core.display import display
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_KEPT: Final = 1000
"""So many notices wait for one outlet at most; of more, the oldest are dropped."""
MOST_BYTES: Final = 1024 * 1024
"""A longer document is shortened: first without the requests, then to its first jobs."""
MOST_JOBS: Final = 1000
MOST_EXCERPT: Final = 200
"""Characters of a text that is only to be recognised."""
MOST_VARIABLE: Final = 1000
"""Characters of an environment variable; the kernel takes no more than 128 KiB of one (execve(2))."""
ACCOUNT_SECONDS: Final = 60.0
"""Between two words on the account at least, so that one that comes and goes is no flood."""


class Kind(enum.StrEnum):
    """What has happened."""

    FAILED = "failed"  # a job file lies in failed/
    IN_DOUBT = "in_doubt"  # a job was asked for, and may have been paid; told at once
    ACCOUNT = "account"  # the account is in trouble, or well again
    DONE = "done"  # a job file lies in done/


class Sink(enum.StrEnum):
    """Where notices go; each has its own row in the outbox."""

    COMMAND = "command"
    URL = "url"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to be told to one sink.

    Attributes:
        id: the ledger's number; 0 before it was entered.
        sink: who is to be told.
        kind: what has happened.
        at: wall-clock seconds when it did.
        body: the document, plain JSON values; ``notice`` in it is the same for every sink and every try.
        tries: that failed.
    """

    id: int
    sink: Sink
    kind: Kind
    at: float
    body: Mapping[str, Any]
    tries: int = 0


# --- the document ---------------------------------------------------------------------------------


def utc(wall: float) -> str:
    """A moment as documents have it: ISO 8601, UTC, milliseconds."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encoded(body: Mapping[str, Any]) -> bytes:
    """The document as JSON, in ASCII: a lone surrogate in the cloud's words cannot be said in UTF-8."""
    return json.dumps(body, ensure_ascii=True).encode("ascii")


def fitted(body: dict[str, Any]) -> dict[str, Any]:
    """The document as it is, or shortened (and ``cut``: true) where it is longer than `MOST_BYTES`."""
    jobs: list[dict[str, Any]] | None = body.get("jobs")
    if jobs is None or len(encoded(body)) <= MOST_BYTES:
        return body
    bare = [{key: value for key, value in job.items() if key != "request"} for job in jobs]
    shorter = body | {"cut": True, "jobs": bare}
    return shorter if len(encoded(shorter)) <= MOST_BYTES else shorter | {"jobs": bare[:MOST_JOBS]}


def excerpt(text: str) -> str:
    """The beginning of a text, on one line."""
    line = display(" ".join(text.split()))
    return line if len(line) <= MOST_EXCERPT else line[: MOST_EXCERPT - 1] + "…"


# --- for a command's environment ------------------------------------------------------------------

_KEYS: Final = ("event", "notice", "at", "root", "file", "filed_as", "outcome", "paid", "n", "reason", "recovered")
VARIABLES: Final = {key: f"CHROMADROP_{key.upper()}" for key in _KEYS}
"""What a command finds in its environment, by the key of the document; no settings of ours (see config)."""


def variables(body: Mapping[str, Any]) -> dict[str, str]:
    """The document's main facts: one line each, bounded, and nothing in them that no environment can hold."""
    return {
        name: display(_text(body[key]))[:MOST_VARIABLE] for key, name in VARIABLES.items() if body.get(key) is not None
    }


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# --- the account ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccountNews:
    """What is known of the account, and what was last told of it.

    Attributes:
        is_told_troubled: the last word was that it is in trouble.
        told_at: when, on the monotonic clock.
        is_troubled: None while nothing is known.
        reason: of the trouble.
        since: wall-clock seconds, of the trouble.
    """

    is_told_troubled: bool = False
    told_at: float = float("-inf")
    is_troubled: bool | None = None
    reason: str = ""
    since: float = 0.0

    @property
    def due_at(self) -> float | None:
        """When there is something to be told, on the monotonic clock; None for nothing."""
        is_news = self.is_troubled is not None and self.is_troubled is not self.is_told_troubled
        return self.told_at + ACCOUNT_SECONDS if is_news else None

    def troubled(self, reason: str, since: float) -> AccountNews:
        """It is in trouble; the beginning of one that goes on is kept."""
        return replace(self, is_troubled=True, reason=reason, since=self.since if self.is_troubled else since)

    def well(self) -> AccountNews:
        """It is well."""
        return replace(self, is_troubled=False)

    def told(self, now: float) -> AccountNews:
        """What is so has just been told."""
        return replace(self, is_told_troubled=bool(self.is_troubled), told_at=now)
