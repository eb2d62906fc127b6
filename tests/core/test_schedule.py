"""When something is due next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.schedule import (
    LONGEST_BACK_OFF_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    LOOKERS,
    MOST_CONNECTIONS,
    back_off,
    is_past_deadline,
    looks_alone,
    looks_at_once,
    next_look,
)

moments = st.floats(0, 1e7)
intervals = st.floats(0.5, 600)


@given(moments, st.floats(0, 10_000), intervals)
def test_the_next_look_comes_within_one_interval(due: float, late: float, interval: float) -> None:
    """However late the answer was; never in the past, and never a pile of missed ones."""
    now = due + late
    following = next_look(due, now, interval)
    assert now - 1e-6 <= following <= now + interval + 1e-6


@given(st.integers(0, 10**6), st.integers(0, 10**4), st.integers(1, 600))
def test_looks_keep_their_rhythm(due: int, late: int, interval: int) -> None:
    """They stay on the beat of the first one, so that slow answers do not make them drift."""
    following = next_look(float(due), float(due + late), float(interval))
    assert (following - due) % interval == 0
    assert following > due + late


def test_an_answer_in_time_changes_nothing() -> None:
    """The usual case: due every three seconds, answered in a tenth."""
    assert next_look(100.0, 100.1, 3.0) == 103.0


@pytest.mark.parametrize(
    ("deferrals", "wait"), [(1, 3.0), (2, 3.0), (3, 6.0), (4, 12.0), (5, 24.0), (6, 48.0), (7, 60.0), (10_000, 60.0)]
)
def test_back_off_doubles_up_to_a_minute(deferrals: int, wait: float) -> None:
    """The first hiccup costs nothing; a number in the millions is still a minute."""
    assert back_off(deferrals, 3.0) == wait


@given(st.integers(0, 10**9), st.floats(0.1, 3600))
def test_back_off_is_never_shorter_than_its_base_nor_longer_than_it_may_be(deferrals: int, base: float) -> None:
    """An interval of more than a minute is obeyed: it is what the operator set."""
    assert base <= back_off(deferrals, base) <= max(base, LONGEST_BACK_OFF_SECONDS)


@given(st.integers(1, 50), st.floats(0, 1e9))
def test_what_the_cloud_asked_for_is_obeyed_within_reason(deferrals: int, asked: float) -> None:
    """Where it is longer than ours, and not longer than five minutes."""
    wait = back_off(deferrals, 1.0, retry_after_seconds=asked)
    assert wait == max(back_off(deferrals, 1.0), min(asked, LONGEST_RETRY_AFTER_SECONDS))


def test_a_render_is_late_from_its_deadline_on() -> None:
    """Counted by the wall clock from the acceptance; what was never accepted is never late."""
    assert not is_past_deadline(1000.0, 4599.9, 3600.0)
    assert is_past_deadline(1000.0, 4600.0, 3600.0)
    assert not is_past_deadline(None, 1e12, 1.0)


def test_a_clock_that_was_set_back_gives_up_nothing() -> None:
    """The render just has longer."""
    assert not is_past_deadline(5000.0, 1000.0, 10.0)


@pytest.mark.parametrize(
    ("rendering", "at_once"), [(0, 1), (1, 1), (LOOKERS, 1), (LOOKERS + 1, 2), (2 * LOOKERS, 2), (5000, 79)]
)
def test_a_looker_looks_at_no_more_renders_than_it_has_to(rendering: int, at_once: int) -> None:
    """One each, as long as there are enough lookers."""
    assert looks_at_once(rendering) == at_once


@pytest.mark.parametrize(
    ("connections", "alone"),
    [(0, 2), (8, 2), (100, 25), (MOST_CONNECTIONS - 3, 3), (MOST_CONNECTIONS, 0), (MOST_CONNECTIONS + 9, 0)],
)
def test_connections_become_as_many_as_it_takes_and_no_more(connections: int, alone: int) -> None:
    """By a quarter at a time."""
    assert looks_alone(connections) == alone
