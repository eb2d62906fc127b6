"""The brain: one turn after another, decide, record, and only then act.

A turn takes what is in the mailbox, starts what is due, writes all changes to the ledger in one transaction, and hands
the deeds that depend on them to the workers only after that. So the ledger knows before the world is asked, and again
after it has answered. Recovery is the same turn, run on what the ledger holds at the start.

The dispatcher alone owns the ledger and orders every move of a job file; the moves themselves are made by one filing
worker, so that a slow or frozen share never delays a poll. Workers report one message each.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections import deque
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from daemon.allowance import LEASED_AT_ONCE, NO_LIMITS, Allowance, DailyLimits
from daemon.allowance import NOTE as LIMITED
from daemon.core.allowance import utc_day
from daemon.core.display import display
from daemon.core.drop_name import Kind, kind
from daemon.core.errors import LedgerConflict, LedgerLost, LedgerRefused, LedgerUnavailable, SpoolError
from daemon.core.folder_trouble import FolderWaits
from daemon.core.gate import PROBE_SECONDS, Gate, Trouble
from daemon.core.job import (
    Deferred,
    Downloaded,
    Event,
    Exported,
    ExportStarted,
    GaveUp,
    InDoubt,
    Job,
    Progressed,
    Refused,
    State,
    advance,
)
from daemon.core.job_file import FileState, JobFile, Outcome
from daemon.core.messages import (
    DropReady,
    LedgerHeard,
    LifelineCut,
    LifelineMended,
    PauseSeen,
    PeerLost,
    PeersSeen,
    RootFound,
    RootLost,
    ScanEnded,
)
from daemon.core.model_check import Verdict
from daemon.core.patience import Patience
from daemon.core.record import dataclass
from daemon.core.report import (
    CatalogueRead,
    ClaimEnded,
    ClaimsEnded,
    DownloadEnded,
    ExportEnded,
    FilingEnded,
    Looked,
    LooksEnded,
    NoticeEnded,
    PageEnded,
    Probed,
    ProjectsDescribed,
    ProjectsListed,
    Rendered,
    Stop,
    Troubled,
    WarmedUp,
)
from daemon.core.schedule import (
    EXPORTS_AT_ONCE,
    LOOKERS,
    LOOKS_SECONDS,
    REFUSALS_IN_A_ROW,
    Instant,
    back_off,
    is_past_deadline,
    looks_alone,
    looks_at_once,
    next_look,
)
from daemon.core.suspicion import Suspicion
from daemon.core.video_name import default_template, numbered
from daemon.edges.ledger import NOTHING_EARLIER, Entry, Work
from daemon.lending import Lending
from daemon.models_watch import NOTE, ModelsWatch
from daemon.notifying import NoticePlan, Notifying
from daemon.pipeline import claim, export, fetch, file_away, trace
from daemon.pruning import Pruning
from daemon.room import Room
from daemon.status_watch import StatusWatch
from daemon.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from daemon.core.allowance import Day, Limited
    from daemon.core.drop import Drop
    from daemon.core.folder_trouble import FolderTrouble
    from daemon.edges.ledger import Borrowed, Ledger, Taken
    from daemon.edges.spool import Spool
    from daemon.models_watch import ModelsSource
    from daemon.status_watch import StatusSource

FLUSH_SECONDS: Final = 1.0
"""Progress that changes nothing else is written so often at most."""
RUSH: Final = 6
"""With so many exports and downloads under way the next turn may wait a moment for more messages."""
LEDGER_RETRY_SECONDS: Final = 1.0
ELSEWHERE_SECONDS: Final = 0.5
"""A drop that follows one which another daemon is just moving is looked at again after so long."""
ONCE_PATIENCE_SECONDS: Final = 300.0
"""``run --once`` ends when the cloud or the root has been away for so long; all of it is resumable."""
STOP_LEDGER_SECONDS: Final = 20.0
"""After SIGTERM, a ledger that cannot be written is waited for so long."""
SHORT_DOWNLOAD_SECONDS: Final = 1.0
"""Where the last download took less, from our order to our hearing of its end, the next ones are ordered ahead."""
LINK_SECONDS: Final = 60.0
"""A link that has waited longer for a free slot is asked for again."""
STOP_SECONDS: Final = 3.0
"""After SIGTERM, downloads and moves that do not end are waited for so long; exports are waited for until they end."""
STILL_LOOKS: Final = 5
"""A render that has not moved for so many looks is asked about in another way, and again after as many."""
REFUSALS_A_TURN: Final = 10
"""So many drops are refused by the list of models in one transaction at most."""
CLAIMS_A_TURN: Final = 100
"""So many drops are entered in one transaction at most, so that a flood of files does not delay a poll."""
JOBS_A_TURN: Final = 3000
"""And no further one once they have so many jobs."""


class Cloud(export.Exporter, fetch.Fetcher, trace.Tracer, Protocol):
    """What the stages need of the cloud."""


class Watch(Protocol):
    """What the dispatcher says to the scanner."""

    def release(self, name: str) -> None:
        """A drop that was posted could not be claimed: look at it again."""

    def forget(self, name: str) -> None:
        """A drop that was posted was claimed: another file of that name is a new drop."""

    def wake(self) -> None:
        """Look now."""


class Crew(Protocol):
    """The workers: each call is made by one of them, and what it returns comes back as a message, but for None."""

    def export(self, call: Callable[[], object]) -> None:
        """Make an export."""

    def look(self, call: Callable[[], object]) -> None:
        """Make a look, or a probe."""

    def look_together(self, call: Callable[[], Iterable[object]]) -> None:
        """Make many looks, each message of which counts when it is there."""

    def download(self, call: Callable[[], object]) -> None:
        """Make a download."""

    def file(self, call: Callable[[], object]) -> None:
        """Move files; one after the other, in this order."""

    def errand(self, call: Callable[[], object]) -> None:
        """Ask for something that no video waits for."""

    def notify(self, call: Callable[[], object]) -> None:
        """Deliver a notice; one after the other."""

    def page(self, call: Callable[[], object]) -> None:
        """Write a page about what is going on; one after the other."""


class Log(Protocol):
    """What the dispatcher needs of a logger."""

    def log(self, level: int, event: str, **fields: Any) -> Any:
        """One line."""


class Meter(Protocol):
    """Who counts what happens. Called on the dispatcher's thread; never fails, never waits."""

    def entered(self, event: str, fields: Mapping[str, Any]) -> None:
        """An entry is in the ledger."""

    def exported(self, outcome: Exported | Deferred | Refused | InDoubt | Troubled) -> None:
        """An export was answered, or will never be."""

    def looked(self, late_seconds: float) -> None:
        """A look has ended, so long after it was due."""

    def deferred(self, outcome: Deferred | Troubled) -> None:
        """A look, a download, or the move of a job file has to be made again."""

    def made(self, seconds: float) -> None:
        """A video is there, so long after its job file was claimed."""


class _Unmetered:
    """Counts nothing."""

    def entered(self, event: str, fields: Mapping[str, Any]) -> None:
        pass

    def exported(self, outcome: object) -> None:
        pass

    def looked(self, late_seconds: float) -> None:
        pass

    def deferred(self, outcome: object) -> None:
        pass

    def made(self, seconds: float) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator set.

    Attributes:
        max_rendering: renders in flight at once.
        poll_seconds: between two looks at one render.
        render_timeout_seconds: after which a render without an end is given up.
        downloads: at once.
        video_name: template, None for the default.
        check_models: models and clothes that the list does not have are refused before they are paid.
        daily: what may be ordered on one day.
        keep_days: what was filed away longer ago is forgotten; None for never.
    """

    max_rendering: int = 20
    poll_seconds: float = 3.0
    render_timeout_seconds: float = 3600.0
    downloads: int = 4
    video_name: str | None = None
    check_models: bool = True
    daily: DailyLimits = NO_LIMITS
    keep_days: int | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What is going on, in figures.

    Attributes:
        queued: jobs that wait for their export.
        exporting: exports in flight.
        rendering: renders in flight.
        max_rendering: as many at once are allowed.
        downloading: downloads under way, or about to begin.
        done: jobs since the start of this daemon.
        failed: jobs since the start of this daemon.
        trouble: what is wrong with the account, None for nothing.
        cloud_reason: why the cloud cannot be reached, None where it can.
        root_reason: why the root is not to be trusted, None where it is.
        is_paused: ``inbox/PAUSE`` is there.
        is_ledger_away: the ledger cannot be written.
        is_stopping: asked to stop.
        tracing: exports that were not answered and are looked for.
        files: job files that are claimed, or just about to be, and not filed away yet.
        limited: why nothing more is ordered today; None where it is.
        folders: what keeps files and videos waiting for our own folders; None for nothing, or while the root is lost.
        peers: other daemons that have the same ledger and live.
        cut_reason: why the ledger does not know that we live, where several daemons have it; None where it does.
    """

    queued: int
    exporting: int
    rendering: int
    max_rendering: int
    downloading: int
    done: int
    failed: int
    trouble: str | None
    cloud_reason: str | None
    root_reason: str | None
    is_paused: bool
    is_ledger_away: bool
    is_stopping: bool
    tracing: int = 0
    files: int = 0
    limited: Limited | None = None
    folders: FolderTrouble | None = None
    peers: int = 0
    cut_reason: str | None = None


