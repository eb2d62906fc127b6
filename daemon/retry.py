"""``chromadrop retry``: failed job files back into inbox/, where the daemon takes them up again.

What will become of them is foretold by the very rule that the daemon follows at the claim (`pipeline.claim.plan`).
"""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from daemon.core.batch import MAX_BYTES
from daemon.core.display import display
from daemon.core.drop import Drop, Fingerprint
from daemon.core.drop_name import RESULT_TABLE, Kind, kind
from daemon.core.errors import BatchInvalid
from daemon.core.job import Failure, State
from daemon.core.job_content import is_note
from daemon.core.record import dataclass
from daemon.edges.spool import ERROR, RESULT, move
from daemon.pipeline import claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from daemon.core.batch import Batch
    from daemon.core.job import Job
    from daemon.core.problem import Problem
    from daemon.defaults_on_disk import DefaultsOnDisk
    from daemon.edges.ledger import Ledger
    from daemon.edges.spool import Places

MOST_SUGGESTIONS: Final = 3
MOST_PROBLEMS: Final = 5
MOST_FILES_LOOKED_AT: Final = 20_000
_ENDINGS: Final = ("", ".yaml", ".yml", ".csv", ".txt")


class NotThere(Exception):
    """A name that leads to no failed job file; the text says why and what is near."""


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of one name.

    Attributes:
        name: of the file, relative to failed/ and inbox/, or as it was given where there is no such file.
        is_back: it lies in inbox/ now.
        texts: what will happen to it next, or why it was not put back; a line each, fit to be shown.
    """

    name: str
    is_back: bool
    texts: tuple[str, ...]


def retry(
    names: Iterable[str],
    *,
    places: Places,
    ledger: Ledger | None,
    defaults: DefaultsOnDisk,
    may_pay_again: bool,
    cwd: Path,
) -> Iterator[Retried]:
    """Put failed job files back, one after the other.

    Args:
        names: as people write them; see `find`. Names of one file count once.
        places: the folders.
        ledger: None where there is none: nothing is known of the files then.
        defaults: of the folders in inbox/, for reading the job files.
        may_pay_again: a person's word that what may have been paid may be ordered again.
        cwd: the current folder, absolute.
    """
    found: dict[str, str | None] = {}  # all are looked up before the first is moved: failed/* names a file thrice
    for given in names:
        try:
            found.setdefault(find(given, places.failed, cwd))
        except NotThere as error:
            found[display(given)] = str(error)
    for name, why_not in found.items():
        if why_not is None:
            yield _put_back(name, places, ledger, defaults, may_pay_again=may_pay_again)
        else:
            yield Retried(name, is_back=False, texts=(why_not,))


# --- which file is meant --------------------------------------------------------------------------


def find(given: str, failed: Path, cwd: Path) -> str:
    """The failed job file that is meant, relative to failed/.

    ``x.yaml``, ``sub/x.yaml``, ``failed/x.yaml``, any path that leads into failed/, each also without its extension, or
    with ``.error.txt``, ``.result.json``, or ``.result.csv`` behind it.

    Raises:
        NotThere: there is none, or it is no job file, or it lies elsewhere.
    """
    plain = given.removesuffix(ERROR).removesuffix(RESULT).removesuffix(RESULT_TABLE)
    insides = [inside for path in _readings(plain, failed, cwd) if (inside := _inside(path, failed)) is not None]
    if not insides:
        raise NotThere(f"is not in {display(str(failed))}; only failed files can be put back")
    for inside in insides:
        for ending in _ENDINGS:
            if _is_plain_file(failed / (inside + ending)) and (not ending or kind(inside + ending) is Kind.DROP):
                return _drop(inside + ending)
    raise NotThere(f"there is no such file in {display(str(failed))}.{_suggestion(insides[0], failed)}")


def _readings(given: str, failed: Path, cwd: Path) -> Iterator[Path]:
    """Where the name may lead, likeliest first."""
    if not Path(given).is_absolute():
        yield failed / given
        if given.startswith(f"{failed.name}/"):
            yield failed / given.removeprefix(f"{failed.name}/")
    yield cwd / given


def _inside(path: Path, failed: Path) -> str | None:
    """The path relative to failed/, None where it, or a link on the way, leads out of it."""
    with suppress(OSError, ValueError, RuntimeError):  # a NUL, or links in a circle
        normal = Path(os.path.normpath(path))
        real, base = normal.parent.resolve() / normal.name, failed.resolve()
        if real != base and real.is_relative_to(base):
            return real.relative_to(base).as_posix()
    return None


def _is_plain_file(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return stat.S_ISREG(path.lstat().st_mode)
    return False


def _drop(name: str) -> str:
    if kind(name) is not Kind.DROP:
        raise NotThere("is no job file: their names end in .yaml, .yml, .csv, or .txt")
    return name


def _suggestion(wanted: str, failed: Path) -> str:
    names = _failed_names(failed)
    if not names:
        return " It is empty."
    word = wanted.casefold()
    near = [name for name in names if word in name.casefold()]
    folded = {name.casefold(): name for name in names} | {name.rpartition(".")[0].casefold(): name for name in names}
    near += [folded[found] for found in difflib.get_close_matches(word, folded, n=MOST_SUGGESTIONS, cutoff=0.5)]
    found = list(dict.fromkeys(near))[:MOST_SUGGESTIONS]
    quoted = ", ".join(f"'{display(name)}'" for name in found)
    return f" Did you mean {quoted}?" if found else " `ls` there shows what is."


def _failed_names(failed: Path) -> list[str]:
    names: list[str] = []
    for folder, _folders, files in os.walk(failed):
        relative = (Path(file_name).relative_to(failed).as_posix() for file_name in (f"{folder}/{f}" for f in files))
        names += [name for name in relative if kind(name) is Kind.DROP]
        if len(names) >= MOST_FILES_LOOKED_AT:
            break
    return sorted(names)


# --- putting one back -----------------------------------------------------------------------------


def _put_back(
    name: str, places: Places, ledger: Ledger | None, defaults: DefaultsOnDisk, *, may_pay_again: bool
) -> Retried:
    source, target = places.failed / name, places.inbox / name
    if os.path.lexists(target):
        text = f"a file of that name lies in {display(str(places.inbox))} already: move or remove one of the two"
        return Retried(display(name), is_back=False, texts=(text,))
    filed_as = _relative(source, places.root)
    try:
        content, fingerprint = _read(source)
        allowed = ledger.allow_paying_again(filed_as) if ledger is not None and may_pay_again else 0
        texts = [*_about_paying(allowed, may_pay_again=may_pay_again)]
        drop = Drop(name, fingerprint, content, hashlib.sha256(content).hexdigest(), None)
        texts += _foretell(drop, filed_as, target, ledger, defaults)
        target.parent.mkdir(parents=True, exist_ok=True)
        move(source, target)
    except FileExistsError:
        text = f"a file of that name has just come into {display(str(places.inbox))}; this one stays in failed/"
        return Retried(display(name), is_back=False, texts=(text,))
    except OSError as error:
        return Retried(display(name), is_back=False, texts=(f"cannot be moved: {error.strerror or error}",))
    return Retried(display(name), is_back=True, texts=tuple(texts))


def _relative(path: Path, root: Path) -> str:
    """As the ledger knows it (`Spool.relative`)."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _read(path: Path) -> tuple[bytes, Fingerprint]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read(MAX_BYTES + 1), Fingerprint.of(os.fstat(descriptor))


