"""A whole daemon in one thread: the real dispatcher, ledger, and folders; a fake clock, cloud, and scanner."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from daemon.core.allowance import utc_day
from daemon.core.defaults import NO_DEFAULTS, Defaults
from daemon.core.drop import Drop, Fingerprint
from daemon.core.errors import AccountTroubled, BatchInvalid, CloudDeferred
from daemon.core.job_content import Grammar
from daemon.core.messages import DropReady, PauseSeen, ScanEnded
from daemon.core.problem import Problem
from daemon.core.project import Project
from daemon.core.report import Stop
from daemon.core.schedule import Instant
from daemon.dispatcher import Dispatcher, Limits
from daemon.edges.ledger import Ledger
from daemon.edges.spool import Places, Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from daemon.core.allowance import Day
    from daemon.models_watch import ModelsSource
    from daemon.notifying import NoticePlan
    from daemon.status_watch import StatusSource

VIDEO = b"a whole video"


class Killed(BaseException):
    """The daemon was killed here."""


@dataclass(frozen=True)
class FakeLook:
    percent: float
    url: str | None


@dataclass(frozen=True)
class FakePart:
    bytes: int
    sha256: str


@dataclass
class FakeCloud:
    """Accepts what it is asked for, and renders by the fake clock.

    ``export_faults``, ``look_faults``, and ``download_faults`` are raised one after the other; an export fault is a
    pair: the exception, and whether the request was accepted all the same.
    """

    clock: Callable[[], float]
    render_seconds: float = 10.0
    accepted: dict[str, tuple[float, dict[str, object]]] = field(default_factory=dict)
    asked: list[dict[str, object]] = field(default_factory=list)
    looks: Counter[str] = field(default_factory=Counter)
    downloads: Counter[str] = field(default_factory=Counter)
    probes: int = 0
    export_faults: deque[tuple[Exception, bool] | None] = field(default_factory=deque)
    look_faults: deque[Exception | FakeLook | None] = field(default_factory=deque)
    download_faults: deque[Exception | None] = field(default_factory=deque)
    probe_faults: deque[Exception | None] = field(default_factory=deque)
    can_export: bool = True
    warm_up_faults: deque[Exception | None] = field(default_factory=deque)
    has_project: bool = False
    has_projects: bool = False
    described: dict[str, Project] = field(default_factory=dict)
    project_faults: deque[Exception | None] = field(default_factory=deque)
    listings: int = 0
    connections: int = 0
    looks_together: list[int] = field(default_factory=list)
    not_together: set[str] = field(default_factory=set)

    def export(self, body: Mapping[str, object]) -> str:
        self.asked.append(dict(body))
        fault = self.export_faults.popleft() if self.export_faults else None
        if fault is None or fault[1]:
            project_id = f"project{len(self.accepted) + 1}"
            self.accepted[project_id] = (self.clock(), dict(body))
        if fault is not None:
            raise fault[0]
        return project_id

    def warm_up(self) -> None:
        fault = self.warm_up_faults.popleft() if self.warm_up_faults else None
        if fault is not None:
            raise fault
        self.can_export = True

    def look_together(
        self, project_ids: Sequence[str]
    ) -> Iterator[list[tuple[int, FakeLook | CloudDeferred | AccountTroubled | None]]]:
        self.looks_together.append(len(project_ids))
        for place, project_id in enumerate(project_ids):
            if project_id in self.not_together:
                yield [(place, None)]
                continue
            try:
                yield [(place, self.look(project_id))]
            except (CloudDeferred, AccountTroubled) as error:
                yield [(place, error)]

    def look(self, project_id: str, *, is_afresh: bool = False) -> FakeLook:
        self.connections += is_afresh
        self.looks[project_id] += 1
        fault = self.look_faults.popleft() if self.look_faults else None
        if isinstance(fault, FakeLook):
            return fault
        if fault is not None:
            raise fault
        if project_id not in self.accepted:
            raise CloudDeferred("404: there is no such project", is_bounded=True)
        since = self.clock() - self.accepted[project_id][0]
        percent = min(100.0, 100.0 * since / self.render_seconds) if self.render_seconds else 100.0
        return FakeLook(percent, f"https://cdn.test/{project_id}.mp4?Signature=s" if percent >= 100.0 else None)

    def projects(self) -> tuple[Project, ...]:
        self.listings += 1
        fault = self.project_faults.popleft() if self.project_faults else None
        if fault is not None:
            raise fault
        return tuple(Project(project_id) for project_id in self.described)

    def project(self, project_id: str) -> Project:
        if project_id not in self.described:
            raise CloudDeferred("404: there is no such project", is_bounded=True)
        return self.described[project_id]

    def probe(self, project_id: str | None) -> None:
        del project_id
        self.probes += 1
        fault = self.probe_faults.popleft() if self.probe_faults else None
        if fault is not None:
            raise fault

    def download(self, url: str, part: Path, *, should_stop: Callable[[], bool]) -> FakePart:
        del should_stop
        self.downloads[url] += 1
        fault = self.download_faults.popleft() if self.download_faults else None
        if fault is not None:
            raise fault
        part.write_bytes(VIDEO)
        return FakePart(len(VIDEO), hashlib.sha256(VIDEO).hexdigest())

    def texts_accepted(self) -> Counter[str]:
        """How often each text was accepted, that is, paid."""
        return Counter(str(body["text"]) for _at, body in self.accepted.values())


@dataclass
class FakeWatch:
    released: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def release(self, name: str) -> None:
        self.released.append(name)

    def forget(self, name: str) -> None:
        self.forgotten.append(name)

    def wake(self) -> None:
        pass


class InlineCrew:
    """Workers that work when they are told to, one call after the other."""

    def __init__(self, post: Callable[[object], None]) -> None:
        self._post = post
        self.calls: deque[tuple[str, Callable[[], object]]] = deque()
        self.held: set[str] = set()

    def export(self, call: Callable[[], object]) -> None:
        self.calls.append(("export", call))

    def look(self, call: Callable[[], object]) -> None:
        self.calls.append(("look", call))

    def look_together(self, call: Callable[[], Iterable[object]]) -> None:
        def look() -> None:
            for message in call():
                self._post(message)

        self.calls.append(("look", look))

    def download(self, call: Callable[[], object]) -> None:
        self.calls.append(("download", call))

    def file(self, call: Callable[[], object]) -> None:
        self.calls.append(("file", call))

    def errand(self, call: Callable[[], object]) -> None:
        self.calls.append(("errand", call))

    def notify(self, call: Callable[[], object]) -> None:
        self.calls.append(("notify", call))

    def page(self, call: Callable[[], object]) -> None:
        self.calls.append(("page", call))

    def work(self) -> bool:
        """Make every call that is not held; whether there was any."""
        waiting = [pair for pair in self.calls if pair[0] in self.held]
        ready = [pair for pair in self.calls if pair[0] not in self.held]
        self.calls = deque(waiting)
        for _kind, call in ready:
            message = call()
            if message is not None:
                self._post(message)
        return bool(ready)


class Lines:
    """A logger that remembers what is not for debugging."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def log(self, level: int, event: str, **fields: Any) -> None:
        if level > logging.DEBUG:
            self.lines.append((event, fields))

    def events(self) -> list[str]:
        return [event for event, _fields in self.lines]


