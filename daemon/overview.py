"""What is going on: one frozen `Overview`, gathered from the ledger and from inbox/. Nothing is written or held.

A daemon may run meanwhile, start, or stop. `document` is the same as JSON, with keys that stay (DESIGN 3,
``status --json``).
"""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from daemon.allowance import NOTE as LIMITED
from daemon.core.allowance import Limited
from daemon.core.display import display
from daemon.core.errors import LedgerUnavailable
from daemon.core.estimate import MOST_SAMPLES, NO_EXPERIENCE, Experience, Line, Outlook, learn, spoken_seconds_of
from daemon.core.job import Paid, State
from daemon.core.record import dataclass
from daemon.core.status_page import Life
from daemon.core.vitals import Peer
from daemon.edges.inbox_watch.listing import list_inbox
from daemon.edges.ledger import LEDGER_FILE, Ledger, is_daemon_alive
from daemon.lint import LookAhead

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from daemon.config import Config, Paths
    from daemon.core.defaults import Defaults
    from daemon.core.job import Job
    from daemon.core.job_file import JobFile
    from daemon.edges.ledger import Member

MOST_FILES: Final = 500
MOST_JOBS: Final = 2000
MOST_WAITING: Final = 20
MOST_FILED: Final = 10
EXCERPT_CHARACTERS: Final = 80
LISTING_SECONDS: Final = 2.0
"""Longer than this nobody wants to wait for the names in inbox/; how many there are is then "at least"."""
CLOSE_SECONDS: Final = 0.2
MISSED_SECONDS: Final = 7 * 86_400.0
"""A daemon that has gone is told of for so long."""
EXPERIENCE_SECONDS: Final = 60.0
"""What the last renders took is read so often at most."""


@dataclass(frozen=True, slots=True)
class PeerView:
    """One of the daemons that share a ledger.

    Attributes:
        host: its machine's name.
        life: whether it is there.
        since: wall-clock seconds when it started, or was taken over; None where nobody knows: of a silent one.
        taken_over_by: the machine of the one that goes on with its jobs; empty for nobody.
        pid: of its process, when it started last.
        version: of chromadrop.
        counts: its jobs of unfinished files, by state; every state is there.
        waiting: jobs that wait there because the account allows no more renders at once.
        troubles: what is wrong there: account, cloud, root, limited.
    """

    host: str
    life: Life
    since: float | None
    taken_over_by: str
    pid: int | None
    version: str | None
    counts: dict[str, int]
    waiting: int
    troubles: dict[str, Trouble]


@dataclass(frozen=True, slots=True)
class DaemonView:
    """The daemon that has, or last had, this state; of several, this machine's, or the first that lives.

    Attributes:
        is_running: one holds the state now.
        pid: of the last one that started; None where nobody has noted it.
        started_at: wall-clock seconds.
        version: of chromadrop.
    """

    is_running: bool
    pid: int | None = None
    started_at: float | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True)
class JobView:
    """One video that is being made.

    Attributes:
        n: 1-based place in the job file.
        state: of the job.
        percent: 0 to 100, as last heard.
        project_id: the cloud's name for it.
        text: how it begins; on one line.
        since: wall-clock seconds since when it is in that state, as far as the ledger knows.
        reason: why it was deferred or failed last; empty where it was not.
        paid: whether it was paid.
        video: path relative to the root, once done.
    """

    n: int
    state: State
    percent: float
    project_id: str | None
    text: str
    since: float | None
    reason: str
    paid: Paid
    video: str | None


