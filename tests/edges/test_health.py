"""/healthz, /metrics, /status: what they say, and that nobody can do harm by asking. Over real sockets."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import resource
import socket
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from daemon.core.errors import LedgerUnavailable
from daemon.core.job import Deferred, Exported, InDoubt, Refused
from daemon.core.report import Troubled
from daemon.core.vitals import Vitals
from daemon.edges.health import Health
from daemon.edges.health.connections import MOST_CONNECTIONS, SILENT_SECONDS
from daemon.edges.health.figures import Figures, _Process
from daemon.edges.health.listener import Listener
from daemon.edges.health.pages import JSON, Answer, Pages
from daemon.edges.health.request import HEAD_BYTES, respond

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PATIENCE_SECONDS = 20.0
WELL = Vitals(turned_at=0.0)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Lines:
    """A log that can be waited for."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, dict[str, Any]]] = []
        self._changed = threading.Condition()

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        with self._changed:
            self.said.append((level, event, fields))
            self._changed.notify_all()

    def info(self, event: str, **fields: Any) -> None:
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._say("error", event, fields)

    def until(self, event: str) -> dict[str, Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: any(event == one[1] for one in self.said), PATIENCE_SECONDS), (
                self.said
            )
            return next(fields for _, name, fields in self.said if name == event)


