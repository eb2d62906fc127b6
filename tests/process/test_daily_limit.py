"""The real program with a daily limit, and a root that is new: what people and the operator see."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from place import Place, job

from daemon.core.guide import EXAMPLE, HOWTO, SCHEMA

if TYPE_CHECKING:
    from pathlib import Path


def test_the_rest_waits_and_everybody_is_told(tmp_path: Path) -> None:
    """The log says so once, `status` says so, and a restart has forgotten nothing; a raised limit lets it go."""
    with Place(tmp_path) as place:
        (tmp_path / "config.yaml").write_text("jobs: {max_per_day: 1}\nhttp: {listen: null}\n")
        running = place.start("run")
        running.until("watch.started")
        place.drop("a.yaml", job("first"))
        running.until("batch.filed", outcome="done")
        place.drop("b.yaml", job("second"))
        told = running.until("queue.limited")
        assert (told["videos"], told["max_videos"]) == (1, 1)
        document = json.loads(place.told("status", "--json"))
        assert (document["limited"]["videos"], document["limited"]["until"][:19] + "Z") == (1, told["until"])
        assert document["files"][0]["ready_seconds"] is None
        assert document["files"][0]["spoken_seconds"] > 0
        assert document["experience"]["renders"] == 1
        assert "the daily limit is reached" in place.told("status")
        running.kill()
        again = place.start("run")
        again.until("queue.limited")
        assert place.simulator.accepted_by_text() == {"first": 1}
        (tmp_path / "config.yaml").write_text("jobs: {max_per_day: 2}\n")
        again.process.send_signal(1)
        again.until("queue.unlimited")
        again.until("batch.filed", outcome="done")
        assert again.terminate() == 0
        assert place.simulator.accepted_by_text() == {"first": 1, "second": 1}


def test_a_run_that_should_end_ends_with_what_is_left(tmp_path: Path) -> None:
    """0: nothing failed; the last line says how much waits."""
    with Place(tmp_path) as place:
        place.drop("a.yaml", job("the very first one of the two"))
        place.drop("b.yaml", job("the second one of the two, which waits"))
        running = place.start("run", "--once", CHROMADROP_JOBS__MAX_SECONDS_PER_DAY="1")
        assert running.end() == 0
        [ended] = running.said("daemon.stopped")
        assert (ended["failures"], ended["queued"]) == (0, 1)
        assert json.loads(running.lines[-1]) == ended
        assert len(running.said("queue.limited")) == 1
        assert place.job_files("processing") == ["b.yaml"]
        assert place.job_files("done") == ["a.yaml"]


def test_a_new_root_explains_itself_and_its_example_works(tmp_path: Path) -> None:
    """Somebody who has only the folder copies the example, renames it, and gets a video."""
    with Place(tmp_path) as place:
        running = place.start("run")
        running.until("watch.started")
        for name in (EXAMPLE, HOWTO, SCHEMA, "status.html"):
            assert running.wait_until((tmp_path / name).exists), name
        (tmp_path / "inbox/hello.yaml").write_bytes((tmp_path / EXAMPLE).read_bytes())
        running.until("batch.filed", outcome="done")
        assert place.files("videos") == ["hello.mp4"]
        for name in (EXAMPLE, HOWTO):
            (tmp_path / name).unlink()
        assert running.terminate() == 0
        again = place.start("run")
        again.until("watch.started")
        assert again.terminate() == 0
        assert not (tmp_path / EXAMPLE).exists()
        assert not (tmp_path / HOWTO).exists()
        assert "about" in place.told("lint", "done/hello.yaml")
        assert "ready in about" in place.told("lint", "done/hello.yaml")
