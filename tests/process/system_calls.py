"""What a process asked of the kernel (strace(1)), and what a disk would hold had the power been cut meanwhile."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Mapping

CALLS = (
    "openat", "creat", "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat",
    "rmdir", "fsync", "fdatasync", "write", "pwrite64", "writev", "pwritev", "ftruncate", "sendto", "sendmsg",
    "copy_file_range", "sendfile",
)  # fmt: skip
SYNCS = frozenset({"fsync", "fdatasync"})
_WHOLE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)\b.*")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)\b.*")
_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<(.*)>")
_HEX = re.compile(rb"\\x([0-9a-f]{2})")


def why_not_traced() -> str:
    """Why strace cannot be used here; empty where it can."""
    strace = shutil.which("strace")
    if strace is None:
        return "needs strace (Debian package strace)"
    command = [
        strace,
        "-D",
        "-f",
        "-qq",
        "-yy",
        "-xx",
        "-e",
        "trace=openat",
        "-o",
        "/dev/null",
        sys.executable,
        "-c",
        "",
    ]
    tried = subprocess.run(command, capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.decode()[:200]}"


def strace_command(output: Path) -> list[str]:
    """What to put before a command, which stays the process that was started (-D), so that signals reach it."""
    return [
        "strace", "-D", "-f", "-yy", "-xx", "-s", "1000000", "-e", "signal=none",
        "-e", f"trace={','.join(CALLS)}", "-o", str(output),
    ]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Call:
    """One system call that succeeded.

    Attributes:
        begun: line of the trace in which it began; what it does to the world may happen from here on.
        ended: line in which it returned; what it promises holds from here on.
        thread: that made it.
        name: of the call.
        path: the file that it is about; the source of a rename or link.
        target: where a rename or link leads.
        content: what was written or sent.
        offset: of a write; the size of a truncation; None for an append.
        words: the rest, such as flags.
    """

    begun: int
    ended: int
    thread: int
    name: str
    path: str
    target: str
    content: bytes
    offset: int | None
    words: str

    @property
    def is_sync(self) -> bool:
        """A file's or a folder's fsync."""
        return self.name in SYNCS

    @property
    def is_rename(self) -> bool:
        """A file gets another name."""
        return self.name.startswith("rename")

    @property
    def is_creation(self) -> bool:
        """An open that may have made a file."""
        return self.name == "creat" or (self.name == "openat" and "O_CREAT" in self.words)

    @property
    def is_write(self) -> bool:
        """Bytes for a file."""
        return self.name in {"write", "pwrite64"}

    @property
    def folder(self) -> str:
        """Where the file lies."""
        return _folder(self.path)


def read_trace(path: Path) -> list[Call]:
    """Every call that succeeded, in the order in which they began."""
    begun: dict[int, tuple[int, str]] = {}
    calls = []
    for number, line in enumerate(path.read_text("latin-1").splitlines()):
        if match := _WHOLE.fullmatch(line):
            calls.append(_call(number, number, match[1], match[2], match[3], match[4]))
        elif match := _BEGUN.fullmatch(line):
            begun[int(match[1])] = number, match[3]
        elif match := _RESUMED.fullmatch(line):
            start, words = begun.pop(int(match[1]))
            calls.append(_call(start, number, match[1], match[2], words + match[3], match[4]))
    return sorted((call for call in calls if call is not None), key=lambda call: call.begun)


def _call(begun: int, ended: int, thread: str, name: str, words: str, result: str) -> Call | None:
    if int(result) < 0:
        return None
    arguments = words.split(", ")
    known: dict[str, str] = {"path": "", "target": ""}
    content, offset = b"", None
    if name in {"rename", "link"}:
        known = {"path": _text(arguments[0]), "target": _text(arguments[1])}
    elif name in {"renameat", "renameat2", "linkat"}:
        known = {"path": _at(arguments[0], arguments[1]), "target": _at(arguments[2], arguments[3])}
    elif name in {"openat", "mkdirat", "unlinkat"}:
        known["path"] = _at(arguments[0], arguments[1])
    elif name in {"mkdir", "unlink", "rmdir", "creat"}:
        known["path"] = _text(arguments[0])
    else:
        known["path"] = _open_path(arguments[0])
        if name in {"write", "pwrite64", "sendto"}:
            content = _bytes(arguments[1])[: int(result)]
        if name == "pwrite64":
            offset = int(arguments[3])
        if name == "ftruncate":
            offset = int(arguments[1])
    return Call(begun, ended, int(thread), name, **known, content=content, offset=offset, words=words)


def _bytes(argument: str) -> bytes:
    assert not argument.endswith("..."), "strace cut a string: raise -s"
    return _HEX.sub(lambda match: bytes.fromhex(match[1].decode()), argument.strip('"').encode("latin-1"))


def _text(argument: str) -> str:
    return _bytes(argument).decode("utf-8", "surrogateescape")


def _open_path(argument: str) -> str:
    match = _DESCRIPTOR.fullmatch(argument)
    return "" if match is None else _text(match[1])


def _at(folder: str, name: str) -> str:
    return str(PurePosixPath(_open_path(folder)) / _text(name))


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


# --- the disk -------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Inode:
    """Content that is safe, and changes to it that the disk may or may not have taken yet."""

    safe: bytes = b""
    pending: list[tuple[str, int, bytes]] = field(default_factory=list)
    size: int = 0

    def change(self, kind: str, offset: int, content: bytes) -> None:
        self.pending.append((kind, offset, content))
        self.size = offset if kind == "truncate" else max(self.size, offset + len(content))

    def content(self, taken: Iterable[tuple[str, int, bytes]]) -> bytes:
        found = bytearray(self.safe)
        for kind, offset, content in taken:
            if kind == "truncate":
                del found[offset:]
                found.extend(bytes(offset - len(found)))
            else:
                found.extend(bytes(max(0, offset - len(found))))
                found[offset : offset + len(content)] = content
        return bytes(found)


@dataclass(frozen=True, eq=False)
class _Naming:
    """A change of names, whole or not at all: at ``path`` is the inode now (None: nothing), and nothing at ``gone``."""

    path: str
    inode: _Inode | None
    gone: str = ""
    is_folder: bool = False

    def apply(self, names: dict[str, _Inode | None]) -> None:
        if self.gone:
            names.pop(self.gone, None)
        if self.inode is None and not self.is_folder:
            names.pop(self.path, None)
        else:
            names[self.path] = self.inode


class Disk:
    """A disk that keeps, of what was never synced, only what it likes.

    A file's content is safe once the file was synced, its name once its folder was (fsync(2)). Until then each write
    and each change of a name may be there or not, in any combination; one rename is whole or not at all.

    Args:
        base: only what lies below it matters; itself it is there.
        folders: that are there from the beginning.
        found: files that other programs put there, by path; safe when they are first met.
    """

    def __init__(self, base: str, folders: Iterable[str], found: Mapping[str, bytes]) -> None:
        self._base = base
        self._found = found
        self._names: dict[str, _Inode | None] = dict.fromkeys(folders)  # a folder is None
        self._safe: dict[str, _Inode | None] = dict(self._names)
        self._pending: list[_Naming] = []
        self._syncing: dict[Call, tuple[_Inode | None, list[object]]] = {}

    def begin(self, call: Call) -> None:
        """The call begins: what it changes may be seen from now on, a sync covers what was before."""
        if not (call.path.startswith(self._base) or call.target.startswith(self._base)):
            return
        inode = self._names.get(call.path)
        if call.is_sync:
            covered: list[object] = [change for change in self._pending if _folder(change.path) == call.path]
            self._syncing[call] = inode, covered if inode is None else list(inode.pending)
        elif call.is_creation:
            self._create(call, inode)
        elif call.is_write or call.name == "ftruncate":
            self._change(call, inode)
        else:
            self._name(call, inode)

    def _name(self, call: Call, inode: _Inode | None) -> None:
        if call.is_rename or call.name in {"link", "linkat"}:
            moved = inode or self._meet(call.path)
            self._rename(_Naming(call.target, moved, call.path if call.is_rename else ""))
        elif call.name in {"mkdir", "mkdirat"}:
            self._rename(_Naming(call.path, None, is_folder=True))
        elif call.name in {"unlink", "unlinkat", "rmdir"}:
            self._rename(_Naming(call.path, None))

    def _create(self, call: Call, inode: _Inode | None) -> None:
        if inode is None:
            inode = _Inode()
            self._rename(_Naming(call.path, inode))
        if "O_TRUNC" in call.words:
            inode.change("truncate", 0, b"")

    @staticmethod
    def _change(call: Call, inode: _Inode | None) -> None:
        if inode is not None and call.name == "ftruncate":
            inode.change("truncate", call.offset or 0, b"")
        elif inode is not None:
            inode.change("write", inode.size if call.offset is None else call.offset, call.content)

    def end(self, call: Call) -> None:
        """The call has returned: what a sync covers is safe."""
        inode, covered = self._syncing.pop(call, (None, []))
        if inode is not None:
            count = sum(any(change is kept for kept in covered) for change in inode.pending)
            inode.safe, inode.pending = inode.content(inode.pending[:count]), inode.pending[count:]
            return
        for change in self._pending:
            if any(change is kept for kept in covered):
                change.apply(self._safe)
        self._pending = [change for change in self._pending if not any(change is kept for kept in covered)]

    def after_cut(self, chance: random.Random | None, likelihood: float) -> dict[str, bytes]:
        """The files that may be found when the power is back, by path.

        Args:
            chance: decides which of the unsynced changes the disk has; None for none or all of them.
            likelihood: of each unsynced change, 0 to 1.
        """

        def has() -> bool:
            return likelihood >= 1 if chance is None else chance.random() < likelihood

        names = dict(self._safe)
        for change in self._pending:
            if has():
                change.apply(names)
        return {
            path: inode.content([change for change in inode.pending if has()])
            for path, inode in names.items()
            if inode is not None and self._is_reachable(path, names)
        }

    def _is_reachable(self, path: str, names: Mapping[str, _Inode | None]) -> bool:
        folder = _folder(path)
        return folder == self._base or (
            folder.startswith(self._base) and folder in names and self._is_reachable(folder, names)
        )

    def _meet(self, path: str) -> _Inode:
        content = self._found[path]
        inode = _Inode(content, size=len(content))
        self._names[path] = self._safe[path] = inode
        return inode

    def _rename(self, change: _Naming) -> None:
        change.apply(self._names)
        self._pending.append(change)
