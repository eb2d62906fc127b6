"""Every fault, as a client sees it on the wire."""

from __future__ import annotations

import email.utils
import json
import math
import socket
import time
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import pytest
import requests
from simulator_client import HEADERS, HOUR, JOB, Client, eventually, running

from daemon.simulator.faults import KINDS, NAMES
from daemon.simulator.video import smallest_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def client() -> Iterator[Client]:
    """A simulator and its client."""
    with running() as one:
        yield one


@pytest.fixture
def key(client: Client) -> str:
    """A project whose render has ended."""
    chosen = client.accepted()
    client.simulator.advance(HOUR)
    return chosen


def raw(client: Client, path: str = "/simple/video", *, method: str = "POST", until: int | None = None) -> bytes:
    """What comes back for a request, to the end of the connection or so many bytes, as it stood on the wire."""
    address = urlsplit(client.base)
    body = json.dumps(JOB) if method == "POST" else ""
    lines = [
        f"{method} {address.path}{path} HTTP/1.1",
        "Host: x",
        *(f"{name}: {value}" for name, value in HEADERS.items()),
    ]
    request = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body])
    came = b""
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(request.encode())
        while until is None or len(came) < until:
            part = connection.recv(65_536)
            if not part:
                break
            came += part
    return came


def is_paid(client: Client) -> bool:
    """Whether the one export that was asked for was accepted."""
    (outcome,) = client.simulator.outcomes()
    return outcome.is_accepted


def _answers(client: Client) -> bool:
    try:
        return raw(client, "/editor/progress/x", method="GET", until=12).startswith(b"HTTP/1.1 404")
    except ConnectionRefusedError:
        return False


# --- answers that say no --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("error", {"success": False, "error": {"code": 4290, "msg": "slow down"}}),
        ("msg", {"success": False, "msg": "slow down"}),
        ("message", {"success": False, "message": "slow down"}),
        ("string", {"success": False, "error": "slow down"}),
    ],
)
def test_every_json_shape_of_an_error(client: Client, body: str, expected: dict[str, Any]) -> None:
    """Those that were seen in documents and client code (API.md, Errors)."""
    client.simulator.add_fault(f"export:429,body={body},msg=slow down")
    answer = client.export()
    assert (answer.status_code, answer.json()) == (429, expected)
    assert not is_paid(client)


@pytest.mark.parametrize(
    ("body", "start", "content_type"),
    [("html", "<!DOCTYPE html>", "text/html"), ("xml", "<?xml", "application/xml"), ("text", "slow", "text/plain")],
)
def test_every_other_shape_of_an_error(client: Client, body: str, start: str, content_type: str) -> None:
    """What proxies and object stores put in its place."""
    client.simulator.add_fault(f"export:502,body={body},msg=slow down")
    answer = client.export()
    assert answer.status_code == 502
    assert answer.headers["Content-Type"].startswith(content_type)
    assert answer.text.startswith(start)


