"""One thing that is wrong with something that a person wrote."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from daemon.core.record import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, where, and what to do.

    Attributes:
        message: what is wrong and what to do, one plain sentence or two.
        line: 1-based line in the file, None where a line makes no sense.
        column: 1-based column, counted in characters.
        path: the key's path, such as ``jobs[2].model`` (1-based as people count).
        where: a file or an environment variable, when the reader does not know it anyway.
    """

    message: str
    line: int | None = None
    column: int | None = None
    path: str = ""
    where: str = ""

    def __str__(self) -> str:
        """``where, line 3, column 5 (jobs[2].model): message``, leaving out what is not known."""
        places = [self.where] if self.where else []
        if self.line is not None:
            places.append(f"line {self.line}" + (f", column {self.column}" if self.column is not None else ""))
        place = ", ".join(places)
        if self.path:
            place = f"{place} ({self.path})" if place else self.path
        return f"{place}: {self.message}" if place else self.message


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'clothes'?`` with a leading space, or nothing where no known word is near."""
    names = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), names, n=1, cutoff=0.6)
    return f" Did you mean '{names[near[0]]}'?" if near else ""
