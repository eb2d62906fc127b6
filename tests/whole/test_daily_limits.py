"""The whole daemon and its daily limits: so many go today, the rest tomorrow, in its order, and none is forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from world import World, yaml_of

from daemon.allowance import DailyLimits
from daemon.core.allowance import Day, Limited, utc_day
from daemon.core.errors import AccountTroubled, CloudDeferred, CloudInDoubt, CloudRefused, LedgerUnavailable
from daemon.core.estimate import spoken_seconds
from daemon.core.messages import ScanEnded
from daemon.dispatcher import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86_400.0
TEXTS = ("one", "two", "three", "four", "five")
LONG = "This is a sentence of a dozen words, and it goes on. "
LENGTH = spoken_seconds(LONG, "ko")


def daily(videos: int | None = None, seconds: float | None = None) -> Limits:
    return Limits(daily=DailyLimits(videos, seconds))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A daemon that may order two videos a day, ten minutes before midnight."""
    made = World(tmp_path, limits=daily(2), is_started=False)
    made.wall = utc_day(made.wall).ends_at - 600
    made.start()
    yield made
    made.kill()


def once(tmp_path: Path, limits: Limits) -> World:
    """A daemon that ends when everything is worked off."""
    world = World(tmp_path, limits=limits, is_started=False)
    world.is_once = True
    world.start()
    return world


def asked(world: World) -> list[str]:
    return [str(body["text"]) for body in world.cloud.asked]


def said(world: World, event: str) -> list[dict[str, Any]]:
    return [fields for found, fields in world.log.lines if found == event]


def limited(world: World) -> Limited | None:
    return world.dispatcher.summary().limited


# --- so many a day --------------------------------------------------------------------------------


def test_the_rest_waits_for_midnight_and_goes_in_its_order(world: World) -> None:
    """Nothing is lost, and nothing overtakes."""
    world.drop("a.yaml", yaml_of("one", "two", "three"))
    world.drop("b.yaml", yaml_of("four", "five"))
    world.pass_time(590)
    assert asked(world) == ["one", "two"]
    assert world.states() == ["done", "done", "queued", "queued", "queued"]
    world.pass_time(20)
    assert asked(world) == ["one", "two", "three", "four"]
    world.pass_time(DAY + 60)
    assert asked(world) == list(TEXTS)
    assert world.files("done") == ["a.yaml", "a.yaml.result.json", "b.yaml", "b.yaml.result.json"]


def test_it_is_said_once_with_figures_and_until_when(world: World) -> None:
    """For the operator in the log, for people in the ledger; and taken back the next day."""
    world.drop("a.yaml", yaml_of("one", "two", "three"))
    world.pass_time(300)
    until = utc_day(world.wall).ends_at
    spoken = round(spoken_seconds("one", "ko") + spoken_seconds("two", "ko"), 1)
    assert said(world, "queue.limited") == [
        {
            "until": datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "videos": 2,
            "max_videos": 2,
            "seconds": spoken,
            "max_seconds": None,
        }
    ]
    assert Limited.from_note(world.ledger.read_note("limited")) == limited(world) == Limited(until, 2, spoken, 2, None)
    world.pass_time(400)
    assert len(said(world, "queue.limited")) == len(said(world, "queue.unlimited")) == 1
    assert limited(world) is None
    assert world.ledger.read_note("limited") is None


def test_without_a_limit_nothing_is_said(tmp_path: Path) -> None:
    """And what is exactly allowed is no limit that is reached."""
    for number, limits in enumerate((Limits(), daily(5, 1e6))):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = World(folder, limits=limits)
        world.drop("a.yaml", yaml_of(*TEXTS))
        world.pass_time(60)
        assert world.files("done") == ["a.yaml", "a.yaml.result.json"]
        assert said(world, "queue.limited") == []
        world.kill()


def test_a_restart_forgets_nothing_of_today(world: World) -> None:
    """Killed at any moment, what was ordered counts; the limit is found again and said again."""
    world.drop("a.yaml", yaml_of("one", "two", "three"))
    world.pass_time(60)
    world.restart()
    world.pass_time(60)
    assert asked(world) == ["one", "two"]
    assert limited(world) is not None
    world.pass_time(600)
    assert asked(world) == ["one", "two", "three"]


def test_a_limit_of_yesterday_is_not_told_after_a_restart(world: World) -> None:
    """A note that a killed daemon left says nothing of today."""
    world.drop("a.yaml", yaml_of("one", "two", "three"))
    world.pass_time(60)
    world.kill()
    world.wall += DAY
    world.start()
    world.pass_time(60)
    assert asked(world) == ["one", "two", "three"]
    assert world.ledger.read_note("limited") is None


