"""The wire: connections that can tell "never sent" from "sent", and that no slow answer can hold for ever.

What was measured (DESIGN 6) decides the shape. There is no `requests.Session`: a prepared request is given straight
to an adapter, so that neither ``~/.netrc`` nor a cookie nor a redirect can change what is sent, and a poll costs
half. The environment's proxies and CA bundle come in explicitly.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import logging
import os
import ssl
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from types import TracebackType

logging.getLogger("urllib3").propagate = False  # it writes whole URLs, signatures included, at DEBUG and WARNING

NETWORK_ERRORS: Final = (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)
"""What a call can fail with: requests', urllib3's, and the interpreter's own families."""

_NEVER_DIALLED: Final = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidHeader,
)
_NEVER_CONNECTED: Final = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.SSLError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.NameResolutionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.SSLError,
)


_INTERIM: Final = range(100, 200)
_MOST_INTERIM: Final = 100
_LEFT_OVER_SECONDS: Final = 0.25
_GLANCE_SECONDS: Final = 0.001
_FILL_BYTES: Final = 64 * 1024  # TLS gives 16 KiB at a time; headers are read in smaller pieces, which never wait


class Pace(Protocol):
    """How long reading an answer may take."""

    def wait_seconds(self) -> float:
        """How long the next read may block; raises to end the call."""
        ...

    def on_silence(self) -> None:
        """That long nothing came; raises TimeoutError to end the call."""
        ...

    def on_bytes(self, count: int) -> None:
        """So many bytes came."""
        ...


class Deadline:
    """The pace of an API call: so long for each read, and so long for all of them, whatever trickles in.

    What has come when they are over is still read, for a moment: a process that was frozen has an answer waiting.
    """

    __slots__ = ("_clock", "_end", "_last", "_read_timeout")

    def __init__(self, clock: Callable[[], float], *, total_seconds: float, read_seconds: float) -> None:
        self._clock = clock
        self._end = clock() + total_seconds
        self._last: float | None = None
        self._read_timeout = read_seconds

    def wait_seconds(self) -> float:
        now = self._clock()
        if now < self._end:
            return min(self._end - now, self._read_timeout)
        if self._last is None:
            self._last = now + _LEFT_OVER_SECONDS
        if now >= self._last:
            raise TimeoutError("the answer did not end in time")
        return _GLANCE_SECONDS

    def on_silence(self) -> None:
        raise TimeoutError("no answer in time")

    def on_bytes(self, count: int) -> None:
        """Bytes do not move a deadline."""


class Attempt:
    """One call, as its connection saw it; in force for the calling thread inside ``with``.

    Attributes:
        is_dialled: a connection of ours tried to connect, or was connected already.
        is_sent: a first byte of the request itself was handed to the kernel; TLS and a proxy's CONNECT are not it.
        is_answered: a byte came back.
        is_reused: it went on a connection that was kept alive, which the server may just have closed.
    """

    __slots__ = ("_outer", "is_answered", "is_dialled", "is_reused", "is_sent", "pace")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.is_dialled = False
        self.is_sent = False
        self.is_answered = False
        self.is_reused = False

    def __enter__(self) -> Self:
        self._outer: Attempt | None = getattr(_calling, "attempt", None)
        _calling.attempt = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _calling.attempt = self._outer

    def was_never_sent(self, error: BaseException) -> bool:
        """Whether the cloud cannot have got anything of the request.

        A connection of ours knows. Where none was asked (the adapter was replaced, or gave up before), the kind
        of the error decides.
        """
        if self.is_dialled:
            return not self.is_sent
        return isinstance(error, _NEVER_DIALLED) or any(isinstance(cause, _NEVER_CONNECTED) for cause in causes(error))

    def was_stale(self, error: BaseException) -> bool:
        """Whether it was lost with a kept-alive connection before any byte came back: to be asked again at once."""
        is_timeout = any(isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError) for cause in causes(error))
        return self.is_reused and not self.is_answered and not is_timeout


_calling = threading.local()


