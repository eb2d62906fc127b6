"""Who is told of notices: a command of the operator's, an address of the operator's.

Both are bounded in time, whatever the other side does. Neither is shown the credential: a command gets an environment
made for it, and an address is never logged, for a hook's address is often its secret.
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import selectors
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from daemon import VERSION
from daemon.core.display import display
from daemon.core.errors import NoticeDeferred, NoticeRefused
from daemon.core.notice import encoded, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from daemon.core.notice import Notice

# The documented way to have fork(2): with vfork(2) a start that hangs has no number yet by which it could be ended,
# and before Python 3.11.4 it stops every thread.
subprocess._USE_VFORK = False  # type: ignore[misc] # noqa: SLF001
logging.getLogger("urllib3").propagate = False  # it writes whole addresses at DEBUG and WARNING

LAST_WORDS: Final = 200
"""Characters of a command's standard error that are told."""
KEPT_BYTES: Final = 1000
KILL_SECONDS: Final = 5.0
"""A command that was killed is waited for so long; one that a dead file server holds does not die."""
LOCK_SECONDS: Final = 0.2
_FORK_SECONDS: Final = 0.01
"""A stop waits no longer than this for a delivery to say what it runs."""
LOOK_SECONDS: Final = 0.1
"""A command whose children keep its standard error open is looked at so often."""
MOST_RETRY_AFTER: Final = 300.0

_PASSED_ON: Final = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR")
_STOPPING: Final = "chromadrop is stopping"


# --- a command ------------------------------------------------------------------------------------


