"""The dispatcher's part that tells others: what happens is entered in the outbox, in the transaction that records it.

Each sink is told one notice at a time, oldest first, until it takes it or has failed so often that it is given up.
Nothing waits for a notice. Everything here runs on the dispatcher's thread.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final, Protocol

from daemon.core.errors import LedgerUnavailable
from daemon.core.notice import ACCOUNT_SECONDS, MOST_KEPT, AccountNews, Kind
from daemon.core.record import dataclass
from daemon.core.report import NoticeEnded
from daemon.core.schedule import back_off
from daemon.pipeline import notify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from daemon.core.job import Job
    from daemon.core.job_file import JobFile
    from daemon.core.notice import Notice, Sink
    from daemon.core.schedule import Instant
    from daemon.edges.ledger import Ledger, Work

NOTE: Final = "account_told"
"""The ledger's note with the last word on the account: ``{"troubled": bool, "at": wall-clock seconds}``."""
BACK_OFF_SECONDS: Final = 5.0
LEDGER_RETRY_SECONDS: Final = 1.0
GIVEN_UP_SECONDS: Final = 60.0
"""Between two lines at least that say of the same sink that notices were given up for the same reason."""
MOST_NAMED: Final = 5
"""Files that such a line names."""

_INFO, _WARNING, _ERROR = 20, 30, 40


@dataclass(frozen=True, slots=True)
class NoticePlan:
    """Who is told of what, as the operator set it.

    Attributes:
        outlets: who; none of them: nobody is told anything.
        kinds: of what.
        tries: after so many that failed, a notice is given up.
    """

    outlets: Mapping[Sink, notify.Outlet] = field(default_factory=dict)
    kinds: frozenset[Kind] = frozenset()
    tries: int = 8


class Desk(Protocol):
    """What the dispatcher does for the notices."""

    @property
    def work(self) -> Work:
        """What becomes one transaction next."""

    def act(self, deed: Callable[[], None]) -> None:
        """Have this done once everything decided so far is in the ledger."""

    def log(self, level: int, event: str, **fields: Any) -> None:
        """One line."""


@dataclass(slots=True)
class _Line:
    """What waits for one sink.

    Attributes:
        waiting: numbers of notices, oldest first; the first one may be under way.
        is_busy: it is.
        due_at: when the first one may be tried, on the monotonic clock.
        reason: why its last try failed; empty where none did since the start.
    """

    waiting: deque[int] = field(default_factory=deque)
    is_busy: bool = False
    due_at: float = float("-inf")
    reason: str = ""

    @property
    def is_awaited(self) -> bool:
        """It may be that what waits is taken at once."""
        return bool(self.waiting) and not self.reason

    def drop_oldest(self, most: int) -> list[int]:
        """Take out what is more than so many; never the one under way."""
        busy = [self.waiting.popleft()] if self.is_busy else []
        dropped = [self.waiting.popleft() for _ in range(len(self.waiting) + len(busy) - most)]
        self.waiting.extendleft(busy)
        return dropped

    def forget_first(self) -> None:
        """It was delivered, or given up."""
        self.waiting.popleft()
        self.due_at = float("-inf")


@dataclass(slots=True)
class _Burst:
    """What was given up for one reason since a line said so.

    Attributes:
        said_at: when one did, on the monotonic clock.
        notices: so many since.
        files: the first of theirs.
        fields: what is known of a single one.
    """

    said_at: float = float("-inf")
    notices: int = 0
    files: list[str] = field(default_factory=list)
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def due_at(self) -> float:
        """When the next line may be said, on the monotonic clock."""
        return self.said_at + GIVEN_UP_SECONDS

    @property
    def line(self) -> dict[str, Any]:
        """What it says."""
        more = self.fields if self.notices == 1 else {}
        return {"notices": self.notices, "files": self.files, **more}


