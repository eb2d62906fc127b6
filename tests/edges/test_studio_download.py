"""The download, on real sockets and a real folder: resumed, bounded, checked, and no credential on the way."""

from __future__ import annotations

import base64
import errno
import gzip
import hashlib
import json
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from patience import wait_until
from test_studio_whole import FTYP, MOOV, box
from wire_server import WireServer, head, header

from daemon.core.errors import CloudDeferred, FilingDeferred, LinkExpired, StudioError
from daemon.core.redact import Redactor
from daemon.edges.studio import Studio, sidecar_of
from daemon.edges.studio import download as download_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wire_server import Peer

KEY = "s3cret-key"
VIDEO = FTYP + MOOV + box(b"mdat", bytes(range(256)) * 4_000)
OTHER = FTYP + MOOV + box(b"mdat", bytes(reversed(range(256))) * 4_000)
MAX_BYTES = 4 << 20


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def _made(timeout_seconds: float, *, max_video_bytes: int = MAX_BYTES, **options: Any) -> Studio:
    return Studio(
        base_url="https://cloud.example",
        credential=KEY,
        redactor=Redactor([KEY]),
        connect_timeout_seconds=timeout_seconds,
        read_timeout_seconds=timeout_seconds,
        max_video_bytes=max_video_bytes,
        **options,
    )


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    """A client; its cloud is elsewhere."""
    made = _made(20)
    yield made
    made.close()


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """Where to."""
    return tmp_path / "job-1.part"


class Store:
    """An object store as S3 is one: Range, If-Range, ETag, 416; ``cut_after`` cuts the next answer's body."""

    def __init__(self, content: bytes = VIDEO, etag: str | None = '"v1"') -> None:
        self.content = content
        self.etag = etag
        self.cut_after: int | None = None
        self.answers: list[str] = []

    def __call__(self, peer: Peer) -> None:
        while request := peer.read_request():
            line, headers, body = self._answer(request)
            self.answers.append(line)
            if self.etag is not None:
                headers["ETag"] = self.etag
            headers.setdefault("Content-Length", str(len(body)))
            if self.cut_after is not None:
                cut, self.cut_after = self.cut_after, None
                peer.send(head(line, headers), body[:cut])
                return
            peer.send(head(line, headers), body)

    def _answer(self, request: bytes) -> tuple[str, dict[str, str], bytes]:
        wanted, total = header(request, "Range"), len(self.content)
        if wanted is None or header(request, "If-Range") != self.etag:
            return "200 OK", {}, self.content
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= total:
            return "416 Range Not Satisfiable", {"Content-Range": f"bytes */{total}"}, b""
        return (
            "206 Partial Content",
            {"Content-Range": f"bytes {start}-{total - 1}/{total}"},
            self.content[start:],
        )


def never() -> bool:
    """Go on."""
    return False


def fetch(studio: Studio, server: WireServer, part: Path) -> Any:
    """One download of the video, whose link is signed."""
    return studio.download(f"{server.url}/x.mp4?Signature=abc", part, should_stop=never)


def failing(studio: Studio, server: WireServer, part: Path) -> Any:
    """The error of one download."""
    with pytest.raises((StudioError, FilingDeferred)) as caught:
        fetch(studio, server, part)
    assert "abc" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


def _once(payload: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(payload)

    return script


# --- whole ----------------------------------------------------------------------------------------------------------


def test_a_download_is_complete_and_checked(studio: Studio, part: Path) -> None:
    """Size and hash are those of the content; nothing is asked for compressed."""
    with WireServer(Store()) as server:
        made = fetch(studio, server, part)
        assert header(server.requests[0], "Accept-Encoding") == "identity"
    assert part.read_bytes() == VIDEO
    assert (made.path, made.bytes) == (part, len(VIDEO))
    assert made.sha256 == hashlib.sha256(VIDEO).hexdigest()


@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"', "v1", None])
def test_chunks_and_no_length_at_all_are_fine_when_the_video_is_whole(
    studio: Studio, part: Path, etag: str | None
) -> None:
    """Without a Content-Length the structure alone tells."""
    tags = {} if etag is None else {"ETag": etag}
    with WireServer(_once(head("200 OK", tags) + VIDEO)) as server:
        assert fetch(studio, server, part).bytes == len(VIDEO)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (VIDEO[:9], VIDEO[9:])) + b"0\r\n\r\n"
    with WireServer(_once(head("200 OK", {"Transfer-Encoding": "chunked"}) + chunks)) as server:
        assert fetch(studio, server, part).bytes == len(VIDEO)
    assert part.read_bytes() == VIDEO