@pytest.mark.parametrize("code", [400, 401, 402, 403, 404, 408, 422, 425, 429, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("target", ["export", "progress", "project", "download"])
def test_any_status_for_any_target(client: Client, key: str, target: str, code: int) -> None:
    """Once, and then all is well again."""
    link = client.link(key)
    calls: dict[str, Callable[[], requests.Response]] = {
        "export": client.export,
        "progress": lambda: client.look(key),
        "project": lambda: client.look(key, "project"),
        "download": lambda: client.download(link),
    }
    client.simulator.add_fault(f"{target}:{code}")
    assert [calls[target]().status_code for _ in range(2)] == [code, 200]


def test_retry_after_as_seconds_as_a_date_and_as_nonsense(client: Client) -> None:
    """RFC 9110, 10.2.3."""
    for fault in ("retry_after=7", "retry_after_date=60", "retry_after=soon"):
        client.simulator.add_fault(f"export:503,{fault}")
    seconds, date, nonsense = (client.export().headers["Retry-After"] for _ in range(3))
    assert (seconds, nonsense) == ("7", "soon")
    assert email.utils.parsedate_to_datetime(date).timestamp() == pytest.approx(
        client.simulator.state()["now"] + 60, abs=10
    )


def test_accepted_and_then_500(client: Client) -> None:
    """The client is told of an error, and has paid."""
    client.simulator.add_fault("export:500,accepted=yes")
    assert client.export().status_code == 500
    assert is_paid(client)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_and_what_it_lures_away(client: Client, code: int) -> None:
    """A client that follows with its credential is found out."""
    client.simulator.add_fault(f"progress:{code},to=/elsewhere")
    answer = client.look("0" * 24, allow_redirects=True)
    assert (answer.history[0].status_code, answer.status_code) == (code, 404)
    assert client.simulator.state()["strays"][0]["has_credential"] is True


def test_success_false(client: Client) -> None:
    """200, and yet refused, in the words that were asked for."""
    client.simulator.add_fault("export:success_false,vendor_code=4020,msg=Not enough credit")
    answer = client.export()
    assert (answer.status_code, answer.json()) == (
        200,
        {"success": False, "error": {"code": 4020, "msg": "Not enough credit"}},
    )
    assert not is_paid(client)


def test_an_unknown_project(client: Client, key: str) -> None:
    """A project that was there and is not."""
    client.simulator.add_fault("progress:unknown")
    answer = client.look(key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 4040)


def test_faults_strike_unknown_projects_too_where_they_can(client: Client) -> None:
    """A probe with a key that nobody has sees an account in trouble; a fault of the progress waits for a project."""
    client.simulator.add_fault("progress:nan")
    client.simulator.add_fault("progress:401")
    assert client.look("0" * 24).status_code == 401
    assert client.look("0" * 24).status_code == 404


# --- answers that make no sense -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "text", "paid"),
    [("login", "<!DOCTYPE html>", False), ("empty", "", True), ("not_json", "OK, but", True)],
)
def test_200_that_is_no_answer(client: Client, fault: str, text: str, *, paid: bool) -> None:
    """A login page, nothing, something else."""
    client.simulator.add_fault(f"export:{fault}")
    answer = client.export()
    assert answer.status_code == 200
    assert answer.text.startswith(text)
    assert (answer.text == "") == (text == "")
    assert is_paid(client) is paid


@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        ("missing", {"data": {}}),
        ("null", {"data": {"key": None}}),
        ("blank", {"data": {"key": ""}}),
        ("number", {"data": {"key": 12345}}),
        ("list", {"data": {"key": ["a"]}}),
        ("data_null", {"data": None}),
        ("data_list", {"data": []}),
        ("data_missing", {}),
    ],
)
def test_no_usable_key(client: Client, shape: str, answer: dict[str, Any]) -> None:
    """Accepted, paid, and no way to ask for it."""
    client.simulator.add_fault(f"export:no_key,shape={shape}")
    assert client.export().json() == {"success": True, **answer}
    assert is_paid(client)


def test_an_odd_key_can_be_asked_for_when_it_is_quoted(client: Client) -> None:
    """A key with characters that mean something in a URL is still one segment of the path."""
    client.simulator.add_fault("export:odd_key")
    key = client.accepted()
    assert key == KINDS["odd_key"].parameters["key"]
    client.simulator.advance(HOUR)
    link = client.link(quote(key, safe=""))
    assert client.download(link).status_code == 200


def test_deep_json(client: Client) -> None:
    """Deeper than a parser that recurses can go."""
    client.simulator.add_fault("export:deep_json")
    with pytest.raises(RecursionError):
        json.loads(client.export().text)


def test_endless_json(client: Client) -> None:
    """As much as one cares to read."""
    client.simulator.add_fault("progress:endless_json")
    assert len(raw(client, "/editor/progress/x", method="GET", until=1_000_000)) >= 1_000_000


def test_a_gzip_bomb(client: Client) -> None:
    """Much becomes of little."""
    client.simulator.add_fault("export:gzip_bomb,megabytes=20")
    head, _, bomb = raw(client).partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head
    assert len(bomb) < 100_000
    size, rest = 0, bomb
    while rest:
        member = zlib.decompressobj(wbits=31)
        size += len(member.decompress(rest))
        rest = member.unused_data
    assert size > 20_000_000


def test_gzip_that_nobody_asked_for(client: Client, key: str) -> None:
    """The right answer, compressed; the video too."""
    client.simulator.add_fault("progress:gzip")
    answer = client.look(key)
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json()["data"]["progress"] == 100
    client.simulator.add_fault("download:gzip")
    video = client.download(client.link(key))
    assert video.headers["Content-Encoding"] == "gzip"
    assert video.content == client.simulator.video(key).read()


# --- connections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", [True, False])
@pytest.mark.parametrize("reset", [True, False])
def test_a_connection_closed_without_an_answer(client: Client, *, accepted: bool, reset: bool) -> None:
    """Paid or not: the client cannot tell, the state can."""
    client.simulator.add_fault({"target": "export", "kind": "close", "reset": reset, "accepted": accepted})
    if reset:
        with pytest.raises(ConnectionResetError):
            raw(client)
    else:
        assert raw(client) == b""
    assert is_paid(client) is accepted


