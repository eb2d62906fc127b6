"""The scanner: one thread that looks, remembers, and says what is ready."""

from __future__ import annotations

import enum
import errno
import hashlib
import os
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar

import structlog

from daemon.core.display import display
from daemon.core.drop import Drop
from daemon.core.drop_name import PAUSE_NAME, is_defaults, is_text
from daemon.core.errors import BatchInvalid, RootUnavailable
from daemon.core.job_content import is_note
from daemon.core.messages import DropReady, Lying, PauseSeen, Reason, RootFound, RootLost, ScanEnded
from daemon.core.problem import Problem
from daemon.core.record import dataclass
from daemon.core.settle import Rules, Settling, Verdict, due, has_nul, judge, observe, restart, tried
from daemon.edges.inbox_watch.drop_file import DropFile, NotAPlainFile, Unreadable
from daemon.edges.inbox_watch.folder_defaults import FolderDefaults
from daemon.edges.inbox_watch.hints import Hints
from daemon.edges.inbox_watch.listing import is_paused, list_inbox
from daemon.edges.inbox_watch.roster import Entry, Place, Roster

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from pathlib import Path

    from daemon.core.batch import Batch
    from daemon.core.defaults import Defaults
    from daemon.core.drop import Fingerprint
    from daemon.core.messages import WatchMessage
    from daemon.edges.inbox_watch.hints import Hinted
    from daemon.edges.inbox_watch.listing import Listing
    from daemon.edges.inbox_watch.observer import InboxObserver

LOOKS_A_TURN: Final = 256  # then hints and questions have their turn
MOST_POSTED_BYTES: Final = 64 << 20  # that lie in the mailbox unclaimed; the rest stays on the disk
_SETTLE_SECONDS_LOCAL: Final = 2.0
_SETTLE_SECONDS_NETWORK: Final = 5.0
_RESCAN_SECONDS_WATCHED: Final = 30.0
_RESCAN_SECONDS_SCANNED: Final = 5.0
_HELD_SECONDS: Final = 1.0  # between two looks at a file that is being written
_BEHIND_SECONDS: Final = 1.0
_BREATHER_SECONDS: Final = 0.2  # between two scans that hints ask for
_SAY_SECONDS: Final = 1.0  # between two messages that differ only in what waits
_STOP_SECONDS: Final = 2.0
_HELD_LONG_SECONDS: Final = 30.0  # one look at the file system that lasts longer is worth a word
_STUCK_SECONDS: Final = 120.0  # the largest job file parses in a fraction of it

_BY_DEFAULTS: Final = frozenset({Reason.DEFAULTS_SETTLING, Reason.DEFAULTS_BROKEN})
_TOO_LARGE: Final = Problem("The file is too large for a folder's defaults.")
_HALF_COPIED: Final = Problem("The file looks half copied (NUL bytes): copy it into inbox/ again. Nothing was sent.")


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How inbox/ is watched.

    Attributes:
        inbox: the folder.
        observer: ``auto`` watches where the file system is local and scans elsewhere; ``native`` always watches;
            ``polling`` only scans.
        settle_seconds: how long a file must stay the same; None: 2 on a local file system, 5 on any other.
        rescan_seconds: how often all names are looked at; None: 30 where it is watched, 5 where it is not.
        grace_seconds: how much longer before a file that does not parse is called bad.
        max_bytes: a larger file is never read.
    """

    inbox: Path
    observer: Literal["auto", "native", "polling"]
    settle_seconds: float | None
    rescan_seconds: float | None
    grace_seconds: float
    max_bytes: int


class Reader(Protocol):
    """What the watch asks of the job files' grammar (`daemon.core.job_content.Grammar`)."""

    @property
    def base(self) -> Defaults:
        """What holds where no folder says anything."""

    def batch(self, name: str, content: bytes, defaults: Defaults) -> Batch:
        """The requests of a drop; raises BatchInvalid."""

    def defaults(self, content: bytes, where: str) -> Defaults:
        """What a folder's defaults say; raises BatchInvalid."""