def test_no_credential_goes_to_the_store_nor_where_it_redirects(studio: Studio, part: Path) -> None:
    """The download's connections never had it."""
    with WireServer(Store()) as store:

        def script(peer: Peer) -> None:
            peer.read_request()
            peer.answer(b"moved", line="302 Found", headers={"Location": f"{store.url}/y.mp4", "Set-Cookie": "a=b"})

        with WireServer(script) as server:
            fetch(studio, server, part)
            for request in server.requests + store.requests:
                assert KEY.encode() not in request
                assert header(request, "Authorization") is None
                assert header(request, "Cookie") is None
                assert header(request, "Referer") is None


@pytest.mark.parametrize("location", ["/again", "file:///etc/passwd", "ftp://h/x", "http://", "http://[::1/x"])
def test_a_redirect_is_followed_only_so_far_and_only_on_the_web(studio: Studio, part: Path, location: str) -> None:
    """Five at most, http and https only."""

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.answer(b"", line="302 Found", headers={"Location": location})

    with WireServer(script) as server:
        error = failing(studio, server, part)
        assert len(server.requests) <= 6
    assert isinstance(error, CloudDeferred)
    assert error.is_bounded


# --- resumed --------------------------------------------------------------------------------------------------------


def test_a_cut_download_goes_on_where_it_was_cut(studio: Studio, part: Path) -> None:
    """However often it is cut, the result is bit-identical, and no byte but the last is fetched twice."""
    store = Store()
    with WireServer(store) as server:
        for cut in (5, 70_000, 300_000, 1):
            store.cut_after = cut
            error = failing(studio, server, part)
            assert isinstance(error, CloudDeferred)
            assert (error.is_bounded, error.is_outage) == (False, False)
        made = fetch(studio, server, part)
        assert header(server.requests[-1], "Range") == f"bytes={5 + 70_000 + 300_000 + 1}-"
        assert header(server.requests[-1], "If-Range") == '"v1"'
    assert made.sha256 == hashlib.sha256(VIDEO).hexdigest()
    assert part.read_bytes() == VIDEO
    assert store.answers == ["200 OK", *["206 Partial Content"] * 4]


def test_a_complete_part_costs_one_byte(studio: Studio, part: Path) -> None:
    """After a filing that failed, the same call proves the content and gives the same part."""
    store = Store()
    with WireServer(store) as server:
        first = fetch(studio, server, part)
        assert fetch(studio, server, part) == first
        assert header(server.requests[-1], "Range") == f"bytes={len(VIDEO) - 1}-"


def test_another_content_starts_afresh(studio: Studio, part: Path) -> None:
    """If-Range: where the ETag has changed, the old bytes are of no use."""
    store = Store()
    with WireServer(store) as server:
        store.cut_after = 100_000
        failing(studio, server, part)
        store.content, store.etag = OTHER, '"v2"'
        fetch(studio, server, part)
    assert part.read_bytes() == OTHER
    assert json.loads(sidecar_of(part).read_text())["etag"] == '"v2"'


@pytest.mark.parametrize("etag", [None, 'W/"v1"', '"v1', '"\x00"'])
def test_without_a_strong_etag_a_download_starts_afresh(studio: Studio, part: Path, etag: str | None) -> None:
    """Only a strong ETag proves that the bytes go together (RFC 9110, 13.1.5)."""
    store = Store(etag=etag)
    with WireServer(store) as server:
        store.cut_after = 100_000
        failing(studio, server, part)
        fetch(studio, server, part)
        assert header(server.requests[-1], "Range") is None
    assert part.read_bytes() == VIDEO


@pytest.mark.parametrize(
    "sidecar",
    [
        '{"etag": "\\"v1\\"", "total": null, "boot_id": "another boot"}',
        '{"etag": 7, "total": null, "boot_id": "x"}',
        '{"etag": "\\"v1\\""}',
        "[]",
        "no json",
        "[" * 100_000,
        "",
    ],
)
def test_a_part_whose_sidecar_cannot_be_trusted_starts_afresh(studio: Studio, part: Path, sidecar: str) -> None:
    """After a reboot, pages that were never synced may be zero; a broken sidecar tells nothing."""
    part.write_bytes(b"\0" * 5_000)
    sidecar_of(part).write_text(sidecar)
    with WireServer(Store()) as server:
        fetch(studio, server, part)
        assert header(server.requests[0], "Range") is None
    assert part.read_bytes() == VIDEO


def _interrupted(studio: Studio, part: Path, *, has_length: bool = True) -> None:
    """A part of 100,000 bytes with a sidecar."""
    headers = {"ETag": '"v1"'} | (
        {"Content-Length": str(len(VIDEO))} if has_length else {"Transfer-Encoding": "chunked"}
    )
    body = VIDEO[:100_000] if has_length else b"%x\r\n%b\r\n" % (100_000, VIDEO[:100_000])
    with WireServer(_once(head("200 OK", headers) + body)) as server:
        failing(studio, server, part)
    assert part.stat().st_size == 100_000


