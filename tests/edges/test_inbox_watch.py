"""The watch on real folders: turn by turn on a clock that stands still, and once more with its real threads."""

from __future__ import annotations

import errno
import fcntl
import os
import queue
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import structlog
from watchdog.events import DirMovedEvent, FileClosedEvent, FileDeletedEvent, FileMovedEvent
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, WatchDescriptor

from daemon.core.batch import Batch, Request
from daemon.core.defaults import NO_DEFAULTS, Defaults
from daemon.core.errors import BatchInvalid, RootUnavailable
from daemon.core.job_content import Grammar
from daemon.core.messages import DropReady, PauseSeen, Reason, RootFound, RootLost, ScanEnded
from daemon.core.problem import Problem
from daemon.edges import mounts
from daemon.edges.inbox_watch import InboxWatch, Pulse, WatchSettings, watch
from daemon.edges.inbox_watch.hints import MOST_NAMES, Hints
from daemon.edges.inbox_watch.observer import InboxObserver, _Handler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from daemon.core.drop import Drop
    from daemon.core.messages import WatchMessage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify and leases are Linux's")

GOOD = b"text: hello\n"
LOCAL = mounts.FileSystem("ext4", "/dev/sda1", "/", is_local=True)
NETWORK = mounts.FileSystem("cifs", "//server/share", "/mnt", is_local=False)
NOBODY = 65534
M = TypeVar("M")


def parse(content: bytes) -> Batch:
    """Stands in for the job file's grammar: good content begins with "text:"."""
    if not content.startswith(b"text:"):
        raise BatchInvalid([Problem("not a job file")])
    return Batch((Request({"text": content.decode()}),))


class Plain:
    """A grammar that knows no defaults."""

    base = NO_DEFAULTS

    def batch(self, name: str, content: bytes, defaults: Defaults) -> Batch:
        del name, defaults
        return parse(content)

    def defaults(self, content: bytes, where: str) -> Defaults:
        return Grammar("v2").defaults(content, where)


class Scene:
    """An inbox, its watch, and a clock that moves only when it is told."""

    def __init__(self, root: Path, *, reader: Grammar | None = None, **settings: Any) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.inbox.mkdir(exist_ok=True)
        self.outside = root / "outside"
        self.outside.mkdir(exist_ok=True)
        self.now = 1000.0
        self.parsed: list[bytes] = []
        self.messages: list[WatchMessage] = []
        self.events: list[Any] = []
        self.root_trouble = ""
        self.file_system = LOCAL
        chosen = {"observer": "polling", "settle_seconds": 2.0, "rescan_seconds": 30.0, "grace_seconds": 10.0}
        self.watch = InboxWatch(
            WatchSettings(**{"inbox": self.inbox, "max_bytes": 1 << 20, **chosen, **settings}),
            reader=reader or self,
            post=self.messages.append,
            check_root=self.check_root,
            identify=mounts.identity,
            file_system=lambda _: self.file_system,
            clock=lambda: self.now,
            log=recorder(self.events),
        )
        self.next = self.now

    base = NO_DEFAULTS

    def batch(self, name: str, content: bytes, defaults: Defaults) -> Batch:
        del name, defaults
        self.parsed.append(content)
        return parse(content)

    def defaults(self, content: bytes, where: str) -> Defaults:
        return Grammar("v2").defaults(content, where)

    def check_root(self) -> None:
        if self.root_trouble:
            raise RootUnavailable(self.root_trouble)

    def write(self, name: str, content: bytes = GOOD) -> Path:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def turn(self) -> None:
        """Turns until nothing more is due now."""
        self.next = self.watch.scan_once(self.now)
        while self.next <= self.now:
            self.next = self.watch.scan_once(self.now)

    def look(self) -> None:
        """A scan of everything, now."""
        self.watch.wake()
        self.turn()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with each turn when it is due."""
        end = self.now + seconds
        while self.next <= end:
            self.now = self.next
            self.turn()
        self.now = end

    def hint(self, name: str, *, was_renamed: bool = False) -> None:
        """What the observer would leave."""
        self.watch._hints.look_at(name, was_renamed=was_renamed)
        self.turn()

    def all(self, kind: type[M]) -> list[M]:
        """The messages of one kind so far, which are thereby taken."""
        found: list[M] = [message for message in self.messages if isinstance(message, kind)]
        self.messages[:] = [message for message in self.messages if not isinstance(message, kind)]
        return found

    def drops(self) -> list[Drop]:
        return [message.drop for message in self.all(DropReady)]

    def names(self) -> list[str]:
        return sorted(drop.name for drop in self.drops())

    def left(self) -> dict[str, Reason]:
        """What waits, as last said."""
        said = [message for message in self.messages if isinstance(message, ScanEnded)][-1]
        return {waiting.name: waiting.reason for waiting in said.waiting}

    @property
    def is_idle(self) -> bool:
        return [message for message in self.messages if isinstance(message, ScanEnded)][-1].is_idle

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]

    def claim(self, drop: Drop) -> None:
        """As the dispatcher does."""
        (self.inbox / drop.name).rename(self.outside / drop.name.replace("/", "_"))
        self.watch.forget(drop.name)


def recorder(events: list[Any]) -> Any:
    """A logger that keeps its events."""

    def keep(_logger: Any, level: str, event: Any) -> Any:
        events.append({**event, "level": level})
        raise structlog.DropEvent

    return structlog.wrap_logger(None, processors=[keep], wrapper_class=structlog.make_filtering_bound_logger(0))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A watch on a local folder: 2 s to settle, 10 s of grace, 30 s between scans."""
    return Scene(tmp_path)


@pytest.fixture
def poor_root() -> Iterator[Path]:
    """A folder that an ordinary user owns, for tests about permissions."""
    root = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(root, NOBODY, -1)
    yield root
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o700)
    shutil.rmtree(root)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Nothing may be read by being root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


def has_leases(folder: Path) -> bool:
    path = folder / "lease"
    path.touch()
    with path.open("rb") as file, suppress(OSError):
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        return True
    return False


