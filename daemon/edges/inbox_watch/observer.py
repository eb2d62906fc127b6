"""watchdog on inotify, cut down to what leaves a hint. Linux only.

watchdog 7.1 pairs renames: after each rename out of the folder it holds all later events back for half a second, and
each claim is one. So a file's rename out is turned into a deletion before watchdog sees it, and a rename into place
then arrives as a ``FileMovedEvent`` without a source. Folders keep their pairs, or watchdog would lose the watches
below them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyFullEmitter
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD, Mask

from daemon.core.drop_name import Kind, kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.events import FileSystemEvent
    from watchdog.observers.inotify_c import CallbackId, WatchCallback, WatchDescriptor

    from daemon.edges.inbox_watch.hints import Hints

_MASK: Final = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
)
_UPHEAVAL: Final = (
    InotifyConstants.IN_Q_OVERFLOW
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_UNMOUNT
)
_EVENTS: Final[list[type[FileSystemEvent]]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]
_STOP_SECONDS: Final = 1.0


class InboxObserver:
    """Leaves a hint for each change below a folder, until it is stopped.

    Args:
        folder: to watch with all that is below; a link is resolved once, here.
        hints: where to leave them.

    Raises:
        OSError: no inotify watches or instances are left, or the folder is gone.
    """

    def __init__(self, folder: str, hints: Hints) -> None:
        root = os.path.realpath(folder)
        self._descriptor = _Descriptor(hints.look_at_everything)
        self._observer = _Observer(self._descriptor)
        self._observer.schedule(_Handler(root, hints), root, recursive=True, event_filter=_EVENTS)
        try:
            self._observer.start()
        except BaseException:
            self._observer.stop()
            raise

    @property
    def ailment(self) -> str:
        """Which of its threads has died, or nothing."""
        if not self._observer.is_alive():
            return "observer died"
        if not self._descriptor.is_alive():
            return "reader died"
        emitters = list(self._observer.emitters)
        if not emitters or not all(emitter.is_alive() for emitter in emitters):
            return "emitter died"
        return ""

    @property
    def shortage(self) -> str:
        """Why some subfolder could not be watched, or nothing."""
        return self._descriptor.shortage

    def stop(self) -> None:
        """End its threads; waits a second at most."""
        self._observer.stop()
        if self._observer.is_alive():
            self._observer.join(_STOP_SECONDS)


class _Descriptor(InotifyFD):
    """The one reader of inotify events."""

    def __init__(self, on_upheaval: Callable[[], None]) -> None:
        super().__init__()
        self._on_upheaval = on_upheaval
        self.shortage = ""

    def handle_event(self, event: InotifyEvent) -> None:
        """Pass the event on; files that are renamed away are gone for us."""
        if event.is_moved_from and not event.is_directory:
            event = InotifyEvent(event.wd, InotifyConstants.IN_DELETE, 0, event.name)
        super().handle_event(event)
        if event.mask & _UPHEAVAL:
            self._on_upheaval()

    def _add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """As watchdog's, but a folder that is met twice, made while its parent was being added, is no warning."""
        try:
            watch = self._get_or_create_watch(path, mask)
        except OSError as error:
            self.shortage = error.strerror or str(error)  # watchdog is silent about subfolders
            raise
        watch.callbacks[id_] = callback
        return watch.wd


class _Emitter(InotifyFullEmitter):
    def get_event_mask_from_filter(self) -> Mask:
        """What the kernel is asked for; watchdog's own mask for our events has more."""
        return _MASK


class _Observer(BaseObserver):
    def __init__(self, descriptor: InotifyFD) -> None:
        super().__init__(_Emitter, inotify_fd=descriptor)
        self._descriptor = descriptor
        descriptor.start()

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self._descriptor.stop()
        self._descriptor.join(_STOP_SECONDS)


class _Handler(FileSystemEventHandler):
    """Leaves hints and does nothing else: an exception here would end its thread for good."""

    def __init__(self, root: str, hints: Hints) -> None:
        self._prefix = root.rstrip("/") + "/"
        self._hints = hints

    def dispatch(self, event: FileSystemEvent) -> None:
        if event.is_directory:
            self._hints.look_at_everything()
            return
        path = os.fsdecode(event.dest_path or event.src_path)
        name = path.removeprefix(self._prefix)
        if kind(name) in {Kind.DROP, Kind.DEFAULTS, Kind.PAUSE}:
            # A folder that was renamed says nothing of whether the files in it are finished.
            was_renamed = isinstance(event, FileMovedEvent) and not event.is_synthetic
            self._hints.look_at(name, was_renamed=was_renamed)
