"""The simulator over a real socket: its endpoints, its object store, its control API, its end."""

from __future__ import annotations

import concurrent.futures
import email.utils
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from simulator_client import HEADERS, HOUR, JOB, Client, eventually, running

from daemon.simulator.server import RunningSimulator, Served, Settings, VideoTooSmall, serve
from daemon.simulator.video import smallest_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def client() -> Iterator[Client]:
    """A simulator and its client."""
    with running() as one:
        yield one


# --- the API --------------------------------------------------------------------------------------------------------


def test_an_accepted_export_has_a_key_and_is_counted(client: Client) -> None:
    """The documented answer; the state tells what was asked and that it was paid."""
    key = client.accepted(text="one")
    client.accepted(text="one")
    assert client.simulator.accepted_by_text() == {"one": 2}
    outcome = client.simulator.outcomes()[0]
    assert (outcome.key, outcome.is_accepted, outcome.code, outcome.text) == (key, True, 200, "one")
    assert outcome.fields == JOB | {"text": "one"}


@pytest.mark.parametrize("credential", [None, "", "Bearer some-key"])
def test_without_a_bare_credential_nothing_is_answered(client: Client, credential: str | None) -> None:
    """401 with code 4010, for every endpoint, before anything else is looked at."""
    headers = {"Content-Type": "application/json"} | ({} if credential is None else {"Authorization": credential})
    for answer in (
        client.export(headers=headers, json={}),
        client.look("nobody", headers=headers),
        client.look("nobody", "project", headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.json()["success"] is False
        assert answer.json()["error"]["code"] == 4010
    assert client.simulator.accepted_by_text() == {}


def test_keys_can_be_restricted() -> None:
    """Only those that were named are taken."""
    with running(keys=("good", "better")) as client:
        assert client.export(headers=HEADERS | {"Authorization": "better"}).status_code == 200
        assert client.export(headers=HEADERS).json()["error"]["code"] == 4010


@pytest.mark.parametrize(
    "options",
    [
        {"json": {"text": "only"}},
        {"json": JOB | {"clothes": 1}},
        {"json": [JOB]},
        {"json": None, "data": b"not json"},
        {"json": None, "data": b"\xff\xfe"},
        {"json": None, "data": b"[" * 100_000},
        {"json": None, "data": b""},
        {"headers": HEADERS | {"Content-Type": "text/plain"}},
    ],
)
def test_an_invalid_export_is_refused_and_not_paid(client: Client, options: dict[str, Any]) -> None:
    """400 with code 4000."""
    answer = client.export(**options)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == 4000
    assert [outcome.is_accepted for outcome in client.simulator.outcomes()] == [False]


def test_progress_follows_the_clock_and_ends_with_both_urls(client: Client) -> None:
    """A rising float; once finished, the link under the tutorial's name and the reference's."""
    key = client.accepted()
    client.simulator.advance(HOUR / 2)
    half = client.look(key).json()
    assert half["success"] is True
    assert 50 <= half["data"]["progress"] < 51
    assert set(half["data"]) == {"progress"}
    client.simulator.advance(HOUR / 2)
    whole = client.look(key).json()["data"]
    assert whole["progress"] == 100
    assert whole["url"] == whole["videoUrl"]
    assert whole["url"].startswith(f"{client.simulator.origin}/videos/{key}/{key}.mp4?Expires=")


def test_the_project_tells_what_was_asked(client: Client) -> None:
    """Key, fields, progress; the link once finished."""
    key = client.accepted()
    before = client.look(key, "project").json()["data"]
    assert {name: before[name] for name in JOB} == JOB
    assert (before["key"], before["state"], "url" in before) == (key, "progress", False)
    client.simulator.advance(HOUR)
    after = client.look(key, "project").json()["data"]
    assert (after["state"], after["progress"], "url" in after) == ("exported", 100, True)


@pytest.mark.parametrize("what", ["progress", "project"])
def test_an_unknown_key_is_404(client: Client, what: str) -> None:
    """Code 4040."""
    answer = client.look("0" * 24, what)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 4040)


def test_the_link_names_the_host_that_was_asked(client: Client) -> None:
    """So that it works by whatever name or tunnel the simulator was reached."""
    key = client.accepted()
    client.simulator.advance(HOUR)
    answer = client.look(key, headers=HEADERS | {"Host": "studio.example:99"})
    assert answer.json()["data"]["url"].startswith("http://studio.example:99/videos/")


def test_the_link_names_our_port_where_the_client_names_no_host(client: Client) -> None:
    """As HTTP/1.0 allows."""
    key = client.accepted()
    client.simulator.advance(HOUR)
    address = urlsplit(client.base)
    question = f"GET {address.path}/editor/progress/{key} HTTP/1.0\r\nAuthorization: some-key\r\n\r\n"
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(question.encode())
        with connection.makefile("rb") as came:
            answer = came.read()
    link = json.loads(answer.partition(b"\r\n\r\n")[2])["data"]["url"]
    assert urlsplit(link).netloc == address.netloc
    assert client.download(link).status_code == 200


def test_hundreds_of_polls_at_a_time(client: Client) -> None:
    """Every one is answered, on connections of their own."""
    key = client.accepted()

    def poll(_: int) -> int:
        return requests.get(f"{client.base}/editor/progress/{key}", headers=HEADERS, timeout=20).status_code

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        assert set(pool.map(poll, range(320))) == {200}
    state = client.simulator.state()
    assert state["polls"] == state["projects"][0]["polls"] == 320


# --- the object store -----------------------------------------------------------------------------------------------


@pytest.fixture
def link(client: Client) -> str:
    """A link to a finished video."""
    key = client.accepted()
    client.simulator.advance(HOUR)
    return client.link(key)


def test_a_download_is_the_video(client: Client, link: str) -> None:
    """Whole, with its length, type, strong tag, and date; no credential needed."""
    answer = client.download(link)
    key = urlsplit(link).path.split("/")[2]
    assert answer.status_code == 200
    assert answer.content == client.simulator.video(key).read()
    assert answer.headers["Content-Type"] == "video/mp4"
    assert answer.headers["Content-Length"] == str(smallest_bytes())
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"].startswith('"')
    assert answer.headers["Last-Modified"].endswith(" GMT")


def test_a_download_can_be_resumed(client: Client, link: str) -> None:
    """Range with If-Range gives the rest; what has changed is sent whole; what is beyond the end is 416."""
    whole = client.download(link)
    rest = client.download(link, **{"Range": "bytes=1000-", "If-Range": whole.headers["ETag"]})
    assert rest.status_code == 206
    assert rest.headers["Content-Range"] == f"bytes 1000-{len(whole.content) - 1}/{len(whole.content)}"
    assert rest.content == whole.content[1000:]
    assert client.download(link, **{"Range": "bytes=1000-", "If-Range": '"old"'}).status_code == 200
    beyond = client.download(link, Range=f"bytes={len(whole.content)}-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole.content)}")


def test_head_tells_the_same_without_the_bytes(client: Client, link: str) -> None:
    """For small videos and for large ones."""
    with running(render_seconds=0, video_bytes=5_000_000_000) as large:
        for url, size in ((link, smallest_bytes()), (large.link(large.accepted()), 5_000_000_000)):
            answer = client.http.head(url, timeout=10)
            assert (answer.status_code, answer.headers["Content-Length"]) == (200, str(size))
            assert answer.content == b""


def test_an_expired_link_is_refused_and_the_progress_yields_a_fresh_one(client: Client, link: str) -> None:
    """403 with an object store's XML; the signature of another project does not help."""
    client.simulator.advance(901)
    answer = client.download(link)
    assert answer.status_code == 403
    assert answer.headers["Content-Type"] == "application/xml"
    assert "<Code>AccessDenied</Code><Message>Request has expired</Message>" in answer.text
    fresh = client.link(urlsplit(link).path.split("/")[2])
    assert client.download(fresh).status_code == 200
    assert "SignatureDoesNotMatch" in client.download(fresh.replace("Expires=1", "Expires=2")).text
    assert client.download(fresh.split("?")[0]).status_code == 403


def test_a_video_of_gigabytes_comes_from_nowhere() -> None:
    """Any part of it is there at once; the boxes of the MP4 add up to its size."""
    size = 6_000_000_000
    with running(render_seconds=0, video_bytes=size) as client:
        link = client.link(client.accepted())
        start = smallest_bytes() - 1024
        head = client.download(link, Range=f"bytes={start}-{start + 15}").content
        assert struct.unpack(">I4sQ", head) == (1, b"free", size - start)
        tail = client.download(link, Range="bytes=-600000")
        assert (len(tail.content), tail.headers["Content-Range"]) == (
            600_000,
            f"bytes {size - 600_000}-{size - 1}/{size}",
        )


def test_ffmpeg_is_not_needed_to_see_that_the_asset_is_h264() -> None:
    """The sample descriptions of the video and of the sound are there."""
    from daemon.simulator.video import asset

    assert b"avc1" in asset()
    assert b"mp4a" in asset()
    assert len(asset()) < 150_000
    assert asset().index(b"moov") < asset().index(b"mdat")


# --- control --------------------------------------------------------------------------------------------------------


def test_the_control_api_does_what_the_methods_do(client: Client) -> None:
    """Faults as objects, as text, or a list of both; the clock; the state; reset."""
    control = f"{client.simulator.origin}/_simulator"
    faults: list[Any] = ["export:hang", {"target": "progress", "kind": "nan", "times": 0}]
    assert client.http.post(f"{control}/faults", json=faults, timeout=10).status_code == 200
    assert client.http.post(f"{control}/faults", json="export:429", timeout=10).status_code == 200
    kinds = [fault["kind"] for fault in client.http.get(f"{control}/state", timeout=10).json()["faults"]]
    assert kinds == ["hang", "nan", "http"]
    assert client.http.delete(f"{control}/faults", timeout=10).status_code == 200
    key = client.accepted()
    assert client.http.post(f"{control}/clock", json={"advance_seconds": HOUR}, timeout=10).status_code == 200
    assert client.look(key).json()["data"]["progress"] == 100
    client.simulator.add_fault("export:hang")
    assert client.http.post(f"{control}/reset", timeout=10).status_code == 200
    state = client.http.get(f"{control}/state", timeout=10).json()
    assert (state["projects"], state["faults"], state["exports"]["received"], state["polls"]) == ([], [], 0, 0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("faults", '"export:hnag"'),
        ("faults", '["export:hang", 5]'),
        ("faults", "{"),
        ("clock", "{}"),
        ("clock", "5"),
    ],
)
def test_a_mistake_in_a_control_call_changes_nothing(client: Client, path: str, body: str) -> None:
    """400 with words; of a list of faults, all or none."""
    answer = client.http.post(f"{client.simulator.origin}/_simulator/{path}", data=body, timeout=10)
    assert answer.status_code == 400
    assert client.simulator.state()["faults"] == []