class Serving:
    """Health on a free port, with the last answer's parts at hand."""

    def __init__(
        self,
        overview: Callable[[], Mapping[str, Any]] = dict,
        *,
        page: Callable[[], bytes] = bytes,
        clock: Clock | None = None,
    ) -> None:
        self.log = Lines()
        self.health = Health(
            ("127.0.0.1", 0),
            version="1.2.3",
            booted_at=5.0,
            overview=overview,
            page=page,
            clock=clock or Clock(),
            log=self.log,
        )
        self.health.publish(WELL)

    def __enter__(self) -> Self:
        self.health.start()
        self.port = int(self.log.until("http.started")["addresses"][0].rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        self.health.stop()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """A request, and what comes back: code, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def raw(self, sent: bytes) -> bytes:
        """Bytes, and all that comes back."""
        with self.connect() as link:
            link.sendall(sent)
            return drained(link)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)


def drained(link: socket.socket) -> bytes:
    found = b""
    while part := link.recv(65536):
        found += part
    return found


# --- /healthz -------------------------------------------------------------------------------------


def test_healthz_says_ok_or_why_not() -> None:
    """200 with nothing to read, or 503 with one reason for each part that is ill; the latest vitals count."""
    with Serving() as serving:
        assert serving.ask("/healthz")[::2] == (200, b'{"ok": true}\n')
        serving.health.publish(replace(WELL, account="402: no credit", root="unmounted"))
        code, headers, body = serving.ask("/healthz")
        assert (code, headers["content-type"]) == (503, JSON)
        assert json.loads(body) == {
            "ok": False,
            "reasons": [{"part": "account", "reason": "402: no credit"}, {"part": "root", "reason": "unmounted"}],
        }
        serving.health.publish(replace(WELL, is_paused=True, is_limited=True))
        assert serving.ask("/healthz")[0] == 200


def test_healthz_notices_a_main_loop_that_does_not_turn() -> None:
    """Nobody publishes any more: the age of the last vitals tells."""
    clock = Clock()
    with Serving(clock=clock) as serving:
        clock.now = 31.0
        assert b'"main_loop"' in serving.ask("/healthz")[2]
        serving.health.publish(replace(WELL, turned_at=30.0))
        assert serving.ask("/healthz")[0] == 200


# --- /metrics -------------------------------------------------------------------------------------


def samples(text: str, parse: Callable[[str], Any] = parse_text) -> dict[str, float]:
    """Every sample by its name and labels, as a person would write it."""
    found = {}
    for family in parse(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_metrics_tells_gauges_from_the_vitals() -> None:
    """Read when asked; every state and every part is there, also with 0."""
    clock = Clock()
    figures = Figures(version="1.2.3", booted_at=5.0, clock=clock)
    figures.vitals = Vitals(
        turned_at=0.0, queued=1, exporting=2, tracing=3, rendering=4, max_rendering=20, downloading=5,
        cloud="away", is_paused=True, is_limited=True, scanned_at=1700000000.5,
    )  # fmt: skip
    found = samples(figures.page("")[0].decode())
    states = {"queued": 1, "exporting": 2, "tracing": 3, "rendering": 4, "downloading": 5}
    assert {state: found[f"chromadrop_jobs{{state={state}}}"] for state in states} == states
    parts = ("account", "cloud", "root", "folders", "ledger", "scanner", "main_loop")
    assert [found[f"chromadrop_up{{part={part}}}"] for part in parts] == [1, 0, 1, 1, 1, 1, 1]
    assert found["chromadrop_healthy"] == 0
    assert found["chromadrop_paused"] == 1
    assert found["chromadrop_limited"] == 1
    assert found["chromadrop_stopping"] == 0
    assert found["chromadrop_max_rendering"] == 20
    assert found["chromadrop_last_scan_timestamp_seconds"] == 1700000000.5
    assert found["chromadrop_build_info{version=1.2.3}"] == 1
    clock.now = 60.0
    assert samples(figures.page("")[0].decode())["chromadrop_up{part=main_loop}"] == 0


def test_metrics_counts_what_it_is_told() -> None:
    """Each thing once, in its place; an event that is none of ours to count changes nothing."""
    figures = Figures(version="1", booted_at=5.0, clock=Clock())
    before = samples(figures.page("")[0].decode())
    figures.entered("job.downloaded", {"bytes": 70, "n": 1})
    figures.entered("job.downloaded", {"bytes": 30, "n": 2})
    for event in ("job.refused", "job.in_doubt", "job.gave_up", "job.adopted", "batch.claimed", "batch.invalid"):
        figures.entered(event, {})
    for outcome in ("done", "failed", "failed"):
        figures.entered("batch.filed", {"outcome": outcome})
    figures.entered("batch.withdrawn", {})
    figures.entered("job.queued", {})
    troubled = Troubled("x", is_credential=True)
    for answer in (Exported("P"), Refused("x"), InDoubt("x"), Deferred("x", is_outage=True), troubled):
        figures.exported(answer)
    figures.deferred(Deferred("x", is_ours=True))
    figures.looked(-0.1)
    figures.looked(2.0)
    figures.made(100.0)
    after = samples(figures.page("")[0].decode())
    changed = {
        name: after[name] - before[name]
        for name in after
        if name.startswith("chromadrop")
        and "_created" not in name
        and "_bucket" not in name
        and after[name] != before[name]
    }
    assert changed == {
        "chromadrop_jobs_settled_total{outcome=done}": 2,
        "chromadrop_jobs_settled_total{outcome=refused}": 1,
        "chromadrop_jobs_settled_total{outcome=in_doubt}": 1,
        "chromadrop_jobs_settled_total{outcome=gave_up}": 1,
        "chromadrop_jobs_adopted_total": 1,
        "chromadrop_batches_claimed_total": 1,
        "chromadrop_batches_invalid_total": 1,
        "chromadrop_batches_total{outcome=done}": 1,
        "chromadrop_batches_total{outcome=failed}": 2,
        "chromadrop_batches_total{outcome=withdrawn}": 1,
        "chromadrop_exports_total{outcome=accepted}": 1,
        "chromadrop_exports_total{outcome=refused}": 1,
        "chromadrop_exports_total{outcome=in_doubt}": 1,
        "chromadrop_exports_total{outcome=deferred}": 1,
        "chromadrop_exports_total{outcome=account}": 1,
        "chromadrop_deferrals_total{reason=outage}": 1,
        "chromadrop_deferrals_total{reason=account}": 1,
        "chromadrop_deferrals_total{reason=ours}": 1,
        "chromadrop_looks_total": 2,
        "chromadrop_look_lateness_seconds_count": 2,
        "chromadrop_look_lateness_seconds_sum": 2.0,
        "chromadrop_video_seconds_count": 1,
        "chromadrop_video_seconds_sum": 100.0,
        "chromadrop_downloaded_bytes_total": 100,
    }


def test_metrics_does_not_grow() -> None:
    """Whatever happened, and however often: the same series, so that a page costs the same for 5,000 jobs."""
    figures = Figures(version="1", booted_at=5.0, clock=Clock())
    before = samples(figures.page("")[0].decode()).keys()
    for n in range(5000):
        figures.entered("job.downloaded", {"bytes": n, "project_id": f"P{n}", "video": f"videos/{n}.mp4"})
        figures.deferred(Deferred(f"reason {n}"))
        figures.looked(n / 100)
    figures.vitals = replace(WELL, queued=5000, account="another text")
    assert samples(figures.page("")[0].decode()).keys() == before


def test_metrics_speaks_prometheus_and_openmetrics() -> None:
    """By what is asked for; both can be parsed and say the same."""
    with Serving() as serving:
        _, headers, body = serving.ask("/metrics")
        assert headers["content-type"].startswith("text/plain")
        wanted = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        _, open_headers, open_body = serving.ask("/metrics", Accept=wanted)
        assert open_headers["content-type"].startswith("application/openmetrics-text")
        assert open_body.endswith(b"# EOF\n")
        plain, rich = samples(body.decode()), samples(open_body.decode(), parse_openmetrics)
        ours = {name for name in plain if name.startswith("chromadrop")}
        assert ours <= rich.keys() | {name for name in ours if "_created" in name}
        assert len(ours) > 50


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=foo",
        "application/openmetrics-text; version=1..0",
        f"application/openmetrics-text; version={'9' * 5000}",
        "application/openmetrics-text;;;=;version==",
        "text/plain; version=x",
        "text/plain; version=1.0.0, application/openmetrics-text; version=\xc3\xa9",
        ";",
    ],
)
def test_metrics_takes_no_offence_at_an_odd_wish(monkeypatch: pytest.MonkeyPatch, accept: str) -> None:
    """A version that is none gets the plain text, and nobody is told of an error."""
    crashes: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", crashes.append)
    with Serving() as serving:
        code, headers, body = serving.ask("/metrics", Accept=accept)
    assert code == 200
    assert headers["content-type"].startswith("text/plain")
    assert samples(body.decode())["chromadrop_healthy"] == 1
    assert crashes == []


def test_a_hardened_service_tells_of_its_process_too(tmp_path: Path) -> None:
    """``ProcSubset=pid`` hides /proc/stat: the start of the machine comes from elsewhere then."""
    (tmp_path / "self").symlink_to("/proc/self")
    found = {family.name: family.samples[0].value for family in _Process(1000.0, proc=str(tmp_path)).collect()}
    assert found["process_resident_memory_bytes"] > 0
    assert found["process_start_time_seconds"] > 1000.0
    assert "process_open_fds" in found


# --- /status --------------------------------------------------------------------------------------


def test_status_is_the_overview_as_json() -> None:
    """Texts are escaped, so that no careless page shows them as HTML."""
    texts = {"text": "<script>alert('&')</script>", "name": "녹색"}
    with Serving(lambda: {"files": [texts]}) as serving:
        code, headers, body = serving.ask("/status?x=<b>")
    assert (code, headers["content-type"]) == (200, JSON)
    assert json.loads(body) == {"files": [texts]}
    assert not set(b"<>&") & set(body)
    assert body.isascii()


def test_status_is_read_once_a_second_at_most() -> None:
    """However many ask; and more seldom where reading takes long."""
    clock = Clock()
    reads = []

    def overview() -> dict[str, int]:
        reads.append(clock.now)
        clock.now += 0.5
        return {"n": len(reads)}

    pages = Pages(Figures(version="1", booted_at=5.0, clock=clock), overview, bytes, clock)

    def asked_at(now: float) -> bytes:
        clock.now = now
        answer = pages.answer("/status", "")
        assert answer is not None
        return answer.body

    assert [asked_at(now) for now in (0.0, 1.0, 5.4, 5.6)] == [b'{"n": 1}\n'] * 3 + [b'{"n": 2}\n']
    assert reads == [0.0, 5.6]


def test_the_page_for_people_is_served_as_it_is() -> None:
    """As HTML that no browser takes for anything else; where it cannot be made, why, and no half page."""
    answers: list[Any] = ["<!doctype html>\n<p>안녕".encode(), LedgerUnavailable("cannot open the ledger")]

    def page() -> bytes:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return bytes(found)

    clock = Clock()
    with Serving(page=page, clock=clock) as serving:
        code, headers, body = serving.ask("/")
        assert (code, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert headers["x-content-type-options"] == "nosniff"
        assert body.decode() == "<!doctype html>\n<p>안녕"
        clock.now += 60
        code, headers, body = serving.ask("/")
        assert (code, json.loads(body)) == (503, {"error": "cannot open the ledger"})


def test_a_ledger_that_cannot_be_read_is_said() -> None:
    """503 and why; the next one tries again."""
    answers: list[Any] = [LedgerUnavailable("cannot open the ledger"), {"fine": 1}]

    def overview() -> dict[str, int]:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return dict(found)

    clock = Clock()
    with Serving(overview, clock=clock) as serving:
        assert serving.ask("/status")[::2] == (503, b'{"error": "cannot open the ledger"}\n')
        clock.now = 2.0
        assert serving.ask("/status")[::2] == (200, b'{"fine": 1}\n')


def test_a_reader_that_a_frozen_share_holds_holds_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread waits for the share; others are told, and the other pages answer."""
    monkeypatch.setattr("daemon.edges.health.pages.WAIT_SECONDS", 0.01)
    has_begun, may_go_on = threading.Event(), threading.Event()

    def overview() -> dict[str, int]:
        has_begun.set()
        may_go_on.wait(PATIENCE_SECONDS)
        return {"late": 1}

    with Serving(overview) as serving, serving.connect() as first:
        try:
            first.sendall(b"GET /status HTTP/1.0\r\n\r\n")
            assert has_begun.wait(PATIENCE_SECONDS)
            for _ in range(2 * MOST_CONNECTIONS):
                assert serving.ask("/status")[0] == 503
            assert serving.ask("/healthz")[0] == 200
        finally:
            may_go_on.set()
        assert drained(first).endswith(b'{"late": 1}\n')


# --- who asks, and how ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    """For those who only ask."""
    with Serving(lambda: {"files": []}) as found:
        yield found


@pytest.mark.parametrize(
    "path", ["/index.html", "/healthz/", "/metrics/x", "/../status", "/status/%2e", "/favicon.ico"]
)
def test_nothing_else_is_there(serving: Serving, path: str) -> None:
    """404 in JSON, that quotes nothing."""
    code, _, body = serving.ask(path)
    assert (code, json.loads(body)) == (404, {"error": "/, /healthz, /metrics, and /status are here"})


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"])
@pytest.mark.parametrize("path", ["/status", "/nowhere"])
def test_nothing_can_be_changed(serving: Serving, method: str, path: str) -> None:
    """405 for whatever is not GET or HEAD, on every path."""
    code, headers, _ = serving.ask(path, method)
    assert (code, headers["allow"]) == (405, "GET, HEAD")


def test_an_answer_is_read_to_its_end_though_a_body_was_sent(serving: Serving) -> None:
    """A request with a large body still learns that it was refused."""
    body = b"x" * 60_000
    answer = serving.raw(b"POST /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 405 ")


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/status", "/nowhere"])
def test_head_is_get_without_the_body(serving: Serving, path: str) -> None:
    """The same headers."""
    code, headers, body = serving.ask(path, "HEAD")
    assert body == b""
    like = serving.ask(path)
    assert (code, headers.keys()) == (like[0], like[1].keys())
    assert int(headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/status", "/nowhere"])
def test_every_answer_is_kept_by_nobody_and_guessed_at_by_nobody(serving: Serving, path: str) -> None:
    """No cache, no sniffing, no other site."""
    headers = serving.ask(path)[1]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["connection"] == "close"
    assert not {"location", "access-control-allow-origin", "set-cookie", "server"} & headers.keys()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: LOCALHOST:1\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:9188\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: [::1]:9188\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421),
        (b"GET /status HTTP/1.0\r\nHost: evil.example:9188\r\n\r\n", 421),
        (b"GET /status HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", 421),
        (b"GET /status HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", 421),
        (b"GET /status HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", 421),
        (b"GET /status HTTP/1.1\r\nHost:\r\n\r\n", 421),
        (b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /healthz\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET /healthz HTTP/x\r\n\r\n", 400),
        (b"GET  /a b c HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\xff\xfe\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\n\r\n", 431),
    ],
)
def test_what_comes_over_the_wire(serving: Serving, sent: bytes, code: int) -> None:
    """Names of this machine are answered to, other names are a browser's that was led here; nonsense is refused."""
    answer = serving.raw(sent)
    assert answer.startswith(b"HTTP/1.1 %d " % code)
    assert b"evil" not in answer


