"""The folders: every move of a job file or a video, durable and never over anything.

A write that matters is followed by fsync of the file and of its folder, in that order, before anybody is told
(fsync(2)). A move never overwrites: ``renameat2(RENAME_NOREPLACE)``, else link and unlink, else a placeholder made
with O_EXCL.
Nothing is created below a root whose marker is missing although it was seen before: that is a bare mount point.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from daemon.core.display import display
from daemon.core.drop import Fingerprint
from daemon.core.errors import (
    DropChanged,
    DropVanished,
    FilingDeferred,
    LedgerRefused,
    NameTaken,
    RootUnavailable,
)
from daemon.core.job import Video
from daemon.core.video_name import numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MARKER: Final = ".chromadrop"
RESULT: Final = ".result.json"
ERROR: Final = ".error.txt"
PAGE_MARK: Final = b'<meta name="generator" content="chromadrop">'
_RENAME_NOREPLACE: Final = 1
_AT_FDCWD: Final = -100
_NO_RENAMEAT2: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
_NO_LINK: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
_NUMBER: Final = re.compile(r" \((\d{1,9})\)")


@dataclass(frozen=True, slots=True)
class Places:
    """The five folders and the root that they lie in; absolute paths."""

    root: Path
    inbox: Path
    processing: Path
    done: Path
    failed: Path
    videos: Path


@dataclass(frozen=True, slots=True)
class Filing:
    """A settled job file and what is to be written beside it.

    Attributes:
        name: path relative to inbox/, as it was dropped.
        processing_name: path relative to processing/.
        is_done: to done/, else to failed/.
        marker: tells our result file from others'; stands in it as ``"id"``.
        result: the result file's bytes.
        explain: the error file's bytes, given the job file's final path relative to failed/; None where there is
            nothing to explain.
        content: the job file's bytes, should it have been deleted from processing/.
        is_retry: an earlier attempt may have got half way.
    """

    name: str
    processing_name: str
    is_done: bool
    marker: str
    result: bytes
    explain: Callable[[str], bytes] | None
    content: bytes
    is_retry: bool


class Spool:
    """The folders of one root.

    Args:
        places: where they are.
        ledger_id: stands in the root's marker, so that a second ledger cannot take the same root.
        was_seen: the root's marker was seen by this ledger before: without it the root is unmounted, not new.
    """

    def __init__(self, places: Places, *, ledger_id: str, was_seen: bool) -> None:
        self.places = places
        self._ledger_id = ledger_id
        self._was_seen = was_seen
        self._is_prepared = False
        self._preparing = threading.Lock()
        self._downloads = places.processing / ".downloads"

    # --- the root ---------------------------------------------------------------------------------

    @property
    def was_seen(self) -> bool:
        """Whether the root's marker has ever been seen by this ledger."""
        return self._was_seen

    def check_root(self) -> None:
        """Make sure that the root is there and ours; prepare it the first time.

        Raises:
            RootUnavailable: gone, unmounted, or unreadable.
            LedgerRefused: the root belongs to another ledger, or its folders lie on several file systems.
        """
        try:
            self._read_marker()
            with self._preparing:
                if not self._is_prepared:
                    self._prepare()
                    self._is_prepared = True
        except OSError as error:
            raise RootUnavailable(f"{error.filename or self.places.root}: {error.strerror or error}") from error

    def _read_marker(self) -> None:
        marker = self.places.root / MARKER
        try:
            text = marker.read_text("utf-8")
        except FileNotFoundError:
            if not self.places.root.is_dir():
                raise RootUnavailable(f"{self.places.root} is not there") from None
            if self._was_seen:
                raise RootUnavailable(
                    f"{marker} is missing although it was there before: is the share not mounted?"
                ) from None
            return
        except UnicodeDecodeError:
            text = ""
        if not text and self._is_marker_unfinished():
            return
        if self._marker_ledger(text) != self._ledger_id:
            raise LedgerRefused(
                f"{marker} says that this root belongs to another ledger; two ledgers would pay twice. "
                f"Use that ledger's state folder (folders.state), or, if it is gone for good, remove {marker} "
                "and look through processing/ first: what lies there may have been paid"
            )
        self._was_seen = True

    def _is_marker_unfinished(self) -> bool:
        """Stopped between our placeholder and the rename onto it."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            scratch = self.places.root / f"{MARKER}.new"
            return self._marker_ledger(scratch.read_text("utf-8")) == self._ledger_id
        return False

    @staticmethod
    def _marker_ledger(text: str) -> str | None:
        with contextlib.suppress(ValueError):
            found = json.loads(text)
            if isinstance(found, dict):
                return str(found.get("ledger"))
        return None

    def _prepare(self) -> None:
        places = self.places
        for folder in (places.inbox, places.processing, places.done, places.failed, places.videos):
            _make_folder(folder)
        self._prove_one_file_system()
        self._downloads = self._choose_downloads()
        scratch = places.root / f"{MARKER}.new"
        if not self._was_seen:
            if self._is_marker_unfinished():
                _remove_placeholder(places.root / MARKER)
            content = json.dumps({"ledger": self._ledger_id, "made_by": "chromadrop"}) + "\n"
            _write_durably(scratch, content.encode())
            move(scratch, places.root / MARKER)
            _sync_folder(places.root)
            self._was_seen = True
        scratch.unlink(missing_ok=True)  # stopped between link and unlink

    def _prove_one_file_system(self) -> None:
        # Two bind mounts of one file system have the same st_dev and still refuse: only a real rename tells.
        probe = self.places.inbox / f".chromadrop-probe-{os.getpid()}"
        target = self.places.processing / probe.name
        probe.write_bytes(b"")
        try:
            probe.rename(target)
        except OSError as error:
            probe.unlink(missing_ok=True)
            if error.errno == errno.EXDEV:
                raise LedgerRefused(
                    f"{self.places.inbox} and {self.places.processing} are on different file systems, so that a job "
                    "file cannot be claimed in one step: set folders.processing to a folder beside inbox/"
                ) from None
            raise
        target.unlink()

    def _choose_downloads(self) -> Path:
        ours = self.places.processing / ".downloads"
        _make_folder(ours)
        probe = ours / f"probe-{os.getpid()}"
        target = self.places.videos / f".chromadrop-probe-{os.getpid()}"
        probe.write_bytes(b"")
        try:
            probe.rename(target)
        except OSError as error:
            probe.unlink(missing_ok=True)
            if error.errno != errno.EXDEV:
                raise
            beside = self.places.videos / ".downloads"
            _make_folder(beside)
            return beside
        target.unlink()
        return ours

    # --- claim ------------------------------------------------------------------------------------

    def claim(
        self, name: str, processing_name: str, fingerprint: Fingerprint, digest: str, *, is_retry: bool = False
    ) -> None:
        """Move a drop from inbox/ to processing/; the same call again finds it moved.

        Args:
            name: path relative to inbox/.
            processing_name: path relative to processing/.
            fingerprint: of the file that was read.
            digest: SHA-256 of what was read, empty when it was too large.
            is_retry: an earlier attempt may have got half way.

        Raises:
            DropVanished: it is in neither place.
            DropChanged: it is another file than the one that was read; it lies in inbox/ again.
            NameTaken: something else lies in processing/ under that name.
            FilingDeferred: the file system refused for now.
            RootUnavailable: the root is away.
        """
        self.check_root()
        source, target = self.places.inbox / name, self.places.processing / processing_name
        with _translated(f"move {display(name)} to processing/"):
            if is_retry and os.path.lexists(source):
                _remove_placeholder(target)
            if not self._was_moved(source, target, fingerprint, digest):
                _make_folder(target.parent)
                if is_retry and os.path.lexists(target) and not os.path.lexists(source):
                    # Killed after the move, before it was seen that this is not what was read.
                    self._put_back(target, source)
                    raise DropChanged(f"{display(name)} was replaced while it was claimed")
                try:
                    move(source, target)
                except FileNotFoundError:
                    self._tidy(self.places.processing, processing_name)
                    raise DropVanished(f"{display(name)} is not in inbox/ any more") from None
                except FileExistsError:
                    raise NameTaken(f"processing/{display(processing_name)} is taken") from None
                if not self._is_what_was_read(target, fingerprint, digest):
                    self._put_back(target, source)
                    raise DropChanged(f"{display(name)} was replaced while it was claimed")
            _sync_folder(target.parent)
            with contextlib.suppress(FileNotFoundError):
                _sync_folder(source.parent)

    def _was_moved(self, source: Path, target: Path, fingerprint: Fingerprint, digest: str) -> bool:
        """Whether an earlier attempt did it; a stray that merely looks alike does not count."""
        if not os.path.lexists(target):
            return False
        if not os.path.lexists(source):
            return self._is_what_was_read(target, fingerprint, digest)
        if _is_one_file(source, target):  # stopped between link and unlink
            if not self._is_what_was_read(target, fingerprint, digest):
                target.unlink()
                raise DropChanged(f"{display(source.name)} was changed while it was claimed")
            source.unlink()
            return True
        return fingerprint.is_same_but_moved(Fingerprint.of(target.lstat()))

    @staticmethod
    def _is_what_was_read(target: Path, fingerprint: Fingerprint, digest: str) -> bool:
        found = target.lstat()
        if fingerprint.is_same_but_moved(Fingerprint.of(found)):
            return True
        # Numbers of network file systems change when they are mounted again; the content does not.
        may_be = bool(digest) and stat.S_ISREG(found.st_mode) and found.st_size == fingerprint.size
        return may_be and _digest(target) == digest

    @staticmethod
    def _put_back(target: Path, source: Path) -> None:
        for number in _counting():
            try:
                move(target, source.with_name(numbered(source.name, number)))
            except FileExistsError:
                continue
            return

    # --- file away --------------------------------------------------------------------------------

    def file_away(self, filing: Filing) -> str:
        """Move a settled job file to done/ or failed/, its result and error files first.

        The result file carries the batch's id: a second attempt finds by it how far the first one got. The job file
        comes last, so that whoever waits for it in done/ finds all the rest.

        Returns:
            Where it lies now, relative to the root, with ``/``.

        Raises:
            FilingDeferred: the file system refused for now (disk full, read-only); the same call may be made again.
            RootUnavailable: the root is away.
        """
        self.check_root()
        base = self.places.done if filing.is_done else self.places.failed
        wanted = base / filing.name
        with _translated(f"file {display(filing.name)} away"):
            _make_folder(wanted.parent)
            if filing.is_retry and os.path.lexists(_scratch(wanted, filing.marker)):
                self._remove_result_placeholders(wanted)
            number = self._filed_number(wanted, filing.marker) if filing.is_retry else None
            if number is None:
                number = self._free_number(wanted)
            while not self._file_as(filing, _numbered_path(wanted, number)):
                number += 1
            target = _numbered_path(wanted, number)
            if filing.is_retry:
                _scratch(target, filing.marker).unlink(missing_ok=True)
            _sync_folder(target.parent)
            with contextlib.suppress(FileNotFoundError):
                _sync_folder((self.places.processing / filing.processing_name).parent)
        self._tidy(self.places.processing, filing.processing_name)
        return self.relative(target)

    def _file_as(self, filing: Filing, target: Path) -> bool:
        """Write and move everything under this name; False where the name is somebody else's."""
        result = target.with_name(target.name + RESULT)
        error = target.with_name(target.name + ERROR)
        is_ours = _marker_in(result) == filing.marker
        if not is_ours and any(os.path.lexists(path) for path in (target, result, error)):
            return False
        scratch = _scratch(target, filing.marker)
        if not is_ours:
            self._restore(filing)
            _write_durably(scratch, filing.result)
            if not _moved(scratch, result):
                return False
        if filing.explain is not None:
            _write_durably(scratch, filing.explain(target.relative_to(self.places.failed).as_posix()))
            scratch.replace(error)
        _sync_folder(target.parent)  # by the result a later attempt knows that the job file is on its way
        if self._move_job_file(filing, target, may_be_there=is_ours):
            return True
        for path in (error, result):
            path.unlink(missing_ok=True)
        return False

    def _move_job_file(self, filing: Filing, target: Path, *, may_be_there: bool) -> bool:
        source = self.places.processing / filing.processing_name
        if may_be_there and os.path.lexists(source):
            _remove_placeholder(target)
        try:
            move(source, target)
        except FileExistsError:
            if not (may_be_there and _is_same_content(source, target)):
                return False
            _sync_folder(target.parent)  # stopped between copy and unlink
            source.unlink()
        except FileNotFoundError:
            # Not in processing/, though it was there before our result was: an earlier attempt has moved it, and
            # perhaps somebody has taken it from there since.
            if not may_be_there:
                raise
        return True

    def _restore(self, filing: Filing) -> None:
        """Write a job file that somebody has deleted from processing/ anew."""
        source = self.places.processing / filing.processing_name
        if os.path.lexists(source):
            return
        self.check_root()
        _make_folder(source.parent)
        scratch = source.with_name(f".{filing.marker}.part")
        _write_durably(scratch, filing.content)
        scratch.replace(source)
        _sync_folder(source.parent)

    @staticmethod
    def _remove_result_placeholders(wanted: Path) -> None:
        """Empty result files without a job file: an earlier attempt was stopped before the rename onto its own."""
        for path in list(wanted.parent.iterdir()):
            name = path.name.removesuffix(RESULT)
            numbers = ["1", *_NUMBER.findall(name)]
            is_family = any(_numbered_path(wanted, int(number)).name == name for number in numbers)
            if path.name.endswith(RESULT) and is_family and not os.path.lexists(path.with_name(name)):
                _remove_placeholder(path)

    @staticmethod
    def _filed_number(wanted: Path, marker: str) -> int | None:
        """The number under which an earlier attempt left our result file.

        The folder is listed, for numbers may be missing in between: people move failed files back into inbox/.
        """
        names = [path.name for path in wanted.parent.iterdir() if path.name.endswith(RESULT)]
        pairs = {(int(number), name) for name in names for number in ["1", *_NUMBER.findall(name)]}
        for number, name in sorted(pairs, reverse=True):
            path = _numbered_path(wanted, number)
            if path.name + RESULT == name and _marker_in(path.with_name(name)) == marker:
                return number
        return None

    def _free_number(self, wanted: Path) -> int:
        """A number whose names are free as far as can be seen: galloping, for those who drop one name for ever."""

        def is_taken(number: int) -> bool:
            path = _numbered_path(wanted, number)
            beside = (path, path.with_name(path.name + RESULT), path.with_name(path.name + ERROR))
            return any(os.path.lexists(name) for name in beside)

        return first_free(is_taken)

    def clear(self, file_id_marker: str, filed_as: str, *, is_continued: bool = True) -> None:
        """Take away the result and error files of a failed job file that was dropped again.

        Only files that carry that batch's id are touched.

        Args:
            file_id_marker: the earlier batch's marker.
            filed_as: the earlier job file, relative to the root.
            is_continued: jobs of it go on; else nothing is taken from a job file that still lies there.

        Raises:
            FilingDeferred: the file system refused for now.
            RootUnavailable: the root is away.
        """
        self.check_root()
        path = self.places.root / filed_as
        if not is_continued and os.path.lexists(path):
            return
        result = path.with_name(path.name + RESULT)
        with _translated(f"take away {display(filed_as)}{RESULT}"):
            if _marker_in(result) == file_id_marker:
                path.with_name(path.name + ERROR).unlink(missing_ok=True)
                result.unlink(missing_ok=True)
                _sync_folder(path.parent)

    # --- videos -----------------------------------------------------------------------------------

    def part(self, job_id: int) -> Path:
        """Where the unfinished download of a job lies; its folder is there.

        Raises:
            RootUnavailable: the root is away.
            FilingDeferred: the file system refused for now.
        """
        self.check_root()
        with _translated("make the folder for downloads"):
            _make_folder(self._downloads)
        return self._downloads / f"{self._ledger_id}-{job_id}.part"

    def publish(self, job_id: int, folder: str, name: str, *, size: int, sha256: str) -> Video:
        """Make a complete, checked, synced download visible in videos/.

        A note beside the part says where it is about to appear, so that a daemon which was killed in between finds it
        (`published`) instead of downloading it a second time under a second name.

        Args:
            job_id: whose part it is.
            folder: below videos/, with ``/``; empty for videos/ itself.
            name: the wanted file name, safe already.
            size: bytes.
            sha256: hex.

        Raises:
            FilingDeferred: the file system refused for now.
            RootUnavailable: the root is away.
        """
        part = self.part(job_id)
        wanted = self.places.videos / folder / name
        with _translated(f"move the video {display(name)} to videos/"):
            _make_folder(wanted.parent)
            noted = _noted(part)
            if noted is not None:
                _remove_placeholder(self.places.root / noted.path)
            number = first_free(lambda n: os.path.lexists(_numbered_path(wanted, n)))
            while True:
                target = _numbered_path(wanted, number)
                video = Video(self.relative(target), size, sha256)
                note = json.dumps({"path": video.path, "bytes": size, "sha256": sha256}).encode()
                _write_durably(part.with_suffix(".note"), note)
                _sync_folder(part.parent)
                if _moved(part, target):
                    break
                number += 1
            _sync_folder(target.parent)
        return video

    def published(self, job_id: int) -> Video | None:
        """The video that a daemon made visible just before it was killed, if that is what happened.

        Raises:
            RootUnavailable: the root is away.
            FilingDeferred: the file system refused for now.
        """
        part = self.part(job_id)
        video = _noted(part)
        if video is None:
            return None
        target = self.places.root / video.path
        with contextlib.suppress(OSError):
            if os.path.lexists(part):
                if not _is_one_file(part, target):
                    return None
                part.unlink()  # stopped between link and unlink
            if target.stat().st_size == video.bytes and _digest(target) == video.sha256:
                _sync_folder(target.parent)
                return video
        return None

    def discard(self, job_id: int) -> None:
        """Remove what a download left behind, once the ledger knows the end of its job; nothing matters if it fails."""
        part = self._downloads / f"{self._ledger_id}-{job_id}.part"
        for path in (part, *(part.with_suffix(end) for end in (".json", ".json.tmp", ".note"))):
            with contextlib.suppress(OSError):
                path.unlink()

    def discard_all_but(self, job_ids: frozenset[int]) -> None:
        """Remove our own unfinished downloads of jobs that have ended; nothing matters if it fails."""
        prefix = f"{self._ledger_id}-"
        with contextlib.suppress(OSError):
            for path in list(self._downloads.iterdir()):
                number = path.name.removeprefix(prefix).partition(".")[0]
                if path.name.startswith(prefix) and number.isdigit() and int(number) not in job_ids:
                    self.discard(int(number))

    # --- the rest ---------------------------------------------------------------------------------

    def strays(self, known: frozenset[str]) -> list[str]:
        """Files in processing/ that the ledger does not know; they are left alone, for they may have been paid.

        Args:
            known: names relative to processing/ that it does know.
        """
        found = []
        for folder, folders, files in os.walk(self.places.processing):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                path = (Path(folder) / name).relative_to(self.places.processing).as_posix()
                if path not in known and not name.startswith("."):
                    found.append(path)
        return sorted(found)

    # --- pages ------------------------------------------------------------------------------------

    def put_page(self, name: str, content: bytes) -> None:
        """Put a page for people into the root, in the place of the one before, whole from the first moment.

        Args:
            name: of the file, such as ``models.html``.
            content: has `PAGE_MARK` near its beginning, by which a page of ours is known: no other file is replaced.

        Raises:
            RootUnavailable: the root is away.
            LedgerRefused: it is another's.
            FilingDeferred: the page cannot be written, or a file that is not ours has its name.
        """
        self.check_root()
        page = self.places.root / name
        with _translated(f"write {name}"):
            if not _is_page_of_ours(page):
                raise FilingDeferred(f"{page} is no page of chromadrop's: move it away, and the page can be written")
            scratch = self.places.root / f".{name}.{self._ledger_id}"
            _write_durably(scratch, content)
            scratch.replace(page)

    def relative(self, path: Path) -> str:
        """A path as people and the ledger see it: relative to the root where it lies below it."""
        with contextlib.suppress(ValueError):
            return path.relative_to(self.places.root).as_posix()
        return path.as_posix()

    @staticmethod
    def _tidy(base: Path, name: str) -> None:
        """Remove the mirrored subfolders that have become empty."""
        folder = (base / name).parent
        while folder != base and base in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


