"""A loopback server that does with each connection exactly what its test says, byte by byte."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

HEAD_END = b"\r\n\r\n"


class Peer:
    """One accepted connection."""

    def __init__(self, server: WireServer, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number

    def read_request(self) -> bytes:
        """The next request, head and body; empty when the client closed."""
        seen = b""
        while HEAD_END not in seen:
            chunk = self.sock.recv(65536)
            if not chunk:
                return b""
            seen += chunk
        head, _, body = seen.partition(HEAD_END)
        length = int(header(seen, "Content-Length") or 0)
        while len(body) < length:
            body += self.sock.recv(65536)
        request = head + HEAD_END + body
        self.server.requests.append(request)
        return request

    def send(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(parts))

    def answer(self, body: bytes, *, line: str = "200 OK", headers: dict[str, str] | None = None) -> None:
        """A well-formed answer."""
        every = {"Content-Length": str(len(body)), **(headers or {})}
        self.send(head(line, every), body)

    def trickle(self, payload: bytes) -> None:
        """The payload again and again, one byte at a time, until the client has gone or the server is closed."""
        while not self.server.closing.is_set():
            for byte in payload:
                self.sock.sendall(bytes([byte]))
                if self.server.closing.wait(0.02):
                    return

    def hang(self) -> None:
        """Say nothing until the server is closed."""
        self.server.closing.wait(30)

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class WireServer:
    """Listens on loopback; gives each connection to the script, in a thread of its own."""

    def __init__(self, script: Callable[[Peer], None], context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self.connections = 0
        self.closing = threading.Event()
        self._peers: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def url(self) -> str:
        return f"{'http' if self._context is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for peer in list(self._peers):
            with suppress(OSError):
                socket.socket.shutdown(peer, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._peers.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock, self.connections))
                self._threads.append(thread)
                thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with suppress(OSError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._peers.append(sock)
            self._script(Peer(self, sock, number))
        sock.close()


def head(line: str, headers: dict[str, str]) -> bytes:
    """A response's head."""
    lines = [f"HTTP/1.1 {line}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + HEAD_END


def header(request: bytes, name: str) -> str | None:
    """A header of a request, None where it is not there."""
    for line in request.partition(HEAD_END)[0].split(b"\r\n")[1:]:
        key, _, value = line.decode("latin-1").partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return None