# --- what is ready, and when ----------------------------------------------------------------------------------------


def test_a_copied_file_is_said_once_when_it_has_settled(scene: Scene) -> None:
    """Whole, read and parsed once, with its digest."""
    scene.write("a.yaml")
    scene.pass_time(1.9)
    assert scene.drops() == []
    scene.pass_time(0.2)
    (drop,) = scene.drops()
    assert (drop.name, drop.content, drop.problems) == ("a.yaml", GOOD, ())
    assert drop.batch == parse(GOOD)
    assert len(drop.digest) == 64
    scene.pass_time(300)
    assert scene.drops() == []
    assert scene.parsed == [GOOD]


@pytest.mark.parametrize("mtime", [1577836800.0, 4102444800.0])  # 2020 and 2100
def test_the_files_own_time_does_not_matter(scene: Scene, mtime: float) -> None:
    """Moved in with an mtime of 2020, or an hour in the future: only our clock counts."""
    path = scene.outside / "a.yaml"
    path.write_bytes(GOOD)
    os.utime(path, (mtime, mtime))
    path.rename(scene.inbox / "a.yaml")
    scene.pass_time(2)
    assert scene.names() == ["a.yaml"]


def test_a_rename_onto_the_final_name_is_said_at_once(scene: Scene) -> None:
    """The temporary name is never touched."""
    scene.turn()
    part = scene.write("a.yaml.tmp")
    scene.hint("a.yaml.tmp")
    part.rename(scene.inbox / "a.yaml")
    scene.hint("a.yaml", was_renamed=True)
    assert scene.names() == ["a.yaml"]


def test_a_rename_over_a_file_that_settles_waits(scene: Scene) -> None:
    """An editor that saves by renaming, twice within a second: once, the last content."""
    scene.write("a.yaml", b"text: one")
    scene.turn()
    for content in (b"text: two", b"text: three"):
        scene.pass_time(0.5)
        scene.write(".a.yaml.new", content).rename(scene.inbox / "a.yaml")
        scene.hint("a.yaml", was_renamed=True)
    scene.pass_time(1.9)
    assert scene.drops() == []
    scene.pass_time(0.2)
    assert [drop.content for drop in scene.drops()] == [b"text: three"]


def test_a_writer_that_comes_back_starts_the_clock_again(scene: Scene) -> None:
    """Four times appended and closed, 0.7 s apart: once, whole."""
    for _ in range(4):
        with (scene.inbox / "a.yaml").open("ab") as file:
            file.write(GOOD)
        scene.hint("a.yaml")
        scene.pass_time(0.7)
    assert scene.drops() == []
    scene.pass_time(2)
    assert [drop.content for drop in scene.drops()] == [GOOD * 4]


def test_an_mtime_set_back_after_every_chunk_is_still_a_change(scene: Scene) -> None:
    """The ctime shows it."""
    path = scene.write("a.yaml", b"text: one")
    os.utime(path, ns=(1, 1))
    scene.pass_time(1.5)
    path.write_bytes(b"text: two")
    os.utime(path, ns=(1, 1))
    scene.pass_time(1.5)
    assert scene.drops() == []
    scene.pass_time(1)
    assert [drop.content for drop in scene.drops()] == [b"text: two"]


def test_a_file_held_open_for_writing_waits_for_its_close(scene: Scene) -> None:
    """A stream that stalls for a minute, on one descriptor: whole, once, though each piece would parse."""
    if not has_leases(scene.outside):
        pytest.skip("this file system knows no leases")
    with (scene.inbox / "a.yaml").open("wb", buffering=0) as file:
        file.write(GOOD)
        scene.pass_time(60)
        assert scene.left() == {"a.yaml": Reason.WRITING}
        assert not scene.is_idle
        file.write(GOOD)
        scene.hint("a.yaml", was_renamed=True)
    assert scene.parsed == []
    scene.pass_time(5)
    assert [drop.content for drop in scene.drops()] == [GOOD * 2]


def test_a_writer_that_comes_while_we_look_is_neither_stopped_nor_kills_us(scene: Scene) -> None:
    """The lease is given back at once, and its signal is one that does no harm."""
    scene.write("a.yaml")
    scene.pass_time(3)
    with (scene.inbox / "a.yaml").open("ab") as file:
        file.write(GOOD)
    assert scene.names() == ["a.yaml"]
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL


def test_on_a_network_nobody_can_be_seen_to_write(tmp_path: Path) -> None:
    """A lease tells nothing of other machines; the settle time is 5 s."""
    scene = Scene(tmp_path, settle_seconds=None)
    scene.file_system = NETWORK
    with (scene.inbox / "a.yaml").open("wb", buffering=0) as file:
        file.write(GOOD)
        scene.pass_time(4.9)
        assert scene.drops() == []
        scene.pass_time(0.2)
        assert scene.names() == ["a.yaml"]


def test_zero_bytes_wait_for_ever_and_run_once_filled(scene: Scene) -> None:
    """An hour later, once; meanwhile nothing is pending."""
    scene.write("a.yaml", b"")
    scene.pass_time(3600)
    assert scene.drops() == []
    assert scene.left() == {"a.yaml": Reason.EMPTY}
    assert scene.is_idle
    scene.write("a.yaml")
    scene.pass_time(32)
    assert scene.names() == ["a.yaml"]


def test_a_nul_tail_that_is_filled_later_is_never_taken_half(scene: Scene) -> None:
    """Allocated at full size first, as some copying programs do."""
    scene.write("a.yaml", GOOD + bytes(len(GOOD)))
    scene.pass_time(8)
    assert scene.left() == {"a.yaml": Reason.MALFORMED}
    assert not scene.is_idle
    scene.write("a.yaml", GOOD * 2)
    scene.hint("a.yaml")
    scene.pass_time(2)
    (drop,) = scene.drops()
    assert (drop.content, drop.problems) == (GOOD * 2, ())


