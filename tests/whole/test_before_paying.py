"""The whole daemon with a list of models: nothing is paid that cannot be made."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from world import World, yaml_of

from daemon.core.catalogue import Catalogue, Clothes, Model
from daemon.core.errors import CloudDeferred, CloudInDoubt
from daemon.core.messages import RootFound, RootLost
from daemon.core.model_check import FRESH_SECONDS, PATIENCE_SECONDS, REFRESH_SECONDS
from daemon.dispatcher import REFUSALS_A_TURN, Limits
from daemon.edges.spool import PAGE_MARK
from daemon.models_watch import ModelsSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIST = Catalogue((Model("M000004017", {"en": "Jonadan"}, clothes=(Clothes("BG00006160"),)), Model("ysy")))
LONGER = Catalogue((*LIST.models, Model("NEW", clothes=(Clothes("1"),))))
GOOD = yaml_of("hello")
BAD = GOOD.replace("M000004017", "M000004071")


class List:
    """A list of models, and how often it was read."""

    def __init__(self) -> None:
        self.now = LIST
        self.readings = 0
        self.faults: deque[Exception | None] = deque()

    def read(self) -> Catalogue:
        self.readings += 1
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            raise fault
        return self.now

    @staticmethod
    def page(found: Catalogue, read_at: float) -> bytes:
        return PAGE_MARK + f"{len(found.models)} models at {read_at:.0f}".encode()

    def source(self) -> ModelsSource:
        return ModelsSource(self.read, self.page)


@pytest.fixture
def models() -> List:
    """The list."""
    return List()


@pytest.fixture
def world(tmp_path: Path, models: List) -> Iterator[World]:
    """A daemon that has a list of models."""
    made = World(tmp_path, models=models.source())
    yield made
    made.kill()


def page(world: World) -> str:
    return (world.root / "models.html").read_bytes().removeprefix(PAGE_MARK).decode()


def test_an_unknown_model_is_refused_for_the_whole_file_before_anything_is_paid(world: World) -> None:
    """With the place and the nearest name; the good job beside it is not made either."""
    world.drop("x.yaml", yaml_of("one") + yaml_of("two").replace("M000004017", "M000004071"))
    world.pass_time(30)
    assert world.cloud.asked == []
    assert world.files("failed") == ["x.yaml", "x.yaml.error.txt", "x.yaml.result.json"]
    told = world.error("failed/x.yaml")
    assert "line 7" in told
    assert "jobs[2].model" in told
    assert "M000004017" in told
    assert "Paid: no" in told


def test_clothes_of_another_model_are_refused(world: World) -> None:
    """The model is known, but it does not wear them."""
    world.drop("x.yaml", GOOD.replace("BG00006160", "BG00001004"))
    world.pass_time(30)
    assert world.cloud.asked == []
    assert "BG00006160" in world.error("failed/x.yaml")


def test_what_the_list_has_is_made(world: World) -> None:
    """The check is in nobody's way; the list was read once."""
    world.drop("x.yaml", GOOD)
    world.pass_time(30)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_a_list_that_cannot_be_had_refuses_and_delays_nothing(world: World, models: List) -> None:
    """The cloud will say no by itself, where it must."""
    models.faults.extend([CloudDeferred("away")] * 9)
    world.drop("x.yaml", BAD)
    world.settle()
    assert len(world.cloud.asked) == 1
    assert world.log.events().count("models.unavailable") == 1


def test_a_list_that_hangs_delays_a_drop_by_a_moment_only(world: World) -> None:
    """And what comes later not at all."""
    world.crew.held.add("errand")
    world.drop("x.yaml", BAD)
    world.pass_time(PATIENCE_SECONDS - 0.5)
    assert world.cloud.asked == []
    world.pass_time(1)
    assert len(world.cloud.asked) == 1
    world.drop("y.yaml", GOOD)
    world.settle()
    assert len(world.cloud.asked) == 2


