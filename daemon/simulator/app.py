"""Requests in, answers out: the endpoints, on aiohttp."""

from __future__ import annotations

import asyncio
import collections
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from daemon.simulator.answers import (
    MP4,
    XML,
    Answer,
    described,
    error_answer,
    exported,
    json_answer,
    store_error,
    text_answer,
)
from daemon.simulator.cloud import WHOLE
from daemon.simulator.faults import (
    DOWNLOAD,
    EXPORT,
    FINISHED,
    PROGRESS,
    PROJECT,
    RANGE,
    RENDER,
    Fault,
    FaultInvalid,
    FaultList,
)
from daemon.simulator.ranges import File, file_answer
from daemon.simulator.rewrites import damaged_file, look_answer, rewritten
from daemon.simulator.video import Video, smallest_bytes
from daemon.simulator.wire import Wire, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from daemon.simulator.cloud import Cloud, Links, Project
    from daemon.simulator.dialects import Dialect

LARGEST_REQUEST_BYTES: Final = 4 * 1024 * 1024
NO_PROJECT: Final = "0" * 24


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request for an export.

    Attributes:
        number: 1 for the first that came in, and so on.
        at: when, in seconds since 1970.
        fields: its JSON object; None where it could not be read.
        is_accepted: whether it was accepted, which is to say paid, whatever the client was told.
        key: the project's; None where there is none.
        fault: the fault that struck it, in short; empty where it was spared.
        code: the HTTP status code that the client was sent, or would have been.
    """

    number: int
    at: float
    fields: Any
    is_accepted: bool
    key: str | None
    fault: str
    code: int

    @property
    def text(self) -> str:
        """The text that was to be said; empty where there is none."""
        return str(self.fields.get("text", "")) if isinstance(self.fields, dict) else ""


@dataclass(frozen=True, slots=True)
class Served:
    """One request that was answered, for whoever wants to print it.

    Attributes:
        target: ``export``, ``progress``, ``project``, ``download``, or ``stray``.
        subject: the project's key, or what was asked for instead.
        code: the HTTP status code.
        fault: the fault that struck it, in short; empty where it was spared.
        note: what else there is to say, such as the percentage.
    """

    target: str
    subject: str
    code: int
    fault: str = ""
    note: str = ""

    def __str__(self) -> str:
        """One line: ``export   6a3f...  200  accepted``."""
        parts = [
            f"{self.target:<8}",
            self.subject,
            str(self.code),
            self.note,
            self.fault and f"fault {self.fault}",
        ]
        return "  ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Stray:
    """A request to a path that there is not, such as one that followed a redirect, and what it gave away."""

    method: str
    path: str
    has_credential: bool
    bytes: int


@dataclass(slots=True)
class Tally:
    """What was counted since the start, or the last reset."""

    exports: int = 0
    polls: int = 0
    downloads: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    strays: list[Stray] = field(default_factory=list)
    polls_of: collections.Counter[str] = field(default_factory=collections.Counter)
    downloads_of: collections.Counter[str] = field(default_factory=collections.Counter)


class Simulator:
    """The cloud behind its endpoints.

    Args:
        cloud: its projects.
        links: signs them.
        faults: in force.
        dialects: the API versions that it speaks.
        keys: the credentials that it takes; any when empty.
        video_bytes: the size of the videos; their natural one when None.
        clock: seconds since 1970.
        advance: puts the clock forward, in seconds.
        refuse: takes no connections for so many seconds.
        on_request: told of every request that was answered.
    """

    def __init__(
        self,
        *,
        cloud: Cloud,
        links: Links,
        faults: FaultList,
        dialects: Iterable[Dialect],
        keys: Iterable[str],
        video_bytes: int | None,
        clock: Callable[[], float],
        advance: Callable[[float], None],
        refuse: Callable[[float], None],
        on_request: Callable[[Served], None] | None = None,
    ) -> None:
        self.cloud = cloud
        self.links = links
        self.faults = faults
        self.dialects = tuple(dialects)
        self.keys = frozenset(keys)
        self.video_bytes = video_bytes if video_bytes is not None else smallest_bytes()
        self.clock = clock
        self.advance = advance
        self.refuse = refuse
        self.on_request = on_request
        self.stopping = asyncio.Event()
        self.tally = Tally()
        self.versions: collections.Counter[str] = collections.Counter()

    def application(self) -> web.Application:
        """The endpoints of every dialect, the object store's, the control API's, and the rest."""
        app = web.Application(client_max_size=LARGEST_REQUEST_BYTES)
        for dialect in self.dialects:
            Api(self, dialect).add_to(app)
        app.router.add_get("/videos/{key}/{name:.*}", self.download)
        Control(self).add_to(app)
        app.router.add_route("*", "/{path:.*}", self.stray)
        return app

    def told(self, served: Served) -> None:
        """Pass on what was answered."""
        if self.on_request is not None:
            self.on_request(served)

    def video(self, project: Project) -> Video:
        """The project's video as it is now."""
        return Video(project.key, int(project.finished_at), self.video_bytes, version=self.versions[project.key])

    async def deliver(self, request: web.Request, answer: Answer, fault: Fault | None) -> web.StreamResponse:
        """Send the answer, damaged by the fault if there is one."""
        if fault is None:
            return await send(request, answer)
        if fault.kind == "refuse":
            self.refuse(fault.number("seconds"))
        return await Wire(request, answer, fault, self.stopping).send()

    async def download(self, request: web.Request) -> web.StreamResponse:
        """GET and HEAD of a signed link, as an object store has it."""
        key, name = request.match_info["key"], request.match_info["name"]
        self.tally.downloads += 1
        self.tally.downloads_of[key] += 1
        project = self.cloud.find(key)
        answer = self._refused_link(request, key, name)
        fault = None
        if answer is None and project is not None:
            fault = self.faults.draw(DOWNLOAD, project.text, {RANGE} if "Range" in request.headers else ())
            answer = self._file_answer(request, project, name, fault)
        if answer is None:
            answer = text_answer(404, store_error("NoSuchKey", "The specified key does not exist."), XML)
        self.told(Served(DOWNLOAD, key, answer.code, str(fault or "")))
        return await self.deliver(request, answer, fault)

    def _refused_link(self, request: web.Request, key: str, name: str) -> Answer | None:
        query = request.query
        wrong = self.links.fault_of(key, name, query.get("Expires"), query.get("Signature"), self.clock())
        return None if wrong is None else text_answer(403, store_error(*wrong.value), XML)

    def _file_answer(self, request: web.Request, project: Project, name: str, fault: Fault | None) -> Answer:
        if fault is not None and fault.kind == "new_video":
            self.versions[project.key] += 1
        video = self.video(project)
        kind = "video/webm" if name.endswith(".webm") else MP4
        file = damaged_file(File(video, kind, video.etag, video.modified_at), fault)
        answer = file_answer(file, request.headers)
        return answer if fault is None else rewritten(answer, fault, self.dialects[0], self.clock())

    async def stray(self, request: web.Request) -> web.StreamResponse:
        """Any other path: not found, but remembered."""
        body = await request.read()
        self.tally.strays.append(Stray(request.method, request.path, "Authorization" in request.headers, len(body)))
        self.told(Served("stray", f"{request.method} {request.path}", 404))
        return await send(request, error_answer(404))

    def state(self) -> dict[str, Any]:
        """What was asked and what became of it, as ``GET /_simulator/state`` tells it."""
        now = self.clock()
        tally = self.tally
        return {
            "now": now,
            "exports": {
                "received": tally.exports,
                "accepted": sum(outcome.is_accepted for outcome in tally.outcomes),
                "outcomes": [asdict(outcome) for outcome in tally.outcomes],
                "accepted_by_text": dict(collections.Counter(o.text for o in tally.outcomes if o.is_accepted)),
            },
            "projects": [self._project_state(project, now) for project in self.cloud.projects.values()],
            "polls": tally.polls,
            "downloads": tally.downloads,
            "strays": [asdict(stray) for stray in tally.strays],
            "faults": self.faults.to_list(),
        }

    def _project_state(self, project: Project, now: float) -> dict[str, Any]:
        return {
            **asdict(project),
            "progress": project.progress_at(now),
            "polls": self.tally.polls_of[project.key],
            "downloads": self.tally.downloads_of[project.key],
            "bytes": self.video_bytes,
        }

    def reset(self) -> None:
        """Forget every project, fault, and count."""
        self.cloud.projects.clear()
        self.faults.clear()
        self.versions.clear()
        self.tally = Tally()


