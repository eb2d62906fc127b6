"""What people and their programs do to the folders, each shown on a real daemon process where one machine can show it.

`PROOFS` names for each row of the list of nasty cases the tests that show it; a test checks that they are there.
Most cases share one life of one daemon (`life`), each in a subfolder of its own, so that they also get into each
other's way as in the wild.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import functools
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from place import Place, job, wait_until

from daemon.core import settle
from daemon.edges import inbox_watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify and leases are Linux's")

_LIFE = "tests/process/test_people.py::test_one_life"
_WATCH = "tests/edges/test_inbox_watch.py::test_"
_SHARE = "tests/process/test_share.py::test_"
_PEOPLE = "tests/process/test_people.py::test_"

PROOFS: Final[dict[str, tuple[str, ...]]] = {
    "cp of a small file": (f"{_LIFE}[cp]",),
    "mv in with an mtime of 2020, or one hour in the future": (f"{_LIFE}[mv of 2020]", f"{_LIFE}[mv of the future]"),
    "x.yaml.tmp -> x.yaml by rename": (
        f"{_LIFE}[rename]",
        "tests/process/test_process.py::test_a_renamed_file_is_taken_without_waiting",
    ),
    "rsync, rsync --inplace, --partial-dir, --delay-updates": tuple(
        f"{_LIFE}[rsync{mode}]" for mode in ("", " --inplace", " --partial-dir=.p", " --delay-updates")
    ),
    "a stream with 1.5 s gaps, or stalled for a minute, one descriptor": (
        f"{_LIFE}[slow stream]",
        f"{_WATCH}a_file_held_open_for_writing_waits_for_its_close",
    ),
    "a writer that appends four times, closing each time": (
        f"{_LIFE}[four appends]",
        f"{_WATCH}a_writer_that_comes_back_starts_the_clock_again",
    ),
    "full size at once with a NUL tail, filled later": (f"{_LIFE}[NUL tail filled]",),
    "the same, connection lost, NUL tail stays": (f"{_LIFE}[NUL tail stays]",),
    "mtime set back to old after every chunk": (
        f"{_LIFE}[mtime set back]",
        f"{_WATCH}an_mtime_set_back_after_every_chunk_is_still_a_change",
    ),
    "vim, nano, emacs, VS Code save; saved twice within 1 s": tuple(
        f"{_LIFE}[{editor}]" for editor in ("vim", "nano", "emacs", "VS Code")
    ),
    "an editor saves again after the claim": (f"{_LIFE}[saved after the claim]",),
    "deleted while settling, or between scan and claim": (
        f"{_LIFE}[deleted while settling]",
        "tests/whole/test_daemon.py::test_a_drop_that_vanished_before_the_move_is_forgotten",
    ),
    "replaced by rename while settling": (
        f"{_LIFE}[replaced while settling]",
        f"{_WATCH}replaced_while_it_settles_starts_the_clock_again",
    ),
    "zero bytes for an hour, then filled": (
        f"{_LIFE}[zero bytes]",
        f"{_WATCH}zero_bytes_wait_for_ever_and_run_once_filled",
    ),
    "FIFO, socket, device, folder, dangling or looping link named x.yaml": (f"{_LIFE}[no files]",),
    "symbolic link to a file outside": (f"{_LIFE}[link outside]",),
    "a 10 GB sparse x.yaml": (f"{_LIFE}[sparse 10 GB]", f"{_PEOPLE}the_life_took_little_memory"),
    "mode 000, another owner, sticky inbox": (
        f"{_SHARE}files_and_folders_of_other_users",
        f"{_WATCH}a_file_that_may_not_be_read_stays_with_a_warning",
    ),
    "names with newline, ESC, bytes that are not UTF-8, 255 bytes, a leading -, quotes, NFD": (f"{_LIFE}[odd names]",),
    "Job.YAML beside job.yaml; NFC and NFD twins": (f"{_LIFE}[twins]",),
    "._x.yaml, .DS_Store, ~$x.yaml, .nfs000, .smbdeleteAAA1, .syncthing.x.yaml.tmp": (f"{_LIFE}[leavings]",),
    "the same name already in done/, two files at once": (f"{_LIFE}[same name twice]",),
    "50,000 files in a second, inotify queue of 16384 or 16": (
        f"{_PEOPLE}a_flood_with_a_queue_of_16_events",
        f"{_WATCH}thousands_are_taken_in_each_read_once",
        f"{_WATCH}an_overflow_asks_for_a_scan_of_everything",
    ),
    "inbox removed and made again; renamed away and a new one made; a link turned elsewhere": (
        f"{_SHARE}an_inbox_that_is_exchanged_is_found_again",
    ),
    "unmount, remount; a mount over a running watch": (
        f"{_SHARE}unmounted_and_mounted_again",
        f"{_SHARE}another_folder_mounted_over_a_running_watch_is_not_ours",
        f"{_SHARE}an_inbox_mounted_over_a_running_watch_is_found",
    ),
    "the share gone for five minutes (ESTALE, EIO, ENOENT, an empty folder)": (
        f"{_SHARE}a_root_that_is_gone_is_taken_up_when_it_is_back",
        f"{_SHARE}changes_on_the_other_side_and_a_file_server_that_dies",
        "tests/edges/test_spool.py::test_a_share_that_answers_with_errors_is_unavailable",
        f"{_WATCH}a_failing_share_is_one_trouble_not_one_for_each_file",
    ),
    "changes on the other side of a FUSE mount": (f"{_SHARE}changes_on_the_other_side_and_a_file_server_that_dies",),
    "the observer thread killed, or its handler raising": (
        f"{_WATCH}a_thread_that_died_is_rebuilt",
        f"{_WATCH}the_handler_cannot_raise",
    ),
    "no inotify watches left (a user namespace with limits of 0)": (
        f"{_PEOPLE}without_inotify_watches_it_scans",
        f"{_WATCH}without_inotify_watches_it_warns_once_and_scans",
    ),
    "inbox unreadable at start": (f"{_SHARE}an_inbox_that_is_unreadable_at_the_start",),
    "kill -9 after the claim, during work, after work before the move": (
        "tests/process/test_killed_process.py::test_sigkill_at_random_moments_under_load",
        "tests/whole/test_daemon.py::test_killed_between_the_claim_and_the_move_is_claimed_once",
        "tests/whole/test_daemon.py::test_killed_while_rendering_goes_on_without_a_second_export",
        "tests/whole/test_daemon.py::test_killed_before_filing_is_only_moved",
    ),
    "the disk full, or done/ read-only, at the end": (
        f"{_SHARE}the_disk_is_full_at_the_end",
        f"{_SHARE}done_is_read_only_at_the_end",
    ),
    "bad YAML, mended within the grace": (f"{_LIFE}[mended within the grace]",),
    "recursion bomb, 1 MiB + 1 byte, latin-1, tabs, alias bomb": (f"{_LIFE}[bad files]",),
    "UTF-16 with BOM, UTF-8 with BOM, CRLF": (f"{_LIFE}[encodings]",),
    "the clock set back an hour while settling": (
        f"{_PEOPLE}no_wall_clock_decides_what_is_ready",
        f"{_LIFE}[mv of the future]",
    ),
    "SIGTERM while settling, claiming, working": (
        f"{_PEOPLE}sigterm_while_settling_leaves_the_inbox_alone",
        "tests/process/test_process.py::test_sigterm_leaves_everything_resumable",
        "tests/whole/test_daemon.py::test_sigterm_starts_nothing_more_and_lets_an_export_end",
    ),
    "indexer or backup touches (chmod, xattr, atime) during work": (
        f"{_LIFE}[touched]",
        f"{_WATCH}a_touch_of_a_file_that_was_said_changes_nothing",
    ),
}

SETTLE_SECONDS: Final = 2.0
GRACE_SECONDS: Final = 3.0
SECRET: Final = "what stands outside is nobody's business"
pause = threading.Event().wait


class TooSlow(Exception):
    """This machine kept a writer waiting for so long that what it did was another case."""


class Hand:
    """Somebody who works in one subfolder of inbox/."""

    def __init__(self, root: Path, number: int, name: str) -> None:
        self.name = name
        self.folder = f"case{number}"
        self.inbox = root / "inbox" / self.folder
        self.processing = root / "processing" / self.folder
        self.outside = root / "outside" / self.folder
        self.inbox.mkdir(parents=True)
        self.outside.mkdir(parents=True)
        self._last = time.monotonic()

    def job(self, text: str) -> bytes:
        """A job whose text tells whose it is."""
        return job(f"{self.name}: {text}").encode()

    def write(self, name: str, content: bytes) -> Path:
        path = self.inbox / name
        path.write_bytes(content)
        return path

    def begin(self) -> None:
        """Now the file is as it is."""
        self._last = time.monotonic()

    def still_in_time(self) -> None:
        """What was just done came well before anything had settled."""
        before, self._last = self._last, time.monotonic()
        if self._last - before > SETTLE_SECONDS * 0.75:
            raise TooSlow


@dataclass(frozen=True)
class Case:
    """What somebody does, and what is to come of it.

    Attributes:
        act: what they do.
        texts: the orders that come of it, each exactly once.
        done: names in done/ afterwards; None for one name per text.
        failed: names in failed/, and a part of what each error file says.
        left: names that still lie in inbox/.
        needs: a program.
    """

    act: Callable[[Hand], None]
    texts: tuple[str, ...] = ("whole",)
    done: tuple[str, ...] = ("x.yaml",)
    failed: dict[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    needs: str = ""


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)


def halves(content: bytes) -> tuple[bytes, bytes]:
    """Two parts of a job file of which the first would be taken for a job by itself, with another text."""
    at = content.index(b"whole") + 3
    return content[:at], content[at:]


# --- the writers ----------------------------------------------------------------------------------------------------


def cp(hand: Hand) -> None:
    (hand.outside / "x.yaml").write_bytes(hand.job("whole"))
    run("cp", hand.outside / "x.yaml", hand.inbox)


def mv(hand: Hand, *, mtime: float) -> None:
    path = hand.outside / "x.yaml"
    path.write_bytes(hand.job("whole"))
    os.utime(path, (mtime, mtime))
    run("mv", path, hand.inbox)


def rename(hand: Hand) -> None:
    hand.write("x.yaml.tmp", hand.job("whole")).rename(hand.inbox / "x.yaml")


def rsync(hand: Hand, *options: str) -> None:
    (hand.outside / "x.yaml").write_bytes(hand.job("whole") + b"# filler\n" * 20_000)
    run("rsync", "-a", "--bwlimit=400", *options, f"{hand.outside}/", f"{hand.inbox}/")


def slow_stream(hand: Hand) -> None:
    first, second = halves(hand.job("whole"))
    with (hand.inbox / "x.yaml").open("wb", buffering=0) as file:
        file.write(first)
        pause(SETTLE_SECONDS + 1.0)
        file.write(second[:1])
        pause(1.5)
        file.write(second[1:])


def four_appends(hand: Hand) -> None:
    content = hand.job("whole")
    hand.begin()
    for part in range(4):
        with (hand.inbox / "x.yaml").open("ab") as file:
            file.write(content[part * len(content) // 4 : (part + 1) * len(content) // 4])
        hand.still_in_time()
        pause(0.7 * (part < 3))


def nul_tail(hand: Hand, *, is_filled: bool) -> None:
    content = hand.job("whole")
    first, second = halves(content)
    hand.begin()
    path = hand.write("x.yaml", first + bytes(len(second)))
    if is_filled:
        pause(SETTLE_SECONDS + 0.5)
        with path.open("r+b") as file:
            file.seek(len(first))
            file.write(second)
        if time.monotonic() - hand._last > SETTLE_SECONDS + GRACE_SECONDS - 0.5:
            raise TooSlow


def mtime_set_back(hand: Hand) -> None:
    content = hand.job("whole")
    hand.begin()
    for end in (len(content) - 3, len(content) - 2, len(content)):
        path = hand.write("x.yaml", content[:end])
        os.utime(path, (1, 1))
        hand.still_in_time()
        pause(0.7 * (end < len(content)))


def vim(hand: Hand) -> None:
    """The real one, with a backup copy and its test file 4913, twice."""
    path = hand.inbox / "x.yaml"
    hand.begin()
    for text in ("draft", "whole"):
        scratch = hand.outside / "text"
        scratch.write_bytes(hand.job(text))
        vi = shutil.which("vim") or shutil.which("vim.tiny") or "vim"
        keys = ["-c", "set backup writebackup backupskip=", "-c", f"%d | 0read {scratch} | wq!"]
        run(vi, "-u", "NONE", "-es", *keys, path)
        hand.still_in_time()


def nano(hand: Hand) -> None:
    """Truncated and written in place, with a lock file beside it; twice."""
    hand.begin()
    for text in ("draft", "whole"):
        lock = hand.write(".x.yaml.swp", b"nano")
        hand.write("x.yaml", hand.job(text))
        lock.unlink()
        hand.still_in_time()


def emacs(hand: Hand) -> None:
    """A lock that is a dangling link, an autosave file, and the old file kept as a backup; twice."""
    hand.begin()
    path, lock = hand.inbox / "x.yaml", hand.inbox / ".#x.yaml"
    for text in ("draft", "whole"):
        lock.symlink_to("somebody@host.1234:5678")
        autosave = hand.write("#x.yaml#", hand.job("autosave"))
        if path.exists():
            path.rename(hand.inbox / "x.yaml~")
        path.write_bytes(hand.job(text))
        autosave.unlink()
        lock.unlink()
        hand.still_in_time()


def vs_code(hand: Hand) -> None:
    """Written in place, empty in between; twice."""
    hand.begin()
    for text in ("draft", "whole"):
        with (hand.inbox / "x.yaml").open("wb") as file:
            file.truncate()
            file.write(hand.job(text))
        hand.still_in_time()


def saved_after_the_claim(hand: Hand) -> None:
    path = hand.write("x.yaml", hand.job("first"))
    wait_until(lambda: not path.exists(), "the claim")
    hand.write("x.yaml", hand.job("second"))


def deleted_while_settling(hand: Hand) -> None:
    hand.begin()
    hand.write("x.yaml", hand.job("deleted")).unlink()
    hand.still_in_time()


def replaced_while_settling(hand: Hand) -> None:
    hand.begin()
    hand.write("x.yaml", hand.job("other"))
    pause(0.5)
    hand.write("x.new", hand.job("whole")).rename(hand.inbox / "x.yaml")
    hand.still_in_time()


def zero_bytes(hand: Hand) -> None:
    (hand.inbox / "x.yaml").touch()
    pause(SETTLE_SECONDS + GRACE_SECONDS)
    hand.write("x.yaml", hand.job("whole"))


def no_files(hand: Hand) -> None:
    os.mkfifo(hand.inbox / "pipe.yaml")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/cwd/{os.path.relpath(hand.inbox / 'socket.yaml')}")
    (hand.inbox / "folder.yaml").mkdir()
    (hand.inbox / "dangling.yaml").symlink_to("nowhere")
    (hand.inbox / "loop.yaml").symlink_to("loop.yaml")
    with contextlib.suppress(PermissionError):
        os.mknod(hand.inbox / "device.yaml", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    hand.write("x.yaml", hand.job("whole"))


def link_outside(hand: Hand) -> None:
    (hand.outside / "secret").write_bytes(hand.job(SECRET))
    (hand.inbox / "link.yaml").symlink_to(hand.outside / "secret")
    hand.write("x.yaml", hand.job("whole"))


def sparse(hand: Hand) -> None:
    with (hand.inbox / "x.yaml").open("wb") as file:
        file.truncate(10 << 30)


ODD_NAMES: Final = (
    b"new\nline.yaml",
    b"\x1b[31mred.yaml",
    b"latin-\xe9.yaml",
    b"-rf.yaml",
    b"'\"`$x.yaml",
    "u\u0308ber.yaml".encode(),
    b"l" * 250 + b".yaml",
    b" .yaml",
)


def odd_names(hand: Hand) -> None:
    for number, name in enumerate(ODD_NAMES):
        hand.write(os.fsdecode(name), hand.job(str(number)))


TWINS: Final = ("Job.YAML", "job.yaml", "caf\u00e9.yaml", "cafe\u0301.yaml")


def twins(hand: Hand) -> None:
    for number, name in enumerate(TWINS):
        hand.write(name, hand.job(str(number)))


LEAVINGS: Final = (
    "._x.yaml",
    ".DS_Store",
    "~$x.yaml",
    ".nfs000",
    ".smbdeleteAAA1",
    ".syncthing.x.yaml.tmp",
    "4913",
    "x.yaml~",
    ".x.yaml.swp",
    "y.yaml.part",
    "y.yaml.crdownload",
    "Thumbs.db",
    "desktop.ini",
    "@eaDir/x.yaml",
    ".Trash-1000/x.yaml",
    "__MACOSX/x.yaml",
    "x.sync-conflict-20240102-030405-ABCDEFG.yaml",
)


def leavings(hand: Hand) -> None:
    for name in LEAVINGS:
        (hand.inbox / name).parent.mkdir(exist_ok=True)
        hand.write(name, hand.job(name))
    hand.write("x.yaml", hand.job("whole"))


def same_name_twice(hand: Hand) -> None:
    for text in ("first", "second"):
        path = hand.write("x.yaml", hand.job(text))
        wait_until(lambda path=path: not path.exists(), "the claim")  # type: ignore[misc]


def mended_within_the_grace(hand: Hand) -> None:
    hand.begin()
    hand.write("x.yaml", b"language: ko\n\ttext: broken\n")
    pause(SETTLE_SECONDS + 0.5)
    hand.write("x.yaml", hand.job("whole"))
    if time.monotonic() - hand._last > SETTLE_SECONDS + GRACE_SECONDS - 0.5:
        raise TooSlow


def alias_bomb() -> bytes:
    levels = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9)]
    return b"\n".join(levels)


BAD_FILES: Final = {
    "deep.yaml": (b"[" * 100_000, "line 1"),
    "large.yaml": (b"#" * (1 << 20) + b"\n", "too large"),
    "latin.yaml": ("language: fr\ntext: caf\u00e9\n".encode("latin-1"), "line 2"),
    "tabs.yaml": (b"language: ko\n\ttext: x\n", "line 2"),
    "bomb.yaml": (alias_bomb(), "line"),
    "loop.yaml": (b"&a [*a]\n", "line 1"),
}


def bad_files(hand: Hand) -> None:
    for name, (content, _) in BAD_FILES.items():
        hand.write(name, content)


def encodings(hand: Hand) -> None:
    for name in ("utf-16", "utf-8-sig"):
        hand.write(f"{name}.yaml", hand.job(name).decode().encode(name))
    hand.write("crlf.yaml", hand.job("crlf").replace(b"\n", b"\r\n"))


def touched(hand: Hand) -> None:
    """An indexer and a backup, before the claim and after."""
    path = hand.write("x.yaml", hand.job("whole"))
    touch(path)
    wait_until(lambda: not path.exists(), "the claim")
    for _ in range(20):
        touch(hand.processing / "x.yaml")
        pause(0.02)


def touch(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        path.chmod(0o600)
        path.chmod(0o644)
        path.read_bytes()
        os.utime(path)
        try:
            os.setxattr(path, "user.backup", b"seen")
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EPERM, errno.ENOENT}:
                raise


RSYNC: Final = {
    f"rsync{' ' * bool(mode)}{mode}": Case(functools.partial(_rsync, options=(mode,) if mode else ()), needs="rsync")
    for _rsync in [lambda hand, options: rsync(hand, *options)]
    for mode in ("", "--inplace", "--partial-dir=.p", "--delay-updates")
}
CASES: Final[dict[str, Case]] = {
    "cp": Case(cp),
    "mv of 2020": Case(lambda hand: mv(hand, mtime=1_577_836_800.0)),
    "mv of the future": Case(lambda hand: mv(hand, mtime=time.time() + 3600)),
    "rename": Case(rename),
    **RSYNC,
    "slow stream": Case(slow_stream),
    "four appends": Case(four_appends),
    "NUL tail filled": Case(lambda hand: nul_tail(hand, is_filled=True)),
    "NUL tail stays": Case(
        lambda hand: nul_tail(hand, is_filled=False), (), (), {"x.yaml": "looks half copied (NUL bytes)"}
    ),
    "mtime set back": Case(mtime_set_back),
    "vim": Case(vim, left=("x.yaml~",), needs="vim"),
    "nano": Case(nano),
    "emacs": Case(emacs, left=("x.yaml~",)),
    "VS Code": Case(vs_code),
    "saved after the claim": Case(saved_after_the_claim, ("first", "second"), ("x (2).yaml", "x.yaml")),
    "deleted while settling": Case(deleted_while_settling, (), ()),
    "replaced while settling": Case(replaced_while_settling),
    "zero bytes": Case(zero_bytes),
    "no files": Case(no_files),
    "link outside": Case(link_outside),
    "sparse 10 GB": Case(sparse, (), (), {"x.yaml": "too large"}),
    "odd names": Case(odd_names, tuple(map(str, range(len(ODD_NAMES)))), tuple(map(os.fsdecode, ODD_NAMES))),
    "twins": Case(twins, tuple(map(str, range(len(TWINS)))), TWINS),
    "leavings": Case(leavings, left=LEAVINGS),
    "same name twice": Case(same_name_twice, ("first", "second"), ("x (2).yaml", "x.yaml")),
    "mended within the grace": Case(mended_within_the_grace),
    "bad files": Case(bad_files, (), (), {name: words for name, (_, words) in BAD_FILES.items()}),
    "encodings": Case(encodings, ("utf-16", "utf-8-sig", "crlf"), ("crlf.yaml", "utf-16.yaml", "utf-8-sig.yaml")),
    "touched": Case(touched),
}


# --- one life -------------------------------------------------------------------------------------------------------


@dataclass
class Life:
    """What a daemon's life left behind."""

    root: Path
    accepted: dict[str, int]
    lines: list[str]
    said: Callable[..., list[dict[str, Any]]]
    code: int
    most_kilobytes: int
    hands: dict[str, Hand]
    skipped: dict[str, str]

    def names(self, folder: str, hand: Hand) -> list[str]:
        """The files of one case in one folder; hidden ones and links too."""
        base = self.root / folder / hand.folder
        return sorted(path.relative_to(base).as_posix() for path in base.rglob("*") if not path.is_dir())

    def job_files(self, folder: str, hand: Hand) -> list[str]:
        return [name for name in self.names(folder, hand) if not name.endswith((".result.json", ".error.txt"))]


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    """One daemon, and everybody at once."""
    root = Path(tempfile.mkdtemp())
    with Place(root, render_seconds=0.3) as place:
        place.environ |= {
            "CHROMADROP_WATCH__SETTLE_SECONDS": str(SETTLE_SECONDS),
            "CHROMADROP_WATCH__GRACE_SECONDS": str(GRACE_SECONDS),
        }
        running = place.start("run")
        running.until("watch.started")
        hands = {name: Hand(root, number, name) for number, name in enumerate(CASES)}
        skipped = act_all(hands)
        live = {name: case for name, case in CASES.items() if name not in skipped}
        count = sum(len(case.texts) + len(case.failed) for case in live.values())
        cases = {hands[name].folder for name in live}
        wait_until(lambda: sum(_of(one, cases) for one in running.said("batch.filed")) >= count, f"{count} filed")
        place.drop_at_once("last.yaml", job("last"))  # time for a second run of what must not have one
        running.until("batch.filed", file="last.yaml")
        memory = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
        most = next(line for line in memory if line.startswith("VmHWM"))
        code = running.terminate()
        accepted = place.simulator.accepted_by_text()
        yield Life(root, accepted, running.lines, running.said, code, int(most.split()[1]), hands, skipped)
    shutil.rmtree(root)


