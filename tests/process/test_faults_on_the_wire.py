"""API.md's last table, row by row, with a real daemon process against the simulator over a real socket.

All faults of one column strike in one daemon's life, each its own job: what one job meets must not touch another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from place import KEY, NEVER, Place, job, listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK = {
    "CHROMADROP_API__CONNECT_TIMEOUT_SECONDS": "1",
    "CHROMADROP_API__READ_TIMEOUT_SECONDS": "3",
    "CHROMADROP_JOBS__MAX_RENDERING": "64",
    "CHROMADROP_JOBS__POLL_SECONDS": "0.2",
    "CHROMADROP_VIDEOS__DOWNLOADS": "64",
}

# fault of the export: (failure or None, paid, requests that the cloud gets)
EXPORT = {
    "408": (None, "yes", 2),
    "425": (None, "yes", 2),
    "429": (None, "yes", 2),
    "503": (None, "yes", 2),
    "503,times=2,body=html": (None, "yes", 3),
    "gzip": (None, "yes", 1),
    "odd_key": (None, "yes", 1),
    "delay,seconds=0.5": (None, "yes", 1),
    "no_key,shape=number": ("refused_after", "yes", 1),
    "500": ("in_doubt", "unknown", 1),
    "502,body=html": ("in_doubt", "unknown", 1),
    "504,body=empty": ("in_doubt", "unknown", 1),
    "500,accepted=yes": ("in_doubt", "unknown", 1),
    "close": ("in_doubt", "unknown", 1),
    "close,reset=yes,accepted=yes": ("in_doubt", "unknown", 1),
    "hang,accepted=yes": ("in_doubt", "unknown", 1),
    "cut_headers": ("in_doubt", "unknown", 1),
    "short_body": ("in_doubt", "unknown", 1),
    "cut_body": ("in_doubt", "unknown", 1),
    "cut_chunk": ("in_doubt", "unknown", 1),
    "stall": ("in_doubt", "unknown", 1),
    "trickle,seconds=0.5": ("in_doubt", "unknown", 1),
    "trickle,seconds=0.5,part=headers": ("in_doubt", "unknown", 1),
    "endless_json": ("in_doubt", "unknown", 1),
    "gzip_bomb": ("in_doubt", "unknown", 1),
    "deep_json": ("in_doubt", "unknown", 1),
    "not_json": ("in_doubt", "unknown", 1),
    "login,accepted=yes": ("in_doubt", "unknown", 1),
    "empty": ("in_doubt", "unknown", 1),
    "no_key": ("in_doubt", "unknown", 1),
    "no_key,shape=data_list": ("in_doubt", "unknown", 1),
    "302": ("in_doubt", "unknown", 1),
    "307": ("in_doubt", "unknown", 1),
    "400": ("refused", "no", 1),
    "404": ("refused", "no", 1),
    "422,body=string": ("refused", "no", 1),
    "success_false": ("refused", "no", 1),
    "success_false,body=message": ("refused", "no", 1),
}

# fault of the progress, once or for ever: the failure
PROGRESS: dict[str, str | None] = {
    "408": None,
    "425": None,
    "429,retry_after=1": None,
    "503,retry_after_date=1": None,
    "500": None,
    "502,body=html": None,
    "504,body=empty": None,
    "404": None,
    "unknown": None,
    "400": None,
    "success_false": None,
    "302": None,
    "login": None,
    "not_json": None,
    "empty": None,
    "deep_json": None,
    "endless_json": None,
    "gzip_bomb": None,
    "gzip": None,
    "close,times=2": None,
    "close,reset=yes": None,
    "hang": None,
    "cut_headers": None,
    "short_body": None,
    "cut_body": None,
    "cut_chunk": None,
    "stall": None,
    "trickle,seconds=0.5": None,
    "trickle,seconds=0.5,part=headers": None,
    "nan": None,
    "infinity": None,
    "string": None,
    "null": None,
    "missing": None,
    "negative": None,
    "over": None,
    "value": None,
    "value,json=true": None,
    "no_url": None,
    "dead_link": None,
    "url,url=ftp://127.0.0.1/x.mp4": None,
    "url,url=http://127.0.0.1:9/x.mp4": None,
    "unknown,times=0": "refused_after",
    "400,times=0": "refused_after",
    "success_false,times=0": "refused_after",
}

# fault of the download, once or for ever: the failure
DOWNLOAD: dict[str, str | None] = {
    "401": None,
    "403": None,
    "404": None,
    "410": None,
    "expired": None,
    "408": None,
    "425": None,
    "429,retry_after=1": None,
    "503,retry_after_date=1": None,
    "500": None,
    "502": None,
    "504": None,
    "400": None,
    "close": None,
    "close,reset=yes": None,
    "hang": None,
    "cut_headers": None,
    "short_body": None,
    "short_body,bytes=0": None,
    "short_body,reset=yes": None,
    "cut_body": None,
    "cut_chunk": None,
    "stall": None,
    "gzip": None,
    "login": None,
    "empty": None,
    "not_video": None,
    "not_video,body=garbage": None,
    "not_video,body=empty": None,
    "truncated": None,
    "new_video": None,
    "no_etag": None,
    "weak_etag": None,
    "no_range": None,
    "302,to=/elsewhere": None,
    "403,times=0": "refused_after",
    "400,times=0": "refused_after",
    "not_video,times=0": "refused_after",
}


def strike(place: Place, target: str, faults: Iterator[str] | dict[str, Any]) -> dict[str, str]:
    """Put each fault in force for a job of its own, in one file; the texts by fault."""
    texts = {}
    for number, fault in enumerate(faults, start=1):
        texts[fault] = f"<{number}>"
        place.simulator.add_fault(f"{target}:{fault},match=<{number}>")
    place.drop("all.yaml", listed(*(job(text) for text in texts.values())))
    return texts


def outcomes(place: Place, texts: dict[str, str], folder: str = "failed") -> dict[str, dict[str, Any]]:
    """What the result file says of each fault's job."""
    made = place.result(f"{folder}/all.yaml")["jobs"]
    return dict(zip(texts, made, strict=True))