def _about_paying(allowed: int, *, may_pay_again: bool) -> Iterator[str]:
    if allowed:
        yield f"{_videos(allowed)} that may have been paid already may now be ordered, and paid, again"
    elif may_pay_again:
        yield "none of its videos may have been paid without being made: --pay-again changes nothing here"


def _foretell(drop: Drop, filed_as: str, target: Path, ledger: Ledger | None, defaults: DefaultsOnDisk) -> list[str]:
    """What the daemon will do with it, if nobody changes it meanwhile."""
    try:
        given = defaults.for_file(target)
    except BatchInvalid as error:
        return [
            "it will wait there until the defaults of its folder are mended:",
            *(f"  {problem}" for problem in error.problems[:MOST_PROBLEMS]),
        ]
    if is_note(drop.name, given):
        return ["it will be left lying there: no _defaults.yaml gives language, model, and clothes any more"]
    try:
        batch = defaults.grammar.batch(drop.name, drop.content, given)
    except BatchInvalid as error:
        return _still_invalid(error.problems)
    if ledger is None:
        return [f"there is no ledger here that knows it: {_videos(len(batch.requests))} will be ordered and paid"]
    earlier = ledger.earlier(drop.name, filed_as)
    job_file, jobs = claim.plan(replace(drop, batch=batch), drop.name, earlier, 0.0)
    if job_file.problems:
        return _still_invalid(job_file.problems)
    return _told(jobs, {job.id: job for job in earlier.jobs}, batch)


def _still_invalid(problems: Iterable[Problem]) -> list[str]:
    found = [str(problem) for problem in problems]
    return [
        "it is still not valid, so that nothing will be ordered; mend it in inbox/ at once, or it will be back:",
        *(f"  {problem}" for problem in found[:MOST_PROBLEMS]),
        *([f"  and {len(found) - MOST_PROBLEMS} more"] if len(found) > MOST_PROBLEMS else []),
    ]


def _told(jobs: list[Job], earlier: dict[int, Job], batch: Batch) -> list[str]:
    fates = Counter(_fate(job, earlier) for job in jobs)
    return [
        text if len(batch.requests) == 1 and count == 1 else f"{_videos(count)}: {text}"
        for text in _FATES
        if (count := fates[text])
    ]


_MADE: Final = "made already; not made again, and nothing more is paid"
_GOES_ON: Final = "the render that was paid goes on; nothing more is paid"
_IN_DOUBT: Final = (
    "whether paid or not is not known; not ordered again, and failed again, unless a person says so: "
    "chromadrop retry --pay-again"
)
_PAID_TWICE: Final = "ordered again, and perhaps paid a second time"
_NOT_PAID_YET: Final = "not accepted before, nothing was paid; ordered again, and paid if accepted"
_NEW: Final = "new or changed; ordered and paid"
_FATES: Final = (_MADE, _GOES_ON, _NOT_PAID_YET, _NEW, _PAID_TWICE, _IN_DOUBT)


def _fate(job: Job, earlier: dict[int, Job]) -> str:
    if job.state is State.DONE:
        return _MADE
    if job.state is State.RENDERING:
        return _GOES_ON
    if job.state is State.FAILED:
        return _IN_DOUBT
    if job.continues is None:
        return _NEW
    return _NOT_PAID_YET if earlier[job.continues].failure is Failure.REFUSED else _PAID_TWICE


def _videos(count: int) -> str:
    return "1 video" if count == 1 else f"{count:,} videos"
