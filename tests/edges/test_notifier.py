"""Who is told of notices: real programs, real sockets, and everything that either can do wrong."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager, nullcontext
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Self

import pytest
from wire_server import HEAD_END, WireServer, header

from daemon.core.errors import NoticeDeferred, NoticeError, NoticeRefused
from daemon.core.notice import Kind, Notice, Sink
from daemon.core.redact import Redactor
from daemon.edges.notifier import KEPT_BYTES, LAST_WORDS, CommandOutlet, UrlOutlet, find_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wire_server import Peer

KEY = "sk-live-0123456789abcdef"
TOKEN = "T0K3N-of-the-hook"
PATIENCE_SECONDS = 30.0
BODY: dict[str, Any] = {"event": "failed", "notice": "ab-failed-1", "file": "sub/x.yaml", "paid": "no"}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def notice(body: dict[str, Any] | None = None) -> Notice:
    return Notice(1, Sink.COMMAND, Kind.FAILED, 0.0, BODY if body is None else body)


def python(code: str, *arguments: object) -> list[str]:
    """A command that runs this code."""
    return [sys.executable, "-c", code, *(str(argument) for argument in arguments)]


def outlet(command: list[str], **more: Any) -> CommandOutlet:
    settings: dict[str, Any] = {"environ": {"PATH": os.environ["PATH"]}, "timeout_seconds": PATIENCE_SECONDS} | more
    return CommandOutlet(command, redact=Redactor([KEY]), **settings)


def failure(command: list[str], **more: Any) -> str:
    """Why a command did not take the notice."""
    with pytest.raises(NoticeDeferred) as caught:
        outlet(command, **more).deliver(notice())
    return caught.value.reason


class Callers:
    """Processes that connect here have begun; their connections end when they do."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_SECONDS)
        self.port = self._listener.getsockname()[1]
        self._calls: list[socket.socket] = []
        self.has_called = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*self._calls, self._listener):
            sock.close()

    def wait_for(self, count: int) -> None:
        while len(self._calls) < count:
            self._calls.append(self._listener.accept()[0])
            self._calls[-1].settimeout(PATIENCE_SECONDS)
        self.has_called.set()

    def have_ended(self) -> bool:
        """Whether all of them end, however long that takes within patience."""
        return all(sock.recv(1) == b"" for sock in self._calls)


CALLS_AND_STAYS = """
import signal, socket, subprocess, sys
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
if len(sys.argv) > 2:
    child = subprocess.Popen([sys.executable, *sys.orig_argv[1:4]])
signal.pause()
"""
LEAVES_A_CHILD = """
import socket, subprocess, sys
child = (
    "import socket, sys; line = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
    "print(flush=True); line.recv(1)"
)
subprocess.Popen([sys.executable, "-c", child, sys.argv[1]], stdout=subprocess.PIPE).stdout.readline()
sys.exit(int(sys.argv[2]))
"""


@contextmanager
def slow_to_start(program: Path) -> Iterator[Callable[[], object]]:
    """A program that cannot be read for 45 s, as on a frozen share: we hold a lease on it (fcntl(2)).

    What is given waits until somebody tries to start it.
    """
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    wanted = SimpleQueue[int]()  # an Event's lock may be held by the very thread that is interrupted
    before = signal.signal(signal.SIGIO, lambda number, _frame: wanted.put(number))  # any thread may get it
    descriptor = os.open(program, os.O_RDONLY)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        yield lambda: wanted.get(timeout=PATIENCE_SECONDS)
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)


# --- a command ------------------------------------------------------------------------------------