def assert_whole(place: Place, made: dict[str, Any]) -> None:
    """The job's video is the one that was rendered for it, to the byte."""
    content = (place.root / made["video"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == place.simulator.video(made["project_id"]).sha256()


@pytest.mark.slow
def test_the_export_column(tmp_path: Path) -> None:
    """What is asked again, what is in doubt and never asked again, what is refused; nothing is paid twice."""
    with Place(tmp_path, render_seconds=0.2) as place:
        texts = strike(place, "export", EXPORT)
        assert place.start("run", "--once", **QUICK).end() == 1
        found = outcomes(place, texts)
        asked = [outcome.text for outcome in place.simulator.outcomes()]
        told = {fault: (found[fault]["failure"], found[fault]["paid"], asked.count(texts[fault])) for fault in EXPORT}
        assert told == EXPORT
        assert max(place.simulator.accepted_by_text().values()) == 1
        assert place.simulator.state()["strays"] == []
        assert len(place.files("videos")) == sum(made["failure"] is None for made in found.values())


@pytest.mark.slow
def test_the_progress_column(tmp_path: Path) -> None:
    """An answer that makes no sense is looked past; only a no, again and again, is a refusal."""
    with Place(tmp_path, render_seconds=0.2) as place:
        texts = strike(place, "progress", PROGRESS)
        assert place.start("run", "--once", **QUICK).end() == 1
        found = outcomes(place, texts)
        assert {fault: made["failure"] for fault, made in found.items()} == PROGRESS
        assert all(made["paid"] == "yes" for made in found.values())
        assert len(place.simulator.outcomes()) == len(PROGRESS)
        for made in found.values():
            if made["failure"] is None:
                assert_whole(place, made)


@pytest.mark.slow
def test_the_download_column(tmp_path: Path) -> None:
    """However a download goes wrong, what is seen in videos/ is whole; only what is never a video is refused."""
    with Place(tmp_path, render_seconds=0.2) as place:
        texts = strike(place, "download", DOWNLOAD)
        running = place.start("run", "--once", **QUICK)
        assert running.end() == 1
        found = outcomes(place, texts)
        assert {fault: made["failure"] for fault, made in found.items()} == DOWNLOAD
        for made in found.values():
            if made["failure"] is None:
                assert_whole(place, made)
        assert len(place.files("videos")) == sum(failure is None for failure in DOWNLOAD.values())
        assert not list((tmp_path / "processing/.downloads").glob("*.part"))
        assert not any(stray["has_credential"] for stray in place.simulator.state()["strays"])


def test_a_cloud_that_cannot_be_reached_is_waited_for(tmp_path: Path) -> None:
    """Nothing was sent, so nothing is in doubt: the export is made once, when the cloud is there."""
    with Place(tmp_path) as place:
        running = place.start("run")
        (tmp_path / "inbox/PAUSE").touch()
        running.until("queue.paused")
        place.drop_at_once("x.yaml", job("hello"))
        running.until("batch.claimed")
        place.simulator.refuse(5)
        (tmp_path / "inbox/PAUSE").unlink()
        running.until("cloud.away")
        assert "cannot reach" in running.until("job.deferred")["reason"]
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert [outcome.text for outcome in place.simulator.outcomes()] == ["hello"]


@pytest.mark.parametrize("after", ["retry_after=1", "retry_after_date=2"])
def test_retry_after_is_obeyed(tmp_path: Path, after: str) -> None:
    """In seconds or as a date; the second request does not come before."""
    with Place(tmp_path, render_seconds=0.1) as place:
        place.simulator.add_fault(f"export:503,{after}")
        place.drop("x.yaml", job("hello"))
        assert place.start("run", "--once").end() == 0
        first, second = place.simulator.outcomes()
        assert second.at - first.at >= 1.0


def test_a_netrc_changes_nothing(tmp_path: Path) -> None:
    """``~/.netrc`` names the host with another password; the cloud takes our key only, and gets it."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login eve password stolen\ndefault login eve password stolen\n")
    (home / ".netrc").chmod(0o600)
    root = tmp_path / "root"
    root.mkdir()
    with Place(root, keys=(KEY,), render_seconds=0.1) as place:
        place.drop("x.yaml", job("hello"))
        assert place.start("run", "--once", HOME=str(home), NETRC=str(home / ".netrc")).end() == 0


def test_a_redirect_to_another_host_gets_no_credential(tmp_path: Path) -> None:
    """The API is never followed elsewhere; a download is, without anything that is ours."""
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    elsewhere.mkdir()
    root.mkdir()
    with Place(elsewhere) as other, Place(root, render_seconds=0.1) as place:
        away = other.simulator.origin
        for fault in ("export:307,match=doubt", "progress:302", "progress:308", "download:302", "download:307"):
            place.simulator.add_fault(f"{fault},to={away}/taken?from={fault.partition(':')[0]}")
        place.drop("x.yaml", job("hello"))
        place.drop("y.yaml", job("doubt"))
        assert place.start("run", "--once").end() == 1
        assert place.job_files("done") == ["x.yaml"]
        strays = other.simulator.state()["strays"]
        assert [(stray["method"], stray["path"]) for stray in strays] == [("GET", "/taken")] * 2
        assert not any(stray["has_credential"] for stray in strays)


NAMES = {
    "traversal": "x.mp4",
    "reserved": "_CON.mp4",
    "long": None,
    "blank": None,
    "bare": "video.mp4",
    "webm": "video.webm",
    "a%2Fb%5Cc.mp4": None,
    "-rf.mp4": None,
}


def test_no_name_in_a_link_leaves_videos(tmp_path: Path) -> None:
    """``{url}``: whatever the link's last segment is, the video lies in videos/ under a safe name."""
    root = tmp_path / "root"
    root.mkdir()
    with Place(root, render_seconds=0.1) as place:
        for number, name in enumerate(NAMES):
            place.simulator.add_fault(f"progress:name,name={name},times=0,match=<{number}>")
        place.drop("all.yaml", listed(*(job(f"<{number}>") for number in range(len(NAMES)))))
        assert place.start("run", "--once", CHROMADROP_VIDEOS__NAME="{url}").end() == 0
        assert [path.name for path in tmp_path.iterdir()] == ["root"]
        made = outcomes(place, dict.fromkeys(NAMES, ""), "done")
        for name, wanted in NAMES.items():
            shown = made[name]["video"]
            assert shown.startswith("videos/")
            assert shown.count("/") == 1
            assert len(os.fsencode(shown.removeprefix("videos/"))) <= 255
            assert wanted is None or shown == f"videos/{wanted}"
            assert_whole(place, made[name])


SIZE = 3_000_000


@pytest.mark.parametrize(
    ("faults", "codes"),
    [
        (["download:stall,bytes=1000000"], [200, 206]),
        (["download:short_body,bytes=1000000,times=3"], [200, 206, 206]),
        (["download:stall,bytes=1000000", "download:new_video"], [200, 200]),
        (["download:stall,bytes=1000000", "download:no_range"], [200, 200]),
        (["download:stall,bytes=1000000", "download:wrong_range"], [200, 206, 200]),
    ],
)
def test_a_stalled_download_goes_on(tmp_path: Path, faults: list[str], codes: list[int]) -> None:
    """With Range and If-Range, where it stopped; afresh where the content has changed, or where the store cannot."""
    with Place(tmp_path, render_seconds=0.1, video_bytes=SIZE) as place:
        for fault in faults:
            place.simulator.add_fault(fault)
        place.drop("x.yaml", job("hello"))
        assert place.start("run", "--once", **QUICK).end() == 0
        assert [served.code for served in place.served if served.target == "download"] == codes
        [made] = place.result("done/x.yaml")["jobs"]
        assert made["bytes"] == SIZE
        assert_whole(place, made)


def test_a_download_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Killed in the middle of a download: the next daemon asks for the rest only."""
    with Place(tmp_path, render_seconds=0.1, video_bytes=SIZE) as place:
        place.simulator.add_fault("download:stall,bytes=2000000")
        place.drop("x.yaml", job("hello"))
        running = place.start("run", CHROMADROP_API__READ_TIMEOUT_SECONDS="60")
        running.until("job.exported")
        downloads = tmp_path / "processing/.downloads"
        assert running.wait_until(lambda: any(p.stat().st_size >= 1_500_000 for p in downloads.glob("*.part")))
        running.kill()
        assert place.start("run", "--once").end() == 0
        assert [served.code for served in place.served if served.target == "download"] == [200, 206]
        assert_whole(place, place.result("done/x.yaml")["jobs"][0])


# --- full disks -----------------------------------------------------------------------------------


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of that size, or a skip."""
    path.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"needs to mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    filler = path / ".filler"
    with filler.open("wb", buffering=0) as opened, contextlib.suppress(OSError):
        free = os.statvfs(path)
        opened.write(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return filler


def test_a_full_disk_while_downloading(tmp_path: Path) -> None:
    """Nothing half visible and nothing failed; when there is room, the download goes on where it stopped."""
    root = tmp_path / "root"
    with small_disk(root, "4m"), Place(root, render_seconds=NEVER, video_bytes=SIZE) as place:
        running = place.start("run", CHROMADROP_FOLDERS__STATE=str(tmp_path / "state"))
        running.until("watch.started")
        place.drop_at_once("x.yaml", job("hello"))
        running.until("job.exported")
        filler = fill(root, 1_000_000)
        place.simulator.advance(NEVER)
        assert "the disk is full" in running.until("job.deferred")["reason"]
        assert place.files("videos") == []
        filler.unlink()
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert_whole(place, place.result("done/x.yaml")["jobs"][0])
        assert [served.code for served in place.served if served.target == "download"][-1] == 206
        assert len(place.simulator.outcomes()) == 1


def test_a_full_disk_while_filing(tmp_path: Path) -> None:
    """The outcome is kept and the move is tried again; until then the job file is in processing/ and nowhere else."""
    root = tmp_path / "root"
    with small_disk(root / "done", "64k"), Place(root, render_seconds=0.1) as place:
        filler = fill(root / "done", 0)
        running = place.start("run", CHROMADROP_FOLDERS__STATE=str(tmp_path / "state"))
        running.until("watch.started")
        place.drop_at_once("x.yaml", job("hello"))
        assert "No space left" in running.until("batch.deferred")["reason"]
        assert place.files("done") == []
        assert place.job_files("processing") == ["x.yaml"]
        filler.unlink()
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert place.files("done") == ["x.yaml", "x.yaml.result.json"]
        assert place.job_files("processing") == []
        assert place.files("videos") == ["x.mp4"]
