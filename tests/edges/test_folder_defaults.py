"""The watch and the folders' ``_defaults.yaml``, on real folders and a clock that stands still."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from test_inbox_watch import NETWORK, NOBODY, Scene, ordinary_user

from daemon.config import load
from daemon.core.job_content import Grammar
from daemon.core.messages import Reason, ScanEnded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from daemon.core.drop import Drop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="leases and links as Linux has them")

WHOLE = b"language: ko\nmodel: M000004017\nclothes: 1\n"
TEXT = b"text: hi\n"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A watch with the real grammar: 2 s to settle, 10 s of grace, 30 s between scans."""
    return Scene(tmp_path, reader=Grammar("v2", "cp949"))


def asked(drop: Drop) -> dict[str, object]:
    """What its one job asks for."""
    assert drop.batch is not None, drop.problems
    [request] = drop.batch.requests
    return dict(request.body)


def ready(scene: Scene) -> dict[str, dict[str, object]]:
    return {drop.name: asked(drop) for drop in scene.drops()}


def detail(scene: Scene, name: str) -> str:
    said = [message for message in scene.messages if isinstance(message, ScanEnded)][-1]
    return next(waiting.detail for waiting in said.waiting if waiting.name == name)


# --- what they give -------------------------------------------------------------------------------


def test_a_drop_gets_what_its_folder_and_those_above_give(scene: Scene) -> None:
    """The nearest word for each field, in folders that are copied together with their defaults."""
    scene.write("_defaults.yaml", WHOLE)
    scene.write("spring/_Defaults.YML", b"clothes: spring\nlocale: zh\n")
    scene.write("spring/day/_defaults.yaml", b"locale: null\n")
    for name in ("a.yaml", "spring/b.yaml", "spring/day/c.yaml", "autumn/d.yaml"):
        scene.write(name, TEXT)
    scene.look()
    scene.pass_time(3)
    found = ready(scene)
    assert {name: (body["clothes"], body.get("locale")) for name, body in found.items()} == {
        "a.yaml": ("1", None),
        "spring/b.yaml": ("spring", "zh"),
        "spring/day/c.yaml": ("spring", None),
        "autumn/d.yaml": ("1", None),
    }
    assert sorted(entry["file"] for entry in scene.logged("defaults.read")) == [
        "_defaults.yaml", "spring/_Defaults.YML", "spring/day/_defaults.yaml"
    ]  # fmt: skip


def test_they_are_never_consumed_and_never_a_drop(scene: Scene) -> None:
    """They lie where they lie, say nothing, and hold up no end."""
    path = scene.write("_defaults.yaml", WHOLE)
    scene.look()
    scene.pass_time(100)
    assert scene.names() == []
    assert scene.left() == {}
    assert scene.is_idle
    assert path.read_bytes() == WHOLE
    assert len(scene.logged("defaults.read")) == 1


def test_a_change_counts_for_what_is_read_afterwards(scene: Scene) -> None:
    """And not for what was read before, though it is not claimed yet."""
    scene.write("_defaults.yaml", WHOLE)
    scene.write("a.yaml", TEXT)
    scene.look()
    scene.pass_time(3)
    [before] = scene.drops()
    scene.write("_defaults.yaml", WHOLE.replace(b"ko", b"en"))
    scene.write("b.yaml", TEXT)
    scene.look()
    scene.pass_time(3)
    assert asked(before)["language"] == "ko"
    assert ready(scene) == {"b.yaml": {"text": "hi", "language": "en", "model": "M000004017", "clothes": "1"}}


def test_the_configuration_gives_what_no_folder_does(tmp_path: Path) -> None:
    """Its values are the farthest."""
    (tmp_path / "config.yaml").write_text("defaults: {language: ko, model: M1, clothes: 1}\n")
    scene = Scene(tmp_path, reader=load(None, {}, tmp_path).grammar)
    scene.write("a.yaml", TEXT)
    scene.write("spring/_defaults.yaml", b"model: M2")
    scene.write("spring/b.txt", b"hello")
    scene.look()
    scene.pass_time(3)
    assert {name: body["model"] for name, body in ready(scene).items()} == {"a.yaml": "M1", "spring/b.txt": "M2"}


# --- what they hold back --------------------------------------------------------------------------


def test_while_they_settle_their_folder_waits(scene: Scene) -> None:
    """Also what was renamed into place, which is ready at once otherwise; and the end waits too."""
    scene.look()
    scene.write("spring/_defaults.yaml", WHOLE)
    scene.write("spring/a.yaml", TEXT)
    scene.hint("spring/a.yaml", was_renamed=True)
    assert scene.names() == []
    assert scene.left() == {"spring/a.yaml": Reason.DEFAULTS_SETTLING, "spring/_defaults.yaml": Reason.SETTLING}
    assert not scene.is_idle
    scene.pass_time(2)
    assert ready(scene)["spring/a.yaml"]["model"] == "M000004017"


