"""How an answer's bytes go out: whole, or damaged on the way.

A damaged answer is written past aiohttp's own framing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http
import socket
import struct
import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NoReturn

from aiohttp import web

from daemon.simulator.answers import JSON
from daemon.simulator.faults import HALF
from daemon.simulator.video import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from daemon.simulator.answers import Answer
    from daemon.simulator.faults import Fault

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_MEGABYTE: Final = 1_000_000
_ENDLESS: Final = b"a" * 65_536


class Gone(web.Response):
    """Nothing more is to be sent: the connection is closed, or closing, by our own hand."""

    async def prepare(self, request: web.BaseRequest) -> NoReturn:
        """Raises: ConnectionResetError, which aiohttp takes for a client that left."""
        raise ConnectionResetError(f"closed on purpose: {request.path}")


async def pause(stopping: asyncio.Event, seconds: float | None = None) -> None:
    """Wait, but not beyond the server's end; without seconds, until it."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


async def send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """The answer as it should be."""
    if answer.length <= CHUNK_BYTES:
        body = b"".join(answer.body.chunks(answer.start, answer.end))
        return web.Response(status=answer.code, body=body, headers=answer.headers)
    response = web.StreamResponse(status=answer.code, headers=answer.headers)
    response.content_length = answer.length
    await response.prepare(request)
    if request.method != "HEAD":
        for chunk in answer.body.chunks(answer.start, answer.end):
            await response.write(chunk)
    return response


class Wire:
    """One connection, and an answer that a fault damages on its way out."""

    def __init__(self, request: web.Request, answer: Answer, fault: Fault, stopping: asyncio.Event) -> None:
        self.request = request
        self.answer = answer
        self.fault = fault
        self.stopping = stopping

    async def send(self) -> web.StreamResponse:
        """The answer as the fault wants it; as it should be, where the fault is not one of the wire."""
        damage = DAMAGES.get(self.fault.kind)
        if damage is None:
            return await send(self.request, self.answer)
        return await damage(self)

    # --- parts ------------------------------------------------------------

    def head(self, framing: Mapping[str, str]) -> bytes:
        """Status line and headers, with the framing given and nothing added."""
        code = self.answer.code
        lines = [f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase if code in _PHRASES else 'Unknown'}"]
        headers = {**self.answer.headers, **framing, "Connection": "close"}
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    async def write(self, content: bytes) -> None:
        """Put bytes on the wire as they are; waits for a client that is slow to read."""
        await self.request.writer.write(content)

    async def write_body(self, length: int) -> None:
        """The first bytes of the body."""
        stop = self.answer.start + min(length, self.answer.length)
        for chunk in self.answer.body.chunks(self.answer.start, stop):
            await self.write(chunk)

    def close(self, *, reset: bool = False) -> Gone:
        """End the connection: politely once all is sent, or with a reset at once."""
        transport = self.request.transport
        if transport is None:
            return Gone()
        if not reset:
            transport.close()
            return Gone()
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
        return Gone()

    @property
    def allowed_bytes(self) -> int:
        """How much of the body the fault lets through."""
        wanted = self.fault.integer("bytes")
        return self.answer.length // 2 if wanted == HALF else min(wanted, self.answer.length)

    @property
    def full_length(self) -> dict[str, str]:
        """The framing that the answer should have."""
        return {"Content-Length": str(self.answer.length)}


_PHRASES: Final = frozenset(http.HTTPStatus)
_CHUNKED: Final = MappingProxyType({"Transfer-Encoding": "chunked"})