def test_a_command_gets_the_document_and_the_facts(tmp_path: Path) -> None:
    """All of it as JSON on standard input, what matters in the environment, its arguments as they were written."""
    told = tmp_path / "told"
    seen = "[sys.stdin.read(), dict(os.environ), sys.argv[2:], os.getcwd()]"
    code = f"import json, os, sys; json.dump({seen}, open(sys.argv[1], 'w'))"
    outlet(python(code, told, "a b", "$HOME", "*")).deliver(notice())
    content, environ, arguments, folder = json.loads(told.read_text())
    assert json.loads(content) == BODY
    facts = {name: value for name, value in environ.items() if name.startswith("CHROMADROP_")}
    assert facts == {
        "CHROMADROP_EVENT": "failed",
        "CHROMADROP_NOTICE": "ab-failed-1",
        "CHROMADROP_FILE": "sub/x.yaml",
        "CHROMADROP_PAID": "no",
    }
    assert arguments == ["a b", "$HOME", "*"]
    assert folder == "/"


def test_a_command_gets_little_of_our_environment(tmp_path: Path) -> None:
    """Neither the credential, nor where it lies, nor our settings, nor anything that nobody needs."""
    told = tmp_path / "told"
    kept = {"PATH": os.environ["PATH"], "HOME": "/h", "LANG": "C.UTF-8", "LC_TIME": "C", "TZ": "UTC"}
    held_back = {
        "AISTUDIOS_API_KEY": KEY,
        "AISTUDIOS_APP_ID": KEY,
        "CREDENTIALS_DIRECTORY": "/run/credentials",
        "CHROMADROP_API__KEY_FILE": "/etc/key",
        "NOTIFY_SOCKET": "/run/notify",
        "HTTPS_PROXY": "http://me:secret@proxy",
        "PYTHONSTARTUP": "/x",
    }
    code = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"
    outlet(python(code, told), environ=kept | held_back).deliver(notice({"event": "account"}))
    environ = json.loads(told.read_text())
    assert environ.items() >= kept.items()
    assert environ["CHROMADROP_EVENT"] == "account"
    assert not held_back.keys() & environ.keys()
    assert KEY not in told.read_text()


def test_a_command_inherits_no_descriptor(tmp_path: Path) -> None:
    """Not the ledger, not its lock, not a socket, even where one was made to be inherited."""
    told = tmp_path / "told"
    code = "import os, sys; found = os.listdir('/proc/self/fd'); open(sys.argv[1], 'w').write(' '.join(sorted(found)))"
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        outlet(python(code, told)).deliver(notice())
    assert told.read_text().split()[:3] == ["0", "1", "2"]
    assert len(told.read_text().split()) == 4, "and the listing's own"


@pytest.mark.parametrize("odd", ["a\0b", chr(0xD800), chr(0xDCFF), "\n\x1b[31m", "x" * 200_000, "größe の"], ids=ascii)
def test_no_text_is_too_odd(tmp_path: Path, odd: str) -> None:
    """A NUL, a lone surrogate, or a text that no environment can hold: the document has it whole, the variable fit."""
    told = tmp_path / "told"
    code = (
        "import json, os, sys; sys.stdin.reconfigure(encoding='utf-8');"
        "json.dump([json.load(sys.stdin), os.environ['CHROMADROP_FILE']], open(sys.argv[1], 'w'))"
    )
    environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONUTF8": "1"}
    outlet(python(code, told), environ=environ).deliver(notice(BODY | {"file": odd}))
    document, variable = json.loads(told.read_text())
    assert document["file"] == odd
    assert variable.isprintable()
    assert 0 < len(variable) <= 1000


@pytest.mark.parametrize("code", ["pass", "import sys; sys.stdin.read(10)", "import sys; sys.stdin.close()"])
def test_a_command_need_not_read(code: str) -> None:
    """A document that no pipe holds does not stop a command that is not interested."""
    outlet(python(code)).deliver(notice(BODY | {"jobs": ["x" * 1000] * 3000}))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(1)", "the command ended with code 1"),
        ("import sys; sys.exit('no mail today')", "the command ended with code 1: no mail today"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the command was ended by signal 9"),
    ],
)
def test_another_code_than_0_is_a_failure(code: str, words: str) -> None:
    """With the last that it said, which is all that helps to mend it."""
    assert failure(python(code)) == words