def find_program(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """The program that a command starts, with its path; None where it cannot be found or run."""
    return shutil.which(command[0], path=environ.get("PATH") or os.defpath)


class CommandOutlet:
    """Runs a command for each notice: exit code 0 says that it was taken.

    It gets the document on standard input and its main facts in the environment (`variables`), is started in ``/`` in
    a session of its own, and is killed when its time is up, even while it is only being started, as from a share that
    has frozen. When it has ended, in whatever way, what is left of its process group is killed. What it started in yet
    another session (setsid(1)) escapes that; systemd ends it with the service.

    Args:
        command: program and arguments, as they are: no shell.
        environ: the daemon's; little of it is passed on.
        timeout_seconds: for all of it.
        redact: takes secrets out of what it said.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        timeout_seconds: float,
        redact: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = list(command)
        self._environ = {
            name: value for name, value in environ.items() if name in _PASSED_ON or name.startswith("LC_")
        } | {"PATH": environ.get("PATH") or os.defpath}
        self._timeout_seconds = timeout_seconds
        self._redact = redact
        self._clock = clock
        self._lock = threading.Lock()
        self._running: _Program | None = None
        self._is_closed = False

    def deliver(self, notice: Notice) -> None:
        """Run it once.

        Raises:
            NoticeDeferred: it could not be run, ended with another code than 0, or did not end in time.
        """
        deadline = self._clock() + self._timeout_seconds
        with ExitStack() as stack:
            process = self._start(variables(notice.body))
            stack.callback(self._end, process)
            said = _Talk(process, encoded(notice.body))
            stack.callback(said.close)
            while not _has_ended(process):
                left = deadline - self._clock()
                if left <= 0:
                    raise self._too_late()
                said.go_on(min(left, LOOK_SECONDS))
            code = self._reap(process)
            words = self._last_words(said.read_rest())
        if self._is_closed and code != 0:
            raise NoticeDeferred(_STOPPING)
        if code == -signal.SIGKILL and self._clock() >= deadline:
            raise self._too_late()
        if code != 0:
            ending = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            raise NoticeDeferred(f"the command {ending}" + (f": {words}" if words else ""))

    def close(self) -> None:
        """End what is running or being started, and run nothing more; in bounded time."""
        self._is_closed = True
        if not self._lock.acquire(timeout=LOCK_SECONDS):
            return
        try:
            if self._running is not None:
                self._await_number(self._running)
                _kill_group(self._running)
        finally:
            self._lock.release()

    @staticmethod
    def _await_number(process: _Program) -> None:
        """Until a process that is just being forked has its number; a moment, or never."""
        pause = threading.Event()
        for _ in range(int(LOCK_SECONDS / _FORK_SECONDS)):
            if process.pid:
                return
            pause.wait(_FORK_SECONDS)

    def _start(self, facts: dict[str, str]) -> _Program:
        try:
            with self._killed_after(self._timeout_seconds):
                process = _Program(self._command, self._environ | facts, self._publish)
        except (OSError, ValueError) as error:
            self._running = None
            why = getattr(error, "strerror", None) or type(error).__name__
            raise NoticeDeferred(f"{display(self._command[0])} cannot be run: {why}") from None
        with self._lock:
            if self._is_closed:  # it may have had no number yet when it was to be killed
                _kill_group(process)
        return process

    def _publish(self, process: _Program) -> None:
        with self._lock:
            if self._is_closed:
                raise NoticeDeferred(_STOPPING)
            self._running = process

    @contextmanager
    def _killed_after(self, seconds: float) -> Iterator[None]:
        def kill() -> None:
            if self._running is not None:
                _kill_group(self._running)

        timer = threading.Timer(seconds, kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _too_late(self) -> NoticeDeferred:
        return NoticeDeferred(f"the command did not end within {self._timeout_seconds:g} s and was killed")

    def _reap(self, process: _Program) -> int:
        with self._lock:  # until it is reaped its number is its own, and nobody else's group is killed
            self._running = None
            if not _is_reaped(process):
                _kill_group(process)
            return process.wait()

    def _end(self, process: _Program) -> None:
        with self._lock:
            if self._running is None:
                return
            self._running = None
            _kill_group(process)
        with suppress(subprocess.TimeoutExpired):
            process.wait(KILL_SECONDS)

    def _last_words(self, said: bytes) -> str:
        text = said.decode("utf-8", "replace")
        if len(said) >= KEPT_BYTES:
            text = re.sub(r"^\S*", "", text)  # half a word may be half a secret, which nobody would know
        return self._redact(text.strip())[-LAST_WORDS:]


class _Program(subprocess.Popen[bytes]):
    """A command's process, which others know from before its start on: that lasts until its file could be read.

    Args:
        publish: is given it first, and may raise to have nothing started.
    """

    pid: int = 0  # until it is forked

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], publish: Callable[[_Program], None]) -> None:
        publish(self)
        super().__init__(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environ,
            cwd="/",
            start_new_session=True,
        )


def _has_ended(process: _Program) -> bool:
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # SIGCHLD is ignored: the kernel has reaped it
        return True


def _is_reaped(process: _Program) -> bool:
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _kill_group(process: _Program) -> None:
    if not process.pid or process.returncode is not None:  # None while it is being forked
        return
    for kill in (os.killpg, os.kill):  # a child that was only just forked has no group of its own yet
        with suppress(ProcessLookupError, PermissionError):
            kill(process.pid, signal.SIGKILL)


class _Talk:
    """Gives a process its standard input, and keeps the last of what it says, without ever waiting for it."""

    def __init__(self, process: _Program, content: bytes) -> None:
        assert process.stdin is not None  # noqa: S101 - for the type checker: both are pipes
        assert process.stderr is not None  # noqa: S101
        self._stdin, self._stderr = process.stdin, process.stderr
        self._left = memoryview(content)
        self._said = b""
        self._selector = selectors.DefaultSelector()
        os.set_blocking(self._stdin.fileno(), False)
        os.set_blocking(self._stderr.fileno(), False)
        self._selector.register(self._stdin, selectors.EVENT_WRITE, self._write)
        self._selector.register(self._stderr, selectors.EVENT_READ, self._read)

    def go_on(self, seconds: float) -> None:
        """Do what can be done, after so long at most."""
        for key, _events in self._selector.select(seconds):
            key.data()

    def _write(self) -> None:
        try:
            self._left = self._left[os.write(self._stdin.fileno(), self._left) :]
        except BlockingIOError:
            return
        except OSError:  # it does not want to read all of it
            self._left = self._left[:0]
        if not self._left:
            self._selector.unregister(self._stdin)
            self._stdin.close()

    def _read(self) -> None:
        chunk = os.read(self._stderr.fileno(), 65536)
        self._said = (self._said + chunk)[-KEPT_BYTES:]
        if not chunk:
            self._selector.unregister(self._stderr)

    def read_rest(self) -> bytes:
        """The last that was said, once the process has ended."""
        with suppress(OSError):
            for _ in range(64):  # a child that goes on writing is not waited for
                chunk = os.read(self._stderr.fileno(), 65536)
                self._said = (self._said + chunk)[-KEPT_BYTES:]
                if not chunk:
                    break
        return self._said

    def close(self) -> None:
        """Close both pipes."""
        self._selector.close()
        for pipe in (self._stdin, self._stderr):
            with suppress(OSError):
                pipe.close()


# --- an address -----------------------------------------------------------------------------------

_ASK_AGAIN: Final = {408, 425, 429}
_NETWORK_ERRORS: Final = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


class UrlOutlet:
    """Posts each notice to an address: an answer 2xx says that it was taken.

    One connection for each; no cookies, no ``~/.netrc``, no redirects. The environment's proxies and CA bundle count.

    Args:
        url: https, or http on loopback; never logged.
        timeout_seconds: for all of it, however slowly an answer trickles in.
    """

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._lock = threading.Lock()
        self._lifeline: _Lifeline | None = None
        self._is_closed = False

    def deliver(self, notice: Notice) -> None:
        """Post it once.

        Raises:
            NoticeDeferred: no answer, or one that may be another the next time.
            NoticeRefused: an answer 4xx that will always be the same.
        """
        try:
            with _Lifeline(self._timeout_seconds) as lifeline:
                self._hold(lifeline)
                try:
                    code, retry_after = self._post(encoded(notice.body))
                finally:
                    self._lifeline = None
                lifeline.check()
        except (*_NETWORK_ERRORS, ValueError) as error:
            reason = _STOPPING if self._is_closed else _plain(error, is_cut=lifeline.is_cut)
            raise NoticeDeferred(reason) from None  # the error's own words would show the address
        _judge(code, retry_after)

    def close(self) -> None:
        """Cut what is under way, and post nothing more."""
        with self._lock:
            self._is_closed = True
            if self._lifeline is not None:
                self._lifeline.cut()

    def _hold(self, lifeline: _Lifeline) -> None:
        with self._lock:
            if self._is_closed:
                raise OSError
            self._lifeline = lifeline

    def _post(self, content: bytes) -> tuple[int, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"chromadrop/{VERSION}",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }
        request = requests.Request("POST", self._url, data=content, headers=headers).prepare()
        is_here = _is_loopback(urlsplit(self._url).hostname or "")
        adapter = _Adapter()
        try:
            response = adapter.send(
                request,
                stream=True,
                timeout=self._timeout_seconds,
                verify=_bundle(os.environ),
                proxies={} if is_here else get_environ_proxies(self._url),
            )
            response.close()
        finally:
            adapter.close()
        return response.status_code, response.headers.get("Retry-After", "")


def _judge(code: int, retry_after: str) -> None:
    if 200 <= code < 300:  # noqa: PLR2004 - RFC 9110, 15.3
        return
    reason = f"the address answered {code}"
    if 400 <= code < 500 and code not in _ASK_AGAIN:  # noqa: PLR2004 - RFC 9110, 15.5
        raise NoticeRefused(reason)
    seconds = min(float(retry_after), MOST_RETRY_AFTER) if retry_after.isascii() and retry_after.isdigit() else None
    raise NoticeDeferred(reason, retry_after_seconds=seconds)


def _bundle(environ: Mapping[str, str]) -> str | bool:
    """The CA certificates that count: the first that the environment names, or certifi's."""
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return next((environ[name] for name in names if environ.get(name)), True)


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1"} or host.startswith("127.")


def _plain(error: BaseException, *, is_cut: bool) -> str:
    """What happened, in words that quote nothing."""
    if is_cut:
        return "the address did not answer in time"
    causes: list[BaseException] = []
    following: object = error
    while isinstance(following, BaseException) and following not in causes:
        causes.append(following)
        inner = [getattr(following, "reason", None), *reversed(following.args)]
        following = next((cause for cause in inner if isinstance(cause, BaseException)), following.__cause__)
    for kinds, words in _PLAIN_WORDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return words
    return f"the address cannot be reached ({type(causes[-1]).__name__})"


_PLAIN_WORDS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((urllib3.exceptions.NameResolutionError,), "the address's host name cannot be resolved"),
    ((ConnectionRefusedError,), "the connection to the address was refused"),
    ((ssl.SSLCertVerificationError,), "the address's certificate cannot be trusted"),
    ((TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError), "the address did not answer in time"),
    ((ssl.SSLError, urllib3.exceptions.SSLError), "TLS with the address failed"),
    ((ConnectionError, http.client.RemoteDisconnected), "the connection to the address was lost"),
)

