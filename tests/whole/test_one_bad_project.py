"""One project, or one link, of which the cloud says what it says of an account or of itself: the others go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from world import FakeCloud, FakeLook, FakePart, World, yaml_of

from daemon.core.errors import AccountTroubled, CloudDeferred
from daemon.core.gate import PROBE_SECONDS
from daemon.core.messages import ScanEnded
from daemon.core.patience import DOWNLOADS_IN_A_ROW, OVERDUE_SECONDS
from daemon.dispatcher import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOUR = 3600.0
FORBIDDEN = AccountTroubled("HTTP 403: not for you", is_credential=True)
AWAY = CloudDeferred("cannot reach the cloud", is_outage=True)
NO_STORE = CloudDeferred("downloading: cannot reach cdn.test", is_outage=True)
BAD_GATEWAY = CloudDeferred("the cloud answered with an error (HTTP 502)")


class OddCloud(FakeCloud):
    """Says of each project, of the account, and of each video what the test wants, until it wants otherwise."""

    odd: Callable[[str], Exception | None] = staticmethod(lambda _project_id: None)
    account: Exception | None = None
    store: Exception | None = None
    probed: list[str | None]

    def look(self, project_id: str, *, is_afresh: bool = False) -> FakeLook:
        found = self.account or self.odd(project_id)
        if found is not None:
            self.looks[project_id] += 1
            raise found
        return super().look(project_id, is_afresh=is_afresh)

    def probe(self, project_id: str | None) -> None:
        self.probes += 1
        found = self.account or (self.odd(project_id) if project_id is not None else None)
        if isinstance(found, AccountTroubled):
            raise found

    def download(self, url: str, part: Path, *, should_stop: Callable[[], bool]) -> FakePart:
        if self.store is not None:
            self.downloads[url] += 1
            raise self.store
        return super().download(url, part, should_stop=should_stop)


def world_on(tmp_path: Path, *, is_once: bool = False, render_seconds: float = 10.0, **limits: Any) -> World:
    world = World(
        tmp_path, limits=Limits(**limits), render_seconds=render_seconds, make_cloud=OddCloud, is_started=False
    )
    world.is_once = is_once
    world.start()
    return world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A daemon on an empty root, and a cloud that is as well as can be."""
    made = world_on(tmp_path)
    yield made
    made.kill()


def cloud_of(world: World) -> OddCloud:
    assert isinstance(world.cloud, OddCloud)
    return world.cloud


# --- a project that nobody may look at ------------------------------------------------------------


def test_a_project_that_is_forbidden_is_refused_and_the_others_are_made(world: World) -> None:
    """It is taken for trouble of the account for a minute; then it is known to be its own."""
    cloud_of(world).odd = lambda project_id: FORBIDDEN if project_id == "project1" else None
    world.drop("a.yaml", yaml_of("bad"))
    world.drop("b.yaml", yaml_of("good"))
    world.pass_time(PROBE_SECONDS + 20)
    assert world.files("videos") == ["b.mp4"]
    world.drop("c.yaml", yaml_of("later"))
    world.pass_time(30)
    assert world.files("videos") == ["b.mp4", "c.mp4"]
    world.pass_time(10 * 60)
    assert world.files("failed") == ["a.yaml", "a.yaml.error.txt", "a.yaml.result.json"]
    assert "not for you" in world.error("failed/a.yaml")
    assert "Paid: yes" in world.error("failed/a.yaml")
    assert world.log.events().count("account.trouble") == 1
    assert world.log.events().count("account.recovered") == 1


def test_an_account_in_trouble_fails_no_job_however_long(world: World) -> None:
    """All looks say so, and so does the probe."""
    world.drop("a.yaml", yaml_of("one", "two", "three"))
    world.settle()
    cloud_of(world).account = FORBIDDEN
    world.pass_time(5 * HOUR)
    assert world.states() == ["rendering"] * 3
    cloud_of(world).account = None
    world.pass_time(PROBE_SECONDS + 20)
    assert len(world.files("videos")) == 3


def test_an_account_in_trouble_after_all_clears_the_project(world: World) -> None:
    """A project that was forbidden on its own is not blamed for what holds for all."""
    cloud_of(world).odd = lambda project_id: FORBIDDEN if project_id == "project1" else None
    world.drop("a.yaml", yaml_of("bad"))
    world.drop("b.yaml", yaml_of("good"))
    world.pass_time(PROBE_SECONDS + 4)
    cloud_of(world).account = FORBIDDEN
    world.pass_time(3 * HOUR)
    assert world.files("failed") == []
    assert world.log.events().count("account.trouble") == 2
    cloud_of(world).account = cloud_of(world).odd = None  # type: ignore[assignment]
    cloud_of(world).odd = lambda _project_id: None
    world.pass_time(PROBE_SECONDS + 20)
    assert world.files("videos") == ["a.mp4", "b.mp4"]


def test_where_there_is_no_other_project_nobody_can_tell(world: World) -> None:
    """It counts as trouble of the account, and nothing fails; another project, once there is one, would tell."""
    cloud_of(world).odd = lambda _project_id: FORBIDDEN
    world.drop("a.yaml", yaml_of("bad"))
    world.pass_time(5 * HOUR)
    assert world.states() == ["rendering"]


def test_a_project_that_was_seen_earlier_is_a_witness(world: World) -> None:
    """Its video was made, and the cloud told of it: what it says of it now is about the account."""
    world.drop("b.yaml", yaml_of("good"))
    world.pass_time(20)
    cloud_of(world).odd = lambda project_id: FORBIDDEN if project_id == "project2" else None
    world.drop("a.yaml", yaml_of("bad"))
    world.pass_time(10 * 60)
    assert world.files("failed")[0] == "a.yaml"


