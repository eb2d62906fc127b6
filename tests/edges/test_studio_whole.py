"""Is it a whole video? Every cut that leaves a structure behind is noticed."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.edges.studio.whole import why_not_whole


def box(kind: bytes, payload: bytes = b"") -> bytes:
    """An MP4 box (ISO/IEC 14496-12, 4.2)."""
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def big_box(kind: bytes, payload: bytes) -> bytes:
    """An MP4 box with a 64-bit size."""
    return struct.pack(">I4sQ", 1, kind, 16 + len(payload)) + payload


def last_box(kind: bytes, payload: bytes) -> bytes:
    """An MP4 box that goes to the end of the file."""
    return struct.pack(">I4s", 0, kind) + payload


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2")
MOOV = box(b"moov", b"m" * 50)
MDAT = box(b"mdat", b"d" * 200)
MP4 = FTYP + MOOV + MDAT

EBML = b"\x1a\x45\xdf\xa3"
WEBM = EBML + b"\x84head" + b"\x18\x53\x80\x67" + b"\x40\x64" + b"s" * 100
LIVE_WEBM = EBML + b"\x84head" + b"\x18\x53\x80\x67" + b"\x01\xff\xff\xff\xff\xff\xff\xff" + b"s" * 100


def why_not(content: bytes) -> str | None:
    """The answer for a file with that content."""
    return why_not_whole(io.BytesIO(content), len(content))


def test_media_is_asked_for_only_where_nobody_vouches_for_the_size() -> None:
    """A cut between two boxes adds up; one that the server's own count rules out is no cut."""
    content = FTYP + MOOV
    assert why_not_whole(io.BytesIO(content), len(content), is_size_sure=True) is None
    assert why_not_whole(io.BytesIO(content), len(content)) is not None


@pytest.mark.parametrize(
    "content",
    [
        MP4,
        FTYP + MDAT + MOOV,
        FTYP + box(b"free") + MDAT + MOOV + box(b"udta"),
        box(b"free", b"x") + MP4,
        FTYP + big_box(b"mdat", b"d" * 10) + MOOV,
        FTYP + MOOV + last_box(b"mdat", b"d" * 10),
        FTYP + MOOV + box(b"moof", b"f") + MDAT + box(b"moof", b"f") + MDAT,
        WEBM,
        LIVE_WEBM,
        WEBM + b"\xec\x82xx",
    ],
)
def test_a_whole_video_is_whole(content: bytes) -> None:
    """Boxes in any usual order, 64-bit sizes, a last box to the end, fragments; WebM, live or not."""
    assert why_not(content) is None


@given(st.integers(0, len(MP4) - 1))
def test_no_cut_of_an_mp4_is_whole(length: int) -> None:
    """Wherever it was cut, the boxes do not add up, or one is missing."""
    assert why_not(MP4[:length]) is not None


@given(st.integers(0, len(WEBM) - 1))
def test_no_cut_of_a_webm_is_whole(length: int) -> None:
    """A Segment that knows its size gives every cut away."""
    assert why_not(WEBM[:length]) is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "AccessDenied"),
        (b"<!doctype html><title>Sign in</title>", "Sign in"),
        (b'{"success": false}', "success"),
        (b"\0" * 500, "not a video"),
        (MP4 + b"x", "ends inside"),
        (MP4 + b"\0\0\0\4free", "ends inside"),
        (MP4[: len(FTYP)] + MDAT, "no moov"),
        (FTYP + MOOV, "no mdat"),
        (box(b"free") + MOOV + FTYP + MDAT, "does not begin with ftyp"),
        (FTYP + struct.pack(">I4s", 1, b"mdat"), "ends inside"),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 3) + b"abc", "ends inside"),
        (FTYP + struct.pack(">I4sQ", 1, b"mdat", 1 << 63), "ends inside"),
        (EBML, "makes no sense"),
        (EBML + b"\x84head", "no Segment"),
        (EBML + b"\x84head\x18\x53\x80\x67\xff", "ends at"),
        (EBML + b"\x84head\0\0\0\0", "makes no sense"),
    ],
)
def test_what_is_no_whole_video_is_told_in_plain_words(content: bytes, words: str) -> None:
    """What it starts with, or where it ends."""
    assert words in (why_not(content) or "")


@given(st.binary(max_size=300), st.sampled_from([b"", FTYP, EBML]))
def test_no_content_breaks_the_check(content: bytes, start: bytes) -> None:
    """Whatever a server sends, the answer is a sentence or None."""
    assert isinstance(why_not(start + content), str | None)
