"""What only v3 has: tokens, a check of the credential, the list of models, and that of projects; on aiohttp."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from daemon.simulator import catalogue
from daemon.simulator.answers import error_answer, listed, succeeded
from daemon.simulator.app import origin_of
from daemon.simulator.faults import AUTH, MODELS, PROJECTS, TOKEN
from daemon.simulator.rewrites import rewritten
from daemon.simulator.tally import Served

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from daemon.simulator.answers import Answer
    from daemon.simulator.app import Simulator
    from daemon.simulator.dialects import Dialect
    from daemon.simulator.faults import Fault

PAIR: Final = ("appId", "userKey")
TOKEN_FIELD: Final = "token"  # noqa: S105 - a field's name


class Account:
    """The endpoints about the account, in a dialect that has them."""

    def __init__(self, simulator: Simulator, dialect: Dialect) -> None:
        self.simulator = simulator
        self.dialect = dialect

    def add_to(self, app: web.Application) -> None:
        """Put the endpoints under the dialect's prefix."""
        prefix = self.dialect.prefix
        app.router.add_post(f"{prefix}/auth/token", self.token)
        app.router.add_get(f"{prefix}/auth", self.auth)
        app.router.add_get(f"{prefix}/model", self.models)
        app.router.add_get(f"{prefix}/editor/project", self.projects)

    async def token(self, request: web.Request) -> web.StreamResponse:
        """POST: a fresh token for an application's id and a user's key; no other credential is needed."""
        refusal = self._refused_pair(request, await request.read())

        def answer_for(_fault: Fault | None) -> Answer:
            return succeeded({TOKEN_FIELD: self.simulator.credentials.tokens.issue(self.simulator.clock())})

        return await self._answer(request, TOKEN, refusal, answer_for)

    async def auth(self, request: web.Request) -> web.StreamResponse:
        """GET: whether the credential is taken."""
        return await self._answer_if_known(request, AUTH, lambda _: succeeded({"isAuthenticated": True}))

    async def models(self, request: web.Request) -> web.StreamResponse:
        """GET: the models, and what they wear."""

        def thumbnail(name: str) -> str:
            return f"{origin_of(request)}/thumbnails/{quote(name)}.svg"

        def answer_for(fault: Fault | None) -> Answer:
            return succeeded({"models": [] if _is_emptied(fault) else catalogue.told(thumbnail)})

        return await self._answer_if_known(request, MODELS, answer_for)

    async def projects(self, request: web.Request) -> web.StreamResponse:
        """GET: the projects, newest first."""
        simulator = self.simulator

        def answer_for(fault: Fault | None) -> Answer:
            there = [] if _is_emptied(fault) else simulator.cloud.listed(self.dialect.name)
            now = simulator.clock()
            lines = [listed(self.dialect, one, now, simulator.link_once_exported(request, one)) for one in there]
            return succeeded({"projects": lines})

        return await self._answer_if_known(request, PROJECTS, answer_for)

    def _refused_pair(self, request: web.Request, content: bytes) -> Answer | None:
        if request.content_type != "application/json":
            return error_answer(400, "Content-Type must be application/json.")
        try:
            pair = json.loads(content)
        except (ValueError, RecursionError):
            return error_answer(400, "Invalid input: the body must be JSON.")
        problem = _pair_problem_of(pair)
        if problem is not None:
            return error_answer(400, f"Invalid input: {problem}.")
        is_known = self.simulator.credentials.is_app(*(pair[name] for name in PAIR))
        return None if is_known else error_answer(401, "Unauthorized: appId and userKey are not valid.")

    async def _answer_if_known(
        self, request: web.Request, target: str, answer_for: Callable[[Fault | None], Answer]
    ) -> web.StreamResponse:
        refusal = self.simulator.refused_credential(request, takes_tokens=True)
        return await self._answer(request, target, refusal, answer_for)

    async def _answer(
        self,
        request: web.Request,
        target: str,
        refusal: Answer | None,
        answer_for: Callable[[Fault | None], Answer],
    ) -> web.StreamResponse:
        simulator = self.simulator
        simulator.tally.asked[target] += 1
        fault = None if refusal else simulator.faults.draw(target, "")
        answer = refusal or answer_for(fault)
        if fault is not None:
            answer = rewritten(answer, fault, simulator.clock(), key_field=TOKEN_FIELD)
        simulator.told(Served(target, "-", answer.code, str(fault or "")))
        return await simulator.deliver(request, answer, fault)


def _is_emptied(fault: Fault | None) -> bool:
    return fault is not None and fault.kind == "empty_list"


def _pair_problem_of(pair: Any) -> str | None:
    if not isinstance(pair, dict):
        return "the body must be a JSON object"
    for name in PAIR:
        value = pair.get(name)
        if not isinstance(value, str) or not value.strip():
            return f"{name} must be a string that is not empty"
    return None
