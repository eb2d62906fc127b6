"""The simulator's pure parts: projects, progress, links, the video, ranges, the request's check."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.simulator.answers import Plain
from daemon.simulator.cloud import Cloud, LinkFault, Links
from daemon.simulator.dialects import V2
from daemon.simulator.ranges import File, file_answer
from daemon.simulator.video import CHUNK_BYTES, Video, VideoTooSmall, check_video_bytes, smallest_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB = {"language": "ko", "text": "Hello", "model": "M000004017", "clothes": "BG00006160"}
NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("after", "percent"), [(-5, 0), (0, 0), (5, 25), (10, 50), (19.9999, 99.99), (20, 100), (90, 100)]
)
def test_progress_rises_evenly_and_is_100_only_at_the_end(after: float, percent: float) -> None:
    """Progress follows the clock alone, and rounding never makes it 100 before the render has ended."""
    project = Cloud(render_seconds=20).accept(JOB, NOW)
    assert project.progress_at(NOW + after) == percent


def test_a_render_of_no_length_is_finished_at_once() -> None:
    """Render seconds may be 0."""
    assert Cloud(render_seconds=0).accept(JOB, NOW).progress_at(NOW) == 100


def test_keys_look_like_the_vendors_and_never_repeat() -> None:
    """24 hexadecimal digits, different for each project and for each run of the simulator."""
    one, other = Cloud(20, nonce="a"), Cloud(20, nonce="b")
    keys = [cloud.accept(JOB, NOW).key for cloud in (one, other) for _ in range(50)]
    assert len(set(keys)) == 100
    assert all(len(key) == 24 and int(key, 16) for key in keys)


def test_jitter_is_repeatable_and_within_its_share() -> None:
    """The same seed gives the same render times, none further off than the share that was asked for."""
    first, second = (
        [cloud.accept(JOB, NOW).render_seconds for _ in range(20)]
        for cloud in (Cloud(20, jitter=0.5, seed=7), Cloud(20, jitter=0.5, seed=7))
    )
    assert first == second
    assert len(set(first)) == 20
    assert all(10 <= seconds <= 30 for seconds in first)


def _link_parts(url: str) -> tuple[str, str, str, str]:
    parts = urlsplit(url)
    _, _, key, name = parts.path.split("/")
    query = parse_qs(parts.query)
    return unquote(key), unquote(name), query["Expires"][0], query["Signature"][0]


@pytest.mark.parametrize("name", ["a.mp4", "../../x.mp4", "CON.mp4", "", "ä b?c#d%.mp4", "n" * 400])
def test_a_link_is_good_until_it_expires(name: str) -> None:
    """The name is one segment of the path whatever it holds, and the signature covers it."""
    links = Links(b"secret", link_seconds=60)
    parts = _link_parts(links.sign("http://h", "key", name, NOW))
    assert parts[1] == name
    assert links.fault_of(*parts, NOW + 59) is None
    assert links.fault_of(*parts, NOW + 60) is LinkFault.EXPIRED


def test_a_link_that_was_changed_is_refused() -> None:
    """Neither another project, nor a later expiry, nor a missing signature gets through."""
    links = Links(b"secret", link_seconds=60)
    key, name, expires, signature = _link_parts(links.sign("http://h", "key", "a.mp4", NOW))
    assert links.fault_of("other", name, expires, signature, NOW) is LinkFault.WRONG_SIGNATURE
    assert links.fault_of(key, name, str(int(expires) + 9), signature, NOW) is LinkFault.WRONG_SIGNATURE
    assert links.fault_of(key, name, "soon", signature, NOW) is LinkFault.WRONG_SIGNATURE
    assert links.fault_of(key, name, None, signature, NOW) is LinkFault.UNSIGNED
    assert links.fault_of(key, name, expires, None, NOW) is LinkFault.UNSIGNED


def _boxes(content: bytes) -> list[str]:
    """The top-level boxes of an MP4, which must add up (ISO/IEC 14496-12, 4.2)."""
    names, offset = [], 0
    while offset < len(content):
        length, name = struct.unpack_from(">I4s", content, offset)
        if length == 1:
            (length,) = struct.unpack_from(">Q", content, offset + 8)
        names.append(name.decode())
        offset += length
    assert offset == len(content)
    return names


@pytest.mark.parametrize("size", [smallest_bytes(), smallest_bytes() + 1, 1_000_003])
def test_a_video_of_any_size_is_a_whole_mp4(size: int) -> None:
    """The boxes add up to the very size that was asked for."""
    content = Video("key", 1_700_000_000, size).read()
    assert len(content) == size
    names = _boxes(content)
    assert names[0] == "ftyp"
    assert names[-1] == "free"
    assert {"moov", "mdat"} <= set(names)


def test_a_huge_video_is_never_in_memory() -> None:
    """Any part of 40 GB can be had without what comes before it."""
    video = Video("key", 1_700_000_000, 40_000_000_000)
    assert len(b"".join(video.chunks(39_999_999_000, 40_000_000_000))) == 1000


@given(st.data())
def test_parts_of_a_video_are_parts_of_the_whole(drawn: st.DataObject) -> None:
    """What is sent for a range is what the whole has there."""
    video = Video("key", 1_700_000_000, smallest_bytes() + 2 * CHUNK_BYTES)
    start = drawn.draw(st.integers(0, video.size))
    stop = drawn.draw(st.integers(start, video.size))
    assert b"".join(video.chunks(start, stop)) == video.read()[start:stop]


def test_no_two_videos_are_the_same() -> None:
    """Projects and versions differ near the front and at the very end, and in their tags."""
    videos = [Video("a", 1000, 100_000), Video("b", 1000, 100_000), Video("a", 1000, 100_000, version=1)]
    assert len({video.etag for video in videos}) == 3
    assert len({video.read()[:1000] for video in videos}) == 3
    assert len({video.read()[-100:] for video in videos}) == 3
    assert videos[0].sha256() == hashlib.sha256(videos[0].read()).hexdigest()


def test_a_video_cannot_be_smaller_than_itself() -> None:
    """A size that cannot be had is refused in plain words."""
    check_video_bytes(None)
    check_video_bytes(smallest_bytes())
    with pytest.raises(VideoTooSmall, match="at least"):
        check_video_bytes(smallest_bytes() - 1)


CONTENT = bytes(range(100))
FILE = File(Plain(CONTENT), "video/mp4", '"tag"', 1_700_000_000)
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.mark.parametrize(
    ("headers", "code", "part", "content_range"),
    [
        ({}, 200, slice(0, 100), None),
        ({"Range": "bytes=0-9"}, 206, slice(0, 10), "bytes 0-9/100"),
        ({"Range": "bytes=90-"}, 206, slice(90, 100), "bytes 90-99/100"),
        ({"Range": "bytes=90-900"}, 206, slice(90, 100), "bytes 90-99/100"),
        ({"Range": "bytes=-5"}, 206, slice(95, 100), "bytes 95-99/100"),
        ({"Range": "bytes=-500"}, 206, slice(0, 100), "bytes 0-99/100"),
        ({"Range": "bytes=9-3"}, 200, slice(0, 100), None),
        ({"Range": "bytes=-"}, 200, slice(0, 100), None),
        ({"Range": "lines=1-2"}, 200, slice(0, 100), None),
        ({"Range": "bytes=1-2,5-6"}, 200, slice(0, 100), None),
        ({"Range": "bytes=5-", "If-Range": '"tag"'}, 206, slice(5, 100), "bytes 5-99/100"),
        ({"Range": "bytes=5-", "If-Range": DATE}, 206, slice(5, 100), "bytes 5-99/100"),
        ({"Range": "bytes=5-", "If-Range": '"other"'}, 200, slice(0, 100), None),
        ({"Range": "bytes=5-", "If-Range": 'W/"tag"'}, 200, slice(0, 100), None),
    ],
)
def test_ranges(headers: Mapping[str, str], code: int, part: slice, content_range: str | None) -> None:
    """RFC 9110, 13.1.5 and 14: one range, a condition on a strong tag or the very date, else the whole."""
    answer = file_answer(FILE, headers)
    assert answer.code == code
    assert b"".join(answer.body.chunks(answer.start, answer.end)) == CONTENT[part]
    assert answer.headers.get("Content-Range") == content_range
    assert answer.headers["ETag"] == '"tag"'
    assert answer.headers["Last-Modified"] == DATE


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=-0", "bytes=900-901"])
def test_a_range_beyond_the_end_is_416(asked: str) -> None:
    """RFC 9110, 15.5.17: the true length is told."""
    answer = file_answer(FILE, {"Range": asked})
    assert (answer.code, answer.headers["Content-Range"]) == (416, "bytes */100")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"text": ""}, "text must not be empty"),
        ({"text": "  "}, "text must not be empty"),
        ({"clothes": 1}, "clothes must be a string"),
        ({"model": None}, "model must be a string"),
        ({"locale": 5}, "locale must be a string"),
        ({"uppercut": "7"}, "uppercut must be a number"),
        ({"uppercut": True}, "uppercut must be a number"),
        ({"webhook": "example.com"}, "webhook must be a URL"),
        ({"webhook": "http://[x"}, "webhook must be a URL"),
        ({"webhook": 3}, "webhook must be a URL"),
        ({"locale": "zh", "uppercut": 1.5, "webhook": "https://example.com/x"}, None),
        ({}, None),
    ],
)
def test_the_fields_are_checked_as_documented(change: dict[str, Any], words: str | None) -> None:
    """API.md: four required strings, three optional fields of their own types."""
    assert V2.problem_of({**JOB, **change}) == words


@pytest.mark.parametrize("name", V2.required)
def test_a_required_field_is_required(name: str) -> None:
    """Each of the four."""
    assert V2.problem_of({key: value for key, value in JOB.items() if key != name}) == f"{name} is required"


@pytest.mark.parametrize("body", [None, [], "x", 5])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    """Only a JSON object can hold the fields."""
    assert V2.problem_of(body) == "the body must be a JSON object"


def test_the_drawn_figure_stands_before_an_even_green() -> None:
    """The pictures that green.mp4 was made of: one green all around, a person in the middle, who moves."""
    from daemon.simulator import make_green

    width, height = make_green.WIDTH, make_green.HEIGHT
    picture = make_green.frame(make_green.figure(0.0))
    assert len(picture) == width * height * 3
    assert picture[: width * 3 * 40] == make_green.GREEN * (width * 40)
    middle = (height // 2 * width + width // 2) * 3
    assert picture[middle : middle + 3] == make_green.LIPS
    assert make_green.frame(make_green.figure(1.0)) != picture


def test_the_video_is_made_with_its_index_at_the_front() -> None:
    """The command that is handed to ffmpeg, were it run again."""
    from pathlib import Path

    from daemon.simulator import make_green

    command = make_green.ffmpeg_command(Path("x.mp4"))
    assert command[-3:] == ["-movflags", "+faststart", "x.mp4"]
    assert "libx264" in command
