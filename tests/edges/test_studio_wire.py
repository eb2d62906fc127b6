"""The wire, on real sockets: what was sent and what was not, and answers that are cut, slow, or endless."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from wire_server import WireServer, head, header

from daemon.core.errors import CloudDeferred, CloudInDoubt, CloudRefused
from daemon.core.redact import Redactor
from daemon.edges.studio import Studio
from daemon.edges.studio.judge import Look
from daemon.edges.studio.wire import Deadline, ready_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wire_server import Peer

KEY = "s3cret-key"
BODY = {"text": "Hello"}
YES = json.dumps({"success": True, "data": {"key": "p1", "progress": 12}}).encode()
ENDLESS = 1 << 40
IMPATIENT = {"connect_timeout_seconds": 0.3, "read_timeout_seconds": 0.3}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def studio_at() -> Iterator[Callable[..., Studio]]:
    """Clients that are closed at the end."""
    made: list[Studio] = []

    def make(base_url: str, **options: Any) -> Studio:
        timeouts = {"connect_timeout_seconds": 20, "read_timeout_seconds": 20} | options
        studio = Studio(
            base_url=base_url, credential=KEY, redactor=Redactor([KEY]), max_video_bytes=1 << 20, **timeouts
        )
        made.append(studio)
        return studio

    yield make
    for studio in made:
        studio.close()


def _answers_then_hangs(payload: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(payload)
        peer.hang()

    return script


def _answers_then_closes(payload: bytes) -> Callable[[Peer], None]:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(payload)

    return script


def _serves(peer: Peer) -> None:
    while peer.read_request():
        peer.answer(YES)


# --- sent, or never sent --------------------------------------------------------------------------------------------


def test_a_refused_connection_sent_nothing(studio_at: Callable[..., Studio]) -> None:
    """Nobody listens: deferred, an outage."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    studio = studio_at(f"http://127.0.0.1:{port}")
    with pytest.raises(CloudDeferred, match="refused") as caught:
        studio.export(BODY)
    assert caught.value.is_outage
    with pytest.raises(CloudDeferred) as looked:
        studio.look("p1")
    assert looked.value.is_outage