def test_a_nul_tail_that_stays_is_bad_after_the_grace(scene: Scene) -> None:
    """The connection was lost: it says that the file looks half copied."""
    scene.write("a.yaml", GOOD + bytes(5))
    scene.pass_time(11.9)
    assert scene.drops() == []
    scene.pass_time(0.2)
    (drop,) = scene.drops()
    assert "half copied (NUL bytes)" in drop.problems[0].message
    assert (drop.batch, drop.content) == (None, GOOD + bytes(5))


def test_bad_content_is_parsed_once_and_said_after_the_grace(scene: Scene) -> None:
    """With the parser's own words."""
    scene.write("a.yaml", b"nonsense")
    scene.pass_time(100)
    (drop,) = scene.drops()
    assert drop.problems == (Problem("not a job file"),)
    assert (drop.batch, len(drop.digest)) == (None, 64)
    assert scene.parsed == [b"nonsense"]


def test_bad_content_that_is_mended_within_the_grace_runs(scene: Scene) -> None:
    """It is never called bad."""
    scene.write("a.yaml", b"nonsense")
    scene.pass_time(9)
    scene.write("a.yaml")
    scene.hint("a.yaml")
    scene.pass_time(20)
    assert [drop.problems for drop in scene.drops()] == [()]


def test_a_huge_file_is_never_read(scene: Scene) -> None:
    """10 GB, sparse: known by its size alone."""
    with (scene.inbox / "a.yaml").open("wb") as file:
        file.truncate(10 << 30)
    scene.pass_time(2)
    (drop,) = scene.drops()
    assert (drop.content, drop.digest, drop.batch) == (b"", "", None)
    assert "too large" in drop.problems[0].message
    assert drop.fingerprint.size == 10 << 30


def test_deleted_while_it_settles_is_forgotten_silently(scene: Scene) -> None:
    """No message, no warning."""
    path = scene.write("a.yaml")
    scene.turn()
    path.unlink()
    scene.pass_time(60)
    assert scene.drops() == []
    assert scene.is_idle
    assert not [entry for entry in scene.events if entry["level"] == "warning"]


def test_replaced_while_it_settles_starts_the_clock_again(scene: Scene) -> None:
    """Even by a file of the same size and time."""
    path = scene.write("a.yaml")
    os.utime(path, ns=(1, 1))
    scene.turn()
    scene.pass_time(1.5)
    other = scene.outside / "other"
    other.write_bytes(GOOD)
    os.utime(other, ns=(1, 1))
    other.rename(path)
    scene.hint("a.yaml")
    scene.pass_time(1.9)
    assert scene.drops() == []
    scene.pass_time(0.2)
    assert scene.names() == ["a.yaml"]


def test_a_settle_time_of_zero_takes_at_once(tmp_path: Path) -> None:
    """And calls bad at once what is bad, without a grace."""
    scene = Scene(tmp_path, settle_seconds=0.0, grace_seconds=0.0)
    scene.write("a.yaml")
    scene.write("b.yaml", b"nonsense")
    scene.turn()
    assert scene.names() == ["a.yaml", "b.yaml"]


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "new\nline.yaml",
        "\x1b[31mred.yaml",
        os.fsdecode(b"latin-\xe9.yaml"),
        "-rf.yaml",
        "'quote\".yaml",
        "cafe\u0301.yaml",
        "x" * 250 + ".yaml",
        "deep/er/and deeper/job.yml",
    ],
)
def test_every_name_that_a_file_can_have_runs(scene: Scene, name: str) -> None:
    """Names are bytes; in the log they are one printable line."""
    scene.write(name)
    scene.pass_time(2)
    assert scene.names() == [name]
    logged = scene.logged("drop.waiting")[0]["file"]
    assert logged.isprintable()
    logged.encode()


def test_names_that_differ_only_in_case_or_form_all_run(scene: Scene) -> None:
    """Each is a file of its own."""
    names = ["Job.YAML", "caf\u00e9.yaml", "cafe\u0301.yaml", "job.yaml"]
    for name in names:
        scene.write(name)
    scene.pass_time(2)
    assert scene.names() == sorted(names)


def test_what_programs_leave_behind_is_ignored(scene: Scene) -> None:
    """Neither run nor waited for nor logged."""
    for name in (
        "._x.yaml",
        ".DS_Store",
        "~$x.yaml",
        ".nfs000",
        "4913",
        "x.yaml~",
        "notes.txt",
        "@eaDir/x.yaml",
        ".rsync-partial/x.yaml",
    ):
        scene.write(name)
    scene.pass_time(60)
    assert scene.drops() == []
    assert scene.left() == {}
    assert {entry["event"] for entry in scene.events} == {"watch.started"}


def test_a_conflict_copy_is_left_lying_with_one_warning(scene: Scene) -> None:
    """It is not pending, and the others run."""
    scene.write("a (conflicted copy 2024-01-02).yaml")
    scene.write("a.yaml")
    scene.pass_time(120)
    assert scene.names() == ["a.yaml"]
    assert len(scene.logged("drop.conflict_copy")) == 1
    assert scene.left() == {"a (conflicted copy 2024-01-02).yaml": Reason.CONFLICT_COPY}
    assert scene.is_idle


# --- what is never opened -------------------------------------------------------------------------------------------


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as endpoint:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 107 bytes only
        try:
            endpoint.bind(path.name)
        finally:
            os.chdir(here)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "named pipe"),
        (make_socket, "socket"),
        (Path.mkdir, "folder"),
        (lambda path: path.symlink_to("/nowhere"), "symbolic link"),
        (lambda path: path.symlink_to(path), "symbolic link"),
        (lambda path: path.symlink_to(__file__), "symbolic link"),
    ],
)
def test_what_is_no_plain_file_is_left_lying(scene: Scene, make: Callable[[Path], None], what: str) -> None:
    """Never opened, one warning, and the others run."""
    make(scene.inbox / "x.yaml")
    scene.write("a.yaml")
    scene.pass_time(120)
    assert scene.names() == ["a.yaml"]
    assert [entry["reason"] for entry in scene.logged("drop.ignored")] == [what]
    assert scene.left() == {"x.yaml": Reason.NOT_A_FILE}
    assert scene.is_idle
    assert scene.parsed == [GOOD]


