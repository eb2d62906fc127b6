"""What a fault makes of the right answer, where it changes what is said and not how it goes out: pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from email.utils import formatdate
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from daemon.simulator.answers import (
    JSON,
    TEXT,
    XML,
    Answer,
    Plain,
    error_answer,
    json_answer,
    login_page,
    progressed,
    store_error,
    succeeded,
    text_answer,
)
from daemon.simulator.cloud import WHOLE
from daemon.simulator.faults import HALF, NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from daemon.simulator.answers import Body
    from daemon.simulator.dialects import Dialect
    from daemon.simulator.faults import Fault
    from daemon.simulator.ranges import File

GARBAGE: Final = bytes(range(256)) * 64


def rewritten(answer: Answer, fault: Fault, now: float, *, key_field: str = "") -> Answer:
    """The answer that the fault puts in the place of the right one, if it is of this sort.

    Args:
        answer: the right one.
        fault: that struck.
        now: seconds since 1970.
        key_field: what the right answer calls the key or token that it gives, if it gives one.
    """
    rewrite = _REWRITES.get(fault.kind)
    return answer if rewrite is None else rewrite(fault, key_field, now)


def _http(fault: Fault, _key_field: str, now: float) -> Answer:
    headers = {}
    if fault.word("retry_after"):
        headers["Retry-After"] = fault.word("retry_after")
    if fault.number("retry_after_date"):
        headers["Retry-After"] = formatdate(now + fault.number("retry_after_date"), usegmt=True)
    return error_answer(
        fault.integer("code"),
        fault.word("msg"),
        shape=fault.word("body"),
        vendor_code=fault.integer("vendor_code"),
        headers=headers,
    )


def _redirect(fault: Fault, _key_field: str, _now: float) -> Answer:
    return text_answer(fault.integer("code"), "moved", TEXT, Location=fault.word("to"))


def _success_false(fault: Fault, _key_field: str, _now: float) -> Answer:
    message = fault.word("msg") or "The request was refused."
    return error_answer(200, message, shape=fault.word("body"), vendor_code=fault.integer("vendor_code"))


def _unknown(_fault: Fault, _key_field: str, _now: float) -> Answer:
    return error_answer(404, "Project not found.")


def _expired(_fault: Fault, _key_field: str, _now: float) -> Answer:
    return text_answer(403, store_error("AccessDenied", "Request has expired"), XML)


def _no_key(fault: Fault, name: str, _now: float) -> Answer:
    answers: dict[str, dict[str, Any]] = {
        "missing": {"data": {}},
        "null": {"data": {name: None}},
        "blank": {"data": {name: ""}},
        "number": {"data": {name: 12345}},
        "list": {"data": {name: ["a"]}},
        "data_null": {"data": None},
        "data_list": {"data": []},
        "data_missing": {},
    }
    return json_answer(200, {"success": True, **answers[fault.word("shape")]})


def _deep_json(fault: Fault, _key_field: str, _now: float) -> Answer:
    depth = fault.integer("depth")
    return text_answer(200, f'{{"success": true, "data": {"[" * depth}{"]" * depth}}}', JSON)


_REWRITES: Final[Mapping[str, Callable[[Fault, str, float], Answer]]] = MappingProxyType(
    {
        "http": _http,
        "redirect": _redirect,
        "success_false": _success_false,
        "unknown": _unknown,
        "expired": _expired,
        "login": lambda *_: login_page(),
        "empty": lambda *_: text_answer(200, "", JSON),
        "not_json": lambda *_: text_answer(200, "OK, but this is not JSON {", JSON),
        "no_key": _no_key,
        "not_authenticated": lambda *_: succeeded({"isAuthenticated": False}),
        "deep_json": _deep_json,
    }
)


# --- progress ------------------------------------------------------------

_ODD_PROGRESS: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "nan": "NaN",
        "infinity": "Infinity",
        "string": '"fifty"',
        "null": "null",
        "missing": None,
        "negative": "-5",
        "over": "250",
    }
)


def look_answer(
    dialect: Dialect, percent: float, link: Callable[[str | None, bool], str] | None, fault: Fault | None
) -> Answer:
    """The answer to a look at the progress, as a fault of the progress may have it.

    Args:
        dialect: names the fields.
        percent: how far the render is.
        link: makes a link of the last segment (None for the usual one) and whether it is to be dead; None until
            the render has ended.
        fault: what to say instead.
    """
    if fault is None:
        return progressed(dialect, percent, None if link is None else link(None, False))
    told: float | str | None = percent
    url: str | None = None
    if fault.kind in _ODD_PROGRESS:
        told = _ODD_PROGRESS[fault.kind]
    elif fault.kind == "value":
        told = fault.word("json")
    elif fault.kind == "stuck":
        told = fault.number("percent")
    elif fault.kind == "no_url":
        told = WHOLE
    elif link is not None:
        url = _odd_link(link, fault)
    return progressed(dialect, told, url)


def _odd_link(link: Callable[[str | None, bool], str], fault: Fault) -> str:
    if fault.kind == "url":
        return fault.word("url")
    name = None
    if fault.kind == "name":
        name = NAMES.get(fault.word("name"), fault.word("name"))
    return link(name, fault.kind == "dead_link")


# --- download ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cut:
    """The front of a body, which knows of no more."""

    whole: Body
    size: int

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``stop``."""
        return self.whole.chunks(start, min(stop, self.size))


def _truncated(file: File, fault: Fault) -> File:
    wanted = fault.integer("bytes")
    size = file.body.size // 2 if wanted == HALF else min(wanted, file.body.size)
    return replace(file, body=Cut(file.body, size))


def _not_video(file: File, fault: Fault) -> File:
    content = {"html": login_page().body, "garbage": Plain(GARBAGE), "empty": Plain(b"")}[fault.word("body")]
    return replace(file, body=content)


_FILES: Final[Mapping[str, Callable[[File, Fault], File]]] = MappingProxyType(
    {
        "truncated": _truncated,
        "not_video": _not_video,
        "no_etag": lambda file, _: replace(file, etag=None),
        "weak_etag": lambda file, _: replace(file, etag=f"W/{file.etag}"),
        "no_range": lambda file, _: replace(file, has_ranges=False),
        "wrong_range": lambda file, fault: replace(file, shift=fault.integer("shift")),
        "lying_range": lambda file, fault: replace(file, shift=fault.integer("shift"), is_shift_told=False),
    }
)


def damaged_file(file: File, fault: Fault | None) -> File:
    """The file as a fault of the download makes it out to be, if it is of this sort."""
    damage = None if fault is None else _FILES.get(fault.kind)
    return file if damage is None or fault is None else damage(file, fault)
