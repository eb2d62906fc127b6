"""What a new root is given: once, to an unused one, and never over anything."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from structlog.testing import CapturingLogger

from daemon.core.guide import EXAMPLE, HOWTO, SCHEMA, Names, make_guide
from daemon.edges import spool as spool_module
from daemon.edges.spool import MARKER, Places, Sharing, Spool

if TYPE_CHECKING:
    from pathlib import Path

LEDGER = "0123456789abcdef"
FOLDERS = {"inbox", "processing", "done", "failed", "videos"}
GUIDE = make_guide("v2", Names())
NEXT_GUIDE = make_guide("v3", Names())


def spool_on(root: Path, *, was_seen: bool = False, **more: object) -> Spool:
    places = Places(root, *(root / name for name in ("inbox", "processing", "done", "failed", "videos")))
    return Spool(places, ledger_id=LEDGER, was_seen=was_seen, **({"guide": GUIDE} | more))  # type: ignore[arg-type]


def names_in(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_an_empty_root_is_given_all_of_it(tmp_path: Path) -> None:
    """Beside the folders, not in inbox/, where it would lie in the way."""
    spool_on(tmp_path).check_root()
    assert names_in(tmp_path) == {*FOLDERS, MARKER, EXAMPLE, HOWTO, SCHEMA}
    for name, content in (*GUIDE.texts, (SCHEMA, GUIDE.schema)):
        assert (tmp_path / name).read_bytes() == content
    assert names_in(tmp_path / "inbox") == set()


def test_without_a_guide_nothing_is_given(tmp_path: Path) -> None:
    """Commands look at folders, and leave them as they are."""
    spool_on(tmp_path, guide=None).check_root()
    assert names_in(tmp_path) == {*FOLDERS, MARKER}


def test_a_root_whose_people_have_begun_to_drop_is_given_all_of_it(tmp_path: Path) -> None:
    """They are new to it: nothing was made here yet."""
    (tmp_path / "inbox/spring").mkdir(parents=True)
    (tmp_path / "inbox/a.yaml").write_text("text: hi")
    spool_on(tmp_path).check_root()
    assert names_in(tmp_path) == {*FOLDERS, MARKER, EXAMPLE, HOWTO, SCHEMA}


@pytest.mark.parametrize("folder", sorted({*FOLDERS} - {"inbox"}))
def test_a_root_in_use_is_given_no_texts(tmp_path: Path, folder: str) -> None:
    """Its people know; the schema is for their editors."""
    (tmp_path / folder / "spring").mkdir(parents=True)
    spool_on(tmp_path).check_root()
    assert names_in(tmp_path) == {*FOLDERS, MARKER, SCHEMA}


def test_what_was_deleted_stays_deleted(tmp_path: Path) -> None:
    """Who has deleted the texts has done with them; the schema is a tool, which files refer to."""
    spool_on(tmp_path).check_root()
    for name in (EXAMPLE, HOWTO, SCHEMA):
        (tmp_path / name).unlink()
    for was_seen in (False, True):
        spool_on(tmp_path, was_seen=was_seen).check_root()
        assert names_in(tmp_path) == {*FOLDERS, MARKER, SCHEMA}


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """Whatever has one of the names: a file, a folder, a link that leads nowhere."""
    (tmp_path / EXAMPLE).write_bytes(b"mine")
    (tmp_path / HOWTO).symlink_to("nowhere")
    (tmp_path / SCHEMA).mkdir()
    spool_on(tmp_path).check_root()
    assert (tmp_path / EXAMPLE).read_bytes() == b"mine"
    assert (tmp_path / HOWTO).readlink().name == "nowhere"
    assert not (tmp_path / "nowhere").exists()
    assert (tmp_path / SCHEMA).is_dir()
    assert names_in(tmp_path) == {*FOLDERS, MARKER, EXAMPLE, HOWTO, SCHEMA}


def test_another_version_makes_the_schema_anew(tmp_path: Path) -> None:
    """And leaves the texts, which somebody may have changed."""
    spool_on(tmp_path).check_root()
    spool_on(tmp_path, guide=NEXT_GUIDE).check_root()
    assert (tmp_path / SCHEMA).read_bytes() == NEXT_GUIDE.schema
    assert (tmp_path / EXAMPLE).read_bytes() == dict(GUIDE.texts)[EXAMPLE]


def test_a_schema_of_somebody_elses_is_left(tmp_path: Path) -> None:
    """Only what says that chromadrop wrote it is replaced."""
    (tmp_path / SCHEMA).write_text("{}")
    spool_on(tmp_path).check_root()
    assert (tmp_path / SCHEMA).read_text() == "{}"


def test_the_guide_has_the_mode_of_what_people_read(tmp_path: Path) -> None:
    """As pages and results have it."""
    spool_on(tmp_path, sharing=Sharing(videos_mode=0o640)).check_root()
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in (EXAMPLE, HOWTO, SCHEMA)} == {0o640}


def test_killed_in_between_it_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the marker is there the root is not in use; half a file has no name yet."""
    real = spool_module.move

    class Killed(BaseException):
        pass

    def dies(source: Path, target: Path, **more: object) -> None:
        if target.name == HOWTO:
            raise Killed
        real(source, target, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "move", dies)
        with pytest.raises(Killed):
            spool_on(tmp_path).check_root()
    assert not (tmp_path / HOWTO).exists()
    spool_on(tmp_path).check_root()
    assert names_in(tmp_path) == {*FOLDERS, MARKER, EXAMPLE, HOWTO, SCHEMA}


def test_a_text_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video is worth more than a page about it."""
    real = spool_module._write
    log = CapturingLogger()

    def write(path: Path, *rest: object, **more: object) -> None:
        if "txt" in path.name or "schema" in path.name:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(spool_module, "_write", write)
    spool_on(tmp_path, log=log).check_root()
    assert names_in(tmp_path) == {*FOLDERS, MARKER}
    told = [(call.args[0], call.kwargs["page"]) for call in log.calls]
    assert told == [("page.deferred", EXAMPLE), ("page.deferred", HOWTO), ("page.deferred", SCHEMA)]
