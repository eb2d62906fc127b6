"""The finished video: the small green one, told apart by project, padded to any size, never whole in memory."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES: Final = 256 * 1024
PERIOD: Final = 65_521  # prime, so that no chunk size repeats its content
SECONDS_1904_TO_1970: Final = 2_082_844_800  # MP4 counts from 1904 (ISO/IEC 14496-12, 8.2.2)
FREE_BOX_HEADER_BYTES: Final = 16  # with a 64-bit length, which every size fits in
LEAST_PADDING_BYTES: Final = 1008  # what tells projects apart when no size was asked for
DATE_OFFSET_IN_MVHD: Final = 8  # the box type, version, and flags come before it
HANDLER_NAME: Final = b"VideoHandler"  # free text (ISO/IEC 14496-12, 8.4.3), so that a mark of ours does no harm


class VideoTooSmall(ValueError):
    """Fewer bytes were asked for than the video has by itself."""


@functools.cache
def asset() -> bytes:
    """``green.mp4`` as it lies beside this module."""
    return importlib.resources.files("daemon.simulator").joinpath("green.mp4").read_bytes()


def smallest_bytes() -> int:
    """The size of a video that is not padded beyond what tells it apart."""
    return len(asset()) + FREE_BOX_HEADER_BYTES + LEAST_PADDING_BYTES


def check_video_bytes(video_bytes: int | None) -> None:
    """Refuse a size that no video can have.

    Raises:
        VideoTooSmall: a video cannot be made that small.
    """
    if video_bytes is not None and video_bytes < smallest_bytes():
        raise VideoTooSmall(f"a video has at least {smallest_bytes()} bytes; {video_bytes} were asked for")


@functools.lru_cache(maxsize=64)
def _padding(identity: str) -> bytes:
    """One period of padding, twice over, so that a whole period can be cut at any place."""
    return random.Random(identity).randbytes(PERIOD) * 2  # noqa: S311 - repeatable, not secret


@functools.lru_cache(maxsize=64)
def _head(identity: str, dated_at: int, size: int) -> bytes:
    """The asset with a date and a mark of its own, and the header of the free box that fills the rest."""
    content = bytearray(asset())
    date = content.index(b"mvhd") + DATE_OFFSET_IN_MVHD
    content[date : date + 4] = struct.pack(">I", (dated_at + SECONDS_1904_TO_1970) & 0xFFFFFFFF)
    mark = hashlib.sha256(identity.encode()).hexdigest()[: len(HANDLER_NAME)]
    name = content.index(HANDLER_NAME)
    content[name : name + len(HANDLER_NAME)] = mark.encode()
    return bytes(content) + struct.pack(">I4sQ", 1, b"free", size - len(content))


@dataclass(frozen=True, slots=True)
class Video:
    """A whole MP4 of exactly ``size`` bytes: the green video, then a free box of padding.

    No two projects and no two versions have the same bytes, at the front (date and mark) nor at the back
    (the padding), so that a file mixed from two of them is found out.

    Attributes:
        key: the project's.
        created_at: seconds since 1970.
        size: bytes.
        version: counts up when the video is made anew under the same name.
    """

    key: str
    created_at: int
    size: int
    version: int = 0

    @property
    def etag(self) -> str:
        """A strong entity tag, quotes included (RFC 9110, 8.8.3)."""
        return '"' + hashlib.md5(self._identity.encode(), usedforsecurity=False).hexdigest() + '"'

    @property
    def modified_at(self) -> int:
        """Seconds since 1970."""
        return self.created_at + self.version

    def chunks(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from ``start`` up to ``stop``, some at a time."""
        head = _head(self._identity, self.modified_at, self.size)
        if start < len(head):
            yield head[start:stop]
            start = len(head)
        padding = _padding(self._identity)
        while start < stop:
            offset = (start - len(head)) % PERIOD
            chunk = padding[offset : offset + PERIOD] * (CHUNK_BYTES // PERIOD)
            yield chunk[: stop - start]
            start += len(chunk)

    def read(self) -> bytes:
        """All of it; for videos that fit into memory."""
        return b"".join(self.chunks(0, self.size))

    def sha256(self) -> str:
        """Of the whole content, hexadecimal."""
        digest = hashlib.sha256()
        for chunk in self.chunks(0, self.size):
            digest.update(chunk)
        return digest.hexdigest()

    @property
    def _identity(self) -> str:
        return f"{self.key}:{self.version}:{self.size}:{self.created_at}"
