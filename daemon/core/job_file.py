"""The ledger's view of one job file (a batch), from its claim until it is filed away."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from daemon.core.drop import Fingerprint
    from daemon.core.problem import Problem


class FileState(enum.StrEnum):
    """Where a job file is.

    CLAIMING is in the ledger before the file leaves inbox/; OPEN says that it is in processing/; CLOSED that it is in
    done/ or failed/; WITHDRAWN that it was gone before it could be claimed.
    """

    CLAIMING = "claiming"
    OPEN = "open"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"


class Outcome(enum.StrEnum):
    """Where a settled job file goes."""

    DONE = "done"
    FAILED = "failed"


class Leftover(NamedTuple):
    """An earlier job file in failed/ whose result and error files a file dropped under its name takes the place of.

    Attributes:
        file_id: the ledger's number.
        filed_as: path relative to the root.
        is_continued: jobs of it go on. If none does, its explanations go only when the job file has gone from failed/:
            otherwise another file merely has its name, and they may be the only word that something was paid.
    """

    file_id: int
    filed_as: str
    is_continued: bool


@dataclass(frozen=True, slots=True)
class JobFile:
    """One claimed job file.

    Attributes:
        id: the ledger's number.
        name: path relative to inbox/, as it was dropped.
        processing_name: path relative to processing/.
        state: see FileState.
        fingerprint: of the file that was read.
        digest: SHA-256 of its content, empty when it was too large to be read.
        content: its bytes, kept until it is filed away, so that a file which somebody deletes meanwhile is not lost.
        problems: why nothing of it was exported; empty when it is valid.
        claimed_at: wall-clock seconds.
        outcome: once settled.
        settled_at: wall-clock seconds.
        closed_at: wall-clock seconds when it was filed away.
        filed_as: path relative to the root, once closed.
        clears: earlier job files whose result and error files are to be taken away.
    """

    id: int
    name: str
    processing_name: str
    state: FileState
    fingerprint: Fingerprint
    digest: str
    content: bytes
    problems: tuple[Problem, ...]
    claimed_at: float
    outcome: Outcome | None = None
    settled_at: float | None = None
    closed_at: float | None = None
    filed_as: str | None = None
    clears: tuple[Leftover, ...] = ()