# --- moving without overwriting -----------------------------------------------------------------------


def move(source: Path, target: Path) -> None:
    """Rename, never over anything; across file systems by a copy that appears complete.

    Raises:
        FileExistsError: the target is there; nothing was changed.
        FileNotFoundError: the source is not there.
        OSError: whatever else the file system says; the source is still there.
    """
    try:
        _rename_no_replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(source, target)


def _rename_no_replace(source: Path, target: Path) -> None:
    try:
        _renameat2(source, target)
    except OSError as error:
        if error.errno not in _NO_RENAMEAT2:
            raise
    else:
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        # Stopped between link and unlink the last time: both names are the one file.
        if not _is_one_file(source, target):
            raise
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _rename_over_placeholder(source, target)
        return
    source.unlink()


def _rename_over_placeholder(source: Path, target: Path) -> None:
    source.lstat()
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    try:
        source.replace(target)
    except BaseException:
        # A network file system may say no to what it has done (rename(2), NFS): then this is no placeholder any more.
        if os.path.lexists(source):
            target.unlink(missing_ok=True)
        raise


def _remove_placeholder(target: Path) -> None:
    """Remove what an earlier attempt left where it was about to move a file; whatever holds a byte stays."""
    with contextlib.suppress(FileNotFoundError):
        found = target.lstat()
        if stat.S_ISREG(found.st_mode) and found.st_size == 0:
            target.unlink()