def test_the_order_of_drops_is_kept_while_they_wait_for_the_list(world: World) -> None:
    """First come, first served."""
    world.crew.held.add("errand")
    for name in ("a", "b", "c"):
        world.drop(f"{name}.yaml", yaml_of(name))
    world.pass_time(1)
    world.drop("d.yaml", yaml_of("d"))
    world.pass_time(1)
    assert world.cloud.asked == []
    world.crew.held.clear()
    world.pass_time(1)
    assert [body["text"] for body in world.cloud.asked] == ["a", "b", "c", "d"]


def test_a_model_that_is_new_in_the_list_is_not_refused_by_an_old_reading(world: World, models: List) -> None:
    """Before anything is refused, the list is read anew."""
    world.pass_time(FRESH_SECONDS + 1)
    models.now = LONGER
    world.drop("x.yaml", GOOD.replace("M000004017", "NEW").replace("BG00006160", '"1"'))
    world.pass_time(20)
    assert models.readings == 2
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_bad_files_do_not_read_the_list_each_for_itself(world: World, models: List) -> None:
    """A folder full of them is refused by one reading."""
    world.pass_time(FRESH_SECONDS + 1)
    for number in range(300):
        world.drop(f"{number}.yaml", BAD)
    world.pass_time(5)
    assert models.readings == 2
    assert len([name for name in world.files("failed") if name.endswith(".error.txt")]) == 300


def test_a_paid_render_goes_on_though_its_model_has_left_the_list(world: World, models: List) -> None:
    """Only what is still to be paid is held against the list."""
    world.cloud.render_seconds = 10_000
    world.drop("x.yaml", GOOD)
    world.pass_time(4000)
    assert world.files("failed") == ["x.yaml", "x.yaml.error.txt", "x.yaml.result.json"]
    models.now = Catalogue((Model("ysy"),))
    world.cloud.render_seconds = 1
    world.drop_again("x.yaml")
    world.pass_time(20)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    assert len(world.cloud.asked) == 1


def test_a_refused_file_that_continues_another_takes_nothing_of_it(world: World, models: List) -> None:
    """Mended, it goes on with what was paid."""
    world.cloud.export_faults.append((CloudInDoubt("no answer"), True))
    world.drop("x.yaml", yaml_of("one", "two"))
    world.pass_time(60)
    content = (world.root / "failed/x.yaml").read_text()
    models.now = Catalogue((Model("ysy"),))
    (world.root / "failed/x.yaml").unlink()
    world.drop("x.yaml", content + yaml_of("three"))
    world.pass_time(60)
    assert "unknown" in world.error("failed/x.yaml") or "M000004017" in world.error("failed/x.yaml")
    models.now = LIST
    world.drop_again("x.yaml")
    world.pass_time(60)
    assert world.cloud.texts_accepted() == {"one": 1, "two": 1, "three": 1}


def test_the_check_can_be_switched_off(tmp_path: Path, models: List) -> None:
    """The page is made all the same."""
    world = World(tmp_path, limits=Limits(check_models=False), models=models.source())
    world.drop("x.yaml", BAD)
    world.settle()
    assert len(world.cloud.asked) == 1
    assert page(world).startswith("2 models")
    world.kill()


def test_without_a_list_nothing_is_checked(tmp_path: Path) -> None:
    """As with the API's second generation."""
    world = World(tmp_path)
    world.drop("x.yaml", BAD)
    world.settle()
    assert len(world.cloud.asked) == 1
    assert world.files("")[:1] != ["models.html"]
    world.kill()


def test_run_once_waits_for_the_list_before_it_ends(tmp_path: Path, models: List) -> None:
    """A drop that waits for it is work that is left."""
    world = World(tmp_path, models=models.source(), is_started=False)
    world.is_once = True
    world.start()
    world.crew.held.add("errand")
    world.drop("x.yaml", BAD)
    world.rescan()
    world.mailbox.pop()
    world.settle()
    assert not world.dispatcher.is_finished
    world.kill()


# --- the page and the copy ------------------------------------------------------------------------


def test_the_page_is_read_daily_and_written_where_people_see_it(world: World, models: List) -> None:
    """In the root; a new model shows the next day."""
    world.pass_time(1)
    assert page(world) == f"2 models at {world.wall - 1:.0f}"
    models.now = LONGER
    world.pass_time(REFRESH_SECONDS + 1)
    assert page(world).startswith("3 models")
    assert models.readings == 2