@pytest.mark.parametrize("accepted", [True, False])
def test_no_answer_ever(client: Client, *, accepted: bool) -> None:
    """Until the client gives up."""
    client.simulator.add_fault({"target": "export", "kind": "hang", "accepted": accepted})
    with pytest.raises(requests.ReadTimeout):
        client.export(timeout=0.2)
    assert is_paid(client) is accepted
    assert client.look("0" * 24).status_code == 404


def test_a_late_answer_is_the_right_one(client: Client) -> None:
    """After the seconds that were asked for."""
    client.simulator.add_fault("export:delay,seconds=0.2")
    started = time.monotonic()
    assert client.export().json()["data"]["key"]
    assert time.monotonic() - started >= 0.2


def test_no_connections_for_a_while(client: Client) -> None:
    """Refused at once, nothing sent; then all is well again, on the same port."""
    client.simulator.add_fault("export:refuse,seconds=0.5")
    assert raw(client) == b""
    with pytest.raises(ConnectionRefusedError):
        raw(client)
    eventually(lambda: _answers(client))
    client.accepted()
    assert not client.simulator.outcomes()[0].is_accepted


def test_cut_inside_the_headers(client: Client) -> None:
    """The status line is there, the headers never end."""
    client.simulator.add_fault("export:cut_headers")
    came = raw(client)
    assert came.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in came
    assert is_paid(client)


def _head_and_body(came: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = came.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, body


def test_a_body_shorter_than_it_promised(client: Client) -> None:
    """Content-Length says more than came."""
    client.simulator.add_fault("export:short_body,bytes=10")
    headers, body = _head_and_body(raw(client))
    assert len(body) == 10 < int(headers["content-length"])


def test_a_body_without_a_length_that_ends_half_way(client: Client) -> None:
    """Nothing tells the client that it is not whole."""
    client.simulator.add_fault("export:cut_body")
    headers, body = _head_and_body(raw(client))
    assert "content-length" not in headers
    assert "transfer-encoding" not in headers
    assert body
    with pytest.raises(ValueError, match=r"."):
        json.loads(body)


def test_chunks_without_the_last_one(client: Client) -> None:
    """The terminating chunk never comes."""
    client.simulator.add_fault("export:cut_chunk")
    headers, body = _head_and_body(raw(client))
    assert headers["transfer-encoding"] == "chunked"
    assert not body.endswith(b"0\r\n\r\n")


def test_a_body_that_stalls(client: Client) -> None:
    """Some bytes, then silence, the connection open."""
    client.simulator.add_fault("export:stall,bytes=5")
    with pytest.raises(requests.ConnectionError, match="Read timed out"):
        client.export(timeout=0.3)


@pytest.mark.parametrize("part", ["body", "headers"])
def test_a_trickle(client: Client, part: str) -> None:
    """A few bytes at a time, and whole in the end."""
    client.simulator.add_fault(f"export:trickle,bytes=20,seconds=0.01,part={part}")
    assert client.export().json()["success"] is True


# --- progress -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("nan", "NaN"),
        ("infinity", "Infinity"),
        ("string", '"fifty"'),
        ("null", "null"),
        ("negative", "-5"),
        ("over", "250"),
        ("stuck", "99.0"),
        ("stuck,percent=12.5", "12.5"),
        ("value", "1e400"),
        ("value,json=[]", "[]"),
        ("no_url", "100.0"),
    ],
)
def test_odd_progress(client: Client, key: str, fault: str, told: str) -> None:
    """As it is on the wire, and without a URL."""
    client.simulator.add_fault(f"progress:{fault}")
    assert client.look(key).text == f'{{"success": true, "data": {{"progress": {told}}}}}'


def test_missing_progress(client: Client, key: str) -> None:
    """An answer with nothing in it; Python's parser takes NaN for a number, which is the point of it."""
    client.simulator.add_fault("progress:missing")
    assert client.look(key).json() == {"success": True, "data": {}}
    client.simulator.add_fault("progress:nan")
    assert math.isnan(json.loads(client.look(key).text)["data"]["progress"])