def test_what_takes_the_place_of_a_link_runs(scene: Scene) -> None:
    """The name was not condemned, only what stood there."""
    path = scene.inbox / "x.yaml"
    path.symlink_to("/nowhere")
    scene.pass_time(5)
    path.unlink()
    scene.write("x.yaml")
    scene.pass_time(40)
    assert scene.names() == ["x.yaml"]


def test_links_to_folders_are_not_followed(scene: Scene) -> None:
    """Neither by a scan nor where a folder was exchanged for a link while its files settled."""
    (scene.outside / "secret.yaml").write_bytes(GOOD)
    (scene.inbox / "link").symlink_to(scene.outside)
    path = scene.write("sub/secret.yaml")
    scene.turn()
    path.parent.rename(scene.root / "away")
    (scene.inbox / "sub").symlink_to(scene.outside)
    scene.pass_time(60)
    assert scene.drops() == []


def test_a_file_that_may_not_be_read_stays_with_a_warning(poor_root: Path) -> None:
    """One warning that names the cure; the others run; cured, it runs too."""
    with ordinary_user():
        scene = Scene(poor_root)
        path = scene.write("x.yaml")
        path.chmod(0)
        scene.write("a.yaml")
        scene.pass_time(120)
        assert scene.names() == ["a.yaml"]
        (warning,) = scene.logged("drop.unreadable")
        assert (warning["file"], warning["reason"]) == ("x.yaml", "Permission denied")
        assert "chmod" in warning["cure"]
        assert scene.left() == {"x.yaml": Reason.UNREADABLE}
        assert scene.is_idle
        path.chmod(0o600)
        scene.pass_time(40)
        assert scene.names() == ["x.yaml"]


def test_a_subfolder_that_may_not_be_read_is_no_empty_one(poor_root: Path) -> None:
    """Said once; what is known of its files is kept; the others run."""
    with ordinary_user():
        scene = Scene(poor_root)
        scene.write("sub/a.yaml")
        scene.write("b.yaml")
        scene.pass_time(3)
        assert scene.names() == ["b.yaml", "sub/a.yaml"]
        (scene.inbox / "sub").chmod(0)
        scene.pass_time(90)
        assert [entry["folder"] for entry in scene.logged("scan.failed")] == ["sub"]
        (scene.inbox / "sub").chmod(0o700)
        scene.pass_time(90)
        assert scene.drops() == []


# --- said once ------------------------------------------------------------------------------------------------------


def test_saved_again_after_the_claim_is_a_second_drop(scene: Scene) -> None:
    """The first is unharmed."""
    scene.write("a.yaml", b"text: one")
    scene.pass_time(2)
    (first,) = scene.drops()
    scene.claim(first)
    scene.write("a.yaml", b"text: two")
    scene.pass_time(40)
    assert [drop.content for drop in scene.drops()] == [b"text: two"]


def test_changed_before_the_claim_is_said_again_only_when_released(scene: Scene) -> None:
    """The dispatcher finds out by itself."""
    scene.write("a.yaml", b"text: one")
    scene.pass_time(2)
    scene.drops()
    scene.write("a.yaml", b"text: two")
    scene.hint("a.yaml")
    scene.pass_time(60)
    assert scene.drops() == []
    scene.watch.release("a.yaml")
    scene.turn()
    scene.pass_time(1.9)
    assert scene.drops() == []
    scene.pass_time(2.2)
    assert [drop.content for drop in scene.drops()] == [b"text: two"]


def test_a_released_drop_settles_again_so_that_failing_claims_do_not_spin(scene: Scene) -> None:
    """And is left alone for as long as is wished."""
    scene.write("a.yaml")
    scene.pass_time(2)
    assert scene.names() == ["a.yaml"]
    scene.watch.release("a.yaml", delay_seconds=60)
    scene.turn()
    assert not scene.is_idle
    scene.pass_time(59)
    assert scene.drops() == []
    scene.pass_time(2)
    assert scene.names() == ["a.yaml"]


def test_a_release_is_always_answered(scene: Scene) -> None:
    """Vanished before the claim: ScanEnded says that nothing is left, though it said so before."""
    path = scene.write("a.yaml")
    scene.pass_time(5)
    path.unlink()
    scene.all(ScanEnded)
    scene.watch.release("a.yaml")
    scene.turn()
    scene.pass_time(5)
    assert scene.all(ScanEnded)[-1].is_idle
    assert scene.names() == ["a.yaml"]


def test_what_a_cache_still_shows_after_the_claim_is_not_said_again(scene: Scene) -> None:
    """The same file under the same name, untouched: some network's memory of it."""
    scene.write("a.yaml")
    scene.pass_time(2)
    assert scene.names() == ["a.yaml"]
    scene.watch.forget("a.yaml")
    scene.pass_time(120)
    assert scene.drops() == []
    assert scene.is_idle


def test_put_back_after_the_claim_is_a_new_drop(scene: Scene) -> None:
    """The very same file, as when a person drags it back from failed/."""
    scene.write("a.yaml")
    scene.pass_time(2)
    (drop,) = scene.drops()
    scene.claim(drop)
    scene.turn()
    (scene.outside / "a.yaml").rename(scene.inbox / "a.yaml")
    scene.pass_time(40)
    assert scene.names() == ["a.yaml"]


def test_a_touch_of_a_file_that_was_said_changes_nothing(scene: Scene) -> None:
    """Indexers and backups chmod and read."""
    path = scene.write("a.yaml")
    scene.pass_time(2)
    assert scene.names() == ["a.yaml"]
    path.chmod(0o640)
    scene.pass_time(120)
    assert scene.drops() == []


# --- many -----------------------------------------------------------------------------------------------------------


def test_thousands_are_taken_in_each_read_once(scene: Scene) -> None:
    """More than one turn can look at; nothing is idle before the last was said."""
    names = [f"{i // 1000}/{i}.yaml" for i in range(3000)]
    for name in names:
        scene.write(name)
    scene.watch.scan_once(scene.now)
    assert not scene.is_idle
    scene.pass_time(3)
    said = [type(message) for message in scene.messages]
    assert said.index(DropReady) < len(said) - 1 - said[::-1].index(ScanEnded)
    assert scene.is_idle
    assert scene.names() == sorted(names)
    assert len(scene.parsed) == 3000