@pytest.mark.parametrize(
    ("line", "headers"),
    [
        ("206 Partial Content", {}),
        ("206 Partial Content", {"Content-Range": "bytes 0-9/10"}),
        ("206 Partial Content", {"Content-Range": f"bytes 100000-{len(VIDEO)}/{len(VIDEO) + 1}"}),
        ("206 Partial Content", {"Content-Range": "bytes garbage"}),
        (
            "206 Partial Content",
            {"Content-Range": f"bytes 100000-{len(VIDEO) - 1}/{len(VIDEO)}", "ETag": '"v2"'},
        ),
        ("416 Range Not Satisfiable", {"Content-Range": "bytes */5"}),
        ("416 Range Not Satisfiable", {}),
    ],
)
def test_an_answer_that_does_not_fit_the_part_starts_afresh(
    studio: Studio, part: Path, line: str, headers: dict[str, str]
) -> None:
    """Content-Range must begin where the part ends, of the same whole; 416 must have its length."""
    _interrupted(studio, part)
    with WireServer(_once(head(line, headers | {"Content-Length": "0"}))) as server:
        error = failing(studio, server, part)
    assert isinstance(error, CloudDeferred)
    assert not error.is_bounded
    with WireServer(Store()) as server:
        fetch(studio, server, part)
        assert header(server.requests[0], "Range") is None
    assert part.read_bytes() == VIDEO


def test_416_with_the_parts_own_length_means_complete(studio: Studio, part: Path) -> None:
    """Cut after the last byte of a download whose length was never told."""
    _interrupted(studio, part, has_length=False)
    with WireServer(Store()) as server, part.open("ab") as file:
        file.write(VIDEO[100_000:])
        file.flush()
        made = fetch(studio, server, part)
        assert header(server.requests[0], "Range") == f"bytes={len(VIDEO)}-"
    assert made.sha256 == hashlib.sha256(VIDEO).hexdigest()


def test_a_206_that_nobody_asked_for_is_refused(studio: Studio, part: Path) -> None:
    """Half a video must not become a whole one."""
    with WireServer(_once(head("206 Partial Content", {"Content-Range": "bytes 0-7/8"}) + b"x" * 8)) as server:
        error = failing(studio, server, part)
    assert isinstance(error, CloudDeferred)
    assert error.is_bounded


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_an_expired_link_keeps_the_part(studio: Studio, part: Path, code: int) -> None:
    """Ask for a fresh link; what is there is gone on with."""
    _interrupted(studio, part)
    with WireServer(_once(head(f"{code} No", {}) + b"<Error>Request has expired</Error>")) as server:
        error = failing(studio, server, part)
    assert isinstance(error, LinkExpired)
    assert "Request has expired" in error.reason
    assert part.stat().st_size == 100_000


@pytest.mark.parametrize(
    ("code", "is_outage", "is_bounded"),
    [
        (400, False, True),
        (405, False, True),
        (416, False, True),
        (204, False, True),
        (500, False, False),
        (502, False, False),
        (408, True, False),
        (425, True, False),
        (429, True, False),
        (503, True, False),
    ],
)
def test_what_the_stores_answers_become(
    studio: Studio, part: Path, code: int, is_outage: bool, is_bounded: bool
) -> None:
    """API.md's last column."""
    with WireServer(_once(head(f"{code} X", {"Retry-After": "7", "Content-Length": "0"}))) as server:
        error = failing(studio, server, part)
    assert isinstance(error, CloudDeferred)
    assert (error.is_outage, error.is_bounded) == (is_outage, is_bounded)
    assert error.retry_after_seconds == (7 if is_outage else None)


@pytest.mark.parametrize("code", [403, 503, 418])
def test_what_a_store_says_of_a_signature_is_not_repeated(studio: Studio, part: Path, code: int) -> None:
    """S3 quotes the signature, and what it was made of, in an answer of its own shape."""
    body = b"<Error><Code>SignatureDoesNotMatch</Code><Given>c2lnbmF0dXJl</Given></Error>"
    with WireServer(_once(head(f"{code} X", {"Content-Length": str(len(body))}) + body)) as server:
        url = f"{server.url}/x.mp4?s=c2lnbmF0dXJl"
        with pytest.raises(StudioError) as caught:
            studio.download(url, part, should_stop=never)
    assert "SignatureDoesNotMatch" in str(caught.value)
    assert "c2lnbmF0dXJl" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"<?xml version='1.0'?><Error/>", b"<html>Sign in</html>", b"{}", VIDEO[:-1], VIDEO + b"x"]
)
def test_what_is_no_whole_video_leaves_nothing_behind(studio: Studio, part: Path, body: bytes) -> None:
    """With a 200 and the right length: an error page, or a video that was cut before it came to the store."""
    with WireServer(Store(body)) as server:
        error = failing(studio, server, part)
    assert isinstance(error, CloudDeferred)
    assert error.is_bounded
    assert list(part.parent.iterdir()) == []