@dataclass(frozen=True, slots=True)
class FileView:
    """A job file that was claimed and is not filed away yet.

    Attributes:
        name: path relative to inbox/, fit to be shown.
        claimed_at: wall-clock seconds.
        outcome: once settled: it is only waiting to be moved.
        problems: how many things are wrong with it; nothing of it is exported then.
        counts: how many jobs are in each state.
        jobs: those jobs that are shown; the counts tell whether there are more.
        outlook: what can be expected of it; None for nothing.
        host: on which machine it is, where several daemons share the ledger; else empty.
    """

    name: str
    claimed_at: float
    outcome: str | None
    problems: int
    counts: dict[str, int]
    jobs: tuple[JobView, ...]
    outlook: Outlook | None = None
    host: str = ""

    @property
    def job_count(self) -> int:
        """All of its jobs."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class FiledView:
    """A job file that was filed away.

    Attributes:
        name: path relative to inbox/, as it was dropped.
        filed_as: path relative to the root.
        outcome: done or failed.
        settled_at: wall-clock seconds.
        videos: made.
        failures: videos that could not be made.
        in_doubt: of these, how many may have been paid.
        problems: how many things were wrong with the file itself.
    """

    name: str
    filed_as: str
    outcome: str
    settled_at: float | None
    videos: int
    failures: int
    in_doubt: int
    problems: int


@dataclass(frozen=True, slots=True)
class InboxView:
    """What waits in inbox/.

    Attributes:
        names: the first of them, fit to be shown.
        count: of all.
        is_whole: the count is exact; else it is at least that.
        is_paused: there is a file PAUSE.
        trouble: why inbox/ could not be read; empty where it could.
    """

    names: tuple[str, ...] = ()
    count: int = 0
    is_whole: bool = True
    is_paused: bool = False
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that keeps everything waiting.

    Attributes:
        reason: plain words.
        since: wall-clock seconds, where it is known.
    """

    reason: str
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """What is going on.

    Attributes:
        at: wall-clock seconds when it was gathered.
        root: the folder of the folders.
        state_folder: where the ledger lies.
        has_ledger: something has run here before.
        daemon: the one that has the state.
        account: trouble with credential or credit, as the daemon noted it last.
        cloud: why the cloud was called away last.
        root_trouble: why the root was called away last.
        counts: jobs of unfinished files by state; every state is there.
        file_count: unfinished files altogether.
        files: the oldest of them.
        inbox: what waits.
        filed: filed away last, latest first.
        limited: why nothing more is ordered today; None where it is.
        experience: what renders took here.
        peers: all daemons of a ledger that several share; empty otherwise.
    """

    at: float
    root: str
    state_folder: str
    has_ledger: bool
    daemon: DaemonView
    account: Trouble | None
    cloud: Trouble | None
    root_trouble: Trouble | None
    counts: dict[str, int]
    file_count: int
    files: tuple[FileView, ...]
    inbox: InboxView
    filed: tuple[FiledView, ...]
    limited: Limited | None = None
    experience: Experience = NO_EXPERIENCE
    peers: tuple[PeerView, ...] = ()


class PastRenders:
    """What the last renders took; read now and then, and kept meanwhile."""

    def __init__(self) -> None:
        self._experience = NO_EXPERIENCE
        self._read_at = float("-inf")

    def experience(self, ledger: Ledger, now: float) -> Experience:
        """As the ledger has it, or had it a moment ago.

        Args:
            ledger: at hand.
            now: wall-clock seconds.

        Raises:
            LedgerUnavailable: it cannot be read now.
        """
        if not 0.0 <= now - self._read_at < EXPERIENCE_SECONDS:
            renders = ledger.latest_renders(MOST_SAMPLES)
            self._experience = learn(
                [
                    (spoken_seconds_of(job.request), (job.settled_at or 0.0) - (job.exported_at or 0.0))
                    for job in renders
                ]
            )
            self._read_at = now
        return self._experience


def open_for_reading(config: Config, state: Path) -> Ledger | None:
    """The ledger beside a daemon that may be running; None where there is none yet.

    Raises:
        LedgerRefused: it was written by another release.
        LedgerUnavailable: it cannot be read.
    """
    if config.ledger.database is not None:
        return _open_shared(config.ledger.database, state)
    path = config.ledger.path or state / LEDGER_FILE
    try:
        # A daemon that is just making it must not be disturbed: until its first write the file is empty.
        if path.stat().st_size == 0:
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LedgerUnavailable(f"cannot open the ledger {path}: {error.strerror}") from error
    try:
        return Ledger(state, path=config.ledger.path, is_exclusive=False)
    except LedgerUnavailable as error:
        if "no such table" in str(error):
            return None
        raise LedgerUnavailable(f"{error} (ledger {path}); is this the user that the daemon runs as?") from error


