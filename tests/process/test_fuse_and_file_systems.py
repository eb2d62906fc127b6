"""Roots on file systems of every kind: what `observer: auto` chooses there, and that it was right.

Where it watches, the scan is put off for an hour, so that what is found was told of by an event. Where it scans, people
work on the other side of the mount, from where no event comes.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from file_systems import (
    LOCAL,
    REMOTE,
    LonelyNetwork,
    SecureShell,
    mount_local,
    mount_overlay,
    mount_point,
    mount_smb,
    needs_btrfs,
    needs_overlay,
    needs_smbnetfs,
    needs_sshfs,
)
from place import NEVER, Place, Running, job, wait_until
from samba import Samba
from test_share import MountSpace, Share, tree

from daemon.edges.inbox_watch.drop_file import DropFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts and inotify are Linux's")

HOUR = "3600"
WATCHED = {"observer": "native", "settle_seconds": 2.0, "rescan_seconds": 30.0}
SCANNED = {"observer": "scans", "settle_seconds": 5.0, "rescan_seconds": 5.0}


def chosen(share: Share, **expected: object) -> None:
    """What a daemon that nobody told how to watch says of it."""
    kept = dict(share.place.environ)
    for name in ("SETTLE", "RESCAN"):
        del share.place.environ[f"CHROMADROP_WATCH__{name}_SECONDS"]
    running = share.place.start("run")
    said = running.until("watch.started")
    assert {key: said[key] for key in expected} == expected
    assert running.terminate() == 0
    share.place.environ = kept


def work_off(share: Share, running: Running) -> None:
    """Dropped at once, slowly, and in a folder that was just made: all are made, once."""
    share.place.drop_at_once("renamed.yaml", job("renamed"))
    running.until("job.exported")
    share.place.drop("written.yaml", job("written"))
    running.until("job.exported")
    share.place.drop("봄 광고/first day/deep.yaml", job("deep"))
    running.until("job.exported")
    share.place.simulator.advance(NEVER)
    wait_until(lambda: len(share.place.job_files("done")) == 3, "three in done/")
    share.place.drop_at_once("renamed.yaml", job("another order"))
    running.until("job.exported")
    share.place.simulator.advance(NEVER)
    wait_until(lambda: len(share.place.job_files("done")) == 4, "four in done/")
    assert running.terminate() == 0
    place = share.place
    assert place.simulator.accepted_by_text() == {"renamed": 1, "written": 1, "deep": 1, "another order": 1}
    names = ["renamed (2).yaml", "renamed.yaml", "written.yaml", "봄 광고/first day/deep.yaml"]
    assert place.job_files("done") == names
    assert place.files("inbox") == place.files("processing") == place.files("failed") == []
    assert len(place.files("videos")) == 4


@contextmanager
def local_share(tmp_path: Path, kind: str) -> Iterator[tuple[Share, MountSpace, Path]]:
    """A root on a new file system of this kind."""
    with mount_point(tmp_path) as point, MountSpace() as space:
        mount_local(space, kind, tmp_path, point)
        with Place(space.inside(point), render_seconds=NEVER) as place:
            place.launcher = space.launcher
            yield Share(place, point), space, point


@pytest.mark.parametrize("kind", LOCAL)
def test_where_the_kernel_tells_of_every_change_it_is_watched(tmp_path: Path, kind: str) -> None:
    """Local file systems: `auto` watches, and a drop is found although no scan is due for an hour."""
    with local_share(tmp_path, kind) as (share, _space, _point):
        chosen(share, **WATCHED, file_system=kind)
        share.place.environ["CHROMADROP_WATCH__RESCAN_SECONDS"] = HOUR
        running = share.place.start("run")
        running.until("watch.started", observer="native", rescan_seconds=3600.0)
        work_off(share, running)


@pytest.mark.parametrize("kind", REMOTE)
def test_where_changes_come_from_elsewhere_it_is_scanned(tmp_path: Path, kind: str) -> None:
    """File servers in user space: `auto` scans, and what was dropped on the other side is found by that."""
    backing = tmp_path / "backing"
    backing.mkdir()
    with mount_point(tmp_path) as point, MountSpace() as space:
        if kind == "bindfs":
            space.serve(backing, point)
        else:
            SecureShell(space, backing, point, "dir_cache=no")
        with Place(backing, render_seconds=NEVER) as place:
            place.launcher = space.launcher
            share = Share(place, point)
            chosen(share, **SCANNED, file_system="fuse" if kind == "bindfs" else "fuse.sshfs")
            running = place.start("run")
            running.until("watch.started", observer="scans")
            work_off(share, running)


@needs_smbnetfs
@pytest.mark.slow
def test_a_drive_of_another_machine_over_smb(tmp_path: Path) -> None:
    """The daemon claims, downloads, and files over SMB; people drop with smbclient; what one opens is theirs."""
    backing = tmp_path / "backing"
    (backing / "office").mkdir(parents=True)
    with (
        mount_point(tmp_path) as point,
        LonelyNetwork() as network,
        MountSpace() as space,
        Samba(backing, launcher=network.launcher, port=445) as samba,
    ):
        mount_smb(space, network, tmp_path, point)
        with Place(backing / "office", render_seconds=NEVER) as place:
            place.launcher = space.launcher
            share = Share(place, point / "127.0.0.1/office/office")
            place.cwd = tmp_path
            share.place.environ["CHROMADROP_FOLDERS__STATE"] = str(tmp_path / "state")
            chosen(share, **SCANNED, file_system="fuse.smbnetfs")
            running = place.start("run")
            running.until("watch.started", observer="scans")
            samba.put("office/inbox/봄 🎬.yaml", job("put"))
            running.until("job.exported")
            samba.put("office/inbox/x.part", job("renamed"))
            samba.rename("office/inbox/x.part", "office/inbox/x.yaml")
            running.until("job.exported")
            place.simulator.advance(NEVER)
            running.until("batch.filed")
            running.until("batch.filed")
            assert running.terminate() == 0
            assert place.simulator.accepted_by_text() == {"put": 1, "renamed": 1}
            assert place.job_files("done") == ["x.yaml", "봄 🎬.yaml"]
            for name in ("x.yaml", "봄 🎬.yaml"):
                (made,) = place.result(f"done/{name}")["jobs"]
                expected = place.simulator.video(made["project_id"]).sha256()
                assert made["sha256"] == expected
                assert samba.get(f"office/{made['video']}") == (place.root / made["video"]).read_bytes()


@needs_sshfs
@pytest.mark.parametrize("victim", ["server", "client"])
def test_a_drive_that_goes_away_and_comes_back(tmp_path: Path, victim: str) -> None:
    """The other machine dies, and sshfs unmounts; or sshfs dies, and every call fails: away, and never empty."""
    backing = tmp_path / "backing"
    backing.mkdir()
    with mount_point(tmp_path) as point, MountSpace() as space:
        drive = SecureShell(space, backing, point, "dir_cache=no")
        with Place(backing, render_seconds=NEVER) as place:
            place.launcher = space.launcher
            share = Share(place, point)
            running = share.start_rendering()
            drive.end(of=victim)
            reason = running.until("root.lost")["reason"]
            assert ("not connected" if victim == "client" else "is the share not mounted?") in reason
            place.drop_at_once("meanwhile.yaml", job("meanwhile"))
            share.see_polls_go_on()
            place.simulator.advance(NEVER)
            before = share.polls()
            wait_until(lambda: share.polls() > before, "the look that finds the end of the render")
            assert tree(point) == []
            if victim == "client":
                space.unmount(point)
            SecureShell(space, backing, point, "dir_cache=no")
            running.until("root.found")
            share.finish(running, "film.yaml", "meanwhile.yaml")
            assert len(running.said("root.lost")) == len(running.said("root.found")) == 1


@needs_sshfs
def test_what_sshfs_remembers_never_makes_a_growing_file_look_quiet(tmp_path: Path) -> None:
    """As it is mounted by default: a look shows a file as it is on the other machine at that moment."""
    backing = tmp_path / "backing"
    backing.mkdir()
    growing = backing / "film.yaml"
    growing.write_text("language: ko\n")
    with mount_point(tmp_path) as point, MountSpace() as space:
        SecureShell(space, backing, point)
        seen = set()
        for number in range(1, 6):
            with DropFile(str(space.inside(point)), "film.yaml") as file:
                seen.add(file.fingerprint)
                assert file.fingerprint.size == growing.stat().st_size
                with growing.open("a") as more:
                    more.write(f"# {number}\n")
        assert len(seen) == 5


@needs_sshfs
def test_a_drop_is_found_although_sshfs_remembers_the_folder(tmp_path: Path) -> None:
    """Later by as long as it remembers, 20 seconds where nobody says otherwise, but found, and made once."""
    backing = tmp_path / "backing"
    backing.mkdir()
    with mount_point(tmp_path) as point, MountSpace() as space:
        SecureShell(space, backing, point, "dcache_timeout=3")
        with Place(backing, render_seconds=NEVER) as place:
            place.launcher = space.launcher
            share = Share(place, point)
            running = place.start("run")
            running.until("watch.started", observer="scans")
            place.drop("film.yaml", job("film"))
            running.until("job.exported")
            share.finish(running, "film.yaml")


@needs_overlay
def test_a_drop_that_lies_in_the_lower_layer(tmp_path: Path) -> None:
    """A container's image has it: claiming copies it up, and it is still the file that was read."""
    (tmp_path / "lower/inbox").mkdir(parents=True)
    (tmp_path / "lower/inbox/film.yaml").write_text(job("film"))
    with mount_point(tmp_path) as point, MountSpace() as space:
        mount_overlay(space, tmp_path, point)
        with Place(space.inside(point), render_seconds=NEVER) as place:
            place.launcher = space.launcher
            share = Share(place, point)
            running = place.start("run")
            running.until("job.exported")
            share.finish(running, "film.yaml")
        assert (tmp_path / "lower/inbox/film.yaml").read_text() == job("film")