def test_a_silent_cut_is_noticed(studio: Studio, part: Path) -> None:
    """No Content-Length and a close looks like an end."""
    with WireServer(_once(head("200 OK", {}) + VIDEO[:-5])) as server:
        error = failing(studio, server, part)
    assert "not whole" in str(error)
    assert not part.exists()


def test_a_compressed_video_is_refused(studio: Studio, part: Path) -> None:
    """Identity was asked for; byte counts and ranges would mean something else."""
    with WireServer(_once(head("200 OK", {"Content-Encoding": "gzip"}) + gzip.compress(VIDEO))) as server:
        error = failing(studio, server, part)
    assert isinstance(error, CloudDeferred)
    assert error.is_bounded


@pytest.mark.parametrize("headers", [{"Content-Length": str(MAX_BYTES + 1)}, {}])
def test_a_video_that_is_too_large_is_refused(studio: Studio, part: Path, headers: dict[str, str]) -> None:
    """At once where the length is told, else when it is reached; the disk does not fill."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(head("200 OK", headers))
        while True:
            peer.send(b"x" * 65_536)

    with WireServer(script) as server:
        error = failing(studio, server, part)
    assert isinstance(error, CloudDeferred)
    assert error.is_bounded
    assert not part.exists() or part.stat().st_size == 0


# --- away, slow, stopping -------------------------------------------------------------------------------------------


def test_a_store_that_cannot_be_reached_is_an_outage(studio: Studio, part: Path) -> None:
    """Nothing was sent."""
    with WireServer(Store()) as server:
        pass
    error = failing(studio, server, part)
    assert isinstance(error, CloudDeferred)
    assert error.is_outage


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test", "*.test"])
def test_a_link_to_what_can_be_no_host_is_refused_at_last(studio: Studio, part: Path, host: str) -> None:
    """No waiting helps; it is no outage, for nobody is away."""
    with pytest.raises(CloudDeferred) as caught:
        studio.download(f"http://{host}/x.mp4?Signature=abc", part, should_stop=never)
    assert (caught.value.is_outage, caught.value.is_bounded) == (False, True)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", head("200 OK", {"Content-Length": "999"}) + FTYP])
def test_a_stall_is_deferred(part: Path, sent: bytes) -> None:
    """Silence longer than the read timeout, in the headers or in the body."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(sent)
        peer.hang()

    with WireServer(script) as server:
        error = failing(_made(0.3), server, part)
    assert isinstance(error, CloudDeferred)
    assert (error.is_outage, error.is_bounded) == (False, False)


def test_a_trickle_is_deferred(part: Path) -> None:
    """A byte now and then would hold its worker for days; by the clock that came in, minutes pass at once."""
    now = iter(range(0, 10**9, 10))
    made = _made(100, clock=lambda: float(next(now)))

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(head("200 OK", {"Content-Length": "999"}))
        peer.trickle(b"x")

    with WireServer(script) as server:
        assert isinstance(failing(made, server, part), CloudDeferred)


def test_stopping_cuts_a_download_that_is_silent_and_keeps_the_part(studio: Studio, part: Path) -> None:
    """SIGTERM: out within a moment, resumed by the next daemon."""
    answers = iter([False] * 3)

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(head("200 OK", {"Content-Length": str(len(VIDEO)), "ETag": '"v1"'}), VIDEO[:100_000])
        peer.hang()

    with WireServer(script) as server, pytest.raises(CloudDeferred, match="stopping"):
        studio.download(server.url, part, should_stop=lambda: next(answers, True))
    with WireServer(Store()) as server:
        fetch(studio, server, part)
    assert part.read_bytes() == VIDEO


def test_stopping_begins_nothing(studio: Studio, part: Path) -> None:
    """No connection, no file."""
    with WireServer(Store()) as server:
        with pytest.raises(CloudDeferred, match="stopping"):
            studio.download(server.url, part, should_stop=lambda: True)
        assert server.connections == 0
    assert not part.exists()


# --- from one video to the next -------------------------------------------------------------------------------------


@pytest.fixture
def fresh_studio() -> Iterator[Studio]:
    """A client that has no connection yet."""
    made = _made(20)
    yield made
    made.close()


def test_the_next_download_goes_on_the_same_connection(fresh_studio: Studio, part: Path) -> None:
    """A new one costs as much as a small video itself, and over TLS much more; it never has the credential either."""
    with WireServer(Store()) as server:
        for number in range(3):
            assert fetch(fresh_studio, server, part.with_name(f"{number}.part")).bytes == len(VIDEO)
        assert (server.connections, len(server.requests)) == (1, 3)
        assert all(header(request, "Authorization") is None for request in server.requests)


