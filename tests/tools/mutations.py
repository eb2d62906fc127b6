"""Break the daemon on purpose, each time in another way, and see whether the tests of kills and faults notice.

    .venv/bin/python tests/tools/mutations.py                 every breakage
    .venv/bin/python tests/tools/mutations.py no-recovery ... only these
    .venv/bin/python tests/tools/mutations.py --list

Each breakage is a replacement of text in a scratch copy of the tree; text that is not there exactly once ends the
script, so that it cannot grow stale in silence. The tests must pass on an untouched copy first.

Exit codes: 0 every breakage was noticed; 1 one was not; 2 a breakage does not fit the code, or the tests fail anyway.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TESTS: Final = ("tests/whole/test_killed_inside.py", "tests/whole/test_killed.py")
AT_ONCE: Final = 2
PATIENCE_SECONDS: Final = 300


class Stale(Exception):
    """A breakage does not fit the code any more."""


@dataclass(frozen=True)
class Edit:
    """One replacement: of a text that stands in the file exactly once."""

    file: str
    old: str
    new: str

    def apply(self, tree: Path) -> None:
        """Make it.

        Raises:
            Stale: the text is not there, or more than once.
        """
        path = tree / self.file
        text = path.read_text("utf-8")
        count = text.count(self.old)
        if count != 1:
            raise Stale(f"{self.file}: this stands there {count} times, not once:\n{self.old}")
        path.write_text(text.replace(self.old, self.new), "utf-8")


@dataclass(frozen=True)
class Breakage:
    """One way of getting it wrong.

    Attributes:
        name: for the command line.
        says: what is wrong now.
        edits: how.
    """

    name: str
    says: str
    edits: tuple[Edit, ...]


_DISPATCHER: Final = "daemon/dispatcher.py"
_LEDGER: Final = "daemon/edges/ledger/ledger.py"
_SPOOL: Final = "daemon/edges/spool.py"
_FETCH: Final = "daemon/pipeline/fetch.py"

BREAKAGES: Final = (
    Breakage(
        "post-before-intent",
        "the POST leaves before the ledger knows of it",
        (
            Edit(
                _DISPATCHER,
                "            self._act(self._export_deed(started))\n",
                "            answer = export.export(self._studio, started)\n"
                "            self._act(lambda answer=answer: self._crew.export(lambda: answer))\n",
            ),
        ),
    ),
    Breakage(
        "again-when-in-doubt",
        "a job found EXPORTING at the start is asked for again",
        (
            Edit(
                _DISPATCHER,
                "            self._on_in_doubt(job, InDoubt(reason), now)\n"
                "        elif job.state is State.RENDERING:\n",
                "            queued = self._apply(job, Deferred(reason), now)\n"
                '            self._enter("job.deferred", now, queued, reason=reason)\n'
                "            heapq.heappush(self._queue, (now.monotonic, job.id))\n"
                "        elif job.state is State.RENDERING:\n",
            ),
        ),
    ),
    Breakage(
        "again-when-dropped-again",
        "a job in doubt is asked for again when its file is dropped again without a word",
        (
            Edit(
                "daemon/core/job.py",
                "if earlier.failure is Failure.IN_DOUBT and not may_pay_again:",
                "if earlier.failure is Failure.IN_DOUBT and may_pay_again:",
            ),
        ),
    ),
    Breakage(
        "no-recovery",
        "what the ledger holds at the start is not looked at",
        (
            Edit(
                _DISPATCHER,
                "        for job_file, jobs in taken.files:\n            self._remember",
                "        for job_file, jobs in taken.files[:0]:\n            self._remember",
            ),
        ),
    ),
    Breakage(
        "closed-before-filed",
        "a batch is closed in the ledger before its job file is moved",
        (
            Edit(
                _DISPATCHER,
                "        self._file_away(settled, is_retry=is_retry)\n\n    def _file_away",
                "        self._close_early(settled, now)\n"
                "        self._file_away(settled, is_retry=is_retry)\n\n"
                "    def _close_early(self, job_file: JobFile, now: Instant) -> None:\n"
                '        filed_as = f"{job_file.outcome}/{job_file.name}"\n'
                "        closed = replace(job_file, state=FileState.CLOSED, closed_at=now.wall, filed_as=filed_as)\n"
                "        self._work.change_file(job_file, closed)\n"
                '        self._enter_file("batch.filed", now, closed, outcome=closed.outcome, filed_as=filed_as)\n\n'
                "    def _file_away",
            ),
            Edit(
                _DISPATCHER,
                "        closed = replace(job_file, state=FileState.CLOSED, closed_at=now.wall, "
                "filed_as=message.filed_as)\n"
                "        self._work.change_file(job_file, closed)\n"
                '        self._enter_file("batch.filed", now, closed, outcome=closed.outcome, '
                "filed_as=display(message.filed_as))\n",
                "",
            ),
            Edit(
                _DISPATCHER,
                "whole = replace(job_file, content=self._ledger.content(job_file.id))",
                "whole = replace(job_file, content=(self._spool.places.processing / job_file.processing_name)"
                ".read_bytes())",
            ),
        ),
    ),
    Breakage(
        "visible-before-complete",
        "the video is downloaded straight into videos/",
        (
            Edit(
                _FETCH,
                "    part = studio.download(url, path, should_stop=should_stop)\n"
                '    folder = job_file.name.rpartition("/")[0]\n'
                "    name = video_name(job, job_file, url=url, template=template)\n",
                '    folder = job_file.name.rpartition("/")[0]\n'
                "    name = video_name(job, job_file, url=url, template=template)\n"
                '    target = spool.places.videos / folder / f"{job.id} {name}"\n'
                "    target.parent.mkdir(parents=True, exist_ok=True)\n"
                "    part = studio.download(url, target, should_stop=should_stop)\n"
                "    target.rename(path)\n",
            ),
        ),
    ),
    Breakage(
        "two-transactions",
        "a change and the entries that tell of it are two transactions",
        (
            Edit(
                _LEDGER,
                "        if work.entries:\n            connection.execute(",
                '        connection.exec_driver_sql("COMMIT")\n        connection.exec_driver_sql("BEGIN IMMEDIATE")\n'
                "        if work.entries:\n            connection.execute(",
            ),
        ),
    ),
    Breakage(
        "move-before-claim",
        "a job file is moved to processing/ before the ledger knows of it",
        (
            Edit(
                _DISPATCHER,
                "            entered = self._ledger.enter(plan.claims) if plan.claims else []\n",
                "            claim.take(self._spool, [(job_file, False) for job_file, _jobs in plan.claims])\n"
                "            entered = self._ledger.enter(plan.claims)\n",
            ),
        ),
    ),
    Breakage(
        "overwriting",
        "a move goes over what is there",
        (
            Edit(
                _SPOOL,
                "    try:\n        _rename_no_replace(source, target)\n    except OSError as error:\n",
                "    try:\n        source.replace(target)\n    except OSError as error:\n",
            ),
            Edit(
                _SPOOL,
                "        if not is_ours and any(os.path.lexists(path) for path in _with_all_beside(target)):\n"
                "            return False\n",
                "",
            ),
            Edit(
                _SPOOL,
                "        return first_free(is_taken)\n",
                "        return 1 if is_taken(1) else first_free(is_taken)\n",
            ),
        ),
    ),
    Breakage(
        "no-note",
        "it is not remembered where a video is about to appear, so that it may appear twice",
        (Edit(_SPOOL, "                _write_durably(self._note(job_id), note)\n", ""),),
    ),
    Breakage(
        "job-file-first",
        "the job file is filed before its result, by which a second attempt would know it",
        (
            Edit(
                _SPOOL,
                "        if not is_ours:\n            self._restore(filing)\n",
                "        if not is_ours:\n            self._restore(filing)\n"
                "            move(self.places.processing / filing.processing_name, target)\n",
            ),
            Edit(
                _SPOOL,
                "        if self._move_job_file(filing, target, may_be_there=is_ours):\n",
                "        if self._move_job_file(filing, target, may_be_there=True):\n",
            ),
        ),
    ),
    Breakage(
        "forgotten-when-deferred",
        "a filing that the disk refused once is not tried again",
        (
            Edit(
                _DISPATCHER,
                "            self._retry_filing(job_file.id, message.reason, now, "
                "lambda _then: self._file_away(job_file, is_retry=True))\n",
                "",
            ),
        ),
    ),
)


def copy_tree(target: Path) -> None:
    """What the tests need."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("daemon", "tests"):
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", target)


