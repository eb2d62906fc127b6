"""A stand-in for the cloud that costs next to nothing, so that the daemon is what is measured.

It speaks v2 as far as a well-behaved client needs it, and writes down when it was asked. The simulator is for
faults; this is for speed: one thread, no framework, answers made by hand.

``GET /bench/record`` gives the moments, in seconds of CLOCK_MONOTONIC, which all processes of one machine share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from daemon.simulator.video import Video, smallest_bytes

_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@dataclass(slots=True)
class Record:
    """What was asked, and when.

    Attributes:
        exports: one moment for each project, which is known by its place here.
        looks: the moments of its looks.
        downloads: when its video was asked for last; 0 where it was not.
        texts: what it says.
        videos_at: where all videos lie; empty for here.
        longer_from: renders of this number and later never end.
    """

    render_seconds: float
    videos_at: str = ""
    longer_from: float = float("inf")
    exports: list[float] = field(default_factory=list)
    looks: list[list[float]] = field(default_factory=list)
    downloads: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def document(self) -> bytes:
        """All of it as JSON."""
        found = {"exports": self.exports, "looks": self.looks, "downloads": self.downloads, "texts": self.texts}
        return json.dumps(found).encode()

    def clear(self, render_seconds: float) -> None:
        """Forget, and render so long from now on."""
        self.__init__(render_seconds)  # type: ignore[misc]


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, record: Record, video: bytes) -> None:
        self._record = record
        self._video = video
        self._pending = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._host = "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._pending += data
        while (end := self._pending.find(b"\r\n\r\n")) >= 0:
            head = self._pending[:end]
            length = _content_length(head)
            if len(self._pending) < end + 4 + length:
                return
            body = self._pending[end + 4 : end + 4 + length]
            self._pending = self._pending[end + 4 + length :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        content = self._post(body) if method == b"POST" else self._get(path.decode())
        self._transport.write(_OK + b"Content-Length: %d\r\n\r\n" % len(content) + content)
        if b"onnection: close" in head:
            self._transport.close()

    def _post(self, body: bytes) -> bytes:
        record = self._record
        record.exports.append(time.monotonic())
        record.looks.append([])
        record.downloads.append(0.0)
        record.texts.append(json.loads(body)["text"])
        return b'{"success": true, "data": {"key": "%d"}}' % (len(record.exports) - 1)

    def _get(self, path: str) -> bytes:
        record = self._record
        last = path.rpartition("/")[2]
        if path.startswith("/editor/progress/") and last.isdigit():
            now, number = time.monotonic(), int(last)
            record.looks[number].append(now)
            share = (now - record.exports[number]) / record.render_seconds if record.render_seconds else 1.0
            if share < 1 or number >= record.longer_from:
                return b'{"success": true, "data": {"progress": %.2f}}' % (min(share, 0.99) * 100)
            url = record.videos_at or f"http://{self._host}/videos/{number}.mp4"
            return b'{"success": true, "data": {"progress": 100, "url": "%s"}}' % url.encode()
        if path.startswith("/videos/"):
            record.downloads[int(last.partition(".")[0])] = time.monotonic()
            return self._video
        if path == "/bench/record":
            return record.document()
        if path.startswith("/bench/clear/"):
            record.clear(float(last))
        if path.startswith("/bench/videos/"):
            record.videos_at = unquote(last)
        if path.startswith("/bench/longer/"):
            record.longer_from = int(last)
        return b'{"success": false, "msg": "not here"}'


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main() -> None:
    """Listen on a free port of loopback, say which, and answer until standard input is closed."""
    video = Video("bench", 0, smallest_bytes(), version=0)
    content = b"".join(video.chunks(0, video.size))
    record = Record(render_seconds=20.0)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(record, content), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
