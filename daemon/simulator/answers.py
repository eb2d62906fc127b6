"""What an answer says, before it is decided how its bytes go out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from daemon.simulator.cloud import FAILED
from daemon.simulator.video import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from daemon.simulator.cloud import Project
    from daemon.simulator.dialects import Dialect

JSON: Final = "application/json; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"
XML: Final = "application/xml"
TEXT: Final = "text/plain; charset=utf-8"
MP4: Final = "video/mp4"
SVG: Final = "image/svg+xml"

ERROR_SHAPES: Final = ("error", "msg", "message", "string", "html", "xml", "text", "empty")

CODES: Final[Mapping[int, tuple[int, str]]] = {
    400: (4000, "Invalid input."),
    401: (4010, "Unauthorized: the API key is not valid."),
    402: (4020, "Not enough credit."),
    403: (4030, "Forbidden."),
    404: (4040, "Not found."),
    422: (4000, "Invalid input."),
    429: (4290, "Too many requests."),
    500: (5000, "Internal server error."),
}

_PAGE: Final = "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>\n"
_LOGIN: Final = '<form action="/login" method="post"><input name="user"><input name="password" type="password"></form>'


class Body(Protocol):
    """Bytes that can be had piece by piece."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Those from ``start`` up to ``stop``."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """A body that is in memory."""

    content: bytes

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self.content)

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """Those from ``start`` up to ``stop``."""
        for offset in range(start, stop, CHUNK_BYTES):
            yield self.content[offset : min(stop, offset + CHUNK_BYTES)]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        code: the HTTP status code.
        body: what it carries.
        start: first byte of the body that goes out.
        stop: the byte after the last one that goes out; None means all.
        headers: all but Content-Length.
    """

    code: int
    body: Body
    start: int = 0
    stop: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The byte after the last one that goes out."""
        return self.body.size if self.stop is None else self.stop

    @property
    def length(self) -> int:
        """How many bytes of body go out."""
        return self.end - self.start


def text_answer(code: int, text: str, content_type: str, **headers: str) -> Answer:
    """An answer with a text for a body."""
    return Answer(code, Plain(text.encode()), headers={"Content-Type": content_type, **headers})


def json_answer(code: int, value: Any) -> Answer:
    """An answer with a JSON body."""
    return text_answer(code, json.dumps(value, ensure_ascii=False), JSON)


def error_answer(
    code: int,
    message: str = "",
    *,
    shape: str = "error",
    vendor_code: int = 0,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """A refusal in one of the shapes that were seen (API.md, Errors).

    Args:
        code: the HTTP status code.
        message: the vendor's words; its usual ones for the code where empty.
        shape: one of ``ERROR_SHAPES``.
        vendor_code: the number in the body; its usual one for the code where 0.
        headers: further ones.
    """
    usual_code, usual_message = CODES.get(code, (code * 10, "Something went wrong."))
    content_type, text = _error_body(shape, vendor_code or usual_code, message or usual_message)
    return text_answer(code, text, content_type, **(headers or {}))


def _error_body(shape: str, vendor_code: int, message: str) -> tuple[str, str]:
    bodies: dict[str, Any] = {
        "error": {"success": False, "error": {"code": vendor_code, "msg": message}},
        "msg": {"success": False, "msg": message},
        "message": {"success": False, "message": message},
        "string": {"success": False, "error": message},
    }
    if shape in bodies:
        return JSON, json.dumps(bodies[shape], ensure_ascii=False)
    return {
        "html": (HTML, _PAGE.format(title=message, body="<hr>nginx")),
        "xml": (XML, store_error("InternalError", message)),
        "text": (TEXT, message),
        "empty": (TEXT, ""),
    }[shape]


def login_page() -> Answer:
    """What a proxy or a captive portal puts in the place of the real answer."""
    return text_answer(200, _PAGE.format(title="Please log in", body=_LOGIN), HTML)


def store_error(code: str, message: str) -> str:
    """An object store's error document."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message>"
        "<RequestId>SIMULATED0000000</RequestId><HostId>simulator</HostId></Error>"
    )


def succeeded(words: Mapping[str, Any]) -> Answer:
    """An answer that all is well, with what was asked for."""
    return json_answer(200, {"success": True, "data": words})


def exported(dialect: Dialect, key: Any) -> Answer:
    """The answer to an accepted export."""
    return succeeded({dialect.key_field: key})


def progressed(dialect: Dialect, percent: float | str | None, url: str | None) -> Answer:
    """The answer to a look at the progress.

    Args:
        dialect: names the fields.
        percent: a number; or JSON text, put in as it is, even where it is no JSON; or None to leave it out.
        url: the link, once finished.
    """
    members = [] if percent is None else [f'"progress": {percent}']
    if url is not None:
        link = json.dumps(url, ensure_ascii=False)
        members += [f'"{name}": {link}' for name in dialect.url_fields]
    return text_answer(200, f'{{"success": true, "data": {{{", ".join(members)}}}}}', JSON)


def described(dialect: Dialect, project: Project, now: float, url: str | None, *, has_text: bool = True) -> Answer:
    """The answer to a look at the project: what was asked, and how far it is.

    Args:
        dialect: names the fields.
        project: the one that was asked for.
        now: seconds since 1970.
        url: the link, once finished.
        has_text: whether the text that was asked for is told.
    """
    words: dict[str, Any] = {dialect.id_field: project.key, "name": project.name}
    words |= {name: project.fields[name] for name in dialect.required if has_text or name != "text"}
    state = project.state_at(now)
    words |= {"state": state, "progress": project.progress_at(now)}
    words |= {"creditSubstracted": project.credit_at(now), "createdAt": project.created_at}  # the vendor's spelling
    if state == FAILED:
        words["message"] = project.fate.failure
    if url is not None:
        words |= dict.fromkeys(dialect.project_url_fields, url)
    return succeeded(words)


def listed(dialect: Dialect, project: Project, now: float, url: str | None) -> dict[str, Any]:
    """What the list of projects says of one of them."""
    words: dict[str, Any] = {dialect.id_field: project.key, "name": project.name, "state": project.state_at(now)}
    return words if url is None else words | dict.fromkeys(dialect.project_url_fields, url)
