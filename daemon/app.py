"""The composition root: a Config in, a wired Dispatcher out; and the only real clock."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import fields, replace
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from msgspec import structs

from daemon import VERSION
from daemon.allowance import DailyLimits
from daemon.config import Config, find_credential, load, read_models_file
from daemon.core.allowance import Day
from daemon.core.batch import MAX_BYTES
from daemon.core.credential import secrets_of
from daemon.core.errors import ChromadropError, ConfigInvalid, LedgerLost, LedgerRefused, RootUnavailable
from daemon.core.guide import SCHEMA, Guide, Names, make_guide
from daemon.core.notice import Kind, Sink
from daemon.core.page import STATUS_PAGE
from daemon.core.record import dataclass
from daemon.core.redact import Redactor
from daemon.core.schedule import Instant
from daemon.core.vitals import BEAT_SECONDS, Peer, Vitals
from daemon.crew import Crew
from daemon.dispatcher import Dispatcher, Limits, Summary
from daemon.edges import logs, mounts
from daemon.edges.cores import Cores
from daemon.edges.inbox_watch import InboxWatch, Pulse, WatchSettings
from daemon.edges.ledger import Ledger
from daemon.edges.service_manager import Supervisor
from daemon.edges.spool import MARKER, Places, Sharing, Spool, read_small
from daemon.edges.studio import Studio
from daemon.models_watch import PAGE as MODELS_PAGE
from daemon.models_watch import ModelsSource
from daemon.notifying import NoticePlan
from daemon.pages import Live, Pages
from daemon.pipeline import paint
from daemon.status_watch import StatusSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from daemon.config import Credential, Folders, Paths
    from daemon.core.catalogue import Catalogue
    from daemon.core.messages import Lying
    from daemon.edges.health import Health
    from daemon.pipeline.notify import Outlet
    from daemon.status_source import StatusPages

MESSAGES_A_TURN: Final = 1000
BREATH_SECONDS: Final = 0.01
LAST_PAGE_SECONDS: Final = 0.5
FINE: Final = 0
SOMETHING_FAILED: Final = 1
UNREACHABLE: Final = 69
CREDENTIAL_REFUSED: Final = 77
INTERRUPTED: Final = 130


class Reload:
    """SIGHUP: read the configuration again."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a daemon is made from.

    Attributes:
        config: as it was read.
        config_path: as a person named it, to be read again on SIGHUP.
        paths: absolute, with the state folder found.
        credential: hidden.
        redactor: takes it, and every token that is had for it, out of texts.
        environ: for the service manager and SIGHUP.
        cwd: for SIGHUP.
    """

    config: Config
    config_path: Path | None
    paths: Paths
    credential: Credential
    redactor: Redactor
    environ: dict[str, str]
    cwd: Path

    def read_again(self) -> Settings:
        """The settings as they are written now.

        Raises:
            ConfigInvalid: every problem.
        """
        config = load(self.config_path, self.environ, self.cwd)
        credential = find_credential(config, self.environ)
        for secret in (*secrets_of(credential.reveal()), *config.ledger.secrets):
            self.redactor.learn(secret)
        return replace(self, config=config, paths=config.paths(self.environ, self.cwd), credential=credential)


def now() -> Instant:
    """This moment: the one place where a real clock is read."""
    return Instant(time.monotonic(), time.time())


def find_state(config: Config, paths: Paths) -> Path:
    """The state folder: the one that is set, else state/ in a root on a local disk.

    Raises:
        ConfigInvalid: it is, or would be, on a network file system, where a ledger is not safe.
        RootUnavailable: nobody set one, and the root is not there.
    """
    state = paths.state or paths.root / "state"
    if paths.state is None and not paths.root.is_dir():
        raise RootUnavailable(f"{paths.root} is not there: make it, mount it, or set folders.root")
    ledger = config.ledger.path.parent if config.ledger.path is not None else state
    for folder in {state, ledger}:
        _refuse_network(config, folder)
    return state


def _refuse_network(config: Config, folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    found = mounts.file_system(existing)
    if not found.is_local:
        raise ConfigInvalid(
            [
                config.problem_at(
                    "folders.state",
                    f"{folder} lies on {found.type}, which is not a local disk: the ledger would not survive there. "
                    "Set folders.state to a folder on a local disk, such as /var/lib/chromadrop",
                )
            ]
        )


def places(paths: Paths) -> Places:
    """The folders as the spool wants them."""
    return Places(paths.root, paths.inbox, paths.processing, paths.done, paths.failed, paths.videos)


def limits(config: Config) -> Limits:
    """What the dispatcher needs of the configuration."""
    return Limits(
        max_rendering=config.jobs.max_rendering,
        poll_seconds=config.jobs.poll_seconds,
        render_timeout_seconds=config.jobs.render_timeout_seconds,
        downloads=config.videos.downloads,
        video_name=config.videos.name,
        check_models=config.jobs.check_models,
        daily=DailyLimits(config.jobs.max_per_day, config.jobs.max_seconds_per_day),
        keep_days=config.ledger.keep_days,
    )


def local_day(wall: float) -> Day:
    """The calendar day of a moment in this machine's time zone, whose clocks may be changed on it."""
    today = datetime.fromtimestamp(wall).astimezone().date()
    begins, ends = (datetime(day.year, day.month, day.day) for day in (today, today + timedelta(days=1)))  # noqa: DTZ001
    return Day(begins.timestamp(), ends.timestamp())


