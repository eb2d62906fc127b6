"""The ledger of an earlier release under a real daemon, with renders in flight; and under the commands before that."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from place import KEY, Place, job

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = (Path(__file__).parents[1] / "edges/ledger-schema-1.sql").read_text()
"""What a daemon of the first release left behind: one done, one in doubt, two rendering, one asked."""
IN_FLIGHT = {"project3": "three", "project4": "four"}
BEGUN_AT = 1_700_000_000


def write_old(root: Path, projects: dict[str, str]) -> Path:
    """The old state folder, as if it had been left a minute ago, and the job files in processing/; the ledger's path.

    Args:
        root: of the folders.
        projects: what the cloud calls the projects that the ledger knows.
    """
    script = re.sub(rf"\b{BEGUN_AT // 1000}(\d\d\d)\.0\b", lambda found: f"{time.time() - 60 + int(found[1])}", OLD)
    for old, new in projects.items():
        script = script.replace(old, new)
    path = root / "state/ledger.sqlite3"
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
        rows = connection.execute("SELECT processing_name, content FROM job_files WHERE state = 'open'").fetchall()
    for name, content in rows:
        claimed = root / "processing" / name.decode()
        claimed.parent.mkdir(parents=True, exist_ok=True)
        claimed.write_bytes(content)
    return path


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def schema_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT value FROM notes WHERE key = 'schema_version'").fetchone()[0])


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Place(tmp_path) as found:
        yield found


def ordered(place: Place, text: str) -> str:
    """What the old release did before it was stopped: the project id of a video of this text."""
    body = {"language": "en", "text": text, "model": "M1", "clothes": "C1"}
    url, headers = f"{place.simulator.base_url}/simple/video", {"Authorization": KEY}
    return str(requests.post(url, json=body, headers=headers, timeout=10).json()["data"]["key"])


def accepted(place: Place) -> dict[str, int]:
    """How often the simulator has accepted each text."""
    origin = place.simulator.base_url.partition("/api/")[0]
    found: dict[str, int] = requests.get(f"{origin}/_simulator/state", timeout=10).json()["exports"]["accepted_by_text"]
    return found


def test_renders_in_flight_end_without_a_second_export(place: Place) -> None:
    """What was rendering becomes videos, what was asked is in doubt, and nothing that was ordered is ordered again."""
    path = write_old(place.root, {old: ordered(place, text) for old, text in IN_FLIGHT.items()})
    before = dump(path)
    daemon = place.start("run")
    daemon.until("batch.filed", filed_as="done/spring/batch.yaml")
    assert daemon.said("batch.filed", filed_as="failed/asked.yaml")
    assert place.files("videos") == ["spring/batch-1.mp4", "spring/batch-2.mp4"]
    assert accepted(place) == {"three": 1, "four": 1}
    assert [found["paid"] for found in place.result("failed/asked.yaml")["jobs"]] == ["unknown"]
    place.drop("new.yaml", job("new"))
    daemon.until("batch.filed", filed_as="done/new.yaml")
    assert daemon.terminate() == 0
    assert schema_of(path) != '"1"'
    copy = path.with_name(f"{path.name}.schema-1")
    assert dump(copy) == before
    assert not (place.root / "processing/spring/batch.yaml").exists()


def test_a_file_that_failed_before_the_upgrade_continues_after_it(place: Place) -> None:
    """What the old release had in doubt stays so: put back, it is not ordered without a person's word."""
    path = write_old(place.root, {})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE job_files SET state = 'closed', outcome = 'failed', closed_at = 1 WHERE state = 'open'"
        )
    (place.root / "failed").mkdir()
    (place.root / "failed/doubt.yaml").write_text("{language: en, text: two, model: M1, clothes: C1}")
    daemon = place.start("run")
    daemon.until("watch.started")
    assert "not ordered again" in place.told("retry", "doubt")
    daemon.until("batch.filed", filed_as="failed/doubt.yaml")
    assert accepted(place) == {}
    place.told("retry", "doubt", "--pay-again")
    daemon.until("batch.filed", filed_as="done/doubt.yaml")
    assert accepted(place) == {"two": 1}
    assert daemon.terminate() == 0


# --- the commands of the new release, before its daemon has run ---------------------------------------


def ended(place: Place, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "daemon", *arguments]
    inherited: dict[str, Any] = place._inherited() | place.environ | environ
    return subprocess.run(
        command, cwd=place.root, env=inherited, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--json"], ["status", "--watch"], ["retry", "doubt"], ["retry", "--pay-again", "x"]],
)
def test_who_needs_the_ledger_says_what_to_do(place: Place, arguments: list[str]) -> None:
    """One line on standard error and 78, for it is not valid for this release; the ledger stays as it is."""
    path = write_old(place.root, {})
    before = dump(path)
    told = ended(place, *arguments)
    assert (told.returncode, told.stdout) == (78, "")
    assert told.stderr.startswith(
        "chromadrop: the ledger has schema 1 of an earlier release; the daemon of this release"
    )
    assert told.stderr.endswith("brings it up to date when it starts: chromadrop run\n")
    assert told.stderr.count("\n") == 1
    assert dump(path) == before


def test_check_says_that_a_start_will_mend_it(place: Place) -> None:
    """It is asked before the first start of a new release: the old schema is worth a word, and no problem."""
    before = dump(write_old(place.root, {}))
    told = ended(place, "check")
    assert told.returncode == 0
    assert "the ledger has schema 1 of an earlier release" in told.stdout
    assert told.stdout.endswith("all is well\n")
    assert dump(place.root / "state/ledger.sqlite3") == before


def test_who_does_not_need_the_ledger_works(place: Place) -> None:
    """That is lint and models: the list comes from the cloud, and no text of a broken program comes with it."""
    path = write_old(place.root, {})
    before = dump(path)
    place.drop(".draft.yaml", job("draft"))
    v3 = {"CHROMADROP_API__VERSION": "v3", "CHROMADROP_API__BASE_URL": place.simulator.base_url_v3}
    for environ in ({}, v3):
        linted = ended(place, "lint", "inbox/.draft.yaml", **environ)
        assert (linted.returncode, linted.stderr) == (0, "")
    listed = ended(place, "models", **v3)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "M000004017" in listed.stdout
    place.simulator.stop()
    away = ended(place, "models", **v3)
    assert away.returncode == 69
    assert away.stderr.endswith("there is no copy of an earlier list\n")
    assert dump(path) == before