class Api:
    """The endpoints of one dialect."""

    def __init__(self, simulator: Simulator, dialect: Dialect) -> None:
        self.simulator = simulator
        self.dialect = dialect

    def add_to(self, app: web.Application) -> None:
        """Put the endpoints under the dialect's prefix."""
        prefix = self.dialect.prefix
        app.router.add_post(f"{prefix}/simple/video", self.export)
        app.router.add_get(f"{prefix}/editor/progress/{{key}}", self.progress)
        app.router.add_get(f"{prefix}/editor/project/{{key}}", self.project)

    async def export(self, request: web.Request) -> web.StreamResponse:
        """POST: ask for a video. Accepted, and so paid, before the answer leaves, whatever becomes of that."""
        simulator = self.simulator
        simulator.tally.exports += 1
        fields, refusal = await self._read(request)
        fault = None if refusal else simulator.faults.draw(EXPORT, fields["text"])
        project = None if refusal or (fault and not fault.is_accepted) else self._accept(fields, fault)
        answer = refusal or exported(self.dialect, project.key if project else NO_PROJECT)
        if fault is not None:
            answer = rewritten(answer, fault, self.dialect, simulator.clock())
        self._remember(fields, project, fault, answer.code)
        return await simulator.deliver(request, answer, fault)

    async def progress(self, request: web.Request) -> web.StreamResponse:
        """GET: how far it is, and a fresh link once finished."""
        simulator, key = self.simulator, request.match_info["key"]
        simulator.tally.polls += 1
        simulator.tally.polls_of[key] += 1
        return await self._look(request, key, PROGRESS, self._progress_answer)

    async def project(self, request: web.Request) -> web.StreamResponse:
        """GET: what was asked, and how far it is."""
        return await self._look(request, request.match_info["key"], PROJECT, self._project_answer)

    async def _look(
        self,
        request: web.Request,
        key: str,
        target: str,
        answer_for: Callable[[web.Request, Project, float, Fault | None], Answer],
    ) -> web.StreamResponse:
        simulator = self.simulator
        now = simulator.clock()
        project = simulator.cloud.find(key)
        percent = project.progress_at(now) if project else 0.0
        fault = None
        answer = self._refused_credential(request)
        if answer is None:
            fault = simulator.faults.draw(target, project.text if project else "", _there(project, percent))
            answer = (
                answer_for(request, project, percent, fault) if project else error_answer(404, "Project not found.")
            )
            if fault is not None:
                answer = rewritten(answer, fault, self.dialect, now)
        if simulator.on_request is not None:
            simulator.told(Served(target, key, answer.code, str(fault or ""), f"{percent:g} %" if project else ""))
        return await simulator.deliver(request, answer, fault)

    def _progress_answer(self, request: web.Request, project: Project, percent: float, fault: Fault | None) -> Answer:
        def link(name: str | None, is_dead: bool) -> str:
            return self._link(request, project, name, is_dead=is_dead)

        return look_answer(self.dialect, percent, link, fault)

    def _project_answer(self, request: web.Request, project: Project, percent: float, _fault: Fault | None) -> Answer:
        url = self._link(request, project) if percent >= WHOLE else None
        return described(self.dialect, project, percent, url)

    def _link(self, request: web.Request, project: Project, name: str | None = None, *, is_dead: bool = False) -> str:
        simulator = self.simulator
        chosen = f"{project.key}.mp4" if name is None else name
        origin = f"{request.scheme}://{request.host}"
        return simulator.links.sign(origin, project.key, chosen, simulator.clock(), is_dead=is_dead)

    def _refused_credential(self, request: web.Request) -> Answer | None:
        credential = request.headers.get("Authorization", "").strip()
        if not credential:
            return error_answer(401, "Authorization is required.")
        if credential.lower().startswith("bearer "):
            return error_answer(401, "Authorization takes the API key as it is, without Bearer.")
        if self.simulator.keys and credential not in self.simulator.keys:
            return error_answer(401)
        return None

    async def _read(self, request: web.Request) -> tuple[Any, Answer | None]:
        """The body's JSON, and the refusal if there is something wrong with the request."""
        content = await request.read()
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError):
            fields = None
        refusal = self._refused_credential(request)
        if refusal is not None:
            return fields, refusal
        if request.content_type != "application/json":
            return fields, error_answer(400, "Content-Type must be application/json.")
        wrong = "the body must be JSON" if fields is None else self.dialect.problem_of(fields)
        return fields, None if wrong is None else error_answer(400, f"Invalid input: {wrong}.")

    def _accept(self, fields: Mapping[str, Any], fault: Fault | None) -> Project:
        odd_key = fault.word("key") if fault is not None and fault.kind == "odd_key" else None
        return self.simulator.cloud.accept(fields, self.simulator.clock(), key=odd_key)

    def _remember(self, fields: Any, project: Project | None, fault: Fault | None, code: int) -> None:
        simulator = self.simulator
        outcome = Outcome(
            number=len(simulator.tally.outcomes) + 1,
            at=simulator.clock(),
            fields=fields,
            is_accepted=project is not None,
            key=project.key if project else None,
            fault=str(fault or ""),
            code=code,
        )
        simulator.tally.outcomes.append(outcome)
        note = "accepted" if outcome.is_accepted else "not accepted"
        simulator.told(Served(EXPORT, outcome.key or "-", code, outcome.fault, note))