def test_a_part_that_was_taken_up_whole_leaves_its_connection_for_the_next(fresh_studio: Studio, part: Path) -> None:
    """A 206 that was read to its end is as good as a 200."""
    with WireServer(Store()) as server:
        fetch(fresh_studio, server, part)
        fetch(fresh_studio, server, part)
        assert server.connections == 1


def test_an_answer_that_was_not_read_to_its_end_takes_its_connection_with_it(fresh_studio: Studio, part: Path) -> None:
    """What is left would be taken for the next answer: a redirect's page, a refusal, a video that is too large."""
    pages = iter(
        [
            ("302 Found", {"Location": "/y.mp4"}, b"moved"),
            ("200 OK", {}, VIDEO),
            ("403 Forbidden", {}, b"x" * 9_000),
            ("200 OK", {}, b"x" * (MAX_BYTES + 1)),
            ("200 OK", {}, VIDEO),
        ]
    )

    def script(peer: Peer) -> None:
        while peer.read_request():
            line, headers, body = next(pages)
            peer.answer(body, line=line, headers=headers)

    with WireServer(script) as server:
        assert fetch(fresh_studio, server, part).bytes == len(VIDEO)
        assert server.connections == 2
        assert isinstance(failing(fresh_studio, server, part.with_name("2.part")), LinkExpired)
        assert isinstance(failing(fresh_studio, server, part.with_name("3.part")), CloudDeferred)
        assert server.connections == 3
        assert fetch(fresh_studio, server, part.with_name("4.part")).sha256 == hashlib.sha256(VIDEO).hexdigest()
        assert server.connections == 4


