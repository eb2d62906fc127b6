"""``chromadrop lint``: what the daemon would say of a job file, before it is dropped. Reads only, within bounds."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from daemon.core.batch import MAX_BYTES, parse_batch
from daemon.core.catalogue import problems_of
from daemon.core.display import display
from daemon.core.drop_name import Kind, is_ignored_folder, kind
from daemon.core.errors import BatchInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daemon.core.batch import Request
    from daemon.core.catalogue import Catalogue
    from daemon.core.problem import Problem

STANDARD_INPUT: Final = "-"


class _Unreadable(Exception):
    """A file that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Linted:
    """What there is to say of one file.

    Attributes:
        is_ok: it is valid.
        texts: a line each, fit to be shown.
    """

    is_ok: bool
    texts: tuple[str, ...]


class Rules:
    """What job files are held to.

    Args:
        version: of the API.
        catalogue: the models and clothes that there are; None where no list is at hand.
        of: which list that is, such as its date; said once, with the first problem that comes of it.
    """

    def __init__(self, version: str, catalogue: Catalogue | None = None, of: str = "") -> None:
        self.version = version
        self._catalogue = catalogue
        self._of = of

    def problems(self, requests: Iterable[Request]) -> tuple[Problem, ...]:
        """What requests of a valid file ask for that is not in the list."""
        problems = () if self._catalogue is None else problems_of(requests, self._catalogue)
        if not problems or not self._of:
            return problems
        first = replace(problems[0], message=f"{problems[0].message} (by the list of {self._of})")
        self._of = ""
        return (first, *problems[1:])


def lint(names: Iterable[str], rules: Rules, standard_input: BinaryIO) -> Iterator[Linted]:
    """Validate files, one after the other.

    Args:
        names: of files, of folders (the job files in them and below are meant), or ``-``.
        rules: what they are held to.
        standard_input: what ``-`` means.
    """
    for name in names:
        if name == STANDARD_INPUT:
            yield _linted("<stdin>", standard_input.read(MAX_BYTES + 1), rules)
        elif os.path.isdir(name):  # noqa: PTH112 - Path would change how the name was written
            yield from _lint_folder(name, rules)
        else:
            yield _lint_file(name, rules)


def _lint_folder(folder: str, rules: Rules) -> Iterator[Linted]:
    failures: list[OSError] = []
    count = 0
    for path, folders, files in os.walk(folder, onerror=failures.append):
        folders[:] = sorted(name for name in folders if not is_ignored_folder(name))
        for name in sorted(files):
            if kind(name) is Kind.DROP:
                count += 1
                yield _lint_file(str(Path(path) / name), rules)
    for error in failures:
        where = display(os.fsdecode(error.filename or folder))
        yield Linted(is_ok=False, texts=(f"{where}: cannot be read: {error.strerror}",))
    if not count and not failures:
        yield Linted(is_ok=True, texts=(f"{display(folder)}: no job file (.yaml, .yml) in it",))


def _lint_file(name: str, rules: Rules) -> Linted:
    try:
        content = _read(name)
    except _Unreadable as error:
        return Linted(is_ok=False, texts=(f"{display(name)}: {error}",))
    linted = _linted(display(name), content, rules)
    if linted.is_ok and kind(Path(name).name) is not Kind.DROP:
        hint = f"{linted.texts[0]} (but nothing of this name is taken from inbox/: job files end in .yaml or .yml)"
        return Linted(is_ok=True, texts=(hint,))
    return linted


def _read(name: str) -> bytes:
    """The first `MAX_BYTES` and one more; never waits for the other end of a pipe."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _Unreadable("is no plain file; say - for standard input")
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise _Unreadable(f"cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise _Unreadable("no file can have this name") from error


def _linted(where: str, content: bytes, rules: Rules) -> Linted:
    try:
        requests = parse_batch(content, rules.version).requests
        problems = rules.problems(requests)
    except BatchInvalid as error:
        problems = error.problems
    if problems:
        return Linted(is_ok=False, texts=tuple(_line(where, problem) for problem in problems))
    count = len(requests)
    return Linted(is_ok=True, texts=(f"{where}: ok, {count:,} {'video' if count == 1 else 'videos'}",))


def _line(where: str, problem: Problem) -> str:
    places = [where, *(str(number) for number in (problem.line, problem.column) if number is not None)]
    return f"{':'.join(places)}: {f'{problem.path}: ' if problem.path else ''}{problem.message}"