def test_only_so_much_lies_in_the_mailbox(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest waits on the disk until some were claimed."""
    monkeypatch.setattr(watch, "MOST_POSTED_BYTES", len(GOOD))
    scene.write("a.yaml")
    scene.write("b.yaml")
    scene.pass_time(10)
    (first,) = scene.drops()
    assert set(scene.left().values()) == {Reason.BEHIND}
    assert not scene.is_idle
    scene.claim(first)
    scene.pass_time(3)
    assert [drop.name for drop in scene.drops()] == ["b.yaml"]


def test_the_list_of_what_waits_is_short_and_begins_with_what_needs_a_person(scene: Scene) -> None:
    """A hundred names; how many there are is said."""
    for i in range(150):
        scene.write(f"{i:03}.yaml")
    scene.write("z.yaml", b"")
    scene.turn()
    scene.look()
    ended = scene.all(ScanEnded)[-1]
    assert (ended.waiting_count, len(ended.waiting)) == (151, 100)
    assert ended.waiting[0].name == "z.yaml"


# --- idle, pause, asked ---------------------------------------------------------------------------------------------


def test_the_end_of_a_scan_is_said_when_it_changes_and_when_asked(scene: Scene) -> None:
    """Not at every scan."""
    scene.pass_time(300)
    assert [(ended.waiting, ended.is_idle) for ended in scene.all(ScanEnded)] == [((), True)]
    scene.look()
    assert len(scene.all(ScanEnded)) == 1


def test_since_when_something_waits_is_said(scene: Scene) -> None:
    """Not since the last look."""
    scene.write("a.yaml", b"")
    scene.pass_time(100)
    scene.look()
    assert scene.all(ScanEnded)[-1].waiting[0].since == 1000


def test_that_nothing_is_left_is_said_only_on_the_word_of_a_scan(scene: Scene) -> None:
    """The share vanishes while a file settles: its name is not found, which does not mean that it was deleted."""
    scene.write("a.yaml")
    scene.turn()
    scene.inbox.rename(scene.root / "away")
    scene.inbox.mkdir()
    scene.root_trouble = "the marker is missing"
    scene.pass_time(5)
    assert not any(ended.is_idle for ended in scene.all(ScanEnded))
    assert scene.all(RootLost) == [RootLost("the marker is missing")]


def test_pause_is_said_at_the_first_scan_and_when_it_changes(scene: Scene) -> None:
    """By a scan or by a hint; a folder of that name does not pause."""
    scene.pass_time(60)
    assert scene.all(PauseSeen) == [PauseSeen(is_paused=False)]
    (scene.inbox / "PAUSE").touch()
    scene.pass_time(30)
    assert scene.all(PauseSeen) == [PauseSeen(is_paused=True)]
    (scene.inbox / "PAUSE").unlink()
    scene.hint("PAUSE")
    assert scene.all(PauseSeen) == [PauseSeen(is_paused=False)]
    (scene.inbox / "PAUSE").mkdir()
    scene.pass_time(60)
    assert scene.all(PauseSeen) == []


def test_pause_is_known_before_the_first_drop(tmp_path: Path) -> None:
    """So that nothing slips through at the start."""
    scene = Scene(tmp_path, settle_seconds=0.0)
    scene.write("a.yaml")
    (scene.inbox / "PAUSE").touch()
    scene.turn()
    assert scene.messages[0] == PauseSeen(is_paused=True)
    assert scene.names() == ["a.yaml"]


# --- the root -------------------------------------------------------------------------------------------------------


def test_a_root_that_is_gone_is_said_once_and_nothing_is_forgotten(scene: Scene) -> None:
    """Five minutes, then back: what was said is not said again, what had settled settles again."""
    scene.write("a.yaml")
    scene.pass_time(3)
    assert scene.names() == ["a.yaml"]
    scene.write("b.yaml")
    scene.look()
    scene.root_trouble = "the share is gone"
    scene.look()
    away = scene.inbox.rename(scene.root / "away")
    scene.pass_time(300)
    assert scene.all(RootLost) == [RootLost("the share is gone")]
    assert len(scene.logged("scan.failed")) == 1
    assert scene.drops() == []
    away.rename(scene.inbox)
    scene.root_trouble = ""
    scene.pass_time(5)
    assert scene.all(RootFound) == [RootFound()]
    assert not scene.is_idle
    scene.pass_time(2)
    assert scene.names() == ["b.yaml"]
    scene.pass_time(60)
    assert scene.drops() == []


def test_a_missing_inbox_is_no_empty_inbox(scene: Scene) -> None:
    """At the start, too; found within a scan when it is made."""
    scene.inbox.rmdir()
    scene.pass_time(60)
    (lost,) = scene.all(RootLost)
    assert "No such file" in lost.reason
    assert scene.all(ScanEnded) == []
    assert not scene.inbox.exists()
    scene.write("a.yaml")
    scene.pass_time(10)
    assert scene.all(RootFound) == [RootFound()]
    assert scene.names() == ["a.yaml"]


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100])
def test_an_inbox_that_may_not_be_read_is_no_empty_inbox(poor_root: Path, mode: int) -> None:
    """Neither where its names cannot be listed nor where its files cannot be reached; one warning, not thousands."""
    with ordinary_user():
        scene = Scene(poor_root)
        for i in range(5):
            scene.write(f"{i}.yaml")
        scene.inbox.chmod(mode)
        scene.pass_time(60)
        (lost,) = scene.all(RootLost)
        assert "Permission denied" in lost.reason
        assert [entry["event"] for entry in scene.events if entry["level"] == "warning"] == ["scan.failed"]
        scene.inbox.chmod(0o700)
        scene.pass_time(10)
        assert len(scene.drops()) == 5


def test_a_failing_share_is_one_trouble_not_one_for_each_file(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unmounted while many files settle: every look fails, and the root is looked at first."""
    for i in range(20):
        scene.write(f"{i}.yaml")
    scene.turn()
    scene.root_trouble = "stale file handle"

    def fail(*_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(watch, "DropFile", fail)
        scene.pass_time(5)
    assert scene.all(RootLost) == [RootLost("stale file handle")]
    assert scene.logged("drop.unreadable") == []
    scene.root_trouble = ""
    scene.pass_time(10)
    assert len(scene.drops()) == 20


def test_a_folder_exchanged_during_a_scan_is_scanned_again(tmp_path: Path) -> None:
    """What was read of two folders says nothing of either."""
    scene = Scene(tmp_path)
    answers = iter(["one", "two"])
    scene.watch._identify = lambda _: next(answers, "two")
    scene.write("a.yaml")
    scene.pass_time(3)
    assert scene.names() == ["a.yaml"]
    assert [entry["reason"] for entry in scene.logged("watch.rebuilt")] == ["inbox/ is another folder"]


# --- the observer ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observer", "file_system", "expected"),
    [
        ("auto", LOCAL, ("native", 2, 30)),
        ("auto", NETWORK, ("scans", 5, 5)),
        ("native", NETWORK, ("native", 5, 30)),
        ("polling", LOCAL, ("scans", 2, 5)),
    ],
)
def test_the_file_system_decides_how_it_is_watched(
    tmp_path: Path, observer: str, file_system: mounts.FileSystem, expected: tuple[str, int, int]
) -> None:
    """Local ones are watched, anything else is scanned, unless the configuration says otherwise."""
    scene = Scene(tmp_path, observer=observer, settle_seconds=None, rescan_seconds=None)
    scene.file_system = file_system
    scene.turn()
    scene.watch._stop_observer()
    (started,) = scene.logged("watch.started")
    assert (started["observer"], started["settle_seconds"], started["rescan_seconds"]) == expected
    assert started["file_system"] == file_system.type


def test_without_inotify_watches_it_warns_once_and_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 5 s; and watches again when there are some."""
    scene = Scene(tmp_path, observer="native", rescan_seconds=None)

    def none_left(*_: object) -> None:
        raise OSError(errno.ENOSPC, "inotify watch limit reached")

    with monkeypatch.context() as patch:
        patch.setattr(watch, "_new_observer", none_left)
        scene.pass_time(60)
        scene.write("a.yaml")
        scene.pass_time(7)
    assert scene.names() == ["a.yaml"]
    assert [entry["reason"] for entry in scene.logged("watch.degraded")] == ["inotify watch limit reached"]
    assert scene.logged("watch.rebuilt") == []
    scene.look()
    scene.watch._stop_observer()
    (rebuilt,) = scene.logged("watch.rebuilt")
    assert (rebuilt["observer"], rebuilt["reason"]) == ("native", "inotify watches are free again")


def test_the_handler_cannot_raise(tmp_path: Path) -> None:
    """An exception in it would end the observer's thread for good."""
    hints = Hints()
    handler = _Handler(str(tmp_path), hints)
    for path in (
        "",
        "/",
        str(tmp_path),
        f"{tmp_path}/\udcff\n.yaml",
        "elsewhere/a.yaml",
        os.fsencode(tmp_path) + b"/b.yaml",
    ):
        handler.dispatch(FileClosedEvent(path))
        handler.dispatch(FileDeletedEvent(path))
        handler.dispatch(FileMovedEvent("", path))
    handler.dispatch(FileMovedEvent(f"{tmp_path}/c.part", f"{tmp_path}/c.yaml"))
    taken = hints.take()
    assert {"\udcff\n.yaml", "b.yaml", "c.yaml"} <= taken.names.keys()
    assert taken.names["c.yaml"]
    assert not taken.is_everything
    handler.dispatch(DirMovedEvent("", f"{tmp_path}/sub"))
    assert hints.take().is_everything


def test_the_last_hint_of_a_name_counts() -> None:
    """Written to after the rename is not just renamed."""
    hints = Hints()
    hints.look_at("a.yaml", was_renamed=True)
    hints.look_at("a.yaml", was_renamed=False)
    assert hints.take().names == {"a.yaml": False}


def test_a_flood_of_hints_becomes_one_scan() -> None:
    """What is remembered has a bound."""
    hints = Hints()
    for i in range(MOST_NAMES + 1):
        hints.look_at(f"{i}.yaml", was_renamed=False)
    taken = hints.take()
    assert taken.is_everything
    assert len(taken.names) == MOST_NAMES


def test_an_overflow_asks_for_a_scan_of_everything(tmp_path: Path) -> None:
    """The kernel tells that it lost events, and not which."""
    hints = Hints()
    observer = InboxObserver(str(tmp_path), hints)
    try:
        observer._descriptor.handle_event(InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b""))
        assert hints.take().is_everything
    finally:
        observer.stop()