def _of(filed: dict[str, Any], folders: set[str]) -> bool:
    return str(filed["file"]).partition("/")[0] in folders


def act_all(hands: dict[str, Hand]) -> dict[str, str]:
    """Everybody does their part at the same time; why some could not."""
    skipped: dict[str, str] = {}

    def act(name: str) -> None:
        case = CASES[name]
        if case.needs and shutil.which(case.needs) is None and shutil.which(f"{case.needs}.tiny") is None:
            skipped[name] = f"needs {case.needs}"
            return
        try:
            case.act(hands[name])
        except TooSlow:
            skipped[name] = "this machine was too slow to do this in time"

    with ThreadPoolExecutor(len(CASES)) as pool:
        list(pool.map(act, CASES))
    return skipped


def no_plain_files(folder: Path) -> list[str]:
    """Links, pipes, and the like in a folder."""
    return [path.name for path in folder.iterdir() if path.is_symlink() or not (path.is_file() or path.is_dir())]


@pytest.mark.parametrize("name", CASES)
def test_one_life(life: Life, name: str) -> None:
    """Each order once; each file in its place; whatever is no drop is left lying."""
    if name in life.skipped:
        pytest.skip(life.skipped[name])
    case, hand = CASES[name], life.hands[name]
    ordered = {text: count for text, count in life.accepted.items() if text.startswith(f"{name}: ")}
    assert ordered == {f"{name}: {text}": 1 for text in case.texts}
    assert len(life.job_files("done", hand)) == len(case.done)
    if name != "odd names":
        assert life.job_files("done", hand) == sorted(case.done)
        assert life.job_files("failed", hand) == sorted(case.failed)
    for failed, words in case.failed.items():
        assert words in (life.root / "failed" / hand.folder / f"{failed}.error.txt").read_text()
    assert life.names("inbox", hand) == sorted([*case.left, *no_plain_files(hand.inbox)])
    assert life.names("processing", hand) == []


