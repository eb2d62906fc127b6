"""Exports, and looks at them: the endpoints that both versions have, on aiohttp."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from daemon.simulator import catalogue
from daemon.simulator.answers import Answer, described, error_answer, exported
from daemon.simulator.cloud import EXPORTED, FAIR, Fate
from daemon.simulator.faults import EXPORT, FINISHED, PROGRESS, PROJECT, RENDER, Fault
from daemon.simulator.rewrites import look_answer, rewritten
from daemon.simulator.tally import Outcome, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web

    from daemon.simulator.app import Simulator
    from daemon.simulator.cloud import Project
    from daemon.simulator.dialects import Dialect

NO_PROJECT: Final = "0" * 24


class Api:
    """Exports, and looks at them: the endpoints that each version has, in its own dialect."""

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
        fault = None if refusal else simulator.faults.draw(EXPORT, fields["text"], (RENDER,))
        project = None if refusal or (fault and not fault.is_accepted) else self._accept(fields, fault)
        answer = refusal or exported(self.dialect, project.key if project else NO_PROJECT)
        if fault is not None:
            answer = rewritten(answer, fault, simulator.clock(), key_field=self.dialect.key_field)
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
        self.simulator.tally.asked[PROJECT] += 1
        return await self._look(request, request.match_info["key"], PROJECT, self._project_answer)

    async def _look(
        self,
        request: web.Request,
        key: str,
        target: str,
        answer_for: Callable[[web.Request, Project, Fault | None], Answer],
    ) -> web.StreamResponse:
        simulator = self.simulator
        now = simulator.clock()
        project = self._find(key, target)
        percent = project.progress_at(now) if project else 0.0
        fault = None
        answer = simulator.refused_credential(request, takes_tokens=self.dialect.has_account)
        if answer is None:
            fault = simulator.faults.draw(target, project.text if project else "", _there(project, now))
            answer = answer_for(request, project, fault) if project else error_answer(404, "Project not found.")
            if fault is not None:
                answer = rewritten(answer, fault, now)
        if simulator.on_request is not None:
            simulator.told(Served(target, key, answer.code, str(fault or ""), f"{percent:g} %" if project else ""))
        return await simulator.deliver(request, answer, fault)

    def _find(self, key: str, target: str) -> Project | None:
        project = self.simulator.cloud.find(key)
        if project is None or project.version != self.dialect.name:
            return None
        return project if project.fate.is_listed or target == PROGRESS else None

    def _progress_answer(self, request: web.Request, project: Project, fault: Fault | None) -> Answer:
        simulator, now = self.simulator, self.simulator.clock()

        def link(name: str | None, is_dead: bool) -> str:
            return simulator.link(request, project, name, is_dead=is_dead)

        has_link = project.state_at(now) == EXPORTED
        return look_answer(self.dialect, project.progress_at(now), link if has_link else None, fault)

    def _project_answer(self, request: web.Request, project: Project, fault: Fault | None) -> Answer:
        url = self.simulator.link_once_exported(request, project)
        has_text = fault is None or fault.kind != "no_text"
        return described(self.dialect, project, self.simulator.clock(), url, has_text=has_text)

    async def _read(self, request: web.Request) -> tuple[Any, Answer | None]:
        """The body's JSON, and the refusal if there is something wrong with the request."""
        content = await request.read()
        try:
            fields = json.loads(content)
        except (ValueError, RecursionError):
            fields = None
        refusal = self.simulator.refused_credential(request, takes_tokens=self.dialect.has_account)
        if refusal is not None:
            return fields, refusal
        if request.content_type != "application/json":
            return fields, error_answer(400, "Content-Type must be application/json.")
        wrong = "the body must be JSON" if fields is None else self._problem_of(fields)
        return fields, None if wrong is None else error_answer(400, f"Invalid input: {wrong}.")

    def _problem_of(self, fields: Any) -> str | None:
        problem = self.dialect.problem_of(fields)
        is_strict = self.simulator.is_strict_about_models
        return catalogue.problem_of(fields) if problem is None and is_strict else problem

    def _accept(self, fields: Mapping[str, Any], fault: Fault | None) -> Project:
        return self.simulator.cloud.accept(
            fields,
            self.simulator.clock(),
            key=fault.word("key") if fault is not None and fault.kind == "odd_key" else None,
            version=self.dialect.name,
            is_exported=self.dialect.is_exported(fields),
            fate=fate_of(fault),
        )

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
            version=self.dialect.name,
            is_exported=project is not None and project.is_exported,
        )
        simulator.tally.outcomes.append(outcome)
        note = "not accepted" if project is None else "accepted" if project.is_exported else "accepted, not exported"
        simulator.told(Served(EXPORT, outcome.key or "-", code, outcome.fault, note))


def fate_of(fault: Fault | None) -> Fate:
    """What becomes of the project of an export that the fault strikes."""
    if fault is None:
        return FAIR
    if fault.kind == "render_fails":
        return Fate(stands_at=fault.number("percent"), failure=fault.word("msg"))
    if fault.kind == "stuck":
        return Fate(stands_at=fault.number("percent"))
    return Fate(is_listed=fault.kind != "unlisted")


def _there(project: Project | None, now: float) -> tuple[str, ...]:
    """What a fault of a look may need."""
    if project is None:
        return ()
    return (RENDER, FINISHED) if project.state_at(now) == EXPORTED else (RENDER,)
