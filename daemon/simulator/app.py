"""The cloud as a whole: what every version shares, the object store, and all other paths; on aiohttp."""

from __future__ import annotations

import asyncio
import collections
from dataclasses import asdict, replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from daemon.simulator.answers import MP4, SVG, XML, Answer, error_answer, store_error, text_answer
from daemon.simulator.catalogue import find as find_in_catalogue
from daemon.simulator.cloud import EXPORTED
from daemon.simulator.faults import AUTH, DOWNLOAD, MODELS, PROJECT, PROJECTS, RANGE, TOKEN, Fault, FaultList
from daemon.simulator.portraits import portrait
from daemon.simulator.ranges import File, file_answer
from daemon.simulator.rewrites import damaged_file, rewritten
from daemon.simulator.tally import Served, Stray, Tally
from daemon.simulator.video import Video, smallest_bytes
from daemon.simulator.wire import Wire, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from daemon.simulator.cloud import Cloud, Links, Project
    from daemon.simulator.credentials import Credentials


class Simulator:
    """The cloud behind its endpoints.

    Args:
        cloud: its projects.
        links: signs them.
        faults: in force.
        credentials: what it takes for one.
        is_strict_about_models: whether an export of a model or clothes that it does not have is refused.
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
        credentials: Credentials,
        is_strict_about_models: bool,
        video_bytes: int | None,
        clock: Callable[[], float],
        advance: Callable[[float], None],
        refuse: Callable[[float], None],
        on_request: Callable[[Served], None] | None = None,
    ) -> None:
        self.cloud = cloud
        self.links = links
        self.faults = faults
        self.credentials = credentials
        self.is_strict_about_models = is_strict_about_models
        self.video_bytes = video_bytes if video_bytes is not None else smallest_bytes()
        self.clock = clock
        self.advance = advance
        self.refuse = refuse
        self.on_request = on_request
        self.stopping = asyncio.Event()
        self.tally = Tally()
        self.versions: collections.Counter[str] = collections.Counter()

    def add_to(self, app: web.Application) -> None:
        """Put the endpoints that belong to no version where they are; those of all other paths come last."""
        app.router.add_get("/videos/{key}/{name:.*}", self.download)
        app.router.add_get("/thumbnails/{model}.svg", self.thumbnail)
        app.router.add_get("/thumbnails/{model}/{clothes}.svg", self.thumbnail)
        app.router.add_route("*", "/{path:.*}", self.stray)

    def told(self, served: Served) -> None:
        """Pass on what was answered."""
        if self.on_request is not None:
            self.on_request(served)

    def video(self, project: Project) -> Video:
        """The project's video as it is now."""
        return Video(project.key, int(project.finished_at), self.video_bytes, version=self.versions[project.key])

    async def deliver(self, request: web.Request, answer: Answer, fault: Fault | None) -> web.StreamResponse:
        """Send the answer with the date of our own clock, damaged by the fault if there is one."""
        dated = {**answer.headers, "Date": formatdate(self.clock(), usegmt=True)}  # the clock may be far ahead
        answer = replace(answer, headers=dated)
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
        return answer if fault is None else rewritten(answer, fault, self.clock())

    async def thumbnail(self, request: web.Request) -> web.StreamResponse:
        """GET: a picture of a model, or of one in some clothes; no credential is needed."""
        model, clothes = request.match_info["model"], request.match_info.get("clothes", "")
        is_there = find_in_catalogue(model, clothes) is not None
        answer = text_answer(200, portrait(model, clothes), SVG) if is_there else error_answer(404)
        self.told(Served("thumbnail", "/".join(filter(None, (model, clothes))), answer.code))
        return await self.deliver(request, answer, None)

    def refused_credential(self, request: web.Request, *, takes_tokens: bool) -> Answer | None:
        """The answer to a request whose credential is not taken, None where it is."""
        credential = request.headers.get("Authorization", "").strip()
        problem = self.credentials.problem_of(credential, self.clock(), takes_tokens=takes_tokens)
        return None if problem is None else error_answer(401, problem)

    def link(self, request: web.Request, project: Project, name: str | None = None, *, is_dead: bool = False) -> str:
        """A signed link to the project's video, under the host that was asked.

        Args:
            request: names the host.
            project: whose render has ended.
            name: the last segment; the usual one when None.
            is_dead: whether it has expired already.
        """
        chosen = f"{project.key}.mp4" if name is None else name
        return self.links.sign(origin_of(request), project.key, chosen, self.clock(), is_dead=is_dead)

    def link_once_exported(self, request: web.Request, project: Project) -> str | None:
        """The same; None until its render has ended."""
        return self.link(request, project) if project.state_at(self.clock()) == EXPORTED else None

    async def stray(self, request: web.Request) -> web.StreamResponse:
        """Any other path: not found, but remembered."""
        body = await request.read()
        self.tally.strays.append(Stray(request.method, request.path, "Authorization" in request.headers, len(body)))
        self.told(Served("stray", f"{request.method} {request.path}", 404))
        return await self.deliver(request, error_answer(404), None)

    def state(self) -> dict[str, Any]:
        """What was asked and what became of it, as ``GET /_simulator/state`` tells it."""
        now = self.clock()
        tally = self.tally
        tokens = self.credentials.tokens
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
            "asked": {target: tally.asked[target] for target in (TOKEN, AUTH, MODELS, PROJECTS, PROJECT)},
            "tokens": {"issued": tokens.issued, "valid": tokens.count_good(now)},
            "strays": [asdict(stray) for stray in tally.strays],
            "faults": self.faults.to_list(),
        }

    def _project_state(self, project: Project, now: float) -> dict[str, Any]:
        return {
            **asdict(project),
            "state": project.state_at(now),
            "is_listed": project.fate.is_listed,
            "progress": project.progress_at(now),
            "polls": self.tally.polls_of[project.key],
            "downloads": self.tally.downloads_of[project.key],
            "bytes": self.video_bytes,
        }

    def reset(self) -> None:
        """Forget every project, fault, and count; revoke every token."""
        self.cloud.projects.clear()
        self.faults.clear()
        self.versions.clear()
        self.credentials.tokens.reset()
        self.tally = Tally()


def origin_of(request: web.Request) -> str:
    """``http://127.0.0.1:8765``, by whatever name it was reached; HTTP/1.0 need not say one."""
    host = request.headers.get("Host", "").strip()
    if not host and request.transport is not None:
        address, port = request.transport.get_extra_info("sockname")[:2]
        host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"{request.scheme}://{host}"
