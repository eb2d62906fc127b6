"""Producers on a network drive: Debian's samba serves the root, the real daemon works on it, smbclient is the people.

As on a file server: the daemon's side of the share is a local disk, so every change is made by this machine's kernel,
and inbox/ is watched. The scan is put off for an hour, unless a test says otherwise: what is found, an event told of.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from place import Place, Running, job, listed, wait_until
from samba import Samba, needs_samba

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [needs_samba]

HOUR = "3600"
FILLING = "# filling, so that the file needs several writes\n" * 200
"""More than two of smbd's largest writes here."""


@contextmanager
def office(tmp_path: Path, *options: str, **settings: str) -> Iterator[tuple[Place, Samba, Running]]:
    """A share with a daemon on the server's disk."""
    root = tmp_path / "root"
    root.mkdir()
    with Place(root, render_seconds=0.3) as place, Samba(root, *options) as share:
        place.environ |= {
            "CHROMADROP_FOLDERS__STATE": str(tmp_path / "state"),
            "CHROMADROP_WATCH__RESCAN_SECONDS": HOUR,
            "CHROMADROP_LOGS__LEVEL": "debug",
        }
        running = place.start("run", **settings)
        assert running.until("watch.started")["observer"] == "native"
        yield place, share, running


@pytest.mark.parametrize(
    "name",
    [
        "film.yaml",
        "two words, and (brackets).yml",
        "봄 광고 1편.yaml",
        "🎬 clap é ß.yaml",
        "spring/day one/film.yaml",
        "봄/첫째 날/🎬.YAML",
    ],
)
def test_what_is_put_there_is_made_and_collected(tmp_path: Path, name: str) -> None:
    """Dropped with a plain put, in folders that were just made; video and results are collected; all over the share.

    The names are as the producer wrote them, and what was collected or renamed is not missed.
    """
    with office(tmp_path) as (place, share, running):
        *folders, base = name.split("/")
        for depth, _ in enumerate(folders, start=1):
            share.do(f'mkdir "inbox/{"/".join(folders[:depth])}"')
        share.put(f"inbox/{name}", job("film"))
        running.until("batch.filed", outcome="done")
        assert share.names("/".join(["done", *folders])) == sorted([base, f"{base}.result.json"])
        result = json.loads(share.get(f"done/{name}.result.json"))
        (made,) = result["jobs"]
        video = share.get(made["video"])
        assert hashlib.sha256(video).hexdigest() == place.simulator.video(made["project_id"]).sha256()
        share.do(f'del "{made["video"]}"', f'del "done/{name}.result.json"')
        share.rename(f"done/{name}", "done/collected.txt")
        share.put(f"inbox/{name}", job("next"))
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {"film": 1, "next": 1}
        assert place.files("done") == sorted(["collected.txt", name, f"{name}.result.json"])
        assert place.files("inbox") == place.files("processing") == place.files("failed") == []


def test_a_copy_that_is_slow_is_waited_for(tmp_path: Path) -> None:
    """The first half is a valid job already, and lies still for long enough: nothing is read before it is closed."""
    with office(tmp_path, CHROMADROP_WATCH__RESCAN_SECONDS="0.4") as (place, share, running):
        first = "- " + job("first").rstrip("\n").replace("\n", "\n  ") + "\n" + FILLING
        copy = share.start_put("inbox/long.yaml")
        copy.write(first)
        assert running.until("drop.waiting", file="long.yaml", reason="still being written")
        copy.write(listed(job("second")) + FILLING)
        copy.finish()
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {"first": 1, "second": 1}
        assert len(place.result("done/long.yaml")["jobs"]) == 2


def test_a_copy_that_breaks_off_is_told_and_can_be_made_again(tmp_path: Path) -> None:
    """The server closes the half file normally. It makes no sense, so nothing is sent; the second time it is whole."""
    with office(tmp_path) as (place, share, running):
        text = "".join(f"words, and words {number}\n  " for number in range(1000))
        whole = f"language: ko\nmodel: M000004017\ntext: >\n  {text}\nclothes: BG00006160\n"
        copy = share.start_put("inbox/long.yaml")
        copy.write(whole[:9000])
        growing = place.root / "inbox/long.yaml"
        wait_until(lambda: growing.exists() and growing.stat().st_size, "the first piece")
        copy.cut()
        running.until("batch.filed", outcome="failed")
        assert place.simulator.accepted_by_text() == {}
        assert "clothes" in share.get("failed/long.yaml.error.txt").decode()
        share.put("inbox/long.yaml", whole)
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert list(place.simulator.accepted_by_text().values()) == [1]
        assert place.job_files("done") == ["long.yaml"]


