"""What counts as a drop, and what identifies the file that was read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.core.record import dataclass

if TYPE_CHECKING:
    import os

    from daemon.core.batch import Batch
    from daemon.core.problem import Problem


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies one state of one file (stat(2)); ctime is left out where a rename has come between."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Fingerprint:
        """The fingerprint of a stat result."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def is_same_but_moved(self, other: Fingerprint) -> bool:
        """The same file with the same content, though it may have been renamed (which sets ctime)."""
        return (self.device, self.inode, self.size, self.mtime_ns) == (
            other.device,
            other.inode,
            other.size,
            other.mtime_ns,
        )


@dataclass(frozen=True, slots=True)
class Drop:
    """A file in inbox/ that has settled and was read once.

    Attributes:
        name: path relative to inbox/, with ``/``; bytes that are not UTF-8 as surrogates (os.fsdecode).
        fingerprint: of the open file that was read.
        content: the bytes that were read and parsed; empty where the file was too large to be read.
        digest: SHA-256 of the content, hex; empty where the file was too large.
        batch: the requests, when every one is valid.
        problems: what is wrong; empty exactly when ``batch`` is there.
    """

    name: str
    fingerprint: Fingerprint
    content: bytes
    digest: str
    batch: Batch | None
    problems: tuple[Problem, ...] = ()
