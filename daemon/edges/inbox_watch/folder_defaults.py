"""What the folders' ``_defaults.yaml`` say, as far as they have been read."""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.core.defaults import NO_DEFAULTS, Defaults
from daemon.core.display import display
from daemon.core.drop_name import DEFAULTS_NAMES, folders_of
from daemon.core.errors import BatchInvalid
from daemon.core.job_content import is_note
from daemon.core.messages import Reason
from daemon.edges.inbox_watch.roster import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daemon.core.problem import Problem
    from daemon.edges.inbox_watch.roster import Roster


class Standing(enum.Enum):
    """What a folder's defaults mean for a drop in it."""

    SOUND = enum.auto()
    SETTLING = enum.auto()  # left alone, they will be sound or broken
    BROKEN = enum.auto()  # somebody has to mend them


@dataclass(frozen=True, slots=True)
class Found:
    """What holds for a drop.

    Attributes:
        standing: see `Standing`.
        defaults: of its folder, the nearest word for each field; where all of them are sound.
    """

    standing: Standing
    defaults: Defaults = NO_DEFAULTS

    @property
    def reason(self) -> Reason | None:
        """Why the drop has to wait, if it has to."""
        if self.standing is Standing.SETTLING:
            return Reason.DEFAULTS_SETTLING
        return Reason.DEFAULTS_BROKEN if self.standing is Standing.BROKEN else None


_SETTLING = {Reason.SETTLING, Reason.WRITING, Reason.BEHIND, Reason.MALFORMED}


class FolderDefaults:
    """The defaults of all folders; one thread only. Where each file stands is in the roster.

    Args:
        inbox: the folder.
        roster: the scanner's.
        base: what holds where no folder says anything.
        read: bytes, and the file as a person would look for it, to Defaults; raises BatchInvalid.
    """

    def __init__(
        self, inbox: str, roster: Roster, base: Defaults, read: Callable[[bytes, str], Defaults]
    ) -> None:
        self._prefix = f"{os.path.basename(inbox)}/"  # noqa: PTH119 - a name, not a path that is to be found
        self._roster = roster
        self._base = base
        self._read = read
        self._names: dict[str, set[str]] = {}
        self._sound: dict[str, Defaults] = {}

    def names(self, name: str) -> Iterator[str]:
        """The files that hold for a drop, and those that would if they were there: a scan may not have seen them."""
        for folder in folders_of(name):
            prefix = f"{folder}/" if folder else ""
            known = self._names.get(folder, set())
            yield from sorted(known)
            bases = {one.rpartition("/")[2].lower() for one in known}
            yield from (prefix + base for base in DEFAULTS_NAMES if base not in bases)

    def learn(self, name: str, content: bytes) -> tuple[Problem, ...]:
        """Read one; what is wrong with it, if anything."""
        self._sound.pop(name, None)
        try:
            self._sound[name] = self._read(content, display(self._prefix + name))
        except BatchInvalid as error:
            return error.problems
        return ()

    def note(self, name: str) -> None:
        """Whether the file is there, after a look at it."""
        folder = name.rpartition("/")[0]
        if self._roster.get(name) is not None:
            self._names.setdefault(folder, set()).add(name)
        else:
            self._sound.pop(name, None)
            self._names.get(folder, set()).discard(name)

    def found(self, name: str) -> Found:
        """What holds for a drop, by what is known now."""
        defaults, standings = self._base, set[Standing]()
        for folder in folders_of(name):
            there = [one for one in self._names.get(folder, ()) if self._standing(one) is not None]
            standings |= {standing for one in there if (standing := self._standing(one)) is not None}
            if len(there) > 1:
                standings.add(Standing.BROKEN)  # which of the two counts nobody can say
            for one in there:
                defaults = self._sound.get(one, NO_DEFAULTS).over(defaults)
        if Standing.BROKEN in standings:
            return Found(Standing.BROKEN)
        if Standing.SETTLING in standings:
            return Found(Standing.SETTLING)
        return Found(Standing.SOUND, defaults)

    def is_note(self, name: str) -> bool:
        """Whether a drop is a text that nobody gives the rest of a job for, by what is known now."""
        found = self.found(name)
        return found.standing is Standing.SOUND and is_note(name, found.defaults)

    def twins(self, name: str) -> list[str]:
        """The files of the same folder that claim to be its defaults too."""
        others = self._names.get(name.rpartition("/")[0], set()) - {name}
        return sorted(other for other in others if self._standing(other) is not None)

    def _standing(self, name: str) -> Standing | None:
        """None for what is no file and counts for nothing."""
        entry = self._roster.get(name)
        if entry is None or (entry.place is Place.WAITING and entry.reason is Reason.NOT_A_FILE):
            return None
        if entry.place is Place.SOUND:
            return Standing.SOUND
        return Standing.SETTLING if entry.reason in _SETTLING else Standing.BROKEN