def test_a_listener_for_others_takes_every_name() -> None:
    """Where the operator lets other machines read, they call it as they know it."""
    sent = b"GET /x HTTP/1.1\r\nHost: monitor.example\r\n\r\n"

    def page(path: str, accept: str) -> Answer:
        return Answer.of(200, {path: accept})

    assert respond(sent, page, None).startswith(b"HTTP/1.1 200 ")
    assert respond(sent, page, "monitor.example").startswith(b"HTTP/1.1 200 ")
    assert respond(sent, page, "127.0.0.1").startswith(b"HTTP/1.1 421 ")


def test_a_bug_on_one_page_ends_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """500 without a word of it, reported once however often one asks, and the next request is answered."""
    crashes: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", crashes.append)

    def overview() -> dict[str, int]:
        raise RuntimeError("secret")

    with Serving(overview) as serving:
        assert serving.ask("/status")[::2] == (500, b'{"error": "Internal Server Error"}\n')
        assert serving.ask("/healthz")[0] == 200
        assert serving.ask("/status")[0] == 500
    assert [str(crash.exc_value) for crash in crashes] == ["secret"]


# --- connections ----------------------------------------------------------------------------------


@contextmanager
def listening(
    answer: Callable[[str, str], Answer | None] = lambda _path, _accept: Answer.of(200, {}),
    *,
    clock: Clock | None = None,
    **settings: Any,
) -> Iterator[tuple[Listener, Lines]]:
    log = Lines()
    address = settings.pop("address", ("127.0.0.1", 0))
    listener = Listener(address, answer, clock=clock or Clock(), log=log, **settings)
    listener.start()
    try:
        yield listener, log
    finally:
        listener.stop()