@dataclass(slots=True)
class _Plan:
    """What is to become of some drops: those that are claimed, each with its claim, and those that wait.

    Held is what may continue jobs that another daemon is just claiming a file for.
    """

    claimed: list[Drop] = field(default_factory=list)
    claims: list[tuple[JobFile, list[Job]]] = field(default_factory=list)
    awaiting: list[Drop] = field(default_factory=list)
    held: list[Drop] = field(default_factory=list)


_NEVER: Final = float("inf")
_DEBUG, _INFO, _WARNING, _ERROR = 10, 20, 30, 40
_LEVELS: Final = {
    "job.deferred": _WARNING,
    "job.refused": _ERROR,
    "job.in_doubt": _ERROR,
    "job.gave_up": _ERROR,
    "job.traced": _WARNING,
    "job.adopted": _WARNING,
    "batch.invalid": _WARNING,
}


class Dispatcher:
    """See the module. Everything here runs on one thread.

    Args:
        ledger: the record.
        spool: the folders.
        studio: the cloud.
        watch: the scanner.
        crew: the workers.
        limits: what the operator set.
        log: one line for each ledger entry, and for what else happens.
        models: the list of models; None where there is none.
        meter: counts what happens; None for nobody.
        notices: who is told of what; None for nobody.
        pages: where status.html comes from; None for none.
        calendar: the day of a moment, for daily limits.
        is_once: end when everything that is there has been worked off.
    """

    def __init__(  # noqa: PLR0915 - all of its state, declared in one place
        self,
        *,
        ledger: Ledger,
        spool: Spool,
        studio: Cloud,
        watch: Watch,
        crew: Crew,
        limits: Limits,
        log: Log,
        models: ModelsSource | None = None,
        meter: Meter | None = None,
        notices: NoticePlan | None = None,
        pages: StatusSource | None = None,
        calendar: Callable[[float], Day] = utc_day,
        is_once: bool = False,
    ) -> None:
        self._ledger = ledger
        self._spool = spool
        self._studio = studio
        self._watch = watch
        self._crew = crew
        self.limits = limits
        self._log = log
        self._meter: Meter = meter or _Unmetered()
        self._is_once = is_once

        self._files: dict[int, JobFile] = {}
        self._jobs_of: dict[int, list[int]] = {}
        self._unsettled: dict[int, int] = {}
        self._jobs: dict[int, Job] = {}
        self._moving: dict[int, JobFile] = {}
        self._to_take: list[tuple[JobFile, bool]] = []
        self._to_discard: list[int] = []
        self._drops: deque[Drop] = deque()
        self._processing_names: set[str] = set()

        self._queue: list[tuple[float, int]] = []
        self._exporting: dict[int, int] = {}
        self._is_warming_up = False
        self._rendering: set[int] = set()
        self._looks: list[tuple[float, int]] = []
        self._looks_held_until = -_NEVER
        self._looking: dict[int, float] = {}
        self._still: dict[int, int] = {}
        self._links: dict[int, tuple[str, float]] = {}
        self._to_download: deque[int] = deque()
        self._downloading: dict[int, float] = {}
        self._are_downloads_short = False
        self._filing: set[int] = set()
        self._retries: list[tuple[float, int, Callable[[Instant], None]]] = []
        self._attempts: dict[int, tuple[int, str]] = {}
        self._folder_waits = FolderWaits()
        self._sequence = itertools.count()

        self._gate = Gate()
        self._generation = 0
        self._are_looks_held = False
        self._cloud_reason: str | None = None
        self._is_paused: bool | None = None  # not before the first scan has said
        self._root_reason: str | None = None
        self._is_scan_idle = False
        self.is_cut_off = False  # the cloud or the root stayed away: `run --once` ends with 69
        self._is_root_noted = False

        self._work = Work()
        self._unwritten: Work | None = None  # what an attempt may have written, or not: it comes first, and as it was
        self._deeds: list[Callable[[], None]] = []
        self._progress: dict[int, float] = {}
        self._flushed_at = -_NEVER
        self._is_ledger_away = False
        self._ledger_retry_at: float | None = None
        self._is_turn_due = False
        self._stops = 0
        self._stopped_at = _NEVER
        self._is_ledger_given_up = False
        self._away_since: float | None = None
        self.failures = 0
        self._settled_as = {State.DONE: 0, State.FAILED: 0}

        self._cut_reason: str | None = None
        self._cuts = 0
        self._is_out = False  # another daemon has our jobs: nothing is to be moved any more
        self._peers: frozenset[str] = frozenset()
        self._is_painter = not ledger.is_shared
        self._is_look_elsewhere_due = False
        self._room = Room(ledger)
        self._lending = Lending(ledger=ledger, desk=self)
        self._suspicion = Suspicion()
        self._seen_project: str | None = None  # the last of which the cloud has told us something
        self._patience = Patience()
        self._tracing = Tracing(studio=studio, ledger=ledger, jobs=self._jobs, errand=self.errand, ends=self)
        self._models = ModelsWatch(models, self, ledger.read_note(NOTE) if models is not None else None)
        self._notifying = Notifying(
            notices or NoticePlan(), ledger=ledger, root=spool.places.root, desk=self, submit=crew.notify
        )
        self._status = StatusWatch(pages, wall=spool, desk=self, submit=crew.page)
        self._allowance = Allowance(ledger=ledger, desk=self, calendar=calendar)
        self._pruning = Pruning(ledger=ledger, desk=self)
        self._takers: dict[type, Callable[[Any, Instant], None]] = {
            DropReady: self._on_drop_ready,
            ScanEnded: self._on_scan_ended,
            PauseSeen: self._on_pause_seen,
            RootLost: self._on_root_lost,
            RootFound: self._on_root_found,
            ClaimsEnded: self._on_claims_ended,
            ExportEnded: self._on_export_ended,
            WarmedUp: self._on_warmed_up,
            Looked: self._on_looked,
            LooksEnded: self._on_looks_ended,
            DownloadEnded: self._on_download_ended,
            Probed: self._on_probed,
            FilingEnded: self._on_filing_ended,
            CatalogueRead: self._on_catalogue_read,
            ProjectsListed: self._tracing.on_listed,
            ProjectsDescribed: self._on_projects_described,
            NoticeEnded: self._notifying.on_ended,
            PageEnded: self._status.on_ended,
            PeersSeen: self._on_peers_seen,
            PeerLost: self._on_peer_lost,
            LedgerHeard: self._on_ledger_heard,
            LifelineCut: self._on_lifeline_cut,
            LifelineMended: self._on_lifeline_mended,
            Stop: self._on_stop,
        }

    # --- what the app asks ------------------------------------------------------------------------

    @property
    def is_stopping(self) -> bool:
        """Asked to stop; asked by downloads now and then."""
        return self._stops > 0

    @property
    def is_finished(self) -> bool:
        """Nothing is left to be waited for."""
        if self._stops > 1:
            return True
        is_written = self._work.is_empty and self._unwritten is None
        is_quiet = not self._exporting and not self._filing and is_written and not self._deeds
        if self.is_stopping:
            return self._is_ledger_given_up or (is_quiet and not self._downloading)
        return self._is_once and is_quiet and self._is_worked_off() and not self._notifying.is_awaited

    @property
    def is_rushed(self) -> bool:
        """So much is under way that turns are to be few: each costs more than the messages that it takes."""
        return len(self._exporting) + len(self._downloading) >= RUSH

    @property
    def is_crowded(self) -> bool:
        """So many jobs are with the cloud that what is done for one is little beside the taking of turns."""
        jobs = (self._exporting, self._rendering, self._downloading, self._to_download)
        return sum(map(len, jobs)) > LOOKERS

    @property
    def is_in_trouble(self) -> bool:
        """The account is in trouble and work waits for it: ``run --once`` ends with 77."""
        return self._gate.trouble is not None and bool(self._files)

    @property
    def is_interrupted(self) -> bool:
        """A stop came before all was worked off: ``run --once`` ends with 130."""
        return self.is_stopping and not self._is_worked_off()

    def summary(self) -> Summary:
        """What is going on; costs nothing, however much there is."""
        return Summary(
            queued=len(self._queue),
            exporting=len(self._exporting),
            rendering=len(self._rendering),
            max_rendering=self.limits.max_rendering,
            downloading=len(self._downloading) + len(self._to_download),
            done=self._settled_as[State.DONE],
            failed=self._settled_as[State.FAILED],
            trouble=self._gate.trouble.reason if self._gate.trouble is not None else None,
            cloud_reason=self._cloud_reason,
            root_reason=self._root_reason,
            is_paused=bool(self._is_paused),
            is_ledger_away=self._is_ledger_away,
            is_stopping=self.is_stopping,
            tracing=len(self._tracing),
            files=len(self._files) + len(self._drops) + len(self._models.awaiting),
            limited=self._allowance.limited,
            folders=self._folder_waits.trouble if self._root_reason is None else None,
            peers=len(self._peers),
            cut_reason=self._cut_reason,
        )

    @property
    def has_peers(self) -> bool:
        """Other daemons go on with this ledger."""
        return bool(self._peers)

    @property
    def traced(self) -> frozenset[int]:
        """The jobs, by number, whose export was not answered and that are looked for."""
        return self._tracing.job_ids

    def want_status_page(self, *, is_wanted: bool) -> None:
        """Whether status.html is to be there."""
        self._status.want(is_wanted=is_wanted)

    def _is_worked_off(self) -> bool:
        if self.is_cut_off:
            return True
        if not self._is_scan_idle or self._drops or self._models.awaiting:
            return False
        if not self._files:
            return True
        if self._gate.trouble is not None and self._gate.probes > 0 and self._gate.probe_at not in {None, _NEVER}:
            return self._are_looks_held or not self._has_moves()
        is_held = bool(self._is_paused) or self._allowance.limited is not None
        return is_held and not self._has_moves() and all(self._unsettled.get(file_id) for file_id in self._files)

    def _has_moves(self) -> bool:
        """Whether a render or an export is under way; looks through all jobs, so it is not asked every turn."""
        return any(job.state in {State.RENDERING, State.EXPORTING} for job in self._jobs.values())

    def recover(self, now: Instant) -> None:
        """Take up what the ledger holds: the ordinary turn finds the rest to be done."""
        self._take_up(self._ledger.ours(), now)
        # Whether the last daemon's troubles are over is found out by work, which nobody may have: say nothing.
        self._work.notes |= {key: None for key in ("account", "cloud", "root", LIMITED) if self._ledger.read_note(key)}
        self._notifying.recover(now)
        known = self._ledger.processing_names() if self._ledger.is_shared else frozenset(self._processing_names)
        unsettled = frozenset(job.id for job in self._jobs.values() if not job.state.is_settled)
        self._act(lambda: self._crew.file(lambda: self._sweep(known, unsettled)))

    def _take_up(self, taken: Taken, now: Instant) -> None:
        """Go on with these files, which an earlier daemon, or another, has left."""
        self._lending.lend(taken.lent)
        for job_file, jobs in taken.files:
            self._remember(job_file, jobs)
            self._attempts[job_file.id] = (1, "")
            if job_file.state is FileState.CLAIMING:
                self._take(job_file, is_retry=True)
                continue
            self._clear(job_file)
            was_settled = not self._unsettled[job_file.id]
            self.failures += bool(job_file.problems) + sum(job.state is State.FAILED for job in jobs)
            for job in jobs:
                self._resume(job, now)
            if self._ledger.is_shared:
                for job in jobs:
                    if job.state.is_settled:  # what other daemons have left behind of it
                        self._discard(job.id)
            if was_settled:
                self._settle(job_file.id, now, is_retry=True)

    def _resume(self, job: Job, now: Instant) -> None:
        if self._lending.is_lent(job.id) or job.id in self._downloading:
            return
        if job.state is State.EXPORTING:
            reason = "chromadrop was stopped after asking for this video and before an answer came"
            self._on_in_doubt(job, InDoubt(reason), now)
        elif job.state is State.RENDERING:
            self._rendering.add(job.id)
            heapq.heappush(self._looks, (now.monotonic, job.id))
        elif job.state is State.QUEUED:
            heapq.heappush(self._queue, (now.monotonic, job.id))

    def _sweep(self, known: frozenset[str], job_ids: frozenset[int]) -> None:
        self._spool.discard_all_but(job_ids)
        for name in self._spool.strays(known):
            if kind(name) is Kind.DROP:
                self._log.log(_WARNING, "spool.stray", file=display(name))

    # --- the turn ---------------------------------------------------------------------------------

    def turn(self, now: Instant, messages: Iterable[object] = ()) -> float | None:
        """Take the messages, start what is due, record, act.

        Args:
            now: both clocks.
            messages: from the mailbox, in order.

        Returns:
            When to turn next without a message, on the monotonic clock; None for never.

        Raises:
            LedgerConflict: somebody else changed our rows: end the program, nothing was done.
        """
        try:
            for message in messages:
                self._takers[type(message)](message, now)
            self._start_due(now)
            self._record(now)
        except LedgerLost:
            self._is_out = True
            raise
        self._measure_absence(now)
        if self.is_finished:
            self._notifying.close()
        if not self.is_stopping:
            self._status.start_due(now, is_root_there=self._root_reason is None)
        return self._next_wake(now)

    def _measure_absence(self, now: Instant) -> None:
        """How long the cloud, the root, or a shared ledger has been away, for a run that is to end."""
        is_cloud_there = self._cloud_reason is None and not self._patience.are_videos_away
        if is_cloud_there and self._root_reason is None and self._cut_reason is None:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now.monotonic
        self.is_cut_off = self._away_since is not None and now.monotonic >= self._away_since + ONCE_PATIENCE_SECONDS

    def _start_due(self, now: Instant) -> None:
        while self._retries and self._retries[0][0] <= now.monotonic:
            heapq.heappop(self._retries)[2](now)
        if self.is_stopping:
            if now.monotonic >= self._stopped_at + STOP_SECONDS:
                # A stalled link or a frozen share: all of it is taken up again at the next start.
                self._downloading.clear()
                self._filing.clear()
            self._is_ledger_given_up = self._is_ledger_away and now.monotonic >= self._stopped_at + STOP_LEDGER_SECONDS
            return
        self._notifying.start_due(now)
        patience_until = self._models.patience_until(now)
        if patience_until is not None and patience_until <= now.monotonic:
            self._reconsider()
        self._start_claims(now)
        self._models.start_due(now)
        self._start_probe(now)
        if not self._are_looks_held and self._cut_reason is None:
            self._tracing.start_due(now)
        self._start_exports(now)
        self._start_looks(now)
        self._start_downloads(now)
        self._start_lending(now)
        self._pruning.start_due(now, self.limits.keep_days)

    def _record(self, now: Instant) -> None:
        if self._ledger_retry_at is not None and now.monotonic < self._ledger_retry_at:
            return
        was_away = self._ledger_retry_at is not None
        is_flush_due = self.is_stopping or now.monotonic - self._flushed_at >= FLUSH_SECONDS
        if self._progress and is_flush_due:
            self._work.progress |= self._progress
            self._progress = {}
            self._flushed_at = now.monotonic
        self._let_go(now)
        while self._unwritten is not None or not self._work.is_empty:
            if not self._write(now):
                return
        if was_away:
            # Whether it can be written again is found out by the next one that wants to.
            self._ledger_retry_at = None
            self._is_turn_due = True
        deeds, self._deeds = self._deeds, []
        for number, deed in enumerate(deeds, start=1):
            try:
                deed()
            except LedgerUnavailable as error:
                # The rest would wait for it, too, one after the other.
                self._on_ledger_unavailable(error, now)
                self._deeds = deeds[number:] + self._deeds
                return

    def _write(self, now: Instant) -> bool:
        """Write what comes first; False where it cannot be written now."""
        if self._unwritten is None:
            self._unwritten, self._work = self._work, Work()
        work = self._unwritten
        try:
            numbers = self._ledger.commit(work)
        except LedgerUnavailable as error:
            self._on_ledger_unavailable(error, now)
            return False
        self._unwritten = None
        self._on_written()
        self._status.changed()
        for entry in work.entries:
            self._log_entry(entry)
            self._meter.entered(entry.event, entry.fields)
        if work.notices:
            self._notifying.on_written(work.notices, numbers)
            self._is_turn_due = True
        return True

    def _on_ledger_unavailable(self, error: LedgerUnavailable, now: Instant) -> None:
        if not self._is_ledger_away:
            self._log.log(_ERROR, "ledger.deferred", reason=str(error))
            self._status.changed()
        self._is_ledger_away = True
        self._ledger_retry_at = now.monotonic + LEDGER_RETRY_SECONDS

    def _on_written(self) -> None:
        if self._is_ledger_away:
            self._is_ledger_away = False
            self._log.log(_INFO, "ledger.recovered")

    def _next_wake(self, now: Instant) -> float | None:
        if self._is_turn_due:
            self._is_turn_due = False
            return now.monotonic
        times: list[float | None] = [self._ledger_retry_at]
        if self._retries:
            times.append(self._retries[0][0])
        if self._progress and self._ledger_retry_at is None:
            times.append(self._flushed_at + FLUSH_SECONDS)
        if self.is_stopping:
            times += [self._stopped_at + seconds for seconds in (STOP_SECONDS, STOP_LEDGER_SECONDS)]
        else:
            times += [*self._due_work(), self._models.patience_until(now)]
        if self._is_once and self._away_since is not None:
            times.append(self._away_since + ONCE_PATIENCE_SECONDS)
        # What was due before now waits for something else, which will say so.
        later = (time for time in times if time is not None and now.monotonic < time < _NEVER)
        return min(later, default=None)

    def _due_work(self) -> list[float | None]:
        times: list[float | None] = [self._gate.opens_at, self._models.due_at, self._tracing.due_at]
        times += [self._notifying.due_at, self._status.due_at, self._allowance.due_at]
        times += [self._room.due_at, self._lending.due_at, self._pruning.due_at]
        if self._queue:
            times.append(self._queue[0][0])
        if self._looks and not self._are_looks_held:
            times.append(max(self._looks[0][0], self._looks_held_until))
        return times

    # --- bookkeeping ------------------------------------------------------------------------------

    def _remember(self, job_file: JobFile, jobs: Sequence[Job]) -> None:
        self._keep(replace(job_file, content=b""))
        self._jobs_of[job_file.id] = [job.id for job in jobs]
        self._jobs.update({job.id: job for job in jobs})
        self._unsettled[job_file.id] = sum(not job.state.is_settled for job in jobs)
        self._processing_names.add(job_file.processing_name)

    def _keep(self, job_file: JobFile) -> None:
        self._files[job_file.id] = job_file
        if _is_moving(job_file):
            self._moving[job_file.id] = job_file
        else:
            self._moving.pop(job_file.id, None)

    def _forget(self, file_id: int) -> None:
        self._moving.pop(file_id, None)
        self._processing_names.discard(self._files.pop(file_id).processing_name)
        job_ids = self._jobs_of.pop(file_id)
        self._lending.forget(job_ids)
        for job_id in job_ids:
            del self._jobs[job_id]
        del self._unsettled[file_id]
        self._attempts.pop(file_id, None)
        self._folder_waits.end(("file", file_id))

    def _jobs_in(self, file_id: int) -> list[Job]:
        return [self._jobs[job_id] for job_id in self._jobs_of[file_id]]

    def _apply(self, job: Job, event: Event, now: Instant) -> Job:
        after = advance(job, event, now.wall)
        self._jobs[job.id] = after
        self._work.change_job(job, after)
        self._allowance.on_changed(job, after)
        self._progress.pop(job.id, None)
        self._still.pop(job.id, None)
        if after.state is not State.RENDERING:
            self._rendering.discard(job.id)
            self._links.pop(job.id, None)
        if after.state.is_settled:
            self._on_settled(after, now)
        return after

    def _fail(self, name: str, job: Job, event: Refused | InDoubt | GaveUp, now: Instant) -> None:
        failed = self._apply(job, event, now)
        self._enter(name, now, failed, reason=failed.reason, paid=failed.paid)

    def _on_settled(self, job: Job, now: Instant) -> None:
        self._suspicion.clear(job.id)
        self._patience.forget(job.id)
        self._folder_waits.end(("video", job.id))
        if job.project_id is not None:
            self._discard(job.id)
        self._unsettled[job.batch_id] -= 1
        self._settled_as[job.state] += 1
        if job.state is State.FAILED:
            self.failures += 1
        is_open = self._files[job.batch_id].state is FileState.OPEN
        if is_open and not self._unsettled[job.batch_id]:
            self._later(now.monotonic, lambda then: self._settle(job.batch_id, then, is_retry=False))

    def _discard(self, job_id: int) -> None:
        """Have removed what a download has left behind, once the ledger knows the end of its job."""
        if not self._to_discard:
            self._act(self._discard_together)
        self._to_discard.append(job_id)

    def _discard_together(self) -> None:
        together, self._to_discard = self._to_discard, []

        def discard() -> None:
            for job_id in together:
                self._spool.discard(job_id)

        self._crew.file(discard)

    def _enter(self, event: str, now: Instant, job: Job, **fields: Any) -> None:
        bound: dict[str, Any] = {"n": job.position}
        if job.project_id is not None:
            bound["project_id"] = job.project_id
        self._work.entries.append(Entry(now.wall, event, job.batch_id, job.id, bound | fields))

    def _enter_file(self, event: str, now: Instant, job_file: JobFile, **fields: Any) -> None:
        bound = {"file": display(job_file.name)}
        self._work.entries.append(Entry(now.wall, event, job_file.id, None, bound | fields))

    def _log_entry(self, entry: Entry) -> None:
        where: dict[str, Any] = {"batch": entry.file_id}
        if entry.job_id is not None:
            where["job"] = entry.job_id
        self._log.log(_LEVELS.get(entry.event, _INFO), entry.event, **where, **entry.fields)

    def _act(self, deed: Callable[[], None]) -> None:
        """Have this done once everything decided so far is in the ledger."""
        self._deeds.append(deed)

    # --- what the parts of it ask -----------------------------------------------------------------

    @property
    def work(self) -> Work:
        """What becomes one transaction next."""
        return self._work

    def act(self, deed: Callable[[], None]) -> None:
        """Have this done once everything decided so far is in the ledger."""
        self._act(deed)

    def errand(self, call: Callable[[], object]) -> None:
        """Have a call made by a worker once everything decided so far is in the ledger."""
        self._act(lambda: self._crew.errand(call))

    def note(self, key: str, value: Any) -> None:
        """Have a fact written to the ledger."""
        self._work.notes[key] = value

    def put_page(self, name: str, render: Callable[[], bytes]) -> None:
        """Have a page written into the root once everything decided so far is in the ledger."""
        if self._is_painter:
            self._act(lambda: self._crew.file(lambda: self._put_page(name, render)))

    def _put_page(self, name: str, render: Callable[[], bytes]) -> None:
        try:
            self._spool.put_page(name, render())
        except (SpoolError, LedgerRefused) as error:
            self._log.log(_WARNING, "page.deferred", page=name, reason=str(error))

    def log(self, level: int, event: str, **fields: Any) -> None:
        """One line that is no entry of the ledger."""
        self._log.log(level, event, **fields)

    def _later(self, due: float, deed: Callable[[Instant], None]) -> None:
        heapq.heappush(self._retries, (due, next(self._sequence), deed))

    # --- claim ------------------------------------------------------------------------------------

    @property
    def _can_claim(self) -> bool:
        return self._root_reason is None and self._ledger_retry_at is None and self._cut_reason is None

    def _on_drop_ready(self, message: DropReady, _now: Instant) -> None:
        self._drops.append(message.drop)

    def _start_claims(self, now: Instant) -> None:
        if not self._drops or not self._can_claim:
            return
        if self._work.files or self._work.withdrawn or self._unwritten is not None:
            # What a drop continues is read from the ledger, which must know the latest first.
            self._record(now)
        while self._can_claim:
            try:
                drops = self._claimable(now)
                are_all_entered = not drops or self._enter_drops(drops, now)
            except LedgerUnavailable as error:
                self._on_ledger_unavailable(error, now)
                return
            if not drops:
                return
            if len(drops) == CLAIMS_A_TURN or not are_all_entered:
                self._is_turn_due = True
                return

    def _claimable(self, now: Instant) -> list[Drop]:
        """The next drops, but for those whose predecessor is just being claimed or filed.

        A predecessor has the same name; or its like, where it takes up, or is about to leave, what may be continued.

        Raises:
            LedgerUnavailable: what other daemons are about is not known.
        """
        self._take_entered(self._ledger.entered_after_all())
        names = {known.name for known in self._moving.values()}
        families = {_family(known.name) for known in self._moving.values() if _may_be_continued(known)}
        families |= {_family(drop.name) for drop in self._models.awaiting}
        families |= self._moving_elsewhere(now)
        free: list[Drop] = []
        jobs = 0
        for drop in self._drops:
            if drop.name not in names and (not families or _family(drop.name) not in families):
                free.append(drop)
                names.add(drop.name)
                jobs += len(drop.batch.requests) if drop.batch is not None else 0
            if len(free) == CLAIMS_A_TURN or jobs >= JOBS_A_TURN:
                break
        return free

    def _moving_elsewhere(self, now: Instant) -> set[str]:
        """Families of the drops that other daemons are just claiming or filing away."""
        if not self._ledger.is_shared or not self._drops:
            return set()
        families = {_family(name) for name in self._ledger.moving_elsewhere()}
        if families and not self._is_look_elsewhere_due:
            self._is_look_elsewhere_due = True
            self._later(now.monotonic + ELSEWHERE_SECONDS, self._look_elsewhere)
        return families

    def _enter_drops(self, drops: list[Drop], now: Instant) -> bool:
        """Enter them into the ledger; False where some are left for the next turn."""
        plan = self._plan(drops, now)
        try:
            entered = self._ledger.enter(plan.claims) if plan.claims else []
        except LedgerLost:
            raise  # it is a conflict, but none about a drop
        except LedgerConflict:
            if len(drops) == 1 and not self._ledger.is_shared:
                raise
            if len(drops) == 1:  # another daemon was first: what there is to continue is read again
                self._release(drops[0])
                return True
            # Two of them continue the same earlier job, under names that do not look alike: the first one has it.
            left = [drop for drop in drops if not self._enter_drops([drop], now)]
            return not left
        if entered:
            self._on_written()
        self._models.awaiting += plan.awaiting
        for drop in plan.awaiting:
            self._drops.remove(drop)
        self._take_entered(entered)
        names = {job_file.name for job_file, _jobs in entered}
        for drop in (*plan.held, *(drop for drop in plan.claimed if drop.name not in names)):
            self._release(drop)
        return len(plan.claimed) + len(plan.awaiting) + len(plan.held) == len(drops)

    def _take_entered(self, entered: Iterable[tuple[JobFile, list[Job]]]) -> None:
        """The ledger has these claims: the moves follow."""
        for job_file, jobs in entered:
            drop = next((drop for drop in self._drops if drop.name == job_file.name), None)
            if drop is not None:
                self._drops.remove(drop)
            self._remember(job_file, jobs)
            self._take(job_file, is_retry=False)

    def _release(self, drop: Drop) -> None:
        """Another daemon has this drop, or had one of its name: what lies there then is looked at again."""
        self._drops.remove(drop)
        self._is_scan_idle = False
        self._act(lambda: self._watch.release(drop.name))

    def _look_elsewhere(self, _now: Instant) -> None:
        self._is_look_elsewhere_due = False

    def _plan(self, drops: list[Drop], now: Instant) -> _Plan:
        """What the ledger is to say of the drops, and those that wait for the list of models."""
        plan = _Plan()
        taken = set(self._processing_names)
        if self._ledger.is_shared:
            taken |= self._ledger.processing_names()
        refusals = 0
        failed_as = {drop.name: self._spool.failed_as(drop.name) for drop in drops}
        left_behind = self._ledger.names_left_behind(failed_as)
        families: set[str] = set()
        for drop in drops:
            if refusals == REFUSALS_A_TURN:
                break  # telling what was meant takes its time: the rest comes in the next turn
            processing_name = _free_name(drop.name, taken)
            earlier = NOTHING_EARLIER
            if drop.name in left_behind:
                family = _family(drop.name)
                if family in families:
                    continue  # it may continue what the first of its family does not: looked at in the next turn
                families.add(family)
                earlier = self._ledger.earlier(drop.name, failed_as[drop.name])
                if earlier.is_held:
                    plan.held.append(drop)
                    continue
            job_file, jobs = claim.plan(drop, processing_name, earlier, now.wall)
            verdict, problems = self._models.judge(drop, jobs, now, is_wanted=self.limits.check_models)
            if verdict is Verdict.AWAITED:
                plan.awaiting.append(drop)
                continue
            if verdict is Verdict.REFUSED:
                refusals += 1
                refused = replace(drop, batch=None, problems=problems)
                job_file, jobs = claim.plan(refused, processing_name, earlier, now.wall)
            taken.add(processing_name)
            plan.claimed.append(drop)
            plan.claims.append((job_file, jobs))
        return plan

    def _take(self, job_file: JobFile, *, is_retry: bool) -> None:
        self._filing.add(job_file.id)
        if not self._to_take:
            self._act(self._take_together)
        self._to_take.append((job_file, is_retry))

    def _take_together(self) -> None:
        together, self._to_take = self._to_take, []

        def take() -> ClaimsEnded:
            if self._may_not_move:
                cut = "cut off from the ledger: another daemon may have it"
                return ClaimsEnded(tuple(_deferred_claim(job_file, cut) for job_file, _is_retry in together))
            return claim.take(self._spool, together)

        self._crew.file(take)

    @property
    def _may_not_move(self) -> bool:
        """Asked by the filing worker: what we meant to move may be another daemon's by now."""
        return self._is_out or self._cut_reason is not None

    def _on_catalogue_read(self, message: CatalogueRead, now: Instant) -> None:
        self._models.on_read(message, now)
        self._reconsider()

    def _reconsider(self) -> None:
        """What has waited for the list of models is looked at again, before what came later."""
        waited, self._models.awaiting = self._models.awaiting, []
        self._drops.extendleft(reversed(waited))
        self._is_turn_due |= bool(waited)

    def _on_claims_ended(self, message: ClaimsEnded, now: Instant) -> None:
        for ended in message.ended:
            self._on_claim_ended(ended, now)

    def _on_claim_ended(self, message: ClaimEnded, now: Instant) -> None:
        self._filing.discard(message.file_id)
        job_file = self._files[message.file_id]
        if message.is_claimed:
            self._on_claimed(job_file, now)
        elif message.is_deferred:
            self._retry_filing(job_file.id, message.reason, now, lambda _then: self._take(job_file, is_retry=True))
        else:
            self._withdraw(job_file, message, now)

    def _on_claimed(self, job_file: JobFile, now: Instant) -> None:
        self._attempts.pop(job_file.id, None)
        self._folder_waits.end(("file", job_file.id))
        opened = replace(job_file, state=FileState.OPEN)
        self._keep(opened)
        self._work.change_file(job_file, opened)
        jobs = self._jobs_in(job_file.id)
        self._enter_file("batch.claimed", now, opened, jobs=len(jobs))
        if opened.problems:
            self.failures += 1
            problems = [str(problem) for problem in opened.problems]
            self._enter_file("batch.invalid", now, opened, problems=problems)
        for job in jobs:
            self._start_job(job, now)
        self._act(lambda: self._watch.forget(opened.name))
        self._clear(opened)
        if not self._unsettled[opened.id]:
            self._settle(opened.id, now, is_retry=False)

    def _start_job(self, job: Job, now: Instant) -> None:
        if job.continues is None:
            self._enter("job.queued", now, job)
        else:
            self._enter("job.continued", now, job, continues=job.continues, state=job.state)
        if job.state is State.FAILED:
            self.failures += 1
        self._resume(job, now)

    def _withdraw(self, job_file: JobFile, message: ClaimEnded, now: Instant) -> None:
        self._work.withdrawn.append(job_file.id)
        self._enter_file("batch.withdrawn", now, job_file, reason=message.reason)
        name, processing_name = job_file.name, job_file.processing_name
        self._forget(job_file.id)
        if message.is_collision:
            # A stray of the same name lies in processing/: keep clear of it.
            self._processing_names.add(processing_name)
        self._is_scan_idle = False
        self._act(lambda: self._watch.release(name))

    def _clear(self, job_file: JobFile) -> None:
        if job_file.clears:
            ledger_id = self._ledger.id
            self._act(lambda: self._crew.file(lambda: file_away.clear(self._spool, job_file, ledger_id=ledger_id)))

    # --- export -----------------------------------------------------------------------------------

    def _has_room_today(self, now: Instant) -> bool:
        """Whether the next in line may be ordered today; asked first, so that people are told why it waits."""
        try:
            exporting = (self._jobs[job_id] for job_id in self._exporting)
            first = self._jobs[self._queue[0][1]]
            return self._allowance.has_room(first, self._next_in_line, self.limits.daily, now, exporting)
        except LedgerUnavailable as error:
            self._on_ledger_unavailable(error, now)
            return False

    def _next_in_line(self) -> list[Job]:
        return [self._jobs[job_id] for _due, job_id in heapq.nsmallest(LEASED_AT_ONCE, self._queue)]

    def _may_export(self, now: Instant) -> bool:
        return (
            bool(self._queue)
            and self._has_room_today(now)
            and self._queue[0][0] <= now.monotonic
            and self._is_paused is False
            and self._ledger_retry_at is None
            and len(self._exporting) < EXPORTS_AT_ONCE
            and self._cut_reason is None
            and self._gate.may_export(now.monotonic, len(self._exporting))
            and self._has_room(now)
        )

    @property
    def _flying(self) -> int:
        return len(self._exporting) + len(self._rendering) + len(self._tracing)

    def _has_room(self, now: Instant) -> bool:
        """Whether the account allows one more render in flight."""
        try:
            return self._room.has_room(
                flying=self._flying, waiting=len(self._queue), most=self.limits.max_rendering, now=now
            )
        except LedgerUnavailable as error:
            self._on_ledger_unavailable(error, now)
            return False

    def _let_go(self, now: Instant) -> None:
        """What the account allows and we do not need is others'."""
        is_held = (
            self.is_stopping
            or self._is_paused is not False
            or self._gate.trouble is not None
            or self._allowance.limited is not None
        )
        waiting = 0 if is_held else len(self._queue)
        self._room.let_go(self._work, flying=self._flying, waiting=waiting, most=self.limits.max_rendering, now=now)

    def _start_exports(self, now: Instant) -> None:
        while self._may_export(now):
            if not self._studio.can_export:
                # Before any job is EXPORTING: killed while it waits for a token, none would be in doubt.
                self._warm_up()
                return
            job = self._jobs[heapq.heappop(self._queue)[1]]
            self._exporting[job.id] = self._generation
            started = self._apply(job, ExportStarted(), now)
            self._enter("job.export_started", now, started)
            self._act(self._export_deed(started))

    def _warm_up(self) -> None:
        if not self._is_warming_up:
            self._is_warming_up = True
            self._act(lambda: self._crew.export(lambda: export.warm_up(self._studio)))

    def _on_warmed_up(self, message: WarmedUp, now: Instant) -> None:
        self._is_warming_up = False
        if isinstance(message.outcome, Troubled):
            self._on_trouble(message.outcome, now)
        elif message.outcome is not None:
            self._close_gate(now, message.outcome.retry_after_seconds, is_current=True)
            if message.outcome.is_outage:
                self._on_outage(message.outcome.reason)

    def _export_deed(self, job: Job) -> Callable[[], None]:
        return lambda: self._crew.export(lambda: export.export(self._studio, job))

    def _on_export_ended(self, message: ExportEnded, now: Instant) -> None:
        is_current = self._exporting.pop(message.job_id) == self._generation
        job = self._jobs[message.job_id]
        outcome = message.outcome
        self._meter.exported(outcome)
        if isinstance(outcome, Exported):
            self._on_exported(job, outcome, now, is_current=is_current)
        elif isinstance(outcome, Refused):
            self._fail("job.refused", job, outcome, now)
            trouble = self._gate.trouble
            if is_current and (trouble is None or trouble.is_credential):
                # Whoever refuses a job has accepted the credential.
                self._on_account_well(now)
                self._gate = self._gate.opened()
            self._on_answer()
        elif isinstance(outcome, InDoubt):
            self._on_in_doubt(job, outcome, now)
            self._close_gate(now, None, is_current=is_current)
        elif isinstance(outcome, Troubled):
            self._requeue(job, Deferred(outcome.reason), now)
            self._on_trouble(outcome, now)
        else:
            self._requeue(job, outcome, now)
            self._close_gate(now, outcome.retry_after_seconds, is_current=is_current)
            if outcome.is_outage:
                self._on_outage(outcome.reason)

    def _on_exported(self, job: Job, outcome: Exported, now: Instant, *, is_current: bool) -> None:
        exported = self._apply(job, outcome, now)
        self._enter("job.exported", now, exported)
        self._rendering.add(job.id)
        heapq.heappush(self._looks, (now.monotonic + self.limits.poll_seconds, job.id))
        self._on_answer()
        if is_current:
            self._on_account_well(now)
            self._gate = self._gate.opened()

    # --- in doubt ---------------------------------------------------------------------------------

    def _on_in_doubt(self, job: Job, outcome: InDoubt, now: Instant) -> None:
        """Look for it where the API lets us, before a person is asked; it stays EXPORTING meanwhile."""
        if self._tracing.can_begin(job):
            self._enter("job.traced", now, job, reason=outcome.reason)
            self._tracing.begin(job, outcome.reason, now)
        else:
            self.give_in(job, outcome, now)

    def adopt(self, job: Job, project_id: str, reason: str, now: Instant) -> None:
        """A trace has found the job's project."""
        adopted = self._apply(job, Exported(project_id, is_adopted=True), now)
        self._enter("job.adopted", now, adopted, reason=reason)
        self._rendering.add(job.id)
        heapq.heappush(self._looks, (now.monotonic, job.id))

    def give_in(self, job: Job, outcome: InDoubt, now: Instant) -> None:
        """A person has to be asked."""
        self._fail("job.in_doubt", job, outcome, now)
        self._notifying.on_in_doubt(self._jobs[job.id], self._files[job.batch_id], now)

    def answered(self) -> None:
        """The cloud is there."""
        self._on_answer()

    def away(self, reason: str) -> None:
        """The cloud cannot be reached."""
        self._on_outage(reason)

    def trouble(self, outcome: Troubled, now: Instant) -> None:
        """The account is in trouble: nothing is to be asked until a probe has passed."""
        self._are_looks_held = True
        self._on_trouble(outcome, now)

    # --- export, answered -------------------------------------------------------------------------

    def _requeue(self, job: Job, outcome: Deferred, now: Instant) -> None:
        queued = self._apply(job, outcome, now)
        self._enter("job.deferred", now, queued, reason=outcome.reason)
        wait = back_off(queued.deferrals, 1.0, retry_after_seconds=outcome.retry_after_seconds)
        heapq.heappush(self._queue, (now.monotonic + wait, job.id))

    def _close_gate(self, now: Instant, retry_after_seconds: float | None, *, is_current: bool) -> None:
        # Of many exports that were in flight together only the first one's misfortune is news.
        if is_current:
            self._generation += 1
            self._gate = self._gate.deferred(now.monotonic, retry_after_seconds)

    def _on_projects_described(self, message: ProjectsDescribed, now: Instant) -> None:
        self._tracing.on_described(message, now, self._models.model_ids)

    # --- the account and the cloud ----------------------------------------------------------------

    def _on_trouble(self, outcome: Troubled, now: Instant) -> None:
        self._generation += 1
        is_news = self._gate.trouble is None
        trouble = Trouble(outcome.reason, outcome.is_credential, now.wall)
        self._gate = self._gate.troubled(now.monotonic, trouble)
        self._notifying.on_account_troubled(outcome.reason, now)
        if is_news:
            self._log.log(_ERROR, "account.trouble", reason=outcome.reason, probe_seconds=PROBE_SECONDS)
            self._work.notes["account"] = {"reason": outcome.reason, "since": now.wall}

    def _on_account_well(self, now: Instant) -> None:
        self._notifying.on_account_well(now)
        if self._gate.trouble is not None:
            self._log.log(_INFO, "account.recovered")
            self._work.notes["account"] = None

    def _start_probe(self, now: Instant) -> None:
        if not self._gate.is_probe_due(now.monotonic):
            return
        trouble = self._gate.trouble
        self._gate = self._gate.probing()
        if trouble is not None and not trouble.is_credential and not self._are_looks_held:
            # No free call tells about credit: one export is let through.
            self._gate = self._gate.half_opened()
            return
        self._probe()

    def _probe(self, for_job: int | None = None) -> None:
        project_id = self._witness()
        self._act(lambda: self._crew.look(lambda: fetch.probe(self._studio, project_id, for_job)))

    def _witness(self) -> str | None:
        """A project that exists, and that has nothing to do with what is wrong, if there is one.

        One that does not exist would be no witness where another is accused: who asks for it may be told so by a cloud
        that has not looked at the credential.
        """
        found = self._suspicion.unsuspected(self._rendering)
        if found is not None:
            return self._jobs[found].project_id
        return self._seen_project or next((self._jobs[job_id].project_id for job_id in self._rendering), None)

    def _on_probed(self, message: Probed, now: Instant) -> None:
        if message.for_job is not None:
            self._on_probed_for(message.for_job, message.outcome, now)
            return
        if isinstance(message.outcome, Troubled):
            self._on_trouble(message.outcome, now)
            return
        if message.outcome is not None:
            self._gate = replace(self._gate, probe_at=now.monotonic + PROBE_SECONDS)
            return
        self._suspicion.account_is_well()
        were_looks_held, self._are_looks_held = self._are_looks_held, False
        if were_looks_held or not self._queue:
            self._on_account_well(now)
            self._gate = self._gate.opened()
        else:
            self._gate = self._gate.half_opened()

    def _on_probed_for(self, job_id: int, outcome: Troubled | Deferred | None, now: Instant) -> None:
        """A look at this job was refused as if the account, which had been well, were in trouble: is it again?"""
        job = self._jobs.get(job_id)
        if job is None or job.state is not State.RENDERING:
            return
        if isinstance(outcome, Troubled):
            self._suspicion.account_is_not_well()
            self._hold_looks(job, outcome, now)
        else:
            own = Deferred(self._suspicion.reason(job_id), is_bounded=True)
            self._defer_render(job, outcome or own, now)

    def _hold_looks(self, job: Job, outcome: Troubled, now: Instant) -> None:
        self._are_looks_held = True
        self._on_trouble(outcome, now)
        heapq.heappush(self._looks, (now.monotonic, job.id))

    def _on_outage(self, reason: str) -> None:
        if self._cloud_reason is None:
            self._log.log(_WARNING, "cloud.away", reason=reason)
            self._work.notes["cloud"] = reason
            self._cloud_reason = reason

    def _on_answer(self) -> None:
        if self._cloud_reason is not None:
            self._log.log(_INFO, "cloud.back")
            self._work.notes["cloud"] = None
            self._cloud_reason = None

    # --- fetch ------------------------------------------------------------------------------------

    def _start_looks(self, now: Instant) -> None:
        if self._are_looks_held or now.monotonic < self._looks_held_until:
            return
        at_once = looks_at_once(len(self._rendering))
        if at_once == 1:
            for job in self._due_looks(now, None):
                self._act(self._look_deed(job))
            return
        # Together they go on connections that are there; those that go alone add to these, a few at a time.
        connections = self._studio.connections
        together = max(0, connections - len(self._looking))
        jobs = self._due_looks(now, together + looks_alone(connections))
        if jobs or (self._looks and self._looks[0][0] <= now.monotonic):
            self._looks_held_until = now.monotonic + LOOKS_SECONDS
        for job in jobs[together:]:
            self._act(self._look_deed(job, is_afresh=True))
        for job in filter(self._is_still, jobs[:together]):
            self._act(self._look_deed(job))
        jobs = [job for job in jobs[:together] if not self._is_still(job)]
        for first in range(0, len(jobs), at_once):
            self._act(self._looks_deed(jobs[first : first + at_once]))

    def _due_looks(self, now: Instant, most: int | None) -> list[Job]:
        jobs: list[Job] = []
        while self._looks and self._looks[0][0] <= now.monotonic and (most is None or len(jobs) < most):
            due, job_id = heapq.heappop(self._looks)
            job = self._jobs.get(job_id)
            if job is not None and job.state is State.RENDERING:
                self._looking[job_id] = due
                jobs.append(job)
        return jobs

    def _is_still(self, job: Job) -> bool:
        """It has not moved for some looks, and the cloud is to be asked in another way, too."""
        still = self._still.get(job.id, 0)
        return still > 0 and still % STILL_LOOKS == 0

    def _look_deed(self, job: Job, *, is_afresh: bool = False) -> Callable[[], None]:
        is_still = self._is_still(job)
        return lambda: self._crew.look(lambda: fetch.look(self._studio, job, is_still=is_still, is_afresh=is_afresh))

    def _looks_deed(self, jobs: Sequence[Job]) -> Callable[[], None]:
        return lambda: self._crew.look_together(lambda: fetch.look_together(self._studio, jobs))

    def _on_looks_ended(self, message: LooksEnded, now: Instant) -> None:
        for looked in message.looked:
            self._on_looked(looked, now)
        for job_id in message.left:
            self._act(self._look_deed(self._jobs[job_id]))

    def _on_looked(self, message: Looked, now: Instant) -> None:
        due = self._looking.pop(message.job_id)
        job = self._jobs[message.job_id]
        outcome = message.outcome
        self._meter.looked(now.monotonic - due)
        if isinstance(outcome, Progressed | Rendered):
            self._suspicion.clear(job.id)
            self._seen_project = job.project_id
        if isinstance(outcome, Progressed):
            self._on_answer()
            self._on_progressed(job, outcome, due, now)
        elif isinstance(outcome, Rendered):
            self._on_answer()
            self._rendering.discard(job.id)
            self._jobs[job.id] = replace(job, progress=100.0)
            self._progress[job.id] = 100.0
            self._links[job.id] = outcome.url, now.monotonic
            self._to_download.append(job.id)
        elif isinstance(outcome, Refused):
            self._on_answer()
            self._fail("job.refused", job, outcome, now)
        elif isinstance(outcome, Troubled):
            self._meter.deferred(outcome)
            self._suspicion.accuse(job.id, outcome.reason)
            if self._suspicion.is_own(job.id):
                self._probe(for_job=job.id)
            else:
                self._hold_looks(job, outcome, now)
        else:
            self._meter.deferred(outcome)
            self._defer_render(job, outcome, now)

    def _on_progressed(self, job: Job, outcome: Progressed, due: float, now: Instant) -> None:
        if self._give_up_if_late(job, now):
            return
        after = advance(job, outcome, now.wall)
        self._jobs[job.id] = after
        self._rendering.add(job.id)  # it may have been called rendered before, and its link led nowhere
        self._still[job.id] = self._still.get(job.id, 0) + 1 if after.progress == job.progress else 0
        if after.progress != job.progress:
            if int(after.progress) != int(job.progress):  # nobody is shown less than a percent
                self._progress[job.id] = after.progress
            self._log.log(
                _DEBUG, "job.progressed", batch=job.batch_id, job=job.id, project_id=job.project_id,
                progress=after.progress,
            )  # fmt: skip
        following = next_look(due, now.monotonic, self.limits.poll_seconds)
        heapq.heappush(self._looks, (following, job.id))

    def _give_up_if_late(self, job: Job, now: Instant) -> bool:
        limit = self.limits.render_timeout_seconds
        if not is_past_deadline(job.exported_at, now.wall, limit):
            return False
        words = f"the render has no end after {limit:g} s (it stands at {job.progress:g} %)"
        self._fail("job.gave_up", job, GaveUp(f"{words}; {job.reason}" if job.reason else words), now)
        return True

    def _defer_render(self, job: Job, outcome: Deferred, now: Instant) -> None:
        """A look has found nothing out."""
        if outcome.is_outage:
            self._patience.on_outage(job.id)
            self._on_outage(outcome.reason)
        else:
            self._still[job.id] = self._still.get(job.id, 0) + 1
        self._defer(job, outcome, now, is_over=not outcome.is_outage and self._is_over(job, now))

    def _is_over(self, job: Job, now: Instant) -> bool:
        """Whether a look that was answered, but told nothing, is one too many."""
        if job.id not in self._rendering:  # it has been at 100 %, and what it is looked at for is the link
            return self._patience.on_download_failed(job.id, is_outage=False)
        limit = self.limits.render_timeout_seconds
        is_late = is_past_deadline(job.exported_at, now.wall, limit)
        return is_late and self._patience.is_over(job.id, now.monotonic, limit)

    def _defer_download(self, job: Job, outcome: Deferred, now: Instant) -> None:
        """The cloud has given a link, but no video came of it; that its server is away makes the cloud not so."""
        if outcome.is_ours:
            self._folder_waits.wait(("video", job.id), outcome.reason, now)
            is_over = False
        else:
            is_over = self._patience.on_download_failed(job.id, is_outage=outcome.is_outage)
        self._defer(job, outcome, now, is_over=is_over)

    def _defer(self, job: Job, outcome: Deferred, now: Instant, *, is_over: bool) -> None:
        after = advance(job, outcome, now.wall)
        self._jobs[job.id] = after
        if after.refusals >= REFUSALS_IN_A_ROW:
            self._fail("job.refused", after, Refused(outcome.reason), now)
            return
        if is_over:
            self._fail("job.gave_up", after, GaveUp(self._why_over(after, outcome)), now)
            return
        if outcome.reason != job.reason:
            self._work.change_job(job, after)
            self._enter("job.deferred", now, after, reason=outcome.reason)
        wait = back_off(after.deferrals, self.limits.poll_seconds, retry_after_seconds=outcome.retry_after_seconds)
        heapq.heappush(self._looks, (now.monotonic + wait, job.id))

    def _why_over(self, job: Job, outcome: Deferred) -> str:
        failures = self._patience.failures(job.id)
        if failures:
            return f"the video could not be downloaded after {failures} tries: {outcome.reason}"
        limit = self.limits.render_timeout_seconds
        return f"the render has no end after {limit:g} s: {outcome.reason}"

    def _start_downloads(self, now: Instant) -> None:
        while self._to_download and self._can_download:
            job = self._jobs[self._to_download[0]]
            try:
                is_ours = self._lending.is_still_ours(job.id, now)
            except LedgerUnavailable as error:
                self._on_ledger_unavailable(error, now)
                return
            self._to_download.popleft()
            url, since = self._links.pop(job.id)
            if is_ours:
                self._downloading[job.id] = now.monotonic
                self._act(self._download_deed(job, url if now.monotonic - since < LINK_SECONDS else None))
        if self._to_download:
            self._lending.offer(self._to_download)

    @property
    def _room_for_downloads(self) -> int:
        """So many more may be given to the workers, who make so many at once as the limit says.

        Where downloads are short, some wait there, so that no worker waits for our next turn.
        """
        ahead = self.limits.downloads if self._are_downloads_short else 0
        return self.limits.downloads + ahead - len(self._downloading)

    @property
    def _can_download(self) -> bool:
        return (
            self._room_for_downloads > 0
            and self._root_reason is None
            and self._cut_reason is None
            and self._ledger_retry_at is None
        )

    def _download_deed(self, job: Job, url: str | None) -> Callable[[], None]:
        return self._fetch_deed(job, self._files[job.batch_id], len(self._jobs_of[job.batch_id]), url)

    def _fetch_deed(self, job: Job, job_file: JobFile, job_count: int, url: str | None) -> Callable[[], None]:
        template = job.request.template or self.limits.video_name or default_template(job_count)

        def download() -> DownloadEnded:
            return fetch.download(
                self._studio, self._spool, job, job_file,
                url=url, template=template, should_stop=lambda: self.is_stopping or self._cut_reason is not None,
            )  # fmt: skip

        return lambda: self._crew.download(download)

    def _on_download_ended(self, message: DownloadEnded, now: Instant) -> None:
        begun = self._downloading.pop(message.job_id, now.monotonic)
        self._are_downloads_short = now.monotonic - begun < SHORT_DOWNLOAD_SECONDS
        if self._lending.has_borrowed(message.job_id):
            if not self._lending.on_download_ended(message, now):
                self._act(lambda: self._crew.file(lambda: self._spool.discard_part(message.job_id)))
            return
        job = self._jobs[message.job_id]
        outcome = message.outcome
        if isinstance(outcome, Downloaded):
            self._patience.on_downloaded()
            self._meter.made(now.wall - self._files[job.batch_id].claimed_at)
            self._enter_video(self._apply(job, outcome, now), now)
        elif self._cut_reason is not None:
            heapq.heappush(self._looks, (now.monotonic, job.id))  # cut by us
        elif not self.is_stopping:
            self._meter.deferred(outcome)
            self._defer_download(job, outcome, now)

    def _enter_video(self, done: Job, now: Instant) -> None:
        video = done.video
        if video is not None:
            self._enter(
                "job.downloaded", now, done,
                video=display(video.path), bytes=video.bytes, sha256=video.sha256,
            )  # fmt: skip

    # --- downloads of other daemons ---------------------------------------------------------------

    def _start_lending(self, now: Instant) -> None:
        if self._ledger.is_shared and self._ledger_retry_at is None and self._cut_reason is None:
            is_free = not self._to_download and self._can_download and not self._is_once
            room = max(0, self.limits.downloads - len(self._downloading)) if is_free else 0
            self._lending.start_due(now, room=room)

    def borrowed(self, found: Borrowed, now: Instant) -> None:
        """Download this video, which is another daemon's."""
        self._downloading[found.job.id] = now.monotonic
        self._act(self._fetch_deed(found.job, found.job_file, found.job_count, None))

    def returned(self, job: Job, now: Instant) -> None:
        """A job that was lent is ours again, and as the ledger says."""
        before = self._jobs[job.id]
        self._jobs[job.id] = job
        self._rendering.discard(job.id)
        if not job.state.is_settled:
            self._resume(job, now)
        elif not before.state.is_settled:
            self._on_settled(job, now)

    def downloaded(self, job: Job, now: Instant) -> None:
        """A video that was borrowed is there."""
        self._enter_video(job, now)
        self._discard(job.id)

    def unavailable(self, error: LedgerUnavailable, now: Instant) -> None:
        """The ledger cannot be used now."""
        self._on_ledger_unavailable(error, now)

    # --- the daemons that share the ledger --------------------------------------------------------

    def _on_peers_seen(self, message: PeersSeen, _now: Instant) -> None:
        self._peers = message.alive
        self._lending.on_peers(has_peers=bool(message.alive))
        self._status.on_peers(has_peers=bool(message.alive))
        was_painter, self._is_painter = self._is_painter, message.is_painter
        if message.is_painter and not was_painter:
            self._models.write_page()
        self._status.hold(is_held=not message.is_painter)

    def _on_peer_lost(self, message: PeerLost, now: Instant) -> None:
        """A daemon has died: go on with its jobs, unless another does or it is back."""
        if self._cut_reason is not None or self._ledger_retry_at is not None:
            return  # it is said again
        self._take_over(message.owner, now)

    def _take_over(self, owner: str, now: Instant) -> None:
        if self.is_stopping:
            return
        again = now.monotonic + LEDGER_RETRY_SECONDS
        self._record(now)  # a video that was borrowed from there, and has just come, counts with what is taken
        if self._cut_reason is not None or self._ledger_retry_at is not None:
            self._later(again, lambda then: self._take_over(owner, then))
            return
        try:
            taken = self._ledger.take_over(owner)
        except LedgerUnavailable as error:
            self._on_ledger_unavailable(error, now)
            # It may have been done all the same, and then nobody says it again.
            self._later(again, lambda then: self._take_over(owner, then))
            return
        if not taken.owner:
            return
        jobs = [job for _file, jobs in taken.files for job in jobs if not job.state.is_settled]
        self._log.log(
            _WARNING, "peer.taken_over", host=taken.host, owner=taken.owner, files=len(taken.files), jobs=len(jobs)
        )
        self._act(lambda: self._crew.file(lambda: self._spool.discard_parts_of(taken.owner)))
        self._lending.keep(job.id for job in jobs)
        self._take_up(taken, now)
        self._notifying.take_up(taken.notices)
        self._status.changed()

    def _on_ledger_heard(self, message: LedgerHeard, now: Instant) -> None:
        self._room.on_heard(message.kinds, message.by, now)
        self._lending.on_heard(message.kinds)
        self._status.changed()

    def _on_lifeline_cut(self, message: LifelineCut, _now: Instant) -> None:
        self._cuts += 1
        if self._cut_reason is None:
            self._log.log(_ERROR, "lifeline.cut", reason=message.reason)
            self._status.changed()
        self._cut_reason = message.reason

    def _on_lifeline_mended(self, _message: LifelineMended, now: Instant) -> None:
        self._look_whether_ours(self._cuts, now)

    def _look_whether_ours(self, cuts: int, now: Instant) -> None:
        if cuts != self._cuts:
            return  # it was cut again, and what mends that will say so
        try:
            is_ours = self._ledger.is_ours()
        except LedgerUnavailable as error:
            self._on_ledger_unavailable(error, now)
            self._later(now.monotonic + LEDGER_RETRY_SECONDS, lambda then: self._look_whether_ours(cuts, then))
            return
        if not is_ours:
            raise LedgerLost("another daemon has taken our jobs over while the ledger could not be reached")
        self._log.log(_INFO, "lifeline.mended")
        self._cut_reason = None
        self._on_written()  # it was read, and nothing may want to be written for long
        self._status.changed()

    # --- file away --------------------------------------------------------------------------------

    def _settle(self, file_id: int, now: Instant, *, is_retry: bool) -> None:
        job_file = self._files[file_id]
        jobs = self._jobs_in(file_id)
        settled = job_file
        if job_file.outcome is None:
            settled = replace(job_file, outcome=file_away.outcome_of(job_file, jobs), settled_at=now.wall)
            self._keep(settled)
            self._work.change_file(job_file, settled)
            self._enter_file("batch.settled", now, settled, outcome=settled.outcome)
        self._file_away(settled, is_retry=is_retry)

    def _file_away(self, job_file: JobFile, *, is_retry: bool) -> None:
        jobs = self._jobs_in(job_file.id)
        self._filing.add(job_file.id)

        def deed() -> None:
            try:
                whole = replace(job_file, content=self._ledger.content(job_file.id))
            except LedgerUnavailable as error:
                deferred = FilingEnded(job_file.id, None, str(error))
                self._crew.file(lambda: deferred)
                raise
            self._crew.file(lambda: file(whole))

        def file(whole: JobFile) -> FilingEnded:
            if self._may_not_move:
                return FilingEnded(job_file.id, None, "cut off from the ledger: another daemon may have it")
            # Where several file, one that was cut off may have got half way, or all of it.
            again = is_retry or self._ledger.is_shared
            return file_away.file_away(self._spool, whole, jobs, ledger_id=self._ledger.id, is_retry=again)

        self._act(deed)

    def _on_filing_ended(self, message: FilingEnded, now: Instant) -> None:
        self._filing.discard(message.file_id)
        job_file = self._files[message.file_id]
        if message.filed_as is None:
            self._retry_filing(job_file.id, message.reason, now, lambda _then: self._file_away(job_file, is_retry=True))
            return
        closed = replace(job_file, state=FileState.CLOSED, closed_at=now.wall, filed_as=message.filed_as)
        self._work.change_file(job_file, closed)
        self._enter_file("batch.filed", now, closed, outcome=closed.outcome, filed_as=display(message.filed_as))
        self._notifying.on_filed(closed, self._jobs_in(closed.id), now)
        self._forget(job_file.id)

    def _retry_filing(self, file_id: int, reason: str, now: Instant, deed: Callable[[Instant], None]) -> None:
        attempts, last = self._attempts.get(file_id, (0, ""))
        self._attempts[file_id] = (attempts + 1, reason)
        self._folder_waits.wait(("file", file_id), reason, now)
        self._meter.deferred(Deferred(reason, is_ours=True))
        if reason != last:
            name = display(self._files[file_id].name)
            self._log.log(_WARNING, "batch.deferred", batch=file_id, file=name, reason=reason)
        self._later(now.monotonic + back_off(attempts + 1, 1.0), deed)

    # --- the folders as the scanner sees them -----------------------------------------------------

    def _on_scan_ended(self, message: ScanEnded, _now: Instant) -> None:
        self._is_scan_idle = message.is_idle
        self._status.changed()
        if not self._is_root_noted and self._spool.was_seen:
            self._is_root_noted = True
            self._work.notes["seen_root"] = str(self._spool.places.root)

    def _on_pause_seen(self, message: PauseSeen, _now: Instant) -> None:
        was_paused, self._is_paused = self._is_paused, message.is_paused
        if message.is_paused and not was_paused:
            self._log.log(_WARNING, "queue.paused")
        elif was_paused and not message.is_paused:
            self._log.log(_INFO, "queue.resumed")
        if message.is_paused != was_paused:
            self._work.notes["paused"] = message.is_paused

    def _on_root_lost(self, message: RootLost, _now: Instant) -> None:
        if self._root_reason is None:
            self._log.log(_ERROR, "root.lost", reason=message.reason)
            self._work.notes["root"] = message.reason
        self._root_reason = message.reason

    def _on_root_found(self, _message: RootFound, now: Instant) -> None:
        if self._root_reason is not None:
            self._log.log(_INFO, "root.found")
            self._models.write_page()
            self._work.notes |= {"root": None, "seen_root": str(self._spool.places.root)}
            self._root_reason = None
            self._folder_waits.restart(now)
        self._retries = [(now.monotonic, sequence, deed) for _due, sequence, deed in self._retries]
        heapq.heapify(self._retries)

    def _on_stop(self, _message: Stop, now: Instant) -> None:
        self._stops += 1
        if self._stops == 1:
            self._stopped_at = now.monotonic
            self._log.log(_INFO, "daemon.stopping", exporting=len(self._exporting))


def _is_moving(job_file: JobFile) -> bool:
    return job_file.state is FileState.CLAIMING or job_file.outcome is not None


def _deferred_claim(job_file: JobFile, reason: str) -> ClaimEnded:
    return ClaimEnded(job_file.id, is_claimed=False, reason=reason, is_deferred=True)


def _may_be_continued(job_file: JobFile) -> bool:
    """Whether what a file of a like name continues depends on this one, which moves."""
    return job_file.outcome is Outcome.FAILED or bool(job_file.clears)


_NUMBER: Final = re.compile(r"(?: \(\d+\))+(?=\.[^./]*$)")


def _family(name: str) -> str:
    """A name without the numbers that never overwriting has given it: ``x (2).yaml`` may be ``x.yaml`` come back."""
    return _NUMBER.sub("", name)


def _free_name(name: str, taken: set[str]) -> str:
    folder, slash, last = name.rpartition("/")
    candidates = (f"{folder}{slash}{numbered(last, number)}" for number in itertools.count(1))
    return next(candidate for candidate in candidates if candidate not in taken)
