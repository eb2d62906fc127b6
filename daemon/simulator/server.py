"""Sockets, signals, threads, and the real clock: the simulator as a running server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from aiohttp import web

from daemon.simulator.app import Simulator
from daemon.simulator.cloud import Cloud, Links
from daemon.simulator.credentials import Credentials, Tokens
from daemon.simulator.dialects import V2, V3
from daemon.simulator.faults import Fault, FaultInvalid, FaultList
from daemon.simulator.routes import DIALECTS, application
from daemon.simulator.tally import Outcome, Served
from daemon.simulator.video import VideoTooSmall, check_video_bytes
from daemon.simulator.wire import pause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from daemon.simulator.video import Video

__all__ = [
    "Fault",
    "FaultInvalid",
    "Outcome",
    "RunningSimulator",
    "Served",
    "Settings",
    "VideoTooSmall",
    "app_from",
    "base_url_of",
    "serve",
]

Result = TypeVar("Result")

DAY_SECONDS: Final = 86_400.0
FAREWELL_SECONDS: Final = 0.2  # what a connection gets to end by itself when the server stops
BACKLOG: Final = 1024
EVERY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - named, not bound


@dataclass(frozen=True, slots=True)
class Settings:
    """How the simulator is to run.

    Attributes:
        host: the address to listen on.
        port: 0 picks a free one.
        render_seconds: how long a render takes.
        jitter: share of ``render_seconds`` by which renders differ, 0 to 1.
        keys: the long-lived keys that are taken; any word when empty (in v3, only when ``apps`` is empty too).
        apps: pairs of an application's id and a user's key that v3 gives a token for; any when empty.
        token_seconds: how long such a token is good.
        is_strict_about_models: whether an export of a model or clothes that ``GET /model`` does not tell is refused.
        faults: in force from the start.
        link_seconds: how long a download link is good.
        video_bytes: the size of the videos; that of the small green one when None.
        seed: of jitter and of faults with a rate.

    Raises:
        ValueError: on creation, where a number makes no sense (``VideoTooSmall`` is one).
    """

    host: str = "127.0.0.1"
    port: int = 8765
    render_seconds: float = 20.0
    jitter: float = 0.0
    keys: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    link_seconds: float = 900.0
    video_bytes: int | None = None
    seed: int = 0
    apps: tuple[tuple[str, str], ...] = ()
    token_seconds: float = DAY_SECONDS
    is_strict_about_models: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        is_early = self.render_seconds < 0 or self.link_seconds <= 0 or self.token_seconds <= 0
        if is_early or not 0 <= self.jitter <= 1:
            raise ValueError(
                "render_seconds must not be negative, link_seconds and token_seconds positive, jitter from 0 to 1."
            )
        check_video_bytes(self.video_bytes)


def app_from(text: str) -> tuple[str, str]:
    """An application's id and a user's key, written with a colon between them.

    Raises:
        ValueError: one of them is missing.
    """
    app_id, _, user_key = text.partition(":")
    if not app_id or not user_key:
        raise ValueError(f"'{text}' is not APPID:USERKEY.")
    return app_id, user_key


class Clock:
    """Seconds since 1970 that never go back, and that can be put forward. Any thread may call it."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Seconds since 1970."""
        return time.monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        self._offset += seconds


class Server:
    """The simulator on a socket, inside a running event loop."""

    def __init__(self, settings: Settings, on_request: Callable[[Served], None] | None = None) -> None:
        faults = FaultList(settings.seed)
        faults.add(*settings.faults)
        self.settings = settings
        self.clock = Clock()
        self.simulator = Simulator(
            cloud=Cloud(settings.render_seconds, settings.jitter, settings.seed, nonce=secrets.token_hex(8)),
            links=Links(secrets.token_bytes(20), settings.link_seconds),
            faults=faults,
            credentials=Credentials(
                keys=frozenset(settings.keys),
                apps=frozenset(settings.apps),
                tokens=Tokens(settings.token_seconds, lambda: secrets.token_urlsafe(32)),
            ),
            is_strict_about_models=settings.is_strict_about_models,
            video_bytes=settings.video_bytes,
            clock=self.clock,
            advance=self.clock.advance,
            refuse=self.refuse,
            on_request=on_request,
        )
        self.port = settings.port
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._absence: asyncio.Task[None] | None = None

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:8765``, also where the server listens on every address."""
        host = EVERY_ADDRESS.get(self.settings.host, self.settings.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had; the text says which and why.
        """
        app = application(self.simulator)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=FAREWELL_SECONDS)
        await self._runner.setup()
        try:
            await self._listen()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self.settings.host}:{self.settings.port}"
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(error.errno, f"cannot listen on {where}: {reason}; is it taken? Try another port") from error
        self.port = self._runner.addresses[0][1]

    async def _listen(self) -> None:
        if self._runner is not None:
            site = web.TCPSite(self._runner, self.settings.host, self.port, backlog=BACKLOG)
            await site.start()
            self._site = site

    def refuse(self, seconds: float) -> None:
        """Drop every connection and take no new ones for some seconds."""
        if self._absence is None or self._absence.done():
            self._absence = asyncio.create_task(self._be_away(seconds))

    async def _be_away(self, seconds: float) -> None:
        site, self._site = self._site, None
        if site is not None:
            await site.stop()
        self._drop_connections()
        await pause(self.simulator.stopping, seconds)
        if not self.simulator.stopping.is_set():
            await self._listen()

    def _drop_connections(self) -> None:
        server = self._runner.server if self._runner is not None else None
        for connection in server.connections if server is not None else ():
            if connection.transport is not None:
                connection.transport.abort()

    async def stop(self) -> None:
        """End within a second, whatever the clients do."""
        self.simulator.stopping.set()
        if self._absence is not None:
            with contextlib.suppress(OSError):
                await self._absence
        if self._site is not None:
            await self._site.stop()
        self._drop_connections()
        if self._runner is not None:
            await self._runner.cleanup()