def _chunked(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


async def _close(wire: Wire) -> web.StreamResponse:
    return wire.close(reset=wire.fault.is_on("reset"))


async def _refuse(wire: Wire) -> web.StreamResponse:
    return wire.close()


async def _hang(wire: Wire) -> web.StreamResponse:
    await pause(wire.stopping)
    return wire.close()


async def _delay(wire: Wire) -> web.StreamResponse:
    await pause(wire.stopping, wire.fault.number("seconds"))
    return await send(wire.request, wire.answer)


async def _cut_headers(wire: Wire) -> web.StreamResponse:
    head = wire.head(wire.full_length)
    await wire.write(head[: head.index(b"\r\n") + 2 + 8])
    return wire.close()


async def _short_body(wire: Wire) -> web.StreamResponse:
    await wire.write(wire.head(wire.full_length))
    await wire.write_body(wire.allowed_bytes)
    if wire.fault.is_on("reset"):
        await pause(wire.stopping, 0.05)  # or the reset overtakes what was sent
    return wire.close(reset=wire.fault.is_on("reset"))


async def _cut_body(wire: Wire) -> web.StreamResponse:
    await wire.write(wire.head({}))
    await wire.write_body(wire.allowed_bytes)
    return wire.close()


async def _cut_chunk(wire: Wire) -> web.StreamResponse:
    await wire.write(wire.head(_CHUNKED))
    stop = wire.answer.start + wire.allowed_bytes
    for chunk in wire.answer.body.chunks(wire.answer.start, stop):
        await wire.write(_chunked(chunk))
    return wire.close()


async def _stall(wire: Wire) -> web.StreamResponse:
    await wire.write(wire.head(wire.full_length))
    await wire.write_body(wire.allowed_bytes)
    return await _hang(wire)


def _slices(content: bytes, length: int) -> Iterator[bytes]:
    for offset in range(0, len(content), length):
        yield content[offset : offset + length]


async def _trickle(wire: Wire) -> web.StreamResponse:
    length, seconds = max(1, wire.fault.integer("bytes")), wire.fault.number("seconds")
    head = wire.head(wire.full_length)
    if wire.fault.word("part") == "body":
        await wire.write(head)
        head = b""
    for chunk in (head, *wire.answer.body.chunks(wire.answer.start, wire.answer.end)):
        for piece in _slices(chunk, length):
            await wire.write(piece)
            await pause(wire.stopping, seconds)
            if wire.stopping.is_set():
                return wire.close()
    return wire.close()


async def _endless_json(wire: Wire) -> web.StreamResponse:
    await wire.write(wire.head(_CHUNKED))
    await wire.write(_chunked(b'{"success": true, "data": {"padding": "'))
    while not wire.stopping.is_set():
        await wire.write(_chunked(_ENDLESS))
        await pause(wire.stopping, 0.001)  # so that the others have their turn
    return wire.close()


async def _gzip_bomb(wire: Wire) -> web.StreamResponse:
    """Gzip members one after another are one file (RFC 1952, 2.2), so one megabyte is compressed once."""
    members = [b'{"success": true, "data": {"padding": "', b"a" * _MEGABYTE, b'"}}']
    first, middle, last = (gzip.compress(member) for member in members)
    bomb = first + middle * wire.fault.integer("megabytes") + last
    framing = {"Content-Type": JSON, "Content-Encoding": "gzip", "Content-Length": str(len(bomb))}
    await wire.write(wire.head(framing))
    await wire.write(bomb)
    return wire.close()


async def _gzip(wire: Wire) -> web.StreamResponse:
    await wire.write(wire.head({"Content-Encoding": "gzip", **_CHUNKED}))
    packer = zlib.compressobj(wbits=31)
    for chunk in wire.answer.body.chunks(wire.answer.start, wire.answer.end):
        if packed := packer.compress(chunk):
            await wire.write(_chunked(packed))
    await wire.write(_chunked(packer.flush()) + b"0\r\n\r\n")
    return wire.close()


DAMAGES: Final[Mapping[str, Callable[[Wire], Awaitable[web.StreamResponse]]]] = MappingProxyType(
    {
        "close": _close,
        "refuse": _refuse,
        "hang": _hang,
        "delay": _delay,
        "cut_headers": _cut_headers,
        "short_body": _short_body,
        "cut_body": _cut_body,
        "cut_chunk": _cut_chunk,
        "stall": _stall,
        "trickle": _trickle,
        "endless_json": _endless_json,
        "gzip_bomb": _gzip_bomb,
        "gzip": _gzip,
    }
)