def run_tests(tree: Path) -> subprocess.CompletedProcess[str]:
    """The tests, on this copy; they end at the first one that fails."""
    tests = [str(tree / test) for test in TESTS]
    options = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider", f"--basetemp={tree}/scratch"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    environ = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=tree, env=environ, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, f"Error: no end within {PATIENCE_SECONDS} s", "")


def try_one(breakage: Breakage | None) -> tuple[Breakage | None, subprocess.CompletedProcess[str], float]:
    """Break a copy and run the tests on it; None breaks nothing.

    Raises:
        Stale: it does not fit the code.
        RuntimeError: the tests would not have run on the copy.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chromadrop-mutation-") as folder:
        tree = Path(folder).resolve()
        copy_tree(tree)
        for edit in breakage.edits if breakage else ():
            edit.apply(tree)
        where = "import daemon.dispatcher as it; print(it.__file__)"
        environ = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        found = subprocess.run(
            [sys.executable, "-c", where], cwd=tree, env=environ, capture_output=True, text=True, check=False
        )
        if found.stdout.strip() != str(tree / "daemon" / "dispatcher.py"):
            raise RuntimeError(f"the copy cannot be imported: {found.stdout}{found.stderr}")
        return breakage, run_tests(tree), time.monotonic() - began


def chosen(names: list[str]) -> list[Breakage]:
    """The breakages of these names; all of them where there are none.

    Raises:
        Stale: there is no such breakage.
    """
    by_name = {breakage.name: breakage for breakage in BREAKAGES}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise Stale(f"no such breakage: {', '.join(unknown)}")
    return [by_name[name] for name in names] or list(BREAKAGES)


def why(output: str) -> str:
    """The line by which a test noticed."""
    lines = [line.strip() for line in output.splitlines()]
    found = [line for line in lines if line.startswith(("FAILED", "ERROR")) or "Error" in line]
    return found[0][:160] if found else ""


def judge(names: list[str], *, has_baseline: bool = True) -> int:
    """Try them and say what came of each; the exit code."""
    breakages = chosen(names)
    survivors = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for breakage, ran, seconds in pool.map(try_one, [None] * has_baseline + breakages):
            if breakage is None:
                if ran.returncode != 0:
                    say(f"the tests fail on the tree as it is:\n{ran.stdout}{ran.stderr}")
                    return 2
                say(f"{seconds:5.1f} s  passed    the tree as it is")
            elif ran.returncode == 1:
                say(f"{seconds:5.1f} s  noticed   {breakage.name}: {breakage.says}\n{' ' * 19}{why(ran.stdout)}")
            else:
                survivors.append(breakage.name)
                say(f"{seconds:5.1f} s  SURVIVED  {breakage.name}: {breakage.says} (pytest said {ran.returncode})")
    if survivors:
        say(f"not noticed: {', '.join(survivors)}")
    return 1 if survivors else 0


def say(words: str) -> None:
    """To whoever runs the script."""
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def main() -> int:
    """See the module."""
    arguments = sys.argv[1:]
    if arguments == ["--list"]:
        for breakage in BREAKAGES:
            say(f"{breakage.name:26} {breakage.says}")
        return 0
    try:
        return judge(arguments)
    except Stale as error:
        say(str(error))
        return 2


if __name__ == "__main__":
    sys.exit(main())