class World:
    """A root with a daemon on it, which can be killed and started again."""

    def __init__(
        self,
        root: Path,
        *,
        limits: Limits | None = None,
        render_seconds: float = 10.0,
        make_cloud: Callable[[Callable[[], float], float], FakeCloud] = FakeCloud,
        models: ModelsSource | None = None,
        notices: NoticePlan | None = None,
        pages: StatusSource | None = None,
        calendar: Callable[[float], Day] = utc_day,
        is_started: bool = True,
        open_ledger: Callable[[], Ledger] | None = None,
    ) -> None:
        self.root = root
        self.open_ledger = open_ledger or (lambda: Ledger(root / "state"))
        self.limits = limits or Limits()
        self.models = models
        self.notices = notices
        self.pages = pages
        self.calendar = calendar
        self.monotonic = 1000.0
        self.wall = 1_700_000_000.0
        self.cloud = make_cloud(lambda: self.monotonic, render_seconds)
        self.watch = FakeWatch()
        self.log = Lines()
        self.turns = 0
        self.is_once = False
        for name in ("inbox", "state"):
            (root / name).mkdir(exist_ok=True)
        if is_started:
            self.start()

    @property
    def now(self) -> Instant:
        return Instant(self.monotonic, self.wall)

    def start(self) -> None:
        """Start a daemon on what is there."""
        self.mailbox: deque[object] = deque()
        self.ledger = self.open_ledger()
        folders = (self.root / name for name in ("inbox", "processing", "done", "failed", "videos"))
        self.spool = Spool(
            Places(self.root, *folders),
            ledger_id=self.ledger.id,
            was_seen=any(self.ledger.notes("seen_root")),
            machine=self.ledger.owner if self.ledger.is_shared else "",
        )
        self.spool.check_root()
        self.ledger.note("seen_root", str(self.root))
        self.crew = InlineCrew(self.mailbox.append)
        self.dispatcher = Dispatcher(
            ledger=self.ledger,
            spool=self.spool,
            studio=self.cloud,
            watch=self.watch,
            crew=self.crew,
            limits=self.limits,
            log=self.log,
            models=self.models,
            notices=self.notices,
            pages=self.pages,
            calendar=self.calendar,
            is_once=self.is_once,
        )
        self.dispatcher.recover(self.now)
        self.mailbox.append(PauseSeen(is_paused=False))

    def kill(self) -> None:
        """Let go of everything without a word, as SIGKILL does."""
        self.ledger.close()

    def restart(self) -> None:
        """Kill the daemon, and start another."""
        self.kill()
        self.start()

    # --- time -------------------------------------------------------------------------------------

    def settle(self) -> float | None:
        """Turn until nothing moves; when the daemon wants to be woken."""
        for _ in range(1000):
            messages = list(self.mailbox)
            self.mailbox.clear()
            self.turns += 1
            wake = self.dispatcher.turn(self.now, messages)
            if not self.crew.work() and not self.mailbox and (wake is None or wake > self.monotonic):
                return wake
        raise AssertionError("the daemon never comes to rest")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, waking the daemon whenever it wants to be."""
        end = self.monotonic + seconds
        while True:
            wake = self.settle()
            moment = end if wake is None else min(end, wake)
            self.wall += moment - self.monotonic
            self.monotonic = moment
            if moment >= end:
                self.settle()
                return

    # --- people -----------------------------------------------------------------------------------

    def drop(self, name: str, content: str | bytes) -> None:
        """Put a file into inbox/ and have the scanner say that it is ready."""
        self.put(name, content)
        self.say_ready(name)

    def put(self, name: str, content: str | bytes) -> None:
        """Put a file into inbox/, where nobody has seen it yet."""
        path = self.root / "inbox" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def say_ready(self, name: str, defaults: Defaults = NO_DEFAULTS) -> None:
        """The scanner's word for a file that lies in inbox/, where its folder gives these."""
        path = self.root / "inbox" / name
        content = path.read_bytes()
        batch, problems = None, tuple[Problem, ...]()
        try:
            batch = Grammar("v2", "cp949").batch(name, content, defaults)
        except BatchInvalid as error:
            problems = error.problems
        digest = hashlib.sha256(content).hexdigest()
        fingerprint = Fingerprint.of(path.stat())
        self.mailbox.append(DropReady(Drop(name, fingerprint, content, digest, batch, problems)))

    def rescan(self) -> None:
        """The scanner after a restart: everything in inbox/ is ready."""
        for path in sorted((self.root / "inbox").rglob("*.yaml")):
            self.say_ready(path.relative_to(self.root / "inbox").as_posix())
        self.mailbox.append(ScanEnded((), 0, is_idle=True))

    def drop_with(self, defaults: str, name: str, content: str | bytes) -> None:
        """The same, where the file's folder has these defaults."""
        self.put(name, content)
        self.say_ready(name, Grammar("v2").defaults(defaults.encode(), "inbox/_defaults.yaml"))

    def drop_again(self, name: str, *, filed_as: str | None = None) -> None:
        """Move a failed file back into inbox/."""
        (self.root / "failed" / (filed_as or name)).rename(self.root / "inbox" / name)
        self.say_ready(name)

    def stop(self) -> None:
        """SIGTERM."""
        self.mailbox.append(Stop())

    # --- looking ----------------------------------------------------------------------------------

    def files(self, folder: str) -> list[str]:
        """Every visible file below a folder."""
        base = self.root / folder
        found = (path.relative_to(base) for path in base.rglob("*") if path.is_file())
        return sorted(path.as_posix() for path in found if not any(part.startswith(".") for part in path.parts))

    def result(self, path: str) -> dict[str, Any]:
        """A result file, by the job file's path relative to the root."""
        found: dict[str, Any] = json.loads((self.root / f"{path}.result.json").read_text())
        return found

    def error(self, path: str) -> str:
        """An error file, by the job file's path relative to the root."""
        return (self.root / f"{path}.error.txt").read_text()

    def states(self) -> list[str]:
        """The states of all unfinished jobs, in order."""
        return [job.state for _file, jobs in self.ledger.unfinished() for job in jobs]


def yaml_of(*texts: str, **more: str) -> str:
    """A job file with one job for each text."""
    extra = "".join(f"  {key}: {value}\n" for key, value in more.items())
    return "".join(
        f"- language: ko\n  text: {json.dumps(text)}\n  model: M000004017\n  clothes: BG00006160\n{extra}"
        for text in texts
    )


__all__ = ["VIDEO", "FakeCloud", "FakeLook", "FakePart", "Killed", "World", "yaml_of"]