def test_a_body_that_is_longer_than_the_part_needs_is_never_the_next_answer(fresh_studio: Studio, part: Path) -> None:
    """Nor is what a server sends after the end of its answer."""
    whole = head("200 OK", {"Content-Length": str(len(VIDEO))}) + VIDEO

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(whole + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")

    with WireServer(script) as server:
        for number in range(3):
            made = fetch(fresh_studio, server, part.with_name(f"{number}.part"))
            assert made.sha256 == hashlib.sha256(VIDEO).hexdigest()


def _answers_once_each(later: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Each connection gives a video, and does something else with the request after it."""
    whole = head("200 OK", {"Content-Length": str(len(VIDEO))}) + VIDEO

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(whole)
        if peer.read_request():
            later(peer)

    return script


@pytest.mark.parametrize("is_reset", [True, False])
def test_a_connection_that_the_server_had_just_closed_is_replaced(
    fresh_studio: Studio, part: Path, *, is_reset: bool
) -> None:
    """Nothing of an answer came, and a download may be asked for twice: once more on a fresh connection."""
    with WireServer(_answers_once_each(lambda peer: peer.reset() if is_reset else None)) as server:
        for number in range(3):
            assert fetch(fresh_studio, server, part.with_name(f"{number}.part")).bytes == len(VIDEO)
        assert (server.connections, len(server.requests)) == (3, 5)


def test_a_connection_that_is_closed_where_it_is_fresh_is_not_asked_again(fresh_studio: Studio, part: Path) -> None:
    """Once more means once."""

    def script(peer: Peer) -> None:
        peer.read_request()
        if peer.number == 1:
            peer.answer(VIDEO)
            peer.read_request()

    with WireServer(script) as server:
        fetch(fresh_studio, server, part)
        assert isinstance(failing(fresh_studio, server, part.with_name("2.part")), CloudDeferred)
        assert (server.connections, len(server.requests)) == (2, 3)


def test_an_answer_that_has_begun_is_not_asked_for_again(fresh_studio: Studio, part: Path) -> None:
    """The server lives and has heard: what broke is told, and the next try waits its turn."""
    with WireServer(_answers_once_each(lambda peer: peer.send(b"HTTP/1.1 2"))) as server:
        fetch(fresh_studio, server, part)
        assert isinstance(failing(fresh_studio, server, part.with_name("2.part")), CloudDeferred)
        assert (server.connections, len(server.requests)) == (1, 2)


def test_silence_on_a_connection_that_was_kept_is_not_asked_again(part: Path) -> None:
    """It has taken its time already."""
    made = _made(0.3)
    with WireServer(_answers_once_each(lambda peer: peer.hang())) as server:
        fetch(made, server, part)
        assert isinstance(failing(made, server, part.with_name("2.part")), CloudDeferred)
        assert (server.connections, len(server.requests)) == (1, 2)


def test_no_connection_is_kept_once_the_client_is_closed(fresh_studio: Studio, part: Path) -> None:
    """Neither one that lay idle, nor that of a download that ends later."""
    has_seen_end = threading.Semaphore(0)

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.answer(VIDEO)
        has_seen_end.release()

    with WireServer(script) as server:
        fetch(fresh_studio, server, part)
        fresh_studio.close()
        assert has_seen_end.acquire(timeout=20)
        fetch(fresh_studio, server, part.with_name("2.part"))
        assert has_seen_end.acquire(timeout=20)
        assert server.connections == 2


def test_no_more_connections_are_kept_than_fit(
    fresh_studio: Studio, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Videos may lie on any number of hosts: those that lay idle longest are closed."""
    monkeypatch.setattr(download_module, "MOST_KEPT", 2)
    with WireServer(Store()) as first, WireServer(Store()) as second, WireServer(Store()) as third:
        for number, server in enumerate((first, second, third, third, second, first)):
            fetch(fresh_studio, server, part.with_name(f"{number}.part"))
        assert [server.connections for server in (first, second, third)] == [2, 1, 1]


def test_downloads_at_the_same_time_have_connections_of_their_own(fresh_studio: Studio, part: Path) -> None:
    """Whoever has one has it alone, and all of them are used again."""
    are_all_here = threading.Barrier(3)

    def script(peer: Peer) -> None:
        while peer.read_request():
            are_all_here.wait(20)
            peer.answer(VIDEO)

    with WireServer(script) as server, ThreadPoolExecutor(3) as threads:
        for turn in range(2):
            parts = [part.with_name(f"{turn}-{number}.part") for number in range(3)]
            made = list(threads.map(lambda path: fetch(fresh_studio, server, path), parts))
            assert {one.sha256 for one in made} == {hashlib.sha256(VIDEO).hexdigest()}
        assert (server.connections, len(server.requests)) == (3, 6)


def test_a_name_and_a_password_in_a_link_are_sent_as_such(fresh_studio: Studio, part: Path) -> None:
    """A link that has them means them; the next link without them goes on the same connection without them."""
    with WireServer(Store()) as server:
        fresh_studio.download(server.url.replace("//", "//me:word@") + "/x.mp4", part, should_stop=never)
        fetch(fresh_studio, server, part.with_name("2.part"))
        sent = [header(request, "Authorization") for request in server.requests]
        assert sent == ["Basic " + base64.b64encode(b"me:word").decode(), None]
        assert server.connections == 1


# --- the disk -------------------------------------------------------------------------------------------------------


def test_no_folder_is_made(studio: Studio, part: Path) -> None:
    """A root that is gone must not be made again on the wrong disk."""
    with WireServer(Store()) as server:
        error = failing(studio, server, part.parent / "gone" / "job.part")
    assert isinstance(error, FilingDeferred)
    assert "folder" in str(error)
    assert not (part.parent / "gone").exists()


def test_a_full_disk_is_no_fault_of_the_cloud(studio: Studio, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FilingDeferred, in plain words; what fitted stays and is gone on with."""
    write, room = os.write, [150_000]

    def write_while_there_is_room(fd: int, chunk: memoryview) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(fd, chunk[: room[0]])
        room[0] -= count
        return count

    with WireServer(Store()) as server:
        monkeypatch.setattr(os, "write", write_while_there_is_room)
        error = failing(studio, server, part)
        assert isinstance(error, FilingDeferred)
        assert "the disk is full" in str(error)
        monkeypatch.setattr(os, "write", write)
        fetch(studio, server, part)
        assert header(server.requests[-1], "Range") == "bytes=150000-"
    assert part.read_bytes() == VIDEO


ENDLESS = "a FIFO that nobody reads or writes"


@pytest.fixture(params=["link", "dangling", "hard link", ENDLESS])
def plant(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], Path]:
    """Puts something that is not the daemon's in a file's place; a sound sidecar that it leads to is the victim."""
    victim = tmp_path / "victim"
    document = {"etag": '"v1"', "total": len(VIDEO), "boot_id": download_module._THIS_BOOT}
    victim.write_text(json.dumps(document))

    def put(path: Path) -> Path:
        match request.param:
            case "link":
                path.symlink_to(victim)
            case "dangling":
                path.symlink_to(tmp_path / "made")
            case "hard link":
                path.hardlink_to(victim)
            case _:
                os.mkfifo(path)
        return victim

    return put


@pytest.mark.parametrize("place", [".part", ".json", ".json.tmp"])
def test_what_is_not_the_daemons_own_is_put_aside(
    studio: Studio, part: Path, plant: Callable[[Path], Path], place: str
) -> None:
    """Nothing is written through a link, waited for, or resumed from: the download starts afresh in its own files."""
    if place != ".part":
        part.write_bytes(b"\0" * 100_000)
    victim = plant(part.with_suffix(place))
    before = victim.read_bytes()
    with WireServer(Store()) as server:
        fetch(studio, server, part)
        assert header(server.requests[0], "Range") is None
    assert part.read_bytes() == VIDEO
    assert not part.is_symlink()
    assert json.loads(sidecar_of(part).read_text())["etag"] == '"v1"'
    assert not sidecar_of(part).is_symlink()
    assert victim.read_bytes() == before
    assert not (victim.parent / "made").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")
@pytest.mark.parametrize("place", [".part", ".json"])
def test_another_users_part_or_sidecar_is_not_gone_on_with(studio: Studio, part: Path, place: str) -> None:
    """What another user has put there may hold anything: nothing of it ends up in a video."""
    _interrupted(studio, part)
    part.write_bytes(b"\0" * 100_000)
    os.chown(part.with_suffix(place), 61002, -1)
    with WireServer(Store()) as server:
        fetch(studio, server, part)
        assert header(server.requests[0], "Range") is None
    assert part.read_bytes() == VIDEO
    assert {path.stat().st_uid for path in (part, sidecar_of(part))} == {os.geteuid()}


def test_a_folder_in_the_place_of_a_part_is_told(studio: Studio, part: Path) -> None:
    """It is not taken away, for it may hold something."""
    part.mkdir()
    with WireServer(Store()) as server:
        assert isinstance(failing(studio, server, part), FilingDeferred)
        assert server.connections == 0


@pytest.mark.parametrize(("large", "is_told"), [(len(VIDEO), True), (len(VIDEO) + 1, False)])
def test_before_a_large_video_is_received_its_thread_is_told(
    part: Path, monkeypatch: pytest.MonkeyPatch, *, large: int, is_told: bool
) -> None:
    """Hashing and decrypting it is worth a core of its own."""
    told: list[str] = []
    monkeypatch.setattr(download_module, "_LARGE_BYTES", large)
    studio = _made(5.0, on_large=lambda: told.append(threading.current_thread().name))
    with WireServer(Store()) as server:
        fetch(studio, server, part)
    studio.close()
    assert told == [threading.current_thread().name] * is_told


LARGE = FTYP + MOOV + box(b"mdat", random.Random(1).randbytes(5 << 20))


def _large_studio(monkeypatch: pytest.MonkeyPatch, cores: int) -> Studio:
    monkeypatch.setattr(download_module, "_cores", lambda: cores)
    return _made(20, max_video_bytes=2 * len(LARGE))


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("cut_after", [2_000_000, len(LARGE) - 1])
def test_a_large_video_has_its_hash_also_where_it_was_cut(
    part: Path, monkeypatch: pytest.MonkeyPatch, cores: int, cut_after: int
) -> None:
    """Whether another core hashes it or not: of what was kept and of what came then."""
    studio = _large_studio(monkeypatch, cores)
    store = Store(LARGE)
    store.cut_after = cut_after
    with WireServer(store) as server:
        assert isinstance(failing(studio, server, part), CloudDeferred)
        assert 0 < part.stat().st_size <= cut_after
        found = fetch(studio, server, part)
    studio.close()
    assert (found.bytes, found.sha256) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert part.read_bytes() == LARGE
    assert store.answers == ["200 OK", "206 Partial Content"]


@pytest.mark.parametrize(("cores", "hashers"), [(1, 0), (2, 1), (3, 1), (4, 2)])
def test_no_more_large_videos_are_hashed_beside_than_there_are_cores_to_spare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, hashers: int
) -> None:
    """Each takes two: three downloads at once, held where all have begun."""
    begun, go_on = threading.Barrier(4, timeout=60), threading.Event()

    def send(peer: Peer) -> None:
        peer.read_request()
        peer.send(head("200 OK", {"Content-Length": str(len(LARGE))}), LARGE[: 3 << 20])
        begun.wait()
        go_on.wait(60)
        peer.send(LARGE[3 << 20 :])

    studio = _large_studio(monkeypatch, cores)
    with WireServer(send) as server, ThreadPoolExecutor(3) as pool:
        parts = [tmp_path / f"{number}.part" for number in range(3)]
        running = [pool.submit(fetch, studio, server, part) for part in parts]
        begun.wait()
        wait_until(
            lambda: all(part.exists() and part.stat().st_size > 1 << 20 for part in parts), "a beginning of each"
        )
        names = [thread.name for thread in threading.enumerate() if thread.name.startswith("hash")]
        go_on.set()
        assert {found.result().sha256 for found in running} == {hashlib.sha256(LARGE).hexdigest()}
    studio.close()
    assert len(names) == hashers
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hash")]


def test_a_large_part_is_hashed_off_the_core_that_small_calls_share(
    part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was kept of a download that was cut near its end is much to hash, too."""
    told: list[int] = []
    monkeypatch.setattr(download_module, "_cores", lambda: 1)
    studio = _made(20, max_video_bytes=2 * len(LARGE), on_large=lambda: told.append(part.stat().st_size))
    store = Store(LARGE)
    store.cut_after = len(LARGE) - 1
    with WireServer(store) as server:
        failing(studio, server, part)
        assert told == [0]
        assert fetch(studio, server, part).sha256 == hashlib.sha256(LARGE).hexdigest()
    studio.close()
    assert told == [0, len(LARGE) - 1]


def test_where_no_thread_can_be_made_the_hash_is_made_in_place(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the system on threads costs time, not the video."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", refuse)
    studio = _large_studio(monkeypatch, 2)
    with WireServer(Store(LARGE)) as server:
        assert fetch(studio, server, part).sha256 == hashlib.sha256(LARGE).hexdigest()
    studio.close()


def test_whether_to_stop_is_asked_ten_times_a_second() -> None:
    """However small the pieces are in which it comes: not for each of them."""
    now, asked, is_stopping = 100.0, [], False

    def should_stop() -> bool:
        asked.append(now)
        return is_stopping

    flow = download_module._Flow(lambda: now, read_seconds=5.0, should_stop=should_stop)
    for moment in (100.0, 100.05, 100.09, 100.1, 100.15, 100.25):
        now = moment
        flow.wait_seconds()
        flow.on_bytes(16_384)
    assert asked == [100.0, 100.1, 100.25]
    is_stopping, now = True, 100.3
    flow.wait_seconds()
    now = 100.35
    with pytest.raises(CloudDeferred, match="stopping"):
        flow.wait_seconds()


def test_a_pause_in_the_middle_of_a_large_video_is_waited_for(part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a slice of the pace, shorter than the timeout: reading on stops there, and loses nothing."""
    resumed = threading.Event()

    def send(peer: Peer) -> None:
        peer.read_request()
        peer.send(head("200 OK", {"Content-Length": str(len(LARGE))}), LARGE[:1_500_000])
        resumed.wait(0.7)
        peer.send(LARGE[1_500_000:])

    studio = _large_studio(monkeypatch, 2)
    with WireServer(send) as server:
        assert fetch(studio, server, part).sha256 == hashlib.sha256(LARGE).hexdigest()
    studio.close()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_large_video_is_written_back_while_it_comes(
    studio: Studio, part: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    """Each byte is given to the disk once, in order; where the system has no such call, the fsync does all of it."""
    begun: list[tuple[int, int]] = []
    real = download_module._sync_file_range

    def record(descriptor: int, offset: int, count: int, flags: int) -> int:
        begun.append((offset, count))
        return 0 if real is None else real(descriptor, offset, count, flags)

    monkeypatch.setattr(download_module, "_WRITE_BACK_BYTES", 300_000)
    monkeypatch.setattr(download_module, "_sync_file_range", record if is_there else None)
    store = Store()
    with WireServer(store) as server:
        store.cut_after = 700_000
        failing(studio, server, part)
        cut_at = part.stat().st_size
        assert fetch(studio, server, part).sha256 == hashlib.sha256(VIDEO).hexdigest()
    if is_there:
        assert all(count >= 300_000 for _, count in begun)
        ends = [0, *(offset + count for offset, count in begun)]
        assert all(offset in {end, cut_at} for end, (offset, _) in zip(ends, begun, strict=False))
        assert ends[-1] > cut_at
    else:
        assert begun == []


def test_a_part_that_could_not_be_synced_is_not_trusted_again(
    studio: Studio, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync the next one succeeds, although pages were lost (fsync(2))."""

    def fail(_fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with WireServer(Store()) as server:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            assert isinstance(failing(studio, server, part), FilingDeferred)
        fetch(studio, server, part)
        assert header(server.requests[-1], "Range") is None
    assert part.read_bytes() == VIDEO


def test_a_part_that_another_program_writes_to_is_no_good(
    studio: Studio, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Size and hash must be those of what was received."""
    fsync = os.fsync

    def meddle(fd: int) -> None:
        os.pwrite(fd, b"x", len(VIDEO))
        fsync(fd)

    with WireServer(Store()) as server:
        monkeypatch.setattr(os, "fsync", meddle)
        error = failing(studio, server, part)
    assert isinstance(error, CloudDeferred)
    assert "another program" in str(error)
    assert not part.exists()


@pytest.mark.parametrize("headers", [{"Content-Range": "bytes 100000-100009/*"}])
def test_more_bytes_than_the_whole_are_no_video(studio: Studio, part: Path, headers: dict[str, str]) -> None:
    """A body that goes on after its end."""
    _interrupted(studio, part)
    body = b"".join(b"8000\r\n" + b"x" * 0x8000 + b"\r\n" for _ in range(32)) + b"0\r\n\r\n"
    chunked = headers | {"Transfer-Encoding": "chunked"}
    with WireServer(_once(head("206 Partial Content", chunked) + body)) as server:
        error = failing(studio, server, part)
    assert isinstance(error, CloudDeferred)
    assert error.is_bounded
    assert not part.exists()