def port_of(log: Lines) -> int:
    return int(log.until("http.started")["addresses"][0].rpartition(":")[2])


def test_whoever_says_nothing_is_cut() -> None:
    """In the middle of a word, with every place taken: the connections end, and then the next one is served."""
    clock = Clock()
    with listening(clock=clock, patience_seconds=60.0) as (listener, log), ExitStack() as stack:
        where = ("127.0.0.1", port_of(log))
        links = [stack.enter_context(connected(where, b"GET /healthz HT")) for _ in range(MOST_CONNECTIONS)]
        wait_until(lambda: not listener._connections.has_room and not listener._connections._silent)
        with connected(where, b"GET / HTTP/1.0\r\n\r\n") as late:
            # The ninth waits in the system's queue until there is room.
            clock.now = SILENT_SECONDS + 1.0
            listener._wake()
            wait_until(lambda: not listener._watched)
            assert len(listener._connections._cut_at) == MOST_CONNECTIONS
            clock.now = 61.0
            listener._wake()
            assert [drained(link) for link in links] == [b""] * MOST_CONNECTIONS
            assert drained(late).endswith(b"{}\n")


def test_a_first_word_is_waited_for_more_briefly() -> None:
    """Whoever has begun has all the time there is."""
    clock = Clock()
    with listening(clock=clock, patience_seconds=60.0) as (listener, log), ExitStack() as stack:
        where = ("127.0.0.1", port_of(log))
        begun = stack.enter_context(connected(where, b"GET / HT"))
        silent = stack.enter_context(connected(where))
        wait_until(lambda: len(listener._connections._cut_at) == 2 and len(listener._connections._silent) == 1)
        clock.now = SILENT_SECONDS
        listener._wake()
        assert drained(silent) == b""
        begun.sendall(b"TP/1.0\r\n\r\n")
        assert drained(begun).endswith(b"{}\n")


