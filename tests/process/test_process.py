"""The real program as a process: real inotify, real HTTP, the simulator."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from patience import wait_until
from place import NEVER, WORKS, Place, job, listed

from daemon.core.schedule import LOOKERS

if TYPE_CHECKING:
    from pathlib import Path

FORMS = {
    "one list": {"works.yaml": listed(*(job(*work) for work in WORKS))},
    "three files": {f"work{n}.yaml": job(*work) for n, work in enumerate(WORKS, start=1)},
    "three documents": {"works.yml": "---\n".join(job(*work) for work in WORKS)},
    "a subfolder": {"spring/film/works.yaml": listed(*(job(*work) for work in WORKS))},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_missions_own_jobs(tmp_path: Path, form: str) -> None:
    """Dropped into a running daemon: three whole videos, each the one that was rendered for its text."""
    with Place(tmp_path) as place:
        running = place.start("run")
        running.until("watch.started")
        for name, content in FORMS[form].items():
            place.drop(name, content)
        for _ in FORMS[form]:
            running.until("batch.filed", outcome="done")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {text: 1 for text, _clothes in WORKS}
        assert place.job_files("done") == sorted(FORMS[form])
        seen = 0
        for name in place.job_files("done"):
            for made in place.result(f"done/{name}")["jobs"]:
                content = (tmp_path / made["video"]).read_bytes()
                rendered = place.simulator.video(made["project_id"])
                assert hashlib.sha256(content).hexdigest() == rendered.sha256() == made["sha256"]
                seen += 1
        assert seen == len(place.files("videos")) == 3
        bodies = [outcome.fields for outcome in place.simulator.outcomes()]
        assert {(body["text"], body["clothes"]) for body in bodies} == set(WORKS)


def test_a_renamed_file_is_taken_without_waiting(tmp_path: Path) -> None:
    """A rename onto the final name needs no settling, however long that is set to."""
    with Place(tmp_path) as place:
        running = place.start("run", CHROMADROP_WATCH__SETTLE_SECONDS="3600")
        running.until("watch.started")
        place.drop_at_once("x.yaml", job("hello"))
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0


def test_once_ends_with_0_when_all_is_done_and_with_1_when_something_failed(tmp_path: Path) -> None:
    """``run --once`` works off what is there and ends."""
    with Place(tmp_path) as place:
        assert place.start("run", "--once").end() == 0
        place.drop("good.yaml", job("hello"))
        assert place.start("run", "--once").end() == 0
        place.drop("bad.yaml", "language: ko\ntxt: hello\n")
        (tmp_path / "inbox/empty.yaml").touch()
        assert place.start("run", "--once").end() == 1
        assert place.job_files("done") == ["good.yaml"]
        assert place.job_files("failed") == ["bad.yaml"]
        assert place.job_files("inbox") == ["empty.yaml"]
        assert "Did you mean 'text'?" in (tmp_path / "failed/bad.yaml.error.txt").read_text()


def test_sigterm_leaves_everything_resumable(tmp_path: Path) -> None:
    """Stopped while rendering: exit 0, and the next start goes on without a second export."""
    with Place(tmp_path, render_seconds=NEVER) as place:
        place.drop("works.yaml", listed(*(job(*work) for work in WORKS)))
        running = place.start("run")
        for _ in WORKS:
            running.until("job.exported")
        assert running.terminate() == 0
        assert place.job_files("processing") == ["works.yaml"]
        place.simulator.advance(NEVER)
        assert place.start("run", "--once").end() == 0
        assert place.simulator.accepted_by_text() == {text: 1 for text, _clothes in WORKS}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_once_that_is_stopped_before_the_end_says_so(tmp_path: Path, number: signal.Signals) -> None:
    """What comes after it in a script must not take the videos for made; the next run makes them."""
    with Place(tmp_path, render_seconds=NEVER) as place:
        place.drop("x.yaml", job("hello"))
        running = place.start("run", "--once")
        running.until("job.exported")
        running.process.send_signal(number)
        assert running.end() == 130
        place.simulator.advance(NEVER)
        assert place.start("run", "--once").end() == 0
        assert place.simulator.accepted_by_text() == {"hello": 1}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_crowd_of_renders_shares_a_core_until_it_is_gone(tmp_path: Path) -> None:
    """As the system tells of the process's main thread."""
    everywhere = os.sched_getaffinity(0)
    texts = [f"text {number}" for number in range(LOOKERS + 6)]
    with Place(tmp_path, render_seconds=NEVER) as place:
        running = place.start("run", CHROMADROP_JOBS__MAX_RENDERING=str(len(texts)))
        running.until("watch.started")
        assert os.sched_getaffinity(running.process.pid) == everywhere
        place.drop_at_once("x.yaml", listed(*map(job, texts)))
        for _ in texts:
            running.until("job.exported")
        wait_until(lambda: len(os.sched_getaffinity(running.process.pid)) == 1, "one core")
        place.simulator.advance(NEVER)
        running.until("batch.filed", outcome="done")
        wait_until(lambda: os.sched_getaffinity(running.process.pid) == everywhere, "every core")
        assert running.terminate() == 0