def test_defaults_that_a_scan_has_not_seen_count(tmp_path: Path) -> None:
    """On a network drive no event tells of them: they are looked for when a drop is about to be read."""
    scene = Scene(tmp_path, reader=Grammar("v2"), rescan_seconds=3600.0, settle_seconds=2.0)
    scene.file_system = NETWORK
    scene.look()
    scene.write("a.yaml", TEXT)
    scene.hint("a.yaml")
    scene.pass_time(1)
    scene.write("_defaults.yaml", WHOLE)
    scene.pass_time(1)
    assert scene.names() == []
    scene.pass_time(3)
    assert ready(scene)["a.yaml"]["model"] == "M000004017"


def test_defaults_that_were_changed_unseen_are_seen_in_time(tmp_path: Path) -> None:
    """The same, for what was read long ago."""
    scene = Scene(tmp_path, reader=Grammar("v2"), rescan_seconds=3600.0)
    scene.write("_defaults.yaml", WHOLE)
    scene.look()
    scene.pass_time(3)
    scene.write("_defaults.yaml", WHOLE.replace(b"ko", b"en"))
    scene.write("a.yaml", TEXT)
    scene.hint("a.yaml", was_renamed=True)
    assert scene.names() == []
    scene.pass_time(3)
    assert ready(scene)["a.yaml"]["language"] == "en"


def test_broken_ones_hold_their_folder_back_and_nothing_fails(scene: Scene) -> None:
    """What lies there and below waits, with the reason, said once; what lies elsewhere goes on."""
    scene.write("spring/_defaults.yaml", b"langauge: ko\nuppercut: x\n")
    names = ("spring/a.yaml", "spring/day/b.csv", "spring/c.txt")
    for name in names:
        scene.write(name, TEXT)
    scene.write("other/d.yaml", TEXT + WHOLE)
    scene.look()
    scene.pass_time(100)
    assert scene.names() == ["other/d.yaml"]
    assert scene.left() == dict.fromkeys(names, Reason.DEFAULTS_BROKEN) | {"spring/_defaults.yaml": Reason.BROKEN}
    assert scene.is_idle
    [told] = scene.logged("defaults.broken")
    assert (told["level"], told["file"], len(told["problems"])) == ("warning", "spring/_defaults.yaml", 2)
    assert "line 1, column 1 (langauge): the key 'langauge' is not known" in detail(scene, "spring/_defaults.yaml")
    assert "inbox/spring/_defaults.yaml: line 1, column 1" in detail(scene, "spring/a.yaml")


def test_once_they_are_mended_all_goes_on_by_itself(scene: Scene) -> None:
    """Each drop once, with what they say now; a second mistake is said again."""
    scene.write("spring/_defaults.yaml", b"langauge: ko\n")
    scene.write("spring/a.yaml", TEXT)
    scene.write("spring/day/b.txt", b"hello")
    scene.look()
    scene.pass_time(40)
    scene.write("spring/_defaults.yaml", b"language: [ko]\n")
    scene.look()
    scene.pass_time(40)
    assert len(scene.logged("defaults.broken")) == 2
    assert scene.names() == []
    scene.write("spring/_defaults.yaml", WHOLE)
    scene.hint("spring/_defaults.yaml")
    assert not scene.is_idle
    scene.pass_time(2)
    assert sorted(ready(scene)) == ["spring/a.yaml", "spring/day/b.txt"]
    scene.pass_time(100)
    assert scene.names() == []
    assert scene.left() == {}


def test_the_end_does_not_come_between_mending_and_taking(scene: Scene) -> None:
    """``run --once`` ends when nothing could become ready; it is never told so in between."""
    scene.write("_defaults.yaml", b"langauge: ko\n")
    scene.write("a.yaml", TEXT)
    scene.write("b.txt", b"hello")
    scene.look()
    scene.pass_time(40)
    assert scene.is_idle
    scene.messages.clear()
    scene.write("_defaults.yaml", WHOLE)
    scene.hint("_defaults.yaml")
    scene.pass_time(60)
    kinds = ["drop" if not isinstance(message, ScanEnded) else message.is_idle for message in scene.messages]
    assert kinds[0] is False
    assert True not in kinds[: len(kinds) - kinds[::-1].index("drop")]