class Reader:
    """Reads the ledger again and again, on one thread at a time.

    A shared one is kept open: a database does not want a new connection for each page.

    Args:
        config: for where the ledger lies.
        state: the state folder.
    """

    def __init__(self, config: Config, state: Path) -> None:
        self._config = config
        self._state = state
        self._lock = threading.Lock()
        self._kept: Ledger | None = None

    @contextmanager
    def ledger(self) -> Iterator[Ledger | None]:
        """The ledger; None where there is none yet. Whoever else asks waits meanwhile.

        Raises:
            LedgerRefused: it was written by another release.
            LedgerUnavailable: it cannot be read; the next call tries anew.
        """
        with self._lock:
            ledger = self._kept or open_for_reading(self._config, self._state)
            self._kept = ledger if ledger is not None and ledger.is_shared else None
            is_well = False
            try:
                yield ledger
                is_well = True
            finally:
                if ledger is not None and not (is_well and self._kept):
                    self._kept = None
                    ledger.close()

    def close(self) -> None:
        """Let go of what is open, unless somebody reads and hangs: nothing waits for that."""
        if self._lock.acquire(timeout=CLOSE_SECONDS):
            if self._kept is not None:
                self._kept.close()
            self._kept = None
            self._lock.release()


def _open_shared(url: str, state: Path) -> Ledger | None:
    try:
        return Ledger(state, url=url, is_exclusive=False)
    except LedgerUnavailable as error:
        if "no such table" in str(error):
            return None
        raise


def gather(
    config: Config,
    paths: Paths,
    state: Path,
    now: float,
    *,
    is_running: bool | None = None,
    past: PastRenders | None = None,
    reader: Reader | None = None,
) -> Overview:
    """Everything, now.

    Args:
        config: for where the ledger lies.
        paths: the folders.
        state: the state folder (`app.find_state`).
        now: wall-clock seconds.
        is_running: whether a daemon has this state, where the caller knows; else it is looked up.
        past: keeps what the last renders took, for who asks again and again.
        reader: keeps a shared ledger open, for the same.

    Raises:
        LedgerRefused: the ledger was written by another release.
        LedgerUnavailable: the ledger cannot be read.
    """
    with closing(Reader(config, state)) as own, (reader or own).ledger() as ledger:
        return _gather(ledger, config, paths, state, now, is_running=is_running, past=past or PastRenders())