def guide_for(config: Config, paths: Paths) -> Guide:
    """What is put into a new root for people who are new to it."""

    def relative(folder: Path) -> str:
        return folder.relative_to(paths.root).as_posix() if folder.is_relative_to(paths.root) else folder.as_posix()

    has_models = config.api.version == "v3" or config.models_path is not None
    names = Names(
        inbox=relative(paths.inbox),
        processing=relative(paths.processing),
        done=relative(paths.done),
        failed=relative(paths.failed),
        videos=relative(paths.videos),
        schema=os.path.relpath(paths.root / SCHEMA, paths.inbox),
        status_page=STATUS_PAGE if config.status_page else "",
        models_page=MODELS_PAGE if has_models else "",
    )
    return make_guide(config.api.version, names)


def studio(
    config: Config,
    credential: Credential,
    redact: Redactor | None = None,
    on_large: Callable[[], None] | None = None,
) -> Studio:
    """The cloud, as configured.

    Args:
        config: says where.
        credential: what it knows us by.
        redact: is told of every token that is had; one of its own where None.
        on_large: called by the thread of a download that has much to hash, before it does.

    Raises:
        ValueError: something about the environment (a CA bundle) cannot be used.
    """
    return Studio(
        base_url=config.api.effective_base_url,
        credential=credential.reveal(),
        redactor=redact or redactor(credential),
        version=config.api.version,
        connect_timeout_seconds=config.api.connect_timeout_seconds,
        read_timeout_seconds=config.api.read_timeout_seconds,
        max_video_bytes=config.videos.max_bytes,
        on_large=on_large,
    )


def redactor(credential: Credential | None, config: Config | None = None) -> Redactor:
    """What takes the credential, and the ledger's password, out of every text."""
    of_ledger = config.ledger.secrets if config is not None else ()
    return Redactor([*(secrets_of(credential.reveal()) if credential is not None else ()), *of_ledger])


def models_source(config: Config, cloud: Studio) -> ModelsSource | None:
    """Where the list of models comes from: the operator's file where there is one, else the cloud, where it has one."""
    path = config.models_path
    if path is not None:
        return ModelsSource(lambda: read_models_file(path), _page_of(str(path)))
    return ModelsSource(cloud.models, _page_of(config.api.effective_base_url)) if cloud.has_models else None


def _page_of(base: str) -> Callable[[Catalogue, float], bytes]:
    def page_of(found: Catalogue, read_at: float) -> bytes:
        from daemon.core import models_page  # noqa: PLC0415 - one in a day is made, or none

        return models_page.page(found, read_at=read_at, base=base).encode("utf-8", "replace")

    return page_of


