"""A ledger of yesterday: what docs/install.md says of it is what a real daemon does with it."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from place import NEVER, Place, job, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs/install.md").read_text()
BACK_UP = "VACUUM INTO ?"
TEXTS = ("first", "second")


def mend() -> str:
    """What the page has an operator run on a ledger that he restores."""
    section = PAGE.split("\n## Back up and restore\n")[1].split("\n## ")[0]
    found = re.search(r'sqlite3 ledger\.sqlite3 "(UPDATE .*?)"\n', section)
    assert found
    return found[1]


@pytest.fixture(params=["v2", "v3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A root whose daemon makes one video at a time."""
    with Place(tmp_path, render_seconds=NEVER) as made:
        made.environ |= {"CHROMADROP_API__VERSION": request.param, "CHROMADROP_JOBS__MAX_RENDERING": "1"}
        if request.param == "v3":
            made.environ["CHROMADROP_API__BASE_URL"] = made.simulator.base_url_v3
        yield made


@pytest.fixture
def ledger(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger, restored from when one video was rendering and the other queued; both have been made since."""
    path, backup = place.root / "state/ledger.sqlite3", tmp_path_factory.mktemp("backup") / "ledger.sqlite3"
    jobs = (job(text).replace("M000004017", "M000045058").replace("BG00006160", "BG00002320") for text in TEXTS)
    place.drop_at_once("films.yaml", listed(*jobs))
    daemon = place.start("run")
    daemon.until("job.exported")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(BACK_UP, (str(backup),))
    place.simulator.advance(NEVER)
    daemon.until("job.exported")
    place.simulator.advance(NEVER)
    daemon.until("batch.filed", filed_as="done/films.yaml")
    assert daemon.terminate() == 0
    assert accepted(place) == [1, 1]
    for file in path.parent.glob("ledger.sqlite3*"):
        file.unlink()
    shutil.copy2(backup, path)
    return path


def accepted(place: Place) -> list[int]:
    found: dict[str, int] = place.simulator.state()["exports"]["accepted_by_text"]
    return [found.get(text, 0) for text in TEXTS]


@pytest.mark.slow
def test_restored_as_the_page_says_nothing_is_paid_again(place: Place, ledger: Path) -> None:
    """The render is looked at again, and a person is asked about what was queued."""
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute(mend())
    daemon = place.start("run")
    filed = daemon.until("batch.filed")
    assert accepted(place) == [1, 1]
    first, second = place.result(filed["filed_as"])["jobs"]
    assert (first["state"], first["video"]) == ("done", "videos/films-1 (2).mp4")
    assert filed["filed_as"] == "failed/films.yaml"
    assert (second["failure"], second["paid"]) == ("in_doubt", "unknown")
    assert daemon.terminate() == 0


@pytest.mark.slow
def test_restored_as_it_is_what_was_queued_is_paid_again(place: Place, ledger: Path) -> None:
    """This is what the page warns of: no program can know what it was told after its memory ends."""
    assert ledger.exists()
    daemon = place.start("run")
    daemon.until("job.exported")
    place.simulator.advance(NEVER)
    daemon.until("batch.filed")
    assert accepted(place) == [1, 2]
    assert daemon.terminate() == 0


def test_without_a_backup_a_new_ledger_touches_nothing_that_may_have_been_paid(tmp_path: Path) -> None:
    """Once .chromadrop is deleted the root takes a new ledger, and what lies in processing/ stays there."""
    with Place(tmp_path, render_seconds=1000.0) as place:
        place.drop_at_once("films.yaml", job("paid"))
        daemon = place.start("run")
        daemon.until("job.exported")
        daemon.kill()
        shutil.rmtree(tmp_path / "state")
        refused = place.start("run")
        assert refused.end() == 78
        (tmp_path / ".chromadrop").unlink()
        fresh = place.start("run")
        fresh.until("spool.stray", file="films.yaml")
        assert place.job_files("processing") == ["films.yaml"]
        assert fresh.terminate() == 0
        assert place.simulator.state()["exports"]["accepted"] == 1
