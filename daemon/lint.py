"""``chromadrop lint``: what the daemon would say of a job file, before it is dropped. Reads only, within bounds."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from daemon.core.batch import MAX_BYTES
from daemon.core.catalogue import problems_of
from daemon.core.display import display
from daemon.core.drop_name import Kind, is_ignored_folder, is_text, kind
from daemon.core.errors import BatchInvalid
from daemon.core.estimate import NO_EXPERIENCE, Experience, about, outlook, spoken_seconds_of
from daemon.core.job_content import is_note
from daemon.core.record import dataclass
from daemon.defaults_on_disk import read_defaults

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from daemon.core.batch import Request
    from daemon.core.catalogue import Catalogue
    from daemon.core.problem import Problem
    from daemon.defaults_on_disk import DefaultsOnDisk

STANDARD_INPUT: Final = "-"
_STANDARD_INPUT_NAME: Final = "<stdin>"


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


@dataclass(frozen=True, slots=True)
class LookAhead:
    """What is known of how long videos take here.

    Attributes:
        has_ledger: a daemon has run; without it nothing can be said of renders.
        experience: of its renders.
        ahead: videos that would come first.
        max_rendering: as many at once are rendered.
    """

    has_ledger: bool = False
    experience: Experience = NO_EXPERIENCE
    ahead: int = 0
    max_rendering: int = 1

    def words(self, requests: Sequence[Request]) -> str:
        """What to expect of a valid file, in a few words."""
        spoken = [spoken_seconds_of(request) for request in requests]
        if not self.has_ledger:
            return f"{about(sum(spoken))} of video"
        return outlook(spoken, self.experience, ahead=self.ahead, max_rendering=self.max_rendering).english


class Rules:
    """What job files are held to.

    Attributes:
        look_ahead: what is known of how long videos take here.

    Args:
        defaults: what folders give.
        catalogue: the models and clothes that there are; None where no list is at hand.
        of: which list that is, such as its date; said once, with the first problem that comes of it.
    """

    def __init__(self, defaults: DefaultsOnDisk, catalogue: Catalogue | None = None, of: str = "") -> None:
        self.defaults = defaults
        self.grammar = defaults.grammar
        self.look_ahead = LookAhead()
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
            yield _linted(_STANDARD_INPUT_NAME, standard_input.read(MAX_BYTES + 1), rules)
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
            if kind(name) is Kind.DEFAULTS or _is_job(Path(path) / name, rules):
                count += 1
                yield _lint_file(str(Path(path) / name), rules)
    for error in failures:
        where = display(os.fsdecode(error.filename or folder))
        yield Linted(is_ok=False, texts=(f"{where}: cannot be read: {error.strerror}",))
    if not count and not failures:
        yield Linted(is_ok=True, texts=(f"{display(folder)}: no job file (.yaml, .yml, .csv, .txt) in it",))


def _is_job(path: Path, rules: Rules) -> bool:
    """Whether the daemon would take it: a text only where its folder gives the rest."""
    return kind(path.name) is Kind.DROP and not (is_text(path.name) and _is_note(path, rules))


def _is_note(path: Path, rules: Rules) -> bool:
    try:
        return is_note(path.name, rules.defaults.for_file(path))
    except BatchInvalid:
        return False  # what it is will be known once they are mended


def _lint_file(name: str, rules: Rules) -> Linted:
    if kind(Path(name).name) is Kind.DEFAULTS:
        return _lint_defaults(name, rules)
    try:
        content = _read(name)
    except _Unreadable as error:
        return Linted(is_ok=False, texts=(f"{display(name)}: {error}",))
    why_not = _why_no_job(name, rules)
    if why_not:
        return Linted(is_ok=True, texts=(f"{display(name)}: no job: {why_not}",))
    linted = _linted(name, content, rules)
    if linted.is_ok and kind(Path(name).name) is not Kind.DROP:
        endings = "job files end in .yaml, .yml, .csv, or .txt"
        hint = f"{linted.texts[0]} (but nothing of this name is taken from inbox/: {endings})"
        return Linted(is_ok=True, texts=(hint,))
    return linted


def _why_no_job(name: str, rules: Rules) -> str:
    """Why the daemon would leave a text or a table lying, whatever is in it; empty where it would not."""
    found = kind(Path(name).name)
    if found is Kind.RESULT:
        return "a table of results is never ordered; drop the table itself again"
    if is_text(name) and found is Kind.IGNORED:
        return "a text of this name is never taken from inbox/"
    if is_text(name) and found is Kind.DROP and _is_note(Path(name), rules):
        return "nobody gives language, model, and clothes for it, so that it is left lying"
    return ""


def _lint_defaults(name: str, rules: Rules) -> Linted:
    try:
        _read(name)  # never a pipe
        read_defaults(Path(name), rules.grammar)
    except BatchInvalid as error:
        return Linted(is_ok=False, texts=tuple(_line(name, problem) for problem in error.problems))
    except (_Unreadable, OSError) as error:
        return Linted(is_ok=False, texts=(f"{display(name)}: {error}",))
    return Linted(is_ok=True, texts=(f"{display(name)}: ok, the defaults of its folder and those below",))


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


def _linted(name: str, content: bytes, rules: Rules) -> Linted:
    where = display(name)
    try:
        is_file = name != _STANDARD_INPUT_NAME
        defaults = rules.defaults.for_file(Path(name)) if is_file else rules.grammar.base
        requests = rules.grammar.batch(name, content, defaults).requests
        problems = rules.problems(requests)
    except BatchInvalid as error:
        problems = error.problems
    if problems:
        return Linted(is_ok=False, texts=tuple(_line(where, problem) for problem in problems))
    count = len(requests)
    videos = f"{count:,} {'video' if count == 1 else 'videos'}"
    return Linted(is_ok=True, texts=(f"{where}: ok, {videos}, {rules.look_ahead.words(requests)}",))


def _line(where: str, problem: Problem) -> str:
    places = [problem.where or where, *(str(number) for number in (problem.line, problem.column) if number is not None)]
    return f"{':'.join(places)}: {f'{problem.path}: ' if problem.path else ''}{problem.message}"