def test_an_export_in_flight_when_it_was_killed_counts(world: World) -> None:
    """It may have been paid."""
    world.crew.held.add("export")
    world.drop("a.yaml", yaml_of("one"))
    world.drop("b.yaml", yaml_of("two", "three"))
    world.settle()
    world.restart()
    world.pass_time(60)
    assert asked(world) == []
    assert limited(world) is not None


def test_what_was_never_accepted_does_not_count(world: World) -> None:
    """Refused, deferred, no credit: nothing was paid, so that others may go; and no limit was reported meanwhile."""
    world.cloud.export_faults.extend(
        [(CloudRefused("no such model"), False), (CloudDeferred("429", is_outage=True), False)]
    )
    world.drop("a.yaml", yaml_of("bad", "one", "two"))
    world.pass_time(200)
    assert world.cloud.texts_accepted() == {"one": 1, "two": 1}
    assert said(world, "queue.limited") == []


def test_trouble_with_the_account_uses_up_nothing(world: World) -> None:
    """The orders of a day are there when the credit is."""
    world.cloud.export_faults.extend([(AccountTroubled("no credit", is_credential=False), False)] * 3)
    world.drop("a.yaml", yaml_of("one", "two"))
    world.pass_time(500)
    assert world.cloud.texts_accepted() == {"one": 1, "two": 1}


def test_what_is_in_doubt_counts_and_counts_once(world: World) -> None:
    """It may have been paid; dropped again, it is the same order still."""
    world.cloud.export_faults.extend([(CloudInDoubt("no answer"), True)])
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(30)
    world.drop_again("x.yaml")
    world.pass_time(30)
    world.restart()
    world.drop("a.yaml", yaml_of("two", "three"))
    world.pass_time(60)
    assert asked(world) == ["one", "two"]
    found = limited(world)
    assert found is not None
    assert found.videos == 2


def test_a_paid_render_that_is_taken_up_again_does_not_count(tmp_path: Path) -> None:
    """It was counted when it was paid."""
    world = World(tmp_path, limits=replace(daily(1), render_timeout_seconds=50), render_seconds=DAY + 60)
    world.drop("x.yaml", yaml_of("one"))
    world.pass_time(60)
    assert "failed/x.yaml" in [f"failed/{name}" for name in world.files("failed")]
    world.pass_time(DAY)
    world.drop_again("x.yaml")
    world.drop("y.yaml", yaml_of("two"))
    world.pass_time(30)
    assert asked(world) == ["one", "two"]
    world.kill()


def test_while_an_answer_is_awaited_no_limit_is_reported(world: World) -> None:
    """It may turn out that nothing was accepted."""
    world.crew.held.add("export")
    world.drop("a.yaml", yaml_of("one", "two", "three"))
    world.settle()
    assert said(world, "queue.limited") == []
    world.crew.held.clear()
    world.pass_time(5)
    assert len(said(world, "queue.limited")) == 1


# --- seconds --------------------------------------------------------------------------------------


def test_seconds_of_speech_are_limited(tmp_path: Path) -> None:
    """As estimated from the texts; one that is short does not overtake one that has to wait."""
    world = World(tmp_path, limits=daily(None, 2.5 * LENGTH))
    world.drop("a.yaml", yaml_of(LONG, f"{LONG} ", f"{LONG}  ", "hi"))
    world.pass_time(60)
    assert asked(world) == [LONG, f"{LONG} "]
    found = limited(world)
    assert found is not None
    assert found.seconds == pytest.approx(2 * LENGTH, abs=0.1)
    world.pass_time(DAY)
    assert len(asked(world)) == 4
    world.kill()


def test_one_longer_than_a_day_goes_as_the_first_of_a_day(tmp_path: Path) -> None:
    """It would wait for ever; and it waits for a day on which nothing else was ordered."""
    world = World(tmp_path, limits=daily(None, LENGTH / 2))
    world.drop("a.yaml", yaml_of("hi", LONG, "ho"))
    world.pass_time(60)
    assert asked(world) == ["hi"]
    world.pass_time(DAY)
    assert asked(world) == ["hi", LONG]
    world.pass_time(DAY)
    assert asked(world) == ["hi", LONG, "ho"]
    world.kill()


# --- people and operators -------------------------------------------------------------------------


