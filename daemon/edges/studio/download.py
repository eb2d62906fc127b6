"""A finished video into its part file: bounded, resumed where it was cut, and checked before anybody may see it.

The order of the writes keeps the sidecar honest: it is gone before the part is emptied, and back, naming the new
content, before the first new byte. So a part never lies beside a sidecar of other content, wherever the daemon dies;
after a reboot, when pages that were never synced may be zero, no part is trusted at all. Nor is a part or a sidecar
that is a link, no file, or another user's: it is removed, and never written into, waited for, or read.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import stat
import threading
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.exceptions import InvalidProxyURL

from daemon.core.errors import CloudDeferred, FilingDeferred, LinkExpired
from daemon.core.record import dataclass
from daemon.core.redact import link_secrets
from daemon.edges.studio.judge import BUSY, Answer, Judge
from daemon.edges.studio.values import is_usable_url
from daemon.edges.studio.whole import why_not_whole
from daemon.edges.studio.wire import NETWORK_ERRORS, Attempt, Proxies, StudioAdapter, describe

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from daemon.core.redact import Redactor

CHUNK_BYTES: Final = 256 * 1024
MOST_KEPT: Final = 16
"""Connections that are kept alive between downloads, at most."""

_WRITE_BACK_BYTES: Final = 8 << 20
_LARGE_BYTES: Final = 1 << 20
_LARGE_CHUNK_BYTES: Final = 1 << 20
_SYNC_FILE_RANGE_WRITE: Final = 2
_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_EXPIRED: Final = frozenset({401, 403, 404, 410})
_SLICE_SECONDS: Final = 0.5  # how soon a stalled download notices that it should stop
_ASK_SECONDS: Final = 0.1
_SLOW_SECONDS: Final = 60.0
_SLOW_BYTES: Final = 60 * 1024  # less in a minute is a trickle, which would hold its worker for ever
_ERROR_BYTES: Final = 4_096
_SIDECAR_BYTES: Final = 4_096
_LOOK_BYTES: Final = 4_096
_NEW: Final = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_OURS: Final = frozenset({errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO})  # a link, another's, no file
_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_UNSATISFIED: Final = re.compile(r"bytes \*/([0-9]{1,18})")
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]{0,512}"')
_DIGITS: Final = re.compile(r"[0-9]{1,18}")


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"process-{uuid.uuid4()}"  # without one, only this very process resumes what it began


_THIS_BOOT: Final = _boot_id()


def _load_sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        found: Any = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    found.restype = ctypes.c_int
    return found  # type: ignore[no-any-return]  # ctypes has no types


_sync_file_range: Callable[[int, int, int, int], int] | None = _load_sync_file_range()


def _cores() -> int:
    """So many we were given."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class Part:
    """A download that is complete, checked, and on disk (fsync), still under its partial name.

    Attributes:
        path: of the part.
        bytes: its size.
        sha256: of its content, hex.
    """

    path: Path
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Sidecar:
    """What a part is a part of."""

    etag: str
    total: int | None
    boot_id: str


def sidecar_of(part: Path) -> Path:
    """The file beside a part that tells how to go on with it; of no use once the part has its final name."""
    return part.with_suffix(".json")


class _Flow:
    """The pace of a download: no total, but never silent, never a trickle, and stopped within a moment."""

    __slots__ = (
        "_asks_at", "_clock", "_heard_at", "_read_timeout", "_should_stop", "_slice", "_window_at", "_window_bytes"
    )  # fmt: skip

    def __init__(self, clock: Callable[[], float], *, read_seconds: float, should_stop: Callable[[], bool]) -> None:
        self._clock = clock
        self._read_timeout = read_seconds
        self._should_stop = should_stop
        self._slice = min(_SLICE_SECONDS, read_seconds)
        self._heard_at = self._window_at = self._asks_at = clock()
        self._window_bytes = 0

    def wait_seconds(self) -> float:
        now = self._clock()
        if now >= self._asks_at:  # TLS gives 16 KiB at a time, and asking takes as long as decrypting them
            self._asks_at = now + _ASK_SECONDS
            self.raise_if_stopping()
        return self._slice

    def on_silence(self) -> None:
        if self._clock() - self._heard_at >= self._read_timeout:
            raise TimeoutError("nothing came any more")

    def on_bytes(self, count: int) -> None:
        self._heard_at = now = self._clock()
        self._window_bytes += count
        if now - self._window_at >= _SLOW_SECONDS:
            if self._window_bytes < _SLOW_BYTES:
                raise TimeoutError("it came too slowly")
            self._window_at, self._window_bytes = now, 0

    def raise_if_stopping(self) -> None:
        if self._should_stop():
            raise CloudDeferred("stopping")


