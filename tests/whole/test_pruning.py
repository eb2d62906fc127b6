"""The whole daemon and what is long over: forgotten after `ledger.keep_days`, and nothing is paid twice by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from world import World, yaml_of

from daemon.core.errors import CloudInDoubt, LedgerUnavailable
from daemon.dispatcher import Limits

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DAY = 86_400.0


def _age(world: World, days: float) -> None:
    """So many days later, without every turn in between."""
    world.wall += days * DAY
    world.pass_time(3700)


def test_old_job_files_are_forgotten_once_an_hour(tmp_path: Path) -> None:
    """It is said once, with how many."""
    world = World(tmp_path, limits=Limits(keep_days=90))
    world.drop("a.yaml", yaml_of("one"))
    world.pass_time(60)
    _age(world, 89)
    assert len(world.ledger.latest_closed(9)) == 1
    _age(world, 1)
    assert world.ledger.latest_closed(9) == []
    assert [fields for event, fields in world.log.lines if event == "ledger.pruned"] == [{"files": 1, "keep_days": 90}]
    assert "a.yaml" in world.files("done")
    world.kill()


def test_a_job_in_doubt_is_never_forgotten(tmp_path: Path) -> None:
    """Dropped again after a year it is still not paid a second time."""
    world = World(tmp_path, limits=Limits(keep_days=90))
    world.cloud.export_faults.append((CloudInDoubt("no answer"), True))
    world.drop("a.yaml", yaml_of("one"))
    world.pass_time(60)
    _age(world, 400)
    world.drop_again("a.yaml")
    world.pass_time(60)
    assert world.cloud.texts_accepted() == {"one": 1}
    assert world.files("failed")
    world.kill()


def test_null_keeps_everything(tmp_path: Path) -> None:
    """And it counts from the next round on."""
    world = World(tmp_path, limits=Limits(keep_days=None))
    world.drop("a.yaml", yaml_of("one"))
    world.pass_time(60)
    _age(world, 400)
    assert len(world.ledger.latest_closed(9)) == 1
    world.dispatcher.limits = Limits(keep_days=1)
    world.pass_time(3700)
    assert world.ledger.latest_closed(9) == []
    world.kill()


def test_a_ledger_that_is_away_is_no_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgetting waits for the next hour."""
    world = World(tmp_path, limits=Limits(keep_days=90))
    world.drop("a.yaml", yaml_of("one"))
    world.pass_time(30)

    def away(_before: float, _after_id: int) -> None:
        raise LedgerUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(world.ledger, "prune", away)
        _age(world, 91)
    assert len(world.ledger.latest_closed(9)) == 1
    world.pass_time(3700)
    assert world.ledger.latest_closed(9) == []
    world.kill()


# --- many of a like name --------------------------------------------------------------------------


def test_files_of_a_like_name_are_claimed_together(tmp_path: Path) -> None:
    """``x (1).yaml`` to ``x (9).yaml`` are what a file manager makes of many: none waits for another."""
    world = World(tmp_path, limits=Limits(max_rendering=100))
    world.crew.held = {"file"}
    for number in range(1, 10):
        world.put(f"x ({number}).yaml", yaml_of(f"text {number}"))
        world.say_ready(f"x ({number}).yaml")
    world.settle()
    assert len(world.ledger.unfinished()) == 9
    world.crew.held = set()
    world.pass_time(60)
    assert sorted(world.cloud.texts_accepted().values()) == [1] * 9
    world.kill()