def notice_plan(config: Config, environ: Mapping[str, str], redact: Redactor) -> NoticePlan:
    """Who is told of what, as configured."""
    wanted = config.notify
    outlets: dict[Sink, Outlet] = {}
    if wanted.command is not None:
        from daemon.edges.notifier import CommandOutlet  # noqa: PLC0415 - few want one

        outlets[Sink.COMMAND] = CommandOutlet(
            wanted.command, environ=environ, timeout_seconds=wanted.timeout_seconds, redact=redact
        )
    if wanted.url is not None:
        from daemon.edges.notifier import UrlOutlet  # noqa: PLC0415 - as above

        outlets[Sink.URL] = UrlOutlet(wanted.url, timeout_seconds=wanted.timeout_seconds)
    return NoticePlan(outlets, frozenset(Kind(name) for name in wanted.events), wanted.tries)


def missing_program(config: Config, environ: Mapping[str, str]) -> str | None:
    """The program that ``notify.command`` names, where it cannot be found or run; None where all is well."""
    command = config.notify.command
    if command is None:
        return None
    from daemon.edges.notifier import find_program  # noqa: PLC0415 - few want one

    return command[0] if find_program(command, environ) is None else None


def open_ledger(config: Config, state: Path, *, is_exclusive: bool) -> Ledger:
    """The ledger; see `Ledger` for what it raises."""
    return Ledger(state, path=config.ledger.path, url=config.ledger.database, is_exclusive=is_exclusive)


def marker_ledger(root: Path) -> str | None:
    """Which ledger the root's marker names, empty where it names none; None where there is no marker.

    Raises:
        RootUnavailable: the root is not there, or its marker may not be read.
    """
    marker = root / MARKER
    try:
        if not root.is_dir():
            raise RootUnavailable(f"{root} is not there: make it, mount it, or set folders.root")
        found = json.loads(read_small(marker))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        return ""
    except OSError as error:
        raise RootUnavailable(f"{error.filename or root}: {error.strerror or error}") from error
    return str(found.get("ledger", "")) if isinstance(found, dict) else ""


def sharing(config: Config) -> Sharing:
    """Modes and group of what the daemon makes."""
    return Sharing(config.videos.mode_bits, config.folders.mode_bits, config.folders.group)


def open_spool(ledger: Ledger, paths: Paths, sharing: Sharing | None = None, guide: Guide | None = None) -> Spool:
    """The folders of this ledger's root, with what the ledger remembers of it."""
    return Spool(
        places(paths),
        ledger_id=ledger.id,
        was_seen=was_root_seen(ledger, paths),
        sharing=sharing,
        log=logs.get_logger(),
        guide=guide,
        machine=ledger.owner if ledger.is_shared else "",
    )


def was_root_seen(ledger: Ledger, paths: Paths) -> bool:
    """Whether this root had its marker before: without it the root is unmounted, not new.

    Several daemons have one root, under whatever path each.
    """
    if ledger.is_shared:
        return any(ledger.notes("seen_root"))
    return bool(ledger.read_note("seen_root") == str(paths.root))