def test_the_page_is_written_when_the_root_is_back(world: World) -> None:
    """It was away when the list came."""
    world.mailbox.append(RootLost("not mounted"))
    world.settle()
    (world.root / "models.html").unlink()
    world.mailbox.append(RootFound())
    world.settle()
    assert page(world).startswith("2 models")


def test_a_file_of_that_name_that_is_not_ours_is_left_alone(tmp_path: Path, models: List) -> None:
    """Nothing of anybody's is overwritten; the log says why there is no page."""
    (tmp_path / "models.html").write_text("mine")
    world = World(tmp_path, models=models.source())
    world.settle()
    assert (tmp_path / "models.html").read_text() == "mine"
    assert "page.deferred" in world.log.events()
    world.kill()


def test_the_last_good_copy_outlives_the_daemon(world: World, models: List) -> None:
    """A list that is away at the next start delays no good job: the copy lets it pass."""
    world.settle()
    copy: Any = world.ledger.read_note("catalogue")
    assert [model["id"] for model in copy["models"]] == ["M000004017", "ysy"]
    world.restart()
    world.crew.held.add("errand")
    world.drop("x.yaml", GOOD)
    world.settle()
    assert len(world.cloud.asked) == 1
    assert models.readings == 1


def test_an_outage_of_the_list_is_told_once_and_its_end_too(world: World, models: List) -> None:
    """Not every ten minutes."""
    models.faults.extend([None, CloudDeferred("away"), CloudDeferred("away")])
    world.pass_time(REFRESH_SECONDS + 3600)
    events = [event for event in world.log.events() if event.startswith("models.")]
    assert events == ["models.read", "models.unavailable", "models.read"]


# --- what a hostile reader found ------------------------------------------------------------------


def test_a_root_that_comes_and_goes_strands_no_drop(world: World) -> None:
    """What waits for the list goes on when its time is over, whatever else has happened meanwhile."""
    world.crew.held.add("errand")
    world.drop("x.yaml", GOOD)
    world.settle()
    for message in (RootLost("not mounted"), RootFound()):
        world.mailbox.append(message)
        world.settle()
    world.pass_time(PATIENCE_SECONDS + 1)
    assert len(world.cloud.asked) == 1


def test_telling_what_was_meant_does_not_hold_up_the_daemon(world: World, models: List) -> None:
    """A folder of files full of wrong ids is told a few in each turn, so that looks come in between."""
    models.now = Catalogue(tuple(Model(f"M{number:09}") for number in range(500)))
    world.pass_time(FRESH_SECONDS + 1)
    for number in range(40):
        world.drop(f"{number}.yaml", BAD.replace("M000004071", f"X{number}"))
    before = world.turns
    world.settle()
    assert len(world.files("failed")) == 120
    assert world.turns - before >= 40 / REFUSALS_A_TURN


def test_a_list_that_could_not_be_read_whole_refuses_nothing(world: World, models: List) -> None:
    """What is missing from it may be what was left out."""
    models.now = Catalogue((Model("ysy"), Model("M000004017", clothes=(Clothes("1"),), is_whole=False)), is_whole=False)
    world.drop("x.yaml", BAD + GOOD)
    world.pass_time(30)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_a_refused_file_says_what_of_an_earlier_one_is_paid(world: World) -> None:
    """Its explanation takes the place of the one that said so."""
    world.cloud.render_seconds = 1e9
    world.drop("x.yaml", GOOD)
    world.pass_time(4000)
    content = (world.root / "failed/x.yaml").read_text()
    (world.root / "failed/x.yaml").unlink()
    world.drop("x.yaml", content.replace("M000004017", "M000004071"))
    world.pass_time(30)
    told = world.error("failed/x.yaml")
    assert "M000004071" in told
    assert "project1" in told
    world.cloud.render_seconds = 1.0
    (world.root / "failed/x.yaml").write_text(content)
    world.drop_again("x.yaml")
    world.pass_time(30)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    assert len(world.cloud.asked) == 1
