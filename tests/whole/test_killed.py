"""Killed before or after any call of any edge, and started again: the invariants hold.

What lies inside the calls is in test_killed_inside.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from world import VIDEO, Killed, World, yaml_of

from daemon.core.errors import CloudRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EDGES = {
    "ledger": ("commit", "enter"),
    "spool": ("claim", "file_away", "clear", "publish", "discard"),
    "cloud": ("export", "look", "download"),
}


class Killer:
    """Kills at the n-th moment: before (odd) or after (even) a call of an edge."""

    def __init__(self, moment: int) -> None:
        self.left = moment
        self.place = ""

    def watch(self, world: World) -> None:
        for edge, names in EDGES.items():
            for name in names:
                self._wrap(getattr(world, edge), edge, name)

    def _wrap(self, edge: Any, label: str, name: str) -> None:
        real: Callable[..., Any] = getattr(edge, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self._count(f"before {label}.{name}")
            result = real(*args, **kwargs)
            self._count(f"after {label}.{name}")
            return result

        setattr(edge, name, wrapped)

    def _count(self, place: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.place = place
            raise Killed(place)


def live(world: World) -> None:
    """A little life: two files, one of them with a job that is refused and dropped again."""
    world.cloud.export_faults.extend([None, (CloudRefused("no"), False)])
    world.drop("sub/x.yaml", yaml_of("one", "two"))
    world.pass_time(16)
    if "sub/x.yaml" in world.files("failed"):
        world.drop_again("sub/x.yaml")
    world.drop("bad.yaml", "nonsense: [")
    world.drop("y.yaml", yaml_of("three"))
    world.pass_time(16)


def check(world: World, place: str) -> None:
    """The invariants of the design, once everything has come to rest."""
    paid = world.cloud.texts_accepted()
    assert all(count == 1 for count in paid.values()), f"{place}: paid twice: {paid}"
    assert world.files("processing") == [], place
    assert world.files("inbox") == [], place
    where = [name for folder in ("done", "failed") for name in world.files(folder) if name.endswith(".yaml")]
    assert len(where) == len(set(where)), f"{place}: {where}"
    for name in world.files("done"):
        if name.endswith(".result.json"):
            for job in world.result(f"done/{name.removesuffix('.result.json')}")["jobs"]:
                assert (world.root / job["video"]).read_bytes() == VIDEO, place
    videos = world.files("videos")
    assert not any("(" in name for name in videos), f"{place}: made visible twice: {videos}"
    assert list((world.root / "processing/.downloads").iterdir()) == [], place


def moments(tmp_path: Path) -> int:
    """How many moments a life has in which it can be killed."""
    world = World(tmp_path)
    killer = Killer(0)
    killer.watch(world)
    live(world)
    world.kill()
    return -killer.left


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the daemon is killed: paid once, filed once, nothing left behind."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # what dies here is the daemon, not the machine
    folder = tmp_path / "count"
    folder.mkdir()
    total = moments(folder)
    assert total > 60
    places = set()
    for moment in range(1, total + 1):
        root = tmp_path / str(moment)
        root.mkdir()
        world = World(root)
        killer = Killer(moment)
        killer.watch(world)
        with pytest.raises(Killed):
            live(world)
        places.add(killer.place)
        world.mailbox.clear()
        world.restart()
        world.rescan()
        world.pass_time(60)
        for name in ("bad.yaml", "y.yaml"):
            # What had not been dropped before the kill was never ours.
            assert not (root / "inbox" / name).exists()
        check(world, killer.place)
        world.kill()
    assert {f"before {edge}.{name}" for edge, names in EDGES.items() for name in names} <= places