def causes(error: BaseException) -> list[BaseException]:
    """The error and what it wraps, outermost first, as requests and urllib3 nest them."""
    found: list[BaseException] = []
    following: object = error
    while isinstance(following, BaseException) and following not in found:
        found.append(following)
        inner = [getattr(following, "reason", None), *reversed(following.args)]
        following = next((cause for cause in inner if isinstance(cause, BaseException)), following.__cause__)
    return found


class _PacedReader(io.RawIOBase):
    """Reads a socket at the pace of its attempt: urllib3's timeouts hold for one read, never for all of them."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, attempt: Attempt) -> None:
        super().__init__()
        self._raw = raw  # the socket's own reader: it counts the open files of the socket
        self._sock = sock
        self._attempt = attempt
        self._wait_seconds = -1.0
        self._trouble: Exception | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble
        count = self._receive(buffer)
        if count and len(buffer) >= _FILL_BYTES:
            count += self._fill(memoryview(buffer)[count:])
        return count

    def _fill(self, buffer: memoryview) -> int:
        """Read on until the buffer is full; trouble waits its turn, so that no byte that came is lost by it."""
        count = 0
        try:
            while count < len(buffer) and (more := self._receive(buffer[count:])):
                count += more
        except Exception as trouble:  # noqa: BLE001 - raised by the next read
            self._trouble = trouble
        return count

    def _receive(self, buffer: Any) -> int:
        pace = self._attempt.pace
        while True:
            wait_seconds = pace.wait_seconds()
            if wait_seconds != self._wait_seconds:
                self._sock.settimeout(wait_seconds)
                self._wait_seconds = wait_seconds
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                pace.on_silence()
                continue
            if count:
                self._attempt.is_answered = True
                pace.on_bytes(count)
            return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _PacedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        attempt: Attempt | None = getattr(_calling, "attempt", None)
        if attempt is not None:
            self.fp: io.BufferedReader = io.BufferedReader(_PacedReader(self.fp.detach(), sock, attempt))

    def _read_status(self) -> tuple[str, int, str]:
        """The final answer's, after any that only say that it will come (RFC 9110, 15.2).

        The interpreter's own client passes over 100 alone: a 103 would be the answer to this question, and the answer
        itself that to the next one on the connection.
        """
        for _ in range(_MOST_INTERIM):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # not in the stubs
            if status not in _INTERIM:
                return version, status, reason
            if status == http.client.SWITCHING_PROTOCOLS:
                raise http.client.BadStatusLine("it changes to a protocol that nobody asked for")
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine(f"more than {_MOST_INTERIM} interim answers")


class Asked:
    """A GET that was sent, and whose answer nobody has read yet; see `StudioAdapter.ask`."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: _Reuse, connection: _Witness) -> None:
        self._pool = pool
        self._connection = connection

    def fileno(self) -> int:
        """It becomes readable with the answer."""
        return int(self._connection.sock.fileno())

    def answer(self, limit_bytes: int) -> tuple[int, Mapping[str, str], bytes]:
        """HTTP status, headers, and so much of the body, decoded; the connection is kept if all of it was read.

        Raises:
            NETWORK_ERRORS: it did not come, or not all of it.
        """
        try:
            response = http.client.HTTPConnection.getresponse(self._connection)
            body = self._body(response, limit_bytes)
            if not response.isclosed():
                self._connection.close()
        except BaseException:
            self._connection.close()
            raise
        finally:
            self._pool._put_conn(self._connection)  # noqa: SLF001 - as urlopen does
        return response.status, cast("Mapping[str, str]", response.msg), body

    @staticmethod
    def _body(response: http.client.HTTPResponse, limit_bytes: int) -> bytes:
        if response.getheader("Content-Encoding"):
            headers = dict(response.msg.items())
            decoded = urllib3.HTTPResponse(response, headers, original_response=response, preload_content=False)
            return decoded.read(limit_bytes, decode_content=True)
        body = response.read(limit_bytes)
        if response.length and len(body) < limit_bytes:
            raise http.client.IncompleteRead(body, response.length)
        return body

    def close(self) -> None:
        """Nobody is going to read the answer."""
        self._connection.close()