def test_sigterm_hears_a_slow_export_out(tmp_path: Path) -> None:
    """An export whose answer takes its time is not left in doubt by a stop."""
    with Place(tmp_path) as place:
        place.simulator.add_fault("export:delay,seconds=1.5")
        place.drop("x.yaml", job("hello"))
        running = place.start("run")
        running.until("job.export_started")
        assert running.terminate() == 0
        assert any('"job.exported"' in line for line in running.lines)
        assert place.start("run", "--once").end() == 0
        assert place.simulator.accepted_by_text() == {"hello": 1}


def test_a_second_daemon_on_the_same_state_refuses(tmp_path: Path) -> None:
    """Exit 75, in plain words."""
    with Place(tmp_path) as place:
        place.start("run").until("watch.started")
        second = place.start("run")
        assert second.end() == 75
        assert "another chromadrop" in "".join(second.lines)


def test_sighup_reads_the_configuration_again(tmp_path: Path) -> None:
    """A good one takes effect, a bad one is refused whole, and work goes on."""
    with Place(tmp_path) as place:
        config = tmp_path / "config.yaml"
        config.write_text("jobs: {max_rendering: 2}\n")
        running = place.start("run")
        running.until("watch.started")
        config.write_text("jobs: {max_rendering: 3}\nwatch: {observer: polling}\n")
        running.process.send_signal(signal.SIGHUP)
        assert running.until("config.reloaded")["needs_restart"] == ["watch"]
        config.write_text("jobs: {max_rendring: 3}\n")
        running.process.send_signal(signal.SIGHUP)
        assert "max_rendering" in running.until("config.refused")["problems"][0]
        place.drop_at_once("x.yaml", job("hello"))
        running.until("batch.filed", outcome="done")
        assert running.terminate() == 0


# --- other folders, without another process -------------------------------------------------------


def test_other_folders_take_effect_on_sighup(tmp_path: Path) -> None:
    """In the same process, with everything else that is written there; the old inbox is left alone."""
    with Place(tmp_path) as place:
        config = tmp_path / "config.yaml"
        running = place.start("run", CHROMADROP_FOLDERS__STATE=str(tmp_path / "state"))
        place.drop_at_once("x.yaml", job("hello"))
        running.until("batch.filed", outcome="done")
        config.write_text("folders: {inbox: letters, videos: films}\n")
        running.process.send_signal(signal.SIGHUP)
        assert running.until("config.reloaded")["needs_restart"] == []
        place.drop_at_once("y.yaml", job("too late"))
        (tmp_path / "letters/z.yaml").write_text(job("again"))
        running.until("batch.filed", file="z.yaml", outcome="done")
        assert place.files("films") == ["z.mp4"]
        assert place.files("inbox") == ["y.yaml"]
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {"hello": 1, "again": 1}