_calling = threading.local()


class _Lifeline:
    """Shuts the calling thread's connection at a moment, in whatever it is stuck: TLS, a head that trickles in."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self.cut)
        self._timer.daemon = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self.is_cut = False

    def __enter__(self) -> Self:
        _calling.lifeline = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        del _calling.lifeline
        self._timer.cancel()
        self._timer.join()
        for twin in self._sockets:
            twin.close()

    def hold(self, sock: socket.socket) -> None:
        """A connection was made: what shuts its twin shuts it, too, even when TLS has taken it over."""
        with self._lock:
            if self.is_cut:
                raise TimeoutError
            self._sockets.append(sock.dup())

    def check(self) -> None:
        """A head that was cut looks like one that has ended.

        Raises:
            TimeoutError: it was cut.
        """
        if self.is_cut:
            raise TimeoutError

    def cut(self) -> None:
        """Shut it now."""
        with self._lock:
            self.is_cut = True
            for twin in self._sockets:
                with suppress(OSError):
                    twin.shutdown(socket.SHUT_RDWR)


class _Held(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        lifeline: _Lifeline = _calling.lifeline
        lifeline.hold(made)
        return made


class _HeldTls(_Held, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Held


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _HeldTls


_POOLS: Final[dict[str, type[HTTPConnectionPool]]] = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    """An adapter whose connections hang on the lifeline of their thread."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        pools = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # which has connections of its own
            pools.pool_classes_by_scheme = _POOLS
        return pools