def test_methods_of_the_running_simulator(client: Client) -> None:
    """Faults can be cleared, everything can be forgotten, a refusal can be asked for by hand."""
    client.simulator.add_fault({"target": "export", "kind": "500", "times": 0})
    assert client.export().status_code == 500
    client.simulator.clear_faults()
    client.accepted()
    client.simulator.reset()
    assert client.simulator.state()["projects"] == []
    client.simulator.refuse(60)
    with pytest.raises(requests.ConnectionError):
        client.export()


@pytest.mark.parametrize("path", ["/_simulator/state", "/nowhere", "/api/odin/simple/video"])
def test_every_answer_has_the_date_of_the_simulators_clock(client: Client, path: str) -> None:
    """Also what the real cloud does not have, and what is not found."""
    client.simulator.advance(30 * HOUR)
    answer = client.http.get(urljoin(client.base, path), timeout=10)
    ahead = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
    assert ahead == pytest.approx(30 * HOUR, abs=HOUR)


def test_other_paths_are_remembered(client: Client) -> None:
    """So that a credential that went astray after a redirect is seen."""
    client.http.post(f"{client.simulator.origin}/elsewhere", data=b"12345", headers=HEADERS, timeout=10)
    assert client.simulator.state()["strays"] == [
        {"method": "POST", "path": "/elsewhere", "has_credential": True, "bytes": 5}
    ]