@pytest.mark.parametrize("name", [*NAMES, "my own.mp4"])
def test_odd_names(client: Client, key: str, name: str) -> None:
    """The last segment of the path is the name, and there is a video behind it."""
    client.simulator.add_fault(f"progress:name,name={name}")
    link = client.link(key)
    assert unquote(urlsplit(link).path.rsplit("/", 1)[-1]) == NAMES.get(name, name)
    answer = client.download(link)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == ("video/webm" if name == "webm" else "video/mp4")


def test_another_url(client: Client, key: str) -> None:
    """Any text at all."""
    client.simulator.add_fault("progress:url,url=file:///etc/passwd")
    assert client.link(key) == "file:///etc/passwd"


def test_a_link_that_is_dead_on_arrival(client: Client, key: str) -> None:
    """The next one is good."""
    client.simulator.add_fault("progress:dead_link")
    assert [client.download(client.link(key)).status_code for _ in range(2)] == [403, 200]


# --- download -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["yes", "no"])
def test_a_download_cut_after_some_bytes(client: Client, key: str, reset: str) -> None:
    """What came is right, and can be continued."""
    link = client.link(key)
    client.simulator.add_fault(f"download:cut,bytes=30000,reset={reset}")
    came = bytearray()
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.download_into(came, link)
    assert len(came) <= 30_000
    came += client.download(link, Range=f"bytes={len(came)}-").content
    assert bytes(came) == client.simulator.video(key).read()


def test_an_expired_link(client: Client, key: str) -> None:
    """403 with XML, although it is fresh."""
    client.simulator.add_fault("download:expired")
    answer = client.download(client.link(key))
    assert answer.status_code == 403
    assert "Request has expired" in answer.text


def test_a_video_made_anew_between_two_requests(client: Client, key: str) -> None:
    """If-Range saves the client from a mixture; without it, the mixture shows."""
    link = client.link(key)
    old = client.download(link)
    client.simulator.add_fault("download:new_video")
    new = client.download(link, **{"Range": "bytes=60000-", "If-Range": old.headers["ETag"]})
    assert new.status_code == 200
    assert new.headers["ETag"] != old.headers["ETag"]
    assert len(new.content) == len(old.content)
    mixture = old.content[:60_000] + client.download(link, Range="bytes=60000-").content
    assert mixture not in {old.content, new.content}


def test_a_store_without_a_good_tag(client: Client, key: str) -> None:
    """None at all, or a weak one."""
    link = client.link(key)
    client.simulator.add_fault("download:no_etag")
    client.simulator.add_fault("download:weak_etag")
    assert "ETag" not in client.download(link).headers
    assert client.download(link).headers["ETag"].startswith('W/"')


def test_a_store_without_ranges(client: Client, key: str) -> None:
    """The whole, whatever was asked for."""
    client.simulator.add_fault("download:no_range")
    answer = client.download(client.link(key), Range="bytes=5-")
    assert (answer.status_code, len(answer.content)) == (200, smallest_bytes())
    assert "Accept-Ranges" not in answer.headers


@pytest.mark.parametrize(("fault", "told"), [("wrong_range", 107), ("lying_range", 100)])
def test_a_store_that_sends_another_range(client: Client, key: str, fault: str, told: int) -> None:
    """And says so, or does not."""
    client.simulator.add_fault(f"download:{fault},shift=7")
    answer = client.download(client.link(key), Range="bytes=100-199")
    assert answer.headers["Content-Range"] == f"bytes {told}-{told + 99}/{smallest_bytes()}"
    assert answer.content == client.simulator.video(key).read()[107:207]


@pytest.mark.parametrize(("body", "start"), [("html", b"<!DOCTYPE"), ("garbage", b"\x00\x01"), ("empty", b"")])
def test_something_that_is_no_video(client: Client, key: str, body: str, start: bytes) -> None:
    """Under the type of one."""
    client.simulator.add_fault(f"download:not_video,body={body}")
    answer = client.download(client.link(key))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "video/mp4")
    assert answer.content.startswith(start)
    assert bool(answer.content) == bool(start)


def test_a_truncated_video(client: Client, key: str) -> None:
    """The answer is whole, the video is not."""
    client.simulator.add_fault("download:truncated,bytes=50000")
    answer = client.download(client.link(key))
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "50000")
    assert answer.content == client.simulator.video(key).read()[:50_000]


def test_a_fault_for_one_text_spares_the_others(client: Client) -> None:
    """Match looks into the project's text."""
    client.simulator.add_fault("any:500,match=second,times=0")
    first, second = client.export(json=JOB | {"text": "first"}), client.export(json=JOB | {"text": "second"})
    assert (first.status_code, second.status_code) == (200, 500)