def test_folders_do_not_change_under_work(tmp_path: Path) -> None:
    """The whole configuration is refused then, with what to do; the old one goes on."""
    with Place(tmp_path, render_seconds=NEVER) as place:
        config = tmp_path / "config.yaml"
        running = place.start("run")
        place.drop_at_once("x.yaml", job("hello"))
        running.until("job.exported")
        config.write_text("folders: {videos: films}\njobs: {max_rendering: 1}\n")
        running.process.send_signal(signal.SIGHUP)
        (told,) = running.until("config.refused")["problems"]
        assert "line 1" in told
        assert "1 job file is in work" in told
        place.simulator.advance(NEVER)
        running.until("batch.filed", outcome="done")
        assert place.files("videos") == ["x.mp4"]
        running.process.send_signal(signal.SIGHUP)
        running.until("config.reloaded")
        assert running.terminate() == 0


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("folders: {state: other}", "belongs to another ledger"),
        ("folders: {videos: inbox/films}", "lies inside folders.inbox"),
        ("folders: {root: nowhere, state: %s/state}", None),
        ("folders: {root: nowhere}", "nowhere is not there"),
        ("folders: {root: config.yaml}", "config.yaml is not there"),
        ("folders: {state: /proc/1/map_files/x}", "/proc"),
        ("folders: {state: " + "x" * 300 + "}", "x" * 300),
    ],
)
def test_folders_that_cannot_be_used_are_refused_and_the_old_ones_kept(
    tmp_path: Path, written: str, told: str | None
) -> None:
    """Found before the change or in the middle of it; a root that is away is no refusal, but waited for as ever."""
    with Place(tmp_path) as place:
        config = tmp_path / "config.yaml"
        running = place.start("run")
        running.until("watch.started")
        config.write_text(written.replace("%s", str(tmp_path)) + "\n")
        running.process.send_signal(signal.SIGHUP)
        if told is None:
            running.until("root.lost")
            config.write_text("")
            running.process.send_signal(signal.SIGHUP)
            running.until("config.reloaded")
        else:
            assert told in running.until("config.refused")["problems"][0]
        place.drop_at_once("x.yaml", job("hello"))
        running.until("batch.filed", outcome="done")
        assert place.files("videos") == ["x.mp4"]
        assert running.terminate() == 0


def test_a_refused_change_of_folders_keeps_the_limits_that_count(tmp_path: Path) -> None:
    """Also those that an earlier SIGHUP has set: the daemon that goes on is the one that was accepted last."""
    with Place(tmp_path, render_seconds=2.0) as place:
        config = tmp_path / "config.yaml"
        other = tmp_path / "other"
        other.mkdir()
        (other / ".chromadrop").write_text('{"ledger": "somebody else"}')
        running = place.start("run", CHROMADROP_FOLDERS__STATE=str(tmp_path / "state"))
        running.until("watch.started")
        config.write_text("jobs: {max_rendering: 1}\n")
        running.process.send_signal(signal.SIGHUP)
        running.until("config.reloaded")
        config.write_text(f"folders: {{root: {other}}}\n")
        running.process.send_signal(signal.SIGHUP)
        assert "another ledger" in running.until("config.refused")["problems"][0]
        running.process.send_signal(signal.SIGHUP)
        assert "another ledger" in running.until("config.refused")["problems"][0]
        place.drop_at_once("x.yaml", listed(*(job(f"text {number}") for number in range(2))))
        running.until("batch.filed", outcome="done")
        first, second = place.simulator.state()["projects"]
        assert second["accepted_at"] >= first["accepted_at"] + first["render_seconds"], "one at a time"
        assert running.terminate() == 0


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    """READY=1 once it watches, STOPPING=1 when it ends (sd_notify(3))."""
    with Place(tmp_path) as place, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        running = place.start("run", NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert "READY=1" in listener.recv(4096).decode().splitlines()
        running.process.send_signal(signal.SIGTERM)
        assert listener.recv(4096) == b"STOPPING=1"
        assert running.end() == 0


def test_without_a_key_it_refuses_to_start_and_names_the_three_places(tmp_path: Path) -> None:
    """Exit 78, which systemd does not restart on."""
    with Place(tmp_path) as place:
        running = place.start("run", AISTUDIOS_API_KEY="")
        assert running.end() == 78
        said = "".join(running.lines)
        assert all(word in said for word in ("AISTUDIOS_API_KEY", "CREDENTIALS_DIRECTORY", "key_file"))


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe (Debian package ffmpeg)")
def test_the_video_can_be_played(tmp_path: Path) -> None:
    """What lies in videos/ is H.264 that a decoder accepts from beginning to end."""
    with Place(tmp_path) as place:
        place.drop("x.yaml", job("hello"))
        assert place.start("run", "--once").end() == 0
        probe = ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries"]
        entries = ["stream=codec_name,nb_read_frames", "-of", "csv=p=0", str(tmp_path / "videos/x.mp4")]
        told = subprocess.run([*probe, *entries], capture_output=True, text=True, check=True)
        codec, frames = told.stdout.strip().split(",")
        assert codec == "h264"
        assert int(frames) > 10
        assert told.stderr == ""