def test_removing_broken_ones_lets_go_too(scene: Scene) -> None:
    """A moment later, for some programs save by removing and writing anew."""
    path = scene.write("_defaults.yaml", b"langauge: ko\n")
    scene.write("a.yaml", TEXT + WHOLE)
    scene.look()
    scene.pass_time(40)
    path.unlink()
    scene.hint("_defaults.yaml")
    assert scene.names() == []
    scene.pass_time(3)
    assert scene.names() == ["a.yaml"]


def test_defaults_that_are_written_anew_in_two_steps_never_count_as_gone(scene: Scene) -> None:
    """What becomes ready in between waits, and gets the new ones."""
    path = scene.write("_defaults.yaml", WHOLE)
    scene.look()
    scene.pass_time(3)
    scene.write("a.yaml", TEXT + b"model: mine\nlanguage: ko\nclothes: 1\n")
    path.unlink()
    scene.hint("a.yaml", was_renamed=True)
    assert scene.names() == []
    scene.pass_time(1)
    path.write_bytes(WHOLE + b"locale: zh\n")
    scene.pass_time(5)
    assert ready(scene)["a.yaml"]["locale"] == "zh"


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(b""), lambda path: path.chmod(0)], ids=["empty", "mode"]
)
def test_what_cannot_be_read_holds_back_too(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    """An empty file, and one that may not be read: nobody knows what they will say."""
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents[:-2]):
            folder.chmod(0o755)
        os.chown(tmp_path, NOBODY, -1)
    with ordinary_user():
        scene = Scene(tmp_path, reader=Grammar("v2"))
        spoil(scene.write("_defaults.yaml", WHOLE))
        scene.write("a.yaml", TEXT + WHOLE)
        scene.look()
        scene.pass_time(60)
        assert scene.names() == []
        assert scene.left()["a.yaml"] is Reason.DEFAULTS_BROKEN
        assert scene.is_idle
        (scene.inbox / "_defaults.yaml").chmod(0o600)
        scene.write("_defaults.yaml", b"locale: zh")
        scene.pass_time(60)
        assert ready(scene)["a.yaml"]["locale"] == "zh"


def test_two_in_one_folder_hold_it_back(scene: Scene) -> None:
    """Nobody can say which counts; said once, and over when one is gone."""
    scene.write("_defaults.yaml", WHOLE)
    scene.write("_defaults.yml", WHOLE)
    scene.write("a.yaml", TEXT)
    scene.look()
    scene.pass_time(60)
    assert scene.names() == []
    assert "inbox/_defaults.yaml and inbox/_defaults.yml are here" in detail(scene, "a.yaml")
    assert len(scene.logged("defaults.broken")) == 1
    (scene.inbox / "_defaults.yml").unlink()
    scene.pass_time(60)
    assert scene.names() == ["a.yaml"]


def test_one_file_is_no_twin_of_itself(scene: Scene) -> None:
    """Where case does not count, it was found by a look under one name, and a scan knows it by another."""
    path = scene.write("_defaults.yaml", WHOLE)
    scene.look()
    scene.pass_time(3)
    path.rename(path.with_name("_Defaults.yaml"))
    scene.write("a.yaml", TEXT)
    scene.look()
    assert set(scene.left()) == {"_Defaults.yaml", "a.yaml"}
    scene.pass_time(3)
    assert scene.names() == ["a.yaml"]
    assert scene.logged("defaults.broken") == []


@pytest.mark.parametrize(
    "make", [lambda path: path.symlink_to("x"), os.mkfifo, lambda path: path.mkdir()], ids=["link", "pipe", "folder"]
)
def test_what_is_no_file_counts_for_nothing(scene: Scene, make: Callable[[Path], Any]) -> None:
    """A link, a pipe, a folder: a warning, and the drops go on."""
    make(scene.inbox / "_defaults.yaml")
    scene.write("a.yaml", TEXT + WHOLE)
    scene.look()
    scene.pass_time(60)
    assert scene.names() == ["a.yaml"]
    assert [entry["file"] for entry in scene.logged("drop.ignored")] == ["_defaults.yaml"]


def test_a_huge_one_is_never_read(tmp_path: Path) -> None:
    """It holds back like any other that is broken."""
    scene = Scene(tmp_path, reader=Grammar("v2"), max_bytes=1000)
    scene.write("_defaults.yaml", WHOLE + b"#" * 1000)
    scene.write("a.yaml", TEXT + WHOLE)
    scene.look()
    scene.pass_time(60)
    assert scene.names() == []
    assert "too large" in detail(scene, "_defaults.yaml")


