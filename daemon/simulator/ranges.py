"""Which bytes of a file an answer carries: Range and If-Range (RFC 9110, 13.1.5 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Final

from daemon.simulator.answers import XML, Answer, Plain, store_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from daemon.simulator.answers import Body

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class File:
    """What lies in the object store.

    Attributes:
        body: its bytes.
        content_type: its media type.
        etag: quotes included; None where the store tells none.
        modified_at: seconds since 1970.
        has_ranges: whether parts can be asked for.
        shift: how far a part is from what was asked for.
        is_shift_told: whether Content-Range owns up to it.
    """

    body: Body
    content_type: str
    etag: str | None
    modified_at: int
    has_ranges: bool = True
    shift: int = 0
    is_shift_told: bool = True


def file_answer(file: File, headers: Mapping[str, str]) -> Answer:
    """The answer to a GET or HEAD of a file."""
    own = {"Content-Type": file.content_type, "Last-Modified": formatdate(file.modified_at, usegmt=True)}
    if file.etag is not None:
        own["ETag"] = file.etag
    if not file.has_ranges:
        return Answer(200, file.body, headers=own)
    own["Accept-Ranges"] = "bytes"
    asked = _asked(headers.get("Range", ""), file.body.size) if _may_range(file, headers) else None
    if asked is None:
        return Answer(200, file.body, headers=own)
    if asked[0] >= asked[1]:
        return _not_satisfiable(file.body.size)
    return _partial(file, asked, own)


def _may_range(file: File, headers: Mapping[str, str]) -> bool:
    """If-Range holds where it names this strong tag, or this very date."""
    condition = headers.get("If-Range")
    return condition is None or condition in (
        {formatdate(file.modified_at, usegmt=True)} | ({file.etag} if _is_strong(file.etag) else set())
    )


def _is_strong(etag: str | None) -> bool:
    return etag is not None and etag.startswith('"')


def _asked(header: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; empty where it cannot be had; None where it is no range."""
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match[1], match[2]
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _not_satisfiable(size: int) -> Answer:
    words = store_error("InvalidRange", "The requested range is not satisfiable")
    return Answer(416, Plain(words.encode()), headers={"Content-Type": XML, "Content-Range": f"bytes */{size}"})


def _partial(file: File, asked: tuple[int, int], headers: dict[str, str]) -> Answer:
    size = file.body.size
    length = asked[1] - asked[0]
    start = max(0, min(asked[0] + file.shift, size - 1))
    stop = min(size, start + length)
    told, end = (start, stop) if file.is_shift_told else (asked[0], asked[0] + stop - start)
    return Answer(206, file.body, start, stop, {**headers, "Content-Range": f"bytes {told}-{end - 1}/{size}"})
