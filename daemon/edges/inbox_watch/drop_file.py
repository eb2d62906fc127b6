"""One file in inbox/: opened without harm, looked at, read once."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import stat
import sys
from typing import TYPE_CHECKING, Any, Final

from daemon.core.drop import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER_FLAGS: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_CHUNK_BYTES: Final = 1 << 20
_STATX_FLAGS: Final = 0x1000 | 0x2000  # AT_EMPTY_PATH | AT_STATX_FORCE_SYNC
_STATX_BASIC_STATS: Final = 0x7FF
_STATX_BYTES: Final = 256
_KINDS: Final = {
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "symbolic link",
}


class NotAPlainFile(Exception):
    """The name leads to something that is never opened.

    Attributes:
        what: in plain words.
        fingerprint: of the thing itself.
    """

    def __init__(self, what: str, fingerprint: Fingerprint) -> None:
        super().__init__(what)
        self.what = what
        self.fingerprint = fingerprint


class Unreadable(Exception):
    """The file is there and may not be opened.

    Attributes:
        error: what the system said.
        fingerprint: of the file.
    """

    def __init__(self, error: OSError, fingerprint: Fingerprint) -> None:
        super().__init__(str(error))
        self.error = error
        self.fingerprint = fingerprint


class DropFile:
    """An open file below inbox/; a context manager.

    Args:
        inbox: the folder; links to it are followed.
        name: relative to it, with ``/``; no link is followed in it.

    Raises:
        FileNotFoundError: there is nothing (any more).
        NotADirectoryError: a folder on the way is none (any more).
        NotAPlainFile: it is a pipe, a socket, a device, a folder, or a link. It was not opened.
        Unreadable: it may not be read.
        OSError: the folder cannot be reached.

    Attributes:
        fingerprint: as it was when it was opened.
    """

    def __init__(self, inbox: str, name: str) -> None:
        folder, _, base = name.rpartition("/")
        parent = _open_folder(inbox, folder)
        try:
            self._descriptor, self.fingerprint = _open_plain(base, parent)
        finally:
            os.close(parent)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def look_again(self) -> Fingerprint:
        """The open file's fingerprint now."""
        return Fingerprint.of(_fresh_stat(self._descriptor))

    def is_held_for_writing(self) -> bool:
        """Whether somebody on this machine has it open for writing, where the system tells.

        A read lease is refused with EAGAIN while somebody has (fcntl(2)); any other refusal tells nothing: the
        file is another user's and we lack CAP_LEASE, or the file system knows no leases.
        """
        if sys.platform != "linux":
            return False
        try:
            # A lease that is broken signals; SIGIO would end the process, SIGURG is ignored.
            fcntl.fcntl(self._descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN
        fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False

    def read(self) -> bytes | None:
        """The whole content, or None where the file is not what it was when it was opened."""
        content = bytearray()
        while len(content) <= self.fingerprint.size:
            chunk = os.read(self._descriptor, min(_CHUNK_BYTES, self.fingerprint.size + 1 - len(content)))
            if not chunk:
                break
            content += chunk
        is_whole = len(content) == self.fingerprint.size and self.look_again() == self.fingerprint
        return bytes(content) if is_whole else None


def _open_folder(inbox: str, folder: str) -> int:
    """Step by step, so that a folder that was exchanged for a link leads nowhere."""
    descriptor = os.open(inbox, _FOLDER_FLAGS)
    for part in filter(None, folder.split("/")):
        try:
            inner = os.open(part, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def _open_plain(base: str, parent: int) -> tuple[int, Fingerprint]:
    before = os.stat(base, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISREG(before.st_mode):
        raise _not_plain(before)
    try:
        descriptor = os.open(base, _FILE_FLAGS, dir_fd=parent)
    except (FileNotFoundError, BlockingIOError):
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:  # exchanged in between
            raise NotAPlainFile(_KINDS[stat.S_IFLNK], Fingerprint.of(before)) from error
        raise Unreadable(error, Fingerprint.of(before)) from error
    after = _fresh_stat(descriptor)
    if not stat.S_ISREG(after.st_mode):  # exchanged in between
        os.close(descriptor)
        raise _not_plain(after)
    return descriptor, Fingerprint.of(after)


def _load_statx() -> Callable[..., int] | None:
    try:
        found: Any = ctypes.CDLL(None, use_errno=True).statx
    except (AttributeError, OSError):  # an older C library, or none; not Linux
        return None
    found.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
    found.restype = ctypes.c_int
    return found  # type: ignore[no-any-return]  # ctypes has no types


_C_STATX: Final = _load_statx()


def _fresh_stat(descriptor: int) -> os.stat_result:
    """As the file is at its server, not as this machine's kernel remembers it (statx(2), AT_STATX_FORCE_SYNC).

    Without it a file on sshfs, as it is mounted by default, is seen as it was at the look before: one that grows
    would look quiet. Where it cannot be asked, what the kernel remembers has to do.
    """
    if _C_STATX is not None:
        _C_STATX(descriptor, b"", _STATX_FLAGS, _STATX_BASIC_STATS, ctypes.create_string_buffer(_STATX_BYTES))
    return os.fstat(descriptor)


def _not_plain(found: os.stat_result) -> NotAPlainFile:
    return NotAPlainFile(_KINDS.get(stat.S_IFMT(found.st_mode), "not a file"), Fingerprint.of(found))