class Daemon:
    """One daemon, wired.

    Attributes:
        renewal: once `run` has ended, what the daemon that takes this one's place is to be made from; None for none.
        is_lost: the renewal is due because another daemon has taken our jobs over.
        accepted: what was last found good: at the start, or by SIGHUP since.

    Args:
        settings: what it is made from.
        is_once: work off what is there and end.
        supervisor: who watches the process; the environment's where None.

    Raises:
        LedgerLocked: another daemon has this state.
        LedgerRefused: the ledger or the root belong to another.
        LedgerUnavailable: the ledger cannot be opened.
        RootUnavailable: with ``is_once`` only; otherwise the daemon waits for the root.
    """

    def __init__(self, settings: Settings, *, is_once: bool, supervisor: Supervisor | None = None) -> None:
        self.renewal: Settings | None = None
        self.is_lost = False
        self.accepted = settings
        self._settings = settings
        self._wants_page = settings.config.status_page
        self._is_once = is_once
        self._mailbox: SimpleQueue[object] = SimpleQueue()
        self._breath = threading.Event()  # never set: waiting for it lets the workers work
        self._cores = Cores()
        self._log = logs.get_logger()
        self._supervisor = supervisor or Supervisor(settings.environ, os.getpid())
        config, paths = settings.config, settings.paths
        state = find_state(config, paths)
        with ExitStack() as stack:
            self._ledger = open_ledger(config, state, is_exclusive=True)
            stack.callback(self._ledger.close)
            self._spool = open_spool(self._ledger, paths, sharing(config), guide_for(config, paths))
            self._check_root_first()
            self._studio = studio(config, settings.credential, settings.redactor, self._cores.leave)
            stack.callback(self._studio.close)
            self._crew = Crew(
                self._mailbox.put,
                max_rendering=config.jobs.max_rendering,
                downloads=config.videos.downloads,
                join=self._cores.join,
                leave=self._cores.leave,
            )
            self._watch = InboxWatch(
                _watch_settings(config, paths),
                reader=config.grammar,
                post=self._mailbox.put,
                check_root=self._check_root,
                identify=mounts.identity,
                file_system=mounts.file_system,
                log=self._log,
            )
            self._notices = notice_plan(config, settings.environ, settings.redactor)
            self._pages = Pages(lambda: _status_pages(config, paths, state, lambda: self._watch.lying))
            stack.callback(self._pages.close)
            self._health = _health(config, paths, state, self._pages, stack)
            self._dispatcher = Dispatcher(
                ledger=self._ledger,
                spool=self._spool,
                studio=self._studio,
                watch=self._watch,
                crew=self._crew,
                limits=limits(config),
                log=self._log,
                models=models_source(config, self._studio),
                notices=self._notices,
                pages=StatusSource(self._pages.in_root, is_wanted=config.status_page),
                meter=self._health.figures if self._health is not None else None,
                calendar=local_day,
                is_once=is_once,
            )
            self._stack = stack.pop_all()

    def _check_root_first(self) -> None:
        try:
            self._spool.check_root()
        except RootUnavailable:
            # The scanner says so, and when it is back; a run that should end cannot wait for that.
            if self._is_once:
                raise
            return
        self._ledger.note("seen_root", str(self._settings.paths.root))

    def _check_root(self) -> None:
        """For the scanner: a root that has become another's is as good as gone."""
        try:
            self._spool.check_root()
        except LedgerRefused as error:
            raise RootUnavailable(str(error)) from None

    def post(self, message: object) -> None:
        """Put a message into the mailbox; any thread and any signal handler may."""
        self._mailbox.put(message)

    def is_unheard(self, kind: type) -> bool:
        """Whether a message of that kind came too late for the last turn; only after `run` has ended."""
        found = False
        with suppress(Empty):
            while True:
                found |= isinstance(self._mailbox.get_nowait(), kind)
        return found

    def run(self) -> int:
        """Work until told to stop, or, with ``is_once``, until all is worked off; the exit code."""
        with self._stack:
            try:
                self._ledger.note("daemon", {"pid": os.getpid(), "started_at": now().wall, "version": VERSION})
                self._dispatcher.recover(now())
            except LedgerLost as error:
                self._on_lost(error)
                return self._exit_code()
            self._ledger.listen(self._mailbox.put)
            self._watch.start()
            self._say_started()
            self._note_live()
            self._supervisor.ready(state_text(self._dispatcher.summary(), self._watch.pulse()))
            self._publish()
            if self._health is not None:
                self._health.start()
            try:
                self._work()
            finally:
                if self.renewal is None:
                    self._supervisor.stopping()
                self._watch.stop()
                for outlet in self._notices.outlets.values():
                    outlet.close()
                self._write_last_page()
                self._crew.close(0.2)
                self._cores.leave()
        summary = self._dispatcher.summary()
        self._log.info("daemon.stopped", failures=self._dispatcher.failures, queued=summary.queued)
        return self._exit_code()

    def _say_started(self) -> None:
        config, paths = self._settings.config, self._settings.paths
        self._log.info(
            "daemon.started",
            version=VERSION,
            pid=os.getpid(),
            config=str(config.source) if config.source else None,
            root=str(paths.root),
            api=config.api.effective_base_url,
            once=self._is_once,
        )
        if self._settings.credential.is_exposed:
            self._log.warning("credential.exposed", place=self._settings.credential.place)
        program = missing_program(config, self._settings.environ)
        if program is not None:
            self._log.warning("notice.unavailable", program=program)

    def _work(self) -> None:
        try:
            wake = self._turn([])
            while not self._dispatcher.is_finished and self.renewal is None:
                wake = self._turn(list(self._receive(wake)))
        except LedgerLost as error:
            self._on_lost(error)

    def _on_lost(self, error: LedgerLost) -> None:
        """Nothing in memory is so any more: begin again, as after a restart."""
        self._log.warning("ledger.lost", reason=str(error))
        self.is_lost = True
        self.renewal = self.accepted

    def _turn(self, messages: Sequence[object]) -> float | None:
        """One turn; when to make the next one without a message."""
        others = [message for message in messages if not isinstance(message, Reload)]
        wake = self._dispatcher.turn(now(), others)
        if len(others) < len(messages):
            # After everything that came with it: what has just been claimed must count.
            self._supervisor.reloading(now().monotonic)
            self._reload()
            if self.renewal is not None:
                return None
            self._supervisor.reloaded()
            wake = self._dispatcher.turn(now(), [])
        self._note_live()
        self._cores.settle(is_crowded=self._dispatcher.is_crowded, now=now().monotonic)
        times = (time for time in (wake, self._tell_supervisor(), self._publish()) if time is not None)
        return min(times, default=None)

    def _note_live(self) -> None:
        """For whoever makes the page, on another thread."""
        self._pages.live = Live(self._dispatcher.summary(), self._dispatcher.traced, self._watch.pulse(), now())

    def _write_last_page(self) -> None:
        """People are told that nothing more happens; a share that does not take it in a moment is not waited for."""
        if self._wants_page and not self._dispatcher.has_peers:
            self._crew.last_page(lambda: paint.put(self._spool, self._pages.last), LAST_PAGE_SECONDS)

    def _tell_supervisor(self) -> float | None:
        """After a turn, say so to who watches us; when to do it again."""
        if not self._supervisor.is_there:
            return None
        summary, pulse = self._dispatcher.summary(), self._watch.pulse()
        if summary.is_stopping:
            self._supervisor.stopping()
        return self._supervisor.after_turn(
            now().monotonic,
            state_text(summary, pulse),
            is_well=pulse.is_alive,
            is_waiting_to_end=summary.is_stopping and summary.exporting > 0,
        )

    def _publish(self) -> float | None:
        """After a turn, let monitoring know how things are; when to do it again."""
        if self._health is None:
            return None
        moment = now()
        self._health.publish(vitals(self._dispatcher.summary(), self._watch.pulse(), self._watch.listed_at, moment))
        return moment.monotonic + BEAT_SECONDS

    def _receive(self, wake: float | None) -> Iterator[object]:
        """What has come, waiting for the first: the only line of the main thread that blocks.

        In a rush a few milliseconds more are given to those that come with it, so that one transaction has them all.
        """
        try:
            first = self._mailbox.get(timeout=None if wake is None else max(0.0, wake - now().monotonic))
            if self._dispatcher.is_rushed:
                self._breath.wait(BREATH_SECONDS)
            yield first
            for _ in range(MESSAGES_A_TURN):
                yield self._mailbox.get_nowait()
        except Empty:
            return

    def _reload(self) -> None:
        """SIGHUP: what can change at run time changes; a configuration with problems is refused whole.

        Other folders want another daemon, which is made in this one's place once it has ended (`renewal`).
        """
        settings = self._settings
        try:
            renewed = settings.read_again()
            moved = _moved(settings.paths, renewed.paths)
            if moved:
                self._check_may_move(renewed, moved)
        except (ChromadropError, OSError, ValueError) as error:
            refuse_config(self._log, error, settings.redactor)
            return
        if moved:
            self.renewal = renewed
            return
        self.accepted = renewed
        config = renewed.config
        self._dispatcher.limits = limits(config)
        self._crew.resize(max_rendering=config.jobs.max_rendering, downloads=config.videos.downloads)
        self._spool.share_as(sharing(config))
        self._wants_page = config.status_page
        self._dispatcher.want_status_page(is_wanted=config.status_page)
        logs.set_level(config.logs.level)
        self._log.info("config.reloaded", needs_restart=_needs_restart(settings.config, config))

    def _check_may_move(self, renewed: Settings, moved: list[str]) -> None:
        """Folders change only between job files: nothing that was claimed from one inbox ends beside another."""
        count = self._dispatcher.summary().files
        if count or self._is_once:
            files = "1 job file is" if count == 1 else f"{count:,} job files are"
            text = (
                f"cannot change while {files} in work; reload again once they are filed away (a file inbox/PAUSE keeps "
                "new orders back), or restart the service, which is safe at any time"
            )
            raise ConfigInvalid([renewed.config.problem_at(f"folders.{moved[0]}", text)])
        find_state(renewed.config, renewed.paths)

    def _exit_code(self) -> int:
        if not self._is_once:
            return FINE
        if self.is_lost:
            return INTERRUPTED  # unless another daemon goes on in its place
        if self._dispatcher.is_in_trouble:
            return CREDENTIAL_REFUSED
        if self._dispatcher.is_cut_off:
            return UNREACHABLE
        if self._dispatcher.is_interrupted:
            return INTERRUPTED
        return SOMETHING_FAILED if self._dispatcher.failures else FINE


