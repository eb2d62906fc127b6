"""Which folder, and on what."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from daemon.edges import mounts

MOUNTINFO = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:50 / /mnt/jobs\040of\134anna\012 rw - cifs //server/my\040share rw
41 27 0:51 / /mnt/ssh rw - fuse.sshfs anna@server: rw
42 27 0:52 / /mnt/odd rw master:5 propagate_from:2 - nfs4 server:/x rw
"""


def test_two_paths_to_one_folder_have_one_identity(tmp_path: Path) -> None:
    """Links are followed: it is the folder that counts."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert mounts.identity(tmp_path / "a") == mounts.identity(tmp_path / "link")


def test_a_folder_made_again_has_another_identity(tmp_path: Path) -> None:
    """Renamed away and a new one made under its name."""
    folder = tmp_path / "a"
    folder.mkdir()
    before = mounts.identity(folder)
    folder.rename(tmp_path / "b")
    folder.mkdir()
    assert mounts.identity(folder) != before
    assert mounts.identity(tmp_path / "b") == before


def test_a_path_that_leads_nowhere_raises(tmp_path: Path) -> None:
    """The caller decides what that means."""
    for ask in (mounts.identity, mounts.file_system):
        with pytest.raises(FileNotFoundError):
            ask(tmp_path / "gone")


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    """It is asked at every scan."""
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208 - the count of descriptors, not a folder's content
    for _ in range(10):
        mounts.identity(tmp_path)
        mounts.file_system(tmp_path)
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208 - as above


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_the_mount_under_a_path_is_found() -> None:
    """Not by the longest prefix, but by the mount that the kernel itself went through."""
    found = mounts.file_system(Path("/proc/self"))
    assert (found.type, found.mount_point, found.is_local) == ("proc", "/proc", False)


@pytest.mark.parametrize(
    ("mount_id", "expected"),
    [
        (27, mounts.FileSystem("ext4", "/dev/vda", "/", is_local=True)),
        (40, mounts.FileSystem("cifs", "//server/my share", "/mnt/jobs of\\anna\n", is_local=False)),
        (41, mounts.FileSystem("fuse.sshfs", "anna@server:", "/mnt/ssh", is_local=False)),
        (42, mounts.FileSystem("nfs4", "server:/x", "/mnt/odd", is_local=False)),
        (2, mounts.FileSystem("unknown", "", "", is_local=False)),
    ],
)
def test_mountinfo_is_read_as_proc_5_says(mount_id: int, expected: mounts.FileSystem) -> None:
    """Any number of optional fields, octal escapes; a mount that is not shown is not trusted to be local."""
    assert mounts.find_mount(MOUNTINFO, mount_id) == expected