def _is_one_file(one: Path, other: Path) -> bool:
    first, second = one.lstat(), other.lstat()
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _load_renameat2() -> Callable[..., int] | None:
    try:
        found: Any = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    found.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    found.restype = ctypes.c_int
    return found  # type: ignore[no-any-return]  # ctypes has no types


_C_RENAMEAT2: Final = _load_renameat2()


def _renameat2(source: Path, target: Path) -> None:
    if _C_RENAMEAT2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(source))
    paths = os.fsencode(source), os.fsencode(target)
    if _C_RENAMEAT2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(source), None, str(target))


def _copy_across(source: Path, target: Path) -> None:
    source.lstat()  # a source that is not there comes first, as with rename(2)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    scratch = target.with_name(f".{hashlib.sha256(os.fsencode(source)).hexdigest()[:16]}.part")
    scratch.unlink(missing_ok=True)
    try:
        with _open_plain(source) as old, scratch.open("xb") as new:
            while block := old.read(1 << 20):
                new.write(block)
            new.flush()
            os.fsync(new.fileno())
        _rename_no_replace(scratch, target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)
    source.unlink()


@contextlib.contextmanager
def _open_plain(path: Path) -> Iterator[Any]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with os.fdopen(descriptor, "rb") as opened:
        yield opened