def test_every_answer_is_told_to_whoever_listens() -> None:
    """Target, subject, code, and fault, as a value and as a line."""
    heard: list[Served] = []
    with RunningSimulator(Settings(port=0, render_seconds=0), on_request=heard.append) as simulator:
        requests.post(f"{simulator.base_url}/simple/video", json=JOB, headers=HEADERS, timeout=10)
        simulator.add_fault("progress:404")
        key = simulator.outcomes()[0].key
        requests.get(f"{simulator.base_url}/editor/progress/{key}", headers=HEADERS, timeout=10)
    assert [str(served) for served in heard] == [
        f"export    {key}  200  accepted",
        f"progress  {key}  404  100 %  fault progress:http code=404",
    ]


# --- starting and stopping ------------------------------------------------------------------------------------------


def test_a_taken_port_is_said_in_plain_words(client: Client) -> None:
    """By the context manager and by serve() alike."""
    port = urlsplit(client.simulator.origin).port
    assert port is not None
    with (
        pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*port"),
        RunningSimulator(Settings(port=port)),
    ):
        pass
    with pytest.raises(OSError, match="cannot listen"):
        serve(Settings(port=port))


@pytest.mark.parametrize("settings", [{"render_seconds": -1}, {"link_seconds": 0}, {"jitter": 2}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    """At once, not when the first request comes."""
    with pytest.raises(ValueError, match="must not be negative"):
        Settings(**settings)
    with pytest.raises(VideoTooSmall):
        Settings(video_bytes=10)


@pytest.mark.parametrize(
    "fault",
    ["export:hang", "export:stall", "export:trickle,seconds=60", "export:endless_json", "export:delay,seconds=60"],
)
def test_it_stops_whatever_its_clients_do(fault: str) -> None:
    """A client that waits, and one that does not read, hold up nothing; no thread is left."""
    body = json.dumps(JOB).encode()
    lines = [
        "POST /api/odin/simple/video HTTP/1.1",
        "Host: x",
        *(f"{name}: {value}" for name, value in HEADERS.items()),
    ]
    request = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body
    before = threading.active_count()
    with running() as client:
        client.simulator.add_fault(fault)
        address = urlsplit(client.simulator.origin)
        with socket.create_connection((address.hostname, address.port), timeout=10) as stalled:
            stalled.sendall(request)
            eventually(lambda: bool(client.simulator.outcomes()))
            stopping = threading.Thread(target=client.simulator.stop, daemon=True)
            stopping.start()
            stopping.join(10)
            assert not stopping.is_alive()
    assert threading.active_count() == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_runs_until_it_is_told_to_stop(number: signal.Signals) -> None:
    """It says where it listens, answers there, and ends quietly."""
    program = (
        "from daemon.simulator.server import Settings, serve;"
        "serve(Settings(port=0), on_ready=lambda url: print(url, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program], stdout=subprocess.PIPE, text=True
    ) as running_server:
        assert running_server.stdout is not None
        url = running_server.stdout.readline().strip()
        assert urlsplit(url).path == "/api/odin"
        assert requests.post(f"{url}/simple/video", json=JOB, headers=HEADERS, timeout=10).status_code == 200
        running_server.send_signal(number)
        assert running_server.wait(10) == 0
