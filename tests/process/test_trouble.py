"""Account trouble and PAUSE, with a real daemon: the queue stops, no job fails, people can see why, work resumes.

That a probe is made once a minute is shown with a fake clock in tests/whole; here the minute is real, so the
recovery that is shown is the one that does not wait for it: a restart, and PAUSE removed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from place import KEY, Place, job, listed

if TYPE_CHECKING:
    from pathlib import Path

TROUBLE = [
    "401,body=html",
    "402,body=empty",
    "403,body=string",
    "success_false,msg=The API key is not valid",
    "400,msg=insufficient balance",
]


def state(place: Place) -> dict[str, Any]:
    """What ``chromadrop status --json`` says now."""
    found: dict[str, Any] = json.loads(place.told("status", "--json"))
    return found


@pytest.mark.parametrize("fault", TROUBLE)
def test_trouble_stops_the_queue_and_not_the_jobs(tmp_path: Path, fault: str) -> None:
    """However the cloud says it: one request, nothing fails, nothing more is asked, and work resumes by itself."""
    with Place(tmp_path, render_seconds=0.1) as place:
        place.simulator.add_fault(f"export:{fault},times=0")
        place.drop("a.yaml", job("hello"))
        running = place.start("run")
        said = running.until("account.trouble")
        assert said["probe_seconds"] == 60
        place.drop_at_once("b.yaml", listed(job("one"), job("two")))
        running.until("batch.claimed", file="b.yaml")
        assert running.terminate() == 0
        assert [outcome.text for outcome in place.simulator.outcomes()] == ["hello"]
        assert place.job_files("failed") == []
        assert place.job_files("processing") == ["a.yaml", "b.yaml"]
        place.simulator.clear_faults()
        assert place.start("run", "--once").end() == 0
        assert place.simulator.accepted_by_text() == {"hello": 1, "one": 1, "two": 1}


def test_trouble_can_be_seen(tmp_path: Path) -> None:
    """The log once, ``status`` as long as it lasts: the vendor's words, since when, what waits."""
    with Place(tmp_path, render_seconds=0.1) as place:
        place.simulator.add_fault("export:402,times=0,msg=Your credit is used up.")
        place.drop("a.yaml", listed(job("one"), job("two")))
        running = place.start("run")
        running.until("account.trouble")
        assert running.wait_until(lambda: state(place)["counts"]["exporting"] == 0)
        seen = state(place)
        assert "Your credit is used up." in seen["troubles"]["account"]["reason"]
        assert seen["troubles"]["account"]["since"] is not None
        assert seen["counts"]["queued"] == 2
        assert seen["counts"]["failed"] == 0
        assert "Your credit is used up." in place.told("status", COLUMNS="500").replace("\n", " ")
        assert running.terminate() == 0
        assert sum('"account.trouble"' in line for line in running.lines) == 1
        place.simulator.clear_faults()
        place.start("run", "--once").end()
        assert state(place)["troubles"]["account"] is None


def test_trouble_while_rendering_keeps_what_was_paid(tmp_path: Path) -> None:
    """A key that is refused while polling: the render stays on record, and is fetched when the key is good again."""
    with Place(tmp_path, keys=(KEY,), render_seconds=0.1) as place:
        place.simulator.add_fault("progress:401,times=0")
        place.drop("a.yaml", job("hello"))
        running = place.start("run")
        running.until("job.exported")
        running.until("account.trouble")
        assert state(place)["counts"]["rendering"] == 1
        running.terminate()
        assert place.job_files("failed") == []
        place.simulator.clear_faults()
        assert place.start("run", "--once").end() == 0
        assert place.simulator.accepted_by_text() == {"hello": 1}


def test_a_wrong_key_fails_no_job(tmp_path: Path) -> None:
    """The daemon with a wrong key fails no job; with the right one all is made."""
    with Place(tmp_path, keys=(KEY,), render_seconds=0.1) as place:
        place.drop("a.yaml", job("hello"))
        running = place.start("run", AISTUDIOS_API_KEY="wrong")
        running.until("account.trouble")
        assert running.terminate() == 0
        assert place.simulator.accepted_by_text() == {}
        assert place.start("run", "--once").end() == 0
        assert place.simulator.accepted_by_text() == {"hello": 1}


def test_pause_can_be_seen_and_ends_when_it_is_removed(tmp_path: Path) -> None:
    """inbox/PAUSE: renders go on, nothing new is asked, ``status`` shows it, and removing the file is enough."""
    with Place(tmp_path, render_seconds=0.1) as place:
        (tmp_path / "inbox/PAUSE").touch()
        place.drop("a.yaml", job("hello"))
        running = place.start("run")
        running.until("queue.paused")
        running.until("batch.claimed")
        seen = state(place)
        assert seen["paused"] is True
        assert seen["counts"]["queued"] == 1
        assert "PAUSE" in place.told("status").upper()
        assert place.simulator.outcomes() == ()
        (tmp_path / "inbox/PAUSE").unlink()
        running.until("queue.resumed")
        running.until("batch.filed", outcome="done")
        assert state(place)["paused"] is False
        assert running.terminate() == 0
