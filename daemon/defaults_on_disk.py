"""What the ``_defaults.yaml`` above a file say at this moment, for commands that foretell what the daemon will do."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.core.batch import MAX_BYTES
from daemon.core.defaults import NO_DEFAULTS
from daemon.core.display import display
from daemon.core.drop_name import is_defaults
from daemon.core.errors import BatchInvalid
from daemon.core.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from daemon.core.defaults import Defaults
    from daemon.core.job_content import Grammar


class DefaultsOnDisk:
    """Reads each folder's defaults once.

    Args:
        grammar: of what is read.
        inbox: absolute; below it every folder up to it counts, elsewhere only the file's own.
        mirrors: absolute; for what lies below one of these (failed/, done/) the same folder below inbox counts, from
            where it came, and to where it goes when it is dropped again.
    """

    def __init__(self, grammar: Grammar, inbox: Path, mirrors: Sequence[Path] = ()) -> None:
        self.grammar = grammar
        self._inbox = inbox
        self._mirrors = mirrors
        self._found: dict[Path, Defaults | BatchInvalid] = {}

    def for_file(self, path: Path) -> Defaults:
        """What holds for a file.

        Args:
            path: absolute, or relative to the current folder.

        Raises:
            BatchInvalid: what is wrong with the defaults; each problem names its file. The file waits for them.
        """
        folder = self._home(Path(os.path.abspath(path)).parent)  # noqa: PTH100 - resolve() would follow links
        defaults = self.grammar.base
        for one in reversed([*self._folders(folder)]):
            found = self._found.get(one) or self._in(one)
            self._found[one] = found
            if isinstance(found, BatchInvalid):
                raise found
            defaults = found.over(defaults)
        return defaults

    def _home(self, folder: Path) -> Path:
        mirror = next((one for one in self._mirrors if folder.is_relative_to(one)), None)
        return folder if mirror is None else self._inbox / folder.relative_to(mirror)

    def _folders(self, folder: Path) -> Iterator[Path]:
        yield folder
        if folder.is_relative_to(self._inbox):
            yield from (parent for parent in folder.parents if parent.is_relative_to(self._inbox))

    def _in(self, folder: Path) -> Defaults | BatchInvalid:
        try:
            paths = sorted(path for path in folder.iterdir() if is_defaults(path.name) and _is_plain(path))
            if len(paths) > 1:
                words = f"{display(paths[1].name)} is here too, and one of them is one too many: keep one"
                return BatchInvalid([Problem(words, where=display(str(paths[0])))])
            return read_defaults(paths[0], self.grammar) if paths else NO_DEFAULTS
        except BatchInvalid as error:
            return error
        except FileNotFoundError:
            return NO_DEFAULTS
        except OSError as error:
            where = display(os.fsdecode(error.filename or folder))
            return BatchInvalid([Problem(f"cannot be read: {error.strerror or error}", where=where)])


def read_defaults(path: Path, grammar: Grammar) -> Defaults:
    """What one file says.

    Raises:
        BatchInvalid: with everything that is wrong; each problem names the file.
        OSError: it cannot be read.
    """
    where = display(str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        content = opened.read(MAX_BYTES + 1)
    if not content:
        raise BatchInvalid([Problem("is empty: what is dropped beside it waits until something is in it", where=where)])
    try:
        return grammar.defaults(content, where)
    except BatchInvalid as error:
        raise BatchInvalid([replace(problem, where=where) for problem in error.problems]) from None


def _is_plain(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)
