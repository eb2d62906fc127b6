"""A TCP proxy between a client and a server, where a test cuts the network, or breaks it at a chosen byte.

A partition loses nothing that TCP would not lose: what was sent while it lasted lies in the buffers, as in a sender
that tries again and again, and arrives when it is healed, even from a client that has long gone.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, ParamSpec, Self

from patience import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
Side = Literal["client", "server"]
"""Who sends: the one that connected, or the one that was connected to."""

_CHUNK = 65536


class Trap:
    """What breaks the connection on which a pattern is seen; it springs once, and then ``sprung`` is set."""

    def __init__(
        self,
        pattern: bytes,
        sent_by: Side,
        forward: Literal["before", "after"],
        then: Literal["drop", "cut"],
        skip: int,
    ) -> None:
        self.sent_by = sent_by
        self.forward = forward
        self.then = then
        self._pattern = re.compile(pattern, re.DOTALL)
        self._skip = skip
        self._seen: dict[_Link, bytes] = {}
        self.sprung = threading.Event()

    def wait(self) -> None:
        """Until it has sprung."""
        assert self.sprung.wait(PATIENCE_SECONDS), f"never passed the proxy: {self._pattern.pattern!r}"

    def is_stepped_on(self, link: _Link, chunk: bytes) -> bool:
        """Whether the pattern ends in this chunk, and was seen often enough before."""
        seen = self._seen.get(link, b"") + chunk
        while found := self._pattern.search(seen):
            seen = seen[found.end() :]
            if self._skip == 0:
                return True
            self._skip -= 1
        self._seen[link] = seen[-_CHUNK:]
        return False


class _Link:
    """One client's connection, and the one to the server that was made for it."""

    def __init__(self, client: socket.socket) -> None:
        self.sockets: dict[Side, socket.socket] = {"client": client}
        self.answer_trap: Trap | None = None
        """What springs when something comes back."""

    def close(self, *, reset: bool) -> None:
        for sock in self.sockets.values():
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


class _Broken(Exception):
    """This connection is to be closed with a RST, on both sides."""


class Proxy:
    """Listens on a free port of loopback, and passes on to a server; all is closed when it is left.

    Args:
        host: the server's.
        port: the server's.
        listener: a listening socket to take instead, such as one in another network namespace; closed with the proxy.
    """

    def __init__(self, host: str, port: int, *, listener: socket.socket | None = None) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0)) if listener is None else listener
        self._listener.setblocking(False)
        self.host: str
        self.port: int
        self.host, self.port = self._listener.getsockname()[:2]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._links: set[asyncio.Task[None]] = set()
        self._flows: dict[Side, asyncio.Event] = {"client": asyncio.Event(), "server": asyncio.Event()}
        self._traps: list[Trap] = []

    def __enter__(self) -> Self:
        self._heal()
        self._acceptor = self._loop.create_task(self._accept())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._acceptor.cancel)
        self._thread.join()
        self._listener.close()

    @property
    def connections(self) -> int:
        """How many there are, those that wait behind a cut too once they are accepted."""
        return len(self._links)

    def cut(self, sent_by: Side | None = None) -> None:
        """A partition: nothing passes, nobody is told, and a new connection hangs unanswered.

        Args:
            sent_by: only what this side sends is held back; None: both.
        """
        self._do(self._cut, sent_by)

    def heal(self) -> None:
        """What was held back arrives, and all goes on."""
        self._do(self._heal)

    def drop(self) -> None:
        """Close all connections with a RST, on both sides; new ones are welcome."""
        asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result(PATIENCE_SECONDS)

    def point_to(self, host: str, port: int) -> None:
        """New connections go there; those that there are stay, until they are dropped."""
        self._do(setattr, self, "_target", (host, port))

    def kill_on(
        self,
        pattern: bytes,
        sent_by: Side = "client",
        *,
        forward: Literal["before", "after"] = "before",
        then: Literal["drop", "cut"] = "drop",
        skip: int = 0,
    ) -> Trap:
        """Break the next connection on which the pattern passes; the others, and later ones, are spared.

        Args:
            pattern: a regular expression over what was sent on one connection since now, however it was cut into
                packets; ``.`` is any byte. ``rb"INSERT INTO job.*COMMIT"`` is the first commit after such an insert.
            sent_by: who sends it.
            forward: ``before``: the other side never sees the end of it. ``after``: the other side gets it, and the
                break comes when its answer does: it was surely done, and the sender cannot know.
            then: ``drop``: RST on both sides. ``cut``: a partition of the whole proxy, from that byte on.
            skip: so many matches are let through first.
        """
        trap = Trap(pattern, sent_by, forward, then, skip)
        self._do(self._traps.append, trap)
        return trap

    def _do(self, deed: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """In the proxy's own thread, and done when this returns."""

        async def do() -> None:
            deed(*args, **kwargs)

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(PATIENCE_SECONDS)

    def _cut(self, sent_by: Side | None) -> None:
        for side, flow in self._flows.items():
            if sent_by in {None, side}:
                flow.clear()

    def _heal(self) -> None:
        for flow in self._flows.values():
            flow.set()

    async def _drop(self) -> None:
        links = list(self._links)
        for link in links:
            link.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._acceptor)
        self._loop.run_until_complete(self._drop())
        self._loop.close()

    async def _accept(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            serving = self._loop.create_task(self._serve(_Link(client)))
            self._links.add(serving)
            serving.add_done_callback(self._links.discard)

    async def _serve(self, link: _Link) -> None:
        reset = True
        try:
            await self._let_pass("client")
            link.sockets["server"] = server = socket.socket()
            server.setblocking(False)
            await self._loop.sock_connect(server, self._target)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(link, "client", "server"))
                pumps.create_task(self._pump(link, "server", "client"))
            reset = False
        except* (OSError, _Broken):
            pass
        finally:
            link.close(reset=reset)

    async def _let_pass(self, source: Side) -> None:
        while not self._flows[source].is_set():
            await self._flows[source].wait()

    async def _pump(self, link: _Link, source: Side, sink: Side) -> None:
        while chunk := await self._loop.sock_recv(link.sockets[source], _CHUNK):
            await self._let_pass(source)
            if link.answer_trap is not None and link.answer_trap.sent_by == sink:
                trap, link.answer_trap = link.answer_trap, None
                await self._spring(trap, source)
            for trap in [one for one in self._traps if one.sent_by == source and one.is_stepped_on(link, chunk)]:
                self._traps.remove(trap)
                if trap.forward == "after":
                    link.answer_trap = trap
                else:
                    await self._spring(trap, source)
            await self._loop.sock_sendall(link.sockets[sink], chunk)
        await self._let_pass(source)
        link.sockets[sink].shutdown(socket.SHUT_WR)

    async def _spring(self, trap: Trap, source: Side) -> None:
        """Break, with the chunk from this side still on its way."""
        if trap.then == "cut":
            self._cut(None)
        trap.sprung.set()
        if trap.then == "drop":
            raise _Broken
        await self._let_pass(source)