def test_the_silent_make_way() -> None:
    """However many connect and say nothing, who asks is answered at once: the oldest of them goes first."""
    with listening(patience_seconds=60.0) as (listener, log), ExitStack() as stack:
        where = ("127.0.0.1", port_of(log))
        begun = stack.enter_context(connected(where, b"GET / HT"))
        wait_until(lambda: len(listener._connections._cut_at) == 1 and not listener._connections._silent)
        links = [stack.enter_context(connected(where)) for _ in range(3 * MOST_CONNECTIONS)]
        with connected(where, b"GET / HTTP/1.0\r\n\r\n") as late:
            assert drained(late).endswith(b"{}\n")
        assert drained(links[0]) == b""
        wait_until(lambda: len(listener._connections._threads) <= MOST_CONNECTIONS)
        begun.sendall(b"TP/1.0\r\n\r\n")
        assert drained(begun).endswith(b"{}\n")


def connected(where: tuple[str, int], words: bytes = b"") -> socket.socket:
    link = socket.create_connection(where, PATIENCE_SECONDS)
    link.sendall(words)
    return link


def test_whoever_reads_nothing_is_cut() -> None:
    """An answer that nobody takes does not keep its thread."""
    clock = Clock()
    has_begun = threading.Event()

    def large(_path: str, _accept: str) -> Answer:
        has_begun.set()
        return Answer(200, "text/plain", b"x" * 50_000_000)

    with (
        listening(large, clock=clock, patience_seconds=60.0) as (listener, log),
        socket.create_connection(("127.0.0.1", port_of(log)), PATIENCE_SECONDS) as link,
    ):
        link.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert has_begun.wait(PATIENCE_SECONDS)
        clock.now = 61.0
        listener._wake()
        wait_until(lambda: not listener._connections._threads)
        assert len(drained_or_reset(link)) < 50_000_000


