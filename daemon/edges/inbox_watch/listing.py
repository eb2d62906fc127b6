"""All names in inbox/, without touching the files."""

from __future__ import annotations

import heapq
import os
from dataclasses import field
from typing import TYPE_CHECKING, Final

from daemon.core.drop_name import PAUSE_NAME, Kind, folders_of, is_ignored_folder, is_stranger, is_text, kind
from daemon.core.job_content import is_note
from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemon.core.defaults import Defaults

MOST_STRANGERS: Final = 100


@dataclass(slots=True)
class Listing:
    """What a scan found.

    Attributes:
        drops: names of drops, relative to inbox/ with ``/``; whatever they lead to.
        conflicts: names of sync-conflict copies.
        defaults: names of what gives the defaults of a folder.
        results: names of tables of results, which are no drops.
        strangers: names of files that people may have meant as drops.
        unread: subfolders that could not be read, and why; nothing is known of what is below them.
        is_paused: there is a file ``PAUSE``.
        is_whole: it was not broken off.
    """

    drops: set[str] = field(default_factory=set)
    conflicts: set[str] = field(default_factory=set)
    defaults: set[str] = field(default_factory=set)
    results: set[str] = field(default_factory=set)
    strangers: set[str] = field(default_factory=set)
    unread: dict[str, str] = field(default_factory=dict)
    is_paused: bool = False
    is_whole: bool = True

    def first_strangers(self) -> tuple[str, ...]:
        """The first of the strangers, by name."""
        return tuple(heapq.nsmallest(MOST_STRANGERS, self.strangers))

    def without_notes(self, base: Defaults) -> set[str]:
        """The drops, but for texts that no folder's defaults make jobs of, as far as names tell.

        Args:
            base: what holds where no folder says anything.
        """
        folders = {name.rpartition("/")[0] for name in self.defaults}
        return {name for name in self.drops if not is_note(name, base) or not folders.isdisjoint(folders_of(name))}

    def has_spelled_otherwise(self, name: str) -> bool:
        """Whether a folder's defaults are here in other letters: where case does not count, both names lead to them."""
        folder, _, base = name.rpartition("/")
        others = (other.rpartition("/") for other in self.defaults)
        return any((other[0], other[2].lower()) == (folder, base.lower()) for other in others)

    def is_unknown(self, name: str) -> bool:
        """Whether the name lies below a subfolder that could not be read."""
        return any(name.startswith(folder + "/") for folder in self.unread)


def list_inbox(inbox: str, should_stop: Callable[[], bool]) -> Listing:
    """Read all folders; links to folders are not followed.

    Raises:
        OSError: inbox/ itself cannot be read.
    """
    listing = Listing()
    folders = [""]
    while folders:
        if should_stop():
            listing.is_whole = False
            break
        folder = folders.pop()
        try:
            folders += _read_folder(inbox, folder, listing)
        except FileNotFoundError:
            if not folder:
                raise
        except OSError as error:
            if not folder:
                raise
            listing.unread[folder] = error.strerror or str(error)
    return listing


def _read_folder(inbox: str, folder: str, listing: Listing) -> list[str]:
    """Note the names in one folder; its subfolders."""
    folders = []
    prefix = f"{folder}/" if folder else ""
    with os.scandir(f"{inbox}/{folder}") as entries:
        for entry in entries:
            name = prefix + entry.name
            match kind(name):
                case Kind.DROP if not (is_text(name) and entry.is_dir(follow_symlinks=False)):
                    listing.drops.add(name)
                case Kind.DEFAULTS:
                    listing.defaults.add(name)
                case Kind.RESULT:
                    listing.results.add(name)
                case Kind.CONFLICT:
                    listing.conflicts.add(name)
                case Kind.PAUSE if not entry.is_dir(follow_symlinks=False):
                    listing.is_paused = True
                case _ if not is_ignored_folder(entry.name) and entry.is_dir(follow_symlinks=False):
                    folders.append(name)
                case Kind.IGNORED if is_stranger(name) and not entry.is_dir(follow_symlinks=False):
                    listing.strangers.add(name)
    return folders


def is_paused(inbox: str) -> bool:
    """Whether there is a file ``PAUSE``; the name only, for a link counts too.

    Raises:
        OSError: inbox/ cannot be read.
    """
    with os.scandir(inbox) as entries:
        return any(entry.name == PAUSE_NAME and not entry.is_dir(follow_symlinks=False) for entry in entries)
