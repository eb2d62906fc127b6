"""The share vanishes and comes back, under the real daemon: *unavailable* is never *empty* (DESIGN.md, section 2).

What is mounted lies in a mount namespace of its own, so that nothing of it is seen outside or left behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from place import NEVER, Place, Running, job, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts and inotify are Linux's")

NOBODY = 65534
SANDBOX = ("unshare", "--mount", "--propagation", "private")
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def _can(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0
    except OSError:
        return False


CAN_MOUNT = _can(*SANDBOX, "mount", "-t", "tmpfs", "none", "/mnt") and shutil.which("nsenter") is not None
CAN_FUSE = CAN_MOUNT and shutil.which("bindfs") is not None and Path("/dev/fuse").exists()
CAN_BE_NOBODY = os.geteuid() != 0 or _can(*AS_NOBODY, sys.executable, "-c", "import daemon")
needs_mounts = pytest.mark.skipif(not CAN_MOUNT, reason="needs root, and leave to mount in a namespace of its own")
needs_fuse = pytest.mark.skipif(not CAN_FUSE, reason="needs root, /dev/fuse, and bindfs (Debian package bindfs)")
needs_nobody = pytest.mark.skipif(not CAN_BE_NOBODY, reason="the user nobody cannot run this checkout's Python")


class MountSpace:
    """A mount namespace, kept by a process that does nothing; all that is mounted in it goes with it."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen([*SANDBOX, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.launcher = ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt")
        self._servers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.write(b"there\n")
        self._holder.stdin.flush()
        assert self._holder.stdout.readline() == b"there\n"
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.kill()
            server.wait()
        self._holder.communicate()

    def inside(self, path: Path) -> Path:
        """The path as those in the namespace see it."""
        return Path(f"/proc/{self._holder.pid}/root") / path.relative_to("/")

    def mount(self, *arguments: str | Path) -> None:
        """As the command of that name."""
        subprocess.run([*self.launcher, "mount", *arguments], check=True)

    def unmount(self, path: Path) -> None:
        """Busy or not, as a cable that is pulled."""
        subprocess.run([*self.launcher, "umount", "--lazy", path], check=True)

    def serve(self, backing: Path, share: Path) -> subprocess.Popen[bytes]:
        """A file server in user space: what lies in the one is seen in the other."""
        command = [*self.launcher, "bindfs", "-f", "--no-allow-other", str(backing), str(share)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._servers.append(server)
        seen = self.inside(share)
        wait_until(lambda: seen.stat().st_dev != backing.stat().st_dev, "the file server's mount")
        return server


class Share:
    """A root that can go away, with the daemon's state elsewhere."""

    def __init__(self, place: Place, root: Path) -> None:
        self.place = place
        place.environ["CHROMADROP_FOLDERS__ROOT"] = str(root)
        place.environ["CHROMADROP_FOLDERS__STATE"] = str(root.parent / "state")
        place.environ |= {"CHROMADROP_WATCH__RESCAN_SECONDS": "0.4", "CHROMADROP_JOBS__POLL_SECONDS": "0.2"}
        place.cwd = root.parent

    def start_rendering(self) -> Running:
        """A daemon that has paid for a render which has no end yet."""
        running = self.place.start("run")
        running.until("watch.started")
        self.place.drop_at_once("film.yaml", job("film"))
        running.until("job.exported")
        return running

    def see_polls_go_on(self) -> None:
        """The cloud is still asked how far the renders are."""
        before = self.polls()
        wait_until(lambda: self.polls() >= before + 2, "two more polls")

    def polls(self) -> int:
        found: int = self.place.simulator.state()["polls"]
        return found

    def finish(self, running: Running, *names: str) -> None:
        """These are filed as done, each paid for once, each video whole; one loss and one return were told."""
        accepted = self.place.simulator.accepted_by_text
        wait_until(lambda: len(accepted()) >= len(names), f"exports of {names}")
        self.place.simulator.advance(NEVER)
        wait_until(lambda: self.place.job_files("done") == sorted(names), f"{names} in done/")
        assert running.terminate() == 0
        self.check_whole(*names)

    def check_whole(self, *names: str) -> None:
        """Nothing was paid for twice, nothing is lost, nothing is left."""
        assert self.place.simulator.accepted_by_text() == {name.removesuffix(".yaml"): 1 for name in names}
        assert self.place.job_files("done") == sorted(names)
        assert self.place.files("inbox") == self.place.files("processing") == self.place.files("failed") == []
        assert len(self.place.files("videos")) == len(names)
        for name in names:
            (made,) = self.place.result(f"done/{name}")["jobs"]
            content = (self.place.root / made["video"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == self.place.simulator.video(made["project_id"]).sha256()


def tree(folder: Path) -> list[str]:
    """All that lies below a folder, hidden or not."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@contextmanager
def share_on_disk(tmp_path: Path) -> Iterator[Share]:
    """A root that is a folder."""
    root = tmp_path / "root"
    root.mkdir()
    with Place(root, render_seconds=NEVER) as place:
        yield Share(place, root)


@contextmanager
def share_on_a_mount(tmp_path: Path, *options: str) -> Iterator[tuple[Share, MountSpace, Path, Path]]:
    """A root that is mounted: with the namespace, the mount point, and the file system's other mount."""
    backing, point = tmp_path / "backing", tmp_path / "root"
    backing.mkdir()
    point.mkdir()
    with MountSpace() as space:
        space.mount("-t", "tmpfs", *options, "share", backing)
        space.mount("--bind", backing, point)
        with Place(space.inside(point), render_seconds=NEVER) as place:
            place.launcher = space.launcher
            yield Share(place, point), space, point, backing


# --- gone, and back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["renamed", "removed and restored"])
def test_a_root_that_is_gone_is_taken_up_when_it_is_back(tmp_path: Path, way: str) -> None:
    """Said once; nothing is made in its place; the render goes on; what came meanwhile runs; nothing twice."""
    with share_on_disk(tmp_path) as share:
        running, root, away = share.start_rendering(), share.place.root, tmp_path / "away"
        if way == "renamed":
            root.rename(away)
        else:
            shutil.copytree(root, away)
            shutil.rmtree(root)
        assert "not there" in running.until("root.lost")["reason"]
        share.see_polls_go_on()
        (away / "inbox/meanwhile.yaml").write_text(job("meanwhile"))
        assert not root.exists()
        away.rename(root)
        running.until("root.found")
        share.finish(running, "film.yaml", "meanwhile.yaml")
        assert len(running.said("root.lost")) == len(running.said("root.found")) == 1


def test_what_is_rendered_while_the_root_is_away_is_fetched_when_it_is_back(tmp_path: Path) -> None:
    """The end of a render is no reason to make folders where the root was, and the job does not fail."""
    with share_on_disk(tmp_path) as share:
        running, root, away = share.start_rendering(), share.place.root, tmp_path / "away"
        root.rename(away)
        running.until("root.lost")
        share.place.simulator.advance(NEVER)
        before = share.polls()
        wait_until(lambda: share.polls() > before, "the look that finds the end of the render")
        assert not root.exists()
        away.rename(root)
        share.finish(running, "film.yaml")


@needs_mounts
def test_unmounted_and_mounted_again(tmp_path: Path) -> None:
    """Nothing is created on the bare mount point, renders go on, and all is taken up again."""
    with share_on_a_mount(tmp_path) as (share, space, point, backing):
        running = share.start_rendering()
        space.unmount(point)
        assert "is the share not mounted?" in running.until("root.lost")["reason"]
        (space.inside(backing) / "inbox/meanwhile.yaml").write_text(job("meanwhile"))
        share.see_polls_go_on()
        share.place.simulator.advance(NEVER)
        assert tree(space.inside(point)) == []
        space.mount("--bind", backing, point)
        running.until("root.found")
        share.finish(running, "film.yaml", "meanwhile.yaml")
        space.unmount(point)
        assert tree(space.inside(point)) == []


@needs_mounts
def test_another_folder_mounted_over_a_running_watch_is_not_ours(tmp_path: Path) -> None:
    """Without our marker it is left as it is, whatever lies in its inbox/; what is below it comes back unharmed."""
    with share_on_a_mount(tmp_path) as (share, space, point, backing):
        running = share.start_rendering()
        strange = tmp_path / "strange"
        (strange / "inbox").mkdir(parents=True)
        (strange / "inbox/not-ours.yaml").write_text(job("not ours"))
        space.mount("--bind", strange, point)
        assert "is the share not mounted?" in running.until("root.lost")["reason"]
        (space.inside(backing) / "inbox/meanwhile.yaml").write_text(job("meanwhile"))
        share.see_polls_go_on()
        assert tree(strange) == ["inbox", "inbox/not-ours.yaml"]
        space.unmount(point)
        running.until("root.found")
        share.finish(running, "film.yaml", "meanwhile.yaml")
        assert tree(strange) == ["inbox", "inbox/not-ours.yaml"]


@needs_mounts
def test_an_inbox_mounted_over_a_running_watch_is_found(tmp_path: Path) -> None:
    """The kernel tells of nothing: the scan sees that the folder is another, and watches that one.

    A job file is claimed from there by a copy, since the mount came after the proof that a rename does.
    """
    with share_on_a_mount(tmp_path) as (share, space, point, _backing):
        running = share.start_rendering()
        other = tmp_path / "other"
        other.mkdir()
        space.mount("--bind", other, point / "inbox")
        assert running.until("watch.rebuilt")["reason"] == "inbox/ is another folder"
        (other / "over.yaml").write_text(job("over"))
        wait_until(lambda: not (other / "over.yaml").exists(), "the claim from the other file system")
        space.unmount(point / "inbox")
        running.until("watch.rebuilt")
        share.place.drop_at_once("below.yaml", job("below"))
        share.finish(running, "below.yaml", "film.yaml", "over.yaml")


def test_the_root_of_another_ledger_is_as_good_as_gone(tmp_path: Path) -> None:
    """Another office's share under the same path: refused with the reason, untouched, until ours is back."""
    with share_on_disk(tmp_path) as share:
        running, root, away = share.start_rendering(), share.place.root, tmp_path / "away"
        root.rename(away)
        (root / "inbox").mkdir(parents=True)
        (root / ".chromadrop").write_text(json.dumps({"ledger": "theirs"}))
        (root / "inbox/theirs.yaml").write_text(job("theirs"))
        before = tree(root)
        running.until("root.lost")
        share.see_polls_go_on()
        assert tree(root) == before
        shutil.rmtree(root)
        away.rename(root)
        running.until("root.found")
        share.finish(running, "film.yaml")
        share.place.root.rename(away)
        (root / "inbox").mkdir(parents=True)
        (root / ".chromadrop").write_text(json.dumps({"ledger": "theirs"}))
        refused = share.place.start("run")
        assert refused.end() == 78
        assert "another ledger" in "".join(refused.lines)
        assert tree(root) == [".chromadrop", "inbox"]


@needs_mounts
def test_started_while_the_share_is_away(tmp_path: Path) -> None:
    """The daemon waits and says so, ``--once`` ends with 69; nothing is created; all goes on when it is there."""
    with share_on_a_mount(tmp_path) as (share, space, point, backing):
        assert share.start_rendering().terminate() == 0
        space.unmount(point)
        assert share.place.start("run", "--once").end() == 69
        running = share.place.start("run")
        running.until("root.lost")
        share.see_polls_go_on()
        assert tree(space.inside(point)) == []
        space.mount("--bind", backing, point)
        running.until("root.found")
        share.finish(running, "film.yaml")


# --- there, but refusing --------------------------------------------------------------------------------------------


@pytest.fixture
def poor_folder() -> Iterator[Path]:
    """A folder of an ordinary user, whom permissions bind."""
    folder = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, -1)
    yield folder
    for inner, _, _ in os.walk(folder):
        Path(inner).chmod(0o700)
    shutil.rmtree(folder)


@contextmanager
def poor_share(folder: Path) -> Iterator[Share]:
    """A root that belongs to the user nobody, as whom the daemon runs."""
    root = folder / "root"
    root.mkdir()
    with Place(root, render_seconds=NEVER) as place:
        if os.geteuid() == 0:
            place.launcher = AS_NOBODY
            for path in (root, root / "inbox"):
                os.chown(path, NOBODY, -1)
            place.environ |= {"HOME": str(folder), "COVERAGE_PROCESS_START": ""}
        yield Share(place, root)


@needs_nobody
@pytest.mark.parametrize(("folder", "mode"), [(".", 0o000), ("inbox", 0o300)])
def test_an_unreadable_folder_is_no_empty_one(poor_folder: Path, folder: str, mode: int) -> None:
    """The root or inbox/: said once with the reason, nothing forgotten."""
    with poor_share(poor_folder) as share:
        running = share.start_rendering()
        shut = share.place.root / folder
        share.place.drop("meanwhile.yaml.part", job("meanwhile"))
        shut.chmod(mode)
        assert "Permission denied" in running.until("root.lost")["reason"]
        share.see_polls_go_on()
        shut.chmod(0o700)
        running.until("root.found")
        (share.place.root / "inbox/meanwhile.yaml.part").rename(share.place.root / "inbox/meanwhile.yaml")
        share.finish(running, "film.yaml", "meanwhile.yaml")


@needs_nobody
def test_an_inbox_that_is_unreadable_at_the_start(poor_folder: Path) -> None:
    """A clear error, and it keeps trying."""
    with poor_share(poor_folder) as share:
        inbox = share.place.root / "inbox"
        (inbox / "film.yaml").write_text(job("film"))
        inbox.chmod(0o000)
        running = share.place.start("run")
        reason = running.until("root.lost")["reason"]
        assert str(inbox) in reason
        assert "Permission denied" in reason
        inbox.chmod(0o700)
        running.until("root.found")
        share.finish(running, "film.yaml")


@needs_nobody
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files to other users")
def test_files_and_folders_of_other_users(poor_folder: Path) -> None:
    """Unreadable: stays, with the cure. Sticky: cannot be moved, is told, and nothing is paid. The others run."""
    with poor_share(poor_folder) as share:
        place, inbox = share.place, share.place.root / "inbox"
        place.drop("shut.yaml", job("shut"))
        (inbox / "shut.yaml").chmod(0o600)
        sticky = inbox / "sticky"
        sticky.mkdir()
        sticky.chmod(0o1777)
        place.drop("sticky/roots.yaml", job("roots"))
        running = place.start("run")
        said = running.until("drop.unreadable")
        assert (said["file"], said["cure"]) == ("shut.yaml", "chmod a+r on the file")
        assert "Operation not permitted" in running.until("batch.deferred", file="sticky/roots.yaml")["reason"]
        place.drop_at_once("film.yaml", job("film"))
        running.until("job.exported")
        assert place.simulator.accepted_by_text() == {"film": 1}
        assert place.job_files("inbox") == ["shut.yaml", "sticky/roots.yaml"]
        os.chown(inbox / "shut.yaml", NOBODY, -1)
        os.chown(sticky / "roots.yaml", NOBODY, -1)
        wait_until(lambda: len(place.simulator.accepted_by_text()) == 3, "the files that were given over")
        place.simulator.advance(NEVER)
        wait_until(lambda: len(place.job_files("done")) == 3, "three in done/")
        assert running.terminate() == 0
        assert len(running.said("drop.unreadable")) == 1
        assert place.simulator.accepted_by_text() == {"film": 1, "shut": 1, "roots": 1}


@needs_mounts
def test_read_only_while_rendering_and_filing(tmp_path: Path) -> None:
    """The render ends, the download and the claim wait, said with the reason; nothing is asked or paid twice."""
    with share_on_a_mount(tmp_path) as (share, space, point, backing):
        running = share.start_rendering()
        space.mount("-o", "remount,bind,ro", point)
        share.place.simulator.advance(NEVER)
        assert "Read-only" in running.until("job.deferred")["reason"]
        (space.inside(backing) / "inbox/meanwhile.yaml").write_text(job("meanwhile"))
        assert "Read-only" in running.until("batch.deferred")["reason"]
        assert share.place.simulator.accepted_by_text() == {"film": 1}
        space.mount("-o", "remount,bind,rw", point)
        share.finish(running, "film.yaml", "meanwhile.yaml")


@needs_mounts
def test_done_is_read_only_at_the_end(tmp_path: Path) -> None:
    """The outcome is kept, the move tried again; a restart in between only moves."""
    with share_on_a_mount(tmp_path) as (share, space, point, _backing):
        running = share.start_rendering()
        space.mount("--bind", point / "done", point / "done")
        space.mount("-o", "remount,bind,ro", point / "done")
        share.place.simulator.advance(NEVER)
        assert "Read-only" in running.until("batch.deferred")["reason"]
        assert running.terminate() == 0
        again = share.place.start("run")
        again.until("batch.deferred")
        space.unmount(point / "done")
        again.until("batch.filed", outcome="done")
        assert again.terminate() == 0
        share.check_whole("film.yaml")


def fill_up(path: Path) -> None:
    """Leave no room on the file system."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@needs_mounts
def test_the_disk_is_full_at_the_end(tmp_path: Path) -> None:
    """Nothing half visible; the job waits, and ends when there is room."""
    with share_on_a_mount(tmp_path, "-o", "size=8m") as (share, space, point, _backing):
        running = share.start_rendering()
        ballast = space.inside(point) / "ballast"
        fill_up(ballast)
        share.place.simulator.advance(NEVER)
        assert "disk is full" in running.until("job.deferred")["reason"]
        assert share.place.files("videos") == share.place.files("done") == []
        ballast.unlink()
        share.finish(running, "film.yaml")


# --- frozen ---------------------------------------------------------------------------------------------------------


def see_it_live_through_a_freeze(share: Share, freeze: Callable[[], None], thaw: Callable[[], None]) -> None:
    """Frozen: polls go on, SIGTERM is answered; thawed: all goes on, before and after a restart."""
    running = share.start_rendering()
    freeze()
    share.see_polls_go_on()
    thaw()
    share.place.drop_at_once("second.yaml", job("second"))
    running.until("job.exported")
    freeze()
    share.place.simulator.advance(NEVER)  # a download comes due, and is held by the share like the scanner
    before = share.polls()
    wait_until(lambda: share.polls() > before, "the look that finds the end of the render")
    assert running.terminate() == 0
    thaw()
    again = share.place.start("run")
    share.finish(again, "film.yaml", "second.yaml")


def test_a_frozen_marker_holds_up_neither_polls_nor_the_end(tmp_path: Path) -> None:
    """A stand-in for a frozen share on any machine: whoever reads the root's marker, a named pipe now, is held."""
    with share_on_disk(tmp_path) as share:
        marker = share.place.root / ".chromadrop"

        def freeze() -> None:
            marker.rename(tmp_path / "marker")
            os.mkfifo(tmp_path / "pipe")
            (tmp_path / "pipe").rename(marker)

        def thaw() -> None:
            pipe = tmp_path / "pipe"
            marker.rename(pipe)
            (tmp_path / "marker").rename(marker)
            content = marker.read_bytes()
            release_readers(pipe, content)
            pipe.unlink()

        see_it_live_through_a_freeze(share, freeze, thaw)


def release_readers(pipe: Path, content: bytes) -> None:
    """Let go of all who wait at a named pipe, each with this content."""
    try:
        writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody waits
        return
    os.write(writer, content)
    os.close(writer)


@needs_fuse
def test_a_frozen_file_server_holds_up_neither_polls_nor_the_end(tmp_path: Path) -> None:
    """Every call on the share hangs: the daemon still asks the cloud, and stops when it is told to."""
    backing, point = tmp_path / "backing", tmp_path / "root"
    backing.mkdir()
    point.mkdir()
    with MountSpace() as space:
        server = space.serve(backing, point)
        with Place(backing, render_seconds=NEVER) as place:
            place.launcher = space.launcher
            try:
                see_it_live_through_a_freeze(
                    Share(place, point),
                    lambda: server.send_signal(signal.SIGSTOP),
                    lambda: server.send_signal(signal.SIGCONT),
                )
            finally:
                server.send_signal(signal.SIGCONT)


@needs_fuse
def test_changes_on_the_other_side_and_a_file_server_that_dies(tmp_path: Path) -> None:
    """No event tells of them: a scan finds them. A dead server is a share that is away."""
    backing, point = tmp_path / "backing", tmp_path / "root"
    backing.mkdir()
    point.mkdir()
    with MountSpace() as space:
        server = space.serve(backing, point)
        with Place(backing, render_seconds=NEVER) as place:
            place.launcher = space.launcher
            share = Share(place, point)
            running = share.start_rendering()  # dropped on the other side
            assert running.said("watch.started", observer="scans", file_system="fuse")
            server.kill()
            server.wait()
            assert "not connected" in running.until("root.lost")["reason"]
            place.drop_at_once("meanwhile.yaml", job("meanwhile"))
            share.see_polls_go_on()
            space.unmount(point)
            share.see_polls_go_on()
            assert tree(space.inside(point)) == []
            space.serve(backing, point)
            running.until("root.found")
            share.finish(running, "film.yaml", "meanwhile.yaml")
            assert len(running.said("root.lost")) == 1


# --- inbox/ itself --------------------------------------------------------------------------------------------------


def test_an_inbox_that_is_exchanged_is_found_again(tmp_path: Path) -> None:
    """Removed and made again, renamed away and another made, a link turned elsewhere: each within a rescan."""
    with share_on_disk(tmp_path) as share:
        running, inbox = share.start_rendering(), share.place.root / "inbox"
        inbox.rmdir()
        running.until("root.lost")
        inbox.mkdir()
        running.until("root.found")
        share.place.drop_at_once("a.yaml", job("a"))
        running.until("job.exported")
        inbox.rename(inbox.with_name("old"))
        inbox.mkdir()
        share.place.drop_at_once("b.yaml", job("b"))
        running.until("job.exported")
        (inbox.with_name("old") / "stays.yaml").write_text(job("stays"))
        for name in ("c", "d"):
            target = inbox.with_name(f"shelf-{name}")
            target.mkdir()
            scratch = inbox.with_name("link")
            scratch.symlink_to(target.name)
            if not inbox.is_symlink():
                inbox.rmdir()
            scratch.rename(inbox)
            share.place.drop_at_once(f"{name}.yaml", job(name))
            running.until("job.exported")
        share.finish(running, "a.yaml", "b.yaml", "c.yaml", "d.yaml", "film.yaml")
        assert (inbox.with_name("old") / "stays.yaml").exists()