def state_text(summary: Summary, pulse: Pulse) -> str:
    """One line for the operator: what is wrong, then what is going on."""
    words = {
        "stopping": summary.is_stopping,
        "the scanner has ended or hangs: no drop is seen, the watchdog will start the daemon again": not pulse.is_alive,
        "the file server does not answer: no drop is seen": pulse.held_since is not None,
        f"root lost: {summary.root_reason}": summary.root_reason is not None,
        f"waiting for the folders: {summary.folders.reason if summary.folders else ''}": summary.folders is not None,
        f"account trouble: {summary.trouble}": summary.trouble is not None,
        f"cloud away: {summary.cloud_reason}": summary.cloud_reason is not None,
        "the ledger cannot be written": summary.is_ledger_away and summary.cut_reason is None,
        f"cut off from the ledger: {summary.cut_reason}": summary.cut_reason is not None,
        "paused": summary.is_paused,
        f"waiting for tomorrow: {summary.limited.english if summary.limited else ''}": summary.limited is not None,
    }
    counts = (
        f"{summary.queued} queued, {summary.exporting} exporting, "
        f"{summary.rendering} of {summary.max_rendering} rendering, {summary.downloading} downloading, "
        f"since the start {summary.done} done and {summary.failed} failed"
    )
    if summary.peers:
        counts += f"; {summary.peers} other daemon{'' if summary.peers == 1 else 's'} with the same ledger"
    return "; ".join([*(text for text, is_so in words.items() if is_so), counts])