def test_a_name_that_does_not_exist_sent_nothing(
    studio_at: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS fails: deferred, an outage."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(CloudDeferred, match="cannot be resolved") as caught:
        studio_at("https://cloud.invalid").export(BODY)
    assert caught.value.is_outage


def test_a_tls_handshake_that_never_ends_sent_nothing(studio_at: Callable[..., Studio]) -> None:
    """The server accepts and says nothing to the ClientHello: the request itself never left."""
    with WireServer(lambda peer: peer.hang()) as server:
        studio = studio_at(server.url.replace("http:", "https:"), **IMPATIENT)
        with pytest.raises(CloudDeferred) as caught:
            studio.export(BODY)
    assert caught.value.is_outage
    assert server.connections == 1


def test_tls_that_is_refused_sent_nothing(studio_at: Callable[..., Studio]) -> None:
    """A server that speaks no TLS."""

    def script(peer: Peer) -> None:
        peer.sock.recv(65536)
        peer.send(b"HTTP/1.0 400 Bad Request\r\n\r\nspeak plainly")

    with WireServer(script) as server, pytest.raises(CloudDeferred) as caught:
        studio_at(server.url.replace("http:", "https:")).export(BODY)
    assert caught.value.is_outage


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(_answers_then_closes(b""), id="closes before it answers"),
        pytest.param(lambda peer: (peer.read_request(), peer.reset()), id="resets before it answers"),
        pytest.param(lambda peer: (peer.read_request(), peer.hang()), id="says nothing"),
        pytest.param(lambda peer: (peer.sock.recv(1), peer.reset()), id="resets in the middle of the request"),
        pytest.param(_answers_then_closes(b"HTTP/1.1 2"), id="cut inside the first line"),
        pytest.param(_answers_then_closes(b"HTTP/1.1 200 OK\r\nContent-Le"), id="cut inside the headers"),
        pytest.param(_answers_then_closes(head("200 OK", {"Content-Length": "99"}) + YES), id="short body"),
        pytest.param(_answers_then_closes(head("200 OK", {}) + YES[:-9]), id="cut without Content-Length"),
        pytest.param(
            _answers_then_closes(head("200 OK", {"Transfer-Encoding": "chunked"}) + b'5\r\n{"suc\r\n'),
            id="cut chunks",
        ),
        pytest.param(_answers_then_hangs(b"HTTP/1.1 200 OK\r\n"), id="hangs inside the headers"),
        pytest.param(_answers_then_hangs(head("200 OK", {"Content-Length": "99"})), id="hangs before the body"),
        pytest.param(_answers_then_closes(b"SSH-2.0-OpenSSH_9.6\r\n"), id="is no HTTP"),
        pytest.param(_answers_then_closes(b"HTTP/1.1 200 OK\r\n" + b"x" * 100_000), id="an endless header line"),
        pytest.param(_answers_then_closes(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 500), id="endless headers"),
        pytest.param(_answers_then_closes(head("200 OK", {"Content-Encoding": "gzip"}) + b"no gzip"), id="broken gzip"),
        pytest.param(
            _answers_then_closes(head("200 OK", {"Content-Encoding": "gzip"}) + gzip.compress(b" " * 50_000_000)),
            id="a gzip bomb",
        ),
        pytest.param(_answers_then_closes(head("200 OK", {}) + b" " * 2_000_000), id="endless JSON"),
    ],
)
def test_sent_and_no_answer_is_in_doubt(studio_at: Callable[..., Studio], script: Callable[[Peer], None]) -> None:
    """Once a byte of the request has left, only an answer can tell; a look is only deferred."""
    with WireServer(script) as server:
        studio = studio_at(server.url, **IMPATIENT)
        with pytest.raises(CloudInDoubt):
            studio.export(BODY)
        assert server.connections == 1
        with pytest.raises(CloudDeferred) as caught:
            studio.look("p1")
        assert (caught.value.is_outage, caught.value.is_bounded) == (False, False)


@pytest.mark.parametrize("line", ["400 Bad", "422 No"])
def test_a_refusal_whose_body_is_cut_is_still_a_refusal(studio_at: Callable[..., Studio], line: str) -> None:
    """The status alone says that nothing was accepted."""
    script = _answers_then_closes(head(line, {"Content-Length": "99"}) + b"{")
    with WireServer(script) as server, pytest.raises(CloudRefused):
        studio_at(server.url).export(BODY)


@pytest.mark.parametrize("opening", [b"HTTP/1.1 200 OK\r\nX: ", head("200 OK", {"Content-Length": str(ENDLESS)})])
def test_a_trickle_cannot_hold_a_call_for_ever(studio_at: Callable[..., Studio], opening: bytes) -> None:
    """A byte at a time meets every read timeout; the whole call has an end all the same."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(opening)
        peer.trickle(b" ")

    with WireServer(script) as server:
        studio = studio_at(server.url, **IMPATIENT)
        with pytest.raises(CloudInDoubt):
            studio.export(BODY)
        with pytest.raises(CloudDeferred):
            studio.look("p1")


def test_what_has_come_while_the_process_was_frozen_is_read() -> None:
    """For a moment, without waiting for more; a stream without an end is left all the same."""
    now = [0.0]
    pace = Deadline(lambda: now[0], total_seconds=20, read_seconds=10)
    assert pace.wait_seconds() == 10
    now[0] = 500.0
    assert 0 < pace.wait_seconds() < 0.01
    pace.on_bytes(1)
    now[0] = 500.2
    assert 0 < pace.wait_seconds() < 0.01
    now[0] = 500.3
    with pytest.raises(TimeoutError):
        pace.wait_seconds()


def test_an_answer_to_a_frozen_process_counts(studio_at: Callable[..., Studio]) -> None:
    """Head and body lie there when it goes on, long after the end of its patience; nothing is in doubt."""
    now = [0.0]

    def script(peer: Peer) -> None:
        peer.read_request()
        now[0] = 1000.0
        peer.send(head("200 OK", {"Content-Length": str(len(long))}), long)
        peer.hang()

    long = YES + b" " * 20_000  # one packet, and more than one read
    with WireServer(script) as server:
        assert studio_at(server.url, clock=lambda: now[0]).export(BODY) == "p1"


def test_a_connection_that_died_while_kept_alive_is_noticed_and_asked_again(
    studio_at: Callable[..., Studio],
) -> None:
    """The server closes an idle connection at the very moment of the next look: asked once more, on a fresh one."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.answer(YES)
        if peer.number == 1:
            peer.read_request()
            return
        while peer.read_request():
            peer.answer(YES)

    with WireServer(script) as server:
        studio = studio_at(server.url)
        assert studio.look("p1").percent == 12
        assert studio.look("p1").percent == 12
        assert len(server.requests) == 3
        assert server.connections == 2