def test_a_folder_that_cannot_be_watched_leaves_no_threads(tmp_path: Path) -> None:
    """It is tried at every scan."""
    before = threading.active_count()
    with pytest.raises(OSError, match="No such file"):
        InboxObserver(str(tmp_path / "gone"), Hints())
    assert threading.active_count() == before


# --- with real threads ----------------------------------------------------------------------------------------------


class Live:
    """A watch that runs, and its mailbox."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.inbox = root / "inbox"
        self.inbox.mkdir(exist_ok=True)
        self.mailbox: queue.SimpleQueue[WatchMessage] = queue.SimpleQueue()
        self.events: list[Any] = []
        chosen = {"observer": "native", "settle_seconds": 3600.0, "rescan_seconds": 3600.0, "grace_seconds": 0.0}
        self.watch = InboxWatch(
            WatchSettings(**{"inbox": self.inbox, "max_bytes": 1 << 20, **chosen, **settings}),
            reader=Plain(),
            post=self.mailbox.put,
            check_root=lambda: None,
            identify=mounts.identity,
            file_system=lambda _: LOCAL,
            log=recorder(self.events),
        )

    def expect(self, kind: type[M], is_it: Callable[[M], bool] = lambda _: True) -> M:
        """The next message of a kind; those before it are passed over."""
        while True:
            message = self.mailbox.get(timeout=20)
            if isinstance(message, kind) and is_it(message):
                return message

    def start(self) -> None:
        self.watch.start()
        self.expect(ScanEnded)

    def look(self) -> list[str]:
        """A scan of everything that has happened so far; what it left waiting."""
        marker = self.inbox / "marker.yaml"  # so that an earlier scan's end is not taken for this one's
        marker.touch()
        self.watch.wake()
        ended = self.expect(ScanEnded, lambda ended: any(one.name == marker.name for one in ended.waiting))
        marker.unlink()
        self.watch.wake()
        self.expect(ScanEnded, lambda ended: all(one.name != marker.name for one in ended.waiting))
        return [waiting.name for waiting in ended.waiting if waiting.name != marker.name]

    def rename_in(self, name: str) -> None:
        part = self.inbox / f"{name}.part"
        part.write_bytes(GOOD)
        part.rename(self.inbox / name)

    def expect_drop(self, name: str) -> None:
        assert self.expect(DropReady).drop.name == name


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    """Natively watched; nothing settles and no scan is due within the test, so that only hints can bring drops."""
    before = set(threading.enumerate())
    scene = Live(tmp_path)
    yield scene
    scene.watch.stop()
    assert set(threading.enumerate()) - before == set()


def test_a_rename_is_seen_by_its_event_alone(live: Live) -> None:
    """In inbox/, in a new subfolder, and in a folder that was renamed."""
    live.start()
    live.rename_in("a.yaml")
    live.expect_drop("a.yaml")
    (live.inbox / "sub").mkdir()
    live.look()
    live.rename_in("sub/b.yaml")
    live.expect_drop("sub/b.yaml")
    (live.inbox / "sub/b.yaml").unlink()
    (live.inbox / "sub").rename(live.inbox / "other")
    live.look()
    live.rename_in("other/c.yaml")
    live.expect_drop("other/c.yaml")


def test_a_folder_renamed_does_not_make_its_files_ready(live: Live) -> None:
    """It says nothing of whether they are finished: they settle under their new names."""
    live.start()
    (live.inbox / "sub").mkdir()
    live.look()
    (live.inbox / "sub/a.yaml").write_bytes(GOOD)
    live.look()
    (live.inbox / "sub").rename(live.inbox / "other")
    live.look()
    live.rename_in("b.yaml")
    live.expect_drop("b.yaml")
    assert live.look() == ["other/a.yaml"]


def test_claims_do_not_disturb_the_events(live: Live) -> None:
    """Each rename out of inbox/ is followed by a drop that is seen by its event."""
    live.start()
    for i in range(5):
        live.rename_in(f"{i}.yaml")
        live.expect_drop(f"{i}.yaml")
        (live.inbox / f"{i}.yaml").rename(live.inbox.parent / f"{i}.yaml")
        live.watch.forget(f"{i}.yaml")
    assert live.watch._observer is not None
    assert live.watch._observer.ailment == ""


def test_pause_is_seen_by_its_events_alone(live: Live) -> None:
    """Made, moved away, and deleted."""
    live.start()
    pause = live.inbox / "PAUSE"
    for end in (Path.unlink, lambda path: path.rename(live.inbox.parent / "PAUSE")):
        pause.touch()
        live.expect(PauseSeen, lambda seen: seen.is_paused)
        end(pause)
        live.expect(PauseSeen, lambda seen: not seen.is_paused)


def test_a_copied_file_is_said_after_its_close(tmp_path: Path) -> None:
    """By event, settle time, and all."""
    live = Live(tmp_path, settle_seconds=0.05)
    live.start()
    try:
        (live.inbox / "a.yaml").write_bytes(GOOD)
        live.expect_drop("a.yaml")
    finally:
        live.watch.stop()


def test_lost_events_are_healed_by_a_scan(live: Live) -> None:
    """Nobody tells of a file: it is found all the same."""
    live.watch.stop()
    live.watch = Live(live.inbox.parent, observer="polling", settle_seconds=0.0, rescan_seconds=0.1).watch
    live.watch._post = live.mailbox.put
    live.start()
    (live.inbox / "a.yaml").write_bytes(GOOD)
    live.expect_drop("a.yaml")


@pytest.mark.parametrize("victim", ["observer", "emitter", "reader"])
def test_a_thread_that_died_is_rebuilt(live: Live, victim: str) -> None:
    """Each of watchdog's three; logged once; drops are seen by their events again."""
    live.start()
    observer = live.watch._observer
    assert observer is not None
    if victim == "observer":
        observer._observer._stopped_event.set()
        observer._observer.event_queue.put(observer._observer.stop_event)
        observer._observer.join(10)
    elif victim == "emitter":
        (emitter,) = observer._observer.emitters
        emitter.stop()
        emitter.join(10)
    else:
        observer._descriptor.stop()
        observer._descriptor.join(10)
    live.look()
    live.look()
    assert [entry["reason"] for entry in live.events if entry["event"] == "watch.rebuilt"] == [f"{victim} died"]
    live.rename_in("a.yaml")
    live.expect_drop("a.yaml")