def subvolume(space: MountSpace, path: Path) -> None:
    """Make one, on btrfs."""
    subprocess.run([*space.launcher, "btrfs", "subvolume", "create", str(path)], check=True, capture_output=True)


@needs_btrfs
def test_a_claim_across_subvolumes_is_refused_at_the_start(tmp_path: Path) -> None:
    """inbox/ in a subvolume of its own: no rename leads out of it, said in plain words; nothing is made or sent."""
    with local_share(tmp_path, "btrfs") as (share, space, point):
        (share.place.root / "inbox").rmdir()
        subvolume(space, point / "inbox")
        share.place.drop_at_once("film.yaml", job("film"))
        refused = share.place.start("run")
        assert refused.end() == 78
        assert "different file systems, so that a job file cannot be claimed" in "".join(refused.lines)
        assert share.place.job_files("inbox") == ["film.yaml"]
        assert share.place.simulator.accepted_by_text() == {}


@needs_btrfs
def test_results_across_subvolumes_are_copied(tmp_path: Path) -> None:
    """done/ and videos/ in subvolumes of their own, and a snapshot of the root beside: all is made, once."""
    with local_share(tmp_path, "btrfs") as (share, space, point):
        for name in ("done", "videos"):
            subvolume(space, point / name)
        running = share.place.start("run")
        running.until("watch.started", observer="native")
        work_off(share, running)


@needs_btrfs
def test_a_root_that_is_a_subvolume_is_watched(tmp_path: Path) -> None:
    """Its device number is not the mount's, which must mislead nobody."""
    with local_share(tmp_path, "btrfs") as (share, space, point):
        (share.place.root / "inbox").rmdir()
        subvolume(space, point / "office")
        inner = Share(share.place, point / "office")
        share.place.environ["CHROMADROP_FOLDERS__STATE"] = str(tmp_path / "state")
        share.place.environ["CHROMADROP_WATCH__RESCAN_SECONDS"] = HOUR
        share.place.root = share.place.root / "office"
        running = share.place.start("run")
        running.until("watch.started", observer="native", file_system="btrfs")
        work_off(inner, running)
