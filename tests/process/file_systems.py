"""File systems of every kind to put a root on, each mounted in a namespace of its own and gone with it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from place import wait_until
from samba import CAN_SAMBA
from test_share import CAN_FUSE, CAN_MOUNT, _can

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from test_share import MountSpace

IMAGE_BYTES = 400 << 20
"""Sparse; XFS takes no less than 300 MiB."""

_SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/lib/sftp-server", "/usr/libexec/openssh/sftp-server")
SFTP_SERVER = next((path for path in _SFTP_SERVERS if Path(path).exists()), None)
_KNOWN = Path("/proc/filesystems").read_text().split() if Path("/proc/filesystems").exists() else []
_CAN_LOOP = CAN_MOUNT and Path("/dev/loop-control").exists() and shutil.which("losetup") is not None
_HAS_FUSE = CAN_MOUNT and Path("/dev/fuse").exists()
_CAN_SSHFS = _HAS_FUSE and shutil.which("sshfs") is not None and SFTP_SERVER is not None
_CAN_SMBNETFS = (
    _HAS_FUSE and CAN_SAMBA and shutil.which("smbnetfs") is not None and _can("unshare", "--net", "ip", "link")
)


def _needs_image(kind: str, package: str) -> pytest.MarkDecorator:
    can_make = shutil.which(f"mkfs.{kind}") is not None
    reason = f"needs root, loop devices, {kind} in the kernel, and mkfs.{kind} (Debian package {package})"
    return pytest.mark.skipif(not (_CAN_LOOP and kind in _KNOWN and can_make), reason=reason)


needs_btrfs = _needs_image("btrfs", "btrfs-progs")
needs_overlay = pytest.mark.skipif(not (CAN_MOUNT and "overlay" in _KNOWN), reason="needs root, and overlay mounts")
needs_sshfs = pytest.mark.skipif(not _CAN_SSHFS, reason="needs root, /dev/fuse, sshfs, openssh-sftp-server")
needs_smbnetfs = pytest.mark.skipif(not _CAN_SMBNETFS, reason="needs root, /dev/fuse, samba, smbclient, smbnetfs, ip")

LOCAL = [
    pytest.param("ext4", marks=_needs_image("ext4", "e2fsprogs")),
    pytest.param("xfs", marks=_needs_image("xfs", "xfsprogs")),
    pytest.param("btrfs", marks=needs_btrfs),
    pytest.param("tmpfs", marks=pytest.mark.skipif(not CAN_MOUNT, reason="needs root, and leave to mount")),
    pytest.param("overlay", marks=needs_overlay),
]
REMOTE = [
    pytest.param("bindfs", marks=pytest.mark.skipif(not CAN_FUSE, reason="needs root, /dev/fuse, bindfs")),
    pytest.param("sshfs", marks=needs_sshfs),
]


def mount_local(space: MountSpace, kind: str, base: Path, point: Path) -> None:
    """Mount a new file system of this kind; what it needs beside the mount point is made below ``base``."""
    if kind == "tmpfs":
        space.mount("-t", "tmpfs", "share", point)
    elif kind == "overlay":
        mount_overlay(space, base, point)
    else:
        image = base / f"{kind}.img"
        image.touch()
        os.truncate(image, IMAGE_BYTES)
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True, capture_output=True)
        space.mount("-o", "loop", image, point)


def mount_overlay(space: MountSpace, base: Path, point: Path) -> None:
    """Over ``base/lower``; what is written goes to ``base/layers/upper``, which is on a tmpfs."""
    (base / "lower").mkdir(exist_ok=True)
    layers = base / "layers"
    layers.mkdir()
    space.mount("-t", "tmpfs", "layers", layers)  # an overlay takes no overlay as its upper layer: containers
    for name in ("upper", "work"):
        (space.inside(layers) / name).mkdir()
    options = f"lowerdir={base}/lower,upperdir={layers}/upper,workdir={layers}/work"
    space.mount("-t", "overlay", "-o", options, "overlay", point)


class SecureShell:
    """A folder of another machine through sshfs; its server is sftp-server, on a pair of sockets.

    Args:
        space: where it is mounted.
        backing: the folder.
        point: the mount point.
        options: for sshfs, each as after ``-o``.
    """

    def __init__(self, space: MountSpace, backing: Path, point: Path, *options: str) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.server = subprocess.Popen(
                [str(SFTP_SERVER)], stdin=ours.fileno(), stdout=ours.fileno(), stderr=subprocess.DEVNULL
            )
            space._servers.append(self.server)
            words = [word for option in ("passive", *options) for word in ("-o", option)]
            self.client = subprocess.Popen(
                [*space.launcher, "sshfs", "-f", *words, f"server:{backing}", str(point)],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
            )
            space._servers.append(self.client)
        seen = space.inside(point)
        before = point.stat().st_dev
        wait_until(lambda: seen.stat().st_dev != before, "the mount")

    def end(self, *, of: str) -> None:
        """The server or the client dies on the spot."""
        victim = self.server if of == "server" else self.client
        victim.kill()
        victim.wait()


class LonelyNetwork:
    """A network namespace with nothing but a loopback of its own, so that every port is free."""

    def __init__(self) -> None:
        command = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec cat"]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.launcher = ("nsenter", f"--net=/proc/{self._holder.pid}/ns/net")

    def __enter__(self) -> Self:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write(b"there\n")
        self._holder.stdin.flush()
        assert self._holder.stdout.readline() == b"there\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()


def mount_smb(space: MountSpace, network: LonelyNetwork, base: Path, point: Path) -> subprocess.Popen[bytes]:
    """Mount all SMB servers of this network with smbnetfs; shares are at ``point/ADDRESS/SHARE``."""
    own = base / ".smb"
    own.mkdir(mode=0o700, exist_ok=True)
    for name, text in (
        ("smbnetfs.conf", 'auth "guest" ""\n'),
        ("smb.conf", "[global]\nclient min protocol = SMB2\n"),
    ):
        (own / name).write_text(text)
        (own / name).chmod(0o600)
    command = [*space.launcher, *network.launcher, "smbnetfs", str(point), "-f", "-o", "direct_io"]
    client = subprocess.Popen(
        command, env=os.environ | {"HOME": str(base)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    space._servers.append(client)
    seen = space.inside(point)
    before = point.stat().st_dev
    wait_until(lambda: seen.stat().st_dev != before, "the mount")
    return client


@contextmanager
def mount_point(tmp_path: Path) -> Iterator[Path]:
    """An empty folder to mount on, which must be as empty when all is over."""
    point = tmp_path / "root"
    point.mkdir()
    yield point
    assert list(point.iterdir()) == []