def vitals(summary: Summary, pulse: Pulse, listed_at: float | None, moment: Instant) -> Vitals:
    """How things are, for monitoring.

    Args:
        summary: of the dispatcher.
        pulse: of the scanner.
        listed_at: when inbox/ was looked through last, in monotonic seconds.
        moment: after the turn.
    """
    return Vitals(
        turned_at=moment.monotonic,
        queued=summary.queued,
        exporting=summary.exporting,
        tracing=summary.tracing,
        rendering=summary.rendering,
        max_rendering=summary.max_rendering,
        downloading=summary.downloading,
        account=summary.trouble,
        cloud=summary.cloud_reason,
        root=summary.root_reason,
        is_ledger_away=summary.is_ledger_away,
        is_scanner_alive=pulse.is_alive,
        held_since=pulse.held_since,
        scanned_at=None if listed_at is None else moment.wall - (moment.monotonic - listed_at),
        is_paused=summary.is_paused,
        is_limited=summary.limited is not None,
        folders=summary.folders,
        is_stopping=summary.is_stopping,
        cut=summary.cut_reason,
        peers=summary.peers,
    )


def _status_pages(config: Config, paths: Paths, state: Path, lying: Callable[[], Lying]) -> StatusPages:
    from daemon.status_source import StatusPages  # noqa: PLC0415 - with what it needs 2 MB, and 30 ms of the start

    return StatusPages(config, paths, state, lying=lying, now=now)