def drained_or_reset(link: socket.socket) -> bytes:
    found = b""
    try:
        while part := link.recv(1 << 20):
            found += part
    except ConnectionResetError:
        pass
    return found


def wait_until(is_so: Callable[[], bool]) -> None:
    turn = threading.Event()
    for _ in range(2000):
        if is_so():
            return
        turn.wait(0.01)
    raise AssertionError("it never came to be")


def test_the_end_leaves_nothing() -> None:
    """Connections are cut, threads end, the address is free at once."""
    before = threading.active_count()
    with listening() as (_, log):
        port = port_of(log)
        link = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        link.sendall(b"GET /")
    with link:
        assert drained_or_reset(link) == b""
    assert threading.active_count() == before
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", port))


def test_an_end_without_a_beginning() -> None:
    """A daemon that could not start has nothing to give back but what it opened."""
    Listener(("127.0.0.1", 0), lambda _path, _accept: None, clock=Clock(), log=Lines()).stop()


# --- the address ----------------------------------------------------------------------------------


def test_an_address_that_is_taken_is_said_once_and_tried_again() -> None:
    """Work goes on without; when the address is free, the pages are there."""
    clock = Clock()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with listening(clock=clock, address=("127.0.0.1", port), retry_seconds=30.0) as (listener, log):
            found = log.until("http.unavailable")
            assert found == {"address": f"127.0.0.1:{port}", "reason": "Address already in use", "retry_seconds": 30.0}
            clock.now = 31.0
            listener._wake()
            wait_until(lambda: listener._retry_at == 61.0)
            taken.close()
            clock.now = 62.0
            listener._wake()
            assert port_of(log) == port
            assert [event for _, event, _ in log.said] == ["http.unavailable", "http.started"]