class _PartFile:
    """The part on disk, with a running hash. Every local failure becomes FilingDeferred.

    Args:
        path: its folder must be there: none is made.
        redactor: for the texts.
    """

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self._path = path
        self._redactor = redactor
        self.sha256 = hashlib.sha256()
        self.size = 0
        self._written_back = 0
        self._hasher: ThreadPoolExecutor | None = None
        self._hashing: Future[None] | None = None
        self._is_new = False
        self._fd = self._opened()

    def close(self) -> None:
        os.close(self._fd)

    @contextmanager
    def hashed_beside(self) -> Iterator[None]:
        """Meanwhile each chunk is hashed by a thread of its own, while it is written and the next one is received."""
        with ThreadPoolExecutor(1, thread_name_prefix="hash") as hasher:
            self._hasher = hasher
            try:
                yield
            finally:
                self._hasher = None
                self._wait_for_hash()

    def there(self) -> int:
        """So many bytes are on disk, whatever they are worth."""
        return 0 if self._is_new else os.fstat(self._fd).st_size

    def load(self, flow: _Flow) -> _Sidecar | None:
        """Take up what is there: the sidecar that may be trusted, with position and hash after the bytes kept.

        A complete part is asked for its last byte again, which proves that the cloud still means the same content.
        """
        there = self.there()
        sidecar = self._sidecar() if there else None
        if sidecar is None:
            return None
        keep = there if sidecar.total is None else min(there, sidecar.total - 1)
        if keep <= 0:
            return None
        with _Filing(self._path, self._redactor):
            while self.size < keep:
                flow.raise_if_stopping()
                chunk = os.pread(self._fd, min(CHUNK_BYTES, keep - self.size), self.size)
                if not chunk:
                    return None
                self.sha256.update(chunk)
                self.size += len(chunk)
        return sidecar

    def continue_here(self) -> None:
        """Go on writing after the bytes that were kept."""
        with _Filing(self._path, self._redactor):
            os.ftruncate(self._fd, self.size)
            os.lseek(self._fd, self.size, os.SEEK_SET)
            self._written_back = self.size

    def start_afresh(self, etag: str, total: int | None) -> None:
        """Forget what is there; the content to come has the ETag, if it has a strong one."""
        with _Filing(self._path, self._redactor):
            sidecar_of(self._path).unlink(missing_ok=True)
            if not self._is_new:
                os.ftruncate(self._fd, 0)
                os.lseek(self._fd, 0, os.SEEK_SET)
                self.sha256, self.size = hashlib.sha256(), 0
            if _STRONG_ETAG.fullmatch(etag):
                text = json.dumps(asdict(_Sidecar(etag, total, _THIS_BOOT)))
                fresh = self._path.with_suffix(".json.tmp")
                fresh.unlink(missing_ok=True)
                with os.fdopen(os.open(fresh, _NEW | os.O_WRONLY, 0o666), "w", encoding="ascii") as opened:
                    opened.write(text)
                fresh.replace(sidecar_of(self._path))

    def write(self, chunk: bytes) -> None:
        """Append; what a full disk still took stays, and is gone on with later, when it is hashed anew."""
        self._wait_for_hash()
        try:
            self._hashing = self._hasher.submit(self.sha256.update, chunk) if self._hasher is not None else None
        except RuntimeError:  # no thread can be made
            self._hasher = None
        if self._hashing is None:
            self.sha256.update(chunk)
        left = memoryview(chunk)
        with _Filing(self._path, self._redactor):
            while left:
                count = os.write(self._fd, left)
                self.size += count
                left = left[count:]
        if self.size - self._written_back >= _WRITE_BACK_BYTES:
            self._begin_write_back()

    def _wait_for_hash(self) -> None:
        if self._hashing is not None:
            self._hashing.result()
            self._hashing = None

    def _begin_write_back(self) -> None:
        """Have the disk begin with what came, so that the fsync in the end finds little left to wait for.

        sync_file_range(2) starts it, waits for nothing, and promises nothing: what counts is the fsync.
        """
        if _sync_file_range is not None:
            count = self.size - self._written_back
            _sync_file_range(self._fd, self._written_back, count, _SYNC_FILE_RANGE_WRITE)
        self._written_back = self.size

    def why_not_whole(self, *, is_size_sure: bool) -> str | None:
        """On disk for good, then looked at; see `whole.why_not_whole`."""
        with _Filing(self._path, self._redactor):
            self._sync()
            size = os.fstat(self._fd).st_size
            if size != self.size:
                return f"another program wrote to the part: {size} bytes instead of {self.size}"
            with os.fdopen(self._fd, "rb", _LOOK_BYTES, closefd=False) as file:
                return why_not_whole(file, size, is_size_sure=is_size_sure)

    def discard(self) -> None:
        """Remove part and sidecar."""
        with _Filing(self._path, self._redactor):
            sidecar_of(self._path).unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)

    def _sync(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError:  # a second fsync would succeed although pages were lost: nothing of the part can be trusted
            with suppress(FilingDeferred):
                self.discard()
            raise

    def _opened(self) -> int:
        """The part that is there if it can be trusted, else an empty one in its place."""
        with _Filing(self._path, self._redactor):
            try:
                return _open_own(self._path, os.O_RDWR)
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    raise
                sidecar_of(self._path).unlink(missing_ok=True)
                self._path.unlink()
            self._is_new = True
            return os.open(self._path, _NEW | os.O_RDWR, 0o666)

    def _sidecar(self) -> _Sidecar | None:
        """None where it is missing, unreadable, not ours, or of another boot."""
        try:
            with os.fdopen(_open_own(sidecar_of(self._path), os.O_RDONLY), "rb") as opened:
                document = json.loads(opened.read(_SIDECAR_BYTES).decode("ascii"))
            sidecar = _Sidecar(**document)
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        is_sound = (
            isinstance(sidecar.etag, str)
            and _STRONG_ETAG.fullmatch(sidecar.etag) is not None
            and (sidecar.total is None or (type(sidecar.total) is int and sidecar.total > 0))
        )
        return sidecar if is_sound and sidecar.boot_id == _THIS_BOOT else None


def _open_own(path: Path, access: int) -> int:
    """Open a file of our own: a regular one with one name, of the owner that its folder has.

    Whoever names the folder has seen to it that it is ours; on a network drive that may be another number than the
    process's. Nothing waits, nothing is made, and no link is followed.
    """
    fd = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1 and found.st_uid == path.parent.stat().st_uid:
        return fd
    os.close(fd)
    raise OSError(errno.EPERM, "it is not a file of the daemon's own")


class _Filing:
    """Turns an OSError about the part into FilingDeferred, in plain words."""

    __slots__ = ("_path", "_redactor")

    def __init__(self, path: Path, redactor: Redactor) -> None:
        self._path = path
        self._redactor = redactor

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            why = error.strerror or str(error)
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                why = "the disk is full"
            elif error.errno == errno.ENOENT:
                why = "its folder is not there"
            raise FilingDeferred(self._redactor(f"cannot write {self._path}: {why}")) from None


class _Lines:
    """Connections that are kept alive between downloads, each in an adapter of its own, for all threads.

    Whoever takes one has it alone until he gives it back. Those that lay idle longest are closed when there are more
    than `MOST_KEPT`, and all of them by `close`, after which none is kept.

    Args:
        context: for TLS.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._idle: list[tuple[str, StudioAdapter]] = []
        self._is_closed = False

    def take(self, origin: str) -> StudioAdapter:
        """The one that was used last for that origin, else a fresh one."""
        with self._lock:
            for index in reversed(range(len(self._idle))):
                if self._idle[index][0] == origin:
                    return self._idle.pop(index)[1]
        return self.fresh()

    def fresh(self) -> StudioAdapter:
        """One that has no connection yet."""
        return StudioAdapter(self._context)

    def give_back(self, origin: str, adapter: StudioAdapter) -> None:
        """Keep it for the next download."""
        with self._lock:
            self._idle.append((origin, adapter))
            surplus = len(self._idle) if self._is_closed else max(0, len(self._idle) - MOST_KEPT)
            closing, self._idle = self._idle[:surplus], self._idle[surplus:]
        for _, old in closing:
            old.close()

    def close(self) -> None:
        """Close all that are idle, and keep none from now on."""
        with self._lock:
            closing, self._idle = self._idle, []
            self._is_closed = True
        for _, adapter in closing:
            adapter.close()


@dataclass(frozen=True, slots=True)
class _Answered:
    """An answer whose body has not been read yet, and the connection that it comes on."""

    response: requests.Response
    origin: str
    adapter: StudioAdapter

    def close(self) -> None:
        """With its connection."""
        self.response.raw.close()
        self.adapter.close()


class Downloader:
    """Downloads; on connections that never had the credential, and are kept alive from one video to the next.

    Args:
        context: for TLS.
        proxies: the environment's.
        redactor: for every text.
        judge: for ``Retry-After``.
        timeout: seconds for connecting, and of silence.
        max_video_bytes: a larger video is refused.
        clock: monotonic seconds.
        on_large: called by the thread of a download that has much to hash, before it does.
    """

    def __init__(
        self,
        *,
        context: ssl.SSLContext,
        proxies: Proxies,
        redactor: Redactor,
        judge: Judge,
        timeout: tuple[float, float],
        max_video_bytes: int,
        clock: Callable[[], float],
        on_large: Callable[[], None] | None,
    ) -> None:
        self._on_large = on_large or (lambda: None)
        self._spare_cores = threading.Semaphore(_cores() // 2)
        self._lines = _Lines(context)
        self._proxies = proxies
        self._redactor = redactor
        self._judge = judge
        self._read_seconds = timeout[1]
        self._timeouts = urllib3.Timeout(connect=timeout[0], read=timeout[1])
        self._max_bytes = max_video_bytes
        self._clock = clock

    def download(self, url: str, part: Path, *, should_stop: Callable[[], bool]) -> Part:
        """The whole video, checked and on disk, in the part.

        The sidecar stays beside the part, so that the same call made again after a failed filing asks for one byte
        only; whoever gives the part its final name removes `sidecar_of` it.

        Args:
            url: from a look.
            part: where to; its folder must be there.
            should_stop: asked between the chunks, and twice a second while nothing comes.

        Raises:
            CloudDeferred: cut, stalled, stopping, or the cloud is away: the part is kept. ``is_bounded``: what came
                is no whole video, too large, or refused.
            LinkExpired: ask for a fresh link; the part is kept.
            FilingDeferred: the part cannot be written.
        """
        flow = _Flow(self._clock, read_seconds=self._read_seconds, should_stop=should_stop)
        flow.raise_if_stopping()
        file = _PartFile(part, self._redactor)
        try:
            with Attempt(flow) as attempt:
                total = self._fetch(url, file, flow, attempt)
            return self._checked(part, file, is_size_sure=total is not None)
        finally:
            file.close()

    def close(self) -> None:
        """Close the connections that are kept alive. Downloads under way go on."""
        self._lines.close()

    def _fetch(self, url: str, file: _PartFile, flow: _Flow, attempt: Attempt) -> int | None:
        """The size that the server announced, when it did; as many bytes are in the part then."""
        if file.there() >= _LARGE_BYTES:
            self._on_large()
        sidecar = file.load(flow)
        headers = {"Accept-Encoding": "identity", "User-Agent": "chromadrop"}
        if sidecar is not None:
            headers |= {"Range": f"bytes={file.size}-", "If-Range": sidecar.etag}
        answered = self._open(url, headers, attempt)
        try:
            total = self._begin(answered.response, file, sidecar)
            if total is None or total - file.size >= _LARGE_BYTES:
                self._receive_large(answered.response, file, total)
            else:
                self._receive(answered.response, file, total, CHUNK_BYTES)
        except BaseException:
            answered.close()
            raise
        answered.response.raw.close()  # closes the connection, too, where more would come
        if attempt.is_dialled:  # of one that is no witness (a SOCKS proxy's) nobody could tell that it had gone stale
            self._lines.give_back(answered.origin, answered.adapter)
        else:
            answered.close()
        return total

    def _open(self, url: str, headers: dict[str, str], attempt: Attempt) -> _Answered:
        """The first answer that is no redirect."""
        for _ in range(_MOST_REDIRECTS + 1):
            answered = self._send(url, headers, attempt)
            response = answered.response
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location:
                return answered
            answered.close()
            url = _joined(url, location)
            if not is_usable_url(url):
                raise CloudDeferred("the video's link leads to something that is no web address", is_bounded=True)
        raise CloudDeferred(f"the video's link was redirected more than {_MOST_REDIRECTS} times", is_bounded=True)

    def _send(self, url: str, headers: dict[str, str], attempt: Attempt) -> _Answered:
        """Ask; once more, on a fresh connection, where the server had just closed the one that was kept alive."""
        try:
            request = _prepared(url, headers)
            origin = _origin_of(request)
            try:
                return self._ask(request, origin, self._lines.take(origin), attempt)
            except NETWORK_ERRORS as error:
                if not attempt.was_stale(error):
                    raise
            return self._ask(request, origin, self._lines.fresh(), attempt)
        except (*NETWORK_ERRORS, ValueError) as error:
            is_unsent = attempt.was_never_sent(error)
            what = "cannot reach" if is_unsent else "no answer from"
            text = self._redactor(f"downloading: {what} {urlsplit(url).hostname}: {describe(error)}")
            is_no_address = is_unsent and isinstance(error, ValueError) and not isinstance(error, InvalidProxyURL)
            raise CloudDeferred(text, is_outage=is_unsent and not is_no_address, is_bounded=is_no_address) from None

    def _ask(
        self, request: requests.PreparedRequest, origin: str, adapter: StudioAdapter, attempt: Attempt
    ) -> _Answered:
        attempt.is_dialled = attempt.is_sent = attempt.is_answered = attempt.is_reused = False
        proxies = self._proxies(request.url or "")
        try:
            response = adapter.send(request, stream=True, timeout=self._timeouts, proxies=proxies)  # type: ignore[arg-type]
        except BaseException:
            adapter.close()
            raise
        return _Answered(response, origin, adapter)

    def _begin(self, response: requests.Response, file: _PartFile, sidecar: _Sidecar | None) -> int | None:
        """Make the part ready for what comes; the size that the whole will have, where it is known."""
        http = response.status_code
        if http == requests.codes.ok:
            self._raise_if_encoded(response)
            total = _content_length(response)
            self._raise_if_too_large(total)
            file.start_afresh(response.headers.get("ETag") or "", total)
            return total
        if sidecar is not None and http == requests.codes.partial_content:
            self._raise_if_encoded(response)
            return self._continued(response, file, sidecar)
        if sidecar is not None and http == requests.codes.requested_range_not_satisfiable:
            return self._ended(response, file)
        raise self._refusal(response)

    def _continued(self, response: requests.Response, file: _PartFile, sidecar: _Sidecar) -> int:
        match = _RANGE.fullmatch((response.headers.get("Content-Range") or "").strip())
        etag = response.headers.get("ETag") or sidecar.etag
        if match is not None and int(match[1]) == file.size and etag == sidecar.etag:
            total = sidecar.total if match[3] == "*" else int(match[3])
            if total is not None and total > file.size and sidecar.total in {None, total}:
                self._raise_if_too_large(total)
                file.continue_here()
                return total
        file.discard()
        raise CloudDeferred("the video's server did not go on where the download was cut; it starts afresh")

    def _ended(self, response: requests.Response, file: _PartFile) -> int:
        """416: there is nothing after what we have, so it is all there, or it is something else."""
        match = _UNSATISFIED.fullmatch((response.headers.get("Content-Range") or "").strip())
        if match is not None and int(match[1]) == file.size:
            file.continue_here()
            return file.size
        file.discard()
        raise CloudDeferred("the video's server has less than was downloaded; it starts afresh")

    def _receive_large(self, response: requests.Response, file: _PartFile, total: int | None) -> None:
        """With another core for the hash, while there is one for each download that has it."""
        self._on_large()
        if total is None or not self._spare_cores.acquire(blocking=False):
            self._receive(response, file, total, _LARGE_CHUNK_BYTES)
            return
        try:
            with file.hashed_beside():
                self._receive(response, file, total, _LARGE_CHUNK_BYTES)
        finally:
            self._spare_cores.release()

    def _receive(self, response: requests.Response, file: _PartFile, total: int | None, chunk_bytes: int) -> None:
        while total is None or file.size < total:
            try:
                chunk = response.raw.read1(chunk_bytes, decode_content=False)  # read() loses bytes when cut
            except (*NETWORK_ERRORS, ValueError) as error:
                of = "" if total is None else f" of {total}"
                text = f"the download was cut after {file.size}{of} bytes: {describe(error)}"
                raise CloudDeferred(self._redactor(text)) from None
            if not chunk:
                break
            file.write(chunk)
            if file.size > (self._max_bytes if total is None else total):
                file.discard()
                raise CloudDeferred("the video is larger than its server said, or than is taken", is_bounded=True)
        if total is not None and file.size < total:
            raise CloudDeferred(f"the download was cut after {file.size} of {total} bytes")

    def _checked(self, part: Path, file: _PartFile, *, is_size_sure: bool) -> Part:
        why = file.why_not_whole(is_size_sure=is_size_sure)
        if why is not None:
            file.discard()
            raise CloudDeferred(self._redactor(f"what was downloaded is no good: {why}"), is_bounded=True)
        return Part(part, file.size, file.sha256.hexdigest())

    def _raise_if_encoded(self, response: requests.Response) -> None:
        encoding = (response.headers.get("Content-Encoding") or "identity").strip().lower()
        if encoding != "identity":
            text = self._redactor(f"the video came compressed ({encoding}), which was not asked for")
            raise CloudDeferred(text, is_bounded=True)

    def _raise_if_too_large(self, size: int | None) -> None:
        if size is not None and size > self._max_bytes:
            text = f"the video has {size} bytes or more; at most {self._max_bytes} are taken"
            raise CloudDeferred(text, is_bounded=True)

    def _refusal(self, response: requests.Response) -> CloudDeferred | LinkExpired:
        http = response.status_code
        body = b""
        with suppress(*NETWORK_ERRORS, ValueError, CloudDeferred):
            body = response.raw.read(_ERROR_BYTES, decode_content=True)
        answer = Answer(http, response.headers, body)
        redact = self._redactor.hiding(link_secrets(response.url or ""))  # an object store quotes what it refuses
        if http in BUSY:
            return self._judge.deferred_by(answer, redact)
        words = answer.words(redact)
        said = f": {words}" if words else ""
        if http in _EXPIRED:
            return LinkExpired(self._redactor(f"the video's link is no longer good (HTTP {http}){said}"))
        text = self._redactor(f"the video's server answered with HTTP {http}{said}")
        return CloudDeferred(text, is_bounded=http < 500)  # noqa: PLR2004 - RFC 9110, 15


def _prepared(url: str, headers: dict[str, str]) -> requests.PreparedRequest:
    """As `requests.Request.prepare` makes it, without what a GET has none of: that takes as long again."""
    request = requests.PreparedRequest()
    request.prepare_method("GET")
    request.prepare_url(url, None)
    request.prepare_headers(headers)
    request.prepare_auth(None)  # a name and a password in the URL
    return request


def _origin_of(request: requests.PreparedRequest) -> str:
    parts = urlsplit(request.url or "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _content_length(response: Any) -> int | None:
    text = (response.headers.get("Content-Length") or "").strip()
    is_chunked = "chunked" in (response.headers.get("Transfer-Encoding") or "").lower()
    return int(text) if _DIGITS.fullmatch(text) and not is_chunked else None


def _joined(url: str, location: str) -> str:
    """Where a redirect leads; empty where that is no URL."""
    try:
        return urljoin(url, location.encode("latin-1", "replace").decode("utf-8", "replace"))
    except ValueError:
        return ""
