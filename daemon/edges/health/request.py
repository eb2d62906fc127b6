"""One request's head to the bytes that answer it; the standard library parses, nothing here knows a socket."""

from __future__ import annotations

import io
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from daemon.edges.health.pages import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_BYTES: Final = 16 * 1024
"""A longer head is refused (431)."""
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+)(?::\d{1,5})?")
_PATHS: Final = "/, /healthz, /metrics, and /status are here"


class _Head(BaseHTTPRequestHandler):
    """A request's head, parsed (RFC 9112). The base class would serve a socket; this one is given bytes."""

    def __init__(self, head: bytes) -> None:
        self.rfile = io.BufferedReader(io.BytesIO(head))
        self.raw_requestline = self.rfile.readline()
        self.refusal: int | None = None
        if not self.parse_request() and self.refusal is None:
            self.refusal = HTTPStatus.BAD_REQUEST

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Only remember it: the answer is written elsewhere, and quotes nothing that was sent."""
        del message, explain
        self.refusal = code

    @property
    def hosts(self) -> list[str]:
        """Every header ``Host``."""
        found: list[str] = self.headers.get_all("Host", [])
        return found


def respond(head: bytes, answer: Callable[[str, str], Answer | None], own_host: str | None) -> bytes:
    """The whole answer to a request, headers and body.

    Args:
        head: the request line and the headers, as they came.
        answer: path and the header ``Accept`` to what goes back, None for 404.
        own_host: the host that is listened on, where that is loopback: any other name that a request gives for it is
            refused, or a web page whose name leads to 127.0.0.1 (DNS rebinding) could read along. None: every name
            is taken.
    """
    request = _Head(head)
    refusal = request.refusal or _refusal(request, own_host)
    if refusal is not None:
        return written(refused(refusal), has_body=request.command != "HEAD")
    found = answer(request.path.partition("?")[0], request.headers.get("Accept", ""))
    return written(found or refused(HTTPStatus.NOT_FOUND, _PATHS), has_body=request.command == "GET")


def _refusal(request: _Head, own_host: str | None) -> HTTPStatus | None:
    """What is wrong with the request, whatever its path."""
    hosts = request.hosts
    is_old = request.request_version == "HTTP/1.0"
    if not request.request_version.startswith("HTTP/1.") or len(hosts) > 1 or (not hosts and not is_old):
        return HTTPStatus.BAD_REQUEST
    if own_host is not None and any(not _is_local(host, own_host) for host in hosts):
        return HTTPStatus.MISDIRECTED_REQUEST
    return None if request.command in {"GET", "HEAD"} else HTTPStatus.METHOD_NOT_ALLOWED


def _is_local(host: str, own_host: str) -> bool:
    """Whether a header ``Host`` names this machine in a way that no name server decides."""
    found = _HOST.fullmatch(host.strip())
    name = found["name"].strip("[]").casefold() if found else ""
    if name in {"localhost", own_host.casefold()}:
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def refused(code: int, words: str = "") -> Answer:
    """An answer that says no; it quotes nothing that was sent."""
    return Answer.of(code, {"error": words or HTTPStatus(code).phrase})


def written(answer: Answer, *, has_body: bool = True) -> bytes:
    """The answer as it goes over the wire."""
    lines = [
        f"HTTP/1.1 {answer.code} {HTTPStatus(answer.code).phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Cross-Origin-Resource-Policy: same-origin",
        "Connection: close",
    ]
    if answer.code == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "".join(f"{line}\r\n" for line in lines) + "\r\n"
    return head.encode("latin-1") + (answer.body if has_body else b"")