def _gather(
    ledger: Ledger | None,
    config: Config,
    paths: Paths,
    state: Path,
    now: float,
    *,
    is_running: bool | None,
    past: PastRenders,
) -> Overview:
    is_here = is_daemon_alive(state) if is_running is None else is_running
    inbox = _inbox(paths.inbox, config.grammar.base)
    if ledger is None:
        nobody = DaemonView(is_here)
        counts = {found.value: 0 for found in State}
        return Overview(
            now, display(str(paths.root)), display(str(state)), False,
            nobody, None, None, None, counts, 0, (), inbox, (),
        )  # fmt: skip
    glance = ledger.glance(MOST_FILES, MOST_JOBS)
    if ledger.is_shared:
        told = _told_by_several(ledger, now, is_running=bool(is_running))
    else:
        told = _told_by_one(ledger, now, is_running=is_here)
    account = told.troubles.get("account")
    experience = past.experience(ledger, now)
    is_held = inbox.is_paused or account is not None or told.limited is not None
    line = Line(experience, config.jobs.max_rendering, now, is_held=is_held)
    outlooks = line.outlooks((jobs, counts) for _file, jobs, counts in glance.files)
    return Overview(
        at=now,
        root=display(str(paths.root)),
        state_folder=display(str(state)),
        has_ledger=True,
        daemon=told.daemon,
        account=account,
        cloud=told.troubles.get("cloud"),
        root_trouble=told.troubles.get("root"),
        counts=ledger.counts(),
        file_count=glance.file_count,
        files=tuple(
            replace(_file(*found, outlook), host=display(glance.hosts.get(found[0].id, "")))
            for found, outlook in zip(glance.files, outlooks, strict=True)
        ),
        inbox=inbox,
        filed=tuple(_filed(job_file, jobs) for job_file, jobs in ledger.latest_closed(MOST_FILED)),
        limited=told.limited,
        experience=experience,
        peers=told.peers,
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """What daemons have noted of themselves."""

    daemon: DaemonView
    troubles: Mapping[str, Trouble | None]
    limited: Limited | None
    peers: tuple[PeerView, ...] = ()


def _told_by_one(ledger: Ledger, now: float, *, is_running: bool) -> _Told:
    limited = limit_in_force([ledger.read_note(LIMITED)], now)
    troubles = {name: _trouble(ledger.read_note(name)) for name in ("account", "cloud", "root")}
    return _Told(_daemon(ledger.read_note("daemon"), is_running=is_running), troubles, limited)


def limit_in_force(notes: Iterable[Any], now: float) -> Limited | None:
    """What daemons have noted, as the ledger has it: it holds until the day is over, whether they are there or not."""
    limits = (Limited.from_note(note) for note in notes)
    return next((limit for limit in limits if limit is not None and limit.until > now), None)


def _told_by_several(ledger: Ledger, now: float, *, is_running: bool) -> _Told:
    members = ledger.members()
    alive = [member for member in members if member.is_alive]
    speakers = alive or [member for member in members if not member.is_gone]
    main = next((member for member in speakers if member.owner == ledger.owner), next(iter(speakers), None))
    return _Told(
        daemon=_daemon(main.daemon if main is not None else None, is_running=is_running or bool(alive)),
        troubles={name: trouble_of(speakers, name) for name in ("account", "cloud", "root")},
        limited=limit_in_force((member.troubles.get(LIMITED) for member in speakers), now),
        peers=peers_of(members, now),
    )


def trouble_of(members: Iterable[Member], name: str) -> Trouble | None:
    """What one of several daemons is in trouble with; the first that says so, and on which machines it is so."""
    found = [(member.host, _trouble(member.troubles.get(name))) for member in members if member.troubles.get(name)]
    if not found:
        return None
    trouble = found[0][1] or Trouble("")
    hosts = ", ".join(dict.fromkeys(display(host) for host, _trouble in found))
    return replace(trouble, reason=f"{trouble.reason} (on {hosts})")


def peers_of(members: Sequence[Member], now: float) -> tuple[PeerView, ...]:
    """The daemons of a shared ledger: those that live, that do not answer, and that have gone and are missed.

    Args:
        members: as the ledger has them.
        now: wall-clock seconds; who has gone long ago, or has another daemon on its machine, is not missed.
    """
    there = {member.host for member in members if not member.is_gone}
    kept = [one for one in members if not one.is_gone or (one.host not in there and _is_missed(one, now))]
    latest = {(member.host, member.owner if not member.is_gone else ""): member for member in kept}
    ranks = list(Life)
    return tuple(sorted(map(_peer, latest.values()), key=lambda peer: (ranks.index(peer.life), peer.host)))


def peers_by_host(members: Sequence[Member], now: float) -> list[Peer]:
    """The same for monitoring: one for each machine."""
    found: dict[str, Peer] = {}
    for view in peers_of(members, now):
        other = found.get(view.host, Peer(view.host, False))
        counts = {state: view.counts[state] + other.counts.get(state, 0) for state in view.counts}
        found[view.host] = Peer(view.host, other.is_alive or view.life is Life.ALIVE, counts)
    return list(found.values())


def _is_missed(member: Member, now: float) -> bool:
    return member.gone is not None and now - member.gone[0] < MISSED_SECONDS


def _peer(member: Member) -> PeerView:
    note: Mapping[str, Any] = member.daemon or {}
    life = Life.GONE if member.is_gone else Life.ALIVE if member.is_alive else Life.SILENT
    at, by = member.gone or (None, "")
    since = {Life.ALIVE: note.get("started_at"), Life.GONE: at}.get(life)
    troubles = {} if member.is_gone else {name: _trouble(value) for name, value in member.troubles.items()}
    limited = Limited.from_note(member.troubles.get(LIMITED))
    if limited is not None and not member.is_gone:
        troubles[LIMITED] = Trouble(limited.english)
    return PeerView(
        host=display(member.host),
        life=life,
        since=since,
        taken_over_by=display(by),
        pid=note.get("pid"),
        version=note.get("version"),
        counts={state.value: member.counts.get(state, 0) for state in State},
        waiting=member.waiting,
        troubles={name: found for name, found in troubles.items() if found is not None and name != "paused"},
    )


def is_any_alive(ledger: Ledger | None, state: Path) -> bool:
    """Whether a daemon takes up what is dropped: the one with this state, or any that shares the ledger."""
    if ledger is None or not ledger.is_shared:
        return is_daemon_alive(state)
    return any(member.is_alive for member in ledger.members())


def look_ahead(config: Config, paths: Paths, now: float) -> LookAhead:
    """What is known of how long videos take here; raises as `gather` does."""
    ledger = open_for_reading(config, paths.state or paths.root / "state")
    if ledger is None:
        return LookAhead()
    with closing(ledger):
        counts = ledger.counts()
        unsettled = sum(counts[state] for state in (State.QUEUED, State.EXPORTING, State.RENDERING))
        return LookAhead(True, PastRenders().experience(ledger, now), unsettled, config.jobs.max_rendering)


def _inbox(inbox: Path, base: Defaults) -> InboxView:
    end = time.monotonic() + LISTING_SECONDS
    try:
        listing = list_inbox(str(inbox), lambda: time.monotonic() > end)
    except FileNotFoundError:
        return InboxView(trouble="it is not there yet")
    except OSError as error:
        return InboxView(trouble=f"it cannot be read: {error.strerror or error}")
    drops = listing.without_notes(base)
    names = tuple(display(name) for name in itertools.islice(sorted(drops), MOST_WAITING))
    is_whole = listing.is_whole and not listing.unread
    return InboxView(names, len(drops), is_whole, listing.is_paused)


def _daemon(note: Any, *, is_running: bool) -> DaemonView:
    if not isinstance(note, dict):
        return DaemonView(is_running)
    return DaemonView(is_running, note.get("pid"), note.get("started_at"), note.get("version"))


def _trouble(note: Any) -> Trouble | None:
    if isinstance(note, dict):
        return Trouble(display(str(note.get("reason", ""))), note.get("since"))
    return Trouble(display(str(note))) if note else None


def _file(job_file: JobFile, jobs: Iterable[Job], counts: dict[str, int], outlook: Outlook) -> FileView:
    return FileView(
        name=display(job_file.name),
        claimed_at=job_file.claimed_at,
        outcome=job_file.outcome,
        problems=len(job_file.problems),
        counts=counts,
        jobs=tuple(_job(job, job_file.claimed_at) for job in jobs),
        outlook=outlook if counts else None,
    )


def _job(job: Job, claimed_at: float) -> JobView:
    unsettled_since = job.exported_at if job.state is State.RENDERING else claimed_at
    return JobView(
        n=job.position,
        state=job.state,
        percent=job.progress,
        project_id=None if job.project_id is None else display(job.project_id),
        text=_excerpt(str(job.request.body.get("text", ""))),
        since=job.settled_at if job.state.is_settled else unsettled_since,
        reason=display(job.reason),
        paid=job.paid,
        video=None if job.video is None else display(job.video.path),
    )


def _excerpt(text: str) -> str:
    line = display(" ".join(text[: 4 * EXCERPT_CHARACTERS].split()))
    return line if len(line) <= EXCERPT_CHARACTERS else f"{line[: EXCERPT_CHARACTERS - 1]}…"


def _filed(job_file: JobFile, jobs: Iterable[Job]) -> FiledView:
    found = list(jobs)
    failed = [job for job in found if job.state is State.FAILED]
    return FiledView(
        name=display(job_file.name),
        filed_as=display(job_file.filed_as or ""),
        outcome=job_file.outcome or "",
        settled_at=job_file.settled_at,
        videos=sum(job.state is State.DONE for job in found),
        failures=len(failed),
        in_doubt=sum(job.paid is Paid.UNKNOWN for job in failed),
        problems=len(job_file.problems),
    )


# --- for programs ---------------------------------------------------------------------------------


def document(overview: Overview) -> dict[str, Any]:
    """The overview as plain JSON values; times are UTC (RFC 3339), null where they are not known."""
    return {
        "at": _time(overview.at),
        "root": overview.root,
        "state_folder": overview.state_folder,
        "has_ledger": overview.has_ledger,
        "daemon": {
            "running": overview.daemon.is_running,
            "pid": overview.daemon.pid,
            "started_at": _time(overview.daemon.started_at),
            "version": overview.daemon.version,
        },
        "troubles": {
            "account": _trouble_document(overview.account),
            "cloud": _trouble_document(overview.cloud),
            "root": _trouble_document(overview.root_trouble),
        },
        "paused": overview.inbox.is_paused,
        "inbox": {
            "count": overview.inbox.count,
            "exact": overview.inbox.is_whole,
            "names": list(overview.inbox.names),
            "error": overview.inbox.trouble or None,
        },
        "counts": overview.counts,
        "file_count": overview.file_count,
        "files": [_file_document(file) for file in overview.files],
        "filed": [_filed_document(filed) for filed in overview.filed],
        "limited": _limited_document(overview.limited),
        "experience": {
            "renders": overview.experience.count,
            "render_seconds": round(overview.experience.typical_seconds, 1) if overview.experience.count else None,
        },
        "daemons": [_peer_document(peer) for peer in overview.peers],
    }


def _peer_document(peer: PeerView) -> dict[str, Any]:
    return {
        "host": peer.host,
        "state": peer.life,
        "since": _time(peer.since),
        "taken_over_by": peer.taken_over_by or None,
        "pid": peer.pid,
        "version": peer.version,
        "counts": peer.counts,
        "waiting": peer.waiting,
        "troubles": {name: _trouble_document(trouble) for name, trouble in peer.troubles.items()},
    }


def _limited_document(limited: Limited | None) -> dict[str, Any] | None:
    return None if limited is None else {**limited.note(), "until": _time(limited.until)}


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _trouble_document(trouble: Trouble | None) -> dict[str, Any] | None:
    return None if trouble is None else {"reason": trouble.reason, "since": _time(trouble.since)}


def _file_document(file: FileView) -> dict[str, Any]:
    return {
        "file": file.name,
        "claimed_at": _time(file.claimed_at),
        "outcome": file.outcome,
        "problems": file.problems,
        "counts": file.counts,
        "jobs": [
            {
                "n": job.n,
                "state": job.state,
                "percent": job.percent,
                "project_id": job.project_id,
                "text": job.text,
                "since": _time(job.since),
                "reason": job.reason or None,
                "paid": job.paid,
                "video": job.video,
            }
            for job in file.jobs
        ],
        "spoken_seconds": _seconds(file.outlook.spoken_seconds) if file.outlook else None,
        "ready_seconds": _seconds(file.outlook.ready_seconds) if file.outlook else None,
        "host": file.host or None,
    }


def _filed_document(filed: FiledView) -> dict[str, Any]:
    return {
        "file": filed.name,
        "filed_as": filed.filed_as,
        "outcome": filed.outcome,
        "settled_at": _time(filed.settled_at),
        "videos": filed.videos,
        "failures": filed.failures,
        "in_doubt": filed.in_doubt,
        "problems": filed.problems,
    }


def _time(wall: float | None) -> str | None:
    if wall is None:
        return None
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
