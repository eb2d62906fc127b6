"""The whole daemon and folders that do not take what they should: said until they do, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from world import World, yaml_of

from daemon.app import vitals
from daemon.core.errors import CloudDeferred
from daemon.core.messages import RootFound, RootLost
from daemon.core.vitals import FOLDERS_SECONDS, Part, ills
from daemon.edges.inbox_watch import Pulse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A daemon that has made all its folders."""
    made = World(tmp_path, render_seconds=0.0)
    made.drop("first.yaml", yaml_of("first"))
    made.pass_time(20)
    assert made.files("done")[0] == "first.yaml"
    yield made
    made.kill()


def ill(world: World) -> dict[Part, str]:
    """What /healthz complains about."""
    found = vitals(world.dispatcher.summary(), Pulse(is_alive=True), None, world.now)
    return {one.part: one.reason for one in ills(found, world.monotonic)}


def wreck(folder: Path) -> Path:
    """A file lies where the folder was: nothing can be written there, whoever asks. Where the folder is now."""
    kept = folder.with_name(f"{folder.name} kept")
    folder.rename(kept)
    folder.touch()
    return kept


def mend(folder: Path, kept: Path) -> None:
    folder.unlink()
    kept.rename(folder)


@pytest.mark.parametrize("name", ["processing", "done", "videos"])
def test_a_folder_that_cannot_be_written_is_ill_until_it_can(world: World, name: str) -> None:
    """Whether a job file cannot be claimed or filed, or a video cannot be shown; a first try is no illness yet."""
    kept = wreck(world.root / name)
    world.drop("second.yaml", yaml_of("second"))
    world.pass_time(5)
    assert world.dispatcher.summary().folders is not None
    assert ill(world) == {}
    world.pass_time(FOLDERS_SECONDS)
    assert ill(world).keys() == {Part.FOLDERS}
    assert name in ill(world)[Part.FOLDERS]
    mend(world.root / name, kept)
    world.pass_time(70)
    assert ill(world) == {}
    assert world.dispatcher.summary().folders is None
    assert "second.yaml" in world.files("done")
    assert world.cloud.texts_accepted() == {"first": 1, "second": 1}


@pytest.mark.parametrize(("folder", "event"), [("done", "batch.deferred"), ("videos", "job.deferred")])
def test_what_goes_well_elsewhere_says_nothing_of_what_waits(world: World, folder: str, event: str) -> None:
    """One file cannot be filed, or one video not be shown; others can: the trouble stays until the one is."""
    in_the_way = world.root / folder / "sub"
    in_the_way.touch()
    world.drop("sub/second.yaml", yaml_of("second"))
    world.pass_time(FOLDERS_SECONDS)
    assert event in world.log.events()
    world.drop("third.yaml", yaml_of("third"))
    world.pass_time(20)
    assert "third.yaml" in world.files("done")
    assert ill(world).keys() == {Part.FOLDERS}
    in_the_way.unlink()
    world.pass_time(70)
    assert ill(world) == {}
    assert "sub/second.yaml" in world.files("done")


def test_a_drop_that_is_withdrawn_waits_no_more(world: World) -> None:
    """Somebody took it out of inbox/ while it could not be claimed."""
    kept = wreck(world.root / "processing")
    world.drop("second.yaml", yaml_of("second"))
    world.pass_time(5)
    assert world.dispatcher.summary().folders is not None
    (world.root / "inbox/second.yaml").unlink()
    mend(world.root / "processing", kept)
    world.pass_time(70)
    assert world.dispatcher.summary().folders is None
    assert "batch.withdrawn" in world.log.events()


def test_a_root_that_is_lost_is_not_told_twice(world: World) -> None:
    """And when it is back, what waited for it has its 30 seconds again."""
    kept = wreck(world.root / "done")
    world.drop("second.yaml", yaml_of("second"))
    world.pass_time(5)
    world.mailbox.append(RootLost("unmounted"))
    world.pass_time(100)
    assert ill(world) == {Part.ROOT: "unmounted"}
    world.mailbox.append(RootFound())
    world.pass_time(5)
    assert ill(world) == {}
    world.pass_time(FOLDERS_SECONDS)
    assert ill(world).keys() == {Part.FOLDERS}
    mend(world.root / "done", kept)
    world.pass_time(70)
    assert ill(world) == {}


def test_a_cloud_that_defers_is_no_trouble_of_the_folders(world: World) -> None:
    """A download that the cloud cut says nothing of ours."""
    world.cloud.download_faults.extend([CloudDeferred("cut")] * 3)
    world.drop("second.yaml", yaml_of("second"))
    world.pass_time(2)
    assert world.cloud.downloads
    assert world.dispatcher.summary().folders is None
