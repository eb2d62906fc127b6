"""Every exception that crosses a layer, named by what its catcher will do about it.

::

    ChromadropError
    ├── ConfigInvalid        the configuration has problems: exit 78
    ├── BatchInvalid         a job file has problems: failed/, nothing exported
    ├── IllegalTransition    an event that a job's state does not allow: a bug, nothing was changed
    ├── LedgerError
    │   ├── LedgerLocked       another daemon has this state: exit 75
    │   ├── LedgerRefused      this ledger must not be used here, and why: exit 78
    │   │   └── LedgerOutdated   not yet: the daemon brings it up to date when it starts
    │   ├── LedgerUnavailable  the ledger cannot be written now: hold all actions, try again
    │   └── LedgerConflict     a row was not in the state we left it in: stop, nothing was changed
    │       └── LedgerLost     another daemon has taken our jobs over: forget them and join again
    ├── SpoolError
    │   ├── RootUnavailable    the root is gone, unmounted, or unreadable: wait, forget nothing
    │   ├── FilingDeferred     a file operation failed for now (disk full, no permission): try again
    │   ├── DropVanished       the drop is not there any more: forget it
    │   ├── DropChanged        the drop is not the file that was read: let it settle again
    │   └── NameTaken          the name in processing/ is taken by a stray: take another
    ├── StudioError
    │   ├── CloudDeferred      not now, the same call again later
    │   ├── CloudRefused       the cloud said no to this one job
    │   ├── CloudInDoubt       an export may or may not have been accepted: never ask again
    │   ├── AccountTroubled    credential or credit: no job fails, exports stop
    │   └── LinkExpired        a download link is no longer good: ask the progress for a fresh one
    └── NoticeError
        ├── NoticeDeferred     a notice was not taken: try again later
        └── NoticeRefused      a notice never will be: give it up
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from daemon.core.problem import Problem


class ChromadropError(Exception):
    """The root of the tree."""


class _WithProblems(ChromadropError):
    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ConfigInvalid(_WithProblems):
    """The configuration has problems; all of them are in ``problems``."""


class BatchInvalid(_WithProblems):
    """A job file has problems; all of them (up to a sane number) are in ``problems``."""


class IllegalTransition(ChromadropError):
    """An event that the job's state does not allow. Nothing was changed."""


class LedgerError(ChromadropError):
    """The ledger's family."""


class LedgerLocked(LedgerError):
    """Another daemon has this state."""


class LedgerRefused(LedgerError):
    """This ledger must not be used here; the text says why and what to do."""


class LedgerOutdated(LedgerRefused):
    """An earlier release wrote it; the daemon, and nobody else, brings it up to date when it starts."""


class LedgerUnavailable(LedgerError):
    """The ledger cannot be read or written now."""


class LedgerConflict(LedgerError):
    """A row was not in the state that we left it in; the transaction was rolled back."""


class LedgerLost(LedgerConflict):
    """Another daemon has taken our jobs over; the transaction was rolled back."""


class SpoolError(ChromadropError):
    """The folders' family."""


class RootUnavailable(SpoolError):
    """The root is gone, unmounted, or unreadable. Nothing was created and nothing is forgotten."""


class FilingDeferred(SpoolError):
    """A file operation failed for now; the text says which and why."""


class DropVanished(SpoolError):
    """The drop is not in inbox/ any more."""


class DropChanged(SpoolError):
    """The drop is not the file that was read."""


class NameTaken(SpoolError):
    """The name in processing/ is taken by a file that the ledger does not know."""


class StudioError(ChromadropError):
    """The cloud's family. Every text is redacted: no credential, no signed query string."""


class CloudDeferred(StudioError):
    """Not now; the same call may be made again later.

    Args:
        reason: plain words, redacted.
        retry_after_seconds: what the cloud asked for, already capped; None when it did not say.
        is_outage: the cloud as a whole is away or busy (no connection, 408, 425, 429, 503), as against
            an answer about this one job that makes no sense. Outages never count against a job.
        is_bounded: the cloud said no in a way that may pass (4xx, ``success: false``); after a number of these
            in a row the caller gives the job up.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry_after_seconds: float | None = None,
        is_outage: bool = False,
        is_bounded: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds
        self.is_outage = is_outage
        self.is_bounded = is_bounded


class _WithReason(StudioError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CloudRefused(_WithReason):
    """The cloud said no to this one job, in the words of ``reason``."""


class CloudInDoubt(_WithReason):
    """An export was sent and no answer that can be understood came back: it may have been paid."""


class AccountTroubled(StudioError):
    """Credential or credit; nothing is wrong with the job.

    Args:
        reason: plain words, redacted, with the vendor's own.
        is_credential: the credential was refused (401, 403, or words to that effect), which a free GET can
            probe; otherwise it is credit or payment, which only an export can probe.
    """

    def __init__(self, reason: str, *, is_credential: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_credential = is_credential


class LinkExpired(_WithReason):
    """A download link answered 401, 403, 404, or 410: ask the progress for a fresh one."""


class NoticeError(ChromadropError):
    """The notices' family. Every text is redacted.

    Args:
        reason: plain words.
        retry_after_seconds: what the other side asked for; None when it did not say.
    """

    def __init__(self, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class NoticeDeferred(NoticeError):
    """A notice was not taken, or we cannot tell: it is to be tried again."""


class NoticeRefused(NoticeError):
    """The other side said that it will never take this notice."""