def test_put_under_another_name_and_renamed_is_ready_at_once(tmp_path: Path) -> None:
    """A rename over the share is a rename for us: it does not wait for the file to settle, here an hour."""
    with office(tmp_path, CHROMADROP_WATCH__SETTLE_SECONDS=HOUR) as (place, share, running):
        share.do('mkdir "inbox/봄"')
        share.put("inbox/봄/film.yaml.part", job("film"))
        share.rename("inbox/봄/film.yaml.part", "inbox/봄/film.yaml")
        running.until("batch.filed", outcome="done")
        share.put("upload.tmp", job("second"))
        share.rename("upload.tmp", "inbox/second.yaml")
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {"film": 1, "second": 1}


@pytest.mark.parametrize("options", [(), ("kernel oplocks = yes",), ("oplocks = no", "level2 oplocks = no")])
def test_a_file_that_a_client_has_open_is_waited_for_and_its_last_words_count(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Whatever the server grants: overwritten while it is held, before the claim, it is run once, as it is at last."""
    with office(tmp_path, *options) as (place, share, earlier):
        assert earlier.terminate() == 0
        share.put("inbox/draft.yaml", job("first thought"))
        editor = share.hold("inbox/draft.yaml")
        running = place.start("run")
        assert running.until("drop.waiting", file="draft.yaml", reason="still being written")
        share.put("inbox/draft.yaml", job("second thought"))
        editor.let_go()
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {"second thought": 1}


def test_the_same_name_again_while_the_first_renders_is_another_order(tmp_path: Path) -> None:
    """What overwrites a claimed file overwrites nothing: both are made, and both lie in done/."""
    with office(tmp_path) as (place, share, running):
        place.simulator.add_fault("progress:stuck,times=3,match=first")
        share.put("inbox/film.yaml", job("first"))
        running.until("job.exported")
        assert share.names("inbox") == []
        share.put("inbox/film.yaml", job("second"))
        running.until("batch.filed")
        running.until("batch.filed")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {"first": 1, "second": 1}
        assert place.job_files("done") == ["film (2).yaml", "film.yaml"]
        assert len(place.files("videos")) == 2


def test_a_failed_file_that_is_moved_back_goes_on(tmp_path: Path) -> None:
    """Its explanation is read over the share; moved back, only what was never made is paid for."""
    with office(tmp_path) as (place, share, running):
        place.simulator.add_fault("export:400,match=second")
        share.put("inbox/two.yaml", listed(job("first"), job("second")))
        running.until("batch.filed", outcome="failed")
        assert "Paid: no" in share.get("failed/two.yaml.error.txt").decode()
        share.rename("failed/two.yaml", "inbox/two.yaml")
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {"first": 1, "second": 1}
        assert place.files("failed") == []
        assert len(place.files("videos")) == 2


def test_taken_back_and_renamed_before_the_claim(tmp_path: Path) -> None:
    """PAUSE put there stops exports; a file that is deleted or renamed meanwhile is neither sent nor missed."""
    with office(tmp_path, CHROMADROP_WATCH__SETTLE_SECONDS=HOUR) as (place, share, running):
        share.put("inbox/PAUSE", "")
        running.until("queue.paused")
        for name in ("gone", "old", "stays"):
            share.put(f"inbox/{name}.yaml", job(name))
        share.do('del "inbox/gone.yaml"')
        share.rename("inbox/old.yaml", "inbox/new.yaml")
        share.rename("inbox/stays.yaml", "stays.tmp")
        share.rename("stays.tmp", "inbox/stays.yaml")  # which ends its settling, too
        share.do('del "inbox/PAUSE"')
        running.until("batch.filed")
        running.until("batch.filed")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {"old": 1, "stays": 1}
        assert place.job_files("done") == ["new.yaml", "stays.yaml"]


def test_copies_of_a_sync_program_stay_where_they_are(tmp_path: Path) -> None:
    """A synchronised folder on the share: the copy is told of and left; the file itself is made."""
    copies = ["film (봄 컴퓨터의 충돌된 사본 2026-11-23).yaml", "film.sync-conflict-20261123-101010-ABCDEFG.yaml"]
    with office(tmp_path, CHROMADROP_WATCH__RESCAN_SECONDS="0.4") as (place, share, running):
        for name in copies:
            share.put(f"inbox/{name}", job("copy"))
            running.until("drop.conflict_copy", file=name)
        share.put("inbox/film.yaml", job("film"))
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {"film": 1}
        assert place.files("inbox") == sorted(copies)
