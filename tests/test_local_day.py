"""The calendar day of this machine's time zone, by the C library's own rules."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from daemon.app import local_day

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR = 3600.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this process, until the test ends."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("name", "moment", "begins", "hours"),
    [
        ("UTC0", "2026-11-23T12:00", "2026-11-23T00:00", 24),
        ("KST-9", "2026-11-23T12:00", "2026-11-22T15:00", 24),
        ("KST-9", "2026-11-23T15:00", "2026-11-23T15:00", 24),
        ("KST-9", "2026-11-23T14:59:59", "2026-11-22T15:00", 24),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29T12:00", "2026-03-28T23:00", 23),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T12:00", "2026-10-24T22:00", 25),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T00:30", "2026-10-24T22:00", 25),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "2026-10-25T01:30", "2026-10-24T22:00", 25),
        ("XXX3YYY,M10.3.0/0,M2.3.0/0", "2026-10-18T12:00", "2026-10-18T03:00", 23),
        ("XXX3YYY,M10.3.0/0,M2.3.0/0", "2026-10-18T03:00", "2026-10-18T03:00", 23),
        ("XXX3YYY,M10.3.0/0,M2.3.0/0", "2026-02-14T12:00", "2026-02-14T02:00", 25),
    ],
)
def test_a_day_goes_from_midnight_to_midnight(
    zone: Callable[[str], None], name: str, moment: str, begins: str, hours: int
) -> None:
    """23 or 25 hours where the clocks change, and also where they change at midnight, which is then not there."""
    zone(name)
    day = local_day(at(moment))
    assert day.begins_at == at(begins)
    assert day.ends_at - day.begins_at == hours * HOUR
    assert day.has(at(moment))


@pytest.mark.parametrize("name", ["UTC0", "KST-9", "CET-1CEST,M3.5.0,M10.5.0/3", "XXX3YYY,M10.3.0/0,M2.3.0/0"])
def test_the_days_of_a_year_leave_no_gap(zone: Callable[[str], None], name: str) -> None:
    """Every moment belongs to one day, and the days follow upon each other."""
    zone(name)
    day = local_day(at("2026-01-15T12:00"))
    for _ in range(366):
        following = local_day(day.ends_at)
        assert following.begins_at == day.ends_at
        assert local_day(day.ends_at - 1) == day
        day = following