def _there(project: Project | None, percent: float) -> tuple[str, ...]:
    """What a fault of a look may need."""
    if project is None:
        return ()
    return (RENDER, FINISHED) if percent >= WHOLE else (RENDER,)


class Control:
    """The control API, under a prefix that the real cloud does not have."""

    PREFIX: Final = "/_simulator"

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator

    def add_to(self, app: web.Application) -> None:
        """Put the endpoints under the prefix."""
        router = app.router
        router.add_get(f"{self.PREFIX}/state", self.state)
        router.add_post(f"{self.PREFIX}/faults", self.add_faults)
        router.add_delete(f"{self.PREFIX}/faults", self.clear_faults)
        router.add_post(f"{self.PREFIX}/reset", self.reset)
        router.add_post(f"{self.PREFIX}/clock", self.advance)

    async def state(self, request: web.Request) -> web.StreamResponse:
        """GET: what was asked and what became of it."""
        return await send(request, json_answer(200, self.simulator.state()))

    async def add_faults(self, request: web.Request) -> web.StreamResponse:
        """POST: one fault, or a list of them; all or none."""
        try:
            words = json.loads(await request.read())
            faults = [fault_from(each) for each in (words if isinstance(words, list) else [words])]
        except ValueError as error:
            return await send(request, error_answer(400, str(error)))
        self.simulator.faults.add(*faults)
        return await send(request, json_answer(200, {"success": True, "faults": self.simulator.faults.to_list()}))

    async def clear_faults(self, request: web.Request) -> web.StreamResponse:
        """DELETE: no more faults."""
        self.simulator.faults.clear()
        return await send(request, json_answer(200, {"success": True}))

    async def reset(self, request: web.Request) -> web.StreamResponse:
        """POST: forget every project, fault, and count."""
        self.simulator.reset()
        return await send(request, json_answer(200, {"success": True}))

    async def advance(self, request: web.Request) -> web.StreamResponse:
        """POST ``{"advance_seconds": 60}``: put the clock forward."""
        try:
            seconds = float(json.loads(await request.read())["advance_seconds"])
        except (ValueError, TypeError, KeyError):
            return await send(request, error_answer(400, "advance_seconds must be a number."))
        self.simulator.advance(seconds)
        return await send(request, json_answer(200, {"success": True, "now": self.simulator.clock()}))


def fault_from(words: Any) -> Fault:
    """A fault from JSON: an object, or the command line's text.

    Raises:
        FaultInvalid: it is not a fault.
    """
    if isinstance(words, str):
        return Fault.parse(words)
    if isinstance(words, dict):
        return Fault.from_mapping(words)
    raise FaultInvalid("a fault is an object or a text.")
