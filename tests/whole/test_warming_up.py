"""The whole daemon with an API that wants a token: it is had before any job is EXPORTING."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from world import World, yaml_of

from daemon.core.errors import AccountTroubled, CloudDeferred

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A daemon that has no token yet."""
    made = World(tmp_path)
    made.cloud.can_export = False
    yield made
    made.kill()


def test_the_token_is_had_once_and_then_everything_is_asked_for(world: World) -> None:
    """Three jobs, one exchange."""
    world.cloud.warm_up_faults.extend([None, AssertionError("a second exchange")])
    world.drop("x.yaml", yaml_of("one", "two", "three"))
    world.pass_time(30)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_killed_while_it_waits_for_a_token_no_job_is_in_doubt(world: World) -> None:
    """Nothing was sent, and the ledger knows that nothing was about to be."""
    world.crew.held.add("export")
    world.drop("x.yaml", yaml_of("one", "two", "three"))
    world.pass_time(10)
    assert world.states() == ["queued"] * 3
    world.restart()
    world.pass_time(30)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    assert len(world.cloud.asked) == 3


def test_a_stop_does_not_wait_for_a_token(world: World) -> None:
    """It holds nothing up."""
    world.crew.held.add("export")
    world.drop("x.yaml", yaml_of("one"))
    world.settle()
    world.stop()
    world.settle()
    assert world.dispatcher.is_finished


def test_a_token_that_cannot_be_had_is_tried_for_ever_later(world: World) -> None:
    """It is an outage: said once, and no job is touched by it."""
    world.cloud.warm_up_faults.extend([CloudDeferred("away", is_outage=True)] * 8)
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(20)
    assert world.states() == ["queued"]
    assert world.log.events().count("cloud.away") == 1
    assert len(world.cloud.warm_up_faults) >= 2, "each try comes later than the one before"
    world.pass_time(600)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_keys_that_are_refused_are_account_trouble(world: World) -> None:
    """A probe finds out when that is over."""
    world.cloud.warm_up_faults.append(AccountTroubled("the keys were refused", is_credential=True))
    world.drop("x.yaml", yaml_of("one"))
    world.settle()
    assert world.dispatcher.summary().trouble == "the keys were refused"
    assert world.states() == ["queued"]
    world.pass_time(100)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]


def test_a_token_that_has_had_its_day_is_had_anew_between_two_tries(world: World) -> None:
    """The refused export was no order; it is asked for again with the new token."""
    world.cloud.can_export = True
    world.cloud.export_faults.append((CloudDeferred("the token has had its day"), False))
    world.drop("x.yaml", yaml_of("one"))
    world.settle()
    world.cloud.can_export = False
    world.pass_time(30)
    assert world.files("done") == ["x.yaml", "x.yaml.result.json"]
    assert len(world.cloud.asked) == 2