class Notifying:
    """The outbox, and what is known of the account for it.

    Args:
        plan: who is told of what.
        ledger: holds the outbox.
        root: is told with each notice.
        desk: what the dispatcher does.
        submit: has a call made by the worker that delivers.
    """

    def __init__(
        self,
        plan: NoticePlan,
        *,
        ledger: Ledger,
        root: Path,
        desk: Desk,
        submit: Callable[[Callable[[], object]], None],
    ) -> None:
        self._plan = plan
        self._ledger = ledger
        self._desk = desk
        self._submit = submit
        self._writer = notify.Writer(ledger.id, root)
        self._lines = {sink: _Line() for sink in plan.outlets}
        self._news = AccountNews()
        self._given_up: dict[tuple[Sink | None, str], _Burst] = {}

    @property
    def due_at(self) -> float | None:
        """When something is to be told or tried next, on the monotonic clock."""
        times = [line.due_at for line in self._lines.values() if line.waiting and not line.is_busy]
        if self._is_wanted(Kind.ACCOUNT) and self._news.due_at is not None:
            times.append(self._news.due_at)
        times += [burst.due_at for burst in self._given_up.values() if burst.notices]
        return min(times, default=None)

    @property
    def is_awaited(self) -> bool:
        """Something waits that no try has failed for yet: ``run --once`` ends after it."""
        return any(line.is_awaited for line in self._lines.values())

    def recover(self, now: Instant) -> None:
        """Take up what an earlier daemon did not get told."""
        self.take_up(self._ledger.pending_notices())
        last = self._ledger.read_note(NOTE) if self._is_wanted(Kind.ACCOUNT) else None
        if last is not None:
            ago = min(max(0.0, now.wall - last["at"]), ACCOUNT_SECONDS)
            self._news = AccountNews(is_told_troubled=last["troubled"], told_at=now.monotonic - ago)

    def take_up(self, pending: Iterable[tuple[int, Sink]]) -> None:
        """Tell these too, which wait in the ledger."""
        gone: list[int] = []
        for notice_id, sink in pending:
            line = self._lines.get(sink)
            (line.waiting if line is not None else gone).append(notice_id)
        self._drop(gone, "nothing is set any more that could be told")

    # --- what happens -----------------------------------------------------------------------------

    def on_filed(self, job_file: JobFile, jobs: Sequence[Job], now: Instant) -> None:
        """A job file lies in done/ or failed/."""
        if self._is_wanted(notify.kind_of(job_file)):
            self._enter(self._writer.filed(job_file, jobs, now.wall), now)

    def on_in_doubt(self, job: Job, job_file: JobFile, now: Instant) -> None:
        """A person has to find out whether a job was paid."""
        if self._is_wanted(Kind.IN_DOUBT):
            self._enter(self._writer.in_doubt(job, job_file, now.wall), now)

    def on_account_troubled(self, reason: str, now: Instant) -> None:
        """The account is in trouble, which may have been told already."""
        self._news = self._news.troubled(reason, now.wall)
        self._tell_of_account(now)

    def on_account_well(self, now: Instant) -> None:
        """The account is well, as it may have been all the time."""
        self._news = self._news.well()
        self._tell_of_account(now)

    def _tell_of_account(self, now: Instant) -> None:
        due_at = self._news.due_at
        if not self._is_wanted(Kind.ACCOUNT) or due_at is None or now.monotonic < due_at:
            return
        self._enter(self._writer.account(self._news, now.wall), now)
        self._news = self._news.told(now.monotonic)
        self._desk.work.notes[NOTE] = {"troubled": self._news.is_told_troubled, "at": now.wall}

    def _is_wanted(self, kind: Kind) -> bool:
        return bool(self._lines) and kind in self._plan.kinds

    def _enter(self, told: tuple[Kind, dict[str, Any]], now: Instant) -> None:
        self._desk.work.notices += notify.rows(told, tuple(self._lines), now.wall)

    # --- the outbox -------------------------------------------------------------------------------

    def on_written(self, notices: Iterable[Notice], numbers: Iterable[int]) -> None:
        """The ledger has these notices now, under these numbers."""
        for notice, number in zip(notices, numbers, strict=True):
            self._lines[notice.sink].waiting.append(number)
        for sink, line in self._lines.items():
            self._drop(line.drop_oldest(MOST_KEPT), f"more than {MOST_KEPT} wait", sink)

    def start_due(self, now: Instant) -> None:
        """Say what is to be said of the account, and begin a try for every sink that is free."""
        self._tell_of_account(now)
        self._say_given_up(now.monotonic)
        for sink, line in self._lines.items():
            if line.waiting and not line.is_busy and line.due_at <= now.monotonic:
                line.is_busy = True
                self._desk.act(self._deed(sink, line.waiting[0]))

    def _deed(self, sink: Sink, number: int) -> Callable[[], None]:
        outlet = self._plan.outlets[sink]

        def begin() -> None:
            try:
                notice = self._ledger.notice(number)
            except LedgerUnavailable:
                self._submit(lambda: NoticeEnded(sink, None))
                return
            self._submit(lambda: notify.deliver(outlet, notice))

        return begin

    def on_ended(self, message: NoticeEnded, now: Instant) -> None:
        """A try has ended."""
        line, notice = self._lines[message.sink], message.notice
        line.is_busy = False
        if notice is None:
            line.due_at = now.monotonic + LEDGER_RETRY_SECONDS
        elif message.is_delivered:
            self._desk.work.notices_ended.append(notice.id)
            line.forget_first()
            line.reason = ""
            self._desk.log(_INFO, "notice.delivered", sink=message.sink, **_named(notice))
        elif message.is_final or notice.tries + 1 >= self._plan.tries:
            line.forget_first()
            line.reason = "" if message.is_final else message.reason
            self._give_up(notice, message)
        else:
            self._defer(line, notice, message, now)

    def _defer(self, line: _Line, notice: Notice, message: NoticeEnded, now: Instant) -> None:
        tries = notice.tries + 1
        self._desk.work.notice_tries[notice.id] = tries
        wait = back_off(tries, BACK_OFF_SECONDS, retry_after_seconds=message.retry_after_seconds)
        line.due_at = now.monotonic + wait
        if message.reason != line.reason:
            line.reason = message.reason
            self._desk.log(_WARNING, "notice.deferred", sink=message.sink, reason=message.reason, **_named(notice))

    # --- what is given up -------------------------------------------------------------------------

    def close(self) -> None:
        """Nothing more comes: say what was given up and is not said yet."""
        self._say_given_up(float("inf"))

    def _give_up(self, notice: Notice, message: NoticeEnded) -> None:
        burst = self._count_given_up([notice.id], message.reason, message.sink)
        burst.fields = {"tries": notice.tries + 1, **_named(notice)}
        _name(burst, notice)

    def _drop(self, numbers: Sequence[int], reason: str, sink: Sink | None = None) -> None:
        if not numbers:
            return
        burst = self._count_given_up(numbers, reason, sink)
        with suppress(LedgerUnavailable):  # then it is said without names
            for number in numbers[: MOST_NAMED - len(burst.files)]:
                _name(burst, self._ledger.notice(number))

    def _count_given_up(self, numbers: Sequence[int], reason: str, sink: Sink | None) -> _Burst:
        self._desk.work.notices_ended += numbers
        burst = self._given_up.setdefault((sink, reason), _Burst())
        burst.notices += len(numbers)
        return burst

    def _say_given_up(self, now: float) -> None:
        for (sink, reason), burst in list(self._given_up.items()):
            if burst.due_at > now:
                continue
            if not burst.notices:
                del self._given_up[sink, reason]
                continue
            named = {} if sink is None else {"sink": sink}
            self._desk.log(_ERROR, "notice.given_up", reason=reason, **named, **burst.line)
            self._given_up[sink, reason] = _Burst(said_at=now)


def _name(burst: _Burst, notice: Notice) -> None:
    file = notice.body.get("file")
    if file is not None and len(burst.files) < MOST_NAMED:
        burst.files.append(file)


def _named(notice: Notice) -> dict[str, str]:
    """What a log line says of it."""
    file = notice.body.get("file")
    return {"kind": notice.kind, "notice": notice.body["notice"]} | ({"file": file} if file is not None else {})
