"""Which file system a path lies on, and which folder it really is.

Linux tells both by the mount id of an ``O_PATH`` descriptor (proc(5): ``fdinfo``, ``mountinfo``): ``st_dev``
is not the mount's on btrfs, and ``f_type`` is the same for everything behind FUSE.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC: Final = Path("/proc/self")

# Where every change is made by this machine's kernel, so that it tells of every change. Anything else is
# treated as a network: a virtual machine's shared folder (9p, virtiofs, vboxsf) changes on the host's side.
_LOCAL_TYPES: Final = frozenset(
    {
        "bcachefs",
        "btrfs",
        "erofs",
        "exfat",
        "ext2",
        "ext3",
        "ext4",
        "f2fs",
        "fuseblk",
        "hfs",
        "hfsplus",
        "iso9660",
        "jfs",
        "msdos",
        "nilfs2",
        "ntfs",
        "ntfs3",
        "overlay",
        "ramfs",
        "reiserfs",
        "rootfs",
        "squashfs",
        "tmpfs",
        "udf",
        "vfat",
        "xfs",
        "zfs",
    }
)


@dataclass(frozen=True, slots=True)
class FolderIdentity:
    """Which folder a path leads to; two that are equal are the same folder on the same mount.

    ``mount_id`` is 0 where the system does not tell.
    """

    device: int
    inode: int
    mount_id: int


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The file system that a path lies on.

    Attributes:
        type: as in mountinfo, such as ``ext4``, ``cifs``, ``fuse.sshfs``; ``unknown`` where it is not told.
        source: the device or the share.
        mount_point: where it is mounted.
        is_local: every change to it is made on this machine.
    """

    type: str
    source: str
    mount_point: str
    is_local: bool


def identity(path: Path) -> FolderIdentity:
    """The identity of the folder that the path leads to, links followed.

    Raises:
        OSError: there is none, or it may not be reached.
    """
    with _descriptor(path) as descriptor:
        stat = os.fstat(descriptor)
        return FolderIdentity(stat.st_dev, stat.st_ino, _mount_id(descriptor) or 0)


def file_system(path: Path) -> FileSystem:
    """The file system that the path lies on, links followed.

    A mount that Linux does not show is called not local; other systems do not tell, and are called local.

    Raises:
        OSError: there is nothing, or it may not be reached.
    """
    with _descriptor(path) as descriptor:
        mount_id = _mount_id(descriptor)
    if mount_id is None:
        return FileSystem("unknown", "", "", is_local=sys.platform != "linux")
    try:
        mountinfo = (_PROC / "mountinfo").read_bytes()
    except OSError:
        mountinfo = b""
    return find_mount(mountinfo, mount_id)


def find_mount(mountinfo: bytes, mount_id: int) -> FileSystem:
    """The mount with this id in the text of ``/proc/self/mountinfo`` (proc(5))."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(b" - ")
        fields, ending = before.split(b" "), after.split(b" ")
        if fields[0] == b"%d" % mount_id:
            kind = _unescaped(ending[0])
            return FileSystem(kind, _unescaped(ending[1]), _unescaped(fields[4]), kind in _LOCAL_TYPES)
    return FileSystem("unknown", "", "", is_local=False)


@contextmanager
def _descriptor(path: Path) -> Iterator[int]:
    descriptor = os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _mount_id(descriptor: int) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        text = (_PROC / "fdinfo" / str(descriptor)).read_bytes()
    except OSError:  # no /proc, as in a bare chroot
        return None
    found = re.search(rb"^mnt_id:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def _unescaped(field: bytes) -> str:
    """Space, tab, newline, and backslash are written as three octal digits."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8) & 0xFF]), field))
