"""The daily limits: what still fits, and how it is said that nothing does."""

from __future__ import annotations

import pytest

from daemon.core.allowance import Day, Limited, Spent, has_room, utc_day


@pytest.mark.parametrize(
    ("spent", "seconds", "max_videos", "max_seconds", "expected"),
    [
        (Spent(0, 0.0), 10.0, None, None, True),
        (Spent(10**6, 1e9), 10.0, None, None, True),
        (Spent(1, 5.0), 10.0, 2, None, True),
        (Spent(2, 5.0), 10.0, 2, None, False),
        (Spent(2, 5.0), 10.0, None, 15.0, True),
        (Spent(2, 5.1), 10.0, None, 15.0, False),
        (Spent(2, 5.0), 10.0, 2, 1000.0, False),
        (Spent(0, 0.0), 1000.0, None, 15.0, True),
        (Spent(1, 0.0), 1000.0, None, 15.0, False),
    ],
)
def test_what_fits_into_a_day(
    spent: Spent, seconds: float, max_videos: int | None, max_seconds: float | None, *, expected: bool
) -> None:
    """Both limits hold; one video longer than a day's seconds is the first of its day, or waits to be."""
    assert has_room(spent, seconds, max_videos=max_videos, max_seconds=max_seconds) is expected


def test_a_day_has_its_first_moment_and_not_the_next_days() -> None:
    """So that every moment belongs to one day."""
    day = utc_day(1_700_000_000.0)
    assert day == Day(1_699_920_000.0, 1_700_006_400.0)
    assert day.has(day.begins_at)
    assert not day.has(day.ends_at)
    assert utc_day(day.ends_at).begins_at == day.ends_at


def test_a_limit_outlives_a_note() -> None:
    """What the ledger keeps for `status` is what was so; what it cannot be is nothing."""
    limited = Limited(1.0, 2, 3.0, None, 4.0)
    assert Limited.from_note(limited.note()) == limited
    assert Limited.from_note(None) is None
    assert Limited.from_note("yesterday") is None
    assert Limited.from_note({"until": 1.0}) is None


@pytest.mark.parametrize(
    ("limited", "english", "korean"),
    [
        (Limited(0, 5, 60.0, 5, None), "5 of 5 videos ordered today", "오늘 주문한 영상 5개(하루 5개까지)"),
        (
            Limited(0, 1, 60.0, None, 90.0),
            "1 video ordered today, about 60 s of 90 s of speech",
            "오늘 주문한 영상 1개, 약 60초 분량(하루 90초까지)",
        ),
    ],
)
def test_people_are_told_the_figures(limited: Limited, english: str, korean: str) -> None:
    """What was ordered, and what is allowed."""
    assert (limited.english, limited.korean) == (english, korean)