def test_the_life_ended_well(life: Life) -> None:
    """Exit code 0, nothing unexpected, and each line of the log is one line."""
    assert life.code == 0
    assert all(line.startswith("{") and line.endswith("}\n") for line in life.lines)
    assert not life.said("scan.failed")
    assert "Traceback" not in "".join(life.lines)


def test_odd_names_keep_their_bytes(life: Life) -> None:
    """As they were dropped; only the longest is shortened, so that its result file fits."""
    names = {os.fsencode(name) for name in life.job_files("done", life.hands["odd names"])}
    assert {name for name in ODD_NAMES if len(name) < 100} <= names
    (long,) = names - set(ODD_NAMES) or {ODD_NAMES[6]}
    assert long.startswith(b"l" * 100)
    assert long.endswith(b".yaml")


def test_what_is_no_file_was_told_once_each(life: Life) -> None:
    """One warning a name, which says what it is; and it still lies there, unopened."""
    hand = life.hands["no files"]
    told = sorted(
        (one["file"].rpartition("/")[2], one["reason"])
        for one in life.said("drop.ignored")
        if one["file"].startswith(hand.folder + "/")
    )
    kinds = {
        "pipe.yaml": "named pipe",
        "socket.yaml": "socket",
        "folder.yaml": "folder",
        "dangling.yaml": "symbolic link",
        "loop.yaml": "symbolic link",
        "device.yaml": "device",
    }
    assert told == sorted((name, kind) for name, kind in kinds.items() if os.path.lexists(hand.inbox / name))
    assert len(told) >= 5


