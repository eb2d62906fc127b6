"""A real daemon as one user, producers as others in its group, on one folder: everybody can do what he has to.

The interpreter may lie where only root can reach it, so the daemon's process imports everything as root and then
becomes the daemon's user for good; producers are a shell, which lies where all can reach it.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from place import Place, Running, job

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="permissions are tried as Linux has them"),
    pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="needs root, to become several users"),
]

DAEMON, ANNA, BEN, STRANGER = 61001, 61002, 61003, 61004
PRODUCERS = 61010
"""The group of the daemon and of Anna and Ben. None of these numbers needs a name."""

BECOME = """
import codecs, ctypes, importlib, os, pkgutil, sys
import daemon
for found in pkgutil.walk_packages(daemon.__path__, "daemon."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
for name in ("ascii", "idna", "latin-1", "utf-8-sig", "utf-16", "utf-32"):
    codecs.lookup(name)
user, group, umask = (int(word, 8 if word.startswith("0") else 10) for word in sys.argv[1:4])
os.umask(umask)
os.setgroups([group])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: /proc/self is its own again
sys.argv = ["chromadrop", *sys.argv[sys.argv.index("daemon") + 1 :]]
from daemon.cli import main
main()
"""


@dataclass(frozen=True)
class Way:
    """One of the ways in which an operator can share a folder; files have the mode, folders too."""

    umask: str
    root: tuple[int, int, int]
    environ: dict[str, str]
    video: int
    folder: int


WAYS = {
    # The delivered unit: UMask=0007, a setgid root, and no key.
    "setgid-and-umask": Way("0007", (DAEMON, PRODUCERS, 0o2770), {}, 0o660, 0o2770),
    # A closed umask and a root without a group: the keys do it all, and the group is given by the daemon.
    "keys": Way(
        "0077",
        (DAEMON, DAEMON, 0o755),
        {
            "CHROMADROP_VIDEOS__MODE": "0664",
            "CHROMADROP_FOLDERS__MODE": "2775",
            "CHROMADROP_FOLDERS__GROUP": str(PRODUCERS),
        },
        0o664,
        0o2775,
    ),
}


@dataclass(frozen=True)
class Shared:
    """A root that several users work in."""

    place: Place
    way: Way

    @property
    def root(self) -> Path:
        return self.place.root

    def act(self, user: int, script: str, *, umask: int = 0o002, groups: tuple[int, ...] = (PRODUCERS,)) -> int:
        """What a shell says of this user's script in the root."""
        done = subprocess.run(
            ["/bin/sh", "-e", "-c", script],
            cwd=self.root,
            user=user,
            group=user,
            extra_groups=groups,
            umask=umask,
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return done.returncode

    def is_there(self, name: str) -> bool:
        return (self.root / name).exists()

    def mode(self, name: str) -> tuple[int, int]:
        """Permission bits and group."""
        found = (self.root / name).stat()
        return stat.S_IMODE(found.st_mode), found.st_gid


@pytest.fixture(params=WAYS)
def shared(request: pytest.FixtureRequest) -> Iterator[Shared]:
    """A root in each of the ways, a simulator, and nothing made yet."""
    way = WAYS[request.param]
    folder = Path(tempfile.mkdtemp(prefix="chromadrop-users-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)
        (folder / "home").mkdir()
        root = folder / "root"
        root.mkdir()
        place = stack.enter_context(Place(root))
        (root / "inbox").rmdir()  # the daemon is to make it
        for path in (root, folder / "home"):
            os.chown(path, way.root[0], way.root[1])
        root.chmod(way.root[2])
        place.launcher = (sys.executable, "-c", BECOME, str(DAEMON), str(PRODUCERS), way.umask)
        place.environ |= way.environ | {"HOME": str(folder / "home"), "COVERAGE_PROCESS_START": ""}
        # the current folder is looked at as a place for modules; the checkout is this one
        place.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        yield Shared(place, way)


def begin(shared: Shared) -> Running:
    """The daemon, at work."""
    running = shared.place.start("run")
    running.until("watch.started")
    return running


def wait_for(shared: Shared, running: Running, *names: str) -> None:
    """Until all of these are there, or patience ends."""
    assert running.wait_until(lambda: all(map(shared.is_there, names))), "".join(running.lines)[-5000:]


def test_a_producer_orders_in_a_folder_of_his_own_and_another_collects(shared: Shared) -> None:
    """Files can be dropped into a subfolder that a producer made; video, job file, and result be moved and deleted."""
    running = begin(shared)
    (shared.root / "film.src").write_text(job("film"))
    (shared.root / "film.src").chmod(0o644)
    assert shared.act(ANNA, "mkdir inbox/spring; cp film.src inbox/spring/film.yaml") == 0
    wait_for(shared, running, "done/spring/film.yaml")
    assert not shared.is_there("inbox/spring/film.yaml")
    assert shared.mode("videos/spring/film.mp4") == (shared.way.video, PRODUCERS)
    assert shared.mode("done/spring/film.yaml.result.json") == (shared.way.video & 0o666, PRODUCERS)
    for made in ("inbox", "videos", "done", "failed", "videos/spring", "done/spring"):
        assert shared.mode(made) == (shared.way.folder, PRODUCERS)
    assert shared.act(BEN, "cat videos/spring/film.mp4 done/spring/film.yaml.result.json >/dev/null") == 0
    assert shared.act(BEN, "echo seen >videos/spring/note.txt; rm videos/spring/note.txt") == 0
    assert shared.act(BEN, "mkdir videos/kept; mv videos/spring/film.mp4 videos/kept/; rmdir videos/spring") == 0
    assert shared.act(BEN, "rm done/spring/film.yaml done/spring/film.yaml.result.json; rmdir done/spring") == 0
    assert shared.act(BEN, "rm -r videos/kept; rmdir inbox/spring") == 0
    assert running.said("spool.permissions_refused") == []
    assert running.terminate() == 0, "".join(running.lines)[-3000:]


def test_a_failed_file_is_mended_and_moved_back(shared: Shared) -> None:
    """Another producer reads why, edits the file where it lies, and moves it back; what is beside it can be deleted."""
    running = begin(shared)
    for name in ("wrong", "hopeless"):
        script = f"printf 'language: ko\\ntext: {name}\\nmodel: M000004017\\ncloths: BG00006160\\n' >inbox/{name}.yaml"
        assert shared.act(ANNA, script) == 0
    wait_for(shared, running, "failed/wrong.yaml", "failed/hopeless.yaml")
    assert shared.mode("failed/wrong.yaml.error.txt") == (shared.way.video & 0o666, PRODUCERS)
    assert shared.act(BEN, "grep -q clothes failed/wrong.yaml.error.txt") == 0
    assert shared.act(BEN, "sed -i s/cloths/clothes/ failed/wrong.yaml; mv failed/wrong.yaml inbox/") == 0
    wait_for(shared, running, "done/wrong.yaml", "videos/wrong.mp4")
    assert not shared.is_there("failed/wrong.yaml.error.txt")
    assert shared.act(ANNA, "cd failed; rm hopeless.yaml hopeless.yaml.error.txt hopeless.yaml.result.json") == 0
    assert shared.place.simulator.accepted_by_text() == {"wrong": 1}
    assert running.terminate() == 0, "".join(running.lines)[-3000:]


def test_what_the_daemon_may_not_read_or_move_is_told_with_the_cure(shared: Shared) -> None:
    """A file for its owner alone, a subfolder that only its owner may change: nothing is lost, and the cure works."""
    running = begin(shared)
    (shared.root / "film.src").write_text(job("shut"))
    (shared.root / "other.src").write_text(job("stuck"))
    for name in ("film.src", "other.src"):
        (shared.root / name).chmod(0o644)
    assert shared.act(ANNA, "umask 077; cp film.src inbox/shut.yaml") == 0
    assert running.until("drop.unreadable", file="shut.yaml")["cure"] == "chmod a+r on the file"
    assert shared.act(ANNA, "mkdir inbox/mine; cp other.src inbox/mine/stuck.yaml", umask=0o022) == 0
    assert "chmod g+w,-t on that folder" in running.until("batch.deferred", file="mine/stuck.yaml")["reason"]
    assert shared.place.simulator.accepted_by_text() == {}
    assert shared.act(ANNA, "chmod a+r inbox/shut.yaml; chmod g+w inbox/mine") == 0
    wait_for(shared, running, "done/shut.yaml", "done/mine/stuck.yaml")
    assert shared.place.simulator.accepted_by_text() == {"shut": 1, "stuck": 1}
    assert running.terminate() == 0, "".join(running.lines)[-3000:]


def test_a_default_acl_helps_against_a_closed_umask(shared: Shared) -> None:
    """acl(5): what inbox/ hands on counts, whatever umask a producer works with."""
    running = begin(shared)
    (shared.root / "film.src").write_text(job("film"))
    (shared.root / "film.src").chmod(0o644)
    try:
        os.setxattr(shared.root / "inbox", "system.posix_acl_default", default_acl())
    except OSError as error:
        pytest.skip(f"no ACLs on this file system: {error.strerror}")
    assert shared.act(ANNA, "mkdir inbox/mine; cat film.src >inbox/mine/film.yaml", umask=0o077) == 0
    wait_for(shared, running, "done/mine/film.yaml")
    assert shared.act(BEN, "rm done/mine/film.yaml videos/mine/film.mp4") == 0
    assert running.terminate() == 0, "".join(running.lines)[-3000:]


def default_acl() -> bytes:
    """``d:u::rwx,d:g::rwx,d:o::---`` as Linux keeps it: version 2, then tag, permissions, and number of each."""
    nobody = 0xFFFFFFFF
    entries = ((0x01, 7, nobody), (0x04, 7, nobody), (0x20, 0, nobody))
    return (2).to_bytes(4, "little") + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + number.to_bytes(4, "little")
        for tag, bits, number in entries
    )


def test_a_producer_cannot_lead_the_daemon_out_of_the_root(shared: Shared) -> None:
    """Links, FIFOs, and notes where downloads lie, and a folder that is swapped: the ledger stays, videos come."""
    running = begin(shared)
    processing, state = shared.root / "processing", shared.root / "state"
    (ledger,) = shared.root.glob("state/ledger.sqlite3")
    number = json.loads((shared.root / ".chromadrop").read_text())["ledger"]
    for deed in ("ls processing/.downloads", "echo >processing/x", "mv processing/.downloads processing/mine"):
        assert shared.act(ANNA, deed) != 0
    # As an earlier release has left it, or an operator: a processing/ that producers can write in.
    os.chown(processing, -1, PRODUCERS)
    processing.chmod(0o2770)
    downloads = processing / ".downloads"
    downloads.chmod(0o2770)
    os.chown(downloads, -1, PRODUCERS)
    for n in (1, 2):
        assert shared.act(ANNA, f"ln -s {ledger} processing/.downloads/{number}-{n}.json.tmp") == 0
        assert shared.act(ANNA, f"mkfifo -m 666 processing/.downloads/{number}-{n}.json") == 0
        note = json.dumps({"path": str(state / "lock"), "bytes": 0, "sha256": "x"})
        assert shared.act(ANNA, f"printf '%s' '{note}' >processing/.downloads/{number}-{n}.note") == 0
    (shared.root / "film.src").write_text(job("film"))
    (shared.root / "film.src").chmod(0o644)
    assert shared.act(ANNA, "cp film.src inbox/film.yaml") == 0
    wait_for(shared, running, "done/film.yaml", "videos/film.mp4")
    assert stat.S_IMODE(downloads.stat().st_mode) & 0o077 == 0, "it was closed"
    assert ledger.read_bytes().startswith(b"SQLite format 3")
    assert (state / "lock").exists()
    # A folder of hers in its place.
    assert shared.act(ANNA, "mv processing/.downloads processing/.x; mkdir -m 777 processing/.downloads") == 0
    (shared.root / "film.src").write_text(job("second"))
    assert shared.act(ANNA, "cp film.src inbox/second.yaml") == 0
    assert "remove it" in running.until("job.deferred")["reason"]
    assert shared.act(ANNA, "rmdir processing/.downloads") == 0
    wait_for(shared, running, "done/second.yaml", "videos/second.mp4")
    assert running.terminate() == 0, "".join(running.lines)[-3000:]


def test_a_folder_that_a_producer_has_swapped_for_a_link_is_not_written_in(shared: Shared) -> None:
    """Whoever may rename in the root can make videos/ lead anywhere: everything waits until it is undone."""
    if not shared.way.root[2] & stat.S_IWGRP:
        assert shared.act(ANNA, "mv inbox mine") != 0
        return
    running = begin(shared)
    assert shared.act(ANNA, "mkdir -m 2770 -p elsewhere; mv videos kept; ln -s elsewhere videos") == 0
    assert "is a link that another user has made" in running.until("root.lost")["reason"]
    assert shared.act(ANNA, "rm videos; mv kept videos") == 0
    running.until("root.found")
    (shared.root / "film.src").write_text(job("film"))
    (shared.root / "film.src").chmod(0o644)
    assert shared.act(ANNA, "cp film.src inbox/film.yaml") == 0
    wait_for(shared, running, "videos/film.mp4")
    assert list((shared.root / "elsewhere").iterdir()) == []
    assert running.terminate() == 0, "".join(running.lines)[-3000:]


def test_a_stranger_can_change_nothing(shared: Shared) -> None:
    """Who is not in the group neither drops nor deletes, whatever the modes let him see."""
    running = begin(shared)
    assert shared.act(ANNA, "printf 'language: ko\\n' >inbox/x.yaml") == 0
    wait_for(shared, running, "failed/x.yaml")
    for deed in (
        "echo >inbox/y.yaml",
        "rm failed/x.yaml.error.txt",
        "mv failed/x.yaml inbox/",
        "ls processing/.downloads",
    ):
        assert shared.act(STRANGER, deed, groups=()) != 0
    assert running.terminate() == 0, "".join(running.lines)[-3000:]