def _moved(source: Path, target: Path) -> bool:
    try:
        move(source, target)
    except FileExistsError:
        return False
    return True


# --- small things ---------------------------------------------------------------------------------


def first_free(is_taken: Callable[[int], bool]) -> int:
    """A number from 1 on that is not taken, in O(log n) looks: it gallops up, then halves back.

    Where numbers are missing in between it may not be the lowest; it is always free.
    """
    if not is_taken(1):
        return 1
    taken, step = 1, 1
    while is_taken(taken + step):
        taken += step
        step *= 2
    free = taken + step
    while free - taken > 1:
        middle = (taken + free) // 2
        if is_taken(middle):
            taken = middle
        else:
            free = middle
    return free


def _counting() -> Iterator[int]:
    number = 1
    while True:
        yield number
        number += 1


def _numbered_path(wanted: Path, number: int) -> Path:
    # Room for the longest suffix, so that NAME, NAME.result.json, and NAME.error.txt all fit in 255 bytes.
    return wanted.with_name(numbered(wanted.name, number, max_bytes=255 - len(RESULT)))


def _scratch(target: Path, marker: str) -> Path:
    return target.with_name(f".{marker}.part")


def _noted(part: Path) -> Video | None:
    """Where a download was about to appear, if it ever was."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(part.with_suffix(".note").read_bytes())
        return Video(str(found["path"]), int(found["bytes"]), str(found["sha256"]))
    return None


def _is_page_of_ours(page: Path) -> bool:
    """Whether nothing of that name is there, or a page of an earlier turn."""
    try:
        with _open_plain(page) as opened:
            return PAGE_MARK in opened.read(4096)
    except FileNotFoundError:
        return True


def _marker_in(result: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError, RecursionError):
        with _open_plain(result) as opened:
            found = json.loads(opened.read(64 << 20))
        if isinstance(found, dict):
            return str(found.get("id"))
    return None


def _digest(path: Path) -> str:
    with _open_plain(path) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _is_same_content(one: Path, other: Path) -> bool:
    try:
        return one.lstat().st_size == other.lstat().st_size and _digest(one) == _digest(other)
    except FileNotFoundError:
        return False


def _write_durably(path: Path, content: bytes) -> None:
    # Never into a file that is there: stopped between link and unlink, it is another file's second name.
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    except OSError as error:
        # Some network file systems cannot sync a folder and say so; there is nothing better to be had.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF}:
            raise
    finally:
        os.close(folder)


def _make_folder(path: Path) -> None:
    if path.is_dir():
        return
    _make_folder(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    _sync_folder(path.parent)


@contextlib.contextmanager
def _translated(deed: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FilingDeferred(f"cannot {deed}: {error.strerror or error}") from error