def test_what_a_link_leads_to_is_in_no_message(life: Life) -> None:
    """Neither in the log nor in any file that the daemon wrote."""
    assert SECRET not in "".join(life.lines)
    for folder in ("done", "failed", "processing", "state", "videos"):
        for path in (life.root / folder).rglob("*"):
            if path.is_file() and path.stat().st_size < 1 << 30:
                assert SECRET.encode() not in path.read_bytes()


def test_the_life_took_little_memory(life: Life) -> None:
    """10 GB of zeros, bombs, and all: 200 MB at most, of which most is Python and its libraries."""
    assert life.most_kilobytes < 200 * 1024


# --- lives of their own ---------------------------------------------------------------------------------------------


def test_sigterm_while_settling_leaves_the_inbox_alone(tmp_path: Path) -> None:
    """Nothing is claimed or paid; the next start takes it."""
    with Place(tmp_path, render_seconds=0.2) as place:
        running = place.start("run", CHROMADROP_WATCH__SETTLE_SECONDS="3600", CHROMADROP_LOGS__LEVEL="debug")
        running.until("watch.started")
        place.drop("x.yaml", job("whole"))
        running.until("drop.waiting")
        assert running.terminate() == 0
        assert place.job_files("inbox") == ["x.yaml"]
        assert place.files("processing") == []
        assert place.start("run", "--once").end() == 0
        assert place.simulator.accepted_by_text() == {"whole": 1}