class Mounted(Protocol):
    """What the watch asks of a file system (`daemon.edges.mounts.FileSystem`)."""

    @property
    def type(self) -> str: ...
    @property
    def is_local(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Pulse:
    """How the scanning thread is.

    Attributes:
        is_alive: it lives, and takes no longer than it should over what only depends on this program. Starting the
            program again mends what is not.
        held_since: monotonic seconds since when the file system has kept it waiting, where that is long: a file
            server that has frozen, which starting again would not thaw. None otherwise.
    """

    is_alive: bool
    held_since: float | None = None


class _Doing(enum.Enum):
    """What the scanning thread is at, with the moment that belongs to it."""

    LOOKING = enum.auto()  # at the file system, since
    PARSING = enum.auto()  # since
    WAITING = enum.auto()  # until


class InboxWatch:
    """Watches inbox/ and says which drops are ready.

    A drop is said once, and then not again before it was released, or claimed and another file stands there. `start`,
    `stop`, `pulse`, `wake`, `release`, and `forget` may be called from any thread and wait for nothing but, in `stop`,
    two seconds at most.

    Args:
        settings: see `WatchSettings`.
        reader: what drops and defaults say.
        post: takes a message; called on the scanning thread, must not block.
        check_root: raises RootUnavailable while the root is not to be trusted.
        identify: what folder a path leads to (`daemon.edges.mounts.identity`); raises OSError.
        file_system: what the path lies on (`daemon.edges.mounts.file_system`); raises OSError.
        clock: monotonic seconds.
        log: takes events.
    """

    def __init__(
        self,
        settings: WatchSettings,
        *,
        reader: Reader,
        post: Callable[[WatchMessage], None],
        check_root: Callable[[], None],
        identify: Callable[[Path], Hashable],
        file_system: Callable[[Path], Mounted],
        clock: Callable[[], float] = time.monotonic,
        log: structlog.typing.FilteringBoundLogger | None = None,
    ) -> None:
        self._settings = settings
        self._inbox = os.fspath(settings.inbox)
        self._reader = reader
        self._post = post
        self._check_root = check_root
        self._identify = identify
        self._file_system = file_system
        self._clock = clock
        self._log: structlog.typing.FilteringBoundLogger = log or structlog.get_logger()

        self._hints = Hints()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._doing = _Doing.LOOKING, float("-inf")  # written by the scanning thread, read by any
        self._listed_at: float | None = None  # the same
        self._lying = Lying()  # the same

        # All below belongs to the scanning thread.
        self._roster = Roster()
        self._folders = FolderDefaults(self._inbox, self._roster, reader.base, reader.defaults)
        self._defaults_seen: set[str] = set()  # in this turn
        self._twins_told: set[str] = set()
        self._hinted: dict[str, bool] = {}
        self._rules = Rules(
            _SETTLE_SECONDS_NETWORK if settings.settle_seconds is None else settings.settle_seconds,
            settings.grace_seconds,
            settings.max_bytes,
        )
        self._is_local = False
        self._observer: InboxObserver | None = None
        self._identity: Hashable | None = None
        self._was_started = False
        self._degraded = ""
        self._is_lost = False
        self._is_paused: bool | None = None
        self._unread: dict[str, str] = {}
        self._rescan_due = float("-inf")
        self._rescanned_at = float("-inf")
        self._is_fresh = False
        self._is_probed = False
        self._is_asked = True
        self._was_idle: bool | None = None
        self._said_at = float("-inf")

    # --- for any thread -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to watch; a second call does nothing."""
        if self._thread is None:
            self._doing = _Doing.LOOKING, self._clock()
            self._thread = threading.Thread(target=self._run, name="inbox-watch", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the watch. A scanning thread that a frozen file server holds is left behind; it says nothing more."""
        self._stopping.set()
        self._hints.nudge()
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)

    def pulse(self) -> Pulse:
        """Whether the scanning thread lives and turns; cheap, and true of this moment only."""
        doing, moment = self._doing
        if self._thread is None or not self._thread.is_alive():
            return Pulse(is_alive=False)
        if doing is _Doing.LOOKING:
            is_held = self._clock() > moment + _HELD_LONG_SECONDS
            return Pulse(is_alive=True, held_since=moment if is_held else None)
        return Pulse(is_alive=self._clock() <= moment + _STUCK_SECONDS)

    @property
    def listed_at(self) -> float | None:
        """When all of inbox/ was looked through last, in monotonic seconds; None before the first time."""
        return self._listed_at

    @property
    def lying(self) -> Lying:
        """What lay in inbox/ when that was said last; replaced as a whole, so that any thread may read it."""
        return self._lying

    def wake(self) -> None:
        """Scan everything now, then say what is left (ScanEnded), even if nothing changed."""
        self._hints.ask()

    def release(self, name: str, *, delay_seconds: float = 0.0) -> None:
        """A drop that was said could not be claimed: let it settle again, and say it again, then ScanEnded.

        Args:
            name: as in the Drop.
            delay_seconds: leave it alone for so long at least.
        """
        self._hints.release(name, delay_seconds)

    def forget(self, name: str) -> None:
        """A drop that was said was claimed: another file under its name is a new drop."""
        self._hints.forget(name)

    # --- the scanning thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._doing = _Doing.LOOKING, self._clock()
                next_due = self._turn_safely()
                self._doing = _Doing.WAITING, max(next_due, self._clock())
                self._hints.wait(next_due - self._clock())
        finally:
            self._stop_observer()

    def _turn_safely(self) -> float:
        try:
            return self.scan_once(self._clock())
        except Exception as error:  # noqa: BLE001 - the top of this thread: without it inbox/ would be dead
            self._log.exception("scan.failed", folder=".", reason=f"{type(error).__name__}: {error}")
            return self._clock() + _HELD_SECONDS

    def scan_once(self, now: float) -> float:
        """One turn: take the hints, scan everything if that is due, look at what is due, say what changed.

        Args:
            now: monotonic seconds.

        Returns:
            When the next turn is due, in monotonic seconds; ``now`` or earlier for at once.
        """
        self._is_fresh = self._is_probed = False
        self._defaults_seen.clear()
        self._take_hints(now)
        if now >= self._rescan_due:
            self._rescan()
        if self._is_lost:
            self._hinted.clear()
            return self._rescan_due
        self._look_at_some(now)
        self._say(now)
        return self._next_turn(now)

    def _take_hints(self, now: float) -> None:
        hinted = self._hints.take()
        self._is_asked = self._is_asked or hinted.is_asked
        if hinted.is_asked:
            self._rescan_due = now
        elif hinted.is_everything:
            self._rescan_due = min(self._rescan_due, max(now, self._rescanned_at + _BREATHER_SECONDS))
        self._take_back(hinted, now)
        self._hinted.update(hinted.names)

    def _take_back(self, hinted: Hinted, now: float) -> None:
        """What the dispatcher says of drops that it was given."""
        for name in hinted.forgotten:
            entry = self._roster.get(name)
            if entry is not None and entry.place is Place.POSTED:
                claimed = replace(entry, place=Place.CLAIMED, due=now, posted_bytes=0, told=frozenset())
                self._roster.put(name, claimed)
        for name, delay_seconds in hinted.released.items():
            entry = self._roster.get(name)
            if entry is None or entry.place is Place.WAITING or entry.settling is None:
                self._hinted.setdefault(name, False)
            else:
                settling = restart(entry.settling, now, delay_seconds=delay_seconds)
                self._wait(name, Reason.SETTLING, settling, due=due(settling, self._rules))

    def _look_at_some(self, now: float) -> None:
        for _ in range(LOOKS_A_TURN):
            if self._stopping.is_set() or self._is_lost:
                return
            if self._hinted:
                name = next(iter(self._hinted))
                self._follow(name, was_renamed=self._hinted.pop(name))
            elif (due_name := self._roster.pop_due(now)) is not None:
                self._look(due_name)
            else:
                return

    def _next_turn(self, now: float) -> float:
        if self._hinted:
            return now
        times = [self._rescan_due]
        if (next_due := self._roster.next_due()) is not None:
            times.append(next_due)
        if self._roster.is_changed:
            times.append(self._said_at + _SAY_SECONDS)
        return min(times)

    # --- one name -----------------------------------------------------------------------------------------------

    def _follow(self, name: str, *, was_renamed: bool) -> None:
        if name != PAUSE_NAME:
            self._look(name, was_renamed=was_renamed)
            return
        try:
            self._say_pause(is_paused=is_paused(self._inbox))
        except OSError as error:
            self._lose(_plain(error))

    def _look(self, name: str, *, was_renamed: bool = False) -> None:
        if is_defaults(name):
            self._look_at_defaults(name, was_renamed=was_renamed)
        elif self._is_note(name):
            self._roster.remove(name)
        else:
            self._look_at(name, was_renamed=was_renamed)

    def _look_at(self, name: str, *, was_renamed: bool) -> None:
        entry = self._roster.get(name)
        if entry is not None and entry.place is Place.POSTED:
            return
        asked_at = self._clock()
        self._doing = _Doing.LOOKING, asked_at
        try:
            with DropFile(self._inbox, name) as file:
                self._weigh(name, file, asked_at, was_renamed=was_renamed)
        except (FileNotFoundError, NotADirectoryError):
            self._miss(name)
        except NotAPlainFile as found:
            self._leave_lying(name, found)
        except Unreadable as found:
            self._cannot_read(name, found.error, found.fingerprint)
        except BlockingIOError:  # somebody has a write lease on it
            self._wait(name, Reason.WRITING, None, due=self._clock() + _HELD_SECONDS)
        except OSError as error:
            self._cannot_read(name, error, None)

    def _weigh(self, name: str, file: DropFile, asked_at: float, *, was_renamed: bool) -> None:
        entry = self._roster.get(name)
        previous = entry.settling if entry is not None else None
        if entry is not None and entry.place is Place.CLAIMED:
            if previous is not None and previous.fingerprint == file.fingerprint:
                return  # a network's cache still shows what was claimed
            previous = None
        if entry is not None and entry.is_read_already(file.fingerprint):
            return
        settling = observe(previous, file.fingerprint, self._clock(), was_renamed=was_renamed)
        match judge(settling, self._rules, asked_at):
            case Verdict.EMPTY:
                self._wait(name, Reason.EMPTY, settling)
            case Verdict.WAIT:
                self._wait_quietly(name, settling)
            case Verdict.READ | Verdict.TOO_LARGE as verdict:
                self._take_in(name, file, settling, verdict)

    def _wait_quietly(self, name: str, settling: Settling) -> None:
        reason = Reason.SETTLING if settling.trial is None else Reason.MALFORMED
        self._wait(name, reason, settling, due=due(settling, self._rules))

    def _take_in(self, name: str, file: DropFile, settling: Settling, verdict: Verdict) -> None:
        if self._is_local and file.is_held_for_writing():
            now = self._clock()
            self._wait(name, Reason.WRITING, restart(settling, now), due=now + _HELD_SECONDS)
        elif is_defaults(name):
            self._learn(name, file, settling, verdict)
        elif not self._may_have_defaults(name, settling):
            return
        elif verdict is Verdict.TOO_LARGE:
            self._refuse(name, settling)
        elif self._roster.posted_bytes >= MOST_POSTED_BYTES:
            self._wait(name, Reason.BEHIND, settling, due=self._clock() + _BEHIND_SECONDS)
        elif (content := file.read()) is not None:
            self._try(name, settling, content)
        else:
            self._begin_anew(name, file)

    def _begin_anew(self, name: str, file: DropFile) -> None:
        self._wait_quietly(name, restart(Settling(file.look_again(), 0.0), self._clock()))

    def _try(self, name: str, settling: Settling, content: bytes) -> None:
        digest = hashlib.sha256(content).hexdigest()
        fingerprint, trial = settling.fingerprint, settling.trial
        defaults = self._folders.found(name).defaults
        tried_as = digest + defaults.mark
        if trial is not None and trial.digest == tried_as:
            self._say_ready(settling, Drop(name, fingerprint, content, digest, None, trial.problems))
            return
        try:
            batch = self._parsed(content, lambda: self._reader.batch(name, content, defaults))
        except BatchInvalid as invalid:
            self._wait_quietly(name, tried(settling, tried_as, invalid.problems, self._clock()))
        else:
            self._say_ready(settling, Drop(name, fingerprint, content, digest, batch))

    def _parsed(self, content: bytes, parse: Callable[[], T]) -> T:
        if has_nul(content):
            raise BatchInvalid([_HALF_COPIED])
        self._doing = _Doing.PARSING, self._clock()
        try:
            return parse()
        finally:
            self._doing = _Doing.LOOKING, self._clock()

    def _refuse(self, name: str, settling: Settling) -> None:
        problem = Problem(
            f"The file is too large: {settling.fingerprint.size:,} bytes, and a job file has "
            f"{self._rules.max_bytes:,} at most. It was not read, and nothing was sent."
        )
        self._say_ready(settling, Drop(name, settling.fingerprint, b"", "", None, (problem,)))

    def _say_ready(self, settling: Settling, drop: Drop) -> None:
        entry = Entry(Place.POSTED, Reason.SETTLING, self._clock(), settling, posted_bytes=len(drop.content))
        self._roster.put(drop.name, entry)
        self._say_to_mailbox(DropReady(drop))

    # --- the folders' defaults ----------------------------------------------------------------------------------

    def _look_at_defaults(self, name: str, *, was_renamed: bool = False) -> None:
        """A look, and whatever they held back is looked at again where it has changed them."""
        self._defaults_seen.add(name)
        before = self._roster.get(name)
        self._look_at(name, was_renamed=was_renamed)
        self._folders.note(name)
        after = self._roster.get(name)
        if _standing(before) != _standing(after):
            self._look_at_held_again(name.rpartition("/")[0])

    def _look_at_held_again(self, folder: str) -> None:
        """What a folder's defaults held back may go on; texts that nobody took for jobs are found by a scan."""
        now, prefix = self._clock(), f"{folder}/" if folder else ""
        for name in self._roster.names():
            entry = self._roster.get(name)
            if entry is not None and entry.reason in _BY_DEFAULTS and name.startswith(prefix):
                free = replace(entry, reason=Reason.SETTLING, since=now, due=now, detail="")
                self._roster.put(name, free)
        self._rescan_due = min(self._rescan_due, max(now, self._rescanned_at + _BREATHER_SECONDS))

    def _learn(self, name: str, file: DropFile, settling: Settling, verdict: Verdict) -> None:
        """Defaults have settled: read them once."""
        content = b"" if verdict is Verdict.TOO_LARGE else file.read()
        if content is None:
            self._begin_anew(name, file)
            return
        problems: tuple[Problem, ...] = (_TOO_LARGE,)
        if verdict is not Verdict.TOO_LARGE:
            try:
                problems = self._parsed(content, lambda: self._folders.learn(name, content))
            except BatchInvalid as half_copied:
                problems = half_copied.problems
        if problems:
            texts = [str(problem) for problem in problems]
            self._log.warning("defaults.broken", file=display(name), problems=texts)
            self._wait(name, Reason.BROKEN, settling, detail="\n".join(texts))
            return
        self._log.info("defaults.read", file=display(name))
        self._roster.put(name, Entry(Place.SOUND, Reason.SETTLING, self._clock(), settling))
        self._folders.note(name)
        twins = self._folders.twins_words(name)
        if twins and twins not in self._twins_told:
            self._twins_told.add(twins)
            self._log.warning("defaults.broken", file=display(name), problems=[twins])

    def _may_have_defaults(self, name: str, settling: Settling) -> bool:
        """Whether the drop may be read now, with what its folder's defaults say at this very moment."""
        for other in self._folders.names(name):
            if other not in self._defaults_seen:
                self._look_at_defaults(other)
        found = self._folders.found(name)
        reason = Reason.DEFAULTS_SETTLING if self._is_lost else found.reason
        if reason is not None:
            self._wait(name, reason, settling, detail=found.detail)
        elif is_note(name, found.defaults):
            self._roster.remove(name)
        else:
            return True
        return False

    def _is_note(self, name: str) -> bool:
        """Whether the name is that of a text that is nobody's job, by what is known now."""
        entry = self._roster.get(name) if is_text(name) else None
        is_ours = entry is not None and entry.place is not Place.WAITING
        return is_text(name) and not is_ours and self._folders.is_note(name)

    def _miss(self, name: str) -> None:
        """The name is gone; defaults count as changing for a moment more, for some programs save in two steps."""
        entry, now = self._roster.get(name), self._clock()
        if entry is None or not is_defaults(name):
            self._roster.remove(name)
            return
        is_missed = entry.place is Place.WAITING and entry.settling is None
        since = entry.since if is_missed else now
        until = since + self._rules.settle_seconds
        if now >= until:
            self._roster.remove(name)
        else:
            self._roster.put(name, Entry(Place.WAITING, Reason.SETTLING, since, due=until))

    # --- what is left lying -------------------------------------------------------------------------------------

    def _wait(
        self, name: str, reason: Reason, settling: Settling | None, due: float | None = None, detail: str = ""
    ) -> None:
        entry = replace(self._entry(name, reason, settling, due), detail=detail)
        key = (reason.value, *_file_of(settling))
        if reason not in {Reason.NOT_A_FILE, Reason.UNREADABLE} and key not in entry.told:
            self._log.debug("drop.waiting", file=display(name), reason=reason.value)
        self._roster.put(name, replace(entry, told=entry.told | {key}))

    def _entry(self, name: str, reason: Reason, settling: Settling | None, due: float | None) -> Entry:
        before = self._roster.get(name)
        if before is None or before.place is not Place.WAITING:
            return Entry(Place.WAITING, reason, self._clock(), settling, due)
        since = before.since if before.reason is reason else self._clock()
        return Entry(Place.WAITING, reason, since, settling, due, before.told)

    def _leave_lying(self, name: str, found: NotAPlainFile) -> None:
        settling = Settling(found.fingerprint, self._clock())
        if self._is_news(name, Reason.NOT_A_FILE, settling):
            self._log.warning("drop.ignored", file=display(name), reason=found.what)
        self._wait(name, Reason.NOT_A_FILE, settling)

    def _cannot_read(self, name: str, error: OSError, fingerprint: Fingerprint | None) -> None:
        if error.errno not in {errno.EACCES, errno.EPERM} and not self._is_root_there():
            return
        settling = None if fingerprint is None else Settling(fingerprint, self._clock())
        if self._is_news(name, Reason.UNREADABLE, settling):
            reason = error.strerror or str(error)
            self._log.warning("drop.unreadable", file=display(name), reason=reason, cure=_cure(error, settling))
        self._wait(name, Reason.UNREADABLE, settling)

    def _is_news(self, name: str, reason: Reason, settling: Settling | None) -> bool:
        entry = self._roster.get(name)
        return entry is None or (reason.value, *_file_of(settling)) not in entry.told

    # --- all names ----------------------------------------------------------------------------------------------

    def _probe(self) -> Hashable:
        """Which folder inbox/ is.

        Raises:
            RootUnavailable: the root is not to be trusted.
            OSError: inbox/ is not there, or may not be searched.
        """
        self._check_root()
        os.scandir(self._inbox).close()
        os.stat(f"{self._inbox}/.")  # noqa: PTH116 - a Path drops the dot, and with it the leave to search
        return self._identify(self._settings.inbox)

    def _is_root_there(self) -> bool:
        """Whether a failure is one file's alone; asked once a turn, for thousands may fail at once."""
        if not (self._is_fresh or self._is_probed):
            self._is_probed = True
            try:
                self._probe()
            except (RootUnavailable, OSError) as error:
                self._lose(_plain(error))
        return not self._is_lost

    def _rescan(self) -> None:
        """Scan everything, or find that the root is lost."""
        self._note_rescan()
        try:
            identity = self._probe()
            change = self._watch_folder(identity)
            listing = list_inbox(self._inbox, self._stopping.is_set)
            is_same = self._identify(self._settings.inbox) == identity
        except (RootUnavailable, OSError) as error:
            self._lose(_plain(error))
        else:
            self._note_rescan()
            self._tell_of_watching(change)
            if not is_same:
                self._hints.look_at_everything()
            elif listing.is_whole:
                self._find()
                self._take_stock(listing)
                self._is_fresh = True
                self._listed_at = self._clock()

    def _note_rescan(self) -> None:
        self._rescanned_at = self._clock()
        self._rescan_due = self._rescanned_at + self._rescan_seconds

    @property
    def _rescan_seconds(self) -> float:
        if self._settings.rescan_seconds is not None:
            return self._settings.rescan_seconds
        return _RESCAN_SECONDS_SCANNED if self._observer is None else _RESCAN_SECONDS_WATCHED

    def _lose(self, reason: str) -> None:
        self._stop_observer()
        self._identity = None
        self._rescanned_at = self._clock()
        self._rescan_due = self._rescanned_at + min(self._rescan_seconds, _RESCAN_SECONDS_SCANNED)
        if not self._is_lost:
            self._is_lost = True
            self._log.warning("scan.failed", folder=".", reason=display(reason))
            self._say_to_mailbox(RootLost(reason))

    def _find(self) -> None:
        if not self._is_lost:
            return
        self._is_lost = False
        self._is_asked = True
        self._say_to_mailbox(RootFound())
        now = self._clock()
        for name in self._roster.names():  # nobody saw whether they stayed the same meanwhile
            entry = self._roster.get(name)
            if entry is not None and entry.is_pending and entry.settling is not None:
                self._wait_quietly(name, restart(entry.settling, now))

    def _take_stock(self, listing: Listing) -> None:
        now = self._clock()
        for name in listing.defaults:
            self._look_soon(name, now)
            self._folders.note(name)
        notes = {name for name in listing.drops if self._is_note(name)}
        listing.drops -= notes
        listing.strangers |= notes
        for name in listing.drops:
            self._look_soon(name, now)
        for name in listing.conflicts:
            self._leave_conflict(name, now)
        for name in listing.results:
            self._leave_result(name, now)
        for name in self._roster.gone(listing.drops | listing.conflicts | listing.defaults | listing.results):
            if is_defaults(name) and not (listing.is_unknown(name) or listing.has_spelled_otherwise(name)):
                self._look_soon(name, now)
            elif not listing.is_unknown(name):
                self._roster.remove(name)
                self._folders.note(name)
        for folder in listing.unread.keys() - self._unread.keys():
            self._log.warning("scan.failed", folder=display(folder), reason=listing.unread[folder])
        self._unread = listing.unread
        self._note_strangers(listing)
        self._say_pause(is_paused=listing.is_paused)

    def _note_strangers(self, listing: Listing) -> None:
        """What nobody will ever take is no news for the dispatcher, but for people."""
        strangers, count = listing.first_strangers(), len(listing.strangers)
        unread = tuple(sorted(listing.unread.items()))
        lying = replace(self._lying, strangers=strangers, stranger_count=count, unread=unread)
        if lying != self._lying:
            self._lying = lying
            self._roster.is_changed = True

    def _look_soon(self, name: str, now: float) -> None:
        entry = self._roster.get(name)
        if entry is None:
            self._roster.put(name, Entry(Place.WAITING, Reason.SETTLING, now, due=now))
        elif entry.due is None and entry.place is not Place.POSTED:
            self._roster.put(name, replace(entry, due=now))

    def _leave_result(self, name: str, now: float) -> None:
        if self._roster.get(name) is None:
            self._log.warning("drop.ignored", file=display(name), reason=Reason.RESULT_TABLE.value)
            self._roster.put(name, Entry(Place.WAITING, Reason.RESULT_TABLE, now))

    def _leave_conflict(self, name: str, now: float) -> None:
        if self._roster.get(name) is None:
            self._log.warning("drop.conflict_copy", file=display(name))
            self._roster.put(name, Entry(Place.WAITING, Reason.CONFLICT_COPY, now))

    # --- the observer -------------------------------------------------------------------------------------------

    def _watch_folder(self, identity: Hashable) -> str:
        """See that the right folder is watched, and by living threads; why it was not, or nothing."""
        change = ""
        is_another = identity != self._identity
        ailment = "" if self._observer is None else self._observer.ailment
        if is_another:
            self._learn_rules()
        if is_another or ailment or (self._observer is None and self._degraded):
            self._stop_observer()
            self._start_observer()
            change = ailment or self._why_rebuilt(is_another=is_another)
        self._identity = identity
        if self._observer is not None and self._observer.shortage:
            self._degrade(self._observer.shortage)
        return change

    def _why_rebuilt(self, *, is_another: bool) -> str:
        if self._is_lost:
            return "inbox/ is back"
        return "inbox/ is another folder" if is_another else "inotify watches are free again"

    def _learn_rules(self) -> None:
        self._is_local = self._file_system(self._settings.inbox).is_local
        default = _SETTLE_SECONDS_LOCAL if self._is_local else _SETTLE_SECONDS_NETWORK
        chosen = self._settings.settle_seconds
        self._rules = replace(self._rules, settle_seconds=default if chosen is None else chosen)

    def _start_observer(self) -> None:
        wish = self._settings.observer
        if wish == "polling" or (wish == "auto" and not self._is_local):
            return
        try:
            self._observer = _new_observer(self._inbox, self._hints)
        except Exception as error:  # noqa: BLE001 - whatever ails the observer's library, the scans go on
            self._degrade(getattr(error, "strerror", None) or str(error))
        else:
            self._degraded = ""

    def _degrade(self, reason: str) -> None:
        if reason != self._degraded:
            self._degraded = reason
            self._log.warning("watch.degraded", inbox=display(self._inbox), reason=reason)

    def _stop_observer(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer = None

    def _tell_of_watching(self, change: str) -> None:
        observer = "scans" if self._observer is None else "native"
        if not self._was_started:
            self._was_started = True
            self._log.info(
                "watch.started",
                inbox=display(self._inbox),
                observer=observer,
                file_system=self._file_system(self._settings.inbox).type,
                settle_seconds=self._rules.settle_seconds,
                rescan_seconds=self._rescan_seconds,
            )
        elif change and (self._observer is not None or not self._degraded):
            self._log.warning("watch.rebuilt", inbox=display(self._inbox), observer=observer, reason=change)

    # --- what is said -------------------------------------------------------------------------------------------

    def _say_to_mailbox(self, message: WatchMessage) -> None:
        if not self._stopping.is_set():
            self._post(message)

    def _say_pause(self, *, is_paused: bool) -> None:
        if is_paused != self._is_paused:
            self._is_paused = is_paused
            self._say_to_mailbox(PauseSeen(is_paused))

    def _say(self, now: float) -> None:
        """What is left, if that is new; that nothing is left, only on the word of a scan in this very turn."""
        if self._seems_idle and (self._is_asked or not self._was_idle) and not self._is_fresh:
            self._rescan()
        if self._is_lost:
            return
        is_idle = self._seems_idle and (self._is_fresh or self._was_idle is True)
        is_news = self._roster.is_changed and now >= self._said_at + _SAY_SECONDS
        if self._is_asked or is_idle is not self._was_idle or is_news:
            count, waiting = self._roster.waiting()
            self._lying = replace(self._lying, waiting=waiting, waiting_count=count)
            self._say_to_mailbox(ScanEnded(waiting, count, is_idle))
            self._was_idle, self._said_at = is_idle, now
            self._is_asked = self._roster.is_changed = False

    @property
    def _seems_idle(self) -> bool:
        return self._roster.is_idle and not self._hinted


def _new_observer(inbox: str, hints: Hints) -> InboxObserver:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "no inotify on this system")
    from daemon.edges.inbox_watch.observer import InboxObserver  # noqa: PLC0415 - imports what only Linux has

    return InboxObserver(inbox, hints)


def _plain(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)


def _standing(entry: Entry | None) -> tuple[object, ...]:
    """What of an entry of defaults matters to what they hold back."""
    if entry is None:
        return ()
    fingerprint = entry.settling.fingerprint if entry.settling is not None else None
    return entry.place, entry.reason, entry.detail, fingerprint


def _file_of(settling: Settling | None) -> tuple[int, int]:
    """Which file it is, whatever has been written to it."""
    return (0, 0) if settling is None else (settling.fingerprint.device, settling.fingerprint.inode)


def _cure(error: OSError, settling: Settling | None) -> str:
    if error.errno not in {errno.EACCES, errno.EPERM}:
        return "look at the disk or the server"
    return "chmod a+rx on its folder" if settling is None else "chmod a+r on the file"