def test_a_drop_that_lacks_fields_is_mended_by_defaults_that_come_within_the_grace(scene: Scene) -> None:
    """What makes no sense is tried again when its folder says more."""
    scene.write("a.yaml", TEXT)
    scene.look()
    scene.pass_time(3)
    assert scene.left() == {"a.yaml": Reason.MALFORMED}
    scene.write("_defaults.yaml", WHOLE)
    scene.look()
    scene.pass_time(20)
    assert ready(scene)["a.yaml"]["model"] == "M000004017"


def test_many_held_drops_cost_nothing(scene: Scene) -> None:
    """They are looked at when their defaults change, and when all names are; not in between."""
    scene.write("_defaults.yaml", b"langauge: ko\n")
    for number in range(300):
        scene.write(f"{number}.yaml", TEXT)
    scene.look()
    scene.pass_time(5)
    turns = 0
    while scene.next < scene.now + 20:
        scene.now = scene.next
        scene.turn()
        turns += 1
    assert turns <= 3


# --- texts and tables -----------------------------------------------------------------------------


def test_a_note_is_left_lying(scene: Scene) -> None:
    """A text where nobody gives the rest of a job is nobody's job: neither taken, nor waited for, nor said."""
    scene.write("notes.txt", b"buy milk")
    scene.write("spring/_defaults.yaml", b"language: ko\n")
    scene.write("spring/notes.txt", b"buy milk")
    scene.look()
    scene.hint("notes.txt", was_renamed=True)
    scene.pass_time(60)
    assert scene.names() == []
    assert scene.left() == {}
    assert scene.is_idle
    assert [entry for entry in scene.events if entry["level"] in {"warning", "error"}] == []


def test_a_note_becomes_a_job_when_its_folder_gives_the_rest(scene: Scene) -> None:
    """And a job that waits becomes a note when it does not any more."""
    scene.write("hello.txt", b"hello")
    scene.look()
    scene.pass_time(5)
    scene.write("_defaults.yaml", WHOLE)
    scene.hint("_defaults.yaml")
    scene.pass_time(10)
    assert ready(scene)["hello.txt"]["text"] == "hello"
    scene.write("_defaults.yaml", b"language: ko\n")
    scene.write("other.txt", b"other")
    scene.look()
    scene.pass_time(60)
    assert scene.names() == []
    assert scene.is_idle


def test_readme_and_the_like_are_never_jobs(scene: Scene) -> None:
    """Nor what chromadrop itself lays beside job files."""
    scene.write("_defaults.yaml", WHOLE)
    for name in ("README.txt", "howto.TXT", "example.yaml.txt", "a.yaml.error.txt", "PAUSE.txt", "_defaults.yaml.txt"):
        scene.write(name, b"hello")
    scene.look()
    scene.pass_time(60)
    assert scene.names() == []
    assert scene.is_idle


def test_a_folder_whose_name_ends_like_a_text_is_a_folder(scene: Scene) -> None:
    """What is in it runs, as it did when texts were none."""
    scene.write("day.txt/a.yaml", TEXT + WHOLE)
    scene.look()
    scene.pass_time(3)
    assert scene.names() == ["day.txt/a.yaml"]


@pytest.mark.parametrize(
    "name", ["a.csv.result.csv", "A.CSV.RESULT.CSV", "a.csv.result - Copy.csv", "a.csv.result (2).csv"]
)
def test_a_table_of_results_is_left_lying_with_one_warning(scene: Scene, name: str) -> None:
    """Taken, it would order, and pay, again what it says is done."""
    scene.write(name, b"text,language,model,clothes,state\na,ko,M1,1,done\n")
    scene.look()
    scene.pass_time(100)
    assert scene.names() == []
    assert scene.left() == {name: Reason.RESULT_TABLE}
    assert scene.is_idle
    assert [entry["file"] for entry in scene.logged("drop.ignored")] == [name]


def test_a_table_is_a_drop(scene: Scene) -> None:
    """With a row a job."""
    scene.write("a.csv", "text;model\n안녕;M1\n또;M2\n".encode("cp949"))
    scene.write("_defaults.yaml", WHOLE)
    scene.look()
    scene.pass_time(3)
    [drop] = scene.drops()
    assert drop.batch is not None
    assert [request.body["text"] for request in drop.batch.requests] == ["안녕", "또"]


def test_when_the_root_comes_back_defaults_still_count(scene: Scene) -> None:
    """And those that were changed meanwhile are read anew before anything else."""
    scene.write("_defaults.yaml", WHOLE)
    scene.look()
    scene.pass_time(3)
    scene.root_trouble = "unmounted"
    scene.look()
    scene.write("_defaults.yaml", WHOLE.replace(b"ko", b"en"))
    scene.write("a.yaml", TEXT)
    scene.root_trouble = ""
    scene.look()
    scene.pass_time(10)
    assert ready(scene)["a.yaml"]["language"] == "en"