QUEUE_LENGTH: Final = Path("/proc/sys/fs/inotify/max_queued_events")


@contextlib.contextmanager
def queue_of(events: int) -> Iterator[None]:
    """What inotify descriptors made meanwhile can hold; the whole machine's, so for a moment only."""
    before = QUEUE_LENGTH.read_text()
    QUEUE_LENGTH.write_text(f"{events}\n")
    try:
        yield
    finally:
        QUEUE_LENGTH.write_text(before)


@pytest.mark.slow
@pytest.mark.skipif(not os.access(QUEUE_LENGTH, os.W_OK), reason="needs root, to make inotify's queue short")
def test_a_flood_with_a_queue_of_16_events(tmp_path: Path) -> None:
    """1,500 files at once: nearly all events are lost, no scan is due, and yet all files are claimed, each once."""
    with Place(tmp_path, render_seconds=0.0) as place:
        (tmp_path / "inbox/PAUSE").touch()
        with queue_of(16):
            running = place.start("run", CHROMADROP_WATCH__RESCAN_SECONDS="3600")
            running.until("watch.started")
        outside = tmp_path / "outside"
        outside.mkdir()
        for number in range(1500):
            (outside / f"{number}.yaml").write_text(job(f"{number}"))
        for number in range(1500):
            (outside / f"{number}.yaml").rename(tmp_path / "inbox" / f"{number}.yaml")
        wait_until(lambda: len(os.listdir(tmp_path / "inbox")) == 1, "all claims")  # noqa: PTH208 - quick
        assert running.terminate() == 0
        assert len(place.job_files("processing")) == 1500
        assert place.simulator.accepted_by_text() == {}