def test_a_talkative_command_is_heard_to_the_end() -> None:
    """However much it says, only its last words are kept."""
    code = "import sys; sys.stderr.write('x ' * 20_000_000 + 'the last words'); sys.exit(3)"
    reason = failure(python(code))
    assert reason.startswith("the command ended with code 3: x x")
    assert reason.endswith("x the last words")
    assert len(reason) <= LAST_WORDS + 50


@pytest.mark.parametrize("before", ["", "x" * (KEPT_BYTES - len(KEY)), "x" * (KEPT_BYTES - len(KEY) // 2), "x " * 9999])
def test_a_command_that_knows_the_key_cannot_have_it_logged(before: str) -> None:
    """Not even half of it, where what was kept begins in its middle."""
    said = f"{before}{KEY}{'' if before.endswith('x') else ' was refused'}"
    reason = failure(python(f"import sys; sys.stderr.write({said!r} + sys.argv[1]); sys.exit(1)", " end"))
    assert KEY[-8:] not in reason
    assert reason.endswith("end")


def test_a_command_that_hangs_is_killed_with_its_children() -> None:
    """When its time is up; the time here passes when both have begun."""
    with Callers() as callers:
        waiting = threading.Thread(target=callers.wait_for, args=(2,))
        waiting.start()
        clock: Callable[[], float] = lambda: 1000.0 if callers.has_called.is_set() else 0.0  # noqa: E731
        code = CALLS_AND_STAYS
        reason = failure(python(code, callers.port, "with a child"), timeout_seconds=10, clock=clock)
        waiting.join(PATIENCE_SECONDS)
        assert reason == "the command did not end within 10 s and was killed"
        assert callers.have_ended()


@pytest.mark.parametrize("code", [0, 3])
def test_a_child_that_stays_is_neither_waited_for_nor_left_behind(code: int) -> None:
    """It ends with the command, however that ended, though it keeps the command's standard error."""
    with Callers() as callers:
        with pytest.raises(NoticeDeferred) if code else nullcontext():
            outlet(python(LEAVES_A_CHILD, callers.port, code)).deliver(notice())
        callers.wait_for(1)
        assert callers.have_ended()


def test_closing_ends_what_runs() -> None:
    """At once, as a failure that is tried again at the next start; nothing more is run."""
    found: list[str] = []
    with Callers() as callers:
        made = outlet(python(CALLS_AND_STAYS, callers.port))

        def deliver() -> None:
            with pytest.raises(NoticeDeferred) as caught:
                made.deliver(notice())
            found.append(caught.value.reason)

        worker = threading.Thread(target=deliver)
        worker.start()
        callers.wait_for(1)
        made.close()
        worker.join(PATIENCE_SECONDS)
        assert found == ["chromadrop is stopping"]
        assert callers.have_ended()
        deliver()
        assert found == ["chromadrop is stopping"] * 2


def test_closing_does_not_wait_for_a_start_that_hangs(tmp_path: Path) -> None:
    """A program on a frozen share is never read; what was to become of it is ended, and the delivery with it."""
    found: list[str] = []
    with slow_to_start(tmp_path / "tell") as wait_for_start:
        made = outlet([str(tmp_path / "tell")])

        def deliver() -> None:
            with pytest.raises(NoticeDeferred) as caught:
                made.deliver(notice())
            found.append(caught.value.reason)

        worker = threading.Thread(target=deliver)
        worker.start()
        assert wait_for_start() is not None
        made.close()
        worker.join(PATIENCE_SECONDS)
    assert found == ["chromadrop is stopping"]


def test_a_start_that_hangs_is_given_its_time_and_no_more(tmp_path: Path) -> None:
    """An address that is to be told, too, is not kept waiting by a frozen share."""
    found: list[str] = []
    with slow_to_start(tmp_path / "tell"):
        command = [str(tmp_path / "tell")]
        worker = threading.Thread(target=lambda: found.append(failure(command, timeout_seconds=0.2)))
        worker.start()
        worker.join(PATIENCE_SECONDS)
        assert found == ["the command did not end within 0.2 s and was killed"]


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (None, 0, "No such file or directory"),
        ("#!/bin/sh\n", 0o644, "Permission denied"),
        ("", 0o755, "Exec format error"),
    ],
)
def test_a_command_that_cannot_be_run_is_a_failure(tmp_path: Path, content: str | None, mode: int, why: str) -> None:
    """It may be there the next time; what is wrong is said."""
    program = tmp_path / "tell"
    if content is not None:
        program.write_text(content)
        program.chmod(mode)
    assert failure([str(program)]) == f"{program} cannot be run: {why}"


def test_a_program_is_looked_up_in_the_path(tmp_path: Path) -> None:
    """The daemon's own, as it will be when it is started; without one, the system's."""
    program = tmp_path / "tell"
    environ = {"PATH": str(tmp_path)}
    assert find_program(["tell"], environ) is None
    program.write_text("#!/bin/sh\n")
    assert find_program(["tell"], environ) is None
    program.chmod(0o755)
    assert find_program(["tell"], environ) == str(program)
    assert find_program([str(program)], {}) == str(program)
    assert find_program(["sh"], {}) is not None
    outlet(["tell"], environ=environ).deliver(notice())


# --- an address -----------------------------------------------------------------------------------


def post(url: str, timeout_seconds: float = PATIENCE_SECONDS) -> None:
    UrlOutlet(f"{url}/T0/hook?token={TOKEN}", timeout_seconds=timeout_seconds).deliver(notice())


def refusal(script: Callable[[Peer], None], timeout_seconds: float = PATIENCE_SECONDS) -> NoticeError:
    """What comes of an address that does this with a connection; it shows nothing of the address."""
    with WireServer(script) as server, pytest.raises(NoticeError) as caught:
        post(server.url, timeout_seconds)
    assert TOKEN not in f"{caught.value}{caught.value!r}"
    assert "127.0.0.1" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__, "a traceback would show it"
    return caught.value


def answering(line: str, **headers: str) -> Callable[[Peer], None]:
    """Reads the request and gives this answer."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.answer(b"thanks", line=line, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return script


@pytest.mark.parametrize("line", ["200 OK", "202 Accepted", "204 No Content"])
def test_an_address_gets_the_document(line: str) -> None:
    """One POST of JSON, with nothing in it but the document; any 2xx is well."""
    with WireServer(answering(line)) as server:
        post(server.url)
    (request,) = server.requests
    assert request.startswith(f"POST /T0/hook?token={TOKEN} HTTP/1.1\r\n".encode())
    assert header(request, "Content-Type") == "application/json"
    assert json.loads(request.partition(HEAD_END)[2]) == BODY
    assert [header(request, name) for name in ("Authorization", "Cookie")] == [None, None]


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 413, 422])
def test_an_address_that_says_no_is_not_asked_again(code: int) -> None:
    """The same document would get the same answer."""
    error = refusal(answering(f"{code} No"))
    assert isinstance(error, NoticeRefused)
    assert error.reason == f"the address answered {code}"


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 304])
def test_an_address_that_is_busy_is_asked_again(code: int) -> None:
    """It may take it the next time."""
    error = refusal(answering(f"{code} Later"))
    assert isinstance(error, NoticeDeferred)
    assert error.reason == f"the address answered {code}"


@pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), ("86400", 300.0), ("soon", None), ("-1", None), ("²", None)])
def test_an_address_may_say_when(said: str, seconds: float | None) -> None:
    """Up to five minutes; what makes no sense counts as nothing."""
    assert refusal(answering("429 Later", Retry_After=said)).retry_after_seconds == seconds


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(code: int) -> None:
    """The document goes where the operator said, and nowhere else."""
    with WireServer(answering("200 OK")) as other:
        error = refusal(answering(f"{code} Elsewhere", Location=f"{other.url}/?{TOKEN}"))
        assert isinstance(error, NoticeDeferred)
    assert other.connections == 0


@pytest.mark.parametrize("kind", ["hang", "trickle", "trickled head"])
def test_no_answer_takes_longer_than_it_may(kind: str) -> None:
    """Neither silence nor an answer that comes byte by byte for ever."""

    def script(peer: Peer) -> None:
        peer.read_request()
        if kind == "hang":
            peer.hang()
        elif kind == "trickled head":
            peer.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        peer.trickle(b"x")

    assert refusal(script, 0.3).reason == "the address did not answer in time"


def test_an_answer_need_not_end() -> None:
    """Once its first line is there, all is said."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        peer.trickle(b"x")

    with WireServer(script) as server:
        post(server.url)


@pytest.mark.parametrize("deed", ["close", "reset", "nonsense"])
def test_a_lost_connection_is_a_failure(deed: str) -> None:
    """It may have been taken: it is told again."""

    def script(peer: Peer) -> None:
        peer.read_request()
        if deed == "reset":
            peer.reset()
        elif deed == "nonsense":
            peer.send(b"\x00\xff\r\n\r\n")

    assert refusal(script).reason in {
        "the connection to the address was lost",
        "the address cannot be reached (BadStatusLine)",
    }


def test_nobody_there_is_a_failure() -> None:
    """In words that do not show the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NoticeDeferred, match="the connection to the address was refused"):
        post(f"http://127.0.0.1:{port}")


def test_neither_netrc_nor_a_proxy_has_a_say_on_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~/.netrc`` would add a password; a proxy would get what is for this machine."""
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {KEY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    with WireServer(answering("200 OK")) as proxy, WireServer(answering("200 OK")) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        post(server.url)
    assert header(server.requests[0], "Authorization") is None
    assert proxy.connections == 0


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees the host, and nothing of the address; one that does not answer is not waited for longer than anyone."""

    def hang(peer: Peer) -> None:
        peer.read_request()
        peer.hang()

    with WireServer(hang) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(NoticeDeferred, match="the address did not answer in time"):
            post("https://hook.example", 0.3)
    assert proxy.requests[0].startswith(b"CONNECT hook.example:443")
    assert TOKEN.encode() not in proxy.requests[0]


def test_closing_cuts_what_is_under_way() -> None:
    """A slow address delays no stop, and what it did not answer is told again at the next start."""
    asked = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        asked.set()
        peer.hang()

    found: list[str] = []
    with WireServer(script) as server:
        made = UrlOutlet(server.url, timeout_seconds=PATIENCE_SECONDS)

        def deliver() -> None:
            with pytest.raises(NoticeDeferred) as caught:
                made.deliver(notice())
            found.append(caught.value.reason)

        worker = threading.Thread(target=deliver)
        worker.start()
        assert asked.wait(PATIENCE_SECONDS)
        made.close()
        worker.join(PATIENCE_SECONDS)
        deliver()
        assert found == ["chromadrop is stopping"] * 2
        assert server.connections == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of loopback, signed by itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program")
    folder = tmp_path_factory.mktemp("certificate")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    paths = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command, *paths], check=True, capture_output=True)
    return folder


def test_a_certificate_counts(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody vouches for is no address to tell anything to; one that the environment vouches for is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with WireServer(answering("200 OK"), context) as server:
        with pytest.raises(NoticeDeferred, match="certificate cannot be trusted"):
            post(server.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
        post(server.url)
    assert len(server.requests) == 1


def test_a_handshake_without_an_end_has_one() -> None:
    """The clock runs from the first packet on."""
    late = pytest.raises(NoticeDeferred, match="the address did not answer in time")
    with WireServer(lambda peer: peer.hang()) as server, late:
        post(server.url.replace("http:", "https:"), 0.3)
