"""status.html of a real daemon: made while it works, true after it has ended, switched off and on, and over HTTP."""

from __future__ import annotations

import re
import signal
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import unquote
from urllib.request import ProxyHandler, build_opener

from place import PATIENCE_SECONDS, Place, job, listed, wait_until

from daemon.core.status_page import STALE_SECONDS
from daemon.status_watch import BEAT_SECONDS

if TYPE_CHECKING:
    from pathlib import Path


def page(root: Path) -> str:
    """What the page says now; empty where there is none."""
    try:
        return unescape((root / "status.html").read_text("utf-8"))
    except FileNotFoundError:
        return ""


def test_people_who_only_see_the_folder_are_told_everything(tmp_path: Path) -> None:
    """What waits, what is made, what failed and why, and each video on an address that leads to it."""
    with Place(tmp_path) as place:
        running = place.start("run")
        place.drop("empty.yaml", "")
        place.drop("job.yaml.txt", job("with a hidden ending"))
        place.drop_at_once("a #1/it's 100%.yaml", listed(job("one <b>"), job("two")))
        place.drop_at_once("bad.yaml", "langauge: ko\n")
        wanted = ("empty.yaml", "job.yaml.txt", "one <b>", "bad.yaml", "Did you mean 'language'?")
        wait_until(lambda: all(words in page(tmp_path) for words in wanted), "all of it on the page")
        wait_until(lambda: page(tmp_path).count("<video") == 2, "both videos")
        addresses = re.findall(r'<video [^>]*src="([^"]+)"', page(tmp_path))
        videos = {tmp_path / unquote(address) for address in addresses}
        assert {path.name for path in videos} == {"it's 100%-1.mp4", "it's 100%-2.mp4"}
        assert all(path.stat().st_size > 0 for path in videos)
        # Whoever put the failed file back, or away, is not told of it for ever.
        (tmp_path / "failed/bad.yaml").unlink()
        place.drop_at_once("late.yaml", job("late"))
        wait_until(lambda: "Did you mean" not in page(tmp_path), "it is seen to")
        assert "was stopped at" not in page(tmp_path)
        assert running.terminate() == 0
        assert "was stopped at" in page(tmp_path)
        assert running.said("page.deferred") == []


def test_the_heartbeat_is_quick_enough_for_the_alarm() -> None:
    """A page that misses a beat is no alarm yet; one whose maker is gone is soon one."""
    assert 2 * BEAT_SECONDS <= STALE_SECONDS


def test_the_page_can_be_switched_off_and_on(tmp_path: Path) -> None:
    """At a start and by SIGHUP; an old one, which would only tell of the past, is taken away."""
    config = tmp_path / "config.yaml"
    with Place(tmp_path) as place:
        config.write_text("status_page: true\n")
        running = place.start("run", "--config", str(config))
        wait_until(lambda: page(tmp_path), "a page")
        config.write_text("status_page: false\n")
        running.process.send_signal(signal.SIGHUP)
        assert running.until("config.reloaded")["needs_restart"] == []
        wait_until(lambda: not page(tmp_path), "no page")
        assert running.terminate() == 0
        assert page(tmp_path) == ""
        (tmp_path / "status.html").write_text('<meta name="generator" content="chromadrop">')
        running = place.start("run", "--config", str(config))
        wait_until(lambda: not (tmp_path / "status.html").exists(), "no page of an earlier daemon")
        config.write_text("status_page: true\n")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: page(tmp_path), "a page again")


def test_run_once_leaves_a_page_that_says_so(tmp_path: Path) -> None:
    """Whoever looks later knows that nobody is at work any more."""
    with Place(tmp_path) as place:
        place.drop("x.yaml", job("one"))
        assert place.start("run", "--once").end() == 0
        assert "was stopped at" in page(tmp_path)
        assert "x.mp4" in page(tmp_path)


def test_the_same_page_is_served_over_http(tmp_path: Path) -> None:
    """Without the videos, for no file is; and where no page is wanted in the root, all the same."""
    with Place(tmp_path) as place:
        running = place.start("run", CHROMADROP_HTTP__LISTEN="127.0.0.1:0", CHROMADROP_STATUS_PAGE="false")
        [address] = running.until("http.started")["addresses"]
        place.drop_at_once("x.yaml", job("one"))
        running.until("batch.filed", outcome="done")

        def served() -> str:
            with build_opener(ProxyHandler({})).open(f"http://{address}/", timeout=PATIENCE_SECONDS) as answer:
                assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
                return str(answer.read().decode())

        wait_until(lambda: "x.mp4" in served(), "the video's name")
        assert "<video" not in served()
        assert "they are not shown here" in served()
        assert not (tmp_path / "status.html").exists()