def test_without_inotify_watches_it_scans(tmp_path: Path) -> None:
    """A user namespace with a limit of 0: warns, scans, works."""
    limit = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    sandbox = ("unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*sandbox, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no user namespaces here")
    with Place(tmp_path, render_seconds=0.2) as place:
        place.launcher = sandbox
        running = place.start("run")
        running.until("watch.degraded")
        assert running.until("watch.started")["observer"] == "scans"
        place.drop("x.yaml", job("whole"))
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert len(running.said("watch.degraded")) == 1


def test_no_wall_clock_decides_what_is_ready() -> None:
    """Set back an hour while a file settles, it changes nothing: neither the rules nor the scanner ever read one."""
    folder = Path(inbox_watch.__file__).parent
    for path in [Path(settle.__file__), *folder.glob("*.py")]:
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"time", "time_ns", "now", "utcnow", "today"}, path


# --- the list -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", PROOFS)
def test_every_case_has_its_tests(row: str) -> None:
    """The named tests exist, with those parameters."""
    assert PROOFS[row]
    for node in PROOFS[row]:
        path, _, name = node.partition("::")
        function, _, parameter = name.partition("[")
        assert function in functions(path), node
        assert not parameter or parameter.removesuffix("]") in CASES, node


@functools.cache
def functions(path: str) -> frozenset[str]:
    """The names of a test file's functions."""
    tree = ast.parse((Path(__file__).parents[2] / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_case_of_the_life_belongs_to_a_row() -> None:
    """So that the list stays the way to find things."""
    named = {node.partition("[")[2].removesuffix("]") for nodes in PROOFS.values() for node in nodes}
    assert set(CASES) <= named
