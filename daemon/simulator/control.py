"""The control API, on aiohttp: what the real cloud does not have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from daemon.simulator.answers import error_answer, json_answer
from daemon.simulator.faults import Fault

if TYPE_CHECKING:
    from aiohttp import web

    from daemon.simulator.answers import Answer
    from daemon.simulator.app import Simulator


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
        router.add_post(f"{self.PREFIX}/tokens", self.revoke_tokens)

    async def _deliver(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        return await self.simulator.deliver(request, answer, None)

    async def state(self, request: web.Request) -> web.StreamResponse:
        """GET: what was asked and what became of it."""
        return await self._deliver(request, json_answer(200, self.simulator.state()))

    async def add_faults(self, request: web.Request) -> web.StreamResponse:
        """POST: one fault, or a list of them; all or none."""
        try:
            words = json.loads(await request.read())
            faults = [Fault.read(each) for each in (words if isinstance(words, list) else [words])]
        except ValueError as error:
            return await self._deliver(request, error_answer(400, str(error)))
        self.simulator.faults.add(*faults)
        return await self._deliver(
            request, json_answer(200, {"success": True, "faults": self.simulator.faults.to_list()})
        )

    async def clear_faults(self, request: web.Request) -> web.StreamResponse:
        """DELETE: no more faults."""
        self.simulator.faults.clear()
        return await self._deliver(request, json_answer(200, {"success": True}))

    async def reset(self, request: web.Request) -> web.StreamResponse:
        """POST: forget every project, fault, and count; revoke every token."""
        self.simulator.reset()
        return await self._deliver(request, json_answer(200, {"success": True}))

    async def advance(self, request: web.Request) -> web.StreamResponse:
        """POST ``{"advance_seconds": 60}``: put the clock forward."""
        try:
            seconds = float(json.loads(await request.read())["advance_seconds"])
        except (ValueError, TypeError, KeyError):
            return await self._deliver(request, error_answer(400, "advance_seconds must be a number."))
        self.simulator.advance(seconds)
        return await self._deliver(request, json_answer(200, {"success": True, "now": self.simulator.clock()}))

    async def revoke_tokens(self, request: web.Request) -> web.StreamResponse:
        """POST ``{"revoke": true}``: no token that was given out so far is good any more."""
        try:
            is_wanted = json.loads(await request.read())["revoke"] is True
        except (ValueError, TypeError, KeyError):
            is_wanted = False
        if not is_wanted:
            return await self._deliver(request, error_answer(400, "revoke must be true."))
        self.simulator.credentials.tokens.revoke()
        return await self._deliver(request, json_answer(200, {"success": True}))