def test_an_inbox_made_again_is_watched_again(live: Live) -> None:
    """Removed, made again, renamed away and another made, a link turned elsewhere."""
    live.start()
    live.inbox.rmdir()
    live.watch.wake()
    live.expect(RootLost)
    live.inbox.mkdir()
    live.watch.wake()
    live.expect(RootFound)
    live.rename_in("a.yaml")
    live.expect_drop("a.yaml")
    live.inbox.rename(live.inbox.parent / "one")
    (live.inbox.parent / "two").mkdir()
    for target in ("two", "one"):
        live.inbox.unlink(missing_ok=True)
        live.inbox.symlink_to(target)
        live.look()
        live.rename_in(f"{target}.yaml")
        live.expect_drop(f"{target}.yaml")
    reasons = [entry["reason"] for entry in live.events if entry["event"] == "watch.rebuilt"]
    assert set(reasons) == {"inbox/ is back", "inbox/ is another folder"}


def test_an_unexpected_error_does_not_end_the_watch(live: Live) -> None:
    """A parser that fails on one file: said, and the others run."""

    class FailsOnce(Plain):
        def batch(self, name: str, content: bytes, defaults: Defaults) -> Batch:
            live.watch._reader = Plain()
            raise RuntimeError(f"{name} {content!r} {defaults}")

    live.watch._reader = FailsOnce()
    live.start()
    live.rename_in("a.yaml")
    live.rename_in("b.yaml")
    live.expect_drop("b.yaml")
    assert [entry["event"] for entry in live.events if entry["level"] == "error"] == ["scan.failed"]