def base_url_of(version: str, origin: str) -> str:
    """The base URL of an API version, such as ``http://127.0.0.1:8765/api/odin/v3``.

    Raises:
        KeyError: there is no such version.
    """
    return origin + {dialect.name: dialect.prefix for dialect in DIALECTS}[version]


def serve(
    settings: Settings,
    *,
    on_ready: Callable[[str], None] | None = None,
    on_request: Callable[[Served], None] | None = None,
) -> None:
    """Run until SIGINT or SIGTERM; to be called in the main thread.

    Args:
        settings: how.
        on_ready: told the base URL of the v2 API, such as ``http://127.0.0.1:8765/api/odin``.
        on_request: told of every request that was answered.

    Raises:
        OSError: the address cannot be had; the text says which and why.
    """

    async def run() -> None:
        server = Server(settings, on_request)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        await server.start()
        try:
            if on_ready is not None:
                on_ready(base_url_of(V2.name, server.origin))
            await ended.wait()
        finally:
            await server.stop()

    asyncio.run(run())


class RunningSimulator:
    """The same server in a thread of its own, as a context manager: for tests and the demo.

    Every method may be called from any thread while the context is open.
    """

    def __init__(self, settings: Settings | None = None, *, on_request: Callable[[Served], None] | None = None) -> None:
        self.settings = settings if settings is not None else Settings(port=0)
        self._on_request = on_request
        self._thread = threading.Thread(target=self._run, name="simulator")
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._ended: asyncio.Event
        self._server: Server

    def __enter__(self) -> Self:
        """Raises: OSError, where the address cannot be had."""
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, within a second."""
        self.stop()

    def stop(self) -> None:
        """Stop, within a second; does nothing the second time."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    @property
    def origin(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return self._server.origin

    @property
    def base_url(self) -> str:
        """Of the v2 API: ``http://127.0.0.1:PORT/api/odin``."""
        return base_url_of(V2.name, self.origin)

    @property
    def base_url_v3(self) -> str:
        """Of the v3 API: ``http://127.0.0.1:PORT/api/odin/v3``."""
        return base_url_of(V3.name, self.origin)

    def state(self) -> dict[str, Any]:
        """What was asked and what became of it, as ``GET /_simulator/state`` tells it."""
        return self._on_loop(self._server.simulator.state)

    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of each request for an export, in the order in which they came."""
        return self._on_loop(lambda: tuple(self._server.simulator.tally.outcomes))

    def accepted_by_text(self) -> dict[str, int]:
        """How many exports were accepted, and so paid, for each text."""
        counts: dict[str, int] = self.state()["exports"]["accepted_by_text"]
        return counts

    def video(self, key: str) -> Video:
        """The video of a project, to compare a download with.

        Raises:
            KeyError: there is no such project.
        """
        simulator = self._server.simulator
        return self._on_loop(lambda: simulator.video(simulator.cloud.projects[key]))

    def add_fault(self, fault: Fault | str | Mapping[str, Any]) -> None:
        """Put a fault in force; also as the command line or the control API writes it.

        Raises:
            FaultInvalid: it is not a fault.
        """
        real = fault if isinstance(fault, Fault) else Fault.read(fault)
        self._on_loop(lambda: self._server.simulator.faults.add(real))

    def clear_faults(self) -> None:
        """No more faults."""
        self._on_loop(self._server.simulator.faults.clear)

    def reset(self) -> None:
        """Forget every project, fault, and count; revoke every token."""
        self._on_loop(self._server.simulator.reset)

    def revoke_tokens(self) -> None:
        """No token that was given out so far is good any more."""
        self._on_loop(self._server.simulator.credentials.tokens.revoke)

    def advance(self, seconds: float) -> None:
        """Put the simulator's clock forward: renders progress, links and tokens expire without waiting."""
        self._server.clock.advance(seconds)

    def refuse(self, seconds: float) -> None:
        """Drop every connection and take no new ones for some seconds."""
        self._on_loop(lambda: self._server.refuse(seconds))

    def _on_loop(self, call: Callable[[], Result]) -> Result:
        """Call it on the loop's own thread, where all state lives, and hand back what it returned."""

        async def run() -> Result:
            return call()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - handed to whoever enters the context
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._server = Server(self.settings, self._on_request)
        await self._server.start()
        self._ready.set()
        try:
            await self._ended.wait()
        finally:
            await self._server.stop()
