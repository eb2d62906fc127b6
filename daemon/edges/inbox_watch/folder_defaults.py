"""What the folders' ``_defaults.yaml`` say, as far as they have been read."""

from __future__ import annotations

import enum
import os
from typing import TYPE_CHECKING

from daemon.core.defaults import NO_DEFAULTS, Defaults
from daemon.core.display import display
from daemon.core.drop_name import DEFAULTS_NAMES, folders_of
from daemon.core.errors import BatchInvalid
from daemon.core.job_content import is_note
from daemon.core.messages import Reason
from daemon.core.record import dataclass
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
        detail: what has to be mended, and where.
    """

    standing: Standing
    defaults: Defaults = NO_DEFAULTS
    detail: str = ""

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

    def __init__(self, inbox: str, roster: Roster, base: Defaults, read: Callable[[bytes, str], Defaults]) -> None:
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
        self._forget(name)
        try:
            self._sound[name] = self._read(content, display(self._prefix + name))
        except BatchInvalid as error:
            return error.problems
        return ()

    def _forget(self, name: str) -> None:
        self._sound.pop(name, None)

    def note(self, name: str) -> None:
        """Whether the file is there, after a look at it; any name may be given that is gone."""
        folder = name.rpartition("/")[0]
        if self._roster.get(name) is not None:
            self._names.setdefault(folder, set()).add(name)
        else:
            self._forget(name)
            self._names.get(folder, set()).discard(name)

    def found(self, name: str) -> Found:
        """What holds for a drop, by what is known now."""
        defaults, is_settling = self._base, False
        for folder in folders_of(name):
            there = self._there(folder)
            broken = next((one for one in there if self._standing(one) is Standing.BROKEN), None)
            if broken is not None:
                return Found(Standing.BROKEN, detail=self._ailment(broken))
            if len(there) > 1:  # which of the two counts nobody can say
                return Found(Standing.BROKEN, detail=self.twins_words(there[0]))
            is_settling |= any(self._standing(one) is Standing.SETTLING for one in there)
            for one in there:
                defaults = self._sound.get(one, NO_DEFAULTS).over(defaults)
        return Found(Standing.SETTLING) if is_settling else Found(Standing.SOUND, defaults)

    def _there(self, folder: str) -> list[str]:
        return sorted(one for one in self._names.get(folder, ()) if self._standing(one) is not None)

    def _ailment(self, name: str) -> str:
        entry = self._roster.get(name)
        words = "" if entry is None else entry.detail or entry.reason.value
        return f"{display(self._prefix + name)}: {words}"

    def twins_words(self, name: str) -> str:
        """What is wrong where several files of a folder claim to be its defaults; empty where they do not."""
        there = self._there(name.rpartition("/")[0])
        names = " and ".join(display(self._prefix + one) for one in there)
        return f"{names} are here, and one of them is one too many: keep one" if len(there) > 1 else ""

    def is_note(self, name: str) -> bool:
        """Whether a drop is a text that nobody gives the rest of a job for, by what is known now."""
        found = self.found(name)
        return found.standing is Standing.SOUND and is_note(name, found.defaults)

    def _standing(self, name: str) -> Standing | None:
        """None for what is no file and counts for nothing."""
        entry = self._roster.get(name)
        if entry is None or (entry.place is Place.WAITING and entry.reason is Reason.NOT_A_FILE):
            return None
        if entry.place is Place.SOUND:
            return Standing.SOUND
        return Standing.SETTLING if entry.reason in _SETTLING else Standing.BROKEN