def test_a_probe_that_is_not_answered_blames_nobody(world: World) -> None:
    """The cloud went away just then; the job waits like all others."""
    cloud = cloud_of(world)
    cloud.odd = lambda project_id: FORBIDDEN if project_id == "project1" else None
    world.drop("a.yaml", yaml_of("bad"))
    world.drop("b.yaml", yaml_of("good"))
    world.pass_time(PROBE_SECONDS + 4)
    probe, cloud.probe = cloud.probe, _raising(AWAY)  # type: ignore[method-assign]
    world.pass_time(3 * HOUR)
    assert world.files("failed") == []
    cloud.probe = probe  # type: ignore[method-assign]
    world.pass_time(10 * 60)
    assert world.files("failed")[0] == "a.yaml"


def _raising(error: Exception) -> Callable[..., None]:
    def probe(_project_id: str | None) -> None:
        raise error

    return probe


# --- a link that leads nowhere --------------------------------------------------------------------


def test_a_link_whose_server_is_away_is_given_up_at_last(world: World) -> None:
    """The cloud is there, and nobody is told otherwise; what can be made is made."""
    cloud_of(world).store = NO_STORE
    world.drop("a.yaml", yaml_of("one"))
    world.pass_time(30)
    assert world.dispatcher.summary().cloud_reason is None
    world.pass_time(2 * HOUR)
    assert world.files("failed")[0] == "a.yaml"
    assert f"could not be downloaded after {DOWNLOADS_IN_A_ROW} tries" in world.error("failed/a.yaml")
    assert "cannot reach cdn.test" in world.error("failed/a.yaml")
    assert not {"cloud.away", "cloud.back"} & set(world.log.events())
    cloud_of(world).store = None
    world.drop_again("a.yaml")
    world.pass_time(20)
    assert world.files("videos") == ["a.mp4"]
    assert world.cloud.texts_accepted() == {"one": 1}


def test_an_outage_of_everything_is_not_held_against_a_download(world: World) -> None:
    """Looks that are not answered do not count as tries."""
    world.drop("a.yaml", yaml_of("one"))
    cloud_of(world).store = NO_STORE
    world.pass_time(15)
    cloud_of(world).account = AWAY
    world.pass_time(5 * HOUR)
    assert world.dispatcher.summary().cloud_reason is not None
    cloud_of(world).account = None
    world.pass_time(90)
    cloud_of(world).store = CloudDeferred("HTTP 500")
    world.pass_time(90)
    assert world.files("failed") == []
    cloud_of(world).store = None
    world.pass_time(90)
    assert world.files("videos") == ["a.mp4"]


def test_once_ends_when_the_videos_stay_away(tmp_path: Path) -> None:
    """After as long as when the cloud does, with everything resumable."""
    world = world_on(tmp_path, is_once=True)
    cloud_of(world).store = NO_STORE
    world.drop("a.yaml", yaml_of("one"))
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(4 * 60)
    assert not world.dispatcher.is_finished
    world.pass_time(2 * 60)
    assert world.dispatcher.is_finished
    assert world.dispatcher.is_cut_off
    assert world.states() == ["rendering"]
    world.kill()


def test_once_goes_on_while_videos_come(tmp_path: Path) -> None:
    """One that does not come, of many, is no reason to end before the others are made."""
    world = world_on(tmp_path, is_once=True)
    world.drop("a.yaml", yaml_of("one"))
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    cloud_of(world).store = NO_STORE
    world.pass_time(60)
    assert world.dispatcher.summary().downloading == 0
    cloud_of(world).store = None
    world.pass_time(90)
    assert world.dispatcher.is_finished
    assert not world.dispatcher.is_cut_off
    assert world.files("videos") == ["a.mp4"]
    world.kill()


# --- renders past their deadline ------------------------------------------------------------------


@pytest.mark.parametrize("is_restarted", [True, False])
def test_after_a_long_absence_one_bad_answer_fails_nothing(tmp_path: Path, *, is_restarted: bool) -> None:
    """The render has long ended, and nobody could look: whoever comes back late looks again."""
    world = world_on(tmp_path, render_timeout_seconds=HOUR)
    world.drop("a.yaml", yaml_of("one"))
    world.pass_time(4)
    if is_restarted:
        world.kill()
        world.wall += 3 * HOUR
        world.monotonic += 3 * HOUR
        world.start()
    else:
        cloud_of(world).account = AWAY
        world.pass_time(3 * HOUR)
        cloud_of(world).account = None
    world.cloud.look_faults.append(BAD_GATEWAY)
    world.pass_time(180)
    assert world.files("failed") == []
    assert world.files("videos") == ["a.mp4"]
    world.kill()


def test_a_render_of_which_nothing_is_heard_is_given_up_after_its_deadline(tmp_path: Path) -> None:
    """It is answered, but never with how far the render is; what is said last is told."""
    world = world_on(tmp_path, render_timeout_seconds=HOUR)
    world.drop("a.yaml", yaml_of("one"))
    world.settle()
    cloud_of(world).odd = lambda _project_id: BAD_GATEWAY
    world.pass_time(HOUR)
    assert world.states() == ["rendering"]
    world.pass_time(OVERDUE_SECONDS + 120)
    assert "the render has no end after 3600 s: the cloud answered with an error (HTTP 502)" in world.error(
        "failed/a.yaml"
    )
    world.kill()


def test_a_render_that_goes_on_past_its_deadline_is_given_up_at_once(tmp_path: Path) -> None:
    """The cloud itself says that it has no end yet."""
    world = world_on(tmp_path, render_timeout_seconds=60, render_seconds=10_000)
    world.drop("a.yaml", yaml_of("one"))
    world.pass_time(65)
    assert "the render has no end after 60 s" in world.error("failed/a.yaml")
    world.kill()
