"""Is a file a whole video? Silent cuts (API.md, DESIGN 6) leave files that only their own structure gives away."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_BOXES: Final = 500_000
_SHOWN_BYTES: Final = 80
_BEFORE_FTYP: Final = frozenset({b"free", b"skip", b"wide", b"uuid", b"ftyp", b"styp"})
_EBML: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = 0x18538067


class _Broken(Exception):
    """The structure does not add up; the text says where."""


def why_not_whole(file: BinaryIO, size: int, *, is_size_sure: bool = False) -> str | None:
    """Why the file is not a whole video, in plain words; None when it is.

    MP4 (ISO/IEC 14496-12, 4.2): the top-level boxes add up to the exact size, and there are ``ftyp`` and ``moov``;
    where nobody vouches for the size, media too, for a cut between two boxes adds up as well. WebM (RFC 8794): the
    top-level elements add up where their sizes are known.

    Args:
        file: readable and seekable; its position is moved.
        size: bytes that it has.
        is_size_sure: the server announced just that many bytes.

    Raises:
        OSError: the file cannot be read.
    """
    file.seek(0)
    start = file.read(_SHOWN_BYTES)
    try:
        if start.startswith(_EBML):
            return _why_not_webm(file, size)
        if start[4:8] in _BEFORE_FTYP:
            return _why_not_mp4(file, size, is_size_sure=is_size_sure)
    except _Broken as broken:
        return f"the video is not whole: {broken}"
    if not start:
        return "the file is empty"
    return f"not a video: it starts with {start.decode('utf-8', 'replace')!r}"


def _why_not_mp4(file: BinaryIO, size: int, *, is_size_sure: bool) -> str | None:
    kinds: set[bytes] = set()
    for kind in _mp4_boxes(file, size):
        if kind not in _BEFORE_FTYP and b"ftyp" not in kinds:
            raise _Broken("it does not begin with ftyp")
        kinds.add(kind)
    missing = [name for name in (b"ftyp", b"moov") if name not in kinds]
    if not is_size_sure and not kinds & {b"mdat", b"moof"}:
        missing.append(b"mdat")  # cut exactly between moov and the pictures, the boxes still add up
    if missing:
        raise _Broken("it has no " + ", no ".join(name.decode() for name in missing))
    return None


def _mp4_boxes(file: BinaryIO, size: int) -> Iterator[bytes]:
    offset = 0
    for _ in range(_MOST_BOXES):
        if offset == size:
            return
        file.seek(offset)
        header = file.read(16)
        length, kind, smallest = int.from_bytes(header[:4], "big"), header[4:8], 8
        if length == 1:  # a 64-bit size follows
            length, smallest = int.from_bytes(header[8:16], "big"), 16
            if len(header) < smallest:
                raise _Broken(f"it ends inside the box at byte {offset}")
        elif length == 0:  # to the end of the file, so it is the last one
            length = size - offset
        if len(header) < 8 or length < smallest or offset + length > size:  # noqa: PLR2004 - size and type
            raise _Broken(f"it ends inside the box at byte {offset}, of {size} bytes")
        yield kind
        offset += length
    raise _Broken("it has more boxes than any video")


def _why_not_webm(file: BinaryIO, size: int) -> str | None:
    has_segment = False
    offset = 0
    for _ in range(_MOST_BOXES):
        if offset == size:
            break
        name, length, offset = _ebml_element(file, offset)
        has_segment = has_segment or name == _SEGMENT
        if length is None:  # a live recording: its end is not written anywhere
            if name == _SEGMENT and offset < size:
                return None
            raise _Broken(f"it ends at byte {offset}")
        if offset + length > size:
            raise _Broken(f"it ends inside the element at byte {offset}, of {size} bytes")
        offset += length
    if not has_segment:
        raise _Broken("it has no Segment")
    return None


def _ebml_element(file: BinaryIO, offset: int) -> tuple[int, int | None, int]:
    """Id, size of the content (None: unknown), and offset of the content."""
    file.seek(offset)
    header = file.read(12)
    name_width = _vint_width(header, 0)
    width = _vint_width(header, name_width)
    if not 0 < name_width <= 4 or width == 0 or len(header) < name_width + width:  # noqa: PLR2004 - RFC 8794, 5
        raise _Broken(f"it makes no sense at byte {offset}")
    bits = 7 * width
    length = int.from_bytes(header[name_width : name_width + width], "big") & ((1 << bits) - 1)
    content = offset + name_width + width
    return int.from_bytes(header[:name_width], "big"), None if length == (1 << bits) - 1 else length, content


def _vint_width(header: bytes, at: int) -> int:
    """Width in bytes of the variable-size integer there (RFC 8794, 4); 0 where there is none."""
    return 9 - header[at].bit_length() if at < len(header) and header[at] else 0
