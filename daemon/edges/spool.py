"""The folders: every move of a job file or a video, durable and never over anything.

A write that matters is followed by fsync of the file and of its folder, in that order, before anybody is told
(fsync(2)). A move never overwrites: ``renameat2(RENAME_NOREPLACE)``, else link and unlink, else a placeholder made
with O_EXCL.
Nothing is created below a root whose marker is missing although it was seen before: that is a bare mount point.
What we make for people has its mode and group before it has its name: never too open, never closed to them.
Producers may write in most of these folders, so nothing in them is trusted for its name: no file is opened through a
link, none of ours is taken from another user, and no folder that another user has put a link in place of is entered.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import grp
import hashlib
import json
import os
import re
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from daemon.core.display import display
from daemon.core.drop import Fingerprint
from daemon.core.drop_name import RESULT_TABLE
from daemon.core.errors import (
    DropChanged,
    DropVanished,
    FilingDeferred,
    LedgerRefused,
    NameTaken,
    RootUnavailable,
)
from daemon.core.guide import SCHEMA, SCHEMA_MARK
from daemon.core.job import Video
from daemon.core.record import dataclass
from daemon.core.video_name import numbered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from daemon.core.guide import Guide

MARKER: Final = ".chromadrop"
RESULT: Final = ".result.json"
ERROR: Final = ".error.txt"
PAGE_MARK: Final = b'<meta name="generator" content="chromadrop">'
_RENAME_NOREPLACE: Final = 1
_AT_FDCWD: Final = -100
_NO_RENAMEAT2: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})
_NO_LINK: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL})
_NO_PERMISSIONS: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EOVERFLOW}
)  # exFAT, CIFS, a group that is not ours or (user_namespaces(7)) not seen, a system call that the service may not make
_NUMBER: Final = re.compile(r" \((\d{1,9})\)")
_CLOSED: Final = 0o750  # processing/: others may look, and never write
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_SMALL: Final = 64 * 1024
_NO_NOTE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EPERM, errno.EISDIR, errno.ENXIO}
)
"""There is none, or what has its name is a link, a pipe, a folder, or another user's."""


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
class Sharing:
    """Who may do what with what we make.

    Attributes:
        videos_mode: permission bits of videos, at most 0o777; result and error files, pages, and job files that are
            ours have its read and write bits. None: what the umask leaves.
        folders_mode: permission bits of folders, at most 0o7777. None: what the umask leaves.
        group: name or number of the group of all of these. None: that of the folder where it is setgid, else the
            process's own.
    """

    videos_mode: int | None = None
    folders_mode: int | None = None
    group: str | None = None


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
        table: the bytes of a table with what became of each row, where the job file is one.
    """

    name: str
    processing_name: str
    is_done: bool
    marker: str
    result: bytes
    explain: Callable[[str], bytes] | None
    content: bytes
    is_retry: bool
    table: bytes | None = None


class Spool:
    """The folders of one root.

    Args:
        places: where they are.
        ledger_id: stands in the root's marker, so that a second ledger cannot take the same root.
        was_seen: the root's marker was seen by this ledger before: without it the root is unmounted, not new.
        sharing: modes and group of what is made; what the umask leaves, and nothing else, where it is left out.
        log: is told, once, of a mode or a group that cannot be had.
        guide: what is put into the root for people who are new to it; None for nothing.
        machine: stands in the names of what only we write, where several daemons have the ledger; empty for one alone.
    """

    def __init__(
        self,
        places: Places,
        *,
        ledger_id: str,
        was_seen: bool,
        sharing: Sharing | None = None,
        log: structlog.typing.FilteringBoundLogger | None = None,
        guide: Guide | None = None,
        machine: str = "",
    ) -> None:
        self.places = places
        self._guide = guide
        self._log: structlog.typing.FilteringBoundLogger = log or structlog.get_logger()
        self._permits = _Permits(sharing or Sharing(), self._log)
        self._ledger_id = ledger_id
        self._ours = _name_of(ledger_id, machine)
        self._machine = f"{machine}-" if machine else ""
        self._was_seen = was_seen
        self._marker_path = places.root / MARKER
        self._marker = b""
        self._failed = self.relative(places.failed / "x").removesuffix("x")
        self._is_prepared = False
        self._preparing = threading.Lock()
        self._downloads = places.processing / ".downloads"

    def share_as(self, sharing: Sharing) -> None:
        """Other modes and another group for all that is made from now on; what is there keeps its own."""
        self._permits = _Permits(sharing, self._log)

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
            self._refuse_strange_folders()
            if not self._is_prepared:
                self._prepare_once()
        except OSError as error:
            raise RootUnavailable(f"{error.filename or self.places.root}: {error.strerror or error}") from error

    def _prepare_once(self) -> None:
        with self._preparing:
            if not self._is_prepared:
                self._prepare()
                self._is_prepared = True

    def _read_marker(self) -> None:
        marker = self._marker_path
        try:
            content = read_small(marker)
            if content == self._marker and content:
                return  # ours, word for word, as it was the last time
            text = content.decode("utf-8")
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
        self._marker = content

    def _is_marker_unfinished(self) -> bool:
        """Stopped between our placeholder and the rename onto it."""
        with contextlib.suppress(OSError, UnicodeDecodeError):
            scratch = self.places.root / f"{MARKER}.new"
            return self._marker_ledger(read_small(scratch).decode("utf-8")) == self._ledger_id
        return False

    @staticmethod
    def _marker_ledger(text: str) -> str | None:
        with contextlib.suppress(ValueError, RecursionError):
            found = json.loads(text)
            if isinstance(found, dict):
                return str(found.get("ledger"))
        return None

    def _refuse_strange_folders(self) -> None:
        """A producer who may rename in the root could have us write, as ourselves, wherever a link of his leads."""
        places = self.places
        for folder in (places.inbox, places.processing, places.done, places.failed, places.videos):
            why = why_not_entered(places.root, folder)
            if why is not None:
                raise RootUnavailable(why)

    def _prepare(self) -> None:
        places = self.places
        self._permits.make_closed_folder(places.processing)
        for folder in (places.inbox, places.done, places.failed, places.videos):
            self._permits.make_folder(folder)
        self._prove_one_file_system()
        self._downloads = self._choose_downloads()
        scratch = places.root / f"{MARKER}.new"
        if not self._was_seen:
            self._put_texts()
            if self._is_marker_unfinished():
                _remove_placeholder(places.root / MARKER)
            content = json.dumps({"ledger": self._ledger_id, "made_by": "chromadrop"}) + "\n"
            _write_durably(scratch, content.encode())
            move(scratch, places.root / MARKER)
            _sync_folder(places.root)
            self._was_seen = True
        scratch.unlink(missing_ok=True)  # stopped between link and unlink
        self._put_schema()
        why = why_exposed(places.processing)
        if why is not None:
            self._log.warning("spool.exposed", reason=why)

    def _put_texts(self) -> None:
        """Into a root where nothing was made yet, before its marker: what is deleted later does not come back."""
        if self._guide is not None and self._is_unused():
            for name, content in self._guide.texts:
                self._put_new(name, content)

    def _is_unused(self) -> bool:
        places = self.places
        folders = (places.processing, places.done, places.failed, places.videos)  # people may have begun with inbox/
        return all(path.name.startswith(".") for folder in folders for path in folder.iterdir())

    def _put_new(self, name: str, content: bytes) -> None:
        """A file for people, never over anything; that it cannot be written stops nothing."""
        scratch, target = self.places.root / f".{name}.{self._ledger_id}", self.places.root / name
        try:
            if not os.path.lexists(target):
                _write(scratch, content, self._permits.create, is_durable=True)
                _moved(scratch, target)
            scratch.unlink(missing_ok=True)
        except OSError as error:
            self._log.warning("page.deferred", page=name, reason=error.strerror or str(error))

    def _put_schema(self) -> None:
        """For editors; one of ours that is of another release, or another version of the API, is replaced."""
        if self._guide is None:
            return
        try:
            with _open_plain(self.places.root / SCHEMA) as opened:
                found = opened.read(len(self._guide.schema) + 4096)
        except OSError:
            self._put_new(SCHEMA, self._guide.schema)
            return
        if found != self._guide.schema and SCHEMA_MARK in found[:4096]:
            scratch = self.places.root / f".{SCHEMA}.{self._ours}"
            try:
                _write(scratch, self._guide.schema, self._permits.create, is_durable=True)
                scratch.replace(self.places.root / SCHEMA)
            except OSError as error:
                self._log.warning("page.deferred", page=SCHEMA, reason=error.strerror or str(error))

    def _prove_one_file_system(self) -> None:
        # Two bind mounts of one file system have the same st_dev and still refuse: only a real rename tells.
        probe = self.places.inbox / f".chromadrop-probe-{self._machine}{os.getpid()}"
        target = self.places.processing / probe.name
        _write(probe, b"", _create, is_durable=False)
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
        self._make_downloads_anew(ours)
        probe = ours / f"probe-{self._machine}{os.getpid()}"
        target = self.places.videos / f".chromadrop-probe-{self._machine}{os.getpid()}"
        _write(probe, b"", _create, is_durable=False)
        try:
            probe.rename(target)
        except OSError as error:
            probe.unlink(missing_ok=True)
            if error.errno != errno.EXDEV:
                raise
            beside = self.places.videos / ".downloads"
            self._make_downloads_anew(beside)
            return beside
        target.unlink()
        return ours

    def _make_downloads_anew(self, path: Path) -> None:
        """As below; before anybody works in it, an open one that cannot be closed is replaced if it is empty."""
        try:
            self._make_downloads(path)
            if path.lstat().st_mode & _WRITABLE_BY_OTHERS:
                with contextlib.suppress(OSError):  # the service may not close it: chmod with a setgid bit is refused
                    path.rmdir()
                self._make_downloads(path)
        except FilingDeferred as error:
            raise RootUnavailable(str(error)) from error

    def _make_downloads(self, path: Path) -> None:
        if _is_private_folder(path):
            return
        if path.parent == self.places.processing:
            self._permits.make_closed_folder(path.parent)
        else:
            self._permits.make_folder(path.parent)
        self._permits.make_folder_for_parts(path)

    # --- claim ------------------------------------------------------------------------------------

    def claim(
        self, name: str, processing_name: str, fingerprint: Fingerprint, digest: str, *, is_retry: bool = False
    ) -> set[Path]:
        """Move a drop from inbox/ to processing/; the same call again finds it moved.

        The move is durable only after `sync_claimed`, which may serve many moves at once.

        Returns:
            The folders that are to be synced.

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
        left, entered = source.parent, target.parent
        with _translated(f"move {display(name)} to processing/"):
            _refuse_foreign_links(self.places.inbox, left)
            _refuse_foreign_links(self.places.processing, entered)
            if is_retry and os.path.lexists(source):
                _remove_placeholder(target)
            if not self._was_moved(source, target, fingerprint, digest):
                self._permits.make_closed_folder(entered)
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
                except PermissionError as error:
                    if _may_take_from(left):
                        raise
                    raise FilingDeferred(_not_ours_to_move(name, error)) from error
                if not self._is_what_was_read(target, fingerprint, digest):
                    self._put_back(target, source)
                    raise DropChanged(f"{display(name)} was replaced while it was claimed")
        return {left, entered}

    def sync_claimed(self, folders: Iterable[Path]) -> None:
        """Make claims durable.

        Args:
            folders: what `claim` gave.

        Raises:
            FilingDeferred: the file system refused for now; none of the claims counts, and all may be made again.
        """
        inbox = self.places.inbox
        with _translated("make claims durable"):
            for folder in sorted(folders):
                if inbox in (folder, *folder.parents):
                    with contextlib.suppress(FileNotFoundError):  # what was dropped in it has left it
                        _sync_folder(folder)
                else:
                    _sync_folder(folder)

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
        found = os.lstat(target)
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
            _refuse_foreign_links(base, wanted.parent)
            _refuse_foreign_links(self.places.processing, (self.places.processing / filing.processing_name).parent)
            self._permits.make_folder(wanted.parent)
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
        table = target.with_name(target.name + RESULT_TABLE)
        is_ours = _marker_in(result) == filing.marker
        if not is_ours and any(os.path.lexists(path) for path in _with_all_beside(target)):
            return False
        scratch = _scratch(target, filing.marker)
        if not is_ours:
            self._restore(filing)
            _write_durably(scratch, filing.result, self._permits.create)
            if not _moved(scratch, result):
                return False
        if filing.explain is not None:
            text = filing.explain(target.relative_to(self.places.failed).as_posix())
            _write_durably(scratch, text, self._permits.create)
            scratch.replace(error)
        if filing.table is not None:
            _write_durably(scratch, filing.table, self._permits.create)
            scratch.replace(table)
        _sync_folder(target.parent)  # by the result a later attempt knows that the job file is on its way
        if self._move_job_file(filing, target, may_be_there=is_ours):
            return True
        for path in (error, table, result):
            path.unlink(missing_ok=True)
        return False

    def _move_job_file(self, filing: Filing, target: Path, *, may_be_there: bool) -> bool:
        source = self.places.processing / filing.processing_name
        if may_be_there and os.path.lexists(source):
            _remove_placeholder(target)
        self._permits.fit_job_file(source, target.parent)
        try:
            move(source, target, create=self._permits.create)
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
        self._permits.make_closed_folder(source.parent)
        scratch = source.with_name(f".{filing.marker}.part")
        _write_durably(scratch, filing.content, self._permits.create)
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
            return any(os.path.lexists(path) for path in _with_all_beside(_numbered_path(wanted, number)))

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
            _refuse_foreign_links(self.places.failed, path.parent)
            if _marker_in(result) == file_id_marker:
                path.with_name(path.name + ERROR).unlink(missing_ok=True)
                path.with_name(path.name + RESULT_TABLE).unlink(missing_ok=True)
                result.unlink(missing_ok=True)
                _sync_folder(path.parent)

    # --- videos -----------------------------------------------------------------------------------

    def part(self, job_id: int) -> Path:
        """Where the unfinished download of a job lies; its folder is there.

        Where that folder is there already, it is in a root of ours, as far as a part needs it: before anybody sees a
        video, `publish` looks at the whole root.

        Raises:
            RootUnavailable: the root is away.
            FilingDeferred: the file system refused for now.
        """
        if not self._has_downloads():
            self.check_root()
            with _translated("make the folder for downloads"):
                self._make_downloads(self._downloads)
        return self._downloads / f"{self._ours}-{job_id}.part"

    def _has_downloads(self) -> bool:
        """The folder for downloads is there, ours, in a folder of the root that is no link."""
        folder = self._downloads.parent
        return (
            self._is_prepared
            and folder == self.places.processing
            and all(map(_is_folder, _way(self.places.root, folder)))
            and _is_private_folder(self._downloads)
        )

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
        self.check_root()
        part = self.part(job_id)
        base = self.places.videos / folder if folder else self.places.videos
        wanted = base / name
        with _translated(f"move the video {display(name)} to videos/"):
            _refuse_foreign_links(self.places.videos, base)
            self._permits.make_folder(base)
            self._permits.fit_video(part, base)
            noted = self._noted(job_id)
            if noted is not None and self._machine and self._is_there(noted):
                part.unlink()  # another daemon, which was taken over meanwhile, has just made it visible
                return noted
            if noted is not None:
                _remove_placeholder(self.places.root / noted.path)
            number = first_free(lambda n: os.path.lexists(_numbered_path(wanted, n)))
            while True:
                target = _numbered_path(wanted, number)
                video = Video(self.relative(target), size, sha256)
                note = json.dumps({"path": video.path, "bytes": size, "sha256": sha256}).encode()
                _write_durably(self._note(job_id), note)
                _sync_folder(self._downloads)
                if _moved(part, target):
                    break
                number += 1
            _sync_folder(base)
        return video

    def published(self, job_id: int, part: Path) -> Video | None:
        """The video that a daemon made visible just before it was killed, if that is what happened.

        Args:
            job_id: whose it is.
            part: what `part` has just given.

        Raises:
            FilingDeferred: the file system refused for now.
        """
        video = self._noted(job_id)
        if video is None:
            return None
        target = self.places.root / video.path
        try:
            if os.path.lexists(part):
                if not _is_one_file(part, target):
                    return None
                part.unlink()  # stopped between link and unlink
            if self._is_there(video):
                _sync_folder(target.parent)
                return video
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:  # whether it is there must not be guessed: it would come a second time
            raise FilingDeferred(f"cannot look at {display(video.path)}: {error.strerror or error}") from error
        return None

    def _is_there(self, video: Video) -> bool:
        target = self.places.root / video.path
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return target.lstat().st_size == video.bytes and _digest(target) == video.sha256
        return False

    def _note(self, job_id: int) -> Path:
        """Where it is noted under which name a video is about to appear: one note, whoever of us writes it."""
        return self._downloads / f"{self._ledger_id}-{job_id}.note"

    def _noted(self, job_id: int) -> Video | None:
        """Where a download was about to appear, if it ever was; only a note of our own, of a place in videos/, counts.

        Of our own is what belongs to whom its folder belongs to, which `part` has seen to be us.

        Raises:
            FilingDeferred: it cannot be read now: whether the video is there already must not be guessed.
        """
        note = self._note(job_id)
        try:
            content = read_small(note, owner_of=self._downloads)
        except OSError as error:
            if error.errno in _NO_NOTE:
                return None
            raise FilingDeferred(f"cannot read {note.name}: {error.strerror or error}") from error
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            found = json.loads(content)
            video = Video(str(found["path"]), int(found["bytes"]), str(found["sha256"]))
            target = self.places.root / video.path
            is_inside = ".." not in target.relative_to(self.places.videos).parts
            if is_inside and _foreign_link(self.places.videos, target.parent) is None:
                return video
        return None

    def discard(self, job_id: int) -> None:
        """Remove what a download left behind, once the ledger knows the end of its job; nothing matters if it fails."""
        self.discard_part(job_id)
        _remove_if_can(self._note(job_id))

    def discard_part(self, job_id: int) -> None:
        """Remove an unfinished download that another daemon makes; what is noted of it stays, for that one to read."""
        for end in (".part", ".json", ".json.tmp"):
            _remove_if_can(f"{self._downloads}/{self._ours}-{job_id}{end}")

    def discard_all_but(self, job_ids: frozenset[int]) -> None:
        """Remove our own unfinished downloads of jobs that have ended; nothing matters if it fails."""
        prefix = f"{self._ours}-"
        with contextlib.suppress(OSError):
            for path in list(self._downloads.iterdir()):
                number = path.name.removeprefix(prefix).partition(".")[0]
                if path.name.startswith(prefix) and number.isdigit() and int(number) not in job_ids:
                    self.discard(int(number))

    def discard_parts_of(self, machine: str) -> None:
        """Remove the unfinished downloads of a daemon that was taken over; nothing matters if it fails.

        Should it only have been cut off, what it still writes goes nowhere.
        """
        prefix = f"{_name_of(self._ledger_id, machine)}-"
        with contextlib.suppress(OSError):
            for path in list(self._downloads.iterdir()):
                if path.name.startswith(prefix):
                    path.unlink(missing_ok=True)

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

    def put_page(self, name: str, content: bytes, *, is_durable: bool = True) -> None:
        """Put a page for people into the root, in the place of the one before, whole from the first moment.

        Args:
            name: of the file, such as ``models.html``.
            content: has `PAGE_MARK` near its beginning, by which a page of ours is known: no other file is replaced.
            is_durable: it is on the disk when this returns. False for what is made anew all the time: the page is whole
                from the first moment all the same, but a power cut may leave an empty one.

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
            scratch = self.places.root / f".{name}.{self._ours}"
            _write(scratch, content, self._permits.create, is_durable=is_durable)
            scratch.replace(page)

    def remove_page(self, name: str) -> None:
        """Take a page away that would only tell of the past; another's file of that name stays.

        Raises:
            RootUnavailable: the root is away.
            LedgerRefused: it is another's.
            FilingDeferred: it cannot be removed.
        """
        self.check_root()
        page = self.places.root / name
        with _translated(f"remove {name}"):
            if _is_page_of_ours(page):
                page.unlink(missing_ok=True)

    def failed_as(self, name: str) -> str:
        """Where a file that was dropped under that name would lie in failed/, as `relative` says it."""
        return self._failed + name

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


def _name_of(ledger_id: str, machine: str) -> str:
    """How the names begin of what only one daemon writes."""
    return f"{ledger_id}-{machine}" if machine else ledger_id


# --- modes and groups -----------------------------------------------------------------------------


def group_number(group: str) -> int | None:
    """The number of a group that is given by name or number; None where no group of this machine has that name."""
    if group.isascii() and group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


class _Permits:
    """Gives what we make the modes and the group that are wanted.

    Where one cannot be had the work goes on, for a video that others cannot delete is better than none; it is said
    once. A setgid bit that a folder has from its parent stays. Any thread may use it.
    """

    def __init__(self, sharing: Sharing, log: structlog.typing.FilteringBoundLogger) -> None:
        self._sharing = sharing
        self._log = log
        self._lock = threading.Lock()  # for the two below
        self._said: set[str] = set()
        self._group: int | None = None
        self._beside_mode = None if sharing.videos_mode is None else sharing.videos_mode & 0o666

    def create(self, path: Path) -> int:
        """A new file for what lies beside videos, open for writing; what is written to it, its readers are known."""
        return _create(path, self._beside_mode, lambda descriptor: self._fit(descriptor, self._beside_mode, None))

    def fit_video(self, part: Path, folder: Path) -> None:
        """Before a part gets its name in a folder."""
        if self._sharing.videos_mode is not None or self._has_group(folder):
            self._fit_file(part, self._sharing.videos_mode, folder)

    def fit_job_file(self, path: Path, folder: Path) -> None:
        """Before a job file gets its name in a folder; one that belongs to another user stays as it is."""
        if self._beside_mode is None and not self._has_group(folder):
            return
        with contextlib.suppress(FileNotFoundError):  # the move is to say so
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                self._fit_file(path, self._beside_mode, folder)

    def make_folder(self, path: Path) -> None:
        """The folder and those above it, as far as they are missing."""
        if os.path.isdir(path):  # noqa: PTH112 - at every step of every job: pathlib takes five times as long
            return
        self.make_folder(path.parent)
        if self._sharing.folders_mode is None and self._sharing.group is None:
            with contextlib.suppress(FileExistsError):
                path.mkdir()
        else:
            self._make_fitting(path, self._sharing.folders_mode)
        _sync_folder(path.parent)

    def make_closed_folder(self, path: Path) -> None:
        """As above, for processing/ and what lies in it: its group may look, and nobody else may ever write."""
        if os.path.isdir(path):  # noqa: PTH112 - as above
            return
        self.make_closed_folder(path.parent)
        if self._sharing.group is None:
            with contextlib.suppress(FileExistsError):
                path.mkdir(_CLOSED)
        else:
            self._make_fitting(path, _CLOSED, is_exact=False)
        _sync_folder(path.parent)

    def make_folder_for_parts(self, path: Path) -> None:
        """The folder, whose parent is there, for nobody but us; one that is not ours is refused.

        Raises:
            FilingDeferred: a link, a file, or another user's folder has its name.
        """
        with contextlib.suppress(FileExistsError):
            path.mkdir(0o700)
            _sync_folder(path.parent)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or not _is_ours(found, path.parent):
            raise FilingDeferred(
                f"{path} is not a folder of the daemon's own (it belongs to the user with the number {found.st_uid}), "
                f"so no download is put there: remove it, and take the leave to write in {path.parent} from others"
            )
        if found.st_mode & 0o077:
            with _open_folder(path) as descriptor:
                self._close(descriptor, found)

    def _close(self, descriptor: int, found: os.stat_result) -> None:
        if self._sharing.videos_mode is not None:  # a part has another mode until it is whole
            self._set_mode(descriptor, 0o700, found)
            return
        try:
            os.fchmod(descriptor, 0o700 | found.st_mode & stat.S_ISGID)
        except OSError as error:
            if error.errno not in _NO_PERMISSIONS:
                raise

    def _make_fitting(self, path: Path, mode: int | None, *, is_exact: bool = True) -> None:
        # Under another name until it fits: stopped in between, a folder that is there would never be mended.
        scratch = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")
        try:
            with contextlib.suppress(FileExistsError):
                scratch.mkdir(0o777 if mode is None else mode & 0o777)
            with _open_folder(scratch) as descriptor:
                self._fit(descriptor, mode if is_exact else None, None)
            scratch.rename(path)
        except OSError:
            # Another thread, or another daemon, was quicker: over a folder that holds something rename(2) does nothing.
            if not path.is_dir():
                raise
            with contextlib.suppress(OSError):
                scratch.rmdir()

    def _has_group(self, folder: Path) -> bool:
        return self._sharing.group is not None or bool(folder.stat().st_mode & stat.S_ISGID)

    def _fit_file(self, path: Path, mode: int | None, folder: Path) -> None:
        with _open_plain(path) as opened:
            if self._fit(opened.fileno(), mode, folder):
                os.fsync(opened.fileno())

    def _fit(self, descriptor: int, mode: int | None, folder: Path | None) -> bool:
        """Group, then mode, so that no bit is ever for the wrong group; whether anything had to be changed."""
        found = os.fstat(descriptor)
        group = self._wanted_group(folder)
        is_other_group = group is not None and found.st_gid != group
        if is_other_group and group is not None:
            self._set_group(descriptor, group)
        return (mode is not None and self._set_mode(descriptor, mode, found)) or is_other_group

    def _wanted_group(self, folder: Path | None) -> int | None:
        """The one that is set, else that of a setgid folder which a file is moved into."""
        wanted = self._sharing.group
        if wanted is None:
            found = None if folder is None else folder.stat()
            return found.st_gid if found is not None and found.st_mode & stat.S_ISGID else None
        if self._group is None:
            self._group = group_number(wanted)  # not at the start: where groups come from a network they may come later
        if self._group is None:
            self._say(f"there is no group {display(wanted)} on this machine: what is made stays with the group it has")
        return self._group

    def _set_group(self, descriptor: int, group: int) -> None:
        try:
            os.fchown(descriptor, -1, group)
        except OSError as error:
            if error.errno not in _NO_PERMISSIONS:
                raise
            self._say(f"the group {group} cannot be given: {error.strerror}")

    def _set_mode(self, descriptor: int, mode: int, found: os.stat_result) -> bool:
        wanted = mode | (found.st_mode & stat.S_ISGID if stat.S_ISDIR(found.st_mode) else 0)
        if stat.S_IMODE(found.st_mode) == wanted:
            return False
        try:
            os.fchmod(descriptor, wanted)
        except OSError as error:
            if error.errno not in _NO_PERMISSIONS:
                raise
            self._say(f"the mode {wanted:04o} cannot be set: {error.strerror}")
            return True
        got = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if got != wanted:  # CIFS, vfat; chmod(2) leaves the setgid bit out where the group is not ours
            self._say(f"the mode {wanted:04o} was set, and {got:04o} came of it")
        return True

    def _say(self, reason: str) -> None:
        with self._lock:
            is_news = reason not in self._said
            self._said.add(reason)
        if is_news:
            self._log.warning("spool.permissions_refused", reason=reason)


@contextlib.contextmanager
def _open_folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _create(path: Path, mode: int | None = None, fit: Callable[[int], object] | None = None) -> int:
    """A new file, open for writing, never wider than the mode, which is the umask's where there is none."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666 if mode is None else mode)
    try:
        if fit is not None:
            fit(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


# --- moving without overwriting -----------------------------------------------------------------------


def move(source: Path, target: Path, *, create: Callable[[Path], int] = _create) -> None:
    """Rename, never over anything; across file systems by a copy that appears complete.

    Args:
        source: what is moved.
        target: its new name.
        create: opens a new file for such a copy, for writing; it is exclusive.

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
        _copy_across(source, target, create)


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


def _copy_across(source: Path, target: Path, create: Callable[[Path], int]) -> None:
    source.lstat()  # a source that is not there comes first, as with rename(2)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    scratch = target.with_name(f".{hashlib.sha256(os.fsencode(source)).hexdigest()[:16]}.part")
    scratch.unlink(missing_ok=True)
    try:
        with _open_plain(source) as old, os.fdopen(create(scratch), "wb") as new:
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
    with os.fdopen(_opened_plain(path)[0], "rb") as opened:
        yield opened


def _opened_plain(path: Path) -> tuple[int, os.stat_result]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode):
        return descriptor, found
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def _moved(source: Path, target: Path) -> bool:
    try:
        move(source, target)
    except FileExistsError:
        return False
    return True


# --- whose it is ----------------------------------------------------------------------------------


def why_not_entered(root: Path, folder: Path) -> str | None:
    """Why one of the five folders is not worked in: something else is in its place; None where all is well.

    A link that root or we have made is meant, such as one to another disk.

    Raises:
        OSError: it cannot be looked at.
    """
    way = _way(root, folder)
    if way and all(map(_is_folder, way)):
        return None  # nearly always: no link at all
    link = _foreign_link(root, folder)
    if link is not None:
        return _not_followed(link)
    if not folder.is_dir() and os.path.lexists(folder) and not folder.is_symlink():
        return f"{folder} is not a folder: move it away, and the folder is made anew"
    return None


def why_exposed(folder: Path) -> str | None:
    """What is to be done where others may write in processing/, and so may put anything in the place of anything.

    Raises:
        OSError: it cannot be looked at.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & _WRITABLE_BY_OTHERS:
        return None
    return (
        f"{folder} may be written by others than the daemon (mode {mode:04o}), and should not be: chmod g-w,o-w on it; "
        "producers need nothing in it"
    )


def _is_ours(found: os.stat_result, folder: Path) -> bool:
    """Whether it has the owner that what we make in this folder has: of a network drive that may be another number."""
    if found.st_uid == os.geteuid():
        return True
    probe = folder / f".chromadrop-probe-{os.getpid()}-{threading.get_ident()}"
    probe.unlink(missing_ok=True)
    descriptor = _create(probe)
    try:
        return os.fstat(descriptor).st_uid == found.st_uid
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def _is_folder(path: str) -> bool:
    """Whether a folder is there, and no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _is_private_folder(path: Path) -> bool:
    """Whether a folder is there that is ours and closed to all others; False where that cannot be seen."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _foreign_link(base: Path, folder: Path) -> Path | None:
    """The first link on the way from base to folder that neither root nor we have made, if there is one."""
    for path in _way(base, folder):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in {0, os.geteuid()}:
            return Path(path)
    return None


@functools.lru_cache(maxsize=1024)
def _way(base: Path, folder: Path) -> tuple[str, ...]:
    """The paths from below base to folder; asked for at every step of every job, for the same few folders."""
    way = [path for path in (folder, *folder.parents) if base in path.parents]
    return tuple(os.fspath(path) for path in reversed(way or [folder] if folder != base else []))


def _refuse_foreign_links(base: Path, folder: Path) -> None:
    link = _foreign_link(base, folder)
    if link is not None:
        raise FilingDeferred(_not_followed(link))


def _not_followed(link: Path) -> str:
    return (
        f"{link} is a link that another user has made (number {link.lstat().st_uid}), and is not followed: remove it, "
        "or, if it is meant, have root make it"
    )


def read_small(path: Path, *, owner_of: Path | None = None) -> bytes:
    """What a small file of ours begins with, at most 64 KiB; waits for nothing.

    Args:
        path: of a regular file; no link is followed.
        owner_of: it must belong to whom this belongs to; None for anybody's.

    Raises:
        OSError: it cannot be read, or is not such a file.
    """
    descriptor, found = _opened_plain(path)
    try:
        if owner_of is not None and found.st_uid != os.lstat(owner_of).st_uid:
            raise OSError(errno.EPERM, "it belongs to another user", str(path))
        content = b""
        while len(content) < _SMALL and (more := os.read(descriptor, _SMALL - len(content))):
            content += more
        return content
    finally:
        os.close(descriptor)


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


def _with_all_beside(path: Path) -> Iterator[Path]:
    """A filed job file, and what may be written beside it."""
    yield path
    yield from (path.with_name(path.name + ending) for ending in (RESULT, ERROR, RESULT_TABLE))


def _scratch(target: Path, marker: str) -> Path:
    return target.with_name(f".{marker}.part")


def _is_page_of_ours(page: Path) -> bool:
    """Whether nothing of that name is there, or a page of an earlier turn."""
    try:
        with _open_plain(page) as opened:
            found = opened.read(4096)
            # Of a page that was not synced a power cut may leave the name alone.
            return PAGE_MARK in found or not found.strip(b"\0")
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


def _write_durably(path: Path, content: bytes, create: Callable[[Path], int] = _create) -> None:
    _write(path, content, create, is_durable=True)


def _write(path: Path, content: bytes, create: Callable[[Path], int], *, is_durable: bool) -> None:
    try:
        descriptor = create(path)
    except FileExistsError:
        # Never into a file that is there: stopped between link and unlink, it is another file's second name.
        path.unlink()
        descriptor = create(path)
    with os.fdopen(descriptor, "wb", buffering=0) as opened:
        left = memoryview(content)
        while left:
            left = left[opened.write(left) :]
        if is_durable:
            os.fsync(descriptor)


def _remove_if_can(path: Path | str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - four times for every job
    except OSError:
        return


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


def _may_take_from(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK) and not folder.stat().st_mode & stat.S_ISVTX


def _not_ours_to_move(name: str, error: PermissionError) -> str:
    return (
        f"cannot move {display(name)} to processing/: {error.strerror}; the folder that it lies in must be writable "
        "for the daemon's user or group, and without a sticky bit: chmod g+w,-t on that folder"
    )


@contextlib.contextmanager
def _translated(deed: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FilingDeferred(f"cannot {deed}: {error.strerror or error}") from error