def test_looks_one_after_the_other_share_a_connection_and_every_export_has_its_own(
    studio_at: Callable[..., Studio],
) -> None:
    """Kept alive where it saves, fresh where a dead connection would cost."""
    with WireServer(_serves) as server:
        studio = studio_at(server.url)
        for _ in range(5):
            studio.look("p1")
        assert server.connections == 1
        studio.export(BODY)
        studio.export(BODY)
        assert server.connections == 3
        assert header(server.requests[-1], "Connection") == "close"


def test_many_threads_may_use_one_studio(studio_at: Callable[..., Studio]) -> None:
    """As many connections as looks at once, at most, and answers never mix."""

    def script(peer: Peer) -> None:
        while request := peer.read_request():
            percent = int(request.split(b" ")[1].rpartition(b"/")[2])
            peer.answer(json.dumps({"success": True, "data": {"progress": percent}}).encode())

    wrong: list[float] = []

    def work(studio: Studio, number: int) -> None:
        seen = [studio.look(str(number)).percent for _ in range(20)]
        wrong.extend(percent for percent in seen if percent != number)

    with WireServer(script) as server:
        studio = studio_at(server.url)
        threads = [threading.Thread(target=work, args=(studio, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert not wrong
        assert server.connections <= 8


# --- many looks of one thread -----------------------------------------------------------------------------------------


def _progress_of(request: bytes) -> bytes:
    """An answer that tells which project was asked for: its number as its percentage."""
    percent = int(request.split(b" ")[1].rpartition(b"/")[2])
    return json.dumps({"success": True, "data": {"progress": percent}}).encode()


def _together(studio: Studio, project_ids: list[str]) -> dict[str, Any]:
    """What each look found: its percentage, what was raised, or None where it is to be made alone."""
    found: dict[str, Any] = {}
    for ended in studio.look_together(project_ids):
        for place, answer in ended:
            assert project_ids[place] not in found
            found[project_ids[place]] = answer.percent if isinstance(answer, Look) else answer
    return found


class Hall:
    """A server that answers the first request of each connection.

    Args:
        connections: for which `all_asked` waits.
        then: what each connection does with the requests after the first.
    """

    def __init__(self, connections: int, then: Callable[[Peer, bytes], None]) -> None:
        self._then = then
        self.all_asked = threading.Barrier(connections)

    def __call__(self, peer: Peer) -> None:
        peer.answer(_progress_of(peer.read_request()))
        while request := peer.read_request():
            self._then(peer, request)


def _warmed(studio: Studio, count: int) -> Studio:
    for _ in range(count):
        studio.look("0", is_afresh=True)
    assert studio.connections == count
    return studio


@pytest.mark.parametrize("is_tls", [False, True])
def test_one_thread_asks_for_all_before_it_waits_for_one(
    studio_at: Callable[..., Studio], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, *, is_tls: bool
) -> None:
    """On the connections that are kept alive; where these do not suffice, the rest is to be made alone."""
    context = None
    if is_tls:
        monkeypatch.setenv("SSL_CERT_FILE", str(request.getfixturevalue("certificate")))
        context = request.getfixturevalue("tls")

    def answer(peer: Peer, asked: bytes) -> None:
        hall.all_asked.wait(20)
        peer.answer(_progress_of(asked))

    hall = Hall(3, answer)
    with WireServer(hall, context) as server:
        studio = _warmed(studio_at(server.url), 3)
        assert _together(studio, ["11", "12", "13", "14"]) == {"14": None, "11": 11, "12": 12, "13": 13}
        assert _together(studio, ["21", "22", "23"]) == {"21": 21, "22": 22, "23": 23}
        assert server.connections == 3
        assert header(server.requests[-1], "Authorization") == KEY
        assert header(server.requests[-1], "Host") == f"127.0.0.1:{server.port}"


INTERIM = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n" * 3,
]


def _hinting(interim: bytes) -> Callable[[Peer], None]:
    """Before each answer something that is none, and a while in which a client that took it for one would go on."""

    def script(peer: Peer) -> None:
        while request := peer.read_request():
            peer.send(interim)
            peer.server.closing.wait(0.05)
            is_export = request.startswith(b"POST")
            peer.answer(YES if is_export else _progress_of(request))

    return script


@pytest.mark.parametrize("interim", INTERIM)
def test_what_only_says_that_an_answer_will_come_is_passed_over(
    studio_at: Callable[..., Studio], interim: bytes
) -> None:
    """Each question has its own answer, alone and together, on one connection; an export that was accepted is."""
    with WireServer(_hinting(interim)) as server:
        studio = studio_at(server.url)
        assert studio.export(BODY) == "p1"
        assert [studio.look(str(number)).percent for number in range(1, 9)] == [*range(1, 9)]
        assert [_together(studio, [str(number)]) for number in range(1, 9)] == [{str(n): n} for n in range(1, 9)]
        assert server.connections == 2


@pytest.mark.parametrize("interim", [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", INTERIM[0] * 101])
def test_a_connection_that_answers_with_nonsense_is_not_used_again(
    studio_at: Callable[..., Studio], interim: bytes
) -> None:
    """Nobody knows which question the next answer is for; whether an export was accepted is not known either."""
    with WireServer(_hinting(interim)) as server:
        studio = studio_at(server.url)
        with pytest.raises(CloudInDoubt):
            studio.export(BODY)
        for number in range(1, 4):
            with pytest.raises(CloudDeferred):
                studio.look(str(number))
        assert server.connections == 4


def test_together_and_alone_the_same_is_sent(studio_at: Callable[..., Studio]) -> None:
    """But for the order, in which nothing lies."""
    with WireServer(_serves) as server:
        studio = _warmed(studio_at(server.url), 1)
        _together(studio, ["p/1"])
        studio.look("p/1")
    alone, together = (sorted(one.split(b"\r\n")) for one in server.requests[1:])
    assert alone == together


def test_without_a_connection_nothing_is_sent_together(studio_at: Callable[..., Studio]) -> None:
    """Making one takes its time, in which the others would wait."""
    with WireServer(_serves) as server:
        assert _together(studio_at(server.url), ["1", "2"]) == {"1": None, "2": None}
        assert server.connections == 0


def test_an_answer_that_does_not_come_keeps_nobody_waiting(studio_at: Callable[..., Studio]) -> None:
    """The others are heard of first; that one ends like a look that was made alone."""

    def answer(peer: Peer, asked: bytes) -> None:
        if asked.split(b" ")[1].endswith(b"/7"):
            peer.hang()
        peer.answer(_progress_of(asked))

    with WireServer(Hall(3, answer)) as server:
        studio = _warmed(studio_at(server.url, **IMPATIENT), 3)
        found = _together(studio, ["7", "8", "9"])
        assert list(found) == ["8", "9", "7"] or list(found) == ["9", "8", "7"]
        lost = found.pop("7")
        assert isinstance(lost, CloudDeferred)
        assert "no answer in time" in str(lost)
        assert not lost.is_outage
        assert found == {"8": 8, "9": 9}
        assert studio.connections == 2


def _cut(peer: Peer) -> None:
    peer.send(head("200 OK", {"Content-Length": "100"}), b"{")
    peer.reset()


@pytest.mark.parametrize(
    "ill",
    [
        pytest.param(lambda peer: peer.reset(), id="reset"),
        pytest.param(lambda peer: peer.sock.close(), id="closed"),
        pytest.param(_cut, id="cut"),
        pytest.param(lambda peer: peer.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), id="no-http"),
        pytest.param(lambda peer: peer.trickle(b"HTTP/1.1 200 OK\r\nX: "), id="trickle"),
        pytest.param(lambda peer: peer.answer(b"x" * (2 << 20)), id="too-large"),
        pytest.param(lambda peer: peer.answer(b"{}", line="401 Unauthorized"), id="unauthorized"),
    ],
)
def test_what_is_wrong_with_an_answer_is_found_out_alone(
    studio_at: Callable[..., Studio], ill: Callable[[Peer], None]
) -> None:
    """The others have theirs, and no connection is kept on which something is left to be read."""

    def answer(peer: Peer, asked: bytes) -> None:
        if asked.split(b" ")[1].endswith(b"/7"):
            ill(peer)
        else:
            peer.answer(_progress_of(asked))

    with WireServer(Hall(2, answer)) as server:
        studio = _warmed(studio_at(server.url), 2)
        assert _together(studio, ["7", "8"]) == {"7": None, "8": 8}
        assert _together(studio, ["8"]) == {"8": 8}
        assert studio.look("9").percent == 9


def test_connections_that_died_while_kept_are_not_counted_on(studio_at: Callable[..., Studio]) -> None:
    """The server has closed all of them: nothing was sent, each look is made alone, on a new one."""
    with WireServer(lambda peer: peer.answer(_progress_of(peer.read_request()))) as server:
        studio = _warmed(studio_at(server.url), 3)
        assert _together(studio, ["1", "2"]) == {"1": None, "2": None}
        assert studio.look("5").percent == 5


def test_an_answer_is_decoded_and_a_connection_that_ends_is_let_go(studio_at: Callable[..., Studio]) -> None:
    """Compressed though nobody asked for it, and the last one of its connection."""
    packed = {"Content-Encoding": "gzip", "Connection": "close"}

    def answer(peer: Peer, asked: bytes) -> None:
        peer.answer(gzip.compress(_progress_of(asked)), headers=packed)
        peer.sock.close()

    with WireServer(Hall(2, answer)) as server:
        studio = _warmed(studio_at(server.url), 2)
        assert _together(studio, ["3", "4"]) == {"3": 3, "4": 4}
        assert _together(studio, ["5"]) == {"5": None}


def test_who_listens_no_more_leaves_no_answer_behind(studio_at: Callable[..., Studio]) -> None:
    """An answer that nobody has read would be taken for that of the next question."""
    with WireServer(_serves) as server:
        studio = _warmed(studio_at(server.url), 2)
        looks = studio.look_together(["1", "2", "3"])
        assert next(looks) == [(2, None)]
        del looks
        assert studio.connections == 0


def test_once_closed_no_connection_is_kept(studio_at: Callable[..., Studio]) -> None:
    """Calls in flight end by themselves, and close theirs."""
    with WireServer(_serves) as server:
        studio = _warmed(studio_at(server.url), 2)
        studio.close()
        assert studio.connections == 0
        studio.look("1")
        assert studio.connections == 0


# --- what is sent ---------------------------------------------------------------------------------------------------


def test_a_netrc_does_not_replace_the_credential(
    studio_at: Callable[..., Studio], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``~/.netrc`` silently replaces Authorization in requests' own sessions."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password thief\ndefault login thief password thief\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with WireServer(_serves) as server:
        studio = studio_at(server.url)
        studio.export(BODY)
        studio.look("p1")
        assert [header(request, "Authorization") for request in server.requests] == [KEY, KEY]


def test_cookies_are_never_taken(studio_at: Callable[..., Studio]) -> None:
    """The API has none; a load balancer's would pin all polls to one machine."""

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.answer(YES, headers={"Set-Cookie": "a=b"})

    with WireServer(script) as server:
        studio = studio_at(server.url)
        studio.look("p1")
        studio.look("p1")
        assert header(server.requests[1], "Cookie") is None


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_the_api_is_never_followed_elsewhere(studio_at: Callable[..., Studio], code: int) -> None:
    """A redirect would send the body, or the credential, a second time."""
    with WireServer(_serves) as other:

        def script(peer: Peer) -> None:
            while peer.read_request():
                peer.answer(b"", line=f"{code} Moved", headers={"Location": other.url})

        with WireServer(script) as server:
            studio = studio_at(server.url)
            with pytest.raises(CloudInDoubt):
                studio.export(BODY)
            with pytest.raises(CloudDeferred):
                studio.look("p1")
        assert other.connections == 0


# --- proxies --------------------------------------------------------------------------------------------------------


def test_loopback_goes_through_no_proxy(studio_at: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in cloud is on this machine, which no proxy reaches; and the proxy would see the credential."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with WireServer(_serves) as server:
        assert studio_at(server.url).look("p1").percent == 12


@pytest.mark.parametrize(
    ("answer", "is_unsent"),
    [(b"HTTP/1.1 502 Bad Gateway\r\n\r\n", True), (b"HTTP/1.1 407 Who are you\r\n\r\n", True), (b"", True)],
)
def test_a_proxy_that_cannot_connect_sent_nothing(
    studio_at: Callable[..., Studio], monkeypatch: pytest.MonkeyPatch, answer: bytes, is_unsent: bool
) -> None:
    """CONNECT is not the request: the credential and the body never left."""
    with WireServer(_answers_then_closes(answer)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(CloudDeferred) as caught:
            studio_at("https://cloud.example").export(BODY)
        assert proxy.requests[0].startswith(b"CONNECT cloud.example:443")
        assert KEY.encode() not in proxy.requests[0]
    assert caught.value.is_outage is is_unsent


# --- TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program")
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = path.with_name("key.pem")
    names = "subjectAltName=IP:127.0.0.1"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(path), "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", names]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    path.write_text(path.read_text() + key.read_text())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """The server's side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_the_environments_ca_bundle_is_trusted(
    studio_at: Callable[..., Studio],
    certificate: Path,
    tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """A studio's own certificate authority works as it does for curl and requests."""
    monkeypatch.setenv(name, str(certificate))
    with WireServer(_serves, tls) as server:
        studio = studio_at(server.url)
        assert studio.export(BODY) == "p1"
        assert studio.look("p1").percent == 12
        assert studio.look("p1").percent == 12
        assert server.connections == 2


def test_a_certificate_that_nobody_vouches_for_gets_nothing(
    studio_at: Callable[..., Studio], tls: ssl.SSLContext
) -> None:
    """Neither credential nor request is sent: deferred, and the text says why."""
    with WireServer(_serves, tls) as server:
        studio = studio_at(server.url)
        with pytest.raises(CloudDeferred, match="certificate") as caught:
            studio.export(BODY)
        assert server.requests == []
    assert caught.value.is_outage


def test_a_tls_connection_lost_after_the_request_is_in_doubt(
    studio_at: Callable[..., Studio], certificate: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handshake is not the request, the request is."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with WireServer(_answers_then_closes(b""), tls) as server:
        with pytest.raises(CloudInDoubt):
            studio_at(server.url).export(BODY)
        assert len(server.requests) == 1


def test_a_ca_bundle_that_cannot_be_used_is_said_at_once(tmp_path: Path) -> None:
    """Not at three in the morning with the first export."""
    with pytest.raises(ValueError, match="SSL_CERT_FILE"):
        ready_context({"SSL_CERT_FILE": str(tmp_path / "none.pem")})