def test_a_host_that_nobody_knows_is_tried_again() -> None:
    """A name server that is away is no reason to end."""
    with listening(address=("nobody.invalid", 9188)) as (_, log):
        assert log.until("http.unavailable")["address"] == "nobody.invalid:9188"


def test_every_address_of_a_name_is_listened_on() -> None:
    """Some programs take localhost for ::1, others for 127.0.0.1; one that is not here is left out."""
    with listening(address=("localhost", 0)) as (listener, log):
        port_of(log)
        assert listener._connections.own_host == "localhost"
        for one in listener._sockets:
            with socket.create_connection(one.getsockname()[:2], PATIENCE_SECONDS) as link:
                link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert drained(link).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("host", "is_exposed"), [("127.0.0.1", False), ("127.0.0.53", False), ("0.0.0.0", True)])
def test_an_address_that_others_reach_is_warned_of(host: str, is_exposed: bool) -> None:
    """It is taken, for it was written so; the log says what it means."""
    with listening(address=(host, 0)) as (listener, log):
        port = port_of(log)
        wait_until(lambda: len(log.said) == 1 + is_exposed)
        assert re.fullmatch(rf"{host}:\d+", log.said[0][2]["addresses"][0])
        assert [level for level, event, _ in log.said if event == "http.exposed"] == ["warning"] * is_exposed
        assert listener._connections.own_host == (None if is_exposed else host)
        with socket.create_connection(("127.0.0.1" if is_exposed else host, port), PATIENCE_SECONDS) as link:
            link.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert drained(link).startswith(b"HTTP/1.1 200 ")


def test_running_out_of_descriptors_makes_it_wait_not_spin() -> None:
    """What cannot be accepted stays readable: the address is given back, and taken again later."""
    clock = Clock()
    with listening(clock=clock, retry_seconds=30.0) as (listener, log):
        port_of(log)
        wait_until(lambda: bool(listener._sockets))
        broken = listener._sockets[0]
        # accept(2) on a socket that no longer listens fails for good, as with EMFILE
        broken.shutdown(socket.SHUT_RDWR)
        assert log.until("http.unavailable")["retry_seconds"] == 30.0
        clock.now = 31.0
        listener._wake()
        wait_until(lambda: [event for _, event, _ in log.said].count("http.started") == 2)


def test_descriptors_that_run_short_end_nothing() -> None:
    """The limit of the process is reached for a while: said once, and the pages are there again afterwards."""
    clock = Clock()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with listening(clock=clock, retry_seconds=30.0) as (listener, log), socket.socket() as link:
        where = ("127.0.0.1", port_of(log))
        free = os.dup(link.fileno())
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            link.connect(where)
            assert log.until("http.unavailable")["reason"] == os.strerror(errno.EMFILE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        clock.now = 31.0
        listener._wake()
        wait_until(lambda: [event for _, event, _ in log.said] == ["http.started", "http.unavailable", "http.started"])
        port = int(log.said[-1][2]["addresses"][0].rpartition(":")[2])
        with connected(("127.0.0.1", port), b"GET / HTTP/1.0\r\n\r\n") as late:
            assert drained(late).endswith(b"{}\n")


def test_a_turn_that_the_system_lets_down_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left to watch a socket with (epoll(7), max_user_watches): like an address that is in use."""
    clock, log = Clock(), Lines()
    listener = Listener(("127.0.0.1", 0), lambda _path, _accept: Answer.of(200, {}), clock=clock, log=log)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as short:
        short.setattr(listener._selector, "register", full)
        listener.start()
        assert log.until("http.unavailable")["reason"] == os.strerror(errno.ENOSPC)
    try:
        clock.now = 31.0
        listener._wake()
        wait_until(lambda: len(log.said) == 3)
        port = int(log.said[-1][2]["addresses"][0].rpartition(":")[2])
        with connected(("127.0.0.1", port), b"GET / HTTP/1.0\r\n\r\n") as link:
            assert drained(link).endswith(b"{}\n")
    finally:
        listener.stop()
    assert [event for _, event, _ in log.said] == ["http.started", "http.unavailable", "http.started"]