def test_a_reload_changes_the_limit_at_once(world: World) -> None:
    """Up, down, away, and back: what was ordered today is known all the same."""
    world.drop("a.yaml", yaml_of(*TEXTS))
    world.pass_time(30)
    world.dispatcher.limits = daily(3)
    world.pass_time(30)
    assert asked(world) == ["one", "two", "three"]
    world.dispatcher.limits = daily(1)
    world.pass_time(30)
    found = limited(world)
    assert found is not None
    assert (found.videos, found.max_videos) == (3, 1)
    world.dispatcher.limits = Limits()
    world.settle()
    assert asked(world) == list(TEXTS)
    assert said(world, "queue.unlimited")
    world.dispatcher.limits = daily(5)
    world.drop("b.yaml", yaml_of("six"))
    world.pass_time(30)
    assert "six" not in asked(world)


def test_a_run_that_should_end_ends_with_what_is_left(tmp_path: Path) -> None:
    """As where it is paused: nothing failed, the rest lies in the ledger for tomorrow's run."""
    world = once(tmp_path, daily(2))
    world.drop("a.yaml", yaml_of("one", "two", "three"))
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(60)
    assert world.dispatcher.is_finished
    assert world.dispatcher.failures == 0
    assert world.dispatcher.summary().queued == 1
    world.kill()
    world.wall += DAY
    world.start()
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(60)
    assert world.dispatcher.is_finished
    assert world.files("done") == ["a.yaml", "a.yaml.result.json"]
    world.kill()


def test_a_run_that_should_end_waits_for_what_it_may_order(tmp_path: Path) -> None:
    """Renders under way are fetched first."""
    world = once(tmp_path, daily(1))
    world.drop("a.yaml", yaml_of("one"))
    world.drop("b.yaml", yaml_of("two"))
    world.mailbox.append(ScanEnded((), 0, is_idle=True))
    world.pass_time(5)
    assert not world.dispatcher.is_finished
    world.pass_time(60)
    assert world.dispatcher.is_finished
    assert world.files("videos") == ["a.mp4"]
    world.kill()


def test_a_ledger_that_cannot_be_read_orders_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what was ordered today; it goes on once it is known."""
    real = world.ledger.exported_since
    is_away = True

    def exported_since(asked_at: float) -> Any:
        if is_away:
            raise LedgerUnavailable("disk I/O error")
        return real(asked_at)

    monkeypatch.setattr(world.ledger, "exported_since", exported_since)
    world.drop("a.yaml", yaml_of("one"))
    world.pass_time(10)
    assert asked(world) == []
    is_away = False
    world.pass_time(30)
    assert asked(world) == ["one"]
    assert world.files("videos") == ["a.mp4"]


# --- calendars ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [23, 25])
def test_a_day_is_as_long_as_the_calendar_says(tmp_path: Path, hours: int) -> None:
    """With summer time some have 23 hours, and some 25."""
    begins = 1_700_000_000.0
    ends = begins + hours * 3600

    def calendar(wall: float) -> Day:
        return Day(begins, ends) if wall < ends else Day(ends, ends + DAY)

    world = World(tmp_path, limits=daily(1), calendar=calendar)
    world.drop("a.yaml", yaml_of("one", "two"))
    world.pass_time(hours * 3600 - 10)
    assert asked(world) == ["one"]
    world.pass_time(20)
    assert asked(world) == ["one", "two"]
    world.kill()


def test_a_clock_that_jumps_is_noticed_within_a_minute(world: World) -> None:
    """A computer that slept has not counted the time, and a clock may be set: the wall clock says which day it is."""
    world.drop("a.yaml", yaml_of("one", "two", "three"))
    world.pass_time(60)
    world.wall += DAY
    world.pass_time(61)
    assert asked(world) == ["one", "two", "three"]


def test_a_clock_that_is_set_back_counts_what_was_ordered_since(world: World) -> None:
    """Two days in a row cannot be made of one."""
    world.drop("a.yaml", yaml_of("one", "two", "three"))
    world.pass_time(60)
    world.wall -= DAY
    world.pass_time(300)
    assert asked(world) == ["one", "two"]


def test_a_clock_that_once_ran_far_ahead_starves_nobody(world: World) -> None:
    """What it has stamped belongs to no day that anybody lives in."""
    world.wall += 30 * DAY
    world.drop("a.yaml", yaml_of("one", "two"))
    world.pass_time(60)
    world.wall -= 30 * DAY
    world.restart()
    world.drop("b.yaml", yaml_of("three", "four", "five"))
    world.pass_time(300)
    assert asked(world) == ["one", "two", "three", "four"]