def _health(config: Config, paths: Paths, state: Path, status: Pages, stack: ExitStack) -> Health | None:
    """The pages for monitoring, where they are wanted; they end with the stack."""
    if config.http.address is None:
        return None
    from daemon import overview  # noqa: PLC0415 - with their libraries, 4 MB that few need
    from daemon.edges.health import Health  # noqa: PLC0415 - as above

    past, reader = overview.PastRenders(), overview.Reader(config, state)
    stack.callback(reader.close)

    def peers() -> Sequence[Peer]:
        with reader.ledger() as ledger:
            return overview.peers_by_host(ledger.members() if ledger is not None else (), now().wall)

    health = Health(
        config.http.address,
        version=VERSION,
        booted_at=time.time() - time.clock_gettime(time.CLOCK_BOOTTIME),
        overview=lambda: overview.document(
            overview.gather(config, paths, state, now().wall, is_running=True, past=past, reader=reader)
        ),
        page=status.elsewhere,
        clock=time.monotonic,
        log=logs.get_logger(),
        peers=peers if config.ledger.is_shared else None,
    )
    stack.callback(health.stop)
    return health


def refuse_config(log: FilteringBoundLogger, error: Exception, redact: Redactor) -> None:
    """Say that the configuration which was read again does not count."""
    problems = [str(problem) for problem in error.problems] if isinstance(error, ConfigInvalid) else [str(error)]
    log.error("config.refused", problems=[redact(problem) for problem in problems])


def _moved(old: Paths, new: Paths) -> list[str]:
    """The folders that are others now."""
    return [field.name for field in fields(old) if getattr(old, field.name) != getattr(new, field.name)]


def _needs_restart(old: Config, new: Config) -> list[str]:
    """The sections whose changes count from the next start on."""
    old = structs.replace(old, folders=structs.replace(old.folders, **_at_once(new.folders)))
    fixed = ("api", "folders", "watch", "defaults", "http", "notify")
    changed = [name for name in fixed if getattr(old, name) != getattr(new, name)]
    if old.ledger.url != new.ledger.url:
        changed.append("ledger.url")
    if old.jobs.csv_encoding != new.jobs.csv_encoding:
        changed.append("jobs.csv_encoding")
    if old.videos.max_bytes != new.videos.max_bytes:
        changed.append("videos.max_bytes")
    if old.logs.format != new.logs.format:
        changed.append("logs.format")
    return changed


def _at_once(folders: Folders) -> dict[str, str | None]:
    """What needs no restart, though it stands among the folders."""
    return {"mode": folders.mode, "group": folders.group}


def _watch_settings(config: Config, paths: Paths) -> WatchSettings:
    return WatchSettings(
        inbox=paths.inbox,
        observer=config.watch.observer,
        settle_seconds=config.watch.settle_seconds,
        rescan_seconds=config.watch.rescan_seconds,
        grace_seconds=config.watch.grace_seconds,
        max_bytes=MAX_BYTES,
    )