class _Witness(HTTPConnection):
    """Notes in the attempt whether the request itself was sent, as against TLS and a proxy's CONNECT."""

    response_class = _PacedResponse
    _is_asking = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        attempt: Attempt | None = getattr(_calling, "attempt", None)
        if attempt is not None and self.sock is not None:
            attempt.is_dialled = True  # kept alive
        self._is_asking = True
        try:
            super().request(*args, **kwargs)
        finally:
            self._is_asking = False

    def ask(self, target: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        """Send a GET on the connection that there is; `Asked` reads the answer."""
        self.sock.settimeout(timeout_seconds)
        self._is_asking = True
        try:
            http.client.HTTPConnection.request(self, "GET", target, headers=headers)
        finally:
            self._is_asking = False

    def connect(self) -> None:
        attempt: Attempt | None = getattr(_calling, "attempt", None)
        if attempt is not None:
            attempt.is_dialled = True
        was_asking, self._is_asking = self._is_asking, False
        try:
            super().connect()
        finally:
            self._is_asking = was_asking

    def send(self, payload: Any) -> None:
        attempt: Attempt | None = getattr(_calling, "attempt", None)
        if self._is_asking and attempt is not None:
            if self.sock is None:
                self.connect()
            attempt.is_sent = True
        super().send(payload)


class _TlsWitness(_Witness, HTTPSConnection):
    """The same over TLS."""


class _Reuse(HTTPConnectionPool):
    ConnectionCls = _Witness

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        attempt: Attempt | None = getattr(_calling, "attempt", None)
        if attempt is not None:
            attempt.is_reused = not connection.is_closed
        return connection


class _TlsReuse(_Reuse, HTTPSConnectionPool):
    ConnectionCls = _TlsWitness


_POOLS: Final[dict[str, type[HTTPConnectionPool]]] = {"http": _Reuse, "https": _TlsReuse}


class ReadyContext(ssl.SSLContext):
    """A TLS context that is made once and shared by threads.

    urllib3 sets the same ALPN list again on every connection, and OpenSSL frees the old one while another thread may
    be copying it.
    """

    _bundle = ""
    _lock = threading.Lock()

    def trust_later(self, bundle: str) -> ReadyContext:
        """Read these certificates before the first connection: it takes 16 to 40 ms, and a megabyte."""
        self._bundle = bundle
        return self

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        self._read_bundle()
        return super().wrap_socket(*args, **kwargs)

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        self._read_bundle()
        return super().wrap_bio(*args, **kwargs)

    def _read_bundle(self) -> None:
        if self._bundle:
            with self._lock:
                if self._bundle:
                    self.load_verify_locations(cafile=self._bundle)
                    self._bundle = ""

    def set_alpn_protocols(self, protocols: Any) -> None:
        """Nothing: it was set when the context was made."""

    def seal(self) -> ReadyContext:
        """Set what urllib3 would set again each time."""
        super().set_alpn_protocols(["http/1.1"])
        return self


def ready_context(environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """A verifying TLS context, whose CA bundle is read once.

    The bundle is the first named by REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE, SSL_CERT_DIR, or certifi's; what
    a person has named is read at once.

    Raises:
        ValueError: the bundle that the environment names cannot be used; the text says which.
    """
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
    name = next((name for name in names if environ.get(name)), "")
    context = ReadyContext(ssl.PROTOCOL_TLS_CLIENT)
    if not name:
        return context.trust_later(DEFAULT_CA_BUNDLE_PATH).seal()
    bundle = environ[name]
    try:
        if os.path.isdir(bundle):  # noqa: PTH112 - as requests tells them apart
            context.load_verify_locations(capath=bundle)
        else:
            context.load_verify_locations(cafile=bundle)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"{name} names CA certificates that cannot be used: {error}") from None
    return context.seal()


class StudioAdapter(HTTPAdapter):
    """An adapter whose connections are witnesses and share one ready TLS context.

    What requests would work out again for each call, and what never changes, is kept: the pool of an origin.

    Args:
        context: from `ready_context`.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._pools: dict[str, ConnectionPool] = {}
        super().__init__(pool_connections=2, pool_maxsize=1)  # one thread, one call at a time

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy.lower().startswith("socks"):  # its own connections: the kind of an error then decides
            return super().proxy_manager_for(proxy, **kwargs)
        pools = super().proxy_manager_for(proxy, proxy_ssl_context=self._context, **kwargs)
        pools.pool_classes_by_scheme = _POOLS
        return pools

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: Any,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> ConnectionPool:
        """The pool of the request's origin, which `Proxies` always leads the same way."""
        origin = _origin_of(request.url or "")
        pool = self._pools.get(origin)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
            self._pools[origin] = pool
        return pool

    def ask(self, request: requests.PreparedRequest, timeout_seconds: float) -> Asked | None:
        """Send a GET without waiting for its answer, so that one thread can ask many times before it waits.

        It goes on the connection that `send` has left alive, and on the interpreter's own client: nothing of what
        requests and urllib3 do for each call (retries, redirects, proxies, pools) is needed for one more question to
        the same server.

        Returns:
            Where the answer is to be read; None where nothing was sent, for no connection is alive (any more).
        """
        pool = self._pools.get(_origin_of(request.url or ""))
        if not isinstance(pool, _Reuse):
            return None
        connection = pool._get_conn()  # noqa: SLF001 - as urlopen does
        if not connection.is_closed and not connection.proxy_is_forwarding:
            try:
                connection.ask(request.path_url, request.headers, timeout_seconds)
            except (*NETWORK_ERRORS, ValueError):
                connection.close()
            else:
                return Asked(pool, connection)
        pool._put_conn(connection)  # noqa: SLF001 - as urlopen does
        return None

    def close(self) -> None:
        self._pools.clear()
        super().close()

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the ready context verifies; requests would have the bundle parsed again."""

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """The answer without a cookie jar: cookies are never taken; urllib3's headers know no case either."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.reason = resp.reason
        response.url = req.url or ""
        response.request = req
        return response


def _origin_of(url: str) -> str:
    """Scheme, host, and port of a prepared URL, which always has a path."""
    return url[: url.index("/", len("https://"))]


def is_loopback(host: str | None) -> bool:
    """Whether the host is this machine, by name or by address."""
    name = (host or "").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class Proxies:
    """The environment's proxies, looked up once for each origin; none for loopback, which no proxy reaches for us."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], dict[str, str]] = {}

    def __call__(self, url: str) -> dict[str, str]:
        """What `requests` takes as ``proxies`` for the URL."""
        parts = urlsplit(url)
        origin = (parts.scheme, parts.netloc.rpartition("@")[2])
        if origin not in self._known:
            self._known[origin] = (
                {} if is_loopback(parts.hostname) else get_environ_proxies(f"{origin[0]}://{origin[1]}/")
            )
        return self._known[origin]


def describe(error: BaseException) -> str:
    """What happened, in plain words. Not redacted yet: the texts of requests and urllib3 contain URLs."""
    found = causes(error)
    for kinds, words in _PLAIN_WORDS:
        for cause in found:
            if isinstance(cause, kinds):
                return words.format(cause)
    return f"{type(found[-1]).__name__}: {found[-1]}"


_PLAIN_WORDS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((urllib3.exceptions.NameResolutionError,), "the host name cannot be resolved"),
    ((ConnectionRefusedError,), "the connection was refused"),
    ((ssl.SSLCertVerificationError,), "its certificate cannot be trusted: {}"),
    ((urllib3.exceptions.NewConnectionError,), "{}"),
    ((urllib3.exceptions.ConnectTimeoutError,), "no connection in time"),
    ((requests.exceptions.ConnectTimeout,), "no connection in time"),
    ((urllib3.exceptions.ReadTimeoutError, requests.exceptions.ReadTimeout, TimeoutError), "no answer in time"),
    ((ssl.SSLError,), "TLS failed: {}"),
    ((ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected), "the connection was lost"),
    ((http.client.BadStatusLine,), "no answer that can be understood: {}"),
    ((http.client.IncompleteRead, urllib3.exceptions.IncompleteRead), "the connection was lost"),
)