def test_a_frozen_share_does_not_hold_up_the_end(live: Live) -> None:
    """The scanning thread is left behind, and says nothing when it comes back."""
    is_frozen, thaw = threading.Event(), threading.Event()

    def freeze() -> None:
        is_frozen.set()
        thaw.wait(60)

    live.watch._check_root = freeze
    live.watch.start()
    assert is_frozen.wait(20)
    live.watch.stop()
    assert live.watch._thread is not None
    assert live.watch._thread.is_alive()
    thaw.set()
    live.watch._thread.join(20)
    assert live.mailbox.empty()


# --- the pulse ------------------------------------------------------------------------------------------------------


def test_the_pulse_of_a_thread_that_waits_is_well(live: Live) -> None:
    """However long it may wait; before the start and after the end there is none."""
    assert not live.watch.pulse().is_alive
    live.start()
    assert live.watch.pulse() == Pulse(is_alive=True)
    live.watch.stop()
    assert not live.watch.pulse().is_alive


def frozen(owner: object, where: str) -> tuple[threading.Event, threading.Event]:
    """Freeze the scanning thread at the next call of this; what tells that it is, and what thaws it."""
    is_frozen, thaw = threading.Event(), threading.Event()
    real = getattr(owner, where)

    def freeze(*arguments: Any) -> Any:
        is_frozen.set()
        thaw.wait(60)
        return real(*arguments)

    setattr(owner, where, freeze)
    return is_frozen, thaw


def put_forward(live: Live, seconds: float) -> None:
    live.watch._clock = lambda: time.monotonic() + seconds


def test_a_thread_that_the_file_system_holds_is_alive(live: Live) -> None:
    """A frozen file server does not thaw by starting again: it is said, and that is all."""
    is_frozen, thaw = frozen(live.watch, "_check_root")
    before = time.monotonic()
    live.watch.start()
    assert is_frozen.wait(20)
    assert live.watch.pulse() == Pulse(is_alive=True)
    put_forward(live, 3600)
    pulse = live.watch.pulse()
    assert pulse.is_alive
    assert pulse.held_since is not None
    assert before <= pulse.held_since <= time.monotonic()
    live.watch._clock = time.monotonic
    thaw.set()
    live.look()
    assert live.watch.pulse() == Pulse(is_alive=True)


def test_a_thread_that_never_comes_back_from_our_own_code_is_not(live: Live) -> None:
    """No job file takes minutes to parse: that is a fault of ours, and starting again mends it."""
    live.watch._reader = Plain()
    is_frozen, thaw = frozen(live.watch._reader, "batch")
    live.start()
    live.rename_in("a.yaml")
    assert is_frozen.wait(20)
    assert live.watch.pulse() == Pulse(is_alive=True)
    put_forward(live, 3600)
    assert live.watch.pulse() == Pulse(is_alive=False)
    live.watch._clock = time.monotonic
    thaw.set()
    live.expect_drop("a.yaml")
    assert live.watch.pulse() == Pulse(is_alive=True)


def test_a_thread_that_overslept_is_not(live: Live) -> None:
    """Every wait has an end that was said before."""
    live.start()
    while live.watch._doing[0].name != "WAITING":
        threading.Event().wait(0.01)
    put_forward(live, 86_400)
    assert live.watch.pulse() == Pulse(is_alive=False)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_has_no_pulse(live: Live) -> None:
    """Whatever ended it."""

    def die() -> None:
        raise KeyboardInterrupt

    live.watch._check_root = die
    live.watch.start()
    assert live.watch._thread is not None
    live.watch._thread.join(20)
    assert live.watch.pulse() == Pulse(is_alive=False)


def test_stopping_what_was_not_started_does_nothing(tmp_path: Path) -> None:
    """And starting twice starts once."""
    live = Live(tmp_path)
    live.watch.stop()
    again = Live(tmp_path)
    again.watch.start()
    again.start()
    again.watch.stop()


def test_what_lies_in_inbox_is_known_to_any_thread(scene: Scene) -> None:
    """What waits and why, what is no job file, and what cannot be looked into; a value that is replaced as a whole."""
    scene.write("empty.yaml", b"")
    scene.write("new.yaml")
    for name in ("job.yaml.txt", "sub/job.json", ".hidden", "x.part", "Thumbs.db", "README.md"):
        scene.write(name)
    scene.look()
    lying = scene.watch.lying
    assert [(one.name, one.reason) for one in lying.waiting] == [
        ("empty.yaml", Reason.EMPTY),
        ("new.yaml", Reason.SETTLING),
    ]
    assert lying.waiting_count == 2
    assert lying.strangers == ("job.yaml.txt", "sub/job.json")
    assert (lying.stranger_count, lying.unread) == (2, ())
    (scene.inbox / "sub/job.json").unlink()
    scene.write("empty.yaml")
    scene.pass_time(40)
    assert scene.watch.lying.waiting == ()
    assert scene.watch.lying.strangers == ("job.yaml.txt",)
    assert lying.waiting_count == 2


def test_what_is_no_job_file_is_news(scene: Scene) -> None:
    """Whoever keeps a page for people is told that something has changed."""
    scene.look()
    scene.messages.clear()
    scene.write("job.json")
    scene.pass_time(40)
    assert any(isinstance(message, ScanEnded) for message in scene.messages)
